//! Our programs on a host, and what a test asks and hears there.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use kit::messages::{OFFER_BYTES, int, text};
use kit::{Launch, Peer, PeerPlan, Process, Registry, RegistryClient, is_timeout, offer_socket};

use super::{Host, OFFER_PORT, REGISTRY};

/// A short one, so that tests are.
const OFFER_INTERVAL: &str = "200ms";

impl Host {
    /// Starts a command on this host.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        self.run(|| Launch::new(&self.folder, arguments).start())
    }

    /// Starts a command that finds these files in the place of the host's own ones.
    pub(crate) fn start_with(&self, files: &[(&str, &Path)], arguments: &[&str]) -> Process {
        let mount =
            |(at, file): &(&str, &Path)| format!("mount --bind {} {at} && ", file.display());
        let mounts: String = files.iter().map(mount).collect();
        let script = format!("{mounts}exec \"$@\"");
        let launcher = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        self.run(|| Launch::new(&self.folder, arguments).under(launcher).start())
    }

    /// Takes an address from its network interface and gives it another one.
    pub(crate) fn change_address(&self, address: &str) {
        self.ip(&["addr", "flush", "dev", "eth0"]);
        self.ip(&["addr", "add", address, "broadcast", "+", "dev", "eth0"]);
        self.ip(&["route", "replace", "default", "dev", "eth0"]);
    }

    /// Starts a registry of version 0 on this host, on this address.
    pub(crate) fn start_registry(&self, listen: &str) -> Registry {
        Registry::of(self.start(&["registry", "--no-v1", "--listen", listen]))
    }

    /// Starts one that lists peers of version 1, too.
    pub(crate) fn start_listing_registry(&self, listen: &str) -> Registry {
        Registry::of(self.start(&["registry", "--listen", listen]))
    }

    /// Starts a peer on this host, with a folder of its own and more options. Its offers go
    /// wherever they go by default.
    pub(crate) fn start_peer(&self, id: u32, more: &[&str]) -> Peer {
        self.start_plan(self.peer(id), more)
    }

    /// Starts a peer that has this file.
    pub(crate) fn start_source(&self, id: u32, name: &str, content: &[u8], more: &[&str]) -> Peer {
        self.start_plan(self.peer(id).has(name, content), more)
    }

    fn peer(&self, id: u32) -> PeerPlan {
        let plan = PeerPlan::new(&self.folder, self.folder.join(format!("{id}")), id, REGISTRY);
        plan.option("--host", self.address.to_string()).option("--offer-interval", OFFER_INTERVAL)
    }

    fn start_plan(&self, plan: PeerPlan, more: &[&str]) -> Peer {
        let plan = more.chunks(2).fold(plan, |plan, pair| plan.option(pair[0], pair[1]));
        self.run(|| plan.start())
    }

    /// Connects a client to the registry.
    pub(crate) fn client(&self) -> RegistryClient {
        self.run(|| RegistryClient::connect(REGISTRY))
    }

    /// A socket on the offer port of this host.
    pub(crate) fn ear(&self) -> UdpSocket {
        self.run(|| offer_socket(OFFER_PORT, Duration::from_millis(50)))
    }
}

/// Returns the next offer that a socket hears soon: peer, name and address.
pub(crate) fn heard(ear: &UdpSocket) -> Option<(u32, String, Ipv4Addr)> {
    let mut datagram = [0; OFFER_BYTES];
    match ear.recv_from(&mut datagram) {
        Ok((_, SocketAddr::V4(from))) => Some((int(&datagram, 1), text(&datagram, 9), *from.ip())),
        Ok((_, SocketAddr::V6(_))) => None,
        // A wait with a timeout is interrupted by whatever stops the process, too.
        Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => None,
        Err(error) => panic!("{error}"),
    }
}
