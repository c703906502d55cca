//! How soon a peer with a large folder is of use: the first offer, each file offered
//! once, each file hashed; and whether the next start has to hash them again.
//!
//! ```text
//! cargo bench --bench startup [-- [--quick] [--pairs N] [--json FILE]]
//! ```
//!
//! The files were just written, so they come from the page cache: this is about the
//! program, not about the disk. How much a peer has read is what the kernel counts.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, id};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustix::process::Signal;
use sha2::{Digest, Sha256};

use bench_kit::content::names;
use bench_kit::probe::Answers;
use bench_kit::turns::{self, Turns};
use bench_kit::{
    Bound, GIB, MIB, Outcome, PeerPlan, Place, Report, Settings, Table, Usage, World, column, pin,
    rounds,
};
use kit::DEADLINE;
use kit::content;
use kit::messages::{OFFER_BYTES, int, text};

const FILES: usize = 10_000;
const FILE_BYTES: u64 = MIB;
const QUICK_FILE_BYTES: u64 = 16 * 1024;
/// Fetched while the others are hashed.
const SMALL_FILE: &str = "a small file";
const SMALL_FILE_BYTES: usize = 15_000;
/// What is hashed to see how fast SHA-256 is by itself.
const ALONE_BYTES: u64 = 2 * GIB;
const QUICK_ALONE_BYTES: u64 = 256 * MIB;
/// As the peer reads.
const SLICE_BYTES: usize = 256 * 1024;
/// How often it is looked how much the peer has read.
const LOOKS: Duration = Duration::from_millis(2);
/// A turn that does nothing but begin.
const TURNS_OF_THE_START: usize = 1;
const EAR_BYTES: usize = 4 * 1024 * 1024;

fn main() -> ExitCode {
    bench_kit::run("startup", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let title = format!("a folder of {FILES} files");
    if !settings.wants(&title) {
        return Ok(());
    }
    let folder = Place::disk()?;
    let shared = folder.path().join("shared");
    fs::create_dir(&shared)?;
    let mut file_bytes = settings.choose(FILE_BYTES, QUICK_FILE_BYTES);
    let disk = rustix::fs::statvfs(&shared)?;
    while FILES as u64 * file_bytes > disk.f_bavail * disk.f_frsize / 2 {
        file_bytes /= 2;
        report.say(&format!("{file_bytes} bytes a file: the disk has no more room"));
    }
    for (seed, name) in (0..).zip(names("file", FILES)) {
        fs::write(shared.join(name), content(seed, file_bytes as usize))?;
    }
    fs::write(shared.join(SMALL_FILE), content(1, SMALL_FILE_BYTES))?;
    let bytes = FILES as u64 * file_bytes + SMALL_FILE_BYTES as u64;
    let cache = folder.path().join("cache");
    let offer_interval = settings.choose("5s", "1s");
    let (world, shared) = (World::new(), shared.as_path());
    let mut stage = Stage { world, shared, cache, bytes, offer_interval, next_id: 0 };

    let alone_bytes = settings.choose(ALONE_BYTES, QUICK_ALONE_BYTES);
    let (mut again, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut firsts = Vec::new();
    rounds(settings, 3, |way| {
        match way {
            0 => {
                stage.forget_digests()?;
                firsts.push(stage.start(true)?);
                again.push(stage.start(false)?);
            }
            1 => costs[0].push(hash_alone(alone_bytes)?),
            _ => costs[1].push(read_and_hash(shared, bytes)?),
        }
        Ok(())
    })?;
    // The first round only fills the caches.
    let (firsts, again) = (&firsts[1..], &again[1..]);
    let [alone, read] =
        costs.map(|costs| costs.into_iter().skip(1).unzip::<_, _, Vec<_>, Vec<_>>());

    let hashed_s = column(firsts, |start| start.hashed_s.unwrap_or(f64::NAN));
    let (mut answers_ms, mut turns_ms, mut slices_ms) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..settings.pairs {
        stage.forget_digests()?;
        if let Some(turns) = stage.turns(&folder.path().join("turns"))? {
            turns_ms.push(turns.longest_ms);
            slices_ms.push(longest_slice_ms(bytes));
        }
        stage.forget_digests()?;
        answers_ms.push(stage.longest_answer_ms(Duration::from_secs_f64(hashed_s[0] * 0.8))?);
    }

    let gib = bytes as f64 / GIB as f64;
    let rate = column(firsts, |start| {
        bytes as f64 / 1e6 / (start.hashed_s.unwrap_or(f64::NAN) - start.listening_s)
    });
    let cpu = column(firsts, |start| start.hash_cpu_s / gib);
    let title = format!("{title} of {} KiB", file_bytes / 1024);
    let mut table = Table::new(&title, "a registry and a listener, mostly asleep");
    table.row("listening", "ms", &column(firsts, |start| start.listening_s * 1e3));
    let first_offer = column(firsts, |start| start.first_offer_s * 1e3);
    table.bounded_row("first offer", "ms", &first_offer, Bound::AtMost(50.0));
    let first_offer_cpu = column(firsts, |start| start.first_offer_cpu_s * 1e3);
    table.row("CPU until the first offer", "ms", &first_offer_cpu);
    table.row("each file offered once", "s", &column(firsts, |start| start.all_offered_s));
    table.row("each file hashed", "s", &hashed_s);
    table.row("hashed by the peer", "MB/s", &rate);
    table.row("SHA-256 of one buffer", "MB/s", &alone.0);
    table.row("files read and hashed, nothing else", "MB/s", &read.0);
    table.row("CPU of the peer", "s/GiB", &cpu);
    table.row("CPU of SHA-256 of one buffer", "s/GiB", &alone.1);
    table.row("CPU of files read and hashed", "s/GiB", &read.1);
    let own_turns = column(firsts, |start| start.longest_turn_ms);
    let name = "longest turn of the loop, by its own count";
    table.bounded_row(name, "ms", &own_turns, Bound::AtMost(5.0));
    if turns_ms.is_empty() {
        table.note(turns::NOT_WATCHED);
    } else {
        let name = "longest turn of the loop, as strace sees it";
        table.bounded_row(name, "ms", &turns_ms, Bound::AtMost(5.0));
        table.row("longest slice of SHA-256 of one buffer", "ms", &slices_ms);
        table.note("watched by strace in runs of their own, on a core of its own and ahead of others if that is allowed; SHA-256 of one buffer is not");
    }
    table.row("longest wait for a small file meanwhile", "ms", &answers_ms);
    let offer_again = column(again, |start| start.first_offer_s * 1e3);
    table.bounded_row("second start: first offer", "ms", &offer_again, Bound::AtMost(50.0));
    let read_mib = column(again, |start| start.read_bytes as f64 / MIB as f64);
    // The digests themselves are some 100 bytes each.
    table.bounded_row("second start: read", "MiB", &read_mib, Bound::AtMost(2.0));
    table.row("second start: CPU", "ms", &column(again, |start| start.cpu_s * 1e3));
    table.ratio("speed to SHA-256 of one buffer", &rate, &alone.0, Bound::AtLeast(0.95));
    table.ratio("speed to files read and hashed", &rate, &read.0, Bound::AtLeast(0.95));
    table.ratio("CPU to files read and hashed", &cpu, &read.1, Bound::AtMost(1.05));
    table.note("times are from the start of the process; files come from the page cache");
    table.note("one buffer stays in the core's cache; whoever reads files pays for the copy too");
    table.note("the peer's CPU is all that it needs until everything is hashed");
    report.add(&table)
}

struct Stage<'a> {
    world: World,
    shared: &'a Path,
    /// What the peer takes for the user's cache folder.
    cache: PathBuf,
    bytes: u64,
    offer_interval: &'static str,
    next_id: u32,
}

/// One start of the peer. Times are from the start of the process.
struct Start {
    listening_s: f64,
    first_offer_s: f64,
    /// What it had cost by then.
    first_offer_cpu_s: f64,
    all_offered_s: f64,
    /// When it had read as much as there is to hash; not, if it had no need to.
    hashed_s: Option<f64>,
    /// What it had cost by then.
    hash_cpu_s: f64,
    /// What it had read when all was offered and, if it came to that, hashed.
    read_bytes: u64,
    /// What it had cost by then.
    cpu_s: f64,
    /// As it counts itself, to its end.
    longest_turn_ms: f64,
}

impl Stage<'_> {
    /// So that the next start is like the first.
    fn forget_digests(&self) -> Outcome<()> {
        if self.cache.exists() {
            fs::remove_dir_all(&self.cache)?;
        }
        Ok(fs::create_dir(&self.cache)?)
    }

    /// A peer that is to begin, and an ear for its offers.
    fn peer(&mut self) -> Outcome<(PeerPlan, UdpSocket)> {
        self.next_id += 1;
        let [ear, _] = kit::ears();
        sockopt::set_socket_recv_buffer_size(&ear, EAR_BYTES)?;
        ear.set_read_timeout(Some(LOOKS))?;
        let broadcast = format!("127.255.255.255:{}", ear.local_addr()?.port());
        let plan = self
            .world
            .peer(self.next_id, self.shared)
            .option("--broadcast", broadcast)
            .option("--offer-interval", self.offer_interval)
            .flag("--verbose")
            .cache(&self.cache);
        Ok((plan, ear))
    }

    /// Starts a peer, and ends it once all is offered and, if `hashes`, hashed.
    fn start(&mut self, hashes: bool) -> Outcome<Start> {
        let (plan, ear) = self.peer()?;
        let begin = Instant::now();
        let peer = plan.launch();
        let seconds = |at: Instant| at.duration_since(begin).as_secs_f64();
        let mut missing: BTreeSet<String> = names("file", FILES).into_iter().collect();
        let (mut first_offer, mut all_offered, mut hashed) = (None, None, None);
        let (mut looked_at, mut hash_cpu_s) = (begin, 0.0);
        let mut datagram = [0; OFFER_BYTES + 1];
        while all_offered.is_none() || hashes && hashed.is_none() {
            if begin.elapsed() > DEADLINE {
                return Err(
                    format!("{} files are not offered, or not hashed", missing.len()).into()
                );
            }
            match ear.recv(&mut datagram) {
                Ok(OFFER_BYTES) if int(&datagram, 1) == self.next_id => {
                    if first_offer.is_none() {
                        first_offer = Some((Instant::now(), peer.usage().cpu));
                    }
                    missing.remove(&text(&datagram, 9));
                    if missing.is_empty() {
                        all_offered.get_or_insert_with(Instant::now);
                    }
                }
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            if hashed.is_none() && looked_at.elapsed() >= LOOKS {
                looked_at = Instant::now();
                if peer.read_bytes() >= self.bytes {
                    hashed = Some(looked_at);
                    hash_cpu_s = peer.usage().cpu.as_secs_f64();
                }
            }
        }
        let (first_offer_at, first_offer_cpu) = first_offer.ok_or("no offer")?;
        let (listening, _) = peer.await_stdout("listening ");
        let (read_bytes, cpu_s) = (peer.read_bytes(), peer.usage().cpu.as_secs_f64());
        if !hashes {
            // A digest that was kept, of another file at each start, is right.
            let one = &names("file", FILES)[self.next_id as usize * 97 % FILES];
            let address = peer.await_listening().to_string();
            Answers::measure(&address, &self.shared.join(one), 1)?;
        }
        // It may have something to write down.
        let longest_turn_ms = turns::end_and_longest_turn_ms(&peer)?;
        Ok(Start {
            listening_s: seconds(listening),
            first_offer_s: seconds(first_offer_at),
            first_offer_cpu_s: first_offer_cpu.as_secs_f64(),
            all_offered_s: seconds(all_offered.ok_or("not all offered")?),
            hashed_s: hashed.map(seconds),
            hash_cpu_s,
            read_bytes,
            cpu_s,
            longest_turn_ms,
        })
    }

    /// How long a small file takes while the others are hashed, at the longest.
    fn longest_answer_ms(&mut self, time: Duration) -> Outcome<f64> {
        let (peer, address) = self.peer()?.0.listening();
        let small = self.shared.join(SMALL_FILE);
        let answers = Answers::measure(&address.to_string(), &small, time.as_millis() as u64)?;
        drop(peer);
        Ok(answers.most_ms)
    }

    /// The turns of the loop while it hashes; `None` without strace.
    fn turns(&mut self, log: &Path) -> Outcome<Option<Turns>> {
        let Some(plan) = turns::watched(self.peer()?.0, log) else { return Ok(None) };
        let peer = plan.start().process;
        // With a core of its own, and ahead of others as strace is, it is not put aside for them.
        pin(&peer, 0);
        peer.await_read(self.bytes);
        peer.signal(Signal::TERM);
        peer.await_end();
        Ok(Some(Turns::read(log, TURNS_OF_THE_START)?))
    }
}

/// MB a second and CPU seconds per GiB.
fn cost(bytes: u64, work: impl FnOnce() -> Outcome<()>) -> Outcome<(f64, f64)> {
    let (begin, before) = (Instant::now(), Usage::of(id())?);
    work()?;
    let elapsed_s = begin.elapsed().as_secs_f64();
    let cpu_s = Usage::of(id())?.since(before).cpu.as_secs_f64();
    Ok((bytes as f64 / 1e6 / elapsed_s, cpu_s / bytes as f64 * GIB as f64))
}

/// SHA-256 of one buffer, over and over; `each` is called after each time.
fn hash_over_and_over(bytes: u64, mut each: impl FnMut()) {
    let buffer = content(1, SLICE_BYTES);
    let mut hash = Sha256::new();
    for _ in 0..bytes / SLICE_BYTES as u64 {
        hash.update(&buffer);
        each();
    }
    black_box(hash.finalize());
}

fn hash_alone(bytes: u64) -> Outcome<(f64, f64)> {
    cost(bytes, || {
        hash_over_and_over(bytes, || {});
        Ok(())
    })
}

/// How long the machine puts a process aside that makes no calls.
fn longest_slice_ms(bytes: u64) -> f64 {
    let (mut last, mut longest) = (None, Duration::ZERO);
    hash_over_and_over(bytes, || {
        let now = Instant::now();
        longest = longest.max(last.replace(now).map_or(Duration::ZERO, |last| now - last));
    });
    longest.as_secs_f64() * 1e3
}

/// The least that reads and hashes the files.
fn read_and_hash(shared: &Path, bytes: u64) -> Outcome<(f64, f64)> {
    let mut buffer = vec![0; SLICE_BYTES];
    cost(bytes, || {
        for name in names("file", FILES) {
            let (mut file, mut hash) = (File::open(shared.join(name))?, Sha256::new());
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    len => hash.update(&buffer[..len]),
                }
            }
            black_box(hash.finalize());
        }
        Ok(())
    })
}
