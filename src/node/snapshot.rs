//! A node at one moment, to be shown.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::{ConnectionId, HeardOffer};
use crate::wire::{FilePath, PeerId};

/// A node at one moment. Making one costs time in proportion to the connections, not to the
/// files or offers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub transfers: Vec<Transfer>,
    /// Open connections, in both directions.
    pub connections: usize,
    pub files_shared: usize,
    /// Offers of others that are remembered.
    pub offers_known: usize,
    /// Peers that these are from; at a registry, the peers that are entered.
    pub peers_known: usize,
    pub jobs_open: usize,
    /// How far the wanted files have come, if their sizes are known.
    pub job: Option<JobProgress>,
}

/// How far all that is wanted has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobProgress {
    /// Bytes of the files that are there, and those that came of others and are verified.
    pub done_bytes: u64,
    /// Bytes of all of them whose size is known.
    pub all_bytes: u64,
    /// What sources have hashed of what is waited for, and all of that, in bytes.
    pub hashing: Option<(u64, u64)>,
}

/// The files and offers that a node knows, or the first of them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The files that we want and do not have, and how many other programs wait for each.
    pub wanted: Vec<(FilePath, usize)>,
    /// The patterns that may bring more of them, and for how many other programs.
    pub patterns: Vec<(String, usize)>,
    /// The files that we share, with their sizes in bytes, in order of their paths.
    pub shared: Vec<(FilePath, u64)>,
    pub offers: Vec<HeardOffer>,
}

/// A file that is being moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub connection: ConnectionId,
    pub path: FilePath,
    pub direction: Direction,
    pub address: SocketAddrV4,
    pub began: Instant,
    /// When any byte of it last moved, or it began.
    pub moved_at: Instant,
    pub bytes: u64,
}

/// The direction of a transfer, and what is known because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A download. By protocol version 0 its size is not known before its end.
    In {
        /// The source, or one of them.
        peer: PeerId,
        size_bytes: Option<u64>,
        /// From how many sources it comes now.
        sources: u32,
    },
    /// An upload. It waits for the hash if nothing more can be sent before more is hashed.
    Out { size_bytes: u64, waits_for_hash: bool },
}
