//! Jobs for every name that matches a pattern.
//!
//! A search waits for the first name that matches. From then on it listens for a while,
//! long enough to hear each peer's offers, and each name that matches becomes a job.

use std::time::Instant;

use super::{Fetch, PeerWake, Wake};
use crate::limits::{JOBS_MAX, PATTERN_INTERVALS};
use crate::node::peer::Context;
use crate::node::peers::Peers;
use crate::node::share::Share;
use crate::node::{NamePattern, PathId};
use crate::wire::FilePath;

#[derive(Debug)]
pub(super) struct Search {
    pub(super) pattern: NamePattern,
    /// Set by the first match.
    pub(super) ends_at: Option<Instant>,
}

impl Fetch {
    /// The user wants every file whose name matches one of these patterns.
    pub(crate) fn want_matching(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        patterns: &[NamePattern],
    ) {
        let room = JOBS_MAX.saturating_sub(self.searches.len());
        let search = |pattern: &NamePattern| Search { pattern: pattern.clone(), ends_at: None };
        self.searches.extend(patterns.iter().take(room).map(search));
        for path in peers.catalog.paths().collect::<Vec<_>>() {
            self.match_path(ctx, peers, share, path);
        }
    }

    pub(crate) fn match_path(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        path: PathId,
    ) {
        if self.searches.is_empty() {
            return;
        }
        let Some(name) = ctx.paths.get(path).and_then(FilePath::name) else { return };
        let ends_at = ctx.now + ctx.settings.offer_interval * PATTERN_INTERVALS;
        let mut matches = false;
        for search in self.searches.iter_mut().filter(|search| search.pattern.matches(&name)) {
            search.ends_at.get_or_insert(ends_at);
            matches = true;
        }
        if matches {
            self.arm_searches(ctx);
            if !self.by_path.contains_key(&path) {
                self.want(ctx, peers, share, &[name]);
            }
        }
    }

    /// Ends the searches that have listened for long enough.
    pub(super) fn end_searches(&mut self, ctx: &mut Context) {
        let now = ctx.now;
        self.searches.retain(|search| search.ends_at.is_none_or(|at| at > now));
        self.arm_searches(ctx);
        self.end_if_done(ctx);
    }

    fn arm_searches(&self, ctx: &mut Context) {
        if let Some(at) = self.searches.iter().filter_map(|search| search.ends_at).min() {
            ctx.deadlines.arm(PeerWake::Fetch(Wake::Searches), at);
        }
    }
}
