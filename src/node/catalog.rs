//! What is on offer: names, and the peers that offer them.
//!
//! Offers are hints from anyone on the network, so every table is bounded. When
//! one is full the oldest offer of a peer that never served us makes room; peers
//! that did are never pushed out.
//!
//! Invariants: each offer has one slot in `offers`, one entry in `queue` and one in
//! `names`; `peers` counts the offers of each peer and has none with 0.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::canary::{Canary, sings};
use crate::limits::{
    EVICTION_TRIES, KNOWN_NAMES_MAX, KNOWN_OFFERS_MAX, KNOWN_PEERS_MAX, SOURCES_PER_NAME_MAX,
};
use crate::wire::PeerId;
use crate::wire::v0::{FileName, Offer};

/// What is on offer.
#[derive(Debug)]
pub(super) struct Catalog {
    expiry: Duration,
    offers: Slab<Heard>,
    names: BTreeMap<FileName, BTreeMap<PeerId, usize>>,
    peers: BTreeMap<PeerId, Peer>,
    /// Every offer once, by a time when it was heard that need not be the last: one that
    /// was repeated is put back when its turn comes.
    queue: BTreeSet<(Instant, usize)>,
}

/// Whether an offer was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// This peer did not offer this name before.
    New,
    /// It did.
    Repeated,
    /// It is not remembered: the tables are full of better ones.
    Dropped,
}

#[derive(Debug)]
struct Heard {
    offer: Offer,
    /// Where its last datagram came from.
    from: SocketAddrV4,
    heard_at: Instant,
}

#[derive(Debug, Default)]
struct Peer {
    offers: usize,
    has_served: bool,
    /// Failed downloads since the last good one.
    failures: u32,
}

impl Catalog {
    /// Remembers each offer for `expiry` after it was last heard.
    pub(super) fn new(expiry: Duration) -> Self {
        Self {
            expiry,
            offers: Slab::new(),
            names: BTreeMap::new(),
            peers: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }

    /// An offer was heard.
    pub(super) fn hear(&mut self, now: Instant, from: SocketAddrV4, offer: Offer) -> News {
        if let Some(&slot) = self.names.get(&offer.name).and_then(|s| s.get(&offer.peer)) {
            self.offers[slot] = Heard { offer, from, heard_at: now };
            return News::Repeated;
        }
        if !self.make_room(&offer) {
            return News::Dropped;
        }
        let heard = Heard { offer, from, heard_at: now };
        let sources = self.names.get(&offer.name).map_or(0, BTreeMap::len);
        let slot = if sources < SOURCES_PER_NAME_MAX {
            let slot = self.offers.insert(heard);
            self.queue.insert((now, slot));
            slot
        } else {
            let Some(slot) = self.oldest_unproven_source(&offer.name) else {
                return News::Dropped;
            };
            self.unlink(self.offers[slot].offer);
            self.offers[slot] = heard;
            slot
        };
        self.names.entry(offer.name).or_default().insert(offer.peer, slot);
        self.peers.entry(offer.peer).or_default().offers += 1;
        News::New
    }

    /// Pushes out old offers until a new one fits; false if that does not work.
    fn make_room(&mut self, offer: &Offer) -> bool {
        let is_full = |catalog: &Self| {
            let (names, peers) = (&catalog.names, &catalog.peers);
            catalog.offers.len() >= KNOWN_OFFERS_MAX
                || names.len() >= KNOWN_NAMES_MAX && !names.contains_key(&offer.name)
                || peers.len() >= KNOWN_PEERS_MAX && !peers.contains_key(&offer.peer)
        };
        for _ in 0..EVICTION_TRIES {
            if !is_full(self) {
                return true;
            }
            let is_unproven = |&(_, slot): &(Instant, usize)| {
                !self.peers[&self.offers[slot].offer.peer].has_served
            };
            let oldest = self.queue.iter().take(EVICTION_TRIES).copied().find(is_unproven);
            let Some((queued_at, slot)) = oldest else { return false };
            self.queue.remove(&(queued_at, slot));
            let heard_at = self.offers[slot].heard_at;
            if heard_at > queued_at {
                // Repeated since: its turn is later.
                self.queue.insert((heard_at, slot));
            } else {
                self.forget(slot);
            }
        }
        !is_full(self)
    }

    fn oldest_unproven_source(&self, name: &FileName) -> Option<usize> {
        let sources = self.names.get(name)?.iter();
        let unproven = sources.filter(|(peer, _)| !self.peers[peer].has_served);
        unproven.map(|(_, &slot)| slot).min_by_key(|&slot| self.offers[slot].heard_at)
    }

    /// Takes an offer that left the queue out of all tables; true if its peer has no other.
    fn forget(&mut self, slot: usize) -> bool {
        let heard = self.offers.remove(slot);
        self.unlink(heard.offer)
    }

    /// Takes an offer out of `names` and `peers`; true if its peer has no other.
    fn unlink(&mut self, Offer { peer, name }: Offer) -> bool {
        if let Some(sources) = self.names.get_mut(&name) {
            sources.remove(&peer);
            if sources.is_empty() {
                self.names.remove(&name);
            }
        }
        let Some(entry) = self.peers.get_mut(&peer) else { return false };
        entry.offers -= 1;
        if entry.offers > 0 {
            return false;
        }
        self.peers.remove(&peer);
        true
    }

    /// When the next offer may expire.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.queue.first().map(|&(at, _)| at + self.expiry)
    }

    /// Forgets what was not repeated in time; gives that, and whether it was the last that
    /// its peer offered.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Offer, bool)> {
        let mut gone = Vec::new();
        while let Some(&(at, slot)) = self.queue.first()
            && now >= at + self.expiry
        {
            self.queue.pop_first();
            let Heard { offer, heard_at, .. } = self.offers[slot];
            if now < heard_at + self.expiry || sings(Canary::NoExpiry) {
                let heard_at = if sings(Canary::NoExpiry) { now } else { heard_at };
                self.queue.insert((heard_at, slot));
            } else {
                gone.push((offer, self.forget(slot)));
            }
        }
        gone
    }

    /// How many offers are remembered.
    pub(super) fn len(&self) -> usize {
        self.offers.len()
    }

    /// How many peers they are from.
    pub(super) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The peers that offer `name`, in order of their ids.
    pub(super) fn sources(&self, name: &FileName) -> impl Iterator<Item = PeerId> + use<'_> {
        self.names.get(name).into_iter().flat_map(|sources| sources.keys().copied())
    }

    /// The names on offer.
    pub(super) fn names(&self) -> impl Iterator<Item = FileName> + use<'_> {
        self.names.keys().copied()
    }

    /// Everything on offer, by name and then by peer: whence and when it was last heard.
    pub(super) fn offers(&self) -> impl Iterator<Item = (Offer, SocketAddrV4, Instant)> {
        let slots = self.names.values().flat_map(BTreeMap::values);
        slots.map(|&slot| {
            let Heard { offer, from, heard_at } = self.offers[slot];
            (offer, from, heard_at)
        })
    }

    /// Failed downloads from a peer since the last good one.
    pub(super) fn failures(&self, peer: PeerId) -> u32 {
        self.peers.get(&peer).map_or(0, |peer| peer.failures)
    }

    /// A download from this peer failed.
    pub(super) fn note_failure(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.failures = peer.failures.saturating_add(1);
        }
    }

    /// A download from this peer was verified.
    pub(super) fn note_success(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            (peer.failures, peer.has_served) = (0, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const EXPIRY: Duration = Duration::from_secs(15);
    const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

    fn offer(peer: u32, name: &str) -> Offer {
        Offer { peer: PeerId(peer), name: FileName::new(name).unwrap() }
    }

    fn check(catalog: &Catalog) {
        assert_eq!(catalog.queue.len(), catalog.offers.len());
        assert_eq!(catalog.names.values().map(BTreeMap::len).sum::<usize>(), catalog.offers.len());
        assert_eq!(catalog.peers.values().map(|p| p.offers).sum::<usize>(), catalog.offers.len());
        assert!(catalog.peers.values().all(|peer| peer.offers > 0));
        assert!(catalog.names.values().all(|s| (1..=SOURCES_PER_NAME_MAX).contains(&s.len())));
        assert!(catalog.offers.len() <= KNOWN_OFFERS_MAX);
        assert!(catalog.names.len() <= KNOWN_NAMES_MAX && catalog.peers.len() <= KNOWN_PEERS_MAX);
    }

    #[test]
    fn an_offer_lives_from_when_it_was_last_heard() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut catalog = Catalog::new(EXPIRY);
        assert_eq!(catalog.hear(at(0), FROM, offer(1, "a")), News::New);
        assert_eq!(catalog.hear(at(1), FROM, offer(2, "a")), News::New);
        assert_eq!(catalog.hear(at(9), FROM, offer(1, "a")), News::Repeated);
        assert_eq!(catalog.expire(at(16)), [(offer(2, "a"), true)]);
        assert_eq!(catalog.sources(&offer(1, "a").name).collect::<Vec<_>>(), [PeerId(1)]);
        assert_eq!(catalog.next_expiry(), Some(at(24)));
        // Heard later but known longer: each goes when its own time has come.
        catalog.hear(at(17), FROM, offer(3, "a"));
        catalog.hear(at(18), FROM, offer(4, "a"));
        catalog.hear(at(19), FROM, offer(3, "a"));
        catalog.hear(at(23), FROM, offer(4, "a"));
        assert_eq!(catalog.expire(at(24)), [(offer(1, "a"), true)]);
        assert_eq!(catalog.expire(at(33)), []);
        catalog.hear(at(33), FROM, offer(5, "a"));
        catalog.hear(at(40), FROM, offer(5, "b"));
        assert_eq!(catalog.expire(at(34)), [(offer(3, "a"), true)]);
        assert_eq!(catalog.expire(at(38)), [(offer(4, "a"), true)]);
        assert_eq!(catalog.expire(at(48)), [(offer(5, "a"), false)]);
        assert_eq!(catalog.expire(at(55)), [(offer(5, "b"), true)]);
        check(&catalog);
        assert_eq!((catalog.offers.len(), catalog.next_expiry()), (0, None));
    }

    #[test]
    fn a_flood_fills_no_table_over_its_bound_and_pushes_out_nobody_who_served() {
        let start = Instant::now();
        let mut catalog = Catalog::new(EXPIRY);
        catalog.hear(start, FROM, offer(7, "wanted"));
        catalog.note_success(PeerId(7));
        for i in 0..200_000_u32 {
            catalog.hear(start, FROM, offer(1000 + i % 5000, &format!("file {}", i % 30_000)));
            catalog.hear(start, FROM, offer(10_000 + i % 100, "wanted"));
        }
        check(&catalog);
        assert!(catalog.sources(&offer(7, "wanted").name).any(|peer| peer == PeerId(7)));
    }

    #[test]
    fn offers_that_are_repeated_outlive_a_flood_of_ones_that_are_not() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut catalog = Catalog::new(EXPIRY);
        for i in 0..20_u32 {
            catalog.hear(at(0), FROM, offer(7, &format!("honest {i}")));
        }
        for i in 0..200_000_u32 {
            let now = at(1 + u64::from(i) / 100);
            catalog.hear(now, FROM, offer(1000 + i % 4000, &format!("file {i}")));
            if i % 10_000 == 0 {
                (0..20).for_each(|i| _ = catalog.hear(now, FROM, offer(7, &format!("honest {i}"))));
            }
        }
        check(&catalog);
        let is_there =
            |i: u32| catalog.sources(&offer(7, &format!("honest {i}")).name).next().is_some();
        assert!((0..20).all(is_there));
    }
}
