//! What the loop did with its time, and what that says of the transfers.

use std::fmt;
use std::time::Duration;

use crate::node::Direction;
use crate::ui::meter::Running;

/// What the loop did with its time since the last look. What is left is the rest: moving
/// bytes in and out of sockets above all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Waiting for something to happen.
    pub idle: Duration,
    /// Waiting for files to be written and made safe.
    pub disk: Duration,
    /// Hashing, and reading what is hashed.
    pub hash: Duration,
}

/// What keeps a transfer from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// The way between us and the other side: bytes come or go, and we wait for more.
    Network,
    /// The other side: we wait, and since the last look nothing came or went at all.
    OtherSide,
    /// Our disk: writing, and making files safe.
    Disk,
    /// Our hashing, and the reading for it.
    Hashing,
}

impl Work {
    /// What limits a transfer, if the loop did this in `elapsed`.
    pub(super) fn limit(&self, elapsed: Duration, running: &Running) -> Limit {
        let waits_for_hash =
            matches!(running.transfer.direction, Direction::Out { waits_for_hash: true, .. });
        let rest = elapsed.saturating_sub(self.idle + self.disk + self.hash);
        if waits_for_hash {
            Limit::Hashing
        } else if self.idle * 2 > elapsed && running.still_for() >= elapsed {
            Limit::OtherSide
        } else if self.idle * 2 > elapsed || rest >= self.disk.max(self.hash) {
            Limit::Network
        } else if self.disk > self.hash {
            Limit::Disk
        } else {
            Limit::Hashing
        }
    }
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
    use std::net::SocketAddrV4;
    use std::time::Instant;

    use super::*;
    use crate::node::{ConnectionId, Snapshot, Transfer};
    use crate::ui::meter::Meter;
    use crate::wire::{FileName, PeerId};

    /// What limits a transfer that moved so much in the last second, of which the loop spent
    /// these tenths waiting, with the disk and hashing.
    fn limit(direction: Direction, moved: u64, tenths: [u64; 3]) -> Limit {
        let began = Instant::now();
        let mut meter = Meter::default();
        for (second, bytes) in [(1, 5), (2, 5 + moved)] {
            let transfer = Transfer {
                connection: ConnectionId::from_bits(1),
                name: FileName::new("file").unwrap(),
                direction,
                address: SocketAddrV4::new([192, 0, 2, 1].into(), 1),
                began,
                moved_at: began + Duration::from_secs(if moved > 0 { second } else { 1 }),
                bytes,
            };
            let snapshot = Snapshot { transfers: vec![transfer], ..Snapshot::default() };
            meter.look(began + Duration::from_secs(second), &snapshot);
        }
        let [idle, disk, hash] = tenths.map(|tenths| Duration::from_millis(tenths * 100));
        let running = meter.running().next().unwrap();
        Work { idle, disk, hash }.limit(Duration::from_secs(1), running)
    }

    #[test]
    fn what_the_loop_did_tells_what_limits_a_transfer() {
        let download = Direction::In { peer: PeerId(1) };
        assert_eq!(limit(download, 1, [8, 1, 1]), Limit::Network);
        assert_eq!(limit(download, 0, [8, 1, 1]), Limit::OtherSide);
        assert_eq!(limit(download, 1, [2, 5, 2]), Limit::Disk);
        assert_eq!(limit(download, 0, [0, 9, 0]), Limit::Disk);
        assert_eq!(limit(download, 1, [2, 2, 5]), Limit::Hashing);
        assert_eq!(limit(download, 1, [1, 1, 1]), Limit::Network);
        let upload = |waits_for_hash| Direction::Out { size_bytes: 9, waits_for_hash };
        assert_eq!(limit(upload(false), 0, [9, 0, 0]), Limit::OtherSide);
        assert_eq!(limit(upload(true), 0, [9, 0, 0]), Limit::Hashing);
    }
}
