//! What we want by version 1: from a wish to the files that it means, each from many sources.
//!
//! Owns the wishes, the sessions that are asked for them, and the files that they mean. How one
//! content is fetched from its sources is the business of [`contents`].
//!
//! | file | what happens there |
//! |---|---|
//! | [`wish`] | what the user writes |
//! | [`job`] | the state of one wish |
//! | [`finding`] | which peers are dialed, and what is asked of them |
//! | [`beyond`] | which of those that the registry lists |
//! | [`sources`] | the sessions, and the lists that are open on them |
//! | [`index`], [`listings`] | which entries are meant, and what a wish finds among them |
//! | [`settling`] | a wish becomes files, is ambiguous, or goes to version 0 |
//! | [`files`] | the files, until each is there |
//! | [`replacing`] | a file that changed, or whose size was a lie, is fetched with another content |
//! | [`ending`] | wishes end, and giving up |
//! | [`routing`] | answers, and what became of files |
//! | [`looking`] | all that is listed, for a program that only looks |
//! | [`report`], [`shown`] | what the user is told |

mod beyond;
#[allow(dead_code, reason = "its tests use more of it")]
pub(super) mod contents;
mod ending;
mod files;
mod finding;
mod index;
mod job;
mod listings;
mod looking;
mod replacing;
mod report;
mod routing;
mod settling;
mod shown;
mod sources;
#[cfg(test)]
mod tests;
mod wish;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Instant;

use self::beyond::Beyond;
use self::contents::Contents;
pub(super) use self::ending::Gathered;
use self::ending::Tally;
use self::files::Files;
use self::finding::Given;
use self::index::Index;
use self::job::{Job, WishId};
use self::listings::Listings;
pub use self::looking::ListedEntry;
pub use self::report::Time;
pub use self::report::{Candidate, Giver, Listed, WishReport};
use self::sources::Source;
pub use self::wish::{IdPrefix, PathPattern, Restriction, Wish, WishError};
use super::fetch::Fetch;
use super::peer::{Context, Wake};
use super::peers::Peers;
use super::share::Share;
use super::{ConnectionId, PathId, Report};
use crate::content::ContentId;
use crate::limits::LISTED_BYTES_MAX;
use crate::wire::FilePath;
use crate::wire::v1::TagKey;

/// How wishes are fetched.
#[derive(Clone, Debug, Default)]
pub struct GatherSettings {
    /// Peers to which sources are restricted; none is no restriction.
    pub from: Vec<Restriction>,
    /// Peers that the user named by their addresses.
    pub peers: Vec<SocketAddrV4>,
    /// Whether files are stored under their last component.
    pub is_flat: bool,
    /// Whether the file never has a name where it is stored, so that nothing can stand there.
    pub is_unnamed: bool,
    /// Whether nothing is to be fetched: all that is listed is to be shown, as it changes.
    pub only_looks: bool,
    /// Whether it is only told what would be fetched.
    pub is_dry_run: bool,
    /// Whether files are fetched with a component that begins with a dot and that no wish names.
    pub with_hidden: bool,
    /// Whether what came of a file that is given up is removed.
    pub discards: bool,
}

/// What we want by version 1.
///
/// Invariants: `index` and `scopes` are those of the wishes that have not ended.
#[derive(Debug)]
pub(super) struct Gather {
    wishes: BTreeMap<WishId, Job>,
    next_wish: u32,
    index: Index,
    /// What the catalogs of others are read for.
    scopes: Vec<Option<FilePath>>,
    listings: Listings,
    sources: BTreeMap<ConnectionId, Source>,
    given: Vec<Given>,
    beyond: Beyond,
    /// Instances that had nothing that we want, by the generation of their catalog.
    visited: BTreeMap<u64, u64>,
    files: Files,
    /// Folders that are being made, by the wish that means them. Their paths are held.
    folders: BTreeMap<PathId, WishId>,
    /// Some names at the top of what others share, to tell the user.
    names: BTreeSet<String>,
    tags: TagKey,
    /// Sessions that are of no use.
    to_close: Vec<ConnectionId>,
    /// When a peer whose dial failed may be dialed again: its beacons need not wake us.
    redial_at: Option<Instant>,
    tally: Tally,
}

/// The other parts of a peer, which a wish may concern.
pub(super) struct Others<'a> {
    pub(super) peers: &'a mut Peers,
    pub(super) share: &'a mut Share,
    pub(super) fetch: &'a mut Fetch,
    pub(super) contents: &'a mut Contents,
}

impl Gather {
    /// Wants nothing yet.
    pub(super) fn new(ctx: &Context) -> Self {
        let given = ctx.settings.gather.peers.iter();
        let beacons = ctx.settings.beacons.as_ref();
        Self {
            wishes: BTreeMap::new(),
            next_wish: 0,
            index: Index::default(),
            scopes: Vec::new(),
            listings: Listings::new(LISTED_BYTES_MAX),
            sources: BTreeMap::new(),
            given: given.map(|&address| Given::new(ctx.now, address)).collect(),
            beyond: Beyond::default(),
            visited: BTreeMap::new(),
            files: Files::default(),
            folders: BTreeMap::new(),
            names: BTreeSet::new(),
            tags: beacons
                .and_then(|it| it.tag_keys.first().cloned())
                .unwrap_or_else(|| TagKey::new(None)),
            to_close: Vec::new(),
            redial_at: None,
            tally: Tally::default(),
        }
    }

    /// The user wants these.
    pub(super) fn want(&mut self, ctx: &mut Context, others: &mut Others<'_>, wishes: &[Wish]) {
        for wish in wishes {
            if self.wishes.values().any(|job| job.wish == *wish && !job.is_ended()) {
                continue;
            }
            // A peer shares what it has, whatever others have under this path.
            if let Some(path) = shared_already(ctx, others.share, wish) {
                self.tally.done += 1;
                ctx.report(Report::AlreadyThere { path });
                continue;
            }
            if let Some(path) = wish.name().and_then(|name| ctx.paths.find(name.as_str())) {
                others.fetch.forget_end(ctx, path);
            }
            let tag = match wish {
                // Everybody is to answer.
                _ if ctx.settings.gather.only_looks => None,
                Wish::Content { id, .. } => id.id().map(|id| self.tags.of_content(&id)),
                wish => wish.root().map(|root| self.tags.of_path(root)),
            };
            match tag {
                Some(tag) => others.peers.beacons.look_for(ctx, tag),
                None => others.peers.beacons.look_around(ctx),
            }
            let id = WishId(self.next_wish);
            self.next_wish += 1;
            self.wishes.insert(id, Job::new(ctx.now, wish.clone(), tag));
        }
        self.on_wishes_changed(ctx);
        self.beyond.forget_visits();
        self.line_up(ctx, others.peers);
        self.look(ctx, others);
        others.fetch.end_if_done(ctx);
    }

    /// The registry lists others than before, or lists none.
    pub(super) fn on_listed(&mut self, ctx: &mut Context, others: &mut Others<'_>) {
        if !self.wishes.values().all(Job::is_ended) {
            self.line_up(ctx, others.peers);
            self.look(ctx, others);
        }
    }

    /// The wishes that are open are others than before.
    fn on_wishes_changed(&mut self, ctx: &mut Context) {
        let open = || self.wishes.values().filter(|job| !job.is_ended());
        self.index = Index::new(open().map(|job| &job.wish));
        let roots = open().map(|job| &job.wish).filter(|wish| wish.whole_id().is_none());
        self.scopes = sources::scopes(roots.map(Wish::root));
        if !self.wishes.values().any(Job::is_sought) {
            self.listings.clear();
        }
        self.count(ctx);
    }

    /// Does what is due, and what can be done by now.
    pub(super) fn look(&mut self, ctx: &mut Context, others: &mut Others<'_>) {
        if self.wishes.values().all(Job::is_ended) {
            return self.rest(ctx, others.peers);
        }
        let Peers { listing, link, .. } = &mut *others.peers;
        listing.want(ctx, link, true);
        self.find(ctx, others.peers);
        self.settle(ctx, others);
        self.begin_files(ctx, others.contents);
        self.find_seekers(ctx, others.peers);
        for id in self.seekers().collect::<Vec<_>>() {
            others.contents.hope_for(ctx, id);
        }
        self.leave_idle_sources(ctx, others.peers);
        self.count(ctx);
        if let Some(at) = self.due_at(ctx) {
            ctx.deadlines.disarm(Wake::Gather);
            ctx.deadlines.arm(Wake::Gather, at.max(ctx.now));
        }
        others.fetch.end_if_done(ctx);
    }

    /// Returns the sessions with peers that may fetch the same.
    fn seekers(&self) -> impl Iterator<Item = ConnectionId> {
        let seekers = self.sources.iter().filter(|(_, it)| it.is_seeker && it.is_open());
        seekers.map(|(id, _)| *id)
    }

    /// Nothing is wanted: nobody is asked any more.
    fn rest(&mut self, ctx: &mut Context, peers: &mut Peers) {
        peers.listing.want(ctx, &peers.link, false);
        self.beyond.rest();
        for (&id, source) in &mut self.sources {
            source.cancel_others(ctx, id, &[]);
            if std::mem::take(&mut source.is_useful) {
                source.idle_since = ctx.now;
            }
            ctx.pump(id);
        }
        self.leave_idle_sources(ctx, peers);
        if let Some(at) = self.idle_due_at(ctx) {
            ctx.deadlines.arm(Wake::Gather, at);
        }
    }

    /// Returns when there is something to do, though nothing is told.
    fn due_at(&self, ctx: &Context) -> Option<Instant> {
        let of_wishes = self.wishes.values().filter_map(|job| self.wish_due_at(ctx, job));
        of_wishes.chain(self.finding_due_at(ctx)).min()
    }

    /// Returns the next session that is of no use, to be closed.
    pub(super) fn poll_close(&mut self) -> Option<ConnectionId> {
        self.to_close.pop()
    }

    /// Returns whether a source of version 1 lists this path: no transfer of it by version 0
    /// begins.
    pub(super) fn lists(&self, path: &FilePath) -> bool {
        self.listings.lists(path) || self.files.is_stored(path)
    }
}

/// Returns the file that a peer wants and shares already.
fn shared_already(ctx: &Context, share: &Share, wish: &Wish) -> Option<PathId> {
    let Wish::Path(path) = wish else { return None };
    let path = ctx.paths.find(path.as_str())?;
    (ctx.guest().is_none() && share.has(path)).then_some(path)
}

impl Wish {
    fn is_content(&self) -> bool {
        matches!(self, Self::Content { .. })
    }

    /// Returns the id of a content that is wanted by it, if it is whole.
    fn whole_id(&self) -> Option<ContentId> {
        match self {
            Self::Content { id, .. } => id.id(),
            _ => None,
        }
    }
}
