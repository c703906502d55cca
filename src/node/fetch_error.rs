//! Why a job ended without the file, or a pattern without certainty.

use std::fmt;

use super::FileError;
use crate::exit::ExitCode;
use crate::limits::{JOB_FILES_MAX, JOBS_MAX, PATTERN_TIME_MAX};
use crate::proto::CloseReason;
use crate::wire::v0::FileName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Something with a file of ours failed.
    File(FileError),
    /// Something with other content stands under its name.
    Different,
    /// Nobody offered it in time.
    NotOffered,
    /// Nobody offered it in time, but another one, whose name differs only in case or in its
    /// Unicode form.
    NearlyOffered(FileName),
    /// Neither the registry nor anybody who has it could be reached.
    Unreachable,
    /// Neither a peer nor the registry, which the user did not name, was ever heard of.
    NobodyThere,
    /// None of the peers that the user named answered, nor did anybody else.
    NamedSilent,
    /// It was offered, but no connection to anybody who has it could be made; why the last
    /// one could not, if one was tried.
    NotReached(Option<CloseReason>),
    /// It was offered, but did not come; why its last source failed, if one did.
    NotGiven(Option<CloseReason>),
    ChecksumWrong,
    TooLarge,
    /// As many files are wanted already as may be.
    TooMany,
    /// Nobody shared it in time, by either version.
    NotShared,
    /// The same, and peers are near that have a secret which we have not.
    OtherSecret,
    /// It means several things: which, was told.
    Ambiguous,
    /// It means more files than one job may have.
    TooManyFiles,
}

impl From<FileError> for FetchError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<FetchError> for ExitCode {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::File(
                FileError::Exists
                | FileError::Folder
                | FileError::NoFolder(_)
                | FileError::Twin
                | FileError::NoFile,
            )
            | FetchError::Different => Self::Exists,
            FetchError::File(_) => Self::WriteFailed,
            FetchError::NotOffered
            | FetchError::NearlyOffered(_)
            | FetchError::NotShared
            | FetchError::OtherSecret => Self::NotOffered,
            FetchError::Ambiguous => Self::Ambiguous,
            FetchError::Unreachable | FetchError::NobodyThere | FetchError::NamedSilent => {
                Self::Unreachable
            }
            FetchError::NotReached(_) | FetchError::NotGiven(_) => Self::TimedOut,
            FetchError::ChecksumWrong => Self::ChecksumWrong,
            FetchError::TooMany | FetchError::TooManyFiles | FetchError::TooLarge => Self::Other,
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
            Self::NearlyOffered(name) => {
                write!(f, "nobody offered it in time, but {name}, which differs ")?;
                "only in case or Unicode form; fetch that"
            }
            Self::Unreachable => {
                "the registry could not be reached; say with --registry where it is, or start the \
                 only one with `p2pfs registry`"
            }
            Self::NamedSilent => {
                "no peer that --peer names answered; does one run there, and does its machine let \
                 the port in?"
            }
            Self::NobodyThere => {
                "neither a peer nor a registry answered; is anybody sharing in this network? see \
                 `p2pfs doctor`"
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
            Self::NotShared => "nobody shared it in time; `p2pfs list` shows what is shared",
            Self::OtherSecret => {
                "nobody shared it in time; peers are near that have a secret which this program has \
                 not: see --secret-file"
            }
            Self::Ambiguous => {
                "it is ambiguous; choose a peer with --from, or a content with blake3:ID"
            }
            Self::TooManyFiles => {
                return write!(f, "it means more than {JOB_FILES_MAX} files; fetch parts of it");
            }
            Self::TooMany => "too many files are wanted already; try again when some are there",
        };
        f.write_str(words)
    }
}

/// Why more files may match a pattern than were heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The user's time was up before enough intervals brought nothing new.
    TimeUp,
    /// New names were heard up to the longest time for which a search listens.
    StillNews,
    /// A sharer was not heard often enough to know how often it offers.
    HeardOnce,
    /// More names match than there may be.
    TooMany,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = PATTERN_TIME_MAX.as_secs() / 60;
        match self {
            Self::TimeUp => f.write_str(
                "the time was up before all sharers were heard often enough; give a longer --timeout",
            ),
            Self::StillNews => {
                write!(f, "within {minutes} minutes names did not cease to come; try again")
            }
            Self::HeardOnce => f.write_str(
                "a sharer was not heard often enough to be sure; try again while it shares",
            ),
            Self::TooMany => {
                write!(f, "it matches more than {JOBS_MAX} names; fetch them by narrower patterns")
            }
        }
    }
}
