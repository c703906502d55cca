//! Beacons, as programs send and hear them.

use std::net::UdpSocket;

use kit::{World, await_until};
use p2pfs::wire::PeerId;
use p2pfs::wire::v1::{Beacon, BeaconKind, PeerName};

fn query() -> Beacon {
    Beacon {
        kind: BeaconKind::Query,
        port: 0,
        peer: PeerId(0),
        instance: 5,
        counter: 1,
        generation: 0,
        files: 0,
        name: PeerName::none(),
        tags: Vec::new(),
    }
}

#[test]
fn a_sharer_tells_where_it_is_answers_a_query_and_says_good_bye() {
    let world = World::new();
    let share = world.share("mine", &[("a", b"a")]);
    let port = share.await_listening().port();
    let hears = |kind| {
        let heard = world.take_beacons();
        heard.into_iter().find(|beacon| (beacon.kind, beacon.port) == (kind, port))
    };
    let mut first = None;
    await_until("it is heard", || {
        first = first.take().or_else(|| hears(BeaconKind::Beacon));
        first.is_some()
    });
    let first = first.unwrap();
    world.send_beacon(&query());
    let is_next = |it: Beacon| it.instance == first.instance && it.counter > first.counter;
    await_until("it answers", || hears(BeaconKind::Beacon).is_some_and(is_next));
    share.stop();
    let is_last = |it: Beacon| it.instance == first.instance && it.counter > first.counter + 1;
    await_until("it says good-bye", || hears(BeaconKind::Leaving).is_some_and(is_last));
}

#[test]
fn beacons_are_sent_even_if_another_program_has_their_port() {
    let world = World::new();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    world.folder("mine", &[("a", b"a")]);
    let share = world.start(&["share", "mine", "--beacon-port", &port.to_string()]);
    share.await_listening();
    let told = format!("no beacons are heard on port {port}: another program has it");
    assert!(share.has_said(&told), "{}", share.said());
    let mut datagram = [0; 513];
    let len = taken.recv(&mut datagram).unwrap();
    assert_eq!(Beacon::decode(&datagram[..len], None).unwrap().kind, BeaconKind::Beacon);
}

#[test]
fn the_port_of_beacons_is_none_of_offers() {
    let world = World::new();
    world.folder("mine", &[("a", b"a")]);
    for command in [&["get", "file"][..], &["share", "mine"], &["list"], &["doctor"]] {
        for (broadcast, beacons) in
            [("127.0.0.1:9000", "9000"), ("127.0.0.1:9000", "8000"), ("127.0.0.1:65535", "")]
        {
            let mut line = [command, &["--broadcast", broadcast]].concat();
            if !beacons.is_empty() {
                line.extend(["--beacon-port", beacons]);
            }
            let process = world.program(&line).start();
            assert_eq!(process.await_exit_code(), 2, "{line:?}");
            let complaint = process.complaint();
            assert!(complaint.contains("--beacon-port"), "{complaint}");
        }
    }
}
