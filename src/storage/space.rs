//! Room on the disk that is not ours to fill.

use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::system::{persist, refused};
use crate::content::{FailedCall, FileError, Lack, Room};
use crate::limits::{
    DISK_RESERVE_BYTES_MAX, DISK_RESERVE_BYTES_MIN, DISK_RESERVE_PART, DISK_RESERVE_PART_MAX,
    SPACE_CHECK_BYTES,
};

/// Looks from time to time whether there is room for what is written to one folder.
#[derive(Debug)]
pub(super) struct Space {
    /// The folder, as it is shown.
    folder: &'static str,
    /// What may still be written before the next look.
    granted_bytes: Cell<u64>,
    /// What files that are under way still need.
    promised_bytes: Cell<u64>,
}

impl Space {
    pub(super) fn new(folder: &'static str) -> Self {
        Self { folder, granted_bytes: Cell::new(0), promised_bytes: Cell::new(0) }
    }

    /// To be called before each file is made with `NEW_FILE_BYTES`, and before each write
    /// with how much comes and how much of that is no hole: the file has `file_bytes` then.
    /// Fails with [`FileError::Full`] if less would be free than `reserve_bytes`, or than the
    /// usual reserve, or if the file system could never hold so large a file: holes cost nothing,
    /// and would go on for ever. Many small files cost one look together.
    pub(super) fn check(
        &self,
        file: impl AsFd,
        (coming_bytes, data_bytes): (u64, u64),
        file_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> Result<(), FileError> {
        if self.granted_bytes.get() < coming_bytes.max(1) {
            let granted_bytes = match look(file)? {
                Some(disk) => disk
                    .granted_bytes(data_bytes, file_bytes, reserve_bytes)
                    .ok_or_else(|| FileError::Full(self.room(disk, file_bytes, reserve_bytes)))?,
                None => SPACE_CHECK_BYTES,
            };
            self.granted_bytes.set(granted_bytes);
        }
        self.granted_bytes.set(self.granted_bytes.get().saturating_sub(coming_bytes));
        Ok(())
    }

    /// To be called before the first byte of a file whose size is known, with how much of it is
    /// missing; [`Self::redeem`] takes the promise back as that is written. Fails with
    /// [`FileError::Full`] if it does not fit beside what was promised before.
    pub(super) fn promise(
        &self,
        file: impl AsFd,
        missing_bytes: u64,
        file_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> Result<(), FileError> {
        let promised_bytes = self.promised_bytes.get().saturating_add(missing_bytes);
        if let Some(disk) = look(file)?
            && disk.granted_bytes(promised_bytes, file_bytes, reserve_bytes).is_none()
        {
            return Err(FileError::Full(self.room(disk, promised_bytes, reserve_bytes)));
        }
        self.promised_bytes.set(promised_bytes);
        Ok(())
    }

    /// So much of what was promised is written, or will not be.
    pub(super) fn redeem(&self, bytes: u64) {
        self.promised_bytes.set(self.promised_bytes.get().saturating_sub(bytes));
    }

    /// The error of a call, with how much room there is if it failed for want of that.
    pub(super) fn explain(
        &self,
        error: FileError,
        file: impl AsFd,
        file_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> FileError {
        let FileError::NoRoom(failed @ FailedCall { errno, .. }) = error else { return error };
        let Ok(Some(disk)) = look(file) else { return error };
        let Some(lack) = disk.lack(Errno::from_raw_os_error(errno)) else { return error };
        let room = self.room(disk, file_bytes, reserve_bytes);
        FileError::Full(Room { lack, failed: Some(failed), ..room })
    }

    fn room(&self, disk: Disk, file_bytes: u64, reserve_bytes: Option<u64>) -> Room {
        Room {
            folder: self.folder,
            free_bytes: disk.free_bytes,
            kept_bytes: disk.kept_bytes(reserve_bytes),
            needed_bytes: file_bytes,
            lack: Lack::Space,
            failed: None,
        }
    }
}

#[derive(Clone, Copy)]
struct Disk {
    whole_bytes: u64,
    free_bytes: u64,
    /// Whether it has a number of files that it can hold, and holds them.
    has_all_files: bool,
}

impl Disk {
    fn new(disk: &StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Self {
            whole_bytes: bytes(disk.f_blocks),
            free_bytes: bytes(disk.f_bavail),
            has_all_files: disk.f_files > 0 && disk.f_favail == 0,
        }
    }

    /// Returns how much may come before the next look, what is written now included; `None` if
    /// that does not fit. If nothing is kept free, the system says when the disk is full.
    fn granted_bytes(
        self,
        data_bytes: u64,
        file_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> Option<u64> {
        let room_bytes = match self.kept_bytes(reserve_bytes) {
            0 => u64::MAX,
            kept_bytes => self.free_bytes.saturating_sub(kept_bytes),
        };
        let fits = room_bytes >= data_bytes && self.whole_bytes >= file_bytes;
        fits.then(|| room_bytes.min(SPACE_CHECK_BYTES).max(data_bytes))
    }

    /// Returns what a call that failed so found too little of, if anything.
    fn lack(self, errno: Errno) -> Option<Lack> {
        match errno {
            Errno::DQUOT => Some(Lack::Quota),
            Errno::NOSPC if self.has_all_files => Some(Lack::Files),
            // Some file systems say so of the quota of a project.
            Errno::NOSPC if self.free_bytes >= DISK_RESERVE_BYTES_MIN => Some(Lack::Unknown),
            Errno::NOSPC => Some(Lack::Space),
            _ => None,
        }
    }

    /// How much of it is kept free.
    fn kept_bytes(self, reserve_bytes: Option<u64>) -> u64 {
        let part = self.whole_bytes / DISK_RESERVE_PART;
        let usual = part.clamp(DISK_RESERVE_BYTES_MIN, DISK_RESERVE_BYTES_MAX);
        reserve_bytes.unwrap_or_else(|| usual.min(self.whole_bytes / DISK_RESERVE_PART_MAX))
    }
}

/// Returns what there is; `None` for file systems that do not know.
fn look(file: impl AsFd) -> Result<Option<Disk>, FileError> {
    match persist(|| rustix::fs::fstatvfs(&file)) {
        // They say so in one of these ways.
        Ok(disk) if disk.f_blocks == 0 => Ok(None),
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(None),
        disk => Ok(Some(Disk::new(&disk.map_err(refused("statvfs"))?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn disk(whole_bytes: u64, free_bytes: u64) -> Disk {
        Disk { whole_bytes, free_bytes, has_all_files: false }
    }

    fn full(space: &Space, file: &std::fs::File, coming_bytes: u64, reserve_bytes: u64) -> bool {
        match space.check(file, (coming_bytes, coming_bytes), coming_bytes, Some(reserve_bytes)) {
            Ok(()) => false,
            Err(FileError::Full(room)) => {
                assert_eq!((room.folder, room.kept_bytes), ("here", reserve_bytes));
                true
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_reserve_is_a_part_of_the_disk_between_bounds() {
        let kept = |whole_bytes| disk(whole_bytes, 0).kept_bytes(None);
        assert_eq!(kept(8 * MIB), 4 * MIB);
        assert_eq!(kept(128 * MIB), 64 * MIB);
        assert_eq!(kept(GIB), 64 * MIB);
        assert_eq!(kept(20 * GIB), 20 * GIB / 100);
        assert_eq!(kept(2048 * GIB), GIB);
        let set = disk(8 * MIB, 0).kept_bytes(Some(7 * MIB));
        assert_eq!(set, 7 * MIB, "the user's word holds");
    }

    #[test]
    fn it_is_looked_at_first_and_then_after_so_much_was_written_to_any_file() {
        let file = tempfile::tempfile().unwrap();
        let space = Space::new("here");
        assert!(full(&space, &file, 1, u64::MAX));
        assert!(full(&space, &file, 1, u64::MAX), "until there is room");
        assert!(!full(&space, &file, 1, 0));
        assert!(!full(&space, &file, SPACE_CHECK_BYTES - 2, u64::MAX));
        assert!(!full(&space, &file, 1, u64::MAX), "all of it was granted");
        assert!(full(&space, &file, 1, u64::MAX));
        let hole = space.check(&file, (SPACE_CHECK_BYTES, 0), 1, Some(u64::MAX));
        assert_eq!(hole, Ok(()), "it takes up nothing");
        assert!(!full(&space, &file, 1, 0));
        assert!(full(&space, &file, SPACE_CHECK_BYTES + 1, u64::MAX), "more than was granted");
    }

    #[test]
    fn what_is_promised_has_to_fit_together() {
        let file = tempfile::tempfile().unwrap();
        let space = Space::new("here");
        let free_bytes = look(&file).unwrap().unwrap().free_bytes;
        let half_bytes = free_bytes / 2;
        let promise = |bytes| space.promise(&file, bytes, bytes, Some(free_bytes / 4));
        promise(half_bytes).unwrap();
        let Err(FileError::Full(room)) = promise(half_bytes) else { panic!("it does not fit") };
        assert_eq!(room.needed_bytes, 2 * half_bytes);
        space.redeem(half_bytes);
        promise(half_bytes).unwrap();
    }

    #[test]
    fn what_is_kept_is_never_granted() {
        let granted =
            |free_bytes, coming| disk(8 * MIB, free_bytes).granted_bytes(coming, coming, None);
        assert_eq!(granted(4 * MIB, 1), None, "half of it is kept");
        assert_eq!(granted(4 * MIB, 0), Some(0), "but a hole takes up nothing");
        assert_eq!(granted(3 * MIB, 1), None);
        assert_eq!(granted(4 * MIB + 1000, 0), Some(1000));
        assert_eq!(granted(4 * MIB + 1000, 1000), Some(1000));
        assert_eq!(granted(4 * MIB + 1000, 1001), None);
        assert_eq!(granted(8 * MIB, 1), Some(SPACE_CHECK_BYTES));
        assert_eq!(granted(8 * MIB, 2 * MIB), Some(2 * MIB));
        let nothing_kept = disk(8 * MIB, 0).granted_bytes(1, 1, Some(0));
        assert_eq!(nothing_kept, Some(SPACE_CHECK_BYTES), "the system says that it is full");
        assert_eq!(disk(8 * MIB, 8 * MIB).granted_bytes(1, 8 * MIB + 1, Some(0)), None);
    }

    #[test]
    fn what_there_is_too_little_of_is_named() {
        let plain = disk(8 * MIB, MIB);
        let crowded = Disk { has_all_files: true, ..plain };
        assert_eq!(plain.lack(Errno::NOSPC), Some(Lack::Space));
        assert_eq!(disk(GIB, GIB / 2).lack(Errno::NOSPC), Some(Lack::Unknown));
        assert_eq!(crowded.lack(Errno::NOSPC), Some(Lack::Files));
        for disk in [plain, crowded] {
            assert_eq!(disk.lack(Errno::DQUOT), Some(Lack::Quota));
            assert_eq!(disk.lack(Errno::FBIG), None);
        }
        let told = |lack| {
            let room = Space::new("/here").room(plain, 7, None);
            let failed = Some(FailedCall { call: "write", errno: Errno::DQUOT.raw_os_error() });
            Room { lack, failed, ..room }.to_string()
        };
        let (quota, files) = (told(Lack::Quota), told(Lack::Files));
        assert!(quota.starts_with("the quota in /here is used up: "), "{quota}");
        assert!(files.starts_with("the disk of /here holds as many files as it can: "), "{files}");
        for text in [quota, files] {
            assert!(!text.contains("free") && text.contains("write: "), "{text}");
        }
    }

    #[test]
    fn a_file_that_no_disk_like_this_could_hold_does_not_fit() {
        let file = tempfile::tempfile().unwrap();
        let whole_bytes = look(&file).unwrap().unwrap().whole_bytes;
        let check = |file_bytes| Space::new("here").check(&file, (0, 0), file_bytes, Some(0));
        assert_eq!(check(whole_bytes), Ok(()));
        assert!(matches!(check(whole_bytes + 1), Err(FileError::Full(_))));
    }

    #[test]
    fn a_call_that_finds_no_room_is_explained_and_no_other() {
        let file = tempfile::tempfile().unwrap();
        let space = Space::new("here");
        let explain = |errno| space.explain(refused("write")(errno), &file, 7, None);
        let FileError::Full(room) = explain(Errno::NOSPC) else { panic!("not explained") };
        assert_eq!((room.folder, room.needed_bytes), ("here", 7));
        assert_eq!(room.failed.unwrap().call, "write");
        for errno in [Errno::FBIG, Errno::IO] {
            assert_eq!(explain(errno), refused("write")(errno));
        }
    }
}
