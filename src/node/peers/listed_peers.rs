//! The peers that speak version 1, as the registry lists them: some are beyond our network.
//!
//! A registry of version 0 may close the connection at such a question, which would end a
//! registration. So it is asked first on a connection of its own, and on the registered one
//! only once it has answered there. On that one a peer asks once in any case, as it is listed
//! itself from then on. A guest, which registers nothing, uses a connection of its own each time.
//!
//! Nothing is asked unless we are registered, or a guest has got through to the registry.
//!
//! Invariants: at most [`LISTED_PEERS_KEPT_MAX`] peers are kept of an answer; at most one question
//! is open.

use std::net::{SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::Instant;

use super::RegistryLink;
use crate::limits::{
    LISTED_PEERS_KEPT_MAX, LISTING_INTERVAL, LISTING_REFUSED_PAUSE, LISTING_TIMEOUT, Limits,
};
use crate::node::peer::{Connection, Context, RegistryUse, Wake};
use crate::node::{Action, ConnectionId};
use crate::proto::CloseReason;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::wire::PeerId;
use crate::wire::v0::ListedPeer;

#[derive(Debug, Default)]
pub(crate) struct ListedPeers {
    /// Whether something is looked for.
    is_wanted: bool,
    /// The question that is open on a connection of its own.
    probe: Option<Probe>,
    /// The question that is open on the registered connection.
    asked: Option<Question>,
    /// Whether it has answered on a connection of its own since we are registered.
    is_answering: bool,
    /// Whether it was told on the registered connection that we speak version 1.
    is_told: bool,
    /// The registry that is not asked until then: it closed or said nothing, or could not be
    /// reached.
    paused: Option<(SocketAddrV4, Instant)>,
    asked_at: Option<Instant>,
    /// Those of the answer that is coming.
    coming: Vec<ListedPeer>,
    listed: Vec<ListedPeer>,
    /// Whether it has ever listed all.
    was_listed: bool,
    /// Whether there is more to know than when [`Self::take_news`] was called last.
    has_news: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Which peers are there?
    List,
    /// None: it is told of us, and the answer is short.
    Tell,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    connection: ConnectionId,
    question: Question,
    is_connected: bool,
}

impl Question {
    /// Returns the first id that is asked for.
    fn after(self) -> PeerId {
        match self {
            Self::List => PeerId(0),
            Self::Tell => PeerId(u32::MAX),
        }
    }
}

impl ListedPeers {
    /// Asks again and again while something is looked for.
    pub(crate) fn want(&mut self, ctx: &mut Context, link: &RegistryLink, is_wanted: bool) {
        if self.is_wanted != is_wanted {
            self.is_wanted = is_wanted;
            self.look(ctx, link);
        }
    }

    /// Returns the peers of the last answer that we can reach by IPv4, but ourselves.
    pub(crate) fn listed(&self, ctx: &Context) -> impl Iterator<Item = (PeerId, SocketAddrV4)> {
        let own = ctx.guest().is_none().then_some(ctx.settings.id);
        let others = self.listed.iter().filter(move |listed| Some(listed.peer) != own);
        others.filter_map(|listed| match listed.address {
            SocketAddr::V4(address) => Some((listed.peer, address)),
            SocketAddr::V6(_) => None,
        })
    }

    /// Returns how many peers were listed by the last answer.
    pub(crate) fn len(&self) -> usize {
        self.listed.len()
    }

    /// Returns whether peers may be listed soon that are not listed yet.
    pub(crate) fn is_awaited(&self, ctx: &Context, link: &RegistryLink) -> bool {
        let is_used = ctx.settings.registry_use != RegistryUse::Never;
        is_used && !self.was_listed && !link.is_failing() && !self.is_paused(ctx, link)
    }

    /// Returns whether another answer came, or none will, since this was called last.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Returns whether this connection is the one on which the registry is asked first.
    pub(crate) fn is_probe(&self, connection: ConnectionId) -> bool {
        self.probe.is_some_and(|probe| probe.connection == connection)
    }

    fn is_paused(&self, ctx: &Context, link: &RegistryLink) -> bool {
        let until = self.paused_until(link);
        until.is_some_and(|until| ctx.now < until)
    }

    fn paused_until(&self, link: &RegistryLink) -> Option<Instant> {
        let (address, until) = self.paused?;
        (link.address() == Some(address)).then_some(until)
    }

    /// Asks, if it is time for it.
    pub(crate) fn look(&mut self, ctx: &mut Context, link: &RegistryLink) {
        if self.probe.is_some() || self.asked.is_some() || !link.is_there(ctx) {
            // It goes on once that is over.
            return;
        }
        let Some((question, due_at)) = self.due(ctx) else { return };
        let due_at = due_at.max(self.paused_until(link).unwrap_or(due_at));
        if due_at <= ctx.now {
            self.ask(ctx, link, question);
        } else {
            ctx.deadlines.disarm(Wake::Listing);
            ctx.deadlines.arm(Wake::Listing, due_at);
        }
    }

    /// Returns what is to be asked next, and when.
    fn due(&self, ctx: &Context) -> Option<(Question, Instant)> {
        let tells = ctx.guest().is_none() && !self.is_told;
        let list_at = || self.asked_at.map_or(ctx.now, |at| at + LISTING_INTERVAL);
        match self.is_wanted.then(list_at) {
            Some(at) if at <= ctx.now || !tells => Some((Question::List, at)),
            _ => tells.then_some((Question::Tell, ctx.now)),
        }
    }

    fn ask(&mut self, ctx: &mut Context, link: &RegistryLink, question: Question) {
        if self.is_answering && ctx.guest().is_none() {
            self.asked = Some(question);
            link.ask_peers(ctx, question.after());
        } else if !self.probe(ctx, link, question) {
            self.pause(ctx, link, false);
            return;
        }
        if question == Question::List {
            self.asked_at = Some(ctx.now);
            self.coming.clear();
        }
    }

    /// Asks on a connection of its own. Returns whether there is room for one.
    fn probe(&mut self, ctx: &mut Context, link: &RegistryLink, question: Question) -> bool {
        let limits = Limits {
            connect_timeout: LISTING_TIMEOUT,
            answer_timeout: LISTING_TIMEOUT,
            ..*ctx.limits
        };
        let mut registration = Registration::guest(ctx.now, &Rc::new(limits));
        registration.ask_peers(ctx.now, question.after());
        let Some(to) = link.address() else { return false };
        let Some(connection) = ctx.connections.dial(Connection::Registration(registration)) else {
            return false;
        };
        self.probe = Some(Probe { connection, question, is_connected: false });
        ctx.act(Action::Dial { connection, to });
        ctx.pump(connection);
        true
    }

    /// It is not asked for a while; for long if it does not understand.
    fn pause(&mut self, ctx: &mut Context, link: &RegistryLink, is_refused: bool) {
        let pause = if is_refused { LISTING_REFUSED_PAUSE } else { LISTING_INTERVAL };
        self.paused = link.address().map(|address| (address, ctx.now + pause));
        self.has_news = true;
        self.look(ctx, link);
    }

    /// Some peers were listed on the registered connection.
    pub(crate) fn on_peers(
        &mut self,
        ctx: &mut Context,
        link: &RegistryLink,
        peers: Vec<ListedPeer>,
        more_after: Option<PeerId>,
    ) {
        let Some(question) = self.asked else { return };
        self.is_told = true;
        match self.take_in(question, peers, more_after) {
            Some(after) => link.ask_peers(ctx, after),
            None => {
                self.asked = None;
                self.look(ctx, link);
            }
        }
    }

    /// Takes in an answer. Returns from which id on more is to be asked for.
    fn take_in(
        &mut self,
        question: Question,
        peers: Vec<ListedPeer>,
        more_after: Option<PeerId>,
    ) -> Option<PeerId> {
        if question == Question::Tell {
            return None;
        }
        self.coming.extend(peers);
        self.coming.truncate(LISTED_PEERS_KEPT_MAX);
        let more_after = more_after.filter(|_| self.coming.len() < LISTED_PEERS_KEPT_MAX);
        if more_after.is_none() {
            self.listed = std::mem::take(&mut self.coming);
            (self.was_listed, self.has_news) = (true, true);
        }
        more_after
    }

    pub(crate) fn on_connected(&mut self, ctx: &mut Context, connection: ConnectionId) {
        let now = ctx.now;
        if let Some(Connection::Registration(question)) = ctx.connections.get_mut(connection) {
            question.handle_connected(now);
            self.probe.iter_mut().for_each(|probe| probe.is_connected = true);
        }
    }

    /// Bytes came as the answer on a connection of its own. Returns why that is to be closed, if
    /// it is.
    pub(crate) fn on_bytes(
        &mut self,
        ctx: &mut Context,
        connection: ConnectionId,
        bytes: &[u8],
    ) -> Option<CloseReason> {
        let question = self.probe?.question;
        let (now, mut at) = (ctx.now, 0);
        while let Some(Connection::Registration(asking)) = ctx.connections.get_mut(connection) {
            match asking.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistrationEvent::Peers { peers, more_after })) => {
                    match self.take_in(question, peers, more_after) {
                        Some(after) => asking.ask_peers(now, after),
                        None => {
                            self.is_answering = true;
                            return Some(CloseReason::Done);
                        }
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(reason) => return Some(reason),
            }
        }
        None
    }

    /// The connection of its own is over.
    pub(crate) fn on_probe_lost(
        &mut self,
        ctx: &mut Context,
        link: &RegistryLink,
        reason: CloseReason,
    ) {
        let Some(probe) = self.probe.take() else { return };
        match reason {
            CloseReason::Done => self.look(ctx, link),
            CloseReason::Stopping => {}
            CloseReason::Rerouted => self.pause(ctx, link, false),
            _ => self.pause(ctx, link, probe.is_connected),
        }
    }

    /// We are registered, or a guest got through to the registry.
    pub(crate) fn on_registered(&mut self, ctx: &mut Context, link: &RegistryLink) {
        self.look(ctx, link);
    }

    /// The registered connection is over: there may be another registry by the next one. If it was
    /// asked there, it does not understand, unless our own address has changed.
    pub(crate) fn on_link_lost(&mut self, ctx: &mut Context, link: &RegistryLink, has_moved: bool) {
        (self.is_answering, self.is_told, self.has_news) = (false, false, true);
        if self.asked.take().is_some() && !has_moved {
            self.pause(ctx, link, true);
        }
    }
}
