//! When which file is offered: each once in an interval, in small batches spread
//! over it, so that no receive buffer overflows and no one is woken in bursts.

use std::time::{Duration, Instant};

use crate::limits::OFFERS_PER_BATCH;
use crate::wire::v0::FileName;

/// Goes round the names in order, a batch at a time.
///
/// The names themselves are the caller's: files may come and go between batches.
#[derive(Debug)]
pub struct OfferSchedule {
    interval: Duration,
    next_batch_at: Instant,
    /// The last name offered in this round; `None` before a round.
    cursor: Option<FileName>,
}

impl OfferSchedule {
    /// The first batch is due at `first_batch_at`.
    pub fn new(first_batch_at: Instant, interval: Duration) -> Self {
        Self { interval, next_batch_at: first_batch_at, cursor: None }
    }

    /// The next batch is due now.
    pub fn hasten(&mut self, now: Instant) {
        self.next_batch_at = self.next_batch_at.min(now);
    }

    /// When the next batch is due.
    pub fn next_batch_at(&self) -> Instant {
        self.next_batch_at
    }

    /// The last name offered in this round, behind which the next batch begins.
    pub fn cursor(&self) -> Option<FileName> {
        self.cursor
    }

    /// A batch went out that ended with `last`, of `files` in all; `None` if it was
    /// the last of its round.
    pub fn batch_sent(&mut self, now: Instant, files: usize, last: Option<FileName>) {
        let batches = files.div_ceil(OFFERS_PER_BATCH).max(1) as u32;
        self.cursor = last;
        // After a sleep of the whole machine the missed batches are not made up for.
        self.next_batch_at = (self.next_batch_at + self.interval / batches).max(now);
    }
}
