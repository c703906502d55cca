//! Peers that no beacon shows, and that the registry lists.

use super::*;
use crate::content::OnConflict;
use crate::limits::{ANSWER_WINDOW_MAX, ASKED_BEYOND_MAX};
use crate::node::scene::settings;
use crate::node::{BeaconSettings, GuestSettings, PeerKind, PeerSettings};

const SECOND: Duration = Duration::from_secs(1);

/// The registry lists so many peers, none of which is heard; this one shares a file.
fn listing(gather: GatherSettings, count: usize, sharer: usize) -> World {
    let mut world = World::new(gather);
    list(&mut world, count, sharer);
    world
}

fn list(world: &mut World, count: usize, sharer: usize) {
    for number in 0..count {
        let shared = [(number == sharer, "a/x"), (number != sharer, "other")];
        let shared = shared.into_iter().filter(|(is_shared, _)| *is_shared);
        let shared: Vec<_> = shared.map(|(_, text)| (text, file("one"))).collect();
        world.sharer(format!("far {number}").leak(), &shared);
        world.sharers[number].is_heard = false;
    }
    world.listed = Some((0..count).collect());
}

#[test]
fn a_folder_and_a_file_come_from_a_peer_that_the_registry_lists() {
    let mut world = World::new(GatherSettings::default());
    world.sharer("ann", &photos());
    world.sharers[0].is_heard = false;
    world.listed = Some(vec![0]);
    let began = world.now;
    world.want(&["photos/", "movie.mkv"]);
    world.run_for(190 * MS);
    assert_eq!(world.sharers[0].dials, 0, "one on our network may show it");
    assert_eq!(world.run(), Outcome::AllDone, "{:#?}", world.reports);
    assert_eq!(world.names(), ["movie.mkv", "photos/a", "photos/b/c"]);
    assert!(world.now - began < VERSION_0_AFTER, "{:?}", world.now - began);
    assert_eq!(world.sharers[0].dials, 1);
}

#[test]
fn nobody_beyond_is_asked_for_what_somebody_here_shows() {
    let mut world = listing(GatherSettings::default(), 3, 0);
    world.sharer("ann", &[("a/x", file("one"))]);
    world.sharers[3].is_stalling = true;
    world.want(&["a/x"]);
    world.run_for(10 * SECOND);
    assert!(world.sharers[..3].iter().all(|sharer| sharer.dials == 0));
    // All that gave something is lost.
    world.sharers[3].is_down = true;
    world.cut(3);
    assert_eq!(world.run(), Outcome::AllDone);
}

#[test]
fn what_two_beyond_share_differently_is_ambiguous_however_late_one_of_them_answers() {
    let mut world = listing(GatherSettings::default(), 2, 0);
    world.sharers[1].shared.insert(path("a/x"), file("two"));
    world.sharers[1].silent_for = 500 * MS;
    world.want(&["a/x"]);
    assert_eq!(world.run(), failed(1, 0, FetchError::Ambiguous));
    // Nobody waits for one that says nothing for longer.
    let mut world = listing(GatherSettings::default(), 2, 0);
    world.sharers[1].silent_for = 3600 * SECOND;
    let began = world.now;
    world.want(&["a/x"]);
    assert_eq!(world.run(), Outcome::AllDone);
    assert!(world.now - began < ANSWER_WINDOW_MAX + 50 * MS, "{:?}", world.now - began);
}

#[test]
fn all_of_many_are_asked_some_at_a_time() {
    for sharer in [0, 199] {
        let mut world = listing(GatherSettings::default(), 200, sharer);
        world.want(&["a/x"]);
        let mut sessions_max = 0;
        for _ in 0..1000 {
            world.run_for(5 * MS);
            sessions_max = sessions_max.max(world.sessions());
        }
        assert_eq!(world.names(), ["a/x"]);
        assert!(sessions_max <= ASKED_BEYOND_MAX, "{sessions_max}");
        assert!(world.sharers.iter().all(|sharer| sharer.dials <= 1));
    }
}

#[test]
fn a_peer_is_dialed_again_when_it_is_listed_again() {
    let mut world = listing(GatherSettings::default(), 1, 0);
    world.sharers[0].is_down = true;
    world.want(&["a/x"]);
    world.run_for(10 * SECOND);
    assert_eq!(world.sharers[0].dials, 1);
    world.sharers[0].is_down = false;
    assert_eq!(world.run(), Outcome::AllDone);
    assert_eq!(world.sharers[0].dials, 2);
}

#[test]
fn we_and_those_that_are_heard_are_not_dialed() {
    let mut settings = PeerSettings { id: PeerId(9_000), ..settings(PeerKind::Fixed) };
    (settings.beacons, settings.instance) = (Some(BeaconSettings::open()), 1);
    let mut world = World::having(settings);
    list(&mut world, 2, 0);
    world.sharers[1].shared.clear();
    world.hear(1);
    world.want(&["a/x"]);
    world.run_for(10 * SECOND);
    assert_eq!(world.sharers.iter().map(|sharer| sharer.dials).sum::<usize>(), 0);
}

#[test]
fn only_those_are_dialed_to_which_the_user_restricts_sources() {
    for (from, dials) in [("9001", [0, 1]), ("127.0.0.1:9001", [0, 1]), ("far 1", [1, 1])] {
        let from = vec![from.parse().unwrap()];
        let mut world = listing(GatherSettings { from, ..GatherSettings::default() }, 2, 1);
        world.want(&["a/x"]);
        assert_eq!(world.run(), Outcome::AllDone);
        assert_eq!(world.sharers.iter().map(|sharer| sharer.dials).collect::<Vec<_>>(), dials);
    }
}

#[test]
fn version_0_alone_is_left_only_where_the_registry_lists_nobody() {
    for (listed, is_soon) in [(Some(vec![0]), false), (Some(Vec::new()), true), (None, true)] {
        let guest = GuestSettings {
            timeout: None,
            retries_max: 0,
            on_conflict: OnConflict::Compare,
            gives: false,
        };
        let mut world = World::having(settings(PeerKind::Guest(guest)));
        world.listed = listed;
        world.sharer("ann", &[("x", file("one"))]);
        world.sharers[0].silent_for = 500 * MS;
        world.want(&["x"]);
        world.run_for(150 * MS);
        let is_handed_over = world.node.fetch.open() > 0;
        assert_eq!((is_handed_over, world.sharers[0].dials), (is_soon, usize::from(!is_soon)));
    }
}
