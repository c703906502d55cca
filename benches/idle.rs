//! What a peer costs that has nothing to do but to offer and to hear offers.
//!
//! ```text
//! cargo bench --bench idle [-- [--quick] [--pairs N] [--json FILE]]
//! ```

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_kit::content::names;
use bench_kit::{Bound, MIB, Outcome, Place, Report, Settings, Table, World};
use kit::content;
use kit::messages::OFFER_BYTES;

/// What the peer shares.
const FILES: usize = 100;
const FILE_BYTES: usize = 16 * 1024;
/// Peers with one file each.
const NEIGHBOURS: u32 = 3;
/// Datagrams of one sender that come closer together than this are one batch.
const BATCH_GAP: Duration = Duration::from_millis(5);
/// Until all files are hashed and offered.
const SETTLING: Duration = Duration::from_secs(6);

fn main() -> ExitCode {
    bench_kit::run("idle", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let time = Duration::from_secs(settings.choose(60, 10));
    let title = format!("a peer with {FILES} files and {NEIGHBOURS} neighbours, {time:?}");
    if !settings.wants(&title) {
        return Ok(());
    }
    let world = World::new();
    let (_, folder) = Place::fastest()?;
    // With the buffer of a peer, so that it hears no less.
    let [listener, _beacons] = kit::ears();
    let broadcast = format!("127.255.255.255:{}", listener.local_addr()?.port());
    let start = |id: u32, files: usize| {
        let shared = folder.path().join(format!("peer-{id}"));
        fs::create_dir(&shared)?;
        for (seed, name) in (0..).zip(names(&format!("file-{id}"), files)) {
            fs::write(shared.join(name), content(seed, FILE_BYTES))?;
        }
        let plan = world.peer(id, &shared).option("--broadcast", &broadcast);
        // The usual interval.
        Ok::<_, Box<dyn std::error::Error>>(plan.option("--offer-interval", "5s").start().process)
    };
    let peer = start(1, FILES)?;
    let _neighbours = (2..2 + NEIGHBOURS).map(|id| start(id, 1)).collect::<Outcome<Vec<_>>>()?;
    count_batches(&listener, SETTLING)?;

    let (mut rss, mut growth, mut cpu, mut share) = (vec![], vec![], vec![], vec![]);
    for _ in 0..settings.pairs {
        let (begin, before) = (Instant::now(), peer.usage());
        let batches = count_batches(&listener, time)?;
        let (spent, minutes) = (peer.usage().since(before), begin.elapsed().as_secs_f64() / 60.0);
        rss.push(spent.rss_bytes as f64 / MIB as f64);
        growth.push(spent.rss_bytes as f64 - before.rss_bytes as f64);
        cpu.push(spent.cpu.as_secs_f64() * 1000.0 / minutes);
        share.push(spent.waits as f64 / batches as f64);
    }
    let mut table =
        Table::new(&title, "a registry, the neighbours and a listener, all mostly asleep");
    table.bounded_row("RSS", "MiB", &rss, Bound::AtMost(4.0));
    table.bounded_row("growth of the RSS", "bytes", &growth, Bound::AtMost(0.0));
    table.bounded_row("CPU", "ms a minute", &cpu, Bound::AtMost(100.0));
    let name = "wake-ups for each batch, sent or received";
    table.bounded_row(name, "", &share, Bound::AtMost(1.0));
    table.note("a batch: offers of one sender less than 5 ms apart, as a listener heard them");
    report.add(&table)
}

/// Hears everybody's batches of offers for this time.
fn count_batches(listener: &UdpSocket, time: Duration) -> Outcome<usize> {
    let end = Instant::now() + time;
    let mut last: Vec<(SocketAddr, Instant)> = Vec::new();
    let mut batches = 0;
    let mut datagram = [0; OFFER_BYTES + 1];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
        listener.set_read_timeout(Some(left))?;
        let from = match listener.recv_from(&mut datagram) {
            Ok((_, from)) => from,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        match last.iter_mut().find(|(sender, _)| *sender == from) {
            Some((_, at)) => {
                batches += usize::from(now.duration_since(*at) > BATCH_GAP);
                *at = now;
            }
            None => {
                batches += 1;
                last.push((from, now));
            }
        }
    }
    Ok(batches)
}
