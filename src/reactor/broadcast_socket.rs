//! The ports of offers and of beacons: broadcasts out, everybody's broadcasts in.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::net::{SocketType, sockopt};

use super::dial::socket;
use crate::limits::{NETWORK_SETTLE, OFFER_SOCKET_RECEIVE_BYTES, TURN_ITEMS};

/// The sockets of one port that all peers share.
///
/// The one that hears is bound to 0.0.0.0, so that it hears broadcasts to whatever
/// address, and shares its port with all peers of the host. Those that send are each
/// bound to an address of the peer, so that datagrams leave by that interface.
pub struct BroadcastSocket {
    /// What is sent and heard there, for people.
    what: &'static str,
    /// `None` if nothing is heard, as another program has the port.
    heard: Option<UdpSocket>,
    senders: Vec<Sender>,
    sends: bool,
    is_ready: bool,
}

struct Sender {
    socket: std::net::UdpSocket,
    from: Ipv4Addr,
    broadcast: SocketAddrV4,
    failure: Option<SendFailure>,
}

/// How sending has failed since it last worked.
struct SendFailure {
    since: Instant,
    /// How it failed when that was last told, so that each kind of failure is told once.
    told: Option<ErrorKind>,
}

impl BroadcastSocket {
    /// Hears the offers on `port`.
    pub fn offers(port: u16) -> io::Result<Self> {
        Ok(Self::new("offers", Some(hear(port)?)))
    }

    /// Hears the beacons on `port`. Hears nothing if another program has the port for itself,
    /// and says so.
    pub fn beacons(port: u16) -> io::Result<Self> {
        let heard = match hear(port) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let message = "another program has it for itself; peers are found without beacons";
                log::warn!("no beacons are heard on port {port}: {message}");
                None
            }
            heard => Some(heard?),
        };
        Ok(Self::new("beacons", heard))
    }

    /// Hears the beacons on `port`, and sends none.
    pub fn beacons_heard(port: u16) -> io::Result<Self> {
        Ok(Self::new("beacons", Some(hear(port)?)))
    }

    fn new(what: &'static str, heard: Option<std::net::UdpSocket>) -> Self {
        let heard = heard.map(UdpSocket::from_std);
        Self { what, heard, senders: Vec::new(), sends: false, is_ready: false }
    }

    /// Sends, too, along each of `routes`: from an address of ours to a broadcast address.
    pub fn sending(mut self, routes: &[(Ipv4Addr, SocketAddrV4)]) -> io::Result<Self> {
        self.sends = true;
        self.set_routes(routes)?;
        Ok(self)
    }

    /// Returns whether it is there to send, too.
    pub(super) fn sends(&self) -> bool {
        self.sends
    }

    /// Sends along these routes from now on.
    ///
    /// # Errors
    /// If one of them cannot be had; the others are taken.
    pub(super) fn set_routes(&mut self, routes: &[(Ipv4Addr, SocketAddrV4)]) -> io::Result<()> {
        self.senders.retain(|sender| routes.contains(&(sender.from, sender.broadcast)));
        let mut outcome = Ok(());
        for &(from, to) in routes {
            if self.senders.iter().any(|sender| (sender.from, sender.broadcast) == (from, to)) {
                continue;
            }
            match Sender::bind(from, to) {
                Ok(sender) => self.senders.push(sender),
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether there may be something to receive.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The next datagram, cut to the buffer, if there is one.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        for _ in 0..TURN_ITEMS {
            if !self.is_ready {
                break;
            }
            match self.heard.as_ref()?.recv_from(buffer) {
                Ok((len, SocketAddr::V4(from))) => return Some((len, from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_ready = false,
                // Errors are about an earlier datagram, and taken off by reporting them.
                Ok((_, SocketAddr::V6(_))) | Err(_) => {}
            }
        }
        None
    }

    /// Sends a datagram from this address, or from each. One that is lost is repeated in the
    /// next period anyway.
    pub(super) fn send(&mut self, now: Instant, from: Option<Ipv4Addr>, datagram: &[u8]) {
        let is_meant = |sender: &&mut Sender| from.is_none_or(|from| from == sender.from);
        for sender in self.senders.iter_mut().filter(is_meant) {
            sender.send(now, self.what, datagram);
        }
    }
}

impl Sender {
    fn bind(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<Self> {
        Ok(Self { socket: sender(from)?, from, broadcast: to, failure: None })
    }

    fn send(&mut self, now: Instant, what: &str, datagram: &[u8]) {
        let Err(error) = self.socket.send_to(datagram, self.broadcast) else {
            self.failure = None;
            return;
        };
        let failure = self.failure.get_or_insert(SendFailure { since: now, told: None });
        // By then it is known if the interface or its address is gone, and that is told.
        let is_lasting = now.saturating_duration_since(failure.since) >= 2 * NETWORK_SETTLE;
        if is_lasting && failure.told.replace(error.kind()) != Some(error.kind()) {
            log::warn!("cannot send {what} to {}: {error}; trying again", self.broadcast);
        }
    }
}

/// Sends one datagram, as a peer with this address sends its offers.
pub(super) fn send(from: Ipv4Addr, to: SocketAddrV4, datagram: &[u8]) -> io::Result<()> {
    sender(from)?.send_to(datagram, to).map(|_| ())
}

/// The socket that hears.
fn hear(port: u16) -> io::Result<std::net::UdpSocket> {
    let heard = socket(SocketType::DGRAM)?;
    sockopt::set_socket_reuseaddr(&heard, true)?;
    // The kernel grants what it may; less only means that bursts overflow sooner.
    let _ = sockopt::set_socket_recv_buffer_size(&heard, OFFER_SOCKET_RECEIVE_BYTES);
    rustix::net::bind(&heard, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    Ok(heard.into())
}

/// A socket that sends from an address of ours.
fn sender(from: Ipv4Addr) -> io::Result<std::net::UdpSocket> {
    let sender = socket(SocketType::DGRAM)?;
    sockopt::set_socket_broadcast(&sender, true)?;
    rustix::net::bind(&sender, &SocketAddrV4::new(from, 0))?;
    Ok(sender.into())
}

impl mio::event::Source for BroadcastSocket {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.heard.as_mut().map_or(Ok(()), |heard| heard.register(r, token, interest))
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.heard.as_mut().map_or(Ok(()), |heard| heard.reregister(r, token, interest))
    }

    fn deregister(&mut self, r: &Registry) -> io::Result<()> {
        self.heard.as_mut().map_or(Ok(()), |heard| heard.deregister(r))
    }
}
