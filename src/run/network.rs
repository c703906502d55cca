//! Which addresses a program uses: those of its interfaces, and that of the registry.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;

use super::cannot_bind;
use crate::cli::network::{HostPort, OfferArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::OFFER_PORT;
use crate::node::Subnet;
use crate::node::doctor::Interface;
use crate::reactor::{Listener, OfferSocket, Sockets};
use crate::storage::persist;
use crate::wire::Shown;

/// An address that only the default route leads to: one for documentation, which nobody has.
const BEYOND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 9);

/// Where a program is to be found, and where its offers go.
#[derive(Debug)]
pub(super) struct Place {
    interfaces: Vec<Interface>,
    /// Where offers are sent to from each interface, if not to its broadcast address.
    broadcast: Option<SocketAddrV4>,
}

impl Place {
    pub(super) fn new(interfaces: Vec<Interface>, offers: &OfferArgs) -> Self {
        Self { interfaces, broadcast: offers.broadcast }
    }

    /// Returns the address to listen on and to connect from: 0.0.0.0 if there is not just one.
    pub(super) fn host(&self) -> Ipv4Addr {
        match self.interfaces.as_slice() {
            [one] => one.address,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Returns the address that connections to this machine's loopback come from: one of ours that
    /// others can reach, if there is one.
    fn host_to_loopback(&self) -> Ipv4Addr {
        let others = self.interfaces.iter().map(|interface| interface.address);
        others.into_iter().find(|address| !address.is_loopback()).unwrap_or_else(|| self.host())
    }

    pub(super) fn sockets(
        &self,
        progress_timeout: Duration,
        listener: Option<Listener>,
        offers: Option<OfferSocket>,
    ) -> Sockets {
        Sockets {
            host: self.host(),
            host_to_loopback: self.host_to_loopback(),
            progress_timeout,
            listener,
            offers,
            control: None,
            programs: Vec::new(),
        }
    }

    pub(super) fn addresses(&self) -> Vec<Ipv4Addr> {
        self.interfaces.iter().map(|interface| interface.address).collect()
    }

    pub(super) fn subnets(&self) -> Vec<Subnet> {
        self.interfaces.iter().map(|interface| interface.subnet).collect()
    }

    pub(super) fn offer_port(&self) -> u16 {
        self.broadcast.map_or(OFFER_PORT, |to| to.port())
    }

    /// Each interface, and where offers are sent to from it, if that is known.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&Interface, Option<SocketAddrV4>)> {
        self.interfaces.iter().map(|interface| {
            let usual = interface.broadcast.map(|to| SocketAddrV4::new(to, OFFER_PORT));
            (interface, self.broadcast.or(usual))
        })
    }

    /// Returns the socket of the offer port, only to hear.
    pub(super) fn hear_offers(&self) -> Result<OfferSocket, Failure> {
        self.offer_socket(&[])
    }

    /// Returns the socket of the offer port, on which offers are sent from each interface.
    pub(super) fn bind_offers(&self) -> Result<OfferSocket, Failure> {
        let route = |(interface, to): (&Interface, Option<SocketAddrV4>)| {
            let to = to.ok_or_else(|| no_broadcast_address(interface.address))?;
            Ok((interface.address, to))
        };
        let routes = self.routes().map(route).collect::<Result<Vec<_>, _>>()?;
        self.offer_socket(&routes)
    }

    fn offer_socket(&self, routes: &[(Ipv4Addr, SocketAddrV4)]) -> Result<OfferSocket, Failure> {
        let port = self.offer_port();
        OfferSocket::bind(port, routes).map_err(|error| {
            let heard = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
            let hint = "offers are heard there; choose another, for every peer, with --broadcast";
            cannot_bind(heard, &error, hint)
        })
    }
}

pub(super) fn interfaces() -> Result<Vec<Interface>, Failure> {
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let found = persist(|| if_addrs::get_if_addrs().map_err(errno)).map_err(|error| {
        let message = format_args!("cannot list the network interfaces: {error}");
        Failure::new(ExitCode::Other, message)
    })?;
    let interface = |found: if_addrs::Interface| match &found.addr {
        if_addrs::IfAddr::V4(v4) => {
            // The loopback interface names no broadcast address.
            let broadcast = loopback_broadcast(v4.ip).or(v4.broadcast);
            let subnet = Subnet { address: v4.ip, prefix_len: v4.prefixlen };
            let is_up = found.is_oper_up();
            Some(Interface { name: found.name, address: v4.ip, subnet, broadcast, is_up })
        }
        if_addrs::IfAddr::V6(_) => None,
    };
    Ok(found.into_iter().filter_map(interface).collect())
}

/// Returns the interface with this address. The machine need not have it.
pub(super) fn interface_at(address: Ipv4Addr) -> Result<Interface, Failure> {
    let there = interfaces()?.into_iter().find(|interface| interface.address == address);
    Ok(there.unwrap_or_else(|| {
        let broadcast = loopback_broadcast(address);
        let prefix_len = if broadcast.is_some() { 8 } else { 32 };
        let subnet = Subnet { address, prefix_len };
        Interface { name: address.to_string(), address, subnet, broadcast, is_up: true }
    }))
}

/// Returns the interface that others are most likely to be found on, if the user names none: the one
/// that reaches the registry or, if that is on this machine, the one with the default
/// route; else any with a broadcast address, and the loopback if there is nothing else.
pub(super) fn usual(registry: SocketAddrV4) -> Result<Interface, Failure> {
    let all = interfaces()?;
    let towards = |to: SocketAddrV4| {
        let address = source_address(to).filter(|address| !address.is_loopback())?;
        all.iter().find(|interface| interface.address == address)
    };
    let candidates = [towards(registry), towards(BEYOND)].into_iter().flatten();
    let is_usable = |interface: &&Interface| interface.broadcast.is_some() && interface.is_up;
    let others = all.iter().filter(|interface| !interface.address.is_loopback());
    match candidates.chain(others).find(is_usable) {
        Some(interface) => Ok(interface.clone()),
        None => interface_at(Ipv4Addr::LOCALHOST),
    }
}

/// Returns the address that a connection to `to` would come from. Nothing is sent.
fn source_address(to: SocketAddrV4) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(to).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    }
}

/// Returns the interfaces that the user names, each once: all addresses of one named by its name.
///
/// # Errors
/// If the machine has no such interface.
pub(super) fn named(names: &[String]) -> Result<Vec<Interface>, Failure> {
    let all = interfaces()?;
    let mut named: Vec<Interface> = Vec::new();
    for name in names {
        let address = name.parse::<Ipv4Addr>().ok();
        let is_meant = |there: &&Interface| match address {
            Some(address) => there.address == address,
            None => there.name == *name,
        };
        let there: Vec<_> = match address {
            // All of 127.0.0.0/8 is ours.
            Some(address) if address.is_loopback() => vec![interface_at(address)?],
            _ => all.iter().filter(is_meant).cloned().collect(),
        };
        if there.is_empty() {
            return Err(no_interface(name, &all));
        }
        for interface in there {
            if named.iter().all(|other| other.address != interface.address) {
                named.push(interface);
            }
        }
    }
    Ok(named)
}

/// Returns the address of the registry. A name is resolved now, and never again.
///
/// # Errors
/// If the name has no IPv4 address.
pub(super) fn resolve(registry: &HostPort) -> Result<SocketAddrV4, Failure> {
    let (host, port) = match registry {
        HostPort::Address(address) => return Ok(*address),
        HostPort::Name { host, port } => (host.as_str(), *port),
    };
    let unknown = |why: &str| {
        let message = format_args!("cannot find the registry's host {host}: {why}; ");
        let message = format_args!("{message}give its IPv4 address with --registry");
        Failure::new(ExitCode::Unreachable, message)
    };
    let addresses = (host, port).to_socket_addrs().map_err(|error| unknown(&error.to_string()))?;
    let v4 = |address| match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    };
    addresses.filter_map(v4).next().ok_or_else(|| unknown("it has no IPv4 address"))
}

fn loopback_broadcast(address: Ipv4Addr) -> Option<Ipv4Addr> {
    address.is_loopback().then_some(Ipv4Addr::new(127, 255, 255, 255))
}

fn no_broadcast_address(address: Ipv4Addr) -> Failure {
    let message = format_args!("the interface of {address} has no broadcast address; ");
    Failure::new(ExitCode::Usage, format_args!("{message}give one with --broadcast"))
}

fn no_interface(name: &str, all: &[Interface]) -> Failure {
    let there: Vec<_> = all
        .iter()
        .map(|interface| format!("{} ({})", Shown(&interface.name), interface.address))
        .collect();
    let (name, there) = (Shown(name), there.join(", "));
    let message = format_args!("no interface {name} with an IPv4 address; there is {there}");
    Failure::new(ExitCode::Usage, message)
}
