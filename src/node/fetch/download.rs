//! A file comes in: on a connection of its own, or on one kept from the file before.

use std::io;
use std::net::SocketAddrV4;

use super::hedging::note_verified_rate;
use super::job::{Attempt, Job, State};
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
    /// Begins the download of a job.
    pub(super) fn dial_source(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        source: PeerId,
        address: SocketAddrV4,
    ) -> Option<()> {
        let connection = self.dial(ctx, id, source, address)?;
        let attempt = Attempt::new(ctx.now, source, connection);
        self.enter(id, State::Downloading(attempt));
        ctx.pump(connection);
        Some(())
    }

    /// Makes a connection for a file, unless there are too many.
    pub(super) fn dial(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        source: PeerId,
        address: SocketAddrV4,
    ) -> Option<ConnectionId> {
        if self.active.len() + self.hedges.len() + self.kept.len() > self.connections_max
            && let Some(&(_, connection)) = self.kept.first()
        {
            self.let_go(ctx, connection);
        }
        let path = self.jobs.get(&id)?.path;
        let download = Download::new(ctx.now, &ctx.limits, ctx.settings.id);
        let connection = DownloadConnection { source, address, job: id, download };
        let dialed = ctx.connections.dial(Connection::Download(Box::new(connection)));
        let Some(connection) = dialed else {
            let reason = Some(CloseReason::Broken(io::ErrorKind::OutOfMemory));
            ctx.report(Report::SourceFailed { path, peer: source, reason, again: false });
            return None;
        };
        ctx.act(Action::Dial { connection, to: address });
        ctx.report(Report::DownloadStarted { path, peer: source, address });
        Some(connection)
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
        self.enter(id, State::Downloading(Attempt::new(ctx.now, source, connection)));
        ctx.report(Report::DownloadStarted { path, peer: source, address });
        self.request(ctx, connection);
        ctx.pump(connection);
    }

    /// Requests the file of its job on a connection that is made.
    pub(crate) fn request(&mut self, ctx: &mut Context, connection: ConnectionId) {
        let Some(id) = ctx.download(connection).map(|download| download.job) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (path, Some(attempt)) = (job.path, job.attempt_on(connection)) else { return };
        let Some(name) = ctx.paths.get(path).and_then(FilePath::name) else { return };
        job.was_connected = true;
        let file = ctx.open_file(FileUse::Partial(id));
        let now = ctx.now;
        self.begin_pace(ctx, id, Attempt { file: Some(file), mark: (now, 0), ..attempt });
        ctx.act(Action::CreatePartial { file, path });
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
                    let attempt = self.jobs.get(&id).and_then(|job| job.attempt_on(connection));
                    if let Some(Attempt { file: Some(file), .. }) = attempt {
                        ctx.act(Action::Write { file, range, offset });
                    }
                }
                Ok(Some(_)) if at < bytes.len() => {
                    let (expected, got) = ("nothing after the EOF", "more bytes");
                    let reason = CloseReason::PeerViolated { expected, got };
                    return self.close(ctx, peers, connection, reason);
                }
                Ok(Some(verdict)) => return self.on_verdict(ctx, peers, connection, verdict),
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
        let attempt = self.jobs.get(&id).and_then(|job| job.attempt_into(file));
        let Some(Attempt { connection, .. }) = attempt else { return };
        let Some(DownloadConnection { download, .. }) = ctx.download(connection) else { return };
        if let Some(verdict) = download.handle_written(len_bytes) {
            self.on_verdict(ctx, peers, connection, verdict);
        }
        // With the verdict too: the last acknowledgments are to go out.
        ctx.pump(connection);
    }

    fn on_verdict(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        connection: ConnectionId,
        event: DownloadEvent,
    ) {
        let DownloadEvent::Verdict { digest, matches, size_bytes } = event else { return };
        let Some(id) = ctx.download(connection).map(|download| download.job) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(attempt) = job.attempt_on(connection) else { return };
        let Attempt { source, began, file: Some(file), .. } = attempt else { return };
        let path = job.path;
        let is_simulated = matches && std::mem::take(&mut job.checksum_failure_is_due);
        if !matches || is_simulated {
            ctx.report(Report::ChecksumFailed { path, peer: source, is_simulated });
            return self.close(ctx, peers, connection, CloseReason::ChecksumWrong);
        }
        note_verified_rate(ctx, peers, attempt);
        self.end_others(ctx, peers, id, connection);
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
        (id, file): (JobId, FileId),
        error: FileError,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (path, state) = (job.path, job.state);
        if let Some(connection) = job.hedge_into(file) {
            job.hedge_failed = true;
            ctx.close(connection, CloseReason::WriteFailed(error));
            return self.set_hedge(id, None);
        }
        if let State::Downloading(Attempt { connection, .. }) = state
            && match error {
                FileError::Shortage(_) => true,
                // A second copy may be what does not fit.
                error if job.attempts().count() > 1 => error.is_full(),
                error => {
                    error.is_full()
                        && job.failures.full_until.is_none()
                        && self.is_crowded_out(ctx, id, connection)
                }
            }
        {
            return self.close(ctx, peers, connection, CloseReason::WriteFailed(error));
        }
        match (error, ctx.guest().map(|guest| guest.on_conflict), state) {
            (FileError::Exists, Some(OnConflict::Skip), _) => {
                self.end_attempts(ctx, id, CloseReason::WriteFailed(error));
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
                self.end_attempts(ctx, id, CloseReason::WriteFailed(error));
                self.report_failed(ctx, path, error.into());
                self.enter(id, State::Failed(error.into()));
            }
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
        let others = self.active.keys().filter(|other| **other != id);
        let mut attempts = others.filter_map(|other| self.jobs.get(other)).flat_map(Job::attempts);
        attempts.any(|attempt| came_bytes(attempt.connection) > ours_bytes)
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
        let Some(attempt) = job.attempt_on(lost) else { return };
        let source = attempt.source;
        attempt.file.into_iter().for_each(|file| ctx.discard(file));
        if connection.download.is_kept_in_vain()
            && !reason.is_our_fault()
            && matches!(reason, CloseReason::ClosedByPeer | CloseReason::Broken(_))
        {
            // The next try is on a connection of its own.
            if !self.goes_on_without(ctx, id, lost) {
                self.seek(ctx, peers, id);
                self.begin_waiting(ctx, peers);
            }
            return;
        }
        // A wrong checksum was seen to when it was found.
        if reason != CloseReason::ChecksumWrong {
            let reason = Some(reason);
            let (path, peer) = (job.path, source);
            ctx.report(Report::SourceFailed { path, peer, reason, again: false });
        }
        if !reason.is_our_fault() {
            peers.note_failure(source, Some(*connection.address.ip()));
        }
        if self.goes_on_without(ctx, id, lost) {
            return self.note_failed(ctx, peers, id, source, Some(reason));
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
        job.attempt_on(on).map(|attempt| (job.path, attempt.began))
    }
}
