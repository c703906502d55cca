//! In which order the frames of a session are sent.
//!
//! Requests and short answers come first. Then one frame of the oldest file of several blocks
//! and one of the oldest of all else (pages, manifests, files of one block) take turns, so that
//! neither waits for the other for long. A frame that has begun is always sent whole.

use std::collections::VecDeque;
use std::rc::Rc;

use super::events::Page;
use crate::limits::DATA_BYTES_MAX;
use crate::proto::{FileId, Outbox, Transmit};
use crate::wire::v1::{Entry, SessionMessage, Value};

/// What is to be sent on a session.
///
/// Invariant: while anything waits in `large` or `small`, `frame` is one of them.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// Whole frames without payload. Bounded by the limits of requests and of answers.
    short: Outbox,
    large: VecDeque<Bulk>,
    small: VecDeque<Bulk>,
    frame: Option<FrameInProgress>,
    /// Which of the two the next frame is taken from, if it has any.
    is_large_next: bool,
}

/// An answer with payload. There is at most one for each open request of theirs.
#[derive(Debug)]
pub(super) struct Bulk {
    pub(super) req: u32,
    pub(super) payload: Payload,
}

#[derive(Debug)]
pub(super) enum Payload {
    /// A frame, whole. The request is over with the last one.
    Page {
        frame: Vec<u8>,
        is_last: bool,
    },
    Manifest(Rc<[Value]>),
    /// So many bytes of an open file, in frames of [`DATA_BYTES_MAX`].
    File {
        file: FileId,
        offset: u64,
        left_bytes: u64,
    },
}

#[derive(Debug)]
struct FrameInProgress {
    bulk: Bulk,
    is_large: bool,
    /// The head of the frame, or all of it.
    head: Outbox,
    /// How much of the payload of this frame is still to be sent, and was sent.
    left_bytes: u32,
    sent_bytes: u32,
    has_begun: bool,
}

impl Sending {
    /// Appends a frame that goes before all payload.
    pub(super) fn push(&mut self, message: &SessionMessage) {
        self.short.push_unbounded(|out| message.encode(out));
    }

    /// Appends an answer with payload; `is_large` if it is a file of several blocks.
    pub(super) fn push_bulk(&mut self, bulk: Bulk, is_large: bool) {
        let queue = if is_large { &mut self.large } else { &mut self.small };
        queue.push_back(bulk);
        self.frame_next();
    }

    /// Drops the rest of an answer, but for a frame that has begun.
    pub(super) fn drop_answer(&mut self, req: u32) {
        self.large.retain(|bulk| bulk.req != req);
        self.small.retain(|bulk| bulk.req != req);
        if let Some(frame) = self.frame.take_if(|frame| frame.bulk.req == req) {
            self.frame = frame.has_begun.then(|| frame.alone());
        }
        self.frame_next();
    }

    /// Drops all payload. Returns whether short frames can still be sent: they cannot within a
    /// frame that has begun.
    pub(super) fn drop_payload(&mut self) -> bool {
        self.large.clear();
        self.small.clear();
        self.frame.take().is_none_or(|frame| !frame.has_begun)
    }

    /// Returns whether a frame of this answer has begun and is not sent whole.
    pub(super) fn is_sending(&self, req: u32) -> bool {
        self.frame.as_ref().is_some_and(|frame| frame.bulk.req == req && frame.has_begun)
    }

    /// Returns how many bytes of short frames wait.
    pub(super) fn short_bytes(&self) -> usize {
        self.short.pending().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.short.is_empty() && self.frame.is_none()
    }

    /// Returns what to send next.
    pub(super) fn transmit(&self) -> Option<Transmit<'_>> {
        let frame = self.frame.as_ref();
        match frame.filter(|frame| frame.has_begun || self.short.is_empty()) {
            Some(frame) => frame.transmit(),
            None => self.short.transmit(frame.is_some()),
        }
    }

    /// Removes the bytes that the socket took. Returns the request whose page, manifest or data
    /// is sent whole with them, and whether that is all of its answer.
    pub(super) fn transmitted(&mut self, len_bytes: usize) -> Option<(u32, bool)> {
        let in_frame = self.frame.take_if(|frame| frame.has_begun || self.short.is_empty());
        let Some(mut frame) = in_frame else {
            self.short.advance(len_bytes);
            return None;
        };
        frame.transmitted(len_bytes);
        if !frame.is_sent() {
            self.frame = Some(frame);
            return None;
        }
        let sent = (frame.bulk.req, frame.bulk.is_last());
        let rest = frame.bulk.after(frame.sent_bytes);
        let is_whole = rest.is_none();
        let queue = if frame.is_large { &mut self.large } else { &mut self.small };
        rest.into_iter().for_each(|rest| queue.push_front(rest));
        self.frame_next();
        is_whole.then_some(sent)
    }

    /// Frames the next piece, if none is in progress.
    fn frame_next(&mut self) {
        if self.frame.is_some() {
            return;
        }
        let is_large = self.is_large_next && !self.large.is_empty() || self.small.is_empty();
        let next = if is_large { self.large.pop_front() } else { self.small.pop_front() };
        if let Some(bulk) = next {
            self.is_large_next = !is_large;
            self.frame = Some(FrameInProgress::new(bulk, is_large));
        }
    }
}

impl Bulk {
    /// Returns a page, whose request is over with it if it `is_last`.
    pub(super) fn page(
        req: u32,
        page: &Page,
        fetch_list: bool,
        entries: &[Entry],
        is_last: bool,
    ) -> Self {
        let mut frame = Vec::new();
        SessionMessage::Page {
            req,
            generation: page.generation,
            complete: page.complete,
            discard: page.discard,
            fetch_list,
            all_listed: page.all_listed,
            count: entries.len() as u16,
            entries_bytes: entries.iter().map(Entry::len_bytes).sum::<usize>() as u32,
        }
        .encode(&mut frame);
        entries.iter().for_each(|entry| entry.encode(&mut frame));
        Self { req, payload: Payload::Page { frame, is_last } }
    }

    fn is_last(&self) -> bool {
        match self.payload {
            Payload::Page { is_last, .. } => is_last,
            Payload::Manifest(_) | Payload::File { .. } => true,
        }
    }

    /// Returns what is left behind so many bytes of a file; nothing of anything else.
    fn after(self, sent_bytes: u32) -> Option<Self> {
        let Payload::File { file, offset, left_bytes } = self.payload else { return None };
        let left_bytes = left_bytes.saturating_sub(sent_bytes.into());
        let offset = offset + u64::from(sent_bytes);
        (left_bytes > 0)
            .then_some(Self { req: self.req, payload: Payload::File { file, offset, left_bytes } })
    }
}

impl FrameInProgress {
    fn new(bulk: Bulk, is_large: bool) -> Self {
        let (req, mut head, mut left_bytes) = (bulk.req, Outbox::default(), 0);
        match &bulk.payload {
            Payload::Page { frame, .. } => head.push_unbounded(|out| out.extend_from_slice(frame)),
            Payload::Manifest(values) => {
                left_bytes = values.as_flattened().len() as u32;
                let values = values.len() as u32;
                head.push(|out| SessionMessage::Manifest { req, values }.encode(out));
            }
            Payload::File { left_bytes: file_bytes, .. } => {
                left_bytes = (*file_bytes).min(DATA_BYTES_MAX.into()) as u32;
                let data_bytes = left_bytes;
                head.push(|out| SessionMessage::Data { req, data_bytes }.encode(out));
            }
        }
        Self { bulk, is_large, head, left_bytes, sent_bytes: 0, has_begun: false }
    }

    /// Returns this frame as the last one of its answer.
    fn alone(mut self) -> Self {
        if let Payload::File { left_bytes, .. } = &mut self.bulk.payload {
            *left_bytes = u64::from(self.sent_bytes + self.left_bytes);
        }
        self
    }

    fn is_sent(&self) -> bool {
        self.head.is_empty() && self.left_bytes == 0
    }

    fn transmit(&self) -> Option<Transmit<'_>> {
        let payload = match &self.bulk.payload {
            _ if self.left_bytes == 0 => None,
            Payload::Page { .. } => None,
            Payload::Manifest(values) => {
                let bytes = values.as_flattened().get(self.sent_bytes as usize..);
                bytes.map(|bytes| Transmit::Bytes { bytes, more: false })
            }
            Payload::File { file, offset, .. } => Some(Transmit::File {
                file: *file,
                offset: offset + u64::from(self.sent_bytes),
                len_bytes: self.left_bytes,
            }),
        };
        self.head.transmit(payload.is_some()).or(payload)
    }

    fn transmitted(&mut self, len_bytes: usize) {
        self.has_begun = true;
        if self.head.is_empty() {
            self.left_bytes = self.left_bytes.saturating_sub(len_bytes as u32);
            self.sent_bytes += len_bytes as u32;
        } else {
            self.head.advance(len_bytes);
        }
    }
}
