//! Jobs for every name that matches a pattern.
//!
//! A search waits for the first name that matches. From then on each name that matches
//! becomes a job, and the search listens until it is complete: until some intervals of the
//! slowest sharer that matches have brought no new name. That counts while files are fetched.
//! It listens no longer than [`PATTERN_TIME_MAX`]; then, and if a sharer was not heard often
//! enough to know its interval, there may be more, and the program says so.
//!
//! A pattern of another program is a search like ours; the program is told of each name.
//!
//! A pattern that is a legal name, such as `a[1].txt`, first waits whether that name is on
//! offer: then it is no pattern.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Fetch, PeerWake, Wake};
use crate::limits::{
    CONTROL_FETCHES_MAX, JOBS_MAX, KNOWN_PEERS_MAX, PATTERN_INTERVALS, PATTERN_OWN_INTERVALS,
    PATTERN_TIME_MAX,
};
use crate::node::peer::Context;
use crate::node::peers::{Catalog, Peers};
use crate::node::share::Share;
use crate::node::{ConnectionId, Doubt, NamePattern, PathId, Report};
use crate::proto::control::Followed;
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
    /// Names that match while the pattern may still be a name.
    held: BTreeSet<FileName>,
    /// Another program, if that wants them.
    asked_by: Option<ConnectionId>,
    /// Whether more names match than there may be jobs.
    has_too_many: bool,
    /// What was offered that matches but for case or Unicode form, while nothing matched.
    pub(super) nearly: Option<FileName>,
    /// Whether the user knows that nobody offers anything that matches, and of that.
    is_wait_told: bool,
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
    /// The user, or the program on this connection, wants every file whose name matches one of
    /// these patterns.
    pub(crate) fn want_matching(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        share: &Share,
        patterns: &[NamePattern],
        asked_by: Option<ConnectionId>,
    ) {
        let room = JOBS_MAX.saturating_sub(self.searches.open.len());
        let searches = patterns.iter().take(room).cloned();
        self.searches.open.extend(searches.map(|pattern| Search::new(pattern, asked_by)));
        for (path, source) in peers.catalog.pairs().collect::<Vec<_>>() {
            self.match_path(ctx, peers, share, (path, source));
        }
        if ctx.now >= self.heard_all_at {
            self.tell_nothing_matches(ctx);
        } else {
            ctx.deadlines.arm(PeerWake::Fetch(Wake::HeardAll), self.heard_all_at);
        }
    }

    /// Tells the user, once, for which patterns a first match is waited for.
    pub(super) fn tell_nothing_matches(&mut self, ctx: &mut Context) {
        for search in &mut self.searches.open {
            if search.listening.is_none() && !search.is_wait_told {
                search.is_wait_told = true;
                let (pattern, nearly) = (search.pattern.as_str().to_owned(), search.nearly);
                ctx.report(Report::WaitingForMatch { pattern, nearly });
            }
        }
    }

    /// A name is offered that a pattern may match but for case or Unicode form.
    fn note_nearly_matched(&mut self, ctx: &mut Context, name: FileName) {
        let mut is_news = false;
        for search in &mut self.searches.open {
            let waits = search.listening.is_none() && search.nearly.is_none();
            if waits && search.pattern.nearly_matches(&name) {
                search.nearly = Some(name);
                search.is_wait_told = false;
                is_news = true;
            }
        }
        if is_news && ctx.now >= self.heard_all_at {
            self.tell_nothing_matches(ctx);
        }
    }

    /// Returns the patterns that may bring more names, and for how many other programs each.
    pub(crate) fn open_patterns(&self) -> Vec<(String, usize)> {
        let mut patterns: BTreeMap<&str, usize> = BTreeMap::new();
        for search in &self.searches.open {
            let programs = patterns.entry(search.pattern.as_str()).or_default();
            *programs += usize::from(search.asked_by.is_some());
        }
        patterns.into_iter().map(|(pattern, programs)| (pattern.to_owned(), programs)).collect()
    }

    /// A program that asked has ended.
    pub(crate) fn forget_search_of(&mut self, program: ConnectionId) {
        self.searches.open.retain(|search| search.asked_by != Some(program));
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
        let wants = |search: &Search| search.pattern.matches(&name);
        let becomes_job = is_new && self.searches.open.iter().any(wants);
        let has_room = !becomes_job || self.makes_room(ctx);
        let now = ctx.now;
        let mut matched = Matched::default();
        for search in self.searches.open.iter_mut().filter(|search| search.pattern.matches(&name)) {
            matched.by_any = true;
            let had_too_many = search.has_too_many;
            if search.hear(now, own_interval, name, is_new, has_room) {
                matched.is_wanted |= search.take(ctx, name, is_new);
            }
            if search.has_too_many && !had_too_many && search.asked_by.is_none() {
                let pattern = search.pattern.as_str().to_owned();
                ctx.report(Report::TooManyMatch { pattern });
            }
        }
        if !matched.by_any {
            return self.note_nearly_matched(ctx, name);
        }
        self.searches.note_sharer(now, source, peers.catalog.interval(source));
        ctx.deadlines.arm(PeerWake::Fetch(Wake::Searches), now + own_interval);
        // It was the name itself.
        self.searches.open.retain(|search| {
            let is_found = search.pattern.is(&name);
            if let (true, Some(program)) = (is_found, search.asked_by) {
                ctx.end_search_of_program(program, "");
            }
            !is_found
        });
        if matched.is_wanted {
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
            for name in search.release(now, own_interval) {
                if search.take(ctx, name, true) {
                    released.push(name);
                }
            }
            let next = search.next(now, &pace);
            match next {
                Next::Match => {}
                Next::LookAt(at) => look_at = look_at.into_iter().chain([at]).min(),
                Next::End(why) => match search.asked_by {
                    Some(program) => ctx.end_search_of_program(program, &doubt_of_program(why)),
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

    /// Ends all searches at once: the time is up. Returns those that nothing matched,
    /// and the names that are still held back.
    pub(super) fn cut_searches_short(&mut self) -> (Vec<Search>, Vec<FileName>) {
        let Searches { open, .. } = std::mem::take(&mut self.searches);
        let (heard, unheard): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|search| search.listening.is_some());
        if !heard.is_empty() {
            self.tally.doubt.get_or_insert(Doubt::TimeUp);
        }
        let held = heard.into_iter().flat_map(|search| search.held).collect();
        (unheard, held)
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
    fn new(pattern: NamePattern, asked_by: Option<ConnectionId>) -> Self {
        let (listening, held) = (None, BTreeSet::new());
        let (has_too_many, nearly, is_wait_told) = (false, None, false);
        Self { pattern, listening, held, asked_by, has_too_many, nearly, is_wait_told }
    }

    /// A name that matches is to be fetched. Returns whether it is not yet wanted for this
    /// search: another program that wants it is told what becomes of it.
    fn take(&mut self, ctx: &mut Context, name: FileName, is_new: bool) -> bool {
        let Some(program) = self.asked_by else { return is_new };
        let followed = ctx.follow_for_program(program, name);
        self.has_too_many |= followed == Followed::Full;
        followed == Followed::New
    }

    /// A name that matches was heard. Returns whether it may be fetched at once.
    fn hear(
        &mut self,
        now: Instant,
        own_interval: Duration,
        name: FileName,
        is_new: bool,
        has_room: bool,
    ) -> bool {
        let listening = self.listening.get_or_insert(Listening { since: now, news_at: now });
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
                if now >= since + own_interval * PATTERN_OWN_INTERVALS =>
            {
                std::mem::take(&mut self.held)
            }
            _ => BTreeSet::new(),
        }
    }

    fn next(&self, now: Instant, pace: &Pace) -> Next {
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

/// Returns why a pattern of another program may match more, in words; empty if it does not.
fn doubt_of_program(doubt: Option<Doubt>) -> String {
    match doubt {
        Some(Doubt::TooMany) => {
            format!("not more than {CONTROL_FETCHES_MAX} are fetched; take a narrower pattern")
        }
        Some(doubt) => doubt.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests;
