//! The entries of a catalog, and how a page is cut into them.

use crate::content::{Content, ContentId};
use crate::limits::{CONTENT_BYTES_MAX, PATH_BYTES_MAX};
use crate::wire::deframer::{Deframer, Frame, Message};
use crate::wire::field::Fields;
use crate::wire::malformed::Malformed;
use crate::wire::path::FilePath;

const REMOVED: u8 = 1;
const EXECUTABLE: u8 = 2;
const NO_ID_YET: u8 = 4;
const EMPTY_FOLDER: u8 = 8;

const PATH_AT: usize = 3;
const FACTS_BYTES: usize = 16;
const ID_BYTES: usize = 32;
const HASHED_BYTES: usize = 8;

/// What a catalog says of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: FilePath,
    pub state: EntryState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryState {
    /// Nothing is there any more.
    Removed,
    /// A folder with nothing in it.
    EmptyFolder,
    /// A file that has its id.
    File {
        content: Content,
        /// In nanoseconds since 1970.
        modified_ns: u64,
        executable: bool,
    },
    /// A file that is not hashed yet.
    Unhashed {
        size_bytes: u64,
        /// In nanoseconds since 1970.
        modified_ns: u64,
        executable: bool,
        hashed_bytes: u64,
    },
}

impl Entry {
    /// Appends the entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let executable = |is| if is { EXECUTABLE } else { 0 };
        out.push(match self.state {
            EntryState::Removed => REMOVED,
            EntryState::EmptyFolder => EMPTY_FOLDER,
            EntryState::File { executable: is, .. } => executable(is),
            EntryState::Unhashed { executable: is, .. } => executable(is) | NO_ID_YET,
        });
        put_path(out, Some(&self.path));
        match self.state {
            EntryState::Removed | EntryState::EmptyFolder => {}
            EntryState::File { content, modified_ns, .. } => {
                out.extend_from_slice(&content.size_bytes.to_be_bytes());
                out.extend_from_slice(&modified_ns.to_be_bytes());
                out.extend_from_slice(&content.id.0);
            }
            EntryState::Unhashed { size_bytes, modified_ns, hashed_bytes, .. } => {
                out.extend_from_slice(&size_bytes.to_be_bytes());
                out.extend_from_slice(&modified_ns.to_be_bytes());
                out.extend_from_slice(&hashed_bytes.to_be_bytes());
            }
        }
    }

    /// Returns its length in bytes.
    pub fn len_bytes(&self) -> usize {
        let facts_bytes = match self.state {
            EntryState::Removed | EntryState::EmptyFolder => 0,
            EntryState::File { .. } => FACTS_BYTES + ID_BYTES,
            EntryState::Unhashed { .. } => FACTS_BYTES + HASHED_BYTES,
        };
        PATH_AT + self.path.as_str().len() + facts_bytes
    }
}

impl Message for Entry {
    const HEAD_BYTES_MAX: usize = PATH_AT + PATH_BYTES_MAX + FACTS_BYTES + ID_BYTES;

    fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(&[flags, l0, l1]) = bytes.first_chunk() else { return Ok(None) };
        let path_bytes = usize::from(u16::from_be_bytes([l0, l1]));
        if path_bytes > PATH_BYTES_MAX {
            return Err(Malformed::Path(crate::wire::PathError::TooLong));
        }
        let facts_bytes = match flags {
            _ if flags & (REMOVED | EMPTY_FOLDER) != 0 => 0,
            _ if flags & NO_ID_YET != 0 => FACTS_BYTES + HASHED_BYTES,
            _ => FACTS_BYTES + ID_BYTES,
        };
        let len_bytes = PATH_AT + path_bytes + facts_bytes;
        let Some(fields) = bytes.get(PATH_AT..len_bytes) else { return Ok(None) };
        let mut fields = Fields(fields);
        let path = FilePath::from_bytes(fields.bytes(path_bytes)?).map_err(Malformed::Path)?;
        let state = match flags {
            _ if flags & REMOVED != 0 => EntryState::Removed,
            _ if flags & EMPTY_FOLDER != 0 => EntryState::EmptyFolder,
            _ => file(flags, &mut fields)?,
        };
        Ok(Some((Self { path, state }, len_bytes)))
    }
}

fn file(flags: u8, fields: &mut Fields<'_>) -> Result<EntryState, Malformed> {
    let size_bytes = size(fields)?;
    let modified_ns = fields.u64()?;
    let executable = flags & EXECUTABLE != 0;
    if flags & NO_ID_YET != 0 {
        let hashed_bytes = fields.u64()?;
        return match hashed_bytes <= size_bytes {
            true => Ok(EntryState::Unhashed { size_bytes, modified_ns, executable, hashed_bytes }),
            false => Err(Malformed::Hashed),
        };
    }
    let content = Content { id: ContentId(fields.array()?), size_bytes };
    if size_bytes == 0 && content.id != ContentId::EMPTY {
        return Err(Malformed::EmptyContent);
    }
    Ok(EntryState::File { content, modified_ns, executable })
}

/// Takes the size of a content.
pub(super) fn size(fields: &mut Fields<'_>) -> Result<u64, Malformed> {
    match fields.u64()? {
        got if got > CONTENT_BYTES_MAX => Err(Malformed::Size { got }),
        size_bytes => Ok(size_bytes),
    }
}

/// Appends a path with its length before it; `None` is the empty path, everything.
pub(super) fn put_path(out: &mut Vec<u8>, path: Option<&FilePath>) {
    let text = path.map(FilePath::as_str).unwrap_or_default();
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Cuts the entries of one page out of its payload, however that is cut.
#[derive(Debug)]
pub struct PageReader {
    entries: Deframer<Entry>,
    left: u16,
}

impl PageReader {
    /// Returns a reader for a page that says to have `count` entries.
    pub fn new(count: u16) -> Self {
        Self { entries: Deframer::default(), left: count }
    }

    /// Returns the next entry of `payload` from `*at` on, and moves `*at` behind it; returns
    /// `None` when the payload is used up.
    ///
    /// # Errors
    /// If an entry is malformed, or there are more of them than the page said.
    pub fn next(&mut self, payload: &[u8], at: &mut usize) -> Result<Option<Entry>, Malformed> {
        match self.entries.next(payload, at)? {
            Some(Frame::Message(entry)) => {
                self.left = self.left.checked_sub(1).ok_or(Malformed::EntryCount)?;
                Ok(Some(entry))
            }
            Some(Frame::Payload { .. }) | None => Ok(None),
        }
    }

    /// Ends the page.
    ///
    /// # Errors
    /// If the last entry is not whole, or there were fewer than the page said.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.left > 0 || !self.entries.is_between_messages() {
            return Err(Malformed::EntryCount);
        }
        Ok(())
    }
}
