//! The rate of each running transfer, from samples of how far it has come.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use super::events::Event;
use super::json::{Seconds, text};
use super::work::{Limit, Waits, Work};
use crate::limits::{RATE_SHOWN_WINDOW, STALLED_AFTER};
use crate::node::{ConnectionId, Direction, Snapshot, Transfer};
use crate::wire::FilePath;

/// The running transfers, as of the last sample.
#[derive(Debug, Default)]
pub(super) struct Meter {
    running: BTreeMap<(ConnectionId, FilePath), Running>,
}

/// A running transfer with its rate.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) transfer: Transfer,
    /// Its rate over the last seconds; 0 while it is stalled. Later rates leave out the time
    /// in which it was stalled.
    pub(super) bytes_per_second: f64,
    waits: Waits,
    sampled_at: Instant,
    /// The sample from which the rate is measured, and the one that will take its place.
    marks: [Mark; 2],
}

/// How far a transfer had come at some time.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    bytes: u64,
}

impl Meter {
    /// Takes a sample. `did` is what the loop did since the last sample, and that time.
    pub(super) fn sample(&mut self, now: Instant, snapshot: &Snapshot, did: (&Work, Duration)) {
        let mut before = mem::take(&mut self.running);
        let running = snapshot.transfers.iter().map(|transfer| {
            let key = (transfer.connection, transfer.path.clone());
            let running = before.remove(&key).filter(|r| r.transfer.began == transfer.began);
            let running = running.unwrap_or_else(|| Running::new(transfer));
            (key, running.after(now, transfer, did))
        });
        self.running = running.collect();
    }

    pub(super) fn running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }
}

impl Running {
    /// Returns a transfer as it was at its start.
    fn new(transfer: &Transfer) -> Self {
        Self {
            transfer: Transfer { bytes: 0, moved_at: transfer.began, ..transfer.clone() },
            bytes_per_second: 0.0,
            waits: Waits::default(),
            sampled_at: transfer.began,
            marks: [Mark { at: transfer.began, bytes: 0 }; 2],
        }
    }

    fn after(self, now: Instant, transfer: &Transfer, did: (&Work, Duration)) -> Self {
        let mut marks = self.marks;
        if self.is_stalled() {
            marks = [Mark { at: self.sampled_at, bytes: self.transfer.bytes }; 2];
        }
        if now.saturating_duration_since(marks[1].at) * 2 >= RATE_SHOWN_WINDOW {
            marks = [marks[1], Mark { at: now, bytes: transfer.bytes }];
        }
        let [Mark { at, bytes }, _] = marks;
        let seconds = now.saturating_duration_since(at).as_secs_f64();
        let moved = transfer.bytes.saturating_sub(bytes) as f64;
        let waits = self.waits;
        let next = Self { transfer: transfer.clone(), sampled_at: now, marks, ..self };
        let is_moving = seconds > 0.0 && !next.is_stalled();
        Self {
            bytes_per_second: if is_moving { moved / seconds } else { 0.0 },
            waits: waits.after(did, transfer, next.still_for()),
            ..next
        }
    }

    /// Returns the event that is printed every second.
    pub(super) fn event(&self) -> Event {
        let Transfer { direction, bytes, .. } = self.transfer;
        let [name, address] = [text(&self.transfer.path), text(self.transfer.address)];
        let bytes_per_second = self.bytes_per_second as u64;
        let [seconds, still_for] = [self.elapsed(), self.still_for()].map(Seconds);
        let limited_by = text(self.limit());
        match direction {
            Direction::In { peer, size_bytes, sources } => Event::Progress {
                name,
                peer: peer.0,
                bytes,
                bytes_per_second,
                seconds,
                still_for,
                limited_by,
                size: size_bytes,
                sources,
            },
            Direction::Out { .. } => Event::UploadProgress {
                name,
                address,
                bytes,
                bytes_per_second,
                seconds,
                still_for,
                limited_by,
            },
        }
    }

    pub(super) fn limit(&self) -> Limit {
        self.waits.limit()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.sampled_at.saturating_duration_since(self.transfer.began)
    }

    /// Returns whether no byte has moved for [`STALLED_AFTER`].
    pub(super) fn is_stalled(&self) -> bool {
        self.still_for() >= STALLED_AFTER
    }

    /// Returns when it will be stalled if no byte moves until then; `None` if it is stalled.
    pub(super) fn stalls_at(&self) -> Option<Instant> {
        (!self.is_stalled()).then(|| self.transfer.moved_at + STALLED_AFTER)
    }

    pub(super) fn is_download(&self) -> bool {
        matches!(self.transfer.direction, Direction::In { .. })
    }

    /// Returns how large the file is, if that is known.
    pub(super) fn size_bytes(&self) -> Option<u64> {
        match self.transfer.direction {
            Direction::In { size_bytes, .. } => size_bytes,
            Direction::Out { size_bytes, .. } => Some(size_bytes),
        }
    }

    pub(super) fn still_for(&self) -> Duration {
        self.sampled_at.saturating_duration_since(self.transfer.moved_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::scene::{DOWNLOAD, snapshot, transfer};

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_a_stall_leaves_no_trace_in_it() {
        let began = Instant::now();
        let at = |milliseconds| began + Duration::from_millis(milliseconds);
        let sample = |meter: &mut Meter, now, moved_at, bytes| {
            let begun = transfer("file", DOWNLOAD, began);
            let running = snapshot(Transfer { moved_at: at(moved_at), bytes, ..begun });
            meter.sample(at(now), &running, (&Work::default(), Duration::ZERO));
            meter.running().next().unwrap().bytes_per_second
        };
        let mut meter = Meter::default();
        // Until when so many bytes came, and the rate that is shown then.
        let story = [
            // A second at 8000, then 1000 for 4 s.
            (1000, 8000, 8000),
            (5000, 12_000, 1000),
            // It is stalled for 10 s.
            (10_000, 12_000, 0),
            (15_000, 12_000, 0),
            // It goes on.
            (16_000, 14_000, 2000),
        ];
        let (mut since, mut bytes, mut moved_at, mut rate) = (0, 0, 0, 0.0);
        for (until, bytes_then, expected) in story {
            for now in (since..=until).step_by(250).skip(1) {
                let moved = (bytes_then - bytes) * (now - since) / (until - since);
                moved_at = if moved > 0 { now } else { moved_at };
                rate = sample(&mut meter, now, moved_at, bytes + moved);
            }
            assert!((rate - expected as f64).abs() < 1.0, "{rate} bytes/s after {until} ms");
            (since, bytes) = (until, bytes_then);
        }
        // Samples far from one another do not make a stalled transfer move.
        let mut meter = Meter::default();
        assert!(sample(&mut meter, 1000, 1000, 1000) > 0.0);
        assert_eq!(sample(&mut meter, 7000, 1000, 1000), 0.0);
    }
}
