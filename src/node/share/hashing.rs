//! Each version of a file is hashed by BLAKE3, those first that somebody waits for, and by SHA-256
//! once version 0 requests it; and again if something speaks against the hash.
//!
//! What an upload announces at the end is the digest of exactly the version that it opened.
//! When the file turns out to be another version, uploads of the old one are cut off.

use std::net::Ipv4Addr;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::index::Close;
use super::{Share, rehash};
use crate::content::{ContentId, Digest, FileError, HashKind, Value, Version};
use crate::limits::{REVERIFIED_BYTES_PER_SECOND, REVERIFY_PAUSE_MIN, SENT_FILES_REMEMBERED};
use crate::node::peer::Context;
use crate::node::{Action, PathId};
use crate::proto::CloseReason;

/// Returns for how long a hash of a file is not doubted because of what a peer says of it.
pub(super) fn reverify_pause(version: &Version) -> Duration {
    let seconds = version.size_bytes / REVERIFIED_BYTES_PER_SECOND;
    REVERIFY_PAUSE_MIN.max(Duration::from_secs(seconds))
}

impl Share {
    /// Hashes the next files: first those that somebody asked for.
    pub(super) fn hash_next(&mut self, ctx: &mut Context) {
        // A guest knows the ids of what it has fetched.
        while ctx.guest().is_none()
            && self.index.may_hash_more()
            && let Some(path) = self.next_asked_for(ctx).or_else(|| self.index.next_unhashed())
        {
            self.begin_hash(ctx, path, HashKind::Blake3);
        }
    }

    /// Hashes a file, unless that is done or under way.
    pub(super) fn begin_hash(&mut self, ctx: &mut Context, path: PathId, kind: HashKind) {
        if self.index.begin_hash(path, kind) {
            ctx.deadlines.disarm(rehash(path, kind));
            ctx.act(Action::Hash { path, kind });
        }
    }

    /// The id of a file is made again, at once. Until then it stands.
    pub(super) fn hash_again(&mut self, ctx: &mut Context, path: PathId) {
        self.index.doubt_id(path);
        self.begin_hash(ctx, path, HashKind::Blake3);
    }

    /// A file is hashed by BLAKE3 this far; all of it once there is an id.
    pub(crate) fn on_id_hashed(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        hashed_bytes: u64,
        made: Option<(ContentId, Rc<[Value]>)>,
    ) {
        if self.index.is_hashing(path, HashKind::Blake3) {
            self.note_version(ctx, path, version);
        }
        // It begins anew if this is another version.
        if self.index.is_hashing(path, HashKind::Blake3) {
            match made {
                Some((id, values)) => self.set_id(ctx, path, id, values),
                None => self.note_progress(ctx, path, hashed_bytes),
            }
        }
        self.hash_next(ctx);
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
        let kind = HashKind::Sha256;
        if !self.index.is_hashing(path, kind) {
            // The file is no longer shared, or shared anew: this is the hash of before.
            return self.hash_next(ctx);
        }
        self.note_version(ctx, path, version);
        // It begins anew if this is another version.
        if self.index.is_hashing(path, kind)
            && let Some(local) = self.index.get_mut(path)
        {
            let was_closed = local.close == Close::WhileHashed;
            if digest.is_some() && was_closed {
                local.close = Close::Unexpected;
            }
            let uploads = local.uploads_mut();
            (uploads.hashed_bytes, uploads.digest) = (hashed_bytes, digest);
            if digest.is_some() {
                uploads.verified_at = (!was_closed).then_some(ctx.now);
            }
        }
        // One by one: each may end, and with it the file.
        let mut last = Unbounded;
        while let Some(local) = self.index.get(path)
            && let Some(&follower) = local.uploads().followers.range((last, Unbounded)).next()
        {
            self.tell_hashed(ctx, follower, hashed_bytes, digest);
            last = Excluded(follower);
        }
        if digest.is_some() {
            self.index.end_hash(path, kind);
        }
        self.hash_next(ctx);
    }

    pub(crate) fn on_hash_failed(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        kind: HashKind,
        error: FileError,
    ) {
        if !self.index.is_hashing(path, kind) {
            // The hash of before, as above.
            return self.hash_next(ctx);
        }
        self.index.end_hash(path, kind);
        // A file that changes settles, and descriptors come free; a disk that cannot be
        // read stays so.
        let may_pass = matches!(error, FileError::Changed | FileError::Shortage(_));
        match self.index.get_mut(path) {
            Some(local) if may_pass => {
                let uploads = local.uploads_mut();
                if kind == HashKind::Sha256 {
                    uploads.hashed_bytes = 0;
                }
                let retry_in = uploads.rehash.delay(&mut ctx.rng);
                ctx.deadlines.arm(rehash(path, kind), ctx.now + retry_in);
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
        if !local.version.is_alike(&version) {
            self.withdraw(ctx, path);
            return self.settle(ctx, path, version, false);
        }
        for follower in self.index.renew(path, version) {
            self.close(ctx, follower, CloseReason::SourceChanged);
        }
        self.list(ctx, path);
        self.hash_next(ctx);
    }

    /// Returns whether the digest of a file is to be made again before it is sent: nothing shows
    /// that it is still that of the content.
    ///
    /// A version need not change with the content: not by writes to a mapping of the file, and
    /// not where time stamps can be set at will. So a digest of a former run is taken for true
    /// only until the file is requested, as is one after a close by a writer. That an address
    /// asks again for what it was sent whole may mean that it did not match there.
    pub(super) fn is_doubtful(&self, now: Instant, path: PathId, to: Ipv4Addr) -> bool {
        let Some(local) = self.index.get(path).filter(|local| local.uploads().digest.is_some())
        else {
            return false;
        };
        let Some(verified_at) = local.uploads().verified_at else { return true };
        now >= verified_at + reverify_pause(&local.version) && self.sent.contains(&(path, to))
    }

    /// A file was sent whole.
    pub(super) fn note_sent(&mut self, path: PathId, to: Ipv4Addr) {
        if !self.sent.contains(&(path, to)) {
            self.sent.truncate(SENT_FILES_REMEMBERED - 1);
            self.sent.push_front((path, to));
        }
    }
}
