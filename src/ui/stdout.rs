//! Lines on stdout for programs. Each is written at once or dropped, so that a reader that is
//! slow or gone neither blocks nor ends the loop.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::events::Event;
use crate::limits::{LAST_LINE_PATIENCE, STDOUT_LINE_BYTES_MAX};
use crate::logger::takes_a_line;

/// The state of stdout, of which a process has one.
static STDOUT: Mutex<Stdout> = Mutex::new(Stdout { dropped: 0, is_cut: false });

#[derive(Debug)]
struct Stdout {
    /// Lines dropped since the last one that was written.
    dropped: u64,
    /// Whether only the beginning of the last line was written.
    is_cut: bool,
}

/// Prints a line, which ends with its `\n`, or drops and counts it. The count is printed
/// before the next line that is not dropped.
pub fn print(line: &str) {
    print_within(line, Duration::ZERO);
}

/// Prints the last line of the program, and waits up to [`LAST_LINE_PATIENCE`] for a slow
/// reader: no loop runs then.
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
    fn write(&mut self, line: &str, patience: Duration) -> bool {
        // A pipe that is writable has room for a page.
        debug_assert!(line.len() < STDOUT_LINE_BYTES_MAX, "{} bytes", line.len());
        let stdout = io::stdout();
        if !patience.is_zero() {
            let timeout = Timespec::try_from(patience).ok();
            // `takes_a_line` checks the outcome.
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
