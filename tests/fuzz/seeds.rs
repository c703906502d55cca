//! Inputs made by code, which mutation begins with beside the kept ones.
//!
//! A target that reads its bytes as a script takes any bytes as decisions: its seeds are
//! random, and remain what they are when the decisions change.

use std::net::Ipv4Addr;

use fastrand::Rng;
use kit::NameGenerator;
use kit::messages::{
    acknowledgment, chunk, eof, error_response, field, hex, lookup_request, lookup_response,
    register_request, register_response,
};

/// Seeds for each target.
const SEEDS: u64 = 1024;
/// The seeds of a target.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut names = NameGenerator::new(0);
    let seed = |seed| {
        let rng = &mut Rng::with_seed(seed);
        names.seed(seed);
        match target {
            "beacon" => beacon(rng, &mut names),
            "control" if rng.bool() => control_stream(rng, &mut names),
            "datagram" => offer(rng, &mut names),
            "deframer" => stream(rng, &mut names),
            "file_name" | "shown" => names.next_name(),
            _ => script(rng),
        }
    };
    (0..SEEDS).map(seed).collect()
}

/// What a count of this name may be: its bytes, or its characters.
fn count(name: &[u8], rng: &mut Rng) -> [u8; 4] {
    let chars = String::from_utf8_lossy(name).chars().count();
    (if rng.bool() { name.len() } else { chars } as u32).to_be_bytes()
}

fn offer(rng: &mut Rng, names: &mut NameGenerator) -> Vec<u8> {
    let name = names.next_name();
    let offer = [&b"O\0\0\0\x07"[..], &count(&name, rng), &field(&name)].concat();
    damaged(rng, offer)
}

fn beacon(rng: &mut Rng, names: &mut NameGenerator) -> Vec<u8> {
    let (name, tags) = (names.next_name(), rng.u8(..34));
    let mut bytes = [&b"P2F1"[..], &[b"BQX"[rng.usize(..3)], 0]].concat();
    bytes.extend((0..2 + 4 + 8 + 8 + 8 + 4).map(|_| rng.u8(..)));
    bytes.push(name.len() as u8);
    bytes.extend(&name);
    bytes.push(tags);
    bytes.extend((0..8 * usize::from(tags)).map(|_| rng.u8(..)));
    damaged(rng, bytes)
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
fn stream(rng: &mut Rng, names: &mut NameGenerator) -> Vec<u8> {
    let kind = rng.u8(..3);
    let cuts: Vec<u8> = (0..rng.u8(..4)).map(|_| rng.u8(..80)).collect();
    let messages = (0..rng.u8(1..6)).flat_map(|_| message(kind, rng, names));
    let messages: Vec<u8> = messages.collect();
    [&[kind, cuts.len() as u8], &cuts[..], &damaged(rng, messages)].concat()
}

fn message(kind: u8, rng: &mut Rng, names: &mut NameGenerator) -> Vec<u8> {
    let (number, name) = (rng.u32(..) >> rng.u32(..32), names.next_name());
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
fn control_stream(rng: &mut Rng, names: &mut NameGenerator) -> Vec<u8> {
    let kind = rng.u8(..2);
    let mut stream = vec![kind, 2, rng.u8(..80), rng.u8(..8)];
    for _ in 0..rng.u8(1..6) {
        let (name, text) = (names.next_name(), names.next_name());
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
