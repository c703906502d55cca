//! The bytes of blocks come in: hashed as they arrive, written straight to their place, and
//! counted once both are done.

use std::ops::Range;

use super::Holding;
use super::fetching::Fetching;
use super::out::Out;
use super::plan::Begin;
use crate::node::{Action, ConnectionId, Report};
use crate::wire::v1::{BlockHasher, Value, Verdict};

/// A block that is requested from one source.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) block: u32,
    /// The turn that it is on; 0 for none.
    pub(super) turn: u32,
    pub(super) came_bytes: u64,
    /// Bytes that came and are not written.
    unwritten_bytes: u64,
    /// From the first byte to the last.
    hasher: Option<BlockHasher>,
    /// Whether all of it came, and it has its value.
    is_right: bool,
}

impl Transfer {
    pub(super) fn new(block: u32, turn: u32) -> Self {
        let (hasher, is_right) = (None, false);
        Self { block, turn, came_bytes: 0, unwritten_bytes: 0, hasher, is_right }
    }
}

impl Fetching {
    /// Bytes of a block came. Returns whether more may be asked for now.
    pub(super) fn on_data(
        &mut self,
        out: &mut Out<'_>,
        id: ConnectionId,
        req: u32,
        (range, bytes): (Range<usize>, &[u8]),
        is_last: bool,
    ) -> bool {
        let Some(transfer) = self.transfers.get(&(id, req)) else { return false };
        let (block, is_first) = (transfer.block, transfer.hasher.is_none());
        let begin = self.content.block_range(block).start;
        if is_first && !self.begin(out, id, req, block) {
            return true;
        }
        let (content, value) = (self.content, self.value(block));
        let Some(transfer) = self.transfers.get_mut(&(id, req)) else { return false };
        let hasher = transfer.hasher.get_or_insert_with(|| BlockHasher::new(begin));
        hasher.update(bytes.get(range.clone()).unwrap_or_default());
        let (offset, len_bytes) = (begin + transfer.came_bytes, range.len() as u64);
        transfer.came_bytes += len_bytes;
        transfer.unwritten_bytes += len_bytes;
        if is_last {
            let got = if content.blocks() == 1 { hasher.id().0 } else { hasher.value() };
            transfer.is_right = value == Some(got);
            transfer.hasher = None;
        }
        let (is_right, turn) = (transfer.is_right, transfer.turn);
        if is_last {
            out.forget(id, req);
            if !is_right {
                self.on_wrong(out, id, req);
                return true;
            }
        }
        self.writes.push_back((id, req));
        out.ctx.act(Action::Write { file: self.file, range, offset });
        self.count_on_turn(id, turn, len_bytes)
    }

    /// Returns whether the next turn of the source may be waited for, as one was not before.
    fn count_on_turn(&mut self, id: ConnectionId, turn: u32, len_bytes: u64) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        let was_nearly_over = source.may_wait();
        if let Some(turn) = source.turn_mut(turn) {
            turn.came_bytes += len_bytes;
        }
        !was_nearly_over && source.may_wait()
    }

    /// The first byte of a block came. Returns whether the block is wanted from this source.
    fn begin(&mut self, out: &mut Out<'_>, id: ConnectionId, req: u32, block: u32) -> bool {
        match self.plan.begin(block, id, out.ctx.now) {
            Begin::Cancel => {
                out.cancel(id, req);
                self.end_transfer(out, id, req);
                false
            }
            Begin::Write { cancel: None } => true,
            Begin::Write { cancel: Some(other) } => {
                self.cancel_copy(out, other, block);
                true
            }
        }
    }

    /// Cancels the request for a block that comes from another source, as the plan knows.
    fn cancel_copy(&mut self, out: &mut Out<'_>, id: ConnectionId, block: u32) {
        let of_source = self.transfers.range((id, 0)..=(id, u32::MAX));
        let of_block = of_source.filter(|(_, transfer)| transfer.block == block);
        for (id, req) in of_block.map(|(key, _)| *key).collect::<Vec<_>>() {
            out.cancel(id, req);
            self.end_transfer(out, id, req);
        }
    }

    /// Cancels the requests that the plan gave up for others.
    pub(super) fn cancel_given_up(&mut self, out: &mut Out<'_>) {
        for (block, source) in self.plan.take_given_up() {
            self.cancel_copy(out, source, block);
        }
    }

    fn on_wrong(&mut self, out: &mut Out<'_>, id: ConnectionId, req: u32) {
        let Some(transfer) = self.end_transfer(out, id, req) else { return };
        let (path, peer) = (self.path, out.peer(id));
        out.ctx.report(Report::ChecksumFailed { path, peer, is_simulated: false });
        out.tell(id, self.content, Verdict::Wrong);
        if self.plan.wrong(transfer.block, id) {
            self.strike_out(out, id);
        }
    }

    /// The oldest write that is open is done. Returns whether more may be asked for now.
    pub(super) fn on_written(&mut self, out: &mut Out<'_>, len_bytes: usize) -> bool {
        let Some((id, req)) = self.writes.pop_front() else { return false };
        let Some(transfer) = self.transfers.get_mut(&(id, req)) else { return false };
        transfer.unwritten_bytes = transfer.unwritten_bytes.saturating_sub(len_bytes as u64);
        if !transfer.is_right || transfer.unwritten_bytes > 0 {
            return false;
        }
        let Some(transfer) = self.end_transfer(out, id, req) else { return false };
        if std::mem::take(&mut self.failure_is_due) {
            let (path, peer) = (self.path, out.peer(id));
            out.ctx.report(Report::ChecksumFailed { path, peer, is_simulated: true });
            self.plan.failed(transfer.block, id);
            return true;
        }
        if let Some(second) = self.plan.verified(transfer.block, id, out.ctx.now) {
            self.cancel_copy(out, second, transfer.block);
        }
        self.note_held(out, transfer.block);
        self.gave.extend(out.them(id).map(|them| (id, them)));
        self.sources.get_mut(&id).into_iter().for_each(super::source::Source::gave);
        true
    }

    /// A block is verified and written: it may be given.
    pub(super) fn note_held(&self, out: &mut Out<'_>, block: u32) {
        if !self.is_small() {
            out.books.holding.push_back(Holding::Block { content: self.content, block });
        }
    }

    /// Takes a transfer out of the tables, but for the plan.
    pub(super) fn end_transfer(
        &mut self,
        out: &mut Out<'_>,
        id: ConnectionId,
        req: u32,
    ) -> Option<Transfer> {
        let transfer = self.transfers.remove(&(id, req))?;
        out.forget(id, req);
        if let Some(source) = self.sources.get_mut(&id) {
            source.end_request(transfer.turn);
        }
        if self.is_small()
            && let Some(asked) = out.books.small_asked.get_mut(&id)
        {
            *asked = asked.saturating_sub(1);
        }
        Some(transfer)
    }

    /// Cancels a transfer: its block is to be requested elsewhere.
    pub(super) fn cancel_transfer(&mut self, out: &mut Out<'_>, id: ConnectionId, req: u32) {
        out.cancel(id, req);
        if let Some(transfer) = self.end_transfer(out, id, req) {
            self.plan.failed(transfer.block, id);
        }
    }

    /// A block of an earlier run was hashed.
    pub(super) fn on_block_hashed(&mut self, out: &mut Out<'_>, block: u32, value: &Value) {
        self.hashing = self.hashing.saturating_sub(1);
        let is_right = self.value(block).as_ref() == Some(value);
        self.plan.checked(block, is_right);
        if is_right {
            self.note_held(out, block);
        }
    }
}
