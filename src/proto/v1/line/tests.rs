use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::content::ContentId;
use crate::limits::BLOCK_BYTES_MIN;

const SOLE_BLOCKS: u32 = (SOLE_TURN_BYTES / BLOCK_BYTES_MIN) as u32;

fn content(number: u8) -> Content {
    Content { id: ContentId([number; 32]), size_bytes: 1 << 30 }
}

#[test]
fn turns_are_given_in_order_and_a_session_has_one_place() {
    let (mut line, now) = (Line::default(), Instant::now());
    assert!(line.handle_wait('a', 1, content(1)));
    assert!(line.handle_wait('a', 2, content(2)));
    assert!(!line.handle_wait('a', 3, content(1)), "it waits for that one already");
    assert!(line.handle_wait('b', 1, content(1)));
    let turns: Vec<_> = std::iter::from_fn(|| line.poll_turn(now, |_| false)).collect();
    let [first, second] = turns[..] else { panic!("{turns:?}") };
    assert_eq!((first.session, first.req, second.session), ('a', 1, 'b'));
    assert_eq!((first.blocks, second.blocks), (1, 1), "others wait, and no rate is known");
    assert_eq!(line.poll_turn(now, |_| true).map(|turn| (turn.session, turn.req)), Some(('a', 2)));
    assert_eq!(line.poll_turn(now, |_| true), None);
}

#[test]
fn who_is_alone_gets_a_long_turn_and_may_wait_for_the_next_once_half_is_sent() {
    let (mut line, now) = (Line::default(), Instant::now());
    assert!(line.handle_wait('a', 1, content(1)));
    assert_eq!(line.poll_turn(now, |_| false).map(|turn| turn.blocks), Some(SOLE_BLOCKS));
    assert!(!line.handle_wait('a', 2, content(1)));
    assert_eq!(line.handle_get(now, ('a', 1), &content(1), SOLE_BLOCKS / 2), Ok(()));
    assert!(!line.handle_sent(now, ('a', 1), SOLE_TURN_BYTES / 2 - 1));
    assert!(!line.handle_wait('a', 3, content(1)));
    assert!(!line.handle_sent(now, ('a', 1), 1));
    assert!(line.handle_wait('a', 4, content(1)));
}

#[test]
fn a_turn_ends_with_its_blocks_and_is_for_no_other_content() {
    let (mut line, now) = (Line::default(), Instant::now());
    assert!(line.handle_wait('a', 7, content(1)));
    let turn = line.poll_turn(now, |_| false).unwrap();
    assert_eq!(line.handle_get(now, ('a', 8), &content(1), 1), Err(NoTurn));
    assert_eq!(line.handle_get(now, ('b', 7), &content(1), 1), Err(NoTurn));
    assert_eq!(line.handle_get(now, ('a', 7), &content(2), 1), Err(NoTurn));
    assert_eq!(line.handle_get(now, ('a', 7), &content(1), turn.blocks + 1), Err(NoTurn));
    assert_eq!(line.handle_get(now, ('a', 7), &content(1), turn.blocks), Ok(()));
    assert_eq!(line.handle_get(now, ('a', 7), &content(1), 1), Err(NoTurn));
    line.give_back(('a', 7), 1);
    assert_eq!(line.handle_get(now, ('a', 7), &content(1), 1), Ok(()));
    assert!(line.handle_sent(now, ('a', 7), 1));
    assert_eq!(line.handle_get(now, ('a', 7), &content(1), 0), Err(NoTurn));
}

#[test]
fn a_turn_expires_unless_something_of_it_is_open() {
    let (mut line, now) = (Line::default(), Instant::now());
    assert!(line.handle_wait('a', 1, content(1)) && line.poll_turn(now, |_| false).is_some());
    let end = now + TURN_TIMEOUT;
    assert_eq!(line.poll_timeout(now), Some(end));
    assert_eq!(line.poll_expired(end - Duration::from_nanos(1)), None);
    assert_eq!(line.handle_get(now, ('a', 1), &content(1), 1), Ok(()));
    assert_eq!((line.poll_timeout(now), line.poll_expired(end)), (None, None));
    assert!(!line.handle_sent(end, ('a', 1), 1));
    assert_eq!(line.poll_expired(end), None);
    assert_eq!(line.poll_expired(end + TURN_TIMEOUT), Some(('a', 1)));
    assert_eq!(line.handle_get(end, ('a', 1), &content(1), 1), Err(NoTurn));
}

#[test]
fn who_does_not_use_a_turn_at_once_keeps_nobody_waiting() {
    let (mut line, now) = (Line::default(), Instant::now());
    let is_given = |line: &mut Line<char>, at| line.poll_turn(at, |_| false).is_some();
    for session in ['a', 'b', 'c', 'd'] {
        assert!(line.handle_wait(session, 1, content(1)));
    }
    assert!(is_given(&mut line, now) && is_given(&mut line, now) && !is_given(&mut line, now));
    assert_eq!(line.handle_get(now, ('a', 1), &content(1), 1), Ok(()));
    let late = now + TURN_GRACE;
    assert_eq!(line.poll_timeout(now), Some(late));
    assert!(!is_given(&mut line, late - Duration::from_nanos(1)));
    assert!(is_given(&mut line, late) && !is_given(&mut line, late));
    assert_eq!(line.poll_timeout(late), Some(late + TURN_GRACE));
    // It is still there.
    assert_eq!(line.handle_get(late, ('b', 1), &content(1), 1), Ok(()));
}

#[test]
fn the_only_one_that_waits_gets_a_short_turn_while_another_has_one() {
    let (mut line, now) = (Line::default(), Instant::now());
    assert!(line.handle_wait('a', 1, content(1)));
    assert_eq!(line.poll_turn(now, |_| false).map(|turn| turn.blocks), Some(SOLE_BLOCKS));
    assert!(line.handle_wait('b', 1, content(1)));
    assert_eq!(line.poll_turn(now, |_| false).map(|turn| turn.blocks), Some(1));
}

#[test]
fn while_others_wait_a_turn_is_what_two_milliseconds_carry() {
    let (mut line, mut now) = (Line::default(), Instant::now());
    for (session, req) in (0..100).map(|n| (n % 3, n)) {
        line.handle_wait(session, req, content(1));
        while let Some(turn) = line.poll_turn(now, |_| false) {
            let key = (turn.session, turn.req);
            assert_eq!(line.handle_get(now, key, &content(1), turn.blocks), Ok(()));
            // 1 GiB in a second: 8 blocks in 2 ms.
            let bytes = u64::from(turn.blocks) * BLOCK_BYTES_MIN;
            now += Duration::from_nanos((bytes * 1_000_000_000) >> 30);
            line.handle_sent(now, key, bytes);
        }
    }
    assert!([0, 1].iter().all(|session| line.handle_wait(*session, 200, content(1))));
    let turn = line.poll_turn(now, |_| false).unwrap();
    assert!((7..=8).contains(&turn.blocks), "{turn:?}");
}

#[test]
fn nobody_starves_and_the_turns_in_use_are_bounded() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut line, mut now) = (Line::default(), Instant::now());
        let mut turns: Vec<Turn<u8>> = Vec::new();
        let mut waiting = BTreeSet::new();
        for req in 1..500 {
            let session = rng.u8(..9);
            match rng.u8(..7) {
                0..3 => {
                    if line.handle_wait(session, req, content(rng.u8(..3))) {
                        waiting.insert((session, req));
                    }
                }
                3 if rng.bool() => {
                    line.handle_lost(session);
                    waiting.retain(|(of, _)| *of != session);
                    turns.retain(|turn| turn.session != session);
                }
                3 => {
                    if let Some((session, req)) = waiting.pop_first() {
                        line.handle_cancel(session, req);
                    }
                }
                4 => {
                    for (session, req) in line.revoke(&content(0)) {
                        waiting.remove(&(session, req));
                        turns.retain(|turn| (turn.session, turn.req) != (session, req));
                    }
                }
                _ => now += Duration::from_millis(rng.u64(..1500)),
            }
            while let Some((session, req)) = line.poll_expired(now) {
                let before = turns.len();
                turns.retain(|turn| (turn.session, turn.req) != (session, req));
                assert_eq!(turns.len(), before - 1);
            }
            let is_full = rng.u8(..4) == 0;
            while let Some(turn) = line.poll_turn(now, |_| is_full) {
                assert!(waiting.remove(&(turn.session, turn.req)) && turn.blocks >= 1);
                turns.push(turn);
            }
            assert_eq!(line.turns.len(), turns.len());
            assert!(turns.len() <= TURNS_MAX);
            assert!(turns.len() >= TURNS_MIN.min(turns.len() + waiting.len()), "somebody waits");
        }
        // Unused turns expire until all had theirs.
        for _ in 0..waiting.len() + turns.len() {
            now += TURN_TIMEOUT;
            while line.poll_expired(now).is_some() {}
            while let Some(turn) = line.poll_turn(now, |_| false) {
                waiting.remove(&(turn.session, turn.req));
            }
        }
        assert!(waiting.is_empty() && !line.has_waiting());
    }
}
