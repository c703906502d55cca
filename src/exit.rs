//! How the program ends: its exit code, and one line for the person who started it.

use std::fmt;

/// The exit codes. Scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Every file asked for was verified.
    Done = 0,
    Other = 1,
    Usage = 2,
    /// Nobody offered what was asked for.
    NotOffered = 3,
    /// Neither the registry nor a peer could be reached.
    Unreachable = 4,
    /// Offered, but it did not come in time.
    TimedOut = 5,
    /// What came did not fit its checksum, however often it was asked for.
    ChecksumWrong = 6,
    /// The id or the port is taken.
    Refused = 7,
    WriteFailed = 8,
    /// A file or folder exists and may not be replaced or emptied.
    Exists = 9,
    /// Some files are there, some are not, or it is not known whether all are that match.
    SomeDone = 10,
    AddressInUse = 11,
    /// What was asked for may be one of several things.
    Ambiguous = 12,
    HungUp = 129,
    Interrupted = 130,
    Terminated = 143,
}

impl ExitCode {
    /// Returns the code with this number, if it is one that a job can end with.
    pub fn from_number(number: u8) -> Self {
        let all = [
            Self::Done,
            Self::NotOffered,
            Self::Unreachable,
            Self::TimedOut,
            Self::ChecksumWrong,
            Self::WriteFailed,
            Self::Exists,
            Self::Ambiguous,
        ];
        all.into_iter().find(|code| *code as u8 == number).unwrap_or(Self::Other)
    }
}

/// Why the program ends without success, in one line: what happened, to what, and
/// what to do next.
#[derive(Debug)]
pub struct Failure {
    pub code: ExitCode,
    /// The line, without the program's name.
    pub message: String,
}

impl Failure {
    pub fn new(code: ExitCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}
