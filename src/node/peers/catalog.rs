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
    /// first once there are more than [`PROVEN_OFFERS_KEPT_MAX`].
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
mod tests {
    use super::*;
    use crate::limits::{JOBS_MAX, KNOWN_NAMES_MAX, KNOWN_PEERS_MAX, PROVEN_OFFERS_KEPT_MAX};

    const OWN_INTERVAL: Duration = Duration::from_secs(5);
    const FROM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

    /// A catalog, and the paths that it knows.
    struct Scene {
        catalog: Catalog,
        paths: Paths,
        wanted_names: usize,
    }

    impl Scene {
        fn new() -> Self {
            Self { catalog: Catalog::new(OWN_INTERVAL), paths: Paths::default(), wanted_names: 1 }
        }

        fn hear(&mut self, now: Instant, peer: u32, name: &str) -> Hearing {
            self.hear_from(FROM, now, peer, name)
        }

        /// As [`Scene::hear`]; names that begin with `w` are wanted.
        fn hear_from(
            &mut self,
            from: SocketAddrV4,
            now: Instant,
            peer: u32,
            name: &str,
        ) -> Hearing {
            let path = self.paths.intern_name(FileName::new(name).unwrap());
            let wanted_names = name.starts_with('w').then_some(self.wanted_names);
            let heard = (PeerId(peer), path);
            let news = self.catalog.hear(&mut self.paths, now, from, heard, wanted_names);
            self.paths.sweep();
            news
        }

        /// Returns what expires: of which peer, under which name, and whether it was its last.
        fn expire(&mut self, now: Instant) -> Vec<(u32, String, bool)> {
            let gone = self.catalog.expire(&mut self.paths, now);
            let name = |path| self.paths.get(path).unwrap().to_string();
            let gone = gone.iter().map(|gone| (gone.peer.0, name(gone.path), gone.is_last));
            let gone = gone.collect();
            self.paths.sweep();
            gone
        }

        fn sources(&self, name: &str) -> Vec<u32> {
            let path = self.paths.find(name);
            path.into_iter().flat_map(|path| self.catalog.sources(path)).map(|p| p.0).collect()
        }
    }

    fn gone(peer: u32, name: &str, is_last: bool) -> (u32, String, bool) {
        (peer, name.to_owned(), is_last)
    }

    fn check(scene: &Scene) {
        let catalog = &scene.catalog;
        let Queues { hints, proven, wanted } = &catalog.queues;
        assert_eq!(hints.len() + proven.len() + wanted.len(), catalog.offers.len());
        for (keep, queue) in [(Keep::Hint, hints), (Keep::Proven, proven), (Keep::Wanted, wanted)] {
            for (at, path, peer) in queue {
                let heard = &catalog.offers[&(*path, *peer)];
                assert_eq!((heard.queued_at, heard.keep), (*at, keep));
            }
        }
        let groups = [
            catalog.paths.values().collect::<Vec<_>>(),
            catalog.peers.values().map(|peer| &peer.group).collect(),
        ];
        for groups in groups {
            let sum = |count: fn(&Group) -> usize| groups.iter().copied().map(count).sum::<usize>();
            let counts = [sum(|it| it.hints), sum(|it| it.proven), sum(|it| it.wanted)];
            assert_eq!(counts, [hints.len(), proven.len(), wanted.len()]);
        }
        let is_listed = |(path, peer): &Offered| catalog.peers[peer].paths.contains(path);
        assert!(catalog.offers.keys().all(is_listed));
        assert!(
            catalog.peers.values().all(|p| p.group.len() > 0 && p.group.len() == p.paths.len())
        );
        let sources = |group: &Group| (1..=SOURCES_PER_NAME_MAX).contains(&group.len());
        assert!(catalog.paths.values().all(sources));
        assert!(catalog.offers.len() <= KNOWN_OFFERS_MAX);
        let wanted = wanted.len();
        assert!(catalog.paths.len() <= KNOWN_NAMES_MAX + wanted);
        assert!(catalog.peers.len() <= KNOWN_PEERS_MAX + wanted);
    }

    #[test]
    fn the_first_offers_by_name_are_found_however_many_there_are() {
        let start = Instant::now();
        let mut scene = Scene::new();
        for (peer, name) in [(2, "c"), (1, "b"), (2, "a"), (1, "a"), (1, "d")] {
            scene.hear(start, peer, name);
        }
        let first = |offers_max| {
            let offers = scene.catalog.offers(&scene.paths, offers_max);
            let brief = |heard: &HeardOffer| (heard.offer.name.to_string(), heard.offer.peer.0);
            offers.iter().map(brief).collect::<Vec<_>>()
        };
        let all = [("a", 1), ("a", 2), ("b", 1), ("c", 2), ("d", 1)];
        let all = all.map(|(name, peer)| (name.to_owned(), peer));
        for count in 0..=all.len() + 1 {
            assert_eq!(first(count), all[..count.min(all.len())]);
        }
    }

    #[test]
    fn an_offer_lives_from_when_it_was_last_heard() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut catalog = Scene::new();
        assert_eq!(catalog.hear(at(0), 1, "a"), Hearing::New);
        assert_eq!(catalog.hear(at(1), 2, "a"), Hearing::New);
        assert_eq!(catalog.hear(at(9), 1, "a"), Hearing::Repeated);
        assert_eq!(catalog.expire(at(60)), []);
        assert_eq!(catalog.expire(at(61)), [gone(2, "a", true)]);
        assert_eq!(catalog.sources("a"), [1]);
        assert_eq!(catalog.catalog.next_expiry(), Some(at(69)));
        // Heard later but known longer: each goes when its own time has come.
        catalog.hear(at(62), 3, "a");
        catalog.hear(at(63), 4, "a");
        catalog.hear(at(64), 3, "a");
        assert_eq!(catalog.expire(at(69)), [gone(1, "a", true)]);
        catalog.hear(at(70), 5, "a");
        catalog.hear(at(80), 5, "b");
        assert_eq!(catalog.expire(at(122)), []);
        assert_eq!(catalog.expire(at(123)), [gone(4, "a", true)]);
        assert_eq!(catalog.expire(at(124)), [gone(3, "a", true)]);
        assert_eq!(catalog.expire(at(130)), [gone(5, "a", false)]);
        assert_eq!(catalog.expire(at(140)), [gone(5, "b", true)]);
        check(&catalog);
        assert_eq!((catalog.catalog.offers.len(), catalog.catalog.next_expiry()), (0, None));
    }

    #[test]
    fn an_offer_lives_for_three_intervals_of_its_sharer_within_bounds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // How often it is heard, and for how long it lives after that.
        for (interval, life) in [(1, 15), (5, 15), (20, 60), (30, 90), (99, 297), (200, 300)] {
            let mut scene = Scene::new();
            for round in 0..4 {
                scene.hear(at(round * interval), 1, "a");
                // A copy by another interface, which shows no interval.
                let path = scene.paths.find("a").unwrap();
                let (other, now) =
                    (SocketAddrV4::new([10, 0, 0, 1].into(), 1), at(round * interval));
                let copy_at = now + Duration::from_millis(200);
                let copy = (PeerId(1), path);
                scene.catalog.hear(&mut scene.paths, copy_at, other, copy, None);
            }
            let last = 3 * interval;
            let mut now = at(last);
            while let Some(due) = scene.catalog.next_expiry().filter(|due| *due < at(last + life)) {
                now = due.max(now + Duration::from_millis(1));
                assert_eq!(scene.expire(now), [], "{interval}");
            }
            assert_eq!(scene.catalog.next_expiry(), Some(at(last + life)), "{interval}");
            assert_eq!(scene.expire(at(last + life)), [gone(1, "a", true)]);
            check(&scene);
        }
    }

    #[test]
    fn a_flood_fills_no_table_over_its_bound_and_evicts_neither_what_is_wanted_nor_who_served() {
        let start = Instant::now();
        let mut catalog = Scene::new();
        catalog.hear(start, 7, "wanted");
        catalog.hear(start, 8, "served");
        catalog.catalog.note_success(PeerId(8), *FROM.ip());
        catalog.catalog.note_address(PeerId(7), Address::Known(*FROM.ip()));
        catalog.hear(start, 8, "served");
        for i in 0..200_000_u32 {
            catalog.hear(start, 1000 + i % 5000, &format!("file {}", i % 30_000));
            if i % 100 == 0 {
                catalog.hear(start, 10_000 + i / 100, "wanted");
            }
        }
        check(&catalog);
        assert!(catalog.sources("wanted").contains(&7));
        assert_eq!(catalog.sources("served"), [8]);
    }

    #[test]
    fn a_peer_that_served_and_offers_without_end_keeps_a_share_and_no_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut catalog = Scene::new();
        // Many ids that have served, as one host may have.
        for peer in 0..100 {
            catalog.hear(start, peer, "first");
            catalog.catalog.note_success(PeerId(peer), *FROM.ip());
        }
        for i in 0..50_000_u32 {
            catalog.hear(at(1), i % 100, &format!("file {i}"));
            assert_eq!(
                catalog.hear(at(1), 1000, &format!("wanted {}", i % 10)),
                match i < 10 {
                    true => Hearing::New,
                    false => Hearing::Repeated,
                }
            );
        }
        check(&catalog);
        assert!(catalog.catalog.queues.proven.len() <= PROVEN_OFFERS_KEPT_MAX + 1);
        // A peer that comes later has room, whether its files are wanted or not.
        for i in 0..100 {
            let name = format!("honest {i}");
            assert_eq!(catalog.hear(at(2), 2000, &name), Hearing::New);
            assert_eq!(catalog.sources(&name), [2000]);
        }
        check(&catalog);
    }

    #[test]
    fn a_borrowed_id_is_granted_nothing_that_was_earned_elsewhere_and_takes_nothing_away() {
        let start = Instant::now();
        let elsewhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1);
        let mut catalog = Scene::new();
        catalog.hear(start, 7, "served");
        catalog.catalog.note_success(PeerId(7), *FROM.ip());
        let proven = |catalog: &Scene| catalog.catalog.queues.proven.len();
        catalog.hear(start, 7, "served");
        assert_eq!(proven(&catalog), 1);
        catalog.hear_from(elsewhere, start, 7, "served");
        for i in 0..1000 {
            catalog.hear_from(elsewhere, start, 7, &format!("borrowed {i}"));
        }
        assert_eq!(proven(&catalog), 1);
        check(&catalog);
    }

    #[test]
    fn among_the_sources_of_a_name_the_address_with_the_most_loses_one() {
        let start = Instant::now();
        let other = Address::Known(Ipv4Addr::new(192, 0, 2, 1));
        let mut catalog = Scene::new();
        // The oldest is alone at its address; of all others none is known, or all are.
        for address in [Address::Unasked, Address::Nowhere, Address::Known(*FROM.ip())] {
            catalog.hear(start, 7, "wanted");
            catalog.catalog.note_address(PeerId(7), other);
            for peer in 0..1000 {
                let now = start + Duration::from_millis(peer.into());
                assert_eq!(catalog.hear(now, 1000 + peer, "wanted"), Hearing::New);
                catalog.catalog.note_address(PeerId(1000 + peer), address);
            }
            check(&catalog);
            assert!(catalog.sources("wanted").contains(&7), "{address:?}");
            catalog.expire(start + 2 * OFFER_EXPIRY_MAX);
        }
    }

    #[test]
    fn each_wanted_name_has_sources_however_many_are_wanted_and_whoever_floods() {
        let start = Instant::now();
        let mut catalog = Scene::new();
        let names: Vec<_> = (0..JOBS_MAX).map(|i| format!("wanted {i}")).collect();
        catalog.wanted_names = names.len();
        for round in 0..2 {
            for name in &names {
                // Ever new ids, and one that is honest.
                for fresh in 0..4 {
                    catalog.hear(start, 1000 + 4 * round + fresh, name);
                }
                catalog.hear(start, 7, name);
                catalog.hear(start, 8, &format!("file {round} {name}"));
            }
        }
        check(&catalog);
        let is_there = |name: &&String| catalog.sources(name).is_empty();
        assert_eq!(names.iter().find(is_there), None);
    }

    #[test]
    fn offers_that_are_repeated_outlive_a_flood_of_ones_that_are_not() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut catalog = Scene::new();
        for i in 0..20_u32 {
            catalog.hear(at(0), 7, &format!("honest {i}"));
        }
        for i in 0..200_000_u32 {
            let now = at(1 + u64::from(i) / 100);
            catalog.hear(now, 1000 + i % 4000, &format!("file {i}"));
            if i % 10_000 == 0 {
                (0..20).for_each(|i| _ = catalog.hear(now, 7, &format!("honest {i}")));
            }
        }
        check(&catalog);
        let is_there = |i: u32| !catalog.sources(&format!("honest {i}")).is_empty();
        assert!((0..20).all(is_there));
    }

    #[test]
    fn in_full_tables_new_names_and_new_peers_have_room_however_many_offers_each_old_one_has() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let names = KNOWN_NAMES_MAX as u32;
        let peers = KNOWN_PEERS_MAX as u32;
        // The offers that fill the table of names, and that of peers: each has two of them, and
        // all are repeated.
        let names: Vec<_> = (0..2 * names).map(|i| (1 + i / names, i % names)).collect();
        let peers: Vec<_> = (0..2 * peers).map(|i| (1 + i % peers, i)).collect();
        for old in [names, peers] {
            let mut catalog = Scene::new();
            let repeat = |catalog: &mut Scene, now| {
                let offers = old.iter().map(|(peer, name)| (*peer, format!("old {name}")));
                offers.for_each(|(peer, name)| _ = catalog.hear(now, peer, &name));
            };
            (0..2).for_each(|round| repeat(&mut catalog, at(5 * round)));
            let before = catalog.catalog.len();
            for i in 0..100 {
                let news = catalog.hear(at(6), 50_000 + i, &format!("new {i}"));
                assert_eq!(news, Hearing::New, "{i}");
            }
            check(&catalog);
            // Each has taken the place of one name or peer, which had two offers.
            assert!(catalog.catalog.len() >= before - 100, "{}", catalog.catalog.len());
            assert!((0..100).all(|i| catalog.sources(&format!("new {i}")) == [50_000 + i]));
        }
    }

    #[test]
    fn a_rate_that_is_not_verified_counts_up_to_one_that_is() {
        let mut catalog = Scene::new();
        catalog.hear(Instant::now(), 7, "a");
        let (peer, untried) = (PeerId(7), UNTRIED_BYTES_PER_SECOND);
        let mut expected = |verified: Option<u64>, shown| {
            verified.into_iter().for_each(|rate| catalog.catalog.note_verified_rate(peer, rate));
            catalog.catalog.note_rate(peer, shown);
            catalog.catalog.expected_rate(peer)
        };
        assert_eq!(expected(None, 60 * untried), untried);
        assert_eq!(expected(Some(50 * untried), 40 * untried), 40 * untried);
        assert_eq!(expected(None, 60 * untried), 50 * untried);
        assert_eq!(expected(None, 100), 100);
        assert_eq!(expected(None, 50 * untried), 50 * untried);
        assert_eq!(expected(Some(100), 60 * untried), untried);
    }

    #[test]
    fn a_peer_that_served_keeps_its_share_however_many_files_it_has() {
        let start = Instant::now();
        let mut catalog = Scene::new();
        let files = 2 * PROVEN_PEER_OFFERS_MAX;
        let repeat = |catalog: &mut Scene| {
            (0..files).for_each(|i| _ = catalog.hear(start, 7, &format!("served {i}")));
        };
        repeat(&mut catalog);
        catalog.catalog.note_success(PeerId(7), *FROM.ip());
        repeat(&mut catalog);
        assert_eq!(catalog.catalog.queues.proven.len(), PROVEN_PEER_OFFERS_MAX);
        (0..100_000).for_each(|i| _ = catalog.hear(start, 1000 + i, &format!("file {i}")));
        check(&catalog);
        let is_there = |i: &usize| catalog.sources(&format!("served {i}")) == [7];
        assert_eq!((0..files).filter(is_there).count(), PROVEN_PEER_OFFERS_MAX);
    }

    #[test]
    fn to_make_room_for_a_peer_none_is_evicted_whose_other_offers_are_wanted_or_proven() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut catalog = Scene::new();
        catalog.hear(start, 7, "served");
        catalog.catalog.note_success(PeerId(7), *FROM.ip());
        catalog.hear(start, 7, "served");
        catalog.hear(start, 8, "wanted");
        // As if from elsewhere, and not repeated.
        let elsewhere = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1);
        for i in 0..100 {
            catalog.hear_from(elsewhere, start, 7 + i % 2, &format!("hint {i}"));
        }
        // A peer of which one file is gone, and another one is not.
        catalog.hear(start, 9, "gone");
        for i in 0..3 * KNOWN_PEERS_MAX as u32 {
            if i % 1000 == 0 {
                catalog.hear(at(2), 9, "there");
            }
            catalog.hear(at(1), 1000 + i, &format!("file {i}"));
        }
        check(&catalog);
        assert_eq!((catalog.sources("served"), catalog.sources("wanted")), (vec![7], vec![8]));
        assert_eq!(catalog.sources("there"), [9]);
    }
}
