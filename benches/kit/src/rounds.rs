//! The order in which compared things run.

use crate::{Outcome, Settings};

/// Runs each of `ways` once in every round, in alternating order (A B, B A, ...), and
/// gives the results of each way in the order of the rounds. A first round is not
/// counted: it fills the caches and lets an uploader hash its files.
pub fn rounds<T>(
    settings: &Settings,
    ways: usize,
    mut run: impl FnMut(usize) -> Outcome<T>,
) -> Outcome<Vec<Vec<T>>> {
    let mut results: Vec<Vec<T>> = (0..ways).map(|_| Vec::new()).collect();
    for way in 0..ways {
        run(way)?;
    }
    for round in 0..settings.pairs {
        let mut order: Vec<usize> = (0..ways).collect();
        order.rotate_left(round / 2 % ways);
        if !round.is_multiple_of(2) {
            order.reverse();
        }
        for way in order {
            results[way].push(run(way)?);
        }
    }
    Ok(results)
}
