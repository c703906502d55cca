//! All that stands in a tree, at the start.

use super::folder::{SkipReason, Skipped};
use super::tree::{RootError, SharedTree, There};
use super::walk::{Found, Walk};
use super::watch::Watch;
use crate::content::Version;
use crate::limits::{SHARED_FILES_MAX, SKIPPED_EVENTS_MAX};
use crate::wire::FilePath;

/// The findings of [`SharedTree::scan`], by path.
#[derive(Debug, Default)]
pub struct TreeScan {
    /// The files that can be shared.
    pub files: Vec<(FilePath, Version)>,
    /// The folders in which nothing is.
    pub empty_folders: Vec<FilePath>,
    pub passed_over: PassedOver,
}

/// What cannot be shared, or is not to be: the first [`SKIPPED_EVENTS_MAX`] of each kind, and
/// how many there are. Those that the user has excluded are not counted.
#[derive(Debug, Default)]
pub struct PassedOver {
    /// Their names break the rule for paths.
    pub illegal: Vec<Skipped>,
    pub illegal_count: usize,
    /// Their names begin with a dot.
    pub hidden: Vec<Skipped>,
    pub hidden_count: usize,
    /// All others.
    pub others: Vec<Skipped>,
    pub others_count: usize,
}

impl SharedTree {
    /// Returns all that can be shared, and what is passed over. Each folder is watched before it
    /// is read. A system call or two for each file, and five for each folder.
    ///
    /// # Errors
    /// If one of the folders that are shared cannot be read.
    pub fn scan(&self, watch: &mut Watch) -> Result<TreeScan, RootError> {
        self.scan_up_to(SHARED_FILES_MAX, watch)
    }

    fn scan_up_to(&self, files_max: usize, watch: &mut Watch) -> Result<TreeScan, RootError> {
        let mut scan = TreeScan::default();
        for (path, ..) in self.files() {
            match self.look_at(&path) {
                Ok(Some(There::File(version))) => scan.files.push((path, version)),
                Ok(Some(There::Folder) | None) => {}
                Err(why) => scan.passed_over.add(Skipped { name: path.as_str().to_owned(), why }),
            }
        }
        let mut walk = Walk::of(self);
        while let Some(found) = walk.step(self, Some(watch)) {
            match found {
                Found::File(path, ..) if scan.files.len() == files_max => {
                    let name = path.as_str().to_owned();
                    scan.passed_over.add(Skipped { name, why: SkipReason::TooMany });
                    break;
                }
                Found::File(path, version, _) => scan.files.push((path, version)),
                Found::EmptyFolder(path) => scan.empty_folders.push(path),
                Found::Skipped(skipped) => scan.passed_over.add(skipped),
                Found::Unread(path, errno) => match path {
                    Some(path) if !self.folders().any(|(root, _)| root.as_ref() == Some(&path)) => {
                        let why = SkipReason::Io(std::io::Error::from(errno).kind());
                        scan.passed_over.add(Skipped { name: path.as_str().to_owned(), why });
                    }
                    root => {
                        let path = self.root_path(root.as_ref());
                        return Err(RootError::Io(path, errno.into()));
                    }
                },
                Found::Nothing => {}
            }
        }
        scan.files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        scan.empty_folders.sort_unstable();
        scan.passed_over.sort();
        Ok(scan)
    }
}

impl PassedOver {
    pub fn add(&mut self, skipped: Skipped) {
        let (kept, count) = match skipped.why {
            SkipReason::Excluded => return,
            SkipReason::Path(_) => (&mut self.illegal, &mut self.illegal_count),
            SkipReason::Hidden => (&mut self.hidden, &mut self.hidden_count),
            _ => (&mut self.others, &mut self.others_count),
        };
        *count += 1;
        if kept.len() < SKIPPED_EVENTS_MAX {
            kept.push(skipped);
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.illegal_count + self.hidden_count + self.others_count
    }

    fn sort(&mut self) {
        for kept in [&mut self.illegal, &mut self.hidden, &mut self.others] {
            kept.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        }
    }
}

#[cfg(test)]
mod tests;
