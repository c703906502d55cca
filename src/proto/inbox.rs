//! What is received on one connection, cut into messages; all of each but its data has a deadline.

use std::time::Instant;

use super::close_reason::{CloseReason, Timer};
use crate::limits::HEAD_TIMEOUT;
use crate::wire::{Deframer, Frame, Message};

/// The receiving direction of a connection. Invariant: there is a deadline exactly while a
/// part of a head, or of the rest of a message that is ignored, has been received.
#[derive(Debug)]
pub struct Inbox<M> {
    deframer: Deframer<M>,
    /// When the head in progress has to be whole, or the rest of the message.
    deadline: Option<Instant>,
    /// Whether the payload in progress is no data.
    is_ignoring: bool,
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self { deframer: Deframer::default(), deadline: None, is_ignoring: false }
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
        let is_in_message = match &frame {
            Some(Frame::Message(message)) => {
                self.is_ignoring = !message.has_data() && message.payload_bytes() > 0;
                self.is_ignoring
            }
            Some(Frame::Payload { last, .. }) => {
                self.is_ignoring &= !last;
                self.is_ignoring
            }
            None => self.is_ignoring || self.deframer.is_in_head(),
        };
        let deadline = self.deadline.unwrap_or(now + HEAD_TIMEOUT);
        self.deadline = is_in_message.then_some(deadline);
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
    use crate::wire::v1::SessionMessage;

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

    #[test]
    fn the_rest_of_a_message_that_is_ignored_is_whole_in_time_like_a_head() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut inbox = Inbox::<SessionMessage>::default();
        let mut takes = |seconds, bytes: &[u8]| {
            let mut used = 0;
            while inbox.next(at(seconds), bytes, &mut used).unwrap().is_some() {}
            inbox.deadline_or(None)
        };
        // A frame of an unknown type, with a body of three bytes.
        assert_eq!(takes(0, &[b'q', 0, 0]), Some(at(0) + HEAD_TIMEOUT));
        assert_eq!(takes(4, &[0, 3, 1]), Some(at(0) + HEAD_TIMEOUT));
        assert_eq!(takes(8, &[2]), Some(at(0) + HEAD_TIMEOUT), "no byte buys more");
        assert_eq!(takes(9, &[3]), None);
        assert_eq!(takes(9, &[b'q', 0, 0, 0, 2]), Some(at(9) + HEAD_TIMEOUT));
    }
}
