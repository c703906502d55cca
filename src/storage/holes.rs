//! Zeros that need not be written: a file has them where nothing was written.

use std::ops::Range;

use crate::limits::HOLE_BYTES_MIN;

/// A page, the least that most file systems leave out.
const STEP_BYTES: usize = 4096;
const ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Returns the parts of `bytes` that have to be written; all others are zeros. A run of zeros
/// is left out if it has [`HOLE_BYTES_MIN`], or if it touches an end of the bytes and is
/// perhaps a part of such a run: the last one, and the first one if it `follows_hole`.
pub(super) fn data_in(bytes: &[u8], follows_hole: bool) -> impl Iterator<Item = Range<usize>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while from < bytes.len() {
            let hole = next_hole(bytes, from, follows_hole);
            let data = from..hole.start;
            from = hole.end;
            if !data.is_empty() {
                return Some(data);
            }
        }
        None
    })
}

/// Returns the first run at or behind `from` that is left out; an empty one at the end if there
/// is none. Most bytes are not looked at: a run that is long enough shows at every step.
fn next_hole(bytes: &[u8], from: usize, follows_hole: bool) -> Range<usize> {
    let mut at = from;
    while let Some(&byte) = bytes.get(at) {
        if byte == 0 {
            let before = bytes[from..at].iter().rev().take_while(|byte| **byte == 0).count();
            let run = at - before..at + zeros_at_begin(&bytes[at..]);
            let is_at_end = run.end == bytes.len() || run.start == 0 && follows_hole;
            let is_enough = is_at_end && run.len() >= STEP_BYTES.min(bytes.len());
            if run.len() >= HOLE_BYTES_MIN || is_enough {
                return run;
            }
            at = run.end.max(at + 1).next_multiple_of(STEP_BYTES);
        } else {
            at += STEP_BYTES;
        }
    }
    bytes.len()..bytes.len()
}

fn zeros_at_begin(bytes: &[u8]) -> usize {
    let steps = bytes.chunks_exact(STEP_BYTES).take_while(|step| **step == ZEROS).count();
    let rest = bytes[steps * STEP_BYTES..].iter().take_while(|byte| **byte == 0).count();
    steps * STEP_BYTES + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes that are zero only between these.
    fn with_zeros(len_bytes: usize, zeros: &[(usize, usize)]) -> Vec<u8> {
        let mut bytes = vec![7; len_bytes];
        zeros.iter().for_each(|&(begin, end)| bytes[begin..end].fill(0));
        bytes
    }

    /// The begin and the end of each part that has to be written.
    fn data(bytes: &[u8], follows_hole: bool) -> Vec<(usize, usize)> {
        data_in(bytes, follows_hole).map(|data| (data.start, data.end)).collect()
    }

    #[test]
    fn long_runs_are_left_out_wherever_they_begin() {
        const LEN: usize = 4 * HOLE_BYTES_MIN;
        for begin in [1, 100, STEP_BYTES - 1, STEP_BYTES, HOLE_BYTES_MIN + 17] {
            let end = begin + HOLE_BYTES_MIN;
            let bytes = with_zeros(LEN, &[(begin, end)]);
            assert_eq!(data(&bytes, false), [(0, begin), (end, LEN)]);
            let shorter = with_zeros(LEN, &[(begin, end - 1)]);
            assert_eq!(data(&shorter, true), [(0, LEN)]);
        }
        let two = with_zeros(LEN, &[(0, HOLE_BYTES_MIN), (LEN - HOLE_BYTES_MIN, LEN)]);
        assert_eq!(data(&two, false), [(HOLE_BYTES_MIN, LEN - HOLE_BYTES_MIN)]);
    }

    #[test]
    fn a_run_may_go_on_in_the_bytes_that_follow() {
        const LEN: usize = 2 * HOLE_BYTES_MIN;
        let end = with_zeros(LEN, &[(LEN - STEP_BYTES, LEN)]);
        assert_eq!(data(&end, false), [(0, LEN - STEP_BYTES)]);
        let begin = with_zeros(LEN, &[(0, STEP_BYTES)]);
        assert_eq!(data(&begin, true), [(STEP_BYTES, LEN)]);
        assert_eq!(data(&begin, false), [(0, LEN)]);
        // Small pieces of zeros are left out whole, or not at all.
        assert_eq!(data(&[0; 100], false), []);
        assert_eq!(data(&with_zeros(100, &[(1, 100)]), true), [(0, 100)]);
    }

    #[test]
    fn other_bytes_are_written_as_one() {
        assert_eq!(data(b"", true), []);
        assert_eq!(data(b"\0x\0", true), [(0, 3)]);
        let sparse: Vec<u8> = (0..1 << 20).map(|n| u8::from(n % 1000 == 0)).collect();
        assert_eq!(data(&sparse, true), [(0, 1 << 20)]);
    }

    #[test]
    fn what_is_left_out_is_zero_and_in_order() {
        let mut rng = fastrand::Rng::with_seed(7);
        for round in 0..300 {
            let len_bytes = rng.usize(0..300_000);
            let zeros: Vec<_> = (0..rng.usize(0..4))
                .map(|_| {
                    let begin = rng.usize(0..=len_bytes);
                    (begin, rng.usize(begin..=len_bytes))
                })
                .collect();
            let bytes = with_zeros(len_bytes, &zeros);
            let mut copy = vec![0; len_bytes];
            let mut last = 0;
            for range in data_in(&bytes, rng.bool()) {
                assert!(range.start >= last && !range.is_empty(), "round {round}");
                last = range.end;
                copy[range.clone()].copy_from_slice(&bytes[range]);
            }
            assert!(copy == bytes, "round {round}");
        }
    }
}
