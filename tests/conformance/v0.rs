//! Version 0: `vectors/messages.json`.
//!
//! Every valid message decodes to its fields and encodes to its bytes, every
//! malformed one is refused with its own error, and the deframer gives the same
//! result wherever a stream is cut.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddrV4;

use p2pfs::content::Digest;
use p2pfs::limits::OFFER_BYTES;
use p2pfs::wire::v0::{FileName, NameError, Offer, PeerMessage, RegistryRequest, RegistryResponse};
use p2pfs::wire::{Deframer, FieldText, Frame, Malformed, Message, PeerId};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::streams::{Deframed, cut_everywhere, deframe};
use crate::unhex;

/// What each malformed vector is refused with. A vector that is not here fails
/// the test, and so does a row without a vector.
const REFUSALS: &[(&str, &str, Malformed)] = &[
    ("file_offer", "name length over 64", Malformed::NameLength { got: 65 }),
    ("file_offer", "name length 0", Malformed::NameLength { got: 0 }),
    ("file_offer", "name length 4294967295", Malformed::NameLength { got: u32::MAX }),
    ("file_offer", "name not UTF-8", Malformed::NotUtf8),
    ("file_offer", "name climbs out", Malformed::Name(NameError::Separator)),
    ("file_offer", "name is an absolute path", Malformed::Name(NameError::Separator)),
    ("file_offer", "name with backslash", Malformed::Name(NameError::Separator)),
    ("file_offer", "name is ..", Malformed::Name(NameError::LeadingDot)),
    ("file_offer", "name is .", Malformed::Name(NameError::LeadingDot)),
    ("file_offer", "name with NUL inside", Malformed::BytesAfterNul),
    ("file_offer", "name with terminal escape", Malformed::Name(NameError::Control)),
    ("file_offer", "name with newline", Malformed::Name(NameError::Control)),
    ("file_offer", "datagram one byte short", Malformed::DatagramLength { got_bytes: 72 }),
    ("file_offer", "datagram one byte long", Malformed::DatagramLength { got_bytes: 74 }),
    ("file_offer", "empty datagram", Malformed::DatagramLength { got_bytes: 0 }),
    (
        "file_offer",
        "name length neither bytes nor characters",
        Malformed::NameLengthMismatch { got: 11 },
    ),
    ("file_offer", "bytes after the first NUL", Malformed::BytesAfterNul),
    ("file_offer", "another type in an offer's length", Malformed::UnknownType { got: b'R' }),
    ("file_offer", "name: leading space", Malformed::Name(NameError::OuterSpace)),
    ("file_offer", "name: trailing space", Malformed::Name(NameError::OuterSpace)),
    ("file_offer", "name: trailing dot", Malformed::Name(NameError::TrailingDot)),
    ("file_offer", "name: leading dot", Malformed::Name(NameError::LeadingDot)),
    ("file_offer", "name: Windows device name", Malformed::Name(NameError::DeviceName)),
    ("file_offer", "name: colon", Malformed::Name(NameError::ReservedCharacter)),
    ("file_offer", "name: question mark", Malformed::Name(NameError::ReservedCharacter)),
    ("file_offer", "name: bidirectional override", Malformed::Name(NameError::Deceptive)),
    ("file_offer", "name: zero-width space", Malformed::Name(NameError::Deceptive)),
    ("file_offer", "name: C1 control", Malformed::Name(NameError::Control)),
    ("file_offer", "name: trailing Unicode white space", Malformed::Name(NameError::OuterSpace)),
    ("file_offer", "name: delete character", Malformed::Name(NameError::Control)),
    ("file_request", "name climbs out", Malformed::Name(NameError::Separator)),
    ("file_request", "name length 0", Malformed::NameLength { got: 0 }),
    ("file_request", "name length over 64", Malformed::NameLength { got: 65 }),
    ("file_request", "name with separator", Malformed::Name(NameError::Separator)),
    ("file_request", "bytes after the first NUL", Malformed::BytesAfterNul),
    ("file_transfer", "chunk of no bytes", Malformed::EmptyChunk),
    ("eof_checksum", "not hexadecimal", Malformed::Digest),
    ("eof_checksum", "padded with NUL", Malformed::Digest),
    ("eof_checksum", "upper-case digest", Malformed::Digest),
    ("peer_stream", "unknown type", Malformed::UnknownType { got: b'X' }),
    ("register_request", "port 0", Malformed::Port { got: 0 }),
    ("register_request", "port 65536", Malformed::Port { got: 65536 }),
    ("register_response", "success 2", Malformed::Success { got: 2 }),
    ("lookup_response", "port 65536", Malformed::Port { got: 65536 }),
    ("lookup_response", "port 0", Malformed::Port { got: 0 }),
    ("lookup_response", "host empty", Malformed::Host),
    ("lookup_response", "host is a name other than localhost", Malformed::Host),
    ("lookup_response", "host is IPv6", Malformed::Host),
    ("lookup_response", "bytes after the first NUL", Malformed::BytesAfterNul),
    ("error_response", "text not UTF-8", Malformed::NotUtf8),
    ("registry_stream", "unknown second byte", Malformed::UnknownRegistryType { got: b'X' }),
    ("registry_stream", "not a registry message", Malformed::UnknownType { got: b'G' }),
];

#[test]
fn every_valid_message_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for vector in vectors("valid") {
        assert_eq!(vector.bytes.len() as u64, vector.number("length"), "{vector:?}");
        let mut encoded = Vec::new();
        match vector.direction() {
            Direction::Broadcast => {
                let offer = Offer { peer: vector.peer(), name: vector.name() };
                assert_eq!(Offer::decode(&vector.bytes), Ok(offer), "{vector:?}");
                encoded.extend_from_slice(&offer.encode());
            }
            Direction::BetweenPeers => {
                let (message, data) = vector.peer_message();
                vector.assert_decodes(message, &data);
                message.encode(&mut encoded);
                encoded.extend_from_slice(&data);
            }
            Direction::ToRegistry => {
                let request = vector.registry_request();
                vector.assert_decodes(request, &[]);
                request.encode(&mut encoded);
            }
            Direction::FromRegistry => {
                let response = vector.registry_response();
                vector.assert_decodes(response, &[]);
                response.encode(&mut encoded);
            }
            Direction::EitherWithRegistry => panic!("valid, yet of no direction: {vector:?}"),
        }
        if vector.is_encoded_by_us() {
            assert_eq!(encoded, vector.bytes, "{vector:?}");
        } else {
            assert_eq!(encoded.len(), vector.bytes.len(), "{vector:?}");
            assert_ne!(encoded, vector.bytes, "encoded as given after all: {vector:?}");
        }
    }
}

#[test]
fn every_malformed_message_is_refused_with_its_own_error() {
    let mut seen = BTreeSet::new();
    for vector in vectors("invalid") {
        let (message, why) = (vector.message(), vector.text("why"));
        let refusal = vector.refusal();
        seen.insert((message.to_owned(), why.to_owned()));
        match vector.direction() {
            Direction::Broadcast => {
                assert_eq!(Offer::decode(&vector.bytes), Err(refusal), "{vector:?}");
            }
            Direction::BetweenPeers => vector.assert_refused::<PeerMessage>(refusal),
            Direction::ToRegistry => vector.assert_refused::<RegistryRequest>(refusal),
            Direction::FromRegistry => vector.assert_refused::<RegistryResponse>(refusal),
            Direction::EitherWithRegistry => {
                vector.assert_refused::<RegistryRequest>(refusal);
                vector.assert_refused::<RegistryResponse>(refusal);
            }
        }
        let words = refusal.to_string();
        assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
    }
    for (message, why, _) in REFUSALS {
        assert!(
            seen.contains(&((*message).to_owned(), (*why).to_owned())),
            "no vector: {message}, {why}"
        );
    }
}

#[test]
fn a_datagram_of_any_other_length_than_an_offers_is_refused() {
    let offer = vectors("valid").remove(0).bytes;
    let repeated = offer.repeat(3);
    for got_bytes in (0..repeated.len()).filter(|&len| len != OFFER_BYTES) {
        let refused = Err(Malformed::DatagramLength { got_bytes });
        assert_eq!(Offer::decode(&repeated[..got_bytes]), refused);
    }
}

#[test]
fn messages_of_another_direction_are_refused_on_each_stream() {
    for vector in vectors("valid") {
        let direction = vector.direction();
        let got = vector.bytes[0];
        if direction != Direction::BetweenPeers {
            vector.assert_refused::<PeerMessage>(Malformed::UnknownType { got });
        }
        if !matches!(direction, Direction::ToRegistry | Direction::FromRegistry) {
            vector.assert_refused::<RegistryRequest>(Malformed::UnknownType { got });
            vector.assert_refused::<RegistryResponse>(Malformed::UnknownType { got });
        }
        if vector.message() == "error_response" {
            let got = vector.bytes[1];
            vector.assert_refused::<RegistryRequest>(Malformed::UnknownRegistryType { got });
        }
    }
}

#[test]
fn the_deframer_gives_the_same_result_for_every_cut() {
    let is_between_peers = |vector: &Vector| vector.direction() == Direction::BetweenPeers;
    let is_request = |vector: &Vector| {
        matches!(vector.direction(), Direction::ToRegistry | Direction::EitherWithRegistry)
    };
    let is_response = |vector: &Vector| {
        matches!(vector.direction(), Direction::FromRegistry | Direction::EitherWithRegistry)
    };
    assert_cuts_do_not_matter::<PeerMessage>(is_between_peers);
    assert_cuts_do_not_matter::<RegistryRequest>(is_request);
    assert_cuts_do_not_matter::<RegistryResponse>(is_response);
}

#[test]
fn a_chunk_of_the_greatest_length_streams_through() {
    let buffer = vec![b'A'; 16 * 1024 * 1024 + 1];
    let mut deframer = Deframer::<PeerMessage>::default();
    let head = deframer.next(b"T\xff\xff\xff\xff", &mut 0);
    assert_eq!(head, Ok(Some(Frame::Message(PeerMessage::Chunk { data_bytes: u32::MAX }))));
    let mut streamed_bytes = 0;
    loop {
        let mut at = 0;
        let frame = deframer.next(&buffer, &mut at);
        streamed_bytes += at as u64;
        let last = streamed_bytes == u64::from(u32::MAX);
        assert_eq!(frame, Ok(Some(Frame::Payload { range: 0..at, last })));
        if last {
            let behind = deframer.next(&buffer[..5], &mut 0);
            let peer = PeerId(u32::from_be_bytes(*b"AAAA"));
            assert_eq!(behind, Ok(Some(Frame::Message(PeerMessage::Acknowledgment(peer)))));
            return;
        }
        assert!(at == buffer.len() && streamed_bytes < u64::from(u32::MAX));
    }
}

/// Each message alone, all valid ones joined, and these with each malformed one
/// behind them.
fn assert_cuts_do_not_matter<M: Message + Copy + Debug + PartialEq>(
    belongs: impl Fn(&Vector) -> bool,
) {
    let of = |list| vectors(list).into_iter().filter(&belongs).collect::<Vec<_>>();
    let (valid, invalid) = (of("valid"), of("invalid"));
    assert!(valid.len() > 1 && !invalid.is_empty(), "too few vectors to mean anything");

    for vector in &valid {
        let whole = cut_everywhere::<M>(&vector.bytes);
        assert_eq!((whole.messages.len(), whole.error), (1, None), "{vector:?}");
        assert!(whole.is_between_messages, "{vector:?}");
    }
    let joined = valid.iter().flat_map(|vector| vector.bytes.clone()).collect::<Vec<_>>();
    let all = cut_everywhere::<M>(&joined);
    assert_eq!((all.messages.len(), all.error), (valid.len(), None));
    assert!(all.is_between_messages);

    for vector in &invalid {
        let refusal = Some(vector.refusal());
        let alone = cut_everywhere::<M>(&vector.bytes);
        assert_eq!((alone.messages.len(), alone.error), (0, refusal), "{vector:?}");
        let behind = cut_everywhere::<M>(&[joined.as_slice(), &vector.bytes].concat());
        assert_eq!(behind.error, refusal, "{vector:?}");
        assert_eq!(behind.messages, all.messages, "{vector:?}");
    }
}

/// Where a message may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Broadcast,
    BetweenPeers,
    ToRegistry,
    FromRegistry,
    EitherWithRegistry,
}

/// One entry of the file of vectors.
#[derive(Debug)]
struct Vector {
    entry: Value,
    bytes: Vec<u8>,
}

fn vectors(list: &str) -> Vec<Vector> {
    let file: Value =
        serde_json::from_str(include_str!("../vectors/messages.json")).expect("vectors are JSON");
    let entries = file[list].as_array().expect("a list of vectors").clone();
    assert!(!entries.is_empty());
    entries
        .into_iter()
        .map(|entry| {
            let bytes = unhex(entry["hex"].as_str().expect("bytes in hexadecimal"));
            Vector { entry, bytes }
        })
        .collect()
}

impl Vector {
    fn message(&self) -> &str {
        self.text("message")
    }

    fn direction(&self) -> Direction {
        match self.message() {
            "file_offer" => Direction::Broadcast,
            "file_request" | "file_transfer" | "acknowledgment" | "eof_checksum"
            | "peer_stream" => Direction::BetweenPeers,
            "register_request" | "lookup_request" => Direction::ToRegistry,
            "register_response" | "lookup_response" | "error_response" => Direction::FromRegistry,
            "registry_stream" => Direction::EitherWithRegistry,
            other => panic!("a vector of an unknown message: {other}"),
        }
    }

    /// Two kinds of message are understood but never sent: a name length that
    /// counts characters, and the host `localhost`, which we write as 127.0.0.1.
    fn is_encoded_by_us(&self) -> bool {
        let is_sent = match self.text("note") {
            "decode and encode" => true,
            note if note.contains("Decode only") => false,
            note => panic!("a note that this test does not know: {note}"),
        };
        is_sent && self.entry["fields"]["host"] != "localhost"
    }

    fn refusal(&self) -> Malformed {
        let (message, why) = (self.message(), self.text("why"));
        match REFUSALS.iter().find(|row| (row.0, row.1) == (message, why)) {
            Some(&(_, _, refusal)) => refusal,
            None => panic!("a vector that this test does not know: {message}, {why}"),
        }
    }

    fn peer_message(&self) -> (PeerMessage, Vec<u8>) {
        let message = match self.message() {
            "file_request" => PeerMessage::Request(self.name()),
            "file_transfer" => {
                let data = unhex(self.field_text("data_hex"));
                assert_eq!(data.len() as u64, u64::from(self.field_number("data_length")));
                return (PeerMessage::Chunk { data_bytes: data.len() as u32 }, data);
            }
            "acknowledgment" => PeerMessage::Acknowledgment(self.peer()),
            "eof_checksum" => {
                let digest = Digest(Sha256::digest(unhex(self.field_text("of_data_hex"))).into());
                assert_eq!(digest.to_string(), self.field_text("sha256_hex"));
                PeerMessage::Eof(digest)
            }
            other => panic!("not between peers: {other}"),
        };
        (message, Vec::new())
    }

    fn registry_request(&self) -> RegistryRequest {
        match self.message() {
            "register_request" => {
                RegistryRequest::Register { peer: self.peer(), port: self.port() }
            }
            "lookup_request" => RegistryRequest::Lookup(self.peer()),
            other => panic!("not to the registry: {other}"),
        }
    }

    fn registry_response(&self) -> RegistryResponse {
        match self.message() {
            "register_response" => RegistryResponse::Registered(self.field_number("success") == 1),
            "lookup_response" => {
                let host = match self.field_text("host") {
                    "localhost" => "127.0.0.1",
                    host => host,
                };
                let ip = host.parse().expect("an IPv4 address");
                RegistryResponse::Address(SocketAddrV4::new(ip, self.port()))
            }
            "error_response" => RegistryResponse::Error(FieldText::new(self.field_text("message"))),
            other => panic!("not from the registry: {other}"),
        }
    }

    fn assert_decodes<M: Message + Copy + Debug + PartialEq>(&self, message: M, payload: &[u8]) {
        let messages = vec![(message, payload.to_vec())];
        let expected = Deframed { messages, error: None, is_between_messages: true };
        assert_eq!(deframe([self.bytes.as_slice()]), expected, "{self:?}");
    }

    fn assert_refused<M: Message + Copy + Debug + PartialEq>(&self, refusal: Malformed) {
        let expected = Deframed::<M> {
            messages: Vec::new(),
            error: Some(refusal),
            is_between_messages: false,
        };
        assert_eq!(deframe([self.bytes.as_slice()]), expected, "{self:?}");
    }

    fn text(&self, key: &str) -> &str {
        self.entry[key].as_str().expect("a text")
    }

    fn number(&self, key: &str) -> u64 {
        self.entry[key].as_u64().expect("a number")
    }

    fn field_text(&self, field: &str) -> &str {
        self.entry["fields"][field].as_str().expect("a field of text")
    }

    fn field_number(&self, field: &str) -> u32 {
        let number = self.entry["fields"][field].as_u64().expect("a field with a number");
        u32::try_from(number).expect("32 bits")
    }

    fn peer(&self) -> PeerId {
        PeerId(self.field_number("peer_id"))
    }

    fn port(&self) -> u16 {
        u16::try_from(self.field_number("port")).expect("a port")
    }

    fn name(&self) -> FileName {
        let text = self.field_text("name");
        let length = self.field_number("name_length") as usize;
        assert!(length == text.len() || length == text.chars().count());
        FileName::new(text).expect("a legal name")
    }
}
