//! How fast the running transfers are, from one look at them to the next.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use crate::limits::{RATE_MEMORY, STALLED_AFTER};
use crate::node::{ConnectionId, Direction, Snapshot, Transfer};
use crate::wire::FileName;

/// Remembers the last look.
#[derive(Debug, Default)]
pub(super) struct Meter {
    running: BTreeMap<(ConnectionId, FileName), Running>,
}

/// A running transfer, and how it does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// As it was at the last look.
    pub(super) transfer: Transfer,
    /// Over some seconds, the last ones most.
    pub(super) bytes_per_second: f64,
    /// When that look was.
    looked_at: Instant,
}

impl Meter {
    /// Looks at what runs.
    pub(super) fn look(&mut self, now: Instant, snapshot: &Snapshot) {
        let before = mem::take(&mut self.running);
        let running = snapshot.transfers.iter().map(|&transfer| {
            let key = (transfer.connection, transfer.name);
            let running = before.get(&key).copied().filter(|r| r.transfer.began == transfer.began);
            (key, running.unwrap_or_else(|| Running::new(transfer)).after(now, transfer))
        });
        self.running = running.collect();
    }

    /// What runs.
    pub(super) fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }
}

impl Running {
    /// At its very beginning.
    fn new(transfer: Transfer) -> Self {
        Self {
            transfer: Transfer { bytes: 0, ..transfer },
            bytes_per_second: 0.0,
            looked_at: transfer.began,
        }
    }

    fn after(self, now: Instant, transfer: Transfer) -> Self {
        let moved = transfer.bytes.saturating_sub(self.transfer.bytes);
        let since = now.saturating_duration_since(self.looked_at).as_secs_f64();
        let is_first = self.looked_at == transfer.began;
        // What was measured longer ago than the memory counts for a third or less.
        let weight = if is_first { 1.0 } else { 1.0 - (-since / RATE_MEMORY.as_secs_f64()).exp() };
        let rate = if since > 0.0 { moved as f64 / since } else { self.bytes_per_second };
        Self {
            transfer,
            bytes_per_second: self.bytes_per_second * (1.0 - weight) + rate * weight,
            looked_at: now,
        }
    }

    /// How long it has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.looked_at.saturating_duration_since(self.transfer.began)
    }

    /// Whether nothing moved for so long that it is to be told.
    pub(super) fn is_stalled(&self) -> bool {
        self.still_for() >= STALLED_AFTER
    }

    /// When that will be so, if it is not, and nothing moves until then.
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        (!self.is_stalled()).then(|| self.transfer.moved_at + STALLED_AFTER)
    }

    /// Whether it is coming in.
    pub(super) fn is_download(&self) -> bool {
        matches!(self.transfer.direction, Direction::In { .. })
    }

    /// For how long nothing moved.
    pub(super) fn still_for(&self) -> Duration {
        self.looked_at.saturating_duration_since(self.transfer.moved_at)
    }
}
