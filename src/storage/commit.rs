//! Many files become safe at once.
//!
//! Each file needs an fsync before it takes its name and the folder one after, but
//! that does not make the file system commit its journal for each: write-back begins
//! for all of them, the first fsync then takes the metadata of all with it, the others
//! ask the disk for a flush that has little to do, and one fsync of the folder makes all
//! names safe. See *Many small files, synced* in `benches/README.md`. One `syncfs` instead
//! would wait for whatever others write to the same disk.

use std::os::fd::OwnedFd;

use rustix::io::{Errno, retry_on_intr};

use super::partial::Partial;
use super::system::refused;
use crate::content::{FileError, Version};
use crate::wire::v0::FileName;

/// Makes files safe under their final names, which are given too. When this returns,
/// those that did not fail survive a loss of power; the others are removed. It blocks
/// for as long as the disk takes. Without `sync` it promises nothing of a loss of power.
pub(super) fn commit(
    folder: &OwnedFd,
    mut partials: Vec<Partial>,
    sync: bool,
) -> Vec<Result<(FileName, Version), FileError>> {
    let finished: Vec<_> =
        partials.iter_mut().map(|partial| partial.finish_writing(sync)).collect();
    let named: Vec<_> = partials
        .into_iter()
        .zip(finished)
        .map(|(mut partial, finished)| {
            finished?;
            if sync {
                partial.sync()?;
            }
            partial.take_final_name()?;
            Ok(partial)
        })
        .collect();
    let names_are_safe = match sync && named.iter().any(Result::is_ok) {
        true => match retry_on_intr(|| rustix::fs::fsync(folder)) {
            // A file system that has no such call for folders.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            outcome => outcome.map_err(refused("fsync")),
        },
        false => Ok(()),
    };
    named.into_iter().map(|partial| names_are_safe.and(partial)?.keep()).collect()
}
