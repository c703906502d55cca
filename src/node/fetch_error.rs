//! Why a job ended without the file.

use std::fmt;

use super::FileError;
use crate::exit::ExitCode;
use crate::proto::CloseReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Something with a file of ours failed.
    File(FileError),
    /// Something with other content stands under its name.
    Different,
    /// Nobody offered it in time.
    NotOffered,
    /// Neither the registry nor anybody who has it could be reached.
    Unreachable,
    /// It was offered, but no connection to anybody who has it could be made; why the last
    /// one could not, if one was tried.
    NotReached(Option<CloseReason>),
    /// It was offered, but did not come; why its last source failed, if one did.
    NotGiven(Option<CloseReason>),
    ChecksumWrong,
    TooLarge,
    /// As many files are wanted already as may be.
    TooMany,
}

impl From<FileError> for FetchError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<FetchError> for ExitCode {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::File(FileError::Exists | FileError::Folder) | FetchError::Different => {
                Self::Exists
            }
            FetchError::File(_) => Self::WriteFailed,
            FetchError::NotOffered => Self::NotOffered,
            FetchError::Unreachable => Self::Unreachable,
            FetchError::NotReached(_) | FetchError::NotGiven(_) => Self::TimedOut,
            FetchError::ChecksumWrong => Self::ChecksumWrong,
            FetchError::TooMany | FetchError::TooLarge => Self::Other,
        }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::File(error) => return error.fmt(f),
            Self::Different => {
                "something else stands under that name; choose another folder with -o, or see \
                 --on-conflict"
            }
            Self::NotOffered => "nobody offered it in time; `p2pfs list` shows what is on offer",
            Self::Unreachable => {
                "the registry could not be reached; start one with `p2pfs registry`, or say with \
                 --registry where it is"
            }
            Self::NotReached(reason) => {
                f.write_str("nobody who offers it could be reached")?;
                reason.iter().try_for_each(|reason| write!(f, ": {reason}"))?;
                "; try `p2pfs doctor` with the same --registry"
            }
            Self::NotGiven(Some(reason)) => {
                write!(f, "it was offered but did not come: {reason}")?;
                "; try again, or longer"
            }
            Self::NotGiven(None) => "it was offered but did not come in time; try again, or longer",
            Self::ChecksumWrong => {
                "what came never fitted its checksum; does the source change it?"
            }
            Self::TooLarge => "it is larger than --max-file-size; raise that, or leave it away",
            Self::TooMany => "too many files are wanted already; try again when some are there",
        };
        f.write_str(words)
    }
}
