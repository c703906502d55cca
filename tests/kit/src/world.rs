use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use p2pfs::limits::BEACON_BYTES_MAX;
use p2pfs::wire::v1::Beacon;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use tempfile::TempDir;

use crate::messages::{OFFER_BYTES, int, text};
use crate::{Launch, PeerPlan, Process, RegistryClient, await_until, content_of};

/// The place where a scenario happens: a folder, an offer port and a registry of its own, so that
/// scenarios in parallel neither hear nor see each other.
pub struct World {
    registry: OnceLock<Registry>,
    /// The port of the registry, which stays its own so that another one can take its place.
    port: ReservedPort,
    folder: TempDir,
    ear: UdpSocket,
    beacon_ear: UdpSocket,
    /// Those of peers that hear no beacons.
    silent_ears: Mutex<Vec<UdpSocket>>,
    offer_port: u16,
}

/// Returns ears for the offers and the beacons of peers that nobody else hears: on a port that
/// was free, and on the next one.
pub fn ears() -> [UdpSocket; 2] {
    loop {
        // Bound without SO_REUSEADDR first, so that nobody has the ports; shared with the peers
        // afterwards.
        let offers = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = offers.local_addr().unwrap().port();
        let next = port.checked_add(1).map(|next| (Ipv4Addr::UNSPECIFIED, next));
        if let Some(Ok(beacons)) = next.map(UdpSocket::bind) {
            let ears = [offers, beacons];
            ears.iter().for_each(|ear| sockopt::set_socket_reuseaddr(ear, true).unwrap());
            return ears;
        }
    }
}

/// A registry that runs.
pub struct Registry {
    pub process: Process,
    pub address: SocketAddrV4,
}

impl Registry {
    /// Waits until it listens.
    pub fn of(process: Process) -> Self {
        let address = process.await_listening();
        Self { process, address }
    }

    /// Connects a client that speaks the protocol by hand.
    pub fn client(&self) -> RegistryClient {
        RegistryClient::connect(self.address)
    }
}

impl World {
    #[expect(clippy::new_without_default, reason = "it makes a folder and binds a port")]
    pub fn new() -> Self {
        let [ear, beacon_ear] = ears();
        [&ear, &beacon_ear].iter().for_each(|ear| ear.set_nonblocking(true).unwrap());
        let offer_port = ear.local_addr().unwrap().port();
        let (folder, port) = (TempDir::new().unwrap(), ReservedPort::new());
        let (registry, silent_ears) = (OnceLock::new(), Mutex::default());
        Self { registry, port, folder, ear, beacon_ear, silent_ears, offer_port }
    }

    /// The folder in which everything of this world is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns where offers are sent to in this world.
    pub fn broadcast(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), self.offer_port)
    }

    /// The registry of this world, which starts when somebody first needs it. It is of version 0:
    /// peers of version 1 find each other by beacons, unless a test silences these.
    pub fn registry(&self) -> &Registry {
        self.registry.get_or_init(|| self.registry_again())
    }

    /// Returns where the registry is, once it runs.
    pub fn registry_address(&self) -> SocketAddrV4 {
        self.port.address
    }

    /// Starts a registry in the place of one that has ended.
    pub fn registry_again(&self) -> Registry {
        Registry::of(self.launch_registry::<OsString>([]))
    }

    /// Has it started by another program that becomes it, such as strace.
    pub fn launch_registry<S: Into<OsString>>(
        &self,
        launcher: impl IntoIterator<Item = S>,
    ) -> Process {
        let address = self.port.address.to_string();
        self.program(&["registry", "--no-v1", "--listen", &address]).under(launcher).start()
    }

    /// Connects a client to the registry.
    pub fn client(&self) -> RegistryClient {
        self.registry().client()
    }

    /// Connects a client to the registry, and registers it.
    #[track_caller]
    pub fn registered(&self, peer: u32, port: u16) -> RegistryClient {
        RegistryClient::registered(self.registry().address, peer, port)
    }

    /// Starts a registry of version 0 on a port that the system chooses.
    pub fn another_registry(&self) -> Registry {
        Registry::of(self.program(&["registry", "--no-v1", "--listen", "127.0.0.1:0"]).start())
    }

    /// Starts one that lists peers of version 1, in the place of the registry of this world.
    pub fn listing_registry(&self) -> Registry {
        let address = self.port.address.to_string();
        Registry::of(self.program(&["registry", "--listen", &address]).start())
    }

    /// A peer to be started, with a shared folder of its own. If it wants something, it fetches
    /// that by version 0, unless it is told otherwise.
    pub fn peer(&self, id: u32) -> PeerPlan {
        self.peer_at(id, self.registry().address)
    }

    /// A peer that asks another registry.
    pub fn peer_at(&self, id: u32, registry: SocketAddrV4) -> PeerPlan {
        let plan = PeerPlan::new(self.path(), self.shared_folder(id), id, registry);
        plan.silent_at(self.silent_port())
            .option("--broadcast", self.broadcast().to_string())
            .option("--offer-interval", "100ms")
    }

    /// Returns a port for beacons that only its caller uses. A program that has it is found by
    /// version 0 alone.
    pub fn silent_port(&self) -> u16 {
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        sockopt::set_socket_reuseaddr(&ear, true).unwrap();
        let port = ear.local_addr().unwrap().port();
        self.silent_ears.lock().unwrap().push(ear);
        port
    }

    /// The folder that a peer of this world shares.
    pub fn shared_folder(&self, id: u32) -> PathBuf {
        self.path().join(format!("shared-{id}"))
    }

    /// The program with these arguments and no others.
    pub fn program(&self, arguments: &[&str]) -> Launch {
        Launch::new(self.path(), arguments)
    }

    /// A command with this world's registry and offers.
    pub fn command(&self, arguments: &[&str]) -> Launch {
        // `list` asks no registry unless it is told to.
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let registry = if arguments[0] == "list" { nowhere } else { self.registry().address };
        self.command_at(registry, arguments)
    }

    /// A command that asks another registry.
    pub fn command_at(&self, registry: SocketAddrV4, arguments: &[&str]) -> Launch {
        let (registry, broadcast) = (registry.to_string(), self.broadcast().to_string());
        let mut more = vec!["--broadcast", &broadcast];
        if arguments[0] != "list" {
            more.extend(["--registry", &registry, "--interface", "127.0.0.1"]);
        }
        if !arguments.contains(&"--offer-interval") {
            more.extend(["--offer-interval", "100ms"]);
        }
        self.program(arguments).arguments(&more)
    }

    /// Starts a command with this world's registry and offers.
    pub fn start(&self, arguments: &[&str]) -> Process {
        self.command(arguments).start()
    }

    /// A folder of this world, which is made if need be, with these files.
    pub fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::write(path.join(name), content).unwrap();
        }
        path
    }

    /// Shares a folder with these files, and waits until it listens.
    pub fn share(&self, name: &str, files: &[(&str, &[u8])]) -> Process {
        self.folder(name, files);
        let process = self.start(&["share", name]);
        process.await_listening();
        process
    }

    /// Starts `get` with these arguments, into the folder `got`.
    pub fn get(&self, arguments: &[&str]) -> Process {
        self.folder("got", &[]);
        self.start(&[&["get", "-o", "got"], arguments].concat())
    }

    /// Returns what `get` brought: names and contents, hidden ones too.
    pub fn got(&self) -> BTreeMap<String, Vec<u8>> {
        content_of(&self.path().join("got"))
    }

    /// Returns the offers that came in and were not taken yet: peer and name of each.
    pub fn take_offers(&self) -> Vec<(u32, String)> {
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

    /// Returns the beacons that came in and were not taken yet.
    pub fn take_beacons(&self) -> Vec<Beacon> {
        let datagrams = self.take_datagrams().into_iter();
        datagrams.map(|datagram| Beacon::decode(&datagram, None).expect("a beacon")).collect()
    }

    /// Returns the datagrams that came to the port of beacons and were not taken yet.
    pub fn take_datagrams(&self) -> Vec<Vec<u8>> {
        let mut datagram = [0; BEACON_BYTES_MAX + 1];
        let received = std::iter::from_fn(|| {
            let len = self.beacon_ear.recv(&mut datagram).ok()?;
            Some(datagram[..len].to_vec())
        });
        received.collect()
    }

    /// Sends a beacon to all of this world.
    pub fn send_beacon(&self, beacon: &Beacon) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_broadcast(true).unwrap();
        let to = SocketAddrV4::new(*self.broadcast().ip(), self.offer_port + 1);
        socket.send_to(&beacon.encode(None), to).unwrap();
    }

    /// Waits for an offer that is made from now on.
    #[track_caller]
    pub fn await_offer(&self, peer: u32, name: &str) {
        self.await_offers(peer, [name]);
    }

    /// Waits until a peer has offered each of these from now on.
    #[track_caller]
    pub fn await_offers<'a>(&self, peer: u32, names: impl IntoIterator<Item = &'a str>) {
        self.take_offers();
        let mut missing: BTreeSet<&str> = names.into_iter().collect();
        await_until(&format!("peer {peer} offers all"), || {
            let offers = self.take_offers().into_iter().filter(|(by, _)| *by == peer);
            offers.for_each(|(_, name)| _ = missing.remove(&*name));
            missing.is_empty()
        });
    }

    /// Waits until someone offers this.
    #[track_caller]
    pub fn await_offer_of(&self, name: &str) {
        await_until(&format!("{name} is on offer"), || {
            self.take_offers().iter().any(|(_, offered)| offered == name)
        });
    }

    /// Returns all names that a peer offers in two rounds, told by one name among them.
    #[track_caller]
    pub fn names_offered(&self, peer: u32, among_them: &str) -> BTreeSet<String> {
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

/// A TCP port of the loopback that nobody else gets while this lives, not even an
/// outgoing connection: for a program that is yet to start, or to start again.
///
/// The socket does not listen, so a connection is refused until a program with
/// SO_REUSEADDR listens on the port.
pub struct ReservedPort {
    pub address: SocketAddrV4,
    _socket: OwnedFd,
}

impl ReservedPort {
    #[expect(clippy::new_without_default, reason = "it binds a port")]
    pub fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        let address = SocketAddrV4::try_from(getsockname(&socket).unwrap()).unwrap();
        Self { address, _socket: socket }
    }
}

/// A socket on an offer port, as each peer has one.
pub fn offer_socket(port: u16, receive_timeout: Duration) -> UdpSocket {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    sockopt::set_socket_broadcast(&socket, true).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(receive_timeout)).unwrap();
    socket
}
