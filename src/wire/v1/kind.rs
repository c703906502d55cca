//! The kinds of frames, and how long the body of each may be.

use crate::limits::{
    BLOCKS_MAX, DATA_BYTES_MAX, FRAME_BODY_BYTES_MAX, MORE_HELD_MAX, PAGE_BYTES_MAX,
    PATH_BYTES_MAX, PEER_NAME_BYTES_MAX,
};
use crate::wire::Kind;

/// Type and length of the body.
pub(super) const FRAME_HEAD_BYTES: usize = 5;
pub(super) const REQ_BYTES: usize = 4;
const HELLO_BYTES_MIN: usize = 19;
const LIST_BYTES_MIN: usize = 15;
const PAGE_HEAD_BYTES: usize = 15;
const HELD_BYTES_MIN: usize = 12;
pub(super) const VALUE_BYTES: usize = 32;
const ERROR_BYTES_MIN: usize = 10;

/// The kinds of [`SessionMessage`](super::SessionMessage), each by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SessionMessageKind {
    Hello = b'H',
    List = b'L',
    Page = b'l',
    Blocks = b'B',
    Held = b'b',
    MoreHeld = b'h',
    GetManifest = b'M',
    Manifest = b'm',
    Wait = b'W',
    Turn = b't',
    Get = b'G',
    Data = b'D',
    Verdict = b'V',
    Cancel = b'K',
    Error = b'X',
    /// Every other type.
    Unknown = 0,
}

impl SessionMessageKind {
    /// Returns the kind of the frames of this type.
    pub fn of_first_byte(got: u8) -> Self {
        Self::ALL.iter().find(|kind| **kind as u8 == got).copied().unwrap_or(Self::Unknown)
    }

    /// Returns how much of a body of this length is no payload; `None` if no frame of this kind
    /// has a body so long.
    pub(super) fn fields_bytes(self, first: u8, body_bytes: u32) -> Option<usize> {
        let body_bytes = (body_bytes <= FRAME_BODY_BYTES_MAX).then_some(body_bytes as usize)?;
        let whole = |is_legal: bool| is_legal.then_some(body_bytes);
        let before = |fields_bytes, is_legal: bool| is_legal.then_some(fields_bytes);
        match self {
            Self::Hello => {
                let hello_bytes_max = HELLO_BYTES_MIN + PEER_NAME_BYTES_MAX;
                before(body_bytes.min(hello_bytes_max), body_bytes >= HELLO_BYTES_MIN)
            }
            Self::List => {
                whole((LIST_BYTES_MIN..=LIST_BYTES_MIN + PATH_BYTES_MAX).contains(&body_bytes))
            }
            Self::Page => before(
                PAGE_HEAD_BYTES,
                (PAGE_HEAD_BYTES..=PAGE_BYTES_MAX as usize).contains(&body_bytes),
            ),
            Self::Held => {
                let held_bytes_max = HELD_BYTES_MIN + BLOCKS_MAX as usize / 8;
                whole((HELD_BYTES_MIN..=held_bytes_max).contains(&body_bytes))
            }
            Self::MoreHeld => {
                let numbers_bytes = body_bytes.checked_sub(REQ_BYTES)?;
                let is_legal = (4..=4 * MORE_HELD_MAX as usize).contains(&numbers_bytes);
                whole(is_legal && numbers_bytes.is_multiple_of(4))
            }
            Self::Manifest => {
                let values_bytes = body_bytes.checked_sub(REQ_BYTES)?;
                let is_legal =
                    (2 * VALUE_BYTES..=VALUE_BYTES * BLOCKS_MAX as usize).contains(&values_bytes);
                before(REQ_BYTES, is_legal && values_bytes.is_multiple_of(VALUE_BYTES))
            }
            Self::Data => before(
                REQ_BYTES,
                (1..=DATA_BYTES_MAX as usize).contains(&body_bytes.checked_sub(REQ_BYTES)?),
            ),
            Self::Error => whole(
                (ERROR_BYTES_MIN..=ERROR_BYTES_MIN + usize::from(u8::MAX)).contains(&body_bytes),
            ),
            Self::Blocks => whole(body_bytes == 36),
            Self::GetManifest | Self::Wait => whole(body_bytes == 44),
            Self::Turn => whole(body_bytes == 8),
            Self::Get => whole(body_bytes == 56),
            Self::Verdict => whole(body_bytes == 41),
            Self::Cancel => whole(body_bytes == REQ_BYTES),
            Self::Unknown => {
                let is_request = first.is_ascii_uppercase() && body_bytes >= REQ_BYTES;
                Some(if is_request { REQ_BYTES } else { 0 })
            }
        }
    }
}

impl Kind for SessionMessageKind {
    const ALL: &'static [Self] = &[
        Self::Hello,
        Self::List,
        Self::Page,
        Self::Blocks,
        Self::Held,
        Self::MoreHeld,
        Self::GetManifest,
        Self::Manifest,
        Self::Wait,
        Self::Turn,
        Self::Get,
        Self::Data,
        Self::Verdict,
        Self::Cancel,
        Self::Error,
        Self::Unknown,
    ];

    fn term(self) -> &'static str {
        match self {
            Self::Hello => "a hello",
            Self::List => "a list",
            Self::Page => "a page",
            Self::Blocks => "a question for blocks",
            Self::Held => "the blocks held",
            Self::MoreHeld => "more blocks held",
            Self::GetManifest => "a request for a manifest",
            Self::Manifest => "a manifest",
            Self::Wait => "a wait for a turn",
            Self::Turn => "a turn",
            Self::Get => "a request for blocks",
            Self::Data => "data",
            Self::Verdict => "a verdict",
            Self::Cancel => "a cancel",
            Self::Error => "an error",
            Self::Unknown => "a frame of unknown type",
        }
    }
}
