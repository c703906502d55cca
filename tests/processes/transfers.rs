//! Files arrive: the demo's scenario, every size, many files and many peers at
//! once, several requests on a connection, and the window of an uploader.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kit::messages::digest_of;
use kit::{Answer, FakeSource, Heard, RawDownloader, World, content};
use p2pfs::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES};

const CHUNK: usize = CHUNK_BYTES as usize;
const WINDOW: usize = LOCAL_WINDOW_BYTES as usize;

#[test]
fn the_demo_scenario() {
    let world = World::new();
    let (dummy, game) = (content(1, 5_000), content(2, 70_001));
    for (file, content) in [("peer-1/dummyfile.txt", &dummy), ("peer-2/piratedGame", &game)] {
        let path = world.path().join("initial_peer_folders").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let peer = |id| world.peer(id).flag("--simulate-checksum-failure");
    let one = peer(1).wants("piratedGame").start_simulated();
    let two = peer(2).start_simulated();
    let three = peer(3).wants("dummyfile.txt").start_simulated();

    one.await_file("piratedGame", &game);
    three.await_file("dummyfile.txt", &dummy);
    for (peer, name) in [(&one, "piratedGame"), (&three, "dummyfile.txt")] {
        let failure = format!("checksum of {name} ");
        let log = peer.process.log();
        assert_eq!(log.iter().filter(|line| line.contains(&failure)).count(), 1, "{log:?}");
    }
    one.await_file("dummyfile.txt", &dummy);
    two.await_file("piratedGame", &game);
    for peer in [&one, &two, &three] {
        assert_eq!(peer.process.stdout().len(), 1, "one line on stdout");
    }
}

#[test]
fn a_simulated_checksum_failure_fetches_the_file_twice() {
    let world = World::new();
    let file = content(1, 10_000);
    let source = FakeSource::start(&world, 1, "file", {
        let file = file.clone();
        move |stream| {
            FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(&file))
        }
    });
    let peer = world.peer(2).wants("file");
    let peer = peer.flag("--simulate-checksum-failure").start();

    peer.await_file("file", &file);
    assert_eq!(source.requests(), 2);
}

#[test]
fn ten_peers_want_one_file() {
    let world = World::new();
    let file = content(1, 3_000_000);
    let _source = world.peer(100).has("file", &file).start();
    let peers: Vec<_> = (0..10)
        .map(|id| world.peer(id).wants("file").until_done())
        .map(|plan| plan.start())
        .collect();

    for peer in peers {
        assert_eq!(peer.process.await_exit_code(), 0);
        assert_content(&peer.path_of("file"), &file);
    }
}

#[test]
fn files_of_every_size_arrive() {
    let world = World::new();
    let sizes = [0, 1, 1_023, 1_024, 1_025, 65_536, CHUNK - 1, CHUNK, CHUNK + 1, WINDOW + 1];
    let files: Vec<_> = sizes
        .iter()
        .map(|size| (format!("{size}.bin"), content(*size as u64 + 1, *size)))
        .collect();
    let _source = world.peer(1).has_all(&files).start();
    let downloader = world.peer(2).wants_all(files.iter().map(|(name, _)| &**name)).start();

    for (name, content) in &files {
        downloader.await_file(name, content);
    }
    assert!(downloader.hidden_files().is_empty());
}

#[test]
fn a_file_of_64_mib_arrives() {
    let world = World::new();
    let file = content(1, 64 << 20);
    let _source = world.peer(1).has("large.bin", &file).start();
    let downloader = world.peer(2).wants("large.bin").start();

    downloader.await_file("large.bin", &file);
    assert_eq!(digest_of(&fs::read(downloader.path_of("large.bin")).unwrap()), digest_of(&file));
}

#[test]
fn what_was_fetched_is_offered_and_served_on() {
    let world = World::new();
    let file = content(1, 100_000);
    let source = world.peer(1).has("file", &file).start();
    let second = world.peer(2).wants("file").start();
    second.await_file("file", &file);
    source.stop();

    let third = world.peer(3).wants("file").start();
    third.await_file("file", &file);
}

#[test]
fn two_peers_fetch_several_files_from_each_other_at_once() {
    let world = World::new();
    let files: Vec<_> =
        (0..20).map(|i| (format!("file {i}"), content(i, 200_000 + i as usize))).collect();
    let (mut one, mut two) = (world.peer(1), world.peer(2));
    for (i, (name, content)) in files.iter().enumerate() {
        if i % 2 == 0 {
            (one, two) = (one.has(name, content), two.wants(name));
        } else {
            (one, two) = (one.wants(name), two.has(name, content));
        }
    }
    let (one, two) = (one.start(), two.start());

    for (name, content) in &files {
        one.await_file(name, content);
        two.await_file(name, content);
    }
}

#[test]
fn one_peer_fetches_from_several_at_once() {
    let world = World::new();
    let mut downloader = world.peer(100).until_done();
    let mut sources = Vec::new();
    for id in 0..5 {
        let name = format!("of peer {id}");
        let file = content(id.into(), 500_000);
        sources.push(world.peer(id).has(&name, &file).start());
        downloader = downloader.wants(&name);
    }
    let downloader = downloader.start();

    assert_eq!(downloader.process.await_exit_code(), 0);
    for id in 0..5 {
        let name = format!("of peer {id}");
        assert_content(&downloader.path_of(&name), &content(id, 500_000));
    }
}

#[test]
fn a_name_outside_ascii_and_one_of_64_bytes_arrive() {
    let world = World::new();
    let (accents, longest) = ("résumé – 日本.pdf", "n".repeat(64));
    let file = content(1, 10_000);
    let source = world.peer(1).has(accents, &file).has(&longest, &file);
    let _source = source.start();
    let downloader = world.peer(2).wants(accents).wants(&longest);
    let downloader = downloader.start();

    downloader.await_file(accents, &file);
    downloader.await_file(&longest, &file);
}

#[test]
fn a_peer_on_another_address_is_found_there() {
    let world = World::new();
    let file = content(1, 10_000);
    let source = world.peer(1).option("--host", "127.0.0.2").has("file", &file);
    let source = source.start();
    let downloader = world.peer(2).wants("file").start();

    downloader.await_file("file", &file);
    assert_eq!(source.address.ip().to_string(), "127.0.0.2");
    let answer = world.client().lookup(1);
    assert_eq!(answer, Answer::address(source.address));
}

#[test]
fn a_file_that_nobody_offers_is_waited_for() {
    let world = World::new();
    let file = content(1, 10_000);
    let downloader = world.peer(1).wants("file").start();
    let other = world.peer(2).has("other", b"x").wants("third").start();
    // Both have heard and tried all there is to hear and try.
    let third = world.peer(3).has("third", b"y").start();
    other.await_file("third", b"y");
    assert!(!downloader.holds("file"));
    drop(third);

    let _source = world.peer(4).has("file", &file).start();
    downloader.await_file("file", &file);
}

#[test]
fn a_wanted_file_that_is_there_counts_as_done() {
    let world = World::new();
    let peer = world.peer(1).has("file", b"mine").wants("file");
    let peer = peer.until_done().launch();

    assert_eq!(peer.await_exit_code(), 0);
    assert_eq!(fs::read(world.shared_folder(1).join("file")).unwrap(), b"mine");
}

#[test]
fn several_requests_follow_each_other_on_one_connection() {
    let world = World::new();
    let (small, large) = (content(1, 100), content(2, 2_000_000));
    let source = world.peer(1);
    let source = source.has("small", &small).has("large", &large).has("empty", b"").start();
    world.await_offer(1, "small");

    let mut downloader = RawDownloader::connect(source.address);
    for _ in 0..3 {
        for (name, content) in [("small", &small[..]), ("empty", b""), ("large", &large)] {
            let (received, digest) = downloader.fetch(name).unwrap();
            assert!(received == content, "{name} is wrong");
            assert_eq!(digest, digest_of(content));
        }
    }
    // There is no message for "no such file": the connection is closed.
    assert_eq!(downloader.fetch("no such file"), None);
    assert!(RawDownloader::connect(source.address).fetch("small").is_some());
}

#[test]
fn an_uploader_has_no_more_in_flight_than_its_window() {
    let world = World::new();
    let file = content(1, 2 * WINDOW + 12_345);
    let source = world.peer(1).has("file", &file).start();
    world.await_offer(1, "file");

    let mut downloader = RawDownloader::connect(source.address);
    downloader.request("file");
    let mut received = Vec::new();
    let digest = loop {
        // No acknowledgment until the window is full, or all has come.
        let (begin, mut chunks) = (received.len(), 0);
        while received.len() < file.len() && !downloader.is_silent_for(Duration::from_millis(200)) {
            let Heard::Chunk(data) = downloader.listen() else { panic!("not a chunk") };
            received.extend_from_slice(&data);
            chunks += 1;
        }
        assert!(received.len() - begin <= WINDOW, "more in flight than the window");
        downloader.acknowledge(chunks);
        if received.len() == file.len() {
            break downloader.listen();
        }
    };
    assert!(received == file);
    assert_eq!(digest, Heard::Eof(digest_of(&file)));
}

#[test]
fn a_downloader_that_leaves_harms_nobody() {
    let world = World::new();
    let file = content(1, WINDOW);
    let source = world.peer(1).has("file", &file).start();
    world.await_offer(1, "file");
    for _ in 0..20 {
        let mut downloader = RawDownloader::connect(source.address);
        downloader.request("file");
        assert!(matches!(downloader.listen(), Heard::Chunk(_)));
    }
    let mut garbage = RawDownloader::connect(source.address);
    garbage.send(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(garbage.listen(), Heard::Closed);

    let downloader = world.peer(2).wants("file").start();
    downloader.await_file("file", &file);
}

/// The file is there now, and right.
#[track_caller]
fn assert_content(path: &Path, content: &[u8]) {
    assert!(fs::read(path).unwrap() == content, "{} is wrong", path.display());
}
