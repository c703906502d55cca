//! Row 12: processes that are stopped for longer than every deadline, and woken. Others
//! drop them and carry on; they wake without a storm.

use std::fs::{self, File};

use crate::checks::{Usage, await_idle, clean, named_end};
use crate::harness::{Peer, PeerPlan, RawDownloader, Registry, Signal, World, await_until};
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
fn source<'a>(world: &'a World, registry: &Registry, id: u32) -> PeerPlan<'a> {
    let plan = patient(world, registry, id).has("small", b"small");
    File::create(world.shared_folder(id).join("large")).unwrap().set_len(LARGE_BYTES).unwrap();
    plan
}

/// A peer with short deadlines that tells all it does.
fn patient<'a>(world: &'a World, registry: &Registry, id: u32) -> PeerPlan<'a> {
    let plan = world.peer(id, registry.address).flag("--verbose");
    plan.option("--progress-timeout", "1s").option("--first-byte-timeout", "1s")
}

fn downloader<'a>(world: &'a World, registry: &Registry, id: u32) -> PeerPlan<'a> {
    patient(world, registry, id).wants("large").flag("--exit-when-done")
}

#[track_caller]
fn has_fetched(world: &World, mut downloader: Peer) {
    assert_eq!(named_end(&mut downloader.process), 0, "{:#?}", downloader.process.log());
    let large = world.shared_folder(downloader.id).join("large");
    let len_bytes = fs::metadata(large).unwrap().len();
    assert_eq!(len_bytes, LARGE_BYTES);
}

fn an_uploader_that_is_stopped_is_left_and_serves_again_when_it_wakes() {
    let world = World::new();
    let registry = world.registry();
    let mut stopped = source(&world, &registry, SOURCE).start();
    await_until("all is hashed", || {
        RawDownloader::connect(stopped.address).fetch("small").is_some()
    });
    let before = Usage::of(&stopped.process).unwrap();
    let mut download = downloader(&world, &registry, DOWNLOADER).start();
    download.await_partial(1);
    stopped.process.signal(Signal::STOP);
    let mut another = source(&world, &registry, ANOTHER).start();
    has_fetched(&world, download);

    let lines_before = stopped.process.log().len();
    stopped.process.signal(Signal::CONT);
    assert!(RawDownloader::connect(stopped.address).fetch("small").is_some());
    await_idle(&stopped.process, &before);
    let lines = stopped.process.log().split_off(lines_before);
    assert!(lines.len() < 20, "a storm: {lines:#?}");
    clean(&lines);
    stopped.stop();
    another.stop();
}

fn a_downloader_that_is_stopped_is_dropped_and_catches_up_when_it_wakes() {
    let world = World::new();
    let registry = world.registry();
    let mut source = source(&world, &registry, SOURCE).start();
    let mut stopped = downloader(&world, &registry, DOWNLOADER).start();
    stopped.await_partial(1);
    stopped.process.signal(Signal::STOP);
    let bystander = downloader(&world, &registry, ANOTHER).start();
    await_until("the uploader drops it", || {
        let drops = |line: &String| line.ends_with("nothing moved for too long");
        source.process.log().iter().any(drops)
    });
    has_fetched(&world, bystander);
    stopped.process.signal(Signal::CONT);
    has_fetched(&world, stopped);
    source.stop();
    clean(&source.process.log());
}

fn a_registry_that_is_stopped_is_waited_for() {
    let world = World::new();
    let registry = world.registry();
    let mut source = source(&world, &registry, SOURCE).start();
    let mut began = downloader(&world, &registry, DOWNLOADER).start();
    began.await_partial(1);
    registry.process.signal(Signal::STOP);
    // What has begun goes on; what has not waits.
    has_fetched(&world, began);
    let waiting = downloader(&world, &registry, ANOTHER).start();
    await_until("the registry is missed", || {
        let misses = |line: &String| line.contains("no registry at ");
        waiting.process.log().iter().any(misses)
    });
    registry.process.signal(Signal::CONT);
    has_fetched(&world, waiting);
    source.stop();
    let lines = registry.process.log();
    assert!(lines.len() < 50, "a storm: {lines:#?}");
}
