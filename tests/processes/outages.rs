//! The registry or a peer goes away and comes back; what can go on goes on, and
//! everything converges once all are there again.

use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};

use kit::messages::{self, digest_of};
use kit::{
    FakeSource, Peer, RegistryClient, Relay, Server, World, await_until, content, reset_on_close,
};

#[track_caller]
fn await_entry(registry: &mut RegistryClient, peer: &Peer) {
    await_until(&format!("peer {} is entered", peer.id), || registry.knows(peer.id, peer.address));
}

#[test]
fn peers_register_again_when_the_registry_was_killed() {
    let world = World::new();
    let (left, right) = (content(1, 100_000), content(2, 100_000));
    let one = world.peer(1).has("left", &left).wants("right").start();
    let two = world.peer(2).wants("never").start();
    let mut client = world.client();
    await_entry(&mut client, &one);
    await_entry(&mut client, &two);

    world.registry().process.kill();
    let mut registry = world.registry_again();
    for _ in 0..2 {
        let mut client = world.client();
        await_entry(&mut client, &one);
        await_entry(&mut client, &two);
        registry.process.kill();
        registry = world.registry_again();
    }
    let three = world.peer(3).has("right", &right).wants("left").start();
    one.await_file("right", &right);
    three.await_file("left", &left);
    two.process.assert_running();
}

#[test]
fn peers_carry_on_without_a_registry_until_there_is_one() {
    let world = World::new();
    let (file, nobody) = (content(1, 100_000), world.registry_address());
    let _source = world.peer_at(1, nobody).has("file", &file).start();
    let downloader = world.peer_at(2, nobody).wants("file").start();
    world.await_offer(1, "file");
    downloader.process.assert_running();

    world.registry();
    downloader.await_file("file", &file);
}

#[test]
fn a_transfer_goes_on_when_the_registry_dies() {
    let world = World::new();
    let file = content(1, 1_000_000);
    let (ask, asked) = sync_channel(1);
    let (go, gone) = sync_channel(0);
    let gone = Mutex::new(gone);
    let _source = FakeSource::start(&world, 1, "file", {
        let file = file.clone();
        move |stream| {
            ask.send(()).unwrap();
            gone.lock().unwrap().recv().unwrap();
            FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(&file))
        }
    });
    let downloader = world.peer(2).wants("file").start();
    asked.recv().unwrap();

    world.registry().process.kill();
    go.send(()).unwrap();
    downloader.await_file("file", &file);
}

#[test]
fn a_peer_that_is_refused_later_tries_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let registry = Server::start({
        let connections = Arc::clone(&connections);
        move |mut stream, _| {
            let number = connections.fetch_add(1, Ordering::SeqCst);
            if stream.read_exact(&mut [0; 10]).is_err() {
                return;
            }
            // Enters it and crashes; then holds the id for somebody else, twice; then
            // enters it again.
            let answer = match number {
                1 => messages::error_response("Existing peer ID"),
                2 => messages::register_response(0),
                _ => messages::register_response(1),
            };
            let _ = stream.write_all(&answer);
            match number {
                0 => reset_on_close(stream),
                _ => _ = FakeSource::stall(stream),
            }
        }
    });
    let world = World::new();
    let peer = world.peer_at(1, registry.address).start();

    await_until("it is entered again", || {
        peer.process.assert_running();
        connections.load(Ordering::SeqCst) > 3
    });
}

#[test]
fn a_registry_that_does_not_answer_is_left() {
    let connections = Arc::new(AtomicUsize::new(0));
    let registry = Server::start({
        let connections = Arc::clone(&connections);
        move |stream, _| {
            connections.fetch_add(1, Ordering::SeqCst);
            FakeSource::stall(stream);
        }
    });
    let world = World::new();
    let peer = world.peer_at(1, registry.address).start();

    await_until("it asks on another connection", || {
        peer.process.assert_running();
        connections.load(Ordering::SeqCst) > 1
    });
}

#[test]
fn a_killed_downloader_leaves_nothing_behind_for_long() {
    let world = World::new();
    let aside = world.another_registry();
    let file = content(1, 8 << 20);
    let source = world.peer_at(1, aside.address).has("file", &file).start();
    let relay = Relay::start(&world, 1, source.address, 3 << 20);
    let killed = world.peer(2).wants("file").start();
    killed.await_partial(1);
    killed.process.kill();
    assert!(!killed.holds("file"));
    assert_eq!(killed.hidden_files().len(), 1);

    // The uploader goes on serving others, who reach it past the relay now.
    drop(relay);
    source.process.assert_running();
    let other = world.peer_at(3, aside.address).wants("file").start();
    other.await_file("file", &file);

    // At the next start the partial file goes, and nothing else of the folder.
    fs::write(killed.path_of(".mine"), b"x").unwrap();
    let again = world.peer(2).has("kept", b"y").start();
    await_until("the partial file is removed", || again.hidden_files().len() == 1);
    assert!(again.holds(".mine") && again.holds("kept") && !again.holds("file"));
}

#[test]
fn a_partial_file_of_a_live_process_is_left_alone() {
    let world = World::new();
    let aside = world.another_registry();
    let file = content(1, 8 << 20);
    let source = world.peer_at(1, aside.address).has("file", &file).start();
    let _relay = Relay::start(&world, 1, source.address, 3 << 20);
    let peer = world.peer(2).wants("file").start();
    peer.await_partial(1);

    // A second peer on the same folder, once it has looked through it.
    let second = world.peer(3).shares(world.shared_folder(2));
    let _second = second.has("other", b"x").start();
    world.await_offer(3, "other");
    peer.process.assert_running();
    assert_eq!(peer.hidden_files().len(), 1);
}
