//! Following our folder: what is added to it, changes or goes while we run.
//!
//! ```text
//!              closed by its writer
//!   unknown ────────────────────────────▶ shared
//!      │                                   │  ▲
//!      │ seen, and who knows      written, │  │ closed by its writer, or the same
//!      │ whether it is whole      or other │  │ after 2 s without a change
//!      ▼                                   ▼  │
//!      └────────────────────────────────▶ restless
//! ```
//!
//! A file is shared or restless, never both. What is restless is neither offered nor
//! sent. The kernel need not tell of each change: the last look at a file that was not
//! closed is made when its time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{PeerNode, Wake};
use crate::limits::{
    LOOK_PAUSE, LOOKS_PER_TURN, NEWS_PAUSE, OFFERS_PER_BATCH, REST_TIME, SHARED_FILES_MAX,
};
use crate::node::{Action, FileError, Report, Sight, Version};
use crate::wire::FileName;

/// What changes in our folder.
#[derive(Debug, Default)]
pub(super) struct Following {
    restless: BTreeMap<FileName, Restless>,
    /// Files shared since we are registered, and not offered yet.
    news: BTreeSet<FileName>,
    /// When the last of them were offered.
    news_at: Option<Instant>,
    /// Under way while changes may have been missed.
    look: Option<LookAtAll>,
}

/// A file that may still be written to.
#[derive(Debug)]
struct Restless {
    version: Version,
    /// If it does not change before.
    rests_at: Instant,
}

/// All files that are shared are looked at, in the order of their names.
#[derive(Debug, Default)]
struct LookAtAll {
    /// The last one that was.
    cursor: Option<FileName>,
    /// Whether it begins once more after the end.
    again: bool,
}

impl Following {
    /// Whether a file stands in our folder and waits to rest.
    pub(super) fn is_restless(&self, name: &FileName) -> bool {
        self.restless.contains_key(name)
    }
}

impl PeerNode {
    pub(super) fn on_file_found(&mut self, now: Instant, name: FileName, version: Version) {
        self.share(now, name, version);
    }

    pub(super) fn on_file_seen(
        &mut self,
        now: Instant,
        name: FileName,
        version: Version,
        sight: Sight,
    ) {
        match (sight, self.index.get(&name).map(|local| local.version)) {
            (Sight::Closed, _) => self.share_news(now, name, version),
            // Attributes are no content: until someone asks for the file, all stays as it is.
            (Sight::Looked, Some(known)) if known.is_alike(&version) => {}
            (Sight::Looked | Sight::Written, Some(_)) => {
                self.withdraw(now, &name);
                self.report(Report::FileChanging { name });
                self.rest(now, name, version);
                self.hash_next();
            }
            (Sight::Written, None) => self.rest(now, name, version),
            (Sight::Looked, None) => match self.following.restless.get(&name) {
                Some(restless) if restless.version != version => self.rest(now, name, version),
                Some(restless) if now < restless.rests_at => {}
                Some(_) => self.share_news(now, name, version),
                None => self.rest(now, name, version),
            },
        }
    }

    pub(super) fn on_file_gone(&mut self, now: Instant, name: FileName) {
        self.end_rest(&name);
        self.lose_file(now, name, FileError::Missing);
        self.hash_next();
    }

    /// Waits until a file that is not shared rests.
    pub(super) fn rest(&mut self, now: Instant, name: FileName, version: Version) {
        if !self.has_room_for(&name) {
            return self.report(Report::FileRefused { name });
        }
        let rests_at = now + REST_TIME;
        self.following.restless.insert(name, Restless { version, rests_at });
        self.deadlines.arm(Wake::Rest(name), rests_at);
    }

    /// A file does not wait to rest any more.
    pub(super) fn end_rest(&mut self, name: &FileName) {
        if self.following.restless.remove(name).is_some() {
            self.deadlines.disarm(Wake::Rest(*name));
        }
    }

    pub(super) fn on_rest_due(&mut self, now: Instant, name: FileName) {
        let Some(restless) = self.following.restless.get(&name) else { return };
        if now < restless.rests_at {
            self.deadlines.arm(Wake::Rest(name), restless.rests_at);
        } else {
            self.actions.push_back(Action::Look(name));
        }
    }

    /// Shares a file, or its new version; whether that is one.
    fn share(&mut self, now: Instant, name: FileName, version: Version) -> bool {
        self.end_rest(&name);
        if self.index.get(&name).is_some_and(|local| local.version == version) {
            return false;
        }
        self.withdraw(now, &name);
        if !self.has_room_for(&name) {
            self.report(Report::FileRefused { name });
            return false;
        }
        self.index.insert(name, version, None);
        self.arm_offers();
        self.hash_next();
        true
    }

    /// Shares a file, and offers it without waiting for its turn.
    fn share_news(&mut self, now: Instant, name: FileName, version: Version) {
        if !self.share(now, name, version) {
            return;
        }
        self.report(Report::FileShared { name });
        // Before that nobody could find us.
        if self.registration().is_some() {
            self.following.news.insert(name);
            let at = self.following.news_at.map_or(now, |at| now.max(at + NEWS_PAUSE));
            self.deadlines.arm(Wake::News, at);
        }
    }

    /// Offers files that are new, as many as fit in a batch.
    pub(super) fn offer_news(&mut self, now: Instant) {
        for _ in 0..OFFERS_PER_BATCH {
            let Some(name) = self.following.news.pop_first() else { break };
            if self.index.get(&name).is_some() {
                self.offer(name);
            }
        }
        self.following.news_at = Some(now);
        if !self.following.news.is_empty() {
            self.deadlines.arm(Wake::News, now + NEWS_PAUSE);
        }
    }

    /// Looks at all files that are shared. The restless ones are looked at anyway.
    pub(super) fn on_changes_missed(&mut self, now: Instant) {
        match &mut self.following.look {
            Some(look) => look.again = true,
            None => {
                self.following.look = Some(LookAtAll::default());
                self.deadlines.arm(Wake::LookAtAll, now);
            }
        }
    }

    /// Looks at the next files.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        let Some(look) = &mut self.following.look else { return };
        let names: Vec<_> = self.index.names_after(look.cursor).take(LOOKS_PER_TURN).collect();
        look.cursor = names.last().copied();
        if look.cursor.is_none() {
            let again = look.again;
            self.following.look = again.then(LookAtAll::default);
        }
        self.actions.extend(names.into_iter().map(Action::Look));
        if self.following.look.is_some() {
            self.deadlines.arm(Wake::LookAtAll, now + LOOK_PAUSE);
        }
    }

    pub(super) fn on_folder_lost(&mut self, now: Instant) {
        self.report(Report::FolderLost);
        for name in self.index.names_after(None).collect::<Vec<_>>() {
            self.withdraw(now, &name);
        }
        for name in std::mem::take(&mut self.following).restless.into_keys() {
            self.deadlines.disarm(Wake::Rest(name));
        }
        self.deadlines.disarm(Wake::News);
        self.deadlines.disarm(Wake::LookAtAll);
    }

    /// Whether this file, which is not shared, may be.
    fn has_room_for(&self, name: &FileName) -> bool {
        self.following.is_restless(name)
            || self.index.len() + self.following.restless.len() < SHARED_FILES_MAX
    }
}
