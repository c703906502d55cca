//! One connection, and what is known of its readiness.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};

use crate::node::{CloseHow, ConnectionId};
use crate::storage::Sent;

/// The open connections, by the slots of their ids.
#[derive(Default)]
pub(super) struct Connections {
    slots: Vec<Option<(ConnectionId, Connection)>>,
}

/// A connection, made or being made.
///
/// `can_read` and `can_write` are set by events and cleared by `WouldBlock`, or by a read
/// that brings less than it could: then the socket is empty, and what comes later is
/// another event.
pub(super) struct Connection {
    stream: OwnedFd,
    is_dialing: bool,
    origin: Origin,
    pub(super) can_read: bool,
    pub(super) can_write: bool,
    /// The end of the stream, or an error, is there to be read: there is no other event.
    pub(super) is_read_closed: bool,
    pub(super) is_queued_to_read: bool,
    pub(super) is_queued_to_send: bool,
    /// How sending failed; reported once all that came before is read.
    pub(super) broken: Option<ErrorKind>,
}

/// How it came to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Accepted,
    Dialed,
    /// By the control socket.
    Program,
}

impl Connections {
    pub(super) fn insert(&mut self, id: ConnectionId, connection: Connection) {
        if self.slots.len() <= id.slot() {
            self.slots.resize_with(id.slot() + 1, || None);
        }
        debug_assert!(self.slots[id.slot()].is_none(), "a slot is free before it is used again");
        self.slots[id.slot()] = Some((id, connection));
    }

    pub(super) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        match self.slots.get_mut(id.slot()) {
            Some(Some((held, connection))) if *held == id => Some(connection),
            _ => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().flatten().map(|(id, connection)| (*id, connection))
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get_mut(id)?;
        self.slots[id.slot()].take().map(|(_, connection)| connection)
    }
}

impl Connection {
    /// A connection that came in.
    pub(super) fn accepted(stream: OwnedFd) -> Self {
        Self::new(stream, Origin::Accepted)
    }

    /// A connection of a program of the same user, which came in.
    pub(super) fn of_program(stream: OwnedFd) -> Self {
        Self::new(stream, Origin::Program)
    }

    /// A connection that is being made.
    pub(super) fn dialing(stream: OwnedFd) -> Self {
        Self::new(stream, Origin::Dialed)
    }

    fn new(stream: OwnedFd, origin: Origin) -> Self {
        Self {
            stream,
            is_dialing: origin == Origin::Dialed,
            origin,
            can_read: false,
            can_write: false,
            is_read_closed: false,
            is_queued_to_read: false,
            is_queued_to_send: false,
            broken: None,
        }
    }

    pub(super) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Returns our address; `None` for a connection of another kind.
    pub(super) fn from(&self) -> Option<Ipv4Addr> {
        let address = rustix::net::getsockname(&self.stream).ok()?;
        SocketAddrV4::try_from(address).ok().map(|address| *address.ip())
    }

    /// Returns where it leads, if we made it.
    pub(super) fn made_to(&self) -> Option<SocketAddrV4> {
        let is_ours = self.origin == Origin::Dialed;
        let address = rustix::net::getpeername(&self.stream).ok().filter(|_| is_ours)?;
        SocketAddrV4::try_from(address?).ok()
    }

    /// Asks to be told of its readiness.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.stream.as_raw_fd()), token, interest)
    }

    /// Returns whether the rates that the user has set are for it, too.
    pub(super) fn is_paced(&self) -> bool {
        self.origin != Origin::Program
    }

    pub(super) fn is_dialing(&self) -> bool {
        self.is_dialing
    }

    /// Returns whether the connection is made, after an event said that it is writable.
    pub(super) fn finish_dialing(&mut self) -> io::Result<bool> {
        sockopt::socket_error(&self.stream)??;
        match rustix::net::getpeername(&self.stream) {
            Ok(_) => {
                self.is_dialing = false;
                Ok(true)
            }
            Err(Errno::NOTCONN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Reads; `None` if there is nothing now, 0 at the end of the stream.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.stream, &mut *buffer)) {
            Ok(len) => {
                if len < buffer.len() && !self.is_read_closed && self.broken.is_none() {
                    self.can_read = false;
                }
                Ok(Some(len))
            }
            Err(Errno::AGAIN) => {
                self.can_read = false;
                match self.broken {
                    Some(kind) => Err(kind.into()),
                    None => Ok(None),
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends bytes; with `more`, something follows at once.
    pub(super) fn send_bytes(&self, bytes: &[u8], more: bool) -> Sent {
        let more = if more { SendFlags::MORE } else { SendFlags::empty() };
        let flags = SendFlags::NOSIGNAL | more;
        match rustix::io::retry_on_intr(|| rustix::net::send(&self.stream, bytes, flags)) {
            Ok(len_bytes) => Sent::Bytes(len_bytes),
            Err(Errno::AGAIN) => Sent::Full,
            Err(errno) => Sent::Broken(errno),
        }
    }

    /// Closes the connection.
    pub(super) fn close(self, how: CloseHow) {
        if how == CloseHow::Reset {
            // If that fails, the connection is closed in order, which is all there is left.
            let _ = sockopt::set_socket_linger(&self.stream, Some(std::time::Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the node knows of a connection is measured in `tests/allocations.rs`. A socket
    /// is only a descriptor in a release; in a debug build mio adds to it.
    #[test]
    fn a_slot_is_hardly_larger_than_its_socket() {
        let slot = size_of::<Option<(ConnectionId, Connection)>>();
        assert!(slot <= size_of::<mio::net::TcpStream>() + 16, "{slot} bytes");
    }
}
