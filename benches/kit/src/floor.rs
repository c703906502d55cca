//! The floor: the least program that could do a transfer. A sender and a receiver
//! with blocking sockets; for each file its length and its data, nothing else; the
//! receiver receives, hashes and writes in one thread.
//!
//! It is tried with several sizes of its own and of the kernel's buffers and both ways of
//! sending, and what is best on this machine counts.

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use rustix::net::{AddressFamily, SocketType, sockopt};
use sha2::{Digest, Sha256};

use crate::content::{check_same, empty};
use crate::download::Run;
use crate::{Outcome, Process, Settings, Spread, Usage, part};

pub const SENDER: &str = "floor-sender";
pub const RECEIVER: &str = "floor-receiver";

/// What the receiver says before it connects, and after the last file.
const BEGUN: &str = "begun";
const DONE: &str = "done";

/// Files that the receiver syncs one after the other: the first then takes the metadata of
/// all with it.
const SYNCED_TOGETHER: usize = 64;

/// Of all setups, so many are tried more than once.
const BEST: usize = 4;

/// How the floor sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub sending: Sending,
    pub buffer_bytes: usize,
    /// The kernel's receive buffer: this size, or what the kernel finds right.
    pub kernel_buffer_bytes: Option<usize>,
}

/// The ways to get a file into a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    Sendfile,
    ReadAndWrite,
}

/// What verifies a file: that of protocol version 0, and that of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Blake3,
}

/// A floor that serves the files of a folder.
pub struct Floor {
    pub setup: Setup,
    /// What its receivers hash with.
    pub hash: Hash,
    sender: Process,
    address: SocketAddrV4,
}

/// A receiver that runs.
pub struct Receiver(Process);

impl Hash {
    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Blake3 => "BLAKE3",
        }
    }
}

/// A hash that is being computed.
enum Hasher {
    Sha256(Sha256),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    fn new(hash: &str) -> Self {
        match hash == Hash::Blake3.name() {
            true => Self::Blake3(Box::default()),
            false => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => _ = hasher.update(bytes),
        }
    }

    fn finish(self) {
        match self {
            Self::Sha256(hasher) => _ = black_box(hasher.finalize()),
            Self::Blake3(hasher) => _ = black_box(hasher.finalize()),
        }
    }
}

impl Setup {
    fn all(settings: &Settings) -> Vec<Self> {
        let buffers: &[usize] = settings.choose(&[64, 256, 1024], &[256]);
        let kernel_buffers: &[Option<usize>] =
            settings.choose(&[None, Some(128), Some(512)], &[None]);
        let mut setups = Vec::new();
        for sending in [Sending::Sendfile, Sending::ReadAndWrite] {
            for buffer_bytes in buffers.iter().map(|kib| kib * 1024) {
                for kernel_buffer in kernel_buffers {
                    let kernel_buffer_bytes = kernel_buffer.map(|kib| kib * 1024);
                    setups.push(Self { sending, buffer_bytes, kernel_buffer_bytes });
                }
            }
        }
        setups
    }

    pub fn name(self) -> String {
        let sending = match self.sending {
            Sending::Sendfile => "sendfile",
            Sending::ReadAndWrite => "read and write",
        };
        let kernel = match self.kernel_buffer_bytes {
            Some(bytes) => format!(" (kernel's {} KiB)", bytes / 1024),
            None => String::new(),
        };
        format!("{sending}, {} KiB{kernel}", self.buffer_bytes / 1024)
    }
}

impl Floor {
    /// One that serves so many receivers at once, each in a thread.
    pub fn start(setup: Setup, folder: &Path, receivers: usize) -> Self {
        let sending = match setup.sending {
            Sending::Sendfile => "sendfile",
            Sending::ReadAndWrite => "copy",
        };
        let folder = folder.display().to_string();
        let [buffer, receivers] = [setup.buffer_bytes, receivers].map(|number| number.to_string());
        let sender = part(SENDER, &[&folder, sending, &buffer, &receivers]);
        let address = sender.await_listening();
        Self { setup, hash: Hash::Sha256, sender, address }
    }

    /// The fastest on this machine, from `shared` into `fetched`. Says what was tried.
    pub fn best(
        settings: &Settings,
        shared: &Path,
        fetched: &Path,
        is_synced: bool,
    ) -> Outcome<(Self, String)> {
        let start = |setup| Self::start(setup, shared, 1);
        Self::best_of(settings, start, |floor| {
            let elapsed = floor.run(fetched, is_synced).elapsed;
            empty(fetched)?;
            Ok(elapsed)
        })
    }

    /// The one with the shortest time. Says what was tried.
    pub fn best_of(
        settings: &Settings,
        start: impl Fn(Setup) -> Self,
        run: impl Fn(&Self) -> Outcome<Duration>,
    ) -> Outcome<(Self, String)> {
        let floors = Setup::all(settings).into_iter().map(start);
        let floors: Vec<Self> = floors.collect();
        let time = |floor: &Self| Ok::<_, Box<dyn Error>>(run(floor)?.as_secs_f64());
        // One to fill the caches; each once; then the best few again.
        time(&floors[0])?;
        let mut tried = Vec::new();
        for floor in floors {
            tried.push((vec![time(&floor)?], floor));
        }
        let rank = |tried: &mut Vec<(Vec<f64>, Self)>| {
            tried.sort_by(|(one, _), (other, _)| {
                Spread::of(one).median.total_cmp(&Spread::of(other).median)
            });
        };
        rank(&mut tried);
        let count = tried.len();
        tried.truncate(BEST);
        for _ in 0..settings.choose(4, 0) {
            for (elapsed_s, floor) in &mut tried {
                elapsed_s.push(time(floor)?);
            }
        }
        rank(&mut tried);
        let words: Vec<_> = tried
            .iter()
            .map(|(s, floor)| format!("{} {:.3} s", floor.setup.name(), Spread::of(s).median))
            .collect();
        let words = format!("floor, the best of {count}: {}", words.join("; "));
        let (_, best) = tried.into_iter().next().ok_or("no floor")?;
        Ok((best, words))
    }

    /// A receiver, which begins at once.
    pub fn receiver(&self, fetched: &Path, is_synced: bool) -> Receiver {
        let fetched = fetched.display().to_string();
        let (address, buffer) = (self.address.to_string(), self.setup.buffer_bytes.to_string());
        let sync = if is_synced { "sync" } else { "no-sync" };
        let kernel = self.setup.kernel_buffer_bytes.unwrap_or(0).to_string();
        let hash = self.hash.name();
        Receiver(part(RECEIVER, &[&address, &*fetched, sync, &buffer, &kernel, hash]))
    }

    /// Receivers wait until [`Floor::open`].
    pub fn close(&self) {
        self.sender.pause();
    }

    /// All that wait, or come now, are served, from the moment given back.
    pub fn open(&self) -> Instant {
        self.sender.resume()
    }

    /// One receiver from its start to its end.
    pub fn run(&self, fetched: &Path, is_synced: bool) -> Run {
        let before = self.sender.usage();
        let (begun, done, receiver) = self.receiver(fetched, is_synced).finish();
        let elapsed = done.saturating_duration_since(begun);
        let sender = self.sender.usage().since(before);
        Run { elapsed, sender, receiver }
    }

    /// The time on a core of all threads of the sender so far, to some 10 ms.
    pub fn sender_cpu(&self) -> Duration {
        self.sender.cpu_of_all()
    }

    /// The same as [`Floor::run`], and compares what came.
    pub fn checked_run(
        &self,
        names: &[String],
        shared: &Path,
        fetched: &Path,
        is_synced: bool,
    ) -> Outcome<Run> {
        let run = self.run(fetched, is_synced);
        check_same(names, shared, fetched)?;
        empty(fetched)?;
        Ok(run)
    }
}

impl Receiver {
    /// Waits until it begins, which is before it connects.
    pub fn await_begun(&self) {
        self.0.await_stdout(BEGUN);
    }

    /// When it began and was done, and what it cost.
    pub fn finish(self) -> (Instant, Instant, Usage) {
        let (begun, _) = self.0.await_stdout(BEGUN);
        let (done, _) = self.0.await_stdout(DONE);
        let ended = self.0.await_success();
        (begun, done, ended.usage)
    }
}

/// Arguments: the folder, the way of sending, the size of the buffer, how many receivers
/// are served at once. The last of them is served by the first thread, whose time is
/// counted.
pub fn sender(arguments: &[String]) -> Outcome<()> {
    let [folder, sending, buffer_bytes, receivers] = arguments else {
        return Err("four arguments".into());
    };
    let receivers: usize = receivers.parse()?;
    let sending = match sending.as_str() {
        "sendfile" => Sending::Sendfile,
        _ => Sending::ReadAndWrite,
    };
    let buffer_bytes = buffer_bytes.parse()?;
    let setup = Setup { sending, buffer_bytes, kernel_buffer_bytes: None };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    let paths = Arc::new(paths);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let mut others = Vec::new();
        for _ in 1..receivers {
            let (other, _) = listener.accept()?;
            let paths = Arc::clone(&paths);
            others.push(thread::spawn(move || send_all(&other, &paths, setup).is_ok()));
        }
        let (stream, _) = listener.accept()?;
        // A receiver that leaves is its own business.
        let _ = send_all(&stream, &paths, setup);
        for other in others {
            let _ = other.join();
        }
    }
}

fn send_all(mut stream: &TcpStream, paths: &[PathBuf], setup: Setup) -> Outcome<()> {
    let mut buffer = vec![0; setup.buffer_bytes];
    stream.set_nodelay(true)?;
    for path in paths {
        let mut file = File::open(path)?;
        let len_bytes = file.metadata()?.len();
        stream.write_all(&len_bytes.to_be_bytes())?;
        match setup.sending {
            Sending::Sendfile => {
                let mut left_bytes = len_bytes;
                while left_bytes > 0 {
                    let len = setup.buffer_bytes.min(usize::try_from(left_bytes)?);
                    left_bytes -= rustix::fs::sendfile(stream, &file, None, len)? as u64;
                }
            }
            Sending::ReadAndWrite => loop {
                let len = file.read(&mut buffer)?;
                if len == 0 {
                    break;
                }
                stream.write_all(&buffer[..len])?;
            },
        }
    }
    Ok(())
}

/// Arguments: the address, the folder, whether to sync, the size of the buffer, that of the
/// kernel's, 0 for the usual, and the hash.
pub fn receiver(arguments: &[String]) -> Outcome<()> {
    let [address, folder, sync, buffer_bytes, kernel_buffer_bytes, hash] = arguments else {
        return Err("six arguments".into());
    };
    let (folder, is_synced) = (Path::new(folder), sync == "sync");
    let mut buffer = vec![0; buffer_bytes.parse()?];
    println!("{BEGUN}");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let kernel_buffer_bytes: usize = kernel_buffer_bytes.parse()?;
    if kernel_buffer_bytes > 0 {
        // The kernel doubles it, to have room for its own.
        sockopt::set_socket_recv_buffer_size(&socket, kernel_buffer_bytes / 2)?;
    }
    rustix::net::connect(&socket, &address.parse::<SocketAddrV4>()?)?;
    let mut stream = TcpStream::from(socket);
    let mut unsynced = Vec::new();
    for number in 0.. {
        let mut left_bytes = [0; 8];
        match stream.read_exact(&mut left_bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            outcome => outcome?,
        }
        let mut left_bytes = u64::from_be_bytes(left_bytes);
        let mut file = File::create_new(folder.join(format!("file-{number:05}")))?;
        let mut hasher = Hasher::new(hash);
        while left_bytes > 0 {
            let wanted = usize::try_from(left_bytes)?.min(buffer.len());
            let len = stream.read(&mut buffer[..wanted])?;
            if len == 0 {
                return Err("the sender closed in the middle of a file".into());
            }
            hasher.update(&buffer[..len]);
            file.write_all(&buffer[..len])?;
            left_bytes -= len as u64;
        }
        hasher.finish();
        if is_synced {
            // Has it written back, while others come.
            fadvise(&file, 0, None, Advice::DontNeed)?;
            unsynced.push(file);
        }
        if unsynced.len() == SYNCED_TOGETHER {
            unsynced.drain(..).try_for_each(|file| file.sync_all())?;
        }
    }
    if is_synced {
        unsynced.drain(..).try_for_each(|file| file.sync_all())?;
        File::open(folder)?.sync_all()?;
    }
    println!("{DONE}");
    Ok(())
}
