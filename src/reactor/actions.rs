//! Inputs to the node, and the actions that it answers them with.

use std::io;
use std::net::SocketAddrV4;

use mio::Token;
use rustix::io::Errno;

use super::connection::Connection;
use super::{RESOLVER, Reactor, broadcast_socket, broken, control_socket, dial};
use crate::limits::STATUS_NAMES_MAX;
use crate::node::{Action, CloseHow, ConnectionId, Input, Node};

impl<N: Node> Reactor<N> {
    /// Gives the node an input, and carries out what it wants done.
    pub(super) fn handle(&mut self, input: Input<'_>) {
        let received = match &input {
            Input::Received { bytes, .. } => *bytes,
            _ => &[],
        };
        // Most of the time that bytes take here goes into their digest.
        let began = if received.is_empty() { None } else { self.stopwatch() };
        self.node.handle(self.now, input);
        if let Some(began) = began {
            self.work.hash += began.elapsed();
        }
        self.carry_out(received);
    }

    /// Carries out the node's actions, and those that their outcomes lead to.
    pub(super) fn carry_out(&mut self, received: &[u8]) {
        while let Some(action) = self.node.poll_action() {
            let outcome = match action {
                Action::Broadcast(datagram) => {
                    let offers = self.offers.as_mut();
                    offers.into_iter().for_each(|it| it.send(self.now, None, &datagram));
                    None
                }
                Action::SendBeacon { from, datagram } => {
                    let beacons = self.beacons.as_mut();
                    beacons.into_iter().for_each(|it| it.send(self.now, from, &datagram));
                    None
                }
                Action::Send { from, to, datagram } => {
                    let sent = broadcast_socket::send(from, to, &datagram);
                    sent.err().map(|error| Input::NotSent { from, to, kind: error.kind() })
                }
                Action::Resolve(host) => self.resolve(&host),
                Action::Dial { connection, to } => self.dial(connection, to),
                Action::DialProgram { connection, program } => {
                    self.dial_program(connection, program)
                }
                Action::Describe { connection, json } => {
                    self.describe(connection, json);
                    None
                }
                Action::Transmit(connection) => {
                    self.mark_sendable(connection);
                    None
                }
                Action::Close { connection, how, .. } => {
                    self.close(connection, how);
                    None
                }
                Action::Report(report) => {
                    self.ui.report(self.now, &report, self.node.paths());
                    None
                }
                Action::Exit(outcome) => {
                    self.outcome = Some(outcome);
                    None
                }
                Action::OpenSource { .. }
                | Action::OpenPartialSource { .. }
                | Action::StatSource(_)
                | Action::CreatePartial { .. }
                | Action::OpenPartial { .. }
                | Action::HashBlock { .. }
                | Action::Keep(_)
                | Action::MakeFolder(_)
                | Action::CopyFile { .. }
                | Action::Write { .. }
                | Action::Commit(_)
                | Action::Discard(_)
                | Action::Hash { .. }
                | Action::Look(_) => {
                    let began = self.stopwatch();
                    let received = self.node.opened().unwrap_or(received);
                    let outcome = self
                        .files
                        .as_mut()
                        .and_then(|files| files.carry_out(action, received, self.node.paths()));
                    if let Some(began) = began {
                        self.work.disk += began.elapsed();
                    }
                    outcome
                }
            };
            if let Some(input) = outcome {
                self.node.handle(self.now, input);
            }
        }
    }

    fn dial(&mut self, id: ConnectionId, to: SocketAddrV4) -> Option<Input<'static>> {
        let entered = self
            .network
            .source(to)
            .and_then(|host| dial::dial(host, to, self.progress_timeout))
            .and_then(|stream| self.enter(id, Connection::dialing(stream)));
        if let Err(error) = entered {
            return Some(broken(id, kind_of(&error)));
        }
        let from = self.connections.get_mut(id).and_then(|connection| connection.from());
        from.map(|from| Input::DialedFrom { connection: id, from })
    }

    fn resolve(&mut self, host: &str) -> Option<Input<'static>> {
        let poll = (self.poll.registry(), RESOLVER);
        let asked = self.resolver.ask(self.now, poll, host);
        asked.err().map(|error| Input::Resolved(Err(format!("cannot ask for it: {error}"))))
    }

    fn dial_program(&mut self, id: ConnectionId, program: usize) -> Option<Input<'static>> {
        let path = self.programs.get(program).ok_or_else(|| io::ErrorKind::NotFound.into());
        let entered = path
            .and_then(|path| control_socket::dial(path))
            .and_then(|stream| self.enter(id, Connection::dialing(stream)));
        entered.err().map(|error| broken(id, kind_of(&error)))
    }

    /// Puts into words how this program does.
    fn describe(&mut self, connection: ConnectionId, json: bool) {
        let told = (&self.node.snapshot(), &self.node.inventory(STATUS_NAMES_MAX));
        let text = self.ui.describe(json, self.now, told, &self.loop_times.counts());
        self.node.handle(self.now, Input::Described { connection, text: &text });
    }

    pub(super) fn enter(&mut self, id: ConnectionId, connection: Connection) -> io::Result<()> {
        let token = Token(id.to_bits() as usize);
        connection.register(self.poll.registry(), token)?;
        self.connections.insert(id, connection);
        Ok(())
    }

    pub(super) fn close(&mut self, id: ConnectionId, how: CloseHow) {
        if let Some(connection) = self.connections.remove(id) {
            connection.close(how);
        }
    }
}

/// The kind of an error, with every want of this system's own (descriptors, buffers,
/// memory) as `OutOfMemory`: std has no kind for most of them.
fn kind_of(error: &io::Error) -> io::ErrorKind {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            io::ErrorKind::OutOfMemory
        }
        _ => error.kind(),
    }
}
