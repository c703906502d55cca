//! What drives a node in tests, by the contract of [`p2pfs::node`].
//!
//! [`Runner`] is implemented over a made-up world: the simulator's network and disk, or a
//! fuzzer's script. Its provided methods are the contract, written once: they give inputs,
//! drain the actions, have the world carry them out, tell the node what came of each, and
//! panic at whatever breaks the contract, on either side. [`Held`] is what the node has open.

mod held;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::time::Instant;

use p2pfs::content::{Content, FileError, HashKind, PathId, Sight, Version};
use p2pfs::limits::OFFER_BYTES;
use p2pfs::node::{Action, CloseHow, ConnectionId, Input, Node, Report};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v0::FileName;
use p2pfs::wire::v1::Value;

use self::held::Origin;
pub use self::held::{Connection, File, FileState, Flow, Held};
use crate::oracle;

/// Actions after one input, but for those that each byte or each thing may cause.
const ACTIONS_MAX: usize = 512;

/// What came of something with a file, at once; `None` if that will be known later.
pub type Answer<T> = Option<Result<T, FileError>>;

/// Where the partial file of a content that was opened has bytes.
pub type Opened = Answer<Vec<Range<u64>>>;

/// The final name of a file that was committed, and its version.
pub type Committed = Answer<(FilePath, Version)>;

/// Why nothing was sent.
pub enum SendError {
    Broken(ErrorKind),
    /// The file that was to be sent could not be read.
    File(FileError),
}

/// What drives a node. A world that a node has nothing to do with need not be there: what
/// has a body here that panics is asked of no such node.
pub trait Runner {
    type Node: Node + ?Sized;
    /// What the world keeps for a connection.
    type Connection;

    fn held(&self) -> &Held<Self::Node, Self::Connection>;
    fn held_mut(&mut self) -> &mut Held<Self::Node, Self::Connection>;
    fn now(&self) -> Instant;

    /// Returns how many things the node knows that are not open: each may cause actions.
    fn known(&self) -> usize {
        0
    }

    /// The node is given an input, be it an answer.
    fn note_input(&mut self, _input: &Input<'_>) {}

    /// The node wants something done.
    fn note_action(&mut self, _action: &Action) {}

    fn broadcast(&mut self, _datagram: &[u8; OFFER_BYTES]) {
        panic!("it offers something");
    }

    fn send_beacon(&mut self, _from: Option<Ipv4Addr>, _datagram: &[u8]) {
        panic!("it sends a beacon");
    }

    /// Begins to make a connection, and returns what is kept for it.
    fn dial(&mut self, id: ConnectionId, to: SocketAddrV4) -> Self::Connection {
        panic!("{id:?} calls {to}");
    }

    /// Closes a connection.
    fn close(&mut self, _what: Self::Connection, _how: CloseHow, _reason: CloseReason) {}

    /// A connection is gone without the node's doing.
    fn lose(&mut self, _what: Self::Connection) {}

    /// Sends some of this, and returns how many bytes; 0 if there is no room.
    fn send(&mut self, id: ConnectionId, what: Transmit<'_>) -> Result<usize, SendError>;

    /// Reads some of a file that is open for sending.
    fn read(&mut self, file: FileId, _offset: u64, _len_bytes: u32) -> Result<Vec<u8>, FileError> {
        panic!("it seals {file:?}");
    }

    /// Opens a file of the folder.
    fn open_source(&mut self, _: FileId, path: &FilePath) -> Answer<Version> {
        panic!("it sends {path}");
    }

    /// Opens for sending what is open as a partial file.
    fn open_partial_source(&mut self, _: FileId, partial: FileId) -> Answer<Version> {
        panic!("it sends {partial:?}");
    }

    /// Stats a file that is open for sending.
    fn stat_source(&mut self, file: FileId) -> Result<Version, FileError> {
        panic!("it stats {file:?}");
    }

    fn create_partial(&mut self, _: FileId, name: FileName) -> Result<(), FileError> {
        panic!("it fetches {name}");
    }

    /// Opens the partial file of a content, and returns where it has bytes.
    fn open_partial(&mut self, file: FileId, path: &FilePath, _: Content) -> Opened {
        panic!("it fetches {path} to {file:?}");
    }

    /// Writes to a partial file: behind what it has, but for one of a content.
    fn write(&mut self, _: FileId, _bytes: &[u8], _offset: u64) -> Result<(), FileError> {
        panic!("it writes");
    }

    /// Hashes a block of the partial file of a content.
    fn hash_block(&mut self, _: FileId, block: u32) -> Answer<Value> {
        panic!("it hashes block {block}");
    }

    /// Closes a partial file and keeps what it has.
    fn keep(&mut self, file: FileId) {
        panic!("it keeps {file:?}");
    }

    fn make_folder(&mut self, path: &FilePath) -> Result<(), FileError> {
        panic!("it makes {path}");
    }

    /// Makes a file with the content of another one, and returns its final name.
    fn copy(&mut self, _: FileId, from: &FilePath, _: &FilePath, _: Content) -> Committed {
        panic!("it copies {from}");
    }

    /// Commits a partial file, and returns its final name.
    fn commit(&mut self, _: FileId, _: &FilePath) -> Committed {
        panic!("it commits");
    }

    /// Closes a file; a partial one is removed.
    fn discard(&mut self, _: FileId) {}

    /// Begins to hash a file of the folder.
    fn hash(&mut self, _: PathId, path: &FilePath, _: HashKind) -> Result<(), FileError> {
        panic!("it hashes {path}");
    }

    /// Returns what stands in the folder under a path.
    fn look(&mut self, path: &FilePath) -> Option<Version> {
        panic!("it looks at {path}");
    }

    fn report(&mut self, _report: &Report, _path: Option<FilePath>) {}

    // The contract. A world does not replace what follows.

    /// Gives the node an input and carries out what it wants; returns the count of that.
    fn feed(&mut self, input: Input<'_>) -> usize {
        if self.held().outcome.is_some() {
            return 0;
        }
        assert!(self.held().is_drained, "an input before all actions are carried out");
        self.held_mut().wakes.1 = 0;
        let received = match &input {
            Input::Received { bytes, .. } => *bytes,
            _ => &[],
        };
        self.tell(input);
        self.drain(received)
    }

    /// Gives the node an input about what is gone: it has to be ignored.
    fn feed_stale(&mut self, input: Input<'_>) {
        let count = self.feed(input);
        assert_eq!(count, 0, "heeds an input about what is gone");
    }

    /// Gives the node an input, which may be an answer to an action.
    fn tell(&mut self, input: Input<'_>) {
        self.held_mut().on_input(&input);
        if let Input::Broken { connection, .. } = &input
            && let Some(what) = self.held_mut().leave(*connection)
        {
            self.lose(what);
        }
        self.note_input(&input);
        let now = self.now();
        self.held_mut().node.handle(now, input);
    }

    /// Takes a connection in, unless the node refuses it.
    fn accept(&mut self, from: SocketAddrV4, what: Self::Connection) -> Option<ConnectionId> {
        let now = self.now();
        let id = self.held_mut().node.accept(now, from);
        if let Some(id) = id {
            self.held_mut().enter(id, Origin::From(*from.ip()), what);
            self.held().check_address(*from.ip());
        }
        self.drain(&[]);
        id
    }

    /// Takes a program of the same user in, unless the node refuses it.
    fn accept_program(&mut self, what: Self::Connection) -> Option<ConnectionId> {
        let now = self.now();
        let id = self.held_mut().node.accept_program(now);
        if let Some(id) = id {
            self.held_mut().enter(id, Origin::Program, what);
        }
        self.drain(&[]);
        id
    }

    /// Wakes the node, in time or for nothing.
    fn wake(&mut self) {
        if self.held().outcome.is_some() {
            return;
        }
        let now = self.now();
        let (before, was_due) = (self.held().node.poll_timeout(), self.is_due());
        self.held_mut().node.handle_timeout(now);
        let count = self.drain(&[]);
        let is_same = count == 0 && self.held().node.poll_timeout() == before;
        assert!(was_due || is_same, "acts before its deadline, or moves it");
        self.held_mut().on_wake(now, was_due);
    }

    /// Returns whether the node wants to be woken.
    fn is_due(&self) -> bool {
        self.held().node.poll_timeout().is_some_and(|deadline| deadline <= self.now())
    }

    /// Sends what there is to be sent on a connection, as far as there is room.
    fn pump(&mut self, id: ConnectionId) {
        while let Some(connection) = self.held().connections.get(&id)
            && connection.is_connected
        {
            let copied;
            let (what, file) = match self.held().node.transmit(id) {
                None => return self.held_mut().set_flow(id, Flow::Idle),
                Some(Transmit::Bytes { bytes, more }) => {
                    copied = bytes.to_vec();
                    (Transmit::Bytes { bytes: &copied, more }, None)
                }
                Some(Transmit::File { file, offset, len_bytes })
                    if !self.held().node.is_sealed(id) =>
                {
                    self.held().check_range(file, offset, len_bytes);
                    (Transmit::File { file, offset, len_bytes }, Some(file))
                }
                Some(Transmit::File { file, offset, len_bytes }) => {
                    self.held().check_range(file, offset, len_bytes);
                    match self.read(file, offset, len_bytes) {
                        Ok(bytes) => self.tell(Input::Read { connection: id, bytes: &bytes }),
                        Err(error) => self.fail(file, error),
                    }
                    self.drain(&[]);
                    continue;
                }
            };
            match (self.send(id, what), file) {
                (Ok(0), _) => {
                    self.held_mut().set_flow(id, Flow::Full);
                    let now = self.now();
                    self.held_mut().node.blocked(now, id);
                    self.drain(&[]);
                    return;
                }
                (Ok(len_bytes), _) => {
                    let now = self.now();
                    self.held_mut().node.transmitted(now, id, len_bytes);
                }
                (Err(SendError::Broken(kind)), _) => {
                    self.tell(Input::Broken { connection: id, kind });
                }
                (Err(SendError::File(error)), Some(file)) => self.fail(file, error),
                (Err(SendError::File(error)), None) => panic!("{error} with no file"),
            }
            self.drain(&[]);
        }
    }

    /// Carries out what the node wants; returns the count of that.
    fn drain(&mut self, received: &[u8]) -> usize {
        let held = self.held();
        let things = held.connections.len() + held.files.len() + self.known();
        let count_max = ACTIONS_MAX + 4 * things + received.len();
        let mut count = 0;
        while let Some(action) = self.held_mut().node.poll_action() {
            assert!(self.held().outcome.is_none(), "acts after its end: {action:?}");
            self.note_action(&action);
            self.carry_out(action, received);
            count += 1;
            assert!(count < count_max, "acts for ever");
        }
        let held = self.held_mut();
        held.just_failed.clear();
        held.is_drained = true;
        held.check();
        count
    }

    fn carry_out(&mut self, action: Action, received: &[u8]) {
        match action {
            Action::Broadcast(datagram) => self.broadcast(&datagram),
            Action::SendBeacon { from, datagram } => self.send_beacon(from, &datagram),
            Action::Send { to, .. } => panic!("it does not broadcast what it sends to {to}"),
            Action::DialProgram { .. } => panic!("it asks a program"),
            Action::Resolve(host) => panic!("the registry {host} has an address"),
            Action::Describe { connection, json } => {
                let is_open = self.held().connections.contains_key(&connection);
                assert!(is_open, "{connection:?} is gone");
                self.tell(Input::Described { connection, text: if json { "{}" } else { "" } });
            }
            Action::Dial { connection, to } => {
                let what = self.dial(connection, to);
                self.held_mut().enter(connection, Origin::Dialed, what);
            }
            Action::Transmit(id) => self.held_mut().on_transmit(id),
            Action::Close { connection: id, how, reason } => {
                let what = self.held_mut().leave(id);
                self.close(what.unwrap_or_else(|| panic!("{id:?} is gone")), how, reason);
            }
            Action::MakeFolder(path) => {
                let made = self.make_folder(&self.held().path_of(path));
                self.tell(Input::FolderMade { path, made });
            }
            Action::OpenSource { file, .. }
            | Action::OpenPartialSource { file, .. }
            | Action::StatSource(file)
            | Action::CreatePartial { file, .. }
            | Action::OpenPartial { file, .. }
            | Action::HashBlock { file, .. }
            | Action::Keep(file)
            | Action::CopyFile { file, .. }
            | Action::Write { file, .. }
            | Action::Commit(file)
            | Action::Discard(file) => {
                if !self.held().just_failed.contains(&file) {
                    self.carry_out_on_file(file, action, received);
                }
            }
            Action::Hash { path, kind } => {
                if let Err(error) = self.hash(path, &self.held().path_of(path), kind) {
                    self.tell(Input::HashFailed { path, kind, error });
                }
            }
            Action::Look(path) => {
                let path = self.held().path_of(path);
                let input = match self.look(&path) {
                    Some(version) => Input::FileSeen { path, version, sight: Sight::Looked },
                    None => Input::FileGone { path },
                };
                self.tell(input);
            }
            Action::Report(report) => {
                oracle::assert_printable(&report.shown(self.held().node.paths()).to_string());
                let _ = (report.level(), report.about());
                let path = report.path().map(|path| self.held().path_of(path));
                self.report(&report, path);
            }
            Action::Exit(outcome) => {
                self.held().check_end();
                self.held_mut().outcome = Some(outcome);
            }
        }
    }

    /// Opens, creates, writes, commits or discards a file.
    fn carry_out_on_file(&mut self, file: FileId, action: Action, received: &[u8]) {
        match action {
            Action::OpenSource { path, .. } => {
                let path = self.held().path_of(path);
                self.held_mut().open(file, path.clone(), FileState::Opening);
                if let Some(result) = self.open_source(file, &path) {
                    self.answer_open(file, result);
                }
            }
            Action::OpenPartialSource { partial, .. } => {
                let path = self.held().path_of_content(partial);
                self.held_mut().open(file, path, FileState::Opening);
                if let Some(result) = self.open_partial_source(file, partial) {
                    self.answer_open(file, result);
                }
            }
            Action::StatSource(_) => match self.stat_source(file) {
                Ok(version) => {
                    self.held_mut().on_stat(file, version);
                    self.tell(Input::Opened { file, version });
                }
                Err(error) => self.fail(file, error),
            },
            Action::CreatePartial { path, .. } => {
                let name = self.held().name_of(path);
                let state = FileState::Partial { written_bytes: 0 };
                self.held_mut().open(file, name.into(), state);
                if let Err(error) = self.create_partial(file, name) {
                    self.fail(file, error);
                }
            }
            Action::OpenPartial { path, content, .. } => {
                let path = self.held().path_of(path);
                let state = FileState::Content { content, is_open: false };
                self.held_mut().open(file, path.clone(), state);
                if let Some(result) = self.open_partial(file, &path, content) {
                    self.answer_open_partial(file, result);
                }
            }
            Action::HashBlock { block, .. } => {
                self.held().check_block(file, block);
                if let Some(result) = self.hash_block(file, block) {
                    self.answer_hash_block(file, block, result);
                }
            }
            Action::CopyFile { from, path, content, .. } => {
                let (from, path) = (self.held().path_of(from), self.held().path_of(path));
                self.held_mut().open(file, path.clone(), FileState::Committing);
                if let Some(result) = self.copy(file, &from, &path, content) {
                    self.answer_commit(file, result);
                }
            }
            Action::Keep(_) => {
                self.held_mut().close(file);
                self.keep(file);
            }
            Action::Write { range, offset, .. } => {
                let opened = self.held().node.opened().map(<[u8]>::to_vec);
                let received = opened.as_deref().unwrap_or(received);
                let bytes = received.get(range).expect("writes what did not come");
                self.held_mut().on_write(file, offset, bytes.len());
                match self.write(file, bytes, offset) {
                    Ok(()) => self.tell(Input::Written { file, len_bytes: bytes.len() }),
                    Err(error) => self.fail(file, error),
                }
            }
            Action::Commit(_) => {
                let path = self.held_mut().on_commit(file);
                if let Some(result) = self.commit(file, &path) {
                    self.answer_commit(file, result);
                }
            }
            _ => {
                self.held_mut().close(file);
                self.discard(file);
            }
        }
    }

    /// Tells the node what came of a file that was to be opened.
    fn answer_open(&mut self, file: FileId, result: Result<Version, FileError>) {
        match result {
            Ok(version) => {
                self.held_mut().on_opened(file, version);
                self.tell(Input::Opened { file, version });
            }
            Err(error) => self.fail(file, error),
        }
    }

    /// Tells the node what came of the partial file of a content that was to be opened.
    fn answer_open_partial(&mut self, file: FileId, result: Result<Vec<Range<u64>>, FileError>) {
        match result {
            Ok(data) => {
                self.held_mut().on_content_opened(file);
                self.tell(Input::PartialOpened { file, data });
            }
            Err(error) => self.fail(file, error),
        }
    }

    /// Tells the node what came of a block that was to be hashed.
    fn answer_hash_block(&mut self, file: FileId, block: u32, result: Result<Value, FileError>) {
        match result {
            Ok(value) => self.tell(Input::BlockHashed { file, block, value }),
            Err(error) => self.fail(file, error),
        }
    }

    /// Tells the node what came of a file that was to be committed.
    fn answer_commit(&mut self, file: FileId, result: Result<(FilePath, Version), FileError>) {
        match result {
            Ok((path, version)) => {
                self.held_mut().on_committed(file);
                self.tell(Input::Committed { file, path, version });
            }
            Err(error) => self.fail(file, error),
        }
    }

    /// Something with an open file failed: it is closed, and the node is told.
    fn fail(&mut self, file: FileId, error: FileError) {
        self.held_mut().close(file);
        self.held_mut().just_failed.push(file);
        self.tell(Input::FileFailed { file, error });
    }
}
