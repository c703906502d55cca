//! Work on files that goes on slice by slice, each piece of it in turn: blocks of partial files
//! that are hashed, and copies.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::DISK_LOOK_INTERVAL;
use crate::proto::FileId;
use crate::storage::{BlockHash, Copy};

/// What there is to do. A node bounds it: it asks for each piece.
#[derive(Default)]
pub(super) struct Slices {
    ready: VecDeque<(FileId, Slice)>,
    /// Those whose next bytes a disk is bringing, and when to look for them, the next first.
    asked: VecDeque<(Instant, FileId, Slice)>,
}

pub(super) enum Slice {
    Block(BlockHash),
    Copy(Box<Copy>),
}

impl Slices {
    /// There is more to do.
    pub(super) fn add(&mut self, file: FileId, slice: Slice) {
        self.ready.push_back((file, slice));
    }

    /// A disk is bringing the next bytes.
    pub(super) fn wait(&mut self, now: Instant, file: FileId, slice: Slice) {
        self.asked.push_back((now + DISK_LOOK_INTERVAL, file, slice));
    }

    /// Returns when there is something to do; `None` if there is nothing at all.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        match self.ready.is_empty() {
            true => self.asked.front().map(|(at, ..)| *at),
            false => Some(now),
        }
    }

    /// Takes out what is next; `None` if there is nothing to do now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(FileId, Slice)> {
        while self.asked.front().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, file, slice)) = self.asked.pop_front()
        {
            self.ready.push_back((file, slice));
        }
        self.ready.pop_front()
    }

    /// A file is closed.
    pub(super) fn remove(&mut self, file: FileId) {
        self.ready.retain(|(other, _)| *other != file);
        self.asked.retain(|(_, other, _)| *other != file);
    }
}
