//! Sessions of version 1: each event goes to the part that it concerns.
//!
//! `share` answers what the other side requests, `gather` learns what it answers. Each keeps its
//! own books by [`ConnectionId`]; a session that ends is told to both.
//!
//! A session that broke a rule is told so before its connection is closed: it stays in the table
//! until that is sent, or [`GOOD_BYE_TIMEOUT`] has passed.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::PeerNode;
use super::connection::Connection;
use super::context::Context;
use super::sealing::Seal;
use crate::limits::GOOD_BYE_TIMEOUT;
use crate::node::gather::Others;
use crate::node::{ConnectionId, Report};
use crate::proto::v1::{Session, SessionEvent};
use crate::proto::{CloseReason, Transmit};
use crate::wire::PeerId;
use crate::wire::v1::PeerName;

/// A connection with a peer of version 1.
#[derive(Debug)]
pub(crate) struct SessionConnection {
    pub(crate) session: Session,
    /// With a secret.
    pub(super) seal: Option<Box<Seal>>,
    pub(crate) address: SocketAddrV4,
    /// Whether we dialed.
    pub(crate) is_ours: bool,
    /// Known once the other side said hello.
    pub(crate) them: Option<Them>,
    /// Why and by when it is closed, once it is over.
    closing: Option<(CloseReason, Instant)>,
    /// Whether nothing more can be sent.
    is_aborted: bool,
}

/// The other side of a session, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Them {
    pub(crate) peer: PeerId,
    /// The random number of its run.
    pub(crate) instance: u64,
    pub(crate) name: PeerName,
}

impl SessionConnection {
    /// Returns a session on a connection that was accepted, or that is being made.
    pub(crate) fn new(
        ctx: &mut Context,
        (address, is_sealed): (SocketAddrV4, bool),
        is_ours: bool,
    ) -> Self {
        let our = ctx.session_settings();
        let mut session = Session::new(ctx.now, &ctx.limits, &our, is_ours);
        let seal = match (is_sealed, is_ours) {
            (false, _) => None,
            (true, true) => Seal::dialed(ctx.now, ctx.settings.group.as_ref(), &mut session),
            (true, false) => Seal::accepted(ctx),
        };
        let (seal, them, closing) = (seal.map(Box::new), None, None);
        Self { session, seal, address, is_ours, them, closing, is_aborted: false }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Seals what the session has to send, as far as there is room for it.
    pub(super) fn fill(&mut self, now: Instant) {
        if let Some(seal) = &mut self.seal {
            seal.fill(now, &mut self.session);
        }
    }

    /// Ends the session in the middle of a frame, which cannot be sent whole.
    pub(crate) fn abort(&mut self, now: Instant, reason: CloseReason) {
        (self.closing, self.is_aborted) = (Some((reason, now)), true);
    }

    /// Ends the session, as this program stops. Returns whether there is something to send.
    fn leave(&mut self, now: Instant) -> bool {
        self.closing.is_none() && self.session.leave(now)
    }

    pub(super) fn transmit(&self) -> Option<Transmit<'_>> {
        match &self.seal {
            _ if self.is_aborted => None,
            Some(seal) => seal.transmit(&self.session),
            None => self.session.transmit(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let resume_at = self.seal.as_ref().and_then(|seal| seal.resume_at());
        let of_session = || self.session.poll_timeout().into_iter().chain(resume_at).min();
        self.closing.map(|(_, by)| by).or_else(of_session)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        match self.closing {
            Some((reason, by)) if now >= by => Err(reason),
            Some(_) => Ok(()),
            None => self.session.handle_timeout(now),
        }
    }

    pub(super) fn read_allowance_bytes(&self) -> usize {
        match self.closing {
            Some(_) => 0,
            None => {
                let plain_bytes = self.session.read_allowance_bytes();
                let sealed_bytes = |seal: &Seal| seal.read_allowance_bytes(plain_bytes);
                self.seal.as_deref().map_or(plain_bytes, sealed_bytes)
            }
        }
    }
}

impl PeerNode {
    pub(super) fn on_session_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        match self.context.session_on(id).is_some_and(|connection| connection.seal.is_some()) {
            true => self.on_sealed_bytes(id, bytes),
            false => self.on_plain_bytes(id, bytes, 0),
        }
    }

    /// Gives a session the bytes from `at` on.
    pub(super) fn on_plain_bytes(&mut self, id: ConnectionId, bytes: &[u8], mut at: usize) {
        let now = self.context.now;
        while let Some(connection) = self.context.session_on(id)
            && connection.closing.is_none()
        {
            match connection.session.handle_bytes(now, bytes, &mut at) {
                Ok(None) => return,
                Ok(Some(event)) => self.on_session_event(id, event, bytes),
                Err(reason) => return self.end_session(id, reason),
            }
        }
    }

    /// Closes a session, once the other side is told why.
    fn end_session(&mut self, id: ConnectionId, reason: CloseReason) {
        let now = self.context.now;
        let Some(connection) = self.context.session_on(id) else { return };
        connection.fill(now);
        match connection.transmit().is_some() {
            true => connection.closing = Some((reason, now + GOOD_BYE_TIMEOUT)),
            false => self.close(id, reason),
        }
    }

    /// Has a session say all that it has to, as the program stops. Returns `false` if it is to be
    /// closed at once.
    pub(super) fn leave_session(&mut self, id: ConnectionId) -> bool {
        let Self { context, share, .. } = self;
        let now = context.now;
        let Some(connection) = context.session_on(id) else { return false };
        let (from, is_ours) = (connection.address, connection.is_ours);
        if !connection.leave(now) {
            return false;
        }
        let reason = CloseReason::Stopping;
        share.on_session_lost(context, id, from, reason);
        if !is_ours {
            context.report(Report::ConnectionClosed { from, reason });
        }
        context.pump(id);
        true
    }

    pub(super) fn on_session_transmitted(&mut self, id: ConnectionId, len_bytes: usize) {
        let now = self.context.now;
        let Some(connection) = self.context.session_on(id) else { return };
        let SessionConnection { session, seal, .. } = connection;
        let sent = match seal {
            Some(seal) => seal.transmitted(len_bytes),
            None => session.transmitted(now, len_bytes).into_iter().collect(),
        };
        connection.fill(now);
        if self.has_exited {
            return;
        }
        let is_sent = connection.transmit().is_none();
        if let (Some((reason, _)), true) = (connection.closing, is_sent) {
            return self.close(id, reason);
        }
        let deadline = connection.poll_timeout();
        deadline.into_iter().for_each(|at| self.context.connections.arm(id, at));
        self.share.note_flow(&mut self.context, id, false);
        for req in sent {
            self.share.on_answer_sent(&mut self.context, id, req);
        }
        self.context.pump(id);
    }

    /// `bytes` are those in which the ranges of an event lie.
    fn on_session_event(&mut self, id: ConnectionId, event: SessionEvent, bytes: &[u8]) {
        let Self { context, share, peers, contents, fetch, gather, .. } = self;
        let mut others = Others { peers, share, fetch, contents };
        match event {
            SessionEvent::Hello { peer, instance, name } => {
                if let Some(connection) = context.session_on(id) {
                    connection.them = Some(Them { peer, instance, name });
                }
                gather.on_hello(context, &mut others, id);
            }
            SessionEvent::Requested { req, request } => share.on_request(context, id, req, request),
            SessionEvent::Cancelled { req } => share.on_cancelled(context, id, req),
            SessionEvent::Verdict { content, verdict } => {
                share.on_verdict(context, id, content, verdict);
            }
            SessionEvent::Page { .. }
            | SessionEvent::Held { .. }
            | SessionEvent::MoreHeld { .. }
            | SessionEvent::Manifest { .. }
            | SessionEvent::Turn { .. }
            | SessionEvent::Data { .. }
            | SessionEvent::Failed { .. } => {
                gather.on_answer(context, &mut others, id, (event, bytes));
            }
        }
    }

    pub(super) fn on_session_lost(
        &mut self,
        id: ConnectionId,
        connection: &SessionConnection,
        reason: CloseReason,
    ) {
        let Self { context, share, peers, contents, fetch, gather, .. } = self;
        share.on_session_lost(context, id, connection.address, reason);
        contents.on_session_lost(context, id);
        if !connection.is_ours {
            let from = connection.address;
            context.report(Report::ConnectionClosed { from, reason });
        }
        let mut others = Others { peers, share, fetch, contents };
        gather.on_lost(context, &mut others, (id, connection), reason);
    }
}

impl Context {
    pub(crate) fn session_on(&mut self, id: ConnectionId) -> Option<&mut SessionConnection> {
        match self.connections.get_mut(id)? {
            Connection::Session(connection) => Some(connection),
            _ => None,
        }
    }
}
