//! The deadlines of a transfer: it has to move, and fast enough.

use std::time::{Duration, Instant};

use super::close_reason::{CloseReason, Timer};
use crate::limits::RATE_BYTES_PER_SECOND_MIN;

/// The two deadlines of a transfer: something has to move within `timeout`, and
/// [`RATE_BYTES_PER_SECOND_MIN`] on average over each window.
#[derive(Debug)]
pub struct Progress {
    timeout: Duration,
    window: Duration,
    moved_at: Instant,
    window_began: Instant,
    window_bytes: u64,
}

impl Progress {
    /// Begins to watch, over windows that are no shorter than `timeout`.
    pub fn new(now: Instant, timeout: Duration, window: Duration) -> Self {
        Self {
            timeout,
            window: window.max(timeout),
            moved_at: now,
            window_began: now,
            window_bytes: 0,
        }
    }

    /// Counts `len_bytes` as moved; the first deadline begins anew.
    pub fn moved(&mut self, now: Instant, len_bytes: usize) {
        self.moved_at = now;
        self.window_bytes += len_bytes as u64;
    }

    /// Begins both deadlines anew: the user has set a rate, and it waits for that.
    pub fn held_back(&mut self, now: Instant) {
        (self.moved_at, self.window_began, self.window_bytes) = (now, now, 0);
    }

    /// Returns when something last moved, or else when the transfer began.
    pub fn moved_at(&self) -> Instant {
        self.moved_at
    }

    /// Returns when to check.
    pub fn deadline(&self) -> Instant {
        (self.moved_at + self.timeout).min(self.window_began + self.window)
    }

    /// Checks both deadlines, and begins a new window where one has ended well.
    ///
    /// # Errors
    /// If a deadline has passed, or too little moved within the window.
    pub fn check(&mut self, now: Instant) -> Result<(), CloseReason> {
        if now >= self.moved_at + self.timeout {
            return Err(CloseReason::TimedOut(Timer::Progress));
        }
        if now >= self.window_began + self.window {
            if self.window_bytes < RATE_BYTES_PER_SECOND_MIN * self.window.as_secs() {
                return Err(CloseReason::TimedOut(Timer::MinimumRate));
            }
            (self.window_began, self.window_bytes) = (now, 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{PROGRESS_TIMEOUT, RATE_WINDOW};

    #[test]
    fn a_trickle_is_too_slow_and_silence_is_noticed_sooner() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let progress = || Progress::new(start, PROGRESS_TIMEOUT, RATE_WINDOW);
        let mut silent = progress();
        assert_eq!(silent.check(at(14)), Ok(()));
        assert_eq!(silent.check(at(15)), Err(CloseReason::TimedOut(Timer::Progress)));
        let (mut trickle, mut steady) = (progress(), progress());
        for second in 1..=29 {
            trickle.moved(at(second), 1000);
            steady.moved(at(second), 1060);
            assert_eq!((trickle.check(at(second)), steady.check(at(second))), (Ok(()), Ok(())));
        }
        assert_eq!(trickle.check(at(30)), Err(CloseReason::TimedOut(Timer::MinimumRate)));
        assert_eq!(steady.check(at(30)), Ok(()));
    }

    #[test]
    fn a_wait_for_a_rate_is_no_standstill() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start, PROGRESS_TIMEOUT, RATE_WINDOW);
        for second in [14, 28, 42] {
            progress.held_back(at(second));
            assert_eq!(progress.check(at(second)), Ok(()));
        }
        assert_eq!((progress.deadline(), progress.check(at(56))), (at(57), Ok(())));
        assert_eq!(progress.check(at(57)), Err(CloseReason::TimedOut(Timer::Progress)));
    }

    #[test]
    fn each_window_is_measured_by_itself() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::new(start, PROGRESS_TIMEOUT, RATE_WINDOW);
        let window_bytes = (RATE_BYTES_PER_SECOND_MIN * RATE_WINDOW.as_secs()) as usize;
        // What is too much in one window makes up for nothing in the next.
        for (end, moved_bytes) in [(30, 10 * window_bytes), (60, window_bytes)] {
            progress.moved(at(end - 10), moved_bytes);
            assert_eq!((progress.deadline(), progress.check(at(end - 1))), (at(end), Ok(())));
            assert_eq!(progress.check(at(end)), Ok(()));
        }
        progress.moved(at(80), window_bytes - 1);
        assert_eq!(progress.deadline(), at(90));
        assert_eq!(progress.check(at(90)), Err(CloseReason::TimedOut(Timer::MinimumRate)));
    }
}
