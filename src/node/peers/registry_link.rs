//! The connection to the registry: made at the start, kept open for lookups, made
//! again with growing delays when it is lost. Without it the peer carries on with
//! what it has.
//!
//! A registry closes the connection of a guest that asks nothing for a while. That is no
//! failure, and the connection is made again when there is something to ask.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::limits::{
    ID_TRIES_MAX, RETRY_DELAY_MIN, USUAL_REGISTRY_HASTY_TRIES, USUAL_REGISTRY_INTERVAL,
};
use crate::node::peer::{Connection, Context, PeerKind, RegistryUse, Wake};
use crate::node::retry::Backoff;
use crate::node::{Action, ConnectionId, Interface, Outcome, Report};
use crate::proto::CloseReason;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::wire::{FieldText, PeerId};

use super::LinkEvent;

#[derive(Debug)]
pub(crate) struct RegistryLink {
    connection: Option<ConnectionId>,
    /// Where the registry was at the last attempt.
    address: Option<SocketAddrV4>,
    /// Our address that the connection is made from, if the runner told that.
    from: Option<Ipv4Addr>,
    /// Whether the address of the registry is being looked for.
    is_resolving: bool,
    /// Whether it was ever found: what is found by no attempt is a mistake of the user.
    was_resolved: bool,
    /// The interfaces of which it was told that the registered address is not theirs.
    told_apart: Vec<String>,
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
    /// Whether the user named the registry, or it was there once.
    pub(crate) is_missed: bool,
}

impl RegistryLink {
    pub(crate) fn new() -> Self {
        Self {
            connection: None,
            address: None,
            from: None,
            is_resolving: false,
            was_resolved: false,
            told_apart: Vec::new(),
            backoff: Backoff::new(RETRY_DELAY_MIN),
            was_registered: false,
            refused_ids: 0,
            failures: 0,
            is_asleep: false,
            is_missed: false,
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

    /// The network has changed for the better: does not wait for the next attempt.
    pub(crate) fn hasten(&mut self, ctx: &mut Context) {
        if self.connection.is_none() && !self.is_resolving && !self.is_asleep {
            self.backoff.reset();
            ctx.deadlines.disarm(Wake::Registry);
            self.dial(ctx);
        }
    }

    /// Makes the connection. A name is looked for anew each time.
    pub(crate) fn dial(&mut self, ctx: &mut Context) {
        debug_assert!(self.connection.is_none() && !self.is_resolving);
        match ctx.settings.registry_use {
            RegistryUse::Named => self.is_missed = true,
            RegistryUse::Usual => {}
            RegistryUse::Never => {
                self.is_asleep = true;
                return;
            }
        }
        match ctx.settings.registry.address() {
            Some(address) => self.connect(ctx, address),
            None => {
                self.is_resolving = true;
                ctx.act(Action::Resolve(ctx.settings.registry.host()));
            }
        }
    }

    /// The address of the registry is known, or why it is not.
    pub(crate) fn on_resolved(
        &mut self,
        ctx: &mut Context,
        answer: Result<Ipv4Addr, String>,
    ) -> Option<LinkEvent> {
        if !std::mem::take(&mut self.is_resolving) {
            return None;
        }
        let why = match answer {
            Ok(host) => {
                self.was_resolved = true;
                self.connect(ctx, ctx.settings.registry.at(host));
                return None;
            }
            Err(why) => why,
        };
        if !self.was_resolved {
            let host = ctx.settings.registry.host();
            ctx.end(Outcome::NoSuchHost { host, why });
            return None;
        }
        let host = ctx.settings.registry.host();
        let (is_first, retry_in) = self.fail(ctx);
        ctx.report(Report::HostNotFound { host, why, retry_in: Some(retry_in), again: !is_first });
        Some(LinkEvent::Lost { is_first, has_moved: false })
    }

    /// Plans the next attempt. Returns whether this is the first failure since the last
    /// registration, and the time until then.
    fn fail(&mut self, ctx: &mut Context) -> (bool, Duration) {
        let is_first = self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        (is_first, self.plan(ctx))
    }

    fn plan(&mut self, ctx: &mut Context) -> Duration {
        let retry_in = match self.is_missed || self.failures <= USUAL_REGISTRY_HASTY_TRIES {
            true => self.backoff.delay(&mut ctx.rng),
            false => USUAL_REGISTRY_INTERVAL,
        };
        ctx.deadlines.arm(Wake::Registry, ctx.now + retry_in);
        retry_in
    }

    fn connect(&mut self, ctx: &mut Context, to: SocketAddrV4) {
        let registration = match ctx.guest() {
            Some(_) => Registration::guest(ctx.now, &ctx.limits),
            None => {
                let (id, port) = (ctx.settings.id, ctx.settings.port);
                Registration::new(ctx.now, &ctx.limits, id, port)
            }
        };
        (self.address, self.from) = (Some(to), None);
        let Some(connection) = ctx.connections.dial(Connection::Registration(registration)) else {
            self.plan(ctx);
            return;
        };
        self.connection = Some(connection);
        ctx.act(Action::Dial { connection, to });
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

    /// Returns whether we are registered, or a guest could get through to it.
    pub(super) fn is_there(&self, ctx: &mut Context) -> bool {
        self.is_asleep && self.was_registered || self.is_registered(ctx)
    }

    /// Returns where the registry was at the last attempt.
    pub(super) fn address(&self) -> Option<SocketAddrV4> {
        self.address
    }

    /// Asks for the peers that speak version 1, from this id on, if we are registered.
    pub(super) fn ask_peers(&self, ctx: &mut Context, after: PeerId) {
        let now = ctx.now;
        if let Some(registration) = self.registration(ctx) {
            registration.ask_peers(now, after);
            self.connection.into_iter().for_each(|connection| ctx.pump(connection));
        }
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
            Ok(Some(RegistrationEvent::Peers { peers, more_after })) => {
                Some(LinkEvent::Peers { peers, more_after })
            }
            Ok(None) => None,
            Err(reason) => {
                ctx.close(connection, reason);
                Some(self.on_lost(ctx, false, reason))
            }
        }
    }

    fn on_registered(&mut self, ctx: &mut Context) -> LinkEvent {
        (self.was_registered, self.is_missed) = (true, true);
        self.failures = 0;
        self.backoff.reset();
        if let (None, Some(registry)) = (ctx.guest(), self.address) {
            let port = ctx.settings.port;
            let address = self.from.map(|from| SocketAddrV4::new(from, port));
            ctx.report(Report::Registered { registry, address });
            self.tell_apart(ctx);
        }
        LinkEvent::Registered
    }

    /// Warns of interfaces that we offer on though the registered address is not theirs: the
    /// registry knows one address of each peer.
    pub(crate) fn tell_apart(&mut self, ctx: &mut Context) {
        if ctx.guest().is_some() || !self.is_registered(ctx) {
            return;
        }
        let Some(address) = self.from else { return };
        let has_moved = ctx.interfaces.iter().flatten().all(|it| it.address != address);
        if has_moved {
            // The registration follows.
            return;
        }
        let is_apart = |it: &&Interface| it.is_up && !it.subnet.contains(address);
        let apart = ctx.interfaces.iter().flatten().filter(is_apart);
        let apart = apart.filter(|it| it.broadcast.is_some() && !it.address.is_loopback());
        let mut apart: Vec<_> = apart.map(|interface| interface.name.clone()).collect();
        apart.sort_unstable();
        apart.dedup();
        if !apart.is_empty() && apart != self.told_apart {
            ctx.report(Report::OfferedApart { address, interfaces: apart.clone() });
        }
        self.told_apart = apart;
    }

    /// Our address of a connection that is being made is known.
    pub(crate) fn on_dialed_from(&mut self, connection: ConnectionId, from: Ipv4Addr) {
        if self.connection == Some(connection) {
            self.from = Some(from);
        }
    }

    fn on_refused(&mut self, ctx: &mut Context, connection: ConnectionId, text: FieldText) {
        if self.was_registered {
            let (retry_in, registry) = (self.plan(ctx), ctx.settings.registry.clone());
            ctx.report(Report::RegistrationRefused { registry, text, retry_in });
            return self.close_refused(ctx, connection);
        }
        self.refused_ids += 1;
        let may_change = matches!(ctx.settings.kind, PeerKind::AnyId);
        if !may_change || self.refused_ids >= ID_TRIES_MAX {
            return ctx.end(Outcome::Refused(text));
        }
        let peer = take_another_id(ctx);
        let next = ctx.settings.id;
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
        let has_moved = matches!(
            reason,
            CloseReason::Rerouted | CloseReason::Broken(ErrorKind::AddrNotAvailable)
        );
        if has_moved && self.was_registered && matches!(ctx.settings.kind, PeerKind::AnyId) {
            // The registry may take a while to see that the old connection is gone.
            take_another_id(ctx);
        }
        let mut is_first = false;
        if was_idle && ctx.guest().is_some() {
            self.is_asleep = true;
        } else if reason == CloseReason::Rerouted {
            self.dial(ctx);
        } else if has_moved {
            // That our address is gone was told.
            self.plan(ctx);
        } else if reason != CloseReason::Stopping {
            let (is_new, retry_in) = self.fail(ctx);
            is_first = is_new;
            let registry = ctx.settings.registry.clone();
            let (again, is_missed) = (!is_first, self.is_missed);
            ctx.report(Report::RegistryUnreachable {
                registry,
                reason,
                retry_in,
                again,
                is_missed,
            });
        }
        LinkEvent::Lost { is_first, has_moved }
    }
}

/// Takes another id, and returns the old one. 0 is what guests acknowledge with.
fn take_another_id(ctx: &mut Context) -> PeerId {
    let next = PeerId(ctx.rng.u32(1..));
    std::mem::replace(&mut ctx.settings.id, next)
}
