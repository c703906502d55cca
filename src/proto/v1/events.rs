//! What a session says of its peer and tells its node, and its table of legal frames.

use std::ops::Range;

use super::requests::Request;
use crate::content::{BlockSet, Content};
use crate::proto::table::{self, Row};
use crate::wire::PeerId;
use crate::wire::v1::{Entry, PeerName, SessionError, SessionMessageKind, Value, Verdict};

/// What this peer says of itself.
#[derive(Debug)]
pub struct SessionSettings {
    pub peer: PeerId,
    /// The random number of this run.
    pub instance: u64,
    pub name: PeerName,
}

/// What a session tells its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The other side said who it is.
    Hello {
        peer: PeerId,
        instance: u64,
        name: PeerName,
    },
    /// A request, to be answered with an `answer_*` method or [`refuse`](super::Session::refuse).
    Requested {
        req: u32,
        request: Request,
    },
    /// A request of theirs was cancelled. The file of its answer may be needed until
    /// [`is_sending`](super::Session::is_sending) says otherwise.
    Cancelled {
        req: u32,
    },
    /// What became of bytes that were sent.
    Verdict {
        content: Content,
        verdict: Verdict,
    },
    /// A piece of a page, or an empty one.
    Page {
        req: u32,
        page: Page,
        entries: Vec<Entry>,
    },
    Held {
        req: u32,
        size_bytes: u64,
        blocks: BlockSet,
    },
    MoreHeld {
        req: u32,
        blocks: Vec<u32>,
    },
    /// All values of a manifest, of whatever number; they are not checked.
    Manifest {
        req: u32,
        values: Vec<Value>,
    },
    Turn {
        req: u32,
        blocks: u32,
    },
    /// Bytes of the blocks requested, as a range of what was received.
    Data {
        req: u32,
        range: Range<usize>,
        is_last: bool,
    },
    /// A request of ours ended without an answer, or without the rest of one.
    Failed {
        req: u32,
        error: SessionError,
        wait_ms: u32,
        text: Box<str>,
    },
}

/// What a page says besides its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How far the catalog was read once this page is.
    pub generation: u64,
    /// Whether what this list gave before is void: only with the first piece of a page.
    pub discard: bool,
    /// Whether all is listed, and not all of it hashed.
    pub all_listed: bool,
    /// Whether nothing newer exists: only with the last piece of a page. The request is over
    /// unless it watches.
    pub complete: bool,
}

/// The states of a [`Session`](super::Session).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The other side has not said who it is.
    ExpectHello,
    /// Both sides may request and answer.
    Open,
    /// The connection is over.
    Closed,
}

impl table::State for SessionState {
    type Kind = SessionMessageKind;

    const ALL: &'static [Self] = &[Self::ExpectHello, Self::Open, Self::Closed];

    /// Whether an answer has a request is told by the books of the machine.
    fn row(self) -> Row<Self> {
        use SessionMessageKind::{
            Blocks, Cancel, Data, Error, Get, GetManifest, Held, Hello, List, Manifest, MoreHeld,
            Page, Turn, Unknown, Verdict, Wait,
        };
        const GOES_ON: &[SessionState] = &[SessionState::Open];
        match self {
            Self::ExpectHello => Row { expected: "a hello", legal: &[(Hello, GOES_ON)] },
            Self::Open => Row {
                expected: "a request or an answer",
                legal: &[
                    (List, GOES_ON),
                    (Page, GOES_ON),
                    (Blocks, GOES_ON),
                    (Held, GOES_ON),
                    (MoreHeld, GOES_ON),
                    (GetManifest, GOES_ON),
                    (Manifest, GOES_ON),
                    (Wait, GOES_ON),
                    (Turn, GOES_ON),
                    (Get, GOES_ON),
                    (Data, GOES_ON),
                    (Verdict, GOES_ON),
                    (Cancel, GOES_ON),
                    (Error, GOES_ON),
                    (Unknown, GOES_ON),
                ],
            },
            Self::Closed => Row::silent("nothing"),
        }
    }
}
