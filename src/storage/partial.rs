//! A file that is coming in.
//!
//! ```text
//! create ──▶ .p2pfs-PID-N.partial, locked ──▶ write ... ──▶ fsync ──▶ final name ──▶ fsync folder
//!                       │                                   └── for many files at once (commit.rs)
//!                       └──────── dropped, or anything fails ──▶ removed
//! ```
//!
//! The lock tells other processes that the owner lives: it goes with the
//! process, however that ends, and the next one to open the folder removes
//! partial files that nobody has locked.

use std::ffi::CStr;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::folder::WriteSettings;
use super::space::Space;
use super::system::{self, persist, refused};
use crate::content::{FileError, OnConflict, Version};
use crate::limits::{PARTIAL_NAME_TRIES_MAX, RENAME_TRIES_MAX, WRITE_BACK_BYTES};
use crate::wire::v0::FileName;

const PREFIX: &[u8] = b".p2pfs-";
const SUFFIX: &[u8] = b".partial";

/// A file that is coming in, under a temporary name. It is removed when dropped,
/// unless it was committed.
#[derive(Debug)]
pub struct Partial {
    folder: Rc<OwnedFd>,
    file: File,
    final_name: FileName,
    /// Where it stands now and is removed from when dropped; `None` once it is to stay.
    stands_as: Option<String>,
    write_back: WriteBack,
    space: Rc<Space>,
    settings: WriteSettings,
}

/// How much was written since the kernel was last told to write back.
#[derive(Debug, Default)]
struct WriteBack {
    waiting: Range<u64>,
}

impl Partial {
    pub(super) fn create(
        folder: Rc<OwnedFd>,
        final_name: FileName,
        space: Rc<Space>,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        space.check(&folder, 0, settings.disk_reserve_bytes)?;
        // What can be known to end in vain does not begin.
        let is_refused = matches!(settings.on_conflict, OnConflict::Refuse | OnConflict::Skip);
        if settings.on_conflict != OnConflict::Rename {
            match system::stat_name(&folder, final_name.as_str()) {
                Err(Errno::NOENT) => {}
                Ok(there) if system::is_folder(&there) => return Err(FileError::Folder),
                Ok(_) if is_refused => return Err(FileError::Exists),
                Ok(_) => {}
                Err(errno) => return Err(refused("stat")(errno)),
            }
        }
        for _ in 0..PARTIAL_NAME_TRIES_MAX {
            let name = next_name();
            let file = match system::create_new(&folder, name.as_str()) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(refused("open")(errno)),
            };
            // From here on, dropping it removes it.
            let partial = Self {
                folder: Rc::clone(&folder),
                file,
                final_name,
                stands_as: Some(name),
                write_back: WriteBack::default(),
                space: Rc::clone(&space),
                settings,
            };
            // A process that starts right now may find the file before it is locked, take
            // it for a dead one's, and have it locked or removed by now.
            match system::lock(&partial.file) {
                Ok(()) if system::stat_file(&partial.file)?.st_nlink > 0 => return Ok(partial),
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(refused("lock")(errno)),
            }
        }
        Err(refused("open")(Errno::EXIST))
    }

    /// A file that has no name and gets none, emptied.
    pub(super) fn unnamed(
        folder: Rc<OwnedFd>,
        file: &File,
        final_name: FileName,
        space: Rc<Space>,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        let file = file
            .try_clone()
            .map_err(|error| refused("dup")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        persist(|| rustix::fs::ftruncate(&file, 0)).map_err(refused("truncate"))?;
        space.check(&file, 0, settings.disk_reserve_bytes)?;
        let (stands_as, write_back) = (None, WriteBack::default());
        Ok(Self { folder, file, final_name, stands_as, write_back, space, settings })
    }

    /// Writes all the bytes at this offset. After an error the file is to be dropped.
    /// A caller bounds the time this takes by the bytes it gives.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let mut written_bytes = 0;
        while written_bytes < bytes.len() {
            let (rest, at) = (&bytes[written_bytes..], offset + written_bytes as u64);
            match persist(|| rustix::io::pwrite(&self.file, rest, at)) {
                Ok(0) => {
                    return Err(refused("write")(Errno::IO));
                }
                Ok(len_bytes) => written_bytes += len_bytes,
                Err(errno) => return Err(refused("write")(errno)),
            }
        }
        let len_bytes = bytes.len() as u64;
        if let Some(due) = self.write_back.wrote(offset, len_bytes)
            && self.settings.sync
        {
            self.begin_write_back(due);
        }
        self.space.check(&self.file, len_bytes, self.settings.disk_reserve_bytes)
    }

    /// Starts writing back without waiting for it, so that little is left for the fsync.
    /// If the advice is not taken, that fsync is longer.
    fn begin_write_back(&self, due: Range<u64>) {
        let len_bytes = NonZeroU64::new(due.end - due.start);
        let _ = rustix::fs::fadvise(&self.file, due.start, len_bytes, Advice::DontNeed);
    }

    /// The first step of a commit: what is not yet on its way to the disk is sent there.
    pub(super) fn begin_sync(&mut self) {
        let rest = std::mem::take(&mut self.write_back.waiting);
        if !rest.is_empty() {
            self.begin_write_back(rest);
        }
    }

    /// The second: the content is safe. A failed fsync is final: the kernel may have
    /// dropped what it could not write, and another fsync would then succeed.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        retry_on_intr(|| rustix::fs::fsync(&self.file)).map_err(refused("fsync"))
    }

    /// The last, once the name is safe too: the file is to stay, and this is its name. The
    /// version is that after the renaming, which changes the time of change.
    pub(super) fn keep(mut self) -> Result<(FileName, Version), FileError> {
        let stat = system::stat_file(&self.file)?;
        self.stands_as = None;
        Ok((self.final_name, system::version(&stat)))
    }

    /// The third: it takes its final name, or one with a number if that is wanted.
    pub(super) fn take_final_name(&mut self) -> Result<(), FileError> {
        let wanted = self.final_name;
        let mut outcome = self.take_name(wanted);
        if self.settings.on_conflict == OnConflict::Rename {
            for number in 1..=RENAME_TRIES_MAX {
                if outcome != Err(FileError::Exists) {
                    break;
                }
                outcome = self.take_name(wanted.numbered(number));
            }
        }
        outcome
    }

    fn take_name(&mut self, name: FileName) -> Result<(), FileError> {
        let Some(from) = &self.stands_as else { return Ok(()) };
        let to = name.as_str();
        let replaces = self.settings.on_conflict == OnConflict::Replace;
        let renamed = persist(|| {
            let flags = match replaces {
                true => RenameFlags::empty(),
                false => RenameFlags::NOREPLACE,
            };
            rustix::fs::renameat_with(&self.folder, from.as_str(), &self.folder, to, flags)
        });
        end_renaming(&self.folder, (from, to), replaces, renamed)?;
        // What was replaced is gone: what took its place stays, whatever fails from here on.
        self.stands_as = (!replaces).then(|| to.to_owned());
        self.final_name = name;
        Ok(())
    }

    /// Whether the name it stands under leads to something else by now, which is not
    /// ours to remove.
    fn was_replaced(&self, name: &str) -> bool {
        match (system::stat_file(&self.file), system::stat_name(&self.folder, name)) {
            (Ok(ours), Ok(there)) => !system::is_same_file(&ours, &there),
            _ => false,
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(name) = self.stands_as.take()
            && !self.was_replaced(&name)
        {
            // What cannot be removed now is removed at the next start.
            let _ = persist(|| rustix::fs::unlinkat(&self.folder, &name, AtFlags::empty()));
        }
    }
}

impl WriteBack {
    /// Notes what was written; gives the range that is due to be written back.
    fn wrote(&mut self, offset: u64, len_bytes: u64) -> Option<Range<u64>> {
        if offset != self.waiting.end {
            self.waiting = offset..offset;
        }
        self.waiting.end += len_bytes;
        if self.waiting.end - self.waiting.start < WRITE_BACK_BYTES {
            return None;
        }
        let due = self.waiting.clone();
        self.waiting.start = due.end;
        Some(due)
    }
}

/// Whether a name has the form of our temporary names.
pub(super) fn is_partial_name(name: &[u8]) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let Some(middle) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) else {
        return false;
    };
    let mut numbers = middle.split(|&byte| byte == b'-');
    let (process, counter) = (numbers.next(), numbers.next());
    numbers.next().is_none() && process.is_some_and(is_number) && counter.is_some_and(is_number)
}

/// Removes a partial file if its owner is dead, that is if nobody has it locked.
pub(super) fn remove_if_dead(folder: &OwnedFd, name: &CStr) {
    // For writing, because NFS locks nothing that is open only for reading.
    let flags = OFlags::RDWR | system::no_surprise();
    let Ok(file) = persist(|| rustix::fs::openat(folder, name, flags, Mode::empty())) else {
        return;
    };
    let (Ok(()), Ok(ours)) = (system::lock(&file), system::stat_file(&file)) else { return };
    // Its owner may have been alive when it was opened here, and done with it since.
    let stands_there = system::stat_name(folder, name)
        .is_ok_and(|there| system::is_regular(&there) && system::is_same_file(&ours, &there));
    if stands_there {
        let _ = persist(|| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
    }
}

/// A name that no other partial file of this process has.
fn next_name() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".p2pfs-{}-{count}.partial", *PROCESS)
}

/// Returns what came of a renaming, after another try where that is not known without
/// replacing.
fn end_renaming(
    folder: impl AsFd,
    (from, to): (&str, &str),
    replaces: bool,
    renamed: Result<(), Errno>,
) -> Result<(), FileError> {
    match renamed {
        Ok(()) => Ok(()),
        // A folder is never replaced.
        Err(Errno::EXIST | Errno::ISDIR) => Err(FileError::Exists),
        // File systems such as NFS, and kernels before 3.15.
        Err(Errno::INVAL | Errno::NOSYS) if !replaces => link_then_unlink(folder, from, to),
        Err(errno) => Err(refused("rename")(errno)),
    }
}

/// Another way of renaming that never replaces.
fn link_then_unlink(folder: impl AsFd, from: &str, to: &str) -> Result<(), FileError> {
    persist(|| rustix::fs::linkat(&folder, from, &folder, to, AtFlags::empty())).map_err(
        |errno| match errno {
            Errno::EXIST => FileError::Exists,
            errno => refused("link")(errno),
        },
    )?;
    // If it keeps its second name, that one is removed at the next start.
    let _ = persist(|| rustix::fs::unlinkat(&folder, from, AtFlags::empty()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rustix::fs::{CWD, FileType, MemfdFlags, SealFlags};

    use super::*;
    use crate::storage::SharedFolder;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn names_in(path: &Path) -> Vec<String> {
        let names = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_at_offsets_stands_under_the_final_name_after_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let mut partial = shared.create_partial(&name("f")).unwrap();
        partial.write(b"world", 6).unwrap();
        partial.write(b"hello ", 0).unwrap();
        partial.write(b"", 11).unwrap();
        assert!(!folder.path().join("f").exists());
        let version = shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!(names_in(folder.path()), ["f"]);
        assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"hello world");
        assert_eq!(shared.scan().unwrap().files, [version]);
    }

    #[test]
    fn a_partial_file_that_is_not_committed_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let mut partial = shared.create_partial(&name("f")).unwrap();
        partial.write(b"x", 0).unwrap();
        let other = shared.create_partial(&name("f")).unwrap();
        let names = names_in(folder.path());
        assert_eq!(names.len(), 2);
        assert!(names.iter().all(|name| is_partial_name(name.as_bytes())), "{names:?}");
        drop(partial);
        assert_eq!(names_in(folder.path()).len(), 1);
        drop(other);
        assert_eq!(names_in(folder.path()).len(), 0);
    }

    #[test]
    fn nothing_under_the_final_name_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let shared = SharedFolder::open(path).unwrap();
        fs::write(path.join("file"), b"theirs").unwrap();
        symlink("nowhere", path.join("link")).unwrap();
        fs::create_dir(path.join("folder")).unwrap();
        let errors = [FileError::Exists, FileError::Exists, FileError::Folder];
        for (there, error) in ["file", "link", "folder"].into_iter().zip(errors) {
            assert_eq!(shared.create_partial(&name(there)).unwrap_err(), error);
        }
        // The same, appearing between creation and commit.
        let [mut file, mut link, mut empty] =
            ["file2", "link2", "folder2"].map(|n| shared.create_partial(&name(n)).unwrap());
        fs::write(path.join("file2"), b"theirs").unwrap();
        symlink("nowhere", path.join("link2")).unwrap();
        fs::create_dir(path.join("folder2")).unwrap();
        for partial in [&mut file, &mut link, &mut empty] {
            partial.write(b"ours", 0).unwrap();
        }
        let mut good = shared.create_partial(&name("good")).unwrap();
        good.write(b"ours", 0).unwrap();
        let outcomes = shared.commit(vec![file, link, good, empty]);
        for (at, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok((_, version)) => assert_eq!((at, version.size_bytes), (2, 4)),
                Err(error) => assert_eq!(*error, FileError::Exists),
            }
        }
        fs::remove_file(path.join("good")).unwrap();
        assert_eq!(fs::read(path.join("file2")).unwrap(), b"theirs");
        assert_eq!(fs::read_link(path.join("link2")).unwrap(), Path::new("nowhere"));
        assert_eq!(
            names_in(path),
            ["file", "file2", "folder", "folder2", "link", "link2"],
            "the partial files are gone, the rest is there"
        );
    }

    #[test]
    fn the_other_way_of_renaming_does_not_replace_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let descriptor = File::open(path).unwrap();
        fs::write(path.join("from"), b"ours").unwrap();
        fs::write(path.join("there"), b"theirs").unwrap();
        // What file systems and kernels answer that know no renaming without replacing.
        let renames = |from, to, errno| end_renaming(&descriptor, (from, to), false, Err(errno));
        assert_eq!(renames("from", "there", Errno::INVAL), Err(FileError::Exists));
        assert_eq!(fs::read(path.join("there")).unwrap(), b"theirs");
        assert_eq!(renames("from", "to", Errno::INVAL), Ok(()));
        assert_eq!(renames("to", "at last", Errno::NOSYS), Ok(()));
        assert_eq!(names_in(path), ["at last", "there"]);
        assert_eq!(fs::read(path.join("at last")).unwrap(), b"ours");
    }

    #[test]
    fn what_took_the_place_of_a_partial_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let partial = shared.create_partial(&name("f")).unwrap();
        let there = folder.path().join(&names_in(folder.path())[0]);
        fs::remove_file(&there).unwrap();
        fs::write(&there, b"theirs").unwrap();
        drop(partial);
        assert_eq!(fs::read(&there).unwrap(), b"theirs");
    }

    #[test]
    fn what_stands_under_the_final_name_is_treated_as_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut shared = SharedFolder::open(path).unwrap();
        let mut commit = |there: &str, on_conflict| {
            shared.set(WriteSettings { sync: true, disk_reserve_bytes: Some(0), on_conflict });
            let mut partial = shared.create_partial(&name(there))?;
            partial.write(b"ours", 0).unwrap();
            shared.commit(vec![partial]).remove(0).map(|(name, _)| name.as_str().to_owned())
        };
        let content = |name: &str| fs::read(path.join(name)).unwrap();
        fs::write(path.join("f.txt"), b"theirs").unwrap();
        fs::create_dir(path.join("folder")).unwrap();
        for on_conflict in [OnConflict::Refuse, OnConflict::Skip, OnConflict::Compare] {
            assert_eq!(commit("f.txt", on_conflict), Err(FileError::Exists), "{on_conflict:?}");
        }
        assert_eq!(commit("f.txt", OnConflict::Rename), Ok("f (1).txt".into()));
        assert_eq!(commit("f.txt", OnConflict::Rename), Ok("f (2).txt".into()));
        assert_eq!(content("f.txt"), b"theirs");
        assert_eq!(content("f (2).txt"), b"ours");
        assert_eq!(commit("f.txt", OnConflict::Replace), Ok("f.txt".into()));
        assert_eq!(content("f.txt"), b"ours");
        assert_eq!(commit("folder", OnConflict::Replace), Err(FileError::Folder));
        assert_eq!(commit("folder", OnConflict::Rename), Ok("folder (1)".into()));
        assert_eq!(
            names_in(path),
            ["f (1).txt", "f (2).txt", "f.txt", "folder", "folder (1)"],
            "and nothing else is left"
        );
    }

    #[test]
    fn the_last_number_is_taken_and_none_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let mut shared = SharedFolder::open(path).unwrap();
        let on_conflict = OnConflict::Rename;
        shared.set(WriteSettings { sync: false, disk_reserve_bytes: Some(0), on_conflict });
        fs::write(path.join("f"), b"theirs").unwrap();
        (1..RENAME_TRIES_MAX).for_each(|n| fs::write(path.join(format!("f ({n})")), b"").unwrap());
        let commit = || {
            let partial = shared.create_partial(&name("f"))?;
            shared.commit(vec![partial]).remove(0).map(|(name, _)| name.as_str().to_owned())
        };
        assert_eq!(commit(), Ok(format!("f ({RENAME_TRIES_MAX})")));
        assert_eq!(commit(), Err(FileError::Exists));
    }

    #[test]
    fn an_unnamed_file_is_never_in_the_folder_and_begins_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, mut file) = SharedFolder::open_unnamed(folder.path()).unwrap();
        let mut wrong = shared.create_partial(&name("f")).unwrap();
        wrong.write(b"longer and wrong", 0).unwrap();
        drop(wrong);
        let mut partial = shared.create_partial(&name("f")).unwrap();
        partial.write(b"right", 0).unwrap();
        assert_eq!(names_in(folder.path()), [""; 0]);
        let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!((version.size_bytes, names_in(folder.path()).len()), (5, 0));
        let mut content = String::new();
        std::io::Read::read_to_string(&mut file, &mut content).unwrap();
        assert_eq!(content, "right");
    }

    #[test]
    fn only_what_dead_processes_left_is_removed_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let shared = SharedFolder::open(path).unwrap();
        let living = shared.create_partial(&name("f")).unwrap();
        let living_name = names_in(path).remove(0);
        // No process has the number 0.
        fs::write(path.join(".p2pfs-0-0.partial"), b"dead").unwrap();
        fs::write(path.join(".p2pfs-0-1.partial.txt"), b"not ours").unwrap();
        symlink("precious", path.join(".p2pfs-0-2.partial")).unwrap();
        fs::create_dir(path.join(".p2pfs-0-3.partial")).unwrap();
        let fifo = path.join(".p2pfs-0-4.partial");
        rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::write(path.join("precious"), b"precious").unwrap();
        let not_ours = [
            ".p2pfs-0-1.partial.txt",
            ".p2pfs-0-2.partial",
            ".p2pfs-0-3.partial",
            ".p2pfs-0-4.partial",
            "precious",
        ];
        SharedFolder::open(path).unwrap();
        let mut rest = names_in(path);
        assert!(rest.contains(&living_name));
        rest.retain(|name| *name != living_name);
        assert_eq!(rest, not_ours);
        // As when its process was killed: the lock goes, the file stays.
        let mut killed = living;
        killed.stands_as = None;
        drop(killed);
        assert!(names_in(path).contains(&living_name));
        SharedFolder::open(path).unwrap();
        assert_eq!(names_in(path), not_ours);
    }

    /// The same file or folder, by a descriptor on which fsync fails, and nothing else that a
    /// commit does.
    fn without_fsync(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_file_whose_fsync_failed_takes_no_final_name() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let [mut lost, kept] = ["lost", "kept"].map(|n| shared.create_partial(&name(n)).unwrap());
        let stands_as = lost.stands_as.clone().unwrap();
        lost.file = without_fsync(&folder.path().join(stands_as)).into();
        let outcomes = shared.commit(vec![lost, kept]);
        assert_eq!(outcomes[0], Err(refused("fsync")(Errno::BADF)));
        assert!(outcomes[1].is_ok(), "{outcomes:?}");
        assert_eq!(names_in(folder.path()), ["kept"]);
    }

    #[test]
    fn no_final_name_stays_if_the_fsync_of_the_folder_failed() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let partials = ["a", "b"].map(|n| shared.create_partial(&name(n)).unwrap());
        let failing = without_fsync(folder.path());
        let outcomes = crate::storage::commit::commit(&failing, partials.into(), true);
        assert_eq!(outcomes, [Err(refused("fsync")(Errno::BADF)); 2]);
        assert_eq!(names_in(folder.path()), [""; 0]);
    }

    #[test]
    fn a_partial_name_is_told_from_others() {
        assert!(is_partial_name(next_name().as_bytes()));
        for other in [
            ".p2pfs-1-2-3.partial",
            ".p2pfs-1.partial",
            ".p2pfs--.partial",
            ".p2pfs-1-.partial",
            ".p2pfs-a-1.partial",
            ".p2pfs-1-1.partial2",
            "p2pfs-1-1.partial",
            ".p2pfs-.partial",
        ] {
            assert!(!is_partial_name(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn writing_back_is_due_once_enough_lies_there_in_one_piece() {
        const PIECE: u64 = WRITE_BACK_BYTES / 4;
        let mut write_back = WriteBack::default();
        for n in 0..3 {
            assert_eq!(write_back.wrote(n * PIECE, PIECE), None);
        }
        assert_eq!(write_back.wrote(3 * PIECE, PIECE), Some(0..4 * PIECE));
        assert_eq!(write_back.wrote(4 * PIECE, PIECE), None);
        assert_eq!(write_back.wrote(100 * PIECE, 3 * PIECE), None, "elsewhere it begins anew");
        assert_eq!(write_back.wrote(103 * PIECE, PIECE), Some(100 * PIECE..104 * PIECE));
    }

    #[test]
    fn what_a_short_write_left_over_is_written_too() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let mut partial = shared.create_partial(&name("f")).unwrap();
        // A file that cannot grow takes what it has room for, and refuses the rest.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("f", flags).unwrap();
        let room_bytes = 1 << 20;
        rustix::fs::ftruncate(&file, room_bytes).unwrap();
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW).unwrap();
        partial.file = file.into();
        let outcome = partial.write(&[7; 2 << 20], 0);
        assert_eq!(outcome, Err(refused("write")(Errno::PERM)));
        let mut last = [0];
        assert_eq!(system::read_at(&partial.file, &mut last, room_bytes - 1), Ok(1));
        assert_eq!(last, [7], "the first write was short, not refused");
    }

    #[test]
    fn a_write_that_the_system_refuses_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let mut partial = shared.create_partial(&name("f")).unwrap();
        let error = partial.write(b"x", i64::MAX as u64).unwrap_err();
        assert!(
            matches!(error, FileError::Io(crate::content::FailedCall { call: "write", .. })),
            "{error:?}"
        );
    }
}
