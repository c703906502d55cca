//! Floods of the offer port (rows 8 and 28).
//!
//! The rate of transfers is compared with that beside the very same generator aimed at a
//! socket that nobody serves, in pairs that alternate: what else the machine does at the
//! time meets both. Without optimisation only a standstill is an error.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;

use kit::messages::{self, Count};
use kit::quantity;
use kit::{OfferRepeater, Peer, Process, World, await_until, content};
use tempfile::TempDir;

use crate::flood::Flood;
use crate::turns::alone;
use crate::turns::median;

kit::tests![
    junk_for_the_source_leaves_transfers_half_of_their_rate,
    junk_for_the_downloader_leaves_transfers_half_of_their_rate,
    a_million_made_up_offers_fill_no_memory,
];

const NAME: &str = "file";
const OTHER_NAME: &str = "other";
/// Row 8.
const RATE_KEPT_MIN: f64 = if cfg!(debug_assertions) { 0.05 } else { 0.5 };
/// No more than this waits in a socket, so that all of it is heard.
const WAITING_BYTES_MAX: u64 = 512 * 1024;

/// A source to fetch from, again and again. It hears another offer port than the
/// downloaders, so that each can be flooded alone.
pub(crate) struct Measurement {
    world: World,
    aside: World,
    pub(crate) source: Peer,
    _offers: OfferRepeater,
    downloads: TempDir,
    file_bytes: usize,
}

impl Measurement {
    pub(crate) fn new() -> Self {
        let (world, aside) = (World::new(), World::new());
        let file_bytes = quantity("P2PFS_FLOOD_MIB", 128_usize) << 20;
        let source =
            aside.peer_at(1, world.registry().address).has(NAME, &content(1, file_bytes)).start();
        let offers = OfferRepeater::start(&world, 1, &[NAME]);
        // In memory if possible: what is measured is the network.
        let shm = Path::new("/dev/shm");
        let downloads = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() };
        let downloads = downloads.unwrap();
        let measurement = Self { world, aside, source, _offers: offers, downloads, file_bytes };
        // Once for nothing: the source hashes the file before it is first sent.
        measurement.rate(100);
        measurement
    }

    /// MiB a second in one download, by a fresh peer.
    pub(crate) fn rate(&self, id: u32) -> f64 {
        let folder = self.downloads.path().join(id.to_string());
        let downloader = self.world.peer(id).wants(NAME);
        let downloader = downloader.flag("--no-sync").until_done();
        let downloader = downloader.shares(folder.clone()).launch();
        let code = downloader.await_exit_code();
        assert_eq!(code, 0);
        fs::remove_dir_all(folder).unwrap();
        let log = downloader.log();
        let line = log.iter().find(|line| line.contains("verified")).unwrap();
        let (_, seconds) = line.split_once(" bytes in ").unwrap();
        let (seconds, _) = seconds.split_once(" s,").unwrap();
        // The log rounds to hundredths.
        let seconds = seconds.parse::<f64>().unwrap().max(0.005);
        (self.file_bytes >> 20) as f64 / seconds
    }

    /// Compares the rates beside a flood and beside the same flood aimed at nobody.
    pub(crate) fn compare(&self, served: impl Fn() -> Flood, unserved: impl Fn() -> Flood) {
        let pairs = quantity("P2PFS_FLOOD_PAIRS", 5);
        let mut kept = Vec::new();
        // Others on the machine make a pair worth little: as long as it does not look good,
        // more of them are made.
        for pair in 0..pairs * 3 {
            if pair >= pairs && median(&kept) >= RATE_KEPT_MIN {
                break;
            }
            let mut rates = [0.0; 2];
            for is_served in [pair % 2 == 0, pair % 2 != 0] {
                let flood = if is_served { served() } else { unserved() };
                rates[usize::from(is_served)] = self.rate(1000 + pair as u32);
                flood.end();
            }
            kept.push(rates[1] / rates[0]);
        }
        assert!(median(&kept) >= RATE_KEPT_MIN, "the flood takes more than half: {kept:.2?}");
    }
}

/// Junk for the source or for the downloader.
fn junk_leaves_half_of_the_rate(at: impl Fn(&Measurement) -> &World) {
    let _turn = alone();
    let measurement = Measurement::new();
    let per_second = quantity("P2PFS_DATAGRAMS_PER_SECOND", 200_000);
    // Of the sockets that share a port, the one bound last gets what is sent to it alone.
    let port = at(&measurement).broadcast().port();
    let victim = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let unserved = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = SocketAddrV4::new(Ipv4Addr::LOCALHOST, unserved.local_addr().unwrap().port());
    measurement.compare(
        || Flood::of_datagrams(victim, per_second),
        || Flood::of_datagrams(nobody, per_second),
    );

    measurement.source.process.assert_running();
    let process = &measurement.source.process;
    process.await_idle();
    process.assert_memory_bounded();
}

fn junk_for_the_source_leaves_transfers_half_of_their_rate() {
    junk_leaves_half_of_the_rate(|measurement| &measurement.aside);
}

fn junk_for_the_downloader_leaves_transfers_half_of_their_rate() {
    junk_leaves_half_of_the_rate(|measurement| &measurement.world);
}

/// Returns what the sockets of a process on a UDP port hold that was not received yet.
fn bytes_waiting(process: &Process, port: u16) -> u64 {
    let links = fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
    let links: Vec<_> = links
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    let port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/self/net/udp").unwrap();
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows
        .filter(|row| row[1].ends_with(&port) && links.contains(&format!("socket:[{}]", row[9])));
    let waiting = |row: Vec<&str>| {
        let (_, received) = row[4].split_once(':').unwrap();
        u64::from_str_radix(received, 16).unwrap()
    };
    ours.map(waiting).sum()
}

fn a_million_made_up_offers_fill_no_memory() {
    let _turn = alone();
    let world = World::new();
    let (file, other) = (content(1, 100_000), content(2, 100_000));
    let _source = world.peer(1).has(NAME, &file).start();
    let victim = world.peer(2).wants(NAME).wants(OTHER_NAME).start();
    victim.await_file(NAME, &file);
    let process = &victim.process;
    let offers: u32 = quantity("P2PFS_OFFERS", 150_000);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_broadcast(true).unwrap();
    for number in 0..offers {
        // As many offers as can be of peers and names that there is room for; then ever
        // new peers and names, and peers for the name that is wanted.
        let (peer, name) = match number % 4 {
            _ if number < offers / 2 => {
                (1_000 + number % 3_001, format!("made up {}", number / 64 % 4_001))
            }
            0 => (1_000_000 + number, OTHER_NAME.to_owned()),
            _ => (1_000_000 + number, format!("made up {number}")),
        };
        socket.send_to(&messages::offer(peer, &name, Count::Bytes), world.broadcast()).unwrap();
        if number % 256 == 0 {
            await_until("the offers are heard", || {
                bytes_waiting(process, world.broadcast().port()) < WAITING_BYTES_MAX
            });
        }
    }
    process.await_idle();
    process.assert_memory_bounded();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "an offer was answered");

    // There is room for a peer that comes now.
    let _late = world.peer(3).has(OTHER_NAME, &other).start();
    victim.await_file(OTHER_NAME, &other);
}
