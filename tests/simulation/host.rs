//! One host: a machine with a disk, and at most one process on it.
//!
//! This file has the machine: how its process starts and dies, and what it is woken
//! for. [`crate::runner`] has the process's side of the contract with its node.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddrV4;

use kit::runner::{Flow, Runner};
use p2pfs::content::{Hash, HashKind, Known, PathId, Sight};
use p2pfs::limits::Limits;
use p2pfs::node::{Input, Outcome, PeerNode, PeerSettings, RegistryNode, Signal};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::FileName;

use crate::adversary::{Adversary, Plot};
use crate::conversation::Conversation;
use crate::disk::{Disk, Slice, some_error};
use crate::faults::Fault;
use crate::liar::{Brief, Liar};
use crate::network::{ConnectionKey, Side};
use crate::outside::Outside;
use crate::patience::Clock;
use crate::process::{Line, Process, Program, Socket};
use crate::queue::{Happening, HostIndex, Port};
use crate::runner::At;
use crate::stream::Readable;

/// The most that one read gives.
const READ_BYTES_MAX: usize = 256 * 1024;
/// A machine.
pub(crate) struct Host {
    /// Its place in the world.
    pub(crate) index: HostIndex,
    /// Where its process listens.
    pub(crate) address: SocketAddrV4,
    /// What runs on it.
    pub(crate) role: Role,
    /// Its disk, which outlives its processes.
    pub(crate) disk: Disk,
    /// What its user wants; told to each process at its start.
    pub(crate) wishes: BTreeSet<FileName>,
    /// It stands still until then.
    pub(crate) frozen_until_us: u64,
    /// It has not stood still since then.
    pub(crate) awake_since_us: u64,
    /// What happened while it stood still.
    pub(crate) postponed: Vec<(u32, Happening)>,
    /// Its process, if one runs.
    pub(crate) process: Option<Process>,
    /// Which process it is, or was: each start has the next number.
    pub(crate) incarnation: u32,
    /// Files at which a program of the user's is writing.
    pub(crate) being_written: BTreeSet<FileName>,
    /// When the last change of the folder is told: none overtakes another.
    pub(crate) last_change_us: u64,
    /// How the last process ended by itself.
    pub(crate) outcome: Option<Outcome>,
    has_power: bool,
}

/// What runs on a host.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// The registry.
    Registry(Limits),
    /// A peer.
    Peer(Box<PeerSettings>),
    /// A peer that lies.
    Liar(Brief),
    /// A peer that breaks no rule and starves others.
    Adversary(Plot),
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// It is killed, or ends by itself; its kernel lives on.
    Killed,
    /// Its machine loses power.
    PowerCut,
}

impl Role {
    /// What bounds it, if anything does.
    pub(crate) fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Registry(limits) => Some(limits),
            Self::Peer(settings) => Some(&settings.limits),
            Self::Liar(_) | Self::Adversary(_) => None,
        }
    }

    /// The id it registers.
    pub(crate) fn id(&self) -> PeerId {
        match self {
            Self::Registry(_) => PeerId(0),
            Self::Peer(settings) => settings.id,
            Self::Liar(brief) => brief.id,
            Self::Adversary(plot) => plot.id,
        }
    }
}

impl Host {
    /// A machine on which nothing runs yet.
    pub(crate) fn new(index: HostIndex, address: SocketAddrV4, role: Role) -> Self {
        Self {
            index,
            address,
            role,
            disk: Disk::default(),
            wishes: BTreeSet::new(),
            frozen_until_us: 0,
            awake_since_us: 0,
            postponed: Vec::new(),
            process: None,
            incarnation: 0,
            being_written: BTreeSet::new(),
            last_change_us: 0,
            outcome: None,
            has_power: true,
        }
    }

    /// Whether its kernel answers.
    pub(crate) fn has_power(&self) -> bool {
        self.has_power
    }

    /// Whether it is a peer that does not lie.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.role, Role::Peer(_))
    }

    /// Whether what runs on it is under test.
    pub(crate) fn is_honest(&self) -> bool {
        !matches!(self.role, Role::Liar(_) | Role::Adversary(_))
    }

    /// The wishes whose files are not there.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &FileName> {
        self.wishes.iter().filter(|name| !self.disk.has(name))
    }

    /// Starts a process: finds what is in the folder, then is told what is wanted.
    pub(crate) fn start(&mut self, out: &mut Outside) {
        if self.process.is_some() {
            return;
        }
        if !std::mem::replace(&mut self.has_power, true) {
            out.machine_is_back(self.index);
        }
        self.incarnation += 1;
        self.outcome = None;
        let program: Box<dyn Program> = match &mut self.role {
            Role::Registry(limits) => Box::new(RegistryNode::new(*limits)),
            Role::Peer(settings) => {
                settings.seed = out.rng.u64(..);
                settings.instance = settings.seed.max(1);
                Box::new(PeerNode::new(out.now(), (**settings).clone()))
            }
            Role::Liar(brief) => Box::new(Liar::new(out.now(), brief.clone(), out.rng.u64(..))),
            Role::Adversary(plot) => {
                Box::new(Adversary::new(out.now(), plot.clone(), out.rng.u64(..)))
            }
        };
        out.note(|| format!("host {} starts: {:?}", self.index, self.role));
        self.process = Some(Process::new(program, self.role.limits().copied()));
        self.at(out).drain(&[]);
        if self.is_peer() {
            self.tell_folder_and_wishes(out);
        }
        self.settle(out);
    }

    fn tell_folder_and_wishes(&mut self, out: &mut Outside) {
        for (name, version) in self.disk.complete_files() {
            // What is there at the start is taken as it is.
            if let Some(digest) = self.disk.digest(&name).filter(|_| self.is_being_written(&name)) {
                out.truth.add(name, digest);
            }
            let is_true = self.disk.digest(&name).is_some_and(|d| out.truth.holds(&name, &d));
            assert!(is_true, "host {} holds a {name} that never was", self.index);
            self.process_mut().ledger.found(name, version);
            self.feed(
                out,
                Input::FileFound { path: name.into(), version, known: Known::default() },
            );
        }
        let names: Vec<_> = self.wishes.iter().copied().collect();
        self.process_mut().ledger.wishes.extend(&names);
        self.feed(out, Input::Want(&names));
    }

    /// It, with what it touches, to run its process.
    pub(crate) fn at<'a>(&'a mut self, out: &'a mut Outside) -> At<'a> {
        At { host: self, out }
    }

    /// Gives the node of its process an input.
    fn feed(&mut self, out: &mut Outside, input: Input<'_>) {
        self.at(out).feed(input);
    }

    fn is_being_written(&self, name: &FileName) -> bool {
        self.being_written.contains(name)
    }

    /// Something happened to a name in the folder, of which the kernel will tell.
    pub(crate) fn folder_changes(&mut self, out: &mut Outside, name: FileName, sight: Sight) {
        let lost = out.hits(Fault::FolderChangesLost);
        let what = match lost {
            true => Happening::FolderChangesLost,
            false => Happening::FolderChanged(name, sight),
        };
        // Sooner than a file counts as settled: the loop hears of changes before all else.
        self.last_change_us = self.last_change_us.max(out.now_us + out.some_us(10..=5000));
        out.put(self.last_change_us - out.now_us, self.index, self.incarnation, what);
    }

    /// Whether its process has offered every file of the folder since then.
    pub(crate) fn has_offered_all(&self, since_us: u64) -> bool {
        let Some(process) = self.process.as_ref().filter(|_| self.is_peer()) else { return true };
        let mut files = self.disk.complete_files().into_iter();
        files.all(|(name, _)| process.ledger.has_offered(&name, since_us))
    }

    /// What a look at a name shows.
    pub(crate) fn seen(&self, name: FileName, sight: Sight) -> Input<'static> {
        match self.disk.version(&name) {
            Some(version) => Input::FileSeen { path: name.into(), version, sight },
            None => Input::FileGone { path: name.into() },
        }
    }

    fn on_changes_lost(&mut self, out: &mut Outside) {
        self.feed(out, Input::ChangesMissed { below: None });
        for (name, _) in self.disk.complete_files() {
            let input = self.seen(name, Sight::Looked);
            self.feed(out, input);
        }
    }

    /// A liar does nothing more.
    pub(crate) fn fall_silent(&mut self, out: &mut Outside) {
        if let (Some(process), Role::Liar(_)) = (&mut self.process, &self.role) {
            process.held.node.fall_silent();
            self.at(out).drain(&[]);
            self.settle(out);
        }
    }

    /// Its process dies.
    pub(crate) fn die(&mut self, out: &mut Outside, death: Death) {
        let Some(process) = self.process.take() else { return };
        out.note(|| format!("host {} dies: {death:?}", self.index));
        for connection in process.held.connections.values() {
            let Line::Socket(socket) = &connection.what else { continue };
            match death {
                Death::Killed => out.finish(socket.key, socket.side, false),
                Death::PowerCut => out.vanish(socket.key, socket.side, self.index),
            }
        }
        match death {
            Death::Killed => self.disk.process_died(),
            Death::PowerCut => {
                self.has_power = false;
                self.disk.power_cut(&mut out.rng);
                // Their writers died with the machine: what is there is all there will be.
                for name in std::mem::take(&mut self.being_written) {
                    if let Some(digest) = self.disk.digest(&name) {
                        out.truth.add(name, digest);
                    }
                }
            }
        }
        self.frozen_until_us = 0;
        self.postponed.clear();
    }

    /// Nothing is waited for, or remembered, for longer than it may be.
    pub(crate) fn check_patience(&mut self, now_us: u64) {
        let (Some(process), Some(limits)) = (&mut self.process, self.role.limits()) else { return };
        if self.frozen_until_us > now_us {
            return;
        }
        let clock = Clock { now_us, awake_since_us: self.awake_since_us };
        let is_hashing = self.disk.hashes_under_way() > 0;
        for connection in process.held.connections.values_mut() {
            let is_busy = is_hashing || connection.flow == Flow::Full;
            let Line::Socket(socket) = &mut connection.what else { continue };
            socket.patience.check(&clock, limits, &socket.conversation, is_busy);
        }
        if let Role::Peer(settings) = &self.role {
            process.ledger.remembers(clock.memory_begins_us(settings.offer_interval));
        }
    }

    /// When its process wants to be woken.
    pub(crate) fn timer_at_us(&self) -> Option<u64> {
        let (_, wake_us) = self.process.as_ref()?.timer_us?;
        // What came in while it stood still is served before its timers.
        Some(if wake_us <= self.frozen_until_us { self.frozen_until_us + 1000 } else { wake_us })
    }

    /// Its timer is due.
    pub(crate) fn on_timer(&mut self, out: &mut Outside) {
        self.process_mut().timer_us = None;
        out.trace.fold(0x71);
        self.at(out).wake();
        self.settle(out);
    }

    /// Something happens to its process.
    pub(crate) fn happen(&mut self, out: &mut Outside, what: Happening) {
        match what {
            Happening::Accept(key) => self.on_accept(out, key),
            Happening::Connected(key) => self.on_connected(out, key),
            Happening::Refused(key) => self.on_gone(out, key, ErrorKind::ConnectionRefused),
            Happening::Readable(key) => self.on_readable(out, key),
            Happening::Writable(key) => {
                let process = self.process_mut();
                if let Some(id) = process.ids.get(&key) {
                    process.held.has_room(*id);
                }
            }
            Happening::Datagram { port, from, bytes } => {
                let bytes = &bytes;
                let input = match port {
                    Port::Offers => Input::Datagram { from, bytes },
                    Port::Beacons => Input::Beacon { from, bytes },
                };
                self.feed(out, input);
            }
            Happening::HashSlice(name, kind, path, number) => {
                self.on_hash_slice(out, (name, kind), path, number);
            }
            Happening::SourceOpened(file) => {
                if let Some(version) = self.disk.source_version(file) {
                    let mut at = self.at(out);
                    at.answer_open(file, Ok(version));
                    at.drain(&[]);
                }
            }
            Happening::CommitGoesOn(file) => {
                let mut at = self.at(out);
                if let Some(path) = at.held().files.get(&file).map(|file| file.path.clone()) {
                    if let Some(result) = at.go_on_committing(file, &path) {
                        at.answer_commit(file, result);
                    }
                    at.drain(&[]);
                }
            }
            Happening::BlockHashed(file, block) => {
                let mut at = self.at(out);
                if at.held().files.contains_key(&file) {
                    let value = at.host.disk.block_value(file, block);
                    at.answer_hash_block(file, block, Ok(value));
                    at.drain(&[]);
                }
            }
            Happening::Want(name) => {
                self.process_mut().ledger.failed.remove(&name);
                self.process_mut().ledger.wishes.insert(name);
                match out.rng.bool() {
                    true => self.ask_for(out, name),
                    false => self.feed(out, Input::Want(&[name])),
                }
            }
            Happening::FolderChanged(name, sight) => {
                let input = self.seen(name, sight);
                self.feed(out, input);
            }
            Happening::FolderChangesLost => self.on_changes_lost(out),
            Happening::Stop => self.on_stop(out),
        }
        if self.process.is_some() {
            self.at(out).disturb();
            self.settle(out);
        }
    }

    fn on_accept(&mut self, out: &mut Outside, key: ConnectionKey) {
        let Some((from, _)) = out.network.addresses(key) else { return };
        let index = self.index;
        let conversation = match self.role {
            Role::Registry(_) => Conversation::registry(),
            Role::Peer(_) => Conversation::upload(),
            Role::Liar(_) | Role::Adversary(_) => Conversation::Unchecked,
        };
        let mut socket = Socket::new(out.now_us, key, Side::Acceptor, conversation);
        socket.patience.connected(out.now_us);
        let Some(id) = self.at(out).accept(from, Line::Socket(socket)) else {
            out.note(|| format!("host {index} refuses {key:?} from {from}"));
            return out.finish(key, Side::Acceptor, false);
        };
        out.note(|| format!("host {index} accepts {key:?} from {from} as {id:?}"));
        self.process_mut().ids.insert(key, id);
        out.wake_reader(key, Side::Acceptor, 0);
    }

    fn on_connected(&mut self, out: &mut Outside, key: ConnectionKey) {
        let process = self.process_mut();
        let Some(id) = process.ids.get(&key).copied() else { return };
        if let Some(socket) = process.socket(id) {
            socket.patience.connected(out.now_us);
        }
        self.feed(out, Input::Connected(id));
    }

    /// A connection is gone without our doing.
    pub(crate) fn on_gone(&mut self, out: &mut Outside, key: ConnectionKey, kind: ErrorKind) {
        if let Some(connection) = self.process_mut().ids.get(&key).copied() {
            self.feed(out, Input::Broken { connection, kind });
        }
    }

    fn on_readable(&mut self, out: &mut Outside, key: ConnectionKey) {
        let process = self.process_mut();
        let Some(id) = process.ids.get(&key).copied() else { return };
        let is_connected = process.held.connections[&id].is_connected;
        let Some(socket) = process.socket(id) else { return };
        let (side, has_ended) = (socket.side, socket.has_ended);
        out.network.woken(key, side);
        let readable = out.network.readable(key, side);
        if let Readable::Broken(kind) = readable {
            return self.on_gone(out, key, kind);
        }
        if has_ended || readable == Readable::Nothing || !is_connected {
            return;
        }
        let allowance_bytes = self.process_mut().held.read_allowance_bytes(id);
        let socket = self.process_mut().socket(id).expect("it is open");
        if allowance_bytes == 0 {
            socket.is_paused = true;
            return;
        }
        if readable == Readable::End {
            socket.has_ended = true;
            return self.feed(out, Input::ReadClosed(id));
        }
        let mut len_max = allowance_bytes.min(READ_BYTES_MAX);
        if out.hits(Fault::ReadPartial) {
            let piece_bytes_max = 1 << out.rng.u32(..15);
            len_max = out.rng.usize(1..=len_max.min(piece_bytes_max));
        }
        let mut bytes = Vec::new();
        out.read(key, side, len_max, &mut bytes);
        let has_message = socket.conversation.got(&bytes);
        let is_in_head = socket.conversation.is_in_head();
        socket.patience.read(out.now_us, bytes.len(), has_message, is_in_head);
        self.feed(out, Input::Received { connection: id, bytes: &bytes });
        if self.process_mut().held.connections.contains_key(&id) {
            out.wake_reader(key, side, 1);
        }
    }

    fn on_hash_slice(
        &mut self,
        out: &mut Outside,
        what: (FileName, HashKind),
        path: PathId,
        number: u64,
    ) {
        let (name, kind) = what;
        let Some(slice) = self.disk.hash_slice(what, number) else { return };
        let input = match slice {
            _ if out.hits(Fault::HashFailed) => {
                self.disk.end_hash(what);
                let error = some_error(&mut out.rng, "read");
                Input::HashFailed { path, kind, error }
            }
            Ok(Slice::Progress(version, hashed_bytes)) => {
                let delay_us = out.hash_slice_us();
                let what = Happening::HashSlice(name, kind, path, number);
                out.put(delay_us, self.index, self.incarnation, what);
                Input::HashProgress { path, kind, version, hashed_bytes }
            }
            Ok(Slice::Done(version, hash)) => {
                // Half a file may be hashed, but its digest is told to nobody.
                let is_half = self.is_being_written(&name);
                if let Hash::Sha256(digest) = &hash {
                    let is_true = out.truth.holds(&name, digest);
                    assert!(is_half || is_true, "{name} was hashed in two states");
                }
                Input::Hashed { path, version, hash }
            }
            Err(error) => Input::HashFailed { path, kind, error },
        };
        self.feed(out, input);
    }

    fn on_stop(&mut self, out: &mut Outside) {
        self.feed(out, Input::Stop(Signal::Terminate));
        self.settle(out);
        let is_stopped = self.outcome == Some(Outcome::Stopped(Signal::Terminate));
        assert!(is_stopped, "host {} was stopped and runs on", self.index);
    }

    /// The process, where there must be one.
    pub(crate) fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("something happens to a process")
    }
}
