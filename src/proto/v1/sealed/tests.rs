use serde_json::Value as Json;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};

use super::noise::Primitives;
use super::*;
use crate::wire::v1::Secret;

/// Both ends of a connection, open.
struct Pair {
    dialer: Sealed,
    acceptor: Sealed,
}

fn key(byte: u8) -> SealKey {
    Secret::new([byte; 32]).seal_key()
}

/// All that an end has to send.
fn sent(end: &mut Sealed) -> Vec<u8> {
    let bytes = match end.transmit(false) {
        Some(Transmit::Bytes { bytes, .. }) => bytes.to_vec(),
        _ => Vec::new(),
    };
    end.transmitted(bytes.len());
    bytes
}

/// What an end opens of these bytes.
fn opened(end: &mut Sealed, bytes: &[u8]) -> Result<Vec<u8>, CloseReason> {
    let (mut buffer, mut at, mut plain) = (Vec::new(), 0, Vec::new());
    end.collect(bytes, &mut buffer);
    while let Some(range) = end.next(&mut buffer, &mut at)? {
        plain.extend_from_slice(&buffer[range]);
    }
    end.keep(&buffer[at..]);
    Ok(plain)
}

fn sealed(end: &mut Sealed, plain: &[u8]) -> Vec<u8> {
    assert_eq!(end.fill(plain), plain.len());
    end.seal();
    sent(end)
}

impl Pair {
    fn new() -> Self {
        Self::with(&key(1), &[key(1)]).expect("the same secret")
    }

    fn with(dialers: &SealKey, acceptors: &[SealKey]) -> Result<Self, CloseReason> {
        let (mut dialer, mut acceptor) =
            (Sealed::dialed(dialers), Sealed::accepted(&acceptors.into()));
        assert_eq!(opened(&mut acceptor, &sent(&mut dialer))?, b"");
        assert_eq!(opened(&mut dialer, &sent(&mut acceptor))?, b"");
        assert!(dialer.is_open() && acceptor.is_open());
        Ok(Self { dialer, acceptor })
    }
}

fn assert_closed(end: &mut Sealed) {
    assert!(!end.is_open() && end.transmit(false).is_none() && end.fill(b"x") == 0);
    assert_eq!(opened(end, &[0; 100]), Err(CloseReason::NotSealed));
}

#[test]
fn what_one_end_seals_the_other_opens_however_it_is_cut() {
    for piece_bytes in [1, 2, 3, 17, 18, 19, 100, usize::MAX] {
        let mut pair = Pair::new();
        let mut stream = Vec::new();
        for plain in [&b"a"[..], b"", b"frames of several", &[7; 100]] {
            stream.extend(sealed(&mut pair.dialer, plain));
        }
        let mut plain = Vec::new();
        for piece in stream.chunks(piece_bytes) {
            plain.extend(opened(&mut pair.acceptor, piece).unwrap());
        }
        assert_eq!(plain, [&b"aframes of several"[..], &[7; 100]].concat());
        let back = sealed(&mut pair.acceptor, b"back");
        assert_eq!(opened(&mut pair.dialer, &back).unwrap(), b"back");
    }
}

#[test]
fn a_record_takes_no_more_than_it_can_hold_and_nothing_while_one_is_sent() {
    let mut pair = Pair::new();
    assert_eq!(pair.dialer.fill(&vec![1; 70_000]), RECORD_PLAIN_BYTES_MAX);
    assert_eq!((pair.dialer.room_bytes(), pair.dialer.fill(b"x")), (0, 0));
    assert_eq!(pair.dialer.transmit(false), None, "it is not sealed");
    pair.dialer.seal();
    let Some(Transmit::Bytes { bytes, more: true }) = pair.dialer.transmit(true) else { panic!() };
    assert_eq!(bytes.len(), 2 + 65_535);
    let record = bytes.to_vec();
    assert_eq!((pair.dialer.room_bytes(), pair.dialer.fill(b"x")), (0, 0));
    assert!(!pair.dialer.transmitted(65_536));
    assert_eq!(pair.dialer.room_bytes(), 0);
    assert!(pair.dialer.transmitted(1));
    assert_eq!(pair.dialer.room_bytes(), RECORD_PLAIN_BYTES_MAX);
    assert_eq!(opened(&mut pair.acceptor, &record).unwrap().len(), RECORD_PLAIN_BYTES_MAX);
}

#[test]
fn an_end_without_the_secret_is_closed_without_a_word() {
    assert!(Pair::with(&key(2), &[key(1)]).is_err());
    assert!(Pair::with(&key(2), &[]).is_err());
    // The other side of a key change: both are tried.
    assert!(Pair::with(&key(2), &[key(1), key(2)]).is_ok());
    let mut acceptor = Sealed::accepted(&[key(1)].into());
    assert!(opened(&mut acceptor, &sent(&mut Sealed::dialed(&key(2)))).is_err());
    assert_closed(&mut acceptor);
}

#[test]
fn each_first_message_that_is_no_right_one_is_refused_in_the_same_way() {
    let first = sent(&mut Sealed::dialed(&key(1)));
    let acceptor = || Sealed::accepted(&[key(1)].into());
    for at in 0..first.len() * 8 {
        let mut flipped = first.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut acceptor = acceptor();
        assert_eq!(opened(&mut acceptor, &flipped), Err(CloseReason::NotSealed), "bit {at}");
        assert_closed(&mut acceptor);
    }
    for len in 0..first.len() {
        let mut acceptor = acceptor();
        assert_eq!(opened(&mut acceptor, &first[..len]).unwrap(), b"", "waits for the rest");
        assert!(!acceptor.is_open() && acceptor.transmit(false).is_none());
        assert_eq!(opened(&mut acceptor, &first[len..]).unwrap(), b"");
        assert!(acceptor.is_open());
    }
    let mut dialer = Sealed::dialed(&key(1));
    let mut acceptor = acceptor();
    opened(&mut acceptor, &sent(&mut dialer)).unwrap();
    let answer = sent(&mut acceptor);
    for at in 0..answer.len() * 8 {
        let mut flipped = answer.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let mut dialer = Sealed::dialed(&key(1));
        sent(&mut dialer);
        assert_eq!(opened(&mut dialer, &flipped), Err(CloseReason::NotSealed), "bit {at}");
        assert_closed(&mut dialer);
    }
}

/// A recording of a session is no use without the keys of its ends.
#[test]
fn a_replayed_session_gets_no_further_than_the_answer_to_its_first_message() {
    let mut dialer = Sealed::dialed(&key(1));
    let first = sent(&mut dialer);
    let mut acceptor = Sealed::accepted(&[key(1)].into());
    opened(&mut acceptor, &first).unwrap();
    let answer = sent(&mut acceptor);
    opened(&mut dialer, &answer).unwrap();
    let record = sealed(&mut dialer, b"hello");
    assert_eq!(opened(&mut acceptor, &record).unwrap(), b"hello");

    let mut again = Sealed::accepted(&[key(1)].into());
    opened(&mut again, &first).unwrap();
    assert_ne!(sent(&mut again), answer);
    assert_eq!(opened(&mut again, &record), Err(CloseReason::NotSealed));
    assert_closed(&mut again);
    let mut again = Sealed::dialed(&key(1));
    sent(&mut again);
    assert_eq!(opened(&mut again, &answer), Err(CloseReason::NotSealed));
}

#[test]
fn records_are_opened_whole_unchanged_once_and_in_order_or_not_at_all() {
    let records =
        |dialer: &mut Sealed| [&b"one"[..], b"two", b"three"].map(|plain| sealed(dialer, plain));
    let mut pair = Pair::new();
    let [one, ..] = records(&mut pair.dialer);
    for at in 0..one.len() * 8 {
        let mut pair = Pair::new();
        let [mut one, two, three] = records(&mut pair.dialer);
        one[at / 8] ^= 1 << (at % 8);
        let stream = [one, two, three].concat();
        // One that is said to be longer waits for what never comes.
        let plain = opened(&mut pair.acceptor, &stream);
        assert!(plain.is_err() || plain == Ok(vec![]), "bit {at}: {plain:?}");
    }
    for order in [&[1][..], &[2], &[0, 2], &[0, 0], &[1, 0], &[0, 1, 1], &[0, 1, 0]] {
        let mut pair = Pair::new();
        let records = records(&mut pair.dialer);
        let (last, before) = order.split_last().unwrap();
        for at in before {
            let _ = opened(&mut pair.acceptor, &records[*at]);
        }
        assert_eq!(opened(&mut pair.acceptor, &records[*last]), Err(CloseReason::NotSealed));
        assert_closed(&mut pair.acceptor);
    }
    // One of the other direction.
    let mut pair = Pair::new();
    let own = sealed(&mut pair.acceptor, b"own");
    assert_eq!(opened(&mut pair.acceptor, &own), Err(CloseReason::NotSealed));
}

#[test]
fn a_stream_cut_at_any_byte_gives_its_whole_records_and_no_more() {
    let mut pair = Pair::new();
    let stream = [sealed(&mut pair.dialer, b"one"), sealed(&mut pair.dialer, b"two")];
    let ends = [stream[0].len(), stream[0].len() + stream[1].len()];
    let stream = stream.concat();
    // The nonce of each end moves on, so each cut needs ends of its own, of the same keys.
    for cut in 0..=stream.len() {
        let State::Open { opening, sealing } = &pair.acceptor.state else { panic!() };
        let (opening, sealing) = (opening.copy(), sealing.copy());
        let mut acceptor = Sealed::new(State::Open { opening, sealing });
        let expected = if cut >= ends[1] {
            "onetwo"
        } else if cut >= ends[0] {
            "one"
        } else {
            ""
        };
        assert_eq!(opened(&mut acceptor, &stream[..cut]).unwrap(), expected.as_bytes());
    }
}

#[test]
fn both_ends_change_their_keys_at_the_same_record() {
    let mut pair = Pair::new();
    pair.dialer.records_per_key = 3;
    pair.acceptor.records_per_key = 3;
    for number in 0..20_u8 {
        let keys = |end: &Sealed| match &end.state {
            State::Open { opening, sealing } => [opening.copy(), sealing.copy()].map(|it| it.key()),
            _ => panic!("not open"),
        };
        let before = keys(&pair.acceptor);
        let record = sealed(&mut pair.dialer, &[number]);
        assert_eq!(opened(&mut pair.acceptor, &record).unwrap(), [number]);
        let is_changed = keys(&pair.acceptor) != before;
        assert_eq!(is_changed, number % 3 == 2, "record {number}");
    }
    pair.acceptor.records_per_key = 4;
    let mut results = (0..4).map(|number| {
        let record = sealed(&mut pair.dialer, &[number]);
        opened(&mut pair.acceptor, &record)
    });
    assert!(results.any(|result| result.is_err()), "one end keeps its key for longer");
}

#[test]
fn the_handshake_and_the_records_of_the_vectors() {
    let whole: Json =
        serde_json::from_str(include_str!("../../../../tests/vectors/v1.json")).unwrap();
    let noise = &whole["noise"];
    let bytes = |value: &Json| unhex(value.as_str().unwrap());
    let psk = SealKey(bytes(&noise["psk"]).try_into().unwrap());
    let secret = Secret::new(std::array::from_fn(|at| at as u8));
    assert_eq!(psk.0, secret.seal_key().0);
    let (asked, answered) = (bytes(&noise["dialer_sends"]), bytes(&noise["acceptor_sends"]));
    let handshake = |message: &[u8], is_dialed| {
        let public = message[..32].try_into().unwrap();
        Handshake::new(&psk, Box::new(Fixed(Pair25519 { public })), is_dialed)
    };
    let mut dialer = Sealed::dialed_with(handshake(&asked[3..], true));
    assert_eq!(sent(&mut dialer), asked);
    let mut acceptor = Sealed::new(State::Closed);
    acceptor.on_accepted(handshake(&answered[2..], false).unwrap().answer(&asked[3..]).unwrap());
    assert_eq!(sent(&mut acceptor), answered);
    opened(&mut dialer, &answered).unwrap();

    check(&mut dialer, &mut acceptor, &noise["dialer_records"]);
    check(&mut acceptor, &mut dialer, &noise["acceptor_records"]);
    let numbered = noise["rekey"].as_array().unwrap();
    let (State::Open { sealing, .. }, State::Open { opening, .. }) =
        (&mut dialer.state, &mut acceptor.state)
    else {
        panic!("not open")
    };
    sealing.records = numbered[0]["nonce"].as_u64().unwrap();
    opening.records = sealing.records;
    check(&mut dialer, &mut acceptor, &noise["rekey"]);
    for bad in noise["bad"].as_array().unwrap() {
        let mut dialer = Pair::new().dialer;
        assert_eq!(opened(&mut dialer, &bytes(&bad["hex"])), Err(CloseReason::NotSealed), "{bad}");
    }
}

fn check(from: &mut Sealed, to: &mut Sealed, records: &Json) {
    for record in records.as_array().unwrap() {
        let plain = unhex(record["plain"].as_str().unwrap());
        let expected = unhex(record["record"].as_str().unwrap());
        assert_eq!(sealed(from, &plain), expected, "{record}");
        assert_eq!(opened(to, &expected).unwrap(), plain, "{record}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

impl RecordKey {
    fn copy(&self) -> Self {
        let mut copy = Self::new(self.key());
        copy.records = self.records;
        copy
    }
}

/// The primitives of the vectors: ring makes each key pair at random.
struct Fixed(Pair25519);

/// The key pair of one end, of which only the public key is known here.
#[derive(Clone, Copy)]
struct Pair25519 {
    public: [u8; 32],
}

impl CryptoResolver for Fixed {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Primitives.resolve_rng()
    }
    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(self.0))
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        Primitives.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Primitives.resolve_cipher(choice)
    }
}

impl Dh for Pair25519 {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn Random) -> Result<(), snow::Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.public
    }
    fn privkey(&self) -> &[u8] {
        &[]
    }
    /// What the two private keys of the vectors agree on: 32 times 0x11, and 32 times 0x22.
    fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let shared = "9e004098efc091d4ec2663b4e9f5cfd4d7064571690b4bea97ab146ab9f35056";
        out[..32].copy_from_slice(&unhex(shared));
        Ok(())
    }
}
