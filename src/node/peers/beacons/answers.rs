//! Queries of others, and our answers to them.
//!
//! A query is answered after a random time, by one beacon for all queries heard on that
//! interface before it, and not at all once enough others have answered it. Answers have a
//! bucket of tokens of their own on each interface.
//!
//! Invariant: at most [`QUERIES_WAITING_MAX`] queries wait on an interface. One that finds no
//! room is answered together with those that wait.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::tags::Tags;
use crate::limits::{
    ANSWER_BURST, ANSWER_PAUSE, ANSWERS_ENOUGH, QUERIED_TAGS_REMEMBERED, QUERIES_WAITING_MAX,
    QUERY_MEMORY, TAGS_MAX,
};
use crate::wire::v1::Tag;

/// The random time before an answer is at most this, and more for each peer that is known.
const DELAY: Duration = Duration::from_millis(20);
const DELAY_FOR_EACH_PEER: Duration = Duration::from_millis(1);
const DELAY_MAX: Duration = Duration::from_secs(1);

/// An address of ours; `None` stands for all interfaces of a runner that names none.
pub(super) type From = Option<Ipv4Addr>;

/// An interface, and whether what goes there has a MAC: those who look for either are others.
pub(super) type Way = (From, bool);

#[derive(Debug, Default)]
pub(super) struct Answers {
    on: BTreeMap<Way, Waiting>,
    /// What was queried of us not long ago, the last first: first that of what we had then.
    queried: VecDeque<(Instant, Tag)>,
    /// The same of what we did not have.
    queried_in_vain: VecDeque<(Instant, Tag)>,
}

/// The queries on one interface that wait for an answer.
#[derive(Debug)]
struct Waiting {
    bucket: Bucket,
    queries: Vec<Query>,
}

#[derive(Debug)]
struct Query {
    answer_at: Instant,
    /// What it looks for and we have.
    tags: Vec<Tag>,
    /// Others that showed all of it since then, by their instances.
    answered_by: Vec<u64>,
}

impl Answers {
    /// A query was heard on an interface, while so many peers were known.
    pub(super) fn on_query(
        &mut self,
        (now, rng): (Instant, &mut fastrand::Rng),
        on: Way,
        (tags, ours): (&[Tag], &Tags),
        known: usize,
    ) {
        let (had, missed): (Vec<Tag>, Vec<Tag>) = tags.iter().partition(|tag| ours.contains(**tag));
        note(&mut self.queried, now, &had, TAGS_MAX);
        note(&mut self.queried_in_vain, now, &missed, QUERIED_TAGS_REMEMBERED);
        if had.is_empty() && !tags.is_empty() {
            return;
        }
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        let delay = DELAY.saturating_add(DELAY_FOR_EACH_PEER.saturating_mul(known)).min(DELAY_MAX);
        let bucket = Bucket::new(now, ANSWER_PAUSE, ANSWER_BURST);
        let waiting = self.on.entry(on).or_insert_with(|| Waiting { bucket, queries: Vec::new() });
        if waiting.queries.len() < QUERIES_WAITING_MAX {
            let answer_at = now + delay.mul_f64(rng.f64());
            waiting.queries.push(Query { answer_at, tags: had, answered_by: Vec::new() });
        }
    }

    /// Another peer has shown these tags on an interface.
    pub(super) fn on_shown(&mut self, on: Way, instance: u64, tags: &[Tag]) {
        let Some(waiting) = self.on.get_mut(&on) else { return };
        waiting.queries.retain_mut(|query| {
            let is_answer = !query.tags.is_empty()
                && query.tags.iter().all(|tag| tags.contains(tag))
                && !query.answered_by.contains(&instance);
            if is_answer {
                query.answered_by.push(instance);
            }
            query.answered_by.len() < ANSWERS_ENOUGH
        });
    }

    /// We have sent a beacon on an interface: it answers all that was heard there before.
    pub(super) fn on_sent(&mut self, on: Way) {
        if let Some(waiting) = self.on.get_mut(&on) {
            waiting.queries.clear();
        }
    }

    /// Returns the interfaces on which an answer is to be sent, with a token taken for each.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Way> {
        let is_due = |waiting: &Waiting| waiting.queries.iter().any(|query| query.answer_at <= now);
        let due = self.on.iter_mut().filter(|(_, waiting)| is_due(waiting));
        due.filter_map(|(on, waiting)| waiting.bucket.take(now).then_some(*on)).collect()
    }

    /// Returns when the next answer is to be sent.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let next = self.on.values().filter_map(|waiting| {
            let next = waiting.queries.iter().map(|query| query.answer_at).min()?;
            Some(next.max(waiting.bucket.ready_at()))
        });
        next.min()
    }

    /// Nothing is sent any more on interfaces other than these.
    pub(super) fn keep_only(&mut self, used: &[From]) {
        self.on.retain(|(on, _), _| used.contains(on));
    }

    /// Returns the tags of a beacon: what was queried not long ago and we have, the last
    /// queried first.
    pub(super) fn tags(&mut self, now: Instant, ours: &Tags) -> Vec<Tag> {
        let is_recent =
            |(at, _): &(Instant, Tag)| now.saturating_duration_since(*at) < QUERY_MEMORY;
        self.queried.retain(is_recent);
        self.queried_in_vain.retain(is_recent);
        let all = self.queried.iter().chain(&self.queried_in_vain);
        let mut had: Vec<_> = all.filter(|(_, tag)| ours.contains(*tag)).collect();
        had.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut tags: Vec<Tag> = Vec::new();
        for (_, tag) in had {
            if tags.len() < TAGS_MAX && !tags.contains(tag) {
                tags.push(*tag);
            }
        }
        tags
    }
}

/// Puts tags in front of those queried before them, of which so many are kept.
fn note(queried: &mut VecDeque<(Instant, Tag)>, now: Instant, tags: &[Tag], kept: usize) {
    queried.retain(|(_, tag)| !tags.contains(tag));
    tags.iter().rev().for_each(|tag| queried.push_front((now, *tag)));
    queried.truncate(kept);
}
