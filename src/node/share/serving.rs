//! Uploads: a request is answered from the index, and an upload goes no further than the
//! hash has come.

use std::net::SocketAddrV4;

use super::Share;
use crate::content::{Digest, FileError, HashKind, Version};
use crate::node::peer::{
    Connection, Context, FileUse, Served, SessionConnection, UploadConnection,
};
use crate::node::{Action, ConnectionId, Report};
use crate::proto::v0::{Upload, UploadEvent};
use crate::proto::{Accepted, CloseReason, FileId, Protocol};
use crate::wire::Malformed;
use crate::wire::v0::FileName;

impl Share {
    /// A connection came in. `None` if there are too many.
    pub(crate) fn accept(&mut self, ctx: &mut Context, from: SocketAddrV4) -> Option<ConnectionId> {
        let accepted = Accepted::new(ctx.now, &ctx.limits);
        let connection = Connection::Accepted { from, accepted };
        let id = ctx.connections.accept(from, connection);
        match id {
            Some(id) => {
                ctx.pump(id);
                self.note_stranger(ctx, id);
            }
            None => ctx.report(Report::ConnectionRefused { from }),
        }
        id
    }

    /// The first bytes came: replaces an accepted connection with the machine that its first
    /// byte asks for.
    pub(crate) fn on_first_bytes(&mut self, ctx: &mut Context, id: ConnectionId, bytes: &[u8]) {
        let is_guest = ctx.guest().is_some();
        let (Some(slot), Some(&first)) = (ctx.connections.get_mut(id), bytes.first()) else {
            return;
        };
        let Connection::Accepted { from, accepted } = slot else { return };
        let from = *from;
        let (is_member, is_open) = (ctx.settings.group.is_some(), ctx.settings.is_open());
        let protocol = accepted.handle_first_byte(first).and_then(|protocol| match protocol {
            Protocol::V1Sealed if !is_member => {
                Err(CloseReason::Malformed(Malformed::UnknownType { got: first }))
            }
            Protocol::V0Upload | Protocol::V1Session if !is_open => Err(CloseReason::NotSealed),
            Protocol::V0Upload if is_guest => Err(CloseReason::NotShared),
            protocol => Ok(protocol),
        });
        match protocol {
            Ok(Protocol::V0Upload) => {
                // Another address of this host counts as another host: the window is then larger.
                let upload = Upload::new(ctx.now, &ctx.limits, from.ip().is_loopback());
                *slot = Connection::Upload(UploadConnection { from, upload, served: None });
                self.on_bytes(ctx, id, bytes);
            }
            Ok(protocol @ (Protocol::V1Session | Protocol::V1Sealed)) => {
                let is_sealed = protocol == Protocol::V1Sealed;
                let session = SessionConnection::new(ctx, (from, is_sealed), false);
                if let Some(slot) = ctx.connections.get_mut(id) {
                    *slot = Connection::Session(Box::new(session));
                }
            }
            Err(reason) => {
                ctx.close(id, reason);
                ctx.report(Report::ConnectionClosed { from, reason });
            }
        }
    }

    pub(crate) fn on_bytes(&mut self, ctx: &mut Context, id: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        let now = ctx.now;
        while let Some(connection) = ctx.upload(id) {
            match connection.upload.handle_bytes(now, bytes, &mut at) {
                Ok(None) => return,
                Ok(event) => self.on_event(ctx, id, event),
                Err(reason) => return self.close(ctx, id, reason),
            }
        }
    }

    pub(crate) fn on_transmitted(&mut self, ctx: &mut Context, id: ConnectionId, len_bytes: usize) {
        let now = ctx.now;
        let Some(connection) = ctx.upload(id) else { return };
        let event = connection.upload.transmitted(now, len_bytes);
        if let Some(deadline) = connection.upload.poll_timeout() {
            ctx.connections.arm(id, deadline);
        }
        self.on_event(ctx, id, event);
    }

    fn on_event(&mut self, ctx: &mut Context, id: ConnectionId, event: Option<UploadEvent>) {
        match event {
            Some(UploadEvent::Requested(name)) => self.on_requested(ctx, id, name),
            Some(UploadEvent::Sent(_)) => {
                if let Some(UploadConnection { from, served: Some(served), .. }) = ctx.upload(id)
                    && let Some(file) = served.file.take()
                {
                    let (served, to) = (**served, *from.ip());
                    self.note_sent(served.path, to);
                    self.release(ctx, id, file, served);
                }
            }
            Some(UploadEvent::Acknowledged) => self.end_file(ctx, id),
            None => {}
        }
    }

    /// The file of a connection is over: all of it is acknowledged, or the next is requested.
    fn end_file(&mut self, ctx: &mut Context, id: ConnectionId) {
        let now = ctx.now;
        let Some(connection) = ctx.upload(id) else { return };
        let to = connection.from;
        if let Some(served) = connection.served.take() {
            let Served { path, size_bytes, began, .. } = *served;
            let elapsed = now.saturating_duration_since(began);
            ctx.report(Report::UploadDone { path, to, size_bytes, elapsed });
            ctx.paths.release(path);
        }
    }

    fn on_requested(&mut self, ctx: &mut Context, id: ConnectionId, name: FileName) {
        // A downloader requests the next file together with its last acknowledgments.
        self.end_file(ctx, id);
        let path = ctx.paths.intern_name(name);
        if self.index.get(path).is_none() {
            let from = ctx.upload(id).map(|connection| connection.from);
            from.into_iter().for_each(|from| ctx.report(Report::NotShared { path, from }));
            return self.close(ctx, id, CloseReason::NotShared);
        }
        let file = ctx.open_file(FileUse::Source(id));
        let began = ctx.now;
        if let Some(connection) = ctx.upload(id) {
            let served = Served { path, file: Some(file), size_bytes: 0, began };
            connection.served = Some(Box::new(served));
            ctx.paths.hold(path);
        }
        ctx.act(Action::OpenSource { file, path });
    }

    pub(crate) fn on_opened(&mut self, ctx: &mut Context, file: FileId, version: Version) {
        let Some(&FileUse::Source(id)) = ctx.files.get(&file) else { return };
        let now = ctx.now;
        let Some(connection) = ctx.upload(id) else { return };
        let Some(served) = &mut connection.served else { return };
        let (to, path, size_bytes) = (connection.from, served.path, version.size_bytes);
        served.size_bytes = size_bytes;
        connection.upload.handle_source(now, file, size_bytes);
        ctx.report(Report::UploadStarted { path, to, size_bytes });
        self.note_version(ctx, path, version);
        if self.is_doubtful(now, path, *to.ip()) {
            self.index.forget_digest(path);
        }
        let Some(local) = self.index.get_mut(path) else {
            return self.close(ctx, id, CloseReason::SourceChanged);
        };
        let uploads = local.uploads_mut();
        uploads.followers.insert(id);
        let (hashed_bytes, digest) = (uploads.hashed_bytes, uploads.digest);
        if digest.is_none() {
            self.begin_hash(ctx, path, HashKind::Sha256);
        }
        self.tell_hashed(ctx, id, hashed_bytes, digest);
    }

    /// The file of an upload is hashed this far; all of it once there is a digest.
    pub(super) fn tell_hashed(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        hashed_bytes: u64,
        digest: Option<Digest>,
    ) {
        let now = ctx.now;
        let Some(connection) = ctx.upload(id) else { return };
        let event = connection.upload.handle_hashed(now, hashed_bytes, digest);
        self.on_event(ctx, id, event);
        ctx.pump(id);
    }

    /// The file of an upload cannot be opened or read.
    pub(crate) fn on_source_failed(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        error: FileError,
    ) {
        let served = ctx.upload(id).and_then(|connection| connection.served.as_ref());
        let Some(path) = served.map(|served| served.path) else { return };
        self.close(ctx, id, CloseReason::SourceChanged);
        match error {
            FileError::Missing => self.lose_file(ctx, path, error),
            FileError::NoRoom(_) | FileError::Shortage(_) | FileError::Io(_) => {
                ctx.report(Report::ReadFailed { path, error });
            }
            FileError::Changed
            | FileError::Exists
            | FileError::Folder
            | FileError::NoFolder(_)
            | FileError::NoFile
            | FileError::Twin
            | FileError::Full(_) => {}
        }
    }

    pub(super) fn close(&mut self, ctx: &mut Context, id: ConnectionId, reason: CloseReason) {
        if let Some(Connection::Upload(connection)) = ctx.close(id, reason) {
            self.on_lost(ctx, id, connection, reason);
        }
    }

    pub(crate) fn on_lost(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        connection: UploadConnection,
        reason: CloseReason,
    ) {
        let from = connection.from;
        if let Some(served) = connection.served {
            if let Some(file) = served.file {
                self.release(ctx, id, file, *served);
            }
            ctx.report(Report::UploadFailed { path: served.path, to: from, reason });
            ctx.paths.release(served.path);
        }
        ctx.report(Report::ConnectionClosed { from, reason });
    }

    /// The file of an upload is not needed any more.
    fn release(&mut self, ctx: &mut Context, id: ConnectionId, file: FileId, served: Served) {
        ctx.discard(file);
        if let Some(local) = self.index.get_mut(served.path) {
            local.uploads_mut().followers.remove(&id);
        }
    }
}
