//! Offers that make room for a new one.
//!
//! Considers the first offers in the queue, in the order in which they were queued. Those that
//! were heard since then are put back, so that the next ones have their turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Address, Catalog, Keep, Offered, Paths, Queued, Queues};
use crate::content::PathId;
use crate::limits::{
    EVICTION_TRIES, KNOWN_NAMES_MAX, KNOWN_OFFERS_MAX, KNOWN_PEERS_MAX, PROVEN_OFFERS_KEPT_MAX,
};
use crate::wire::PeerId;

/// A table that has no room for a new offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Offers,
    Paths,
    Peers,
}

impl Catalog {
    /// Evicts old offers until a new one fits. Returns false if that does not work.
    pub(super) fn make_room(
        &mut self,
        paths: &mut Paths,
        new: (PeerId, PathId),
        keep: Keep,
    ) -> bool {
        // Each eviction makes room in one table.
        for _ in [Full::Offers, Full::Paths, Full::Peers] {
            let Some(full) = self.full_table(new, keep) else { return true };
            self.has_overflowed = true;
            self.evict(paths, full, keep);
        }
        self.full_table(new, keep).is_none()
    }

    fn full_table(&self, (peer, path): (PeerId, PathId), keep: Keep) -> Option<Full> {
        // The names and the peers of what is wanted are bounded by its offers.
        let has_bounds = keep != Keep::Wanted;
        if self.offers.len() >= KNOWN_OFFERS_MAX {
            Some(Full::Offers)
        } else if has_bounds
            && self.paths.len() >= KNOWN_NAMES_MAX
            && !self.paths.contains_key(&path)
        {
            Some(Full::Paths)
        } else if has_bounds
            && self.peers.len() >= KNOWN_PEERS_MAX
            && !self.peers.contains_key(&peer)
        {
            Some(Full::Peers)
        } else {
            None
        }
    }

    /// Evicts what was heard least recently among the first in the queue: an offer, or all
    /// those of a path or of a peer of which none is kept for more.
    fn evict(&mut self, paths: &mut Paths, full: Full, keep: Keep) {
        let mut oldest: Option<(Instant, Offered)> = None;
        let first = self.first_to_go(keep).iter().take(EVICTION_TRIES);
        for queued in first.copied().collect::<Vec<_>>() {
            let (queued_at, path, peer) = queued;
            let was_heard = self.put_back(queued);
            match self.heard_at(full, (path, peer)) {
                Some(at) if at <= queued_at => {
                    oldest = Some((at, (path, peer)));
                    break;
                }
                Some(at) if oldest.is_none_or(|(oldest, _)| at < oldest) => {
                    oldest = Some((at, (path, peer)));
                }
                // It would keep its place before others, which make room.
                None if !was_heard => _ = self.forget(paths, (path, peer)),
                _ => {}
            }
        }
        let Some((_, (path, peer))) = oldest else { return };
        let all: Vec<_> = match full {
            Full::Offers => vec![(path, peer)],
            Full::Paths => self.sources(path).map(|peer| (path, peer)).collect(),
            Full::Peers => {
                let entry = self.peers.get(&peer).into_iter();
                entry.flat_map(|entry| &entry.paths).map(|path| (*path, peer)).collect()
            }
        };
        all.into_iter().for_each(|offered| _ = self.forget(paths, offered));
    }

    /// Returns when one of those was last heard that go with an offer to make room in a table;
    /// `None` if one of them is kept for more.
    fn heard_at(&self, full: Full, (path, peer): Offered) -> Option<Instant> {
        let heard = self.offers.get(&(path, peer))?;
        let group = match full {
            Full::Offers => return Some(heard.heard_at),
            Full::Paths => self.paths.get(&path)?,
            Full::Peers => &self.peers.get(&peer)?.group,
        };
        group.heard_at.filter(|_| !group.has_better(heard.keep))
    }

    /// Returns the queue whose offers go first to make room for one that is kept for this.
    fn first_to_go(&self, keep: Keep) -> &BTreeSet<Queued> {
        let Queues { hints, proven, wanted } = &self.queues;
        let (first, second) = match proven.len() > PROVEN_OFFERS_KEPT_MAX {
            true => (proven, hints),
            false => (hints, proven),
        };
        match (first.is_empty(), second.is_empty()) {
            (false, _) => first,
            (true, true) if keep == Keep::Wanted => wanted,
            (true, _) => second,
        }
    }

    /// Evicts a source of a path that has too many: of the address that has the most of them
    /// the one that was heard least recently. Those that the registry does not know, or was not
    /// asked about, count as one address each.
    pub(super) fn make_room_among_sources(
        &mut self,
        paths: &mut Paths,
        path: PathId,
        sources_max: usize,
    ) {
        if self.paths.get(&path).is_none_or(|sources| sources.len() < sources_max) {
            return;
        }
        let mut sources: BTreeMap<_, (usize, Option<(Instant, PeerId)>)> = BTreeMap::new();
        for (peer, heard) in self.of_path(path) {
            let address = self.address(peer);
            // What a datagram says of its sender is good enough where nothing else is known.
            let hint = (address == Address::Unasked).then_some(*heard.from.ip());
            let (count, oldest) = sources.entry((address, hint)).or_default();
            *count += 1;
            *oldest =
                Some(oldest.map_or((heard.heard_at, peer), |o| o.min((heard.heard_at, peer))));
        }
        let largest = sources.into_iter().max_by_key(|(key, (count, _))| (*count, *key));
        let Some((_, (_, Some((_, peer))))) = largest else { return };
        self.forget(paths, (path, peer));
    }

    /// Puts an offer whose turn has come back into the queue. Returns false if it was not
    /// heard since it was queued.
    fn put_back(&mut self, queued: Queued) -> bool {
        let (queued_at, path, peer) = queued;
        let Some(heard) = self.offers.get_mut(&(path, peer)) else { return false };
        if heard.heard_at <= queued_at {
            return false;
        }
        heard.queued_at = heard.heard_at;
        let queue = self.queues.of(heard.keep);
        queue.remove(&queued);
        queue.insert((heard.queued_at, path, peer))
    }
}
