//! Our programs beside those of the reference, in every mix: registry, uploader
//! and downloader of either kind, and the demo with each seat taken by either.

use std::fs;
use std::net::SocketAddrV4;

use kit::messages::digest_of;
use kit::reference::{Note, Notes, Part, ReferencePeer, ReferenceRegistry, Settings};
use kit::{Answer, OfferRepeater, Peer, RawDownloader, Registry, World, await_until, content};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ours,
    Reference,
}
use Kind::{Ours, Reference};

/// A registry of either kind.
enum AnyRegistry {
    Ours(Registry),
    Reference(ReferenceRegistry),
}

impl AnyRegistry {
    fn start(kind: Kind, world: &World) -> Self {
        match kind {
            Ours => Self::Ours(world.another_registry()),
            Reference => Self::Reference(ReferenceRegistry::start()),
        }
    }

    fn address(&self) -> SocketAddrV4 {
        match self {
            Self::Ours(registry) => registry.address,
            Self::Reference(registry) => registry.address,
        }
    }

    fn notes(&self) -> Option<&Notes> {
        match self {
            Self::Ours(_) => None,
            Self::Reference(registry) => Some(&registry.notes),
        }
    }
}

/// A peer of either kind.
enum AnyPeer {
    Ours(Peer),
    Reference(ReferencePeer),
}

impl AnyPeer {
    fn start(
        kind: Kind,
        world: &World,
        id: u32,
        registry: &AnyRegistry,
        has: &[(&str, &[u8])],
        wants: &[&str],
    ) -> Self {
        match kind {
            Ours => {
                let plan = world.peer_at(id, registry.address());
                let plan = has.iter().fold(plan, |plan, (name, content)| plan.has(name, content));
                Self::Ours(plan.wants_all(wants.iter().copied()).start())
            }
            Reference => {
                let mut settings = Settings::new(world, id, registry.address()).quick();
                for (name, content) in has {
                    settings = settings.has(name, content);
                }
                for name in wants {
                    settings = settings.wants(name);
                }
                Self::Reference(settings.start())
            }
        }
    }

    #[track_caller]
    fn await_file(&mut self, name: &str, content: &[u8]) {
        match self {
            Self::Ours(peer) => peer.await_file(name, content),
            Self::Reference(peer) => peer.await_file(name, content),
        }
    }

    /// Stops a peer of ours, as a user does.
    #[track_caller]
    fn stop(&mut self) {
        if let Self::Ours(peer) = self {
            peer.stop();
        }
    }

    fn notes(&self) -> Option<&Notes> {
        match self {
            Self::Ours(_) => None,
            Self::Reference(peer) => Some(&peer.notes),
        }
    }
}

/// One transfers two files to the other, and nobody comes to harm by that, nor by
/// the end of ours.
fn exchange(registry: Kind, uploader: Kind, downloader: Kind) {
    const NAMES: [&str; 2] = ["plain.bin", "résumé – 日本.pdf"];
    let world = World::new();
    let registry = AnyRegistry::start(registry, &world);
    let (plain, accents) = (content(1, 300_001), content(2, 5 * 1024));
    let has = [(NAMES[0], &plain[..]), (NAMES[1], &accents)];
    let mut uploader = AnyPeer::start(uploader, &world, 1, &registry, &has, &[]);
    let mut downloader = AnyPeer::start(downloader, &world, 2, &registry, &[], &NAMES);

    downloader.await_file(NAMES[0], &plain);
    downloader.await_file(NAMES[1], &accents);
    downloader.stop();
    uploader.stop();
    let ours = [&uploader, &downloader].map(|peer| matches!(peer, AnyPeer::Ours(_)));
    for (notes, counterpart_is_ours, part) in [
        (registry.notes(), ours.contains(&true), Part::Registry),
        (uploader.notes(), ours[1], Part::Uploader),
        (downloader.notes(), ours[0], Part::Downloader),
    ] {
        match notes {
            Some(notes) if counterpart_is_ours => notes.await_reset(part),
            Some(notes) => notes.assert_unharmed(),
            None => {}
        }
    }
}

#[test]
fn ours_from_ours_by_the_reference() {
    exchange(Reference, Ours, Ours);
}

#[test]
fn ours_from_the_reference_by_ours() {
    exchange(Ours, Reference, Ours);
}

#[test]
fn ours_from_the_reference_by_the_reference() {
    exchange(Reference, Reference, Ours);
}

#[test]
fn the_reference_from_ours_by_ours() {
    exchange(Ours, Ours, Reference);
}

#[test]
fn the_reference_from_ours_by_the_reference() {
    exchange(Reference, Ours, Reference);
}

#[test]
fn the_reference_from_the_reference_by_ours() {
    exchange(Ours, Reference, Reference);
}

#[test]
fn the_demo_with_every_mix_of_peers_and_our_registry() {
    demo_in_every_mix(Ours);
}

#[test]
fn the_demo_with_every_mix_of_peers_and_the_registry_of_the_reference() {
    demo_in_every_mix(Reference);
}

fn demo_in_every_mix(registry: Kind) {
    for one in [Ours, Reference] {
        for two in [Ours, Reference] {
            for three in [Ours, Reference] {
                eprintln!("registry {registry:?}, peers {one:?}, {two:?}, {three:?}");
                demo(registry, [one, two, three]);
            }
        }
    }
}

fn demo(registry: Kind, peers: [Kind; 3]) {
    let world = World::new();
    let registry = AnyRegistry::start(registry, &world);
    let (dummy, game) = (content(1, 5_000), content(2, 70_001));
    let has_dummy = [("dummyfile.txt", &dummy[..])];
    let has_game = [("piratedGame", &game[..])];
    let wants = ["piratedGame"];
    let mut one = AnyPeer::start(peers[0], &world, 1, &registry, &has_dummy, &wants);
    let mut two = AnyPeer::start(peers[1], &world, 2, &registry, &has_game, &[]);
    let mut three = AnyPeer::start(peers[2], &world, 3, &registry, &[], &["dummyfile.txt"]);

    one.await_file("piratedGame", &game);
    three.await_file("dummyfile.txt", &dummy);
    for (peer, name) in [(&one, "piratedGame"), (&three, "dummyfile.txt")] {
        if let Some(notes) = peer.notes() {
            assert_eq!(notes.count(&Note::ChecksumFailed(name.to_owned())), 1);
        }
    }
    for peer in [&mut one, &mut two, &mut three] {
        peer.stop();
    }
    for notes in [registry.notes(), one.notes(), two.notes(), three.notes()].into_iter().flatten() {
        notes.assert_unharmed();
    }
}

#[test]
fn with_the_sleeps_that_the_reference_has() {
    let world = World::new();
    let file = content(1, 100_000);
    let ours = world.peer(1).has("ours", &file).wants("theirs").start();
    let theirs =
        Settings::new(&world, 2, world.registry().address).has("theirs", &file).wants("ours");
    let theirs = theirs.start();

    theirs.await_file("ours", &file);
    ours.await_file("theirs", &file);
    theirs.notes.assert_unharmed();
}

#[test]
fn many_files_at_once_with_the_registry_of_the_reference() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let files: Vec<_> = (0..10).map(|i| (format!("file {i}"), content(i, 50_000))).collect();
    let source = Settings::new(&world, 1, registry.address).quick();
    let source = files.iter().fold(source, |source, (name, content)| source.has(name, content));
    let source = source.start();
    let ours = world.peer_at(2, registry.address);
    let ours = ours.wants_all(files.iter().map(|(name, _)| &**name)).start();

    for (name, content) in &files {
        ours.await_file(name, content);
    }
    registry.notes.assert_unharmed();
    source.notes.assert_unharmed();
}

#[test]
fn a_large_file_goes_to_the_reference_through_the_window() {
    let world = World::new();
    let file = content(1, 20 << 20);
    let _ours = world.peer(1).has("large", &file).start();
    let theirs = Settings::new(&world, 2, world.registry().address).quick().wants("large").start();

    theirs.await_file("large", &file);
    theirs.notes.assert_unharmed();
}

#[test]
fn an_empty_file_comes_from_the_reference() {
    let world = World::new();
    let source =
        Settings::new(&world, 1, world.registry().address).quick().has("empty", b"").start();
    let ours = world.peer(2).wants("empty").start();

    ours.await_file("empty", b"");
    source.notes.assert_unharmed();
}

#[test]
fn an_empty_file_fails_the_reference_and_nobody_else() {
    let world = World::new();
    let ours = world.peer(1).has("empty", b"").has("file", b"x").start();
    let theirs = Settings::new(&world, 2, world.registry().address).quick().wants("empty").start();
    theirs.notes.await_note(&Note::Died(Part::Downloader, "no file to check"));

    ours.process.assert_running();
    let fetched = RawDownloader::connect(ours.address).fetch("file");
    assert_eq!(fetched, Some((b"x".to_vec(), digest_of(b"x"))));
}

#[test]
fn a_reference_that_cannot_serve_is_left_for_another_source() {
    let world = World::new();
    let file = content(1, 100_000);
    let silent = Settings::new(&world, 1, world.registry().address).quick().has("file", &file);
    let gone = silent.folder.join("file");
    let silent = silent.start();
    let ours = world.peer(2);
    world.await_offer(1, "file");
    fs::remove_file(gone).unwrap();
    // The offer is repeated in its name, as the reference does while it fetches a
    // file again.
    let _offers = OfferRepeater::start(&world, 1, &["file"]);
    let ours = ours.wants("file").start();
    silent.notes.await_note(&Note::Silent);

    let _other = world.peer(3).has("file", &file).start();
    ours.await_file("file", &file);
}

#[test]
fn the_registry_of_the_reference_forgets_our_peer_when_it_stops() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    for _ in 0..2 {
        let ours = world.peer_at(1, registry.address).start();
        // It is entered before it is answered; a peer that leaves in between stays entered.
        ours.process.await_log("registered at");
        registry.await_entry(1, true);
        ours.stop();
        registry.await_entry(1, false);
    }
    registry.notes.assert_unharmed();
}

#[test]
fn the_registry_of_the_reference_keeps_the_first_holder_of_an_id() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let first = world.peer_at(1, registry.address).start();
    registry.await_entry(1, true);
    let second = world.peer_at(1, registry.address).launch();

    assert_eq!(second.await_exit_code(), 7);
    // Closed in order, which the reference does not survive but the entry does.
    registry.notes.await_note(&Note::WouldSpin(Part::Registry));
    assert_eq!(registry.port_of(1), Some(first.address.port().into()));
}

#[test]
fn our_registry_refuses_the_reference_an_id_that_is_taken() {
    let world = World::new();
    let ours = world.peer(1).start();
    let mut client = world.client();
    let entered = Answer::address(ours.address);
    await_until("ours is entered", || client.lookup(1) == entered);

    let theirs = Settings::new(&world, 1, world.registry().address).quick().start();
    theirs.notes.await_note(&Note::Refused("Existing peer ID".to_owned()));
    assert_eq!(client.lookup(1), entered);
}

#[test]
fn a_doctor_does_the_reference_no_harm() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let file = content(1, 3_000);
    let settings = |id| Settings::new(&world, id, registry.address).quick();
    let source = settings(1).has("file", &file).start();
    world.await_offer(1, "file");
    for _ in 0..2 {
        let doctor = world.command_at(registry.address, &["doctor"]).start();
        assert_eq!(doctor.await_exit_code(), 0, "{}", doctor.said());
    }
    assert!(registry.port_of(1).is_some());

    let downloader = settings(2).wants("file").start();
    downloader.await_file("file", &file);
    for notes in [&source.notes, &registry.notes, &downloader.notes] {
        notes.assert_unharmed();
    }
}
