//! Cuts a byte stream into messages, wherever the stream was cut before.
//!
//! Only a head that was cut is kept, as long as the longest of its protocol at most; a whole
//! one is decoded where it lies. The data of a chunk is never copied: it is reported as a range of the caller's
//! own buffer.
//!
//! Invariant: `head` is shorter than what the message in progress needs, and empty
//! while payload is owed.

use std::marker::PhantomData;
use std::ops::Range;

use super::malformed::Malformed;

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
    head: Vec<u8>,
    payload_left_bytes: u32,
    message: PhantomData<M>,
}

impl<M> Default for Deframer<M> {
    fn default() -> Self {
        Self { head: Vec::new(), payload_left_bytes: 0, message: PhantomData }
    }
}

impl<M: Message> Deframer<M> {
    /// The next frame of `input` from `*at` on, which moves behind what was used;
    /// `None` once all of it is used. After an error the stream is lost.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Frame<M>>, Malformed> {
        if self.payload_left_bytes > 0 {
            return Ok(self.payload(input, at));
        }
        let message = match self.head.is_empty() {
            true => Self::whole_head(&input[*at..])?.inspect(|(_, len)| *at += len),
            false => None,
        };
        let message = match message {
            Some((message, _)) => message,
            None if self.complete_head(input, at)? => {
                let message = M::decode(&self.head)?;
                self.head.clear();
                message
            }
            None => return Ok(None),
        };
        self.payload_left_bytes = message.payload_bytes();
        Ok(Some(Frame::Message(message)))
    }

    /// The message whose head begins `input`, and how long that is, if all of it is there.
    fn whole_head(input: &[u8]) -> Result<Option<(M, usize)>, Malformed> {
        let mut known = input.len().min(1);
        loop {
            match M::head_len_bytes(&input[..known])? {
                Some(len) if len <= input.len() => {
                    return M::decode(&input[..len]).map(|message| Some((message, len)));
                }
                None if known < input.len() => known += 1,
                _ => return Ok(None),
            }
        }
    }

    /// Adds to the head in progress; whether it is complete.
    fn complete_head(&mut self, input: &[u8], at: &mut usize) -> Result<bool, Malformed> {
        loop {
            let wanted = match M::head_len_bytes(&self.head)? {
                Some(len) if self.head.len() == len => return Ok(true),
                Some(len) => len,
                None => self.head.len() + 1,
            };
            let taken = (wanted - self.head.len()).min(input.len() - *at);
            if taken == 0 {
                return Ok(false);
            }
            self.head.extend_from_slice(&input[*at..][..taken]);
            *at += taken;
        }
    }

    /// Whether the stream stands between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.head.is_empty() && self.payload_left_bytes == 0
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
