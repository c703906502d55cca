//! The uploader's end of a connection that it accepted: requests come in, files
//! go out, one after the other.
//!
//! ```text
//!                  Request                handle_source
//!  ExpectRequest ───────────▶ ExpectSource ───────────▶ Sending  (Acknowledgment:
//!        ▲                         ▲                       │      the window opens)
//!        │                         │ Request               │ all sent and hashed:
//!        │ all acknowledged        │                       ▼ the EOF is queued
//!        └─────────────────────── ExpectLastAcknowledgments
//!
//!  any state ── violation, deadline, source changed ──▶ Closed
//! ```
//!
//! A file is cut into chunks of [`CHUNK_BYTES`]; the last one has the remainder. Chunks go
//! out without waiting for acknowledgments, as far as the window allows, and only as far as
//! the file is hashed: so the digest is known when the last chunk is sent. Each
//! acknowledgment is of the oldest chunk in flight; the window counts chunks, and so bounds
//! the bytes as well.
//!
//! Invariant: a chunk is framed only when the one before it is sent whole.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use crate::canary::{Canary, sings};
use crate::content::Digest;
use crate::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, Limits, UPLOAD_RATE_WINDOW, WINDOW_BYTES};
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::outbox::Outbox;
use crate::proto::progress::Progress;
use crate::proto::table::{self, Row, State as _};
use crate::proto::{FileId, Transmit};
use crate::wire::v0::{FileName, PeerMessage, PeerMessageKind};
use crate::wire::{Deframer, Frame};

/// The uploader's end of a connection.
#[derive(Debug)]
pub struct Upload {
    limits: Rc<Limits>,
    state: State,
    deframer: Deframer<PeerMessage>,
    outbox: Outbox,
    /// Chunks that may be in flight.
    window_chunks: u32,
    /// Chunks framed and not acknowledged, over all files of the connection.
    in_flight_chunks: u32,
}

/// What an upload asks of its node, or tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadEvent {
    /// This file was asked for: answer with [`Upload::handle_source`], or close.
    Requested(FileName),
    /// All of the file is handed over, the EOF behind it: it is not needed any more.
    Sent(FileId),
    /// All of it is acknowledged.
    Acknowledged,
}

/// The states of an [`Upload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// No file is being sent.
    ExpectRequest,
    /// A file was requested and is being opened.
    ExpectSource,
    /// Chunks are being sent.
    Sending,
    /// Everything is sent, the EOF too, and not all of it acknowledged.
    ExpectLastAcknowledgments,
    /// The connection is over.
    Closed,
}

impl table::State for UploadState {
    type Kind = PeerMessageKind;

    const ALL: &'static [Self] = &[
        Self::ExpectRequest,
        Self::ExpectSource,
        Self::Sending,
        Self::ExpectLastAcknowledgments,
        Self::Closed,
    ];

    /// An acknowledgment that no chunk is waiting for is refused by the count of the machine.
    fn row(self) -> Row<Self> {
        use PeerMessageKind::{Acknowledgment, Request};
        match self {
            Self::ExpectRequest => {
                Row { expected: "a request", legal: &[(Request, &[Self::ExpectSource])] }
            }
            Self::ExpectSource => Row {
                expected: "an acknowledgment",
                legal: &[(Acknowledgment, &[Self::ExpectSource])],
            },
            Self::Sending => {
                Row { expected: "an acknowledgment", legal: &[(Acknowledgment, &[Self::Sending])] }
            }
            Self::ExpectLastAcknowledgments => Row {
                expected: "an acknowledgment or a request",
                legal: &[
                    (Acknowledgment, &[Self::ExpectLastAcknowledgments, Self::ExpectRequest]),
                    (Request, &[Self::ExpectSource]),
                ],
            },
            Self::Closed => Row::silent("nothing"),
        }
    }
}

#[derive(Debug)]
enum State {
    ExpectRequest {
        deadline: Instant,
        timer: Timer,
    },
    ExpectSource,
    /// Boxed, so that a connection without a file is small.
    Sending(Box<Sending>),
    ExpectLastAcknowledgments(Box<Sending>),
    Closed,
}

#[derive(Debug)]
struct Sending {
    file: FileId,
    size_bytes: u64,
    /// How far the file is hashed, and its digest once that is done.
    hashed_bytes: u64,
    digest: Option<Digest>,
    /// What was sent of the file so far.
    offset: u64,
    /// What is left of the chunk in progress.
    chunk_left_bytes: u32,
    progress: Progress,
}

impl Upload {
    /// A connection that was just accepted, from a peer on this host or on another one.
    pub fn new(now: Instant, limits: &Rc<Limits>, is_local: bool) -> Self {
        let window_bytes = if is_local { LOCAL_WINDOW_BYTES } else { WINDOW_BYTES };
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectRequest {
                deadline: now + limits.first_byte_timeout,
                timer: Timer::FirstByte,
            },
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            window_chunks: window_bytes / CHUNK_BYTES,
            in_flight_chunks: 0,
        }
    }

    /// The next event that `bytes` lead to from `*at` on; `None` once all are consumed.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<UploadEvent>, CloseReason> {
        if let State::ExpectRequest { deadline, timer: timer @ Timer::FirstByte } = &mut self.state
        {
            (*deadline, *timer) = (now + self.limits.idle_timeout, Timer::Idle);
        }
        loop {
            let frame = self.deframer.next(bytes, at).map_err(CloseReason::Malformed);
            let event = match frame {
                Ok(None) => return Ok(None),
                Ok(Some(Frame::Message(message))) => self.on_message(now, message),
                // Chunks are refused above, so no payload is ever reported.
                Ok(Some(Frame::Payload { .. })) => Ok(None),
                Err(reason) => Err(reason),
            };
            match event {
                Ok(None) => {}
                Ok(Some(event)) => return Ok(Some(event)),
                Err(reason) => {
                    self.state = State::Closed;
                    return Err(reason);
                }
            }
        }
    }

    fn on_message(
        &mut self,
        now: Instant,
        message: PeerMessage,
    ) -> Result<Option<UploadEvent>, CloseReason> {
        let (state, kind) = (self.state(), message.kind());
        if state.next(kind).is_empty() {
            return Err(state.violation(kind));
        }
        match message {
            PeerMessage::Request(name) => {
                self.state = State::ExpectSource;
                Ok(Some(UploadEvent::Requested(name)))
            }
            PeerMessage::Acknowledgment(_) => {
                self.in_flight_chunks =
                    self.in_flight_chunks.checked_sub(1).ok_or(CloseReason::PeerViolated {
                        expected: "no acknowledgment",
                        got: "an acknowledgment of nothing",
                    })?;
                // While a file is sent, the bytes that the socket takes are the rate.
                let is_all_sent = matches!(self.state, State::ExpectLastAcknowledgments(_));
                let rate_bytes = if is_all_sent { CHUNK_BYTES as usize } else { 0 };
                if let Some(progress) = self.progress() {
                    progress.moved(now, rate_bytes);
                }
                Ok(self.go_on(now))
            }
            PeerMessage::Chunk { .. } | PeerMessage::Eof(_) => Err(state.violation(kind)),
        }
    }

    /// The file that was asked for is open. How far it is hashed comes with
    /// [`Upload::handle_hashed`].
    pub fn handle_source(&mut self, now: Instant, file: FileId, size_bytes: u64) {
        debug_assert_eq!(self.state(), UploadState::ExpectSource);
        self.state = State::Sending(Box::new(Sending {
            file,
            size_bytes,
            hashed_bytes: 0,
            digest: None,
            offset: 0,
            chunk_left_bytes: 0,
            progress: progress(now, &self.limits),
        }));
    }

    /// The file is hashed this far; all of it once there is a digest.
    pub fn handle_hashed(
        &mut self,
        now: Instant,
        hashed_bytes: u64,
        digest: Option<Digest>,
    ) -> Option<UploadEvent> {
        if let State::Sending(sending) = &mut self.state {
            if self.in_flight_chunks == 0 && sending.waits_for_hash() {
                // The wait was ours: the other side's time begins now.
                sending.progress = progress(now, &self.limits);
            }
            sending.hashed_bytes = hashed_bytes;
            sending.digest = digest;
        }
        self.go_on(now)
    }

    /// Frames the next chunk, or the EOF, if it is time for it.
    fn fill(&mut self) -> Option<UploadEvent> {
        let State::Sending(sending) = &mut self.state else { return None };
        if sending.chunk_left_bytes > 0 || !self.outbox.is_empty() {
            return None;
        }
        let left_bytes = sending.size_bytes - sending.offset;
        if left_bytes > 0 {
            let data_bytes = left_bytes.min(CHUNK_BYTES.into()) as u32;
            let has_room = self.in_flight_chunks < self.window_chunks || sings(Canary::NoWindow);
            if has_room && sending.offset + u64::from(data_bytes) <= sending.hashed_bytes {
                let head = PeerMessage::Chunk { data_bytes };
                self.outbox.push(|out| head.encode(out));
                sending.chunk_left_bytes = data_bytes;
                self.in_flight_chunks += 1;
            }
            return None;
        }
        let eof = PeerMessage::Eof(sending.digest?);
        self.outbox.push(|out| eof.encode(out));
        match mem::replace(&mut self.state, State::Closed) {
            State::Sending(sending) => {
                let file = sending.file;
                self.state = State::ExpectLastAcknowledgments(sending);
                Some(UploadEvent::Sent(file))
            }
            _ => None,
        }
    }

    /// Rests once the EOF is out and every chunk acknowledged.
    fn rest(&mut self, now: Instant) -> Option<UploadEvent> {
        let is_done = matches!(self.state, State::ExpectLastAcknowledgments(_))
            && self.outbox.is_empty()
            && self.in_flight_chunks == 0;
        is_done.then(|| {
            self.outbox.rest();
            let deadline = now + self.limits.idle_timeout;
            self.state = State::ExpectRequest { deadline, timer: Timer::Idle };
            UploadEvent::Acknowledged
        })
    }

    /// What follows once something was sent, acknowledged or hashed.
    fn go_on(&mut self, now: Instant) -> Option<UploadEvent> {
        self.fill().or_else(|| self.rest(now))
    }

    fn progress(&mut self) -> Option<&mut Progress> {
        match &mut self.state {
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(&mut sending.progress)
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => None,
        }
    }

    /// What to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        let chunk = match &self.state {
            State::Sending(sending) if sending.chunk_left_bytes > 0 => Some(sending),
            _ => None,
        };
        let file = chunk.map(|sending| Transmit::File {
            file: sending.file,
            offset: sending.offset,
            len_bytes: sending.chunk_left_bytes,
        });
        self.outbox.transmit(file.is_some()).or(file)
    }

    /// The socket took this much of it.
    pub fn transmitted(&mut self, now: Instant, len_bytes: usize) -> Option<UploadEvent> {
        if let Some(progress) = self.progress() {
            progress.moved(now, len_bytes);
        }
        if !self.outbox.is_empty() {
            self.outbox.advance(len_bytes);
        } else if let State::Sending(sending) = &mut self.state {
            sending.offset += len_bytes as u64;
            sending.chunk_left_bytes -= len_bytes as u32;
        }
        self.go_on(now)
    }

    /// When [`Upload::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectRequest { deadline, .. } => Some(*deadline),
            State::Sending(_) if self.waits_for_hash() => None,
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(sending.progress.deadline())
            }
            State::ExpectSource | State::Closed => None,
        }
    }

    /// How much of the file was handed over, while it is being sent.
    pub fn sent_bytes(&self) -> Option<u64> {
        match &self.state {
            State::ExpectSource => Some(0),
            State::Sending(sending) => Some(sending.offset),
            _ => None,
        }
    }

    /// When something was last sent or acknowledged, while something is to be.
    pub fn moved_at(&self) -> Option<Instant> {
        match &self.state {
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(sending.progress.moved_at())
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => None,
        }
    }

    /// Whether nothing is in flight, and nothing can be sent before more of the file is hashed.
    pub fn waits_for_hash(&self) -> bool {
        self.in_flight_chunks == 0
            && matches!(&self.state, State::Sending(sending) if sending.waits_for_hash())
    }

    /// Checks the deadlines.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let verdict = match &mut self.state {
            State::ExpectRequest { timer, .. } => Err(CloseReason::TimedOut(*timer)),
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                sending.progress.check(now)
            }
            State::ExpectSource | State::Closed => Ok(()),
        };
        if verdict.is_err() {
            self.state = State::Closed;
        }
        verdict
    }

    /// The state it is in.
    pub fn state(&self) -> UploadState {
        match &self.state {
            State::ExpectRequest { .. } => UploadState::ExpectRequest,
            State::ExpectSource => UploadState::ExpectSource,
            State::Sending(_) => UploadState::Sending,
            State::ExpectLastAcknowledgments(_) => UploadState::ExpectLastAcknowledgments,
            State::Closed => UploadState::Closed,
        }
    }
}

impl Sending {
    /// Whether nothing can be sent before more is hashed.
    fn waits_for_hash(&self) -> bool {
        let next = (self.size_bytes - self.offset).min(CHUNK_BYTES.into());
        self.chunk_left_bytes == 0
            && (self.offset + next > self.hashed_bytes || next == 0 && self.digest.is_none())
    }
}

fn progress(now: Instant, limits: &Limits) -> Progress {
    Progress::new(now, limits.upload_timeout(), UPLOAD_RATE_WINDOW)
}
