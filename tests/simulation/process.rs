//! A process: a node, and what its runner keeps for it.

use std::collections::BTreeMap;

use kit::runner::{FileState, Held};
use p2pfs::node::{ConnectionId, Node, PeerNode, RegistryNode};
use p2pfs::wire::v0::FileName;

use crate::checks::{Conversation, Ledger};
use crate::liar::Liar;
use crate::network::{ConnectionKey, Side};
use crate::patience::Patience;
use crate::programs::Client;

/// A running process.
pub(crate) struct Process {
    /// The program.
    pub(crate) program: Program,
    /// What it has open.
    pub(crate) held: Held<Line>,
    /// What it has done so far.
    pub(crate) ledger: Ledger,
    pub(crate) ids: BTreeMap<ConnectionKey, ConnectionId>,
    /// Wanted files that have their end since the last turn.
    pub(crate) ended: Vec<FileName>,
    /// The deadline that the node gave last, and when we will wake up for it.
    pub(crate) timer_us: Option<(u64, u64)>,
}

/// A program: what is under test, or what tests it.
pub(crate) enum Program {
    /// The registry.
    Registry(Box<RegistryNode>),
    /// A peer.
    Peer(Box<PeerNode>),
    /// A peer that lies.
    Liar(Box<Liar>),
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

impl Program {
    /// The node.
    pub(crate) fn node(&self) -> &dyn Node {
        match self {
            Self::Registry(node) => node.as_ref(),
            Self::Peer(node) => node.as_ref(),
            Self::Liar(node) => node.as_ref(),
        }
    }

    /// The node.
    pub(crate) fn node_mut(&mut self) -> &mut dyn Node {
        match self {
            Self::Registry(node) => node.as_mut(),
            Self::Peer(node) => node.as_mut(),
            Self::Liar(node) => node.as_mut(),
        }
    }

    /// Whether this is the code under test.
    pub(crate) fn is_honest(&self) -> bool {
        !matches!(self, Self::Liar(_))
    }
}

impl Process {
    /// A process that has done nothing yet.
    pub(crate) fn new(program: Program) -> Self {
        Self {
            program,
            held: Held::default(),
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
