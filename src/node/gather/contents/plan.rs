//! Which blocks of one content are requested from which source.
//!
//! Pure: knows no session, no bytes and no clock. Each block is in one place:
//!
//! ```text
//!            request             right, written
//!   Free ───────────────▶ Open ─────────────────▶ Held
//!     ▲                     │
//!     ├── wrong, lost ──────┘
//!     └── wrong ── Checking          what a partial file of an earlier run has there
//!                     └── right ────────────────▶ Held
//! ```
//!
//! Blocks that few sources hold go first, at random among equals; with one source they go in
//! order. Near the end a source gets no more than its share of what is left, so that all are
//! done at once. When every missing block is open, a block that has not begun to come, or comes
//! slowly, is requested from a second source as well. If neither comes, the second request is
//! given up for one at a third. The copy that begins first is kept, unless it is slow: two never
//! write one block.
//!
//! Invariants: a block is in at most one of `held`, `free`, `open` and `checking`, and in one of
//! them; a block in `open` is requested once, or twice from different sources; `holders` counts for each
//! block the sources that hold it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::content::BlockSet;
use crate::limits::{SECOND_COPY_AFTER, STRIKES_MAX, TAKE_OVER_AFTER};
use crate::node::ConnectionId;

/// The blocks of one content, and the sources that send them.
#[derive(Debug)]
pub(super) struct Plan {
    held: BlockSet,
    free: BlockSet,
    open: BTreeMap<u32, Open>,
    checking: BTreeSet<u32>,
    /// No block before it is missing.
    first_missing: u32,
    sources: BTreeMap<ConnectionId, Source>,
    /// How many sources hold each block.
    holders: Vec<u32>,
    /// Requests that were given up and are to be cancelled: blocks, and their sources.
    given_up: Vec<(u32, ConnectionId)>,
    /// Grows with each request, so that the last of a source is known.
    next_order: u64,
    /// How many blocks from the first missing one on may be requested.
    ahead_blocks: u32,
}

#[derive(Debug)]
struct Source {
    held: BlockSet,
    /// Wrong bytes that came from it.
    strikes: u8,
    /// The block that it sent wrong: requested from others, if any holds it.
    wrong: Option<u32>,
    /// How long its last block took from the first byte to the last.
    pace: Option<Duration>,
    /// Whether a block of it was taken over, and none has come since: it takes over none.
    is_laggard: bool,
}

/// A block that is requested.
#[derive(Debug)]
struct Open {
    asked: Asked,
    second: Option<Asked>,
    /// Since when it comes in, and from which source.
    begun: Option<(ConnectionId, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    source: ConnectionId,
    since: Instant,
    order: u64,
}

/// What becomes of a copy whose first byte came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is written. The other copy, if there is one, is to be cancelled.
    Write { cancel: Option<ConnectionId> },
    /// It is not needed: it is to be cancelled.
    Cancel,
}

impl Plan {
    /// Returns a plan for so many blocks, all of them missing. At most `ahead_blocks` from the
    /// first missing one on are requested.
    pub(super) fn new(blocks: u32, ahead_blocks: u32) -> Self {
        Self {
            held: BlockSet::none(blocks),
            free: BlockSet::all(blocks),
            open: BTreeMap::new(),
            checking: BTreeSet::new(),
            first_missing: 0,
            sources: BTreeMap::new(),
            holders: vec![0; blocks as usize],
            given_up: Vec::new(),
            next_order: 0,
            ahead_blocks: ahead_blocks.max(1),
        }
    }

    pub(super) fn held(&self) -> &BlockSet {
        &self.held
    }

    pub(super) fn is_done(&self) -> bool {
        self.held.is_full()
    }

    /// A partial file may have this block: it is not requested until that is known.
    pub(super) fn check(&mut self, block: u32) {
        if self.free.remove(block) {
            self.checking.insert(block);
        }
        self.assert_whole();
    }

    /// A partial file has this block, or does not.
    pub(super) fn checked(&mut self, block: u32, is_right: bool) {
        match self.checking.remove(&block) {
            true if is_right => self.insert_held(block),
            true => _ = self.free.insert(block),
            false => {}
        }
        self.assert_whole();
    }

    /// Tells that a missing block needs no request: it is there already.
    pub(super) fn hold(&mut self, block: u32) {
        if self.free.remove(block) {
            self.insert_held(block);
        }
        self.assert_whole();
    }

    fn insert_held(&mut self, block: u32) {
        self.held.insert(block);
        while self.held.contains(self.first_missing) {
            self.first_missing += 1;
        }
    }

    /// A source holds these blocks, and no others.
    pub(super) fn set_source(&mut self, source: ConnectionId, held: BlockSet) {
        if held.blocks() != self.held.blocks() {
            return;
        }
        let blank = || Source::new(BlockSet::none(held.blocks()));
        let known = self.sources.entry(source).or_insert_with(blank);
        count(&mut self.holders, &known.held, |holders| holders.saturating_sub(1));
        count(&mut self.holders, &held, |holders| holders + 1);
        known.held = held;
    }

    /// A source holds these blocks, too. Returns whether one of them is missing.
    pub(super) fn more_held(&mut self, source: ConnectionId, blocks: &[u32]) -> bool {
        let Some(source) = self.sources.get_mut(&source) else { return false };
        let mut is_useful = false;
        for &block in blocks {
            if source.held.insert(block)
                && let Some(holders) = self.holders.get_mut(block as usize)
            {
                *holders += 1;
                is_useful |= !self.held.contains(block);
            }
        }
        is_useful
    }

    /// A source holds a block no more.
    pub(super) fn not_held(&mut self, source: ConnectionId, block: u32) {
        if let Some(source) = self.sources.get_mut(&source)
            && source.held.remove(block)
            && let Some(holders) = self.holders.get_mut(block as usize)
        {
            *holders = holders.saturating_sub(1);
        }
    }

    /// A source is gone: its blocks are free again, but for those requested elsewhere, too.
    pub(super) fn remove_source(&mut self, source: ConnectionId) {
        if let Some(gone) = self.sources.remove(&source) {
            count(&mut self.holders, &gone.held, |holders| holders.saturating_sub(1));
        }
        for block in self.open_at(source) {
            self.failed(block, source);
        }
    }

    /// Returns how many blocks a source holds.
    pub(super) fn held_by(&self, source: ConnectionId) -> u32 {
        self.sources.get(&source).map_or(0, |source| source.held.count())
    }

    /// Returns whether a source holds a block.
    pub(super) fn is_held_by(&self, source: ConnectionId, block: u32) -> bool {
        self.sources.get(&source).is_some_and(|source| source.held.contains(block))
    }

    /// Returns the blocks that a source was requested and that are open.
    pub(super) fn open_at(&self, source: ConnectionId) -> Vec<u32> {
        let open = self.open.iter().filter(|(_, open)| open.copies().any(|it| it.source == source));
        open.map(|(block, _)| *block).collect()
    }

    /// Returns whether a source is to be asked for a turn now.
    pub(super) fn has_work(&self, source: ConnectionId, now: Instant) -> bool {
        self.free_at(source).next().is_some()
            || self.second_at(source).is_some_and(|second_at| second_at <= now)
    }

    /// Returns when a source may be asked for a second copy of a block, if it may be.
    pub(super) fn second_at(&self, source: ConnectionId) -> Option<Instant> {
        if !self.is_all_open() {
            return None;
        }
        self.seconds(source).map(|(_, _, second_at)| second_at).min()
    }

    /// Returns whether every block that may be requested is.
    fn is_all_open(&self) -> bool {
        let first_free = self.free.both(&self.free).next();
        first_free.is_none_or(|block| block >= self.window_end())
    }

    /// Returns the first block that may not be requested yet.
    fn window_end(&self) -> u32 {
        self.first_missing.saturating_add(self.ahead_blocks)
    }

    /// Chooses up to `count` blocks to request from a source, which are open from now on.
    pub(super) fn choose(
        &mut self,
        source: ConnectionId,
        count: u32,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Vec<u32> {
        let mut chosen: Vec<_> = self.free_at(source).collect();
        let is_alone = self.sources.keys().all(|id| *id == source);
        let others = self.sources.iter().filter(|(id, it)| **id != source && it.held.count() > 0);
        let others = others.count() as u32;
        if is_alone {
            chosen.truncate(count as usize);
        } else if !chosen.is_empty() {
            let share = (chosen.len() as u32).div_ceil(others + 1).min(count) as usize;
            let (salt, odd) = (rng.u32(..), rng.u32(..) | 1);
            let holders = &self.holders;
            let key = |block: &u32| {
                let holders = holders.get(*block as usize).copied().unwrap_or_default();
                (holders, (block ^ salt).wrapping_mul(odd))
            };
            if share < chosen.len() {
                chosen.select_nth_unstable_by_key(share, key);
                chosen.truncate(share);
            }
            chosen.sort_unstable();
        }
        if chosen.is_empty() {
            chosen = self.choose_seconds(source, count, now);
        }
        for &block in &chosen {
            let asked = Asked { source, since: now, order: self.next_order };
            self.next_order += 1;
            match self.open.get_mut(&block) {
                Some(open) => {
                    let given_up = open.second.replace(asked);
                    self.given_up.extend(given_up.map(|copy| (block, copy.source)));
                }
                None => {
                    self.free.remove(block);
                    self.open.insert(block, Open { asked, second: None, begun: None });
                }
            }
        }
        self.assert_whole();
        chosen
    }

    /// Returns the requests that [`Plan::choose`] gave up for others, which are to be cancelled.
    pub(super) fn take_given_up(&mut self) -> Vec<(u32, ConnectionId)> {
        std::mem::take(&mut self.given_up)
    }

    /// Returns the free blocks that may be requested from a source, in order.
    fn free_at(&self, id: ConnectionId) -> impl Iterator<Item = u32> {
        let end = self.window_end();
        let source = self.sources.get(&id);
        let held = source.map(|source| self.free.both(&source.held));
        held.into_iter().flatten().take_while(move |block| *block < end).filter(move |&block| {
            source.is_some_and(|source| source.wrong != Some(block)) || !self.is_elsewhere(block)
        })
    }

    /// Returns whether a block that a source sent wrong is held by another one.
    fn is_elsewhere(&self, block: u32) -> bool {
        self.holders.get(block as usize).is_some_and(|&holders| holders > 1)
    }

    /// Returns the open blocks that may be requested from this source, too: with the copy there
    /// is, and from when on.
    fn seconds(&self, id: ConnectionId) -> impl Iterator<Item = (u32, &Open, Instant)> {
        let source = self.sources.get(&id).filter(|source| !source.is_laggard);
        source.into_iter().flat_map(move |source| {
            let open = self.open.iter().filter(move |(block, open)| {
                open.copies().all(|copy| copy.source != id)
                    && source.held.contains(**block)
                    && source.wrong != Some(**block)
            });
            open.filter_map(move |(&block, open)| {
                let second_at = match (open.begun, open.second) {
                    (Some(_), Some(_)) => return None,
                    (Some((_, at)), None) => at + source.patience(),
                    (None, None) => open.asked.since + SECOND_COPY_AFTER,
                    // Neither comes: the second request is given up for this one.
                    (None, Some(second)) => second.since + TAKE_OVER_AFTER,
                };
                Some((block, open, second_at))
            })
        })
    }

    /// Chooses blocks that another source was requested: slow ones, or half of those that wait
    /// for the longest there, the last first.
    fn choose_seconds(&self, source: ConnectionId, count: u32, now: Instant) -> Vec<u32> {
        if !self.is_all_open() {
            return Vec::new();
        }
        let due = self.seconds(source).filter(|(_, _, second_at)| *second_at <= now);
        let (mut slow, mut waiting) = (Vec::new(), Vec::new());
        for (block, open, second_at) in due {
            match open.begun {
                Some(_) => slow.push((second_at, block)),
                None => waiting.push((open.asked, block)),
            }
        }
        slow.sort_unstable();
        let slowest = waiting.iter().min_by_key(|(copy, _)| (copy.since, copy.order));
        let slowest = slowest.map(|(copy, _)| copy.source);
        waiting.retain(|(copy, _)| Some(copy.source) == slowest);
        waiting.sort_unstable_by_key(|(copy, _)| std::cmp::Reverse(copy.order));
        waiting.truncate(waiting.len().div_ceil(2));
        let slow = slow.into_iter().map(|(_, block)| block);
        let waiting = waiting.into_iter().map(|(_, block)| block);
        slow.chain(waiting).take(count as usize).collect()
    }

    /// The first byte of a block came from a source. At most one copy is left after this.
    pub(super) fn begin(&mut self, block: u32, source: ConnectionId, now: Instant) -> Begin {
        let patience = self.sources.get(&source).map(Source::patience);
        let Some(open) = self.open.get_mut(&block) else { return Begin::Cancel };
        let Some(copy) = open.copies().find(|copy| copy.source == source) else {
            return Begin::Cancel;
        };
        let other = open.copies().find(|copy| copy.source != source);
        match open.begun {
            // The other one comes in already.
            Some((writer, at)) if writer != source => {
                if patience.is_none_or(|patience| now < at + patience) {
                    self.failed(block, source);
                    return Begin::Cancel;
                }
                if let Some(slow) = self.sources.get_mut(&writer) {
                    slow.is_laggard = true;
                }
            }
            _ => {}
        }
        *open = Open { asked: copy, second: None, begun: Some((source, now)) };
        Begin::Write { cancel: other.map(|copy| copy.source) }
    }

    /// A block is verified and written. Returns the source whose copy is to be cancelled, if it
    /// was requested twice.
    pub(super) fn verified(
        &mut self,
        block: u32,
        source: ConnectionId,
        now: Instant,
    ) -> Option<ConnectionId> {
        let open = self.open.remove(&block)?;
        self.insert_held(block);
        if let Some(known) = self.sources.get_mut(&source) {
            known.is_laggard = false;
            let took = open.begun.map(|(_, at)| now.saturating_duration_since(at));
            known.pace = took.or(known.pace);
        }
        self.assert_whole();
        let second = open.copies().find(|copy| copy.source != source);
        second.map(|copy| copy.source)
    }

    /// A request for a block ended without it.
    pub(super) fn failed(&mut self, block: u32, source: ConnectionId) {
        let Some(open) = self.open.get_mut(&block) else { return };
        if open.begun.is_some_and(|(writer, _)| writer == source) {
            open.begun = None;
        }
        let left = open.copies().find(|copy| copy.source != source);
        match left {
            Some(left) => (open.asked, open.second) = (left, None),
            None => {
                self.open.remove(&block);
                self.free.insert(block);
            }
        }
        self.assert_whole();
    }

    /// A block from a source was wrong. Returns whether it is to be no source any more.
    pub(super) fn wrong(&mut self, block: u32, source: ConnectionId) -> bool {
        self.failed(block, source);
        if let Some(source) = self.sources.get_mut(&source) {
            source.wrong = Some(block);
        }
        self.strike(source)
    }

    /// Wrong bytes came from a source. Returns whether it is to be no source any more.
    pub(super) fn strike(&mut self, source: ConnectionId) -> bool {
        let Some(source) = self.sources.get_mut(&source) else { return false };
        source.strikes = source.strikes.saturating_add(1);
        source.strikes >= STRIKES_MAX
    }

    /// Checks the invariants in a debug build.
    fn assert_whole(&self) {
        debug_assert_eq!(
            self.held.count() as usize
                + self.free.count() as usize
                + self.open.len()
                + self.checking.len(),
            self.held.blocks() as usize,
            "a block is lost, or in two places"
        );
    }
}

impl Source {
    fn new(held: BlockSet) -> Self {
        Self { held, strikes: 0, wrong: None, pace: None, is_laggard: false }
    }

    /// Returns how long it waits for a block that comes from another source before it takes it
    /// over.
    fn patience(&self) -> Duration {
        TAKE_OVER_AFTER.max(self.pace.unwrap_or_default() * 2)
    }
}

impl Open {
    fn copies(&self) -> impl Iterator<Item = Asked> + use<> {
        [Some(self.asked), self.second].into_iter().flatten()
    }
}

fn count(holders: &mut [u32], held: &BlockSet, change: impl Fn(u32) -> u32) {
    for block in held.iter() {
        if let Some(holders) = holders.get_mut(block as usize) {
            *holders = change(*holders);
        }
    }
}

#[cfg(test)]
mod tests;
