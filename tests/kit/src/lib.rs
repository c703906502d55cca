//! The parts that several test targets and benches share.
//!
//! | module | what it is for |
//! |---|---|
//! | `wait` | conditions that are awaited: one that does not come true in time is a failure |
//! | `trial` | tests that need root, a tool or a feature of the kernel, and are skipped without it |
//! | `amount` | how much a test tries, as the environment sets it |
//! | `launch`, `process`, `figures` | the program in a process: how it starts, what it says, what it costs |
//! | `terminal` | a terminal with a program at it |
//! | `world`, `peer` | a place of its own for a scenario; the registry, peers and commands in it |
//! | `fake_source`, `clients`, `relay`, `server` | counterparts made by hand |
//! | [`messages`] | protocol version 0, encoded and decoded by hand |
//! | [`mod@reference`] | programs in the role of the older implementation |
//! | [`runner`] | what drives a node over a made-up world, by its contract |
//! | `names` | hostile names, and names made by chance |
//! | [`oracle`] | the rule for names and for what is shown, written a second time |
//!
//! Nothing here sleeps for an effect or uses a fixed port. All traffic stays within 127.0.0.0/8.
#![allow(missing_docs, reason = "only tests see it, and most names say all")]

mod amount;
mod clients;
mod fake_source;
mod figures;
mod launch;
mod lister;
pub mod messages;
mod names;
pub mod oracle;
mod peer;
mod process;
pub mod reference;
mod relay;
pub mod runner;
mod server;
mod sessions;
pub mod sharer;
mod terminal;
mod trial;
mod wait;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use p2pfs::limits::Limits;
use p2pfs::node::{GatherSettings, PeerKind, PeerSettings, RegistryUse};
use p2pfs::wire::PeerId;
use p2pfs::wire::v1::PeerName;

pub use amount::{quantity, setting};
pub use clients::{Answer, Heard, RawDownloader, RegistryClient};
pub use fake_source::{FakeSource, OfferRepeater};
pub use figures::Usage;
pub use launch::{Launch, Output, is_ignored, program};
pub use lister::{Listed, Lister, list};
pub use names::{Hostile, NameGenerator, hostile};
pub use peer::{Peer, PeerPlan};
pub use process::{Ended, Process};
pub use relay::Relay;
pub use rustix::process::Signal;
pub use server::{Server, Stop};
pub use sessions::RawSession;
pub use terminal::{AtTerminal, terminal};
pub use trial::{Missing, NOTHING, Need, Test, is_root, run, tools};
pub use wait::{DEADLINE, await_some, await_until};
pub use world::{Registry, ReservedPort, World, ears, offer_socket};

/// Returns bytes that look random and differ for each seed.
pub fn content(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    while bytes.len() < len_bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len_bytes);
    bytes
}

/// Returns what a peer is told that is known by this id.
pub fn peer_settings(id: u32, port: u16, registry: SocketAddrV4) -> PeerSettings {
    PeerSettings {
        kind: PeerKind::Fixed,
        id: PeerId(id),
        port,
        registry_use: RegistryUse::Named,
        registry: registry.into(),
        offer_interval: Duration::from_secs(5),
        name: PeerName::none(),
        instance: 1 + u64::from(id),
        shares_v0: true,
        group: None,
        beacons: None,
        gather: GatherSettings::default(),
        simulate_checksum_failure: false,
        exit_when_done: false,
        limits: Limits::PEER,
        seed: 1,
    }
}

/// Returns the names in a folder and their contents; that of a folder is empty.
pub fn content_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let content = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(content).collect()
}

/// Makes the connection end with a reset when it is dropped.
pub fn reset_on_close(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Returns whether a read ended because its time was up.
pub fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Returns the IPv4 address that a listener has.
pub fn address_of(listener: &TcpListener) -> SocketAddrV4 {
    match listener.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}
