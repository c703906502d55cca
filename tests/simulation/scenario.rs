//! The part of a run that a seed decides before anything happens: the hosts, the files of
//! each, its jobs, and when they begin.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fastrand::Rng;
use p2pfs::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, Limits, NAME_BYTES_MAX};
use p2pfs::node::{BeaconSettings, PeerSettings};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::FileName;

use crate::faults::Fault;
use crate::host::{Host, Role};
use crate::liar::Brief;
use crate::outside::{Outside, digest_of};
use crate::queue::Event;

const REGISTRY_PORT: u16 = 5000;

/// The hosts of this run, the registry first; their starts and the wishes that come
/// later are put in the queue.
pub(crate) fn draw(out: &mut Outside, trouble_ends_us: u64) -> Vec<Host> {
    // On one machine all hosts share an address, on a network each has its own.
    let is_one_machine = out.rng.bool();
    let ip = |index: u8| match is_one_machine {
        true => Ipv4Addr::LOCALHOST,
        false => Ipv4Addr::new(10, 0, 0, 1 + index),
    };
    let registry = SocketAddrV4::new(ip(0), REGISTRY_PORT);
    let mut hosts = vec![Host::new(0, registry, Role::Registry(Limits::REGISTRY))];
    let mut ids = BTreeSet::new();
    for index in 1..=out.rng.u8(3..=8) {
        let id = draw_id(&mut out.rng, &mut ids);
        let address = SocketAddrV4::new(ip(index), 6000 + u16::from(index));
        let settings = PeerSettings {
            offer_interval: Duration::from_millis(out.rng.u64(1000..8000)),
            group: None,
            beacons: Some(BeaconSettings::open()),
            simulate_checksum_failure: out.rng.u32(..8) == 0,
            exit_when_done: out.rng.u32(..8) == 0,
            limits: draw_limits(&mut out.rng),
            ..kit::peer_settings(id.0, address.port(), registry)
        };
        hosts.push(Host::new(usize::from(index), address, Role::Peer(Box::new(settings))));
    }
    let names = draw_files(out, &mut hosts);
    draw_wishes(out, &mut hosts, &names, trouble_ends_us);
    let liar = SocketAddrV4::new(ip(hosts.len() as u8), 7000);
    draw_liar(out, &mut hosts, &names, liar, &mut ids);
    for host in &hosts {
        let is_late = out.rng.u32(..3) == 0;
        out.queue
            .put(if is_late { out.rng.u64(..10_000_000) } else { 0 }, Event::Start(host.index));
    }
    hosts
}

/// The usual bounds, or few connections and small files only.
fn draw_limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::PEER;
    if rng.bool() {
        limits.connections_max = rng.usize(8..100);
        limits.connections_per_address_max = rng.usize(4..20);
        limits.file_bytes_max = 16 * 1024 * 1024;
    }
    limits
}

/// Ids at the ends of their range, and any between. Any two differ in many bits, so
/// that no flipped bit makes one into another.
fn draw_id(rng: &mut Rng, ids: &mut BTreeSet<u32>) -> PeerId {
    let id = match rng.u32(..10) {
        0 => 0,
        1 => u32::MAX,
        _ => rng.u32(..),
    };
    if ids.iter().all(|other| (id ^ other).count_ones() > 3) {
        ids.insert(id);
        return PeerId(id);
    }
    draw_id(rng, ids)
}

/// Draws files, and the hosts that have them at the start.
fn draw_files(out: &mut Outside, hosts: &mut [Host]) -> Vec<FileName> {
    let count = out.rng.usize(1..=5);
    let names: Vec<_> = (0..count).map(|_| draw_name(&mut out.rng)).collect();
    for name in &names {
        let len = draw_len(&mut out.rng);
        let content = draw_content(&mut out.rng, len);
        out.truth.add(*name, digest_of(&content));
        for _ in 0..out.rng.u32(1..=2) {
            let holder = out.rng.usize(1..hosts.len());
            hosts[holder].disk.put(0, *name, content.clone());
        }
    }
    names
}

/// A name of random letters: no flipped bit makes one into another.
fn draw_name(rng: &mut Rng) -> FileName {
    let letters: String = std::iter::repeat_with(|| rng.lowercase()).take(12).collect();
    let text = match rng.u32(..4) {
        0 => format!("{letters} é漢.txt"),
        1 => format!("{letters:x<NAME_BYTES_MAX$}"),
        _ => letters,
    };
    FileName::new(&text).expect("a legal name")
}

/// Lengths at every boundary, most of them small.
fn draw_len(rng: &mut Rng) -> usize {
    let chunk_bytes = CHUNK_BYTES as usize;
    match rng.u32(..200) {
        0..20 => 0,
        20..30 => 1,
        30..135 => rng.usize(2..8 * 1024),
        135..175 => rng.usize(8 * 1024..chunk_bytes / 3),
        175..192 => rng.usize(chunk_bytes / 3..3 * chunk_bytes),
        192..198 => chunk_bytes + rng.usize(..3) - 1,
        _ => 2 * LOCAL_WINDOW_BYTES as usize + rng.usize(..chunk_bytes * 3),
    }
}

/// Bytes that are found in no other file.
pub(crate) fn draw_content(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut content = vec![0; len];
    rng.fill(&mut content);
    content
}

/// Who wants what: some from the start, some later, some of it already there.
fn draw_wishes(out: &mut Outside, hosts: &mut [Host], names: &[FileName], until_us: u64) {
    for host in &mut hosts[1..] {
        for name in names {
            match out.rng.u32(..4) {
                0 | 1 => _ = host.wishes.insert(*name),
                2 => {
                    let at_us = out.rng.u64(..until_us);
                    out.queue.put(at_us, Event::Wish(host.index, *name));
                }
                _ => {}
            }
        }
    }
}

fn draw_liar(
    out: &mut Outside,
    hosts: &mut Vec<Host>,
    names: &[FileName],
    address: SocketAddrV4,
    ids: &mut BTreeSet<u32>,
) {
    let lies: Vec<_> = Fault::lies().filter(|lie| out.faults.has(*lie)).collect();
    if lies.is_empty() || out.rng.bool() {
        return;
    }
    let victims = hosts[1..].iter().map(|host| (host.role.id(), host.address)).collect();
    let id = draw_id(&mut out.rng, ids);
    let (names, registry) = (names.to_vec(), hosts[0].address);
    let brief = Brief { id, port: address.port(), registry, victims, names, lies };
    hosts.push(Host::new(hosts.len(), address, Role::Liar(brief)));
}
