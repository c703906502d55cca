//! What is received on one connection, cut into messages; the head of each has a deadline.

use std::time::Instant;

use super::close_reason::{CloseReason, Timer};
use crate::limits::HEAD_TIMEOUT;
use crate::wire::{Deframer, Frame, Message};

/// The receiving direction of a connection. Invariant: there is a deadline exactly while a
/// part of a head has been received.
#[derive(Debug)]
pub struct Inbox<M> {
    deframer: Deframer<M>,
    /// When the head in progress has to be whole.
    deadline: Option<Instant>,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { deframer: Deframer::default(), deadline: None }
    }
}

impl<M: Message> Inbox<M> {
    /// Returns the next frame of `bytes` from `*at` on, and moves `*at` behind it; returns
    /// `None` when they are used up.
    ///
    /// # Errors
    /// If they are no message.
    pub fn next(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<Frame<M>>, CloseReason> {
        let frame = self.deframer.next(bytes, at).map_err(CloseReason::Malformed)?;
        self.deadline = match frame {
            None if self.deframer.is_in_head() => self.deadline.or(Some(now + HEAD_TIMEOUT)),
            _ => None,
        };
        Ok(frame)
    }

    /// Returns the earlier one of `other`, the deadline of a machine's state, and that of the
    /// head in progress.
    pub fn deadline_or(&self, other: Option<Instant>) -> Option<Instant> {
        self.deadline.into_iter().chain(other).min()
    }

    /// Checks the deadline.
    ///
    /// # Errors
    /// If it has passed.
    pub fn check(&self, now: Instant) -> Result<(), CloseReason> {
        match self.deadline {
            Some(deadline) if now >= deadline => Err(CloseReason::TimedOut(Timer::Head)),
            _ => Ok(()),
        }
    }

    /// Returns whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.deframer.is_between_messages()
    }

    /// Returns how much of the payload in progress is still to come.
    pub fn payload_left_bytes(&self) -> u32 {
        self.deframer.payload_left_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::v0::PeerMessage;

    #[test]
    fn a_head_is_whole_in_time_or_not_at_all_and_data_may_take_longer() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut bytes = Vec::new();
        PeerMessage::Chunk { data_bytes: 2 }.encode(&mut bytes);
        bytes.extend(b"xxT");
        let mut inbox = Inbox::<PeerMessage>::default();
        let mut takes = |seconds, bytes: &[u8]| {
            let mut used = 0;
            while inbox.next(at(seconds), bytes, &mut used).unwrap().is_some() {}
            inbox.deadline_or(None)
        };
        assert_eq!(takes(0, &bytes[..1]), Some(start + HEAD_TIMEOUT));
        assert_eq!(takes(9, &bytes[1..4]), Some(start + HEAD_TIMEOUT), "no byte buys more");
        assert_eq!(takes(9, &bytes[4..6]), None, "data is due");
        assert_eq!(takes(100, &bytes[6..7]), None, "the next message has not begun");
        assert_eq!(takes(200, &bytes[7..]), Some(at(200) + HEAD_TIMEOUT));
        assert_eq!(inbox.check(at(200) + HEAD_TIMEOUT - Duration::from_nanos(1)), Ok(()));
        let late = Err(CloseReason::TimedOut(Timer::Head));
        assert_eq!(inbox.check(at(200) + HEAD_TIMEOUT), late);
        assert_eq!(inbox.deadline_or(Some(start)), Some(start));
    }
}
