//! Copied bytes waiting to be sent on one connection.

use super::Transmit;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_KEPT_BYTES};

/// A queue of bytes. Invariant: `sent <= bytes.len()`, equal only if both are 0.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Appends the bytes that `encode` writes, up to [`OUTBOX_BYTES_MAX`] in all.
    pub fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push_unbounded(encode);
        debug_assert!(self.pending().len() <= OUTBOX_BYTES_MAX);
    }

    /// Appends the bytes that `encode` writes; the caller sees to it that they are bounded.
    pub fn push_unbounded(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        encode(&mut self.bytes);
    }

    /// Returns the bytes that are still to be sent.
    pub fn pending(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Returns them for the socket, if there are any; `more` if something follows at once.
    pub fn transmit(&self, more: bool) -> Option<Transmit<'_>> {
        (!self.is_empty()).then(|| Transmit::Bytes { bytes: self.pending(), more })
    }

    /// Returns whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns how much more it may hold.
    pub fn room_bytes(&self) -> usize {
        OUTBOX_BYTES_MAX.saturating_sub(self.pending().len())
    }

    /// Frees its memory: nothing will be sent for a while.
    pub fn free(&mut self) {
        debug_assert!(self.is_empty());
        self.bytes = Vec::new();
    }

    /// Removes the first bytes, which the socket took.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, len_bytes: usize) {
        self.sent += len_bytes;
        assert!(self.sent <= self.bytes.len(), "more bytes were sent than there were");
        if self.sent == self.bytes.len() {
            self.sent = 0;
            self.bytes.clear();
            self.bytes.shrink_to(OUTBOX_KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_however_they_are_taken() {
        let (mut outbox, mut sent, mut pushed) = (Outbox::default(), Vec::new(), Vec::new());
        for step in 0..500_usize {
            outbox.push(|bytes| bytes.extend([step as u8; 7]));
            pushed.extend([step as u8; 7]);
            let taken = (step * 5 % 11).min(outbox.pending().len());
            sent.extend_from_slice(&outbox.pending()[..taken]);
            outbox.advance(taken);
        }
        sent.extend_from_slice(outbox.pending());
        assert_eq!(sent, pushed);
        outbox.advance(outbox.pending().len());
        assert!(outbox.is_empty() && outbox.bytes.capacity() <= OUTBOX_KEPT_BYTES);
    }
}
