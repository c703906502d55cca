//! What `doctor` says on a host of its own when something is in the way.

use std::net::UdpSocket;

use kit::content;

use crate::commands::add_cable;
use crate::hosts::{HOSTS, Host, Network, OFFER_PORT, REGISTRY};

kit::tests! {
    HOSTS:
        each_interface_and_each_peer_of_the_network_is_told,
        broadcasts_that_are_blocked_are_told_from_those_that_nobody_sends,
        a_registry_or_a_peer_that_does_not_answer_is_told,
        the_usual_offer_port_that_is_taken_is_told,
        an_interface_or_a_network_that_is_the_wrong_one_is_told_as_such,
        a_datagram_to_its_own_address_is_no_proof;
}

const INTERVAL: [&str; 2] = ["--offer-interval", "200ms"];

/// What it tells on this host, where the registry is on the first one.
#[track_caller]
fn doctor(host: &Host, code: i32) -> Vec<String> {
    let registry = REGISTRY.ip().to_string();
    let process = host.start(&[&["doctor", "--registry", &registry], &INTERVAL[..]].concat());
    assert_eq!(process.await_exit_code(), code, "{:#?}", process.log());
    process.log()
}

#[track_caller]
fn assert_tells(lines: &[String], part: &str) {
    assert!(lines.iter().any(|line| line.contains(part)), "no {part:?} in {lines:#?}");
}

fn each_interface_and_each_peer_of_the_network_is_told() {
    let (_network, [_, second, third]) = Network::begin();
    let source = second.start_source(2, "file", &content(1, 10), &[]);

    let lines = doctor(&third, 0);
    let found = "interface eth0, 10.77.0.3/24: offers go to 10.77.0.255:8000, and an own datagram \
        came back; heard offers of 1 peer";
    assert_tells(&lines, found);
    assert_tells(
        &lines,
        "interface lo, 127.0.0.1/8: offers go to 127.255.255.255:8000, and an own",
    );
    let reached = format!("peer 2, heard from 10.77.0.2: connected to {} in", source.address);
    assert_tells(&lines, &reached);
    assert!(!source.process.has_said("dropped a datagram"), "its probe makes nobody warn");
}

fn an_interface_or_a_network_that_is_the_wrong_one_is_told_as_such() {
    let (_network, [_, second, third]) = Network::begin();
    add_cable([&second, &third]);
    let _source = second.start_source(2, "file", &content(1, 10), &[]);
    let doctor_by = |interface, code| {
        let line = ["doctor", "--interface", interface, "--registry", "10.77.0.1"];
        let process = third.start(&[&line[..], &INTERVAL].concat());
        assert_eq!(process.await_exit_code(), code, "{:#?}", process.log());
        process.log()
    };
    doctor_by("eth0", 0);
    assert_tells(&doctor_by("eth1", 1), "others are found by eth0, and not by eth1, which");

    third.ip(&["link", "del", "eth1"]);
    third.change_address("10.99.0.3/24");
    let said = "in no network of this machine, which has 10.99.0.3/24 on eth0";
    assert_tells(&doctor(&third, 3), said);
    third.ip(&["route", "del", "default"]);
    assert_tells(&doctor(&third, 4), said);
}

fn a_datagram_to_its_own_address_is_no_proof() {
    let (_network, [_, second]) = Network::begin();
    second.set_input_rule(Some("udp dport 8000-8001 ip daddr 10.77.0.255 drop"));
    let registry = REGISTRY.ip().to_string();
    let line = ["doctor", "--registry", &registry, "--broadcast", "10.77.0.2:8000"];
    let process = second.start(&[&line[..], &INTERVAL].concat());
    assert_eq!(process.await_exit_code(), 1, "{:#?}", process.log());
    assert_tells(&process.log(), "offers cannot go to 10.77.0.2:8000: that is an address of this");
}

fn broadcasts_that_are_blocked_are_told_from_those_that_nobody_sends() {
    let (_network, [_, second, third]) = Network::begin();
    let _source = second.start_source(2, "file", &content(1, 10), &[]);

    // Here, by a firewall for what comes in.
    third.set_input_rule(Some("udp dport 8000-8001 drop"));
    let lines = doctor(&third, 1);
    assert_tells(&lines, "but no own datagram came back; no offers heard");
    let verdict = "p2pfs: broadcasts do not come back on eth0; does a firewall here drop UDP port";
    assert_tells(&lines, verdict);
    third.set_input_rule(None);

    // Here, by one for what goes out, which the kernel tells.
    third.set_output_rule(Some("udp dport 8000-8001 drop"));
    let lines = doctor(&third, 0);
    assert_tells(&lines, "offers cannot go to 10.77.0.255:8000: ");
    let found =
        "files can be exchanged with 1 of 1 peer, but what this machine shares is not found";
    assert_tells(&lines, found);
    // Then nobody who only hears can be told from nobody at all.
    third.set_input_rule(Some("udp dport 8000-8001 drop"));
    let lines = doctor(&third, 1);
    assert_tells(&lines, "p2pfs: offers cannot leave by eth0: ");
    assert_tells(&lines, "does a firewall here drop outgoing UDP port 8000?");
    third.set_input_rule(None);
    third.set_output_rule(None);

    // On the way.
    second.cut_outgoing("udp dport 8000-8001");
    let lines = doctor(&third, 3);
    assert_tells(&lines, "an own datagram came back; no offers heard");
    assert_tells(&lines, "no offer was heard");
    second.heal();
    doctor(&third, 0);
}

fn a_registry_or_a_peer_that_does_not_answer_is_told() {
    let (_network, [first, second, third]) = Network::begin();
    let source = second.start_source(2, "file", &content(1, 10), &[]);

    let port = source.address.port();
    second.set_input_rule(Some(&format!("tcp dport {port} drop")));
    let lines = doctor(&third, 1);
    let unreachable = format!("p2pfs: cannot reach peer 2 at {}: no answer in 3 s", source.address);
    assert_tells(&lines, &unreachable);
    second.set_input_rule(None);

    first.vanish();
    let lines = doctor(&third, 4);
    assert_tells(&lines, "p2pfs: no registry at 10.77.0.1:5000: no");
    assert_tells(&lines, "peer 2, heard from 10.77.0.2: not looked up");
}

fn the_usual_offer_port_that_is_taken_is_told() {
    let (_network, [host]) = Network::begin();
    let _taken = host.run(|| UdpSocket::bind(("0.0.0.0", OFFER_PORT)).unwrap());
    let lines = doctor(&host, 11);
    assert_tells(&lines, "registry 10.77.0.1:5000: connected in");
    assert_tells(&lines, "p2pfs: offer port 8000 is in use by a program that does not share it");
}
