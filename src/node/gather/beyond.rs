//! Peers beyond our network, as the registry lists them: no beacon shows what these have, so all
//! of them are asked, in random order, while nobody on our network lists what is wanted.
//!
//! They stand in a line. Each answer of the registry makes a new one, and so does a new wish.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;
use std::time::Instant;

use super::Gather;
use super::finding::is_allowed_unnamed;
use super::job::{Job, State};
use super::sources::{Origin, Progress, Source};
use crate::limits::{
    ANSWER_WINDOW_MAX, ASKED_BEYOND_MAX, BEYOND_VISIT_PAUSE, FAILED_DIAL_PAUSE, FIND_BY_TAG_TIME,
    UNPROVEN_DIALS_MAX, VISITED_MAX,
};
use crate::node::peer::Context;
use crate::node::peers::Peers;
use crate::wire::PeerId;

#[derive(Debug, Default)]
pub(super) struct Beyond {
    line: VecDeque<(PeerId, SocketAddrV4)>,
    /// Addresses that are not dialed again until then.
    visited: BTreeMap<SocketAddrV4, Instant>,
    /// Whether a peer was lost of which something was fetched.
    has_lost_source: bool,
}

impl Beyond {
    /// Forgets whom it has visited: something else is wanted.
    pub(super) fn forget_visits(&mut self) {
        self.visited.clear();
    }

    /// Nothing is wanted.
    pub(super) fn rest(&mut self) {
        self.line.clear();
        self.has_lost_source = false;
    }
}

impl Gather {
    /// Puts all peers that the registry lists in line, but those that are heard here.
    pub(super) fn line_up(&mut self, ctx: &mut Context, peers: &Peers) {
        let now = ctx.now;
        let heard: BTreeSet<_> = peers.beacons.addresses(now).collect();
        self.beyond.visited.retain(|_, until| now < *until);
        let is_new = |address: &SocketAddrV4| {
            !heard.contains(address) && !self.beyond.visited.contains_key(address)
        };
        let mut line: Vec<_> =
            peers.listing.listed(ctx).filter(|(_, address)| is_new(address)).collect();
        ctx.rng.shuffle(&mut line);
        self.beyond.line = line.into();
    }

    /// Dials those in line while they are to be asked, as many at once as may be.
    pub(super) fn dial_beyond(&mut self, ctx: &mut Context) {
        if !self.asks_beyond(ctx) {
            return;
        }
        let is_sealed = ctx.settings.group.is_some();
        while let Some(&(peer, address)) = self.beyond.line.front() {
            let is_known = self.sources.values().any(|source| source.address == address);
            if is_known || !is_allowed_unnamed(ctx, address, peer) {
                self.beyond.line.pop_front();
                continue;
            }
            let of_registry = || self.sources.values().filter(|it| it.origin == Origin::Registry);
            let dialing = of_registry().filter(|source| !source.is_open()).count();
            let is_full = of_registry().count() >= ASKED_BEYOND_MAX;
            if dialing >= UNPROVEN_DIALS_MAX
                || is_full && !self.leave_one_beyond(ctx)
                || self.dial(ctx, (address, is_sealed), Origin::Registry).is_none()
            {
                return;
            }
            self.beyond.line.pop_front();
        }
    }

    /// Returns whether something is wanted that nobody on our network lists.
    fn asks_beyond(&mut self, ctx: &Context) -> bool {
        let has_source = self.sources.values().any(|source| source.is_open() && source.is_useful);
        let is_lacking = self.beyond.has_lost_source || !has_source;
        let mut asks = false;
        for job in self.wishes.values_mut() {
            asks |= match job.state {
                State::Seeking | State::HandedOver => {
                    let waits = job.tag.is_some() && ctx.settings.beacons.is_some();
                    let is_due = !waits || ctx.now >= job.began + FIND_BY_TAG_TIME;
                    job.asks_beyond |= is_due;
                    is_due
                }
                State::Answering { .. } => job.asks_beyond && is_in_window(ctx.now, job),
                State::Fetching => is_lacking,
                State::Ended => false,
            };
        }
        asks
    }

    /// Leaves a peer that has nothing which is wanted. Returns whether there was one.
    fn leave_one_beyond(&mut self, ctx: &Context) -> bool {
        let has_nothing = |source: &Source| {
            source.origin == Origin::Registry
                && source.is_open()
                && !source.is_useful
                && !source.lists.is_empty()
                && source.held.is_empty()
                && source
                    .lists
                    .values()
                    .all(|list| list.progress == Progress::Whole && list.entries == 0)
        };
        let mut sources = self.sources.iter();
        let Some((&id, source)) = sources.find(|(_, source)| has_nothing(source)) else {
            return false;
        };
        let address = source.address;
        self.note_visit(ctx, address, true);
        self.sources.remove(&id);
        self.to_close.push(id);
        true
    }

    /// A peer there had nothing that is wanted, or could not be dialed: it is left alone for a
    /// while.
    pub(super) fn note_visit(&mut self, ctx: &Context, address: SocketAddrV4, was_there: bool) {
        let pause = if was_there { BEYOND_VISIT_PAUSE } else { FAILED_DIAL_PAUSE };
        if self.beyond.visited.len() < VISITED_MAX {
            self.beyond.visited.insert(address, ctx.now + pause);
        }
    }

    /// A session of ours is over, or the dial for it.
    pub(super) fn on_beyond_lost(&mut self, ctx: &Context, source: &Source) {
        if source.origin == Origin::Registry {
            self.beyond.has_lost_source |= source.is_useful;
            if !source.is_open() {
                self.note_visit(ctx, source.address, false);
            }
        }
    }

    /// Returns whether peers beyond our network may still list something for this wish in time.
    pub(super) fn is_beyond_asked(&self, now: Instant, job: &Job) -> bool {
        let is_awaited = |source: &Source| {
            source.origin == Origin::Registry
                && !source.is_refusing
                && source.progress_of(job.wish.root()) != Some(Progress::Whole)
        };
        job.asks_beyond && is_in_window(now, job) && self.sources.values().any(is_awaited)
    }
}

fn is_in_window(now: Instant, job: &Job) -> bool {
    now < job.began + ANSWER_WINDOW_MAX
}
