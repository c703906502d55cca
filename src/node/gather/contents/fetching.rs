//! One content comes in, from all its sources at once.
//!
//! ```text
//!              several blocks                       one block
//!   each source:  B ─▶ b, h, h ...                     (it is taken to hold it)
//!   one of them:  M ─▶ m, checked by merging
//!   each source:  W ─▶ t ─▶ G, G, ... ─▶ D             G ─▶ D
//!                              │
//!                              ▼
//!   each block:   hashed and written as it comes; it counts once it is right and written
//! ```
//!
//! What was asked of a source stands in its [`Source`]; which blocks are asked of it in the
//! [`Plan`]. [`Fetching::advance`] asks for all that may be asked for; everything that happens
//! is followed by it.
//!
//! Invariants: each transfer is of a block that its source is requested by the plan; at each
//! source at most one request for a turn waits, and none while a turn is in use, but near the
//! end of a large one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::arriving::Transfer;
use super::out::Out;
use super::plan::Plan;
use super::source::{Blocks, Source, busy_pause};
use super::{ContentEvent, Holding};
use crate::content::{BlockSet, Content};
use crate::limits::{CONTENT_SOURCES_MAX, MANIFEST_PATIENCE};
use crate::node::peer::Them;
use crate::node::{ConnectionId, PathId};
use crate::proto::FileId;
use crate::proto::v1::SessionEvent;
use crate::wire::v1::{SessionError, Value, Verdict, merge};

#[derive(Debug)]
pub(super) struct Fetching {
    pub(super) path: PathId,
    pub(super) content: Content,
    pub(super) file: FileId,
    pub(super) plan: Plan,
    pub(super) sources: BTreeMap<ConnectionId, Source>,
    /// Sources that sent wrong bytes too often: they are none any more.
    struck: BTreeSet<ConnectionId>,
    pub(super) manifest: Manifest,
    pub(super) transfers: BTreeMap<(ConnectionId, u32), Transfer>,
    /// Writes that are not answered, in order, by their transfers.
    pub(super) writes: VecDeque<(ConnectionId, u32)>,
    /// Blocks that an earlier run may have written, to be hashed once the values are known.
    pub(super) unchecked: VecDeque<u32>,
    pub(super) hashing: usize,
    /// Of a partial file of an earlier run: blocks of which it has nothing. They may be zeros.
    pub(super) holes: Option<BlockSet>,
    /// Sources that sent bytes which were right.
    pub(super) gave: BTreeMap<ConnectionId, Them>,
    /// Whether the next block that is right is to be taken for a wrong one.
    pub(super) failure_is_due: bool,
}

/// The values of all blocks. A content of one block has none, and needs none.
#[derive(Debug)]
pub(super) enum Manifest {
    Missing { patience: Duration },
    Asked { source: ConnectionId, req: u32, until: Instant, patience: Duration },
    Known(Rc<[Value]>),
}

impl Fetching {
    /// Returns the machine of a content whose partial file is open, and has bytes in `data`.
    pub(super) fn new(
        path: PathId,
        content: Content,
        file: FileId,
        data: &[Range<u64>],
        ahead_blocks: u32,
    ) -> Self {
        let blocks = content.blocks();
        let mut plan = Plan::new(blocks, ahead_blocks);
        let mut holes = BlockSet::all(blocks);
        let block_bytes = content.block_bytes();
        for range in data.iter().filter(|range| range.start < range.end) {
            let end = range.end.min(content.size_bytes).div_ceil(block_bytes);
            let touched = (range.start / block_bytes) as u32..end as u32;
            touched.for_each(|block| _ = holes.remove(block));
        }
        let unchecked: VecDeque<_> = (0..blocks).filter(|&block| !holes.contains(block)).collect();
        unchecked.iter().for_each(|&block| plan.check(block));
        Self {
            path,
            content,
            file,
            plan,
            sources: BTreeMap::new(),
            struck: BTreeSet::new(),
            manifest: match blocks {
                0 | 1 => Manifest::Known(Rc::new([])),
                _ => Manifest::Missing { patience: MANIFEST_PATIENCE },
            },
            transfers: BTreeMap::new(),
            writes: VecDeque::new(),
            holes: (!unchecked.is_empty()).then_some(holes),
            unchecked,
            hashing: 0,
            gave: BTreeMap::new(),
            failure_is_due: false,
        }
    }

    /// Returns whether all of it comes in one request, without a turn.
    pub(super) fn is_small(&self) -> bool {
        self.content.blocks() <= 1
    }

    pub(super) fn is_done(&self) -> bool {
        self.plan.is_done()
    }

    /// Returns how many of its bytes are there, verified or not.
    pub(super) fn came_bytes(&self) -> u64 {
        let held = u64::from(self.plan.held().count()) * self.content.block_bytes();
        let coming: u64 = self.transfers.values().map(|transfer| transfer.came_bytes).sum();
        (held + coming).min(self.content.size_bytes)
    }

    /// Returns whether anything is worth being kept for a later run.
    pub(super) fn has_something(&self) -> bool {
        !self.is_small() && (self.plan.held().count() > 0 || !self.unchecked.is_empty())
            || self.is_done()
    }

    /// Returns how many bytes of it a later run finds, if that goes on with it.
    pub(super) fn kept_bytes(&self) -> u64 {
        let blocks = u64::from(self.plan.held().count()) + self.unchecked.len() as u64;
        match self.has_something() {
            true => (blocks * self.content.block_bytes()).min(self.content.size_bytes),
            false => 0,
        }
    }

    /// Returns the value that a block is to have; of a content of one block its id.
    pub(super) fn value(&self, block: u32) -> Option<Value> {
        match &self.manifest {
            Manifest::Known(_) if self.is_small() => Some(self.content.id.0),
            Manifest::Known(values) => values.get(block as usize).copied(),
            Manifest::Missing { .. } | Manifest::Asked { .. } => None,
        }
    }

    /// A session may have some of the content.
    pub(super) fn add_source(&mut self, id: ConnectionId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.is_hoped = false;
            return;
        }
        if self.struck.contains(&id) || self.sources.len() >= CONTENT_SOURCES_MAX {
            return;
        }
        self.sources.insert(id, Source::default());
        if self.is_small() {
            self.plan.set_source(id, BlockSet::all(self.content.blocks()));
        }
    }

    /// The other side of a session may fetch the same, and hold some of it one day.
    pub(super) fn hope_for(&mut self, id: ConnectionId) {
        if !self.is_small()
            && !self.struck.contains(&id)
            && self.sources.len() < CONTENT_SOURCES_MAX
        {
            self.sources.entry(id).or_insert_with(Source::hoped);
        }
    }

    /// Returns whether anybody is known to hold some of it, or said so.
    pub(super) fn has_source(&self) -> bool {
        self.sources.values().any(|source| !source.is_hoped)
    }

    /// A session is no source any more: what was asked of it is asked of others.
    pub(super) fn drop_source(&mut self, out: &mut Out<'_>, id: ConnectionId) {
        let was_hoped = self.sources.get(&id).is_some_and(|source| source.is_hoped);
        if self.let_go(out, id) && !was_hoped && !self.has_source() {
            out.books.events.push_back(ContentEvent::NoSource { path: self.path });
        }
    }

    /// Cancels all that was asked of a source. Returns whether it was one.
    fn let_go(&mut self, out: &mut Out<'_>, id: ConnectionId) -> bool {
        let of_source = self.transfers.range((id, 0)..=(id, u32::MAX));
        for (id, req) in of_source.map(|(key, _)| *key).collect::<Vec<_>>() {
            self.cancel_transfer(out, id, req);
        }
        let Some(source) = self.sources.remove(&id) else { return false };
        if let Blocks::Asked(req) | Blocks::Told(req) = source.blocks {
            out.cancel(id, req);
        }
        source.waiting.into_iter().for_each(|req| out.cancel(id, req));
        if let Manifest::Asked { source, req, patience, .. } = self.manifest
            && source == id
        {
            out.cancel(id, req);
            self.manifest = Manifest::Missing { patience };
        }
        self.plan.remove_source(id);
        true
    }

    /// Cancels all that is asked of anybody.
    pub(super) fn let_all_go(&mut self, out: &mut Out<'_>) {
        for id in self.sources.keys().copied().collect::<Vec<_>>() {
            self.let_go(out, id);
        }
    }

    /// It will not come: cancels all, and tells those that gave some of it.
    pub(super) fn give_up(&mut self, out: &mut Out<'_>) {
        self.let_all_go(out);
        self.gave.keys().for_each(|&id| out.tell(id, self.content, Verdict::GivenUp));
    }

    /// A source answered, or a request failed. Returns whether more may be asked for now.
    pub(super) fn on_event(
        &mut self,
        out: &mut Out<'_>,
        id: ConnectionId,
        event: SessionEvent,
        bytes: &[u8],
    ) -> bool {
        let now = out.ctx.now;
        match event {
            SessionEvent::Held { req, size_bytes, blocks } => {
                let Some(source) = self.sources.get_mut(&id) else { return false };
                source.blocks = Blocks::Told(req);
                source.is_hoped &= blocks.count() == 0;
                // It holds another content with this id, or says so.
                if size_bytes != self.content.size_bytes {
                    self.drop_source(out, id);
                    return true;
                }
                self.plan.set_source(id, blocks);
            }
            SessionEvent::MoreHeld { blocks, .. } => {
                if let Some(source) = self.sources.get_mut(&id) {
                    (source.manifest_after, source.is_hoped) = (None, false);
                }
                return self.plan.more_held(id, &blocks);
            }
            SessionEvent::Manifest { req, values } => {
                out.forget(id, req);
                self.on_manifest(out, id, values.into());
            }
            SessionEvent::Turn { req, blocks } => self.on_turn(out, id, req, blocks),
            SessionEvent::Data { req, range, is_last } => {
                return self.on_data(out, id, req, (range, bytes), is_last);
            }
            SessionEvent::Failed { req, error, wait_ms, .. } => {
                let wait = Duration::from_millis(wait_ms.into());
                self.on_failed(out, (id, req), error, wait, now);
            }
            _ => return false,
        }
        true
    }

    fn on_manifest(&mut self, out: &mut Out<'_>, id: ConnectionId, values: Rc<[Value]>) {
        match &self.manifest {
            Manifest::Asked { source, .. } if *source == id => {}
            _ => return,
        }
        if merge(&values, &self.content) == Some(self.content.id) {
            let known = Holding::Values { content: self.content, values: Rc::clone(&values) };
            out.books.holding.push_back(known);
            self.manifest = Manifest::Known(values);
            return;
        }
        self.manifest = Manifest::Missing { patience: MANIFEST_PATIENCE };
        if let Some(source) = self.sources.get_mut(&id) {
            source.manifest_after = Some(out.ctx.now + MANIFEST_PATIENCE);
        }
        out.tell(id, self.content, Verdict::Wrong);
        if self.plan.strike(id) {
            self.strike_out(out, id);
        }
    }

    /// A source sent wrong bytes too often.
    pub(super) fn strike_out(&mut self, out: &mut Out<'_>, id: ConnectionId) {
        self.struck.insert(id);
        out.books.events.push_back(ContentEvent::StruckOut { path: self.path, source: id });
        self.drop_source(out, id);
    }

    fn on_failed(
        &mut self,
        out: &mut Out<'_>,
        (id, req): (ConnectionId, u32),
        error: SessionError,
        wait: Duration,
        now: Instant,
    ) {
        out.forget(id, req);
        let transfer = self.end_transfer(out, id, req);
        let block = transfer.map(|transfer| transfer.block);
        block.into_iter().for_each(|block| self.plan.failed(block, id));
        let is_small = self.is_small();
        let Some(source) = self.sources.get_mut(&id) else { return };
        let was_waiting = source.waiting.take_if(|waiting| *waiting == req).is_some();
        let was_told = matches!(source.blocks, Blocks::Asked(b) | Blocks::Told(b) if b == req);
        if was_told {
            source.blocks = Blocks::NotAsked;
        }
        let was_manifest = match self.manifest {
            Manifest::Asked { source: of, req: asked, patience, .. }
                if (of, asked) == (id, req) =>
            {
                self.manifest = Manifest::Missing { patience };
                // One that is busy says when it will have it.
                let after = match error {
                    SessionError::Busy => busy_pause(wait),
                    _ => MANIFEST_PATIENCE,
                };
                source.manifest_after = Some(now + after);
                true
            }
            _ => false,
        };
        match error {
            SessionError::Busy => source.pause(now, wait),
            SessionError::NotFound | SessionError::Other(_) if was_told && source.is_hoped => {
                source.hope_later(now, &mut out.ctx.rng);
            }
            // It has no manifest yet.
            SessionError::NotFound | SessionError::Other(_) if was_manifest => {}
            SessionError::NotFound | SessionError::Other(_)
                if was_waiting || block.is_some() && !is_small =>
            {
                source.back_off(now, &mut out.ctx.rng);
                block.into_iter().for_each(|block| self.plan.not_held(id, block));
            }
            // Its turn expired, which is no fault.
            SessionError::Refused if was_waiting || block.is_some() => {
                source.back_off(now, &mut out.ctx.rng);
            }
            _ => self.drop_source(out, id),
        }
    }
}
