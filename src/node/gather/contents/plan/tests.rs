use std::collections::VecDeque;

use super::*;

const TURN_BLOCKS: u32 = 4;

fn source(number: u64) -> ConnectionId {
    ConnectionId::from_bits(number)
}

fn set(blocks: u32, held: impl IntoIterator<Item = u32>) -> BlockSet {
    let mut set = BlockSet::none(blocks);
    held.into_iter().for_each(|block| _ = set.insert(block));
    set
}

fn plan(blocks: u32, sources: &[&[u32]]) -> Plan {
    let mut plan = Plan::new(blocks, u32::MAX);
    for (number, held) in sources.iter().enumerate() {
        plan.set_source(source(number as u64), set(blocks, held.iter().copied()));
    }
    plan
}

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn bring(plan: &mut Plan, block: u32, from: u64, now: Instant) {
    assert!(matches!(plan.begin(block, source(from), now), Begin::Write { .. }));
    assert_eq!(plan.verified(block, source(from), now), None);
}

#[test]
fn one_source_is_asked_in_order_for_all_that_its_turns_allow() {
    let (mut plan, now) = (plan(6, &[&[0, 1, 2, 4, 5]]), Instant::now());
    assert_eq!(plan.choose(source(0), 3, now, &mut rng()), [0, 1, 2]);
    assert_eq!(plan.choose(source(0), 3, now, &mut rng()), [4, 5]);
    assert!(plan.choose(source(0), 3, now, &mut rng()).is_empty(), "nothing is requested twice");
    assert!(!plan.has_work(source(0), now));
    assert!(plan.more_held(source(0), &[3]) && !plan.more_held(source(0), &[3]));
    assert_eq!(plan.choose(source(0), 3, now, &mut rng()), [3]);
}

#[test]
fn rare_blocks_go_first_and_equals_at_random() {
    let now = Instant::now();
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let mut plan = plan(8, &[&[0, 1, 2, 3, 4, 5, 6, 7], &[0, 1, 2, 3, 4, 5, 6]]);
        let chosen = plan.choose(source(0), 2, now, &mut fastrand::Rng::with_seed(seed));
        assert!(chosen.len() == 2 && chosen.contains(&7), "{chosen:?}");
        seen.extend(chosen);
    }
    assert!(seen.len() > 5, "only {seen:?}");
}

#[test]
fn a_source_gets_no_more_than_its_share_of_what_is_left() {
    let (mut plan, now, all) = (plan(9, &[]), Instant::now(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    [0, 1].into_iter().for_each(|number| plan.set_source(source(number), set(9, all)));
    assert_eq!(plan.choose(source(0), 9, now, &mut rng()).len(), 5);
    assert_eq!(plan.choose(source(1), 9, now, &mut rng()).len(), 2);
    assert_eq!(plan.choose(source(1), 1, now, &mut rng()).len(), 1);
}

#[test]
fn blocks_wanted_in_order_are_not_requested_too_far_ahead() {
    let (mut plan, now) = (Plan::new(9, 2), Instant::now());
    plan.set_source(source(0), BlockSet::all(9));
    assert_eq!(plan.choose(source(0), 9, now, &mut rng()), [0, 1]);
    bring(&mut plan, 1, 0, now);
    assert!(!plan.has_work(source(0), now));
    bring(&mut plan, 0, 0, now);
    assert_eq!(plan.choose(source(0), 9, now, &mut rng()), [2, 3]);
}

#[test]
fn the_last_blocks_that_wait_at_one_source_are_requested_from_another_too() {
    let (mut plan, now, all) = (plan(4, &[]), Instant::now(), [0, 1, 2, 3]);
    plan.set_source(source(0), set(4, all));
    assert_eq!(plan.choose(source(0), 4, now, &mut rng()), all);
    assert_eq!(plan.begin(0, source(0), now), Begin::Write { cancel: None });
    plan.set_source(source(1), set(4, all));
    assert!(!plan.has_work(source(1), now));
    assert_eq!(plan.second_at(source(1)), Some(now + SECOND_COPY_AFTER));
    let later = now + SECOND_COPY_AFTER;
    assert_eq!(plan.choose(source(1), 4, later, &mut rng()), [3, 2], "half, from the end");
    // The copy that begins first is kept.
    assert_eq!(plan.begin(3, source(1), later), Begin::Write { cancel: Some(source(0)) });
    assert_eq!(plan.begin(3, source(0), later), Begin::Cancel);
    assert_eq!(plan.begin(2, source(0), later), Begin::Write { cancel: Some(source(1)) });
    assert_eq!(plan.verified(3, source(1), later), None);
    assert_eq!(plan.held().iter().collect::<Vec<_>>(), [3]);
}

#[test]
fn a_block_of_which_two_sources_send_nothing_is_requested_from_a_third() {
    let (mut plan, now) = (plan(1, &[&[0], &[0], &[0]]), Instant::now());
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()), [0]);
    let second_at = now + SECOND_COPY_AFTER;
    assert_eq!(plan.choose(source(1), 1, second_at, &mut rng()), [0]);
    let third_at = second_at + TAKE_OVER_AFTER;
    assert_eq!(plan.second_at(source(2)), Some(third_at));
    assert!(plan.choose(source(2), 1, third_at - SECOND_COPY_AFTER, &mut rng()).is_empty());
    assert_eq!(plan.choose(source(2), 1, third_at, &mut rng()), [0]);
    assert_eq!(plan.begin(0, source(1), third_at), Begin::Cancel, "it was given up");
    assert_eq!(plan.take_given_up(), [(0, source(1))]);
    assert_eq!(plan.open_at(source(0)), [0], "the first request stays");
    let begin = plan.begin(0, source(2), third_at);
    assert_eq!(begin, Begin::Write { cancel: Some(source(0)) });
}

#[test]
fn a_block_that_comes_slowly_is_taken_over_and_its_source_takes_over_none() {
    let (mut plan, now) = (plan(2, &[&[0, 1], &[0, 1]]), Instant::now());
    let late = now + TAKE_OVER_AFTER;
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()).len(), 1);
    let ours = plan.open_at(source(0))[0];
    assert_eq!(plan.begin(ours, source(0), now), Begin::Write { cancel: None });
    assert_eq!(plan.choose(source(1), 1, now, &mut rng()), [1 - ours]);
    bring(&mut plan, 1 - ours, 1, now);
    assert!(!plan.has_work(source(1), late - Duration::from_millis(1)));
    assert_eq!(plan.choose(source(1), 1, late, &mut rng()), [ours]);
    assert_eq!(plan.begin(ours, source(1), late), Begin::Write { cancel: Some(source(0)) });
    assert_eq!(plan.second_at(source(0)), None, "it was slow");
    plan.failed(ours, source(1));
    assert_eq!(plan.choose(source(0), 1, late, &mut rng()), [ours], "but a free block it may send");
}

#[test]
fn a_second_copy_that_comes_while_the_first_does_is_cancelled() {
    let (mut plan, now) = (plan(1, &[&[0], &[0]]), Instant::now());
    let soon = now + SECOND_COPY_AFTER;
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()), [0]);
    assert_eq!(plan.choose(source(1), 1, soon, &mut rng()), [0]);
    assert_eq!(plan.begin(0, source(0), soon), Begin::Write { cancel: Some(source(1)) });
    assert_eq!(plan.begin(0, source(1), soon), Begin::Cancel);
    assert_eq!(plan.open_at(source(0)), [0]);
}

#[test]
fn wrong_bytes_strike_and_the_block_goes_to_another_source_first() {
    let (mut plan, now) = (plan(1, &[&[0], &[0]]), Instant::now());
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()), [0]);
    assert!(!plan.wrong(0, source(0)), "once may be an accident");
    assert!(!plan.has_work(source(0), now) && plan.has_work(source(1), now));
    plan.remove_source(source(1));
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()), [0], "nobody else has it");
    assert!(plan.wrong(0, source(0)));
}

#[test]
fn what_a_partial_file_has_is_checked_before_it_counts() {
    let (mut plan, now) = (plan(4, &[&[0, 1, 2, 3]]), Instant::now());
    [0, 1].into_iter().for_each(|block| plan.check(block));
    plan.hold(3);
    assert_eq!(plan.choose(source(0), 4, now, &mut rng()), [2]);
    plan.checked(0, true);
    plan.checked(1, false);
    assert_eq!(plan.choose(source(0), 4, now, &mut rng()), [1]);
    assert_eq!(plan.held().iter().collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn the_blocks_of_a_source_that_is_gone_are_requested_from_others() {
    let (mut plan, now) = (plan(3, &[&[0, 1, 2], &[1]]), Instant::now());
    plan.choose(source(0), 3, now, &mut rng());
    plan.choose(source(1), 3, now, &mut rng());
    plan.remove_source(source(0));
    assert_eq!((plan.held_by(source(0)), plan.held_by(source(1))), (0, 1));
    assert_eq!(plan.holders, [0, 1, 0]);
}

/// A source of the model.
struct Model {
    id: ConnectionId,
    is_liar: bool,
    /// Blocks that it will hold later.
    later: Vec<u32>,
    /// How long a block takes.
    pace: Duration,
    queue: VecDeque<u32>,
    /// When the block at the head is whole, once it has begun.
    whole_at: Option<Instant>,
    wrong: u32,
}

/// Any mix of sources, honest, lying, slow and going away, brings every block once, as long as
/// one honest source with all blocks stays.
#[test]
fn any_mix_of_sources_brings_every_block_once() {
    (0..3_000).for_each(run);
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (blocks, mut now) = (rng.u32(1..40), Instant::now());
    let mut plan = Plan::new(blocks, if rng.bool() { u32::MAX } else { rng.u32(1..8) });
    let mut models: Vec<Model> = Vec::new();
    for number in 0..rng.u64(1..6) {
        let held = (0..blocks).filter(|_| number == 0 || rng.bool()).collect::<Vec<_>>();
        plan.set_source(source(number), set(blocks, held.iter().copied()));
        models.push(Model {
            id: source(number),
            is_liar: number > 0 && rng.u8(..4) == 0,
            later: (0..blocks).filter(|block| !held.contains(block)).collect(),
            pace: Duration::from_millis([1, 20, 3_000][rng.usize(..3)]),
            queue: VecDeque::new(),
            whole_at: None,
            wrong: 0,
        });
    }
    for block in (0..blocks).filter(|_| rng.u8(..10) == 0).collect::<Vec<_>>() {
        plan.check(block);
        plan.checked(block, rng.bool());
    }
    let (mut came, mut steps) = (plan.held().clone(), 0);
    while !plan.is_done() {
        steps += 1;
        assert!(steps < 20_000, "seed {seed}: it never ends: {plan:?}");
        now += Duration::from_millis(rng.u64(..30));
        let index = rng.usize(..models.len());
        step(&mut plan, &mut models, index, &mut came, now, &mut rng);
        if rng.u8(..100) == 0 && (1..models.len()).contains(&index) {
            plan.remove_source(models.remove(index).id);
        }
    }
    assert!(came.is_full(), "seed {seed}");
}

fn step(
    plan: &mut Plan,
    models: &mut Vec<Model>,
    index: usize,
    came: &mut BlockSet,
    now: Instant,
    rng: &mut fastrand::Rng,
) {
    let (id, is_first) = (models[index].id, index == 0);
    if let Some(block) = models[index].later.pop()
        && rng.u8(..4) == 0
    {
        plan.more_held(id, &[block]);
    }
    if models[index].queue.is_empty() && plan.has_work(id, now) {
        let was_all_open = plan.is_all_open();
        let open: BTreeSet<_> = plan.open.keys().copied().collect();
        let chosen = plan.choose(id, rng.u32(1..=TURN_BLOCKS), now, rng);
        assert!(!chosen.is_empty(), "it has work");
        for block in chosen {
            assert!(was_all_open || !open.contains(&block), "twice, though others are free");
            assert!(!came.contains(block), "it is there");
            models[index].queue.push_back(block);
        }
    }
    let Some(&block) = models[index].queue.front() else { return };
    match models[index].whole_at {
        None => match plan.begin(block, id, now) {
            Begin::Cancel => _ = models[index].queue.pop_front(),
            Begin::Write { cancel } => {
                cancelled(models, block, cancel);
                models[index].whole_at = Some(now + models[index].pace);
            }
        },
        Some(whole_at) if now >= whole_at => {
            models[index].whole_at = None;
            models[index].queue.pop_front();
            if models[index].is_liar && rng.bool() {
                models[index].wrong += 1;
                let is_out = plan.wrong(block, id);
                assert_eq!(
                    is_out,
                    models[index].wrong == 2,
                    "two wrong blocks, not one, not three"
                );
                if is_out {
                    plan.remove_source(id);
                    models.remove(index);
                }
            } else if !is_first && rng.u8(..20) == 0 {
                plan.failed(block, id);
            } else {
                cancelled(models, block, plan.verified(block, id, now));
                assert!(came.insert(block), "it came twice");
            }
        }
        Some(_) => {}
    }
}

/// The copy of a block that one source was to send is cancelled.
fn cancelled(models: &mut [Model], block: u32, source: Option<ConnectionId>) {
    if let Some(other) = models.iter_mut().find(|it| Some(it.id) == source) {
        if other.queue.front() == Some(&block) {
            other.whole_at = None;
        }
        other.queue.retain(|&it| it != block);
    }
}

#[test]
fn a_second_copy_that_was_not_needed_is_to_be_cancelled() {
    let (mut plan, now) = (plan(1, &[&[0], &[0]]), Instant::now());
    assert_eq!(plan.choose(source(0), 1, now, &mut rng()), [0]);
    assert_eq!(plan.begin(0, source(0), now), Begin::Write { cancel: None });
    let late = now + TAKE_OVER_AFTER;
    assert_eq!(plan.choose(source(1), 1, late, &mut rng()), [0]);
    assert_eq!(plan.verified(0, source(0), late), Some(source(1)));
}
