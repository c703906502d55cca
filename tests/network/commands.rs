//! The commands for every day between hosts: which interface they use if nothing is said,
//! and if one is; names of registries.

use std::fs;
use std::net::Ipv4Addr;

use kit::{Process, Registry, await_until, content};

use crate::hosts::{HOSTS, Host, Network, REGISTRY, heard};

kit::tests! {
    HOSTS:
        every_interface_is_used_if_none_is_named_and_registered_is_that_towards_the_registry,
        beside_the_registry_the_interface_of_the_default_route_is_registered,
        a_named_interface_is_used_and_no_other_unless_that_is_named_too,
        without_a_name_service_a_name_is_refused_and_nothing_else_suffers,
        a_source_whose_port_is_blocked_leads_to_the_doctor;
}

/// The network of the second interfaces.
pub(crate) const SECOND: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2)];

/// Starts a registry that listens on every address of its host.
fn start_registry(host: &Host) -> Registry {
    host.start_registry("0.0.0.0:5000")
}

/// Starts `share` with one file; returns the address on which it listens.
fn share(host: &Host, network: &Network, file: &[u8], more: &[&str]) -> (Process, Ipv4Addr) {
    let folder = network.folder().join("mine");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file"), file).unwrap();
    let process = host.start(&[&["share", "mine", "--offer-interval", "200ms"], more].concat());
    let address = *process.await_listening().ip();
    (process, address)
}

#[track_caller]
fn fetch(host: &Host, network: &Network, file: &[u8], more: &[&str]) {
    let folder = network.folder().join("got");
    fs::create_dir_all(&folder).unwrap();
    let get = host.start(&[&["get", "file", "-o", "got"], more].concat());
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    assert!(fs::read(folder.join("file")).unwrap() == file, "the file is wrong");
    fs::remove_file(folder.join("file")).unwrap();
}

/// Joins two hosts by a cable of their own, between interfaces called `eth1`.
pub(crate) fn add_cable(hosts: [&Host; 2]) {
    hosts[0].cable_to(hosts[1], "eth1");
    for (host, address) in hosts.into_iter().zip(SECOND) {
        let address = format!("{address}/24");
        host.ip(&["addr", "add", &address, "broadcast", "+", "dev", "eth1"]);
        host.ip(&["link", "set", "eth1", "up"]);
    }
}

fn every_interface_is_used_if_none_is_named_and_registered_is_that_towards_the_registry() {
    let (network, [first, second, third]) = Network::lay();
    add_cable([&second, &third]);
    let registry = start_registry(&first);
    let reached = format!("others reach it at {}:5000", first.address);
    registry.process.await_log(&reached);
    let file = content(1, 300_000);
    let registry = ["--registry", &first.address.to_string()];
    let (share, address) = share(&second, &network, &file, &registry);
    assert!(address.is_unspecified());
    share.await_log(&format!("registered at {}:5000 as {}:", first.address, second.address));
    let (_, line) = share.await_log("sharing 1 file");
    assert!([second.address, SECOND[0]].iter().all(|at| line.contains(&at.to_string())), "{line}");
    share.await_log(&format!(
        "the registry tells others our address {}: peers behind eth1 hear our offers",
        second.address
    ));
    fetch(&third, &network, &file, &registry);
    let other_ear = third.ear();
    await_until("it offers on the cable", || {
        heard(&other_ear).is_some_and(|(.., from)| from == SECOND[0])
    });
}

fn beside_the_registry_the_interface_of_the_default_route_is_registered() {
    let (network, [first, second]) = Network::lay();
    let _registry = start_registry(&first);
    let file = content(2, 300_000);
    let (share, _) = share(&first, &network, &file, &[]);
    // Others could not reach 127.0.0.1.
    share.await_log(&format!("registered at 127.0.0.1:5000 as {}:", first.address));
    fetch(&second, &network, &file, &["--registry", &first.address.to_string()]);
    fetch(&first, &network, &file, &[]);
}

fn a_named_interface_is_used_and_no_other_unless_that_is_named_too() {
    let (network, [first, second, third]) = Network::lay();
    add_cable([&second, &third]);
    let _registry = start_registry(&second);
    let file = content(3, 300_000);
    let by_cable = ["--interface", "eth1", "--registry", &SECOND[0].to_string()];
    let ear = first.ear();
    let (sharing, address) = share(&second, &network, &file, &by_cable);
    assert_eq!(address, SECOND[0]);
    fetch(&third, &network, &file, &by_cable);
    let by_address = ["--interface", &SECOND[1].to_string(), by_cable[2], by_cable[3]];
    fetch(&third, &network, &file, &by_address);
    assert_eq!(heard(&ear), None, "an offer left by the other interface");
    drop(sharing);

    let (_sharing, address) = share(&second, &network, &file, &["--interface", "eth0,eth1"]);
    assert!(address.is_unspecified());
    await_until("it offers on one", || {
        heard(&ear).is_some_and(|(.., from)| from == second.address)
    });
    let other_ear = third.ear();
    await_until("it offers on the other", || {
        heard(&other_ear).is_some_and(|(.., from)| from == SECOND[0])
    });
}

fn without_a_name_service_a_name_is_refused_and_nothing_else_suffers() {
    let (network, [host]) = Network::lay();
    // So that whom it would ask cannot be reached.
    host.ip(&["link", "set", "eth0", "down"]);
    let registry = ["--registry", "no-such-host.invalid"];
    let get = host.start(&[&["get", "file"], &registry[..]].concat());
    assert_eq!(get.await_exit_code(), 4, "{:?}", get.log());
    assert!(get.error_lines()[0].contains("no-such-host.invalid"), "{:?}", get.log());
    for line in [&["--help"][..], &["--version"], &["get", "--help"], &["man"]] {
        assert_eq!(host.start(line).await_exit_code(), 0);
    }
    let (share, _) = share(&host, &network, b"x", &[]);
    share.await_log("only this machine can reach us");
}

fn a_source_whose_port_is_blocked_leads_to_the_doctor() {
    let (_network, [_, second, third]) = Network::begin();
    let source = second.start_source(2, "file", &content(1, 10), &[]);
    second.set_input_rule(Some(&format!("tcp dport {} drop", source.address.port())));
    let registry = REGISTRY.to_string();
    let line = ["get", "file", "--registry", &registry, "--timeout", "3s"];
    let get = third.start(&line);
    assert_eq!(get.await_exit_code(), 5, "{:#?}", get.log());
    let why = "nobody who offers it could be reached; try `p2pfs doctor`";
    assert!(get.error_lines()[0].contains(why), "{:#?}", get.log());
}
