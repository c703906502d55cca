//! A host: a peer with its files, and its side of the contract of [`kit::runner`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kit::runner::{Answer, Committed, Flow, Held, Opened, Runner, SendError};
use p2pfs::content::{Content, FileError, Hash, HashKind, Known, OnConflict, PathId, Version};
use p2pfs::limits::{Limits, OFFER_BYTES};
use p2pfs::node::{
    BeaconSettings, CloseHow, ConnectionId, GroupSettings, GuestSettings, Input, Node, PeerKind,
    PeerNode, PeerSettings, RegistryUse, Wish,
};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::Secret;

use crate::contents::{Contents, File};
use crate::liar::{Excuse, Liar};
use crate::links::{HostIndex, Links, Piece, Rates, StreamIndex};
use crate::queue::{Event, Queue};

const PORT: u16 = 8100;
/// How fast a sharer hashes its files.
const HASH_BYTES_PER_S: u64 = 1_000_000_000;
/// What stands in the place of right bytes.
static WRONG: [u8; 64 * 1024] = [0; 64 * 1024];

/// What a host is there for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rates: Rates,
    pub(crate) starts_at_ns: u64,
    /// When it is gone without a word.
    pub(crate) leaves_at_ns: Option<u64>,
    /// How many connections it may have.
    pub(crate) connections_max: usize,
    /// Whether it shares all files; else it fetches them.
    pub(crate) shares: bool,
    /// Whether it knows the ids of its files from an earlier run, and no values of blocks.
    pub(crate) was_restarted: bool,
    /// Whether connections to it can be made.
    pub(crate) is_dialable: bool,
    /// Whether it stays once it has all.
    pub(crate) stays: bool,
    /// Whether it sends wrong bytes.
    pub(crate) is_corrupt: bool,
    /// Whether it says that it has all files and has none, and what it does then.
    pub(crate) lies: Option<Excuse>,
    /// Whether it has the secret of the group.
    pub(crate) has_secret: bool,
}

/// What a host did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Did {
    /// When it had all files.
    pub(crate) done_at_ns: Option<u64>,
    done_files: usize,
    /// Bytes of files that it sent.
    pub(crate) given_bytes: u64,
    /// Bytes of files that came.
    pub(crate) came_bytes: u64,
    pub(crate) sessions_max: usize,
    pub(crate) dials: usize,
}

/// A connection: a stream and our side of it.
pub(crate) type Line = (StreamIndex, usize);

/// A file that is open.
struct Open {
    file: usize,
    /// How many bytes of each block are right, from its begin on; `None` for a whole file. A
    /// partial file that is open for sending, too, has one with it.
    right_bytes: Option<Rc<[Cell<u32>]>>,
}

pub(crate) struct Host {
    pub(crate) index: HostIndex,
    pub(crate) address: SocketAddrV4,
    pub(crate) plan: Plan,
    pub(crate) held: Option<Held<dyn Node, Line>>,
    pub(crate) did: Did,
    files: BTreeMap<FilePath, usize>,
    open: BTreeMap<FileId, Open>,
    /// Connections that the node does not read for now.
    unread: BTreeSet<ConnectionId>,
    /// When it is woken next.
    wakes_at_ns: Option<u64>,
}

/// What hosts share.
pub(crate) struct Outside {
    began: Instant,
    pub(crate) now_ns: u64,
    pub(crate) queue: Queue,
    pub(crate) links: Links,
    pub(crate) contents: Contents,
    pub(crate) by_address: BTreeMap<Ipv4Addr, HostIndex>,
}

/// A host that is there, and what it touches.
pub(crate) struct At<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) out: &'a mut Outside,
}

impl Outside {
    pub(crate) fn new(links: Links, contents: Contents) -> Self {
        let (queue, by_address) = (Queue::default(), BTreeMap::new());
        Self { began: Instant::now(), now_ns: 0, queue, links, contents, by_address }
    }

    pub(crate) fn put_after(&mut self, after_ns: u64, event: Event) {
        self.queue.put(self.now_ns + after_ns, event);
    }
}

fn version(file: usize, content: &Content) -> Version {
    let (modified_ns, changed_ns) = (1_000_000_000, 1_000_000_000);
    let (inode, size_bytes) = (file as u64 + 1, content.size_bytes);
    Version { device: 1, inode, size_bytes, modified_ns, changed_ns, is_executable: false }
}

impl Host {
    pub(crate) fn new(index: HostIndex, plan: Plan) -> Self {
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + index as u32);
        Self {
            index,
            address: SocketAddrV4::new(ip, PORT),
            plan,
            held: None,
            did: Did::default(),
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            unread: BTreeSet::new(),
            wakes_at_ns: None,
        }
    }

    /// Returns whether it has a block of a file, or all of the file.
    pub(crate) fn has_block(&self, contents: &Contents, file: usize, block: u32) -> bool {
        let there = &contents.files[file];
        let range = there.content.block_range(block);
        let is_whole = |right_bytes: &[Cell<u32>]| {
            right_bytes
                .get(block as usize)
                .is_some_and(|it| u64::from(it.get()) == range.end - range.start)
        };
        let mut open = self.open.values().filter(|open| open.file == file);
        self.held.is_some()
            && (self.files.contains_key(&there.path)
                || open.any(|open| open.right_bytes.as_deref().is_some_and(is_whole)))
    }

    fn settings(&self, seed: u64) -> PeerSettings {
        let guest = GuestSettings {
            timeout: None,
            retries_max: 0,
            on_conflict: OnConflict::Compare,
            gives: true,
        };
        let exits = !self.plan.shares && !self.plan.stays;
        let (kind, id) = match exits {
            true => (PeerKind::Guest(guest), 0),
            false => (PeerKind::Fixed, self.index as u32 + 1),
        };
        let secret = Secret::new([7; 32]);
        let group = GroupSettings { seal_keys: [secret.seal_key()].into(), also_open: false };
        let (group, beacons) = match self.plan.has_secret {
            true => (Some(group), BeaconSettings::of_group(&[secret], false)),
            false => (None, BeaconSettings::open()),
        };
        PeerSettings {
            kind,
            instance: self.index as u64 + 1,
            shares_v0: false,
            group,
            beacons: Some(beacons),
            registry_use: RegistryUse::Never,
            exit_when_done: exits,
            seed: seed + self.index as u64,
            limits: Limits { connections_max: self.plan.connections_max, ..Limits::PEER },
            ..kit::peer_settings(id, PORT, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1))
        }
    }
}

impl At<'_> {
    /// The peer starts, with what it is there for.
    pub(crate) fn start(&mut self, seed: u64) {
        let now = self.now();
        if let Some(excuse) = self.host.plan.lies {
            let files = self.out.contents.files.iter();
            let files = files.map(|file| (file.path.clone(), file.content)).collect();
            let node = Liar::new(now, self.host.index as u32 + 1, PORT, files, excuse);
            self.host.held = Some(Held::new(Box::new(node), None));
            return self.settle();
        }
        let settings = self.host.settings(seed);
        let limits = Some(settings.limits);
        self.host.held = Some(Held::new(Box::new(PeerNode::new(now, settings)), limits));
        self.drain(&[]);
        if self.host.plan.shares {
            for file in 0..self.out.contents.files.len() {
                let File { path, content, .. } = &self.out.contents.files[file];
                let (path, version) = (path.clone(), version(file, content));
                self.host.files.insert(path.clone(), file);
                let blake3 = self.host.plan.was_restarted.then_some(content.id);
                let known = Known { blake3, ..Known::default() };
                self.feed(Input::FileFound { path, version, known });
            }
        } else {
            let wish = if self.out.contents.files.len() == 1 { "image" } else { "folder/" };
            self.feed(Input::Wish(&[wish.parse::<Wish>().expect("a wish")]));
        }
        self.settle();
    }

    /// The host is gone without a word.
    pub(crate) fn leave(&mut self) {
        let Some(held) = self.host.held.take() else { return };
        let at = (&mut self.out.queue, self.out.now_ns);
        for connection in held.connections.values() {
            self.out.links.close((at.0, at.1), connection.what, true);
        }
        self.host.unread.clear();
    }

    /// Reads what has arrived on a connection, as far as the node allows.
    pub(crate) fn read(&mut self, id: ConnectionId) {
        loop {
            let Some(&mut (stream, side)) = self.held_mut().what_mut(id) else { return };
            let allowance_bytes = self.held_mut().read_allowance_bytes(id);
            let out = &mut *self.out;
            if allowance_bytes == 0 && out.links.has_arrived(stream, 1 - side) {
                self.host.unread.insert(id);
                return;
            }
            self.host.unread.remove(&id);
            let at = (&mut out.queue, out.now_ns);
            let Some(piece) = out.links.read(at, (stream, 1 - side), allowance_bytes) else {
                if out.links.has_ended(stream, 1 - side) {
                    self.feed(Input::ReadClosed(id));
                }
                return;
            };
            self.receive(id, &piece);
        }
    }

    fn receive(&mut self, connection: ConnectionId, piece: &Piece) {
        let (file, offset, len_bytes, is_wrong) = match piece {
            Piece::Bytes(bytes) => {
                self.feed(Input::Received { connection, bytes });
                return;
            }
            Piece::File { file, offset, len_bytes, is_wrong } => {
                (*file, *offset, *len_bytes, *is_wrong)
            }
        };
        self.host.did.came_bytes += len_bytes as u64;
        let pattern = self.out.contents.pattern();
        let at = self.out.contents.files[file].position(offset);
        let bytes = if is_wrong { &WRONG[..len_bytes] } else { &pattern[at..at + len_bytes] };
        self.feed(Input::Received { connection, bytes });
    }

    /// Does what is left to do: all that can be sent is sent, all that may be read is read, and
    /// the timer is set. A program that has ended is gone.
    pub(crate) fn settle(&mut self) {
        while self.held().outcome.is_none() {
            if let Some(id) = self.held().next_ready() {
                self.pump(id);
                continue;
            }
            let held = self.host.held.as_ref().expect("it runs");
            let can_read = |id: &&ConnectionId| held.node.read_allowance_bytes(**id) > 0;
            let Some(&id) = self.host.unread.iter().find(can_read) else { break };
            self.host.unread.remove(&id);
            self.read(id);
        }
        let count = self.held().connections.len();
        self.host.did.sessions_max = self.host.did.sessions_max.max(count);
        if self.held().outcome.is_some() {
            return self.end();
        }
        let Some(at) = self.held().node.poll_timeout() else { return };
        let at_ns = at.saturating_duration_since(self.out.began).as_nanos() as u64;
        let at_ns = at_ns.max(self.out.now_ns);
        if self.host.wakes_at_ns.is_none_or(|next_ns| at_ns < next_ns) {
            self.host.wakes_at_ns = Some(at_ns);
            self.out.queue.put(at_ns, Event::Wake(self.host.index));
        }
    }

    /// The program has ended: what it has to say is sent, as far as there is room.
    fn end(&mut self) {
        let ids: Vec<_> = self.held().connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.pump(id));
        let held = self.host.held.take().expect("it runs");
        for connection in held.connections.values() {
            let at = (&mut self.out.queue, self.out.now_ns);
            self.out.links.close(at, connection.what, false);
        }
        self.host.unread.clear();
    }

    /// The timer that was set for now rings.
    pub(crate) fn ring(&mut self) {
        if self.host.wakes_at_ns == Some(self.out.now_ns) {
            self.host.wakes_at_ns = None;
        }
        if self.is_due() {
            self.wake();
        }
        self.settle();
    }

    /// A packet of this stream has left us: there may be room for more.
    pub(crate) fn has_sent(&mut self, stream: StreamIndex, side: usize) {
        let Some(id) = self.out.links.stream(stream).and_then(|stream| stream.ids[side]) else {
            return;
        };
        let is_full = self.held().connections.get(&id).is_some_and(|c| c.flow == Flow::Full);
        if is_full && self.out.links.room_bytes(stream, side) > 0 {
            self.held_mut().has_room(id);
            self.settle();
        }
    }

    /// A file that was to be hashed is.
    pub(crate) fn tell_hash(&mut self, path: PathId) {
        let Some(there) = self.held().node.paths().get(path) else { return };
        let Some(&file) = self.host.files.get(there) else { return };
        let File { content, values, .. } = &self.out.contents.files[file];
        let hash = Hash::Blake3 { id: content.id, values: Rc::clone(values) };
        let version = version(file, content);
        self.feed(Input::Hashed { path, version, hash });
        self.settle();
    }

    /// Returns a part of a file that is open, up to the end of a block.
    fn piece(&self, id: FileId, offset: u64, len_bytes: u64) -> Piece {
        let Open { file, right_bytes } = &self.host.open[&id];
        let there = &self.out.contents.files[*file];
        let len_bytes = len_bytes.min(there.left_in_block(offset)).min(WRONG.len() as u64);
        if let Some(right_bytes) = right_bytes {
            let in_block = offset % there.content.block_bytes() + len_bytes;
            let block = (offset / there.content.block_bytes()) as usize;
            let is_there = in_block <= u64::from(right_bytes[block].get());
            assert!(is_there, "gives bytes of block {block} that it does not have");
        }
        let (file, len_bytes, is_wrong) = (*file, len_bytes as usize, self.host.plan.is_corrupt);
        Piece::File { file, offset, len_bytes, is_wrong }
    }
}

impl Runner for At<'_> {
    type Node = dyn Node;
    type Connection = Line;

    fn held(&self) -> &Held<dyn Node, Line> {
        self.host.held.as_ref().expect("it runs")
    }

    fn held_mut(&mut self) -> &mut Held<dyn Node, Line> {
        self.host.held.as_mut().expect("it runs")
    }

    fn now(&self) -> Instant {
        self.out.began + Duration::from_nanos(self.out.now_ns)
    }

    fn known(&self) -> usize {
        self.out.contents.files.len()
    }

    fn note_input(&mut self, input: &Input<'_>) {
        if let Input::Committed { .. } = input {
            self.host.did.done_files += 1;
            if self.host.did.done_files == self.out.contents.files.len() {
                self.host.did.done_at_ns = Some(self.out.now_ns);
            }
        }
    }

    fn broadcast(&mut self, _: &[u8; OFFER_BYTES]) {}

    fn send_beacon(&mut self, _: Option<Ipv4Addr>, datagram: &[u8]) {
        let event = Event::Beacon { from: self.host.index, bytes: datagram.into() };
        self.out.put_after(self.out.links.delay_ns, event);
    }

    fn dial(&mut self, id: ConnectionId, to: SocketAddrV4) -> Line {
        self.host.did.dials += 1;
        let to = self.out.by_address[to.ip()];
        let stream = self.out.links.dial(id, [self.host.index, to]);
        self.out.put_after(self.out.links.delay_ns, Event::Syn(stream));
        (stream, 0)
    }

    fn close(&mut self, line: Line, how: CloseHow, _: CloseReason) {
        let at = (&mut self.out.queue, self.out.now_ns);
        self.out.links.close(at, line, how == CloseHow::Reset);
    }

    fn lose(&mut self, line: Line) {
        let at = (&mut self.out.queue, self.out.now_ns);
        self.out.links.close(at, line, true);
    }

    fn send(&mut self, id: ConnectionId, what: Transmit<'_>) -> Result<usize, SendError> {
        let &mut (stream, side) = self.held_mut().what_mut(id).expect("it is open");
        let room_bytes = self.out.links.room_bytes(stream, side);
        if room_bytes == 0 {
            return Ok(0);
        }
        let piece = match what {
            Transmit::Bytes { bytes, .. } => {
                Piece::Bytes(bytes[..bytes.len().min(room_bytes)].to_vec())
            }
            Transmit::File { file, offset, len_bytes } => {
                let piece = self.piece(file, offset, u64::from(len_bytes).min(room_bytes as u64));
                self.host.did.given_bytes += piece.len_bytes() as u64;
                piece
            }
        };
        let len_bytes = piece.len_bytes();
        let at = (&mut self.out.queue, self.out.now_ns);
        self.out.links.send(at, stream, side, piece);
        Ok(len_bytes)
    }

    fn read(&mut self, file: FileId, offset: u64, len_bytes: u32) -> Result<Vec<u8>, FileError> {
        let piece = self.piece(file, offset, len_bytes.into());
        let Piece::File { file, offset, len_bytes, .. } = piece else { panic!("not of a file") };
        self.host.did.given_bytes += len_bytes as u64;
        let at = self.out.contents.files[file].position(offset);
        Ok(self.out.contents.pattern()[at..at + len_bytes].to_vec())
    }

    fn open_source(&mut self, id: FileId, path: &FilePath) -> Answer<Version> {
        let Some(&file) = self.host.files.get(path) else { return Some(Err(FileError::Missing)) };
        self.host.open.insert(id, Open { file, right_bytes: None });
        Some(Ok(version(file, &self.out.contents.files[file].content)))
    }

    fn open_partial_source(&mut self, id: FileId, partial: FileId) -> Answer<Version> {
        let Open { file, right_bytes } = &self.host.open[&partial];
        let (file, right_bytes) = (*file, right_bytes.clone());
        self.host.open.insert(id, Open { file, right_bytes });
        Some(Ok(version(file, &self.out.contents.files[file].content)))
    }

    fn stat_source(&mut self, id: FileId) -> Result<Version, FileError> {
        let file = self.host.open.get(&id).ok_or(FileError::Missing)?.file;
        Ok(version(file, &self.out.contents.files[file].content))
    }

    fn open_partial(&mut self, id: FileId, path: &FilePath, content: Content) -> Opened {
        let file = self.out.contents.find(&content);
        assert_eq!(self.out.contents.files[file].path, *path, "a content under another path");
        let right_bytes = Some(vec![Cell::new(0); content.blocks() as usize].into());
        self.host.open.insert(id, Open { file, right_bytes });
        Some(Ok(Vec::<Range<u64>>::new()))
    }

    fn write(&mut self, id: FileId, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        let Open { file, right_bytes } = self.host.open.get(&id).expect("it is open");
        let right_bytes = right_bytes.as_ref().expect("a partial file");
        let there = &self.out.contents.files[*file];
        let block_bytes = there.content.block_bytes();
        let (block, in_block) = ((offset / block_bytes) as usize, (offset % block_bytes) as u32);
        let pattern = self.out.contents.pattern();
        // Bytes that came in honest ways are those of the pattern, and need not be compared.
        let right = &pattern[there.position(offset)..];
        let is_right = std::ptr::eq(bytes.as_ptr(), right.as_ptr())
            || self.host.plan.has_secret && right.starts_with(bytes);
        let (right_bytes, before) = (&right_bytes[block], right_bytes[block].get());
        match is_right {
            true if in_block <= before => {
                right_bytes.set(before.max(in_block + bytes.len() as u32));
            }
            true => {}
            false => right_bytes.set(before.min(in_block)),
        }
        Ok(())
    }

    fn keep(&mut self, id: FileId) {
        self.discard(id);
    }

    fn make_folder(&mut self, _: &FilePath) -> Result<(), FileError> {
        Ok(())
    }

    fn commit(&mut self, id: FileId, path: &FilePath) -> Committed {
        let Open { file, right_bytes } = self.host.open.remove(&id).expect("it is open");
        let content = &self.out.contents.files[file].content;
        for (block, right) in right_bytes.expect("a partial file").iter().enumerate() {
            let range = content.block_range(block as u32);
            assert_eq!(u64::from(right.get()), range.end - range.start, "block {block} of {path}");
        }
        self.host.files.insert(path.clone(), file);
        Some(Ok((path.clone(), version(file, content))))
    }

    fn discard(&mut self, id: FileId) {
        self.host.open.remove(&id);
    }

    fn hash(&mut self, id: PathId, path: &FilePath, kind: HashKind) -> Result<(), FileError> {
        assert_eq!(kind, HashKind::Blake3, "nobody requests it by version 0");
        let file = *self.host.files.get(path).ok_or(FileError::Missing)?;
        let size_bytes = self.out.contents.files[file].content.size_bytes;
        let after_ns = size_bytes * 1_000_000_000 / HASH_BYTES_PER_S;
        self.out.put_after(after_ns, Event::Hashed(self.host.index, id));
        Ok(())
    }

    fn look(&mut self, path: &FilePath) -> Option<Version> {
        let file = *self.host.files.get(path)?;
        Some(version(file, &self.out.contents.files[file].content))
    }
}
