//! The complete files of our own folder: what may be offered and sent.
//!
//! A request is answered from this table alone: a name that came over the wire
//! is looked up here and never made into a path.

use std::collections::{BTreeMap, BTreeSet};

use super::retry::Backoff;
use super::{ConnectionId, Version};
use crate::limits::REHASH_DELAY_MIN;
use crate::wire::{Digest, FileName};

/// One complete file.
#[derive(Debug)]
pub(super) struct LocalFile {
    /// The version that the fields below speak of.
    pub(super) version: Version,
    /// How much of it is hashed.
    pub(super) hashed_bytes: u64,
    /// Its digest, once all is hashed.
    pub(super) digest: Option<Digest>,
    /// Uploads of this version that wait for the hash, or may have to.
    pub(super) followers: BTreeSet<ConnectionId>,
    /// When to hash it again if it does not rest.
    pub(super) rehash: Backoff,
}

/// The complete files of our folder.
///
/// Invariant: a file without digest is in `unhashed` or in `hashing`, or waits for
/// its rehash.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: BTreeMap<FileName, LocalFile>,
    unhashed: BTreeSet<FileName>,
    hashing: BTreeSet<FileName>,
}

impl Index {
    /// Enters a file, or its new version.
    pub(super) fn insert(&mut self, name: FileName, version: Version, digest: Option<Digest>) {
        let hashed_bytes = if digest.is_some() { version.size_bytes } else { 0 };
        let file = LocalFile {
            version,
            hashed_bytes,
            digest,
            followers: BTreeSet::new(),
            rehash: Backoff::new(REHASH_DELAY_MIN),
        };
        self.files.insert(name, file);
        self.unhashed.remove(&name);
        if digest.is_none() && !self.hashing.contains(&name) {
            self.unhashed.insert(name);
        }
    }

    /// Takes a file out.
    pub(super) fn remove(&mut self, name: &FileName) -> Option<LocalFile> {
        self.unhashed.remove(name);
        self.hashing.remove(name);
        self.files.remove(name)
    }

    /// Begins to hash a file that has no digest, unless that is under way. True if the
    /// runner has to be told.
    pub(super) fn begin_hash(&mut self, name: &FileName) -> bool {
        self.unhashed.remove(name);
        self.hashing.insert(*name)
    }

    /// The hash of a file has ended, in whichever way.
    pub(super) fn end_hash(&mut self, name: &FileName) {
        self.hashing.remove(name);
    }

    /// Whether the hash of a file is under way.
    pub(super) fn is_hashing(&self, name: &FileName) -> bool {
        self.hashing.contains(name)
    }

    /// The next file to hash for its own sake, one at a time.
    pub(super) fn next_unhashed(&self) -> Option<FileName> {
        if self.hashing.is_empty() { self.unhashed.first().copied() } else { None }
    }

    /// A complete file.
    pub(super) fn get(&self, name: &FileName) -> Option<&LocalFile> {
        self.files.get(name)
    }

    /// A complete file.
    pub(super) fn get_mut(&mut self, name: &FileName) -> Option<&mut LocalFile> {
        self.files.get_mut(name)
    }

    /// The names behind `cursor`, in order.
    pub(super) fn names_after(
        &self,
        cursor: Option<FileName>,
    ) -> impl Iterator<Item = FileName> + use<'_> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = cursor.map_or(Unbounded, Excluded);
        self.files.range((from, Unbounded)).map(|(name, _)| *name)
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}
