//! How long to wait before something that failed is tried again.

use std::time::Duration;

use crate::limits::{RETRY_DELAY_MAX, RETRY_DELAY_MIN};

/// Delays that double from a first one up to a longest, each shortened or lengthened by
/// up to a quarter so that many peers do not try at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Begins with `first`, and grows to [`RETRY_DELAY_MAX`].
    pub(super) const fn new(first: Duration) -> Self {
        Self { first, next: first, longest: RETRY_DELAY_MAX }
    }

    /// Grows to another longest delay from now on.
    pub(super) fn grow_to(&mut self, longest: Duration) {
        self.longest = longest;
    }

    pub(super) fn delay(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        delay.mul_f64(0.75 + rng.f64() / 2.0)
    }

    /// It worked: begins anew.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Tries of something that failed, and the delay before the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    pub(super) failed: u32,
    pub(super) backoff: Backoff,
}

impl Default for Tries {
    fn default() -> Self {
        Self { failed: 0, backoff: Backoff::new(RETRY_DELAY_MIN) }
    }
}

impl Tries {
    /// One more has failed. Returns the delay before the next one.
    pub(super) fn fail(&mut self, rng: &mut fastrand::Rng) -> Duration {
        self.failed = self.failed.saturating_add(1);
        self.backoff.delay(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_with_jitter() {
        let first = Duration::from_millis(500);
        let (mut backoff, mut rng) = (Backoff::new(first), fastrand::Rng::with_seed(1));
        for expected_ms in [500, 1000, 2000, 4000, 5000, 5000] {
            let delay_ms = backoff.delay(&mut rng).as_millis();
            assert!((expected_ms * 3 / 4..=expected_ms * 5 / 4).contains(&delay_ms), "{delay_ms}");
        }
        backoff.reset();
        assert!(backoff.delay(&mut rng) <= first.mul_f64(1.25));
    }
}
