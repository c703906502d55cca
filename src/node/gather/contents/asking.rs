//! What a content asks its sources for, as far as it may.

use std::cmp::Reverse;
use std::time::Instant;

use super::Wake;
use super::arriving::Transfer;
use super::fetching::{Fetching, Manifest};
use super::out::Out;
use super::source::{Blocks, Turn};
use crate::content::Content;
use crate::limits::{
    BLOCK_HASHES_MAX, BUSY_PAUSE_MIN, MANIFEST_PATIENCE_MAX, SMALL_ACTIVE_MAX, TURNS_IN_USE_MAX,
    ZEROS_PER_TURN_BYTES,
};
use crate::node::peer::Wake as PeerWake;
use crate::node::{Action, ConnectionId};
use crate::proto::v1::Request;
use crate::wire::v1::{BlockHasher, Value};

impl Fetching {
    /// Asks for all that may be asked for now, and arms the time for the rest.
    pub(super) fn advance(&mut self, out: &mut Out<'_>) {
        if self.is_done() {
            return;
        }
        if self.is_small() {
            self.ask_small(out);
        } else {
            self.ask_blocks(out);
            self.ask_manifest(out);
            self.ask_turns(out);
        }
        self.hash_blocks(out);
        if let Some(at) = self.next_wake(out) {
            out.ctx.deadlines.arm(PeerWake::Contents(Wake::Entry(out.entry)), at);
        }
    }

    /// Asks each source which blocks it holds.
    fn ask_blocks(&mut self, out: &mut Out<'_>) {
        let now = out.ctx.now;
        for (&id, source) in &mut self.sources {
            if source.blocks != Blocks::NotAsked || !source.is_ready(now) {
                continue;
            }
            match out.request(id, &Request::Blocks(self.content.id)) {
                Some(req) => source.blocks = Blocks::Asked(req),
                None => source.pause(now, BUSY_PAUSE_MIN),
            }
        }
    }

    /// Asks one source for the manifest, beside the blocks that it holds; another one if that
    /// takes too long.
    fn ask_manifest(&mut self, out: &mut Out<'_>) {
        let now = out.ctx.now;
        let (asked, patience) = match self.manifest {
            Manifest::Known(_) => return,
            Manifest::Missing { patience } => (None, patience),
            Manifest::Asked { until, .. } if now < until => return,
            Manifest::Asked { source, req, patience, .. } => (Some((source, req)), patience * 2),
        };
        let patience = patience.min(MANIFEST_PATIENCE_MAX);
        let may_ask = self.sources.iter().filter(|(id, source)| {
            source.blocks != Blocks::NotAsked
                && !source.is_hoped
                && source.is_ready(now)
                && source.manifest_after.is_none_or(|after| after <= now)
                && asked.is_none_or(|(asked, _)| asked != **id)
        });
        let best = may_ask.min_by_key(|(id, source)| {
            (source.manifest_requests, Reverse(self.plan.held_by(**id)))
        });
        let Some(best) = best.map(|(id, _)| *id) else {
            // The same is given more time.
            if let Manifest::Asked { until, patience: of_asked, .. } = &mut self.manifest {
                (*until, *of_asked) = (now + patience, patience);
            }
            return;
        };
        if let Some((slow, req)) = asked {
            out.cancel(slow, req);
            if let Some(slow) = self.sources.get_mut(&slow) {
                slow.manifest_after = Some(now + patience);
            }
        }
        if let Some(best) = self.sources.get_mut(&best) {
            best.manifest_requests += 1;
        }
        self.manifest = match out.request(best, &Request::Manifest(self.content)) {
            Some(req) => Manifest::Asked { source: best, req, until: now + patience, patience },
            None => Manifest::Missing { patience },
        };
    }

    /// Asks for turns at the sources that hold something to request.
    fn ask_turns(&mut self, out: &mut Out<'_>) {
        let Manifest::Known(_) = self.manifest else { return };
        let now = out.ctx.now;
        if self.turns_in_use() >= TURNS_IN_USE_MAX {
            return;
        }
        let mut ids: Vec<_> = self.sources.keys().copied().collect();
        out.ctx.rng.shuffle(&mut ids);
        for id in ids {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            if !source.may_wait() || !source.is_ready(now) || !self.plan.has_work(id, now) {
                continue;
            }
            match out.request(id, &Request::Wait(self.content)) {
                Some(req) => source.waiting = Some(req),
                None => source.pause(now, BUSY_PAUSE_MIN),
            }
        }
    }

    pub(super) fn turns_in_use(&self) -> usize {
        self.sources.values().map(|source| source.turns.len()).sum()
    }

    /// A source lets so many blocks be requested: they are, and what is left of the turn is
    /// given back.
    pub(super) fn on_turn(&mut self, out: &mut Out<'_>, id: ConnectionId, req: u32, blocks: u32) {
        out.forget(id, req);
        let in_use = self.turns_in_use();
        let Some(source) = self.sources.get_mut(&id) else { return };
        if source.waiting.take_if(|waiting| *waiting == req).is_none() {
            return;
        }
        let chosen = match in_use < TURNS_IN_USE_MAX {
            true => self.choose(out, id, blocks),
            false => Vec::new(),
        };
        let mut turn = Turn { req, open: 0, asked_bytes: 0, came_bytes: 0 };
        for block in chosen {
            if self.request_block(out, id, req, block) {
                let range = self.content.block_range(block);
                turn.open += 1;
                turn.asked_bytes += range.end - range.start;
            }
        }
        if turn.open < blocks {
            out.cancel(id, req);
        }
        if let Some(source) = self.sources.get_mut(&id).filter(|_| turn.open > 0) {
            source.turns.push(turn);
        }
    }

    /// Chooses blocks to request. Those of zeros that a partial file has as holes are there.
    fn choose(&mut self, out: &mut Out<'_>, id: ConnectionId, blocks: u32) -> Vec<u32> {
        let (now, mut chosen) = (out.ctx.now, Vec::new());
        let mut budget_bytes = ZEROS_PER_TURN_BYTES;
        while chosen.len() < blocks as usize && self.plan.has_work(id, now) {
            let left = blocks - chosen.len() as u32;
            let some = self.plan.choose(id, left, now, &mut out.ctx.rng);
            self.cancel_given_up(out);
            let mut has_found_zeros = false;
            for block in some {
                if self.is_zeros(block, &mut budget_bytes) {
                    has_found_zeros = true;
                    self.plan.failed(block, id);
                    self.plan.hold(block);
                    self.note_held(out, block);
                } else {
                    chosen.push(block);
                }
            }
            if !has_found_zeros || budget_bytes == 0 {
                break;
            }
        }
        chosen
    }

    /// Returns whether a block of which a partial file has nothing is all zeros.
    fn is_zeros(&mut self, block: u32, budget_bytes: &mut u64) -> bool {
        let Some(holes) = &mut self.holes else { return false };
        let range = self.content.block_range(block);
        let len_bytes = range.end - range.start;
        if *budget_bytes < len_bytes || !holes.remove(block) {
            return false;
        }
        *budget_bytes -= len_bytes;
        self.value(block) == Some(zeros(&self.content, block))
    }

    /// Requests one block. Returns whether that was possible.
    fn request_block(
        &mut self,
        out: &mut Out<'_>,
        id: ConnectionId,
        turn: u32,
        block: u32,
    ) -> bool {
        let get = Request::Get { turn, content: self.content, first: block, count: 1 };
        let Some(req) = out.request(id, &get) else {
            self.plan.failed(block, id);
            if let Some(source) = self.sources.get_mut(&id) {
                source.pause(out.ctx.now, BUSY_PAUSE_MIN);
            }
            return false;
        };
        self.transfers.insert((id, req), Transfer::new(block, turn));
        true
    }

    /// Requests a content of one block from the source that has the least to do.
    fn ask_small(&mut self, out: &mut Out<'_>) {
        let now = out.ctx.now;
        if self.content.size_bytes == 0 || !self.transfers.is_empty() && out.books.has_small_waiting
        {
            return;
        }
        let ready = self.sources.iter().filter(|(_, source)| source.is_ready(now));
        let mut ready: Vec<_> = ready.map(|(id, _)| *id).collect();
        out.ctx.rng.shuffle(&mut ready);
        let small_asked = &out.books.small_asked;
        let asked = |id: &ConnectionId| small_asked.get(id).copied().unwrap_or_default();
        ready.retain(|id| self.plan.has_work(*id, now) && asked(id) < SMALL_ACTIVE_MAX);
        let Some(id) = ready.into_iter().min_by_key(asked) else { return };
        let chosen = self.plan.choose(id, 1, now, &mut out.ctx.rng);
        self.cancel_given_up(out);
        for block in chosen {
            if self.request_block(out, id, 0, block) {
                *out.books.small_asked.entry(id).or_default() += 1;
            }
        }
    }

    /// Has blocks of an earlier run hashed, once their values are known.
    fn hash_blocks(&mut self, out: &mut Out<'_>) {
        let Manifest::Known(_) = self.manifest else { return };
        while self.hashing < BLOCK_HASHES_MAX
            && let Some(block) = self.unchecked.pop_front()
        {
            self.hashing += 1;
            out.ctx.act(Action::HashBlock { file: self.file, block });
        }
    }

    /// Returns when something may be asked for that may not be now.
    fn next_wake(&self, out: &Out<'_>) -> Option<Instant> {
        let now = out.ctx.now;
        let waits = self.sources.values().filter_map(|source| source.ready_at(now));
        let manifest = match self.manifest {
            Manifest::Asked { until, .. } => Some(until),
            Manifest::Missing { .. } => {
                let after = self.sources.values().filter_map(|source| source.manifest_after);
                after.filter(|after| *after > now).min()
            }
            Manifest::Known(_) => None,
        };
        let may_double = !self.is_small() || !out.books.has_small_waiting;
        let idle = self.sources.iter().filter(|(_, source)| {
            may_double && source.is_ready(now) && (self.is_small() || source.may_wait())
        });
        let seconds = idle.filter_map(|(&id, _)| self.plan.second_at(id)).filter(|at| *at > now);
        waits.chain(manifest).chain(seconds).min()
    }
}

/// Returns the value of a block of zeros; the id, if it is the only one.
fn zeros(content: &Content, block: u32) -> Value {
    const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    let range = content.block_range(block);
    let (mut hasher, mut left_bytes) = (BlockHasher::new(range.start), range.end - range.start);
    while left_bytes > 0 {
        let piece = left_bytes.min(ZEROS.len() as u64) as usize;
        hasher.update(ZEROS.get(..piece).unwrap_or_default());
        left_bytes -= piece as u64;
    }
    if content.blocks() == 1 { hasher.id().0 } else { hasher.value() }
}
