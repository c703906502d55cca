//! Two wanted names that are one file where they are written.
//!
//! Some file systems take capitals and small letters, or two Unicode forms, for one. The files
//! that took their names are remembered: one that has another name now is no file that stood
//! there before, and is neither replaced nor taken for the wanted one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::system;
use crate::wire::folded;
use crate::wire::v0::FileName;

/// The files that took their names, if others could be in their place: one for each job.
#[derive(Debug, Default)]
pub(super) struct Twins(RefCell<Named>);

#[derive(Debug, Default)]
struct Named {
    by_inode: BTreeMap<(u64, u64), FileName>,
    /// By what names that differ only in case or Unicode form have in common.
    by_folded: BTreeMap<String, Vec<FileName>>,
}

impl Twins {
    /// A file of ours has taken this name.
    pub(super) fn add(&self, folder: &OwnedFd, name: FileName) {
        let mut named = self.0.borrow_mut();
        if let Ok(there) = system::stat_name(folder, name.as_str()) {
            named.by_inode.insert((there.st_dev, there.st_ino), name);
        }
        named.by_folded.entry(folded(name.as_str())).or_default().push(name);
    }

    /// Returns whether what stands under this name took another one before.
    ///
    /// FUSE may number a file anew for each name: then the folder itself is read, but only if a
    /// name differs from this one in nothing but case or Unicode form.
    pub(super) fn has_other(&self, folder: &OwnedFd, name: FileName) -> bool {
        let named = self.0.borrow();
        if named.by_folded.is_empty() {
            return false;
        }
        let Ok(there) = system::stat_name(folder, name.as_str()) else { return false };
        if let Some(other) = named.by_inode.get(&(there.st_dev, there.st_ino)) {
            return *other != name;
        }
        let alike = named.by_folded.get(&folded(name.as_str()));
        alike.is_some_and(|alike| !alike.contains(&name)) && !is_listed(folder, name)
    }
}

/// Returns whether a folder has an entry that is called exactly so.
fn is_listed(folder: &OwnedFd, name: FileName) -> bool {
    let Ok(entries) = system::entries(folder) else { return true };
    let is_it =
        |entry: &rustix::fs::DirEntry| entry.file_name().to_bytes() == name.as_str().as_bytes();
    entries.filter_map(Result::ok).any(|entry| is_it(&entry))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_of_ours_is_found_under_another_name_and_those_of_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let descriptor = OwnedFd::from(fs::File::open(folder.path()).unwrap());
        let name = |text: &str| FileName::new(text).unwrap();
        let twins = Twins::default();
        for file in ["a.txt", "A.TXT", "other"] {
            fs::write(at(file), b"x").unwrap();
        }
        let has_other = |twins: &Twins, text: &str| twins.has_other(&descriptor, name(text));
        assert!(!has_other(&twins, "a.txt"));
        twins.add(&descriptor, name("a.txt"));
        // Here these are two files.
        assert!(!has_other(&twins, "a.txt") && !has_other(&twins, "A.TXT"));
        assert!(!has_other(&twins, "other") && !has_other(&twins, "none"));
        // There they would be one.
        fs::hard_link(at("a.txt"), at("b")).unwrap();
        assert!(has_other(&twins, "b"));
    }
}
