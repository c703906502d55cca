//! `--limit-up` and `--limit-down`: a rate is never exceeded, and nothing is given up for it.

use std::time::{Duration, Instant};

use kit::{World, content};

/// Fetches two files with a progress timeout that is short, and at this rate at one end or both.
#[track_caller]
fn fetch(share_options: &[&str], get_options: &[&str], rate: u64) {
    let world = World::new();
    let files = [content(1, 100_000), content(2, 60_000)];
    world.folder("mine", &[("a", &files[0]), ("b", &files[1])]);
    let share =
        world.start(&[&["share", "mine", "--progress-timeout", "1s"], share_options].concat());
    share.await_listening();
    let began = Instant::now();
    let options = ["a", "b", "--progress-timeout", "1s", "--retries", "0"];
    world.get(&[&options[..], get_options].concat()).ends_with(0);
    // The buckets begin empty, so what follows from the rate holds however slow the host is.
    let least = Duration::from_secs_f64(160_000.0 / rate as f64);
    assert!(began.elapsed() >= least, "{:?} is faster than {rate} bytes a second", began.elapsed());
    assert_eq!(world.got().into_values().collect::<Vec<_>>(), files);
}

#[test]
fn all_transfers_together_keep_to_a_rate() {
    fetch(&["--limit-up", "80k"], &[], 80_000);
    fetch(&[], &["--limit-down", "80k"], 80_000);
}
