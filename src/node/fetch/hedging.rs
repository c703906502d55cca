//! Files that come slowly.
//!
//! ```text
//!                      slow: ask another source        address
//!  one download ────────────────────────────▶ ExpectAddress ──▶ Trial
//!     ▲  ▲                                          │            │ │ faster: it is the first
//!     │  └──────────────── it failed ───────────────┘            │ ▼ one from then on
//!     └───────────────── no faster, or failed ───────────────────┘ Overtaken
//! ```
//!
//! A download is slow if in the last [`PACE_WINDOW`] it had less than a tenth of the rate that
//! another source is to be expected of, which may be asked: that which it gave last, or
//! [`UNTRIED_BYTES_PER_SECOND`]. Then one other source is asked, too. The download that is
//! verified first is kept, and the other one ends. The second one ends after [`HEDGE_TRIAL`] if
//! it is not twice as fast as the first in the same time. If it is, both go on, and the slower
//! one of the last window gives way only to a third source that is expected to be much faster
//! than both, or to the second download of another file. No source is left out for being slow;
//! it comes after others for the next file.
//!
//! Second downloads have places of their own. If all places for first ones are taken, one that
//! is slow gives its place to a job that waits, and whose source is expected to be ten times as
//! fast: so no number of slow sources takes them all, and a slow network does not make jobs
//! push each other out.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::choosing::is_outranked;
use super::job::{Attempt, State};
use super::{Fetch, JobId, PeerWake, Wake};
use crate::limits::{
    FASTER_FACTOR, HEDGE_GLANCE, HEDGE_TRIAL, HEDGES_MAX, PACE_WINDOW, SLOW_FACTOR,
    SOURCES_PER_NAME_MAX, UNTRIED_BYTES_PER_SECOND,
};
use crate::node::peer::Context;
use crate::node::peers::Peers;
use crate::node::{ConnectionId, Report};
use crate::proto::CloseReason;
use crate::wire::PeerId;

/// The second download of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hedge {
    ExpectAddress {
        source: PeerId,
    },
    /// It has to show that it is faster.
    Trial {
        attempt: Attempt,
        /// What the first one had received when this one was requested.
        first_bytes: u64,
    },
    /// It was the first, and the other one, which is faster, has taken its place.
    Overtaken(Attempt),
}

impl Hedge {
    pub(super) fn attempt(self) -> Option<Attempt> {
        match self {
            Self::ExpectAddress { .. } => None,
            Self::Trial { attempt, .. } | Self::Overtaken(attempt) => Some(attempt),
        }
    }
}

impl Fetch {
    pub(super) fn hedge(&self, id: JobId) -> Option<Hedge> {
        self.jobs.get(&id).and_then(|job| job.hedge)
    }

    /// The one place that writes what hedge a job has.
    pub(super) fn set_hedge(&mut self, id: JobId, hedge: Option<Hedge>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.hedge = hedge;
        match hedge {
            Some(_) => self.hedges.insert(id),
            None => self.hedges.remove(&id),
        };
        self.check(id);
    }

    /// A download is requested: its rate is measured from now on.
    pub(super) fn begin_pace(&mut self, ctx: &mut Context, id: JobId, attempt: Attempt) {
        let first = self.state(id).and_then(State::attempt);
        let is_first = first.is_none_or(|first| first.connection == attempt.connection);
        if is_first {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.hedge_failed = false;
            }
            self.enter(id, State::Downloading(attempt));
            return ctx.deadlines.arm(PeerWake::Fetch(Wake::Pace(id)), ctx.now + PACE_WINDOW);
        }
        let first_bytes = first.map_or(0, |first| received_bytes(ctx, first));
        self.set_hedge(id, Some(Hedge::Trial { attempt, first_bytes }));
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Pace(id)), ctx.now + HEDGE_GLANCE);
    }

    /// The rates of a job's downloads may be measured, and what follows from them be done.
    pub(super) fn on_pace(&mut self, ctx: &mut Context, peers: &mut Peers, id: JobId) {
        self.judge_hedge(ctx, peers, id);
        let Some(State::Downloading(mut first)) = self.state(id) else { return };
        if ctx.now >= first.mark.0 + PACE_WINDOW && first.file.is_some() {
            first.measure(ctx);
            note_rate(ctx, peers, first);
            if let Some(Hedge::Overtaken(mut overtaken)) = self.hedge(id) {
                overtaken.measure(ctx);
                if overtaken.rate > first.rate {
                    std::mem::swap(&mut first, &mut overtaken);
                }
                self.set_hedge(id, Some(Hedge::Overtaken(overtaken)));
            }
            self.enter(id, State::Downloading(first));
        }
        if let Some(rate) = first.rate {
            if self.gives_way(ctx, peers, id, rate) {
                return;
            }
            self.ask_another(ctx, peers, id, first, rate);
        }
        let mut next = first.mark.0 + PACE_WINDOW;
        if let Some(Hedge::Trial { .. }) = self.hedge(id) {
            next = next.min(ctx.now + HEDGE_GLANCE);
        }
        // One that is not connected is looked at again when it is.
        let next = next.max(ctx.now + HEDGE_GLANCE);
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Pace(id)), next);
    }

    /// The registry is there: what waited for it goes on, with no regard to when rates are
    /// measured next, as the registry may close an idle connection before that.
    pub(crate) fn on_registered(&mut self, ctx: &mut Context, peers: &mut Peers) {
        self.begin_waiting(ctx, peers);
        let is_measured = |first: Attempt| first.rate.is_some();
        let is_paced =
            |id: &JobId| self.state(*id).and_then(State::attempt).is_some_and(is_measured);
        for id in self.active.keys().copied().filter(is_paced).collect::<Vec<_>>() {
            self.on_pace(ctx, peers, id);
        }
    }

    /// Ends a second download that is no faster, or makes it the first.
    fn judge_hedge(&mut self, ctx: &mut Context, peers: &mut Peers, id: JobId) {
        let Some(State::Downloading(first)) = self.state(id) else { return };
        let Some(Hedge::Trial { mut attempt, first_bytes }) = self.hedge(id) else { return };
        let elapsed = ctx.now.saturating_duration_since(attempt.mark.0);
        if attempt.file.is_none() || elapsed < HEDGE_GLANCE {
            return;
        }
        let bytes = received_bytes(ctx, attempt);
        let beside = received_bytes(ctx, first).saturating_sub(first_bytes);
        let is_faster = bytes > 0 && bytes >= beside.saturating_mul(FASTER_FACTOR);
        let is_over = elapsed >= HEDGE_TRIAL;
        if is_faster && is_over {
            attempt.measure(ctx);
            note_rate(ctx, peers, attempt);
            self.enter(id, State::Downloading(attempt));
            self.set_hedge(id, Some(Hedge::Overtaken(first)));
        } else if !is_faster {
            let is_other = |peer| peer != attempt.source && peer != first.source;
            let rate = first.rate.unwrap_or(u64::MAX);
            let other = |fetch: &Self, ctx: &mut Context| {
                fetch.choose_source(ctx, peers, id, |peer| {
                    is_other(peer) && is_much_faster(peers, peer, rate)
                })
            };
            if is_over || bytes > 0 && other(self, ctx).is_some() {
                attempt.measure(ctx);
                note_rate(ctx, peers, attempt);
                self.end_hedge(ctx, id);
            }
        }
    }

    /// Asks another source, if the first one is slow beside it and there is room.
    fn ask_another(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        first: Attempt,
        rate: u64,
    ) {
        if self.jobs.get(&id).is_none_or(|job| job.hedge_failed) {
            return;
        }
        let overtaken = match self.hedge(id) {
            None => None,
            Some(Hedge::Overtaken(attempt)) => Some(attempt.source),
            Some(Hedge::ExpectAddress { .. } | Hedge::Trial { .. }) => return,
        };
        let is_other = |peer| peer != first.source && Some(peer) != overtaken;
        let other = self.choose_source(ctx, peers, id, |peer| {
            is_other(peer) && is_much_faster(peers, peer, rate)
        });
        let Some(source) = other else { return };
        let taken = self.active.len() + self.hedges.len();
        let has_room = self.hedges.len() < HEDGES_MAX && taken < self.connections_max;
        // One that was overtaken is needed least.
        let is_overtaken = |id: &&JobId| matches!(self.hedge(**id), Some(Hedge::Overtaken(_)));
        let ended = match overtaken {
            Some(_) => Some(id),
            None if has_room => None,
            None => match self.hedges.iter().find(is_overtaken) {
                Some(other) => Some(*other),
                None => return,
            },
        };
        if !peers.link.is_registered(ctx) {
            return peers.link.wake(ctx);
        }
        ended.into_iter().for_each(|id| self.end_hedge(ctx, id));
        self.set_hedge(id, Some(Hedge::ExpectAddress { source }));
        peers.link.look_up(ctx, source);
    }

    /// The registry has answered where the source of second downloads is.
    pub(super) fn on_hedge_address(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        peer: PeerId,
        address: Option<SocketAddrV4>,
    ) {
        let asked = Some(Hedge::ExpectAddress { source: peer });
        let hedges = self.hedges.iter().filter(|id| self.hedge(**id) == asked);
        for id in hedges.copied().collect::<Vec<_>>() {
            self.set_hedge(id, None);
            let Some(State::Downloading(first)) = self.state(id) else { continue };
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match address {
                None => {
                    job.failures.note_lookup();
                    peers.note_failure(peer, None);
                    self.note_failed(ctx, peers, id, peer, None);
                }
                Some(_) if is_outranked(ctx, peers, job, peer, |other| other != first.source) => {
                    job.failures.note_lookup();
                }
                Some(address) => {
                    job.failures.note_dial(*address.ip());
                    let (path, bytes_per_second) = (job.path, first.rate.unwrap_or(0));
                    let (slow, other) = (first.source, peer);
                    ctx.report(Report::ComesSlowly { path, peer: slow, bytes_per_second, other });
                    if let Some(connection) = self.dial(ctx, id, peer, address) {
                        let attempt = Attempt::new(ctx.now, peer, connection);
                        self.set_hedge(id, Some(Hedge::Trial { attempt, first_bytes: 0 }));
                        ctx.pump(connection);
                    }
                    continue;
                }
            }
            if let Some(rate) = first.rate {
                self.ask_another(ctx, peers, id, first, rate);
            }
        }
    }

    /// If a job waits for a place and would come much faster than this one, it gets the place
    /// of this one, which waits from then on. Returns whether it does.
    fn gives_way(&mut self, ctx: &mut Context, peers: &mut Peers, id: JobId, rate: u64) -> bool {
        if self.active.len() < self.downloads_max {
            return false;
        }
        for _ in 0..SOURCES_PER_NAME_MAX.min(self.waiting.len()) {
            let Some(&(_, other)) = self.waiting.first() else { break };
            if self.best_rate(ctx, peers, other) > rate.saturating_mul(SLOW_FACTOR) {
                if !peers.link.is_registered(ctx) {
                    peers.link.wake(ctx);
                    return false;
                }
                self.end_attempts(ctx, id, CloseReason::Slower);
                self.enter(id, State::Waiting);
                self.seek(ctx, peers, other);
                self.begin_waiting(ctx, peers);
                return true;
            }
            // To the end of the line: each that waits is looked at in turn.
            self.enter(other, State::Waiting);
        }
        false
    }

    /// A connection of a job is lost. Returns whether it has another download, which goes on.
    pub(super) fn goes_on_without(
        &mut self,
        ctx: &mut Context,
        id: JobId,
        lost: ConnectionId,
    ) -> bool {
        let first = self.state(id).and_then(State::attempt);
        let second = self.hedge(id).and_then(Hedge::attempt);
        self.set_hedge(id, None);
        let left = [first, second].into_iter().flatten().find(|it| it.connection != lost);
        if let Some(left) = left {
            self.enter(id, State::Downloading(left));
            ctx.deadlines.arm(PeerWake::Fetch(Wake::Pace(id)), ctx.now);
        }
        left.is_some()
    }

    /// Ends the second download of a job.
    fn end_hedge(&mut self, ctx: &mut Context, id: JobId) {
        let attempt = self.hedge(id).and_then(Hedge::attempt);
        self.set_hedge(id, None);
        attempt.into_iter().for_each(|attempt| end(ctx, attempt, CloseReason::Slower));
    }

    /// A file came whole on one connection: ends the other download.
    pub(super) fn end_others(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        winner: ConnectionId,
    ) {
        let Some(job) = self.jobs.get(&id) else { return };
        let others = job.attempts().filter(|attempt| attempt.connection != winner);
        for other in others.collect::<Vec<_>>() {
            note_rate(ctx, peers, other);
            end(ctx, other, CloseReason::Slower);
        }
        self.set_hedge(id, None);
    }

    /// Ends every download of a job.
    pub(super) fn end_attempts(&mut self, ctx: &mut Context, id: JobId, reason: CloseReason) {
        let Some(job) = self.jobs.get(&id) else { return };
        job.attempts().for_each(|attempt| end(ctx, attempt, reason));
        self.set_hedge(id, None);
    }
}

impl Attempt {
    /// Measures its rate since it was last measured.
    fn measure(&mut self, ctx: &mut Context) {
        let bytes = received_bytes(ctx, *self);
        self.rate = Some(rate(bytes.saturating_sub(self.mark.1), self.mark.0, ctx.now));
        self.mark = (ctx.now, bytes);
    }
}

fn end(ctx: &mut Context, attempt: Attempt, reason: CloseReason) {
    attempt.file.into_iter().for_each(|file| ctx.discard(file));
    ctx.close(attempt.connection, reason);
}

/// Keeps how fast a source is for the choice among sources: by what was measured last or, of a
/// download that is over, by all of it.
fn note_rate(ctx: &mut Context, peers: &mut Peers, attempt: Attempt) {
    let elapsed = ctx.now.saturating_duration_since(attempt.began);
    let of_all = (elapsed >= HEDGE_GLANCE).then(|| rate_of_all(ctx, attempt));
    if let Some(rate) = attempt.rate.or(of_all) {
        peers.catalog.note_rate(attempt.source, rate);
    }
}

/// The same for a file that is verified. A small one shows how long an answer takes, and no rate.
pub(super) fn note_verified_rate(ctx: &mut Context, peers: &mut Peers, attempt: Attempt) {
    if received_bytes(ctx, attempt) >= UNTRIED_BYTES_PER_SECOND {
        peers.catalog.note_verified_rate(attempt.source, rate_of_all(ctx, attempt));
    }
}

fn rate_of_all(ctx: &mut Context, attempt: Attempt) -> u64 {
    rate(received_bytes(ctx, attempt), attempt.began, ctx.now)
}

fn received_bytes(ctx: &mut Context, attempt: Attempt) -> u64 {
    let download = ctx.download(attempt.connection);
    download.map_or(0, |connection| connection.download.received_bytes())
}

/// Returns bytes per second.
fn rate(bytes: u64, since: Instant, now: Instant) -> u64 {
    let elapsed_ms = now.saturating_duration_since(since).as_millis().max(1);
    (u128::from(bytes) * 1000 / elapsed_ms).try_into().unwrap_or(u64::MAX)
}

fn is_much_faster(peers: &Peers, peer: PeerId, rate: u64) -> bool {
    peers.catalog.expected_rate(peer) > rate.saturating_mul(SLOW_FACTOR)
}
