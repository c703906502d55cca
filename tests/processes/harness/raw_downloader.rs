//! A downloader that speaks the protocol by hand, one step at a time.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use super::{DEADLINE, is_timeout};
use crate::messages::{self, Count, FIELD_BYTES};

/// What an uploader sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Chunk(Vec<u8>),
    Eof(String),
    /// It closed the connection, in order or not.
    Closed,
}

/// A connection to an uploader.
pub(crate) struct RawDownloader {
    stream: TcpStream,
    id: u32,
}

impl RawDownloader {
    pub(crate) fn connect(uploader: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(uploader).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream, id: 4_000_000_000 }
    }

    /// Sends anything. The uploader may have closed by now, which `listen` tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn request(&mut self, name: &str) {
        self.send(&messages::request(name, Count::Bytes));
    }

    /// Sends so many acknowledgments, all in one piece.
    pub(crate) fn acknowledge(&mut self, count: usize) {
        self.send(&messages::acknowledgment(self.id).repeat(count));
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn listen(&mut self) -> Heard {
        let Some(kind) = self.read(1) else { return Heard::Closed };
        let rest = match kind[0] {
            b'E' => self.read(FIELD_BYTES).map(|field| Heard::Eof(messages::text(&field, 0))),
            b'T' => self
                .read(4)
                .and_then(|len| self.read(messages::int(&len, 0) as usize))
                .map(Heard::Chunk),
            kind => panic!("the uploader sent a message of type {kind:#x}"),
        };
        rest.unwrap_or(Heard::Closed)
    }

    /// Whether nothing comes for a moment. Silence proves nothing by itself.
    pub(crate) fn is_silent_for(&mut self, moment: Duration) -> bool {
        self.stream.set_read_timeout(Some(moment)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        peeked.is_err_and(|error| is_timeout(&error))
    }

    /// Requests a file and receives it in the ordinary way: its content and the
    /// digest sent with it. `None` if the uploader closed before.
    #[track_caller]
    pub(crate) fn fetch(&mut self, name: &str) -> Option<(Vec<u8>, String)> {
        self.request(name);
        self.receive(Vec::new())
    }

    /// Receives the rest of a file.
    #[track_caller]
    pub(crate) fn receive(&mut self, mut received: Vec<u8>) -> Option<(Vec<u8>, String)> {
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

    #[track_caller]
    fn read(&mut self, len_bytes: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len_bytes];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if is_timeout(&error) => panic!("the uploader is silent"),
            Err(_) => None,
        }
    }
}
