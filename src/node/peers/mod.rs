//! Who is there: what others offer, how they served us, and the registry that knows where
//! they are.
//!
//! Owns the catalog of offers and the connection to the registry. Does not know what we
//! have, nor what we want.

mod catalog;
mod registry_link;

use std::net::SocketAddrV4;
use std::time::Duration;

pub(super) use self::catalog::{Catalog, News};
use self::registry_link::RegistryLink;
use super::peer::{Context, Wake};
use super::{ConnectionId, HeardOffer, PathId, Report};
use crate::proto::CloseReason;
use crate::wire::PeerId;
use crate::wire::v0::Offer;

/// Who is there.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) catalog: Catalog,
    link: RegistryLink,
}

/// What the registry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEvent {
    /// It has entered us.
    Registered,
    /// Where a peer is; `None` if it does not know it.
    Address { peer: PeerId, address: Option<SocketAddrV4> },
    /// The connection to it is over.
    Lost {
        /// Whether this is the first failure since the last registration.
        is_first: bool,
    },
}

impl Peers {
    /// Knows nobody; offers are forgotten `expiry` after they were last heard.
    pub(super) fn new(expiry: Duration) -> Self {
        Self { catalog: Catalog::new(expiry), link: RegistryLink::new() }
    }

    /// Makes the connection to the registry.
    pub(super) fn dial_registry(&mut self, ctx: &mut Context) {
        self.link.dial(ctx);
    }

    /// Returns whether the registry can be asked.
    pub(super) fn is_registered(&self, ctx: &mut Context) -> bool {
        self.link.is_registered(ctx)
    }

    /// Returns whether the registry could ever be asked.
    pub(super) fn was_registered(&self) -> bool {
        self.link.was_registered
    }

    /// Asks the registry where a peer is; the answer is a [`LinkEvent::Address`].
    pub(super) fn look_up(&self, ctx: &mut Context, peer: PeerId) {
        self.link.look_up(ctx, peer);
    }

    /// The connection to the registry is made.
    pub(super) fn on_connected(
        &mut self,
        ctx: &mut Context,
        connection: ConnectionId,
    ) -> Option<LinkEvent> {
        self.link.on_connected(ctx, connection)
    }

    /// Returns the next event that bytes of the registry lead to; `None` once all are consumed.
    pub(super) fn on_bytes(
        &mut self,
        ctx: &mut Context,
        connection: ConnectionId,
        bytes: &[u8],
        at: &mut usize,
    ) -> Option<LinkEvent> {
        self.link.on_bytes(ctx, connection, bytes, at)
    }

    /// The connection to the registry is over.
    pub(super) fn on_lost(&mut self, ctx: &mut Context, reason: CloseReason) -> LinkEvent {
        self.link.on_lost(ctx, reason)
    }

    /// A datagram came to the offer port. Returns what is offered, and by whom, unless it
    /// is nothing to remember.
    pub(super) fn on_datagram(
        &mut self,
        ctx: &mut Context,
        from: SocketAddrV4,
        bytes: &[u8],
    ) -> Option<(PathId, PeerId)> {
        let Offer { peer, name } = match Offer::decode(bytes) {
            Ok(offer) => offer,
            Err(malformed) => {
                ctx.report(Report::DatagramDropped { from, malformed });
                return None;
            }
        };
        if peer == ctx.settings.id && ctx.guest().is_none() {
            return None;
        }
        let path = ctx.paths.intern_name(name);
        let news = self.catalog.hear(&mut ctx.paths, ctx.now, from, (peer, path));
        if news == News::New {
            ctx.report(Report::OfferSeen { path, peer });
        }
        (news != News::Dropped).then_some((path, peer))
    }

    /// Forgets what was not repeated in time.
    pub(super) fn expire(&mut self, ctx: &mut Context) {
        for gone in self.catalog.expire(&mut ctx.paths, ctx.now) {
            ctx.report(Report::OfferGone { path: gone.path, peer: gone.peer });
            if gone.is_last {
                ctx.report(Report::PeerGone { peer: gone.peer });
            }
        }
    }

    /// Wakes us when the next offer may expire, unless our own offers wake us anyway.
    pub(super) fn arm_expiry(&self, ctx: &mut Context, we_offer: bool) {
        if !we_offer && let Some(at) = self.catalog.next_expiry() {
            ctx.deadlines.arm(Wake::Expiry, at);
        }
    }

    /// Returns at most `offers_max` of what others offer, in order of the paths.
    pub(super) fn offers(&self, ctx: &Context, offers_max: usize) -> Vec<HeardOffer> {
        let mut offers = self.catalog.offers(&ctx.paths);
        offers.truncate(offers_max);
        offers
    }
}
