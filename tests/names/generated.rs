//! Names made by chance, the same for the same seed: hostile ones changed a little, legal
//! ones with something hostile in them, and mere noise.

use std::thread;

use fastrand::Rng;
use kit::oracle;
use kit::quantity;

use crate::corpus::hostile;

/// Names in a plain `cargo test`; `P2PFS_NAMES` sets another number.
const NAMES: u64 = 300_000;
/// Names from one seed, so that a failure names a seed that leads to it soon.
const NAMES_PER_SEED: u64 = 10_000;
const LEGAL: [&str; 8] =
    ["a", "dummyfile.txt", "résumé 1.pdf", "con1", "日本語", "x-y_z", "a.b.c", "nul1.txt"];

/// Makes names.
pub(crate) struct Generator {
    rng: Rng,
    hostile: Vec<Vec<u8>>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        let hostile = hostile().into_iter().map(|hostile| hostile.name).collect();
        Self { rng: Rng::with_seed(seed), hostile }
    }

    pub(crate) fn next_name(&mut self) -> Vec<u8> {
        match self.rng.u32(..8) {
            0..=2 => {
                let mut name = self.hostile[self.rng.usize(..self.hostile.len())].clone();
                for _ in 0..self.rng.u32(1..4) {
                    self.change(&mut name);
                }
                name
            }
            3 | 4 => {
                let mut name = LEGAL[self.rng.usize(..LEGAL.len())].to_owned();
                let at = self.rng.usize(..=name.chars().count());
                let at = name.char_indices().nth(at).map_or(name.len(), |(at, _)| at);
                let some_char = self.some_char();
                name.insert(at, some_char);
                name.into_bytes()
            }
            5 | 6 => {
                let len = self.rng.usize(..20);
                (0..len).map(|_| self.some_char()).collect::<String>().into_bytes()
            }
            _ => (0..self.rng.usize(..70)).map(|_| self.rng.u8(..)).collect(),
        }
    }

    fn change(&mut self, name: &mut Vec<u8>) {
        let at = self.rng.usize(..=name.len());
        match self.rng.u32(..4) {
            0 => name.truncate(at),
            1 => _ = name.drain(..at),
            2 if at < name.len() => _ = name.remove(at),
            _ => {
                let some_char = self.some_char();
                name.splice(at..at, some_char.to_string().into_bytes());
            }
        }
    }

    /// Letters for the most part, then what is special somewhere, then anything.
    fn some_char(&mut self) -> char {
        const SPECIAL: &str = "./\\ :*?\"<>|~$%-cCoOnNuUlL1\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\
            \u{a0}\u{ad}\u{b9}\u{b2}\u{200b}\u{200d}\u{200e}\u{2028}\u{202e}\u{2066}\u{3000}\
            \u{3164}\u{feff}\u{fe0f}\u{e0041}";
        match self.rng.u32(..8) {
            0..=3 => self.rng.alphanumeric(),
            4 | 5 => {
                let count = SPECIAL.chars().count();
                SPECIAL.chars().nth(self.rng.usize(..count)).unwrap_or('.')
            }
            6 => self.rng.char('\0'..='\u{2fff}'),
            _ => self.rng.char(..),
        }
    }
}

/// Checks the names of one seed; gives how many of them were accepted.
fn check_seed(generator: &mut Generator, seed: u64, count: u64) -> u64 {
    generator.rng.seed(seed);
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
        let mut generator = Generator::new(0);
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
