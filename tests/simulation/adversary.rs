//! A peer that breaks no rule and starves others all the same: it stalls, drips, or serves well
//! before it does; and it floods the offer port under fresh and borrowed ids.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use fastrand::Rng;
use p2pfs::node::{Action, CloseHow, ConnectionId, Input, Node, Paths};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::v0::{FileName, Offer, PeerMessage, RegistryRequest};
use p2pfs::wire::{Deframer, Frame, PeerId};

use crate::outside::digest_of;
use crate::process::Program;

/// How often it acts.
const TICK: Duration = Duration::from_millis(500);

/// How it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes a request and says nothing.
    Stalls,
    /// Sends so many bytes in each tick, without end.
    Drips(u32),
    /// Closes the connection.
    Closes,
}

/// What an adversary knows and does.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The id it registers.
    pub(crate) id: PeerId,
    /// The port it listens on.
    pub(crate) port: u16,
    /// The registry.
    pub(crate) registry: SocketAddrV4,
    /// What people want, and it offers.
    pub(crate) files: BTreeMap<FileName, Vec<u8>>,
    /// Requests that it serves well.
    pub(crate) served_well: u32,
    /// What it does with those after them.
    pub(crate) manner: Manner,
    /// Ids of others, in whose names it offers what they have not.
    pub(crate) borrowed: Vec<PeerId>,
    /// Offers in each tick under ids that nobody has, and as many under borrowed ones.
    pub(crate) flood: u32,
}

/// A peer that starves others.
pub(crate) struct Adversary {
    plot: Plot,
    rng: Rng,
    connections: BTreeMap<ConnectionId, Talk>,
    ids_made: u64,
    next_act_at: Instant,
    actions: VecDeque<Action>,
    /// It knows none.
    paths: Paths,
}

/// One connection.
#[derive(Default)]
struct Talk {
    got: Deframer<PeerMessage>,
    pending: Vec<u8>,
    drips: Option<u32>,
}

impl Adversary {
    /// One that registers and then offers what is wanted.
    pub(crate) fn new(now: Instant, plot: Plot, seed: u64) -> Self {
        let mut request = Vec::new();
        RegistryRequest::Register { peer: plot.id, port: plot.port }.encode(&mut request);
        let connection = ConnectionId::from_bits(0);
        let talk = Talk { pending: request, ..Talk::default() };
        Self {
            rng: Rng::with_seed(seed),
            connections: BTreeMap::from([(connection, talk)]),
            ids_made: 0,
            next_act_at: now,
            actions: VecDeque::from([Action::Dial { connection, to: plot.registry }]),
            paths: Paths::default(),
            plot,
        }
    }

    fn act(&mut self) {
        for name in self.plot.files.keys().copied().collect::<Vec<_>>() {
            self.offer(self.plot.id, name);
        }
        let names: Vec<_> = self.plot.files.keys().copied().collect();
        for _ in 0..self.plot.flood {
            let fresh = PeerId(self.rng.u32(1 << 16..));
            let wanted = self.rng.choice(&names).copied().expect("something is wanted");
            self.offer(fresh, wanted);
            let made_up = format!("made up {}", self.rng.u32(..));
            let made_up = FileName::new(&made_up).expect("a legal name");
            let peer = self.rng.choice(&self.plot.borrowed).copied().unwrap_or(self.plot.id);
            self.offer(peer, made_up);
        }
        for (id, talk) in &mut self.connections {
            if let Some(bytes) = talk.drips {
                PeerMessage::Chunk { data_bytes: bytes }.encode(&mut talk.pending);
                talk.pending.resize(talk.pending.len() + bytes as usize, b'd');
                self.actions.push_back(Action::Transmit(*id));
            }
        }
    }

    fn offer(&mut self, peer: PeerId, name: FileName) {
        self.actions.push_back(Action::Broadcast(Offer { peer, name }.encode()));
    }

    fn on_bytes(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let Some(talk) = self.connections.get_mut(&connection) else { return };
        let mut at = 0;
        while let Ok(Some(Frame::Message(message))) = talk.got.next(bytes, &mut at) {
            let PeerMessage::Request(name) = message else { continue };
            if let (Some(left), Some(content)) =
                (self.plot.served_well.checked_sub(1), self.plot.files.get(&name))
            {
                self.plot.served_well = left;
                if !content.is_empty() {
                    let data_bytes = content.len() as u32;
                    PeerMessage::Chunk { data_bytes }.encode(&mut talk.pending);
                    talk.pending.extend(content);
                }
                PeerMessage::Eof(digest_of(content)).encode(&mut talk.pending);
                self.actions.push_back(Action::Transmit(connection));
                continue;
            }
            match self.plot.manner {
                Manner::Stalls => {}
                Manner::Drips(bytes) => talk.drips = Some(bytes),
                Manner::Closes => return self.close(connection),
            }
        }
    }

    fn close(&mut self, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            let (how, reason) = (CloseHow::Reset, CloseReason::Done);
            self.actions.push_back(Action::Close { connection, how, reason });
        }
    }
}

impl Program for Adversary {}

impl Node for Adversary {
    fn accept(&mut self, _now: Instant, _from: SocketAddrV4) -> Option<ConnectionId> {
        self.ids_made += 1;
        let id = ConnectionId::from_bits(self.ids_made);
        self.connections.insert(id, Talk::default());
        Some(id)
    }

    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(connection) => self.actions.push_back(Action::Transmit(connection)),
            Input::Received { connection, .. } if connection.to_bits() == 0 => {}
            Input::Received { connection, bytes } => self.on_bytes(connection, bytes),
            Input::ReadClosed(connection) => self.close(connection),
            Input::Broken { connection, .. } => _ = self.connections.remove(&connection),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_act_at {
            self.next_act_at = now + TICK;
            self.act();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.next_act_at)
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn paths(&self) -> &Paths {
        &self.paths
    }

    fn transmit(&self, connection: ConnectionId) -> Option<Transmit<'_>> {
        let bytes = &self.connections.get(&connection)?.pending[..];
        (!bytes.is_empty()).then_some(Transmit::Bytes { bytes, more: false })
    }

    fn transmitted(&mut self, _now: Instant, connection: ConnectionId, len_bytes: usize) {
        if let Some(talk) = self.connections.get_mut(&connection) {
            talk.pending.drain(..len_bytes);
        }
    }

    fn read_allowance_bytes(&self, _connection: ConnectionId) -> usize {
        usize::MAX
    }
}
