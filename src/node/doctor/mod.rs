//! The doctor: looks at the network once, tells what it finds, and leaves.
//!
//! ```text
//!  Resolve ──▶ AskRegistry ──▶ Hear ──▶ LookUp ──▶ Reach ──▶ Over
//! ```
//!
//! It steps aside as far as it can:
//!
//! - To hear whether broadcasts come back it sends one [`probe`] on each interface. It has
//!   the layout of an offer, because the reference's listener dies of anything else, but
//!   of a name that begins with a dot: our peers drop it without a word, and
//!   neither list nor fetch it; the reference's peers remember one name that they never
//!   want.
//! - It asks the registry where the peers are that it heard, and which it lists, and registers
//!   nothing.
//! - It connects to each peer's port, and resets the connection without a word.
//! - Peers of version 1 answer its query, are told who it is, and that it leaves: see
//!   `sessions`.
//!
//! A datagram counts as received on the interface in whose network its sender is.

mod findings;
mod listed;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::findings::Findings;
pub use self::findings::{
    BeaconingPeer, BeaconsFinding, Finding, Foreign, InterfaceFinding, ListedFinding, NotSent,
    NothingSent, PeerFinding, PeerPlace, PortFinding, RegistryFinding, SessionFinding, Verdict,
};
use self::sessions::{Beaconing, Dialed};
use super::connections::Connections;
use super::{
    Action, BeaconSettings, CloseHow, ConnectionId, GroupSettings, HostPort, Input, Interface,
    Node, Outcome, Paths, RegistryUse, Report,
};
use crate::limits::{
    DOCTOR_LISTENS_LONGER, Limits, OFFER_BYTES, PROBE_TIMEOUT, PROBED_PEERS_MAX, UNPROVEN_DIALS_MAX,
};
use crate::proto::v0::{Registration, RegistrationEvent};
use crate::proto::{CloseReason, Timer, Transmit};
use crate::wire::PeerId;
use crate::wire::v0::{Offer, probe};

#[derive(Debug)]
pub struct DoctorSettings {
    pub port: u16,
    /// Why it cannot be heard.
    pub port_error: Option<ErrorKind>,
    /// The same for beacons.
    pub beacon_port: u16,
    pub beacon_port_error: Option<ErrorKind>,
    pub beacons: BeaconSettings,
    pub group: Option<GroupSettings>,
    pub registry: HostPort,
    pub registry_use: RegistryUse,
    /// The addresses of this machine that are examined, and where offers go from each.
    pub interfaces: Vec<(Interface, Option<SocketAddrV4>)>,
    /// The other addresses of this machine, if the user named some.
    pub others: Vec<Interface>,
    /// How often others repeat each offer.
    pub offer_interval: Duration,
    /// A random number: tells our datagram from those of others, and is an id that the
    /// registry hardly knows.
    pub number: u32,
    /// Another one, and never 0: it tells our beacons from those of others.
    pub instance: u64,
}

/// The doctor as pure state. Its findings are reports; the verdict is there at its end.
#[derive(Debug)]
pub struct DoctorNode {
    phase: Phase,
    offer_interval: Duration,
    number: PeerId,
    datagram: [u8; OFFER_BYTES],
    findings: Findings,
    heard: BTreeMap<PeerId, PeerFinding>,
    beaconing: Beaconing,
    connections: Connections<Connection>,
    registry: Option<ConnectionId>,
    registry_at: HostPort,
    actions: VecDeque<Action>,
    paths: Paths,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The address of the registry is looked for.
    Resolve,
    /// The registry is asked for a peer that it hardly knows.
    AskRegistry { since: Instant },
    /// Offers, and our own datagram, are heard.
    Hear { until: Instant },
    /// So many peers are still to be looked up.
    LookUp { left: usize },
    /// So many connections to peers are being made.
    Reach { since: Instant, left: usize },
    /// Everything is told.
    Over,
}

#[derive(Debug)]
enum Connection {
    Registry(Registration),
    /// On which it is asked for peers.
    Listing(Registration),
    Peer(PeerId),
    /// Boxed: it is large.
    Session(Box<Dialed>),
}

impl DoctorNode {
    /// A doctor that begins with the registry; offers are heard from the first moment on.
    pub fn new(now: Instant, settings: DoctorSettings) -> Self {
        let DoctorSettings { registry, number, .. } = settings;
        let unheard = |(interface, to)| InterfaceFinding {
            interface,
            to,
            error: None,
            is_heard_back: false,
            offers: 0,
            peers: BTreeSet::new(),
        };
        let findings = Findings {
            port: PortFinding { port: settings.port, error: settings.port_error },
            registry: RegistryFinding {
                registry: registry.to_string(),
                address: None,
                not_found: None,
                connected_in: None,
                answered_in: None,
                failure: None,
            },
            is_registry_named: settings.registry_use == RegistryUse::Named,
            beacon_port: PortFinding {
                port: settings.beacon_port,
                error: settings.beacon_port_error,
            },
            beacons: sessions::unheard(&settings.interfaces, settings.beacon_port),
            beaconing: Vec::new(),
            listing: None,
            listed: Vec::new(),
            has_heard_others: false,
            interfaces: settings.interfaces.into_iter().map(unheard).collect(),
            others: settings.others,
            peers: Vec::new(),
        };
        // Two connections are those to the registry.
        let connections_max = PROBED_PEERS_MAX + UNPROVEN_DIALS_MAX + 2;
        let limits = Limits { connections_max, ..Limits::PROBE };
        let mut node = Self {
            phase: Phase::Resolve,
            offer_interval: settings.offer_interval,
            number: PeerId(number),
            datagram: probe(number),
            findings,
            heard: BTreeMap::new(),
            beaconing: Beaconing::new(
                (PeerId(number), settings.instance),
                settings.beacons,
                settings.group,
            ),
            connections: Connections::new(&limits, 0),
            registry: None,
            registry_at: registry,
            actions: VecDeque::new(),
            paths: Paths::default(),
        };
        node.tell(Finding::Port(node.findings.port.clone()));
        match node.registry_at.address() {
            Some(address) => node.ask_registry(now, address),
            None => node.actions.push_back(Action::Resolve(node.registry_at.host())),
        }
        node
    }

    fn ask_registry(&mut self, now: Instant, address: SocketAddrV4) {
        self.phase = Phase::AskRegistry { since: now };
        self.findings.registry.address = Some(address);
        let registration = Registration::guest(now, &Rc::new(Limits::PROBE));
        self.registry = self.dial(now, Connection::Registry(registration), address);
        if self.registry.is_none() {
            self.hear(now);
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.findings.verdict()
    }

    fn tell(&mut self, finding: Finding) {
        self.actions.push_back(Action::Report(Report::Finding(Box::new(finding))));
    }

    fn dial(
        &mut self,
        now: Instant,
        connection: Connection,
        to: SocketAddrV4,
    ) -> Option<ConnectionId> {
        let connection = self.connections.dial(connection)?;
        self.connections.arm(connection, now + PROBE_TIMEOUT);
        self.actions.push_back(Action::Dial { connection, to });
        Some(connection)
    }

    /// The registry has answered, or will not. Sends a datagram on each interface, and listens
    /// for a little longer than the interval in which each peer repeats its offers.
    fn hear(&mut self, now: Instant) {
        if self.findings.is_registry_named || self.findings.has_registry() {
            self.tell(Finding::Registry(self.findings.registry.clone()));
        }
        if self.findings.port.error.is_some() {
            for heard in &mut self.findings.interfaces {
                heard.error = Some(NotSent::NoPort);
            }
            return self.look_up(now);
        }
        self.phase = Phase::Hear { until: now + self.offer_interval + DOCTOR_LISTENS_LONGER };
        let all: Vec<_> = self.findings.interfaces.iter().map(|it| it.interface.address).collect();
        for heard in &mut self.findings.interfaces {
            if heard.to.is_some_and(|to| all.contains(to.ip())) {
                // It would come back whatever is in the way of broadcasts.
                heard.error = Some(NotSent::OwnAddress);
            } else if let Some(to) = heard.to {
                let (from, datagram) = (heard.interface.address, self.datagram.into());
                self.actions.push_back(Action::Send { from, to, datagram });
            }
        }
        self.query();
    }

    fn on_datagram(&mut self, from: Ipv4Addr, bytes: &[u8]) {
        let Findings { interfaces, others, .. } = &mut self.findings;
        if bytes == self.datagram {
            let ours = interfaces.iter_mut().find(|heard| heard.interface.address == from);
            ours.into_iter().for_each(|heard| heard.is_heard_back = true);
            return;
        }
        let Ok(Offer { peer: id, .. }) = Offer::decode(bytes) else { return };
        if !self.beaconing.is_open() {
            return;
        }
        if self.heard.len() < PROBED_PEERS_MAX || self.heard.contains_key(&id) {
            let is_near = |interface: &&Interface| interface.subnet.contains(from);
            let examined = interfaces.iter().map(|heard| &heard.interface).find(is_near);
            let near = examined.or_else(|| others.iter().find(is_near));
            let interface = near.map(|interface| interface.name.clone());
            let (is_examined, place) = (examined.is_some(), PeerPlace::NotTold);
            let new = PeerFinding {
                id,
                from,
                offers: 0,
                interface,
                is_examined,
                place,
                is_beaconing: false,
            };
            self.heard.entry(id).or_insert(new).offers += 1;
        }
        let near = interfaces.iter_mut().find(|heard| heard.interface.subnet.contains(from));
        if let Some(heard) = near {
            heard.offers += 1;
            if self.heard.contains_key(&id) {
                heard.peers.insert(id);
            }
        }
    }

    fn on_not_sent(&mut self, from: Ipv4Addr, to: SocketAddrV4, kind: ErrorKind) {
        let Findings { interfaces, beacons, .. } = &mut self.findings;
        let offers = interfaces.iter_mut().map(|it| (&it.interface, it.to, &mut it.error));
        let beacons = beacons.iter_mut().map(|it| (&it.interface, it.to, &mut it.error));
        for (interface, goes_to, error) in offers.chain(beacons) {
            if interface.address == from && goes_to == Some(to) {
                *error = Some(NotSent::Refused(kind));
            }
        }
    }

    /// Enough was heard: asks the registry where these peers are.
    fn look_up(&mut self, now: Instant) {
        for heard in self.findings.interfaces.clone() {
            self.tell(Finding::Interface(heard));
        }
        self.tell_beacons();
        if let Some(listing) = self.findings.listing {
            self.tell(Finding::Listing(listing));
        }
        let is_alone = |heard: &PeerFinding| !self.beaconing.has(heard.id, heard.from);
        let is_missed = !self.findings.is_registry_named && !self.findings.has_registry();
        if is_missed && self.heard.values().any(is_alone) {
            self.tell(Finding::Registry(self.findings.registry.clone()));
        }
        self.phase = Phase::LookUp { left: self.heard.len() };
        let registry = self.registry.filter(|_| !self.heard.is_empty());
        let Some(registry) = registry else { return self.reach(now) };
        if let Some(Connection::Registry(registration)) = self.connections.get_mut(registry) {
            self.heard.keys().for_each(|&peer| registration.look_up(now, peer));
        }
        self.after(now, registry);
    }

    /// All is known of where the peers are: connects to them at once.
    fn reach(&mut self, now: Instant) {
        let address = |heard: &PeerFinding| match heard.place {
            PeerPlace::At(address, _) => Some((heard.id, address)),
            PeerPlace::NotTold | PeerPlace::Unknown => None,
        };
        let known: Vec<_> = self.heard.values().filter_map(address).collect();
        let left = known.len() + self.line_up_sessions() + self.line_up_listed();
        self.phase = Phase::Reach { since: now, left };
        for (peer, address) in known {
            if self.dial(now, Connection::Peer(peer), address).is_none() {
                self.on_reached(peer, Err(CloseReason::Broken(ErrorKind::OutOfMemory)));
            }
        }
        self.dial_sessions(now);
        self.end_if_reached();
    }

    fn on_reached(&mut self, peer: PeerId, outcome: Result<Duration, CloseReason>) {
        let place = self.heard.get_mut(&peer).map(|heard| &mut heard.place);
        if let (Some(PeerPlace::At(_, reached)), Phase::Reach { left, .. }) =
            (place, &mut self.phase)
        {
            *reached = outcome;
            *left -= 1;
        }
    }

    fn end_if_reached(&mut self) {
        if !matches!(self.phase, Phase::Reach { left: 0, .. }) {
            return;
        }
        self.findings.peers = std::mem::take(&mut self.heard).into_values().collect();
        for peer in &mut self.findings.peers {
            peer.is_beaconing = self.beaconing.has(peer.id, peer.from);
        }
        self.findings.beaconing = self.beaconing.heard.values().cloned().collect();
        for peer in self.findings.peers.clone() {
            self.tell(Finding::Peer(peer));
        }
        for peer in self.findings.beaconing.clone() {
            self.tell(Finding::Beaconing(peer));
        }
        for peer in self.findings.listed.clone() {
            self.tell(Finding::Listed(peer));
        }
        self.end(Outcome::AllDone);
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        for connection in self.connections.ids() {
            self.connections.remove(connection);
            self.reset(connection, CloseReason::Done);
        }
        self.leave();
        self.actions.push_back(Action::Exit(outcome));
    }

    fn on_connected(&mut self, now: Instant, connection: ConnectionId) {
        match (self.connections.get_mut(connection), self.phase) {
            (Some(Connection::Registry(registration)), Phase::AskRegistry { since }) => {
                registration.handle_connected(now);
                registration.look_up(now, self.number);
                self.findings.registry.connected_in = Some(now - since);
                self.phase = Phase::AskRegistry { since: now };
                self.after(now, connection);
            }
            (Some(&mut Connection::Peer(peer)), Phase::Reach { since, .. }) => {
                self.connections.remove(connection);
                self.reset(connection, CloseReason::Done);
                self.on_reached(peer, Ok(now - since));
                self.end_if_reached();
            }
            (Some(Connection::Session(_)), _) => self.on_session_connected(now, connection),
            (Some(Connection::Listing(question)), _) => {
                question.handle_connected(now);
                self.after(now, connection);
            }
            _ => {}
        }
    }

    fn on_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        if self.on_session_bytes(now, connection, bytes)
            || self.on_listing_bytes(now, connection, bytes)
        {
            return;
        }
        let mut at = 0;
        while let Some(Connection::Registry(registration)) = self.connections.get_mut(connection) {
            match registration.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistrationEvent::Address { peer, address })) => {
                    self.on_address(now, peer, address);
                }
                Ok(Some(_)) => debug_assert!(false, "nothing is registered"),
                Ok(None) => break,
                Err(reason) => return self.close(now, connection, reason),
            }
        }
        self.after(now, connection);
    }

    fn on_address(&mut self, now: Instant, peer: PeerId, address: Option<SocketAddrV4>) {
        match &mut self.phase {
            Phase::AskRegistry { since } => {
                self.findings.registry.answered_in = Some(now - *since);
                self.ask_for_peers(now);
                self.hear(now);
            }
            Phase::LookUp { left } => {
                *left -= 1;
                let is_last = *left == 0;
                if let Some(heard) = self.heard.get_mut(&peer) {
                    let unanswered = Err(CloseReason::TimedOut(Timer::Connect));
                    let at = |address| PeerPlace::At(address, unanswered);
                    heard.place = address.map_or(PeerPlace::Unknown, at);
                }
                if is_last {
                    self.reach(now);
                }
            }
            Phase::Resolve | Phase::Hear { .. } | Phase::Reach { .. } | Phase::Over => {}
        }
    }

    /// Closes with a reset: the reference spins after an orderly close.
    fn reset(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.actions.push_back(Action::Close { connection, how: CloseHow::Reset, reason });
    }

    fn close(&mut self, now: Instant, connection: ConnectionId, reason: CloseReason) {
        if self.connections.get(connection).is_some() {
            self.reset(connection, reason);
            self.lose(now, connection, reason);
        }
    }

    /// A connection is over, though not all was done for which it was made.
    fn lose(&mut self, now: Instant, connection: ConnectionId, reason: CloseReason) {
        match self.connections.remove(connection) {
            Some(Connection::Registry(_)) => {
                // A registry that does not answer once is not waited for again.
                self.registry = None;
                match self.phase {
                    Phase::AskRegistry { .. } => {
                        self.findings.registry.failure = Some(reason);
                        self.hear(now);
                    }
                    Phase::LookUp { .. } => self.reach(now),
                    Phase::Resolve | Phase::Hear { .. } | Phase::Reach { .. } | Phase::Over => {}
                }
            }
            Some(Connection::Listing(_)) => self.on_listing_lost(reason),
            Some(Connection::Peer(peer)) => {
                self.on_reached(peer, Err(reason));
                self.end_if_reached();
            }
            Some(Connection::Session(dialed)) => self.lose_session(now, dialed.target, reason),
            None => {}
        }
    }

    /// What every input about the registry, or a session, ends with.
    fn after(&mut self, now: Instant, connection: ConnectionId) {
        if let Some(Connection::Session(dialed)) = self.connections.get_mut(connection) {
            dialed.fill(now);
        }
        let deadline = match self.connections.get(connection) {
            Some(Connection::Registry(registration) | Connection::Listing(registration)) => {
                registration.poll_timeout()
            }
            Some(Connection::Session(dialed)) => {
                dialed.session.as_ref().and_then(|session| session.poll_timeout())
            }
            Some(Connection::Peer(_)) | None => return,
        };
        if self.transmit(connection).is_some() {
            self.actions.push_back(Action::Transmit(connection));
        }
        if let Some(deadline) = deadline {
            self.connections.arm(connection, deadline);
        }
    }
}

impl Node for DoctorNode {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        let hears =
            matches!(self.phase, Phase::Resolve | Phase::AskRegistry { .. } | Phase::Hear { .. });
        match input {
            Input::Datagram { from, bytes } if hears => self.on_datagram(*from.ip(), bytes),
            Input::Beacon { from, bytes } if hears => self.on_beacon(from, bytes),
            Input::Resolved(answer) if self.phase == Phase::Resolve => match answer {
                Ok(host) => self.ask_registry(now, self.registry_at.at(host)),
                Err(why) => {
                    self.findings.registry.not_found = Some(why);
                    self.hear(now);
                }
            },
            Input::NotSent { from, to, kind } => self.on_not_sent(from, to, kind),
            Input::Connected(connection) => self.on_connected(now, connection),
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReadClosed(connection) => self.close(now, connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, kind } => {
                self.lose(now, connection, CloseReason::Broken(kind));
            }
            Input::Stop(signal) => self.end(Outcome::Stopped(signal)),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(connection) = self.connections.pop_due(now) {
            let verdict = match self.connections.get_mut(connection) {
                Some(Connection::Registry(registration) | Connection::Listing(registration)) => {
                    registration.handle_timeout(now)
                }
                Some(Connection::Peer(_)) => Err(CloseReason::TimedOut(Timer::Connect)),
                Some(Connection::Session(dialed)) => dialed.handle_timeout(now),
                None => continue,
            };
            match verdict {
                Ok(()) => self.after(now, connection),
                Err(reason) => self.close(now, connection, reason),
            }
        }
        if let Phase::Hear { until } = self.phase
            && now >= until
        {
            self.look_up(now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let until = match self.phase {
            Phase::Hear { until } => Some(until),
            _ => None,
        };
        [until, self.connections.next_deadline()].into_iter().flatten().min()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        match self.connections.get(connection)? {
            Connection::Registry(registration) | Connection::Listing(registration) => {
                registration.transmit()
            }
            Connection::Peer(_) => None,
            Connection::Session(dialed) => dialed.transmit(),
        }
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        match self.connections.get_mut(connection) {
            Some(Connection::Registry(registration) | Connection::Listing(registration)) => {
                registration.transmitted(len_bytes);
            }
            Some(Connection::Session(dialed)) => dialed.transmitted(now, len_bytes),
            Some(Connection::Peer(_)) | None => {}
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        match self.connections.get(connection) {
            // What comes queues nothing.
            Some(Connection::Registry(_) | Connection::Listing(_)) => usize::MAX,
            Some(Connection::Session(dialed)) => {
                let session = dialed.session.as_ref();
                session.map_or(0, |session| session.read_allowance_bytes())
            }
            // Nothing that a peer of version 0 says matters.
            Some(Connection::Peer(_)) | None => 0,
        }
    }
}
