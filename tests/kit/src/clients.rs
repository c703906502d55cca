//! A downloader and a client of a registry that speak the protocol by hand, one step at a time,
//! and may speak it badly.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::messages::{self, Count, FIELD_BYTES};
use crate::{DEADLINE, is_timeout, reset_on_close};

/// A connection to one of our programs; dropping it closes it in order.
struct Connection(TcpStream);

impl Connection {
    fn to(address: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    /// The program may have closed by now, which reading tells.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// Returns `None` if it has closed, in order or not.
    #[track_caller]
    fn read(&mut self, len_bytes: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len_bytes];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if is_timeout(&error) => panic!("it does not answer"),
            Err(_) => None,
        }
    }
}

/// What an uploader sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Chunk(Vec<u8>),
    Eof(String),
    /// It closed the connection, in order or not.
    Closed,
}

/// A connection to an uploader.
pub struct RawDownloader {
    connection: Connection,
    id: u32,
}

impl RawDownloader {
    pub fn connect(uploader: SocketAddrV4) -> Self {
        Self { connection: Connection::to(uploader), id: 4_000_000_000 }
    }

    /// Sends anything. The uploader may have closed by now, which `listen` tells.
    pub fn send(&mut self, bytes: &[u8]) {
        self.connection.send(bytes);
    }

    pub fn request(&mut self, name: &str) {
        self.send(&messages::request(name, Count::Bytes));
    }

    /// Sends so many acknowledgments, all in one piece.
    pub fn acknowledge(&mut self, count: usize) {
        self.send(&messages::acknowledgment(self.id).repeat(count));
    }

    /// Returns the next message.
    #[track_caller]
    pub fn listen(&mut self) -> Heard {
        let Some(kind) = self.connection.read(1) else { return Heard::Closed };
        let rest = match kind[0] {
            b'E' => {
                self.connection.read(FIELD_BYTES).map(|field| Heard::Eof(messages::text(&field, 0)))
            }
            b'T' => self
                .connection
                .read(4)
                .and_then(|len| self.connection.read(messages::int(&len, 0) as usize))
                .map(Heard::Chunk),
            kind => panic!("the uploader sent a message of type {kind:#x}"),
        };
        rest.unwrap_or(Heard::Closed)
    }

    /// Returns whether nothing comes for a moment. Silence proves nothing by itself.
    pub fn is_silent_for(&mut self, moment: Duration) -> bool {
        let stream = &self.connection.0;
        stream.set_read_timeout(Some(moment)).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        peeked.is_err_and(|error| is_timeout(&error))
    }

    /// Requests a file and receives it in the ordinary way; returns its content and the digest
    /// sent with it, or `None` if the uploader closed before.
    #[track_caller]
    pub fn fetch(&mut self, name: &str) -> Option<(Vec<u8>, String)> {
        self.request(name);
        self.receive(Vec::new())
    }

    /// Receives the rest of a file.
    #[track_caller]
    pub fn receive(&mut self, mut received: Vec<u8>) -> Option<(Vec<u8>, String)> {
        loop {
            match self.listen() {
                Heard::Chunk(data) => {
                    received.extend_from_slice(&data);
                    self.acknowledge(1);
                }
                Heard::Eof(digest) => return Some((received, digest)),
                Heard::Closed => return None,
            }
        }
    }
}

/// What a registry answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Registered(u32),
    Address(String, u32),
    Error(String),
    /// It closed the connection, in order or not.
    Closed,
}

impl Answer {
    pub fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    pub fn address(address: SocketAddrV4) -> Self {
        Self::Address(address.ip().to_string(), address.port().into())
    }

    pub fn not_found() -> Self {
        Self::error("Target peer not found.")
    }
}

/// A connection to a registry.
pub struct RegistryClient(Connection);

impl RegistryClient {
    pub fn connect(registry: SocketAddrV4) -> Self {
        Self(Connection::to(registry))
    }

    /// A client that is registered for as long as it lives.
    #[track_caller]
    pub fn registered(registry: SocketAddrV4, peer: u32, port: u16) -> Self {
        let mut client = Self::connect(registry);
        assert_eq!(client.register(peer, port.into()), Answer::Registered(1));
        client
    }

    /// The same connection once more, for another thread.
    pub fn another_end(&self) -> Self {
        Self(Connection(self.0.0.try_clone().unwrap()))
    }

    /// Sends anything. The registry may have closed by now, which an answer tells.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes);
    }

    pub fn register(&mut self, peer: u32, port: u32) -> Answer {
        self.send(&messages::register_request(peer, port));
        self.answer()
    }

    pub fn lookup(&mut self, peer: u32) -> Answer {
        self.send(&messages::lookup_request(peer));
        self.answer()
    }

    /// Returns whether this peer is entered, at this address.
    pub fn knows(&mut self, peer: u32, address: SocketAddrV4) -> bool {
        self.lookup(peer) == Answer::address(address)
    }

    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let Some(kind) = self.0.read(2) else { return Answer::Closed };
        let mut read = |len_bytes| self.0.read(len_bytes).unwrap();
        match &kind[..] {
            b"SR" => Answer::Registered(messages::int(&read(4), 0)),
            b"SE" => Answer::Error(messages::text(&read(64), 0)),
            b"SL" => {
                let rest = read(68);
                Answer::Address(messages::text(&rest, 0), messages::int(&rest, 64))
            }
            _ => panic!("the registry answered {kind:?}"),
        }
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        reset_on_close(&self.0.0);
    }
}
