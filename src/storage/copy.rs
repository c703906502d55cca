//! A file that is made from another one with the same content, slice by slice.
//!
//! The bytes are hashed as they are copied: a file that was changed since it was verified does
//! not pass for its content.

use std::fs::File;
use std::time::Instant;

use super::beneath;
use super::folder::SharedFolder;
use super::partial::Partial;
use super::read_ahead::ReadAhead;
use crate::content::{Attributes, Content, FileError};
use crate::wire::FilePath;
use crate::wire::v1::BlockHasher;

/// A file that is being copied. It is removed when dropped.
#[derive(Debug)]
pub struct Copy {
    from: File,
    to: Partial,
    content: Content,
    copied_bytes: u64,
    hasher: BlockHasher,
    ahead: ReadAhead,
}

/// What a slice of a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStep {
    /// A disk is bringing the bytes: try again in
    /// [`DISK_LOOK_INTERVAL`](crate::limits::DISK_LOOK_INTERVAL).
    Asked,
    /// There is more to copy.
    Progress,
    /// It is ready to be committed.
    Done,
}

impl Copy {
    /// Begins a file of this folder at a path, from one at another.
    ///
    /// # Errors
    /// [`FileError::Changed`] if the other one is not there or has another size; else as
    /// [`SharedFolder::open_partial`].
    pub fn new(
        folder: &SharedFolder,
        from: &FilePath,
        to: &FilePath,
        content: Content,
        attributes: Attributes,
    ) -> Result<Self, FileError> {
        let opened = beneath::open_regular(folder.descriptor(), from.as_str());
        let (from, version) = opened.map_err(|error| match error {
            FileError::Missing => FileError::Changed,
            error => error,
        })?;
        if version.size_bytes != content.size_bytes {
            return Err(FileError::Changed);
        }
        let to = folder.create_copy(to, content, attributes)?;
        let (hasher, ahead) = (BlockHasher::new(0), ReadAhead::new(content.size_bytes));
        Ok(Self { from, to, content, copied_bytes: 0, hasher, ahead })
    }

    /// Copies the next slice, no more than `scratch` holds.
    ///
    /// # Errors
    /// [`FileError::Changed`] if the other file has not this content; others if it cannot be read
    /// or written.
    pub fn run_slice(&mut self, now: Instant, scratch: &mut [u8]) -> Result<CopyStep, FileError> {
        let rest_bytes = self.content.size_bytes - self.copied_bytes;
        if rest_bytes > 0 {
            let slice_bytes = rest_bytes.min(scratch.len() as u64) as usize;
            let slice = &mut scratch[..slice_bytes];
            let read = self.ahead.read(now, &self.from, slice, self.copied_bytes)?;
            let bytes = match read {
                None => return Ok(CopyStep::Asked),
                Some(0) => return Err(FileError::Changed),
                Some(len_bytes) => &slice[..len_bytes],
            };
            self.hasher.update(bytes);
            self.to.write(bytes, self.copied_bytes)?;
            self.copied_bytes += bytes.len() as u64;
        }
        match self.copied_bytes == self.content.size_bytes {
            false => Ok(CopyStep::Progress),
            true if self.hasher.id() == self.content.id => Ok(CopyStep::Done),
            true => Err(FileError::Changed),
        }
    }

    /// Returns the file, once it is done, to be committed.
    pub fn into_partial(self) -> Partial {
        debug_assert_eq!(self.copied_bytes, self.content.size_bytes);
        self.to
    }
}
