//! A peer that shares files in memory, driven by hand: for tests of sessions of version 1.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use p2pfs::content::{Content, FileError, Hash, HashKind, Known, PathId, Sight, Version};
use p2pfs::node::{Action, ConnectionId, Input, Node, PeerNode, PeerSettings, Report};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::ContentHasher;

use crate::peer_settings;

/// Nobody answers there.
const NOWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

type Inode = Rc<RefCell<(Vec<u8>, Version)>>;

/// A peer and its files.
pub struct Sharer {
    pub node: PeerNode,
    pub now: Instant,
    files: BTreeMap<FilePath, Inode>,
    open: BTreeMap<FileId, Inode>,
    hashes: VecDeque<(PathId, HashKind)>,
    numbers: u64,
    /// The connections that the node closed.
    pub closed: BTreeMap<ConnectionId, CloseReason>,
    /// What it told its user.
    pub reports: Vec<String>,
}

/// Returns the id and the size of these bytes.
pub fn content_of(bytes: &[u8]) -> Content {
    let mut hasher = ContentHasher::new(bytes.len() as u64);
    hasher.update(bytes);
    let (id, _) = hasher.finish().expect("all of it was hashed");
    Content { id, size_bytes: bytes.len() as u64 }
}

impl Sharer {
    /// One that has nothing yet.
    pub fn new(now: Instant) -> Self {
        let settings = PeerSettings { shares_v0: false, ..peer_settings(7, 1, NOWHERE) };
        let mut sharer = Self {
            node: PeerNode::new(now, settings),
            now,
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            hashes: VecDeque::new(),
            numbers: 0,
            closed: BTreeMap::new(),
            reports: Vec::new(),
        };
        sharer.drain();
        sharer
    }

    fn version(&mut self, inode: u64, size_bytes: usize) -> Version {
        self.numbers += 1;
        let at_ns = self.numbers as i64;
        Version {
            device: 1,
            inode,
            size_bytes: size_bytes as u64,
            modified_ns: at_ns,
            changed_ns: at_ns,
            is_executable: false,
        }
    }

    /// A file is there from the start.
    pub fn find(&mut self, path: &str, content: Vec<u8>) {
        let path = FilePath::new(path).expect("a legal path");
        let version = self.version(self.numbers + 1, content.len());
        self.files.insert(path.clone(), Rc::new(RefCell::new((content, version))));
        self.feed(Input::FileFound { path, version, known: Known::default() });
    }

    /// A new file is put under this path, in the place of what is there.
    pub fn put(&mut self, path: &FilePath, content: Vec<u8>) {
        let version = self.version(self.numbers + 1, content.len());
        self.files.insert(path.clone(), Rc::new(RefCell::new((content, version))));
        self.see(path, Sight::Closed);
    }

    /// A file is overwritten in place. The node is told only if it `is_seen`.
    pub fn overwrite(&mut self, path: &FilePath, content: Vec<u8>, is_seen: bool) {
        let Some(inode) = self.files.get(path).cloned() else { return };
        let number = inode.borrow().1.inode;
        let version = self.version(number, content.len());
        *inode.borrow_mut() = (content, version);
        if is_seen {
            self.see(path, Sight::Written);
            self.see(path, Sight::Closed);
        }
    }

    /// A file is overwritten through a mapping: nothing shows it.
    pub fn overwrite_mapped(&mut self, path: &FilePath, content: Vec<u8>) {
        if let Some(inode) = self.files.get(path) {
            inode.borrow_mut().0 = content;
        }
    }

    /// Nothing but the attributes of a file changes, and nobody is told.
    pub fn touch(&mut self, path: &FilePath) {
        let Some(inode) = self.files.get(path) else { return };
        self.numbers += 1;
        inode.borrow_mut().1.changed_ns = self.numbers as i64;
    }

    /// A file is removed.
    pub fn remove(&mut self, path: &FilePath) {
        if self.files.remove(path).is_some() {
            self.feed(Input::FileGone { path: path.clone() });
        }
    }

    /// A file gets another path.
    pub fn rename(&mut self, from: &FilePath, to: &FilePath) {
        if let Some(inode) = self.files.remove(from) {
            self.numbers += 1;
            inode.borrow_mut().1.changed_ns = self.numbers as i64;
            self.files.insert(to.clone(), inode);
            self.feed(Input::FileGone { path: from.clone() });
            self.see(to, Sight::Moved);
        }
    }

    fn see(&mut self, path: &FilePath, sight: Sight) {
        if let Some(version) = self.files.get(path).map(|inode| inode.borrow().1) {
            self.feed(Input::FileSeen { path: path.clone(), version, sight });
        }
    }

    /// Returns what is there by now.
    pub fn contents(&self) -> BTreeMap<FilePath, Content> {
        let content = |inode: &Inode| content_of(&inode.borrow().0);
        self.files.iter().map(|(path, inode)| (path.clone(), content(inode))).collect()
    }

    /// Takes a connection in.
    pub fn accept(&mut self) -> ConnectionId {
        let id = self.node.accept(self.now, NOWHERE).expect("there is room");
        self.drain();
        id
    }

    /// Bytes come in on a connection, as far as the node reads them. Returns how many.
    pub fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.node.read_allowance_bytes(connection));
        if len > 0 {
            self.feed(Input::Received { connection, bytes: &bytes[..len] });
        }
        len
    }

    /// Takes what the node sends on a connection, up to so many bytes.
    pub fn take(&mut self, connection: ConnectionId, len_max: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < len_max {
            let room = len_max - taken.len();
            let (piece, file) = match self.node.transmit(connection) {
                None => return taken,
                Some(Transmit::Bytes { bytes, .. }) => {
                    (Some(bytes[..bytes.len().min(room)].to_vec()), None)
                }
                Some(Transmit::File { file, offset, len_bytes }) => {
                    let inode =
                        self.open.get(&file).unwrap_or_else(|| panic!("{file:?} is closed"));
                    let (from, len) = (offset as usize, (len_bytes as usize).min(room));
                    let inode = inode.borrow();
                    let end = (from + len).min(inode.0.len());
                    (inode.0.get(from..end).map(<[u8]>::to_vec), Some(file))
                }
            };
            match (piece.filter(|piece| !piece.is_empty()), file) {
                (Some(piece), _) => {
                    self.node.transmitted(self.now, connection, piece.len());
                    taken.extend(piece);
                    self.drain();
                }
                (None, Some(file)) => {
                    self.open.remove(&file);
                    self.feed(Input::FileFailed { file, error: FileError::Changed });
                }
                (None, None) => panic!("nothing is to be sent"),
            }
        }
        self.node.blocked(self.now, connection);
        self.drain();
        taken
    }

    /// The other side of a connection is gone.
    pub fn lose(&mut self, connection: ConnectionId) {
        self.feed(Input::Broken { connection, kind: std::io::ErrorKind::ConnectionReset });
    }

    /// Ends the next hash. Returns whether there was one.
    pub fn hash(&mut self) -> bool {
        let Some((path, kind)) = self.hashes.pop_front() else { return false };
        let Some(inode) = self.node.paths().get(path).and_then(|path| self.files.get(path)) else {
            self.feed(Input::HashFailed { path, kind, error: FileError::Missing });
            return true;
        };
        let (content, version) = inode.borrow().clone();
        let mut hasher = ContentHasher::new(content.len() as u64);
        hasher.update(&content);
        let (id, values) = hasher.finish().expect("all of it was hashed");
        assert_eq!(kind, HashKind::Blake3, "nobody requests it by version 0");
        self.feed(Input::Hashed { path, version, hash: Hash::Blake3 { id, values } });
        true
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain();
    }

    /// Returns how many files are open.
    pub fn open_files(&self) -> usize {
        self.open.len()
    }

    fn drain(&mut self) {
        while let Some(action) = self.node.poll_action() {
            let answer = match action {
                Action::OpenSource { file, path } => {
                    let path = self.node.paths().get(path);
                    match path.and_then(|path| self.files.get(path)) {
                        Some(inode) => {
                            self.open.insert(file, Rc::clone(inode));
                            Some(Input::Opened { file, version: inode.borrow().1 })
                        }
                        None => Some(Input::FileFailed { file, error: FileError::Missing }),
                    }
                }
                Action::StatSource(file) => {
                    let inode = self.open.get(&file).expect("it is open");
                    Some(Input::Opened { file, version: inode.borrow().1 })
                }
                Action::Discard(file) => {
                    assert!(self.open.remove(&file).is_some(), "{file:?} is closed");
                    None
                }
                Action::Hash { path, kind } => {
                    self.hashes.retain(|under_way| *under_way != (path, kind));
                    self.hashes.push_back((path, kind));
                    None
                }
                Action::Look(path) => {
                    let path = self.node.paths().get(path).expect("it is known").clone();
                    Some(match self.files.get(&path) {
                        Some(inode) => {
                            let version = inode.borrow().1;
                            Input::FileSeen { path, version, sight: Sight::Looked }
                        }
                        None => Input::FileGone { path },
                    })
                }
                Action::Close { connection, reason, .. } => {
                    self.closed.insert(connection, reason);
                    None
                }
                Action::Report(report) => {
                    self.note(&report);
                    None
                }
                _ => None,
            };
            if let Some(input) = answer {
                self.node.handle(self.now, input);
            }
        }
    }

    fn note(&mut self, report: &Report) {
        self.reports.push(report.shown(self.node.paths()).to_string());
    }
}
