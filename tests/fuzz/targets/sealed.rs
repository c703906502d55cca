//! Two ends of a sealed connection, and somebody between them.
//!
//! It holds that each end opens what the other one sealed, in order and unchanged, or closes
//! without a word once something else came, and that it never waits while a whole record is there.

use std::rc::Rc;

use p2pfs::proto::Transmit;
use p2pfs::proto::v1::{RECORD_PLAIN_BYTES_MAX, Sealed};
use p2pfs::wire::v1::Secret;

use super::script::Script;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    // Handshakes take most of the time.
    if script.below(4) == 0 {
        return stranger(&mut script);
    }
    let key = |byte| Secret::new([byte; 32]).seal_key();
    let keys: Rc<[_]> = [key(0), key(1)].into();
    let dialers = key(script.below(2) as u8);
    let mut ends = [Sealed::dialed(&dialers), Sealed::accepted(&keys)].map(End::new);
    if script.below(8) == 0 {
        // No member.
        ends[0] = End::new(Sealed::dialed(&key(2)));
        ends.iter_mut().for_each(|end| end.is_tampered_with = true);
    }
    while !script.is_over() {
        let [one, other] = &mut ends;
        let (from, to) = if script.flag() { (one, other) } else { (other, one) };
        step(&mut script, from, to);
    }
}

/// Bytes of somebody without the secret open nothing.
fn stranger(script: &mut Script<'_>) {
    let key = Secret::new([0; 32]).seal_key();
    let is_dialed = script.below(64) == 0;
    let end = if is_dialed { Sealed::dialed(&key) } else { Sealed::accepted(&[key].into()) };
    let mut end = End::new(end);
    end.is_tampered_with = true;
    while !script.is_over() {
        let bytes = match script.below(3) {
            0 => b"N".to_vec(),
            1 => [&[0, 48], &[script.byte(); 48][..]].concat(),
            _ => script.bytes().to_vec(),
        };
        end.receive(&bytes, &mut Vec::new());
        assert!(!end.sealed.is_open());
    }
}

struct End {
    sealed: Sealed,
    /// What it has sealed and the other end has not opened.
    plain: Vec<u8>,
    /// What it has sent and nobody has brought to the other end.
    wire: Vec<u8>,
    is_tampered_with: bool,
    is_closed: bool,
}

impl End {
    fn new(sealed: Sealed) -> Self {
        let (plain, wire) = (Vec::new(), Vec::new());
        Self { sealed, plain, wire, is_tampered_with: false, is_closed: false }
    }

    fn send(&mut self, len_bytes: usize) {
        let Some(Transmit::Bytes { bytes, .. }) = self.sealed.transmit(false) else { return };
        let len_bytes = len_bytes.clamp(1, bytes.len());
        self.wire.extend_from_slice(&bytes[..len_bytes]);
        self.sealed.transmitted(len_bytes);
    }

    /// Opens what has come; all of it is what the other end sealed.
    fn receive(&mut self, bytes: &[u8], sealed: &mut Vec<u8>) {
        let (mut buffer, mut at) = (Vec::new(), 0);
        self.sealed.collect(bytes, &mut buffer);
        let end = loop {
            match self.sealed.next(&mut buffer, &mut at) {
                Ok(Some(range)) => {
                    let opened = &buffer[range];
                    assert!(
                        !opened.is_empty() && sealed.starts_with(opened),
                        "not what was sealed"
                    );
                    sealed.drain(..opened.len());
                }
                Ok(None) => break Ok(()),
                Err(reason) => break Err(reason),
            }
        };
        match end {
            Ok(()) => {
                assert!(buffer.len() - at < 2 + 65_535, "waits with a whole record");
                self.sealed.keep(&buffer[at..]);
            }
            Err(reason) => {
                assert!(self.is_tampered_with || self.is_closed, "{reason}");
                self.is_closed = true;
                assert!(!self.sealed.is_open() && self.sealed.transmit(false).is_none());
            }
        }
    }
}

fn step(script: &mut Script<'_>, from: &mut End, to: &mut End) {
    match script.below(8) {
        0 | 1 => {
            let bytes = vec![script.byte(); script.size(17) as usize];
            let room_bytes = from.sealed.room_bytes();
            let taken = from.sealed.fill(&bytes);
            assert!(taken == room_bytes.min(bytes.len()) && taken <= RECORD_PLAIN_BYTES_MAX);
            from.plain.extend_from_slice(&bytes[..taken]);
        }
        2 => from.sealed.seal(),
        3 => from.send(script.size(17) as usize),
        4 if script.below(16) == 0 && !from.wire.is_empty() => {
            let at = script.below(from.wire.len());
            let flip = script.byte();
            from.wire[at] ^= flip;
            to.is_tampered_with |= flip != 0;
        }
        5 if script.below(16) == 0 && !from.wire.is_empty() => {
            from.wire.remove(script.below(from.wire.len()));
            to.is_tampered_with = true;
        }
        _ => {
            let len_bytes = (script.size(17) as usize).min(from.wire.len());
            let bytes: Vec<u8> = from.wire.drain(..len_bytes).collect();
            // An end that has closed, or another secret, is told by nothing but silence.
            to.is_tampered_with |= from.is_closed;
            to.receive(&bytes, &mut from.plain);
        }
    }
}
