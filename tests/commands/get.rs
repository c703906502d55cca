//! `p2pfs get`: files arrive.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::sync::Mutex;

use crate::harness::{FakeSource, Process, ReservedPort, Signal, await_until, content};
use crate::messages::{self, ACKNOWLEDGMENT_BYTES, digest_of};
use crate::place::{Place, command_line, ends_with, said};

#[test]
fn several_files_arrive_from_several_sources() {
    let place = Place::new();
    let (one, other) = (content(1, 300_000), content(2, 200_000));
    let _first = place.share("first", &[("one", &one), ("empty", b"")]);
    let _second = place.share("second", &[("other", &other), ("not asked for", b"")]);
    let mut get = place.get(&["one", "other", "empty"]);
    ends_with(&mut get, 0);
    let expected = [("one", one), ("other", other), ("empty", Vec::new())];
    let expected: BTreeMap<_, _> = expected.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    assert!(place.got() == expected, "{:?}", place.got().keys());
    assert_eq!(get.error_lines(), [""; 0]);
}

#[test]
fn it_waits_for_an_offer_and_for_the_registry() {
    let place = Place::new();
    let mut get = place.get(&["late", "late"]);
    let waits = "waiting for someone to offer late";
    await_until("it waits", || said(&get).contains(waits));
    get.assert_running();
    let _share = place.share("mine", &[("late", b"late")]);
    ends_with(&mut get, 0);
    assert_eq!(said(&get).matches(waits).count(), 1, "named twice, it is one wish");

    // A registry that is not there is no failure of a source.
    let (world, port) = (&place.world, ReservedPort::new());
    let start = |line: &[&str]| {
        Process::start(line[0], world.folder(), &command_line(world, port.address, line))
    };
    let mut get = start(&["get", "late", "-o", ".", "--retries", "0"]);
    await_until("it says so", || said(&get).contains("no registry at"));
    get.assert_running();
    let _registry = world.registry_on(port.address);
    let _share = start(&["share", "mine"]);
    ends_with(&mut get, 0);
}

#[test]
fn an_option_may_not_be_given_twice() {
    let place = Place::new();
    let mut get = place.get(&["other", "--registry", "127.0.0.1"]);
    assert_eq!(get.await_exit_code(), 2, "{}", said(&get));
}

#[test]
fn what_matches_a_pattern_is_fetched_and_nothing_else() {
    let place = Place::new();
    let files: [(&str, &[u8]); 4] =
        [("a.iso", b"a"), ("b.iso", b"b"), ("c.img", b"c"), ("[x].iso", b"x")];
    let _share = place.share("mine", &files);
    let mut get = place.get(&["*.iso", "c.*"]);
    ends_with(&mut get, 0);
    assert_eq!(place.got().into_keys().collect::<Vec<_>>(), ["[x].iso", "a.iso", "b.iso", "c.img"]);
    // A name that looks like a pattern is also found as what it is.
    std::fs::remove_file(place.world.folder().join("got/[x].iso")).unwrap();
    ends_with(&mut place.get(&["[x].iso"]), 0);
    assert!(place.got().contains_key("[x].iso"));
}

#[test]
fn a_pattern_that_matches_only_what_is_wanted_by_name_too_ends() {
    let place = Place::new();
    let _share = place.share("mine", &[("a.iso", b"a")]);
    for names in [["a.iso", "a*"], ["a*", "a.iso"]] {
        ends_with(&mut place.get(&names), 0);
        assert_eq!(place.got().into_keys().collect::<Vec<_>>(), ["a.iso"]);
    }
}

#[test]
fn a_pattern_waits_for_its_first_match() {
    let place = Place::new();
    let mut get = place.get(&["*.iso"]);
    let _other = place.share("other", &[("a.img", b"a")]);
    place.world.await_offer_of("a.img");
    get.assert_running();
    let _share = place.share("mine", &[("a.iso", b"a")]);
    ends_with(&mut get, 0);
    assert_eq!(place.got().into_keys().collect::<Vec<_>>(), ["a.iso"]);
}

#[test]
fn a_guest_leaves_no_trace_and_acknowledges_as_nobody() {
    let place = Place::new();
    let file = content(3, 100_000);
    let digest = digest_of(&file);
    let ids = std::sync::Arc::new(Mutex::new(Vec::new()));
    let _source = FakeSource::start(&place.world, place.registry.address, 9, "file", {
        let ids = std::sync::Arc::clone(&ids);
        move |mut stream| {
            for data in file.chunks(10_000) {
                let mut acknowledgment = [0; ACKNOWLEDGMENT_BYTES];
                stream.write_all(&messages::chunk(data)).unwrap();
                stream.read_exact(&mut acknowledgment).unwrap();
                ids.lock().unwrap().push(messages::int(&acknowledgment, 1));
            }
            FakeSource::send_eof(stream, &digest)
        }
    });
    let mut get = place.get(&["file"]);
    ends_with(&mut get, 0);
    assert_eq!(*ids.lock().unwrap(), [0; 10]);
    let registered: Vec<_> = place.registry.process.log();
    let registered: Vec<_> = registered.iter().filter(|l| l.contains("registered at")).collect();
    assert!(registered.len() == 1 && registered[0].contains("peer 9"), "{registered:?}");
    assert!(place.world.take_offers().iter().all(|(id, _)| *id == 9), "it offers something");
}

#[test]
fn another_source_is_asked_after_one_that_lies() {
    let place = Place::new();
    let file = content(4, 100_000);
    let liar = FakeSource::start(&place.world, place.registry.address, 9, "file", {
        let file = file.clone();
        move |stream| {
            FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(b"other"))
        }
    });
    let mut get = place.get(&["file"]);
    await_until("the liar is asked", || liar.requests() > 0);
    let _share = place.share("mine", &[("file", &file)]);
    ends_with(&mut get, 0);
    assert!(place.got()["file"] == file);
    assert_eq!(place.got().len(), 1, "what was wrong is wiped");
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let place = Place::new();
    let _source = FakeSource::start(&place.world, place.registry.address, 9, "file", |stream| {
        FakeSource::send(stream, &[7; 100_000]);
        FakeSource::wait_for_close(stream);
        false
    });
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let mut get = place.get(&["file"]);
        await_until("a part has come", || place.got().values().any(|part| !part.is_empty()));
        get.signal(signal);
        ends_with(&mut get, code);
        assert_eq!(place.got().len(), 0);
    }
}

#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let place = Place::new();
    let (world, registry) = (&place.world, place.registry.address);
    let line = command_line(world, registry, &["get", "-o", ".", "file"]);
    let launcher = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"].map(OsString::from);
    let mut get = Process::start_under(&launcher, "get", world.folder(), &line);
    await_until("it waits", || said(&get).contains("waiting for someone to offer file"));
    get.signal(Signal::HUP);
    let _share = place.share("mine", &[("file", b"x")]);
    ends_with(&mut get, 0);
}
