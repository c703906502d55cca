//! A folder that changes, as a registered peer follows it.

use std::time::Duration;

use super::*;
use crate::content::{ContentId, Digest, FolderLoss, Hash, HashKind, Known};
use crate::limits::{
    HASH_AHEAD_BYTES, NEWS_PAUSE, OFFERS_PER_BATCH, REVERIFY_PAUSE_MIN, SETTLED_AGE,
};
use crate::node::peer::Connection;
use crate::node::scene::{PEER, REGISTRY, answer, dialed, name, sent, settings, version};
use crate::node::{ConnectionId, Input, Node, PeerKind, PeerNode, PeerSettings};
use crate::proto::{CloseReason, Transmit};
use crate::wire::v0::{FileName, Offer, PeerMessage, RegistryResponse};
use crate::wire::v1::EntryState;

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
    /// Every name that was refused.
    refused: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let offer_interval = Duration::from_secs(3600);
        let settings = PeerSettings { offer_interval, ..settings(PeerKind::Fixed) };
        let mut scene = Self {
            node: PeerNode::new(now, settings),
            now,
            folder: BTreeMap::new(),
            looks: 0,
            offered: Vec::new(),
            actions: Vec::new(),
            refused: Vec::new(),
        };
        scene.drain();
        let registry = dialed(&scene.actions, REGISTRY);
        scene.feed(Input::Connected(registry));
        sent(&mut scene.node, now, registry);
        scene.actions.clear();
        answer(&mut scene.node, now, registry, RegistryResponse::Registered(true));
        scene.drain();
        // It is of version 0: it closes when it is asked for peers.
        let probe = dialed(&scene.actions, REGISTRY);
        scene.feed(Input::Connected(probe));
        scene.feed(Input::ReadClosed(probe));
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
                Action::Look(path) => {
                    self.looks += 1;
                    let path = self.node.paths().get(path).unwrap().clone();
                    let input = match path.name() {
                        Some(name) => self.shows(name, Sight::Looked),
                        // Below a folder all stays as it is.
                        None => Input::FileSeen { path, version: version(1), sight: Sight::Looked },
                    };
                    self.node.handle(self.now, input);
                }
                Action::Broadcast(bytes) => {
                    self.offered.push(Offer::decode(&bytes).unwrap().name);
                }
                Action::Report(Report::FileRefused { path }) => {
                    self.refused.push(self.node.paths().get(path).unwrap().to_string());
                }
                action => self.actions.push(action),
            }
        }
    }

    fn shows(&self, name: FileName, sight: Sight) -> Input<'static> {
        match self.folder.get(&name) {
            Some(&version) => Input::FileSeen { path: name.into(), version, sight },
            None => Input::FileGone { path: name.into() },
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

    /// Returns the id of a file that is known.
    fn id(&self, text: &str) -> PathId {
        self.node.paths().find(text).unwrap()
    }

    fn takes_offers(&mut self) -> Vec<String> {
        self.offered.drain(..).map(|name| name.as_str().to_owned()).collect()
    }

    /// Someone asks for a file, which is opened; the connection.
    fn upload(&mut self, text: &str) -> ConnectionId {
        let connection = self.node.accept(self.now, PEER).unwrap();
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
        scene.wait(SETTLE_TIME - MOMENT);
        scene.change("f", Some(version(size)), Sight::Written);
    }
    assert_eq!(scene.takes_offers(), [""; 0]);
    scene.wait(MOMENT);
    scene.change("f", Some(version(99)), Sight::Closed);
    assert_eq!(scene.takes_offers()[0], "f");
    assert!(scene.looks <= 100, "{} looks", scene.looks);
}

#[test]
fn a_file_that_nobody_closes_is_offered_once_it_has_settled() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Looked);
    scene.wait(SETTLE_TIME / 2);
    scene.change("f", Some(version(2)), Sight::Written);
    scene.wait(WRITTEN_SETTLE_TIME - MOMENT);
    assert_eq!(scene.takes_offers(), [""; 0]);
    scene.wait(MOMENT);
    assert_eq!(scene.takes_offers()[0], "f");
    // Idle from then on, but for the offers of each interval.
    scene.actions.clear();
    scene.looks = 0;
    let path = scene.id("f");
    scene.feed(Input::Hashed { path, version: version(2), hash: Hash::Sha256(Digest([1; 32])) });
    scene.wait(SETTLE_TIME * 100);
    assert_eq!((scene.looks, scene.takes_offers().len()), (0, 0));
}

#[test]
fn a_writer_that_pauses_is_waited_for_whatever_shows_of_its_file() {
    let mut scene = Scene::new();
    // It has only just made it, and pauses before the first byte.
    scene.change("f", Some(version(0)), Sight::Created);
    scene.wait(SETTLE_TIME * 3);
    scene.change("f", Some(version(1)), Sight::Written);
    scene.wait(WRITTEN_SETTLE_TIME - SETTLE_TIME);
    // Its attributes change, and mapped memory, of which nothing tells.
    scene.change("f", Some(Version { changed_ns: 9, ..version(1) }), Sight::Looked);
    scene.folder.insert(name("f"), version(2));
    scene.wait(WRITTEN_SETTLE_TIME);
    assert_eq!(scene.takes_offers(), [""; 0]);
    scene.wait(WRITTEN_SETTLE_TIME);
    assert_eq!(scene.takes_offers()[0], "f");
    // A file that is there as it is needs no wait for a writer.
    scene.change("moved", Some(version(0)), Sight::Moved);
    scene.change("link", Some(Version { inode: 9, ..version(1) }), Sight::Created);
    scene.wait(SETTLE_TIME);
    assert_eq!(scene.takes_offers(), ["moved", "link"]);
}

#[test]
fn another_name_for_a_file_that_is_written_waits_as_long() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Written);
    scene.change("link", Some(version(1)), Sight::Created);
    scene.wait(WRITTEN_SETTLE_TIME - MOMENT);
    assert_eq!(scene.takes_offers(), [""; 0]);
    // Writes and the close are told of one name alone.
    scene.folder.insert(name("link"), version(2));
    scene.change("f", Some(version(2)), Sight::Written);
    scene.change("f", Some(version(2)), Sight::Closed);
    assert_eq!(scene.takes_offers()[0], "f");
    scene.wait(SETTLE_TIME);
    assert_eq!(scene.takes_offers(), ["link"]);
    assert!(scene.node.share.settling.written.is_empty());
}

#[test]
fn of_several_writers_the_last_one_counts() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Written);
    scene.change("f", Some(version(1)), Sight::Closed);
    scene.takes_offers();
    let upload = scene.upload("f");
    scene.change("f", Some(version(2)), Sight::Written);
    assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
    scene.wait(WRITTEN_SETTLE_TIME - MOMENT);
    assert_eq!(scene.takes_offers(), [""; 0]);
    scene.change("f", Some(version(3)), Sight::Closed);
    assert_eq!(scene.takes_offers(), ["f"]);
}

#[test]
fn a_change_that_no_event_told_of_is_found_by_the_last_look() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Looked);
    scene.wait(SETTLE_TIME - MOMENT);
    scene.folder.insert(name("f"), version(2));
    scene.wait(SETTLE_TIME);
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
            // The first request brings it to light.
            let other = scene.upload("f");
            assert_eq!(scene.close_reason(other), Some(CloseReason::SourceChanged));
        }
        assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
        scene.takes_offers();
        scene.wait(if told { WRITTEN_SETTLE_TIME } else { SETTLE_TIME } - MOMENT);
        assert_eq!(scene.takes_offers(), [""; 0]);
        scene.wait(MOMENT);
        assert_eq!(scene.takes_offers()[0], "f");
        let upload = scene.upload("f");
        assert_eq!(scene.close_reason(upload), None, "told: {told}");
    }
}

#[test]
fn a_file_that_another_one_is_moved_onto_is_offered_as_that_at_once() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Closed);
    let upload = scene.upload("f");
    scene.takes_offers();
    scene.change("f", Some(version(2)), Sight::Closed);
    assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
    scene.wait(NEWS_PAUSE);
    assert_eq!(scene.takes_offers(), ["f"]);
    assert_eq!(scene.node.share.index.get(scene.id("f")).unwrap().version, version(2));
}

#[test]
fn writing_counts_even_if_the_look_came_too_late_to_show_it() {
    let mut scene = Scene::new();
    // Of the one before; the next has begun and its event is still to come.
    scene.change("f", Some(version(2)), Sight::Closed);
    scene.takes_offers();
    scene.change("f", Some(version(2)), Sight::Written);
    scene.wait(SETTLE_TIME - MOMENT);
    assert_eq!(scene.takes_offers(), [""; 0]);
    let path = scene.id("f");
    let known = scene.node.share.index.get(path).is_some();
    assert!(!known && scene.node.share.settling.contains(path));
}

#[test]
fn the_hash_of_an_old_version_is_not_heeded() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1000)), Sight::Closed);
    // While it is being hashed, it is replaced, and another comes first.
    scene.change("a", Some(version(HASH_AHEAD_BYTES)), Sight::Closed);
    scene.change("f", Some(version(2000)), Sight::Written);
    scene.change("f", Some(version(2000)), Sight::Closed);
    let hashes = scene.actions.iter().filter(|action| matches!(action, Action::Hash { .. }));
    assert_eq!(hashes.count(), 2, "one large file at a time");
    let (path, a) = (scene.id("f"), scene.id("a"));
    scene.feed(Input::HashProgress {
        path,
        kind: HashKind::Sha256,
        version: version(1000),
        hashed_bytes: 500,
    });
    scene.feed(Input::HashFailed { path, kind: HashKind::Sha256, error: FileError::Missing });
    let local = scene.node.share.index.get(path).unwrap();
    assert_eq!((local.version, local.uploads().hashed_bytes), (version(2000), 0));
    // It is hashed once that one is done.
    scene.actions.clear();
    let version = version(HASH_AHEAD_BYTES);
    let hash = Hash::Blake3 { id: ContentId([1; 32]), values: [].into() };
    scene.feed(Input::Hashed { path: a, version, hash });
    assert_eq!(scene.actions, [Action::Hash { path, kind: HashKind::Blake3 }]);
}

#[test]
fn the_hash_of_a_file_that_went_takes_no_digest_from_what_came_in_its_place() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1000)), Sight::Closed);
    let path = scene.id("f");
    scene.change("f", None, Sight::Looked);
    let (name, digest) = (name("f"), Some(Digest([2; 32])));
    scene.folder.insert(name, version(2000));
    scene.feed(Input::FileFound {
        path: name.into(),
        version: version(2000),
        known: known(digest),
    });
    let upload = scene.upload("f");
    scene.hashed("f", Digest([2; 32]));
    // The job of before runs on, and may even come to its end.
    scene.feed(Input::HashProgress {
        path,
        kind: HashKind::Sha256,
        version: version(1000),
        hashed_bytes: 500,
    });
    let (old, other) = (version(1000), Digest([1; 32]));
    scene.feed(Input::Hashed { path, version: old, hash: Hash::Sha256(other) });
    let local = scene.node.share.index.get(scene.id("f")).unwrap();
    assert_eq!((local.version, local.uploads().digest), (version(2000), digest));
    let sends = matches!(scene.node.transmit(upload), Some(Transmit::Bytes { .. }));
    assert!(sends && scene.close_reason(upload).is_none(), "the upload goes on");
    let Some(Connection::Upload(connection)) = scene.node.context.connections.get(upload) else {
        panic!("it is gone");
    };
    assert!(connection.upload.poll_timeout().is_some(), "it waits for no hash");
}

#[test]
fn events_about_what_is_known_change_nothing() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(1)), Sight::Closed);
    let path = scene.id("f");
    scene.feed(Input::Hashed { path, version: version(1), hash: Hash::Sha256(Digest([1; 32])) });
    let upload = scene.upload("f");
    scene.takes_offers();
    scene.actions.clear();
    scene.change("f", Some(version(1)), Sight::Closed);
    scene.change("f", Some(version(1)), Sight::Looked);
    // Another link to it, or other permissions.
    scene.change("f", Some(Version { changed_ns: 9, ..version(1) }), Sight::Looked);
    scene.change("g", None, Sight::Looked);
    scene.wait(SETTLE_TIME * 2);
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
    assert_eq!(scene.node.share.index.len() + scene.node.share.settling.files.len(), 0);
}

#[test]
fn after_missed_changes_each_file_is_looked_at() {
    let mut scene = Scene::new();
    let names: Vec<_> = (0..3 * TURN_ITEMS).map(|n| format!("f{n:05}")).collect();
    for name in &names {
        scene.change(name, Some(version(1)), Sight::Closed);
    }
    scene.wait(Duration::from_secs(10));
    scene.takes_offers();
    scene.folder.remove(&name(&names[0]));
    scene.folder.insert(name(&names[700]), version(2));
    scene.feed(Input::ChangesMissed { below: None });
    scene.time_out();
    assert!(scene.looks <= TURN_ITEMS, "all in one step");
    scene.folder.remove(&name(&names[1]));
    scene.feed(Input::ChangesMissed { below: None });
    scene.wait(SETTLE_TIME - MOMENT);
    assert_eq!(scene.looks, 2 * names.len() - 2, "each twice, but for two");
    assert_eq!(scene.node.share.index.len(), names.len() - 3);
    assert_eq!(scene.takes_offers(), [""; 0]);
    scene.wait(SETTLED_AGE);
    assert_eq!(scene.takes_offers(), [&*names[700]]);
}

#[test]
fn after_missed_changes_in_a_folder_only_what_is_below_it_is_looked_at() {
    let mut scene = Scene::new();
    let path = |text: &str| FilePath::new(text).unwrap();
    let inside: Vec<_> = (0..TURN_ITEMS + 5).map(|n| path(&format!("a/b/f{n:05}"))).collect();
    let beside = ["a/b.txt", "a/bb/f", "a/c", "z"].map(path);
    for path in inside.iter().chain(&beside) {
        let (path, known) = (path.clone(), Known::default());
        scene.feed(Input::FileFound { path, version: version(1), known });
    }
    scene.actions.clear();
    scene.feed(Input::ChangesMissed { below: Some(path("a/b")) });
    scene.feed(Input::ChangesMissed { below: Some(path("a/c")) });
    // More folders than are remembered: then all is looked at.
    (1..TURN_ITEMS).for_each(|n| {
        scene.feed(Input::ChangesMissed { below: Some(path(&format!("none/{n}"))) });
    });
    scene.wait(SETTLE_TIME);
    assert_eq!(scene.looks, 2 * inside.len() + beside.len());
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
    let (mut seconds, mut before) = (0, 0);
    while scene.offered.len() < FILES {
        scene.wait(Duration::from_secs(1));
        assert!(scene.offered.len() - before <= 200, "in a second");
        (seconds, before) = (seconds + 1, scene.offered.len());
    }
    assert!(seconds <= 7, "{seconds} s");
    let offered: BTreeSet<_> = scene.offered.iter().collect();
    assert_eq!(offered.len(), FILES, "each once");
}

#[test]
fn a_folder_that_is_gone_is_told_once_and_nothing_of_it_is_left() {
    let mut scene = Scene::new();
    scene.change("shared", Some(version(1)), Sight::Closed);
    scene.change("restless", Some(version(1)), Sight::Written);
    let upload = scene.upload("shared");
    scene.feed(Input::ChangesMissed { below: None });
    scene.actions.clear();
    scene.folder.clear();
    scene.feed(Input::FolderLost(FolderLoss::Gone));
    assert_eq!(scene.close_reason(upload), Some(CloseReason::SourceChanged));
    const LOST: Report = Report::FolderLost { why: FolderLoss::Gone };
    let lost = |action: &&Action| **action == Action::Report(LOST);
    assert_eq!(scene.actions.iter().filter(lost).count(), 1);
    scene.takes_offers();
    scene.wait(Duration::from_secs(4000));
    assert_eq!((scene.takes_offers().len(), scene.looks), (0, 0));
}

#[test]
fn no_more_files_than_may_be_are_taken() {
    let mut scene = Scene::new();
    scene.node.share.files_max = 8;
    for n in 0..8 {
        scene.change(&n.to_string(), Some(version(1)), Sight::Closed);
    }
    for (text, sight) in [("a", Sight::Closed), ("b", Sight::Written), ("c", Sight::Looked)] {
        scene.change(text, Some(version(1)), sight);
        assert!(scene.refused.iter().any(|refused| refused == text), "{text}");
    }
    assert_eq!(scene.node.share.index.len() + scene.node.share.settling.files.len(), 8);
    // Those that are shared may still change.
    scene.change("7", Some(version(2)), Sight::Written);
    scene.change("7", Some(version(2)), Sight::Closed);
    assert!(scene.node.share.index.get(scene.id("7")).is_some());
}

impl Scene {
    /// The hash of a file is done; how many were begun before.
    fn hashed(&mut self, text: &str, digest: Digest) -> usize {
        let kind = HashKind::Sha256;
        let is_hash =
            |action: &&Action| matches!(action, Action::Hash { kind: k, .. } if *k == kind);
        let begun = self.actions.iter().filter(is_hash).count();
        self.actions.clear();
        let (path, version) = (self.id(text), self.folder[&name(text)]);
        self.feed(Input::Hashed { path, version, hash: Hash::Sha256(digest) });
        begun
    }

    /// Someone is the first to fetch a small file, which is hashed only then.
    fn fetch_first(&mut self, text: &str, digest: Digest) {
        let upload = self.upload(text);
        assert_eq!(self.announced(upload), None);
        assert_eq!(self.hashed(text, digest), 1);
        assert_eq!(self.announced(upload), Some(digest));
        self.feed(Input::Broken { connection: upload, kind: std::io::ErrorKind::ConnectionReset });
    }

    /// Someone fetches a small file; the digest that it is sent with, if that is known without
    /// another hash.
    fn fetch(&mut self, text: &str) -> Option<Digest> {
        let upload = self.upload(text);
        let digest = self.announced(upload);
        self.feed(Input::Broken { connection: upload, kind: std::io::ErrorKind::ConnectionReset });
        digest
    }

    /// Takes all that an upload sends; the digest behind it.
    fn announced(&mut self, upload: ConnectionId) -> Option<Digest> {
        let mut sent = Vec::new();
        while let Some(transmit) = self.node.transmit(upload) {
            let len_bytes = match transmit {
                Transmit::Bytes { bytes, .. } => {
                    sent.extend_from_slice(bytes);
                    bytes.len()
                }
                Transmit::File { len_bytes, .. } => len_bytes as usize,
            };
            self.node.transmitted(self.now, upload, len_bytes);
            self.drain();
        }
        Digest::from_hex(sent.get(sent.len().checked_sub(64)?..)?)
    }
}

const OLD: Digest = Digest([1; 32]);
const NEW: Digest = Digest([2; 32]);

#[test]
fn a_digest_of_a_former_run_is_made_again_before_it_is_sent() {
    let mut scene = Scene::new();
    scene.folder.insert(name("f"), version(5));
    let (path, digest) = (name("f").into(), Some(OLD));
    scene.feed(Input::FileFound { path, version: version(5), known: known(digest) });
    let upload = scene.upload("f");
    assert_eq!(scene.announced(upload), None);
    assert_eq!(scene.hashed("f", NEW), 1);
    assert_eq!(scene.announced(upload), Some(NEW));
    // From then on it is known to all that ask.
    assert_eq!(scene.fetch("f"), Some(NEW));
}

#[test]
fn a_file_that_a_writer_closes_is_hashed_again_before_it_is_sent_though_it_looks_the_same() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(5)), Sight::Closed);
    scene.fetch_first("f", OLD);
    assert_eq!(scene.fetch("f"), Some(OLD));
    scene.actions.clear();
    scene.change("f", Some(version(5)), Sight::Closed);
    assert!(scene.actions.is_empty(), "not before somebody asks");
    let upload = scene.upload("f");
    assert_eq!(scene.announced(upload), None);
    // The next writer closes it while it is hashed.
    scene.change("f", Some(version(5)), Sight::Closed);
    assert_eq!(scene.hashed("f", OLD), 1);
    assert_eq!(scene.announced(upload), Some(OLD));
    assert_eq!(scene.fetch("f"), None);
    assert_eq!(scene.hashed("f", NEW), 1);
    assert_eq!(scene.fetch("f"), Some(NEW));
}

#[test]
fn an_address_that_asks_again_gets_a_digest_that_is_made_again_but_not_too_often() {
    let mut scene = Scene::new();
    scene.change("f", Some(version(5)), Sight::Closed);
    scene.fetch_first("f", OLD);
    for _ in 0..3 {
        assert_eq!(scene.fetch("f"), Some(OLD), "it was made just now");
    }
    scene.wait(REVERIFY_PAUSE_MIN);
    assert_eq!(scene.fetch("f"), None);
    assert_eq!(scene.hashed("f", NEW), 1);
    assert_eq!(scene.fetch("f"), Some(NEW));
}

fn known(sha256: Option<Digest>) -> Known {
    Known { sha256, ..Known::default() }
}

#[test]
fn a_file_that_became_executable_is_listed_anew() {
    let mut scene = Scene::new();
    scene.change("a", Some(version(5)), Sight::Moved);
    let before = scene.node.share.catalog.newest();
    let executable = Version { is_executable: true, changed_ns: 6, ..version(5) };
    scene.change("a", Some(executable), Sight::Looked);
    let catalog = &scene.node.share.catalog;
    let listed = catalog.get(&name("a").into());
    assert!(matches!(listed, Some(EntryState::Unhashed { executable: true, .. })), "{listed:?}");
    assert_eq!(catalog.newest(), before + 1);
}
