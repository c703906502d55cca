//! What is going to happen: events in the order of their time and, at one time, in the order in
//! which they were put in.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use p2pfs::content::PathId;

use crate::links::{HostIndex, StreamIndex};

#[derive(Debug)]
pub(crate) enum Event {
    /// A host starts.
    Start(HostIndex),
    /// A host is gone without a word.
    Leave(HostIndex),
    /// The timer of a host may be due.
    Wake(HostIndex),
    /// The file of a sharer that it wanted to be hashed is.
    Hashed(HostIndex, PathId),
    /// A request for a connection reaches the other host.
    Syn(StreamIndex),
    /// The answer to it reaches the dialer.
    Answer { stream: StreamIndex, is_taken: bool },
    /// The uplink of the sender has put so many bytes on the wire.
    Sent { host: HostIndex, stream: StreamIndex, from: usize, len_bytes: usize },
    /// The downlink of the other side has taken so many bytes off the wire.
    Arrived { stream: StreamIndex, from: usize, len_bytes: usize },
    /// This side learns that the other one is gone.
    Reset { stream: StreamIndex, side: usize },
    /// A beacon reaches everybody.
    Beacon { from: HostIndex, bytes: Rc<[u8]> },
}

/// The events to come.
#[derive(Default)]
pub(crate) struct Queue {
    events: BinaryHeap<Due>,
    puts: u64,
}

struct Due {
    at_ns: u64,
    number: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn put(&mut self, at_ns: u64, event: Event) {
        self.events.push(Due { at_ns, number: self.puts, event });
        self.puts += 1;
    }

    /// Returns the next event, and when it happens.
    pub(crate) fn take(&mut self) -> Option<(u64, Event)> {
        self.events.pop().map(|due| (due.at_ns, due.event))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives its greatest first.
        (other.at_ns, other.number).cmp(&(self.at_ns, self.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
