//! Lines on stdout for programs: each is written at once or not at all, so that a reader
//! who is slow or gone neither blocks the loop nor ends it.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::events::Event;
use crate::limits::{LAST_LINE_PATIENCE, STDOUT_LINE_BYTES_MAX};
use crate::logger::takes_a_line;

/// stdout is one for the whole process, and so is what is known of it.
static STDOUT: Mutex<Stdout> = Mutex::new(Stdout { dropped: 0, is_cut: false });

#[derive(Debug)]
struct Stdout {
    /// Lines that were not written since the last one that was.
    dropped: u64,
    /// Whether only the beginning of the last one was written.
    is_cut: bool,
}

/// Prints a line, which has its end, or drops and counts it. How many were dropped is
/// told before the next one that is not.
pub fn print(line: &str) {
    print_within(line, Duration::ZERO);
}

/// Prints the last line of all. No loop runs any more, so a slow reader has some time for it.
pub fn print_last(line: &str) {
    print_within(line, LAST_LINE_PATIENCE);
}

fn print_within(line: &str, patience: Duration) {
    let Ok(mut stdout) = STDOUT.lock() else { return };
    if stdout.dropped > 0 {
        let told = Event::Dropped { events: stdout.dropped }.line();
        if stdout.write(&told, patience) {
            stdout.dropped = 0;
        }
    }
    if stdout.dropped > 0 || !stdout.write(line, patience) {
        stdout.dropped += 1;
    }
}

impl Stdout {
    /// Whether all of it was written.
    fn write(&mut self, line: &str, patience: Duration) -> bool {
        // What is no longer than a page fits into every pipe that has room at all.
        debug_assert!(line.len() < STDOUT_LINE_BYTES_MAX, "{} bytes", line.len());
        let stdout = io::stdout();
        if !patience.is_zero() {
            let timeout = Timespec::try_from(patience).ok();
            // What came of it is asked below.
            let _ =
                rustix::event::poll(&mut [PollFd::new(&stdout, PollFlags::OUT)], timeout.as_ref());
        }
        if line.len() >= STDOUT_LINE_BYTES_MAX || !takes_a_line(&stdout) {
            return false;
        }
        let whole = if self.is_cut { format!("\n{line}") } else { line.to_owned() };
        match rustix::io::retry_on_intr(|| rustix::io::write(&stdout, whole.as_bytes())) {
            Ok(written_bytes) => self.is_cut = written_bytes < whole.len(),
            Err(_) => return false,
        }
        !self.is_cut
    }
}
