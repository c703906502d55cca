//! A client of a registry that speaks the protocol by hand, and may speak it badly.

use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use super::{DEADLINE, reset_on_close};
use crate::messages;

/// What a registry answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Registered(u32),
    Address(String, u32),
    Error(String),
    /// It closed the connection, in order or not.
    Closed,
}

impl Answer {
    pub(crate) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    pub(crate) fn address(address: SocketAddrV4) -> Self {
        Self::Address(address.ip().to_string(), address.port().into())
    }

    pub(crate) fn not_found() -> Self {
        Self::error("Target peer not found.")
    }
}

/// A connection to a registry; dropping it closes it in order.
pub(crate) struct RegistryClient {
    stream: TcpStream,
}

impl RegistryClient {
    pub(crate) fn connect(registry: SocketAddrV4) -> Self {
        let stream = TcpStream::connect(registry).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { stream }
    }

    /// The same connection once more, for another thread.
    pub(crate) fn another_end(&self) -> Self {
        Self { stream: self.stream.try_clone().unwrap() }
    }

    /// Sends anything. The registry may have closed by now, which an answer tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn register(&mut self, peer: u32, port: u32) -> Answer {
        self.send(&messages::register_request(peer, port));
        self.answer()
    }

    pub(crate) fn lookup(&mut self, peer: u32) -> Answer {
        self.send(&messages::lookup_request(peer));
        self.answer()
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let Some(kind) = self.read(2) else { return Answer::Closed };
        match &kind[..] {
            b"SR" => Answer::Registered(messages::int(&self.read(4).unwrap(), 0)),
            b"SE" => Answer::Error(messages::text(&self.read(64).unwrap(), 0)),
            b"SL" => {
                let rest = self.read(68).unwrap();
                Answer::Address(messages::text(&rest, 0), messages::int(&rest, 64))
            }
            _ => panic!("the registry answered {kind:?}"),
        }
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        reset_on_close(&self.stream);
    }

    #[track_caller]
    fn read(&mut self, len_bytes: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len_bytes];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if super::is_timeout(&error) => panic!("the registry does not answer"),
            Err(_) => None,
        }
    }
}
