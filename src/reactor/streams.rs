//! The connections: which are ready for what, and their bytes in and out, round robin and
//! each within a budget.

use std::{io, mem};

use super::{Reactor, broken, connection};
use crate::limits::{
    CONNECTION_TURN_BYTES_MAX, CONNECTION_TURN_BYTES_MIN, FILE_CALL_COST_BYTES,
    TURN_RECEIVED_BYTES, TURN_SENT_BYTES,
};
use crate::node::{ConnectionId, Input, Node};

impl<N: Node> Reactor<N> {
    /// An event says that a connection is ready for something.
    pub(super) fn mark(
        &mut self,
        id: ConnectionId,
        is_readable: bool,
        is_writable: bool,
        is_read_closed: bool,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if connection.is_dialing() {
            if !is_writable {
                return;
            }
            match connection.finish_dialing() {
                Ok(true) => self.handle(Input::Connected(id)),
                Ok(false) => return,
                Err(error) => return self.lose(id, error.kind()),
            }
        }
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.can_read |= is_readable || is_read_closed;
        connection.is_read_closed |= is_read_closed;
        connection.can_write |= is_writable;
        self.mark_readable(id);
        if is_writable {
            self.mark_sendable(id);
        }
    }

    pub(super) fn mark_readable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.can_read
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

    pub(super) fn serve_connections(&mut self) {
        let count = self.readable.len();
        let budget_bytes = share_bytes(TURN_RECEIVED_BYTES, count);
        for _ in 0..count {
            let Some(id) = self.readable.pop_front() else { return };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_queued_to_read = false;
                self.receive(id, budget_bytes);
            }
        }
    }

    /// Reads from a connection until it is empty or its budget is used. No single read is
    /// cut short by what is left of the budget, as that would cut chunks in two.
    pub(super) fn receive(&mut self, id: ConnectionId, budget_bytes: usize) {
        let mut scratch = mem::take(&mut self.scratch);
        let mut left_bytes = budget_bytes;
        loop {
            let room_bytes = budget_bytes.min(self.node.read_allowance_bytes(id));
            let Some(connection) = self.connections.get_mut(id).filter(|c| c.can_read) else {
                break;
            };
            if left_bytes == 0 || room_bytes == 0 {
                // Out of budget: the next turn goes on. Not allowed: `send` will.
                if left_bytes == 0 {
                    self.mark_readable(id);
                } else if let Some(kind) = connection.broken {
                    self.lose(id, kind);
                }
                break;
            }
            match connection.receive(&mut scratch[..room_bytes]) {
                Ok(Some(0)) => {
                    // What it still waits for goes out before it is told to be over.
                    self.send(id, CONNECTION_TURN_BYTES_MAX);
                    self.handle(Input::ReadClosed(id));
                    break;
                }
                Ok(Some(len)) => {
                    let calls_before = self.file_calls;
                    self.handle(Input::Received { connection: id, bytes: &scratch[..len] });
                    // Many small chunks cost more than their bytes.
                    let calls_cost = (self.file_calls - calls_before) * FILE_CALL_COST_BYTES;
                    left_bytes = left_bytes.saturating_sub(len.max(calls_cost));
                }
                Ok(None) => break,
                Err(error) => {
                    self.lose(id, error.kind());
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    pub(super) fn send_all(&mut self) {
        // What is marked meanwhile waits for the next turn.
        let count = self.sendable.len();
        let budget_bytes = share_bytes(TURN_SENT_BYTES, count);
        for _ in 0..count {
            let Some(id) = self.sendable.pop_front() else { return };
            self.send(id, budget_bytes);
        }
    }

    /// Sends what a connection has to send until the socket is full or the budget used.
    pub(super) fn send(&mut self, id: ConnectionId, mut budget_bytes: usize) {
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
            let piece = &mut *self.piece;
            match connection.send(&transmit, budget_bytes, self.files.as_ref(), piece) {
                Ok(Some(len)) => {
                    budget_bytes = budget_bytes.saturating_sub(len);
                    self.node.transmitted(self.now, id, len);
                    self.carry_out(&[]);
                }
                Ok(None) => {}
                Err(connection::SendError::Source { file, error }) => {
                    if let Some(files) = &mut self.files {
                        files.close(file);
                    }
                    self.handle(Input::FileFailed { file, error });
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

    pub(super) fn lose(&mut self, id: ConnectionId, kind: io::ErrorKind) {
        self.connections.remove(id);
        self.handle(broken(id, kind));
    }
}

/// What each of `count` connections may move of what all may in one turn.
fn share_bytes(turn_bytes: usize, count: usize) -> usize {
    (turn_bytes / count.max(1)).clamp(CONNECTION_TURN_BYTES_MIN, CONNECTION_TURN_BYTES_MAX)
}
