//! The registry: who listens where.
//!
//! An entry lives as long as the connection that made it. The host is the one that
//! the connection comes from; a peer claims only its id and port.
//!
//! Invariant: `peers` and `addresses` hold the same pairs, each made by an open
//! connection.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::Instant;

use super::connections::{ConnectionId, Connections};
use super::{Action, CloseHow, Input, Node, Outcome, Paths, Report, Snapshot};
use crate::limits::Limits;
use crate::proto::v0::RegistrySession;
use crate::proto::{CloseReason, Transmit};
use crate::wire::v0::{RegistryRequest, RegistryResponse};
use crate::wire::{FieldText, PeerId};

#[derive(Debug)]
pub struct RegistryNode {
    limits: Rc<Limits>,
    connections: Connections<Client>,
    peers: BTreeMap<PeerId, SocketAddrV4>,
    addresses: BTreeMap<SocketAddrV4, PeerId>,
    actions: VecDeque<Action>,
    paths: Paths,
}

#[derive(Debug)]
struct Client {
    from: SocketAddrV4,
    session: RegistrySession,
}

impl RegistryNode {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Rc::new(limits),
            connections: Connections::new(&limits, 0),
            peers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            actions: VecDeque::new(),
            paths: Paths::default(),
        }
    }

    pub fn address(&self, peer: PeerId) -> Option<SocketAddrV4> {
        self.peers.get(&peer).copied()
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
                        Some(&address) => RegistryResponse::Address(address),
                        None => error_response("Target peer not found."),
                    };
                    client.session.respond(&response);
                }
                Ok(None) => break,
                Err(reason) => return self.close(connection, reason),
            }
        }
        self.after(connection);
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
                self.peers.insert(peer, address);
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
        let report = match client.session.registered_as() {
            Some(peer) => {
                if let Some(address) = self.peers.remove(&peer) {
                    self.addresses.remove(&address);
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
        let client = Client { from, session: RegistrySession::new(now, &self.limits) };
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

    fn transmitted(&mut self, _now: Instant, connection: ConnectionId, len_bytes: usize) {
        if let Some(client) = self.connections.get_mut(connection) {
            client.session.transmitted(len_bytes);
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
}
