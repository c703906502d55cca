//! `share` and `get` beside the reference's registry and peers, which come to no harm.

use kit::reference::{Note, Part, ReferencePeer, ReferenceRegistry, Settings};
use kit::{Process, World, content, content_of};

const NAME: &str = "file.bin";

fn peer(world: &World, id: u32, registry: &ReferenceRegistry) -> Settings {
    Settings::new(world, id, registry.address).quick()
}

fn start(world: &World, registry: &ReferenceRegistry, line: &[&str]) -> Process {
    world.command_at(registry.address, line).start()
}

#[test]
fn get_fetches_from_the_reference_and_its_registry_forgets_nobody() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let file = content(1, 100_000);
    let source: ReferencePeer = peer(&world, 5, &registry).has(NAME, &file).start();
    registry.await_entry(5, true);
    let got = world.folder("got", &[]);
    for _ in 0..2 {
        let get = start(&world, &registry, &["get", NAME, "-o", "got"]);
        get.ends_with(0);
        assert!(content_of(&got)[NAME] == file);
    }
    // It noticed the end of both guests, and stays as it was.
    registry.notes.await_reset(Part::Registry);
    registry.await_entry(5, true);
    registry.notes.assert_unharmed();
    source.notes.assert_unharmed();
    assert_eq!(registry.notes.count(&Note::WouldSpin(Part::Registry)), 0);
}

#[test]
fn share_serves_the_reference() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let file = content(2, 100_000);
    world.folder("mine", &[(NAME, &file)]);
    let share = start(&world, &registry, &["share", "mine"]);
    share.await_listening();
    let downloader: ReferencePeer = peer(&world, 5, &registry).wants(NAME).start();
    downloader.await_file(NAME, &file);
    share.stop();
    registry.notes.await_reset(Part::Registry);
    registry.notes.assert_unharmed();
}
