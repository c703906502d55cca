//! What stands on the other side of a peer's contract: sockets, files and hashes of no
//! substance, which carry out each action and hold it against what is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use kit::messages::{self, Count};
use kit::runner::{Answer, Held, Runner, SendError};
use p2pfs::content::{Content, ContentId, Digest, FileError, Hash, HashKind, PathId, Version};
use p2pfs::limits::OFFER_BYTES;
use p2pfs::node::{Action, ConnectionId, Input, Outcome, PeerKind, PeerNode, PeerSettings, Report};
use p2pfs::proto::{FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v0::FileName;
use p2pfs::wire::v1::{Beacon, Secret};
use sha2::{Digest as _, Sha256};

use super::clock::Clock;

/// Names that are ever offered: of one or two letters, and a few more.
const NAMES_MAX: usize = 1000;

/// A peer and everything that it has to do with.
pub(super) struct Peer {
    pub(super) clock: Clock,
    held: Held<PeerNode, Socket>,
    settings: PeerSettings,
    /// How much a socket takes for now.
    room_bytes: usize,
    /// For whom files are being opened.
    opening: BTreeMap<FileId, ConnectionId>,
    partials: BTreeMap<FileId, (FileName, u64, Sha256)>,
    /// What the node knows to be in the folder.
    pub(super) shared: BTreeMap<FileName, Version>,
    /// Names under which the disk was said to have something already.
    in_the_way: BTreeSet<FileName>,
    pub(super) hashing: BTreeMap<(PathId, HashKind), FileName>,
    /// The digest of what was written and committed.
    committed: BTreeMap<FileName, Digest>,
    /// The digest of each version of a file, by its inode.
    digests: BTreeMap<u64, Digest>,
    /// Whose bytes the node is given.
    speaker: Option<ConnectionId>,
    pub(super) offers_seen: usize,
    pub(super) disk: Disk,
    wishes: usize,
    inode: u64,
}

/// What a connection is.
pub(super) struct Socket {
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
    /// The registry, too: it is asked for peers.
    Listing,
    Upload,
    Download,
    /// A program of the same user.
    Program,
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
    fn new(kind: SocketKind) -> Self {
        let (sources, outgoing) = (VecDeque::new(), Vec::new());
        Self { kind, hasher: Sha256::new(), sources, outgoing }
    }

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
                assert_eq!(
                    self.outgoing,
                    messages::eof(&digests[&version.inode].to_string()),
                    "EOF"
                );
            }
            self.outgoing.clear();
        }
    }
}

impl Peer {
    pub(super) fn new(settings: PeerSettings) -> Self {
        let clock = Clock::new();
        let node = Box::new(PeerNode::new(clock.now(), settings.clone()));
        let mut peer = Self {
            clock,
            held: Held::new(node, Some(settings.limits)),
            settings,
            room_bytes: 0,
            opening: BTreeMap::new(),
            partials: BTreeMap::new(),
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
                error: super::peer_node::FULL,
            },
            wishes: 0,
            inode: 0,
        };
        peer.drain(&[]);
        peer
    }

    pub(super) fn is_guest(&self) -> bool {
        matches!(self.settings.kind, PeerKind::Guest(_))
    }

    pub(super) fn has_exited(&self) -> bool {
        self.held.outcome.is_some()
    }

    pub(super) fn call(&mut self, from: SocketAddrV4) {
        let is_taken = self.accept(from, Socket::new(SocketKind::Upload)).is_some();
        let gives = !matches!(self.settings.kind, PeerKind::Guest(guest) if !guest.gives);
        assert!(gives || !is_taken, "who gives nothing serves somebody");
    }

    pub(super) fn call_as_program(&mut self) {
        let is_taken = self.accept_program(Socket::new(SocketKind::Program)).is_some();
        assert!(!(is_taken && self.is_guest()), "a guest is asked");
    }

    /// Wakes it, and again for what comes to light meanwhile.
    pub(super) fn time_out(&mut self) {
        self.wake();
        while self.is_due() {
            self.wake();
        }
    }

    /// The socket takes so much.
    pub(super) fn take(&mut self, id: ConnectionId, room_bytes: u64) {
        self.room_bytes = room_bytes as usize;
        self.pump(id);
    }

    /// A source that was to be opened is open.
    pub(super) fn open(&self, name: &FileName) -> Result<Version, FileError> {
        self.shared.get(name).copied().ok_or(FileError::Missing)
    }

    /// A file that was to be committed is safe.
    pub(super) fn finish_commit(&mut self, file: FileId) -> (FilePath, Version) {
        let (name, size_bytes, hasher) = self.partials.remove(&file).expect("it is partial");
        let (digest, version) = (Digest(hasher.finalize().into()), self.version(size_bytes));
        self.digests.insert(version.inode, digest);
        self.shared.insert(name, version);
        self.committed.insert(name, digest);
        (name.into(), version)
    }

    /// What a hash of this version gives.
    pub(super) fn hash_of(&self, version: Version, kind: HashKind) -> Hash {
        let digest = self.digests[&version.inode];
        match kind {
            HashKind::Sha256 => Hash::Sha256(digest),
            HashKind::Blake3 => {
                let content = Content { id: ContentId(digest.0), size_bytes: version.size_bytes };
                let values = Some(content.blocks() as usize).filter(|blocks| *blocks > 1);
                Hash::Blake3 {
                    id: content.id,
                    values: vec![digest.0; values.unwrap_or_default()].into(),
                }
            }
        }
    }

    /// A version that no file had before.
    pub(super) fn version(&mut self, size_bytes: u64) -> Version {
        self.inode += 1;
        self.digests.insert(self.inode, Digest([self.inode as u8; 32]));
        Version {
            device: 1,
            inode: self.inode,
            size_bytes,
            modified_ns: 1,
            changed_ns: 1,
            is_executable: false,
        }
    }
}

impl Runner for Peer {
    type Node = PeerNode;
    type Connection = Socket;

    fn held(&self) -> &Held<PeerNode, Socket> {
        &self.held
    }

    fn held_mut(&mut self) -> &mut Held<PeerNode, Socket> {
        &mut self.held
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn known(&self) -> usize {
        self.shared.len() + self.wishes
    }

    fn note_input(&mut self, input: &Input<'_>) {
        match input {
            Input::Received { connection, .. } => self.speaker = Some(*connection),
            Input::Want(names) => self.wishes += names.len(),
            // Each name that is heard of from now on may become a wish.
            Input::WantMatching(_) => self.wishes += NAMES_MAX,
            Input::FileFound { path, version, .. } | Input::FileSeen { path, version, .. } => {
                self.shared.insert(path.name().expect("a name"), *version);
            }
            Input::FileGone { path } => _ = self.shared.remove(&path.name().expect("a name")),
            Input::Opened { file, version } => {
                if let Some(connection) = self.opening.remove(file)
                    && let Some(socket) = self.held.what_mut(connection)
                {
                    socket.sources.push_back(*version);
                }
            }
            Input::FileFailed { file, error } => {
                if let (FileError::Exists, Some((name, ..))) = (error, self.partials.get(file)) {
                    self.in_the_way.insert(*name);
                }
                self.discard(*file);
            }
            _ => {}
        }
    }

    fn note_action(&mut self, action: &Action) {
        if let Action::Exit(Outcome::SomeFailed { failed, done, .. }) = action {
            assert!(*failed > 0 && failed + done <= self.wishes);
        }
    }

    fn send_beacon(&mut self, from: Option<Ipv4Addr>, datagram: &[u8]) {
        let key = Secret::new([1; 32]).beacon_key();
        let key = Beacon::has_mac(datagram).then_some(&key);
        assert!(from.is_none() && Beacon::decode(datagram, key).is_ok());
    }

    fn broadcast(&mut self, bytes: &[u8; OFFER_BYTES]) {
        assert!(!self.is_guest(), "a guest offers something");
        let id = self.settings.id.0;
        let is_ours =
            |name: &FileName| bytes[..] == messages::offer(id, name.as_str(), Count::Bytes);
        assert!(self.shared.keys().any(is_ours), "offers what it has not: {bytes:x?}");
    }

    fn dial(&mut self, _: ConnectionId, to: SocketAddrV4) -> Socket {
        let has = |kind| self.held.connections.values().any(|it| it.what.kind == kind);
        let has_registration = has(SocketKind::Registration);
        let kind = match Some(to) == self.settings.registry.address() {
            true if !has_registration => SocketKind::Registration,
            true if !has(SocketKind::Listing) => SocketKind::Listing,
            _ => SocketKind::Download,
        };
        assert!(kind == SocketKind::Registration || has_registration, "nobody told it of {to}");
        assert!(!to.ip().is_broadcast() && !to.ip().is_unspecified(), "calls {to}");
        Socket::new(kind)
    }

    fn send(&mut self, id: ConnectionId, what: Transmit<'_>) -> Result<usize, SendError> {
        let len = match what {
            Transmit::Bytes { bytes, .. } => {
                let len = bytes.len().min(self.room_bytes);
                if let Some(socket) = self.held.what_mut(id).filter(|_| len > 0) {
                    socket.note_sent(&bytes[..len], &self.digests);
                }
                len
            }
            Transmit::File { len_bytes, .. } => (len_bytes as usize).min(self.room_bytes),
        };
        self.room_bytes -= len;
        Ok(len)
    }

    fn open_source(&mut self, file: FileId, path: &FilePath) -> Answer<Version> {
        let name = path.name().expect("a name");
        assert!(self.shared.contains_key(&name), "opens {name}, which it has not");
        self.opening.insert(file, self.speaker.expect("somebody asked for it"));
        match self.disk.open {
            Manner::AtOnce => Some(self.open(&name)),
            Manner::Later => None,
            Manner::Fails => Some(Err(self.disk.error)),
        }
    }

    fn create_partial(&mut self, file: FileId, name: FileName) -> Result<(), FileError> {
        self.partials.insert(file, (name, 0, Sha256::new()));
        if self.disk.create_fails { Err(self.disk.error) } else { Ok(()) }
    }

    fn write(&mut self, file: FileId, bytes: &[u8], _: u64) -> Result<(), FileError> {
        if self.disk.write_fails {
            return Err(self.disk.error);
        }
        let (_, size_bytes, hasher) = self.partials.get_mut(&file).expect("it is open");
        *size_bytes += bytes.len() as u64;
        hasher.update(bytes);
        Ok(())
    }

    fn commit(&mut self, file: FileId, _: &FilePath) -> Answer<(FilePath, Version)> {
        match self.disk.commit {
            Manner::AtOnce => Some(Ok(self.finish_commit(file))),
            Manner::Later => None,
            Manner::Fails => Some(Err(self.disk.error)),
        }
    }

    fn discard(&mut self, file: FileId) {
        self.opening.remove(&file);
        self.partials.remove(&file);
    }

    fn hash(&mut self, id: PathId, path: &FilePath, kind: HashKind) -> Result<(), FileError> {
        let name = path.name().expect("a name");
        // A guest hashes what stands under the name of what it fetched.
        let is_there = self.shared.contains_key(&name) || self.is_guest();
        assert!(is_there, "hashes {name}, which it has not");
        self.hashing.insert((id, kind), name);
        Ok(())
    }

    fn look(&mut self, path: &FilePath) -> Option<Version> {
        self.shared.get(&path.name()?).copied()
    }

    fn report(&mut self, report: &Report, path: Option<FilePath>) {
        let name = path.map(|path| path.name().expect("a name"));
        match report {
            Report::Verified { digest, size_bytes, .. } => {
                let name = name.expect("its name");
                assert_eq!(self.committed.get(&name), Some(digest), "{name} is not safe");
                assert_eq!(self.shared[&name].size_bytes, *size_bytes);
            }
            Report::AlreadyThere { .. } | Report::Skipped { .. } => {
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
}
