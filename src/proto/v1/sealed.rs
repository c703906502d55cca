//! The sealed layer of a connection: Noise under the frames of a [`Session`](super::Session).
//!
//! ```text
//!  dialed:    ExpectAnswer ── their message ─────────────────────────────▶ Open ─┐ records
//!             (`N` and our message are sent first)                          ▲ └──┘
//!  accepted:  ExpectByte ── `N` ──▶ ExpectMessage ── their message ─────────┘
//!                                                    (our message is sent)
//!
//!  any state ── whatever is not authentic ──▶ Closed, without a word
//! ```
//!
//! A message or record is a length in 16 bits and so many bytes. The plaintexts of all records
//! are one stream, cut anywhere. Each is opened where it lies in its caller's buffer, and sealed
//! where it waits to be sent.
//!
//! Invariant: `out` holds either a record that is being filled, or bytes that are to be sent.

mod noise;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem;
use std::ops::Range;
use std::rc::Rc;

use self::noise::{HANDSHAKE_BYTES, Handshake, RecordKey, TAG_BYTES};
use crate::proto::{CloseReason, Transmit};
use crate::wire::v1::SealKey;

/// The first byte of a sealed connection.
pub const SEALED_FIRST_BYTE: u8 = b'N';
const LENGTH_BYTES: usize = 2;
const RECORD_BYTES_MAX: usize = u16::MAX as usize;
/// The plaintext of one record.
pub const RECORD_PLAIN_BYTES_MAX: usize = RECORD_BYTES_MAX - TAG_BYTES;
const RECORDS_PER_KEY: u64 = 1 << 20;

/// One end of a sealed connection.
pub struct Sealed {
    state: State,
    /// What came of a message or record that is not whole.
    kept: Vec<u8>,
    out: Vec<u8>,
    sent_bytes: usize,
    is_filling: bool,
    records_per_key: u64,
}

enum State {
    ExpectByte(Rc<[SealKey]>),
    ExpectMessage(Rc<[SealKey]>),
    ExpectAnswer(Box<Handshake>),
    Open { opening: RecordKey, sealing: RecordKey },
    Closed,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::ExpectByte(_) => "ExpectByte",
            State::ExpectMessage(_) => "ExpectMessage",
            State::ExpectAnswer(_) => "ExpectAnswer",
            State::Open { .. } => "Open",
            State::Closed => "Closed",
        };
        f.debug_tuple("Sealed").field(&state).finish()
    }
}

impl Sealed {
    /// Returns the layer of a connection that is being made: its first message is to be sent.
    pub fn dialed(key: &SealKey) -> Self {
        Self::dialed_with(Handshake::dialed(key))
    }

    fn dialed_with(handshake: Option<Handshake>) -> Self {
        let mut sealed = Self::new(State::Closed);
        if let Some((handshake, message)) = handshake.and_then(Handshake::ask) {
            sealed.out.push(SEALED_FIRST_BYTE);
            sealed.push_message(&message);
            sealed.state = State::ExpectAnswer(Box::new(handshake));
        }
        sealed
    }

    /// Returns the layer of a connection that came in. The other side may have any of these keys.
    pub fn accepted(keys: &Rc<[SealKey]>) -> Self {
        Self::new(State::ExpectByte(Rc::clone(keys)))
    }

    fn new(state: State) -> Self {
        let (kept, out) = (Vec::new(), Vec::new());
        Self {
            state,
            kept,
            out,
            sent_bytes: 0,
            is_filling: false,
            records_per_key: RECORDS_PER_KEY,
        }
    }

    /// What a record is longer than its plaintext.
    pub const OVERHEAD_BYTES: usize = LENGTH_BYTES + TAG_BYTES;

    /// Returns whether a whole first message stands in `buffer` from `at` on: to answer it takes
    /// much longer than to open a record.
    pub fn awaits_handshake(&self, buffer: &[u8], at: usize) -> bool {
        let message_bytes = LENGTH_BYTES + HANDSHAKE_BYTES;
        let awaited_bytes = match self.state {
            State::ExpectByte(_) => 1 + message_bytes,
            State::ExpectMessage(_) => message_bytes,
            _ => return false,
        };
        buffer.len().saturating_sub(at) >= awaited_bytes
    }

    /// Returns whether records can be sealed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Fills an empty buffer with what came before and is not opened, and with what comes now.
    pub fn collect(&mut self, received: &[u8], buffer: &mut Vec<u8>) {
        buffer.append(&mut self.kept);
        buffer.extend_from_slice(received);
    }

    /// Opens the next record in `buffer` from `*at` on, in place, and moves `*at` behind it.
    /// Returns where its plaintext lies, or `None` when no whole record is left: the rest is to
    /// be given to [`Sealed::keep`].
    ///
    /// # Errors
    /// If what came is not authentic. Nothing of it was given out.
    pub fn next(
        &mut self,
        buffer: &mut [u8],
        at: &mut usize,
    ) -> Result<Option<Range<usize>>, CloseReason> {
        let opened = loop {
            match self.step(buffer, at) {
                Some(Step::Shaken) => {}
                Some(Step::Opened(range)) => break Some(Some(range)),
                Some(Step::NotWhole) => break Some(None),
                None => break None,
            }
        };
        if opened.is_none() {
            self.close();
        }
        opened.ok_or(CloseReason::NotSealed)
    }

    /// Returns `None` if it is not authentic.
    fn step(&mut self, buffer: &mut [u8], at: &mut usize) -> Option<Step> {
        let rest = buffer.get_mut(*at..)?;
        if let State::ExpectByte(keys) = &self.state {
            let Some(byte) = rest.first() else { return Some(Step::NotWhole) };
            *at += 1;
            let keys = (*byte == SEALED_FIRST_BYTE).then(|| Rc::clone(keys))?;
            self.state = State::ExpectMessage(keys);
            return Some(Step::Shaken);
        }
        let [high, low, rest @ ..] = rest else { return Some(Step::NotWhole) };
        let len_bytes = usize::from(u16::from_be_bytes([*high, *low]));
        let is_legal = match self.state {
            State::Open { .. } => len_bytes > TAG_BYTES,
            _ => len_bytes == HANDSHAKE_BYTES,
        };
        if !is_legal {
            return None;
        }
        let Some(body) = rest.get_mut(..len_bytes) else { return Some(Step::NotWhole) };
        let start = *at + LENGTH_BYTES;
        *at = start + len_bytes;
        match mem::replace(&mut self.state, State::Closed) {
            State::ExpectMessage(keys) => {
                let answered = keys.iter().find_map(|key| Handshake::accepted(key)?.answer(body));
                self.on_accepted(answered?);
                Some(Step::Shaken)
            }
            State::ExpectAnswer(handshake) => {
                let [sealing, opening] = handshake.end(body)?;
                self.state = State::Open { opening, sealing };
                Some(Step::Shaken)
            }
            State::Open { mut opening, sealing } => {
                opening.open(body, self.records_per_key)?;
                self.state = State::Open { opening, sealing };
                Some(Step::Opened(start..*at - TAG_BYTES))
            }
            State::ExpectByte(_) | State::Closed => None,
        }
    }

    fn on_accepted(&mut self, ([opening, sealing], message): ([RecordKey; 2], Vec<u8>)) {
        self.push_message(&message);
        self.state = State::Open { opening, sealing };
    }

    fn push_message(&mut self, message: &[u8]) {
        self.out.extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.out.extend_from_slice(message);
    }

    /// Keeps what is not opened until more comes.
    pub fn keep(&mut self, rest: &[u8]) {
        match rest.is_empty() {
            true => self.kept = Vec::new(),
            false => self.kept.extend_from_slice(rest),
        }
    }

    /// Returns how many more bytes the record takes that is being filled; 0 while one is sent, or
    /// before any can be sealed.
    pub fn room_bytes(&self) -> usize {
        match self.is_open() && (self.is_filling || self.out.is_empty()) {
            true => (LENGTH_BYTES + RECORD_PLAIN_BYTES_MAX).saturating_sub(self.out.len()),
            false => 0,
        }
        .min(RECORD_PLAIN_BYTES_MAX)
    }

    /// Puts the first of these bytes in the record that is being filled, and returns how many.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let bytes = bytes.get(..self.room_bytes()).unwrap_or(bytes);
        if !bytes.is_empty() {
            if !mem::replace(&mut self.is_filling, true) {
                self.out.extend_from_slice(&[0; LENGTH_BYTES]);
            }
            self.out.extend_from_slice(bytes);
        }
        bytes.len()
    }

    /// Seals the record that is being filled, if it holds anything: it is sent next.
    pub fn seal(&mut self) {
        if !mem::take(&mut self.is_filling) {
            return;
        }
        let State::Open { sealing, .. } = &mut self.state else { return };
        let Some(([high, low], body)) = self.out.split_first_chunk_mut() else { return };
        [*high, *low] = ((body.len() + TAG_BYTES) as u16).to_be_bytes();
        match sealing.seal(body, self.records_per_key) {
            Some(tag) => self.out.extend_from_slice(&tag),
            None => self.close(),
        }
    }

    /// Returns what is to be sent; `more` if something follows at once.
    pub fn transmit(&self, more: bool) -> Option<Transmit<'_>> {
        let bytes = self.out.get(self.sent_bytes..).filter(|_| !self.is_filling)?;
        (!bytes.is_empty()).then_some(Transmit::Bytes { bytes, more })
    }

    /// Removes the bytes that the socket took. Returns whether all is sent.
    pub fn transmitted(&mut self, len_bytes: usize) -> bool {
        self.sent_bytes += len_bytes;
        let is_sent = self.sent_bytes >= self.out.len();
        if is_sent {
            self.out.clear();
            self.sent_bytes = 0;
        }
        is_sent
    }

    /// Frees its memory, as far as nothing is to be sent.
    pub fn rest(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
    }

    /// Nothing is sent or opened any more.
    fn close(&mut self) {
        self.state = State::Closed;
        (self.kept, self.out) = (Vec::new(), Vec::new());
        (self.sent_bytes, self.is_filling) = (0, false);
    }
}

enum Step {
    /// Part of the handshake is done.
    Shaken,
    /// The plaintext of a record lies there.
    Opened(Range<usize>),
    NotWhole,
}
