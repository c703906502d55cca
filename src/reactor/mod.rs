//! The loop: one poll over every socket of the process, and the only place that
//! makes system calls and reads the clock.
//!
//! It decides nothing. Readiness becomes inputs of the node, the node's actions
//! become calls, and their outcomes become inputs again. One turn:
//!
//! 1. Poll: without waiting if work was left over, else until the next timer.
//! 2. Read the clock: this is the time of all that happens in this turn.
//! 3. Events only mark. Then what is marked is served round robin, each with a budget:
//!    signals, changes of the network and of the folder, connections, new connections (the
//!    control socket's, too), datagrams, hashing.
//! 4. Timers, after the input that had queued up: a busy host is no dead peer.
//! 5. Send what the connections have to send, before sleeping.
//! 6. Make files safe that came in whole, all at once. This waits for the disk; how long
//!    is counted. A call that opens, observes, reads or writes a file may wait
//!    for it too, but for a small piece.
//! 7. Show how the running transfers do, if it is time for it.
//!
//! Every socket is registered once, for both directions, edge-triggered: a mark is
//! cleared only when the kernel says `WouldBlock` or a read brings less than it could,
//! and no interest ever changes. An event for a connection that is gone carries an old
//! generation and finds nothing.

mod actions;
mod addresses;
mod broadcast_socket;
mod connection;
mod control_socket;
mod dial;
mod files;
mod follower;
mod listener;
mod loop_times;
mod network;
mod pacing;
mod resolver;
mod signals;
mod slices;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use log::Level;
use mio::{Events, Interest, Poll, Token};

pub use self::broadcast_socket::BroadcastSocket;
use self::connection::{Connection, Connections};
pub use self::control_socket::ControlSocket;
pub use self::files::Files;
pub use self::listener::Listener;
use self::loop_times::LoopTimes;
pub use self::network::{Network, interfaces};
use self::pacing::Pacing;
pub use self::pacing::RateLimits;
use self::resolver::Resolver;
pub use self::resolver::answer_if_asked;
pub use self::signals::Signals;
use crate::limits::{
    BEACON_BYTES_MAX, BEACONS_PER_TURN, OFFER_BYTES, POLL_TIMEOUT_MAX, TURN_BYTES, TURN_ITEMS,
};
use crate::node::{CloseHow, ConnectionId, Input, Node, Outcome, Snapshot};
use crate::storage;
use crate::ui::{Ui, Work};
use crate::wire::Shown;

/// Events that one poll reports: as many as a small peer has connections. Others are reported
/// by the next poll.
const POLL_EVENTS: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
const OFFERS: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);
const FOLDER: Token = Token(usize::MAX - 3);
const CONTROL: Token = Token(usize::MAX - 4);
const NETWORK: Token = Token(usize::MAX - 5);
const RESOLVER: Token = Token(usize::MAX - 6);
const BEACONS: Token = Token(usize::MAX - 7);

/// The sockets that a program has from its start on.
pub struct Sockets {
    /// The addresses that connections are made from, and offers sent.
    pub network: Network,
    /// When a transfer in which nothing moves is given up.
    pub progress_timeout: Duration,
    /// How fast all transfers together may be.
    pub rate_limits: RateLimits,
    /// Takes connections in.
    pub listener: Option<Listener>,
    /// Sends and hears offers.
    pub offers: Option<BroadcastSocket>,
    /// Sends and hears beacons.
    pub beacons: Option<BroadcastSocket>,
    /// Takes in other programs of this user.
    pub control: Option<ControlSocket>,
    /// The control sockets of other programs, by their numbers.
    pub programs: Vec<PathBuf>,
}

/// Runs one node.
pub struct Reactor<N> {
    node: N,
    poll: Poll,
    /// As in [`Sockets`].
    network: Network,
    resolver: Resolver,
    progress_timeout: Duration,
    /// `None` if nobody is served.
    listener: Option<Listener>,
    /// Where it is to listen instead, if that did not work so far.
    listen_at: Option<SocketAddrV4>,
    /// Where and how listening failed when that was last told.
    listen_error: Option<(SocketAddrV4, io::ErrorKind)>,
    signals: Signals,
    /// Not for a registry.
    offers: Option<BroadcastSocket>,
    /// Neither.
    beacons: Option<BroadcastSocket>,
    /// How the routes of datagrams failed when that was last told.
    routes_error: Option<io::ErrorKind>,
    control: Option<ControlSocket>,
    programs: Vec<PathBuf>,
    /// `None` if there are no files.
    files: Option<Files>,
    connections: Connections,
    /// Connections with something to read.
    readable: VecDeque<ConnectionId>,
    /// Connections with something to send and room for it.
    sendable: VecDeque<ConnectionId>,
    /// Connections for which a disk is bringing what to send, and when to look for it.
    awaiting_disk: VecDeque<(Instant, ConnectionId)>,
    /// Connections that have something to send, or to read, and wait for their share of a rate.
    up: Pacing,
    down: Pacing,
    scratch: Vec<u8>,
    ui: Ui,
    /// What the loop did since something was last shown.
    work: Work,
    loop_times: LoopTimes,
    metrics: Option<PathBuf>,
    /// How writing them failed the last time, so that each kind of failure is told once.
    metrics_error: Option<io::ErrorKind>,
    /// The time of this turn: the clock is read once in each.
    now: Instant,
    outcome: Option<Outcome>,
}

impl<N: Node> Reactor<N> {
    /// A loop around `node`, which shows by `ui` what it does.
    pub fn new(
        ui: Ui,
        node: N,
        mut signals: Signals,
        mut sockets: Sockets,
        mut files: Option<Files>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        if let Some(listener) = &sockets.listener {
            listener.register(registry, LISTENER)?;
        }
        if let Some(offers) = &mut sockets.offers {
            registry.register(offers, OFFERS, Interest::READABLE)?;
        }
        if let Some(beacons) = &mut sockets.beacons {
            registry.register(beacons, BEACONS, Interest::READABLE)?;
        }
        if let Some(follower) = files.as_mut().and_then(Files::follower) {
            follower.register(registry, FOLDER)?;
        }
        if let Some(control) = &sockets.control {
            control.register(registry, CONTROL)?;
        }
        sockets.network.register(registry, NETWORK)?;
        let Sockets { network, progress_timeout, rate_limits, listener, offers, beacons, .. } =
            sockets;
        let Sockets { control, programs, .. } = sockets;
        let now = Instant::now();
        Ok(Self {
            node,
            poll,
            network,
            resolver: Resolver::default(),
            progress_timeout,
            listener,
            listen_at: None,
            listen_error: None,
            signals,
            offers,
            beacons,
            routes_error: None,
            control,
            programs,
            files,
            connections: Connections::default(),
            readable: VecDeque::new(),
            sendable: VecDeque::new(),
            awaiting_disk: VecDeque::new(),
            up: Pacing::new(now, rate_limits.up),
            down: Pacing::new(now, rate_limits.down),
            scratch: vec![0; TURN_BYTES],
            ui,
            work: Work::default(),
            loop_times: LoopTimes::default(),
            metrics: None,
            metrics_error: None,
            now,
            outcome: None,
        })
    }

    /// Writes metrics there, now and from now on.
    ///
    /// # Errors
    /// If they cannot be written now.
    pub fn write_metrics(&mut self, path: PathBuf) -> io::Result<()> {
        self.metrics = Some(path);
        let snapshot = self.node.snapshot();
        self.write_metrics_if_due(&snapshot).unwrap_or(Ok(()))
    }

    fn write_metrics_if_due(&mut self, snapshot: &Snapshot) -> Option<io::Result<()>> {
        let path = self.metrics.as_ref()?;
        let text = self.ui.metrics(self.now, snapshot, &self.loop_times.counts())?;
        Some(storage::replace(path, text.as_bytes()))
    }

    /// The node.
    pub fn ui(&self) -> &Ui {
        &self.ui
    }

    pub fn node(&mut self) -> &mut N {
        &mut self.node
    }

    /// Runs until the node ends the program. `begin` are the first inputs. While this
    /// does not run, a signal ends the program at once.
    ///
    /// # Errors
    /// Only if the poll itself fails; nothing that a socket or a file does ends the loop.
    pub fn run<'a>(&mut self, begin: impl IntoIterator<Item = Input<'a>>) -> io::Result<Outcome> {
        self.signals.set_at_once(false);
        self.carry_out(&[]);
        self.tell_interfaces();
        for input in begin {
            self.handle(input);
        }
        let mut events = Events::with_capacity(POLL_EVENTS);
        loop {
            if let Some(outcome) = self.outcome.take() {
                // What the last inputs led to has not been sent.
                self.up.lift();
                self.send_all();
                self.ui.end(self.now);
                self.show();
                if self.loop_times.has_waited() {
                    self.ui.note(Level::Info, &self.loop_times);
                }
                self.ui.note(Level::Debug, self.loop_times.turns());
                self.signals.set_at_once(true);
                // One that came meanwhile ends what follows, too, which may wait.
                let late = self.signals.late().filter(|_| outcome == Outcome::AllDone);
                return Ok(late.map_or(outcome, Outcome::Stopped));
            }
            self.turn(&mut events)?;
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let began = self.stopwatch();
        match self.poll.poll(events, Some(self.poll_timeout())) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        self.now = Instant::now();
        if let Some(began) = began {
            self.work.idle += self.now - began;
        }
        for event in events.iter() {
            match event.token() {
                LISTENER => self.listener.iter_mut().for_each(Listener::set_ready),
                OFFERS => self.offers.iter_mut().for_each(BroadcastSocket::set_ready),
                BEACONS => self.beacons.iter_mut().for_each(BroadcastSocket::set_ready),
                SIGNALS => self.signals.set_ready(),
                FOLDER => {
                    if let Some(follower) = self.files.as_mut().and_then(Files::follower) {
                        follower.set_ready();
                    }
                }
                CONTROL => self.control.iter_mut().for_each(ControlSocket::set_ready),
                NETWORK => self.network.set_ready(self.now),
                RESOLVER => self.resolver.set_ready(),
                Token(bits) => self.mark(ConnectionId::from_bits(bits as u64), event),
            }
        }
        self.stop();
        self.follow_network();
        if let Some(answer) = self.resolver.answer(self.now) {
            self.handle(Input::Resolved(answer));
        }
        // Before the connections, so that nobody is sent what is known to have changed.
        self.follow_folder();
        self.receive_all();
        self.accept();
        self.receive_datagrams();
        self.hash();
        if self.node.poll_timeout().is_some_and(|at| at <= self.now) {
            self.node.handle_timeout(self.now);
            self.carry_out(&[]);
        }
        self.send_all();
        self.loop_times.add_turn(self.now.elapsed());
        self.commit();
        self.show();
        Ok(())
    }

    /// Shows how the program does, if it is time for it.
    fn show(&mut self) {
        self.ui.catch_up(self.now);
        if self.ui.poll_timeout().is_none_or(|at| at > self.now) {
            return;
        }
        let snapshot = self.node.snapshot();
        if self.ui.next_sample().is_some_and(|at| at <= self.now) {
            let work = mem::take(&mut self.work);
            self.ui.sample(self.now, &snapshot, &work);
        }
        if let Some(written) = self.write_metrics_if_due(&snapshot) {
            let error = written.err();
            let kind = error.as_ref().map(io::Error::kind);
            if let Some(error) = error.filter(|_| kind != self.metrics_error)
                && let Some(path) = &self.metrics
            {
                let path = Shown(path.to_string_lossy());
                log::warn!("cannot write the metrics to {path}: {error}; trying again");
            }
            self.metrics_error = kind;
        }
    }

    fn poll_timeout(&self) -> Duration {
        let has_work = !self.readable.is_empty()
            || !self.sendable.is_empty()
            || [&self.offers, &self.beacons].into_iter().flatten().any(BroadcastSocket::is_ready)
            || self.files.as_ref().is_some_and(Files::has_changes);
        if has_work {
            return Duration::ZERO;
        }
        let timers = [
            self.node.poll_timeout(),
            self.listener.as_ref().and_then(|listener| listener.next_try(self.now)),
            self.control.as_ref().and_then(|control| control.next_try(self.now)),
            self.network.next_look_at(),
            self.resolver.next_try(),
            self.files.as_ref().and_then(Files::next_look_at),
            self.files.as_ref().and_then(|files| files.next_hash_at(self.now)),
            self.awaiting_disk.front().map(|(look_at, _)| *look_at),
            self.up.next_release(),
            self.down.next_release(),
            self.ui.poll_timeout(),
        ];
        let next = timers.into_iter().flatten().min();
        let sleep = next.map(|at| at.saturating_duration_since(self.now));
        sleep.unwrap_or(POLL_TIMEOUT_MAX).min(POLL_TIMEOUT_MAX)
    }

    /// The time, if it is of interest how long something takes: only while what runs is
    /// shown.
    fn stopwatch(&self) -> Option<Instant> {
        self.ui.next_sample().map(|_| Instant::now())
    }

    fn stop(&mut self) {
        while let Some(signal) = self.signals.next() {
            self.handle(Input::Stop(signal));
        }
    }

    fn accept(&mut self) {
        for _ in 0..TURN_ITEMS {
            let accepted = self.listener.as_mut().and_then(|listener| listener.accept(self.now));
            let Some((stream, from)) = accepted else { break };
            let connection = Connection::accepted(stream);
            let reached = connection.from().filter(|_| !from.ip().is_loopback());
            let id = self.node.accept(self.now, from);
            self.take_in(id, connection);
            if let (Some(connection), Some(address)) = (id, reached) {
                self.handle(Input::ReachedAt { connection, address });
            }
        }
        for _ in 0..TURN_ITEMS {
            let accepted = self.control.as_mut().and_then(|control| control.accept(self.now));
            let Some(stream) = accepted else { break };
            let connection = Connection::of_program(stream);
            let id = self.node.accept_program(self.now);
            self.take_in(id, connection);
        }
    }

    /// A connection that came in has this id, or is refused.
    fn take_in(&mut self, id: Option<ConnectionId>, connection: Connection) {
        match id {
            Some(id) => {
                if self.enter(id, connection).is_err() {
                    self.handle(broken(id, io::ErrorKind::OutOfMemory));
                }
            }
            // The reference hangs on an orderly close.
            None => connection.close(CloseHow::Reset),
        }
        self.carry_out(&[]);
    }

    fn receive_datagrams(&mut self) {
        for _ in 0..BEACONS_PER_TURN {
            let mut buffer = [0; BEACON_BYTES_MAX + 1];
            let beacon = self.beacons.as_mut().and_then(|beacons| beacons.receive(&mut buffer));
            let Some((len, from)) = beacon else { break };
            self.handle(Input::Beacon { from, bytes: &buffer[..len] });
        }
        for _ in 0..TURN_ITEMS {
            let Some(offers) = &mut self.offers else { return };
            let mut buffer = [0; OFFER_BYTES + 1];
            let Some((len, from)) = offers.receive(&mut buffer) else { return };
            self.handle(Input::Datagram { from, bytes: &buffer[..len] });
        }
    }

    fn follow_folder(&mut self) {
        let Some(files) = &mut self.files else { return };
        let findings = files.follow(self.now);
        for skipped in &findings.skipped {
            self.ui.skip(self.now, &skipped.name, &skipped.why);
        }
        for input in findings.inputs {
            self.handle(input);
        }
    }

    fn hash(&mut self) {
        let mut hashed_bytes = 0;
        while hashed_bytes < TURN_BYTES {
            let began = self.stopwatch();
            let Some(files) = &mut self.files else { return };
            let step = files.hash_slice(self.now, &mut self.scratch);
            let Some((input, cost_bytes)) = step else { return };
            if let Some(began) = began {
                self.work.hash += began.elapsed();
            }
            hashed_bytes += cost_bytes;
            if let Some(input) = input {
                self.handle(input);
            }
        }
    }

    fn commit(&mut self) {
        let Some(files) = self.files.as_mut().filter(|files| files.has_commits()) else { return };
        let began = Instant::now();
        let inputs = files.commit();
        self.now = Instant::now();
        let elapsed = self.now.saturating_duration_since(began);
        self.work.disk += elapsed;
        if files.syncs() {
            self.loop_times.add_wait(inputs.len(), elapsed);
        }
        for input in inputs {
            self.handle(input);
        }
    }
}

fn broken(connection: ConnectionId, kind: io::ErrorKind) -> Input<'static> {
    Input::Broken { connection, kind }
}
