//! Reports become log lines, at a bounded rate: nobody on the network fills a disk
//! or drowns a terminal.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::limits::{LOG_ADDRESSES_MAX, LOG_LINES_PER_ADDRESS_PER_SECOND, LOG_LINES_PER_SECOND};
use crate::node::Report;

/// Logs reports under the name of the program.
pub(super) struct ReportLog {
    name: String,
    all: Allowance,
    /// Lines about addresses in this second.
    by_address: BTreeMap<Ipv4Addr, u32>,
}

/// A count of lines that begins anew each second.
struct Allowance {
    began: Instant,
    lines: u32,
    hidden: u32,
}

impl ReportLog {
    pub(super) fn new(name: String) -> Self {
        let all = Allowance { began: Instant::now(), lines: 0, hidden: 0 };
        Self { name, all, by_address: BTreeMap::new() }
    }

    pub(super) fn log(&mut self, now: Instant, report: &Report) {
        let level = report.level();
        if level > log::max_level() {
            return;
        }
        if now.saturating_duration_since(self.all.began) >= Duration::from_secs(1) {
            self.begin_second(now);
        }
        if self.has_room(report) {
            log::log!(target: &self.name, level, "{report}");
        } else {
            self.all.hidden += 1;
        }
    }

    /// Logs a line of the loop's own.
    pub(super) fn note(&self, line: impl Display) {
        log::info!(target: &self.name, "{line}");
    }

    fn begin_second(&mut self, now: Instant) {
        if self.all.hidden > 0 {
            log::warn!(target: &self.name, "{} lines were too many to show", self.all.hidden);
        }
        self.all = Allowance { began: now, lines: 0, hidden: 0 };
        self.by_address.clear();
    }

    fn has_room(&mut self, report: &Report) -> bool {
        if let Some(address) = report.about() {
            if self.by_address.len() >= LOG_ADDRESSES_MAX {
                return false;
            }
            let lines = self.by_address.entry(*address.ip()).or_insert(0);
            *lines += 1;
            if *lines > LOG_LINES_PER_ADDRESS_PER_SECOND {
                return false;
            }
        }
        self.all.lines += 1;
        self.all.lines <= LOG_LINES_PER_SECOND
    }
}
