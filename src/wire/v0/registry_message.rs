//! The messages between the registry and its clients.
//!
//! A request and its response share their type bytes and differ in length, so
//! each direction is a message type of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use crate::limits::{HEAD_BYTES_MAX, LISTED_PEERS_MAX, TEXT_FIELD_BYTES};
use crate::wire::PeerId;
use crate::wire::deframer::{Kind, Message, head};
use crate::wire::field::{FieldText, INT_BYTES, port, text};
use crate::wire::malformed::Malformed;

const REGISTER_REQUEST_BYTES: usize = 2 + 2 * INT_BYTES;
const REGISTER_RESPONSE_BYTES: usize = 2 + INT_BYTES;
const LOOKUP_REQUEST_BYTES: usize = 2 + INT_BYTES;
const LOOKUP_RESPONSE_BYTES: usize = 2 + TEXT_FIELD_BYTES + INT_BYTES;
const ERROR_RESPONSE_BYTES: usize = 2 + TEXT_FIELD_BYTES;
const PEERS_REQUEST_BYTES: usize = 2 + 2 * INT_BYTES;
const PEERS_RESPONSE_BYTES: usize = 2 + INT_BYTES;
/// The only version that a peer can speak besides 0.
const SPOKEN_VERSION: u32 = 1;

const _: () = assert!(LOOKUP_RESPONSE_BYTES == HEAD_BYTES_MAX);

/// A question of a client to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryRequest {
    /// Register me under this id; I listen on this port.
    Register {
        peer: PeerId,
        /// 1 to 65535.
        port: u16,
    },
    /// Where is this peer?
    Lookup(PeerId),
    /// Which peers speak version 1? So does this one. Their ids are at least this.
    Peers { after: PeerId },
}

/// An answer of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryResponse {
    /// The registration was accepted (1) or refused (0).
    Registered(bool),
    /// The address of the peer that was asked for.
    Address(SocketAddrV4),
    /// As many [`ListedPeer`]s follow, by their ids in ascending order; with fewer than
    /// [`LISTED_PEERS_MAX`] they are the last.
    Peers { count: u32 },
    /// Why the last request failed; from outside: print it through [`Shown`](crate::wire::Shown).
    Error(FieldText),
}

/// A peer that speaks version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPeer {
    pub peer: PeerId,
    pub address: SocketAddr,
}

impl ListedPeer {
    pub const BYTES: usize = 24;

    /// Returns the peer in these bytes.
    ///
    /// # Errors
    /// If its port is none.
    pub fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Malformed> {
        let &[i0, i1, i2, i3, ref address @ .., p0, p1, p2, p3] = bytes;
        let address: &[u8; 16] = address;
        let ip = Ipv6Addr::from(*address).to_canonical();
        let port = port([p0, p1, p2, p3])?;
        let peer = PeerId(u32::from_be_bytes([i0, i1, i2, i3]));
        Ok(Self { peer, address: SocketAddr::new(ip, port) })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        out.extend_from_slice(&self.peer.0.to_be_bytes());
        out.extend_from_slice(&ip.octets());
        out.extend_from_slice(&u32::from(self.address.port()).to_be_bytes());
    }
}

/// The kinds of [`RegistryRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryRequestKind {
    /// Register request.
    Register,
    /// Lookup request.
    Lookup,
    /// Peers request.
    Peers,
}

/// The kinds of [`RegistryResponse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryResponseKind {
    /// Register response.
    Registered,
    /// Lookup response.
    Address,
    /// Peers response.
    Peers,
    /// Error response.
    Error,
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
            Self::Peers { after } => {
                out.extend_from_slice(b"SP");
                out.extend_from_slice(&SPOKEN_VERSION.to_be_bytes());
                out.extend_from_slice(&after.0.to_be_bytes());
            }
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> RegistryRequestKind {
        match self {
            Self::Register { .. } => RegistryRequestKind::Register,
            Self::Lookup(_) => RegistryRequestKind::Lookup,
            Self::Peers { .. } => RegistryRequestKind::Peers,
        }
    }
}

impl Message for RegistryRequest {
    const HEAD_BYTES_MAX: usize = REGISTER_REQUEST_BYTES;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match bytes {
            [b'S', b'R', ..] => {
                type Head = [u8; REGISTER_REQUEST_BYTES];
                head(bytes, |&[_, _, p0, p1, p2, p3, ref port_field @ ..]: &Head| {
                    let peer = PeerId(u32::from_be_bytes([p0, p1, p2, p3]));
                    Ok(Self::Register { peer, port: port(*port_field)? })
                })
            }
            [b'S', b'L', ..] => {
                head(bytes, |&[_, _, ref peer @ ..]: &[u8; LOOKUP_REQUEST_BYTES]| {
                    Ok(Self::Lookup(PeerId(u32::from_be_bytes(*peer))))
                })
            }
            [b'S', b'P', ..] => {
                type Head = [u8; PEERS_REQUEST_BYTES];
                head(bytes, |&[_, _, v0, v1, v2, v3, ref after @ ..]: &Head| {
                    match u32::from_be_bytes([v0, v1, v2, v3]) {
                        SPOKEN_VERSION => {
                            Ok(Self::Peers { after: PeerId(u32::from_be_bytes(*after)) })
                        }
                        got => Err(Malformed::Version { got }),
                    }
                })
            }
            _ => unknown(bytes),
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
            Self::Peers { count } => {
                out.extend_from_slice(b"SP");
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::Error(text) => {
                out.extend_from_slice(b"SE");
                out.extend_from_slice(text.field());
            }
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> RegistryResponseKind {
        match self {
            Self::Registered(_) => RegistryResponseKind::Registered,
            Self::Address(_) => RegistryResponseKind::Address,
            Self::Peers { .. } => RegistryResponseKind::Peers,
            Self::Error(_) => RegistryResponseKind::Error,
        }
    }
}

impl Message for RegistryResponse {
    const HEAD_BYTES_MAX: usize = LOOKUP_RESPONSE_BYTES;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        match bytes {
            [b'S', b'R', ..] => {
                head(bytes, |&[_, _, ref success @ ..]: &[u8; REGISTER_RESPONSE_BYTES]| {
                    match u32::from_be_bytes(*success) {
                        0 => Ok(Self::Registered(false)),
                        1 => Ok(Self::Registered(true)),
                        got => Err(Malformed::Success { got }),
                    }
                })
            }
            [b'S', b'L', ..] => {
                type Head = [u8; LOOKUP_RESPONSE_BYTES];
                head(bytes, |&[_, _, ref host @ .., p0, p1, p2, p3]: &Head| {
                    let ip = match text(host)? {
                        "localhost" => Ipv4Addr::LOCALHOST,
                        host => host.parse().map_err(|_| Malformed::Host)?,
                    };
                    Ok(Self::Address(SocketAddrV4::new(ip, port([p0, p1, p2, p3])?)))
                })
            }
            [b'S', b'P', ..] => {
                head(bytes, |&[_, _, ref count @ ..]: &[u8; PEERS_RESPONSE_BYTES]| {
                    match u32::from_be_bytes(*count) {
                        count if count as usize <= LISTED_PEERS_MAX => Ok(Self::Peers { count }),
                        got => Err(Malformed::PeerCount { got }),
                    }
                })
            }
            [b'S', b'E', ..] => head(bytes, |[_, _, field @ ..]: &[u8; ERROR_RESPONSE_BYTES]| {
                Ok(Self::Error(FieldText::new(text(field)?)))
            }),
            _ => unknown(bytes),
        }
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Peers { count } => count * ListedPeer::BYTES as u32,
            Self::Registered(_) | Self::Address(_) | Self::Error(_) => 0,
        }
    }
}

/// Refuses a message whose type is unknown, as soon as that is there.
fn unknown<M>(bytes: &[u8]) -> Result<Option<M>, Malformed> {
    match bytes {
        [] | [b'S'] => Ok(None),
        &[b'S', got, ..] => Err(Malformed::UnknownRegistryType { got }),
        &[got, ..] => Err(Malformed::UnknownType { got }),
    }
}

impl Kind for RegistryRequestKind {
    const ALL: &'static [Self] = &[Self::Register, Self::Lookup, Self::Peers];

    fn term(self) -> &'static str {
        match self {
            Self::Register => "a register request",
            Self::Lookup => "a lookup request",
            Self::Peers => "a peers request",
        }
    }
}

impl Kind for RegistryResponseKind {
    const ALL: &'static [Self] = &[Self::Registered, Self::Address, Self::Peers, Self::Error];

    fn term(self) -> &'static str {
        match self {
            Self::Registered => "a register response",
            Self::Address => "a lookup response",
            Self::Peers => "a peers response",
            Self::Error => "an error response",
        }
    }
}
