//! The simulator: the node code of p2pfs, a registry and 3 to 8 peers in one process,
//! in virtual time, with faults; everything from one seed.
//!
//! ```text
//!  scenario ─▶ world ◀─ trouble      hosts and their jobs;       the order of
//!                │                   things; faults that choose their moment
//!                ▼
//!              host ──▶ runner       a machine; what its node has to do with, for the
//!                │        │          contract of kit::runner
//!                │        ▼
//!                │     checks, conversation, patience   what must never happen
//!                ▼
//!              disk, liar            files, written and synced; a peer that lies
//!
//!              standstill, listening   runs that are made by hand
//!              starving, adversary     beside peers that stall, drip or flood
//!
//!              outside               what hosts share: time, chance, the queue of
//!                                    events, network (streams, outages), faults,
//!                                    the truth about files, the trace
//! ```
//!
//! Each run has two parts: trouble, then calm. In calm every wanted file has to
//! arrive within a bounded time, and then every table has to become empty.
//!
//! A failure prints its seed and step, its last events, and the command that runs it
//! again. Environment, all optional:
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `P2PFS_SIM_SEEDS` | how many seeds `seeds` runs | 1,000 |
//! | `P2PFS_SIM_FROM` | the first of them | 0 |
//! | `P2PFS_SIM_TWICE` | how many seeds are run twice | 50 |
//! | `P2PFS_SIM_STARVING` | how many runs `starving` makes | 40 |
//! | `P2PFS_SIM_PATTERNS` | how many patterns `listening` runs where offers are lost | 200 |
//! | `P2PFS_SIM_SEED` | the seed that `replay` runs, printing every event | one, in silence |

mod adversary;
mod checks;
mod conversation;
mod disk;
mod faults;
mod host;
mod liar;
mod listening;
mod network;
mod outages;
mod outside;
mod patience;
mod process;
mod programs;
mod queue;
mod runner;
mod scenario;
mod sharing;
mod standstill;
mod starving;
mod stream;
mod trace;
mod trouble;
mod world;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Instant;

use kit::{quantity, setting};

use faults::Counts;
use trace::Text;
use world::{Summary, World};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 1000;
/// Seeds of a plain `cargo test` that are run twice.
const SEEDS_TWICE: u64 = 50;
/// Failures that are told in full; of others, only the reason.
const STORIES_MAX: usize = 3;
/// In so many seeds every kind of fault has to strike at least once.
const SEEDS_FOR_EVERY_FAULT: u64 = 100;
/// And every deadline has to pass.
const SEEDS_FOR_EVERY_DEADLINE: u64 = 1000;

/// What came of many runs.
#[derive(Default)]
struct Tally {
    seeds: u64,
    steps: u64,
    steps_min: Option<u64>,
    fetched: usize,
    /// How long the slowest run took to converge, and its seed.
    slowest: (u64, u64),
    counts: Counts,
    failures: Vec<Failure>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    seed: u64,
    step: u64,
    why: String,
}

thread_local! {
    /// The last panic of a run on this thread.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static IS_IN_RUN: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn seeds() {
    let from = quantity("P2PFS_SIM_FROM", 0);
    let count = quantity("P2PFS_SIM_SEEDS", SEEDS);
    let began = Instant::now();
    let tally = Mutex::new(Tally::default());
    on_all_cores(from..from + count, |seed| {
        let (result, counts) = run(seed);
        tally.lock().expect("no run panics outside").add(seed, result, &counts);
    });
    let tally = tally.into_inner().expect("no run panics outside");
    print!("{tally}");
    println!("{:.1} s", began.elapsed().as_secs_f64());
    assert!(tally.failures.is_empty(), "{}", stories(tally.failures));
    // A fault that never strikes and a deadline that never passes test nothing.
    let (faults_min, deadlines_min) =
        (count / SEEDS_FOR_EVERY_FAULT, count / SEEDS_FOR_EVERY_DEADLINE);
    let rare = tally.counts.rarer_than(faults_min, deadlines_min);
    assert!(rare.is_empty(), "faults and deadlines that hardly ever came: {rare:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let count = quantity("P2PFS_SIM_TWICE", SEEDS_TWICE);
    on_all_cores(7_000_000..7_000_000 + count, |seed| {
        assert_eq!(run(seed).0, run(seed).0, "seed {seed}");
    });
}

#[test]
fn replay() {
    let seed = setting("P2PFS_SIM_SEED");
    let text = if seed.is_some() { Text::Printed } else { Text::Off };
    let mut world = World::new(seed.unwrap_or(1), text);
    let summary = world.run();
    world.out.note(|| format!("{summary:?}"));
}

fn on_all_cores(seeds: Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    work(seed);
                }
            });
        }
    });
}

/// Runs one seed.
fn run(seed: u64) -> (Result<Summary, Failure>, Counts) {
    let mut world = World::new(seed, Text::Off);
    let result = catch(&mut world);
    let counts = world.out.faults.counts().clone();
    (result.map_err(|why| Failure { seed, step: world.steps, why }), counts)
}

/// Runs a world to its end; a panic in it is a failure, whoever panics, and is kept
/// instead of printed.
fn catch(world: &mut World) -> Result<Summary, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match IS_IN_RUN.take() {
            true => LAST_PANIC.set(info.to_string()),
            false => default(info),
        }));
    });
    IS_IN_RUN.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    IS_IN_RUN.set(false);
    result.map_err(|_| LAST_PANIC.take())
}

/// What the failures look like: some are run again, for their last events.
fn stories(mut failures: Vec<Failure>) -> String {
    failures.sort_by_key(|failure| failure.step);
    let mut text = String::new();
    for (at, Failure { seed, step, why }) in failures.iter().enumerate() {
        text += &format!("\nseed {seed} failed at step {step}: {why}\n");
        if at < STORIES_MAX {
            let mut world = World::new(*seed, Text::Kept);
            let again = catch(&mut world).err().map(|_| world.steps);
            let lines: Vec<_> = world.out.trace.lines().map(String::as_str).collect();
            text += &format!(
                "last of all:\n{}\n(failed at step {again:?} in the second run)\n",
                lines.join("\n")
            );
        }
        text += &format!(
            "run it again with\n  \
             P2PFS_SIM_SEED={seed} cargo test --test simulation replay -- --nocapture\n"
        );
    }
    text
}

impl Tally {
    fn add(&mut self, seed: u64, result: Result<Summary, Failure>, counts: &Counts) {
        self.seeds += 1;
        self.counts.add(counts);
        match result {
            Ok(summary) => {
                if summary.strangers > 0 {
                    let why = format!("{} files that nobody gave or wanted", summary.strangers);
                    self.failures.push(Failure { seed, step: summary.steps, why });
                }
                self.steps += summary.steps;
                self.steps_min =
                    Some(self.steps_min.map_or(summary.steps, |min| min.min(summary.steps)));
                self.fetched += summary.fetched;
                self.slowest = self.slowest.max((summary.arrival_us, seed));
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seeds, steps, fetched, slowest: (arrival_us, slowest), counts, .. } = self;
        write!(f, "{counts}")?;
        writeln!(f, "{seeds} seeds, {} failed", self.failures.len())?;
        writeln!(f, "{steps} events, at least {} in a run", self.steps_min.unwrap_or(0))?;
        let arrival_s = *arrival_us as f64 / 1e6;
        writeln!(
            f,
            "{fetched} files fetched, all there within {arrival_s:.1} s of calm (seed {slowest})"
        )
    }
}
