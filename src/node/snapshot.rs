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
}

/// The files and offers that a node knows, or the first of them.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// The files that we want and do not have, and how many other programs wait for each.
    pub wanted: Vec<(FilePath, usize)>,
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
    /// A download. Its size is not known before its end.
    In { peer: PeerId },
    /// An upload. It waits for the hash if nothing more can be sent before more is hashed.
    Out { size_bytes: u64, waits_for_hash: bool },
}
