//! The uploader's end of a connection that it accepted: requests come in, files
//! go out, one after the other.
//!
//! ```text
//!                  Request                handle_source
//!  ExpectRequest ───────────▶ ExpectSource ───────────▶ Sending  (Acknowledgment, silence:
//!        ▲                         ▲                       │      the window opens)
//!        │                         │ Request               │ all sent and hashed:
//!        │ all acknowledged        │                       ▼ the EOF is queued
//!        └─────────────────────── ExpectLastAcknowledgments
//!
//!  any state ── violation, deadline, source changed ──▶ Closed
//! ```
//!
//! Chunks go out without waiting for acknowledgments, as far as the window
//! allows, and only as far as the file is hashed: so the digest is there when the
//! last chunk is out, however large the file, and nobody waits in silence.
//!
//! Invariant: a chunk is framed only when the one before it is sent whole.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::legal::{self, PeerKind, UploadState};
use crate::canary::{Canary, sings};
use crate::content::Digest;
use crate::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_GROWTH_MAX, CHUNKS_IN_FLIGHT_MAX, CHUNKS_PER_WINDOW,
    LONG_ROUND_TRIP, LONG_SHARED_ROUND_TRIP, Limits, QUEUED_ROUND_TRIPS, QUICK_ACKNOWLEDGMENT,
    SHORT_WINDOW_BYTES_MAX, SLOW_ACKNOWLEDGMENT, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN,
};
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::outbox::Outbox;
use crate::proto::progress::Progress;
use crate::proto::{FileId, Transmit};
use crate::wire::v0::{FileName, PeerMessage};
use crate::wire::{Deframer, Frame};

/// The uploader's end of a connection.
#[derive(Debug)]
pub struct Upload {
    limits: Rc<Limits>,
    state: State,
    deframer: Deframer<PeerMessage>,
    outbox: Outbox,
    in_flight: InFlight,
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
    /// A connection that was just accepted.
    pub fn new(now: Instant, limits: &Rc<Limits>) -> Self {
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectRequest {
                deadline: now + limits.first_byte_timeout,
                timer: Timer::FirstByte,
            },
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            in_flight: InFlight::new(),
        }
    }

    /// Whether no other file is being moved by this program: then the window may grow on a
    /// short link too, and grows sooner on a long one.
    pub fn set_alone(&mut self, is_alone: bool) {
        self.in_flight.is_alone = is_alone;
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
        legal::check(legal::UPLOAD, self.state(), PeerKind::from(&message))?;
        match message {
            PeerMessage::Request(name) => {
                self.state = State::ExpectSource;
                Ok(Some(UploadEvent::Requested(name)))
            }
            PeerMessage::Acknowledgment(_) => {
                let chunk_bytes =
                    self.in_flight.acknowledge(now).ok_or(CloseReason::PeerViolated {
                        expected: "no acknowledgment",
                        got: "an acknowledgment of nothing",
                    })?;
                if let Some(progress) = self.progress() {
                    progress.moved(now, chunk_bytes as usize);
                }
                Ok(self.go_on(now))
            }
            PeerMessage::Chunk { .. } | PeerMessage::Eof(_) => {
                unreachable!("never legal for an uploader")
            }
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
            progress: Progress::new(now, self.limits.progress_timeout),
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
            if sending.waits_for_hash(&self.in_flight) {
                // The wait was ours: the other side's time begins now.
                sending.progress = Progress::new(now, self.limits.progress_timeout);
            }
            sending.hashed_bytes = hashed_bytes;
            sending.digest = digest;
        }
        self.go_on(now)
    }

    /// Frames the next chunk, or the EOF, if it is time for it.
    fn fill(&mut self, now: Instant) -> Option<UploadEvent> {
        let State::Sending(sending) = &mut self.state else { return None };
        if sending.chunk_left_bytes > 0 || !self.outbox.is_empty() {
            return None;
        }
        let left_bytes = sending.size_bytes - sending.offset;
        if left_bytes > 0 {
            let chunk_bytes = left_bytes.min(self.in_flight.chunk_bytes.into()) as u32;
            if sending.offset + u64::from(chunk_bytes) <= sending.hashed_bytes
                && self.in_flight.has_room_for(chunk_bytes)
            {
                let head = PeerMessage::Chunk { data_bytes: chunk_bytes };
                self.outbox.push(|out| head.encode(out));
                sending.chunk_left_bytes = chunk_bytes;
                self.in_flight.send(now, chunk_bytes);
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
            _ => unreachable!("it was sending"),
        }
    }

    /// Rests once the EOF is out and every chunk acknowledged.
    fn rest(&mut self, now: Instant) -> Option<UploadEvent> {
        let is_done = matches!(self.state, State::ExpectLastAcknowledgments(_))
            && self.outbox.is_empty()
            && self.in_flight.unacknowledged.is_empty();
        is_done.then(|| {
            self.outbox.rest();
            self.in_flight.rest();
            let deadline = now + self.limits.idle_timeout;
            self.state = State::ExpectRequest { deadline, timer: Timer::Idle };
            UploadEvent::Acknowledged
        })
    }

    /// What follows once something was sent, acknowledged or hashed.
    fn go_on(&mut self, now: Instant) -> Option<UploadEvent> {
        self.fill(now).or_else(|| self.rest(now))
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
            // The socket may hold megabytes: what counts for the rate is acknowledged.
            progress.moved(now, 0);
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
            State::Sending(sending) if sending.waits_for_hash(&self.in_flight) => None,
            State::Sending(sending) => {
                let deadline = sending.progress.deadline();
                Some(self.in_flight.silent_at().map_or(deadline, |at| at.min(deadline)))
            }
            State::ExpectLastAcknowledgments(sending) => Some(sending.progress.deadline()),
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

    /// Whether nothing more can be sent before more of the file is hashed.
    pub fn waits_for_hash(&self) -> bool {
        matches!(&self.state, State::Sending(sending) if sending.waits_for_hash(&self.in_flight))
    }

    /// Checks the deadlines, and opens the window where silence tells of a long link.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if self.in_flight.silent_at().is_some_and(|at| at <= now) {
            self.in_flight.open();
            let event = self.fill(now);
            debug_assert_eq!(event, None, "the window held chunks back");
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
    /// Whether nothing is in flight and nothing can be sent before more is hashed.
    fn waits_for_hash(&self, in_flight: &InFlight) -> bool {
        let next = (self.size_bytes - self.offset).min(in_flight.chunk_bytes.into());
        in_flight.unacknowledged.is_empty()
            && self.chunk_left_bytes == 0
            && (self.offset + next > self.hashed_bytes || next == 0 && self.digest.is_none())
    }
}

/// The chunks that are not acknowledged yet, over all files of the connection; how large
/// the next one is to be, and how much may be in flight.
///
/// Large chunks cost less, but each is acknowledged only as a whole: on a slow link the
/// acknowledgments would come so seldom that it looked stalled. So chunks begin small
/// and grow while they are acknowledged quickly.
///
/// What is in flight lies in buffers of the kernel. More than fits its caches costs up to a
/// third of the speed on a fast link, and less than the link holds costs speed on a long
/// one. So the window begins small, and grows while a chunk behind a full window is
/// acknowledged hardly later than a single one was: then the time is that of the link, not
/// of a queue. On a long link it doubles, or is as large as may be at once for who is alone.
/// On a short one it grows little, and only for who is alone: many windows that grew fit no
/// cache, and one that grew before others came would get more than they. The first flight tells
/// by its first and its last chunk; if something else made it late, so that a short link looked
/// long, the next acknowledgment that is quicker sets that right.
///
/// Who is alone does not wait for the first acknowledgment of a long link: silence opens the
/// window. If the end of the first flight is late, the link is narrow, and if any acknowledgment
/// is quick, something else was late: then the window begins small again. Until a chunk has told,
/// a link is long only where it is for many, as what was sent meanwhile makes a queue on a short
/// one, too.
#[derive(Debug)]
struct InFlight {
    unacknowledged: VecDeque<SentChunk>,
    bytes: u32,
    chunk_bytes: u32,
    window_bytes: u32,
    is_alone: bool,
    /// Whether the window, not the file or the socket, was what held chunks back.
    is_limited: bool,
    /// The shortest time in which a chunk that was looked at was acknowledged.
    round_trip: Duration,
    /// Acknowledgments until that of the chunk whose time is looked at next: of the first one,
    /// and then each time of the last one in flight, or of those in flight that were sent with
    /// the same window as the chunk before. 0 if nothing is in flight.
    probe_due: usize,
    /// Whether silence opened the window, and no chunk that was sent since has told of it.
    was_silent: bool,
}

/// A chunk on its way. How long it takes says something about the sizes it was sent with.
#[derive(Debug)]
struct SentChunk {
    bytes: u32,
    window_bytes: u32,
    at: Instant,
    /// Whether others were on their way before it.
    is_behind_others: bool,
}

impl InFlight {
    fn new() -> Self {
        Self {
            unacknowledged: VecDeque::new(),
            bytes: 0,
            chunk_bytes: CHUNK_BYTES_MIN,
            window_bytes: WINDOW_BYTES_MIN,
            is_alone: false,
            is_limited: false,
            round_trip: Duration::MAX,
            probe_due: 0,
            was_silent: false,
        }
    }

    /// Nothing is in flight any more. Until the next file, the way may become another one.
    fn rest(&mut self) {
        self.unacknowledged = VecDeque::new();
        (self.round_trip, self.is_limited) = (Duration::MAX, false);
    }

    fn has_room_for(&mut self, chunk_bytes: u32) -> bool {
        let has_room = self.bytes + chunk_bytes <= self.window_bytes
            && self.unacknowledged.len() < CHUNKS_IN_FLIGHT_MAX;
        self.is_limited |= !has_room;
        has_room || sings(Canary::NoWindow)
    }

    /// When the silence behind the first full window is long enough to open it. Only small
    /// chunks tell: a large one keeps a narrow link busy for as long.
    fn silent_at(&self) -> Option<Instant> {
        let first = self.unacknowledged.front()?;
        let tells = self.is_alone
            && self.is_limited
            && self.round_trip == Duration::MAX
            && self.window_bytes == WINDOW_BYTES_MIN
            && first.bytes == CHUNK_BYTES_MIN;
        tells.then(|| first.at + LONG_SHARED_ROUND_TRIP)
    }

    /// Nothing was acknowledged for so long: opens the window until the acknowledgments tell.
    fn open(&mut self) {
        (self.window_bytes, self.was_silent) = (WINDOW_BYTES_MAX, true);
    }

    fn send(&mut self, now: Instant, chunk_bytes: u32) {
        let is_behind_others = !self.unacknowledged.is_empty();
        let (bytes, window_bytes) = (chunk_bytes, self.window_bytes);
        let chunk = SentChunk { bytes, window_bytes, at: now, is_behind_others };
        self.unacknowledged.push_back(chunk);
        self.bytes += chunk_bytes;
        self.probe_due = self.probe_due.max(1);
    }

    /// The oldest chunk is acknowledged; gives its size.
    fn acknowledge(&mut self, now: Instant) -> Option<u32> {
        let chunk = self.unacknowledged.pop_front()?;
        self.bytes -= chunk.bytes;
        self.probe_due -= 1;
        let elapsed = now.saturating_duration_since(chunk.at);
        if self.was_silent {
            self.round_trip = self.round_trip.min(elapsed);
        }
        if self.probe_due == 0 {
            self.adapt(&chunk, elapsed);
            let is_alike = |other: &&SentChunk| other.window_bytes == chunk.window_bytes;
            self.probe_due = match self.unacknowledged.iter().take_while(is_alike).count() {
                0 => self.unacknowledged.len(),
                alike => alike,
            };
        }
        Some(chunk.bytes)
    }

    /// A chunk was acknowledged so long after it was sent.
    fn adapt(&mut self, chunk: &SentChunk, elapsed: Duration) {
        self.round_trip = self.round_trip.min(elapsed);
        let was_silent = self.was_silent;
        self.was_silent &= chunk.window_bytes != self.window_bytes;
        let is_alone = self.is_alone && !was_silent;
        let long = if is_alone { LONG_ROUND_TRIP } else { LONG_SHARED_ROUND_TRIP };
        let is_long = self.round_trip >= long;
        let window_bytes_max = match (is_long, is_alone) {
            (true, _) => WINDOW_BYTES_MAX,
            (false, true) => SHORT_WINDOW_BYTES_MAX,
            (false, false) => WINDOW_BYTES_MIN,
        };
        if elapsed > self.round_trip * QUEUED_ROUND_TRIPS {
            self.window_bytes = self.window_bytes.min(chunk.window_bytes / 2);
        } else if elapsed >= self.round_trip * 2 {
            if was_silent {
                self.window_bytes = self.window_bytes.min(chunk.window_bytes);
            }
        } else if self.is_limited && chunk.is_behind_others {
            let is_jump = is_long && is_alone;
            let larger_bytes = if is_jump { WINDOW_BYTES_MAX } else { chunk.window_bytes * 2 };
            self.window_bytes = self.window_bytes.max(larger_bytes);
        }
        self.window_bytes = self.window_bytes.clamp(WINDOW_BYTES_MIN, window_bytes_max);
        self.is_limited = false;
        if elapsed < QUICK_ACKNOWLEDGMENT {
            let times = QUICK_ACKNOWLEDGMENT.as_micros() / elapsed.as_micros().max(1);
            let larger_bytes = chunk.bytes * (times as u32).min(CHUNK_GROWTH_MAX);
            self.chunk_bytes = self.chunk_bytes.max(larger_bytes);
        } else if elapsed > SLOW_ACKNOWLEDGMENT {
            self.chunk_bytes = self.chunk_bytes.min(chunk.bytes / 2);
        }
        let chunk_bytes_max = CHUNK_BYTES_MAX.min(self.window_bytes / CHUNKS_PER_WINDOW);
        self.chunk_bytes = self.chunk_bytes.clamp(CHUNK_BYTES_MIN, chunk_bytes_max);
    }
}
