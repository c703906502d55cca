//! How long the loop was held up by making files safe: the one wait there is.

use std::fmt;
use std::time::Duration;

/// Counts the waits.
#[derive(Default)]
pub(super) struct SyncTimes {
    files: usize,
    waits: u32,
    total: Duration,
    longest: Duration,
}

impl SyncTimes {
    /// One wait, for so many files.
    pub(super) fn add(&mut self, files: usize, wait: Duration) {
        self.files += files;
        self.waits += 1;
        self.total += wait;
        self.longest = self.longest.max(wait);
    }

    /// Whether there was any.
    pub(super) fn is_empty(&self) -> bool {
        self.waits == 0
    }
}

impl fmt::Display for SyncTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { files, waits, total, longest } = self;
        let (total, longest) = (total.as_secs_f32(), longest.as_secs_f32());
        write!(f, "making {files} files safe held the loop up for {total:.3} s ")?;
        write!(f, "in {waits} waits, {longest:.3} s at most")
    }
}
