//! Nothing is allocated for the bytes of a transfer: files three times as large cost
//! uploader and downloader the same allocations, be they copied or sent by the kernel, and
//! a further small file costs the same few, however many there are. Registry, uploader and
//! downloader run in a process, each with its own loop in a thread of its own, and a
//! counting allocator beside it. And an idle connection holds next to nothing, whatever was
//! sent on it.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use kit::{peer_settings, setting};
use p2pfs::content::{ContentId, Digest, Hash, Known, Version};
use p2pfs::limits::Limits;
use p2pfs::node::{
    Action, ConnectionId, GroupSettings, Input, Node, Outcome, Paths, PeerNode, PeerSettings,
    RegistryNode,
};
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::Sealed;
use p2pfs::reactor::{
    BroadcastSocket, Files, Listener, Network, RateLimits, Reactor, Signals, Sockets,
};
use p2pfs::storage::{ShareRules, SharedFolder, SharedTree};
use p2pfs::ui::{Show, Ui};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::{FileName, PeerMessage};
use p2pfs::wire::v1::{PeerName, SealKey, Secret, SessionMessage};

kit::tests![
    a_larger_file_takes_no_more_allocations,
    larger_files_at_once_take_no_more_allocations,
    a_further_small_file_takes_the_same_few_allocations,
    an_idle_connection_is_small_silent_or_kept,
    the_seal_of_an_idle_session_is_small,
];

const NAME: &str = "file";
const DIGEST: Digest = Digest([7; 32]);
/// The variables that say how many files are fetched at once, and how large each is.
const COUNT: &str = "P2PFS_FILES";
const SIZE: &str = "P2PFS_FILE_BYTES";
/// What differs from run to run, of some 35 allocations for one file and 70 for four. One for
/// each chunk of 64 MiB would be 256.
const UNSTEADY: u64 = 30;
/// For a further file: an uploader, which finds, hashes, offers, opens and sends it, makes some
/// 9, or 12 where it waits for a core, and a downloader 5.
const FILE_ALLOCATIONS_MAX: u64 = 20;

/// Connections that are idle: as many as fill their table, which grows by doubling.
const IDLE_CONNECTIONS: usize = 1024;
/// What a peer knows of an idle connection. The loop's own table adds some 20 bytes, which
/// has to stay far from the 512 that `many_connections` allows, as pages are not full.
const IDLE_CONNECTION_BYTES_MAX: u64 = 320;

/// Sessions that are idle, and what the seal of one adds.
const IDLE_SESSIONS: usize = 256;
const IDLE_SEAL_BYTES_MAX: u64 = 320;

/// A node that can be told from another thread to end.
struct Ended<N> {
    node: N,
    is_to_end: Arc<AtomicBool>,
}

impl<N: Node> Node for Ended<N> {
    fn accept(&mut self, now: Instant, from: SocketAddrV4) -> Option<ConnectionId> {
        self.node.accept(now, from)
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.node.handle(now, input);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout()
    }

    fn poll_action(&mut self) -> Option<Action> {
        match self.is_to_end.swap(false, Ordering::Relaxed) {
            true => Some(Action::Exit(Outcome::AllDone)),
            false => self.node.poll_action(),
        }
    }

    fn paths(&self) -> &Paths {
        self.node.paths()
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        self.node.transmit(connection)
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        self.node.transmitted(now, connection, len_bytes);
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        self.node.read_allowance_bytes(connection)
    }
}

/// Runs a loop around `node` to its end; gives how it ended, and what it allocated.
fn run<N: Node>(
    node: N,
    listener: Listener,
    offers: Option<BroadcastSocket>,
    files: Option<Files>,
    begin: &[Input<'_>],
) -> (Outcome, u64) {
    let signals = Signals::new().unwrap();
    let sockets = Sockets {
        network: Network::unused(),
        progress_timeout: Limits::PEER.progress_timeout,
        rate_limits: RateLimits::default(),
        listener: Some(listener),
        offers,
        beacons: None,
        control: None,
        programs: Vec::new(),
    };
    let ui = Ui::new("test".into(), Show::default());
    let mut reactor = Reactor::new(ui, node, signals, sockets, files).unwrap();
    let mut outcome = None;
    let allocations = measure(|| outcome = Some(reactor.run(begin.iter().cloned()).unwrap()));
    (outcome.unwrap(), allocations.count_total)
}

fn listen() -> Listener {
    let any_port = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    Listener::bind(any_port, Limits::PEER.progress_timeout).unwrap()
}

/// Runs a peer that shares what is in its folder, and ends once it has what it wants, or
/// is told to.
fn run_peer(
    id: u32,
    registry: SocketAddrV4,
    offer_port: u16,
    folder: &Path,
    wanted: &[FileName],
    is_to_end: Arc<AtomicBool>,
) -> (Outcome, u64) {
    let listener = listen();
    let exit_when_done = !wanted.is_empty();
    let settings = PeerSettings {
        offer_interval: Duration::from_millis(100),
        exit_when_done,
        ..peer_settings(id, listener.address().port(), registry)
    };
    let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), offer_port);
    let offers = BroadcastSocket::offers(offer_port).unwrap();
    let offers = offers.sending(&[(Ipv4Addr::LOCALHOST, broadcast)]).unwrap();
    let folder = SharedFolder::open(folder).unwrap();
    let found = folder.scan().unwrap().files.into_iter();
    let begin = found.map(|(name, version)| Input::FileFound {
        path: name.into(),
        version,
        known: Known::default(),
    });
    let begin: Vec<_> = begin.chain([Input::Want(wanted)]).collect();
    let tree = Rc::new(SharedTree::of(&folder, ShareRules::default()));
    let files = Files::new(tree, Some(folder), None);
    let node = Ended { node: PeerNode::new(Instant::now(), settings), is_to_end };
    run(node, listener, Some(offers), Some(files), &begin)
}

/// What uploader and downloader allocate for so many files of this size, fetched at once.
fn allocations(count: usize, size_bytes: usize) -> [u64; 2] {
    let [shared, fetched] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let names: Vec<String> = (0..count).map(|number| format!("{NAME}-{number}")).collect();
    for name in &names {
        fs::write(shared.path().join(name), vec![7; size_bytes]).unwrap();
    }
    // The port is free again for the peers, which share it.
    let offer_port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let listener = listen();
    let registry = listener.address();
    // Nobody waits for it: it ends with the process.
    thread::spawn(|| run(RegistryNode::new(Limits::REGISTRY), listener, None, None, &[]));
    let is_to_end = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let told = Arc::clone(&is_to_end);
        let uploader = scope.spawn(|| run_peer(1, registry, offer_port, shared.path(), &[], told));
        let wanted: Vec<_> = names.iter().map(|name| FileName::new(name).unwrap()).collect();
        let (outcome, of_downloader) =
            run_peer(2, registry, offer_port, fetched.path(), &wanted, Arc::default());
        assert_eq!(outcome, Outcome::AllDone);
        is_to_end.store(true, Ordering::Relaxed);
        let (_, of_uploader) = uploader.join().unwrap();
        for name in &names {
            let len = fs::metadata(fetched.path().join(name)).unwrap().len();
            assert_eq!(len, size_bytes as u64);
        }
        [of_uploader, of_downloader]
    })
}

fn main() -> ExitCode {
    // A test has started this process, for transfers of its own beside the registry's thread.
    if let (Some(count), Some(size_bytes)) = (setting(COUNT), setting(SIZE)) {
        let [of_uploader, of_downloader] = allocations(count, size_bytes);
        println!("{of_uploader} {of_downloader}");
        return ExitCode::SUCCESS;
    }
    kit::run(TESTS, None)
}

/// What uploader and downloader allocated in such a process.
fn counted(count: usize, size_bytes: usize) -> [u64; 2] {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env(COUNT, count.to_string()).env(SIZE, size_bytes.to_string());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let counts = text.split_whitespace().map(|count| count.parse()).collect::<Result<Vec<_>, _>>();
    counts.ok().and_then(|counts| counts.try_into().ok()).unwrap_or_else(|| panic!("{output:?}"))
}

/// Three times the bytes, in as many files.
fn assert_size_costs_nothing(count: usize, small_mebibytes: usize) {
    let [small, large] = [1, 3].map(|times| counted(count, (times * small_mebibytes) << 20));
    for (side, small, large) in
        [("uploader", small[0], large[0]), ("downloader", small[1], large[1])]
    {
        println!("{side}: {small} allocations, and {large} for three times the bytes");
        assert!(large <= small + UNSTEADY, "{side}: {small} allocations, then {large}");
    }
}

fn a_larger_file_takes_no_more_allocations() {
    assert_size_costs_nothing(1, 32);
}

/// Of several files at once, the kernel sends what it has (`sendfile`).
fn larger_files_at_once_take_no_more_allocations() {
    assert_size_costs_nothing(4, 8);
}

fn a_further_small_file_takes_the_same_few_allocations() {
    let [few, many] = [500, 2000].map(|count| counted(count, 4096));
    for (side, few, many) in [("uploader", few[0], many[0]), ("downloader", few[1], many[1])] {
        println!("{side}: {few} allocations for 500 files, {many} for 2,000");
        assert!(many - few <= 1500 * FILE_ALLOCATIONS_MAX, "{side}: {few}, then {many}");
    }
}

/// Requests the file on a connection, and takes it and acknowledges it.
fn fetch(node: &mut PeerNode, now: Instant, connection: ConnectionId, version: Version) {
    let mut bytes = Vec::new();
    PeerMessage::Request(FileName::new(NAME).unwrap()).encode(&mut bytes);
    node.handle(now, Input::Received { connection, bytes: &bytes });
    while let Some(action) = node.poll_action() {
        match action {
            Action::OpenSource { file, .. } => node.handle(now, Input::Opened { file, version }),
            // An address that asks again may have refused the file: its digest is in doubt.
            Action::Hash { path, .. } => {
                node.handle(now, Input::Hashed { path, version, hash: Hash::Sha256(DIGEST) });
            }
            _ => {}
        }
    }
    let mut sent_bytes = 0;
    while let Some(transmit) = node.transmit(connection) {
        let len = match transmit {
            Transmit::Bytes { bytes, .. } => bytes.len(),
            Transmit::File { len_bytes, .. } => len_bytes as usize,
        };
        node.transmitted(now, connection, len);
        sent_bytes += len as u64;
    }
    assert!(sent_bytes > version.size_bytes, "{sent_bytes}");
    bytes.clear();
    PeerMessage::Acknowledgment(PeerId(2)).encode(&mut bytes);
    node.handle(now, Input::Received { connection, bytes: &bytes });
    while node.poll_action().is_some() {}
}

fn an_idle_connection_is_small_silent_or_kept() {
    let now = Instant::now();
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let limits = Limits { connections_max: 2 * IDLE_CONNECTIONS, ..Limits::PEER };
    let mut node = PeerNode::new(now, PeerSettings { limits, ..peer_settings(1, 1, nowhere) });
    let version = Version {
        device: 1,
        inode: 1,
        size_bytes: 1000,
        modified_ns: 1,
        changed_ns: 1,
        is_executable: false,
    };
    let name = FileName::new(NAME).unwrap();
    let known = Known { sha256: Some(DIGEST), blake3: Some(ContentId([1; 32])) };
    node.handle(now, Input::FileFound { path: name.into(), version, known });
    while node.poll_action().is_some() {}
    // One is the registry's.
    let mut connections = Vec::with_capacity(IDLE_CONNECTIONS - 1);
    let silent = measure(|| {
        connections.extend((1..IDLE_CONNECTIONS).map_while(|_| node.accept(now, nowhere)));
        while node.poll_action().is_some() {}
    });
    assert_eq!(connections.len(), IDLE_CONNECTIONS - 1);
    let used = measure(|| {
        for &connection in &connections {
            fetch(&mut node, now, connection, version);
        }
    });
    let silent_bytes = silent.bytes_current.unsigned_abs();
    let kept_bytes = (silent.bytes_current + used.bytes_current).unsigned_abs();
    for (what, bytes) in [("silent", silent_bytes), ("kept", kept_bytes)] {
        let each = bytes / connections.len() as u64;
        println!("{what}: {each} bytes");
        assert!(each <= IDLE_CONNECTION_BYTES_MAX, "{what}: {each} bytes");
    }
}

/// A hello of a peer with this instance.
fn hello(instance: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (peer, name) = (PeerId(instance as u32), PeerName::none());
    SessionMessage::Hello { version: 1, peer, instance, name, ignored_bytes: 0 }.encode(&mut bytes);
    bytes
}

/// Takes all that a node has to send on a connection.
fn taken(node: &mut PeerNode, now: Instant, connection: ConnectionId) -> Vec<u8> {
    let mut taken = Vec::new();
    while let Some(Transmit::Bytes { bytes, .. }) = node.transmit(connection) {
        let bytes = bytes.to_vec();
        node.transmitted(now, connection, bytes.len());
        taken.extend(bytes);
    }
    while node.poll_action().is_some() {}
    taken
}

/// Says hello on a connection, sealed with this key if there is one.
fn say_hello(node: &mut PeerNode, now: Instant, connection: ConnectionId, key: Option<&SealKey>) {
    let mut bytes = hello(connection.slot() as u64 + 100);
    if let Some(key) = key {
        let mut sealed = Sealed::dialed(key);
        let sent = |sealed: &mut Sealed| {
            let Some(Transmit::Bytes { bytes, .. }) = sealed.transmit(false) else { panic!() };
            let bytes = bytes.to_vec();
            sealed.transmitted(bytes.len());
            bytes
        };
        let first = sent(&mut sealed);
        node.handle(now, Input::Received { connection, bytes: &first });
        let mut answer = taken(node, now, connection);
        assert_eq!(sealed.next(&mut answer, &mut 0), Ok(None));
        sealed.fill(&bytes);
        sealed.seal();
        bytes = sent(&mut sealed);
    }
    node.handle(now, Input::Received { connection, bytes: &bytes });
    assert!(taken(node, now, connection).len() > bytes.len() / 2, "it says hello, too");
}

fn the_seal_of_an_idle_session_is_small() {
    let mut now = Instant::now();
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    let limits = Limits { connections_max: 2 * IDLE_SESSIONS, ..Limits::PEER };
    let key = Secret::new([1; 32]).seal_key();
    let [open, sealed] = [None, Some(&key)].map(|key| {
        let group =
            key.map(|key| GroupSettings { seal_keys: [key.clone()].into(), also_open: false });
        let settings = PeerSettings { limits, group, ..peer_settings(1, 1, nowhere) };
        let mut node = PeerNode::new(now, settings);
        while node.poll_action().is_some() {}
        let sessions = measure(|| {
            for _ in 0..IDLE_SESSIONS {
                let connection = node.accept(now, nowhere).expect("a place");
                // In a turn of its own: few handshakes are done in one.
                now += Duration::from_millis(1);
                say_hello(&mut node, now, connection, key);
            }
        });
        let each = sessions.bytes_current.unsigned_abs() / IDLE_SESSIONS as u64;
        println!("{}: {each} bytes", if key.is_some() { "sealed" } else { "in clear" });
        each
    });
    assert!(sealed <= open + IDLE_SEAL_BYTES_MAX, "{sealed} bytes, and {open} without a seal");
}
