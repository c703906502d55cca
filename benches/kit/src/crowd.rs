//! Many connections of one bare process: downloads whose data is thrown away, or
//! connections on which nothing happens.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use sha2::{Digest, Sha256};

use crate::{Outcome, Process, part, pin};
use kit::messages::{self, Count, EOF_BYTES, acknowledgment, digest_of, request, text};

pub const DOWNLOADS: &str = "downloads";
pub const IDLE: &str = "idle";

const OUR_ID: u32 = 4_000_000_000;
const CHECKED: &str = "checked ";
const READ_BYTES: usize = 256 * 1024;

/// What the downloads are to do.
#[derive(Clone, Copy, Debug)]
pub enum Until<'a> {
    /// Each fetches the file once.
    Once,
    /// The same, and each compares the checksum of what came with the one it was sent and
    /// with that of the original: outside of what is measured.
    Checked(&'a Path),
    /// Each fetches the file again and again, for so many milliseconds.
    Milliseconds(u64),
}

/// Downloads that run.
pub struct Downloads(Process);

/// What became of them.
#[derive(Clone, Copy, Debug)]
pub struct Drunk {
    /// Data a second over all of them.
    pub mb_per_s: f64,
    /// Time on a core.
    pub cpu: Duration,
}

impl Downloads {
    /// Makes all the connections, and begins.
    pub fn start(address: &str, name: &str, count: usize, until: Until) -> Outcome<Self> {
        let until = match until {
            Until::Once => "once".to_owned(),
            Until::Checked(original) => format!("{CHECKED}{}", digest_of(&fs::read(original)?)),
            Until::Milliseconds(ms) => ms.to_string(),
        };
        Ok(Self(part(DOWNLOADS, &[address, name, &count.to_string(), &until])))
    }

    /// Keeps them on one core.
    pub fn pin(&self, core: usize) {
        pin(&self.0, core);
    }

    /// Waits until the first data came.
    pub fn await_data(&self) {
        self.0.await_stdout("data");
    }

    pub fn finish(self) -> Outcome<Drunk> {
        let (_, line) = self.0.await_stdout("moved ");
        let ended = self.0.await_success();
        let numbers: Vec<f64> =
            line.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        let [bytes, seconds] = numbers[..] else { return Err("not two numbers".into()) };
        Ok(Drunk { mb_per_s: bytes / 1e6 / seconds, cpu: ended.usage.cpu })
    }
}

/// Connections that say nothing, until they are dropped.
pub fn start_idle(address: &str, count: usize) -> Process {
    let process = part(IDLE, &[address, &count.to_string()]);
    process.await_stdout("connected");
    process
}

struct Download<'a> {
    stream: TcpStream,
    /// What came of the next head or EOF.
    begun: Vec<u8>,
    chunk_left_bytes: u64,
    /// With the checksum that is expected.
    hash: Option<(Sha256, &'a str)>,
    is_done: bool,
}

/// Arguments: the address, the name, how many, and until when.
pub fn downloads(arguments: &[String]) -> Outcome<()> {
    let [address, name, count, until] = arguments else { return Err("four arguments".into()) };
    let expected = until.strip_prefix(CHECKED);
    let time: Option<Duration> = until.parse().ok().map(Duration::from_millis);
    let request = request(name, Count::Bytes);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut downloads = Vec::new();
    for number in 0..count.parse()? {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, EventData::new_u64(number), EventFlags::IN)?;
        let hash = expected.map(|expected| (Sha256::new(), expected));
        let begun = Vec::with_capacity(EOF_BYTES);
        downloads.push(Download { stream, begun, chunk_left_bytes: 0, hash, is_done: false });
    }
    let begin = Instant::now();
    for download in &mut downloads {
        download.stream.write_all(&request)?;
    }
    let mut left = downloads.len();
    let (mut buffer, mut moved_bytes) = (vec![0; READ_BYTES], 0);
    let mut events = Vec::with_capacity(1024);
    while left > 0 && time.is_none_or(|time| begin.elapsed() < time) {
        wait(&poll, &mut events)?;
        for event in &events {
            let download = &mut downloads[event.data.u64() as usize];
            let len = match download.stream.read(&mut buffer) {
                Ok(0) => return Err("the uploader closed".into()),
                Ok(len) => len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if moved_bytes == 0 {
                println!("data");
            }
            moved_bytes += len;
            download.take(&buffer[..len])?;
            if std::mem::take(&mut download.is_done) {
                match time {
                    Some(_) => download.stream.write_all(&request)?,
                    None => left -= 1,
                }
            }
        }
    }
    println!("moved {moved_bytes} {}", begin.elapsed().as_secs_f64());
    Ok(())
}

impl Download<'_> {
    fn take(&mut self, mut bytes: &[u8]) -> Outcome<()> {
        let mut acknowledgments = Vec::new();
        while !bytes.is_empty() {
            if self.chunk_left_bytes > 0 {
                let len = usize::try_from(self.chunk_left_bytes)?.min(bytes.len());
                let (data, rest) = bytes.split_at(len);
                if let Some((hash, _)) = &mut self.hash {
                    hash.update(data);
                }
                self.chunk_left_bytes -= len as u64;
                bytes = rest;
                if self.chunk_left_bytes == 0 {
                    acknowledgments.extend_from_slice(&acknowledgment(OUR_ID));
                }
                continue;
            }
            let is_eof = *self.begun.first().unwrap_or(&bytes[0]) == b'E';
            let whole = if is_eof { EOF_BYTES } else { 5 };
            let (now, rest) = bytes.split_at(bytes.len().min(whole - self.begun.len()));
            self.begun.extend_from_slice(now);
            bytes = rest;
            if self.begun.len() == whole {
                match is_eof {
                    true => self.end()?,
                    false => self.chunk_left_bytes = messages::int(&self.begun, 1).into(),
                }
                self.begun.clear();
            }
        }
        Ok(self.stream.write_all(&acknowledgments)?)
    }

    fn end(&mut self) -> Outcome<()> {
        self.is_done = true;
        if let Some((hash, expected)) = self.hash.take() {
            let ours: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if ours != text(&self.begun, 1) || ours != expected {
                return Err("the checksum is wrong".into());
            }
        }
        Ok(())
    }
}

/// Arguments: the address, how many.
pub fn idle(arguments: &[String]) -> Outcome<()> {
    let [address, count] = arguments else { return Err("two arguments".into()) };
    take_all_descriptors();
    let mut streams = Vec::new();
    for _ in 0..count.parse()? {
        streams.push(TcpStream::connect(address)?);
    }
    println!("connected");
    loop {
        thread::park();
    }
}

/// Takes as many descriptors as the system allows; gives how many those are.
pub fn take_all_descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // If that is not granted, what there is has to do.
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| n as usize)
}

fn wait(poll: &OwnedFd, events: &mut Vec<epoll::Event>) -> Outcome<()> {
    events.clear();
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let buffer = rustix::buffer::spare_capacity(events);
    match epoll::wait(poll, buffer, Some(&timeout)) {
        Err(error) if error != Errno::INTR => Err(error.into()),
        _ => Ok(()),
    }
}
