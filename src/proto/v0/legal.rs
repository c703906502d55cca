//! Which message is legal in which state, for every machine: the one table.
//!
//! The machines ask this table and no other rule; `tests/tables.rs` holds each
//! of them against it, state by state and message by message.

use crate::proto::close_reason::CloseReason;
use crate::wire::v0::{PeerMessage, RegistryRequest, RegistryResponse};

/// One state and what may come in it.
#[derive(Debug)]
pub struct Row<S: 'static, K: 'static> {
    /// The state.
    pub state: S,
    /// The kinds of message that are legal in it.
    pub legal: &'static [K],
    /// The same in words, for the log.
    pub expected: &'static str,
}

/// A kind of message, without its fields.
pub trait Kind: Copy + PartialEq {
    /// The standard term, for the log.
    fn term(self) -> &'static str;
}

/// Whether `kind` is legal in `state`.
///
/// # Panics
/// If the table lacks the state.
pub fn check<S: Copy + PartialEq, K: Kind>(
    table: &'static [Row<S, K>],
    state: S,
    kind: K,
) -> Result<(), CloseReason> {
    let row = table.iter().find(|row| row.state == state).expect("every state has its row");
    match row.legal.contains(&kind) {
        true => Ok(()),
        false => Err(CloseReason::PeerViolated { expected: row.expected, got: kind.term() }),
    }
}

/// The messages between peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// File request.
    Request,
    /// File transfer.
    Chunk,
    /// Acknowledgment.
    Acknowledgment,
    /// EOF / checksum.
    Eof,
}

/// What a client asks of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Register request.
    Register,
    /// Lookup request.
    Lookup,
}

/// What the registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseKind {
    /// Register response.
    Registered,
    /// Lookup response.
    Address,
    /// Error response.
    Error,
}

/// States of an [`Upload`](super::Upload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// No file is being sent.
    ExpectRequest,
    /// A file was asked for and is being opened.
    ExpectSource,
    /// Chunks are being sent.
    Sending,
    /// All is sent, the EOF too, and some of it is not acknowledged.
    ExpectLastAcknowledgments,
    /// The connection is over.
    Closed,
}

/// States of a [`Download`](super::Download).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadState {
    /// The connection is being made.
    ExpectConnection,
    /// The next chunk, or the EOF, is due.
    ExpectChunk,
    /// The data of a chunk is due. It is not a message: none can come here.
    ExpectData,
    /// The EOF came; the last bytes are on their way to the file.
    ExpectWritten,
    /// The file is right; the last acknowledgments are going out, and then there may be
    /// another request.
    Finishing,
    /// The connection is over.
    Closed,
}

/// States of a [`Registration`](super::Registration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// The connection is being made.
    ExpectConnection,
    /// The answer to our registration is due.
    ExpectRegistered,
    /// Registered, and nothing is asked.
    Registered,
    /// The answer to a lookup is due.
    ExpectAddress,
    /// The connection is over.
    Closed,
}

/// States of a [`RegistrySession`](super::RegistrySession).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The client has no registration.
    Anonymous,
    /// The client holds one.
    Registered,
    /// The connection is over.
    Closed,
}

/// What an uploader may receive. An acknowledgment that no chunk is waiting for is
/// refused by the machine's own count.
#[rustfmt::skip]
pub const UPLOAD: &[Row<UploadState, PeerKind>] = {
    use PeerKind::{Acknowledgment, Request};
    use UploadState::{Closed, ExpectLastAcknowledgments, ExpectRequest, ExpectSource, Sending};
    &[
        Row { state: ExpectRequest, legal: &[Request], expected: "a request" },
        Row { state: ExpectSource, legal: &[Acknowledgment], expected: "an acknowledgment" },
        Row { state: Sending, legal: &[Acknowledgment], expected: "an acknowledgment" },
        Row {
            state: ExpectLastAcknowledgments,
            legal: &[Acknowledgment, Request],
            expected: "an acknowledgment or a request",
        },
        Row { state: Closed, legal: &[], expected: "nothing" },
    ]
};

/// What a downloader may receive.
#[rustfmt::skip]
pub const DOWNLOAD: &[Row<DownloadState, PeerKind>] = {
    use DownloadState::{
        Closed, ExpectChunk, ExpectConnection, ExpectData, ExpectWritten, Finishing,
    };
    use PeerKind::{Chunk, Eof};
    &[
        Row { state: ExpectConnection, legal: &[], expected: "nothing" },
        Row { state: ExpectChunk, legal: &[Chunk, Eof], expected: "a chunk or the EOF" },
        Row { state: ExpectData, legal: &[], expected: "data of a chunk" },
        Row { state: ExpectWritten, legal: &[], expected: "nothing after the EOF" },
        Row { state: Finishing, legal: &[], expected: "nothing after the EOF" },
        Row { state: Closed, legal: &[], expected: "nothing" },
    ]
};

/// What a registered client may receive: one answer for each request.
#[rustfmt::skip]
pub const REGISTRATION: &[Row<RegistrationState, ResponseKind>] = {
    use RegistrationState::{Closed, ExpectAddress, ExpectConnection, ExpectRegistered, Registered as Idle};
    use ResponseKind::{Address, Error, Registered};
    &[
        Row { state: ExpectConnection, legal: &[], expected: "nothing" },
        Row { state: ExpectRegistered, legal: &[Registered, Error], expected: "a register response" },
        Row { state: Idle, legal: &[], expected: "nothing, as nothing was asked," },
        Row { state: ExpectAddress, legal: &[Address, Error], expected: "a lookup response" },
        Row { state: Closed, legal: &[], expected: "nothing" },
    ]
};

/// What the registry may receive: one registration for each connection, and any
/// number of lookups, with or without it.
#[rustfmt::skip]
pub const SESSION: &[Row<SessionState, RequestKind>] = {
    use RequestKind::{Lookup, Register};
    use SessionState::{Anonymous, Closed, Registered};
    &[
        Row { state: Anonymous, legal: &[Register, Lookup], expected: "a request" },
        Row { state: Registered, legal: &[Lookup], expected: "a lookup request" },
        Row { state: Closed, legal: &[], expected: "nothing" },
    ]
};

impl Kind for PeerKind {
    fn term(self) -> &'static str {
        match self {
            Self::Request => "a request",
            Self::Chunk => "a chunk",
            Self::Acknowledgment => "an acknowledgment",
            Self::Eof => "an EOF",
        }
    }
}

impl Kind for RequestKind {
    fn term(self) -> &'static str {
        match self {
            Self::Register => "a register request",
            Self::Lookup => "a lookup request",
        }
    }
}

impl Kind for ResponseKind {
    fn term(self) -> &'static str {
        match self {
            Self::Registered => "a register response",
            Self::Address => "a lookup response",
            Self::Error => "an error response",
        }
    }
}

impl From<&PeerMessage> for PeerKind {
    fn from(message: &PeerMessage) -> Self {
        match message {
            PeerMessage::Request(_) => Self::Request,
            PeerMessage::Chunk { .. } => Self::Chunk,
            PeerMessage::Acknowledgment(_) => Self::Acknowledgment,
            PeerMessage::Eof(_) => Self::Eof,
        }
    }
}

impl From<&RegistryRequest> for RequestKind {
    fn from(message: &RegistryRequest) -> Self {
        match message {
            RegistryRequest::Register { .. } => Self::Register,
            RegistryRequest::Lookup(_) => Self::Lookup,
        }
    }
}

impl From<&RegistryResponse> for ResponseKind {
    fn from(message: &RegistryResponse) -> Self {
        match message {
            RegistryResponse::Registered(_) => Self::Registered,
            RegistryResponse::Address(_) => Self::Address,
            RegistryResponse::Error(_) => Self::Error,
        }
    }
}
