//! A process: a node, and what its runner keeps for it.

use std::collections::{BTreeMap, BTreeSet};

use p2pfs::node::{ConnectionId, Node, Outcome, PeerNode, RegistryNode};
use p2pfs::proto::FileId;
use p2pfs::wire::v0::FileName;

use crate::checks::{Conversation, Ledger};
use crate::liar::Liar;
use crate::network::{ConnectionKey, Side};
use crate::patience::Patience;
use crate::programs::Client;

/// Ids that are gone and still remembered, to be heard of once more.
const GONE_IDS_KEPT: usize = 8;

/// A running process.
pub(crate) struct Process {
    /// The program.
    pub(crate) program: Program,
    /// What it has done so far.
    pub(crate) ledger: Ledger,
    pub(crate) sockets: BTreeMap<ConnectionId, Socket>,
    pub(crate) ids: BTreeMap<ConnectionKey, ConnectionId>,
    /// Programs that ask it, by their connections.
    pub(crate) programs: BTreeMap<ConnectionId, Client>,
    /// Wanted files that have their end since the last turn.
    pub(crate) ended: Vec<FileName>,
    /// Connections with something to send.
    pub(crate) to_pump: BTreeSet<ConnectionId>,
    /// Files that failed while actions about them may still be in the queue.
    pub(crate) just_failed: Vec<FileId>,
    pub(crate) gone_connections: Vec<ConnectionId>,
    pub(crate) gone_files: Vec<FileId>,
    /// The deadline that the node gave last, and when we will wake up for it.
    pub(crate) timer_us: Option<(u64, u64)>,
    pub(crate) timers_at_once: (u64, u32),
    pub(crate) has_exited: Option<Outcome>,
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

/// A connection of a process.
pub(crate) struct Socket {
    pub(crate) key: ConnectionKey,
    pub(crate) side: Side,
    pub(crate) conversation: Conversation,
    pub(crate) patience: Patience,
    pub(crate) is_connected: bool,
    /// It could not take more; a wake-up will come.
    pub(crate) is_full: bool,
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
            ledger: Ledger::default(),
            sockets: BTreeMap::new(),
            ids: BTreeMap::new(),
            programs: BTreeMap::new(),
            ended: Vec::new(),
            to_pump: BTreeSet::new(),
            just_failed: Vec::new(),
            gone_connections: Vec::new(),
            gone_files: Vec::new(),
            timer_us: None,
            timers_at_once: (0, 0),
            has_exited: None,
        }
    }

    /// How many connections it has.
    pub(crate) fn connections(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn socket(&mut self, id: ConnectionId) -> &mut Socket {
        self.sockets.get_mut(&id).expect("a connection that is open")
    }

    pub(crate) fn add_socket(&mut self, id: ConnectionId, socket: Socket) {
        self.ids.insert(socket.key, id);
        let is_new =
            self.sockets.insert(id, socket).is_none() && !self.gone_connections.contains(&id);
        assert!(is_new, "{id:?} was used before");
    }

    pub(crate) fn remove_socket(&mut self, id: ConnectionId) -> Socket {
        let socket = self.sockets.remove(&id).expect("a connection that is open");
        self.ids.remove(&socket.key);
        self.to_pump.remove(&id);
        keep_some(&mut self.gone_connections, id);
        socket
    }

    pub(crate) fn file_is_gone(&mut self, file: FileId) {
        keep_some(&mut self.gone_files, file);
    }
}

fn keep_some<T>(gone: &mut Vec<T>, id: T) {
    if gone.len() == GONE_IDS_KEPT {
        gone.remove(0);
    }
    gone.push(id);
}

impl Socket {
    pub(crate) fn new(
        now_us: u64,
        key: ConnectionKey,
        side: Side,
        conversation: Conversation,
    ) -> Self {
        Self {
            key,
            side,
            conversation,
            patience: Patience::new(now_us),
            is_connected: false,
            is_full: false,
            is_paused: false,
            has_ended: false,
        }
    }

    /// The connection is made.
    pub(crate) fn connected(&mut self, now_us: u64) {
        self.is_connected = true;
        self.patience.connected(now_us);
    }
}
