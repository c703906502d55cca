//! One job: a file that is wanted, from its path to a verified file.
//!
//! ```text
//!                offer heard           registered, room         address
//!  ExpectOffer ──────────────▶ Waiting ───────────▶ ExpectAddress ─────▶ Downloading
//!      ▲                         ▲ ▲                     │                  │   │
//!      │ nobody offers it        │ │ next source         │ source failed    │   │ verdict
//!      └─────────────────────────┘ └─────────────────────┴──────────────────┘   ▼
//!                                ▲                       │ none may be       Committing
//!                a source may be │                       ▼ asked now            │
//!                  asked again   └─────────────────── BackedOff                 ▼
//!                                                         │ each was asked  Done or Failed
//!                                                         ▼ often enough
//!                                                       Failed
//! ```
//!
//! A connection whose file is verified is kept for the next file of the same source: then
//! the way leads from Waiting straight to Downloading. The next request goes out with the
//! last acknowledgments, while the file before is synced.
//!
//! With a guest, something that stands under the final name may lead from Committing to
//! Comparing: what came is removed again, and what stands there is hashed, to see whether it
//! is equal. From there the way leads to the end.
//!
//! While a job is Downloading it may have a hedge, a second download from another source: see
//! [`hedging`](super::hedging). The one that is verified first leads to Committing. If only the
//! other is left, that is the download from then on.

use std::time::Instant;

use super::failures::Failures;
use super::hedging::Hedge;
use crate::content::Digest;
use crate::node::retry::Tries;
use crate::node::{ConnectionId, FetchError, PathId};
use crate::proto::FileId;
use crate::wire::PeerId;
use crate::wire::v0::FileName;

/// A job of this peer. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobId(pub(super) u64);

/// A file that is wanted. Its path is held.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: PathId,
    /// Written by `Fetch::enter` alone.
    pub(super) state: State,
    /// A second download. Only while the state is Downloading.
    pub(super) hedge: Option<Hedge>,
    /// Whether a second download could not be written: there is no other one beside this first.
    pub(super) hedge_failed: bool,
    /// Its place in the line, while the state is Waiting.
    pub(super) turn: u64,
    pub(super) failures: Failures,
    /// Tries to compare what stands under the final name.
    pub(super) compares: Tries,
    pub(super) was_offered: bool,
    /// What was offered under nearly its name, while nobody offered it.
    pub(super) nearly_offered: Option<FileName>,
    /// Whether a connection to a source was ever made.
    pub(super) was_connected: bool,
    /// Whether the next verified download is to be taken for a wrong one.
    pub(super) checksum_failure_is_due: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    ExpectOffer,
    Waiting,
    ExpectAddress {
        source: PeerId,
    },
    /// The only download, or the one that a [`Hedge`] goes on beside.
    Downloading(Attempt),
    Committing {
        source: PeerId,
        began: Instant,
        digest: Digest,
        size_bytes: u64,
    },
    Comparing {
        digest: Digest,
        size_bytes: u64,
    },
    BackedOff,
    Done,
    Failed(FetchError),
}

/// A download: on a connection that is made, or being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) source: PeerId,
    pub(super) began: Instant,
    pub(super) connection: ConnectionId,
    /// Known once the file is requested.
    pub(super) file: Option<FileId>,
    /// When its rate was last measured, and how much it had received.
    pub(super) mark: (Instant, u64),
    /// Its rate up to then, in bytes per second.
    pub(super) rate: Option<u64>,
}

impl Job {
    pub(super) fn new(path: PathId, checksum_failure_is_due: bool) -> Self {
        Self {
            path,
            state: State::ExpectOffer,
            hedge: None,
            hedge_failed: false,
            turn: 0,
            failures: Failures::default(),
            compares: Tries::default(),
            was_offered: false,
            nearly_offered: None,
            was_connected: false,
            checksum_failure_is_due,
        }
    }

    /// Returns the download on this connection.
    pub(super) fn attempt_on(&self, connection: ConnectionId) -> Option<Attempt> {
        self.attempts().find(|attempt| attempt.connection == connection)
    }

    /// Returns the download into this file.
    pub(super) fn attempt_into(&self, file: FileId) -> Option<Attempt> {
        self.attempts().find(|attempt| attempt.file == Some(file))
    }

    /// Returns the connection of the second download, if that is into this file.
    pub(super) fn hedge_into(&self, file: FileId) -> Option<ConnectionId> {
        let attempt = self.hedge.and_then(Hedge::attempt)?;
        (attempt.file == Some(file)).then_some(attempt.connection)
    }

    /// Returns its downloads: none, one, or two.
    pub(super) fn attempts(&self) -> impl Iterator<Item = Attempt> + use<> {
        let hedge = self.hedge.and_then(Hedge::attempt);
        self.state.attempt().into_iter().chain(hedge)
    }
}

impl State {
    pub(super) fn is_end(self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }

    /// Returns whether the file came whole, and is synced or compared.
    pub(super) fn is_arrived(self) -> bool {
        matches!(self, Self::Committing { .. } | Self::Comparing { .. })
    }

    pub(super) fn attempt(self) -> Option<Attempt> {
        match self {
            Self::Downloading(attempt) => Some(attempt),
            _ => None,
        }
    }

    /// Returns the source that it takes up: one whose address is asked for, or that sends.
    pub(super) fn source(self) -> Option<PeerId> {
        match self {
            Self::ExpectAddress { source } => Some(source),
            Self::Downloading(attempt) => Some(attempt.source),
            _ => None,
        }
    }
}

impl Attempt {
    pub(super) fn new(now: Instant, source: PeerId, connection: ConnectionId) -> Self {
        Self { source, began: now, connection, file: None, mark: (now, 0), rate: None }
    }
}
