//! The messages of protocol version 0, encoded and decoded by hand.
//!
//! Written from PROTOCOL.md section 1 and on purpose apart from the crate's own
//! code: a mistake made there is not repeated here.

use std::net::SocketAddrV4;

use sha2::{Digest, Sha256};

/// UTF-8, then NULs.
pub const FIELD_BYTES: usize = 64;
pub const OFFER_BYTES: usize = 73;
pub const REQUEST_BYTES: usize = 69;
pub const ACKNOWLEDGMENT_BYTES: usize = 5;
pub const EOF_BYTES: usize = 65;

/// What a name length counts: ours bytes, the reference's characters.
#[derive(Clone, Copy)]
pub enum Count {
    Bytes,
    Characters,
}

impl Count {
    fn of(self, name: &str) -> u32 {
        let count = match self {
            Self::Bytes => name.len(),
            Self::Characters => name.chars().count(),
        };
        count as u32
    }
}

pub fn offer(peer: u32, name: &str, count: Count) -> Vec<u8> {
    join(&[b"O", &peer.to_be_bytes(), &count.of(name).to_be_bytes(), &field(name)])
}

pub fn request(name: &str, count: Count) -> Vec<u8> {
    join(&[b"R", &count.of(name).to_be_bytes(), &field(name)])
}

pub fn chunk(data: &[u8]) -> Vec<u8> {
    join(&[b"T", &(data.len() as u32).to_be_bytes(), data])
}

pub fn acknowledgment(peer: u32) -> Vec<u8> {
    join(&[b"A", &peer.to_be_bytes()])
}

/// The EOF of a digest in hexadecimal.
pub fn eof(digest: &str) -> Vec<u8> {
    join(&[b"E", &field(digest)])
}

pub fn register_request(peer: u32, port: u32) -> Vec<u8> {
    join(&[b"SR", &peer.to_be_bytes(), &port.to_be_bytes()])
}

pub fn register_response(success: u32) -> Vec<u8> {
    join(&[b"SR", &success.to_be_bytes()])
}

pub fn lookup_request(peer: u32) -> Vec<u8> {
    join(&[b"SL", &peer.to_be_bytes()])
}

pub fn lookup_response(host: &str, port: u32) -> Vec<u8> {
    join(&[b"SL", &field(host), &port.to_be_bytes()])
}

pub fn peers_request(version: u32, after: u32) -> Vec<u8> {
    join(&[b"SP", &version.to_be_bytes(), &after.to_be_bytes()])
}

pub fn peers_response(peers: &[(u32, SocketAddrV4)]) -> Vec<u8> {
    let peer = |(id, address): &(u32, SocketAddrV4)| {
        let ip = address.ip().to_ipv6_mapped().octets();
        join(&[&id.to_be_bytes(), &ip, &u32::from(address.port()).to_be_bytes()])
    };
    let peers: Vec<_> = peers.iter().flat_map(peer).collect();
    let count = (peers.len() / 24) as u32;
    join(&[b"SP", &count.to_be_bytes(), &peers])
}

pub fn error_response(text: impl AsRef<[u8]>) -> Vec<u8> {
    join(&[b"SE", &field(text)])
}

/// Returns how long the first message of an uploader is, once all of it is there.
pub fn message_bytes(bytes: &[u8]) -> Option<usize> {
    let len = match bytes.first()? {
        b'T' if bytes.len() < 5 => return None,
        b'T' => 5 + int(bytes, 1) as usize,
        b'E' => EOF_BYTES,
        _ => 1,
    };
    (bytes.len() >= len).then_some(len)
}

/// The integer at a place in a message.
pub fn int(message: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(message[at..at + 4].try_into().unwrap())
}

/// The text of the field at a place in a message.
pub fn text(message: &[u8], at: usize) -> String {
    let field = String::from_utf8_lossy(&message[at..at + FIELD_BYTES]);
    field.trim_end_matches('\0').to_owned()
}

/// The SHA-256 of some content, as the EOF carries it.
pub fn digest_of(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A text field: longer text is cut off.
pub fn field(text: impl AsRef<[u8]>) -> [u8; FIELD_BYTES] {
    let mut field = [0; FIELD_BYTES];
    field.iter_mut().zip(text.as_ref()).for_each(|(to, from)| *to = *from);
    field
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}
