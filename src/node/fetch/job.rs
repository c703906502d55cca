//! One job: a file that is wanted, from its path to a verified file.
//!
//! ```text
//!                offer heard           registered, room         address
//!  ExpectOffer ──────────────▶ Waiting ───────────▶ ExpectAddress ─────▶ Downloading
//!      ▲                         ▲ ▲                     │                  │   │
//!      │ nobody offers it        │ │ next source         │ source failed    │   │ verdict
//!      └─────────────────────────┘ └─────────────────────┴──────────────────┘   ▼
//!                                ▲                       │ all have failed   Committing
//!                          delay │                       ▼                      │
//!                                └─────────────────── BackedOff                 ▼
//!                                                         │ often enough  Done or Failed
//!                                                         ▼
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

use std::collections::BTreeSet;
use std::time::Instant;

use crate::content::{Digest, FileError};
use crate::limits::{LIED_RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::node::retry::Backoff;
use crate::node::{ConnectionId, FetchError, PathId};
use crate::proto::{CloseReason, FileId};
use crate::wire::PeerId;

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
    pub(super) was_offered: bool,
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

#[derive(Debug)]
pub(super) struct Failures {
    /// Sources that failed since the last delay: none is asked again before the others.
    pub(super) sources: BTreeSet<PeerId>,
    /// Why, if one of them failed because our disk was filled by a larger file that came in
    /// beside it: the job fails only if the disk still is full at the next try.
    pub(super) disk_error: Option<FileError>,
    /// Whether the disk was full when the last delay began.
    was_full: bool,
    /// Whether the file is larger than allowed at each of them.
    are_too_large: bool,
    rounds: u32,
    pub(super) backoff: Backoff,
    pub(super) last: Option<CloseReason>,
}

impl Job {
    pub(super) fn new(path: PathId, checksum_failure_is_due: bool) -> Self {
        Self {
            path,
            state: State::ExpectOffer,
            failures: Failures {
                sources: BTreeSet::new(),
                disk_error: None,
                was_full: false,
                are_too_large: false,
                rounds: 0,
                backoff: Backoff::new(RETRY_DELAY_MIN),
                last: None,
            },
            was_offered: false,
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

impl Failures {
    /// A source failed; `None` if its address was not to be had.
    pub(super) fn note(&mut self, source: PeerId, reason: Option<CloseReason>) {
        let is_first = self.sources.is_empty();
        let is_too_large = reason == Some(CloseReason::TooLarge);
        self.are_too_large = (self.are_too_large || is_first) && is_too_large;
        self.disk_error = match reason {
            Some(CloseReason::WriteFailed(error)) if error.is_full() => Some(error),
            _ => self.disk_error.filter(|_| !is_first),
        };
        self.sources.insert(source);
    }

    /// What a source sent was wrong: each further try may cost a whole download.
    pub(super) fn note_lie(&mut self) {
        self.backoff.grow_to(LIED_RETRY_DELAY_MAX);
    }

    /// All sources have failed. Returns `Ok` if the job backs off, or why it fails: with
    /// `error` if it was the last round.
    pub(super) fn end_round(
        &mut self,
        rounds_max: u32,
        error: FetchError,
    ) -> Result<(), FetchError> {
        match self.disk_error {
            Some(error) if self.was_full => return Err(error.into()),
            _ if self.are_too_large => return Err(FetchError::TooLarge),
            _ => self.begin_round(rounds_max).map_err(|()| error)?,
        }
        self.was_full = self.disk_error.is_some();
        Ok(())
    }

    /// One more round begins, if there may be one.
    pub(super) fn begin_round(&mut self, rounds_max: u32) -> Result<(), ()> {
        if self.rounds >= rounds_max {
            return Err(());
        }
        self.rounds += 1;
        Ok(())
    }
}
