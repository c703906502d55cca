//! Beacons of groups with a secret.

use super::tests::{Scene, address, beacon, of, tag};
use super::*;
use crate::node::BeaconSettings;
use crate::wire::v1::Secret;

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

fn member(secrets: &[u8], also_open: bool) -> Scene {
    let secrets: Vec<_> = secrets.iter().map(|byte| secret(*byte)).collect();
    let mut scene = Scene::of(1, None);
    scene.ctx.settings.beacons = Some(BeaconSettings::of_group(&secrets, also_open));
    scene
}

/// The scene hears a beacon with the MAC of this secret, or none.
fn hears(scene: &mut Scene, key: Option<u8>, beacon: &Beacon) -> bool {
    let key = key.map(|byte| secret(byte).beacon_key());
    let from = address(beacon.instance, 8001);
    scene.beacons.on_datagram(&mut scene.ctx, from, &beacon.encode(key.as_ref())).is_some()
}

#[test]
fn each_hears_its_own_kind_and_knows_that_others_are_near() {
    let heard = |scene: &mut Scene| {
        let from = [None, Some(1), Some(2), Some(3)];
        from.map(|key| hears(scene, key, &beacon(10 + u64::from(key.unwrap_or(0)), Vec::new())))
    };
    let mut open = Scene::of(1, None);
    assert_eq!(heard(&mut open), [true, false, false, false]);
    assert!(open.beacons.has_heard_others());
    let mut closed = member(&[1, 2], false);
    assert!(!hears(&mut closed, None, &beacon(10, Vec::new())));
    assert!(!closed.beacons.has_heard_others());
    assert_eq!(heard(&mut closed), [false, true, true, false]);
    assert!(closed.beacons.has_heard_others());
    assert_eq!(heard(&mut member(&[1], true)), [true, true, false, false]);
    let sharers = closed.beacons.sharers(closed.ctx.now);
    assert_eq!(sharers.iter().map(|it| it.is_member).collect::<Vec<_>>(), [true, true]);
}

#[test]
fn what_a_member_has_sent_is_heard_once_and_nobody_else_speaks_for_it() {
    let mut scene = member(&[1], true);
    let numbered =
        |counter, files| Beacon { counter, files, ..beacon(9, vec![tag(counter as u32)]) };
    assert!(hears(&mut scene, Some(1), &numbered(5, 1)));
    let known = |scene: &Scene| {
        let sharers = scene.beacons.sharers(scene.ctx.now);
        sharers.iter().map(|it| (it.files, it.is_member)).collect::<Vec<_>>()
    };
    assert!(!hears(&mut scene, Some(1), &numbered(5, 2)), "it was heard before");
    assert!(!hears(&mut scene, Some(1), &numbered(4, 2)), "it is older");
    hears(&mut scene, None, &numbered(9, 2));
    assert_eq!(known(&scene), [(1, true)], "anybody could have sent it");
    let leaving = |counter| Beacon { counter, ..of(BeaconKind::Leaving, 9, Vec::new()) };
    hears(&mut scene, None, &leaving(9));
    hears(&mut scene, Some(1), &leaving(5));
    assert_eq!(known(&scene), [(1, true)]);
    assert!(hears(&mut scene, Some(1), &numbered(6, 3)));
    assert_eq!(known(&scene), [(3, true)]);
    hears(&mut scene, Some(1), &leaving(7));
    assert_eq!(known(&scene), []);
    // One that was open before is a member once that is proven.
    hears(&mut scene, None, &numbered(8, 4));
    assert_eq!(known(&scene), [(4, false)]);
    hears(&mut scene, Some(1), &numbered(2, 5));
    assert_eq!(known(&scene), [(5, true)]);
}

#[test]
fn a_datagram_goes_out_for_each_kind_of_peer_and_answers_in_the_kind_of_the_query() {
    let kinds = |scene: &mut Scene, for_ms| {
        let until_ms = scene.at_ms() + for_ms;
        scene
            .run_raw(until_ms)
            .into_iter()
            .map(|datagram| {
                let key = |byte| secret(byte).beacon_key();
                let sent = [None, Some(key(1)), Some(key(2))];
                let is_of =
                    |key: &Option<BeaconKey>| Beacon::decode(&datagram, key.as_ref()).is_ok();
                let found = sent.iter().position(is_of).expect("of a kind");
                (found, Beacon::decode(&datagram, sent[found].as_ref()).unwrap())
            })
            .collect::<Vec<_>>()
    };
    let of_kinds = |sent: &[(usize, Beacon)]| sent.iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(of_kinds(&kinds(&mut member(&[2, 1], false), 0)), [2], "the first is for sending");
    let mut both = member(&[1], true);
    assert_eq!(of_kinds(&kinds(&mut both, 0)), [1, 0]);
    both.beacons.show(tag(4));
    for key in [None, Some(1)] {
        hears(&mut both, key, &of(BeaconKind::Query, 20, vec![tag(4)]));
        let answers = kinds(&mut both, 1_100);
        assert_eq!(of_kinds(&answers), [usize::from(key.is_some())]);
        assert_eq!(answers[0].1.tags, [tag(4)]);
    }
    // Others do not know our tags.
    both.beacons.look_for(&mut both.ctx, tag(5));
    let queries = kinds(&mut both, 0);
    let tags: Vec<_> = queries.iter().map(|(kind, it)| (*kind, it.tags.clone())).collect();
    assert_eq!(tags, [(1, vec![tag(5)]), (0, Vec::new())]);
}
