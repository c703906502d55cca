//! Our programs on a host, and what a test asks and tells them there.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use super::{Host, OFFER_PORT, REGISTRY};
use crate::harness::{Answer, Process, RegistryClient, await_until, is_timeout, offer_socket};
use crate::messages::{OFFER_BYTES, int, text};

/// A short one, so that tests are.
const OFFER_INTERVAL: &str = "200ms";

/// A peer on a host of its own. Its offers go wherever they go by default.
pub(crate) struct HostPeer {
    pub(crate) process: Process,
    pub(crate) address: SocketAddrV4,
    folder: PathBuf,
}

impl Host {
    /// Starts a registry on this host.
    pub(super) fn start_registry(&self) -> Process {
        let arguments = ["registry", "--listen", &REGISTRY.to_string()];
        let process = self.run(|| Process::start("registry", &self.folder, &arguments));
        process.await_listening();
        process
    }

    /// Starts a peer on this host, with a folder of its own.
    pub(crate) fn start_peer(&self, id: u32, more: &[&str]) -> HostPeer {
        let folder = self.folder_of(id);
        let (id_text, host) = (id.to_string(), self.address.to_string());
        let registry = REGISTRY.to_string();
        let mut arguments = vec!["peer", "--id", &id_text, "--port", "0", "--host", &host];
        arguments.extend(["--registry", &registry, "--dir", folder.to_str().unwrap()]);
        if !more.contains(&"--offer-interval") {
            arguments.extend(["--offer-interval", OFFER_INTERVAL]);
        }
        arguments.extend(more);
        let name = format!("peer {id}");
        let process = self.run(|| Process::start(&name, &self.folder, &arguments));
        let address = process.await_listening();
        HostPeer { process, address, folder }
    }

    /// Starts a peer that has this file.
    pub(crate) fn start_source(
        &self,
        id: u32,
        name: &str,
        content: &[u8],
        more: &[&str],
    ) -> HostPeer {
        fs::write(self.folder_of(id).join(name), content).unwrap();
        self.start_peer(id, more)
    }

    fn folder_of(&self, id: u32) -> PathBuf {
        let folder = self.folder.join(format!("folder-{id}"));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A socket on the offer port of this host.
    pub(crate) fn ear(&self) -> UdpSocket {
        self.run(|| offer_socket(OFFER_PORT, Duration::from_millis(50)))
    }
}

impl HostPeer {
    /// Waits until the file has its final name; from then on it has to be right.
    #[track_caller]
    pub(crate) fn await_file(&mut self, name: &str, content: &[u8]) {
        await_until(&format!("{name} is there"), || {
            self.process.assert_running();
            self.folder.join(name).exists()
        });
        let is_right = fs::read(self.folder.join(name)).unwrap() == content;
        assert!(is_right, "{name} is wrong");
        assert_eq!(self.partial_bytes(), 0, "a partial file was left");
    }

    /// Whether the file has its final name.
    pub(crate) fn holds(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Waits until so much of a file has come.
    #[track_caller]
    pub(crate) fn await_partial(&mut self, len_bytes: u64) {
        await_until("a part of the file is there", || {
            self.process.assert_running();
            self.partial_bytes() >= len_bytes
        });
    }

    /// What there is of files that are not complete.
    pub(crate) fn partial_bytes(&self) -> u64 {
        let entries = fs::read_dir(&self.folder).unwrap().map_while(Result::ok);
        entries
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| entry.metadata().ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Whether a line of its log contains this.
    pub(crate) fn has_logged(&self, text: &str) -> bool {
        self.process.log().iter().any(|line| line.contains(text))
    }
}

/// Asks the registry from one of the hosts.
pub(crate) struct Lookups(RegistryClient);

impl Lookups {
    pub(crate) fn from(host: &Host) -> Self {
        Self(host.run(|| RegistryClient::connect(REGISTRY)))
    }

    /// Whether the registry has this peer, at this address.
    pub(crate) fn knows(&mut self, id: u32, address: SocketAddrV4) -> bool {
        self.0.lookup(id) == Answer::address(address)
    }
}

/// The next offer that a socket hears from somebody: who offers what, and from where.
pub(crate) fn heard(ear: &UdpSocket) -> Option<(u32, String, Ipv4Addr)> {
    let mut datagram = [0; OFFER_BYTES];
    match ear.recv_from(&mut datagram) {
        Ok((_, from)) => match from {
            std::net::SocketAddr::V4(from) => {
                Some((int(&datagram, 1), text(&datagram, 9), *from.ip()))
            }
            std::net::SocketAddr::V6(_) => None,
        },
        // A wait with a timeout is interrupted by whatever stops the process, too.
        Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => None,
        Err(error) => panic!("{error}"),
    }
}
