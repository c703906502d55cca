//! What limits a transfer, from what the loop did with its time.
//!
//! The loop knows exactly how long it hashed, waited for the disk, and was idle. It cannot know
//! what it waited for while idle: a slow network and a slow peer look alike from here. So the
//! limit is *network* while bytes move, and *other side* only after none has moved for a while.

use std::fmt;
use std::time::Duration;

use crate::limits::{LIMIT_LEAD_PERCENT, LIMIT_MEMORY, SILENT_AFTER};
use crate::node::{Direction, Transfer};

/// What the loop did with its time since the last sample. It spent the rest mostly on moving
/// bytes in and out of sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    pub idle: Duration,
    /// Waiting for files to be written and made durable.
    pub disk: Duration,
    /// Hashing, and reading for it.
    pub hash: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Limit {
    /// The network, or the rate of the other side: bytes move, and we wait for more or are
    /// busy moving them.
    #[default]
    Network,
    /// The other side: we wait, and no byte moves.
    OtherSide,
    Disk,
    Hashing,
}

/// How long a transfer waited in the last seconds, and for what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    /// In the order of [`Limit`]. Older time has less weight.
    seconds: [f64; 4],
    limit: Limit,
}

impl Waits {
    pub(super) fn limit(&self) -> Limit {
        self.limit
    }

    /// Returns the waits after another sample: what the loop did in the `elapsed` time, and
    /// the time since a byte last moved.
    pub(super) fn after(
        self,
        (work, elapsed): (&Work, Duration),
        transfer: &Transfer,
        still_for: Duration,
    ) -> Self {
        let none = Duration::ZERO;
        let waited = match transfer.direction {
            Direction::Out { waits_for_hash: true, .. } => [none, none, none, elapsed],
            _ => {
                let silent = if still_for >= SILENT_AFTER { work.idle } else { none };
                let rest = elapsed.saturating_sub(silent + work.disk + work.hash);
                [rest, silent, work.disk, work.hash]
            }
        };
        // Close to e^-age, without libm: a third after LIMIT_MEMORY, in one sample or many.
        let age = elapsed.as_secs_f64() / LIMIT_MEMORY.as_secs_f64();
        let weight = 1.0 / (1.0 + age + age * age);
        let mut seconds = self.seconds;
        for (sum, waited) in seconds.iter_mut().zip(waited) {
            *sum = *sum * weight + waited.as_secs_f64();
        }
        let lead = 1.0 + f64::from(LIMIT_LEAD_PERCENT) / 100.0;
        let to_beat = seconds[self.limit as usize] * lead;
        let by_seconds =
            |a: &Limit, b: &Limit| seconds[*a as usize].total_cmp(&seconds[*b as usize]);
        let most = Limit::ALL.into_iter().max_by(by_seconds);
        let limit = most.filter(|most| seconds[*most as usize] > to_beat).unwrap_or(self.limit);
        Self { seconds, limit }
    }
}

impl Limit {
    /// Every limit, in order.
    pub(super) const ALL: [Self; 4] = [Self::Network, Self::OtherSide, Self::Disk, Self::Hashing];
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Network => "network",
            Self::OtherSide => "other side",
            Self::Disk => "our disk",
            Self::Hashing => "hashing",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::ui::scene::{DOWNLOAD, transfer};

    /// Returns the waits after a second in which the loop spent these tenths idle, on the disk
    /// and hashing.
    fn after(waits: Waits, direction: Direction, still_ms: u64, tenths: [u64; 3]) -> Waits {
        let [idle, disk, hash] = tenths.map(|tenths| Duration::from_millis(tenths * 100));
        let did = (&Work { idle, disk, hash }, Duration::from_secs(1));
        let transfer = transfer("file", direction, Instant::now());
        waits.after(did, &transfer, Duration::from_millis(still_ms))
    }

    #[test]
    fn what_the_loop_did_tells_what_limits_a_transfer() {
        let limit = |direction, still_ms, tenths| {
            after(Waits::default(), direction, still_ms, tenths).limit()
        };
        assert_eq!(limit(DOWNLOAD, 0, [8, 1, 1]), Limit::Network);
        assert_eq!(limit(DOWNLOAD, 900, [8, 1, 1]), Limit::Network);
        assert_eq!(limit(DOWNLOAD, 1000, [8, 1, 1]), Limit::OtherSide);
        assert_eq!(limit(DOWNLOAD, 0, [2, 5, 2]), Limit::Disk);
        assert_eq!(limit(DOWNLOAD, 9000, [0, 9, 0]), Limit::Disk);
        assert_eq!(limit(DOWNLOAD, 0, [2, 2, 5]), Limit::Hashing);
        assert_eq!(limit(DOWNLOAD, 0, [1, 1, 1]), Limit::Network);
        let upload = |waits_for_hash| Direction::Out { size_bytes: 9, waits_for_hash };
        assert_eq!(limit(upload(false), 1000, [9, 0, 0]), Limit::OtherSide);
        assert_eq!(limit(upload(true), 1000, [9, 0, 0]), Limit::Hashing);
    }

    #[test]
    fn it_is_the_same_through_one_steady_transfer_and_another_after_a_few_seconds() {
        let mut waits = Waits::default();
        // Bytes come in bursts, with pauses of less than a second; disk and network alternate.
        for second in 0..100 {
            let tenths = if second % 2 == 0 { [4, 5, 1] } else { [5, 4, 1] };
            waits = after(waits, DOWNLOAD, second * 300 % 1000, tenths);
            assert_eq!(waits.limit(), Limit::Network, "after {second} s");
        }
        // One slow second changes nothing.
        waits = (0..10).fold(waits, |waits, _| after(waits, DOWNLOAD, 0, [9, 1, 0]));
        waits = after(waits, DOWNLOAD, 0, [0, 10, 0]);
        assert_eq!(waits.limit(), Limit::Network);
        for _ in 0..3 {
            waits = after(waits, DOWNLOAD, 0, [0, 10, 0]);
        }
        assert_eq!(waits.limit(), Limit::Disk);
    }
}
