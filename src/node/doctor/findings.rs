//! What the doctor found, and what follows from all of it. The words are in `ui::doctor`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::exit::ExitCode;
use crate::node::Interface;
use crate::proto::{CloseReason, Timer};
use crate::wire::PeerId;
use crate::wire::v1::PeerName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Port(PortFinding),
    Registry(RegistryFinding),
    Interface(InterfaceFinding),
    BeaconPort(PortFinding),
    Beacons(BeaconsFinding),
    Peer(PeerFinding),
    Beaconing(BeaconingPeer),
    /// How many peers of version 1 the registry lists, or why it lists none.
    Listing(Result<usize, CloseReason>),
    Listed(ListedFinding),
}

/// Whether a port can be shared with other programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFinding {
    pub port: u16,
    pub error: Option<ErrorKind>,
}

/// Whether there is a registry, and how fast it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryFinding {
    /// Where it should be, as the user has it.
    pub registry: String,
    /// Its address, unless the name of its host leads to none.
    pub address: Option<SocketAddrV4>,
    /// Why that is so, in words.
    pub not_found: Option<String>,
    pub connected_in: Option<Duration>,
    pub answered_in: Option<Duration>,
    pub failure: Option<CloseReason>,
}

/// What goes out and comes in on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceFinding {
    pub interface: Interface,
    pub to: Option<SocketAddrV4>,
    /// Why they do not.
    pub error: Option<NotSent>,
    pub is_heard_back: bool,
    /// Offers heard from its network.
    pub offers: u64,
    pub peers: BTreeSet<PeerId>,
}

/// What of beacons goes out and comes in on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconsFinding {
    pub interface: Interface,
    pub to: Option<SocketAddrV4>,
    /// Why they do not.
    pub error: Option<NotSent>,
    pub is_heard_back: bool,
    /// Beacons heard from its network.
    pub beacons: u64,
    /// The instances that they are from.
    pub peers: BTreeSet<u64>,
}

/// A peer of version 1 whose beacons were heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeaconingPeer {
    pub id: PeerId,
    pub name: PeerName,
    /// Where its first beacon came from.
    pub from: Ipv4Addr,
    /// Files that it shares, as it says.
    pub files: u32,
    pub beacons: u64,
    /// As in [`PeerFinding`].
    pub interface: Option<String>,
    pub is_examined: bool,
    /// Whether it is a member of our group.
    pub is_member: bool,
    pub session: SessionFinding,
}

/// A peer of version 1 that the registry lists, and of which no beacon was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFinding {
    pub id: PeerId,
    /// None until it has said it.
    pub name: PeerName,
    pub address: SocketAddrV4,
    /// How long it took until the peer had said who it is, or why it did not.
    pub session: Result<Duration, CloseReason>,
}

/// Whether there was a session with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionFinding {
    /// Its beacons say that it cannot be dialed.
    NoPort,
    /// It is in no network of this machine: such beacons are ignored.
    Foreign,
    /// A heard port below 1024 is not dialed.
    LowPort(u16),
    /// How long it took until the peer had said who it is, or why it did not.
    At(SocketAddrV4, Result<Duration, CloseReason>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The port could not be had, so nothing was tried.
    NoPort,
    /// They would go to this machine alone.
    OwnAddress,
    /// The system refused it.
    Refused(ErrorKind),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFinding {
    pub id: PeerId,
    /// Where its first offer came from.
    pub from: Ipv4Addr,
    pub offers: u64,
    /// The interface in whose network that is; `None` if it is in none of this machine's.
    pub interface: Option<String>,
    /// Whether that interface is one of those that are examined.
    pub is_examined: bool,
    pub place: PeerPlace,
    /// Whether its beacons were heard, too.
    pub is_beaconing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPlace {
    /// No registry told.
    NotTold,
    /// The registry does not know it.
    Unknown,
    /// Here; how long connecting to it took, or why it failed.
    At(SocketAddrV4, Result<Duration, CloseReason>),
}

#[derive(Debug)]
pub(super) struct Findings {
    pub(super) port: PortFinding,
    pub(super) registry: RegistryFinding,
    /// Whether the user named it: else it is missed only where it would help.
    pub(super) is_registry_named: bool,
    pub(super) beacon_port: PortFinding,
    pub(super) beacons: Vec<BeaconsFinding>,
    pub(super) beaconing: Vec<BeaconingPeer>,
    /// `None` while the registry was not asked for peers, or has not answered.
    pub(super) listing: Option<Result<usize, CloseReason>>,
    pub(super) listed: Vec<ListedFinding>,
    /// Whether peers were heard that have a secret which we have not.
    pub(super) has_heard_others: bool,
    pub(super) interfaces: Vec<InterfaceFinding>,
    /// The addresses of this machine that the user did not name.
    pub(super) others: Vec<Interface>,
    pub(super) peers: Vec<PeerFinding>,
}

/// What follows: whether files could be exchanged; if not, the first thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The offer port cannot be shared.
    NoPort(PortFinding),
    /// The beacon port cannot be shared, and nobody was reached without beacons.
    NoBeaconPort(PortFinding),
    /// There is no registry.
    NoRegistry(RegistryFinding),
    /// The user named interfaces, but others are found by another one.
    WrongInterface { named: Vec<String>, right: String },
    /// An address is in no network of this machine, whose interfaces these are.
    AnotherSubnet { what: Foreign, interfaces: Vec<Interface> },
    /// No address of this machine has a broadcast address.
    NoBroadcastAddress,
    /// No offer leaves this machine.
    NothingSent(NothingSent),
    /// No broadcast comes back.
    NothingBack { interfaces: Vec<String>, port: u16 },
    /// No peer was heard, though nothing is in the way here.
    NobodyHeard { port: u16, beacon_port: u16 },
    /// No peer was heard, but some that have a secret which we have not.
    OthersHeard,
    /// The registry, here as the user has it, knows none of the peers heard.
    NobodyKnown { registry: String, peers: usize },
    /// None of the peers that the registry knows was reached; the first of them, and where its
    /// first offer came from.
    NobodyReached { id: PeerId, from: Ipv4Addr, address: SocketAddrV4, reason: CloseReason },
    /// So many peers were heard, and none can be dialed.
    NobodyDialed { peers: usize },
    /// Files can be exchanged; `unknown` peers of version 0 need a registry for that. With a
    /// problem what is shared here is not found.
    Fine { reached: usize, peers: usize, unknown: usize, problem: Option<NothingSent> },
}

/// What is in no network of this machine, and by that not found or not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// The registry, which did not answer.
    Registry(RegistryFinding),
    /// The registry, which answered, though nobody was heard.
    Answering(SocketAddrV4),
    /// A peer.
    Peer { id: PeerId, from: Ipv4Addr },
}

/// Why no offer leaves this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NothingSent {
    pub interfaces: Vec<String>,
    /// Why none leaves by the first of them.
    pub error: NotSent,
    pub port: u16,
}

impl Verdict {
    pub fn code(&self) -> ExitCode {
        match self {
            Self::NoPort(PortFinding { error: Some(ErrorKind::AddrInUse), .. })
            | Self::NoBeaconPort(PortFinding { error: Some(ErrorKind::AddrInUse), .. }) => {
                ExitCode::AddressInUse
            }
            Self::NoRegistry(_) => ExitCode::Unreachable,
            Self::AnotherSubnet { what: Foreign::Registry(_), .. } => ExitCode::Unreachable,
            Self::NobodyHeard { .. }
            | Self::OthersHeard
            | Self::AnotherSubnet { what: Foreign::Answering(_), .. } => ExitCode::NotOffered,
            Self::Fine { .. } => ExitCode::Done,
            Self::NoPort(_)
            | Self::NoBeaconPort(_)
            | Self::NobodyDialed { .. }
            | Self::WrongInterface { .. }
            | Self::AnotherSubnet { what: Foreign::Peer { .. }, .. }
            | Self::NoBroadcastAddress
            | Self::NothingSent(_)
            | Self::NothingBack { .. }
            | Self::NobodyKnown { .. }
            | Self::NobodyReached { .. } => ExitCode::Other,
        }
    }
}

impl Findings {
    /// Returns whether there is a registry that answers.
    pub(super) fn has_registry(&self) -> bool {
        self.registry.address.is_some() && self.registry.failure.is_none()
    }

    pub(super) fn verdict(&self) -> Verdict {
        if self.port.error.is_some() {
            return Verdict::NoPort(self.port.clone());
        }
        let has_registry = self.has_registry();
        if let Some(right) = self.right_interface(has_registry) {
            let named = self.interfaces.iter().map(|named| named.interface.name.clone()).collect();
            return Verdict::WrongInterface { named, right };
        }
        if !has_registry && self.is_registry_named {
            return self.no_registry();
        }
        let (reached, peers) = self.count_peers();
        if reached > 0 {
            let is_unknown = |peer: &&PeerFinding| {
                !peer.is_beaconing && matches!(peer.place, PeerPlace::NotTold)
            };
            let unknown = self.peers.iter().filter(is_unknown).count();
            return Verdict::Fine { reached, peers, unknown, problem: self.nothing_sent() };
        }
        if self.beacon_port.error.is_some() {
            return Verdict::NoBeaconPort(self.beacon_port.clone());
        }
        match peers {
            0 => self.nobody_heard(),
            _ => self.nobody_reached(has_registry, peers),
        }
    }

    /// Returns how many peers were reached, and how many heard: by both versions it is one.
    fn count_peers(&self) -> (usize, usize) {
        let by_0 = self
            .peers
            .iter()
            .map(|peer| ((peer.id, peer.from), matches!(peer.place, PeerPlace::At(_, Ok(_)))));
        let by_1 = self.beaconing.iter().map(|peer| {
            ((peer.id, peer.from), matches!(peer.session, SessionFinding::At(_, Ok(_))))
        });
        let listed = self.listed.iter();
        let listed = listed.map(|peer| ((peer.id, *peer.address.ip()), peer.session.is_ok()));
        let mut peers = BTreeMap::new();
        for (peer, is_reached) in by_0.chain(by_1).chain(listed) {
            *peers.entry(peer).or_insert(false) |= is_reached;
        }
        (peers.values().filter(|is_reached| **is_reached).count(), peers.len())
    }

    fn no_registry(&self) -> Verdict {
        // Without a network nobody is reached, wherever the registry is.
        if self.used_interfaces().is_empty() {
            return Verdict::NoBroadcastAddress;
        }
        let registry = self.registry.clone();
        match self.is_registry_foreign() && is_way_missing(&registry) {
            true => self.another_subnet(Foreign::Registry(registry)),
            false => Verdict::NoRegistry(registry),
        }
    }

    fn nobody_reached(&self, has_registry: bool, peers: usize) -> Verdict {
        let foreign_0 = self.peers.iter().find(|peer| peer.interface.is_none());
        let foreign_1 = self.beaconing.iter().find(|peer| peer.interface.is_none());
        let foreign = foreign_0.map(|peer| (peer.id, peer.from));
        if let Some((id, from)) = foreign.or_else(|| foreign_1.map(|peer| (peer.id, peer.from))) {
            return self.another_subnet(Foreign::Peer { id, from });
        }
        let failed_0 = self.peers.iter().find_map(|peer| match peer.place {
            PeerPlace::At(address, Err(reason)) => Some((peer.id, peer.from, address, reason)),
            _ => None,
        });
        let failed_1 = self.beaconing.iter().find_map(|peer| match peer.session {
            SessionFinding::At(address, Err(reason)) => Some((peer.id, peer.from, address, reason)),
            _ => None,
        });
        let failed_beyond = self.listed.iter().find_map(|peer| {
            Some((peer.id, *peer.address.ip(), peer.address, peer.session.err()?))
        });
        if let Some((id, from, address, reason)) = failed_0.or(failed_1).or(failed_beyond) {
            return Verdict::NobodyReached { id, from, address, reason };
        }
        match (self.beaconing.is_empty(), has_registry) {
            (false, _) => Verdict::NobodyDialed { peers: self.beaconing.len() },
            (true, false) => self.no_registry(),
            (true, true) => {
                Verdict::NobodyKnown { registry: self.registry.registry.clone(), peers }
            }
        }
    }

    fn nobody_heard(&self) -> Verdict {
        if self.has_heard_others {
            return Verdict::OthersHeard;
        }
        let (port, used) = (self.port.port, self.used_interfaces());
        if used.is_empty() {
            return Verdict::NoBroadcastAddress;
        }
        if let Some(problem) = self.nothing_sent() {
            return Verdict::NothingSent(problem);
        }
        match used.iter().all(|used| !used.is_heard_back) {
            true => Verdict::NothingBack { interfaces: names(&used), port },
            false if !self.is_beacon_back(&used) => {
                Verdict::NothingBack { interfaces: names(&used), port: self.beacon_port.port }
            }
            false => match self.registry.address.filter(|_| self.is_registry_foreign()) {
                Some(address) => self.another_subnet(Foreign::Answering(address)),
                None => Verdict::NobodyHeard { port, beacon_port: self.beacon_port.port },
            },
        }
    }

    /// Returns whether a beacon of ours came back on one of these.
    fn is_beacon_back(&self, used: &[&InterfaceFinding]) -> bool {
        let is_used = |it: &BeaconsFinding| used.iter().any(|used| used.interface == it.interface);
        self.beacons.iter().any(|it| it.is_heard_back && is_used(it))
    }

    /// Returns the interface by which others are found though the user named none like that.
    fn right_interface(&self, has_registry: bool) -> Option<String> {
        let by_0 = self.peers.iter().map(|peer| (peer.is_examined, &peer.interface));
        let by_1 = self.beaconing.iter().map(|peer| (peer.is_examined, &peer.interface));
        let mut heard = by_0.chain(by_1);
        if self.others.is_empty() || heard.clone().any(|(is_examined, _)| is_examined) {
            return None;
        }
        let heard_on = heard.find_map(|(_, interface)| interface.clone());
        heard_on.or_else(|| {
            let host = *self.registry.address.filter(|_| !has_registry)?.ip();
            let is_there = |interface: &&Interface| interface.subnet.contains(host);
            let examined = self.interfaces.iter().map(|examined| &examined.interface);
            match examined.clone().any(|interface| is_there(&interface)) {
                true => None,
                false => self.others.iter().find(is_there).map(|there| there.name.clone()),
            }
        })
    }

    /// Returns the addresses of this machine.
    fn all(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().map(|examined| &examined.interface).chain(&self.others)
    }

    fn is_registry_foreign(&self) -> bool {
        let Some(address) = self.registry.address else { return false };
        let has_network = self.all().any(|interface| !interface.address.is_loopback());
        has_network && !self.all().any(|interface| interface.subnet.contains(*address.ip()))
    }

    fn another_subnet(&self, what: Foreign) -> Verdict {
        let others = self.all().filter(|interface| !interface.address.is_loopback());
        Verdict::AnotherSubnet { what, interfaces: others.cloned().collect() }
    }

    /// Returns the interfaces on which others can be found. The loopback counts only if
    /// there is no other.
    fn used_interfaces(&self) -> Vec<&InterfaceFinding> {
        let is_used = |used: &&InterfaceFinding| used.to.is_some() && used.interface.is_up;
        let mut used: Vec<_> = self.interfaces.iter().filter(is_used).collect();
        let is_loopback = |used: &InterfaceFinding| used.interface.address.is_loopback();
        if !used.iter().all(|used| is_loopback(used)) {
            used.retain(|used| !is_loopback(used));
        }
        used
    }

    /// Returns why no offer leaves this machine, if none does.
    fn nothing_sent(&self) -> Option<NothingSent> {
        let used = self.used_interfaces();
        if used.iter().any(|used| used.error.is_none()) {
            return None;
        }
        let error = used.first()?.error?;
        Some(NothingSent { interfaces: names(&used), error, port: self.port.port })
    }
}

/// Returns whether the registry's host did not answer at all.
fn is_way_missing(registry: &RegistryFinding) -> bool {
    use ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(
        registry.failure,
        Some(
            CloseReason::TimedOut(Timer::Connect)
                | CloseReason::Broken(HostUnreachable | NetworkUnreachable | TimedOut)
        )
    )
}

fn names(interfaces: &[&InterfaceFinding]) -> Vec<String> {
    interfaces.iter().map(|used| used.interface.name.clone()).collect()
}
