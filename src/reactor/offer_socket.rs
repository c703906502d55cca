//! The offer port: broadcasts out, everybody's broadcasts in.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::net::{SocketType, sockopt};

use super::dial::socket;
use crate::limits::{DATAGRAMS_PER_TURN, OFFER_BYTES, OFFER_SOCKET_RECEIVE_BYTES};

/// The two sockets of the offer port.
///
/// The one that hears is bound to 0.0.0.0, so that it hears broadcasts to whatever
/// address, and shares its port with all peers of the host. The one that sends is
/// bound to the peer's own address, so that offers leave by that interface.
pub struct OfferSocket {
    heard: UdpSocket,
    sender: std::net::UdpSocket,
    broadcast: SocketAddrV4,
    is_ready: bool,
    /// How sending failed the last time, so that each kind of failure is told once.
    send_error: Option<ErrorKind>,
}

impl OfferSocket {
    /// Hears the port of `broadcast`, and sends to it from `host`.
    pub fn bind(host: Ipv4Addr, broadcast: SocketAddrV4) -> io::Result<Self> {
        let heard = socket(SocketType::DGRAM)?;
        sockopt::set_socket_reuseaddr(&heard, true)?;
        // The kernel grants what it may; less only means that bursts overflow sooner.
        let _ = sockopt::set_socket_recv_buffer_size(&heard, OFFER_SOCKET_RECEIVE_BYTES);
        rustix::net::bind(&heard, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, broadcast.port()))?;
        let sender = socket(SocketType::DGRAM)?;
        sockopt::set_socket_broadcast(&sender, true)?;
        rustix::net::bind(&sender, &SocketAddrV4::new(host, 0))?;
        Ok(Self {
            heard: UdpSocket::from_std(heard.into()),
            sender: sender.into(),
            broadcast,
            is_ready: false,
            send_error: None,
        })
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
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.is_ready {
                break;
            }
            match self.heard.recv_from(buffer) {
                Ok((len, SocketAddr::V4(from))) => return Some((len, from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_ready = false,
                // Errors are about an earlier datagram, and taken off by reporting them.
                Ok((_, SocketAddr::V6(_))) | Err(_) => {}
            }
        }
        None
    }

    /// Sends an offer. One that is lost is repeated in the next period anyway.
    pub(super) fn broadcast(&mut self, datagram: &[u8; OFFER_BYTES]) {
        let error = self.sender.send_to(datagram, self.broadcast).err();
        let kind = error.as_ref().map(io::Error::kind);
        if let Some(error) = error.filter(|_| kind != self.send_error) {
            log::warn!("cannot send offers to {}: {error}; trying again", self.broadcast);
        }
        self.send_error = kind;
    }
}

impl mio::event::Source for OfferSocket {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.heard.register(r, token, interest)
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.heard.reregister(r, token, interest)
    }

    fn deregister(&mut self, r: &Registry) -> io::Result<()> {
        self.heard.deregister(r)
    }
}
