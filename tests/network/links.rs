//! Links that are cut, slow, reset, or taken down and up (rows 3, 5, 7 and 9).

use kit::{Peer, await_until, content};

use crate::hosts::{HOSTS, Host, Network, heard};

kit::tests! {
    HOSTS:
        a_link_cut_both_ways_heals,
        a_link_that_loses_what_the_source_sends_heals,
        a_link_that_loses_what_the_source_is_sent_heals,
        a_short_cut_costs_no_transfer,
        a_reset_in_the_middle_costs_that_connection_only,
        a_link_of_2_kib_a_second_is_slow_and_nothing_else,
        a_link_that_changes_its_rate_is_slow_and_nothing_else,
        an_interface_goes_down_and_up_and_has_another_address_for_a_while;
}

const NAME: &str = "file";
/// Slow enough for something to happen in the middle of a transfer.
const MEDIUM_RATE: u32 = 1_000_000;

/// A source and a downloader on hosts of their own. Both end before the hosts go.
struct Scene {
    file: Vec<u8>,
    downloader: Peer,
    source: Peer,
    downloader_host: Host,
    source_host: Host,
    _network: Network,
}

impl Scene {
    /// `bytes_per_second` is what the source's link lets through.
    fn begin(file_bytes: usize, bytes_per_second: u32, more: &[&str]) -> Self {
        let (network, [_, source_host, downloader_host]) = Network::begin();
        let file = content(1, file_bytes);
        let source = source_host.start_source(2, NAME, &file, &["--offer-interval", "5s"]);
        await_until("the source is registered", || source.process.has_said("registered at"));
        source_host.slow_down(bytes_per_second);
        let more = [&["--want", NAME, "--beacon-port", "8002"], more].concat();
        let downloader = downloader_host.start_peer(3, &more);
        Self { file, downloader, source, downloader_host, source_host, _network: network }
    }

    /// The file arrives, and both go on.
    #[track_caller]
    fn end(self) {
        self.downloader.await_only_file(NAME, &self.file);
        self.source.process.assert_running();
    }
}

/// The link of the source stops in the middle of a transfer and heals later.
fn a_cut_is_survived(cut: impl Fn(&Host)) {
    let more = ["--progress-timeout", "2s"];
    let scene = Scene::begin(3_000_000, MEDIUM_RATE, &more);
    scene.downloader.await_partial(200_000);
    cut(&scene.source_host);
    await_until("the downloader gives the source up", || {
        scene.downloader.process.has_said("could not give")
    });
    assert!(!scene.downloader.holds(NAME));
    assert_eq!(scene.downloader.partial_bytes(), 0, "what came is wiped");
    scene.source_host.heal();
    scene.end();
}

fn a_link_cut_both_ways_heals() {
    a_cut_is_survived(|host| {
        host.cut_outgoing("");
        host.cut_incoming("");
    });
}

fn a_link_that_loses_what_the_source_sends_heals() {
    a_cut_is_survived(|host| host.cut_outgoing(""));
}

fn a_link_that_loses_what_the_source_is_sent_heals() {
    a_cut_is_survived(|host| host.cut_incoming("tcp dport > 0"));
}

fn a_short_cut_costs_no_transfer() {
    let scene = Scene::begin(3_000_000, MEDIUM_RATE, &[]);
    scene.downloader.await_partial(200_000);
    scene.source_host.cut_outgoing("");
    let had = scene.downloader.partial_bytes();
    std::thread::sleep(std::time::Duration::from_secs(2));
    scene.source_host.heal();
    scene.downloader.await_partial(had + 1);
    assert!(!scene.downloader.process.has_said("could not give"));
    scene.end();
}

fn a_reset_in_the_middle_costs_that_connection_only() {
    for end in ["dport", "sport"] {
        // Who sends nothing is not told, and notices at its deadline.
        let more = ["--progress-timeout", "2s"];
        let scene = Scene::begin(1_500_000, MEDIUM_RATE, &more);
        scene.downloader.await_partial(200_000);
        let port = scene.source.address.port();
        // Once for each side to be the one that a reset comes to.
        let is_at_source = end == "dport";
        let host = if is_at_source { &scene.source_host } else { &scene.downloader_host };
        host.set_input_rule(Some(&format!("tcp {end} {port} reject with tcp reset")));
        await_until("the downloader is told", || {
            scene.downloader.process.has_said("could not give")
        });
        assert!(!scene.downloader.holds(NAME));
        host.set_input_rule(None);
        scene.end();
    }
}

fn a_link_of_2_kib_a_second_is_slow_and_nothing_else() {
    // Longer than the window in which the minimum rate is measured.
    let scene = Scene::begin(70_000, 2048, &[]);
    scene.downloader_is_never_given_up();
}

fn a_link_that_changes_its_rate_is_slow_and_nothing_else() {
    let scene = Scene::begin(2_000_000, MEDIUM_RATE, &[]);
    let mut wanted_bytes = 0;
    for rate in [20_000, 200_000, 5_000, MEDIUM_RATE] {
        wanted_bytes += u64::from(rate.min(100_000));
        scene.source_host.slow_down(rate);
        scene.downloader.await_partial(wanted_bytes);
    }
    scene.downloader_is_never_given_up();
}

impl Scene {
    /// The file arrives over the first connection.
    #[track_caller]
    fn downloader_is_never_given_up(self) {
        self.downloader.await_only_file(NAME, &self.file);
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

fn an_interface_goes_down_and_up_and_has_another_address_for_a_while() {
    let (_network, [_, second, third]) = Network::begin();
    let file = content(1, 100_000);
    let ear = third.ear();
    let source = second.start_source(2, NAME, &file, &[]);
    let is_heard = || {
        let offer = heard(&ear);
        offer == Some((2, NAME.into(), second.address))
    };
    await_until("it is heard", is_heard);

    second.ip(&["link", "set", "eth0", "down"]);
    await_until("that is told", || source.process.has_said("eth0 went down"));
    while heard(&ear).is_some() {}
    second.ip(&["link", "set", "eth0", "up"]);
    await_until("it is heard again", is_heard);

    let address = format!("{}/24", second.address);
    second.ip(&["addr", "del", &address, "dev", "eth0"]);
    second.ip(&["addr", "add", "10.77.0.102/24", "broadcast", "+", "dev", "eth0"]);
    await_until("that is told", || source.process.has_said("eth0 lost 10.77.0.2"));
    source.process.assert_running();
    second.ip(&["addr", "add", &address, "broadcast", "+", "dev", "eth0"]);
    await_until("it is heard again", is_heard);
    let downloader = third.start_peer(3, &["--want", NAME, "--beacon-port", "8002"]);
    downloader.await_only_file(NAME, &file);
    assert!(!source.process.has_said("cannot send offers"), "told with its cause, and no more");
}
