//! What was found, in words and as data, and what follows from all of it.

use std::fmt::{self, Display, Write};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crate::cli::network::HostPort;
use crate::count::Count;
use crate::exit::ExitCode;
use crate::node::Subnet;
use crate::run::network::{Interface, why};
use crate::ui::{Event, text};
use crate::wire::{PeerId, Shown};

/// Something that was found: its `Display` is a line for people.
pub(super) trait Finding: Display {
    /// The same as an event.
    fn event(&self) -> Event;
}

/// Whether the offer port can be shared with other programs.
pub(super) struct PortFinding {
    pub(super) port: u16,
    pub(super) error: Option<ErrorKind>,
}

/// Whether there is a registry, and how fast.
pub(super) struct RegistryFinding {
    pub(super) registry: HostPort,
    pub(super) connected_in: Option<Duration>,
    pub(super) answered_in: Option<Duration>,
    /// Why there is none, and what to do about it.
    pub(super) error: Option<(String, String)>,
}

/// What goes out and comes in on an interface.
pub(super) struct InterfaceFinding {
    pub(super) interface: Interface,
    /// Where offers go.
    pub(super) to: Option<SocketAddrV4>,
    /// Why they do not.
    pub(super) error: Option<io::Error>,
    pub(super) is_heard_back: bool,
    /// Offers heard from its network, and from how many peers.
    pub(super) offers: u64,
    pub(super) peers: usize,
}

/// A peer that was heard.
pub(super) struct PeerFinding {
    pub(super) id: PeerId,
    /// Where its first offer came from.
    pub(super) from: Ipv4Addr,
    pub(super) offers: u64,
    pub(super) place: PeerPlace,
}

/// Where a peer is.
pub(super) enum PeerPlace {
    /// There was no registry to tell.
    NotTold,
    /// The registry does not know it.
    Unknown,
    /// Here, and how connecting to it went.
    At(SocketAddrV4, io::Result<Duration>),
}

/// Everything that was found.
pub(super) struct Findings {
    pub(super) port: PortFinding,
    pub(super) registry: RegistryFinding,
    pub(super) interfaces: Vec<InterfaceFinding>,
    pub(super) peers: Vec<PeerFinding>,
}

/// What follows.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) code: ExitCode,
    /// What is wrong, and what to do next.
    pub(super) text: String,
}

impl Findings {
    /// Whether files could be exchanged; if not, the first thing to mend.
    pub(super) fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.port.verdict() {
            return verdict;
        }
        if let Some((why, next)) = &self.registry.error {
            let text = format!("no registry at {}: {why}; {next}", self.registry.registry);
            return Verdict { code: ExitCode::Unreachable, text };
        }
        if self.peers.is_empty() {
            return self.nobody_heard();
        }
        let reached = self.peers.iter().filter(|peer| peer.is_reached()).count();
        if reached > 0 {
            let mut text = format!(
                "files can be exchanged with {reached} of {}",
                Count(self.peers.len(), "peer")
            );
            if let Some(problem) = self.nothing_sent() {
                let _ = write!(text, ", but what this machine shares is not found: {problem}");
            }
            return Verdict { code: ExitCode::Done, text };
        }
        let problem = self.peers.iter().find_map(PeerFinding::problem);
        let registry = &self.registry.registry;
        let text = problem.unwrap_or_else(|| {
            let peers = Count(self.peers.len(), "peer");
            format!("the registry at {registry} knows none of {peers} heard; do they use another?")
        });
        Verdict { code: ExitCode::Other, text }
    }

    fn nobody_heard(&self) -> Verdict {
        let port = self.port.port;
        let used = self.used_interfaces();
        if used.is_empty() {
            let text = "no interface with a broadcast address; connect this machine to a network, \
                or name an address with --broadcast";
            return Verdict { code: ExitCode::Other, text: text.to_owned() };
        }
        if let Some(text) = self.nothing_sent() {
            return Verdict { code: ExitCode::Other, text };
        }
        if used.iter().all(|used| !used.is_heard_back) {
            let names = names(&used);
            let text = format!(
                "broadcasts do not come back on {names}; does a firewall here drop UDP port {port}?"
            );
            return Verdict { code: ExitCode::Other, text };
        }
        let text = format!(
            "no offer was heard; share a file on another machine, and see that its firewall and \
            the network let broadcasts to UDP port {port} through"
        );
        Verdict { code: ExitCode::NotOffered, text }
    }

    /// The interfaces on which others can be found; what the loopback does says nothing about
    /// the others, if there are any.
    fn used_interfaces(&self) -> Vec<&InterfaceFinding> {
        let is_used = |used: &&InterfaceFinding| used.to.is_some() && used.interface.is_up;
        let mut used: Vec<_> = self.interfaces.iter().filter(is_used).collect();
        let is_loopback = |used: &InterfaceFinding| used.interface.address.is_loopback();
        if !used.iter().all(|used| is_loopback(used)) {
            used.retain(|used| !is_loopback(used));
        }
        used
    }

    /// Why no offer leaves this machine, if none does.
    fn nothing_sent(&self) -> Option<String> {
        let used = self.used_interfaces();
        if used.iter().any(|used| used.error.is_none()) {
            return None;
        }
        let (error, names) = (used.first()?.error.as_ref()?, names(&used));
        let next = match error.kind() {
            // What the system says of a datagram that a rule of its own drops.
            ErrorKind::PermissionDenied => {
                format!("does a firewall here drop outgoing UDP port {}?", self.port.port)
            }
            _ => "see that it has a route there, or name another address with --broadcast".into(),
        };
        Some(format!("offers cannot leave by {names}: {}; {next}", why(error)))
    }
}

/// The names of interfaces, in one line.
fn names(interfaces: &[&InterfaceFinding]) -> Shown<String> {
    let names: Vec<_> = interfaces.iter().map(|used| used.interface.name.as_str()).collect();
    Shown(names.join(", "))
}

impl PortFinding {
    fn verdict(&self) -> Option<Verdict> {
        let verdict = match self.error? {
            ErrorKind::AddrInUse => {
                let next = "find it with ss -ulpn, or choose another port with --broadcast, \
                    for every peer";
                Verdict { code: ExitCode::AddressInUse, text: format!("{self}; {next}") }
            }
            _ => Verdict { code: ExitCode::Other, text: self.to_string() },
        };
        Some(verdict)
    }
}

impl PeerFinding {
    fn is_reached(&self) -> bool {
        matches!(self.place, PeerPlace::At(_, Ok(_)))
    }

    /// Why it is not reached though the registry knows it.
    fn problem(&self) -> Option<String> {
        let PeerPlace::At(address, Err(error)) = &self.place else { return None };
        let (id, from) = (self.id, self.from);
        Some(if address.ip().is_loopback() && !from.is_loopback() {
            format!(
                "the registry has peer {id} at {address}, which only its own machine reaches; \
                start it with --registry and the network's address of the registry, not 127.0.0.1"
            )
        } else {
            let why = why(error);
            let port = address.port();
            format!("cannot reach peer {id} at {address}: {why}; does it let TCP port {port} in?")
        })
    }
}

impl Finding for PortFinding {
    fn event(&self) -> Event {
        let Self { port, error } = *self;
        Event::OfferPort { port, ok: error.is_none(), error: error.map(text) }
    }
}

impl Display for PortFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match self.error {
            None => write!(f, "offer port {port}: can be shared"),
            Some(ErrorKind::AddrInUse) => {
                write!(f, "offer port {port} is in use by a program that does not share it")
            }
            Some(kind) => write!(f, "offer port {port} cannot be heard: {kind}"),
        }
    }
}

impl Finding for RegistryFinding {
    fn event(&self) -> Event {
        let [connected_us, answered_us] = [self.connected_in, self.answered_in].map(|t| t.map(us));
        Event::Registry {
            registry: text(&self.registry),
            ok: self.error.is_none(),
            connected_us,
            answered_us,
            error: self.error.as_ref().map(|(why, _)| text(why)),
        }
    }
}

impl Display for RegistryFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "registry {}", self.registry)?;
        if let Some(time) = self.connected_in {
            write!(f, ": connected in {:.1} ms", ms(time))?;
        }
        if let Some(time) = self.answered_in {
            write!(f, ", answered in {:.1} ms", ms(time))?;
        }
        self.error.iter().try_for_each(|(why, _)| write!(f, ": {why}"))
    }
}

impl Finding for InterfaceFinding {
    fn event(&self) -> Event {
        let Interface { name, address, subnet, broadcast, is_up } = &self.interface;
        Event::Interface {
            name: text(name),
            address: text(address),
            prefix_length: subnet.prefix_len,
            broadcast: broadcast.map(text),
            up: *is_up,
            offers_to: self.to.map(text),
            ok: self.is_heard_back,
            error: self.error.as_ref().map(|error| text(why(error))),
            offers: self.offers,
            peers: self.peers,
        }
    }
}

impl Display for InterfaceFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interface { name, address, subnet: Subnet { prefix_len, .. }, .. } = &self.interface;
        write!(f, "interface {}, {address}/{prefix_len}: ", Shown(name))?;
        match (self.to, &self.error) {
            _ if !self.interface.is_up => f.write_str("it is not connected")?,
            (None, _) => {
                f.write_str("no broadcast address; to use it, give one with --broadcast")?;
            }
            (Some(to), Some(error)) => {
                write!(f, "offers cannot go to {to}: {}", why(error))?;
            }
            (Some(to), None) if self.is_heard_back => {
                write!(f, "offers go to {to}, and an own datagram came back")?;
            }
            (Some(to), None) => write!(f, "offers go to {to}, but no own datagram came back")?,
        }
        match self.offers {
            0 => f.write_str("; no offers heard"),
            _ => write!(f, "; heard offers of {}", Count(self.peers, "peer")),
        }
    }
}

impl Finding for PeerFinding {
    fn event(&self) -> Event {
        let (address, connected) = match &self.place {
            PeerPlace::NotTold => (None, Err(text("not looked up"))),
            PeerPlace::Unknown => (None, Err(text("not known to the registry"))),
            PeerPlace::At(address, Ok(time)) => (Some(address), Ok(us(*time))),
            PeerPlace::At(address, Err(error)) => (Some(address), Err(text(why(error)))),
        };
        Event::Peer {
            peer: self.id.0,
            from: text(self.from),
            offers: self.offers,
            address: address.map(text),
            ok: connected.is_ok(),
            connected_us: connected.as_ref().ok().copied(),
            error: connected.err(),
        }
    }
}

impl Display for PeerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, from, .. } = self;
        write!(f, "peer {id}, heard from {from}: ")?;
        match &self.place {
            PeerPlace::NotTold => f.write_str("not looked up, without a registry"),
            PeerPlace::Unknown => f.write_str("not known to the registry"),
            PeerPlace::At(address, Ok(time)) => {
                write!(f, "connected to {address} in {:.1} ms", ms(*time))
            }
            PeerPlace::At(address, Err(error)) => {
                write!(f, "cannot be reached at {address}: {}", why(error))
            }
        }
    }
}

impl Finding for Verdict {
    fn event(&self) -> Event {
        Event::Verdict { code: self.code as u8, text: text(&self.text) }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn us(time: Duration) -> u64 {
    time.as_micros() as u64
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
