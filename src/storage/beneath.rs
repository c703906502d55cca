//! Opening what lies beneath a folder, by a path of several components.
//!
//! No link is followed, on the way or at its end, and nothing outside the folder is reached,
//! whatever others rename meanwhile: `openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.
//! Where the kernel has no such call, or a sandbox forbids it, each component is opened relative
//! to the one before, with O_NOFOLLOW.
//!
//! What is mounted below the folder is entered or not, as the caller wants.
//!
//! Keeps nothing open and remembers only whether the call is there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::system::{self, persist};
use crate::content::{FileError, Version};

/// How a folder is opened in which things are read, made and synced.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a folder is opened that is only on the way.
const PASSAGE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens what stands at a path beneath a folder. Add [`system::no_surprise`] to the flags if its
/// kind is not known.
///
/// # Errors
/// `LOOP` or `NOTDIR` if a link, or anything else that is no folder, is on the way; `LOOP`, or
/// with `DIRECTORY` also `NOTDIR`, if a link stands at the end.
pub(super) fn open(
    folder: impl AsFd,
    path: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let folder = folder.as_fd();
    if path.contains('/') {
        resolve(folder, path, flags, mode, ResolveFlags::empty())
    } else {
        open_one(folder, path, flags, mode)
    }
}

/// Opens what stands at a path beneath a folder, and enters nothing that is mounted below it.
///
/// # Errors
/// As [`open`], and `XDEV` if something is mounted on the way or at the end. Without `openat2` a
/// part of the same file system that is mounted there is entered.
pub(super) fn open_unmounted(
    folder: impl AsFd,
    path: &str,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    resolve(folder.as_fd(), path, flags, Mode::empty(), ResolveFlags::NO_XDEV)
}

fn resolve(
    folder: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    more: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    /// Whether the call is known not to be there.
    static IS_WITHOUT: AtomicBool = AtomicBool::new(false);
    let without = || walk(folder, path, flags, mode, more.contains(ResolveFlags::NO_XDEV));
    if IS_WITHOUT.load(Ordering::Relaxed) {
        return without();
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match persist(|| rustix::fs::openat2(folder, path, flags, mode, resolve | more)) {
        Err(Errno::NOSYS) => {
            IS_WITHOUT.store(true, Ordering::Relaxed);
            without()
        }
        // A sandbox says so, too, or it is about the file itself: the walk finds out.
        Err(Errno::PERM) => without(),
        opened => opened,
    }
}

/// Does the same, one component after the other.
fn walk(
    folder: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    mode: Mode,
    is_unmounted: bool,
) -> Result<OwnedFd, Errno> {
    let device = |opened: BorrowedFd<'_>| rustix::fs::fstat(opened).map(|stat| stat.st_dev);
    let open = |at: BorrowedFd<'_>, component: &str, flags, mode| {
        let opened = open_one(at, component, flags, mode)?;
        let is_mounted = is_unmounted && device(opened.as_fd())? != device(folder)?;
        if is_mounted { Err(Errno::XDEV) } else { Ok(opened) }
    };
    let (mut passage, mut rest) = (None::<OwnedFd>, path);
    while let Some((component, behind)) = rest.split_once('/') {
        let at = passage.as_ref().map_or(folder, AsFd::as_fd);
        passage = Some(open(at, component, PASSAGE, Mode::empty())?);
        rest = behind;
    }
    let at = passage.as_ref().map_or(folder, AsFd::as_fd);
    open(at, rest, flags, mode)
}

fn open_one(
    folder: BorrowedFd<'_>,
    component: &str,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    debug_assert!(!matches!(component, "" | "..") && !component.contains('/'));
    persist(|| rustix::fs::openat(folder, component, flags | OFlags::NOFOLLOW, mode))
}

/// Opens a folder beneath another, to read it and to make things in it.
///
/// # Errors
/// `LOOP` or `NOTDIR` if something else stands there or on the way.
pub(super) fn open_folder(folder: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    open(folder, path, FOLDER, Mode::empty())
}

/// Opens a regular file for reading. Neither follows a link nor waits for the other end of a
/// FIFO.
///
/// # Errors
/// [`FileError::Missing`] if none stands there.
pub(super) fn open_regular(folder: impl AsFd, path: &str) -> Result<(File, Version), FileError> {
    system::regular(open(folder, path, OFlags::RDONLY | system::no_surprise(), Mode::empty()))
}

/// Returns what stands at a path beneath a folder, without following it if it is a link.
///
/// # Errors
/// `LOOP` or `NOTDIR` if a link, or anything else that is no folder, is on the way.
pub(super) fn stat(folder: impl AsFd, path: &str) -> Result<Stat, Errno> {
    match path.rsplit_once('/') {
        None => system::stat_name(folder, path),
        Some((parent, name)) => {
            system::stat_name(open(folder, parent, PASSAGE, Mode::empty())?, name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    type Open = fn(BorrowedFd<'_>, &str, OFlags, Mode) -> Result<OwnedFd, Errno>;

    fn walk_all(
        folder: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Errno> {
        walk(folder, path, flags, mode, false)
    }

    fn ways() -> [(&'static str, Open); 2] {
        [
            ("openat2", |folder, path, flags, mode| open(folder, path, flags, mode)),
            ("walk", walk_all),
        ]
    }

    /// A tree with links of every kind, and a file outside.
    fn tree(outer: &Path) -> File {
        let at = |path: &str| outer.join("root").join(path);
        fs::create_dir_all(at("a/b/c")).unwrap();
        fs::create_dir(outer.join("outside")).unwrap();
        for file in [at("a/b/c/file"), at("a/b/file"), outer.join("outside/file")] {
            fs::write(file, "x").unwrap();
        }
        symlink(outer.join("outside"), at("a/out")).unwrap();
        symlink("b", at("a/in")).unwrap();
        symlink("file", at("a/b/link")).unwrap();
        symlink("nowhere", at("a/b/dangling")).unwrap();
        File::open(outer.join("root")).unwrap()
    }

    #[test]
    fn what_is_beneath_is_opened_and_no_link_is_followed() {
        let outer = tempfile::tempdir().unwrap();
        let root = tree(outer.path());
        for (way, open) in ways() {
            let read = |path| open(root.as_fd(), path, OFlags::RDONLY, Mode::empty());
            for path in ["a", "a/b", "a/b/c", "a/b/c/file", "a/b/file"] {
                read(path).unwrap_or_else(|errno| panic!("{way}: {path}: {errno}"));
            }
            for path in ["a/out/file", "a/in/file", "a/b/file/x", "a/out", "a/in", "a/b/link"] {
                let errno = read(path).unwrap_err();
                assert!(matches!(errno, Errno::LOOP | Errno::NOTDIR), "{way}: {path}: {errno}");
            }
            assert_eq!(read("a/none/file").unwrap_err(), Errno::NOENT, "{way}");
            let new = OFlags::RDWR | OFlags::CREATE;
            for path in ["a/b/dangling", "a/out/new", "a/in/new"] {
                open(root.as_fd(), path, new, Mode::RWXU).unwrap_err();
            }
        }
        assert_eq!(fs::read_dir(outer.path().join("outside")).unwrap().count(), 1);
        assert!(!outer.path().join("root/a/b/nowhere").exists());
    }

    #[test]
    fn only_a_regular_file_is_read_and_a_link_is_told_as_what_it_is() {
        let outer = tempfile::tempdir().unwrap();
        let root = tree(outer.path());
        let (_, version) = open_regular(&root, "a/b/c/file").unwrap();
        assert_eq!(version.size_bytes, 1);
        for path in ["a", "a/b", "a/b/link", "a/in/file", "a/b/file/x", "none", "a/none"] {
            assert_eq!(open_regular(&root, path).unwrap_err(), FileError::Missing, "{path}");
        }
        assert!(system::is_regular(&stat(&root, "a/b/c/file").unwrap()));
        assert!(system::is_folder(&stat(&root, "a/b").unwrap()));
        let link = stat(&root, "a/in").unwrap();
        assert!(!system::is_folder(&link) && !system::is_regular(&link));
        assert!(stat(&root, "a/in/file").is_err() && open_folder(&root, "a/in").is_err());
        assert_eq!(stat(&root, "a/none").unwrap_err(), Errno::NOENT);
        open_folder(&root, "a/b").unwrap();
    }

    #[test]
    fn paths_of_the_greatest_depth_and_length_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = File::open(folder.path()).unwrap();
        let path = vec!["n".repeat(31); 32].join("/");
        assert_eq!(path.len(), 1023);
        fs::create_dir_all(folder.path().join(&path)).unwrap();
        for (way, open) in ways() {
            open(root.as_fd(), &path, FOLDER, Mode::empty()).expect(way);
        }
    }
}
