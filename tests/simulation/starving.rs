//! An honest source that is on offer and answers is asked within a bounded time, whatever
//! others do: rows 44 to 46, with adversaries that break no rule.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fastrand::Rng;
use kit::quantity;
use p2pfs::limits::{HEDGE_GLANCE, Limits, PACE_WINDOW, PROGRESS_TIMEOUT};
use p2pfs::node::PeerSettings;
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::FileName;

use crate::adversary::{Manner, Plot};
use crate::host::{Host, Role};
use crate::outside::digest_of;
use crate::queue::{Event, HostIndex};
use crate::scenario::draw_content;
use crate::world::World;

const REGISTRY: HostIndex = 0;
const DOWNLOADER: HostIndex = 1;
const HONEST: HostIndex = 2;
/// Runs of a plain `cargo test`; by command, as many as are asked for.
const RUNS: u64 = 40;
/// Offers of the honest source come so often, and a few are to be heard.
const OFFER_INTERVAL: Duration = Duration::from_secs(1);
/// When the honest source comes: the others have had their turns by then.
const LATE_US: u64 = 5_000_000;
/// Delays of retries, lookups, and what a loop does late.
const SLACK: Duration = Duration::from_secs(20);

/// The addresses of hosts; adversaries have one of their own each, or share one, or that of the
/// honest source.
fn address(host: HostIndex, ip: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, ip), 6000 + host as u16)
}

fn draw_manner(rng: &mut Rng) -> Manner {
    match rng.u32(..5) {
        0 | 1 => Manner::Stalls,
        // From just above the minimum rate to just below what is slow.
        2 | 3 => Manner::Drips(rng.u32(600..40_000)),
        _ => Manner::Closes,
    }
}

/// Runs one seed until all files are there, which takes no longer than it may.
fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let names: Vec<_> = (0..rng.u32(1..=4))
        .map(|number| FileName::new(&format!("file {number}")).expect("legal"))
        .collect();
    let count = rng.usize(1..=12);
    let where_they_are = rng.u32(..3);
    let flood = if rng.bool() { rng.u32(1..40) } else { 0 };
    let served_well = if rng.u32(..4) == 0 { rng.u32(1..4) } else { 0 };
    let ip = |number: usize| match where_they_are {
        0 => 100,
        1 => 1 + HONEST as u8,
        _ => 100 + number as u8,
    };
    let registry = address(REGISTRY, 1);
    let mut world = World::without_faults(|out| {
        out.rng = Rng::with_seed(seed);
        let contents: BTreeMap<_, _> =
            names.iter().map(|name| (*name, draw_content(&mut out.rng, 3000))).collect();
        let mut hosts = vec![Host::new(REGISTRY, registry, Role::Registry(Limits::REGISTRY))];
        for index in [DOWNLOADER, HONEST] {
            let address = address(index, 1 + index as u8);
            let settings = kit::peer_settings(index as u32, address.port(), registry);
            let settings = PeerSettings { offer_interval: OFFER_INTERVAL, ..settings };
            hosts.push(Host::new(index, address, Role::Peer(Box::new(settings))));
        }
        for (name, content) in &contents {
            out.truth.add(*name, digest_of(content));
            hosts[HONEST].disk.put(0, *name, content.clone());
        }
        hosts[DOWNLOADER].wishes.extend(&names);
        for number in 0..count {
            let index = hosts.len();
            let address = address(index, ip(number));
            let plot = Plot {
                id: PeerId(1000 + number as u32),
                port: address.port(),
                registry,
                files: contents.clone(),
                served_well,
                manner: draw_manner(&mut rng),
                borrowed: vec![PeerId(HONEST as u32)],
                flood: if number == 0 { flood } else { 0 },
            };
            hosts.push(Host::new(index, address, Role::Adversary(plot)));
        }
        for host in &hosts {
            let is_late = host.index == HONEST;
            out.queue.put(if is_late { LATE_US } else { 0 }, Event::Start(host.index));
        }
        hosts
    });
    // Each other address may have one turn, and what stalls takes longest; behind the address of
    // the honest source each id may. Drips are tried one after the other.
    let turns = if where_they_are == 0 { 1 } else { count as u32 };
    let drips = PACE_WINDOW + (HEDGE_GLANCE + OFFER_INTERVAL) * count as u32;
    let longest = (PROGRESS_TIMEOUT + OFFER_INTERVAL) * turns + drips + SLACK;
    while world.hosts[DOWNLOADER].missing().next().is_some() {
        let now = Duration::from_micros(world.out.now_us);
        assert!(now <= longest, "seed {seed}: starved for {now:?} by {count}, {where_they_are}");
        world.step();
    }
}

#[test]
fn an_honest_source_is_asked_within_a_bounded_time_whatever_others_do() {
    crate::on_all_cores(0..quantity("P2PFS_SIM_STARVING", RUNS), run);
}
