//! The wire protocol, version 0, as pure functions.
//!
//! Owns: the layout of every message, the rule for file names, how a stream is
//! cut into messages, and how text from outside is shown. Does no I/O, keeps no
//! state but a [`Deframer`]'s unfinished head, and allocates nothing.
//!
//! Between peers ([`PeerMessage`], [`Offer`]):
//!
//! ```text
//! offer           O peer_id name_length name[64]   73 bytes, UDP broadcast
//! request         R name_length name[64]           69 bytes, downloader to uploader
//! chunk           T data_length data            5 + n bytes, uploader to downloader
//! acknowledgment  A peer_id                         5 bytes, downloader to uploader
//! EOF             E digest[64]                     65 bytes, uploader to downloader
//! ```
//!
//! Between a client and the registry ([`RegistryRequest`], [`RegistryResponse`]):
//!
//! ```text
//! register request   S R peer_id port              10 bytes
//! register response  S R success                    6 bytes
//! lookup request     S L peer_id                    6 bytes
//! lookup response    S L host[64] port             70 bytes
//! error response     S E text[64]                  66 bytes
//! ```
//!
//! Integers are unsigned, 32 bits, in network byte order; text fields are UTF-8
//! followed by NULs only.

mod deframer;
mod field;
mod file_name;
mod malformed;
mod peer_message;
mod registry_message;
mod text;

pub use deframer::{Deframer, Frame, Message};
pub use field::FieldText;
pub use file_name::{FileName, NameError};
pub use malformed::Malformed;
pub use peer_message::{Digest, Offer, PeerMessage};
pub use registry_message::{RegistryRequest, RegistryResponse};
pub use text::{Shown, is_deceptive};

/// The number a peer is known by: 0 to 4294967295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
