//! The catalog of our files: what each path is, and by which id its content is known.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::Share;
use super::giving::CHANGED;
use super::index::LocalFile;
use crate::content::{Content, ContentId, HashKind, Value, Version};
use crate::limits::{CONTENT_BYTES_MAX, MOVED_FILES_REMEMBERED};
use crate::node::PathId;
use crate::node::peer::Context;
use crate::wire::FilePath;
use crate::wire::v1::EntryState;

/// The ids of files that went: each may come again under another name.
///
/// Invariant: `order` has each key of `files` once.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// By device and inode.
    files: BTreeMap<(u64, u64), (Version, ContentId)>,
    order: VecDeque<(u64, u64)>,
}

impl Moved {
    fn insert(&mut self, version: Version, id: ContentId) {
        let key = (version.device, version.inode);
        if self.files.insert(key, (version, id)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MOVED_FILES_REMEMBERED
            && let Some(first) = self.order.pop_front()
        {
            self.files.remove(&first);
        }
    }

    /// Returns the id that a file had under another name.
    pub(super) fn id(&self, version: &Version) -> Option<ContentId> {
        let (before, id) = self.files.get(&(version.device, version.inode))?;
        before.is_alike(version).then_some(*id)
    }
}

impl LocalFile {
    /// Returns how it is listed.
    pub(super) fn entry_state(&self) -> EntryState {
        let Version { size_bytes, modified_ns, is_executable: executable, .. } = self.version;
        let modified_ns = u64::try_from(modified_ns.max(0)).unwrap_or(u64::MAX);
        match self.id {
            Some(id) => {
                let content = Content { id, size_bytes };
                EntryState::File { content, modified_ns, executable }
            }
            None => EntryState::Unhashed { size_bytes, modified_ns, executable, hashed_bytes: 0 },
        }
    }
}

impl Share {
    /// Lists a file as it is by now.
    pub(super) fn list(&mut self, ctx: &mut Context, path: PathId) {
        if ctx.guest().is_some() {
            return;
        }
        let (Some(local), Some(text)) = (self.index.get(path), ctx.paths.get(path)) else { return };
        if local.version.size_bytes <= CONTENT_BYTES_MAX {
            let (text, state) = (text.clone(), local.entry_state());
            self.put(ctx, text, state);
        }
    }

    fn put(&mut self, ctx: &mut Context, path: FilePath, state: EntryState) {
        self.note_shown(ctx, &path, state);
        self.catalog.put(path, state);
        self.tell_readers(ctx);
    }

    /// Lists a file no more, and ends what is requested of its content.
    pub(super) fn unlist(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        id: Option<ContentId>,
    ) {
        if let Some(text) = ctx.paths.get(path).cloned() {
            if self.fetched.get(&text).is_some() {
                self.fetched.put(text.clone(), EntryState::Removed);
            }
            self.put(ctx, text, EntryState::Removed);
        }
        if let Some(id) = id {
            self.moved.insert(version, id);
            self.end_content(ctx, path, &Content { id, size_bytes: version.size_bytes }, CHANGED);
        }
    }

    /// A folder with nothing in it is there.
    pub(crate) fn on_empty_folder(&mut self, ctx: &mut Context, path: FilePath) {
        if ctx.guest().is_none() {
            self.put(ctx, path, EntryState::EmptyFolder);
        }
    }

    /// A folder that was empty is not, or not there.
    pub(crate) fn on_empty_folder_gone(&mut self, ctx: &mut Context, path: &FilePath) {
        if self.catalog.get(path) == Some(&EntryState::EmptyFolder) {
            self.put(ctx, path.clone(), EntryState::Removed);
        }
    }

    /// A file has this id, and its blocks these values.
    pub(super) fn set_id(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        id: ContentId,
        values: Rc<[Value]>,
    ) {
        self.index.end_hash(path, HashKind::Blake3);
        let Some(local) = self.index.get_mut(path) else { return };
        local.reset_rehash();
        let (before, size_bytes) = (local.id, local.version.size_bytes);
        self.index.note_hashed(ctx.now, path, id);
        self.manifests.insert(id, values);
        self.list(ctx, path);
        if let Some(before) = before.filter(|before| *before != id) {
            self.end_content(ctx, path, &Content { id: before, size_bytes }, CHANGED);
        }
    }

    /// The id of a file is not taken for true any more, and made again.
    pub(super) fn forget_id(&mut self, ctx: &mut Context, path: PathId) {
        let Some(local) = self.index.get(path) else { return };
        let (before, size_bytes) = (local.id, local.version.size_bytes);
        self.index.set_id(path, None);
        self.list(ctx, path);
        if let Some(id) = before {
            self.end_content(ctx, path, &Content { id, size_bytes }, CHANGED);
        }
    }

    /// A file is hashed this far.
    pub(super) fn note_progress(&mut self, ctx: &mut Context, path: PathId, hashed_bytes: u64) {
        if let Some(text) = ctx.paths.get(path) {
            self.catalog.note_hashed(text, hashed_bytes);
        }
    }
}
