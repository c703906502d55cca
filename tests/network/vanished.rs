//! Hosts that vanish without FIN or RST (row 4), and a registry that is killed and
//! started again (row 33).

use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::harness::{await_until, content};
use crate::hosts::{Lookups, Network};
use crate::quantities::{can_make_hosts, tell};
use crate::turns::beside_others;

const NAME: &str = "file";
const WANTS: [&str; 2] = ["--want", NAME];
/// Row 4. The kernel and the programs give up after 15 s.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_source_that_vanishes_is_noticed_and_another_one_is_asked() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let network = Network::new(4);
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| network.host(number));
    let (_registry, registry) = first.start_registry(&network);
    let file = content(1, 6_000_000);
    let vanishing = second.start_source(&network, 2, NAME, &file, &[]);
    second.slow_down(300_000);
    let mut downloader = third.start_peer(&network, 3, &WANTS);
    downloader.await_partial(100_000);
    let _other = fourth.start_source(&network, 4, NAME, &file, &[]);
    let mut lookups = Lookups::from(&first, registry);
    await_until("the source is entered", || lookups.knows(2, vanishing.address));

    second.vanish();
    let began = Instant::now();
    assert!(!downloader.holds(NAME));
    let (mut left_after, mut noticed_after) = (None, None);
    await_until("both notice it", || {
        if !lookups.knows(2, vanishing.address) {
            left_after.get_or_insert_with(|| began.elapsed());
        }
        if downloader.has_logged("peer 2 could not give") {
            noticed_after.get_or_insert_with(|| began.elapsed());
        }
        left_after.is_some() && noticed_after.is_some()
    });
    downloader.await_file(NAME, &file);
    let (left_after, noticed_after) = (left_after.unwrap(), noticed_after.unwrap());
    tell(format_args!(
        "row 4: a vanished source was noticed after {:.1} s by its downloader, {:.1} s by the \
         registry; the file was there after {:.1} s",
        noticed_after.as_secs_f32(),
        left_after.as_secs_f32(),
        began.elapsed().as_secs_f32(),
    ));
    assert!(noticed_after < NOTICED_WITHIN && left_after < NOTICED_WITHIN);
}

#[test]
fn a_downloader_that_vanishes_is_noticed() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let network = Network::new(3);
    let [first, second, third] = [1, 2, 3].map(|number| network.host(number));
    let _registry = first.start_registry(&network);
    let source = second.start_source(&network, 2, NAME, &content(1, 6_000_000), &[]);
    await_until("the source is registered", || source.has_logged("registered at"));
    second.slow_down(300_000);
    let figures = Figures::of(&source.process);
    let before = figures.descriptors();
    let mut downloader = third.start_peer(&network, 3, &WANTS);
    downloader.await_partial(100_000);
    assert!(figures.descriptors() > before);

    third.vanish();
    let began = Instant::now();
    await_until("connection and file are closed", || figures.descriptors() == before);
    let noticed_after = began.elapsed();
    tell(format_args!(
        "row 4: a vanished downloader was noticed after {:.1} s",
        noticed_after.as_secs_f32()
    ));
    assert!(noticed_after < NOTICED_WITHIN);
}

#[test]
fn a_registry_killed_in_mid_transfer_comes_back_empty() {
    let _turn = beside_others();
    if !can_make_hosts() {
        return;
    }
    let network = Network::new(3);
    let [first, second, third] = [1, 2, 3].map(|number| network.host(number));
    let (mut registry, address) = first.start_registry(&network);
    let file = content(1, 4_000_000);
    let source = second.start_source(&network, 2, NAME, &file, &[]);
    await_until("the source is registered", || source.has_logged("registered at"));
    second.slow_down(1_000_000);
    let mut downloader = third.start_peer(&network, 3, &WANTS);
    for round in 1..=3 {
        downloader.await_partial(round * 300_000);
        registry.kill();
        registry = first.start_registry(&network).0;
        let mut lookups = Lookups::from(&first, address);
        await_until("both are entered again", || {
            lookups.knows(2, source.address) && lookups.knows(3, downloader.address)
        });
    }
    downloader.await_file(NAME, &file);
    let log = downloader.process.log();
    let downloads = log.iter().filter(|line| line.contains("downloading")).count();
    assert_eq!(downloads, 1, "the transfer went on meanwhile");
}
