//! One state machine a file, for one connection each.
//!
//! A machine takes bytes, events and the time, and yields events, bytes to send
//! and a deadline. It knows no socket, no file, no clock.
//!
//! Three rules hold for every machine. A `handle_*` method that fails returns the
//! [`CloseReason`] of its connection, and the machine is in its `Closed` state
//! from then on. `transmit` returns what to send next, and `transmitted` tells how much of
//! it the socket took. `handle_timeout` is to be called when the time of `poll_timeout` has
//! come; an early call is harmless.
//!
//! A transition takes the old state by value and leaves `Closed` behind until it has
//! succeeded, so a state that failed is not used again. Which message is legal in which
//! state, and which state follows, stands in the machine's own file: see [`table`].
//!
//! The machines of the protocol versions are in [`v0`] and [`v1`], those between our own programs in
//! [`control`]; the common parts are here.

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

mod accepted;
mod close_reason;
pub mod control;
mod inbox;
mod outbox;
mod progress;
pub mod table;
pub mod v0;
pub mod v1;

pub use accepted::{Accepted, Protocol};
pub use close_reason::{CloseReason, Timer};
pub use inbox::Inbox;
pub use outbox::Outbox;
pub use progress::Progress;

/// A file that is open for one transfer. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(pub u64);

/// The bytes that a connection is to send next.
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
        file: FileId,
        /// Where the range begins.
        offset: u64,
        /// How long it is; at least 1.
        len_bytes: u32,
    },
}
