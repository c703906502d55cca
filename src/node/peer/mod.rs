//! A peer: shares its files, and fetches what it wants.
//!
//! | room | what happens there |
//! |---|---|
//! | this file | the state, and the way in and out of it |
//! | [`registering`] | the connection to the registry, made again when it is lost |
//! | [`offering`] | offers sent and heard |
//! | [`serving`] | uploads, and the hashing of our files |
//! | [`following`] | what changes in our folder is offered once it rests |
//! | [`fetching`] | wishes: from a name to a verified file |
//! | [`comparing`] | what to do if something stands under that name |
//! | [`ending`] | wishes that come to their end, and giving up |
//! | [`matching`] | wishes for every name that matches a pattern |

mod comparing;
mod ending;
mod fetching;
mod following;
mod matching;
mod offering;
mod registering;
mod serving;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::ending::Tally;
use self::fetching::Wish;
use self::following::Following;
use self::matching::Search;
use self::registering::RegistryLink;
use super::catalog::Catalog;
use super::connections::{ConnectionId, Connections};
use super::deadlines::Deadlines;
use super::index::Index;
use super::{
    Action, CloseHow, Direction, HeardOffer, Input, Inventory, Node, Outcome, Report, Snapshot,
    Transfer,
};
use crate::content::{FileError, OnConflict};
use crate::limits::{
    ACTIONS_KEPT, DOWNLOADS_MAX, Limits, OFFER_EXPIRY_INTERVALS, OFFER_EXPIRY_MIN,
};
use crate::proto::v0::{Download, OfferSchedule, Registration, Upload};
use crate::proto::{Accepted, CloseReason, FileId, Transmit};
use crate::wire::PeerId;
use crate::wire::v0::FileName;

/// What a peer is told at its start.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What kind of peer it is.
    pub kind: PeerKind,
    /// The id to register; 0 for a guest.
    pub id: PeerId,
    /// The TCP port on which the peer listens; 0 for a guest.
    pub port: u16,
    /// Where the registry is.
    pub registry: SocketAddrV4,
    /// How often each file is offered.
    pub offer_interval: Duration,
    /// Whether the first download of each file is taken for a wrong one.
    pub simulate_checksum_failure: bool,
    /// Whether to end once every wish has come to an end.
    pub exit_when_done: bool,
    /// The bounds of this peer.
    pub limits: Limits,
    /// Where jitter and the choice among equal sources come from.
    pub seed: u64,
}

/// What kind of peer it is.
#[derive(Clone, Copy, Debug)]
pub enum PeerKind {
    /// Known by its id; it ends if the registry refuses that.
    Fixed,
    /// Known by some id: it takes another if the registry refuses one.
    AnyId,
    /// Known to nobody: it registers nothing, offers nothing and serves nobody.
    Guest(GuestSettings),
}

/// What a guest is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct GuestSettings {
    /// Give up after this long.
    pub timeout: Option<Duration>,
    /// Give a wish up once all its sources were asked again this often.
    pub retries_max: u32,
    /// What to do if something stands under the name of a file.
    pub on_conflict: OnConflict,
}

/// A peer as pure state.
///
/// Invariants: `files` holds exactly the ids that the runner has open for us; a
/// wish is in `active` while it waits for an address or has a connection; a
/// connection in `registry` or in a wish is in `connections`.
#[derive(Debug)]
pub struct PeerNode {
    settings: PeerSettings,
    limits: Rc<Limits>,
    connections: Connections<Connection>,
    registry: RegistryLink,
    schedule: OfferSchedule,
    catalog: Catalog,
    index: Index,
    following: Following,
    wishes: BTreeMap<FileName, Wish>,
    /// Patterns that names are held against as they are heard of.
    searches: Vec<Search>,
    /// Counts the wishes that have ended.
    tally: Tally,
    /// Wishes that wait for an address or have a connection, and to which source: at most
    /// `downloads_max`.
    active: BTreeMap<FileName, PeerId>,
    /// Wishes whose file came whole, and is made safe at the end of the turn, or compared.
    arrived: BTreeSet<FileName>,
    downloads_max: usize,
    /// Wishes that could begin, but for that bound or for the registry.
    waiting: BTreeSet<FileName>,
    /// Connections of downloads that are done, kept for the next file of the same source.
    kept: BTreeSet<(PeerId, ConnectionId)>,
    files: BTreeMap<FileId, FileUse>,
    next_file: u64,
    deadlines: Deadlines<Wake>,
    rng: fastrand::Rng,
    actions: VecDeque<Action>,
    /// Nothing is done any more, whatever is still told.
    has_exited: bool,
}

/// A connection of a peer, by what it is for.
#[derive(Debug)]
enum Connection {
    Registration(Registration),
    Accepted {
        from: SocketAddrV4,
        accepted: Accepted,
    },
    Upload {
        from: SocketAddrV4,
        upload: Upload,
        /// The file that was asked for last, until all of it is acknowledged. Boxed, as most
        /// connections are idle.
        served: Option<Box<Served>>,
    },
    Download {
        source: PeerId,
        /// Where that peer listens.
        address: SocketAddrV4,
        /// The file that was asked for last.
        name: FileName,
        /// Boxed: it is large, and most connections are none.
        download: Box<Download>,
    },
}

/// The file of an upload.
#[derive(Clone, Copy, Debug)]
struct Served {
    name: FileName,
    /// Until all of it is handed over.
    file: Option<FileId>,
    /// Known once it is open.
    size_bytes: u64,
    began: Instant,
}

/// What an open file is for.
#[derive(Clone, Copy, Debug)]
enum FileUse {
    /// Sent on this connection.
    Source(ConnectionId),
    /// The partial file of this wish.
    Partial(FileName),
}

/// What a deadline wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    Registry,
    Offers,
    Expiry,
    Searches,
    GiveUp,
    Wish(FileName),
    Rehash(FileName),
    Rest(FileName),
    News,
    LookAtAll,
}

impl PeerNode {
    /// A peer that begins by looking for its registry.
    pub fn new(now: Instant, settings: PeerSettings) -> Self {
        let expiry = OFFER_EXPIRY_MIN.max(settings.offer_interval * OFFER_EXPIRY_INTERVALS);
        // However few connections there may be, half of them are for fetching.
        let reserved = (DOWNLOADS_MAX + 1).min(settings.limits.connections_max / 2);
        let mut node = Self {
            limits: Rc::new(settings.limits),
            connections: Connections::new(&settings.limits, reserved),
            registry: RegistryLink::new(),
            // Before we are registered nobody could find us.
            schedule: OfferSchedule::new(
                now + settings.limits.connect_timeout,
                settings.offer_interval,
            ),
            catalog: Catalog::new(expiry),
            index: Index::default(),
            following: Following::new(),
            wishes: BTreeMap::new(),
            searches: Vec::new(),
            tally: Tally::default(),
            active: BTreeMap::new(),
            arrived: BTreeSet::new(),
            // One connection is for the registry.
            downloads_max: reserved.saturating_sub(1).max(1),
            waiting: BTreeSet::new(),
            kept: BTreeSet::new(),
            files: BTreeMap::new(),
            next_file: 0,
            deadlines: Deadlines::new(),
            rng: fastrand::Rng::with_seed(settings.seed),
            actions: VecDeque::new(),
            has_exited: false,
            settings,
        };
        if let Some(timeout) = node.guest().and_then(|guest| guest.timeout) {
            node.deadlines.arm(Wake::GiveUp, now + timeout);
        }
        node.dial_registry(now);
        node
    }

    /// What sets a guest apart, if it is one.
    fn guest(&self) -> Option<GuestSettings> {
        match self.settings.kind {
            PeerKind::Guest(guest) => Some(guest),
            PeerKind::Fixed | PeerKind::AnyId => None,
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }

    fn open_file(&mut self, file_use: FileUse) -> FileId {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(file, file_use);
        file
    }

    fn discard(&mut self, file: FileId) {
        if self.files.remove(&file).is_some() {
            self.actions.push_back(Action::Discard(file));
        }
    }

    fn on_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        match self.connections.get(connection) {
            Some(Connection::Registration(_)) => self.on_registry_bytes(now, connection, bytes),
            Some(Connection::Accepted { .. }) => self.on_first_bytes(now, connection, bytes),
            Some(Connection::Upload { .. }) => self.on_upload_bytes(now, connection, bytes),
            Some(Connection::Download { .. }) => self.on_download_bytes(now, connection, bytes),
            None => {}
        }
        self.after(connection);
    }

    /// What every input about a connection ends with: something may be sent, and
    /// its deadline may be another.
    fn after(&mut self, connection: ConnectionId) {
        let Some(machine) = self.connections.get(connection) else { return };
        let (has_output, deadline) = match machine {
            Connection::Accepted { accepted, .. } => (false, Some(accepted.poll_timeout())),
            Connection::Registration(m) => (m.transmit().is_some(), m.poll_timeout()),
            Connection::Upload { upload: m, .. } => (m.transmit().is_some(), m.poll_timeout()),
            Connection::Download { download: m, .. } => (m.transmit().is_some(), m.poll_timeout()),
        };
        if has_output {
            self.actions.push_back(Action::Transmit(connection));
        }
        if let Some(deadline) = deadline {
            self.connections.arm(connection, deadline);
        }
    }

    /// Closes a connection, and does what follows from that.
    fn close(&mut self, now: Instant, connection: ConnectionId, reason: CloseReason) {
        let how = match self.connections.get(connection) {
            // The registry of the reference forgets a registration only at a reset, and
            // forgets the *first* holder of an id when a refused one is reset.
            // A guest is neither.
            Some(Connection::Registration(m)) if !m.was_accepted() && self.guest().is_none() => {
                CloseHow::Finish
            }
            Some(_) => CloseHow::Reset,
            None => return,
        };
        // Before what follows, which may use the same slot again.
        self.actions.push_back(Action::Close { connection, how, reason });
        self.lose(now, connection, reason);
    }

    /// A connection is over: takes it out of all tables and does what follows.
    fn lose(&mut self, now: Instant, connection: ConnectionId, reason: CloseReason) {
        let Some(machine) = self.connections.remove(connection) else { return };
        match machine {
            Connection::Registration(_) => self.on_registry_lost(now, reason),
            Connection::Accepted { from, .. } => {
                self.report(Report::ConnectionClosed { from, reason });
            }
            Connection::Upload { from, served, .. } => {
                self.on_upload_lost(connection, from, served, reason);
            }
            Connection::Download { source, name, download, .. } => {
                self.kept.remove(&(source, connection));
                self.on_download_lost(now, connection, name, reason, download.is_kept_in_vain());
            }
        }
    }

    fn on_file_failed(&mut self, now: Instant, file: FileId, error: FileError) {
        match self.files.remove(&file) {
            Some(FileUse::Source(connection)) => self.on_source_failed(now, connection, error),
            Some(FileUse::Partial(name)) => self.on_partial_failed(now, name, error),
            None => {}
        }
    }

    /// Ends everything, so that nothing is left behind, and then the program.
    fn exit(&mut self, now: Instant, outcome: Outcome) {
        for wish in self.wishes.values_mut() {
            wish.end();
        }
        for connection in self.connections.ids() {
            self.close(now, connection, CloseReason::Stopping);
        }
        for file in self.files.keys().copied().collect::<Vec<_>>() {
            self.discard(file);
        }
        self.deadlines = Deadlines::new();
        self.has_exited = true;
        self.actions.push_back(Action::Exit(outcome));
    }
}

impl Node for PeerNode {
    fn accept(&mut self, now: Instant, from: SocketAddrV4) -> Option<ConnectionId> {
        if self.guest().is_some() {
            return None;
        }
        let accepted = Accepted::new(now, &self.limits);
        let connection = self.connections.accept(from, Connection::Accepted { from, accepted });
        match connection {
            Some(connection) => self.after(connection),
            None => self.actions.push_back(Action::Report(Report::ConnectionRefused { from })),
        }
        connection
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.has_exited {
            return;
        }
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(now, from, bytes),
            Input::NotSent { .. } => debug_assert!(false, "offers are broadcast"),
            Input::Connected(connection) => self.on_connected(now, connection),
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReadClosed(connection) => {
                self.close(now, connection, CloseReason::ClosedByPeer);
            }
            Input::Broken { connection, kind } => {
                self.lose(now, connection, CloseReason::Broken(kind));
            }
            Input::Opened { file, version } => self.on_opened(now, file, version),
            Input::Written { file, len_bytes } => self.on_written(now, file, len_bytes),
            Input::Committed { file, name, version } => {
                self.on_committed(now, file, name, version);
            }
            Input::FileFailed { file, error } => self.on_file_failed(now, file, error),
            Input::HashProgress { name, version, .. } if self.is_comparing(&name) => {
                self.on_comparing(now, name, version);
            }
            Input::Hashed { name, digest, .. } if self.is_comparing(&name) => {
                self.on_compared(now, name, digest);
            }
            Input::HashFailed { name, error } if self.is_comparing(&name) => {
                self.on_compare_failed(now, name, error);
            }
            Input::FileFound { name, version, digest } => {
                self.on_file_found(now, name, version, digest);
            }
            Input::FileSeen { name, version, sight } => {
                self.on_file_seen(now, name, version, sight);
            }
            Input::FileGone { name } => self.on_file_gone(now, name),
            Input::ChangesMissed => self.on_changes_missed(now),
            Input::FolderLost => self.on_folder_lost(now),
            Input::HashProgress { name, version, hashed_bytes } => {
                self.on_hashed(now, name, version, hashed_bytes, None);
            }
            Input::Hashed { name, version, digest } => {
                self.on_hashed(now, name, version, version.size_bytes, Some(digest));
            }
            Input::HashFailed { name, error } => self.on_hash_failed(now, name, error),
            Input::Want(names) => self.on_want(now, names),
            Input::WantMatching(patterns) => self.on_want_matching(now, patterns),
            Input::Stop(signal) => self.exit(now, Outcome::Stopped(signal)),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(connection) = self.connections.pop_due(now) {
            self.on_connection_timeout(now, connection);
        }
        while let Some(wake) = self.deadlines.pop(now) {
            match wake {
                Wake::Registry => self.dial_registry(now),
                Wake::Offers => self.offer_batch(now),
                Wake::Expiry => self.expire_offers(now),
                Wake::Searches => self.end_searches(now),
                Wake::GiveUp => self.give_all_up(now),
                Wake::Wish(name) => self.on_retry(now, name),
                Wake::Rehash(name) => self.hash(name),
                Wake::Rest(name) => self.on_rest_due(now, name),
                Wake::News => self.offer_news(now),
                Wake::LookAtAll => self.look_at_all(now),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.connections.next_deadline(), self.deadlines.next()].into_iter().flatten().min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions.shrink_to(ACTIONS_KEPT);
        }
        action
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        match self.connections.get(connection)? {
            Connection::Registration(registration) => registration.transmit(),
            Connection::Accepted { .. } => None,
            Connection::Upload { upload, .. } => upload.transmit(),
            Connection::Download { download, .. } => download.transmit(),
        }
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        match self.connections.get_mut(connection) {
            Some(Connection::Registration(registration)) => registration.transmitted(len_bytes),
            Some(Connection::Download { download, .. }) => {
                download.transmitted(len_bytes);
                if download.is_finished() {
                    self.keep_or_let_go(now, connection);
                }
            }
            Some(Connection::Upload { upload, .. }) => {
                let event = upload.transmitted(now, len_bytes);
                if let Some(deadline) = upload.poll_timeout() {
                    self.connections.arm(connection, deadline);
                }
                self.on_upload_event(now, connection, event);
            }
            Some(Connection::Accepted { .. }) | None => {}
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        match self.connections.get(connection) {
            Some(Connection::Download { download, .. }) => download.read_allowance_bytes(),
            // What comes here queues nothing, or one answer at a time.
            Some(
                Connection::Registration(_)
                | Connection::Accepted { .. }
                | Connection::Upload { .. },
            ) => usize::MAX,
            None => 0,
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            transfers: self.connections.iter().filter_map(|(id, c)| self.transfer(id, c)).collect(),
            connections: self.connections.len(),
            files_shared: self.index.len(),
            offers_known: self.catalog.len(),
            peers_known: self.catalog.peers(),
            wishes_open: self.open_wishes(),
        }
    }

    fn inventory(&self, names_max: usize) -> Inventory {
        Inventory {
            shared: self.index.sizes().take(names_max).collect(),
            offers: self.catalog.offers().take(names_max).map(HeardOffer::from).collect(),
        }
    }
}

impl PeerNode {
    fn transfer(&self, id: ConnectionId, connection: &Connection) -> Option<Transfer> {
        match connection {
            Connection::Download { source, address, name, download } => {
                let began = self.download_began(name, id)?;
                Some(Transfer {
                    connection: id,
                    name: *name,
                    direction: Direction::In { peer: *source },
                    address: *address,
                    began,
                    moved_at: download.moved_at().unwrap_or(began),
                    bytes: download.received_bytes(),
                })
            }
            Connection::Upload { from, upload, served: Some(served) } => {
                let Served { name, size_bytes, began, .. } = **served;
                let waits_for_hash = upload.waits_for_hash();
                Some(Transfer {
                    connection: id,
                    name,
                    direction: Direction::Out { size_bytes, waits_for_hash },
                    address: *from,
                    began,
                    moved_at: upload.moved_at().unwrap_or(began),
                    // Handed over, it may still be on its way.
                    bytes: upload.sent_bytes().unwrap_or(size_bytes),
                })
            }
            Connection::Upload { served: None, .. }
            | Connection::Accepted { .. }
            | Connection::Registration(_) => None,
        }
    }

    fn on_connected(&mut self, now: Instant, connection: ConnectionId) {
        match self.connections.get_mut(connection) {
            Some(Connection::Registration(registration)) => {
                registration.handle_connected(now);
                if registration.is_registered() {
                    self.on_registered(now);
                }
            }
            Some(Connection::Download { name, .. }) => {
                let name = *name;
                self.request(now, connection, name);
            }
            Some(Connection::Accepted { .. } | Connection::Upload { .. }) | None => {}
        }
        self.after(connection);
    }

    fn on_connection_timeout(&mut self, now: Instant, connection: ConnectionId) {
        let verdict = match self.connections.get_mut(connection) {
            Some(Connection::Registration(registration)) => registration.handle_timeout(now),
            Some(Connection::Accepted { accepted, .. }) => accepted.handle_timeout(now),
            Some(Connection::Upload { upload, .. }) => upload.handle_timeout(now),
            Some(Connection::Download { download, .. }) => download.handle_timeout(now),
            None => return,
        };
        match verdict {
            Ok(()) => self.after(connection),
            Err(reason) => self.close(now, connection, reason),
        }
    }
}
