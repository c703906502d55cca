//! The log: lines on stderr, with a date by `simple_logger`. It must not be what ends or
//! blocks the program.
//!
//! `simple_logger` prints with `eprintln!`, which panics if stderr is closed and blocks
//! if it is a full pipe. So a line is printed only while stderr takes one, and is
//! dropped otherwise; should it panic all the same, that is caught, and not told.

use std::io::Write;
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::event::{PollFd, PollFlags, Timespec};
use simple_logger::SimpleLogger;

use crate::terminal;

struct Logger(Box<dyn Log>);

/// Lines as a person at a terminal wants them.
struct Plain(LevelFilter);

/// Whether a panic would be about a line of the log.
static IS_LOGGING: AtomicBool = AtomicBool::new(false);

/// Logs to stderr from now on, up to `level`: a service and a simulation with the date, the level
/// and the name of the program.
pub fn init(level: LevelFilter, is_service: bool) {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !IS_LOGGING.load(Ordering::Relaxed) {
            usual(panic);
        }
    }));
    let logger = Logger(match is_service {
        true => Box::new(SimpleLogger::new().with_level(level)),
        false => Box::new(Plain(level)),
    });
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
}

/// Returns whether a line can be written without waiting. A pipe that says so has room for 4096
/// bytes; one that is closed says something else too.
pub fn takes_a_line(output: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&output, PollFlags::OUT)];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents() == PollFlags::OUT
}

impl Log for Plain {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.0
    }

    fn log(&self, record: &Record<'_>) {
        let prefix = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        // In one call, so that lines of several programs do not mix.
        let line = format!("{prefix}{}\n", record.args());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) && takes_a_line(std::io::stderr()) {
            IS_LOGGING.store(true, Ordering::Relaxed);
            // A line that cannot be written is no reason to end.
            let log = AssertUnwindSafe(|| terminal::write_above(|| self.0.log(record)));
            let _ = panic::catch_unwind(log);
            IS_LOGGING.store(false, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}
