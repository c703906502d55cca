//! A peer: shares its files, and fetches what it wants.
//!
//! Wires four parts together, each of which owns its tables: [`share`](super::share) for our
//! files, [`peers`](super::peers) for the other peers, [`fetch`](super::fetch) for our jobs by
//! version 0, [`gather`](super::gather) for those by version 1.
//! Inputs are handed to the part that they concern; what follows from it for another part
//! is seen to here.

mod connection;
mod context;
mod programs;
mod sealing;
mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

pub(super) use self::connection::{Connection, DownloadConnection, Served, UploadConnection};
pub(super) use self::context::{Context, FileUse, Wake};
pub use self::sealing::GroupSettings;
pub(super) use self::sealing::Seal;
pub(super) use self::session::{SessionConnection, Them};
use super::connections::ConnectionId;
use super::fetch::Fetch;
use super::gather::contents::Contents;
use super::gather::{Gather, GatherSettings, Others, Wish};
use super::paths::Paths;
use super::peers::{LinkEvent, Peers};
use super::share::Share;
use super::{
    Action, Direction, HostPort, Input, Interface, Inventory, ListedEntry, Node, Outcome, Report,
    Snapshot, Transfer, changes,
};
use crate::content::{FileError, Hash, HashKind, Known, OnConflict, Sight, Version};
use crate::limits::{DOWNLOADS_MAX, GUEST_FILES_MAX, HEDGES_MAX, Limits};
use crate::proto::{CloseReason, FileId, Transmit};
use crate::wire::v1::{Beacon, BeaconKey, PeerName, Secret, TagKey};
use crate::wire::{FilePath, Malformed, PeerId};

/// What a peer is told at its start.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    pub kind: PeerKind,
    /// The id to register; 0 for a guest, which has another one on sessions and in beacons.
    pub id: PeerId,
    /// The TCP port on which the peer listens; 0 for a guest that does not.
    pub port: u16,
    pub registry: HostPort,
    pub registry_use: RegistryUse,
    pub offer_interval: Duration,
    /// The name that others are shown.
    pub name: PeerName,
    /// The random number of this run; never 0.
    pub instance: u64,
    /// Whether our files are offered by version 0.
    pub shares_v0: bool,
    /// The group with a secret of which this peer is a member.
    pub group: Option<GroupSettings>,
    /// How beacons are sent and heard; `None` if none are.
    pub beacons: Option<BeaconSettings>,
    /// How wishes are fetched.
    pub gather: GatherSettings,
    /// Whether the first download of each file is taken for a wrong one.
    pub simulate_checksum_failure: bool,
    pub exit_when_done: bool,
    pub limits: Limits,
    /// Where jitter and the choice among equal sources come from.
    pub seed: u64,
}

impl PeerSettings {
    /// Returns the id on sessions and in beacons. A guest, which registers none, has one for this
    /// run: two of them at one address are two peers.
    pub(super) fn id_on_sessions(&self) -> PeerId {
        match self.id {
            PeerId(0) => PeerId((self.instance as u32).max(1)),
            id => id,
        }
    }

    /// With a secret, nothing is told to others: nothing is offered by version 0, and no registry
    /// is used that the user has not named.
    fn keep_to_group(&mut self) {
        self.shares_v0 &= self.is_open();
        if self.group.is_some() && self.registry_use == RegistryUse::Usual {
            self.registry_use = RegistryUse::Never;
        }
    }

    /// Returns whether peers without a secret are served, and are sources.
    pub(super) fn is_open(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.also_open)
    }
}

/// The keys of beacons and of the tags in them.
#[derive(Clone, Debug)]
pub struct BeaconSettings {
    /// What we have is known by a tag of each; what we look for by one of the first.
    pub tag_keys: Vec<TagKey>,
    /// Those of MACs: the first is for what we send, and what is heard may have any.
    pub keys: Vec<BeaconKey>,
    /// Whether beacons without a MAC are sent and heard.
    pub is_open: bool,
}

impl BeaconSettings {
    /// Returns the keys of everybody who has no secret.
    pub fn open() -> Self {
        Self { tag_keys: vec![TagKey::new(None)], keys: Vec::new(), is_open: true }
    }

    /// Returns those of a group with these secrets.
    pub fn of_group(secrets: &[Secret], also_open: bool) -> Self {
        let open = also_open.then(|| TagKey::new(None));
        Self {
            tag_keys: secrets.iter().map(Secret::tag_key).chain(open).collect(),
            keys: secrets.iter().map(Secret::beacon_key).collect(),
            is_open: also_open,
        }
    }

    /// Returns the keys of what is sent: one datagram for each, and one without a MAC for `None`.
    pub(super) fn sent_with(&self) -> impl Iterator<Item = Option<&BeaconKey>> {
        let member = self.keys.first().map(Some);
        member.into_iter().chain(self.is_open.then_some(None))
    }

    /// Returns what a datagram says, and whether it has a MAC.
    pub(super) fn heard(&self, datagram: &[u8]) -> Result<(Beacon, bool), Malformed> {
        let open = self.is_open.then_some(None);
        let mut heard = Err(Malformed::Mac);
        for key in self.keys.iter().map(Some).chain(open) {
            heard = Beacon::decode(datagram, key).map(|beacon| (beacon, key.is_some()));
            if !matches!(heard, Err(Malformed::Mac)) {
                break;
            }
        }
        heard
    }
}

/// What the registry is to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryUse {
    /// The user named it: it is missed.
    Named,
    /// It is where one usually is: it is tried at the start and once a minute, and not missed.
    Usual,
    /// It is not used.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub enum PeerKind {
    /// Known by its id; it ends if the registry refuses that.
    Fixed,
    /// Known by some id: it takes another if the registry refuses one.
    AnyId,
    /// Known to no registry: it registers nothing, offers nothing, and shares nothing but what it
    /// has fetched.
    Guest(GuestSettings),
}

#[derive(Clone, Copy, Debug)]
pub struct GuestSettings {
    pub timeout: Option<Duration>,
    /// How often each source of a file that failed is asked again, before the file is given up.
    pub retries_max: u32,
    pub on_conflict: OnConflict,
    /// Whether it gives others what it has fetched, while it runs.
    pub gives: bool,
}

/// A peer as pure state.
#[derive(Debug)]
pub struct PeerNode {
    pub(super) context: Context,
    pub(super) share: Share,
    peers: Peers,
    pub(super) fetch: Fetch,
    contents: Contents,
    gather: Gather,
    /// Nothing is done any more, whatever is still told.
    has_exited: bool,
}

impl PeerNode {
    /// A peer that begins by looking for its registry.
    pub fn new(now: Instant, mut settings: PeerSettings) -> Self {
        settings.keep_to_group();
        // However few connections there may be, half of them are for fetching.
        let reserved = (DOWNLOADS_MAX + HEDGES_MAX + 1).min(settings.limits.connections_max / 2);
        // Before we are registered nobody could find us.
        let offers_at = now + settings.limits.connect_timeout;
        let mut context = Context::new(now, settings, reserved);
        let share = Share::new(&context, offers_at);
        let mut peers = Peers::new(&mut context);
        // One connection is for the registry.
        let fetch = Fetch::new(&mut context, reserved.saturating_sub(1).max(1));
        peers.link.dial(&mut context);
        let contents = Contents::new(u64::MAX);
        let gather = Gather::new(&context);
        Self { context, share, peers, fetch, contents, gather, has_exited: false }
    }

    /// Returns whether peers without a secret are sources.
    pub(super) fn is_open(&self) -> bool {
        self.context.settings.is_open()
    }

    fn on_datagram(&mut self, from: SocketAddrV4, bytes: &[u8]) {
        if !self.context.settings.is_open() {
            return;
        }
        let Self { context, share, peers, fetch, gather, .. } = self;
        if let Some((path, source)) =
            peers.on_datagram(context, from, bytes, |path| fetch.wanted_among(path))
        {
            peers.arm_expiry(context, share.offers_something(context));
            fetch.on_offer(context, peers, path, source);
            fetch.note_nearly_offered(context, path);
            let is_listed = context.paths.get(path).is_some_and(|path| gather.lists(path));
            if !is_listed {
                fetch.match_path(context, peers, share, (path, source));
            }
        }
    }

    fn on_connected(&mut self, connection: ConnectionId) {
        let Self { context, peers, fetch, .. } = self;
        match context.connections.get(connection) {
            Some(Connection::Registration(_)) if peers.listing.is_probe(connection) => {
                peers.listing.on_connected(context, connection);
            }
            Some(Connection::Registration(_)) => {
                if let Some(event) = peers.link.on_connected(context, connection) {
                    self.on_link_event(event);
                }
            }
            Some(Connection::Download(_)) => fetch.request(context, connection),
            // A session that is made has its hello to send.
            Some(
                Connection::Accepted { .. }
                | Connection::Upload(_)
                | Connection::Session(_)
                | Connection::Program(_),
            )
            | None => {}
        }
        self.context.pump(connection);
    }

    fn on_bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let Self { context, share, peers, fetch, .. } = self;
        match context.connections.get(connection) {
            Some(Connection::Registration(_)) if peers.listing.is_probe(connection) => {
                if let Some(reason) = peers.listing.on_bytes(context, connection, bytes) {
                    self.close(connection, reason);
                }
            }
            Some(Connection::Registration(_)) => {
                let mut at = 0;
                while let Some(event) =
                    self.peers.link.on_bytes(&mut self.context, connection, bytes, &mut at)
                {
                    self.on_link_event(event);
                }
            }
            Some(Connection::Accepted { .. }) => {
                share.on_first_bytes(context, connection, bytes);
                self.on_session_bytes(connection, bytes);
            }
            Some(Connection::Session(_)) => self.on_session_bytes(connection, bytes),
            Some(Connection::Upload(_)) => share.on_bytes(context, connection, bytes),
            Some(Connection::Download(_)) => fetch.on_bytes(context, peers, connection, bytes),
            Some(Connection::Program(_)) => self.on_program_bytes(connection, bytes),
            None => {}
        }
        self.context.pump(connection);
    }

    /// These addresses of ours are used from now on.
    fn on_interfaces(&mut self, used: &[Interface]) {
        let Self { context, share, peers, .. } = self;
        let Some(before) = context.interfaces.replace(used.to_vec()) else { return };
        let is_offered_on = context.guest().is_none();
        let mut has_gained = false;
        for change in changes(&before, used) {
            has_gained |= change.happened.is_gain();
            context.report(Report::InterfaceChanged { change, is_offered_on });
        }
        peers.beacons.on_interfaces(context, has_gained);
        if has_gained {
            peers.link.hasten(context);
            share.hasten_offers(context);
        }
        peers.link.tell_apart(context);
    }

    fn on_link_event(&mut self, event: LinkEvent) {
        let Self { context, share, peers, fetch, .. } = self;
        match event {
            LinkEvent::Registered => {
                share.on_registered(context);
                fetch.on_registered(context, peers);
                peers.listing.on_registered(context, &peers.link);
            }
            LinkEvent::Address { peer, address } => {
                fetch.on_address(context, peers, peer, address);
            }
            LinkEvent::Peers { peers: listed, more_after } => {
                peers.listing.on_peers(context, &peers.link, listed, more_after);
            }
            LinkEvent::Lost { is_first, has_moved } => {
                peers.listing.on_link_lost(context, &peers.link, has_moved);
                fetch.forget_lookups();
                fetch.tell_waiting(context, peers);
                // At the first failure offers have waited for the registration long enough.
                share.on_registry_lost(context, is_first);
            }
        }
    }

    /// Closes a connection, and does what follows from that.
    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        if let Some(closed) = self.context.close(connection, reason) {
            self.on_lost(connection, closed, reason);
        }
    }

    /// A connection, which has left the table, is over.
    fn on_lost(&mut self, id: ConnectionId, connection: Connection, reason: CloseReason) {
        let Self { context, share, peers, fetch, .. } = self;
        match connection {
            Connection::Registration(_) if peers.listing.is_probe(id) => {
                peers.listing.on_probe_lost(context, &peers.link, reason);
            }
            Connection::Registration(registration) => {
                let event = peers.link.on_lost(context, registration.is_idle(), reason);
                self.on_link_event(event);
            }
            Connection::Accepted { from, .. } => {
                context.report(Report::ConnectionClosed { from, reason });
            }
            Connection::Upload(upload) => share.on_lost(context, id, upload, reason),
            Connection::Download(download) => fetch.on_lost(context, peers, id, &download, reason),
            Connection::Session(session) => self.on_session_lost(id, &session, reason),
            Connection::Program(session) => self.on_program_lost(id, &session),
        }
    }

    fn on_file_failed(&mut self, file: FileId, error: FileError) {
        let Self { context, share, peers, fetch, contents, .. } = self;
        match context.files.remove(&file) {
            Some(FileUse::Source(connection)) => share.on_source_failed(context, connection, error),
            Some(FileUse::Given) => share.on_given_failed(context, file, error),
            Some(FileUse::Partial(job)) => {
                fetch.on_partial_failed(context, peers, (job, file), error);
            }
            Some(FileUse::Content(entry)) => contents.on_file_failed(context, entry, error),
            None => {}
        }
    }

    fn on_committed(&mut self, file: FileId, path: &FilePath, version: Version) {
        let Self { context, share, peers, fetch, contents, gather, .. } = self;
        let shares = context.guest().is_none();
        if let Some(content) = contents.on_committed(context, file, path, version) {
            let is_hidden = path.components().any(|component| component.starts_with('.'));
            let is_given = match context.guest() {
                None => !is_hidden,
                Some(_) => {
                    context.gives()
                        && !context.settings.gather.is_unnamed
                        && share.index.len() < GUEST_FILES_MAX
                }
            };
            if is_given {
                let path = context.paths.intern(path);
                let known = Known { blake3: Some(content.id), ..Known::default() };
                share.add_fetched(context, path, version, known);
            }
            return;
        }
        let Some(fetched) = fetch.on_committed(context, file, path, version) else {
            return;
        };
        if shares {
            let known = Known { sha256: Some(fetched.digest), ..Known::default() };
            share.add_fetched(context, fetched.path, fetched.version, known);
        }
        fetch.begin_waiting(context, peers);
        gather.look(context, &mut Others { peers, share, fetch, contents });
        fetch.end_if_done(context);
    }

    /// What happened in our folder, or to a hash.
    fn on_folder_input(&mut self, input: Input<'_>) {
        let Self { context, share, fetch, contents, .. } = self;
        match input {
            Input::FileFound { path, version, known } => {
                let path = context.paths.intern(&path);
                share.share(context, path, version, known);
            }
            Input::FileSeen { path, version, sight } => {
                let path = context.paths.intern(&path);
                share.on_file_seen(context, path, version, sight);
                if sight == Sight::Looked {
                    contents.on_looked(context, path, Some(version));
                }
            }
            Input::FileGone { path } => {
                if let Some(path) = context.paths.id_of(&path) {
                    share.on_file_gone(context, path);
                    contents.on_looked(context, path, None);
                }
            }
            Input::ChangesMissed { below } => share.on_changes_missed(context, below),
            Input::FolderLost(why) => share.on_folder_lost(context, why),
            Input::EmptyFolder { path } => share.on_empty_folder(context, path),
            Input::EmptyFolderGone { path } => share.on_empty_folder_gone(context, &path),
            Input::HashProgress { path, version, hashed_bytes, kind: HashKind::Blake3 } => {
                share.on_id_hashed(context, path, version, hashed_bytes, None);
            }
            Input::Hashed { path, version, hash: Hash::Blake3 { id, values } } => {
                contents.on_compared(context, path, Ok((version, id)));
                let made = Some((id, values));
                share.on_id_hashed(context, path, version, version.size_bytes, made);
            }
            Input::HashFailed { path, kind: kind @ HashKind::Blake3, error } => {
                contents.on_compared(context, path, Err(error));
                share.on_hash_failed(context, path, kind, error);
            }
            Input::HashProgress { path, version, hashed_bytes, .. } => {
                match fetch.comparing(path) {
                    Some(job) => fetch.on_comparing(context, job, version),
                    None => share.on_hashed(context, path, version, hashed_bytes, None),
                }
            }
            Input::Hashed { path, version, hash: Hash::Sha256(digest) } => {
                match fetch.comparing(path) {
                    Some(job) => fetch.on_compared(context, job, digest),
                    None => {
                        share.on_hashed(context, path, version, version.size_bytes, Some(digest));
                    }
                }
            }
            Input::HashFailed { path, kind, error } => match fetch.comparing(path) {
                Some(job) => fetch.on_compare_failed(context, job, error),
                None => share.on_hash_failed(context, path, kind, error),
            },
            _ => {}
        }
    }

    fn on_wake(&mut self, wake: Wake) {
        let Self { context, share, peers, fetch, contents, gather, .. } = self;
        match wake {
            Wake::Registry => peers.link.dial(context),
            Wake::Expiry => self.expire_offers(),
            Wake::Beacons => peers.beacons.on_wake(context),
            Wake::Listing => peers.listing.look(context, &peers.link),
            Wake::Share(wake) => {
                share.on_wake(context, wake);
                if wake == super::share::Wake::Offers {
                    // Together with our own offers, so that it costs no wake-up of its own.
                    self.expire_offers();
                }
            }
            Wake::Fetch(wake) => {
                if wake == super::fetch::Wake::GiveUp {
                    gather.give_all_up(context, &mut Others { peers, share, fetch, contents });
                }
                fetch.on_wake(context, peers, share, wake);
            }
            Wake::Contents(wake) => contents.on_wake(context, wake),
            Wake::Gather => gather.look(context, &mut Others { peers, share, fetch, contents }),
        }
    }

    fn expire_offers(&mut self) {
        let Self { context, share, peers, .. } = self;
        peers.expire(context);
        peers.arm_expiry(context, share.offers_something(context));
    }

    /// Does what follows for wishes, and ends the program if it is to end.
    fn exit_if_told(&mut self) {
        let Self { context, share, peers, fetch, contents, gather, .. } = self;
        if peers.listing.take_news() {
            gather.on_listed(context, &mut Others { peers, share, fetch, contents });
        }
        gather.take_events(context, &mut Others { peers, share, fetch, contents });
        self.give_what_is_held();
        let Self { share, peers, .. } = self;
        share.show(&mut peers.beacons);
        while let Some(idle) = self.gather.poll_close() {
            self.close(idle, CloseReason::Stopping);
        }
        if let Some(outcome) = self.context.outcome.take() {
            self.exit(outcome);
        }
    }

    /// Has others told what we hold of the contents that we fetch.
    fn give_what_is_held(&mut self) {
        let Self { context, share, contents, .. } = self;
        while let Some(holding) = contents.poll_holding() {
            if !context.gives() {
                continue;
            }
            let content = holding.content();
            let is_known = |id, block| contents.is_held_by(id, &content, block);
            share.on_holding(context, holding, is_known);
        }
        share.tell_held(context);
    }

    /// Ends everything, so that nothing is left behind, and then the program.
    fn exit(&mut self, outcome: Outcome) {
        self.peers.beacons.leave(&mut self.context);
        self.fetch.stop();
        let discards = self.context.settings.gather.discards;
        self.contents.stop(&mut self.context, discards);
        self.gather.stop();
        for connection in self.context.connections.ids() {
            // A program is still told how its files have ended, and a peer what became of its
            // bytes.
            if !self.context.is_telling(connection) && !self.leave_session(connection) {
                self.close(connection, CloseReason::Stopping);
            }
        }
        self.context.discard_all();
        self.context.deadlines = super::deadlines::Deadlines::new();
        self.has_exited = true;
        self.context.act(Action::Exit(outcome));
    }

    /// Returns all that is listed of what we look for.
    pub fn listed(&self) -> Vec<ListedEntry> {
        self.gather.listed(&self.context)
    }

    /// Returns whether more is listed than can be kept.
    pub fn lists_too_much(&self) -> bool {
        self.gather.lists_too_much()
    }

    /// Returns the peers that have listed all that we look for, once others had the time to.
    pub fn answered(&self, now: Instant) -> BTreeSet<PeerId> {
        let is_over =
            self.gather.window_end(&self.context, &self.peers).is_some_and(|end| now >= end);
        match is_over && !self.gather.is_being_read() {
            true => self.gather.answered(&self.context),
            false => BTreeSet::new(),
        }
    }

    /// Returns until when peers have the time to answer, unless that is over.
    pub fn window_end(&self) -> Option<Instant> {
        let end = self.gather.window_end(&self.context, &self.peers);
        end.filter(|end| *end > self.context.now)
    }

    fn transfer(&self, id: ConnectionId, connection: &Connection) -> Option<Transfer> {
        match connection {
            Connection::Download(connection) => {
                let (path, began) = self.fetch.download_on(connection.job, id)?;
                Some(Transfer {
                    connection: id,
                    path: self.context.paths.get(path)?.clone(),
                    direction: Direction::In {
                        peer: connection.source,
                        size_bytes: None,
                        sources: 1,
                    },
                    address: connection.address,
                    began,
                    moved_at: connection.download.moved_at().unwrap_or(began),
                    bytes: connection.download.received_bytes(),
                })
            }
            Connection::Upload(UploadConnection { from, upload, served: Some(served) }) => {
                let Served { path, size_bytes, began, .. } = **served;
                let waits_for_hash = upload.waits_for_hash();
                Some(Transfer {
                    connection: id,
                    path: self.context.paths.get(path)?.clone(),
                    direction: Direction::Out { size_bytes, waits_for_hash },
                    address: *from,
                    began,
                    moved_at: upload.moved_at().unwrap_or(began),
                    // Handed over, it may still be in flight.
                    bytes: upload.sent_bytes().unwrap_or(size_bytes),
                })
            }
            Connection::Session(connection) => {
                let (path, given) = self.share.given_on(id)?;
                let size_bytes = given.size_bytes;
                Some(Transfer {
                    connection: id,
                    path: self.context.paths.get(path)?.clone(),
                    direction: Direction::Out { size_bytes, waits_for_hash: false },
                    address: connection.address,
                    began: given.began,
                    moved_at: given.moved_at,
                    bytes: given.bytes,
                })
            }
            Connection::Upload(_)
            | Connection::Accepted { .. }
            | Connection::Registration(_)
            | Connection::Program(_) => None,
        }
    }
}

impl Node for PeerNode {
    fn accept(&mut self, now: Instant, from: SocketAddrV4) -> Option<ConnectionId> {
        if self.context.guest().is_some_and(|guest| !guest.gives) {
            return None;
        }
        self.context.now = now;
        self.share.accept(&mut self.context, from)
    }

    fn accept_program(&mut self, now: Instant) -> Option<ConnectionId> {
        self.context.now = now;
        self.context.accept_program()
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.has_exited {
            return;
        }
        self.context.now = now;
        let Self { context, share, peers, fetch, contents, gather, .. } = self;
        match input {
            Input::Datagram { from, bytes } => self.on_datagram(from, bytes),
            Input::Beacon { from, bytes } => {
                if let Some(heard) = peers.beacons.on_datagram(context, from, bytes)
                    && (heard.is_new || !heard.tags.is_empty())
                {
                    gather.look(context, &mut Others { peers, share, fetch, contents });
                }
            }
            Input::NotSent { .. } => debug_assert!(false, "offers are broadcast"),
            Input::Interfaces(used) => self.on_interfaces(used),
            Input::Resolved(answer) => {
                if let Some(event) = peers.link.on_resolved(context, answer) {
                    self.on_link_event(event);
                }
            }
            Input::DialedFrom { connection, from } => peers.link.on_dialed_from(connection, from),
            Input::Rerouted(connection) => {
                if let Some(Connection::Registration(_)) = context.connections.get(connection) {
                    self.close(connection, CloseReason::Rerouted);
                }
            }
            Input::Connected(connection) => self.on_connected(connection),
            Input::Described { connection, text } => context.on_described(connection, text),
            Input::Received { connection, bytes } => {
                context.opened.forget();
                self.on_bytes(connection, bytes);
            }
            Input::Read { connection, bytes } => self.on_read(connection, bytes),
            Input::ReadClosed(connection) => self.close(connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, kind } => {
                if let Some(broken) = context.connections.remove(connection) {
                    self.on_lost(connection, broken, CloseReason::Broken(kind));
                }
            }
            Input::Opened { file, version } => match context.files.get(&file) {
                Some(FileUse::Given) => share.on_given_opened(context, file, version),
                _ => share.on_opened(context, file, version),
            },
            Input::Written { file, len_bytes } => {
                fetch.on_written(context, peers, file, len_bytes);
                contents.on_written(context, file, len_bytes);
            }
            Input::PartialOpened { file, data } => contents.on_partial_opened(context, file, &data),
            Input::BlockHashed { file, block, value } => {
                contents.on_block_hashed(context, file, block, &value);
            }
            Input::Committed { file, path, version } => self.on_committed(file, &path, version),
            Input::FileFailed { file, error } => self.on_file_failed(file, error),
            Input::Want(names) => {
                context.programs.want_ourselves(names.iter().copied(), []);
                fetch.want(context, peers, share, names);
            }
            Input::WantMatching(patterns) => {
                fetch.want_matching(context, peers, share, patterns, None);
            }
            Input::FolderMade { path, made } => {
                let mut others = Others { peers, share, fetch, contents };
                gather.on_folder_made(context, &mut others, path, made);
            }
            Input::Wish(wishes) => {
                let names = wishes.iter().filter_map(Wish::name);
                let patterns = wishes.iter().filter_map(Wish::name_pattern);
                context.programs.want_ourselves(names, patterns);
                gather.want(context, &mut Others { peers, share, fetch, contents }, wishes);
            }
            Input::Stop(signal) => context.end(Outcome::Stopped(signal)),
            input => self.on_folder_input(input),
        }
        self.exit_if_told();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.context.now = now;
        while let Some(id) = self.context.connections.pop_due(now) {
            let Some(connection) = self.context.connections.get_mut(id) else { continue };
            match connection.handle_timeout(now) {
                Ok(()) => {
                    self.resume_sealed(id);
                    self.context.pump(id);
                }
                Err(reason) => self.close(id, reason),
            }
            self.exit_if_told();
        }
        while let Some(wake) = self.context.deadlines.pop(now) {
            self.on_wake(wake);
            self.exit_if_told();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let Context { connections, deadlines, .. } = &self.context;
        [connections.next_deadline(), deadlines.next()].into_iter().flatten().min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.context.poll_action()
    }

    fn paths(&self) -> &Paths {
        &self.context.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        self.context.connections.get(connection)?.transmit()
    }

    fn is_sealed(&self, connection: ConnectionId) -> bool {
        self.context.connections.get(connection).is_some_and(Connection::is_sealed)
    }

    fn opened(&self) -> Option<&[u8]> {
        self.context.opened.bytes()
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        self.context.now = now;
        let Self { context, share, peers, fetch, .. } = self;
        match context.connections.get_mut(connection) {
            Some(Connection::Registration(registration)) => registration.transmitted(len_bytes),
            Some(Connection::Upload(_)) => share.on_transmitted(context, connection, len_bytes),
            Some(Connection::Download(_)) => {
                fetch.on_transmitted(context, peers, connection, len_bytes);
            }
            Some(Connection::Session(_)) => self.on_session_transmitted(connection, len_bytes),
            Some(Connection::Program(_)) => self.on_program_read(connection, len_bytes),
            Some(Connection::Accepted { .. }) | None => {}
        }
        self.exit_if_told();
    }

    fn blocked(&mut self, now: Instant, connection: ConnectionId) {
        self.context.now = now;
        if let Some(Connection::Session(_)) = self.context.connections.get(connection) {
            self.share.note_flow(&mut self.context, connection, true);
        }
    }

    fn waits_to_send(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(connection) = self.context.connections.get_mut(connection) {
            connection.held_back_sending(now);
        }
    }

    fn waits_to_receive(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(connection) = self.context.connections.get_mut(connection) {
            connection.held_back_receiving(now);
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        self.context.connections.get(connection).map_or(0, Connection::read_allowance_bytes)
    }

    fn snapshot(&self) -> Snapshot {
        let Context { connections, .. } = &self.context;
        let transfers = connections.iter().filter_map(|(id, c)| self.transfer(id, c));
        let coming = self.gather.transfers(&self.context, &self.contents);
        Snapshot {
            transfers: transfers.chain(coming).collect(),
            connections: connections.len(),
            files_shared: self.share.index.len(),
            offers_known: self.peers.catalog.len(),
            peers_known: self.peers.catalog.peers(),
            jobs_open: self.fetch.open() + self.gather.open_files(),
            job: self.gather.progress(&self.contents),
        }
    }

    fn inventory(&self, names_max: usize) -> Inventory {
        let context = &self.context;
        let programs = context.waiting_programs();
        let of_version_0 = self.fetch.open_paths().filter_map(|path| context.paths.get(path));
        let paths = of_version_0.chain(self.gather.open_paths(context));
        let by_programs = |path: &FilePath| programs.get(path.as_str()).copied();
        let wanted = paths.map(|path| (path.clone(), by_programs(path).unwrap_or_default()));
        let mut wanted: Vec<_> = wanted.collect();
        // What the user of this program wants comes first.
        wanted.sort_by_key(|(_, programs)| *programs > 0);
        wanted.truncate(names_max);
        Inventory {
            wanted,
            patterns: self.fetch.open_patterns(),
            shared: self.share.index.sizes(&context.paths).take(names_max).collect(),
            offers: self.peers.catalog.offers(&context.paths, names_max),
        }
    }
}
