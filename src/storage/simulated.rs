//! The folder of a simulated peer: `peer-N` in the current folder, made anew at
//! each start, as if the peer were a fresh machine.
//!
//! It empties only folders of this user that carry a mark of this user, a hidden file that it
//! puts into those it makes. The mark is locked for as long as the peer lives, so that a
//! second peer with the same number does not empty the folder of the first; on a file system
//! without locks it does. Everything is done by descriptors: whatever another user puts in the
//! place of the folder meanwhile, nothing outside of it is removed, written or shared. Nothing
//! that is mounted in it is removed.

use std::error::Error;
use std::ffi::{CStr, OsStr};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::folder::{SharedFolder, SkipReason, Skipped, is_our_own, kind_if_not_regular};
use super::system::{self, persist};
use crate::limits::SIMULATED_DEPTH_MAX;
use crate::wire::{PeerId, Shown};

/// The file that marks a folder as made by this program, and thus as its to empty.
pub(super) const MARK: &str = ".p2pfs-simulated";

/// A folder that [`prepare`] made ready. While this lives, no other peer takes it.
#[derive(Debug)]
pub struct SimulatedFolder {
    path: PathBuf,
    folder: OwnedFd,
    skipped: Vec<Skipped>,
    // Held for its lock.
    _mark: OwnedFd,
}

/// Why a simulated peer's folder could not be made ready.
#[derive(Debug)]
pub enum PrepareError {
    /// This stands there, was not made by this program, and was not touched.
    NotOurs(PathBuf),
    /// A living peer with the same number uses this folder.
    InUse(PathBuf),
    /// Something is mounted at this path in the folder, and nothing of it was touched.
    Mounted(PathBuf),
    /// The system refused something about this path.
    Io(PathBuf, io::Error),
}

/// Makes the folder `peer-N` in `current_folder`, or empties the one that was made
/// before, and copies the regular files of `initial_folders/peer-N` into it, if
/// there is such a folder. Not bounded: it is for the start of a program.
pub fn prepare(
    current_folder: &Path,
    id: PeerId,
    initial_folders: &Path,
) -> Result<SimulatedFolder, PrepareError> {
    let name = format!("peer-{id}");
    let path = current_folder.join(&name);
    let (folder, mark) = match open_folder(&path)? {
        Some(folder) => {
            let mark = take_mark(&folder, OFlags::empty(), &path)?;
            (folder, mark)
        }
        None => make(&path, &current_folder.join(format!(".{name}.p2pfs-new")))?,
    };
    empty(&folder, &path)?;
    let skipped = fill(&folder, &path, &initial_folders.join(&name))?;
    Ok(SimulatedFolder { path, folder, skipped, _mark: mark })
}

impl SimulatedFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, whatever stands at its path by now.
    pub fn open(&self) -> io::Result<SharedFolder> {
        SharedFolder::open_again(&self.path, &self.folder)
    }

    /// What stands in the initial folder and was not copied.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// Makes a new folder that carries the mark from its first moment on: it is marked
/// under another name. Killed in between, a folder without mark would stay under
/// the right name and be refused ever after; what stays under the other name is
/// taken up by the next start.
fn make(path: &Path, staging: &Path) -> Result<(OwnedFd, OwnedFd), PrepareError> {
    match persist(|| rustix::fs::mkdir(staging, Mode::from_raw_mode(0o777))) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(refused(staging, errno)),
    }
    let in_use = || PrepareError::InUse(path.to_owned());
    // If it is gone, another process has just given it its name.
    let folder = open_folder(staging)?.ok_or_else(in_use)?;
    check_ours(&folder, staging, staging)?;
    for entry in system::entries(&folder).map_err(|errno| refused(staging, errno))? {
        let entry = entry.map_err(|errno| refused(staging, errno))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") && !is_mark(entry.file_name()) {
            return Err(PrepareError::NotOurs(staging.to_owned()));
        }
    }
    let mark = take_mark(&folder, OFlags::CREATE, staging)?;
    match persist(|| rustix::fs::rename(staging, path)) {
        Ok(()) => Ok((folder, mark)),
        Err(Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY) => Err(in_use()),
        Err(errno) => Err(refused(path, errno)),
    }
}

/// Opens a folder that is one itself, not a link to one. `None` if nothing is there.
fn open_folder(path: &Path) -> Result<Option<OwnedFd>, PrepareError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match persist(|| rustix::fs::open(path, flags, Mode::empty())) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(PrepareError::NotOurs(path.to_owned())),
        Err(errno) => Err(refused(path, errno)),
    }
}

/// Opens and locks the mark of a folder, and creates it if the flags say so.
fn take_mark(folder: &OwnedFd, flags: OFlags, path: &Path) -> Result<OwnedFd, PrepareError> {
    check_ours(folder, path, path)?;
    let flags = flags | OFlags::RDWR | system::no_surprise();
    let mode = Mode::from_raw_mode(0o666);
    let mark = match persist(|| rustix::fs::openat(folder, MARK, flags, mode)) {
        Ok(mark) => mark,
        Err(Errno::NOENT | Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
            return Err(PrepareError::NotOurs(path.to_owned()));
        }
        Err(errno) => return Err(refused(&path.join(MARK), errno)),
    };
    let stat = check_ours(&mark, &path.join(MARK), path)?;
    if !system::is_regular(&stat) {
        return Err(PrepareError::NotOurs(path.to_owned()));
    }
    match system::lock(&mark) {
        Ok(()) => Ok(mark),
        Err(errno) if system::is_without_locks(errno) => Ok(mark),
        Err(Errno::WOULDBLOCK) => Err(PrepareError::InUse(path.to_owned())),
        Err(errno) => Err(refused(&path.join(MARK), errno)),
    }
}

/// Returns what an open file or folder is, if it belongs to this user: anybody can make a mark.
fn check_ours(opened: &OwnedFd, at: &Path, folder: &Path) -> Result<Stat, PrepareError> {
    let stat = rustix::fs::fstat(opened).map_err(|errno| refused(at, errno))?;
    match stat.st_uid == geteuid().as_raw() {
        true => Ok(stat),
        false => Err(PrepareError::NotOurs(folder.to_owned())),
    }
}

/// Removes everything but the mark. Links are removed, not followed.
fn empty(folder: &OwnedFd, path: &Path) -> Result<(), PrepareError> {
    for entry in system::entries(folder).map_err(|errno| refused(path, errno))? {
        let entry = entry.map_err(|errno| refused(path, errno))?;
        if !is_mark(entry.file_name()) {
            remove(folder, entry.file_name(), path, SIMULATED_DEPTH_MAX)?;
        }
    }
    Ok(())
}

/// Removes what stands under a name, with all that is in it.
fn remove(
    folder: &OwnedFd,
    name: &CStr,
    path: &Path,
    depth_max: usize,
) -> Result<(), PrepareError> {
    if matches!(name.to_bytes(), b"." | b"..") {
        return Ok(());
    }
    let path = path.join(as_path(name));
    match persist(|| rustix::fs::unlinkat(folder, name, AtFlags::empty())) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) if depth_max > 0 => {}
        Err(Errno::BUSY) => return Err(PrepareError::Mounted(path)),
        Err(errno) => return Err(refused(&path, errno)),
    }
    let inner = open_inner(folder, name).map_err(|errno| match errno {
        Errno::XDEV => PrepareError::Mounted(path.clone()),
        errno => refused(&path, errno),
    })?;
    for entry in system::entries(&inner).map_err(|errno| refused(&path, errno))? {
        let entry = entry.map_err(|errno| refused(&path, errno))?;
        remove(&inner, entry.file_name(), &path, depth_max - 1)?;
    }
    match persist(|| rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(refused(&path, errno)),
    }
}

/// Opens a folder within another, which is no link to one. `XDEV` if something is mounted there.
fn open_inner(folder: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::NO_XDEV | ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match persist(|| rustix::fs::openat2(folder, name, flags, Mode::empty(), within)) {
        // Before Linux 5.6, or where a container forbids the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let inner = persist(|| rustix::fs::openat(folder, name, flags, Mode::empty()))?;
            match mount_of(folder)? == mount_of(&inner)? {
                true => Ok(inner),
                false => Err(Errno::XDEV),
            }
        }
        opened => opened,
    }
}

/// Returns what tells apart in which mount, or at least on which device, a folder is.
fn mount_of(folder: &OwnedFd) -> Result<(u64, Option<String>), Errno> {
    let device = rustix::fs::fstat(folder)?.st_dev;
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", folder.as_raw_fd()));
    let mount = facts.ok().and_then(|facts| {
        facts.lines().find_map(|line| line.strip_prefix("mnt_id:").map(str::to_owned))
    });
    Ok((device, mount))
}

/// Copies the regular files of the initial folder, if there is one.
fn fill(folder: &OwnedFd, path: &Path, initial: &Path) -> Result<Vec<Skipped>, PrepareError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match persist(|| rustix::fs::open(initial, flags, Mode::empty())) {
        Ok(source) => source,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(refused(initial, errno)),
    };
    let mut skipped = Vec::new();
    for entry in system::entries(&source).map_err(|errno| refused(initial, errno))? {
        let entry = entry.map_err(|errno| refused(initial, errno))?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || is_our_own(name.to_bytes()) {
            continue;
        }
        let (from, to) = (initial.join(as_path(name)), path.join(as_path(name)));
        let stat = system::stat_name(&source, name).map_err(|errno| refused(&from, errno))?;
        if let Some(kind) = kind_if_not_regular(FileType::from_raw_mode(stat.st_mode)) {
            let name = name.to_string_lossy().into_owned();
            skipped.push(Skipped { name, why: SkipReason::NotRegular(kind) });
            continue;
        }
        let (mut original, _) = system::open_regular(&source, name)
            .map_err(|error| PrepareError::Io(from, io::Error::other(error.to_string())))?;
        let mut copy = system::create_new(folder, name, Mode::from_raw_mode(0o666))
            .map_err(|errno| refused(&to, errno))?;
        io::copy(&mut original, &mut copy).map_err(|error| PrepareError::Io(to, error))?;
    }
    Ok(skipped)
}

fn is_mark(name: &CStr) -> bool {
    name.to_bytes() == MARK.as_bytes()
}

fn as_path(name: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

fn refused(path: &Path, errno: Errno) -> PrepareError {
    PrepareError::Io(path.to_owned(), errno.into())
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotOurs(path) | Self::InUse(path) | Self::Mounted(path) | Self::Io(path, _)) =
            self;
        let path = path.to_string_lossy();
        match self {
            Self::NotOurs(_) => write!(
                f,
                "{} was not made by p2pfs, so it is not emptied: move it away, or use --dir",
                Shown(path)
            ),
            Self::InUse(_) => write!(f, "{} is in use by another peer of that id", Shown(path)),
            Self::Mounted(_) => write!(
                f,
                "{} is a mount point, so it is not removed: unmount it, or use --dir",
                Shown(path)
            ),
            Self::Io(_, error) => {
                write!(f, "cannot prepare the folder of this peer: {}: {error}; ", Shown(path))?;
                f.write_str("go to a folder that can be written to, or use --dir")
            }
        }
    }
}

impl Error for PrepareError {}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::CWD;

    use super::*;

    /// A current folder with initial folders in it.
    fn scene() -> (tempfile::TempDir, PathBuf) {
        let current = tempfile::tempdir().unwrap();
        let initial = current.path().join("initial");
        fs::create_dir_all(initial.join("peer-1")).unwrap();
        fs::write(initial.join("peer-1/f"), b"original").unwrap();
        (current, initial)
    }

    /// Everything under a folder but marks, with its content.
    fn tree(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.symlink_metadata().unwrap().is_dir() {
                    folders.push(path.clone());
                    found.push((path, Vec::new()));
                } else if path.is_symlink() {
                    let target = fs::read_link(&path).unwrap().into_os_string();
                    found.push((path, target.into_encoded_bytes()));
                } else if !path.ends_with(MARK) {
                    found.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_new_folder_is_filled_and_an_old_one_made_anew() {
        let (current, initial) = scene();
        let peer = current.path().join("peer-1");
        fs::write(current.path().join("precious"), b"precious").unwrap();
        let first = prepare(current.path(), PeerId(1), &initial).unwrap();
        assert_eq!(first.path(), peer);
        assert_eq!(tree(&peer), [(peer.join("f"), b"original".to_vec())]);
        let scan = first.open().unwrap().scan().unwrap();
        assert_eq!((scan.files.len(), scan.skipped.len()), (1, 0), "the mark is not seen");
        drop(first);

        fs::write(peer.join("f"), b"changed").unwrap();
        fs::write(peer.join(".p2pfs-1-1.partial"), b"left").unwrap();
        fs::create_dir_all(peer.join("a/b")).unwrap();
        fs::write(peer.join("a/b/c"), b"deep").unwrap();
        symlink(current.path(), peer.join("link")).unwrap();
        symlink(current.path(), peer.join("a/link")).unwrap();
        let second = prepare(current.path(), PeerId(1), &initial).unwrap();
        assert_eq!(tree(second.path()), [(peer.join("f"), b"original".to_vec())]);
        assert_eq!(fs::read(current.path().join("precious")).unwrap(), b"precious");
        let names = fs::read_dir(current.path()).unwrap().count();
        assert_eq!(names, 3, "initial, peer-1 and precious, nothing else");
    }

    #[test]
    fn without_initial_folder_it_is_empty() {
        let (current, initial) = scene();
        let two = prepare(current.path(), PeerId(2), &initial).unwrap();
        assert_eq!(tree(two.path()), []);
        let three = prepare(current.path(), PeerId(3), &current.path().join("absent")).unwrap();
        assert_eq!(tree(three.path()), []);
    }

    #[test]
    fn what_this_program_did_not_make_is_not_touched() {
        let (current, initial) = scene();
        let peer = current.path().join("peer-1");
        let refused = || {
            let before = tree(current.path());
            let error = prepare(current.path(), PeerId(1), &initial).unwrap_err();
            assert!(matches!(&error, PrepareError::NotOurs(path) if *path == peer), "{error}");
            assert_eq!(tree(current.path()), before);
        };
        fs::create_dir(&peer).unwrap();
        refused();
        fs::write(peer.join("f"), b"precious").unwrap();
        refused();
        symlink("f", peer.join(MARK)).unwrap();
        refused();
        fs::remove_file(peer.join(MARK)).unwrap();
        fs::create_dir(peer.join(MARK)).unwrap();
        refused();
        fs::remove_dir_all(&peer).unwrap();
        fs::write(&peer, b"a file").unwrap();
        refused();
        fs::remove_file(&peer).unwrap();
        let marked = prepare(current.path(), PeerId(7), &initial).unwrap();
        symlink(marked.path(), &peer).unwrap();
        drop(marked);
        refused();
    }

    /// Another user who may write to the current folder exchanges the folder for a link.
    #[test]
    fn a_folder_that_is_exchanged_is_used_as_it_was_opened() {
        let (current, initial) = scene();
        let (peer, home) = (current.path().join("peer-1"), current.path().join("home"));
        fs::create_dir_all(home.join("a")).unwrap();
        fs::write(home.join("a/precious"), b"precious").unwrap();
        let first = prepare(current.path(), PeerId(1), &initial).unwrap();
        fs::create_dir_all(first.path().join("a/b")).unwrap();
        fs::rename(&peer, current.path().join("moved")).unwrap();
        symlink(&home, &peer).unwrap();
        let before = tree(&home);
        empty(&first.folder, &peer).unwrap();
        assert_eq!(tree(&home), before);
        assert_eq!(tree(&current.path().join("moved")), []);
        let shared = first.open().unwrap();
        fs::write(current.path().join("moved/mine"), b"x").unwrap();
        assert_eq!(shared.scan().unwrap().files.len(), 1, "home has no file");
    }

    #[test]
    fn folders_within_folders_beyond_the_bound_are_told() {
        let (current, initial) = scene();
        let peer = prepare(current.path(), PeerId(1), &initial).unwrap().path().to_owned();
        let deep = |depth: usize| peer.join("d/".repeat(depth));
        fs::create_dir_all(deep(SIMULATED_DEPTH_MAX)).unwrap();
        prepare(current.path(), PeerId(1), &initial).unwrap();
        assert!(!deep(1).exists());
        fs::create_dir_all(deep(SIMULATED_DEPTH_MAX + 1)).unwrap();
        let error = prepare(current.path(), PeerId(1), &initial).unwrap_err();
        assert!(matches!(&error, PrepareError::Io(..)), "{error}");
    }

    #[test]
    fn the_folder_of_a_living_peer_is_not_touched() {
        let (current, initial) = scene();
        let first = prepare(current.path(), PeerId(1), &initial).unwrap();
        fs::write(first.path().join("fetched"), b"x").unwrap();
        let error = prepare(current.path(), PeerId(1), &initial).unwrap_err();
        assert!(matches!(&error, PrepareError::InUse(path) if path == first.path()), "{error}");
        assert_eq!(tree(first.path()).len(), 2);
        drop(first);
        let second = prepare(current.path(), PeerId(1), &initial).unwrap();
        assert_eq!(tree(second.path()).len(), 1);
    }

    #[test]
    fn what_a_killed_start_left_is_taken_up_unless_something_is_in_it() {
        for marked in [false, true] {
            let (current, initial) = scene();
            let staging = current.path().join(".peer-1.p2pfs-new");
            fs::create_dir(&staging).unwrap();
            if marked {
                fs::write(staging.join(MARK), b"").unwrap();
            }
            let peer = prepare(current.path(), PeerId(1), &initial).unwrap();
            assert_eq!(tree(peer.path()).len(), 1);
            assert!(!staging.exists());
        }
        let (current, initial) = scene();
        let staging = current.path().join(".peer-1.p2pfs-new");
        fs::create_dir(&staging).unwrap();
        fs::write(staging.join("f"), b"precious").unwrap();
        let before = tree(current.path());
        let error = prepare(current.path(), PeerId(1), &initial).unwrap_err();
        assert!(matches!(&error, PrepareError::NotOurs(path) if *path == staging), "{error}");
        assert_eq!(tree(current.path()), before);
    }

    #[test]
    fn only_regular_files_are_copied() {
        let (current, initial) = scene();
        let from = initial.join("peer-1");
        symlink("/etc/passwd", from.join("link")).unwrap();
        fs::create_dir(from.join("folder")).unwrap();
        fs::write(from.join(MARK), b"").unwrap();
        rustix::fs::mknodat(CWD, from.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let peer = prepare(current.path(), PeerId(1), &initial).unwrap();
        assert_eq!(tree(peer.path()), [(peer.path().join("f"), b"original".to_vec())]);
        let mut skipped: Vec<_> = peer.skipped().iter().map(|skipped| skipped.why).collect();
        skipped.sort_by_key(|why| why.to_string());
        let kinds = ["a FIFO", "a folder", "a link"];
        assert_eq!(skipped, kinds.map(SkipReason::NotRegular));
    }

    #[test]
    fn an_error_names_the_path_escaped() {
        let (current, initial) = scene();
        fs::write(initial.join("peer-9"), b"").unwrap();
        let error = prepare(current.path(), PeerId(9), &initial).unwrap_err().to_string();
        assert!(error.contains("initial/peer-9: Not a directory"), "{error}");
        let absent = current.path().join("\x1babsent");
        let error = prepare(&absent, PeerId(1), &initial).unwrap_err().to_string();
        assert!(error.contains("\\u{1b}absent") && !error.contains('\x1b'), "{error}");
    }
}
