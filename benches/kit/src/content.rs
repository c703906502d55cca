//! What is in the files, and whether it arrived.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use kit::content;
use rustix::fs::syncfs;

use crate::{MIB, Outcome};

/// Writes a file of noise, which no file system and no link makes smaller.
pub fn write_noise(path: &Path, seed: u64, len_bytes: u64) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    for (at, number) in (0..len_bytes).step_by(MIB as usize).zip(0..) {
        let len = (len_bytes - at).min(MIB);
        file.write_all(&content((seed << 20) + number, len as usize))?;
    }
    Ok(())
}

/// The BLAKE3 hash of a file, in hexadecimal digits.
pub fn blake3_of(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, blake3::Hasher::new());
    let mut buffer = vec![0; MIB as usize];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().to_string()),
            len => _ = hasher.update(&buffer[..len]),
        }
    }
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
