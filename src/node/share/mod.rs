//! What we have: the files that we share, followed as they change, hashed, offered, listed and
//! sent.
//!
//! Owns the index, what is not settled yet, and the schedule of offers. Does not know who
//! else is there, nor what we want.
//!
//! | file | what happens there |
//! |---|---|
//! | [`index`] | the complete files |
//! | [`settling`] | what changes in our folder is shared once it has settled |
//! | [`hashing`] | each version of a file is hashed once |
//! | [`serving`] | uploads of version 0 |
//! | [`ids`] | the catalog, and by which id each content is known |
//! | [`sessions`] | what is requested on sessions of version 1 |
//! | [`lists`] | the readers of the catalog |
//! | [`giving`] | blocks that are given, each file open once |
//! | [`partials`] | contents that we fetch, and give from the first block on |
//! | [`manifests`] | the values of blocks, as far as there is room |
//! | [`offers`] | which file is offered when |
//! | [`strangers`] | connections that have not said who they are |
//! | [`shown`] | what beacons show of the catalog |

mod giving;
mod hashing;
mod ids;
mod index;
mod lists;
mod manifests;
mod offers;
mod partials;
mod serving;
mod sessions;
mod settling;
mod shown;
mod strangers;

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Instant;

use self::giving::Giving;
use self::ids::Moved;
use self::index::{Close, Index};
use self::lists::Lists;
use self::manifests::Manifests;
use self::offers::Pace;
use self::partials::Partials;
use self::sessions::Told;
use self::settling::Settling;
use self::shown::Unshown;
use self::strangers::Strangers;
use super::peer::Context;
use super::{PathId, Report};
use crate::content::{FileError, HashKind, Known, Version};
use crate::limits::SHARED_FILES_MAX;
use crate::proto::CloseReason;
use crate::proto::v0::OfferSchedule;
use crate::proto::v1::Catalog;

/// What we have.
///
/// Invariant: a path is in `index` or in `settling`, never in both.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) index: Index,
    settling: Settling,
    schedule: OfferSchedule,
    /// Files that are new, and not offered yet.
    unannounced: BTreeSet<PathId>,
    /// When the last of them were offered.
    announced_at: Option<Instant>,
    pace: Pace,
    /// Whether others can learn where we are, so that news is worth an offer of its own.
    can_be_found: bool,
    /// Files that were sent whole, and to which addresses, the last one first: at most
    /// [`SENT_FILES_REMEMBERED`](crate::limits::SENT_FILES_REMEMBERED).
    sent: VecDeque<(PathId, Ipv4Addr)>,
    /// How many files may be shared or settling.
    files_max: usize,
    catalog: Catalog,
    /// What was fetched and verified, under the paths that it was fetched from.
    fetched: Catalog,
    moved: Moved,
    manifests: Manifests,
    partials: Partials,
    lists: Lists,
    told: Told,
    giving: Giving,
    unshown: Unshown,
    strangers: Strangers,
}

/// What a deadline wakes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// The next batch of offers is due.
    Offers,
    /// New files may be offered again.
    News,
    /// A file may have settled.
    Settled(PathId),
    /// A file that changed under the hash is hashed again.
    Rehash(PathId, HashKind),
    /// A file of which wrong bytes were sent is hashed again.
    HashAgain(PathId),
    /// The next files are looked at, as changes were missed.
    LookAtAll,
    /// Pages of listings may be due.
    Lists,
    /// A turn may have expired.
    Turns,
    /// Connections without a hello may be too many.
    Strangers,
}

impl Share {
    /// Shares nothing yet; without a registry the first offer goes out at `offers_at`.
    pub(super) fn new(ctx: &Context, offers_at: Instant) -> Self {
        Self {
            index: Index::default(),
            settling: Settling::default(),
            schedule: OfferSchedule::new(offers_at, ctx.settings.offer_interval),
            unannounced: BTreeSet::new(),
            announced_at: None,
            pace: Pace::default(),
            can_be_found: false,
            sent: VecDeque::new(),
            files_max: SHARED_FILES_MAX,
            catalog: Catalog::default(),
            fetched: Catalog::default(),
            moved: Moved::default(),
            manifests: Manifests::default(),
            partials: Partials::default(),
            lists: Lists::default(),
            told: Told::default(),
            giving: Giving::default(),
            unshown: Unshown::default(),
            strangers: Strangers::default(),
        }
    }

    /// Returns whether a file stands in our folder under this path, complete or not.
    pub(super) fn has(&self, path: PathId) -> bool {
        self.index.get(path).is_some() || self.settling.contains(path)
    }

    pub(super) fn on_wake(&mut self, ctx: &mut Context, wake: Wake) {
        match wake {
            Wake::Offers => self.offer_batch(ctx),
            Wake::News => self.offer_news(ctx),
            Wake::Settled(path) => self.on_settle_due(ctx, path),
            Wake::Rehash(path, kind) => self.begin_hash(ctx, path, kind),
            Wake::HashAgain(path) => self.hash_again(ctx, path),
            Wake::Lists => self.on_lists_due(ctx),
            Wake::Turns => self.on_turns_due(ctx),
            Wake::Strangers => self.evict_strangers(ctx),
            Wake::LookAtAll => self.look_at_all(ctx),
        }
    }

    /// A file was fetched: what stood there for a moment is gone.
    pub(super) fn add_fetched(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        known: Known,
    ) {
        self.end_settling(ctx, path);
        self.withdraw(ctx, path);
        self.index.insert(&mut ctx.paths, path, version, known);
        self.list(ctx, path);
        if let Some(local) = self.index.get_mut(path) {
            if known.sha256.is_some() {
                local.uploads_mut().verified_at = Some(ctx.now);
            }
            local.hashed_at = known.blake3.map(|_| ctx.now);
            local.close = Close::Ours;
        }
        self.arm_offers(ctx);
        self.announce(ctx, path);
        self.hash_next(ctx);
    }

    /// Takes a file out of those that are shared, and cuts its uploads off. Returns whether
    /// it was among them.
    fn withdraw(&mut self, ctx: &mut Context, path: PathId) -> bool {
        for kind in [HashKind::Sha256, HashKind::Blake3] {
            ctx.deadlines.disarm(rehash(path, kind));
        }
        ctx.deadlines.disarm(hash_again(path));
        let Some(local) = self.index.remove(&mut ctx.paths, path) else { return false };
        self.unlist(ctx, path, local.version, local.id);
        for &follower in &local.uploads().followers {
            self.close(ctx, follower, CloseReason::SourceChanged);
        }
        true
    }

    /// A file can no longer be shared.
    fn lose_file(&mut self, ctx: &mut Context, path: PathId, error: FileError) {
        if self.withdraw(ctx, path) {
            ctx.report(Report::FileLost { path, error });
        }
    }
}

fn hash_again(path: PathId) -> super::peer::Wake {
    super::peer::Wake::Share(Wake::HashAgain(path))
}

fn rehash(path: PathId, kind: HashKind) -> super::peer::Wake {
    super::peer::Wake::Share(Wake::Rehash(path, kind))
}
