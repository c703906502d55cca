//! The files that wishes mean, from their content to the end of each.
//!
//! A bounded number is fetched at once: those that fewest sources list first, at random among
//! equals (F23). The others wait with what is known of them.
//!
//! Invariants: `contents` counts the paths in `queue` and `active` by content; each path in
//! `active` is held.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::job::WishId;
use super::listings::FoundFile;
use crate::content::{Attributes, Content};
use crate::limits::FILES_ACTIVE_MAX;
use crate::node::ConnectionId;
use crate::node::PathId;
use crate::node::peer::Context;
use crate::wire::FilePath;
use crate::wire::v1::{Entry, EntryState};

#[derive(Debug, Default)]
pub(super) struct Files {
    queue: VecDeque<Queued>,
    active: BTreeMap<PathId, Active>,
    contents: BTreeMap<Content, Wanted>,
    /// Where files are stored already, or will be, of this run. A program that goes on when all
    /// is there keeps only those to come.
    stored: BTreeMap<FilePath, Content>,
    /// What sources of a file that is not there list under its path by now.
    newer: BTreeMap<FilePath, Newer>,
    /// The sizes of all files, and of those that are there.
    all_bytes: u64,
    done_bytes: u64,
}

/// A file that waits.
#[derive(Debug)]
struct Queued {
    wish: WishId,
    stored_as: FilePath,
    content: Content,
    attributes: Attributes,
}

/// A file that is fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub(super) wish: WishId,
    pub(super) content: Content,
    pub(super) began: Instant,
    /// Whether a source sent wrong bytes of it too often.
    pub(super) was_wrong: bool,
}

/// What a file is by now, where it changed.
#[derive(Debug)]
pub(super) struct Newer {
    pub(super) content: Content,
    pub(super) attributes: Attributes,
    pub(super) sources: Vec<ConnectionId>,
}

#[derive(Debug, Default)]
struct Wanted {
    paths: usize,
    sources: Vec<ConnectionId>,
}

/// A file to begin with.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) path: PathId,
    pub(super) content: Content,
    pub(super) attributes: Attributes,
    pub(super) sources: Vec<ConnectionId>,
}

/// How a file was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Queued,
    /// Another wish has the same under this path.
    Twice,
    /// Something else is stored under this path.
    Conflict,
}

impl Files {
    /// Takes files in, in an order that is good for all that fetch them.
    pub(super) fn sort(ctx: &mut Context, files: &mut [FoundFile]) {
        ctx.rng.shuffle(files);
        files.sort_by_key(|file| file.sources.len());
    }

    pub(super) fn add(
        &mut self,
        wish: WishId,
        file: &FoundFile,
        content: Content,
        stored_as: FilePath,
    ) -> Taken {
        match self.stored.get(&stored_as) {
            Some(stored) if *stored == content => return Taken::Twice,
            Some(_) => return Taken::Conflict,
            None => _ = self.stored.insert(stored_as.clone(), content),
        }
        self.all_bytes = self.all_bytes.saturating_add(content.size_bytes);
        let wanted = self.contents.entry(content).or_default();
        wanted.paths += 1;
        for source in &file.sources {
            if !wanted.sources.contains(source) {
                wanted.sources.push(*source);
            }
        }
        let attributes =
            Attributes { modified_ns: file.modified_ns, is_executable: file.executable };
        self.queue.push_back(Queued { wish, stored_as, content, attributes });
        Taken::Queued
    }

    /// Returns the next file to begin with, if there is room for one.
    pub(super) fn begin(&mut self, ctx: &mut Context) -> Option<Begun> {
        if self.active.len() >= FILES_ACTIVE_MAX {
            return None;
        }
        let Queued { wish, stored_as, content, attributes } = self.queue.pop_front()?;
        let path = ctx.paths.intern(&stored_as);
        ctx.paths.hold(path);
        self.active.insert(path, Active { wish, content, began: ctx.now, was_wrong: false });
        let sources = self.contents.get(&content).map(|it| it.sources.clone()).unwrap_or_default();
        Some(Begun { path, content, attributes, sources })
    }

    /// A session is a source of a content. Returns whether that is news of one that is wanted.
    pub(super) fn add_source(&mut self, content: &Content, source: ConnectionId) -> bool {
        let Some(wanted) = self.contents.get_mut(content) else { return false };
        let is_new = !wanted.sources.contains(&source);
        if is_new {
            wanted.sources.push(source);
        }
        is_new
    }

    /// A session lists this under a path. Returns whether it was a source of another content
    /// there.
    pub(super) fn note_listed(&mut self, entry: &Entry, from: ConnectionId) -> bool {
        let Some(stored) = self.stored.get(&entry.path) else { return false };
        if let Some(newer) = self.newer.get_mut(&entry.path) {
            newer.sources.retain(|source| *source != from);
        }
        let EntryState::File { content, modified_ns, executable: is_executable } = entry.state
        else {
            return false;
        };
        let wanted = self.contents.get(stored);
        if content == *stored || !wanted.is_some_and(|wanted| wanted.sources.contains(&from)) {
            return false;
        }
        let attributes = Attributes { modified_ns, is_executable };
        let news = || Newer { content, attributes, sources: Vec::new() };
        let newer = self.newer.entry(entry.path.clone()).or_insert_with(news);
        if newer.content != content {
            *newer = news();
        }
        newer.sources.push(from);
        true
    }

    /// Returns what is listed under a path in place of what is fetched, if anything is.
    pub(super) fn take_newer(&mut self, path: &FilePath) -> Option<Newer> {
        self.newer.remove(path).filter(|newer| !newer.sources.is_empty())
    }

    /// A file that is fetched is to have another content.
    pub(super) fn replace(
        &mut self,
        path: PathId,
        stored_as: FilePath,
        content: Content,
        sources: &[ConnectionId],
    ) {
        let Some(active) = self.active.get_mut(&path) else { return };
        let before = std::mem::replace(&mut active.content, content);
        self.stored.insert(stored_as, content);
        let all_bytes = self.all_bytes.saturating_sub(before.size_bytes);
        self.all_bytes = all_bytes.saturating_add(content.size_bytes);
        self.forget_path_of(before);
        let wanted = self.contents.entry(content).or_default();
        wanted.paths += 1;
        let new = sources.iter().filter(|source| !wanted.sources.contains(source));
        let new: Vec<_> = new.copied().collect();
        wanted.sources.extend(new);
    }

    pub(super) fn forget_source(&mut self, source: ConnectionId) {
        for newer in self.newer.values_mut() {
            newer.sources.retain(|id| *id != source);
        }
        for wanted in self.contents.values_mut() {
            wanted.sources.retain(|id| *id != source);
        }
    }

    /// A source sent wrong bytes of a file too often.
    pub(super) fn note_wrong(&mut self, path: PathId) {
        if let Some(active) = self.active.get_mut(&path) {
            active.was_wrong = true;
        }
    }

    /// Returns the first source of a content that is known.
    pub(super) fn source_of(&self, content: &Content) -> Option<ConnectionId> {
        self.contents.get(content)?.sources.first().copied()
    }

    /// Returns the sizes of the files that are there, and of all.
    pub(super) fn bytes(&self) -> (u64, u64) {
        (self.done_bytes, self.all_bytes)
    }

    /// Returns how many files are neither there nor given up.
    pub(super) fn open(&self) -> usize {
        self.queue.len() + self.active.len()
    }

    /// A file is there, or will not come; its path is released.
    pub(super) fn end(&mut self, ctx: &mut Context, path: PathId, is_done: bool) -> Option<Active> {
        let active = self.active.remove(&path)?;
        let size_bytes = active.content.size_bytes;
        match is_done {
            true => self.done_bytes = self.done_bytes.saturating_add(size_bytes),
            false => self.all_bytes = self.all_bytes.saturating_sub(size_bytes),
        }
        if let Some(path) = ctx.paths.get(path) {
            self.newer.remove(path);
            // A program that goes on may be asked for it again, and finds what stands there then.
            if !ctx.settings.exit_when_done {
                self.stored.remove(path);
            }
        }
        ctx.paths.release(path);
        self.forget_path_of(active.content);
        Some(active)
    }

    fn forget_path_of(&mut self, content: Content) {
        if let Some(wanted) = self.contents.get_mut(&content) {
            wanted.paths -= 1;
            if wanted.paths == 0 {
                self.contents.remove(&content);
            }
        }
    }

    /// Ends all: returns the files that are fetched; the others leave with what is known of them.
    pub(super) fn active(&self) -> Vec<PathId> {
        self.active.keys().copied().collect()
    }

    /// Forgets the files that were not begun.
    pub(super) fn forget_queued(&mut self) {
        for queued in std::mem::take(&mut self.queue) {
            self.stored.remove(&queued.stored_as);
            self.forget_path_of(queued.content);
        }
    }

    /// Returns whether a file of this run is stored under this path, or will be.
    pub(super) fn is_stored(&self, path: &FilePath) -> bool {
        self.stored.contains_key(path)
    }

    pub(super) fn active_at(&self, path: PathId) -> Option<Active> {
        self.active.get(&path).copied()
    }
}
