//! The table of a node's connections, with ids that are never valid twice, and when each
//! wants to be woken.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use slab::Slab;

use super::deadlines::Deadlines;
use crate::limits::Limits;

/// A connection of a node. Its slot is used again after it is closed, with
/// another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId {
    slot: u32,
    generation: u32,
}

impl ConnectionId {
    pub(crate) const MIN: Self = Self { slot: 0, generation: 0 };
    pub(crate) const MAX: Self = Self { slot: u32::MAX, generation: u32::MAX };

    /// Its place in a table; unique among the connections that are open.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// Slot and generation in one number, for the poll.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// Returns the id that [`ConnectionId::to_bits`] came from.
    pub fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

// The poll's token holds both halves of an id.
const _: () = assert!(usize::BITS >= 64);

/// The connections of a node, each with its machine. Invariant: only open ones have deadlines.
#[derive(Debug)]
pub(super) struct Connections<M> {
    slots: Slab<Entry<M>>,
    connections_max: usize,
    connections_per_address_max: usize,
    reserved_for_dialing: usize,
    next_generation: u32,
    accepted_from: BTreeMap<Ipv4Addr, usize>,
    /// Connections that the bounds do not count.
    uncounted: usize,
    /// The least slot of its ids: those below are of another table.
    first_slot: u32,
    deadlines: Deadlines<ConnectionId>,
}

#[derive(Debug)]
struct Entry<M> {
    generation: u32,
    counted: Counted,
    machine: M,
}

/// The bounds that count a connection.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// That of an address, and that of all.
    From(Ipv4Addr),
    /// That of all.
    Dialed,
    /// None here: the node has a bound of its own.
    Not,
}

impl<M> Connections<M> {
    /// An empty table, bounded by `limits`; connections that come in do not take the
    /// last `reserved_for_dialing` places.
    pub(super) fn new(limits: &Limits, reserved_for_dialing: usize) -> Self {
        Self {
            slots: Slab::new(),
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
            reserved_for_dialing,
            next_generation: 0,
            accepted_from: BTreeMap::new(),
            uncounted: 0,
            first_slot: 0,
            deadlines: Deadlines::new(),
        }
    }

    /// The same, with ids that are none of another table which is bounded by these limits.
    pub(super) fn beside(self, other: &Limits) -> Self {
        Self { first_slot: u32::try_from(other.connections_max).unwrap_or(u32::MAX / 2), ..self }
    }

    /// Enters a connection that came in; `None` if there are too many of them.
    pub(super) fn accept(&mut self, from: SocketAddrV4, machine: M) -> Option<ConnectionId> {
        let ip = *from.ip();
        let count = self.accepted_from.get(&ip).copied().unwrap_or(0);
        if count >= self.connections_per_address_max && !ip.is_loopback()
            || self.len() + self.reserved_for_dialing >= self.connections_max
        {
            return None;
        }
        self.accepted_from.insert(ip, count + 1);
        Some(self.enter(machine, Counted::From(ip)))
    }

    /// Enters a connection that came in by another way than the network: it takes the place of
    /// no other.
    pub(super) fn accept_uncounted(&mut self, machine: M) -> ConnectionId {
        self.uncounted += 1;
        self.enter(machine, Counted::Not)
    }

    /// Enters a connection that is being made; `None` if the table is full.
    pub(super) fn dial(&mut self, machine: M) -> Option<ConnectionId> {
        (self.len() < self.connections_max).then(|| self.enter(machine, Counted::Dialed))
    }

    fn enter(&mut self, machine: M, counted: Counted) -> ConnectionId {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let slot = self.slots.insert(Entry { generation, counted, machine });
        ConnectionId { slot: slot as u32 + self.first_slot, generation }
    }

    fn place(&self, id: ConnectionId) -> Option<usize> {
        id.slot.checked_sub(self.first_slot).map(|place| place as usize)
    }

    /// Returns the machine of an open connection.
    pub(super) fn get(&self, id: ConnectionId) -> Option<&M> {
        let entry = self.slots.get(self.place(id)?)?;
        (entry.generation == id.generation).then_some(&entry.machine)
    }

    /// As [`Connections::get`].
    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut M> {
        let place = self.place(id)?;
        let entry = self.slots.get_mut(place)?;
        (entry.generation == id.generation).then_some(&mut entry.machine)
    }

    /// Takes a connection out: its id is void from now on.
    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<M> {
        self.disarm(id);
        self.get(id)?;
        let place = self.place(id)?;
        let entry = self.slots.remove(place);
        match entry.counted {
            Counted::From(ip) => {
                if let Some(count) = self.accepted_from.get_mut(&ip) {
                    *count -= 1;
                    if *count == 0 {
                        self.accepted_from.remove(&ip);
                    }
                }
            }
            Counted::Dialed => {}
            Counted::Not => self.uncounted -= 1,
        }
        Some(entry.machine)
    }

    /// Wakes a connection at `at` or earlier.
    pub(super) fn arm(&mut self, id: ConnectionId, at: Instant) {
        if self.get(id).is_some() {
            self.deadlines.arm(id, at);
        }
    }

    pub(super) fn disarm(&mut self, id: ConnectionId) {
        self.deadlines.disarm(id);
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Returns a connection whose time has come; it has to be armed anew.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnectionId> {
        self.deadlines.pop(now)
    }

    /// Returns how many are open, as far as the bounds count them.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.uncounted
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &M)> {
        self.slots.iter().map(|(slot, entry)| {
            let slot = slot as u32 + self.first_slot;
            (ConnectionId { slot, generation: entry.generation }, &entry.machine)
        })
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_void_once_its_connection_is_removed_though_the_slot_is_used_again() {
        let mut table = Connections::new(&Limits { connections_max: 1, ..Limits::PEER }, 0);
        let first = table.dial('a').unwrap();
        assert_eq!(table.dial('b'), None, "the table is full");
        assert_eq!(table.remove(first), Some('a'));
        let second = table.dial('c').unwrap();
        assert_eq!((second.slot(), table.get(first)), (first.slot(), None));
        assert_eq!((table.remove(first), table.get(second)), (None, Some(&'c')));
        assert_eq!(ConnectionId::from_bits(second.to_bits()), second);
        let mut beside = Connections::new(&Limits::PROBE, 0).beside(&Limits::PEER);
        let other = beside.dial('d').unwrap();
        assert_eq!((beside.get(second), table.get(other)), (None, None));
        assert_eq!((beside.ids(), beside.remove(other)), (vec![other], Some('d')));
    }

    #[test]
    fn one_address_cannot_take_all_places_but_the_loopback_may() {
        let mut table = Connections::new(&Limits::PEER, 0);
        let lan = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1);
        let ids: Vec<_> =
            (0..Limits::PEER.connections_per_address_max).map(|_| table.accept(lan, ())).collect();
        assert_eq!(table.accept(lan, ()), None);
        table.remove(ids[0].unwrap());
        assert!(table.accept(lan, ()).is_some());
        let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        assert!(
            (0..=Limits::PEER.connections_per_address_max)
                .all(|_| table.accept(loopback, ()).is_some())
        );
    }

    #[test]
    fn what_the_bounds_do_not_count_takes_no_place() {
        let mut table = Connections::new(&Limits { connections_max: 1, ..Limits::PEER }, 0);
        let uncounted = table.accept_uncounted('a');
        let counted = table.dial('b').unwrap();
        assert_eq!((table.dial('c'), table.len()), (None, 1));
        assert_eq!(table.remove(uncounted), Some('a'));
        assert_eq!((table.dial('c'), table.len()), (None, 1));
        table.remove(counted);
        assert_eq!(table.len(), 0);
        assert!(table.dial('c').is_some());
    }

    #[test]
    fn a_connection_that_is_removed_is_not_woken_and_nor_is_the_next_one_in_its_slot() {
        let now = Instant::now();
        let mut table = Connections::new(&Limits::PEER, 0);
        let removed = table.dial(()).unwrap();
        table.arm(removed, now);
        table.remove(removed);
        let next = table.dial(()).unwrap();
        table.arm(removed, now);
        assert_eq!((next.slot(), table.next_deadline()), (removed.slot(), None));
        table.arm(next, now);
        assert_eq!((table.pop_due(now), table.pop_due(now)), (Some(next), None));
    }
}
