//! The state of one wish.
//!
//! ```text
//!              listed                window over               each file ended
//!   Seeking ───────────▶ Answering ─────────────▶ Fetching ─────────────────────▶ Ended
//!    ▲ │  ▲                │  │                                                     ▲
//!    │ │  └────────────────┘  └── ambiguous, or more files than a job may have ─────┤
//!    │ │  nobody lists it any more                                                  │
//!    │ ▼ 1 s, and version 0 may have it                               given up ─────┘
//!  HandedOver
//! ```
//!
//! A wish that was handed over to version 0 is still sought. Once it is listed it is taken back,
//! unless a transfer by version 0 has begun.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::listings::FoundFile;
use super::wish::Wish;
use crate::content::Content;
use crate::limits::HASH_FIRST_LISTS_MAX;
use crate::node::ConnectionId;
use crate::wire::FilePath;
use crate::wire::v0::FileName;
use crate::wire::v1::Tag;

/// A wish of this program. Ids are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WishId(pub(super) u32);

#[derive(Debug)]
pub(super) struct Job {
    pub(super) wish: Wish,
    pub(super) state: State,
    pub(super) began: Instant,
    /// Under which beacons show it; `None` if it is at the top.
    pub(super) tag: Option<Tag>,
    /// Whether beacons show that tag, as what it means is fetched.
    pub(super) is_shown: bool,
    /// Whether everybody is asked for a beacon, beside those that have it.
    pub(super) looks_around: bool,
    /// Whether peers beyond our network are asked for it, too.
    pub(super) asks_beyond: bool,
    /// Whether the user knows that it is waited for.
    pub(super) is_told: bool,
    /// Whether version 0 looks for it, too, or will not.
    pub(super) was_handed_over: bool,
    /// Files that no source has hashed yet.
    pub(super) unhashed: BTreeMap<FilePath, FoundFile>,
    /// Names that match it and that only version 0 offers: version 0 fetches them soon.
    pub(super) names: Vec<FileName>,
    /// Files that are neither there nor given up.
    pub(super) open: usize,
    /// Sizes that are told for a content of which only the id is known, with their sources.
    pub(super) sizes: BTreeMap<Content, Vec<ConnectionId>>,
    /// Those that were tried in vain, in bytes.
    pub(super) tried: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody lists it.
    Seeking,
    /// Somebody lists it; others may answer until then.
    Answering { until: Instant },
    /// It is known which files it means.
    Fetching,
    /// Version 0 fetches it, or looks for it.
    HandedOver,
    /// Each file is there or has failed, or the wish has.
    Ended,
}

impl Job {
    pub(super) fn new(now: Instant, wish: Wish, tag: Option<Tag>) -> Self {
        Self {
            wish,
            state: State::Seeking,
            began: now,
            tag,
            is_shown: false,
            looks_around: false,
            asks_beyond: false,
            is_told: false,
            was_handed_over: false,
            unhashed: BTreeMap::new(),
            names: Vec::new(),
            open: 0,
            sizes: BTreeMap::new(),
            tried: BTreeSet::new(),
        }
    }

    /// Returns whether it is not known yet which files it means.
    pub(super) fn is_sought(&self) -> bool {
        matches!(self.state, State::Seeking | State::Answering { .. } | State::HandedOver)
    }

    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Returns whether the program waits for this wish: version 0 counts those it has.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.state, State::HandedOver | State::Ended)
    }

    /// Returns where this session is to hash files before others.
    pub(super) fn hashed_first(&self, source: ConnectionId) -> Vec<Option<&FilePath>> {
        let unhashed = || self.unhashed.values().filter(|file| file.sources.contains(&source));
        match &self.wish {
            Wish::Matching(_) => {
                unhashed().take(HASH_FIRST_LISTS_MAX).map(|file| Some(&file.path)).collect()
            }
            wish => unhashed().next().map(|_| wish.root()).into_iter().collect(),
        }
    }
}
