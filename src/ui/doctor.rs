//! What the doctor found, in words and as events.

use std::fmt::{self, Display};
use std::io::ErrorKind;
use std::time::Duration;

use super::events::Event;
use super::json::text;
use crate::count::Count;
use crate::node::doctor::{
    BeaconingPeer, BeaconsFinding, Finding, Foreign, InterfaceFinding, ListedFinding, NotSent,
    NothingSent, PeerFinding, PeerPlace, PortFinding, RegistryFinding, SessionFinding, Verdict,
};
use crate::node::{Interface, Subnet, Unanswered};
use crate::proto::CloseReason;
use crate::wire::Shown;

impl Event {
    pub(super) fn of_finding(finding: &Finding) -> Self {
        match finding {
            Finding::Port(PortFinding { port, error }) => {
                Self::OfferPort { port: *port, ok: error.is_none(), error: error.map(text) }
            }
            Finding::Registry(finding) => {
                let [connected_us, answered_us] =
                    [finding.connected_in, finding.answered_in].map(|time| time.map(us));
                let error = finding.why().map(text);
                let (registry, ok) = (text(&finding.registry), error.is_none());
                Self::Registry { registry, ok, connected_us, answered_us, error }
            }
            Finding::Interface(finding) => of_interface(finding),
            Finding::Peer(finding) => of_peer(finding),
            Finding::BeaconPort(PortFinding { port, error }) => {
                Self::BeaconPort { port: *port, ok: error.is_none(), error: error.map(text) }
            }
            Finding::Beacons(finding) => of_beacons(finding),
            Finding::Beaconing(finding) => of_beaconing(finding),
            Finding::Listing(listing) => {
                let peers = listing.ok().map(|peers| peers as u64);
                let error = listing.err().map(text);
                Self::RegistryList { ok: error.is_none(), peers, error }
            }
            Finding::Listed(finding) => of_listed(finding),
        }
    }

    pub fn of_verdict(verdict: &Verdict) -> Self {
        Self::Verdict { code: verdict.code() as u8, text: text(verdict) }
    }
}

fn of_interface(finding: &InterfaceFinding) -> Event {
    let Interface { name, address, subnet, broadcast, is_up } = &finding.interface;
    Event::Interface {
        name: text(name),
        address: text(address),
        prefix_length: subnet.prefix_len,
        broadcast: broadcast.map(text),
        up: *is_up,
        offers_to: finding.to.map(text),
        ok: finding.is_heard_back,
        error: finding.error.map(text),
        offers: finding.offers,
        peers: finding.peers.len(),
    }
}

fn of_peer(finding: &PeerFinding) -> Event {
    let (address, connected) = match finding.place {
        PeerPlace::NotTold => (None, Err(text("not looked up"))),
        PeerPlace::Unknown => (None, Err(text("not known to the registry"))),
        PeerPlace::At(address, Ok(time)) => (Some(address), Ok(us(time))),
        PeerPlace::At(address, Err(reason)) => (Some(address), Err(text(Unanswered(reason)))),
    };
    Event::Peer {
        peer: finding.id.0,
        from: text(finding.from),
        offers: finding.offers,
        address: address.map(text),
        ok: connected.is_ok(),
        connected_us: connected.as_ref().ok().copied(),
        error: connected.err(),
        interface: finding.interface.as_ref().map(text),
    }
}

fn of_beacons(finding: &BeaconsFinding) -> Event {
    Event::Beacons {
        name: text(&finding.interface.name),
        address: text(finding.interface.address),
        beacons_to: finding.to.map(text),
        ok: finding.is_heard_back,
        error: finding.error.map(text),
        beacons: finding.beacons,
        peers: finding.peers.len(),
    }
}

fn of_beaconing(finding: &BeaconingPeer) -> Event {
    let (address, session) = match finding.session {
        SessionFinding::At(address, Ok(time)) => (Some(address), Ok(us(time))),
        SessionFinding::At(address, Err(reason)) => (Some(address), Err(text(NoSession(reason)))),
        SessionFinding::NoPort => (None, Err(text(NO_PORT))),
        SessionFinding::LowPort(_) => (None, Err(text("its port is below 1024"))),
        SessionFinding::Foreign => (None, Err(text("it is in no network of this machine"))),
    };
    Event::BeaconingPeer {
        peer: finding.id.0,
        peer_name: text(finding.name.as_str()),
        from: text(finding.from),
        beacons: finding.beacons,
        files: finding.files,
        address: address.map(text),
        ok: session.is_ok(),
        session_us: session.as_ref().ok().copied(),
        error: session.err(),
        interface: finding.interface.as_ref().map(text),
    }
}

fn of_listed(finding: &ListedFinding) -> Event {
    let session = finding.session.map(us).map_err(|reason| text(NoSession(reason)));
    Event::ListedPeer {
        peer: finding.id.0,
        peer_name: text(finding.name.as_str()),
        address: text(finding.address),
        ok: session.is_ok(),
        session_us: session.as_ref().ok().copied(),
        error: session.err(),
    }
}

const NO_PORT: &str = "it says that it cannot be dialed";

/// Why there was no session.
struct NoSession(CloseReason);

impl Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CloseReason::TimedOut(_) => Unanswered(self.0).fmt(f),
            reason => reason.fmt(f),
        }
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(finding) => UsedPort("offer", finding).fmt(f),
            Self::Registry(finding) => finding.fmt(f),
            Self::Interface(finding) => finding.fmt(f),
            Self::Peer(finding) => finding.fmt(f),
            Self::BeaconPort(finding) => UsedPort("beacon", finding).fmt(f),
            Self::Beacons(finding) => finding.fmt(f),
            Self::Beaconing(finding) => finding.fmt(f),
            Self::Listing(Ok(peers)) => {
                write!(f, "the registry lists {} of version 1", Count(*peers, "peer"))
            }
            Self::Listing(Err(_)) => f.write_str(
                "the registry lists no peers: by version 1 none is found beyond this network",
            ),
            Self::Listed(finding) => finding.fmt(f),
        }
    }
}

/// A port, by what it is for.
struct UsedPort<'a>(&'static str, &'a PortFinding);

impl Display for UsedPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, PortFinding { port, error }) = self;
        match error {
            None => write!(f, "{what} port {port}: can be shared"),
            Some(ErrorKind::AddrInUse) => {
                write!(f, "{what} port {port} is in use by a program that does not share it")
            }
            Some(kind) => write!(f, "{what} port {port} cannot be heard: {kind}"),
        }
    }
}

impl RegistryFinding {
    /// Returns why there is no registry.
    fn why(&self) -> Option<String> {
        match self.address {
            None => {
                let why = self.not_found.as_deref().unwrap_or("no answer");
                Some(format!("its name leads to no address: {}", Shown(why)))
            }
            Some(_) => self.failure.map(|reason| Unanswered(reason).to_string()),
        }
    }

    fn what_next(&self) -> String {
        let Some(address) = self.address else { return "give its IPv4 address".to_owned() };
        let port = address.port();
        match self.failure {
            Some(
                CloseReason::ClosedByPeer
                | CloseReason::Malformed(_)
                | CloseReason::PeerViolated { .. },
            ) => "say where the registry is with --registry".to_owned(),
            Some(CloseReason::Broken(ErrorKind::ConnectionRefused)) => {
                match address.ip().is_loopback() {
                    true => "say with --registry where it is, or start the only one with `p2pfs \
                             registry`"
                        .to_owned(),
                    false => format!("does it run there, on port {port}?"),
                }
            }
            _ => format!("is that the right host, and does it let TCP port {port} in?"),
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
        self.why().iter().try_for_each(|why| write!(f, ": {why}"))
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
            (Some(to), Some(error)) => write!(f, "offers cannot go to {to}: {error}")?,
            (Some(to), None) if self.is_heard_back => {
                write!(f, "offers go to {to}, and an own datagram came back")?;
            }
            (Some(to), None) => write!(f, "offers go to {to}, but no own datagram came back")?,
        }
        match self.offers {
            0 => f.write_str("; no offers heard"),
            _ => write!(f, "; heard offers of {}", Count(self.peers.len(), "peer")),
        }
    }
}

impl Display for BeaconsFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interface { name, address, subnet: Subnet { prefix_len, .. }, .. } = &self.interface;
        write!(f, "interface {}, {address}/{prefix_len}: ", Shown(name))?;
        match (self.to, &self.error) {
            (None, _) => f.write_str("no broadcast address for beacons")?,
            (Some(to), Some(error)) => write!(f, "beacons cannot go to {to}: {error}")?,
            (Some(to), None) if self.is_heard_back => {
                write!(f, "beacons go to {to}, and an own one came back")?;
            }
            (Some(to), None) => write!(f, "beacons go to {to}, but no own one came back")?,
        }
        match self.beacons {
            0 => f.write_str("; no beacons heard"),
            _ => write!(f, "; heard beacons of {}", Count(self.peers.len(), "peer")),
        }
    }
}

impl Display for BeaconingPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What it costs that a peer cannot be dialed.
        const COST: &str = "it can only give over sessions that it dials";
        match self.name.as_str() {
            "" => write!(f, "peer {}", self.id)?,
            name => write!(f, "peer {} ({})", Shown(name), self.id)?,
        }
        write!(f, ", beacons heard from {}: ", self.from)?;
        match self.session {
            SessionFinding::At(address, Ok(time)) => {
                let files = Count(self.files as usize, "file");
                write!(f, "session with {address} in {:.1} ms; it shares {files}", ms(time))
            }
            SessionFinding::At(address, Err(reason)) => {
                write!(f, "cannot be dialed at {address}: {}; {COST}", NoSession(reason))
            }
            SessionFinding::NoPort => write!(f, "{NO_PORT}; {COST}"),
            SessionFinding::LowPort(port) => {
                write!(f, "not dialed: its port {port} is below 1024; {COST}")
            }
            SessionFinding::Foreign => {
                f.write_str("it is in no network of this machine, so its beacons are ignored")
            }
        }
    }
}

impl Display for ListedFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "peer {}", self.id)?,
            name => write!(f, "peer {} ({})", Shown(name), self.id)?,
        }
        let address = self.address;
        match self.session {
            Ok(time) => write!(f, ", listed: session with {address} in {:.1} ms", ms(time)),
            Err(reason) => {
                write!(f, ", listed: cannot be dialed at {address}: {}", NoSession(reason))
            }
        }
    }
}

impl Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str("the port is not ours"),
            Self::OwnAddress => f.write_str("that is an address of this machine alone"),
            Self::Refused(kind) => kind.fmt(f),
        }
    }
}

impl Display for PeerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, from, .. } = self;
        write!(f, "peer {id}, heard from {from}: ")?;
        match self.place {
            PeerPlace::NotTold => {
                f.write_str("not looked up, without a registry")?;
                if self.is_beaconing { f.write_str("; version 1 needs none") } else { Ok(()) }
            }
            PeerPlace::Unknown => f.write_str("not known to the registry"),
            PeerPlace::At(address, Ok(time)) => {
                write!(f, "connected to {address} in {:.1} ms", ms(time))
            }
            PeerPlace::At(address, Err(reason)) => {
                write!(f, "cannot be reached at {address}: {}", Unanswered(reason))
            }
        }
    }
}

/// What is wrong, and what to do next.
impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort(finding @ PortFinding { error: Some(ErrorKind::AddrInUse), .. }) => {
                let finding = UsedPort("offer", finding);
                write!(f, "{finding}; find it with ss -ulpn, or choose another port with ")?;
                f.write_str("--broadcast, for every peer")
            }
            Self::NoPort(finding) => UsedPort("offer", finding).fmt(f),
            Self::NoBeaconPort(finding) => {
                write!(f, "{}; find it with ss -ulpn, or ", UsedPort("beacon", finding))?;
                f.write_str("choose another port with --beacon-port, for every peer")
            }
            Self::NoRegistry(finding) => {
                let (why, next) = (finding.why().unwrap_or_default(), finding.what_next());
                write!(f, "no registry at {}: {why}; {next}", finding.registry)
            }
            Self::WrongInterface { named, right } => {
                let (named, right) = (Shown(named.join(", ")), Shown(right));
                write!(f, "others are found by {right}, and not by {named}, which --interface ")?;
                write!(f, "names; say --interface {right}, or leave it away")
            }
            Self::AnotherSubnet { what, interfaces } => {
                let networks: Vec<_> = interfaces.iter().map(network).collect();
                let networks = Shown(networks.join(", "));
                match what {
                    Foreign::Registry(finding) => {
                        let (at, why) = (&finding.registry, finding.why().unwrap_or_default());
                        write!(f, "no registry at {at}: {why}; ")?;
                        write!(f, "it is in no network of this machine, which has {networks}; ")?;
                        f.write_str("put both into one network, or make a route")
                    }
                    Foreign::Answering(address) => {
                        let host = address.ip();
                        write!(f, "no offer was heard; the registry's host {host} is in no ")?;
                        write!(f, "network of this machine, which has {networks}, and offers ")?;
                        f.write_str("reach only the network in which they are sent")
                    }
                    Foreign::Peer { id, from } => {
                        write!(f, "peer {id} is heard from {from}, which is in no network of ")?;
                        write!(f, "this machine, which has {networks}; give both machines ")?;
                        f.write_str("addresses and prefixes of one network")
                    }
                }
            }
            Self::NoBroadcastAddress => f.write_str(
                "no interface with a broadcast address; connect this machine to a network, or \
                 name an address with --broadcast",
            ),
            Self::NothingSent(problem) => problem.fmt(f),
            Self::NothingBack { interfaces, port } => {
                let names = Shown(interfaces.join(", "));
                write!(f, "broadcasts do not come back on {names}; ")?;
                write!(f, "does a firewall here drop UDP port {port}?")
            }
            Self::NobodyHeard { port, beacon_port } => {
                f.write_str("no offer was heard, and no beacon; share a file on another ")?;
                f.write_str("machine, and see that its firewall and the network let broadcasts ")?;
                write!(f, "to UDP ports {port} and {beacon_port} through")
            }
            Self::OthersHeard => f.write_str(
                "peers are near that have a secret which this program has not: see --secret-file",
            ),
            Self::NobodyDialed { peers } => {
                let peers = Count(*peers, "peer");
                write!(f, "of {peers} heard none can be dialed; share a file with `p2pfs share` ")?;
                f.write_str("on another machine, and let its TCP port in")
            }
            Self::NobodyKnown { registry, peers } => {
                let peers = Count(*peers, "peer");
                write!(f, "the registry at {registry} knows none of {peers} heard; ")?;
                f.write_str("do they use another?")
            }
            Self::NobodyReached { id, from, address, .. }
                if address.ip().is_loopback() && !from.is_loopback() =>
            {
                write!(f, "the registry has peer {id} at {address}, which only its own machine ")?;
                f.write_str("reaches; start it with --registry and the network's address of ")?;
                f.write_str("the registry, not 127.0.0.1")
            }
            Self::NobodyReached { id, address, reason, .. } => {
                let (why, port) = (Unanswered(*reason), address.port());
                write!(f, "cannot reach peer {id} at {address}: {why}; ")?;
                write!(f, "does it let TCP port {port} in?")
            }
            Self::Fine { reached, peers, unknown, problem } => {
                let peers = Count(*peers, "peer");
                write!(f, "files can be exchanged with {reached} of {peers}")?;
                if *unknown > 0 {
                    let unknown = Count(*unknown, "peer");
                    write!(f, "; {unknown} of version 0 cannot be found without a registry: say ")?;
                    f.write_str("where it is with --registry")?;
                }
                problem.iter().try_for_each(|problem| {
                    write!(f, ", but what this machine shares is not found: {problem}")
                })
            }
        }
    }
}

impl Display for NothingSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Shown(self.interfaces.join(", "));
        write!(f, "offers cannot leave by {names}: {}; ", self.error)?;
        match self.error {
            // What the system says of a datagram that a rule of its own drops.
            NotSent::Refused(ErrorKind::PermissionDenied) => {
                write!(f, "does a firewall here drop outgoing UDP port {}?", self.port)
            }
            _ => {
                f.write_str("see that it has a route there, or name another address with ")?;
                f.write_str("--broadcast")
            }
        }
    }
}

fn network(interface: &Interface) -> String {
    let Interface { name, address, subnet: Subnet { prefix_len, .. }, .. } = interface;
    format!("{address}/{prefix_len} on {name}")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn us(time: Duration) -> u64 {
    time.as_micros() as u64
}
