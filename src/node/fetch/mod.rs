//! What we want by version 0: jobs, each from a name to a verified file.
//!
//! Owns the jobs, the patterns that make jobs, and the connections of downloads that are
//! kept for the next file. Does not know what we have.
//!
//! | file | what happens there |
//! |---|---|
//! | [`job`] | the state of one job |
//! | [`failures`] | how its sources failed, and whose turn it is |
//! | this file | the table of jobs |
//! | [`choosing`] | which source is asked next |
//! | [`download`] | a file comes in |
//! | [`hedging`] | a second download of what comes slowly, and places for what would not |
//! | [`comparing`] | what stood under the final name is compared |
//! | [`ending`] | jobs that end, and giving up |
//! | [`searches`] | jobs for every name that matches a pattern |
//!
//! A file that is too large at all its sources is given up, and so is one that cannot be
//! written or does not fit on the disk; other failures end only a guest's job.

mod choosing;
mod comparing;
mod download;
mod ending;
mod failures;
mod hedging;
mod job;
mod searches;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use self::ending::Tally;
use self::hedging::Hedge;
pub(super) use self::job::JobId;
use self::job::{Job, State};
use self::searches::Searches;
use super::peer::{Context, Wake as PeerWake};
use super::peers::Peers;
use super::share::Share;
use super::{Action, ConnectionId, FetchError, PathId, Report};
use crate::content::OnConflict;
use crate::limits::{DOWNLOADS_MAX, HEDGES_MAX, JOBS_MAX, OFFER_SLACK_SHARE};
use crate::wire::PeerId;
use crate::wire::v0::FileName;
use crate::wire::{FilePath, folded};

/// What we want.
///
/// Invariants: `by_path` has each job once. `active`, `waiting`, `arrived`, `hedges` and `tally`
/// say by state what `jobs` says by id.
#[derive(Debug)]
pub(super) struct Fetch {
    jobs: BTreeMap<JobId, Job>,
    by_path: BTreeMap<PathId, JobId>,
    next_job: u64,
    /// Patterns that names are held against as they are heard of.
    searches: Searches,
    tally: Tally,
    /// Jobs that take up a source: at most `downloads_max`.
    active: BTreeMap<JobId, PeerId>,
    /// Jobs whose file came whole, and is synced at the end of the turn, or compared.
    arrived: BTreeSet<JobId>,
    /// Jobs with a source on offer that wait for the registry or for a free download.
    /// Each has its place in the line.
    waiting: BTreeSet<(u64, JobId)>,
    next_turn: u64,
    /// Jobs with a second download.
    hedges: BTreeSet<JobId>,
    pub(super) downloads_max: usize,
    /// Downloads of both kinds, and connections that are kept.
    connections_max: usize,
    /// Connections of downloads that are done, kept for the next file of the same source.
    kept: BTreeSet<(PeerId, ConnectionId)>,
    /// Jobs whose file nobody has offered, by their names [`folded`]: one that is offered under
    /// nearly the same name is told.
    unheard: BTreeMap<String, JobId>,
    /// When each peer has had the time to offer each of its files once.
    heard_all_at: Instant,
    /// Whether it was told, since the registry was last there, that a job waits for it.
    was_told_of_registry: bool,
}

/// What a deadline wakes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// The delay of a job is over.
    Retry(JobId),
    /// The rate of a download may be measured.
    Pace(JobId),
    /// What stands under a final name is hashed again.
    Compare(JobId),
    /// A search may have listened for long enough.
    Searches,
    /// Each peer has had the time to offer each of its files once.
    HeardAll,
    GiveUp,
}

impl Fetch {
    /// Fetches nothing yet; downloads take up at most so many connections.
    pub(super) fn new(ctx: &mut Context, connections_max: usize) -> Self {
        if let Some(timeout) = ctx.guest().and_then(|guest| guest.timeout) {
            ctx.deadlines.arm(PeerWake::Fetch(Wake::GiveUp), ctx.now + timeout);
        }
        let interval = ctx.settings.offer_interval;
        Self {
            jobs: BTreeMap::new(),
            by_path: BTreeMap::new(),
            next_job: 0,
            searches: Searches::default(),
            tally: Tally::default(),
            active: BTreeMap::new(),
            arrived: BTreeSet::new(),
            waiting: BTreeSet::new(),
            next_turn: 0,
            hedges: BTreeSet::new(),
            // The rest is for second downloads.
            downloads_max: connections_max
                - connections_max * HEDGES_MAX / (DOWNLOADS_MAX + HEDGES_MAX),
            connections_max,
            kept: BTreeSet::new(),
            heard_all_at: ctx.now + interval + interval / OFFER_SLACK_SHARE,
            was_told_of_registry: false,
            unheard: BTreeMap::new(),
        }
    }

    pub(super) fn on_wake(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        wake: Wake,
    ) {
        match wake {
            Wake::Retry(job) => self.on_retry(ctx, peers, job),
            Wake::Pace(job) => self.on_pace(ctx, peers, job),
            Wake::Compare(job) => self.compare(ctx, job),
            Wake::Searches => self.look_at_searches(ctx, peers, share),
            Wake::HeardAll => self.tell_not_offered(ctx),
            Wake::GiveUp => self.give_all_up(ctx, peers, share),
        }
    }

    pub(super) fn want(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        names: &[FileName],
    ) {
        for &name in names {
            let path = ctx.paths.intern_name(name);
            self.want_one(ctx, peers, share, path);
        }
        self.end_if_done(ctx);
    }

    fn want_one(&mut self, ctx: &mut Context, peers: &mut Peers, share: &Share, path: PathId) {
        if self.jobs.len() >= JOBS_MAX {
            self.forget_ended_jobs(ctx);
        }
        if let Some(&job) = self.by_path.get(&path) {
            match self.state(job) {
                // A repeated request is reported again, and what has gone since is fetched again.
                Some(State::Done | State::Failed(_)) => self.remove(ctx, job),
                Some(State::ExpectOffer) => return self.tell_expected(ctx, path),
                _ => return,
            }
        } else if self.jobs.len() >= JOBS_MAX {
            return self.report_failed(ctx, path, FetchError::TooMany);
        }
        let job = self.insert(ctx, path);
        if share.has(path) {
            let skips = ctx.guest().is_some_and(|guest| guest.on_conflict == OnConflict::Skip);
            ctx.report(match skips {
                true => Report::Skipped { path },
                false => Report::AlreadyThere { path },
            });
            return self.enter(job, State::Done);
        }
        if peers.catalog.sources(path).next().is_none() {
            if let Some(name) = ctx.paths.get(path) {
                self.unheard.insert(folded(name.as_str()), job);
            }
            self.tell_expected(ctx, path);
        }
        self.seek(ctx, peers, job);
    }

    /// Nobody offers a wanted file. The user is told once everybody could have offered it.
    fn tell_expected(&self, ctx: &mut Context, path: PathId) {
        let report = Report::WaitingForOffer { path };
        if ctx.now >= self.heard_all_at {
            return ctx.report(report);
        }
        ctx.tell_programs(&report);
        ctx.deadlines.arm(PeerWake::Fetch(Wake::HeardAll), self.heard_all_at);
    }

    fn tell_not_offered(&mut self, ctx: &mut Context) {
        self.tell_nothing_matches(ctx);
        let is_expected = |job: &&Job| job.state == State::ExpectOffer && !job.was_offered;
        for job in self.jobs.values().filter(is_expected) {
            ctx.act(Action::Report(Report::WaitingForOffer { path: job.path }));
            if let Some(offered) = job.nearly_offered {
                ctx.report(Report::NearlyOffered { path: job.path, offered });
            }
        }
    }

    /// A name is offered. If a file is wanted under nearly this name, which nobody offers, the
    /// user is told: once everybody could have offered that.
    pub(crate) fn note_nearly_offered(&mut self, ctx: &mut Context, offered: PathId) {
        if self.unheard.is_empty() {
            return;
        }
        let Some(name) = ctx.paths.get(offered).and_then(FilePath::name) else { return };
        let Some(id) = self.unheard.remove(&folded(name.as_str())) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.path == offered || job.was_offered {
            return;
        }
        job.nearly_offered = Some(name);
        if ctx.now >= self.heard_all_at {
            ctx.report(Report::NearlyOffered { path: job.path, offered: name });
        }
    }

    /// Tells, once while the registry is not there, that a job waits for it.
    pub(super) fn tell_waiting(&mut self, ctx: &mut Context, peers: &Peers) {
        if !peers.link.is_failing() || self.was_told_of_registry {
            return;
        }
        let path = self.waiting.first().and_then(|(_, id)| self.jobs.get(id)).map(|job| job.path);
        let Some(path) = path else { return };
        if let Some((peer, from)) = peers.catalog.first_source(path) {
            self.was_told_of_registry = true;
            let registry = ctx.settings.registry.clone();
            ctx.report(Report::WaitingForRegistry { path, peer, from, registry });
        }
    }

    fn insert(&mut self, ctx: &mut Context, path: PathId) -> JobId {
        let id = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(id, Job::new(path, ctx.settings.simulate_checksum_failure));
        self.by_path.insert(path, id);
        ctx.paths.hold(path);
        id
    }

    fn remove(&mut self, ctx: &mut Context, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        self.leave(id, job.state, job.turn);
        if let Some(name) = ctx.paths.get(job.path).filter(|_| !job.was_offered) {
            let name = folded(name.as_str());
            if self.unheard.get(&name) == Some(&id) {
                self.unheard.remove(&name);
            }
        }
        self.by_path.remove(&job.path);
        ctx.paths.release(job.path);
    }

    /// Makes room for other jobs, unless the ends of all are still to be counted.
    fn forget_ended_jobs(&mut self, ctx: &mut Context) {
        if !ctx.settings.exit_when_done {
            let ended = self.jobs.iter().filter(|(_, job)| job.state.is_end());
            for job in ended.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.remove(ctx, job);
            }
        }
    }

    /// Returns how many jobs are open, if one of them is for this path.
    pub(super) fn wanted_among(&self, path: PathId) -> Option<usize> {
        let job = self.by_path.get(&path).and_then(|id| self.jobs.get(id));
        job.is_some_and(|job| !job.state.is_end()).then(|| self.open())
    }

    fn state(&self, job: JobId) -> Option<State> {
        self.jobs.get(&job).map(|job| job.state)
    }

    /// A job enters a state: the one place that writes it. The tables by state follow.
    fn enter(&mut self, id: JobId, state: State) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (before, turn) = (std::mem::replace(&mut job.state, state), job.turn);
        if state == State::Waiting {
            self.next_turn += 1;
            job.turn = self.next_turn;
        }
        self.leave(id, before, turn);
        match state {
            State::Done => self.tally.done += 1,
            State::Failed(error) => {
                self.tally.failed += 1;
                self.tally.error = Some(error);
            }
            State::Waiting => _ = self.waiting.insert((self.next_turn, id)),
            state if state.is_arrived() => _ = self.arrived.insert(id),
            state => {
                if let Some(source) = state.source() {
                    self.active.insert(id, source);
                }
            }
        }
        self.check(id);
    }

    /// Checks, in a debug build, that the tables by state say of a job what it says itself.
    fn check(&self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        debug_assert_eq!(self.active.get(&id).copied(), job.state.source());
        debug_assert_eq!(self.waiting.contains(&(job.turn, id)), job.state == State::Waiting);
        debug_assert_eq!(self.arrived.contains(&id), job.state.is_arrived());
        debug_assert_eq!(self.hedges.contains(&id), job.hedge.is_some());
        debug_assert!(job.hedge.is_none() || job.state.attempt().is_some(), "a hedge is left");
    }

    fn leave(&mut self, id: JobId, state: State, turn: u64) {
        match state {
            State::Done => self.tally.done -= 1,
            State::Failed(_) => self.tally.failed -= 1,
            _ => {}
        }
        self.active.remove(&id);
        self.waiting.remove(&(turn, id));
        self.arrived.remove(&id);
    }

    /// Begins the jobs that wait for the registry or for room, as far as possible.
    pub(super) fn begin_waiting(&mut self, ctx: &mut Context, peers: &mut Peers) {
        if peers.link.is_registered(ctx) {
            self.was_told_of_registry = false;
        }
        while self.active.len() < self.downloads_max {
            let Some(&(_, job)) = self.waiting.first() else { break };
            if !peers.link.is_registered(ctx) {
                peers.link.wake(ctx);
                break;
            }
            self.seek(ctx, peers, job);
        }
        if !self.has_more_to_fetch() {
            while let Some(&(_, connection)) = self.kept.first() {
                self.let_go(ctx, connection);
            }
        }
    }

    fn has_more_to_fetch(&self) -> bool {
        self.active.len() + self.arrived.len() < self.open()
    }

    /// The registry is gone: what was asked of it waits until it is back.
    pub(super) fn forget_lookups(&mut self) {
        for id in self.active.keys().copied().collect::<Vec<_>>() {
            if let Some(State::ExpectAddress { .. }) = self.state(id) {
                self.enter(id, State::Waiting);
            }
        }
        for id in self.hedges.iter().copied().collect::<Vec<_>>() {
            if let Some(Hedge::ExpectAddress { .. }) = self.hedge(id) {
                self.set_hedge(id, None);
            }
        }
    }
}
