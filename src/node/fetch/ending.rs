//! Jobs end, and the program with the last of them if it was told so; a guest also gives
//! up when its time is over.

use super::job::{Job, State};
use super::searches::Search;
use super::{Fetch, JobId, PeerWake, Wake};
use crate::node::peer::Context;
use crate::node::peers::Peers;
use crate::node::share::Share;
use crate::node::{Doubt, FetchError, NamePattern, Outcome, PathId, Report, Wish};
use crate::proto::CloseReason;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Patterns that no name ever matched.
    unmatched: usize,
    pub(super) error: Option<FetchError>,
    /// Whether the user was told of a failure that the last line is to tell.
    is_told: bool,
    /// Why a pattern may match more than was heard of.
    pub(super) doubt: Option<Doubt>,
}

impl Fetch {
    pub(super) fn fail(&mut self, ctx: &mut Context, id: JobId, error: FetchError) {
        if let Some(job) = self.jobs.get(&id) {
            let path = job.path;
            self.report_failed(ctx, path, error);
        }
        self.enter(id, State::Failed(error));
        self.end_if_done(ctx);
    }

    pub(super) fn report_failed(&mut self, ctx: &mut Context, path: PathId, error: FetchError) {
        let is_one =
            self.jobs.len() == 1 && self.searches.open.is_empty() && self.tally.unmatched == 0;
        let is_one = is_one && ctx.gathered.is_nothing();
        let is_all = is_one && ctx.guest().is_some();
        self.tally.is_told |= !is_all;
        ctx.report(Report::FetchFailed { path, error, is_all });
    }

    pub(crate) fn open(&self) -> usize {
        self.jobs.len() - self.tally.done - self.tally.failed
    }

    /// Ends the program if it is to end with the last job, and that has ended.
    pub(crate) fn end_if_done(&self, ctx: &mut Context) {
        let gathered = ctx.gathered;
        let is_open = self.open() > 0 || !self.searches.open.is_empty() || gathered.open > 0;
        if !ctx.settings.exit_when_done || is_open {
            return;
        }
        let Tally { done, failed, unmatched, error, is_told, doubt } = self.tally;
        let (done, failed) = (done + gathered.done, failed + unmatched + gathered.failed);
        let error = gathered.error.or(error);
        let is_told = is_told || gathered.is_told;
        ctx.end(match (error, doubt) {
            (Some(error), _) if failed > 0 => Outcome::SomeFailed { failed, done, error, is_told },
            (_, Some(doubt)) => Outcome::MaybeMore { done, doubt },
            _ => Outcome::AllDone,
        });
    }

    /// The program ends: nothing more is tried.
    pub(crate) fn stop(&mut self) {
        self.jobs.clear();
        self.by_path.clear();
        self.hedges.clear();
        self.tally = Tally::default();
    }

    /// A guest's time is up: no more files will come. One that is synced, or compared, is
    /// there.
    pub(super) fn give_all_up(&mut self, ctx: &mut Context, peers: &mut Peers, share: &Share) {
        let (unmatched, held) = self.cut_searches_short();
        for Search { pattern, nearly, .. } in unmatched {
            ctx.report(Report::NothingMatched { pattern: pattern.as_str().to_owned() });
            self.tally.unmatched += 1;
            self.tally.is_told = true;
            let nearly = nearly.map(FetchError::NearlyOffered);
            self.tally.error = Some(nearly.unwrap_or_else(|| why_nothing(peers)));
        }
        for name in held {
            let path = ctx.paths.intern_name(name);
            self.want_one(ctx, peers, share, path);
        }
        let gives_up = |job: &Job| !job.state.is_end() && !job.state.is_arrived();
        let open = self.jobs.iter().filter(|(_, job)| gives_up(job));
        let failing = open.map(|(id, job)| (*id, job.path, self.why_not(peers, *id)));
        let failing: Vec<_> = failing.collect();
        // Said once, by the last line, if it is the same of every file.
        let is_same = failing.windows(2).all(|two| matches!(two, [one, other] if one.2 == other.2));
        let is_all = is_same && failing.len() == self.jobs.len() && self.tally.unmatched == 0;
        let is_all = is_all && ctx.gathered.is_nothing();
        self.tally.is_told |= !failing.is_empty() && !is_all;
        for (id, path, error) in failing {
            ctx.report(Report::FetchFailed { path, error, is_all });
            self.end_attempts(ctx, id, CloseReason::Stopping);
            self.enter(id, State::Failed(error));
            ctx.deadlines.disarm(PeerWake::Fetch(Wake::Retry(id)));
        }
        self.end_if_done(ctx);
    }

    /// Nobody wants a file any more: what came of it goes. One that came whole is there anyway.
    pub(crate) fn withdraw(&mut self, ctx: &mut Context, peers: &mut Peers, path: PathId) {
        let Some(&id) = self.by_path.get(&path) else { return };
        if self.state(id).is_none_or(|state| state.is_end() || state.is_arrived()) {
            return;
        }
        ctx.report(Report::Withdrawn { path });
        ctx.deadlines.disarm(PeerWake::Fetch(Wake::Retry(id)));
        self.end_attempts(ctx, id, CloseReason::Stopping);
        self.remove(ctx, id);
        self.begin_waiting(ctx, peers);
        self.end_if_done(ctx);
    }

    /// A file is wanted anew: how it ended before counts no more.
    pub(crate) fn forget_end(&mut self, ctx: &mut Context, path: PathId) {
        if let Some(&id) = self.by_path.get(&path)
            && self.state(id).is_some_and(State::is_end)
        {
            self.remove(ctx, id);
        }
    }

    /// A source of version 1 lists a file: it is not fetched here, unless a transfer has begun.
    /// Returns whether it is not.
    pub(crate) fn give_back(&mut self, ctx: &mut Context, peers: &mut Peers, path: PathId) -> bool {
        let Some(&id) = self.by_path.get(&path) else { return true };
        let has_begun = |state: State| {
            state.is_end() || state.is_arrived() || matches!(state, State::Downloading(_))
        };
        if self.state(id).is_none_or(has_begun) {
            return false;
        }
        ctx.deadlines.disarm(PeerWake::Fetch(Wake::Retry(id)));
        self.end_attempts(ctx, id, CloseReason::Stopping);
        self.remove(ctx, id);
        self.begin_waiting(ctx, peers);
        true
    }

    /// Returns whether a wish that was handed over waits for something.
    pub(crate) fn is_wanted(&self, ctx: &Context, wish: &Wish) -> bool {
        let path = wish.name().and_then(|name| ctx.paths.id_of(&name.into()));
        let searches = || self.searches.open.iter();
        let is_sought = |pattern: NamePattern| {
            searches().any(|search| search.pattern.as_str() == pattern.as_str())
        };
        path.is_some_and(|path| self.wanted_among(path).is_some())
            || wish.name_pattern().is_some_and(is_sought)
    }

    /// Returns the files that are wanted and not there.
    pub(crate) fn open_paths(&self) -> impl Iterator<Item = PathId> {
        self.jobs.values().filter(|job| !job.state.is_end()).map(|job| job.path)
    }

    pub(super) fn why_not(&self, peers: &Peers, id: JobId) -> FetchError {
        let Some(job) = self.jobs.get(&id) else { return why_nothing(peers) };
        match job.nearly_offered {
            _ if job.was_offered => {}
            Some(name) => return FetchError::NearlyOffered(name),
            None => return why_nothing(peers),
        }
        let waits = job.state == State::Waiting && peers.link.is_failing();
        let is_registry_missing = waits || !peers.link.was_registered;
        match job.failures.last {
            _ if !job.was_connected && is_registry_missing => FetchError::Unreachable,
            Some(CloseReason::ChecksumWrong) => FetchError::ChecksumWrong,
            Some(CloseReason::TooLarge) => FetchError::TooLarge,
            Some(CloseReason::WriteFailed(error)) => FetchError::File(error),
            reason if job.was_connected || reason.is_some_and(|it| it.is_our_fault()) => {
                FetchError::NotGiven(reason)
            }
            reason => FetchError::NotReached(reason),
        }
    }
}

fn why_nothing(peers: &Peers) -> FetchError {
    peers.why_nothing(FetchError::NotOffered)
}
