//! `share` and `get` beside the reference's registry and peers, who come to no harm.

use std::fs;

use crate::harness::{Process, Signal, World, content};
use crate::place::{command_line, content_of, ends_with};
use crate::reference::{Note, Part, ReferencePeer, ReferenceRegistry, Settings};

const NAME: &str = "file.bin";

fn peer(world: &World, id: u32, registry: &ReferenceRegistry) -> Settings {
    Settings::new(world, id, registry.address).quick()
}

fn start(world: &World, registry: &ReferenceRegistry, line: &[&str]) -> Process {
    let line = command_line(world, registry.address, line);
    Process::start(&line[0].to_string_lossy(), world.folder(), &line)
}

#[test]
fn get_fetches_from_the_reference_and_its_registry_forgets_nobody() {
    let world = World::new();
    let registry = ReferenceRegistry::start();
    let file = content(1, 100_000);
    let source: ReferencePeer = peer(&world, 5, &registry).has(NAME, &file).start();
    registry.await_entry(5, true);
    let got = world.folder().join("got");
    fs::create_dir(&got).unwrap();
    for _ in 0..2 {
        let mut get = start(&world, &registry, &["get", NAME, "-o", "got"]);
        ends_with(&mut get, 0);
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
    fs::create_dir(world.folder().join("mine")).unwrap();
    fs::write(world.folder().join("mine").join(NAME), &file).unwrap();
    let mut share = start(&world, &registry, &["share", "mine"]);
    share.await_listening();
    let downloader: ReferencePeer = peer(&world, 5, &registry).wants(NAME).start();
    downloader.await_file(NAME, &file);
    share.signal(Signal::TERM);
    assert_eq!(share.await_exit_code(), 143);
    registry.notes.await_reset(Part::Registry);
    registry.notes.assert_unharmed();
}
