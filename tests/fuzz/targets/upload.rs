//! An upload: requests, acknowledgments, the hash and the socket's appetite in any order.
//!
//! Beside the machine runs a small model of what it may do: what came in is parsed apart
//! from the crate's own code, and so is what goes out. It holds that no more chunks are
//! acknowledged than were sent, that the window is kept, that the file goes out once, in
//! order and no further than it is hashed, and that the machine never waits for nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use kit::messages::{Count, acknowledgment, eof, request};
use p2pfs::content::Digest;
use p2pfs::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, Limits, WINDOW_BYTES};
use p2pfs::proto::v0::{Upload, UploadEvent, UploadState};
use p2pfs::proto::{FileId, Transmit};
use p2pfs::wire::v0::FileName;

use super::clock::Clock;
use super::script::Script;

pub(super) fn run(data: &[u8]) {
    for is_local in [false, true] {
        let (mut script, mut rig) = (Script::new(data), Rig::new(is_local));
        while !script.is_over() && !rig.is_closed {
            rig.step(&mut script);
            rig.check();
        }
        rig.check_closed();
    }
}

struct Rig {
    clock: Clock,
    upload: Upload,
    is_closed: bool,
    /// Of the message that is coming in.
    incoming: Vec<u8>,
    next_file: u64,
    file: Option<File>,
    /// Chunks framed and not acknowledged.
    in_flight: VecDeque<u32>,
    window_bytes: u32,
    /// What is known of the bytes to be sent: a head was noted, so much of it is sent.
    noted_head: Option<usize>,
    /// When anything last went on.
    moved_at: Instant,
}

struct File {
    id: FileId,
    size_bytes: u64,
    hashed_bytes: u64,
    digest: Option<Digest>,
    framed_bytes: u64,
    sent_bytes: u64,
}

impl Rig {
    fn new(is_local: bool) -> Self {
        let clock = Clock::new();
        let upload = Upload::new(clock.now(), &Rc::new(Limits::PEER), is_local);
        Self {
            moved_at: clock.now(),
            clock,
            upload,
            is_closed: false,
            incoming: Vec::new(),
            next_file: 0,
            file: None,
            in_flight: VecDeque::new(),
            window_bytes: if is_local { LOCAL_WINDOW_BYTES } else { WINDOW_BYTES },
            noted_head: None,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        // What ends an upload is rare, so that a random script leads far.
        match script.below(64) {
            63 => self.feed(script.bytes()),
            62 => self.feed(&request(script.name().as_str(), Count::Bytes)),
            61 => self.acknowledge(1 + script.below(32), script),
            60 => self.time_out(),
            59 => self.feed(&script.any_message()),
            choice => match choice % 8 {
                0 if self.upload.state() == UploadState::ExpectRequest => {
                    let request = request(script.name().as_str(), Count::Bytes);
                    let (first, rest) = request.split_at(script.below(request.len()));
                    self.feed(first);
                    self.feed(rest);
                }
                0 | 1 => self.open(script.size(24)),
                2 => self.hash(script.size(24)),
                3 => self.hash(u64::MAX),
                4 | 5 => self.take(script.size(24)),
                6 => self.acknowledge(script.below(self.in_flight.len() + 1), script),
                _ => self.clock.wait(script.wait()),
            },
        }
    }

    fn acknowledge(&mut self, count: usize, script: &mut Script<'_>) {
        for _ in 0..count {
            self.feed(&acknowledgment(script.peer().0));
        }
    }

    /// Bytes come in, never more at once than the rest of one message.
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_closed {
            let first = *self.incoming.first().unwrap_or(&bytes[0]);
            let len = match first {
                b'R' => 69,
                b'A' | b'T' => 5,
                b'E' => 65,
                _ => 1,
            };
            let (piece, rest) = bytes.split_at((len - self.incoming.len()).min(bytes.len()));
            self.incoming.extend_from_slice(piece);
            bytes = rest;
            let message = (self.incoming.len() == len).then(|| std::mem::take(&mut self.incoming));
            self.feed_piece(piece, message);
        }
    }

    fn feed_piece(&mut self, piece: &[u8], message: Option<Vec<u8>>) {
        let before = self.upload.state();
        let (mut events, mut at) = (Vec::new(), 0);
        let verdict = loop {
            match self.upload.handle_bytes(self.clock.now(), piece, &mut at) {
                Ok(None) => break Ok(()),
                Ok(Some(event)) => events.push(event),
                Err(reason) => break Err(reason),
            }
        };
        let expected = match message.as_deref() {
            None => Some(None),
            Some(message) => self.meaning_of(message, before),
        };
        let Some(request) = expected else {
            assert!(verdict.is_err(), "takes {message:x?} in {before:?}");
            assert!(events.is_empty());
            self.is_closed = true;
            return;
        };
        assert_eq!(verdict, Ok(()), "{message:x?} in {before:?}");
        assert_eq!(at, piece.len());
        self.note_head();
        for event in events {
            match event {
                UploadEvent::Requested(name) => assert_eq!(Some(name), request),
                UploadEvent::Sent(file) => self.on_sent(file),
                UploadEvent::Acknowledged => self.on_acknowledged(),
            }
        }
        if request.is_some() {
            assert_eq!(self.upload.state(), UploadState::ExpectSource);
        }
    }

    /// What a message asks for, if it asks for something; `None` if it must be refused.
    fn meaning_of(&mut self, message: &[u8], state: UploadState) -> Option<Option<FileName>> {
        match message[0] {
            b'A' => {
                self.moved_at = self.clock.now();
                self.in_flight.pop_front().map(|_| None)
            }
            b'R' if matches!(
                state,
                UploadState::ExpectRequest | UploadState::ExpectLastAcknowledgments
            ) =>
            {
                let end = message[5..].iter().position(|&byte| byte == 0).map_or(69, |at| 5 + at);
                let (name, padding) = (&message[5..end], &message[end..]);
                let count = u32::from_be_bytes(message[1..5].try_into().ok()?) as usize;
                let is_counted = count == name.len()
                    || std::str::from_utf8(name).is_ok_and(|name| name.chars().count() == count);
                let is_sound = is_counted && padding.iter().all(|&byte| byte == 0);
                let name = FileName::from_bytes(name).ok().filter(|_| is_sound)?;
                Some(Some(name))
            }
            _ => None,
        }
    }

    fn open(&mut self, size_bytes: u64) {
        if self.upload.state() != UploadState::ExpectSource {
            return;
        }
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.file = Some(File {
            id,
            size_bytes,
            hashed_bytes: 0,
            digest: None,
            framed_bytes: 0,
            sent_bytes: 0,
        });
        self.moved_at = self.clock.now();
        self.upload.handle_source(self.clock.now(), id, size_bytes);
        assert_eq!(self.upload.state(), UploadState::Sending);
    }

    fn hash(&mut self, hashed_bytes: u64) {
        let Some(file) = &mut self.file else { return };
        file.hashed_bytes = hashed_bytes.min(file.size_bytes);
        file.digest = (hashed_bytes > file.size_bytes).then_some(Digest([file.id.0 as u8; 32]));
        let (hashed_bytes, digest) = (file.hashed_bytes, file.digest);
        self.moved_at = self.clock.now();
        let event = self.upload.handle_hashed(self.clock.now(), hashed_bytes, digest);
        self.on_event(event);
    }

    /// The socket takes so much.
    fn take(&mut self, mut room_bytes: u64) {
        while room_bytes > 0 {
            let len_bytes = match self.upload.transmit() {
                None => return,
                Some(Transmit::Bytes { bytes, .. }) => {
                    let sent = self.noted_head.expect("what is to be sent was noted");
                    assert!(sent + bytes.len() <= 65, "more than one message is waiting");
                    let len = (bytes.len() as u64).min(room_bytes);
                    self.noted_head = (len < bytes.len() as u64).then_some(sent + len as usize);
                    len
                }
                Some(Transmit::File { file: id, offset, len_bytes }) => {
                    let file = self.file.as_mut().expect("a file is being sent");
                    assert_eq!((id, offset), (file.id, file.sent_bytes));
                    assert_eq!(offset + u64::from(len_bytes), file.framed_bytes);
                    assert!(len_bytes > 0, "nothing is to be sent");
                    let len = u64::from(len_bytes).min(room_bytes);
                    file.sent_bytes += len;
                    len
                }
            };
            room_bytes -= len_bytes;
            self.moved_at = self.clock.now();
            let event = self.upload.transmitted(self.clock.now(), len_bytes as usize);
            self.on_event(event);
        }
    }

    fn on_event(&mut self, event: Option<UploadEvent>) {
        self.note_head();
        match event {
            Some(UploadEvent::Sent(file)) => self.on_sent(file),
            Some(UploadEvent::Acknowledged) => self.on_acknowledged(),
            Some(UploadEvent::Requested(name)) => panic!("nobody asked for {name}"),
            None => {}
        }
    }

    fn on_sent(&mut self, id: FileId) {
        assert!(self.file.is_none(), "{id:?} is sent before its EOF");
        assert_eq!(id.0 + 1, self.next_file);
        assert_eq!(self.upload.state(), UploadState::ExpectLastAcknowledgments);
    }

    fn on_acknowledged(&mut self) {
        assert!(self.in_flight.is_empty() && self.noted_head.is_none(), "something is left");
        assert_eq!(self.upload.state(), UploadState::ExpectRequest);
    }

    /// Looks at a head that is new among what is to be sent.
    fn note_head(&mut self) {
        if self.noted_head.is_some() {
            return;
        }
        let Some(Transmit::Bytes { bytes, more }) = self.upload.transmit() else { return };
        self.noted_head = Some(0);
        let file = self.file.as_mut().expect("a message goes with a file");
        assert_eq!(file.framed_bytes, file.sent_bytes, "framed before the last one was sent");
        match bytes {
            [b'T', len @ ..] => {
                let len = u32::from_be_bytes(len.try_into().expect("one integer"));
                let left_bytes = file.size_bytes - file.framed_bytes;
                assert!(more);
                assert_eq!(u64::from(len), left_bytes.min(CHUNK_BYTES.into()));
                file.framed_bytes += u64::from(len);
                assert!(file.framed_bytes <= file.hashed_bytes, "sent before it was hashed");
                self.in_flight.push_back(len);
                let in_flight_bytes = self.in_flight.iter().sum::<u32>();
                assert!(in_flight_bytes <= self.window_bytes, "over the window");
            }
            bytes => {
                assert_eq!(file.sent_bytes, file.size_bytes, "the EOF comes too early");
                let digest = file.digest.expect("no EOF before the digest is known");
                assert_eq!(bytes, eof(&digest.to_string()));
                assert!(!more);
                self.file = None;
            }
        }
    }

    fn time_out(&mut self) {
        let before = self.upload.poll_timeout();
        let is_moving = matches!(
            self.upload.state(),
            UploadState::Sending | UploadState::ExpectLastAcknowledgments
        );
        let verdict = self.upload.handle_timeout(self.clock.now());
        let is_still = self.clock.now() >= self.moved_at + Limits::PEER.upload_timeout();
        let waits = is_moving && is_still && before.is_some();
        assert!(!waits || verdict.is_err(), "waits for ever");
        self.clock.check_timeout(before, verdict.is_ok(), self.upload.poll_timeout());
        self.is_closed = verdict.is_err();
    }

    fn check(&self) {
        let state = self.upload.state();
        assert_eq!(state == UploadState::Closed, self.is_closed);
        let has_output = self.upload.transmit().is_some();
        let deadline = self.upload.poll_timeout();
        match (state, &self.file) {
            (UploadState::Sending, Some(file)) => {
                let waits_for_hash = file.hashed_bytes < file.size_bytes || file.digest.is_none();
                let waits_for_them = !self.in_flight.is_empty();
                assert!(has_output || waits_for_hash || waits_for_them, "waits for nothing");
                let waits_for_us = waits_for_hash && !waits_for_them;
                assert!(deadline.is_some() || waits_for_us, "waits without a deadline");
            }
            (UploadState::Sending, None) => panic!("sends no file"),
            (UploadState::ExpectLastAcknowledgments, _) => {
                assert!(has_output || !self.in_flight.is_empty(), "waits for nothing");
                assert!(deadline.is_some());
            }
            (UploadState::ExpectRequest, _) => assert!(deadline.is_some()),
            // Nothing but a head that has begun.
            (UploadState::ExpectSource, _) => {
                assert_eq!(deadline.is_some(), !self.incoming.is_empty());
            }
            (UploadState::Closed, _) => assert_eq!(deadline, None),
        }
    }

    /// Once closed, it takes nothing more and stays so.
    fn check_closed(&mut self) {
        if !self.is_closed {
            return;
        }
        let now = self.clock.now();
        for message in [request("a", Count::Bytes), acknowledgment(1), b"\0".to_vec()] {
            let got = self.upload.handle_bytes(now, &message, &mut 0);
            assert!(matches!(got, Err(_) | Ok(None)), "takes {message:x?} after its end");
            assert_eq!(self.upload.state(), UploadState::Closed);
        }
        assert_eq!(self.upload.handle_timeout(now), Ok(()));
        assert_eq!(self.upload.poll_timeout(), None);
    }
}
