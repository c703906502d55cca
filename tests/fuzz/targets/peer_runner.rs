//! What stands on the other side of a peer's contract: sockets, files and hashes of no
//! substance, which carry out each action and hold it against what is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddrV4;

use kit::oracle;
use p2pfs::content::{Digest, FileError, PathId, Sight, Version};
use p2pfs::limits::{CONTROL_CLIENTS_MAX, OUTBOX_BYTES_MAX};
use p2pfs::node::{
    Action, ConnectionId, Input, Node, Outcome, PeerKind, PeerNode, PeerSettings, Report,
};
use p2pfs::proto::{FileId, Transmit};
use p2pfs::wire::v0::FileName;
use sha2::{Digest as _, Sha256};

use super::clock::Clock;
use super::messages;

/// Names that are ever offered: of one or two letters, and a few more.
const NAMES_MAX: usize = 1000;
/// Actions after one input, but for those that each byte or each thing may cause.
const ACTIONS_MAX: usize = 512;
/// How often it may be woken at one time.
const WAKES_MAX: usize = 3;

/// A peer and everything that it has to do with.
pub(super) struct Runner {
    pub(super) clock: Clock,
    pub(super) node: PeerNode,
    settings: PeerSettings,
    pub(super) sockets: BTreeMap<ConnectionId, Socket>,
    pub(super) gone_sockets: Vec<ConnectionId>,
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) gone_files: Vec<FileId>,
    just_failed: Vec<FileId>,
    /// What the node knows to be in the folder.
    pub(super) shared: BTreeMap<FileName, Version>,
    /// Names under which the disk was said to have something already.
    in_the_way: BTreeSet<FileName>,
    pub(super) hashing: BTreeMap<PathId, FileName>,
    /// The digest of what was written and committed.
    committed: BTreeMap<FileName, Digest>,
    /// The digest of each version of a file, by its inode.
    digests: BTreeMap<u64, Digest>,
    /// Whose bytes the node is given.
    speaker: Option<ConnectionId>,
    pub(super) offers_seen: usize,
    pub(super) disk: Disk,
    wishes: usize,
    pub(super) has_exited: bool,
    inode: u64,
}

/// What a connection is.
pub(super) struct Socket {
    pub(super) is_connected: bool,
    pub(super) kind: SocketKind,
    /// Of the data that came, for a truthful EOF.
    pub(super) hasher: Sha256,
    /// What is opened to be sent on it, in order, each until its EOF.
    sources: VecDeque<Version>,
    /// Of the message that is going out.
    outgoing: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum SocketKind {
    Registration,
    Upload,
    Download,
    /// A program of the same user.
    Program,
}

/// What an open file is.
pub(super) enum File {
    Opening { name: FileName, connection: ConnectionId },
    Source { size_bytes: u64 },
    Partial { name: FileName, written_bytes: u64, hasher: Sha256 },
    Committing { name: FileName, size_bytes: u64, digest: Digest },
}

/// How the disk behaves for now.
#[derive(Clone, Copy)]
pub(super) struct Disk {
    pub(super) open: Manner,
    pub(super) commit: Manner,
    pub(super) create_fails: bool,
    pub(super) write_fails: bool,
    pub(super) error: FileError,
}

#[derive(Clone, Copy)]
pub(super) enum Manner {
    AtOnce,
    Later,
    Fails,
}

impl Socket {
    /// What an upload sends, but for data of files: heads of chunks, and EOFs that have
    /// to carry the digest of the very version that was opened.
    fn note_sent(&mut self, bytes: &[u8], digests: &BTreeMap<u64, Digest>) {
        if self.kind != SocketKind::Upload {
            return;
        }
        self.outgoing.extend_from_slice(bytes);
        let len = if self.outgoing[0] == b'T' { 5 } else { 65 };
        if self.outgoing.len() == len {
            if len == 65 {
                let version = self.sources.pop_front().expect("an EOF goes with a file");
                assert_eq!(self.outgoing, messages::eof(digests[&version.inode].0), "EOF");
            }
            self.outgoing.clear();
        }
    }
}

impl Runner {
    pub(super) fn new(settings: PeerSettings) -> Self {
        let clock = Clock::new();
        let mut runner = Self {
            node: PeerNode::new(clock.now(), settings.clone()),
            clock,
            settings,
            sockets: BTreeMap::new(),
            gone_sockets: Vec::new(),
            files: BTreeMap::new(),
            gone_files: Vec::new(),
            just_failed: Vec::new(),
            shared: BTreeMap::new(),
            in_the_way: BTreeSet::new(),
            hashing: BTreeMap::new(),
            committed: BTreeMap::new(),
            digests: BTreeMap::new(),
            speaker: None,
            offers_seen: 0,
            disk: Disk {
                open: Manner::AtOnce,
                commit: Manner::AtOnce,
                create_fails: false,
                write_fails: false,
                error: FileError::Full,
            },
            wishes: 0,
            has_exited: false,
            inode: 0,
        };
        runner.drain(&[]);
        runner
    }

    pub(super) fn is_guest(&self) -> bool {
        matches!(self.settings.kind, PeerKind::Guest(_))
    }

    /// Gives the node an input and carries out what it wants; gives the count of that.
    pub(super) fn feed(&mut self, input: Input<'_>) -> usize {
        if self.has_exited {
            return 0;
        }
        let received = match &input {
            Input::Received { bytes, .. } => *bytes,
            _ => &[],
        };
        match &input {
            Input::Received { connection, .. } => self.speaker = Some(*connection),
            Input::Want(names) => self.wishes += names.len(),
            // Each name that is heard of from now on may become a wish.
            Input::WantMatching(_) => self.wishes += NAMES_MAX,
            Input::FileFound { path, version, .. } | Input::FileSeen { path, version, .. } => {
                self.shared.insert(path.name().expect("a name"), *version);
            }
            Input::FileGone { path } => _ = self.shared.remove(&path.name().expect("a name")),
            Input::Broken { connection, .. } => self.forget_socket(*connection),
            _ => {}
        }
        self.node.handle(self.clock.now(), input);
        self.drain(received)
    }

    pub(super) fn accept(&mut self, from: SocketAddrV4) {
        let is_full = self.connections() >= self.settings.limits.connections_max;
        if let Some(id) = self.node.accept(self.clock.now(), from) {
            assert!(!is_full, "accepts more than it may");
            assert!(!self.is_guest(), "a guest serves somebody");
            self.enter_socket(id, true, SocketKind::Upload);
        }
        self.drain(&[]);
    }

    pub(super) fn accept_program(&mut self) {
        if let Some(id) = self.node.accept_program(self.clock.now()) {
            assert!(!self.is_guest(), "a guest is asked");
            self.enter_socket(id, true, SocketKind::Program);
        }
        self.drain(&[]);
    }

    pub(super) fn time_out(&mut self) {
        // What a look at a file brings to light may be due at once.
        for _ in 0..WAKES_MAX {
            let before = self.node.poll_timeout();
            self.node.handle_timeout(self.clock.now());
            let count = self.drain(&[]);
            let was_due = before.is_some_and(|deadline| deadline <= self.clock.now());
            assert!(was_due || count == 0, "acts before its deadline");
            if self.node.poll_timeout().is_none_or(|deadline| deadline > self.clock.now()) {
                return;
            }
        }
        panic!("wakes for ever");
    }

    /// The socket takes so much.
    pub(super) fn pump(&mut self, id: ConnectionId, mut room_bytes: u64) {
        while room_bytes > 0 && self.sockets.get(&id).is_some_and(|s| s.is_connected) {
            let len_bytes = match self.node.transmit(id) {
                None => return,
                Some(Transmit::Bytes { bytes, .. }) => {
                    assert!(!bytes.is_empty() && bytes.len() <= OUTBOX_BYTES_MAX);
                    let len = (bytes.len() as u64).min(room_bytes);
                    if let Some(socket) = self.sockets.get_mut(&id) {
                        socket.note_sent(&bytes[..len as usize], &self.digests);
                    }
                    len
                }
                Some(Transmit::File { file, offset, len_bytes }) => {
                    let Some(File::Source { size_bytes }) = self.files.get(&file) else {
                        panic!("sends {file:?}, which is not open");
                    };
                    assert!(len_bytes > 0 && offset + u64::from(len_bytes) <= *size_bytes);
                    u64::from(len_bytes).min(room_bytes)
                }
            };
            room_bytes -= len_bytes;
            self.node.transmitted(self.clock.now(), id, len_bytes as usize);
            self.drain(&[]);
        }
    }

    /// Something with an open file fails.
    pub(super) fn fail(&mut self, file: FileId, error: FileError) {
        if let (
            FileError::Exists,
            Some(&(File::Partial { name, .. } | File::Committing { name, .. })),
        ) = (error, self.files.get(&file))
        {
            self.in_the_way.insert(name);
        }
        self.forget_file(file);
        self.just_failed.push(file);
        self.node.handle(self.clock.now(), Input::FileFailed { file, error });
    }

    /// A source that was to be opened is open.
    pub(super) fn open(&mut self, file: FileId) {
        let Some(File::Opening { name, connection }) = self.files.get(&file) else { return };
        let Some(&version) = self.shared.get(name) else {
            return self.fail(file, FileError::Missing);
        };
        if let Some(socket) = self.sockets.get_mut(connection) {
            socket.sources.push_back(version);
        }
        self.files.insert(file, File::Source { size_bytes: version.size_bytes });
        self.node.handle(self.clock.now(), Input::Opened { file, version });
    }

    /// A file that was to be committed is safe.
    pub(super) fn commit(&mut self, file: FileId) {
        let Some(&File::Committing { name, size_bytes, digest }) = self.files.get(&file) else {
            return;
        };
        self.forget_file(file);
        let version = self.version(size_bytes);
        self.digests.insert(version.inode, digest);
        self.shared.insert(name, version);
        self.committed.insert(name, digest);
        self.node.handle(self.clock.now(), Input::Committed { file, path: name.into(), version });
    }

    /// What a hash of this version gives.
    pub(super) fn digest(&self, version: Version) -> Digest {
        self.digests[&version.inode]
    }

    /// A version that no file had before.
    pub(super) fn version(&mut self, size_bytes: u64) -> Version {
        self.inode += 1;
        self.digests.insert(self.inode, Digest([self.inode as u8; 32]));
        Version { device: 1, inode: self.inode, size_bytes, modified_ns: 1, changed_ns: 1 }
    }

    /// Carries out what the node wants; gives the count of it.
    pub(super) fn drain(&mut self, received: &[u8]) -> usize {
        let things = self.sockets.len() + self.files.len() + self.shared.len() + self.wishes;
        let most = ACTIONS_MAX + 4 * things + received.len();
        let mut count = 0;
        while let Some(action) = self.node.poll_action() {
            assert!(!self.has_exited, "acts after its end: {action:?}");
            self.carry_out(action, received);
            count += 1;
            assert!(count < most, "acts for ever");
        }
        self.just_failed.clear();
        self.check();
        count
    }

    fn carry_out(&mut self, action: Action, received: &[u8]) {
        match action {
            Action::Broadcast(bytes) => {
                assert!(!self.is_guest(), "a guest offers something");
                let is_ours = |name: &FileName| {
                    bytes[..] == messages::offer(self.settings.id.0, name.as_str())
                };
                assert!(self.shared.keys().any(is_ours), "offers what it has not: {bytes:x?}");
            }
            Action::Send { .. } => panic!("a peer does not broadcast what it sends"),
            Action::DialProgram { .. } => panic!("a peer asks no program"),
            Action::Describe { connection, json } => {
                let text = if json { "{}" } else { "" };
                self.node.handle(self.clock.now(), Input::Described { connection, text });
            }
            Action::Dial { connection, to } => self.dial(connection, to),
            Action::Transmit(id) => assert!(self.sockets.contains_key(&id), "{id:?} is gone"),
            Action::Close { connection, .. } => {
                assert!(self.sockets.contains_key(&connection), "{connection:?} is gone");
                self.forget_socket(connection);
            }
            Action::OpenSource { file, path } => {
                let name = self.name_of(path);
                assert!(self.shared.contains_key(&name), "opens {name}, which it has not");
                let connection = self.speaker.expect("somebody asked for it");
                self.enter_file(file, File::Opening { name, connection });
                match self.disk.open {
                    Manner::AtOnce => self.open(file),
                    Manner::Later => {}
                    Manner::Fails => self.fail(file, self.disk.error),
                }
            }
            Action::CreatePartial { file, path } => {
                let name = self.name_of(path);
                let hasher = Sha256::new();
                self.enter_file(file, File::Partial { name, written_bytes: 0, hasher });
                if self.disk.create_fails {
                    self.fail(file, self.disk.error);
                }
            }
            Action::Write { file, range, offset } => {
                let bytes = received.get(range).expect("writes what did not come");
                self.write(file, bytes, offset);
            }
            Action::Commit(file) => self.begin_commit(file),
            Action::Discard(file) => {
                if !self.just_failed.contains(&file) {
                    assert!(self.files.contains_key(&file), "discards {file:?}, which is gone");
                    self.forget_file(file);
                }
            }
            Action::Hash { path, .. } => {
                let name = self.name_of(path);
                // A guest hashes what stands under the name of what it fetched.
                let is_there = self.shared.contains_key(&name) || self.is_guest();
                assert!(is_there, "hashes {name}, which it has not");
                self.hashing.insert(path, name);
            }
            Action::Look(path) => {
                let name = self.name_of(path);
                let seen = self.shared.get(&name).copied();
                self.node.handle(
                    self.clock.now(),
                    match seen {
                        Some(version) => {
                            Input::FileSeen { path: name.into(), version, sight: Sight::Looked }
                        }
                        None => Input::FileGone { path: name.into() },
                    },
                );
            }
            Action::Report(report) => self.on_report(&report),
            Action::Exit(outcome) => self.on_exit(&outcome),
        }
    }

    fn dial(&mut self, id: ConnectionId, to: SocketAddrV4) {
        let has_registration =
            self.sockets.values().any(|socket| socket.kind == SocketKind::Registration);
        let kind = match to == self.settings.registry && !has_registration {
            true => SocketKind::Registration,
            false => SocketKind::Download,
        };
        assert!(kind == SocketKind::Registration || has_registration, "nobody told it of {to}");
        assert!(!to.ip().is_broadcast() && !to.ip().is_unspecified(), "calls {to}");
        self.enter_socket(id, false, kind);
    }

    fn write(&mut self, file: FileId, bytes: &[u8], at: u64) {
        if self.just_failed.contains(&file) {
            return;
        }
        let Some(File::Partial { written_bytes, hasher, .. }) = self.files.get_mut(&file) else {
            panic!("writes to {file:?}, which is no partial file");
        };
        assert!(at == *written_bytes && !bytes.is_empty(), "writes {bytes:x?} at {at}");
        if self.disk.write_fails {
            return self.fail(file, self.disk.error);
        }
        *written_bytes += bytes.len() as u64;
        hasher.update(bytes);
        self.node.handle(self.clock.now(), Input::Written { file, len_bytes: bytes.len() });
    }

    fn begin_commit(&mut self, file: FileId) {
        if self.just_failed.contains(&file) {
            return;
        }
        let Some(File::Partial { name, written_bytes, hasher }) = self.files.remove(&file) else {
            panic!("commits {file:?}, which is no partial file");
        };
        let digest = Digest(hasher.finalize().into());
        self.files.insert(file, File::Committing { name, size_bytes: written_bytes, digest });
        match self.disk.commit {
            Manner::AtOnce => self.commit(file),
            Manner::Later => {}
            Manner::Fails => self.fail(file, self.disk.error),
        }
    }

    /// The name of a path that the node knows.
    fn name_of(&self, path: PathId) -> FileName {
        let path = self.node.paths().get(path).expect("a path that it knows");
        path.name().expect("a name")
    }

    fn on_report(&mut self, report: &Report) {
        oracle::assert_printable(&report.shown(self.node.paths()).to_string());
        let name = report.path().map(|path| self.name_of(path));
        let _ = (report.level(), report.about());
        match report {
            Report::Verified { digest, size_bytes, .. } => {
                let name = name.expect("its name");
                assert_eq!(self.committed.get(&name), Some(digest), "{name} is not safe");
                assert_eq!(self.shared[&name].size_bytes, *size_bytes);
            }
            Report::AlreadyThere { .. } => {
                let name = name.expect("its name");
                assert!(self.shared.contains_key(&name) || self.in_the_way.contains(&name));
            }
            Report::IdRefused { peer, next, .. } => {
                assert!(*peer == self.settings.id && next.0 > 0, "takes {next} for {peer}");
                self.settings.id = *next;
            }
            Report::OfferSeen { .. } => self.offers_seen += 1,
            Report::FileLost { .. } => {
                name.iter().for_each(|name| _ = self.shared.remove(name));
            }
            _ => {}
        }
    }

    fn on_exit(&mut self, outcome: &Outcome) {
        for (id, socket) in &self.sockets {
            let is_told = socket.kind == SocketKind::Program && self.node.transmit(*id).is_some();
            assert!(is_told, "connections are left at the end");
        }
        assert!(self.files.is_empty(), "files are left open at the end");
        if let Outcome::SomeFailed { failed, done, .. } = outcome {
            assert!(*failed > 0 && failed + done <= self.wishes);
        }
        self.has_exited = true;
    }

    fn enter_socket(&mut self, id: ConnectionId, is_connected: bool, kind: SocketKind) {
        let is_new = !self.gone_sockets.contains(&id) && !self.sockets.contains_key(&id);
        assert!(is_new, "{id:?} is used again");
        assert!(self.sockets.keys().all(|other| other.slot() != id.slot()), "two in one place");
        assert_eq!(ConnectionId::from_bits(id.to_bits()), id);
        let socket = Socket {
            is_connected,
            kind,
            hasher: Sha256::new(),
            sources: VecDeque::new(),
            outgoing: Vec::new(),
        };
        self.sockets.insert(id, socket);
    }

    fn forget_socket(&mut self, id: ConnectionId) {
        if self.sockets.remove(&id).is_some() {
            self.gone_sockets.push(id);
        }
    }

    fn enter_file(&mut self, id: FileId, file: File) {
        let is_new = !self.gone_files.contains(&id) && !self.files.contains_key(&id);
        assert!(is_new, "{id:?} is used again");
        self.files.insert(id, file);
    }

    fn forget_file(&mut self, id: FileId) {
        if self.files.remove(&id).is_some() {
            self.gone_files.push(id);
        }
    }

    /// What holds between any two inputs.
    fn check(&self) {
        assert!(self.connections() <= self.settings.limits.connections_max, "too many");
        assert!(self.sockets.len() - self.connections() <= CONTROL_CLIENTS_MAX, "too many");
        let deadline = self.node.poll_timeout();
        let waits = self.sockets.values().any(|socket| !socket.is_connected);
        assert!(!waits || deadline.is_some(), "a connection is made without a deadline");
        for id in self.sockets.keys() {
            if let Some(Transmit::Bytes { bytes, .. }) = self.node.transmit(*id) {
                assert!(!bytes.is_empty() && bytes.len() <= OUTBOX_BYTES_MAX);
            }
        }
    }

    /// The connections that its limits count.
    fn connections(&self) -> usize {
        self.sockets.values().filter(|socket| socket.kind != SocketKind::Program).count()
    }
}
