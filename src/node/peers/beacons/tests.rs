use std::time::Duration;

use super::*;
use crate::content::ContentId;
use crate::limits::{
    ANSWER_BURST, ANSWERS_ENOUGH, KNOWN_BEACONS_MAX, PROVEN_ADDRESSES_MAX, SEARCHES_MAX, TAGS_MAX,
    UNPROVEN_DIALS_MAX,
};
use crate::node::scene::settings;
use crate::node::{BeaconSettings, PeerKind, PeerSettings};
use crate::wire::PeerId;
use crate::wire::v1::{BeaconKey, PeerName, Secret, TagKey};

const ETH0: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const ETH1: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const OURS: u64 = 7;

pub(super) struct Scene {
    pub(super) ctx: Context,
    pub(super) beacons: Beacons,
    start: Instant,
    key: Option<BeaconKey>,
}

/// A datagram that was sent: after how many milliseconds, from where, and what.
type Sent = (u64, From, Beacon);

impl Scene {
    /// Nothing is sent yet.
    pub(super) fn of(seed: u64, key: Option<BeaconKey>) -> Self {
        let start = Instant::now();
        let beacons = BeaconSettings {
            keys: key.clone().into_iter().collect(),
            is_open: key.is_none(),
            ..BeaconSettings::open()
        };
        let beacons = Some(beacons);
        let settings = PeerSettings { beacons, seed, ..settings(PeerKind::Fixed) };
        let mut ctx = Context::new(start, settings, 1);
        let beacons = Beacons::new(&mut ctx);
        Self { ctx, beacons, start, key }
    }

    /// The first beacon is sent.
    fn new() -> Self {
        let mut scene = Self::of(1, None);
        assert_eq!(scene.run(0).len(), 1);
        scene
    }

    fn on_two_networks() -> Self {
        let mut scene = Self::of(1, None);
        scene.ctx.interfaces = Some(vec![interface("eth0", ETH0), interface("eth1", ETH1)]);
        assert_eq!(scene.run(0).len(), 2);
        scene
    }

    pub(super) fn at_ms(&self) -> u64 {
        (self.ctx.now - self.start).as_millis() as u64
    }

    /// Lets time go on until then, and returns the datagrams that are sent.
    pub(super) fn run_raw(&mut self, until_ms: u64) -> Vec<Box<[u8]>> {
        let until = self.start + Duration::from_millis(until_ms);
        while let Some(at) = self.ctx.deadlines.next().filter(|at| *at <= until) {
            self.ctx.now = self.ctx.now.max(at);
            self.ctx.deadlines.pop(self.ctx.now);
            self.beacons.on_wake(&mut self.ctx);
        }
        self.ctx.now = until;
        let sent = std::iter::from_fn(|| self.ctx.poll_action());
        let datagrams = sent.filter_map(|action| match action {
            Action::SendBeacon { datagram, .. } => Some(datagram),
            _ => None,
        });
        datagrams.collect()
    }

    /// Lets time go on until then, and returns what is sent.
    fn run(&mut self, until_ms: u64) -> Vec<Sent> {
        let until = self.start + Duration::from_millis(until_ms);
        let mut sent = Vec::new();
        while let Some(at) = self.ctx.deadlines.next().filter(|at| *at <= until) {
            self.ctx.now = self.ctx.now.max(at);
            assert_eq!(self.ctx.deadlines.pop(self.ctx.now), Some(Wake::Beacons));
            self.beacons.on_wake(&mut self.ctx);
            sent.extend(self.sent());
        }
        self.ctx.now = until;
        sent
    }

    fn sent(&mut self) -> Vec<Sent> {
        let (at_ms, key) = (self.at_ms(), self.key.clone());
        let actions = std::iter::from_fn(|| self.ctx.poll_action());
        let sent = actions.filter_map(|action| match action {
            Action::SendBeacon { from, datagram } => {
                Some((at_ms, from, Beacon::decode(&datagram, key.as_ref()).unwrap()))
            }
            _ => None,
        });
        sent.collect()
    }

    fn hear_from(&mut self, from: Ipv4Addr, beacon: &Beacon) -> Option<Heard> {
        let datagram = beacon.encode(self.key.as_ref());
        self.beacons.on_datagram(&mut self.ctx, SocketAddrV4::new(from, 8001), &datagram)
    }

    fn hear(&mut self, beacon: &Beacon) -> Option<Heard> {
        self.hear_from(ip(beacon.instance), beacon)
    }

    fn known(&self) -> Vec<(u64, Vec<u16>)> {
        let ports = |it: HeardPeer| it.addresses.iter().map(SocketAddrV4::port).collect();
        let sharers = self.beacons.sharers(self.ctx.now).into_iter();
        sharers.map(|it| (it.instance, ports(it))).collect()
    }
}

fn interface(name: &str, address: Ipv4Addr) -> Interface {
    Interface::new(name.into(), (address, 16), None, false, true)
}

/// The address of an instance in these tests.
fn ip(instance: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(ETH0.to_bits() & !0xffff | instance as u32 & 0xffff)
}

pub(super) fn address(instance: u64, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(ip(instance), port)
}

pub(super) fn tag(number: u32) -> Tag {
    let mut tag = [0; 8];
    tag[..4].copy_from_slice(&number.to_be_bytes());
    Tag(tag)
}

fn tags(numbers: impl IntoIterator<Item = u32>) -> Vec<Tag> {
    numbers.into_iter().map(tag).collect()
}

pub(super) fn of(kind: BeaconKind, instance: u64, tags: Vec<Tag>) -> Beacon {
    Beacon {
        kind,
        port: 9000,
        peer: PeerId(3),
        instance,
        counter: 1,
        generation: 5,
        files: 2,
        name: PeerName::none(),
        tags,
    }
}

pub(super) fn beacon(instance: u64, tags: Vec<Tag>) -> Beacon {
    of(BeaconKind::Beacon, instance, tags)
}

fn query(instance: u64, tags: Vec<Tag>) -> Beacon {
    of(BeaconKind::Query, instance, tags)
}

fn kinds(sent: &[Sent]) -> Vec<BeaconKind> {
    sent.iter().map(|(_, _, beacon)| beacon.kind).collect()
}

#[test]
fn a_beacon_tells_all_about_us_some_five_seconds_after_the_last() {
    let mut scene = Scene::of(1, None);
    scene.beacons.set_shown(4, 9);
    let sent = scene.run(60_000);
    assert_eq!(sent[0].0, 0);
    let (first, second) = (&sent[0].2, &sent[1].2);
    let Beacon { kind, port, peer, instance, generation, files, .. } = *first;
    assert_eq!((kind, port, peer, instance), (BeaconKind::Beacon, 1, PeerId(7), OURS));
    assert_eq!((generation, files), (9, 4));
    assert!(first.tags.is_empty() && second.counter > first.counter);
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (4000..=6000).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap < 4800) && gaps.iter().any(|gap| *gap > 5200), "{gaps:?}");
}

#[test]
fn each_interface_that_is_up_gets_a_datagram_of_its_own_counter() {
    let mut scene = Scene::on_two_networks();
    let mut down = interface("eth2", Ipv4Addr::new(10, 79, 0, 1));
    down.is_up = false;
    let again = interface("eth0", Ipv4Addr::new(10, 77, 0, 2));
    scene.ctx.interfaces.as_mut().unwrap().extend([down, again]);
    let sent = scene.run(6000);
    let sent: Vec<_> = sent.iter().map(|(_, from, it)| (from.unwrap(), it.counter)).collect();
    assert_eq!(sent, [(ETH0, 3), (ETH1, 4)]);
}

#[test]
fn a_search_is_asked_for_at_once_and_three_times_more_until_it_is_found() {
    let mut scene = Scene::new();
    scene.beacons.look_for(&mut scene.ctx, tag(1));
    let sent = scene.run(3000);
    assert!(sent.iter().all(|(_, _, it)| it.kind == BeaconKind::Query && it.tags == [tag(1)]));
    // The bucket was one short, as a beacon was just sent.
    assert_eq!(sent.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 250, 750, 1750]);
    let later = scene.run(10_000);
    assert!(matches!(kinds(&later)[..], [BeaconKind::Query] | [BeaconKind::Query, _]));

    scene.beacons.look_for(&mut scene.ctx, tag(2));
    assert_eq!(scene.run(10_100).len(), 1);
    // A peer that looks for it, too, has not got it.
    let heard = scene.hear(&query(20, tags([2]))).unwrap();
    assert_eq!((heard.tags, heard.is_query), (tags([2]), true));
    assert_eq!(scene.run(10_300).len(), 1);
    let heard = scene.hear(&beacon(20, tags([5, 2]))).unwrap();
    assert_eq!((heard.tags, heard.is_query, heard.is_new), (tags([2]), false, false));
    assert_eq!(scene.hear(&beacon(20, tags([2]))).unwrap().tags, []);
    assert_eq!(kinds(&scene.run(14_000)), []);
    let sources = |tag| scene.beacons.sources_of(scene.ctx.now, tag).len();
    assert_eq!((sources(tag(2)), sources(tag(5)), sources(tag(1))), (1, 1, 0));
    assert_eq!(scene.beacons.seekers_of(scene.ctx.now, tag(2)).len(), 1);
}

#[test]
fn what_is_looked_for_twice_is_looked_for_until_both_have_stopped() {
    let mut scene = Scene::new();
    scene.beacons.look_for(&mut scene.ctx, tag(1));
    scene.beacons.look_for(&mut scene.ctx, tag(1));
    scene.beacons.stop_looking(tag(1));
    assert_eq!(kinds(&scene.run(100)), [BeaconKind::Query]);
    scene.beacons.stop_looking(tag(1));
    scene.beacons.stop_looking(tag(1));
    assert!(kinds(&scene.run(10_000)).iter().all(|kind| *kind == BeaconKind::Beacon));
}

#[test]
fn more_tags_than_a_query_takes_are_asked_for_in_rotation() {
    let mut scene = Scene::new();
    for number in 0..SEARCHES_MAX as u32 + 9 {
        scene.beacons.look_for(&mut scene.ctx, tag(number));
    }
    assert_eq!(scene.beacons.searches.next_tags(scene.ctx.now).len(), TAGS_MAX);
    let rounds = SEARCHES_MAX / TAGS_MAX;
    let mut asked = std::collections::BTreeMap::new();
    for round in 0..2 * rounds as u64 {
        let now = scene.start + Duration::from_secs(1 + round);
        for tag in scene.beacons.searches.next_tags(now) {
            *asked.entry(tag).or_insert(0) += 1;
        }
    }
    assert_eq!(asked.len(), SEARCHES_MAX);
    assert!(asked.values().all(|times| *times == 2 || *times == 1 || *times == 3));
}

#[test]
fn datagrams_of_ours_of_others_networks_and_of_no_meaning_lead_to_nothing() {
    let mut scene = Scene::on_two_networks();
    assert!(scene.hear(&beacon(OURS, Vec::new())).is_none());
    let far = Ipv4Addr::new(192, 0, 2, 1);
    assert!(scene.hear_from(far, &beacon(20, Vec::new())).is_none());
    let mut bytes = beacon(20, Vec::new()).encode(None);
    let from = address(20, 8001);
    bytes[4] = b'Y';
    assert!(scene.beacons.on_datagram(&mut scene.ctx, from, &bytes).is_none());
    let sealed = beacon(20, Vec::new()).encode(Some(&BeaconKey::new(&[1; 32])));
    assert!(scene.beacons.on_datagram(&mut scene.ctx, from, &sealed).is_none());
    assert!(scene.ctx.poll_action().is_none(), "they are no fault");
    bytes[4] = b'B';
    assert!(scene.beacons.on_datagram(&mut scene.ctx, from, &bytes[1..]).is_none());
    assert!(matches!(
        scene.ctx.poll_action(),
        Some(Action::Report(Report::DatagramDropped { .. }))
    ));
    assert_eq!(scene.beacons.known(), 0);
    assert!(scene.hear(&beacon(20, Vec::new())).unwrap().is_new);
    assert!(scene.hear_from(Ipv4Addr::LOCALHOST, &beacon(21, Vec::new())).unwrap().is_new);
    scene.ctx.interfaces = None;
    assert!(scene.hear_from(far, &beacon(22, Vec::new())).unwrap().is_new);
    scene.ctx.settings.beacons = None;
    assert!(scene.hear(&beacon(23, Vec::new())).is_none());
}

#[test]
fn a_record_expires_or_is_removed_by_its_own_good_bye() {
    let mut scene = Scene::new();
    for instance in [20, 21] {
        assert!(scene.hear(&beacon(instance, tags([1]))).unwrap().is_new);
    }
    scene.run(10_000);
    assert!(!scene.hear(&beacon(21, Vec::new())).unwrap().is_new);
    scene.run(14_999);
    assert_eq!(scene.known().len(), 2);
    scene.run(15_000);
    assert_eq!(scene.known(), [(21, vec![9000])]);
    // What was shown so long ago counts no more.
    assert_eq!(scene.beacons.sources_of(scene.ctx.now, tag(1)), []);
    assert!(scene.hear(&beacon(20, Vec::new())).unwrap().is_new);
    scene.hear(&of(BeaconKind::Leaving, 22, Vec::new()));
    let other_port = Beacon { port: 9001, ..of(BeaconKind::Leaving, 21, Vec::new()) };
    scene.hear(&other_port);
    scene.hear_from(ip(20), &of(BeaconKind::Leaving, 21, Vec::new()));
    assert_eq!(scene.beacons.known(), 2);
    scene.hear(&of(BeaconKind::Leaving, 21, Vec::new()));
    assert_eq!(scene.known(), [(20, vec![9000])]);
}

#[test]
fn a_full_table_evicts_the_record_heard_longest_ago_that_no_hello_has_proven() {
    let mut scene = Scene::new();
    let numbered = |number: u64| beacon(1000 + number, Vec::new());
    for number in 0..KNOWN_BEACONS_MAX as u64 {
        scene.run(scene.at_ms() + 1);
        scene.hear(&numbered(number));
    }
    let now = scene.ctx.now;
    scene.beacons.note_hello(now, address(1000, 9000), 1000);
    let known = |scene: &Scene| scene.known().iter().map(|it| it.0).collect::<Vec<_>>();
    assert!(scene.hear(&numbered(5000)).unwrap().is_new);
    assert_eq!(known(&scene)[..2], [1000, 1002]);
    scene.hear(&numbered(2));
    scene.hear(&numbered(5001));
    assert_eq!(known(&scene)[..3], [1000, 1002, 1004]);
    assert_eq!(scene.beacons.known(), KNOWN_BEACONS_MAX);
    for number in known(&scene) {
        scene.beacons.note_hello(now, address(number, 9000), number);
    }
    assert!(scene.hear(&numbered(5002)).is_none(), "all are proven");
}

#[test]
fn records_are_joined_once_hellos_have_proven_the_instance_at_each_address() {
    let mut scene = Scene::new();
    let at = |port| Beacon { port, ..beacon(20, Vec::new()) };
    for port in 9000..9003 {
        scene.hear(&at(port));
        scene.run(scene.at_ms() + 10);
    }
    assert_eq!(scene.known(), [(20, vec![9000]), (20, vec![9001]), (20, vec![9002])]);
    let now = scene.ctx.now;
    scene.beacons.note_hello(now, address(20, 9000), 20);
    assert_eq!(scene.known(), [(20, vec![9000]), (20, vec![9001]), (20, vec![9002])]);
    scene.beacons.note_hello(now, address(20, 9001), 20);
    assert_eq!(scene.known(), [(20, vec![9001, 9000]), (20, vec![9002])]);
    for port in 9003..9006 {
        scene.run(scene.at_ms() + 10);
        scene.hear(&at(port));
        scene.beacons.note_hello(now, address(20, port), 20);
    }
    let proven = vec![9005, 9004, 9003, 9001];
    assert_eq!(proven.len(), PROVEN_ADDRESSES_MAX);
    assert_eq!(scene.known(), [(20, proven), (20, vec![9002])]);
    // Another instance is there: the peer was restarted.
    scene.hear_from(ip(20), &Beacon { port: 9005, ..beacon(276, Vec::new()) });
    scene.beacons.note_hello(now, address(20, 9005), 276);
    let known = [(20, vec![9004, 9003, 9001]), (20, vec![9002]), (276, vec![9005])];
    assert_eq!(scene.known(), known);
}

#[test]
fn with_a_secret_what_does_not_count_up_is_dropped_and_so_is_what_has_no_mac() {
    let mut scene = Scene::of(1, Some(BeaconKey::new(&[1; 32])));
    let counted = |counter| Beacon { counter, ..beacon(20, Vec::new()) };
    let leaving = |counter| Beacon { counter, ..of(BeaconKind::Leaving, 20, Vec::new()) };
    assert!(scene.hear(&counted(5)).unwrap().is_new);
    assert!(scene.hear(&counted(5)).is_none() && scene.hear(&counted(4)).is_none());
    // Of the whole instance, wherever it is.
    assert!(scene.hear_from(ip(21), &counted(5)).is_none());
    assert!(scene.hear_from(ip(21), &counted(6)).unwrap().is_new);
    assert!(scene.hear(&counted(7)).is_some());
    scene.hear(&leaving(7));
    assert_eq!(scene.beacons.known(), 2);
    scene.hear(&leaving(8));
    assert_eq!(scene.beacons.known(), 1);
    let open = counted(9).encode(None);
    assert!(scene.beacons.on_datagram(&mut scene.ctx, address(20, 8001), &open).is_none());
    let mut open = Scene::new();
    assert!(open.hear(&counted(5)).is_some() && open.hear(&counted(5)).is_some());
}

#[test]
fn a_beacon_shows_what_was_queried_not_long_ago_and_is_there_the_last_queried_first() {
    let mut scene = Scene::new();
    (0..40).for_each(|number| scene.beacons.show(tag(number)));
    scene.hear(&query(20, tags(0..32)));
    scene.run(1);
    scene.hear(&query(21, tags([50, 35, 60])));
    let sent = scene.run(1000);
    let shown: Vec<_> = sent.into_iter().map(|(_, _, it)| it.tags).collect();
    assert_eq!(shown, [tags([35].into_iter().chain(0..31))]);
    // It came meanwhile, and something else is gone.
    scene.beacons.show(tag(60));
    scene.beacons.show(tag(60));
    scene.beacons.hide(tag(60));
    scene.beacons.hide(tag(0));
    let next = &scene.run(7000)[0].2;
    assert_eq!(next.tags, tags([35, 60].into_iter().chain(1..31)));
    scene.run(10_000);
    scene.beacons.next_at = scene.ctx.now;
    scene.beacons.arm(&mut scene.ctx);
    assert_eq!(scene.run(10_000)[0].2.tags, tags([35, 60]));
    scene.run(10_001);
    scene.beacons.next_at = scene.ctx.now;
    scene.beacons.arm(&mut scene.ctx);
    assert_eq!(scene.run(11_000)[0].2.tags, []);
}

#[test]
fn a_query_is_answered_within_its_time_and_with_all_heard_before() {
    let mut delays = Vec::new();
    for seed in 0..40 {
        let mut scene = Scene::of(seed, None);
        scene.run(0);
        scene.beacons.show(tag(1));
        assert_eq!(scene.hear(&query(20, tags([2]))).map(|it| it.is_new), Some(true));
        assert_eq!(scene.run(1000), [], "it has not got that");
        (21..80).for_each(|instance| _ = scene.hear(&beacon(instance, Vec::new())));
        scene.hear(&query(80, tags([1, 2])));
        scene.hear(&query(81, tags([1])));
        let sent = scene.run(3000);
        assert_eq!((sent.len(), &sent[0].2.tags), (1, &tags([1])));
        delays.push(sent[0].0 - 1000);
    }
    // 20 ms, and 1 ms for each of 60 or 61 peers; the sooner of two counts.
    assert!(delays.iter().all(|delay| *delay <= 81), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay > 40), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay < 20), "{delays:?}");
}

#[test]
fn answers_come_within_a_second_however_many_are_known() {
    let mut scene = Scene::new();
    scene.beacons.show(tag(1));
    for instance in 1000..4000 {
        scene.hear(&beacon(instance, Vec::new()));
    }
    let delays: Vec<_> = (0..10)
        .map(|round| {
            scene.run(10_000 * round);
            scene.hear(&query(20, tags([1])));
            scene.run(10_000 * round + 1000)
        })
        .collect();
    assert!(delays.iter().all(|sent| !sent.is_empty()), "{delays:?}");
}

#[test]
fn enough_answers_of_others_or_a_beacon_of_ours_make_one_needless() {
    let cases: [(Vec<Tag>, usize, usize); 5] = [
        (tags([1, 2]), ANSWERS_ENOUGH, 0),
        (tags([1, 2, 9]), ANSWERS_ENOUGH, 0),
        (tags([1, 2]), ANSWERS_ENOUGH - 1, 1),
        (tags([1, 2, 3]), ANSWERS_ENOUGH, 1),
        (Vec::new(), ANSWERS_ENOUGH, 1),
    ];
    for (queried, others, answers) in cases {
        let mut scene = Scene::new();
        (1..4).for_each(|number| scene.beacons.show(tag(number)));
        scene.hear(&query(20, queried));
        for _ in 0..2 {
            // One that repeats itself counts once.
            (30..30 + others as u64).for_each(|it| _ = scene.hear(&beacon(it, tags([2, 7, 1]))));
        }
        assert_eq!(scene.run(1000).len(), answers);
    }
    let mut scene = Scene::new();
    scene.hear(&query(20, Vec::new()));
    scene.beacons.next_at = scene.ctx.now;
    scene.beacons.arm(&mut scene.ctx);
    assert_eq!(scene.run(1000).len(), 1, "the regular one is an answer, too");
}

#[test]
fn an_answer_goes_to_the_network_of_the_query_alone_and_in_a_bounded_number() {
    let mut scene = Scene::on_two_networks();
    scene.beacons.show(tag(1));
    let mut sent = Vec::new();
    for at_ms in 0..3000 {
        scene.hear(&query(20, tags([1])));
        sent.extend(scene.run(at_ms));
    }
    assert!(sent.iter().all(|(_, from, _)| *from == Some(ETH0)));
    let least = ANSWER_BURST as usize + 28;
    assert!((least..=ANSWER_BURST as usize + 30).contains(&sent.len()), "{}", sent.len());
    // No peer there hears us.
    scene.hear_from(Ipv4Addr::LOCALHOST, &query(21, tags([1])));
    scene.run(3100);
    assert!(scene.beacons.answers.next_at().is_none());
}

#[test]
fn few_unproven_dials_run_at_once_and_none_to_a_port_of_the_system_or_soon_after_a_failure() {
    let mut scene = Scene::new();
    let (start, second) = (scene.start, Duration::from_secs(1));
    let beacons = &mut scene.beacons;
    assert!(!beacons.begin_dial(start, address(20, 0)));
    assert!(!beacons.begin_dial(start, address(20, 1023)));
    let there = |number: usize| address(20, 1024 + number as u16);
    assert!((0..UNPROVEN_DIALS_MAX).all(|number| beacons.begin_dial(start, there(number))));
    assert!(!beacons.begin_dial(start, there(99)));
    beacons.note_dial_failed(start, there(0));
    assert!(!beacons.begin_dial(start + 9 * second, there(0)));
    assert!(beacons.begin_dial(start, there(99)));
    beacons.note_hello(start, there(1), 20);
    assert!(beacons.begin_dial(start + 10 * second, there(0)));
    assert!(!beacons.begin_dial(start, there(2)), "it is under way");
    let privileged = Beacon { port: 80, ..beacon(20, Vec::new()) };
    scene.hear(&privileged);
    scene.beacons.note_hello(start, address(20, 80), 20);
    assert!(scene.beacons.begin_dial(start, address(20, 80)), "it is proven");
    scene.beacons.note_dial_failed(start, address(20, 80));
    assert!(!scene.beacons.begin_dial(start, address(20, 80)));
}

#[test]
fn good_bye_is_said_once_by_a_peer_that_was_heard() {
    let mut scene = Scene::of(1, None);
    scene.beacons.leave(&mut scene.ctx);
    assert_eq!(scene.sent(), []);
    let mut scene = Scene::new();
    scene.beacons.look_for(&mut scene.ctx, tag(1));
    scene.beacons.leave(&mut scene.ctx);
    let sent = scene.sent();
    assert_eq!((kinds(&sent), &sent[0].2.tags), (vec![BeaconKind::Leaving], &Vec::new()));
}

#[test]
fn an_interface_that_came_up_is_told_at_once() {
    let mut scene = Scene::on_two_networks();
    scene.run(1500);
    scene.beacons.on_interfaces(&mut scene.ctx, false);
    assert_eq!(scene.run(1500), []);
    scene.beacons.on_interfaces(&mut scene.ctx, true);
    assert_eq!(scene.run(1500).len(), 2);
}

#[test]
fn tags_are_those_of_the_settings() {
    let settings = BeaconSettings::open();
    let id = ContentId([3; 32]);
    let tags = |settings: &BeaconSettings| -> Vec<Tag> {
        settings.tag_keys.iter().map(|key| key.of_content(&id)).collect()
    };
    let open = TagKey::new(None).of_content(&id);
    assert_eq!(tags(&settings), [open]);
    let secrets = [Secret::new([0; 32]), Secret::new([1; 32])];
    let [one, other] = secrets.each_ref().map(|secret| secret.tag_key().of_content(&id));
    assert_eq!(tags(&BeaconSettings::of_group(&secrets, false)), [one, other]);
    assert_eq!(tags(&BeaconSettings::of_group(&secrets, true)), [one, other, open]);
    assert!(one != other && one != open && other != open);
}

/// Whatever is heard, looked for or changed: on each interface a bucket of 4 and one of 10, and
/// then 1 and 10 a second.
#[test]
fn at_most_eleven_datagrams_a_second_are_sent_on_each_interface() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut scene = Scene::of(seed, None);
        scene.ctx.interfaces = Some(vec![interface("eth0", ETH0), interface("eth1", ETH1)]);
        let mut sent = Vec::new();
        (0..8).for_each(|number| scene.beacons.show(tag(number)));
        let mut at_ms = 0;
        while at_ms < 20_000 {
            let pause_ms = if rng.bool() { 3 } else { 300 };
            at_ms += rng.u64(..pause_ms);
            sent.extend(scene.run(at_ms));
            let some_tag = tag(rng.u32(..12));
            match rng.u32(..12) {
                0 => scene.beacons.look_for(&mut scene.ctx, some_tag),
                1 => scene.beacons.stop_looking(some_tag),
                2 => scene.beacons.set_shown(rng.u32(..), rng.u64(..)),
                3 => scene.beacons.on_interfaces(&mut scene.ctx, rng.bool()),
                number => {
                    let kind = if number < 11 { BeaconKind::Query } else { BeaconKind::Beacon };
                    let shown = (0..rng.u32(..4)).map(|_| tag(rng.u32(..12))).collect();
                    let from = if rng.bool() { ETH0 } else { ETH1 };
                    let instance = rng.u64(100..140);
                    scene.hear_from(
                        Ipv4Addr::from_bits(from.to_bits() + 9),
                        &of(kind, instance, shown),
                    );
                }
            }
        }
        for on in [ETH0, ETH1] {
            let times: Vec<_> = sent.iter().filter(|it| it.1 == Some(on)).map(|it| it.0).collect();
            assert!(times.len() > 50, "{}", times.len());
            for (first, begin_ms) in times.iter().enumerate() {
                for (last, end_ms) in times.iter().enumerate().skip(first) {
                    let most = 14 + (end_ms - begin_ms) * 11 / 1000;
                    assert!((last - first) as u64 <= most, "{begin_ms} to {end_ms}");
                }
            }
        }
    }
}
