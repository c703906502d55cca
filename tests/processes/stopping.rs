//! Signals: the exit code tells which, the registry forgets the peer, and no
//! partial file is left.

use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use kit::{
    Answer, FakeSource, RegistryClient, Server, Signal, World, await_until, content, is_ignored,
};

const SIGNALS: [(Signal, i32); 2] = [(Signal::INT, 130), (Signal::TERM, 143)];

#[test]
fn a_registry() {
    let world = World::new();
    for (signal, code) in SIGNALS {
        let registry = world.another_registry();
        let mut client = RegistryClient::registered(registry.address, 1, 4001);
        registry.process.signal(signal);
        assert_eq!(registry.process.await_exit_code(), code);
        assert_eq!(client.answer(), Answer::Closed);
    }
}

/// As a shell has it of a program in the background, and nohup(1) of a hangup.
#[test]
fn a_signal_that_is_ignored_from_the_start_on_stays_so() {
    let world = World::new();
    let ignoring = ["sh", "-c", "trap '' INT HUP; exec \"$0\" \"$@\""];
    let registry = world.launch_registry(ignoring);
    registry.await_listening();
    for _ in 0..2 {
        registry.signal(Signal::INT);
        registry.signal(Signal::HUP);
    }
    drop(RegistryClient::registered(world.registry_address(), 1, 4001));
    registry.stop();
}

#[test]
fn as_soon_as_it_listens() {
    let world = World::new();
    for (signal, code) in SIGNALS.repeat(20) {
        let other = world.another_registry();
        other.process.signal(signal);
        assert_eq!(other.process.await_exit_code(), code);
        let peer = world.peer(1).start();
        peer.process.signal(signal);
        assert_eq!(peer.process.await_exit_code(), code);
    }
}

#[test]
fn at_any_moment_of_the_start() {
    let world = World::new();
    let is_heeded = |(signal, _): &(Signal, i32)| !is_ignored(*signal);
    for delay_us in (0..60).map(|step| step * 150) {
        for (signal, code) in SIGNALS.into_iter().filter(is_heeded) {
            let peer = world.peer(1).launch();
            sleep(Duration::from_micros(delay_us));
            peer.signal(signal);
            // Of the signal itself, before the program heeds it; never deaf to it.
            let status = peer.await_exit();
            let of_signal = status.signal() == Some(signal.as_raw());
            assert!(of_signal || status.code() == Some(code), "{status:?}");
        }
    }
}

#[test]
fn a_peer_that_is_idle() {
    let world = World::new();
    let mut client = world.client();
    for (signal, code) in SIGNALS {
        let peer = world.peer(1).has("file", b"x").wants("never").start();
        await_until("the peer is entered", || client.knows(1, peer.address));
        peer.process.signal(signal);
        assert_eq!(peer.process.await_exit_code(), code);
        await_until("the entry is gone", || client.lookup(1) == Answer::not_found());
        assert!(peer.hidden_files().is_empty() && peer.holds("file"));
    }
}

#[test]
fn a_peer_in_the_middle_of_a_download() {
    let world = World::new();
    let _source = FakeSource::stalling(&world, 1, "file", content(1, 1_000_000));
    let mut client = world.client();
    for (signal, code) in SIGNALS {
        let peer = world.peer(2).wants("file").start();
        peer.await_partial(1);
        peer.process.signal(signal);
        assert_eq!(peer.process.await_exit_code(), code);
        assert!(peer.hidden_files().is_empty() && !peer.holds("file"));
        await_until("the entry is gone", || client.lookup(2) == Answer::not_found());
    }
}

#[test]
fn a_peer_that_waits_for_a_registry_that_does_not_answer() {
    let registry = Server::start(|stream, _| _ = FakeSource::stall(stream));
    let world = World::new();
    for (signal, code) in SIGNALS {
        let peer = world.peer_at(1, registry.address).start();
        peer.process.signal(signal);
        assert_eq!(peer.process.await_exit_code(), code);
    }
}

#[test]
fn an_id_and_a_port_are_free_again_after_a_crash() {
    let world = World::new();
    let first = world.peer(1).start();
    let mut client = world.client();
    await_until("the peer is entered", || client.knows(1, first.address));
    first.process.kill();
    await_until("the entry is gone", || client.lookup(1) == Answer::not_found());

    let port = first.address.port().to_string();
    let again = world.peer(1).option("--port", port).start();
    assert_eq!(again.address, first.address);
    await_until("the peer is entered", || client.knows(1, again.address));
}
