//! `p2pfs list`.

use std::fs;
use std::io::{Read, pipe};

use p2pfs::limits::KNOWN_NAMES_MAX;

use kit::{AtTerminal, OfferRepeater, ReservedPort, Signal, World, await_until};

#[test]
fn it_shows_what_is_on_offer_and_from_whom() {
    let world = World::new();
    let _one = OfferRepeater::start(&world, 8, &["b c", "a"]);
    let _other = OfferRepeater::start(&world, 7, &["a"]);
    // In a line each, by name and then by peer.
    let rows = || {
        let list = world.start(&["list", "--wait", "500ms"]);
        let code = list.await_exit_code();
        assert!(code == 0 || code == 3, "{}", list.said());
        list.stdout()
    };
    let mut shown = Vec::new();
    await_until("all is on offer", || {
        shown = rows();
        shown.len() == 3
    });
    let names: Vec<_> = shown.iter().map(|row| row.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["a", "a", "b c"]);
    for row in &shown {
        let columns: Vec<_> = row.split_whitespace().collect();
        assert!(columns[0].parse::<u32>().is_ok_and(|peer| peer > 0), "{row}");
        assert!(columns[1].starts_with("127.0.0.1:"), "{row}");
        assert_eq!(columns[3], "ago", "{row}");
    }
    assert!(shown.iter().any(|row| row.trim_start().starts_with("7 ")), "{shown:?}");
}

#[test]
fn what_peers_of_version_1_list_is_shown_at_once_with_sizes_and_sources() {
    let world = World::new();
    let folder = world.folder("mine", &[("movie", &[1; 3000])]);
    fs::create_dir_all(folder.join("photos/2024")).unwrap();
    fs::write(folder.join("photos/2024/a"), b"abc").unwrap();
    let share = world.start(&["share", "mine", "--name", "ann"]);
    share.await_listening();
    let _old = OfferRepeater::start(&world, 7, &["old"]);
    let words = |arguments: &[&str]| -> Vec<String> {
        let list = world.start(&[&["list"], arguments].concat());
        assert_eq!(list.await_exit_code(), 0, "{}", list.said());
        let line = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        list.stdout().into_iter().map(line).collect()
    };
    let is_there = |lines: &[String], begin: &str, end: &str| {
        lines.iter().any(|line| line.starts_with(begin) && line.ends_with(end))
    };
    // It is hashed soon.
    let mut lines = Vec::new();
    await_until("all has an id", || {
        lines = words(&["-R"]);
        !lines.iter().any(|line| line.contains("hashing"))
    });
    assert!(is_there(&lines, "2.93 KiB 2", " ann movie"), "{lines:?}");
    assert!(is_there(&lines, "3 B 2", " ann photos/2024/a"), "{lines:?}");
    let summed = words(&[]);
    assert!(is_there(&summed, "3 B 1 file ann photos/", "photos/"), "{summed:?}");
    let within = words(&["photos/"]);
    assert!(is_there(&within, "3 B 1 file ann photos/2024/", ""), "{within:?}");
    let both = words(&["--wait", "1s"]);
    assert!(is_there(&both, "v0 peer 7 old", "") && both.len() == 3, "{both:?}");
    let list = world.start(&["list", "nothing"]);
    assert_eq!(list.await_exit_code(), 3);
    assert!(list.complaint().contains("nobody shares nothing"), "{}", list.said());
}

#[test]
fn a_registry_that_is_named_tells_where_the_peers_listen() {
    let world = World::new();
    world.folder("mine", &[("file", b"")]);
    let silent_port = world.silent_port().to_string();
    let share = world.start(&["share", "mine", "--beacon-port", &silent_port]);
    let address = share.await_listening().to_string();
    let registry = world.registry().address.to_string();
    await_until("it is registered", || share.has_said("registered at"));
    let list = world.start(&["list", "--wait", "1s", "--registry", &registry]);
    assert_eq!(list.await_exit_code(), 0, "{}", list.said());
    assert_eq!(list.stdout()[0].split_whitespace().nth(1), Some(&*address), "{:?}", list.stdout());
    assert_eq!(list.log(), ["listened for 1s: 1 file offered by 1 peer"]);

    for format in [&[][..], &["--json"]] {
        let line = [&["list", "--watch", "--registry", &registry], format].concat();
        let watch = world.start(&line);
        let tells_it = |line: &String| line.contains(&address);
        await_until("it is shown", || watch.stdout().iter().any(tells_it));
    }

    // Without one it works all the same, and says so if one was named.
    let nowhere = ReservedPort::new().address.to_string();
    let list = world.start(&["list", "--wait", "1s", "--registry", &nowhere]);
    assert_eq!(list.await_exit_code(), 0, "{}", list.said());
    assert_ne!(list.stdout()[0].split_whitespace().nth(1), Some(&*address), "{:?}", list.stdout());
    let why = format!("warning: no registry at {nowhere}: connection refused; ");
    assert!(list.log().len() == 2 && list.log()[0].starts_with(&why), "{:?}", list.log());
    // Longer than the name system allows, so that nobody is asked.
    let list = world.start(&["list", "--registry", &"n".repeat(64)]);
    list.ends_with(4);
    assert!(list.complaint().contains("--registry"), "{}", list.said());
}

#[test]
fn peers_of_version_1_that_only_a_registry_lists_are_asked() {
    let world = World::new();
    let listing = world.listing_registry();
    let registry = listing.address;
    world.folder("mine", &[("file", b"content")]);
    let silent_port = world.silent_port().to_string();
    let share = ["share", "mine", "--name", "far", "--no-v0", "--beacon-port", &silent_port];
    let share = world.command_at(registry, &share).start();
    await_until("it is registered", || share.has_said("registered at"));
    let registry = registry.to_string();
    let is_listed = || {
        let list = world.start(&["list", "--registry", &registry]);
        let code = list.await_exit_code();
        code == 0 && list.stdout().iter().any(|it| it.contains("7 B") && it.contains(" far "))
    };
    // The registry learns a moment after that that it speaks version 1.
    await_until("it is listed", is_listed);
    for format in [&[][..], &["--json"]] {
        let line = [&["list", "--watch", "--registry", &registry], format].concat();
        let watch = world.start(&line);
        await_until("it is shown", || watch.stdout().iter().any(|line| line.contains("far")));
    }
}

#[test]
fn nothing_on_offer_is_3() {
    let world = World::new();
    let list = world.start(&["list", "--wait", "200ms"]);
    list.ends_with(3);
    assert!(list.complaint().contains("200ms"), "{}", list.said());
}

#[test]
fn names_and_patterns_choose_what_is_listed() {
    let world = World::new();
    let files = ["a.iso", "b.iso", "Talk.pdf", "x [1", "c"].map(|name| (name, &b""[..]));
    let _share = world.share("mine", &files);
    world.await_offer_of("c");
    let names = |wanted: &[&str]| {
        let list = world.start(&[&["list", "--wait", "1s"], wanted].concat());
        assert_eq!(list.await_exit_code(), 0, "{}", list.said());
        let rows = list.stdout();
        rows.iter().map(|row| row.rsplit("  ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["*.iso", "x [1"]), ["a.iso", "b.iso", "x [1"]);
    assert_eq!(names(&["c", "none"]), ["c"]);
    let list = world.start(&["list", "--wait", "1s", "talk.pdf"]);
    list.ends_with(3);
    let expected = "p2pfs: 1 peer answered, and nobody shares talk.pdf, but Talk.pdf, which differs \
        only in case or Unicode form; listen for peers of version 0 with --wait";
    assert_eq!(list.complaint(), expected);
    let world = World::new();
    let _offers = OfferRepeater::start(&world, 7, &["Talk.pdf"]);
    let list = world.start(&["list", "--wait", "1s", "talk.pdf"]);
    list.ends_with(3);
    let expected = "p2pfs: nobody offered talk.pdf within 1s, but Talk.pdf, which differs only in \
        case or Unicode form; listen longer with --wait";
    assert_eq!(list.complaint(), expected);
}

#[test]
fn what_is_on_offer_is_shown_as_it_comes_and_once() {
    let world = World::new();
    let list = world.start(&["list", "--wait", "1h"]);
    let _first = OfferRepeater::start(&world, 7, &["first"]);
    await_until("it is shown", || list.stdout().len() == 1);
    let _second = OfferRepeater::start(&world, 8, &["second"]);
    await_until("the other is shown, too", || list.stdout().len() == 2);
    assert!(list.stdout()[1].ends_with("second"));
    list.signal(Signal::INT);
    assert_eq!(list.await_exit_code(), 130);
}

#[test]
fn more_than_it_can_remember_is_told_and_is_1() {
    let world = World::new();
    let names: Vec<_> = (0..KNOWN_NAMES_MAX + 1000).map(|number| format!("f{number}")).collect();
    let (one, other) = names.split_at(names.len() / 2);
    let _offers = [OfferRepeater::start(&world, 7, one), OfferRepeater::start(&world, 8, other)];
    // Long enough to hear all of them on a busy machine.
    let list = world.start(&["list", "--wait", "8s"]);
    assert_eq!(list.await_exit_code(), 1, "{}", list.said());
    assert!(list.complaint().contains("more is on offer than"), "{}", list.said());
    // What is looked for is found among them.
    let list = world.start(&["list", "--wait", "8s", "f1", "f17000"]);
    assert_eq!((list.await_exit_code(), list.stdout().len()), (0, 2), "{}", list.said());
}

#[test]
fn watching_it_shows_what_comes_and_goes_until_it_is_stopped() {
    let world = World::new();
    let list = world.start(&["list", "--watch"]);
    let offers = OfferRepeater::start(&world, 7, &["file"]);
    await_until("it is shown", || !list.stdout().is_empty());
    drop(offers);
    await_until("it is shown to be gone", || list.stdout().len() == 2);
    let shown = list.stdout();
    let columns: Vec<_> = shown.iter().map(|row| row.split_whitespace().collect()).collect();
    let [offered, gone]: [Vec<_>; 2] = columns.try_into().unwrap();
    assert_eq!((offered[0], offered[1], offered[3]), ("offered", "7", "file"));
    assert_eq!((gone[0], &gone[1..]), ("gone", &offered[1..]));
    list.signal(Signal::INT);
    assert_eq!(list.await_exit_code(), 130);
    assert_eq!(list.log(), [""; 0]);
}

#[test]
fn watching_ends_soon_after_its_reader_has_left_though_there_is_nothing_to_write() {
    let world = World::new();
    let (reader, writer) = pipe().unwrap();
    let list = world.command(&["list", "--watch"]).stdout(writer).start();
    drop(reader);
    assert_eq!(list.await_exit_code(), 8);
    assert!(list.complaint().starts_with("p2pfs: cannot write to stdout: "), "{}", list.said());
}

#[test]
fn a_signal_ends_it_while_its_reader_does_not_read() {
    let world = World::new();
    let names: Vec<_> = (0..2000).map(|n| format!("{n:04} {}", "n".repeat(58))).collect();
    let _offers =
        OfferRepeater::start(&world, 7, &names.iter().map(|it| &**it).collect::<Vec<_>>());
    let (mut reader, writer) = pipe().unwrap();
    let list = world.command(&["list", "--wait=2"]).stdout(writer).start();
    // The first byte is there: it is writing, and the pipe is smaller than the list.
    reader.read_exact(&mut [0; 1]).unwrap();
    list.signal(Signal::TERM);
    assert_eq!(list.await_exit_code(), 143);
}

#[test]
fn watching_at_a_terminal_it_shows_what_fits_in_one_place() {
    let world = World::new();
    let names: Vec<_> = (0..40).map(|n| format!("{n:02} {}", "n".repeat(60))).collect();
    let _offers =
        OfferRepeater::start(&world, 7, &names.iter().map(|it| &**it).collect::<Vec<_>>());
    for (rows, columns) in [(10, 60), (24, 80), (5, 30)] {
        let list = AtTerminal::start(rows, columns, world.command(&["list", "--watch"]));
        list.await_line("how many more", |line| line == format!("... and {} more", 43 - rows));
        // It is drawn anew each second.
        await_until("it is drawn again", || list.redrawn() >= 2);
        let lines = list.lines();
        assert_eq!(lines.len(), usize::from(rows) - 1, "{lines:#?}");
        assert!(lines[0].trim_start().starts_with("PEER"), "{lines:#?}");
        assert!(lines[1].ends_with("..."), "{lines:#?}");
        assert_eq!(list.scrolled(), 0);
        list.process.signal(Signal::TERM);
        let (_, bytes) = list.await_end(143);
        assert!(!bytes.contains("\x1b[2J") && !bytes.contains("\x1b[H"), "{bytes:?}");
    }
}
