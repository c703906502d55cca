//! The complete files of our own folder: what may be offered and sent.
//!
//! A request is answered from this table alone: a name that came over the wire
//! is looked up here and never made into a path of the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use crate::content::{Content, ContentId, Digest, HashKind, Known, PathId, Version};
use crate::limits::{
    CONTENT_BYTES_MAX, HASH_AHEAD_BYTES, HASH_AHEAD_FILES_MAX, OFFERED_FILES_MAX, REHASH_DELAY_MIN,
};
use crate::node::ConnectionId;
use crate::node::paths::Paths;
use crate::node::retry::Backoff;
use crate::wire::FilePath;

#[derive(Debug)]
pub(crate) struct LocalFile {
    /// The version that the fields below speak of.
    pub(crate) version: Version,
    pub(crate) id: Option<ContentId>,
    /// When the id was made; `None` if that was in a former run.
    pub(crate) hashed_at: Option<Instant>,
    /// Whether something speaks against the id, so that it is to be made again.
    pub(crate) is_doubtful: bool,
    /// Whether a writer closed the file while the id is made.
    is_closed_since: bool,
    /// What is known of the next close by a writer.
    pub(crate) close: Close,
    /// Most files have none, which takes less memory.
    uploads: Option<Box<UploadState>>,
}

/// What version 0 needs to know of a file, and the delays of hashing it again.
#[derive(Debug)]
pub(crate) struct UploadState {
    /// How much of it is hashed by SHA-256.
    pub(crate) hashed_bytes: u64,
    pub(crate) digest: Option<Digest>,
    /// Uploads of this version that wait for the hash, or may have to.
    pub(crate) followers: BTreeSet<ConnectionId>,
    /// When to hash it again if it does not settle.
    pub(crate) rehash: Backoff,
    /// When the digest was made; `None` if that was in a former run, or if a writer closed the
    /// file since. Such a digest is made again before it is sent.
    pub(crate) verified_at: Option<Instant>,
}

impl UploadState {
    const NONE: Self = Self {
        hashed_bytes: 0,
        digest: None,
        followers: BTreeSet::new(),
        rehash: Backoff::new(REHASH_DELAY_MIN),
        verified_at: None,
    };
}

impl LocalFile {
    pub(crate) fn uploads(&self) -> &UploadState {
        static NONE: UploadState = UploadState::NONE;
        self.uploads.as_deref().unwrap_or(&NONE)
    }

    pub(crate) fn uploads_mut(&mut self) -> &mut UploadState {
        self.uploads.get_or_insert_with(|| Box::new(UploadState::NONE))
    }

    /// The file was hashed: the next delay is the first.
    pub(crate) fn reset_rehash(&mut self) {
        if let Some(uploads) = &mut self.uploads {
            uploads.rehash.reset();
        }
    }
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
/// Invariants: each path of `files` is held once in [`Paths`]; `by_content`
/// has each of those with an id, and `offered` with `surplus` those that are names of version 0.
/// A file without an id, unless it is too large for one, is in `unhashed` or in `hashing`, or
/// waits for its rehash. There is no path in them that is not in `files`.
#[derive(Debug, Default)]
pub(crate) struct Index {
    files: Files,
    /// By the begin of the id: the slots of the paths.
    by_content: BTreeSet<(u32, u32)>,
    /// The files that version 0 offers: at most [`OFFERED_FILES_MAX`], the first by name.
    offered: BTreeMap<FilePath, PathId>,
    surplus: BTreeMap<FilePath, PathId>,
    /// Those that are to be hashed by BLAKE3.
    unhashed: BTreeSet<PathId>,
    /// With the sizes that the files had when it began, in bytes.
    hashing: BTreeMap<(PathId, HashKind), u64>,
}

impl Index {
    /// Enters a file, or its new version.
    pub(crate) fn insert(
        &mut self,
        paths: &mut Paths,
        path: PathId,
        version: Version,
        known: Known,
    ) {
        let Some(text) = paths.get(path) else { return };
        if self.files.get(path).is_none() {
            if text.name().is_some() {
                self.enter_offered(text.clone(), path);
            }
            paths.hold(path);
        }
        let hashed_bytes = version.size_bytes;
        let uploads = known.sha256.map(|digest| {
            Box::new(UploadState { digest: Some(digest), hashed_bytes, ..UploadState::NONE })
        });
        let file = LocalFile {
            version,
            id: None,
            hashed_at: None,
            is_doubtful: false,
            is_closed_since: false,
            close: Close::Unexpected,
            uploads,
        };
        if let Some(before) = self.files.insert(path, file) {
            self.leave_content(path, before.id);
        }
        let is_empty = (version.size_bytes == 0).then_some(ContentId::EMPTY);
        self.set_id(path, known.blake3.or(is_empty));
    }

    fn enter_offered(&mut self, text: FilePath, path: PathId) {
        self.offered.insert(text, path);
        if self.offered.len() > OFFERED_FILES_MAX
            && let Some((text, path)) = self.offered.pop_last()
        {
            self.surplus.insert(text, path);
        }
    }

    fn leave_offered(&mut self, text: &FilePath) {
        self.surplus.remove(text);
        if self.offered.remove(text).is_some()
            && let Some((text, path)) = self.surplus.pop_first()
        {
            self.offered.insert(text, path);
        }
    }

    fn leave_content(&mut self, path: PathId, id: Option<ContentId>) {
        if let Some(id) = id {
            self.by_content.remove(&(begin_of(&id), path.slot() as u32));
        }
    }

    /// Sets the id of a file, by which it is found; without one it is to be hashed.
    pub(crate) fn set_id(&mut self, path: PathId, id: Option<ContentId>) {
        let Some(file) = self.files.get_mut(path) else { return };
        let before = std::mem::replace(&mut file.id, id);
        file.is_doubtful = false;
        let is_hashable = file.version.size_bytes <= CONTENT_BYTES_MAX;
        self.leave_content(path, before);
        match id {
            Some(id) => {
                self.by_content.insert((begin_of(&id), path.slot() as u32));
                self.unhashed.remove(&path);
            }
            None if is_hashable && !self.is_hashing(path, HashKind::Blake3) => {
                self.unhashed.insert(path);
            }
            None => {}
        }
    }

    /// The id of a file was made just now.
    pub(crate) fn note_hashed(&mut self, now: Instant, path: PathId, id: ContentId) {
        self.set_id(path, Some(id));
        if let Some(file) = self.files.get_mut(path) {
            file.hashed_at = Some(now);
            file.is_doubtful = std::mem::take(&mut file.is_closed_since);
        }
    }

    /// The id of a file is to be made again. Until then it stands.
    pub(crate) fn doubt_id(&mut self, path: PathId) {
        let is_hashing = self.is_hashing(path, HashKind::Blake3);
        let Some(file) = self.files.get_mut(path).filter(|file| file.id.is_some()) else { return };
        file.is_doubtful = true;
        if !is_hashing {
            self.unhashed.insert(path);
        }
    }

    /// A file is another version, of which nothing but attributes differs: its id stands. Returns
    /// the uploads that were of the old one.
    pub(crate) fn renew(&mut self, path: PathId, version: Version) -> BTreeSet<ConnectionId> {
        self.hashing.remove(&(path, HashKind::Sha256));
        let Some(file) = self.files.get_mut(path) else { return BTreeSet::new() };
        (file.version, file.close) = (version, Close::Unexpected);
        let uploads = file.uploads.take();
        self.doubt_id(path);
        uploads.map(|uploads| uploads.followers).unwrap_or_default()
    }

    /// Returns a file with this content.
    pub(crate) fn find(&self, content: &Content) -> Option<PathId> {
        self.with_id(&content.id)
            .find(|(_, file)| file.version.size_bytes == content.size_bytes)
            .map(|(path, _)| path)
    }

    /// Returns the content with this id, if a file has it.
    pub(crate) fn find_id(&self, id: &ContentId) -> Option<Content> {
        let (_, file) = self.with_id(id).next()?;
        Some(Content { id: *id, size_bytes: file.version.size_bytes })
    }

    fn with_id(&self, id: &ContentId) -> impl Iterator<Item = (PathId, &LocalFile)> {
        let (begin, id) = (begin_of(id), *id);
        let alike = self.by_content.range((begin, 0)..=(begin, u32::MAX));
        let files = alike.filter_map(|(_, slot)| self.files.at(*slot as usize));
        files.filter(move |(_, file)| file.id == Some(id))
    }

    /// The digest of a file is to be made again.
    pub(crate) fn forget_digest(&mut self, path: PathId) {
        let file = self.files.get_mut(path);
        if let Some(uploads) = file.and_then(|file| file.uploads.as_mut()) {
            (uploads.digest, uploads.hashed_bytes) = (None, 0);
        }
    }

    /// A writer closed a file, whose version is the same as before.
    pub(crate) fn note_close(&mut self, path: PathId) {
        let Some(file) = self.files.get_mut(path) else { return };
        if file.close == Close::Ours {
            file.close = Close::Unexpected;
            return;
        }
        if let Some(uploads) = &mut file.uploads {
            uploads.verified_at = None;
        }
        file.is_doubtful = file.id.is_some();
        if self.hashing.contains_key(&(path, HashKind::Sha256)) {
            file.close = Close::WhileHashed;
        }
        file.is_closed_since = self.hashing.contains_key(&(path, HashKind::Blake3));
    }

    pub(crate) fn remove(&mut self, paths: &mut Paths, path: PathId) -> Option<LocalFile> {
        let file = self.files.remove(path)?;
        self.leave_content(path, file.id);
        self.unhashed.remove(&path);
        [HashKind::Sha256, HashKind::Blake3].iter().for_each(|kind| self.end_hash(path, *kind));
        if let Some(text) = paths.get(path) {
            self.leave_offered(text);
        }
        paths.release(path);
        Some(file)
    }

    /// Begins to hash a file that has no such hash, or a doubtful one, unless that is under way.
    /// Returns whether the runner has to be told.
    pub(crate) fn begin_hash(&mut self, path: PathId, kind: HashKind) -> bool {
        let Some(file) = self.files.get_mut(path) else { return false };
        let is_missing = match kind {
            HashKind::Sha256 => file.uploads().digest.is_none(),
            HashKind::Blake3 => file.id.is_none() || file.is_doubtful,
        };
        if kind == HashKind::Blake3 {
            self.unhashed.remove(&path);
            file.is_closed_since = false;
        }
        is_missing && self.hashing.insert((path, kind), file.version.size_bytes).is_none()
    }

    /// The hash of a file has ended, in whichever way.
    pub(crate) fn end_hash(&mut self, path: PathId, kind: HashKind) {
        self.hashing.remove(&(path, kind));
    }

    pub(crate) fn is_hashing(&self, path: PathId, kind: HashKind) -> bool {
        self.hashing.contains_key(&(path, kind))
    }

    /// Returns whether one more file may be hashed for its own sake: when no other is hashed, or
    /// only a few small ones, so that a disk is not waited for once for each of them.
    pub(crate) fn may_hash_more(&self) -> bool {
        let sizes_bytes = self.hashing.values().copied();
        self.hashing.is_empty()
            || self.hashing.len() < HASH_AHEAD_FILES_MAX
                && sizes_bytes.fold(0, u64::saturating_add) < HASH_AHEAD_BYTES
    }

    /// Returns the next file that is to be hashed.
    pub(crate) fn next_unhashed(&self) -> Option<PathId> {
        self.unhashed.first().copied()
    }

    /// Returns whether a file waits for being hashed, and for nothing else.
    pub(crate) fn is_unhashed(&self, path: PathId) -> bool {
        self.unhashed.contains(&path)
    }

    pub(crate) fn get(&self, path: PathId) -> Option<&LocalFile> {
        self.files.get(path)
    }

    pub(crate) fn get_mut(&mut self, path: PathId) -> Option<&mut LocalFile> {
        self.files.get_mut(path)
    }

    /// Returns the files behind `cursor`, in order of their paths.
    pub(crate) fn after<'a>(
        &'a self,
        paths: &'a Paths,
        cursor: Option<&FilePath>,
    ) -> impl Iterator<Item = (&'a FilePath, PathId)> + use<'a> {
        paths.after(cursor).filter(|(_, id)| self.files.get(*id).is_some())
    }

    /// Returns the files that version 0 offers behind `cursor`, in order of their names.
    pub(crate) fn offered_after(
        &self,
        cursor: Option<FilePath>,
    ) -> impl Iterator<Item = &FilePath> {
        let from = cursor.map_or(Unbounded, Excluded);
        self.offered.range((from, Unbounded)).map(|(path, _)| path)
    }

    /// Returns how many files version 0 offers, and how many it does not for want of room.
    pub(crate) fn offered_len(&self) -> (usize, usize) {
        (self.offered.len(), self.surplus.len())
    }

    /// Returns the files with their sizes, in order of their paths.
    pub(crate) fn sizes(&self, paths: &Paths) -> impl Iterator<Item = (FilePath, u64)> {
        let size = |(path, id): (&FilePath, PathId)| {
            Some((path.clone(), self.files.get(id)?.version.size_bytes))
        };
        paths.after(None).filter_map(size)
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len
    }
}

/// Files by the slots of their paths, side by side.
#[derive(Debug, Default)]
struct Files {
    /// With the generations of their paths.
    slots: Vec<Option<(u32, LocalFile)>>,
    /// How many there are.
    len: usize,
}

impl Files {
    fn get(&self, path: PathId) -> Option<&LocalFile> {
        self.at(path.slot()).filter(|(id, _)| *id == path).map(|(_, file)| file)
    }

    fn at(&self, slot: usize) -> Option<(PathId, &LocalFile)> {
        let (generation, file) = self.slots.get(slot)?.as_ref()?;
        Some((PathId::new(slot, *generation), file))
    }

    fn get_mut(&mut self, path: PathId) -> Option<&mut LocalFile> {
        let (generation, file) = self.slots.get_mut(path.slot())?.as_mut()?;
        (*generation == path.generation()).then_some(file)
    }

    /// Returns the file that was there. Its path is held: no other has its slot.
    fn insert(&mut self, path: PathId, file: LocalFile) -> Option<LocalFile> {
        let before = self.remove(path);
        if self.slots.len() <= path.slot() {
            self.slots.resize_with(path.slot() + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(path.slot()) {
            debug_assert!(slot.is_none(), "{path:?} stands in the slot of another");
            *slot = Some((path.generation(), file));
            self.len += 1;
        }
        before
    }

    fn remove(&mut self, path: PathId) -> Option<LocalFile> {
        let slot = self.slots.get_mut(path.slot())?;
        let (_, file) = slot.take_if(|(generation, _)| *generation == path.generation())?;
        self.len -= 1;
        Some(file)
    }
}

fn begin_of(id: &ContentId) -> u32 {
    u32::from_be_bytes(id.0.first_chunk().copied().unwrap_or_default())
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
            index.insert(&mut paths, path, version(size_bytes), Known::default());
        }
        let mut begun = 0;
        let kind = HashKind::Blake3;
        while let Some(path) = index.next_unhashed().filter(|_| index.may_hash_more()) {
            assert!(index.begin_hash(path, kind) && !index.begin_hash(path, kind));
            begun += 1;
        }
        index.end_hash(paths.find("f0").unwrap(), kind);
        let next = index.next_unhashed().filter(|_| index.may_hash_more());
        assert_eq!(next.is_some(), begun < count, "one ends, the next begins");
        begun
    }

    #[test]
    fn a_file_is_found_by_its_own_path_alone_whatever_had_its_slot_before() {
        let (mut index, mut paths) = (Index::default(), Paths::default());
        let content = Content { id: ContentId([7; 32]), size_bytes: 5 };
        let known = Known { blake3: Some(content.id), ..Known::default() };
        let old = paths.intern_name(name("old"));
        index.insert(&mut paths, old, version(5), known);
        assert_eq!((index.len(), index.find(&content)), (1, Some(old)));
        assert!(index.remove(&mut paths, old).is_some());
        paths.sweep();
        let new = paths.intern_name(name("new"));
        assert_eq!(new.slot(), old.slot());
        index.insert(&mut paths, new, version(5), known);
        assert!(index.get(old).is_none() && index.get_mut(old).is_none());
        assert!(index.remove(&mut paths, old).is_none());
        assert_eq!((index.len(), index.find(&content)), (1, Some(new)));
        // A path that is known and not shared is none of ours.
        paths.intern_name(name("other"));
        let shared: Vec<_> = index.after(&paths, None).map(|(_, id)| id).collect();
        assert_eq!(shared, [new]);
    }

    #[test]
    fn small_files_are_hashed_several_at_once_and_large_ones_one_by_one() {
        assert_eq!(begins(3, 1), 3);
        assert_eq!(begins(2 * HASH_AHEAD_FILES_MAX, 1), HASH_AHEAD_FILES_MAX);
        assert_eq!(begins(9, HASH_AHEAD_BYTES / 4), 4);
        assert_eq!(begins(2, HASH_AHEAD_BYTES), 1);
        assert_eq!(begins(2, CONTENT_BYTES_MAX), 1);
    }
}
