//! One state machine a file, for one connection each.
//!
//! A machine takes bytes, events and the time, and yields events, bytes to send
//! and a deadline. It knows no socket, no file, no clock.
//!
//! Three rules hold for every machine. A `handle_*` method that fails returns the
//! [`CloseReason`] of its connection, and the machine is in its `Closed` state
//! from then on. `transmit` returns what to send next and `transmitted` says how
//! much of it the socket took. `poll_timeout` is when `handle_timeout` wants to
//! be called; being called early is harmless.
//!
//! The machines of protocol version 0 are in [`v0`]; what is common above them is here.

mod close_reason;
mod outbox;
mod progress;
pub mod v0;

pub use close_reason::{CloseReason, Timer};
pub use outbox::Outbox;
pub use progress::Progress;

/// A file that is open for one transfer. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// What a connection wants to send next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit<'a> {
    /// These bytes.
    Bytes {
        /// The bytes; never empty.
        bytes: &'a [u8],
        /// Whether more follows at once, so that the kernel may wait for it.
        more: bool,
    },
    /// This range of an open file.
    File {
        /// The file.
        file: FileId,
        /// Where the range begins.
        offset: u64,
        /// How long it is; at least 1.
        len_bytes: u32,
    },
}
