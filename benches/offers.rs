//! What offers cost: datagrams taken in, a peer that knows 10,000 names, and one that
//! offers 10,000 files.
//!
//! ```text
//! cargo bench --bench offers [-- [--quick] [--pairs N] [--json FILE] [TABLE ...]]
//! ```

use std::fs;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg, sockopt};

use bench_kit::content::names;
use kit::DEADLINE;
use kit::messages::{Count, OFFER_BYTES, int, offer, text};
use p2pfs::limits::KNOWN_NAMES_MAX;

use bench_kit::{
    Bound, Outcome, Place, Process, Report, Settings, Table, World, column, part, rounds,
};

/// The peers whose offers are heard, and what each offers.
const PEERS: u32 = 500;
const NAMES_OF_A_PEER: usize = 20;
/// How often each name is offered, as is usual.
const INTERVAL: Duration = Duration::from_secs(5);
const FILES: usize = 10_000;
const OUR_ID: u32 = 1;
/// The first of the peers that are made up.
const THEIR_IDS: u32 = 1000;
/// Datagrams that one system call sends.
const SENT_AT_ONCE: usize = 64;
const EAR: &str = "ear";

fn main() -> ExitCode {
    bench_kit::run("offers", &[(EAR, ear)], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let known: Vec<_> = (0..PEERS).flat_map(offers_of).collect();
    let repeated = "offers that are known, as fast as they are taken in";
    taken_in(settings, report, repeated, &known, Some(Bound::AtLeast(200_000.0)))?;
    // So many that each is forgotten again before it comes round.
    let strange = |n| offer(THEIR_IDS, &format!("file {n} that nobody knows"), Count::Bytes);
    let strange: Vec<_> = (0..100_000).map(strange).collect();
    let new = "offers that are all news, as fast as they are taken in";
    taken_in(settings, report, new, &strange, None)?;
    knowing(settings, report, &known)?;
    offering(settings, report)
}

fn offers_of(peer: u32) -> Vec<Vec<u8>> {
    let peer = THEIR_IDS + peer;
    let name = |number| format!("file {number} of peer {peer}");
    (0..NAMES_OF_A_PEER).map(|number| offer(peer, &name(number), Count::Bytes)).collect()
}

/// A peer and a bare receiver, each sent more than it can take.
fn taken_in(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    offers: &[Vec<u8>],
    bound: Option<Bound>,
) -> Outcome<()> {
    if !settings.wants(title) {
        return Ok(());
    }
    let world = World::new();
    let (_, folder) = Place::fastest()?;
    let (peer, port) = lonely_peer(&world, &folder)?;
    let ear = part(EAR, &[""; 0]);
    let ear_port = ear.await_listening().port();
    let sides = [(peer, port), (ear, ear_port)];
    let time = Duration::from_secs_f64(settings.choose(1.0, 0.2));
    let measured = rounds(settings, sides.len(), |way| {
        let (process, port) = &sides[way];
        flood(process, *port, offers, time)
    })?;
    // It did not only take them in: it knows all, or as many as it has room for.
    let heard = &offers[..offers.len().min(KNOWN_NAMES_MAX)];
    let (sender, begin) = (sender(port)?, Instant::now());
    while world.offers_known()? != heard.len() as u64 {
        if begin.elapsed() > DEADLINE {
            return Err("the peer does not know the offers that it took in".into());
        }
        for batch in heard.chunks(SENT_AT_ONCE) {
            send(&sender, batch)?;
            thread::sleep(Duration::from_millis(1));
        }
    }
    let [peers, bare] = [&measured[0], &measured[1]];
    let mut table = Table::new(title, "the sender, a process with one thread, took another core");
    table.bounded_row("peer, taken in", "a second", &column(peers, |flood| flood.rate), bound);
    table.row("bare receiver, taken in", "a second", &column(bare, |flood| flood.rate));
    table.row("peer, CPU for each", "us", &column(peers, |flood| flood.cpu_us));
    table.row("bare receiver, CPU for each", "us", &column(bare, |flood| flood.cpu_us));
    table.row("peer, share that was lost", "%", &column(peers, |flood| flood.lost_percent));
    table.row("bare receiver, share that was lost", "%", &column(bare, |flood| flood.lost_percent));
    table.ratio(
        "CPU to the bare receiver's",
        &column(peers, |f| f.cpu_us),
        &column(bare, |f| f.cpu_us),
        None,
    );
    table.note("where nothing was lost, the sender was the slower one, and more can be taken in");
    report.add(&table)
}

struct Flood {
    rate: f64,
    cpu_us: f64,
    lost_percent: f64,
}

/// Sends as fast as it goes; what the receiver's socket did not drop was taken in.
fn flood(process: &Process, port: u16, offers: &[Vec<u8>], time: Duration) -> Outcome<Flood> {
    let sender = sender(port)?;
    let before = (process.usage(), Sockets::at(port)?.drops);
    let (begin, mut sent) = (Instant::now(), 0);
    for batch in offers.chunks(SENT_AT_ONCE).cycle() {
        sent += send(&sender, batch)?;
        if begin.elapsed() >= time {
            break;
        }
    }
    while Sockets::at(port)?.queued_bytes > 0 {
        if begin.elapsed() > DEADLINE {
            return Err("datagrams were not taken in".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let elapsed_s = begin.elapsed().as_secs_f64();
    let lost = Sockets::at(port)?.drops - before.1;
    let taken = (sent - lost) as f64;
    let cpu_us = process.usage().since(before.0).cpu.as_secs_f64() * 1e6;
    Ok(Flood {
        rate: taken / elapsed_s,
        cpu_us: cpu_us / taken,
        lost_percent: lost as f64 / sent as f64 * 100.0,
    })
}

/// 2,000 offers a second that are all known.
fn knowing(settings: &Settings, report: &mut Report, known: &[Vec<u8>]) -> Outcome<()> {
    let title = format!("a peer that knows {} names, each offered every 5 s", known.len());
    if !settings.wants(&title) {
        return Ok(());
    }
    let world = World::new();
    let (_, folder) = Place::fastest()?;
    let (peer, port) = lonely_peer(&world, &folder)?;
    let sender = sender(port)?;
    let time = Duration::from_secs(settings.choose(10, 1));
    let mut table = Table::new(&title, "the sender, which slept most of the time");
    let all = Sockets::at(port)?;
    send(&sender, known)?;
    for (how, batch) in [("20 at once", NAMES_OF_A_PEER), ("one by one", 1)] {
        let (mut percent, mut waits) = (Vec::new(), Vec::new());
        for _ in 0..settings.pairs {
            let cost = pace(&peer, &sender, known, batch, time)?;
            percent.push(cost.0);
            waits.push(cost.1);
        }
        let row = format!("sent {how}, CPU");
        table.bounded_row(&row, "% of a core", &percent, Bound::AtMost(2.0));
        table.row(&format!("sent {how}, wake-ups"), "a second", &waits);
    }
    let lost = Sockets::at(port)?.drops - all.drops;
    table.bounded_row("offers that were lost", "", &[lost as f64], Bound::AtMost(0.0));
    let memory_mib = peer.usage().anonymous_bytes as f64 / bench_kit::MIB as f64;
    table.row("memory", "MiB", &[memory_mib]);
    table.note(format!("{PEERS} peers with {NAMES_OF_A_PEER} files each, 2,000 offers a second"));
    report.add(&table)
}

/// Goes round the offers once in an interval; gives the share of a core and the wake-ups
/// that it cost.
fn pace(
    peer: &Process,
    sender: &UdpSocket,
    offers: &[Vec<u8>],
    batch: usize,
    time: Duration,
) -> Outcome<(f64, f64)> {
    let (begin, before) = (Instant::now(), peer.usage());
    let batches = offers.len() / batch;
    for (number, batch) in (0..).zip(offers.chunks(batch).cycle()) {
        let due = INTERVAL * number / batches as u32;
        if due >= time {
            break;
        }
        thread::sleep((begin + due).saturating_duration_since(Instant::now()));
        send(sender, batch)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    let spent = peer.usage().since(before);
    Ok((spent.cpu.as_secs_f64() / seconds * 100.0, spent.waits as f64 / seconds))
}

/// Whether a listener with a receive buffer of the usual size hears them all.
fn offering(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let title = format!("a peer that offers {FILES} files");
    if !settings.wants(&title) {
        return Ok(());
    }
    let world = World::new();
    let (_, folder) = Place::fastest()?;
    for name in names("file", FILES) {
        fs::write(folder.path().join(name), "")?;
    }
    let interval = settings.choose(INTERVAL, Duration::from_secs(1));
    let [listener, _beacons] = kit::ears();
    let port = listener.local_addr()?.port();
    let peer = world
        .peer(OUR_ID, folder.path())
        .option("--broadcast", broadcast(port).to_string())
        .option("--offer-interval", format!("{}ms", interval.as_millis()))
        .start()
        .process;
    let mut ear = Ear::new(&listener)?;
    // Until all files are hashed and all have been offered.
    ear.hear_round()?;
    ear.hear_round()?;
    let drops = Sockets::at(port)?.drops;
    let (mut cpu, mut waits, mut took, mut missed) = (vec![], vec![], vec![], vec![]);
    let mut bursts = Vec::new();
    for _ in 0..settings.pairs {
        let (begin, before) = (Instant::now(), peer.usage());
        let round = ear.hear_round()?;
        let (seconds, spent) = (begin.elapsed().as_secs_f64(), peer.usage().since(before));
        took.push(seconds);
        cpu.push(spent.cpu.as_secs_f64() / seconds * 100.0);
        waits.push(spent.waits as f64 / seconds);
        missed.push(round.missed as f64);
        bursts.push(round.longest_burst as f64);
    }
    let drops = Sockets::at(port)?.drops - drops;
    let mut table = Table::new(&title, "a listener, which slept most of the time");
    table.bounded_row("offers missed in a round", "", &missed, Bound::AtMost(0.0));
    let lost = "datagrams dropped at the listener or the peer";
    table.bounded_row(lost, "", &[drops as f64], Bound::AtMost(0.0));
    table.row("a round", "s", &took);
    table.row("longest burst", "datagrams", &bursts);
    table.row("CPU", "% of a core", &cpu);
    table.row("wake-ups", "a second", &waits);
    table.note(format!("an interval is {interval:?}; the listener's buffer is the system's usual"));
    table.note("a burst: datagrams with less than 1 ms between one and the next");
    report.add(&table)
}

/// Hears the files of our peer, which are offered in the order of their numbers.
struct Ear<'a> {
    listener: &'a UdpSocket,
    last: usize,
}

struct Round {
    /// Offers that should have come between others.
    missed: usize,
    longest_burst: usize,
}

impl<'a> Ear<'a> {
    fn new(listener: &'a UdpSocket) -> Outcome<Self> {
        listener.set_read_timeout(Some(DEADLINE))?;
        let mut ear = Self { listener, last: 0 };
        ear.last = ear.hear()?;
        Ok(ear)
    }

    /// Up to the file that was heard last before.
    fn hear_round(&mut self) -> Outcome<Round> {
        let mut round = Round { missed: 0, longest_burst: 0 };
        let (mut burst, mut heard_at, mut passed) = (0, Instant::now(), 0);
        while passed < FILES {
            let number = self.hear()?;
            let step = (number + FILES - self.last - 1) % FILES + 1;
            (self.last, passed) = (number, passed + step);
            round.missed += step - 1;
            burst = if heard_at.elapsed() < Duration::from_millis(1) { burst + 1 } else { 1 };
            heard_at = Instant::now();
            round.longest_burst = round.longest_burst.max(burst);
        }
        Ok(round)
    }

    fn hear(&self) -> Outcome<usize> {
        let mut datagram = [0; OFFER_BYTES + 1];
        if self.listener.recv(&mut datagram)? != OFFER_BYTES || int(&datagram, 1) != OUR_ID {
            return Err("something else than an offer of the peer was heard".into());
        }
        let name = text(&datagram, 9);
        Ok(name.strip_prefix("file-").ok_or("a strange name was heard")?.parse()?)
    }
}

/// A peer without files that alone hears its offer port.
fn lonely_peer(world: &World, folder: &tempfile::TempDir) -> Outcome<(Process, u16)> {
    // Free again at once, for the peer.
    let port = kit::ears()[0].local_addr()?.port();
    let plan = world.peer(OUR_ID, folder.path());
    let peer = plan.option("--broadcast", broadcast(port).to_string()).start().process;
    Ok((peer, port))
}

fn broadcast(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), port)
}

fn sender(port: u16) -> Outcome<UdpSocket> {
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    sender.set_broadcast(true)?;
    sender.connect(broadcast(port))?;
    Ok(sender)
}

/// Sends all of them; gives how many that were.
fn send(sender: &UdpSocket, datagrams: &[Vec<u8>]) -> Outcome<u64> {
    let mut sent = 0;
    for batch in datagrams.chunks(SENT_AT_ONCE) {
        let parts: Vec<_> = batch.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
        let mut controls: Vec<_> = batch.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<_> =
            parts.iter().zip(&mut controls).map(|(p, control)| MMsgHdr::new(p, control)).collect();
        sent += sendmmsg(sender, &mut messages, SendFlags::empty())? as u64;
    }
    Ok(sent)
}

/// The sockets of a port, as the kernel counts.
struct Sockets {
    /// Datagrams for which a buffer had no room.
    drops: u64,
    queued_bytes: u64,
}

impl Sockets {
    fn at(port: u16) -> Outcome<Self> {
        let mut sockets = Self { drops: 0, queued_bytes: 0 };
        for line in fs::read_to_string("/proc/net/udp")?.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, local, _, _, queues, ..] = fields[..] else { continue };
            if !local.ends_with(&format!(":{port:04X}")) {
                continue;
            }
            let queued = queues.split(':').nth(1).unwrap_or_default();
            sockets.queued_bytes += u64::from_str_radix(queued, 16)?;
            sockets.drops += fields.last().copied().unwrap_or_default().parse::<u64>()?;
        }
        Ok(sockets)
    }
}

/// The least that hears: receives, and forgets.
fn ear(_: &[String]) -> Outcome<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // As much as a peer asks for.
    sockopt::set_socket_recv_buffer_size(&socket, 4 * 1024 * 1024)?;
    println!("listening 0.0.0.0:{}", socket.local_addr()?.port());
    let mut datagram = [0; OFFER_BYTES + 1];
    loop {
        socket.recv(&mut datagram)?;
    }
}
