//! Every event, to the byte.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use super::*;
use crate::content::{Content, ContentId, Digest, FileError, FolderLoss};
use crate::node::{
    Candidate, Change, ConnectionId, Direction, FetchError, Giver, Happened, Inventory, Listed,
    Paths, Report, Snapshot, Transfer, WishReport,
};
use crate::proto::CloseReason;
use crate::proto::control::{Fetched, News};
use crate::ui::facts::{Facts, LoopCounts};
use crate::ui::meter::Meter;
use crate::ui::progress::Totals;
use crate::ui::scene::{ADDRESS, DOWNLOAD, transfer};
use crate::ui::schema::{COMMON, FieldKind};
use crate::ui::work::Work;
use crate::wire::v0::FileName;
use crate::wire::v1::{EntryState, PeerName, Verdict};
use crate::wire::{FieldText, FilePath, PeerId};

/// What [`lines`] are, with the time of each cut out, and the number of the process 0.
const EXPECTED: &[&str] = &[
    r#"{"v":1,"time":"","event":"registered","registry":"192.0.2.1:5000","address":null}"#,
    r#"{"v":1,"time":"","event":"registered","registry":"192.0.2.1:5000","address":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"interface_changed","name":"eth0","address":"192.0.2.1","change":"went down"}"#,
    r#"{"v":1,"time":"","event":"registry_unreachable","registry":"192.0.2.1:5000","reason":"\u001b[2J\u000a\"\\","retry_in":1.500}"#,
    r#"{"v":1,"time":"","event":"registry_unreachable","registry":"192.0.2.1:5000","reason":"connection refused","retry_in":1.500}"#,
    r#"{"v":1,"time":"","event":"registry_unreachable","registry":"nas","reason":"nobody knows","retry_in":1.500}"#,
    r#"{"v":1,"time":"","event":"offer_seen","name":"a é","peer":7}"#,
    r#"{"v":1,"time":"","event":"offer_gone","name":"a é","peer":7}"#,
    r#"{"v":1,"time":"","event":"already_there","name":"a é","skipped":false}"#,
    r#"{"v":1,"time":"","event":"already_there","name":"a é","skipped":true}"#,
    r#"{"v":1,"time":"","event":"waiting","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"waiting_for_registry","name":"a é","peer":7,"from":"192.0.2.1","registry":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"nearly_offered","name":"a é","offered":"A é"}"#,
    r#"{"v":1,"time":"","event":"download_started","name":"a é","peer":7,"address":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"checksum_failed","name":"a é","peer":7,"simulated":true}"#,
    r#"{"v":1,"time":"","event":"source_failed","name":"a é","peer":7,"reason":"connection refused"}"#,
    r#"{"v":1,"time":"","event":"source_failed","name":"a é","peer":7,"reason":"it is not known to the registry"}"#,
    r#"{"v":1,"time":"","event":"retrying","name":"a é","retry_in":1.500}"#,
    r#"{"v":1,"time":"","event":"verified","name":"a é","peer":7,"bytes":1152921504606846976,"seconds":12.346,"sha256":"0707070707070707070707070707070707070707070707070707070707070707","blake3":null,"sources":1}"#,
    r#"{"v":1,"time":"","event":"failed","name":"a é","reason":"no such regular file"}"#,
    r#"{"v":1,"time":"","event":"saved_as","name":"a é (1)","wanted":"a é"}"#,
    r#"{"v":1,"time":"","event":"identical","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"withdrawn","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"waiting_for_match","pattern":"*\u000a","nearly":"A é"}"#,
    r#"{"v":1,"time":"","event":"nothing_matched","pattern":"*\u000a"}"#,
    r#"{"v":1,"time":"","event":"upload_started","name":"a é","address":"192.0.2.1:5000","bytes":1152921504606846976}"#,
    r#"{"v":1,"time":"","event":"upload_done","name":"a é","address":"192.0.2.1:5000","bytes":1152921504606846976,"seconds":12.346}"#,
    r#"{"v":1,"time":"","event":"upload_failed","name":"a é","address":"192.0.2.1:5000","reason":"connection refused"}"#,
    r#"{"v":1,"time":"","event":"peer_verdict","name":"a é","peer":7,"peer_name":"ann","verdict":"verified"}"#,
    r#"{"v":1,"time":"","event":"file_shared","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"file_changing","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"file_refused","name":"a é"}"#,
    r#"{"v":1,"time":"","event":"file_lost","name":"a é","reason":"no such regular file"}"#,
    r#"{"v":1,"time":"","event":"folder_lost","reason":"it was removed, moved or unmounted"}"#,
    r#"{"v":1,"time":"","event":"peer_entered","peer":7,"address":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"peer_left","peer":7,"reason":"connection refused"}"#,
    r#"{"v":1,"time":"","event":"waiting","name":"a/é"}"#,
    r#"{"v":1,"time":"","event":"listed","name":"a/é","files":2,"bytes":1152921504606846976,"sources":3,"hidden":1}"#,
    r#"{"v":1,"time":"","event":"would_fetch","name":"a/é","bytes":1152921504606846976,"blake3":null}"#,
    r#"{"v":1,"time":"","event":"hashing_at_source","name":"a/é","hashed_bytes":5,"bytes":1152921504606846976}"#,
    r#"{"v":1,"time":"","event":"ambiguous","name":"a/é","candidates":2}"#,
    r#"{"v":1,"time":"","event":"candidate","name":"a/é","path":"a/é","peer":7,"peer_name":"ann","address":"192.0.2.1:5000","bytes":1152921504606846976,"modified":"1970-01-01T00:00:01Z","blake3":"0707070707070707070707070707070707070707070707070707070707070707"}"#,
    r#"{"v":1,"time":"","event":"candidate","name":"a/é","path":"a/é","peer":7,"peer_name":"ann","address":"192.0.2.1:5000","bytes":null,"modified":null,"blake3":null}"#,
    r#"{"v":1,"time":"","event":"verified","name":"a/é","peer":7,"bytes":1152921504606846976,"seconds":12.346,"sha256":null,"blake3":"0707070707070707070707070707070707070707070707070707070707070707","sources":1}"#,
    r#"{"v":1,"time":"","event":"verified","name":"a/é","peer":0,"bytes":1152921504606846976,"seconds":0.000,"sha256":null,"blake3":"0707070707070707070707070707070707070707070707070707070707070707","sources":0}"#,
    r#"{"v":1,"time":"","event":"failed","name":"a/é","reason":"nobody shared it in time; `p2pfs list` shows what is shared"}"#,
    r#"{"v":1,"time":"","event":"listening","address":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"sharing","folder":"a folder","files":3,"skipped":1}"#,
    r#"{"v":1,"time":"","event":"file_skipped","name":"\u0000\u0009\u0008\u000c\u000d\u001f\u007f\u0085\u202e\udb40\udc01/😀","reason":"no such regular file"}"#,
    r#"{"v":1,"time":"","event":"dropped","events":3}"#,
    r#"{"v":1,"time":"","event":"offer","name":"a é","peer":7,"address":"192.0.2.1:5000","heard_ago":0.250,"listens_at":null}"#,
    r#"{"v":1,"time":"","event":"offer","name":"a é","peer":7,"address":"192.0.2.1:5000","heard_ago":0.250,"listens_at":"192.0.2.1:5000"}"#,
    r#"{"v":1,"time":"","event":"offer_gone","name":"a é","peer":7}"#,
    r#"{"v":1,"time":"","event":"listened","seconds":1.500,"files":2,"peers":1,"is_full":false}"#,
    r#"{"v":1,"time":"","event":"entry","name":"a/b","folder":false,"bytes":3,"modified":"2001-02-03T04:05:06Z","executable":true,"blake3":null,"hashed":1,"sources":["ann","peer 7"]}"#,
    r#"{"v":1,"time":"","event":"entry_gone","name":"a/b"}"#,
    r#"{"v":1,"time":"","event":"place","kind":"port","place":"UDP 8000","meaning":"offers"}"#,
    r#"{"v":1,"time":"","event":"job","bytes":1,"size":3,"bytes_per_second":1,"seconds_left":2}"#,
    r#"{"v":1,"time":"","event":"exit","code":0,"error":null,"skipped":null,"kept_bytes":null}"#,
    r#"{"v":1,"time":"","event":"exit","code":2,"error":"no \"file\"","skipped":2,"kept_bytes":4096}"#,
    r#"{"v":1,"time":"","event":"offer_port","port":8000,"ok":true,"error":null}"#,
    r#"{"v":1,"time":"","event":"offer_port","port":8000,"ok":false,"error":"in use"}"#,
    r#"{"v":1,"time":"","event":"registry","registry":"lab:5000","ok":true,"connected_us":1000000,"answered_us":2000000,"error":null}"#,
    r#"{"v":1,"time":"","event":"registry","registry":"lab:5000","ok":false,"connected_us":null,"answered_us":null,"error":"gone"}"#,
    r#"{"v":1,"time":"","event":"interface","name":"eth0","address":"192.0.2.1","prefix_length":24,"broadcast":null,"up":true,"offers_to":null,"ok":false,"error":"no","offers":3,"peers":1}"#,
    r#"{"v":1,"time":"","event":"interface","name":"eth0","address":"192.0.2.1","prefix_length":24,"broadcast":"192.0.2.255","up":true,"offers_to":"192.0.2.1:5000","ok":false,"error":null,"offers":3,"peers":1}"#,
    r#"{"v":1,"time":"","event":"peer","peer":7,"from":"192.0.2.1","offers":3,"address":"192.0.2.1:5000","ok":true,"connected_us":1000000,"error":null,"interface":"eth0"}"#,
    r#"{"v":1,"time":"","event":"peer","peer":7,"from":"192.0.2.1","offers":3,"address":null,"ok":false,"connected_us":null,"error":"not known","interface":null}"#,
    r#"{"v":1,"time":"","event":"beacon_port","port":8001,"ok":false,"error":"in use"}"#,
    r#"{"v":1,"time":"","event":"beacons","name":"eth0","address":"192.0.2.1","beacons_to":"192.0.2.1:5000","ok":true,"error":null,"beacons":3,"peers":1}"#,
    r#"{"v":1,"time":"","event":"beaconing_peer","peer":7,"peer_name":"ann","from":"192.0.2.1","beacons":3,"files":5,"address":"192.0.2.1:5000","ok":true,"session_us":1000000,"error":null,"interface":"eth0"}"#,
    r#"{"v":1,"time":"","event":"registry_list","ok":true,"peers":2,"error":null}"#,
    r#"{"v":1,"time":"","event":"listed_peer","peer":7,"peer_name":"ann","address":"192.0.2.1:5000","ok":true,"session_us":1000000,"error":null}"#,
    r#"{"v":1,"time":"","event":"verdict","code":1,"text":"it is late"}"#,
    r#"{"v":1,"time":"","event":"status","name":"test","pid":0,"uptime_seconds":1.000,"files_shared":5,"offers_known":6,"peers_known":7,"connections":4,"downloads_running":1,"uploads_running":1,"wishes_open":8,"files_fetched":9,"bytes_fetched":10,"files_sent":11,"bytes_sent":12,"retries":13,"turns":14,"longest_turn_seconds":0.001,"syncs":15,"longest_sync_seconds":0.017}"#,
    r#"{"v":1,"time":"","event":"transfer","name":"a é","upload":true,"address":"192.0.2.1:5000","bytes":3000,"bytes_per_second":3000,"seconds":1.000,"size":4000}"#,
    r#"{"v":1,"time":"","event":"transfer","name":"a é","upload":false,"address":"192.0.2.1:5000","bytes":3000,"bytes_per_second":3000,"seconds":1.000,"size":null}"#,
    r#"{"v":1,"time":"","event":"wanted_file","name":"a é","programs":2}"#,
    r#"{"v":1,"time":"","event":"wanted_pattern","pattern":"*\u000a","programs":1}"#,
    r#"{"v":1,"time":"","event":"shared_file","name":"a é","bytes":7}"#,
    r#"{"v":1,"time":"","event":"offer","name":"a é","peer":7,"address":"192.0.2.1:5000","heard_ago":1.000,"listens_at":null}"#,
    r#"{"v":1,"time":"","event":"upload_progress","name":"a é","address":"192.0.2.1:5000","bytes":3000,"bytes_per_second":3000,"seconds":1.000,"still_for":1.000,"limited_by":"other side"}"#,
    r#"{"v":1,"time":"","event":"progress","name":"a é","peer":7,"bytes":3000,"bytes_per_second":3000,"seconds":1.000,"still_for":0.250,"limited_by":"network","size":null,"sources":1}"#,
];

/// The metrics that are written: of each the name, the type and the value.
const METRICS: &[&str] = &[
    "uptime_seconds gauge 1.000000",
    "files_shared gauge 5",
    "offers_known gauge 6",
    "peers_known gauge 7",
    "connections gauge 4",
    "downloads_running gauge 1",
    "uploads_running gauge 1",
    "wishes_open gauge 8",
    "files_fetched_total counter 9",
    "bytes_fetched_total counter 10",
    "files_sent_total counter 11",
    "bytes_sent_total counter 12",
    "retries_total counter 13",
    "turns_total counter 14",
    "longest_turn_seconds gauge 0.001499",
    "syncs_total counter 15",
    "longest_sync_seconds gauge 0.016500",
];

/// The lines of all reports that have any.
fn reported() -> Vec<String> {
    let mut paths = Paths::default();
    let [path, other] =
        ["a \u{e9}", "a \u{e9} (1)"].map(|n| paths.intern_name(FileName::new(n).unwrap()));
    let peer = PeerId(7);
    let [address, registry, from, to] = [ADDRESS; 4];
    let reason = CloseReason::Broken(io::ErrorKind::ConnectionRefused);
    let (retry_in, size_bytes) = (Duration::from_millis(1500), 1 << 60);
    let elapsed = Duration::from_micros(12_345_678);
    let text = FieldText::new("\u{1b}[2J\n\"\\");
    let (digest, error) = (Digest([7; 32]), FileError::Missing);
    let (happened, interface) = (Happened::WentDown, "eth0".to_owned());
    let change = Change { interface, address: *from.ip(), happened };
    let [host, why] = ["nas", "nobody knows"].map(str::to_owned);
    let reports = [
        Report::Registered { registry, address: None },
        Report::Registered { registry, address: Some(address) },
        Report::InterfaceChanged { change, is_offered_on: true },
        Report::RegistrationRefused { registry: registry.into(), text, retry_in },
        Report::RegistryUnreachable {
            registry: registry.into(),
            reason,
            retry_in,
            again: false,
            is_missed: true,
        },
        Report::HostNotFound { host, why, retry_in: Some(retry_in), again: false },
        Report::OfferSeen { path, peer },
        Report::OfferGone { path, peer },
        Report::AlreadyThere { path },
        Report::Skipped { path },
        Report::WaitingForOffer { path },
        Report::WaitingForRegistry { path, peer, from: *from.ip(), registry: registry.into() },
        Report::NearlyOffered { path, offered: FileName::new("A e\u{301}").unwrap() },
        Report::DownloadStarted { path, peer, address },
        Report::ChecksumFailed { path, peer, is_simulated: true },
        Report::SourceFailed { path, peer, reason: Some(reason), again: false },
        Report::SourceFailed { path, peer, reason: None, again: false },
        Report::AllSourcesFailed { path, retry_in, again: false },
        Report::Verified { path, peer, size_bytes, digest, elapsed },
        Report::FetchFailed { path, error: error.into(), is_all: false },
        Report::SavedAs { wanted: path, path: other },
        Report::Identical { path },
        Report::Withdrawn { path },
        Report::WaitingForMatch { pattern: "*\n".to_owned(), nearly: FileName::new("A é").ok() },
        Report::NothingMatched { pattern: "*\n".to_owned() },
        Report::UploadStarted { path, to, size_bytes },
        Report::UploadDone { path, to, size_bytes, elapsed },
        Report::UploadFailed { path, to, reason },
        Report::Verdict {
            path,
            peer,
            name: PeerName::new("ann").unwrap(),
            verdict: Verdict::Verified,
        },
        Report::FileShared { path },
        Report::FileChanging { path },
        Report::FileRefused { path },
        Report::FileLost { path, error },
        Report::FolderLost { why: FolderLoss::Gone },
        Report::PeerEntered { peer, address },
        Report::PeerLeft { peer, reason },
    ];
    for told_otherwise in [
        Report::PeerGone { peer },
        Report::IdRefused { peer, text, next: peer },
        Report::ConnectionClosed { from, reason },
        Report::NotShared { path, from },
        Report::ConnectionRefused { from },
        Report::ReadFailed { path, error },
        Report::EntryRefused { peer, address, text },
        Report::LookupsFailed { registry, reason },
        Report::RegistryUnreachable {
            registry: registry.into(),
            reason,
            retry_in,
            again: false,
            is_missed: false,
        },
    ] {
        assert!(Event::of_report(&told_otherwise, &paths).is_none(), "{told_otherwise:?}");
    }
    reports.iter().map(|report| Event::of_report(report, &paths).unwrap().line()).collect()
}

/// The lines of all reports about wishes that have any.
fn of_wishes() -> Vec<String> {
    let (wish, path) = ("a/\u{e9}".to_owned(), FilePath::new("a/\u{e9}").unwrap());
    let content = Content { id: ContentId([7; 32]), size_bytes: 1 << 60 };
    let (size_bytes, error) = (content.size_bytes, FetchError::NotShared);
    let giver = Giver { peer: PeerId(7), name: PeerName::new("ann").unwrap() };
    let file = EntryState::File { content, modified_ns: 1_500_000_000, executable: false };
    let candidate = |state| Candidate { peer: giver, address: ADDRESS, path: path.clone(), state };
    let [file, folder] = [Some(file), None]
        .map(|state| WishReport::OneOf { wish: wish.clone(), candidate: candidate(state) });
    let listed = Listed { wish: wish.clone(), files: 2, size_bytes, sources: 3, hidden: 1 };
    let (from, elapsed) = (vec![giver], Duration::from_micros(12_345_678));
    let reports = [
        WishReport::Waiting { wish: wish.clone(), names: Vec::new() },
        WishReport::Listed(listed),
        WishReport::WouldFetch { path: path.clone(), size_bytes, id: None },
        WishReport::HashingAtSource { path: path.clone(), hashed_bytes: 5, size_bytes },
        WishReport::Ambiguous { wish: wish.clone(), candidates: 2 },
        file,
        folder,
        WishReport::Fetched { path: path.clone(), content, from, elapsed },
        WishReport::Copied { path, content },
        WishReport::Failed { wish, error, is_all: true, names: Vec::new() },
    ];
    let event = |report: WishReport| {
        Event::of_report(&Report::Wish(Box::new(report)), &Paths::default()).unwrap().line()
    };
    reports.into_iter().map(event).collect()
}

/// The lines of what is no report, but for those of the doctor and of a running program.
fn told(heard: &HeardOffer) -> Vec<String> {
    let now = heard.heard_at + Duration::from_millis(250);
    let odd = "\0\t\u{8}\u{c}\r\u{1f}\u{7f}\u{85}\u{202e}\u{e0001}/\u{1f600}";
    let events = [
        Event::Listening { address: text(ADDRESS) },
        Event::Sharing { folder: text("a folder"), files: 3, skipped: 1 },
        Event::FileSkipped { name: text(odd), reason: text(FileError::Missing) },
        Event::Dropped { events: 3 },
        Event::of_offer(heard, None, now),
        Event::of_offer(heard, Some(ADDRESS), now),
        Event::of_offer_gone(&heard.offer),
        Event::Listened {
            seconds: Seconds(Duration::from_millis(1500)),
            files: 2,
            peers: 1,
            is_full: false,
        },
        Event::Entry {
            name: text("a/b"),
            folder: false,
            bytes: 3,
            modified: Some(text("2001-02-03T04:05:06Z")),
            executable: true,
            blake3: None,
            hashed: Some(1),
            sources: vec![text("ann"), text("peer 7")],
        },
        Event::EntryGone { name: text("a/b") },
        Event::Place { kind: text("port"), place: text("UDP 8000"), meaning: text("offers") },
        Event::Job { bytes: 1, size: 3, bytes_per_second: 1, seconds_left: Some(2) },
        Event::of_exit(ExitCode::Done, None, Ending::default()),
        Event::of_exit(
            ExitCode::Usage,
            Some("no \"file\""),
            Ending { skipped: Some(2), kept_bytes: Some(4096) },
        ),
    ];
    events.iter().map(Event::line).collect()
}

/// The lines of the doctor.
fn examined() -> Vec<String> {
    let port = |error: Option<&str>| {
        let ok = error.is_none();
        Event::OfferPort { port: 8000, ok, error: error.map(text) }
    };
    let registry = |us, error: Option<&str>| Event::Registry {
        registry: text("lab:5000"),
        ok: error.is_none(),
        connected_us: us,
        answered_us: us.map(|us| us * 2),
        error: error.map(text),
    };
    let interface =
        |broadcast: Option<&str>, to: Option<SocketAddrV4>, error: Option<&str>| Event::Interface {
            name: text("eth0"),
            address: text(ADDRESS.ip()),
            prefix_length: 24,
            broadcast: broadcast.map(text),
            up: true,
            offers_to: to.map(text),
            ok: false,
            error: error.map(text),
            offers: 3,
            peers: 1,
        };
    let peer = |address: Option<SocketAddrV4>, connected_us, error: Option<&str>| Event::Peer {
        peer: 7,
        from: text("192.0.2.1"),
        offers: 3,
        address: address.map(text),
        ok: error.is_none(),
        connected_us,
        error: error.map(text),
        interface: address.map(|_| text("eth0")),
    };
    let events = [
        port(None),
        port(Some("in use")),
        registry(Some(1_000_000), None),
        registry(None, Some("gone")),
        interface(None, None, Some("no")),
        interface(Some("192.0.2.255"), Some(ADDRESS), None),
        peer(Some(ADDRESS), Some(1_000_000), None),
        peer(None, None, Some("not known")),
        Event::BeaconPort { port: 8001, ok: false, error: Some(text("in use")) },
        Event::Beacons {
            name: text("eth0"),
            address: text(ADDRESS.ip()),
            beacons_to: Some(text(ADDRESS)),
            ok: true,
            error: None,
            beacons: 3,
            peers: 1,
        },
        Event::BeaconingPeer {
            peer: 7,
            peer_name: text("ann"),
            from: text("192.0.2.1"),
            beacons: 3,
            files: 5,
            address: Some(text(ADDRESS)),
            ok: true,
            session_us: Some(1_000_000),
            error: None,
            interface: Some(text("eth0")),
        },
        Event::RegistryList { ok: true, peers: Some(2), error: None },
        Event::ListedPeer {
            peer: 7,
            peer_name: text("ann"),
            address: text(ADDRESS),
            ok: true,
            session_us: Some(1_000_000),
            error: None,
        },
        Event::Verdict { code: ExitCode::Other as u8, text: text("it is late") },
    ];
    events.iter().map(Event::line).collect()
}

/// The lines of a program that sends a file and fetches it; and what it writes as metrics.
fn running(heard: HeardOffer) -> (Vec<String>, String) {
    let (name, began, second) = (heard.offer.name, heard.heard_at, Duration::from_secs(1));
    let out = Direction::Out { size_bytes: 4000, waits_for_hash: false };
    let upload = transfer(name.as_str(), out, began);
    let download = Transfer {
        connection: ConnectionId::from_bits(1),
        moved_at: began + Duration::from_millis(750),
        ..transfer(name.as_str(), DOWNLOAD, began)
    };
    let snapshot = Snapshot {
        transfers: vec![upload, download],
        connections: 4,
        files_shared: 5,
        offers_known: 6,
        peers_known: 7,
        jobs_open: 8,
        job: None,
    };
    let now = began + second;
    let mut meter = Meter::default();
    meter.sample(now, &snapshot, (&Work { idle: second, ..Work::default() }, second));
    let mut totals = Totals::default();
    (totals.files_in, totals.bytes_in) = (9, 10);
    (totals.files_out, totals.bytes_out) = (11, 12);
    totals.retries = 13;
    let (longest_turn, longest_sync) = (Duration::from_micros(1499), Duration::from_micros(16_500));
    let counts = LoopCounts { turns: 14, longest_turn, syncs: 15, longest_sync };
    let (totals, snapshot, counts) = (&totals, &snapshot, &counts);
    let facts = Facts { name: "test", began, now, totals, snapshot, counts };
    let inventory = Inventory {
        wanted: vec![(name.into(), 2)],
        patterns: vec![("*\n".to_owned(), 1)],
        shared: vec![(name.into(), 7)],
        offers: vec![heard],
    };
    let pid = format!("\"pid\":{},", std::process::id());
    let answer = facts.json(&inventory).replace(&pid, "\"pid\":0,");
    let mut lines: Vec<_> = answer.lines().map(|line| format!("{line}\n")).collect();
    lines.extend(meter.running().map(|running| running.event().line()));
    (lines, facts.prometheus())
}

fn heard() -> HeardOffer {
    let offer = Offer { name: FileName::new("a \u{e9}").unwrap(), peer: PeerId(7) };
    HeardOffer { offer, from: ADDRESS, heard_at: Instant::now() }
}

fn lines() -> Vec<String> {
    [reported(), of_wishes(), told(&heard()), examined(), running(heard()).0].concat()
}

#[test]
fn news_of_another_program_are_told_as_if_they_were_our_own() {
    let mut paths = Paths::default();
    let (name, peer) = (FileName::new("a \u{e9}").unwrap(), PeerId(7));
    let path = paths.intern_name(name);
    let (size_bytes, digest, elapsed) = (1 << 60, Digest([7; 32]), Duration::from_millis(1500));
    let (code, error) = (ExitCode::WriteFailed as u8, FileError::Missing);
    let reason = error.to_string();
    let cases = [
        (News::Waiting(name), Report::WaitingForOffer { path }),
        (News::Present(name), Report::AlreadyThere { path }),
        (
            News::Verified(Fetched { name, peer, size_bytes, digest, elapsed }),
            Report::Verified { path, peer, size_bytes, digest, elapsed },
        ),
        (
            News::Failed { name, code, reason },
            Report::FetchFailed { path, error: error.into(), is_all: false },
        ),
    ];
    for (news, ours) in cases {
        let news = Report::News(Box::new(news));
        assert_eq!(news.shown(&paths).to_string(), ours.shown(&paths).to_string());
        let [news, ours] = [news, ours].map(|it| Event::of_report(&it, &paths).unwrap());
        let json = |event| serde_json::to_value(event).unwrap();
        assert_eq!(json(&news), json(&ours));
    }
}

#[test]
fn every_line_is_as_it_always_was() {
    let without_time = |line: &String| {
        let (start, rest) = line.split_once("\"time\":\"").unwrap();
        let (time, rest) = rest.split_once('"').unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{line}");
        assert!(humantime::parse_rfc3339(time).is_ok(), "{line}");
        format!("{start}\"time\":\"\"{rest}")
    };
    let lines: Vec<_> = lines().iter().map(without_time).collect();
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(Some(&line.trim_end_matches('\n')), EXPECTED.get(n), "line {n}");
    }
    assert_eq!(lines.len(), EXPECTED.len());
    assert!(lines.iter().all(|line| line.ends_with("}\n") && line.matches('\n').count() == 1));
}

/// Checks a line against the documentation of its event; returns the name of the event.
fn check(line: &str) -> &'static str {
    let object: serde_json::Map<_, _> = serde_json::from_str(line).unwrap();
    let kind = EVENTS.iter().find(|kind| object["event"] == kind.name).unwrap();
    let documented = COMMON.iter().chain(kind.fields);
    assert_eq!(object.len(), documented.clone().count(), "{line}");
    for field in documented {
        let value = &object[field.name];
        let fits = match field.kind {
            FieldKind::Text => value.is_string(),
            FieldKind::TextOrNull => value.is_string() || value.is_null(),
            FieldKind::Number => value.is_u64(),
            FieldKind::NumberOrNull => value.is_u64() || value.is_null(),
            FieldKind::Decimal => value.is_f64(),
            FieldKind::Flag => value.is_boolean(),
            FieldKind::TextList => {
                value.as_array().is_some_and(|texts| texts.iter().all(serde_json::Value::is_string))
            }
        };
        assert!(fits, "{} in {line}", field.name);
    }
    kind.name
}

#[test]
fn metrics_have_the_numbers_of_the_status() {
    let metrics = running(heard()).1;
    let (help, rest): (Vec<_>, Vec<_>) =
        metrics.lines().partition(|line| line.starts_with("# HELP p2pfs_"));
    let lines = METRICS.iter().flat_map(|metric| {
        let [name, kind, value] = metric.split(' ').collect::<Vec<_>>().try_into().unwrap();
        [format!("# TYPE p2pfs_{name} {kind}"), format!("p2pfs_{name} {value}")]
    });
    assert_eq!(rest, lines.collect::<Vec<_>>());
    assert_eq!(help.len(), METRICS.len());
}

#[test]
fn every_event_is_as_it_is_documented() {
    let checked: BTreeSet<_> = lines().iter().map(|line| check(line)).collect();
    assert_eq!(checked, EVENTS.iter().map(|kind| kind.name).collect());
    assert_eq!(checked.len(), EVENTS.len(), "no name twice");
}
