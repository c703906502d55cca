//! Which addresses of beacons may be dialed.
//!
//! Anybody on the network can forge a beacon. Until a hello has proven one, it leads to few
//! dials at once, to no port of the system's services, and not again soon after one failed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Instant;

use crate::limits::{
    DIALED_PORT_MIN, FAILED_DIAL_PAUSE, FAILED_DIALS_REMEMBERED, UNPROVEN_DIALS_MAX,
};

#[derive(Debug, Default)]
pub(super) struct Dials {
    /// Those under way to addresses that no hello has proven.
    unproven: BTreeSet<SocketAddrV4>,
    /// Until when an address is not dialed again.
    failed: BTreeMap<SocketAddrV4, Instant>,
}

impl Dials {
    /// Returns whether this address may be dialed, which is then under way until
    /// [`Self::end`].
    pub(super) fn begin(&mut self, now: Instant, address: SocketAddrV4, is_proven: bool) -> bool {
        if !self.may_begin(now, address, is_proven) {
            return false;
        }
        is_proven || self.unproven.insert(address)
    }

    /// Returns whether [`Self::begin`] would return true.
    pub(super) fn may_begin(&self, now: Instant, address: SocketAddrV4, is_proven: bool) -> bool {
        let has_failed = self.failed.get(&address).is_some_and(|until| now < *until);
        let is_allowed = is_proven
            || address.port() >= DIALED_PORT_MIN
                && self.unproven.len() < UNPROVEN_DIALS_MAX
                && !self.unproven.contains(&address)
                && self.failed.len() < FAILED_DIALS_REMEMBERED;
        address.port() > 0 && is_allowed && !has_failed
    }

    /// A dial is over.
    pub(super) fn end(&mut self, now: Instant, address: SocketAddrV4, has_failed: bool) {
        self.unproven.remove(&address);
        if !has_failed {
            self.failed.remove(&address);
            return;
        }
        self.failed.retain(|_, until| now < *until);
        if self.failed.len() < FAILED_DIALS_REMEMBERED {
            self.failed.insert(address, now + FAILED_DIAL_PAUSE);
        }
    }

    /// Forgets failures of long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        self.failed.retain(|_, until| now < *until);
    }
}
