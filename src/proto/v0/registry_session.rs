//! The registry's end of a client's connection.
//!
//! ```text
//!             respond(Registered)
//!  Anonymous ─────────────────────▶ Registered
//!   │     ▲                          │      ▲
//!   └─────┘                          └──────┘
//!   Lookup; a registration refused    Lookup
//!
//!  any state ── violation, deadline ──▶ Closed
//! ```
//!
//! The first message has to begin in time; after that a client without
//! registration may be idle for a while, a registered one for ever.

use std::rc::Rc;
use std::time::Instant;

use super::legal::{self, RequestKind, SessionState};
use crate::limits::{Limits, REQUESTS_PER_READ};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::outbox::Outbox;
use crate::wire::v0::{RegistryRequest, RegistryResponse};
use crate::wire::{Deframer, Frame, PeerId};

/// The shortest request, a lookup: 6 bytes.
const REQUEST_BYTES_MIN: usize = 6;

/// The registry's end of a client's connection.
#[derive(Debug)]
pub struct RegistrySession {
    limits: Rc<Limits>,
    state: State,
    /// Outlives the state: the entry is removed after the connection has failed.
    registered_as: Option<PeerId>,
    deframer: Deframer<RegistryRequest>,
    outbox: Outbox,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Anonymous { deadline: Instant, timer: Timer },
    Registered,
    Closed,
}

impl RegistrySession {
    /// A connection that was just accepted.
    pub fn new(now: Instant, limits: &Rc<Limits>) -> Self {
        let deadline = now + limits.first_byte_timeout;
        Self {
            limits: Rc::clone(limits),
            state: State::Anonymous { deadline, timer: Timer::FirstByte },
            registered_as: None,
            deframer: Deframer::default(),
            outbox: Outbox::default(),
        }
    }

    /// The next request in `bytes` from `*at` on, to be answered before the one after it;
    /// `None` once all are consumed.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<RegistryRequest>, CloseReason> {
        if let State::Anonymous { timer: Timer::FirstByte, .. } = self.state {
            self.rest(now);
        }
        let event = match self.deframer.next(bytes, at) {
            Ok(Some(Frame::Message(request))) => {
                legal::check(legal::SESSION, self.state(), RequestKind::from(&request))
                    .map(|()| Some(request))
            }
            Ok(None | Some(Frame::Payload { .. })) => Ok(None),
            Err(malformed) => Err(CloseReason::Malformed(malformed)),
        };
        match event {
            Ok(Some(_)) => self.rest(now),
            Ok(None) => {}
            Err(_) => self.state = State::Closed,
        }
        event
    }

    /// The wait for the next request begins; a request that dribbles in does not
    /// prolong it.
    fn rest(&mut self, now: Instant) {
        if let State::Anonymous { deadline, timer } = &mut self.state {
            (*deadline, *timer) = (now + self.limits.idle_timeout, Timer::Idle);
        }
    }

    /// Answers a lookup, or refuses a registration.
    pub fn respond(&mut self, response: &RegistryResponse) {
        self.outbox.push(|out| response.encode(out));
    }

    /// Answers a registration: the client is entered as `peer`.
    pub fn accept_registration(&mut self, peer: PeerId) {
        debug_assert_eq!(self.state(), SessionState::Anonymous);
        self.state = State::Registered;
        self.registered_as = Some(peer);
        self.respond(&RegistryResponse::Registered(true));
    }

    /// Whom the client was registered as, also after the connection has failed.
    pub fn registered_as(&self) -> Option<PeerId> {
        self.registered_as
    }

    /// What to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// The socket took this much of it.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
        if self.outbox.is_empty() {
            self.outbox.rest();
        }
    }

    /// How many bytes may be read: none before the last answers are sent, so that a client
    /// who does not read them holds no more than [`REQUESTS_PER_READ`] of them in memory.
    pub fn read_allowance_bytes(&self) -> usize {
        if self.outbox.is_empty() { REQUESTS_PER_READ * REQUEST_BYTES_MIN } else { 0 }
    }

    /// When [`RegistrySession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Anonymous { deadline, .. } => Some(deadline),
            State::Registered | State::Closed => None,
        }
    }

    /// Checks the deadlines.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        match self.state {
            State::Anonymous { deadline, timer } if now >= deadline => {
                self.state = State::Closed;
                Err(CloseReason::TimedOut(timer))
            }
            _ => Ok(()),
        }
    }

    /// The state it is in.
    pub fn state(&self) -> SessionState {
        match self.state {
            State::Anonymous { .. } => SessionState::Anonymous,
            State::Registered => SessionState::Registered,
            State::Closed => SessionState::Closed,
        }
    }
}
