//! Two networks that hear no broadcast of one another, joined by a router on which the registry
//! runs (row 80).

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use kit::messages::int;
use kit::{Process, await_until, content};

use crate::hosts::{HOSTS, Host, Network};

kit::tests! {
    HOSTS:
        a_tree_and_a_file_come_across_by_version_1,
        a_sharer_beside_the_registry_is_found_from_both_networks,
        a_source_across_takes_over_in_the_middle_of_a_file,
        the_doctor_tells_which_peers_are_found_across;
}

/// The router and a host behind each of its interfaces.
const LEFT: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 78, 0, 1), Ipv4Addr::new(10, 78, 0, 2)];
const RIGHT: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 79, 0, 1), Ipv4Addr::new(10, 79, 0, 2)];

/// Lays two networks of a host each, with a router between them.
fn lay() -> (Network, [Host; 3]) {
    let (network, [router, left, right]) = Network::lay();
    for (host, name, addresses) in [(&left, "left", LEFT), (&right, "right", RIGHT)] {
        host.vanish();
        router.cable_to(host, name);
        for (host, address) in [&router, host].into_iter().zip(addresses) {
            let address = format!("{address}/24");
            host.ip(&["addr", "add", &address, "broadcast", "+", "dev", name]);
            host.ip(&["link", "set", name, "up"]);
        }
        host.ip(&["route", "add", "default", "via", &addresses[0].to_string()]);
    }
    router.run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
    (network, [router, left, right])
}

/// Shares `mine` by version 1 alone, and waits until the registry lists so many peers.
fn share(host: &Host, registry: Ipv4Addr, listed: u32) -> Process {
    let at = registry.to_string();
    let process = host.start(&["share", "mine", "--no-v0", "--registry", &at]);
    process.await_listening();
    let mut client = host.run(|| TcpStream::connect((registry, 5000)).unwrap());
    await_until("the registry lists it", || {
        client.write_all(b"SP\x00\x00\x00\x01\x00\x00\x00\x00").unwrap();
        let mut head = [0; 6];
        client.read_exact(&mut head).unwrap();
        let count = int(&head, 2);
        client.read_exact(&mut vec![0; 24 * count as usize]).unwrap();
        count == listed
    });
    process
}

fn fill(network: &Network, files: &[(&str, &[u8])]) {
    for (name, content) in files {
        let path = network.folder().join("mine").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Fetches into `got`, with its own address of the registry; returns what it said.
#[track_caller]
fn fetch(host: &Host, registry: Ipv4Addr, what: &[&str]) -> Process {
    let more = ["-o", "got/", "--registry", &registry.to_string()];
    let get = host.start(&[&["get"], what, &more].concat());
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    get
}

fn a_tree_and_a_file_come_across_by_version_1() {
    let (network, [router, left, right]) = lay();
    let (large, small) = (content(1, 3_000_001), content(2, 5_000));
    fill(&network, &[("photos/a/1", &small), ("photos/2", &large), ("movie.mkv", &large)]);
    let _registry = router.start_listing_registry("0.0.0.0:5000");
    let sharing = share(&left, LEFT[0], 1);
    // Without the registry nobody is found.
    let get = right.start(&["get", "movie.mkv", "-o", "got/", "--timeout", "3s"]);
    assert_eq!(get.await_exit_code(), 4, "{}", get.said());

    fetch(&right, RIGHT[0], &["photos/", "movie.mkv"]);
    let got = network.folder().join("got");
    assert!(fs::read(got.join("photos/a/1")).unwrap() == small);
    assert!(fs::read(got.join("photos/2")).unwrap() == large);
    assert!(fs::read(got.join("movie.mkv")).unwrap() == large);
    sharing.await_log("photos/a/1 is verified by ");

    let list = right.start(&["list", "--registry", &RIGHT[0].to_string(), "-R"]);
    assert_eq!(list.await_exit_code(), 0, "{}", list.said());
    assert_eq!(list.stdout().len(), 3, "{:?}", list.stdout());
}

fn a_sharer_beside_the_registry_is_found_from_both_networks() {
    let (network, [router, left, right]) = lay();
    let file = content(3, 300_000);
    fill(&network, &[("file", &file)]);
    let _registry = router.start_listing_registry("0.0.0.0:5000");
    let _sharing = share(&router, Ipv4Addr::LOCALHOST, 1);
    for (host, [registry, _]) in [(&left, LEFT), (&right, RIGHT)] {
        fetch(host, registry, &["file"]);
        let got = network.folder().join("got/file");
        assert!(fs::read(&got).unwrap() == file);
        fs::remove_file(got).unwrap();
    }
}

fn a_source_across_takes_over_in_the_middle_of_a_file() {
    let (network, [router, left, right]) = lay();
    let file = content(4, 6_000_000);
    fill(&network, &[("file", &file)]);
    let _registry = router.start_listing_registry("0.0.0.0:5000");
    let near = share(&right, RIGHT[0], 1);
    let registry = RIGHT[0].to_string();
    let get = ["get", "file", "-o", "got/", "--registry", &registry, "--limit-down", "1M"];
    let get = right.start(&get);
    await_until("it comes", || get.has_said("file: 1 file"));
    let far = share(&left, LEFT[0], 2);
    near.stop();
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    assert!(fs::read(network.folder().join("got/file")).unwrap() == file);
    far.await_log("file is verified by ");
}

fn the_doctor_tells_which_peers_are_found_across() {
    let (network, [router, left, right]) = lay();
    fill(&network, &[("file", b"content")]);
    let _registry = router.start_listing_registry("0.0.0.0:5000");
    let _far = share(&left, LEFT[0], 1);
    let registry = RIGHT[0].to_string();
    let line = ["doctor", "--registry", &registry, "--offer-interval", "200ms"];
    let doctor = right.start(&line);
    assert_eq!(doctor.await_exit_code(), 0, "{}", doctor.said());
    assert!(doctor.has_said("the registry lists 1 peer of version 1"), "{}", doctor.said());
    assert!(doctor.has_said(&format!(", listed: session with {}:", LEFT[1])), "{}", doctor.said());
}
