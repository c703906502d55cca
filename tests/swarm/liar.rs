//! A peer that lies about what it has: it lists every file, says that it holds all blocks of
//! each and gives turns, and has nothing.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::{Duration, Instant};

use p2pfs::content::{BlockSet, Content};
use p2pfs::limits::Limits;
use p2pfs::node::{Action, CloseHow, ConnectionId, Input, Node, Paths};
use p2pfs::proto::v1::{Page, Request, Session, SessionEvent, SessionSettings};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::v1::{Beacon, BeaconKind, Entry, EntryState, PeerName, SessionError, Tag, TagKey};
use p2pfs::wire::{FilePath, PeerId};

const BEACON_INTERVAL: Duration = Duration::from_secs(1);
/// Blocks of a turn.
const TURN_BLOCKS: u32 = 4;

/// What a liar does when bytes are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// It says that it does not have them.
    Refuses,
    /// It says nothing.
    Mute,
}

/// A peer that has none of the files that it lists.
pub(crate) struct Liar {
    our: Rc<SessionSettings>,
    limits: Rc<Limits>,
    port: u16,
    files: Vec<(FilePath, Content)>,
    excuse: Excuse,
    sessions: BTreeMap<ConnectionId, Session>,
    ids_made: u64,
    beacons: u64,
    beacon_at: Instant,
    actions: VecDeque<Action>,
    paths: Paths,
}

impl Liar {
    /// One that says that it has these files.
    pub(crate) fn new(
        now: Instant,
        number: u32,
        port: u16,
        files: Vec<(FilePath, Content)>,
        excuse: Excuse,
    ) -> Self {
        let our = SessionSettings {
            peer: PeerId(number),
            instance: number.into(),
            name: PeerName::none(),
        };
        Self {
            our: Rc::new(our),
            limits: Rc::new(Limits::PEER),
            port,
            files,
            excuse,
            sessions: BTreeMap::new(),
            ids_made: 0,
            beacons: 0,
            beacon_at: now,
            actions: VecDeque::new(),
            paths: Paths::default(),
        }
    }

    /// Returns the beacon of a peer that was asked for each file.
    fn beacon(&mut self) -> Box<[u8]> {
        self.beacons += 1;
        let key = TagKey::new(None);
        let tags = self.files.iter().take(16);
        let tags =
            tags.flat_map(|(path, content)| [key.of_path(path), key.of_content(&content.id)]);
        let tags: Vec<Tag> = tags.collect();
        let beacon = Beacon {
            kind: BeaconKind::Beacon,
            port: self.port,
            peer: self.our.peer,
            instance: self.our.instance,
            counter: self.beacons,
            generation: 1,
            files: self.files.len() as u32,
            name: PeerName::none(),
            tags,
        };
        beacon.encode(None).into()
    }

    fn on_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            match session.handle_bytes(now, bytes, &mut at) {
                Ok(None) => break,
                Ok(Some(SessionEvent::Requested { req, request })) => {
                    lie(session, now, (req, request), &self.files, self.excuse);
                }
                Ok(Some(_)) => {}
                Err(reason) => return self.close(id, reason),
            }
        }
        self.tell(id);
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        if self.sessions.remove(&connection).is_some() {
            self.actions.push_back(Action::Close { connection, how: CloseHow::Finish, reason });
        }
    }

    fn tell(&mut self, id: ConnectionId) {
        if self.sessions.get(&id).is_some_and(|session| session.transmit().is_some()) {
            self.actions.push_back(Action::Transmit(id));
        }
    }
}

/// Answers a request as a peer would that has all files, until bytes are asked for.
fn lie(
    session: &mut Session,
    now: Instant,
    (req, request): (u32, Request),
    files: &[(FilePath, Content)],
    excuse: Excuse,
) {
    match request {
        Request::List { path: root, fetch_list, .. } => {
            let is_meant = |(path, _): &&(FilePath, Content)| {
                root.as_ref().is_none_or(|root| path.is_below(root))
            };
            let entry = |(path, content): &(FilePath, Content)| {
                let (modified_ns, executable) = (1_000_000_000, false);
                let state = EntryState::File { content: *content, modified_ns, executable };
                Entry { path: path.clone(), state }
            };
            let entries: Vec<_> = files.iter().filter(is_meant).map(entry).collect();
            let page = Page { generation: 1, discard: false, all_listed: true, complete: true };
            session.answer_page(now, req, page, fetch_list, &entries);
        }
        Request::Blocks(id) => match files.iter().find(|(_, content)| content.id == id) {
            Some((_, content)) => {
                let all = BlockSet::all(content.blocks());
                session.answer_held(now, req, content.size_bytes, all);
            }
            None => session.refuse(now, req, SessionError::NotFound, 0, "not here"),
        },
        Request::Wait(_) => session.answer_turn(now, req, TURN_BLOCKS),
        Request::Get { .. } if excuse == Excuse::Mute => {}
        Request::Manifest(_) | Request::Get { .. } => {
            session.refuse(now, req, SessionError::NotFound, 0, "not here");
        }
    }
}

impl Node for Liar {
    fn accept(&mut self, now: Instant, _from: SocketAddrV4) -> Option<ConnectionId> {
        self.ids_made += 1;
        let id = ConnectionId::from_bits(self.ids_made);
        self.sessions.insert(id, Session::new(now, &self.limits, &self.our, false));
        self.tell(id);
        Some(id)
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReadClosed(connection) => self.close(connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, .. } => _ = self.sessions.remove(&connection),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.beacon_at {
            self.beacon_at = now + BEACON_INTERVAL;
            let datagram = self.beacon();
            self.actions.push_back(Action::SendBeacon { from: None, datagram });
        }
        let due = |session: &Session| session.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<_> = self.sessions.iter().filter(|(_, session)| due(session)).collect();
        for id in due.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            match self.sessions.get_mut(&id).map(|session| session.handle_timeout(now)) {
                Some(Err(reason)) => self.close(id, reason),
                _ => self.tell(id),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.values().filter_map(Session::poll_timeout);
        sessions.chain([self.beacon_at]).min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        self.sessions.get(&connection)?.transmit()
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.transmitted(now, len_bytes);
        }
        self.tell(connection);
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        self.sessions.get(&connection).map_or(0, Session::read_allowance_bytes)
    }
}
