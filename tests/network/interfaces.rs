//! Hosts with two interfaces each: what is shared and fetched through those that are named.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use kit::{Process, Registry, await_until, content};

use crate::commands::{SECOND, add_cable};
use crate::hosts::{HOSTS, Host, Network, heard};

kit::tests! {
    HOSTS:
        one_interface_is_the_way_for_offers_lookups_and_files,
        offers_go_out_on_each_interface_that_is_named,
        offers_to_all_of_the_world_leave_by_the_interface_that_is_named;
}

const NAME: &str = "talk.pdf";

/// Two hosts that are both in two networks, with a registry on all of the first one.
struct Pair {
    network: Network,
    hosts: [Host; 2],
    _registry: Registry,
}

impl Pair {
    fn new() -> Self {
        let (network, hosts) = Network::lay();
        add_cable(hosts.each_ref());
        let folder = network.folder();
        let registry = hosts[0].start_registry("0.0.0.0:5000");
        fs::create_dir(folder.join("shared")).unwrap();
        fs::write(folder.join("shared").join(NAME), content(1, 300_000)).unwrap();
        Self { network, hosts, _registry: registry }
    }

    /// Runs a command on one of the hosts, with a short interval.
    fn start(&self, host: usize, arguments: &[&str]) -> Process {
        self.hosts[host].start(&[arguments, &["--offer-interval", "200ms"]].concat())
    }

    /// Shares on the first host.
    fn share(&self, more: &[&str]) -> (Process, SocketAddrV4) {
        let process = self.start(0, &[&["share", "shared"], more].concat());
        let address = process.await_listening();
        (process, address)
    }

    /// Fetches to the second host, into a new folder.
    #[track_caller]
    fn get(&self, folder: &str, more: &[&str]) {
        let output: PathBuf = self.network.folder().join(folder);
        fs::create_dir(&output).unwrap();
        let get = ["get", NAME, "-o", folder, "--timeout", "50s"];
        let process = self.start(1, &[&get[..], more].concat());
        assert_eq!(process.await_exit_code(), 0, "{:#?}", process.log());
        assert!(fs::read(output.join(NAME)).unwrap() == content(1, 300_000));
    }

    /// Where offers on the second host come from, over some rounds of them.
    fn sources(&self) -> Vec<Ipv4Addr> {
        let ear = self.hosts[1].ear();
        let mut sources = Vec::new();
        await_until("six offers are heard", || {
            sources.extend(heard(&ear).map(|(_, _, from)| from));
            sources.len() >= 6
        });
        sources.sort();
        sources.dedup();
        sources
    }
}

fn one_interface_is_the_way_for_offers_lookups_and_files() {
    let pair = Pair::new();
    let [ours, theirs] = SECOND.map(|address| address.to_string());
    let (share, address) = pair.share(&["--interface", "eth1", "--registry", &ours]);
    assert_eq!(address.ip(), &SECOND[0]);
    assert_eq!(pair.sources(), [SECOND[0]]);
    pair.get("by-name", &["--interface", "eth1", "--registry", &ours]);
    pair.get("by-address", &["--interface", &theirs, "--registry", &ours]);
    let from_there = |line: &String| line.contains(&theirs);
    assert!(share.log().iter().any(from_there), "{:#?}", share.log());

    let list = |interface| {
        let list = pair.start(1, &["list", "--interface", interface]);
        (list.await_exit_code(), list.stdout().join(" "))
    };
    let (code, offers) = list("eth1");
    assert!(code == 0 && offers.contains(NAME), "{offers}");
    assert_eq!(list("eth0"), (3, String::new()));

    let doctor = |interface| {
        let doctor = ["doctor", "--interface", interface, "--registry", &ours];
        let doctor = pair.start(1, &doctor);
        doctor.await_exit_code();
        doctor.log().into_iter().find(|line| line.starts_with("interface")).unwrap()
    };
    assert!(doctor("eth1").ends_with("heard offers of 1 peer"));
    assert!(doctor("eth0").ends_with("no offers heard"));
}

fn offers_go_out_on_each_interface_that_is_named() {
    let pair = Pair::new();
    // Each address counts once, however often it is named.
    let both = ["--interface", "eth0,eth1", "--interface", "10.77.0.1"];
    // The registry of its own machine tells others an address that they can reach.
    let (_share, address) = pair.share(&both);
    assert!(address.ip().is_unspecified());
    assert_eq!(pair.sources(), [pair.hosts[0].address, SECOND[0]]);
    pair.get("first", &["--interface", "eth0", "--registry", "10.77.0.1"]);
    pair.get("second", &["--interface", "eth1", "--registry", "10.78.0.1"]);
    pair.get("any", &["--registry", "10.78.0.1"]);
    pair.get("both", &[&both[..2], &["--registry", "10.77.0.1"]].concat());
}

fn offers_to_all_of_the_world_leave_by_the_interface_that_is_named() {
    let pair = Pair::new();
    let ours = SECOND[0].to_string();
    let world = ["--broadcast", "255.255.255.255:8000", "--registry", &ours];
    // The default route is by the other one.
    let (_share, _) = pair.share(&[&["--interface", "eth1"], &world[..]].concat());
    assert_eq!(pair.sources(), [SECOND[0]]);
    pair.get("world", &[&["--interface", "eth1"], &world[..]].concat());
}
