//! The process's side of the contract with its node: what the reactor does, done
//! with a made-up network and disk.

use std::collections::BTreeSet;

use p2pfs::content::{Digest, FileError, PathId, Sight};
use p2pfs::node::{Action, Input, Outcome, Report};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::v0::FileName;

use crate::checks::{self, Conversation, Speaker};
use crate::disk::{is_passing, some_error};
use crate::faults::Fault;
use crate::host::{Death, Host, Role};
use crate::network::Side;
use crate::outside::Outside;
use crate::process::{Program, Socket};
use crate::queue::{Event, Happening};

/// Actions after one input before it is taken for a livelock.
const ACTIONS_AT_ONCE_MAX: u32 = 100_000;
/// File data read and sent in one go.
const SEND_BYTES_MAX: usize = 64 * 1024;

impl Host {
    /// Gives the node an input and carries out what it wants done.
    pub(crate) fn feed(&mut self, out: &mut Outside, input: Input<'_>) {
        let received = match &input {
            Input::Received { bytes, .. } => *bytes,
            _ => &[],
        };
        self.tell(out, input);
        self.drain(out, received);
    }

    /// Gives the node an input.
    fn tell(&mut self, out: &mut Outside, input: Input<'_>) {
        fold_input(out, self.index, &input);
        let now = out.now();
        let Some(process) = &mut self.process else { return };
        if let Input::Datagram { bytes, .. } = &input {
            process.ledger.hears(out.now_us, bytes);
        }
        process.ledger.learns(out.now_us, &input, process.program.node().paths());
        if process.has_exited.is_none() {
            process.program.node_mut().handle(now, input);
        }
    }

    /// Tells the node the time.
    pub(crate) fn handle_timeout(&mut self, out: &mut Outside) {
        let now = out.now();
        let process = self.process_mut();
        if process.has_exited.is_none() {
            process.program.node_mut().handle_timeout(now);
            self.drain(out, &[]);
        }
    }

    /// Carries out what the node wants done, until it wants nothing more.
    pub(crate) fn drain(&mut self, out: &mut Outside, received: &[u8]) {
        let mut count = 0;
        while let Some(action) = self.process_mut().program.node_mut().poll_action() {
            out.note(|| format!("host {} does {}", self.index, shown(&action)));
            out.trace.fold(self.index as u64);
            self.carry_out(out, action, received);
            count += 1;
            assert!(count < ACTIONS_AT_ONCE_MAX, "host {} acts for ever", self.index);
        }
        self.process_mut().just_failed.clear();
    }

    fn carry_out(&mut self, out: &mut Outside, action: Action, received: &[u8]) {
        let host = self.index;
        let id = self.role.id();
        let process = self.process_mut();
        assert_eq!(process.has_exited, None, "host {host} acts after its end: {action:?}");
        match action {
            Action::Broadcast(bytes) => {
                if process.program.is_honest() {
                    process.ledger.offers(out.now_us, id, &bytes);
                }
                out.trace.fold_bytes(&bytes);
                out.queue.put(out.now_us, Event::Broadcast(host, bytes.to_vec()));
            }
            Action::Send { .. } => panic!("host {host} does not broadcast what it sends"),
            Action::DialProgram { .. } => panic!("host {host} asks no program"),
            Action::Describe { connection, .. } => {
                self.feed(out, Input::Described { connection, text: "well" });
            }
            Action::Dial { connection, to } => self.dial(out, connection, to),
            Action::Transmit(connection) => {
                out.trace.fold(connection.to_bits());
                let is_there = process.sockets.contains_key(&connection);
                let is_program = process.programs.contains_key(&connection);
                assert!(is_there || is_program, "{connection:?} is gone");
                process.to_pump.insert(connection);
            }
            Action::Close { connection, reason, .. }
                if process.programs.contains_key(&connection) =>
            {
                self.close_program(connection, reason);
            }
            Action::Close { connection, how, reason } => {
                if let (CloseReason::TimedOut(timer), true) = (reason, process.program.is_honest())
                {
                    process.ledger.timeouts.push(timer);
                    out.faults.count_deadline(timer);
                }
                out.trace.fold(connection.to_bits());
                assert!(process.sockets.contains_key(&connection), "{connection:?} is gone");
                let socket = process.remove_socket(connection);
                socket.conversation.closes(how);
                match how {
                    p2pfs::node::CloseHow::Finish => out.finish(socket.key, socket.side, true),
                    p2pfs::node::CloseHow::Reset => out.reset(socket.key, socket.side),
                }
            }
            Action::OpenSource { file, path } => {
                let name = self.name_of(path);
                self.open_source(out, file, name);
            }
            Action::CreatePartial { file, path } => {
                let name = self.name_of(path);
                self.create_partial(out, file, name);
            }
            Action::Write { file, range, offset } => {
                let bytes = received.get(range).expect("writes what did not come");
                self.write(out, file, offset, bytes);
            }
            Action::Commit(file) => self.begin_commit(out, file),
            Action::Discard(file) => {
                if !process.just_failed.contains(&file) {
                    let is_open = self.disk.open_files().any(|open| open == file);
                    assert!(is_open, "{file:?} is discarded and not open");
                    self.disk.discard(file);
                    let process = self.process_mut();
                    process.ledger.closed(file);
                    process.file_is_gone(file);
                }
            }
            Action::Hash { path, .. } => self.hash(out, path),
            Action::Look(path) => {
                let input = self.seen(self.name_of(path), Sight::Looked);
                self.tell(out, input);
            }
            Action::Report(report) => self.note_report(&report),
            Action::Exit(outcome) => self.process_mut().has_exited = Some(outcome),
        }
    }

    fn dial(
        &mut self,
        out: &mut Outside,
        connection: p2pfs::node::ConnectionId,
        to: std::net::SocketAddrV4,
    ) {
        out.trace.fold(u64::from(to.port()));
        // An address can be changed on its way from the registry into our own.
        let may_be_wrong = out.faults.has(Fault::BitFlipped);
        assert!(to != self.address || may_be_wrong, "host {} calls itself", self.index);
        let (host, incarnation) = (self.index, self.incarnation);
        let mut from = self.address;
        from.set_port(30_000 + out.rng.u16(..30_000));
        let key = out.dial(host, incarnation, from, to);
        let process = self.process_mut();
        let conversation = match process.program {
            Program::Liar(_) => Conversation::Unchecked,
            _ => Conversation::Silent,
        };
        process.add_socket(connection, Socket::new(out.now_us, key, Side::Dialer, conversation));
        let count = process.connections();
        if let Some(limits) = self.role.limits() {
            checks::connection_counts(limits, count, None);
        }
    }

    fn open_source(&mut self, out: &mut Outside, file: FileId, name: FileName) {
        let process = self.process_mut();
        process.ledger.opens_source(file, name);
        if out.faults.hits(&mut out.rng, Fault::OpenFailed) {
            let error = some_error(&mut out.rng, "open");
            return self.fail(out, file, error);
        }
        match self.disk.open_source(file, &name) {
            Err(error) => self.fail(out, file, error),
            Ok(_) if out.faults.hits(&mut out.rng, Fault::DiskSlow) => {
                let delay_us = out.some_us(1000..=2_000_000);
                out.put(delay_us, self.index, self.incarnation, Happening::SourceOpened(file));
            }
            Ok(version) => self.tell(out, Input::Opened { file, version }),
        }
    }

    fn create_partial(&mut self, out: &mut Outside, file: FileId, name: FileName) {
        self.process_mut().ledger.creates(file, name);
        let result = if out.faults.hits(&mut out.rng, Fault::CreateFailed) {
            Err(some_error(&mut out.rng, "create"))
        } else {
            self.disk.create(out.now_us, file, name)
        };
        if let Err(error) = result {
            self.fail(out, file, error);
        }
    }

    fn write(&mut self, out: &mut Outside, file: FileId, offset: u64, bytes: &[u8]) {
        if self.process_mut().just_failed.contains(&file) {
            return;
        }
        self.process_mut().ledger.writes(file, offset, bytes.len());
        if out.faults.hits(&mut out.rng, Fault::WriteFailed) {
            let error = some_error(&mut out.rng, "write");
            return self.fail(out, file, error);
        }
        self.disk.write(out.now_us, file, bytes);
        self.tell(out, Input::Written { file, len_bytes: bytes.len() });
    }

    fn begin_commit(&mut self, out: &mut Outside, file: FileId) {
        if self.process_mut().just_failed.contains(&file) {
            return;
        }
        let simulates_failure = match &self.role {
            Role::Peer(settings) => settings.simulate_checksum_failure,
            Role::Registry(_) | Role::Liar(_) => false,
        };
        let name = self.process_mut().ledger.commits(file, simulates_failure);
        let digest = self.disk.partial_digest(file).expect("a partial file that is open");
        assert!(out.truth.holds(&name, &digest), "commits a {name} that never was");
        self.commit(out, file);
    }

    /// Takes a commit as far as it goes now.
    pub(crate) fn commit(&mut self, out: &mut Outside, file: FileId) {
        loop {
            if out.faults.hits(&mut out.rng, Fault::CommitFailed) {
                let error = some_error(&mut out.rng, "fsync");
                return self.fail(out, file, error);
            }
            match self.disk.go_on_committing(file) {
                Err(error) => return self.fail(out, file, error),
                Ok(Some(version)) => {
                    let process = self.process_mut();
                    let name = process.ledger.committed(file, version);
                    process.file_is_gone(file);
                    self.tell(out, Input::Committed { file, path: name.into(), version });
                    return self.folder_changes(out, name, Sight::Closed);
                }
                Ok(None) if out.faults.hits(&mut out.rng, Fault::DiskSlow) => {
                    let delay_us = out.some_us(1000..=2_000_000);
                    let what = Happening::CommitGoesOn(file);
                    return out.put(delay_us, self.index, self.incarnation, what);
                }
                Ok(None) => {}
            }
        }
    }

    /// Something with an open file failed: it is closed, and the node is told.
    fn fail(&mut self, out: &mut Outside, file: FileId, error: FileError) {
        let gone = self.disk.discard(file);
        let process = self.process_mut();
        process.ledger.closed(file);
        process.file_is_gone(file);
        process.just_failed.push(file);
        self.tell(out, Input::FileFailed { file, error });
        if let Some(name) = gone {
            // It had its final name already, and may have been observed under it.
            self.folder_changes(out, name, Sight::Closed);
        }
    }

    fn hash(&mut self, out: &mut Outside, path: PathId) {
        let name = self.name_of(path);
        let shares = self.process_mut().ledger.shared.contains(&name);
        assert!(shares, "hashes {name}, which it has not");
        let is_known = self.process_mut().ledger.knows_digest(&name);
        assert!(!is_known, "hashes {name}, which it has fetched and which has not changed");
        let begun = if out.faults.hits(&mut out.rng, Fault::OpenFailed) {
            Err(some_error(&mut out.rng, "open"))
        } else {
            self.disk.begin_hash(out.now_us, name)
        };
        match begun {
            Ok(number) => {
                let delay_us = out.hash_slice_us();
                let what = Happening::HashSlice(name, path, number);
                out.put(delay_us, self.index, self.incarnation, what);
            }
            Err(error) => self.tell(out, Input::HashFailed { path, error }),
        }
    }

    fn note_report(&mut self, report: &Report) {
        let name = report.path().map(|path| self.name_of(path));
        let process = self.process.as_mut().expect("it reports");
        if let Report::Verified { .. } | Report::AlreadyThere { .. } | Report::FetchFailed { .. } =
            report
        {
            process.ended.extend(name);
        }
        let ledger = &mut process.ledger;
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

    /// What a turn of the loop ends with: whatever can be sent is sent, the timer is
    /// set, and a process that has ended is gone.
    pub(crate) fn settle(&mut self, out: &mut Outside) {
        loop {
            let Some(process) = &mut self.process else { return };
            if let Program::Liar(liar) = &mut process.program {
                liar.told.drain(..).for_each(|lie| out.faults.count(lie));
            }
            if process.has_exited.is_some() {
                for id in process.programs.keys().copied().collect::<Vec<_>>() {
                    while self.pump_program(out, id) {}
                }
                self.check_programs();
                return self.exit(out);
            }
            let Some(id) = process.to_pump.pop_first() else { break };
            while self.pump(out, id) {}
            self.resume_reading(out, id);
        }
        self.check_programs();
        let process = self.process.as_mut().expect("it settles");
        for (id, socket) in &process.sockets {
            let waits = socket.is_connected && !socket.is_full;
            let is_silent = waits && process.program.node().transmit(*id).is_some();
            assert!(!is_silent, "has something to send on {id:?} and does not say so");
        }
        if let Program::Registry(registry) = &process.program {
            checks::entries(registry.len(), process.connections());
        }
        let deadline_us = process.program.node().poll_timeout().map(|at| out.time_us(at));
        if process.timer_us.map(|(deadline_us, _)| deadline_us) != deadline_us {
            process.timer_us = deadline_us.map(|deadline_us| {
                let mut wake_us = deadline_us.max(out.now_us);
                if out.faults.hits(&mut out.rng, Fault::TimerLate) {
                    wake_us += out.some_us(1..=50_000);
                }
                (deadline_us, wake_us)
            });
        }
    }

    /// Sends the next piece on a connection; whether there may be more to send.
    fn pump(&mut self, out: &mut Outside, id: p2pfs::node::ConnectionId) -> bool {
        let process = self.process.as_mut().expect("it settles");
        if process.programs.contains_key(&id) {
            return self.pump_program(out, id);
        }
        let Some(socket) = process.sockets.get_mut(&id) else { return false };
        if socket.is_full || !socket.is_connected || process.has_exited.is_some() {
            return false;
        }
        let mut piece = Vec::new();
        match process.program.node().transmit(id) {
            None => return false,
            Some(Transmit::Bytes { bytes, .. }) => {
                if process.program.is_honest() {
                    checks::pending_bytes(bytes.len());
                }
                piece.extend_from_slice(bytes);
            }
            Some(Transmit::File { file, offset, len_bytes }) => {
                let len = (len_bytes as usize).min(SEND_BYTES_MAX);
                let result = if out.faults.hits(&mut out.rng, Fault::ReadFailed) {
                    Err(some_error(&mut out.rng, "read"))
                } else {
                    self.disk.read(file, offset, len, &mut piece)
                };
                if let Err(error) = result {
                    self.fail(out, file, error);
                    self.drain(out, &[]);
                    return true;
                }
            }
        }
        let (key, side) = (socket.key, socket.side);
        match out.send(key, side, &piece) {
            Err(kind) => {
                self.on_gone(out, key, kind);
                false
            }
            Ok(0) => {
                socket.is_full = true;
                false
            }
            Ok(len) => {
                let id_of_peer = self.role.id();
                let speaker = Speaker {
                    id: id_of_peer,
                    port: self.address.port(),
                    ledger: &process.ledger,
                    truth: &out.truth,
                };
                socket.conversation.sent(&speaker, &piece[..len]);
                socket.patience.sent(out.now_us);
                out.trace.fold_bytes(&piece[..len]);
                process.program.node_mut().transmitted(out.now(), id, len);
                self.drain(out, &[]);
                true
            }
        }
    }

    /// What was sent may have made room for what can be read.
    fn resume_reading(&mut self, out: &mut Outside, id: p2pfs::node::ConnectionId) {
        let Some(process) = &mut self.process else { return };
        if let Some(socket) = process.sockets.get_mut(&id)
            && socket.is_paused
            && process.program.node().read_allowance_bytes(id) > 0
        {
            socket.is_paused = false;
            out.wake_reader(socket.key, socket.side, 0);
        }
    }

    /// The process has ended by itself: nothing may be left of it.
    fn exit(&mut self, out: &mut Outside) {
        let process = self.process.as_ref().expect("it exits");
        let outcome = process.has_exited.clone().expect("it exits");
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
            Outcome::Refused(_) => assert!(!process.ledger.was_registered, "gives up too early"),
            Outcome::Stopped(_) => {}
        }
        self.outcome = Some(outcome);
        self.die(out, Death::Killed);
    }
}

/// An action in one line.
fn shown(action: &Action) -> String {
    match action {
        Action::Broadcast(bytes) => {
            format!("Broadcast({:?})", p2pfs::wire::v0::Offer::decode(bytes))
        }
        other => format!("{other:?}"),
    }
}

fn fold_input(out: &mut Outside, host: usize, input: &Input<'_>) {
    out.note(|| match input {
        Input::Received { connection, bytes } => {
            format!("host {host} gets {} bytes on {connection:?}", bytes.len())
        }
        Input::Datagram { from, bytes } => {
            format!("host {host} hears {} bytes from {from}", bytes.len())
        }
        other => format!("host {host} is told {other:?}"),
    });
    let trace = &mut out.trace;
    trace.fold(host as u64);
    match input {
        Input::Datagram { bytes, .. } => trace.fold_bytes(bytes),
        Input::NotSent { .. } => trace.fold(13),
        Input::Described { .. } => trace.fold(14),
        Input::Connected(connection) => trace.fold(connection.to_bits() ^ 1),
        Input::Received { connection, bytes } => {
            trace.fold(connection.to_bits() ^ 2);
            trace.fold_bytes(bytes);
        }
        Input::ReadClosed(connection) => trace.fold(connection.to_bits() ^ 3),
        Input::Broken { connection, .. } => trace.fold(connection.to_bits() ^ 4),
        Input::Opened { file, version } => trace.fold(file.0 ^ version.size_bytes << 20 ^ 5),
        Input::Written { file, len_bytes } => trace.fold(file.0 ^ (*len_bytes as u64) << 20 ^ 6),
        Input::Committed { file, .. } => trace.fold(file.0 ^ 7),
        Input::FileFailed { file, .. } => trace.fold(file.0 ^ 8),
        Input::FileFound { path, version, .. } => {
            trace.fold_bytes(path.as_str().as_bytes());
            trace.fold(version.size_bytes);
        }
        Input::FileSeen { path, version, sight } => {
            trace.fold_bytes(path.as_str().as_bytes());
            trace.fold(version.size_bytes << 2 ^ *sight as u64);
        }
        Input::FileGone { path } => trace.fold_bytes(path.as_str().as_bytes()),
        Input::ChangesMissed => trace.fold(11),
        Input::FolderLost => trace.fold(12),
        Input::HashProgress { hashed_bytes, .. } => trace.fold(*hashed_bytes),
        Input::Hashed { digest: Digest(digest), .. } => trace.fold_bytes(digest),
        Input::HashFailed { .. } => trace.fold(13),
        Input::Want(names) => trace.fold(names.len() as u64 ^ 9),
        Input::WantMatching(patterns) => trace.fold(patterns.len() as u64 ^ 11),
        Input::Stop(_) => trace.fold(10),
    }
}
