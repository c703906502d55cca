//! A getter with its files in memory, and sources at the other ends of its sessions.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::*;
use super::model::{Behaviour, Model};
use crate::content::{FileError, OnConflict};
use crate::limits::{Limits, TURNS_IN_USE_MAX};
use crate::node::peer::{Connection, FileUse, SessionConnection};
use crate::node::scene::settings;
use crate::node::{GuestSettings, PeerKind, Report};
use crate::proto::Transmit;
use crate::wire::FilePath;
use crate::wire::v1::BlockHasher;

/// The bytes of a content, and what is told of them.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    pub(super) content: Content,
    pub(super) values: Rc<[Value]>,
}

impl Sample {
    pub(super) fn new(seed: u64, size_bytes: usize) -> Rc<Self> {
        let mut bytes = vec![0; size_bytes];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        Self::of(bytes)
    }

    pub(super) fn of(bytes: Vec<u8>) -> Rc<Self> {
        let mut whole = BlockHasher::new(0);
        whole.update(&bytes);
        let content = Content { id: whole.id(), size_bytes: bytes.len() as u64 };
        let values = (0..content.blocks()).map(|block| value(&bytes, &content, block));
        let values = values.collect();
        Rc::new(Self { bytes, content, values })
    }
}

/// Returns the value of a block of these bytes, zeros where they end.
fn value(bytes: &[u8], content: &Content, block: u32) -> Value {
    let range = content.block_range(block);
    let mut hasher = BlockHasher::new(range.start);
    hasher.update(&bytes[range.start as usize..range.end as usize]);
    if content.blocks() == 1 { hasher.id().0 } else { hasher.value() }
}

pub(super) fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

/// A file that is open for the getter.
struct Partial {
    path: PathId,
    content: Content,
    bytes: Vec<u8>,
    data: Vec<Range<u64>>,
}

/// A getter, its disk, and its sources.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) ctx: Context,
    pub(super) contents: Contents,
    pub(super) models: BTreeMap<ConnectionId, Model>,
    /// Those whose session is over.
    gone: BTreeMap<ConnectionId, Model>,
    /// Final names of the paths that are there, and how they came.
    done: Vec<(String, How)>,
    /// Files under their final names.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// What earlier runs left: bytes, and where they are.
    pub(super) kept: BTreeMap<Content, (Vec<u8>, Vec<Range<u64>>)>,
    open: BTreeMap<FileId, Partial>,
    /// Whether writes are answered later, now and then.
    pub(super) delays_writes: bool,
    /// Those that are not answered.
    writes: VecDeque<(FileId, u64, usize)>,
    pub(super) events: Vec<ContentEvent>,
    pub(super) reports: Vec<Report>,
    /// Files that were copied.
    pub(super) copies: usize,
    pub(super) open_max: usize,
    pub(super) turns_max: usize,
    /// How often it is found that a file changed while it was hashed.
    pub(super) hashes_that_fail: u32,
    /// What every file operation fails with, if it does.
    pub(super) disk_error: Option<FileError>,
    /// Bytes that came as data.
    pub(super) came_bytes: u64,
    pub(super) rng: fastrand::Rng,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, OnConflict::Refuse, false)
    }

    pub(super) fn with(seed: u64, on_conflict: OnConflict, simulate: bool) -> Self {
        let now = Instant::now();
        let guest = GuestSettings { timeout: None, retries_max: 0, on_conflict, gives: false };
        let mut settings = settings(PeerKind::Guest(guest));
        settings.seed = seed;
        settings.simulate_checksum_failure = simulate;
        Self {
            now,
            ctx: Context::new(now, settings, 0),
            contents: Contents::new(u64::MAX),
            models: BTreeMap::new(),
            gone: BTreeMap::new(),
            done: Vec::new(),
            files: BTreeMap::new(),
            kept: BTreeMap::new(),
            open: BTreeMap::new(),
            delays_writes: false,
            writes: VecDeque::new(),
            events: Vec::new(),
            reports: Vec::new(),
            copies: 0,
            open_max: 0,
            turns_max: 0,
            hashes_that_fail: 0,
            disk_error: None,
            came_bytes: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Adds a source that has these contents, and returns it once both said hello.
    pub(super) fn source(&mut self, behaviour: Behaviour, samples: &[&Rc<Sample>]) -> ConnectionId {
        let number = self.models.len() as u32 + 1;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9_000 + number as u16);
        let session = SessionConnection::new(&mut self.ctx, (address, false), true);
        let id = self.ctx.connections.dial(Connection::Session(Box::new(session))).unwrap();
        let model = Model::new(self.now, number, behaviour, samples, self.rng.u64(..));
        self.models.insert(id, model);
        while self.ctx.session_on(id).unwrap().them.is_none() {
            self.exchange(id);
        }
        id
    }

    pub(super) fn want(&mut self, text: &str, sample: &Sample, sources: &[ConnectionId]) -> PathId {
        let path = self.ctx.paths.intern(&path(text));
        let attributes = Attributes { modified_ns: 7, is_executable: false };
        let wanted = Wanted { path, content: sample.content, attributes };
        self.ctx.now = self.now;
        self.contents.want(&mut self.ctx, wanted, sources);
        self.act(&[]);
        path
    }

    /// Lets time pass, and everybody say and do what they can.
    pub(super) fn step(&mut self, pass: Duration) {
        self.now += pass;
        self.ctx.now = self.now;
        while let Some(id) = self.ctx.connections.pop_due(self.now) {
            let Some(connection) = self.ctx.session_on(id) else { continue };
            match connection.session.handle_timeout(self.now) {
                Ok(()) => self.ctx.pump(id),
                Err(_) => self.lose(id),
            }
        }
        while let Some(wake) = self.ctx.deadlines.pop(self.now) {
            match wake {
                PeerWake::Contents(wake) => self.contents.on_wake(&mut self.ctx, wake),
                other => panic!("{other:?}"),
            }
            self.act(&[]);
        }
        self.answer_writes();
        self.act(&[]);
        for id in self.models.keys().copied().collect::<Vec<_>>() {
            self.exchange(id);
        }
        for id in self.contents.active() {
            let in_use = self.contents.fetching(id).map_or(0, |fetching| fetching.turns_in_use());
            assert!(in_use <= TURNS_IN_USE_MAX);
            self.turns_max = self.turns_max.max(in_use);
        }
    }

    /// Runs until every path has ended. Returns what became of them.
    pub(super) fn run(&mut self) -> &[ContentEvent] {
        let mut steps = 0;
        while self.contents.len() > 0 {
            steps += 1;
            assert!(steps < 30_000, "it never ends: {:?} {:?}", self.events, self.contents);
            let pass = Duration::from_micros(self.rng.u64(..20_000));
            self.step(pass);
        }
        self.check_empty();
        // The verdicts arrive.
        self.step(Duration::ZERO);
        &self.events
    }

    /// Nothing is left of what has ended.
    pub(super) fn check_empty(&mut self) {
        let Self { contents, ctx, .. } = self;
        assert!(self.open.is_empty() && ctx.files.is_empty(), "a file is left open");
        assert!(contents.books.asked.is_empty(), "asked: {:?}", contents.books.asked);
        assert!(contents.active_small.is_empty() && contents.active_large.is_empty());
        assert!(contents.books.small_asked.values().all(|asked| *asked == 0));
        assert_eq!(ctx.deadlines.next(), None, "a deadline is left");
    }

    pub(super) fn lose(&mut self, id: ConnectionId) {
        self.gone.extend(self.models.remove(&id).map(|model| (id, model)));
        if self.ctx.connections.remove(id).is_some() {
            self.contents.on_session_lost(&mut self.ctx, id);
            self.act(&[]);
        }
    }

    /// Moves bytes both ways between the getter and a source.
    fn exchange(&mut self, id: ConnectionId) {
        self.ctx.now = self.now;
        let Some(model) = self.models.get_mut(&id) else { return };
        let Some(connection) = self.ctx.session_on(id) else { return };
        while let Some(Transmit::Bytes { bytes, .. }) = connection.session.transmit() {
            let bytes = bytes.to_vec();
            connection.session.transmitted(self.now, bytes.len());
            model.on_bytes(self.now, &bytes);
        }
        let pieces = self.rng.usize(1..6);
        for _ in 0..pieces {
            let Some(model) = self.models.get_mut(&id) else { return };
            let Some(bytes) = model.send(self.now) else { break };
            self.receive(id, &bytes);
        }
        if self.models.get(&id).is_some_and(|model| model.is_gone) {
            self.lose(id);
        }
        self.act(&[]);
    }

    fn receive(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        while let Some(connection) = self.ctx.session_on(id) {
            match connection.session.handle_bytes(self.now, bytes, &mut at) {
                Ok(None) => break,
                Ok(Some(SessionEvent::Hello { peer, instance, name })) => {
                    connection.them = Some(Them { peer, instance, name });
                }
                Ok(Some(event)) => {
                    if let SessionEvent::Data { range, .. } = &event {
                        self.came_bytes += range.len() as u64;
                    }
                    self.contents.on_event(&mut self.ctx, id, event, bytes);
                }
                Err(reason) => panic!("a source broke the protocol: {reason}"),
            }
        }
        self.ctx.pump(id);
        self.act(bytes);
    }

    /// Carries out what is to be done.
    pub(super) fn act(&mut self, received: &[u8]) {
        loop {
            while let Some(event) = self.contents.poll_event() {
                self.on_content_event(&event);
                self.events.push(event);
            }
            let Some(action) = self.ctx.poll_action() else { return };
            self.carry_out(action, received);
        }
    }

    fn on_content_event(&mut self, event: &ContentEvent) {
        match event {
            ContentEvent::StruckOut { source, .. } => {
                if let Some(model) = self.models.get(source) {
                    assert!(model.behaviour.lies_in_bytes(), "{:?} is struck", model.behaviour);
                }
            }
            ContentEvent::Done { saved, how, .. } => {
                let saved = self.ctx.paths.get(*saved).unwrap().as_str().to_owned();
                assert!(self.files.contains_key(&saved), "{saved} is not there");
                self.done.push((saved, how.clone()));
            }
            ContentEvent::Failed { .. } | ContentEvent::NoSource { .. } => {}
        }
    }

    fn carry_out(&mut self, action: Action, received: &[u8]) {
        match action {
            Action::Transmit(_) => {}
            Action::Report(report) => self.reports.push(report),
            Action::Look(path) => {
                let found = self.files.get(self.ctx.paths.get(path).unwrap().as_str());
                let found = found.map(|bytes| crate::node::scene::version(bytes.len() as u64));
                self.contents.on_looked(&mut self.ctx, path, found);
            }
            Action::Hash { path, .. } => {
                if self.hashes_that_fail > 0 {
                    self.hashes_that_fail -= 1;
                    let changed = Err(FileError::Changed);
                    return self.contents.on_compared(&mut self.ctx, path, changed);
                }
                let bytes = &self.files[self.ctx.paths.get(path).unwrap().as_str()];
                let mut hasher = BlockHasher::new(0);
                hasher.update(bytes);
                let found = (crate::node::scene::version(bytes.len() as u64), hasher.id());
                self.contents.on_compared(&mut self.ctx, path, Ok(found));
            }
            Action::OpenPartial { file, .. } | Action::CopyFile { file, .. }
                if self.disk_error.is_some() =>
            {
                self.fail(file);
            }
            Action::OpenPartial { file, path, content, .. } => {
                let blank = || (vec![0; content.size_bytes as usize], Vec::new());
                let (bytes, data) = self.kept.remove(&content).unwrap_or_else(blank);
                self.open.insert(file, Partial { path, content, bytes, data: data.clone() });
                self.open_max = self.open_max.max(self.open.len());
                self.contents.on_partial_opened(&mut self.ctx, file, &data);
            }
            Action::Write { file, .. } if self.disk_error.is_some() => self.fail(file),
            Action::Write { file, range, offset } => self.write(file, &received[range], offset),
            Action::HashBlock { file, block } => {
                let partial = &self.open[&file];
                let value = value(&partial.bytes, &partial.content, block);
                self.contents.on_block_hashed(&mut self.ctx, file, block, &value);
            }
            Action::Commit(file) => {
                let partial = self.open.remove(&file).unwrap();
                let mut hasher = BlockHasher::new(0);
                hasher.update(&partial.bytes);
                assert_eq!(hasher.id(), partial.content.id, "wrong bytes are committed");
                self.commit(file, partial.path, partial.bytes);
            }
            Action::CopyFile { file, from, path, content, .. } => {
                let from = self.ctx.paths.get(from).unwrap().as_str().to_owned();
                let bytes = self.files[&from].clone();
                assert_eq!(bytes.len() as u64, content.size_bytes);
                self.copies += 1;
                self.commit(file, path, bytes);
            }
            Action::Keep(file) => {
                let Partial { content, bytes, data, .. } = self.open.remove(&file).unwrap();
                self.kept.insert(content, (bytes, data));
            }
            Action::Discard(file) => _ = self.open.remove(&file).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, file: FileId, bytes: &[u8], offset: u64) {
        // What the file's transfer is closed for is not written any more.
        assert!(!self.is_held(file, offset), "a held block is overwritten");
        let Some(partial) = self.open.get_mut(&file) else { return };
        partial.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        partial.data.push(offset..offset + bytes.len() as u64);
        self.writes.push_back((file, offset, bytes.len()));
        if !self.delays_writes || self.rng.bool() {
            self.answer_writes();
        }
    }

    fn answer_writes(&mut self) {
        while let Some((file, _, len_bytes)) = self.writes.pop_front() {
            self.contents.on_written(&mut self.ctx, file, len_bytes);
            for &(file, offset, _) in &self.writes {
                assert!(!self.is_held(file, offset), "what is not written is held");
            }
        }
    }

    fn is_held(&self, file: FileId, offset: u64) -> bool {
        let Some(FileUse::Content(id)) = self.ctx.files.get(&file) else { return false };
        let Some(Entry { state: State::Fetching(fetching), .. }) = self.contents.entries.get(id)
        else {
            return false;
        };
        let block = (offset / fetching.content.block_bytes()) as u32;
        fetching.plan.held().contains(block)
    }

    fn commit(&mut self, file: FileId, path: PathId, bytes: Vec<u8>) {
        let name = self.ctx.paths.get(path).unwrap().clone();
        let version = crate::node::scene::version(bytes.len() as u64);
        self.files.insert(name.as_str().to_owned(), bytes);
        assert!(self.contents.on_committed(&mut self.ctx, file, &name, version).is_some());
    }

    fn fail(&mut self, file: FileId) {
        self.open.remove(&file);
        if let (Some(FileUse::Content(id)), Some(error)) =
            (self.ctx.files.remove(&file), self.disk_error)
        {
            self.contents.on_file_failed(&mut self.ctx, id, error);
        }
    }

    /// Returns which paths are there, by how they came.
    pub(super) fn done(&self) -> Vec<(&str, &How)> {
        self.done.iter().map(|(name, how)| (name.as_str(), how)).collect()
    }

    /// An earlier run left these bytes of a content, of which those before `end` are there.
    pub(super) fn keep(&mut self, sample: &Sample, bytes: Vec<u8>, end: usize) {
        let data = std::iter::once(0..end as u64).collect();
        self.kept.insert(sample.content, (bytes, data));
    }

    pub(super) fn model(&self, id: ConnectionId) -> &Model {
        self.models.get(&id).or_else(|| self.gone.get(&id)).unwrap()
    }

    pub(super) fn limits() -> Rc<Limits> {
        Rc::new(Limits::PEER)
    }
}
