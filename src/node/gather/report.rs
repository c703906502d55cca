//! What the user is told of wishes, as values, and their wording.

use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

use log::Level;

use crate::content::{Content, ContentId};
use crate::count::{Bytes, Count};
use crate::limits::ID_DIGITS_MIN;
use crate::node::FetchError;
use crate::proto::CloseReason;
use crate::wire::v1::{EntryState, PeerName};
use crate::wire::{FilePath, PeerId, Shown};

/// Something about a wish. Wishes are named as they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WishReport {
    /// Nobody shares it yet. Some names at the top of what others share.
    Waiting { wish: String, names: Vec<String> },
    /// A peer that the user named by its address did not answer, or not by version 1.
    PeerSilent { address: SocketAddrV4, reason: CloseReason },
    /// It is known which files it means.
    Listed(Listed),
    /// A peer lists a file where it lists a folder, too: the file is left out.
    Misplaced { path: FilePath },
    /// A file would be fetched, if the user wanted more than to know.
    WouldFetch { path: FilePath, size_bytes: u64, id: Option<ContentId> },
    /// A source hashes a file, which is fetched then.
    HashingAtSource { path: FilePath, hashed_bytes: u64, size_bytes: u64 },
    /// It may mean so many things, which follow.
    Ambiguous { wish: String, candidates: usize },
    /// Several peers have the name to which sources are restricted.
    SameName { name: PeerName, peers: Vec<(PeerId, SocketAddrV4)> },
    /// One of the things that it may mean.
    OneOf { wish: String, candidate: Candidate },
    /// No source of a file is left; it waits for others.
    NoSource { path: FilePath },
    /// The sources of a file have another content of it by now, which is fetched.
    Changed { path: FilePath },
    /// A peer sent wrong bytes of a file too often: it is no source of it any more.
    StruckOut { path: FilePath, from: Giver },
    /// A file is there, safe and verified.
    Fetched { path: FilePath, content: Content, from: Vec<Giver>, elapsed: Duration },
    /// A file is there: it was made from another one with the same content.
    Copied { path: FilePath, content: Content },
    /// A part of a file is kept for a later run.
    Kept { path: FilePath, kept_bytes: u64 },
    /// None of its files will come; `is_all` if the program ends with these words. Some names at
    /// the top of what others share, if nobody shares it.
    Failed { wish: String, error: FetchError, is_all: bool, names: Vec<String> },
}

/// What a wish means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub wish: String,
    pub files: usize,
    pub size_bytes: u64,
    /// Peers that list some of it.
    pub sources: usize,
    /// Files that are left out because a component of their path begins with a dot.
    pub hidden: usize,
}

/// One of several things that a wish may mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub peer: Giver,
    pub address: SocketAddrV4,
    pub path: FilePath,
    /// `None` is a folder.
    pub state: Option<EntryState>,
}

/// A peer that gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Giver {
    pub peer: PeerId,
    pub name: PeerName,
}

impl WishReport {
    /// Returns how much it matters.
    pub fn level(&self) -> Level {
        match self {
            Self::PeerSilent { .. }
            | Self::Misplaced { .. }
            | Self::NoSource { .. }
            | Self::StruckOut { .. } => Level::Warn,
            Self::Ambiguous { .. } | Self::OneOf { .. } | Self::SameName { .. } => Level::Error,
            Self::Failed { is_all: true, .. } | Self::Kept { .. } => Level::Debug,
            Self::Failed { .. } => Level::Error,
            _ => Level::Info,
        }
    }
}

impl fmt::Display for WishReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { wish, names } => {
                write!(f, "waiting for someone to share {wish}")?;
                if !names.is_empty() {
                    write!(f, "; others share {}", Shown(names.join(", ")))?;
                }
                Ok(())
            }
            Self::PeerSilent { address, reason } => {
                write!(f, "no peer of version 1 answered at {address}: {reason}; trying again")
            }
            Self::Listed(listed) => listed.fmt(f),
            Self::Misplaced { path } => {
                write!(f, "{path} is left out: a file is listed where a folder must be")
            }
            Self::WouldFetch { path, size_bytes, id } => {
                write!(f, "would fetch {path}, {}", Bytes(*size_bytes))?;
                id.iter().try_for_each(|id| write!(f, ", {}", Short(id)))
            }
            Self::HashingAtSource { path, hashed_bytes, size_bytes } => {
                let percent = hashed_bytes * 100 / (*size_bytes).max(1);
                write!(f, "{path}: hashing at the source, {percent} %")
            }
            Self::Ambiguous { wish, .. } => write!(f, "{wish} is ambiguous; it may be:"),
            Self::OneOf { candidate, .. } => candidate.fmt(f),
            Self::SameName { name, peers } => {
                write!(f, "several peers are called {}: ", Shown(name))?;
                for (at, (peer, address)) in peers.iter().enumerate() {
                    let comma = if at > 0 { ", " } else { "" };
                    write!(f, "{comma}peer {peer} at {address}")?;
                }
                f.write_str("; choose one by its id or address")
            }
            Self::NoSource { path } => {
                write!(f, "no source of {path} is left; waiting for another")
            }
            Self::Changed { path } => {
                write!(f, "{path} changed at its source; fetching it as it is there by now")
            }
            Self::StruckOut { path, from } => {
                write!(f, "{from} sent wrong bytes of {path} twice: not asked for it again")
            }
            Self::Fetched { path, content, from, elapsed } => {
                let (bytes, elapsed) = (Count(content.size_bytes, "byte"), elapsed.as_secs_f32());
                write!(f, "verified {path}")?;
                match &**from {
                    [] => {}
                    [one] => write!(f, " from {one}")?,
                    many => write!(f, " from {}", Count(many.len(), "peer"))?,
                }
                write!(f, ": {bytes} in {elapsed:.2} s, BLAKE3 {}", content.id)
            }
            Self::Copied { path, content } => {
                write!(f, "made {path} from another file with the same content, ")?;
                write!(f, "BLAKE3 {}", content.id)
            }
            Self::Kept { path, kept_bytes } => {
                write!(f, "kept {} of {path} for a later run", Bytes(*kept_bytes))
            }
            Self::Failed { wish, error, .. } => write!(f, "{wish} cannot be fetched: {error}"),
        }
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wish, files, size_bytes, sources, hidden } = self;
        let (files, bytes) = (Count(*files, "file"), Bytes(*size_bytes));
        write!(f, "{wish}: {files}, {bytes}, at {}", Count(*sources, "peer"))?;
        match hidden {
            0 => Ok(()),
            _ => write!(f, "; {} left out, see --hidden", Count(*hidden, "hidden file")),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, address, path, state } = self;
        write!(f, "{peer} at {address}: {path}, ")?;
        match *state {
            Some(EntryState::File { content, modified_ns, .. }) => {
                let (bytes, time) = (Bytes(content.size_bytes), Time(modified_ns));
                write!(f, "{bytes}, {time}, {}", Short(&content.id))
            }
            Some(EntryState::Unhashed { size_bytes, modified_ns, .. }) => {
                write!(f, "{}, {}, not hashed yet", Bytes(size_bytes), Time(modified_ns))
            }
            _ => f.write_str("a folder"),
        }
    }
}

/// The name, or the id of a peer without one.
impl fmt::Display for Giver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "peer {}", self.peer),
            name => Shown(name).fmt(f),
        }
    }
}

/// Enough digits of an id to fetch it by.
struct Short<'a>(&'a ContentId);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        write!(f, "blake3:{}", digits.get(..ID_DIGITS_MIN).unwrap_or_default())
    }
}

/// A time in nanoseconds since 1970, as a date in UTC.
pub struct Time(pub u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = std::time::UNIX_EPOCH + Duration::from_nanos(self.0);
        humantime::format_rfc3339_seconds(time).fmt(f)
    }
}
