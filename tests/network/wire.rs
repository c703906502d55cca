//! Bits that flip on the wire (row 6), in a relay between two real peers: in the data,
//! in the heads of messages and in the digest, both ways.
//!
//! One flip cannot be seen: in a request, from one name to another that is shared too. The
//! answer says nothing of the name, so the other file comes, with the digest that fits it.
//! It would take another protocol; here the names are two flips apart.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use kit::messages::{ACKNOWLEDGMENT_BYTES, EOF_BYTES, REQUEST_BYTES};
use kit::quantity;
use kit::{RegistryClient, Server, World, await_until, content};

use crate::turns::beside_others;

kit::tests![
    a_flipped_bit_is_seen_and_the_file_is_asked_for_again,
    after_a_flipped_bit_another_source_is_asked,
];

const FILE_BYTES: usize = 20_000;
/// Of each file, because a source that failed is left alone for longer each time.
const FLIPS_PER_FILE: usize = 2;

/// Where a bit is flipped in a transfer.
#[derive(Clone, Copy, Debug)]
struct Flip {
    is_answer: bool,
    byte: usize,
    bit: u8,
}

impl Flip {
    /// One for each transfer: mostly in data, every few in a head, a digest or a request.
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

/// What passes one way through a connection, with one bit flipped in each transfer if it
/// gets that far.
struct Wire<'a> {
    to: &'a TcpStream,
    is_answer: bool,
    /// The transfer that is under way: its number, and what is flipped in it.
    current: &'a Mutex<(usize, Option<Flip>)>,
    number: usize,
    passed: usize,
    flipped: &'a AtomicUsize,
}

impl Wire<'_> {
    /// False once the other side is gone.
    fn pass(&mut self, bytes: &mut [u8]) -> bool {
        let (number, flip) = *self.current.lock().unwrap();
        if number != self.number {
            (self.number, self.passed) = (number, 0);
        }
        if let Some(Flip { byte, bit, is_answer }) = flip
            && is_answer == self.is_answer
            && (self.passed..self.passed + bytes.len()).contains(&byte)
        {
            bytes[byte - self.passed] ^= 1 << bit;
            self.flipped.fetch_add(1, Ordering::SeqCst);
        }
        self.passed += bytes.len();
        self.to.write_all(bytes).is_ok()
    }
}

/// Copies what a downloader says, message by message. Each request begins a transfer, which
/// `begin` gives a number and a flip.
fn copy_questions(
    mut from: &TcpStream,
    mut wire: Wire<'_>,
    begin: impl Fn() -> (usize, Option<Flip>),
) {
    let mut message = [0; REQUEST_BYTES];
    while from.read_exact(&mut message[..1]).is_ok() {
        let is_request = message[0] == b'R';
        let len = if is_request { REQUEST_BYTES } else { ACKNOWLEDGMENT_BYTES };
        if from.read_exact(&mut message[1..len]).is_err() {
            break;
        }
        if is_request {
            *wire.current.lock().unwrap() = begin();
        }
        if !wire.pass(&mut message[..len]) {
            break;
        }
    }
    end(from, wire.to);
}

/// Copies what an uploader says.
fn copy_answers(mut from: &TcpStream, mut wire: Wire<'_>) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer)
        && wire.pass(&mut buffer[..len])
    {}
    end(from, wire.to);
}

fn end(from: &TcpStream, to: &TcpStream) {
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

/// A relay registered in the place of the uploader, which flips a bit in each of the first
/// transfers.
struct FlippingRelay {
    transfers: Arc<AtomicUsize>,
    flipped: Arc<AtomicUsize>,
    _server: Server,
    _registration: RegistryClient,
}

impl FlippingRelay {
    fn start(world: &World, id: u32, uploader: SocketAddrV4, flips: usize) -> Self {
        let (transfers, flipped) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let server = Server::start({
            let (transfers, flipped) = (Arc::clone(&transfers), Arc::clone(&flipped));
            move |downloader, _| {
                let Ok(uploader) = TcpStream::connect(uploader) else { return };
                let current = Mutex::new((usize::MAX, None));
                let wire = |to, is_answer| Wire {
                    to,
                    is_answer,
                    current: &current,
                    number: usize::MAX,
                    passed: 0,
                    flipped: &flipped,
                };
                let begin = || {
                    let number = transfers.fetch_add(1, Ordering::SeqCst);
                    (number, (number < flips).then(|| Flip::of(number)))
                };
                thread::scope(|scope| {
                    scope.spawn(|| copy_questions(downloader, wire(&uploader, false), begin));
                    copy_answers(&uploader, wire(downloader, true));
                    let _ = downloader.shutdown(Shutdown::Both);
                });
            }
        });
        let registration = world.registered(id, server.address.port());
        Self { transfers, flipped, _server: server, _registration: registration }
    }
}

fn a_flipped_bit_is_seen_and_the_file_is_asked_for_again() {
    let _turn = beside_others();
    let flips: usize = quantity("P2PFS_FLIPS", 24);
    let world = World::new();
    let aside = world.another_registry();
    let files: Vec<_> = (0..flips.div_ceil(FLIPS_PER_FILE))
        .map(|n| (format!("file-{n}-{n}"), content(n as u64 + 1, FILE_BYTES)))
        .collect();
    let mut uploader = world.peer_at(1, aside.address);
    let mut downloader = world.peer(2).option("--progress-timeout", "1s");
    for (name, file) in &files {
        uploader = uploader.has(name, file);
        downloader = downloader.wants(name);
    }
    let uploader = uploader.start();
    let relay = FlippingRelay::start(&world, 1, uploader.address, flips);
    let downloader = world.peer(2).option("--progress-timeout", "1s");
    let downloader = downloader.wants_all(files.iter().map(|(name, _)| &**name)).start();
    for (name, file) in &files {
        downloader.await_file(name, file);
    }
    assert!(downloader.hidden_files().is_empty());
    let flipped = relay.flipped.load(Ordering::SeqCst);
    let log = downloader.process.log();
    assert!(log.iter().any(|line| line.contains("checksum of")), "no flip reached the data");
    assert!(flipped * 2 > flips, "hardly a bit was flipped");
}

fn after_a_flipped_bit_another_source_is_asked() {
    let _turn = beside_others();
    let world = World::new();
    let aside = world.another_registry();
    let file = content(1, FILE_BYTES);
    let uploader = world.peer_at(1, aside.address).has("file", &file).start();
    let relay = FlippingRelay::start(&world, 1, uploader.address, usize::MAX);
    let downloader = world.peer(2).wants("file").start();
    await_until("the bad wire was tried", || relay.transfers.load(Ordering::SeqCst) > 0);
    let _good = world.peer(3).has("file", &file).start();
    downloader.await_file("file", &file);
}
