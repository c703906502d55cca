//! What people and programs are shown: it is fed with [`Report`]s and, while something
//! runs, with a [`Snapshot`] at its own pace. It decides nothing and waits for nobody.
//!
//! | room | what is shown there |
//! |---|---|
//! | `report_log` | lines of the log |
//! | [`events`] | the events of `--json`, an object a line on stdout, with their documentation |
//! | `report_event` | which event a report is |
//! | [`json`], [`schema`] | how an event is written; the types of the documentation |
//! | `facts` | `status`, and what `--metrics` writes |
//! | `progress` | how the transfers do, for people |
//! | `meter`, `work` | how fast the running transfers are, and what keeps them from more |
//! | [`stdout`] | a line is written there at once or not at all |

pub mod events;
mod facts;
pub mod json;
mod meter;
mod progress;
mod report_event;
mod report_log;
pub mod schema;
pub mod stdout;
mod work;

use std::fmt::Display;
use std::mem;
use std::time::Instant;

use log::Level;

pub use self::events::Event;
use self::facts::Facts;
pub use self::facts::LoopCounts;
pub use self::json::text;
use self::meter::{Meter, Running};
use self::progress::{Progress, Totals, View};
use self::report_log::ReportLog;
pub use self::work::Work;
use crate::limits::{
    METRICS_INTERVAL, PROGRESS_DRAW_INTERVAL, PROGRESS_LOOK_INTERVAL, STALLED_AFTER,
};
use crate::node::{Inventory, Report, Snapshot};
use crate::wire::Shown;

/// What a program is to show.
#[derive(Clone, Debug, Default)]
pub struct Show {
    /// Events, on stdout.
    pub json: bool,
    /// How the transfers do, on stderr, in the place of some lines of the log.
    pub has_progress: bool,
    /// Whether to write metrics.
    pub has_metrics: bool,
}

/// Shows what a program does. It is called from the loop, and wants to be called again
/// only while something runs.
pub struct Ui {
    name: String,
    began: Instant,
    log: ReportLog,
    totals: Totals,
    meter: Meter,
    looked_at: Instant,
    /// When to look at what runs, while something does that is to be shown.
    look_due: Option<Instant>,
    /// Whether events are shown, and when the running transfers are, if any are.
    json: bool,
    events_due: Option<Instant>,
    /// The same for people.
    progress: Option<Progress>,
    progress_due: Option<Instant>,
    metrics_due: Option<Instant>,
}

impl Ui {
    /// A program is called `name` in the log.
    pub fn new(name: String, show: Show) -> Self {
        let details_level = if show.has_progress { Level::Debug } else { Level::Info };
        Self {
            log: ReportLog::new(name.clone(), details_level),
            name,
            began: Instant::now(),
            totals: Totals::default(),
            meter: Meter::default(),
            looked_at: Instant::now(),
            look_due: None,
            json: show.json,
            events_due: None,
            progress: show.has_progress.then(Progress::new),
            progress_due: None,
            metrics_due: show.has_metrics.then(Instant::now),
        }
    }

    /// Something happened.
    pub fn report(&mut self, now: Instant, report: &Report) {
        self.log.log(now, report);
        if self.json
            && let Some(event) = Event::of_report(report)
        {
            stdout::print(&event.line());
        }
        let is_first = self.totals.busy_since.is_none();
        self.totals.count(now, report);
        if is_first && self.totals.busy_since.is_some() {
            self.looked_at = now;
            self.events_due = self.json.then_some(now + PROGRESS_LOOK_INTERVAL);
            self.progress_due = self.progress.as_ref().map(|progress| now + progress.interval());
            if self.json || self.progress.is_some() {
                self.plan_look(now);
            }
        }
    }

    /// It is looked as often as something is shown, often enough to know how fast the
    /// transfers are, and when one of them becomes stalled.
    fn plan_look(&mut self, now: Instant) {
        let stalls_at = self.meter.running().filter_map(Running::stalls_at).min();
        let dues = [self.events_due, self.progress_due, stalls_at];
        let due = dues.into_iter().flatten().fold(now + PROGRESS_LOOK_INTERVAL, Instant::min);
        self.look_due = Some(due.max(now + PROGRESS_DRAW_INTERVAL));
    }

    /// Logs a line of the loop's own.
    pub fn note(&self, level: Level, line: impl Display) {
        self.log.note(level, line);
    }

    /// Something in the folder is not shared, of which there may be very much.
    pub fn skip(&mut self, now: Instant, name: &str, why: &dyn Display) {
        if self.json {
            stdout::print(&Event::FileSkipped { name: text(name), reason: text(why) }.line());
        }
        self.log.warn(now, format_args!("not shared: {}: {why}", Shown(name)));
    }

    /// When to call [`Ui::look`]; while there is such a time, it is of interest what the
    /// loop does with its own.
    pub fn next_look(&self) -> Option<Instant> {
        self.look_due
    }

    /// When to call [`Ui::look`] or [`Ui::metrics`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.next_look(), self.metrics_due].into_iter().flatten().min()
    }

    /// What is to be written as metrics, if it is time for it.
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

    /// Shows what runs. `work` is what the loop did since it was called last.
    pub fn look(&mut self, now: Instant, snapshot: &Snapshot, work: &Work) {
        let before = mem::replace(&mut self.looked_at, now);
        self.meter.look(now, snapshot, (work, now.saturating_duration_since(before)));
        let stalled = self.meter.running().filter(|running| running.is_stalled());
        let has_stalled =
            stalled.map(|running| running.transfer.moved_at).any(|at| at + STALLED_AFTER > before);
        let running: Vec<_> = self.meter.running().collect();
        let is_running = !running.is_empty();
        if is_due(&mut self.events_due, now) {
            running.iter().for_each(|running| stdout::print(&running.event().line()));
            self.events_due = is_running.then_some(now + PROGRESS_LOOK_INTERVAL);
        }
        if let Some(progress) = &self.progress
            && (is_due(&mut self.progress_due, now) || has_stalled || !is_running)
        {
            let (totals, wishes_open) = (&self.totals, snapshot.wishes_open);
            progress.show(&self.name, &View { now, totals, wishes_open, running: &running });
            self.progress_due = is_running.then_some(now + progress.interval());
        }
        if is_running {
            self.plan_look(now);
        } else {
            self.look_due = None;
            self.totals.rest(now);
        }
    }

    /// Answers a question of another program of this user.
    pub fn answer(
        &self,
        question: &str,
        now: Instant,
        (snapshot, inventory): (&Snapshot, &Inventory),
        counts: &LoopCounts,
    ) -> String {
        let (name, began, totals) = (&self.name, self.began, &self.totals);
        let facts = Facts { name, began, now, totals, snapshot, counts };
        match question {
            "status json" => facts.json(inventory),
            "status text" => facts.text(inventory),
            _ => String::new(),
        }
    }

    /// The program ends; metrics are due once more.
    pub fn end(&mut self, now: Instant) {
        self.totals.rest(now);
        self.metrics_due = self.metrics_due.map(|_| now);
        (self.look_due, self.events_due, self.progress_due) = (None, None, None);
        if let Some(progress) = &self.progress {
            progress.end();
            if let Some(line) = self.totals.last_line() {
                log::info!(target: &self.name, "{line}");
            }
        }
    }
}

/// Whether the time has come, which it has only once.
fn is_due(due: &mut Option<Instant>, now: Instant) -> bool {
    due.take_if(|due| *due <= now).is_some()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::time::Duration;

    use super::*;
    use crate::node::{ConnectionId, Direction, Transfer};
    use crate::wire::PeerId;
    use crate::wire::v0::FileName;

    #[test]
    fn it_wakes_the_loop_only_while_something_runs() {
        let (name, peer) = (FileName::new("file").unwrap(), PeerId(1));
        let address = SocketAddrV4::new([192, 0, 2, 1].into(), 1);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (json, has_progress) in [(true, false), (false, true), (true, true)] {
            let show = Show { json, has_progress, has_metrics: false };
            let mut ui = Ui::new("test".into(), show);
            ui.report(at(0), &Report::OfferSeen { name, peer });
            assert_eq!(ui.poll_timeout(), None);
            for round in [10, 100] {
                ui.report(at(round), &Report::DownloadStarted { name, peer, address });
                let (direction, connection) = (Direction::In { peer }, ConnectionId::from_bits(1));
                let (began, bytes) = (at(round), 1000);
                let moved_at = began;
                let transfer =
                    Transfer { connection, name, direction, address, began, moved_at, bytes };
                let snapshot = Snapshot { transfers: vec![transfer], ..Snapshot::default() };
                assert!(ui.poll_timeout().is_some_and(|due| due > at(round)));
                ui.look(at(round + 5), &snapshot, &Work::default());
                assert!(ui.poll_timeout().is_some_and(|due| due > at(round + 5)));
                ui.look(at(round + 10), &Snapshot::default(), &Work::default());
                assert_eq!(ui.poll_timeout(), None);
            }
            // Twice 10 s, and not the time between.
            assert_eq!(ui.totals.busy, Duration::from_secs(20));
        }
    }

    #[test]
    fn it_looks_when_a_transfer_becomes_stalled_and_often_enough_to_know_its_rate() {
        let (name, peer) = (FileName::new("file").unwrap(), PeerId(1));
        let address = SocketAddrV4::new([192, 0, 2, 1].into(), 1);
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let show = Show { json: false, has_progress: true, has_metrics: false };
        let mut ui = Ui::new("test".into(), show);
        ui.progress = Some(Progress::Told);
        ui.report(at(0), &Report::DownloadStarted { name, peer, address });
        let (direction, connection) = (Direction::In { peer }, ConnectionId::from_bits(1));
        let (began, moved_at, bytes) = (at(0), at(1300), 1000);
        let transfer = Transfer { connection, name, direction, address, began, moved_at, bytes };
        let snapshot = Snapshot { transfers: vec![transfer], ..Snapshot::default() };
        let mut looks = Vec::new();
        while let Some(due) = ui.next_look().filter(|due| *due <= at(7000)) {
            let told_before = ui.progress_due;
            ui.look(due, &snapshot, &Work::default());
            looks.push(((due - start).as_millis(), ui.progress_due != told_before));
        }
        let expected = [
            (1000, false),
            (2000, false),
            (3000, false),
            (4000, false),
            (5000, true),
            (6000, false),
            (6300, true),
        ];
        assert_eq!(looks, expected);
    }
}
