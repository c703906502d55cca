//! A registry with as many clients as it has places (rows 36 and 38).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use kit::messages;
use kit::quantity;
use kit::{DEADLINE, Process, Registry, World, await_until};

use crate::crowd::{ACCEPT_QUEUE, connect_as};
use crate::turns::median;
use crate::turns::{alone, sockets_max};

kit::tests![a_lookup_costs_little_with_a_full_registry];

/// Row 36, for a release. Without optimisation the program's own part takes some five
/// times as long.
const LOOKUP_CPU_MAX: Duration =
    Duration::from_micros(if cfg!(debug_assertions) { 100 } else { 20 });
/// In each of some batches: what else the machine does weighs on the figures of a few.
const LOOKUPS: u32 = 1_000;
const BATCHES: u32 = 11;
/// Row 38.
const JOIN_EVERY: Duration = Duration::from_millis(10);
/// So many at once, which makes a thousand a second.
const JOINS_AT_ONCE: usize = 10;
/// Their ids, which nobody else has.
const JOINERS_FROM: usize = 100_000;

fn register(number: usize, registry: SocketAddrV4) -> TcpStream {
    let mut stream = connect_as(number, registry).unwrap();
    stream
        .write_all(&messages::register_request(number as u32, 1 + number as u32 % 60_000))
        .unwrap();
    stream
}

fn is_registered(mut stream: &TcpStream) -> bool {
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).is_ok() && answer[..] == messages::register_response(1)
}

/// Looks a peer up without sleeping: to wake up a client whose CPU is idle costs the
/// registry many times what the lookup does, on a virtual machine.
fn look_up(mut stream: &TcpStream, id: u32) -> bool {
    stream.write_all(&messages::lookup_request(id)).unwrap();
    let (mut answer, mut len) = ([0; 70], 0);
    let began = Instant::now();
    while len < answer.len() && began.elapsed() < DEADLINE {
        match stream.read(&mut answer[len..]) {
            Ok(0) => return false,
            Ok(more) => len += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("no answer: {error}"),
        }
    }
    answer.starts_with(b"SL")
}

/// The CPU time of one lookup, in the median of some batches.
fn lookup_cost(process: &Process, registry: SocketAddrV4, entries: usize) -> Duration {
    let client = TcpStream::connect(registry).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_nonblocking(true).unwrap();
    let batch = |number: u32| {
        let before = process.usage().cpu;
        for number in number * LOOKUPS..(number + 1) * LOOKUPS {
            let id = number.wrapping_mul(7919) % entries as u32;
            assert!(look_up(&client, id), "peer {id} is not there");
        }
        ((process.usage().cpu - before) / LOOKUPS).as_secs_f64()
    };
    let costs: Vec<_> = (0..BATCHES).map(batch).collect();
    Duration::from_secs_f64(median(&costs))
}

fn a_lookup_costs_little_with_a_full_registry() {
    let _turn = alone();
    let entries = quantity("P2PFS_REGISTRATIONS", 2_000).min(sockets_max());
    let connections_max = (entries + 100).to_string();
    let arguments = ["registry", "--listen", "127.0.0.1:0", "--connections-max", &connections_max];
    let world = World::new();
    let Registry { process, address } = Registry::of(world.program(&arguments).start());
    let process = &process;
    let before = process.descriptors();

    let mut entered = vec![register(0, address)];
    assert!(is_registered(&entered[0]));
    while entered.len() < entries {
        // No faster than they are taken in: the queue of a listener is short.
        let some = entered.len()..entries.min(entered.len() + ACCEPT_QUEUE);
        let some: Vec<_> = some.map(|number| register(number, address)).collect();
        assert!(some.iter().all(is_registered));
        entered.extend(some);
    }
    let cost_full = lookup_cost(process, address, entries);

    let joins: usize = quantity("P2PFS_JOINS", 200);
    let began = Instant::now();
    thread::scope(|scope| {
        let joining = scope.spawn(|| {
            for batch in 0..joins / JOINS_AT_ONCE {
                thread::sleep((JOIN_EVERY * batch as u32).saturating_sub(began.elapsed()));
                let first = JOINERS_FROM + batch * JOINS_AT_ONCE;
                let fresh: Vec<_> =
                    (0..JOINS_AT_ONCE).map(|more| register(first + more, address)).collect();
                assert!(fresh.iter().all(is_registered), "a registration was refused");
            }
        });
        while !joining.is_finished() {
            lookup_cost(process, address, entries);
        }
    });
    process.assert_memory_bounded();
    drop(entered);
    await_until("all have left", || process.descriptors() == before);
    process.await_idle();
    assert!(cost_full < LOOKUP_CPU_MAX, "{cost_full:.1?} with {entries} entries");
    process.assert_running();
}
