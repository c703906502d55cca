//! The socket that takes connections in.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use rustix::net::{SocketType, sockopt};

use super::dial::{set_options, socket, spare_loopback};
use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG, TCP_USER_TIMEOUT};

/// A listening socket.
///
/// After it could not accept, for want of a descriptor say, no event would ever come
/// again: it is tried again after a pause.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddrV4,
    user_timeout: Duration,
    is_ready: bool,
    paused_until: Option<Instant>,
    /// Whether the user was told why, since the last connection that was accepted.
    was_told: bool,
}

impl Listener {
    /// Listens on `address`; port 0 takes a free one. A counterpart is given up if it is
    /// silent for [`TCP_USER_TIMEOUT`], or for `progress_timeout` if that is longer.
    pub fn bind(address: SocketAddrV4, progress_timeout: Duration) -> io::Result<Self> {
        let user_timeout = TCP_USER_TIMEOUT.max(progress_timeout);
        let socket = socket(SocketType::STREAM)?;
        set_options(&socket, user_timeout)?;
        // The port of a predecessor whose last connections still linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, LISTEN_BACKLOG)?;
        let socket = TcpListener::from_std(socket.into());
        let address = SocketAddrV4::new(*address.ip(), socket.local_addr()?.port());
        Ok(Self {
            socket,
            address,
            user_timeout,
            is_ready: false,
            paused_until: None,
            was_told: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The address it listens on, from which connections are made too.
    pub(super) fn host(&self) -> Ipv4Addr {
        *self.address.ip()
    }

    /// When a silent counterpart is given up, on connections that are made too.
    pub(super) fn user_timeout(&self) -> Duration {
        self.user_timeout
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// When to call [`Listener::accept`] again though no event came.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        self.is_ready.then(|| self.paused_until.unwrap_or(now))
    }

    /// The next connection that came in, if there is one.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddrV4)> {
        if !self.is_ready || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        loop {
            match self.socket.accept() {
                Ok((stream, SocketAddr::V4(from))) => {
                    self.was_told = false;
                    // A connection for which that fails is gone: its first read will tell.
                    let _ = spare_loopback(&stream, from);
                    return Some((stream, from));
                }
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.is_ready = false;
                        return None;
                    }
                    // The one that failed is gone; the next may be well.
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        if !std::mem::replace(&mut self.was_told, true) {
                            let address = self.address;
                            log::warn!("cannot accept connections on {address} now: {error}");
                        }
                        self.paused_until = Some(now + ACCEPT_PAUSE);
                        return None;
                    }
                },
            }
        }
    }
}

impl Source for Listener {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.socket.register(r, token, interest)
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.socket.reregister(r, token, interest)
    }

    fn deregister(&mut self, r: &Registry) -> io::Result<()> {
        self.socket.deregister(r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_connections_are_probed_but_on_the_loopback() {
        let any_port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let mut listener = Listener::bind(any_port, Duration::ZERO).unwrap();
        assert!(sockopt::socket_keepalive(&listener.socket).unwrap());
        let _caller = std::net::TcpStream::connect(listener.address()).unwrap();
        listener.set_ready();
        let (stream, _) = listener.accept(Instant::now()).unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
    }
}
