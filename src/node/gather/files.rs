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

#[derive(Debug, Default)]
pub(super) struct Files {
    queue: VecDeque<Queued>,
    active: BTreeMap<PathId, Active>,
    contents: BTreeMap<Content, Wanted>,
    /// Where files are stored already, or will be, of this run.
    stored: BTreeMap<FilePath, Content>,
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
        self.active.insert(path, Active { wish, content, began: ctx.now });
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

    pub(super) fn forget_source(&mut self, source: ConnectionId) {
        for wanted in self.contents.values_mut() {
            wanted.sources.retain(|id| *id != source);
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
