//! A stream cut into messages, wherever it is cut.

use std::fmt::Debug;

use p2pfs::wire::{Deframer, Frame, Malformed, Message};

/// Deframes a stream whole, cut in two at every byte, and in pieces of each
/// length from 1 on; gives the one result that all of them had.
pub(crate) fn cut_everywhere<M: Message + Clone + Debug + PartialEq>(stream: &[u8]) -> Deframed<M> {
    let whole = deframe::<M>([stream]);
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(deframe([head, tail]), whole, "cut in two at {at}");
        let begun = deframe::<M>([head]);
        assert!(whole.messages.starts_with(&begun.finished()), "ends at {at}");
    }
    for piece_bytes in 1..stream.len().min(100) {
        assert_eq!(deframe(stream.chunks(piece_bytes)), whole, "pieces of {piece_bytes}");
    }
    whole
}

/// What a stream comes to: messages with their payload, then an error at most.
#[derive(Debug, PartialEq)]
pub(crate) struct Deframed<M> {
    pub(crate) messages: Vec<(M, Vec<u8>)>,
    pub(crate) error: Option<Malformed>,
    pub(crate) is_between_messages: bool,
}

impl<M: Message + Clone> Deframed<M> {
    /// The messages whose payload is complete.
    fn finished(&self) -> Vec<(M, Vec<u8>)> {
        let is_finished = |(message, payload): &&(M, Vec<u8>)| {
            payload.len() as u64 == u64::from(message.payload_bytes())
        };
        self.messages.iter().take_while(is_finished).cloned().collect()
    }
}

pub(crate) fn deframe<'a, M: Message + Clone>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Deframed<M> {
    let mut deframer = Deframer::<M>::default();
    let mut messages: Vec<(M, Vec<u8>)> = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            let from = at;
            match deframer.next(piece, &mut at) {
                Ok(Some(Frame::Message(message))) => messages.push((message, Vec::new())),
                Ok(Some(Frame::Payload { range, last })) => {
                    assert_eq!(range, from..at, "payload is what was used of the input");
                    assert!(!range.is_empty());
                    let (message, payload) = messages.last_mut().expect("payload has a message");
                    payload.extend_from_slice(&piece[range]);
                    assert_eq!(last, payload.len() == message.payload_bytes() as usize);
                }
                Ok(None) => {
                    assert_eq!(at, piece.len(), "all of the input is used");
                    break;
                }
                Err(error) => {
                    return Deframed { messages, error: Some(error), is_between_messages: false };
                }
            }
        }
    }
    let is_between_messages = deframer.is_between_messages();
    Deframed { messages, error: None, is_between_messages }
}
