//! Lines on stdout for programs. Each is written at once or dropped and counted, so that a
//! reader that is slow or gone neither blocks nor ends the loop. The last one is data, and waits.

use std::time::Instant;

use super::events::Event;
use crate::stdio;

/// Prints a line, which ends with its `\n`, or drops it.
pub fn print(line: &str) {
    stdio::stdout().line(line, dropped);
}

/// Prints a line that the user runs the program for: it is kept until there is room.
pub fn keep(line: &str) {
    stdio::stdout().keep(line);
}

/// Tells how many lines were dropped, if there is room again.
pub fn catch_up() {
    stdio::stdout().catch_up(dropped);
}

/// Prints the last line of the program, and waits for a slow reader, until then at most if there
/// is such a time: no loop runs any more, and a signal ends the program.
pub fn print_last(line: &str, until: Option<Instant>) {
    stdio::stdout().last_line(line, dropped, until);
}

fn dropped(events: u64) -> String {
    Event::Dropped { events }.line()
}
