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
        } else if self.idle * 2 > elapsed && running.is_still() {
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
