//! How a file takes a name that nothing has.
//!
//! File systems differ in what they can do, and show it only when asked: each folder begins with
//! the best way and comes down to the next where the file system has none such.

use std::cell::Cell;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::system::{self, persist, refused};
use crate::content::FileError;

/// A way to take a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Naming {
    /// Renaming that never replaces.
    #[default]
    Rename,
    /// A second name, and the first is removed: on NFS, and before Linux 3.15.
    Link,
    /// A look whether something has the name, and a renaming that would replace what comes
    /// between the two: exFAT by FUSE, MTP and some 9P have nothing better.
    Look,
}

/// Renames a file. `Exists` if something has the new name. Notes which way the folder can go.
pub(super) fn rename_new(
    way: &Cell<Naming>,
    folder: impl AsFd,
    from: &str,
    to: &str,
) -> Result<(), FileError> {
    loop {
        let (outcome, next) = match way.get() {
            Naming::Rename => {
                let flags = RenameFlags::NOREPLACE;
                (
                    persist(|| rustix::fs::renameat_with(&folder, from, &folder, to, flags)),
                    Naming::Link,
                )
            }
            Naming::Link => (link_then_unlink(&folder, from, to), Naming::Look),
            Naming::Look => return look_then_rename(&folder, from, to),
        };
        match outcome {
            Ok(()) => return Ok(()),
            // A folder is never replaced.
            Err(Errno::EXIST | Errno::ISDIR) => return Err(FileError::Exists),
            Err(errno) if is_unknown(way.get(), errno) => way.set(next),
            Err(errno) => {
                let call = if way.get() == Naming::Rename { "rename" } else { "link" };
                return Err(refused(call)(errno));
            }
        }
    }
}

/// Renames a file, in the place of another one. `Exists` if that is a folder.
pub(super) fn rename_over(folder: impl AsFd, from: &str, to: &str) -> Result<(), FileError> {
    persist(|| rustix::fs::renameat(&folder, from, &folder, to)).map_err(|errno| match errno {
        Errno::EXIST | Errno::ISDIR | Errno::NOTEMPTY => FileError::Exists,
        errno => refused("rename")(errno),
    })
}

/// Whether a file system says so that it does not know this way.
fn is_unknown(way: Naming, errno: Errno) -> bool {
    match errno {
        // What forbids system calls that it does not know, as in old containers, says `PERM`. If
        // the right to the folder is missing, the last way says so, too.
        Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM => true,
        Errno::MLINK => way == Naming::Link,
        _ => false,
    }
}

fn link_then_unlink(folder: impl AsFd, from: &str, to: &str) -> Result<(), Errno> {
    persist(|| rustix::fs::linkat(&folder, from, &folder, to, AtFlags::empty()))?;
    // If it keeps its second name, that one is removed at the next start.
    let _ = persist(|| rustix::fs::unlinkat(&folder, from, AtFlags::empty()));
    Ok(())
}

fn look_then_rename(folder: impl AsFd, from: &str, to: &str) -> Result<(), FileError> {
    match system::stands_now(&folder, to) {
        Ok(true) => Err(FileError::Exists),
        Ok(false) => rename_over(folder, from, to),
        Err(errno) => Err(refused("stat")(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_way_of_taking_a_name_replaces_anything() {
        for way in [Naming::Rename, Naming::Link, Naming::Look] {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let descriptor = File::open(folder.path()).unwrap();
            fs::write(at("from"), b"ours").unwrap();
            fs::write(at("file"), b"theirs").unwrap();
            symlink("nowhere", at("link")).unwrap();
            fs::create_dir(at("folder")).unwrap();
            let known = Cell::new(way);
            for taken in ["file", "link", "folder"] {
                let outcome = rename_new(&known, &descriptor, "from", taken);
                assert_eq!(outcome, Err(FileError::Exists), "{way:?}: {taken}");
            }
            assert_eq!(fs::read(at("file")).unwrap(), b"theirs");
            assert_eq!(rename_new(&known, &descriptor, "from", "to"), Ok(()), "{way:?}");
            assert!(!at("from").exists() && fs::read(at("to")).unwrap() == b"ours", "{way:?}");
            assert_eq!(known.get(), way, "each of them works here");
        }
    }

    #[test]
    fn a_file_takes_the_place_of_another_but_not_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let descriptor = File::open(folder.path()).unwrap();
        fs::write(at("from"), b"ours").unwrap();
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), b"theirs").unwrap();
        assert_eq!(rename_over(&descriptor, "from", "folder"), Err(FileError::Exists));
        assert_eq!(rename_over(&descriptor, "from", "file"), Ok(()));
        assert_eq!(fs::read(at("file")).unwrap(), b"ours");
    }

    #[test]
    fn only_a_file_system_that_lacks_a_way_takes_the_next() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM] {
            assert!(is_unknown(Naming::Rename, errno) && is_unknown(Naming::Link, errno));
        }
        assert!(
            !is_unknown(Naming::Rename, Errno::MLINK) && is_unknown(Naming::Link, Errno::MLINK)
        );
        for errno in [Errno::IO, Errno::NOSPC, Errno::ACCESS, Errno::ROFS] {
            assert!(!is_unknown(Naming::Rename, errno) && !is_unknown(Naming::Link, errno));
        }
    }
}
