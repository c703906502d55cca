//! Reads the changes of the shared folder that the kernel reports.
//!
//! Owns the inotify descriptor, and turns its events into plain facts by name. It looks
//! at no file and decides nothing. Where the kernel tells nothing (there is a bound on
//! inotify descriptors) or not all (others change a remote disk) it says so, and the
//! folder has to be looked at from time to time.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::folder::{SharedFolder, is_our_own};
use super::system::persist;
use crate::content::Sight;
use crate::limits::WRITTEN_FILES_MAX;

/// The events of the folder that the kernel is asked for. Its removal is none of them:
/// that is told only of a folder that nobody has open.
const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// The events of the folder that it stands in, where its removal shows. Both may be the
/// same: then this adds nothing.
const WATCHED_AROUND: WatchFlags =
    WatchFlags::DELETE.union(WatchFlags::ONLYDIR).union(WatchFlags::MASK_ADD);

/// Room for the events of one read.
const BUFFER_BYTES: usize = 4096;
/// The largest event: its head, and the longest name with the zero behind it.
const EVENT_BYTES_MAX: usize = 16 + 256;
/// A read that brings fewer events than this had room for one more: there was none.
const EVENTS_PER_READ_MIN: usize = BUFFER_BYTES / EVENT_BYTES_MAX;

/// File systems that others change too, by the magic numbers of statfs(2): NFS, SMB 1,
/// CIFS, SMB 2, FUSE, 9P, Ceph, AFS.
const REMOTE: [u32; 8] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x6b41_4653];

/// Hears what changes in a folder.
#[derive(Debug)]
pub struct Watch {
    inotify: Result<OwnedFd, Errno>,
    /// The number under which the kernel tells of the folder around it.
    around: Option<i32>,
    is_remote: bool,
    writers: Writers,
}

/// The names of files that were written to and not closed since.
#[derive(Debug, Default)]
struct Writers {
    names: BTreeSet<Vec<u8>>,
    /// The number of the renaming that one of them began.
    renaming: Option<u32>,
}

/// The changes of some events, put together.
#[derive(Debug, Default)]
pub struct Changes {
    /// By names as they are, legal or not, but for our own.
    pub names: BTreeMap<Vec<u8>, Touch>,
    /// Whether something was removed or moved away.
    pub has_removals: bool,
    /// Whether something was removed beside the folder, which may be the folder itself.
    pub has_removals_around: bool,
    /// Whether the kernel could not keep all that happened.
    pub are_missing: bool,
    /// Whether the folder is moved, unmounted, or no longer watched for another reason.
    pub is_lost: bool,
    /// How many events there were.
    pub events: usize,
}

/// The changes of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The last that matters, if anything stands under the name now.
    pub sight: Sight,
    /// Whether something appeared under it.
    pub is_new: bool,
}

impl Watch {
    /// Hears of all changes from now on.
    pub fn new(folder: &SharedFolder) -> Self {
        let descriptor = folder.descriptor();
        let is_remote = rustix::fs::fstatfs(&descriptor)
            .is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)));
        let (inotify, around) = match watch(descriptor.as_fd()) {
            Ok((inotify, around)) => (Ok(inotify), around),
            Err(errno) => (Err(errno), None),
        };
        Self { inotify, around, is_remote, writers: Writers::default() }
    }

    /// Where its readiness shows; or why it hears nothing.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.inotify.as_ref().map(AsFd::as_fd).map_err(|errno| *errno)
    }

    /// Whether it hears of all changes, as long as none are missing.
    pub fn hears_all(&self) -> bool {
        self.inotify.is_ok() && !self.is_remote
    }

    /// The changes since the last call, from some `events_max` events: few more, for they
    /// come in groups. None if it is fewer than that.
    pub fn read(&mut self, events_max: usize) -> Changes {
        let mut changes = Changes::default();
        let Ok(inotify) = &self.inotify else { return changes };
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let mut events_of_read = EVENTS_PER_READ_MIN;
        loop {
            if reader.is_buffer_empty() {
                if changes.events >= events_max || events_of_read < EVENTS_PER_READ_MIN {
                    break;
                }
                events_of_read = 0;
            }
            events_of_read += 1;
            match reader.next() {
                Ok(event) if Some(event.wd()) == self.around => changes.add_around(&event),
                Ok(event) => changes.add(&event, &mut self.writers),
                Err(Errno::INTR) => events_of_read = EVENTS_PER_READ_MIN,
                Err(_) => break,
            }
        }
        changes
    }
}

/// What tells of the folder, and the number of the folder around it if that can be watched.
fn watch(folder: BorrowedFd<'_>) -> Result<(OwnedFd, Option<i32>), Errno> {
    let inotify = persist(|| inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC))?;
    // By its descriptor: its path may lead elsewhere by now.
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let own = persist(|| inotify::add_watch(&inotify, path.as_str(), WATCHED))?;
    let path = format!("{path}/..");
    let around = persist(|| inotify::add_watch(&inotify, path.as_str(), WATCHED_AROUND)).ok();
    Ok((inotify, around.filter(|around| *around != own)))
}

impl Changes {
    fn add(&mut self, event: &inotify::Event<'_>, writers: &mut Writers) {
        self.events += 1;
        let what = event.events();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.are_missing = true;
            writers.names.clear();
        }
        self.is_lost |= what.intersects(ReadFlags::UNMOUNT | ReadFlags::IGNORED)
            || what.contains(ReadFlags::MOVE_SELF);
        let Some(name) = event.file_name().map(std::ffi::CStr::to_bytes) else { return };
        if is_our_own(name) {
            return;
        }
        self.has_removals |= what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
        let entry = self.names.entry(name.to_owned());
        if what.contains(ReadFlags::ATTRIB) {
            // Says nothing against what came before it.
            entry.or_insert(Touch { sight: Sight::Looked, is_new: false });
            return;
        }
        let sight = writers.sight(what, name, event.cookie());
        let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        match entry {
            Entry::Vacant(entry) => _ = entry.insert(Touch { sight, is_new }),
            Entry::Occupied(mut entry) => {
                let touch = entry.get_mut();
                *touch = Touch { sight, is_new: touch.is_new || is_new };
            }
        }
    }

    fn add_around(&mut self, event: &inotify::Event<'_>) {
        self.events += 1;
        self.has_removals_around |= event.events().contains(ReadFlags::DELETE);
    }
}

impl Writers {
    /// Returns what happened to a file. One that is renamed while it is open for writing still
    /// is. Of several writers only the first close is told from the last, once another writes.
    fn sight(&mut self, what: ReadFlags, name: &[u8], renaming: u32) -> Sight {
        if what.contains(ReadFlags::MODIFY) {
            if self.names.len() < WRITTEN_FILES_MAX {
                self.names.insert(name.to_owned());
            }
            return Sight::Written;
        }
        let was_written = self.names.remove(name);
        if what.contains(ReadFlags::CLOSE_WRITE) {
            Sight::Closed
        } else if what.contains(ReadFlags::MOVED_TO) {
            if self.renaming.take_if(|number| *number == renaming).is_none() {
                return Sight::Moved;
            }
            self.names.insert(name.to_owned());
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
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use super::*;
    use crate::content::FolderLoss;
    use crate::limits::TURN_ITEMS;
    use crate::wire::v0::FileName;

    fn watched(path: &Path) -> (SharedFolder, Watch) {
        let shared = SharedFolder::open(path).unwrap();
        let watch = Watch::new(&shared);
        assert!(watch.descriptor().is_ok());
        (shared, watch)
    }

    /// What changed, by name: how, and whether it is new.
    fn changes(watch: &mut Watch) -> Vec<(String, Sight, bool)> {
        let changes = watch.read(TURN_ITEMS);
        assert!(!changes.are_missing && !changes.is_lost);
        let names = changes.names.into_iter();
        names.map(|(n, t)| (String::from_utf8(n).unwrap(), t.sight, t.is_new)).collect()
    }

    fn change(name: &str, sight: Sight, is_new: bool) -> (String, Sight, bool) {
        (name.to_owned(), sight, is_new)
    }

    #[test]
    fn each_way_to_change_a_folder_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("before"), b"x").unwrap();
        let (_shared, mut watch) = watched(folder.path());
        assert_eq!(changes(&mut watch), []);

        let mut writer = File::create(at("f")).unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Created, true)]);
        writer.write_all(b"half").unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Written, false)]);
        writer.write_all(b"whole").unwrap();
        drop(writer);
        assert_eq!(changes(&mut watch), [change("f", Sight::Closed, false)]);

        fs::rename(at("f"), at("g")).unwrap();
        let renamed = [change("f", Sight::Looked, false), change("g", Sight::Moved, true)];
        assert_eq!(changes(&mut watch), renamed);
        let mut permissions = fs::metadata(at("g")).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(at("g"), permissions).unwrap();
        assert_eq!(changes(&mut watch), [change("g", Sight::Looked, false)]);
        fs::hard_link(at("g"), at("h")).unwrap();
        assert_eq!(changes(&mut watch), [change("h", Sight::Created, true)]);
        fs::remove_file(at("before")).unwrap();
        let removed = watch.read(1);
        assert!(removed.has_removals);
        assert_eq!(removed.names.keys().collect::<Vec<_>>(), [b"before"]);
        assert_eq!(changes(&mut watch), []);
    }

    #[test]
    fn what_happened_last_to_a_name_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let (_shared, mut watch) = watched(folder.path());
        // Closed, and then opened by the next.
        fs::write(&path, b"one").unwrap();
        let mut next = OpenOptions::new().append(true).open(&path).unwrap();
        next.write_all(b"two").unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Written, true)]);
        drop(next);
        // Closed, removed and made again by one that is not done.
        fs::remove_file(&path).unwrap();
        let _writer = File::create(&path).unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Created, true)]);
        // Attributes say nothing about a writer.
        fs::write(&path, b"three").unwrap();
        let permissions = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, permissions).unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Closed, false)]);
    }

    #[test]
    fn one_call_brings_all_that_happened_however_long_the_names_are() {
        for name_bytes in [2, 255] {
            let folder = tempfile::tempdir().unwrap();
            let (_shared, mut watch) = watched(folder.path());
            for n in 0..50 {
                File::create(folder.path().join(format!("{n:0name_bytes$}"))).unwrap();
            }
            assert_eq!(changes(&mut watch).len(), 50, "{name_bytes} bytes");
            assert_eq!(changes(&mut watch), []);
        }
    }

    #[test]
    fn of_what_we_write_ourselves_only_the_final_name_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, mut watch) = watched(folder.path());
        let mut partial = shared.create_partial(&FileName::new("f").unwrap()).unwrap();
        partial.write(b"content", 0).unwrap();
        assert_eq!(changes(&mut watch), []);
        let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!(changes(&mut watch), [change("f", Sight::Closed, true)]);
        let (_, seen) = shared.look_at(b"f").unwrap().unwrap();
        assert_eq!(seen, version, "and that is no other version");
        drop(shared.create_partial(&FileName::new("g").unwrap()).unwrap());
        assert_eq!(changes(&mut watch), []);
    }

    #[test]
    fn a_folder_that_is_moved_is_lost() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("shared");
        fs::create_dir(&path).unwrap();
        let (shared, mut watch) = watched(&path);
        fs::rename(&path, outer.path().join("moved")).unwrap();
        let changes = watch.read(TURN_ITEMS);
        assert!(changes.is_lost && changes.names.is_empty());
        assert_eq!(shared.loss(), Some(FolderLoss::Elsewhere));
    }

    #[test]
    fn a_folder_that_is_removed_shows_in_the_one_around_it() {
        let outer = tempfile::tempdir().unwrap();
        let (path, beside) = (outer.path().join("shared"), outer.path().join("beside"));
        for path in [&path, &beside] {
            fs::create_dir(path).unwrap();
        }
        let (shared, mut watch) = watched(&path);
        let mut read = || {
            let changes = watch.read(TURN_ITEMS);
            assert!(changes.names.is_empty(), "{changes:?}");
            changes.has_removals_around
        };
        fs::write(outer.path().join("f"), b"x").unwrap();
        assert!(!read() && shared.loss().is_none());
        fs::remove_dir(&beside).unwrap();
        assert!(read() && shared.loss().is_none());
        fs::remove_dir(&path).unwrap();
        assert!(read() && shared.loss() == Some(FolderLoss::Gone));
    }

    #[test]
    fn a_queue_that_overflows_is_told_and_heard_again_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let (_shared, mut watch) = watched(folder.path());
        let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let queued_max: usize = queue.trim().parse().unwrap();
        // Two events at least for each.
        for n in 0..=queued_max / 2 {
            drop(File::create(folder.path().join((n % 1000).to_string())).unwrap());
            fs::remove_file(folder.path().join((n % 1000).to_string())).unwrap();
        }
        let (mut events, mut are_missing) = (0, false);
        loop {
            let changes = watch.read(TURN_ITEMS);
            events += changes.events;
            are_missing |= changes.are_missing;
            assert!(changes.events < TURN_ITEMS + BUFFER_BYTES / 16);
            if changes.events < TURN_ITEMS {
                break;
            }
        }
        assert!(are_missing, "after {events} events");
        fs::write(folder.path().join("after"), b"x").unwrap();
        assert_eq!(changes(&mut watch), [change("after", Sight::Closed, true)]);
    }

    #[test]
    fn a_file_that_is_renamed_while_it_is_written_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (_shared, mut watch) = watched(folder.path());
        // Its name may be one that is not shared, and what happens may come at once or not.
        for (from, at_once) in [("part", true), ("part", false), (".part", true), (".part", false)]
        {
            let mut writer = File::create(at(from)).unwrap();
            writer.write_all(b"half").unwrap();
            if !at_once {
                changes(&mut watch);
            }
            fs::rename(at(from), at("whole")).unwrap();
            let renamed =
                [change(from, Sight::Looked, at_once), change("whole", Sight::Written, true)];
            assert_eq!(changes(&mut watch), renamed, "{from}");
            drop(writer);
            assert_eq!(changes(&mut watch), [change("whole", Sight::Closed, false)]);
            fs::remove_file(at("whole")).unwrap();
            // The usual way: whole, closed and then renamed.
            fs::write(at(from), b"whole").unwrap();
            if !at_once {
                changes(&mut watch);
            }
            fs::rename(at(from), at("whole")).unwrap();
            assert_eq!(changes(&mut watch).pop(), Some(change("whole", Sight::Moved, true)));
            fs::remove_file(at("whole")).unwrap();
            changes(&mut watch);
        }
    }

    #[test]
    fn a_file_that_comes_from_elsewhere_is_as_whole_as_it_was_there() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_shared, mut watch) = watched(folder.path());
        let mut writer = File::create(folder.path().join("gone")).unwrap();
        writer.write_all(b"half").unwrap();
        fs::rename(folder.path().join("gone"), elsewhere.path().join("gone")).unwrap();
        fs::write(elsewhere.path().join("f"), b"whole").unwrap();
        fs::rename(elsewhere.path().join("f"), folder.path().join("f")).unwrap();
        assert_eq!(changes(&mut watch)[0], change("f", Sight::Moved, true));
    }
}
