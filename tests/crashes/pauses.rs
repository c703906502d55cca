//! Row 12: processes that are stopped for longer than every deadline, and woken. Others
//! drop them and carry on; they wake without a storm.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use kit::{Peer, PeerPlan, RawDownloader, World, await_until};

use crate::checks::{clean, named_end};
use crate::place::{DOWNLOADER, SOURCE};

kit::tests![
    an_uploader_that_is_stopped_is_left_and_serves_again_when_it_wakes,
    a_downloader_that_is_stopped_is_dropped_and_catches_up_when_it_wakes,
    a_registry_that_is_stopped_is_waited_for,
];

const ANOTHER: u32 = 3;

/// Large enough to be stopped in the middle, and sparse, so that it costs no room.
const LARGE_BYTES: u64 = 200 << 20;

/// A peer that shares a large and a small file.
fn source(world: &World, id: u32) -> PeerPlan {
    let plan = patient(world, id).has("small", b"small");
    let large = File::create(world.shared_folder(id).join("large")).unwrap();
    large.set_len(LARGE_BYTES).unwrap();
    // Zeros alone would show as nothing before the end.
    large.write_all_at(b"x", 0).unwrap();
    plan
}

/// A peer with short deadlines that tells all it does.
fn patient(world: &World, id: u32) -> PeerPlan {
    let plan = world.peer(id).flag("--verbose");
    plan.option("--progress-timeout", "1s").option("--first-byte-timeout", "1s")
}

fn downloader(world: &World, id: u32) -> PeerPlan {
    patient(world, id).wants("large").until_done()
}

#[track_caller]
fn has_fetched(world: &World, downloader: Peer) {
    assert_eq!(named_end(&downloader.process), 0, "{:#?}", downloader.process.log());
    let large = world.shared_folder(downloader.id).join("large");
    let len_bytes = fs::metadata(large).unwrap().len();
    assert_eq!(len_bytes, LARGE_BYTES);
}

fn an_uploader_that_is_stopped_is_left_and_serves_again_when_it_wakes() {
    let world = World::new();
    let stopped = source(&world, SOURCE).start();
    await_until("all is hashed", || {
        RawDownloader::connect(stopped.address).fetch("small").is_some()
    });
    let before = stopped.process.descriptors();
    let download = downloader(&world, DOWNLOADER).start();
    download.await_partial(1);
    stopped.process.pause();
    let another = source(&world, ANOTHER).start();
    has_fetched(&world, download);

    let lines_before = stopped.process.log().len();
    stopped.process.resume();
    assert!(RawDownloader::connect(stopped.address).fetch("small").is_some());
    stopped.process.await_rest(before);
    let lines = stopped.process.log().split_off(lines_before);
    assert!(lines.len() < 20, "a storm: {lines:#?}");
    clean(&lines);
    stopped.stop();
    another.stop();
}

fn a_downloader_that_is_stopped_is_dropped_and_catches_up_when_it_wakes() {
    let world = World::new();
    let source = source(&world, SOURCE).start();
    let stopped = downloader(&world, DOWNLOADER).start();
    stopped.await_partial(1);
    stopped.process.pause();
    let bystander = downloader(&world, ANOTHER).start();
    source.process.await_log("nothing moved for too long");
    has_fetched(&world, bystander);
    stopped.process.resume();
    has_fetched(&world, stopped);
    source.stop();
    clean(&source.process.log());
}

fn a_registry_that_is_stopped_is_waited_for() {
    let world = World::new();
    let source = source(&world, SOURCE).start();
    let began = downloader(&world, DOWNLOADER).start();
    began.await_partial(1);
    world.registry().process.pause();
    // What has begun goes on; what has not waits.
    has_fetched(&world, began);
    let waiting = downloader(&world, ANOTHER).start();
    waiting.process.await_log("no registry at ");
    world.registry().process.resume();
    has_fetched(&world, waiting);
    source.stop();
    let lines = world.registry().process.log();
    assert!(lines.len() < 50, "a storm: {lines:#?}");
}
