//! A token bucket: so many at once, and then one in each interval.

use std::time::{Duration, Instant};

/// Full at first. A token that is left when the bucket is full is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    interval: Duration,
    /// What a full one holds besides the token that is taken first, as a time.
    slack: Duration,
    /// When it will be full, or was.
    full_at: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant, interval: Duration, burst: u32) -> Self {
        Self { interval, slack: interval * burst.saturating_sub(1), full_at: now }
    }

    /// Returns when there is a token.
    pub(super) fn ready_at(&self) -> Instant {
        self.full_at.checked_sub(self.slack).unwrap_or(self.full_at)
    }

    /// Takes a token. Returns whether there was one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let is_ready = self.ready_at() <= now;
        if is_ready {
            self.full_at = self.full_at.max(now) + self.interval;
        }
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_in_each_interval_and_rest_fills_it_up_to_the_burst() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(start, second, 4);
        let mut taken_at = |at| (0..10).filter(|_| bucket.take(start + second * at)).count();
        assert_eq!([0, 0, 1, 2, 4, 100].map(&mut taken_at), [4, 0, 1, 1, 2, 4]);
        assert_eq!(bucket.ready_at(), start + second * 101);
    }
}
