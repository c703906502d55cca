//! Contents that are fetched, each from all sources that hold some of it.
//!
//! Owns the wanted paths whose content is known, and everything that is asked for them. Does not
//! know why they are wanted: `gather` tells the sources of each, and learns by
//! [`Contents::poll_event`] what became of each path.
//!
//! | file | what happens there |
//! |---|---|
//! | [`entry`] | the states of one path |
//! | this file | the table of paths, and which of them are active |
//! | [`targets`] | what stands under a name, copies, and files that are opened and committed |
//! | [`fetching`] | the machine of one content that comes in |
//! | [`asking`] | what it asks for |
//! | [`arriving`] | blocks that come in |
//! | [`plan`] | which blocks from which source |
//! | [`source`] | what was asked of one source |
//! | [`out`] | requests on sessions |
//!
//! # Many getters
//!
//! What is verified is given at once: `share` learns of it by [`Contents::poll_holding`]. Getters
//! find each other by the tag of their wish, dial one another until they have 12 sessions, and
//! ask each which blocks it holds. The policy is that of section 8 of the protocol. Its figures
//! are in benches/README.md, "Swarms"; what differs from the protocol's policy stands where it
//! is: [`Line`](crate::proto::v1::Line) does not count turns that stand still.
//!
//! # A hundred thousand peers
//!
//! On paper: 100,000 getters of one content on many networks, each with 12 to 24 sessions. A
//! peer does not feel how many there are beyond these and the 4,096 records of its table. These
//! bounds are met first, in this order:
//!
//! 1. **Beacons of one network.** N peers send N / 5 datagrams a second to N peers each. 4,096 in
//!    one broadcast domain take 0.4 MB/s of every link; more are evicted from the table unseen.
//!    Then the interval has to grow with the number that is heard.
//! 2. **The registry.** It lists at most 1,024 peers in an answer, ordered by id, and is asked
//!    every 30 s by each that looks for something: all of 100,000 entries are 100 answers of 24
//!    KiB, 2.4 MB for each asker, 8 GB/s for all of them. So a peer reads one range of ids, from a
//!    random one on, which the protocol has room for (`after`), and registries share the ranges
//!    out: peer P asks, and is listed by, the one that has the first bits of its id.
//! 3. **The sharer.** It tells 24 sessions what it holds, and gives the others `X` 3. Its blocks
//!    reach everybody in some 5 hops (each peer has 12 others: 12^5 > 100,000), each of which
//!    takes the time of one block and a way through queues; that is a second for 100 Mbit/s, so
//!    the time of the last one grows with the logarithm of the number.
//! 4. **Between networks.** Sessions are chosen at random, so nearly all of the bytes cross
//!    networks. Peers of one network, whose addresses share a prefix, should be preferred, with a
//!    few sessions beyond it: each network then takes each block over its uplink a few times.
//!
//! Invariants: each entry is in `by_path`; `active_small` and `active_large` hold those that are
//! neither queued nor following; `groups` has each content that is not empty, with the entry
//! that leads, if one does.

mod arriving;
mod asking;
mod entry;
mod fetching;
mod out;
mod plan;
mod source;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Instant;

pub(crate) use self::entry::EntryId;
use self::entry::{Entry, State};
use self::fetching::Fetching;
use self::out::{Books, Out};
use super::report::WishReport;
use super::settling::tell;
use crate::content::{Attributes, Content, Version};
use crate::limits::{CONTENT_SOURCES_MAX, LARGE_ACTIVE_MAX, SMALL_ACTIVE_MAX};
use crate::node::peer::{Context, FileUse, Them, Wake as PeerWake};
use crate::node::{Action, ConnectionId, FetchError, PathId};
use crate::proto::FileId;
use crate::proto::v1::SessionEvent;
use crate::wire::v1::Value;

/// The wanted paths whose content is known.
#[derive(Debug)]
pub(crate) struct Contents {
    entries: BTreeMap<EntryId, Entry>,
    by_path: BTreeMap<PathId, EntryId>,
    next_entry: u64,
    groups: BTreeMap<Content, Group>,
    small_queue: VecDeque<EntryId>,
    large_queue: VecDeque<EntryId>,
    active_small: BTreeSet<EntryId>,
    active_large: BTreeSet<EntryId>,
    /// The system is short of descriptors or memory: nothing begins before.
    paused_until: Option<Instant>,
    /// How many blocks from the first missing one on may be requested, in bytes.
    ahead_bytes: u64,
    /// The files of the jobs that were committed, by hashes of their folded paths.
    committed: BTreeMap<u64, targets::Committed>,
    books: Books,
}

/// The paths with one content.
#[derive(Debug, Default)]
struct Group {
    /// The entry that fetches it.
    leader: Option<EntryId>,
    followers: VecDeque<EntryId>,
    sources: Vec<ConnectionId>,
    /// A file that has it. Its path is held.
    origin: Option<PathId>,
}

/// A path that is wanted, and what is to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) path: PathId,
    pub(crate) content: Content,
    pub(crate) attributes: Attributes,
}

/// What became of a wanted path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContentEvent {
    /// It is there, under the name `saved`. It is wanted no more.
    Done { path: PathId, saved: PathId, version: Version, how: How },
    /// It will not come. It is wanted no more.
    Failed { path: PathId, error: FetchError },
    /// No source of its content is left. It waits for others.
    NoSource { path: PathId },
    /// A source of its content sent wrong bytes too often: see rule F16 of the protocol.
    StruckOut { path: PathId, source: ConnectionId },
}

/// What is held of a content of several blocks that is fetched, for those to whom it is given.
#[derive(Clone, Debug)]
pub(crate) enum Holding {
    /// Its partial file is open. Nothing of it is verified.
    Begun { content: Content, path: PathId, file: FileId },
    /// The values of its blocks are known.
    Values { content: Content, values: Rc<[Value]> },
    /// One more block is verified and written.
    Block { content: Content, block: u32 },
    /// It is fetched no more.
    Over { content: Content },
}

/// How a path came to its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// These gave some of it; nobody, if an earlier run had all.
    Fetched { from: Vec<Them> },
    /// From another file of the job.
    Copied,
    /// It stood there.
    Found,
    /// Something else stands there, which the user wants to be left alone.
    Skipped,
}

/// What a deadline wakes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// Something may be asked for.
    Entry(EntryId),
    /// The system may have descriptors again.
    Queue,
}

impl Contents {
    /// Wants nothing yet. Blocks are requested at most `ahead_bytes` from the first missing one
    /// on: `u64::MAX` unless they are needed in order.
    pub(crate) fn new(ahead_bytes: u64) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_path: BTreeMap::new(),
            next_entry: 0,
            groups: BTreeMap::new(),
            small_queue: VecDeque::new(),
            large_queue: VecDeque::new(),
            active_small: BTreeSet::new(),
            active_large: BTreeSet::new(),
            paused_until: None,
            ahead_bytes,
            committed: BTreeMap::new(),
            books: Books::default(),
        }
    }

    /// A path is wanted, which none of the wanted ones is. These sessions may have its content.
    pub(crate) fn want(&mut self, ctx: &mut Context, wanted: Wanted, sources: &[ConnectionId]) {
        let Wanted { path, content, attributes } = wanted;
        if self.by_path.contains_key(&path) {
            debug_assert!(false, "a path is wanted twice");
            return;
        }
        let id = EntryId(self.next_entry);
        self.next_entry += 1;
        ctx.paths.hold(path);
        self.by_path.insert(path, id);
        let mut state = State::Queued;
        if content.size_bytes > 0 {
            let group = self.groups.entry(content).or_default();
            sources.iter().for_each(|&source| group.add_source(source));
            if group.leader.is_some() {
                group.followers.push_back(id);
                state = State::Following;
            } else if group.origin.is_none() {
                group.leader = Some(id);
            }
        }
        let is_queued = matches!(state, State::Queued);
        self.entries.insert(id, Entry { path, content, attributes, state });
        if is_queued {
            self.enqueue(id);
        }
        self.begin_queued(ctx);
        self.flush(ctx);
    }

    /// Returns whether a wanted content is still to come and has room for another source.
    pub(crate) fn wants_source(&self, content: &Content) -> bool {
        let group = self.groups.get(content).filter(|group| group.leader.is_some());
        group.is_some_and(|group| group.sources.len() < CONTENT_SOURCES_MAX)
    }

    /// Returns whether a path is fetched, and waits for a source.
    pub(crate) fn has_no_source(&self, path: PathId) -> bool {
        let entry = self.by_path.get(&path).and_then(|id| self.entries.get(id));
        match entry.map(|entry| &entry.state) {
            Some(State::Fetching(fetching)) => !fetching.has_source(),
            _ => false,
        }
    }

    /// Another session may have a content.
    pub(crate) fn add_source(
        &mut self,
        ctx: &mut Context,
        content: &Content,
        source: ConnectionId,
    ) {
        let Some(group) = self.groups.get_mut(content) else { return };
        group.add_source(source);
        let Some(leader) = group.leader else { return };
        if let Some(fetching) = self.fetching(leader) {
            fetching.add_source(source);
            self.settle(ctx, leader);
        }
        self.flush(ctx);
    }

    /// The other side of a session may fetch contents of several blocks that are fetched here: it
    /// is asked what it holds of them.
    pub(crate) fn hope_for(&mut self, ctx: &mut Context, source: ConnectionId) {
        for id in self.active_large.iter().copied().collect::<Vec<_>>() {
            if let Some(fetching) = self.fetching(id)
                && !fetching.sources.contains_key(&source)
            {
                fetching.hope_for(source);
                self.settle(ctx, id);
            }
        }
        self.flush(ctx);
    }

    /// A session is over, and has left the table.
    pub(crate) fn on_session_lost(&mut self, ctx: &mut Context, source: ConnectionId) {
        for id in self.active() {
            let Self { entries, books, .. } = self;
            if let Some(Entry { state: State::Fetching(fetching), .. }) = entries.get_mut(&id) {
                fetching.drop_source(&mut Out { ctx, books, entry: id }, source);
                self.settle(ctx, id);
            }
        }
        for group in self.groups.values_mut() {
            group.sources.retain(|it| *it != source);
        }
        self.books.small_asked.remove(&source);
        self.flush(ctx);
    }

    /// A request was answered, in part or whole, or failed; `bytes` are those in which the range
    /// of data lies. Returns whether the request was made here.
    pub(crate) fn on_event(
        &mut self,
        ctx: &mut Context,
        source: ConnectionId,
        event: SessionEvent,
        bytes: &[u8],
    ) -> bool {
        let (SessionEvent::Held { req, .. }
        | SessionEvent::MoreHeld { req, .. }
        | SessionEvent::Manifest { req, .. }
        | SessionEvent::Turn { req, .. }
        | SessionEvent::Data { req, .. }
        | SessionEvent::Failed { req, .. }) = event
        else {
            return false;
        };
        let Self { entries, books, .. } = self;
        let Some(&id) = books.asked.get(&(source, req)) else { return false };
        if let Some(Entry { state: State::Fetching(fetching), .. }) = entries.get_mut(&id)
            && fetching.on_event(&mut Out { ctx, books, entry: id }, source, event, bytes)
        {
            self.settle(ctx, id);
        }
        self.flush(ctx);
        true
    }

    pub(crate) fn on_wake(&mut self, ctx: &mut Context, wake: Wake) {
        match wake {
            Wake::Entry(id) => {
                self.compare_again(ctx, id);
                self.settle(ctx, id);
            }
            Wake::Queue => {
                self.paused_until = None;
                self.begin_queued(ctx);
            }
        }
        self.flush(ctx);
    }

    /// Bytes of a file are written.
    pub(crate) fn on_written(&mut self, ctx: &mut Context, file: FileId, len_bytes: usize) {
        let Some(&FileUse::Content(id)) = ctx.files.get(&file) else { return };
        let Self { entries, books, .. } = self;
        if let Some(Entry { state: State::Fetching(fetching), .. }) = entries.get_mut(&id)
            && fetching.on_written(&mut Out { ctx, books, entry: id }, len_bytes)
        {
            self.settle(ctx, id);
            self.flush(ctx);
        }
    }

    /// A block of a partial file was hashed.
    pub(crate) fn on_block_hashed(
        &mut self,
        ctx: &mut Context,
        file: FileId,
        block: u32,
        value: &Value,
    ) {
        let Some(&FileUse::Content(id)) = ctx.files.get(&file) else { return };
        let Self { entries, books, .. } = self;
        if let Some(Entry { state: State::Fetching(fetching), .. }) = entries.get_mut(&id) {
            fetching.on_block_hashed(&mut Out { ctx, books, entry: id }, block, value);
            self.settle(ctx, id);
            self.flush(ctx);
        }
    }

    /// Returns what became of a path.
    pub(crate) fn poll_event(&mut self) -> Option<ContentEvent> {
        self.books.events.pop_front()
    }

    /// Returns what has changed of what is held.
    pub(crate) fn poll_holding(&mut self) -> Option<Holding> {
        self.books.holding.pop_front()
    }

    /// Returns whether the other side of a session is known to hold a block.
    pub(crate) fn is_held_by(&self, source: ConnectionId, content: &Content, block: u32) -> bool {
        let leader = self.groups.get(content).and_then(|group| group.leader);
        match leader.and_then(|id| self.entries.get(&id)).map(|entry| &entry.state) {
            Some(State::Fetching(fetching)) => fetching.plan.is_held_by(source, block),
            _ => false,
        }
    }

    /// Returns how many paths are wanted.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns what comes in: the path, its size, how many of its bytes are there, and from how
    /// many sources it comes.
    pub(crate) fn running(&self) -> impl Iterator<Item = (PathId, u64, u64, usize)> {
        let active = self.active_small.iter().chain(&self.active_large);
        active.filter_map(|id| match self.entries.get(id)? {
            Entry { path, content, state: State::Fetching(fetching), .. } => {
                let sources = fetching.sources.values().filter(|it| !it.is_hoped).count();
                Some((*path, content.size_bytes, fetching.came_bytes(), sources))
            }
            _ => None,
        })
    }

    /// A path is wanted no more: what came of it is kept for a later run. Nothing is told of it.
    pub(crate) fn withdraw(&mut self, ctx: &mut Context, path: PathId, discards: bool) {
        let Some(&id) = self.by_path.get(&path) else { return };
        self.close(ctx, id, discards);
        self.remove(ctx, id);
        self.begin_queued(ctx);
        self.flush(ctx);
    }

    /// The program ends: what came is kept for a later run, or is discarded.
    pub(crate) fn stop(&mut self, ctx: &mut Context, discards: bool) {
        self.small_queue.clear();
        self.large_queue.clear();
        for id in self.active() {
            self.close(ctx, id, discards);
        }
        self.flush(ctx);
        *self = Self::new(self.ahead_bytes);
    }

    fn active(&self) -> Vec<EntryId> {
        self.active_small.iter().chain(&self.active_large).copied().collect()
    }

    fn fetching(&mut self, id: EntryId) -> Option<&mut Fetching> {
        match &mut self.entries.get_mut(&id)?.state {
            State::Fetching(fetching) => Some(fetching),
            _ => None,
        }
    }

    fn enqueue(&mut self, id: EntryId) {
        match self.entries.get(&id).is_some_and(Entry::is_small) {
            true => self.small_queue.push_back(id),
            false => self.large_queue.push_back(id),
        }
    }

    /// Begins with the paths that wait for a place, as far as there is room.
    fn begin_queued(&mut self, ctx: &mut Context) {
        if self.paused_until.is_some_and(|until| ctx.now < until) {
            return;
        }
        loop {
            let small = match self.active_small.len() < SMALL_ACTIVE_MAX {
                true => self.small_queue.pop_front(),
                false => None,
            };
            let large = match self.active_large.len() < LARGE_ACTIVE_MAX {
                true => self.large_queue.pop_front(),
                false => None,
            };
            self.active_small.extend(small);
            self.active_large.extend(large);
            if small.is_none() && large.is_none() {
                break;
            }
            small.into_iter().chain(large).for_each(|id| self.look(ctx, id));
        }
        let had_waiting = self.books.has_small_waiting;
        self.books.has_small_waiting = !self.small_queue.is_empty();
        if had_waiting && !self.books.has_small_waiting {
            // What comes slowly may be requested from a second source from now on.
            let active: Vec<_> = self.active_small.iter().copied().collect();
            active.into_iter().for_each(|id| self.settle(ctx, id));
        }
    }

    /// Asks for what a content may ask for, or commits it.
    fn settle(&mut self, ctx: &mut Context, id: EntryId) {
        let Self { entries, books, .. } = self;
        let Some(entry) = entries.get_mut(&id) else { return };
        let State::Fetching(fetching) = &mut entry.state else { return };
        let mut out = Out { ctx, books, entry: id };
        if !fetching.is_done() {
            return fetching.advance(&mut out);
        }
        fetching.let_all_go(&mut out);
        let (file, gave) = (fetching.file, std::mem::take(&mut fetching.gave));
        entry.state = State::Committing { file, gave };
        ctx.act(Action::Commit(file));
    }

    /// Sends what was said on sessions.
    fn flush(&mut self, ctx: &mut Context) {
        while let Some(source) = self.books.touched.pop_first() {
            ctx.pump(source);
        }
    }

    /// Closes what is open of a path.
    fn close(&mut self, ctx: &mut Context, id: EntryId, discards: bool) {
        let Self { entries, books, .. } = self;
        let Some(entry) = entries.get_mut(&id) else { return };
        let Some(file) = entry.state.file() else { return };
        let (has_something, kept_bytes) = match &mut entry.state {
            State::Fetching(fetching) => {
                fetching.give_up(&mut Out { ctx, books, entry: id });
                (fetching.has_something(), fetching.kept_bytes())
            }
            State::Opening(_) | State::Committing { .. } => (true, 0),
            _ => (false, 0),
        };
        let path = ctx.paths.get(entry.path).filter(|_| kept_bytes > 0 && !discards).cloned();
        if let Some(path) = path {
            tell(ctx, WishReport::Kept { path, kept_bytes });
        }
        self.close_file(ctx, file, has_something && !discards);
    }

    fn close_file(&mut self, ctx: &mut Context, file: FileId, is_kept: bool) {
        match is_kept {
            true if ctx.files.remove(&file).is_some() => ctx.act(Action::Keep(file)),
            true => {}
            false => ctx.discard(file),
        }
    }

    /// A path is wanted no more. The next one with its content leads, if it did.
    fn remove(&mut self, ctx: &mut Context, id: EntryId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.by_path.remove(&entry.path);
        ctx.paths.release(entry.path);
        ctx.deadlines.disarm(PeerWake::Contents(Wake::Entry(id)));
        self.active_small.remove(&id);
        self.active_large.remove(&id);
        if !entry.is_small() && !matches!(entry.state, State::Queued | State::Following) {
            self.books.holding.push_back(Holding::Over { content: entry.content });
        }
        match entry.state {
            State::Queued => {
                let queue = [&mut self.small_queue, &mut self.large_queue];
                queue.into_iter().for_each(|queue| queue.retain(|it| *it != id));
            }
            State::Following => {
                let group = self.groups.get_mut(&entry.content);
                group.into_iter().for_each(|group| group.followers.retain(|it| *it != id));
            }
            _ => {}
        }
        self.lead_next(&entry.content, id);
    }

    /// An entry leads no more.
    fn lead_next(&mut self, content: &Content, id: EntryId) {
        let Some(group) = self.groups.get_mut(content) else { return };
        if group.leader != Some(id) {
            return;
        }
        group.leader = None;
        let next = match group.origin {
            Some(_) => std::mem::take(&mut group.followers),
            None => group.followers.pop_front().into_iter().collect(),
        };
        if group.origin.is_none() {
            group.leader = next.front().copied();
            if group.leader.is_none() {
                self.groups.remove(content);
            }
        }
        for id in next {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.state = State::Queued;
                self.enqueue(id);
            }
        }
    }
}

impl Holding {
    /// Returns the content of which it speaks.
    pub(crate) fn content(&self) -> Content {
        match self {
            Self::Begun { content, .. }
            | Self::Values { content, .. }
            | Self::Block { content, .. }
            | Self::Over { content } => *content,
        }
    }
}

impl Group {
    fn add_source(&mut self, source: ConnectionId) {
        if self.sources.len() < CONTENT_SOURCES_MAX && !self.sources.contains(&source) {
            self.sources.push(source);
        }
    }
}
