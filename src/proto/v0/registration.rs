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
//!  Registered ── ask_peers ──▶ ExpectPeers ── all of Peers ──▶ Registered
//!
//!  any state ── violation, no answer in time ──▶ Closed
//! ```
//!
//! A guest registers nothing and is `Registered` as soon as the connection is made.
//!
//! Answers carry no id, and the reference's registry dies of two requests that arrive
//! together: so one request is outstanding, and the others are queued.

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Instant;

use crate::limits::{DOWNLOADS_MAX, LISTED_PEERS_MAX, Limits, PROBED_PEERS_MAX};
use crate::proto::Transmit;
use crate::proto::close_reason::{CloseReason, Timer};
use crate::proto::inbox::Inbox;
use crate::proto::outbox::Outbox;
use crate::proto::table::{self, Row, State as _};
use crate::wire::v0::{ListedPeer, RegistryRequest, RegistryResponse, RegistryResponseKind};
use crate::wire::{FieldText, Frame, PeerId};

/// The peer's end of its connection to the registry.
#[derive(Debug)]
pub struct Registration {
    limits: Rc<Limits>,
    state: State,
    was_accepted: bool,
    /// Our id and port; `None` for a guest, which registers nothing and only looks up.
    ours: Option<(PeerId, u16)>,
    inbox: Inbox<RegistryResponse>,
    outbox: Outbox,
    /// The peers to look up next; at most one for each download, or each peer that is listed.
    queue: VecDeque<PeerId>,
    /// The peers that speak version 1 are asked for next, from this id on.
    peers_after: Option<PeerId>,
    /// The list of peers that is due. Boxed: it is rarely there.
    listing: Option<Box<Listing>>,
}

#[derive(Debug)]
struct Listing {
    after: PeerId,
    /// `None` if nothing of it has come.
    count: Option<u32>,
    bytes: Vec<u8>,
}

/// The states of a [`Registration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// The connection is being made.
    ExpectConnection,
    /// The answer to our registration is due.
    ExpectRegistered,
    /// Registered, and no answer is due.
    Registered,
    /// The answer to a lookup is due.
    ExpectAddress,
    /// The list of peers, or the rest of it, is due.
    ExpectPeers,
    /// The connection is over.
    Closed,
}

impl table::State for RegistrationState {
    type Kind = RegistryResponseKind;

    const ALL: &'static [Self] = &[
        Self::ExpectConnection,
        Self::ExpectRegistered,
        Self::Registered,
        Self::ExpectAddress,
        Self::ExpectPeers,
        Self::Closed,
    ];

    /// One answer for each request; if another request is queued, it follows at once.
    fn row(self) -> Row<Self> {
        use RegistryResponseKind::{Address, Error, Peers, Registered};
        match self {
            Self::ExpectRegistered => Row {
                expected: "a register response",
                legal: &[
                    (
                        Registered,
                        &[Self::Registered, Self::ExpectAddress, Self::ExpectPeers, Self::Closed],
                    ),
                    (Error, &[Self::Closed]),
                ],
            },
            Self::ExpectAddress => Row {
                expected: "a lookup response",
                legal: &[
                    (Address, &[Self::Registered, Self::ExpectAddress, Self::ExpectPeers]),
                    (Error, &[Self::Registered, Self::ExpectAddress, Self::ExpectPeers]),
                ],
            },
            Self::ExpectPeers => Row {
                expected: "a peers response",
                legal: &[(Peers, &[Self::Registered, Self::ExpectAddress, Self::ExpectPeers])],
            },
            Self::Registered => Row::silent("nothing, as nothing was asked,"),
            Self::ExpectConnection | Self::Closed => Row::silent("nothing"),
        }
    }
}

/// The answers of the registry, by their meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationEvent {
    /// We are registered.
    Registered,
    /// We are refused; the words of the registry.
    Refused(FieldText),
    /// A lookup is answered.
    Address {
        peer: PeerId,
        /// Where that peer is; `None` if the registry does not know it.
        address: Option<SocketAddrV4>,
    },
    /// Peers that speak version 1, by their ids in ascending order.
    Peers {
        peers: Vec<ListedPeer>,
        /// The id from which on to ask for more; `None` if these are the last.
        more_after: Option<PeerId>,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    ExpectConnection { deadline: Instant },
    ExpectRegistered { deadline: Instant },
    Registered,
    ExpectAddress { peer: PeerId, deadline: Instant },
    ExpectPeers { deadline: Instant },
    Closed,
}

impl Registration {
    /// Returns the machine of a connection that is being made, to register `our_id` and
    /// `our_port`.
    pub fn new(now: Instant, limits: &Rc<Limits>, our_id: PeerId, our_port: u16) -> Self {
        Self::of(now, limits, Some((our_id, our_port)))
    }

    /// Returns the machine of a connection that is being made only to look others up.
    pub fn guest(now: Instant, limits: &Rc<Limits>) -> Self {
        Self::of(now, limits, None)
    }

    fn of(now: Instant, limits: &Rc<Limits>, ours: Option<(PeerId, u16)>) -> Self {
        Self {
            limits: Rc::clone(limits),
            state: State::ExpectConnection { deadline: now + limits.connect_timeout },
            was_accepted: false,
            ours,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            queue: VecDeque::new(),
            peers_after: None,
            listing: None,
        }
    }

    /// Sends the registration: the connection is made. A guest can look up at once.
    pub fn handle_connected(&mut self, now: Instant) {
        debug_assert_eq!(self.state(), RegistrationState::ExpectConnection);
        self.state = match (mem::replace(&mut self.state, State::Closed), self.ours) {
            (State::ExpectConnection { .. }, Some((peer, port))) => {
                self.outbox.push(|out| RegistryRequest::Register { peer, port }.encode(out));
                State::ExpectRegistered { deadline: now + self.limits.answer_timeout }
            }
            (State::ExpectConnection { .. }, None) => State::Registered,
            (other, _) => other,
        };
        self.ask_next(now);
    }

    /// Asks where `peer` is, unless that is asked already; the answer is an event.
    pub fn look_up(&mut self, now: Instant, peer: PeerId) {
        let is_outstanding =
            matches!(self.state, State::ExpectAddress { peer: asked, .. } if asked == peer);
        if !is_outstanding && !self.queue.contains(&peer) {
            self.queue.push_back(peer);
        }
        debug_assert!(self.queue.len() <= DOWNLOADS_MAX.max(PROBED_PEERS_MAX));
        self.ask_next(now);
    }

    /// Asks for the peers that speak version 1, from this id on, once nothing else is asked;
    /// the answer is an event. It says that we speak version 1, too.
    pub fn ask_peers(&mut self, now: Instant, after: PeerId) {
        if !matches!(self.state, State::ExpectPeers { .. }) {
            self.peers_after = Some(after);
            self.ask_next(now);
        }
    }

    fn ask_next(&mut self, now: Instant) {
        let State::Registered = self.state else { return };
        let deadline = now + self.limits.answer_timeout;
        if let Some(peer) = self.queue.pop_front() {
            self.outbox.push(|out| RegistryRequest::Lookup(peer).encode(out));
            self.state = State::ExpectAddress { peer, deadline };
        } else if let Some(after) = self.peers_after.take() {
            self.outbox.push(|out| RegistryRequest::Peers { after }.encode(out));
            self.listing = Some(Box::new(Listing { after, count: None, bytes: Vec::new() }));
            self.state = State::ExpectPeers { deadline };
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
    ) -> Result<Option<RegistrationEvent>, CloseReason> {
        loop {
            let event = match self.inbox.next(now, bytes, at) {
                Ok(Some(Frame::Message(RegistryResponse::Peers { count }))) => {
                    self.on_peers(now, count)
                }
                Ok(Some(Frame::Message(response))) => self.on_response(now, response).map(Some),
                Ok(Some(Frame::Payload { range, last })) => {
                    let piece = bytes.get(range).unwrap_or_default();
                    self.listing.iter_mut().for_each(|it| it.bytes.extend_from_slice(piece));
                    if last { self.on_listed(now).map(Some) } else { Ok(None) }
                }
                Ok(None) => return Ok(None),
                Err(reason) => Err(reason),
            };
            match event {
                Ok(None) => {}
                Ok(event) => return Ok(event),
                Err(reason) => {
                    (self.state, self.listing) = (State::Closed, None);
                    return Err(reason);
                }
            }
        }
    }

    /// A list of so many peers begins.
    fn on_peers(
        &mut self,
        now: Instant,
        got: u32,
    ) -> Result<Option<RegistrationEvent>, CloseReason> {
        match &mut self.listing {
            Some(listing) if listing.count.is_none() && self.outbox.is_empty() => {
                listing.count = Some(got);
                if got > 0 { Ok(None) } else { self.on_listed(now).map(Some) }
            }
            _ => Err(self.state().violation(RegistryResponseKind::Peers)),
        }
    }

    /// All of a list has come.
    fn on_listed(&mut self, now: Instant) -> Result<RegistrationEvent, CloseReason> {
        let Some(Listing { after, bytes, .. }) = self.listing.take().map(|it| *it) else {
            return Err(self.state().violation(RegistryResponseKind::Peers));
        };
        let (entries, _) = bytes.as_chunks();
        let peers: Result<Vec<_>, _> = entries.iter().map(ListedPeer::decode).collect();
        let peers = peers.map_err(CloseReason::Malformed)?;
        let is_ascending = peers.is_sorted_by(|one, other| one.peer < other.peer)
            && peers.first().is_none_or(|first| first.peer >= after);
        if !is_ascending {
            let (expected, got) = ("peers by their ids", "others");
            return Err(CloseReason::PeerViolated { expected, got });
        }
        let last = peers.last().filter(|_| peers.len() >= LISTED_PEERS_MAX);
        let more_after = last.and_then(|last| last.peer.0.checked_add(1)).map(PeerId);
        self.state = State::Registered;
        self.ask_next(now);
        Ok(RegistrationEvent::Peers { peers, more_after })
    }

    fn on_response(
        &mut self,
        now: Instant,
        response: RegistryResponse,
    ) -> Result<RegistrationEvent, CloseReason> {
        let (state, kind) = (self.state(), response.kind());
        let event = match (mem::replace(&mut self.state, State::Closed), response) {
            (State::ExpectRegistered { .. } | State::ExpectAddress { .. }, _)
                if !self.outbox.is_empty() =>
            {
                let (expected, got) = ("no answer before the request is sent", "an answer");
                return Err(CloseReason::PeerViolated { expected, got });
            }
            (State::ExpectRegistered { .. }, RegistryResponse::Registered(true)) => {
                (self.state, self.was_accepted) = (State::Registered, true);
                RegistrationEvent::Registered
            }
            (State::ExpectRegistered { .. }, RegistryResponse::Registered(false)) => {
                RegistrationEvent::Refused(FieldText::new("refused"))
            }
            (State::ExpectRegistered { .. }, RegistryResponse::Error(text)) => {
                RegistrationEvent::Refused(text)
            }
            (State::ExpectAddress { peer, .. }, RegistryResponse::Address(address)) => {
                self.state = State::Registered;
                RegistrationEvent::Address { peer, address: Some(address) }
            }
            (State::ExpectAddress { peer, .. }, RegistryResponse::Error(_)) => {
                self.state = State::Registered;
                RegistrationEvent::Address { peer, address: None }
            }
            _ => return Err(state.violation(kind)),
        };
        self.ask_next(now);
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(event)
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// Removes the bytes that the socket took from what is to be sent.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
    }

    /// Returns when to call [`Registration::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match self.state {
            State::ExpectConnection { deadline }
            | State::ExpectRegistered { deadline }
            | State::ExpectAddress { deadline, .. }
            | State::ExpectPeers { deadline, .. } => Some(deadline),
            State::Registered => None,
            State::Closed => return None,
        };
        self.inbox.deadline_or(of_state)
    }

    /// Checks the deadlines. An answer that is late cannot be told from the next one, so the
    /// connection is given up.
    ///
    /// # Errors
    /// If the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let state = mem::replace(&mut self.state, State::Closed);
        self.inbox.check(now)?;
        let timer = match state {
            State::ExpectConnection { .. } => Timer::Connect,
            _ => Timer::Answer,
        };
        Err(CloseReason::TimedOut(timer))
    }

    /// Returns whether it registers nothing.
    pub fn is_guest(&self) -> bool {
        self.ours.is_none()
    }

    /// Returns whether the registry ever accepted us on this connection, also after it has
    /// failed.
    pub fn was_accepted(&self) -> bool {
        self.was_accepted
    }

    /// Returns whether the registry can be asked: it has accepted us, or we are a guest.
    pub fn is_registered(&self) -> bool {
        use State::{ExpectAddress, ExpectPeers, Registered};
        matches!(self.state, Registered | ExpectAddress { .. } | ExpectPeers { .. })
    }

    /// Returns whether nothing is asked, nor about to be.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Registered)
    }

    /// Returns its state.
    pub fn state(&self) -> RegistrationState {
        match self.state {
            State::ExpectConnection { .. } => RegistrationState::ExpectConnection,
            State::ExpectRegistered { .. } => RegistrationState::ExpectRegistered,
            State::Registered => RegistrationState::Registered,
            State::ExpectAddress { .. } => RegistrationState::ExpectAddress,
            State::ExpectPeers { .. } => RegistrationState::ExpectPeers,
            State::Closed => RegistrationState::Closed,
        }
    }
}
