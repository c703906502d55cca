//! A process: a node, and what its runner keeps for it.

use std::collections::BTreeMap;

use kit::runner::{FileState, Held};
use p2pfs::limits::Limits;
use p2pfs::node::{ConnectionId, Node, PeerNode, RegistryNode};
use p2pfs::wire::v0::FileName;

use crate::checks::Ledger;
use crate::conversation::Conversation;
use crate::faults::Fault;
use crate::network::{ConnectionKey, Side};
use crate::patience::Patience;
use crate::programs::Client;

/// A running process.
pub(crate) struct Process {
    /// The program, and what it has open.
    pub(crate) held: Held<dyn Program, Line>,
    /// What it has done so far.
    pub(crate) ledger: Ledger,
    pub(crate) ids: BTreeMap<ConnectionKey, ConnectionId>,
    /// Wanted files that have their end since the last turn.
    pub(crate) ended: Vec<FileName>,
    /// The deadline that the node gave last, and when we will wake up for it.
    pub(crate) timer_us: Option<(u64, u64)>,
}

/// A program: what is under test, or what tests it.
pub(crate) trait Program: Node {
    /// How many peers it has entered, if it is the registry.
    fn entries(&self) -> Option<usize> {
        None
    }

    /// The lies it has told since it was last asked.
    fn lies_told(&mut self) -> Vec<Fault> {
        Vec::new()
    }

    /// From now on it does nothing, if it lies.
    fn fall_silent(&mut self) {}
}

impl Program for PeerNode {}

impl Program for RegistryNode {
    fn entries(&self) -> Option<usize> {
        Some(self.len())
    }
}

/// What is kept for a connection.
pub(crate) enum Line {
    Socket(Socket),
    /// A program that asks it.
    Program(Client),
}

/// A connection of a process over the network.
pub(crate) struct Socket {
    pub(crate) key: ConnectionKey,
    pub(crate) side: Side,
    pub(crate) conversation: Conversation,
    pub(crate) patience: Patience,
    /// The node wants to read no more for now.
    pub(crate) is_paused: bool,
    /// The node knows that nothing more comes.
    pub(crate) has_ended: bool,
}

impl Process {
    /// A process that has done nothing yet.
    pub(crate) fn new(program: Box<dyn Program>, limits: Option<Limits>) -> Self {
        Self {
            held: Held::new(program, limits),
            ledger: Ledger::default(),
            ids: BTreeMap::new(),
            ended: Vec::new(),
            timer_us: None,
        }
    }

    /// How many connections it has over the network.
    pub(crate) fn connections(&self) -> usize {
        self.held.connections_counted()
    }

    /// A connection over the network that is open.
    pub(crate) fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        match self.held.what_mut(id) {
            Some(Line::Socket(socket)) => Some(socket),
            Some(Line::Program(_)) | None => None,
        }
    }

    /// What there is of partial files.
    pub(crate) fn partial_bytes(&self) -> u64 {
        let files = self.held.files.values();
        let sizes = files.map(|file| match file.state {
            FileState::Partial { written_bytes } => written_bytes,
            _ => 0,
        });
        sizes.sum()
    }
}

impl Socket {
    pub(crate) fn new(
        now_us: u64,
        key: ConnectionKey,
        side: Side,
        conversation: Conversation,
    ) -> Self {
        let patience = Patience::new(now_us);
        Self { key, side, conversation, patience, is_paused: false, has_ended: false }
    }
}
