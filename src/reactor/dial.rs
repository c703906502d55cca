//! Making connections, and what every connection is set to.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::SockRef;

use crate::limits::{
    KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, NOT_SENT_BYTES_MAX, TCP_USER_TIMEOUT,
};

/// Begins to make a connection from `host` to `to`.
pub(super) fn dial(
    host: Ipv4Addr,
    to: SocketAddrV4,
    progress_timeout: Duration,
) -> io::Result<OwnedFd> {
    let socket = socket(SocketType::STREAM)?;
    set_options(&socket, progress_timeout)?;
    spare_loopback(&socket, to)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(host, 0))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the probes of a silent connection off again if it stays on this host, where no
/// counterpart vanishes untold: 16,000 peers of one host are probed in bursts that overflow
/// the queue of the loopback, and those whose probes are lost would be given up.
pub(super) fn spare_loopback(socket: impl AsFd, counterpart: SocketAddrV4) -> io::Result<()> {
    if counterpart.ip().is_loopback() {
        sockopt::set_socket_keepalive(socket, false)?;
    }
    Ok(())
}

/// A socket for IPv4 that never blocks.
pub(super) fn socket(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?)
}

/// Sets what a listener passes on to the connections that it accepts, and what each connection
/// that is made has: it sends at once, takes little more than it can send, and notices a peer
/// that is gone or reads nothing within [`TCP_USER_TIMEOUT`], or within `progress_timeout` if
/// that is longer, instead of the kernel's quarter of an hour.
pub(super) fn set_options(socket: &OwnedFd, progress_timeout: Duration) -> io::Result<()> {
    let user_timeout = TCP_USER_TIMEOUT.max(progress_timeout);
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    sockopt::set_tcp_user_timeout(socket, user_timeout.as_millis() as u32)?;
    SockRef::from(socket).set_tcp_notsent_lowat(NOT_SENT_BYTES_MAX)
}
