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

mod contents;
mod permissions;
mod write_back;

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Advice, AtFlags, Mode, Stat};
use rustix::io::{Errno, retry_on_intr};

use self::contents::OfContent;
pub use self::contents::{BlockHash, BlockHashStep};
use self::permissions::PRIVATE;
use self::write_back::WriteBack;
use super::folder::WriteSettings;
use super::folders::{Folders, Place};
use super::holes::data_in;
use super::naming::{Naming, rename_new, rename_over};
use super::space::Space;
use super::system::{self, persist, refused};
use super::temporary::{count_anew, next_name, stands_there};
use super::twins::Twins;
use crate::content::{FileError, OnConflict, Version};
use crate::limits::{NEW_FILE_BYTES, PARTIAL_NAME_TRIES_MAX};
use crate::wire::FilePath;

/// A file that is coming in, under a temporary name. It is removed when dropped, unless it was
/// committed, or is one of a content that is to be kept.
#[derive(Debug)]
pub struct Partial {
    target: Rc<Target>,
    file: File,
    /// Where it is to stand.
    place: Place,
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
    /// If it is that of a content.
    of: Option<OfContent>,
}

/// Where the one file of a folder whose files have no names is put when it is committed.
pub type Committed = Rc<OnceCell<File>>;

/// The folder that files come into, and what they share.
#[derive(Debug)]
pub(super) struct Target {
    folders: Folders,
    space: Space,
    naming: Cell<Naming>,
    twins: Twins,
    /// Whether it was tried how a file takes a name here.
    is_tried: Cell<bool>,
    /// If files have no names here.
    unnamed: Option<Committed>,
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
        Self { folders: Folders::new(folder), space, naming, twins, is_tried, unnamed }
    }

    /// Returns the place of a file, whose folder is made if need be.
    pub(super) fn place(&self, path: &FilePath) -> Result<Place, FileError> {
        match (&self.unnamed, path.components().last()) {
            // Folders have no names there, either.
            (Some(_), Some(name)) => {
                let name = FilePath::new(name).unwrap_or_else(|_| path.clone());
                self.folders.place(&name)
            }
            _ => self.folders.place(path),
        }
    }

    /// The folders beneath the one that files come into.
    pub(super) fn folders(&self) -> &Folders {
        &self.folders
    }

    /// Returns the permissions that a new file begins with in a place, which are these unless
    /// it is to replace one; fails if it can be known that it would end in vain.
    fn check_place(
        &self,
        place: &Place,
        usual: Mode,
        on_conflict: OnConflict,
    ) -> Result<Mode, FileError> {
        let skips = on_conflict == OnConflict::Skip;
        let is_refused = skips || on_conflict == OnConflict::Refuse;
        if on_conflict == OnConflict::Rename {
            return Ok(usual);
        }
        match system::stat_name(&place.folder, place.name()) {
            Err(Errno::NOENT) => Ok(usual),
            // A file that is gone by now, perhaps under a twin of this name.
            Ok(_) if system::stands_now(&place.folder, place.name()) == Ok(false) => Ok(usual),
            Ok(there) if system::is_folder(&there) => Err(FileError::Folder),
            Ok(_) if self.twins.has_other(place) => Err(FileError::Twin),
            Ok(there) if skips && !system::is_regular(&there) => Err(FileError::NoFile),
            Ok(_) if is_refused => Err(FileError::Exists),
            Ok(there) if on_conflict == OnConflict::Replace && system::is_regular(&there) => {
                Ok(PRIVATE)
            }
            Ok(_) => Ok(usual),
            Err(errno) => Err(refused("stat")(errno)),
        }
    }
}

impl Partial {
    pub(super) fn create(
        target: &Rc<Target>,
        place: Place,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        let reserve_bytes = settings.disk_reserve_bytes;
        let new = (NEW_FILE_BYTES, NEW_FILE_BYTES);
        target.space.check(&place.folder, new, NEW_FILE_BYTES, reserve_bytes)?;
        if target.unnamed.is_some() {
            return Self::unnamed(target, place, settings);
        }
        let mode = target.check_place(&place, permissions::new(false), settings.on_conflict)?;
        Self::temporary(target, &place, mode, settings)
    }

    /// Creates a file with a name that no other has.
    fn temporary(
        target: &Rc<Target>,
        place: &Place,
        mode: Mode,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        for _ in 0..PARTIAL_NAME_TRIES_MAX {
            let name = next_name();
            let file = match system::create_new(&place.folder, name.as_str(), mode) {
                Ok(file) => file,
                Err(Errno::EXIST) => {
                    count_anew();
                    continue;
                }
                Err(errno) => {
                    let error = refused("open")(errno);
                    let (space, folder) = (&target.space, &place.folder);
                    let reserve_bytes = settings.disk_reserve_bytes;
                    return Err(space.explain(error, folder, NEW_FILE_BYTES, reserve_bytes));
                }
            };
            // From here on, dropping it removes it.
            let mut partial = Self::new(target, place.clone(), file, Some(name), settings);
            partial.is_private = mode == PRIVATE;
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

    fn new(
        target: &Rc<Target>,
        place: Place,
        file: File,
        stands_as: Option<String>,
        settings: WriteSettings,
    ) -> Self {
        Self {
            target: Rc::clone(target),
            file,
            place,
            is_private: false,
            stands_as,
            len_bytes: 0,
            hole_end: 0,
            write_back: WriteBack::default(),
            settings,
            of: None,
        }
    }

    /// Creates a file that has no name and gets none. Each has its own: two downloads of one
    /// file may run at once.
    fn unnamed(
        target: &Rc<Target>,
        place: Place,
        settings: WriteSettings,
    ) -> Result<Self, FileError> {
        let reserve_bytes = settings.disk_reserve_bytes;
        let (space, folder) = (&target.space, &place.folder);
        let file = system::create_unnamed(folder).map_err(|errno| {
            space.explain(refused("open")(errno), folder, NEW_FILE_BYTES, reserve_bytes)
        })?;
        let mut partial = Self::new(target, place, file, None, settings);
        partial.is_private = true;
        Ok(partial)
    }

    /// The first file of a folder takes another temporary name, so that it is known before
    /// anything is fetched whether and how files take names there.
    fn try_naming(&mut self) -> Result<(), FileError> {
        if !self.target.is_tried.get()
            && let Some(from) = &self.stands_as
        {
            let to = next_name();
            match rename_new(&self.target.naming, &self.place.folder, from, &to) {
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
        if self.of.is_some() {
            return self.write_anywhere(bytes, offset);
        }
        let coming_bytes = bytes.len() as u64;
        let end = offset + coming_bytes;
        let before_bytes = self.len_bytes;
        self.len_bytes = before_bytes.max(end);
        if offset < before_bytes {
            // Other bytes may stand there.
            self.check_room(coming_bytes, coming_bytes)?;
            self.write_all(bytes, offset)?;
        } else {
            let mut data_end = offset;
            for data in data_in(bytes, self.hole_end == offset) {
                let end = offset + data.end as u64;
                self.check_room(end - data_end, data.len() as u64)?;
                data_end = end;
                self.write_all(&bytes[data.clone()], offset + data.start as u64)?;
            }
            if data_end < end {
                self.check_room(end - data_end, 0)?;
            }
            if data_end < end {
                self.hole_end = end;
            }
        }
        Ok(())
    }

    /// Fails if there is no room for what comes, of which so much is no hole.
    fn check_room(&self, coming_bytes: u64, data_bytes: u64) -> Result<(), FileError> {
        let (coming, reserve_bytes) =
            ((coming_bytes, data_bytes), self.settings.disk_reserve_bytes);
        self.target.space.check(&self.file, coming, self.len_bytes, reserve_bytes)
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

    /// The first step of a commit: the file has its length and its attributes, and what is
    /// not yet on its way to the disk is sent there if it is to be `synced`.
    pub(super) fn finish_writing(&mut self, synced: bool) -> Result<(), FileError> {
        if self.len_bytes > 0 && self.hole_end == self.len_bytes {
            // A byte in the place of a larger size, which not every file system sets.
            self.write_all(&[0], self.len_bytes - 1)?;
        }
        self.fill_up()?;
        self.take_permissions();
        self.take_times();
        for rest in self.write_back.rest() {
            if synced {
                self.begin_write_back(rest);
            }
        }
        Ok(())
    }

    fn take_permissions(&self) {
        let is_executable = self.of.as_ref().map(OfContent::is_executable);
        let replaced = match self.settings.on_conflict == OnConflict::Replace {
            true if self.stands_as.is_some() => {
                system::stat_name(&self.place.folder, self.place.name()).ok()
            }
            _ => None,
        };
        match replaced.filter(system::is_regular) {
            Some(there) => permissions::take_over(&self.file, &there, is_executable),
            None if self.is_private && self.stands_as.is_some() => {
                let is_executable = is_executable.unwrap_or(false);
                permissions::take_usual(&self.file, &self.place.folder, is_executable);
            }
            None => {}
        }
    }

    /// The second: the content is safe. A failed fsync is final: the kernel may have
    /// dropped what it could not write, and another fsync would then succeed.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        let synced = retry_on_intr(|| rustix::fs::fsync(&self.file));
        synced.map_err(|errno| {
            self.keep_nothing();
            self.explain(refused("fsync")(errno))
        })
    }

    /// The last, once the name is safe too: the file is to stay, and this is its name. The
    /// version is that after the renaming, which changes the time of change.
    pub(super) fn stay(mut self) -> Result<(FilePath, Version), FileError> {
        let stat = system::stat_file(&self.file)?;
        if let Some(committed) = &self.target.unnamed {
            let file = persist(|| rustix::io::fcntl_dupfd_cloexec(&self.file, 0));
            let is_first = committed.set(file.map_err(refused("dup"))?.into()).is_ok();
            debug_assert!(is_first, "one file is fetched into such a folder");
        }
        self.stands_as = None;
        Ok((self.place.path.clone(), system::version(&stat)))
    }

    /// The third: it takes its final name, or one with a number if that is wanted.
    pub(super) fn take_final_name(&mut self) -> Result<(), FileError> {
        let wanted = self.place.clone();
        let mut outcome = self.take_name(wanted.clone());
        if self.settings.on_conflict == OnConflict::Rename {
            for place in wanted.numbered() {
                if outcome != Err(FileError::Exists) {
                    break;
                }
                outcome = self.take_name(place);
            }
        }
        match outcome {
            Err(FileError::Exists) if self.target.twins.has_other(&wanted) => Err(FileError::Twin),
            Err(FileError::Exists) if self.settings.on_conflict == OnConflict::Skip => {
                // That is as good as done: no later run needs it.
                self.keep_nothing();
                outcome
            }
            outcome => outcome,
        }
    }

    fn take_name(&mut self, place: Place) -> Result<(), FileError> {
        let Some(from) = &self.stands_as else { return Ok(()) };
        let Target { naming, twins, .. } = &*self.target;
        let (folder, to) = (&place.folder, place.name());
        let replaces = self.settings.on_conflict == OnConflict::Replace;
        if replaces && twins.has_other(&place) {
            return Err(FileError::Twin);
        }
        match replaces {
            true => rename_over(folder, from, to)?,
            false => rename_new(naming, folder, from, to)?,
        }
        // Where names of others are only refused, the first of two stays in any case.
        if self.settings.on_conflict != OnConflict::Refuse {
            twins.add(&place);
        }
        // What was replaced is gone: what took its place stays, whatever fails from here on.
        self.stands_as = (!replaces).then(|| to.to_owned());
        self.place = place;
        self.keep_nothing();
        Ok(())
    }

    /// The folder in which it stands.
    pub(super) fn folder(&self) -> &Rc<OwnedFd> {
        &self.place.folder
    }

    /// Whether it was removed while others could take it for a dead one's. Some file systems
    /// count no links at all.
    fn was_removed(&self, ours: &Stat) -> bool {
        let stands = |name: &String| stands_there(&self.place.folder, name.as_str(), ours);
        ours.st_nlink == 0 && !self.stands_as.as_ref().is_some_and(stands)
    }

    /// Whether the name it stands under leads to something else by now, which is not
    /// ours to remove.
    fn was_replaced(&self, name: &str) -> bool {
        match (system::stat_file(&self.file), system::stat_name(&self.place.folder, name)) {
            (Ok(ours), Ok(there)) => !system::is_same_file(&ours, &there),
            _ => false,
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        self.let_go_of_room();
        if let Some(name) = self.stands_as.take()
            && !self.is_kept()
            && !self.was_replaced(&name)
        {
            // What cannot be removed now is removed at the next start.
            let _ = persist(|| rustix::fs::unlinkat(&self.place.folder, &name, AtFlags::empty()));
        }
    }
}

#[cfg(test)]
mod tests;
