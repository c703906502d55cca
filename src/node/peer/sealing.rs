//! Sessions under a seal: what the session has to send is sealed, and what comes is opened, so
//! that the session itself knows nothing of it.
//!
//! Records are filled as long as the session has bytes, or the runner reads those of a file, and
//! sealed then. One is filled once the one before is sent. Received records are opened in one
//! buffer for all connections, where they stay until the next ones come.
//!
//! A handshake takes much longer than a record, so they have a rate, and wait for their turn.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use super::PeerNode;
use super::context::Context;
use super::session::SessionConnection;
use crate::limits::{HANDSHAKE_BURST, HANDSHAKE_PAUSE, HANDSHAKE_WAIT_MAX, SEALED_HELLO_TIMEOUT};
use crate::node::ConnectionId;
use crate::proto::v1::{RECORD_PLAIN_BYTES_MAX, Sealed, Session, SessionEvent};
use crate::proto::{CloseReason, Transmit};
use crate::wire::v1::SealKey;

/// The least that a disk is read by.
const PAGE_BYTES: u32 = 4096;

/// The group of which this peer is a member.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// What is dialed is sealed with the first; what comes in may be with any.
    pub seal_keys: Rc<[SealKey]>,
    /// Whether peers without a secret are sources, and are served, too.
    pub also_open: bool,
}

/// The seal of a session's connection.
#[derive(Debug)]
pub(in crate::node) struct Seal {
    sealed: Sealed,
    /// Requests whose answers end in the record that is filled or sent.
    answered: Vec<u32>,
    /// When what came is looked at again: its handshake has to wait.
    resume_at: Option<Instant>,
}

/// The records that were opened last.
#[derive(Debug, Default)]
pub(super) struct Opened {
    buffer: Vec<u8>,
    /// Whether the bytes received last are these.
    is_last: bool,
    /// Until when the handshakes that have had a turn would take, one each pause.
    done_until: Option<Instant>,
}

impl Opened {
    /// Returns the bytes in which ranges of the last input lie, if it came sealed.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        self.is_last.then_some(&self.buffer)
    }

    /// The next bytes received are not sealed, or of another connection.
    pub(super) fn forget(&mut self) {
        self.is_last = false;
    }

    /// Returns when one more handshake has its turn.
    fn next_turn(&self, now: Instant) -> Instant {
        // After a pause, some have theirs at once.
        let ahead = HANDSHAKE_PAUSE * (HANDSHAKE_BURST - 1);
        self.done_until.and_then(|until| until.checked_sub(ahead)).map_or(now, |turn| turn.max(now))
    }

    /// One more handshake has a turn.
    fn take_turn(&mut self, now: Instant) {
        let until = self.done_until.map_or(now, |until| until.max(now));
        self.done_until = Some(until + HANDSHAKE_PAUSE);
    }
}

impl Seal {
    fn new(sealed: Sealed) -> Self {
        Self { sealed, answered: Vec::new(), resume_at: None }
    }

    /// Returns the seal of a connection that is being made with a session, and has it wait longer
    /// for a hello.
    pub(in crate::node) fn dialed(
        now: Instant,
        group: Option<&GroupSettings>,
        session: &mut Session,
    ) -> Option<Self> {
        let key = group?.seal_keys.first()?;
        session.await_hello_until(now + SEALED_HELLO_TIMEOUT);
        Some(Self::new(Sealed::dialed(key)))
    }

    /// Opens what came, and returns the first event that it leads to.
    pub(in crate::node) fn first_event(
        &mut self,
        now: Instant,
        session: &mut Session,
        received: &[u8],
    ) -> Result<Option<SessionEvent>, CloseReason> {
        let (mut buffer, mut at) = (Vec::new(), 0);
        self.sealed.collect(received, &mut buffer);
        while let Some(opened) = self.sealed.next(&mut buffer, &mut at)? {
            let bytes = buffer.get(..opened.end).unwrap_or_default();
            let event = session.handle_bytes(now, bytes, &mut opened.start.clone())?;
            if event.is_some() {
                return Ok(event);
            }
        }
        self.sealed.keep(buffer.get(at..).unwrap_or_default());
        Ok(None)
    }

    /// Returns the seal of a connection that came in.
    pub(super) fn accepted(ctx: &Context) -> Option<Self> {
        let group = ctx.settings.group.as_ref()?;
        Some(Self::new(Sealed::accepted(&group.seal_keys)))
    }

    pub(in crate::node) fn transmit<'a>(&'a self, session: &'a Session) -> Option<Transmit<'a>> {
        let next = session.transmit();
        // Until it is open, what follows has to wait for the other side.
        let more = next.is_some() && self.sealed.is_open();
        self.sealed.transmit(more).or_else(|| match next? {
            Transmit::File { file, offset, len_bytes } => {
                let len_bytes = self.file_bytes(len_bytes);
                (len_bytes > 0).then_some(Transmit::File { file, offset, len_bytes })
            }
            // They are put in a record once there is room for them.
            _ => None,
        })
    }

    /// Returns how much of so many bytes of a file the record takes: all, or whole pages, which are
    /// read and written at less cost.
    fn file_bytes(&self, len_bytes: u32) -> u32 {
        let room_bytes = self.sealed.room_bytes() as u32;
        if len_bytes <= room_bytes { len_bytes } else { room_bytes - room_bytes % PAGE_BYTES }
    }

    /// Seals what the session has to send, as far as there is room for it.
    pub(in crate::node) fn fill(&mut self, now: Instant, session: &mut Session) {
        while self.sealed.room_bytes() > 0
            && let Some(next) = session.transmit()
        {
            let bytes = match next {
                Transmit::Bytes { bytes, .. } => bytes,
                Transmit::File { len_bytes, .. } if self.file_bytes(len_bytes) > 0 => return,
                Transmit::File { .. } => break,
            };
            let len_bytes = self.sealed.fill(bytes);
            self.answered.extend(session.transmitted(now, len_bytes));
        }
        self.sealed.seal();
        if session.transmit().is_none() {
            self.sealed.rest();
        }
    }

    /// Bytes of a file were read: less than there is room for ends the record.
    pub(super) fn on_read(&mut self, now: Instant, session: &mut Session, bytes: &[u8]) {
        let Some(Transmit::File { len_bytes, .. }) = self.transmit(session) else { return };
        let bytes = bytes.get(..len_bytes as usize).unwrap_or(bytes);
        self.sealed.fill(bytes);
        self.answered.extend(session.transmitted(now, bytes.len()));
        match bytes.len() < len_bytes as usize {
            true => self.sealed.seal(),
            false => self.fill(now, session),
        }
    }

    /// The socket took so many bytes. Returns the requests whose answers are sent with them.
    pub(in crate::node) fn transmitted(&mut self, len_bytes: usize) -> Vec<u32> {
        match self.sealed.transmitted(len_bytes) {
            true => mem::take(&mut self.answered),
            false => Vec::new(),
        }
    }

    /// Returns how many sealed bytes may be read, if so many may be of what they hold: none while a
    /// handshake waits.
    pub(super) fn read_allowance_bytes(&self, plain_bytes: usize) -> usize {
        if self.resume_at.is_some() {
            return 0;
        }
        let records = plain_bytes.div_ceil(RECORD_PLAIN_BYTES_MAX);
        plain_bytes + records * Sealed::OVERHEAD_BYTES
    }

    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }
}

impl PeerNode {
    /// Opens what came on a sealed connection, and gives it to the session.
    pub(super) fn on_sealed_bytes(&mut self, id: ConnectionId, received: &[u8]) {
        let mut buffer = mem::take(&mut self.context.opened.buffer);
        buffer.clear();
        let mut at = 0;
        if let Some((seal, _)) = self.context.seal_on(id) {
            seal.sealed.collect(received, &mut buffer);
        }
        let mut has_opened = false;
        while let Some(opened) = self.open_next(id, &mut buffer, &mut at) {
            has_opened = true;
            let bytes = buffer.get(..opened.end).unwrap_or_default();
            self.on_plain_bytes(id, bytes, opened.start);
        }
        let now = self.context.now;
        if let Some((seal, session)) = self.context.seal_on(id) {
            seal.sealed.keep(buffer.get(at..).unwrap_or_default());
            if !has_opened {
                session.note_coming(now, received.len());
            }
        }
        self.context.opened.buffer = buffer;
        self.context.opened.is_last = true;
    }

    /// Returns where the next record is opened, unless the rest has to wait or the connection is
    /// over.
    fn open_next(
        &mut self,
        id: ConnectionId,
        buffer: &mut [u8],
        at: &mut usize,
    ) -> Option<std::ops::Range<usize>> {
        let now = self.context.now;
        let (seal, _) = self.context.seal_on(id)?;
        if seal.sealed.awaits_handshake(buffer, *at) && seal.resume_at.take().is_none() {
            let turn = self.context.opened.next_turn(now);
            if turn > now + HANDSHAKE_WAIT_MAX {
                self.close(id, CloseReason::Evicted);
                return None;
            }
            self.context.opened.take_turn(now);
            if turn > now {
                self.context.seal_on(id)?.0.resume_at = Some(turn);
                self.context.connections.arm(id, turn);
                return None;
            }
        }
        let (seal, _) = self.context.seal_on(id)?;
        match seal.sealed.next(buffer, at) {
            Ok(opened) => opened,
            Err(reason) => {
                self.close(id, reason);
                None
            }
        }
    }

    /// Does the handshake that had to wait, if its time has come.
    pub(super) fn resume_sealed(&mut self, id: ConnectionId) {
        let now = self.context.now;
        if let Some((seal, _)) = self.context.seal_on(id)
            && seal.resume_at.is_some_and(|at| at <= now)
        {
            self.on_sealed_bytes(id, &[]);
        }
    }

    /// Bytes of a file were read to be sealed.
    pub(super) fn on_read(&mut self, id: ConnectionId, bytes: &[u8]) {
        let now = self.context.now;
        if let Some((seal, session)) = self.context.seal_on(id) {
            seal.on_read(now, session, bytes);
        }
        self.context.pump(id);
    }
}

impl Context {
    /// Returns the seal of a connection that has one and is not over, and its session.
    fn seal_on(&mut self, id: ConnectionId) -> Option<(&mut Seal, &mut Session)> {
        let SessionConnection { seal, session, .. } =
            self.session_on(id).filter(|connection| !connection.is_closing())?;
        Some((seal.as_deref_mut()?, session))
    }
}

#[cfg(test)]
mod tests;
