//! The vocabulary of files that storage, node and ui share: the version of a file, its
//! digest, its blocks, why something with it failed, and what to do on a conflict.
//!
//! Owns no state and makes no call.

mod blocks;

use std::fmt;
use std::io;
use std::rc::Rc;

pub use blocks::{BlockSet, Content, ContentId, Value};

use crate::count::Bytes;

/// A path that a node knows, by a small number. An id is never used for another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId {
    slot: u32,
    generation: u32,
}

impl PathId {
    pub(crate) const MIN: Self = Self { slot: 0, generation: 0 };
    pub(crate) const MAX: Self = Self { slot: u32::MAX, generation: u32::MAX };

    pub(crate) fn new(slot: usize, generation: u32) -> Self {
        Self { slot: slot as u32, generation }
    }

    pub(crate) fn slot(self) -> usize {
        self.slot as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Returns the digest in 64 lower-case hexadecimal digits; `None` for anything else.
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        from_hex(digits).map(Self)
    }

    /// Its 64 lower-case hexadecimal digits.
    pub fn to_hex(self) -> [u8; 64] {
        to_hex(&self.0)
    }
}

fn from_hex(digits: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (to_hex(&bytes) == digits).then_some(bytes)
}

fn to_hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    hex
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_hex().iter().try_for_each(|&digit| fmt::Write::write_char(f, char::from(digit)))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HashKind {
    /// SHA-256, for protocol version 0.
    Sha256,
    /// BLAKE3, for protocol version 1.
    Blake3,
}

/// What hashing a file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256(Digest),
    Blake3 {
        id: ContentId,
        /// The values of all blocks, in order; none for a content of one block or of no bytes.
        values: Rc<[Value]>,
    },
}

impl Hash {
    pub fn kind(&self) -> HashKind {
        match self {
            Self::Sha256(_) => HashKind::Sha256,
            Self::Blake3 { .. } => HashKind::Blake3,
        }
    }
}

/// What is known of a version of a file from a former run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub sha256: Option<Digest>,
    pub blake3: Option<ContentId>,
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub device: u64,
    pub inode: u64,
    pub size_bytes: u64,
    /// When its content was last changed, in nanoseconds since 1970: the nearest time from 1677 to
    /// 2262.
    pub modified_ns: i64,
    /// When anything about it was last changed, likewise.
    pub changed_ns: i64,
    /// Whether its owner may execute it.
    pub is_executable: bool,
}

impl Version {
    /// Returns whether nothing but attributes tells them apart, by all that a look can show: the
    /// content may have been changed and its time been set back.
    pub fn is_alike(&self, other: &Self) -> bool {
        let Self { changed_ns, is_executable, .. } = *self;
        *self == Self { changed_ns, is_executable, ..*other }
    }
}

/// What a file has beside its content, and keeps when it is fetched by version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// When its content was last changed, in nanoseconds since 1970; 0 if that is not known.
    pub modified_ns: u64,
    /// Whether its owner may execute it.
    pub is_executable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It was looked at, or nothing but its attributes changed.
    Looked,
    /// It appeared: a writer made it and has it open, or it is another link to a file.
    Created,
    /// It is being written to.
    Written,
    /// A writer closed it, which may have changed it without any other sign.
    Closed,
    /// It was moved there as it is.
    Moved,
}

/// What to do if something stands under the name of a file that is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Does not fetch it: the job fails.
    Refuse,
    /// Fetches it all the same: the job is done if both are equal, else it fails.
    Compare,
    /// Does not fetch it: the job counts as done.
    Skip,
    /// Gives the new one a name with a number.
    Rename,
    /// Replaces the old one.
    Replace,
}

/// Why something with a file failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// It is not there, or no regular file.
    Missing,
    /// It changed while it was read, or was changed just now.
    Changed,
    /// Something stands under the final name.
    Exists,
    /// A folder does, which is never replaced by a file.
    Folder,
    /// A link, a file or something else stands where a folder of the path must be.
    NoFolder(InTheWay),
    /// Another wanted file does: the file system takes both names for one.
    Twin,
    /// A link does, or something else that is no file, where a file would be skipped.
    NoFile,
    /// Less than the reserve would be free on the disk, or it or a quota is full.
    Full(Room),
    /// The same where nothing more is known, or the file system takes no file so large.
    NoRoom(FailedCall),
    /// This system is out of descriptors or memory for the moment.
    Shortage(FailedCall),
    /// The system refused a call for another reason.
    Io(FailedCall),
}

/// What stands where a folder of a path must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTheWay {
    /// How many components of the path lead to it.
    pub components: u8,
    pub is_link: bool,
}

/// How much room there was in a folder for a file that did not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The folder, escaped: a program writes to few, for as long as it runs.
    pub folder: &'static str,
    pub free_bytes: u64,
    /// What is to stay free.
    pub kept_bytes: u64,
    /// How large the file would have become with its next piece.
    pub needed_bytes: u64,
    pub lack: Lack,
    /// The call that found no room; `None` if what is to stay free was met.
    pub failed: Option<FailedCall>,
}

/// What there was too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Space on the disk.
    Space,
    /// What this user, group or project may have there.
    Quota,
    /// Inodes: how many files a file system can hold.
    Files,
    /// The system says that there is no room, though space is free.
    Unknown,
}

/// How a shared folder was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderLoss {
    /// It was removed, moved or unmounted.
    Gone,
    /// The path by which it was opened leads to another one, or to none.
    Elsewhere,
    /// Its file system answers no more.
    Failed(FailedCall),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCall {
    pub call: &'static str,
    /// Its error number, as in errno(3): shown, and read by storage alone.
    pub errno: i32,
}

impl FileError {
    /// Returns whether there is no room for a file, or for one so large.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full(_) | Self::NoRoom(_))
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
            Self::NoFolder(there) => there.fmt(f),
            Self::Twin => f.write_str(
                "another wanted file stands there: this file system takes both names for one; fetch \
                 it to another place, or see --on-conflict rename",
            ),
            Self::NoFile => f.write_str(
                "a link, or something else that is no file, stands under that name; move it away, \
                 or fetch to another place",
            ),
            Self::Full(room) => room.fmt(f),
            Self::NoRoom(failed) | Self::Shortage(failed) | Self::Io(failed) => failed.fmt(f),
        }
    }
}

impl fmt::Display for InTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_link { "a link" } else { "no folder" };
        let components = self.components;
        write!(
            f,
            "component {components} of the path is {what}; move it away, or fetch to another "
        )?;
        f.write_str("place")
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, failed, .. } = self;
        let [free, kept, needed] = [self.free_bytes, self.kept_bytes, self.needed_bytes].map(Bytes);
        match self.lack {
            Lack::Space => {
                write!(f, "the disk is full: {free} are free in {folder}, {kept} are kept free, ")?;
                write!(f, "and {needed} were needed; make room")?;
            }
            Lack::Quota => {
                write!(
                    f,
                    "the quota in {folder} is used up: {needed} were needed; remove files, "
                )?;
                f.write_str("or ask for a larger quota")?;
            }
            Lack::Unknown => {
                write!(
                    f,
                    "the system has no room in {folder}, though {free} are free on its disk: "
                )?;
                f.write_str("is a quota used up? remove files, or fetch to another place")?;
            }
            Lack::Files => {
                write!(
                    f,
                    "the disk of {folder} holds as many files as it can: no inode is left; "
                )?;
                f.write_str("remove some")?;
            }
        }
        match failed {
            Some(failed) => write!(f, ": {failed}"),
            None => f.write_str(", or lower --disk-reserve"),
        }
    }
}

impl fmt::Display for FolderLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it was removed, moved or unmounted"),
            Self::Elsewhere => f.write_str("its path leads elsewhere"),
            Self::Failed(failed) => write!(f, "its file system failed, {failed}"),
        }
    }
}

impl fmt::Display for FailedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call, io::Error::from_raw_os_error(self.errno))
    }
}
