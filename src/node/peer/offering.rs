//! Offers: ours go out in small batches, others' are remembered for a while.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::{PeerNode, Wake};
use crate::limits::OFFERS_PER_BATCH;
use crate::node::catalog::News;
use crate::node::{Action, Report};
use crate::wire::v0::{FileName, Offer};

impl PeerNode {
    pub(super) fn on_datagram(&mut self, now: Instant, from: SocketAddrV4, bytes: &[u8]) {
        let offer = match Offer::decode(bytes) {
            Ok(offer) => offer,
            Err(malformed) => return self.report(Report::DatagramDropped { from, malformed }),
        };
        if offer.peer == self.settings.id && self.guest().is_none() {
            return;
        }
        let news = self.catalog.hear(now, from, offer);
        if news == News::New {
            self.report(Report::OfferSeen { name: offer.name, peer: offer.peer });
        }
        if news != News::Dropped {
            self.arm_expiry();
            self.on_source_heard(now, offer);
            self.match_name(now, offer.name);
        }
    }

    pub(super) fn offer(&mut self, name: FileName) {
        let offer = Offer { peer: self.settings.id, name };
        self.actions.push_back(Action::Broadcast(offer.encode()));
    }

    /// Sees to it that files are offered, if there are any.
    pub(super) fn arm_offers(&mut self) {
        if self.offers_something() {
            self.deadlines.arm(Wake::Offers, self.schedule.next_batch_at());
        }
    }

    fn offers_something(&self) -> bool {
        self.guest().is_none() && self.index.len() > 0
    }

    /// Offers at once: others can find us now.
    pub(super) fn hasten_offers(&mut self, now: Instant) {
        self.schedule.hasten(now);
        self.arm_offers();
    }

    pub(super) fn offer_batch(&mut self, now: Instant) {
        let cursor = self.schedule.cursor();
        let mut names: Vec<_> = self.index.names_after(cursor).take(OFFERS_PER_BATCH + 1).collect();
        let more = names.len() > OFFERS_PER_BATCH;
        names.truncate(OFFERS_PER_BATCH);
        for &name in &names {
            self.offer(name);
        }
        let last = names.last().copied().filter(|_| more);
        self.schedule.batch_sent(now, self.index.len(), last);
        self.arm_offers();
        // Together with our own offers, so that it costs no wake-up of its own.
        self.expire_offers(now);
    }

    pub(super) fn expire_offers(&mut self, now: Instant) {
        for (Offer { peer, name }, is_last) in self.catalog.expire(now) {
            self.report(Report::OfferGone { name, peer });
            if is_last {
                self.report(Report::PeerGone { peer });
            }
        }
        self.arm_expiry();
    }

    /// Old offers are looked for when our own go out, or if we have none, by themselves.
    fn arm_expiry(&mut self) {
        if !self.offers_something()
            && let Some(at) = self.catalog.next_expiry()
        {
            self.deadlines.arm(Wake::Expiry, at);
        }
    }
}
