//! Peers of version 1, as the doctor finds them: it sends one query on each interface, hears the
//! beacons that come, and has a session with each peer that can be dialed, which ends once that
//! peer has said who it is. Others forget the doctor at its end: it says that it leaves.
//!
//! Invariant: of the dials that are left in [`Phase::Reach`], those of sessions are either in
//! `to_dial` or counted in `dialing`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::findings::{BeaconingPeer, BeaconsFinding, Finding, NotSent, SessionFinding};
use super::{Connection, DoctorNode, Phase};
use crate::limits::{DIALED_PORT_MIN, Limits, PROBED_PEERS_MAX, UNPROVEN_DIALS_MAX};
use crate::node::peer::Seal;
use crate::node::{Action, BeaconSettings, CloseHow, ConnectionId, GroupSettings, Interface};
use crate::proto::v1::{Session, SessionEvent, SessionSettings};
use crate::proto::{CloseReason, Timer, Transmit};
use crate::wire::v1::{Beacon, BeaconKind, PeerName};
use crate::wire::{Malformed, PeerId};

/// What was heard, and what is to be dialed.
#[derive(Debug)]
pub(super) struct Beaconing {
    limits: Rc<Limits>,
    our: Rc<SessionSettings>,
    keys: BeaconSettings,
    group: Option<GroupSettings>,
    /// Of the datagrams sent.
    counter: u64,
    /// By their instances.
    pub(super) heard: BTreeMap<u64, BeaconingPeer>,
    to_dial: VecDeque<(Target, SocketAddrV4)>,
    dialing: usize,
}

/// A peer that is dialed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Beacons of this instance came.
    Heard(u64),
    /// The registry lists it; its number among the findings.
    Listed(usize),
}

/// A session that is being made.
#[derive(Debug)]
pub(super) struct Dialed {
    pub(super) target: Target,
    since: Instant,
    /// `None` until the connection is made.
    pub(super) session: Option<Session>,
    /// If the peer is a member of our group.
    seal: Option<Seal>,
}

/// Returns what is known of beacons on these interfaces before any is sent; they go where offers
/// go, to a port of their own.
pub(super) fn unheard(
    interfaces: &[(Interface, Option<SocketAddrV4>)],
    port: u16,
) -> Vec<BeaconsFinding> {
    let unheard = |(interface, to): &(Interface, Option<SocketAddrV4>)| BeaconsFinding {
        interface: interface.clone(),
        to: to.map(|to| SocketAddrV4::new(*to.ip(), port)),
        error: None,
        is_heard_back: false,
        beacons: 0,
        peers: BTreeSet::new(),
    };
    interfaces.iter().map(unheard).collect()
}

impl Dialed {
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        match &mut self.session {
            Some(session) => session.handle_timeout(now),
            None => Err(CloseReason::TimedOut(Timer::Connect)),
        }
    }

    /// Seals what the session has to send.
    pub(super) fn fill(&mut self, now: Instant) {
        if let (Some(seal), Some(session)) = (&mut self.seal, &mut self.session) {
            seal.fill(now, session);
        }
    }

    pub(super) fn transmit(&self) -> Option<Transmit<'_>> {
        match (&self.seal, self.session.as_ref()?) {
            (Some(seal), session) => seal.transmit(session),
            (None, session) => session.transmit(),
        }
    }

    pub(super) fn transmitted(&mut self, now: Instant, len_bytes: usize) {
        match (&mut self.seal, &mut self.session) {
            (Some(seal), Some(session)) => {
                seal.transmitted(len_bytes);
                seal.fill(now, session);
            }
            (_, session) => {
                session.iter_mut().for_each(|session| _ = session.transmitted(now, len_bytes));
            }
        }
    }
}

impl Beaconing {
    /// Returns whether peers without a secret count.
    pub(super) fn is_open(&self) -> bool {
        self.keys.is_open
    }

    /// Puts more of them in line.
    pub(super) fn line_up(&mut self, more: impl Iterator<Item = (Target, SocketAddrV4)>) {
        self.to_dial.extend(more);
    }

    /// Returns whether beacons came from this peer there: by both versions it is one.
    pub(super) fn has(&self, id: PeerId, from: Ipv4Addr) -> bool {
        self.heard.values().any(|heard| (heard.id, heard.from) == (id, from))
    }

    /// Knows nobody. `instance` tells our beacons from those of others.
    pub(super) fn new(
        (peer, instance): (PeerId, u64),
        keys: BeaconSettings,
        group: Option<GroupSettings>,
    ) -> Self {
        Self {
            limits: Rc::new(Limits::PROBE),
            our: Rc::new(SessionSettings { peer, instance, name: PeerName::none() }),
            keys,
            group,
            counter: 0,
            heard: BTreeMap::new(),
            to_dial: VecDeque::new(),
            dialing: 0,
        }
    }
}

impl DoctorNode {
    /// Sends a datagram on each interface, to whose network it goes.
    fn send_beacons(&mut self, kind: BeaconKind) {
        let Beaconing { our, keys, counter, .. } = &mut self.beaconing;
        let SessionSettings { peer, instance, name } = **our;
        let (port, generation, files, tags) = (0, 0, 0, Vec::new());
        let mut beacon =
            Beacon { kind, port, peer, instance, counter: 0, generation, files, name, tags };
        let ways = self.findings.beacons.iter().filter(|heard| heard.error.is_none());
        let ways: Vec<_> = ways.filter_map(|it| Some((it.interface.address, it.to?))).collect();
        for key in keys.sent_with() {
            *counter += 1;
            beacon.counter = *counter;
            let datagram = beacon.encode(key);
            for &(from, to) in &ways {
                let datagram = datagram.as_slice().into();
                self.actions.push_back(Action::Send { from, to, datagram });
            }
        }
    }

    /// Asks all peers to show themselves.
    pub(super) fn query(&mut self) {
        let all: Vec<_> = self.findings.beacons.iter().map(|it| it.interface.address).collect();
        for heard in &mut self.findings.beacons {
            if self.findings.beacon_port.error.is_some() {
                heard.error = Some(NotSent::NoPort);
            } else if heard.to.is_some_and(|to| all.contains(to.ip())) {
                heard.error = Some(NotSent::OwnAddress);
            }
        }
        self.send_beacons(BeaconKind::Query);
    }

    /// Tells what of beacons goes out and comes in, unless nothing was heard at all.
    pub(super) fn tell_beacons(&mut self) {
        self.tell(Finding::BeaconPort(self.findings.beacon_port.clone()));
        if self.beaconing.counter == 0 {
            return;
        }
        for heard in self.findings.beacons.clone() {
            if heard.to.is_some() && heard.interface.is_up {
                self.tell(Finding::Beacons(heard));
            }
        }
    }

    /// Lets others forget us, if they have heard us.
    pub(super) fn leave(&mut self) {
        if self.beaconing.counter > 0 {
            self.send_beacons(BeaconKind::Leaving);
        }
    }

    pub(super) fn on_beacon(&mut self, from: SocketAddrV4, bytes: &[u8]) {
        // Those of another group, of a later version, and wrong ones are of no peer.
        let (beacon, is_member) = match self.beaconing.keys.heard(bytes) {
            Ok(heard) => heard,
            Err(malformed) => {
                let is_of_others = malformed == Malformed::Mac && Beacon::has_mac(bytes);
                self.findings.has_heard_others |= is_of_others;
                return;
            }
        };
        let instance = beacon.instance;
        if instance == self.beaconing.our.instance {
            let mut beacons = self.findings.beacons.iter_mut();
            let ours = beacons.find(|heard| heard.interface.address == *from.ip());
            ours.into_iter().for_each(|heard| heard.is_heard_back = true);
            return;
        }
        if beacon.kind == BeaconKind::Leaving {
            self.beaconing.heard.remove(&instance);
            return;
        }
        let is_known = self.beaconing.heard.contains_key(&instance);
        if is_known || self.beaconing.heard.len() < PROBED_PEERS_MAX {
            let new = self.heard_peer(from, &beacon);
            let heard = self.beaconing.heard.entry(instance).or_insert(new);
            heard.beacons += 1;
            heard.files = beacon.files;
            heard.is_member |= is_member;
        }
        let mut beacons = self.findings.beacons.iter_mut();
        let near = beacons.find(|heard| heard.interface.subnet.contains(*from.ip()));
        if let Some(heard) = near {
            heard.beacons += 1;
            if self.beaconing.heard.contains_key(&instance) {
                heard.peers.insert(instance);
            }
        }
    }

    /// Returns what is known of a peer by one beacon.
    fn heard_peer(&self, from: SocketAddrV4, beacon: &Beacon) -> BeaconingPeer {
        let from = *from.ip();
        let is_near = |interface: &&Interface| interface.subnet.contains(from);
        let examined = self.findings.beacons.iter().map(|heard| &heard.interface).find(is_near);
        let near = examined.or_else(|| self.findings.others.iter().find(is_near));
        let session = match beacon.port {
            _ if near.is_none() => SessionFinding::Foreign,
            0 => SessionFinding::NoPort,
            port if port < DIALED_PORT_MIN => SessionFinding::LowPort(port),
            port => {
                let unanswered = Err(CloseReason::TimedOut(Timer::Connect));
                SessionFinding::At(SocketAddrV4::new(from, port), unanswered)
            }
        };
        BeaconingPeer {
            id: beacon.peer,
            name: beacon.name,
            from,
            files: beacon.files,
            beacons: 0,
            interface: near.map(|interface| interface.name.clone()),
            is_examined: examined.is_some(),
            is_member: false,
            session,
        }
    }

    /// Returns how many peers there are to dial, and puts them in line.
    pub(super) fn line_up_sessions(&mut self) -> usize {
        let dialable =
            self.beaconing.heard.iter().filter_map(|(instance, peer)| match peer.session {
                SessionFinding::At(address, _) => Some((Target::Heard(*instance), address)),
                _ => None,
            });
        self.beaconing.to_dial = dialable.collect();
        self.beaconing.to_dial.len()
    }

    /// Dials those in line, as many at once as may be.
    pub(super) fn dial_sessions(&mut self, now: Instant) {
        while self.beaconing.dialing < UNPROVEN_DIALS_MAX {
            let Some((target, address)) = self.beaconing.to_dial.pop_front() else { return };
            self.beaconing.dialing += 1;
            let dialed = Dialed { target, since: now, session: None, seal: None };
            if self.dial(now, Connection::Session(Box::new(dialed)), address).is_none() {
                self.on_session(target, Err(CloseReason::Broken(ErrorKind::OutOfMemory)));
            }
        }
    }

    /// A dial has ended.
    fn on_session(&mut self, target: Target, outcome: Result<Duration, CloseReason>) {
        match target {
            Target::Heard(instance) => {
                let heard = self.beaconing.heard.get_mut(&instance);
                if let Some(SessionFinding::At(_, reached)) = heard.map(|it| &mut it.session) {
                    *reached = outcome;
                }
            }
            Target::Listed(number) => self.on_listed(number, outcome),
        }
        self.beaconing.dialing = self.beaconing.dialing.saturating_sub(1);
        if let Phase::Reach { left, .. } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
    }

    /// The connection of a session is made: says hello.
    pub(super) fn on_session_connected(&mut self, now: Instant, connection: ConnectionId) {
        let Beaconing { limits, our, group, heard, .. } = &self.beaconing;
        if let Some(Connection::Session(dialed)) = self.connections.get_mut(connection) {
            let mut session = Session::new(now, limits, our, true);
            let is_member = match dialed.target {
                Target::Heard(instance) => heard.get(&instance).is_some_and(|it| it.is_member),
                Target::Listed(_) => group.is_some(),
            };
            if is_member {
                dialed.seal = Seal::dialed(now, group.as_ref(), &mut session);
            }
            dialed.session = Some(session);
        }
        self.after(now, connection);
    }

    /// Takes in what came for a session. Returns whether it is one.
    pub(super) fn on_session_bytes(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        bytes: &[u8],
    ) -> bool {
        let Some(Connection::Session(dialed)) = self.connections.get_mut(connection) else {
            return false;
        };
        let (target, since) = (dialed.target, dialed.since);
        let Some(session) = &mut dialed.session else { return true };
        let event = match &mut dialed.seal {
            Some(seal) => seal.first_event(now, session, bytes),
            None => session.handle_bytes(now, bytes, &mut 0),
        };
        match event {
            Ok(Some(SessionEvent::Hello { peer, name, .. })) => {
                match target {
                    Target::Heard(instance) => {
                        if let Some(heard) = self.beaconing.heard.get_mut(&instance) {
                            (heard.id, heard.name) = (peer, name);
                        }
                    }
                    Target::Listed(number) => {
                        if let Some(listed) = self.findings.listed.get_mut(number) {
                            (listed.id, listed.name) = (peer, name);
                        }
                    }
                }
                self.connections.remove(connection);
                let (how, reason) = (CloseHow::Finish, CloseReason::Done);
                self.actions.push_back(Action::Close { connection, how, reason });
                self.on_session(target, Ok(now - since));
                self.dial_sessions(now);
                self.end_if_reached();
            }
            Ok(_) => self.after(now, connection),
            Err(reason) => self.close(now, connection, reason),
        }
        true
    }

    /// A dial was in vain, or no hello came.
    pub(super) fn lose_session(&mut self, now: Instant, target: Target, reason: CloseReason) {
        if let Phase::Reach { .. } = self.phase {
            self.on_session(target, Err(reason));
            self.dial_sessions(now);
            self.end_if_reached();
        }
    }
}
