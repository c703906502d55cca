//! Where the files of a bench are.

use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::{GIB, Outcome};

/// Twice the largest file, and some more.
const TMPFS_BYTES_MIN: u64 = 3 * GIB;

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where cargo builds: usually a disk.
    Disk,
    /// Memory.
    Tmpfs,
}

impl Place {
    /// A folder there, which goes when it is dropped; `None` if there is no such place, or
    /// too little room in memory.
    pub fn folder(self) -> Outcome<Option<TempDir>> {
        let parent = match self {
            Self::Disk => kit::program().with_file_name(""),
            Self::Tmpfs => "/dev/shm".into(),
        };
        let is_there = match self {
            Self::Disk => true,
            Self::Tmpfs => statvfs(&parent)
                .is_ok_and(|tmpfs| tmpfs.f_bavail * tmpfs.f_frsize >= TMPFS_BYTES_MIN),
        };
        let folder = || tempfile::Builder::new().prefix("p2pfs-bench-").tempdir_in(&parent);
        Ok(is_there.then(folder).transpose()?)
    }

    /// A folder on a disk.
    pub fn disk() -> Outcome<TempDir> {
        Ok(Self::Disk.folder()?.ok_or("no folder")?)
    }

    /// A folder on tmpfs, or on the disk where there is none.
    pub fn fastest() -> Outcome<(Self, TempDir)> {
        for place in [Self::Tmpfs, Self::Disk] {
            if let Some(folder) = place.folder()? {
                return Ok((place, folder));
            }
        }
        Err("no place for files".into())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// A new folder in another one.
pub fn subfolder(folder: &Path, name: &str) -> Outcome<PathBuf> {
    let path = folder.join(name);
    std::fs::create_dir(&path)?;
    Ok(path)
}
