//! Who may do what with a file that is fetched.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, Stat};
use rustix::process::{Gid, Uid};

use super::super::system::{self, persist};
use super::super::temporary::next_name;

/// Read, write and execute, for each of owner, group and others.
const PERMISSIONS: u32 = 0o777;
const EXECUTE: u32 = 0o111;

/// The permissions of a new file, of which the system takes some away.
pub(super) fn new(is_executable: bool) -> Mode {
    Mode::from_raw_mode(if is_executable { 0o777 } else { 0o666 })
}

/// Nobody else reads it before it has the permissions of the one that it replaces.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Takes over who may do what with the file that this one replaces, as far as a file
/// system and our own rights allow: nobody may do more than before. Where it is known whether
/// the new one is executable, those may execute it that may read it.
pub(super) fn take_over(file: &File, there: &Stat, is_executable: Option<bool>) {
    let (owner, group) = (Uid::from_raw(there.st_uid), Gid::from_raw(there.st_gid));
    // The group alone may be ours to set.
    let _ = persist(|| rustix::fs::fchown(file, None, Some(group)));
    let _ = persist(|| rustix::fs::fchown(file, Some(owner), None));
    let mut mode = there.st_mode & PERMISSIONS;
    match is_executable {
        Some(true) => mode |= mode >> 2 & EXECUTE,
        Some(false) => mode &= !EXECUTE,
        None => {}
    }
    if system::stat_file(file).is_ok_and(|ours| ours.st_gid != there.st_gid) {
        // It is for another group, whose members had the rights of all others.
        mode &= !0o070 | (mode & 0o007) << 3;
    }
    let _ = persist(|| rustix::fs::fchmod(file, Mode::from_raw_mode(mode)));
}

/// Takes the permissions of a new file. The umask and the folder decide on them: one that is
/// made here for a moment has them.
pub(super) fn take_usual(file: &File, folder: &OwnedFd, is_executable: bool) {
    let name = next_name();
    let Ok(made) = system::create_new(folder, name.as_str(), new(is_executable)) else { return };
    let _ = persist(|| rustix::fs::unlinkat(folder, name.as_str(), AtFlags::empty()));
    if let Ok(made) = system::stat_file(&made) {
        let mode = Mode::from_raw_mode(made.st_mode & PERMISSIONS);
        let _ = persist(|| rustix::fs::fchmod(file, mode));
    }
}
