//! The peer's end of its connection to the registry.
//!
//! ```text
//!                    handle_connected               accepted
//!  ExpectConnection ─────────────────▶ ExpectRegistered ────▶ Registered
//!                                          │ refused          │      ▲
//!                                          ▼           lookup │      │ Address or Error
//!                                   event Refused             ▼      │
//!                                   (closed in order)      ExpectAddress
//!
//!  any state ── violation, no answer in time ──▶ Closed
//! ```
//!
//! A guest registers nothing and comes to `Registered` with the connection.
//!
//! Answers carry no id, and the reference's registry dies of two requests that
//! arrive together: one request is outstanding, the others wait in a queue.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Instant;

use super::legal::{self, RegistrationState, ResponseKind};
use crate::limits::{DOWNLOADS_MAX, Limits};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::outbox::Outbox;
use crate::wire::v0::{RegistryRequest, RegistryResponse};
use crate::wire::{Deframer, FieldText, Frame, PeerId};

/// The peer's end of its connection to the registry.
#[derive(Debug)]
pub struct Registration {
    limits: Rc<Limits>,
    state: State,
    was_accepted: bool,
    /// Our id and port; `None` for a guest, who registers nothing and only looks up.
    ours: Option<(PeerId, u16)>,
    deframer: Deframer<RegistryResponse>,
    outbox: Outbox,
    /// Whom to look up next; at most one entry for each download.
    queue: VecDeque<PeerId>,
}

/// What the registry's answers mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// We are registered.
    Registered,
    /// We are not; its words.
    Refused(FieldText),
    /// A lookup is answered.
    Address {
        /// Who was looked up.
        peer: PeerId,
        /// Where that peer is; `None` if the registry does not know it.
        address: Option<SocketAddrV4>,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    ExpectConnection { deadline: Instant },
    ExpectRegistered { deadline: Instant },
    Registered,
    ExpectAddress { peer: PeerId, deadline: Instant },
    Closed,
}

impl Registration {
    /// A connection that is being made, to register `our_id` and `our_port`.
    pub fn new(now: Instant, limits: &Rc<Limits>, our_id: PeerId, our_port: u16) -> Self {
        Self::of(now, limits, Some((our_id, our_port)))
    }

    /// A connection that is being made, only to look others up.
    pub fn guest(now: Instant, limits: &Rc<Limits>) -> Self {
        Self::of(now, limits, None)
    }

    fn of(now: Instant, limits: &Rc<Limits>, ours: Option<(PeerId, u16)>) -> Self {
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectConnection { deadline: now + limits.connect_timeout },
            was_accepted: false,
            ours,
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            queue: VecDeque::new(),
        }
    }

    /// The connection is made: the registration goes out. A guest can look up at once.
    pub fn handle_connected(&mut self, now: Instant) {
        debug_assert_eq!(self.state(), RegistrationState::ExpectConnection);
        let Some((peer, port)) = self.ours else {
            self.state = State::Registered;
            return;
        };
        let request = RegistryRequest::Register { peer, port };
        self.outbox.push(|out| request.encode(out));
        self.state = State::ExpectRegistered { deadline: now + self.limits.answer_timeout };
    }

    /// Asks where `peer` is, once; the answer is an event.
    pub fn look_up(&mut self, now: Instant, peer: PeerId) {
        let is_outstanding =
            matches!(self.state, State::ExpectAddress { peer: asked, .. } if asked == peer);
        if !is_outstanding && !self.queue.contains(&peer) {
            self.queue.push_back(peer);
        }
        debug_assert!(self.queue.len() <= DOWNLOADS_MAX);
        self.ask_next(now);
    }

    fn ask_next(&mut self, now: Instant) {
        if let State::Registered = self.state
            && let Some(peer) = self.queue.pop_front()
        {
            self.outbox.push(|out| RegistryRequest::Lookup(peer).encode(out));
            self.state = State::ExpectAddress { peer, deadline: now + self.limits.answer_timeout };
        }
    }

    /// The next event that `bytes` lead to from `*at` on; `None` once all are consumed.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<RegistrationEvent>, CloseReason> {
        let event = match self.deframer.next(bytes, at) {
            Ok(Some(Frame::Message(response))) => self.on_response(response).map(Some),
            Ok(None | Some(Frame::Payload { .. })) => Ok(None),
            Err(malformed) => Err(CloseReason::Malformed(malformed)),
        };
        match event {
            Ok(_) => self.ask_next(now),
            Err(_) => self.state = State::Closed,
        }
        event
    }

    fn on_response(
        &mut self,
        response: RegistryResponse,
    ) -> Result<RegistrationEvent, CloseReason> {
        let state = self.state();
        let old = mem::replace(&mut self.state, State::Closed);
        legal::check(legal::REGISTRATION, state, ResponseKind::from(&response))?;
        if !self.outbox.is_empty() {
            let (expected, got) = ("no answer before the request is sent", "an answer");
            return Err(CloseReason::PeerViolated { expected, got });
        }
        let (event, next) = match (old, response) {
            (State::ExpectRegistered { .. }, RegistryResponse::Registered(true)) => {
                self.was_accepted = true;
                (RegistrationEvent::Registered, State::Registered)
            }
            (State::ExpectRegistered { .. }, RegistryResponse::Registered(false)) => {
                (RegistrationEvent::Refused(FieldText::new("refused")), State::Closed)
            }
            (State::ExpectRegistered { .. }, RegistryResponse::Error(text)) => {
                (RegistrationEvent::Refused(text), State::Closed)
            }
            (State::ExpectAddress { peer, .. }, RegistryResponse::Address(address)) => {
                let address = Some(address);
                (RegistrationEvent::Address { peer, address }, State::Registered)
            }
            (State::ExpectAddress { peer, .. }, RegistryResponse::Error(_)) => {
                (RegistrationEvent::Address { peer, address: None }, State::Registered)
            }
            _ => unreachable!("the table allows nothing else"),
        };
        self.state = next;
        Ok(event)
    }

    /// What to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// The socket took this much of it.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
    }

    /// When [`Registration::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::ExpectConnection { deadline }
            | State::ExpectRegistered { deadline }
            | State::ExpectAddress { deadline, .. } => Some(deadline),
            State::Registered | State::Closed => None,
        }
    }

    /// Checks the deadlines. An answer that is late cannot be told from the next
    /// one, so the connection is given up.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let timer = match mem::replace(&mut self.state, State::Closed) {
            State::ExpectConnection { .. } => Timer::Connect,
            _ => Timer::Answer,
        };
        Err(CloseReason::TimedOut(timer))
    }

    /// Whether the registry ever entered us on this connection, also after it has failed.
    pub fn was_accepted(&self) -> bool {
        self.was_accepted
    }

    /// Whether the registry can be asked: it has entered us, or we are a guest.
    pub fn is_registered(&self) -> bool {
        matches!(self.state, State::Registered | State::ExpectAddress { .. })
    }

    /// The state it is in.
    pub fn state(&self) -> RegistrationState {
        match self.state {
            State::ExpectConnection { .. } => RegistrationState::ExpectConnection,
            State::ExpectRegistered { .. } => RegistrationState::ExpectRegistered,
            State::Registered => RegistrationState::Registered,
            State::ExpectAddress { .. } => RegistrationState::ExpectAddress,
            State::Closed => RegistrationState::Closed,
        }
    }
}
