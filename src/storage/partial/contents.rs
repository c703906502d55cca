//! The partial file of a content: it comes in at any offset, and one of several blocks outlives
//! its program.
//!
//! ```text
//! open ──▶ .p2pfs-ID-SIZE, locked ──▶ write at any offset ... ──▶ fsync ──▶ final name
//!  │            ▲       │
//!  │  continued └───────┴── dropped, or anything but the fsync fails ──▶ kept
//!  └──▶ .p2pfs-PID-N.partial, removed when dropped: a content of one block, a second program on
//!       the same content, a file that is not ours, a file system without locks
//! ```
//!
//! Nothing in a file that is continued counts before it is hashed. A file whose fsync failed is
//! removed: what is read of it may never have reached the disk.

use std::fs::File;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{AtFlags, Mode, OFlags, SeekFrom, Timespec, Timestamps};
use rustix::io::Errno;

use super::permissions::{self, PRIVATE};
use super::{Partial, Target};
use crate::content::{Attributes, Content, FileError};
use crate::limits::{NEW_FILE_BYTES, PARTIAL_NAME_TRIES_MAX};
use crate::storage::folder::WriteSettings;
use crate::storage::folders::Place;
use crate::storage::holes::data_in;
use crate::storage::read_ahead::ReadAhead;
use crate::storage::source::Source;
use crate::storage::system::{self, persist, refused};
use crate::storage::temporary::{kept_name, stands_there};
use crate::wire::v1::{BlockHasher, Value};

const NS_PER_SECOND: u64 = 1_000_000_000;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// What a partial file is to become, if that is known.
#[derive(Debug)]
pub(super) struct OfContent {
    content: Content,
    attributes: Attributes,
    /// Whether it stands under the name by which a later run finds it.
    is_kept: bool,
    /// What was promised on the disk and is not written yet.
    promised_bytes: u64,
}

/// A block of a partial file that is being hashed, slice by slice.
#[derive(Debug)]
pub struct BlockHash {
    block: u32,
    rest: Range<u64>,
    hasher: BlockHasher,
    ahead: ReadAhead,
}

/// What a slice of a block's hash came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockHashStep {
    /// A disk is bringing the bytes: try again in
    /// [`DISK_LOOK_INTERVAL`](crate::limits::DISK_LOOK_INTERVAL).
    Asked,
    /// There is more to hash.
    Progress,
    /// The value of the block; of a content of one block its id.
    Done(Value),
}

impl OfContent {
    pub(super) fn is_executable(&self) -> bool {
        self.attributes.is_executable
    }
}

impl Partial {
    /// Opens the file of a content, or creates it, and returns where it has bytes already.
    pub(in crate::storage) fn of_content(
        target: &Rc<Target>,
        place: Place,
        (content, attributes): (Content, Attributes),
        settings: WriteSettings,
    ) -> Result<(Self, Vec<Range<u64>>), FileError> {
        let reserve_bytes = settings.disk_reserve_bytes;
        let size_bytes = content.size_bytes;
        let needed_bytes = size_bytes.max(NEW_FILE_BYTES);
        target.space.check(
            &place.folder,
            (NEW_FILE_BYTES, NEW_FILE_BYTES),
            needed_bytes,
            reserve_bytes,
        )?;
        let usual = permissions::new(attributes.is_executable);
        let mut partial = if target.unnamed.is_some() {
            Self::unnamed(target, place, settings)?
        } else {
            let mode = target.check_place(&place, usual, settings.on_conflict)?;
            let kept = match content.blocks() {
                0 | 1 => None,
                _ => Self::continued(target, &place, &content, mode, settings)?,
            };
            match kept {
                Some(partial) => partial,
                None => Self::temporary(target, &place, mode, settings)?,
            }
        };
        let is_kept = partial.stands_as.as_ref().is_some_and(|name| *name == kept_name(&content));
        let mut of = OfContent { content, attributes, is_kept, promised_bytes: 0 };
        let stat = system::stat_file(&partial.file)?;
        let there_bytes = (stat.st_blocks as u64).saturating_mul(512).min(size_bytes);
        if content.blocks() > 1 {
            let missing_bytes = size_bytes - there_bytes;
            target.space.promise(&partial.file, missing_bytes, size_bytes, reserve_bytes)?;
            of.promised_bytes = missing_bytes;
        }
        partial.of = Some(of);
        partial.len_bytes = stat.st_size as u64;
        if partial.len_bytes > size_bytes {
            persist(|| rustix::fs::ftruncate(&partial.file, size_bytes))
                .map_err(refused("ftruncate"))?;
            partial.len_bytes = size_bytes;
        }
        let data = if is_kept { partial.data(&content)? } else { Vec::new() };
        Ok((partial, data))
    }

    /// Opens the file that is kept for a content, or creates it; `None` if another program works
    /// on it, or it cannot be trusted or locked.
    fn continued(
        target: &Rc<Target>,
        place: &Place,
        content: &Content,
        mode: Mode,
        settings: WriteSettings,
    ) -> Result<Option<Self>, FileError> {
        let name = kept_name(content);
        for _ in 0..PARTIAL_NAME_TRIES_MAX {
            let (file, is_new) = match system::create_new(&place.folder, name.as_str(), mode) {
                Ok(file) => (file, true),
                Err(Errno::EXIST) => match open_kept(place, &name) {
                    Ok(Some(file)) => (file, false),
                    Err(Errno::NOENT) => continue,
                    Ok(None) | Err(_) => return Ok(None),
                },
                // The temporary name meets the same, and says so.
                Err(_) => return Ok(None),
            };
            match system::lock(&file) {
                Ok(()) => {}
                Err(errno) => {
                    if is_new && errno != Errno::WOULDBLOCK {
                        let unlink =
                            || rustix::fs::unlinkat(&place.folder, &*name, AtFlags::empty());
                        let _ = persist(unlink);
                    }
                    return Ok(None);
                }
            }
            // Its last owner may have given it the final name, or removed it.
            if !stands_there(&place.folder, &*name, &system::stat_file(&file)?) {
                continue;
            }
            let mut partial = Self::new(target, place.clone(), file, Some(name), settings);
            // An earlier run may have made it for another purpose.
            partial.is_private = !is_new || mode == PRIVATE;
            return Ok(Some(partial));
        }
        Ok(None)
    }

    /// Returns where there are bytes, in whole blocks: a hole before others in a block is zeros
    /// that were left out, and one behind them shows once the block is hashed.
    fn data(&self, content: &Content) -> Result<Vec<Range<u64>>, FileError> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < self.len_bytes {
            let (start, end) = match self.seek(SeekFrom::Data(at)) {
                Ok(start) => (start, self.seek(SeekFrom::Hole(start)).unwrap_or(self.len_bytes)),
                Err(Errno::NXIO) => break,
                // A file system that does not know where holes are.
                Err(_) => (at, self.len_bytes),
            };
            let first = start - start % content.block_bytes();
            let last = end.next_multiple_of(content.block_bytes()).min(content.size_bytes);
            at = last.max(at + 1);
            match found.last_mut() {
                Some(before) if before.end >= first => before.end = before.end.max(last),
                _ => found.push(first..last),
            }
        }
        Ok(found)
    }

    fn seek(&self, to: SeekFrom) -> Result<u64, Errno> {
        persist(|| rustix::fs::seek(&self.file, to))
    }

    /// Writes all the bytes at this offset, but for zeros where nothing stands.
    pub(super) fn write_anywhere(&mut self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let (coming_bytes, reserve_bytes) = (bytes.len() as u64, self.settings.disk_reserve_bytes);
        let file_bytes = self.len_bytes.max(offset + coming_bytes);
        self.target.space.check(
            &self.file,
            (coming_bytes, coming_bytes),
            file_bytes,
            reserve_bytes,
        )?;
        let mut done = 0;
        let mut pieces = data_in(bytes, true).peekable();
        while done < bytes.len() {
            let data = pieces.next().unwrap_or(bytes.len()..bytes.len());
            self.write_zeros(offset + done as u64..offset + data.start as u64)?;
            self.write_piece(&bytes[data.clone()], offset + data.start as u64)?;
            done = data.end;
        }
        if let Some(of) = &mut self.of {
            let redeemed_bytes = of.promised_bytes.min(coming_bytes);
            of.promised_bytes -= redeemed_bytes;
            self.target.space.redeem(redeemed_bytes);
        }
        Ok(())
    }

    fn write_piece(&mut self, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.len_bytes = self.len_bytes.max(offset + bytes.len() as u64);
        self.write_all(bytes, offset)
    }

    /// Writes zeros wherever anything stands in a range.
    fn write_zeros(&mut self, range: Range<u64>) -> Result<(), FileError> {
        let mut at = range.start;
        while at < range.end {
            let (start, end) = match self.seek(SeekFrom::Data(at)) {
                Ok(start) => (start, self.seek(SeekFrom::Hole(start)).unwrap_or(range.end)),
                Err(Errno::NXIO) => break,
                Err(_) => (at, range.end),
            };
            let data = start.min(range.end)..end.clamp(at + 1, range.end);
            for piece in data.clone().step_by(ZEROS.len()) {
                let piece_bytes = (data.end - piece).min(ZEROS.len() as u64) as usize;
                self.write_piece(&ZEROS[..piece_bytes], piece)?;
            }
            at = data.end;
        }
        Ok(())
    }

    /// Whether nothing stands in a range; not on a file system that does not know.
    fn is_hole(&self, range: &Range<u64>) -> bool {
        match self.seek(SeekFrom::Data(range.start)) {
            Ok(data) => data >= range.end,
            Err(errno) => errno == Errno::NXIO,
        }
    }

    /// The file gets its length, if zeros at its end were left out.
    pub(super) fn fill_up(&mut self) -> Result<(), FileError> {
        let size_bytes = self.of.as_ref().map_or(0, |of| of.content.size_bytes);
        match self.len_bytes < size_bytes {
            true => self.write_piece(&[0], size_bytes - 1),
            false => Ok(()),
        }
    }

    /// It was changed when its source was, as far as the file system can say so.
    pub(super) fn take_times(&self) {
        let Some(of) = self.of.as_ref().filter(|of| of.attributes.modified_ns > 0) else { return };
        let modified_ns = of.attributes.modified_ns;
        let last_modification = Timespec {
            tv_sec: (modified_ns / NS_PER_SECOND) as i64,
            tv_nsec: (modified_ns % NS_PER_SECOND) as _,
        };
        let last_access = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
        let times = Timestamps { last_access, last_modification };
        let _ = persist(|| rustix::fs::futimens(&self.file, &times));
    }

    /// Whether it stays for a later run when it is dropped.
    pub(super) fn is_kept(&self) -> bool {
        self.settings.keeps_partials && self.of.as_ref().is_some_and(|of| of.is_kept)
    }

    /// It is removed when it is dropped.
    pub(super) fn keep_nothing(&mut self) {
        if let Some(of) = &mut self.of {
            of.is_kept = false;
        }
    }

    /// Closes and removes it.
    pub fn discard(mut self) {
        self.keep_nothing();
    }

    pub(super) fn let_go_of_room(&mut self) {
        if let Some(of) = &mut self.of {
            self.target.space.redeem(std::mem::take(&mut of.promised_bytes));
        }
    }

    /// Opens it for sending, too. That stays open, whatever becomes of this.
    ///
    /// # Errors
    /// If the system is short of descriptors.
    pub fn source(&self) -> Result<Source, FileError> {
        let file = persist(|| rustix::io::fcntl_dupfd_cloexec(&self.file, 0));
        let file = file.map_err(refused("fcntl"))?;
        let version = system::version(&system::stat_file(&file)?);
        Ok(Source::new(file.into(), version))
    }

    /// Begins to hash what stands in the place of a block; `None` if it has no such block.
    pub fn hash_block(&self, block: u32) -> Option<BlockHash> {
        let content = self.of.as_ref()?.content;
        if block >= content.blocks() {
            return None;
        }
        let rest = content.block_range(block);
        let (hasher, ahead) = (BlockHasher::new(rest.start), ReadAhead::new(content.size_bytes));
        Some(BlockHash { block, rest, hasher, ahead })
    }

    /// Hashes the next slice of a block, no more than `scratch` holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn hash_slice(
        &self,
        hash: &mut BlockHash,
        now: Instant,
        scratch: &mut [u8],
    ) -> Result<BlockHashStep, FileError> {
        let slice_bytes = (hash.rest.end - hash.rest.start).min(scratch.len() as u64);
        let slice = hash.rest.start..hash.rest.start + slice_bytes;
        if self.is_hole(&slice) {
            for piece in (0..slice_bytes).step_by(ZEROS.len()) {
                hash.hasher
                    .update(&ZEROS[..(slice_bytes - piece).min(ZEROS.len() as u64) as usize]);
            }
            hash.rest.start = slice.end;
        } else {
            let buffer = &mut scratch[..slice_bytes as usize];
            let read = hash.ahead.read(now, &self.file, buffer, hash.rest.start)?;
            let Some(mut read_bytes) = read else { return Ok(BlockHashStep::Asked) };
            if read_bytes == 0 {
                // The end of the file: zeros follow that were left out.
                buffer.fill(0);
                read_bytes = buffer.len();
            }
            hash.hasher.update(&buffer[..read_bytes]);
            hash.rest.start += read_bytes as u64;
        }
        if !hash.rest.is_empty() {
            return Ok(BlockHashStep::Progress);
        }
        let is_whole = self.of.as_ref().is_some_and(|of| of.content.blocks() == 1);
        let value = if is_whole { hash.hasher.id().0 } else { hash.hasher.value() };
        Ok(BlockHashStep::Done(value))
    }
}

impl BlockHash {
    /// Which block of its content.
    pub fn block(&self) -> u32 {
        self.block
    }
}

/// Opens a file that a run of this user left; `None` if it may be anything else.
fn open_kept(place: &Place, name: &str) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | system::no_surprise();
    let file = persist(|| rustix::fs::openat(&place.folder, name, flags, Mode::empty()))
        .map(File::from)?;
    let stat = persist(|| rustix::fs::fstat(&file))?;
    // Whoever made it could change it once it is verified, or read it under another name.
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_nlink <= 1;
    Ok((system::is_regular(&stat) && is_ours).then_some(file))
}

#[cfg(test)]
mod tests;
