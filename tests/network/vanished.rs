//! Hosts that vanish without FIN or RST (row 4), and a registry that is killed and
//! started again (row 33).

use std::time::{Duration, Instant};

use kit::{await_until, content};

use crate::hosts::{HOSTS, Network};

kit::tests! {
    HOSTS:
        a_source_that_vanishes_is_noticed_and_another_one_is_asked,
        a_downloader_that_vanishes_is_noticed,
        a_registry_killed_in_mid_transfer_comes_back_empty;
}

const NAME: &str = "file";
/// It hears no beacons: it fetches by version 0.
const WANTS: [&str; 4] = ["--want", NAME, "--beacon-port", "8002"];
/// Row 4. The kernel and the programs give up after 15 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

fn a_source_that_vanishes_is_noticed_and_another_one_is_asked() {
    let (_network, [first, second, third, fourth]) = Network::begin();
    let file = content(1, 6_000_000);
    let vanishing = second.start_source(2, NAME, &file, &[]);
    second.slow_down(300_000);
    let downloader = third.start_peer(3, &WANTS);
    downloader.await_partial(100_000);
    let _other = fourth.start_source(4, NAME, &file, &[]);
    let mut lookups = first.client();
    await_until("the source is entered", || lookups.knows(2, vanishing.address));

    second.vanish();
    let began = Instant::now();
    assert!(!downloader.holds(NAME));
    let (mut left_after, mut noticed_after) = (None, None);
    await_until("both notice it", || {
        if !lookups.knows(2, vanishing.address) {
            left_after.get_or_insert_with(|| began.elapsed());
        }
        if downloader.process.has_said("peer 2 could not give") {
            noticed_after.get_or_insert_with(|| began.elapsed());
        }
        left_after.is_some() && noticed_after.is_some()
    });
    downloader.await_only_file(NAME, &file);
    let (left_after, noticed_after) = (left_after.unwrap(), noticed_after.unwrap());
    for noticed_after in [noticed_after, left_after] {
        assert!(noticed_after < NOTICED_WITHIN, "noticed after {noticed_after:.1?}");
    }
}

fn a_downloader_that_vanishes_is_noticed() {
    let (_network, [_, second, third]) = Network::begin();
    let source = second.start_source(2, NAME, &content(1, 6_000_000), &[]);
    await_until("the source is registered", || source.process.has_said("registered at"));
    second.slow_down(300_000);
    let process = &source.process;
    // Its file is hashed, and closed.
    process.await_idle();
    let before = process.descriptors();
    let downloader = third.start_peer(3, &WANTS);
    downloader.await_partial(100_000);
    assert!(process.descriptors() > before);

    third.vanish();
    let began = Instant::now();
    await_until("connection and file are closed", || process.descriptors() == before);
    let noticed_after = began.elapsed();
    assert!(noticed_after < NOTICED_WITHIN, "noticed after {noticed_after:.1?}");
}

fn a_registry_killed_in_mid_transfer_comes_back_empty() {
    let (mut network, [first, second, third]) = Network::begin();
    let file = content(1, 4_000_000);
    let source = second.start_source(2, NAME, &file, &[]);
    await_until("the source is registered", || source.process.has_said("registered at"));
    second.slow_down(1_000_000);
    let downloader = third.start_peer(3, &WANTS);
    for round in 1..=3 {
        downloader.await_partial(round * 300_000);
        network.replace_registry();
        let mut lookups = first.client();
        await_until("both are entered again", || {
            lookups.knows(2, source.address) && lookups.knows(3, downloader.address)
        });
    }
    downloader.await_only_file(NAME, &file);
    let log = downloader.process.log();
    let downloads = log.iter().filter(|line| line.contains("downloading")).count();
    assert_eq!(downloads, 1, "the transfer went on meanwhile");
}
