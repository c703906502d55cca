//! The connections: which are ready for what, and their bytes in and out, round robin. In one
//! turn each is read once, and those that have something to send share a budget.

use std::{io, mem};

use mio::event::Event;

use super::connection::Connection;
use super::{Reactor, broken};
use crate::content::FileError;
use crate::limits::{DISK_LOOK_INTERVAL, TURN_BYTES, TURN_RECEIVED_BYTES, TURN_SHARE_BYTES_MIN};
use crate::node::{ConnectionId, Input, Node};
use crate::proto::{FileId, Transmit};
use crate::storage::Sent;

impl<N: Node> Reactor<N> {
    /// An event says that a connection is ready for something.
    pub(super) fn mark(&mut self, id: ConnectionId, event: &Event) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_dialing() && !event.is_writable() {
            return;
        }
        let is_read_closed = event.is_read_closed() || event.is_error();
        connection.can_read |= event.is_readable() || is_read_closed;
        connection.is_read_closed |= is_read_closed;
        connection.can_write |= event.is_writable();
        self.mark_readable(id);
        if event.is_writable() {
            self.mark_sendable(id);
        }
    }

    pub(super) fn mark_readable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && (connection.can_read || connection.is_dialing())
            && !mem::replace(&mut connection.is_queued_to_read, true)
        {
            self.readable.push_back(id);
        }
    }

    pub(super) fn mark_sendable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.can_write
            && !mem::replace(&mut connection.is_queued_to_send, true)
        {
            self.sendable.push_back(id);
        }
    }

    pub(super) fn receive_all(&mut self) {
        self.down.release(self.now, &mut self.readable);
        // Connections that are marked meanwhile wait for the next turn.
        let count = self.readable.len();
        let budget_bytes =
            (TURN_RECEIVED_BYTES / count.max(1)).clamp(TURN_SHARE_BYTES_MIN, TURN_BYTES);
        for _ in 0..count {
            let Some(id) = self.readable.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.is_queued_to_read = false;
            if !connection.is_dialing() || self.finish_dialing(id) {
                self.receive(id, budget_bytes);
            }
        }
    }

    /// Returns whether the connection is made.
    fn finish_dialing(&mut self, id: ConnectionId) -> bool {
        let dialed = self.connections.get_mut(id).map(Connection::finish_dialing);
        match dialed {
            Some(Ok(true)) => self.handle(Input::Connected(id)),
            Some(Ok(false)) | None => return false,
            Some(Err(error)) => self.lose(id, error.kind()),
        }
        true
    }

    /// Reads from a connection once. The machine bounds how many small chunks come with it
    /// (`read_allowance_bytes`).
    fn receive(&mut self, id: ConnectionId, budget_bytes: usize) {
        let room_bytes = budget_bytes.min(self.node.read_allowance_bytes(id));
        let Some(connection) = self.connections.get_mut(id).filter(|c| c.can_read) else { return };
        if room_bytes == 0 {
            // Sending makes room, and marks it again.
            if let Some(kind) = connection.broken {
                self.lose(id, kind);
            }
            return;
        }
        let is_paced = connection.is_paced();
        let allowed =
            if is_paced { self.down.allows(self.now, room_bytes) } else { Some(room_bytes) };
        let Some(room_bytes) = allowed else {
            connection.is_queued_to_read = true;
            self.down.wait(id);
            return self.node.waits_to_receive(self.now, id);
        };
        let mut scratch = mem::take(&mut self.scratch);
        let received = connection.receive(&mut scratch[..room_bytes]);
        match received {
            Ok(Some(0)) => {}
            Ok(Some(len)) => {
                if is_paced {
                    self.down.moved(self.now, len);
                }
                self.handle(Input::Received { connection: id, bytes: &scratch[..len] });
                self.mark_readable(id);
            }
            Ok(None) => {}
            Err(ref error) => self.lose(id, error.kind()),
        }
        self.scratch = scratch;
        if let Ok(Some(0)) = received {
            // What it still waits for goes out before it is told to be over.
            self.send(id, TURN_BYTES);
            self.handle(Input::ReadClosed(id));
        }
    }

    pub(super) fn send_all(&mut self) {
        while self.awaiting_disk.front().is_some_and(|(look_at, _)| *look_at <= self.now)
            && let Some((_, id)) = self.awaiting_disk.pop_front()
        {
            self.sendable.push_back(id);
        }
        self.up.release(self.now, &mut self.sendable);
        let count = self.sendable.len();
        let budget_bytes = (TURN_BYTES / count.max(1)).max(TURN_SHARE_BYTES_MIN);
        for _ in 0..count {
            let Some(id) = self.sendable.pop_front() else { return };
            self.send(id, budget_bytes);
        }
    }

    /// Sends what a connection has to send until the socket is full or the budget used, or a
    /// disk has to bring it first.
    fn send(&mut self, id: ConnectionId, mut budget_bytes: usize) {
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
            let is_paced = connection.is_paced();
            let allowed_bytes = match is_paced {
                true => self.up.allows(self.now, budget_bytes),
                false => Some(budget_bytes),
            };
            let Some(allowed_bytes) = allowed_bytes else {
                connection.is_queued_to_send = true;
                self.up.wait(id);
                self.node.waits_to_send(self.now, id);
                break;
            };
            let sent = match transmit {
                Transmit::Bytes { bytes, more } => connection.send_bytes(bytes, more),
                Transmit::File { file, offset, len_bytes } if self.node.is_sealed(id) => {
                    // A record is sent whole, unless a rate has to be kept.
                    let len_bytes = len_bytes as usize;
                    let room_bytes = if is_paced { allowed_bytes } else { len_bytes };
                    if self.read(id, file, offset, len_bytes.min(room_bytes)) {
                        continue;
                    }
                    self.await_disk(id);
                    break;
                }
                Transmit::File { file, offset, len_bytes } => {
                    let len_bytes = allowed_bytes.min(len_bytes as usize);
                    let source = self.files.as_mut().and_then(|files| files.source(file));
                    let sent = source.ok_or(FileError::Changed).and_then(|source| {
                        source.send_to(self.now, connection.stream(), offset, len_bytes)
                    });
                    match sent {
                        Ok(sent) => sent,
                        Err(error) => {
                            self.fail_source(file, error);
                            continue;
                        }
                    }
                }
            };
            match sent {
                Sent::Bytes(len_bytes) => {
                    budget_bytes = budget_bytes.saturating_sub(len_bytes);
                    if is_paced {
                        self.up.moved(self.now, len_bytes);
                    }
                    self.node.transmitted(self.now, id, len_bytes);
                    self.carry_out(&[]);
                }
                Sent::Full => {
                    connection.can_write = false;
                    self.node.blocked(self.now, id);
                    self.carry_out(&[]);
                }
                Sent::Awaited => {
                    self.await_disk(id);
                    break;
                }
                Sent::Broken(errno) => {
                    // What came before the error may still be read, the EOF maybe among it.
                    connection.broken = Some(io::Error::from(errno).kind());
                    (connection.can_read, connection.can_write) = (true, false);
                }
            }
        }
        // What was sent may have made room for more to be read.
        self.mark_readable(id);
    }

    fn await_disk(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_queued_to_send = true;
            self.awaiting_disk.push_back((self.now + DISK_LOOK_INTERVAL, id));
        }
    }

    /// Reads some of a file for a connection that seals it. Returns whether something came of it:
    /// otherwise a disk has to bring it first.
    fn read(&mut self, id: ConnectionId, file: FileId, offset: u64, len_bytes: usize) -> bool {
        let mut scratch = mem::take(&mut self.scratch);
        let len_bytes = len_bytes.min(scratch.len());
        let source = self.files.as_mut().and_then(|files| files.source(file));
        let room = &mut scratch[..len_bytes];
        let read = source
            .ok_or(FileError::Changed)
            .and_then(|source| source.read_at(self.now, offset, room));
        match &read {
            Ok(None) => {}
            Ok(Some(len_bytes)) => {
                self.handle(Input::Read { connection: id, bytes: &scratch[..*len_bytes] });
            }
            Err(error) => self.fail_source(file, *error),
        }
        self.scratch = scratch;
        read != Ok(None)
    }

    fn fail_source(&mut self, file: FileId, error: FileError) {
        if let Some(files) = &mut self.files {
            files.close(file);
        }
        self.handle(Input::FileFailed { file, error });
    }

    pub(super) fn lose(&mut self, id: ConnectionId, kind: io::ErrorKind) {
        self.connections.remove(id);
        self.handle(broken(id, kind));
    }
}
