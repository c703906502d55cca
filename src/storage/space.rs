//! Room on the disk that is not ours to fill.

use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::system::{persist, refused};
use crate::content::FileError;
use crate::limits::{DISK_RESERVE_BYTES_MIN, DISK_RESERVE_SHARE, SPACE_CHECK_BYTES};

/// Looks from time to time whether there is room for what is written to one folder.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// What may still be written before the next look, which is due at 0.
    granted_bytes: Cell<u64>,
}

impl Space {
    /// To be called for each file once with 0, and after each write with what was written.
    /// Fails with [`FileError::Full`] if less is free than `reserve_bytes`; without that,
    /// less than the larger of [`DISK_RESERVE_BYTES_MIN`] and a share of the whole. Many small
    /// files cost one look together.
    pub(super) fn check(
        &self,
        file: impl AsFd,
        written_bytes: u64,
        reserve_bytes: Option<u64>,
    ) -> Result<(), FileError> {
        self.granted_bytes.set(self.granted_bytes.get().saturating_sub(written_bytes));
        if self.granted_bytes.get() == 0 {
            look(file, reserve_bytes)?;
            self.granted_bytes.set(SPACE_CHECK_BYTES);
        }
        Ok(())
    }
}

fn look(file: impl AsFd, reserve_bytes: Option<u64>) -> Result<(), FileError> {
    let disk = match persist(|| rustix::fs::fstatvfs(&file)) {
        // Some file systems do not know, and say so in one of these ways.
        Ok(disk) if disk.f_blocks == 0 => return Ok(()),
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(()),
        disk => disk.map_err(refused("statvfs"))?,
    };
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let reserve_bytes = reserve_bytes
        .unwrap_or_else(|| DISK_RESERVE_BYTES_MIN.max(bytes(disk.f_blocks) / DISK_RESERVE_SHARE));
    match bytes(disk.f_bavail) < reserve_bytes {
        true => Err(FileError::Full),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_once_less_is_free_than_the_reserve() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(look(&file, Some(0)), Ok(()));
        assert_eq!(look(&file, Some(u64::MAX)), Err(FileError::Full));
    }

    #[test]
    fn it_is_looked_at_first_and_then_after_so_much_was_written_to_any_file() {
        let file = tempfile::tempfile().unwrap();
        let (space, full) = (Space::default(), Some(u64::MAX));
        assert_eq!(space.check(&file, 0, full), Err(FileError::Full));
        assert_eq!(space.check(&file, 0, full), Err(FileError::Full), "until there is room");
        assert_eq!(space.check(&file, 0, Some(0)), Ok(()));
        assert_eq!(space.check(&file, SPACE_CHECK_BYTES - 1, full), Ok(()));
        assert_eq!(space.check(&file, 0, full), Ok(()));
        assert_eq!(space.check(&file, 1, full), Err(FileError::Full));
    }
}
