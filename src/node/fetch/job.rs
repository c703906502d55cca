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

use std::time::Instant;

use super::failures::Failures;
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
    ExpectAddress { source: PeerId },
    Downloading { source: PeerId, began: Instant, connection: ConnectionId, file: Option<FileId> },
    Committing { source: PeerId, began: Instant, digest: Digest, size_bytes: u64 },
    Comparing { digest: Digest, size_bytes: u64 },
    BackedOff,
    Done,
    Failed(FetchError),
}

impl Job {
    pub(super) fn new(path: PathId, checksum_failure_is_due: bool) -> Self {
        Self {
            path,
            state: State::ExpectOffer,
            failures: Failures::default(),
            compares: Tries::default(),
            was_offered: false,
            nearly_offered: None,
            was_connected: false,
            checksum_failure_is_due,
        }
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

    /// Returns the source that it takes up: one whose address is asked for, or that sends.
    pub(super) fn source(self) -> Option<PeerId> {
        match self {
            Self::ExpectAddress { source } | Self::Downloading { source, .. } => Some(source),
            _ => None,
        }
    }
}
