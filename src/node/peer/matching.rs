//! Wishes for every name that matches a pattern.
//!
//! A search waits for the first name that matches. From then on it listens for a while,
//! long enough to hear each peer's offers, and each name that matches becomes a wish.

use std::time::Instant;

use super::{PeerNode, Wake};
use crate::limits::{PATTERN_INTERVALS, WISHES_MAX};
use crate::node::NamePattern;
use crate::wire::v0::FileName;

/// A pattern that names are held against.
#[derive(Debug)]
pub(super) struct Search {
    pattern: NamePattern,
    /// Set by the first match.
    ends_at: Option<Instant>,
}

impl Search {
    pub(super) fn has_matched(&self) -> bool {
        self.ends_at.is_some()
    }

    pub(super) fn into_pattern(self) -> String {
        self.pattern.as_str().to_owned()
    }
}

impl PeerNode {
    pub(super) fn on_want_matching(&mut self, now: Instant, patterns: &[NamePattern]) {
        let room = WISHES_MAX.saturating_sub(self.searches.len());
        let search = |pattern: &NamePattern| Search { pattern: pattern.clone(), ends_at: None };
        self.searches.extend(patterns.iter().take(room).map(search));
        for name in self.catalog.names().collect::<Vec<_>>() {
            self.match_name(now, name);
        }
    }

    /// A name was heard.
    pub(super) fn match_name(&mut self, now: Instant, name: FileName) {
        let ends_at = now + self.settings.offer_interval * PATTERN_INTERVALS;
        let mut matches = false;
        for search in self.searches.iter_mut().filter(|search| search.pattern.matches(&name)) {
            search.ends_at.get_or_insert(ends_at);
            matches = true;
        }
        if matches {
            self.arm_searches();
            if !self.wishes.contains_key(&name) {
                self.on_want(now, &[name]);
            }
        }
    }

    /// Ends the searches that have listened for long enough.
    pub(super) fn end_searches(&mut self, now: Instant) {
        self.searches.retain(|search| search.ends_at.is_none_or(|at| at > now));
        self.arm_searches();
        self.end_if_done(now);
    }

    fn arm_searches(&mut self) {
        if let Some(at) = self.searches.iter().filter_map(|search| search.ends_at).min() {
            self.deadlines.arm(Wake::Searches, at);
        }
    }
}
