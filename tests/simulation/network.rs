//! Connections: two byte streams, each with an end at either side.
//!
//! Kept as in TCP: bytes come in order or not at all; a stream holds only so much,
//! so a reader that pauses stops its writer; an end comes after the bytes before
//! it, a reset may destroy them. The part of a kernel that needs no process is
//! here, too: it accepts into a queue, keeps what came, and answers for a process
//! that is gone. How links fail is in [`crate::outages`].
//!
//! A connection is forgotten once no process holds either end.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddrV4;

use fastrand::Rng;

use crate::faults::Fault;
use crate::outside::Outside;
use crate::queue::{Event, Happening, HostIndex};
use crate::stream::{End, Holder, Item, Link, Readable};

/// How long a side that closed in order goes on taking what the other still sends.
const LINGER_US: u64 = 2_000_000;
/// What links are like in calm.
pub(crate) const GOOD_LINK: Link =
    Link { latency_us: 200, bytes_per_s: 100_000_000, capacity_bytes: LARGE_BUFFERS_BYTES };
/// Room for more than a window.
const LARGE_BUFFERS_BYTES: usize = 16 * 1024 * 1024;

/// A connection. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionKey(u64);

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// That of the one who made it.
    Dialer,
    /// The side that accepted.
    Acceptor,
}

/// All connections, and how those of this run behave.
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<ConnectionKey, Connection>,
    made: u64,
    /// What links are like, but for faults.
    ordinary: Link,
    /// When each host that is cut off comes back.
    pub(crate) cut_off_until_us: BTreeMap<HostIndex, u64>,
}

/// Two streams.
pub(crate) struct Connection {
    from: SocketAddrV4,
    to: SocketAddrV4,
    pub(crate) ends: [End; 2],
    pub(crate) link: Link,
    /// The longest piece that travels whole.
    piece_bytes_max: usize,
    /// Nothing arrives before then.
    pub(crate) stalled_until_us: u64,
    /// A bit was flipped on it.
    pub(crate) was_flipped: bool,
}

impl Side {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::Dialer, Self::Acceptor];

    /// The one at the other end.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

impl Connection {
    /// One of its ends.
    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }
}

impl Network {
    /// Draws how the connections of this run behave.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let ordinary = Link {
            latency_us: 20 << rng.u32(..12),
            bytes_per_s: if rng.bool() { GOOD_LINK.bytes_per_s } else { 16_384 << rng.u32(..12) },
            capacity_bytes: match rng.u32(..4) {
                0 => LARGE_BUFFERS_BYTES,
                _ => 4096 << rng.u32(..10),
            },
        };
        let (connections, cut_off_until_us) = (BTreeMap::new(), BTreeMap::new());
        Self { connections, made: 0, ordinary, cut_off_until_us }
    }

    /// Who made a connection, and to where.
    pub(crate) fn addresses(&self, key: ConnectionKey) -> Option<(SocketAddrV4, SocketAddrV4)> {
        self.connections.get(&key).map(|connection| (connection.from, connection.to))
    }

    /// What can be read at an end.
    pub(crate) fn readable(&self, key: ConnectionKey, side: Side) -> Readable {
        match self.connections.get(&key) {
            Some(connection) => connection.ends[side as usize].readable(),
            None => Readable::Nothing,
        }
    }

    /// The connections that exist.
    pub(crate) fn keys(&self) -> Vec<ConnectionKey> {
        self.connections.keys().copied().collect()
    }

    /// Whether a host is cut off.
    pub(crate) fn is_cut_off(&self, host: HostIndex, now_us: u64) -> bool {
        self.cut_off_until_us.get(&host).is_some_and(|until_us| now_us < *until_us)
    }

    /// The process has noticed that there is something to read.
    pub(crate) fn woken(&mut self, key: ConnectionKey, side: Side) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.end(side).is_woken = false;
        }
    }

    /// Forgets a connection that no process holds any more.
    pub(crate) fn forget_if_unheld(&mut self, key: ConnectionKey) {
        let is_held = |end: &End| matches!(end.holder, Holder::Process(..));
        if self.connections.get(&key).is_some_and(|c| !c.ends.iter().any(is_held)) {
            self.connections.remove(&key);
        }
    }
}

impl Outside {
    /// A process asks for a connection.
    pub(crate) fn dial(
        &mut self,
        host: HostIndex,
        incarnation: u32,
        from: SocketAddrV4,
        to: SocketAddrV4,
    ) -> ConnectionKey {
        let link = self.draw_link();
        let is_cut = self.faults.hits(&mut self.rng, Fault::StreamCut);
        let connection = Connection {
            from,
            to,
            ends: [End::new(Holder::Process(host, incarnation)), End::new(Holder::Kernel)],
            link,
            piece_bytes_max: if is_cut { 16 << self.rng.u32(..8) } else { 65_536 },
            stalled_until_us: 0,
            was_flipped: false,
        };
        self.network.made += 1;
        let key = ConnectionKey(self.network.made);
        self.network.connections.insert(key, connection);
        if self.network.is_cut_off(host, self.now_us)
            || self.faults.hits(&mut self.rng, Fault::ConnectLost)
        {
            return key;
        }
        if self.faults.hits(&mut self.rng, Fault::ConnectRefused) {
            self.put(2 * link.latency_us, host, incarnation, Happening::Refused(key));
        } else {
            self.queue.put(self.now_us + link.latency_us, Event::Syn(key));
        }
        key
    }

    fn draw_link(&mut self) -> Link {
        if self.faults.are_off() {
            return GOOD_LINK;
        }
        let Link { latency_us, mut bytes_per_s, capacity_bytes } = self.network.ordinary;
        if self.faults.hits(&mut self.rng, Fault::ConnectionSlow) {
            bytes_per_s = 100 << self.rng.u32(..9);
        }
        Link {
            latency_us: self.rng.u64(latency_us / 2..=2 * latency_us),
            bytes_per_s,
            capacity_bytes: self.rng.usize(2048..=capacity_bytes),
        }
    }

    /// The other host's answer to a request for a connection: its process accepts,
    /// or there is none.
    pub(crate) fn answer_dial(&mut self, key: ConnectionKey, acceptor: Option<(HostIndex, u32)>) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let Holder::Process(dialer, incarnation) = connection.ends[0].holder else { return };
        let latency_us = connection.link.latency_us;
        let Some((host, host_incarnation)) = acceptor else {
            connection.ends[1].holder = Holder::Nobody;
            self.put(latency_us, dialer, incarnation, Happening::Refused(key));
            return;
        };
        connection.ends[1].holder = Holder::Process(host, host_incarnation);
        self.put(0, host, host_incarnation, Happening::Accept(key));
        self.put(latency_us, dialer, incarnation, Happening::Connected(key));
        if self.faults.hits(&mut self.rng, Fault::ResetInAcceptQueue) {
            self.break_connection(key, ErrorKind::ConnectionReset);
        }
    }

    /// Sends bytes; the count of those that were taken, 0 if there is no room now.
    pub(crate) fn send(
        &mut self,
        key: ConnectionKey,
        side: Side,
        bytes: &[u8],
    ) -> Result<usize, ErrorKind> {
        let connection = self.network.connections.get_mut(&key).expect("held by the sender");
        if let Some(Readable::Broken(kind)) = connection.end(side).finish {
            return Err(kind);
        }
        let link = connection.link;
        let mut len = bytes.len().min(connection.end(side.other()).room_bytes(&link));
        if len > 1 && self.faults.hits(&mut self.rng, Fault::SendPartial) {
            len = self.rng.usize(1..len);
        }
        if len > 0 && self.faults.hits(&mut self.rng, Fault::SendBlocked) {
            let delay_us = self.rng.u64(100..200_000);
            self.wake_writer(key, side, delay_us);
            return Ok(0);
        }
        if len == 0 {
            if !std::mem::replace(&mut connection.end(side).wants_room, true) {
                self.watch(key);
            }
            return Ok(0);
        }
        match connection.end(side.other()).holder {
            Holder::Process(..) | Holder::Kernel | Holder::DeadMachine(_) => {
                self.send_pieces(key, side.other(), &bytes[..len]);
            }
            Holder::Nobody => self.travel(key, side, Item::Reset),
        }
        Ok(len)
    }

    fn send_pieces(&mut self, key: ConnectionKey, to: Side, bytes: &[u8]) {
        let connection = &self.network.connections[&key];
        // What passes a slow link arrives while the rest still waits for it.
        let second_bytes = connection.link.bytes_per_s as usize;
        let piece_bytes_max = connection.piece_bytes_max.min(second_bytes);
        for piece in bytes.chunks(piece_bytes_max) {
            let mut piece = piece.to_vec();
            if self.faults.hits(&mut self.rng, Fault::BitFlipped) {
                let at = self.rng.usize(..piece.len());
                piece[at] ^= 1 << self.rng.u32(..8);
                let connection = self.network.connections.get_mut(&key).expect("just used");
                connection.was_flipped = true;
            }
            self.travel(key, to, Item::Bytes(piece));
        }
    }

    /// Puts an item on its way to an end.
    pub(crate) fn travel(&mut self, key: ConnectionKey, to: Side, item: Item) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let link = connection.link;
        let jitter_us = self.rng.u64(..=link.latency_us / 4);
        let end = connection.end(to);
        let arrives_us = end.send(self.now_us, &link, jitter_us, item);
        if !std::mem::replace(&mut end.is_delivery_due, true) {
            self.queue.put(arrives_us, Event::Deliver(key, to));
        }
    }

    /// What has arrived at an end by now is received.
    pub(crate) fn deliver(&mut self, key: ConnectionKey, side: Side) {
        let now_us = self.now_us;
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let stalled_until_us = connection.stalled_until_us;
        let end = connection.end(side);
        end.is_delivery_due = false;
        let has_news = stalled_until_us <= now_us && end.receive(now_us);
        if let Some(at_us) = end.next_arrival_us()
            && stalled_until_us < u64::MAX
        {
            end.is_delivery_due = true;
            self.queue.put(at_us.max(stalled_until_us), Event::Deliver(key, side));
        }
        if has_news {
            self.wake_reader(key, side, 0);
        }
        // A side that no process holds takes all at once.
        self.give_room(key, side);
    }

    /// Reads what is there, at most so much, into `out`.
    pub(crate) fn read(
        &mut self,
        key: ConnectionKey,
        side: Side,
        len_max: usize,
        out: &mut Vec<u8>,
    ) {
        let now_us = self.now_us;
        if let Some(connection) = self.network.connections.get_mut(&key) {
            connection.end(side).read(now_us, len_max, out);
            self.give_room(key, side);
        }
    }

    /// There may be room again in the stream that leads to this side.
    pub(crate) fn give_room(&mut self, key: ConnectionKey, side: Side) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let link = connection.link;
        if connection.end(side).room_bytes(&link) > 0
            && std::mem::take(&mut connection.end(side.other()).wants_room)
        {
            self.wake_writer(key, side.other(), link.latency_us);
        }
    }

    /// Tells a process that there is room to write.
    pub(crate) fn wake_writer(&mut self, key: ConnectionKey, side: Side, after_us: u64) {
        if let Holder::Process(host, incarnation) =
            self.network.connections[&key].ends[side as usize].holder
        {
            self.put(after_us, host, incarnation, Happening::Writable(key));
        }
    }

    /// Tells a process that there is something to read, unless it is told already.
    pub(crate) fn wake_reader(&mut self, key: ConnectionKey, side: Side, after_us: u64) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let end = connection.end(side);
        if let Holder::Process(host, incarnation) = end.holder
            && !std::mem::replace(&mut end.is_woken, true)
        {
            self.put(after_us, host, incarnation, Happening::Readable(key));
        }
    }

    /// A process closes its end in order: what it sent arrives. With `lingers` the
    /// other side may go on sending for a while, else that is answered by a reset.
    pub(crate) fn finish(&mut self, key: ConnectionKey, side: Side, lingers: bool) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let holder = if lingers { Holder::Kernel } else { Holder::Nobody };
        let leaves_unread = connection.end(side).let_go(holder);
        let item = if leaves_unread && !lingers { Item::Reset } else { Item::End };
        self.travel(key, side.other(), item);
        self.give_room(key, side);
        if lingers {
            self.queue.put(self.now_us + LINGER_US, Event::LingerEnds(key, side));
        }
        self.network.forget_if_unheld(key);
    }

    /// The time to go on taking what the other side sends is over.
    pub(crate) fn linger_ends(&mut self, key: ConnectionKey, side: Side) {
        if let Some(connection) = self.network.connections.get_mut(&key) {
            connection.end(side).let_go(Holder::Nobody);
        }
    }

    /// A process closes its end with a reset, which may overtake what it sent before.
    pub(crate) fn reset(&mut self, key: ConnectionKey, side: Side) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        connection.end(side).let_go(Holder::Nobody);
        if self.faults.hits(&mut self.rng, Fault::ResetDestroysReceived) {
            connection.end(side.other()).drop_received();
            connection.end(side.other()).drop_wire();
        }
        self.travel(key, side.other(), Item::Reset);
        self.network.forget_if_unheld(key);
    }
}
