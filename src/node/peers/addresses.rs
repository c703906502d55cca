//! How the last download from each address went, whatever the ids of the peers there.
//!
//! An address is that which was dialed. A failure decides the order in which sources are asked,
//! and never leaves one out: many peers may be behind one address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::limits::KNOWN_PEERS_MAX;

/// The addresses from which the last download failed, at most [`KNOWN_PEERS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Addresses(BTreeSet<Ipv4Addr>);

impl Addresses {
    /// Returns whether the last download from there failed.
    pub(crate) fn has_failed(&self, address: Ipv4Addr) -> bool {
        self.0.contains(&address)
    }

    pub(super) fn note_failure(&mut self, address: Ipv4Addr) {
        if self.0.len() >= KNOWN_PEERS_MAX {
            self.0.pop_first();
        }
        self.0.insert(address);
    }

    pub(super) fn note_success(&mut self, address: Ipv4Addr) {
        self.0.remove(&address);
    }
}
