//! A catalog, and how it is read in pages.
//!
//! Each change gives its entry the next generation. A path that was removed stays as a removal,
//! but for all except the last [`REMOVALS_KEPT`]. Pages are made of the entries in order of
//! generation, so that a reader is told of every change however many there are between two pages:
//! all that is kept for a [`Reader`] is what it asked for and how far it came.
//!
//! ```text
//!             complete                 complete, and a watch
//!   Listing ────────────▶ Over      ┌──────────────────────────▶ Watching ⟲ changes
//!      │  └─────────────────────────┤
//!      │ hash first, and some file  │ all files listed have their ids, or are gone
//!      └──────────▶ Hashing ────────┘──▶ Over
//!                   ⟲ changes, progress
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use slab::Slab;

use super::events::Page;
use crate::limits::{
    LIST_SCAN_ENTRIES, PAGE_BYTES_MAX, PROGRESS_PAGE_INTERVAL, REMOVALS_KEPT, WATCH_PAGE_INTERVAL,
};
use crate::wire::FilePath;
use crate::wire::v1::{Entry, EntryState};

/// The fields of a page before its entries.
const PAGE_HEAD_BYTES: usize = 15;
const ENTRIES_BYTES_MAX: usize = PAGE_BYTES_MAX as usize - PAGE_HEAD_BYTES;

/// The entries of a catalog, or of a fetch list.
///
/// Invariants: `by_path`, `by_generation` and `records` hold the same entries; `removals` has the
/// generations of those that are removed, `unhashed` the paths of those without an id. No entry
/// has a generation above `newest`.
#[derive(Debug, Default)]
pub struct Catalog {
    records: Slab<Record>,
    by_path: BTreeMap<FilePath, u32>,
    by_generation: BTreeMap<u64, u32>,
    removals: BTreeSet<u64>,
    unhashed: BTreeSet<FilePath>,
    /// Those of `unhashed` of which something is hashed.
    hashing: BTreeSet<FilePath>,
    newest: u64,
    /// The generation of the last removal that was dropped.
    forgotten: u64,
    /// How many entries are neither removed nor folders.
    files: usize,
}

#[derive(Debug)]
struct Record {
    path: FilePath,
    state: EntryState,
    generation: u64,
}

/// Entries in order of generation, as many as fit.
struct Piece {
    entries: Vec<Entry>,
    /// How far the catalog is read with them.
    reached: u64,
    has_more: bool,
}

impl Catalog {
    /// Enters what a path is from now on: a change, unless it is that already.
    pub fn put(&mut self, path: FilePath, state: EntryState) {
        let is_same = self.record(&path).is_some_and(|record| record.state == state);
        if state == EntryState::Removed {
            return self.remove(&path);
        }
        if !is_same {
            self.change(path, state);
        }
    }

    /// A path is there no more.
    pub fn remove(&mut self, path: &FilePath) {
        if self.get(path).is_none() {
            return;
        }
        self.change(path.clone(), EntryState::Removed);
        self.forget_removals(REMOVALS_KEPT);
    }

    /// A file that has no id yet is hashed this far. This is no change.
    pub fn note_hashed(&mut self, path: &FilePath, hashed_now_bytes: u64) {
        let Some(slot) = self.by_path.get(path) else { return };
        let Some(record) = self.records.get_mut(*slot as usize) else { return };
        if let EntryState::Unhashed { size_bytes, hashed_bytes, .. } = &mut record.state {
            *hashed_bytes = hashed_now_bytes.min(*size_bytes);
            self.hashing.insert(path.clone());
        }
    }

    /// Returns what a path is; `None` if nothing is there.
    pub fn get(&self, path: &FilePath) -> Option<&EntryState> {
        let state = &self.record(path)?.state;
        (*state != EntryState::Removed).then_some(state)
    }

    /// Returns the generation of the last change; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Returns how many files there are.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Returns the files without an id at or below a path, in order of their paths.
    pub fn unhashed(&self, root: Option<&FilePath>) -> impl Iterator<Item = &FilePath> {
        let from = root.cloned();
        self.unhashed
            .range((root.map_or(Unbounded, std::ops::Bound::Included), Unbounded))
            .take_while(move |path| is_at_or_below(path, from.as_ref()))
    }

    fn record(&self, path: &FilePath) -> Option<&Record> {
        self.records.get(*self.by_path.get(path)? as usize)
    }

    fn change(&mut self, path: FilePath, state: EntryState) {
        self.newest += 1;
        let generation = self.newest;
        match state {
            EntryState::Unhashed { .. } => _ = self.unhashed.insert(path.clone()),
            _ => _ = self.unhashed.remove(&path),
        }
        self.hashing.remove(&path);
        self.files += usize::from(is_file(&state));
        if state == EntryState::Removed {
            self.removals.insert(generation);
        }
        let slot = match self.by_path.get(&path) {
            Some(slot) => {
                let slot = *slot;
                if let Some(record) = self.records.get_mut(slot as usize) {
                    self.files -= usize::from(is_file(&record.state));
                    self.by_generation.remove(&record.generation);
                    self.removals.remove(&record.generation);
                    (record.state, record.generation) = (state, generation);
                }
                slot
            }
            None => {
                let record = Record { path: path.clone(), state, generation };
                let slot = self.records.insert(record) as u32;
                self.by_path.insert(path, slot);
                slot
            }
        };
        self.by_generation.insert(generation, slot);
        self.check();
    }

    /// Drops the oldest removals, so that at most so many are kept.
    pub fn forget_removals(&mut self, kept_max: usize) {
        while self.removals.len() > kept_max
            && let Some(generation) = self.removals.pop_first()
        {
            self.forgotten = generation;
            if let Some(slot) = self.by_generation.remove(&generation)
                && let Some(record) = self.records.try_remove(slot as usize)
            {
                self.by_path.remove(&record.path);
            }
        }
        self.check();
    }

    fn check(&self) {
        debug_assert_eq!(self.by_path.len(), self.records.len());
        debug_assert_eq!(self.by_generation.len(), self.records.len());
        debug_assert!(self.hashing.len() <= self.unhashed.len());
    }

    /// Reads the entries of `reader` that it has not reached.
    fn read(&self, reader: &Reader, entries_max: usize) -> Piece {
        let root = reader.root.as_ref();
        let mut left_bytes = ENTRIES_BYTES_MAX;
        let (mut entries, mut last) = (Vec::new(), 0);
        for record in self.candidates(root, reader.reached) {
            let is_told = record.state != EntryState::Removed || record.generation > reader.began;
            if !is_told || !is_at_or_below(&record.path, root) {
                continue;
            }
            let entry = Entry { path: record.path.clone(), state: record.state };
            let len_bytes = entry.len_bytes();
            if len_bytes > left_bytes || entries.len() >= entries_max {
                return Piece { entries, reached: last, has_more: true };
            }
            (left_bytes, last) = (left_bytes - len_bytes, record.generation);
            entries.push(entry);
        }
        Piece { entries, reached: self.newest, has_more: false }
    }

    /// Returns the records with a generation above `after` in order of it: all, or at least those
    /// at or below `root`, whichever costs less.
    fn candidates<'a>(
        &'a self,
        root: Option<&FilePath>,
        after: u64,
    ) -> Box<dyn Iterator<Item = &'a Record> + 'a> {
        let record = |slot: &u32| self.records.get(*slot as usize);
        if let Some(root) = root
            && self.newest.saturating_sub(after) > LIST_SCAN_ENTRIES as u64
        {
            let below = self.by_path.range(root.clone()..);
            let below = below.take_while(|(path, _)| path.is_below(root));
            let mut below: Vec<_> =
                below.take(LIST_SCAN_ENTRIES + 1).filter_map(|(_, slot)| record(slot)).collect();
            if below.len() <= LIST_SCAN_ENTRIES {
                below.retain(|record| record.generation > after);
                below.sort_unstable_by_key(|record| record.generation);
                return Box::new(below.into_iter());
            }
        }
        let later = self.by_generation.range((Excluded(after), Unbounded));
        Box::new(later.filter_map(move |(_, slot)| record(slot)))
    }

    /// Returns whether a file at or below `root` that was listed by this generation has no id.
    fn is_unhashed_of(&self, root: Option<&FilePath>, listed: u64) -> bool {
        let mut unhashed = self.unhashed(root).filter_map(|path| self.record(path));
        unhashed.any(|record| record.generation <= listed)
    }
}

/// What a reader of a catalog asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The generation that it reached before; 0: none.
    pub since: u64,
    /// Only what is there or below; `None` is everything.
    pub root: Option<FilePath>,
    pub watch: bool,
    pub hash_first: bool,
}

/// Reads a catalog, page by page.
#[derive(Debug)]
pub struct Reader {
    root: Option<FilePath>,
    watch: bool,
    hash_first: bool,
    /// The generation that the catalog is read up to.
    reached: u64,
    /// Removals up to this generation are not told: the reader began with nothing.
    began: u64,
    /// Whether what was read before is to be discarded.
    discard: bool,
    phase: Phase,
    /// When the last page was made, and the last that told progress.
    page_at: Option<Instant>,
    progress_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Listing,
    /// Up to this generation all is listed; some of these files have no id yet.
    Hashing {
        listed: u64,
    },
    Watching,
    Over,
}

impl Reader {
    /// Returns a reader that begins now.
    pub fn new(catalog: &Catalog, listing: Listing) -> Self {
        let Listing { since, root, watch, hash_first } = listing;
        let mut reader = Self {
            root,
            watch,
            hash_first,
            reached: since,
            began: 0,
            discard: false,
            phase: Phase::Listing,
            page_at: None,
            progress_at: None,
        };
        if since == 0 {
            reader.began = catalog.newest;
        } else if since > catalog.newest || since < catalog.forgotten {
            reader.begin_anew(catalog);
        }
        reader
    }

    /// Nothing that was read before holds.
    fn begin_anew(&mut self, catalog: &Catalog) {
        (self.reached, self.began, self.discard) = (0, catalog.newest, true);
        self.phase = Phase::Listing;
    }

    /// Returns what is at or below the path asked for: what is to be hashed before others, until
    /// all of it is.
    pub fn hashes_first(&self) -> Option<Option<&FilePath>> {
        let is_waiting = matches!(self.phase, Phase::Listing | Phase::Hashing { .. });
        (self.hash_first && is_waiting).then_some(self.root.as_ref())
    }

    /// Returns whether the last page was made.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Returns the next page, if there is one to send now, with at most `entries_max` entries.
    pub fn poll_page(
        &mut self,
        now: Instant,
        catalog: &Catalog,
        entries_max: usize,
    ) -> Option<(Page, Vec<Entry>)> {
        let needed = self.reached.max(self.began);
        if self.phase != Phase::Over && catalog.forgotten > needed {
            self.begin_anew(catalog);
        }
        let is_due = match self.phase {
            Phase::Listing => true,
            Phase::Hashing { .. } | Phase::Watching => {
                catalog.newest > self.reached && self.next_page_at().is_none_or(|at| now >= at)
            }
            Phase::Over => return None,
        };
        if is_due && let Some(page) = self.next_page(catalog, entries_max) {
            self.page_at = Some(now);
            if page.0.all_listed {
                self.progress_at = Some(now);
            }
            return Some(page);
        }
        self.progress(now, catalog, entries_max)
    }

    fn next_page(&mut self, catalog: &Catalog, entries_max: usize) -> Option<(Page, Vec<Entry>)> {
        let Piece { entries, reached, has_more } = catalog.read(self, entries_max);
        self.reached = reached;
        let mut page = Page {
            generation: reached,
            discard: std::mem::take(&mut self.discard),
            all_listed: false,
            complete: false,
        };
        if has_more {
            return Some((page, entries));
        }
        let root = self.root.as_ref();
        let before = self.phase;
        let waits_for_hashes = |listed| catalog.is_unhashed_of(root, listed);
        self.phase = match self.phase {
            Phase::Listing if self.hash_first && waits_for_hashes(reached) => {
                Phase::Hashing { listed: reached }
            }
            Phase::Hashing { listed } if waits_for_hashes(listed) => Phase::Hashing { listed },
            _ if self.watch => Phase::Watching,
            _ => Phase::Over,
        };
        let is_new = before != self.phase;
        page.all_listed = is_new && matches!(self.phase, Phase::Hashing { .. });
        page.complete = matches!(self.phase, Phase::Watching | Phase::Over);
        // A change elsewhere is no news.
        (is_new || !entries.is_empty()).then_some((page, entries))
    }

    /// Returns how far the files are hashed that are being hashed, from time to time.
    fn progress(
        &mut self,
        now: Instant,
        catalog: &Catalog,
        entries_max: usize,
    ) -> Option<(Page, Vec<Entry>)> {
        let Phase::Hashing { .. } = self.phase else { return None };
        if self.progress_at.is_some_and(|at| now < at + PROGRESS_PAGE_INTERVAL) {
            return None;
        }
        self.progress_at = Some(now);
        let mut left_bytes = ENTRIES_BYTES_MAX;
        let is_reached = |record: &&Record| record.generation <= self.reached;
        let records = catalog.hashing.iter().filter_map(|path| catalog.record(path));
        let entries: Vec<_> = records
            .filter(is_reached)
            .filter(|record| is_at_or_below(&record.path, self.root.as_ref()))
            .map(|record| Entry { path: record.path.clone(), state: record.state })
            .take(entries_max)
            .take_while(|entry| {
                let has_room = entry.len_bytes() <= left_bytes;
                left_bytes = left_bytes.saturating_sub(entry.len_bytes());
                has_room
            })
            .collect();
        let generation = self.reached;
        let page = Page { generation, discard: false, all_listed: false, complete: false };
        (!entries.is_empty()).then_some((page, entries))
    }

    fn next_page_at(&self) -> Option<Instant> {
        self.page_at.map(|at| at + WATCH_PAGE_INTERVAL)
    }

    /// Returns when to call [`Reader::poll_page`] though nothing has changed; after a change, and
    /// while it lists, it is to be called as well.
    pub fn poll_timeout(&self, catalog: &Catalog) -> Option<Instant> {
        let changed_at = self.next_page_at().filter(|_| catalog.newest > self.reached);
        let progress_at = self.progress_at.map(|at| at + PROGRESS_PAGE_INTERVAL);
        match self.phase {
            Phase::Listing | Phase::Over => None,
            Phase::Watching => changed_at,
            Phase::Hashing { .. } => changed_at.into_iter().chain(progress_at).min(),
        }
    }
}

fn is_at_or_below(path: &FilePath, root: Option<&FilePath>) -> bool {
    root.is_none_or(|root| path.is_below(root))
}

fn is_file(state: &EntryState) -> bool {
    matches!(state, EntryState::File { .. } | EntryState::Unhashed { .. })
}

#[cfg(test)]
mod tests;
