//! Reads the folders of a tree, entry by entry.
//!
//! A folder is watched before it is read, so that nothing falls between the two. One folder is
//! open at a time; those below it wait by their paths.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::Dir;
use rustix::io::Errno;

use super::folder::{SkipReason, Skipped};
use super::system;
use super::tree::{SharedTree, There, is_ours, look, skipped};
use super::watch::Watch;
use crate::content::{Sight, Version};
use crate::wire::FilePath;

/// Folders that are read, each with all below it.
#[derive(Debug, Default)]
pub struct Walk {
    waiting: Vec<Waiting>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Waiting {
    /// `None` is the top of a tree without names.
    folder: Option<FilePath>,
    sight: Sight,
}

#[derive(Debug)]
struct Current {
    path: Option<FilePath>,
    folder: OwnedFd,
    names: Dir,
    /// Whether something in it is shared.
    is_used: bool,
    sight: Sight,
}

/// What was found in one step.
#[derive(Debug)]
pub enum Found {
    /// A file, and what is known to have happened to it.
    File(FilePath, Version, Sight),
    /// A folder in which nothing is shared.
    EmptyFolder(FilePath),
    Skipped(Skipped),
    /// A folder could not be read to its end.
    Unread(Option<FilePath>, Errno),
    /// Nothing worth telling.
    Nothing,
}

impl Walk {
    /// Reads the whole tree. The files in it are `Looked` at.
    pub fn of(tree: &SharedTree) -> Self {
        let mut walk = Self::default();
        for (folder, _) in tree.folders() {
            walk.add(folder, Sight::Looked);
        }
        walk
    }

    /// Reads this folder, too. Files in it are told with this sight, unless one is known
    /// to be written to.
    pub fn add(&mut self, folder: Option<FilePath>, sight: Sight) {
        self.waiting.push(Waiting { folder, sight });
    }

    /// Returns whether folders wait that were found or added.
    pub(super) fn has_found_folder(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Reads the next entry, or opens the next folder. `None` at the end.
    pub fn step(&mut self, tree: &SharedTree, watch: Option<&mut Watch>) -> Option<Found> {
        let Some(current) = &mut self.current else {
            let Waiting { folder, sight } = self.waiting.pop()?;
            return Some(self.open(tree, watch, folder, sight));
        };
        let entry = match current.names.next() {
            Some(Ok(entry)) => entry,
            Some(Err(errno)) => {
                let path = self.current.take().and_then(|current| current.path);
                return Some(Found::Unread(path, errno));
            }
            None => {
                let Current { path, is_used, .. } = self.current.take()?;
                let empty = path.filter(|_| !is_used).map(Found::EmptyFolder);
                return Some(empty.unwrap_or(Found::Nothing));
            }
        };
        let name = entry.file_name().to_bytes();
        match current.look(tree, name) {
            Ok(Some((path, There::File(version)))) => {
                let is_written =
                    watch.is_some_and(|watch| watch.is_written(current.path.as_ref(), name));
                let sight = if is_written { Sight::Written } else { current.sight };
                current.is_used = true;
                Some(Found::File(path, version, sight))
            }
            Ok(Some((path, There::Folder))) => {
                current.is_used = true;
                let waiting = Waiting { folder: Some(path), sight: current.sight };
                self.waiting.push(waiting);
                Some(Found::Nothing)
            }
            Ok(None) => Some(Found::Nothing),
            Err(why) => Some(Found::Skipped(Skipped::in_folder(current.path.as_ref(), name, why))),
        }
    }

    fn open(
        &mut self,
        tree: &SharedTree,
        watch: Option<&mut Watch>,
        path: Option<FilePath>,
        sight: Sight,
    ) -> Found {
        let folder = match tree.open_folder(path.as_ref()) {
            Ok(folder) => folder,
            // It went away in the meantime, or something else came in its place.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if path.is_some() => {
                return Found::Nothing;
            }
            Err(errno) => return unread(path, errno),
        };
        if let Some(watch) = watch {
            watch.add(path.clone(), &folder);
        }
        match system::entries(&folder) {
            Ok(names) => {
                self.current = Some(Current { path, folder, names, is_used: false, sight });
                Found::Nothing
            }
            Err(errno) => unread(path, errno),
        }
    }
}

impl Current {
    fn look(
        &self,
        tree: &SharedTree,
        name: &[u8],
    ) -> Result<Option<(FilePath, There)>, SkipReason> {
        if matches!(name, b"." | b"..") || is_ours(name) {
            return Ok(None);
        }
        let path = FilePath::in_folder(self.path.as_ref(), name).map_err(SkipReason::Path)?;
        if let Some(why) = tree.passes_over(&path) {
            return Err(why);
        }
        Ok(look(self.folder.as_fd(), name)?.map(|there| (path, there)))
    }
}

/// A folder that is mounted or may not be read is passed over; anything else may pass.
fn unread(path: Option<FilePath>, errno: Errno) -> Found {
    match path {
        Some(path) if matches!(errno, Errno::XDEV | Errno::ACCESS | Errno::PERM) => {
            Found::Skipped(Skipped { name: path.as_str().to_owned(), why: skipped(errno) })
        }
        path => Found::Unread(path, errno),
    }
}
