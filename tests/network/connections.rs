//! Connections by the thousand, and no descriptor left for one (rows 23 and 37).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use kit::messages::{self, Count};
use kit::quantity;
use kit::{Answer, DEADLINE, Process, ReservedPort, World, await_until, content, is_timeout};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

use crate::crowd::connect_as;
use crate::datagrams::Measurement;
use crate::flood::Flood;
use crate::turns::alone;
use crate::turns::median;

kit::tests![
    connections_that_are_reset_at_once_leave_transfers_half_of_their_rate,
    a_registry_answers_beside_connections_that_are_reset,
    a_registry_without_descriptors_waits_and_recovers,
    a_peer_without_descriptors_waits_and_recovers,
];

const NAME: &str = "file";
/// Row 37.
const STARVED_SHARE_MAX: f64 = 0.05;
const RECOVERS_WITHIN: Duration = Duration::from_millis(200);
/// Descriptors that a starved process has for connections.
const PLACES: usize = 4;
const ROUNDS: usize = 11;
/// Clients of a registry beside a flood, and how much of it each has to itself.
const CLIENTS: u32 = 200;
const RESETS_PER_CLIENT: u32 = 50;

fn connections_that_are_reset_at_once_leave_transfers_half_of_their_rate() {
    let _turn = alone();
    let measurement = Measurement::new();
    let per_second = quantity("P2PFS_CONNECTIONS_PER_SECOND", 10_000);
    let nobody = ReservedPort::new();
    let source = measurement.source.address;
    let process = &measurement.source.process;
    let before = process.descriptors();
    measurement.compare(
        || Flood::of_connections(source, per_second),
        || Flood::of_connections(nobody.address, per_second),
    );
    measurement.source.process.assert_running();
    await_until("its table is empty again", || process.descriptors() <= before);
    process.await_idle();
    process.assert_memory_bounded();
}

fn a_registry_answers_beside_connections_that_are_reset() {
    let _turn = alone();
    let world = World::new();
    let process = &world.registry().process;
    let before = process.descriptors();
    let per_second = quantity("P2PFS_CONNECTIONS_PER_SECOND", 10_000);
    let flood = Flood::of_connections(world.registry().address, per_second);
    for id in 1..=CLIENTS {
        let mut client = world.client();
        assert_eq!(client.register(id, id), Answer::Registered(1));
        assert!(matches!(client.lookup(id), Answer::Address(_, port) if port == id));
        await_until("the flood goes on", || flood.count() >= (id * RESETS_PER_CLIENT).into());
    }
    flood.end();
    world.registry().process.assert_running();
    await_until("its table is empty again", || process.descriptors() == before);
    process.await_idle();
}

/// A client that asks something short, and the answer or the end of the connection.
fn ask(number: usize, at: SocketAddrV4, request: &[u8]) -> TcpStream {
    let mut stream = connect_as(number, at).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request).unwrap();
    stream
}

/// Waits for the answer, or the end of the connection.
#[track_caller]
fn hear(mut stream: &TcpStream) {
    if let Err(error) = stream.read(&mut [0; 256]) {
        assert!(!is_timeout(&error), "no answer");
    }
}

/// Takes the descriptors of a process away but for a few, which others hold, and gives one
/// back while a client waits for it, again and again.
fn survives_without_descriptors(process: &Process, at: SocketAddrV4, request: &[u8]) {
    let process = &process;
    let usual = getrlimit(Resource::Nofile);
    let before = process.descriptors();
    let limit = Some(process.descriptor_limit_for(PLACES));
    let starved = Rlimit { current: limit, maximum: usual.maximum };
    prlimit(Some(process.pid()), Resource::Nofile, starved).unwrap();

    let mut number = 0;
    let mut holders = VecDeque::new();
    let mut waits = Vec::new();
    let mut share = 0.0_f64;
    for round in 0..ROUNDS {
        while holders.len() < PLACES {
            holders.push_back(connect_as(number, at).unwrap());
            number += 1;
            let held = before + holders.len();
            await_until("another place is taken", || process.descriptors() >= held);
        }
        let waiting = ask(number, at, request);
        if round == 0 {
            share = process.cpu_share(Duration::from_secs(2));
            waiting.set_nonblocking(true).unwrap();
            let peeked = waiting.peek(&mut [0]);
            assert!(peeked.is_err_and(|error| is_timeout(&error)), "there was a place");
            waiting.set_nonblocking(false).unwrap();
        }
        let began = Instant::now();
        drop(holders.pop_front());
        hear(&waiting);
        waits.push(began.elapsed().as_secs_f64());
    }
    let wait = median(&waits);
    assert!(share < STARVED_SHARE_MAX, "{:.2} % of a CPU without a descriptor", share * 100.0);
    assert!(wait < RECOVERS_WITHIN.as_secs_f64(), "served {wait:.3} s after one was free");

    prlimit(Some(process.pid()), Resource::Nofile, usual).unwrap();
    let more: Vec<_> = (0..50).map(|more| ask(number + more, at, request)).collect();
    more.iter().for_each(hear);
    drop((more, holders));
    await_until("its table is empty again", || process.descriptors() <= before);
    process.await_idle();
    process.assert_running();
}

fn a_registry_without_descriptors_waits_and_recovers() {
    let _turn = alone();
    let world = World::new();
    let request = messages::lookup_request(1);
    survives_without_descriptors(&world.registry().process, world.registry().address, &request);
}

fn a_peer_without_descriptors_waits_and_recovers() {
    let _turn = alone();
    let world = World::new();
    let peer = world.peer(1).has(NAME, &content(1, 1000)).start();
    world.await_offer(1, NAME);
    await_until("it is registered", || world.client().lookup(1) == Answer::address(peer.address));
    // Answered by closing, which takes no descriptor for a file.
    let request = messages::request("not shared", Count::Bytes);
    survives_without_descriptors(&peer.process, peer.address, &request);
}
