//! What travels, to the byte, as pure functions.
//!
//! Owns the layout of every message, the rules for names, how a stream is cut into
//! messages, and how text from outside is shown. Does no I/O, keeps no state but a
//! [`Deframer`]'s unfinished head, and allocates nothing.
//!
//! | room | what is there |
//! |---|---|
//! | [`v0`] | the messages of protocol version 0 |
//! | [`control`] | questions and answers of our own programs |
//! | this one | what every protocol needs: fields, the deframer, text from outside |

pub mod control;
mod deframer;
mod field;
mod malformed;
mod text;
pub mod v0;

pub use deframer::{Deframer, Frame, Message};
pub use field::FieldText;
pub use malformed::Malformed;
pub use text::{Shown, is_deceptive};

/// The number a peer is known by: 0 to 4294967295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl std::fmt::Display for PeerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
