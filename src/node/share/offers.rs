//! Our offers: in small batches spread over the interval, and at once for what is new.

use super::{Share, Wake};
use crate::limits::{NEWS_PAUSE, OFFERS_PER_BATCH};
use crate::node::peer::{Context, Wake as PeerWake};
use crate::node::{Action, PathId};
use crate::wire::v0::{FileName, Offer};

const OFFERS: PeerWake = PeerWake::Share(Wake::Offers);
const NEWS: PeerWake = PeerWake::Share(Wake::News);

impl Share {
    pub(crate) fn offers_something(&self, ctx: &Context) -> bool {
        ctx.guest().is_none() && self.index.len() > 0
    }

    /// The registry has entered us: others can find us.
    pub(crate) fn on_registered(&mut self, ctx: &mut Context) {
        self.can_be_found = true;
        self.hasten_offers(ctx);
    }

    /// The registry is lost, `has_waited` if offers have waited for it for long enough.
    pub(crate) fn on_registry_lost(&mut self, ctx: &mut Context, has_waited: bool) {
        self.can_be_found = false;
        if has_waited {
            self.hasten_offers(ctx);
        }
    }

    pub(crate) fn hasten_offers(&mut self, ctx: &mut Context) {
        self.schedule.hasten(ctx.now);
        self.arm_offers(ctx);
    }

    /// Sees to it that files are offered, if there are any.
    pub(super) fn arm_offers(&mut self, ctx: &mut Context) {
        if self.offers_something(ctx) {
            ctx.deadlines.arm(OFFERS, self.schedule.next_batch_at());
        }
    }

    /// Offers the next files of this round.
    pub(super) fn offer_batch(&mut self, ctx: &mut Context) {
        let mut paths = self.index.after(self.schedule.cursor());
        let mut last = None;
        for (path, _) in paths.by_ref().take(OFFERS_PER_BATCH) {
            if let Some(name) = path.name() {
                offer(ctx, name);
            }
            last = Some(path.clone());
        }
        let last = last.filter(|_| paths.next().is_some());
        drop(paths);
        self.schedule.batch_sent(ctx.now, self.index.len(), last);
        self.arm_offers(ctx);
    }

    /// Offers a file without waiting for its turn, together with others that are new.
    pub(super) fn announce(&mut self, ctx: &mut Context, path: PathId) {
        if self.can_be_found {
            self.unannounced.insert(path);
            match self.announced_at.map(|at| at + NEWS_PAUSE) {
                Some(at) if at > ctx.now => ctx.deadlines.arm(NEWS, at),
                _ => self.offer_news(ctx),
            }
        }
    }

    /// Offers files that are new, as many as fit in a batch.
    pub(super) fn offer_news(&mut self, ctx: &mut Context) {
        for _ in 0..OFFERS_PER_BATCH {
            let Some(path) = self.unannounced.pop_first() else { break };
            let name = self.index.get(path).and_then(|_| ctx.paths.get(path)?.name());
            if let Some(name) = name {
                offer(ctx, name);
            }
        }
        self.announced_at = Some(ctx.now);
        if !self.unannounced.is_empty() {
            ctx.deadlines.arm(NEWS, ctx.now + NEWS_PAUSE);
        }
    }
}

fn offer(ctx: &mut Context, name: FileName) {
    let offer = Offer { peer: ctx.settings.id, name };
    ctx.act(Action::Broadcast(offer.encode()));
}
