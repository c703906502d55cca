//! What happened, in order: folded into one number, and as text if someone reads it.
//!
//! The number covers every input, every action and every byte count of a run, so
//! two runs of one seed that differ anywhere differ here.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;

/// Lines kept for the report of a failure.
const LINES_KEPT: usize = 60;

/// Where the text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Nowhere: it is not even made.
    Off,
    /// The last lines are kept.
    Kept,
    /// Printed at once.
    Printed,
}

/// What happens in one run.
pub(crate) struct Trace {
    hash: u64,
    text: Text,
    lines: VecDeque<String>,
}

impl Trace {
    /// Nothing has happened.
    pub(crate) fn new(text: Text) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, text, lines: VecDeque::new() }
    }

    /// Folds one number in.
    pub(crate) fn fold(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    /// Folds in which variant this is.
    pub(crate) fn fold_kind<T>(&mut self, of: &T) {
        let mut hasher = DefaultHasher::new();
        discriminant(of).hash(&mut hasher);
        self.fold(hasher.finish());
    }

    /// Folds bytes in: their count and both ends, which is enough to tell streams apart.
    pub(crate) fn fold_bytes(&mut self, bytes: &[u8]) {
        self.fold(bytes.len() as u64);
        for end in [bytes.first_chunk::<8>(), bytes.last_chunk::<8>()] {
            match end {
                Some(eight) => self.fold(u64::from_le_bytes(*eight)),
                None => bytes.iter().for_each(|&byte| self.fold(u64::from(byte))),
            }
        }
    }

    /// Notes a line; it is made only if someone reads it.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        match self.text {
            Text::Off => {}
            Text::Kept => {
                if self.lines.len() == LINES_KEPT {
                    self.lines.pop_front();
                }
                self.lines.push_back(line());
            }
            Text::Printed => println!("{}", line()),
        }
    }

    /// The number.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.iter()
    }
}
