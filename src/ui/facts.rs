//! Everything that a program can tell of itself at one moment: for `status`, as text and
//! as JSON, and for `--metrics`.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::events;
use super::json::{Field, FieldKind, Value};
use super::progress::{Retries, Totals};
use crate::count::{Bytes, Count};
use crate::node::{Direction, Inventory, Snapshot, Transfer};

/// What the loop of a program did so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopCounts {
    /// Its turns.
    pub turns: u64,
    /// The longest of them, apart from waits for the disk.
    pub longest_turn: Duration,
    /// Waits for the disk, to make files safe.
    pub syncs: u64,
    /// The longest of them.
    pub longest_sync: Duration,
}

/// The facts at one moment.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) began: Instant,
    pub(super) now: Instant,
    pub(super) totals: &'a Totals,
    pub(super) snapshot: &'a Snapshot,
    pub(super) counts: &'a LoopCounts,
}

/// A fact that is a number.
pub(super) struct Fact {
    pub(super) field: Field,
    /// Whether it only ever grows.
    is_counter: bool,
}

const fn fact(name: &'static str, kind: FieldKind, is_counter: bool, what: &'static str) -> Fact {
    Fact { field: Field { name, kind, what }, is_counter }
}

const fn gauge(name: &'static str, what: &'static str) -> Fact {
    fact(name, FieldKind::Number, false, what)
}

const fn counter(name: &'static str, what: &'static str) -> Fact {
    fact(name, FieldKind::Number, true, what)
}

/// The facts that are numbers, in the order of [`Facts::numbers`].
pub(super) const FACTS: [Fact; 17] = [
    fact("uptime_seconds", FieldKind::Decimal, false, "seconds since its start"),
    gauge("files_shared", "files that it shares"),
    gauge("offers_known", "offers of others that it knows"),
    gauge("peers_known", "peers that these are from"),
    gauge("connections", "open connections"),
    gauge("downloads_running", "files that are coming in"),
    gauge("uploads_running", "files that are going out"),
    gauge("wishes_open", "files that it wants and does not have"),
    counter("files_fetched", "files fetched and verified"),
    counter("bytes_fetched", "their bytes"),
    counter("files_sent", "files sent and acknowledged"),
    counter("bytes_sent", "their bytes"),
    counter("retries", "downloads that failed and were tried again"),
    counter("turns", "turns of its loop"),
    fact("longest_turn_seconds", FieldKind::Decimal, false, "the longest of them"),
    counter("syncs", "waits for the disk, to make files safe"),
    fact("longest_sync_seconds", FieldKind::Decimal, false, "the longest of them"),
];

impl Facts<'_> {
    fn uptime(&self) -> Duration {
        self.now.saturating_duration_since(self.began)
    }

    /// The values of [`FACTS`].
    fn numbers(&self) -> [Value<'static>; FACTS.len()] {
        use Value::{Number, Seconds};
        let Self { totals, snapshot, counts, .. } = self;
        let is_in = |transfer: &&Transfer| matches!(transfer.direction, Direction::In { .. });
        let downloads = snapshot.transfers.iter().filter(is_in).count();
        let number = |number: usize| Number(number as u64);
        [
            Seconds(self.uptime()),
            number(snapshot.files_shared),
            number(snapshot.offers_known),
            number(snapshot.peers_known),
            number(snapshot.connections),
            number(downloads),
            number(snapshot.transfers.len() - downloads),
            number(snapshot.wishes_open),
            Number(totals.files_in),
            Number(totals.bytes_in),
            Number(totals.files_out),
            Number(totals.bytes_out),
            Number(totals.retries),
            Number(counts.turns),
            Seconds(counts.longest_turn),
            Number(counts.syncs),
            Seconds(counts.longest_sync),
        ]
    }

    /// As objects: one with the numbers, then one for each transfer, file and offer.
    pub(super) fn json(&self, inventory: &Inventory) -> String {
        let pid = Value::Number(std::process::id().into());
        let mut values = vec![Value::Text(&self.name), pid];
        values.extend(self.numbers());
        let mut text = events::status(&values);
        for transfer in &self.snapshot.transfers {
            text += &events::transfer(transfer, self.now);
        }
        for (name, size_bytes) in &inventory.shared {
            text += &events::shared_file(name, *size_bytes);
        }
        for heard in &inventory.offers {
            text += &events::offer(heard, None, self.now);
        }
        text
    }

    /// As text for people.
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
            Count(snapshot.wishes_open, "file"),
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
            let (name, bytes) = (transfer.name, Bytes(transfer.bytes));
            let rate = Bytes(events::rate(transfer, self.now));
            match transfer.direction {
                Direction::In { peer } => {
                    line(format_args!("fetching {name} from peer {}: {bytes}, {rate}/s", peer.0));
                }
                Direction::Out { size_bytes, .. } => line(format_args!(
                    "sending {name} to {}: {bytes} of {}, {rate}/s",
                    transfer.address,
                    Bytes(size_bytes)
                )),
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
        let left = snapshot.files_shared.saturating_sub(inventory.shared.len())
            + snapshot.offers_known.saturating_sub(inventory.offers.len());
        if left > 0 {
            line(format_args!("... and {left} more"));
        }
        text
    }

    /// As Prometheus reads it.
    pub(super) fn prometheus(&self) -> String {
        let mut text = String::new();
        for (Fact { field, is_counter }, value) in FACTS.iter().zip(self.numbers()) {
            let (kind, end) = if *is_counter { ("counter", "_total") } else { ("gauge", "") };
            let name = format!("p2pfs_{}{end}", field.name);
            let _ = writeln!(text, "# HELP {name} {}", field.what);
            let _ = writeln!(text, "# TYPE {name} {kind}");
            let _ = match value {
                Value::Seconds(duration) => writeln!(text, "{name} {:.6}", duration.as_secs_f64()),
                Value::Number(number) => writeln!(text, "{name} {number}"),
                _ => unreachable!("facts are numbers"),
            };
        }
        text
    }
}
