//! A connection that was accepted, until its first byte says what it is.
//!
//! ```text
//!            first byte
//!  Accepted ────────────▶ the machine of a Protocol, which receives this byte, too
//!     │
//!     └── any other byte, deadline ──▶ closed
//! ```
//!
//! | first byte | protocol | machine |
//! |---|---|---|
//! | `R` | version 0, a request | [`Upload`](super::v0::Upload) |
//! | `H` | version 1, a hello | [`Session`](super::v1::Session) |
//! | `N` | version 1 under a seal | [`Sealed`](super::v1::Sealed), and a session in it |
//!
//! So a connection costs little before it has shown anything.

use std::time::Instant;

use super::close_reason::{CloseReason, Timer};
use super::table::State as _;
use super::v0::UploadState;
use super::v1::SEALED_FIRST_BYTE;
use crate::limits::Limits;
use crate::wire::v0::PeerMessageKind;
use crate::wire::v1::SessionMessageKind;

/// A connection on which nothing was received yet.
#[derive(Debug)]
pub struct Accepted {
    deadline: Instant,
}

/// The protocol of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Version 0: a downloader, for [`Upload`](super::v0::Upload).
    V0Upload,
    /// Version 1: a peer, for [`Session`](super::v1::Session).
    V1Session,
    /// Version 1 with a secret: a peer, for [`Sealed`](super::v1::Sealed).
    V1Sealed,
}

impl Accepted {
    /// Returns the machine of a connection that was just accepted.
    pub fn new(now: Instant, limits: &Limits) -> Self {
        Self { deadline: now + limits.first_byte_timeout }
    }

    /// Returns the protocol of a connection with this first byte. The byte is not consumed.
    ///
    /// # Errors
    /// If no connection begins with it.
    pub fn handle_first_byte(&self, byte: u8) -> Result<Protocol, CloseReason> {
        if byte == SessionMessageKind::Hello as u8 {
            return Ok(Protocol::V1Session);
        }
        if byte == SEALED_FIRST_BYTE {
            return Ok(Protocol::V1Sealed);
        }
        match PeerMessageKind::of_first_byte(byte) {
            Ok(PeerMessageKind::Request) => Ok(Protocol::V0Upload),
            Ok(kind) => Err(UploadState::ExpectRequest.violation(kind)),
            Err(malformed) => Err(CloseReason::Malformed(malformed)),
        }
    }

    /// Returns when to call [`Accepted::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.deadline
    }

    /// Checks the deadline of the first byte.
    ///
    /// # Errors
    /// If it has passed.
    pub fn handle_timeout(&self, now: Instant) -> Result<(), CloseReason> {
        match now < self.deadline {
            true => Ok(()),
            false => Err(CloseReason::TimedOut(Timer::FirstByte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::Malformed;

    #[test]
    fn the_first_byte_chooses_the_protocol_or_closes_the_connection() {
        let accepted = Accepted::new(Instant::now(), &Limits::PEER);
        for byte in 0..=u8::MAX {
            let violated = |got| CloseReason::PeerViolated { expected: "a request", got };
            let expected = match byte {
                b'R' => Ok(Protocol::V0Upload),
                b'H' => Ok(Protocol::V1Session),
                b'N' => Ok(Protocol::V1Sealed),
                b'T' => Err(violated("a chunk")),
                b'A' => Err(violated("an acknowledgment")),
                b'E' => Err(violated("an EOF")),
                got => Err(CloseReason::Malformed(Malformed::UnknownType { got })),
            };
            assert_eq!(accepted.handle_first_byte(byte), expected, "{byte:#x}");
        }
    }

    #[test]
    fn the_first_byte_has_a_deadline() {
        let now = Instant::now();
        let accepted = Accepted::new(now, &Limits::PEER);
        let deadline = now + Limits::PEER.first_byte_timeout;
        assert_eq!(accepted.poll_timeout(), deadline);
        assert_eq!(accepted.handle_timeout(deadline - Duration::from_nanos(1)), Ok(()));
        let timed_out = Err(CloseReason::TimedOut(Timer::FirstByte));
        assert_eq!(accepted.handle_timeout(deadline), timed_out);
        assert!(size_of::<Accepted>() <= 16, "it costs little");
    }
}
