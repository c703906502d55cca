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
    fn hear_from(&mut self, from: SocketAddrV4, now: Instant, peer: u32, name: &str) -> Hearing {
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
    assert!(catalog.peers.values().all(|p| p.group.len() > 0 && p.group.len() == p.paths.len()));
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
            let (other, now) = (SocketAddrV4::new([10, 0, 0, 1].into(), 1), at(round * interval));
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
