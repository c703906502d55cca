//! What comes in by version 1, to be shown.

use super::Gather;
use super::contents::Contents;
use super::wish::Wish;
use crate::node::peer::{Connection, Context};
use crate::node::{Direction, JobProgress, Transfer};
use crate::wire::{FilePath, PeerId};

impl Gather {
    /// Returns how many files are neither there nor given up.
    pub(crate) fn open_files(&self) -> usize {
        let unhashed: usize = self.wishes.values().map(|job| job.unhashed.len()).sum();
        let sought = self.wishes.values().filter(|job| job.is_open() && job.is_sought()).count();
        self.files.open() + unhashed + sought
    }

    /// Returns the files that come in, and the paths that nobody lists yet.
    pub(crate) fn open_paths<'a>(&'a self, ctx: &'a Context) -> impl Iterator<Item = &'a FilePath> {
        let sought = self.wishes.values().filter(|job| job.is_open() && job.is_sought());
        let sought = sought.filter_map(|job| match &job.wish {
            Wish::Path(path) => Some(path),
            _ => None,
        });
        sought.chain(self.files.active().into_iter().filter_map(|path| ctx.paths.get(path)))
    }

    /// Returns how far all that is wanted has come, if the sizes are known.
    pub(crate) fn progress(&self, contents: &Contents) -> Option<JobProgress> {
        let (done_bytes, all_bytes) = self.files.bytes();
        let came_bytes: u64 = contents.running().map(|(_, _, came_bytes, _)| came_bytes).sum();
        let unhashed = self.wishes.values().flat_map(|job| job.unhashed.values());
        let (hashed_bytes, to_hash_bytes) = unhashed.fold((0, 0), |(hashed, all), file| {
            (hashed + file.hashed_bytes, all + file.size_bytes)
        });
        let all_bytes = all_bytes.saturating_add(to_hash_bytes);
        (all_bytes > 0).then(|| JobProgress {
            done_bytes: done_bytes.saturating_add(came_bytes),
            all_bytes,
            hashing: (to_hash_bytes > 0).then_some((hashed_bytes, to_hash_bytes)),
        })
    }

    /// Returns the files that come in.
    pub(crate) fn transfers(
        &self,
        ctx: &Context,
        contents: &Contents,
    ) -> impl Iterator<Item = Transfer> {
        contents.running().filter_map(|(path, size_bytes, came_bytes, sources)| {
            let active = self.files.active_at(path)?;
            let id = self.files.source_of(&active.content)?;
            let Connection::Session(connection) = ctx.connections.get(id)? else { return None };
            let peer = connection.them.map_or(PeerId(0), |them| them.peer);
            let sources = u32::try_from(sources).unwrap_or(u32::MAX);
            Some(Transfer {
                connection: id,
                path: ctx.paths.get(path)?.clone(),
                direction: Direction::In { peer, size_bytes: Some(size_bytes), sources },
                address: connection.address,
                began: active.began,
                moved_at: ctx.now,
                bytes: came_bytes,
            })
        })
    }
}
