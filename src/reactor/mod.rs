//! The loop: one poll over every socket of the process, and the only place that
//! makes system calls and reads the clock.
//!
//! It decides nothing. Readiness becomes inputs of the node, the node's actions
//! become calls, and their outcomes become inputs again. One [`turn`](Reactor::turn):
//!
//! 1. Poll: without waiting if work was left over, else until the next timer.
//! 2. Read the clock, once.
//! 3. Events only mark sockets; then the marked ones are served round robin, each
//!    with a budget: connections, new connections, datagrams, hashing.
//! 4. Timers, after the input that had queued up: a busy host is no dead peer.
//! 5. Send what the connections have to send, before sleeping.
//!
//! Every socket is registered once, for both directions, edge-triggered: a mark is
//! cleared only when the kernel says `WouldBlock`, and no interest ever changes. An
//! event for a connection that is gone carries an old generation and finds nothing.

mod connection;
mod dial;
mod files;
mod listener;
mod offer_socket;
mod report_log;
mod signals;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};

use self::connection::{Connection, Connections};
pub use self::files::Files;
pub use self::listener::Listener;
pub use self::offer_socket::OfferSocket;
use self::report_log::ReportLog;
use self::signals::Signals;
use crate::limits::{
    CONNECTION_TURN_BYTES_MAX, CONNECTION_TURN_BYTES_MIN, POLL_EVENTS, POLL_TIMEOUT_MAX, TURN_BYTES,
};
use crate::node::{Action, CloseHow, ConnectionId, Input, Node, Outcome};

const LISTENER: Token = Token(usize::MAX);
const OFFERS: Token = Token(usize::MAX - 1);
const SIGNALS: Token = Token(usize::MAX - 2);

/// Runs one node.
pub struct Reactor<N> {
    node: N,
    poll: Poll,
    listener: Listener,
    signals: Signals,
    /// Only a peer has these two.
    offers: Option<OfferSocket>,
    files: Option<Files>,
    connections: Connections,
    /// Connections with something to read.
    readable: VecDeque<ConnectionId>,
    /// Connections with something to send and room for it.
    sendable: Vec<ConnectionId>,
    scratch: Vec<u8>,
    log: ReportLog,
    outcome: Option<Outcome>,
}

impl<N: Node> Reactor<N> {
    /// A loop around `node`, which is called `name` in the log.
    pub fn new(
        name: String,
        node: N,
        mut listener: Listener,
        mut offers: Option<OfferSocket>,
        files: Option<Files>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let mut signals = Signals::new()?;
        registry.register(&mut signals, SIGNALS, Interest::READABLE)?;
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        if let Some(offers) = &mut offers {
            registry.register(offers, OFFERS, Interest::READABLE)?;
        }
        Ok(Self {
            node,
            poll,
            listener,
            signals,
            offers,
            files,
            connections: Connections::default(),
            readable: VecDeque::new(),
            sendable: Vec::new(),
            scratch: vec![0; CONNECTION_TURN_BYTES_MAX],
            log: ReportLog::new(name),
            outcome: None,
        })
    }

    /// Runs until the node ends the program. `begin` are the first inputs.
    ///
    /// # Errors
    /// Only if the poll itself fails; nothing that a socket or a file does ends the loop.
    pub fn run(mut self, begin: &[Input<'_>]) -> io::Result<Outcome> {
        let now = Instant::now();
        self.carry_out(now, &[]);
        for input in begin {
            self.handle(now, input.clone());
        }
        let mut events = Events::with_capacity(POLL_EVENTS);
        loop {
            if let Some(outcome) = self.outcome.take() {
                return Ok(outcome);
            }
            self.turn(&mut events)?;
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(self.poll_timeout())) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = Instant::now();
        for event in events.iter() {
            match event.token() {
                LISTENER => self.listener.set_ready(),
                OFFERS => self.offers.iter_mut().for_each(OfferSocket::set_ready),
                SIGNALS => self.stop(now),
                Token(bits) => {
                    let id = ConnectionId::from_bits(bits as u64);
                    self.mark(now, id, event.is_readable(), event.is_writable());
                }
            }
        }
        self.serve_connections(now);
        self.accept(now);
        self.receive_datagrams(now);
        self.hash(now);
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
            self.carry_out(now, &[]);
        }
        for id in mem::take(&mut self.sendable) {
            self.send(now, id);
        }
        Ok(())
    }

    fn poll_timeout(&self) -> std::time::Duration {
        let has_work = !self.readable.is_empty()
            || !self.sendable.is_empty()
            || self.offers.as_ref().is_some_and(OfferSocket::is_ready)
            || self.files.as_ref().is_some_and(Files::is_hashing);
        if has_work {
            return std::time::Duration::ZERO;
        }
        let now = Instant::now();
        let timers = [self.node.poll_timeout(), self.listener.next_try(now)];
        let next = timers.into_iter().flatten().min();
        next.map_or(POLL_TIMEOUT_MAX, |at| at.saturating_duration_since(now)).min(POLL_TIMEOUT_MAX)
    }

    /// Gives the node an input, and carries out what it wants done.
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        let received = match &input {
            Input::Received { bytes, .. } => *bytes,
            _ => &[],
        };
        self.node.handle(now, input);
        self.carry_out(now, received);
    }

    /// Carries out the node's actions, and those that their outcomes lead to.
    fn carry_out(&mut self, now: Instant, received: &[u8]) {
        while let Some(action) = self.node.poll_action() {
            let outcome = match action {
                Action::Broadcast(datagram) => {
                    self.offers.iter_mut().for_each(|offers| offers.broadcast(&datagram));
                    None
                }
                Action::Dial { connection, to } => self.dial(connection, to),
                Action::Transmit(connection) => {
                    self.mark_sendable(connection);
                    None
                }
                Action::Close { connection, how, .. } => {
                    self.close(connection, how);
                    None
                }
                Action::Report(report) => {
                    self.log.log(now, &report);
                    None
                }
                Action::Exit(outcome) => {
                    self.outcome = Some(outcome);
                    None
                }
                Action::OpenSource { .. }
                | Action::CreatePartial { .. }
                | Action::Write { .. }
                | Action::Commit(_)
                | Action::Discard(_)
                | Action::Hash(_) => {
                    self.files.as_mut().and_then(|files| files.carry_out(action, received))
                }
            };
            if let Some(input) = outcome {
                self.node.handle(now, input);
            }
        }
    }

    fn stop(&mut self, now: Instant) {
        while let Some(signal) = self.signals.next() {
            self.handle(now, Input::Stop(signal));
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..crate::limits::ACCEPTS_PER_TURN {
            let Some((stream, from)) = self.listener.accept(now) else { return };
            if let Some(id) = self.node.accept(now, from)
                && self.enter(id, Connection::accepted(stream)).is_err()
            {
                self.handle(now, broken(id, io::ErrorKind::OutOfMemory));
            }
            self.carry_out(now, &[]);
        }
    }

    fn receive_datagrams(&mut self, now: Instant) {
        for _ in 0..crate::limits::DATAGRAMS_PER_TURN {
            let Some(offers) = &mut self.offers else { return };
            let mut buffer = [0; crate::limits::OFFER_BYTES + 1];
            let Some((len, from)) = offers.receive(&mut buffer) else { return };
            self.handle(now, Input::Datagram { from, bytes: &buffer[..len] });
        }
    }

    fn hash(&mut self, now: Instant) {
        let mut hashed_bytes = 0;
        while hashed_bytes < crate::limits::HASH_TURN_BYTES {
            let Some(files) = &mut self.files else { return };
            let Some((input, bytes)) = files.hash_slice(&mut self.scratch) else { return };
            hashed_bytes += bytes;
            self.handle(now, input);
        }
    }

    fn dial(&mut self, id: ConnectionId, to: std::net::SocketAddrV4) -> Option<Input<'static>> {
        let entered = dial::dial(self.listener.host(), to)
            .and_then(|stream| self.enter(id, Connection::dialing(stream)));
        entered.err().map(|error| broken(id, error.kind()))
    }

    fn enter(&mut self, id: ConnectionId, mut connection: Connection) -> io::Result<()> {
        let token = Token(id.to_bits() as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(connection.stream(), token, interest)?;
        self.connections.insert(id, connection);
        Ok(())
    }

    /// An event says that a connection is ready for something.
    fn mark(&mut self, now: Instant, id: ConnectionId, is_readable: bool, is_writable: bool) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_dialing() {
            if !is_writable {
                return;
            }
            match connection.finish_dialing() {
                Ok(true) => self.handle(now, Input::Connected(id)),
                Ok(false) => return,
                Err(error) => return self.lose(now, id, error.kind()),
            }
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.can_read |= is_readable;
        connection.can_write |= is_writable;
        self.mark_readable(id);
        if is_writable {
            self.mark_sendable(id);
        }
    }

    fn mark_readable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.can_read
            && !mem::replace(&mut connection.is_queued_to_read, true)
        {
            self.readable.push_back(id);
        }
    }

    fn mark_sendable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.can_write
            && !mem::replace(&mut connection.is_queued_to_send, true)
        {
            self.sendable.push(id);
        }
    }

    fn serve_connections(&mut self, now: Instant) {
        let count = self.readable.len();
        let budget_bytes =
            (TURN_BYTES / count.max(1)).clamp(CONNECTION_TURN_BYTES_MIN, CONNECTION_TURN_BYTES_MAX);
        for _ in 0..count {
            let Some(id) = self.readable.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_queued_to_read = false;
                self.receive(now, id, budget_bytes);
            }
        }
    }

    /// Reads from a connection until it is empty or its budget is used.
    fn receive(&mut self, now: Instant, id: ConnectionId, mut budget_bytes: usize) {
        let mut scratch = mem::take(&mut self.scratch);
        loop {
            let room_bytes =
                budget_bytes.min(self.node.read_allowance_bytes(id)).min(scratch.len());
            let Some(connection) = self.connections.get_mut(id) else { break };
            if room_bytes == 0 {
                match connection.broken {
                    Some(kind) => self.lose(now, id, kind),
                    // Out of budget: the next turn goes on. Not allowed: `send` will.
                    None if budget_bytes == 0 => self.mark_readable(id),
                    None => {}
                }
                break;
            }
            match connection.receive(&mut scratch[..room_bytes]) {
                Ok(Some(0)) => {
                    // What it still waits for goes out before it is told to be over.
                    self.send(now, id);
                    self.handle(now, Input::ReadClosed(id));
                    break;
                }
                Ok(Some(len)) => {
                    budget_bytes -= len;
                    self.handle(now, Input::Received { connection: id, bytes: &scratch[..len] });
                }
                Ok(None) => break,
                Err(error) => {
                    self.lose(now, id, error.kind());
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    /// Sends what a connection has to send until the socket is full or the budget used.
    fn send(&mut self, now: Instant, id: ConnectionId) {
        let mut budget_bytes = CONNECTION_TURN_BYTES_MAX;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_queued_to_send = false;
        }
        while let Some(connection) = self.connections.get_mut(id)
            && connection.can_write
            && let Some(transmit) = self.node.transmit(id)
        {
            if budget_bytes == 0 {
                self.mark_sendable(id);
                break;
            }
            match connection.send(&transmit, budget_bytes, self.files.as_ref()) {
                Ok(Some(len)) => {
                    budget_bytes = budget_bytes.saturating_sub(len);
                    self.node.transmitted(now, id, len);
                    self.carry_out(now, &[]);
                }
                Ok(None) => {}
                Err(connection::SendError::Source { file, error }) => {
                    if let Some(files) = &mut self.files {
                        files.close(file);
                    }
                    self.handle(now, Input::FileFailed { file, error });
                }
                Err(connection::SendError::Socket(kind)) => {
                    // What came before the error may still be read, the EOF maybe among it.
                    connection.broken = Some(kind);
                    (connection.can_read, connection.can_write) = (true, false);
                }
            }
        }
        // What was sent may have made room for more to be read.
        self.mark_readable(id);
    }

    fn lose(&mut self, now: Instant, id: ConnectionId, kind: io::ErrorKind) {
        self.connections.remove(id);
        self.handle(now, broken(id, kind));
    }

    fn close(&mut self, id: ConnectionId, how: CloseHow) {
        if let Some(connection) = self.connections.remove(id) {
            connection.close(how);
        }
    }
}

fn broken(connection: ConnectionId, kind: io::ErrorKind) -> Input<'static> {
    Input::Broken { connection, kind }
}
