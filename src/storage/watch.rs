//! Reads the changes of the shared trees that the kernel reports.
//!
//! Owns the inotify descriptor and the watch of each folder, and turns events into plain facts
//! by folder and name. It looks at no file and decides nothing. Where the kernel tells nothing
//! (there are bounds on inotify descriptors and on watches) or not all (others change a remote
//! disk) it says so, and the trees have to be looked at from time to time.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::system::persist;
use super::tree::{SharedTree, is_ours};
use super::watched::{Place, Watched};
use super::writers::{Spot, Writers};
use crate::content::Sight;
use crate::limits::{WATCHES_GUESS, WATCHES_SHARE};
use crate::wire::FilePath;

/// The events of a folder that the kernel is asked for. Its removal is none of them: that is
/// told only of a folder that nobody has open.
const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::EXCL_UNLINK)
    .union(WatchFlags::ONLYDIR);

/// The events of the folder that a root stands in, where its removal shows. It may be watched
/// for another reason: then this adds nothing.
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

/// How many watches a user may have: in all, and within the namespace of this program.
const WATCHES_OF_USER: [&str; 2] =
    ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"];

/// Hears what changes in the folders of a tree.
#[derive(Debug)]
pub struct Watch {
    inotify: Result<Rc<OwnedFd>, Errno>,
    watched: Watched,
    watches_max: usize,
    /// The folders among the roots.
    roots: BTreeSet<Option<FilePath>>,
    is_remote: bool,
    /// Why some folder is not watched.
    shortage: Option<Shortage>,
    writers: Writers,
    moving: Option<Moving>,
}

/// Why a folder is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// So many are, and no more may be.
    Limit(usize),
    /// The system refused it.
    Refused(Errno),
}

/// A folder has left its place, by the number of that renaming; where it went is not known yet.
#[derive(Debug)]
struct Moving {
    number: u32,
    paths: Vec<FilePath>,
}

/// The changes of some events, put together.
#[derive(Debug, Default)]
pub struct Changes {
    /// By names as they are, legal or not, but for our own.
    pub names: BTreeMap<Spot, Touch>,
    /// Folders that were moved away, with all in them.
    pub gone: Vec<FilePath>,
    /// Whether something was removed or moved away.
    pub has_removals: bool,
    /// Whether a root may be gone.
    pub may_be_lost: bool,
    /// Whether the kernel could not keep all that happened.
    pub are_missing: bool,
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
    /// Whether it is a folder, by the last event.
    pub is_folder: bool,
}

impl Watch {
    /// Hears of all changes in the folders that are roots from now on. Those below them are to
    /// be added.
    pub fn new(tree: &SharedTree) -> Self {
        let limits = WATCHES_OF_USER
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        Self::with(tree, limits.min().unwrap_or(WATCHES_GUESS) / WATCHES_SHARE)
    }

    /// Does the same with so many watches at most.
    pub fn with(tree: &SharedTree, watches_max: usize) -> Self {
        let inotify = persist(|| inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC));
        let is_remote = |folder: &OwnedFd| {
            rustix::fs::fstatfs(folder).is_ok_and(|stat| REMOTE.contains(&(stat.f_type as u32)))
        };
        let mut watch = Self {
            inotify: inotify.map(Rc::new),
            watched: Watched::default(),
            watches_max,
            roots: tree.folders().map(|(path, _)| path).collect(),
            is_remote: tree.folders().any(|(_, folder)| is_remote(folder))
                || tree.files().any(|(_, folder, _)| is_remote(folder)),
            shortage: None,
            writers: Writers::default(),
            moving: None,
        };
        for (path, folder, name) in tree.files() {
            watch.begin(folder, "", WATCHED, Place::Around { name: name.into(), path });
        }
        for (path, folder) in tree.folders() {
            watch.begin(folder, "", WATCHED, Place::Folder(path));
            // Without it, removals are found by looks alone.
            let shortage = watch.shortage;
            watch.begin(folder, "/..", WATCHED_AROUND, Place::Outside);
            watch.shortage = shortage;
        }
        watch
    }

    /// Where its readiness shows; or why it hears nothing.
    pub fn descriptor(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.inotify.as_ref().map(|inotify| inotify.as_fd()).map_err(|errno| *errno)
    }

    /// Whether it hears of all changes, as long as none are missing.
    pub fn hears_all(&self) -> bool {
        self.inotify.is_ok() && !self.is_remote && self.shortage.is_none()
    }

    /// Returns why some folder is not watched.
    pub fn shortage(&self) -> Option<Shortage> {
        self.shortage
    }

    /// Whether it hears of changes in this folder.
    pub fn watches(&self, folder: Option<&FilePath>) -> bool {
        self.watched.contains(folder)
    }

    /// Hears of all changes in this folder from now on, if it may.
    pub fn add(&mut self, path: Option<FilePath>, folder: &OwnedFd) {
        self.begin(folder, "", WATCHED, Place::Folder(path));
    }

    /// No longer hears of this folder and those below it.
    pub fn forget(&mut self, path: &FilePath) {
        for folder in self.watched.below(path) {
            let void = self.watched.forget(&folder);
            self.end(void);
            self.writers.rename(&folder, None);
        }
    }

    /// A scan of all folders begins, which adds each of them.
    pub fn begin_scan(&mut self) {
        self.shortage = None;
        self.watched.begin_scan();
    }

    /// The scan has ended: folders that it did not find are gone.
    pub fn end_scan(&mut self) {
        self.watched.not_found().iter().for_each(|folder| self.forget(folder));
    }

    /// Whether a file was written to and not closed since, as far as that is known.
    pub(super) fn is_written(&self, folder: Option<&FilePath>, name: &[u8]) -> bool {
        self.writers.contains(&(folder.cloned(), name.to_owned()))
    }

    /// The changes since the last call, from some `events_max` events: few more, for they
    /// come in groups. None if it is fewer than that.
    pub fn read(&mut self, events_max: usize) -> Changes {
        let mut changes = Changes::default();
        let Ok(inotify) = self.inotify.clone() else { return changes };
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
                Ok(event) => self.take_in(&event, &mut changes),
                Err(Errno::INTR) => events_of_read = EVENTS_PER_READ_MIN,
                Err(_) => break,
            }
        }
        self.end_move();
        changes
    }

    /// Watches what is at `beside` a folder: nothing for the folder itself.
    fn begin(&mut self, folder: &OwnedFd, beside: &str, what: WatchFlags, place: Place) {
        let Ok(inotify) = &self.inotify else { return };
        // By its descriptor: its path may lead elsewhere by now.
        let path = format!("/proc/self/fd/{}{beside}", folder.as_raw_fd());
        let is_full = self.watched.len() >= self.watches_max;
        let is_watched =
            matches!(&place, Place::Folder(path) if self.watched.contains(path.as_ref()));
        if is_full && !is_watched {
            self.shortage.get_or_insert(Shortage::Limit(self.watches_max));
            return;
        }
        match persist(|| inotify::add_watch(inotify, path.as_str(), what)) {
            Ok(number) => {
                let void = self.watched.insert(number, place);
                self.end(void);
            }
            Err(Errno::NOSPC) => {
                let watched = self.watched.len();
                self.shortage.get_or_insert(Shortage::Limit(watched));
            }
            Err(errno) => _ = self.shortage.get_or_insert(Shortage::Refused(errno)),
        }
    }

    /// Gives a number back.
    fn end(&mut self, void: Option<i32>) {
        if let (Some(number), Ok(inotify)) = (void, &self.inotify) {
            // It may be gone with its folder.
            let _ = inotify::remove_watch(inotify, number);
        }
    }

    fn take_in(&mut self, event: &inotify::Event<'_>, changes: &mut Changes) {
        changes.events += 1;
        let what = event.events();
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            changes.are_missing = true;
            self.writers.clear();
            return;
        }
        if self.moving.as_ref().is_some_and(|moving| moving.number != event.cookie())
            && what.intersects(ReadFlags::MOVED_FROM | ReadFlags::MOVED_TO)
        {
            self.end_move();
        }
        let is_void = what.contains(ReadFlags::IGNORED);
        let places = match is_void {
            true => self.watched.remove(event.wd()),
            false => self.watched.places(event.wd()).to_vec(),
        };
        let name = event.file_name().map(std::ffi::CStr::to_bytes);
        let mut moved_to = Vec::new();
        for place in places {
            match (place, name) {
                (Place::Folder(folder), None) => {
                    changes.may_be_lost |= self.roots.contains(&folder)
                        && (is_void || what.intersects(ReadFlags::UNMOUNT | ReadFlags::MOVE_SELF));
                }
                (Place::Folder(folder), Some(name)) if !is_ours(name) => {
                    let path = FilePath::in_folder(folder.as_ref(), name);
                    self.touch(what, (folder, name.to_owned()), event.cookie(), changes);
                    if let (Ok(path), true) = (path, what.contains(ReadFlags::ISDIR)) {
                        if what.contains(ReadFlags::MOVED_FROM) {
                            self.begin_move(event.cookie(), path, changes);
                        } else if what.contains(ReadFlags::MOVED_TO) {
                            moved_to.push(path);
                        } else if what.contains(ReadFlags::DELETE) {
                            self.forget(&path);
                        }
                    }
                }
                (Place::Around { name: ours, path }, Some(name)) if *ours == *name => {
                    let spot = (None, path.as_str().as_bytes().to_owned());
                    self.touch(what, spot, event.cookie(), changes);
                }
                (Place::Outside, Some(_)) => {
                    changes.may_be_lost |= what.contains(ReadFlags::DELETE);
                }
                (Place::Folder(_) | Place::Around { .. } | Place::Outside, _) => {}
            }
        }
        if !moved_to.is_empty() {
            self.move_to(&moved_to);
        }
    }

    fn touch(&mut self, what: ReadFlags, spot: Spot, renaming: u32, changes: &mut Changes) {
        let is_folder = what.contains(ReadFlags::ISDIR);
        changes.has_removals |= what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
        if what.contains(ReadFlags::ATTRIB) {
            // Says nothing against what came before it.
            let looked = Touch { sight: Sight::Looked, is_new: false, is_folder };
            changes.names.entry(spot).or_insert(looked);
            return;
        }
        let sight = self.writers.sight(what, &spot, renaming);
        let is_new = what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        match changes.names.entry(spot) {
            Entry::Vacant(entry) => _ = entry.insert(Touch { sight, is_new, is_folder }),
            Entry::Occupied(mut entry) => {
                let touch = entry.get_mut();
                *touch = Touch { sight, is_new: touch.is_new || is_new, is_folder };
            }
        }
    }

    /// A folder leaves its place. It stays watched until it shows whether it is moved within
    /// the tree.
    fn begin_move(&mut self, number: u32, path: FilePath, changes: &mut Changes) {
        changes.gone.push(path.clone());
        let moving = self.moving.get_or_insert(Moving { number, paths: Vec::new() });
        moving.paths.push(path);
    }

    /// A folder comes to its new place, or to several of one folder that is shared twice.
    fn move_to(&mut self, new: &[FilePath]) {
        // Whatever is still watched under the new path was overlooked when it left.
        new.iter().for_each(|path| self.forget(path));
        let Some(moving) = self.moving.take() else { return };
        let ([old], [new]) = (&moving.paths[..], new) else {
            return moving.paths.iter().for_each(|path| self.forget(path));
        };
        for folder in self.watched.below(old) {
            let rest = folder.as_str().strip_prefix(old.as_str()).unwrap_or_default();
            let path = FilePath::new(&[new.as_str(), rest].concat()).ok();
            self.writers.rename(&folder, path.as_ref());
            let void = match path {
                Some(path) => self.watched.rename(&folder, path),
                None => self.watched.forget(&folder),
            };
            self.end(void);
        }
    }

    /// A folder that left its place is nowhere in the tree.
    fn end_move(&mut self) {
        if let Some(moving) = self.moving.take() {
            moving.paths.iter().for_each(|path| self.forget(path));
        }
    }
}

#[cfg(test)]
mod tests;
