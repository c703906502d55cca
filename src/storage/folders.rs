//! The folders beneath the one into which files are fetched.
//!
//! Each is made, or opened, relative to its parent, and no link is followed: what stands in the
//! way of a folder is told, and nothing is written elsewhere. Where two paths are one folder, by
//! case or Unicode form, the second is a conflict.
//!
//! Keeps the last [`FOLDERS_OPEN_MAX`] open, and remembers each folder by its inode. A folder
//! that was there before is swept when it is first opened.
//!
//! Invariant: a folder in which one was made stands in `unsynced` until it is synced.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::Mode;
use rustix::io::{Errno, retry_on_intr};

use super::folder::is_removed;
use super::system::{self, persist, refused};
use super::twins::{hash, is_listed};
use super::{beneath, temporary};
use crate::content::{FileError, InTheWay};
use crate::limits::{FOLDERS_OPEN_MAX, FOLDERS_UNSYNCED_MAX, RENAME_TRIES_MAX};
use crate::wire::{FilePath, folded};

/// A folder and those beneath it.
#[derive(Debug)]
pub(super) struct Folders {
    root: Rc<OwnedFd>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The one used last stands last.
    open: VecDeque<(Rc<str>, Rc<OwnedFd>)>,
    /// Every folder that was opened, by device and inode.
    paths: BTreeMap<(u64, u64), Rc<str>>,
    /// The hash of what paths that differ only in case or Unicode form have in common, and of
    /// the path.
    alike: BTreeSet<(u64, u64)>,
    /// Folders in which one was made; the root has an empty path.
    unsynced: BTreeSet<Rc<str>>,
}

/// Where a file is to stand.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The folder that holds it.
    pub(super) folder: Rc<OwnedFd>,
    /// Of the file, from the root of the tree.
    pub(super) path: FilePath,
}

impl Folders {
    pub(super) fn new(root: Rc<OwnedFd>) -> Self {
        Self { root, known: RefCell::default() }
    }

    /// Returns the place of a file, whose folder is made if need be.
    pub(super) fn place(&self, path: &FilePath) -> Result<Place, FileError> {
        let folder = match path.as_str().rsplit_once('/') {
            Some((parent, _)) => self.make(parent)?,
            None => Rc::clone(&self.root),
        };
        Ok(Place { folder, path: path.clone() })
    }

    /// Makes a folder and those on the way to it, as far as they are not there.
    ///
    /// # Errors
    /// [`FileError::NoFolder`] if something else stands there or on the way, and
    /// [`FileError::Twin`] if the folder has another path already.
    pub(super) fn make(&self, path: &str) -> Result<Rc<OwnedFd>, FileError> {
        if let Some(folder) = self.known.borrow_mut().reopen(path) {
            return Ok(folder);
        }
        let (parent, name) = match path.rsplit_once('/') {
            Some((parent, name)) => (self.make(parent)?, name),
            None => (Rc::clone(&self.root), path),
        };
        let mut made = Ok(false);
        let mut opened = beneath::open_folder(&parent, name);
        if opened.as_ref().is_err_and(|&errno| errno == Errno::NOENT) {
            made = persist(|| {
                rustix::fs::mkdirat(&parent, name, Mode::RWXU | Mode::RWXG | Mode::RWXO)
            })
            .map(|()| true);
            opened = beneath::open_folder(&parent, name);
        }
        let folder = match (opened, made) {
            (Ok(folder), _) => Rc::new(folder),
            (Err(Errno::LOOP | Errno::NOTDIR), _) => return Err(in_the_way(&parent, path, name)),
            (Err(_), Err(errno)) => return Err(refused("mkdir")(errno)),
            (Err(errno), Ok(_)) => return Err(refused("open")(errno)),
        };
        let is_made = made == Ok(true);
        if is_made {
            self.note_made(parent_of(path))?;
        }
        self.enter((&parent, path, name), &folder, is_made)?;
        Ok(folder)
    }

    /// The names of the folders that were made are safe when this returns.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let unsynced: Vec<_> = self.known.borrow().unsynced.iter().cloned().collect();
        for path in unsynced {
            let folder = match &*path {
                "" => Ok(Rc::clone(&self.root)),
                path => match self.known.borrow_mut().reopen(path) {
                    Some(folder) => Ok(folder),
                    None => beneath::open_folder(&self.root, path).map(Rc::new),
                },
            };
            match folder {
                Ok(folder) => sync_folder(&folder)?,
                // It is gone, and what was made in it, too.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(refused("open")(errno)),
            }
            self.known.borrow_mut().unsynced.remove(&path);
        }
        Ok(())
    }

    fn note_made(&self, parent: &str) -> Result<(), FileError> {
        let is_full = {
            let unsynced = &mut self.known.borrow_mut().unsynced;
            unsynced.insert(parent.into());
            unsynced.len() >= FOLDERS_UNSYNCED_MAX
        };
        if is_full { self.sync() } else { Ok(()) }
    }

    /// Takes in a folder that was opened. Fails if it is known under another path.
    ///
    /// FUSE may number a folder anew for each name: then its parent is read, but only if a path
    /// differs from this one in nothing but case or Unicode form.
    fn enter(
        &self,
        (parent, path, name): (&OwnedFd, &str, &str),
        folder: &Rc<OwnedFd>,
        is_made: bool,
    ) -> Result<(), FileError> {
        let stat = system::stat_file(folder)?;
        let key = (stat.st_dev, stat.st_ino);
        let path: Rc<str> = path.into();
        let known = &mut *self.known.borrow_mut();
        let before = known.paths.get(&key).filter(|before| **before != path);
        // An inode that was freed is used again.
        let still_there = |other: &Rc<str>| {
            beneath::stat(&self.root, other).is_ok_and(|there| system::is_same_file(&there, &stat))
        };
        if before.is_some_and(still_there) {
            return Err(FileError::Twin);
        }
        let (alike, own) = (hash(&folded(&path)), hash(&path));
        let is_alone = known.alike.range((alike, 0)..=(alike, u64::MAX)).next().is_none();
        let is_new = known.alike.insert((alike, own));
        if is_new && !is_made && !is_alone && !is_listed(parent, name) {
            known.alike.remove(&(alike, own));
            return Err(FileError::Twin);
        }
        if known.paths.insert(key, Rc::clone(&path)).is_none() && !is_made {
            // What cannot be read is not swept.
            let _ = temporary::sweep(folder);
        }
        if known.open.len() == FOLDERS_OPEN_MAX {
            known.open.pop_front();
        }
        known.open.push_back((path, Rc::clone(folder)));
        Ok(())
    }
}

impl Known {
    /// Returns a folder that is open, unless it was removed.
    fn reopen(&mut self, path: &str) -> Option<Rc<OwnedFd>> {
        let at = self.open.iter().rposition(|(other, _)| **other == *path)?;
        let entry = self.open.remove(at)?;
        let folder = Rc::clone(&entry.1);
        if is_removed(&folder, &system::stat_file(&folder).ok()?) {
            return None;
        }
        self.open.push_back(entry);
        Some(folder)
    }
}

impl Place {
    /// Returns the name of the file in its folder.
    pub(super) fn name(&self) -> &str {
        self.path.as_str().rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name)
    }

    /// Returns the places with a number in their names.
    pub(super) fn numbered(&self) -> impl Iterator<Item = Self> {
        (1..=RENAME_TRIES_MAX).map(|number| {
            let path = self.path.numbered(number);
            Self { folder: Rc::clone(&self.folder), path }
        })
    }
}

/// Makes the names in a folder safe.
pub(super) fn sync_folder(folder: impl AsFd) -> Result<(), FileError> {
    match retry_on_intr(|| rustix::fs::fsync(&folder)) {
        // A file system that has no such call for folders.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        outcome => outcome.map_err(refused("fsync")),
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// What stands where a folder must be.
fn in_the_way(parent: &OwnedFd, path: &str, name: &str) -> FileError {
    let is_link = system::stat_name(parent, name).is_ok_and(|there| system::is_link(&there));
    let components = path.split('/').count() as u8;
    FileError::NoFolder(InTheWay { components, is_link })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn tree(folder: &Path) -> Folders {
        Folders::new(Rc::new(fs::File::open(folder).unwrap().into()))
    }

    fn write(place: &Place) {
        let mode = Mode::from_raw_mode(0o666);
        system::create_new(&place.folder, place.name(), mode).unwrap();
    }

    fn path(text: &str) -> FilePath {
        FilePath::new(text).unwrap()
    }

    #[test]
    fn folders_are_made_as_deep_as_paths_go() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        let deepest = vec!["n".repeat(31); 32].join("/");
        for file in ["top", "a/b/c", "a/d", &deepest] {
            write(&tree.place(&path(file)).unwrap());
            assert!(folder.path().join(file).is_file(), "{file}");
        }
        tree.make("a/empty").unwrap();
        assert!(folder.path().join("a/empty").is_dir());
    }

    #[test]
    fn what_is_in_the_way_of_a_folder_is_told_and_left_as_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let at = |path: &str| outer.path().join(path);
        fs::create_dir_all(at("root/a")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        fs::write(at("root/a/file"), "theirs").unwrap();
        symlink(at("outside"), at("root/out")).unwrap();
        symlink("a", at("root/in")).unwrap();
        symlink("nowhere", at("root/a/dangling")).unwrap();
        let tree = tree(&at("root"));
        for (wanted, components, is_link) in [
            ("a/file/x", 2, false),
            ("a/file/x/y", 2, false),
            ("out/x", 1, true),
            ("in/x/y", 1, true),
            ("a/dangling/x", 2, true),
        ] {
            let error = tree.place(&path(wanted)).unwrap_err();
            let there = InTheWay { components, is_link };
            assert_eq!(error, FileError::NoFolder(there), "{wanted}");
        }
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(at("root/a")).unwrap().count(), 2);
        assert_eq!(fs::read_to_string(at("root/a/file")).unwrap(), "theirs");
    }

    #[test]
    fn few_are_open_and_each_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        for _ in 0..2 {
            for n in 0..3 * FOLDERS_OPEN_MAX {
                tree.make(&format!("f{n}/g")).unwrap();
                assert!(tree.known.borrow().open.len() <= FOLDERS_OPEN_MAX);
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3 * FOLDERS_OPEN_MAX);
    }

    #[test]
    fn every_folder_with_a_new_one_is_synced_once() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        fs::create_dir(folder.path().join("old")).unwrap();
        tree.make("old/a/b").unwrap();
        tree.make("c").unwrap();
        let unsynced = |tree: &Folders| {
            let known = tree.known.borrow();
            known.unsynced.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(unsynced(&tree), ["", "old", "old/a"]);
        // One that is gone has nothing to lose.
        fs::remove_dir_all(folder.path().join("old/a")).unwrap();
        tree.sync().unwrap();
        assert_eq!(unsynced(&tree), [""; 0]);
        for n in 0..2 * FOLDERS_UNSYNCED_MAX {
            tree.make(&format!("many/{n}/x")).unwrap();
            assert!(tree.known.borrow().unsynced.len() < FOLDERS_UNSYNCED_MAX);
        }
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        tree.make("a/b").unwrap();
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        write(&tree.place(&path("a/b/file")).unwrap());
        tree.make("a/c").unwrap();
        assert!(folder.path().join("a/b/file").is_file() && folder.path().join("a/c").is_dir());
    }

    #[test]
    fn an_inode_that_is_used_again_makes_no_twins() {
        let folder = tempfile::tempdir().unwrap();
        let tree = tree(folder.path());
        fs::create_dir(folder.path().join("b")).unwrap();
        let stat = system::stat_name(&tree.root, "b").unwrap();
        let key = (stat.st_dev, stat.st_ino);
        tree.known.borrow_mut().paths.insert(key, "a".into());
        tree.make("b").expect("nothing stands at the other path");
        assert_eq!(&*tree.known.borrow().paths[&key], "b");
    }
}
