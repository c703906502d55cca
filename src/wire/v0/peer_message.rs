//! The messages between peers: the offer, a datagram, and the four messages of a
//! transfer.

use std::array;

use super::file_name::FileName;
use crate::content::Digest;
use crate::limits::{CHUNK_HEAD_BYTES, OFFER_BYTES, TEXT_FIELD_BYTES};
use crate::wire::PeerId;
use crate::wire::deframer::{Kind, Message, head};
use crate::wire::field::INT_BYTES;
use crate::wire::malformed::Malformed;

const REQUEST_BYTES: usize = 1 + INT_BYTES + TEXT_FIELD_BYTES;
const ACKNOWLEDGMENT_BYTES: usize = 1 + INT_BYTES;
const EOF_BYTES: usize = 1 + TEXT_FIELD_BYTES;

/// "This peer has this file", broadcast to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    pub peer: PeerId,
    pub name: FileName,
}

/// A message of a transfer, without the data of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Downloader to uploader: send this file.
    Request(FileName),
    /// Uploader to downloader: this many bytes of the file follow; at least 1.
    Chunk { data_bytes: u32 },
    /// Downloader to uploader: one chunk was handed to the file.
    Acknowledgment(PeerId),
    /// Uploader to downloader: that was all; its digest.
    Eof(Digest),
}

/// The kinds of [`PeerMessage`], each by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PeerMessageKind {
    /// File request.
    Request = b'R',
    /// File transfer.
    Chunk = b'T',
    /// Acknowledgment.
    Acknowledgment = b'A',
    /// EOF / checksum.
    Eof = b'E',
}

/// The name in a probe, behind a dot: no file of that name is ever offered.
const PROBE_NAME: &str = ".p2pfs-doctor";

/// Returns a datagram as long as an offer and laid out like one, but of no file: of each program
/// that hears it, only the one that sent it takes notice. The number tells it from others.
pub fn probe(number: u32) -> [u8; OFFER_BYTES] {
    let mut datagram = [0; OFFER_BYTES];
    let (id, len) = (number.to_be_bytes(), PROBE_NAME.len() as u32);
    let fields = [&b"O"[..], &id, &len.to_be_bytes(), PROBE_NAME.as_bytes()].concat();
    datagram.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
    datagram
}

/// Returns whether a datagram is a probe, of whatever number.
pub fn is_probe(datagram: &[u8]) -> bool {
    let number = datagram.get(1..5).and_then(|bytes| bytes.try_into().ok());
    number.is_some_and(|number| datagram == probe(u32::from_be_bytes(number)))
}

impl Offer {
    /// Returns the offer in a datagram.
    ///
    /// # Errors
    /// If the datagram is none, or its name breaks the rule for file names.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let Ok(&[kind, p0, p1, p2, p3, l0, l1, l2, l3, ref name @ ..]) =
            <&[u8; OFFER_BYTES]>::try_from(datagram)
        else {
            return Err(Malformed::DatagramLength { got_bytes: datagram.len() });
        };
        if kind != b'O' {
            return Err(Malformed::UnknownType { got: kind });
        }
        let name = FileName::from_field([l0, l1, l2, l3], name)?;
        Ok(Self { peer: PeerId(u32::from_be_bytes([p0, p1, p2, p3])), name })
    }

    /// Returns the datagram for the offer.
    pub fn encode(&self) -> [u8; OFFER_BYTES] {
        let (len, name) = self.name.fields();
        let peer = self.peer.0.to_be_bytes();
        let mut bytes = [b'O'].into_iter().chain(peer).chain(len).chain(*name);
        array::from_fn(|_| bytes.next().unwrap_or_default())
    }
}

impl PeerMessage {
    /// Appends the message; the data of a chunk is sent behind it by other means.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        match self {
            Self::Request(name) => {
                let (len, name) = name.fields();
                out.extend_from_slice(&len);
                out.extend_from_slice(name);
            }
            Self::Chunk { data_bytes } => out.extend_from_slice(&data_bytes.to_be_bytes()),
            Self::Acknowledgment(peer) => out.extend_from_slice(&peer.0.to_be_bytes()),
            Self::Eof(digest) => out.extend_from_slice(&digest.to_hex()),
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> PeerMessageKind {
        match self {
            Self::Request(_) => PeerMessageKind::Request,
            Self::Chunk { .. } => PeerMessageKind::Chunk,
            Self::Acknowledgment(_) => PeerMessageKind::Acknowledgment,
            Self::Eof(_) => PeerMessageKind::Eof,
        }
    }
}

impl Message for PeerMessage {
    const HEAD_BYTES_MAX: usize = REQUEST_BYTES;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        match PeerMessageKind::of_first_byte(first)? {
            PeerMessageKind::Request => {
                head(bytes, |&[_, l0, l1, l2, l3, ref name @ ..]: &[u8; REQUEST_BYTES]| {
                    Ok(Self::Request(FileName::from_field([l0, l1, l2, l3], name)?))
                })
            }
            PeerMessageKind::Chunk => {
                head(bytes, |&[_, ref len @ ..]: &[u8; CHUNK_HEAD_BYTES]| match u32::from_be_bytes(
                    *len,
                ) {
                    0 => Err(Malformed::EmptyChunk),
                    data_bytes => Ok(Self::Chunk { data_bytes }),
                })
            }
            PeerMessageKind::Acknowledgment => {
                head(bytes, |&[_, ref peer @ ..]: &[u8; ACKNOWLEDGMENT_BYTES]| {
                    Ok(Self::Acknowledgment(PeerId(u32::from_be_bytes(*peer))))
                })
            }
            PeerMessageKind::Eof => head(bytes, |[_, digest @ ..]: &[u8; EOF_BYTES]| {
                Ok(Self::Eof(Digest::from_hex(digest).ok_or(Malformed::Digest)?))
            }),
        }
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Chunk { data_bytes } => *data_bytes,
            Self::Request(_) | Self::Acknowledgment(_) | Self::Eof(_) => 0,
        }
    }
}

impl PeerMessageKind {
    /// Returns the kind of the messages that begin with this byte.
    ///
    /// # Errors
    /// If no message between peers does.
    pub fn of_first_byte(got: u8) -> Result<Self, Malformed> {
        let kind = Self::ALL.iter().find(|kind| **kind as u8 == got);
        kind.copied().ok_or(Malformed::UnknownType { got })
    }
}

impl Kind for PeerMessageKind {
    const ALL: &'static [Self] = &[Self::Request, Self::Chunk, Self::Acknowledgment, Self::Eof];

    fn term(self) -> &'static str {
        match self {
            Self::Request => "a request",
            Self::Chunk => "a chunk",
            Self::Acknowledgment => "an acknowledgment",
            Self::Eof => "an EOF",
        }
    }
}
