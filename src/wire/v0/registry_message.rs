//! What travels between the registry and its clients.
//!
//! A request and its response share their type bytes and differ in length, so
//! each direction is a message type of its own.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::limits::TEXT_FIELD_BYTES;
use crate::wire::PeerId;
use crate::wire::deframer::Message;
use crate::wire::field::{FieldText, INT_BYTES, int, port, text};
use crate::wire::malformed::Malformed;

const REGISTER_REQUEST_BYTES: usize = 2 + 2 * INT_BYTES;
const REGISTER_RESPONSE_BYTES: usize = 2 + INT_BYTES;
const LOOKUP_REQUEST_BYTES: usize = 2 + INT_BYTES;
const LOOKUP_RESPONSE_BYTES: usize = 2 + TEXT_FIELD_BYTES + INT_BYTES;
const ERROR_RESPONSE_BYTES: usize = 2 + TEXT_FIELD_BYTES;

/// What a client asks of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryRequest {
    /// Enter me under this id; I listen on this port.
    Register {
        /// The id wanted.
        peer: PeerId,
        /// 1 to 65535.
        port: u16,
    },
    /// Where is this peer?
    Lookup(PeerId),
}

/// What the registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryResponse {
    /// The registration was accepted (1) or refused (0).
    Registered(bool),
    /// The address of the peer that was asked for.
    Address(SocketAddrV4),
    /// Why the last request failed; from anyone: print it through [`Shown`](crate::wire::Shown).
    Error(FieldText),
}

impl RegistryRequest {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Register { peer, port } => {
                out.extend_from_slice(b"SR");
                out.extend_from_slice(&peer.0.to_be_bytes());
                out.extend_from_slice(&u32::from(*port).to_be_bytes());
            }
            Self::Lookup(peer) => {
                out.extend_from_slice(b"SL");
                out.extend_from_slice(&peer.0.to_be_bytes());
            }
        }
    }
}

impl Message for RegistryRequest {
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
        Ok(match registry_type(prefix)? {
            None => None,
            Some(b'R') => Some(REGISTER_REQUEST_BYTES),
            Some(b'L') => Some(LOOKUP_REQUEST_BYTES),
            Some(got) => return Err(Malformed::UnknownRegistryType { got }),
        })
    }

    fn decode(head: &[u8]) -> Result<Self, Malformed> {
        let peer = PeerId(int(head, 2));
        match head[1] {
            b'R' => Ok(Self::Register { peer, port: port(head, 2 + INT_BYTES)? }),
            b'L' => Ok(Self::Lookup(peer)),
            got => Err(Malformed::UnknownRegistryType { got }),
        }
    }
}

impl RegistryResponse {
    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Registered(success) => {
                out.extend_from_slice(b"SR");
                out.extend_from_slice(&u32::from(*success).to_be_bytes());
            }
            Self::Address(address) => {
                out.extend_from_slice(b"SL");
                let host = FieldText::new(&address.ip().to_string());
                out.extend_from_slice(host.field());
                out.extend_from_slice(&u32::from(address.port()).to_be_bytes());
            }
            Self::Error(text) => {
                out.extend_from_slice(b"SE");
                out.extend_from_slice(text.field());
            }
        }
    }
}

impl Message for RegistryResponse {
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
        Ok(match registry_type(prefix)? {
            None => None,
            Some(b'R') => Some(REGISTER_RESPONSE_BYTES),
            Some(b'L') => Some(LOOKUP_RESPONSE_BYTES),
            Some(b'E') => Some(ERROR_RESPONSE_BYTES),
            Some(got) => return Err(Malformed::UnknownRegistryType { got }),
        })
    }

    fn decode(head: &[u8]) -> Result<Self, Malformed> {
        match head[1] {
            b'R' => match int(head, 2) {
                0 => Ok(Self::Registered(false)),
                1 => Ok(Self::Registered(true)),
                got => Err(Malformed::Success { got }),
            },
            b'L' => {
                let ip = match text(head, 2)? {
                    "localhost" => Ipv4Addr::LOCALHOST,
                    host => host.parse().map_err(|_| Malformed::Host)?,
                };
                Ok(Self::Address(SocketAddrV4::new(ip, port(head, 2 + TEXT_FIELD_BYTES)?)))
            }
            b'E' => Ok(Self::Error(FieldText::new(text(head, 2)?))),
            got => Err(Malformed::UnknownRegistryType { got }),
        }
    }
}

/// The second byte, once it is there; the first has to be `S`.
fn registry_type(prefix: &[u8]) -> Result<Option<u8>, Malformed> {
    match prefix.first() {
        None | Some(b'S') => Ok(prefix.get(1).copied()),
        Some(&got) => Err(Malformed::UnknownType { got }),
    }
}
