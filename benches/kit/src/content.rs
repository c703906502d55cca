//! What is in the files, and whether it arrived.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use rustix::fs::syncfs;

use crate::Outcome;

/// Writes a file of noise, which no file system and no link makes smaller.
pub fn write_noise(path: &Path, seed: u64, len_bytes: u64) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1024 * 1024, File::create_new(path)?);
    let mut noise = Noise::new(seed);
    let mut left_bytes = len_bytes;
    while left_bytes > 0 {
        let word = noise.next().to_le_bytes();
        let len = left_bytes.min(8);
        file.write_all(&word[..len as usize])?;
        left_bytes -= len;
    }
    file.flush()
}

/// Bytes of noise.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let mut bytes = vec![0; len];
    for word in bytes.chunks_mut(8) {
        word.copy_from_slice(&noise.next().to_le_bytes()[..word.len()]);
    }
    bytes
}

/// The names `PREFIX-00000`, `PREFIX-00001`, ...
pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number:05}")).collect()
}

/// Fails unless each of these files is the same in both folders.
pub fn check_same(names: &[String], one: &Path, other: &Path) -> Outcome<()> {
    for name in names {
        let is_same = is_same(&one.join(name), &other.join(name));
        if !is_same.map_err(|error| format!("{name}: {error}"))? {
            return Err(format!("{name} differs from its original").into());
        }
    }
    Ok(())
}

/// Empties a folder, and waits until the disk is done with it and with all else: the next run
/// is not to pay for it.
pub fn empty(folder: &Path) -> io::Result<()> {
    fs::remove_dir_all(folder)?;
    fs::create_dir(folder)?;
    Ok(syncfs(File::open(folder)?)?)
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let len = one.metadata()?.len();
    if len != other.metadata()?.len() {
        return Ok(false);
    }
    let room = usize::try_from(len).unwrap_or(usize::MAX).clamp(1, 1024 * 1024);
    let (mut a, mut b) = (vec![0; room], vec![0; room]);
    loop {
        let len = one.read(&mut a)?;
        if len == 0 {
            return Ok(true);
        }
        other.read_exact(&mut b[..len])?;
        if a[..len] != b[..len] {
            return Ok(false);
        }
    }
}

/// xorshift.
struct Noise(u64);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
