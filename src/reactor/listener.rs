//! The socket that takes connections in, and the rule by which every such socket does.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, SocketType, sockopt};

use super::dial::{set_options, socket, spare_loopback};
use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG};

/// A socket that takes in connections of peers, or of clients of a registry.
pub struct Listener {
    acceptor: Acceptor,
    address: SocketAddrV4,
}

/// Accepts by the rule of every listening socket: until there is nothing more, and after a
/// pause if that does not work. For want of a descriptor, say, no event would ever come again.
pub(super) struct Acceptor {
    socket: OwnedFd,
    is_ready: bool,
    paused_until: Option<Instant>,
    /// Whether the user was told why, since the last connection that was accepted.
    was_told: bool,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one. A counterpart is given up if it is
    /// silent for [`TCP_USER_TIMEOUT`](crate::limits::TCP_USER_TIMEOUT), or for
    /// `progress_timeout` if that is longer.
    pub fn bind(address: SocketAddrV4, progress_timeout: Duration) -> io::Result<Self> {
        let socket = socket(SocketType::STREAM)?;
        set_options(&socket, progress_timeout)?;
        // The port of a predecessor whose last connections still linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        let address = SocketAddrV4::try_from(rustix::net::getsockname(&socket)?)?;
        Ok(Self { acceptor: Acceptor::new(socket), address })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        self.acceptor.register(registry, token)
    }

    pub(super) fn set_ready(&mut self) {
        self.acceptor.set_ready();
    }

    /// Returns when to call [`Listener::accept`] though no event came.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        self.acceptor.next_try(now)
    }

    /// Returns the next connection that came in, if there is one.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(OwnedFd, SocketAddrV4)> {
        let address = self.address;
        loop {
            let (stream, from) = self.acceptor.accept(now, || address.to_string())?;
            // It listens for IPv4: there is nothing else.
            if let Some(from) = from.and_then(|from| SocketAddrV4::try_from(from).ok()) {
                // A connection for which that fails is gone: its first read will tell.
                let _ = spare_loopback(&stream, from);
                return Some((stream, from));
            }
        }
    }
}

impl Acceptor {
    /// Accepts from a socket that listens and never blocks.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, is_ready: false, paused_until: None, was_told: false }
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = self.socket.as_raw_fd();
        registry.register(&mut SourceFd(&socket), token, Interest::READABLE)
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Returns when to call [`Acceptor::accept`] though no event came.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        self.is_ready.then(|| self.paused_until.unwrap_or(now))
    }

    /// Returns the next connection that came in, if there is one. `place` is where, for the
    /// log.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        place: impl FnOnce() -> String,
    ) -> Option<(OwnedFd, Option<SocketAddrAny>)> {
        if !self.is_ready || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&self.socket, flags) {
                Ok(accepted) => {
                    self.was_told = false;
                    return Some(accepted);
                }
                Err(Errno::AGAIN) => {
                    self.is_ready = false;
                    return None;
                }
                // The one that failed is gone; the next may be well.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(errno) => {
                    if !std::mem::replace(&mut self.was_told, true) {
                        let (place, error) = (place(), io::Error::from(errno));
                        log::warn!("cannot accept connections on {place} now: {error}");
                    }
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn silent_connections_are_probed_but_on_the_loopback() {
        let any_port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let mut listener = Listener::bind(any_port, Duration::ZERO).unwrap();
        assert!(sockopt::socket_keepalive(&listener.acceptor.socket).unwrap());
        let _caller = std::net::TcpStream::connect(listener.address()).unwrap();
        listener.set_ready();
        let (stream, _) = listener.accept(Instant::now()).unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
    }
}
