//! The peer as a whole: any inputs in any order, legal in form and hostile in content.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use kit::messages::{self, Count};
use kit::runner::{Connection, File, FileState, Runner};
use p2pfs::content::{FailedCall, FileError, Known, Lack, OnConflict, Room, Sight};
use p2pfs::limits::Limits;
use p2pfs::node::{
    BeaconSettings, ConnectionId, GroupSettings, GuestSettings, Input, NamePattern, PeerKind,
    PeerSettings, Signal,
};
use p2pfs::proto::FileId;
use p2pfs::wire::v0::FileName;
use p2pfs::wire::v1::{Beacon, BeaconKind, PeerName, Secret};
use sha2::Digest as _;

use super::peer_runner::{Disk, Manner, Peer, Socket, SocketKind};
use super::script::Script;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut peer = Peer::new(settings(&mut script));
    while !script.is_over() && !peer.has_exited() {
        step(&mut peer, &mut script);
    }
    check_calm(&mut peer);
    peer.feed(Input::Stop(Signal::Terminate));
    assert!(peer.has_exited(), "does not end when it is told to");
}

/// After an hour in which nothing happens, nothing waits for others any more but a
/// registration, and no offer is remembered.
fn check_calm(peer: &mut Peer) {
    if peer.has_exited() {
        return;
    }
    peer.clock.wait(Duration::from_secs(3600));
    peer.time_out();
    if peer.has_exited() {
        return;
    }
    let is_download = |c: &Connection<Socket>| c.what.kind == SocketKind::Download;
    let waits = peer.held().connections.values().any(is_download);
    assert!(!waits, "a download waits for ever");
    let before = peer.offers_seen;
    let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    peer.feed(Input::Datagram { from, bytes: &messages::offer(3, "b", Count::Bytes) });
    assert_eq!(peer.offers_seen, before + 1, "an offer is remembered for ever");
}

fn settings(script: &mut Script<'_>) -> PeerSettings {
    let flags = script.byte();
    let connections_max = match flags >> 2 & 3 {
        0 => Limits::PEER.connections_max,
        1 => 4,
        2 => 5,
        _ => 8,
    };
    let file_bytes_max = if flags & 16 == 0 { u64::MAX } else { 100 };
    let limits = Limits {
        connections_max,
        connections_per_address_max: if flags & 32 == 0 { 64 } else { 1 },
        file_bytes_max,
        ..Limits::PEER
    };
    let guest = GuestSettings {
        timeout: Some(Duration::from_secs(60)),
        retries_max: 3,
        on_conflict: if flags & 2 == 0 { OnConflict::Compare } else { OnConflict::Skip },
        gives: flags & 8 == 0,
    };
    let registry = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
    // Open to others as well, so that all is tried as before.
    let secret = Secret::new([1; 32]);
    let group = GroupSettings { seal_keys: [secret.seal_key()].into(), also_open: true };
    let beacons = match flags & 6 {
        6 => BeaconSettings::of_group(&[secret], true),
        _ => BeaconSettings::open(),
    };
    PeerSettings {
        kind: match (flags & 128 != 0, flags & 1 != 0) {
            (false, _) => PeerKind::Fixed,
            (true, false) => PeerKind::AnyId,
            (true, true) => PeerKind::Guest(guest),
        },
        offer_interval: Duration::from_millis(if flags & 64 == 0 { 5000 } else { 50 }),
        group: (flags & 6 == 6).then_some(group),
        beacons: Some(beacons),
        simulate_checksum_failure: flags & 2 != 0,
        exit_when_done: flags & 1 != 0,
        limits,
        seed: flags.into(),
        ..kit::peer_settings(7, 1, registry)
    }
}

fn step(peer: &mut Peer, script: &mut Script<'_>) {
    match script.below(16) {
        0 => match script.address() {
            // Nobody is there: it stands for a program of this host.
            from if from.ip().is_broadcast() => peer.call_as_program(),
            from => peer.call(from),
        },
        1 => hear(peer, script),
        2 => connect(peer, script),
        3 | 4 => say(peer, script),
        5 => end(peer, script),
        6 => {
            if let Some(id) = some_socket(peer, script) {
                peer.take(id, script.size(24));
            }
        }
        7 => peer.clock.wait(script.wait()),
        8 => peer.time_out(),
        9 => want(peer, script),
        10 => {
            let (name, size_bytes) = (script.name(), script.size(24));
            let version = peer.version(size_bytes);
            let input = match script.below(8) {
                0 => Input::FileSeen { path: name.into(), version, sight: Sight::Looked },
                1 => Input::FileSeen { path: name.into(), version, sight: Sight::Written },
                2 => Input::FileSeen { path: name.into(), version, sight: Sight::Closed },
                3 => Input::FileGone { path: name.into() },
                4 => Input::ChangesMissed { below: None },
                _ => Input::FileFound { path: name.into(), version, known: Known::default() },
            };
            peer.feed(input);
        }
        11 => hash(peer, script),
        12 => finish_files(peer, script),
        13 => change_disk(peer, script),
        14 => repeat_what_is_gone(peer, script),
        _ => {
            peer.clock.wait(script.wait());
            peer.time_out();
        }
    }
}

fn some_socket(peer: &Peer, script: &mut Script<'_>) -> Option<ConnectionId> {
    script.pick(&peer.held().connections.keys().copied().collect::<Vec<_>>())
}

/// A datagram: an offer, or anything.
fn hear(peer: &mut Peer, script: &mut Script<'_>) {
    let from = script.address();
    let bytes = match script.below(8) {
        0 => script.bytes().to_vec(),
        1 => {
            let name = script.bad_text();
            [b"O\0\0\0\x02", &(name.len() as u32).to_be_bytes()[..], &messages::field(name)]
                .concat()
        }
        2 => {
            let bytes = beacon(script);
            peer.feed(Input::Beacon { from, bytes: &bytes[..bytes.len().min(513)] });
            return;
        }
        _ => messages::offer(script.peer().0, script.name().as_str(), Count::Bytes),
    };
    peer.feed(Input::Datagram { from, bytes: &bytes[..bytes.len().min(74)] });
}

fn beacon(script: &mut Script<'_>) -> Vec<u8> {
    let kind = match script.below(4) {
        0 => return script.bytes().to_vec(),
        1 => BeaconKind::Beacon,
        2 => BeaconKind::Query,
        _ => BeaconKind::Leaving,
    };
    let beacon = Beacon {
        kind,
        port: script.byte().into(),
        peer: script.peer(),
        instance: 1 + u64::from(script.byte()),
        counter: 0,
        generation: 0,
        files: 1,
        name: PeerName::none(),
        tags: Vec::new(),
    };
    beacon.encode(None)
}

/// A connection that was being made is made.
fn connect(peer: &mut Peer, script: &mut Script<'_>) {
    let connections = peer.held().connections.iter();
    let dialing = connections.filter(|(_, connection)| !connection.is_connected);
    let dialing: Vec<_> = dialing.map(|(id, _)| *id).collect();
    if let Some(id) = script.pick(&dialing) {
        peer.feed(Input::Connected(id));
    }
}

/// The other side of a connection says something that it may say, or anything.
fn say(peer: &mut Peer, script: &mut Script<'_>) {
    let Some(id) = some_socket(peer, script) else { return };
    let connection = &peer.held().connections[&id];
    if !connection.is_connected {
        return;
    }
    let Socket { kind, hasher, .. } = &connection.what;
    let (kind, digest) = (*kind, hasher.clone().finalize());
    let bytes = match (kind, script.below(16)) {
        (_, 0) => script.bytes().to_vec(),
        (_, 9) => script.any_message(),
        (SocketKind::Registration, 1 | 2) => messages::register_response(1),
        (SocketKind::Registration, 3) => messages::error_response(script.bad_text()),
        (SocketKind::Registration, 4) => messages::register_response(0),
        (SocketKind::Registration, 5) | (SocketKind::Listing, _) => {
            // Mostly in ascending order.
            let ids = (0..script.below(3)).map(|number| (number * script.below(9)) as u32);
            let ids: Vec<_> = ids.collect();
            let peers: Vec<_> = ids.into_iter().map(|id| (id, script.address())).collect();
            messages::peers_response(&peers)
        }
        (SocketKind::Registration, _) => {
            let address = script.address();
            messages::lookup_response(&address.ip().to_string(), address.port().into())
        }
        (SocketKind::Upload, 1..=3) => messages::request(script.name().as_str(), Count::Bytes),
        (SocketKind::Upload, 4) => [b"N\0\x30".as_slice(), &[script.byte(); 48]].concat(),
        (SocketKind::Upload, _) => messages::acknowledgment(1).repeat(1 + script.below(8)),
        (SocketKind::Program, 1..=3) => wanted(script.name().as_str()),
        (SocketKind::Program, 4 | 5) => b"A".to_vec(),
        (SocketKind::Program, 6) => b"S\x01".to_vec(),
        (SocketKind::Program, 7) => b"M\0\x01*".to_vec(),
        (SocketKind::Program, _) => b"F".to_vec(),
        (SocketKind::Download, 1..=2) => data(peer, id, script.bytes()),
        (SocketKind::Download, 3) => data(peer, id, b"x").repeat(script.size(10) as usize),
        (SocketKind::Download, 4) => messages::eof(&messages::hex(&[script.byte(); 32])),
        (SocketKind::Download, _) => messages::eof(&messages::hex(&digest)),
    };
    let bytes = &bytes[..bytes.len().min(peer.held_mut().read_allowance_bytes(id))];
    let (first, rest) = bytes.split_at(script.below(bytes.len() + 1).min(bytes.len()));
    for bytes in [first, rest] {
        if !bytes.is_empty() && peer.held().connections.contains_key(&id) {
            peer.feed(Input::Received { connection: id, bytes });
        }
    }
}

/// A wanted name for the control socket.
fn wanted(name: &str) -> Vec<u8> {
    [b"W", &(name.len() as u16).to_be_bytes()[..], name.as_bytes()].concat()
}

/// A chunk of a download, which a truthful EOF will take into account.
fn data(peer: &mut Peer, id: ConnectionId, data: &[u8]) -> Vec<u8> {
    if let Some(socket) = peer.held_mut().what_mut(id) {
        socket.hasher.update(data);
    }
    messages::chunk(data)
}

/// A connection ends, or one that was being made fails.
fn end(peer: &mut Peer, script: &mut Script<'_>) {
    let Some(connection) = some_socket(peer, script) else { return };
    match script.flag() && peer.held().connections[&connection].is_connected {
        true => peer.feed(Input::ReadClosed(connection)),
        false => peer.feed(Input::Broken { connection, kind: ErrorKind::ConnectionReset }),
    };
}

fn want(peer: &mut Peer, script: &mut Script<'_>) {
    let names: Vec<FileName> = (0..script.below(9)).map(|_| script.name()).collect();
    if peer.is_guest() && script.below(4) == 0 {
        let pattern = NamePattern::new(if script.flag() { "*" } else { "?" }).expect("a pattern");
        peer.feed(Input::WantMatching(&[pattern]));
    }
    peer.feed(Input::Want(&names));
}

/// A hash that is under way goes on, ends or fails, perhaps of another version.
fn hash(peer: &mut Peer, script: &mut Script<'_>) {
    let under_way: Vec<_> = peer.hashing.iter().map(|(what, name)| (*what, *name)).collect();
    let Some(((path, kind), name)) = script.pick(&under_way) else { return };
    let choice = script.below(8);
    let known = peer.shared.get(&name).copied();
    let version = match known {
        Some(version) if choice != 7 => version,
        _ => {
            let size_bytes = script.size(24);
            peer.version(size_bytes)
        }
    };
    if choice >= 2 {
        peer.hashing.remove(&(path, kind));
    }
    match choice {
        0 | 1 => {
            let hashed_bytes = script.size(24).min(version.size_bytes);
            peer.feed(Input::HashProgress { path, kind, version, hashed_bytes });
        }
        2 => {
            let error = error(script);
            peer.feed(Input::HashFailed { path, kind, error });
        }
        _ => {
            if known.is_some() {
                peer.shared.insert(name, version);
            }
            let hash = peer.hash_of(version, kind);
            peer.feed(Input::Hashed { path, version, hash });
        }
    }
}

/// Files that were to be opened or committed later are, or something with a file fails.
fn finish_files(peer: &mut Peer, script: &mut Script<'_>) {
    let Some(id) = script.pick(&peer.held().files.keys().copied().collect::<Vec<_>>()) else {
        return;
    };
    let fails = script.below(4) == 0;
    let File { path, state } = &peer.held().files[&id];
    match state {
        _ if fails => {
            let error = error(script);
            peer.fail(id, error);
        }
        FileState::Opening => {
            let opened = peer.open(&path.name().expect("a name"));
            peer.answer_open(id, opened);
        }
        FileState::Committing => {
            let committed = peer.finish_commit(id);
            peer.answer_commit(id, Ok(committed));
        }
        FileState::Source(_) | FileState::Partial { .. } | FileState::Content { .. } => {}
    }
    peer.drain(&[]);
}

fn change_disk(peer: &mut Peer, script: &mut Script<'_>) {
    let manner = |bits: u8| match bits & 3 {
        0 | 1 => Manner::AtOnce,
        2 => Manner::Later,
        _ => Manner::Fails,
    };
    let flags = script.byte();
    peer.disk = Disk {
        open: manner(flags),
        commit: manner(flags >> 2),
        create_fails: flags & 16 != 0,
        write_fails: flags & 32 != 0,
        error: error(script),
    };
}

/// A disk that is full.
pub(crate) const FULL: FileError = FileError::Full(Room {
    folder: "folder",
    free_bytes: 0,
    kept_bytes: 1,
    needed_bytes: 2,
    lack: Lack::Space,
    failed: None,
});

fn error(script: &mut Script<'_>) -> FileError {
    match script.below(8) {
        0 => FULL,
        1 => FileError::Missing,
        2 => FileError::Changed,
        3 => FileError::Exists,
        4 => FileError::Folder,
        // EMFILE, EACCES, EIO
        5 => FileError::Shortage(FailedCall { call: "open", errno: 24 }),
        6 => FileError::Io(FailedCall { call: "open", errno: 13 }),
        _ => FileError::Io(FailedCall { call: "write", errno: 5 }),
    }
}

/// Inputs about what is gone: they have to be ignored.
fn repeat_what_is_gone(peer: &mut Peer, script: &mut Script<'_>) {
    let choice = script.below(8);
    let version = peer.version(1);
    let input = match (choice, script.pick(&peer.held().gone_connections), last_file(peer, script))
    {
        (0, Some(connection), _) => Input::Received { connection, bytes: b"R" },
        (1, Some(connection), _) => Input::Connected(connection),
        (2, Some(connection), _) => Input::ReadClosed(connection),
        (3, Some(connection), _) => Input::Broken { connection, kind: ErrorKind::BrokenPipe },
        (4, _, Some(file)) => Input::Opened { file, version },
        (5, _, Some(file)) => Input::Written { file, len_bytes: 1 },
        (6, _, Some(file)) => Input::Committed { file, path: script.name().into(), version },
        (7, _, Some(file)) => Input::FileFailed { file, error: FULL },
        _ => return,
    };
    peer.feed_stale(input);
}

fn last_file(peer: &Peer, script: &mut Script<'_>) -> Option<FileId> {
    script.pick(&peer.held().gone_files)
}
