//! The registry as a whole, beside a second one written from PROTOCOL.md: both have to
//! hold the same entries, and each client has to get the same bytes.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use kit::messages::{
    error_response, int, lookup_request, lookup_response, peers_request, peers_response,
    register_request, register_response,
};
use kit::runner::{Held, Runner, SendError};
use p2pfs::limits::Limits;
use p2pfs::node::{CloseHow, ConnectionId, Input, Node, RegistryNode, Signal};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::PeerId;

use super::clock::Clock;
use super::script::Script;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut rig = Rig::new(&mut script);
    while !script.is_over() {
        rig.step(&mut script);
        rig.check_model();
    }
    rig.feed(Input::Stop(Signal::Interrupt));
    let Rig { held, .. } = rig;
    assert!(held.outcome.is_some() && held.connections.is_empty() && held.node.is_empty());
}

struct Rig {
    clock: Clock,
    held: Held<RegistryNode, Client>,
    /// How much a socket takes for now.
    room_bytes: usize,
}

/// What the second registry knows of a client.
struct Client {
    ip: Ipv4Addr,
    /// The registry's own address that it connected to, if the node knows it.
    reached: Option<Ipv4Addr>,
    registered: Option<(PeerId, u16)>,
    speaks_v1: bool,
    /// What came and is not yet a whole request, or stands behind a list that is not yet sent.
    incoming: Vec<u8>,
    /// Whether a list is not yet sent.
    is_listing: bool,
    /// What it has to be sent.
    outgoing: Vec<u8>,
    /// It broke the protocol, and is to be closed.
    is_refused: bool,
}

impl Rig {
    fn new(script: &mut Script<'_>) -> Self {
        let limits = match script.flag() {
            true => Limits::REGISTRY,
            false => {
                Limits { connections_max: 4, connections_per_address_max: 2, ..Limits::REGISTRY }
            }
        };
        Self {
            clock: Clock::new(),
            held: Held::new(Box::new(RegistryNode::new(limits)), Some(limits)),
            room_bytes: 0,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let some_client = script.pick(&self.held.connections.keys().copied().collect::<Vec<_>>());
        match (script.below(10), some_client) {
            (0, _) | (_, None) => self.call(script.address()),
            (1, Some(id)) if script.flag() => self.say(id, &script.any_message()),
            (1, Some(id)) => self.say(id, script.bytes()),
            (2 | 3, Some(id)) => {
                let (peer, port) = (script.peer().0, script.below(4) as u32);
                let request = register_request(peer, port);
                let (first, rest) = request.split_at(script.below(request.len()));
                self.say(id, first);
                self.say(id, rest);
            }
            (4, Some(id)) => {
                let lookups = lookup_request(script.peer().0).repeat(script.size(10) as usize);
                self.say(id, &lookups);
            }
            (5, Some(id)) => {
                self.room_bytes = script.size(19) as usize;
                self.pump(id);
            }
            (6, Some(id)) => self.end(id, script.flag()),
            (7, Some(_)) => {
                self.clock.wait(script.wait());
                self.wake();
                assert!(!self.is_due(), "wakes for ever");
            }
            (8, Some(_)) => self.repeat_what_is_gone(script),
            (_, Some(id)) => {
                let peers = || peers_request(1, script.peer().0);
                let several = std::iter::repeat_with(peers).take(3);
                self.say(id, &several.collect::<Vec<_>>().concat());
            }
        }
    }

    fn call(&mut self, from: SocketAddrV4) {
        let is_told = !from.ip().is_loopback() && from.port() > 2;
        let reached = is_told.then_some(Ipv4Addr::new(192, 0, 2, 9));
        let client = Client {
            ip: *from.ip(),
            reached,
            registered: None,
            speaks_v1: false,
            incoming: Vec::new(),
            is_listing: false,
            outgoing: Vec::new(),
            is_refused: false,
        };
        if let (Some(connection), Some(address)) = (self.accept(from, client), reached) {
            self.feed(Input::ReachedAt { connection, address });
        }
    }

    /// As many of these bytes come as may be read.
    fn say(&mut self, id: ConnectionId, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.held.read_allowance_bytes(id))];
        if !bytes.is_empty() {
            self.answer(id, bytes);
            let is_refused = self.client(id).is_refused;
            self.feed(Input::Received { connection: id, bytes });
            let is_open = self.held.connections.contains_key(&id);
            assert_ne!(is_open, is_refused, "takes what is no request, or refuses one");
        }
    }

    /// What the second registry says to this.
    fn answer(&mut self, id: ConnectionId, bytes: &[u8]) {
        let mut incoming = std::mem::take(&mut self.client(id).incoming);
        incoming.extend_from_slice(bytes);
        let mut rest = &incoming[..];
        while !self.client(id).is_refused && !self.client(id).is_listing {
            let len = match rest {
                [] | [b'S'] => break,
                [b'S', b'R' | b'P', ..] => 10,
                [b'S', b'L', ..] => 6,
                _ => 0,
            };
            let Some((request, behind)) = rest.split_at_checked(len) else { break };
            match self.response(id, request) {
                Some(response) => self.client(id).outgoing.extend(response),
                None => self.client(id).is_refused = true,
            }
            rest = behind;
        }
        self.client(id).incoming = rest.to_vec();
    }

    fn response(&mut self, id: ConnectionId, request: &[u8]) -> Option<Vec<u8>> {
        if request.get(1) == Some(&b'P') {
            return (int(request, 2) == 1).then(|| self.list(id, int(request, 6)));
        }
        let (&kind, peer) = (request.get(1)?, PeerId(int(request, 2)));
        let ip = self.client(id).ip;
        let mut entries = self.held.connections.values().filter_map(|connection| {
            let (peer, port) = connection.what.registered?;
            Some((peer, (connection.what.ip, port)))
        });
        if kind == b'L' {
            let found = entries.find(|(other, _)| *other == peer);
            return Some(match found {
                Some((_, (ip, port))) => lookup_response(&ip.to_string(), port.into()),
                None => error_response(b"Target peer not found."),
            });
        }
        let port = u16::try_from(int(request, 6)).ok().filter(|port| *port > 0)?;
        let entries: Vec<_> = entries.collect();
        if self.client(id).registered.is_some() {
            return None;
        }
        if entries.iter().any(|(other, _)| *other == peer) {
            return Some(error_response(b"Existing peer ID"));
        }
        if entries.iter().any(|(_, address)| *address == (ip, port)) {
            return Some(error_response(b"Existing port"));
        }
        self.client(id).registered = Some((peer, port));
        Some(register_response(1))
    }

    /// The peers that said that they speak version 1.
    fn list(&mut self, id: ConnectionId, after: u32) -> Vec<u8> {
        let client = self.client(id);
        client.speaks_v1 = client.registered.is_some();
        client.is_listing = true;
        let here = client.reached;
        let clients = self.held.connections.values().map(|connection| &connection.what);
        let mut peers: Vec<_> = clients
            .filter(|client| client.speaks_v1)
            .filter_map(|client| {
                let (peer, port) = client.registered?;
                let ip = here.filter(|_| client.ip.is_loopback()).unwrap_or(client.ip);
                (peer.0 >= after).then_some((peer.0, SocketAddrV4::new(ip, port)))
            })
            .collect();
        peers.sort();
        peers_response(&peers)
    }

    fn client(&mut self, id: ConnectionId) -> &mut Client {
        self.held.what_mut(id).expect("a client that is there")
    }

    fn end(&mut self, connection: ConnectionId, in_order: bool) {
        self.feed(match in_order {
            true => Input::ReadClosed(connection),
            false => Input::Broken { connection, kind: ErrorKind::ConnectionReset },
        });
        assert!(!self.held.connections.contains_key(&connection), "keeps what has ended");
    }

    fn repeat_what_is_gone(&mut self, script: &mut Script<'_>) {
        let choice = script.below(3);
        let Some(connection) = script.pick(&self.held.gone_connections) else { return };
        let input = match choice {
            0 => Input::Received { connection, bytes: b"S" },
            1 => Input::ReadClosed(connection),
            _ => Input::Broken { connection, kind: ErrorKind::BrokenPipe },
        };
        self.feed_stale(input);
    }

    fn check_model(&self) {
        let (mut entries, mut waits) = (0, false);
        for (id, connection) in &self.held.connections {
            let client = &connection.what;
            let pending = match self.held.node.transmit(*id) {
                Some(Transmit::Bytes { bytes, .. }) => bytes,
                Some(Transmit::File { .. }) => panic!("a registry sends no file"),
                None => &[],
            };
            assert_eq!(pending, client.outgoing);
            assert!(!client.is_refused, "does not refuse what waited");
            waits |=
                client.registered.is_none() || !client.is_listing && !client.incoming.is_empty();
            if let Some((peer, port)) = client.registered {
                entries += 1;
                assert_eq!(self.held.node.address(peer), Some(SocketAddrV4::new(client.ip, port)));
            }
            assert!(
                !pending.is_empty() || self.held.node.read_allowance_bytes(*id) > 0,
                "never reads"
            );
        }
        assert_eq!(self.held.node.len(), entries);
        assert_eq!(self.held.node.poll_timeout().is_some(), waits, "a deadline");
    }
}

impl Runner for Rig {
    type Node = RegistryNode;
    type Connection = Client;

    fn held(&self) -> &Held<RegistryNode, Client> {
        &self.held
    }

    fn held_mut(&mut self) -> &mut Held<RegistryNode, Client> {
        &mut self.held
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn close(&mut self, what: Client, _: CloseHow, reason: CloseReason) {
        let is_refusal =
            matches!(reason, CloseReason::Malformed(_) | CloseReason::PeerViolated { .. });
        assert_eq!(is_refusal, what.is_refused, "{reason:?}");
    }

    fn send(&mut self, id: ConnectionId, what: Transmit<'_>) -> Result<usize, SendError> {
        let Transmit::Bytes { bytes, .. } = what else { panic!("a registry sends no file") };
        let len = bytes.len().min(self.room_bytes);
        self.room_bytes -= len;
        self.client(id).outgoing.drain(..len);
        if self.client(id).outgoing.is_empty() {
            self.client(id).is_listing = false;
            self.answer(id, &[]);
        }
        Ok(len)
    }
}
