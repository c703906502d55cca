//! What the tests of nodes have in common.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{
    Action, ConnectionId, GatherSettings, Input, Node, PeerKind, PeerSettings, RegistryUse,
};
use crate::content::Version;
use crate::limits::Limits;
use crate::proto::Transmit;
use crate::wire::PeerId;
use crate::wire::v0::{FileName, Offer, RegistryResponse};
use crate::wire::v1::PeerName;

pub(crate) const REGISTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000);
pub(crate) const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6000);

pub(crate) fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// Returns a version of that size, which differs from those of other sizes in its times, too.
pub(crate) fn version(size_bytes: u64) -> Version {
    let at_ns = size_bytes as i64;
    let (modified_ns, changed_ns) = (at_ns, at_ns);
    Version { device: 1, inode: 1, size_bytes, modified_ns, changed_ns, is_executable: false }
}

pub(crate) fn settings(kind: PeerKind) -> PeerSettings {
    let is_guest = matches!(kind, PeerKind::Guest(_));
    PeerSettings {
        kind,
        id: PeerId(if is_guest { 0 } else { 7 }),
        port: 1,
        registry_use: RegistryUse::Named,
        registry: REGISTRY.into(),
        offer_interval: Duration::from_secs(5),
        name: PeerName::none(),
        instance: 7,
        shares_v0: true,
        group: None,
        beacons: None,
        gather: GatherSettings::default(),
        simulate_checksum_failure: false,
        exit_when_done: is_guest,
        limits: Limits::PEER,
        seed: 1,
    }
}

pub(crate) fn actions(node: &mut impl Node) -> Vec<Action> {
    std::iter::from_fn(|| node.poll_action()).collect()
}

/// Returns the connection that is being made.
pub(crate) fn dialed(actions: &[Action], to: SocketAddrV4) -> ConnectionId {
    let dialed = actions.iter().find_map(|action| match action {
        Action::Dial { connection, to: there } if *there == to => Some(*connection),
        _ => None,
    });
    dialed.unwrap_or_else(|| panic!("nobody calls {to}: {actions:?}"))
}

pub(crate) fn hear(node: &mut impl Node, now: Instant, from: SocketAddrV4, peer: u32, text: &str) {
    let bytes = Offer { peer: PeerId(peer), name: name(text) }.encode();
    node.handle(now, Input::Datagram { from, bytes: &bytes });
}

/// The registry answers.
pub(crate) fn answer(
    node: &mut impl Node,
    now: Instant,
    connection: ConnectionId,
    response: RegistryResponse,
) {
    let mut bytes = Vec::new();
    response.encode(&mut bytes);
    node.handle(now, Input::Received { connection, bytes: &bytes });
}

/// Returns what goes out on a connection.
pub(crate) fn sent(node: &mut impl Node, now: Instant, connection: ConnectionId) -> Vec<u8> {
    let Some(Transmit::Bytes { bytes, .. }) = node.transmit(connection) else { return Vec::new() };
    let bytes = bytes.to_vec();
    node.transmitted(now, connection, bytes.len());
    bytes
}
