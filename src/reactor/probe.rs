//! Calls for a tool that looks at the network once and is done: unlike the loop, each
//! of them waits for its outcome, up to a deadline.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::connection::Connection;
use super::dial::dial;
use super::offer_socket::{hear, sender};
use crate::limits::HEAD_BYTES_MAX;
use crate::node::CloseHow;
use crate::wire::v0::{RegistryRequest, RegistryResponse};
use crate::wire::{Deframer, Frame, PeerId};

/// A socket of the offer port that is asked instead of being watched.
pub struct OfferProbe(std::net::UdpSocket);

/// A connection to a registry, to ask and not to register.
pub struct RegistryProbe {
    connection: Connection,
    deframer: Deframer<RegistryResponse>,
}

/// One of several connections that are being made at once.
enum Attempt {
    Dialing(Connection),
    Over(io::Result<(Connection, Duration)>),
}

impl OfferProbe {
    /// Takes part in the offer port, as each peer does.
    ///
    /// # Errors
    /// If a program has the port for itself.
    pub fn bind(port: u16) -> io::Result<Self> {
        hear(port).map(Self)
    }

    /// Sends one datagram, as a peer with this address sends its offers.
    ///
    /// # Errors
    /// If it could not leave.
    pub fn send(from: Ipv4Addr, to: SocketAddrV4, datagram: &[u8]) -> io::Result<()> {
        sender(from)?.send_to(datagram, to).map(|_| ())
    }

    /// The next datagram that comes in before the deadline, cut to the buffer.
    pub fn receive(&self, deadline: Instant, buffer: &mut [u8]) -> Option<(usize, SocketAddrV4)> {
        while wait(&mut [PollFd::new(&self.0, PollFlags::IN)], deadline) {
            // Errors are about an earlier datagram, and taken off by reporting them.
            if let Ok((len, SocketAddr::V4(from))) = self.0.recv_from(buffer) {
                return Some((len, from));
            }
        }
        None
    }
}

impl RegistryProbe {
    /// Connects from `host`; tells how long that took.
    ///
    /// # Errors
    /// If no connection came about in this time.
    pub fn connect(
        host: Ipv4Addr,
        registry: SocketAddrV4,
        timeout: Duration,
    ) -> io::Result<(Self, Duration)> {
        let made = connect(host, &[registry], timeout).pop();
        let (connection, elapsed) = made.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))?;
        Ok((Self { connection, deframer: Deframer::default() }, elapsed))
    }

    /// Asks where a peer is: `None` if the registry does not know it. Tells how long the
    /// answer took.
    ///
    /// # Errors
    /// If no answer came in this time, or something that is none.
    pub fn look_up(
        &mut self,
        peer: PeerId,
        timeout: Duration,
    ) -> io::Result<(Option<SocketAddrV4>, Duration)> {
        let began = Instant::now();
        let mut request = Vec::new();
        RegistryRequest::Lookup(peer).encode(&mut request);
        // A few bytes, and one request at a time: there is room for them.
        rustix::net::send(self.connection.stream(), &request, SendFlags::NOSIGNAL)?;
        let address = match self.answer(began + timeout)? {
            RegistryResponse::Address(address) => Some(address),
            RegistryResponse::Error(_) => None,
            RegistryResponse::Registered(_) => return Err(no_registry("it took us for a peer")),
        };
        Ok((address, began.elapsed()))
    }

    /// Closes the connection with a reset: the reference spins after an orderly close.
    pub fn close(self) {
        self.connection.close(CloseHow::Reset);
    }

    fn answer(&mut self, deadline: Instant) -> io::Result<RegistryResponse> {
        let mut buffer = [0; HEAD_BYTES_MAX];
        while wait(&mut [PollFd::new(self.connection.stream(), PollFlags::IN)], deadline) {
            let len = match self.connection.receive(&mut buffer)? {
                Some(0) => return Err(no_registry("it closed the connection")),
                Some(len) => len,
                None => continue,
            };
            match self.deframer.next(&buffer[..len], &mut 0) {
                Ok(Some(Frame::Message(response))) => return Ok(response),
                Ok(_) => {}
                Err(malformed) => return Err(no_registry(&format!("it sent {malformed}"))),
            }
        }
        Err(ErrorKind::TimedOut.into())
    }
}

/// Connects to all of these addresses at once, from `host`, and lets go of them again;
/// tells how long each took.
pub fn reach(
    host: Ipv4Addr,
    addresses: &[SocketAddrV4],
    timeout: Duration,
) -> Vec<io::Result<Duration>> {
    let reached = connect(host, addresses, timeout).into_iter();
    let let_go = |(connection, elapsed): (Connection, Duration)| {
        connection.close(CloseHow::Reset);
        elapsed
    };
    reached.map(|made| made.map(let_go)).collect()
}

fn connect(
    host: Ipv4Addr,
    addresses: &[SocketAddrV4],
    timeout: Duration,
) -> Vec<io::Result<(Connection, Duration)>> {
    let began = Instant::now();
    let attempt = |&to: &SocketAddrV4| match dial(host, to, timeout) {
        Ok(stream) => Attempt::Dialing(Connection::dialing(stream)),
        Err(error) => Attempt::Over(Err(error)),
    };
    let mut attempts: Vec<_> = addresses.iter().map(attempt).collect();
    loop {
        let mut polled: Vec<_> = attempts.iter_mut().filter_map(Attempt::poll_fd).collect();
        if polled.is_empty() || !wait(&mut polled, began + timeout) {
            break;
        }
        drop(polled);
        attempts = attempts.into_iter().map(|attempt| attempt.settle(began)).collect();
    }
    let outcome = |attempt| match attempt {
        Attempt::Dialing(_) => Err(ErrorKind::TimedOut.into()),
        Attempt::Over(outcome) => outcome,
    };
    attempts.into_iter().map(outcome).collect()
}

impl Attempt {
    fn poll_fd(&mut self) -> Option<PollFd<'_>> {
        match self {
            Self::Dialing(connection) => Some(PollFd::new(connection.stream(), PollFlags::OUT)),
            Self::Over(_) => None,
        }
    }

    fn settle(self, began: Instant) -> Self {
        let Self::Dialing(mut connection) = self else { return self };
        match connection.finish_dialing() {
            Ok(true) => Self::Over(Ok((connection, began.elapsed()))),
            Ok(false) => Self::Dialing(connection),
            Err(error) => Self::Over(Err(error)),
        }
    }
}

/// Waits for one of these; false once the deadline has passed.
fn wait(polled: &mut [PollFd<'_>], deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left).map_err(|_| ()) else { return false };
        if left == Timespec::default() {
            return false;
        }
        match rustix::event::poll(polled, Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            outcome => return outcome.is_ok(),
        }
    }
}

fn no_registry(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what}; that is no registry of p2pfs"))
}
