//! What is added to our folder, changes in it or goes, while we run.
//!
//! ```text
//!               closed by its writer
//!   unknown ──────────────────────────────▶ shared
//!      │                                     │  ▲
//!      │ seen, perhaps not whole     written │  │ closed by its writer, or unchanged
//!      │                    or found changed │  │ for 2 s, if a writer has it open for 30 s
//!      │                                     ▼  │
//!      └─────────────────────────────────▶ settling
//! ```
//!
//! A file is shared or settling, never both. A settling file is neither offered nor
//! sent. The kernel need not report each change: a file that was not closed is observed
//! once more when its time has come.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{Share, Wake};
use crate::content::{FileError, FolderLoss, Known, Sight, Version};
use crate::limits::{LOOK_PAUSE, SETTLE_TIME, TURN_ITEMS, WRITTEN_SETTLE_TIME};
use crate::node::peer::{Context, Wake as PeerWake};
use crate::node::{Action, PathId, Report};
use crate::wire::FilePath;

const LOOK_AT_ALL: PeerWake = PeerWake::Share(Wake::LookAtAll);

/// What may still change in our folder.
#[derive(Debug, Default)]
pub(super) struct Settling {
    files: BTreeMap<PathId, SettlingFile>,
    /// Those that a writer has open, by device and inode: one may have several names.
    written: BTreeSet<(u64, u64, PathId)>,
    /// Under way while changes may have been missed: of all files, or of those in a folder. At
    /// most [`TURN_ITEMS`].
    looks: BTreeMap<Option<FilePath>, LookAtAll>,
}

/// A file that may still be written to. Its path is held.
#[derive(Debug)]
struct SettlingFile {
    version: Version,
    settled_at: Instant,
}

/// All files that are shared are observed, or all in a folder, in the order of their paths.
#[derive(Debug, Default)]
struct LookAtAll {
    cursor: Option<FilePath>,
    /// Whether it begins once more after the end.
    again: bool,
}

impl Settling {
    /// Returns whether a file stands in our folder and has yet to settle.
    pub(super) fn contains(&self, path: PathId) -> bool {
        self.files.contains_key(&path)
    }

    /// Enters a file, or its new version; `is_written` if a writer has it open, which holds on
    /// until that closes it. Returns when it will have settled.
    fn insert(
        &mut self,
        now: Instant,
        path: PathId,
        version: Version,
        is_written: bool,
    ) -> Instant {
        let is_written = is_written || self.names_of_written(&version).next().is_some();
        let settled_at = now + if is_written { WRITTEN_SETTLE_TIME } else { SETTLE_TIME };
        self.remove(path);
        if is_written {
            self.written.insert((version.device, version.inode, path));
        }
        self.files.insert(path, SettlingFile { version, settled_at });
        settled_at
    }

    /// Returns whether the file was there.
    fn remove(&mut self, path: PathId) -> bool {
        let Some(file) = self.files.remove(&path) else { return false };
        self.written.remove(&(file.version.device, file.version.inode, path));
        true
    }

    /// Returns the names of a file that a writer has open, as far as they have yet to settle.
    fn names_of_written(&self, version: &Version) -> impl Iterator<Item = PathId> + use<'_> {
        let (device, inode) = (version.device, version.inode);
        let names = (device, inode, PathId::MIN)..=(device, inode, PathId::MAX);
        self.written.range(names).map(|(.., path)| *path)
    }
}

impl Share {
    pub(crate) fn on_file_seen(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        sight: Sight,
    ) {
        if ctx.guest().is_some() {
            // It shares nothing.
            return;
        }
        // A file that is made without a content gets one: its writer has only just opened it.
        let is_written = match sight {
            Sight::Written => true,
            Sight::Created => version.size_bytes == 0,
            Sight::Looked | Sight::Closed | Sight::Moved => false,
        };
        match (sight, self.index.get(path).map(|local| local.version)) {
            (Sight::Closed, Some(known)) if known == version => self.index.note_close(path),
            (Sight::Closed, _) => {
                self.share_news(ctx, path, version);
                self.end_writing(ctx, &version);
            }
            (Sight::Moved, _) => self.share_news(ctx, path, version),
            (Sight::Looked | Sight::Created, Some(known)) if known.is_alike(&version) => {
                self.note_attributes(ctx, path, version);
            }
            (Sight::Looked | Sight::Created | Sight::Written, Some(_)) => {
                self.withdraw(ctx, path);
                ctx.report(Report::FileChanging { path });
                self.settle(ctx, path, version, is_written);
                self.hash_next(ctx);
            }
            (Sight::Written, None) => self.settle(ctx, path, version, true),
            (Sight::Looked | Sight::Created, None) => match self.settling.files.get(&path) {
                Some(settling) if settling.version != version => {
                    self.settle(ctx, path, version, is_written);
                }
                Some(settling) if ctx.now < settling.settled_at => {}
                Some(_) => self.share_news(ctx, path, version),
                None => self.settle(ctx, path, version, is_written),
            },
        }
    }

    /// Nothing but attributes of a file changed, which are no content: until somebody requests it,
    /// all stays as it is. It is listed anew if it became executable, or is no more.
    fn note_attributes(&mut self, ctx: &mut Context, path: PathId, version: Version) {
        let Some(local) = self.index.get_mut(path) else { return };
        let before = std::mem::replace(&mut local.version.is_executable, version.is_executable);
        if before != version.is_executable {
            self.list(ctx, path);
        }
    }

    pub(crate) fn on_file_gone(&mut self, ctx: &mut Context, path: PathId) {
        self.end_settling(ctx, path);
        self.lose_file(ctx, path, FileError::Missing);
        self.hash_next(ctx);
    }

    /// Waits until a file that is not shared has settled, for longer if a writer has it open.
    pub(super) fn settle(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        is_written: bool,
    ) {
        if !self.has_room_for(path) {
            return ctx.report(Report::FileRefused { path });
        }
        let was_settling = self.settling.contains(path);
        let settled_at = self.settling.insert(ctx.now, path, version, is_written);
        if !was_settling {
            ctx.paths.hold(path);
        }
        ctx.deadlines.arm(settled(path), settled_at);
    }

    /// A file no longer waits until it has settled.
    pub(super) fn end_settling(&mut self, ctx: &mut Context, path: PathId) {
        if self.settling.remove(path) {
            ctx.deadlines.disarm(settled(path));
            ctx.paths.release(path);
        }
    }

    /// A writer closed a file, by one of its names: the others show it as it is now.
    fn end_writing(&mut self, ctx: &mut Context, version: &Version) {
        let names: Vec<_> = self.settling.names_of_written(version).collect();
        for path in &names {
            let (device, inode) = (version.device, version.inode);
            self.settling.written.remove(&(device, inode, *path));
        }
        names.into_iter().for_each(|path| self.settle(ctx, path, *version, false));
    }

    pub(super) fn on_settle_due(&mut self, ctx: &mut Context, path: PathId) {
        let Some(settling) = self.settling.files.get(&path) else { return };
        if ctx.now < settling.settled_at {
            ctx.deadlines.arm(settled(path), settling.settled_at);
        } else {
            ctx.act(Action::Look(path));
        }
    }

    /// Shares a file, or its new version. Returns whether it is new.
    pub(crate) fn share(
        &mut self,
        ctx: &mut Context,
        path: PathId,
        version: Version,
        mut known: Known,
    ) -> bool {
        self.end_settling(ctx, path);
        if self.index.get(path).is_some_and(|local| local.version == version) {
            return false;
        }
        self.withdraw(ctx, path);
        if !self.has_room_for(path) {
            ctx.report(Report::FileRefused { path });
            return false;
        }
        // A file keeps its id under another name, but it is made again beside that.
        let moved = self.moved.id(&version).filter(|_| known.blake3.is_none());
        known.blake3 = known.blake3.or(moved);
        self.index.insert(&mut ctx.paths, path, version, known);
        if moved.is_some() {
            self.index.doubt_id(path);
        }
        self.list(ctx, path);
        // A guest needs to know only that it is there.
        if ctx.guest().is_none() {
            self.arm_offers(ctx);
            self.hash_next(ctx);
        }
        true
    }

    /// Shares a file, and offers it without waiting for its turn.
    fn share_news(&mut self, ctx: &mut Context, path: PathId, version: Version) {
        if self.share(ctx, path, version, Known::default()) {
            ctx.report(Report::FileShared { path });
            self.announce(ctx, path);
        }
    }

    /// Observes all files that are shared, or those `below` a folder. The settling ones are
    /// observed anyway.
    pub(crate) fn on_changes_missed(&mut self, ctx: &mut Context, below: Option<FilePath>) {
        let looks = &mut self.settling.looks;
        let has_room = looks.len() < TURN_ITEMS || looks.contains_key(&below);
        match looks.entry(below.filter(|_| has_room)) {
            Entry::Occupied(mut look) => look.get_mut().again = true,
            Entry::Vacant(look) => {
                look.insert(LookAtAll::default());
                ctx.deadlines.arm(LOOK_AT_ALL, ctx.now);
            }
        }
    }

    pub(super) fn look_at_all(&mut self, ctx: &mut Context) {
        // A folder before all files.
        let Some(mut entry) = self.settling.looks.last_entry() else { return };
        let (below, look) = (entry.key().clone(), entry.get_mut());
        let is_below = |path: &FilePath| below.as_ref().is_none_or(|folder| path.is_below(folder));
        let (mut last, mut looked) = (None, Vec::new());
        let cursor = look.cursor.take().or_else(|| below.clone());
        let paths = self.index.after(&ctx.paths, cursor.as_ref());
        for (path, id) in paths.take_while(|(path, _)| is_below(path)).take(TURN_ITEMS) {
            looked.push(id);
            last = Some(path.clone());
        }
        looked.into_iter().for_each(|id| ctx.act(Action::Look(id)));
        look.cursor = last;
        if look.cursor.is_none() && !std::mem::take(&mut look.again) {
            entry.remove();
        }
        if !self.settling.looks.is_empty() {
            ctx.deadlines.arm(LOOK_AT_ALL, ctx.now + LOOK_PAUSE);
        }
    }

    /// The folder itself is gone: nothing of it is shared any more.
    pub(crate) fn on_folder_lost(&mut self, ctx: &mut Context, why: FolderLoss) {
        ctx.report(Report::FolderLost { why });
        for path in self.index.after(&ctx.paths, None).map(|(_, id)| id).collect::<Vec<_>>() {
            self.withdraw(ctx, path);
        }
        for path in self.settling.files.keys().copied().collect::<Vec<_>>() {
            self.end_settling(ctx, path);
        }
        self.settling.looks.clear();
        self.unannounced.clear();
        self.announced_at = None;
        ctx.deadlines.disarm(PeerWake::Share(Wake::News));
        ctx.deadlines.disarm(LOOK_AT_ALL);
    }

    /// Returns whether this file, which is not shared, may be.
    fn has_room_for(&self, path: PathId) -> bool {
        self.settling.contains(path)
            || self.index.len() + self.settling.files.len() < self.files_max
    }
}

fn settled(path: PathId) -> PeerWake {
    PeerWake::Share(Wake::Settled(path))
}

#[cfg(test)]
mod tests;
