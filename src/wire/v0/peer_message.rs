//! What travels between peers: the offer, a datagram, and the four messages of
//! a transfer.

use super::file_name::{FileName, name, put_name};
use crate::content::Digest;
use crate::limits::{OFFER_BYTES, TEXT_FIELD_BYTES};
use crate::wire::PeerId;
use crate::wire::deframer::Message;
use crate::wire::field::{INT_BYTES, int, put_int};
use crate::wire::malformed::Malformed;

const REQUEST_BYTES: usize = 1 + INT_BYTES + TEXT_FIELD_BYTES;
const CHUNK_HEAD_BYTES: usize = 1 + INT_BYTES;
const ACKNOWLEDGMENT_BYTES: usize = 1 + INT_BYTES;
const EOF_BYTES: usize = 1 + TEXT_FIELD_BYTES;

/// "This peer has this file", broadcast to everyone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    /// Who has the file.
    pub peer: PeerId,
    /// The name it goes by.
    pub name: FileName,
}

/// A message of a transfer, without the data of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Downloader to uploader: send this file.
    Request(FileName),
    /// Uploader to downloader: this many bytes of the file follow; at least 1.
    Chunk {
        /// How many bytes.
        data_bytes: u32,
    },
    /// Downloader to uploader: one chunk was handed to the file.
    Acknowledgment(PeerId),
    /// Uploader to downloader: that was all; its digest.
    Eof(Digest),
}

impl Offer {
    /// The offer in a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        if datagram.len() != OFFER_BYTES {
            return Err(Malformed::DatagramLength { got_bytes: datagram.len() });
        }
        if datagram[0] != b'O' {
            return Err(Malformed::UnknownType { got: datagram[0] });
        }
        Ok(Self { peer: PeerId(int(datagram, 1)), name: name(datagram, 1 + INT_BYTES)? })
    }

    /// The datagram for an offer.
    pub fn encode(&self) -> [u8; OFFER_BYTES] {
        let mut bytes = [0; OFFER_BYTES];
        bytes[0] = b'O';
        put_int(&mut bytes, 1, self.peer.0);
        put_name(&mut bytes, 1 + INT_BYTES, &self.name);
        bytes
    }
}

impl PeerMessage {
    /// Appends the message; the data of a chunk is sent behind it by other means.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(name) => {
                let mut bytes = [0; REQUEST_BYTES];
                bytes[0] = b'R';
                put_name(&mut bytes, 1, name);
                out.extend_from_slice(&bytes);
            }
            Self::Chunk { data_bytes } => {
                out.push(b'T');
                out.extend_from_slice(&data_bytes.to_be_bytes());
            }
            Self::Acknowledgment(peer) => {
                out.push(b'A');
                out.extend_from_slice(&peer.0.to_be_bytes());
            }
            Self::Eof(digest) => {
                out.push(b'E');
                out.extend_from_slice(&digest.to_hex());
            }
        }
    }
}

impl Message for PeerMessage {
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed> {
        Ok(match prefix.first() {
            None => None,
            Some(b'R') => Some(REQUEST_BYTES),
            Some(b'T') => Some(CHUNK_HEAD_BYTES),
            Some(b'A') => Some(ACKNOWLEDGMENT_BYTES),
            Some(b'E') => Some(EOF_BYTES),
            Some(&got) => return Err(Malformed::UnknownType { got }),
        })
    }

    fn decode(head: &[u8]) -> Result<Self, Malformed> {
        match head[0] {
            b'R' => Ok(Self::Request(name(head, 1)?)),
            b'T' => match int(head, 1) {
                0 => Err(Malformed::EmptyChunk),
                data_bytes => Ok(Self::Chunk { data_bytes }),
            },
            b'A' => Ok(Self::Acknowledgment(PeerId(int(head, 1)))),
            b'E' => Ok(Self::Eof(Digest::from_hex(&head[1..]).ok_or(Malformed::Digest)?)),
            got => Err(Malformed::UnknownType { got }),
        }
    }

    fn payload_bytes(&self) -> u32 {
        match self {
            Self::Chunk { data_bytes } => *data_bytes,
            Self::Request(_) | Self::Acknowledgment(_) | Self::Eof(_) => 0,
        }
    }
}
