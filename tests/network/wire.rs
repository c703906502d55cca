//! Bits that flip on the wire (row 6), in a relay between two real peers: in the data,
//! in the heads of messages and in the digest, both ways.
//!
//! One flip cannot be seen: in a request, from one name to another that is shared too. The
//! answer says nothing of the name, so the other file comes, with the digest that fits it.
//! It would take another protocol; here the names are two flips apart.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::account::{Row, quantity};
use crate::harness::{Answer, RegistryClient, Server, World, await_until, content};
use crate::messages::{ACKNOWLEDGMENT_BYTES, EOF_BYTES, REQUEST_BYTES};
use crate::turns::beside_others;

const FILE_BYTES: usize = 20_000;
/// Of each file, because a source that failed is left alone for longer each time.
const FLIPS_PER_FILE: usize = 2;

/// Where a bit is flipped on a connection.
#[derive(Clone, Copy, Debug)]
struct Flip {
    is_answer: bool,
    byte: usize,
    bit: u8,
}

impl Flip {
    /// One for each connection: mostly in data, every few in a head, a digest or a request.
    fn of(number: usize) -> Self {
        let bit = (number * 5 % 8) as u8;
        let step = number / 6;
        let (is_answer, byte) = match number % 6 {
            // The type and the length of the first chunk.
            0 => (true, step % 5),
            // The digest: nobody knows where it begins, so anywhere in the last bytes.
            1 => (true, FILE_BYTES + 5 + step * 7 % EOF_BYTES),
            2 => (false, step * 11 % REQUEST_BYTES),
            3 => (false, REQUEST_BYTES + step % ACKNOWLEDGMENT_BYTES),
            _ => (true, 5 + number * 997 % FILE_BYTES),
        };
        Self { is_answer, byte, bit }
    }
}

/// Copies until either side is gone, with one bit flipped if it gets that far.
fn copy(mut from: &TcpStream, mut to: &TcpStream, flip: Option<Flip>, flipped: &AtomicUsize) {
    let mut buffer = [0; 4096];
    let mut passed = 0;
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if let Some(Flip { byte, bit, .. }) = flip
            && (passed..passed + len).contains(&byte)
        {
            buffer[byte - passed] ^= 1 << bit;
            flipped.fetch_add(1, Ordering::Relaxed);
        }
        passed += len;
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// A relay registered in the place of the uploader, which flips a bit on each of its first
/// connections.
struct FlippingRelay {
    connections: Arc<AtomicUsize>,
    flipped: Arc<AtomicUsize>,
    _server: Server,
    _registration: RegistryClient,
}

impl FlippingRelay {
    fn start(registry: SocketAddrV4, id: u32, uploader: SocketAddrV4, flips: usize) -> Self {
        let (connections, flipped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Server::start({
            let (connections, flipped) = (Arc::clone(&connections), Arc::clone(&flipped));
            move |downloader, _| {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let flip = (number < flips).then(|| Flip::of(number));
                let Ok(uploader) = TcpStream::connect(uploader) else { return };
                let (question, answer) =
                    (flip.filter(|flip| !flip.is_answer), flip.filter(|flip| flip.is_answer));
                thread::scope(|scope| {
                    scope.spawn(|| copy(downloader, &uploader, question, &flipped));
                    copy(&uploader, downloader, answer, &flipped);
                    let _ = downloader.shutdown(Shutdown::Both);
                });
            }
        });
        let mut registration = RegistryClient::connect(registry);
        let answer = registration.register(id, server.address.port().into());
        assert_eq!(answer, Answer::Registered(1));
        Self { connections, flipped, _server: server, _registration: registration }
    }
}

#[test]
fn a_flipped_bit_is_seen_and_the_file_is_asked_for_again() {
    let _turn = beside_others();
    let row = Row::new("6", "bits flipped on the wire");
    let flips: usize = quantity("P2PFS_FLIPS", 24);
    let world = World::new();
    let (registry, aside) = (world.registry(), world.registry());
    let files: Vec<_> = (0..flips.div_ceil(FLIPS_PER_FILE))
        .map(|n| (format!("file-{n}-{n}"), content(n as u64 + 1, FILE_BYTES)))
        .collect();
    let mut uploader = world.peer(1, aside.address);
    let mut downloader = world.peer(2, registry.address).option("--progress-timeout", "1s");
    for (name, file) in &files {
        uploader = uploader.has(name, file);
        downloader = downloader.wants(name);
    }
    let uploader = uploader.start();
    let relay = FlippingRelay::start(registry.address, 1, uploader.address, flips);
    let mut downloader = downloader.start();
    for (name, file) in &files {
        downloader.await_file(name, file);
    }
    assert!(downloader.hidden_files().is_empty());
    let connections = relay.connections.load(Ordering::SeqCst);
    let flipped = relay.flipped.load(Ordering::SeqCst);
    row.tried(flipped);
    row.note(format_args!("on {connections} connections"));
    let log = downloader.process.log();
    assert!(log.iter().any(|line| line.contains("checksum of")), "no flip reached the data");
    assert!(flipped * 2 > flips, "hardly a bit was flipped");
}

#[test]
fn after_a_flipped_bit_another_source_is_asked() {
    let _turn = beside_others();
    let row = Row::new("6", "bits flipped on the wire");
    let world = World::new();
    let (registry, aside) = (world.registry(), world.registry());
    let file = content(1, FILE_BYTES);
    let uploader = world.peer(1, aside.address).has("file", &file).start();
    let relay = FlippingRelay::start(registry.address, 1, uploader.address, usize::MAX);
    let mut downloader = world.peer(2, registry.address).wants("file").start();
    await_until("the bad wire was tried", || relay.connections.load(Ordering::SeqCst) > 0);
    let _good = world.peer(3, registry.address).has("file", &file).start();
    downloader.await_file("file", &file);
    row.tried(relay.flipped.load(Ordering::SeqCst));
}
