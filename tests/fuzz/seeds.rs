//! Inputs made by code, which mutation begins with beside the kept ones.
//!
//! A target that reads its bytes as a script takes any bytes as decisions: its seeds are
//! random, and remain what they are when the decisions change.

use std::net::Ipv4Addr;

use fastrand::Rng;
use kit::messages::{
    acknowledgment, chunk, eof, error_response, field, hex, lookup_request, lookup_response,
    register_request, register_response,
};

use crate::from_hex;

/// Seeds for each target.
const SEEDS: u64 = 1024;
/// Letters of names.
const LETTERS: [char; 8] = ['a', 'Z', '0', '.', ' ', '\u{E9}', '\u{20AC}', '\u{1F600}'];

/// The seeds of a target.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let seed = |seed| {
        let rng = &mut Rng::with_seed(seed);
        match target {
            "control" if rng.bool() => control_stream(rng),
            "datagram" => offer(rng),
            "deframer" => stream(rng),
            "file_name" | "shown" => name(rng),
            _ => script(rng),
        }
    };
    (0..SEEDS).map(seed).collect()
}

/// A hostile name of tests/names, or one of letters and perhaps a few characters of any kind.
fn name(rng: &mut Rng) -> Vec<u8> {
    if rng.bool() {
        let lines: Vec<_> = include_str!("../names/hostile.txt").lines().collect();
        let (_, name) = rng.choice(lines).unwrap().split_once('\t').unwrap_or_default();
        return unescape(name.as_bytes());
    }
    let letters = &LETTERS[..rng.usize(1..=LETTERS.len())];
    let mut name: Vec<char> = (0..rng.usize(..66)).map(|_| *rng.choice(letters).unwrap()).collect();
    for _ in 0..rng.u8(..3) {
        let (at, bits) = (rng.usize(..=name.len()), rng.u32(7..21));
        name.insert(at, char::from_u32(rng.u32(..1 << bits)).unwrap_or('-'));
    }
    name.into_iter().collect::<String>().into_bytes()
}

/// `\xNN` is a byte and `\\` a backslash.
fn unescape(mut text: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    while let [first, rest @ ..] = text {
        let (byte, len) = match (first, rest) {
            (b'\\', [b'x', high, low, ..]) => {
                (from_hex(&format!("{}{}", *high as char, *low as char))[0], 4)
            }
            (b'\\', _) => (b'\\', 2),
            _ => (*first, 1),
        };
        name.push(byte);
        text = &text[len..];
    }
    name
}

/// What a count of this name may be: its bytes, or its characters.
fn count(name: &[u8], rng: &mut Rng) -> [u8; 4] {
    let chars = String::from_utf8_lossy(name).chars().count();
    (if rng.bool() { name.len() } else { chars } as u32).to_be_bytes()
}

fn offer(rng: &mut Rng) -> Vec<u8> {
    let name = name(rng);
    let offer = [&b"O\0\0\0\x07"[..], &count(&name, rng), &field(&name)].concat();
    damaged(rng, offer)
}

/// These bytes, in one of four cases with another byte among them or without their end.
fn damaged(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    let at = rng.usize(..bytes.len());
    match rng.u8(..8) {
        0 => bytes[at] = rng.u8(..),
        1 => bytes.truncate(at),
        _ => {}
    }
    bytes
}

/// Messages that go the same way, and how they are cut.
fn stream(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.u8(..3);
    let cuts: Vec<u8> = (0..rng.u8(..4)).map(|_| rng.u8(..80)).collect();
    let messages = (0..rng.u8(1..6)).flat_map(|_| message(kind, rng));
    let messages: Vec<u8> = messages.collect();
    [&[kind, cuts.len() as u8], &cuts[..], &damaged(rng, messages)].concat()
}

fn message(kind: u8, rng: &mut Rng) -> Vec<u8> {
    let (number, name) = (rng.u32(..) >> rng.u32(..32), name(rng));
    match (kind, rng.u8(..4)) {
        (0, 0) => [b"R", &count(&name, rng)[..], &field(&name)].concat(),
        (0, 1) => chunk(&name),
        (0, 2) => acknowledgment(number),
        (0, _) => eof(&hex(&[number as u8; 32])),
        (1, 0 | 1) => register_request(number, rng.u16(..).into()),
        (1, _) => lookup_request(number),
        (_, 0) => register_response(rng.u32(..2)),
        (_, 1) => error_response(&name),
        (_, 2) => lookup_response("localhost", number),
        _ => lookup_response(&Ipv4Addr::from(number).to_string(), rng.u16(..).into()),
    }
}

/// Questions or answers of the control socket, and how they are cut.
fn control_stream(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.u8(..2);
    let mut stream = vec![kind, 2, rng.u8(..80), rng.u8(..8)];
    for _ in 0..rng.u8(1..6) {
        let (name, text) = (name(rng), name(rng));
        let [name_len, text_len] = [&name, &text].map(|text| [0, text.len() as u8]);
        match (kind, rng.u8(..6)) {
            (0, 0) => stream.extend([b"T\0\0", &text_len[..], &text].concat()),
            (0, 1) => stream.extend([b"X\x05", &text_len[..], &name_len, &name, &text].concat()),
            (0, 2) => stream.extend([b"V", &name_len[..], &name, &[rng.u8(..); 52]].concat()),
            (0, 3) => stream
                .extend([b"WOP"[rng.usize(..3)], name_len[0], name_len[1]].iter().chain(&name)),
            (1, 0 | 1) => stream.extend([b'S', rng.u8(..2)]),
            (1, 2 | 3) => stream.extend([b"W", &name_len[..], &name].concat()),
            (1, 4) => stream.push(b'A'),
            _ => stream.extend([b'F', rng.u8(..2)]),
        }
    }
    damaged(rng, stream)
}

/// Random decisions; half of them are small numbers, which choose among few things.
fn script(rng: &mut Rng) -> Vec<u8> {
    let len = 1_usize << rng.u32(3..10);
    (0..len).map(|_| if rng.bool() { rng.u8(..16) } else { rng.u8(..) }).collect()
}
