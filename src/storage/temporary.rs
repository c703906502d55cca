//! The names of files that are coming in, and what becomes of those that nobody works on.
//!
//! | name | of | left by a dead process |
//! |---|---|---|
//! | `.p2pfs-PID-N.partial` | anything | removed when the folder is opened |
//! | `.p2pfs-ID-SIZE` | a content of several blocks | continued, or removed after [`KEPT_AGE_MAX`] |
//!
//! The lock of a file tells whether its owner lives. On a file system without locks nobody knows,
//! and all files of others stay.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::system::{self, persist};
use crate::content::{Content, ContentId};
use crate::limits::KEPT_AGE_MAX;

const PREFIX: &[u8] = b".p2pfs-";
const SUFFIX: &[u8] = b".partial";

/// Of the next temporary name.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Returns a name that no other partial file of this process has.
pub(super) fn next_name() -> String {
    static PROCESS: LazyLock<u32> = LazyLock::new(std::process::id);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".p2pfs-{}-{count}.partial", *PROCESS)
}

/// Begins anew with the counter: another program has the same number, one in another container
/// or one of another day.
pub(super) fn count_anew() {
    COUNTER.store(fastrand::u64(..), Ordering::Relaxed);
}

/// Returns the name under which the partial file of a content is kept.
pub(super) fn kept_name(content: &Content) -> String {
    format!(".p2pfs-{}-{}", content.id, content.size_bytes)
}

/// Whether a name is one of ours.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    is_partial_name(name) || is_kept_name(name)
}

/// Whether a name has the form of our temporary names.
pub(super) fn is_partial_name(name: &[u8]) -> bool {
    let Some(middle) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) else {
        return false;
    };
    let mut numbers = middle.split(|&byte| byte == b'-');
    let (process, counter) = (numbers.next(), numbers.next());
    numbers.next().is_none() && process.is_some_and(is_number) && counter.is_some_and(is_number)
}

fn is_kept_name(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.splitn(2, |&byte| byte == b'-');
    let (id, size) = (parts.next(), parts.next());
    id.is_some_and(|id| ContentId::from_hex(id).is_some()) && size.is_some_and(is_number)
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Removes from a folder what dead processes left in it: files that cannot be continued, and
/// those that nobody continued for [`KEPT_AGE_MAX`]. Whatever cannot be removed stays.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn sweep(folder: &OwnedFd) -> Result<(), Errno> {
    sweep_at(folder, SystemTime::now())
}

fn sweep_at(folder: &OwnedFd, now: SystemTime) -> Result<(), Errno> {
    for entry in system::entries(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_partial_name(name.to_bytes())
            || is_kept_name(name.to_bytes()) && is_old(folder, name, now)
        {
            remove_if_dead(folder, name);
        }
    }
    Ok(())
}

/// Whether nobody wrote to it for long. The time of its content does not tell: it is that of the
/// source once all is written.
fn is_old(folder: &OwnedFd, name: &CStr, now: SystemTime) -> bool {
    let Ok(there) = system::stat_name(folder, name) else { return false };
    let now_ns = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
    now_ns - i128::from(system::version(&there).changed_ns) > KEPT_AGE_MAX.as_nanos() as i128
}

/// Removes a partial file if its owner is dead, that is if nobody has it locked.
fn remove_if_dead(folder: &OwnedFd, name: &CStr) {
    // For writing, because NFS locks nothing that is open only for reading.
    let flags = OFlags::RDWR | system::no_surprise();
    let Ok(file) = persist(|| rustix::fs::openat(folder, name, flags, Mode::empty())) else {
        return;
    };
    let (Ok(()), Ok(ours)) = (system::lock(&file), system::stat_file(&file)) else { return };
    // Its owner may have been alive when it was opened here, and done with it since.
    if stands_there(folder, name, &ours) {
        let _ = persist(|| rustix::fs::unlinkat(folder, name, AtFlags::empty()));
    }
}

/// Whether a file that is open stands under this name.
pub(super) fn stands_there(folder: impl AsFd, name: impl Arg + Copy, ours: &Stat) -> bool {
    system::stat_name(folder, name)
        .is_ok_and(|there| system::is_regular(&there) && system::is_same_file(ours, &there))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_is_old_and_unlocked_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let kept = |size_bytes| kept_name(&Content { id: ContentId::EMPTY, size_bytes });
        for name in [&kept(1), &kept(2), ".p2pfs-1-2.partial", "file"] {
            let file = File::create(at(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        symlink("file", at(&kept(3))).unwrap();
        let living = File::open(at(&kept(2))).unwrap();
        system::lock(&living).unwrap();
        let descriptor = OwnedFd::from(File::open(folder.path()).unwrap());
        let left = || fs::read_dir(folder.path()).unwrap().count();
        sweep(&descriptor).unwrap();
        assert_eq!(left(), 4, "but for the one that cannot be continued");
        sweep_at(&descriptor, SystemTime::now() + KEPT_AGE_MAX + Duration::from_secs(1)).unwrap();
        assert!(!at(&kept(1)).exists() && at(&kept(2)).exists() && at("file").exists());
        assert_eq!(left(), 3);
    }

    #[test]
    fn names_of_ours_are_known() {
        let content = Content { id: ContentId::EMPTY, size_bytes: 17 };
        let kept = kept_name(&content);
        assert_eq!(kept, format!(".p2pfs-{}-17", ContentId::EMPTY));
        assert!(is_temporary(kept.as_bytes()) && !is_partial_name(kept.as_bytes()));
        assert!(is_temporary(next_name().as_bytes()) && !is_kept_name(next_name().as_bytes()));
        let upper = kept.to_uppercase();
        let cut = &kept[..kept.len() - 2];
        let more = format!("{kept}-1");
        for other in [".p2pfs-1-17", &upper, cut, &more, &kept[1..], ".p2pfs-"] {
            assert!(!is_temporary(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_partial_name_is_told_from_others() {
        assert!(is_partial_name(next_name().as_bytes()));
        for other in [
            ".p2pfs-1-2-3.partial",
            ".p2pfs-1.partial",
            ".p2pfs--.partial",
            ".p2pfs-1-.partial",
            ".p2pfs-a-1.partial",
            ".p2pfs-1-1.partial2",
            "p2pfs-1-1.partial",
            ".p2pfs-.partial",
        ] {
            assert!(!is_partial_name(other.as_bytes()), "{other}");
        }
    }
}
