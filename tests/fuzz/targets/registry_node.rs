//! The registry as a whole, beside a second one written from PROTOCOL.md: both have to
//! hold the same entries, and each client has to get the same bytes.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};

use kit::oracle;
use p2pfs::limits::{Limits, OUTBOX_BYTES_MAX};
use p2pfs::node::{Action, ConnectionId, Input, Node, RegistryNode, Signal};
use p2pfs::proto::Transmit;
use p2pfs::wire::PeerId;

use super::clock::Clock;
use super::messages::{
    error_response, int_at, lookup_request, lookup_response, register_request, register_response,
};
use super::script::Script;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut rig = Rig::new(&mut script);
    while !script.is_over() {
        rig.step(&mut script);
        rig.check();
    }
    rig.node.handle(rig.clock.now(), Input::Stop(Signal::Interrupt));
    rig.drain();
    assert!(rig.has_exited && rig.clients.is_empty() && rig.node.is_empty());
}

struct Rig {
    clock: Clock,
    node: RegistryNode,
    clients: BTreeMap<ConnectionId, Client>,
    gone: Vec<ConnectionId>,
    has_exited: bool,
}

/// What the second registry knows of a client.
struct Client {
    ip: Ipv4Addr,
    registered: Option<(PeerId, u16)>,
    /// What came and is not yet a whole request.
    incoming: Vec<u8>,
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
            node: RegistryNode::new(limits),
            clients: BTreeMap::new(),
            gone: Vec::new(),
            has_exited: false,
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let some_client = script.pick(&self.clients.keys().copied().collect::<Vec<_>>());
        match (script.below(9), some_client) {
            (0, _) | (_, None) => self.accept(script.address()),
            (1, Some(id)) if script.flag() => self.feed(id, &script.any_message()),
            (1, Some(id)) => self.feed(id, script.bytes()),
            (2 | 3, Some(id)) => {
                let (peer, port) = (script.peer().0, script.below(4) as u32);
                self.feed(id, &register_request(peer, port));
            }
            (4, Some(id)) => {
                let lookups = lookup_request(script.peer().0).repeat(script.size(10) as usize);
                self.feed(id, &lookups);
            }
            (5, Some(id)) => self.take(id, script.size(19) as usize),
            (6, Some(id)) => self.end(id, script.flag()),
            (7, Some(_)) => {
                self.clock.wait(script.wait());
                self.time_out();
            }
            (_, Some(_)) => self.repeat_what_is_gone(script),
        }
    }

    fn accept(&mut self, from: SocketAddrV4) {
        if let Some(id) = self.node.accept(self.clock.now(), from) {
            assert!(!self.gone.contains(&id), "{id:?} is used again");
            let client = Client {
                ip: *from.ip(),
                registered: None,
                incoming: Vec::new(),
                outgoing: Vec::new(),
                is_refused: false,
            };
            assert!(self.clients.insert(id, client).is_none(), "{id:?} is used twice");
        }
        self.drain();
    }

    /// As many of these bytes come as may be read.
    fn feed(&mut self, id: ConnectionId, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.node.read_allowance_bytes(id))];
        if bytes.is_empty() {
            return;
        }
        self.answer(id, bytes);
        self.node.handle(self.clock.now(), Input::Received { connection: id, bytes });
        self.drain();
        let is_refused = self.clients.get(&id).is_some_and(|client| client.is_refused);
        assert!(!is_refused, "takes what is no request");
    }

    /// What the second registry says to this.
    fn answer(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        client.incoming.extend_from_slice(bytes);
        let incoming = std::mem::take(&mut client.incoming);
        let mut rest = &incoming[..];
        while !client.is_refused {
            let len = match rest {
                [] | [b'S'] => break,
                [b'S', b'R', ..] => 10,
                [b'S', b'L', ..] => 6,
                _ => 0,
            };
            let Some((request, behind)) = rest.split_at_checked(len) else { break };
            match self.response(&mut client, request) {
                Some(response) => client.outgoing.extend(response),
                None => client.is_refused = true,
            }
            rest = behind;
        }
        client.incoming = rest.to_vec();
        self.clients.insert(id, client);
    }

    fn response(&self, client: &mut Client, request: &[u8]) -> Option<Vec<u8>> {
        let (&kind, peer) = (request.get(1)?, PeerId(int_at(request, 2)));
        let entries = || {
            let all = self.clients.values().chain([&*client]);
            all.filter_map(|other| other.registered.map(|(peer, port)| (peer, (other.ip, port))))
        };
        if kind == b'L' {
            let found = entries().find(|(other, _)| *other == peer);
            return Some(match found {
                Some((_, (ip, port))) => lookup_response(&ip.to_string(), port.into()),
                None => error_response(b"Target peer not found."),
            });
        }
        let port = u16::try_from(int_at(request, 6)).ok().filter(|port| *port > 0)?;
        if client.registered.is_some() {
            return None;
        }
        if entries().any(|(other, _)| other == peer) {
            return Some(error_response(b"Existing peer ID"));
        }
        if entries().any(|(_, address)| address == (client.ip, port)) {
            return Some(error_response(b"Existing port"));
        }
        client.registered = Some((peer, port));
        Some(register_response(1))
    }

    /// The socket takes so much.
    fn take(&mut self, id: ConnectionId, room_bytes: usize) {
        let Some(Transmit::Bytes { bytes, .. }) = self.node.transmit(id) else { return };
        let len = bytes.len().min(room_bytes);
        self.node.transmitted(self.clock.now(), id, len);
        if let Some(client) = self.clients.get_mut(&id) {
            client.outgoing.drain(..len);
        }
        self.drain();
    }

    fn end(&mut self, connection: ConnectionId, in_order: bool) {
        if in_order {
            self.node.handle(self.clock.now(), Input::ReadClosed(connection));
        } else {
            self.forget(connection);
            let kind = ErrorKind::ConnectionReset;
            self.node.handle(self.clock.now(), Input::Broken { connection, kind });
        }
        self.drain();
        assert!(!self.clients.contains_key(&connection), "keeps what has ended");
    }

    fn time_out(&mut self) {
        self.node.handle_timeout(self.clock.now());
        self.drain();
        let next = self.node.poll_timeout();
        assert!(next.is_none_or(|deadline| deadline > self.clock.now()), "wakes for ever");
    }

    fn repeat_what_is_gone(&mut self, script: &mut Script<'_>) {
        let choice = script.below(3);
        let Some(connection) = script.pick(&self.gone) else { return };
        let input = match choice {
            0 => Input::Received { connection, bytes: b"S" },
            1 => Input::ReadClosed(connection),
            _ => Input::Broken { connection, kind: ErrorKind::BrokenPipe },
        };
        self.node.handle(self.clock.now(), input);
        assert_eq!(self.node.poll_action(), None, "heeds an input about what is gone");
    }

    fn drain(&mut self) {
        while let Some(action) = self.node.poll_action() {
            assert!(!self.has_exited, "acts after its end");
            match action {
                Action::Transmit(id) => assert!(self.clients.contains_key(&id), "{id:?} is gone"),
                Action::Close { connection, .. } => {
                    assert!(self.clients.contains_key(&connection), "{connection:?} is gone");
                    self.forget(connection);
                }
                Action::Report(report) => {
                    oracle::assert_printable(&report.shown(self.node.paths()).to_string());
                }
                Action::Exit(_) => self.has_exited = true,
                other => panic!("a registry does not {other:?}"),
            }
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        self.clients.remove(&id);
        self.gone.push(id);
    }

    fn check(&self) {
        let mut entries = 0;
        for (id, client) in &self.clients {
            let pending = match self.node.transmit(*id) {
                Some(Transmit::Bytes { bytes, .. }) => bytes,
                Some(Transmit::File { .. }) => panic!("a registry sends no file"),
                None => &[],
            };
            assert_eq!(pending, client.outgoing);
            assert!(pending.len() <= OUTBOX_BYTES_MAX);
            if let Some((peer, port)) = client.registered {
                entries += 1;
                assert_eq!(self.node.address(peer), Some(SocketAddrV4::new(client.ip, port)));
            }
            assert!(!pending.is_empty() || self.node.read_allowance_bytes(*id) > 0, "never reads");
        }
        assert_eq!(self.node.len(), entries);
    }
}
