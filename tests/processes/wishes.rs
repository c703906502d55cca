//! What `get` fetches by version 1: folders, patterns and contents, without a registry.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use kit::{Process, Signal, World, await_until, content};

/// Makes a file below a folder of the world, with the folders on the way to it.
fn put(world: &World, path: &str, bytes: &[u8]) {
    let path = world.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn share(world: &World, name: &str) -> Process {
    let process = world.start(&["share", name, "--name", name]);
    process.await_listening();
    process
}

fn read(world: &World, path: &str) -> Vec<u8> {
    fs::read(world.path().join("got").join(path)).unwrap_or_default()
}

/// A world whose registry is silent: nothing by version 0 comes from anywhere.
fn world_without_registry() -> World {
    let world = World::new();
    world.registry().process.pause();
    world
}

#[test]
fn a_tree_and_a_file_come_without_a_registry() {
    let world = world_without_registry();
    let (large, small) = (content(1, 3_000_001), content(2, 5_000));
    put(&world, "ann/photos/2024/a.jpg", &large);
    put(&world, "ann/photos/b.jpg", &small);
    put(&world, "ann/movie.mkv", &small);
    put(&world, "ann/other", b"not wanted");
    fs::create_dir_all(world.path().join("ann/photos/empty")).unwrap();
    let _ann = share(&world, "ann");
    world.get(&["photos/", "movie.mkv"]).ends_with(0);
    assert_eq!(read(&world, "photos/2024/a.jpg"), large);
    assert_eq!(read(&world, "photos/b.jpg"), small);
    assert_eq!(read(&world, "movie.mkv"), small);
    let got = world.path().join("got");
    assert!(got.join("photos/empty").is_dir() && !got.join("other").exists());
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let there = modified(&world.path().join("ann/photos/b.jpg"));
    assert_eq!(modified(&got.join("photos/b.jpg")), there);
    // Again it costs nothing.
    let again = world.get(&["/", "--json"]);
    assert_eq!(again.await_exit_code(), 0);
    let count = |event: &str| {
        let event = format!(r#""event":"{event}""#);
        again.stdout().iter().filter(|line| line.contains(&event)).count()
    };
    assert_eq!((count("identical"), count("verified")), (3, 1));
}

#[test]
fn patterns_contents_and_peers_are_chosen() {
    let world = world_without_registry();
    // They differ in size: so they do while one of them is still hashed.
    put(&world, "ann/a/x.txt", b"of ann herself");
    put(&world, "ann/a/y.bin", b"other");
    put(&world, "bob/a/x.txt", b"of bob");
    let _sharers = [share(&world, "ann"), share(&world, "bob")];
    let ambiguous = world.get(&["a/x.txt"]);
    ambiguous.ends_with(12);
    assert!(ambiguous.has_said("bob at ") && ambiguous.has_said("ann at "), "{}", ambiguous.said());
    assert!(!world.path().join("got/a").exists());
    world.get(&["a/x.txt", "--from", "bob"]).ends_with(0);
    assert_eq!(read(&world, "a/x.txt"), b"of bob");
    world.get(&["a/*.bin", "--flat"]).ends_with(0);
    assert_eq!(read(&world, "y.bin"), b"other");
    let id = blake3::hash(b"of ann herself").to_hex();
    world.get(&[&format!("here/z=blake3:{id}")]).ends_with(0);
    assert_eq!(read(&world, "here/z"), b"of ann herself");
    // It has no time of its own.
    let modified = fs::metadata(world.path().join("got/here/z")).unwrap().modified().unwrap();
    assert!(modified.elapsed().unwrap() < Duration::from_secs(3600), "{modified:?}");
    world.get(&[&format!("short=blake3:{}", &id[..16])]).ends_with(0);
    assert_eq!(read(&world, "short"), b"of ann herself");
}

#[test]
fn a_peer_that_is_named_is_asked_and_nothing_is_fetched_by_a_dry_run() {
    let world = world_without_registry();
    put(&world, "ann/a", b"one");
    let ann = share(&world, "ann");
    let address = ann.await_listening().port();
    let peer = format!("127.0.0.1:{address}");
    let dry = world.get(&["/", "--dry-run", "--peer", &peer]);
    dry.ends_with(0);
    assert!(dry.has_said("would fetch a, 3 B"), "{}", dry.said());
    assert!(!world.path().join("got/a").exists());
    world.get(&["a", "--peer", &peer]).ends_with(0);
    assert_eq!(read(&world, "a"), b"one");
}

#[test]
fn what_nobody_shares_is_told() {
    let world = world_without_registry();
    put(&world, "ann/photos/a", b"one");
    let _ann = share(&world, "ann");
    let get = world.get(&["Photos/", "--timeout", "3s"]);
    get.ends_with(3);
    assert!(get.has_said("Photos/ could not be fetched"), "{}", get.said());
    assert!(get.has_said("in time; others share photos/"), "{}", get.said());
}

#[test]
fn a_file_goes_to_stdout() {
    let world = world_without_registry();
    let bytes = content(3, 700_000);
    put(&world, "ann/a/b", &bytes);
    let _ann = share(&world, "ann");
    let get = world.start(&["get", "a/b", "-o", "-"]);
    assert_eq!(get.await_exit_code(), 0);
    let said = get.said();
    assert!(said.contains("verified b from ann: 700000 bytes"), "{said}");
    assert!(!said.contains("saved as") && !get.stdout().is_empty(), "{said}");
}

#[test]
fn a_peer_fetches_as_get_does_and_shares_it_on() {
    let world = World::new();
    let (large, small) = (content(4, 3_000_001), content(5, 5_000));
    put(&world, "ann/photos/a.jpg", &large);
    put(&world, "ann/movie.mkv", &small);
    let ann = share(&world, "ann");
    let peer = world.peer(2).by_version_1().wants("photos/").wants("*.mkv");
    let peer = peer.flag("--simulate-checksum-failure").start();
    peer.await_file("photos/a.jpg", &large);
    peer.await_file("movie.mkv", &small);
    for path in ["photos/a.jpg", "movie.mkv"] {
        let said = |what: &str| {
            let line = format!("{what} {path} ");
            peer.process.log().iter().filter(|it| it.contains(&line)).count()
        };
        // The file has its name before the log has its line.
        await_until("the line of a verified file", || said("verified") > 0);
        assert_eq!((said("checksum of"), said("verified")), (1, 1), "{:?}", peer.process.log());
    }
    ann.stop();
    // By version 0, and by version 1.
    world.await_offer(2, "movie.mkv");
    world.get(&["photos/"]).ends_with(0);
    assert_eq!(read(&world, "photos/a.jpg"), large);
}

/// A slow sharer of a file, and two getters of it with these options, in folders of their own.
fn two_getters(world: &World, bytes: &[u8], options: &[&str]) -> (Process, [Process; 2]) {
    put(world, "ann/image", bytes);
    let ann = world.start(&["share", "ann", "--name", "ann", "--limit-up", "2M"]);
    let getters = ["one", "two"].map(|folder| {
        world.folder(folder, &[]);
        world.start(&[&["get", "image", "-o", folder], options].concat())
    });
    (ann, getters)
}

#[test]
fn getters_give_one_another_what_they_have() {
    let world = world_without_registry();
    let bytes = content(8, 12_000_000);
    let (_ann, getters) = two_getters(&world, &bytes, &[]);
    for (getter, folder) in getters.iter().zip(["one", "two"]) {
        getter.await_success();
        assert!(fs::read(world.path().join(folder).join("image")).unwrap() == bytes);
    }
    assert!(getters.iter().any(|getter| getter.has_said("verified image from 2 peers")));
}

#[test]
fn a_port_that_is_named_and_taken_ends_it() {
    let world = world_without_registry();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let get = world.get(&["image", "--port", &port]);
    assert_eq!(get.await_exit_code(), 11, "{}", get.said());
    world.get(&["image", "--port", &port, "--no-give"]).ends_with(2);
}

#[test]
fn who_gives_nothing_is_no_source() {
    let world = world_without_registry();
    let (_ann, getters) = two_getters(&world, &content(9, 6_000_000), &["--no-give"]);
    for getter in &getters {
        getter.await_success();
        assert!(getter.has_said("verified image from ann"), "{}", getter.said());
    }
}

#[test]
fn a_peer_ends_with_what_it_wants_whichever_version_it_comes_by() {
    let world = World::new();
    let (one, other) = (content(6, 200_000), content(7, 5_000));
    put(&world, "ann/one", &one);
    let _ann = share(&world, "ann");
    put(&world, "old/other", &other);
    let silent_port = world.silent_port().to_string();
    let old = world.start(&["share", "old", "--beacon-port", &silent_port]);
    old.await_listening();
    let peer = world.peer(2).by_version_1().has("mine", b"x");
    let peer = peer.wants("one").wants("other").wants("mine").until_done().start();
    assert_eq!(peer.process.await_exit_code(), 0, "{:?}", peer.process.log());
    peer.assert_holds("one", &one);
    peer.assert_holds("other", &other);
    let log = peer.process.log();
    let came = |line: &str| log.iter().any(|it| it.contains(line));
    assert!(came("BLAKE3") && came("SHA-256"), "{log:?}");
}

#[test]
fn a_registry_lists_peers_that_nobody_hears_also_after_it_was_started_again() {
    let world = World::new();
    let registry = world.listing_registry();
    let at = registry.address;
    let (one, other) = (content(8, 200_000), content(9, 5_000));
    put(&world, "far/one", &one);
    put(&world, "far/tree/other", &other);
    let silent_port = world.silent_port().to_string();
    let line = ["share", "far", "--no-v0", "--beacon-port", &silent_port];
    let far = world.command_at(at, &line).start();
    await_until("it is registered", || far.count_in_log("registered at") == 1);
    fs::create_dir_all(world.path().join("got")).unwrap();
    // A getter that waits asks every 30 s: it may come before the sharer is listed.
    let get = |what: &str| world.command_at(at, &["get", "-o", "got", what]).start();
    assert_eq!(get("one").await_exit_code(), 0);
    assert_eq!(read(&world, "one"), one);

    registry.process.kill();
    let _registry = world.listing_registry();
    await_until("it is registered again", || far.count_in_log("registered at") == 2);
    let peer = world.peer_at(2, at).by_version_1().wants("tree/").start();
    peer.await_file("tree/other", &other);
}

#[test]
fn what_is_kept_of_a_file_is_told_in_the_last_line() {
    let world = world_without_registry();
    let large = content(3, 4_000_000);
    put(&world, "ann/large", &large);
    let _ann = share(&world, "ann");
    let stopped = world.get(&["large", "--limit-down", "1M", "--json"]);
    let is_partial = |entry: &fs::DirEntry| {
        entry.file_name().to_string_lossy().starts_with(".p2pfs-")
            && entry.metadata().is_ok_and(|it| it.blocks() >= 1024)
    };
    await_until("a part of it is there", || {
        let entries = fs::read_dir(world.path().join("got")).into_iter().flatten().flatten();
        entries.into_iter().any(|entry| is_partial(&entry))
    });
    stopped.signal(Signal::INT);
    assert_eq!(stopped.await_exit_code(), 130);
    let last = stopped.stdout().last().cloned().unwrap_or_default();
    let kept_bytes =
        last.split_once(r#""kept_bytes":"#).map(|(_, rest)| rest.trim_end_matches('}'));
    let kept_bytes: u64 = kept_bytes.and_then(|it| it.parse().ok()).expect(&last);
    assert!((1..4_000_000).contains(&kept_bytes) && kept_bytes.is_multiple_of(65_536), "{last}");
    let said = stopped.said();
    assert!(said.contains("of 1 file are kept, and the same command goes on from there"), "{said}");
    world.get(&["large"]).ends_with(0);
    assert_eq!(read(&world, "large"), large);
    assert!(!world.get(&["large"]).said().contains("are kept"));
}
