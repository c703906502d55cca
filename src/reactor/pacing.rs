//! How fast all connections together may send and receive: a token bucket for each direction.
//!
//! A connection that finds the bucket empty waits in line, and is served before those that came
//! later. Invariant: one that waits is in no other queue of its direction.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::limits::{PACED_BYTES_MIN, PACING_BURST, PACING_INTERVAL};
use crate::node::ConnectionId;

/// The rates that the user has set, in bytes a second.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimits {
    pub up: Option<u64>,
    pub down: Option<u64>,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Pacing {
    bucket: Option<Bucket>,
    waiting: VecDeque<ConnectionId>,
}

impl Pacing {
    /// Without a rate nothing waits.
    pub(super) fn new(now: Instant, rate: Option<u64>) -> Self {
        Self { bucket: rate.map(|rate| Bucket::new(now, rate)), waiting: VecDeque::new() }
    }

    /// Returns how many bytes may move now, at most `budget_bytes`; `None` if it is to wait.
    pub(super) fn allows(&self, now: Instant, budget_bytes: usize) -> Option<usize> {
        let Some(bucket) = &self.bucket else { return Some(budget_bytes) };
        bucket.is_ready(now).then(|| budget_bytes.min(bucket.level_bytes(now)))
    }

    /// Counts bytes that have moved.
    pub(super) fn moved(&mut self, now: Instant, len_bytes: usize) {
        self.bucket.iter_mut().for_each(|bucket| bucket.take(now, len_bytes));
    }

    /// Puts a connection in line.
    pub(super) fn wait(&mut self, id: ConnectionId) {
        self.waiting.push_back(id);
    }

    /// Moves all that wait to the front of `ready`, in their order, once there is something for
    /// them.
    pub(super) fn release(&mut self, now: Instant, ready: &mut VecDeque<ConnectionId>) {
        if self.bucket.as_ref().is_none_or(|bucket| bucket.is_ready(now)) {
            self.waiting.append(ready);
            std::mem::swap(&mut self.waiting, ready);
        }
    }

    /// Lifts the limit, for the last words of a program.
    pub(super) fn lift(&mut self) {
        self.bucket = None;
    }

    /// Returns when to release those in line.
    pub(super) fn next_release(&self) -> Option<Instant> {
        let bucket = self.bucket.as_ref().filter(|_| !self.waiting.is_empty());
        bucket.map(Bucket::ready_at)
    }
}

/// Fills at a rate, holds what comes within [`PACING_BURST`], and may be drawn below nothing.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    /// When it was, or will be, empty.
    empty_at: Instant,
}

impl Bucket {
    /// Begins empty.
    fn new(now: Instant, bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), empty_at: now }
    }

    fn level_bytes(&self, now: Instant) -> usize {
        let filled = now.saturating_duration_since(self.empty_at).min(PACING_BURST);
        let level_bytes = filled.as_nanos() * u128::from(self.bytes_per_second) / 1_000_000_000;
        usize::try_from(level_bytes).unwrap_or(usize::MAX)
    }

    fn take(&mut self, now: Instant, len_bytes: usize) {
        let full = now.checked_sub(PACING_BURST).unwrap_or(self.empty_at);
        self.empty_at = self.empty_at.max(full) + self.time_of(len_bytes);
    }

    /// Returns whether it holds enough for a system call to be worth it.
    fn is_ready(&self, now: Instant) -> bool {
        now >= self.ready_at()
    }

    fn ready_at(&self) -> Instant {
        self.empty_at + PACING_INTERVAL.max(self.time_of(PACED_BYTES_MIN))
    }

    fn time_of(&self, len_bytes: usize) -> Duration {
        let nanoseconds = len_bytes as u128 * 1_000_000_000;
        let nanoseconds = nanoseconds.div_ceil(u128::from(self.bytes_per_second));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RATE_LIMIT_BYTES_MIN;

    #[test]
    fn what_moves_in_a_while_is_the_rate_and_at_most_a_burst() {
        for rate in [RATE_LIMIT_BYTES_MIN, 1_000_000, 125_000_000, 10_000_000_000] {
            let start = Instant::now();
            let mut bucket = Bucket::new(start, rate);
            assert!(!bucket.is_ready(start), "it begins empty");
            let (mut now, mut moved_bytes, end) = (start, 0, start + Duration::from_secs(10));
            // Whatever is there is taken as soon as that is worth it.
            while bucket.ready_at() <= end {
                now = bucket.ready_at();
                let level_bytes = bucket.level_bytes(now);
                assert!(level_bytes >= PACED_BYTES_MIN, "{rate}: {level_bytes}");
                bucket.take(now, level_bytes);
                moved_bytes += level_bytes as u64;
            }
            assert!(moved_bytes <= 10 * rate && moved_bytes >= 10 * rate / 100 * 99, "{rate}");
            // After a pause there is a burst, and no more.
            let level_bytes = bucket.level_bytes(now + Duration::from_secs(3600)) as u128;
            assert_eq!(level_bytes, u128::from(rate) * PACING_BURST.as_millis() / 1000);
        }
    }

    #[test]
    fn what_was_taken_beyond_the_level_is_waited_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, 1_000_000);
        bucket.take(start, 500_000);
        assert_eq!(bucket.level_bytes(start + Duration::from_millis(500)), 0);
        assert!(!bucket.is_ready(start + Duration::from_millis(500)));
        assert_eq!(bucket.level_bytes(start + Duration::from_millis(520)), 20_000);
        assert!(bucket.is_ready(start + Duration::from_millis(520)));
    }

    #[test]
    fn those_in_line_come_first_and_not_before_there_is_something() {
        let id = |bits| ConnectionId::from_bits(bits);
        let start = Instant::now();
        let mut pacing = Pacing::new(start, Some(100_000));
        assert_eq!((pacing.allows(start, 10), pacing.next_release()), (None, None));
        [1, 2].map(id).into_iter().for_each(|id| pacing.wait(id));
        let mut ready = VecDeque::from([3, 4].map(id));
        pacing.release(start, &mut ready);
        assert_eq!(ready, [3, 4].map(id));
        let then = pacing.next_release().unwrap();
        assert!(then > start);
        pacing.release(then, &mut ready);
        assert_eq!(ready, [1, 2, 3, 4].map(id));
        assert_eq!((pacing.next_release(), pacing.allows(then, 10)), (None, Some(10)));
        pacing.moved(then, 1_000_000);
        assert_eq!(pacing.allows(then, 10), None);
        pacing.lift();
        assert_eq!(pacing.allows(then, usize::MAX), Some(usize::MAX));
    }
}
