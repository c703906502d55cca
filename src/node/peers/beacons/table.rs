//! The peers whose beacons were heard: one record for each address, port and instance.
//!
//! Anybody on the network can forge a beacon, so a full table evicts first the record that was
//! heard longest ago and never led to a hello. Records are joined to one peer once hellos have
//! proven that the same instance is there.
//!
//! Invariants: `by_age` holds each record once, by its `heard_at`; at most
//! [`PROVEN_ADDRESSES_MAX`] records of one instance are proven.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;
use std::time::Instant;

use crate::limits::{BEACON_EXPIRY, KNOWN_BEACONS_MAX, PROVEN_ADDRESSES_MAX, TAGS_MAX};
use crate::wire::PeerId;
use crate::wire::v1::{Beacon, BeaconKind, PeerName, Tag};

#[derive(Debug, Default)]
pub(super) struct Table {
    records: BTreeMap<Key, Record>,
    by_age: BTreeSet<(Instant, Key)>,
}

/// The instance, and where it can be dialed.
type Key = (u64, SocketAddrV4);

#[derive(Debug)]
struct Record {
    heard_at: Instant,
    peer: PeerId,
    name: PeerName,
    counter: u64,
    generation: u64,
    files: u32,
    /// The last shown first.
    tags: Vec<Shown>,
    /// Whether a hello proved that the instance is there.
    is_proven: bool,
    /// Whether it is a member of our group: its beacons have a MAC.
    is_member: bool,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    tag: Tag,
    at: Instant,
    /// Whether it is looked for there, and not had.
    is_wanted: bool,
}

/// A peer that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeardPeer {
    pub(crate) instance: u64,
    /// Where it can be dialed, the address heard last first; port 0 cannot be dialed.
    pub(crate) addresses: Vec<SocketAddrV4>,
    pub(crate) peer: PeerId,
    pub(crate) name: PeerName,
    /// Number of the last change of its catalog.
    pub(crate) generation: u64,
    /// Number of files that it shares.
    pub(crate) files: u32,
    /// Whether a hello proved its addresses. They are one otherwise.
    pub(crate) is_proven: bool,
    /// Whether it is a member of our group, so that what is dialed is to be sealed.
    pub(crate) is_member: bool,
}

/// How a beacon was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    New,
    Known,
    /// It is a copy of one heard before, or there is no room for it.
    Dropped,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Takes in a beacon or query; its counter is to grow if it is authentic.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        address: SocketAddrV4,
        beacon: &Beacon,
        is_authentic: bool,
    ) -> Hearing {
        let key = (beacon.instance, address);
        if self.has_member(beacon.instance) {
            // Anybody could have sent it, or sent it again.
            match is_authentic {
                true if self.is_replayed(beacon) => return Hearing::Dropped,
                false => return Hearing::Known,
                true => {}
            }
        }
        let old = self.remove(key);
        let hearing = if old.is_some() { Hearing::Known } else { Hearing::New };
        if old.is_none() && self.records.len() >= KNOWN_BEACONS_MAX && !self.evict() {
            return Hearing::Dropped;
        }
        let is_member = is_authentic;
        let (is_proven, mut tags) = old.map(|it| (it.is_proven, it.tags)).unwrap_or_default();
        let is_wanted = beacon.kind == BeaconKind::Query;
        tags.retain(|shown| {
            // A query says nothing of what is had.
            let is_repeated = shown.is_wanted == is_wanted && beacon.tags.contains(&shown.tag);
            !is_repeated && shown.is_alive(now)
        });
        let shown = beacon.tags.iter().map(|tag| Shown { tag: *tag, at: now, is_wanted });
        tags.splice(0..0, shown);
        tags.truncate(TAGS_MAX);
        let Beacon { peer, name, counter, generation, files, .. } = *beacon;
        let record = Record {
            heard_at: now,
            peer,
            name,
            counter,
            generation,
            files,
            tags,
            is_proven,
            is_member,
        };
        self.by_age.insert((now, key));
        self.records.insert(key, record);
        debug_assert_eq!(self.records.len(), self.by_age.len());
        hearing
    }

    /// The peer there is leaving, unless that was sent before something heard of it.
    pub(super) fn leave(&mut self, address: SocketAddrV4, beacon: &Beacon, is_authentic: bool) {
        let is_void = match is_authentic {
            true => self.is_replayed(beacon),
            false => self.has_member(beacon.instance),
        };
        if !is_void {
            self.remove((beacon.instance, address));
        }
    }

    /// Returns whether an authentic beacon is no newer than one of this instance before.
    fn is_replayed(&self, beacon: &Beacon) -> bool {
        let mut members = self.records_of(beacon.instance).filter(|(_, it)| it.is_member);
        members.any(|(_, it)| beacon.counter <= it.counter)
    }

    fn has_member(&self, instance: u64) -> bool {
        self.records_of(instance).any(|(_, it)| it.is_member)
    }

    /// A hello has proven that this instance is there.
    pub(super) fn prove(&mut self, instance: u64, address: SocketAddrV4) {
        let others: Vec<_> = self.records.keys().filter(|key| key.1 == address).copied().collect();
        for key in others.into_iter().filter(|key| key.0 != instance) {
            // It was restarted, or forged.
            self.remove(key);
        }
        if let Some(record) = self.records.get_mut(&(instance, address)) {
            record.is_proven = true;
        }
        let proven = self.records_of(instance).filter(|(_, it)| it.is_proven);
        let mut proven: Vec<_> = proven.map(|(key, it)| (it.heard_at, *key)).collect();
        proven.retain(|(_, key)| key.1 != address);
        proven.sort_unstable_by(|one, other| other.cmp(one));
        for (_, key) in proven.into_iter().skip(PROVEN_ADDRESSES_MAX - 1) {
            self.remove(key);
        }
    }

    /// Returns whether a hello has proven that a peer is there.
    pub(super) fn is_proven(&self, address: SocketAddrV4) -> bool {
        self.records.iter().any(|(key, it)| key.1 == address && it.is_proven)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(heard_at, key)) = self.by_age.first()
            && !is_alive(heard_at, now)
        {
            self.remove(key);
        }
    }

    /// Returns whether this record has shown the tag, as something that it has or looks for.
    pub(super) fn shows(&self, now: Instant, at: (u64, SocketAddrV4), of: (Tag, bool)) -> bool {
        self.records.get(&at).is_some_and(|record| record.shows(now, of))
    }

    /// Returns the peers that have shown this tag, as something that they have or look for.
    pub(super) fn showing(&self, now: Instant, of: (Tag, bool)) -> Vec<HeardPeer> {
        self.peers(now, |record| record.shows(now, of))
    }

    /// Returns the peers that share files.
    pub(super) fn with_files(&self, now: Instant) -> Vec<HeardPeer> {
        self.peers(now, |record| record.files > 0)
    }

    /// Returns where the peers are that were heard.
    pub(super) fn addresses(&self, now: Instant) -> impl Iterator<Item = SocketAddrV4> {
        let alive = self.records.iter().filter(move |(_, it)| is_alive(it.heard_at, now));
        alive.map(|(key, _)| key.1)
    }

    /// Returns the peers of which a record is such, with all addresses of those that are proven.
    fn peers(&self, now: Instant, is_such: impl Fn(&Record) -> bool) -> Vec<HeardPeer> {
        let is_such = |it: &Record| is_alive(it.heard_at, now) && is_such(it);
        let mut peers: Vec<HeardPeer> = Vec::new();
        for ((instance, address), record) in self.records.iter().filter(|(_, it)| is_such(it)) {
            if !record.is_proven {
                peers.push(record.peer_at(*instance, vec![*address]));
                continue;
            }
            let mut same = peers.iter().rev().take_while(|it| it.instance == *instance);
            if !same.any(|it| it.is_proven) {
                let proven = self.records_of(*instance).filter(|(_, it)| it.is_proven);
                let alive = proven.filter(|(_, it)| is_alive(it.heard_at, now));
                peers.extend(joined(*instance, alive.collect()));
            }
        }
        peers
    }

    fn records_of(&self, instance: u64) -> impl Iterator<Item = (&Key, &Record)> {
        let first = SocketAddrV4::new(0.into(), 0);
        let last = SocketAddrV4::new(u32::MAX.into(), u16::MAX);
        self.records.range((instance, first)..=(instance, last))
    }

    fn remove(&mut self, key: Key) -> Option<Record> {
        let record = self.records.remove(&key)?;
        self.by_age.remove(&(record.heard_at, key));
        Some(record)
    }

    /// Makes room. Returns whether there is some.
    fn evict(&mut self) -> bool {
        let is_proven = |key: &Key| self.records.get(key).is_some_and(|it| it.is_proven);
        let oldest = self.by_age.iter().find(|(_, key)| !is_proven(key));
        let oldest = oldest.map(|(_, key)| *key);
        oldest.and_then(|key| self.remove(key)).is_some()
    }
}

/// Returns one peer of its proven records.
fn joined(instance: u64, mut records: Vec<(&Key, &Record)>) -> Option<HeardPeer> {
    records.sort_by_key(|(_, it)| std::cmp::Reverse(it.heard_at));
    let addresses = records.iter().map(|(key, _)| key.1).collect();
    records.first().map(|(_, latest)| latest.peer_at(instance, addresses))
}

fn is_alive(heard_at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(heard_at) < BEACON_EXPIRY
}

impl Shown {
    fn is_alive(&self, now: Instant) -> bool {
        is_alive(self.at, now)
    }
}

impl Record {
    fn shows(&self, now: Instant, (tag, is_wanted): (Tag, bool)) -> bool {
        let is_it = |it: &Shown| it.tag == tag && it.is_wanted == is_wanted;
        self.tags.iter().any(|shown| is_it(shown) && shown.is_alive(now))
    }

    fn peer_at(&self, instance: u64, addresses: Vec<SocketAddrV4>) -> HeardPeer {
        let Self { peer, name, generation, files, is_proven, is_member, .. } = *self;
        HeardPeer { instance, addresses, peer, name, generation, files, is_proven, is_member }
    }
}
