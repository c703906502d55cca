//! Beacons: the peers of version 1 that are there, what we look for, and what we tell others.
//!
//! Owns the table of peers heard, the searches, the answers to the queries of others, and how
//! much is sent: on each interface at most one datagram a second and ten answers, whatever is
//! heard or changes. Does not know what a tag stands for.
//!
//! Nothing is sent to the address of anybody: each datagram goes to all on the network. What
//! is heard leads to a record, and to a dial if something is looked for.
//!
//! Without [`BeaconSettings`](crate::node::BeaconSettings) nothing is sent and nothing heard.

mod answers;
mod bucket;
mod dials;
#[cfg(test)]
mod group_tests;
mod searches;
mod table;
mod tags;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use self::answers::{Answers, From};
use self::bucket::Bucket;
use self::dials::Dials;
use self::searches::Searches;
pub(crate) use self::table::HeardPeer;
use self::table::{Hearing, Table};
use self::tags::Tags;
use crate::limits::{BEACON_BURST, BEACON_INTERVAL, BEACON_PAUSE};
use crate::node::interfaces::Interface;
use crate::node::peer::{Context, Wake};
use crate::node::{Action, Report};
use crate::wire::Malformed;
use crate::wire::v1::{Beacon, BeaconKey, BeaconKind, Tag};

#[derive(Debug)]
pub(crate) struct Beacons {
    table: Table,
    dials: Dials,
    searches: Searches,
    answers: Answers,
    ours: Tags,
    /// Number of files that we share, and of the last change among them.
    files: u32,
    generation: u64,
    /// That of the last datagram.
    counter: u64,
    bucket: Bucket,
    /// When the next datagram is to be sent, unless a search is in a hurry.
    next_at: Instant,
    /// Whether a peer was heard that has a secret which we have not.
    has_heard_others: bool,
}

/// What a datagram has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) instance: u64,
    /// Where the peer can be dialed; port 0 cannot be dialed.
    pub(crate) address: SocketAddrV4,
    /// Whether this instance was not known to be there.
    pub(crate) is_new: bool,
    /// What we look for and the peer has not shown before.
    pub(crate) tags: Vec<Tag>,
    /// Whether the peer looks for these itself, and has not said that it has them.
    pub(crate) is_query: bool,
}

impl Beacons {
    /// Knows nobody, and sends the first datagram at once.
    pub(super) fn new(ctx: &mut Context) -> Self {
        let now = ctx.now;
        let beacons = Self {
            table: Table::default(),
            dials: Dials::default(),
            searches: Searches::default(),
            answers: Answers::default(),
            ours: Tags::default(),
            files: 0,
            generation: 0,
            counter: 0,
            bucket: Bucket::new(now, BEACON_PAUSE, BEACON_BURST),
            next_at: now,
            has_heard_others: false,
        };
        beacons.arm(ctx);
        beacons
    }

    /// We share so many files, and the catalog has changed so many times.
    pub(crate) fn set_shown(&mut self, files: u32, generation: u64) {
        (self.files, self.generation) = (files, generation);
    }

    /// One more thing has this tag that we have, whole or in part, or are fetching.
    pub(crate) fn show(&mut self, tag: Tag) {
        self.ours.add(tag);
    }

    /// One thing less has this tag.
    pub(crate) fn hide(&mut self, tag: Tag) {
        self.ours.remove(tag);
    }

    /// Looks for this, until [`Self::stop_looking`] was called as often.
    pub(crate) fn look_for(&mut self, ctx: &mut Context, tag: Tag) {
        self.searches.add(Some(tag));
        self.arm(ctx);
    }

    /// Looks for anybody, until [`Self::stop_looking_around`] was called as often.
    pub(crate) fn look_around(&mut self, ctx: &mut Context) {
        self.searches.add(None);
        self.arm(ctx);
    }

    pub(crate) fn stop_looking_around(&mut self) {
        self.searches.remove(None);
    }

    pub(crate) fn stop_looking(&mut self, tag: Tag) {
        self.searches.remove(Some(tag));
    }

    /// Returns the peers that have shown that they have this.
    pub(crate) fn sources_of(&self, now: Instant, tag: Tag) -> Vec<HeardPeer> {
        self.table.showing(now, (tag, false))
    }

    /// Returns the peers that look for this.
    pub(crate) fn seekers_of(&self, now: Instant, tag: Tag) -> Vec<HeardPeer> {
        self.table.showing(now, (tag, true))
    }

    /// Returns the peers that share files.
    pub(crate) fn sharers(&self, now: Instant) -> Vec<HeardPeer> {
        self.table.with_files(now)
    }

    /// Returns whether peers were heard that have a secret which we have not.
    pub(crate) fn has_heard_others(&self) -> bool {
        self.has_heard_others
    }

    /// Returns where the peers are that were heard.
    pub(crate) fn addresses(&self, now: Instant) -> impl Iterator<Item = SocketAddrV4> {
        self.table.addresses(now)
    }

    /// Returns the number of records.
    pub(crate) fn known(&self) -> usize {
        self.table.len()
    }

    /// Returns whether a heard peer may be dialed at this address. If so the dial counts as
    /// under way, until [`Self::note_dial_failed`] or [`Self::note_hello`].
    pub(crate) fn begin_dial(&mut self, now: Instant, address: SocketAddrV4) -> bool {
        let is_proven = self.table.is_proven(address);
        self.dials.begin(now, address, is_proven)
    }

    /// The dial was in vain, or ended without a hello.
    pub(crate) fn note_dial_failed(&mut self, now: Instant, address: SocketAddrV4) {
        self.dials.end(now, address, true);
    }

    /// A hello came from a peer that was dialed there.
    pub(crate) fn note_hello(&mut self, now: Instant, address: SocketAddrV4, instance: u64) {
        self.dials.end(now, address, false);
        self.table.prove(instance, address);
    }

    /// Takes in a datagram. Returns what it told, if that is of another peer on a network of
    /// ours.
    pub(crate) fn on_datagram(
        &mut self,
        ctx: &mut Context,
        from: SocketAddrV4,
        bytes: &[u8],
    ) -> Option<Heard> {
        let settings = ctx.settings.beacons.as_ref()?;
        let (beacon, is_authentic) = match settings.heard(bytes) {
            Ok(heard) => heard,
            // Those of another group, and of a later version, are no fault.
            Err(Malformed::Mac) => {
                self.has_heard_others |= Beacon::has_mac(bytes);
                return None;
            }
            Err(Malformed::UnknownType { .. }) => return None,
            Err(malformed) => {
                ctx.report(Report::DatagramDropped { from, malformed });
                return None;
            }
        };
        if beacon.instance == ctx.settings.instance || !is_near(ctx, *from.ip()) {
            return None;
        }
        self.expire(ctx.now);
        let address = SocketAddrV4::new(*from.ip(), beacon.port);
        if beacon.kind == BeaconKind::Leaving {
            self.table.leave(address, &beacon, is_authentic);
            return None;
        }
        let heard = self.hear(ctx.now, address, &beacon, is_authentic)?;
        if let Some(on) = sending_to(ctx, *from.ip()) {
            let on = (on, is_authentic);
            let Context { now, rng, .. } = ctx;
            let known = self.table.len();
            match beacon.kind {
                BeaconKind::Query => {
                    self.answers.on_query((*now, rng), on, (&beacon.tags, &self.ours), known);
                }
                _ => self.answers.on_shown(on, beacon.instance, &beacon.tags),
            }
            self.arm(ctx);
        }
        Some(heard)
    }

    fn hear(
        &mut self,
        now: Instant,
        address: SocketAddrV4,
        beacon: &Beacon,
        is_authentic: bool,
    ) -> Option<Heard> {
        let (instance, is_query) = (beacon.instance, beacon.kind == BeaconKind::Query);
        let is_news = |tag: &Tag| {
            let was_shown = self.table.shows(now, (instance, address), (*tag, is_query));
            self.searches.contains(*tag) && !was_shown
        };
        let tags: Vec<_> = beacon.tags.iter().copied().filter(is_news).collect();
        let is_new = match self.table.hear(now, address, beacon, is_authentic) {
            Hearing::New => true,
            Hearing::Known => false,
            Hearing::Dropped => return None,
        };
        if !is_query {
            tags.iter().for_each(|tag| self.searches.note_found(Some(*tag)));
            if beacon.files > 0 {
                self.searches.note_found(None);
            }
        }
        Some(Heard { instance, address, is_new, tags, is_query })
    }

    /// Our addresses have changed; `has_gained` if there is a new one.
    pub(crate) fn on_interfaces(&mut self, ctx: &mut Context, has_gained: bool) {
        self.answers.keep_only(&sending(ctx));
        if has_gained {
            self.next_at = ctx.now;
            self.arm(ctx);
        }
    }

    /// Sends what is due, and forgets what was not repeated in time.
    pub(crate) fn on_wake(&mut self, ctx: &mut Context) {
        self.expire(ctx.now);
        for (on, is_sealed) in self.answers.due(ctx.now) {
            self.send(ctx, BeaconKind::Beacon, &[on], |key| key.is_some() == is_sealed);
        }
        if self.due_at(ctx.now) <= ctx.now && self.bucket.take(ctx.now) {
            let is_looking = !self.searches.is_empty();
            let kind = if is_looking { BeaconKind::Query } else { BeaconKind::Beacon };
            self.send(ctx, kind, &sending(ctx), |_| true);
            self.next_at = ctx.now + BEACON_INTERVAL.mul_f64(0.8 + 0.4 * ctx.rng.f64());
        }
        self.arm(ctx);
    }

    /// Says good-bye, if somebody may know us.
    pub(crate) fn leave(&mut self, ctx: &mut Context) {
        if self.counter > 0 && self.bucket.take(ctx.now) {
            self.send(ctx, BeaconKind::Leaving, &sending(ctx), |_| true);
        }
    }

    fn expire(&mut self, now: Instant) {
        self.table.expire(now);
        self.dials.expire(now);
    }

    /// Returns when the next datagram that is no answer is to be sent.
    fn due_at(&self, now: Instant) -> Instant {
        let hurried_at = self.searches.hurried_at(now).unwrap_or(self.next_at);
        self.next_at.min(hurried_at).max(self.bucket.ready_at())
    }

    fn arm(&self, ctx: &mut Context) {
        if ctx.settings.beacons.is_some() {
            let due_at = self.due_at(ctx.now);
            let next_at = self.answers.next_at().map_or(due_at, |at| at.min(due_at));
            ctx.deadlines.arm(Wake::Beacons, next_at);
        }
    }

    /// Sends a datagram on each of these interfaces, of each kind that is such: with the key of its
    /// MAC, or with none.
    fn send(
        &mut self,
        ctx: &mut Context,
        kind: BeaconKind,
        interfaces: &[From],
        is_such: impl Fn(Option<&BeaconKey>) -> bool,
    ) {
        let Some(settings) = ctx.settings.beacons.clone() else { return };
        let is_member = !settings.keys.is_empty();
        let tags = match kind {
            BeaconKind::Beacon => self.answers.tags(ctx.now, &self.ours),
            BeaconKind::Query => self.searches.next_tags(ctx.now),
            BeaconKind::Leaving => Vec::new(),
        };
        let mut beacon = Beacon {
            kind,
            port: ctx.settings.port,
            peer: ctx.settings.id_on_sessions(),
            instance: ctx.settings.instance,
            counter: 0,
            generation: self.generation,
            files: self.files,
            name: ctx.settings.name,
            tags,
        };
        for &from in interfaces {
            for key in settings.sent_with().filter(|key| is_such(*key)) {
                self.counter += 1;
                beacon.counter = self.counter;
                let is_foreign = is_member && key.is_none() && kind == BeaconKind::Query;
                let datagram = match is_foreign {
                    // Others do not know our tags: each of them is to answer.
                    true => Beacon { tags: Vec::new(), ..beacon.clone() }.encode(key),
                    false => beacon.encode(key),
                };
                ctx.act(Action::SendBeacon { from, datagram: datagram.into() });
                if kind == BeaconKind::Beacon {
                    self.answers.on_sent((from, key.is_some()));
                }
            }
        }
    }
}

/// Returns whether the address is on a network of ours. On the loopback are programs of this
/// machine alone.
fn is_near(ctx: &Context, address: Ipv4Addr) -> bool {
    let Some(interfaces) = &ctx.interfaces else { return true };
    address.is_loopback() || interfaces.iter().any(|it| it.subnet.contains(address))
}

/// Returns the interfaces on which datagrams are sent.
fn sending(ctx: &Context) -> Vec<From> {
    match &ctx.interfaces {
        None => vec![None],
        Some(interfaces) => apart(interfaces).map(|it| Some(it.address)).collect(),
    }
}

/// Returns the interface on which the peer with this address hears us.
fn sending_to(ctx: &Context, address: Ipv4Addr) -> Option<From> {
    match &ctx.interfaces {
        None => Some(None),
        Some(interfaces) => {
            let mut towards = apart(interfaces).filter(|it| it.subnet.contains(address));
            towards.next().map(|it| Some(it.address))
        }
    }
}

/// Returns the interfaces that are up, each network of one once.
fn apart(interfaces: &[Interface]) -> impl Iterator<Item = &Interface> {
    let up = interfaces.iter().enumerate().filter(|(_, it)| it.is_up);
    let is_first = |(at, it): &(usize, &Interface)| {
        let is_same = |other: &&Interface| {
            other.is_up && other.name == it.name && other.broadcast == it.broadcast
        };
        it.broadcast.is_none() || !interfaces.iter().take(*at).any(|other| is_same(&other))
    };
    up.filter(is_first).map(|(_, it)| it)
}
