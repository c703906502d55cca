//! Bytes from a fuzzer, read as a sequence of decisions.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use kit::messages::{
    acknowledgment, chunk, eof, error_response, field, hex, lookup_request, register_request,
    register_response,
};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::FileName;

/// The decisions that are left. Once they are over, every decision is 0.
pub(super) struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        byte
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One of `count` possibilities.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len())).copied()
    }

    pub(super) fn int(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// As many bytes as the next one says, at most.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        bytes
    }

    /// All that is left.
    pub(super) fn remainder(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A size around some power of two, up to 2^bits.
    pub(super) fn size(&mut self, bits: u32) -> u64 {
        let power = 1_u64 << (u32::from(self.byte()) % (bits + 1));
        (power - 1).saturating_add(u64::from(self.byte() & 3))
    }

    /// A wait: none, or around one of the deadlines that there are.
    pub(super) fn wait(&mut self) -> Duration {
        const WAITS_MS: [u64; 16] = [
            0, 1, 20, 100, 500, 999, 1000, 3000, 4500, 5000, 10_000, 14_999, 15_000, 29_000,
            30_000, 61_000,
        ];
        Duration::from_millis(WAITS_MS[self.below(WAITS_MS.len())])
    }

    /// One of few peers, so that they meet again.
    pub(super) fn peer(&mut self) -> PeerId {
        PeerId(self.below(8) as u32)
    }

    /// One of few names, so that they meet again.
    pub(super) fn name(&mut self) -> FileName {
        let longest = "n".repeat(64);
        let names = ["a", "b", "dummyfile.txt", "résumé.pdf", &longest, "x1", "x2", "x3"];
        FileName::new(names[self.below(names.len())]).expect("these are legal")
    }

    /// A text that some rule forbids: of names, of UTF-8, of terminals.
    pub(super) fn bad_text(&mut self) -> &'static [u8] {
        const TEXTS: [&[u8]; 16] = [
            b"",
            b"..",
            b"a/b",
            b"nul",
            b" a",
            b"a.",
            b"a:b",
            b"\x1B[2J",
            b"\xC2\x9B",
            b"\xC2",
            b"\xE2\x80\xAE",
            b"\xED\xA0\x80",
            b"\xF0\x9F\x98",
            b"\xF0\x9F\x98\x80 \xE2\x82\xAC \xFF",
            b"a\0b",
            &[b'n'; 65],
        ];
        TEXTS[self.below(TEXTS.len())]
    }

    /// A message of any kind, going either way, or none.
    pub(super) fn any_message(&mut self) -> Vec<u8> {
        let (number, text) = (u32::from(self.byte()), self.bad_text());
        match self.below(11) {
            0 => [b"R", &(text.len() as u32).to_be_bytes()[..], &field(text)].concat(),
            1 => [b"R", &number.to_be_bytes()[..], &field([text, b"\0x"].concat())].concat(),
            2 => chunk(text),
            3 => acknowledgment(number),
            4 => eof(&hex(&[number as u8; 32])),
            5 => [b"E", &[number as u8; 64][..]].concat(),
            6 => register_request(1, number),
            7 => lookup_request(number),
            8 => register_response(number),
            9 => error_response(text),
            _ => [b"S", &[number as u8; 70][..]].concat(),
        }
    }

    /// One of few addresses, on the loopback and off it.
    pub(super) fn address(&mut self) -> SocketAddrV4 {
        let hosts = [[127, 0, 0, 1], [192, 0, 2, 1], [192, 0, 2, 2], [255, 255, 255, 255]];
        let host = hosts[self.below(hosts.len())];
        SocketAddrV4::new(Ipv4Addr::from(host), 1 + u16::from(self.byte() % 4))
    }
}
