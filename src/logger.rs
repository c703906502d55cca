//! The log: lines on stderr. It must not be what ends or blocks the program: a line that stderr
//! does not take is dropped and counted.
//!
//! `simple_logger` decides which records are lines. It does not print them, since its
//! `eprintln!` would wait for a full pipe.

use std::time::Instant;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

use crate::count::Count;
use crate::{stdio, terminal};

struct Logger {
    chooses: SimpleLogger,
    /// Whether a line has the level and the name of the program.
    is_service: bool,
}

/// Logs to stderr from now on, up to `level`: a service and a simulation with the level and the
/// name of the program.
pub fn init(level: LevelFilter, is_service: bool) {
    let chooses = SimpleLogger::new().with_level(level);
    if log::set_boxed_logger(Box::new(Logger { chooses, is_service })).is_ok() {
        log::set_max_level(level);
    }
}

/// Tells how many lines were dropped, if there is room again.
pub fn catch_up() {
    stdio::stderr().catch_up(dropped);
}

/// Prints why the program ends, and waits for a slow reader, until then at most.
pub fn print_last(line: &str, until: Instant) {
    stdio::stderr().last_line(line, dropped, Some(until));
}

fn dropped(lines: u64) -> String {
    format!("warning: {} dropped: nobody read stderr\n", Count(lines, "line"))
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.chooses.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, text) = (record.level(), record.args());
        let line = match level {
            _ if self.is_service => format!("{level:<5} [{}] {text}\n", record.target()),
            Level::Error => format!("error: {text}\n"),
            Level::Warn => format!("warning: {text}\n"),
            _ => format!("{text}\n"),
        };
        terminal::write_above(|| stdio::stderr().line(&line, dropped));
    }

    fn flush(&self) {}
}
