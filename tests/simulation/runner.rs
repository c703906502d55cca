//! The process's side of the contract with its node: what the reactor does, done
//! with a made-up network and disk.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use kit::runner::{Answer, Committed, Held, Opened, Runner, SendError};
use p2pfs::content::{Content, FileError, HashKind, PathId, Sight, Version};
use p2pfs::limits::OFFER_BYTES;
use p2pfs::node::{Action, CloseHow, ConnectionId, Input, Outcome, Report};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::FilePath;
use p2pfs::wire::v0::{FileName, Offer};
use p2pfs::wire::v1::Value;

use crate::conversation::{Conversation, Speaker};
use crate::disk::{is_passing, some_error};
use crate::faults::Fault;
use crate::host::{Death, Host, Role};
use crate::network::Side;
use crate::outside::Outside;
use crate::process::{Line, Process, Program, Socket};
use crate::queue::{Event, Happening, Port};

/// Ids that are gone, of those that may be heard of once more.
const GONE_IDS_MAX: usize = 8;
/// File data read and sent in one go.
const SEND_BYTES_MAX: usize = 64 * 1024;

/// A host on which a process runs, and what it touches.
pub(crate) struct At<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) out: &'a mut Outside,
}

impl At<'_> {
    fn process(&mut self) -> &mut Process {
        self.host.process_mut()
    }

    /// Something fails, if this fault strikes.
    fn strikes(&mut self, fault: Fault, call: &'static str) -> Result<(), FileError> {
        match self.out.hits(fault) {
            true => Err(some_error(&mut self.out.rng, call)),
            false => Ok(()),
        }
    }

    fn put(&mut self, after_us: u64, what: Happening) {
        self.out.put(after_us, self.host.index, self.host.incarnation, what);
    }

    /// The answer of a slow disk.
    fn put_later(&mut self, what: Happening) {
        let delay_us = self.out.some_us(1000..=2_000_000);
        self.put(delay_us, what);
    }

    /// Takes a commit as far as it goes now.
    pub(crate) fn go_on_committing(&mut self, file: FileId, path: &FilePath) -> Committed {
        loop {
            let step = self.strikes(Fault::CommitFailed, "fsync");
            match step.and_then(|()| self.host.disk.go_on_committing(file)) {
                Err(error) => return Some(Err(error)),
                Ok(Some(version)) => return Some(Ok((path.clone(), version))),
                Ok(None) if self.out.hits(Fault::DiskSlow) => {
                    self.put_later(Happening::CommitGoesOn(file));
                    return None;
                }
                Ok(None) => {}
            }
        }
    }

    /// What an event loop does to its node on a bad day: wake it for nothing, tell it
    /// of what is long gone.
    pub(crate) fn disturb(&mut self) {
        if self.out.hits(Fault::WokenForNothing) {
            self.wake();
        }
        if !(self.out.hits(Fault::EventStale) && self.host.is_peer()) {
            return;
        }
        let Held { gone_connections, gone_files, .. } = &self.host.process_mut().held;
        let rng = &mut self.out.rng;
        let connection = rng.choice(gone_connections.iter().rev().take(GONE_IDS_MAX)).copied();
        let file = rng.choice(gone_files.iter().rev().take(GONE_IDS_MAX)).copied();
        if let Some(connection) = connection {
            let kind = ErrorKind::ConnectionReset;
            let input = match self.out.rng.u32(..4) {
                0 => Input::Connected(connection),
                1 => Input::Received { connection, bytes: b"R" },
                2 => Input::ReadClosed(connection),
                _ => Input::Broken { connection, kind },
            };
            self.feed_stale(input);
        }
        if let Some(file) = file {
            let input = match self.out.rng.bool() {
                true => Input::Written { file, len_bytes: 1 },
                false => Input::FileFailed { file, error: FileError::Changed },
            };
            self.feed_stale(input);
        }
    }

    /// The network's side of a connection is over.
    fn let_go(&mut self, line: Line) -> Option<Socket> {
        let Line::Socket(socket) = line else { return None };
        self.process().ids.remove(&socket.key);
        Some(socket)
    }
}

impl Runner for At<'_> {
    type Node = dyn Program;
    type Connection = Line;

    fn held(&self) -> &Held<dyn Program, Line> {
        &self.host.process.as_ref().expect("it runs").held
    }

    fn held_mut(&mut self) -> &mut Held<dyn Program, Line> {
        &mut self.process().held
    }

    fn now(&self) -> Instant {
        self.out.now()
    }

    fn known(&self) -> usize {
        let ledger = &self.host.process.as_ref().expect("it runs").ledger;
        ledger.shared.len() + ledger.wishes.len()
    }

    fn note_input(&mut self, input: &Input<'_>) {
        let Self { host, out } = self;
        let index = host.index;
        out.trace.fold_kind(input);
        match input {
            Input::Received { connection, bytes } => {
                out.trace.fold(connection.to_bits());
                out.trace.fold_bytes(bytes);
                out.note(|| format!("host {index} gets {} bytes on {connection:?}", bytes.len()));
            }
            Input::Datagram { from, bytes } | Input::Beacon { from, bytes } => {
                out.trace.fold_bytes(bytes);
                out.note(|| format!("host {index} hears {} bytes from {from}", bytes.len()));
            }
            _ => out.note(|| format!("host {index} is told {input:?}")),
        }
        let Process { ledger, held, .. } = host.process_mut();
        ledger.learns(out.now_us, input, held);
        match input {
            Input::Committed { file, path, version } => {
                if let Some(name) = path.name() {
                    ledger.committed(*file, name, *version);
                    host.folder_changes(out, name, Sight::Closed);
                }
            }
            Input::FileFailed { file, error } => {
                if host.disk.is_kept_after(*file, error) {
                    host.disk.keep(*file);
                }
                self.discard(*file);
            }
            _ => {}
        }
    }

    fn note_action(&mut self, action: &Action) {
        let index = self.host.index;
        self.out.trace.fold_kind(action);
        match action {
            Action::Broadcast(bytes) => {
                self.out.trace.fold_bytes(bytes);
                self.out.note(|| format!("host {index} offers {:?}", Offer::decode(bytes)));
            }
            _ => self.out.note(|| format!("host {index} does {action:?}")),
        }
    }

    fn broadcast(&mut self, datagram: &[u8; OFFER_BYTES]) {
        let (id, now_us) = (self.host.role.id(), self.out.now_us);
        if self.host.is_honest() {
            self.process().ledger.offers(now_us, id, datagram);
        }
        let datagram = datagram.to_vec();
        self.out.queue.put(now_us, Event::Broadcast(self.host.index, Port::Offers, datagram));
    }

    fn send_beacon(&mut self, _from: Option<Ipv4Addr>, datagram: &[u8]) {
        self.out.trace.fold_bytes(datagram);
        let event = Event::Broadcast(self.host.index, Port::Beacons, datagram.to_vec());
        self.out.queue.put(self.out.now_us, event);
    }

    fn dial(&mut self, id: ConnectionId, to: SocketAddrV4) -> Line {
        let Self { host, out } = self;
        // An address can be changed on its way from the registry into our own.
        let may_be_wrong = out.faults.has(Fault::BitFlipped);
        assert!(to != host.address || may_be_wrong, "host {} calls itself", host.index);
        let mut from = host.address;
        from.set_port(30_000 + out.rng.u16(..30_000));
        let key = out.dial(host.index, host.incarnation, from, to);
        let conversation = match host.is_honest() {
            true => Conversation::Silent,
            false => Conversation::Unchecked,
        };
        host.process_mut().ids.insert(key, id);
        Line::Socket(Socket::new(out.now_us, key, Side::Dialer, conversation))
    }

    fn close(&mut self, line: Line, how: CloseHow, reason: CloseReason) {
        let line = match line {
            Line::Program(client) => return client.check_closed(reason),
            line @ Line::Socket(_) => line,
        };
        if let (CloseReason::TimedOut(timer), true) = (reason, self.host.is_honest()) {
            self.process().ledger.timeouts.push(timer);
            self.out.faults.count_deadline(timer);
        }
        let Some(socket) = self.let_go(line) else { return };
        socket.conversation.closes(how);
        match how {
            CloseHow::Finish => self.out.finish(socket.key, socket.side, true),
            CloseHow::Reset => self.out.reset(socket.key, socket.side),
        }
    }

    fn lose(&mut self, line: Line) {
        if let Some(socket) = self.let_go(line) {
            self.out.reset(socket.key, socket.side);
        }
    }

    fn send(&mut self, id: ConnectionId, what: Transmit<'_>) -> Result<usize, SendError> {
        let mut data = Vec::new();
        let piece = match what {
            Transmit::Bytes { bytes, .. } => bytes,
            Transmit::File { file, offset, len_bytes } => {
                let len = (len_bytes as usize).min(SEND_BYTES_MAX);
                let result = self.strikes(Fault::ReadFailed, "read");
                let result =
                    result.and_then(|()| self.host.disk.read(file, offset, len, &mut data));
                result.map_err(SendError::File)?;
                &data
            }
        };
        let Self { host, out } = self;
        let process = host.process.as_mut().expect("it runs");
        let socket = match process.held.what_mut(id).expect("it is open") {
            Line::Program(client) => return Ok(client.hear(out, piece)),
            Line::Socket(socket) => socket,
        };
        let len = out.send(socket.key, socket.side, piece).map_err(SendError::Broken)?;
        if len > 0 {
            let speaker = Speaker {
                id: host.role.id(),
                port: host.address.port(),
                ledger: &process.ledger,
                truth: &out.truth,
            };
            socket.conversation.sent(&speaker, &piece[..len]);
            socket.patience.sent(out.now_us);
            out.trace.fold_bytes(&piece[..len]);
        }
        Ok(len)
    }

    fn open_source(&mut self, file: FileId, path: &FilePath) -> Answer<Version> {
        let name = path.name().expect("a name");
        self.process().ledger.opens_source(&name);
        let opened = self.strikes(Fault::OpenFailed, "open");
        let opened = opened.and_then(|()| self.host.disk.open_source(file, &name));
        if opened.is_ok() && self.out.hits(Fault::DiskSlow) {
            self.put_later(Happening::SourceOpened(file));
            return None;
        }
        Some(opened)
    }

    fn open_partial_source(&mut self, file: FileId, partial: FileId) -> Answer<Version> {
        let opened = self.strikes(Fault::OpenFailed, "open");
        Some(opened.map(|()| self.host.disk.open_partial_source(file, partial)))
    }

    fn stat_source(&mut self, file: FileId) -> Result<Version, FileError> {
        self.host.disk.source_version(file).ok_or(FileError::Missing)
    }

    fn create_partial(&mut self, file: FileId, name: FileName) -> Result<(), FileError> {
        self.process().ledger.creates(file, name);
        self.strikes(Fault::CreateFailed, "create")?;
        self.host.disk.create(self.out.now_us, file, name)
    }

    fn open_partial(&mut self, file: FileId, path: &FilePath, content: Content) -> Opened {
        let opened = self.strikes(Fault::CreateFailed, "create");
        let now_us = self.out.now_us;
        Some(opened.and_then(|()| self.host.disk.open_partial(now_us, file, path, content)))
    }

    fn write(&mut self, file: FileId, bytes: &[u8], offset: u64) -> Result<(), FileError> {
        self.strikes(Fault::WriteFailed, "write")?;
        self.host.disk.write(self.out.now_us, file, bytes, offset);
        Ok(())
    }

    fn hash_block(&mut self, file: FileId, block: u32) -> Answer<Value> {
        if let Err(error) = self.strikes(Fault::ReadFailed, "read") {
            return Some(Err(error));
        }
        let delay_us = self.out.hash_slice_us();
        self.put(delay_us, Happening::BlockHashed(file, block));
        None
    }

    fn keep(&mut self, file: FileId) {
        self.host.disk.keep(file);
    }

    fn make_folder(&mut self, path: &FilePath) -> Result<(), FileError> {
        self.strikes(Fault::CreateFailed, "create")?;
        self.host.disk.make_folder(path)
    }

    fn copy(
        &mut self,
        file: FileId,
        from: &FilePath,
        path: &FilePath,
        content: Content,
    ) -> Committed {
        let copied = self.strikes(Fault::ReadFailed, "read");
        let now_us = self.out.now_us;
        match copied.and_then(|()| self.host.disk.copy(now_us, file, from, path, content)) {
            Ok(()) => self.go_on_committing(file, path),
            Err(error) => Some(Err(error)),
        }
    }

    fn commit(&mut self, file: FileId, path: &FilePath) -> Committed {
        if let Some(content) = self.host.disk.content(file) {
            let id = self.host.disk.id_of(file);
            assert_eq!(id, Some(content.id), "commits {path} with other bytes");
            return self.go_on_committing(file, path);
        }
        let name = path.name().expect("a name");
        let simulates_failure = match &self.host.role {
            Role::Peer(settings) => settings.simulate_checksum_failure,
            Role::Registry(_) | Role::Liar(_) | Role::Adversary(_) => false,
        };
        self.process().ledger.commits(&name, simulates_failure);
        let digest = self.host.disk.partial_digest(file).expect("a partial file that is open");
        assert!(self.out.truth.holds(&name, &digest), "commits a {name} that never was");
        self.go_on_committing(file, path)
    }

    fn discard(&mut self, file: FileId) {
        self.process().ledger.closed(file);
        if let Some(name) = self.host.disk.discard(file) {
            // It had its final name already, and may have been observed under it.
            self.host.folder_changes(self.out, name, Sight::Closed);
        }
    }

    fn hash(&mut self, id: PathId, path: &FilePath, kind: HashKind) -> Result<(), FileError> {
        let name = path.name().expect("a name");
        let ledger = &self.process().ledger;
        assert!(ledger.shared.contains(&name), "hashes {name}, which it has not");
        let is_known = kind == HashKind::Sha256 && ledger.knows_digest(&name);
        assert!(!is_known, "hashes {name}, which it has fetched, and nothing speaks against that");
        self.strikes(Fault::OpenFailed, "open")?;
        let number = self.host.disk.begin_hash(self.out.now_us, name, kind)?;
        let delay_us = self.out.hash_slice_us();
        self.put(delay_us, Happening::HashSlice(name, kind, id, number));
        Ok(())
    }

    fn look(&mut self, path: &FilePath) -> Option<Version> {
        self.host.disk.version(&path.name()?)
    }

    fn report(&mut self, report: &Report, path: Option<FilePath>) {
        let name = path.map(|path| path.name().expect("a name"));
        let Process { ledger, ended, .. } = self.process();
        if let Report::Verified { .. } | Report::AlreadyThere { .. } | Report::FetchFailed { .. } =
            report
        {
            ended.extend(name);
        }
        let has = |names: &BTreeSet<FileName>| name.is_some_and(|name| names.contains(&name));
        match report {
            Report::Registered { .. } => ledger.was_registered = true,
            Report::OfferSeen { peer, .. } => _ = ledger.offering.insert(*peer),
            Report::PeerGone { peer } => _ = ledger.offering.remove(peer),
            Report::Verified { .. } => {
                assert!(has(&ledger.committed), "{name:?} is called verified too early");
            }
            Report::AlreadyThere { .. } => {
                assert!(has(&ledger.shared), "{name:?} is called there and is not");
            }
            Report::FetchFailed { .. } => ledger.failed.extend(name),
            Report::UploadStarted { .. } => name.iter().for_each(|name| ledger.sends(name)),
            Report::FileLost { error, .. } => {
                name.iter().for_each(|name| _ = ledger.shared.remove(name));
                // Out of descriptors is no reason: that passes.
                assert!(!is_passing(error), "{name:?} is lost for {error}");
                // Of one that comes back the kernel tells.
                ledger.has_lost_a_file |= *error != FileError::Missing;
            }
            _ => {}
        }
    }
}

impl Host {
    /// What a turn of the loop ends with: whatever can be sent is sent, the timer is
    /// set, and a process that has ended is gone.
    pub(crate) fn settle(&mut self, out: &mut Outside) {
        let Some(process) = &mut self.process else { return };
        process.held.node.lies_told().into_iter().for_each(|lie| out.faults.count(lie));
        while let Some(id) = self.process_mut().held.next_ready() {
            self.at(out).pump(id);
            self.resume_reading(out, id);
        }
        self.check_programs();
        let process = self.process.as_mut().expect("it settles");
        if process.held.outcome.is_some() {
            return self.exit(out);
        }
        let (entries, connections) = (process.held.node.entries(), process.connections());
        assert!(entries <= Some(connections), "{entries:?} entries of {connections} connections");
        let deadline_us = process.held.node.poll_timeout().map(|at| out.time_us(at));
        if process.timer_us.map(|(deadline_us, _)| deadline_us) != deadline_us {
            process.timer_us = deadline_us.map(|deadline_us| {
                let mut wake_us = deadline_us.max(out.now_us);
                if out.hits(Fault::TimerLate) {
                    wake_us += out.some_us(1..=50_000);
                }
                (deadline_us, wake_us)
            });
        }
    }

    /// What was sent may have made room for what can be read.
    fn resume_reading(&mut self, out: &mut Outside, id: ConnectionId) {
        let process = self.process_mut();
        let allowance_bytes = process.held.node.read_allowance_bytes(id);
        if let Some(socket) = process.socket(id)
            && socket.is_paused
            && allowance_bytes > 0
        {
            socket.is_paused = false;
            out.wake_reader(socket.key, socket.side, 0);
        }
    }

    /// The process has ended by itself.
    fn exit(&mut self, out: &mut Outside) {
        let process = self.process.as_ref().expect("it exits");
        let outcome = process.held.outcome.clone().expect("it exits");
        assert_eq!(process.connections(), 0, "connections are left at the end");
        assert_eq!(self.disk.open_files().next(), None, "files are left open at the end");
        let is_missing = |name: &&FileName| !self.disk.has(name);
        let missing = process.ledger.wishes.iter().filter(is_missing).count();
        match &outcome {
            Outcome::AllDone => assert_eq!(missing, 0, "it calls done what is not there"),
            Outcome::SomeFailed { failed, done, .. } => {
                assert_eq!(*failed, process.ledger.failed.len(), "wrong count of failed wishes");
                assert_eq!(failed + done, process.ledger.wishes.len(), "wrong count of wishes");
            }
            Outcome::MaybeMore { .. } => panic!("doubts, though it has no pattern"),
            Outcome::Refused(_) => assert!(!process.ledger.was_registered, "gives up too early"),
            Outcome::NoSuchHost { .. } => panic!("the registry has an address"),
            Outcome::Stopped(_) => {}
        }
        self.outcome = Some(outcome);
        self.die(out, Death::Killed);
    }
}
