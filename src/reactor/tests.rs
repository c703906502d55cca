//! The loop with real sockets of this host, around a node that follows a script.
//!
//! What clients send is there before the loop begins, as far as that is possible: so it is no
//! matter of luck which events come together. Time is an oracle: whatever is ready is served
//! at once, and a loop that sleeps until the deadline of the node has forgotten something.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::thread;

use rustix::fd::OwnedFd;
use rustix::net::{SocketType, sockopt};

use super::*;
use crate::limits::{NETWORK_RETRY, TURN_ITEMS, TURN_SHARE_BYTES_MIN};
use crate::node::{Action, Paths};
use crate::proto::{CloseReason, FileId, Transmit};
use crate::ui::Show;

/// Far longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(5);
const ANY_PORT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

type Script = Box<dyn FnMut(&mut Moves, Input<'_>)>;

/// A node that follows a script.
struct Scripted {
    script: Script,
    moves: Moves,
    deadline: Instant,
    paths: Paths,
}

/// What a script may do.
#[derive(Default)]
struct Moves {
    actions: VecDeque<Action>,
    accepted: u64,
    /// What is to be sent.
    outboxes: BTreeMap<ConnectionId, Vec<u8>>,
    /// What is sent in one call at most.
    piece_bytes: usize,
    /// What is read in one call at most: while something is to be sent, and else.
    unsent_allowance_bytes: usize,
    allowance_bytes: usize,
    /// The program refuses all connections, and ends with this many; or it ends once this many
    /// bytes were sent.
    refuses_until: Option<u64>,
    sends_until: Option<usize>,
}

impl Moves {
    fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn answer(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.outboxes.entry(connection).or_default().extend(bytes);
        self.act(Action::Transmit(connection));
    }

    fn end(&mut self) {
        self.act(Action::Exit(Outcome::AllDone));
    }
}

impl Scripted {
    fn new(script: impl FnMut(&mut Moves, Input<'_>) + 'static) -> Self {
        let (script, deadline) = (Box::new(script), Instant::now() + DEADLINE);
        let moves =
            Moves { piece_bytes: usize::MAX, allowance_bytes: usize::MAX, ..Moves::default() };
        Self { script, moves, deadline, paths: Paths::default() }
    }
}

impl Node for Scripted {
    fn accept(&mut self, _: Instant, _: SocketAddrV4) -> Option<ConnectionId> {
        let id = ConnectionId::from_bits(self.moves.accepted);
        self.moves.accepted += 1;
        let refuses_until = self.moves.refuses_until;
        if refuses_until == Some(self.moves.accepted) {
            self.moves.end();
        }
        refuses_until.is_none().then_some(id)
    }

    fn handle(&mut self, _: Instant, input: Input<'_>) {
        (self.script)(&mut self.moves, input);
    }

    fn handle_timeout(&mut self, _: Instant) {
        panic!("the loop waits for what has come long ago");
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.moves.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        let unsent = self.moves.outboxes.get(&connection).filter(|unsent| !unsent.is_empty())?;
        let bytes = &unsent[..unsent.len().min(self.moves.piece_bytes)];
        Some(Transmit::Bytes { bytes, more: false })
    }

    fn transmitted(&mut self, _: Instant, connection: ConnectionId, len_bytes: usize) {
        self.moves.outboxes.entry(connection).or_default().drain(..len_bytes);
        if let Some(left_bytes) = &mut self.moves.sends_until {
            *left_bytes -= len_bytes;
            if *left_bytes == 0 {
                self.moves.end();
            }
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        match self.transmit(connection) {
            Some(_) => self.moves.unsent_allowance_bytes,
            None => self.moves.allowance_bytes,
        }
    }
}

fn listen() -> Listener {
    Listener::bind(ANY_PORT, DEADLINE).unwrap()
}

/// A connection on which these bytes were sent.
fn client(of: &Listener, bytes: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(of.address()).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(bytes).unwrap();
    client
}

/// A socket that hears nothing, and its port, which is nobody else's meanwhile.
fn reserve(kind: SocketType, address: Ipv4Addr) -> (OwnedFd, u16) {
    let socket = dial::socket(kind).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(address, 0)).unwrap();
    let bound = SocketAddrV4::try_from(rustix::net::getsockname(&socket).unwrap()).unwrap();
    (socket, bound.port())
}

/// Runs the loop until the node ends it.
fn run(node: Scripted, listener: Option<Listener>, offers: Option<BroadcastSocket>) {
    assert_eq!(reactor(node, listener, offers).run([]).unwrap(), Outcome::AllDone);
}

fn reactor(
    node: Scripted,
    listener: Option<Listener>,
    offers: Option<BroadcastSocket>,
) -> Reactor<Scripted> {
    let sockets = Sockets {
        network: Network::unused(),
        progress_timeout: DEADLINE,
        rate_limits: RateLimits::default(),
        listener,
        offers,
        beacons: None,
        control: None,
        programs: Vec::new(),
    };
    let ui = Ui::new("test".into(), Show::default());
    Reactor::new(ui, node, Signals::new().unwrap(), sockets, None).unwrap()
}

fn serve(node: Scripted, listener: Listener) {
    run(node, Some(listener), None);
}

#[test]
fn the_end_of_a_stream_that_comes_with_its_last_bytes_is_told() {
    let listener = listen();
    client(&listener, b"x").shutdown(Shutdown::Write).unwrap();
    let node = Scripted::new(|moves, input| match input {
        Input::Received { bytes, .. } => assert_eq!(bytes, b"x"),
        Input::ReadClosed(_) => moves.end(),
        input => panic!("{input:?}"),
    });
    serve(node, listener);
}

#[test]
fn an_answer_goes_out_before_the_end_of_the_question_is_told() {
    let listener = listen();
    let mut client = client(&listener, b"x");
    client.shutdown(Shutdown::Write).unwrap();
    let mut node = Scripted::new(|moves, input| match input {
        Input::Received { connection, .. } => moves.answer(connection, b"answer"),
        Input::ReadClosed(connection) => {
            let (how, reason) = (CloseHow::Finish, CloseReason::ClosedByPeer);
            moves.act(Action::Close { connection, how, reason });
            moves.end();
        }
        input => panic!("{input:?}"),
    });
    node.moves.unsent_allowance_bytes = usize::MAX;
    serve(node, listener);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

/// The answer is there only since the turn in which the end of the question may be read: in that
/// turn, or, if nothing is read before the answer is sent, in the next.
#[test]
fn an_answer_that_another_brings_goes_out_before_the_end_of_the_question_is_told() {
    for unsent_allowance_bytes in [usize::MAX, 0] {
        let listener = listen();
        let _other = client(&listener, b"x");
        let mut asker = client(&listener, b"");
        asker.shutdown(Shutdown::Write).unwrap();
        let mut node = Scripted::new(|moves, input| match input {
            Input::Received { .. } => moves.answer(ConnectionId::from_bits(1), b"answer"),
            Input::ReadClosed(connection) => {
                let (how, reason) = (CloseHow::Finish, CloseReason::ClosedByPeer);
                moves.act(Action::Close { connection, how, reason });
                moves.end();
            }
            input => panic!("{input:?}"),
        });
        node.moves.unsent_allowance_bytes = unsent_allowance_bytes;
        serve(node, listener);
        let mut answer = String::new();
        asker.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer", "{unsent_allowance_bytes}");
    }
}

#[test]
fn what_a_turn_leaves_unread_is_read_in_the_next() {
    let listener = listen();
    let _client = client(&listener, b"abc");
    let mut left_bytes = 3;
    let mut node = Scripted::new(move |moves, input| {
        let Input::Received { bytes, .. } = input else { panic!("{input:?}") };
        // More calls on files than fit into the budget of one turn.
        (0..300).for_each(|n| moves.act(Action::Discard(FileId(n))));
        left_bytes -= bytes.len();
        if left_bytes == 0 {
            moves.end();
        }
    });
    node.moves.allowance_bytes = 1;
    serve(node, listener);
}

#[test]
fn nothing_more_is_read_until_the_answer_is_sent_and_then_it_is() {
    let listener = listen();
    let mut client = client(&listener, b"abc");
    let mut node = Scripted::new(|moves, input| {
        let Input::Received { connection, bytes } = input else { panic!("{input:?}") };
        assert_eq!((bytes.len(), moves.outboxes.get(&connection).map_or(0, Vec::len)), (1, 0));
        moves.answer(connection, bytes);
    });
    (node.moves.allowance_bytes, node.moves.sends_until) = (1, Some(3));
    serve(node, listener);
    let mut echo = [0; 3];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"abc");
}

#[test]
fn what_a_turn_leaves_unsent_is_sent_in_the_next() {
    const CLIENTS: usize = 4;
    const PIECES: usize = 10;
    const PIECE_BYTES: usize = 2 * TURN_SHARE_BYTES_MIN / PIECES;
    let listener = listen();
    let clients = [(); CLIENTS].map(|()| client(&listener, b"x"));
    let mut node = Scripted::new(|moves, input| match input {
        Input::Received { connection, .. } => moves.answer(connection, &[7; PIECES * PIECE_BYTES]),
        input => panic!("{input:?}"),
    });
    node.moves.piece_bytes = PIECE_BYTES;
    node.moves.sends_until = Some(CLIENTS * PIECES * PIECE_BYTES);
    serve(node, listener);
    for mut client in clients {
        client.read_exact(&mut [0; PIECES * PIECE_BYTES]).unwrap();
    }
}

#[test]
fn a_socket_that_is_full_is_sent_the_rest_once_it_has_room() {
    let listener = listen();
    let mut client = client(&listener, b"x");
    let content: Vec<u8> = (0..8 << 20).map(|n: u32| (n >> 8 ^ n) as u8).collect();
    let (expected, sent_bytes) = (content.clone(), content.len());
    let mut node = Scripted::new(move |moves, input| match input {
        Input::Received { connection, .. } => moves.answer(connection, &content),
        input => panic!("{input:?}"),
    });
    node.moves.sends_until = Some(sent_bytes);
    let reader = thread::spawn(move || {
        let mut received = vec![0; expected.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == expected, "other bytes than were sent");
    });
    serve(node, listener);
    reader.join().unwrap();
}

#[test]
fn a_failed_send_is_told_though_nothing_may_be_read() {
    let listener = listen();
    let mut client = client(&listener, b"x");
    let node = Scripted::new(|moves, input| match input {
        Input::Received { connection, .. } => moves.answer(connection, &[7; 8 << 20]),
        Input::Broken { kind, .. } => {
            let kinds = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
            assert!(kinds.contains(&kind), "{kind:?}");
            moves.end();
        }
        input => panic!("{input:?}"),
    });
    let reader = thread::spawn(move || {
        client.read_exact(&mut [0]).unwrap();
        // Closed with a reset.
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    });
    serve(node, listener);
    reader.join().unwrap();
}

#[test]
fn a_connection_that_is_made_is_told_before_what_comes_on_it() {
    let listener = TcpListener::bind(ANY_PORT).unwrap();
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port());
    let dialed = ConnectionId::from_bits(0);
    let mut told = Vec::new();
    let mut node = Scripted::new(move |moves, input| match input {
        Input::DialedFrom { from, .. } => assert_eq!(from, Ipv4Addr::LOCALHOST),
        Input::Connected(_) => told.push("made"),
        Input::Received { .. } => told.push("bytes"),
        Input::ReadClosed(connection) => {
            assert_eq!((&*told, connection), (&["made", "bytes"][..], dialed));
            moves.end();
        }
        input => panic!("{input:?}"),
    });
    node.moves.act(Action::Dial { connection: dialed, to });
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"x").unwrap());
    run(node, None, None);
    server.join().unwrap();
}

#[test]
fn a_connection_that_is_refused_is_told() {
    let (_bound, port) = reserve(SocketType::STREAM, Ipv4Addr::LOCALHOST);
    let mut node = Scripted::new(move |moves, input| match input {
        Input::DialedFrom { .. } => {}
        Input::Broken { kind: io::ErrorKind::ConnectionRefused, .. } => moves.end(),
        input => panic!("{input:?}"),
    });
    let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    node.moves.act(Action::Dial { connection: ConnectionId::from_bits(0), to });
    run(node, None, None);
}

#[test]
fn connections_beyond_those_of_one_turn_are_accepted_in_the_next() {
    let listener = listen();
    // Those that are refused cause no other event.
    let clients: Vec<_> = (0..=TURN_ITEMS).map(|_| client(&listener, b"")).collect();
    let mut node = Scripted::new(|_, input| panic!("{input:?}"));
    node.moves.refuses_until = Some(clients.len() as u64);
    serve(node, listener);
}

#[test]
fn datagrams_beyond_those_of_one_turn_are_received_in_the_next() {
    let sender = UdpSocket::bind(ANY_PORT).unwrap();
    let (_bound, port) = reserve(SocketType::DGRAM, Ipv4Addr::new(127, 0, 0, 2));
    let offers = BroadcastSocket::offers(port).unwrap();
    for _ in 0..=TURN_ITEMS {
        sender.send_to(&[7; OFFER_BYTES], (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    let mut left = TURN_ITEMS + 1;
    let node = Scripted::new(move |moves, input| {
        let Input::Datagram { .. } = input else { panic!("{input:?}") };
        left -= 1;
        if left == 0 {
            moves.end();
        }
    });
    run(node, None, Some(offers));
}

#[test]
fn beacons_come_from_their_own_port_some_in_each_turn() {
    let sender = UdpSocket::bind(ANY_PORT).unwrap();
    let (_bound, port) = reserve(SocketType::DGRAM, Ipv4Addr::new(127, 0, 0, 2));
    let beacons = BroadcastSocket::beacons(port).unwrap();
    for _ in 0..=BEACONS_PER_TURN {
        sender.send_to(&[7; BEACON_BYTES_MAX + 2], (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    let mut left = BEACONS_PER_TURN + 1;
    let node = Scripted::new(move |moves, input| {
        let Input::Beacon { bytes, .. } = input else { panic!("{input:?}") };
        assert_eq!(bytes.len(), BEACON_BYTES_MAX + 1, "too long to be one");
        left -= 1;
        if left == 0 {
            moves.end();
        }
    });
    let mut reactor = reactor(node, None, None);
    reactor.beacons = Some(beacons);
    let registry = reactor.poll.registry();
    reactor.beacons.iter_mut().for_each(|it| {
        registry.register(it, BEACONS, Interest::READABLE).unwrap();
    });
    assert_eq!(reactor.run([]).unwrap(), Outcome::AllDone);
}

#[test]
fn a_datagram_that_cannot_be_sent_is_told() {
    let mut node = Scripted::new(|moves, input| match input {
        Input::NotSent { .. } => moves.end(),
        input => panic!("{input:?}"),
    });
    // An address for documentation, which no host has.
    let from = Ipv4Addr::new(192, 0, 2, 1);
    node.moves.act(Action::Send { from, to: ANY_PORT, datagram: [7; OFFER_BYTES].into() });
    run(node, None, None);
}

/// Keeps what all tests of this process log.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Returns how often it was logged that nobody can listen there.
fn told_of(port: u16) -> usize {
    let words = format!("cannot listen on 0.0.0.0:{port}: ");
    LOG.0.lock().unwrap().iter().filter(|line| line.starts_with(&words)).count()
}

/// The loop tries three times to listen there, if it has to. Returns whether it listens.
fn tries_to_listen(reactor: &mut Reactor<Scripted>, port: u16) -> bool {
    let there = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    (reactor.listener, reactor.listen_at) = (None, Some(there));
    reactor.network.retry(reactor.now);
    for _ in 0..3 {
        reactor.now += NETWORK_RETRY;
        reactor.follow_network();
    }
    reactor.listener.is_some()
}

#[test]
fn a_port_that_stays_taken_is_told_once_until_it_is_had() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let mut reactor = reactor(Scripted::new(|_, input| panic!("{input:?}")), None, None);
    let [one, other] = [(); 2].map(|()| TcpListener::bind(ANY_PORT).unwrap());
    let [port, other_port] = [&one, &other].map(|it| it.local_addr().unwrap().port());
    assert!(!tries_to_listen(&mut reactor, port));
    assert_eq!(told_of(port), 1);
    assert!(!tries_to_listen(&mut reactor, other_port));
    assert_eq!((told_of(port), told_of(other_port)), (1, 1));
    // Any port that is free.
    assert!(tries_to_listen(&mut reactor, 0));
    assert!(!tries_to_listen(&mut reactor, other_port));
    assert_eq!((told_of(port), told_of(other_port)), (1, 2));
}
