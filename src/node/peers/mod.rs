//! Who is there: what others offer, how they served us, whose beacons were heard, and the
//! registry that knows where they are.
//!
//! Owns the catalog of offers, the beacons and the connection to the registry. Does not know what we
//! have, nor what we want.

mod addresses;
mod beacons;
mod catalog;
mod interval;
mod listed_peers;
mod registry_link;

use std::net::{Ipv4Addr, SocketAddrV4};

use self::addresses::Addresses;
pub(super) use self::beacons::{Beacons, HeardPeer};
pub(super) use self::catalog::{Address, Catalog, Hearing};
use self::listed_peers::ListedPeers;
use self::registry_link::RegistryLink;
use super::peer::{Context, Wake};
use super::{FetchError, PathId, Report};
use crate::wire::PeerId;
use crate::wire::v0::{ListedPeer, Offer, is_probe};

#[derive(Debug)]
pub(super) struct Peers {
    pub(super) catalog: Catalog,
    pub(super) addresses: Addresses,
    pub(super) beacons: Beacons,
    pub(super) link: RegistryLink,
    pub(super) listing: ListedPeers,
    /// Whether the user named some by their addresses.
    are_named: bool,
    /// Whether a peer of version 1 ever said hello.
    pub(super) has_answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// It has entered us.
    Registered,
    /// Where a peer is; `None` if it does not know it.
    Address { peer: PeerId, address: Option<SocketAddrV4> },
    /// Peers that speak version 1, and the id from which on there are more.
    Peers { peers: Vec<ListedPeer>, more_after: Option<PeerId> },
    /// The connection to it is over, for the first time since the last registration or not, and
    /// because our own address has changed or not.
    Lost { is_first: bool, has_moved: bool },
}

impl Peers {
    /// Knows nobody.
    pub(super) fn new(ctx: &mut Context) -> Self {
        Self {
            catalog: Catalog::new(ctx.settings.offer_interval),
            addresses: Addresses::default(),
            beacons: Beacons::new(ctx),
            link: RegistryLink::new(),
            are_named: !ctx.settings.gather.peers.is_empty(),
            has_answered: false,
            listing: ListedPeers::default(),
        }
    }

    /// A datagram came to the offer port. Returns what is offered, and by whom, if it is an
    /// offer of another peer.
    pub(super) fn on_datagram(
        &mut self,
        ctx: &mut Context,
        from: SocketAddrV4,
        bytes: &[u8],
        wanted_names: impl FnOnce(PathId) -> Option<usize>,
    ) -> Option<(PathId, PeerId)> {
        let Offer { peer, name } = match Offer::decode(bytes) {
            Ok(offer) => offer,
            // It concerns nobody else, and is no fault of its sender.
            Err(_) if is_probe(bytes) => return None,
            Err(malformed) => {
                ctx.report(Report::DatagramDropped { from, malformed });
                return None;
            }
        };
        if peer == ctx.settings.id && ctx.guest().is_none() {
            return None;
        }
        let path = ctx.paths.intern_name(name);
        let wanted_names = wanted_names(path);
        let news = self.catalog.hear(&mut ctx.paths, ctx.now, from, (peer, path), wanted_names);
        if news == Hearing::New {
            ctx.report(Report::OfferSeen { path, peer });
        }
        // One that is not remembered may yet match what is wanted.
        Some((path, peer))
    }

    /// Returns why nothing came, if nobody offers it: nobody at all may be there.
    pub(super) fn why_nothing(&self, usual: FetchError) -> FetchError {
        let is_alone = !self.has_answered
            && !self.link.was_registered
            && self.catalog.paths().next().is_none()
            && self.beacons.known() == 0;
        match (is_alone, self.link.is_missed) {
            _ if self.beacons.has_heard_others() => FetchError::OtherSecret,
            (false, _) => usual,
            (true, _) if self.are_named => FetchError::NamedSilent,
            (true, true) => FetchError::Unreachable,
            (true, false) => FetchError::NobodyThere,
        }
    }

    /// Counts a failed download from a peer, which was dialed at this address if it is known.
    pub(super) fn note_failure(&mut self, peer: PeerId, at: Option<Ipv4Addr>) {
        self.catalog.note_failure(peer);
        at.into_iter().for_each(|at| self.addresses.note_failure(at));
    }

    /// Counts a verified download from a peer at this address.
    pub(super) fn note_success(&mut self, peer: PeerId, at: Ipv4Addr) {
        self.catalog.note_success(peer, at);
        self.addresses.note_success(at);
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
}
