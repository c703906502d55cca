//! One end of a connection, and the stream that leads to it: bytes on the wire, and
//! bytes received and not read yet.

use std::collections::VecDeque;
use std::io::ErrorKind;

use crate::queue::HostIndex;

/// What can be read at an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readable {
    /// Bytes.
    Bytes,
    /// Nothing more will come.
    End,
    /// It broke.
    Broken(ErrorKind),
    /// Nothing yet.
    Nothing,
}

/// Who holds an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A process, or the accept queue it will take it from.
    Process(HostIndex, u32),
    /// No one yet, or the kernel after an orderly close: it takes what comes.
    Kernel,
    /// No one: the kernel answers with a reset.
    Nobody,
    /// Its machine is gone: no answer at all.
    DeadMachine(HostIndex),
}

/// Something that travels.
#[derive(Debug)]
pub(crate) enum Item {
    /// Bytes of the stream.
    Bytes(Vec<u8>),
    /// Its orderly end.
    End,
    /// A reset.
    Reset,
}

/// What bounds the speed of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    /// From one side to the other.
    pub(crate) latency_us: u64,
    /// In each direction.
    pub(crate) bytes_per_s: u64,
    /// What fits into one stream: both sockets' buffers.
    pub(crate) capacity_bytes: usize,
}

/// An end. Invariant: `held_bytes` is what `wire` and `received` hold.
pub(crate) struct End {
    /// Who holds it.
    pub(crate) holder: Holder,
    /// Its process waits for room to write.
    pub(crate) wants_room: bool,
    /// Its process is already told that there is something to read.
    pub(crate) is_woken: bool,
    /// A delivery to it is in the queue of events.
    pub(crate) is_delivery_due: bool,
    /// How it ended, once that has arrived.
    pub(crate) finish: Option<Readable>,
    /// On the way to it, with the time of arrival, in order.
    wire: VecDeque<(u64, Item)>,
    /// When the last byte on the wire has left the other side.
    line_busy_until_us: u64,
    received: VecDeque<Vec<u8>>,
    /// What is read of the first piece of `received`.
    received_used: usize,
    held_bytes: usize,
    /// When its process last read, or something came for it to read.
    unread_since_us: u64,
}

impl End {
    /// An end to which nothing was sent yet.
    pub(crate) fn new(holder: Holder) -> Self {
        Self {
            holder,
            wants_room: false,
            is_woken: false,
            is_delivery_due: false,
            finish: None,
            wire: VecDeque::new(),
            line_busy_until_us: 0,
            received: VecDeque::new(),
            received_used: 0,
            held_bytes: 0,
            unread_since_us: 0,
        }
    }

    /// What can be read: first what came before the end.
    pub(crate) fn readable(&self) -> Readable {
        match self.finish {
            _ if !self.received.is_empty() => Readable::Bytes,
            Some(finish) => finish,
            None => Readable::Nothing,
        }
    }

    /// How much more the stream can hold.
    pub(crate) fn room_bytes(&self, link: &Link) -> usize {
        link.capacity_bytes.saturating_sub(self.held_bytes)
    }

    /// Something is sent to it; when it will arrive.
    pub(crate) fn send(&mut self, now_us: u64, link: &Link, jitter_us: u64, item: Item) -> u64 {
        let len_bytes = item.len_bytes();
        self.held_bytes += len_bytes;
        self.line_busy_until_us =
            self.line_busy_until_us.max(now_us) + len_bytes as u64 * 1_000_000 / link.bytes_per_s;
        let last_us = self.wire.back().map_or(0, |(at_us, _)| *at_us);
        let arrives_us = (self.line_busy_until_us + link.latency_us + jitter_us).max(last_us);
        self.wire.push_back((arrives_us, item));
        arrives_us
    }

    /// Nothing reaches it before then.
    pub(crate) fn delay_until(&mut self, at_us: u64) {
        self.line_busy_until_us = at_us;
    }

    /// What is on the wire arrives now.
    pub(crate) fn hurry(&mut self, now_us: u64) {
        self.line_busy_until_us = now_us;
        self.wire.iter_mut().for_each(|(at_us, _)| *at_us = (*at_us).min(now_us));
    }

    /// When the next item arrives.
    pub(crate) fn next_arrival_us(&self) -> Option<u64> {
        self.wire.front().map(|(at_us, _)| *at_us)
    }

    /// Takes what has arrived; whether its process has something to learn.
    pub(crate) fn receive(&mut self, now_us: u64) -> bool {
        let mut has_news = false;
        while self.next_arrival_us().is_some_and(|at_us| at_us <= now_us)
            && let Some((_, item)) = self.wire.pop_front()
        {
            if !matches!(self.holder, Holder::Process(..)) {
                self.held_bytes -= item.len_bytes();
                continue;
            }
            has_news = true;
            match item {
                Item::Bytes(bytes) => {
                    if self.received.is_empty() {
                        self.unread_since_us = now_us;
                    }
                    self.received.push_back(bytes);
                }
                Item::End => self.finish = self.finish.or(Some(Readable::End)),
                Item::Reset => self.finish = Some(Readable::Broken(ErrorKind::ConnectionReset)),
            }
        }
        has_news
    }

    /// Whether something waits to be read, and nothing was read since then.
    pub(crate) fn is_unread_since(&self, us: u64) -> bool {
        !self.received.is_empty() && self.unread_since_us <= us
    }

    /// Reads what was received, at most so much, into `out`.
    pub(crate) fn read(&mut self, now_us: u64, len_max: usize, out: &mut Vec<u8>) {
        out.clear();
        self.unread_since_us = now_us;
        while out.len() < len_max
            && let Some(piece) = self.received.front()
        {
            let rest = &piece[self.received_used..];
            let taken = rest.len().min(len_max - out.len());
            out.extend_from_slice(&rest[..taken]);
            self.received_used += taken;
            if self.received_used == piece.len() {
                self.received.pop_front();
                self.received_used = 0;
            }
        }
        self.held_bytes -= out.len();
    }

    /// Its process has no more to do with it; whether it leaves something unread.
    pub(crate) fn let_go(&mut self, holder: Holder) -> bool {
        let leaves_unread = !self.received.is_empty();
        self.holder = holder;
        self.drop_received();
        leaves_unread
    }

    /// What is on its way is lost.
    pub(crate) fn drop_wire(&mut self) {
        self.held_bytes -= self.wire.iter().map(|(_, item)| item.len_bytes()).sum::<usize>();
        self.wire.clear();
    }

    /// What was received and not read is lost.
    pub(crate) fn drop_received(&mut self) {
        self.held_bytes -= self.received.iter().map(Vec::len).sum::<usize>() - self.received_used;
        self.received.clear();
        self.received_used = 0;
    }
}

impl Item {
    fn len_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::End | Self::Reset => 0,
        }
    }
}
