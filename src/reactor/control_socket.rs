//! The socket by which other programs of the same user ask this one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mio::{Registry, Token};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::geteuid;

use super::listener::Acceptor;
use crate::wire::Shown;

/// A listening socket in the file system. It is removed when this is dropped.
pub struct ControlSocket {
    acceptor: Acceptor,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens at `path`, for nobody but this user.
    ///
    /// # Errors
    /// If that does not work; then nobody can ask.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        let socket = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        socket.set_nonblocking(true)?;
        Ok(Self { acceptor: Acceptor::new(socket.into()), path })
    }

    /// Returns whether nobody listens at `path` any more.
    pub fn is_dead(path: &Path) -> bool {
        dial(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        self.acceptor.register(registry, token)
    }

    pub(super) fn set_ready(&mut self) {
        self.acceptor.set_ready();
    }

    /// Returns when to call [`ControlSocket::accept`] though no event came.
    pub(super) fn next_try(&self, now: Instant) -> Option<Instant> {
        self.acceptor.next_try(now)
    }

    /// Returns the next connection that came in, if there is one.
    pub(super) fn accept(&mut self, now: Instant) -> Option<OwnedFd> {
        let path = &self.path;
        let accepted = self.acceptor.accept(now, || Shown(path.to_string_lossy()).to_string());
        accepted.map(|(stream, _)| stream)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // If it stays, the next program that asks removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Begins to make a connection to the program that listens at `path`. Only root asks the programs
/// of others.
pub(super) fn dial(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let (ours, theirs) = (geteuid(), sockopt::socket_peercred(&socket)?.uid);
            match theirs == ours || ours.is_root() {
                true => Ok(socket),
                false => Err(io::ErrorKind::PermissionDenied.into()),
            }
        }
        // Its queue is full: it has not answered for long.
        Err(Errno::AGAIN) => Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => Err(errno.into()),
    }
}
