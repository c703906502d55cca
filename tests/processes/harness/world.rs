//! The place where a scenario happens: a folder, an offer port and registries of
//! its own, so that scenarios in parallel neither hear nor see each other.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use tempfile::TempDir;

use super::{PeerPlan, Process, await_until};
use crate::messages::{OFFER_BYTES, int, text};

/// A scenario's own place.
pub(crate) struct World {
    folder: TempDir,
    ear: UdpSocket,
    offer_port: u16,
}

impl World {
    pub(crate) fn new() -> Self {
        // Bound without SO_REUSEADDR first, so that the system chooses a port that
        // nobody has; shared with the peers of this world afterwards.
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        sockopt::set_socket_reuseaddr(&ear, true).unwrap();
        ear.set_nonblocking(true).unwrap();
        let offer_port = ear.local_addr().unwrap().port();
        Self { folder: TempDir::new().unwrap(), ear, offer_port }
    }

    /// The folder in which everything of this world is.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where offers are sent to in this world.
    pub(crate) fn broadcast(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), self.offer_port)
    }

    /// Starts a registry on a port that the system chooses.
    pub(crate) fn registry(&self) -> Registry {
        self.registry_on(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
    }

    /// Starts a registry on this address.
    pub(crate) fn registry_on(&self, address: SocketAddrV4) -> Registry {
        let process = self.launch_registry(&[], address);
        let address = process.await_listening();
        Registry { process, address }
    }

    /// Has a registry started by another program that becomes it, such as strace.
    pub(crate) fn launch_registry(&self, launcher: &[OsString], address: SocketAddrV4) -> Process {
        let arguments = ["registry", "--listen", &address.to_string()];
        Process::start_under(launcher, "registry", self.folder(), &arguments)
    }

    /// A peer to be started, with a shared folder of its own.
    pub(crate) fn peer(&self, id: u32, registry: SocketAddrV4) -> PeerPlan<'_> {
        PeerPlan::new(self, id, registry)
    }

    /// The folder that a peer of this world shares.
    pub(crate) fn shared_folder(&self, id: u32) -> PathBuf {
        self.folder().join(format!("shared-{id}"))
    }

    /// The offers that came in and were not taken yet: who offers what.
    pub(crate) fn take_offers(&self) -> Vec<(u32, String)> {
        let mut datagram = [0; OFFER_BYTES + 1];
        let mut offers = Vec::new();
        loop {
            match self.ear.recv(&mut datagram) {
                Ok(len) => {
                    assert_eq!((len, datagram[0]), (OFFER_BYTES, b'O'), "not an offer");
                    offers.push((int(&datagram, 1), text(&datagram, 9)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return offers,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for an offer that is made from now on.
    #[track_caller]
    pub(crate) fn await_offer(&self, peer: u32, name: &str) {
        self.take_offers();
        await_until(&format!("peer {peer} offers {name}"), || {
            self.take_offers().contains(&(peer, name.to_owned()))
        });
    }

    /// Waits until someone offers this.
    #[allow(dead_code, reason = "not every test that shares the harness needs it")]
    #[track_caller]
    pub(crate) fn await_offer_of(&self, name: &str) {
        await_until(&format!("{name} is on offer"), || {
            self.take_offers().iter().any(|(_, offered)| offered == name)
        });
    }

    /// All names that a peer offers in two rounds, told by one name among them.
    #[track_caller]
    pub(crate) fn names_offered(&self, peer: u32, among_them: &str) -> BTreeSet<String> {
        self.take_offers();
        let heard = RefCell::new(Vec::new());
        await_until(&format!("peer {peer} offers {among_them} three times"), || {
            let offers = self.take_offers().into_iter().filter(|(by, _)| *by == peer);
            heard.borrow_mut().extend(offers.map(|(_, name)| name));
            heard.borrow().iter().filter(|name| *name == among_them).count() >= 3
        });
        heard.into_inner().into_iter().collect()
    }
}

/// A registry of ours.
pub(crate) struct Registry {
    pub(crate) process: Process,
    pub(crate) address: SocketAddrV4,
}

/// A TCP port of the loopback that nobody else gets while this lives, not even an
/// outgoing connection: for a program that is yet to start, or to start again.
///
/// The socket does not listen, so a connection is refused until a program with
/// SO_REUSEADDR listens on the port.
pub(crate) struct ReservedPort {
    pub(crate) address: SocketAddrV4,
    _socket: OwnedFd,
}

impl ReservedPort {
    pub(crate) fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
        Self { address, _socket: socket }
    }
}

/// A socket on an offer port, as each peer has one.
pub(crate) fn offer_socket(port: u16, receive_timeout: Duration) -> UdpSocket {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    sockopt::set_socket_broadcast(&socket, true).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(receive_timeout)).unwrap();
    socket
}
