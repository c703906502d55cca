//! Our offers: in small batches spread over the interval, and at once for what is new.

use std::time::Instant;

use super::{Share, Wake};
use crate::limits::{NEWS_PAUSE, OFFER_PAUSE, OFFERS_PER_BATCH};
use crate::node::peer::{Context, Wake as PeerWake};
use crate::node::{Action, PathId};
use crate::wire::v0::{FileName, Offer};

const OFFERS: PeerWake = PeerWake::Share(Wake::Offers);
const NEWS: PeerWake = PeerWake::Share(Wake::News);

/// How many offers may be sent: a batch at once, and on average one in each [`OFFER_PAUSE`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When a whole batch may be sent.
    free_at: Option<Instant>,
}

impl Pace {
    /// Returns until when so many offers have to wait; `None` if they may be sent.
    fn wait(&self, now: Instant, count: usize) -> Option<Instant> {
        let spare = OFFERS_PER_BATCH.saturating_sub(count) as u32;
        self.free_at.map(|at| at - OFFER_PAUSE * spare).filter(|at| *at > now)
    }

    fn note(&mut self, now: Instant) {
        self.free_at = Some(self.free_at.map_or(now, |at| at.max(now)) + OFFER_PAUSE);
    }
}

impl Share {
    pub(crate) fn offers_something(&self, ctx: &Context) -> bool {
        ctx.guest().is_none() && ctx.settings.shares_v0 && self.index.offered_len().0 > 0
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
        let count = self.index.offered_len().0;
        if let Some(at) = self.pace.wait(ctx.now, count.min(OFFERS_PER_BATCH)) {
            return ctx.deadlines.arm(OFFERS, at);
        }
        let mut paths = self.index.offered_after(self.schedule.cursor());
        let mut last = None;
        for path in paths.by_ref().take(OFFERS_PER_BATCH) {
            if let Some(name) = path.name() {
                offer(ctx, name);
                self.pace.note(ctx.now);
            }
            last = Some(path.clone());
        }
        let last = last.filter(|_| paths.next().is_some());
        drop(paths);
        self.schedule.batch_sent(ctx.now, count, last);
        self.arm_offers(ctx);
    }

    /// Offers a file without waiting for its turn, together with others that are new.
    pub(super) fn announce(&mut self, ctx: &mut Context, path: PathId) {
        if self.can_be_found && ctx.settings.shares_v0 && ctx.guest().is_none() {
            self.unannounced.insert(path);
            match self.announced_at.map(|at| at + NEWS_PAUSE) {
                Some(at) if at > ctx.now => ctx.deadlines.arm(NEWS, at),
                _ => self.offer_news(ctx),
            }
        }
    }

    /// Offers files that are new, as many as fit in a batch.
    pub(super) fn offer_news(&mut self, ctx: &mut Context) {
        let count = self.unannounced.len().min(OFFERS_PER_BATCH);
        if let Some(at) = self.pace.wait(ctx.now, count) {
            return ctx.deadlines.arm(NEWS, at);
        }
        for _ in 0..OFFERS_PER_BATCH {
            let Some(path) = self.unannounced.pop_first() else { break };
            let name = self.index.get(path).and_then(|_| ctx.paths.get(path)?.name());
            if let Some(name) = name {
                offer(ctx, name);
                self.pace.note(ctx.now);
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
