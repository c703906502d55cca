//! Something stands under the name of a file that was fetched: is it the same?
//!
//! What came is verified, so that its digest is known; what stands there is hashed.

use std::time::Instant;

use super::fetching::State;
use super::{PeerNode, Wake};
use crate::content::Digest;
use crate::content::{FileError, Version};
use crate::node::{Action, Report, WishError};
use crate::wire::v0::FileName;

impl PeerNode {
    pub(super) fn compare(&mut self, name: FileName, digest: Digest, size_bytes: u64) {
        if let Some(wish) = self.wishes.get_mut(&name) {
            wish.state = State::Comparing { digest, size_bytes };
            self.actions.push_back(Action::Hash(name));
        }
    }

    pub(super) fn is_comparing(&self, name: &FileName) -> bool {
        matches!(self.state(name), Some(State::Comparing { .. }))
    }

    pub(super) fn on_compared(&mut self, now: Instant, name: FileName, there: Digest) {
        let Some(State::Comparing { digest, .. }) = self.state(&name) else { return };
        if digest != there {
            return self.fail_wish(now, name, WishError::Different);
        }
        self.report(Report::Identical { name });
        self.end_wish(State::Done, name);
        self.end_if_done(now);
    }

    /// A part of what stands there is hashed. If its size is another, that is enough.
    pub(super) fn on_comparing(&mut self, now: Instant, name: FileName, version: Version) {
        if let Some(State::Comparing { size_bytes, .. }) = self.state(&name)
            && version.size_bytes != size_bytes
        {
            self.fail_wish(now, name, WishError::Different);
        }
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
