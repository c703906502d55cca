//! Sharers of version 1, of which peers ask everything in any order, while the files change.
//!
//! No network is simulated: bytes go from a session of each peer to the sharer and back in pieces
//! of any length, and connections break at any byte.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use kit::sharer::{Sharer, content_of};
use p2pfs::content::{BlockSet, Content, ContentId};
use p2pfs::limits::{Limits, REVERIFY_PAUSE_MIN, SETTLE_TIME};
use p2pfs::node::ConnectionId;
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::{Page, Request, Session, SessionEvent, SessionSettings};
use p2pfs::wire::v1::{Entry, EntryState, PeerName, SessionError, Verdict, merge};
use p2pfs::wire::{FilePath, PeerId};

/// What a peer has of the catalog, by its own account.
#[derive(Default)]
struct Copy {
    map: BTreeMap<FilePath, EntryState>,
    reached: u64,
}

/// A peer that asks.
struct Asker {
    session: Session,
    connection: ConnectionId,
    /// Bytes that the sharer has not read yet.
    pending: Vec<u8>,
    asked: BTreeMap<u32, Asked>,
    turns: BTreeMap<u32, (Content, u32)>,
    held: BTreeSet<ContentId>,
}

/// A request, and what came for it.
struct Asked {
    request: Request,
    data: Vec<u8>,
    /// How many changes there were before it.
    changes: usize,
}

struct World {
    rng: Rng,
    sharer: Sharer,
    askers: Vec<Asker>,
    instances: u64,
    /// Every content that was ever there, with its bytes.
    contents: BTreeMap<Content, Vec<u8>>,
    copy: Copy,
    /// How many answers of each kind were whole, and how many requests failed.
    counts: BTreeMap<&'static str, usize>,
    changes: usize,
}

fn path(rng: &mut Rng) -> FilePath {
    let texts = ["f", "g", "a/f", "a/g", "a/b/f", "c/f"];
    FilePath::new(texts[rng.usize(..texts.len())]).expect("a legal path")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let sharer = Sharer::new(Instant::now());
        let mut world = Self {
            sharer,
            askers: Vec::new(),
            instances: 100,
            contents: BTreeMap::new(),
            copy: Copy::default(),
            counts: BTreeMap::new(),
            changes: 0,
            rng: rng.fork(),
        };
        for _ in 0..4 {
            world.change();
        }
        world
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = match self.rng.u8(..8) {
            0 => 0,
            1..6 => self.rng.usize(1..2_000),
            _ => self.rng.usize(262_000..900_000),
        };
        let mut bytes = vec![0; len];
        self.rng.fill(&mut bytes);
        self.contents.insert(content_of(&bytes), bytes.clone());
        bytes
    }

    /// The user does something with a file.
    fn change(&mut self) {
        self.changes += 1;
        let path = path(&mut self.rng);
        match self.rng.u8(..10) {
            0 => self.sharer.remove(&path),
            1 => self.sharer.touch(&path),
            2 => {
                let to = self::path(&mut self.rng);
                if to != path && !self.sharer.contents().contains_key(&to) {
                    self.sharer.rename(&path, &to);
                }
            }
            3 | 4 => {
                let (bytes, is_seen) = (self.bytes(), self.rng.bool());
                self.sharer.overwrite(&path, bytes, is_seen);
            }
            5 => {
                // The same content under another path.
                let there = self.rng.choice(self.contents.values()).cloned().unwrap_or_default();
                self.contents.insert(content_of(&there), there.clone());
                self.sharer.put(&path, there);
            }
            _ => {
                let bytes = self.bytes();
                self.sharer.put(&path, bytes);
            }
        }
    }

    fn join(&mut self) {
        self.instances += 1;
        let our =
            SessionSettings { peer: PeerId(9), instance: self.instances, name: PeerName::none() };
        let connection = self.sharer.accept();
        let limits = Rc::new(Limits::PEER);
        let session = Session::new(self.sharer.now, &limits, &Rc::new(our), true);
        self.askers.push(Asker {
            session,
            connection,
            pending: Vec::new(),
            asked: BTreeMap::new(),
            turns: BTreeMap::new(),
            held: BTreeSet::new(),
        });
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// One of the peers requests something.
    fn ask(&mut self, index: usize) {
        let mut known: Vec<Content> = self.copy.map.values().filter_map(content_in).collect();
        let are_none = known.is_empty();
        known.extend(self.contents.keys().filter(|_| are_none || self.rng.u8(..8) == 0));
        let Some(content) = self.rng.choice(known) else { return };
        let turn = {
            let turns: Vec<_> = self.askers[index].turns.iter().collect();
            self.rng.choice(turns).map(|(req, turn)| (*req, *turn))
        };
        let rng = &mut self.rng;
        let request = match (rng.u8(..9), turn) {
            (0, _) => Request::List {
                since: if rng.bool() { 0 } else { self.copy.reached },
                path: rng.bool().then(|| path(rng)),
                watch: rng.u8(..4) == 0,
                hash_first: rng.bool(),
                fetch_list: rng.u8(..8) == 0,
            },
            (1, _) => Request::Blocks(content.id),
            (2, _) => Request::Manifest(content),
            (3 | 4, _) => Request::Wait(content),
            (5.., Some((turn, (content, blocks)))) => {
                let first = rng.u32(..content.blocks());
                let count = rng.u32(1..=blocks.min(content.blocks() - first).max(1));
                Request::Get { turn, content, first, count }
            }
            _ => {
                let first = rng.u32(..content.blocks().max(1));
                Request::Get { turn: rng.u32(..9), content, first, count: 1 }
            }
        };
        let asker = &mut self.askers[index];
        if let Some(req) = asker.session.request(self.sharer.now, &request) {
            if let Request::Get { turn, count, .. } = &request
                && let Some((_, left)) = asker.turns.get_mut(turn)
            {
                *left = left.saturating_sub(*count);
                if *left == 0 {
                    asker.turns.remove(turn);
                }
            }
            let changes = self.changes;
            asker.asked.insert(req, Asked { request, data: Vec::new(), changes });
        }
    }

    fn cancel(&mut self, index: usize) {
        let asker = &mut self.askers[index];
        let reqs: Vec<_> = asker.asked.keys().chain(asker.turns.keys()).copied().collect();
        if let Some(req) = self.rng.choice(reqs) {
            asker.session.cancel(self.sharer.now, req);
            asker.asked.remove(&req);
            asker.turns.remove(&req);
        }
    }

    /// Some bytes move, both ways.
    fn pump(&mut self, index: usize) {
        let asker = &mut self.askers[index];
        while let Some(Transmit::Bytes { bytes, .. }) = asker.session.transmit() {
            let bytes = bytes.to_vec();
            asker.pending.extend(&bytes);
            asker.session.transmitted(self.sharer.now, bytes.len());
        }
        let most = asker.pending.len().min(1 << self.rng.u32(..16));
        let read = self.sharer.receive(asker.connection, &asker.pending[..most]);
        asker.pending.drain(..read);
        let bytes = self.sharer.take(asker.connection, 1 << self.rng.u32(..21));
        let mut at = 0;
        loop {
            let asker = &mut self.askers[index];
            match asker.session.handle_bytes(self.sharer.now, &bytes, &mut at) {
                Ok(None) => break,
                Ok(Some(event)) => self.on_event(index, event, &bytes),
                Err(reason) => panic!("the sharer breaks a rule: {reason}"),
            }
        }
    }

    fn on_event(&mut self, index: usize, event: SessionEvent, bytes: &[u8]) {
        let asker = &mut self.askers[index];
        match event {
            SessionEvent::Page { req, page, entries } => self.on_page(index, req, page, entries),
            SessionEvent::Held { req, size_bytes, blocks } => {
                let Some(Asked { request: Request::Blocks(id), .. }) = asker.asked.get(&req) else {
                    panic!("an answer to no question")
                };
                let content = Content { id: *id, size_bytes };
                assert!(self.contents.contains_key(&content), "a content that never was");
                assert_eq!(blocks, BlockSet::all(content.blocks()));
                asker.held.insert(*id);
                self.count("held");
            }
            SessionEvent::Manifest { req, values } => {
                let asked = asker.asked.remove(&req).expect("it was asked for");
                let Request::Manifest(content) = asked.request else { panic!("no manifest") };
                assert_eq!(merge(&values, &content), Some(content.id), "a wrong manifest");
                self.count("manifest");
            }
            SessionEvent::Turn { req, blocks } => {
                let asked = asker.asked.remove(&req).expect("it was asked for");
                let Request::Wait(content) = asked.request else { panic!("no turn") };
                assert!(blocks >= 1 && blocks <= content.blocks());
                asker.turns.insert(req, (content, blocks));
                self.count("turn");
            }
            SessionEvent::Data { req, range, is_last } => {
                let asked = asker.asked.get_mut(&req).expect("it was asked for");
                asked.data.extend(&bytes[range]);
                if is_last {
                    self.on_data(index, req);
                }
            }
            SessionEvent::Failed { req, error, .. } => {
                assert_ne!(error, SessionError::Unreadable);
                asker.asked.remove(&req);
                asker.turns.remove(&req);
                self.count("failed");
            }
            SessionEvent::Hello { .. } => {}
            SessionEvent::MoreHeld { .. }
            | SessionEvent::Requested { .. }
            | SessionEvent::Cancelled { .. }
            | SessionEvent::Verdict { .. } => panic!("{event:?}"),
        }
    }

    fn on_page(&mut self, index: usize, req: u32, page: Page, entries: Vec<Entry>) {
        let asked = self.askers[index].asked.get(&req).expect("it was asked for");
        let Request::List { watch, fetch_list, .. } = asked.request else { panic!("no list") };
        assert!(!fetch_list || entries.is_empty(), "it fetches nothing");
        let is_of_all =
            matches!(&asked.request, Request::List { path: None, fetch_list: false, .. });
        if is_of_all {
            self.copy.reached = page.generation;
            let states = entries.iter().map(|entry| (entry.path.clone(), entry.state));
            self.copy.map.extend(states);
        }
        for entry in &entries {
            if let Some(content) = content_in(&entry.state) {
                assert!(self.contents.contains_key(&content), "a content that never was");
            }
        }
        if page.complete && !watch {
            self.askers[index].asked.remove(&req);
        }
        self.count("page");
    }

    /// Blocks are there: they are right, unless a file was overwritten since they were requested.
    fn on_data(&mut self, index: usize, req: u32) {
        let asked = self.askers[index].asked.remove(&req).expect("it was asked for");
        let Request::Get { content, first, count, .. } = asked.request else { panic!("no data") };
        let range = content.block_range(first).start..content.block_range(first + count - 1).end;
        let expected = &self.contents[&content][range.start as usize..range.end as usize];
        let is_right = asked.data == expected;
        assert_eq!(asked.data.len(), expected.len());
        assert!(is_right || asked.changes < self.changes, "wrong bytes though nothing changed");
        self.count(if is_right { "right" } else { "wrong" });
        let verdict = if is_right { Verdict::Verified } else { Verdict::Wrong };
        let now = self.sharer.now;
        self.askers[index].session.tell(now, content, verdict);
    }

    fn step(&mut self) {
        if self.askers.len() < 4 && self.rng.u8(..8) == 0 {
            self.join();
        }
        if !self.askers.is_empty() {
            let index = self.rng.usize(..self.askers.len());
            match self.rng.u8(..12) {
                0..4 => self.ask(index),
                4 if self.rng.u8(..3) == 0 => self.cancel(index),
                5 if self.rng.u8(..20) == 0 => {
                    let gone = self.askers.swap_remove(index);
                    return self.sharer.lose(gone.connection);
                }
                _ => self.pump(index),
            }
        }
        match self.rng.u8(..16) {
            0 if self.rng.bool() => self.change(),
            1..4 => _ = self.sharer.hash(),
            4 => {
                let time = Duration::from_millis(self.rng.u64(..800));
                self.sharer.wait(time);
            }
            _ => {}
        }
        let closed: Vec<_> = self.sharer.closed.keys().copied().collect();
        self.askers.retain(|asker| !closed.contains(&asker.connection));
    }

    /// In the end a new peer finds all that is there, and fetches it.
    fn finish(&mut self) {
        for asker in std::mem::take(&mut self.askers) {
            self.sharer.lose(asker.connection);
        }
        assert_eq!(self.sharer.open_files(), 0, "files that nobody needs are open");
        // Overwritten files of which nobody was told are found once they are requested.
        for _ in 0..20 {
            self.sharer.wait(SETTLE_TIME);
            while self.sharer.hash() {}
        }
        self.join();
        let list = Request::List {
            since: 0,
            path: None,
            watch: false,
            hash_first: true,
            fetch_list: false,
        };
        let map = self.list(&list);
        let there = self.sharer.contents();
        assert!(map.keys().eq(there.keys()), "{map:?}, and there are {there:?}");
    }

    fn list(&mut self, list: &Request) -> BTreeMap<FilePath, EntryState> {
        let mut map = BTreeMap::new();
        let index = self.askers.len() - 1;
        let now = self.sharer.now;
        self.askers[index].session.request(now, list).expect("there is room");
        for _ in 0..1_000 {
            let asker = &mut self.askers[index];
            while let Some(Transmit::Bytes { bytes, .. }) = asker.session.transmit() {
                let bytes = bytes.to_vec();
                asker.session.transmitted(now, bytes.len());
                self.sharer.receive(asker.connection, &bytes);
            }
            let bytes = self.sharer.take(asker.connection, usize::MAX);
            let mut at = 0;
            while let Ok(Some(event)) = asker.session.handle_bytes(now, &bytes, &mut at) {
                let SessionEvent::Page { page, entries, .. } = event else { continue };
                map.extend(entries.into_iter().map(|entry| (entry.path, entry.state)));
                if page.complete {
                    return map;
                }
            }
            self.sharer.hash();
            self.sharer.wait(Duration::from_millis(100));
        }
        panic!("it never ends")
    }
}

fn content_in(state: &EntryState) -> Option<Content> {
    match state {
        EntryState::File { content, .. } => Some(*content),
        _ => None,
    }
}

#[test]
fn a_file_of_which_wrong_bytes_came_soon_after_its_hash_is_hashed_again_though_nobody_asks() {
    let mut world = World::new(1);
    let path = FilePath::new("mapped").expect("a legal path");
    let content = content_of(b"before");
    world.contents.insert(content, b"before".to_vec());
    world.sharer.put(&path, b"before".to_vec());
    while world.sharer.hash() {}
    world.sharer.overwrite_mapped(&path, b"behind".to_vec());
    world.join();
    let request = Request::Get { turn: 0, content, first: 0, count: 1 };
    let asker = &mut world.askers[0];
    let req = asker.session.request(world.sharer.now, &request).expect("there is room");
    asker.asked.insert(req, Asked { request, data: Vec::new(), changes: world.changes });
    world.changes += 1;
    (0..50).for_each(|_| world.pump(0));
    assert_eq!(world.counts.get("wrong"), Some(&1));
    world.sharer.wait(REVERIFY_PAUSE_MIN);
    while world.sharer.hash() {}
    let (hash_first, watch, fetch_list) = (false, false, false);
    let map = world.list(&Request::List { since: 0, path: None, watch, hash_first, fetch_list });
    assert_eq!(content_in(&map[&path]), Some(content_of(b"behind")));
}

#[test]
fn a_sharer_answers_everything_in_any_order_while_its_files_change() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..60 {
        let mut world = World::new(seed);
        (0..1_500).for_each(|_| world.step());
        world.finish();
        for (what, count) in world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{counts:?}");
    for what in ["page", "held", "manifest", "turn", "right", "failed"] {
        assert!(counts.get(what).is_some_and(|count| *count > 100), "{what}: {counts:?}");
    }
}
