//! The time of a script, and what has to hold for the deadline of every machine.

use std::time::{Duration, Instant};

/// A clock that goes on only when it is told to.
pub(super) struct Clock {
    now: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { now: Instant::now() }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn wait(&mut self, how_long: Duration) {
        self.now += how_long;
    }

    /// Checks one call of `handle_timeout`: `before` and `after` are what `poll_timeout`
    /// said around it, `is_ok` whether it went well.
    pub(super) fn check_timeout(
        &self,
        before: Option<Instant>,
        is_ok: bool,
        after: Option<Instant>,
    ) {
        let was_due = before.is_some_and(|deadline| deadline <= self.now);
        assert!(is_ok || was_due, "closed before its deadline");
        assert!(
            after.is_none_or(|deadline| deadline > self.now),
            "wants to be woken in the past, which would be for ever"
        );
        assert!(was_due || before == after, "an early call moved the deadline");
    }
}
