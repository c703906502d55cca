//! Reading a file in order without waiting for a disk.
//!
//! A read of what is not in memory would hold up the loop. So a disk is asked for the next
//! bytes before they are needed, and bytes that are not there yet are looked for again a
//! little later. A read that waits is the fallback: on a file system that cannot tell what is
//! in memory (ext2, FAT, FUSE, NFS and others), and where a disk takes longer than
//! [`DISK_PATIENCE`].

use std::fs::File;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};

use super::system;
use crate::content::FileError;
use crate::limits::{DISK_PATIENCE, READ_AHEAD_BYTES};

/// What one call asks for: the usual `read_ahead_kb`, to which the kernel may cut it.
const PIECE_BYTES: u64 = 128 * 1024;
/// What one look asks for at most, so that many files at once do not hold up the loop: some
/// 50 us. It is more than is read between two looks, so the lead grows.
const STEP_BYTES: u64 = 4 * PIECE_BYTES;

/// How far ahead a file is read.
#[derive(Debug)]
pub(super) struct ReadAhead {
    size_bytes: u64,
    /// Up to where a disk was asked.
    asked_bytes: u64,
    /// Since when the next bytes are missing.
    missing_since: Option<Instant>,
    /// The disk was too slow: reads of this file wait.
    has_given_up: bool,
}

impl ReadAhead {
    /// Nothing was asked for yet of a file of this size.
    pub(super) fn new(size_bytes: u64) -> Self {
        Self { size_bytes, asked_bytes: 0, missing_since: None, has_given_up: false }
    }

    /// Reads from `offset` on; returns how many bytes there were, 0 at the end of the file,
    /// or `None` while a disk is bringing them: try again in [`DISK_LOOK_INTERVAL`].
    ///
    /// [`DISK_LOOK_INTERVAL`]: crate::limits::DISK_LOOK_INTERVAL
    pub(super) fn read(
        &mut self,
        now: Instant,
        file: &File,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<Option<usize>, FileError> {
        self.ask(file, offset);
        if !self.has_given_up {
            match system::read_at_once(file, buffer, offset)? {
                Some(len_bytes @ 1..) => {
                    self.missing_since = None;
                    return Ok(Some(len_bytes));
                }
                None if self.is_patient(now) => return Ok(None),
                // Maybe the end.
                Some(0) | None => {}
            }
        }
        system::read_at(file, buffer, offset).map(Some)
    }

    /// Whether the next bytes, of which there is at least one, are in memory, or a read of
    /// them is to wait. Their last byte tells of all, as a disk is asked for them in order.
    pub(super) fn is_ready(
        &mut self,
        now: Instant,
        file: &File,
        next: &Range<u64>,
    ) -> Result<bool, FileError> {
        self.ask(file, next.start);
        if self.has_given_up {
            return Ok(true);
        }
        let is_there = system::read_at_once(file, &mut [0], next.end - 1)?.is_some();
        if is_there {
            self.missing_since = None;
        }
        Ok(is_there || !self.is_patient(now))
    }

    /// Whether to look again for bytes that are missing, and not to wait for them.
    fn is_patient(&mut self, now: Instant) -> bool {
        let missing_since = *self.missing_since.get_or_insert(now);
        self.has_given_up = now.saturating_duration_since(missing_since) >= DISK_PATIENCE;
        !self.has_given_up
    }

    /// Asks for more of what follows `from`.
    fn ask(&mut self, file: &File, from: u64) {
        let begin = self.asked_bytes.max(from);
        let end = (begin + STEP_BYTES).min(from + READ_AHEAD_BYTES).min(self.size_bytes);
        for offset in (begin..end).step_by(PIECE_BYTES as usize) {
            // If that is not heeded, the bytes come by a read that waits.
            let _ = fadvise(file, offset, NonZeroU64::new(PIECE_BYTES), Advice::WillNeed);
            self.asked_bytes = offset + PIECE_BYTES;
        }
    }
}
