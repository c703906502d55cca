//! The uploader's end of a connection that it accepted: it receives requests and sends
//! files, one after the other. It begins when the first byte of a request is there.
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
//! A file is cut into chunks of [`CHUNK_BYTES`]; the last one has the remainder. Chunks are
//! sent without waiting for acknowledgments, as far as the window allows, and only as far
//! as the file is hashed: so the digest is known when the last chunk is sent. Each
//! acknowledgment is of the oldest chunk in flight; the window counts chunks, and so bounds
//! the bytes as well.
//!
//! Invariant: a chunk is framed only when the one before it is sent whole.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use crate::content::Digest;
use crate::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, Limits, UPLOAD_RATE_WINDOW, WINDOW_BYTES};
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::inbox::Inbox;
use crate::proto::outbox::Outbox;
use crate::proto::progress::Progress;
use crate::proto::table::{self, Row, State as _};
use crate::proto::{FileId, Transmit};
use crate::wire::Frame;
use crate::wire::v0::{FileName, PeerMessage, PeerMessageKind};

/// The uploader's end of a connection.
#[derive(Debug)]
pub struct Upload {
    limits: Rc<Limits>,
    state: State,
    inbox: Inbox<PeerMessage>,
    outbox: Outbox,
    /// Chunks that may be in flight.
    window_chunks: u32,
    /// Chunks framed and not acknowledged, over all files of the connection.
    in_flight_chunks: u32,
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

/// The requests and reports of an upload to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadEvent {
    /// This file is requested: answer with [`Upload::handle_source`], or close.
    Requested(FileName),
    /// The whole file is handed over, the EOF behind it: it is not needed any more.
    Sent(FileId),
    /// The whole file is acknowledged.
    Acknowledged,
}

#[derive(Debug)]
enum State {
    ExpectRequest {
        deadline: Instant,
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
    /// How much of the file is sent.
    offset: u64,
    /// How much of the chunk in progress is still to be sent.
    chunk_left_bytes: u32,
    progress: Progress,
}

impl Upload {
    /// Returns the machine of a connection whose first byte is there, from a peer on this host
    /// or on another one.
    pub fn new(now: Instant, limits: &Rc<Limits>, is_local: bool) -> Self {
        let window_bytes = if is_local { LOCAL_WINDOW_BYTES } else { WINDOW_BYTES };
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectRequest { deadline: now + limits.idle_timeout },
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            window_chunks: window_bytes / CHUNK_BYTES,
            in_flight_chunks: 0,
        }
    }

    /// Returns the next event that `bytes` from `*at` on lead to, and moves `*at` behind
    /// them; returns `None` when they are used up.
    ///
    /// # Errors
    /// If they are no message, or one that is not legal here.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<UploadEvent>, CloseReason> {
        loop {
            match self.inbox.next(now, bytes, at) {
                Ok(Some(Frame::Message(message))) => {
                    if let Some(event) = self.on_message(now, message)? {
                        return Ok(Some(event));
                    }
                }
                // The data of a chunk that was refused.
                Ok(Some(Frame::Payload { .. })) => {
                    return Err(self.state().violation(PeerMessageKind::Chunk));
                }
                Ok(None) => return Ok(None),
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
        let event = match (mem::replace(&mut self.state, State::Closed), message) {
            (
                State::ExpectRequest { .. } | State::ExpectLastAcknowledgments(_),
                PeerMessage::Request(name),
            ) => {
                self.state = State::ExpectSource;
                Some(UploadEvent::Requested(name))
            }
            (
                old @ (State::ExpectSource
                | State::Sending(_)
                | State::ExpectLastAcknowledgments(_)),
                PeerMessage::Acknowledgment(_),
            ) => {
                self.acknowledge(now, old)?;
                self.go_on(now)
            }
            _ => return Err(state.violation(kind)),
        };
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(event)
    }

    /// Counts the oldest chunk in flight as acknowledged, and goes back to the state before.
    fn acknowledge(&mut self, now: Instant, mut state: State) -> Result<(), CloseReason> {
        let Some(in_flight_chunks) = self.in_flight_chunks.checked_sub(1) else {
            let (expected, got) = ("no acknowledgment", "an acknowledgment of nothing");
            return Err(CloseReason::PeerViolated { expected, got });
        };
        self.in_flight_chunks = in_flight_chunks;
        match &mut state {
            // While a file is sent, the bytes that the socket takes are the rate.
            State::Sending(sending) => sending.progress.moved(now, 0),
            State::ExpectLastAcknowledgments(sending) => {
                sending.progress.moved(now, CHUNK_BYTES as usize);
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => {}
        }
        self.state = state;
        Ok(())
    }

    /// Begins to send the file that was requested, which is open.
    /// [`Upload::handle_hashed`] tells how far it is hashed.
    pub fn handle_source(&mut self, now: Instant, file: FileId, size_bytes: u64) {
        debug_assert_eq!(self.state(), UploadState::ExpectSource);
        if let State::ExpectSource = self.state {
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
    }

    /// Goes on sending: the file is hashed this far, as a whole if there is a digest.
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

    /// Takes the step that has become possible: something was sent, acknowledged or hashed.
    fn go_on(&mut self, now: Instant) -> Option<UploadEvent> {
        let (state, event) = match mem::replace(&mut self.state, State::Closed) {
            State::Sending(sending) if self.outbox.is_empty() && sending.chunk_left_bytes == 0 => {
                self.frame_next(sending)
            }
            State::ExpectLastAcknowledgments(_)
                if self.outbox.is_empty() && self.in_flight_chunks == 0 =>
            {
                self.outbox.free();
                let deadline = now + self.limits.idle_timeout;
                (State::ExpectRequest { deadline }, Some(UploadEvent::Acknowledged))
            }
            same => (same, None),
        };
        self.state = state;
        event
    }

    /// Frames the next chunk, if the window has room and it is hashed, or the EOF.
    fn frame_next(&mut self, mut sending: Box<Sending>) -> (State, Option<UploadEvent>) {
        let left_bytes = sending.size_bytes - sending.offset;
        if left_bytes == 0
            && let Some(digest) = sending.digest
        {
            self.outbox.push(|out| PeerMessage::Eof(digest).encode(out));
            let sent = UploadEvent::Sent(sending.file);
            return (State::ExpectLastAcknowledgments(sending), Some(sent));
        }
        let data_bytes = left_bytes.min(CHUNK_BYTES.into()) as u32;
        let has_room = self.in_flight_chunks < self.window_chunks;
        let is_hashed = sending.offset + u64::from(data_bytes) <= sending.hashed_bytes;
        if data_bytes > 0 && has_room && is_hashed {
            self.outbox.push(|out| PeerMessage::Chunk { data_bytes }.encode(out));
            sending.chunk_left_bytes = data_bytes;
            self.in_flight_chunks += 1;
        }
        (State::Sending(sending), None)
    }

    fn progress(&mut self) -> Option<&mut Progress> {
        match &mut self.state {
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(&mut sending.progress)
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => None,
        }
    }

    /// What is to be sent waits for a rate that the user has set.
    pub fn held_back(&mut self, now: Instant) {
        self.progress().into_iter().for_each(|progress| progress.held_back(now));
    }

    /// Returns what to send next.
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

    /// Removes the bytes that the socket took from what is to be sent.
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

    /// Returns when to call [`Upload::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match &self.state {
            State::ExpectRequest { deadline } => Some(*deadline),
            State::Sending(_) if self.waits_for_hash() => None,
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(sending.progress.deadline())
            }
            State::ExpectSource => None,
            State::Closed => return None,
        };
        self.inbox.deadline_or(of_state)
    }

    /// Returns how much of the file was handed over, while it is being sent.
    pub fn sent_bytes(&self) -> Option<u64> {
        match &self.state {
            State::ExpectSource => Some(0),
            State::Sending(sending) => Some(sending.offset),
            _ => None,
        }
    }

    /// Returns when something was last sent or acknowledged, while something is to be.
    pub fn moved_at(&self) -> Option<Instant> {
        match &self.state {
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                Some(sending.progress.moved_at())
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => None,
        }
    }

    /// Returns whether nothing is in flight, and nothing can be sent before more of the file
    /// is hashed.
    pub fn waits_for_hash(&self) -> bool {
        self.in_flight_chunks == 0
            && matches!(&self.state, State::Sending(sending) if sending.waits_for_hash())
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// If one has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let waits_for_hash = self.waits_for_hash();
        let of_state = match &mut self.state {
            State::ExpectRequest { deadline } if now >= *deadline => {
                Err(CloseReason::TimedOut(Timer::Idle))
            }
            State::Sending(_) if waits_for_hash => Ok(()),
            State::Sending(sending) | State::ExpectLastAcknowledgments(sending) => {
                sending.progress.check(now)
            }
            State::ExpectRequest { .. } | State::ExpectSource | State::Closed => Ok(()),
        };
        let verdict = self.inbox.check(now).and(of_state);
        if verdict.is_err() {
            self.state = State::Closed;
        }
        verdict
    }

    /// Returns its state.
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
    /// Returns whether nothing can be sent before more is hashed.
    fn waits_for_hash(&self) -> bool {
        let next = (self.size_bytes - self.offset).min(CHUNK_BYTES.into());
        self.chunk_left_bytes == 0
            && (self.offset + next > self.hashed_bytes || next == 0 && self.digest.is_none())
    }
}

fn progress(now: Instant, limits: &Limits) -> Progress {
    Progress::new(now, limits.upload_timeout(), UPLOAD_RATE_WINDOW)
}
