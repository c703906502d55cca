//! When each file is offered: once in an interval, in small batches spread over it, so
//! that no receive buffer overflows and no peer is woken in bursts.

use std::time::{Duration, Instant};

use crate::limits::OFFERS_PER_BATCH;
use crate::wire::FilePath;

/// Goes round the names in order, a batch at a time.
///
/// The names themselves are the caller's: files may come and go between batches.
#[derive(Debug)]
pub struct OfferSchedule {
    interval: Duration,
    next_batch_at: Instant,
    /// The last name offered in this round; `None` before a round.
    cursor: Option<FilePath>,
}

impl OfferSchedule {
    /// Returns a schedule whose first batch is due at `first_batch_at`.
    pub fn new(first_batch_at: Instant, interval: Duration) -> Self {
        Self { interval, next_batch_at: first_batch_at, cursor: None }
    }

    /// Makes the next batch due now.
    pub fn hasten(&mut self, now: Instant) {
        self.next_batch_at = self.next_batch_at.min(now);
    }

    /// Returns when the next batch is due.
    pub fn next_batch_at(&self) -> Instant {
        self.next_batch_at
    }

    /// Returns the last name offered in this round, behind which the next batch begins;
    /// `None` before a round.
    pub fn cursor(&self) -> Option<FilePath> {
        self.cursor.clone()
    }

    /// Sets the time of the next batch. The one just sent ended with `last`, or its round
    /// if that is `None`, and there are `files` in all.
    pub fn batch_sent(&mut self, now: Instant, files: usize, last: Option<FilePath>) {
        let batches = files.div_ceil(OFFERS_PER_BATCH).max(1) as u32;
        self.cursor = last;
        // After a sleep of the whole machine the missed batches are not made up for.
        self.next_batch_at = (self.next_batch_at + self.interval / batches).max(now);
    }
}
