//! Follows what is shared: turns the changes that the kernel reports into inputs of the node.
//!
//! For each name that something happened to, it is looked what stands there now. A folder that
//! appeared is watched and then read, with all below it. Where the kernel could not tell all,
//! every name is looked at, some in each turn; where it never does, that is repeated. Nothing is
//! done, and nothing is due, while nothing changes and the kernel would tell; but whether the
//! roots are still there, and their paths still lead to them, is looked at from time to time,
//! while the program is awake anyway.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::content::{FolderLoss, Sight};
use crate::limits::{FOLDER_CHECK_DELAY, RESCAN_INTERVAL, RESCAN_PAUSE_SHARE, TURN_ITEMS};
use crate::node::Input;
use crate::storage::{
    Changes, Found, SharedTree, Shortage, SkipReason, Skipped, Spot, There, Touch, Walk, Watch,
};
use crate::wire::{FilePath, Shown};

/// Follows the trees.
pub(super) struct Follower {
    watch: Watch,
    is_ready: bool,
    /// Folders that appeared and are read.
    walk: Walk,
    is_walking: bool,
    /// The folders in which nothing is shared, as the node knows them.
    empty: BTreeSet<FilePath>,
    /// Folders from which something was removed: they may be empty.
    emptied: BTreeSet<FilePath>,
    rescan: Option<Rescan>,
    /// Whether a rescan is to begin as soon as none is under way.
    rescan_is_due: bool,
    next_rescan_at: Option<Instant>,
    /// When to look whether the roots are still there: after something was removed.
    next_check_at: Option<Instant>,
    /// The same in any case, but only if the program is awake then.
    next_check_if_awake: Instant,
    /// Whether it was told that some folders are not watched.
    has_told_shortage: bool,
    is_lost: bool,
}

/// All names are looked at.
struct Rescan {
    walk: Walk,
    /// Whether all folders could be read.
    is_whole: bool,
    /// The folders in which nothing is shared.
    empty: BTreeSet<FilePath>,
    began_at: Instant,
}

/// The findings of one step.
#[derive(Default)]
pub(super) struct Findings {
    /// For the node, in this order.
    pub(super) inputs: Vec<Input<'static>>,
    /// For the user: what appeared and cannot be shared.
    pub(super) skipped: Vec<Skipped>,
}

impl Follower {
    /// Follows by a watch that is older than the scan which the node was told of. In these
    /// folders nothing is shared.
    pub(super) fn new(now: Instant, watch: Watch, empty: Vec<FilePath>) -> Self {
        Self {
            next_rescan_at: (!watch.hears_all()).then(|| now + RESCAN_INTERVAL),
            watch,
            // What happened before it was registered.
            is_ready: true,
            walk: Walk::default(),
            is_walking: false,
            empty: empty.into_iter().collect(),
            emptied: BTreeSet::new(),
            rescan: None,
            rescan_is_due: false,
            next_check_at: None,
            next_check_if_awake: now + RESCAN_INTERVAL,
            has_told_shortage: false,
            is_lost: false,
        }
    }

    /// Has the poll wake us for changes, if the kernel tells any.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.tell_shortage();
        match self.watch.descriptor() {
            Ok(descriptor) => {
                let source = &mut SourceFd(&descriptor.as_raw_fd());
                registry.register(source, token, Interest::READABLE)
            }
            Err(errno) => {
                let seconds = RESCAN_INTERVAL.as_secs();
                log::info!("the folder is looked at every {seconds} s: inotify: {errno}");
                Ok(())
            }
        }
    }

    /// Says once that the kernel does not tell of all folders.
    fn tell_shortage(&mut self) {
        let Some(shortage) = self.watch.shortage().filter(|_| !self.has_told_shortage) else {
            return;
        };
        self.has_told_shortage = true;
        let seconds = RESCAN_INTERVAL.as_secs();
        match shortage {
            Shortage::Limit(watched) => log::warn!(
                "only {watched} folders can be watched: all are looked at every {seconds} s, or \
                 less often if that takes long; raise fs.inotify.max_user_watches"
            ),
            Shortage::Refused(errno) => {
                log::info!("the folders are looked at every {seconds} s: inotify: {errno}");
            }
        }
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether there is more to do at once.
    pub(super) fn has_work(&self) -> bool {
        let is_busy = self.is_ready
            || self.is_walking
            || self.rescan.is_some()
            || self.rescan_is_due
            || !self.emptied.is_empty();
        is_busy && !self.is_lost
    }

    /// When there is something to do though no event came.
    pub(super) fn next_look_at(&self) -> Option<Instant> {
        [self.next_rescan_at, self.next_check_at].into_iter().flatten().min()
    }

    /// Does a bounded piece of the work.
    pub(super) fn step(&mut self, now: Instant, tree: &SharedTree) -> Findings {
        let mut findings = Findings::default();
        if self.is_lost {
            return findings;
        }
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        self.rescan_is_due |= is_due(&mut self.next_rescan_at);
        if is_due(&mut self.next_check_at) || now >= self.next_check_if_awake {
            self.next_check_if_awake = now + RESCAN_INTERVAL;
            self.check_roots(tree, &mut findings);
        }
        if self.is_ready && !self.is_lost {
            let changes = self.watch.read(TURN_ITEMS);
            self.is_ready = changes.events >= TURN_ITEMS;
            self.take_in(now, changes, tree, &mut findings);
        }
        if !self.is_lost {
            self.check_emptied(tree, &mut findings);
            self.walk(tree, &mut findings);
            self.rescan(now, tree, &mut findings);
            self.tell_shortage();
            if self.rescan.is_none() && !self.watch.hears_all() {
                self.next_rescan_at.get_or_insert(now + RESCAN_INTERVAL);
            }
        }
        findings
    }

    fn take_in(
        &mut self,
        now: Instant,
        changes: Changes,
        tree: &SharedTree,
        findings: &mut Findings,
    ) {
        for folder in changes.gone {
            self.note_gone(folder, findings);
        }
        // First what may be gone: another name may have come in its place.
        let (gone, there): (Vec<_>, Vec<_>) =
            changes.names.into_iter().partition(|(_, touch)| touch.sight == Sight::Looked);
        for (spot, touch) in gone.into_iter().chain(there) {
            self.look_at(spot, touch, tree, findings);
        }
        self.rescan_is_due |= changes.are_missing;
        if changes.has_removals {
            self.next_check_at = Some(now + FOLDER_CHECK_DELAY);
        }
        if changes.may_be_lost {
            self.check_roots(tree, findings);
        }
    }

    /// Looks what stands under a name that something happened to.
    fn look_at(&mut self, spot: Spot, touch: Touch, tree: &SharedTree, findings: &mut Findings) {
        let (folder, name) = spot;
        let path = match FilePath::in_folder(folder.as_ref(), &name) {
            Ok(path) => path,
            Err(error) if touch.is_new => {
                let why = SkipReason::Path(error);
                return findings.skipped.push(Skipped::in_folder(folder.as_ref(), &name, why));
            }
            Err(_) => return,
        };
        let there = tree.look_at(&path);
        if matches!(there, Ok(Some(_)))
            && let Some(folder) = &folder
        {
            self.emptied.remove(folder);
            self.note_used(folder, findings);
        }
        let is_known_folder =
            there == Ok(Some(There::Folder)) && !touch.is_new && self.watch.watches(Some(&path));
        if !is_known_folder {
            // A folder in which nothing is shared may have stood there.
            self.note_all_used(&path, findings);
        }
        match there {
            Ok(Some(There::File(version))) => {
                let sight = touch.sight;
                return findings.inputs.push(Input::FileSeen { path, version, sight });
            }
            Ok(Some(There::Folder)) => {
                if !is_known_folder {
                    let is_moved = touch.sight == Sight::Moved;
                    let sight = if is_moved { Sight::Moved } else { Sight::Looked };
                    self.walk.add(Some(path.clone()), sight);
                    self.is_walking = true;
                }
            }
            Ok(None) => self.emptied.extend(folder),
            Err(why) => {
                self.emptied.extend(folder);
                if touch.is_folder {
                    self.watch.forget(&path);
                }
                if touch.is_new && !matches!(why, SkipReason::Excluded | SkipReason::Hidden) {
                    let name = path.as_str().to_owned();
                    findings.skipped.push(Skipped { name, why });
                }
            }
        }
        findings.inputs.push(Input::FileGone { path });
    }

    /// A folder was moved away, with all below it.
    fn note_gone(&mut self, folder: FilePath, findings: &mut Findings) {
        self.note_all_used(&folder, findings);
        findings.inputs.push(Input::ChangesMissed { below: Some(folder) });
    }

    /// A folder and those below it hold something, or are gone.
    fn note_all_used(&mut self, folder: &FilePath, findings: &mut Findings) {
        let below = self.empty.range(folder..).take_while(|path| path.is_below(folder));
        for path in below.cloned().collect::<Vec<_>>() {
            self.note_used(&path, findings);
        }
    }

    /// A folder holds something, or is gone.
    fn note_used(&mut self, folder: &FilePath, findings: &mut Findings) {
        if self.empty.remove(folder) {
            findings.inputs.push(Input::EmptyFolderGone { path: folder.clone() });
        }
    }

    fn note_empty(&mut self, folder: FilePath, findings: &mut Findings) {
        if self.empty.insert(folder.clone()) {
            findings.inputs.push(Input::EmptyFolder { path: folder });
        }
    }

    /// Looks whether folders in which something was removed hold nothing else, a few of them.
    fn check_emptied(&mut self, tree: &SharedTree, findings: &mut Findings) {
        for _ in 0..TURN_ITEMS / 8 {
            let Some(folder) = self.emptied.pop_first() else { return };
            if tree.is_empty_folder(&folder, TURN_ITEMS) {
                self.note_empty(folder, findings);
            }
        }
    }

    /// Goes on reading folders that appeared.
    fn walk(&mut self, tree: &SharedTree, findings: &mut Findings) {
        for _ in 0..TURN_ITEMS {
            let Some(found) = self.walk.step(tree, Some(&mut self.watch)) else {
                self.is_walking = false;
                return;
            };
            match found {
                Found::File(path, version, sight) => {
                    findings.inputs.push(Input::FileSeen { path, version, sight });
                }
                Found::EmptyFolder(path) => self.note_empty(path, findings),
                Found::Skipped(skipped) => findings.skip(skipped),
                // It is found by a scan, or is told of again.
                Found::Unread(..) => self.rescan_is_due = true,
                Found::Nothing => {}
            }
        }
    }

    /// Goes on looking at all names, or begins if that is due.
    fn rescan(&mut self, now: Instant, tree: &SharedTree, findings: &mut Findings) {
        if self.rescan.is_none() && std::mem::take(&mut self.rescan_is_due) {
            self.watch.begin_scan();
            let (walk, empty) = (Walk::of(tree), BTreeSet::new());
            self.rescan = Some(Rescan { walk, is_whole: true, empty, began_at: now });
            findings.inputs.push(Input::ChangesMissed { below: None });
            for path in tree.file_roots() {
                if let Ok(Some(There::File(version))) = tree.look_at(&path) {
                    let sight = Sight::Looked;
                    findings.inputs.push(Input::FileSeen { path, version, sight });
                }
            }
        }
        for _ in 0..TURN_ITEMS {
            let Some(rescan) = &mut self.rescan else { return };
            match rescan.walk.step(tree, Some(&mut self.watch)) {
                Some(Found::File(path, version, _)) => {
                    let sight = Sight::Looked;
                    findings.inputs.push(Input::FileSeen { path, version, sight });
                }
                Some(Found::EmptyFolder(path)) => {
                    rescan.empty.insert(path.clone());
                    self.note_empty(path, findings);
                }
                Some(Found::Unread(..)) => rescan.is_whole = false,
                Some(Found::Skipped(_) | Found::Nothing) => {}
                None => return self.end_rescan(now, tree, findings),
            }
        }
    }

    fn end_rescan(&mut self, now: Instant, tree: &SharedTree, findings: &mut Findings) {
        let Some(rescan) = self.rescan.take() else { return };
        if rescan.is_whole {
            self.watch.end_scan();
            // Those that became empty meanwhile are looked at again.
            let others: Vec<_> = self.empty.difference(&rescan.empty).cloned().collect();
            for path in others {
                self.note_used(&path, findings);
                self.emptied.insert(path);
            }
        } else {
            self.check_roots(tree, findings);
        }
        let took = now.saturating_duration_since(rescan.began_at);
        let pause = RESCAN_INTERVAL.max(took * RESCAN_PAUSE_SHARE);
        let is_enough = rescan.is_whole && self.watch.hears_all();
        self.next_rescan_at = (!is_enough && !self.is_lost).then(|| now + pause);
    }

    /// Looks whether the roots are still there.
    fn check_roots(&mut self, tree: &SharedTree, findings: &mut Findings) {
        let lost = tree.lose();
        if tree.is_lost() {
            let why = lost.first().map_or(FolderLoss::Gone, |(_, why)| *why);
            return self.lose(why, findings);
        }
        for (name, why) in lost {
            let Some(name) = name else { continue };
            log::warn!("{} is no longer shared: {why}", Shown(name.as_str()));
            self.watch.forget(&name);
            self.note_gone(name, findings);
        }
    }

    fn lose(&mut self, why: FolderLoss, findings: &mut Findings) {
        self.is_lost = true;
        (self.rescan, self.next_rescan_at, self.next_check_at) = (None, None, None);
        for path in std::mem::take(&mut self.empty) {
            findings.inputs.push(Input::EmptyFolderGone { path });
        }
        findings.inputs.push(Input::FolderLost(why));
    }
}

impl Findings {
    fn skip(&mut self, skipped: Skipped) {
        if !matches!(skipped.why, SkipReason::Excluded | SkipReason::Hidden) {
            self.skipped.push(skipped);
        }
    }
}

#[cfg(test)]
mod tests;
