//! What every scenario stands on: a world of its own in a temporary folder, the
//! real programs in it, and counterparts made by hand.
//!
//! Nothing here sleeps for an effect or uses a fixed port. An effect is awaited
//! by polling up to [`DEADLINE`], which is generous on purpose: it tells a hang
//! from a success and measures nothing. All traffic stays within 127.0.0.0/8.

mod fake_source;
mod peer;
mod process;
mod raw_downloader;
mod registry_client;
mod relay;
mod server;
mod world;

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) use fake_source::{FakeSource, OfferRepeater};
pub(crate) use peer::{Peer, PeerPlan};
pub(crate) use process::Process;
pub(crate) use raw_downloader::{Heard, RawDownloader};
pub(crate) use registry_client::{Answer, RegistryClient};
pub(crate) use relay::Relay;
pub(crate) use rustix::process::Signal;
pub(crate) use server::{Server, Stop};
pub(crate) use world::{Registry, ReservedPort, World, offer_socket};

/// How long anything is waited for before the test fails. Longer than every
/// deadline of the programs, with room for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
#[track_caller]
pub(crate) fn await_until(what: &str, mut condition: impl FnMut() -> bool) {
    await_some(what, || condition().then_some(()));
}

/// Waits until there is something.
#[track_caller]
pub(crate) fn await_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain: {what}");
        sleep(POLL_INTERVAL);
    }
}

/// Bytes that look random and differ for each seed.
pub(crate) fn content(seed: u64, len_bytes: usize) -> Vec<u8> {
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

/// Makes the connection end with a reset when it is dropped.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Whether a read ended because its time was up.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The IPv4 address that a listener has.
pub(crate) fn address_of(listener: &TcpListener) -> SocketAddrV4 {
    ipv4(listener.local_addr().unwrap())
}

fn ipv4(address: SocketAddr) -> SocketAddrV4 {
    match address {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}
