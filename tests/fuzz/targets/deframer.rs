//! The deframer: however a stream is cut, it is the same messages; and what was decoded
//! is encoded to the same bytes, but where the protocol allows two forms of one value.

use std::fmt::Debug;

use p2pfs::wire::v0::{PeerMessage, RegistryRequest, RegistryResponse};
use p2pfs::wire::{Deframer, Frame, Malformed, Message};

use super::script::Script;

type Encode<M> = fn(&M, &mut Vec<u8>);

/// The first byte chooses the type of message, the next ones how the rest is cut.
pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.below(3);
    let cuts = script.bytes();
    let stream = script.remainder();
    match kind {
        0 => check::<PeerMessage>(stream, cuts, PeerMessage::encode),
        1 => check::<RegistryRequest>(stream, cuts, RegistryRequest::encode),
        _ => check::<RegistryResponse>(stream, cuts, RegistryResponse::encode),
    }
}

/// What a stream turned out to be, without regard to how its payload was cut.
#[derive(Debug, PartialEq)]
struct Read<M> {
    items: Vec<Item<M>>,
    error: Option<Malformed>,
    is_between_messages: bool,
}

#[derive(Debug, PartialEq)]
enum Item<M> {
    Message(M),
    Payload { bytes: Vec<u8>, is_whole: bool },
}

pub(super) fn check<M: Message + Debug + PartialEq>(stream: &[u8], cuts: &[u8], encode: Encode<M>) {
    let whole = read::<M>(&[stream]);
    assert_eq!(whole, read(&pieces(stream, cuts)), "two cuttings of one stream");
    check_heads(stream, encode);
}

fn pieces<'a>(mut stream: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for &cut in cuts.iter().cycle() {
        if stream.is_empty() || pieces.len() > 2 * cuts.len() + 64 {
            break;
        }
        let (piece, rest) = stream.split_at(usize::from(cut).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces.push(stream);
    pieces
}

fn read<M: Message>(pieces: &[&[u8]]) -> Read<M> {
    let mut deframer = Deframer::default();
    let mut items = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            let before = at;
            match deframer.next(piece, &mut at) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    assert!(at > before, "a frame out of nothing");
                    take(&mut items, frame, piece);
                }
                Err(error) => {
                    return Read { items, error: Some(error), is_between_messages: false };
                }
            }
        }
        assert_eq!(at, piece.len(), "bytes are left over");
    }
    Read { items, error: None, is_between_messages: deframer.is_between_messages() }
}

fn take<M: Message>(items: &mut Vec<Item<M>>, frame: Frame<M>, piece: &[u8]) {
    match frame {
        Frame::Message(message) => items.push(Item::Message(message)),
        Frame::Payload { range, last } => {
            assert!(!range.is_empty(), "an empty payload");
            let part = &piece[range];
            if let Some(Item::Payload { bytes, is_whole: is_whole @ false }) = items.last_mut() {
                bytes.extend_from_slice(part);
                *is_whole = last;
            } else {
                items.push(Item::Payload { bytes: part.to_vec(), is_whole: last });
            }
            check_length(items);
        }
    }
}

/// A payload is as long as its message said, once it is whole, and shorter before.
fn check_length<M: Message>(items: &[Item<M>]) {
    let [.., Item::Message(message), Item::Payload { bytes, is_whole }] = items else {
        panic!("payload without its message");
    };
    let announced = message.payload_bytes() as usize;
    assert!(bytes.len() == announced || bytes.len() < announced && !is_whole);
    assert_eq!(*is_whole, bytes.len() == announced);
}

/// Each message is encoded to what it was decoded from, or to another form of the same.
fn check_heads<M: Message + Debug + PartialEq>(stream: &[u8], encode: Encode<M>) {
    let (mut deframer, mut at) = (Deframer::<M>::default(), 0);
    loop {
        let before = at;
        match deframer.next(stream, &mut at) {
            Ok(Some(Frame::Message(message))) => {
                let mut encoded = Vec::new();
                encode(&message, &mut encoded);
                let head = &stream[before..at];
                assert!(encoded == head || has_two_forms(head, &encoded), "{message:?}: {head:x?}");
                let decoded = M::decode(&encoded);
                assert_eq!(decoded, Ok(Some((message, encoded.len()))), "its own encoding");
            }
            Ok(Some(Frame::Payload { .. })) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

/// A name may be counted in characters, and `localhost` is an address.
fn has_two_forms(head: &[u8], encoded: &[u8]) -> bool {
    head.len() == encoded.len()
        && match head {
            [b'R', ..] => head[5..] == encoded[5..] && !head[5..].is_ascii(),
            [b'S', b'L', host @ ..] => {
                host.starts_with(b"localhost\0") && encoded[2..].starts_with(b"127.0.0.1\0")
            }
            _ => false,
        }
}
