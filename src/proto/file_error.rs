//! Why something with a file of ours failed.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why something with a file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It is not there, or no regular file.
    Missing,
    /// It changed while it was read, or was changed just now.
    Changed,
    /// Something stands under the final name.
    Exists,
    /// A folder does, which is not put aside for any file.
    Folder,
    /// The disk has no more room than is kept free.
    Full,
    /// The system refused a call.
    Io {
        /// Which.
        call: &'static str,
        /// Its error number, as in errno(3).
        errno: i32,
    },
}

impl FileError {
    /// Whether this system is out of descriptors or memory for the moment.
    pub fn is_shortage(self) -> bool {
        const SHORTAGES: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
        match self {
            Self::Io { errno, .. } => SHORTAGES.contains(&Errno::from_raw_os_error(errno)),
            Self::Missing | Self::Changed | Self::Exists | Self::Folder | Self::Full => false,
        }
    }

    /// Whether there is no room for a file, or for one so large.
    pub fn is_full(self) -> bool {
        match self {
            Self::Full => true,
            Self::Io { errno, .. } => matches!(
                io::Error::from_raw_os_error(errno).kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::FileTooLarge
            ),
            Self::Missing | Self::Changed | Self::Exists | Self::Folder => false,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no such regular file"),
            Self::Changed => f.write_str("the file is changing"),
            Self::Exists => f.write_str("something else stands under that name"),
            Self::Folder => f.write_str(
                "a folder stands under that name; move it away, or fetch to another place",
            ),
            Self::Full => f.write_str("the disk is full, but for what --disk-reserve keeps free"),
            Self::Io { call, errno } => {
                write!(f, "{call}: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}
