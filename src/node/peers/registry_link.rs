//! The connection to the registry: made at the start, kept open for lookups, made
//! again with growing delays when it is lost. Without it the peer carries on with
//! what it has.
//!
//! A registry closes the connection of a guest that asks nothing for a while. That is no
//! failure, and the connection is made again when there is something to ask.

use crate::limits::{ID_TRIES_MAX, RETRY_DELAY_MIN};
use crate::node::peer::{Connection, Context, PeerKind, Wake};
use crate::node::retry::Backoff;
use crate::node::{Action, ConnectionId, Outcome, Report};
use crate::proto::CloseReason;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::wire::{FieldText, PeerId};

use super::LinkEvent;

#[derive(Debug)]
pub(crate) struct RegistryLink {
    connection: Option<ConnectionId>,
    backoff: Backoff,
    /// Whether a registration was ever accepted, or a guest ever got through. A refusal
    /// before that is final. One after it is because of our own old entry, which expires.
    pub(crate) was_registered: bool,
    /// Ids that were refused.
    refused_ids: u32,
    /// Reports of failure since the last registration.
    failures: u32,
    /// Whether the connection is made again only when it is needed.
    is_asleep: bool,
}

impl RegistryLink {
    pub(crate) fn new() -> Self {
        Self {
            connection: None,
            backoff: Backoff::new(RETRY_DELAY_MIN),
            was_registered: false,
            refused_ids: 0,
            failures: 0,
            is_asleep: false,
        }
    }

    /// There is something to ask: makes the connection, unless that is under way.
    pub(crate) fn wake(&mut self, ctx: &mut Context) {
        if std::mem::take(&mut self.is_asleep) {
            self.dial(ctx);
        }
    }

    /// Returns whether the registry was tried in vain since it was last there.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn dial(&mut self, ctx: &mut Context) {
        debug_assert_eq!(self.connection, None);
        let registration = match ctx.guest() {
            Some(_) => Registration::guest(ctx.now, &ctx.limits),
            None => {
                let (id, port) = (ctx.settings.id, ctx.settings.port);
                Registration::new(ctx.now, &ctx.limits, id, port)
            }
        };
        let Some(connection) = ctx.connections.dial(Connection::Registration(registration)) else {
            let retry_at = ctx.now + self.backoff.delay(&mut ctx.rng);
            return ctx.deadlines.arm(Wake::Registry, retry_at);
        };
        self.connection = Some(connection);
        ctx.act(Action::Dial { connection, to: ctx.settings.registry });
        ctx.pump(connection);
    }

    /// Returns the registration, if the registry has entered us.
    fn registration<'a>(&self, ctx: &'a mut Context) -> Option<&'a mut Registration> {
        match ctx.connections.get_mut(self.connection?)? {
            Connection::Registration(registration) if registration.is_registered() => {
                Some(registration)
            }
            _ => None,
        }
    }

    pub(crate) fn is_registered(&self, ctx: &mut Context) -> bool {
        self.registration(ctx).is_some()
    }

    /// Asks where a peer is, if we are registered.
    pub(crate) fn look_up(&self, ctx: &mut Context, peer: PeerId) {
        let now = ctx.now;
        if let Some(registration) = self.registration(ctx) {
            registration.look_up(now, peer);
            self.connection.into_iter().for_each(|connection| ctx.pump(connection));
        }
    }

    pub(crate) fn on_connected(
        &mut self,
        ctx: &mut Context,
        connection: ConnectionId,
    ) -> Option<LinkEvent> {
        let now = ctx.now;
        if let Some(Connection::Registration(registration)) = ctx.connections.get_mut(connection) {
            registration.handle_connected(now);
        }
        self.is_registered(ctx).then(|| self.on_registered(ctx))
    }

    /// Returns the next event that bytes of the registry lead to; `None` once all are consumed.
    pub(crate) fn on_bytes(
        &mut self,
        ctx: &mut Context,
        connection: ConnectionId,
        bytes: &[u8],
        at: &mut usize,
    ) -> Option<LinkEvent> {
        let now = ctx.now;
        let Some(Connection::Registration(registration)) = ctx.connections.get_mut(connection)
        else {
            return None;
        };
        match registration.handle_bytes(now, bytes, at) {
            Ok(Some(RegistrationEvent::Registered)) => Some(self.on_registered(ctx)),
            Ok(Some(RegistrationEvent::Refused(text))) => {
                self.on_refused(ctx, connection, text);
                None
            }
            Ok(Some(RegistrationEvent::Address { peer, address })) => {
                Some(LinkEvent::Address { peer, address })
            }
            Ok(None) => None,
            Err(reason) => {
                ctx.close(connection, reason);
                Some(self.on_lost(ctx, false, reason))
            }
        }
    }

    fn on_registered(&mut self, ctx: &mut Context) -> LinkEvent {
        self.was_registered = true;
        self.failures = 0;
        self.backoff.reset();
        if ctx.guest().is_none() {
            ctx.report(Report::Registered { registry: ctx.settings.registry });
        }
        LinkEvent::Registered
    }

    fn on_refused(&mut self, ctx: &mut Context, connection: ConnectionId, text: FieldText) {
        if self.was_registered {
            let retry_in = self.backoff.delay(&mut ctx.rng);
            let registry = ctx.settings.registry;
            ctx.report(Report::RegistrationRefused { registry, text, retry_in });
            ctx.deadlines.arm(Wake::Registry, ctx.now + retry_in);
            return self.close_refused(ctx, connection);
        }
        self.refused_ids += 1;
        let may_change = matches!(ctx.settings.kind, PeerKind::AnyId);
        if !may_change || self.refused_ids >= ID_TRIES_MAX {
            return ctx.end(Outcome::Refused(text));
        }
        // 0 is what guests acknowledge with.
        let next = PeerId(ctx.rng.u32(1..));
        let peer = std::mem::replace(&mut ctx.settings.id, next);
        ctx.report(Report::IdRefused { peer, text, next });
        self.close_refused(ctx, connection);
        self.dial(ctx);
    }

    /// Nothing was asked on a connection that was refused, so nothing follows.
    fn close_refused(&mut self, ctx: &mut Context, connection: ConnectionId) {
        ctx.close(connection, CloseReason::Refused);
        self.connection = None;
    }

    /// The connection is over; `was_idle` if nothing was asked on it.
    pub(crate) fn on_lost(
        &mut self,
        ctx: &mut Context,
        was_idle: bool,
        reason: CloseReason,
    ) -> LinkEvent {
        self.connection = None;
        let is_first = self.failures == 0;
        if was_idle && ctx.guest().is_some() {
            self.is_asleep = true;
        } else if reason != CloseReason::Stopping {
            let retry_in = self.backoff.delay(&mut ctx.rng);
            self.failures = self.failures.saturating_add(1);
            let (registry, again) = (ctx.settings.registry, !is_first);
            ctx.report(Report::RegistryUnreachable { registry, reason, retry_in, again });
            ctx.deadlines.arm(Wake::Registry, ctx.now + retry_in);
        }
        LinkEvent::Lost { is_first }
    }
}
