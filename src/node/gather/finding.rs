//! Which peers are dialed, what is asked of them, and what they list (F19).
//!
//! The addresses that the user gave are dialed at once, then the peers that show a tag of a
//! wish. If nobody has listed it after [`FIND_BY_TAG_TIME`], all others that share files are, in
//! random order.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::job::{Job, State};
use super::report::WishReport;
use super::settling::tell;
use super::sources::{self, ListKind, Origin, Progress, Source};
use super::{Gather, Others, Restriction};
use crate::content::Content;
use crate::limits::{
    ASKED_PEERS_MAX, FAILED_DIAL_PAUSE, FIND_BY_TAG_TIME, GIVEN_PEER_PAUSE, HINT_ENTRIES_MAX,
    HINT_NAMES_MAX, IDLE_SOURCE_TIME, SWARM_DIALS_MAX, VERSION_0_AFTER, VISITED_MAX,
};
use crate::node::peer::{Connection, Context, SessionConnection};
use crate::node::peers::{HeardPeer, Peers};
use crate::node::{Action, ConnectionId};
use crate::proto::CloseReason;
use crate::proto::v1::{Page, Request};
use crate::wire::FilePath;
use crate::wire::PeerId;
use crate::wire::v1::{Entry, EntryState, PeerName, SessionError};

/// A peer that the user named by its address.
#[derive(Debug)]
pub(super) struct Given {
    address: SocketAddrV4,
    connection: Option<ConnectionId>,
    dial_at: Instant,
    /// Whether it was dialed without a seal last: a program that has a secret and is open, too,
    /// tries both.
    was_open: bool,
    /// Whether the user knows that it did not answer.
    is_told: bool,
}

impl Given {
    pub(super) fn new(now: Instant, address: SocketAddrV4) -> Self {
        Self { address, connection: None, dial_at: now, was_open: true, is_told: false }
    }

    /// Returns whether its answer may still come.
    pub(super) fn is_awaited(&self, now: Instant) -> bool {
        self.connection.is_some() || self.dial_at <= now
    }
}

impl Gather {
    /// Dials the peers that may have what is wanted, as far as there is room.
    pub(super) fn find(&mut self, ctx: &mut Context, peers: &mut Peers) {
        self.redial_at.take_if(|at| *at <= ctx.now);
        for at in 0..self.given.len() {
            let Some(given) = self.given.get(at) else { continue };
            if given.connection.is_none() && given.dial_at <= ctx.now {
                let group = ctx.settings.group.as_ref();
                let is_sealed = group.is_some_and(|group| !group.also_open || given.was_open);
                let connection = self.dial(ctx, (given.address, is_sealed), Origin::Given);
                if let Some(given) = self.given.get_mut(at) {
                    (given.connection, given.was_open) = (connection, !is_sealed);
                    given.dial_at = ctx.now + GIVEN_PEER_PAUSE;
                }
            }
        }
        // With whether each shows a tag of a wish.
        let mut found: Vec<(HeardPeer, bool)> = Vec::new();
        for job in self.wishes.values().filter(|job| !job.is_ended()) {
            let is_seeking = matches!(job.state, State::Seeking | State::HandedOver);
            match job.tag {
                Some(tag) => {
                    // Who only fetches lists nothing, and so can begin no job but one by an id.
                    let is_by_id = job.wish.whole_id().is_some();
                    let showing = peers.beacons.sources_of(ctx.now, tag).into_iter();
                    let showing = showing.filter(|peer| peer.files > 0 || is_by_id);
                    found.extend(showing.map(|peer| (peer, true)));
                }
                None if is_seeking => {}
                None => continue,
            }
            let is_by_tag = job.tag.is_some() && ctx.now < job.began + FIND_BY_TAG_TIME;
            if is_seeking && !is_by_tag {
                let mut sharers = peers.beacons.sharers(ctx.now);
                ctx.rng.shuffle(&mut sharers);
                found.extend(sharers.into_iter().map(|peer| (peer, false)));
                break;
            }
        }
        for (peer, is_by_tag) in found {
            if self.visited.get(&peer.instance) != Some(&peer.generation) {
                self.dial_heard(ctx, peers, &peer, is_by_tag);
            }
        }
        self.dial_beyond(ctx);
        self.ask_all(ctx);
    }

    /// Dials peers that look for what is fetched here, at random (F9): they may hold some of it.
    pub(super) fn find_seekers(&mut self, ctx: &mut Context, peers: &mut Peers) {
        if !ctx.gives() || self.sources.len() >= SWARM_DIALS_MAX {
            return;
        }
        let fetching = self.wishes.values().filter(|job| job.state == State::Fetching);
        let tags: Vec<_> = fetching.filter_map(|job| job.tag).collect();
        for tag in tags {
            let mut seekers = peers.beacons.seekers_of(ctx.now, tag);
            seekers.extend(peers.beacons.sources_of(ctx.now, tag));
            ctx.rng.shuffle(&mut seekers);
            for peer in seekers {
                if self.sources.len() < SWARM_DIALS_MAX {
                    self.dial_heard(ctx, peers, &peer, true);
                }
            }
        }
    }

    fn dial_heard(
        &mut self,
        ctx: &mut Context,
        peers: &mut Peers,
        peer: &HeardPeer,
        is_by_tag: bool,
    ) {
        let is_known = self.sources.values().any(|source| {
            source.instance == Some(peer.instance) || peer.addresses.contains(&source.address)
        });
        if is_known || self.sources.len() >= ASKED_PEERS_MAX {
            return;
        }
        for &address in peer.addresses.iter().filter(|address| address.port() != 0) {
            if is_allowed(ctx, address, (peer.peer, peer.name))
                && peers.beacons.begin_dial(ctx.now, address)
            {
                let id = self.dial(ctx, (address, peer.is_member), Origin::Heard);
                let source = id.and_then(|id| self.sources.get_mut(&id));
                source.into_iter().for_each(|source| source.is_seeker = is_by_tag);
                return;
            }
        }
    }

    pub(super) fn dial(
        &mut self,
        ctx: &mut Context,
        (to, is_sealed): (SocketAddrV4, bool),
        origin: Origin,
    ) -> Option<ConnectionId> {
        let session = Box::new(SessionConnection::new(ctx, (to, is_sealed), true));
        let id = ctx.connections.dial(Connection::Session(session))?;
        self.sources.insert(id, Source::new(ctx.now, to, origin));
        ctx.act(Action::Dial { connection: id, to });
        ctx.pump(id);
        Some(id)
    }

    /// Returns when somebody is to be dialed, or a source is left.
    pub(super) fn finding_due_at(&self, ctx: &Context) -> Option<Instant> {
        let given = self.given.iter().filter(|given| given.connection.is_none());
        let is_settled = !self.wishes.values().any(|job| job.is_sought());
        let idle = self.idle_due_at(ctx).filter(|_| is_settled);
        let redial = self.redial_at.filter(|_| !is_settled);
        given.map(|given| given.dial_at).chain(idle).chain(redial).min()
    }

    /// Returns when a source is left.
    pub(super) fn idle_due_at(&self, ctx: &Context) -> Option<Instant> {
        let idle = self.sources.values().filter(|source| source.is_open() && !source.is_useful);
        let left_at = idle.map(|source| source.idle_since + IDLE_SOURCE_TIME);
        left_at.filter(|at| *at > ctx.now).min()
    }

    /// The other side of a session has said who it is.
    pub(crate) fn on_hello(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        id: ConnectionId,
    ) {
        let Some(connection) = ctx.session_on(id) else { return };
        let (address, is_ours) = (connection.address, connection.is_ours);
        let Some(them) = connection.them else { return };
        others.peers.has_answered = true;
        if is_ours {
            others.peers.beacons.note_hello(ctx.now, address, them.instance);
        }
        let known = self.sources.iter().find(|(_, it)| it.instance == Some(them.instance));
        let known = known.map(|(id, _)| *id);
        let is_allowed = is_allowed(ctx, address, (them.peer, them.name));
        let is_myself = them.instance == ctx.settings.instance;
        if known.is_some() || is_myself || !is_allowed {
            // Of two peers that dialed one another, one keeps its session.
            let is_theirs =
                known.is_some_and(|id| !ctx.session_on(id).is_some_and(|it| it.is_ours));
            let is_kept = is_theirs && ctx.settings.instance < them.instance;
            if is_ours && !is_kept {
                self.to_close.push(id);
            }
            let dialed = self.sources.get(&id).map(|source| source.origin);
            if dialed == Some(Origin::Registry) {
                self.note_visit(ctx, address, true);
            }
            return;
        }
        let now = ctx.now;
        let new = || Source::new(now, address, Origin::Heard);
        let source = self.sources.entry(id).or_insert_with(new);
        source.is_seeker |= !is_ours;
        (source.instance, source.idle_since) = (Some(them.instance), now);
        self.look(ctx, others);
    }

    /// Asks each session for what is wanted, unless it is asked already.
    pub(super) fn ask_all(&mut self, ctx: &mut Context) {
        let is_unheard_of =
            |job: &Job| job.state == State::Seeking && ctx.now >= job.began + VERSION_0_AFTER;
        let only_looks = ctx.settings.gather.only_looks;
        let wants_names = !only_looks && self.wishes.values().any(is_unheard_of);
        let is_fetching = self.wishes.values().any(|job| job.state == State::Fetching);
        let now = ctx.now;
        for (&id, source) in self.sources.iter_mut().filter(|(_, source)| source.is_open()) {
            source.cancel_others(ctx, id, &self.scopes);
            for scope in &self.scopes {
                source.ask(ctx, id, scope.as_ref(), ListKind::Shared);
            }
            // Others that fetch the same may have some of it by now.
            let fetching = self.wishes.values().filter(|job| job.state == State::Fetching);
            source.is_useful |= source.is_seeker && is_fetching;
            for job in fetching.filter(|job| job.wish.whole_id().is_none()) {
                source.ask(ctx, id, job.wish.root(), ListKind::Fetched);
            }
            for (&wish, job) in &self.wishes {
                if let (false, Some(content)) = (job.is_ended(), job.wish.whole_id())
                    && !source.was_asked_for.contains(&wish)
                    && let Some(connection) = ctx.session_on(id)
                {
                    let req = connection.session.request(now, &Request::Blocks(content));
                    req.into_iter().for_each(|req| _ = source.held.insert(req, wish));
                    source.was_asked_for.push(wish);
                }
                for root in job.hashed_first(id) {
                    source.ask(ctx, id, root, ListKind::HashFirst);
                }
            }
            if wants_names {
                source.ask(ctx, id, None, ListKind::Names);
            }
            ctx.pump(id);
        }
    }

    pub(super) fn on_page(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (id, req): (ConnectionId, u32),
        page: Page,
        entries: &[Entry],
    ) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let Some(list) = source.lists.get_mut(&req) else { return };
        let (kind, root) = (list.kind, list.root.clone());
        let progress = match page.complete || page.all_listed {
            true => Progress::Whole,
            false => Progress::Begun,
        };
        list.progress = list.progress.max(progress);
        list.entries += entries.len();
        let is_over = match kind {
            ListKind::Shared | ListKind::Fetched => false,
            ListKind::HashFirst => page.complete,
            ListKind::Names => page.complete || list.entries > HINT_ENTRIES_MAX,
        };
        if is_over {
            source.lists.remove(&req);
            if !page.complete {
                sources::cancel(ctx, id, req);
            }
        }
        if page.discard && kind == ListKind::Shared {
            self.listings.discard(id, root.as_ref());
        }
        for entry in entries {
            self.on_entry(ctx, others, (id, kind), entry);
        }
        // Most pages of a large catalog are followed by another.
        if page.complete || page.all_listed || kind == ListKind::HashFirst {
            self.look(ctx, others);
        }
    }

    fn on_entry(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (id, kind): (ConnectionId, ListKind),
        entry: &Entry,
    ) {
        let is_there = entry.state != EntryState::Removed;
        if is_there && kind != ListKind::Fetched && self.names.len() < HINT_NAMES_MAX {
            let below = entry.path.components().nth(1).map_or("", |_| "/");
            let name = entry.path.components().next().unwrap_or_default();
            self.names.insert(format!("{name}{below}"));
        }
        if kind == ListKind::Names {
            return;
        }
        if kind != ListKind::Fetched {
            if self.wishes.values().any(|job| job.is_sought()) && self.index.has(entry) {
                self.listings.note(id, entry.clone());
            }
            self.on_hashed_entry(ctx, id, entry);
        }
        if let EntryState::File { content, .. } = entry.state {
            self.add_source(ctx, others.contents, &content, id);
        }
        if kind != ListKind::Fetched
            && self.files.note_listed(entry, id)
            && let Some(path) = ctx.paths.find(entry.path.as_str())
        {
            self.replace(ctx, others, path);
        }
    }

    /// A source tells the size of a content of which the id is wanted.
    pub(super) fn on_size(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (id, req): (ConnectionId, u32),
        size_bytes: u64,
    ) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let Some(wish) = source.held.remove(&req) else { return };
        sources::cancel(ctx, id, req);
        if let Some(job) = self.wishes.get_mut(&wish)
            && let Some(content) = job.wish.whole_id()
        {
            let content = Content { id: content, size_bytes };
            job.sizes.entry(content).or_default().push(id);
            // It is asked again if other sizes turn out to be wrong.
            source.is_useful = true;
            self.add_source(ctx, others.contents, &content, id);
            self.replace_size(ctx, others, wish);
        }
        self.look(ctx, others);
    }

    pub(super) fn on_failed(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (id, req): (ConnectionId, u32),
        error: SessionError,
    ) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        let was_held = source.held.remove(&req).is_some();
        if source.lists.remove(&req).is_some() || was_held {
            // It is asked again once something changes, unless it does not understand.
            source.is_refusing |= error != SessionError::Busy && !was_held;
            self.look(ctx, others);
        }
    }

    /// A session, which has left the table, is over.
    pub(crate) fn on_lost(
        &mut self,
        ctx: &mut Context,
        others: &mut Others<'_>,
        (id, connection): (ConnectionId, &SessionConnection),
        reason: CloseReason,
    ) {
        let origin = self.sources.get(&id).map(|source| source.origin);
        if connection.is_ours && connection.them.is_none() && origin != Some(Origin::Registry) {
            others.peers.beacons.note_dial_failed(ctx.now, connection.address);
            self.redial_at.get_or_insert(ctx.now + FAILED_DIAL_PAUSE);
        }
        let Some(source) = self.sources.remove(&id) else { return };
        self.on_beyond_lost(ctx, &source);
        self.listings.discard(id, None);
        self.files.forget_source(id);
        for job in self.wishes.values_mut() {
            job.sizes.values_mut().for_each(|sources| sources.retain(|source| *source != id));
            job.sizes.retain(|_, sources| !sources.is_empty());
        }
        self.forget_unhashed_at(ctx, id);
        for given in self.given.iter_mut().filter(|given| given.connection == Some(id)) {
            given.connection = None;
            given.dial_at = ctx.now + GIVEN_PEER_PAUSE;
            if connection.them.is_none() && !given.is_told {
                given.is_told = true;
                let address = given.address;
                tell(ctx, WishReport::PeerSilent { address, reason });
            }
        }
        self.look(ctx, others);
    }

    /// Closes the sessions that are of no use: once it is known which files are wanted.
    pub(super) fn leave_idle_sources(&mut self, ctx: &mut Context, peers: &Peers) {
        if self.wishes.values().any(|job| job.is_sought() || !job.unhashed.is_empty()) {
            return;
        }
        let now = ctx.now;
        let is_idle = |source: &Source| {
            source.is_open()
                && !source.is_useful
                && source.lists.values().all(|list| list.progress == Progress::Whole)
                && now >= source.idle_since + IDLE_SOURCE_TIME
        };
        let idle = self.sources.iter().filter(|(_, source)| is_idle(source));
        for id in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(source) = self.sources.remove(&id) else { continue };
            if source.origin == Origin::Registry {
                self.note_visit(ctx, source.address, true);
            }
            if let Some(instance) = source.instance
                && self.visited.len() < VISITED_MAX
            {
                let heard = peers.beacons.sharers(now);
                let heard = heard.iter().find(|peer| peer.instance == instance);
                self.visited.insert(instance, heard.map_or(0, |peer| peer.generation));
            }
            if ctx.session_on(id).is_some_and(|connection| connection.is_ours) {
                self.to_close.push(id);
            }
        }
    }

    /// Returns whether a peer that was found is still reading its list to us for this wish, or
    /// one that the user named has not answered.
    pub(super) fn is_being_listed(&self, now: Instant, root: Option<&FilePath>) -> bool {
        self.sources.values().any(|source| match source.progress_of(root) {
            Some(Progress::Begun) => true,
            Some(Progress::Asked) | None => source.origin == Origin::Given && !source.is_refusing,
            Some(Progress::Whole) => false,
        }) || self.given.iter().any(|given| given.connection.is_none() && given.is_awaited(now))
    }

    /// Returns whether each peer that the user named has listed all for this wish, if any is.
    pub(super) fn is_listed_by_given(&self, now: Instant, root: Option<&FilePath>) -> bool {
        !self.given.is_empty() && !self.is_being_listed(now, root)
    }
}

/// Returns whether the user allows this peer as a source.
fn is_allowed(ctx: &Context, address: SocketAddrV4, (peer, name): (PeerId, PeerName)) -> bool {
    let from = &ctx.settings.gather.from;
    from.is_empty() || from.iter().any(|only| only.is(peer, address, name))
}

/// The same of a peer that the registry lists: only it knows its name.
pub(super) fn is_allowed_unnamed(ctx: &Context, address: SocketAddrV4, peer: PeerId) -> bool {
    let from = &ctx.settings.gather.from;
    let is_it = |only: &Restriction| match only {
        Restriction::Id(id) => *id == peer,
        only => only.may_be_at(address),
    };
    from.is_empty() || from.iter().any(is_it)
}

/// Returns how long a job waits for other answers after its query.
pub(super) fn window(peers: &Peers) -> Duration {
    use crate::limits::{ANSWER_WINDOW_MAX, ANSWER_WINDOW_MIN, ANSWER_WINDOW_PER_PEER};
    let known = peers.beacons.known() + peers.listing.len();
    let known = u32::try_from(known).unwrap_or(u32::MAX);
    ANSWER_WINDOW_PER_PEER.saturating_mul(known).clamp(ANSWER_WINDOW_MIN, ANSWER_WINDOW_MAX)
}
