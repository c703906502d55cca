//! Room on the disk that is not ours to fill.

use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::fs::StatVfs;
use rustix::io::Errno;

use super::system::{persist, refused};
use crate::content::{FailedCall, FileError, Room};
use crate::limits::{
    DISK_RESERVE_BYTES_MAX, DISK_RESERVE_BYTES_MIN, DISK_RESERVE_PART, DISK_RESERVE_PART_MAX,
    SPACE_CHECK_BYTES,
};

/// Looks from time to time whether there is room for what is written to one folder.
#[derive(Debug)]
pub(super) struct Space {
    /// The folder, as it is shown.
    folder: &'static str,
    /// What may still be written before the next look, which is due at 0.
    granted_bytes: Cell<u64>,
}

impl Space {
    pub(super) fn new(folder: &'static str) -> Self {
        Self { folder, granted_bytes: Cell::new(0) }
    }

    /// To be called for each file once with 0, and after each write with how much came: of
    /// `file_bytes` in all. Fails with [`FileError::Full`] if less is free than
    /// `reserve_bytes`, or than the usual reserve, or if the file system could never hold so
    /// large a file: holes cost nothing, and would go on for ever. Many small files cost one
    /// look together.
    pub(super) fn check(
        &self,
        file: impl AsFd,
        came_bytes: u64,
        file_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> Result<(), FileError> {
        self.granted_bytes.set(self.granted_bytes.get().saturating_sub(came_bytes));
        if self.granted_bytes.get() == 0 {
            if let Some(disk) = look(file)?
                && (disk.free_bytes < disk.kept_bytes(reserve_bytes)
                    || disk.whole_bytes < file_bytes)
            {
                return Err(FileError::Full(self.room(disk, file_bytes, reserve_bytes)));
            }
            self.granted_bytes.set(SPACE_CHECK_BYTES);
        }
        Ok(())
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
        let is_disk = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error).contains(&errno);
        match look(file) {
            Ok(Some(disk)) if is_disk => {
                let room = self.room(disk, file_bytes, reserve_bytes);
                FileError::Full(Room { failed: Some(failed), ..room })
            }
            _ => error,
        }
    }

    fn room(&self, disk: Disk, file_bytes: u64, reserve_bytes: Option<u64>) -> Room {
        Room {
            folder: self.folder,
            free_bytes: disk.free_bytes,
            kept_bytes: disk.kept_bytes(reserve_bytes),
            needed_bytes: file_bytes + SPACE_CHECK_BYTES,
            failed: None,
        }
    }
}

#[derive(Clone, Copy)]
struct Disk {
    whole_bytes: u64,
    free_bytes: u64,
}

impl Disk {
    fn new(disk: &StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Self { whole_bytes: bytes(disk.f_blocks), free_bytes: bytes(disk.f_bavail) }
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

    fn full(space: &Space, file: &std::fs::File, came_bytes: u64, reserve_bytes: u64) -> bool {
        match space.check(file, came_bytes, came_bytes, Some(reserve_bytes)) {
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
        let kept = |whole_bytes| Disk { whole_bytes, free_bytes: 0 }.kept_bytes(None);
        assert_eq!(kept(8 * MIB), 4 * MIB);
        assert_eq!(kept(128 * MIB), 64 * MIB);
        assert_eq!(kept(GIB), 64 * MIB);
        assert_eq!(kept(20 * GIB), 20 * GIB / 100);
        assert_eq!(kept(2048 * GIB), GIB);
        let set = Disk { whole_bytes: 8 * MIB, free_bytes: 0 }.kept_bytes(Some(7 * MIB));
        assert_eq!(set, 7 * MIB, "the user's word holds");
    }

    #[test]
    fn it_is_looked_at_first_and_then_after_so_much_was_written_to_any_file() {
        let file = tempfile::tempfile().unwrap();
        let space = Space::new("here");
        assert!(full(&space, &file, 0, u64::MAX));
        assert!(full(&space, &file, 0, u64::MAX), "until there is room");
        assert!(!full(&space, &file, 0, 0));
        assert!(!full(&space, &file, SPACE_CHECK_BYTES - 1, u64::MAX));
        assert!(!full(&space, &file, 0, u64::MAX));
        assert!(full(&space, &file, 1, u64::MAX));
    }

    #[test]
    fn a_file_that_no_disk_like_this_could_hold_does_not_fit() {
        let file = tempfile::tempfile().unwrap();
        let whole_bytes = look(&file).unwrap().unwrap().whole_bytes;
        let check = |file_bytes| Space::new("here").check(&file, 0, file_bytes, Some(0));
        assert_eq!(check(whole_bytes), Ok(()));
        assert!(matches!(check(whole_bytes + 1), Err(FileError::Full(_))));
    }

    #[test]
    fn a_call_that_finds_no_room_is_explained_and_no_other() {
        let file = tempfile::tempfile().unwrap();
        let space = Space::new("here");
        let explain = |errno| space.explain(refused("write")(errno), &file, 7, None);
        let FileError::Full(room) = explain(Errno::NOSPC) else { panic!("not explained") };
        assert_eq!((room.folder, room.needed_bytes), ("here", 7 + SPACE_CHECK_BYTES));
        assert_eq!(room.failed.unwrap().call, "write");
        for errno in [Errno::FBIG, Errno::IO] {
            assert_eq!(explain(errno), refused("write")(errno));
        }
    }
}
