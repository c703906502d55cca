//! Why a connection is closed. This is data, not an error of the program.

use std::fmt;
use std::io;

use crate::content::FileError;
use crate::wire::Malformed;
use crate::wire::v1::SessionError;

/// The reason why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its purpose is fulfilled.
    Done,
    /// The other side closed it.
    ClosedByPeer,
    /// The connection could not be made, or broke. `OutOfMemory` stands for every shortage of
    /// our own system: descriptors, buffers, memory.
    Broken(io::ErrorKind),
    /// A deadline of ours passed.
    TimedOut(Timer),
    /// The other side sent a message that is not legal in this state.
    PeerViolated {
        /// The legal messages, in words.
        expected: &'static str,
        /// The message received, in words.
        got: &'static str,
    },
    /// The other side sent bytes that are no message.
    Malformed(Malformed),
    /// What came is not sealed with a secret of ours, or is not what the other side sealed.
    NotSealed,
    /// The other side ended the session.
    EndedByPeer(SessionError),
    /// The other side is this peer itself.
    Ourselves,
    /// The file is larger than the user allows.
    TooLarge,
    /// The digest is not that of the bytes received.
    ChecksumWrong,
    /// The requested file is not shared here.
    NotShared,
    /// The file changed, or could not be read, while it was being sent.
    SourceChanged,
    /// Our own file could not be written.
    WriteFailed(FileError),
    /// The registry refused us.
    Refused,
    /// Another source is faster.
    Slower,
    /// A new client needs its place.
    Evicted,
    /// It is made again from another address of ours.
    Rerouted,
    /// This program is stopping.
    Stopping,
}

/// The deadlines that close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Nothing was received since the connection was accepted.
    FirstByte,
    /// A message began, and its head was not whole in time.
    Head,
    /// The other side did not say who it is.
    Hello,
    /// No request followed the one before.
    Idle,
    /// The connection was not made in time.
    Connect,
    /// Nothing moved in a transfer.
    Progress,
    /// Less than the minimum rate moved.
    MinimumRate,
    /// The registry did not answer.
    Answer,
}

impl CloseReason {
    /// Returns whether it is a failure of our own system, for which no source is to blame.
    pub fn is_our_fault(&self) -> bool {
        matches!(self, Self::WriteFailed(_) | Self::Broken(io::ErrorKind::OutOfMemory))
    }

    /// Returns whether the other side is at fault, so that the log should say so.
    pub fn is_their_fault(&self) -> bool {
        matches!(
            self,
            Self::PeerViolated { .. } | Self::Malformed(_) | Self::ChecksumWrong | Self::TooLarge
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::ClosedByPeer => f.write_str("the other side closed the connection"),
            Self::Broken(io::ErrorKind::OutOfMemory) => {
                f.write_str("this system is out of descriptors or memory")
            }
            Self::Broken(kind) => kind.fmt(f),
            Self::TimedOut(timer) => timer.fmt(f),
            Self::PeerViolated { expected, got } => {
                write!(f, "the other side sent {got} where {expected} was due")
            }
            Self::Malformed(malformed) => write!(f, "the other side sent {malformed}"),
            Self::NotSealed => f.write_str("what came is not sealed with our secret"),
            Self::EndedByPeer(error) => write!(f, "the other side ended the session: {error}"),
            Self::Ourselves => f.write_str("the other side is this peer itself"),
            Self::TooLarge => f.write_str("the file is larger than --max-file-size"),
            Self::ChecksumWrong => f.write_str("the checksum is wrong"),
            Self::NotShared => f.write_str("the file is not shared here"),
            Self::SourceChanged => {
                f.write_str("the file changed, or could not be read, while it was sent")
            }
            Self::WriteFailed(error) => write!(f, "it cannot be written: {error}"),
            Self::Refused => f.write_str("the registry refused"),
            Self::Slower => f.write_str("another source is faster"),
            Self::Evicted => f.write_str("a new client needs its place"),
            Self::Rerouted => f.write_str("this machine is reached at another address now"),
            Self::Stopping => f.write_str("this program is stopping"),
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstByte => "nothing was received in time",
            Self::Head => "a message began and did not come whole in time",
            Self::Hello => "the other side did not say who it is in time",
            Self::Idle => "idle for too long",
            Self::Connect => "the connection was not made in time",
            Self::Progress => "nothing moved for too long",
            Self::MinimumRate => "slower than the minimum rate",
            Self::Answer => "no answer in time",
        })
    }
}
