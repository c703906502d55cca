//! A getter with its files in memory, and peers around it that share.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::content::{BlockSet, Content, FileError, Hash, OnConflict, PathId, Sight};
use crate::limits::Limits;
use crate::node::scene::{REGISTRY, answer, sent, settings, version};
use crate::node::{
    Action, BeaconSettings, ConnectionId, GatherSettings, GuestSettings, Input, Node, Outcome,
    PeerKind, PeerNode, PeerSettings, Report, Wish, WishReport,
};
use crate::proto::v1::{Page, Request, Session, SessionEvent, SessionSettings};
use crate::proto::{CloseReason, FileId, Transmit};
use crate::wire::v0::{ListedPeer, RegistryRequest, RegistryResponse};
use crate::wire::v1::{
    Beacon, BeaconKind, BlockHasher, Entry, EntryState, PeerName, SessionError, TagKey, Verdict,
};
use crate::wire::{Deframer, FieldText, FilePath, Frame, PeerId};

const STEP: Duration = Duration::from_millis(5);

/// What a peer shares under one path.
#[derive(Clone, Debug)]
pub(super) enum Shared {
    File(Vec<u8>),
    /// Not hashed yet.
    Unhashed(Vec<u8>),
    EmptyFolder,
}

/// The lists that are watched on a session, and what each covers.
type Watches = BTreeSet<(u32, Option<FilePath>)>;

/// A peer that shares.
pub(super) struct Sharer {
    address: SocketAddrV4,
    name: &'static str,
    pub(super) shared: BTreeMap<FilePath, Shared>,
    sessions: BTreeMap<ConnectionId, (Session, Watches)>,
    /// Whether it refuses connections.
    pub(super) is_down: bool,
    /// Whether it sends beacons, and answers queries.
    pub(super) is_heard: bool,
    /// How long after a query it answers.
    pub(super) answers_after: Duration,
    answers_at: Option<Instant>,
    pub(super) dials: usize,
    /// For how long it says nothing on a new session.
    pub(super) silent_for: Duration,
    silent_until: Option<Instant>,
    /// Whether it sends the bytes of files.
    pub(super) is_stalling: bool,
    /// Requests that wait meanwhile.
    stalled: Vec<(ConnectionId, u32)>,
    /// Whether the bytes that it sends are wrong.
    pub(super) is_corrupt: bool,
    /// Whether it shares none of what it has, as one that only fetches.
    pub(super) is_getter: bool,
    /// By how much it tells the sizes of contents wrong, in bytes.
    pub(super) lies_bytes: u64,
    /// What it was told of its bytes.
    pub(super) verdicts: Vec<Verdict>,
    /// By whom it was asked.
    pub(super) askers: BTreeSet<PeerId>,
    /// With which error its sessions were ended.
    pub(super) ended: Vec<SessionError>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) node: PeerNode,
    pub(super) sharers: Vec<Sharer>,
    links: BTreeMap<ConnectionId, usize>,
    /// Files under their final names.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) folders: BTreeSet<String>,
    open: BTreeMap<FileId, (PathId, Vec<u8>)>,
    pub(super) reports: Vec<Report>,
    pub(super) outcome: Option<Outcome>,
    pub(super) queries: usize,
    /// Whether no file can be made.
    pub(super) is_full: bool,
    /// The peers that the registry lists, by their numbers; `None` if it is not there.
    pub(super) listed: Option<Vec<usize>>,
    /// The connections to it.
    registry_links: BTreeSet<ConnectionId>,
}

pub(super) fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

pub(super) fn content(bytes: &[u8]) -> Content {
    let mut hasher = BlockHasher::new(0);
    hasher.update(bytes);
    Content { id: hasher.id(), size_bytes: bytes.len() as u64 }
}

pub(super) fn file(text: &str) -> Shared {
    Shared::File(text.as_bytes().to_vec())
}

impl Sharer {
    fn entry(&self, path: &FilePath) -> Entry {
        let (modified_ns, executable) = (7, false);
        let state = match &self.shared[path] {
            Shared::File(bytes) => {
                EntryState::File { content: content(bytes), modified_ns, executable }
            }
            Shared::Unhashed(bytes) => {
                let (size_bytes, hashed_bytes) = (bytes.len() as u64, 1);
                EntryState::Unhashed { size_bytes, modified_ns, executable, hashed_bytes }
            }
            Shared::EmptyFolder => EntryState::EmptyFolder,
        };
        Entry { path: path.clone(), state }
    }

    /// Tells what it shares under a path now, to all that watch.
    fn tell(&mut self, now: Instant, path: &FilePath) {
        let entry = match self.shared.contains_key(path) {
            true => self.entry(path),
            false => Entry { path: path.clone(), state: EntryState::Removed },
        };
        let page = Page { generation: 2, discard: false, all_listed: true, complete: true };
        for (session, lists) in self.sessions.values_mut() {
            for (req, root) in lists.iter() {
                if root.as_ref().is_none_or(|root| path.is_below(root)) {
                    session.answer_page(now, *req, page, false, std::slice::from_ref(&entry));
                }
            }
        }
    }

    fn on_bytes(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some((session, lists)) = self.sessions.get_mut(&id) else { return };
            let event = match session.handle_bytes(now, bytes, &mut at) {
                Ok(event) => event,
                Err(CloseReason::EndedByPeer(error)) => return self.ended.push(error),
                Err(reason) => panic!("{reason}"),
            };
            match event {
                None => return,
                Some(SessionEvent::Hello { peer, .. }) => _ = self.askers.insert(peer),
                Some(SessionEvent::Verdict { verdict, .. }) => self.verdicts.push(verdict),
                Some(SessionEvent::Requested { req, request }) => {
                    self.on_request(now, id, req, request);
                }
                Some(SessionEvent::Cancelled { req }) => lists.retain(|(it, _)| *it != req),
                Some(_) => {}
            }
        }
    }

    fn on_request(&mut self, now: Instant, id: ConnectionId, req: u32, request: Request) {
        let bytes_of = |content: &Content| {
            let mut all = self.shared.values().enumerate();
            all.find_map(|(at, shared)| match shared {
                Shared::File(bytes) if super::world::content(bytes) == *content => {
                    Some((FileId(at as u64), bytes.len() as u64))
                }
                _ => None,
            })
        };
        let by_id = |id: &_| {
            self.shared.values().find_map(|shared| match shared {
                Shared::File(bytes) => Some(content(bytes)).filter(|content| content.id == *id),
                _ => None,
            })
        };
        match request {
            Request::List { path: root, watch, hash_first, fetch_list, .. } => {
                let is_meant = |path: &&FilePath| {
                    !fetch_list && root.as_ref().is_none_or(|root| path.is_below(root))
                };
                let entries: Vec<_> =
                    self.shared.keys().filter(is_meant).map(|path| self.entry(path)).collect();
                let is_hashing =
                    entries.iter().any(|entry| matches!(entry.state, EntryState::Unhashed { .. }));
                let complete = !(hash_first && is_hashing);
                let page = Page { generation: 1, discard: false, all_listed: true, complete };
                let (session, lists) = self.sessions.get_mut(&id).unwrap();
                session.answer_page(now, req, page, fetch_list, &entries);
                if (watch || !complete) && !fetch_list {
                    lists.insert((req, root));
                }
            }
            Request::Blocks(content) => {
                let found = by_id(&content);
                let (session, _) = self.sessions.get_mut(&id).unwrap();
                match found {
                    Some(content) => {
                        let all = BlockSet::all(content.blocks());
                        let size_bytes = content.size_bytes + self.lies_bytes;
                        session.answer_held(now, req, size_bytes, all);
                    }
                    None => session.refuse(now, req, SessionError::NotFound, 0, "not here"),
                }
            }
            Request::Get { content, .. } if !self.is_stalling => {
                let found = bytes_of(&content);
                let (session, _) = self.sessions.get_mut(&id).unwrap();
                match found {
                    Some((file, len)) => session.answer_data(now, req, file, 0..len, false),
                    None => session.refuse(now, req, SessionError::NotFound, 0, "not here"),
                }
            }
            Request::Get { .. } => self.stalled.push((id, req)),
            _ => {}
        }
    }

    /// What it has not sent changed.
    pub(super) fn refuse_stalled(&mut self, now: Instant) {
        for (id, req) in std::mem::take(&mut self.stalled) {
            if let Some((session, _)) = self.sessions.get_mut(&id) {
                session.refuse(now, req, SessionError::Changed, 0, "changed");
            }
        }
    }

    fn send(&mut self, now: Instant, id: ConnectionId) -> Option<Vec<u8>> {
        if self.silent_until.is_some_and(|until| now < until) {
            return None;
        }
        let (session, _) = self.sessions.get_mut(&id)?;
        let bytes = match session.transmit()? {
            Transmit::Bytes { bytes, .. } => bytes.to_vec(),
            Transmit::File { file, offset, len_bytes } => {
                let Shared::File(bytes) = self.shared.values().nth(file.0 as usize)? else {
                    return None;
                };
                let mut bytes = bytes[offset as usize..][..len_bytes as usize].to_vec();
                bytes[0] ^= u8::from(self.is_corrupt);
                bytes
            }
        };
        session.transmitted(now, bytes.len());
        Some(bytes)
    }

    fn beacon(&self, tags: Vec<crate::wire::v1::Tag>) -> Vec<u8> {
        let number = self.address.port();
        Beacon {
            kind: BeaconKind::Beacon,
            port: number,
            peer: PeerId(number.into()),
            instance: number.into(),
            counter: 1,
            generation: 1,
            files: if self.is_getter { 0 } else { self.shared.len() as u32 },
            name: PeerName::new(self.name).unwrap(),
            tags,
        }
        .encode(None)
    }

    /// Returns the tags of all that it shares.
    fn tags(&self) -> Vec<crate::wire::v1::Tag> {
        let key = TagKey::new(None);
        let mut tags = BTreeSet::new();
        for (path, shared) in &self.shared {
            let mut text = path.as_str();
            loop {
                tags.insert(key.of_path(&FilePath::new(text).unwrap()));
                let Some((folder, _)) = text.rsplit_once('/') else { break };
                text = folder;
            }
            if let Shared::File(bytes) = shared {
                tags.insert(key.of_content(&content(bytes).id));
            }
        }
        tags.into_iter().collect()
    }
}

impl World {
    pub(super) fn new(gather: GatherSettings) -> Self {
        Self::with(gather, None)
    }

    pub(super) fn with(gather: GatherSettings, timeout: Option<Duration>) -> Self {
        let guest = GuestSettings {
            timeout,
            retries_max: 0,
            on_conflict: OnConflict::Compare,
            gives: false,
        };
        Self::of(PeerKind::Guest(guest), gather)
    }

    /// A peer that goes on when all is there.
    pub(super) fn peer() -> Self {
        Self::of(PeerKind::Fixed, GatherSettings::default())
    }

    fn of(kind: PeerKind, gather: GatherSettings) -> Self {
        let mut settings = settings(kind);
        settings.beacons = Some(BeaconSettings::open());
        settings.gather = gather;
        settings.instance = 1;
        Self::having(settings)
    }

    pub(super) fn having(settings: PeerSettings) -> Self {
        let now = Instant::now();
        Self {
            now,
            node: PeerNode::new(now, settings),
            sharers: Vec::new(),
            links: BTreeMap::new(),
            files: BTreeMap::new(),
            folders: BTreeSet::new(),
            open: BTreeMap::new(),
            reports: Vec::new(),
            outcome: None,
            queries: 0,
            is_full: false,
            listed: None,
            registry_links: BTreeSet::new(),
        }
    }

    /// Adds a peer that shares. Returns its number, from which its address follows.
    pub(super) fn sharer(&mut self, name: &'static str, shared: &[(&str, Shared)]) -> usize {
        let number = self.sharers.len();
        let shared = shared.iter().map(|(text, shared)| (path(text), shared.clone()));
        self.sharers.push(Sharer {
            address: address(number),
            name,
            shared: shared.collect(),
            sessions: BTreeMap::new(),
            is_down: false,
            is_heard: true,
            answers_after: Duration::from_millis(10),
            answers_at: None,
            dials: 0,
            silent_for: Duration::ZERO,
            silent_until: None,
            is_stalling: false,
            stalled: Vec::new(),
            is_corrupt: false,
            is_getter: false,
            lies_bytes: 0,
            verdicts: Vec::new(),
            askers: BTreeSet::new(),
            ended: Vec::new(),
        });
        number
    }

    pub(super) fn want(&mut self, wishes: &[&str]) {
        let wishes: Vec<Wish> = wishes.iter().map(|text| text.parse().unwrap()).collect();
        self.node.handle(self.now, Input::Wish(&wishes));
        self.act(&[]);
    }

    /// Something else is shared under a path, or nothing.
    pub(super) fn change(&mut self, sharer: usize, text: &str, shared: Option<Shared>) {
        let sharer = &mut self.sharers[sharer];
        match shared {
            Some(shared) => _ = sharer.shared.insert(path(text), shared),
            None => _ = sharer.shared.remove(&path(text)),
        }
        sharer.tell(self.now, &path(text));
    }

    /// All sessions with a peer end.
    pub(super) fn cut(&mut self, sharer: usize) {
        let cut = self.links.iter().filter(|(_, at)| **at == sharer);
        for connection in cut.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.links.remove(&connection);
            self.sharers[sharer].sessions.remove(&connection);
            let kind = ErrorKind::ConnectionReset;
            self.node.handle(self.now, Input::Broken { connection, kind });
            self.act(&[]);
        }
    }

    /// Runs for so long, or until the program ends.
    pub(super) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until && self.outcome.is_none() {
            self.step();
        }
    }

    /// Runs until the program ends, which it has to within a minute.
    pub(super) fn run(&mut self) -> Outcome {
        self.run_for(Duration::from_secs(60));
        let Some(outcome) = self.outcome.clone() else {
            panic!("it never ends: {:#?}", self.reports)
        };
        // What it has to say at its end.
        self.links.keys().copied().collect::<Vec<_>>().into_iter().for_each(|id| self.exchange(id));
        outcome
    }

    fn step(&mut self) {
        self.now += STEP;
        self.node.handle_timeout(self.now);
        self.act(&[]);
        for at in 0..self.sharers.len() {
            let sharer = &mut self.sharers[at];
            if sharer.answers_at.take_if(|at| *at <= self.now).is_some() {
                let (from, bytes) = (sharer.address, sharer.beacon(sharer.tags()));
                self.node.handle(self.now, Input::Beacon { from, bytes: &bytes });
                self.act(&[]);
            }
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.exchange(id);
        }
        for id in self.registry_links.clone() {
            self.ask_registry(id);
        }
    }

    /// The registry answers what it is asked on a connection.
    fn ask_registry(&mut self, id: ConnectionId) {
        let bytes = sent(&mut self.node, self.now, id);
        if bytes.is_empty() {
            return;
        }
        let listed = self.listed.clone().unwrap_or_default();
        let mut requests = Deframer::<RegistryRequest>::default();
        let response = match requests.next(&bytes, &mut 0) {
            Ok(Some(Frame::Message(RegistryRequest::Register { .. }))) => {
                RegistryResponse::Registered(true)
            }
            Ok(Some(Frame::Message(RegistryRequest::Lookup(_)))) => {
                RegistryResponse::Error(FieldText::new("Target peer not found."))
            }
            Ok(Some(Frame::Message(RegistryRequest::Peers { after }))) => {
                let ids = listed.into_iter().map(|number| address(number).port().into());
                let ids: Vec<u32> = ids.filter(|id| *id >= after.0).collect();
                RegistryResponse::Peers { count: ids.len() as u32 }
            }
            other => panic!("{other:?}"),
        };
        answer(&mut self.node, self.now, id, response);
        if let RegistryResponse::Peers { count } = response {
            let mut bytes = Vec::new();
            for number in self.listed.iter().flatten().take(count as usize) {
                let address = address(*number);
                let peer = PeerId(address.port().into());
                ListedPeer { peer, address: address.into() }.encode(&mut bytes);
            }
            self.node.handle(self.now, Input::Received { connection: id, bytes: &bytes });
        }
        self.act(&[]);
    }

    fn exchange(&mut self, id: ConnectionId) {
        let Some(&at) = self.links.get(&id) else { return };
        while let Some(Transmit::Bytes { bytes, .. }) = self.node.transmit(id) {
            let bytes = bytes.to_vec();
            self.node.transmitted(self.now, id, bytes.len());
            self.sharers[at].on_bytes(self.now, id, &bytes);
            self.act(&[]);
        }
        while let Some(bytes) = self.sharers[at].send(self.now, id) {
            self.node.handle(self.now, Input::Received { connection: id, bytes: &bytes });
            self.act(&bytes);
            if !self.links.contains_key(&id) {
                return;
            }
        }
    }

    fn act(&mut self, received: &[u8]) {
        while let Some(action) = self.node.poll_action() {
            if let Some(answer) = self.carry_out(action, received) {
                self.node.handle(self.now, answer);
            }
        }
    }

    fn carry_out(&mut self, action: Action, received: &[u8]) -> Option<Input<'static>> {
        match action {
            Action::Dial { connection, to } => return self.dial(connection, to),
            Action::Close { connection, .. } => {
                self.registry_links.remove(&connection);
                if let Some(at) = self.links.remove(&connection) {
                    self.sharers[at].sessions.remove(&connection);
                }
            }
            Action::SendBeacon { datagram, .. } => self.on_beacon(&datagram),
            Action::Look(id) => {
                let path = self.node.paths().get(id).unwrap().clone();
                let (bytes, sight) = (self.files.get(path.as_str()), Sight::Looked);
                return Some(match bytes.map(|bytes| version(bytes.len() as u64)) {
                    Some(version) => Input::FileSeen { path, version, sight },
                    None => Input::FileGone { path },
                });
            }
            Action::Hash { path, .. } => {
                let bytes = &self.files[self.node.paths().get(path).unwrap().as_str()];
                let (version, id) = (version(bytes.len() as u64), content(bytes).id);
                let hash = Hash::Blake3 { id, values: Rc::new([]) };
                return Some(Input::Hashed { path, version, hash });
            }
            Action::OpenPartial { file, .. } if self.is_full => {
                return Some(Input::FileFailed { file, error: FileError::NoFile });
            }
            Action::OpenPartial { file, path, content, .. } => {
                self.open.insert(file, (path, vec![0; content.size_bytes as usize]));
                return Some(Input::PartialOpened { file, data: Vec::new() });
            }
            Action::Write { file, range, offset } => {
                let len_bytes = range.len();
                if let Some((_, bytes)) = self.open.get_mut(&file) {
                    bytes[offset as usize..][..len_bytes].copy_from_slice(&received[range]);
                    return Some(Input::Written { file, len_bytes });
                }
            }
            Action::Commit(file) => {
                let (id, bytes) = self.open.remove(&file)?;
                return Some(self.commit(file, id, bytes));
            }
            Action::CopyFile { file, from, path, .. } => {
                let bytes = self.files[self.node.paths().get(from).unwrap().as_str()].clone();
                return Some(self.commit(file, path, bytes));
            }
            Action::MakeFolder(id) => {
                self.folders.insert(self.node.paths().get(id).unwrap().to_string());
                return Some(Input::FolderMade { path: id, made: Ok(()) });
            }
            Action::Discard(file) | Action::Keep(file) => _ = self.open.remove(&file),
            Action::Report(report) => self.reports.push(report),
            Action::Exit(outcome) => self.outcome = Some(outcome),
            _ => {}
        }
        None
    }

    fn commit(&mut self, file: FileId, id: PathId, bytes: Vec<u8>) -> Input<'static> {
        let path = self.node.paths().get(id).unwrap().clone();
        let version = version(bytes.len() as u64);
        self.files.insert(path.to_string(), bytes);
        Input::Committed { file, path, version }
    }

    fn dial(&mut self, connection: ConnectionId, to: SocketAddrV4) -> Option<Input<'static>> {
        if to == REGISTRY && self.listed.is_some() {
            self.registry_links.insert(connection);
            return Some(Input::Connected(connection));
        }
        let found = self.sharers.iter().position(|sharer| sharer.address == to);
        let refused = Some(Input::Broken { connection, kind: ErrorKind::ConnectionRefused });
        let Some(at) = found else { return refused };
        let sharer = &mut self.sharers[at];
        sharer.dials += 1;
        if sharer.is_down {
            return refused;
        }
        sharer.silent_until = Some(self.now + sharer.silent_for);
        let number = sharer.address.port();
        let our = Rc::new(SessionSettings {
            peer: PeerId(number.into()),
            instance: number.into(),
            name: PeerName::new(sharer.name).unwrap(),
        });
        let session = Session::new(self.now, &Rc::new(Limits::PEER), &our, false);
        sharer.sessions.insert(connection, (session, BTreeSet::new()));
        self.links.insert(connection, at);
        Some(Input::Connected(connection))
    }

    /// Each peer that has a tag of a query answers it, and each that is heard one without tags.
    fn on_beacon(&mut self, datagram: &[u8]) {
        let beacon = Beacon::decode(datagram, None).unwrap();
        if beacon.kind != BeaconKind::Query {
            return;
        }
        self.queries += 1;
        for sharer in self.sharers.iter_mut().filter(|sharer| sharer.is_heard) {
            let tags = sharer.tags();
            if beacon.tags.is_empty() || beacon.tags.iter().any(|tag| tags.contains(tag)) {
                sharer.answers_at = Some(self.now + sharer.answers_after);
            }
        }
    }

    /// A peer sends a beacon by itself, without tags.
    pub(super) fn hear(&mut self, sharer: usize) {
        let sharer = &self.sharers[sharer];
        let (from, bytes) = (sharer.address, sharer.beacon(Vec::new()));
        self.node.handle(self.now, Input::Beacon { from, bytes: &bytes });
        self.act(&[]);
    }

    /// Returns how many sessions there are.
    pub(super) fn sessions(&self) -> usize {
        self.links.len()
    }

    /// Returns the names of the files that are there.
    pub(super) fn names(&self) -> Vec<&str> {
        self.files.keys().map(String::as_str).collect()
    }

    /// Returns what was told of wishes.
    pub(super) fn told(&self) -> impl Iterator<Item = &WishReport> {
        self.reports.iter().filter_map(|report| match report {
            Report::Wish(report) => Some(&**report),
            _ => None,
        })
    }
}

/// Returns where a peer is.
pub(super) fn address(number: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_000 + number as u16)
}
