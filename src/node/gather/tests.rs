//! A getter, and peers of version 1 around it, in virtual time.

mod beyond;
mod world;

use std::time::Duration;

use self::world::{Shared, World, address, content, file, path};
use super::*;
use crate::content::Known;
use crate::limits::{IDLE_SOURCE_TIME, VERSION_0_AFTER, WISH_TOLD_AFTER};
use crate::node::scene::{hear, version};
use crate::node::{FetchError, Input, Node, Outcome, Report};
use crate::wire::PeerId;
use crate::wire::v0::FileName;
use crate::wire::v1::{SessionError, Verdict};

const MS: Duration = Duration::from_millis(1);

fn given(numbers: &[usize]) -> GatherSettings {
    let peers = numbers.iter().map(|number| address(*number)).collect();
    GatherSettings { peers, ..GatherSettings::default() }
}

/// Each failed with words of its own, or with the last line alone.
fn failed(failed: usize, done: usize, error: FetchError) -> Outcome {
    Outcome::SomeFailed { failed, done, error, is_told: failed + done > 1 }
}

fn photos() -> [(&'static str, Shared); 4] {
    [
        ("photos/a", file("one")),
        ("photos/b/c", file("two")),
        ("movie.mkv", file("three")),
        ("photos/empty", Shared::EmptyFolder),
    ]
}

#[test]
fn a_folder_and_a_file_come_from_a_peer_that_is_heard() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &photos());
    let began = world.now;
    world.want(&["photos/", "movie.mkv"]);
    assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
    assert_eq!(world.names(), ["movie.mkv", "photos/a", "photos/b/c"]);
    assert_eq!(world.files["photos/b/c"], b"two");
    assert!(world.folders.contains("photos/empty"));
    assert!(world.now - began < 250 * MS, "{:?}", world.now - began);
    let listed = world.told().filter(|it| matches!(it, WishReport::Listed(_))).count();
    assert_eq!(listed, 2);
}

#[test]
fn a_peer_that_the_user_named_is_asked_at_once() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &photos());
    world.sharers[0].is_heard = false;
    let began = world.now;
    world.want(&["/"]);
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.names().len(), 3);
    assert!(world.now - began < 50 * MS, "{:?}", world.now - began);
}

#[test]
fn a_peer_that_shows_no_tag_is_asked_after_a_while() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &photos());
    world.sharers[0].is_heard = false;
    world.want(&["photos/a"]);
    world.hear(0);
    world.run_for(190 * MS);
    assert_eq!(world.sharers[0].dials, 0);
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.names(), ["photos/a"]);
}

#[test]
fn several_sharers_of_the_same_are_united() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &[("a/1", file("one")), ("a/2", file("two"))]);
    world.sharer("bob", &[("a/2", file("two")), ("a/3", file("three"))]);
    world.want(&["a/"]);
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.names(), ["a/1", "a/2", "a/3"]);
}

#[test]
fn different_contents_under_one_path_are_ambiguous_unless_one_is_chosen() {
    let shared = [("ann", "one"), ("bob", "two")];
    let world = |settings| {
        let mut world = World::new(settings);
        for (name, text) in shared {
            world.sharer(name, &[("a/x", file(text))]);
        }
        world
    };
    for settings in [GatherSettings::default(), given(&[0, 1])] {
        let mut world = world(settings);
        world.want(&["a/x"]);
        let error = FetchError::Ambiguous;
        assert_eq!(world.run(), failed(1, 0, error));
        let names = world.told().filter_map(|it| match it {
            WishReport::OneOf { candidate, .. } => Some(candidate.peer.name.as_str().to_owned()),
            _ => None,
        });
        let mut names: Vec<_> = names.collect();
        names.sort();
        assert_eq!((names, world.files.len()), (vec!["ann".into(), "bob".into()], 0));
    }
    for from in ["bob", "9001", "127.0.0.1:9001"] {
        let from = vec![from.parse().unwrap()];
        let mut world = world(GatherSettings { from, ..GatherSettings::default() });
        world.want(&["a/x"]);
        assert_eq!(world.run(), Outcome::AllDone);
        assert_eq!(world.files["a/x"], b"two");
    }
    let id = content(b"one").id;
    let mut world = world(GatherSettings::default());
    world.want(&[&format!("b/y=blake3:{id}")]);
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.files["b/y"], b"one");
}

#[test]
fn a_content_comes_from_those_that_only_fetch_it() {
    let mut world = World::new(GatherSettings::default());
    let getter = world.sharer("ann", &[("x", file("one"))]);
    world.sharers[getter].is_getter = true;
    world.want(&[&format!("y=blake3:{}", content(b"one").id)]);
    assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
    assert_eq!(world.files["y"], b"one");
}

#[test]
fn a_sharer_that_answers_late_makes_nothing_ambiguous() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &[("a/x", file("one"))]);
    let late = world.sharer("bob", &[("a/x", file("two"))]);
    world.sharers[late].answers_after = 300 * MS;
    world.sharers[0].is_stalling = true;
    world.want(&["a/x"]);
    world.run_for(1000 * MS);
    assert_eq!(world.outcome, None);
    world.sharers[0].is_stalling = false;
    world.cut(0);
    world.run_for(20_000 * MS);
    assert_eq!(world.outcome, Some(Outcome::AllDone), "{:#?}", world.reports);
    assert_eq!(world.files["a/x"], b"one");
}

#[test]
fn a_content_is_found_by_some_digits_of_its_id() {
    let id = content(b"one").id.to_string();
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &[("a/x", file("one")), ("a/z", file("two"))]);
    world.want(&[&format!("blake3:{}", &id[..16])]);
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.names(), [id.as_str()]);
}

#[test]
fn a_file_that_its_source_hashes_is_waited_for() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &[("a/x", Shared::Unhashed(b"one".to_vec())), ("a/y", file("two"))]);
    world.want(&["a/"]);
    world.run_for(2000 * MS);
    assert_eq!((world.names(), &world.outcome), (vec!["a/y"], &None));
    assert!(world.told().any(|it| matches!(it, WishReport::HashingAtSource { .. })));
    world.change(0, "a/x", Some(file("one")));
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.files["a/x"], b"one");
}

#[test]
fn a_file_that_goes_before_it_is_hashed_fails() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &[("a/x", Shared::Unhashed(b"one".to_vec())), ("a/y", file("two"))]);
    world.want(&["a/"]);
    world.run_for(2000 * MS);
    world.change(0, "a/x", None);
    let error = FetchError::NotShared;
    assert_eq!(world.run(), failed(1, 1, error));
}

#[test]
fn what_appears_later_is_fetched_and_the_user_is_told_what_is_there_meanwhile() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &[("Photos/a", file("one")), ("b", file("two"))]);
    world.want(&["photos/"]);
    world.run_for(WISH_TOLD_AFTER + 500 * MS);
    let names = world.told().find_map(|it| match it {
        WishReport::Waiting { names, .. } => Some(names.clone()),
        _ => None,
    });
    assert_eq!(names, Some(vec!["Photos/".to_owned(), "b".to_owned()]));
    world.change(0, "photos/c", Some(file("three")));
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.names(), ["photos/c"]);
}

#[test]
fn a_wish_that_nobody_shares_ends_with_the_time() {
    for wish in ["photos/", "a", "*.iso", "a/*", "/"] {
        let mut world = World::with(GatherSettings::default(), Some(3000 * MS));
        world.want(&[wish]);
        let outcome = world.run();
        let Outcome::SomeFailed { failed: 1, done: 0, .. } = outcome else {
            panic!("{wish}: {outcome:?}");
        };
    }
}

#[test]
fn files_are_stored_flat_or_only_told() {
    let flat = GatherSettings { is_flat: true, ..given(&[0]) };
    let mut world = World::new(flat);
    world.sharer("ann", &[("a/x", file("one")), ("b/y", file("two")), ("c/x", file("three"))]);
    world.want(&["/"]);
    assert!(matches!(world.run(), Outcome::SomeFailed { failed: 1, done: 2, .. }));
    assert_eq!(world.names(), ["x", "y"]);

    let dry = GatherSettings { is_dry_run: true, ..given(&[0]) };
    let mut world = World::new(dry);
    world.sharer("ann", &photos());
    world.want(&["/"]);
    assert_eq!(world.run(), Outcome::AllDone);
    let told = world.told().filter(|it| matches!(it, WishReport::WouldFetch { .. })).count();
    assert_eq!((told, world.names().len()), (3, 0));
}

#[test]
fn a_name_that_only_version_0_offers_goes_to_it_after_a_second() {
    let mut world = World::new(GatherSettings::default());
    world.want(&["a.iso"]);
    let (now, from) = (world.now, address(50));
    hear(&mut world.node, now, from, 50, "a.iso");
    world.run_for(VERSION_0_AFTER - 10 * MS);
    assert!(world.node.snapshot().jobs_open == 1);
    let is_v0 = |world: &World| world.node.fetch.open();
    assert_eq!((is_v0(&world), world.node.inventory(9).wanted.len()), (0, 1));
    world.run_for(20 * MS);
    assert_eq!(is_v0(&world), 1);
    // As soon as a peer of version 1 lists it, it is taken back: no transfer has begun.
    world.sharer("ann", &[("a.iso", file("one"))]);
    world.hear(0);
    assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
    assert_eq!(world.files["a.iso"], b"one");
}

#[test]
fn a_peer_that_does_not_answer_is_told_once_and_dialed_again() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &photos());
    (world.sharers[0].is_down, world.sharers[0].is_heard) = (true, false);
    world.want(&["movie.mkv"]);
    world.run_for(7000 * MS);
    assert!((3..=5).contains(&world.sharers[0].dials), "{}", world.sharers[0].dials);
    let told = world.told().filter(|it| matches!(it, WishReport::PeerSilent { .. })).count();
    assert_eq!(told, 1);
    world.sharers[0].is_down = false;
    assert_eq!(world.run(), Outcome::AllDone);
}

#[test]
fn where_nobody_answers_the_peers_that_the_user_named_are_blamed_before_the_registry() {
    for wish in ["movie.mkv", "photos/"] {
        for (gather, error) in [
            (given(&[0]), FetchError::NamedSilent),
            (GatherSettings::default(), FetchError::Unreachable),
        ] {
            let mut world = World::with(gather, Some(3000 * MS));
            world.want(&[wish]);
            assert_eq!(world.run(), failed(1, 0, error), "{wish}");
        }
    }
}

#[test]
fn what_stands_there_with_the_same_content_costs_nothing() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &photos());
    world.files.insert("photos/a".into(), b"one".to_vec());
    world.files.insert("movie.mkv".into(), b"other".to_vec());
    world.want(&["photos/", "movie.mkv"]);
    let error = FetchError::Different;
    assert_eq!(world.run(), failed(1, 2, error));
    assert!(world.reports.iter().any(|it| matches!(it, Report::Identical { .. })));
    assert_eq!(world.files["movie.mkv"], b"other");
}

#[test]
fn what_stands_at_the_top_is_found_by_a_query_for_anybody() {
    for wish in ["/", "*.mkv"] {
        let mut world = World::new(GatherSettings::default());
        world.sharer("ann", &photos());
        let began = world.now;
        world.want(&[wish]);
        assert_eq!(world.run(), Outcome::AllDone);
        assert!(world.files.contains_key("movie.mkv"));
        assert!(world.now - began < 250 * MS, "{wish}: {:?}", world.now - began);
    }
}

#[test]
fn two_peers_of_one_name_are_ambiguous() {
    let from = vec!["ann".parse().unwrap()];
    let mut world = World::new(GatherSettings { from, ..GatherSettings::default() });
    world.sharer("ann", &photos());
    world.sharer("ann", &photos());
    world.want(&["photos/"]);
    let error = FetchError::Ambiguous;
    assert_eq!(world.run(), failed(1, 0, error));
    assert!(world.told().any(|it| matches!(it, WishReport::SameName { .. })));
}

#[test]
fn a_source_is_told_what_became_of_its_bytes_before_the_program_ends() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &photos());
    world.want(&["photos/a"]);
    assert_eq!(world.run(), Outcome::AllDone);
    let ann = &world.sharers[0];
    assert_eq!(
        (&*ann.verdicts, &*ann.ended),
        (&[Verdict::Verified][..], &[SessionError::GoingAway][..])
    );
    assert!(!ann.askers.contains(&PeerId(0)), "its id is that of nobody");
}

#[test]
fn a_file_where_a_folder_must_be_is_one_that_is_not_there() {
    let mut world = World::new(given(&[0]));
    world.sharer("ann", &[("t/x", file("1")), ("t/x/y", file("2")), ("t/z", file("3"))]);
    world.want(&["t"]);
    let Outcome::SomeFailed { failed: 1, done: 2, is_told: true, .. } = world.run() else {
        panic!("{:?}", world.outcome);
    };
    assert_eq!(world.names(), ["t/x", "t/z"]);
}

#[test]
fn a_file_that_changed_at_its_only_source_is_fetched_as_it_is_by_now() {
    for is_told_first in [true, false] {
        let mut world = World::new(given(&[0]));
        world.sharer("ann", &[("a/x", file("one"))]);
        world.sharers[0].is_stalling = true;
        world.want(&["a/x"]);
        world.run_for(100 * MS);
        let now = world.now;
        if !is_told_first {
            world.sharers[0].refuse_stalled(now);
            world.run_for(100 * MS);
        }
        world.sharers[0].is_stalling = false;
        world.change(0, "a/x", Some(file("changed")));
        world.run_for(100 * MS);
        assert_eq!(world.outcome.is_some(), !is_told_first);
        world.sharers[0].refuse_stalled(now);
        assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
        assert_eq!(world.files["a/x"], b"changed");
        assert!(world.told().any(|it| matches!(it, WishReport::Changed { .. })));
    }
}

#[test]
fn another_size_of_a_content_is_tried_if_no_source_of_the_first_one_is_left() {
    let mut world = World::new(given(&[0, 1]));
    world.sharer("liar", &[("a", file("one"))]);
    world.sharer("ann", &[("b", file("one"))]);
    world.sharers[0].lies_bytes = 9;
    world.want(&[&format!("x=blake3:{}", content(b"one").id)]);
    assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
    assert_eq!(world.files["x"], b"one");
}

#[test]
fn a_file_of_which_only_wrong_bytes_came_fails_for_these() {
    let mut world = World::with(given(&[0]), Some(Duration::from_secs(5)));
    world.sharer("liar", &[("a", file("one"))]);
    world.sharers[0].is_corrupt = true;
    world.want(&["a"]);
    assert_eq!(world.run(), failed(1, 0, FetchError::ChecksumWrong), "{:#?}", world.reports);
    let verdicts = &world.sharers[0].verdicts;
    assert_eq!(verdicts[..], [Verdict::Wrong; 2]);
}

#[test]
fn a_peer_shares_what_it_fetched_and_leaves_its_sources() {
    let mut world = World::peer();
    world.sharer("ann", &photos());
    world.want(&["photos/"]);
    world.run_for(500 * MS);
    assert!(world.files.contains_key("photos/a"), "{:#?}", world.reports);
    let shared = world.node.inventory(9).shared;
    assert!(shared.iter().any(|(path, _)| path.as_str() == "photos/a"), "{shared:?}");
    assert_eq!(world.node.snapshot().connections, 1);
    world.run_for(IDLE_SOURCE_TIME + 500 * MS);
    assert_eq!((world.node.snapshot().connections, &world.outcome), (0, &None));
    // What it shares is not fetched, whatever others have.
    world.change(0, "photos/a", Some(file("another")));
    world.want(&["photos/a"]);
    assert!(world.reports.iter().any(|it| matches!(it, Report::AlreadyThere { .. })));
    assert_eq!((world.node.snapshot().jobs_open, &world.outcome), (0, &None));
}

#[test]
fn what_could_not_be_stored_is_fetched_when_it_is_wanted_again() {
    let mut world = World::peer();
    world.sharer("ann", &photos());
    world.is_full = true;
    world.want(&["photos/a"]);
    world.run_for(500 * MS);
    let failed = |it: &Report| matches!(it, Report::FetchFailed { .. });
    assert!(world.reports.iter().any(failed), "{:#?}", world.reports);
    world.is_full = false;
    world.want(&["photos/a"]);
    world.run_for(500 * MS);
    assert!(world.files.contains_key("photos/a"), "{:#?}", world.reports);
}

#[test]
fn what_was_fetched_and_removed_is_fetched_when_it_is_wanted_again() {
    let mut world = World::peer();
    world.sharer("ann", &photos());
    world.want(&["photos/a"]);
    world.run_for(500 * MS);
    assert!(world.files.remove("photos/a").is_some(), "{:#?}", world.reports);
    world.node.handle(world.now, Input::FileGone { path: path("photos/a") });
    world.change(0, "photos/a", Some(file("another")));
    world.want(&["photos/a"]);
    world.run_for(500 * MS);
    assert_eq!(world.files.get("photos/a").map(Vec::as_slice), Some(&b"another"[..]));
}

#[test]
fn what_version_0_had_an_end_for_is_fetched_when_it_is_wanted_again() {
    let mut world = World::peer();
    world.sharer("ann", &[("a", file("one"))]);
    let known = Known { sha256: None, blake3: Some(content(b"mine").id) };
    let version = version(4);
    world.node.handle(world.now, Input::FileFound { path: path("a"), version, known });
    let name = FileName::new("a").unwrap();
    world.node.handle(world.now, Input::Want(&[name]));
    world.node.handle(world.now, Input::FileGone { path: path("a") });
    world.want(&["a"]);
    world.run_for(500 * MS);
    assert!(world.files.contains_key("a"), "{:#?}", world.reports);
}

#[test]
fn a_folder_that_no_beacon_shows_is_found_by_a_query_for_anybody() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &photos());
    world.want(&["Photos/"]);
    world.run_for(WISH_TOLD_AFTER + 500 * MS);
    let is_told = |it: &WishReport| matches!(it, WishReport::Waiting { names, .. } if names.contains(&"photos/".to_owned()));
    assert!(world.told().any(is_told), "{:#?}", world.reports);
}
