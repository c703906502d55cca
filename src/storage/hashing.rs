//! Files that are being hashed, slice by slice, so that no file is too large.
//!
//! Owns the files it has open and their unfinished digests; reads into a buffer
//! of the caller's. Decides nothing: when to hash what, and what to do with a
//! file that keeps changing, is the node's business.
//!
//! ```text
//! start ──▶ waiting ──▶ open ⟲ one slice each in turn ──▶ Done, or Failed
//!                       │  ▲
//!        not in memory  ▼  │  time to look again
//!                       asked
//! ```
//!
//! A slice that is not in memory is asked for, and looked for a little later (`read_ahead`).
//!
//! A digest is given only for a version: the file was the same, and stood under
//! its name, when its first byte was read and after its last.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use sha2::{Digest as _, Sha256};

use super::digest_cache::DigestCache;
use super::read_ahead::ReadAhead;
use super::tree::SharedTree;
use crate::content::{Digest, FileError, Hash, HashKind, PathId, Version};
use crate::limits::{
    BLOCK_BYTES_MIN, COARSE_SETTLED_AGE, DISK_LOOK_INTERVAL, HASH_OPEN_FILES_MAX, SETTLED_AGE,
};
use crate::wire::FilePath;
use crate::wire::v1::ContentHasher;

/// What the least step costs, in bytes hashed in the same time: to open a file, stat it and
/// close it takes some 10 us.
const STEP_COST_BYTES: usize = 16 * 1024;

const NS_PER_SECOND: i64 = 1_000_000_000;

/// The files of a tree that are being hashed, or wait for it.
#[derive(Debug)]
pub struct HashJobs {
    tree: Rc<SharedTree>,
    waiting: VecDeque<(FilePath, HashKind)>,
    // The paths in `waiting` with their ids, so that ten thousand are not searched for each
    // new one. A file that was removed and is there again has another id.
    waiting_ids: BTreeMap<(FilePath, HashKind), PathId>,
    open: VecDeque<Job>,
    // Those whose next slice a disk is bringing, and when to look for it, the next first.
    asked: VecDeque<(Instant, Job)>,
    cache: Option<DigestCache>,
}

/// What one call of [`HashJobs::run_slice`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashStep {
    /// Which file.
    pub path: PathId,
    pub kind: HashKind,
    /// What came of it.
    pub outcome: HashOutcome,
    /// What to take from a turn's budget of bytes: what was hashed or, if that is
    /// little, what the work around it costs.
    pub cost_bytes: usize,
}

/// What came of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOutcome {
    /// It is not in memory yet, but asked for.
    Asked,
    /// There is more to hash.
    Progress {
        /// The version that is being hashed.
        version: Version,
        /// How much of it is hashed.
        hashed_bytes: u64,
    },
    /// The file is hashed, and the version was the same at both ends of it.
    Done {
        /// The version that was hashed.
        version: Version,
        /// What it gave.
        hash: Hash,
    },
    /// There is no hash; `Changed` if the file did not rest.
    Failed(FileError),
}

#[derive(Debug)]
struct Job {
    id: PathId,
    path: FilePath,
    file: File,
    version: Version,
    hasher: Hasher,
    hashed_bytes: u64,
    ahead: ReadAhead,
}

#[derive(Debug)]
enum Hasher {
    Sha256(Box<Sha256>),
    Blake3(ContentHasher),
}

impl HashJobs {
    /// No jobs yet. Digests are kept in the `cache`, if there is one.
    pub fn new(tree: Rc<SharedTree>, cache: Option<DigestCache>) -> Self {
        Self {
            tree,
            waiting: VecDeque::new(),
            waiting_ids: BTreeMap::new(),
            open: VecDeque::new(),
            asked: VecDeque::new(),
            cache,
        }
    }

    /// When there is something to do; `None` if there is nothing at all.
    pub fn next_slice_at(&self, now: Instant) -> Option<Instant> {
        let is_now = !self.open.is_empty() || self.can_open();
        if is_now { Some(now) } else { self.asked.front().map(|(at, _)| *at) }
    }

    fn can_open(&self) -> bool {
        self.open.len() + self.asked.len() < HASH_OPEN_FILES_MAX && !self.waiting.is_empty()
    }

    /// Hashes this file. A job of that path and kind which is under way begins anew. It is
    /// opened by a later [`Self::run_slice`], which also reports if that fails.
    pub fn start(&mut self, id: PathId, path: FilePath, kind: HashKind) {
        let is_other = |job: &Job| job.path != path || job.hasher.kind() != kind;
        self.open.retain(is_other);
        self.asked.retain(|(_, job)| is_other(job));
        if self.waiting_ids.insert((path.clone(), kind), id).is_none() {
            self.waiting.push_back((path, kind));
        }
    }

    /// A file is gone: its digest is not kept.
    pub fn forget(&mut self, path: &FilePath) {
        if let Some(cache) = &mut self.cache {
            cache.forget(path);
        }
    }

    /// Hashes one slice of the file whose turn it is, no more than `scratch` holds. Returns
    /// `None` if there is nothing to do now.
    pub fn run_slice(&mut self, now: Instant, scratch: &mut [u8]) -> Option<HashStep> {
        while self.asked.front().is_some_and(|(look_at, _)| *look_at <= now)
            && let Some((_, job)) = self.asked.pop_front()
        {
            self.open.push_back(job);
        }
        if self.can_open()
            && let Some(next) = self.waiting.pop_front()
            && let Some(path) = self.waiting_ids.remove(&next)
        {
            let (text, kind) = next;
            match Job::open(&self.tree, path, text, kind) {
                Ok(job) => self.open.push_back(job),
                Err(error) => {
                    let outcome = HashOutcome::Failed(error);
                    return Some(HashStep { path, kind, outcome, cost_bytes: STEP_COST_BYTES });
                }
            }
        }
        let mut job = self.open.pop_front()?;
        let (path, name, hashed_bytes) = (job.id, job.path.clone(), job.hashed_bytes);
        let kind = job.hasher.kind();
        let outcome = job.run(now, &self.tree, scratch).unwrap_or_else(HashOutcome::Failed);
        let cost_bytes = ((job.hashed_bytes - hashed_bytes) as usize).max(STEP_COST_BYTES);
        match &outcome {
            HashOutcome::Asked => self.asked.push_back((now + DISK_LOOK_INTERVAL, job)),
            HashOutcome::Progress { .. } => self.open.push_back(job),
            HashOutcome::Done { version, hash } => {
                if let Some(cache) = &mut self.cache {
                    cache.put(&name, version, hash);
                }
            }
            HashOutcome::Failed(_) => {}
        }
        Some(HashStep { path, kind, outcome, cost_bytes })
    }
}

impl Job {
    fn open(
        tree: &SharedTree,
        id: PathId,
        path: FilePath,
        kind: HashKind,
    ) -> Result<Self, FileError> {
        // Taken before the file is looked at: a change after that look is stamped later
        // than this, give or take the kernel's clock.
        let now = SystemTime::now();
        let (file, version) = tree.open_regular(&path)?;
        if !is_settled(&version, now) {
            return Err(FileError::Changed);
        }
        let ahead = ReadAhead::new(version.size_bytes);
        let hasher = Hasher::new(kind, version.size_bytes);
        Ok(Self { id, path, file, version, hasher, hashed_bytes: 0, ahead })
    }

    fn run(
        &mut self,
        now: Instant,
        tree: &SharedTree,
        scratch: &mut [u8],
    ) -> Result<HashOutcome, FileError> {
        debug_assert!(!scratch.is_empty());
        let rest_bytes = self.version.size_bytes - self.hashed_bytes;
        if rest_bytes > 0 {
            // A piece that ends with a block is hashed fastest.
            let until_end_bytes = BLOCK_BYTES_MIN - self.hashed_bytes % BLOCK_BYTES_MIN;
            let slice_bytes = rest_bytes.min(until_end_bytes).min(scratch.len() as u64) as usize;
            let slice = &mut scratch[..slice_bytes];
            let read_bytes = self.ahead.read(now, &self.file, slice, self.hashed_bytes)?;
            let Some(read_bytes) = read_bytes else { return Ok(HashOutcome::Asked) };
            if read_bytes == 0 {
                return Err(FileError::Changed);
            }
            self.hasher.update(&slice[..read_bytes]);
            self.hashed_bytes += read_bytes as u64;
        }
        if self.hashed_bytes < self.version.size_bytes {
            let Self { version, hashed_bytes, .. } = *self;
            return Ok(HashOutcome::Progress { version, hashed_bytes });
        }
        self.check_unchanged(tree)?;
        let hash = self.hasher.finish().ok_or(FileError::Changed)?;
        Ok(HashOutcome::Done { version: self.version, hash })
    }

    /// Looks at the name only: what stands there with this version is the file itself.
    fn check_unchanged(&self, tree: &SharedTree) -> Result<(), FileError> {
        match tree.version(&self.path)? == self.version {
            true => Ok(()),
            false => Err(FileError::Changed),
        }
    }
}

impl Hasher {
    fn new(kind: HashKind, size_bytes: u64) -> Self {
        match kind {
            HashKind::Sha256 => Self::Sha256(Box::default()),
            HashKind::Blake3 => Self::Blake3(ContentHasher::new(size_bytes)),
        }
    }

    fn kind(&self) -> HashKind {
        match self {
            Self::Sha256(_) => HashKind::Sha256,
            Self::Blake3(_) => HashKind::Blake3,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => hasher.update(bytes),
        }
    }

    /// Returns the hash of all bytes; `None` if there were more or fewer than the file had.
    fn finish(&self) -> Option<Hash> {
        match self {
            Self::Sha256(hasher) => {
                Some(Hash::Sha256(Digest(Sha256::clone(hasher).finalize().into())))
            }
            Self::Blake3(hasher) => {
                let (id, values) = hasher.clone().finish()?;
                Some(Hash::Blake3 { id, values })
            }
        }
    }
}

/// Whether a change after `now` is sure to get another time stamp than the last one.
/// A stamp in the future is as good as an old one: the clock was set back. One without a
/// fraction of a second may come from a file system that has no finer ones.
fn is_settled(version: &Version, now: SystemTime) -> bool {
    let now_ns = match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    let is_coarse = version.changed_ns % NS_PER_SECOND == 0;
    let age = if is_coarse { COARSE_SETTLED_AGE } else { SETTLED_AGE };
    !(0..age.as_nanos() as i128).contains(&(now_ns - i128::from(version.changed_ns)))
}

#[cfg(test)]
mod tests;
