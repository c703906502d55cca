//! The complete files of our own folder: what may be offered and sent.
//!
//! A request is answered from this table alone: a name that came over the wire
//! is looked up here and never made into a path.

use std::collections::{BTreeMap, BTreeSet};

use super::retry::Backoff;
use super::{ConnectionId, Version};
use crate::content::Digest;
use crate::limits::{HASH_AHEAD_BYTES, HASH_AHEAD_FILES_MAX, REHASH_DELAY_MIN};
use crate::wire::v0::FileName;

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
/// its rehash. There is no name in them that is not in `files`.
#[derive(Debug, Default)]
pub(super) struct Index {
    files: BTreeMap<FileName, LocalFile>,
    unhashed: BTreeSet<FileName>,
    /// With the sizes that the files had when it began, in bytes.
    hashing: BTreeMap<FileName, u64>,
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
        if digest.is_some() {
            self.unhashed.remove(&name);
        } else if !self.hashing.contains_key(&name) {
            self.unhashed.insert(name);
        }
    }

    /// Takes a file out.
    pub(super) fn remove(&mut self, name: &FileName) -> Option<LocalFile> {
        let file = self.files.remove(name)?;
        self.unhashed.remove(name);
        self.hashing.remove(name);
        Some(file)
    }

    /// Begins to hash a file that has no digest, unless that is under way. True if the
    /// runner has to be told.
    pub(super) fn begin_hash(&mut self, name: &FileName) -> bool {
        let Some(file) = self.files.get(name).filter(|file| file.digest.is_none()) else {
            return false;
        };
        self.unhashed.remove(name);
        self.hashing.insert(*name, file.version.size_bytes).is_none()
    }

    /// The hash of a file has ended, in whichever way.
    pub(super) fn end_hash(&mut self, name: &FileName) {
        self.hashing.remove(name);
    }

    /// Whether the hash of a file is under way.
    pub(super) fn is_hashing(&self, name: &FileName) -> bool {
        self.hashing.contains_key(name)
    }

    /// The next file to hash for its own sake: when no other is hashed, or only a few small
    /// ones, so that a disk is not waited for once for each of them.
    pub(super) fn next_unhashed(&self) -> Option<FileName> {
        let sizes_bytes = self.hashing.values().copied();
        let has_room = self.hashing.is_empty()
            || self.hashing.len() < HASH_AHEAD_FILES_MAX
                && sizes_bytes.fold(0, u64::saturating_add) < HASH_AHEAD_BYTES;
        self.unhashed.first().copied().filter(|_| has_room)
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

    /// The files with their sizes, in order.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (FileName, u64)> {
        self.files.iter().map(|(name, file)| (*name, file.version.size_bytes))
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enters files of so many bytes each, and gives how many of them are begun.
    fn begins(count: usize, size_bytes: u64) -> usize {
        let mut index = Index::default();
        for n in 0..count {
            let name = FileName::new(&format!("f{n}")).unwrap();
            let inode = n as u64;
            let version = Version { device: 1, inode, size_bytes, modified_ns: 0, changed_ns: 0 };
            index.insert(name, version, None);
        }
        let mut begun = 0;
        while let Some(name) = index.next_unhashed() {
            assert!(index.begin_hash(&name) && !index.begin_hash(&name));
            begun += 1;
        }
        let first = FileName::new("f0").unwrap();
        index.end_hash(&first);
        assert_eq!(index.next_unhashed().is_some(), begun < count, "one ends, the next begins");
        begun
    }

    #[test]
    fn small_files_are_hashed_several_at_once_and_large_ones_one_by_one() {
        assert_eq!(begins(3, 1), 3);
        assert_eq!(begins(2 * HASH_AHEAD_FILES_MAX, 1), HASH_AHEAD_FILES_MAX);
        assert_eq!(begins(9, HASH_AHEAD_BYTES / 4), 4);
        assert_eq!(begins(2, HASH_AHEAD_BYTES), 1);
        assert_eq!(begins(2, u64::MAX), 1);
    }
}
