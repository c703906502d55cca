//! The log: lines on stderr, by `simple_logger`, which must not be what ends or
//! blocks the program.
//!
//! `simple_logger` prints with `eprintln!`, which panics if stderr is closed and blocks
//! if it is a full pipe. So a line is printed only while stderr takes one, and is
//! dropped otherwise; should it panic all the same, that is caught, and not told.

use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec};
use simple_logger::SimpleLogger;

struct Logger(SimpleLogger);

/// Whether a panic would be about a line of the log.
static IS_LOGGING: AtomicBool = AtomicBool::new(false);

/// Logs to stderr from now on, up to `level`.
pub fn init(level: LevelFilter) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !IS_LOGGING.load(Ordering::Relaxed) {
            usual(panic);
        }
    }));
    let logger = Logger(SimpleLogger::new().with_level(level));
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// Whether a line can be written without waiting. A pipe that says so has room for 4096
/// bytes; one that is closed says something else too.
pub fn takes_a_line(output: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&output, PollFlags::OUT)];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents() == PollFlags::OUT
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && takes_a_line(std::io::stderr()) {
            IS_LOGGING.store(true, Ordering::Relaxed);
            // A line that cannot be written is no reason to end.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| self.0.log(record)));
            IS_LOGGING.store(false, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}
