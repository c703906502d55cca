//! The addresses of this machine: which of them a program uses, and what changes about them.
//!
//! Nothing here asks the system: its runner does, and gives the answer as an input.

use std::fmt;
use std::net::Ipv4Addr;

use super::Subnet;
use crate::wire::Shown;

/// The broadcast address of the loopback, which its interface does not name.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);
/// The longest prefix of a network that has a broadcast address (RFC 3021).
const BROADCAST_PREFIX_LEN_MAX: u8 = 30;

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub address: Ipv4Addr,
    /// The network that it is in.
    pub subnet: Subnet,
    /// The broadcast address of that network.
    pub broadcast: Option<Ipv4Addr>,
    /// Whether the interface is switched on and has a network at its other end.
    pub is_up: bool,
}

/// The addresses that a program uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// None in particular: the system chooses one for each connection.
    Any,
    /// Each on which others can be found by broadcast. That is the loopback only while no
    /// other interface is up.
    All,
    /// Those of these interfaces, each named by its name or by one of its addresses.
    Named(Vec<String>),
    /// This one, whether an interface has it or not.
    At(Ipv4Addr),
}

/// What happened to an address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    Lost,
    WentDown,
    CameUp,
    Got,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub interface: String,
    pub address: Ipv4Addr,
    pub happened: Happened,
}

impl Interface {
    /// Returns an address with the broadcast address of its network: the one that the system
    /// names, unless that is missing or the address itself, as with addresses that were set
    /// without one. An interface that leads to a single other machine has none.
    pub fn new(
        name: String,
        (address, prefix_len): (Ipv4Addr, u8),
        told: Option<Ipv4Addr>,
        is_point_to_point: bool,
        is_up: bool,
    ) -> Self {
        let subnet = Subnet { address, prefix_len };
        let told = told.filter(|told| *told != address && !told.is_unspecified());
        let broadcast = match told {
            _ if address.is_loopback() => Some(LOOPBACK_BROADCAST),
            None if !is_point_to_point => subnet.broadcast(),
            told => told,
        };
        Self { name, address, subnet, broadcast, is_up }
    }

    /// Returns an address of the loopback, all of which each machine has.
    pub fn of_loopback(address: Ipv4Addr) -> Self {
        Self::new(address.to_string(), (address, 8), None, false, true)
    }
}

impl Subnet {
    /// Returns the broadcast address; `None` if so small a network has none, or none is known.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        let has_one = (1..=BROADCAST_PREFIX_LEN_MAX).contains(&self.prefix_len);
        let hosts = u32::MAX.checked_shr(self.prefix_len.into()).filter(|_| has_one)?;
        Some(Ipv4Addr::from_bits(self.address.to_bits() | hosts))
    }
}

impl Which {
    /// Returns those among all addresses of this machine, each once.
    pub fn among(&self, all: &[Interface]) -> Vec<Interface> {
        match self {
            Self::Any => all.iter().filter(|it| !it.address.is_loopback()).cloned().collect(),
            Self::All => broadcasting(all),
            Self::Named(names) => {
                let mut named: Vec<Interface> = Vec::new();
                for interface in names.iter().flat_map(|name| of_name(name, all)) {
                    if named.iter().all(|other| other.address != interface.address) {
                        named.push(interface);
                    }
                }
                named
            }
            Self::At(address) => of_address(*address, all),
        }
    }
}

fn broadcasting(all: &[Interface]) -> Vec<Interface> {
    let (loopback, others): (Vec<_>, Vec<_>) = all
        .iter()
        .filter(|interface| interface.broadcast.is_some())
        .cloned()
        .partition(|interface| interface.address.is_loopback());
    let mut used: Vec<Interface> = Vec::new();
    for interface in others {
        // A second address in the same network would only repeat each offer.
        let repeats = |other: &Interface| {
            other.name == interface.name && other.broadcast == interface.broadcast
        };
        if !used.iter().any(repeats) {
            used.push(interface);
        }
    }
    if !used.iter().any(|interface| interface.is_up) {
        used.extend(loopback.into_iter().take(1));
    }
    used
}

fn of_name(name: &str, all: &[Interface]) -> Vec<Interface> {
    match name.parse() {
        Ok(address) => of_address(address, all),
        Err(_) => all.iter().filter(|interface| interface.name == name).cloned().collect(),
    }
}

fn of_address(address: Ipv4Addr, all: &[Interface]) -> Vec<Interface> {
    match all.iter().find(|interface| interface.address == address) {
        Some(interface) => vec![interface.clone()],
        None if address.is_loopback() => vec![Interface::of_loopback(address)],
        None => Vec::new(),
    }
}

/// Returns what has changed between two looks: first all that is gone, then what is new. The
/// loopback, which leads to nobody else, does not count.
pub fn changes(old: &[Interface], new: &[Interface]) -> Vec<Change> {
    let is_same = |one: &Interface, other: &Interface| {
        (&one.name, one.address) == (&other.name, other.address)
    };
    let change = |interface: &Interface, happened| Change {
        interface: interface.name.clone(),
        address: interface.address,
        happened,
    };
    let gone = old.iter().filter_map(|old| match new.iter().find(|new| is_same(old, new)) {
        None => Some(change(old, Happened::Lost)),
        Some(new) if old.is_up && !new.is_up => Some(change(old, Happened::WentDown)),
        Some(_) => None,
    });
    let come = new.iter().filter_map(|new| match old.iter().find(|old| is_same(old, new)) {
        None => Some(change(new, Happened::Got)),
        Some(old) if !old.is_up && new.is_up => Some(change(new, Happened::CameUp)),
        Some(_) => None,
    });
    gone.chain(come).filter(|change| !change.address.is_loopback()).collect()
}

impl Happened {
    /// Returns whether the address can be used from now on.
    pub fn is_gain(self) -> bool {
        matches!(self, Self::Got | Self::CameUp)
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Got => "got",
            Self::WentDown => "went down",
            Self::CameUp => "came up",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, address, happened } = self;
        write!(f, "{} {happened}", Shown(interface))?;
        match happened {
            Happened::Lost | Happened::Got => write!(f, " {address}"),
            Happened::WentDown | Happened::CameUp => write!(f, ", and {address} with it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn interface(name: &str, text: &str, is_up: bool) -> Interface {
        Interface::new(name.into(), (address(text), 24), None, false, is_up)
    }

    fn addresses(interfaces: &[Interface]) -> Vec<String> {
        interfaces.iter().map(|interface| interface.address.to_string()).collect()
    }

    #[test]
    fn a_broadcast_address_that_is_missing_or_our_own_follows_from_the_network() {
        let ours = address("10.77.5.1");
        for (prefix_len, told, is_point_to_point, expected) in [
            (24, Some("10.77.5.255"), false, Some("10.77.5.255")),
            (24, Some("10.77.5.1"), false, Some("10.77.5.255")),
            (24, None, false, Some("10.77.5.255")),
            (24, Some("0.0.0.0"), false, Some("10.77.5.255")),
            (16, None, false, Some("10.77.255.255")),
            (30, None, false, Some("10.77.5.3")),
            // The user of the network chose another one.
            (24, Some("10.77.5.0"), false, Some("10.77.5.0")),
            (31, None, false, None),
            (32, Some("10.77.5.1"), false, None),
            (0, None, false, None),
            (24, None, true, None),
        ] {
            let told = told.map(address);
            let it = Interface::new("x".into(), (ours, prefix_len), told, is_point_to_point, true);
            assert_eq!(it.broadcast, expected.map(address), "/{prefix_len}, {told:?}");
        }
        assert_eq!(
            Interface::of_loopback(address("127.0.0.9")).broadcast,
            Some(LOOPBACK_BROADCAST)
        );
    }

    #[test]
    fn all_are_those_that_broadcast_and_the_loopback_only_without_any_other() {
        let tunnel = Interface::new("tun0".into(), (address("10.8.0.2"), 24), None, true, true);
        let mut all = vec![
            interface("lo", "127.0.0.1", true),
            interface("eth0", "10.77.0.1", true),
            interface("eth0", "10.77.0.2", true),
            interface("eth0", "10.78.0.1", true),
            interface("docker0", "172.17.0.1", false),
            tunnel,
        ];
        let used = |all: &[Interface]| addresses(&Which::All.among(all));
        assert_eq!(used(&all), ["10.77.0.1", "10.78.0.1", "172.17.0.1"]);
        all.iter_mut().for_each(|interface| interface.is_up &= interface.name == "lo");
        assert_eq!(used(&all), ["10.77.0.1", "10.78.0.1", "172.17.0.1", "127.0.0.1"]);
        assert_eq!(used(&all[..1]), ["127.0.0.1"]);
        assert_eq!(used(&[]), [""; 0]);
    }

    #[test]
    fn interfaces_are_named_by_name_or_address_and_count_once() {
        let all = [
            interface("lo", "127.0.0.1", true),
            interface("eth0", "10.77.0.1", true),
            interface("eth0", "10.77.0.2", true),
            interface("eth1", "10.78.0.1", true),
        ];
        let used = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            addresses(&Which::Named(names).among(&all))
        };
        assert_eq!(used(&["eth0", "10.77.0.1"]), ["10.77.0.1", "10.77.0.2"]);
        assert_eq!(used(&["10.78.0.1", "eth1", "127.0.0.7"]), ["10.78.0.1", "127.0.0.7"]);
        assert_eq!(used(&["eth2", "10.79.0.1"]), [""; 0]);
        let at = |text| addresses(&Which::At(address(text)).among(&all));
        assert_eq!(
            (at("10.78.0.1"), at("127.0.0.2")),
            (vec!["10.78.0.1".into()], vec!["127.0.0.2".into()])
        );
        assert_eq!(at("10.78.0.2"), [""; 0]);
    }

    #[test]
    fn each_change_is_told_once_and_what_is_gone_comes_first() {
        let before = [
            interface("eth0", "10.77.0.1", true),
            interface("eth1", "10.78.0.1", true),
            interface("eth2", "10.79.0.1", false),
            interface("eth3", "10.80.0.1", true),
        ];
        let after = [
            interface("eth0", "10.77.0.99", true),
            interface("eth1", "10.78.0.1", false),
            interface("eth2", "10.79.0.1", true),
            interface("eth3", "10.80.0.1", true),
        ];
        let told: Vec<_> = changes(&before, &after).iter().map(Change::to_string).collect();
        let expected = [
            "eth0 lost 10.77.0.1",
            "eth1 went down, and 10.78.0.1 with it",
            "eth0 got 10.77.0.99",
            "eth2 came up, and 10.79.0.1 with it",
        ];
        assert_eq!(told, expected);
        assert_eq!(changes(&after, &after), []);
        assert_eq!(changes(&after[3..], &[interface("lo", "127.0.0.1", true)]).len(), 1);
        // Moved to another interface, it is another way.
        let moved = [interface("wlan0", "10.77.0.99", true)];
        let told: Vec<_> = changes(&after[..1], &moved).iter().map(Change::to_string).collect();
        assert_eq!(told, ["eth0 lost 10.77.0.99", "wlan0 got 10.77.0.99"]);
    }
}
