//! Clients that say nothing, say it slowly, or never listen (row 22), or stop in the middle of
//! a message (row 47).
//!
//! The deadlines are short here, but long enough for all to be connected at once.

use std::io::{self, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use kit::messages::{self, Count, digest_of};
use kit::quantity;
use kit::{Answer, Process, RawDownloader, Registry, RegistryClient, World, await_until, content};
use p2pfs::limits::HEAD_TIMEOUT;

use crate::crowd::{ACCEPT_QUEUE, connect_as, connect_narrow, is_closed, write_some};
use crate::turns::{alone, sockets_max};

kit::tests![
    a_registry_outlives_a_silent_crowd,
    a_registered_client_that_asks_and_never_reads_is_closed,
    a_peer_outlives_a_silent_crowd,
    a_full_table_refuses_at_once_and_serves_again_later,
    half_a_message_buys_no_more_than_its_time,
];

const NAME: &str = "file";
/// More than any socket holds, so that somebody who does not read stalls it.
const FILE_BYTES: usize = 8 << 20;
/// The kernel keeps much for each of these.
const DEAF_MAX: usize = 200;
/// Deadlines: a share for connecting them all, and some for a machine that others use.
const TIMEOUT_MIN: Duration = Duration::from_secs(4);
const CONNECTED_PER_SECOND: u32 = 1_000;

/// How a client behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Says nothing at all, or no more than the beginning.
    Silent,
    /// Sends a byte now and then.
    Dribbling,
    /// Asks and never reads.
    Deaf,
}

struct Crowd(Vec<(Manner, TcpStream)>);

impl Crowd {
    /// Connects so many, no faster than they are taken in. The deaf ones ask at once, for
    /// so many files each; the others say the beginning.
    fn gather(
        count: usize,
        victim: &Process,
        to: SocketAddrV4,
        (beginning, question): (&[u8], &[u8]),
        files: usize,
    ) -> Self {
        let before = victim.descriptors();
        let deaf = DEAF_MAX.min(count / 4);
        let manner = |number| match number {
            number if number < deaf => Manner::Deaf,
            number if number % 2 == 0 => Manner::Silent,
            _ => Manner::Dribbling,
        };
        let mut clients = Vec::new();
        for number in 0..count {
            let manner = manner(number);
            let stream = match manner {
                Manner::Deaf => {
                    let mut stream = connect_narrow(number, to, 4096).unwrap();
                    stream.write_all(question).unwrap();
                    stream
                }
                Manner::Silent | Manner::Dribbling => {
                    let mut stream = connect_as(number, to).unwrap();
                    stream.write_all(beginning).unwrap();
                    stream
                }
            };
            clients.push((manner, stream));
            if clients.len() % ACCEPT_QUEUE == 0 {
                let held = before + clients.len() + files * clients.len().min(deaf);
                await_until("they are taken in", || victim.descriptors() >= held);
            }
        }
        Self(clients)
    }

    /// Each of those that dribble sends one more byte.
    fn dribble(&self, byte: u8) {
        let dribbling = self.0.iter().filter(|(manner, _)| *manner == Manner::Dribbling);
        dribbling.for_each(|(_, stream)| write_some(stream, &[byte]));
    }

    /// Whether all know that they are closed. Of thousands of resets at once the kernel may
    /// lose some; the answer to one more byte is another. The deaf ones would have to read
    /// first what they were sent.
    fn is_gone(&self) -> bool {
        let knows = |stream: &TcpStream| {
            is_closed(stream) || {
                write_some(stream, &[0]);
                is_closed(stream)
            }
        };
        self.0.iter().all(|(manner, stream)| *manner == Manner::Deaf || knows(stream))
    }
}

/// All of the crowd are dropped in time, and nothing is left of them.
fn outlives(process: &Process, crowd: &Crowd, before: usize, request: &[u8]) {
    let count = crowd.0.len();
    await_until("all are connected at once", || process.descriptors() >= before + count);
    let mut bytes = request.iter().copied();
    let mut dribbled_at = Instant::now();
    await_until("all are closed", || {
        if dribbled_at.elapsed() > Duration::from_secs(1) {
            // Never the last byte: the request does not become whole.
            bytes.next().into_iter().for_each(|byte| crowd.dribble(byte));
            dribbled_at = Instant::now();
        }
        process.descriptors() <= before
    });
    process.await_idle();
    await_until("all know that they are closed", || crowd.is_gone());
    process.assert_memory_bounded();
    process.assert_running();
}

/// The file can be had, and is right.
#[track_caller]
fn still_serves(peer: SocketAddrV4, file: &[u8]) {
    let fetched = RawDownloader::connect(peer).fetch(NAME);
    assert!(fetched.is_some_and(|(_, digest)| digest == digest_of(file)));
}

/// The victim has the limit that we have, and opens files for some of its clients.
fn victims_max() -> usize {
    sockets_max() - 2 * DEAF_MAX
}

fn timeout(count: usize) -> String {
    let timeout = TIMEOUT_MIN + Duration::from_secs(1) * count as u32 / CONNECTED_PER_SECOND;
    format!("{}ms", timeout.as_millis())
}

fn a_registry_outlives_a_silent_crowd() {
    let _turn = alone();
    let count = quantity("P2PFS_SILENT", 2_000).min(victims_max());
    let (timeout, connections_max) = (timeout(count), (count + 10).to_string());
    let mut arguments = vec!["registry", "--listen", "127.0.0.1:0"];
    arguments.extend(["--connections-max", &connections_max]);
    arguments.extend(["--first-byte-timeout", &timeout, "--idle-timeout", &timeout]);
    let world = World::new();
    let Registry { process, address } = Registry::of(world.program(&arguments).start());
    let process = &process;
    let mut patient = RegistryClient::registered(address, 1, 1);
    let before = process.descriptors();

    let questions = messages::lookup_request(1).repeat(2_000);
    let crowd = Crowd::gather(count, process, address, (&[], &questions), 0);
    let request = messages::register_request(2, 2);
    // Who registered stays, and may be silent for as long as it likes.
    outlives(process, &crowd, before, &request[..9]);
    assert!(matches!(patient.lookup(1), Answer::Address(_, 1)));
    RegistryClient::registered(address, 2, 2);
}

fn a_registered_client_that_asks_and_never_reads_is_closed() {
    let _turn = alone();
    let world = World::new();
    let process = &world.registry().process;
    let before = process.descriptors();
    let question = messages::lookup_request(1).repeat(10_000);
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let mut stream = connect_narrow(number, world.registry().address, 4096).unwrap();
            stream.write_all(&messages::register_request(number as u32, 1)).unwrap();
            stream
        })
        .collect();
    await_until("all are connected", || process.descriptors() >= before + clients.len());
    await_until("all are closed", || {
        clients.iter().for_each(|stream| write_some(stream, &question));
        process.descriptors() <= before
    });
    process.assert_memory_bounded();
    process.await_idle();
}

fn a_peer_outlives_a_silent_crowd() {
    let _turn = alone();
    let count = quantity("P2PFS_SILENT", 2_000).min(victims_max());
    let timeout = timeout(count);
    let world = World::new();
    let file = content(1, FILE_BYTES);
    let peer = world.peer(1).has(NAME, &file);
    // Some places are kept for connections that the peer makes.
    let peer = peer.option("--connections-max", (count + 100).to_string());
    let peer = peer.option("--idle-timeout", &timeout).option("--progress-timeout", &timeout);
    let peer = peer.start();
    world.await_offer(1, NAME);
    still_serves(peer.address, &file);
    let process = &peer.process;
    process.await_idle();
    let before = process.descriptors();

    // Of those that say nothing few are kept: these begin a request.
    let request = messages::request(NAME, Count::Bytes);
    let (beginning, rest) = request[..68].split_at(1);
    let crowd = Crowd::gather(count, process, peer.address, (beginning, &request), 1);
    outlives(process, &crowd, before, rest);
    still_serves(peer.address, &file);
}

fn a_full_table_refuses_at_once_and_serves_again_later() {
    let _turn = alone();
    let world = World::new();
    let file = content(1, 1000);
    let peer = world.peer(1).has(NAME, &file);
    let peer = peer.option("--first-byte-timeout", "5s").start();
    world.await_offer(1, NAME);
    // 1,024 connections by default, some of which are kept for those that the peer makes.
    // One that is refused at once may be so before connect returns.
    let connect = |number| match connect_as(number, peer.address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        stream => Some(stream.unwrap()),
    };
    let crowd: Vec<_> = (0..1_200).map(connect).collect();
    let is_over = |stream: &Option<_>| stream.as_ref().is_none_or(is_closed);
    let closed = || crowd.iter().filter(|stream| is_over(stream)).count();
    await_until("those beyond the table are closed", || closed() >= 1_200 - 1_024);
    peer.process.assert_running();
    await_until("all are closed", || closed() == 1_200);
    still_serves(peer.address, &file);
}

/// With the usual deadlines: to a peer and to a registry, as the first message of a connection
/// and after others, whole ones.
fn half_a_message_buys_no_more_than_its_time() {
    let _turn = alone();
    let world = World::new();
    let file = content(1, 1000);
    let peer = world.peer(1).has(NAME, &file).start();
    world.await_offer(1, NAME);
    let registry = world.registry().address;
    let (request, lookup) = (messages::request(NAME, Count::Bytes), messages::lookup_request(1));
    let register = messages::register_request(2, 2);
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let acknowledgment = half(&messages::acknowledgment(1));
    let says = [
        (peer.address, half(&request)),
        (peer.address, [&request[..], &acknowledgment].concat()),
        (registry, half(&register)),
        (registry, [&lookup[..], &half(&lookup)].concat()),
        (registry, [&register[..], &half(&lookup)].concat()),
    ];
    let begin = Instant::now();
    let clients: Vec<_> = says
        .into_iter()
        .map(|(to, bytes)| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(&bytes).unwrap();
            stream
        })
        .collect();
    await_until("one is closed", || clients.iter().any(is_closed));
    assert!(begin.elapsed() >= HEAD_TIMEOUT, "one that may yet come whole is closed");
    await_until("all are closed", || clients.iter().all(is_closed));
    assert!(begin.elapsed() < HEAD_TIMEOUT + Duration::from_secs(5), "{:?}", begin.elapsed());
    still_serves(peer.address, &file);
}
