//! What is going to happen: events in the order of their time and, at one time,
//! in the order they were put in.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use p2pfs::content::{HashKind, PathId, Sight};
use p2pfs::proto::FileId;
use p2pfs::wire::v0::FileName;

use crate::network::{ConnectionKey, Side};

/// A host by its place in the world; 0 is the registry.
pub(crate) type HostIndex = usize;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request for a connection reaches the other host.
    Syn(ConnectionKey),
    /// What travels towards this side of a connection may have arrived.
    Deliver(ConnectionKey, Side),
    /// The kernels give up a connection that has been silent or unread for so long.
    KernelGivesUp(ConnectionKey),
    /// A side that was closed in order stops listening to what still comes.
    LingerEnds(ConnectionKey, Side),
    /// Something for the process that ran on a host when the event was put in.
    Process {
        /// The host.
        host: HostIndex,
        /// Which of its processes: each start has the next number.
        incarnation: u32,
        /// What.
        what: Happening,
    },
    /// A datagram goes out to all.
    Broadcast(HostIndex, Port, Vec<u8>),
    /// A host starts a process, unless one runs.
    Start(HostIndex),
    /// A process that stood still goes on.
    Thaw(HostIndex),
    /// A user wants a file.
    Wish(HostIndex, FileName),
    /// A program of the user's writes on at a file in the shared folder.
    WriteOn(HostIndex, FileName),
    /// Time for something bad.
    Trouble,
    /// Time to look whether the goal is reached.
    Look,
}

/// Where datagrams are heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// Offers.
    Offers,
    /// Beacons.
    Beacons,
}

/// Something that happens to a process.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A connection is in the accept queue.
    Accept(ConnectionKey),
    /// A connection that was asked for is made.
    Connected(ConnectionKey),
    /// A connection that was asked for is refused.
    Refused(ConnectionKey),
    /// There is something to read, an end or an error.
    Readable(ConnectionKey),
    /// There is room to write.
    Writable(ConnectionKey),
    /// A datagram came.
    Datagram {
        /// To here.
        port: Port,
        /// From here.
        from: SocketAddrV4,
        /// As it came.
        bytes: Vec<u8>,
    },
    /// The next slice of a file's hash is due; the job has this number.
    HashSlice(FileName, HashKind, PathId, u64),
    /// A slow disk answers.
    SourceOpened(FileId),
    /// A block of a partial file is hashed.
    BlockHashed(FileId, u32),
    /// A commit goes on.
    CommitGoesOn(FileId),
    /// The user wants a file.
    Want(FileName),
    /// The kernel tells that something happened to a name in the shared folder.
    FolderChanged(FileName, Sight),
    /// The kernel tells that it could not tell all.
    FolderChangesLost,
    /// The user stops the process.
    Stop,
}

/// The events to come.
#[derive(Default)]
pub(crate) struct Queue {
    events: BTreeMap<(u64, u64), Event>,
    puts: u64,
}

impl Queue {
    /// Adds an event.
    pub(crate) fn put(&mut self, at_us: u64, event: Event) {
        self.events.insert((at_us, self.puts), event);
        self.puts += 1;
    }

    /// When the next event is due.
    pub(crate) fn next_at_us(&self) -> Option<u64> {
        self.events.first_key_value().map(|((at_us, _), _)| *at_us)
    }

    /// The next event.
    pub(crate) fn take(&mut self) -> Option<Event> {
        self.events.pop_first().map(|(_, event)| event)
    }
}
