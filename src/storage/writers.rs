//! Which files are being written to, by what the kernel reports of them.

use std::collections::BTreeSet;

use rustix::fs::inotify::ReadFlags;

use crate::content::Sight;
use crate::limits::WRITTEN_FILES_MAX;
use crate::wire::FilePath;

/// A name, legal or not, and the folder that it is in; `None` is the top.
pub type Spot = (Option<FilePath>, Vec<u8>);

/// The files that were written to and not closed since: at most [`WRITTEN_FILES_MAX`].
#[derive(Debug, Default)]
pub(super) struct Writers {
    files: BTreeSet<Spot>,
    /// The number of the renaming that one of them began.
    renaming: Option<u32>,
}

impl Writers {
    /// Returns what happened to a file. One that is renamed while it is open for writing still
    /// is. Of several writers only the first close is told from the last, once another writes.
    pub(super) fn sight(&mut self, what: ReadFlags, spot: &Spot, renaming: u32) -> Sight {
        if what.contains(ReadFlags::MODIFY) {
            self.insert(spot.clone());
            return Sight::Written;
        }
        let was_written = self.files.remove(spot);
        if what.contains(ReadFlags::CLOSE_WRITE) {
            Sight::Closed
        } else if what.contains(ReadFlags::MOVED_TO) {
            if self.renaming.take_if(|number| *number == renaming).is_none() {
                return Sight::Moved;
            }
            self.insert(spot.clone());
            Sight::Written
        } else if what.contains(ReadFlags::CREATE) {
            Sight::Created
        } else {
            if what.contains(ReadFlags::MOVED_FROM) {
                self.renaming = was_written.then_some(renaming);
            }
            Sight::Looked
        }
    }

    pub(super) fn contains(&self, spot: &Spot) -> bool {
        self.files.contains(spot)
    }

    pub(super) fn clear(&mut self) {
        self.files.clear();
    }

    /// A folder has another path; `None` if it is none that is watched.
    pub(super) fn rename(&mut self, folder: &FilePath, new: Option<&FilePath>) {
        let from = (Some(folder.clone()), Vec::new());
        let names = self.files.range(from..).take_while(|(at, _)| at.as_ref() == Some(folder));
        for spot in names.cloned().collect::<Vec<_>>() {
            self.files.remove(&spot);
            if let Some(new) = new {
                self.files.insert((Some(new.clone()), spot.1));
            }
        }
    }

    fn insert(&mut self, spot: Spot) {
        if self.files.len() < WRITTEN_FILES_MAX {
            self.files.insert(spot);
        }
    }
}
