//! The shared folder: simulated storage and its mark, and what is not offered.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use kit::messages::digest_of;
use kit::{PeerPlan, RawDownloader, World, content};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use sha2::{Digest as _, Sha256};

#[test]
fn simulated_storage_begins_as_a_fresh_machine_each_time() {
    let world = World::new();
    let initial = world.path().join("initial_peer_folders/peer-1");
    fs::create_dir_all(&initial).unwrap();
    fs::write(initial.join("file"), b"initial").unwrap();
    let peer = world.peer(1).start_simulated();
    peer.await_file("file", b"initial");
    peer.stop();

    fs::write(peer.path_of("file"), b"changed").unwrap();
    fs::write(peer.path_of("other"), b"later").unwrap();
    let peer = world.peer(1).start_simulated();
    world.await_offer(1, "file");
    peer.await_file("file", b"initial");
    assert!(!peer.holds("other"));
    assert_eq!(fs::read(initial.join("file")).unwrap(), b"initial");
}

#[test]
fn a_folder_that_this_program_did_not_make_is_never_emptied() {
    let world = World::new();
    let precious = world.path().join("peer-1/sub/precious");
    fs::create_dir_all(precious.parent().unwrap()).unwrap();
    fs::write(&precious, b"mine").unwrap();

    refused_untouched(&world);
    assert_eq!(fs::read(&precious).unwrap(), b"mine");
}

#[test]
fn neither_is_a_folder_behind_a_link_nor_a_file() {
    let world = World::new();
    let elsewhere = world.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), b"mine").unwrap();
    let folder = world.path().join("peer-1");
    symlink(&elsewhere, &folder).unwrap();
    refused_untouched(&world);
    assert_eq!(fs::read(elsewhere.join("precious")).unwrap(), b"mine");

    fs::remove_file(&folder).unwrap();
    fs::write(&folder, b"mine").unwrap();
    refused_untouched(&world);
    assert_eq!(fs::read(&folder).unwrap(), b"mine");
}

#[track_caller]
fn refused_untouched(world: &World) {
    let peer = world.peer(1).launch_simulated();
    assert_eq!(peer.await_exit_code(), 9);
    let errors = peer.error_lines();
    assert!(errors.len() == 1 && errors[0].contains("peer-1"), "{:?}", peer.log());
}

#[test]
fn what_cannot_be_offered_is_skipped_with_one_warning_each() {
    let world = World::new();
    let folder = world.shared_folder(1);
    let too_long = "n".repeat(65);
    let plan = world.peer(1).has("good", b"x");
    let secret = world.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    let fifo = folder.join("one-pipe");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink(&secret, folder.join("one-link")).unwrap();
    fs::create_dir(folder.join("one-folder")).unwrap();
    for name in ["a:colon", ".hidden", "trailing.", "con.txt", &too_long, "esc\x1b[31mape"] {
        fs::write(folder.join(name), b"x").unwrap();
    }
    fs::write(folder.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8")), b"x").unwrap();
    let peer = plan.start();

    assert_eq!(world.names_offered(1, "good").into_iter().collect::<Vec<_>>(), ["good"]);
    let log = peer.process.log();
    // One warning for all names that break the rule; by version 1 most can be shared.
    let told = |name: &str| log.iter().filter(|line| line.contains(name)).count();
    for name in ["one-pipe: not", "one-link: not", "2 names that break the rule", ".hidden"] {
        assert_eq!(told(name), 1, "{name}: {log:#?}");
    }
    for name in ["one-folder", "a:colon", "trailing.", "con.txt", &too_long] {
        assert_eq!(told(name), 0, "{name}: {log:#?}");
    }
    let printable = |line: &String| !line.contains(|c: char| c.is_control());
    assert!(log.iter().all(printable), "{log:?}");
    for name in ["one-pipe", "one-link", "one-folder", "a:colon", ".hidden", "../secret", "secret"]
    {
        assert_eq!(RawDownloader::connect(peer.address).fetch(name), None, "{name}");
    }
    assert!(RawDownloader::connect(peer.address).fetch("good").is_some());
}

#[test]
fn a_download_never_replaces_what_is_there() {
    let world = World::new();
    let file = content(1, 100_000);
    let _source = world.peer(1).has("a", &file).has("b", &file).start();
    let folder = world.shared_folder(2);
    fs::create_dir_all(folder.join("a")).unwrap();
    let peer = world.peer(2).wants("a").wants("b").start();

    peer.await_file("b", &file);
    assert!(folder.join("a").is_dir() && is_empty(&folder.join("a")));
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn digests_are_kept_between_runs_and_made_again_before_they_are_sent() {
    let world = World::new();
    let caches = world.path().join("caches");
    let content = content(3, 5_000_000);
    // What it reads until its files are on offer for a while, and what is fetched then.
    let run = |plan: PeerPlan| {
        let peer = plan.cache(&caches).start();
        world.names_offered(1, "file");
        let io = fs::read_to_string(format!("/proc/{}/io", peer.process.pid())).unwrap();
        let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
        let fetched = RawDownloader::connect(peer.address).fetch("file").unwrap();
        peer.stop();
        (read.parse::<usize>().unwrap(), fetched)
    };
    let plan = || world.peer(1);
    assert_eq!(run(plan().has("file", &content)).1.1, digest_of(&content));
    let (read_bytes, (_, digest)) = run(plan());
    assert!(read_bytes < content.len(), "it is hashed though its digest is known");
    assert_eq!(digest, digest_of(&content));

    // A wrong one does no harm: it is not the last word.
    let path = fs::read_dir(caches.join("p2pfs")).unwrap().next().unwrap().unwrap().path();
    let mut record = fs::read(&path).unwrap();
    assert_eq!(record.len(), 128);
    record[56..120].fill(7);
    let check = Sha256::digest(&record[..120]);
    record[120..].copy_from_slice(&check[..8]);
    fs::write(&path, record).unwrap();
    assert_eq!(run(plan()).1.1, digest_of(&content));

    fs::write(world.shared_folder(1).join("file"), b"changed").unwrap();
    assert_eq!(run(plan()).1, (b"changed".to_vec(), digest_of(b"changed")));
}
