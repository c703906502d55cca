use super::*;
use crate::exit::ExitCode;
use crate::node::scene::{answer, hear, sent};
use crate::node::{Signal, Subnet};
use crate::wire::v0::{ListedPeer, NameError, RegistryRequest, RegistryResponse};
use crate::wire::v1::{Beacon, BeaconKind, PeerName, SessionMessage};
use crate::wire::{FieldText, Malformed};

const INTERVAL: Duration = Duration::from_secs(5);
const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const NUMBER: u32 = 7;
const INSTANCE: u64 = 77;

/// What a registry does wrong.
type Fail = fn(&mut Scene);

/// A doctor, and what it wanted done.
struct Scene {
    now: Instant,
    node: DoctorNode,
    findings: Vec<Finding>,
    dialed: Vec<(ConnectionId, SocketAddrV4)>,
    resolves: Vec<String>,
    sent: Vec<(Ipv4Addr, SocketAddrV4)>,
    beacons: Vec<(Ipv4Addr, SocketAddrV4, BeaconKind)>,
    closed: Vec<ConnectionId>,
    /// Whether the registry is of version 0, and closes when it is asked for peers.
    is_of_version_0: bool,
    /// The connection on which it is asked for them.
    listing: Option<ConnectionId>,
    finished: usize,
    outcome: Option<Outcome>,
}

fn address(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

fn registry() -> SocketAddrV4 {
    address("192.0.2.1:5000")
}

fn interface(name: &str, address: Ipv4Addr) -> (Interface, Option<SocketAddrV4>) {
    let subnet = Subnet { address, prefix_len: 24 };
    let to = Some(SocketAddrV4::new(Ipv4Addr::from(u32::from(address) | 0xff), 8000));
    (Interface { name: name.into(), address, subnet, broadcast: None, is_up: true }, to)
}

fn settings() -> DoctorSettings {
    DoctorSettings {
        port: 8000,
        port_error: None,
        beacon_port: 8001,
        beacon_port_error: None,
        beacons: BeaconSettings::open(),
        group: None,
        registry: registry().into(),
        registry_use: RegistryUse::Named,
        interfaces: vec![interface("lo", Ipv4Addr::LOCALHOST), interface("eth0", OURS)],
        others: Vec::new(),
        offer_interval: INTERVAL,
        number: NUMBER,
        instance: INSTANCE,
    }
}

impl Scene {
    fn new(settings: DoctorSettings) -> Self {
        let now = Instant::now();
        let mut scene = Self {
            now,
            node: DoctorNode::new(now, settings),
            findings: Vec::new(),
            dialed: Vec::new(),
            resolves: Vec::new(),
            sent: Vec::new(),
            beacons: Vec::new(),
            closed: Vec::new(),
            is_of_version_0: true,
            listing: None,
            finished: 0,
            outcome: None,
        };
        scene.drain();
        scene
    }

    /// One that is past the registry.
    fn hearing(settings: DoctorSettings) -> Self {
        let mut scene = Self::new(settings);
        scene.connect(registry());
        scene.answer(&[(NUMBER, None)]);
        scene
    }

    fn drain(&mut self) {
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::Report(Report::Finding(finding)) => self.findings.push(*finding),
                Action::Dial { connection, to } if to == registry() && !self.dialed.is_empty() => {
                    self.listing = Some(connection);
                    if self.is_of_version_0 {
                        self.node.handle(self.now, Input::Connected(connection));
                        self.node.handle(self.now, Input::ReadClosed(connection));
                    }
                }
                Action::Close { connection, .. } if self.listing == Some(connection) => {
                    self.listing = None;
                }
                Action::Dial { connection, to } => self.dialed.push((connection, to)),
                Action::Resolve(host) => self.resolves.push(host),
                Action::Send { from, to, datagram } if to.port() == 8001 => {
                    let beacon = Beacon::decode(&datagram, None).unwrap();
                    assert_eq!((beacon.instance, beacon.port, beacon.tags), (INSTANCE, 0, vec![]));
                    self.beacons.push((from, to, beacon.kind));
                }
                Action::Send { from, to, datagram } => {
                    assert_eq!(*datagram, self.node.datagram);
                    self.sent.push((from, to));
                }
                Action::Close { connection, how, .. } => {
                    let is_session = how == CloseHow::Finish;
                    self.finished += usize::from(is_session);
                    self.closed.push(connection);
                }
                Action::Transmit(_) => {}
                Action::Exit(outcome) => self.outcome = Some(outcome),
                other => panic!("a doctor does not {other:?}"),
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain();
    }

    fn id(&self, to: SocketAddrV4) -> ConnectionId {
        self.dialed.iter().find(|(_, address)| *address == to).unwrap().0
    }

    fn connect(&mut self, to: SocketAddrV4) {
        self.now += Duration::from_millis(1);
        self.handle(Input::Connected(self.id(to)));
    }

    /// The registry answers the next lookups, each of which has to be for this peer.
    fn answer(&mut self, known: &[(u32, Option<&str>)]) {
        let connection = self.id(registry());
        for &(peer, at) in known {
            let mut lookup = Vec::new();
            RegistryRequest::Lookup(PeerId(peer)).encode(&mut lookup);
            assert_eq!(sent(&mut self.node, self.now, connection), lookup);
            let response = match at {
                Some(at) => RegistryResponse::Address(address(at)),
                None => RegistryResponse::Error(FieldText::new("no")),
            };
            self.now += Duration::from_millis(1);
            answer(&mut self.node, self.now, connection, response);
            self.drain();
        }
    }

    fn hear(&mut self, peer: u32, from: &str) {
        hear(&mut self.node, self.now, address(from), peer, "file");
        self.drain();
    }

    fn hear_back(&mut self, from: Ipv4Addr) {
        let bytes = probe(NUMBER);
        self.handle(Input::Datagram { from: SocketAddrV4::new(from, 1), bytes: &bytes });
    }

    fn beacon(&mut self, kind: BeaconKind, peer: u32, instance: u64, from: &str, port: u16) {
        let (from, name) = (address(from), PeerName::new("ann").unwrap());
        let (peer, tags) = (PeerId(peer), Vec::new());
        let (counter, generation, files) = (1, 1, 3);
        let beacon = Beacon { kind, port, peer, instance, counter, generation, files, name, tags };
        self.handle(Input::Beacon { from, bytes: &beacon.encode(None) });
    }

    fn beacon_back(&mut self, from: Ipv4Addr) {
        self.beacon(BeaconKind::Query, NUMBER, INSTANCE, &format!("{from}:1"), 0);
    }

    /// Nobody listens there.
    fn refuse(&mut self, to: SocketAddrV4) {
        let connection = self.id(to);
        self.closed.push(connection);
        self.handle(Input::Broken { connection, kind: ErrorKind::ConnectionRefused });
    }

    /// The peer there takes the connection, and says hello.
    fn say_hello(&mut self, to: SocketAddrV4, peer: u32, instance: u64) {
        self.connect(to);
        let connection = self.id(to);
        let name = PeerName::new("ann").unwrap();
        let hello = |peer, instance, name| {
            let mut bytes = Vec::new();
            SessionMessage::Hello { version: 1, peer, instance, name, ignored_bytes: 0 }
                .encode(&mut bytes);
            bytes
        };
        let ours = hello(PeerId(NUMBER), INSTANCE, PeerName::none());
        assert_eq!(sent(&mut self.node, self.now, connection), ours);
        self.now += Duration::from_millis(1);
        let bytes = hello(PeerId(peer), instance, name);
        self.handle(Input::Received { connection, bytes: &bytes });
    }

    /// Returns what sessions there were.
    fn sessions(&self) -> Vec<(u32, SessionFinding)> {
        let peer = |finding: &Finding| match finding {
            Finding::Beaconing(peer) => Some((peer.id.0, peer.session)),
            _ => None,
        };
        self.findings.iter().filter_map(peer).collect()
    }

    /// Deadlines come until one of them changes something.
    fn time_out(&mut self) {
        let told = (self.findings.len(), self.closed.len());
        while told == (self.findings.len(), self.closed.len()) {
            self.now = self.node.poll_timeout().expect("a deadline");
            self.node.handle_timeout(self.now);
            self.drain();
        }
    }

    /// Returns what the peers were found to be like.
    fn places(&self) -> Vec<(u32, PeerPlace)> {
        let peer = |finding: &Finding| match finding {
            Finding::Peer(peer) => Some((peer.id.0, peer.place)),
            _ => None,
        };
        self.findings.iter().filter_map(peer).collect()
    }

    #[track_caller]
    fn ends(&self, code: ExitCode) -> Verdict {
        assert_eq!(self.outcome, Some(Outcome::AllDone));
        assert_eq!(self.dialed.len(), self.closed.len(), "{:?}", self.dialed);
        let verdict = self.node.verdict();
        assert_eq!(verdict.code(), code, "{verdict}");
        verdict
    }
}

#[test]
fn our_datagram_is_no_offer_to_us() {
    let dropped = Err(Malformed::Name(NameError::LeadingDot));
    assert_eq!(Offer::decode(&probe(7)).map(|_| ()), dropped);
}

#[test]
fn everything_is_told_in_its_order_and_each_peer_is_tried_where_the_registry_has_it() {
    let mut scene = Scene::new(settings());
    assert!(matches!(scene.findings[..], [Finding::Port(PortFinding { error: None, .. })]));
    // Offers count from the first moment on.
    scene.hear(2, "192.0.2.2:1");
    scene.connect(registry());
    assert_eq!(scene.sent, []);
    scene.answer(&[(NUMBER, None)]);
    let Finding::Registry(found) = &scene.findings[1] else { panic!("{:?}", scene.findings) };
    let millisecond = Some(Duration::from_millis(1));
    assert_eq!((found.connected_in, found.answered_in), (millisecond, millisecond));
    let sent =
        [(Ipv4Addr::LOCALHOST, address("127.0.0.255:8000")), (OURS, address("192.0.2.255:8000"))];
    assert_eq!(scene.sent, sent);
    scene.hear_back(OURS);
    for (peer, from) in [(1, "192.0.2.2:1"), (3, "198.51.100.1:1"), (2, "192.0.2.9:1")] {
        scene.hear(peer, from);
    }
    let began = scene.now;
    scene.time_out();
    assert_eq!(scene.now - began, INTERVAL + DOCTOR_LISTENS_LONGER);
    let interfaces: Vec<_> = scene.findings[2..4]
        .iter()
        .map(|finding| match finding {
            Finding::Interface(found) => (found.is_heard_back, found.offers, found.peers.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(interfaces, [(false, 0, 0), (true, 3, 2)]);
    // What comes later does not count.
    scene.hear(4, "192.0.2.4:1");
    scene.answer(&[(1, Some("192.0.2.2:1001")), (2, Some("192.0.2.2:1002")), (3, None)]);
    let (first, second) = (address("192.0.2.2:1001"), address("192.0.2.2:1002"));
    scene.connect(second);
    let kind = ErrorKind::ConnectionRefused;
    assert_eq!(scene.places(), [], "told when all are known");
    let broken = scene.id(first);
    scene.closed.push(broken);
    scene.handle(Input::Broken { connection: broken, kind });
    let expected = [
        (1, PeerPlace::At(first, Err(CloseReason::Broken(kind)))),
        (2, PeerPlace::At(second, Ok(Duration::from_millis(1)))),
        (3, PeerPlace::Unknown),
    ];
    assert_eq!(scene.places(), expected);
    let verdict = scene.ends(ExitCode::Done);
    assert_eq!(verdict, Verdict::Fine { reached: 1, peers: 3, unknown: 0, problem: None });
    assert!(scene.closed.contains(&scene.id(registry())));
}

#[test]
fn a_registry_that_is_none_is_told_with_the_reason_and_offers_are_heard_all_the_same() {
    let silent = |scene: &mut Scene| {
        let began = scene.now;
        scene.time_out();
        assert_eq!(scene.now - began, PROBE_TIMEOUT);
    };
    let dumb = |scene: &mut Scene| {
        scene.connect(registry());
        scene.time_out();
    };
    let other = |scene: &mut Scene| {
        scene.connect(registry());
        let connection = scene.id(registry());
        scene.handle(Input::Received { connection, bytes: b"220 mail.example\r\n" });
    };
    let closing = |scene: &mut Scene| {
        scene.connect(registry());
        let connection = scene.id(registry());
        scene.handle(Input::ReadClosed(connection));
    };
    let cases: [(Fail, &str); 4] = [
        (silent, "no answer in 3 s; is that the right host, and does it let TCP port 5000 in?"),
        (dumb, "no answer in 3 s; is that the right host, and does it let TCP port 5000 in?"),
        (
            other,
            "it sent a message of unknown type 0x32; that is no registry of p2pfs; say where \
             the registry is with --registry",
        ),
        (
            closing,
            "it closed the connection; that is no registry of p2pfs; say where the registry is \
             with --registry",
        ),
    ];
    for (fail, why) in cases {
        let mut scene = Scene::new(settings());
        fail(&mut scene);
        scene.hear(2, "192.0.2.2:1");
        scene.time_out();
        assert_eq!(scene.places(), [(2, PeerPlace::NotTold)]);
        let verdict = scene.ends(ExitCode::Unreachable);
        assert_eq!(verdict.to_string(), format!("no registry at {}: {why}", registry()));
    }
    let lab = || HostPort::Name { host: "lab".into(), port: 5000 };
    let mut scene = Scene::new(DoctorSettings { registry: lab(), ..settings() });
    assert_eq!(scene.resolves, ["lab"]);
    scene.handle(Input::Resolved(Err("nobody knows".into())));
    scene.time_out();
    scene.ends(ExitCode::Unreachable);
    let mut scene = Scene::new(DoctorSettings { registry: lab(), ..settings() });
    scene.handle(Input::Resolved(Ok(*registry().ip())));
    scene.connect(registry());
    scene.answer(&[(NUMBER, None)]);
    assert_eq!(scene.sent.len(), 2);
}

#[test]
fn an_offer_port_that_is_taken_is_not_waited_on() {
    let port_error = Some(ErrorKind::AddrInUse);
    let scene = Scene::hearing(DoctorSettings { port_error, ..settings() });
    assert_eq!(scene.sent, []);
    let not_sent = |finding: &&Finding| matches!(finding, Finding::Interface(found) if found.error == Some(NotSent::NoPort));
    assert_eq!(scene.findings.iter().filter(not_sent).count(), 2);
    scene.ends(ExitCode::AddressInUse);
}

#[test]
fn if_nobody_is_heard_it_tells_what_is_in_the_way() {
    let verdict = |settings: DoctorSettings, happens: fn(&mut Scene)| {
        let mut scene = Scene::hearing(settings);
        happens(&mut scene);
        scene.time_out();
        scene.ends(scene.node.verdict().code())
    };
    let refuse = |scene: &mut Scene| {
        let kind = ErrorKind::PermissionDenied;
        let to = address("192.0.2.255:8000");
        scene.handle(Input::NotSent { from: OURS, to, kind });
    };
    let (error, interfaces) = (NotSent::Refused(ErrorKind::PermissionDenied), ["eth0".to_owned()]);
    let interfaces = interfaces.to_vec();
    let problem = NothingSent { interfaces: interfaces.clone(), error, port: 8000 };
    assert_eq!(verdict(settings(), refuse), Verdict::NothingSent(problem));
    // The loopback says nothing about the others.
    let loopback = |scene: &mut Scene| scene.hear_back(Ipv4Addr::LOCALHOST);
    assert_eq!(verdict(settings(), loopback), Verdict::NothingBack { interfaces, port: 8000 });
    let offers_back = |scene: &mut Scene| scene.hear_back(OURS);
    let interfaces = vec!["eth0".to_owned()];
    let no_beacon_back = Verdict::NothingBack { interfaces, port: 8001 };
    assert_eq!(verdict(settings(), offers_back), no_beacon_back);
    let back = |scene: &mut Scene| {
        scene.hear_back(OURS);
        scene.beacon_back(OURS);
    };
    let nobody = Verdict::NobodyHeard { port: 8000, beacon_port: 8001 };
    assert_eq!(verdict(settings(), back), nobody);
    let mut unusable = settings();
    unusable.interfaces[0].1 = None;
    unusable.interfaces[1].0.is_up = false;
    assert_eq!(verdict(unusable, |_| {}), Verdict::NoBroadcastAddress);
}

#[test]
fn peers_that_are_not_reached_are_given_up_together() {
    let mut scene = Scene::hearing(settings());
    scene.hear(2, "192.0.2.2:1");
    scene.hear(3, "192.0.2.3:1");
    scene.time_out();
    scene.answer(&[(2, Some("192.0.2.2:1002")), (3, Some("192.0.2.3:1003"))]);
    let began = scene.now;
    scene.time_out();
    assert_eq!(scene.now - began, PROBE_TIMEOUT);
    let verdict = scene.ends(ExitCode::Other);
    let said = "cannot reach peer 2 at 192.0.2.2:1002: no answer in 3 s; does it let TCP port \
                1002 in?";
    assert_eq!(verdict.to_string(), said);
}

#[test]
fn a_registry_that_leaves_before_all_is_asked_is_not_waited_for_again() {
    let mut scene = Scene::hearing(settings());
    (2..5).for_each(|peer| scene.hear(peer, "192.0.2.2:1"));
    scene.time_out();
    scene.answer(&[(2, None)]);
    scene.time_out();
    let untold = PeerPlace::NotTold;
    assert_eq!(scene.places(), [(2, PeerPlace::Unknown), (3, untold), (4, untold)]);
    let verdict = scene.ends(ExitCode::Other);
    assert_eq!(verdict, Verdict::NobodyKnown { registry: registry().to_string(), peers: 3 });
}

#[test]
fn no_more_peers_than_may_be_are_looked_up() {
    let mut scene = Scene::hearing(settings());
    (0..2 * PROBED_PEERS_MAX as u32).for_each(|peer| scene.hear(peer, "192.0.2.2:1"));
    scene.time_out();
    let Finding::Interface(found) = &scene.findings[3] else { panic!("{:?}", scene.findings) };
    assert_eq!((found.offers, found.peers.len()), (512, PROBED_PEERS_MAX));
    let ports: Vec<_> =
        (0..PROBED_PEERS_MAX).map(|peer| format!("192.0.2.2:{}", 1000 + peer)).collect();
    let known: Vec<_> =
        ports.iter().enumerate().map(|(peer, port)| (peer as u32, Some(&**port))).collect();
    scene.answer(&known);
    assert_eq!(scene.dialed.len(), 1 + PROBED_PEERS_MAX);
    ports.iter().for_each(|port| scene.connect(address(port)));
    scene.ends(ExitCode::Done);
}

#[test]
fn a_signal_ends_it_at_any_time() {
    for mut scene in [Scene::new(settings()), Scene::hearing(settings())] {
        scene.handle(Input::Stop(Signal::Interrupt));
        assert_eq!(scene.outcome, Some(Outcome::Stopped(Signal::Interrupt)));
        assert_eq!(scene.dialed.len(), scene.closed.len());
    }
}

#[test]
fn a_datagram_to_an_address_of_our_own_proves_nothing() {
    let mut alone = settings();
    alone.interfaces[1].1 = Some(SocketAddrV4::new(OURS, 8000));
    let mut scene = Scene::hearing(alone);
    assert_eq!(scene.sent.len(), 1, "that of the loopback");
    scene.time_out();
    let verdict = scene.ends(ExitCode::Other).to_string();
    assert!(
        verdict.starts_with("offers cannot leave by eth0: that is an address of this"),
        "{verdict}"
    );
}

/// A doctor that was told to examine eth1 only.
fn misled() -> DoctorSettings {
    let eth1 = interface("eth1", Ipv4Addr::new(198, 51, 100, 7));
    DoctorSettings { interfaces: vec![eth1], others: vec![interface("eth0", OURS).0], ..settings() }
}

#[test]
fn an_interface_that_is_the_wrong_one_is_told_as_such() {
    let said = "others are found by eth0, and not by eth1, which --interface names; say \
                --interface eth0, or leave it away";
    let mut scene = Scene::hearing(misled());
    scene.hear(2, "192.0.2.2:1");
    scene.time_out();
    scene.answer(&[(2, Some("192.0.2.2:1002"))]);
    scene.connect(address("192.0.2.2:1002"));
    assert_eq!(scene.ends(ExitCode::Other).to_string(), said, "though a way leads there");
    // The registry says so, too, if it does not answer.
    let mut scene = Scene::new(misled());
    scene.time_out();
    scene.time_out();
    assert_eq!(scene.ends(ExitCode::Other).to_string(), said);
    // Somebody is heard there as well.
    let mut scene = Scene::hearing(misled());
    scene.hear(2, "192.0.2.2:1");
    scene.hear(3, "198.51.100.3:1");
    scene.time_out();
    scene.answer(&[(2, None), (3, Some("198.51.100.3:1003"))]);
    scene.connect(address("198.51.100.3:1003"));
    scene.ends(ExitCode::Done);
}

#[test]
fn another_subnet_is_told_as_such() {
    let networks = "in no network of this machine, which has 192.0.2.7/24 on eth0";
    let far = || DoctorSettings { registry: address("198.51.100.1:5000").into(), ..settings() };
    let mut scene = Scene::new(far());
    scene.time_out();
    scene.time_out();
    let verdict = scene.ends(ExitCode::Unreachable).to_string();
    let said = format!("no registry at 198.51.100.1:5000: no answer in 3 s; it is {networks}; ");
    assert!(verdict.starts_with(&said), "{verdict}");
    // A host that answers is not far.
    let mut scene = Scene::new(far());
    let connection = scene.id(address("198.51.100.1:5000"));
    scene.closed.push(connection);
    scene.handle(Input::Broken { connection, kind: ErrorKind::ConnectionRefused });
    scene.time_out();
    let verdict = scene.ends(ExitCode::Unreachable).to_string();
    assert!(!verdict.contains(networks), "{verdict}");

    let mut scene = Scene::hearing(settings());
    scene.hear(2, "198.51.100.2:1");
    scene.time_out();
    scene.answer(&[(2, Some("198.51.100.2:1002"))]);
    scene.time_out();
    let verdict = scene.ends(ExitCode::Other).to_string();
    let said = format!("peer 2 is heard from 198.51.100.2, which is {networks}; give both");
    assert!(verdict.starts_with(&said), "{verdict}");
}

/// A doctor that was told of no registry, where none is.
fn without_registry() -> Scene {
    let mut scene = Scene::new(DoctorSettings { registry_use: RegistryUse::Usual, ..settings() });
    scene.refuse(registry());
    scene
}

#[test]
fn beacons_go_out_and_come_in_and_each_peer_that_can_be_dialed_says_who_it_is() {
    let mut scene = without_registry();
    let all = |kind| {
        let loopback = (Ipv4Addr::LOCALHOST, address("127.0.0.255:8001"), kind);
        [loopback, (OURS, address("192.0.2.255:8001"), kind)]
    };
    assert_eq!(scene.beacons, all(BeaconKind::Query));
    scene.beacon_back(OURS);
    scene.handle(Input::Beacon { from: address("192.0.2.2:1"), bytes: b"P2F1" });
    let open = address("192.0.2.2:1025");
    let shut = address("192.0.2.3:1024");
    scene.hear(2, "192.0.2.2:1");
    for (peer, from, port) in [
        (2, "192.0.2.2:1", 1025),
        (3, "192.0.2.3:1", 1024),
        (4, "192.0.2.4:1", 0),
        (5, "192.0.2.5:1", 1023),
        (6, "198.51.100.6:1", 1024),
        (7, "192.0.2.7:1", 1024),
    ] {
        scene.beacon(BeaconKind::Beacon, peer, peer.into(), from, port);
        scene.beacon(BeaconKind::Beacon, peer, peer.into(), from, port);
    }
    scene.beacon(BeaconKind::Leaving, 7, 7, "192.0.2.7:1", 1024);
    scene.time_out();
    let beacons = scene.findings.iter().filter_map(|finding| match finding {
        Finding::Beacons(it) => Some((it.is_heard_back, it.error, it.beacons, it.peers.len())),
        _ => None,
    });
    assert_eq!(beacons.collect::<Vec<_>>(), [(false, None, 0, 0), (true, None, 10, 5)]);
    scene.refuse(shut);
    assert_eq!(scene.sessions(), [], "told when all are known");
    scene.say_hello(open, 2, 2);
    let refused = Err(CloseReason::Broken(ErrorKind::ConnectionRefused));
    let expected = [
        (2, SessionFinding::At(open, Ok(Duration::from_millis(2)))),
        (3, SessionFinding::At(shut, refused)),
        (4, SessionFinding::NoPort),
        (5, SessionFinding::LowPort(1023)),
        (6, SessionFinding::Foreign),
    ];
    assert_eq!(scene.sessions(), expected);
    // By both versions it is one peer, and a registry would help nobody.
    let verdict = scene.ends(ExitCode::Done);
    assert_eq!(verdict, Verdict::Fine { reached: 1, peers: 5, unknown: 0, problem: None });
    assert!(!scene.findings.iter().any(|finding| matches!(finding, Finding::Registry(_))));
    assert_eq!((scene.dialed.len(), scene.finished), (3, 1));
    assert_eq!(scene.beacons[2..], all(BeaconKind::Leaving));
    let told = scene.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    for line in [
        "peer 2, heard from 192.0.2.2: not looked up, without a registry; version 1 needs none",
        "peer ann (2), beacons heard from 192.0.2.2: session with 192.0.2.2:1025 in 2.0 ms; it \
         shares 3 files",
        "peer ann (3), beacons heard from 192.0.2.3: cannot be dialed at 192.0.2.3:1024: \
         connection refused; it can only give over sessions that it dials",
        "peer ann (4), beacons heard from 192.0.2.4: it says that it cannot be dialed; it can \
         only give over sessions that it dials",
    ] {
        assert!(told.iter().any(|told| told == line), "no {line:?} in {told:#?}");
    }
}

#[test]
fn a_registry_that_nobody_named_is_missed_only_where_it_would_help() {
    let is_told = |scene: &Scene| {
        scene.findings.iter().any(|finding| matches!(finding, Finding::Registry(_)))
    };
    // Nobody is there.
    let mut scene = without_registry();
    scene.hear_back(OURS);
    scene.beacon_back(OURS);
    scene.time_out();
    scene.ends(ExitCode::NotOffered);
    assert!(!is_told(&scene));
    // Only version 0.
    let mut scene = without_registry();
    scene.hear(2, "192.0.2.2:1");
    scene.time_out();
    assert!(matches!(scene.ends(ExitCode::Unreachable), Verdict::NoRegistry(_)));
    assert!(is_told(&scene));
    // Both.
    let mut scene = without_registry();
    scene.hear(2, "192.0.2.2:1");
    scene.beacon(BeaconKind::Query, 3, 3, "192.0.2.3:1", 1024);
    scene.time_out();
    scene.say_hello(address("192.0.2.3:1024"), 3, 3);
    let verdict = scene.ends(ExitCode::Done);
    assert_eq!(verdict, Verdict::Fine { reached: 1, peers: 2, unknown: 1, problem: None });
    assert!(is_told(&scene));
    let said = "files can be exchanged with 1 of 2 peers; 1 peer of version 0 cannot be found \
                without a registry: say where it is with --registry";
    assert_eq!(verdict.to_string(), said);
}

#[test]
fn sessions_are_dialed_32_at_once_and_their_ends_are_told_apart() {
    let mut scene = without_registry();
    for peer in 0..40 {
        scene.beacon(
            BeaconKind::Beacon,
            peer,
            u64::from(peer) + 1,
            "192.0.2.2:1",
            2000 + peer as u16,
        );
    }
    scene.time_out();
    let dialed = |scene: &Scene| scene.dialed.len() - 1;
    assert_eq!(dialed(&scene), 32);
    scene.refuse(address("192.0.2.2:2000"));
    scene.say_hello(address("192.0.2.2:2001"), 1, 2);
    assert_eq!(dialed(&scene), 34);
    // One that says something else, and one that says nothing.
    scene.connect(address("192.0.2.2:2002"));
    let connection = scene.id(address("192.0.2.2:2002"));
    scene.handle(Input::Received { connection, bytes: b"220 mail.example\r\n" });
    scene.connect(address("192.0.2.2:2003"));
    while scene.outcome.is_none() {
        scene.time_out();
    }
    assert_eq!(dialed(&scene), 40);
    let sessions = scene.sessions();
    let reached = sessions.iter().filter(|(_, at)| matches!(at, SessionFinding::At(_, Ok(_))));
    assert_eq!(reached.count(), 1);
    let silent =
        SessionFinding::At(address("192.0.2.2:2003"), Err(CloseReason::TimedOut(Timer::Hello)));
    assert_eq!(sessions[3].1, silent);
    scene.ends(ExitCode::Done);
}

#[test]
fn peers_of_version_1_of_which_none_is_reached_are_told_with_the_reason() {
    let mut scene = without_registry();
    scene.beacon(BeaconKind::Beacon, 2, 2, "192.0.2.2:1", 0);
    scene.time_out();
    assert_eq!(scene.ends(ExitCode::Other), Verdict::NobodyDialed { peers: 1 });
    let mut scene = without_registry();
    scene.beacon(BeaconKind::Beacon, 2, 2, "192.0.2.2:1", 1024);
    scene.time_out();
    scene.time_out();
    let said = "cannot reach peer 2 at 192.0.2.2:1024: no answer in 3 s; does it let TCP port \
                1024 in?";
    assert_eq!(scene.ends(ExitCode::Other).to_string(), said);
    // With a port that is not ours nobody would be heard.
    let (beacon_port_error, registry_use) = (Some(ErrorKind::AddrInUse), RegistryUse::Usual);
    let mut scene = Scene::new(DoctorSettings { beacon_port_error, registry_use, ..settings() });
    scene.refuse(registry());
    scene.time_out();
    assert_eq!(scene.beacons, []);
    let verdict = scene.ends(ExitCode::AddressInUse).to_string();
    assert!(verdict.starts_with("beacon port 8001 is in use by a program that"), "{verdict}");
}

#[test]
fn peers_that_the_registry_lists_and_that_are_not_heard_are_dialed() {
    let mut scene = Scene::new(settings());
    scene.is_of_version_0 = false;
    scene.connect(registry());
    scene.answer(&[(NUMBER, None)]);
    let listing = scene.listing.expect("it is asked for peers");
    scene.handle(Input::Connected(listing));
    let mut request = Vec::new();
    RegistryRequest::Peers { after: PeerId(0) }.encode(&mut request);
    assert_eq!(sent(&mut scene.node, scene.now, listing), request);
    let far = ["198.51.100.1:8001", "198.51.100.2:8001", "192.0.2.2:8001"].map(address);
    let mut bytes = Vec::new();
    RegistryResponse::Peers { count: 3 }.encode(&mut bytes);
    for (id, at) in (1..).zip(far) {
        ListedPeer { peer: PeerId(id), address: at.into() }.encode(&mut bytes);
    }
    scene.handle(Input::Received { connection: listing, bytes: &bytes });
    assert_eq!(scene.listing, None, "it is closed");
    scene.beacon(BeaconKind::Beacon, 3, 33, "192.0.2.2:1", 8001);
    scene.time_out();
    assert!(scene.findings.contains(&Finding::Listing(Ok(3))), "{:?}", scene.findings);
    scene.say_hello(far[0], 1, 11);
    scene.say_hello(far[2], 3, 33);
    scene.refuse(far[1]);
    let listed = |finding: &Finding| match finding {
        Finding::Listed(it) => Some((it.id.0, it.name.as_str().to_owned(), it.session)),
        _ => None,
    };
    let listed: Vec<_> = scene.findings.iter().filter_map(listed).collect();
    let refused = Err(CloseReason::Broken(ErrorKind::ConnectionRefused));
    let reached = Ok(Duration::from_millis(2));
    assert_eq!(listed, [(1, "ann".into(), reached), (2, String::new(), refused)]);
    let verdict = scene.ends(ExitCode::Done);
    assert_eq!(verdict, Verdict::Fine { reached: 2, peers: 3, unknown: 0, problem: None });
}

#[test]
fn a_listed_peer_that_nobody_can_reach_is_what_to_mend() {
    let mut scene = Scene::new(settings());
    scene.is_of_version_0 = false;
    scene.connect(registry());
    scene.answer(&[(NUMBER, None)]);
    let (listing, far) = (scene.listing.unwrap(), address("198.51.100.1:8001"));
    scene.handle(Input::Connected(listing));
    sent(&mut scene.node, scene.now, listing);
    let mut bytes = Vec::new();
    RegistryResponse::Peers { count: 1 }.encode(&mut bytes);
    ListedPeer { peer: PeerId(1), address: far.into() }.encode(&mut bytes);
    scene.handle(Input::Received { connection: listing, bytes: &bytes });
    scene.time_out();
    scene.refuse(far);
    let verdict = scene.ends(ExitCode::Other);
    assert!(matches!(verdict, Verdict::NobodyReached { id: PeerId(1), .. }), "{verdict}");
}
