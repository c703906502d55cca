//! Links that are cut, slow, reset, or taken down and up (rows 3, 5, 7 and 9).

use crate::harness::{Process, await_until, content};
use crate::hosts::{Host, HostPeer, Network, heard};
use crate::quantities::{can_make_hosts, tell};
use crate::turns::beside_others;

const NAME: &str = "file";
/// Slow enough for something to happen in the middle of a transfer.
const MEDIUM_RATE: u32 = 1_000_000;

/// A registry, a source and a downloader on three hosts.
struct Scene {
    file: Vec<u8>,
    downloader: HostPeer,
    source: HostPeer,
    _registry: Process,
    network: Network,
}

impl Scene {
    /// `bytes_per_second` is what the source's link lets through.
    fn begin(file_bytes: usize, bytes_per_second: u32, more: &[&str]) -> Self {
        let network = Network::new(3);
        let (registry, _) = network.host(1).start_registry(&network);
        let file = content(1, file_bytes);
        let calm = ["--offer-interval", "5s"];
        let source = network.host(2).start_source(&network, 2, NAME, &file, &calm);
        await_until("the source is registered", || source.has_logged("registered at"));
        network.host(2).slow_down(bytes_per_second);
        let more = [&["--want", NAME], more].concat();
        let downloader = network.host(3).start_peer(&network, 3, &more);
        Self { file, downloader, source, _registry: registry, network }
    }

    fn source_host(&self) -> Host {
        self.network.host(2)
    }

    /// The file arrives, and both go on.
    #[track_caller]
    fn end(mut self) {
        self.downloader.await_file(NAME, &self.file);
        self.source.process.assert_running();
    }
}

/// The link of the source stops in the middle of a transfer and heals later.
fn a_cut_is_survived(cut: impl Fn(&Host)) {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let mut scene = Scene::begin(3_000_000, MEDIUM_RATE, &["--progress-timeout", "2s"]);
    scene.downloader.await_partial(200_000);
    cut(&scene.source_host());
    await_until("the downloader gives the source up", || {
        scene.downloader.has_logged("could not give")
    });
    assert!(!scene.downloader.holds(NAME));
    assert_eq!(scene.downloader.partial_bytes(), 0, "what came is wiped");
    scene.source_host().heal();
    scene.end();
}

#[test]
fn a_link_cut_both_ways_heals() {
    a_cut_is_survived(|host| {
        host.cut_outgoing("");
        host.cut_incoming("");
    });
}

#[test]
fn a_link_that_loses_what_the_source_sends_heals() {
    a_cut_is_survived(|host| host.cut_outgoing(""));
}

#[test]
fn a_link_that_loses_what_the_source_is_sent_heals() {
    a_cut_is_survived(|host| host.cut_incoming("tcp dport > 0"));
}

#[test]
fn a_short_cut_costs_no_transfer() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let mut scene = Scene::begin(3_000_000, MEDIUM_RATE, &[]);
    scene.downloader.await_partial(200_000);
    scene.source_host().cut_outgoing("");
    let had = scene.downloader.partial_bytes();
    std::thread::sleep(std::time::Duration::from_secs(2));
    scene.source_host().heal();
    scene.downloader.await_partial(had + 1);
    assert!(!scene.downloader.has_logged("could not give"));
    scene.end();
}

#[test]
fn a_reset_in_the_middle_costs_that_connection_only() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    for victim in [2, 3] {
        // Who sends nothing is not told, and notices at its deadline.
        let mut scene = Scene::begin(1_500_000, MEDIUM_RATE, &["--progress-timeout", "2s"]);
        scene.downloader.await_partial(200_000);
        let port = scene.source.address.port();
        let host = scene.network.host(victim);
        // Once for each side to be the one that a reset comes to.
        let end = if victim == 2 { "dport" } else { "sport" };
        host.set_input_rule(Some(&format!("tcp {end} {port} reject with tcp reset")));
        await_until("the downloader is told", || scene.downloader.has_logged("could not give"));
        assert!(!scene.downloader.holds(NAME));
        host.set_input_rule(None);
        scene.end();
    }
}

#[test]
fn a_link_of_2_kib_a_second_is_slow_and_nothing_else() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    // Longer than the window in which the minimum rate is measured.
    let scene = Scene::begin(70_000, 2048, &[]);
    scene.downloader_is_never_given_up();
}

#[test]
fn a_link_that_changes_its_rate_is_slow_and_nothing_else() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let mut scene = Scene::begin(2_000_000, MEDIUM_RATE, &[]);
    let mut wanted_bytes = 0;
    for rate in [20_000, 200_000, 5_000, MEDIUM_RATE] {
        wanted_bytes += u64::from(rate.min(100_000));
        scene.source_host().slow_down(rate);
        scene.downloader.await_partial(wanted_bytes);
    }
    scene.downloader_is_never_given_up();
}

impl Scene {
    /// The file arrives over the first connection.
    #[track_caller]
    fn downloader_is_never_given_up(mut self) {
        self.downloader.await_file(NAME, &self.file);
        for peer in [&self.downloader, &self.source] {
            let log = peer.process.log();
            assert!(!log.iter().any(|line| line.contains("too long") || line.contains("slower")));
        }
        let downloads = self.downloader.process.log();
        let downloads = downloads.iter().filter(|line| line.contains("downloading")).count();
        assert_eq!(downloads, 1, "it was asked for again");
        self.end();
    }
}

#[test]
fn an_interface_goes_down_and_up_and_has_another_address_for_a_while() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let network = Network::new(3);
    let [first, second, third] = [1, 2, 3].map(|number| network.host(number));
    let _registry = first.start_registry(&network);
    let file = content(1, 100_000);
    let ear = third.ear();
    let mut source = second.start_source(&network, 2, NAME, &file, &[]);
    let is_heard = || {
        let offer = heard(&ear);
        offer == Some((2, NAME.into(), second.address))
    };
    await_until("it is heard", is_heard);

    second.ip(&["link", "set", "eth0", "down"]);
    await_until("offers fail", || source.has_logged("cannot send offers"));
    while heard(&ear).is_some() {}
    second.ip(&["link", "set", "eth0", "up"]);
    await_until("it is heard again", is_heard);

    let address = format!("{}/24", second.address);
    let failures = |source: &HostPeer| {
        source.process.log().iter().filter(|line| line.contains("cannot send offers")).count()
    };
    let before = failures(&source);
    second.ip(&["addr", "del", &address, "dev", "eth0"]);
    second.ip(&["addr", "add", "10.77.0.102/24", "broadcast", "+", "dev", "eth0"]);
    await_until("offers fail", || failures(&source) > before);
    source.process.assert_running();
    second.ip(&["addr", "add", &address, "broadcast", "+", "dev", "eth0"]);
    await_until("it is heard again", is_heard);
    let mut downloader = third.start_peer(&network, 3, &["--want", NAME]);
    downloader.await_file(NAME, &file);
    tell("row 9: interface down and up, another address: offered again each time");
}
