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
//! partial files that nobody has locked. On a file system without locks nobody knows who
//! lives, and partial files of others stay.

use std::cell::{Cell, OnceCell};
use std::ffi::CStr;
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use rustix::path::Arg;
use rustix::process::{Gid, Uid};

use super::folder::WriteSettings;
use super::holes::data_in;
use super::naming::{Naming, rename_new, rename_over};
use super::space::Space;
use super::system::{self, persist, refused};
use super::twins::Twins;
use crate::content::{FileError, OnConflict, Version};
use crate::limits::{NEW_FILE_BYTES, PARTIAL_NAME_TRIES_MAX, RENAME_TRIES_MAX, WRITE_BACK_BYTES};
use crate::wire::v0::FileName;

const PREFIX: &[u8] = b".p2pfs-";
const SUFFIX: &[u8] = b".partial";

/// Read, write and execute, for each of owner, group and others.
const PERMISSIONS: u32 = 0o777;
/// The permissions of a new file, of which the system takes some away.
const NEW: Mode = Mode::from_raw_mode(0o666);
/// Nobody else reads it before it has the permissions of the one that it replaces.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A file that is coming in, under a temporary name. It is removed when dropped,
/// unless it was committed.
#[derive(Debug)]
pub struct Partial {
    target: Rc<Target>,
    file: File,
    final_name: FileName,
    /// Whether it was created for its owner alone, because a file is to be replaced.
    is_private: bool,
    /// Where it stands now and is removed from when dropped; `None` once it is to stay.
    stands_as: Option<String>,
    /// How large it is, with zeros that were left out at its end.
    len_bytes: u64,
    /// Where zeros that were last left out end.
    hole_end: u64,
    write_back: WriteBack,
    settings: WriteSettings,
}

/// Where the one file of a folder whose files have no names is put when it is committed.
pub type Committed = Rc<OnceCell<File>>;

/// The folder that files come into, and what they share.
#[derive(Debug)]
pub(super) struct Target {
    folder: Rc<OwnedFd>,
    space: Space,
    naming: Cell<Naming>,
    twins: Twins,
    /// Whether it was tried how a file takes a name here.
    is_tried: Cell<bool>,
    /// If files have no names here.
    unnamed: Option<Committed>,
}

/// How much was written since the kernel was last told to write back.
#[derive(Debug, Default)]
struct WriteBack {
    waiting: Range<u64>,
}

impl Target {
    /// Nothing came yet into this folder, of which users are told as `shown`.
    pub(super) fn new(
        folder: Rc<OwnedFd>,
        shown: &'static str,
        unnamed: Option<Committed>,
    ) -> Self {
        let (space, naming) = (Space::new(shown), Cell::default());
        let (twins, is_tried) = (Twins::default(), Cell::new(false));
        Self { folder, space, naming, twins, is_tried, unnamed }
    }
}

impl Partial {
    pub(super) fn create(
        target: &Rc<Target>,
        final_name: FileName,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        if target.unnamed.is_some() {
            return Self::unnamed(target, final_name, settings);
        }
        let reserve_bytes = settings.disk_reserve_bytes;
        target.space.check(&target.folder, NEW_FILE_BYTES, NEW_FILE_BYTES, reserve_bytes)?;
        // What can be known to end in vain does not begin.
        let skips = settings.on_conflict == OnConflict::Skip;
        let is_refused = skips || settings.on_conflict == OnConflict::Refuse;
        let mut mode = NEW;
        if settings.on_conflict != OnConflict::Rename {
            match system::stat_name(&target.folder, final_name.as_str()) {
                Err(Errno::NOENT) => {}
                Ok(there) if system::is_folder(&there) => return Err(FileError::Folder),
                Ok(_) if target.twins.has_other(&target.folder, final_name) => {
                    return Err(FileError::Twin);
                }
                Ok(there) if skips && !system::is_regular(&there) => return Err(FileError::NoFile),
                Ok(_) if is_refused => return Err(FileError::Exists),
                Ok(there) => {
                    if settings.on_conflict == OnConflict::Replace && system::is_regular(&there) {
                        mode = PRIVATE;
                    }
                }
                Err(errno) => return Err(refused("stat")(errno)),
            }
        }
        for _ in 0..PARTIAL_NAME_TRIES_MAX {
            let name = next_name();
            let file = match system::create_new(&target.folder, name.as_str(), mode) {
                Ok(file) => file,
                Err(Errno::EXIST) => {
                    // Another program has the same number: one in another container, or one
                    // of another day.
                    COUNTER.store(fastrand::u64(..), Ordering::Relaxed);
                    continue;
                }
                Err(errno) => {
                    let error = refused("open")(errno);
                    let (space, folder) = (&target.space, &target.folder);
                    return Err(space.explain(error, folder, NEW_FILE_BYTES, reserve_bytes));
                }
            };
            // From here on, dropping it removes it.
            let mut partial = Self {
                target: Rc::clone(target),
                file,
                final_name,
                is_private: mode == PRIVATE,
                stands_as: Some(name),
                len_bytes: 0,
                hole_end: 0,
                write_back: WriteBack::default(),
                settings,
            };
            // A process that starts right now may find the file before it is locked, take
            // it for a dead one's, and have it locked or removed by now.
            match system::lock(&partial.file) {
                Ok(()) if !partial.was_removed(&system::stat_file(&partial.file)?) => {}
                // Nobody can lock it here, and so nobody removes it.
                Err(errno) if system::is_without_locks(errno) => {}
                Ok(()) | Err(Errno::WOULDBLOCK) => continue,
                Err(errno) => return Err(refused("lock")(errno)),
            }
            partial.try_naming()?;
            return Ok(partial);
        }
        Err(refused("open")(Errno::EXIST))
    }

    /// Creates a file that has no name and gets none. Each has its own: two downloads of one
    /// file may run at once.
    fn unnamed(
        target: &Rc<Target>,
        final_name: FileName,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        let reserve_bytes = settings.disk_reserve_bytes;
        let (space, folder) = (&target.space, &target.folder);
        space.check(folder, NEW_FILE_BYTES, NEW_FILE_BYTES, reserve_bytes)?;
        let file = system::create_unnamed(folder).map_err(|errno| {
            space.explain(refused("open")(errno), folder, NEW_FILE_BYTES, reserve_bytes)
        })?;
        Ok(Self {
            target: Rc::clone(target),
            file,
            final_name,
            is_private: true,
            stands_as: None,
            len_bytes: 0,
            hole_end: 0,
            write_back: WriteBack::default(),
            settings,
        })
    }

    /// The first file of a folder takes another temporary name, so that it is known before
    /// anything is fetched whether and how files take names there.
    fn try_naming(&mut self) -> Result<(), FileError> {
        if !self.target.is_tried.get()
            && let Some(from) = &self.stands_as
        {
            let to = next_name();
            match rename_new(&self.target.naming, &self.target.folder, from, &to) {
                Ok(()) => self.stands_as = Some(to),
                // That says as much.
                Err(FileError::Exists) => {}
                Err(error) => return Err(error),
            }
            self.target.is_tried.set(true);
        }
        Ok(())
    }

    /// Writes all the bytes at this offset, but for zeros behind all others that can be left
    /// out. After an error the file is to be dropped. A caller bounds the time this takes by
    /// the bytes it gives.
    pub fn write(&mut self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let (coming_bytes, reserve_bytes) = (bytes.len() as u64, self.settings.disk_reserve_bytes);
        let end = offset + coming_bytes;
        let before_bytes = self.len_bytes;
        self.len_bytes = before_bytes.max(end);
        self.target.space.check(&self.file, coming_bytes, self.len_bytes, reserve_bytes)?;
        if offset < before_bytes {
            // Other bytes may stand there.
            self.write_all(bytes, offset)?;
        } else {
            let mut data_end = offset;
            for data in data_in(bytes, self.hole_end == offset) {
                data_end = offset + data.end as u64;
                self.write_all(&bytes[data.clone()], offset + data.start as u64)?;
            }
            if data_end < end {
                self.hole_end = end;
            }
        }
        Ok(())
    }

    fn write_all(&mut self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let mut written_bytes = 0;
        while written_bytes < bytes.len() {
            let (rest, at) = (&bytes[written_bytes..], offset + written_bytes as u64);
            match persist(|| rustix::io::pwrite(&self.file, rest, at)) {
                Ok(0) => return Err(refused("write")(Errno::IO)),
                Ok(len_bytes) => written_bytes += len_bytes,
                Err(errno) => return Err(self.explain(refused("write")(errno))),
            }
        }
        if let Some(due) = self.write_back.wrote(offset, bytes.len() as u64)
            && self.settings.sync
        {
            self.begin_write_back(due);
        }
        Ok(())
    }

    /// Adds to an error how much room there is, if it speaks of that.
    fn explain(&self, error: FileError) -> FileError {
        let reserve_bytes = self.settings.disk_reserve_bytes;
        self.target.space.explain(error, &self.file, self.len_bytes, reserve_bytes)
    }

    /// Starts writing back without waiting for it, so that little is left for the fsync.
    /// If the advice is not taken, that fsync is longer.
    fn begin_write_back(&self, due: Range<u64>) {
        let len_bytes = NonZeroU64::new(due.end - due.start);
        let _ = rustix::fs::fadvise(&self.file, due.start, len_bytes, Advice::DontNeed);
    }

    /// The first step of a commit: the file has its length and its permissions, and what is
    /// not yet on its way to the disk is sent there if it is to be `synced`.
    pub(super) fn finish_writing(&mut self, synced: bool) -> Result<(), FileError> {
        if self.len_bytes > 0 && self.hole_end == self.len_bytes {
            // A byte in the place of a larger size, which not every file system sets.
            self.write_all(&[0], self.len_bytes - 1)?;
        }
        if self.settings.on_conflict == OnConflict::Replace && self.stands_as.is_some() {
            match system::stat_name(&self.target.folder, self.final_name.as_str()) {
                Ok(there) if system::is_regular(&there) => self.take_permissions(&there),
                _ if self.is_private => self.take_usual_permissions(),
                _ => {}
            }
        }
        let rest = std::mem::take(&mut self.write_back.waiting);
        if synced && !rest.is_empty() {
            self.begin_write_back(rest);
        }
        Ok(())
    }

    /// Takes over who may do what with the file that this one replaces, as far as a file
    /// system and our own rights allow: nobody may do more than before.
    fn take_permissions(&self, there: &Stat) {
        let (owner, group) = (Uid::from_raw(there.st_uid), Gid::from_raw(there.st_gid));
        // The group alone may be ours to set.
        let _ = persist(|| rustix::fs::fchown(&self.file, None, Some(group)));
        let _ = persist(|| rustix::fs::fchown(&self.file, Some(owner), None));
        let mut mode = there.st_mode & PERMISSIONS;
        if system::stat_file(&self.file).is_ok_and(|ours| ours.st_gid != there.st_gid) {
            // It is for another group, whose members had the rights of all others.
            mode &= !0o070 | (mode & 0o007) << 3;
        }
        let _ = persist(|| rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode)));
    }

    /// Takes the permissions of a new file. The umask and the folder decide on them: one that is
    /// made here for a moment has them.
    fn take_usual_permissions(&self) {
        let (folder, name) = (&self.target.folder, next_name());
        let Ok(new) = system::create_new(folder, name.as_str(), NEW) else { return };
        let _ = persist(|| rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty()));
        if let Ok(new) = system::stat_file(&new) {
            let mode = Mode::from_raw_mode(new.st_mode & PERMISSIONS);
            let _ = persist(|| rustix::fs::fchmod(&self.file, mode));
        }
    }

    /// The second: the content is safe. A failed fsync is final: the kernel may have
    /// dropped what it could not write, and another fsync would then succeed.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let synced = retry_on_intr(|| rustix::fs::fsync(&self.file));
        synced.map_err(|errno| self.explain(refused("fsync")(errno)))
    }

    /// The last, once the name is safe too: the file is to stay, and this is its name. The
    /// version is that after the renaming, which changes the time of change.
    pub(super) fn keep(mut self) -> Result<(FileName, Version), FileError> {
        let stat = system::stat_file(&self.file)?;
        if let Some(committed) = &self.target.unnamed {
            let file = persist(|| rustix::io::fcntl_dupfd_cloexec(&self.file, 0));
            let is_first = committed.set(file.map_err(refused("dup"))?.into()).is_ok();
            debug_assert!(is_first, "one file is fetched into such a folder");
        }
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
        match outcome {
            Err(FileError::Exists) if self.target.twins.has_other(&self.target.folder, wanted) => {
                Err(FileError::Twin)
            }
            outcome => outcome,
        }
    }

    fn take_name(&mut self, name: FileName) -> Result<(), FileError> {
        let Some(from) = &self.stands_as else { return Ok(()) };
        let Target { folder, naming, twins, .. } = &*self.target;
        let to = name.as_str();
        let replaces = self.settings.on_conflict == OnConflict::Replace;
        if replaces && twins.has_other(folder, name) {
            return Err(FileError::Twin);
        }
        match replaces {
            true => rename_over(folder, from, to)?,
            false => rename_new(naming, folder, from, to)?,
        }
        // Where names of others are only refused, the first of two stays in any case.
        if self.settings.on_conflict != OnConflict::Refuse {
            twins.add(folder, name);
        }
        // What was replaced is gone: what took its place stays, whatever fails from here on.
        self.stands_as = (!replaces).then(|| to.to_owned());
        self.final_name = name;
        Ok(())
    }

    /// Whether it was removed while others could take it for a dead one's. Some file systems
    /// count no links at all.
    fn was_removed(&self, ours: &Stat) -> bool {
        let stands = |name: &String| stands_there(&self.target.folder, name.as_str(), ours);
        ours.st_nlink == 0 && !self.stands_as.as_ref().is_some_and(stands)
    }

    /// Whether the name it stands under leads to something else by now, which is not
    /// ours to remove.
    fn was_replaced(&self, name: &str) -> bool {
        match (system::stat_file(&self.file), system::stat_name(&self.target.folder, name)) {
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
            let _ = persist(|| rustix::fs::unlinkat(&self.target.folder, &name, AtFlags::empty()));
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

/// Whether a file that is open stands under this name.
fn stands_there(folder: &OwnedFd, name: impl Arg + Copy, ours: &Stat) -> bool {
    system::stat_name(folder, name)
        .is_ok_and(|there| system::is_regular(&there) && system::is_same_file(ours, &there))
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
    if stands_there(folder, name, &ours) {
        let _ = persist(|| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
    }
}

/// Of the next temporary name.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A name that no other partial file of this process has.
fn next_name() -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".p2pfs-{}-{count}.partial", *PROCESS)
}

#[cfg(test)]
mod tests;
