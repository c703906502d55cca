//! What we look for, and which of it the next query names.
//!
//! A query takes few tags. Those that were never named come first, then those whose last query
//! was longest ago: so all are named in rotation.
//!
//! A search for anybody has no tag. Its queries have none, and take their turn among the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{SEARCHES_MAX, TAGS_MAX};
use crate::wire::v1::Tag;

/// Pauses between the first queries of a search, as long as nothing is found.
const HURRIED_PAUSES: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1)];

#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<Option<Tag>, Search>);

#[derive(Debug)]
struct Search {
    /// How many look for it.
    users: usize,
    asked_at: Option<Instant>,
    /// Queries that named it.
    queries: usize,
    is_found: bool,
}

impl Searches {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, tag: Tag) -> bool {
        self.0.contains_key(&Some(tag))
    }

    /// One more looks for this, or for anybody.
    pub(super) fn add(&mut self, tag: Option<Tag>) {
        if self.0.len() < SEARCHES_MAX || self.0.contains_key(&tag) {
            let none = Search { users: 0, asked_at: None, queries: 0, is_found: false };
            self.0.entry(tag).or_insert(none).users += 1;
        }
    }

    /// One less looks for it.
    pub(super) fn remove(&mut self, tag: Option<Tag>) {
        if let Some(search) = self.0.get_mut(&tag) {
            search.users = search.users.saturating_sub(1);
            if search.users == 0 {
                self.0.remove(&tag);
            }
        }
    }

    /// Somebody has it: it is in no hurry from now on.
    pub(super) fn note_found(&mut self, tag: Option<Tag>) {
        if let Some(search) = self.0.get_mut(&tag) {
            search.is_found = true;
        }
    }

    /// Returns when a search wants to be in a query; `None` if all can wait for the next one.
    pub(super) fn hurried_at(&self, now: Instant) -> Option<Instant> {
        self.0.values().filter_map(|search| search.hurried_at(now)).min()
    }

    /// Returns the tags of a query that is sent.
    pub(super) fn next_tags(&mut self, now: Instant) -> Vec<Tag> {
        let mut tags: Vec<_> = self.0.iter().map(|(tag, it)| (it.asked_at, *tag)).collect();
        // A query with tags is not answered by those that have none of them.
        let oldest = tags.iter().min().map(|(_, tag)| *tag);
        tags.retain(|(_, tag)| tag.is_none() == (oldest == Some(None)));
        if tags.len() > TAGS_MAX {
            tags.select_nth_unstable(TAGS_MAX);
            tags.truncate(TAGS_MAX);
        }
        for (_, tag) in &tags {
            if let Some(search) = self.0.get_mut(tag) {
                search.asked_at = Some(now);
                search.queries = search.queries.saturating_add(1);
            }
        }
        tags.into_iter().filter_map(|(_, tag)| tag).collect()
    }
}

impl Search {
    fn hurried_at(&self, now: Instant) -> Option<Instant> {
        match self.asked_at {
            None => Some(now),
            Some(_) if self.is_found => None,
            Some(asked_at) => {
                HURRIED_PAUSES.get(self.queries.wrapping_sub(1)).map(|it| asked_at + *it)
            }
        }
    }
}
