//! How connections fail: links that fall silent, machines that are gone, ends that
//! break; and what the kernels make of it.

use std::io::ErrorKind;
use std::ops::RangeInclusive;

use crate::faults::Fault;
use crate::network::{ConnectionKey, GOOD_LINK, Side};
use crate::outside::Outside;
use crate::queue::{Event, HostIndex};
use crate::stream::{End, Holder, Item, Readable};

/// How long the kernel watches a silent connection: probes after 6 s, three of
/// them, 3 s apart, or a user timeout of 15 s.
pub(crate) const KERNEL_PATIENCE_US: RangeInclusive<u64> = 15_000_000..=18_000_000;
/// When a kernel sends its first probe at the latest.
const PROBE_US: u64 = 6_000_000;

impl Outside {
    /// The machine of a side is gone: nobody is told.
    pub(crate) fn vanish(&mut self, key: ConnectionKey, side: Side, host: HostIndex) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        connection.end(side).let_go(Holder::DeadMachine(host));
        connection.end(side.other()).drop_wire();
        self.network.forget_if_unheld(key);
        self.watch(key);
    }

    /// A machine is back and knows nothing of its old connections: it answers the
    /// next probe with a reset.
    pub(crate) fn machine_is_back(&mut self, host: HostIndex) {
        for key in self.network.keys() {
            for side in Side::BOTH {
                let connection = self.network.connections.get_mut(&key).expect("just listed");
                if connection.end(side).holder == Holder::DeadMachine(host) {
                    connection.end(side).holder = Holder::Nobody;
                    let probe_us = self.now_us + self.rng.u64(..PROBE_US);
                    connection.end(side.other()).delay_until(probe_us);
                    self.travel(key, side.other(), Item::Reset);
                }
            }
        }
    }

    /// A connection falls silent until then.
    pub(crate) fn stall(&mut self, key: ConnectionKey, until_us: u64) {
        if let Some(connection) = self.network.connections.get_mut(&key) {
            connection.stalled_until_us = connection.stalled_until_us.max(until_us);
            self.watch(key);
        }
    }

    /// Looks again at a connection once kernels have lost their patience with it.
    pub(crate) fn watch(&mut self, key: ConnectionKey) {
        let patience_us = self.rng.u64(KERNEL_PATIENCE_US);
        self.queue.put(self.now_us + patience_us, Event::KernelGivesUp(key));
    }

    /// A connection was silent for as long as kernels wait, or a process did not read what
    /// fills its buffers. Its ends break if that is still so.
    pub(crate) fn kernel_gives_up(&mut self, key: ConnectionKey) {
        let Some(connection) = self.network.connections.get(&key) else { return };
        let is_dead = |end: &End| matches!(end.holder, Holder::DeadMachine(_));
        let unread_since_us = self.now_us.saturating_sub(*KERNEL_PATIENCE_US.start());
        let [dialer, acceptor] = &connection.ends;
        let is_stuck = |writer: &End, reader: &End| {
            writer.wants_room && reader.is_unread_since(unread_since_us)
        };
        if connection.stalled_until_us > self.now_us
            || connection.ends.iter().any(is_dead)
            || is_stuck(dialer, acceptor)
            || is_stuck(acceptor, dialer)
        {
            self.break_connection(key, ErrorKind::TimedOut);
        } else if connection.ends.iter().any(|end| end.wants_room) {
            self.watch(key);
        }
    }

    /// Both sides find the connection broken, now.
    pub(crate) fn break_connection(&mut self, key: ConnectionKey, kind: ErrorKind) {
        Side::BOTH.into_iter().for_each(|side| self.break_end(key, side, kind));
    }

    /// One side finds the connection broken, now; the other hears nothing any more.
    pub(crate) fn break_one_side(&mut self, key: ConnectionKey, side: Side) {
        self.break_end(key, side, ErrorKind::ConnectionReset);
        self.stall(key, u64::MAX);
    }

    fn break_end(&mut self, key: ConnectionKey, side: Side, kind: ErrorKind) {
        let Some(connection) = self.network.connections.get_mut(&key) else { return };
        let end = connection.end(side);
        if self.faults.hits(&mut self.rng, Fault::ResetDestroysReceived) {
            end.drop_received();
        }
        end.drop_wire();
        end.finish = Some(Readable::Broken(kind));
        self.wake_reader(key, side, 0);
        self.wake_writer(key, side, 0);
    }

    /// A host is off the network until then.
    pub(crate) fn cut_off(&mut self, host: HostIndex, until_us: u64) {
        self.network.cut_off_until_us.insert(host, until_us);
        let is_of_host = |end: &End| matches!(end.holder, Holder::Process(h, _) if h == host);
        for key in self.network.keys() {
            if self.network.connections[&key].ends.iter().any(is_of_host) {
                self.stall(key, until_us);
            }
        }
    }

    /// Links are whole and fast again. A connection that is lost for good stays
    /// lost, and one whose bytes were changed is reset: only a digest would notice,
    /// and what a registry says has none.
    pub(crate) fn heal_links(&mut self) {
        let now_us = self.now_us;
        self.network.cut_off_until_us.clear();
        for key in self.network.keys() {
            let connection = self.network.connections.get_mut(&key).expect("just listed");
            connection.link = GOOD_LINK;
            if connection.was_flipped {
                self.break_connection(key, ErrorKind::ConnectionReset);
            } else if connection.stalled_until_us < u64::MAX {
                connection.stalled_until_us = 0;
                for side in Side::BOTH {
                    connection.end(side).hurry(now_us);
                    self.queue.put(now_us, Event::Deliver(key, side));
                }
            }
        }
    }
}
