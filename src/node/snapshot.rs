//! What a node is doing at one moment, for whoever shows it.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::{ConnectionId, HeardOffer};
use crate::wire::{FilePath, PeerId};

/// What a node is doing at one moment. To make one costs time in proportion to the
/// connections, not to the files or offers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The transfers under way.
    pub transfers: Vec<Transfer>,
    /// Open connections, in both directions.
    pub connections: usize,
    /// Files that we share.
    pub files_shared: usize,
    /// Offers of others that are remembered.
    pub offers_known: usize,
    /// Peers that these are from; at a registry, the peers that are entered.
    pub peers_known: usize,
    /// Jobs that have not ended.
    pub jobs_open: usize,
}

/// What a node has and knows, or the beginning of that.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The files that we share, with their sizes, by name.
    pub shared: Vec<(FilePath, u64)>,
    /// What others offer, by name.
    pub offers: Vec<HeardOffer>,
}

/// A file that is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub connection: ConnectionId,
    pub path: FilePath,
    /// Whether it is coming in or going out.
    pub direction: Direction,
    /// Where the other side is.
    pub address: SocketAddrV4,
    pub began: Instant,
    /// When anything of it last moved, or it began.
    pub moved_at: Instant,
    /// How much of it has come, or was sent.
    pub bytes: u64,
}

/// Which way a file goes, and what is known of it for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A download. Its size is not known before its end.
    In { peer: PeerId },
    /// An upload.
    Out {
        size_bytes: u64,
        /// Whether it goes no further before more of the file is hashed.
        waits_for_hash: bool,
    },
}
