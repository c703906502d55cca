//! Mutations of kept inputs, the same for the same seed.

use fastrand::Rng;

/// An input is not made longer than this.
const INPUT_BYTES_MAX: usize = 2048;
/// Values at which programs like to break.
const INTERESTING: [u8; 10] = [0, 1, 0x7F, 0x80, 0xFF, b'S', b'R', b'T', b'A', b'E'];

/// Makes new inputs out of old ones.
pub(crate) struct Mutator {
    rng: Rng,
    kept: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seed: u64, kept: Vec<Vec<u8>>) -> Self {
        Self { rng: Rng::with_seed(seed), kept }
    }

    /// Some kept input, changed a few times.
    pub(crate) fn next_input(&mut self) -> Vec<u8> {
        let mut input = self.kept[self.rng.usize(..self.kept.len())].clone();
        for _ in 0..1 << self.rng.u32(..5) {
            self.mutate(&mut input);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.rng.usize(..=input.len());
        let end = (at + 1 + self.rng.usize(..8)).min(input.len());
        match self.rng.u32(..8) {
            0 => input.insert(at, self.rng.u8(..)),
            1 => _ = input.drain(at..end),
            2 => input.truncate(at),
            3 => {
                let part = input[at..end].to_vec();
                let to = self.rng.usize(..=input.len());
                input.splice(to..to, part);
            }
            4 => self.splice(input, at),
            _ if at == input.len() => input.push(self.rng.u8(..)),
            5 => input[at] ^= 1 << self.rng.u32(..8),
            6 => input[at] = INTERESTING[self.rng.usize(..INTERESTING.len())],
            _ => input[at] = self.rng.u8(..),
        }
    }

    /// A part of another kept input comes in.
    fn splice(&mut self, input: &mut Vec<u8>, at: usize) {
        let other = &self.kept[self.rng.usize(..self.kept.len())];
        let from = self.rng.usize(..=other.len());
        let len = self.rng.usize(..=(other.len() - from).min(64));
        input.splice(at..at, other[from..from + len].iter().copied());
    }
}
