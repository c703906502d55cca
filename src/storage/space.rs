//! Room on the disk that is not ours to fill.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::system::{persist, refused};
use crate::limits::{DISK_RESERVE_BYTES_MIN, DISK_RESERVE_SHARE};
use crate::node::FileError;

/// Fails with [`FileError::Full`] if less is free than `reserve_bytes`; without that,
/// less than the larger of [`DISK_RESERVE_BYTES_MIN`] and a share of the whole.
pub(super) fn check(file: impl AsFd, reserve_bytes: Option<u64>) -> Result<(), FileError> {
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
        assert_eq!(check(&file, Some(0)), Ok(()));
        assert_eq!(check(&file, Some(u64::MAX)), Err(FileError::Full));
    }
}
