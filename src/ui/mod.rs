//! Shows people and programs what the node does. It takes every [`Report`], and a [`Snapshot`]
//! from time to time while a transfer runs. It decides nothing, and never waits for a reader.
//!
//! | module | content |
//! |---|---|
//! | `report_log` | log lines for reports, at a bounded rate |
//! | [`events`], [`schema`] | the events of `--json` with their documentation, and its types |
//! | `report_event` | from a report to its event |
//! | `doctor` | what the doctor found, as lines and as events |
//! | [`json`] | from an event to its line |
//! | `facts` | the answers to `status`, and `--metrics` |
//! | `progress` | the progress of transfers, for people |
//! | `meter`, `work` | the rate of each running transfer, and what limits it |
//! | [`stdout`] | prints the events |

mod doctor;
pub mod events;
mod facts;
pub mod json;
mod meter;
mod progress;
mod report_event;
mod report_log;
#[cfg(test)]
mod scene;
pub mod schema;
pub mod stdout;
mod work;

use std::fmt::Display;
use std::mem;
use std::time::Instant;

use log::Level;

pub use self::events::{Ending, Event};
use self::facts::Facts;
pub use self::facts::LoopCounts;
pub use self::json::text;
use self::meter::{Meter, Running};
use self::progress::{Progress, Totals, View, rate_in, seconds_left};
use self::report_log::ReportLog;
pub use self::work::Work;
use crate::limits::{
    METRICS_INTERVAL, OUTPUT_RETRY_INTERVAL, PROGRESS_DRAW_INTERVAL, PROGRESS_SAMPLE_INTERVAL,
    STALLED_AFTER,
};
use crate::node::{Inventory, JobProgress, Paths, Report, Snapshot};
use crate::wire::Shown;
use crate::{logger, stdio};

#[derive(Clone, Debug, Default)]
pub struct Show {
    /// Events, on stdout.
    pub json: bool,
    /// The progress of transfers, on stderr, instead of some lines of the log.
    pub has_progress: bool,
    /// Metrics, in a file.
    pub has_metrics: bool,
}

/// Shows what a program does. It asks to be called again only while a transfer runs or
/// metrics are written, so that an idle loop sleeps.
pub struct Ui {
    name: String,
    began: Instant,
    log: ReportLog,
    totals: Totals,
    meter: Meter,
    sampled_at: Instant,
    /// When to sample the running transfers, while any of them is to be shown.
    sample_due: Option<Instant>,
    /// Whether events are printed, and when those of the running transfers are.
    json: bool,
    events_due: Option<Instant>,
    progress: Option<Progress>,
    progress_due: Option<Instant>,
    metrics_due: Option<Instant>,
    /// When stdout and stderr are tried again.
    output_due: Option<Instant>,
}

impl Ui {
    /// Shows a program that is called `name` in the log.
    pub fn new(name: String, show: Show) -> Self {
        let details_level = if show.has_progress { Level::Debug } else { Level::Info };
        Self {
            log: ReportLog::new(name.clone(), details_level),
            name,
            began: Instant::now(),
            totals: Totals::default(),
            meter: Meter::default(),
            sampled_at: Instant::now(),
            sample_due: None,
            json: show.json,
            events_due: None,
            progress: show.has_progress.then(Progress::new),
            progress_due: None,
            metrics_due: show.has_metrics.then(Instant::now),
            output_due: None,
        }
    }

    /// Logs and counts a report, and prints its event.
    pub fn report(&mut self, now: Instant, report: &Report, paths: &Paths) {
        if report.is_what_was_asked_for() {
            return self.answer_user(report, paths);
        }
        self.log.log(now, report, paths);
        if self.json
            && let Some(event) = Event::of_report(report, paths)
        {
            stdout::print(&event.line());
        }
        let is_first = self.totals.busy_since.is_none();
        self.totals.count(now, report);
        if is_first && self.totals.busy_since.is_some() {
            self.sampled_at = now;
            self.events_due = self.json.then_some(now + PROGRESS_SAMPLE_INTERVAL);
            self.progress_due = self.progress.as_ref().map(|progress| now + progress.interval());
            if self.json || self.progress.is_some() {
                self.plan_sample(now);
            }
        }
    }

    /// Prints what the user runs the program for: as an event or as a line, and never hidden.
    fn answer_user(&self, report: &Report, paths: &Paths) {
        match Event::of_report(report, paths).filter(|_| self.json) {
            Some(event) => stdout::keep(&event.line()),
            None => log::info!(target: &self.name, "{}", report.shown(paths)),
        }
    }

    /// Plans the next sample: in time for what is shown next, for the rates, and for the moment
    /// at which a transfer counts as stalled.
    fn plan_sample(&mut self, now: Instant) {
        let stalls_at = self.meter.running().filter_map(Running::stalls_at).min();
        let dues = [self.events_due, self.progress_due, stalls_at];
        let due = dues.into_iter().flatten().fold(now + PROGRESS_SAMPLE_INTERVAL, Instant::min);
        self.sample_due = Some(due.max(now + PROGRESS_DRAW_INTERVAL));
    }

    pub fn note(&self, level: Level, line: impl Display) {
        self.log.note(level, line);
    }

    /// Reports an entry of the folder that is not shared. There may be very many.
    pub fn skip(&mut self, now: Instant, name: &str, why: &dyn Display) {
        if self.json {
            stdout::print(&Event::FileSkipped { name: text(name), reason: text(why) }.line());
        }
        self.log.warn(now, format_args!("not shared: {}: {why}", Shown(name)));
    }

    /// Returns when to call [`Ui::sample`]; `None` while nothing that runs is shown. Then the
    /// loop need not measure its work.
    pub fn next_sample(&self) -> Option<Instant> {
        self.sample_due
    }

    /// Returns when to call [`Ui::sample`], [`Ui::metrics`] or [`Ui::catch_up`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.next_sample(), self.metrics_due, self.output_due].into_iter().flatten().min()
    }

    /// Tells how many lines were dropped, once stdout and stderr take some again.
    pub fn catch_up(&mut self, now: Instant) {
        if is_due(&mut self.output_due, now) {
            logger::catch_up();
            stdout::catch_up();
        }
        if stdio::awaits_room() {
            self.output_due.get_or_insert(now + OUTPUT_RETRY_INTERVAL);
        }
    }

    /// Returns the metrics to write, if they are due.
    pub fn metrics(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        counts: &LoopCounts,
    ) -> Option<String> {
        if !is_due(&mut self.metrics_due, now) {
            return None;
        }
        self.metrics_due = Some(now + METRICS_INTERVAL);
        let (name, began, totals) = (&self.name, self.began, &self.totals);
        Some(Facts { name, began, now, totals, snapshot, counts }.prometheus())
    }

    /// Shows the running transfers. `work` is what the loop did since the last sample.
    pub fn sample(&mut self, now: Instant, snapshot: &Snapshot, work: &Work) {
        let before = mem::replace(&mut self.sampled_at, now);
        self.meter.sample(now, snapshot, (work, now.saturating_duration_since(before)));
        let stalled = self.meter.running().filter(|running| running.is_stalled());
        let has_stalled =
            stalled.map(|running| running.transfer.moved_at).any(|at| at + STALLED_AFTER > before);
        let running: Vec<_> = self.meter.running().collect();
        let is_running = !running.is_empty();
        if is_due(&mut self.events_due, now) {
            running.iter().for_each(|running| stdout::print(&running.event().line()));
            let event = snapshot.job.map(|job| job_event(job, &running));
            event.into_iter().for_each(|event| stdout::print(&event.line()));
            self.events_due = is_running.then_some(now + PROGRESS_SAMPLE_INTERVAL);
        }
        if let Some(progress) = &self.progress
            && (is_due(&mut self.progress_due, now) || has_stalled || !is_running)
        {
            let Snapshot { jobs_open, job, .. } = *snapshot;
            let (totals, running) = (&self.totals, running.as_slice());
            progress.show(&self.name, &View { now, totals, jobs_open, job, running });
            self.progress_due = is_running.then_some(now + progress.interval());
        }
        if is_running {
            self.plan_sample(now);
        } else {
            self.sample_due = None;
            self.totals.pause(now);
        }
    }

    /// Returns how the program does, for another program of this user.
    pub fn describe(
        &self,
        json: bool,
        now: Instant,
        (snapshot, inventory): (&Snapshot, &Inventory),
        counts: &LoopCounts,
    ) -> String {
        let (name, began, totals) = (&self.name, self.began, &self.totals);
        let facts = Facts { name, began, now, totals, snapshot, counts };
        if json { facts.json(inventory) } else { facts.text(inventory) }
    }

    /// Returns how many wanted files were skipped so far, as something stands under their names.
    pub fn skipped(&self) -> u64 {
        self.totals.skipped
    }

    /// Returns of how many files a part is kept for a later run, and how many bytes that are.
    pub fn kept(&self) -> (u64, u64) {
        self.totals.kept
    }

    /// Returns some names that others share, if nobody shares what was wanted last.
    pub fn names_there(&self) -> &[String] {
        &self.totals.names_there
    }

    /// Ends the progress with its last line. Metrics are due once more.
    pub fn end(&mut self, now: Instant) {
        self.totals.pause(now);
        self.metrics_due = self.metrics_due.map(|_| now);
        (self.sample_due, self.events_due, self.progress_due) = (None, None, None);
        if let Some(progress) = &self.progress {
            progress.end();
            if let Some(line) = self.totals.last_line() {
                log::info!(target: &self.name, "{line}");
            }
        }
    }
}

/// Returns the event of how far all that is wanted has come.
fn job_event(job: JobProgress, running: &[&Running]) -> Event {
    let left_bytes = job.all_bytes.saturating_sub(job.done_bytes);
    Event::Job {
        bytes: job.done_bytes,
        size: job.all_bytes,
        bytes_per_second: rate_in(running) as u64,
        seconds_left: seconds_left(left_bytes, running),
    }
}

/// Returns whether the time has come, and clears it then.
fn is_due(due: &mut Option<Instant>, now: Instant) -> bool {
    due.take_if(|due| *due <= now).is_some()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::scene::{ADDRESS, DOWNLOAD, snapshot, transfer};
    use super::*;
    use crate::node::Transfer;
    use crate::wire::PeerId;
    use crate::wire::v0::FileName;

    /// A peer begins to fetch a file.
    fn begin(ui: &mut Ui, now: Instant) {
        let mut paths = Paths::default();
        let (path, peer) = (paths.intern_name(FileName::new("file").unwrap()), PeerId(7));
        ui.report(now, &Report::OfferSeen { path, peer }, &paths);
        assert_eq!(ui.poll_timeout(), None);
        ui.report(now, &Report::DownloadStarted { path, peer, address: ADDRESS }, &paths);
        assert!(ui.poll_timeout().is_some_and(|due| due > now));
    }

    #[test]
    fn it_wakes_the_loop_only_while_something_runs() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (json, has_progress) in [(true, false), (false, true), (true, true)] {
            let mut ui = Ui::new("test".into(), Show { json, has_progress, has_metrics: false });
            for round in [10, 100] {
                begin(&mut ui, at(round));
                let running = snapshot(transfer("file", DOWNLOAD, at(round)));
                ui.sample(at(round + 5), &running, &Work::default());
                assert!(ui.poll_timeout().is_some_and(|due| due > at(round + 5)));
                ui.sample(at(round + 10), &Snapshot::default(), &Work::default());
                assert_eq!(ui.poll_timeout(), None);
            }
            // Twice 10 s, without the time between.
            assert_eq!(ui.totals.busy, Duration::from_secs(20));
        }
    }

    #[test]
    fn it_samples_when_a_transfer_becomes_stalled_and_often_enough_to_know_its_rate() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let show = Show { json: false, has_progress: true, has_metrics: false };
        let mut ui = Ui::new("test".into(), show);
        ui.progress = Some(Progress::Logged);
        begin(&mut ui, start);
        let transfer = Transfer { moved_at: at(1300), ..transfer("file", DOWNLOAD, start) };
        let running = snapshot(transfer);
        let mut samples = Vec::new();
        while let Some(due) = ui.next_sample().filter(|due| *due <= at(7000)) {
            let told_before = ui.progress_due;
            ui.sample(due, &running, &Work::default());
            samples.push(((due - start).as_millis(), ui.progress_due != told_before));
        }
        // When, and whether a line is logged then.
        let [quiet, told] = [false, true];
        let seconds = [(1000, quiet), (2000, quiet), (3000, quiet), (4000, quiet), (5000, told)];
        assert_eq!(samples, [&seconds[..], &[(6000, quiet), (6300, told)]].concat());
    }
}
