//! What the rest of this module shares: opening without surprises, the version
//! of a file, and how a refused call is reported.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, StatxAttributes,
    StatxFlags, StatxTimestamp,
};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::path::Arg;

use crate::content::{FailedCall, FileError, Version};
use crate::limits::DISTURBED_CALLS_MAX;

/// Makes a call again that was merely disturbed.
pub fn persist<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..DISTURBED_CALLS_MAX {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            outcome => return outcome,
        }
    }
    call()
}

/// The error for a call that the system refused.
pub fn refused(call: &'static str) -> impl Fn(Errno) -> FileError {
    move |errno| {
        let failed = FailedCall { call, errno: errno.raw_os_error() };
        match errno {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => FileError::NoRoom(failed),
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => {
                FileError::Shortage(failed)
            }
            _ => FileError::Io(failed),
        }
    }
}

/// What stands under a name, without following it if it is a link.
pub(super) fn stat_name(folder: impl AsFd, name: impl Arg + Copy) -> Result<Stat, Errno> {
    persist(|| rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// What stands under a name.
pub(super) struct Entry {
    pub(super) mode: u32,
    pub(super) version: Version,
    /// Whether something is mounted there; false where the kernel cannot tell.
    pub(super) is_mounted: bool,
}

/// Returns what stands under a name by now, without following it if it is a link: of file systems
/// that others change, too, the kernel may remember what is gone.
pub(super) fn entry(folder: impl AsFd, name: impl Arg + Copy) -> Result<Entry, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    let mask = StatxFlags::BASIC_STATS;
    let statx = match persist(|| rustix::fs::statx(&folder, name, flags, mask)) {
        Err(Errno::NOSYS | Errno::PERM) => {
            let stat = stat_name(folder, name)?;
            let (mode, version) = (stat.st_mode, version(&stat));
            return Ok(Entry { mode, version, is_mounted: false });
        }
        statx => statx?,
    };
    let ns = |at: StatxTimestamp| nanoseconds(at.tv_sec, at.tv_nsec.into());
    let mode = u32::from(statx.stx_mode);
    let version = Version {
        device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
        inode: statx.stx_ino,
        size_bytes: statx.stx_size,
        modified_ns: ns(statx.stx_mtime),
        changed_ns: ns(statx.stx_ctime),
        is_executable: Mode::from_raw_mode(mode).contains(Mode::XUSR),
    };
    let is_mounted = statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    Ok(Entry { mode, version, is_mounted })
}

/// Whether anything stands under a name now: of file systems that others change, too, the kernel
/// may remember what is gone.
pub(super) fn stands_now(folder: impl AsFd, name: &str) -> Result<bool, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    let looked = match persist(|| rustix::fs::statx(&folder, name, flags, StatxFlags::TYPE)) {
        // Before Linux 4.11, or where that call is forbidden.
        Err(Errno::NOSYS | Errno::PERM) => stat_name(&folder, name).map(drop),
        looked => looked.map(drop),
    };
    match looked {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Begins to read what stands in a folder.
pub(super) fn entries(folder: impl AsFd) -> Result<Dir, Errno> {
    persist(|| Dir::read_from(&folder))
}

/// The names in a folder of our own. The standard library's reader of folders would end
/// the program if the folder could not be closed.
pub fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | no_surprise();
    let descriptor = persist(|| rustix::fs::open(folder, flags, Mode::empty()))?;
    let names = entries(&descriptor)?.map(|entry| {
        let name = entry?.file_name().to_bytes().to_owned();
        Ok(OsString::from_vec(name))
    });
    names.filter(|name| !name.as_ref().is_ok_and(|name| name == "." || name == "..")).collect()
}

/// Opens a regular file for reading. Neither follows a link nor waits for the
/// other end of a FIFO.
pub(super) fn open_regular(
    folder: impl AsFd,
    name: impl Arg + Copy,
) -> Result<(File, Version), FileError> {
    let flags = OFlags::RDONLY | no_surprise();
    regular(persist(|| rustix::fs::openat(&folder, name, flags, Mode::empty())))
}

/// Returns what was opened, with [`no_surprise`], as a regular file. [`FileError::Missing`] if
/// it is none.
pub(super) fn regular(opened: Result<OwnedFd, Errno>) -> Result<(File, Version), FileError> {
    let file = opened.map(File::from).map_err(|errno| match errno {
        // Not there; a link; a file on the way; a socket or a device that nobody serves.
        Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO => FileError::Missing,
        errno => refused("open")(errno),
    })?;
    let stat = stat_file(&file)?;
    if !is_regular(&stat) {
        return Err(FileError::Missing);
    }
    Ok((file, version(&stat)))
}

/// Creates a file for writing and reading. `EXIST` if anything stands there, be it a link to nowhere.
pub(super) fn create_new(
    folder: impl AsFd,
    name: impl Arg + Copy,
    mode: Mode,
) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    persist(|| rustix::fs::openat(&folder, name, flags, mode)).map(File::from)
}

/// Creates a file that has no name.
pub(super) fn create_unnamed(folder: impl AsFd) -> Result<File, Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match persist(|| rustix::fs::openat(&folder, ".", flags, mode)) {
        // A file system that knows no files without a name.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        outcome => return outcome.map(File::from),
    }
    // Another program may have the same number, in another container.
    let name = format!(".p2pfs-{}-{}.unnamed", std::process::id(), fastrand::u64(..));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = persist(|| rustix::fs::openat(&folder, name.as_str(), flags, mode))?;
    persist(|| rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::empty()))?;
    Ok(file.into())
}

/// The flags without which nothing is opened whose kind is not known yet.
pub(super) fn no_surprise() -> OFlags {
    OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

/// Whether this user may not read what stands under a name.
pub(super) fn is_denied(folder: impl AsFd, name: impl Arg + Copy) -> bool {
    let asked = persist(|| rustix::fs::accessat(&folder, name, Access::READ_OK, AtFlags::EACCESS));
    asked == Err(Errno::ACCESS)
}

/// Reads from `offset` on; gives how many bytes there were, 0 at the end of the file.
pub(super) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize, FileError> {
    persist(|| rustix::io::pread(&file, &mut *buffer, offset)).map_err(refused("read"))
}

/// The same without waiting for a disk: `None` if nothing of it is in memory. Waits where a
/// file system cannot tell.
pub(super) fn read_at_once(
    file: impl AsFd,
    buffer: &mut [u8],
    offset: u64,
) -> Result<Option<usize>, FileError> {
    let mut buffers = [IoSliceMut::new(buffer)];
    match rustix::io::preadv2(&file, &mut buffers, offset, ReadWriteFlags::NOWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        // Another file system, or a kernel before 4.14.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => read_at(file, buffer, offset).map(Some),
        read => read.map(Some).map_err(refused("read")),
    }
}

/// What an open file is.
pub(super) fn stat_file(file: impl AsFd) -> Result<Stat, FileError> {
    persist(|| rustix::fs::fstat(&file)).map_err(refused("stat"))
}

/// Whether the error of [`lock`] is that of a file system that has no locks.
pub(super) fn is_without_locks(errno: Errno) -> bool {
    matches!(errno, Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Takes the lock that says that the owner of a file lives. `WOULDBLOCK` if a
/// living one has it. It ends with the descriptor, however the process ends.
pub(super) fn lock(file: impl AsFd) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive))
}

/// Whether this is a folder.
pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether this is a link.
pub(super) fn is_link(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
}

/// Whether this is a regular file.
pub(super) fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// Whether both are the same file.
pub(super) fn is_same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Returns a time in nanoseconds since 1970, or the nearest that can be told.
fn nanoseconds(seconds: i64, ns: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(ns)
}

/// The version of a file.
pub(super) fn version(stat: &Stat) -> Version {
    Version {
        device: stat.st_dev,
        inode: stat.st_ino,
        size_bytes: stat.st_size as u64,
        modified_ns: nanoseconds(stat.st_mtime, stat.st_mtime_nsec as i64),
        changed_ns: nanoseconds(stat.st_ctime, stat.st_ctime_nsec as i64),
        is_executable: Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_time_that_cannot_be_told_is_the_nearest_that_can() {
        assert_eq!(nanoseconds(-1, 5), -999_999_995);
        assert_eq!(nanoseconds(1 << 40, 5), i64::MAX);
        assert!(nanoseconds(-(1 << 40), 5) < i64::MIN + 1_000_000_000);
    }

    #[test]
    fn a_disturbed_call_is_made_again_but_not_for_ever() {
        let mut calls = 0;
        let outcome = persist(|| {
            calls += 1;
            if calls < 4 { Err(if calls == 2 { Errno::AGAIN } else { Errno::INTR }) } else { Ok(7) }
        });
        assert_eq!((outcome, calls), (Ok(7), 4));
        let mut calls = 0;
        let outcome: Result<(), _> = persist(|| {
            calls += 1;
            Err(Errno::INTR)
        });
        assert_eq!((outcome, calls), (Err(Errno::INTR), DISTURBED_CALLS_MAX));
        let mut calls = 0;
        let outcome: Result<(), _> = persist(|| {
            calls += 1;
            Err(Errno::IO)
        });
        assert_eq!((outcome, calls), (Err(Errno::IO), 1));
    }

    #[test]
    fn what_is_in_memory_is_read_at_once() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut buffer = [0; 4];
        assert_eq!(read_at_once(&file, &mut buffer, 3).unwrap(), Some(4));
        assert_eq!(&buffer, b"3456");
        assert_eq!(read_at_once(&file, &mut buffer, 8).unwrap(), Some(2));
        assert_eq!(read_at_once(&file, &mut buffer, 10).unwrap(), Some(0), "the end");
        let folder = File::open(".").unwrap();
        let error = read_at_once(&folder, &mut buffer, 0).unwrap_err();
        assert!(matches!(error, FileError::Io(FailedCall { call: "read", .. })), "{error:?}");
    }

    #[test]
    fn what_is_created_takes_the_place_of_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let descriptor = File::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("file"), b"theirs").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        for there in ["file", "link"] {
            let outcome = create_new(&descriptor, there, Mode::RWXU);
            assert_eq!(outcome.unwrap_err(), Errno::EXIST);
        }
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"theirs");
        assert!(!folder.path().join("nowhere").exists());
        create_new(&descriptor, "new", Mode::RWXU).unwrap();
    }

    #[test]
    fn a_version_tells_contents_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"one").unwrap();
        let stat = stat_file(File::open(&path).unwrap()).unwrap();
        let first = version(&stat);
        assert_eq!(first.size_bytes, 3);
        let now_ns = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
        assert!((first.changed_ns - now_ns).abs() < 60_000_000_000, "{first:?} {now_ns}");
        let replacement = folder.path().join("g");
        std::fs::write(&replacement, b"two").unwrap();
        let other = version(&stat_file(File::open(&replacement).unwrap()).unwrap());
        assert_ne!(first.inode, other.inode);
    }
}
