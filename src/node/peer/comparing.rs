//! Something stands under the name of a file that was fetched: is it the same?
//!
//! What came is verified, so that its digest is known; what stands there is hashed.

use std::time::Instant;

use super::fetching::State;
use super::{PeerNode, Wake};
use crate::node::{Action, FileError, Report, WishError};
use crate::wire::{Digest, FileName};

impl PeerNode {
    pub(super) fn compare(&mut self, name: FileName, digest: Digest) {
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.state = State::Comparing { digest };
            self.active.remove(&name);
            self.actions.push_back(Action::Hash(name));
        }
    }

    pub(super) fn is_comparing(&self, name: &FileName) -> bool {
        matches!(self.state(name), Some(State::Comparing { .. }))
    }

    pub(super) fn on_compared(&mut self, now: Instant, name: FileName, there: Digest) {
        let Some(State::Comparing { digest }) = self.state(&name) else { return };
        if digest != there {
            return self.fail_wish(now, name, WishError::Different);
        }
        self.report(Report::Identical { name });
        self.end_wish(State::Done, name);
        self.end_if_done(now);
    }

    /// What stands there could not be hashed. If it changed just now it may come to rest.
    pub(super) fn on_compare_failed(&mut self, now: Instant, name: FileName, error: FileError) {
        let retries_max = self.guest().map_or(0, |guest| guest.retries_max);
        let Some(wish) = self.wishes.get_mut(&name) else { return };
        if error != FileError::Changed || wish.rounds >= retries_max {
            return self.fail_wish(now, name, WishError::Different);
        }
        wish.rounds += 1;
        let retry_in = wish.backoff.delay(&mut self.rng);
        self.deadlines.arm(Wake::Rehash(name), now + retry_in);
    }
}
