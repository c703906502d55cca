//! `p2pfs get`: files arrive.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Mutex;

use kit::messages::{self, ACKNOWLEDGMENT_BYTES, digest_of};
use kit::{FakeSource, Signal, World, await_until, content};

#[test]
fn several_files_arrive_from_several_sources() {
    let world = World::new();
    let (one, other) = (content(1, 300_000), content(2, 200_000));
    let _first = world.share("first", &[("one", &one[..]), ("empty", b"")]);
    let _second = world.share("second", &[("other", &other[..]), ("not asked for", b"")]);
    let get = world.get(&["one", "other", "empty"]);
    get.ends_with(0);
    let expected = [("one", one), ("other", other), ("empty", Vec::new())];
    let expected: BTreeMap<_, _> = expected.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    assert!(world.got() == expected, "{:?}", world.got().keys());
    assert_eq!(get.error_lines(), [""; 0]);
}

#[test]
fn it_waits_for_an_offer_and_for_the_registry() {
    let world = World::new();
    let get = world.get(&["late", "late"]);
    let waits = "waiting for someone to offer late";
    await_until("it waits", || get.has_said(waits));
    get.assert_running();
    let _share = world.share("mine", &[("late", b"late")]);
    get.ends_with(0);
    assert_eq!(get.said().matches(waits).count(), 1, "named twice, it is one wish");

    // A registry that is not there is no failure of a source.
    let world = World::new();
    let start = |line: &[&str]| world.command_at(world.registry_address(), line).start();
    world.folder("mine", &[("late", b"late")]);
    let get = start(&["get", "late", "-o", ".", "--retries", "0"]);
    await_until("it says so", || get.has_said("no registry at"));
    get.assert_running();
    world.registry();
    let _share = start(&["share", "mine"]);
    get.ends_with(0);
}

#[test]
fn an_option_may_not_be_given_twice() {
    let world = World::new();
    let get = world.get(&["other", "--registry", "127.0.0.1"]);
    assert_eq!(get.await_exit_code(), 2, "{}", get.said());
}

#[test]
fn what_matches_a_pattern_is_fetched_and_nothing_else() {
    let world = World::new();
    let files: [(&str, &[u8]); 4] =
        [("a.iso", b"a"), ("b.iso", b"b"), ("c.img", b"c"), ("[x].iso", b"x")];
    let _share = world.share("mine", &files);
    let get = world.get(&["*.iso", "c.*"]);
    get.ends_with(0);
    assert_eq!(world.got().into_keys().collect::<Vec<_>>(), ["[x].iso", "a.iso", "b.iso", "c.img"]);
    // A name that looks like a pattern is also found as what it is.
    std::fs::remove_file(world.path().join("got/[x].iso")).unwrap();
    world.get(&["[x].iso"]).ends_with(0);
    assert!(world.got().contains_key("[x].iso"));
}

#[test]
fn what_looks_like_a_pattern_may_be_a_name() {
    let world = World::new();
    let names = ["notes [draft.txt", "photo[].jpg", "x [!] y.txt", "a]b.txt", "r[z-a].txt"];
    let files = names.map(|name| (name, name.as_bytes()));
    let _share = world.share("mine", &[&files[..], &[("a1", b"1"), ("a[1]", b"2")]].concat());
    for name in names {
        world.get(&[name]).ends_with(0);
        assert_eq!(world.got()[name], name.as_bytes());
    }
    world.get(&["a[1]"]).ends_with(0);
    assert!(!world.got().contains_key("a1"), "the name wins over the pattern");
    assert_eq!(world.got().len(), names.len() + 1);
    let get = world.command(&["get", "a[1]", "-o", "-"]).start();
    assert_eq!((get.await_exit_code(), get.stdout()), (0, vec!["2".to_owned()]));
}

#[test]
fn a_pattern_that_matches_only_what_is_wanted_by_name_too_ends() {
    let world = World::new();
    let _share = world.share("mine", &[("a.iso", b"a")]);
    for names in [["a.iso", "a*"], ["a*", "a.iso"]] {
        world.get(&names).ends_with(0);
        assert_eq!(world.got().into_keys().collect::<Vec<_>>(), ["a.iso"]);
    }
}

#[test]
fn a_pattern_waits_for_its_first_match() {
    let world = World::new();
    let get = world.get(&["*.iso"]);
    let _other = world.share("other", &[("a.img", b"a")]);
    world.await_offer_of("a.img");
    get.assert_running();
    let _share = world.share("mine", &[("a.iso", b"a")]);
    get.ends_with(0);
    assert_eq!(world.got().into_keys().collect::<Vec<_>>(), ["a.iso"]);
}

#[test]
fn a_guest_leaves_no_trace_and_acknowledges_as_nobody() {
    let world = World::new();
    let file = content(3, 100_000);
    let digest = digest_of(&file);
    let ids = std::sync::Arc::new(Mutex::new(Vec::new()));
    let _source = FakeSource::start(&world, 9, "file", {
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
    let get = world.get(&["file"]);
    get.ends_with(0);
    assert_eq!(*ids.lock().unwrap(), [0; 10]);
    let registered: Vec<_> = world.registry().process.log();
    let registered: Vec<_> = registered.iter().filter(|l| l.contains("registered at")).collect();
    assert!(registered.len() == 1 && registered[0].contains("peer 9"), "{registered:?}");
    assert!(world.take_offers().iter().all(|(id, _)| *id == 9), "it offers something");
}

#[test]
fn another_source_is_asked_after_one_that_lies() {
    let world = World::new();
    let file = content(4, 100_000);
    let liar = FakeSource::start(&world, 9, "file", {
        let file = file.clone();
        move |stream| {
            FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(b"other"))
        }
    });
    let get = world.get(&["file"]);
    await_until("the liar is asked", || liar.requests() > 0);
    let _share = world.share("mine", &[("file", &file)]);
    get.ends_with(0);
    assert!(world.got()["file"] == file);
    assert_eq!(world.got().len(), 1, "what was wrong is wiped");
}

#[test]
fn a_signal_leaves_nothing_behind() {
    let world = World::new();
    let _source = FakeSource::stalling(&world, 9, "file", vec![7; 100_000]);
    for (signal, code) in [(Signal::HUP, 129), (Signal::INT, 130), (Signal::TERM, 143)] {
        let get = world.get(&["file"]);
        await_until("a part has come", || world.got().values().any(|part| !part.is_empty()));
        get.signal(signal);
        get.ends_with(code);
        assert_eq!(world.got().len(), 0);
    }
}

#[test]
fn a_hangup_that_is_ignored_ends_nothing() {
    let world = World::new();
    let launcher = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let get = world.command(&["get", "-o", ".", "file"]).under(launcher).start();
    await_until("it waits", || get.has_said("waiting for someone to offer file"));
    get.signal(Signal::HUP);
    let _share = world.share("mine", &[("file", b"x")]);
    get.ends_with(0);
}

#[test]
fn a_folder_that_is_named_with_a_slash_is_made() {
    let world = World::new();
    let _share = world.share("mine", &[("file", b"content")]);
    for folder in ["new/", "new/", "other/deep/"] {
        let get = world.start(&["get", "file", "-o", folder, "--on-conflict=skip", "--timeout=20"]);
        get.ends_with(0);
        let path = world.path().join(folder);
        assert_eq!(kit::content_of(&path)["file"], b"content");
    }
    let absent = world.start(&["get", "file", "-o", "absent"]);
    absent.ends_with(2);
    assert!(
        absent.complaint().contains("end its name with / to have it made"),
        "{}",
        absent.said()
    );
    assert!(!world.path().join("absent").exists());
    let wrong = world.start(&["get", "file", "-o", "mine/file/", "--timeout=20"]);
    assert!(matches!(wrong.await_exit_code(), 2 | 8), "{}", wrong.said());
}
