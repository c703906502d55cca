//! Messages written by hand from PROTOCOL.md, apart from the crate's own code, so that
//! a mistake made there is not repeated here.

/// A text field: UTF-8, then NULs. Longer text is cut off.
pub(crate) fn field(text: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];
    let len = text.len().min(64);
    field[..len].copy_from_slice(&text[..len]);
    field
}

pub(crate) fn offer(peer: u32, name: &str) -> Vec<u8> {
    [b"O", &int(peer)[..], &int(name.len() as u32), &field(name.as_bytes())].concat()
}

pub(crate) fn request(name: &str) -> Vec<u8> {
    [b"R", &int(name.len() as u32)[..], &field(name.as_bytes())].concat()
}

pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    [b"T", &int(data.len() as u32)[..], data].concat()
}

pub(crate) fn acknowledgment(peer: u32) -> Vec<u8> {
    [b"A", &int(peer)[..]].concat()
}

pub(crate) fn eof(digest: [u8; 32]) -> Vec<u8> {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    [b"E", hex.as_bytes()].concat()
}

pub(crate) fn register_request(peer: u32, port: u32) -> Vec<u8> {
    [b"SR", &int(peer)[..], &int(port)].concat()
}

pub(crate) fn register_response(success: u32) -> Vec<u8> {
    [b"SR", &int(success)[..]].concat()
}

pub(crate) fn lookup_request(peer: u32) -> Vec<u8> {
    [b"SL", &int(peer)[..]].concat()
}

pub(crate) fn lookup_response(host: &str, port: u32) -> Vec<u8> {
    [b"SL", &field(host.as_bytes())[..], &int(port)].concat()
}

pub(crate) fn error_response(text: &[u8]) -> Vec<u8> {
    [b"SE", &field(text)[..]].concat()
}

/// A wish for the control socket.
pub(super) fn wish(name: &str) -> Vec<u8> {
    [b"W", &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat()
}

/// An integer field.
pub(crate) fn int(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

/// The integer at a place in a message.
pub(crate) fn int_at(message: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([message[at], message[at + 1], message[at + 2], message[at + 3]])
}
