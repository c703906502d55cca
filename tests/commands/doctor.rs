//! What `doctor` says of a network, in words and as data, and what it exits with.

use std::net::{SocketAddrV4, UdpSocket};

use kit::{Answer, OfferRepeater, Process, ReservedPort, Server, Signal, World, await_until};
use serde_json::Value;

/// The fields of each event, after those that all have, in their order.
const FIELDS: [(&str, &str); 11] = [
    ("offer_port", "port ok error"),
    ("registry", "registry ok connected_us answered_us error"),
    ("interface", "name address prefix_length broadcast up offers_to ok error offers peers"),
    ("peer", "peer from offers address ok connected_us error interface"),
    ("beacon_port", "port ok error"),
    ("beacons", "name address beacons_to ok error beacons peers"),
    ("beaconing_peer", "peer peer_name from beacons files address ok session_us error interface"),
    ("registry_list", "ok peers error"),
    ("listed_peer", "peer peer_name address ok session_us error"),
    ("verdict", "code text"),
    ("exit", "code error skipped kept_bytes"),
];

fn start(world: &World, registry: SocketAddrV4, more: &[&str]) -> Process {
    world.command_at(registry, &[&["doctor"], more].concat()).start()
}

/// What it tells people, which is all that it tells then.
#[track_caller]
fn words(world: &World, registry: SocketAddrV4, code: i32) -> Vec<String> {
    let process = start(world, registry, &[]);
    assert_eq!(process.await_exit_code(), code, "{:#?}", process.log());
    assert_eq!(process.stdout(), [""; 0]);
    assert_eq!(process.error_lines().len(), usize::from(code != 0), "{:#?}", process.log());
    process.log()
}

/// What it tells programs: objects of the documented shape.
#[track_caller]
fn events(world: &World, registry: SocketAddrV4, code: i32) -> Vec<Value> {
    let process = start(world, registry, &["--json"]);
    assert_eq!(process.await_exit_code(), code, "{:#?}", process.log());
    assert_eq!(process.log().len(), usize::from(code != 0), "{:#?}", process.log());
    let parse = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let events: Vec<_> = process.stdout().iter().map(parse).collect();
    for event in &events {
        assert_eq!(event["v"], 1);
        let documented = FIELDS.iter().find(|(name, _)| event["event"] == **name);
        let (_, documented) = documented.unwrap_or_else(|| panic!("{event}"));
        let mut documented: Vec<_> = documented.split(' ').chain(["v", "time", "event"]).collect();
        documented.sort();
        let mut fields: Vec<_> = event.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, documented);
    }
    let last: Vec<_> = events.iter().rev().take(2).map(|event| &event["event"]).collect();
    assert_eq!(last, ["exit", "verdict"]);
    assert!(events.iter().rev().take(2).all(|event| event["code"] == code));
    events
}

fn event<'a>(events: &'a [Value], name: &str) -> &'a Value {
    events.iter().find(|event| event["event"] == name).unwrap()
}

#[track_caller]
fn assert_has(lines: &[String], part: &str) {
    assert!(lines.iter().any(|line| line.contains(part)), "no {part:?} in {lines:#?}");
}

#[test]
fn a_peer_that_can_be_reached_is_told_with_its_address() {
    let world = World::new();
    let peer = world.peer(7).has("file", b"x").start();
    world.await_offer(7, "file");

    let lines = words(&world, world.registry().address, 0);
    assert_has(&lines, "an own datagram came back; heard offers of 1 peer");
    assert_has(&lines, &format!("peer 7, heard from 127.0.0.1: connected to {}", peer.address));
    assert_has(&lines, "files can be exchanged with 1 of 1 peer");

    let events = events(&world, world.registry().address, 0);
    let found = event(&events, "peer");
    assert_eq!(found["peer"], 7);
    assert_eq!(found["address"], peer.address.to_string());
    for name in ["offer_port", "registry", "interface", "peer"] {
        assert_eq!(event(&events, name)["ok"], true, "{events:#?}");
    }
    assert!(found["connected_us"].is_u64());

    // It left no trace.
    peer.process.assert_running();
    let about = |line: &String| line.contains("dropped a datagram") || line.contains("doctor");
    assert_eq!(peer.process.log().into_iter().find(about), None);
    let known = world.client().lookup(7);
    assert_eq!(known, Answer::address(peer.address));
    assert!(!world.registry().process.has_said("WARN"));
}

#[test]
fn a_peer_of_version_1_is_found_without_a_registry() {
    let world = World::new();
    world.folder("mine", &[("a", b"a")]);
    let share = world.start(&["share", "mine", "--name", "ann"]);
    let address = share.await_listening();
    let broadcast = world.broadcast().to_string();
    let line = ["doctor", "--broadcast", &broadcast, "--interface", "127.0.0.1"];
    // A registry may be where one usually is, on this machine: nobody depends on that here.
    let process = world.program(&[&line[..], &["--offer-interval", "100ms"]].concat()).start();
    assert_eq!(process.await_exit_code(), 0, "{:#?}", process.log());
    let log = process.log();
    assert_has(&log, "and an own one came back; heard beacons of 1 peer");
    assert_has(&log, &format!("beacons heard from 127.0.0.1: session with {address} in "));
    assert_has(&log, "peer ann (");
    assert_has(&log, "files can be exchanged with 1 of 1 peer");
    share.assert_running();
    assert!(!share.said().contains("WARN"), "{}", share.said());

    let events = events(&world, world.registry().address, 0);
    for name in ["beacon_port", "beacons", "beaconing_peer"] {
        assert_eq!(event(&events, name)["ok"], true, "{events:#?}");
    }
    assert_eq!(event(&events, "beaconing_peer")["peer_name"], "ann");
}

#[test]
fn without_a_registry_it_says_how_to_get_one() {
    let world = World::new();
    let nowhere = ReservedPort::new();
    let lines = words(&world, nowhere.address, 4);
    assert_has(&lines, &format!("registry {}: connection refused", nowhere.address));
    assert_has(&lines, &format!("p2pfs: no registry at {}", nowhere.address));
    assert_has(&lines, "--registry");
    assert_eq!(event(&events(&world, nowhere.address, 4), "registry")["ok"], false);

    let other = Server::start(|stream, _| {
        let _ = std::io::Write::write_all(&mut { stream }, b"220 mail.example\r\n");
    });
    assert_has(&words(&world, other.address, 4), "that is no registry of p2pfs");
}

#[test]
fn a_name_that_nobody_knows_is_told_with_the_rest() {
    let world = World::new();
    let broadcast = world.broadcast().to_string();
    // Longer than the name system allows, so that nobody is asked.
    let name = "n".repeat(64);
    let arguments = ["doctor", "--registry", &name, "--broadcast", &broadcast];
    let more = ["--interface", "127.0.0.1", "--offer-interval", "50ms"];
    let process = world.program(&[&arguments[..], &more].concat()).start();
    assert_eq!(process.await_exit_code(), 4);
    assert_has(&process.log(), "interface lo, 127.0.0.1/8");
    assert_has(&process.error_lines(), &format!("{name}:5000: its name leads to no address: "));
}

#[test]
fn an_offer_port_that_is_taken_is_told_before_all_else() {
    let world = World::new();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let nowhere = ReservedPort::new().address.to_string();
    let broadcast = format!("127.255.255.255:{port}");
    let arguments =
        ["doctor", "--registry", &nowhere, "--broadcast", &broadcast, "--interface", "lo"];
    let process = world.program(&arguments).start();
    assert_eq!(process.await_exit_code(), 11);
    let line = format!("p2pfs: offer port {port} is in use by a program that does not share it");
    assert_has(&process.error_lines(), &line);
}

#[test]
fn where_nobody_offers_anything_nothing_could_be_fetched() {
    let world = World::new();
    assert_has(&words(&world, world.registry().address, 3), "no offer was heard");
    assert_eq!(event(&events(&world, world.registry().address, 3), "interface")["ok"], true);
}

#[test]
fn peers_that_are_heard_but_not_reached_are_told_apart() {
    let world = World::new();
    let _stranger = OfferRepeater::start(&world, 5, &["file"]);
    let lines = words(&world, world.registry().address, 1);
    assert_has(&lines, "peer 5, heard from 127.0.0.1: not known to the registry");
    assert_has(&lines, "knows none of 1 peer heard");

    let closed = ReservedPort::new();
    let _registration = world.registered(5, closed.address.port());
    let refused = format!("at {}: connection refused", closed.address);
    assert_has(&words(&world, world.registry().address, 1), &refused);
    assert_eq!(event(&events(&world, world.registry().address, 1), "peer")["ok"], false);
}

#[test]
fn quiet_says_only_what_is_wrong() {
    let world = World::new();
    let process = start(&world, ReservedPort::new().address, &["-q"]);
    assert_eq!(process.await_exit_code(), 4);
    assert_eq!((process.stdout().len(), process.log().len()), (0, 1));
}

#[test]
fn a_signal_ends_it_while_it_listens() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let world = World::new();
        let nowhere = ReservedPort::new().address;
        let process = start(&world, nowhere, &["--offer-interval", "1h"]);
        await_until("it looks", || process.log().len() == 2);
        process.signal(signal);
        assert_eq!(process.await_exit_code(), code);
    }
}
