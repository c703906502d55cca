//! Files and wishes end, and the program with the last of them if it was told so.

use super::job::{State, WishId};
use super::report::WishReport;
use super::settling::tell;
use super::{Gather, Others};
use crate::content::FileError;
use crate::node::peer::Context;
use crate::node::{FetchError, PathId, Report};

/// How many files ended, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) done: usize,
    failed: usize,
    error: Option<FetchError>,
    /// Whether the user knows why something failed.
    is_told: bool,
}

/// What a program that ends with its last file is to know of wishes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    /// Wishes that have not ended.
    pub(crate) open: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    pub(crate) error: Option<FetchError>,
    /// Whether the user knows why something failed.
    pub(crate) is_told: bool,
}

impl Gathered {
    /// Returns whether no wish of version 1 has any part in how the program ends.
    pub(crate) fn is_nothing(&self) -> bool {
        self.open + self.done + self.failed == 0
    }
}

impl Tally {
    /// Something failed; `is_all` if the program ends with the words for it.
    pub(super) fn fail(&mut self, error: FetchError, is_all: bool) {
        self.failed += 1;
        self.is_told |= !is_all;
        self.error = Some(error);
    }
}

impl Gather {
    /// Tells the other parts how many wishes are open.
    pub(super) fn count(&self, ctx: &mut Context) {
        let Tally { done, failed, error, is_told } = self.tally;
        let open = self.wishes.values().filter(|job| job.is_open()).count();
        ctx.gathered = Gathered { open, done, failed, error, is_told };
    }

    /// A file is there, or will not come: why, and whether the program ends with these words.
    pub(super) fn on_file_ended(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        path: PathId,
        result: Result<(), (FetchError, bool)>,
    ) {
        let Some(active) = self.files.end(ctx, path, result.is_ok()) else { return };
        self.on_one_ended(active.wish, result);
        self.end_wish_if_done(ctx, others, active.wish);
    }

    /// The answer to [`MakeFolder`](crate::node::Action::MakeFolder).
    pub(crate) fn on_folder_made(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        path: PathId,
        made: Result<(), FileError>,
    ) {
        let Some(id) = self.folders.remove(&path) else { return };
        if let Err(error) = made {
            let error = FetchError::File(error);
            self.tally.fail(error, false);
            ctx.report(Report::FetchFailed { path, error, is_all: false });
        }
        ctx.paths.release(path);
        if let Some(job) = self.wishes.get_mut(&id) {
            job.open = job.open.saturating_sub(1);
        }
        self.end_wish_if_done(ctx, others, id);
        self.look(ctx, others);
    }

    fn on_one_ended(&mut self, id: WishId, result: Result<(), (FetchError, bool)>) {
        if let Some(job) = self.wishes.get_mut(&id) {
            job.open = job.open.saturating_sub(1);
        }
        match result {
            Ok(()) => self.tally.done += 1,
            Err((error, is_all)) => self.tally.fail(error, is_all),
        }
    }

    pub(super) fn end_wish_if_done(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        id: WishId,
    ) {
        let is_done = self.wishes.get(&id).is_some_and(|job| {
            job.state == State::Fetching
                && job.open == 0
                && job.unhashed.is_empty()
                && job.names.is_empty()
        });
        if is_done {
            self.end_wish(ctx, others, id);
        }
    }

    pub(super) fn end_wish(&mut self, ctx: &mut Context, others: &mut Others<'_>, id: WishId) {
        let Some(job) = self.wishes.get_mut(&id).filter(|job| !job.is_ended()) else { return };
        job.state = State::Ended;
        match job.tag.take() {
            Some(tag) => {
                others.peers.beacons.stop_looking(tag);
                if std::mem::take(&mut job.is_shown) {
                    others.peers.beacons.hide(tag);
                }
            }
            None => others.peers.beacons.stop_looking_around(),
        }
        if std::mem::take(&mut job.looks_around) {
            others.peers.beacons.stop_looking_around();
        }
        if !ctx.settings.exit_when_done {
            self.wishes.remove(&id);
        }
        self.on_wishes_changed(ctx);
        others.fetch.end_if_done(ctx);
    }

    /// A wish ends without any of its files.
    pub(super) fn fail_wish(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        id: WishId,
        error: FetchError,
    ) {
        let Some(job) = self.wishes.get(&id) else { return };
        let wish = job.wish.to_string();
        let is_all = self.wishes.len() == 1 && ctx.guest().is_some();
        self.tally.fail(error, is_all);
        let is_unknown = error == FetchError::NotShared;
        let names = self.names.iter().filter(|_| is_unknown).cloned().collect();
        tell(ctx, WishReport::Failed { wish, error, is_all, names });
        self.end_wish(ctx, others, id);
    }

    /// The time is up: no more files will come.
    pub(crate) fn give_all_up(&mut self, ctx: &mut Context, others: &mut Others<'_>) {
        let open = self.wishes.iter().filter(|(_, job)| job.is_open());
        for (id, is_sought) in open.map(|(id, job)| (*id, job.is_sought())).collect::<Vec<_>>() {
            // Version 0 knows why a name is not there.
            if is_sought && !self.hand_over(ctx, others, id) {
                let error = others.peers.why_nothing(FetchError::NotShared);
                self.fail_wish(ctx, others, id, error);
            }
        }
        self.files.forget_queued();
        for path in self.files.active() {
            self.give_file_up(ctx, others, path);
        }
        for id in self.wishes.keys().copied().collect::<Vec<_>>() {
            let Some(job) = self.wishes.get_mut(&id).filter(|job| job.is_open()) else { continue };
            let unhashed = std::mem::take(&mut job.unhashed);
            for path in unhashed.into_keys() {
                let (path, error) = (ctx.paths.intern(&path), FetchError::NotGiven(None));
                self.tally.fail(error, false);
                ctx.report(Report::FetchFailed { path, error, is_all: false });
            }
            self.end_wish_if_done(ctx, others, id);
        }
        self.count(ctx);
        others.fetch.end_if_done(ctx);
    }

    /// The program ends: nothing more is tried.
    pub(crate) fn stop(&mut self) {
        self.wishes.clear();
        self.sources.clear();
        self.listings.clear();
    }
}
