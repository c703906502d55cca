//! What is about one kind of peer alone. The rest is shown by simulator and fuzzer.

mod giving;
mod listing;

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::*;
use crate::content::{Content, ContentId, Digest, Known, Lack, Room};
use crate::limits::{
    STRANGER_GRACE, STRANGERS_MAX, USUAL_REGISTRY_HASTY_TRIES, USUAL_REGISTRY_INTERVAL,
};
use crate::node::scene::{
    PEER, REGISTRY, actions, answer, dialed, hear, name, sent, settings, version,
};
use crate::node::{CloseHow, FetchError, NamePattern, Report};
use crate::proto::Timer;
use crate::proto::v1::{Request, Session, SessionSettings};
use crate::wire::FieldText;
use crate::wire::v0::{PeerMessage, RegistryRequest, RegistryResponse};

fn node(now: Instant, kind: PeerKind) -> PeerNode {
    PeerNode::new(now, settings(kind))
}

fn guest(timeout: Option<Duration>, retries_max: u32) -> PeerKind {
    PeerKind::Guest(GuestSettings {
        timeout,
        retries_max,
        on_conflict: OnConflict::Compare,
        gives: false,
    })
}

/// Returns a peer that the registry has entered or, as a guest, may ask it; and the connection
/// to that.
fn registered(now: Instant, settings: PeerSettings) -> (PeerNode, ConnectionId) {
    let is_guest = matches!(settings.kind, PeerKind::Guest(_));
    let mut node = PeerNode::new(now, settings);
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(now, Input::Connected(registry));
    if !is_guest {
        sent(&mut node, now, registry);
        answer(&mut node, now, registry, RegistryResponse::Registered(true));
    }
    (node, registry)
}

fn exit(actions: &[Action]) -> Option<&Outcome> {
    actions.iter().find_map(|action| match action {
        Action::Exit(outcome) => Some(outcome),
        _ => None,
    })
}

fn encoded(messages: &[PeerMessage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut bytes));
    bytes
}

#[test]
fn who_may_have_any_id_tries_others_but_not_for_ever() {
    let now = Instant::now();
    let mut node = node(now, PeerKind::AnyId);
    let mut ids = BTreeSet::new();
    let mut told = actions(&mut node);
    for left in (0..crate::limits::ID_TRIES_MAX).rev() {
        let connection = dialed(&told, REGISTRY);
        node.handle(now, Input::Connected(connection));
        let mut expected = Vec::new();
        let (peer, port) = (node.context.settings.id, 1);
        RegistryRequest::Register { peer, port }.encode(&mut expected);
        assert_eq!(sent(&mut node, now, connection), expected);
        assert!(peer.0 > 0 && ids.insert(peer), "{peer} is tried twice");
        actions(&mut node);
        let text = FieldText::new("Existing peer ID");
        answer(&mut node, now, connection, RegistryResponse::Error(text));
        told = actions(&mut node);
        if left == 0 {
            assert_eq!(exit(&told), Some(&Outcome::Refused(text)));
        } else {
            // Closed in order: the reference forgets the first holder at a reset.
            let how = CloseHow::Finish;
            let reason = CloseReason::Refused;
            let close = Action::Close { connection, how, reason };
            assert!(told.contains(&close), "{told:?}");
        }
    }
}

#[test]
fn a_guest_only_looks_up_and_offers_and_serves_nothing() {
    let now = Instant::now();
    let mut node = node(now, guest(None, 0));
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(now, Input::Want(&[name("a")]));
    // Even from a peer that has the number with which guests acknowledge.
    hear(&mut node, now, PEER, 0, "a");
    node.handle(now, Input::Connected(registry));
    let mut lookup = Vec::new();
    RegistryRequest::Lookup(PeerId(0)).encode(&mut lookup);
    assert_eq!(sent(&mut node, now, registry), lookup);
    answer(&mut node, now, registry, RegistryResponse::Address(PEER));
    dialed(&actions(&mut node), PEER);
    assert_eq!(node.accept(now, PEER), None);
    let (path, version) = (name("b").into(), version(1));
    node.handle(now, Input::FileFound { path, version, known: Known::default() });
    node.handle(now, Input::Broken { connection: registry, kind: io::ErrorKind::BrokenPipe });
    for seconds in 1..20 {
        node.handle_timeout(now + Duration::from_secs(seconds));
    }
    let rest = actions(&mut node);
    let offers = |action: &&Action| matches!(action, Action::Broadcast(_) | Action::Hash { .. });
    assert_eq!(rest.iter().find(offers), None);
}

#[test]
fn a_guest_says_why_it_gives_up() {
    let now = Instant::now();
    let timeout = Duration::from_secs(10);
    let wants = |offers: &[&str], is_reached: bool| {
        let mut node = node(now, guest(Some(timeout), 5));
        let registry = dialed(&actions(&mut node), REGISTRY);
        node.handle(now, Input::WantMatching(&[NamePattern::new("*.iso").unwrap()]));
        node.handle(now, Input::Want(&[name("a")]));
        offers.iter().for_each(|name| hear(&mut node, now, PEER, 3, name));
        if is_reached {
            node.handle(now, Input::Connected(registry));
        }
        node.handle_timeout(now + timeout - Duration::from_millis(1));
        assert_eq!(exit(&actions(&mut node)), None);
        node.handle_timeout(now + timeout);
        match exit(&actions(&mut node)) {
            Some(Outcome::SomeFailed { failed, done: 0, error, .. }) => (*failed, *error),
            outcome => panic!("{outcome:?}"),
        }
    };
    assert_eq!(wants(&[], false), (2, FetchError::Unreachable));
    assert_eq!(wants(&[], true), (2, FetchError::NotOffered));
    assert_eq!(wants(&["b"], false), (2, FetchError::NotOffered));
    assert_eq!(wants(&["a"], false), (2, FetchError::Unreachable));

    // The registry was there, and is not when it is needed.
    let (mut node, registry) = registered(now, settings(guest(Some(timeout), 5)));
    node.handle(now, Input::Want(&[name("a"), name("b")]));
    ["a", "b"].iter().for_each(|name| hear(&mut node, now, PEER, 3, name));
    node.handle(now, Input::ReadClosed(registry));
    node.handle_timeout(now + Duration::from_secs(1));
    let again = dialed(&actions(&mut node), REGISTRY);
    let kind = io::ErrorKind::ConnectionRefused;
    node.handle(now, Input::Broken { connection: again, kind });
    actions(&mut node);
    node.handle_timeout(now + timeout);
    let told = actions(&mut node);
    let error = FetchError::Unreachable;
    let outcome = Outcome::SomeFailed { failed: 2, done: 0, error, is_told: false };
    assert_eq!(exit(&told), Some(&outcome));
    let is_once = |report: &&Report| matches!(report, Report::FetchFailed { is_all: true, .. });
    assert_eq!(reports(&told).into_iter().filter(is_once).count(), 2, "one line says it of both");
}

#[test]
fn a_name_that_nearly_fits_one_on_offer_is_told_once_everybody_could_have_offered_it() {
    let now = Instant::now();
    let at = |seconds| now + Duration::from_secs(seconds);
    let nearly = |actions: Vec<Action>| {
        let reports = actions.into_iter().filter_map(|action| match action {
            Action::Report(Report::NearlyOffered { offered, .. }) => Some(offered.to_string()),
            _ => None,
        });
        reports.collect::<Vec<_>>()
    };
    let mut node = node(now, guest(Some(Duration::from_secs(20)), 5));
    let wanted = ["talk.pdf", "caf\u{e9}", "there", "other"];
    node.handle(now, Input::Want(&wanted.map(name)));
    let offered = ["Talk.pdf", "cafe\u{301}", "There", "there", "cafe"];
    offered.iter().for_each(|name| hear(&mut node, at(1), PEER, 3, name));
    node.handle_timeout(at(5));
    assert_eq!(nearly(actions(&mut node)), [""; 0], "too early");
    node.handle_timeout(at(6));
    assert_eq!(nearly(actions(&mut node)), ["Talk.pdf", "cafe\u{301}"]);
    offered.iter().for_each(|name| hear(&mut node, at(7), PEER, 3, name));
    assert_eq!(nearly(actions(&mut node)), [""; 0], "once");
    hear(&mut node, at(7), PEER, 3, "OTHER");
    assert_eq!(nearly(actions(&mut node)), ["OTHER"]);
    node.handle_timeout(at(20));
    let failed = actions(&mut node).into_iter().filter_map(|action| match action {
        Action::Report(Report::FetchFailed { error: FetchError::NearlyOffered(name), .. }) => {
            Some(name.to_string())
        }
        _ => None,
    });
    assert_eq!(failed.collect::<Vec<_>>(), ["Talk.pdf", "cafe\u{301}", "OTHER"]);
}

#[test]
fn the_next_request_goes_out_with_the_last_acknowledgments_and_those_are_never_lost() {
    let now = Instant::now();
    let mut node = node(now, guest(None, 0));
    // So the second file waits for the first.
    node.fetch.downloads_max = 1;
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(now, Input::Want(&[name("a"), name("b")]));
    ["a", "b"].iter().for_each(|name| hear(&mut node, now, PEER, 3, name));
    node.handle(now, Input::Connected(registry));
    sent(&mut node, now, registry);
    answer(&mut node, now, registry, RegistryResponse::Address(PEER));
    let source = dialed(&actions(&mut node), PEER);
    node.handle(now, Input::Connected(source));
    assert_eq!(sent(&mut node, now, source), encoded(&[PeerMessage::Request(name("a"))]));

    let mut file = encoded(&[PeerMessage::Chunk { data_bytes: 1 }]);
    file.push(b'x');
    file.extend(encoded(&[PeerMessage::Eof(Digest(Sha256::digest(b"x").into()))]));
    let comes = |node: &mut PeerNode| {
        node.handle(now, Input::Received { connection: source, bytes: &file });
        let partial = *node.context.files.last_key_value().unwrap().0;
        node.handle(now, Input::Written { file: partial, len_bytes: 1 });
        let closes = actions(node).iter().any(|action| matches!(action, Action::Close { .. }));
        (closes, sent(node, now, source))
    };
    let acknowledgment = PeerMessage::Acknowledgment(PeerId(0));
    let next = encoded(&[acknowledgment, PeerMessage::Request(name("b"))]);
    assert_eq!(comes(&mut node), (false, next));
    assert_eq!(comes(&mut node), (false, encoded(&[acknowledgment])));
    let closed =
        Action::Close { connection: source, how: CloseHow::Reset, reason: CloseReason::Done };
    assert!(actions(&mut node).contains(&closed), "nothing more is wanted");
}

#[test]
fn a_file_that_all_its_sources_have_too_large_is_wanted_no_longer() {
    let now = Instant::now();
    let other = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6001);
    for kind in [PeerKind::Fixed, guest(None, 5)] {
        let usual = settings(kind);
        let limits = Limits { file_bytes_max: 10, ..usual.limits };
        let (mut node, registry) = registered(now, PeerSettings { limits, ..usual });
        node.handle(now, Input::Want(&[name("a")]));
        hear(&mut node, now, PEER, 3, "a");
        hear(&mut node, now, PEER, 4, "a");
        let told: Vec<_> = [PEER, other]
            .into_iter()
            .map(|at| {
                sent(&mut node, now, registry);
                answer(&mut node, now, registry, RegistryResponse::Address(at));
                let source = dialed(&actions(&mut node), at);
                node.handle(now, Input::Connected(source));
                let bytes = encoded(&[PeerMessage::Chunk { data_bytes: 11 }]);
                sent(&mut node, now, source);
                node.handle(now, Input::Received { connection: source, bytes: &bytes });
                let failed = Report::FetchFailed {
                    path: node.paths().find("a").unwrap(),
                    error: FetchError::TooLarge,
                    is_all: matches!(kind, PeerKind::Guest(_)),
                };
                actions(&mut node).contains(&Action::Report(failed))
            })
            .collect();
        assert_eq!(told, [false, true], "{kind:?}");
        assert_eq!(node.fetch.open(), 0);
    }
}

/// As [`registered`], but the peer wants a file and hears these others offer it.
fn wanting(now: Instant, sources: &[u32]) -> (PeerNode, ConnectionId) {
    let (mut node, registry) = registered(now, settings(PeerKind::Fixed));
    node.handle(now, Input::Want(&[name("a")]));
    sources.iter().for_each(|source| hear(&mut node, now, PEER, *source, "a"));
    (node, registry)
}

/// The next source is found, and so much of its file comes; the partial file.
fn comes_in(node: &mut PeerNode, now: Instant, registry: ConnectionId, data: &[u8]) -> FileId {
    sent(node, now, registry);
    answer(node, now, registry, RegistryResponse::Address(PEER));
    let source = dialed(&actions(node), PEER);
    node.handle(now, Input::Connected(source));
    sent(node, now, source);
    let mut bytes = encoded(&[PeerMessage::Chunk { data_bytes: 9 }]);
    bytes.extend_from_slice(data);
    node.handle(now, Input::Received { connection: source, bytes: &bytes });
    let created = actions(node).into_iter().find_map(|action| match action {
        Action::CreatePartial { file, .. } => Some(file),
        _ => None,
    });
    created.expect("it is written somewhere")
}

/// A file does not fit on the disk; what is told.
fn finds_the_disk_full(node: &mut PeerNode, now: Instant, file: FileId) -> Vec<Report> {
    node.handle(now, Input::FileFailed { file, error: FULL });
    let told = actions(node).into_iter().filter_map(|action| match action {
        Action::Report(report) => Some(report),
        _ => None,
    });
    told.collect()
}

const FULL: FileError = FileError::Full(Room {
    folder: "folder",
    free_bytes: 1,
    kept_bytes: 2,
    needed_bytes: 3,
    lack: Lack::Space,
    failed: None,
});

fn does_not_fit(node: &PeerNode, text: &str) -> Report {
    let path = node.paths().find(text).unwrap();
    Report::FetchFailed { path, error: FULL.into(), is_all: false }
}

#[test]
fn a_file_that_does_not_fit_is_not_tried_again_and_told_of_once() {
    let now = Instant::now();
    let (mut node, registry) = wanting(now, &[3, 4]);
    let file = comes_in(&mut node, now, registry, b"1");
    let failed = does_not_fit(&node, "a");
    assert_eq!(finds_the_disk_full(&mut node, now, file), [failed]);
    assert_eq!(node.fetch.open(), 0);
}

#[test]
fn a_file_beside_a_larger_one_is_tried_once_more() {
    let mut now = Instant::now();
    let (mut node, registry) = wanting(now, &[3]);
    let small = comes_in(&mut node, now, registry, b"1");
    node.handle(now, Input::Want(&[name("b")]));
    hear(&mut node, now, PEER, 4, "b");
    let large = comes_in(&mut node, now, registry, b"12");
    let [no_small, no_large] = ["a", "b"].map(|text| does_not_fit(&node, text));
    assert!(!finds_the_disk_full(&mut node, now, small).contains(&no_small));
    assert_eq!(finds_the_disk_full(&mut node, now, large), [no_large]);
    while sent(&mut node, now, registry).is_empty() {
        now = node.poll_timeout().unwrap().max(now);
        node.handle_timeout(now);
        hear(&mut node, now, PEER, 3, "a");
    }
    answer(&mut node, now, registry, RegistryResponse::Address(PEER));
    let source = dialed(&actions(&mut node), PEER);
    node.handle(now, Input::Connected(source));
    let created = actions(&mut node).into_iter().find_map(|action| match action {
        Action::CreatePartial { file, .. } => Some(file),
        _ => None,
    });
    assert_eq!(finds_the_disk_full(&mut node, now, created.unwrap()), [no_small]);
    assert_eq!(node.fetch.open(), 0);
}

/// Answers the next lookup, and returns whose address was asked for.
fn look_up(node: &mut PeerNode, now: Instant, registry: ConnectionId, at: SocketAddrV4) -> u32 {
    let bytes = sent(node, now, registry);
    let asked = (0..10).find(|peer| {
        let mut lookup = Vec::new();
        RegistryRequest::Lookup(PeerId(*peer)).encode(&mut lookup);
        bytes == lookup
    });
    answer(node, now, registry, RegistryResponse::Address(at));
    asked.unwrap_or_else(|| panic!("no lookup of a peer that is known: {bytes:?}"))
}

#[test]
fn a_source_that_failed_comes_last_until_it_has_served() {
    let now = Instant::now();
    for seed in 0..8 {
        let settings = PeerSettings { seed, ..settings(PeerKind::Fixed) };
        let (mut node, registry) = registered(now, settings);
        // Peer 3 fails twice, by itself.
        ["a", "b"].iter().for_each(|file| hear(&mut node, now, PEER, 3, file));
        node.handle(now, Input::Want(&[name("a"), name("b")]));
        assert_eq!(look_up(&mut node, now, registry, PEER), 3);
        let dials = actions(&mut node).into_iter().filter_map(|action| match action {
            Action::Dial { connection, .. } => Some(connection),
            _ => None,
        });
        let kind = io::ErrorKind::ConnectionRefused;
        for connection in dials.collect::<Vec<_>>() {
            node.handle(now, Input::Broken { connection, kind });
        }
        actions(&mut node);

        // So peer 4 is asked first. It fails, too, but once; then peer 3 serves the file.
        [3, 4].iter().for_each(|peer| hear(&mut node, now, PEER, *peer, "c"));
        node.handle(now, Input::Want(&[name("c")]));
        assert_eq!(look_up(&mut node, now, registry, PEER), 4, "seed {seed}");
        let connection = dialed(&actions(&mut node), PEER);
        node.handle(now, Input::Broken { connection, kind });
        assert_eq!(look_up(&mut node, now, registry, PEER), 3);
        let connection = dialed(&actions(&mut node), PEER);
        node.handle(now, Input::Connected(connection));
        sent(&mut node, now, connection);
        let bytes = encoded(&[PeerMessage::Eof(Digest(Sha256::digest(b"").into()))]);
        node.handle(now, Input::Received { connection, bytes: &bytes });
        let file = *node.context.files.last_key_value().unwrap().0;
        assert!(actions(&mut node).contains(&Action::Commit(file)));
        let (path, version) = (name("c").into(), version(0));
        node.handle(now, Input::Committed { file, path, version });
        node.handle(now, Input::ReadClosed(connection));
        actions(&mut node);

        // Now peer 3 has failed less often.
        [3, 4].iter().for_each(|peer| hear(&mut node, now, PEER, *peer, "d"));
        node.handle(now, Input::Want(&[name("d")]));
        assert_eq!(look_up(&mut node, now, registry, PEER), 3, "seed {seed}");
    }
}

#[test]
fn an_accepted_connection_that_stays_silent_is_closed_when_its_first_byte_is_due() {
    let now = Instant::now();
    let mut node = node(now, PeerKind::Fixed);
    let connection = node.accept(now, PEER).unwrap();
    let due = now + Limits::PEER.first_byte_timeout;
    let mut closes_at = |at| {
        node.handle_timeout(at);
        actions(&mut node).into_iter().find_map(|action| match action {
            Action::Close { connection: closed, reason, .. } if closed == connection => {
                Some(reason)
            }
            _ => None,
        })
    };
    assert_eq!(closes_at(due - Duration::from_nanos(1)), None);
    assert_eq!(closes_at(due), Some(CloseReason::TimedOut(Timer::FirstByte)));
}

#[test]
fn of_too_many_connections_without_a_hello_the_oldest_are_closed() {
    let now = Instant::now();
    let mut node = node(now, PeerKind::Fixed);
    let accept = |node: &mut PeerNode| node.accept(now, PEER).unwrap();
    // One says who it is, one is a session that does not, one requests by version 0.
    let [known, begun, older] = [(); 3].map(|()| accept(&mut node));
    let our = SessionSettings { peer: PeerId(9), instance: 9, name: PeerName::none() };
    let limits = Rc::new(Limits::PEER);
    let session = Session::new(now, &limits, &Rc::new(our), true);
    let Some(Transmit::Bytes { bytes: hello, .. }) = session.transmit() else { panic!() };
    let request = encoded(&[PeerMessage::Request(name("a"))]);
    for (connection, bytes) in [(known, hello), (begun, b"H"), (older, &request)] {
        node.handle(now, Input::Received { connection, bytes });
    }
    let silent: Vec<_> = (0..STRANGERS_MAX + 1).map(|_| accept(&mut node)).collect();
    let mut evicted = |at| {
        actions(&mut node);
        node.handle_timeout(at);
        let actions = actions(&mut node).into_iter().filter_map(|action| match action {
            Action::Close { connection, reason: CloseReason::Evicted, .. } => Some(connection),
            _ => None,
        });
        actions.collect::<Vec<_>>()
    };
    assert_eq!(evicted(now + STRANGER_GRACE - Duration::from_nanos(1)), []);
    assert_eq!(evicted(now + STRANGER_GRACE), [begun, silent[0]]);
}

#[test]
fn a_file_that_is_requested_often_at_once_is_counted_each_time() {
    let now = Instant::now();
    let mut node = node(now, PeerKind::Fixed);
    let content = Content { id: ContentId([1; 32]), size_bytes: 9 };
    let known = Known { blake3: Some(content.id), ..Known::default() };
    let path = name("a").into();
    node.handle(now, Input::FileFound { path, version: version(9), known });
    let connection = node.accept(now, PEER).unwrap();
    let our = SessionSettings { peer: PeerId(9), instance: 9, name: PeerName::none() };
    let mut session = Session::new(now, &Rc::new(Limits::PEER), &Rc::new(our), true);
    let get = Request::Get { turn: 0, content, first: 0, count: 1 };
    (0..40).for_each(|_| _ = session.request(now, &get).unwrap());
    while let Some(Transmit::Bytes { bytes, .. }) = session.transmit() {
        let bytes = bytes.to_vec();
        session.transmitted(now, bytes.len());
        node.handle(now, Input::Received { connection, bytes: &bytes });
    }
    let mut done = 0;
    loop {
        let actions = actions(&mut node);
        for action in &actions {
            match action {
                Action::OpenSource { file, .. } | Action::StatSource(file) => {
                    node.handle(now, Input::Opened { file: *file, version: version(9) });
                }
                Action::Report(Report::UploadDone { .. }) => done += 1,
                _ => {}
            }
        }
        let len_bytes = match node.transmit(connection) {
            Some(Transmit::Bytes { bytes, .. }) => bytes.len(),
            Some(Transmit::File { len_bytes, .. }) => len_bytes as usize,
            None if actions.is_empty() => break,
            None => continue,
        };
        node.transmitted(now, connection, len_bytes);
    }
    assert_eq!(done, 40);
}

fn reports(actions: &[Action]) -> Vec<&Report> {
    let reports = actions.iter().filter_map(|action| match action {
        Action::Report(report) => Some(report),
        _ => None,
    });
    reports.collect()
}

#[test]
fn a_guest_asks_the_registry_again_when_it_needs_to_though_that_closed_the_idle_connection() {
    let now = Instant::now();
    let (mut node, registry) = registered(now, settings(guest(None, 0)));
    node.handle(now, Input::Want(&[name("a")]));
    actions(&mut node);
    node.handle(now, Input::ReadClosed(registry));
    let told = actions(&mut node);
    assert!(reports(&told).is_empty(), "{told:?}");
    let dials = |action: &&Action| matches!(action, Action::Dial { .. });
    assert_eq!(told.iter().find(dials), None, "there is nothing to ask");
    hear(&mut node, now, PEER, 3, "a");
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(now, Input::Connected(registry));
    assert_eq!(look_up(&mut node, now, registry, PEER), 3);

    // What is asked and not answered is a failure.
    let (mut node, registry) = registered(now, settings(guest(None, 0)));
    node.handle(now, Input::Want(&[name("a")]));
    hear(&mut node, now, PEER, 3, "a");
    node.handle(now, Input::ReadClosed(registry));
    let told = actions(&mut node);
    let is_told = |report: &Report| matches!(report, Report::RegistryUnreachable { .. });
    assert!(reports(&told).into_iter().any(is_told), "{told:?}");
}

#[test]
fn a_file_that_is_offered_waits_for_the_registry_and_not_for_an_offer() {
    let start = Instant::now();
    let mut node = node(start, guest(None, 0));
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(start, Input::Want(&[name("a"), name("b"), name("c")]));
    let kind = io::ErrorKind::ConnectionRefused;
    node.handle(start, Input::Broken { connection: registry, kind });
    let mut told = actions(&mut node);
    hear(&mut node, start, PEER, 3, "a");
    hear(&mut node, start, PEER, 4, "b");
    let late = start + settings(guest(None, 0)).offer_interval * 2;
    while let Some(now) = node.poll_timeout().filter(|at| *at < late) {
        node.handle_timeout(now);
        for action in actions(&mut node) {
            if let Action::Dial { connection, .. } = action {
                node.handle(now, Input::Broken { connection, kind });
            }
            told.push(action);
        }
    }
    told.extend(actions(&mut node));
    let [a, c] = ["a", "c"].map(|name| node.paths().find(name).unwrap());
    let waits: Vec<_> = reports(&told)
        .into_iter()
        .filter(|report| {
            matches!(report, Report::WaitingForOffer { .. } | Report::WaitingForRegistry { .. })
        })
        .collect();
    let from = *PEER.ip();
    let for_registry =
        Report::WaitingForRegistry { path: a, peer: PeerId(3), from, registry: REGISTRY.into() };
    assert_eq!(waits, [&for_registry, &Report::WaitingForOffer { path: c }]);
}

fn interfaces(addresses: &[[u8; 4]]) -> Vec<Interface> {
    let interface = |(number, address): (usize, &[u8; 4])| {
        let (name, address) = (format!("eth{number}"), (*address).into());
        Interface::new(name, (address, 24), None, false, true)
    };
    addresses.iter().enumerate().map(interface).collect()
}

/// A peer that is registered from the first of these addresses of ours.
fn registered_from(
    now: Instant,
    kind: PeerKind,
    addresses: &[[u8; 4]],
) -> (PeerNode, ConnectionId, Vec<Action>) {
    let mut node = node(now, kind);
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(now, Input::Interfaces(&interfaces(addresses)));
    let from = addresses[0].into();
    node.handle(now, Input::DialedFrom { connection: registry, from });
    node.handle(now, Input::Connected(registry));
    sent(&mut node, now, registry);
    answer(&mut node, now, registry, RegistryResponse::Registered(true));
    let told = actions(&mut node);
    (node, registry, told)
}

#[test]
fn a_peer_registers_anew_from_the_address_that_it_has_now() {
    let start = Instant::now();
    let [first, second] = [[10, 77, 0, 1], [10, 77, 0, 99]];
    for kind in [PeerKind::AnyId, PeerKind::Fixed] {
        let (mut node, registry, told) = registered_from(start, kind, &[first]);
        let address = Some(SocketAddrV4::new(first.into(), 1));
        assert_eq!(reports(&told), [&Report::Registered { registry: REGISTRY, address }]);
        let id = node.context.settings.id;
        // The address is gone before there is another one.
        node.handle(start, Input::Interfaces(&[]));
        let gone = io::ErrorKind::AddrNotAvailable;
        node.handle(start, Input::Broken { connection: registry, kind: gone });
        let told = actions(&mut node);
        let [Report::InterfaceChanged { change, is_offered_on: true }] = reports(&told)[..] else {
            panic!("nothing but the cause is told: {told:?}");
        };
        assert_eq!(change.to_string(), "eth0 lost 10.77.0.1");
        // Until there is, each attempt fails, and is not told.
        let mut now = start;
        while now < start + Duration::from_secs(20) {
            now = node.poll_timeout().unwrap().max(now);
            node.handle_timeout(now);
            let told = actions(&mut node);
            assert!(reports(&told).is_empty(), "{told:?}");
            for action in told {
                if let Action::Dial { connection, .. } = action {
                    node.handle(now, Input::Broken { connection, kind: gone });
                }
            }
        }
        actions(&mut node);
        // Then it is used at once.
        node.handle(now, Input::Interfaces(&interfaces(&[second])));
        let told = actions(&mut node);
        let registry = dialed(&told, REGISTRY);
        node.handle(now, Input::DialedFrom { connection: registry, from: second.into() });
        node.handle(now, Input::Connected(registry));
        let mut expected = Vec::new();
        let (peer, port) = (node.context.settings.id, 1);
        RegistryRequest::Register { peer, port }.encode(&mut expected);
        assert_eq!(sent(&mut node, now, registry), expected);
        // The registry may not have seen yet that the old connection is gone.
        assert_eq!(peer == id, matches!(kind, PeerKind::Fixed));
    }
}

#[test]
fn a_registration_moves_to_the_address_that_leads_to_the_registry() {
    let now = Instant::now();
    let (mut node, registry, _) = registered_from(now, PeerKind::Fixed, &[[10, 77, 0, 1]]);
    node.handle(now, Input::Rerouted(registry));
    let told = actions(&mut node);
    let close =
        Action::Close { connection: registry, how: CloseHow::Reset, reason: CloseReason::Rerouted };
    assert!(told.contains(&close), "{told:?}");
    assert!(dialed(&told, REGISTRY) != registry && reports(&told).is_empty(), "{told:?}");

    // That of a guest, which has none, is not needed before there is something to ask.
    let (mut node, registry) = registered(now, settings(guest(None, 0)));
    actions(&mut node);
    node.handle(now, Input::Rerouted(registry));
    let told = actions(&mut node);
    assert!(!told.iter().any(|action| matches!(action, Action::Dial { .. })), "{told:?}");
    node.handle(now, Input::Want(&[name("a")]));
    hear(&mut node, now, PEER, 3, "a");
    dialed(&actions(&mut node), REGISTRY);
}

#[test]
fn interfaces_to_which_the_registered_address_does_not_belong_are_named_once() {
    let now = Instant::now();
    let two = [[10, 77, 0, 1], [172, 17, 0, 1]];
    let (mut node, _, told) = registered_from(now, PeerKind::AnyId, &two);
    let apart = |names: &[&str]| Report::OfferedApart {
        address: two[0].into(),
        interfaces: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert!(reports(&told).contains(&&apart(&["eth1"])), "{told:?}");
    let mut told_of = |addresses: &[[u8; 4]]| {
        node.handle(now, Input::Interfaces(&interfaces(addresses)));
        let told = actions(&mut node);
        let is_apart = |report: &&&Report| matches!(report, Report::OfferedApart { .. });
        reports(&told).iter().filter(is_apart).map(|report| (*report).clone()).collect::<Vec<_>>()
    };
    assert_eq!(told_of(&two), []);
    assert_eq!(told_of(&[two[0], two[1], [172, 18, 0, 1]]), [apart(&["eth1", "eth2"])]);
    assert_eq!(told_of(&two[..1]), []);
    // Once it is gone, the registration moves.
    assert_eq!(told_of(&[two[1]]), []);
    // One in the same network is no other network.
    assert_eq!(told_of(&[two[0], [10, 77, 0, 2]]), []);
}

#[test]
fn the_name_of_the_registry_is_looked_for_at_each_attempt_and_has_to_be_known_at_the_first() {
    let start = Instant::now();
    let lab = HostPort::Name { host: "lab".into(), port: REGISTRY.port() };
    let settings = || PeerSettings { registry: lab.clone(), ..settings(PeerKind::Fixed) };
    let resolve = Action::Resolve("lab".into());
    let why = || "nobody knows".to_owned();
    let mut node = PeerNode::new(start, settings());
    assert_eq!(actions(&mut node), std::slice::from_ref(&resolve));
    node.handle(start, Input::Resolved(Err(why())));
    let (host, unknown) = ("lab".to_owned(), why());
    let ended = Outcome::NoSuchHost { host, why: unknown };
    assert_eq!(exit(&actions(&mut node)), Some(&ended));

    let mut node = PeerNode::new(start, settings());
    node.handle(start, Input::Resolved(Ok(*REGISTRY.ip())));
    let registry = dialed(&actions(&mut node), REGISTRY);
    node.handle(start, Input::ReadClosed(registry));
    actions(&mut node);
    let mut now = start;
    for answer in [Err(why()), Ok(Ipv4Addr::new(127, 0, 0, 9))] {
        while node.context.deadlines.next().is_some() {
            now = node.poll_timeout().unwrap();
            node.handle_timeout(now);
            if actions(&mut node).contains(&resolve) {
                break;
            }
        }
        node.handle(now, Input::Resolved(answer));
    }
    dialed(&actions(&mut node), SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 9), REGISTRY.port()));
    // One that nobody waits for is no news.
    node.handle(now, Input::Resolved(Err(why())));
    assert_eq!(actions(&mut node), []);
}

#[test]
fn a_registry_that_the_user_did_not_name_is_tried_quietly_and_in_the_end_once_a_minute() {
    let start = Instant::now();
    let registry_use = RegistryUse::Usual;
    let settings = || PeerSettings { registry_use, ..settings(PeerKind::Fixed) };
    let mut node = PeerNode::new(start, settings());
    let is_told = |action: &Action| {
        matches!(action, Action::Report(report @ Report::RegistryUnreachable { .. })
            if report.level() <= log::Level::Info)
    };
    let (mut now, mut pauses) = (start, Vec::new());
    let mut made = actions(&mut node);
    for _ in 0..7 {
        let connection = dialed(&made, REGISTRY);
        let (kind, failed_at) = (io::ErrorKind::ConnectionRefused, now);
        node.handle(now, Input::Broken { connection, kind });
        made = actions(&mut node);
        while !made.iter().any(|it| matches!(it, Action::Dial { .. })) {
            assert!(!made.iter().any(is_told));
            now = node.poll_timeout().unwrap();
            node.handle_timeout(now);
            made = actions(&mut node);
        }
        pauses.push(now - failed_at);
    }
    let hasty = pauses.iter().filter(|pause| **pause < USUAL_REGISTRY_INTERVAL).count();
    assert_eq!(hasty, USUAL_REGISTRY_HASTY_TRIES as usize, "{pauses:?}");

    let settings = PeerSettings { registry_use: RegistryUse::Never, ..settings() };
    let mut node = PeerNode::new(start, settings);
    assert!(!actions(&mut node).iter().any(|it| matches!(it, Action::Dial { .. })));
}
