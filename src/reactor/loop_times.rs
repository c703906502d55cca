//! How long one turn of the loop takes, and how long making files safe held it up: the
//! one wait there is.

use std::fmt;
use std::time::Duration;

use crate::count::Count;
use crate::ui::LoopCounts;

/// Counts the turns and the waits.
#[derive(Default)]
pub(super) struct LoopTimes {
    turns: u64,
    /// Apart from the waits.
    longest_turn: Duration,
    files: usize,
    waits: u32,
    waited: Duration,
    longest_wait: Duration,
}

impl LoopTimes {
    /// One turn, from its wake-up to its end, without the wait for files.
    pub(super) fn add_turn(&mut self, turn: Duration) {
        self.turns += 1;
        self.longest_turn = self.longest_turn.max(turn);
    }

    /// One wait, for so many files.
    pub(super) fn add_wait(&mut self, files: usize, wait: Duration) {
        self.files += files;
        self.waits += 1;
        self.waited += wait;
        self.longest_wait = self.longest_wait.max(wait);
    }

    /// The counts, to be shown.
    pub(super) fn counts(&self) -> LoopCounts {
        LoopCounts {
            turns: self.turns,
            longest_turn: self.longest_turn,
            syncs: self.waits.into(),
            longest_sync: self.longest_wait,
        }
    }

    /// Whether files were waited for.
    pub(super) fn has_waited(&self) -> bool {
        self.waits > 0
    }

    /// The turns, for those who look closely.
    pub(super) fn turns(&self) -> impl fmt::Display {
        let longest_ms = self.longest_turn.as_secs_f32() * 1e3;
        format!("{} of the loop, the longest {longest_ms:.3} ms", Count(self.turns, "turn"))
    }
}

/// The waits.
impl fmt::Display for LoopTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waited, longest) = (self.waited.as_secs_f32(), self.longest_wait.as_secs_f32());
        let (files, waits) = (Count(self.files, "file"), Count(self.waits, "wait"));
        write!(f, "making {files} safe held the loop up for {waited:.3} s ")?;
        write!(f, "in {waits}, {longest:.3} s at most")
    }
}
