//! Jobs for every name that matches a pattern.
//!
//! A search waits for the first name that matches. From then on each name that matches
//! becomes a job, and the search listens until it is complete: until some intervals of the
//! slowest sharer that matches have brought no new name. That counts while files are fetched.
//! It listens no longer than [`PATTERN_TIME_MAX`]; then, and if a sharer was not heard often
//! enough to know its interval, there may be more, and the program says so.
//!
//! A pattern that is a legal name, such as `a[1].txt`, first waits whether that name is on
//! offer: then it is no pattern.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::{Duration, Instant};

use super::{Fetch, PeerWake, Wake};
use crate::limits::{
    JOBS_MAX, KNOWN_PEERS_MAX, PATTERN_INTERVALS, PATTERN_OWN_INTERVALS, PATTERN_TIME_MAX,
};
use crate::node::peer::Context;
use crate::node::peers::{Catalog, Peers};
use crate::node::share::Share;
use crate::node::{ConnectionId, Doubt, NamePattern, PathId, Report};
use crate::wire::v0::FileName;
use crate::wire::{FilePath, PeerId};

#[derive(Debug, Default)]
pub(super) struct Searches {
    pub(super) open: Vec<Search>,
    /// The peers that offer something that matches, at most [`KNOWN_PEERS_MAX`].
    sharers: BTreeMap<PeerId, Sharer>,
    /// Whether the user knows that nothing is fetched while they listen.
    is_idle_told: bool,
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) pattern: NamePattern,
    /// Set by the first match.
    pub(super) listening: Option<Listening>,
    /// Names that match while the pattern may still be a name, or for the program that asks.
    held: BTreeSet<FileName>,
    /// A program that only wants to know what matches, until then.
    asked_by: Option<(ConnectionId, Option<Instant>)>,
    /// Whether more names match than there may be jobs.
    has_too_many: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    since: Instant,
    /// When the last new name was heard.
    news_at: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Sharer {
    heard_at: Instant,
    /// How often it offers each file, once that is known.
    interval: Option<Duration>,
}

/// How long searches have to listen.
#[derive(Clone, Copy, Debug)]
struct Pace {
    own_interval: Duration,
    /// Without a new name.
    quiet: Duration,
    /// Until when a sharer may be heard often enough, if one is not yet.
    unknown_until: Option<Instant>,
}

/// What is to be done with a name that was heard.
#[derive(Clone, Copy, Debug, Default)]
struct Matched {
    by_any: bool,
    is_wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It waits for a first match.
    Match,
    /// It listens until then, or a while longer.
    LookAt(Instant),
    End(Option<Doubt>),
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
        let room = JOBS_MAX.saturating_sub(self.searches.open.len());
        self.searches.open.extend(patterns.iter().take(room).cloned().map(Search::new));
        for (path, source) in peers.catalog.pairs().collect::<Vec<_>>() {
            self.match_path(ctx, peers, share, (path, source));
        }
    }

    /// A program wants to know what matches, until then if that is given.
    pub(crate) fn find_matching(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        asked_by: (ConnectionId, Option<Instant>),
        pattern: NamePattern,
    ) {
        self.searches.open.push(Search { asked_by: Some(asked_by), ..Search::new(pattern) });
        if let (_, Some(until)) = asked_by {
            ctx.deadlines.arm(PeerWake::Fetch(Wake::Searches), until);
        }
        for (path, source) in peers.catalog.pairs().collect::<Vec<_>>() {
            self.match_path(ctx, peers, share, (path, source));
        }
    }

    /// A program that asked has ended.
    pub(crate) fn forget_search_of(&mut self, program: ConnectionId) {
        self.searches.open.retain(|search| search.asked_by.is_none_or(|(id, _)| id != program));
    }

    /// A peer is heard to offer a path.
    pub(crate) fn match_path(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        (path, source): (PathId, PeerId),
    ) {
        if self.searches.open.is_empty() {
            return;
        }
        let Some(name) = ctx.paths.get(path).and_then(FilePath::name) else { return };
        let is_new = !self.by_path.contains_key(&path);
        let own_interval = ctx.settings.offer_interval;
        let wants = |search: &Search| search.asked_by.is_none() && search.pattern.matches(&name);
        let becomes_job = is_new && self.searches.open.iter().any(wants);
        let has_room = !becomes_job || self.makes_room(ctx);
        let now = ctx.now;
        let mut matched = Matched::default();
        for search in &mut self.searches.open {
            if search.pattern.matches(&name) {
                matched.by_any = true;
                let had_too_many = search.has_too_many;
                matched.is_wanted |= search.hear(now, own_interval, name, is_new, has_room);
                if search.has_too_many && !had_too_many {
                    let pattern = search.pattern.as_str().to_owned();
                    ctx.report(Report::TooManyMatch { pattern });
                }
            }
        }
        if !matched.by_any {
            return;
        }
        self.searches.note_sharer(now, source, peers.catalog.interval(source));
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Searches), now + own_interval);
        // It was the name itself.
        self.searches.open.retain(|search| {
            let is_found = search.pattern.is(&name);
            if let (true, Some((program, _))) = (is_found, search.asked_by) {
                ctx.answer_match(program, None, &[name].into());
            }
            !is_found
        });
        if matched.is_wanted && is_new {
            self.want(ctx, peers, share, &[name]);
        } else {
            self.end_if_done(ctx);
        }
    }

    /// Ends the searches that have listened for long enough.
    pub(super) fn look_at_searches(&mut self, ctx: &mut Context, peers: &mut Peers, share: &Share) {
        let (now, own_interval) = (ctx.now, ctx.settings.offer_interval);
        let pace = self.searches.pace(own_interval, &peers.catalog);
        let mut released = Vec::new();
        let mut look_at = None;
        let mut doubt = None;
        self.searches.open.retain_mut(|search| {
            released.extend(search.release(now, own_interval));
            let next = search.next(now, &pace);
            match next {
                Next::Match => {}
                Next::LookAt(at) => look_at = look_at.into_iter().chain([at]).min(),
                Next::End(why) => match search.asked_by {
                    Some((program, _)) => {
                        let why = why.as_ref().map(|why| why as &dyn Display);
                        ctx.answer_match(program, why, &search.held);
                    }
                    None => doubt = doubt.or(why),
                },
            }
            !matches!(next, Next::End(_))
        });
        self.tally.doubt = self.tally.doubt.or(doubt);
        if let Some(at) = look_at {
            // The intervals of sharers become known meanwhile.
            let at = at.min(now + own_interval);
            ctx.deadlines.arm(PeerWake::Fetch(Wake::Searches), at);
        }
        if self.searches.open.is_empty() {
            self.searches.sharers.clear();
        }
        self.want(ctx, peers, share, &released);
        self.tell_if_idle(ctx);
    }

    /// Tells the user, once, why a `get` that has all it heard of goes on.
    fn tell_if_idle(&mut self, ctx: &mut Context) {
        let listens = self.searches.open.iter().any(|search| search.listening.is_some());
        if listens && self.open() == 0 && ctx.guest().is_some() && !self.searches.is_idle_told {
            self.searches.is_idle_told = true;
            ctx.report(Report::ListeningOn);
        }
    }

    /// Ends all searches at once: the time is up. Returns the patterns that nothing matched,
    /// and the names that are still held back.
    pub(super) fn cut_searches_short(&mut self) -> (Vec<NamePattern>, Vec<FileName>) {
        let Searches { open, .. } = std::mem::take(&mut self.searches);
        let (heard, unheard): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|search| search.listening.is_some());
        if !heard.is_empty() {
            self.tally.doubt.get_or_insert(Doubt::TimeUp);
        }
        let held = heard.into_iter().flat_map(|search| search.held).collect();
        (unheard.into_iter().map(|search| search.pattern).collect(), held)
    }

    fn makes_room(&mut self, ctx: &mut Context) -> bool {
        if self.jobs.len() >= JOBS_MAX {
            self.forget_ended_jobs(ctx);
        }
        self.jobs.len() < JOBS_MAX
    }
}

impl Searches {
    fn note_sharer(&mut self, heard_at: Instant, peer: PeerId, interval: Option<Duration>) {
        if self.sharers.len() < KNOWN_PEERS_MAX || self.sharers.contains_key(&peer) {
            self.sharers.insert(peer, Sharer { heard_at, interval });
        }
    }

    fn pace(&self, own_interval: Duration, catalog: &Catalog) -> Pace {
        let intervals = self.sharers.values().filter_map(|sharer| sharer.interval);
        let slowest = intervals.max().unwrap_or_default();
        let unknown = self.sharers.values().filter(|sharer| sharer.interval.is_none());
        Pace {
            own_interval,
            quiet: slowest.mul_f32(PATTERN_INTERVALS).max(own_interval * PATTERN_OWN_INTERVALS),
            unknown_until: unknown.map(|sharer| sharer.heard_at + catalog.life(None)).max(),
        }
    }
}

impl Search {
    fn new(pattern: NamePattern) -> Self {
        let (listening, held, asked_by) = (None, BTreeSet::new(), None);
        Self { pattern, listening, held, asked_by, has_too_many: false }
    }

    /// A name that matches was heard. Returns whether it is wanted at once.
    fn hear(
        &mut self,
        now: Instant,
        own_interval: Duration,
        name: FileName,
        is_new: bool,
        has_room: bool,
    ) -> bool {
        let listening = self.listening.get_or_insert(Listening { since: now, news_at: now });
        if self.asked_by.is_some() {
            match self.held.len() < JOBS_MAX || self.held.contains(&name) {
                true if self.held.insert(name) => listening.news_at = now,
                true => {}
                false => self.has_too_many = true,
            }
            return false;
        }
        let holds = now < listening.since + own_interval * PATTERN_OWN_INTERVALS;
        let is_held = holds && self.pattern.name().is_some() && !self.pattern.is(&name);
        if !has_room || is_held && self.held.len() >= JOBS_MAX {
            self.has_too_many = true;
            return false;
        }
        if is_held {
            if is_new && self.held.insert(name) {
                listening.news_at = now;
            }
        } else if is_new && !self.held.contains(&name) {
            listening.news_at = now;
        }
        !is_held
    }

    /// Returns the names that were held back, if the pattern is none of them.
    fn release(&mut self, now: Instant, own_interval: Duration) -> BTreeSet<FileName> {
        match self.listening {
            Some(Listening { since, .. })
                if self.asked_by.is_none()
                    && now >= since + own_interval * PATTERN_OWN_INTERVALS =>
            {
                std::mem::take(&mut self.held)
            }
            _ => BTreeSet::new(),
        }
    }

    fn next(&self, now: Instant, pace: &Pace) -> Next {
        let until = self.asked_by.and_then(|(_, until)| until);
        match (self.next_by_itself(now, pace), until) {
            (Next::Match | Next::LookAt(_), Some(until)) if now >= until => {
                Next::End(Some(Doubt::TimeUp))
            }
            (Next::LookAt(at), Some(until)) => Next::LookAt(at.min(until)),
            (Next::Match, Some(until)) => Next::LookAt(until),
            (next, _) => next,
        }
    }

    /// The same, whatever time a program has.
    fn next_by_itself(&self, now: Instant, pace: &Pace) -> Next {
        let Some(Listening { since, news_at }) = self.listening else { return Next::Match };
        // Where all do not fit, a sharer may never be heard twice with one name.
        let unknown_until = pace.unknown_until.filter(|_| !self.has_too_many);
        let own = pace.own_interval.mul_f32(PATTERN_INTERVALS);
        let time_is_up_at = since + PATTERN_TIME_MAX.max(own);
        let quiet_at = (news_at + pace.quiet).max(unknown_until.unwrap_or(news_at));
        if now < quiet_at.min(time_is_up_at) {
            return Next::LookAt(quiet_at.min(time_is_up_at));
        }
        Next::End(match unknown_until {
            _ if self.has_too_many => Some(Doubt::TooMany),
            _ if now < quiet_at => Some(Doubt::StillNews),
            Some(_) => Some(Doubt::HeardOnce),
            None => None,
        })
    }
}

#[cfg(test)]
mod tests;
