//! The codes in frames: what became of bytes, and why a request ended.

use std::fmt;

/// What became of the bytes that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Verified and stored.
    Verified,
    /// Wrong bytes came from this peer.
    Wrong,
    GivenUp,
    /// A status of a later version, which is ignored.
    Other(u8),
}

/// Why a request or a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// Not there, or a block that is not held; so counts an unknown code, too.
    NotFound,
    /// Changed since it was hashed.
    Changed,
    /// Try again after the time that is given.
    Busy,
    /// No turn, or no right.
    Refused,
    NotUnderstood,
    Unreadable,
    GoingAway,
    /// A code of a later version.
    Other(u8),
}

impl Verdict {
    pub(super) fn of_status(status: u8) -> Self {
        match status {
            1 => Self::Verified,
            2 => Self::Wrong,
            3 => Self::GivenUp,
            other => Self::Other(other),
        }
    }

    pub(super) fn status(self) -> u8 {
        match self {
            Self::Verified => 1,
            Self::Wrong => 2,
            Self::GivenUp => 3,
            Self::Other(status) => status,
        }
    }
}

impl SessionError {
    pub(super) fn of_code(code: u8) -> Self {
        match code {
            1 => Self::NotFound,
            2 => Self::Changed,
            3 => Self::Busy,
            4 => Self::Refused,
            5 => Self::NotUnderstood,
            6 => Self::Unreadable,
            7 => Self::GoingAway,
            other => Self::Other(other),
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Self::NotFound => 1,
            Self::Changed => 2,
            Self::Busy => 3,
            Self::Refused => 4,
            Self::NotUnderstood => 5,
            Self::Unreadable => 6,
            Self::GoingAway => 7,
            Self::Other(code) => code,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound | Self::Other(_) => "not found",
            Self::Changed => "changed",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::NotUnderstood => "not understood",
            Self::Unreadable => "cannot be read",
            Self::GoingAway => "going away",
        })
    }
}
