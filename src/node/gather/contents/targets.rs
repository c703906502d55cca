//! What stands under a wanted name, files that are opened and committed, and copies of a content
//! that the job has.

use std::hash::{Hash as _, Hasher as _};
use std::ops::Range;

use super::entry::{Entry, EntryId, State};
use super::fetching::Fetching;
use super::out::Out;
use super::{ContentEvent, Contents, Holding, How, Wake};
use crate::content::{Content, ContentId, FileError, HashKind, OnConflict, Version};
use crate::limits::{RETRIES_MAX, RETRY_DELAY_MIN};
use crate::node::peer::{Context, FileUse, Wake as PeerWake};
use crate::node::retry::Tries;
use crate::node::{Action, FetchError, PathId};
use crate::proto::FileId;
use crate::wire::v1::Verdict;
use crate::wire::{FilePath, folded};

impl Contents {
    /// Begins with a path: what stands there?
    pub(super) fn look(&mut self, ctx: &mut Context, id: EntryId) {
        if ctx.settings.gather.is_unnamed {
            return self.open(ctx, id);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.state = State::Looking;
            ctx.act(Action::Look(entry.path));
        }
    }

    /// The answer to a look: a file stands under this path in this version, or none does.
    pub(crate) fn on_looked(&mut self, ctx: &mut Context, path: PathId, found: Option<Version>) {
        let Some(&id) = self.by_path.get(&path) else { return };
        let is_twin = found.is_some_and(|found| self.is_twin(ctx, path, &found));
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let State::Looking = entry.state else { return };
        let Some(version) = found else { return self.open(ctx, id) };
        if is_twin {
            self.fail(ctx, id, FileError::Twin.into());
        } else if on_conflict(ctx) == OnConflict::Skip {
            self.done(ctx, id, path, version, How::Skipped);
        } else if version.size_bytes != entry.content.size_bytes {
            self.on_conflict(ctx, id);
        } else if version.size_bytes == 0 {
            self.done(ctx, id, path, version, How::Found);
        } else {
            entry.state = State::Comparing(Tries::default());
            ctx.act(Action::Hash { path, kind: HashKind::Blake3 });
        }
        self.begin_queued(ctx);
        self.flush(ctx);
    }

    /// What stands under a path was hashed, or could not be.
    pub(crate) fn on_compared(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        found: Result<(Version, ContentId), FileError>,
    ) {
        let Some(&id) = self.by_path.get(&path) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let State::Comparing(tries) = &mut entry.state else { return };
        match found {
            Ok((version, found)) if found == entry.content.id => {
                self.done(ctx, id, path, version, How::Found);
            }
            // It changed just now, and may settle.
            Err(FileError::Changed) if tries.failed < RETRIES_MAX => {
                let at = ctx.now + tries.fail(&mut ctx.rng);
                ctx.deadlines.arm(PeerWake::Contents(Wake::Entry(id)), at);
            }
            Err(FileError::Missing) => self.look(ctx, id),
            Ok(_) | Err(_) => self.on_conflict(ctx, id),
        }
        self.begin_queued(ctx);
        self.flush(ctx);
    }

    /// Hashes what stands under the name of this entry once more, if that is awaited.
    pub(super) fn compare_again(&self, ctx: &mut Context, id: EntryId) {
        if let Some(Entry { path, state: State::Comparing(_), .. }) = self.entries.get(&id) {
            ctx.act(Action::Hash { path: *path, kind: HashKind::Blake3 });
        }
    }

    /// Something else stands under the name.
    fn on_conflict(&mut self, ctx: &mut Context, id: EntryId) {
        match on_conflict(ctx) {
            OnConflict::Rename | OnConflict::Replace => self.open(ctx, id),
            OnConflict::Compare => self.fail(ctx, id, FetchError::Different),
            OnConflict::Refuse | OnConflict::Skip => {
                self.fail(ctx, id, FileError::Exists.into());
            }
        }
    }

    /// Opens a file for a path: as a copy, if the job has its content.
    fn open(&mut self, ctx: &mut Context, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Entry { path, content, attributes, .. } = *entry;
        let file = ctx.open_file(FileUse::Content(id));
        let origin = self.groups.get(&content).and_then(|group| group.origin);
        if let Some(from) = origin {
            entry.state = State::Copying(file);
            ctx.act(Action::CopyFile { file, from, path, content, attributes });
        } else {
            entry.state = State::Opening(file);
            ctx.act(Action::OpenPartial { file, path, content, attributes });
        }
    }

    /// A partial file is open, and has bytes in these ranges.
    pub(crate) fn on_partial_opened(
        &mut self,
        ctx: &mut Context,
        file: FileId,
        data: &[Range<u64>],
    ) {
        let Some(&FileUse::Content(id)) = ctx.files.get(&file) else { return };
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Entry { path, content, state: State::Opening(_), .. } = *entry else { return };
        let ahead_blocks = self.ahead_bytes / content.block_bytes();
        let ahead_blocks = u32::try_from(ahead_blocks).unwrap_or(u32::MAX);
        let mut fetching = Fetching::new(path, content, file, data, ahead_blocks);
        if !fetching.is_small() {
            self.books.holding.push_back(Holding::Begun { content, path, file });
        }
        fetching.failure_is_due = ctx.settings.simulate_checksum_failure;
        let group = self.groups.get(&content);
        let sources = group.iter().flat_map(|group| &group.sources);
        sources.for_each(|&source| fetching.add_source(source));
        if !fetching.has_source() && content.size_bytes > 0 {
            self.books.events.push_back(ContentEvent::NoSource { path });
        }
        entry.state = State::Fetching(Box::new(fetching));
        self.settle(ctx, id);
        self.flush(ctx);
    }

    /// A file has its final name, which is `name`. Returns its content, if it is one of these.
    pub(crate) fn on_committed(
        &mut self,
        ctx: &mut Context,
        file: FileId,
        name: &FilePath,
        version: Version,
    ) -> Option<Content> {
        let Some(&FileUse::Content(id)) = ctx.files.get(&file) else { return None };
        ctx.files.remove(&file);
        let Self { entries, books, .. } = self;
        let entry = entries.get_mut(&id)?;
        let (content, saved) = (entry.content, ctx.paths.intern(name));
        let how = match std::mem::replace(&mut entry.state, State::Looking) {
            State::Committing { gave, .. } => {
                let mut out = Out { ctx, books, entry: id };
                gave.keys().for_each(|&source| out.tell(source, content, Verdict::Verified));
                How::Fetched { from: gave.into_values().collect() }
            }
            _ => How::Copied,
        };
        self.note_committed(ctx, saved, &version);
        self.done(ctx, id, saved, version, how);
        self.begin_queued(ctx);
        self.flush(ctx);
        Some(content)
    }

    /// Remembers a file by a name that differs in neither case nor Unicode form.
    fn note_committed(&mut self, ctx: &Context, path: PathId, version: &Version) {
        if let Some(name) = ctx.paths.get(path) {
            let (size_bytes, modified_ns) = (version.size_bytes, version.modified_ns);
            let known = Committed { path: path_hash(name.as_str()), size_bytes, modified_ns };
            self.committed.insert(path_hash(&folded(name.as_str())), known);
        }
    }

    /// Returns whether what stands under a path is another file of the job: the file system takes
    /// both names for one. Inodes do not tell: some file systems number them anew for each name.
    fn is_twin(&self, ctx: &Context, path: PathId, found: &Version) -> bool {
        let Some(name) = ctx.paths.get(path) else { return false };
        let known = self.committed.get(&path_hash(&folded(name.as_str())));
        known.is_some_and(|known| {
            known.path != path_hash(name.as_str())
                && (known.size_bytes, known.modified_ns) == (found.size_bytes, found.modified_ns)
        })
    }

    /// A path has its content, under the name `saved`.
    fn done(&mut self, ctx: &mut Context, id: EntryId, saved: PathId, version: Version, how: How) {
        let Some(Entry { path, content, .. }) = self.entries.get(&id) else { return };
        let (path, content) = (*path, *content);
        if how != How::Skipped
            && let Some(group) = self.groups.get_mut(&content)
            && group.origin.is_none()
        {
            ctx.paths.hold(saved);
            group.origin = Some(saved);
            group.sources = Vec::new();
        }
        self.books.events.push_back(ContentEvent::Done { path, saved, version, how });
        self.remove(ctx, id);
    }

    fn fail(&mut self, ctx: &mut Context, id: EntryId, error: FetchError) {
        if let Some(Entry { path, .. }) = self.entries.get(&id) {
            self.books.events.push_back(ContentEvent::Failed { path: *path, error });
            self.remove(ctx, id);
        }
    }

    /// A file could not be opened, written, hashed, copied or committed. It is closed, and has
    /// left the table of files.
    pub(crate) fn on_file_failed(&mut self, ctx: &mut Context, id: EntryId, error: FileError) {
        let Self { entries, books, groups, .. } = self;
        let Some(entry) = entries.get_mut(&id) else { return };
        if let State::Fetching(fetching) = &mut entry.state {
            fetching.give_up(&mut Out { ctx, books, entry: id });
        }
        match (error, &entry.state) {
            (FileError::Shortage(_), State::Opening(_) | State::Copying(_)) => {
                self.pause(ctx, id);
            }
            (FileError::Changed | FileError::Missing, State::Copying(_)) => {
                // The other file has the content no more: this path is fetched.
                let group = groups.entry(entry.content).or_default();
                let origin = group.origin.take();
                origin.into_iter().for_each(|path| ctx.paths.release(path));
                if group.leader.is_some() {
                    group.followers.push_back(id);
                    entry.state = State::Following;
                    self.active_small.remove(&id);
                    self.active_large.remove(&id);
                } else {
                    group.leader = Some(id);
                    self.open(ctx, id);
                }
            }
            _ => self.fail(ctx, id, error.into()),
        }
        self.begin_queued(ctx);
        self.flush(ctx);
    }

    /// The system is out of descriptors or memory: nothing begins for a moment.
    fn pause(&mut self, ctx: &mut Context, id: EntryId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.state = State::Queued;
        self.active_small.remove(&id);
        self.active_large.remove(&id);
        self.enqueue(id);
        let until = ctx.now + RETRY_DELAY_MIN;
        self.paused_until = Some(until);
        ctx.deadlines.arm(PeerWake::Contents(Wake::Queue), until);
    }
}

/// Returns what to do if something else stands under a name.
fn on_conflict(ctx: &Context) -> OnConflict {
    ctx.guest().map_or(OnConflict::Refuse, |guest| guest.on_conflict)
}

/// What is remembered of a file that was committed, by its folded path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    /// A hash of its path as it is: paths of jobs may be many and long.
    path: u64,
    size_bytes: u64,
    modified_ns: i64,
}

fn path_hash(path: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
