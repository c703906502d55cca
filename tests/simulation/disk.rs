//! The disk of one host: the shared folder, partial files, open files and hashes
//! under way.
//!
//! What was written and what was synced are kept apart: a power cut drops what was
//! not synced in arbitrary parts, contents as well as names. A file that is open
//! stays what it is when its name is removed or given to another, and shows what
//! is written over it.

mod contents;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use fastrand::Rng;
use p2pfs::content::{Content, Digest, FileError, Hash, HashKind, Lack, Room, Version};
use p2pfs::limits::{SETTLED_AGE, TURN_BYTES};
use p2pfs::proto::FileId;
use p2pfs::wire::FilePath;
use p2pfs::wire::v0::FileName;
use p2pfs::wire::v1::ContentHasher;
use rustix::io::Errno;

use crate::outside::digest_of;

/// When the runs take place, in nanoseconds since 1970.
const EPOCH_NS: i64 = 1_700_000_000_000_000_000;
/// The clock that kernels stamp changes with: two changes within a tick look alike.
const STAMP_TICK_US: u64 = 10_000;

/// The disk of one host.
#[derive(Default)]
pub(crate) struct Disk {
    folder: BTreeMap<FilePath, Entry>,
    /// Folders that were made empty.
    folders: BTreeSet<FilePath>,
    /// Partial files of contents that stand under their names, by their folder.
    kept: BTreeMap<(String, Content), Rc<RefCell<Inode>>>,
    open: BTreeMap<FileId, Open>,
    hashes: BTreeMap<(FileName, HashKind), HashJob>,
    inodes_made: u64,
    hashes_begun: u64,
}

/// A name in the folder.
struct Entry {
    inode: Rc<RefCell<Inode>>,
    is_synced: bool,
}

struct Inode {
    number: u64,
    content: Vec<u8>,
    /// How much of the content would survive a power cut.
    synced_bytes: usize,
    /// Of the partial file of a content: where bytes were written, in order.
    written: Vec<Range<u64>>,
    modified_us: u64,
    /// Of the content, once someone asked.
    digest: Cell<Option<Digest>>,
}

enum Open {
    Source(Rc<RefCell<Inode>>),
    Partial { path: FilePath, inode: Rc<RefCell<Inode>>, commit: CommitStep, of: Of },
}

/// Of what a partial file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Of a file of version 0.
    Name,
    /// Of a content.
    Content { content: Content, is_kept: bool },
}

/// How far the commit of a partial file has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CommitStep {
    Written,
    ContentSynced,
    Named,
}

struct HashJob {
    number: u64,
    inode: Rc<RefCell<Inode>>,
    version: Version,
    hashed_bytes: usize,
}

/// What a slice of a hash came to.
pub(crate) enum Slice {
    /// There is more to hash.
    Progress(Version, u64),
    /// It is done.
    Done(Version, Hash),
}

impl Disk {
    /// The user puts a file under a name, in the place of what was there.
    pub(crate) fn put(&mut self, now_us: u64, name: FileName, content: Vec<u8>) {
        let inode = self.new_inode(now_us, content);
        inode.borrow_mut().sync();
        self.folder.insert(name.into(), Entry { inode, is_synced: true });
    }

    fn new_inode(&mut self, now_us: u64, content: Vec<u8>) -> Rc<RefCell<Inode>> {
        self.inodes_made += 1;
        let number = self.inodes_made;
        let (modified_us, digest) = (now_us, Cell::new(None));
        let (synced_bytes, written) = (0, Vec::new());
        let inode = Inode { number, content, synced_bytes, written, modified_us, digest };
        Rc::new(RefCell::new(inode))
    }

    /// The user changes a file in place.
    pub(crate) fn edit(&mut self, now_us: u64, name: &FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let mut inode = self.folder[&FilePath::from(*name)].inode.borrow_mut();
        change(&mut inode.content);
        inode.modified(now_us);
        inode.sync();
    }

    /// The same without a sign of it; its digest.
    pub(crate) fn edit_mapped(
        &mut self,
        name: &FileName,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> Digest {
        let mut inode = self.folder[&FilePath::from(*name)].inode.borrow_mut();
        change(&mut inode.content);
        inode.digest.set(None);
        inode.sync();
        inode.digest()
    }

    /// The user removes a file; its content.
    pub(crate) fn remove(&mut self, name: &FileName) -> Option<Vec<u8>> {
        self.folder.remove(&FilePath::from(*name)).map(|entry| entry.inode.borrow().content.clone())
    }

    /// The user gives a file another name; its content.
    pub(crate) fn rename(&mut self, from: &FileName, to: FileName) -> Option<Vec<u8>> {
        let entry = self.folder.remove(&FilePath::from(*from))?;
        let content = entry.inode.borrow().content.clone();
        self.folder.insert(to.into(), entry);
        Some(content)
    }

    fn at(&self, name: &FileName) -> Option<&Entry> {
        self.folder.get(&FilePath::from(*name))
    }

    /// What stands under a name.
    pub(crate) fn version(&self, name: &FileName) -> Option<Version> {
        self.at(name).map(|entry| entry.inode.borrow().version())
    }

    /// The digest of a file.
    pub(crate) fn digest(&self, name: &FileName) -> Option<Digest> {
        self.at(name).map(|entry| entry.inode.borrow().digest())
    }

    /// The digest of what is written of a partial file.
    pub(crate) fn partial_digest(&self, file: FileId) -> Option<Digest> {
        match self.open.get(&file)? {
            Open::Partial { inode, .. } => Some(inode.borrow().digest()),
            Open::Source(_) => None,
        }
    }

    /// The complete files, as a scan at the start finds them.
    pub(crate) fn complete_files(&self) -> Vec<(FileName, Version)> {
        let named = |(path, entry): (&FilePath, &Entry)| {
            Some((path.name()?, entry.inode.borrow().version()))
        };
        self.folder.iter().filter_map(named).collect()
    }

    /// Whether a file stands under this name.
    pub(crate) fn has(&self, name: &FileName) -> bool {
        self.at(name).is_some()
    }

    /// The files that are open.
    pub(crate) fn open_files(&self) -> impl Iterator<Item = FileId> + use<'_> {
        self.open.keys().copied()
    }

    /// How many hashes are under way.
    pub(crate) fn hashes_under_way(&self) -> usize {
        self.hashes.len()
    }

    /// Opens a file for sending.
    pub(crate) fn open_source(
        &mut self,
        file: FileId,
        name: &FileName,
    ) -> Result<Version, FileError> {
        let inode = Rc::clone(&self.at(name).ok_or(FileError::Missing)?.inode);
        let version = inode.borrow().version();
        self.open.insert(file, Open::Source(inode));
        Ok(version)
    }

    /// Opens for sending what is open as a partial file.
    pub(crate) fn open_partial_source(&mut self, file: FileId, partial: FileId) -> Version {
        let Some(Open::Partial { inode, .. }) = self.open.get(&partial) else {
            panic!("{partial:?} is no partial file");
        };
        let inode = Rc::clone(inode);
        let version = inode.borrow().version();
        self.open.insert(file, Open::Source(inode));
        version
    }

    /// The version of an open source.
    pub(crate) fn source_version(&self, file: FileId) -> Option<Version> {
        match self.open.get(&file)? {
            Open::Source(inode) => Some(inode.borrow().version()),
            Open::Partial { .. } => None,
        }
    }

    /// Reads a part of an open source; an end before `len` bytes means that the file
    /// changed.
    pub(crate) fn read(
        &self,
        file: FileId,
        offset: u64,
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), FileError> {
        let Some(Open::Source(inode)) = self.open.get(&file) else {
            panic!("{file:?} is no open source");
        };
        let inode = inode.borrow();
        let range = offset as usize..offset as usize + len;
        let bytes = inode.content.get(range).ok_or(FileError::Changed)?;
        out.clear();
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Creates a partial file.
    pub(crate) fn create(
        &mut self,
        now_us: u64,
        file: FileId,
        name: FileName,
    ) -> Result<(), FileError> {
        if self.has(&name) {
            return Err(FileError::Exists);
        }
        let inode = self.new_inode(now_us, Vec::new());
        let (path, commit, of) = (name.into(), CommitStep::Written, Of::Name);
        self.open.insert(file, Open::Partial { path, inode, commit, of });
        Ok(())
    }

    /// Writes to a partial file.
    pub(crate) fn write(&mut self, now_us: u64, file: FileId, bytes: &[u8], offset: u64) {
        let Some(Open::Partial { inode, of, .. }) = self.open.get(&file) else {
            panic!("{file:?} is no partial file");
        };
        let mut inode = inode.borrow_mut();
        match of {
            Of::Name => inode.content.extend_from_slice(bytes),
            Of::Content { .. } => inode.write_at(bytes, offset),
        }
        inode.modified(now_us);
    }

    /// The next step of a commit: content synced, named, name synced. At the last the
    /// file is closed and its version is given.
    pub(crate) fn go_on_committing(&mut self, file: FileId) -> Result<Option<Version>, FileError> {
        let Some(Open::Partial { path, inode, commit, of }) = self.open.get_mut(&file) else {
            panic!("{file:?} is no partial file");
        };
        match commit {
            CommitStep::Written => {
                if let Of::Content { content, .. } = of {
                    inode.borrow_mut().content.resize(content.size_bytes as usize, 0);
                }
                inode.borrow_mut().sync();
                *commit = CommitStep::ContentSynced;
            }
            CommitStep::ContentSynced => {
                if self.folder.contains_key(path) {
                    return Err(FileError::Exists);
                }
                let entry = Entry { inode: Rc::clone(inode), is_synced: false };
                self.folder.insert(path.clone(), entry);
                if let Of::Content { content, is_kept: true } = of {
                    self.kept.remove(&(contents::parent(path).to_owned(), *content));
                }
                *commit = CommitStep::Named;
            }
            CommitStep::Named => {
                let version = inode.borrow().version();
                // The user may have removed or replaced it in the meantime.
                if let Some(entry) = self.folder.get_mut(path) {
                    entry.is_synced = true;
                }
                self.open.remove(&file);
                return Ok(Some(version));
            }
        }
        Ok(None)
    }

    /// Closes a file; a partial one is gone, even if it has its name already.
    /// Returns that name.
    pub(crate) fn discard(&mut self, file: FileId) -> Option<FileName> {
        let Some(Open::Partial { path, inode, of, .. }) = self.open.remove(&file) else {
            return None;
        };
        if let Of::Content { content, is_kept: true } = of {
            self.kept.remove(&(contents::parent(&path).to_owned(), content));
        }
        if self.folder.get(&path).is_some_and(|entry| Rc::ptr_eq(&entry.inode, &inode)) {
            self.folder.remove(&path);
            return path.name();
        }
        None
    }

    /// Begins to hash a file, anew if that is under way; the number of the job.
    pub(crate) fn begin_hash(
        &mut self,
        now_us: u64,
        name: FileName,
        kind: HashKind,
    ) -> Result<u64, FileError> {
        self.hashes.remove(&(name, kind));
        let entry = self.at(&name).ok_or(FileError::Missing)?;
        let inode = Rc::clone(&entry.inode);
        if !inode.borrow().has_settled(now_us) {
            return Err(FileError::Changed);
        }
        self.hashes_begun += 1;
        let version = inode.borrow().version();
        let number = self.hashes_begun;
        let job = HashJob { number, inode, version, hashed_bytes: 0 };
        self.hashes.insert((name, kind), job);
        Ok(number)
    }

    /// Hashes the next slice; `None` if the job of that number is no more.
    pub(crate) fn hash_slice(
        &mut self,
        what: (FileName, HashKind),
        number: u64,
    ) -> Option<Result<Slice, FileError>> {
        let job = self.hashes.get_mut(&what).filter(|job| job.number == number)?;
        let inode = job.inode.borrow();
        let Some(rest) = inode.content.get(job.hashed_bytes..) else {
            drop(inode);
            self.hashes.remove(&what);
            return Some(Err(FileError::Changed));
        };
        job.hashed_bytes += rest.len().min(TURN_BYTES);
        if job.hashed_bytes < inode.content.len() {
            return Some(Ok(Slice::Progress(job.version, job.hashed_bytes as u64)));
        }
        let rested = inode.version() == job.version;
        // Taken at the end: it is told only if nothing changed meanwhile.
        let result = match rested {
            true => Ok(Slice::Done(job.version, inode.hash(what.1))),
            false => Err(FileError::Changed),
        };
        drop(inode);
        self.hashes.remove(&what);
        Some(result)
    }

    /// Ends a hash.
    pub(crate) fn end_hash(&mut self, what: (FileName, HashKind)) {
        self.hashes.remove(&what);
    }

    /// The process is gone, and its partial files are removed at the next start.
    pub(crate) fn process_died(&mut self) {
        self.open.clear();
        self.hashes.clear();
    }

    /// The machine lost its power: of what was not synced, anything may be left.
    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        self.process_died();
        self.folder.retain(|_, entry| entry.is_synced || rng.bool());
        for entry in self.folder.values_mut() {
            entry.is_synced = true;
            entry.inode.borrow_mut().tear(rng);
        }
        // A name that was made is in the journal sooner or later, or is not.
        self.kept.retain(|_, _| rng.u32(..8) > 0);
        self.kept.values().for_each(|inode| inode.borrow_mut().tear_pages(rng));
    }
}

impl Inode {
    fn sync(&mut self) {
        self.synced_bytes = self.content.len();
    }

    fn modified(&mut self, now_us: u64) {
        self.modified_us = now_us;
        self.digest.set(None);
    }

    fn hash(&self, kind: HashKind) -> Hash {
        match kind {
            HashKind::Sha256 => Hash::Sha256(self.digest()),
            HashKind::Blake3 => {
                let mut hasher = ContentHasher::new(self.content.len() as u64);
                hasher.update(&self.content);
                let (id, values) = hasher.finish().expect("all of it was hashed");
                Hash::Blake3 { id, values }
            }
        }
    }

    fn digest(&self) -> Digest {
        let digest = self.digest.get().unwrap_or_else(|| digest_of(&self.content));
        self.digest.set(Some(digest));
        digest
    }

    fn tear(&mut self, rng: &mut Rng) {
        if self.synced_bytes < self.content.len() {
            let kept_bytes = rng.usize(self.synced_bytes..=self.content.len());
            self.content.truncate(kept_bytes);
            self.modified(self.modified_us);
            self.sync();
        }
    }

    fn has_settled(&self, now_us: u64) -> bool {
        u128::from(now_us.saturating_sub(self.modified_us)) >= SETTLED_AGE.as_micros()
    }

    fn version(&self) -> Version {
        let stamp_us = self.modified_us - self.modified_us % STAMP_TICK_US;
        let stamp_ns = EPOCH_NS + stamp_us as i64 * 1000;
        Version {
            device: 1,
            inode: self.number,
            size_bytes: self.content.len() as u64,
            modified_ns: stamp_ns,
            changed_ns: stamp_ns,
            is_executable: false,
        }
    }
}

/// Whether an error is one of the process, not of the file: too many are open.
pub(crate) fn is_passing(error: &FileError) -> bool {
    matches!(error, FileError::Shortage(_))
}

const FULL: Room = Room {
    folder: "folder",
    free_bytes: 0,
    kept_bytes: 1,
    needed_bytes: 2,
    lack: Lack::Space,
    failed: None,
};

/// Some error that a call on files may give.
pub(crate) fn some_error(rng: &mut Rng, call: &'static str) -> FileError {
    let errors: &[Errno] = match call {
        "open" => &[Errno::MFILE, Errno::NFILE, Errno::ACCESS, Errno::IO],
        "create" => &[Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::MFILE],
        "write" | "fsync" => &[Errno::NOSPC, Errno::DQUOT, Errno::IO],
        _ => &[Errno::IO],
    };
    let errno = errors[rng.usize(..errors.len())];
    match call {
        "create" | "write" if rng.u32(..3) == 0 => FileError::Full(FULL),
        _ => p2pfs::storage::refused(call)(errno),
    }
}
