//! The complete files of our own folder: what may be offered and sent.
//!
//! A request is answered from this table alone: a name that came over the wire
//! is looked up here and never made into a path of the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use crate::content::PathId;
use crate::content::{Digest, Version};
use crate::limits::{HASH_AHEAD_BYTES, HASH_AHEAD_FILES_MAX, REHASH_DELAY_MIN};
use crate::node::ConnectionId;
use crate::node::paths::Paths;
use crate::node::retry::Backoff;
use crate::wire::FilePath;

#[derive(Debug)]
pub(crate) struct LocalFile {
    /// The version that the fields below speak of.
    pub(crate) version: Version,
    pub(crate) hashed_bytes: u64,
    pub(crate) digest: Option<Digest>,
    /// Uploads of this version that wait for the hash, or may have to.
    pub(crate) followers: BTreeSet<ConnectionId>,
    /// When to hash it again if it does not settle.
    pub(crate) rehash: Backoff,
    /// When the digest was made; `None` if that was in a former run, or if a writer closed the
    /// file since. Such a digest is made again before it is sent.
    pub(crate) verified_at: Option<Instant>,
    /// What is known of the next close by a writer.
    pub(crate) close: Close,
}

/// What a close by a writer means that leaves the version as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// The content may have changed.
    Unexpected,
    /// One came while the file is hashed: a part of it may have changed since it was read.
    WhileHashed,
    /// We fetched the file: the next close is our own.
    Ours,
}

/// The complete files of our folder.
///
/// Invariants: `files` and `order` hold the same paths, each held once in [`Paths`]. A file
/// without digest is in `unhashed` or in `hashing`, or waits for its rehash. There is no
/// path in them that is not in `files`.
#[derive(Debug, Default)]
pub(crate) struct Index {
    files: BTreeMap<PathId, LocalFile>,
    /// By path, so that what a folder holds stands together.
    order: BTreeMap<FilePath, PathId>,
    unhashed: BTreeSet<PathId>,
    /// With the sizes that the files had when it began, in bytes.
    hashing: BTreeMap<PathId, u64>,
}

impl Index {
    /// Enters a file, or its new version.
    pub(crate) fn insert(
        &mut self,
        paths: &mut Paths,
        path: PathId,
        version: Version,
        digest: Option<Digest>,
    ) {
        let Some(text) = paths.get(path) else { return };
        if self.order.insert(text.clone(), path).is_none() {
            paths.hold(path);
        }
        let hashed_bytes = if digest.is_some() { version.size_bytes } else { 0 };
        let file = LocalFile {
            version,
            hashed_bytes,
            digest,
            followers: BTreeSet::new(),
            rehash: Backoff::new(REHASH_DELAY_MIN),
            verified_at: None,
            close: Close::Unexpected,
        };
        self.files.insert(path, file);
        if digest.is_some() {
            self.unhashed.remove(&path);
        } else if !self.hashing.contains_key(&path) {
            self.unhashed.insert(path);
        }
    }

    /// The digest of a file is to be made again.
    pub(crate) fn forget_digest(&mut self, path: PathId) {
        let Some(file) = self.files.get_mut(&path) else { return };
        (file.digest, file.hashed_bytes) = (None, 0);
        if !self.hashing.contains_key(&path) {
            self.unhashed.insert(path);
        }
    }

    /// A writer closed a file, whose version is the same as before.
    pub(crate) fn note_close(&mut self, path: PathId) {
        let Some(file) = self.files.get_mut(&path) else { return };
        if file.close == Close::Ours {
            file.close = Close::Unexpected;
            return;
        }
        file.verified_at = None;
        if self.hashing.contains_key(&path) {
            file.close = Close::WhileHashed;
        }
    }

    pub(crate) fn remove(&mut self, paths: &mut Paths, path: PathId) -> Option<LocalFile> {
        let file = self.files.remove(&path)?;
        self.unhashed.remove(&path);
        self.hashing.remove(&path);
        if let Some(text) = paths.get(path) {
            self.order.remove(text);
        }
        paths.release(path);
        Some(file)
    }

    /// Begins to hash a file that has no digest, unless that is under way. Returns whether
    /// the runner has to be told.
    pub(crate) fn begin_hash(&mut self, path: PathId) -> bool {
        let Some(file) = self.files.get(&path).filter(|file| file.digest.is_none()) else {
            return false;
        };
        self.unhashed.remove(&path);
        self.hashing.insert(path, file.version.size_bytes).is_none()
    }

    /// The hash of a file has ended, in whichever way.
    pub(crate) fn end_hash(&mut self, path: PathId) {
        self.hashing.remove(&path);
    }

    pub(crate) fn is_hashing(&self, path: PathId) -> bool {
        self.hashing.contains_key(&path)
    }

    /// Returns the next file to hash for its own sake: when no other is hashed, or only a few small
    /// ones, so that a disk is not waited for once for each of them.
    pub(crate) fn next_unhashed(&self) -> Option<PathId> {
        let sizes_bytes = self.hashing.values().copied();
        let has_room = self.hashing.is_empty()
            || self.hashing.len() < HASH_AHEAD_FILES_MAX
                && sizes_bytes.fold(0, u64::saturating_add) < HASH_AHEAD_BYTES;
        self.unhashed.first().copied().filter(|_| has_room)
    }

    pub(crate) fn get(&self, path: PathId) -> Option<&LocalFile> {
        self.files.get(&path)
    }

    pub(crate) fn get_mut(&mut self, path: PathId) -> Option<&mut LocalFile> {
        self.files.get_mut(&path)
    }

    /// Returns the files behind `cursor`, in order of their paths.
    pub(crate) fn after(
        &self,
        cursor: Option<FilePath>,
    ) -> impl Iterator<Item = (&FilePath, PathId)> + use<'_> {
        let from = cursor.map_or(Unbounded, Excluded);
        self.order.range((from, Unbounded)).map(|(path, id)| (path, *id))
    }

    /// Returns the files with their sizes, in order of their paths.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (FilePath, u64)> {
        let size = |(path, id): (&FilePath, &PathId)| {
            Some((path.clone(), self.files.get(id)?.version.size_bytes))
        };
        self.order.iter().filter_map(size)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::scene::{name, version};

    /// Enters files of so many bytes each, and gives how many of them are begun.
    fn begins(count: usize, size_bytes: u64) -> usize {
        let (mut index, mut paths) = (Index::default(), Paths::default());
        for n in 0..count {
            let path = paths.intern_name(name(&format!("f{n}")));
            index.insert(&mut paths, path, version(size_bytes), None);
        }
        let mut begun = 0;
        while let Some(path) = index.next_unhashed() {
            assert!(index.begin_hash(path) && !index.begin_hash(path));
            begun += 1;
        }
        index.end_hash(paths.find("f0").unwrap());
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
