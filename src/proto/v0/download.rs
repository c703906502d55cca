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
//! The data is hashed as it passes by and handed on as ranges of the caller's
//! buffer; an acknowledgment is queued once a whole chunk is written.
//!
//! Invariant: `written_bytes <= received_bytes`; while they differ no chunk that came since
//! they were equal is acknowledged.

use std::mem;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};

use super::legal::{self, DownloadState, PeerKind};
use crate::canary::{Canary, sings};
use crate::content::Digest;
use crate::limits::{
    CHUNK_HEAD_BYTES, Limits, RATE_WINDOW, READ_BYTES_MIN, SMALL_CHUNKS_PER_READ,
    WHOLE_CHUNK_READ_BYTES_MIN,
};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::outbox::Outbox;
use crate::proto::progress::Progress;
use crate::wire::v0::{FileName, PeerMessage};
use crate::wire::{Deframer, Frame, PeerId};

/// The downloader's end of a connection.
#[derive(Debug)]
pub struct Download {
    limits: Rc<Limits>,
    state: State,
    our_id: PeerId,
    deframer: Deframer<PeerMessage>,
    outbox: Outbox,
    hasher: Sha256,
    received_bytes: u64,
    written_bytes: u64,
    /// The smallest chunk that came.
    smallest_chunk_bytes: Option<u32>,
    /// Chunks received whole, with bytes that are not written yet.
    unwritten_chunks: u32,
    /// Whether this is not the first file of the connection.
    is_kept: bool,
}

/// What a download asks of its node, or tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadEvent {
    /// Write these bytes of the input to the file, then call [`Download::handle_written`].
    Write {
        /// Which bytes of the input.
        range: Range<usize>,
        /// Where in the file they belong.
        offset: u64,
    },
    /// Everything that came is written, and this is what it is worth.
    Verdict {
        /// The digest of what came.
        digest: Digest,
        /// Whether it is the one that the uploader announced.
        matches: bool,
        /// How many bytes came.
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
    /// A connection that is being made.
    pub fn new(now: Instant, limits: &Rc<Limits>, our_id: PeerId) -> Self {
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectConnection { deadline: now + limits.connect_timeout },
            our_id,
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            hasher: Sha256::new(),
            received_bytes: 0,
            written_bytes: 0,
            smallest_chunk_bytes: None,
            unwritten_chunks: 0,
            is_kept: false,
        }
    }

    /// The connection is made, or the file before is right: asks for this file. To the
    /// reference the request goes out by itself, as it wants it: it sends the EOF only once
    /// all acknowledgments are there. To others it may go out together with the last ones.
    pub fn request(&mut self, now: Instant, name: FileName) {
        self.is_kept = matches!(self.state, State::Finishing { .. });
        debug_assert!(self.is_kept || self.state() == DownloadState::ExpectConnection);
        (self.received_bytes, self.written_bytes) = (0, 0);
        let request = PeerMessage::Request(name);
        self.outbox.push(|out| request.encode(out));
        self.state = State::ExpectChunk { progress: self.progress(now) };
    }

    /// Whether this is not the first file of the connection, and nothing of it has come: if
    /// the other side closes now, it may serve only one file on each connection.
    pub fn is_kept_in_vain(&self) -> bool {
        self.is_kept && self.received_bytes == 0 && self.deframer.is_between_messages()
    }

    /// The next event that `bytes` lead to from `*at` on; `None` once all are consumed.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<DownloadEvent>, CloseReason> {
        loop {
            let before = *at;
            let frame = match self.deframer.next(bytes, at) {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.moved(now, *at - before);
                    return Ok(None);
                }
                Err(malformed) => {
                    self.state = State::Closed;
                    return Err(CloseReason::Malformed(malformed));
                }
            };
            self.moved(now, *at - before);
            match frame {
                Frame::Payload { range, last } => {
                    return Ok(Some(self.on_data(&bytes[range.clone()], range, last)));
                }
                Frame::Message(message) => self.on_message(message)?,
            }
            if let Some(verdict) = self.verdict() {
                return Ok(Some(verdict));
            }
        }
    }

    fn on_data(&mut self, data: &[u8], range: Range<usize>, last: bool) -> DownloadEvent {
        self.hasher.update(data);
        let offset = self.received_bytes;
        self.received_bytes += data.len() as u64;
        if last {
            self.unwritten_chunks += 1;
            self.state = match mem::replace(&mut self.state, State::Closed) {
                State::ExpectData { progress } => State::ExpectChunk { progress },
                other => other,
            };
        }
        DownloadEvent::Write { range, offset }
    }

    fn on_message(&mut self, message: PeerMessage) -> Result<(), CloseReason> {
        let state = self.state();
        let old = mem::replace(&mut self.state, State::Closed);
        legal::check(legal::DOWNLOAD, state, PeerKind::from(&message))?;
        self.state = match (old, message) {
            (State::ExpectChunk { .. }, PeerMessage::Chunk { data_bytes })
                if self.received_bytes + u64::from(data_bytes) > self.limits.file_bytes_max =>
            {
                return Err(CloseReason::TooLarge);
            }
            (State::ExpectChunk { progress }, PeerMessage::Chunk { data_bytes }) => {
                let smallest = self.smallest_chunk_bytes.unwrap_or(data_bytes);
                self.smallest_chunk_bytes = Some(smallest.min(data_bytes));
                State::ExpectData { progress }
            }
            (State::ExpectChunk { .. }, PeerMessage::Eof(announced)) => {
                State::ExpectWritten { announced }
            }
            _ => unreachable!("the table allows chunk and EOF in ExpectChunk only"),
        };
        Ok(())
    }

    /// The bytes of one `Write` event are handed to the file.
    pub fn handle_written(&mut self, len_bytes: usize) -> Option<DownloadEvent> {
        self.written_bytes += len_bytes as u64;
        debug_assert!(self.written_bytes <= self.received_bytes);
        if self.written_bytes == self.received_bytes || sings(Canary::EarlyAcknowledgment) {
            let acknowledgment = PeerMessage::Acknowledgment(self.our_id);
            for _ in 0..mem::take(&mut self.unwritten_chunks) {
                self.outbox.push(|out| acknowledgment.encode(out));
            }
        }
        self.verdict()
    }

    /// The verdict, once the EOF is there and every byte is written.
    fn verdict(&mut self) -> Option<DownloadEvent> {
        match self.state {
            State::ExpectWritten { announced } if self.written_bytes == self.received_bytes => {
                let digest = Digest(mem::take(&mut self.hasher).finalize().into());
                let size_bytes = self.received_bytes;
                let matches = digest == announced || sings(Canary::AnyDigest);
                Some(DownloadEvent::Verdict { digest, matches, size_bytes })
            }
            _ => None,
        }
    }

    /// The file is right: only the last acknowledgments are still to be sent.
    pub fn finish(&mut self, now: Instant) {
        debug_assert_eq!(self.state(), DownloadState::ExpectWritten);
        let progress = self.progress(now);
        self.state = State::Finishing { progress };
    }

    /// How much of the file has come.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    fn progress(&self, now: Instant) -> Progress {
        Progress::new(now, self.limits.progress_timeout, RATE_WINDOW)
    }

    /// When something last came, while something is to come.
    pub fn moved_at(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectChunk { progress } | State::ExpectData { progress } => {
                Some(progress.moved_at())
            }
            _ => None,
        }
    }

    /// Whether the file is right and everything is sent.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Finishing { .. }) && self.outbox.is_empty()
    }

    fn moved(&mut self, now: Instant, len_bytes: usize) {
        if let State::ExpectChunk { progress } | State::ExpectData { progress } = &mut self.state
            && len_bytes > 0
        {
            progress.moved(now, len_bytes);
        }
    }

    /// What to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// The socket took this much of it.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
    }

    /// How many bytes may be read. Each can cause less than one byte of acknowledgment,
    /// as a chunk of 6 bytes is answered with 5; and each chunk costs a write, so of small
    /// ones fewer bytes are taken at once. Of a large one the rest is, and the next head:
    /// so the data of the next chunk begins where a read begins, and is written as a whole.
    pub fn read_allowance_bytes(&self) -> usize {
        let room_bytes = self.outbox.room_bytes();
        if room_bytes < READ_BYTES_MIN {
            return 0;
        }
        let chunk_left_bytes = self.deframer.payload_left_bytes() as usize;
        if chunk_left_bytes >= WHOLE_CHUNK_READ_BYTES_MIN {
            return chunk_left_bytes + CHUNK_HEAD_BYTES;
        }
        let smallest = self.smallest_chunk_bytes.unwrap_or(0) as usize;
        let of_small_chunks = SMALL_CHUNKS_PER_READ.saturating_mul(smallest);
        room_bytes.min(of_small_chunks.max(READ_BYTES_MIN))
    }

    /// When [`Download::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectConnection { deadline } => Some(*deadline),
            State::ExpectChunk { progress }
            | State::ExpectData { progress }
            | State::Finishing { progress } => Some(progress.deadline()),
            State::ExpectWritten { .. } | State::Closed => None,
        }
    }

    /// Checks the deadlines.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        let verdict = match &mut self.state {
            State::ExpectConnection { deadline } if now >= *deadline => {
                Err(CloseReason::TimedOut(Timer::Connect))
            }
            State::ExpectChunk { progress }
            | State::ExpectData { progress }
            | State::Finishing { progress } => progress.check(now),
            _ => Ok(()),
        };
        if verdict.is_err() {
            self.state = State::Closed;
        }
        verdict
    }

    /// The state it is in.
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
