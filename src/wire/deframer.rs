//! Cuts a byte stream into messages, wherever the stream was cut before.
//!
//! A whole head is decoded where it lies; only a head that was cut is kept. The data of
//! a chunk is never copied: it is reported as a range of the caller's own buffer.
//!
//! Invariant: `head` is shorter than what the message in progress needs, and empty
//! while payload is owed.

use std::marker::PhantomData;
use std::ops::Range;

use super::malformed::Malformed;

/// Memory that is kept for heads that were cut: that of the longest in version 0.
const HEAD_KEPT_BYTES: usize = crate::limits::HEAD_BYTES_MAX;

/// Cuts one direction of one connection into [`Frame`]s.
#[derive(Debug)]
pub struct Deframer<M> {
    head: Vec<u8>,
    payload_left_bytes: u32,
    message: PhantomData<M>,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<M> {
    /// A message; its payload, if it has one, follows.
    Message(M),
    /// Payload of the last message, as a range of the input.
    Payload {
        /// Where in the input it lies; never empty.
        range: Range<usize>,
        /// Whether the payload is complete with it.
        last: bool,
    },
}

/// A message that a stream can carry.
pub trait Message: Sized {
    /// Length of the longest head.
    const HEAD_BYTES_MAX: usize;

    /// Returns the message that `bytes` begin with and the length of its head, or `None`
    /// while the head is not whole. Bytes behind the head make no difference.
    ///
    /// # Errors
    /// If the type is unknown or a field is bad. Which error it is does not depend on where
    /// the stream is cut.
    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed>;

    /// Returns how many bytes of payload follow the head.
    fn payload_bytes(&self) -> u32 {
        0
    }

    /// Returns whether the payload is data, which may take its time; else it is the rest of the
    /// message, which is ignored.
    fn has_data(&self) -> bool {
        true
    }
}

/// A kind of message: a message without its fields.
pub trait Kind: Copy + std::fmt::Debug + PartialEq + 'static {
    /// Every kind that this direction of a stream can carry.
    const ALL: &'static [Self];

    /// Returns the term for it, with its article, for the log.
    fn term(self) -> &'static str;
}

impl<M> Default for Deframer<M> {
    fn default() -> Self {
        Self { head: Vec::new(), payload_left_bytes: 0, message: PhantomData }
    }
}

impl<M: Message> Deframer<M> {
    /// Returns the next frame of `input` from `*at` on, and moves `*at` behind it; returns
    /// `None` when the input is used up.
    ///
    /// # Errors
    /// If the stream holds no message there. It is lost from then on.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Frame<M>>, Malformed> {
        let rest = input.get(*at..).unwrap_or_default();
        if self.payload_left_bytes > 0 {
            return Ok(self.payload(rest, at));
        }
        let kept_bytes = self.head.len();
        let decoded = if kept_bytes == 0 {
            M::decode(rest)?
        } else {
            let lacking_bytes = M::HEAD_BYTES_MAX.saturating_sub(kept_bytes);
            self.head.extend(rest.iter().take(lacking_bytes));
            M::decode(&self.head)?
        };
        let Some((message, head_bytes)) = decoded else {
            if kept_bytes == 0 {
                self.head.extend_from_slice(rest);
            }
            *at = input.len();
            return Ok(None);
        };
        self.head.clear();
        self.head.shrink_to(HEAD_KEPT_BYTES);
        *at += head_bytes - kept_bytes;
        self.payload_left_bytes = message.payload_bytes();
        Ok(Some(Frame::Message(message)))
    }

    fn payload(&mut self, rest: &[u8], at: &mut usize) -> Option<Frame<M>> {
        let taken_bytes = rest.len().min(self.payload_left_bytes as usize);
        if taken_bytes == 0 {
            return None;
        }
        let range = *at..*at + taken_bytes;
        *at = range.end;
        self.payload_left_bytes -= taken_bytes as u32;
        Some(Frame::Payload { range, last: self.payload_left_bytes == 0 })
    }

    /// Returns whether a part of a head has been received.
    pub fn is_in_head(&self) -> bool {
        !self.head.is_empty()
    }

    /// Returns whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.head.is_empty() && self.payload_left_bytes == 0
    }

    /// Returns how much of the payload in progress is still to come.
    pub fn payload_left_bytes(&self) -> u32 {
        self.payload_left_bytes
    }
}

/// Decodes a head of `N` bytes: returns the message and `N`, or `None` while `bytes` are
/// fewer.
pub(super) fn head<const N: usize, M>(
    bytes: &[u8],
    decode: impl FnOnce(&[u8; N]) -> Result<M, Malformed>,
) -> Result<Option<(M, usize)>, Malformed> {
    bytes.first_chunk().map(|head| Ok((decode(head)?, N))).transpose()
}
