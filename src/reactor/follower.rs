//! Follows the shared folder: turns the changes that the kernel reports into inputs of the node.
//!
//! For each name that something happened to, it is looked what stands there now. Where
//! the kernel could not tell all, every name is looked at, some in each turn; where it
//! never does, that is repeated. Nothing is done, and nothing is due, while nothing
//! changes and the kernel would tell; but whether the folder itself is still there, and its path
//! still leads to it, is looked at from time to time, while the program is awake anyway.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::content::{FolderLoss, Sight};
use crate::limits::{FOLDER_CHECK_DELAY, RESCAN_INTERVAL, RESCAN_PAUSE_SHARE, TURN_ITEMS};
use crate::node::Input;
use crate::storage::{Changes, Names, SharedFolder, Skipped, Watch};
use crate::wire::v0::FileName;

/// Follows one folder.
pub(super) struct Follower {
    watch: Watch,
    is_ready: bool,
    rescan: Option<Rescan>,
    /// Whether a rescan is to begin as soon as none is under way.
    rescan_is_due: bool,
    next_rescan_at: Option<Instant>,
    /// When to look whether the folder itself is still there: after something was removed.
    next_check_at: Option<Instant>,
    /// The same in any case, but only if the program is awake then.
    next_check_if_awake: Instant,
    is_lost: bool,
}

/// All names are looked at.
struct Rescan {
    names: Names,
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
    pub(super) fn new(now: Instant, watch: Watch) -> Self {
        Self {
            next_rescan_at: (!watch.hears_all()).then(|| now + RESCAN_INTERVAL),
            watch,
            // What happened before it was registered.
            is_ready: true,
            rescan: None,
            rescan_is_due: false,
            next_check_at: None,
            next_check_if_awake: now + RESCAN_INTERVAL,
            is_lost: false,
        }
    }

    /// Has the poll wake us for changes, if the kernel tells any.
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
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

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether there is more to do at once.
    pub(super) fn has_work(&self) -> bool {
        !self.is_lost && (self.is_ready || self.rescan.is_some() || self.rescan_is_due)
    }

    /// When there is something to do though no event came.
    pub(super) fn next_look_at(&self) -> Option<Instant> {
        [self.next_rescan_at, self.next_check_at].into_iter().flatten().min()
    }

    /// Does a bounded piece of what there is to do.
    pub(super) fn step(&mut self, now: Instant, folder: &SharedFolder) -> Findings {
        let mut findings = Findings::default();
        if self.is_lost {
            return findings;
        }
        let is_due = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        self.rescan_is_due |= is_due(&mut self.next_rescan_at);
        if is_due(&mut self.next_check_at) || now >= self.next_check_if_awake {
            self.next_check_if_awake = now + RESCAN_INTERVAL;
            if let Some(why) = folder.loss() {
                self.lose(why, &mut findings);
                return findings;
            }
        }
        if self.is_ready {
            let changes = self.watch.read(TURN_ITEMS);
            self.is_ready = changes.events >= TURN_ITEMS;
            self.take_in(now, changes, folder, &mut findings);
        }
        self.rescan(now, folder, &mut findings);
        findings
    }

    fn take_in(
        &mut self,
        now: Instant,
        changes: Changes,
        folder: &SharedFolder,
        findings: &mut Findings,
    ) {
        // First what may be gone: another name may have come in its place.
        let (gone, there): (Vec<_>, Vec<_>) =
            changes.names.into_iter().partition(|(_, touch)| touch.sight == Sight::Looked);
        for (name, touch) in gone.into_iter().chain(there) {
            findings.look_at(folder, &name, touch.sight, touch.is_new);
        }
        self.rescan_is_due |= changes.are_missing;
        if changes.has_removals {
            self.next_check_at = Some(now + FOLDER_CHECK_DELAY);
        }
        if changes.is_lost {
            self.lose(FolderLoss::Gone, findings);
        } else if changes.has_removals_around
            && let Some(why) = folder.loss()
        {
            self.lose(why, findings);
        }
    }

    /// Goes on looking at all names, or begins if that is due.
    fn rescan(&mut self, now: Instant, folder: &SharedFolder, findings: &mut Findings) {
        if self.is_lost {
            return;
        }
        if self.rescan.is_none() && std::mem::take(&mut self.rescan_is_due) {
            let Ok(names) = folder.names() else { return self.put_off(now, folder, findings) };
            self.rescan = Some(Rescan { names, began_at: now });
            findings.inputs.push(Input::ChangesMissed);
        }
        let Some(rescan) = &mut self.rescan else { return };
        for _ in 0..TURN_ITEMS {
            match rescan.names.next() {
                Some(Ok(name)) => findings.look_at(folder, &name, Sight::Looked, false),
                Some(Err(_)) => {
                    self.rescan = None;
                    return self.put_off(now, folder, findings);
                }
                None => {
                    let took = now.saturating_duration_since(rescan.began_at);
                    let pause = RESCAN_INTERVAL.max(took * RESCAN_PAUSE_SHARE);
                    self.rescan = None;
                    self.next_rescan_at = (!self.watch.hears_all()).then(|| now + pause);
                    return;
                }
            }
        }
    }

    /// The names cannot be read: not now, or never again.
    fn put_off(&mut self, now: Instant, folder: &SharedFolder, findings: &mut Findings) {
        match folder.loss() {
            Some(why) => self.lose(why, findings),
            None => self.next_rescan_at = Some(now + RESCAN_INTERVAL),
        }
    }

    fn lose(&mut self, why: FolderLoss, findings: &mut Findings) {
        self.is_lost = true;
        (self.rescan, self.next_rescan_at, self.next_check_at) = (None, None, None);
        findings.inputs.push(Input::FolderLost(why));
    }
}

impl Findings {
    fn look_at(&mut self, folder: &SharedFolder, name: &[u8], sight: Sight, is_new: bool) {
        match folder.look_at(name) {
            Ok(Some((name, version))) => {
                return self.inputs.push(Input::FileSeen { path: name.into(), version, sight });
            }
            Err(why) if is_new => self.skipped.push(Skipped::new(name, why)),
            Ok(None) | Err(_) => {}
        }
        if let Ok(name) = FileName::from_bytes(name) {
            self.inputs.push(Input::FileGone { path: name.into() });
        }
    }
}
