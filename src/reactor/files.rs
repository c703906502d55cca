//! The files that the node has open, and the hashing under way.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::time::Instant;

use rustix::io::Errno;

use super::follower::{Findings, Follower};
use super::slices::{Slice, Slices};
use crate::content::{FailedCall, FileError, PathId, Sight};
use crate::node::{Action, Input, Paths};
use crate::proto::FileId;
use crate::storage::{
    BlockHashStep, Copy, CopyStep, DigestCache, HashJobs, HashOutcome, Partial, SharedFolder,
    SharedTree, Source, There, Watch,
};
use crate::wire::FilePath;
use crate::wire::v0::FileName;
use crate::wire::v1::Value;

/// What a slice costs at least, in bytes hashed in the same time.
const SLICE_COST_BYTES_MIN: usize = 16 * 1024;

/// What is shared, and the folder that files are fetched into, as the node sees them.
pub struct Files {
    tree: Rc<SharedTree>,
    /// `None` if nothing is fetched.
    folder: Option<SharedFolder>,
    open: BTreeMap<FileId, OpenFile>,
    hash_jobs: HashJobs,
    /// If what changes in the folder matters.
    follower: Option<Follower>,
    /// Files to be committed, all at once at the end of the turn.
    commits: Vec<(FileId, Partial)>,
    /// Blocks that are being hashed, and copies.
    slices: Slices,
    /// Whether the next slice is one of `slices`, and not of the hash jobs.
    is_turn_of_slices: bool,
}

enum OpenFile {
    Source(Source),
    Partial(Partial),
}

/// What a slice came to.
enum Step {
    Asked,
    Progress,
    Hashed(u32, Value),
    Copied,
}

impl Files {
    /// Nothing is open yet. Digests are kept in the `cache`, if there is one.
    pub fn new(
        tree: Rc<SharedTree>,
        folder: Option<SharedFolder>,
        cache: Option<DigestCache>,
    ) -> Self {
        let hash_jobs = HashJobs::new(Rc::clone(&tree), cache);
        Self {
            tree,
            folder,
            open: BTreeMap::new(),
            hash_jobs,
            follower: None,
            commits: Vec::new(),
            slices: Slices::default(),
            is_turn_of_slices: false,
        }
    }

    /// Tells the node of what changes in the tree, by a watch that is older than the scan which
    /// it was told of. In these folders nothing is shared.
    pub fn following(mut self, watch: Watch, empty: Vec<FilePath>) -> Self {
        self.follower = Some(Follower::new(Instant::now(), watch, empty));
        self
    }

    /// Returns the folder into which files are fetched.
    fn folder(&self) -> Result<&SharedFolder, FileError> {
        let failed = FailedCall { call: "open", errno: Errno::ROFS.raw_os_error() };
        self.folder.as_ref().ok_or(FileError::Io(failed))
    }

    /// Carries out an action about a file, and gives its outcome. `received` are the
    /// bytes that a `Write` speaks of.
    pub(super) fn carry_out(
        &mut self,
        action: Action,
        received: &[u8],
        paths: &Paths,
    ) -> Option<Input<'static>> {
        match action {
            Action::OpenSource { file, path } => {
                Some(match self.tree.open_source(paths.get(path)?) {
                    Ok(source) => {
                        let version = source.version();
                        self.open.insert(file, OpenFile::Source(source));
                        Input::Opened { file, version }
                    }
                    Err(error) => Input::FileFailed { file, error },
                })
            }
            Action::OpenPartialSource { file, partial } => {
                let Some(OpenFile::Partial(partial)) = self.open.get(&partial) else {
                    return Some(Input::FileFailed { file, error: FileError::Missing });
                };
                Some(match partial.source() {
                    Ok(source) => {
                        let version = source.version();
                        self.open.insert(file, OpenFile::Source(source));
                        Input::Opened { file, version }
                    }
                    Err(error) => Input::FileFailed { file, error },
                })
            }
            Action::StatSource(file) => {
                let source = self.source(file)?;
                Some(match source.stat() {
                    Ok(version) => Input::Opened { file, version },
                    Err(error) => {
                        self.close(file);
                        Input::FileFailed { file, error }
                    }
                })
            }
            Action::CreatePartial { file, path } => {
                let name = name_of(paths, path)?;
                match self.folder().and_then(|folder| folder.create_partial(&name)) {
                    Ok(partial) => {
                        self.open.insert(file, OpenFile::Partial(partial));
                        None
                    }
                    Err(error) => Some(Input::FileFailed { file, error }),
                }
            }
            Action::Write { file, range, offset } => {
                // Not there: it failed already, and the node knows.
                let Some(OpenFile::Partial(partial)) = self.open.get_mut(&file) else {
                    return None;
                };
                let len_bytes = range.len();
                Some(match partial.write(&received[range], offset) {
                    Ok(()) => Input::Written { file, len_bytes },
                    Err(error) => {
                        self.close(file);
                        Input::FileFailed { file, error }
                    }
                })
            }
            Action::Commit(file) => {
                if let Some(OpenFile::Partial(partial)) = self.open.remove(&file) {
                    self.commits.push((file, partial));
                }
                None
            }
            Action::OpenPartial { file, path, content, attributes } => {
                let path = paths.get(path)?;
                let opened =
                    self.folder().and_then(|folder| folder.open_partial(path, content, attributes));
                Some(match opened {
                    Ok((partial, data)) => {
                        self.open.insert(file, OpenFile::Partial(partial));
                        Input::PartialOpened { file, data }
                    }
                    Err(error) => Input::FileFailed { file, error },
                })
            }
            Action::HashBlock { file, block } => {
                if let Some(OpenFile::Partial(partial)) = self.open.get(&file)
                    && let Some(hash) = partial.hash_block(block)
                {
                    self.slices.add(file, Slice::Block(hash));
                }
                None
            }
            Action::CopyFile { file, from, path, content, attributes } => {
                let (from, path) = (paths.get(from)?, paths.get(path)?);
                let copy = self
                    .folder()
                    .and_then(|folder| Copy::new(folder, from, path, content, attributes));
                match copy {
                    Ok(copy) => {
                        self.slices.add(file, Slice::Copy(Box::new(copy)));
                        None
                    }
                    Err(error) => Some(Input::FileFailed { file, error }),
                }
            }
            Action::MakeFolder(path) => {
                let path_made = paths.get(path)?;
                let made = self.folder().and_then(|folder| folder.make_folder(path_made));
                Some(Input::FolderMade { path, made })
            }
            Action::Keep(file) => {
                self.close(file);
                None
            }
            Action::Discard(file) => {
                if let Some(OpenFile::Partial(partial)) = self.open.remove(&file) {
                    partial.discard();
                }
                for (_, partial) in self.commits.extract_if(.., |(waiting, _)| *waiting == file) {
                    partial.discard();
                }
                self.close(file);
                None
            }
            Action::Hash { path, kind } => {
                self.hash_jobs.start(path, paths.get(path)?.clone(), kind);
                None
            }
            Action::Look(path) => {
                let path = paths.get(path)?.clone();
                Some(match self.tree.look_at(&path) {
                    Ok(Some(There::File(version))) => {
                        Input::FileSeen { path, version, sight: Sight::Looked }
                    }
                    Ok(Some(There::Folder) | None) | Err(_) => {
                        self.hash_jobs.forget(&path);
                        Input::FileGone { path }
                    }
                })
            }
            _ => unreachable!("the loop gives only actions about files"),
        }
    }

    /// Returns the follower of the folder, if there is one.
    pub(super) fn follower(&mut self) -> Option<&mut Follower> {
        self.follower.as_mut()
    }

    /// Whether there is something to find out about the folder.
    pub(super) fn has_changes(&self) -> bool {
        self.follower.as_ref().is_some_and(Follower::has_work)
    }

    /// When there is something to find out though nothing was told.
    pub(super) fn next_look_at(&self) -> Option<Instant> {
        self.follower.as_ref().and_then(Follower::next_look_at)
    }

    /// Finds out some of what changed in the folder.
    pub(super) fn follow(&mut self, now: Instant) -> Findings {
        let step = |follower: &mut Follower| follower.step(now, &self.tree);
        let findings = self.follower.as_mut().map(step).unwrap_or_default();
        for input in &findings.inputs {
            if let Input::FileGone { path } = input {
                self.hash_jobs.forget(path);
            }
        }
        findings
    }

    /// Closes a file; a partial one is removed, or kept if it is to be.
    pub(super) fn close(&mut self, file: FileId) {
        self.open.remove(&file);
        self.slices.remove(file);
        self.commits.retain(|(waiting, _)| *waiting != file);
    }

    /// Whether a commit waits for the disk.
    pub(super) fn syncs(&self) -> bool {
        self.folder.as_ref().is_some_and(SharedFolder::syncs)
    }

    /// Whether files wait to be committed.
    pub(super) fn has_commits(&self) -> bool {
        !self.commits.is_empty()
    }

    /// Commits them; gives what came of each.
    pub(super) fn commit(&mut self) -> Vec<Input<'static>> {
        let (ids, partials): (Vec<_>, Vec<_>) = mem::take(&mut self.commits).into_iter().unzip();
        let committed = self.folder.as_ref().map(|folder| folder.commit(partials));
        let outcomes = ids.into_iter().zip(committed.unwrap_or_default());
        let input = |(file, outcome)| match outcome {
            Ok((path, version)) => Input::Committed { file, path, version },
            Err(error) => Input::FileFailed { file, error },
        };
        outcomes.map(input).collect()
    }

    /// A file that is open for sending.
    pub(super) fn source(&mut self, file: FileId) -> Option<&mut Source> {
        match self.open.get_mut(&file) {
            Some(OpenFile::Source(source)) => Some(source),
            _ => None,
        }
    }

    /// When there is something to hash.
    pub(super) fn next_hash_at(&self, now: Instant) -> Option<Instant> {
        let next = [self.hash_jobs.next_slice_at(now), self.slices.next_at(now)];
        next.into_iter().flatten().min()
    }

    /// Hashes the next slice, if there is one now; gives what came of it, and what to take
    /// from the turn's budget of bytes.
    pub(super) fn hash_slice(
        &mut self,
        now: Instant,
        scratch: &mut [u8],
    ) -> Option<(Option<Input<'static>>, usize)> {
        self.is_turn_of_slices = !self.is_turn_of_slices;
        match self.is_turn_of_slices {
            true => self.run_slice(now, scratch).or_else(|| self.hash_file(now, scratch)),
            false => self.hash_file(now, scratch).or_else(|| self.run_slice(now, scratch)),
        }
    }

    fn run_slice(
        &mut self,
        now: Instant,
        scratch: &mut [u8],
    ) -> Option<(Option<Input<'static>>, usize)> {
        let (file, mut slice) = self.slices.next(now)?;
        let outcome = match &mut slice {
            Slice::Block(hash) => match self.open.get(&file) {
                Some(OpenFile::Partial(partial)) => {
                    partial.hash_slice(hash, now, scratch).map(|step| match step {
                        BlockHashStep::Asked => Step::Asked,
                        BlockHashStep::Progress => Step::Progress,
                        BlockHashStep::Done(value) => Step::Hashed(hash.block(), value),
                    })
                }
                _ => return Some((None, 0)),
            },
            Slice::Copy(copy) => copy.run_slice(now, scratch).map(|step| match step {
                CopyStep::Asked => Step::Asked,
                CopyStep::Progress => Step::Progress,
                CopyStep::Done => Step::Copied,
            }),
        };
        let input = match (outcome, slice) {
            (Ok(Step::Asked), slice) => {
                self.slices.wait(now, file, slice);
                return Some((None, SLICE_COST_BYTES_MIN));
            }
            (Ok(Step::Progress), slice) => {
                self.slices.add(file, slice);
                None
            }
            (Ok(Step::Hashed(block, value)), _) => Some(Input::BlockHashed { file, block, value }),
            (Ok(Step::Copied), Slice::Copy(copy)) => {
                self.commits.push((file, copy.into_partial()));
                None
            }
            (Ok(Step::Copied), Slice::Block(_)) => None,
            (Err(error), _) => {
                self.close(file);
                Some(Input::FileFailed { file, error })
            }
        };
        Some((input, scratch.len()))
    }

    fn hash_file(
        &mut self,
        now: Instant,
        scratch: &mut [u8],
    ) -> Option<(Option<Input<'static>>, usize)> {
        let step = self.hash_jobs.run_slice(now, scratch)?;
        let (path, kind) = (step.path, step.kind);
        let input = match step.outcome {
            HashOutcome::Asked => None,
            HashOutcome::Progress { version, hashed_bytes } => {
                Some(Input::HashProgress { path, kind, version, hashed_bytes })
            }
            HashOutcome::Done { version, hash } => Some(Input::Hashed { path, version, hash }),
            HashOutcome::Failed(error) => Some(Input::HashFailed { path, kind, error }),
        };
        Some((input, step.cost_bytes))
    }
}

/// The name of a path in the shared folder, which has no folders of its own.
fn name_of(paths: &Paths, path: PathId) -> Option<FileName> {
    paths.get(path).and_then(FilePath::name)
}

#[cfg(test)]
mod tests;
