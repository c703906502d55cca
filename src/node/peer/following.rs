//! Following our folder: what is added to it, changes or goes while we run.
//!
//! ```text
//!               closed by its writer
//!   unknown ──────────────────────────────▶ shared
//!      │                                     │  ▲
//!      │ seen, perhaps not whole     written │  │ closed by its writer, or the same
//!      │                    or found changed │  │ 2 s after its last change
//!      │                                     ▼  │
//!      └─────────────────────────────────▶ restless
//! ```
//!
//! A file is shared or restless, never both. What is restless is neither offered nor
//! sent. The kernel need not tell of each change: the last look at a file that was not
//! closed is made when its time has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::{PeerNode, Wake};
use crate::content::Digest;
use crate::content::{FileError, Sight, Version};
use crate::limits::{
    LOOK_PAUSE, LOOKS_PER_TURN, NEWS_PAUSE, OFFERS_PER_BATCH, REST_TIME, SHARED_FILES_MAX,
};
use crate::node::{Action, Report};
use crate::wire::v0::FileName;

/// What changes in our folder.
#[derive(Debug)]
pub(super) struct Following {
    /// How many files may be shared or restless.
    files_max: usize,
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
    /// Nothing has changed yet.
    pub(super) fn new() -> Self {
        Self {
            files_max: SHARED_FILES_MAX,
            restless: BTreeMap::new(),
            news: BTreeSet::new(),
            news_at: None,
            look: None,
        }
    }

    /// Whether a file stands in our folder and waits to rest.
    pub(super) fn is_restless(&self, name: &FileName) -> bool {
        self.restless.contains_key(name)
    }
}

impl PeerNode {
    pub(super) fn on_file_found(
        &mut self,
        now: Instant,
        name: FileName,
        version: Version,
        digest: Option<Digest>,
    ) {
        self.share(now, name, version, digest);
    }

    pub(super) fn on_file_seen(
        &mut self,
        now: Instant,
        name: FileName,
        version: Version,
        sight: Sight,
    ) {
        if self.guest().is_some() {
            // It shares nothing.
            return;
        }
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
    fn share(
        &mut self,
        now: Instant,
        name: FileName,
        version: Version,
        digest: Option<Digest>,
    ) -> bool {
        self.end_rest(&name);
        if self.index.get(&name).is_some_and(|local| local.version == version) {
            return false;
        }
        self.withdraw(now, &name);
        if !self.has_room_for(&name) {
            self.report(Report::FileRefused { name });
            return false;
        }
        self.index.insert(name, version, digest);
        // A guest needs to know only that it is there.
        if self.guest().is_none() {
            self.arm_offers();
            self.hash_next();
        }
        true
    }

    /// Shares a file, and offers it without waiting for its turn.
    fn share_news(&mut self, now: Instant, name: FileName, version: Version) {
        if !self.share(now, name, version, None) {
            return;
        }
        self.report(Report::FileShared { name });
        self.announce(now, name);
    }

    /// Offers a file without waiting for its turn, together with others that are new.
    pub(super) fn announce(&mut self, now: Instant, name: FileName) {
        // Before that nobody could find us.
        if self.registration().is_some() {
            self.following.news.insert(name);
            match self.following.news_at.map(|at| at + NEWS_PAUSE) {
                Some(at) if at > now => self.deadlines.arm(Wake::News, at),
                _ => self.offer_news(now),
            }
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
        for name in std::mem::replace(&mut self.following, Following::new()).restless.into_keys() {
            self.deadlines.disarm(Wake::Rest(name));
        }
        self.deadlines.disarm(Wake::News);
        self.deadlines.disarm(Wake::LookAtAll);
    }

    /// Whether this file, which is not shared, may be.
    fn has_room_for(&self, name: &FileName) -> bool {
        self.following.is_restless(name)
            || self.index.len() + self.following.restless.len() < self.following.files_max
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    use super::*;
    use crate::content::Digest;
    use crate::limits::{HASH_AHEAD_BYTES, Limits, SETTLED_AGE};
    use crate::node::peer::Connection;
    use crate::node::{ConnectionId, Input, Node, PeerKind, PeerSettings};
    use crate::proto::{CloseReason, Transmit};
    use crate::wire::PeerId;
    use crate::wire::v0::{Offer, PeerMessage, RegistryResponse};

    const MOMENT: Duration = Duration::from_millis(1);

    /// A registered peer, the time, and what stands in its folder.
    struct Scene {
        node: PeerNode,
        now: Instant,
        folder: BTreeMap<FileName, Version>,
        /// Looks that were asked for.
        looks: usize,
        /// Every name that was offered, in order.
        offered: Vec<FileName>,
        actions: Vec<Action>,
    }

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn version(number: u64) -> Version {
        Version {
            device: 1,
            inode: 1,
            size_bytes: number,
            modified_ns: number.into(),
            changed_ns: number.into(),
        }
    }

    impl Scene {
        fn new() -> Self {
            let now = Instant::now();
            let settings = PeerSettings {
                kind: PeerKind::Fixed,
                id: PeerId(1),
                port: 1,
                registry: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000),
                offer_interval: Duration::from_secs(3600),
                simulate_checksum_failure: false,
                exit_when_done: false,
                limits: Limits::PEER,
                seed: 1,
            };
            let mut scene = Self {
                node: PeerNode::new(now, settings),
                now,
                folder: BTreeMap::new(),
                looks: 0,
                offered: Vec::new(),
                actions: Vec::new(),
            };
            scene.drain();
            let dialed = scene.actions.iter().find_map(|action| match action {
                Action::Dial { connection, .. } => Some(*connection),
                _ => None,
            });
            let connection = dialed.unwrap();
            scene.feed(Input::Connected(connection));
            while let Some(transmit) = scene.node.transmit(connection) {
                let Transmit::Bytes { bytes, .. } = transmit else { panic!() };
                let len_bytes = bytes.len();
                scene.node.transmitted(now, connection, len_bytes);
            }
            let mut bytes = Vec::new();
            RegistryResponse::Registered(true).encode(&mut bytes);
            scene.feed(Input::Received { connection, bytes: &bytes });
            scene.time_out();
            scene
        }

        fn feed(&mut self, input: Input<'_>) {
            self.node.handle(self.now, input);
            self.drain();
        }

        fn time_out(&mut self) {
            for _ in 0..3 {
                self.node.handle_timeout(self.now);
                self.drain();
            }
        }

        /// Lets time pass, waking the node whenever it wants to be.
        fn wait(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.time_out();
            }
            self.now = end;
        }

        fn drain(&mut self) {
            while let Some(action) = self.node.poll_action() {
                match action {
                    Action::Look(name) => {
                        self.looks += 1;
                        let input = self.shows(name, Sight::Looked);
                        self.node.handle(self.now, input);
                    }
                    Action::Broadcast(bytes) => {
                        self.offered.push(Offer::decode(&bytes).unwrap().name);
                    }
                    action => self.actions.push(action),
                }
            }
        }

        fn shows(&self, name: FileName, sight: Sight) -> Input<'static> {
            match self.folder.get(&name) {
                Some(&version) => Input::FileSeen { name, version, sight },
                None => Input::FileGone { name },
            }
        }

        /// The file is this version now, or gone, and the kernel tells.
        fn change(&mut self, text: &str, version: Option<Version>, sight: Sight) {
            let name = name(text);
            match version {
                Some(version) => self.folder.insert(name, version),
                None => self.folder.remove(&name),
            };
            let input = self.shows(name, sight);
            self.feed(input);
            self.time_out();
        }

        fn takes_offers(&mut self) -> Vec<String> {
            self.offered.drain(..).map(|name| name.as_str().to_owned()).collect()
        }

        /// Someone asks for a file, which is opened; the connection.
        fn upload(&mut self, text: &str) -> ConnectionId {
            let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7);
            let connection = self.node.accept(self.now, from).unwrap();
            let mut bytes = Vec::new();
            PeerMessage::Request(name(text)).encode(&mut bytes);
            self.feed(Input::Received { connection, bytes: &bytes });
            let opened = self.actions.iter().rev().find_map(|action| match action {
                Action::OpenSource { file, .. } => Some(*file),
                _ => None,
            });
            let (file, version) = (opened.unwrap(), self.folder[&name(text)]);
            self.feed(Input::Opened { file, version });
            connection
        }

        fn close_reason(&self, of: ConnectionId) -> Option<CloseReason> {
            self.actions.iter().find_map(|action| match action {
                Action::Close { connection, reason, .. } if *connection == of => Some(*reason),
                _ => None,
            })
        }
    }

    #[test]
    fn a_file_is_offered_as_soon_as_its_writer_closes_it() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(0)), Sight::Looked);
        for size in 1..100 {
            scene.wait(REST_TIME - MOMENT);
            scene.change("f", Some(version(size)), Sight::Written);
        }
        assert_eq!(scene.takes_offers(), [""; 0]);
        scene.wait(MOMENT);
        scene.change("f", Some(version(99)), Sight::Closed);
        assert_eq!(scene.takes_offers()[0], "f");
        assert!(scene.looks <= 100, "{} looks", scene.looks);
    }

    #[test]
    fn a_file_that_nobody_closes_is_offered_once_it_rests() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(1)), Sight::Looked);
        scene.wait(REST_TIME / 2);
        scene.change("f", Some(version(2)), Sight::Written);
        scene.wait(REST_TIME - MOMENT);
        assert_eq!(scene.takes_offers(), [""; 0]);
        scene.wait(MOMENT);
        assert_eq!(scene.takes_offers()[0], "f");
        // Idle from then on, but for the offers of each interval.
        scene.actions.clear();
        scene.looks = 0;
        scene.feed(Input::Hashed { name: name("f"), version: version(2), digest: Digest([1; 32]) });
        scene.wait(REST_TIME * 100);
        assert_eq!((scene.looks, scene.takes_offers().len()), (0, 0));
    }

    #[test]
    fn a_change_that_no_event_told_of_is_found_by_the_last_look() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(1)), Sight::Looked);
        scene.wait(REST_TIME - MOMENT);
        scene.folder.insert(name("f"), version(2));
        scene.wait(REST_TIME);
        assert_eq!(scene.takes_offers(), [""; 0]);
        scene.wait(MOMENT);
        assert_eq!(scene.takes_offers()[0], "f");
    }

    #[test]
    fn a_shared_file_that_is_written_to_is_neither_offered_nor_sent() {
        for told in [true, false] {
            let mut scene = Scene::new();
            scene.change("f", Some(version(1)), Sight::Closed);
            let upload = scene.upload("f");
            assert_eq!(scene.close_reason(upload), None);
            scene.folder.insert(name("f"), version(2));
            if told {
                scene.change("f", Some(version(2)), Sight::Written);
            } else {
                // The one who asks first brings it to light.
                let other = scene.upload("f");
                assert_eq!(scene.close_reason(other), Some(CloseReason::SourceChanged));
            }
            assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
            scene.takes_offers();
            scene.wait(REST_TIME - MOMENT);
            assert_eq!(scene.takes_offers(), [""; 0]);
            scene.wait(MOMENT);
            assert_eq!(scene.takes_offers()[0], "f");
            let upload = scene.upload("f");
            assert_eq!(scene.close_reason(upload), None, "told: {told}");
        }
    }

    #[test]
    fn writing_counts_even_if_the_look_came_too_late_to_show_it() {
        let mut scene = Scene::new();
        // Of the one before; the next has begun and its event is still to come.
        scene.change("f", Some(version(2)), Sight::Closed);
        scene.takes_offers();
        scene.change("f", Some(version(2)), Sight::Written);
        scene.wait(REST_TIME - MOMENT);
        assert_eq!(scene.takes_offers(), [""; 0]);
        let known = scene.node.index.get(&name("f")).is_some();
        assert!(!known && scene.node.following.is_restless(&name("f")));
    }

    #[test]
    fn the_hash_of_an_old_version_is_not_heeded() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(1000)), Sight::Closed);
        // While it is being hashed, it is replaced, and another comes first.
        scene.change("a", Some(version(HASH_AHEAD_BYTES)), Sight::Closed);
        scene.change("f", Some(version(2000)), Sight::Written);
        scene.change("f", Some(version(2000)), Sight::Closed);
        let hashes = scene.actions.iter().filter(|action| matches!(action, Action::Hash(_)));
        assert_eq!(hashes.count(), 2, "one large file at a time");
        let (name, a) = (name("f"), name("a"));
        scene.feed(Input::HashProgress { name, version: version(1000), hashed_bytes: 500 });
        scene.feed(Input::HashFailed { name, error: FileError::Missing });
        let local = scene.node.index.get(&name).unwrap();
        assert_eq!((local.version, local.hashed_bytes), (version(2000), 0));
        // It is hashed once that one is done.
        scene.actions.clear();
        let version = version(HASH_AHEAD_BYTES);
        scene.feed(Input::Hashed { name: a, version, digest: Digest([1; 32]) });
        assert_eq!(scene.actions, [Action::Hash(name)]);
    }

    #[test]
    fn the_hash_of_a_file_that_went_takes_no_digest_from_what_came_in_its_place() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(1000)), Sight::Closed);
        scene.change("f", None, Sight::Looked);
        let (name, digest) = (name("f"), Some(Digest([2; 32])));
        scene.folder.insert(name, version(2000));
        scene.feed(Input::FileFound { name, version: version(2000), digest });
        let upload = scene.upload("f");
        // Its job runs on, and may even come to its end.
        scene.feed(Input::HashProgress { name, version: version(1000), hashed_bytes: 500 });
        let (old, other) = (version(1000), Digest([1; 32]));
        scene.feed(Input::Hashed { name, version: old, digest: other });
        let local = scene.node.index.get(&name).unwrap();
        assert_eq!((local.version, local.digest), (version(2000), digest));
        let sends = matches!(scene.node.transmit(upload), Some(Transmit::Bytes { .. }));
        assert!(sends && scene.close_reason(upload).is_none(), "the upload goes on");
        let Some(Connection::Upload { upload: machine, .. }) = scene.node.connections.get(upload)
        else {
            panic!("it is gone");
        };
        assert!(machine.poll_timeout().is_some(), "it waits for no hash");
    }

    #[test]
    fn events_about_what_is_known_change_nothing() {
        let mut scene = Scene::new();
        scene.change("f", Some(version(1)), Sight::Closed);
        scene.feed(Input::Hashed { name: name("f"), version: version(1), digest: Digest([1; 32]) });
        let upload = scene.upload("f");
        scene.takes_offers();
        scene.actions.clear();
        scene.change("f", Some(version(1)), Sight::Closed);
        scene.change("f", Some(version(1)), Sight::Looked);
        // Another link to it, or other permissions.
        scene.change("f", Some(Version { changed_ns: 9, ..version(1) }), Sight::Looked);
        scene.change("g", None, Sight::Looked);
        scene.wait(REST_TIME * 2);
        assert_eq!((scene.takes_offers().len(), scene.actions.len()), (0, 0));
        assert_eq!(scene.close_reason(upload), None);
    }

    #[test]
    fn a_file_that_goes_is_forgotten_wherever_it_was() {
        let mut scene = Scene::new();
        scene.change("shared", Some(version(1)), Sight::Closed);
        scene.change("restless", Some(version(1)), Sight::Written);
        let upload = scene.upload("shared");
        scene.change("shared", None, Sight::Looked);
        scene.change("restless", None, Sight::Looked);
        assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
        scene.takes_offers();
        scene.wait(Duration::from_secs(4000));
        assert_eq!((scene.takes_offers().len(), scene.looks), (0, 0));
        assert_eq!(scene.node.index.len() + scene.node.following.restless.len(), 0);
    }

    #[test]
    fn after_missed_changes_each_file_is_looked_at() {
        let mut scene = Scene::new();
        let names: Vec<_> = (0..3 * LOOKS_PER_TURN).map(|n| format!("f{n:05}")).collect();
        for name in &names {
            scene.change(name, Some(version(1)), Sight::Closed);
        }
        scene.wait(Duration::from_secs(10));
        scene.takes_offers();
        scene.folder.remove(&name(&names[0]));
        scene.folder.insert(name(&names[700]), version(2));
        scene.feed(Input::ChangesMissed);
        scene.time_out();
        assert!(scene.looks <= LOOKS_PER_TURN, "all in one step");
        scene.folder.remove(&name(&names[1]));
        scene.feed(Input::ChangesMissed);
        scene.wait(REST_TIME - MOMENT);
        assert_eq!(scene.looks, 2 * names.len() - 2, "each twice, but for two");
        assert_eq!(scene.node.index.len(), names.len() - 3);
        assert_eq!(scene.takes_offers(), [""; 0]);
        scene.wait(SETTLED_AGE);
        assert_eq!(scene.takes_offers(), [&*names[700]]);
    }

    #[test]
    fn many_new_files_are_offered_in_batches() {
        const FILES: usize = 1000;
        let mut scene = Scene::new();
        scene.change("first", Some(version(1)), Sight::Closed);
        scene.wait(Duration::from_secs(1));
        scene.takes_offers();
        for n in 0..FILES {
            scene.change(&format!("f{n}"), Some(version(1)), Sight::Closed);
        }
        assert_eq!(scene.offered.len(), OFFERS_PER_BATCH.min(1), "{:?}", scene.offered);
        let mut batches = 0;
        while scene.offered.len() < FILES {
            let before = scene.offered.len();
            scene.wait(NEWS_PAUSE);
            assert!(scene.offered.len() - before <= OFFERS_PER_BATCH);
            batches += 1;
        }
        assert_eq!(batches, (FILES - 1).div_ceil(OFFERS_PER_BATCH));
        let offered: BTreeSet<_> = scene.offered.iter().collect();
        assert_eq!(offered.len(), FILES, "each once");
    }

    #[test]
    fn a_folder_that_is_gone_is_told_once_and_nothing_of_it_is_left() {
        let mut scene = Scene::new();
        scene.change("shared", Some(version(1)), Sight::Closed);
        scene.change("restless", Some(version(1)), Sight::Written);
        let upload = scene.upload("shared");
        scene.feed(Input::ChangesMissed);
        scene.actions.clear();
        scene.folder.clear();
        scene.feed(Input::FolderLost);
        assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
        let lost = |action: &&Action| **action == Action::Report(Report::FolderLost);
        assert_eq!(scene.actions.iter().filter(lost).count(), 1);
        scene.takes_offers();
        scene.wait(Duration::from_secs(4000));
        assert_eq!((scene.takes_offers().len(), scene.looks), (0, 0));
    }

    #[test]
    fn no_more_files_than_may_be_are_taken() {
        let mut scene = Scene::new();
        scene.node.following.files_max = 8;
        for n in 0..8 {
            scene.change(&n.to_string(), Some(version(1)), Sight::Closed);
        }
        for (text, sight) in [("a", Sight::Closed), ("b", Sight::Written), ("c", Sight::Looked)] {
            scene.change(text, Some(version(1)), sight);
            let refused = Action::Report(Report::FileRefused { name: name(text) });
            assert!(scene.actions.contains(&refused), "{text}");
        }
        assert_eq!(scene.node.index.len() + scene.node.following.restless.len(), 8);
        // Those that are shared may still change.
        scene.change("7", Some(version(2)), Sight::Written);
        scene.change("7", Some(version(2)), Sight::Closed);
        assert!(scene.node.index.get(&name("7")).is_some());
    }
}
