//! What the doctor found, and what follows from all of it. The words are in `ui::doctor`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::exit::ExitCode;
use crate::node::Interface;
use crate::proto::CloseReason;
use crate::wire::PeerId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Port(PortFinding),
    Registry(RegistryFinding),
    Interface(InterfaceFinding),
    Peer(PeerFinding),
}

/// Whether the offer port can be shared with other programs.
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
    /// Its address; `None` if the name of its host has none.
    pub address: Option<SocketAddrV4>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The offer port could not be had, so nothing was tried.
    NoPort,
    /// The system refused it.
    Refused(ErrorKind),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFinding {
    pub id: PeerId,
    /// Where its first offer came from.
    pub from: Ipv4Addr,
    pub offers: u64,
    pub place: PeerPlace,
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
    pub(super) interfaces: Vec<InterfaceFinding>,
    pub(super) peers: Vec<PeerFinding>,
}

/// What follows: whether files could be exchanged; if not, the first thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The offer port cannot be shared.
    NoPort(PortFinding),
    /// There is no registry.
    NoRegistry(RegistryFinding),
    /// No address of this machine has a broadcast address.
    NoBroadcastAddress,
    /// No offer leaves this machine.
    NothingSent(NothingSent),
    /// No broadcast comes back.
    NothingBack { interfaces: Vec<String>, port: u16 },
    /// No peer was heard, though nothing is in the way here.
    NobodyHeard { port: u16 },
    /// The registry, here as the user has it, knows none of the peers heard.
    NobodyKnown { registry: String, peers: usize },
    /// None of the peers that the registry knows was reached; the first of them, and where its
    /// first offer came from.
    NobodyReached { id: PeerId, from: Ipv4Addr, address: SocketAddrV4, reason: CloseReason },
    /// Files can be exchanged, but with a problem what is shared here is not found.
    Fine { reached: usize, peers: usize, problem: Option<NothingSent> },
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
            Self::NoPort(PortFinding { error: Some(ErrorKind::AddrInUse), .. }) => {
                ExitCode::AddressInUse
            }
            Self::NoRegistry(_) => ExitCode::Unreachable,
            Self::NobodyHeard { .. } => ExitCode::NotOffered,
            Self::Fine { .. } => ExitCode::Done,
            Self::NoPort(_)
            | Self::NoBroadcastAddress
            | Self::NothingSent(_)
            | Self::NothingBack { .. }
            | Self::NobodyKnown { .. }
            | Self::NobodyReached { .. } => ExitCode::Other,
        }
    }
}

impl Findings {
    pub(super) fn verdict(&self) -> Verdict {
        if self.port.error.is_some() {
            return Verdict::NoPort(self.port.clone());
        }
        if self.registry.address.is_none() || self.registry.failure.is_some() {
            return Verdict::NoRegistry(self.registry.clone());
        }
        let peers = self.peers.len();
        if peers == 0 {
            return self.nobody_heard();
        }
        let is_reached = |peer: &&PeerFinding| matches!(peer.place, PeerPlace::At(_, Ok(_)));
        let reached = self.peers.iter().filter(is_reached).count();
        if reached > 0 {
            return Verdict::Fine { reached, peers, problem: self.nothing_sent() };
        }
        let failed = self.peers.iter().find_map(|peer| match peer.place {
            PeerPlace::At(address, Err(reason)) => Some((peer, address, reason)),
            _ => None,
        });
        match failed {
            Some((&PeerFinding { id, from, .. }, address, reason)) => {
                Verdict::NobodyReached { id, from, address, reason }
            }
            None => Verdict::NobodyKnown { registry: self.registry.registry.clone(), peers },
        }
    }

    fn nobody_heard(&self) -> Verdict {
        let (port, used) = (self.port.port, self.used_interfaces());
        if used.is_empty() {
            return Verdict::NoBroadcastAddress;
        }
        if let Some(problem) = self.nothing_sent() {
            return Verdict::NothingSent(problem);
        }
        match used.iter().all(|used| !used.is_heard_back) {
            true => Verdict::NothingBack { interfaces: names(&used), port },
            false => Verdict::NobodyHeard { port },
        }
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

fn names(interfaces: &[&InterfaceFinding]) -> Vec<String> {
    interfaces.iter().map(|used| used.interface.name.clone()).collect()
}
