//! The registry's end of a client's connection.
//!
//! ```text
//!             respond(Registered)
//!  Anonymous ─────────────────────▶ Registered
//!   │     ▲                          │      ▲
//!   └─────┘                          └──────┘
//!   Lookup, Peers;                    Lookup, Peers
//!   a registration refused
//!
//!  any state ── violation, deadline ──▶ Closed
//! ```
//!
//! The first request has to begin in time, and each one to be whole in time; between them a
//! client that is not registered may be idle for a while, a registered one for ever. A list of
//! peers is long: requests behind one wait until all of it is sent.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use crate::limits::{Limits, REQUESTS_PER_READ};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::inbox::Inbox;
use crate::proto::outbox::Outbox;
use crate::proto::table::{self, Row, State as _};
use crate::wire::v0::{ListedPeer, RegistryRequest, RegistryRequestKind, RegistryResponse};
use crate::wire::{Frame, PeerId};

/// The registry's end of a client's connection.
#[derive(Debug)]
pub struct RegistrySession {
    limits: Rc<Limits>,
    state: State,
    /// Outlives the state: the entry is removed after the connection has failed.
    registered_as: Option<PeerId>,
    inbox: Inbox<RegistryRequest>,
    outbox: Outbox,
    /// Whether a list of peers is to be sent.
    is_listing: bool,
    /// What came behind a request for a list that is not yet sent; no more than one read allows.
    waiting: Vec<u8>,
}

/// The shortest request, a lookup: 6 bytes.
const REQUEST_BYTES_MIN: usize = 6;

/// The states of a [`RegistrySession`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// The client has no registration.
    Anonymous,
    /// The client has one.
    Registered,
    /// The connection is over.
    Closed,
}

impl table::State for SessionState {
    type Kind = RegistryRequestKind;

    const ALL: &'static [Self] = &[Self::Anonymous, Self::Registered, Self::Closed];

    /// One registration for each connection, and any number of lookups and lists, with or without
    /// it.
    fn row(self) -> Row<Self> {
        use RegistryRequestKind::{Lookup, Peers, Register};
        match self {
            Self::Anonymous => Row {
                expected: "a request",
                legal: &[
                    (Register, &[Self::Anonymous, Self::Registered]),
                    (Lookup, &[Self::Anonymous]),
                    (Peers, &[Self::Anonymous]),
                ],
            },
            Self::Registered => Row {
                expected: "a lookup or peers request",
                legal: &[(Lookup, &[Self::Registered]), (Peers, &[Self::Registered])],
            },
            Self::Closed => Row::silent("nothing"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Anonymous { deadline: Instant, timer: Timer },
    Registered,
    Closed,
}

impl RegistrySession {
    /// Returns the machine of a connection that was just accepted.
    pub fn new(now: Instant, limits: &Rc<Limits>) -> Self {
        let deadline = now + limits.first_byte_timeout;
        Self {
            limits: Rc::clone(limits),
            state: State::Anonymous { deadline, timer: Timer::FirstByte },
            registered_as: None,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            is_listing: false,
            waiting: Vec::new(),
        }
    }

    /// Returns the next request in `bytes` from `*at` on, to be answered before the one after
    /// it, and moves `*at` behind it; returns `None` when they are used up. Bytes behind a
    /// request for a list wait, see [`RegistrySession::take_waiting`].
    ///
    /// # Errors
    /// If they are no request, or one that is not legal here.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<RegistryRequest>, CloseReason> {
        if let State::Anonymous { timer: Timer::FirstByte, .. } = self.state {
            self.expect_next(now);
        }
        if self.is_listing {
            self.waiting.extend_from_slice(bytes.get(*at..).unwrap_or_default());
            *at = bytes.len();
            return Ok(None);
        }
        match self.inbox.next(now, bytes, at) {
            Ok(Some(Frame::Message(request))) => self.on_request(now, request).map(Some),
            Ok(None | Some(Frame::Payload { .. })) => Ok(None),
            Err(reason) => {
                self.state = State::Closed;
                Err(reason)
            }
        }
    }

    fn on_request(
        &mut self,
        now: Instant,
        request: RegistryRequest,
    ) -> Result<RegistryRequest, CloseReason> {
        let state = self.state();
        self.state = match (mem::replace(&mut self.state, State::Closed), &request) {
            (old @ State::Anonymous { .. }, RegistryRequest::Register { .. })
            | (
                old @ (State::Anonymous { .. } | State::Registered),
                RegistryRequest::Lookup(_) | RegistryRequest::Peers { .. },
            ) => old,
            _ => return Err(state.violation(request.kind())),
        };
        debug_assert!(state.next(request.kind()).contains(&self.state()));
        self.expect_next(now);
        Ok(request)
    }

    /// Begins the wait for the next request.
    fn expect_next(&mut self, now: Instant) {
        if let State::Anonymous { deadline, timer } = &mut self.state {
            (*deadline, *timer) = (now + self.limits.idle_timeout, Timer::Idle);
        }
    }

    /// Answers a lookup, or refuses a registration.
    pub fn respond(&mut self, response: &RegistryResponse) {
        self.outbox.push(|out| response.encode(out));
    }

    /// Answers a peers request, with the peers by their ids in ascending order.
    pub fn list(&mut self, peers: &[ListedPeer]) {
        self.is_listing = true;
        self.respond(&RegistryResponse::Peers { count: peers.len() as u32 });
        self.outbox.push(|out| peers.iter().for_each(|peer| peer.encode(out)));
    }

    /// Returns whether a list is to be sent.
    pub fn is_listing(&self) -> bool {
        self.is_listing
    }

    /// Returns the bytes that wait, once the list before them is sent: they are to be handled as
    /// if they had just come.
    pub fn take_waiting(&mut self) -> Option<Vec<u8>> {
        (!self.is_listing && !self.waiting.is_empty()).then(|| mem::take(&mut self.waiting))
    }

    /// Answers a registration: the client is registered as `peer`.
    pub fn accept_registration(&mut self, peer: PeerId) {
        debug_assert_eq!(self.state(), SessionState::Anonymous);
        if let State::Anonymous { .. } = self.state {
            self.state = State::Registered;
            self.registered_as = Some(peer);
            self.respond(&RegistryResponse::Registered(true));
        }
    }

    /// Returns the peer that the client was registered as, also after the connection has
    /// failed.
    pub fn registered_as(&self) -> Option<PeerId> {
        self.registered_as
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// Removes the bytes that the socket took from what is to be sent.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
        if self.outbox.is_empty() {
            self.is_listing = false;
            self.outbox.free();
        }
    }

    /// Returns how many bytes may be read: none before the last answers are sent, so that a
    /// client that does not read them keeps at most [`REQUESTS_PER_READ`] of them in memory.
    pub fn read_allowance_bytes(&self) -> usize {
        if self.outbox.is_empty() { REQUESTS_PER_READ * REQUEST_BYTES_MIN } else { 0 }
    }

    /// Returns when to call [`RegistrySession::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match self.state {
            State::Anonymous { deadline, .. } => Some(deadline),
            State::Registered => None,
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
        let state = mem::replace(&mut self.state, State::Closed);
        self.inbox.check(now)?;
        match state {
            State::Anonymous { timer, .. } => Err(CloseReason::TimedOut(timer)),
            State::Registered | State::Closed => Ok(()),
        }
    }

    /// Returns its state.
    pub fn state(&self) -> SessionState {
        match self.state {
            State::Anonymous { .. } => SessionState::Anonymous,
            State::Registered => SessionState::Registered,
            State::Closed => SessionState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::HEAD_TIMEOUT;
    use crate::wire::FieldText;

    fn lookup() -> Vec<u8> {
        let mut bytes = Vec::new();
        RegistryRequest::Lookup(PeerId(2)).encode(&mut bytes);
        bytes
    }

    #[test]
    fn nothing_is_read_until_the_last_byte_of_an_answer_is_sent() {
        let now = Instant::now();
        let mut session = RegistrySession::new(now, &Rc::new(Limits::REGISTRY));
        assert_eq!(session.read_allowance_bytes(), REQUESTS_PER_READ * REQUEST_BYTES_MIN);
        assert!(session.handle_bytes(now, &lookup(), &mut 0).unwrap().is_some());
        session.respond(&RegistryResponse::Error(FieldText::new("no")));
        while let Some(Transmit::Bytes { bytes, .. }) = session.transmit() {
            assert_eq!(session.read_allowance_bytes(), 0, "{} bytes are unsent", bytes.len());
            session.transmitted(1);
        }
        assert_eq!(session.read_allowance_bytes(), REQUESTS_PER_READ * REQUEST_BYTES_MIN);
    }

    #[test]
    fn the_first_byte_has_a_deadline_and_the_request_that_it_begins_has_another() {
        let begin = Instant::now();
        let limits = Rc::new(Limits::REGISTRY);
        let first_byte_at = begin + limits.first_byte_timeout;
        let mut silent = RegistrySession::new(begin, &limits);
        assert_eq!(silent.poll_timeout(), Some(first_byte_at));
        assert_eq!(silent.handle_timeout(first_byte_at - Duration::from_nanos(1)), Ok(()));
        let timed_out = Err(CloseReason::TimedOut(Timer::FirstByte));
        assert_eq!(silent.handle_timeout(first_byte_at), timed_out);

        let late = first_byte_at - Duration::from_secs(1);
        let mut slow = RegistrySession::new(begin, &limits);
        dribbles(&mut slow, late);
        assert_eq!(slow.handle_timeout(first_byte_at), Ok(()));
        let timed_out = Err(CloseReason::TimedOut(Timer::Head));
        assert_eq!(slow.handle_timeout(late + HEAD_TIMEOUT), timed_out);
    }

    /// All of a request but its last byte comes, and no byte puts its deadline off.
    fn dribbles(session: &mut RegistrySession, now: Instant) {
        let request = lookup();
        for (number, bytes) in request.chunks(1).take(request.len() - 1).enumerate() {
            let later = now + Duration::from_secs(number as u64);
            assert_eq!(session.handle_bytes(later, bytes, &mut 0), Ok(None));
            assert_eq!(session.poll_timeout(), Some(now + HEAD_TIMEOUT));
        }
    }

    #[test]
    fn a_registered_client_may_be_idle_for_ever_but_not_in_the_middle_of_a_request() {
        let now = Instant::now();
        let mut session = RegistrySession::new(now, &Rc::new(Limits::REGISTRY));
        let mut register = Vec::new();
        RegistryRequest::Register { peer: PeerId(1), port: 1 }.encode(&mut register);
        assert!(session.handle_bytes(now, &register, &mut 0).unwrap().is_some());
        session.accept_registration(PeerId(1));
        assert_eq!(session.poll_timeout(), None);
        dribbles(&mut session, now);
        let timed_out = Err(CloseReason::TimedOut(Timer::Head));
        assert_eq!(session.handle_timeout(now + HEAD_TIMEOUT), timed_out);
    }
}
