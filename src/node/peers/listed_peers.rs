//! The peers that speak version 1, as the registry lists them: some are beyond our network.
//!
//! A registry of version 0 may close the connection at such a question, which would end a
//! registration. So it is asked first on a connection of its own, and on the registered one
//! only once it has answered there.
//!
//! Invariant: at most [`LISTED_PEERS_KEPT_MAX`] peers are kept of an answer.

use std::rc::Rc;
use std::time::Instant;

use super::RegistryLink;
use crate::limits::{
    LISTED_PEERS_KEPT_MAX, LISTING_INTERVAL, LISTING_REFUSED_PAUSE, LISTING_TIMEOUT, Limits,
};
use crate::node::peer::{Connection, Context, Wake};
use crate::node::{Action, ConnectionId};
use crate::proto::CloseReason;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::wire::PeerId;
use crate::wire::v0::ListedPeer;

#[derive(Debug, Default)]
pub(crate) struct ListedPeers {
    /// Whether something is looked for.
    is_wanted: bool,
    /// The connection on which the registry is asked for the first time.
    probe: Option<ConnectionId>,
    /// Whether it has answered there.
    is_answering: bool,
    /// When it may be asked again: it closed, or said nothing.
    refused_until: Option<Instant>,
    asked_at: Option<Instant>,
    /// Those of the answer that is coming.
    coming: Vec<ListedPeer>,
    listed: Vec<ListedPeer>,
}

impl ListedPeers {
    // What looks for peers beyond our network calls these two.
    #[allow(dead_code)]
    /// Asks again and again while something is looked for.
    pub(crate) fn want(&mut self, ctx: &mut Context, link: &RegistryLink, is_wanted: bool) {
        self.is_wanted = is_wanted;
        self.on_wake(ctx, link);
    }

    #[allow(dead_code)]
    /// Returns those of the last answer.
    pub(crate) fn listed(&self) -> &[ListedPeer] {
        &self.listed
    }

    /// Returns whether this connection is the one on which the registry is asked first.
    pub(crate) fn is_probe(&self, connection: ConnectionId) -> bool {
        self.probe == Some(connection)
    }

    /// Asks, if it is time for it.
    pub(crate) fn on_wake(&mut self, ctx: &mut Context, link: &RegistryLink) {
        if !self.is_wanted {
            return;
        }
        let next_at = self.asked_at.map(|at| at + LISTING_INTERVAL).max(self.refused_until);
        if next_at.is_none_or(|at| at <= ctx.now) {
            self.ask(ctx, link);
        }
        let next_at = next_at.filter(|at| *at > ctx.now);
        ctx.deadlines.arm(Wake::Listing, next_at.unwrap_or(ctx.now + LISTING_INTERVAL));
    }

    fn ask(&mut self, ctx: &mut Context, link: &RegistryLink) {
        self.asked_at = Some(ctx.now);
        self.coming.clear();
        if self.is_answering && link.is_registered(ctx) {
            link.ask_peers(ctx, PeerId(0));
        } else if let (None, Some(to)) = (self.probe, link.address()) {
            let limits = Limits {
                connect_timeout: LISTING_TIMEOUT,
                answer_timeout: LISTING_TIMEOUT,
                ..*ctx.limits
            };
            let mut question = Registration::guest(ctx.now, &Rc::new(limits));
            question.ask_peers(ctx.now, PeerId(0));
            self.probe = ctx.connections.dial(Connection::Registration(question));
            if let Some(connection) = self.probe {
                ctx.act(Action::Dial { connection, to });
                ctx.pump(connection);
            }
        }
    }

    /// Some peers were listed, on the registered connection or on that of the first question.
    pub(crate) fn on_peers(
        &mut self,
        ctx: &mut Context,
        link: &RegistryLink,
        peers: Vec<ListedPeer>,
        more_after: Option<PeerId>,
    ) {
        self.is_answering = true;
        self.coming.extend(peers);
        self.coming.truncate(LISTED_PEERS_KEPT_MAX);
        match more_after.filter(|_| self.coming.len() < LISTED_PEERS_KEPT_MAX) {
            None => self.listed = std::mem::take(&mut self.coming),
            Some(after) => match self.probe {
                Some(probe) => ask_on(ctx, probe, after),
                None => link.ask_peers(ctx, after),
            },
        }
    }

    pub(crate) fn on_connected(&mut self, ctx: &mut Context, connection: ConnectionId) {
        let now = ctx.now;
        if let Some(Connection::Registration(question)) = ctx.connections.get_mut(connection) {
            question.handle_connected(now);
        }
    }

    /// Bytes came as the answer to the first question. Returns why its connection is to be
    /// closed, if it is.
    pub(crate) fn on_bytes(
        &mut self,
        ctx: &mut Context,
        link: &RegistryLink,
        connection: ConnectionId,
        bytes: &[u8],
    ) -> Option<CloseReason> {
        let (now, mut at) = (ctx.now, 0);
        while let Some(Connection::Registration(question)) = ctx.connections.get_mut(connection) {
            match question.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistrationEvent::Peers { peers, more_after })) => {
                    self.on_peers(ctx, link, peers, more_after);
                    if self.coming.is_empty() {
                        return Some(CloseReason::Done);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(reason) => return Some(reason),
            }
        }
        None
    }

    /// The connection of the first question is over.
    pub(crate) fn on_probe_lost(&mut self, ctx: &Context) {
        self.probe = None;
        if !self.is_answering {
            self.refused_until = Some(ctx.now + LISTING_REFUSED_PAUSE);
        }
    }

    /// The registered connection is over: there may be another registry by the next one.
    pub(crate) fn on_link_lost(&mut self) {
        self.is_answering = false;
        self.coming.clear();
    }
}

/// Asks for more on the connection of the first question.
fn ask_on(ctx: &mut Context, connection: ConnectionId, after: PeerId) {
    let now = ctx.now;
    if let Some(Connection::Registration(question)) = ctx.connections.get_mut(connection) {
        question.ask_peers(now, after);
    }
    ctx.pump(connection);
}
