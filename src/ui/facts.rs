//! The state of a program at one moment: the answers to `status`, as text and as JSON, and
//! what `--metrics` writes.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::events::{EVENTS, Event};
use super::json::{Counter, Gauge, Seconds, text};
use super::progress::{Retries, Totals};
use super::schema::Metric;
use crate::count::{Bytes, Count};
use crate::node::{Direction, Inventory, Snapshot, Transfer};
use crate::wire::{FilePath, Shown};

/// What the loop of a program has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopCounts {
    pub turns: u64,
    /// The longest turn, without waits for the disk.
    pub longest_turn: Duration,
    /// Waits for the disk, to make files durable.
    pub syncs: u64,
    pub longest_sync: Duration,
}

pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) began: Instant,
    pub(super) now: Instant,
    pub(super) totals: &'a Totals,
    pub(super) snapshot: &'a Snapshot,
    pub(super) counts: &'a LoopCounts,
}

impl Facts<'_> {
    fn uptime(&self) -> Duration {
        self.now.saturating_duration_since(self.began)
    }

    fn status(&self) -> Event {
        let Self { totals, snapshot, counts, .. } = self;
        let is_in = |transfer: &&Transfer| matches!(transfer.direction, Direction::In { .. });
        let downloads = snapshot.transfers.iter().filter(is_in).count();
        Event::Status {
            name: text(self.name),
            pid: std::process::id(),
            uptime_seconds: Seconds(self.uptime()),
            files_shared: Gauge(snapshot.files_shared),
            offers_known: Gauge(snapshot.offers_known),
            peers_known: Gauge(snapshot.peers_known),
            connections: Gauge(snapshot.connections),
            downloads_running: Gauge(downloads),
            uploads_running: Gauge(snapshot.transfers.len() - downloads),
            wishes_open: Gauge(snapshot.jobs_open),
            files_fetched: Counter(totals.files_in),
            bytes_fetched: Counter(totals.bytes_in),
            files_sent: Counter(totals.files_out),
            bytes_sent: Counter(totals.bytes_out),
            retries: Counter(totals.retries),
            turns: Counter(counts.turns),
            longest_turn_seconds: Seconds(counts.longest_turn),
            syncs: Counter(counts.syncs),
            longest_sync_seconds: Seconds(counts.longest_sync),
        }
    }

    /// Returns events: one with the numbers, then one for each transfer, file and offer.
    pub(super) fn json(&self, inventory: &Inventory) -> String {
        let shared =
            |(name, bytes): &(FilePath, u64)| Event::SharedFile { name: text(name), bytes: *bytes };
        let wanted = |(name, programs): &(FilePath, usize)| Event::WantedFile {
            name: text(name),
            programs: *programs,
        };
        let patterns = |(pattern, programs): &(String, usize)| Event::WantedPattern {
            pattern: text(pattern),
            programs: *programs,
        };
        let events = std::iter::once(self.status())
            .chain(self.snapshot.transfers.iter().map(|transfer| self.transfer(transfer)))
            .chain(inventory.wanted.iter().map(wanted))
            .chain(inventory.patterns.iter().map(patterns))
            .chain(inventory.shared.iter().map(shared))
            .chain(inventory.offers.iter().map(|heard| Event::of_offer(heard, None, self.now)));
        events.map(|event| event.line()).collect()
    }

    fn transfer(&self, transfer: &Transfer) -> Event {
        Event::Transfer {
            name: text(&transfer.path),
            upload: matches!(transfer.direction, Direction::Out { .. }),
            address: text(transfer.address),
            bytes: transfer.bytes,
            bytes_per_second: self.rate(transfer),
            seconds: Seconds(self.now.saturating_duration_since(transfer.began)),
            size: match transfer.direction {
                Direction::In { size_bytes, .. } => size_bytes,
                Direction::Out { size_bytes, .. } => Some(size_bytes),
            },
        }
    }

    /// Returns the average rate of a transfer since its start, in bytes per second.
    fn rate(&self, transfer: &Transfer) -> u64 {
        let seconds = self.now.saturating_duration_since(transfer.began).as_secs_f64();
        if seconds > 0.0 { (transfer.bytes as f64 / seconds) as u64 } else { 0 }
    }

    pub(super) fn text(&self, inventory: &Inventory) -> String {
        let Self { totals, snapshot, counts, .. } = self;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let mut line = |arguments: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{arguments}");
        };
        let uptime = humantime::format_duration(Duration::from_secs(self.uptime().as_secs()));
        line(format_args!("{}, process {}, up {uptime}", self.name, std::process::id()));
        line(format_args!(
            "shares {}; knows {} of {}; {}; wants {}",
            Count(snapshot.files_shared, "file"),
            Count(snapshot.offers_known, "offer"),
            Count(snapshot.peers_known, "peer"),
            Count(snapshot.connections, "connection"),
            Count(snapshot.jobs_open, "file"),
        ));
        let files = [totals.files_in, totals.files_out].map(|files| Count(files, "file"));
        let ([files_in, files_out], retries) = (files, Retries(totals.retries));
        let (bytes_in, bytes_out) = (Bytes(totals.bytes_in), Bytes(totals.bytes_out));
        line(format_args!(
            "fetched {files_in}, {bytes_in}; sent {files_out}, {bytes_out}; {retries}"
        ));
        let [turn, sync] =
            [counts.longest_turn, counts.longest_sync].map(|d| d.as_secs_f64() * 1e3);
        line(format_args!(
            "loop: {}, the longest {turn:.1} ms; {} for the disk, the longest {sync:.1} ms",
            Count(counts.turns, "turn"),
            Count(counts.syncs, "wait"),
        ));
        for transfer in &snapshot.transfers {
            let (name, bytes, address) = (&transfer.path, Bytes(transfer.bytes), transfer.address);
            let rate = Bytes(self.rate(transfer));
            match transfer.direction {
                Direction::In { size_bytes: None, .. } => {
                    line(format_args!("fetching {name} from {address}: {bytes}, {rate}/s"));
                }
                Direction::In { size_bytes: Some(size_bytes), sources, .. } => line(format_args!(
                    "fetching {name} from {}: {bytes} of {}, {rate}/s",
                    Count(sources, "peer"),
                    Bytes(size_bytes)
                )),
                Direction::Out { size_bytes, .. } => line(format_args!(
                    "sending {name} to {address}: {bytes} of {}, {rate}/s",
                    Bytes(size_bytes)
                )),
            }
        }
        let wanted = inventory.wanted.iter().map(|(name, programs)| (name.to_string(), *programs));
        let patterns = inventory.patterns.iter();
        let patterns = patterns
            .map(|(pattern, programs)| (format!("all that matches {}", Shown(pattern)), *programs));
        for (what, programs) in wanted.chain(patterns) {
            match programs {
                0 => line(format_args!("wanted: {what}")),
                _ => line(format_args!("wanted: {what}, for {}", Count(programs, "program"))),
            }
        }
        for (name, size_bytes) in &inventory.shared {
            line(format_args!("shared: {name}, {}", Bytes(*size_bytes)));
        }
        for heard in &inventory.offers {
            let ago = self.now.saturating_duration_since(heard.heard_at).as_secs();
            let (name, peer) = (heard.offer.name, heard.offer.peer.0);
            line(format_args!("known: {name}, from peer {peer}, heard {ago} s ago"));
        }
        let left = snapshot.jobs_open.saturating_sub(inventory.wanted.len())
            + snapshot.files_shared.saturating_sub(inventory.shared.len())
            + snapshot.offers_known.saturating_sub(inventory.offers.len());
        if left > 0 {
            line(format_args!("... and {left} more"));
        }
        text
    }

    pub(super) fn prometheus(&self) -> String {
        let mut text = String::new();
        let kind = EVENTS.iter().find(|kind| kind.name == "status");
        let fields = kind.into_iter().flat_map(|kind| kind.fields);
        for (field, metric) in fields.zip(self.status().metrics()) {
            let (metric_type, end, value) = match metric {
                Some(Metric::Gauge(count)) => ("gauge", "", count.to_string()),
                Some(Metric::Counter(count)) => ("counter", "_total", count.to_string()),
                Some(Metric::Seconds(seconds)) => ("gauge", "", format!("{seconds:.6}")),
                None => continue,
            };
            let name = format!("p2pfs_{}{end}", field.name);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name} {}", field.meaning);
            let _ = writeln!(text, "# TYPE {name} {metric_type}\n{name} {value}");
        }
        text
    }
}
