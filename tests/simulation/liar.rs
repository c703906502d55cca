//! A peer that lies, in every way that the messages allow, to whoever calls it and
//! to whomever it calls.
//!
//! It is a node like the others, run by the same host, but nothing it does is
//! checked. One thing it never does: send a content of its own with the digest of
//! that content. No downloader could know.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use fastrand::Rng;
use p2pfs::content::Digest;
use p2pfs::node::{Action, CloseHow, ConnectionId, Input, Node, Paths};
use p2pfs::proto::{CloseReason, Transmit};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::{FileName, Offer, PeerMessage, RegistryRequest};

use crate::faults::Fault;
use crate::process::Program;

/// What a lie does to the one it calls.
const LIES_TO_CALL_WITH: &[Fault] = &[
    Fault::LieGarbage,
    Fault::LieOutOfPlace,
    Fault::LieSilence,
    Fault::LieDribble,
    Fault::LieClose,
    Fault::LieNeverReads,
    Fault::LieFlood,
    Fault::LieIdentity,
];
/// What a lie does to the one who called.
const LIES_TO_ANSWER_WITH: &[Fault] = &[
    Fault::LieDigest,
    Fault::LieEarlyEof,
    Fault::LieEndless,
    Fault::LieAfterEof,
    Fault::LieEmptyChunk,
    Fault::LieGarbage,
    Fault::LieOutOfPlace,
    Fault::LieSilence,
    Fault::LieDribble,
    Fault::LieClose,
];
/// Connections of a flood: more than one address may have.
const FLOOD: u32 = 70;
/// What an endless file grows by at a time: more than the minimum rate.
const ENDLESS_BYTES: usize = 8 * 1024;

/// What a liar knows about the world.
#[derive(Clone, Debug)]
pub(crate) struct Brief {
    /// The id it registers.
    pub(crate) id: PeerId,
    /// The port it listens on.
    pub(crate) port: u16,
    /// The registry.
    pub(crate) registry: SocketAddrV4,
    /// Whom it can call: peers by id and address.
    pub(crate) victims: Vec<(PeerId, SocketAddrV4)>,
    /// What people want.
    pub(crate) names: Vec<FileName>,
    /// The lies it tells.
    pub(crate) lies: Vec<Fault>,
}

/// A peer that lies.
pub(crate) struct Liar {
    brief: Brief,
    rng: Rng,
    connections: BTreeMap<ConnectionId, Talk>,
    ids_made: u64,
    next_act_at: Instant,
    is_silent: bool,
    actions: VecDeque<Action>,
    /// It knows none.
    paths: Paths,
    /// Lies told since the host last asked.
    told: Vec<Fault>,
}

/// One connection.
#[derive(Default)]
struct Talk {
    lie: Option<Fault>,
    /// What to say once the connection is made, or the request is there.
    prepared: Vec<u8>,
    pending: Vec<u8>,
    is_connected: bool,
    is_called: bool,
}

impl Liar {
    /// A liar that begins with an honest registration.
    pub(crate) fn new(now: Instant, brief: Brief, seed: u64) -> Self {
        let mut liar = Self {
            rng: Rng::with_seed(seed),
            connections: BTreeMap::new(),
            ids_made: 0,
            next_act_at: now,
            is_silent: false,
            actions: VecDeque::new(),
            paths: Paths::default(),
            told: Vec::new(),
            brief,
        };
        let mut request = Vec::new();
        RegistryRequest::Register { peer: liar.brief.id, port: liar.brief.port }
            .encode(&mut request);
        liar.call(liar.brief.registry, None, request);
        liar
    }

    fn next_id(&mut self) -> ConnectionId {
        self.ids_made += 1;
        ConnectionId::from_bits(self.ids_made)
    }

    fn call(&mut self, to: SocketAddrV4, lie: Option<Fault>, prepared: Vec<u8>) {
        let connection = self.next_id();
        let talk = Talk { lie, prepared, ..Talk::default() };
        self.connections.insert(connection, talk);
        self.actions.push_back(Action::Dial { connection, to });
    }

    fn choose(&mut self, among: &[Fault]) -> Option<Fault> {
        let lies: Vec<_> = among.iter().filter(|lie| self.brief.lies.contains(lie)).collect();
        let lie = **self.rng.choice(&lies)?;
        self.told.push(lie);
        Some(lie)
    }

    fn act(&mut self) {
        for _ in 0..2 {
            if let Some(&name) = self.rng.choice(&self.brief.names) {
                let offer = Offer { peer: self.brief.id, name };
                self.actions.push_back(Action::Broadcast(offer.encode()));
            }
        }
        self.go_on();
        if self.rng.u32(..4) == 0
            && let Some(lie) = self.choose(LIES_TO_CALL_WITH)
        {
            self.call_with(lie);
        }
    }

    /// Endless files go on, and so do dribbles.
    fn go_on(&mut self) {
        for (id, talk) in &mut self.connections {
            let more_bytes = match talk.lie {
                Some(Fault::LieEndless) if talk.is_called => ENDLESS_BYTES,
                Some(Fault::LieDribble) => 1,
                _ => continue,
            };
            // A peer that does not read is not sent more and more.
            let room_bytes = ENDLESS_BYTES.saturating_sub(talk.pending.len());
            let more_bytes = more_bytes.min(room_bytes).min(talk.prepared.len());
            talk.pending.extend(talk.prepared.drain(..more_bytes));
            if talk.lie == Some(Fault::LieEndless) && talk.prepared.is_empty() {
                PeerMessage::Chunk { data_bytes: 65_536 }.encode(&mut talk.prepared);
                talk.prepared.resize(65_536 + 5, b'e');
            }
            if talk.is_connected && !talk.pending.is_empty() {
                self.actions.push_back(Action::Transmit(*id));
            }
        }
    }

    fn call_with(&mut self, lie: Fault) {
        let Some(&(victim, address)) = self.rng.choice(&self.brief.victims) else { return };
        let to = if self.rng.u32(..4) == 0 { self.brief.registry } else { address };
        match lie {
            Fault::LieFlood => (0..FLOOD).for_each(|_| self.call(to, Some(lie), Vec::new())),
            Fault::LieIdentity => {
                let mut request = Vec::new();
                RegistryRequest::Register { peer: victim, port: self.brief.port }
                    .encode(&mut request);
                self.call(self.brief.registry, Some(lie), request);
            }
            _ => {
                let words = match lie {
                    Fault::LieGarbage => self.garbage(),
                    Fault::LieOutOfPlace => self.out_of_place(),
                    Fault::LieDribble | Fault::LieNeverReads => self.request(),
                    _ => Vec::new(),
                };
                self.call(to, Some(lie), words);
            }
        }
    }

    fn request(&mut self) -> Vec<u8> {
        let mut request = Vec::new();
        if let Some(&name) = self.rng.choice(&self.brief.names) {
            PeerMessage::Request(name).encode(&mut request);
        }
        request
    }

    fn garbage(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.rng.usize(1..200)];
        self.rng.fill(&mut bytes);
        bytes
    }

    fn digest(&mut self) -> Digest {
        Digest(std::array::from_fn(|_| self.rng.u8(..)))
    }

    /// Messages that are legal somewhere, or would be but for one field.
    fn out_of_place(&mut self) -> Vec<u8> {
        let mut words = Vec::new();
        match self.rng.u32(..7) {
            0 => PeerMessage::Acknowledgment(self.brief.id).encode(&mut words),
            1 => PeerMessage::Eof(self.digest()).encode(&mut words),
            2 => {
                PeerMessage::Chunk { data_bytes: u32::MAX }.encode(&mut words);
                words.extend_from_slice(&[0; 100]);
            }
            3 => RegistryRequest::Lookup(self.brief.id).encode(&mut words),
            4 => words.extend_from_slice(b"SE\x1b[2J\xff"),
            5 => {
                words = self.request();
                words.extend(self.request());
            }
            _ => {
                words = self.request();
                if let Some(name) = words.get_mut(5..14) {
                    name.copy_from_slice(b"../secret");
                }
            }
        }
        words
    }

    /// What to say to one who asked for a file.
    fn answer(&mut self, lie: Fault) -> Vec<u8> {
        let mut words = Vec::new();
        let data_bytes = self.rng.u32(1..4000);
        let chunk = |words: &mut Vec<u8>, sent_bytes: u32| {
            PeerMessage::Chunk { data_bytes }.encode(words);
            words.resize(words.len() + sent_bytes as usize, b'l');
        };
        match lie {
            Fault::LieDigest | Fault::LieAfterEof => {
                chunk(&mut words, data_bytes);
                PeerMessage::Eof(self.digest()).encode(&mut words);
                if lie == Fault::LieAfterEof {
                    words.extend(self.garbage());
                }
            }
            Fault::LieEarlyEof => {
                if self.rng.bool() {
                    chunk(&mut words, data_bytes / 2);
                }
                PeerMessage::Eof(self.digest()).encode(&mut words);
            }
            Fault::LieEndless | Fault::LieDribble => chunk(&mut words, data_bytes),
            Fault::LieEmptyChunk => PeerMessage::Chunk { data_bytes: 0 }.encode(&mut words),
            Fault::LieGarbage => words = self.garbage(),
            Fault::LieOutOfPlace => words = self.out_of_place(),
            _ => {}
        }
        words
    }

    fn on_bytes(&mut self, connection: ConnectionId) {
        let is_first =
            self.connections.get(&connection).is_some_and(|t| t.is_called && t.lie.is_none());
        if !is_first {
            return;
        }
        let Some(lie) = self.choose(LIES_TO_ANSWER_WITH) else { return };
        let words = self.answer(lie);
        let Some(talk) = self.connections.get_mut(&connection) else { return };
        talk.lie = Some(lie);
        match lie {
            Fault::LieClose => return self.close(connection),
            Fault::LieEndless | Fault::LieDribble => talk.prepared = words,
            _ => talk.pending = words,
        }
        self.actions.push_back(Action::Transmit(connection));
    }

    fn on_connected(&mut self, connection: ConnectionId) {
        let Some(talk) = self.connections.get_mut(&connection) else { return };
        talk.is_connected = true;
        match talk.lie {
            Some(Fault::LieClose) => return self.close(connection),
            Some(Fault::LieDribble) => {}
            _ => talk.pending = std::mem::take(&mut talk.prepared),
        }
        self.actions.push_back(Action::Transmit(connection));
    }

    fn close(&mut self, connection: ConnectionId) {
        if self.connections.remove(&connection).is_some() {
            let how = if self.rng.bool() { CloseHow::Finish } else { CloseHow::Reset };
            self.actions.push_back(Action::Close { connection, how, reason: CloseReason::Done });
        }
    }
}

impl Program for Liar {
    fn lies_told(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.told)
    }

    /// From now on it does nothing. It leaves the registry, and holds on to the
    /// connections over which it has nothing to say.
    fn fall_silent(&mut self) {
        self.is_silent = true;
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            if matches!(self.connections[&connection].lie, None | Some(Fault::LieIdentity)) {
                self.close(connection);
            }
        }
    }
}

impl Node for Liar {
    fn accept(&mut self, _now: Instant, _from: SocketAddrV4) -> Option<ConnectionId> {
        if self.is_silent {
            return None;
        }
        let id = self.next_id();
        let talk = Talk { is_connected: true, is_called: true, ..Talk::default() };
        self.connections.insert(id, talk);
        Some(id)
    }

    fn handle(&mut self, _now: Instant, input: Input<'_>) {
        match input {
            Input::Connected(connection) if self.is_silent => self.close(connection),
            Input::Connected(connection) => self.on_connected(connection),
            Input::Received { connection, .. } => self.on_bytes(connection),
            Input::ReadClosed(connection) => self.close(connection),
            Input::Broken { connection, .. } => _ = self.connections.remove(&connection),
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_act_at && !self.is_silent {
            self.next_act_at = now + Duration::from_millis(self.rng.u64(300..1500));
            self.act();
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_silent).then_some(self.next_act_at)
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

    fn read_allowance_bytes(&self, connection: ConnectionId) -> usize {
        match self.connections.get(&connection) {
            Some(talk) if talk.lie != Some(Fault::LieNeverReads) => usize::MAX,
            _ => 0,
        }
    }
}
