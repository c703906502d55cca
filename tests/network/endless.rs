//! A file without an end stops at the limits (row 25).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use kit::{FakeSource, World, await_until, content};
use rustix::fs::statvfs;

use crate::turns::alone;

kit::tests![
    an_endless_file_stops_at_the_largest_size_and_another_source_is_asked,
    an_endless_file_stops_before_the_disk_is_full,
];

const NAME: &str = "file";
const PIECE_BYTES: usize = 256 * 1024;
const ALLOWED_BYTES: u64 = 24 << 20;
/// What may be on its way when the limit is met, and what is written between two looks
/// at the disk.
const SLACK_BYTES: u64 = 16 << 20;

/// A source that sends one file for ever once it may, and counts what was acknowledged of it
/// in one go.
fn endless(world: &World) -> (FakeSource, mpsc::Sender<()>, Arc<AtomicU64>) {
    let most = Arc::new(AtomicU64::new(0));
    let (go_on, may) = mpsc::channel();
    let may = Mutex::new(may);
    let source = FakeSource::start(world, 1, NAME, {
        let most = Arc::clone(&most);
        move |stream| {
            let _ = may.lock().unwrap().recv();
            let piece = content(1, PIECE_BYTES);
            let mut sent_bytes = 0;
            while FakeSource::send(stream, &piece) {
                sent_bytes += PIECE_BYTES as u64;
                most.fetch_max(sent_bytes, Ordering::Relaxed);
            }
            false
        }
    });
    (source, go_on, most)
}

fn an_endless_file_stops_at_the_largest_size_and_another_source_is_asked() {
    let _turn = alone();
    let world = World::new();
    let (source, go_on, most) = endless(&world);
    let wanting = world.peer(2).wants(NAME);
    let downloader = wanting.option("--max-file-size", ALLOWED_BYTES.to_string()).start();
    await_until("it was tried", || source.requests() > 0);
    let file = content(2, 1_000_000);
    let _good = world.peer(3).has(NAME, &file).start();
    await_until("another offers it", || downloader.process.has_said("peer 3 offers"));
    assert!(!downloader.holds(NAME));
    go_on.send(()).unwrap();
    downloader.await_file(NAME, &file);
    assert!(downloader.process.has_said("--max-file-size"));
    assert!(downloader.hidden_files().is_empty());
    let most = most.load(Ordering::Relaxed);
    assert!(most <= ALLOWED_BYTES, "stopped at {most} bytes of {ALLOWED_BYTES} allowed");
}

fn an_endless_file_stops_before_the_disk_is_full() {
    let _turn = alone();
    let world = World::new();
    // Nothing holds it back.
    let (_source, _, most) = endless(&world);
    let disk = statvfs(world.path()).unwrap();
    let reserve = disk.f_bavail * disk.f_frsize - ALLOWED_BYTES;
    let wanting = world.peer(2).wants(NAME).until_done();
    let downloader = wanting.option("--disk-reserve", reserve.to_string()).start();
    // There is no other end to it, nor one source that could do better.
    assert_eq!(downloader.process.await_exit_code(), 8);
    assert!(downloader.process.has_said("the disk is full"));
    assert!(!downloader.holds(NAME) && downloader.hidden_files().is_empty());
    let most = most.load(Ordering::Relaxed);
    // Others use the disk too, so this is a guess, unlike the reserve.
    assert!(most <= ALLOWED_BYTES + SLACK_BYTES, "stopped at {most} bytes");
}
