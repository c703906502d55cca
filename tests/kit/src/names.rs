//! Names for tests: the hostile ones of `tests/names/hostile.txt`, and others made of them by
//! chance, the same for the same seed.

use fastrand::Rng;

const LEGAL: [&str; 8] =
    ["a", "dummyfile.txt", "résumé 1.pdf", "con1", "日本語", "x-y_z", "a.b.c", "nul1.txt"];

/// Makes names: hostile ones as they are or changed a little, legal ones with something hostile in them, and
/// mere noise.
pub struct NameGenerator {
    rng: Rng,
    hostile: Vec<Vec<u8>>,
}

impl NameGenerator {
    pub fn new(seed: u64) -> Self {
        let hostile = hostile().into_iter().map(|hostile| hostile.name).collect();
        Self { rng: Rng::with_seed(seed), hostile }
    }

    /// From now on it makes the names of this seed.
    pub fn seed(&mut self, seed: u64) {
        self.rng.seed(seed);
    }

    pub fn next_name(&mut self) -> Vec<u8> {
        match self.rng.u32(..8) {
            0..=2 => {
                let mut name = self.hostile[self.rng.usize(..self.hostile.len())].clone();
                for _ in 0..self.rng.u32(..4) {
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
                let len_max = if self.rng.bool() { 20 } else { 70 };
                let len = self.rng.usize(..len_max);
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

/// A name that has to be refused.
pub struct Hostile {
    /// The classes of the rule that it breaks, as `hostile.txt` calls them.
    pub classes: Vec<&'static str>,
    /// The name.
    pub name: Vec<u8>,
}

/// All of them.
pub fn hostile() -> Vec<Hostile> {
    let lines = include_str!("../../names/hostile.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (classes, name) = line.split_once('\t').expect("classes, a tab, a name");
            Hostile { classes: classes.split(',').collect(), name: unescape(name) }
        })
        .collect()
}

/// `\xNN` is a byte and `\\` a backslash.
fn unescape(text: &str) -> Vec<u8> {
    let (mut name, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('\\') {
        name.extend_from_slice(before.as_bytes());
        if let Some(behind) = behind.strip_prefix('\\') {
            name.push(b'\\');
            rest = behind;
        } else {
            let (digits, behind) = behind.split_at(3);
            let digits = digits.strip_prefix('x').expect("a byte is \\xNN");
            name.push(u8::from_str_radix(digits, 16).expect("a byte is \\xNN"));
            rest = behind;
        }
    }
    name.extend_from_slice(rest.as_bytes());
    name
}
