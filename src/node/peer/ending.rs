//! Wishes come to their end, the program with the last of them if it is told so; a guest
//! also gives up.

use std::time::Instant;

use super::fetching::State;
use super::{PeerNode, Wake};
use crate::node::{Outcome, Report, WishError};
use crate::proto::CloseReason;
use crate::wire::v0::FileName;

/// How many wishes have come to which end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) failed: usize,
    /// Patterns that no name ever matched.
    unmatched: usize,
    /// Why the last one failed.
    error: Option<WishError>,
}

impl PeerNode {
    pub(super) fn fail_wish(&mut self, now: Instant, name: FileName, error: WishError) {
        self.report(Report::WishFailed { name, error });
        self.end_wish(State::Failed(error), name);
        self.end_if_done(now);
    }

    pub(super) fn end_wish(&mut self, state: State, name: FileName) {
        match state {
            State::Failed(error) => {
                self.tally.failed += 1;
                self.tally.error = Some(error);
            }
            _ => self.tally.done += 1,
        }
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.state = state;
        }
        self.active.remove(&name);
        self.arrived.remove(&name);
        self.waiting.remove(&name);
    }

    /// Wishes that have not come to an end.
    pub(super) fn open_wishes(&self) -> usize {
        self.wishes.len() - self.tally.done - self.tally.failed
    }

    pub(super) fn end_if_done(&mut self, now: Instant) {
        let Tally { done, failed, unmatched, error } = self.tally;
        let is_over = done + failed == self.wishes.len() && self.searches.is_empty();
        if !self.settings.exit_when_done || !is_over {
            return;
        }
        let failed = failed + unmatched;
        let outcome = match error {
            Some(error) if failed > 0 => Outcome::SomeFailed { failed, done, error },
            _ => Outcome::AllDone,
        };
        self.exit(now, outcome);
    }

    /// A guest's time is up: what is not there yet will not come. What is being made safe,
    /// or compared, is there.
    pub(super) fn give_all_up(&mut self, now: Instant) {
        for search in std::mem::take(&mut self.searches) {
            if !search.has_matched() {
                self.report(Report::NothingMatched { pattern: search.into_pattern() });
                self.tally.unmatched += 1;
                self.tally.error = Some(self.why_nothing());
            }
        }
        let names: Vec<_> = self
            .wishes
            .iter()
            .filter(|(name, wish)| !wish.state.is_end() && !self.arrived.contains(name))
            .map(|(name, _)| *name)
            .collect();
        for name in names {
            let (state, error) = (self.state(&name), self.why_not(&name));
            self.report(Report::WishFailed { name, error });
            self.end_wish(State::Failed(error), name);
            self.deadlines.disarm(Wake::Wish(name));
            if let Some(State::Downloading { connection, file, .. }) = state {
                file.into_iter().for_each(|file| self.discard(file));
                self.close(now, connection, CloseReason::Stopping);
            }
        }
        self.end_if_done(now);
    }

    /// Why a wish is not fulfilled by now.
    pub(super) fn why_not(&self, name: &FileName) -> WishError {
        let Some(wish) = self.wishes.get(name).filter(|wish| wish.was_offered) else {
            return self.why_nothing();
        };
        match wish.last_failure {
            _ if !self.registry.was_registered && !wish.was_connected => WishError::Unreachable,
            Some(CloseReason::ChecksumWrong) => WishError::ChecksumWrong,
            Some(CloseReason::TooLarge) => WishError::TooLarge,
            Some(CloseReason::WriteFailed(error)) => WishError::File(error),
            reason if wish.was_connected || reason.is_some_and(|it| it.is_our_fault()) => {
                WishError::NotGiven(reason)
            }
            reason => WishError::NotReached(reason),
        }
    }

    /// Why something was never offered.
    fn why_nothing(&self) -> WishError {
        match !self.registry.was_registered && self.catalog.names().next().is_none() {
            true => WishError::Unreachable,
            false => WishError::NotOffered,
        }
    }
}
