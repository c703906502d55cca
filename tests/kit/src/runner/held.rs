//! What a node has open, by its actions, and had.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use p2pfs::content::{Content, PathId, Version};
use p2pfs::limits::{CONTROL_CLIENTS_MAX, Limits, OUTBOX_BYTES_MAX};
use p2pfs::node::{ConnectionId, Input, Node, Outcome};
use p2pfs::proto::{FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v0::FileName;

/// How often a node may be woken at one time: what a look at a file brings to light may be
/// due at once.
const WAKES_MAX: usize = 3;

/// What a node has open, and had.
pub struct Held<N: ?Sized, C> {
    pub node: Box<N>,
    pub connections: BTreeMap<ConnectionId, Connection<C>>,
    pub gone_connections: Vec<ConnectionId>,
    pub files: BTreeMap<FileId, File>,
    pub gone_files: Vec<FileId>,
    /// How it has ended.
    pub outcome: Option<Outcome>,
    limits: Option<Limits>,
    /// The last connection in each slot.
    newest: BTreeMap<usize, ConnectionId>,
    last_file: Option<FileId>,
    /// Files that failed while actions about them may still be in the queue.
    pub(super) just_failed: Vec<FileId>,
    pub(super) is_drained: bool,
    /// When it was woken last, and how often since the last input.
    pub(super) wakes: (Option<Instant>, usize),
}

/// A connection, and what the world keeps for it.
pub struct Connection<C> {
    pub is_connected: bool,
    pub flow: Flow,
    pub what: C,
    pub(super) origin: Origin,
    /// What may still be read by the last allowance.
    allowance_bytes: usize,
}

/// Whether a connection has something to send, as the node has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Idle,
    Ready,
    /// The socket took no more.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Dialed,
    From(Ipv4Addr),
    /// A program of the same user.
    Program,
}

/// An open file.
pub struct File {
    pub path: FilePath,
    pub state: FileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    Opening,
    Source(Version),
    Partial {
        written_bytes: u64,
    },
    /// Of a content.
    Content {
        content: Content,
        is_open: bool,
    },
    Committing,
}

impl File {
    /// Its name, if it can have one of version 0.
    pub fn name(&self) -> Option<FileName> {
        self.path.name()
    }
}

impl<N: Node + ?Sized, C> Held<N, C> {
    /// Of a node that keeps to these bounds, or to no rule.
    pub fn new(node: Box<N>, limits: Option<Limits>) -> Self {
        Self {
            node,
            limits,
            connections: BTreeMap::new(),
            gone_connections: Vec::new(),
            files: BTreeMap::new(),
            gone_files: Vec::new(),
            outcome: None,
            newest: BTreeMap::new(),
            last_file: None,
            just_failed: Vec::new(),
            is_drained: true,
            wakes: (None, 0),
        }
    }

    /// Returns how many connections the limits count.
    pub fn connections_counted(&self) -> usize {
        self.connections.values().filter(|c| c.origin != Origin::Program).count()
    }

    /// Returns a connection on which something can be sent.
    pub fn next_ready(&self) -> Option<ConnectionId> {
        let is_ready = |c: &Connection<C>| c.is_connected && c.flow == Flow::Ready;
        self.connections.iter().find(|(_, c)| is_ready(c)).map(|(id, _)| *id)
    }

    /// Returns what the world keeps for a connection that is open.
    pub fn what_mut(&mut self, id: ConnectionId) -> Option<&mut C> {
        self.connections.get_mut(&id).map(|connection| &mut connection.what)
    }

    /// The socket of a connection has room again.
    pub fn has_room(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.flow == Flow::Full
        {
            connection.flow = Flow::Ready;
        }
    }

    /// Returns how much may be read from a connection.
    pub fn read_allowance_bytes(&mut self, id: ConnectionId) -> usize {
        let allowance_bytes = self.node.read_allowance_bytes(id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.allowance_bytes = allowance_bytes;
        }
        allowance_bytes
    }

    /// Returns the name of a path that the node knows.
    pub fn name_of(&self, path: PathId) -> FileName {
        self.node.paths().get(path).expect("a path that it knows").name().expect("a name")
    }

    /// A connection is taken in, or begun.
    pub(super) fn enter(&mut self, id: ConnectionId, origin: Origin, what: C) {
        assert_eq!(ConnectionId::from_bits(id.to_bits()), id);
        if let Some(before) = self.newest.insert(id.slot(), id) {
            assert!(before < id, "{id:?} is used again");
            assert!(!self.connections.contains_key(&before), "two in one place");
        }
        let (is_connected, flow) = (origin != Origin::Dialed, Flow::Idle);
        let connection = Connection { is_connected, flow, what, origin, allowance_bytes: 0 };
        self.connections.insert(id, connection);
    }

    /// A connection is closed, or gone; what was kept for it.
    pub(super) fn leave(&mut self, id: ConnectionId) -> Option<C> {
        let connection = self.connections.remove(&id)?;
        self.gone_connections.push(id);
        Some(connection.what)
    }

    /// The node is given an input about what may be open.
    pub(super) fn on_input(&mut self, input: &Input<'_>) {
        self.is_drained = false;
        let (Input::Connected(id) | Input::Received { connection: id, .. }) = input else { return };
        let Some(connection) = self.connections.get_mut(id) else { return };
        if let Input::Received { bytes, .. } = input {
            let is_allowed = (1..=connection.allowance_bytes).contains(&bytes.len());
            assert!(connection.is_connected && is_allowed, "reads what it may not");
            connection.allowance_bytes -= bytes.len();
        }
        connection.is_connected = true;
    }

    /// The node is woken.
    pub(super) fn on_wake(&mut self, now: Instant, was_due: bool) {
        let (woken_at, wakes) = &mut self.wakes;
        let before = if *woken_at == Some(now) { *wakes } else { 0 };
        (*woken_at, *wakes) = (Some(now), before + usize::from(was_due));
        assert!(*wakes <= WAKES_MAX, "wakes for ever");
    }

    /// The node says that it has something to send.
    pub(super) fn on_transmit(&mut self, id: ConnectionId) {
        let connection = self.connections.get_mut(&id);
        let connection = connection.unwrap_or_else(|| panic!("{id:?} is gone"));
        if connection.is_connected && connection.flow == Flow::Idle {
            connection.flow = Flow::Ready;
        }
    }

    pub(super) fn set_flow(&mut self, id: ConnectionId, flow: Flow) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.flow = flow;
        }
    }

    /// Returns a path that the node knows.
    pub fn path_of(&self, path: PathId) -> FilePath {
        self.node.paths().get(path).expect("a path that it knows").clone()
    }

    /// Returns the path of the partial file of a content, which is open.
    pub(super) fn path_of_content(&self, id: FileId) -> FilePath {
        match self.files.get(&id) {
            Some(File { path, state: FileState::Content { is_open: true, .. } }) => path.clone(),
            _ => panic!("sends {id:?}, which is no partial file of a content"),
        }
    }

    pub(super) fn open(&mut self, id: FileId, path: FilePath, state: FileState) {
        assert!(self.last_file < Some(id), "{id:?} is used again");
        self.last_file = Some(id);
        self.files.insert(id, File { path, state });
    }

    pub(super) fn close(&mut self, id: FileId) {
        assert!(self.files.remove(&id).is_some(), "{id:?} is gone");
        self.gone_files.push(id);
    }

    /// A file that was to be opened is open.
    pub(super) fn on_opened(&mut self, id: FileId, version: Version) {
        let state = self.files.get_mut(&id).map(|file| &mut file.state);
        match state {
            Some(state @ FileState::Opening) => *state = FileState::Source(version),
            _ => panic!("{id:?} is not being opened"),
        }
    }

    /// A file that is open for sending was stat.
    pub(super) fn on_stat(&mut self, id: FileId, version: Version) {
        match self.files.get_mut(&id).map(|file| &mut file.state) {
            Some(FileState::Source(open)) => *open = version,
            _ => panic!("stats {id:?}, which is not open for sending"),
        }
    }

    /// Bytes are to be written to a file.
    pub(super) fn on_write(&mut self, id: FileId, at: u64, len_bytes: usize) {
        match self.files.get_mut(&id).map(|file| &mut file.state) {
            Some(FileState::Partial { written_bytes }) => {
                assert_eq!(at, *written_bytes, "writes with a gap or over what is there");
                assert!(len_bytes > 0, "writes nothing");
                *written_bytes += len_bytes as u64;
            }
            Some(FileState::Content { content, is_open: true }) => {
                let end = at + len_bytes as u64;
                assert!(len_bytes > 0 && end <= content.size_bytes, "writes behind the end");
            }
            _ => panic!("writes to {id:?}, which is no partial file"),
        }
    }

    /// The partial file of a content is open.
    pub(super) fn on_content_opened(&mut self, id: FileId) {
        match self.files.get_mut(&id).map(|file| &mut file.state) {
            Some(FileState::Content { is_open: is_open @ false, .. }) => *is_open = true,
            _ => panic!("{id:?} is not being opened"),
        }
    }

    /// A block of a file is to be hashed.
    pub(super) fn check_block(&self, id: FileId, block: u32) {
        match self.files.get(&id).map(|file| file.state) {
            Some(FileState::Content { content, is_open: true }) => {
                assert!(block < content.blocks(), "hashes a block behind the last one");
            }
            _ => panic!("hashes a block of {id:?}, which is no partial file of a content"),
        }
    }

    /// A file is to be committed; its path.
    pub(super) fn on_commit(&mut self, id: FileId) -> FilePath {
        match self.files.get_mut(&id) {
            Some(File {
                path,
                state:
                    state @ (FileState::Partial { .. } | FileState::Content { is_open: true, .. }),
            }) => {
                *state = FileState::Committing;
                path.clone()
            }
            _ => panic!("commits {id:?}, which is no partial file"),
        }
    }

    /// A file that was to be committed is safe, and closed.
    pub(super) fn on_committed(&mut self, id: FileId) {
        let is_committing = self.files.get(&id).is_some_and(|f| f.state == FileState::Committing);
        assert!(is_committing, "{id:?} is not being committed");
        self.close(id);
    }

    /// A part of a file is to be sent.
    pub(super) fn check_range(&self, id: FileId, offset: u64, len_bytes: u32) {
        let Some(File { state: FileState::Source(version), .. }) = self.files.get(&id) else {
            panic!("sends {id:?}, which is not open");
        };
        assert!(len_bytes > 0 && offset + u64::from(len_bytes) <= version.size_bytes);
    }

    /// What is left once the node ends is connections on which something is told.
    pub(super) fn check_end(&self) {
        assert!(self.files.is_empty(), "files are left open at the end");
        let is_told = |id: &ConnectionId| self.node.transmit(*id).is_some();
        assert!(self.connections.keys().all(is_told), "connections are left at the end");
    }

    /// A connection from an address was taken in.
    pub(super) fn check_address(&self, ip: Ipv4Addr) {
        let is_from_there = |c: &&Connection<C>| c.origin == Origin::From(ip);
        let count = self.connections.values().filter(is_from_there).count();
        let count_max =
            self.limits.as_ref().map_or(usize::MAX, |limits| limits.connections_per_address_max);
        assert!(ip.is_loopback() || count <= count_max, "{count} connections from one address");
    }

    /// What holds between any two inputs.
    pub(super) fn check(&self) {
        if let Some(limits) = &self.limits {
            let count = self.connections_counted();
            assert!(count <= limits.connections_max, "{count} connections");
            let programs = self.connections.len() - count;
            assert!(programs <= CONTROL_CLIENTS_MAX, "{programs} programs");
            let waits = self.connections.values().any(|connection| !connection.is_connected);
            let is_timed = self.node.poll_timeout().is_some();
            assert!(!waits || is_timed, "a connection is made without a deadline");
        }
        for (id, connection) in &self.connections {
            let pending = self.node.transmit(*id);
            if let (Some(Transmit::Bytes { bytes, .. }), Some(_)) = (pending, &self.limits) {
                let len = bytes.len();
                assert!((1..=OUTBOX_BYTES_MAX).contains(&len), "{len} bytes wait to be sent");
            }
            let is_told = !connection.is_connected || connection.flow != Flow::Idle;
            assert!(is_told || pending.is_none(), "has something to send and does not say so");
        }
    }
}
