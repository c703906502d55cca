//! Addresses that come, go and change while programs run, are set without a broadcast
//! address, or are found by names that lead elsewhere or nowhere (rows 48 and 49).

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use kit::{Process, Signal, await_until, content};

use crate::commands::{SECOND, add_cable};
use crate::hosts::{HOSTS, Host, Network, heard};

kit::tests! {
    HOSTS:
        what_is_shared_is_found_at_another_address_of_its_machine,
        a_peer_with_an_interface_keeps_its_id_at_another_address,
        an_interface_that_comes_later_is_used_and_one_that_goes_is_not,
        a_get_that_waits_goes_on_at_another_address,
        the_registration_moves_to_the_way_that_leads_to_the_registry,
        addresses_without_a_broadcast_address_are_used,
        a_registry_whose_name_leads_elsewhere_is_found_there,
        a_name_service_that_says_nothing_holds_up_neither_time_nor_signals;
}

const NAME: &str = "file";
const OTHER: &str = "10.77.0.99";
const REGISTRY: [&str; 2] = ["--registry", "10.77.0.1"];
/// How soon another address has to be used.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts `share` with one file.
fn share(host: &Host, network: &Network, more: &[&str]) -> Process {
    let folder = network.folder().join("mine");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(NAME), content(1, 100_000)).unwrap();
    let process = host.start(&[&["share", "mine", "--offer-interval", "200ms"], more].concat());
    process.await_listening();
    process
}

#[track_caller]
fn fetch(host: &Host, network: &Network, more: &[&str]) {
    let folder = network.folder().join("got");
    fs::create_dir_all(&folder).unwrap();
    let get = ["get", NAME, "-o", "got", "--offer-interval", "200ms"];
    ends_with_the_file(network, &host.start(&[&get[..], &REGISTRY, more].concat()));
    fs::remove_file(folder.join(NAME)).unwrap();
}

#[track_caller]
fn ends_with_the_file(network: &Network, get: &Process) {
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    assert!(fs::read(network.folder().join("got").join(NAME)).unwrap() == content(1, 100_000));
}

/// It says this soon after `since`.
#[track_caller]
fn says_soon(process: &Process, since: Instant, part: &str) {
    let (at, _) = process.await_log(part);
    let took = at.saturating_duration_since(since);
    assert!(took < PATIENCE, "{part}: after {took:?}");
}

fn what_is_shared_is_found_at_another_address_of_its_machine() {
    for more in [&[][..], &["--interface", "eth0"]] {
        let (network, [_, second, third]) = Network::begin();
        let sharing = share(&second, &network, &[&REGISTRY, more].concat());
        sharing.await_log("registered at 10.77.0.1:5000 as 10.77.0.2:");
        fetch(&third, &network, &[]);
        let changed = Instant::now();
        second.change_address(&format!("{OTHER}/24"));
        says_soon(&sharing, changed, "eth0 lost 10.77.0.2");
        says_soon(&sharing, changed, &format!("eth0 got {OTHER}"));
        says_soon(&sharing, changed, &format!("registered at 10.77.0.1:5000 as {OTHER}:"));
        let ear = third.ear();
        await_until("it is heard", || {
            heard(&ear).is_some_and(|(.., from)| from.to_string() == OTHER)
        });
        fetch(&third, &network, &[]);
        assert!(
            !sharing.has_said("no registry") && !sharing.has_said("cannot"),
            "{}",
            sharing.said()
        );
    }
}

fn a_peer_with_an_interface_keeps_its_id_at_another_address() {
    let (network, [_, second, third]) = Network::begin();
    let folder = network.folder().join("mine");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(NAME), content(1, 100_000)).unwrap();
    let peer = ["peer", "--id", "7", "--port", "0", "--dir", "mine", "--interface", "eth0"];
    let peer = [&peer[..], &["--offer-interval", "200ms"], &REGISTRY].concat();
    let peer = second.start(&peer);
    peer.await_log("registered at 10.77.0.1:5000 as 10.77.0.2:");
    second.change_address(&format!("{OTHER}/24"));
    // As soon as the registry knows that nobody is at the old address any more.
    peer.await_log(&format!("registered at 10.77.0.1:5000 as {OTHER}:"));
    fetch(&third, &network, &[]);
    let ear = third.ear();
    await_until("it is heard", || heard(&ear).is_some_and(|(peer, ..)| peer == 7));
}

fn an_interface_that_comes_later_is_used_and_one_that_goes_is_not() {
    let (network, [_, second, third]) = Network::begin();
    let sharing = share(&second, &network, &REGISTRY);
    sharing.await_log("registered");
    let came = Instant::now();
    add_cable([&second, &third]);
    says_soon(&sharing, came, &format!("eth1 got {}", SECOND[0]));
    says_soon(&sharing, came, "peers behind eth1 hear our offers");
    let ear = third.ear();
    let is_heard_there = || heard(&ear).is_some_and(|(.., from)| from == SECOND[0]);
    await_until("it is heard on the cable", is_heard_there);
    second.ip(&["link", "del", "eth1"]);
    says_soon(&sharing, Instant::now(), &format!("eth1 lost {}", SECOND[0]));
    assert_eq!(sharing.count_in_log("registered"), 1, "the way to the registry is the same");
    fetch(&third, &network, &[]);
    assert!(!sharing.has_said("cannot"), "{}", sharing.said());
}

fn a_get_that_waits_goes_on_at_another_address() {
    for more in [&[][..], &["--interface", "eth0"]] {
        let (network, [_, second, third]) = Network::begin();
        fs::create_dir_all(network.folder().join("got")).unwrap();
        let get = ["get", NAME, "-o", "got", "--offer-interval", "200ms"];
        let get = third.start(&[&get[..], &REGISTRY, more].concat());
        get.await_log("waiting for someone to offer");
        third.change_address(&format!("{OTHER}/24"));
        get.await_log(&format!("eth0 got {OTHER}"));
        let sharing = share(&second, &network, &REGISTRY);
        ends_with_the_file(&network, &get);
        assert!(!get.has_said("no registry"), "{}", get.said());
        sharing.await_log(&format!("sent {NAME} to {OTHER}"));
        fs::remove_file(network.folder().join("got").join(NAME)).unwrap();
    }
}

fn the_registration_moves_to_the_way_that_leads_to_the_registry() {
    let (network, [first, second]) = Network::lay();
    let _registry = first.start_registry("0.0.0.0");
    add_cable([&first, &second]);
    let sharing = share(&second, &network, &REGISTRY);
    sharing.await_log("registered at 10.77.0.1:5000 as 10.77.0.2:");
    let changed = Instant::now();
    second.ip(&["route", "add", "10.77.0.1", "via", &SECOND[0].to_string(), "dev", "eth1"]);
    let [_, ours] = SECOND;
    says_soon(&sharing, changed, &format!("registered at 10.77.0.1:5000 as {ours}:"));
    assert!(!sharing.has_said("no registry"), "{}", sharing.said());
}

fn addresses_without_a_broadcast_address_are_used() {
    let (network, [first, second]) = Network::lay();
    for (host, address) in [(&first, "10.77.0.1/24"), (&second, "10.77.0.2/24")] {
        host.ip(&["addr", "flush", "dev", "eth0"]);
        host.ip(&["addr", "add", address, "dev", "eth0"]);
    }
    let _registry = first.start_registry("0.0.0.0");
    for more in [&[][..], &["--interface", "eth0"]] {
        let _sharing = share(&first, &network, &[&REGISTRY, more].concat());
        let ear = second.ear();
        await_until("it is heard", || heard(&ear).is_some());
        fetch(&second, &network, &[]);
    }
}

fn a_registry_whose_name_leads_elsewhere_is_found_there() {
    let (network, [first, second, third]) = Network::lay();
    let names = network.folder().join("hosts");
    let leads_to = |host: &Host| fs::write(&names, format!("{} nas\n", host.address)).unwrap();
    leads_to(&first);
    let registry = first.start_registry("0.0.0.0");
    fs::create_dir_all(network.folder().join("mine")).unwrap();
    let sharing = ["share", "mine", "--offer-interval", "200ms", "--registry", "nas", "-v"];
    let sharing = second.start_with(&[("/etc/hosts", &names)], &sharing);
    sharing.await_log("registered at 10.77.0.1:5000");
    leads_to(&third);
    let other = third.start_registry("0.0.0.0");
    registry.process.kill();
    sharing.await_log("registered at 10.77.0.3:5000");
    // A name that is gone is no reason to end.
    fs::write(&names, "").unwrap();
    other.process.kill();
    sharing.await_log("cannot find the registry's host nas: ");
    leads_to(&first);
    let _registry = first.start_registry("0.0.0.0");
    await_until("it is registered again", || {
        sharing.count_in_log("registered at 10.77.0.1:5000") == 2
    });
    sharing.stop();
}

fn a_name_service_that_says_nothing_holds_up_neither_time_nor_signals() {
    let (network, [first, second]) = Network::lay();
    let _silent = second.run(|| UdpSocket::bind("10.77.0.2:53").unwrap());
    let [service, names] = ["resolv.conf", "hosts"].map(|name| network.folder().join(name));
    fs::write(&service, "nameserver 10.77.0.2\n").unwrap();
    fs::write(&names, "127.0.0.1 localhost\n").unwrap();
    let files = [("/etc/resolv.conf", &*service), ("/etc/hosts", &names)];
    let get = |more: &[&str]| {
        let line = [&["get", NAME, "--registry", "nas"], more].concat();
        first.start_with(&files, &line)
    };
    let soon = Duration::from_secs(3);
    let began = Instant::now();
    assert_eq!(get(&["--timeout", "1s"]).await_exit_code(), 4);
    assert!(began.elapsed() < soon, "{:?}", began.elapsed());
    let unknown = get(&[]);
    assert_eq!(unknown.await_exit_code(), 4);
    let said = unknown.complaint();
    assert!(said.contains("cannot find the registry's host nas: "), "{said}");
    assert!(began.elapsed() < 2 * soon, "{:?}", began.elapsed());

    let waiting = get(&["--offer-interval", "200ms"]);
    waiting.await_log("waiting for someone to offer");
    waiting.signal(Signal::INT);
    let began = Instant::now();
    assert_eq!(waiting.await_exit_code(), 130, "{}", waiting.said());
    assert!(began.elapsed() < soon, "{:?}", began.elapsed());
}
