//! The registry: who listens where.
//!
//! An entry lives as long as the connection that made it. The host is the one that
//! the connection comes from; a peer claims only its id and port.
//!
//! Invariant: `peers` and `addresses` hold the same pairs, each made by an open
//! connection; `listing` has the clients to which a list is to be sent, the first first.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Instant;

use super::connections::{ConnectionId, Connections};
use super::{Action, CloseHow, Input, Node, Outcome, Paths, Report, Snapshot};
use crate::limits::{LISTED_PEERS_MAX, Limits, UNSENT_LISTS_MAX};
use crate::proto::v0::RegistrySession;
use crate::proto::{CloseReason, Transmit};
use crate::wire::v0::{ListedPeer, RegistryRequest, RegistryResponse};
use crate::wire::{FieldText, PeerId};

#[derive(Debug)]
pub struct RegistryNode {
    limits: Rc<Limits>,
    /// Whether peers of version 1 are listed.
    lists: bool,
    connections: Connections<Client>,
    peers: BTreeMap<PeerId, Entry>,
    addresses: BTreeMap<SocketAddrV4, PeerId>,
    listing: VecDeque<ConnectionId>,
    actions: VecDeque<Action>,
    paths: Paths,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: SocketAddrV4,
    /// Whether the peer said that it speaks version 1, too.
    speaks_v1: bool,
}

#[derive(Debug)]
struct Client {
    from: SocketAddrV4,
    /// The address of ours that it reached, if the runner told that.
    reached: Option<Ipv4Addr>,
    session: RegistrySession,
}

impl RegistryNode {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Rc::new(limits),
            lists: true,
            connections: Connections::new(&limits, 0),
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            listing: VecDeque::new(),
            actions: VecDeque::new(),
            paths: Paths::default(),
        }
    }

    /// Has it list nobody: it closes the connection on which that is asked.
    #[must_use]
    pub fn of_version_0(self) -> Self {
        Self { lists: false, ..self }
    }

    pub fn address(&self, peer: PeerId) -> Option<SocketAddrV4> {
        self.peers.get(&peer).map(|entry| entry.address)
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    fn on_bytes(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8]) {
        let mut at = 0;
        loop {
            let Some(client) = self.connections.get_mut(connection) else { return };
            match client.session.handle_bytes(now, bytes, &mut at) {
                Ok(Some(RegistryRequest::Register { peer, port })) => {
                    self.on_register(connection, peer, port);
                }
                Ok(Some(RegistryRequest::Lookup(peer))) => {
                    let response = match self.peers.get(&peer) {
                        Some(entry) => RegistryResponse::Address(entry.address),
                        None => error_response("Target peer not found."),
                    };
                    client.session.respond(&response);
                }
                Ok(Some(RegistryRequest::Peers { after })) if self.lists => {
                    self.on_peers(connection, after);
                }
                Ok(Some(RegistryRequest::Peers { .. })) => {
                    return self.close(connection, CloseReason::Refused);
                }
                Ok(None) => break,
                Err(reason) => return self.close(connection, reason),
            }
        }
        self.after(connection);
    }

    /// A client that speaks version 1 asks for others that do.
    fn on_peers(&mut self, connection: ConnectionId, after: PeerId) {
        let Some(client) = self.connections.get_mut(connection) else { return };
        let own = client.session.registered_as();
        if let Some(entry) = own.and_then(|peer| self.peers.get_mut(&peer)) {
            entry.speaks_v1 = true;
        }
        // For others, what is on this host is where they reached it.
        let here = client.reached.filter(|_| !client.from.ip().is_loopback());
        let listed = |(peer, entry): (&PeerId, &Entry)| {
            let mut address = entry.address;
            if let Some(here) = here.filter(|_| address.ip().is_loopback()) {
                address.set_ip(here);
            }
            ListedPeer { peer: *peer, address: address.into() }
        };
        let speaking = self.peers.range(after..).filter(|(_, entry)| entry.speaks_v1);
        let peers: Vec<_> = speaking.take(LISTED_PEERS_MAX).map(listed).collect();
        client.session.list(&peers);
        self.listing.push_back(connection);
        if self.listing.len() > UNSENT_LISTS_MAX
            && let Some(&slowest) = self.listing.front()
        {
            self.close(slowest, CloseReason::Evicted);
        }
    }

    fn on_register(&mut self, connection: ConnectionId, peer: PeerId, port: u16) {
        let Some(client) = self.connections.get_mut(connection) else { return };
        let address = SocketAddrV4::new(*client.from.ip(), port);
        let refusal = if self.peers.contains_key(&peer) {
            Some("Existing peer ID")
        } else if self.addresses.contains_key(&address) {
            Some("Existing port")
        } else {
            None
        };
        let report = match refusal {
            Some(text) => {
                // An error response: the reference takes any register response for a yes.
                client.session.respond(&error_response(text));
                Report::EntryRefused { peer, address, text: FieldText::new(text) }
            }
            None => {
                client.session.accept_registration(peer);
                self.peers.insert(peer, Entry { address, speaks_v1: false });
                self.addresses.insert(address, peer);
                Report::PeerEntered { peer, address }
            }
        };
        self.actions.push_back(Action::Report(report));
        debug_assert_eq!(self.peers.len(), self.addresses.len());
    }

    /// What every input about a connection ends with.
    fn after(&mut self, connection: ConnectionId) {
        let Some(client) = self.connections.get(connection) else { return };
        if client.session.transmit().is_some() {
            self.actions.push_back(Action::Transmit(connection));
        }
        match client.session.poll_timeout() {
            Some(deadline) => self.connections.arm(connection, deadline),
            None => self.connections.disarm(connection),
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: CloseReason) {
        if self.connections.get(connection).is_some() {
            let how = CloseHow::Finish;
            self.actions.push_back(Action::Close { connection, how, reason });
            self.forget(connection, reason);
        }
    }

    /// Takes a connection out of all tables, its entry with it.
    fn forget(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(client) = self.connections.remove(connection) else { return };
        self.listing.retain(|listing| *listing != connection);
        let report = match client.session.registered_as() {
            Some(peer) => {
                if let Some(entry) = self.peers.remove(&peer) {
                    self.addresses.remove(&entry.address);
                }
                Report::PeerLeft { peer, reason }
            }
            None => Report::ConnectionClosed { from: client.from, reason },
        };
        self.actions.push_back(Action::Report(report));
    }
}

impl Node for RegistryNode {
    fn accept(&mut self, now: Instant, from: SocketAddrV4) -> Option<ConnectionId> {
        let session = RegistrySession::new(now, &self.limits);
        let client = Client { from, reached: None, session };
        let connection = self.connections.accept(from, client);
        match connection {
            Some(connection) => self.after(connection),
            None => self.actions.push_back(Action::Report(Report::ConnectionRefused { from })),
        }
        connection
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Received { connection, bytes } => self.on_bytes(now, connection, bytes),
            Input::ReachedAt { connection, address } => {
                if let Some(client) = self.connections.get_mut(connection) {
                    client.reached = Some(address);
                }
            }
            Input::ReadClosed(connection) => self.close(connection, CloseReason::ClosedByPeer),
            Input::Broken { connection, kind } => {
                self.forget(connection, CloseReason::Broken(kind));
            }
            Input::Stop(signal) => {
                for connection in self.connections.ids() {
                    self.close(connection, CloseReason::Stopping);
                }
                self.actions.push_back(Action::Exit(Outcome::Stopped(signal)));
            }
            _ => debug_assert!(false, "a registry has neither files nor offers"),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while let Some(connection) = self.connections.pop_due(now) {
            let Some(client) = self.connections.get_mut(connection) else { continue };
            match client.session.handle_timeout(now) {
                Ok(()) => self.after(connection),
                Err(reason) => self.close(connection, reason),
            }
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.connections.next_deadline()
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        self.connections.get(connection)?.session.transmit()
    }

    fn transmitted(&mut self, now: Instant, connection: ConnectionId, len_bytes: usize) {
        let Some(client) = self.connections.get_mut(connection) else { return };
        client.session.transmitted(len_bytes);
        if !client.session.is_listing() {
            self.listing.retain(|listing| *listing != connection);
        }
        if let Some(bytes) = client.session.take_waiting() {
            self.on_bytes(now, connection, &bytes);
        }
    }

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        self.connections.get(connection).map_or(0, |c| c.session.read_allowance_bytes())
    }

    fn snapshot(&self) -> Snapshot {
        let (connections, peers_known) = (self.connections.len(), self.peers.len());
        Snapshot { connections, peers_known, ..Snapshot::default() }
    }
}

fn error_response(text: &str) -> RegistryResponse {
    RegistryResponse::Error(FieldText::new(text))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_entry_goes_with_its_connection_however_it_ends() {
        let (now, peer) = (Instant::now(), PeerId(1));
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6000);
        let mut node = RegistryNode::new(Limits::REGISTRY);
        let mut bytes = Vec::new();
        RegistryRequest::Register { peer, port: 4001 }.encode(&mut bytes);
        let kind = io::ErrorKind::ConnectionReset;
        for is_reset in [false, true] {
            let connection = node.accept(now, from).unwrap();
            node.handle(now, Input::Received { connection, bytes: &bytes });
            assert_eq!(node.address(peer), Some(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4001)));
            let end = match is_reset {
                true => Input::Broken { connection, kind },
                false => Input::ReadClosed(connection),
            };
            node.handle(now, end);
            assert!(node.is_empty() && node.addresses.is_empty(), "{node:?}");
        }
    }

    /// Sends a request, and returns the peers in the answer.
    fn listed(
        node: &mut RegistryNode,
        connection: ConnectionId,
        after: u32,
    ) -> Vec<(u32, std::net::SocketAddr)> {
        let now = Instant::now();
        let mut bytes = Vec::new();
        RegistryRequest::Peers { after: PeerId(after) }.encode(&mut bytes);
        node.handle(now, Input::Received { connection, bytes: &bytes });
        let sent = crate::node::scene::sent(node, now, connection);
        let (count, peers) = sent[2..].split_first_chunk().unwrap();
        let peers = peers.as_chunks().0.iter().map(|peer| ListedPeer::decode(peer).unwrap());
        let peers: Vec<_> = peers.map(|it| (it.peer.0, it.address)).collect();
        assert_eq!((&sent[..2], u32::from_be_bytes(*count) as usize), (&b"SP"[..], peers.len()));
        peers
    }

    fn registered(node: &mut RegistryNode, from: Ipv4Addr, peer: u32) -> ConnectionId {
        let now = Instant::now();
        let connection = node.accept(now, SocketAddrV4::new(from, 6000)).unwrap();
        let mut bytes = Vec::new();
        RegistryRequest::Register { peer: PeerId(peer), port: 4000 + peer as u16 }
            .encode(&mut bytes);
        node.handle(now, Input::Received { connection, bytes: &bytes });
        crate::node::scene::sent(node, now, connection);
        connection
    }

    #[test]
    fn peers_that_said_that_they_speak_version_1_are_listed_while_they_are_there() {
        let (now, away) = (Instant::now(), Ipv4Addr::new(10, 0, 0, 9));
        let mut node = RegistryNode::new(Limits::REGISTRY);
        let first = registered(&mut node, Ipv4Addr::LOCALHOST, 1);
        let second = registered(&mut node, away, 2);
        registered(&mut node, away, 3);
        let [at_first, at_second] =
            [(Ipv4Addr::LOCALHOST, 4001), (away, 4002)].map(std::net::SocketAddr::from);
        assert_eq!(listed(&mut node, first, 0), [(1, at_first)]);
        assert_eq!(listed(&mut node, second, 0), [(1, at_first), (2, at_second)]);
        assert_eq!(listed(&mut node, second, 2), [(2, at_second)]);
        // The first is on the host of the registry, which the second reached here.
        let here = Ipv4Addr::new(10, 0, 0, 1);
        for connection in [first, second] {
            node.handle(now, Input::ReachedAt { connection, address: here });
        }
        assert_eq!(listed(&mut node, second, 0), [(1, (here, 4001).into()), (2, at_second)]);
        assert_eq!(listed(&mut node, first, 0), [(1, at_first), (2, at_second)]);
        // One that is not registered speaks for nobody.
        let stranger = node.accept(now, SocketAddrV4::new(away, 1)).unwrap();
        assert_eq!(listed(&mut node, stranger, 0).len(), 2);
        node.handle(now, Input::ReadClosed(second));
        assert_eq!(listed(&mut node, stranger, 0), [(1, at_first)]);
    }

    #[test]
    fn one_of_version_0_lists_nobody_and_closes() {
        let (now, away) = (Instant::now(), Ipv4Addr::new(10, 0, 0, 9));
        let mut node = RegistryNode::new(Limits::REGISTRY).of_version_0();
        let connection = registered(&mut node, away, 1);
        let mut bytes = Vec::new();
        RegistryRequest::Peers { after: PeerId(0) }.encode(&mut bytes);
        node.handle(now, Input::Received { connection, bytes: &bytes });
        assert!(node.is_empty() && node.connections.get(connection).is_none());
    }

    #[test]
    fn an_answer_has_as_many_peers_as_it_may() {
        let mut node = RegistryNode::new(Limits { connections_max: 4096, ..Limits::REGISTRY });
        let connections: Vec<_> = (0..LISTED_PEERS_MAX as u32 + 3)
            .map(|peer| {
                let host = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + peer);
                let connection = registered(&mut node, host, peer);
                listed(&mut node, connection, u32::MAX);
                connection
            })
            .collect();
        let first = listed(&mut node, connections[0], 0);
        assert_eq!(first.len(), LISTED_PEERS_MAX);
        let last = first.last().unwrap().0;
        let rest: Vec<_> = listed(&mut node, connections[0], last + 1);
        assert_eq!(rest.iter().map(|it| it.0).collect::<Vec<_>>(), [1024, 1025, 1026]);
    }

    #[test]
    fn clients_that_do_not_read_hold_few_lists_and_the_first_of_them_goes() {
        let now = Instant::now();
        let mut node = RegistryNode::new(Limits { connections_max: 4096, ..Limits::REGISTRY });
        let mut bytes = Vec::new();
        RegistryRequest::Peers { after: PeerId(0) }.encode(&mut bytes);
        let ask = |node: &mut RegistryNode, number: usize| {
            let host = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number as u32);
            let connection = node.accept(now, SocketAddrV4::new(host, 6000)).unwrap();
            node.handle(now, Input::Received { connection, bytes: &bytes });
            connection
        };
        let first: Vec<_> = (0..3).map(|number| ask(&mut node, number)).collect();
        // This one reads.
        crate::node::scene::sent(&mut node, now, first[0]);
        (3..=UNSENT_LISTS_MAX).for_each(|number| _ = ask(&mut node, number));
        assert_eq!((node.connections.len(), node.listing.len()), (1025, UNSENT_LISTS_MAX));
        ask(&mut node, 5000);
        let is_there = |connection: &ConnectionId| node.connections.get(*connection).is_some();
        let there: Vec<_> = first.iter().map(is_there).collect();
        assert_eq!((there, node.listing.len()), (vec![true, false, true], UNSENT_LISTS_MAX));
    }

    /// Returns the requests, one behind the other.
    fn requests(requests: &[RegistryRequest]) -> Vec<u8> {
        let mut bytes = Vec::new();
        requests.iter().for_each(|request| request.encode(&mut bytes));
        bytes
    }

    #[test]
    fn requests_that_come_together_are_answered_in_order_one_list_at_a_time() {
        let now = Instant::now();
        let mut node = RegistryNode::new(Limits::REGISTRY);
        let connection = registered(&mut node, Ipv4Addr::LOCALHOST, 1);
        let [peers, none] = [0, 2].map(|after| RegistryRequest::Peers { after: PeerId(after) });
        let lookup = RegistryRequest::Lookup(PeerId(1));
        let all = requests(&[peers, lookup, none, peers, none]);
        // The last request comes in two pieces.
        let (bytes, rest) = all.split_at(all.len() - 3);
        node.handle(now, Input::Received { connection, bytes });
        let mut sent = || crate::node::scene::sent(&mut node, now, connection).len();
        let lens: Vec<_> = std::iter::repeat_with(&mut sent).take_while(|len| *len > 0).collect();
        assert_eq!(lens, [30, 70 + 6, 30], "lists and an address, each list alone");
        assert!(node.poll_timeout().is_some(), "half a request is to become whole in time");
        node.handle(now, Input::Received { connection, bytes: rest });
        assert_eq!(crate::node::scene::sent(&mut node, now, connection), b"SP\0\0\0\0");
        assert_eq!((node.len(), node.poll_timeout()), (1, None));
    }

    #[test]
    fn what_is_no_request_behind_a_list_closes_the_connection_once_the_list_is_sent() {
        let now = Instant::now();
        let mut node = RegistryNode::new(Limits::REGISTRY);
        let connection = registered(&mut node, Ipv4Addr::LOCALHOST, 1);
        let mut bytes = requests(&[RegistryRequest::Peers { after: PeerId(0) }]);
        bytes.extend(b"x");
        node.handle(now, Input::Received { connection, bytes: &bytes });
        assert_eq!(node.read_allowance_bytes(connection), 0);
        assert_eq!(crate::node::scene::sent(&mut node, now, connection).len(), 30);
        assert!(node.is_empty());
    }
}
