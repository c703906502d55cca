//! Serving: uploads, and the hashing of our files.
//!
//! A file is hashed once for each version. An upload goes no further than the
//! hash has come, and what it announces at the end is the digest of exactly the
//! version that it opened; when the file turns out to be another version, uploads
//! of the old one are cut off.

use std::net::SocketAddrV4;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use super::{Connection, FileUse, PeerNode, Served, Wake};
use crate::canary::{Canary, sings};
use crate::content::Digest;
use crate::content::{FileError, Version};
use crate::node::connections::ConnectionId;
use crate::node::{Action, Report};
use crate::proto::v0::{Upload, UploadEvent};
use crate::proto::{CloseReason, FileId, Protocol};
use crate::wire::v0::FileName;

impl PeerNode {
    /// Replaces an accepted connection with the machine that its first byte asks for.
    pub(super) fn on_first_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        let Some(slot) = self.connections.get_mut(connection) else { return };
        let (Connection::Accepted { from, accepted }, Some(&first)) = (&*slot, bytes.first())
        else {
            return;
        };
        match accepted.handle_first_byte(first) {
            Ok(Protocol::V0Upload) => {
                let from = *from;
                // Another address of this host counts as another host: the window is then larger.
                let upload = Upload::new(now, &self.limits, from.ip().is_loopback());
                *slot = Connection::Upload { from, upload, served: None };
                self.on_upload_bytes(now, connection, bytes);
            }
            Err(reason) => self.close(now, connection, reason),
        }
    }

    pub(super) fn on_upload_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        while let Some(Connection::Upload { upload, .. }) = self.connections.get_mut(connection) {
            match upload.handle_bytes(now, bytes, &mut at) {
                Ok(None) => return,
                Ok(event) => self.on_upload_event(now, connection, event),
                Err(reason) => return self.close(now, connection, reason),
            }
        }
    }

    pub(super) fn on_upload_event(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        event: Option<UploadEvent>,
    ) {
        match event {
            Some(UploadEvent::Requested(name)) => self.on_requested(now, connection, name),
            Some(UploadEvent::Sent(_)) => {
                if let Some(Connection::Upload { served: Some(served), .. }) =
                    self.connections.get_mut(connection)
                    && let Some(file) = served.file.take()
                {
                    let name = served.name;
                    self.release(connection, file, name);
                }
            }
            Some(UploadEvent::Acknowledged) => self.on_acknowledged(now, connection),
            None => {}
        }
    }

    fn on_acknowledged(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(Connection::Upload { from, served, .. }) = self.connections.get_mut(connection)
            && let Some(Served { name, size_bytes, began, .. }) =
                served.take().map(|served| *served)
        {
            let (to, elapsed) = (*from, now.saturating_duration_since(began));
            self.report(Report::UploadDone { name, to, size_bytes, elapsed });
        }
    }

    fn on_requested(&mut self, now: Instant, connection: ConnectionId, name: FileName) {
        // Who asks for the next file has the last one, acknowledged or not.
        self.on_acknowledged(now, connection);
        if self.index.get(&name).is_none() {
            return self.close(now, connection, CloseReason::NotShared(name));
        }
        let file = self.open_file(FileUse::Source(connection));
        if let Some(Connection::Upload { served, .. }) = self.connections.get_mut(connection) {
            let file = Some(file);
            *served = Some(Box::new(Served { name, file, size_bytes: 0, began: now }));
        }
        self.actions.push_back(Action::OpenSource { file, name });
    }

    pub(super) fn on_opened(&mut self, now: Instant, file: FileId, version: Version) {
        let Some(&FileUse::Source(connection)) = self.files.get(&file) else { return };
        let Some(Connection::Upload { from, served: Some(served), upload }) =
            self.connections.get_mut(connection)
        else {
            return;
        };
        let (to, name, size_bytes) = (*from, served.name, version.size_bytes);
        served.size_bytes = size_bytes;
        upload.handle_source(now, file, size_bytes);
        self.report(Report::UploadStarted { name, to, size_bytes });
        self.note_version(now, name, version);
        let Some(local) = self.index.get_mut(&name) else {
            return self.close(now, connection, CloseReason::SourceChanged);
        };
        local.followers.insert(connection);
        let (hashed_bytes, digest) = (local.hashed_bytes, local.digest);
        if digest.is_none() {
            self.hash(name);
        }
        self.tell_hashed(now, connection, hashed_bytes, digest);
    }

    /// What stands in the folder under `name` is this version: if that is news, what
    /// was known of the old one is void, and its uploads are cut off. It is shared again
    /// once it rests, or at once if nothing but its attributes changed.
    fn note_version(&mut self, now: Instant, name: FileName, version: Version) {
        let Some(local) = self.index.get(&name) else { return };
        if local.version == version || sings(Canary::StaleDigest) {
            return;
        }
        let is_alike = local.version.is_alike(&version);
        self.withdraw(now, &name);
        match is_alike {
            true => self.index.insert(name, version, None),
            false => self.rest(now, name, version),
        }
    }

    /// Takes a file out of those that are shared, and cuts its uploads off; whether it was
    /// among them.
    pub(super) fn withdraw(&mut self, now: Instant, name: &FileName) -> bool {
        self.deadlines.disarm(Wake::Rehash(*name));
        let Some(local) = self.index.remove(name) else { return false };
        for follower in local.followers {
            self.close(now, follower, CloseReason::SourceChanged);
        }
        true
    }

    fn tell_hashed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        hashed_bytes: u64,
        digest: Option<Digest>,
    ) {
        let Some(Connection::Upload { upload, .. }) = self.connections.get_mut(connection) else {
            return;
        };
        let event = upload.handle_hashed(now, hashed_bytes, digest);
        self.on_upload_event(now, connection, event);
        self.after(connection);
    }

    pub(super) fn on_upload_lost(
        &mut self,
        connection: ConnectionId,
        from: SocketAddrV4,
        served: Option<Box<Served>>,
        reason: CloseReason,
    ) {
        if let Some(Served { name, file, .. }) = served.map(|served| *served) {
            if let Some(file) = file {
                self.release(connection, file, name);
            }
            self.report(Report::UploadFailed { name, to: from, reason });
        }
        self.report(Report::ConnectionClosed { from, reason });
    }

    fn release(&mut self, connection: ConnectionId, file: FileId, name: FileName) {
        self.discard(file);
        if let Some(local) = self.index.get_mut(&name) {
            local.followers.remove(&connection);
        }
    }

    pub(super) fn on_source_failed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        error: FileError,
    ) {
        let name = match self.connections.get(connection) {
            Some(Connection::Upload { served: Some(served), .. }) => served.name,
            _ => return,
        };
        self.close(now, connection, CloseReason::SourceChanged);
        match error {
            FileError::Missing => self.lose_file(now, name, error),
            FileError::NoRoom(_) | FileError::Shortage(_) | FileError::Io(_) => {
                self.report(Report::ReadFailed { name, error });
            }
            FileError::Changed | FileError::Exists | FileError::Folder | FileError::Full => {}
        }
    }

    /// A file can no longer be shared.
    pub(super) fn lose_file(&mut self, now: Instant, name: FileName, error: FileError) {
        if self.withdraw(now, &name) {
            self.report(Report::FileLost { name, error });
        }
    }

    /// Hashes a file, unless that is done or under way.
    pub(super) fn hash(&mut self, name: FileName) {
        if self.is_comparing(&name) {
            self.actions.push_back(Action::Hash(name));
        } else {
            self.begin_hash(name);
        }
    }

    /// Hashes the next files that nobody asked for yet.
    pub(super) fn hash_next(&mut self) {
        while let Some(name) = self.index.next_unhashed()
            && self.begin_hash(name)
        {}
    }

    fn begin_hash(&mut self, name: FileName) -> bool {
        let is_new = self.index.begin_hash(&name);
        if is_new {
            self.deadlines.disarm(Wake::Rehash(name));
            self.actions.push_back(Action::Hash(name));
        }
        is_new
    }

    pub(super) fn on_hashed(
        &mut self,
        now: Instant,
        name: FileName,
        version: Version,
        hashed_bytes: u64,
        digest: Option<Digest>,
    ) {
        if !self.index.is_hashing(&name) {
            // The file is no longer shared, or shared anew: this is the hash of before.
            return self.hash_next();
        }
        self.note_version(now, name, version);
        // It begins anew if this is another version.
        if self.index.is_hashing(&name)
            && let Some(local) = self.index.get_mut(&name)
        {
            local.hashed_bytes = hashed_bytes;
            local.digest = digest;
        }
        // One by one: each may end, and with it the file.
        let mut last = Unbounded;
        while let Some(local) = self.index.get(&name)
            && let Some(&follower) = local.followers.range((last, Unbounded)).next()
        {
            self.tell_hashed(now, follower, hashed_bytes, digest);
            last = Excluded(follower);
        }
        if digest.is_some() {
            self.index.end_hash(&name);
        }
        self.hash_next();
    }

    pub(super) fn on_hash_failed(&mut self, now: Instant, name: FileName, error: FileError) {
        if !self.index.is_hashing(&name) {
            // The hash of before, as above.
            return self.hash_next();
        }
        self.index.end_hash(&name);
        // A file that moves comes to rest, and descriptors come free; a disk that cannot be
        // read stays so.
        let may_pass = error == FileError::Changed || matches!(error, FileError::Shortage(_));
        match self.index.get_mut(&name) {
            Some(local) if may_pass => {
                local.hashed_bytes = 0;
                let retry_in = local.rehash.delay(&mut self.rng);
                self.deadlines.arm(Wake::Rehash(name), now + retry_in);
            }
            _ => self.lose_file(now, name, error),
        }
        self.hash_next();
    }
}
