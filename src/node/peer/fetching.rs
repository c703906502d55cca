//! Wishes: from a name to a verified file.
//!
//! ```text
//!                offer heard           registered, room         address
//!  ExpectOffer ──────────────▶ Waiting ───────────▶ ExpectAddress ─────▶ Downloading
//!      ▲                         ▲ ▲                     │                  │   │
//!      │ nobody offers it        │ │ next source         │ source failed    │   │ verdict
//!      └─────────────────────────┘ └─────────────────────┴──────────────────┘   ▼
//!                                ▲                       │ all have failed   Committing
//!                          delay │                       ▼                      │
//!                                └─────────────────── BackedOff                 ▼
//!                                                         │ often enough  Done or Failed
//!                                                         ▼
//!                                                       Failed
//! ```
//!
//! A connection whose file is right is kept for the next file of the same source: then
//! the way leads from Waiting straight to Downloading. The next request goes out with the
//! last acknowledgments, and the file before is made safe meanwhile.
//!
//! A file that is too large at all who offer it is given up, and so is one that cannot be
//! written; other failures only a guest ever takes for the end. With a guest, something
//! that stands under the final name may lead from Committing to Comparing, and from there
//! to the end.
//!
//! A source that fails is not asked again for this file before every other one has
//! been; then comes a delay that grows. Among sources, the ones with the fewest
//! failures come first, then the least busy, then chance decides.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::ending::Tally;
use super::{Connection, FileUse, PeerNode, Wake};
use crate::content::Digest;
use crate::content::{FileError, OnConflict, Version};
use crate::limits::{LIED_RETRY_DELAY_MAX, RETRY_DELAY_MIN, WISHES_MAX};
use crate::node::connections::ConnectionId;
use crate::node::retry::Backoff;
use crate::node::{Action, Report, WishError};
use crate::proto::v0::{Download, DownloadEvent};
use crate::proto::{CloseReason, FileId};
use crate::wire::PeerId;
use crate::wire::v0::{FileName, Offer};

/// One file that the user wants.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) state: State,
    /// Sources that failed since the last delay.
    failed: BTreeSet<PeerId>,
    /// Why, if one of them failed because our disk is full, which another download without
    /// end may have filled: the wish is over only if it still is at the next try.
    pub(super) disk_error: Option<FileError>,
    /// Whether all sources were tried, and one failed because our disk is full.
    was_full: bool,
    /// Whether all sources that failed since the last delay have a larger file than may be.
    are_too_large: bool,
    pub(super) backoff: Backoff,
    /// How often all sources have failed.
    pub(super) rounds: u32,
    /// Whether it was ever on offer.
    pub(super) was_offered: bool,
    /// Whether a connection to a source was ever made.
    pub(super) was_connected: bool,
    /// How the last source failed.
    pub(super) last_failure: Option<CloseReason>,
    /// Whether the next good download is to be taken for a wrong one.
    checksum_failure_is_due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    ExpectOffer,
    Waiting,
    ExpectAddress {
        source: PeerId,
    },
    Downloading {
        source: PeerId,
        began: Instant,
        connection: ConnectionId,
        file: Option<FileId>,
    },
    Committing {
        source: PeerId,
        began: Instant,
        digest: Digest,
        size_bytes: u64,
    },
    /// What came is gone again; what stood there is hashed, to see whether it is the same.
    Comparing {
        digest: Digest,
        size_bytes: u64,
    },
    BackedOff,
    Done,
    Failed(WishError),
}

impl State {
    /// Whether the wish is over.
    pub(super) fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }
}

impl Wish {
    fn new(checksum_failure_is_due: bool) -> Self {
        Self {
            state: State::ExpectOffer,
            failed: BTreeSet::new(),
            disk_error: None,
            was_full: false,
            are_too_large: false,
            backoff: Backoff::new(RETRY_DELAY_MIN),
            rounds: 0,
            was_offered: false,
            was_connected: false,
            last_failure: None,
            checksum_failure_is_due,
        }
    }

    /// The program is stopping: nothing more is to be tried.
    pub(super) fn end(&mut self) {
        self.state = State::Done;
    }
}

impl PeerNode {
    pub(super) fn on_want(&mut self, now: Instant, names: &[FileName]) {
        for &name in names {
            if self.wishes.len() >= WISHES_MAX {
                self.forget_ended_wishes();
            }
            let room = self.wishes.len() < WISHES_MAX;
            match self.wishes.get(&name) {
                Some(Wish { state: State::Failed(_), .. }) => self.tally.failed -= 1,
                // Who asks again is told again, and gets what has gone since.
                Some(Wish { state: State::Done, .. }) => self.tally.done -= 1,
                None if room => {}
                None => {
                    self.report(Report::WishFailed { name, error: WishError::TooMany });
                    continue;
                }
                Some(Wish { state: State::ExpectOffer, .. }) => {
                    self.report(Report::WaitingForOffer { name });
                    continue;
                }
                Some(_) => continue,
            }
            self.wishes.insert(name, Wish::new(self.settings.simulate_checksum_failure));
            if self.index.get(&name).is_some() || self.following.is_restless(&name) {
                self.report(Report::AlreadyThere { name });
                self.end_wish(State::Done, name);
                continue;
            }
            if self.catalog.sources(&name).next().is_none() {
                self.report(Report::WaitingForOffer { name });
            }
            self.seek(now, name);
        }
        self.end_if_done(now);
    }

    /// Makes room for others, unless their ends are still to be counted.
    fn forget_ended_wishes(&mut self) {
        if !self.settings.exit_when_done {
            let is_over = |wish: &Wish| matches!(wish.state, State::Done | State::Failed(_));
            self.wishes.retain(|_, wish| !is_over(wish));
            self.tally = Tally::default();
        }
    }

    pub(super) fn on_source_heard(&mut self, now: Instant, offer: Offer) {
        match self.wishes.get_mut(&offer.name) {
            Some(wish) if wish.state == State::ExpectOffer => self.seek(now, offer.name),
            Some(wish) if wish.state == State::BackedOff && !wish.failed.contains(&offer.peer) => {
                // Whether the disk is full still is to be found out.
                wish.disk_error = None;
                self.seek(now, offer.name);
            }
            _ => {}
        }
    }

    /// The delay after all sources failed is over: they are asked again.
    pub(super) fn on_retry(&mut self, now: Instant, name: FileName) {
        if let Some(wish) = self.wishes.get_mut(&name)
            && wish.state == State::BackedOff
        {
            wish.failed.clear();
            self.seek(now, name);
        }
    }

    /// Begins the wishes that wait for the registry or for room, as far as it goes.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        while self.active.len() < self.downloads_max && self.registration().is_some() {
            let Some(name) = self.waiting.pop_first() else { break };
            self.seek(now, name);
        }
        if !self.has_more_to_fetch() {
            while let Some(&(_, connection)) = self.kept.first() {
                self.let_go(now, connection);
            }
        }
    }

    /// Whether there are wishes that have not begun.
    fn has_more_to_fetch(&self) -> bool {
        self.active.len() + self.arrived.len() < self.open_wishes()
    }

    /// The file of a connection is right: it may serve again.
    pub(super) fn keep_or_let_go(&mut self, now: Instant, connection: ConnectionId) {
        match self.connections.get(connection) {
            Some(&Connection::Download { source, .. }) if self.has_more_to_fetch() => {
                self.kept.insert((source, connection));
                self.begin_waiting(now);
            }
            _ => self.let_go(now, connection),
        }
    }

    /// Closes a connection that is not needed any more, once everything is sent.
    fn let_go(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(Connection::Download { source, download, .. }) =
            self.connections.get(connection)
        {
            self.kept.remove(&(*source, connection));
            if download.is_finished() {
                self.close(now, connection, CloseReason::Done);
            }
        }
    }

    /// A connection to this source that waits for its next file.
    fn take_kept(&mut self, source: PeerId) -> Option<ConnectionId> {
        let kept = *self.kept.iter().find(|(kept, _)| *kept == source)?;
        self.kept.remove(&kept);
        Some(kept.1)
    }

    /// Finds a source for a wish that has none, and asks where it is.
    fn seek(&mut self, now: Instant, name: FileName) {
        self.deadlines.disarm(Wake::Wish(name));
        let is_offered = self.catalog.sources(&name).next().is_some();
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.was_offered |= is_offered;
        }
        let state = if !is_offered {
            State::ExpectOffer
        } else if self.active.len() >= self.downloads_max || self.registration().is_none() {
            State::Waiting
        } else if let Some(source) = self.choose_source(&name) {
            match self.take_kept(source) {
                Some(connection) => return self.fetch_on(now, name, source, connection),
                None => State::ExpectAddress { source },
            }
        } else {
            State::BackedOff
        };
        let retries_max = self.guest().map_or(u32::MAX, |guest| guest.retries_max);
        let Some(wish) = self.wishes.get_mut(&name) else { return };
        if state == State::BackedOff {
            if let (Some(error), true) = (wish.disk_error, wish.was_full) {
                return self.fail_wish(now, name, error.into());
            }
            if wish.are_too_large {
                return self.fail_wish(now, name, WishError::TooLarge);
            }
            if wish.rounds >= retries_max {
                let error = self.why_not(&name);
                return self.fail_wish(now, name, error);
            }
            wish.rounds += 1;
        }
        wish.state = state;
        match state {
            State::ExpectAddress { source } => {
                self.active.insert(name, source);
                if let Some((connection, registration)) = self.registration() {
                    registration.look_up(now, source);
                    self.after(connection);
                }
            }
            State::Waiting => _ = self.waiting.insert(name),
            State::BackedOff => {
                wish.was_full = wish.disk_error.is_some();
                let retry_in = wish.backoff.delay(&mut self.rng);
                self.deadlines.arm(Wake::Wish(name), now + retry_in);
                self.report(Report::AllSourcesFailed { name, retry_in });
            }
            _ => wish.failed.clear(),
        }
    }

    fn choose_source(&mut self, name: &FileName) -> Option<PeerId> {
        let Self { wishes, catalog, active, rng, .. } = self;
        let failed = &wishes.get(name)?.failed;
        let candidates = catalog.sources(name).filter(|peer| !failed.contains(peer));
        let ranked = candidates.map(|peer| {
            let downloads = active.values().filter(|source| **source == peer).count();
            (catalog.failures(peer), downloads, rng.u32(..), peer)
        });
        ranked.min().map(|(.., peer)| peer)
    }

    /// The registry has answered a lookup.
    pub(super) fn on_address(&mut self, now: Instant, peer: PeerId, address: Option<SocketAddrV4>) {
        let asked = State::ExpectAddress { source: peer };
        let names: Vec<_> =
            self.active.keys().filter(|name| self.wishes[*name].state == asked).copied().collect();
        for name in names {
            match address.filter(|address| can_be_dialed(*address)) {
                Some(address) => self.dial_source(now, name, peer, address),
                None => {
                    self.report(Report::SourceFailed { name, peer, reason: None });
                    self.catalog.note_failure(peer);
                    self.source_failed(now, name, peer, None);
                }
            }
        }
    }

    fn dial_source(&mut self, now: Instant, name: FileName, source: PeerId, address: SocketAddrV4) {
        if self.active.len() + self.kept.len() > self.downloads_max
            && let Some(&(_, connection)) = self.kept.first()
        {
            self.let_go(now, connection);
        }
        let download = Box::new(Download::new(now, &self.limits, self.settings.id));
        let download = Connection::Download { source, address, name, download };
        let Some(connection) = self.connections.dial(download) else {
            let reason = Some(CloseReason::Broken(io::ErrorKind::OutOfMemory));
            self.report(Report::SourceFailed { name, peer: source, reason });
            return self.source_failed(now, name, source, None);
        };
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.state = State::Downloading { source, began: now, connection, file: None };
        }
        self.actions.push_back(Action::Dial { connection, to: address });
        self.report(Report::DownloadStarted { name, peer: source, address });
        self.after(connection);
    }

    /// Fetches the next file on a connection that was kept.
    fn fetch_on(&mut self, now: Instant, name: FileName, source: PeerId, connection: ConnectionId) {
        let Some(Connection::Download { name: last, address, .. }) =
            self.connections.get_mut(connection)
        else {
            unreachable!("what is kept is open");
        };
        *last = name;
        let address = *address;
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.state = State::Downloading { source, began: now, connection, file: None };
        }
        self.active.insert(name, source);
        self.report(Report::DownloadStarted { name, peer: source, address });
        self.request(now, connection, name);
        self.after(connection);
    }

    /// Asks for a file on a connection that is made.
    pub(super) fn request(&mut self, now: Instant, connection: ConnectionId, name: FileName) {
        let partial = self.open_file(FileUse::Partial(name));
        if let Some(wish) = self.wishes.get_mut(&name)
            && let State::Downloading { file, .. } = &mut wish.state
        {
            *file = Some(partial);
            wish.was_connected = true;
        }
        self.actions.push_back(Action::CreatePartial { file: partial, name });
        if let Some(Connection::Download { download, .. }) = self.connections.get_mut(connection) {
            download.request(now, name);
        }
    }

    pub(super) fn on_download_bytes(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let mut at = 0;
        while let Some(Connection::Download { name, download, .. }) =
            self.connections.get_mut(connection)
        {
            let name = *name;
            match download.handle_bytes(now, bytes, &mut at) {
                Ok(None) => return,
                Ok(Some(DownloadEvent::Write { range, offset })) => {
                    if let Some(State::Downloading { file: Some(file), .. }) = self.state(&name) {
                        self.actions.push_back(Action::Write { file, range, offset });
                    }
                }
                Ok(Some(verdict)) => {
                    if at < bytes.len() {
                        let (expected, got) = ("nothing after the EOF", "more bytes");
                        let reason = CloseReason::PeerViolated { expected, got };
                        return self.close(now, connection, reason);
                    }
                    return self.on_verdict(now, name, verdict);
                }
                Err(reason) => return self.close(now, connection, reason),
            }
        }
    }

    pub(super) fn on_written(&mut self, now: Instant, file: FileId, len_bytes: usize) {
        let Some(&FileUse::Partial(name)) = self.files.get(&file) else { return };
        let Some(State::Downloading { connection, .. }) = self.state(&name) else { return };
        let Some(Connection::Download { download, .. }) = self.connections.get_mut(connection)
        else {
            return;
        };
        if let Some(verdict) = download.handle_written(len_bytes) {
            self.on_verdict(now, name, verdict);
        }
        // With the verdict too: the last acknowledgments are to go out.
        self.after(connection);
    }

    fn on_verdict(&mut self, now: Instant, name: FileName, event: DownloadEvent) {
        let DownloadEvent::Verdict { digest, matches, size_bytes } = event else { return };
        let Some(State::Downloading { source, began, connection, file: Some(file) }) =
            self.state(&name)
        else {
            return;
        };
        let Some(wish) = self.wishes.get_mut(&name) else { return };
        let is_simulated = matches && std::mem::take(&mut wish.checksum_failure_is_due);
        if !matches {
            wish.backoff.grow_to(LIED_RETRY_DELAY_MAX);
        } else if is_simulated {
            wish.backoff.reset();
        }
        if !matches || is_simulated {
            self.report(Report::ChecksumFailed { name, peer: source, is_simulated });
            return self.close(now, connection, CloseReason::ChecksumWrong);
        }
        wish.state = State::Committing { source, began, digest, size_bytes };
        self.active.remove(&name);
        self.arrived.insert(name);
        self.actions.push_back(Action::Commit(file));
        if let Some(Connection::Download { download, .. }) = self.connections.get_mut(connection) {
            download.finish(now);
            self.keep_or_let_go(now, connection);
        }
    }

    pub(super) fn on_committed(
        &mut self,
        now: Instant,
        file: FileId,
        name: FileName,
        version: Version,
    ) {
        let Some(FileUse::Partial(wanted)) = self.files.remove(&file) else { return };
        let Some(State::Committing { source, began, digest, .. }) = self.state(&wanted) else {
            return;
        };
        self.end_rest(&name);
        self.catalog.note_success(source);
        let elapsed = now.saturating_duration_since(began);
        let size_bytes = version.size_bytes;
        self.report(Report::Verified { name: wanted, peer: source, size_bytes, digest, elapsed });
        if name != wanted {
            self.report(Report::SavedAs { wanted, name });
        }
        if self.guest().is_none() {
            // What stood there for a moment is no longer.
            self.withdraw(now, &name);
            self.index.insert(name, version, Some(digest));
            self.arm_offers();
            self.announce(now, name);
        }
        self.end_wish(State::Done, wanted);
        self.begin_waiting(now);
        self.end_if_done(now);
    }

    pub(super) fn on_partial_failed(&mut self, now: Instant, name: FileName, error: FileError) {
        let state = self.state(&name);
        if let Some(State::Downloading { connection, .. }) = state
            && (error.is_full() || matches!(error, FileError::Shortage(_)))
        {
            return self.close(now, connection, CloseReason::WriteFailed(error));
        }
        match (error, self.guest().map(|guest| guest.on_conflict), state) {
            (FileError::Exists, Some(OnConflict::Skip), _) => {
                self.report(Report::AlreadyThere { name });
                self.end_wish(State::Done, name);
            }
            (
                FileError::Exists,
                Some(OnConflict::Compare),
                Some(State::Committing { digest, size_bytes, .. }),
            ) => self.compare(name, digest, size_bytes),
            _ => {
                self.report(Report::WishFailed { name, error: error.into() });
                self.end_wish(State::Failed(error.into()), name);
            }
        }
        if let Some(State::Downloading { connection, .. }) = state {
            self.close(now, connection, CloseReason::WriteFailed(error));
        }
        self.begin_waiting(now);
        self.end_if_done(now);
    }

    /// The connection of a download is over: if the wish is not, its source failed.
    pub(super) fn on_download_lost(
        &mut self,
        now: Instant,
        lost: ConnectionId,
        name: FileName,
        reason: CloseReason,
        is_kept_in_vain: bool,
    ) {
        // A connection whose file is right may outlive its wish, and meet the next one.
        let (source, file) = match self.state(&name) {
            Some(State::Downloading { source, connection, file, .. }) if connection == lost => {
                (source, file)
            }
            _ => return,
        };
        if let Some(file) = file {
            self.discard(file);
        }
        if is_kept_in_vain
            && !reason.is_our_fault()
            && matches!(reason, CloseReason::ClosedByPeer | CloseReason::Broken(_))
        {
            // The next try is on a connection of its own.
            self.active.remove(&name);
            self.seek(now, name);
            return self.begin_waiting(now);
        }
        // A wrong checksum was seen to when it was found.
        if reason != CloseReason::ChecksumWrong {
            if reason.is_their_fault()
                && let Some(wish) = self.wishes.get_mut(&name)
            {
                wish.backoff.grow_to(LIED_RETRY_DELAY_MAX);
            }
            self.report(Report::SourceFailed { name, peer: source, reason: Some(reason) });
        }
        if !reason.is_our_fault() {
            self.catalog.note_failure(source);
        }
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.last_failure = Some(reason);
        }
        self.source_failed(now, name, source, Some(reason));
    }

    /// Goes on to the next source.
    fn source_failed(
        &mut self,
        now: Instant,
        name: FileName,
        source: PeerId,
        reason: Option<CloseReason>,
    ) {
        self.active.remove(&name);
        if let Some(wish) = self.wishes.get_mut(&name) {
            let is_first = wish.failed.is_empty();
            wish.are_too_large =
                (wish.are_too_large || is_first) && reason == Some(CloseReason::TooLarge);
            wish.disk_error = match reason {
                Some(CloseReason::WriteFailed(error)) if error.is_full() => Some(error),
                _ => wish.disk_error.filter(|_| !is_first),
            };
            wish.failed.insert(source);
        }
        self.seek(now, name);
        self.begin_waiting(now);
    }

    /// The registry is gone: what was asked of it waits until it is back.
    pub(super) fn forget_lookups(&mut self) {
        for name in self.active.keys().copied().collect::<Vec<_>>() {
            if let Some(wish) = self.wishes.get_mut(&name)
                && let State::ExpectAddress { .. } = wish.state
            {
                wish.state = State::Waiting;
                self.active.remove(&name);
                self.waiting.insert(name);
            }
        }
    }

    /// Since when a file is being fetched on this connection, if it is.
    pub(super) fn download_began(&self, name: &FileName, on: ConnectionId) -> Option<Instant> {
        match self.state(name)? {
            State::Downloading { began, connection, .. } if connection == on => Some(began),
            _ => None,
        }
    }

    pub(super) fn state(&self, name: &FileName) -> Option<State> {
        self.wishes.get(name).map(|wish| wish.state)
    }
}

/// Whether an address from the registry can be that of a peer at all.
fn can_be_dialed(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast()
}
