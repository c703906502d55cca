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
    pub(crate) fn new(ctx: &mut Context, address: SocketAddrV4, is_ours: bool) -> Self {
        let our = ctx.session_settings();
        let session = Session::new(ctx.now, &ctx.limits, &our, is_ours);
        Self { session, address, is_ours, them: None, closing: None, is_aborted: false }
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
        self.session.transmit().filter(|_| !self.is_aborted)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.closing.map(|(_, by)| by).or_else(|| self.session.poll_timeout())
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
            None => self.session.read_allowance_bytes(),
        }
    }
}

impl PeerNode {
    pub(super) fn on_session_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let (now, mut at) = (self.context.now, 0);
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
        let by = self.context.now + GOOD_BYE_TIMEOUT;
        match self.context.session_on(id) {
            Some(connection) if connection.session.transmit().is_some() => {
                connection.closing = Some((reason, by));
            }
            _ => self.close(id, reason),
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
        let sent = connection.session.transmitted(now, len_bytes);
        if self.has_exited {
            return;
        }
        let is_sent = connection.session.transmit().is_none();
        if let (Some((reason, _)), true) = (connection.closing, is_sent) {
            return self.close(id, reason);
        }
        let deadline = connection.poll_timeout();
        deadline.into_iter().for_each(|at| self.context.connections.arm(id, at));
        self.share.note_flow(&mut self.context, id, false);
        if let Some(req) = sent {
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
