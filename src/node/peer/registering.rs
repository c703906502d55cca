//! The connection to the registry: made at the start, kept open for lookups, made
//! again with growing delays when it is lost. Without it the peer carries on with
//! what it has.

use std::time::Instant;

use super::{Connection, PeerKind, PeerNode, Wake};
use crate::limits::{ID_TRIES_MAX, RETRY_DELAY_MIN};
use crate::node::connections::ConnectionId;
use crate::node::retry::Backoff;
use crate::node::{Action, Outcome, Report};
use crate::proto::CloseReason;
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::wire::{FieldText, PeerId};

/// What is known of the registry.
#[derive(Debug)]
pub(super) struct RegistryLink {
    /// The connection, made or being made.
    pub(super) connection: Option<ConnectionId>,
    backoff: Backoff,
    /// Whether a registration was ever accepted, or a guest ever got through: a refusal
    /// after that is an old entry of our own that has yet to go, one before is for good.
    pub(super) was_registered: bool,
    /// Ids that were refused.
    refused_ids: u32,
    /// Reports of failure since the last registration.
    failures: u32,
}

impl RegistryLink {
    pub(super) fn new() -> Self {
        Self {
            connection: None,
            backoff: Backoff::new(RETRY_DELAY_MIN),
            was_registered: false,
            refused_ids: 0,
            failures: 0,
        }
    }
}

impl PeerNode {
    pub(super) fn dial_registry(&mut self, now: Instant) {
        debug_assert_eq!(self.registry.connection, None);
        let registration = match self.guest() {
            Some(_) => Registration::guest(now, &self.limits),
            None => Registration::new(now, &self.limits, self.settings.id, self.settings.port),
        };
        let Some(connection) = self.connections.dial(Connection::Registration(registration)) else {
            let retry_at = now + self.registry.backoff.delay(&mut self.rng);
            return self.deadlines.arm(Wake::Registry, retry_at);
        };
        self.registry.connection = Some(connection);
        self.actions.push_back(Action::Dial { connection, to: self.settings.registry });
        self.after(connection);
    }

    /// The registration, if the registry has entered us.
    pub(super) fn registration(&mut self) -> Option<(ConnectionId, &mut Registration)> {
        let connection = self.registry.connection?;
        match self.connections.get_mut(connection)? {
            Connection::Registration(m) if m.is_registered() => Some((connection, m)),
            _ => None,
        }
    }

    pub(super) fn on_registry_bytes(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        bytes: &[u8],
    ) {
        let mut at = 0;
        while let Some(Connection::Registration(registration)) =
            self.connections.get_mut(connection)
        {
            match registration.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistrationEvent::Registered)) => self.on_registered(now),
                Ok(Some(RegistrationEvent::Refused(text))) => {
                    return self.on_refused(now, connection, text);
                }
                Ok(Some(RegistrationEvent::Address { peer, address })) => {
                    self.on_address(now, peer, address);
                }
                Ok(None) => return,
                Err(reason) => return self.close(now, connection, reason),
            }
        }
    }

    pub(super) fn on_registered(&mut self, now: Instant) {
        self.registry.was_registered = true;
        self.registry.failures = 0;
        self.registry.backoff.reset();
        if self.guest().is_none() {
            self.report(Report::Registered { registry: self.settings.registry });
        }
        self.hasten_offers(now);
        self.begin_waiting(now);
    }

    fn on_refused(&mut self, now: Instant, connection: ConnectionId, text: FieldText) {
        if !self.registry.was_registered {
            self.registry.refused_ids += 1;
            let may_change = matches!(self.settings.kind, PeerKind::AnyId);
            if !may_change || self.registry.refused_ids >= ID_TRIES_MAX {
                return self.exit(now, Outcome::Refused(text));
            }
            // 0 is what guests acknowledge with.
            let next = PeerId(self.rng.u32(1..));
            let peer = std::mem::replace(&mut self.settings.id, next);
            self.report(Report::IdRefused { peer, text, next });
            self.close(now, connection, CloseReason::Refused);
            return self.dial_registry(now);
        }
        let retry_in = self.registry.backoff.delay(&mut self.rng);
        let registry = self.settings.registry;
        self.report(Report::RegistrationRefused { registry, text, retry_in });
        self.deadlines.arm(Wake::Registry, now + retry_in);
        self.close(now, connection, CloseReason::Refused);
    }

    pub(super) fn on_registry_lost(&mut self, now: Instant, reason: CloseReason) {
        self.registry.connection = None;
        self.forget_lookups();
        // A refusal has set its own delay.
        if !matches!(reason, CloseReason::Stopping | CloseReason::Refused) {
            let retry_in = self.registry.backoff.delay(&mut self.rng);
            let again = self.registry.failures > 0;
            if !again {
                // Offers have waited for the registration long enough.
                self.hasten_offers(now);
            }
            self.registry.failures = self.registry.failures.saturating_add(1);
            let registry = self.settings.registry;
            self.report(Report::RegistryUnreachable { registry, reason, retry_in, again });
            self.deadlines.arm(Wake::Registry, now + retry_in);
        }
    }
}
