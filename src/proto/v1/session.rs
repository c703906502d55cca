//! One session between two peers. Both sides may request and answer, whichever dialed.
//!
//! ```text
//!   dialed:    ExpectHello ── Hello ──────────────────────▶ Open ─┐ every other frame
//!              (our hello is sent first)                     ▲ └──┘
//!   accepted:  ExpectHello ── Hello ─────────────────────────┘
//!              (our hello is sent after the first two bytes)
//!
//!   any state ── violation, deadline, their end of the session ──▶ Closed
//! ```
//!
//! The machine keeps the books of what is open: of what we asked in [`Asking`], of what the
//! other side asked here. It knows no file and no catalog: its node answers what is requested,
//! and learns what is answered.
//!
//! A session that breaks the rules is told so once our hello is sent: the error follows it as
//! far as the socket takes it.

use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use super::asking::Asking;
use super::events::{Page, SessionEvent, SessionSettings, SessionState};
use super::requests::{Answering, Request, Requests};
use super::sending::{Bulk, Payload, Sending};
use crate::content::{BlockSet, Content};
use crate::limits::{
    ANSWERS_BYTES_MAX, DATA_HEAD_BYTES, DIALED_HELLO_TIMEOUT, HELLO_TIMEOUT, Limits,
    UPLOAD_RATE_WINDOW, WHOLE_CHUNK_READ_BYTES_MIN,
};
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::inbox::Inbox;
use crate::proto::progress::Progress;
use crate::proto::table::State as _;
use crate::proto::{FileId, Transmit};
use crate::wire::v1::{Entry, SessionError, SessionMessage, SessionMessageKind, Value, Verdict};
use crate::wire::{Frame, Malformed};

/// The type of a hello, and the first byte of its length, which is below 2^24.
const FIRST_BYTES: [u8; 2] = [b'H', 0];
/// The version that this machine speaks.
const VERSION: u8 = 1;

/// One end of a session.
#[derive(Debug)]
pub struct Session {
    limits: Rc<Limits>,
    our: Rc<SessionSettings>,
    state: State,
    inbox: Inbox<SessionMessage>,
    sending: Sending,
    asking: Asking,
    theirs: Requests<Answering>,
    /// While anything is to be sent.
    sent: Option<Progress>,
    /// When nothing was open any more.
    idle_since: Instant,
}

#[derive(Debug)]
enum State {
    ExpectHello {
        deadline: Instant,
        /// How many of the first two bytes are to come before our hello is sent: they tell that
        /// it is a session, and no request of another protocol.
        first_bytes_left: usize,
    },
    Open,
    Closed,
}

impl Session {
    /// Returns the machine of a connection that was dialed or accepted.
    pub fn new(
        now: Instant,
        limits: &Rc<Limits>,
        our: &Rc<SessionSettings>,
        is_dialed: bool,
    ) -> Self {
        let timeout = if is_dialed { DIALED_HELLO_TIMEOUT } else { HELLO_TIMEOUT };
        let mut session = Self {
            limits: Rc::clone(limits),
            our: Rc::clone(our),
            state: State::ExpectHello {
                deadline: now + timeout,
                first_bytes_left: if is_dialed { 0 } else { FIRST_BYTES.len() },
            },
            inbox: Inbox::default(),
            sending: Sending::default(),
            asking: Asking::new(limits.progress_timeout),
            theirs: Requests::default(),
            sent: None,
            idle_since: now,
        };
        if is_dialed {
            session.push_hello(now);
        }
        session
    }

    fn push_hello(&mut self, now: Instant) {
        let SessionSettings { peer, instance, name } = *self.our;
        self.push(
            now,
            &SessionMessage::Hello { version: VERSION, peer, instance, name, ignored_bytes: 0 },
        );
    }

    /// Returns the next event that `bytes` from `*at` on lead to, and moves `*at` behind them;
    /// returns `None` when they are used up.
    ///
    /// # Errors
    /// If they are no frame, or one that is not legal here, or the other side ends the session.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let rest = bytes.get(*at..).unwrap_or_default();
        let event = self.on_first_bytes(now, rest).and_then(|()| self.next_event(now, bytes, at));
        if let Err(reason) = event {
            self.end(now, reason);
        }
        event
    }

    /// Sends our hello once the first bytes of an accepted connection are those of one.
    fn on_first_bytes(&mut self, now: Instant, bytes: &[u8]) -> Result<(), CloseReason> {
        let State::ExpectHello { first_bytes_left, .. } = &mut self.state else { return Ok(()) };
        let due = FIRST_BYTES.iter().rev().take(*first_bytes_left).rev();
        if let Some((_, &got)) = due.zip(bytes).find(|(due, got)| due != got) {
            let kind = SessionMessageKind::of_first_byte(got);
            return Err(SessionState::ExpectHello.violation(kind));
        }
        let is_due = *first_bytes_left > 0;
        *first_bytes_left = first_bytes_left.saturating_sub(bytes.len());
        if is_due && *first_bytes_left == 0 {
            self.push_hello(now);
        }
        Ok(())
    }

    fn next_event(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        loop {
            let event = match self.inbox.next(now, bytes, at)? {
                Some(Frame::Message(message)) => self.on_message(now, message)?,
                Some(Frame::Payload { range, last }) => {
                    self.asking.handle_payload(now, bytes, range, last)?
                }
                None => return Ok(None),
            };
            if event.is_some() {
                self.idle_since = now;
                return Ok(event);
            }
        }
    }

    fn on_message(
        &mut self,
        now: Instant,
        message: SessionMessage,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let (state, kind) = (self.state(), message.kind());
        let event = match (&self.state, message) {
            (State::ExpectHello { .. }, SessionMessage::Hello { peer, instance, name, .. }) => {
                self.on_hello(now, instance)?;
                Some(SessionEvent::Hello { peer, instance, name })
            }
            (State::Open, SessionMessage::Hello { .. }) => return Err(state.violation(kind)),
            (State::Open, message) => self.on_frame(now, message)?,
            _ => return Err(state.violation(kind)),
        };
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(event)
    }

    fn on_hello(&mut self, now: Instant, instance: u64) -> Result<(), CloseReason> {
        if instance == self.our.instance {
            return Err(CloseReason::Ourselves);
        }
        (self.state, self.idle_since) = (State::Open, now);
        Ok(())
    }

    fn on_frame(
        &mut self,
        now: Instant,
        message: SessionMessage,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let request = match message {
            SessionMessage::List { req, since, path, watch, hash_first, fetch_list } => {
                (req, Request::List { since, path, watch, hash_first, fetch_list })
            }
            SessionMessage::Blocks { req, id } => (req, Request::Blocks(id)),
            SessionMessage::GetManifest { req, content } => (req, Request::Manifest(content)),
            SessionMessage::Wait { req, content } => (req, Request::Wait(content)),
            SessionMessage::Get { req, turn, content, first, count } => {
                (req, Request::Get { turn, content, first, count })
            }
            SessionMessage::Cancel { req } => {
                let was_open = self.theirs.remove(req).is_some();
                self.sending.drop_answer(req);
                return match was_open || self.theirs.is_known(req) {
                    true => Ok(was_open.then_some(SessionEvent::Cancelled { req })),
                    false => Err(CloseReason::Malformed(Malformed::Request { got: req })),
                };
            }
            SessionMessage::Unknown { req: Some(req), .. } => {
                self.number(req)?;
                self.refuse(now, req, SessionError::NotUnderstood, 0, "unknown request");
                return Ok(None);
            }
            SessionMessage::Unknown { req: None, .. } => return Ok(None),
            SessionMessage::Verdict { content, verdict } => {
                let is_known = !matches!(verdict, Verdict::Other(_));
                return Ok(is_known.then_some(SessionEvent::Verdict { content, verdict }));
            }
            SessionMessage::Error { req: 0, error, .. } => {
                return Err(CloseReason::EndedByPeer(error));
            }
            answer => return self.asking.handle_answer(now, answer),
        };
        self.on_request(now, request.0, request.1)
    }

    /// Takes a number that the other side chose for its request.
    fn number(&mut self, req: u32) -> Result<(), CloseReason> {
        match self.theirs.number(req) {
            true => Ok(()),
            false => Err(CloseReason::Malformed(Malformed::Request { got: req })),
        }
    }

    fn on_request(
        &mut self,
        now: Instant,
        req: u32,
        request: Request,
    ) -> Result<Option<SessionEvent>, CloseReason> {
        self.number(req)?;
        let kind = request.kind();
        if !self.has_room_for_answers() || !self.theirs.has_room(kind) {
            self.refuse(now, req, SessionError::Busy, 1_000, "too many requests");
            return Ok(None);
        }
        if let Request::Get { content, first, count, .. } = &request {
            let end = first.checked_add(*count);
            if *count == 0 || end.is_none_or(|end| end > content.blocks()) {
                self.refuse(now, req, SessionError::NotUnderstood, 0, "no such blocks");
                return Ok(None);
            }
        }
        self.theirs.insert(req, kind, Answering::of(&request));
        Ok(Some(SessionEvent::Requested { req, request }))
    }

    /// Requests something. Returns the number of the request; `None` before our hello is sent, or
    /// if as many are open as may be.
    pub fn request(&mut self, now: Instant, request: &Request) -> Option<u32> {
        if !self.is_hello_sent() {
            return None;
        }
        let req = self.asking.insert(now, request)?;
        self.push(now, &request.message(req));
        Some(req)
    }

    /// Cancels a request of ours, or gives a turn back.
    pub fn cancel(&mut self, now: Instant, req: u32) {
        if self.asking.cancel(req) {
            self.idle_since = now;
            self.push(now, &SessionMessage::Cancel { req });
        }
    }

    /// Tells what became of bytes that came.
    pub fn tell(&mut self, now: Instant, content: Content, verdict: Verdict) {
        self.push(now, &SessionMessage::Verdict { content, verdict });
    }

    /// Answers a list with a page, once the one before is sent: see [`Session::transmitted`]. The
    /// request is over with one that is complete, unless it watches.
    pub fn answer_page(
        &mut self,
        now: Instant,
        req: u32,
        page: Page,
        fetch_list: bool,
        entries: &[Entry],
    ) {
        let ends = self.theirs.get_mut(req) == Some(&mut Answering::UntilAnswered);
        let bulk = Bulk::page(req, &page, fetch_list, entries, page.complete && ends);
        self.push_bulk(now, bulk, false);
    }

    /// Answers which blocks are held.
    pub fn answer_held(&mut self, now: Instant, req: u32, size_bytes: u64, blocks: BlockSet) {
        self.answer(now, req, |req| SessionMessage::Held { req, size_bytes, blocks });
    }

    /// Tells that more blocks are held, at most [`MORE_HELD_MAX`](crate::limits::MORE_HELD_MAX).
    pub fn answer_more_held(&mut self, now: Instant, req: u32, blocks: Vec<u32>) {
        self.answer(now, req, |req| SessionMessage::MoreHeld { req, blocks });
    }

    /// Returns whether more may be answered that was not just requested.
    pub fn has_room_for_answers(&self) -> bool {
        self.sending.short_bytes() < ANSWERS_BYTES_MAX
    }

    /// Answers with a turn of so many blocks, at least 1.
    pub fn answer_turn(&mut self, now: Instant, req: u32, blocks: u32) {
        self.answer(now, req, |req| SessionMessage::Turn { req, blocks });
    }

    /// Answers with the values of all blocks.
    pub fn answer_manifest(&mut self, now: Instant, req: u32, values: Rc<[Value]>) {
        self.push_bulk(now, Bulk { req, payload: Payload::Manifest(values) }, false);
    }

    /// Answers with a range of an open file, which is needed until the request is over.
    pub fn answer_data(
        &mut self,
        now: Instant,
        req: u32,
        file: FileId,
        range: Range<u64>,
        is_large: bool,
    ) {
        let left_bytes = range.end - range.start;
        let payload = Payload::File { file, offset: range.start, left_bytes };
        self.push_bulk(now, Bulk { req, payload }, is_large);
    }

    fn answer(&mut self, now: Instant, req: u32, message: impl FnOnce(u32) -> SessionMessage) {
        if self.theirs.get_mut(req).is_some() {
            self.push(now, &message(req));
        }
    }

    /// Ends a request of theirs with an error.
    pub fn refuse(
        &mut self,
        now: Instant,
        req: u32,
        error: SessionError,
        wait_ms: u32,
        text: &str,
    ) {
        self.end_theirs(now, req);
        self.sending.drop_answer(req);
        self.push(now, &SessionMessage::Error { req, error, wait_ms, text: text.into() });
    }

    /// Ends a request of theirs that nothing else ends: its turn is used or expired.
    pub fn end_theirs(&mut self, now: Instant, req: u32) {
        self.theirs.remove(req);
        self.idle_since = now;
    }

    fn push(&mut self, now: Instant, message: &SessionMessage) {
        self.sending.push(message);
        self.watch_sending(now);
    }

    fn push_bulk(&mut self, now: Instant, bulk: Bulk, is_large: bool) {
        if self.theirs.get_mut(bulk.req).is_some() {
            self.sending.push_bulk(bulk, is_large);
            self.watch_sending(now);
        }
    }

    fn watch_sending(&mut self, now: Instant) {
        let timeout = self.limits.upload_timeout();
        self.sent.get_or_insert_with(|| Progress::new(now, timeout, UPLOAD_RATE_WINDOW));
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.sending.transmit()
    }

    /// Removes the bytes that the socket took from what is to be sent. Returns the request
    /// whose page, manifest or data is sent whole with them.
    pub fn transmitted(&mut self, now: Instant, len_bytes: usize) -> Option<u32> {
        let sent = self.sending.transmitted(len_bytes);
        if let Some((req, true)) = sent
            && self.theirs.get_mut(req) == Some(&mut Answering::UntilAnswered)
        {
            self.end_theirs(now, req);
        }
        if let Some(progress) = &mut self.sent {
            progress.moved(now, len_bytes);
        }
        if self.sending.is_empty() {
            (self.sent, self.idle_since) = (None, now);
        }
        sent.map(|(req, _)| req)
    }

    /// The hello may come until then.
    pub fn await_hello_until(&mut self, at: Instant) {
        if let State::ExpectHello { deadline, .. } = &mut self.state {
            *deadline = at;
        }
    }

    /// Bytes of an answer came, but not yet enough of them to be opened.
    pub fn note_coming(&mut self, now: Instant, len_bytes: usize) {
        self.asking.receiving.iter_mut().for_each(|progress| progress.moved(now, len_bytes));
    }

    /// What is to be sent waits for a rate that the user has set.
    pub fn held_back_sending(&mut self, now: Instant) {
        self.sent.iter_mut().for_each(|progress| progress.held_back(now));
    }

    /// What comes waits for such a rate.
    pub fn held_back_receiving(&mut self, now: Instant) {
        self.asking.receiving.iter_mut().for_each(|progress| progress.held_back(now));
    }

    /// Returns whether a frame of this answer has begun and is not whole.
    pub fn is_sending(&self, req: u32) -> bool {
        self.sending.is_sending(req)
    }

    /// Returns how many bytes may be read now, so that what they cause to be answered is bounded:
    /// at most four bytes for each, and nothing for payload. A read of a large payload ends behind
    /// the next head: so the data of the next frame begins a read, and is written as a whole.
    pub fn read_allowance_bytes(&self) -> usize {
        let room_bytes = (2 * ANSWERS_BYTES_MAX).saturating_sub(self.sending.short_bytes()) / 4;
        let payload_left_bytes = self.inbox.payload_left_bytes() as usize;
        match payload_left_bytes >= WHOLE_CHUNK_READ_BYTES_MIN && room_bytes >= DATA_HEAD_BYTES {
            true => payload_left_bytes + DATA_HEAD_BYTES,
            false => room_bytes,
        }
    }

    /// Returns when to call [`Session::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match &self.state {
            State::ExpectHello { deadline, .. } => Some(*deadline),
            State::Open => {
                let moving = self.progress().map(Progress::deadline).min();
                let idle = self.is_idle().then(|| self.idle_since + self.limits.idle_timeout);
                moving.into_iter().chain(idle).min()
            }
            State::Closed => return None,
        };
        self.inbox.deadline_or(of_state)
    }

    fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.asking.receiving.iter().chain(&self.sent)
    }

    fn is_idle(&self) -> bool {
        self.asking.is_empty() && self.theirs.is_empty() && self.sending.is_empty()
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// If one has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let idle_until = self.idle_since + self.limits.idle_timeout;
        let of_state = match &self.state {
            State::ExpectHello { deadline, .. } if now >= *deadline => {
                Err(CloseReason::TimedOut(Timer::Hello))
            }
            State::Open if self.is_idle() && now >= idle_until => {
                Err(CloseReason::TimedOut(Timer::Idle))
            }
            _ => Ok(()),
        };
        let mut moving = self.asking.receiving.iter_mut().chain(&mut self.sent);
        let verdict = moving.try_for_each(|progress| progress.check(now));
        let verdict = self.inbox.check(now).and(of_state).and(verdict);
        if let Err(reason) = verdict {
            self.end(now, reason);
        }
        verdict
    }

    /// Ends the session; the other side is told why if it broke a rule.
    fn end(&mut self, now: Instant, reason: CloseReason) {
        if self.is_hello_sent() && reason.is_their_fault() {
            self.say_good_bye(now, SessionError::NotUnderstood);
        }
        self.state = State::Closed;
    }

    fn is_hello_sent(&self) -> bool {
        match self.state {
            State::ExpectHello { first_bytes_left, .. } => first_bytes_left == 0,
            State::Open => true,
            State::Closed => false,
        }
    }

    /// Ends the session, as this program stops: nothing is answered any more. Returns whether
    /// what it has to say can be sent.
    pub fn leave(&mut self, now: Instant) -> bool {
        let was_open = matches!(self.state, State::Open);
        self.state = State::Closed;
        self.theirs = Requests::default();
        let may_speak = self.sending.drop_payload() && was_open;
        if may_speak {
            self.say_good_bye(now, SessionError::GoingAway);
        }
        may_speak
    }

    fn say_good_bye(&mut self, now: Instant, error: SessionError) {
        self.push(now, &SessionMessage::Error { req: 0, error, wait_ms: 0, text: "".into() });
    }

    /// Returns its state.
    pub fn state(&self) -> SessionState {
        match self.state {
            State::ExpectHello { .. } => SessionState::ExpectHello,
            State::Open => SessionState::Open,
            State::Closed => SessionState::Closed,
        }
    }
}

#[cfg(test)]
mod tests;
