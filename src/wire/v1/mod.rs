//! The messages of protocol version 1.
//!
//! Over UDP, a [`Beacon`]:
//!
//! ```text
//! P2F1 kind flags port16 peer32 instance64 counter64 generation64 files32
//!      name_length name tags n*tag64 [mac128]              at most 512 bytes
//! ```
//!
//! Over TCP frames, each a type, the length of its body in 32 bits, and the body
//! ([`SessionMessage`]). The entries of a page, the values of a manifest and file data are
//! payload: a [`PageReader`] cuts a page into [`Entry`]s.
//!
//! ```text
//! hello         H  p2pfs version peer32 instance64 name_length name
//! list          L  req32 since64 flags path_length16 path
//! page          l  req32 generation64 flags count16 entries
//! blocks        B  req32 id256
//! held          b  req32 size64 bits
//! more held     h  req32 n*block32
//! get manifest  M  req32 id256 size64
//! manifest      m  req32 n*value256
//! wait          W  req32 id256 size64
//! turn          t  req32 blocks32
//! get           G  req32 turn32 id256 size64 first32 count32
//! data          D  req32 data
//! verdict       V  id256 size64 status
//! cancel        K  req32
//! error         X  req32 code wait32 text_length text
//! entry            flags path_length16 path [size64 mtime64 (id256 | hashed64)]
//! ```
//!
//! Integers are unsigned, in network byte order; those without a width have 8 bits.

mod beacon;
mod codes;
mod kind;
mod manifest;
mod page;
mod secret;
mod session_message;

use std::fmt;

pub use crate::content::Value;
pub use beacon::{Beacon, BeaconKey, BeaconKind, Tag, TagKey};
pub use codes::{SessionError, Verdict};
pub use kind::SessionMessageKind;
pub use manifest::{BlockHasher, ContentHasher, merge};
pub use page::{Entry, EntryState, PageReader};
pub use secret::{SECRET_BYTES, SealKey, Secret};
pub use session_message::SessionMessage;

use super::field::FieldText;
use super::malformed::Malformed;
use super::path::{PathError, check_component};
use crate::limits::PEER_NAME_BYTES_MAX;

/// The name that a peer shows: a component of a path of at most 63 bytes, or none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerName(FieldText);

impl PeerName {
    /// Returns no name.
    pub fn none() -> Self {
        Self(FieldText::new(""))
    }

    /// Returns `text` as a name; no text at all is no name.
    ///
    /// # Errors
    /// If it breaks the rule for components, or is too long.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.len() > PEER_NAME_BYTES_MAX {
            return Err(PathError::LongComponent);
        }
        if !text.is_empty() {
            check_component(text)?;
        }
        Ok(Self(FieldText::new(text)))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn decode(text: &str) -> Result<Self, Malformed> {
        Self::new(text).map_err(Malformed::PeerName)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.as_str().len() as u8);
        out.extend_from_slice(self.as_str().as_bytes());
    }
}

impl AsRef<str> for PeerName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
