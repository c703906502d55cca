//! What we asked on a session, and what may be answered.
//!
//! An answer that nothing awaits is a fault of the other side, unless its request is over: then
//! it is skipped, up to a bound.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::events::{Page, SessionEvent};
use super::requests::{Request, Requests};
use crate::limits::{RATE_WINDOW, STRAY_BYTES_MAX};
use crate::proto::close_reason::CloseReason;
use crate::proto::progress::Progress;
use crate::wire::v1::{Entry, PageReader, SessionMessage};
use crate::wire::{FilePath, Kind as _, Malformed, Message as _};

/// The open requests of ours.
#[derive(Debug)]
pub(super) struct Asking {
    open: Requests<Awaited>,
    /// The frame whose payload is coming in.
    payload: Incoming,
    /// Bytes for requests that are over, since the last one for an open one.
    stray_bytes: u64,
    progress_timeout: Duration,
    /// While an answer with payload is awaited.
    pub(super) receiving: Option<Progress>,
}

/// What is awaited for a request of ours.
#[derive(Debug)]
enum Awaited {
    Pages {
        path: Option<FilePath>,
        watch: bool,
        hash_first: bool,
        fetch_list: bool,
        /// How far the last page reached.
        generation: u64,
        /// Whether the server has listed all and is hashing.
        all_listed: bool,
        /// Whether nothing newer existed once.
        complete: bool,
    },
    /// Which blocks are held.
    Held,
    /// Which more are held.
    MoreHeld,
    Manifest,
    Turn,
    Data {
        left_bytes: u64,
    },
}

impl Awaited {
    fn of(request: &Request) -> Self {
        match request {
            Request::List { path, watch, hash_first, fetch_list, .. } => Self::Pages {
                path: path.clone(),
                watch: *watch,
                hash_first: *hash_first,
                fetch_list: *fetch_list,
                generation: 0,
                all_listed: false,
                complete: false,
            },
            Request::Blocks(_) => Self::Held,
            Request::Manifest(_) => Self::Manifest,
            Request::Wait(_) => Self::Turn,
            Request::Get { content, first, count, .. } => {
                let end = first.saturating_add(*count).saturating_sub(1);
                let left_bytes = content.block_range(end).end - content.block_range(*first).start;
                Self::Data { left_bytes }
            }
        }
    }

    /// Returns whether the answer has to come at the minimum rate.
    fn is_timed(&self) -> bool {
        match self {
            Self::Pages { hash_first, all_listed, complete, .. } => {
                !(*complete || *hash_first && *all_listed)
            }
            Self::Manifest | Self::Data { .. } => true,
            Self::Held | Self::MoreHeld | Self::Turn => false,
        }
    }
}

/// Where the payload that is coming in belongs.
#[derive(Debug)]
enum Incoming {
    /// Nowhere: it is skipped.
    Ignored,
    Page {
        req: u32,
        page: Page,
        complete: bool,
        reader: PageReader,
    },
    Manifest {
        req: u32,
        bytes: Vec<u8>,
    },
    Data {
        req: u32,
    },
}

impl Asking {
    pub(super) fn new(progress_timeout: Duration) -> Self {
        Self {
            open: Requests::default(),
            payload: Incoming::Ignored,
            stray_bytes: 0,
            progress_timeout,
            receiving: None,
        }
    }

    /// Opens a request. Returns its number; `None` if as many are open as may be.
    pub(super) fn insert(&mut self, now: Instant, request: &Request) -> Option<u32> {
        let kind = request.kind();
        if !self.open.has_room(kind) {
            return None;
        }
        let (req, awaited) = (self.open.next_number()?, Awaited::of(request));
        if awaited.is_timed() && self.receiving.is_none() {
            self.receiving = Some(Progress::new(now, self.progress_timeout, RATE_WINDOW));
        }
        self.open.insert(req, kind, awaited);
        Some(req)
    }

    /// Ends a request. Returns whether it was ever made.
    pub(super) fn cancel(&mut self, req: u32) -> bool {
        self.end(req);
        self.open.is_known(req)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn end(&mut self, req: u32) {
        self.open.remove(req);
        self.time();
    }

    /// Stops the deadlines if no answer has to come.
    fn time(&mut self) {
        if !self.open.kept().any(Awaited::is_timed) {
            self.receiving = None;
        }
    }

    /// Takes an answer, or its head.
    ///
    /// # Errors
    /// If nothing like it is awaited.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        answer: SessionMessage,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let (kind, payload_bytes) = (answer.kind(), answer.payload_bytes());
        self.payload = Incoming::Ignored;
        let Some(req) = answer.req() else { return Ok(None) };
        let Some(awaited) = self.open.get_mut(req) else {
            return self.on_stray(req, payload_bytes).map(|()| None);
        };
        self.stray_bytes = 0;
        if awaited.is_timed()
            && let Some(progress) = &mut self.receiving
        {
            progress.moved(now, 0);
        }
        let event = match (awaited, answer) {
            (_, SessionMessage::Error { error, wait_ms, text, .. }) => {
                self.end(req);
                SessionEvent::Failed { req, error, wait_ms, text }
            }
            (
                Awaited::Pages {
                    fetch_list: asked, generation: reached, all_listed: listed, ..
                },
                SessionMessage::Page {
                    generation,
                    complete,
                    discard,
                    fetch_list,
                    all_listed,
                    count,
                    ..
                },
            ) => {
                if *asked != fetch_list || generation < *reached && !discard {
                    return Err(CloseReason::Malformed(Malformed::Generation));
                }
                (*reached, *listed) = (generation, *listed || all_listed);
                let page = Page { generation, discard, all_listed, complete: false };
                let reader = PageReader::new(count);
                self.payload = Incoming::Page { req, page, complete, reader };
                return match payload_bytes {
                    0 => self.on_page(&[], true),
                    _ => Ok(None),
                };
            }
            (awaited @ Awaited::Held, SessionMessage::Held { size_bytes, blocks, .. }) => {
                *awaited = Awaited::MoreHeld;
                SessionEvent::Held { req, size_bytes, blocks }
            }
            (Awaited::MoreHeld, SessionMessage::MoreHeld { blocks, .. }) => {
                SessionEvent::MoreHeld { req, blocks }
            }
            (Awaited::Manifest, SessionMessage::Manifest { .. }) => {
                self.payload = Incoming::Manifest { req, bytes: Vec::new() };
                return Ok(None);
            }
            (Awaited::Turn, SessionMessage::Turn { blocks, .. }) => {
                self.end(req);
                SessionEvent::Turn { req, blocks }
            }
            (Awaited::Data { left_bytes }, SessionMessage::Data { data_bytes, .. })
                if *left_bytes >= u64::from(data_bytes) =>
            {
                self.payload = Incoming::Data { req };
                return Ok(None);
            }
            _ => {
                let expected = "the answer to a request";
                return Err(CloseReason::PeerViolated { expected, got: kind.term() });
            }
        };
        Ok(Some(event))
    }

    /// Counts a frame for a request that is over.
    fn on_stray(&mut self, req: u32, payload_bytes: u32) -> Result<(), CloseReason> {
        if !self.open.is_known(req) {
            return Err(CloseReason::Malformed(Malformed::Request { got: req }));
        }
        self.stray_bytes += u64::from(payload_bytes) + 1;
        match self.stray_bytes <= STRAY_BYTES_MAX {
            true => Ok(()),
            false => Err(CloseReason::PeerViolated {
                expected: "the answer to a request",
                got: "answers to requests that are over",
            }),
        }
    }

    /// Takes payload of the last answer, as a range of what was received.
    ///
    /// # Errors
    /// If a page is malformed.
    pub(super) fn handle_payload(
        &mut self,
        now: Instant,
        bytes: &[u8],
        range: Range<usize>,
        is_last: bool,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let piece = bytes.get(range.clone()).unwrap_or_default();
        let (Incoming::Page { req, .. } | Incoming::Manifest { req, .. } | Incoming::Data { req }) =
            self.payload
        else {
            return Ok(None);
        };
        let Some(awaited) = self.open.get_mut(req) else {
            // It was cancelled within the frame.
            if is_last {
                self.payload = Incoming::Ignored;
            }
            return Ok(None);
        };
        if let Some(progress) = &mut self.receiving {
            progress.moved(now, range.len());
        }
        let event = match (&mut self.payload, awaited) {
            (Incoming::Page { .. }, _) => self.on_page(piece, is_last)?,
            (Incoming::Manifest { bytes, .. }, _) => {
                bytes.extend_from_slice(piece);
                let values = bytes.as_chunks().0;
                let manifest =
                    is_last.then(|| SessionEvent::Manifest { req, values: values.to_vec() });
                if is_last {
                    self.end(req);
                }
                manifest
            }
            (Incoming::Data { .. }, Awaited::Data { left_bytes }) => {
                *left_bytes -= (range.len() as u64).min(*left_bytes);
                let is_whole = *left_bytes == 0;
                if is_whole {
                    self.end(req);
                }
                Some(SessionEvent::Data { req, range, is_last: is_whole })
            }
            (Incoming::Data { .. } | Incoming::Ignored, _) => None,
        };
        if is_last {
            self.payload = Incoming::Ignored;
        }
        Ok(event)
    }

    fn on_page(
        &mut self,
        piece: &[u8],
        is_last: bool,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let Incoming::Page { req, page, complete, reader } = &mut self.payload else {
            return Ok(None);
        };
        let (req, mut now_read) = (*req, *page);
        page.discard = false;
        let (mut entries, mut at) = (Vec::new(), 0);
        while let Some(entry) = reader.next(piece, &mut at).map_err(CloseReason::Malformed)? {
            entries.push(entry);
        }
        if is_last {
            reader.end().map_err(CloseReason::Malformed)?;
            now_read.complete = *complete;
            self.payload = Incoming::Ignored;
        }
        let Some(Awaited::Pages { path, watch, complete, .. }) = self.open.get_mut(req) else {
            return Ok(None);
        };
        *complete |= now_read.complete;
        let is_within = |entry: &Entry| path.as_ref().is_none_or(|root| entry.path.is_below(root));
        if !entries.iter().all(is_within) {
            return Err(CloseReason::Malformed(Malformed::EntryOutside));
        }
        match now_read.complete && !*watch {
            true => self.end(req),
            false => self.time(),
        }
        Ok(Some(SessionEvent::Page { req, page: now_read, entries }))
    }
}
