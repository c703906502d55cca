//! Names made by chance, the same for the same seed.

use std::thread;

use kit::{NameGenerator, oracle, quantity};

/// Names in a plain `cargo test`; `P2PFS_NAMES` sets another number.
const NAMES: u64 = 300_000;
/// Names from one seed, so that a failure names a seed that leads to it soon.
const NAMES_PER_SEED: u64 = 10_000;

/// Checks the names of one seed; gives how many of them were accepted.
fn check_seed(generator: &mut NameGenerator, seed: u64, count: u64) -> u64 {
    generator.seed(seed);
    let mut accepted = 0;
    for _ in 0..count {
        let name = generator.next_name();
        accepted += u64::from(oracle::check_name(&name));
        oracle::check_shown(&String::from_utf8_lossy(&name));
    }
    accepted
}

#[test]
fn of_generated_names_only_legal_ones_are_accepted() {
    let count = quantity("P2PFS_NAMES", NAMES);
    let seeds = count.div_ceil(NAMES_PER_SEED);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let check = |first| {
        let mut generator = NameGenerator::new(0);
        let seeds = (first..seeds).step_by(threads as usize);
        let check = |seed| check_seed(&mut generator, seed, NAMES_PER_SEED);
        seeds.map(check).sum::<u64>()
    };
    let accepted: u64 = thread::scope(|scope| {
        let check = &check;
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || check(first))).collect();
        running.into_iter().map(|thread| thread.join().expect("no name fails")).sum()
    });
    assert!(accepted > count / 50, "only {accepted} of {count} are accepted: proves little");
}
