//! A file comes in: on a connection of its own, or on one kept from the file before.

use std::io;
use std::net::SocketAddrV4;

use super::job::State;
use super::{Fetch, JobId};
use crate::content::{FileError, OnConflict, Version};
use crate::node::peer::{Connection, Context, DownloadConnection, FileUse};
use crate::node::peers::Peers;
use crate::node::{Action, ConnectionId, PathId, Report};
use crate::proto::v0::{Download, DownloadEvent};
use crate::proto::{CloseReason, FileId};
use crate::wire::{FilePath, PeerId};

/// A file that was fetched, for the part that shares it.
pub(crate) struct Fetched {
    pub(crate) path: PathId,
    pub(crate) version: Version,
    pub(crate) digest: crate::content::Digest,
}

impl Fetch {
    pub(super) fn dial_source(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        source: PeerId,
        address: SocketAddrV4,
    ) {
        if self.active.len() + self.kept.len() > self.downloads_max
            && let Some(&(_, connection)) = self.kept.first()
        {
            self.let_go(ctx, connection);
        }
        let Some(path) = self.jobs.get(&id).map(|job| job.path) else { return };
        let download = Download::new(ctx.now, &ctx.limits, ctx.settings.id);
        let connection = DownloadConnection { source, address, job: id, download };
        let dialed = ctx.connections.dial(Connection::Download(Box::new(connection)));
        let Some(connection) = dialed else {
            let reason = Some(CloseReason::Broken(io::ErrorKind::OutOfMemory));
            ctx.report(Report::SourceFailed { path, peer: source, reason });
            return self.source_failed(ctx, peers, id, source, None);
        };
        self.enter(id, State::Downloading { source, began: ctx.now, connection, file: None });
        ctx.act(Action::Dial { connection, to: address });
        ctx.report(Report::DownloadStarted { path, peer: source, address });
        ctx.pump(connection);
    }

    pub(super) fn fetch_on(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        source: PeerId,
        connection: ConnectionId,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let path = job.path;
        let Some(kept) = ctx.download(connection) else {
            debug_assert!(false, "what is kept is open");
            return self.source_failed(ctx, peers, id, source, None);
        };
        kept.job = id;
        let address = kept.address;
        job.failures.note_dial(*address.ip());
        self.enter(id, State::Downloading { source, began: ctx.now, connection, file: None });
        ctx.report(Report::DownloadStarted { path, peer: source, address });
        self.request(ctx, connection);
        ctx.pump(connection);
    }

    /// Requests the file of its job on a connection that is made.
    pub(crate) fn request(&mut self, ctx: &mut Context, connection: ConnectionId) {
        let Some(id) = ctx.download(connection).map(|download| download.job) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (path, State::Downloading { source, began, .. }) = (job.path, job.state) else {
            return;
        };
        let Some(name) = ctx.paths.get(path).and_then(FilePath::name) else { return };
        job.was_connected = true;
        let file = ctx.open_file(FileUse::Partial(id));
        self.enter(id, State::Downloading { source, began, connection, file: Some(file) });
        ctx.act(Action::CreatePartial { file, path });
        let now = ctx.now;
        if let Some(connection) = ctx.download(connection) {
            connection.download.request(now, name);
        }
    }

    pub(crate) fn on_bytes(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let mut at = 0;
        let now = ctx.now;
        while let Some(DownloadConnection { job, download, .. }) = ctx.download(connection) {
            let id = *job;
            match download.handle_bytes(now, bytes, &mut at) {
                Ok(None) => return,
                Ok(Some(DownloadEvent::Write { range, offset })) => {
                    if let Some(State::Downloading { file: Some(file), .. }) = self.state(id) {
                        ctx.act(Action::Write { file, range, offset });
                    }
                }
                Ok(Some(_)) if at < bytes.len() => {
                    let (expected, got) = ("nothing after the EOF", "more bytes");
                    let reason = CloseReason::PeerViolated { expected, got };
                    return self.close(ctx, peers, connection, reason);
                }
                Ok(Some(verdict)) => return self.on_verdict(ctx, peers, id, verdict),
                Err(reason) => return self.close(ctx, peers, connection, reason),
            }
        }
    }

    pub(crate) fn on_written(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        file: FileId,
        len_bytes: usize,
    ) {
        let Some(&FileUse::Partial(id)) = ctx.files.get(&file) else { return };
        let Some(State::Downloading { connection, .. }) = self.state(id) else { return };
        let Some(DownloadConnection { download, .. }) = ctx.download(connection) else { return };
        if let Some(verdict) = download.handle_written(len_bytes) {
            self.on_verdict(ctx, peers, id, verdict);
        }
        // With the verdict too: the last acknowledgments are to go out.
        ctx.pump(connection);
    }

    fn on_verdict(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        event: DownloadEvent,
    ) {
        let DownloadEvent::Verdict { digest, matches, size_bytes } = event else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let State::Downloading { source, began, connection, file: Some(file) } = job.state else {
            return;
        };
        let path = job.path;
        let is_simulated = matches && std::mem::take(&mut job.checksum_failure_is_due);
        if !matches || is_simulated {
            ctx.report(Report::ChecksumFailed { path, peer: source, is_simulated });
            return self.close(ctx, peers, connection, CloseReason::ChecksumWrong);
        }
        self.enter(id, State::Committing { source, began, digest, size_bytes });
        ctx.act(Action::Commit(file));
        let now = ctx.now;
        if let Some(DownloadConnection { download, address, .. }) = ctx.download(connection) {
            peers.note_success(source, *address.ip());
            download.finish(now);
            self.keep_or_let_go(ctx, peers, connection);
        }
    }

    pub(crate) fn on_transmitted(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        connection: ConnectionId,
        len_bytes: usize,
    ) {
        let Some(DownloadConnection { download, .. }) = ctx.download(connection) else { return };
        download.transmitted(len_bytes);
        if download.is_finished() {
            self.keep_or_let_go(ctx, peers, connection);
        }
    }

    /// The file of a connection is verified: the connection may serve again.
    fn keep_or_let_go(&mut self, ctx: &mut Context, peers: &mut Peers, connection: ConnectionId) {
        let Some(source) = ctx.download(connection).map(|download| download.source) else { return };
        if self.has_more_to_fetch() {
            self.kept.insert((source, connection));
            self.begin_waiting(ctx, peers);
        } else {
            self.let_go(ctx, connection);
        }
    }

    /// Closes a connection that is not needed any more, once everything is sent.
    pub(super) fn let_go(&mut self, ctx: &mut Context, connection: ConnectionId) {
        let Some(download) = ctx.download(connection) else { return };
        self.kept.remove(&(download.source, connection));
        if download.download.is_finished() {
            // No job is on it any more.
            ctx.close(connection, CloseReason::Done);
        }
    }

    /// Returns a connection to this source that waits for its next file.
    pub(super) fn take_kept(&mut self, source: PeerId) -> Option<ConnectionId> {
        let kept = *self.kept.iter().find(|(kept, _)| *kept == source)?;
        self.kept.remove(&kept);
        Some(kept.1)
    }

    /// A partial file has its final name. Returns what was fetched, with the name it has.
    pub(crate) fn on_committed(
        &mut self,
        ctx: &mut Context,
        file: FileId,
        name: &FilePath,
        version: Version,
    ) -> Option<Fetched> {
        let Some(FileUse::Partial(id)) = ctx.files.remove(&file) else { return None };
        let job = self.jobs.get(&id)?;
        let (wanted, State::Committing { source, began, digest, .. }) = (job.path, job.state)
        else {
            return None;
        };
        let path = ctx.paths.intern(name);
        let elapsed = ctx.now.saturating_duration_since(began);
        let size_bytes = version.size_bytes;
        let verified = Report::Verified { path: wanted, peer: source, size_bytes, digest, elapsed };
        ctx.report(verified);
        if path != wanted {
            ctx.report(Report::SavedAs { wanted, path });
        }
        self.enter(id, State::Done);
        Some(Fetched { path, version, digest })
    }

    /// A partial file could not be made, written or committed.
    pub(crate) fn on_partial_failed(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        error: FileError,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (path, state) = (job.path, job.state);
        if let State::Downloading { connection, .. } = state
            && match error {
                FileError::Shortage(_) => true,
                error => error.is_full() && self.is_crowded_out(ctx, id, connection),
            }
        {
            return self.close(ctx, peers, connection, CloseReason::WriteFailed(error));
        }
        match (error, ctx.guest().map(|guest| guest.on_conflict), state) {
            (FileError::Exists, Some(OnConflict::Skip), _) => {
                ctx.report(Report::Skipped { path });
                self.enter(id, State::Done);
            }
            (
                FileError::Exists,
                Some(OnConflict::Compare),
                State::Committing { digest, size_bytes, .. },
            ) => {
                self.enter(id, State::Comparing { digest, size_bytes });
                self.compare(ctx, id);
            }
            _ => {
                self.report_failed(ctx, path, error.into());
                self.enter(id, State::Failed(error.into()));
            }
        }
        if let State::Downloading { connection, .. } = state {
            self.close(ctx, peers, connection, CloseReason::WriteFailed(error));
        }
        self.begin_waiting(ctx, peers);
        self.end_if_done(ctx);
    }

    /// Returns whether another file that is coming in takes up more of the disk than this one:
    /// it may be one without an end, and the room comes back with it.
    fn is_crowded_out(&self, ctx: &mut Context, id: JobId, connection: ConnectionId) -> bool {
        let mut came_bytes = |connection| {
            ctx.download(connection).map_or(0, |download| download.download.received_bytes())
        };
        let ours_bytes = came_bytes(connection);
        self.active.keys().filter(|other| **other != id).any(|other| match self.state(*other) {
            Some(State::Downloading { connection, .. }) => came_bytes(connection) > ours_bytes,
            _ => false,
        })
    }

    pub(super) fn close(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: ConnectionId,
        reason: CloseReason,
    ) {
        if let Some(Connection::Download(connection)) = ctx.close(id, reason) {
            self.on_lost(ctx, peers, id, &connection, reason);
        }
    }

    /// The connection of a download is over: if its job is not, the source failed.
    pub(crate) fn on_lost(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        lost: ConnectionId,
        connection: &DownloadConnection,
        reason: CloseReason,
    ) {
        self.kept.remove(&(connection.source, lost));
        let id = connection.job;
        // A connection whose file is verified may outlive its job, and meet the next one.
        let Some(job) = self.jobs.get(&id) else { return };
        let (source, file) = match job.state {
            State::Downloading { source, connection, file, .. } if connection == lost => {
                (source, file)
            }
            _ => return,
        };
        file.into_iter().for_each(|file| ctx.discard(file));
        if connection.download.is_kept_in_vain()
            && !reason.is_our_fault()
            && matches!(reason, CloseReason::ClosedByPeer | CloseReason::Broken(_))
        {
            // The next try is on a connection of its own.
            self.seek(ctx, peers, id);
            return self.begin_waiting(ctx, peers);
        }
        // A wrong checksum was seen to when it was found.
        if reason != CloseReason::ChecksumWrong {
            let reason = Some(reason);
            ctx.report(Report::SourceFailed { path: job.path, peer: source, reason });
        }
        if !reason.is_our_fault() {
            peers.note_failure(source, Some(*connection.address.ip()));
        }
        self.source_failed(ctx, peers, id, source, Some(reason));
    }

    /// Returns since when a file is being fetched on this connection, and which, if one is.
    pub(crate) fn download_on(
        &self,
        id: JobId,
        on: ConnectionId,
    ) -> Option<(PathId, std::time::Instant)> {
        let job = self.jobs.get(&id)?;
        match job.state {
            State::Downloading { began, connection, .. } if connection == on => {
                Some((job.path, began))
            }
            _ => None,
        }
    }
}
