//! Row 12 with the deadlines that users have: processes that stand still for 35 s in the
//! middle of a transfer, as with SIGSTOP; and sources at either side of the minimum rate.
//! Nothing else goes wrong, so each deadline passes when it is due.
//!
//! A jump of a host's clock is nothing to a node, which is told a time that only runs
//! forward. The one look at the clock of the day is at the age of a file that changed, and
//! has unit tests in `storage::hashing`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use p2pfs::limits::{Limits, PROGRESS_TIMEOUT, RATE_WINDOW};
use p2pfs::node::PeerSettings;
use p2pfs::proto::Timer;
use p2pfs::wire::v0::FileName;

use crate::host::{Host, Role};
use crate::network::GOOD_LINK;
use crate::outages::KERNEL_PATIENCE_US;
use crate::outside::{Outside, digest_of};
use crate::queue::{Event, HostIndex};
use crate::scenario::draw_content;
use crate::stream::{Link, Readable};
use crate::world::World;

const REGISTRY: HostIndex = 0;
const SOURCE: HostIndex = 1;
const DOWNLOADER: HostIndex = 2;
/// Another source, which each test starts when it likes.
const ANOTHER: HostIndex = 3;

const STANDSTILL: Duration = Duration::from_secs(35);
/// What was on its way when someone stopped, and a loop that wakes up a little late.
const SLACK: Duration = Duration::from_secs(3);
const OFFER_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(120);
/// What fits into a stream: little, so that nothing is on its way for long.
const CAPACITY_BYTES: usize = 64 * 1024;

/// A registry, a source and a peer that wants its file.
struct Stage {
    world: World,
    name: FileName,
    /// Another file, which nobody wants yet and only the source has.
    later: FileName,
    /// Of connections to the source.
    link: Link,
}

impl Stage {
    fn new(file_bytes: usize, bytes_per_s: u64) -> Self {
        let [name, later] = ["file", "later"].map(|name| FileName::new(name).expect("legal"));
        let world = World::without_faults(|out| {
            let content = draw_content(&mut out.rng, file_bytes);
            let mut hosts = vec![Host::new(0, address(0), Role::Registry(Limits::REGISTRY))];
            hosts.extend((SOURCE..=ANOTHER).map(peer));
            hosts[DOWNLOADER].wishes.insert(name);
            put(out, &mut hosts[SOURCE], name, content.clone());
            put(out, &mut hosts[ANOTHER], name, content);
            put(out, &mut hosts[SOURCE], later, b"later".to_vec());
            hosts
        });
        let link = Link { bytes_per_s, capacity_bytes: CAPACITY_BYTES, ..GOOD_LINK };
        let mut stage = Self { world, name, later, link };
        [REGISTRY, SOURCE, DOWNLOADER].into_iter().for_each(|host| stage.start(host));
        stage
    }

    fn start(&mut self, host: HostIndex) {
        self.world.out.queue.put(self.world.out.now_us, Event::Start(host));
        self.until("it runs", |world| world.hosts[host].process.is_some());
    }

    /// Goes on until something is so; how long that took.
    #[track_caller]
    fn until(&mut self, what: &str, is_so: impl Fn(&World) -> bool) -> Duration {
        let began = self.now();
        while !is_so(&self.world) {
            assert!(self.now() - began < PATIENCE, "waited in vain: {what}");
            self.world.step();
            let out = &mut self.world.out;
            for key in out.network.keys() {
                if out.network.addresses(key).is_some_and(|(_, to)| to == address(SOURCE))
                    && let Some(connection) = out.network.connections.get_mut(&key)
                {
                    connection.link = self.link;
                }
            }
        }
        self.now() - began
    }

    /// In the middle of the transfer a process stops for a while.
    fn stop_in_the_middle(&mut self, host: HostIndex) {
        self.until("a part of the file is there", |world| {
            let process = world.hosts[DOWNLOADER].process.as_ref();
            process.is_some_and(|process| process.partial_bytes() > 100_000)
        });
        let until_us = self.world.out.now_us + STANDSTILL.as_micros() as u64;
        self.world.stand_still(host, until_us);
    }

    fn stands_still(&self, host: HostIndex) -> bool {
        self.world.hosts[host].frozen_until_us > self.world.out.now_us
    }

    /// Until a process gives a connection up for this.
    #[track_caller]
    fn until_timed_out(&mut self, host: HostIndex, timer: Timer) -> Duration {
        self.until("a deadline passes", |world| process_of(world, host).timeouts.contains(&timer))
    }

    /// Until the file is there, which then has to be right.
    #[track_caller]
    fn until_fetched(&mut self, name: FileName) -> Duration {
        let waited = self.until("the file is there", |world| {
            process_of(world, DOWNLOADER).committed.contains(&name)
        });
        let digest = self.world.hosts[DOWNLOADER].disk.digest(&name);
        let is_right = digest.is_some_and(|digest| self.world.out.truth.holds(&name, &digest));
        assert!(is_right, "{name} is wrong");
        waited
    }

    fn now(&self) -> Duration {
        Duration::from_micros(self.world.out.now_us)
    }
}

fn process_of(world: &World, host: HostIndex) -> &crate::checks::Ledger {
    &world.hosts[host].process.as_ref().expect("it runs").ledger
}

fn address(host: HostIndex) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1 + host as u8), 6000)
}

fn peer(index: HostIndex) -> Host {
    let settings = kit::peer_settings(index as u32, address(index).port(), address(REGISTRY));
    let settings = PeerSettings { offer_interval: OFFER_INTERVAL, ..settings };
    Host::new(index, address(index), Role::Peer(Box::new(settings)))
}

fn put(out: &mut Outside, host: &mut Host, name: FileName, content: Vec<u8>) {
    out.truth.add(name, digest_of(&content));
    host.disk.put(out.now_us, name, content);
}

fn on_time(deadline: Duration) -> RangeInclusive<Duration> {
    deadline..=deadline + SLACK
}

#[test]
fn a_source_that_stands_still_is_left_and_serves_again_when_it_wakes() {
    let mut stage = Stage::new(2_000_000, 50_000);
    stage.stop_in_the_middle(SOURCE);
    let waited = stage.until_timed_out(DOWNLOADER, Timer::Progress);
    assert!(on_time(PROGRESS_TIMEOUT).contains(&waited), "left after {waited:?}");
    stage.start(ANOTHER);
    stage.until_fetched(stage.name);
    assert!(stage.stands_still(SOURCE), "the other source was asked too late");

    let offers_before = process_of(&stage.world, SOURCE).offers;
    stage.until("it wakes", |world| world.hosts[SOURCE].frozen_until_us <= world.out.now_us);
    let woke = stage.now();
    stage.world.out.queue.put(woke.as_micros() as u64, Event::Wish(DOWNLOADER, stage.later));
    stage.until_fetched(stage.later);
    stage.until("some time passes", |world| {
        Duration::from_micros(world.out.now_us) > woke + 3 * OFFER_INTERVAL
    });
    // Two files, each offered once in an interval, and once because that is overdue: the 35
    // times that were missed are not made up for.
    let offers = process_of(&stage.world, SOURCE).offers - offers_before;
    assert!((2..=2 * 5).contains(&offers), "{offers} offers in 3 s: a storm");
}

#[test]
fn a_downloader_that_stands_still_is_dropped_and_asks_again_when_it_wakes() {
    let mut stage = Stage::new(2_000_000, 50_000);
    stage.stop_in_the_middle(DOWNLOADER);
    // What it does not read fills its buffers, and the kernel of the source has less patience
    // than the source.
    let waited = stage.until("the kernel gives it up", |world| {
        let ends = world.out.network.connections.values().flat_map(|connection| &connection.ends);
        ends.into_iter().any(|end| end.finish == Some(Readable::Broken(ErrorKind::TimedOut)))
    });
    let patience = Duration::from_micros(*KERNEL_PATIENCE_US.start());
    assert!((patience..2 * patience).contains(&waited), "dropped after {waited:?}");
    assert!(stage.stands_still(DOWNLOADER));
    assert!(process_of(&stage.world, SOURCE).timeouts.is_empty());
    stage.until_fetched(stage.name);
}

#[test]
fn a_registry_that_stands_still_stops_no_transfer_and_is_waited_for() {
    let mut stage = Stage::new(2_000_000, 200_000);
    stage.stop_in_the_middle(REGISTRY);
    stage.start(ANOTHER);
    stage.until_timed_out(ANOTHER, Timer::Answer);
    stage.until_fetched(stage.name);
    assert!(stage.stands_still(REGISTRY), "the transfer waited for the registry");
    assert!(!process_of(&stage.world, ANOTHER).was_registered);
    stage.until("it is registered", |world| process_of(world, ANOTHER).was_registered);
}

#[test]
fn a_source_below_the_minimum_rate_is_left_and_one_above_it_is_not() {
    let mut below = Stage::new(200_000, 900);
    let waited = below.until_timed_out(DOWNLOADER, Timer::MinimumRate);
    assert!(on_time(RATE_WINDOW).contains(&waited), "left after {waited:?}");
    below.start(ANOTHER);
    below.until_fetched(below.name);

    let mut above = Stage::new(80_000, 1_200);
    let waited = above.until_fetched(above.name);
    assert!(waited > 2 * RATE_WINDOW, "too soon to tell: {waited:?}");
    assert!(process_of(&above.world, DOWNLOADER).timeouts.is_empty());
}
