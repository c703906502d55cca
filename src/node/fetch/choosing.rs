//! Which source a job asks next.
//!
//! A source that failed is asked again after a delay of its own. Those that may be asked rank
//! by, in this order:
//!
//! 1. when their address was dialed for this file: not yet, or the longest time ago;
//! 2. whether their address is without failures;
//! 3. whether they are not known to be slow beside another;
//! 4. how seldom they failed for this file, and at all;
//! 5. how few downloads they have;
//! 6. chance.
//!
//! Only the registry knows where a source is. It is asked for a source of which that is not
//! known; if the address then turns out to have had its turn, another source is next. So
//! however many ids one address has, each other one is dialed after at most one more dial there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use super::failures::Next;
use super::job::{Job, State};
use super::{Fetch, JobId, PeerWake, Wake};
use crate::limits::SLOW_FACTOR;
use crate::node::peer::Context;
use crate::node::peers::{Address, Peers};
use crate::node::{FetchError, PathId, Report};
use crate::proto::CloseReason;
use crate::wire::PeerId;

/// How a source ranks by its address: the lower goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    turn: u64,
    has_failed: bool,
    is_slow: bool,
}

impl Fetch {
    pub(crate) fn on_offer(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        path: PathId,
        source: PeerId,
    ) {
        let Some(&id) = self.by_path.get(&path) else { return };
        let Some(job) = self.jobs.get(&id) else { return };
        match job.state {
            State::ExpectOffer => self.seek(ctx, peers, id),
            State::BackedOff if !job.failures.has(source) => self.seek(ctx, peers, id),
            _ => {}
        }
    }

    /// The delay of a source may be over: it is asked again.
    pub(super) fn on_retry(&mut self, ctx: &mut Context, peers: &mut Peers, id: JobId) {
        if self.state(id) == Some(State::BackedOff) {
            self.seek(ctx, peers, id);
        }
    }

    /// Finds a source for a job that has none, and asks where it is.
    pub(super) fn seek(&mut self, ctx: &mut Context, peers: &mut Peers, id: JobId) {
        ctx.deadlines.disarm(PeerWake::Fetch(Wake::Retry(id)));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let is_offered = peers.catalog.sources(job.path).next().is_some();
        job.was_offered |= is_offered;
        let has_room =
            self.active.len() - usize::from(self.active.contains_key(&id)) < self.downloads_max;
        if !is_offered {
            job.failures.forget_sources();
            self.enter(id, State::ExpectOffer);
        } else if !has_room || !peers.link.is_registered(ctx) {
            self.enter(id, State::Waiting);
            peers.link.wake(ctx);
            self.tell_waiting(ctx, peers);
        } else if let Some(source) = self.choose_source(ctx, peers, id, |_| true) {
            if let Some(connection) = self.take_kept(source) {
                return self.fetch_on(ctx, peers, id, source, connection);
            }
            self.enter(id, State::ExpectAddress { source });
            peers.link.look_up(ctx, source);
        } else {
            self.back_off(ctx, peers, id);
        }
    }

    fn back_off(&mut self, ctx: &mut Context, peers: &Peers, id: JobId) {
        let error = self.why_not(peers, id);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let path = job.path;
        let again_at = match job.failures.next(peers.catalog.sources(path), retries_max(ctx)) {
            Next::TooLarge => return self.fail(ctx, id, FetchError::TooLarge),
            Next::Never => return self.fail(ctx, id, error),
            Next::At(at) => at.max(ctx.now),
        };
        // Sources under new ids fail again and again: that is no news.
        if job.failures.told_until.is_none_or(|until| ctx.now >= until) {
            job.failures.told_until = Some(again_at);
            let retry_in = again_at.saturating_duration_since(ctx.now);
            let again = job.failures.are_as_before(peers.catalog.sources(path));
            ctx.report(Report::AllSourcesFailed { path, retry_in, again });
        }
        self.enter(id, State::BackedOff);
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Retry(id)), again_at);
    }

    /// Returns the source that is to be asked next among those that may be.
    pub(super) fn choose_source(
        &self,
        ctx: &mut Context,
        peers: &Peers,
        id: JobId,
        may_be: impl Fn(PeerId) -> bool,
    ) -> Option<PeerId> {
        let job = self.jobs.get(&id)?;
        let retries_max = retries_max(ctx);
        let sources = peers.catalog.sources(job.path).filter(|peer| may_be(*peer));
        let (now, best_rate) = (ctx.now, best_rate(ctx, peers, job));
        let mut downloads: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (_, source) in self.active.iter().filter(|(other, _)| **other != id) {
            *downloads.entry(*source).or_default() += 1;
        }
        let ranked =
            sources.filter(|peer| job.failures.may_be_asked(now, *peer, retries_max)).map(|peer| {
                let downloads = downloads.get(&peer).copied();
                let failures = (job.failures.count(peer), peers.catalog.failures(peer));
                (place(peers, job, best_rate, peer), failures, downloads, ctx.rng.u32(..), peer)
            });
        ranked.min().map(|(.., peer)| peer)
    }

    /// The registry has answered where a peer is.
    pub(crate) fn on_address(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        peer: PeerId,
        address: Option<SocketAddrV4>,
    ) {
        let address = address.filter(|address| can_be_dialed(*address));
        let known = address.map_or(Address::Nowhere, |address| Address::Known(*address.ip()));
        peers.catalog.note_address(peer, known);
        let asked = State::ExpectAddress { source: peer };
        let is_asked = |id: &&JobId| self.state(**id) == Some(asked);
        let firsts = self.active.keys().filter(is_asked).copied().collect::<Vec<_>>();
        self.on_hedge_address(ctx, peers, peer, address);
        for id in firsts {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match address {
                None => {
                    job.failures.note_lookup();
                    let (path, again) = (job.path, job.failures.is_unknown(peer));
                    ctx.report(Report::SourceFailed { path, peer, reason: None, again });
                    peers.note_failure(peer, None);
                    self.source_failed(ctx, peers, id, peer, None);
                }
                Some(_) if is_outranked(ctx, peers, job, peer, |_| true) => {
                    job.failures.note_lookup();
                    self.seek(ctx, peers, id);
                    self.begin_waiting(ctx, peers);
                }
                Some(address) => {
                    job.failures.note_dial(*address.ip());
                    if self.dial_source(ctx, id, peer, address).is_none() {
                        self.source_failed(ctx, peers, id, peer, None);
                    }
                }
            }
        }
    }

    /// Goes on to the next source.
    pub(super) fn source_failed(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        id: JobId,
        source: PeerId,
        reason: Option<CloseReason>,
    ) {
        self.note_failed(ctx, peers, id, source, reason);
        self.seek(ctx, peers, id);
        self.begin_waiting(ctx, peers);
    }

    pub(super) fn note_failed(
        &mut self,
        ctx: &mut Context,
        peers: &Peers,
        id: JobId,
        source: PeerId,
        reason: Option<CloseReason>,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.failures.note(ctx.now, &mut ctx.rng, source, reason);
        let sources = || peers.catalog.sources(job.path);
        let known = |peer| match peers.catalog.address(peer) {
            Address::Known(address) => Some(address),
            Address::Unasked | Address::Nowhere => None,
        };
        job.failures.keep_to(
            || sources().collect(),
            || sources().filter_map(known).collect::<BTreeSet<_>>(),
        );
    }

    /// Returns the rate to be expected of the fastest source that may be asked for a file.
    pub(super) fn best_rate(&self, ctx: &Context, peers: &Peers, id: JobId) -> u64 {
        self.jobs.get(&id).map_or(0, |job| best_rate(ctx, peers, job))
    }
}

/// Returns how often a source that failed is asked again for one file.
fn retries_max(ctx: &Context) -> u32 {
    ctx.guest().map_or(u32::MAX, |guest| guest.retries_max)
}

fn best_rate(ctx: &Context, peers: &Peers, job: &Job) -> u64 {
    let may_be_asked = |peer: &PeerId| job.failures.may_be_asked(ctx.now, *peer, retries_max(ctx));
    let sources = peers.catalog.sources(job.path).filter(may_be_asked);
    sources.map(|peer| peers.catalog.expected_rate(peer)).max().unwrap_or(0)
}

fn place(peers: &Peers, job: &Job, best_rate: u64, peer: PeerId) -> Place {
    let (address, has_failed) = match peers.catalog.address(peer) {
        Address::Known(address) => (Some(address), peers.addresses.has_failed(address)),
        Address::Unasked => (None, false),
        Address::Nowhere => (None, true),
    };
    let is_slow = peers.catalog.expected_rate(peer).saturating_mul(SLOW_FACTOR) < best_rate;
    Place { turn: job.failures.turn(address), has_failed, is_slow }
}

/// Returns whether a source, whose address has just come to be known, has to wait for another
/// one that may be asked.
pub(super) fn is_outranked(
    ctx: &Context,
    peers: &Peers,
    job: &Job,
    peer: PeerId,
    may_be: impl Fn(PeerId) -> bool,
) -> bool {
    let best_rate = best_rate(ctx, peers, job);
    let own = place(peers, job, best_rate, peer);
    let mut others = peers.catalog.sources(job.path).filter(|other| {
        *other != peer
            && may_be(*other)
            && job.failures.may_be_asked(ctx.now, *other, retries_max(ctx))
    });
    job.failures.may_look_up() && others.any(|other| place(peers, job, best_rate, other) < own)
}

/// Returns whether an address from the registry can be that of a peer at all.
fn can_be_dialed(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast()
}
