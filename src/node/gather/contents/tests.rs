mod model;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use self::model::Behaviour;
use self::world::{Sample, World};
use super::*;
use crate::content::{ContentId, FailedCall, FileError, OnConflict};
use crate::limits::{BLOCK_BYTES_MIN, EARLY_WAIT_BYTES_MIN, TURNS_IN_USE_MAX};
use crate::node::Report;
use crate::wire::v1::Verdict;

const BLOCK: usize = BLOCK_BYTES_MIN as usize;

fn names(contents: &[(&str, &How)]) -> Vec<String> {
    contents.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn a_content_of_several_blocks_comes_from_all_that_hold_some_of_it() {
    let (sample, mut world) = (Sample::new(1, 12 * BLOCK + 5), World::new(1));
    let sources: Vec<_> = (0..3).map(|_| world.source(Behaviour::Honest, &[&sample])).collect();
    world.want("a/file", &sample, &sources);
    world.run();
    assert!(world.files["a/file"] == sample.bytes);
    for source in sources {
        let model = world.model(source);
        assert!(model.gets > 0 && model.verdicts == [Verdict::Verified], "{:?}", model.verdicts);
    }
    let [("a/file", How::Fetched { from })] = world.done()[..] else { panic!() };
    assert_eq!(from.len(), 3);
    assert_eq!(world.came_bytes, sample.content.size_bytes, "nothing came twice");
}

#[test]
fn many_contents_of_one_block_are_requested_at_once() {
    let samples: Vec<_> = (0..300).map(|seed| Sample::new(seed, 100 + seed as usize)).collect();
    let mut world = World::new(2);
    let all: Vec<_> = samples.iter().collect();
    let sources = [(); 2].map(|()| world.source(Behaviour::Honest, &all));
    for (index, sample) in samples.iter().enumerate() {
        world.want(&format!("many/{index}"), sample, &sources);
    }
    world.run();
    assert_eq!((world.done().len(), world.files.len()), (300, 300));
    for source in sources {
        let model = world.model(source);
        assert!(model.gets >= 100 && model.gets_open_max >= SMALL_ACTIVE_MAX / 2);
    }
    assert!(world.open_max <= SMALL_ACTIVE_MAX);
}

#[test]
fn a_content_is_fetched_once_and_copied_to_the_other_paths_that_want_it() {
    let (sample, mut world) = (Sample::new(3, BLOCK + 9), World::new(3));
    let source = world.source(Behaviour::Honest, &[&sample]);
    ["a", "b", "c/d"].into_iter().for_each(|name| _ = world.want(name, &sample, &[source]));
    world.run();
    world.want("later", &sample, &[source]);
    world.run();
    assert_eq!(names(&world.done()), ["a", "b", "c/d", "later"]);
    assert_eq!((world.copies, world.came_bytes), (3, sample.content.size_bytes));
}

#[test]
fn an_empty_content_is_made_without_a_request() {
    let mut world = World::new(4);
    let empty = Sample::of(Vec::new());
    assert_eq!(empty.content.id, ContentId::EMPTY);
    world.want("empty", &empty, &[]);
    world.want("empty too", &empty, &[]);
    assert_eq!(world.run().len(), 2);
    assert_eq!(names(&world.done()), ["empty", "empty too"]);
}

#[test]
fn what_stands_there_with_the_same_bytes_costs_nothing_and_is_copied() {
    let (sample, mut world) = (Sample::new(5, 2 * BLOCK), World::new(5));
    world.files.insert("a".to_owned(), sample.bytes.clone());
    world.want("a", &sample, &[]);
    world.want("b", &sample, &[]);
    world.run();
    assert_eq!(world.done(), [("a", &How::Found), ("b", &How::Copied)]);
    assert_eq!(world.came_bytes, 0);
}

#[test]
fn what_stands_there_and_changed_just_now_is_hashed_again() {
    for (hashes_that_fail, is_found) in [(2, true), (100, false)] {
        let (sample, mut world) = (Sample::new(22, 30), World::new(22));
        world.hashes_that_fail = hashes_that_fail;
        world.files.insert("a".to_owned(), sample.bytes.clone());
        world.want("a", &sample, &[]);
        world.run();
        assert_eq!(!world.done().is_empty(), is_found, "{:?}", world.events);
    }
}

#[test]
fn what_stands_there_with_other_bytes_is_a_conflict() {
    let sample = Sample::new(6, BLOCK);
    let cases = [
        (OnConflict::Refuse, Err(FetchError::File(FileError::Exists))),
        (OnConflict::Compare, Err(FetchError::Different)),
        (OnConflict::Skip, Ok(false)),
        (OnConflict::Rename, Ok(true)),
        (OnConflict::Replace, Ok(true)),
    ];
    for ((on_conflict, expected), other_bytes) in
        cases.into_iter().flat_map(|case| [(case, BLOCK), (case, 7)])
    {
        let mut world = World::with(6, on_conflict, false);
        world.files.insert("a".to_owned(), vec![1; other_bytes]);
        let source = world.source(Behaviour::Honest, &[&sample]);
        let path = world.want("a", &sample, &[source]);
        let got = match world.run() {
            [ContentEvent::Failed { path: failed, error }] if *failed == path => Err(*error),
            [ContentEvent::Done { how, .. }] => Ok(*how != How::Skipped),
            other => panic!("{other:?}"),
        };
        assert_eq!(got, expected);
        assert_eq!(world.came_bytes > 0, got == Ok(true));
    }
}

#[test]
fn an_earlier_run_is_continued_and_a_byte_that_flipped_is_found() {
    let (sample, mut world) = (Sample::new(7, 8 * BLOCK), World::new(7));
    let mut bytes = sample.bytes.clone();
    bytes[5 * BLOCK..].fill(0);
    bytes[2 * BLOCK + 7] ^= 1;
    // Four blocks whole, one of which is wrong, and half of the fifth.
    world.keep(&sample, bytes, 4 * BLOCK + 100);
    let source = world.source(Behaviour::Honest, &[&sample]);
    world.want("a", &sample, &[source]);
    world.run();
    // The fifth is whole in this model.
    assert_eq!((world.files["a"] == sample.bytes, world.came_bytes), (true, 4 * BLOCK as u64));
}

#[test]
fn blocks_of_zeros_that_an_earlier_run_left_as_holes_are_not_requested_again() {
    let mut bytes = Sample::new(8, 8 * BLOCK).bytes.clone();
    bytes[2 * BLOCK..6 * BLOCK].fill(0);
    let (sample, mut world) = (Sample::of(bytes), World::new(8));
    let mut kept = sample.bytes.clone();
    kept[BLOCK..].fill(0);
    world.keep(&sample, kept, BLOCK);
    let source = world.source(Behaviour::Honest, &[&sample]);
    world.want("a", &sample, &[source]);
    world.run();
    assert_eq!((world.files["a"] == sample.bytes, world.came_bytes), (true, 3 * BLOCK as u64));
}

#[test]
fn what_came_is_kept_when_the_program_ends_unless_it_is_to_be_discarded() {
    for discards in [false, true] {
        let (sample, mut world) = (Sample::new(9, 40 * BLOCK), World::new(9));
        let small = Sample::new(10, 10);
        let source = world.source(Behaviour::Honest, &[&sample, &small]);
        let silent = world.source(Behaviour::Silent, &[&small]);
        world.want("a", &sample, &[source]);
        world.want("b", &small, &[silent]);
        while world.contents.running().all(|(_, _, came_bytes, _)| came_bytes < 5 * BLOCK as u64) {
            world.step(Duration::from_millis(1));
        }
        world.contents.stop(&mut world.ctx, discards);
        world.act(&[]);
        assert!(world.ctx.files.is_empty());
        assert_eq!(
            world.kept.keys().copied().collect::<Vec<_>>(),
            match discards {
                true => vec![],
                false => vec![sample.content],
            }
        );
        world.step(Duration::from_millis(1));
        assert_eq!(world.model(source).verdicts, [Verdict::GivenUp]);
    }
}

#[test]
fn a_source_without_any_left_is_told_and_another_one_goes_on() {
    let (sample, mut world) = (Sample::new(11, 6 * BLOCK), World::new(11));
    let path = world.want("a", &sample, &[]);
    assert_eq!(world.events, [ContentEvent::NoSource { path }]);
    let silent = world.source(Behaviour::Silent, &[&sample]);
    world.contents.add_source(&mut world.ctx, &sample.content, silent);
    // Its session ends, as no byte comes.
    while world.models.contains_key(&silent) {
        world.step(Duration::from_secs(1));
    }
    assert_eq!(world.events, [ContentEvent::NoSource { path }, ContentEvent::NoSource { path }]);
    let source = world.source(Behaviour::Honest, &[&sample]);
    assert!(world.contents.wants_source(&sample.content));
    world.contents.add_source(&mut world.ctx, &sample.content, source);
    world.run();
    assert!(world.files["a"] == sample.bytes);
}

#[test]
fn a_liar_is_struck_out_after_two_wrong_blocks_and_told_of_each() {
    let (sample, mut world) = (Sample::new(12, 30 * BLOCK), World::new(12));
    let liar = world.source(Behaviour::WrongBytes, &[&sample]);
    let source = world.source(Behaviour::Slow, &[&sample]);
    let path = world.want("a", &sample, &[liar, source]);
    world.run();
    assert!(world.events.contains(&ContentEvent::StruckOut { path, source: liar }));
    let verdicts = &world.model(liar).verdicts;
    let wrong = verdicts.iter().filter(|verdict| **verdict == Verdict::Wrong);
    assert_eq!(wrong.count(), 2, "{verdicts:?}");
}

#[test]
fn a_wrong_manifest_is_found_before_a_block_is_requested() {
    let (sample, mut world) = (Sample::new(13, 3 * BLOCK), World::new(13));
    let liar = world.source(Behaviour::WrongManifest, &[&sample]);
    let path = world.want("a", &sample, &[liar]);
    while world.model(liar).verdicts.len() < 2 {
        world.step(Duration::from_millis(100));
    }
    assert_eq!((world.model(liar).waits, world.came_bytes), (0, 0));
    assert_eq!(
        world.events,
        [ContentEvent::StruckOut { path, source: liar }, ContentEvent::NoSource { path }]
    );
    world.contents.add_source(&mut world.ctx, &sample.content, liar);
    assert!(world.contents.books.asked.is_empty(), "it is a source no more");
}

#[test]
fn turns_that_come_while_enough_are_in_use_are_given_back() {
    let (sample, mut world) = (Sample::new(19, 200 * BLOCK), World::new(19));
    let count = TURNS_IN_USE_MAX + 4;
    let sources: Vec<_> = (0..count).map(|_| world.source(Behaviour::Honest, &[&sample])).collect();
    world.want("a", &sample, &sources);
    // All wait for a turn before the first one gives any.
    world.models.values_mut().for_each(|model| model.is_holding_turns = true);
    (0..50).for_each(|_| world.step(Duration::from_millis(1)));
    world.models.values_mut().for_each(|model| model.is_holding_turns = false);
    world.run();
    assert!(world.files["a"] == sample.bytes);
    assert_eq!(world.turns_max, TURNS_IN_USE_MAX);
    let in_vain: usize = sources.iter().map(|&source| world.model(source).turns_in_vain).sum();
    assert!(in_vain < 200, "it asks in vain: {in_vain} times");
}

#[test]
fn each_source_is_asked_for_the_manifest_in_turn() {
    let (sample, mut world) = (Sample::new(20, 2 * BLOCK), World::new(20));
    let behaviours = [Behaviour::Silent, Behaviour::Silent, Behaviour::Honest, Behaviour::Silent];
    let sources = behaviours.map(|behaviour| world.source(behaviour, &[&sample]));
    world.want("a", &sample, &sources);
    world.run();
    assert!(world.files["a"] == sample.bytes);
}

#[test]
fn no_content_of_one_block_is_requested_twice_while_others_wait() {
    let samples: Vec<_> = (0..SMALL_ACTIVE_MAX as u64 + 3).map(|it| Sample::new(it, 9)).collect();
    let (mut world, all) = (World::new(21), samples.iter().collect::<Vec<_>>());
    let sources = [(); 2].map(|()| world.source(Behaviour::Silent, &all));
    let named = samples.iter().enumerate();
    let paths = named.map(|(index, sample)| world.want(&index.to_string(), sample, &sources));
    let paths = paths.collect::<Vec<_>>();
    let gets = |world: &mut World| {
        (0..9).for_each(|_| world.step(Duration::from_millis(100)));
        sources.map(|source| world.model(source).gets)
    };
    assert_eq!(gets(&mut world), [SMALL_ACTIVE_MAX / 2; 2]);
    for path in paths.into_iter().rev().take(3) {
        world.contents.withdraw(&mut world.ctx, path, true);
    }
    assert_eq!(gets(&mut world), [SMALL_ACTIVE_MAX; 2]);
}

#[test]
fn near_the_end_of_a_large_turn_the_next_one_is_waited_for() {
    let blocks = 3 * EARLY_WAIT_BYTES_MIN as usize / BLOCK;
    let (sample, mut world) = (Sample::new(14, blocks * BLOCK), World::new(14));
    let source = world.source(Behaviour::Honest, &[&sample]);
    world.models.get_mut(&source).unwrap().may_wait_early = true;
    world.want("a", &sample, &[source]);
    world.run();
    let model = world.model(source);
    assert!(model.gets_open_max > 64, "only {} at once", model.gets_open_max);
    assert_eq!(model.waits, 3);
}

#[test]
fn a_simulated_failure_is_no_fault_of_the_source() {
    for blocks in [1, 3] {
        let (sample, mut world) =
            (Sample::new(15, blocks * BLOCK), World::with(15, OnConflict::Refuse, true));
        let source = world.source(Behaviour::Honest, &[&sample]);
        world.want("a", &sample, &[source]);
        world.run();
        let failed = world
            .reports
            .iter()
            .filter(|report| matches!(report, Report::ChecksumFailed { is_simulated: true, .. }));
        assert_eq!(failed.count(), 1);
        assert_eq!(world.model(source).verdicts, [Verdict::Verified]);
        assert_eq!(world.came_bytes, ((blocks + 1) * BLOCK) as u64);
    }
}

#[test]
fn a_file_that_cannot_be_written_fails_and_the_next_path_with_its_content_is_tried() {
    let (sample, mut world) = (Sample::new(16, 2 * BLOCK), World::new(16));
    let source = world.source(Behaviour::Honest, &[&sample]);
    let error = FileError::Io(FailedCall { call: "write", errno: 5 });
    let a = world.want("a", &sample, &[source]);
    world.want("b", &sample, &[source]);
    world.disk_error = Some(error);
    while world.events.is_empty() {
        world.step(Duration::from_millis(1));
    }
    assert_eq!(world.events[0], ContentEvent::Failed { path: a, error: error.into() });
    world.disk_error = None;
    world.run();
    assert_eq!(names(&world.done()), Vec::<String>::new(), "it was opened when the disk failed");
}

#[test]
fn a_shortage_of_descriptors_passes() {
    let (sample, mut world) = (Sample::new(17, 5), World::new(17));
    let source = world.source(Behaviour::Honest, &[&sample]);
    world.disk_error = Some(FileError::Shortage(FailedCall { call: "open", errno: 24 }));
    world.want("a", &sample, &[source]);
    world.disk_error = None;
    world.run();
    assert_eq!(names(&world.done()), ["a"]);
}

#[test]
fn a_path_that_is_withdrawn_leaves_nothing_and_the_next_one_leads() {
    let (sample, mut world) = (Sample::new(18, 20 * BLOCK), World::new(18));
    let source = world.source(Behaviour::Slow, &[&sample]);
    let path = world.want("a", &sample, &[source]);
    world.want("b", &sample, &[source]);
    (0..20).for_each(|_| world.step(Duration::from_millis(1)));
    world.contents.withdraw(&mut world.ctx, path, true);
    world.act(&[]);
    let honest = world.source(Behaviour::Honest, &[&sample]);
    world.contents.add_source(&mut world.ctx, &sample.content, honest);
    world.run();
    assert_eq!(names(&world.done()), ["b"]);
}

/// Any mix of sources brings every content, as long as one honest source with all of them stays.
/// The world checks that nothing is committed but its content, that no honest source is struck
/// out, that no held block is overwritten, and that nothing is left at the end.
#[test]
fn any_mix_of_sources_brings_every_content() {
    let seeds = std::env::var("P2PFS_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let sizes = [1, 5_000, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77];
    let samples = sizes.into_iter().zip(100..).map(|(size, seed)| Sample::new(seed, size));
    let samples: Vec<_> = samples.collect();
    (0..seeds.unwrap_or(200)).for_each(|seed| mix(seed, &samples));
}

fn mix(seed: u64, samples: &[Rc<Sample>]) {
    let mut world = World::new(seed);
    world.delays_writes = world.rng.bool();
    let mut wanted: Vec<_> = samples.iter().filter(|_| world.rng.bool()).collect();
    if wanted.is_empty() {
        wanted = samples.iter().collect();
    }
    let mut sources = vec![world.source(Behaviour::Honest, &wanted)];
    for _ in 0..world.rng.usize(..5) {
        let behaviour = Behaviour::ALL[world.rng.usize(..Behaviour::ALL.len())];
        sources.push(world.source(behaviour, &wanted));
    }
    world.rng.shuffle(&mut sources);
    if world.rng.bool() {
        // A part of it, of which a byte may be wrong, is there from an earlier run.
        let sample = wanted[world.rng.usize(..wanted.len())];
        let mut bytes = sample.bytes.clone();
        let len = world.rng.usize(..bytes.len());
        bytes[len..].fill(0);
        if len > 0 && world.rng.bool() {
            bytes[world.rng.usize(..len)] ^= 1;
        }
        world.keep(sample, bytes, len);
    }
    let mut paths = BTreeMap::new();
    for (index, sample) in wanted.iter().enumerate() {
        for copy in 0..world.rng.usize(1..3) {
            let path = format!("{index}-{copy}");
            let given = world.rng.usize(..=sources.len());
            world.want(&path, sample, &sources[..given]);
            paths.insert(path, sample);
        }
    }
    for sample in &wanted {
        sources.iter().for_each(|&source| {
            world.contents.add_source(&mut world.ctx, &sample.content, source);
            world.act(&[]);
        });
    }
    world.run();
    for (path, sample) in paths {
        assert!(world.files.get(&path).is_some_and(|bytes| *bytes == sample.bytes), "seed {seed}");
    }
}
