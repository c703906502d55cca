//! Every connection in use: a fast one beside a hundred slow ones (row 14), and 32 MiB
//! of memory (row 38).

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kit::messages::{self, Count, digest_of};
use kit::{Missing, NOTHING, Need, is_root};
use kit::{Process, RawDownloader, Stop, World, await_until, content};

use crate::crowd::connect_narrow;
use crate::turns::alone;

static CAGE: Need = Need::new(|| {
    is_root()?;
    MemoryCage::new().map(drop).map_err(|e| Missing::Kernel("memory cgroups (v1)", e.to_string()))
});
kit::tests! {
    NOTHING:
        a_fast_peer_leaves_a_hundred_slow_ones_their_turn,
        every_connection_in_use_takes_32_mib;
    CAGE:
        every_connection_in_use_takes_32_mib_with_the_kernels_part;
}

const NAME: &str = "file";
const FILE_BYTES: usize = 16 << 20;
const SLOW_PEERS: usize = 100;
/// What each slow one reads in the test, a little at a time.
const SLOW_BYTES: u64 = 512 * 1024;
const SLOW_READ_BYTES: usize = 8 * 1024;
const SLOW_PAUSE: Duration = Duration::from_millis(30);
const BUFFER_BYTES: usize = 16 * 1024;
const MEMORY_MIB_MAX: u64 = 32;
/// What a peer accepts by default: 1,024 less what is kept for 64 downloads, the second ones of
/// 16 of them and a new connection to the registry, and the one that it has.
const CONNECTIONS: usize = 1_024 - 65 - 16 - 1;

/// A downloader that acknowledges whole chunks, and reads them a little at a time.
struct SlowDownloader {
    stream: TcpStream,
    chunk_left_bytes: usize,
    read_bytes: u64,
}

impl SlowDownloader {
    fn start(number: usize, to: SocketAddrV4) -> Self {
        let mut stream = connect_narrow(number, to, BUFFER_BYTES).unwrap();
        stream.set_read_timeout(Some(kit::DEADLINE)).unwrap();
        stream.write_all(&messages::request(NAME, Count::Bytes)).unwrap();
        Self { stream, chunk_left_bytes: 0, read_bytes: 0 }
    }

    /// Reads a little; an error if the uploader has closed or is silent for too long.
    fn read_some(&mut self) -> io::Result<()> {
        if self.chunk_left_bytes == 0 {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head)?;
            assert_eq!(head[0], b'T');
            self.chunk_left_bytes = messages::int(&head, 1) as usize;
        }
        let mut data = vec![0; self.chunk_left_bytes.min(SLOW_READ_BYTES)];
        self.stream.read_exact(&mut data)?;
        self.chunk_left_bytes -= data.len();
        self.read_bytes += data.len() as u64;
        if self.chunk_left_bytes == 0 {
            self.stream.write_all(&messages::acknowledgment(9))?;
        }
        Ok(())
    }
}

fn a_fast_peer_leaves_a_hundred_slow_ones_their_turn() {
    let _turn = alone();
    let world = World::new();
    let file = content(1, FILE_BYTES);
    let source = world.peer(1).has(NAME, &file).start();
    world.await_offer(1, NAME);
    let digest = digest_of(&file);
    let (fast_rounds, stop) = (AtomicU64::new(0), Stop::default());
    let done = AtomicU64::new(0);
    let read: Vec<u64> = thread::scope(|scope| {
        let fast = scope.spawn(|| {
            let mut downloader = RawDownloader::connect(source.address);
            while !stop.is_set() {
                assert_eq!(downloader.fetch(NAME).unwrap().1, digest);
                fast_rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        await_until("the fast one is at it", || fast_rounds.load(Ordering::Relaxed) > 0);
        let slow: Vec<_> = (0..SLOW_PEERS)
            .map(|number| {
                let (done, address) = (&done, source.address);
                scope.spawn(move || {
                    let mut downloader = SlowDownloader::start(number, address);
                    // Until half of them have all: what the others have by then tells how
                    // fair it was.
                    while downloader.read_bytes < SLOW_BYTES
                        && done.load(Ordering::Relaxed) < SLOW_PEERS as u64 / 2
                    {
                        downloader.read_some().unwrap();
                        thread::sleep(SLOW_PAUSE);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                    downloader.read_bytes
                })
            })
            .collect();
        let read = slow.into_iter().map(|thread| thread.join()).collect::<Vec<_>>();
        stop.set();
        fast.join().unwrap();
        read.into_iter().map(Result::unwrap).collect()
    });
    let (least, rounds) = (*read.iter().min().unwrap(), fast_rounds.into_inner());
    assert!(least >= SLOW_BYTES / 2, "one had {least} bytes when half of them had {SLOW_BYTES}");
    assert!(rounds >= 3, "the fast one was served {rounds} times beside the slow ones");
    source.process.assert_running();
}

/// A memory cgroup below our own.
struct MemoryCage(PathBuf);

impl MemoryCage {
    fn new() -> io::Result<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let ours = groups.lines().find_map(|line| line.split_once(":memory:"));
        let (_, ours) = ours.ok_or(io::ErrorKind::NotFound)?;
        let parent = PathBuf::from(format!("/sys/fs/cgroup/memory{ours}"));
        let folder = parent.join(format!("p2pfs-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let cage = Self(folder);
        let limit = (MEMORY_MIB_MAX << 20).to_string();
        fs::write(cage.0.join("memory.limit_in_bytes"), limit)?;
        Ok(cage)
    }

    fn lock_up(&self, process: &Process) {
        fs::write(self.0.join("cgroup.procs"), process.pid().to_string()).unwrap();
    }
}

impl Drop for MemoryCage {
    fn drop(&mut self) {
        // It can be removed once the processes in it are gone, which are ours.
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("{} is left: {error}", self.0.display());
        }
    }
}

fn every_connection_in_use_takes_32_mib() {
    every_connection_in_use(None);
}

/// Nothing more has room in the cage: neither sockets nor what is kept of files.
fn every_connection_in_use_takes_32_mib_with_the_kernels_part() {
    every_connection_in_use(Some(&MemoryCage::new().unwrap()));
}

fn every_connection_in_use(cage: Option<&MemoryCage>) {
    let _turn = alone();
    let world = World::new();
    let file = content(1, FILE_BYTES);
    let source = world.peer(1).has(NAME, &file).start();
    cage.into_iter().for_each(|cage| cage.lock_up(&source.process));
    world.await_offer(1, NAME);
    assert_eq!(RawDownloader::connect(source.address).fetch(NAME).unwrap().1, digest_of(&file));
    let process = &source.process;
    process.await_idle();
    let before = process.descriptors();
    let mut crowd = Vec::new();
    while crowd.len() < CONNECTIONS {
        crowd.push(SlowDownloader::start(crowd.len(), source.address));
        // Each has a socket, and its file open.
        await_until("it is served", || process.descriptors() >= before + 2 * crowd.len());
        // Whoever reads nothing for long is dropped, and a busy machine takes long for all.
        if crowd.len() % 32 == 0 {
            crowd.iter_mut().for_each(|downloader| downloader.read_some().unwrap());
        }
    }
    for _ in 0..10 {
        crowd.iter_mut().for_each(|downloader| downloader.read_some().unwrap());
    }
    // One of them becomes as fast as it can, among all the others.
    let mut fast = crowd.pop().unwrap();
    while fast.read_bytes < FILE_BYTES as u64 {
        fast.read_some().unwrap();
    }
    let mut eof = [0; messages::EOF_BYTES];
    fast.stream.read_exact(&mut eof).unwrap();
    assert_eq!(messages::text(&eof, 1), digest_of(&file));

    process.assert_memory_bounded();
    source.process.assert_running();
    drop((crowd, fast));
    await_until("its table is empty again", || process.descriptors() <= before);
    process.await_idle();
    drop(source);
}
