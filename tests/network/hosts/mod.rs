//! Hosts of their own: network namespaces, joined by a bridge in yet another one.
//!
//! Nothing of it is in the namespace of this process, so no interface, route or rule
//! of the machine is touched, and the addresses mean nothing outside. All of it is
//! gone when the network is dropped.

mod programs;

use std::array;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, id};
use std::sync::RwLockReadGuard;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, panicking};

use kit::Registry;
use kit::{Missing, Need, is_root, tools};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::turns::beside_others;

pub(crate) use programs::heard;

/// The broadcast address of every network made here.
pub(crate) const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 255);
/// The registry of every network, on its first host.
pub(crate) const REGISTRY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 5000);
/// The usual port of offers, which is free on hosts of their own.
pub(crate) const OFFER_PORT: u16 = 8000;

/// No less may pass at once, or nothing would.
const FRAME_BYTES: u32 = 1600;

static NETWORKS: AtomicUsize = AtomicUsize::new(0);

/// Hosts that reach each other over a switch, mostly with a registry on the first of them.
/// What runs there ends before the hosts go.
pub(crate) struct Network {
    registry: Option<Registry>,
    first: Host,
    _namespaces: Namespaces,
    folder: TempDir,
    _turn: RwLockReadGuard<'static, ()>,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Host {
    namespace: String,
    switch: String,
    /// The name of the port of the switch that leads to it.
    port: String,
    /// Where the programs of the network have their folders.
    folder: PathBuf,
    pub(crate) address: Ipv4Addr,
}

impl Network {
    /// Makes a network of some hosts, with a registry.
    pub(crate) fn begin<const COUNT: usize>() -> (Self, [Host; COUNT]) {
        let (mut network, hosts) = Self::lay();
        network.replace_registry();
        (network, hosts)
    }

    /// Makes a network of some hosts, without a registry.
    pub(crate) fn lay<const COUNT: usize>() -> (Self, [Host; COUNT]) {
        let turn = beside_others();
        let switch = format!("p2pfs-{}-{}", id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let folder = TempDir::new().unwrap();
        let mut namespaces = Namespaces(Vec::new());
        namespaces.add(&switch);
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "switch", "up"]);
        let hosts: [Host; COUNT] = array::from_fn(|index| {
            let number = index as u8 + 1;
            let host = Host {
                namespace: format!("{switch}-{number}"),
                switch: switch.clone(),
                port: format!("port{number}"),
                folder: folder.path().to_owned(),
                address: Ipv4Addr::new(10, 77, 0, number),
            };
            namespaces.add(&host.namespace);
            host.plug_in();
            host
        });
        let first = hosts[0].clone();
        let network = Self { registry: None, first, _namespaces: namespaces, folder, _turn: turn };
        (network, hosts)
    }

    /// Kills the registry, if there is one, and starts another one in its place.
    pub(crate) fn replace_registry(&mut self) {
        self.registry.take().into_iter().for_each(|registry| registry.process.kill());
        self.registry = Some(self.first.start_registry(&REGISTRY.to_string()));
    }

    /// A folder that the hosts' programs may use.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Several hosts: root, the tools that make them, and a kernel that lets them.
pub(crate) static HOSTS: Need = Need::new(|| {
    is_root()?;
    tools(&["ip", "tc", "nft", "unshare"])?;
    let name = format!("p2pfs-{}-try", id());
    for verb in ["add", "del"] {
        let output = Command::new("ip").args(["netns", verb, &name]).output().unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Missing::Kernel("network namespaces", error));
        }
    }
    Ok(())
});

/// The namespaces of a network.
struct Namespaces(Vec<String>);

impl Namespaces {
    fn add(&mut self, namespace: &str) {
        ip(&["netns", "add", namespace]);
        self.0.push(namespace.to_owned());
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in self.0.iter().rev() {
            let deleted = Command::new("ip").args(["netns", "del", namespace]).output();
            if !deleted.is_ok_and(|output| output.status.success()) && !panicking() {
                eprintln!("the namespace {namespace} was not there to be deleted");
            }
        }
    }
}

impl Host {
    /// Does something on this host: sockets made and processes started are the host's.
    pub(crate) fn run<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let outcome = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                act()
            });
            thread.join()
        });
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Connects it to the switch, with its address.
    fn plug_in(&self) {
        let Self { namespace, switch, port, address, .. } = self;
        let link =
            ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace];
        ip(&[&["-n", switch], &link[..]].concat());
        ip(&["-n", switch, "link", "set", port, "master", "switch", "up"]);
        ip(&["-n", namespace, "link", "set", "lo", "up"]);
        ip(&["-n", namespace, "link", "set", "eth0", "up"]);
        let address = format!("{address}/24");
        ip(&["-n", namespace, "addr", "add", &address, "broadcast", "+", "dev", "eth0"]);
        // As on a host of the real world: 255.255.255.255 leaves by the default route.
        ip(&["-n", namespace, "route", "add", "default", "dev", "eth0"]);
    }

    /// Joins two hosts by a cable, between interfaces of this name.
    pub(crate) fn cable_to(&self, other: &Self, interface: &str) {
        let end = ["link", "add", interface, "type", "veth", "peer", "name", interface];
        self.ip(&[&end[..], &["netns", &other.namespace]].concat());
    }

    /// Takes the host off the network: not one packet of it gets through any more.
    pub(crate) fn vanish(&self) {
        ip(&["-n", &self.switch, "link", "del", &self.port]);
    }

    /// Runs `ip` on this host.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.namespace], arguments].concat());
    }

    /// Drops what the host sends that fits an nftables match, once it left the host.
    pub(crate) fn cut_outgoing(&self, matching: &str) {
        nft(&self.switch, &ingress("outgoing", &self.port, matching));
    }

    /// Drops what was sent to the host that fits an nftables match.
    pub(crate) fn cut_incoming(&self, matching: &str) {
        nft(&self.namespace, &ingress("incoming", "eth0", matching));
    }

    /// Lets everything through again.
    pub(crate) fn heal(&self) {
        for (namespace, table) in [
            (&self.switch, format!("outgoing_{}", self.port)),
            (&self.namespace, "incoming_eth0".into()),
        ] {
            // An empty table of that name makes the deletion succeed in any case.
            nft(namespace, &format!("table netdev {table}\ndelete table netdev {table}\n"));
        }
    }

    /// Adds a rule to what the host does with incoming packets; no rule forgets them all.
    pub(crate) fn set_input_rule(&self, rule: Option<&str>) {
        self.set_rule("input", rule);
    }

    /// The same for the packets of its own programs.
    pub(crate) fn set_output_rule(&self, rule: Option<&str>) {
        self.set_rule("output", rule);
    }

    fn set_rule(&self, hook: &str, rule: Option<&str>) {
        let chain = format!("type filter hook {hook} priority 0\n");
        let rules = match rule {
            Some(rule) => format!("table inet {hook} {{\nchain {hook} {{\n{chain}{rule}\n}}\n}}\n"),
            None => format!("table inet {hook}\ndelete table inet {hook}\n"),
        };
        nft(&self.namespace, &rules);
    }

    /// Lets the host send only so many bytes a second, with a queue of half a second.
    pub(crate) fn slow_down(&self, bytes_per_second: u32) {
        let rate = format!("{bytes_per_second}bps");
        let limit = (bytes_per_second / 2).max(2 * FRAME_BYTES).to_string();
        let burst = (bytes_per_second / 100).max(FRAME_BYTES).to_string();
        let replace = ["tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", &rate];
        let queue = ["burst", &burst, "limit", &limit];
        let arguments = [&["netns", "exec", &self.namespace], &replace[..], &queue[..]].concat();
        ip(&arguments);
    }
}

fn ingress(direction: &str, device: &str, matching: &str) -> String {
    let hook = format!("type filter hook ingress device \"{device}\" priority 0");
    format!("table netdev {direction}_{device} {{\nchain cut {{\n{hook}\n{matching} drop\n}}\n}}\n")
}

fn nft(namespace: &str, rules: &str) {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft does not take\n{rules}");
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}", arguments.join(" "));
}
