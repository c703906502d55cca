//! A peer of version 1 that speaks with one of our programs by hand, one request at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use p2pfs::content::Content;
use p2pfs::limits::Limits;
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::{Request, Session, SessionEvent, SessionSettings};
use p2pfs::wire::v1::{EntryState, PeerName, Value, Verdict};
use p2pfs::wire::{FilePath, PeerId};

use crate::{DEADLINE, is_timeout};

/// A session with a program; dropping it closes the connection.
pub struct RawSession {
    stream: TcpStream,
    session: Session,
    bytes: Vec<u8>,
    at: usize,
}

impl RawSession {
    pub fn connect(program: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(program).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let our = SessionSettings {
            peer: PeerId(4_000_000_000),
            instance: fastrand::u64(1..),
            name: PeerName::new("raw").unwrap(),
        };
        let session = Session::new(Instant::now(), &Rc::new(Limits::PEER), &Rc::new(our), true);
        Self { stream, session, bytes: Vec::new(), at: 0 }
    }

    fn flush(&mut self) {
        while let Some(Transmit::Bytes { bytes, .. }) = self.session.transmit() {
            // The program may have closed by now, which reading tells.
            let _ = self.stream.write_all(bytes);
            let len = bytes.len();
            self.session.transmitted(Instant::now(), len);
        }
    }

    pub fn request(&mut self, request: &Request) -> u32 {
        let req = self.session.request(Instant::now(), request).expect("there is room");
        self.flush();
        req
    }

    pub fn tell(&mut self, content: Content, verdict: Verdict) {
        self.session.tell(Instant::now(), content, verdict);
        self.flush();
    }

    /// Returns what comes next, with the bytes that it speaks of; `None` once the program has
    /// closed.
    #[track_caller]
    pub fn listen(&mut self) -> Option<(SessionEvent, Vec<u8>)> {
        loop {
            let event = self.session.handle_bytes(Instant::now(), &self.bytes, &mut self.at);
            self.flush();
            match event {
                Ok(Some(SessionEvent::Data { req, range, is_last })) => {
                    let data = self.bytes[range.clone()].to_vec();
                    return Some((SessionEvent::Data { req, range, is_last }, data));
                }
                Ok(Some(event)) => return Some((event, Vec::new())),
                Ok(None) => {}
                Err(reason) => panic!("the program breaks a rule: {reason}"),
            }
            self.bytes.resize(64 * 1024, 0);
            match self.stream.read(&mut self.bytes) {
                Ok(0) => return None,
                Ok(len) => (self.bytes.truncate(len), self.at = 0).0,
                Err(error) if is_timeout(&error) => panic!("it does not answer"),
                Err(_) => return None,
            }
        }
    }

    /// Returns what it shares, once all of it has its id.
    #[track_caller]
    pub fn list(&mut self) -> BTreeMap<FilePath, EntryState> {
        let (since, path, watch, hash_first, fetch_list) = (0, None, false, true, false);
        self.request(&Request::List { since, path, watch, hash_first, fetch_list });
        let mut map = BTreeMap::new();
        while let Some((event, _)) = self.listen() {
            if let SessionEvent::Page { page, entries, .. } = event {
                map.extend(entries.into_iter().map(|entry| (entry.path, entry.state)));
                if page.complete {
                    return map;
                }
            }
        }
        panic!("it closes")
    }

    /// Returns the values of all blocks.
    #[track_caller]
    pub fn manifest(&mut self, content: Content) -> Vec<Value> {
        loop {
            self.request(&Request::Manifest(content));
            match self.listen().expect("it is open").0 {
                SessionEvent::Manifest { values, .. } => return values,
                // It hashes the file once more.
                SessionEvent::Failed { wait_ms, .. } if wait_ms > 0 => {
                    std::thread::sleep(std::time::Duration::from_millis(wait_ms.into()));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Returns a turn: the number of its wait, and how many blocks it has.
    #[track_caller]
    pub fn wait_for_turn(&mut self, content: Content) -> (u32, u32) {
        self.request(&Request::Wait(content));
        match self.listen().expect("it is open").0 {
            SessionEvent::Turn { req, blocks } => (req, blocks),
            other => panic!("{other:?}"),
        }
    }

    /// Returns the bytes of some blocks.
    #[track_caller]
    pub fn get(&mut self, turn: u32, content: Content, first: u32, count: u32) -> Vec<u8> {
        self.request(&Request::Get { turn, content, first, count });
        let mut got = Vec::new();
        loop {
            match self.listen().expect("it is open") {
                (SessionEvent::Data { is_last, .. }, data) => {
                    got.extend(data);
                    if is_last {
                        return got;
                    }
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    /// Fetches a content, block by block.
    #[track_caller]
    pub fn fetch(&mut self, content: Content) -> Vec<u8> {
        if content.blocks() < 2 {
            return self.get(0, content, 0, 1);
        }
        let (mut got, mut next) = (Vec::new(), 0);
        while next < content.blocks() {
            let (turn, blocks) = self.wait_for_turn(content);
            for _ in 0..blocks.min(content.blocks() - next) {
                got.extend(self.get(turn, content, next, 1));
                next += 1;
            }
        }
        got
    }
}
