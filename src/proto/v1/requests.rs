//! The requests that are open on a session, in both directions.
//!
//! Each side numbers its own requests from 1 on, in ascending order. A request is over once its
//! answer is whole or an error or a cancel ended it; what still comes for it is ignored.

use std::collections::BTreeMap;

use crate::content::{Content, ContentId};
use crate::limits::{BLOCK_REQUESTS_MAX, LIST_REQUESTS_MAX, REQUESTS_MAX, WAIT_REQUESTS_MAX};
use crate::wire::FilePath;
use crate::wire::v1::SessionMessage;

/// What one side asks the other for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The entries with a generation above `since` at or below `path`; `None` is the top.
    List {
        since: u64,
        path: Option<FilePath>,
        /// Changes are told until the request is cancelled.
        watch: bool,
        /// The files are to be hashed before others; complete once all are.
        hash_first: bool,
        /// What the peer has fetched, instead of what it shares.
        fetch_list: bool,
    },
    /// The blocks that are held of a content, and more of them as they come.
    Blocks(ContentId),
    /// The values of all blocks.
    Manifest(Content),
    /// A turn.
    Wait(Content),
    /// Blocks, on the turn of a [`Request::Wait`], or on turn 0.
    Get { turn: u32, content: Content, first: u32, count: u32 },
}

/// How a request of theirs ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answering {
    /// With a complete page, or with the last frame of a manifest or of data.
    UntilAnswered,
    /// When it is cancelled or refused, or its node ends it: a watch, the blocks held, a turn.
    UntilEnded,
}

impl Answering {
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::List { watch: false, .. } | Request::Manifest(_) | Request::Get { .. } => {
                Self::UntilAnswered
            }
            Request::List { watch: true, .. } | Request::Blocks(_) | Request::Wait(_) => {
                Self::UntilEnded
            }
        }
    }
}

/// The kinds of [`Request`], for the bounds of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RequestKind {
    List,
    Blocks,
    Manifest,
    Wait,
    Get,
}

impl Request {
    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Self::List { .. } => RequestKind::List,
            Self::Blocks(_) => RequestKind::Blocks,
            Self::Manifest(_) => RequestKind::Manifest,
            Self::Wait(_) => RequestKind::Wait,
            Self::Get { .. } => RequestKind::Get,
        }
    }

    pub(super) fn message(&self, req: u32) -> SessionMessage {
        match self.clone() {
            Self::List { since, path, watch, hash_first, fetch_list } => {
                SessionMessage::List { req, since, path, watch, hash_first, fetch_list }
            }
            Self::Blocks(id) => SessionMessage::Blocks { req, id },
            Self::Manifest(content) => SessionMessage::GetManifest { req, content },
            Self::Wait(content) => SessionMessage::Wait { req, content },
            Self::Get { turn, content, first, count } => {
                SessionMessage::Get { req, turn, content, first, count }
            }
        }
    }
}

impl RequestKind {
    /// Returns how many of this kind may be open in one direction.
    fn open_max(self) -> usize {
        match self {
            Self::List => LIST_REQUESTS_MAX,
            Self::Blocks => BLOCK_REQUESTS_MAX,
            Self::Wait => WAIT_REQUESTS_MAX,
            Self::Manifest | Self::Get => REQUESTS_MAX,
        }
    }
}

/// The open requests of one direction, with what each side keeps for one of them.
///
/// Invariants: every number in `open` is at most `last`; `counts` says how many of each kind
/// there are.
#[derive(Debug)]
pub(super) struct Requests<T> {
    /// The highest number used; 0 before the first request.
    last: u32,
    open: BTreeMap<u32, (RequestKind, T)>,
    counts: BTreeMap<RequestKind, usize>,
}

impl<T> Default for Requests<T> {
    fn default() -> Self {
        Self { last: 0, open: BTreeMap::new(), counts: BTreeMap::new() }
    }
}

impl<T> Requests<T> {
    /// Returns whether this number was used.
    pub(super) fn is_known(&self, req: u32) -> bool {
        (1..=self.last).contains(&req)
    }

    /// Uses a number that the other side chose. Returns whether it is higher than all before.
    pub(super) fn number(&mut self, req: u32) -> bool {
        let is_higher = req > self.last;
        self.last = self.last.max(req);
        is_higher
    }

    /// Returns the next number of ours; `None` when all are used.
    pub(super) fn next_number(&mut self) -> Option<u32> {
        self.last = self.last.checked_add(1)?;
        Some(self.last)
    }

    /// Returns whether one more of this kind may be open.
    pub(super) fn has_room(&self, kind: RequestKind) -> bool {
        let of_kind = self.counts.get(&kind).copied().unwrap_or_default();
        self.open.len() < REQUESTS_MAX && of_kind < kind.open_max()
    }

    pub(super) fn insert(&mut self, req: u32, kind: RequestKind, kept: T) {
        self.open.insert(req, (kind, kept));
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(super) fn get_mut(&mut self, req: u32) -> Option<&mut T> {
        self.open.get_mut(&req).map(|(_, kept)| kept)
    }

    pub(super) fn remove(&mut self, req: u32) -> Option<T> {
        let (kind, kept) = self.open.remove(&req)?;
        if let Some(count) = self.counts.get_mut(&kind) {
            *count -= 1;
        }
        Some(kept)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &T> {
        self.open.values().map(|(_, kept)| kept)
    }
}
