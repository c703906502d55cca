//! Messages, to the byte, as pure functions.
//!
//! Owns the layout of every message, the rules for names, how a stream is cut into
//! messages, and how text from outside is shown. Does no I/O and keeps no state but the
//! head of a [`Deframer`] that is not whole yet.
//!
//! | room | contents |
//! |---|---|
//! | [`v0`], [`v1`] | the messages of protocol versions 0 and 1 |
//! | [`control`] | questions and answers of our own programs |
//! | this one | the parts that every protocol needs: fields, the deframer, text from outside |

// Bytes from outside reach all of this: nothing here may panic.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod control;
mod deframer;
mod field;
mod folded;
mod malformed;
mod path;
mod text;
pub mod v0;
pub mod v1;

pub use deframer::{Deframer, Frame, Kind, Message};
pub use field::FieldText;
pub use folded::folded;
pub use malformed::Malformed;
pub use path::{FilePath, PathError};
pub use text::{Shown, is_deceptive};

/// The number by which a peer is known: 0 to 4294967295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
