//! Links and the streams over them: an uplink and a downlink for each host.
//!
//! ```text
//!   node ─▶ unsent ─▶ uplink ─▶ delay ─▶ downlink ─▶ arrived ─▶ node
//!           (socket)  one packet of each stream      (read as far as
//!                     in turn, at its rate           the node allows)
//! ```
//!
//! A stream has at most [`SOCKET_BYTES_MAX`] unsent and [`WINDOW_BYTES`] between uplink and node.
//! So a busy downlink holds its senders back as TCP does: each waits for room while its others
//! go on. A packet is sent on as it arrives, not as a whole: a lone one is not delayed twice.
//! There are no losses, no headers and no acknowledgments, and nothing takes time but the links.

use std::collections::VecDeque;

use p2pfs::node::ConnectionId;

use crate::queue::{Event, Queue};

pub(crate) type HostIndex = usize;
pub(crate) type StreamIndex = usize;

/// What a link carries of one stream before it is the turn of another.
const PACKET_BYTES_MAX: usize = 16 * 1024;
/// What a socket takes before it would block, as `TCP_NOTSENT_LOWAT` sets it.
const SOCKET_BYTES_MAX: usize = 128 * 1024;
/// What is on its way at most, or arrived and not read.
const WINDOW_BYTES: usize = 64 * 1024;

/// How fast a host is connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rates {
    pub(crate) up_bytes_per_s: u64,
    pub(crate) down_bytes_per_s: u64,
}

/// Bytes of a stream.
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// Bytes of a file.
    File {
        file: usize,
        offset: u64,
        len_bytes: usize,
        /// Whether others are sent in their place.
        is_wrong: bool,
    },
}

/// One direction of a stream.
///
/// Invariant: `pieces` are the bytes that arrived, then those in flight, then the unsent ones.
#[derive(Default)]
pub(crate) struct Pipe {
    pieces: VecDeque<Piece>,
    unsent_bytes: usize,
    in_flight_bytes: usize,
    arrived_bytes: usize,
    /// Whether nothing follows.
    is_ended: bool,
    /// Whether it waits for its turn on the uplink.
    is_queued: bool,
}

/// A connection between two hosts. Side 0 dialed; the pipe of a side is what it sends.
pub(crate) struct Stream {
    pub(crate) hosts: [HostIndex; 2],
    /// What the connection is called on each side, while it is open there.
    pub(crate) ids: [Option<ConnectionId>; 2],
    pub(crate) is_made: bool,
    pipes: [Pipe; 2],
}

struct Link {
    rates: Rates,
    /// The streams and their sides that have something to send, in turn.
    queued: VecDeque<(StreamIndex, usize)>,
    is_sending: bool,
    /// When the downlink has carried all that has reached it.
    down_free_at_ns: u64,
}

/// All links and streams.
pub(crate) struct Links {
    links: Vec<Link>,
    streams: Vec<Option<Box<Stream>>>,
    pub(crate) delay_ns: u64,
}

impl Links {
    pub(crate) fn new(rates: &[Rates], delay_ns: u64) -> Self {
        let link = |&rates: &Rates| Link {
            rates,
            queued: VecDeque::new(),
            is_sending: false,
            down_free_at_ns: 0,
        };
        Self { links: rates.iter().map(link).collect(), streams: Vec::new(), delay_ns }
    }

    /// Begins a stream.
    pub(crate) fn dial(&mut self, id: ConnectionId, hosts: [HostIndex; 2]) -> StreamIndex {
        let (ids, pipes) = ([Some(id), None], Default::default());
        self.streams.push(Some(Box::new(Stream { hosts, ids, is_made: false, pipes })));
        self.streams.len() - 1
    }

    /// Returns a stream, while a side of it is open.
    pub(crate) fn stream(&mut self, index: StreamIndex) -> Option<&mut Stream> {
        self.streams[index].as_deref_mut()
    }

    /// Returns how many bytes a side can send at once: 0 until half of the socket is free.
    pub(crate) fn room_bytes(&mut self, index: StreamIndex, from: usize) -> usize {
        let Some(stream) = self.stream(index) else { return 0 };
        let room = SOCKET_BYTES_MAX - stream.pipes[from].unsent_bytes.min(SOCKET_BYTES_MAX);
        if room >= SOCKET_BYTES_MAX / 2 { room } else { 0 }
    }

    /// A side sends something.
    pub(crate) fn send(
        &mut self,
        (queue, now_ns): (&mut Queue, u64),
        index: StreamIndex,
        from: usize,
        piece: Piece,
    ) {
        let Some(stream) = self.streams[index].as_deref_mut() else { return };
        let pipe = &mut stream.pipes[from];
        pipe.unsent_bytes += piece.len_bytes();
        pipe.pieces.push_back(piece);
        self.enqueue((queue, now_ns), index, from);
    }

    /// Lets a side take its turn on the uplink, if there is something and it may go.
    fn enqueue(&mut self, (queue, now_ns): (&mut Queue, u64), index: StreamIndex, from: usize) {
        let Some(stream) = self.streams[index].as_deref_mut() else { return };
        let pipe = &mut stream.pipes[from];
        if pipe.is_queued || pipe.next_bytes() == 0 {
            return;
        }
        pipe.is_queued = true;
        let host = stream.hosts[from];
        self.links[host].queued.push_back((index, from));
        self.begin_to_send((queue, now_ns), host);
    }

    /// Puts the next packet on the uplink, if that is free.
    fn begin_to_send(&mut self, (queue, now_ns): (&mut Queue, u64), host: HostIndex) {
        let link = &mut self.links[host];
        while !link.is_sending
            && let Some((index, from)) = link.queued.pop_front()
        {
            let Some(stream) = self.streams[index].as_deref_mut() else { continue };
            let pipe = &mut stream.pipes[from];
            pipe.is_queued = false;
            let len_bytes = pipe.next_bytes();
            if len_bytes == 0 {
                continue;
            }
            pipe.unsent_bytes -= len_bytes;
            pipe.in_flight_bytes += len_bytes;
            if pipe.next_bytes() > 0 {
                pipe.is_queued = true;
                link.queued.push_back((index, from));
            }
            link.is_sending = true;
            let at_ns = now_ns + time_ns(len_bytes, link.rates.up_bytes_per_s);
            queue.put(at_ns, Event::Sent { host, stream: index, from, len_bytes });
        }
    }

    /// The last byte of a packet has left a host.
    pub(crate) fn on_sent(
        &mut self,
        (queue, now_ns): (&mut Queue, u64),
        host: HostIndex,
        (index, from): (StreamIndex, usize),
        len_bytes: usize,
    ) {
        let link = &mut self.links[host];
        link.is_sending = false;
        let took_ns = time_ns(len_bytes, link.rates.up_bytes_per_s);
        let (first_ns, last_ns) = (now_ns - took_ns + self.delay_ns, now_ns + self.delay_ns);
        if let Some(stream) = self.streams[index].as_deref() {
            let to = stream.hosts[1 - from];
            let at_ns = self.carry_down(to, first_ns, len_bytes).max(last_ns);
            queue.put(at_ns, Event::Arrived { stream: index, from, len_bytes });
        }
        self.begin_to_send((queue, now_ns), host);
    }

    /// Bytes reach a downlink from this time on. Returns when it has carried them, and all that
    /// reached it before.
    pub(crate) fn carry_down(&mut self, host: HostIndex, first_ns: u64, len_bytes: usize) -> u64 {
        let link = &mut self.links[host];
        let begins_at_ns = link.down_free_at_ns.max(first_ns);
        link.down_free_at_ns = begins_at_ns + time_ns(len_bytes, link.rates.down_bytes_per_s);
        link.down_free_at_ns
    }

    /// Bytes that this side sent have arrived. Returns where and as what, if they can be read.
    pub(crate) fn on_arrived(
        &mut self,
        (queue, now_ns): (&mut Queue, u64),
        (index, from): (StreamIndex, usize),
        len_bytes: usize,
    ) -> Option<(HostIndex, ConnectionId)> {
        let delay_ns = self.delay_ns;
        let stream = self.streams[index].as_deref_mut()?;
        let pipe = &mut stream.pipes[from];
        // What was in flight when the pipe was cleared is nothing any more.
        let len_bytes = len_bytes.min(pipe.in_flight_bytes);
        pipe.in_flight_bytes -= len_bytes;
        pipe.arrived_bytes += len_bytes;
        match stream.ids[1 - from] {
            Some(id) => Some((stream.hosts[1 - from], id)),
            None => {
                // Nobody is there to read it.
                pipe.clear();
                if len_bytes > 0 {
                    queue.put(now_ns + delay_ns, Event::Reset { stream: index, side: from });
                }
                None
            }
        }
    }

    /// Returns what has arrived from this side, of one piece and at most so many bytes.
    pub(crate) fn read(
        &mut self,
        (queue, now_ns): (&mut Queue, u64),
        (index, from): (StreamIndex, usize),
        len_max: usize,
    ) -> Option<Piece> {
        let pipe = &mut self.stream(index)?.pipes[from];
        let len_max = len_max.min(pipe.arrived_bytes);
        if len_max == 0 {
            return None;
        }
        let piece = pipe.pieces.pop_front().expect("bytes that arrived are there");
        let (piece, rest) = piece.split(len_max);
        if let Some(rest) = rest {
            pipe.pieces.push_front(rest);
        }
        pipe.arrived_bytes -= piece.len_bytes();
        self.enqueue((queue, now_ns), index, from);
        Some(piece)
    }

    /// Returns whether something of this side has arrived and is not read.
    pub(crate) fn has_arrived(&mut self, index: StreamIndex, from: usize) -> bool {
        self.stream(index).is_some_and(|stream| stream.pipes[from].arrived_bytes > 0)
    }

    /// Returns whether all that this side sent was read, and nothing follows.
    pub(crate) fn has_ended(&mut self, index: StreamIndex, from: usize) -> bool {
        self.stream(index).is_some_and(|stream| {
            let pipe = &stream.pipes[from];
            pipe.is_ended && pipe.pieces.is_empty()
        })
    }

    /// A side closes: what it sent arrives, unless it resets.
    pub(crate) fn close(
        &mut self,
        (queue, now_ns): (&mut Queue, u64),
        (index, side): (StreamIndex, usize),
        is_reset: bool,
    ) {
        let at_ns = now_ns + self.delay_ns;
        let Some(stream) = self.streams[index].as_deref_mut() else { return };
        stream.ids[side] = None;
        stream.pipes[1 - side].clear();
        if is_reset {
            stream.pipes[side].clear();
            queue.put(at_ns, Event::Reset { stream: index, side: 1 - side });
        } else {
            stream.pipes[side].is_ended = true;
            if stream.pipes[side].pieces.is_empty() {
                queue.put(at_ns, Event::Arrived { stream: index, from: side, len_bytes: 0 });
            }
        }
        self.forget(index);
    }

    /// Forgets a stream that no side has open and that carries nothing.
    pub(crate) fn forget(&mut self, index: StreamIndex) {
        if self.stream(index).is_some_and(|stream| stream.ids == [None; 2]) {
            self.streams[index] = None;
        }
    }
}

impl Pipe {
    /// Returns how long the next packet may be.
    fn next_bytes(&self) -> usize {
        let window = WINDOW_BYTES - (self.in_flight_bytes + self.arrived_bytes).min(WINDOW_BYTES);
        self.unsent_bytes.min(window).min(PACKET_BYTES_MAX)
    }

    fn clear(&mut self) {
        self.pieces.clear();
        (self.unsent_bytes, self.in_flight_bytes, self.arrived_bytes) = (0, 0, 0);
    }
}

impl Piece {
    pub(crate) fn len_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File { len_bytes, .. } => *len_bytes,
        }
    }

    /// Returns the first bytes of it, and the rest.
    fn split(self, at: usize) -> (Self, Option<Self>) {
        match self {
            piece if piece.len_bytes() <= at => (piece, None),
            Self::Bytes(mut bytes) => {
                let rest = bytes.split_off(at);
                (Self::Bytes(bytes), Some(Self::Bytes(rest)))
            }
            Self::File { file, offset, len_bytes, is_wrong } => {
                let (after, left) = (offset + at as u64, len_bytes - at);
                let rest = Self::File { file, offset: after, len_bytes: left, is_wrong };
                (Self::File { file, offset, len_bytes: at, is_wrong }, Some(rest))
            }
        }
    }
}

/// Returns how long so many bytes take at a rate.
fn time_ns(len_bytes: usize, bytes_per_s: u64) -> u64 {
    len_bytes as u64 * 1_000_000_000 / bytes_per_s
}
