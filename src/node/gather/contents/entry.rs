//! A path that is wanted with a content, until it is there or has failed.
//!
//! ```text
//!  Following ─ the other path has it, or failed ─▶ Queued
//!                                                    │ room
//!                                                    ▼
//!          nothing is there                       Looking ── a file of this size ──▶ Comparing
//!      ┌──────────────────────────────────────────┤                  │ other bytes     │ equal
//!      ▼                                          ▼                  ▼                 ▼
//!   Copying (the job has the content)     Opening ◀─── rename, replace; else Failed   Done
//!      │                                     ▼
//!      │                                 Fetching ── all verified ──▶ Committing
//!      ▼                                                                   │
//!     Done ◀───────────────────────────────────────────────────────────────┘
//! ```
//!
//! A file that fails leads to Failed from wherever it is open. The first path of a content
//! leads; the others follow it, and are copied.

use std::collections::BTreeMap;

use super::fetching::Fetching;
use crate::content::{Attributes, Content};
use crate::node::peer::Them;
use crate::node::retry::Tries;
use crate::node::{ConnectionId, PathId};
use crate::proto::FileId;

/// A wanted path. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId(pub(super) u64);

/// Its path is held.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathId,
    pub(super) content: Content,
    pub(super) attributes: Attributes,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// It waits for a place.
    Queued,
    /// Another path with this content is fetched.
    Following,
    /// It is observed what stands under its name.
    Looking,
    /// What stands there is hashed, which may have failed.
    Comparing(Tries),
    Opening(FileId),
    /// Boxed, as most wait.
    Fetching(Box<Fetching>),
    Committing {
        file: FileId,
        gave: BTreeMap<ConnectionId, Them>,
    },
    Copying(FileId),
}

impl Entry {
    /// Returns whether it comes in one request: more of them are active at once.
    pub(super) fn is_small(&self) -> bool {
        self.content.blocks() <= 1
    }
}

impl State {
    /// Returns the file that is open.
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Self::Queued | Self::Following | Self::Looking | Self::Comparing(_) => None,
            Self::Opening(file) | Self::Committing { file, .. } | Self::Copying(file) => {
                Some(*file)
            }
            Self::Fetching(fetching) => Some(fetching.file),
        }
    }
}
