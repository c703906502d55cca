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
mod tests;
