//! Reports our state to a service manager, by a datagram to the socket that `NOTIFY_SOCKET`
//! names, as systemd does. The units of the Debian package stand beside this file.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// We listen: what depends on us may begin.
pub(super) fn ready() {
    tell("READY=1");
}

/// We are about to end.
pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else {
        return;
    };
    if let Err(error) = send(&socket, state) {
        log::warn!("cannot tell the service manager {state}: {error}");
    }
}

fn send(to: &OsStr, state: &str) -> io::Result<()> {
    let to = match to.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(to)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read is no reason to wait.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), &to)?;
    Ok(())
}
