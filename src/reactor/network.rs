//! The addresses of this machine, as they come and go.
//!
//! The kernel tells that something about them has changed, and nothing wakes the loop until
//! then. A moment later, so that a burst of changes counts as one, all addresses are read
//! anew. Which of them count is decided in [`Which`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use crate::limits::{BEACON_PORT, NETWORK_RETRY, NETWORK_SETTLE, OFFER_PORT, TURN_ITEMS};
use crate::node::{Interface, Which};
use crate::storage::persist;

/// An address that only the default route leads to: one for documentation, which nobody has.
const BEYOND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 9);

/// The changes that the kernel tells (rtnetlink(7)): of links, IPv4 addresses and IPv4 routes.
const GROUPS: u32 = 0x1 | 0x10 | 0x40;

/// The addresses of this machine that a program uses.
pub struct Network {
    which: Which,
    /// Where offers are sent to from each interface, if not to its broadcast address.
    broadcast: Option<SocketAddrV4>,
    beacon_port: u16,
    all: Vec<Interface>,
    used: Vec<Interface>,
    /// Where the kernel tells of changes; `None` if none of them would matter.
    news: Option<OwnedFd>,
    /// Whether the node is to know the addresses.
    is_told: bool,
    look_at: Option<Instant>,
}

impl Network {
    /// Uses these addresses, and sends offers to `broadcast` if that is given. Beacons go to its
    /// address, too.
    ///
    /// # Errors
    /// If the addresses of this machine cannot be read.
    pub fn new(
        which: Which,
        broadcast: Option<SocketAddrV4>,
        beacon_port: u16,
    ) -> io::Result<Self> {
        // Before the addresses are read, so that no change falls between the two.
        let news = listen()?;
        let all = interfaces()?;
        let used = used(&which, broadcast, &all);
        let is_fixed = match which {
            Which::Any | Which::All => false,
            Which::Named(_) | Which::At(_) => used.iter().all(|it| it.address.is_loopback()),
        };
        let news = Some(news).filter(|_| !is_fixed || used.is_empty());
        Ok(Self { which, broadcast, beacon_port, all, used, news, is_told: true, look_at: None })
    }

    /// Returns that of a program whose connections the system makes from any address, and that
    /// need not know when they change.
    pub fn unused() -> Self {
        let [all, used] = [Vec::new(), Vec::new()];
        let (which, broadcast, beacon_port) = (Which::Any, None, BEACON_PORT);
        Self { which, broadcast, beacon_port, all, used, news: None, is_told: false, look_at: None }
    }

    /// Returns the addresses that are used.
    pub fn used(&self) -> &[Interface] {
        &self.used
    }

    pub fn offer_port(&self) -> u16 {
        self.broadcast.map_or(OFFER_PORT, |to| to.port())
    }

    pub fn beacon_port(&self) -> u16 {
        self.beacon_port
    }

    /// Returns where offers go from an interface, if that is known.
    pub fn route(&self, interface: &Interface) -> Option<SocketAddrV4> {
        let usual = interface.broadcast.map(|to| SocketAddrV4::new(to, OFFER_PORT));
        self.broadcast.or(usual)
    }

    /// Returns the ways by which offers go now: from an address, and where to.
    pub fn routes(&self) -> Vec<(Ipv4Addr, SocketAddrV4)> {
        let up = self.used.iter().filter(|interface| interface.is_up);
        up.filter_map(|interface| Some((interface.address, self.route(interface)?))).collect()
    }

    /// The same for beacons.
    pub fn beacon_routes(&self) -> Vec<(Ipv4Addr, SocketAddrV4)> {
        let to_beacons = |(from, mut to): (_, SocketAddrV4)| {
            to.set_port(self.beacon_port);
            (from, to)
        };
        self.routes().into_iter().map(to_beacons).collect()
    }

    /// Returns the address to listen on; `None` while there is none.
    pub fn host(&self) -> Option<Ipv4Addr> {
        match (&self.which, self.used.as_slice()) {
            (Which::At(address), _) => Some(*address),
            (Which::Named(_), []) => None,
            (Which::Named(_), [one]) => Some(one.address),
            (Which::Any | Which::All | Which::Named(_), _) => Some(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// Returns the address that a connection to `to` is made from, where others can reach us:
    /// that of the way there, if it is used, or else of the default route. 0.0.0.0 leaves it
    /// to the system. Nothing is sent.
    pub(super) fn source(&self, to: SocketAddrV4) -> io::Result<Ipv4Addr> {
        match (&self.which, self.used.as_slice()) {
            (Which::Any, _) => return Ok(Ipv4Addr::UNSPECIFIED),
            (Which::At(address), _) => return Ok(*address),
            (Which::All | Which::Named(_), []) => {
                return Err(io::ErrorKind::AddrNotAvailable.into());
            }
            (Which::All, [one]) if one.address.is_loopback() && !to.ip().is_loopback() => {
                let other = source_address(to).filter(|_| goes_to_loopback(self.broadcast));
                return other.ok_or_else(|| io::ErrorKind::NetworkUnreachable.into());
            }
            (Which::All | Which::Named(_), [one]) => return Ok(one.address),
            (Which::All | Which::Named(_), _) => {}
        }
        let up = || self.used.iter().filter(|it| it.is_up).map(|it| it.address);
        let towards = |to| source_address(to).filter(|address| up().any(|used| used == *address));
        let others = || up().find(|address| !address.is_loopback());
        let source = towards(to).or_else(|| towards(BEYOND)).or_else(others);
        source.or_else(|| up().next()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// Returns whether a connection from this address to there cannot be any more, as the
    /// address is gone.
    pub(super) fn is_gone(&self, from: Ipv4Addr) -> bool {
        !from.is_loopback() && self.all.iter().all(|interface| interface.address != from)
    }

    /// Returns whether a connection to there would be made from another address now.
    pub(super) fn is_rerouted(&self, from: Ipv4Addr, to: SocketAddrV4) -> bool {
        let source = self.source(to).ok().filter(|source| !source.is_unspecified());
        source.or_else(|| source_address(to)).is_some_and(|source| source != from)
    }

    /// Returns whether the node is to know the addresses.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let Some(news) = &self.news else { return Ok(()) };
        registry.register(&mut SourceFd(&news.as_raw_fd()), token, Interest::READABLE)
    }

    /// Something has changed.
    pub(super) fn set_ready(&mut self, now: Instant) {
        self.look_again(now + NETWORK_SETTLE);
    }

    /// Something did not work, and may do so later.
    pub(super) fn retry(&mut self, now: Instant) {
        self.look_again(now + NETWORK_RETRY);
    }

    fn look_again(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn next_look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Reads the addresses anew, if that is due. Returns whether it did.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        if self.look_at.take_if(|at| *at <= now).is_none() {
            return false;
        }
        if !self.hear_all() {
            self.look_at = Some(now + NETWORK_SETTLE);
        }
        let Ok(all) = interfaces() else {
            self.retry(now);
            return false;
        };
        self.used = used(&self.which, self.broadcast, &all);
        self.all = all;
        true
    }

    /// Takes in what the kernel told, of which only matters that it did. Returns whether that
    /// is all there was.
    fn hear_all(&self) -> bool {
        let Some(news) = &self.news else { return true };
        (0..TURN_ITEMS).any(|_| {
            // Other errors tell that news were lost, and are taken off by reporting them.
            matches!(rustix::net::recv(news, &mut [0; 1], RecvFlags::DONTWAIT), Err(Errno::AGAIN))
        })
    }
}

/// Returns the addresses that are used. A program that names none uses the loopback only if
/// there is no other network, or if its datagrams go there, and then nothing else.
fn used(which: &Which, broadcast: Option<SocketAddrV4>, all: &[Interface]) -> Vec<Interface> {
    let mut used = which.among(all);
    let loopback = || all.iter().find(|it| it.address.is_loopback()).cloned();
    match which {
        Which::Any | Which::All if goes_to_loopback(broadcast) => used = Vec::from_iter(loopback()),
        Which::Any if !used.iter().any(|it| it.is_up) => used.extend(loopback()),
        _ => {}
    }
    used
}

fn goes_to_loopback(broadcast: Option<SocketAddrV4>) -> bool {
    broadcast.is_some_and(|to| to.ip().is_loopback())
}

fn listen() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let family = AddressFamily::NETLINK;
    let socket = rustix::net::socket_with(family, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    Ok(socket)
}

/// Returns the IPv4 addresses of this machine.
///
/// # Errors
/// If the system does not tell.
pub fn interfaces() -> io::Result<Vec<Interface>> {
    let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let found = persist(|| if_addrs::get_if_addrs().map_err(errno))?;
    let interface = |found: if_addrs::Interface| match &found.addr {
        if_addrs::IfAddr::V4(v4) => {
            let (is_up, address) = (found.is_oper_up(), (v4.ip, v4.prefixlen));
            Some(Interface::new(found.name, address, v4.broadcast, found.is_p2p, is_up))
        }
        if_addrs::IfAddr::V6(_) => None,
    };
    Ok(found.into_iter().filter_map(interface).collect())
}

/// Returns the address that the system would connect to `to` from. Nothing is sent.
fn source_address(to: SocketAddrV4) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(to).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise sharers and getters of one machine would not hear one another.
    #[test]
    fn datagrams_to_the_loopback_come_from_there() {
        let interface =
            |name: &str, network| Interface::new(name.into(), network, None, false, true);
        let lo = interface("lo", (Ipv4Addr::LOCALHOST, 8));
        let all = [interface("eth0", ("10.0.0.2".parse().unwrap(), 24)), lo];
        let used = |which, to: &str| {
            let used = used(&which, Some(to.parse().unwrap()), &all);
            used.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        for which in [Which::Any, Which::All] {
            assert_eq!(used(which.clone(), "127.255.255.255:8000"), ["lo"], "{which:?}");
            assert_eq!(used(which.clone(), "10.0.0.255:8000"), ["eth0"], "{which:?}");
        }
        assert_eq!(used(Which::Named(vec!["eth0".into()]), "127.255.255.255:8000"), ["eth0"]);
    }
}
