//! What wants to be done when.
//!
//! Deadlines of transfers move with every byte, so the queue is lazy: it holds for each key a
//! time that is not later than its deadline. A key that is woken too early looks at its own
//! deadline and is armed anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// A queue of keys by time. Invariant: `armed` and `queue` hold the same pairs.
#[derive(Debug)]
pub(super) struct Deadlines<K> {
    queue: BTreeSet<(Instant, K)>,
    armed: BTreeMap<K, Instant>,
}

impl<K: Copy + Ord> Deadlines<K> {
    pub(super) fn new() -> Self {
        Self { queue: BTreeSet::new(), armed: BTreeMap::new() }
    }

    /// Wakes `key` at `at` or earlier. Has no effect if an earlier time is armed: to put a
    /// wake-up off, disarm it first.
    pub(super) fn arm(&mut self, key: K, at: Instant) {
        if self.armed.get(&key).is_some_and(|&armed| armed <= at) {
            return;
        }
        self.disarm(key);
        self.armed.insert(key, at);
        self.queue.insert((at, key));
    }

    pub(super) fn disarm(&mut self, key: K) {
        if let Some(at) = self.armed.remove(&key) {
            self.queue.remove(&(at, key));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at)
    }

    /// Returns a key whose time has come; it has to be armed anew.
    pub(super) fn pop(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.queue.first()?;
        if now < at {
            return None;
        }
        self.disarm(key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn keys_are_woken_in_order_and_never_later_than_they_asked_for() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::new();
        for (key, seconds) in [('a', 5), ('b', 2), ('a', 9), ('c', 4), ('b', 1), ('d', 3)] {
            deadlines.arm(key, at(seconds));
        }
        deadlines.disarm('d');
        assert_eq!(deadlines.next(), Some(at(1)));
        assert_eq!(deadlines.pop(at(0)), None);
        let woken: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(5))).collect();
        assert_eq!(woken, ['b', 'c', 'a']);
        assert_eq!(deadlines.next(), None);
        deadlines.arm('a', at(7));
        assert_eq!(deadlines.next(), Some(at(7)), "woken, it may be armed anew");
    }
}
