//! The downloader's end of a connection that it made: files, one after the other.
//!
//! ```text
//!                         request                   Chunk
//!  ExpectConnection ─────────────────▶ ExpectChunk ─────▶ ExpectData
//!                                      ▲ │   ▲               │
//!                                      │ │   └───────────────┘
//!                                      │ │     last byte of the chunk
//!                              request │ │ Eof
//!                                      │ ▼
//!                         Finishing ───┘ ExpectWritten
//!                             ▲                │ every byte is written:
//!                             └────────────────┘ event Verdict, then finish
//!
//!  any state ── violation, deadline ──▶ Closed
//! ```
//!
//! Data is hashed as it is received, and handed on as ranges of the caller's buffer; an
//! acknowledgment is queued once a whole chunk is written.
//!
//! Invariant: `written_bytes <= received_bytes`; while they differ, no chunk that was
//! received since they were equal is acknowledged.

use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use crate::content::Digest;
use crate::limits::{
    CHUNK_HEAD_BYTES, Limits, RATE_WINDOW, READ_BYTES_MIN, SMALL_CHUNKS_PER_READ,
    WHOLE_CHUNK_READ_BYTES_MIN,
};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::inbox::Inbox;
use crate::proto::outbox::Outbox;
use crate::proto::progress::Progress;
use crate::proto::table::{self, Row, State as _};
use crate::wire::v0::{FileName, PeerMessage, PeerMessageKind};
use crate::wire::{Frame, PeerId};

/// The downloader's end of a connection.
#[derive(Debug)]
pub struct Download {
    limits: Rc<Limits>,
    state: State,
    our_id: PeerId,
    inbox: Inbox<PeerMessage>,
    outbox: Outbox,
    hasher: Sha256,
    received_bytes: u64,
    written_bytes: u64,
    /// The smallest chunk received.
    smallest_chunk_bytes: Option<u32>,
    /// Chunks received whole, with bytes that are not written yet.
    unwritten_chunks: u32,
    /// Whether this is not the first file of the connection.
    is_kept: bool,
}

/// The states of a [`Download`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadState {
    /// The connection is being made.
    ExpectConnection,
    /// The next chunk, or the EOF, is due.
    ExpectChunk,
    /// The data of a chunk is due. It is not a message: none can be received here.
    ExpectData,
    /// The EOF was received; the last bytes are on their way to the file.
    ExpectWritten,
    /// The file is verified; the last acknowledgments are being sent, and then there may be
    /// another request.
    Finishing,
    /// The connection is over.
    Closed,
}

impl table::State for DownloadState {
    type Kind = PeerMessageKind;

    const ALL: &'static [Self] = &[
        Self::ExpectConnection,
        Self::ExpectChunk,
        Self::ExpectData,
        Self::ExpectWritten,
        Self::Finishing,
        Self::Closed,
    ];

    fn row(self) -> Row<Self> {
        use PeerMessageKind::{Chunk, Eof};
        match self {
            Self::ExpectChunk => Row {
                expected: "a chunk or the EOF",
                legal: &[(Chunk, &[Self::ExpectData]), (Eof, &[Self::ExpectWritten])],
            },
            Self::ExpectData => Row::silent("data of a chunk"),
            Self::ExpectWritten | Self::Finishing => Row::silent("nothing after the EOF"),
            Self::ExpectConnection | Self::Closed => Row::silent("nothing"),
        }
    }
}

/// The requests and reports of a download to its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadEvent {
    /// Write these bytes of the input to the file, then call [`Download::handle_written`].
    Write { range: Range<usize>, offset: u64 },
    /// Everything is received and written.
    Verdict {
        digest: Digest,
        /// Whether it is the one that the uploader announced.
        matches: bool,
        size_bytes: u64,
    },
}

#[derive(Debug)]
enum State {
    ExpectConnection { deadline: Instant },
    ExpectChunk { progress: Progress },
    ExpectData { progress: Progress },
    ExpectWritten { announced: Digest },
    Finishing { progress: Progress },
    Closed,
}

impl Download {
    /// Returns the machine of a connection that is being made.
    pub fn new(now: Instant, limits: &Rc<Limits>, our_id: PeerId) -> Self {
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectConnection { deadline: now + limits.connect_timeout },
            our_id,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            hasher: Sha256::new(),
            received_bytes: 0,
            written_bytes: 0,
            smallest_chunk_bytes: None,
            unwritten_chunks: 0,
            is_kept: false,
        }
    }

    /// Requests a file: the connection is made, or the file before is verified. The reference
    /// receives the request by itself, as it has to: it sends the EOF only after all
    /// acknowledgments. To others it may be sent together with the last of them.
    pub fn request(&mut self, now: Instant, name: FileName) {
        self.is_kept = match self.state {
            State::ExpectConnection { .. } => false,
            State::Finishing { .. } => true,
            _ => return debug_assert!(false, "no request is due"),
        };
        (self.received_bytes, self.written_bytes) = (0, 0);
        let request = PeerMessage::Request(name);
        self.outbox.push(|out| request.encode(out));
        self.state = State::ExpectChunk { progress: self.progress(now) };
    }

    /// Returns whether this is not the first file of the connection, and nothing of it was
    /// received: if the uploader closes the connection, it may serve only one file on each.
    pub fn is_kept_in_vain(&self) -> bool {
        self.is_kept && self.received_bytes == 0 && self.inbox.is_between_messages()
    }

    /// Returns the next event that `bytes` from `*at` on lead to, and moves `*at` behind
    /// them; returns `None` when they are used up.
    ///
    /// # Errors
    /// If they are no message, or one that is not legal here, or if the file is too large.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<DownloadEvent>, CloseReason> {
        loop {
            let before = *at;
            let frame = self.inbox.next(now, bytes, at);
            self.moved(now, *at - before);
            match frame {
                Ok(Some(Frame::Payload { range, last })) => {
                    return self.on_data(bytes, range, last).map(Some);
                }
                Ok(Some(Frame::Message(message))) => self.on_message(message)?,
                Ok(None) => return Ok(None),
                Err(reason) => {
                    self.state = State::Closed;
                    return Err(reason);
                }
            }
            if let Some(verdict) = self.verdict() {
                return Ok(Some(verdict));
            }
        }
    }

    fn moved(&mut self, now: Instant, len_bytes: usize) {
        if let State::ExpectChunk { progress } | State::ExpectData { progress } = &mut self.state
            && len_bytes > 0
        {
            progress.moved(now, len_bytes);
        }
    }

    fn on_message(&mut self, message: PeerMessage) -> Result<(), CloseReason> {
        let (state, kind) = (self.state(), message.kind());
        self.state = match (mem::replace(&mut self.state, State::Closed), message) {
            (State::ExpectChunk { progress }, PeerMessage::Chunk { data_bytes }) => {
                if self.received_bytes + u64::from(data_bytes) > self.limits.file_bytes_max {
                    return Err(CloseReason::TooLarge);
                }
                let smallest = self.smallest_chunk_bytes.unwrap_or(data_bytes);
                self.smallest_chunk_bytes = Some(smallest.min(data_bytes));
                State::ExpectData { progress }
            }
            (State::ExpectChunk { .. }, PeerMessage::Eof(announced)) => {
                State::ExpectWritten { announced }
            }
            _ => return Err(state.violation(kind)),
        };
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(())
    }

    fn on_data(
        &mut self,
        bytes: &[u8],
        range: Range<usize>,
        last: bool,
    ) -> Result<DownloadEvent, CloseReason> {
        let state = self.state();
        let State::ExpectData { progress } = mem::replace(&mut self.state, State::Closed) else {
            // The data of a chunk that was refused.
            return Err(state.violation(PeerMessageKind::Chunk));
        };
        let data = bytes.get(range.clone()).unwrap_or_default();
        self.hasher.update(data);
        let offset = self.received_bytes;
        self.received_bytes += data.len() as u64;
        self.state = if last {
            self.unwritten_chunks += 1;
            State::ExpectChunk { progress }
        } else {
            State::ExpectData { progress }
        };
        Ok(DownloadEvent::Write { range, offset })
    }

    /// Counts the bytes of one `Write` event as written.
    pub fn handle_written(&mut self, len_bytes: usize) -> Option<DownloadEvent> {
        self.written_bytes += len_bytes as u64;
        debug_assert!(self.written_bytes <= self.received_bytes);
        if self.written_bytes == self.received_bytes {
            let acknowledgment = PeerMessage::Acknowledgment(self.our_id);
            for _ in 0..mem::take(&mut self.unwritten_chunks) {
                self.outbox.push(|out| acknowledgment.encode(out));
            }
        }
        self.verdict()
    }

    /// Returns the verdict, once the EOF is received and every byte written.
    fn verdict(&mut self) -> Option<DownloadEvent> {
        match self.state {
            State::ExpectWritten { announced } if self.written_bytes == self.received_bytes => {
                let digest = Digest(mem::take(&mut self.hasher).finalize().into());
                let size_bytes = self.received_bytes;
                let matches = digest == announced;
                Some(DownloadEvent::Verdict { digest, matches, size_bytes })
            }
            _ => None,
        }
    }

    /// Ends the transfer of a file that is verified: only the last acknowledgments are still
    /// to be sent.
    pub fn finish(&mut self, now: Instant) {
        debug_assert_eq!(self.state(), DownloadState::ExpectWritten);
        if let State::ExpectWritten { .. } = self.state {
            self.state = State::Finishing { progress: self.progress(now) };
        }
    }

    /// Returns how much of the file was received.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn progress(&self, now: Instant) -> Progress {
        Progress::new(now, self.limits.progress_timeout, RATE_WINDOW)
    }

    /// What comes waits for a rate that the user has set.
    pub fn held_back(&mut self, now: Instant) {
        if let State::ExpectChunk { progress } | State::ExpectData { progress } = &mut self.state {
            progress.held_back(now);
        }
    }

    /// Returns when something was last received, while something is due.
    pub fn moved_at(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectChunk { progress } | State::ExpectData { progress } => {
                Some(progress.moved_at())
            }
            _ => None,
        }
    }

    /// Returns whether the file is verified and everything sent.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finishing { .. }) && self.outbox.is_empty()
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// Removes the bytes that the socket took from what is to be sent.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
    }

    /// Returns how many bytes may be read. Each can cause less than one byte of
    /// acknowledgment, as a chunk of 6 bytes is answered with 5. Each chunk costs a write,
    /// so fewer bytes of small ones are read at once. A read of a large one ends behind the
    /// next head: so the data of the next chunk begins a read, and is written as a whole.
    pub fn read_allowance_bytes(&self) -> usize {
        let room_bytes = self.outbox.room_bytes();
        if room_bytes < READ_BYTES_MIN {
            return 0;
        }
        let chunk_left_bytes = self.inbox.payload_left_bytes() as usize;
        if chunk_left_bytes >= WHOLE_CHUNK_READ_BYTES_MIN {
            return chunk_left_bytes + CHUNK_HEAD_BYTES;
        }
        let smallest = self.smallest_chunk_bytes.unwrap_or(0) as usize;
        let of_small_chunks = SMALL_CHUNKS_PER_READ.saturating_mul(smallest);
        room_bytes.min(of_small_chunks.max(READ_BYTES_MIN))
    }

    /// Returns when to call [`Download::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match &self.state {
            State::ExpectConnection { deadline } => Some(*deadline),
            State::ExpectChunk { progress }
            | State::ExpectData { progress }
            | State::Finishing { progress } => Some(progress.deadline()),
            State::ExpectWritten { .. } => None,
            State::Closed => return None,
        };
        self.inbox.deadline_or(of_state)
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// If one has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let of_state = match &mut self.state {
            State::ExpectConnection { deadline } if now >= *deadline => {
                Err(CloseReason::TimedOut(Timer::Connect))
            }
            State::ExpectChunk { progress }
            | State::ExpectData { progress }
            | State::Finishing { progress } => progress.check(now),
            _ => Ok(()),
        };
        let verdict = self.inbox.check(now).and(of_state);
        if verdict.is_err() {
            self.state = State::Closed;
        }
        verdict
    }

    /// Returns its state.
    pub fn state(&self) -> DownloadState {
        match &self.state {
            State::ExpectConnection { .. } => DownloadState::ExpectConnection,
            State::ExpectChunk { .. } => DownloadState::ExpectChunk,
            State::ExpectData { .. } => DownloadState::ExpectData,
            State::ExpectWritten { .. } => DownloadState::ExpectWritten,
            State::Finishing { .. } => DownloadState::Finishing,
            State::Closed => DownloadState::Closed,
        }
    }
}
