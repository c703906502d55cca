//! Each version of a file is hashed once, and again if something speaks against its digest.
//!
//! What an upload announces at the end is the digest of exactly the version that it opened.
//! When the file turns out to be another version, uploads of the old one are cut off.

use std::net::Ipv4Addr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::{Duration, Instant};

use super::index::Close;
use super::{Share, rehash};
use crate::content::{Digest, FileError, HashKind, Version};
use crate::limits::{REVERIFIED_BYTES_PER_SECOND, REVERIFY_PAUSE_MIN, SENT_FILES_REMEMBERED};
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
            if digest.is_some() {
                let was_closed = local.close == Close::WhileHashed;
                local.verified_at = (!was_closed).then_some(ctx.now);
                local.close = if was_closed { Close::Unexpected } else { local.close };
            }
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
            false => self.settle(ctx, path, version, false),
        }
    }

    /// Returns whether the digest of a file is to be made again before it is sent: nothing shows
    /// that it is still that of the content.
    ///
    /// A version need not change with the content: not by writes to a mapping of the file, and
    /// not where time stamps can be set at will. So a digest of a former run is taken for true
    /// only until the file is requested, as is one after a close by a writer. That an address
    /// asks again for what it was sent whole may mean that it did not match there.
    pub(super) fn is_doubtful(&self, now: Instant, path: PathId, to: Ipv4Addr) -> bool {
        let Some(local) = self.index.get(path).filter(|local| local.digest.is_some()) else {
            return false;
        };
        let Some(verified_at) = local.verified_at else { return true };
        let seconds = local.version.size_bytes / REVERIFIED_BYTES_PER_SECOND;
        let pause = REVERIFY_PAUSE_MIN.max(Duration::from_secs(seconds));
        now >= verified_at + pause && self.sent.contains(&(path, to))
    }

    /// A file was sent whole.
    pub(super) fn note_sent(&mut self, path: PathId, to: Ipv4Addr) {
        if !self.sent.contains(&(path, to)) {
            self.sent.truncate(SENT_FILES_REMEMBERED - 1);
            self.sent.push_front((path, to));
        }
    }
}
