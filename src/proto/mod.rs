//! One state machine a file, for one connection each, and the schedule of offers.
//!
//! | machine | whose end | of what |
//! |---|---|---|
//! | [`Upload`] | the peer that has the file | a connection it accepted |
//! | [`Download`] | the peer that wants it | a connection it made |
//! | [`Registration`] | the peer | its connection to the registry |
//! | [`RegistrySession`] | the registry | a connection it accepted |
//! | [`OfferSchedule`] | the peer | when which file is offered |
//!
//! A machine takes bytes, events and the time, and gives events, bytes to send
//! and a deadline. It knows no socket, no file, no clock. Which message is
//! legal in which state stands in one place, [`legal`].
//!
//! Three rules hold for every machine. A `handle_*` method that fails gives the
//! [`CloseReason`] of its connection, and the machine is in its `Closed` state
//! from then on. `transmit` gives what to send next and `transmitted` says how
//! much of it the socket took. `poll_timeout` is when `handle_timeout` wants to
//! be called; being called early is harmless.

mod close_reason;
mod download;
mod file_error;
pub mod legal;
mod offer_schedule;
mod outbox;
mod progress;
mod registration;
mod registry_session;
mod upload;

pub use close_reason::{CloseReason, Timer};
pub use download::{Download, DownloadEvent};
pub use file_error::FileError;
pub use offer_schedule::OfferSchedule;
pub use outbox::Outbox;
pub use progress::Progress;
pub use registration::{Registration, RegistrationEvent};
pub use registry_session::RegistrySession;
pub use upload::{Upload, UploadEvent};

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
