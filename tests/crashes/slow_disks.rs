//! A disk that is slow to bring what is to be hashed and sent. All others are served
//! meanwhile: the loop looks again and again, and sleeps in between, instead of waiting in a
//! read.

use std::fs;
use std::time::Instant;

use kit::messages::digest_of;
use kit::{RawDownloader, World, content};
use p2pfs::limits::{DISK_LOOK_INTERVAL, DISK_PATIENCE};
use tempfile::TempDir;

use crate::strace::{self, STRACE};

kit::tests! { STRACE: a_file_is_looked_for_again_and_waited_for_in_the_end }

const SOURCE: u32 = 1;

fn a_file_is_looked_for_again_and_waited_for_in_the_end() {
    let (world, logs) = (World::new(), TempDir::new().unwrap());
    let log = logs.path().join("trace");
    let file = content(1, 60_000);
    let source = world.peer(SOURCE).has("file", &file);
    let launcher = strace::failing_always(&log, "preadv2", "EAGAIN");
    let source = source.under(launcher).start();
    let (mut downloader, began) = (RawDownloader::connect(source.address), Instant::now());
    let (received, digest) = downloader.fetch("file").unwrap();
    assert!(received == file && digest == digest_of(&file));
    let elapsed = began.elapsed();
    source.stop();

    let log = fs::read_to_string(log).unwrap();
    let looks = log.lines().filter(|line| line.contains(" preadv2(")).count();
    // Once to hash it, and once more to send it.
    let patience = 2 * DISK_PATIENCE;
    assert!((patience..2 * patience).contains(&elapsed), "sent after {elapsed:?}");
    // By BLAKE3, too, meanwhile.
    let looks_max = 3 * ((patience.as_millis() / DISK_LOOK_INTERVAL.as_millis()) as usize + 2) / 2;
    assert!((looks_max / 4..=looks_max).contains(&looks), "it looked {looks} times");
    let pause_ms = DISK_LOOK_INTERVAL.as_millis();
    // The end of the arguments of epoll_wait, and of epoll_pwait.
    let ends = [format!(", {pause_ms}) = "), format!(", {pause_ms}, NULL, 8) = ")];
    let is_pause = |line: &&str| ends.iter().any(|end| line.contains(end));
    let pauses = log.lines().filter(is_pause).count();
    // Two that wait at once are looked for after one pause.
    assert!(pauses > looks * 6 / 10, "it looked {looks} times and slept {pauses} times");
}
