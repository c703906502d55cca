//! The list: hears what is on offer, offers nothing, and asks the registry, if one is named,
//! where the peers listen.
//!
//! ```text
//!  Hear ── its time has come ──▶ Resolve ──▶ LookUp ── all are told ──▶ Over
//!   ▲                                                                    │
//!   └─────────────────────────── listen_until ───────────────────────────┘
//! ```
//!
//! The name of the registry is looked for at the start, and again before each later lookup.
//!
//! By version 1 a peer that only looks does the work: it is told all but offers, and has a
//! connection of its own to the registry, which lists others. Hearing ends once peers of version 1
//! have answered, if that is wanted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::paths::Paths;
use super::peers::Catalog;
use super::{
    Action, CloseHow, ConnectionId, HostPort, Input, Interface, ListedEntry, NamePattern, Node,
    Outcome, PeerNode, Report, changes,
};
use crate::limits::{ADDRESS_MEMORY, Limits, PROBED_PEERS_MAX};
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::proto::{CloseReason, Transmit};
use crate::wire::v0::{FileName, Offer};
use crate::wire::{PeerId, folded};

/// Hears offers, and ends when its time has come. It can be run again after that.
#[derive(Debug)]
pub struct ListNode {
    phase: Phase,
    catalog: Catalog,
    paths: Paths,
    /// Where offers have to come from; from anywhere if there is none.
    subnets: Vec<Subnet>,
    /// Whether offers from other networks are left out.
    is_limited: bool,
    /// Our addresses that are used, if the runner told them.
    interfaces: Option<Vec<Interface>>,
    registry: Option<HostPort>,
    /// Whether its name is looked for.
    is_resolving: bool,
    /// Whether the peer that looks waits for its address, too.
    is_looker_resolving: bool,
    /// Whether the user knows that it cannot be reached.
    is_told: bool,
    /// Its address, until it was used; one that was given stays.
    found: Option<SocketAddrV4>,
    /// Where it was asked last.
    registry_at: Option<SocketAddrV4>,
    /// Whether its name ever led to an address.
    was_found: bool,
    /// Where the peers listen, as far as the registry was asked and knows it.
    addresses: BTreeMap<PeerId, Told>,
    /// When all of them are to be asked for anew.
    fresh_until: Option<Instant>,
    connections: Connections<Registration>,
    actions: VecDeque<Action>,
    /// Whether only these are listed.
    is_selective: bool,
    names: BTreeSet<FileName>,
    patterns: Vec<NamePattern>,
    /// The names in other case or Unicode form, to find them among what is on offer.
    folded_names: BTreeSet<String>,
    nearly_offered: Option<FileName>,
    /// What looks by version 1.
    looker: Option<Box<PeerNode>>,
    /// Whether an answer by version 1 ends the hearing.
    ends_answered: bool,
}

/// What the registry has told of a peer that it was asked for.
#[derive(Clone, Copy, Debug)]
enum Told {
    Nothing,
    /// Where it listens, if the registry knows it.
    Place(Option<SocketAddrV4>),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Hear { until: Instant },
    Resolve,
    LookUp { peers_left: usize },
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardOffer {
    pub offer: Offer,
    /// Where the last datagram came from.
    pub from: SocketAddrV4,
    pub heard_at: Instant,
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// One of them.
    pub address: Ipv4Addr,
    pub prefix_len: u8,
}

impl Subnet {
    /// Returns whether this is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        let differs = u32::from(self.address) ^ u32::from(address);
        differs.leading_zeros() >= self.prefix_len.into()
    }
}

impl ListNode {
    /// Listens until then to these networks, or to all if there is none. Forgets an offer that
    /// is not repeated for three intervals of its sharer, and of `own_interval`.
    pub fn new(
        until: Instant,
        own_interval: Duration,
        subnets: Vec<Subnet>,
        registry: Option<HostPort>,
    ) -> Self {
        let mut node = Self {
            phase: Phase::Hear { until },
            catalog: Catalog::new(own_interval),
            paths: Paths::default(),
            is_limited: !subnets.is_empty(),
            subnets,
            interfaces: None,
            found: registry.as_ref().and_then(HostPort::address),
            is_resolving: false,
            is_looker_resolving: false,
            is_told: false,
            registry_at: None,
            was_found: false,
            registry,
            addresses: BTreeMap::new(),
            fresh_until: None,
            connections: Connections::new(&Limits::PROBE, 0).beside(&Limits::PEER),
            actions: VecDeque::new(),
            is_selective: false,
            names: BTreeSet::new(),
            patterns: Vec::new(),
            folded_names: BTreeSet::new(),
            nearly_offered: None,
            looker: None,
            ends_answered: false,
        };
        // At once, so that a mistake in the name is told at once.
        node.resolve();
        node
    }

    /// Looks by version 1, too, as this peer does. With `ends_answered` it hears no longer than
    /// until peers of version 1 have answered.
    #[must_use]
    pub fn looking(self, looker: PeerNode, ends_answered: bool) -> Self {
        Self { looker: Some(Box::new(looker)), ends_answered, ..self }
    }

    /// Returns what peers of version 1 list.
    pub fn listed(&self) -> Vec<ListedEntry> {
        self.looker.as_ref().map(|looker| looker.listed()).unwrap_or_default()
    }

    /// Returns the peers of version 1 that have answered, if that is over.
    pub fn answered(&self, now: Instant) -> BTreeSet<PeerId> {
        self.looker.as_ref().map(|looker| looker.answered(now)).unwrap_or_default()
    }

    /// Gives an input to what looks by version 1, if it is for that.
    fn is_looked_at(&mut self, now: Instant, input: &Input<'_>) -> bool {
        let Some(looker) = &mut self.looker else { return false };
        let connection = match input {
            Input::Connected(connection)
            | Input::Rerouted(connection)
            | Input::DialedFrom { connection, .. }
            | Input::Received { connection, .. }
            | Input::ReadClosed(connection)
            | Input::Broken { connection, .. } => Some(*connection),
            _ => None,
        };
        match (connection, input) {
            (Some(connection), input) if self.connections.get(connection).is_none() => {
                looker.handle(now, input.clone());
                true
            }
            (None, Input::Beacon { .. } | Input::Wish(_)) => {
                looker.handle(now, input.clone());
                true
            }
            (None, Input::Interfaces(_)) => {
                looker.handle(now, input.clone());
                false
            }
            _ => false,
        }
    }

    /// The hearing is over once peers of version 1 have answered, if that is wanted.
    fn end_if_answered(&mut self, now: Instant) {
        if let Phase::Hear { .. } = self.phase
            && self.ends_answered
            && !self.answered(now).is_empty()
        {
            self.look_up(now);
        }
    }

    /// Has the name of the registry looked for, if it is one.
    fn resolve(&mut self) {
        if let (None, Some(registry)) = (self.found, &self.registry) {
            if !self.is_resolving && !self.is_looker_resolving {
                self.actions.push_back(Action::Resolve(registry.host()));
            }
            self.is_resolving = true;
        }
    }

    fn on_resolved(&mut self, now: Instant, answer: Result<Ipv4Addr, String>) {
        if std::mem::take(&mut self.is_looker_resolving)
            && let Some(looker) = &mut self.looker
        {
            looker.handle(now, Input::Resolved(answer.clone()));
        }
        let Some(registry) = &self.registry else { return };
        if !std::mem::take(&mut self.is_resolving) {
            return;
        }
        match answer {
            Ok(host) => {
                self.found = Some(registry.at(host));
                self.was_found = true;
                if let Phase::Resolve = self.phase {
                    self.look_up(now);
                }
            }
            Err(why) if !self.was_found => {
                let host = registry.host();
                self.end(Outcome::NoSuchHost { host, why });
            }
            Err(why) => {
                let (host, retry_in, again) = (registry.host(), None, false);
                let report = Report::HostNotFound { host, why, retry_in, again };
                self.actions.push_back(Action::Report(report));
                self.end(Outcome::AllDone);
            }
        }
    }

    /// These addresses of ours are used from now on.
    fn on_interfaces(&mut self, used: &[Interface]) {
        if self.is_limited {
            self.subnets = used.iter().map(|interface| interface.subnet).collect();
        }
        let Some(before) = self.interfaces.replace(used.to_vec()) else { return };
        for change in changes(&before, used) {
            let report = Report::InterfaceChanged { change, is_offered_on: false };
            self.actions.push_back(Action::Report(report));
        }
    }

    /// Lists only these names, and what matches these patterns.
    pub fn only(&mut self, names: &[FileName], patterns: &[NamePattern]) {
        self.is_selective = true;
        self.names.extend(names);
        self.folded_names.extend(names.iter().map(|name| folded(name.as_str())));
        self.patterns.extend_from_slice(patterns);
    }

    fn is_listed(&mut self, name: FileName) -> bool {
        if !self.is_selective
            || self.names.contains(&name)
            || self.patterns.iter().any(|pattern| pattern.matches(&name))
        {
            return true;
        }
        let is_near = |pattern: &NamePattern| pattern.nearly_matches(&name);
        if self.nearly_offered.is_none()
            && (self.folded_names.contains(&folded(name.as_str()))
                || self.patterns.iter().any(is_near))
        {
            self.nearly_offered = Some(name);
        }
        false
    }

    /// Returns a name on offer that differs from one which is to be listed only in case or in
    /// its Unicode form.
    pub fn nearly_offered(&self) -> Option<FileName> {
        self.nearly_offered
    }

    /// Returns whether there was more on offer than it can remember.
    pub fn has_overflowed(&self) -> bool {
        let lists_too_much = self.looker.as_ref().is_some_and(|looker| looker.lists_too_much());
        self.catalog.has_overflowed() || lists_too_much
    }

    /// Listens on until then.
    pub fn listen_until(&mut self, until: Instant) {
        self.phase = Phase::Hear { until };
    }

    /// Returns what is on offer, by name and then by peer.
    pub fn offers(&self) -> Vec<HeardOffer> {
        self.catalog.offers(&self.paths, usize::MAX)
    }

    /// Returns what the registry told of where a peer listens, if it was asked: nothing, if it
    /// does not know the peer.
    pub fn told(&self, peer: PeerId) -> Option<Option<SocketAddrV4>> {
        match self.addresses.get(&peer)? {
            Told::Nothing => None,
            Told::Place(address) => Some(*address),
        }
    }

    /// Asks for the peers that were not asked for lately; forgets those that offer nothing.
    fn look_up(&mut self, now: Instant) {
        let Some(registry) = &self.registry else { return self.end(Outcome::AllDone) };
        let given = registry.address();
        if self.fresh_until.is_none_or(|until| until <= now) {
            self.addresses.clear();
            self.fresh_until = Some(now + ADDRESS_MEMORY);
        }
        let peers: BTreeSet<_> = self.catalog.peer_ids().collect();
        self.addresses.retain(|peer, _| peers.contains(peer));
        let is_new = |peer: &PeerId| !self.addresses.contains_key(peer);
        let new: Vec<_> = peers.into_iter().filter(is_new).take(PROBED_PEERS_MAX).collect();
        if new.is_empty() {
            return self.end(Outcome::AllDone);
        }
        let Some(to) = std::mem::replace(&mut self.found, given) else {
            self.phase = Phase::Resolve;
            if self.was_found {
                self.resolve();
            }
            // Or else it is being looked for since the start.
            return;
        };
        self.registry_at = Some(to);
        self.phase = Phase::LookUp { peers_left: new.len() };
        let mut registration = Registration::guest(now, &Rc::new(Limits::PROBE));
        for peer in new {
            self.addresses.insert(peer, Told::Nothing);
            registration.look_up(now, peer);
        }
        let Some(connection) = self.connections.dial(registration) else {
            return self.end(Outcome::AllDone);
        };
        self.actions.push_back(Action::Dial { connection, to });
        self.after(connection);
    }

    fn on_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        while let Some(registration) = self.connections.get_mut(connection) {
            match registration.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistrationEvent::Address { peer, address })) => {
                    self.addresses.insert(peer, Told::Place(address));
                    match &mut self.phase {
                        Phase::LookUp { peers_left } if *peers_left > 1 => *peers_left -= 1,
                        _ => self.end(Outcome::AllDone),
                    }
                }
                Ok(Some(_)) => debug_assert!(false, "nothing is registered"),
                Ok(None) => break,
                Err(reason) => return self.close(connection, reason),
            }
        }
        self.after(connection);
    }

    /// What every input about the registry ends with.
    fn after(&mut self, connection: ConnectionId) {
        let Some(registration) = self.connections.get(connection) else { return };
        if registration.transmit().is_some() {
            self.actions.push_back(Action::Transmit(connection));
        }
        if let Some(deadline) = registration.poll_timeout() {
            self.connections.arm(connection, deadline);
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        if self.connections.get(connection).is_some() {
            // The reference spins after an orderly close.
            self.actions.push_back(Action::Close { connection, how: CloseHow::Reset, reason });
            self.lose(connection, reason);
        }
    }

    /// The connection is over, though not every peer was looked up.
    fn lose(&mut self, connection: ConnectionId, reason: CloseReason) {
        if let (Some(_), Some(registry)) = (self.connections.remove(connection), self.registry_at) {
            self.tell_failed(registry, reason);
            self.end(Outcome::AllDone);
        }
    }

    /// The registry cannot be asked: the user is told once.
    fn tell_failed(&mut self, registry: SocketAddrV4, reason: CloseReason) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.actions.push_back(Action::Report(Report::LookupsFailed { registry, reason }));
        }
    }

    /// Returns an action of the peer that looks, if it is to be done.
    fn on_looker_action(&mut self, action: Action) -> Option<Action> {
        match action {
            Action::Resolve(_) => {
                let is_asked = self.is_resolving;
                self.is_looker_resolving = true;
                (!is_asked).then_some(action)
            }
            Action::Report(Report::RegistryUnreachable { reason, .. }) => {
                let registry = self.registry.as_ref().and_then(HostPort::address);
                let registry = registry.or(self.registry_at).or(self.found);
                registry.into_iter().for_each(|registry| self.tell_failed(registry, reason));
                None
            }
            // What else it would tell or end with is told by what it lists.
            Action::Report(_) | Action::Exit(_) => None,
            action => Some(action),
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        for connection in self.connections.ids() {
            self.connections.remove(connection);
            let (how, reason) = (CloseHow::Reset, CloseReason::Done);
            self.actions.push_back(Action::Close { connection, how, reason });
        }
        self.actions.push_back(Action::Exit(outcome));
    }
}

impl Node for ListNode {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        if self.is_looked_at(now, &input) {
            return self.end_if_answered(now);
        }
        match input {
            Input::Datagram { from, bytes } => {
                let is_near = |subnet: &Subnet| subnet.contains(*from.ip());
                let is_open = self.looker.as_ref().is_none_or(|looker| looker.is_open());
                let counts = !self.is_limited || self.subnets.iter().any(is_near);
                if is_open
                    && counts
                    && let Ok(offer) = Offer::decode(bytes)
                    && self.is_listed(offer.name)
                {
                    let path = self.paths.intern_name(offer.name);
                    self.catalog.hear(&mut self.paths, now, from, (offer.peer, path), None);
                }
            }
            Input::Interfaces(used) => self.on_interfaces(used),
            Input::Resolved(answer) => self.on_resolved(now, answer),
            Input::Connected(connection) => {
                if let Some(registration) = self.connections.get_mut(connection) {
                    registration.handle_connected(now);
                }
                self.after(connection);
            }
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReadClosed(connection) => self.close(connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, kind } => self.lose(connection, CloseReason::Broken(kind)),
            Input::Stop(signal) => self.end(Outcome::Stopped(signal)),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(connection) = self.connections.pop_due(now) {
            let Some(registration) = self.connections.get_mut(connection) else { continue };
            match registration.handle_timeout(now) {
                Ok(()) => self.after(connection),
                Err(reason) => self.close(connection, reason),
            }
        }
        if let Some(looker) = &mut self.looker {
            looker.handle_timeout(now);
        }
        self.end_if_answered(now);
        if let Phase::Hear { until } = self.phase
            && now >= until
        {
            self.catalog.expire(&mut self.paths, now);
            self.look_up(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let own = match self.phase {
            Phase::Hear { until } => Some(until),
            Phase::Resolve | Phase::LookUp { .. } | Phase::Over => self.connections.next_deadline(),
        };
        let looker = self.looker.as_ref().and_then(|looker| looker.poll_timeout());
        let window_end = self.looker.as_ref().and_then(|looker| looker.window_end());
        own.into_iter().chain(looker).chain(window_end).min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        while let Some(action) = self.looker.as_mut().and_then(|looker| looker.poll_action()) {
            if let Some(action) = self.on_looker_action(action) {
                return Some(action);
            }
        }
        let action = self.actions.pop_front();
        if action.is_none() {
            self.paths.sweep();
        }
        action
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        match self.connections.get(connection) {
            Some(registration) => registration.transmit(),
            None => self.looker.as_ref()?.transmit(connection),
        }
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        if let Some(registration) = self.connections.get_mut(connection) {
            registration.transmitted(len_bytes);
        } else if let Some(looker) = &mut self.looker {
            looker.transmitted(now, connection, len_bytes);
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        // What comes queues one request at a time.
        let of_looker = || self.looker.as_ref().map(|it| it.read_allowance_bytes(connection));
        match self.connections.get(connection) {
            Some(_) => usize::MAX,
            None => of_looker().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::OnConflict;
    use crate::limits::PROBE_TIMEOUT;
    use crate::node::scene::{PEER, REGISTRY, actions, answer, dialed, hear, name, sent, settings};
    use crate::node::{GatherSettings, GuestSettings, PeerKind, PeerSettings, Signal, Wish};
    use crate::proto::Timer;
    use crate::wire::v0::RegistryResponse;

    #[test]
    fn it_lists_what_it_heard_until_its_time_and_forgets_what_is_not_repeated() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut node = ListNode::new(at(6), Duration::from_secs(5), Vec::new(), None);
        let from = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        for (second, peer, text, port) in [(1, 1, "b", 1), (2, 2, "a", 2), (3, 1, "b", 3)] {
            hear(&mut node, at(second), from(port), peer, text);
        }
        node.handle(at(3), Input::Datagram { from: from(4), bytes: b"junk" });
        node.handle_timeout(at(5));
        assert_eq!((node.poll_action(), node.poll_timeout()), (None, Some(at(6))));
        node.handle_timeout(at(6));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::AllDone)));
        let heard = |peer, text, second| {
            let offer = Offer { peer: PeerId(peer), name: name(text) };
            HeardOffer { offer, from: from(second as u16), heard_at: at(second) }
        };
        assert_eq!(node.offers(), [heard(2, "a", 2), heard(1, "b", 3)]);
        node.listen_until(at(62));
        node.handle_timeout(at(62));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::AllDone)));
        assert_eq!(node.offers(), [heard(1, "b", 3)]);
        node.handle(at(62), Input::Stop(Signal::Interrupt));
        assert_eq!(node.poll_action(), Some(Action::Exit(Outcome::Stopped(Signal::Interrupt))));
    }

    /// Returns a list that heard of these peers, with a registry.
    fn asking(start: Instant, peers: &[u32]) -> ListNode {
        let mut node =
            ListNode::new(start, Duration::from_secs(3600), Vec::new(), Some(REGISTRY.into()));
        peers.iter().for_each(|peer| hear(&mut node, start, PEER, *peer, "f"));
        node
    }

    /// The time is up, and the registry is connected to.
    fn connect(node: &mut ListNode, now: Instant) -> ConnectionId {
        node.handle_timeout(now);
        let connection = dialed(&actions(node), REGISTRY);
        node.handle(now, Input::Connected(connection));
        assert_eq!(node.poll_action(), Some(Action::Transmit(connection)));
        connection
    }

    /// The registry answers the lookup that is sent, with the peer's number as its port.
    fn answered(node: &mut ListNode, now: Instant, connection: ConnectionId) -> Vec<Action> {
        let peer = u16::from(sent(node, now, connection)[5]);
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, peer);
        answer(node, now, connection, RegistryResponse::Address(address));
        actions(node)
    }

    fn reset(connection: ConnectionId, reason: CloseReason) -> Action {
        Action::Close { connection, how: CloseHow::Reset, reason }
    }

    #[test]
    fn each_peer_is_looked_up_and_anew_after_a_while() {
        let (start, all_done) = (Instant::now(), Action::Exit(Outcome::AllDone));
        let mut node = asking(start, &[1, 2]);
        let connection = connect(&mut node, start);
        assert_eq!(answered(&mut node, start, connection), [Action::Transmit(connection)]);
        let closed = reset(connection, CloseReason::Done);
        assert_eq!(answered(&mut node, start, connection), [closed, all_done.clone()]);
        let ports = [1, 2, 3].map(|peer| node.told(PeerId(peer)).flatten().map(|at| at.port()));
        assert_eq!(ports, [Some(1), Some(2), None]);
        node.listen_until(start);
        node.handle_timeout(start);
        assert_eq!(node.poll_action(), Some(all_done), "all are known");
        node.listen_until(start);
        connect(&mut node, start + ADDRESS_MEMORY);
    }

    #[test]
    fn a_registry_that_fails_is_told_once_and_keeps_nobody_waiting() {
        let (start, all_done) = (Instant::now(), Action::Exit(Outcome::AllDone));
        let mut node = asking(start, &[1, 2]);
        let connection = connect(&mut node, start);
        answered(&mut node, start, connection);
        let late = node.poll_timeout().unwrap();
        assert_eq!(late, start + PROBE_TIMEOUT);
        node.handle_timeout(late);
        let reason = CloseReason::TimedOut(Timer::Answer);
        let report = Action::Report(Report::LookupsFailed { registry: REGISTRY, reason });
        assert_eq!(actions(&mut node), [reset(connection, reason), report, all_done.clone()]);
        assert!(node.told(PeerId(1)).is_some() && node.told(PeerId(2)).is_none());
        node.listen_until(late);
        node.handle_timeout(late);
        assert_eq!(node.poll_action(), Some(all_done), "not asked for again so soon");
    }

    #[test]
    fn only_the_networks_that_are_asked_for_count() {
        let start = Instant::now();
        let subnet = Subnet { address: Ipv4Addr::new(10, 78, 0, 1), prefix_len: 23 };
        let mut node = ListNode::new(start, Duration::from_secs(15), vec![subnet], None);
        for (peer, host) in [(1, [10, 78, 1, 255]), (2, [10, 78, 2, 0]), (3, [10, 78, 0, 0])] {
            hear(&mut node, start, SocketAddrV4::new(host.into(), 8000), peer, "a");
        }
        let peers: Vec<_> = node.offers().iter().map(|heard| heard.offer.peer.0).collect();
        assert_eq!(peers, [1, 3]);
        let all = Subnet { prefix_len: 0, ..subnet };
        assert!(all.contains(Ipv4Addr::LOCALHOST));
    }

    fn lab() -> HostPort {
        HostPort::Name { host: "lab".into(), port: 5000 }
    }

    #[test]
    fn the_name_of_the_registry_is_looked_for_at_the_start_and_before_each_further_lookup() {
        let start = Instant::now();
        let resolve = Action::Resolve("lab".into());
        let new = || ListNode::new(start, Duration::from_secs(3600), Vec::new(), Some(lab()));
        let mut node = new();
        assert_eq!(node.poll_action(), Some(resolve.clone()));
        let why = "nobody knows".to_owned();
        node.handle(start, Input::Resolved(Err(why.clone())));
        assert_eq!(
            actions(&mut node),
            [Action::Exit(Outcome::NoSuchHost { host: "lab".into(), why: why.clone() })]
        );

        // The answer may come before or after the time to ask.
        for is_late in [false, true] {
            let mut node = new();
            hear(&mut node, start, PEER, 1, "f");
            let mut told = actions(&mut node);
            let found = Input::Resolved(Ok(Ipv4Addr::LOCALHOST));
            if is_late {
                node.handle_timeout(start);
                node.handle(start, found);
            } else {
                node.handle(start, found);
                node.handle_timeout(start);
            }
            told.extend(actions(&mut node));
            assert_eq!(told.iter().filter(|action| **action == resolve).count(), 1);
            let connection = dialed(&told, REGISTRY);
            node.handle(start, Input::Connected(connection));
            actions(&mut node);
            answered(&mut node, start, connection);

            let later = start + ADDRESS_MEMORY;
            node.listen_until(later);
            node.handle_timeout(later);
            assert_eq!(actions(&mut node), std::slice::from_ref(&resolve));
            node.handle(later, Input::Resolved(Err(why.clone())));
            let (host, why) = ("lab".to_owned(), why.clone());
            let lost = Report::HostNotFound { host, why, retry_in: None, again: false };
            assert_eq!(
                actions(&mut node),
                [Action::Report(lost), Action::Exit(Outcome::AllDone)],
                "it is told, and what was heard is shown"
            );
        }
    }

    #[test]
    fn what_looks_by_version_1_asks_the_same_registry_and_its_name_is_looked_for_once() {
        let start = Instant::now();
        let on_conflict = OnConflict::Refuse;
        let guest = GuestSettings { timeout: None, retries_max: 0, on_conflict, gives: false };
        let gather = GatherSettings { only_looks: true, ..GatherSettings::default() };
        let settings = settings(PeerKind::Guest(guest));
        let settings = PeerSettings { registry: lab(), gather, ..settings };
        let looker = PeerNode::new(start, settings);
        let mut node = ListNode::new(start, Duration::from_secs(3600), Vec::new(), Some(lab()))
            .looking(looker, false);
        node.handle(start, Input::Wish(&[Wish::Folder(None)]));
        assert_eq!(actions(&mut node), [Action::Resolve("lab".into())]);
        hear(&mut node, start, PEER, 1, "f");
        node.handle(start, Input::Resolved(Ok(*REGISTRY.ip())));
        let by_looker = dialed(&actions(&mut node), REGISTRY);
        node.handle_timeout(start);
        let ours = dialed(&actions(&mut node), REGISTRY);
        assert_ne!(by_looker, ours);
        // It can be reached by neither, and that is told once.
        let kind = std::io::ErrorKind::ConnectionRefused;
        let reason = CloseReason::Broken(kind);
        for connection in [by_looker, ours] {
            node.handle(start, Input::Broken { connection, kind });
        }
        let told = [
            Action::Report(Report::LookupsFailed { registry: REGISTRY, reason }),
            Action::Exit(Outcome::AllDone),
        ];
        assert_eq!(actions(&mut node), told);
        // The way there is looked for again by what looks, too.
        let mut at = start;
        while !actions(&mut node).contains(&Action::Resolve("lab".into())) {
            at += Duration::from_millis(100);
            node.handle_timeout(at);
        }
        node.handle(at, Input::Resolved(Ok(*REGISTRY.ip())));
        dialed(&actions(&mut node), REGISTRY);
    }

    #[test]
    fn a_named_interface_that_gets_another_address_is_listened_to_there() {
        let start = Instant::now();
        let interface = |address: [u8; 4]| {
            Interface::new("eth0".into(), (address.into(), 24), None, false, true)
        };
        let (first, second) = (interface([10, 77, 0, 1]), interface([10, 78, 0, 1]));
        let subnets = vec![first.subnet];
        let mut node = ListNode::new(start, Duration::from_secs(15), subnets, None);
        let heard = |node: &mut ListNode, from: [u8; 4]| {
            let before = node.offers().len();
            let peer = u32::from_be_bytes(from);
            hear(node, start, SocketAddrV4::new(from.into(), 8000), peer, "a");
            node.offers().len() > before
        };
        node.handle(start, Input::Interfaces(&[first]));
        assert_eq!(node.poll_action(), None);
        assert!(heard(&mut node, [10, 77, 0, 2]) && !heard(&mut node, [10, 78, 0, 2]));
        node.handle(start, Input::Interfaces(&[]));
        assert!(!heard(&mut node, [10, 77, 0, 3]), "no network is left");
        node.handle(start, Input::Interfaces(&[second]));
        assert!(heard(&mut node, [10, 78, 0, 4]) && !heard(&mut node, [10, 77, 0, 4]));
        let told: Vec<_> = actions(&mut node).iter().map(|action| format!("{action:?}")).collect();
        assert!(told.len() == 2 && told[0].contains("Lost") && told[1].contains("Got"), "{told:?}");
    }
}
