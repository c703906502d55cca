//! The programs in the role of the reference among themselves: they exchange
//! files, and each of their quirks is there. Otherwise the interplay with them
//! would prove little.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use kit::messages::{self, Count};
use kit::reference::{Note, Part, ReferenceRegistry, Settings};
use kit::{Answer, Heard, RawDownloader, RegistryClient, World, content, reset_on_close};

#[test]
fn two_peers_exchange_files() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let (left, right) = (content(1, 100_000), content(2, 3 * 1024));
    let first = Settings::new(&world, 7, registry.address).quick();
    let first = first.has("left.bin", &left).wants("größer").start();
    let second = Settings::new(&world, 8, registry.address).quick();
    let second = second.has("größer", &right).wants("left.bin").start();

    first.await_file("größer", &right);
    second.await_file("left.bin", &left);
    for notes in [&first.notes, &second.notes, &registry.notes] {
        notes.assert_unharmed();
    }
}

#[test]
fn the_demo_files_are_fetched_twice() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let (dummy, game) = (content(1, 5_000), content(2, 5_000));
    let settings = |id| Settings::new(&world, id, registry.address).quick();
    let one = settings(1).has("dummyfile.txt", &dummy).wants("piratedGame").start();
    let _two = settings(2).has("piratedGame", &game).start();
    let three = settings(3).wants("dummyfile.txt").start();

    one.await_file("piratedGame", &game);
    three.await_file("dummyfile.txt", &dummy);
    assert_eq!(one.notes.count(&Note::ChecksumFailed("piratedGame".into())), 1);
    assert_eq!(three.notes.count(&Note::ChecksumFailed("dummyfile.txt".into())), 1);
}

#[test]
fn the_uploader_stops_and_waits_counts_joined_acknowledgments_once_and_resends() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let file = content(3, 3 * 1024);
    let mut settings = Settings::new(&world, 1, registry.address).quick().has("file", &file);
    settings.resend_after = Duration::from_millis(50);
    let peer = settings.start();

    let mut downloader = RawDownloader::connect(peer.address);
    downloader.request("file");
    for part in [0, 0, 0] {
        assert_eq!(downloader.listen(), Heard::Chunk(file[part..part + 1024].to_vec()));
    }
    assert!(peer.notes.count(&Note::Resent) >= 2);
    // Three at once count as one: the second chunk comes, the EOF does not follow
    // without more.
    downloader.acknowledge(3);
    let mut heard = downloader.listen();
    while heard == Heard::Chunk(file[..1024].to_vec()) {
        heard = downloader.listen();
    }
    assert_eq!(heard, Heard::Chunk(file[1024..2048].to_vec()));
    assert_eq!(downloader.listen(), Heard::Chunk(file[1024..2048].to_vec()));
}

#[test]
fn the_uploader_is_silent_if_it_cannot_serve() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let peer = Settings::new(&world, 1, registry.address).quick().has("file", b"x").start();

    let mut downloader = RawDownloader::connect(peer.address);
    downloader.request("no such file");
    peer.notes.await_note(&Note::Silent);
    // The connection is still good.
    assert_eq!(downloader.fetch("file"), Some((b"x".to_vec(), messages::digest_of(b"x"))));
}

#[test]
fn each_side_spins_after_an_orderly_close_and_notices_a_reset() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let peer = Settings::new(&world, 1, registry.address).quick().start();

    drop(TcpStream::connect(peer.address).unwrap());
    peer.notes.await_note(&Note::WouldSpin(Part::Uploader));
    reset_on_close(&TcpStream::connect(peer.address).unwrap());
    peer.notes.await_note(&Note::Reset(Part::Uploader));

    drop(RegistryClient::connect(registry.address));
    registry.notes.await_note(&Note::WouldSpin(Part::Registry));
    RegistryClient::connect(registry.address).reset();
    registry.notes.await_note(&Note::Reset(Part::Registry));
}

#[test]
fn a_request_that_does_not_come_alone_kills_its_thread() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let peer = Settings::new(&world, 1, registry.address).quick().has("file", b"x").start();

    let mut stream = TcpStream::connect(peer.address).unwrap();
    stream.write_all(&messages::request("file", Count::Bytes).repeat(2)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    peer.notes.await_note(&Note::Died(Part::Uploader, "not one request in one receive"));

    let mut client = RegistryClient::connect(registry.address);
    client.send(&messages::lookup_request(1).repeat(2));
    assert_eq!(client.answer(), Answer::Closed);
    registry.notes.await_note(&Note::Died(Part::Registry, "not one request in one receive"));
}

#[test]
fn an_empty_file_kills_the_downloader() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let _source = Settings::new(&world, 1, registry.address).quick().has("empty", b"").start();
    let peer = Settings::new(&world, 2, registry.address).quick().wants("empty").start();

    peer.notes.await_note(&Note::Died(Part::Downloader, "no file to check"));
}

#[test]
fn a_datagram_that_is_no_offer_kills_the_listener() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let peer = Settings::new(&world, 1, registry.address).quick().start();

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_broadcast(true).unwrap();
    kit::await_until("the listener dies", || {
        socket.send_to(b"hello", world.broadcast()).unwrap();
        peer.notes.count(&Note::Died(Part::Listener, "not an offer")) > 0
    });
}

#[test]
fn the_registry_keeps_an_entry_until_a_reset() {
    let registry = ReferenceRegistry::start();
    let mut holder = RegistryClient::connect(registry.address);
    assert_eq!(holder.register(1, 4001), Answer::Registered(1));
    let mut other = RegistryClient::connect(registry.address);
    assert_eq!(other.lookup(1), Answer::Address("localhost".into(), 4001));
    assert_eq!(other.lookup(2), Answer::not_found());
    assert_eq!(other.register(2, 4001), Answer::error("Existing port"));
    drop(other);
    registry.notes.await_note(&Note::WouldSpin(Part::Registry));
    assert_eq!(registry.port_of(1), Some(4001));
    holder.reset();
    registry.await_entry(1, false);
}

#[test]
fn the_registry_forgets_the_first_holder_when_a_refused_one_resets() {
    let registry = ReferenceRegistry::start();
    let mut holder = RegistryClient::connect(registry.address);
    assert_eq!(holder.register(1, 4001), Answer::Registered(1));
    let mut second = RegistryClient::connect(registry.address);
    assert_eq!(second.register(1, 4002), Answer::error("Existing peer ID"));
    second.reset();
    registry.await_entry(1, false);
}
