//! What version 1 does with files: partial files of contents, which outlive their process, and
//! folders.

use std::ops::Range;
use std::rc::Rc;

use fastrand::Rng;
use p2pfs::content::{Content, ContentId, FileError, InTheWay};
use p2pfs::proto::FileId;
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::{BlockHasher, Value};

use super::{CommitStep, Disk, Inode, Of, Open};

/// What a file system cuts files into.
const PAGE_BYTES: u64 = 4096;

/// Returns the path of the folder that holds this; nothing for the top.
pub(super) fn parent(path: &FilePath) -> &str {
    path.as_str().rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Disk {
    /// Opens the partial file of a content, or creates it; where it has bytes.
    pub(crate) fn open_partial(
        &mut self,
        now_us: u64,
        file: FileId,
        path: &FilePath,
        content: Content,
    ) -> Result<Vec<Range<u64>>, FileError> {
        self.check_way(path)?;
        if self.folder.contains_key(path) {
            return Err(FileError::Exists);
        }
        if self.folders.iter().chain(self.folder.keys()).any(|other| other.is_below(path)) {
            return Err(FileError::Folder);
        }
        let key = (parent(path).to_owned(), content);
        let before = self.kept.get(&key).map(Rc::clone);
        let is_locked = before.as_ref().is_some_and(|before| {
            let is_it =
                |open: &Open| matches!(open, Open::Partial { inode, .. } if Rc::ptr_eq(inode, before));
            self.open.values().any(is_it)
        });
        let is_kept = !is_locked && content.blocks() > 1;
        let inode = match before {
            Some(before) if is_kept => before,
            _ => self.new_inode(now_us, Vec::new()),
        };
        if is_kept {
            self.kept.insert(key, Rc::clone(&inode));
        }
        let data = inode.borrow().written.clone();
        let (path, commit) = (path.clone(), CommitStep::Written);
        let of = Of::Content { content, is_kept };
        self.open.insert(file, Open::Partial { path, inode, commit, of });
        Ok(data)
    }

    /// Every component of a path but the last one is a folder, or can become one.
    fn check_way(&self, path: &FilePath) -> Result<(), FileError> {
        let is_in_the_way = |other: &&FilePath| path.is_below(other) && *other != path;
        match self.folder.keys().find(is_in_the_way) {
            Some(there) => {
                let components = there.components().count() as u8;
                Err(FileError::NoFolder(InTheWay { components, is_link: false }))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn make_folder(&mut self, path: &FilePath) -> Result<(), FileError> {
        self.check_way(path)?;
        if let Some(there) = self.folder.get_key_value(path) {
            let components = there.0.components().count() as u8;
            return Err(FileError::NoFolder(InTheWay { components, is_link: false }));
        }
        self.folders.insert(path.clone());
        Ok(())
    }

    /// Begins a file with the content of another one.
    pub(crate) fn copy(
        &mut self,
        now_us: u64,
        file: FileId,
        from: &FilePath,
        path: &FilePath,
        content: Content,
    ) -> Result<(), FileError> {
        let bytes = self.folder.get(from).ok_or(FileError::Missing)?.inode.borrow().content.clone();
        if bytes.len() as u64 != content.size_bytes || id_of(&bytes) != content.id {
            return Err(FileError::Changed);
        }
        self.open_partial(now_us, file, path, content)?;
        self.write(now_us, file, &bytes, 0);
        Ok(())
    }

    /// Closes a partial file, and keeps what it has if it has the name for that.
    pub(crate) fn keep(&mut self, file: FileId) {
        match self.open.get(&file) {
            Some(Open::Partial { of: Of::Content { is_kept: true, .. }, .. }) => {
                self.open.remove(&file);
            }
            _ => _ = self.discard(file),
        }
    }

    /// Whether a partial file is kept though it failed.
    pub(crate) fn is_kept_after(&self, file: FileId, error: &FileError) -> bool {
        let is_final = matches!(
            error,
            FileError::Io(failed) | FileError::NoRoom(failed) if failed.call == "fsync"
        );
        let commit = match self.open.get(&file) {
            Some(Open::Partial { commit, .. }) => *commit,
            _ => return false,
        };
        !is_final && commit != CommitStep::Named
    }

    /// The content of which this is the partial file.
    pub(crate) fn content(&self, file: FileId) -> Option<Content> {
        match self.open.get(&file)? {
            Open::Partial { of: Of::Content { content, .. }, .. } => Some(*content),
            _ => None,
        }
    }

    /// The id of what a partial file has, as long as its content.
    pub(crate) fn id_of(&self, file: FileId) -> Option<ContentId> {
        let content = self.content(file)?;
        let Open::Partial { inode, .. } = self.open.get(&file)? else { return None };
        let mut bytes = inode.borrow().content.clone();
        bytes.resize(content.size_bytes as usize, 0);
        Some(id_of(&bytes))
    }

    /// The value of what stands in the place of a block.
    pub(crate) fn block_value(&self, file: FileId, block: u32) -> Value {
        let content = self.content(file).expect("a partial file of a content");
        let Some(Open::Partial { inode, .. }) = self.open.get(&file) else { unreachable!() };
        let range = content.block_range(block);
        let mut bytes = inode.borrow().content.clone();
        bytes.resize(content.size_bytes as usize, 0);
        let mut hasher = BlockHasher::new(range.start);
        hasher.update(&bytes[range.start as usize..range.end as usize]);
        if content.blocks() == 1 { hasher.id().0 } else { hasher.value() }
    }
}

impl Inode {
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[start..end].copy_from_slice(bytes);
        self.written.push(offset..end as u64);
        self.written.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in self.written.drain(..) {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.written = merged;
    }

    /// Of the pages of a partial file any may be lost: nothing of it was synced.
    pub(super) fn tear_pages(&mut self, rng: &mut Rng) {
        for range in self.written.clone() {
            for at in range.step_by(PAGE_BYTES as usize) {
                if rng.bool() {
                    let end = self.content.len().min((at + PAGE_BYTES) as usize);
                    self.content[at as usize..end].fill(0);
                }
            }
        }
        self.digest.set(None);
    }
}

fn id_of(bytes: &[u8]) -> ContentId {
    let mut hasher = BlockHasher::new(0);
    hasher.update(bytes);
    hasher.id()
}
