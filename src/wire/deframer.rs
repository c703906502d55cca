//! Cuts a byte stream into messages, wherever the stream was cut before.
//!
//! Only an unfinished head is kept, 70 bytes at most. The data of a chunk is
//! never copied: it is reported as a range of the caller's own buffer.
//!
//! Invariant: `head_len` is less than what the message in progress needs, and 0
//! while payload is owed.

use std::marker::PhantomData;
use std::ops::Range;

use super::malformed::Malformed;
use crate::limits::HEAD_BYTES_MAX;

/// A message that a stream can carry.
pub trait Message: Sized {
    /// How long the head is that begins with `prefix`; `None` if it cannot be told yet.
    fn head_len_bytes(prefix: &[u8]) -> Result<Option<usize>, Malformed>;
    /// Decodes a whole head, exactly as long as `head_len_bytes` said.
    fn decode(head: &[u8]) -> Result<Self, Malformed>;
    /// How many bytes of payload follow the head.
    fn payload_bytes(&self) -> u32 {
        0
    }
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

/// Cuts one direction of one connection into [`Frame`]s.
#[derive(Debug)]
pub struct Deframer<M> {
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    payload_left_bytes: u32,
    message: PhantomData<M>,
}

impl<M> Default for Deframer<M> {
    fn default() -> Self {
        Self { head: [0; HEAD_BYTES_MAX], head_len: 0, payload_left_bytes: 0, message: PhantomData }
    }
}

impl<M: Message> Deframer<M> {
    /// The next frame of `input` from `*at` on, which moves behind what was used;
    /// `None` once all of it is used. After an error the stream is lost.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Frame<M>>, Malformed> {
        if self.payload_left_bytes > 0 {
            return Ok(self.payload(input, at));
        }
        loop {
            let wanted = match M::head_len_bytes(&self.head[..self.head_len])? {
                Some(len) if self.head_len == len => break,
                Some(len) => len,
                None => self.head_len + 1,
            };
            let taken = (wanted - self.head_len).min(input.len() - *at);
            if taken == 0 {
                return Ok(None);
            }
            self.head[self.head_len..][..taken].copy_from_slice(&input[*at..][..taken]);
            self.head_len += taken;
            *at += taken;
        }
        let message = M::decode(&self.head[..self.head_len])?;
        self.head_len = 0;
        self.payload_left_bytes = message.payload_bytes();
        Ok(Some(Frame::Message(message)))
    }

    /// Whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.head_len == 0 && self.payload_left_bytes == 0
    }

    /// How much of the payload in progress is still to come.
    pub fn payload_left_bytes(&self) -> u32 {
        self.payload_left_bytes
    }

    fn payload(&mut self, input: &[u8], at: &mut usize) -> Option<Frame<M>> {
        let taken = (input.len() - *at).min(self.payload_left_bytes as usize);
        if taken == 0 {
            return None;
        }
        let range = *at..*at + taken;
        *at = range.end;
        self.payload_left_bytes -= taken as u32;
        Some(Frame::Payload { range, last: self.payload_left_bytes == 0 })
    }
}
