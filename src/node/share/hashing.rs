//! Each version of a file is hashed once.
//!
//! What an upload announces at the end is the digest of exactly the version that it opened.
//! When the file turns out to be another version, uploads of the old one are cut off.

use std::ops::Bound::{Excluded, Unbounded};

use super::{Share, rehash};
use crate::content::{Digest, FileError, HashKind, Version};
use crate::node::peer::Context;
use crate::node::{Action, PathId};

impl Share {
    /// Hashes the next files that nobody requested yet.
    pub(super) fn hash_next(&mut self, ctx: &mut Context) {
        while let Some(path) = self.index.next_unhashed()
            && self.begin_hash(ctx, path)
        {}
    }

    /// Hashes a file, unless that is done or under way. Returns whether it begins.
    pub(super) fn begin_hash(&mut self, ctx: &mut Context, path: PathId) -> bool {
        let is_new = self.index.begin_hash(path);
        if is_new {
            ctx.deadlines.disarm(rehash(path));
            ctx.act(Action::Hash { path, kind: HashKind::Sha256 });
        }
        is_new
    }

    /// A file is hashed this far; all of it once there is a digest.
    pub(crate) fn on_hashed(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        hashed_bytes: u64,
        digest: Option<Digest>,
    ) {
        if !self.index.is_hashing(path) {
            // The file is no longer shared, or shared anew: this is the hash of before.
            return self.hash_next(ctx);
        }
        self.note_version(ctx, path, version);
        // It begins anew if this is another version.
        if self.index.is_hashing(path)
            && let Some(local) = self.index.get_mut(path)
        {
            local.hashed_bytes = hashed_bytes;
            local.digest = digest;
        }
        // One by one: each may end, and with it the file.
        let mut last = Unbounded;
        while let Some(local) = self.index.get(path)
            && let Some(&follower) = local.followers.range((last, Unbounded)).next()
        {
            self.tell_hashed(ctx, follower, hashed_bytes, digest);
            last = Excluded(follower);
        }
        if digest.is_some() {
            self.index.end_hash(path);
        }
        self.hash_next(ctx);
    }

    pub(crate) fn on_hash_failed(&mut self, ctx: &mut Context, path: PathId, error: FileError) {
        if !self.index.is_hashing(path) {
            // The hash of before, as above.
            return self.hash_next(ctx);
        }
        self.index.end_hash(path);
        // A file that changes settles, and descriptors come free; a disk that cannot be
        // read stays so.
        let may_pass = matches!(error, FileError::Changed | FileError::Shortage(_));
        match self.index.get_mut(path) {
            Some(local) if may_pass => {
                local.hashed_bytes = 0;
                let retry_in = local.rehash.delay(&mut ctx.rng);
                ctx.deadlines.arm(rehash(path), ctx.now + retry_in);
            }
            _ => self.lose_file(ctx, path, error),
        }
        self.hash_next(ctx);
    }

    /// What stands in the folder under `path` is this version: if that is news, what
    /// was known of the old one is void, and its uploads are cut off. It is shared again
    /// once it has settled, or at once if nothing but its attributes changed.
    pub(super) fn note_version(&mut self, ctx: &mut Context, path: PathId, version: Version) {
        let Some(local) = self.index.get(path) else { return };
        if local.version == version {
            return;
        }
        let is_alike = local.version.is_alike(&version);
        self.withdraw(ctx, path);
        match is_alike {
            true => self.index.insert(&mut ctx.paths, path, version, None),
            false => self.settle(ctx, path, version),
        }
    }
}
