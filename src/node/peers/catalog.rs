//! The offers heard: paths, and the peers that offer them.
//!
//! Offers are hints from anyone on the network, so every table is bounded. Nobody fills one
//! for good: a new offer evicts the one that was heard least recently, by what each is kept
//! for (see [`Keep`]). If names or peers are too many, it evicts all offers of one of those. A wanted name always has room. A peer that served us keeps a share,
//! but not all; an id in a datagram proves nothing, so the share is that of the offers which
//! come from the address that served. Among the sources of one name the address with the most
//! of them loses one.
//!
//! Invariants: each offer is once in `offers` and once in the queue of its `keep`, there as its
//! `queued_at`; `paths` and `peers` count the offers of each path and each peer, and have none
//! with 0; each peer names its paths. Each path in `paths` is held once in [`Paths`].

mod eviction;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::interval::Interval;
use crate::content::PathId;
use crate::limits::{
    KNOWN_OFFERS_MAX, OFFER_COPY_TIME, OFFER_EXPIRY_INTERVALS, OFFER_EXPIRY_MAX, OFFER_EXPIRY_MIN,
    OFFER_EXPIRY_UNKNOWN, PROVEN_PEER_OFFERS_MAX, SOURCES_PER_NAME_MAX, UNTRIED_BYTES_PER_SECOND,
};
use crate::node::HeardOffer;
use crate::node::paths::Paths;
use crate::wire::PeerId;
use crate::wire::v0::{FileName, Offer};

#[derive(Debug)]
pub(crate) struct Catalog {
    /// How long an offer lives at least.
    life_min: Duration,
    offers: BTreeMap<Offered, Heard>,
    paths: BTreeMap<PathId, Group>,
    peers: BTreeMap<PeerId, Peer>,
    /// Every offer once, by what it is kept for and a time when it was heard, or looked at, that
    /// need not be the last: one that lives on is put back when its turn comes.
    queues: Queues,
    /// Whether an offer was evicted, or not taken in, as a table was full.
    has_overflowed: bool,
}

type Queued = (Instant, PathId, PeerId);
/// An offer by its place in the table.
type Offered = (PathId, PeerId);

/// What an offer is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// Nothing speaks for it: in a full table it is evicted first.
    Hint,
    /// Its peer has served us, from the address that the offer came from. These are evicted
    /// first once there are more than `PROVEN_OFFERS_KEPT_MAX`.
    Proven,
    /// Its name was wanted when it was last heard. It makes room only for others like it.
    Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hearing {
    /// This peer did not offer this path before.
    New,
    /// It did.
    Repeated,
    /// It is not remembered: the tables are full of better ones.
    Dropped,
}

#[derive(Debug)]
struct Heard {
    /// Where its last datagram came from.
    from: SocketAddrV4,
    heard_at: Instant,
    queued_at: Instant,
    keep: Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(super) peer: PeerId,
    pub(super) path: PathId,
    /// Whether it was the last one of its peer.
    pub(super) is_last: bool,
}

/// The offers of one path, or of one peer.
#[derive(Debug, Default)]
struct Group {
    /// When one of them was last heard.
    heard_at: Option<Instant>,
    hints: usize,
    proven: usize,
    wanted: usize,
}

#[derive(Debug, Default)]
struct Peer {
    group: Group,
    paths: BTreeSet<PathId>,
    /// What the registry answered last.
    address: Address,
    /// The address from which it last served us.
    served_from: Option<Ipv4Addr>,
    /// Failed downloads since the last good one.
    failures: u32,
    /// The rate of the last download from it that was measured.
    bytes_per_second: Option<u64>,
    /// That of the last file from it that was verified.
    verified_bytes_per_second: u64,
    interval: Interval,
}

/// Where a peer is, by what the registry says of its id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Address {
    Known(Ipv4Addr),
    /// It was not asked.
    #[default]
    Unasked,
    /// The registry does not know it.
    Nowhere,
}

#[derive(Debug, Default)]
struct Queues {
    hints: BTreeSet<Queued>,
    proven: BTreeSet<Queued>,
    wanted: BTreeSet<Queued>,
}

impl Queues {
    fn of(&mut self, keep: Keep) -> &mut BTreeSet<Queued> {
        match keep {
            Keep::Hint => &mut self.hints,
            Keep::Proven => &mut self.proven,
            Keep::Wanted => &mut self.wanted,
        }
    }
}

impl Group {
    fn of(&mut self, keep: Keep) -> &mut usize {
        match keep {
            Keep::Hint => &mut self.hints,
            Keep::Proven => &mut self.proven,
            Keep::Wanted => &mut self.wanted,
        }
    }

    fn len(&self) -> usize {
        self.hints + self.proven + self.wanted
    }

    /// Returns whether one of them is kept for more than this.
    fn has_better(&self, keep: Keep) -> bool {
        self.wanted > 0 && keep != Keep::Wanted || self.proven > 0 && keep == Keep::Hint
    }
}

impl Catalog {
    /// Returns a catalog that remembers each offer for three intervals of its sharer, and of
    /// `own_interval`, after it was last heard.
    pub(crate) fn new(own_interval: Duration) -> Self {
        Self {
            life_min: OFFER_EXPIRY_MIN.max(own_interval * OFFER_EXPIRY_INTERVALS),
            offers: BTreeMap::new(),
            paths: BTreeMap::new(),
            peers: BTreeMap::new(),
            queues: Queues::default(),
            has_overflowed: false,
        }
    }

    /// Remembers that a peer was heard to offer a path. If that is wanted, it is one of
    /// `wanted_names`.
    pub(crate) fn hear(
        &mut self,
        paths: &mut Paths,
        now: Instant,
        from: SocketAddrV4,
        (peer, path): (PeerId, PathId),
        wanted_names: Option<usize>,
    ) -> Hearing {
        let keep = self.keep(from, peer, wanted_names.is_some());
        if let Some(heard) = self.offers.get_mut(&(path, peer)) {
            let gap = now.saturating_duration_since(heard.heard_at);
            let is_same = from.ip() == heard.from.ip();
            let entries = (self.paths.get_mut(&path), self.peers.get_mut(&peer));
            let (Some(sources), Some(entry)) = entries else { return Hearing::Repeated };
            if is_same {
                entry.interval.note(now, gap);
            }
            sources.heard_at = Some(now);
            entry.group.heard_at = Some(now);
            if is_same || gap >= OFFER_COPY_TIME {
                (heard.from, heard.heard_at) = (from, now);
            }
            // A borrowed id takes nothing away, either.
            if keep != heard.keep && (heard.keep, keep) != (Keep::Proven, Keep::Hint) {
                let queued = (heard.queued_at, path, peer);
                self.queues.of(heard.keep).remove(&queued);
                self.queues.of(keep).insert(queued);
                for group in [sources, &mut entry.group] {
                    *group.of(heard.keep) -= 1;
                    *group.of(keep) += 1;
                }
                heard.keep = keep;
            }
            return Hearing::Repeated;
        }
        // As many as fit if each wanted name has as many.
        let fitting =
            wanted_names.map_or(KNOWN_OFFERS_MAX, |names| KNOWN_OFFERS_MAX / names.max(1));
        self.make_room_among_sources(paths, path, fitting.min(SOURCES_PER_NAME_MAX));
        if !self.make_room(paths, (peer, path), keep) {
            return Hearing::Dropped;
        }
        self.offers.insert((path, peer), Heard { from, heard_at: now, queued_at: now, keep });
        self.queues.of(keep).insert((now, path, peer));
        let sources = self.paths.entry(path).or_insert_with(|| {
            paths.hold(path);
            Group::default()
        });
        let entry = self.peers.entry(peer).or_default();
        entry.paths.insert(path);
        for group in [sources, &mut entry.group] {
            *group.of(keep) += 1;
            group.heard_at = Some(now);
        }
        Hearing::New
    }

    fn keep(&self, from: SocketAddrV4, peer: PeerId, is_wanted: bool) -> Keep {
        let has_share = |peer: &Peer| {
            peer.served_from == Some(*from.ip()) && peer.group.proven < PROVEN_PEER_OFFERS_MAX
        };
        match is_wanted {
            true => Keep::Wanted,
            false if self.peers.get(&peer).is_some_and(has_share) => Keep::Proven,
            false => Keep::Hint,
        }
    }

    fn forget(&mut self, paths: &mut Paths, (path, peer): Offered) -> Gone {
        let mut gone = Gone { peer, path, is_last: false };
        let Some(heard) = self.offers.remove(&(path, peer)) else { return gone };
        self.queues.of(heard.keep).remove(&(heard.queued_at, path, peer));
        if let Some(sources) = self.paths.get_mut(&path) {
            *sources.of(heard.keep) -= 1;
            if sources.len() == 0 {
                self.paths.remove(&path);
                paths.release(path);
            }
        }
        if let Some(entry) = self.peers.get_mut(&peer) {
            *entry.group.of(heard.keep) -= 1;
            entry.paths.remove(&path);
            gone.is_last = entry.paths.is_empty();
        }
        if gone.is_last {
            self.peers.remove(&peer);
        }
        gone
    }

    /// Returns when to look for offers that have expired.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.oldest().map(|(at, ..)| at + self.life_min)
    }

    /// Returns how often a peer offers each of its files, once that is known.
    pub(crate) fn interval(&self, peer: PeerId) -> Option<Duration> {
        self.peers.get(&peer)?.interval.observed()
    }

    /// Returns how long an offer lives whose sharer offers so often.
    pub(crate) fn life(&self, interval: Option<Duration>) -> Duration {
        let life = interval.map_or(OFFER_EXPIRY_UNKNOWN, |interval| {
            (interval * OFFER_EXPIRY_INTERVALS).clamp(OFFER_EXPIRY_MIN, OFFER_EXPIRY_MAX)
        });
        life.max(self.life_min)
    }

    fn oldest(&self) -> Option<Queued> {
        let Queues { hints, proven, wanted } = &self.queues;
        [hints, proven, wanted].into_iter().filter_map(BTreeSet::first).min().copied()
    }

    /// Forgets the offers that were not repeated in time, and returns them.
    pub(crate) fn expire(&mut self, paths: &mut Paths, now: Instant) -> Vec<Gone> {
        let mut gone = Vec::new();
        while let Some(queued) = self.oldest()
            && now >= queued.0 + self.life_min
        {
            let (_, path, peer) = queued;
            let life = self.life(self.interval(peer));
            match self.offers.get_mut(&(path, peer)) {
                Some(heard) if now < heard.heard_at + life => {
                    // Never in the future: a long life is no rank among those to be evicted.
                    heard.queued_at = now.min(heard.heard_at + (life - self.life_min));
                    let queue = self.queues.of(heard.keep);
                    queue.remove(&queued);
                    queue.insert((heard.queued_at, path, peer));
                }
                _ => gone.push(self.forget(paths, (path, peer))),
            }
        }
        gone
    }

    /// Returns whether there were more offers at some time than can be remembered.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    pub(crate) fn len(&self) -> usize {
        self.offers.len()
    }

    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn peer_ids(&self) -> impl Iterator<Item = PeerId> + use<'_> {
        self.peers.keys().copied()
    }

    /// Returns the peers that offer a path, in order of their ids.
    pub(crate) fn sources(&self, path: PathId) -> impl Iterator<Item = PeerId> + use<'_> {
        self.of_path(path).map(|(peer, _)| peer)
    }

    /// Returns a peer that offers a path, and where its last offer came from.
    pub(crate) fn first_source(&self, path: PathId) -> Option<(PeerId, Ipv4Addr)> {
        self.of_path(path).next().map(|(peer, heard)| (peer, *heard.from.ip()))
    }

    fn of_path(&self, path: PathId) -> impl Iterator<Item = (PeerId, &Heard)> + use<'_> {
        let sources = self.offers.range((path, PeerId(0))..=(path, PeerId(u32::MAX)));
        sources.map(|(&(_, peer), heard)| (peer, heard))
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = PathId> + use<'_> {
        self.paths.keys().copied()
    }

    /// Returns every offer: the path, and the peer.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (PathId, PeerId)> + use<'_> {
        self.offers.keys().copied()
    }

    /// Returns the first `offers_max` offers, in order of the paths and then of the peers.
    ///
    /// The order of all paths is found by one look at each, as a full table is not to hold up
    /// the loop; the offers of those behind are not touched.
    pub(crate) fn offers(&self, paths: &Paths, offers_max: usize) -> Vec<HeardOffer> {
        let named = |path: PathId| paths.get(path).map(|text| (text.as_str(), path));
        let mut order: Vec<_> = self.paths().filter_map(named).collect();
        if offers_max < order.len() {
            order.select_nth_unstable(offers_max);
            order.truncate(offers_max);
        }
        order.sort_unstable();
        let heard = order.into_iter().flat_map(|(text, path)| {
            let name = FileName::new(text).ok();
            self.of_path(path).filter_map(move |(peer, &Heard { from, heard_at, .. })| {
                Some(HeardOffer { offer: Offer { peer, name: name? }, from, heard_at })
            })
        });
        heard.take(offers_max).collect()
    }

    /// Returns how many downloads from a peer have failed since the last good one.
    pub(crate) fn failures(&self, peer: PeerId) -> u32 {
        self.peers.get(&peer).map_or(0, |peer| peer.failures)
    }

    pub(crate) fn note_failure(&mut self, peer: PeerId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.failures = peer.failures.saturating_add(1);
        }
    }

    /// Counts a verified download from a peer at this address: offers of it that come from
    /// there have a share of a full table.
    pub(crate) fn note_success(&mut self, peer: PeerId, at: Ipv4Addr) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            (peer.failures, peer.served_from) = (0, Some(at));
        }
    }

    /// Returns the rate in bytes per second that is to be expected of a peer.
    pub(crate) fn expected_rate(&self, peer: PeerId) -> u64 {
        let shown = self.peers.get(&peer).and_then(|peer| peer.bytes_per_second);
        shown.unwrap_or(UNTRIED_BYTES_PER_SECOND)
    }

    /// Keeps the rate of a download. Without a verified file that was as fast, a source has
    /// shown no more than is expected of one that was not tried.
    pub(crate) fn note_rate(&mut self, peer: PeerId, bytes_per_second: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            let limit = peer.verified_bytes_per_second.max(UNTRIED_BYTES_PER_SECOND);
            peer.bytes_per_second = Some(bytes_per_second.min(limit));
        }
    }

    /// Keeps the rate of a file that is verified.
    pub(crate) fn note_verified_rate(&mut self, peer: PeerId, bytes_per_second: u64) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.bytes_per_second = Some(bytes_per_second);
            peer.verified_bytes_per_second = bytes_per_second;
        }
    }

    /// Returns where a peer is, as far as the registry was asked.
    pub(crate) fn address(&self, peer: PeerId) -> Address {
        self.peers.get(&peer).map_or(Address::Unasked, |peer| peer.address)
    }

    /// The registry has answered where a peer is.
    pub(crate) fn note_address(&mut self, peer: PeerId, address: Address) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.address = address;
        }
    }
}

#[cfg(test)]
mod tests;
