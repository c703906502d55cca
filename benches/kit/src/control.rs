//! The control: a bare single-threaded epoll program that moves the same bytes as our
//! uploader in the same pattern, and decides nothing. It answers a request with chunks and
//! an EOF, with as many chunks in flight as the window takes, and trusts whoever connects.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, sockopt};

use crate::{Outcome, Process, part};
use kit::messages::{ACKNOWLEDGMENT_BYTES, EOF_BYTES, REQUEST_BYTES, digest_of, eof, text};

pub const UPLOADER: &str = "control-uploader";

const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 1024;
const READ_BYTES: usize = 64 * 1024;

/// Starts an uploader of the files in a folder. A connection sends `turn_bytes` before others
/// have their turn.
pub fn start_uploader(
    folder: &Path,
    chunk_bytes: u32,
    window_bytes: u32,
    turn_bytes: usize,
) -> (Process, SocketAddrV4) {
    let folder = folder.display().to_string();
    let [chunk, window] = [chunk_bytes, window_bytes].map(|bytes| bytes.to_string());
    let process = part(UPLOADER, &[&folder, &chunk, &window, &turn_bytes.to_string()]);
    let address = process.await_listening();
    (process, address)
}

struct Connection {
    socket: OwnedFd,
    state: Upload,
    is_sending: bool,
}

fn serve(control: &Uploader) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    println!("listening {}", listener.local_addr()?);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(error) if error != Errno::INTR => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == LISTENER {
                while let Ok(socket) = rustix::net::accept_with(&listener, SocketFlags::NONBLOCK) {
                    sockopt::set_tcp_nodelay(&socket, true)?;
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    epoll::add(&poll, &socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
                    let state = Upload::default();
                    connections[slot] = Some(Connection { socket, state, is_sending: false });
                }
                continue;
            }
            let slot = data.u64() as usize;
            let Some(connection) = &mut connections[slot] else { continue };
            let is_alive = connection.serve(control, &poll, data, flags, &mut buffer);
            if is_alive.is_err() {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

impl Connection {
    fn serve(
        &mut self,
        control: &Uploader,
        poll: &OwnedFd,
        data: EventData,
        flags: EventFlags,
        buffer: &mut [u8],
    ) -> Result<(), Errno> {
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match rustix::io::read(&self.socket, &mut *buffer) {
                Ok(0) => return Err(Errno::PIPE),
                Ok(len) => control.received(&mut self.state, &buffer[..len]),
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        let is_sending = match control.send(&mut self.state, &self.socket) {
            Err(Errno::AGAIN) => true,
            outcome => outcome?,
        };
        if is_sending != self.is_sending {
            self.is_sending = is_sending;
            let out = if is_sending { EventFlags::OUT } else { EventFlags::empty() };
            epoll::modify(poll, &self.socket, data, EventFlags::IN | out)?;
        }
        Ok(())
    }
}

struct Uploader {
    files: BTreeMap<String, (File, u64, Vec<u8>)>,
    chunk_bytes: u64,
    chunks_in_flight_max: u64,
    turn_bytes: u64,
}

#[derive(Default)]
struct Upload {
    /// What came of the next message.
    begun: Vec<u8>,
    /// The file that is being sent, and how far it is.
    name: Option<String>,
    offset: u64,
    chunk_left_bytes: u64,
    in_flight: u64,
    /// A head, or the rest of it.
    head: Vec<u8>,
}

impl Uploader {
    /// These bytes came.
    fn received(&self, state: &mut Upload, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let kind = *state.begun.first().unwrap_or(&bytes[0]);
            let whole = if kind == b'R' { REQUEST_BYTES } else { ACKNOWLEDGMENT_BYTES };
            let (now, rest) = bytes.split_at(bytes.len().min(whole - state.begun.len()));
            state.begun.extend_from_slice(now);
            bytes = rest;
            if state.begun.len() == whole {
                match kind {
                    b'R' => state.name = Some(text(&state.begun, 5)),
                    _ => state.in_flight = state.in_flight.saturating_sub(1),
                }
                state.begun.clear();
            }
        }
    }

    /// Sends until there is nothing left or `turn_bytes` are sent. Whether something is
    /// left to send.
    fn send(&self, state: &mut Upload, socket: &OwnedFd) -> Result<bool, Errno> {
        let mut budget_bytes = self.turn_bytes;
        loop {
            if !state.head.is_empty() {
                let more =
                    if state.chunk_left_bytes > 0 { SendFlags::MORE } else { SendFlags::empty() };
                let len = rustix::net::send(socket, &state.head, SendFlags::NOSIGNAL | more)?;
                state.head.drain(..len);
                continue;
            }
            let Some(name) = &state.name else { return Ok(false) };
            let (file, size_bytes, end) = self.files.get(name).ok_or(Errno::NOENT)?;
            if state.chunk_left_bytes > 0 {
                if budget_bytes == 0 {
                    return Ok(true);
                }
                let len = budget_bytes.min(state.chunk_left_bytes);
                let sent =
                    rustix::fs::sendfile(socket, file, Some(&mut state.offset), len as usize)?;
                state.chunk_left_bytes -= sent as u64;
                budget_bytes -= sent as u64;
            } else if state.offset == *size_bytes {
                state.head.extend_from_slice(end);
                (state.name, state.offset) = (None, 0);
            } else if state.in_flight < self.chunks_in_flight_max {
                let len = self.chunk_bytes.min(size_bytes - state.offset);
                state.head.push(b'T');
                state.head.extend_from_slice(&(len as u32).to_be_bytes());
                state.chunk_left_bytes = len;
                state.in_flight += 1;
            } else {
                // The next acknowledgment wakes it.
                return Ok(false);
            }
        }
    }
}

/// Arguments: the folder, the sizes of a chunk, of the window and of a turn.
pub fn uploader(arguments: &[String]) -> Outcome<()> {
    let [folder, chunk_bytes, window_bytes, turn_bytes] = arguments else {
        return Err("four arguments".into());
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let content = fs::read(entry.path())?;
        let end = eof(&digest_of(&content));
        debug_assert_eq!(end.len(), EOF_BYTES);
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, (File::open(entry.path())?, content.len() as u64, end));
    }
    let (chunk_bytes, window_bytes): (u64, u64) = (chunk_bytes.parse()?, window_bytes.parse()?);
    let (chunks_in_flight_max, turn_bytes) = (window_bytes / chunk_bytes, turn_bytes.parse()?);
    serve(&Uploader { files, chunk_bytes, chunks_in_flight_max, turn_bytes })
}
