//! Rounds in which something is tried, and their random choices.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use kit::quantity;
use kit::{DEADLINE, Process};

use crate::checks;

/// Rounds that run at once: most of a round is waiting.
const ROUNDS_AT_ONCE: usize = 8;

/// So many failures say enough.
const FAILED_ROUNDS_MAX: usize = 20;

/// Plays rounds, several at once, each thread in a place of its own. A round that fails does
/// not keep the others from being played, unless there are too many.
pub(crate) fn play<P>(
    rounds: usize,
    prepare: impl Fn() -> P + Sync,
    round: impl Fn(&mut P, usize) + Sync,
) {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let take = || {
        let number = next.fetch_add(1, Ordering::Relaxed);
        (number < rounds && failed.lock().unwrap().len() < FAILED_ROUNDS_MAX).then_some(number)
    };
    thread::scope(|scope| {
        for _ in 0..ROUNDS_AT_ONCE.min(rounds) {
            scope.spawn(|| {
                let mut place = prepare();
                while let Some(number) = take() {
                    let played = AssertUnwindSafe(|| round(&mut place, number));
                    let outcome = catch_unwind(played);
                    if outcome.is_err() {
                        failed.lock().unwrap().push(number);
                        place = prepare();
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed with P2PFS_SEED={}: rounds {failed:?}", seed());
}

/// The random choices of one round.
pub(crate) fn choices(round: usize) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed().wrapping_add(round as u64))
}

fn seed() -> u64 {
    quantity("P2PFS_SEED", 17)
}

/// A moment in a download at which something is to happen to it.
#[derive(Debug)]
pub(crate) enum Moment {
    /// So long after the start.
    After(Duration),
    /// Once so much of a file has come in.
    Partial { len_bytes: u64 },
    /// Once so many files were reported as done.
    Reported { files: usize },
}

impl Moment {
    /// Some moment in a download that takes about so long.
    pub(crate) fn draw(choices: &mut fastrand::Rng, span: Duration, files: usize) -> Self {
        match choices.u32(..4) {
            0 | 1 => Self::After(span.mul_f64(choices.f64() * 1.2)),
            2 => Self::Partial { len_bytes: choices.u64(1..2_000_000) },
            _ => Self::Reported { files: choices.usize(1..=files) },
        }
    }

    /// Waits until it has come, or the download has ended.
    pub(crate) fn wait(&self, download: &Process, folder: &Path) {
        let begin = Instant::now();
        while !download.has_ended() && !self.has_come(begin, download, folder) {
            assert!(begin.elapsed() < DEADLINE, "{self:?} never comes");
            // Finer than the harness waits: whole downloads take some 50 ms.
            sleep(Duration::from_micros(100));
        }
    }

    fn has_come(&self, begin: Instant, download: &Process, folder: &Path) -> bool {
        match self {
            Self::After(delay) => begin.elapsed() >= *delay,
            Self::Partial { len_bytes } => {
                checks::partial_sizes(folder).into_iter().any(|size| size >= *len_bytes)
            }
            Self::Reported { files } => checks::reported(&download.log()).len() >= *files,
        }
    }
}
