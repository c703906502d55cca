//! A download: bytes cut in any way, and what is written confirmed sooner or later.
//!
//! The stream is parsed a second time, apart from the crate's own code. It holds that
//! every byte of data is handed on once, at its place; that there is one acknowledgment
//! for each chunk that is written whole, and not one more; that the verdict is the truth
//! about what came; and that what is read no further than allowed fits the outbox.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use kit::messages::{Count, acknowledgment, chunk, eof, hex, request};
use p2pfs::limits::{Limits, OUTBOX_BYTES_MAX, PROGRESS_TIMEOUT};
use p2pfs::proto::Transmit;
use p2pfs::proto::v0::{Download, DownloadEvent, DownloadState};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::FileName;
use sha2::{Digest as _, Sha256};

use super::clock::Clock;
use super::script::Script;

const OUR_ID: PeerId = PeerId(0x0102_0304);

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut rig = Rig::new(&mut script);
    while !script.is_over() && !rig.is_over {
        rig.step(&mut script);
        rig.check();
    }
}

struct Rig {
    clock: Clock,
    download: Download,
    /// Closed, or the verdict is there.
    is_over: bool,
    name: FileName,
    model: Model,
    sent: Vec<u8>,
    /// When the last byte came.
    moved_at: Instant,
}

/// What has come so far.
struct Model {
    file_bytes_max: u64,
    head: Vec<u8>,
    payload_left_bytes: u32,
    received_bytes: u64,
    whole_chunks: usize,
    hasher: Sha256,
    announced: Option<Vec<u8>>,
}

/// What a piece of the stream leads to.
#[derive(Default)]
struct Expected {
    writes: Vec<(Range<usize>, u64)>,
    is_refused: bool,
    /// Something follows the EOF: to be refused, if the machine is asked about it.
    goes_on_after_eof: bool,
}

impl Rig {
    fn new(script: &mut Script<'_>) -> Self {
        let clock = Clock::new();
        let file_bytes_max = match script.flag() {
            true => script.size(40),
            false => u64::MAX,
        };
        let limits = Rc::new(Limits { file_bytes_max, ..Limits::PEER });
        let name = script.name();
        Self {
            download: Download::new(clock.now(), &limits, OUR_ID),
            moved_at: clock.now(),
            clock,
            is_over: false,
            name,
            model: Model {
                file_bytes_max,
                head: Vec::new(),
                payload_left_bytes: 0,
                received_bytes: 0,
                whole_chunks: 0,
                hasher: Sha256::new(),
                announced: None,
            },
            sent: Vec::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        if self.download.state() == DownloadState::ExpectConnection && script.below(4) > 0 {
            self.moved_at = self.clock.now();
            return self.download.request(self.clock.now(), self.name);
        }
        // What ends a download is rare, so that a random script leads far.
        match script.below(64) {
            63 => self.feed(script.bytes(), script.flag()),
            62 => self.feed(&[b"T", &script.int().to_be_bytes()[..]].concat(), script.flag()),
            61 => self.feed(&vec![script.byte(); script.size(16) as usize], script.flag()),
            60 => self.time_out(),
            59 => self.feed(&script.any_message(), script.flag()),
            57 | 58 => {
                let digest = self.model.hasher.clone().finalize();
                self.feed(&[&eof(&hex(&digest)), script.bytes()].concat(), script.flag());
            }
            choice => match choice % 4 {
                0 => self.feed(&chunk(script.bytes()), script.flag()),
                1 => {
                    let chunks = chunk(b"x").repeat(script.size(12) as usize);
                    self.feed(&chunks, script.flag());
                }
                2 => self.take(script.size(20) as usize),
                _ => self.clock.wait(script.wait()),
            },
        }
    }

    /// As many of these bytes come as may be read. They are written piece by piece, or all
    /// at the end.
    fn feed(&mut self, bytes: &[u8], at_once: bool) {
        if self.download.state() == DownloadState::ExpectConnection {
            return;
        }
        let bytes = &bytes[..bytes.len().min(self.download.read_allowance_bytes())];
        if !bytes.is_empty() {
            self.moved_at = self.clock.now();
        }
        let acknowledged = self.model.whole_chunks;
        let expected = self.model.take(bytes);
        let (mut writes, mut unwritten, mut verdict, mut at) = (Vec::new(), Vec::new(), None, 0);
        while verdict.is_none() {
            match self.download.handle_bytes(self.clock.now(), bytes, &mut at) {
                Ok(None) => break,
                Ok(Some(DownloadEvent::Write { range, offset })) => {
                    writes.push((range.clone(), offset));
                    match at_once {
                        true => verdict = self.download.handle_written(range.len()),
                        false => unwritten.push(range.len()),
                    }
                }
                Ok(Some(event)) => verdict = Some(event),
                Err(_) => {
                    let is_wrong = expected.is_refused || expected.goes_on_after_eof;
                    assert!(is_wrong, "refuses what is legal");
                    assert_eq!(writes, expected.writes);
                    return self.is_over = true;
                }
            }
        }
        for len_bytes in unwritten {
            assert_eq!(self.acknowledgments(), acknowledged, "acknowledged before it is written");
            assert_eq!(verdict, None, "a verdict before all is written");
            verdict = self.download.handle_written(len_bytes);
        }
        match verdict {
            Some(event) => self.on_verdict(&event, at == bytes.len()),
            None => assert!(!expected.is_refused && self.model.announced.is_none()),
        }
        assert_eq!(writes, expected.writes);
    }

    fn on_verdict(&mut self, event: &DownloadEvent, is_all: bool) {
        let DownloadEvent::Verdict { digest, matches, size_bytes } = event else {
            panic!("{event:?} is no verdict");
        };
        let truth: [u8; 32] = self.model.hasher.clone().finalize().into();
        let announced = self.model.announced.as_ref().expect("no verdict without an EOF");
        assert_eq!((digest.0, *size_bytes), (truth, self.model.received_bytes));
        assert_eq!(*matches, *announced == eof(&hex(&truth)));
        assert!(is_all || self.download.state() == DownloadState::ExpectWritten);
        self.check();
        self.is_over = true;
    }

    /// The socket takes so much.
    fn take(&mut self, room_bytes: usize) {
        let Some(Transmit::Bytes { bytes, .. }) = self.download.transmit() else { return };
        let len = bytes.len().min(room_bytes);
        self.sent.extend_from_slice(&bytes[..len]);
        self.download.transmitted(len);
    }

    fn time_out(&mut self) {
        let before = self.download.poll_timeout();
        let verdict = self.download.handle_timeout(self.clock.now());
        let is_still = self.clock.now() >= self.moved_at + PROGRESS_TIMEOUT;
        assert!(!is_still || verdict.is_err(), "waits for ever");
        self.clock.check_timeout(before, verdict.is_ok(), self.download.poll_timeout());
        self.is_over = verdict.is_err();
        assert_eq!(self.is_over, self.download.state() == DownloadState::Closed);
    }

    fn pending(&self) -> &[u8] {
        match self.download.transmit() {
            Some(Transmit::Bytes { bytes, .. }) => bytes,
            Some(Transmit::File { .. }) => panic!("a download sends no file"),
            None => &[],
        }
    }

    /// How many were queued so far, behind the request.
    fn acknowledgments(&self) -> usize {
        (self.sent.len() + self.pending().len() - 69) / 5
    }

    fn check(&self) {
        if self.is_over {
            return;
        }
        let pending = self.pending();
        assert!(pending.len() <= OUTBOX_BYTES_MAX);
        if self.download.state() == DownloadState::ExpectConnection {
            return assert_eq!((pending.len(), self.sent.len()), (0, 0));
        }
        let total_bytes = self.sent.len() + pending.len();
        assert_eq!(total_bytes, 69 + 5 * self.model.whole_chunks, "acknowledgments and chunks");
        // All of it is compared once it is sent, and the end of it each time.
        let request = request(self.name.as_str(), Count::Bytes);
        let last = acknowledgment(OUR_ID.0);
        if let Some(head) = self.sent.get(..69) {
            assert_eq!(head, request);
        }
        if self.model.whole_chunks > 0 && pending.len() >= 5 {
            assert_eq!(pending[pending.len() - 5..], last);
        }
        let waits = self.download.state() != DownloadState::ExpectWritten;
        assert_eq!(self.download.poll_timeout().is_some(), waits);
    }
}

impl Model {
    /// What these bytes lead to.
    fn take(&mut self, bytes: &[u8]) -> Expected {
        let mut expected = Expected::default();
        let mut at = 0;
        while at < bytes.len() && !expected.is_refused {
            if self.payload_left_bytes > 0 {
                let end = at + (self.payload_left_bytes as usize).min(bytes.len() - at);
                self.hasher.update(&bytes[at..end]);
                expected.writes.push((at..end, self.received_bytes));
                self.received_bytes += (end - at) as u64;
                self.payload_left_bytes -= (end - at) as u32;
                self.whole_chunks += usize::from(self.payload_left_bytes == 0);
                at = end;
                continue;
            }
            if self.announced.is_some() {
                expected.goes_on_after_eof = true;
                break;
            }
            self.head.push(bytes[at]);
            at += 1;
            expected.is_refused = self.on_head();
        }
        expected
    }

    /// Whether what there is of a head is to be refused.
    fn on_head(&mut self) -> bool {
        let len = match self.head[0] {
            b'T' | b'A' => 5,
            b'E' => 65,
            b'R' => 69,
            _ => return true,
        };
        if self.head.len() < len {
            return false;
        }
        let head = std::mem::take(&mut self.head);
        match head[0] {
            b'T' => {
                self.payload_left_bytes = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
                let left_bytes = u64::from(self.payload_left_bytes);
                left_bytes == 0 || self.received_bytes + left_bytes > self.file_bytes_max
            }
            b'E' if head[1..].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) => {
                self.announced = Some(head);
                false
            }
            _ => true,
        }
    }
}
