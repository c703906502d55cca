//! What the tests of what is shown have in common.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use crate::node::{ConnectionId, Direction, Snapshot, Transfer};
use crate::wire::PeerId;
use crate::wire::v0::FileName;

pub(super) const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5000);
pub(super) const DOWNLOAD: Direction =
    Direction::In { peer: PeerId(7), size_bytes: None, sources: 1 };

/// Returns a transfer of which 3000 bytes moved at its start.
pub(super) fn transfer(name: &str, direction: Direction, began: Instant) -> Transfer {
    Transfer {
        connection: ConnectionId::from_bits(0),
        path: FileName::new(name).unwrap().into(),
        direction,
        address: ADDRESS,
        began,
        moved_at: began,
        bytes: 3000,
    }
}

pub(super) fn snapshot(transfer: Transfer) -> Snapshot {
    Snapshot { transfers: vec![transfer], ..Snapshot::default() }
}
