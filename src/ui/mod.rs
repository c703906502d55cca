//! What people and programs are shown: it is fed with [`Report`]s and, while something
//! runs, with a [`Snapshot`] at its own pace. It decides nothing and waits for nobody.
//!
//! | room | what is shown there |
//! |---|---|
//! | [`report_log`] | lines of the log |
//! | [`events`], [`json`] | `--json`: an object a line on stdout, and their documentation |
//! | [`meter`] | how fast the running transfers are, and what they wait for |
//! | [`stdout`] | a line is written there at once or not at all |

pub mod events;
pub mod json;
mod meter;
mod report_log;
pub mod stdout;

use std::fmt::Display;
use std::time::{Duration, Instant};

use log::Level;

use self::meter::Meter;
use self::report_log::ReportLog;
use crate::limits::PROGRESS_EVENT_INTERVAL;
use crate::node::{Report, Snapshot};

/// What a program is to show.
#[derive(Clone, Debug, Default)]
pub struct Show {
    /// Events, on stdout.
    pub json: bool,
    /// How the transfers do, on stderr, in the place of some lines of the log.
    pub has_progress: bool,
}

/// Shows what a program does. It is called from the loop, and wants to be called again
/// only while something runs.
pub struct Ui {
    log: ReportLog,
    show: Show,
    meter: Meter,
    /// When to look at the running transfers next, if there are any.
    next_look: Option<Instant>,
}

impl Ui {
    /// A program is called `name` in the log.
    pub fn new(name: String, show: Show) -> Self {
        let details_level = if show.has_progress { Level::Debug } else { Level::Info };
        let log = ReportLog::new(name, details_level);
        Self { log, show, meter: Meter::default(), next_look: None }
    }

    /// Something happened.
    pub fn report(&mut self, now: Instant, report: &Report) {
        self.log.log(now, report);
        if self.show.json
            && let Some(line) = events::of(report)
        {
            stdout::print(&line);
        }
        if let Report::DownloadStarted { .. } | Report::UploadStarted { .. } = report
            && let Some(interval) = self.interval()
        {
            self.next_look.get_or_insert(now + interval);
        }
    }

    /// Logs a line of the loop's own.
    pub fn note(&self, line: impl Display) {
        self.log.note(line);
    }

    /// When to call [`Ui::look`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_look
    }

    /// Shows what runs.
    pub fn look(&mut self, now: Instant, snapshot: &Snapshot) {
        self.meter.look(now, snapshot);
        if self.show.json {
            self.meter.running().filter_map(events::progress).for_each(|line| stdout::print(&line));
        }
        let is_running = !snapshot.transfers.is_empty();
        self.next_look = self.interval().filter(|_| is_running).map(|interval| now + interval);
    }

    /// How often to look, if at all.
    fn interval(&self) -> Option<Duration> {
        self.show.json.then_some(PROGRESS_EVENT_INTERVAL)
    }
}
