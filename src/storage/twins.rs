//! Two wanted names that are one file where they are written.
//!
//! Some file systems take capitals and small letters, or two Unicode forms, for one. The files
//! that took their names are remembered: one that has another name now is no file that stood
//! there before, and is neither replaced nor taken for the wanted one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsFd;

use super::folders::Place;
use super::system;
use crate::wire::folded;

/// The files that took their names, if others could be in their place: one for each job. Paths
/// are remembered by their hashes, so that a million of them take some 50 MB.
#[derive(Debug, Default)]
pub(super) struct Twins(RefCell<Named>);

#[derive(Debug, Default)]
struct Named {
    /// The path by device and inode.
    by_inode: BTreeMap<(u64, u64), u64>,
    /// What paths that differ only in case or Unicode form have in common, and a path.
    by_folded: BTreeSet<(u64, u64)>,
}

impl Twins {
    /// A file of ours has taken this place.
    pub(super) fn add(&self, place: &Place) {
        let mut named = self.0.borrow_mut();
        let path = hash(place.path.as_str());
        if let Ok(there) = system::stat_name(&place.folder, place.name()) {
            named.by_inode.insert((there.st_dev, there.st_ino), path);
        }
        named.by_folded.insert((hash(&folded(place.path.as_str())), path));
    }

    /// Returns whether what stands in this place took another name before.
    ///
    /// FUSE may number a file anew for each name: then the folder itself is read, but only if a
    /// path differs from this one in nothing but case or Unicode form.
    pub(super) fn has_other(&self, place: &Place) -> bool {
        let named = self.0.borrow();
        if named.by_folded.is_empty() {
            return false;
        }
        let Ok(there) = system::stat_name(&place.folder, place.name()) else { return false };
        let path = hash(place.path.as_str());
        if let Some(&other) = named.by_inode.get(&(there.st_dev, there.st_ino)) {
            return other != path;
        }
        let alike = hash(&folded(place.path.as_str()));
        let is_alone = named.by_folded.range((alike, 0)..=(alike, u64::MAX)).next().is_none();
        !is_alone
            && !named.by_folded.contains(&(alike, path))
            && !is_listed(&place.folder, place.name())
    }
}

pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Returns whether a folder has an entry that is called exactly so.
pub(super) fn is_listed(folder: impl AsFd, name: &str) -> bool {
    let Ok(entries) = system::entries(folder) else { return true };
    let is_it = |entry: &rustix::fs::DirEntry| entry.file_name().to_bytes() == name.as_bytes();
    entries.filter_map(Result::ok).any(|entry| is_it(&entry))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    use super::*;
    use crate::wire::FilePath;

    #[test]
    fn a_file_of_ours_is_found_under_another_name_and_those_of_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let descriptor = Rc::new(OwnedFd::from(fs::File::open(folder.path()).unwrap()));
        let place = |text: &str| Place {
            folder: Rc::clone(&descriptor),
            path: FilePath::new(text).unwrap(),
        };
        let twins = Twins::default();
        for file in ["a.txt", "A.TXT", "other"] {
            fs::write(at(file), b"x").unwrap();
        }
        let has_other = |twins: &Twins, text: &str| twins.has_other(&place(text));
        assert!(!has_other(&twins, "a.txt"));
        twins.add(&place("a.txt"));
        // Here these are two files.
        assert!(!has_other(&twins, "a.txt") && !has_other(&twins, "A.TXT"));
        assert!(!has_other(&twins, "other") && !has_other(&twins, "none"));
        // There they would be one.
        fs::hard_link(at("a.txt"), at("b")).unwrap();
        assert!(has_other(&twins, "b"));
    }
}
