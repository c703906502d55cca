//! The progress of transfers, for people: on a terminal a line for each, which is redrawn;
//! elsewhere a line of the log from time to time.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use console::{Alignment, pad_str};

use super::meter::Running;
use super::work::Limit;
use crate::content::PathId;
use crate::count::{Bytes, Count};
use crate::limits::{PROGRESS_DRAW_INTERVAL, PROGRESS_LINE_INTERVAL, PROGRESS_LINES_MAX};
use crate::node::{Direction, JobProgress, Report, WishReport};
use crate::terminal::{self, Screen};

/// Beside the log.
const SCREEN: Screen = Screen::Stderr;
/// From this width on, a line has room for the other side and the limit.
const WIDE: usize = 79;

pub(super) enum Progress {
    Drawn,
    Logged,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) files_in: u64,
    pub(super) bytes_in: u64,
    /// Wanted files that were fetched, and were there already with the same content.
    identical: u64,
    /// Wanted files that were not fetched: they are there already.
    already_there: u64,
    /// Wanted files that were not fetched: something stands under their names.
    pub(super) skipped: u64,
    /// Files of which a part is kept for a later run, and how much of them in bytes.
    pub(super) kept: (u64, u64),
    /// Names that others share, in the place of a wish that nobody does.
    pub(super) names_there: Vec<String>,
    pub(super) files_out: u64,
    pub(super) bytes_out: u64,
    /// Wanted files that will not be fetched.
    pub(super) failed: u64,
    /// Downloads that failed and were tried again.
    pub(super) retries: u64,
    /// Wanted files whose last download failed, and which may be tried again.
    failed_once: BTreeSet<PathId>,
    /// The time with a running transfer, up to the last pause.
    pub(super) busy: Duration,
    /// The start of the first transfer since the last pause.
    pub(super) busy_since: Option<Instant>,
    /// The end of the transfer that ended last.
    pub(super) ended_at: Option<Instant>,
}

pub(super) struct View<'a> {
    pub(super) now: Instant,
    pub(super) totals: &'a Totals,
    /// Wanted files that are neither there nor given up.
    pub(super) jobs_open: usize,
    pub(super) job: Option<JobProgress>,
    pub(super) running: &'a [&'a Running],
}

impl Progress {
    /// Chooses the terminal, if stderr is one.
    pub(super) fn new() -> Self {
        if terminal::open(SCREEN) { Self::Drawn } else { Self::Logged }
    }

    pub(super) fn interval(&self) -> Duration {
        match self {
            Self::Drawn => PROGRESS_DRAW_INTERVAL,
            Self::Logged => PROGRESS_LINE_INTERVAL,
        }
    }

    pub(super) fn show(&self, name: &str, view: &View<'_>) {
        match self {
            Self::Drawn if view.running.is_empty() => terminal::draw(String::new()),
            Self::Drawn => {
                let (height, width) = SCREEN.size();
                let lines = view.lines(width.into(), height.into());
                terminal::draw(lines.iter().map(|line| format!("{line}\n")).collect());
            }
            Self::Logged if view.running.is_empty() => {}
            Self::Logged => log::info!(target: name, "{}{}", view.summary(), view.what_limits()),
        }
    }

    pub(super) fn end(&self) {
        if let Self::Drawn = self {
            terminal::draw(String::new());
        }
    }
}

impl Totals {
    pub(super) fn count(&mut self, now: Instant, report: &Report) {
        if let Report::Wish(report) = report {
            return self.count_wish(now, report);
        }
        if let Report::Verified { .. }
        | Report::UploadDone { .. }
        | Report::UploadFailed { .. }
        | Report::SourceFailed { .. }
        | Report::ChecksumFailed { .. }
        | Report::Identical { .. }
        | Report::FetchFailed { .. } = report
        {
            self.ended_at = Some(now);
        }
        match report {
            Report::DownloadStarted { path, .. } => {
                self.busy_since.get_or_insert(now);
                self.retries += u64::from(self.failed_once.remove(path));
            }
            Report::UploadStarted { .. } => _ = self.busy_since.get_or_insert(now),
            Report::Verified { size_bytes, .. } => {
                self.files_in += 1;
                self.bytes_in += size_bytes;
            }
            Report::UploadDone { size_bytes, .. } => {
                self.files_out += 1;
                self.bytes_out += size_bytes;
            }
            Report::SourceFailed { path, .. } | Report::ChecksumFailed { path, .. } => {
                // An attempt may fail before its download starts.
                self.retries += u64::from(!self.failed_once.insert(*path));
            }
            Report::Identical { .. } => self.identical += 1,
            Report::AlreadyThere { path } => {
                self.failed_once.remove(path);
                self.already_there += 1;
            }
            Report::Skipped { path } => {
                self.failed_once.remove(path);
                self.skipped += 1;
            }
            Report::FetchFailed { path, .. } => {
                self.failed_once.remove(path);
                self.failed += 1;
            }
            Report::NothingMatched { .. } => self.failed += 1,
            _ => {}
        }
    }

    fn count_wish(&mut self, now: Instant, report: &WishReport) {
        match report {
            WishReport::Listed(_) => _ = self.busy_since.get_or_insert(now),
            WishReport::Fetched { content, .. } => {
                self.ended_at = Some(now);
                self.files_in += 1;
                self.bytes_in += content.size_bytes;
            }
            WishReport::Copied { .. } => {
                self.ended_at = Some(now);
                self.files_in += 1;
            }
            WishReport::StruckOut { .. } => self.retries += 1,
            WishReport::Kept { kept_bytes, .. } => {
                self.kept = (self.kept.0 + 1, self.kept.1 + kept_bytes);
            }
            WishReport::Failed { names, .. } => {
                self.failed += 1;
                self.names_there.clone_from(names);
            }
            _ => {}
        }
    }

    /// Pauses the clock: no transfer runs since the last one ended.
    pub(super) fn pause(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            let until = self.ended_at.filter(|at| *at >= since).unwrap_or(now);
            self.busy += until - since;
        }
    }

    /// Returns the last line, if any file was wanted or transferred.
    pub(super) fn last_line(&self) -> Option<String> {
        let mut text = String::new();
        let seconds = self.busy.as_secs_f64();
        for (verb, files, bytes) in
            [("fetched", self.files_in, self.bytes_in), ("sent", self.files_out, self.bytes_out)]
        {
            if files > 0 {
                let start = if text.is_empty() { "" } else { "; " };
                let rate = Rate(bytes as f64 / seconds.max(0.001));
                let (files, bytes) = (Count(files, "file"), Bytes(bytes));
                let _ = write!(text, "{start}{verb} {files}, {bytes} in {seconds:.1} s, {rate}");
            }
        }
        let found = self.identical + self.already_there + self.skipped;
        let told = self.files_in + self.files_out + found + self.failed + self.retries > 0;
        if text.is_empty() {
            text.push_str("fetched nothing");
        }
        for (files, what) in [
            (self.identical, "identical"),
            (self.already_there, "already there"),
            (self.skipped, "already there and skipped, not compared"),
        ] {
            if files > 0 {
                let _ = write!(text, ", {files} {what}");
            }
        }
        let _ = write!(text, ", {}", Retries(self.retries));
        told.then_some(text)
    }
}

impl View<'_> {
    /// Returns the lines for a terminal: one for each transfer, as far as there is room, and
    /// the summary.
    fn lines(&self, width: usize, height: usize) -> Vec<String> {
        // Some terminals begin another line after one of their full width.
        let width = width.saturating_sub(1);
        let room = PROGRESS_LINES_MAX.min(height.saturating_sub(3)).max(1);
        let shown = if self.running.len() > room { room - 1 } else { self.running.len() };
        let mut lines: Vec<_> =
            self.running[..shown].iter().map(|running| line(running, width)).collect();
        let more = self.running.len() - shown;
        if more > 0 {
            lines.push(format!("... and {more} more"));
        }
        lines.push(self.summary());
        // The cursor takes a line of its own below them.
        let lines = lines.iter().take(height.saturating_sub(1));
        lines.map(|line| fit(line, width)).collect()
    }

    /// Returns the total of files, bytes, rate, time and retries.
    fn summary(&self) -> String {
        let totals = self.totals;
        let bytes: u64 = self.running.iter().map(|running| running.transfer.bytes).sum();
        let rate: f64 = self.running.iter().map(|running| running.bytes_per_second).sum();
        let since = totals.busy_since.map_or(Duration::ZERO, |since| self.now - since);
        let mut text = String::new();
        let done = totals.files_in + totals.identical + totals.already_there + totals.skipped;
        let wanted = done + totals.failed + self.jobs_open as u64;
        if wanted > 0 {
            let _ = write!(text, "{done} of {}, ", Count(wanted, "file"));
        }
        let sending = self.running.iter().filter(|running| !running.is_download()).count();
        if sending + totals.files_out as usize > 0 {
            let _ = write!(text, "sending {sending}, {} sent, ", Count(totals.files_out, "file"));
        }
        let seconds = (totals.busy + since).as_secs();
        let _ = match self.job {
            Some(JobProgress { hashing: Some((done, all)), .. }) => {
                write!(text, "hashing at the source, {}, {seconds} s", Percent(done, all))
            }
            Some(JobProgress { done_bytes, all_bytes, .. }) if all_bytes > 0 => {
                let (percent, all) = (Percent(done_bytes, all_bytes), Bytes(all_bytes));
                let _ = write!(text, "{percent} of {all}, {}, {seconds} s", Rate(rate));
                match seconds_left(all_bytes - done_bytes.min(all_bytes), self.running) {
                    Some(left) => write!(text, ", {left} s left"),
                    None => Ok(()),
                }
            }
            _ => {
                let bytes = Bytes(totals.bytes_in + totals.bytes_out + bytes);
                write!(text, "{bytes}, {}, {seconds} s", Rate(rate))
            }
        };
        if totals.retries > 0 {
            let _ = write!(text, ", {}", Retries(totals.retries));
        }
        if totals.failed > 0 {
            let _ = write!(text, ", {} failed", totals.failed);
        }
        text
    }

    /// Returns what limits most of the transfers, to follow the summary.
    fn what_limits(&self) -> String {
        let stalled = self.running.iter().filter(|running| running.is_stalled()).count();
        if stalled > 0 {
            return format!("; {stalled} stalled");
        }
        let count = |limit: &Limit| self.running.iter().filter(|r| r.limit() == *limit).count();
        let most = Limit::ALL.into_iter().max_by_key(count);
        most.map(|limit| format!("; limited by: {limit}")).unwrap_or_default()
    }
}

/// Returns the line of a transfer: its name, then aligned columns.
fn line(running: &Running, width: usize) -> String {
    let transfer = &running.transfer;
    let state =
        if running.is_stalled() { "stalled".to_owned() } else { running.limit().to_string() };
    let bytes = match running.size_bytes() {
        Some(size) if width >= WIDE => {
            format!("{} of {}", Percent(transfer.bytes, size), Bytes(size))
        }
        Some(size) => Percent(transfer.bytes, size).to_string(),
        None => Bytes(transfer.bytes).to_string(),
    };
    let rate = Rate(running.bytes_per_second);
    let columns = if width >= WIDE {
        let address = transfer.address;
        let other_side = match transfer.direction {
            // Only the port tells one peer of this machine from another.
            Direction::In { sources, .. } if sources > 1 => format!("from {sources} peers"),
            Direction::In { .. } if address.ip().is_loopback() => format!("from {address}"),
            Direction::In { .. } => format!("from {}", address.ip()),
            Direction::Out { .. } => format!("to {}", address.ip()),
        };
        format!(" {bytes:>19} {:>13} {other_side:<20} {state:<10}", rate.to_string())
    } else if running.is_stalled() {
        format!(" {bytes:>11} {state:>13}")
    } else {
        format!(" {bytes:>11} {:>13}", rate.to_string())
    };
    let name = fit(transfer.path.as_str(), width.saturating_sub(columns.len()));
    format!("{name}{columns}")
}

/// Returns a text that is cut or filled to a width in columns of the terminal.
fn fit(text: &str, width: usize) -> String {
    let end = &"..."[..width.min(3)];
    pad_str(text, width, Alignment::Left, Some(end)).into_owned()
}

/// Returns how long so many bytes take at the rate at which files come in now; `None` if none
/// come.
pub(super) fn seconds_left(bytes: u64, running: &[&Running]) -> Option<u64> {
    let rate = rate_in(running);
    (rate >= 1.0).then(|| (bytes as f64 / rate).ceil() as u64)
}

/// Returns at how many bytes a second files come in.
pub(super) fn rate_in(running: &[&Running]) -> f64 {
    let downloads = running.iter().filter(|running| running.is_download());
    downloads.map(|running| running.bytes_per_second).sum()
}

/// So many of so many, rounded down: all of it is told only once it is there.
struct Percent(u64, u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(part, all) = *self;
        let percent = u128::from(part.min(all)) * 100 / u128::from(all.max(1));
        write!(f, "{percent} %")
    }
}

/// Bytes per second.
struct Rate(f64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", Bytes(self.0 as u64))
    }
}

/// A number of retries.
pub(super) struct Retries(pub(super) u64);

impl fmt::Display for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("no retries"),
            retries => Count(retries, "retry").fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use console::measure_text_width;

    use super::*;
    use crate::node::{ConnectionId, Paths, Snapshot, Transfer};
    use crate::ui::meter::Meter;
    use crate::ui::scene::{ADDRESS, DOWNLOAD, transfer};
    use crate::ui::work::Work;
    use crate::wire::PeerId;
    use crate::wire::v0::FileName;

    fn meter(count: usize, name: &str, direction: Direction) -> Meter {
        let began = Instant::now();
        let transfer = |n: usize| Transfer {
            connection: ConnectionId::from_bits(n as u64),
            address: SocketAddrV4::new([192, 168, 100, 200].into(), 50_000),
            bytes: 3 << 20,
            ..transfer(name, direction, began)
        };
        let transfers = (0..count).map(transfer).collect();
        let mut meter = Meter::default();
        let snapshot = Snapshot { transfers, ..Snapshot::default() };
        let elapsed = Duration::from_secs(2);
        let work = Work { idle: elapsed, ..Work::default() };
        meter.sample(began + elapsed, &snapshot, (&work, elapsed));
        meter
    }

    #[test]
    fn every_line_fits_the_terminal_whatever_the_name_is() {
        let names = [
            "a",
            "quite a long name, with the \u{e9} of r\u{e9}sum\u{e9}, for a file.pdf",
            "\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}",
            "e\u{301}\u{301}\u{301}",
        ];
        let directions = [
            Direction::In { peer: PeerId(u32::MAX), size_bytes: Some(1 << 60), sources: 24 },
            Direction::Out { size_bytes: 1, waits_for_hash: false },
        ];
        for (name, direction) in names.iter().flat_map(|name| directions.map(|d| (name, d))) {
            let meter = meter(30, name, direction);
            let running: Vec<_> = meter.running().collect();
            let totals = Totals { retries: 3, failed: 1, ..Totals::default() };
            let view = View {
                now: Instant::now(),
                totals: &totals,
                jobs_open: 40,
                job: None,
                running: &running,
            };
            for width in [80, 40, 200, 20, 1] {
                let lines = view.lines(width, 24);
                assert_eq!(lines.len(), PROGRESS_LINES_MAX + 1);
                for line in lines {
                    assert!(measure_text_width(&line) < width, "{width}: {line}");
                }
            }
            // A line is left for the cursor.
            for height in [1, 2, 3, 5, 10] {
                assert!(view.lines(80, height).len() < height);
            }
        }
    }

    #[test]
    fn the_time_ends_with_the_last_transfer_not_when_that_is_noticed() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let path = Paths::default().intern_name(FileName::new("f").unwrap());
        let to = ADDRESS;
        let mut totals = Totals::default();
        totals.count(at(0), &Report::UploadStarted { path, to, size_bytes: 1 });
        let elapsed = Duration::from_millis(10);
        totals.count(at(10), &Report::UploadDone { path, to, size_bytes: 1, elapsed });
        totals.pause(at(5000));
        assert_eq!(totals.busy, elapsed);
        // A transfer that the end of the program cuts off ends there.
        totals.count(at(6000), &Report::UploadStarted { path, to, size_bytes: 1 });
        totals.pause(at(6500));
        assert_eq!(totals.busy, elapsed + Duration::from_millis(500));
    }

    #[test]
    fn a_wide_terminal_shows_the_other_side_and_the_limit_and_a_narrow_one_only_the_rate() {
        let meter = meter(1, "talk.pdf", DOWNLOAD);
        let running: Vec<_> = meter.running().collect();
        let totals = Totals { files_in: 1, bytes_in: 1 << 20, ..Totals::default() };
        let (now, jobs_open, job) = (Instant::now(), 2, None);
        let view = View { now, totals: &totals, jobs_open, job, running: &running };
        for (width, shown) in [
            (80, "talk.pdf                 3.00 MiB    1.50 MiB/s from 192.168.100.200 other side"),
            (40, "talk.pdf         3.00 MiB    1.50 MiB/s"),
        ] {
            let lines = view.lines(width, 24);
            let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
            assert_eq!(lines, [shown, "1 of 3 files, 4.00 MiB, 1.50 MiB/s, 0 s"]);
        }
    }

    #[test]
    fn sizes_that_are_known_show_how_much_is_left() {
        let began = Instant::now();
        let direction = Direction::In { peer: PeerId(7), size_bytes: Some(4 << 20), sources: 3 };
        let meter = meter(1, "film", direction);
        let running: Vec<_> = meter.running().collect();
        let job = JobProgress { done_bytes: 5 << 20, all_bytes: 20 << 20, hashing: None };
        let totals = Totals::default();
        let mut view =
            View { now: began, totals: &totals, jobs_open: 2, job: Some(job), running: &running };
        let lines = view.lines(80, 24);
        let lines: Vec<_> = lines.iter().map(|line| line.trim_end()).collect();
        assert_eq!(
            lines,
            [
                "film             75 % of 4.00 MiB    1.50 MiB/s from 3 peers         other side",
                "0 of 2 files, 25 % of 20.00 MiB, 1.50 MiB/s, 0 s, 10 s left",
            ]
        );
        view.job = Some(JobProgress { hashing: Some((1, 3)), ..job });
        assert_eq!(view.summary(), "0 of 2 files, hashing at the source, 33 %, 0 s");
        let percents = [(0, 0), (1, 1), (999, 1000), (u64::MAX, u64::MAX)];
        let percents = percents.map(|(part, all)| Percent(part, all).to_string());
        assert_eq!(percents, ["0 %", "100 %", "99 %", "100 %"]);
    }
}
