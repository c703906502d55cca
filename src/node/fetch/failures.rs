//! How the sources of one file have failed: the delay and the budget of retries of each, and
//! whose turn it is.
//!
//! Each source that failed has a delay of its own, which grows, and a count of its own. What
//! another one does, or one under a new id, neither begins that delay anew nor uses the count up.
//!
//! An address is that which the registry gave for a dial: what a datagram says of its sender
//! proves nothing. Addresses take turns: the one that was not dialed for this file, or the
//! longest time ago, comes first, however many ids are there. So an address decides the order
//! of sources, and leaves none out.
//!
//! Both tables are bounded by the sources that a name may have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Instant;

use crate::limits::{LIED_RETRY_DELAY_MAX, SOURCES_PER_NAME_MAX};
use crate::node::retry::Tries;
use crate::proto::CloseReason;
use crate::wire::PeerId;

#[derive(Debug, Default)]
pub(super) struct Failures {
    sources: BTreeMap<PeerId, Failed>,
    /// When each address was last dialed, in the order of dials.
    turns: BTreeMap<Ipv4Addr, u64>,
    dials: u64,
    /// Answers of the registry since the last dial that led to none.
    lookups: usize,
    /// Until when the user knows that all sources have failed.
    pub(super) told_until: Option<Instant>,
    /// Set once our disk was found full while this file was not the only download, or not the
    /// largest: from then on it is tried once more, and before that no source is asked.
    pub(super) full_until: Option<Instant>,
    pub(super) last: Option<CloseReason>,
}

/// A source that failed.
#[derive(Debug)]
struct Failed {
    tries: Tries,
    again_at: Instant,
    /// Whether the file is larger there than allowed.
    is_too_large: bool,
    /// How often in a row its address was not to be had.
    unknown: u32,
}

/// What becomes of a job all of whose sources have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A source may be asked again then.
    At(Instant),
    /// The file is larger than allowed at each of them.
    TooLarge,
    /// Each was asked often enough.
    Never,
}

impl Failures {
    /// A source failed; without a reason if its address was not to be had.
    pub(super) fn note(
        &mut self,
        now: Instant,
        rng: &mut fastrand::Rng,
        source: PeerId,
        reason: Option<CloseReason>,
    ) {
        let failed = self.sources.entry(source).or_insert_with(|| Failed {
            tries: Tries::default(),
            again_at: now,
            is_too_large: false,
            unknown: 0,
        });
        // Each further try of a source that sent what is wrong may cost a whole download.
        if reason.is_some_and(|reason| reason.is_their_fault()) {
            failed.tries.backoff.grow_to(LIED_RETRY_DELAY_MAX);
        }
        failed.again_at = now + failed.tries.fail(rng);
        failed.is_too_large = reason == Some(CloseReason::TooLarge);
        failed.unknown = if reason.is_some() { 0 } else { failed.unknown.saturating_add(1) };
        if let Some(CloseReason::WriteFailed(error)) = reason
            && error.is_full()
        {
            self.full_until = Some(failed.again_at);
        }
        self.last = reason.or(self.last);
    }

    /// Keeps the tables in their bounds: only what is about these sources is kept, and only
    /// where there is more.
    pub(super) fn keep_to(
        &mut self,
        sources: impl Fn() -> BTreeSet<PeerId>,
        addresses: impl Fn() -> BTreeSet<Ipv4Addr>,
    ) {
        if self.sources.len() > SOURCES_PER_NAME_MAX {
            let kept = sources();
            self.sources.retain(|source, _| kept.contains(source));
        }
        if self.turns.len() > SOURCES_PER_NAME_MAX {
            let kept = addresses();
            self.turns.retain(|address, _| kept.contains(address));
        }
    }

    /// Nobody offers the file any more.
    pub(super) fn forget_sources(&mut self) {
        self.sources.clear();
        self.turns.clear();
    }

    /// Returns whether a source may be asked now.
    pub(super) fn may_be_asked(&self, now: Instant, source: PeerId, retries_max: u32) -> bool {
        self.full_until.is_none_or(|until| now >= until)
            && self
                .sources
                .get(&source)
                .is_none_or(|failed| now >= failed.again_at && failed.tries.failed <= retries_max)
    }

    /// Returns whether a source has failed.
    pub(super) fn has(&self, source: PeerId) -> bool {
        self.sources.contains_key(&source)
    }

    /// Returns whether the address of a source was not to be had when it was last asked for.
    pub(super) fn is_unknown(&self, source: PeerId) -> bool {
        self.sources.get(&source).is_some_and(|failed| failed.unknown > 0)
    }

    /// Returns whether the address of each of these sources was not to be had twice in a row.
    pub(super) fn are_as_before(&self, mut sources: impl Iterator<Item = PeerId>) -> bool {
        sources.all(|id| self.sources.get(&id).is_some_and(|failed| failed.unknown > 1))
    }

    /// Returns how often a source has failed.
    pub(super) fn count(&self, source: PeerId) -> u32 {
        self.sources.get(&source).map_or(0, |failed| failed.tries.failed)
    }

    /// Returns what is next if none of these sources may be asked now.
    pub(super) fn next(&self, sources: impl Iterator<Item = PeerId>, retries_max: u32) -> Next {
        let sources: Vec<_> = sources.map(|source| self.sources.get(&source)).collect();
        if !sources.is_empty()
            && sources.iter().all(|failed| failed.is_some_and(|failed| failed.is_too_large))
        {
            return Next::TooLarge;
        }
        let again_at = sources.iter().filter_map(|failed| match failed {
            // It was not asked because the disk is full.
            None => self.full_until,
            Some(failed) => (failed.tries.failed <= retries_max).then_some(failed.again_at),
        });
        let at_least = |at| self.full_until.map_or(at, |until| until.max(at));
        again_at.min().map(at_least).map_or(Next::Never, Next::At)
    }

    /// Returns the place in the order of turns of an address: 0 if it was not dialed. One that
    /// is not known comes first, to be asked for, but not for ever.
    pub(super) fn turn(&self, address: Option<Ipv4Addr>) -> u64 {
        match address {
            Some(address) => self.turns.get(&address).copied().unwrap_or(0),
            None if self.may_look_up() => 0,
            None => u64::MAX,
        }
    }

    /// Returns whether the registry may be asked for one more address before one that is known
    /// is dialed.
    pub(super) fn may_look_up(&self) -> bool {
        self.lookups < SOURCES_PER_NAME_MAX
    }

    /// The registry has answered, and nothing is dialed.
    pub(super) fn note_lookup(&mut self) {
        self.lookups = self.lookups.saturating_add(1);
    }

    /// An address is dialed.
    pub(super) fn note_dial(&mut self, address: Ipv4Addr) {
        self.lookups = 0;
        self.dials += 1;
        self.turns.insert(address, self.dials);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_too_large_only_where_there_are_sources_of_which_each_says_so() {
        let (now, mut rng) = (Instant::now(), fastrand::Rng::with_seed(1));
        let mut failures = Failures::default();
        let next = |failures: &Failures, ids: &[u32]| {
            failures.next(ids.iter().copied().map(PeerId), u32::MAX)
        };
        assert_eq!(next(&failures, &[]), Next::Never);
        failures.note(now, &mut rng, PeerId(1), Some(CloseReason::TooLarge));
        assert_eq!(next(&failures, &[1]), Next::TooLarge);
        assert_eq!(next(&failures, &[]), Next::Never);
        failures.note(now, &mut rng, PeerId(2), None);
        assert!(matches!(next(&failures, &[1, 2]), Next::At(_)));
    }
}
