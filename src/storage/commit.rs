//! Many files become safe at once.
//!
//! Each file needs an fsync before it takes its name and the folder one after, but
//! that does not make the file system commit its journal for each: write-back begins
//! for all of them, the first fsync then takes the metadata of all with it, the others
//! ask the disk for a flush that has little to do, and one fsync of the folder makes all
//! names safe. See *Many small files, synced* in `benches/README.md`. One `syncfs` instead
//! would wait for whatever others write to the same disk.

use std::rc::Rc;

use super::folders::{Folders, sync_folder};
use super::partial::Partial;
use crate::content::{FileError, Version};
use crate::wire::FilePath;

/// Makes files safe under their final names, which are given too, and the folders
/// that were made. When this returns, those that did not fail survive a loss of power; the others
/// are removed, or kept if they are to be. It blocks for as long as the disk takes. Without `sync`
/// it promises nothing of a loss of power.
pub(super) fn commit(
    made: &Folders,
    mut partials: Vec<Partial>,
    sync: bool,
) -> Vec<Result<(FilePath, Version), FileError>> {
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
        true => sync_names(made, named.iter().flatten()),
        false => Ok(()),
    };
    named.into_iter().map(|partial| names_are_safe.and(partial)?.stay()).collect()
}

fn sync_names<'a>(
    made: &Folders,
    named: impl Iterator<Item = &'a Partial>,
) -> Result<(), FileError> {
    made.sync()?;
    let mut folders: Vec<_> = named.map(Partial::folder).collect();
    folders.sort_unstable_by_key(|folder| Rc::as_ptr(folder));
    folders.dedup_by_key(|folder| Rc::as_ptr(folder));
    folders.into_iter().try_for_each(sync_folder)
}
