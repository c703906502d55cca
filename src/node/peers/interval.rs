//! How often a peer offers each of its files, as far as its offers have shown it.
//!
//! Each gap between two offers of one file is a sample. A lost offer doubles a gap, and a new
//! file, which is offered at once, shortens one: so the median counts, and samples are spread
//! over the time, so that no single event makes several.

use std::time::{Duration, Instant};

use crate::limits::{INTERVAL_SAMPLES, INTERVAL_SAMPLES_MIN, OFFER_INTERVAL_MIN};

#[derive(Debug, Default)]
pub(super) struct Interval {
    /// In milliseconds; the first `len` are samples.
    samples_ms: [u32; INTERVAL_SAMPLES],
    len: usize,
    /// The place of the next one.
    next: usize,
    sampled_at: Option<Instant>,
}

impl Interval {
    /// A file was offered again after this long. Copies of one offer, which come by several
    /// ways, show nothing.
    pub(super) fn note(&mut self, now: Instant, gap: Duration) {
        let is_too_soon = |at: Instant| now.saturating_duration_since(at) < gap / 2;
        if gap < OFFER_INTERVAL_MIN / 2 || self.sampled_at.is_some_and(is_too_soon) {
            return;
        }
        self.sampled_at = Some(now);
        if let Some(sample) = self.samples_ms.get_mut(self.next) {
            *sample = gap.as_millis().try_into().unwrap_or(u32::MAX);
        }
        self.len = INTERVAL_SAMPLES.min(self.len + 1);
        self.next = (self.next + 1) % INTERVAL_SAMPLES;
    }

    /// Returns the interval, once there are enough samples; the upper median of them.
    pub(super) fn observed(&self) -> Option<Duration> {
        if self.len < INTERVAL_SAMPLES_MIN {
            return None;
        }
        let mut samples = self.samples_ms;
        let samples = samples.get_mut(..self.len)?;
        samples.sort_unstable();
        samples.get(self.len / 2).map(|ms| Duration::from_millis((*ms).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is observed of offers that are heard at these tenths of a second.
    fn observed(heard: &[u64]) -> Option<u64> {
        let (start, mut interval) = (Instant::now(), Interval::default());
        let at = |tenths| start + Duration::from_millis(tenths * 100);
        for pair in heard.windows(2) {
            interval.note(at(pair[1]), at(pair[1]) - at(pair[0]));
        }
        interval.observed().map(|interval| interval.as_millis() as u64 / 100)
    }

    #[test]
    fn it_is_known_after_the_third_offer_and_lost_ones_do_not_double_it_for_long() {
        assert_eq!((observed(&[0]), observed(&[0, 50])), (None, None));
        assert_eq!(observed(&[0, 50, 100]), Some(50));
        assert_eq!(observed(&[0, 100, 150, 200, 300, 350]), Some(50));
        // It changes.
        assert_eq!(observed(&[0, 50, 100, 150, 200, 210, 220, 230, 240]), Some(10));
    }

    #[test]
    fn neither_what_is_new_nor_copies_make_it_short() {
        assert_eq!(observed(&[0, 10, 60]), Some(50));
        let (start, mut interval) = (Instant::now(), Interval::default());
        let second = Duration::from_secs(1);
        for file in 0..100 {
            // All are offered when they are new, and again a second later.
            interval.note(start + second + Duration::from_millis(file), second);
        }
        assert_eq!(interval.observed(), None);
        interval.note(start + 6 * second, 5 * second);
        for _ in 0..100 {
            interval.note(start + 6 * second, Duration::from_millis(3));
        }
        assert_eq!(interval.observed(), Some(5 * second));
    }
}
