//! `p2pfs share`.

use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{Process, ReservedPort, Signal, World, await_until};
use crate::place::{Place, command_line, content_of, said};

#[test]
fn it_says_where_it_listens_what_it_offers_and_what_it_skips() {
    let place = Place::new();
    let folder = place.folder("mine", &[("a", b"a"), ("b", b"b"), (".hidden", b"x")]);
    // As a peer that died would have left it.
    fs::write(folder.join(".p2pfs-0-0.partial"), b"half").unwrap();
    symlink("a", folder.join("link")).unwrap();
    let before = content_of(&folder);
    let mut share = place.start(&["share", "mine"]);
    let address = share.await_listening();
    assert!(address.ip().is_loopback() && address.port() > 0);
    await_until("it is registered", || said(&share).contains("registered at"));
    let said = said(&share);
    for part in ["sharing 2 files of mine", ".hidden: the name begins", "link: not a regular"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(&address.to_string()), "{said}");
    // Nothing but the one line for programs, nothing for programs on stderr.
    assert_eq!(share.stdout(), [format!("listening {address}")]);
    assert!(!said.contains("listening 127"), "{said}");
    share.signal(Signal::TERM);
    assert_eq!(share.await_exit_code(), 143);
    assert_eq!(content_of(&folder), before, "nothing is written into the folder");
}

#[test]
fn with_several_interfaces_it_says_each_address() {
    let place = Place::new();
    place.folder("mine", &[("a", b"a")]);
    let share = place.start(&["share", "mine", "--interface", "127.0.0.2"]);
    let address = share.await_listening();
    assert!(address.ip().is_unspecified(), "it listens on both");
    await_until("it says more", || said(&share).contains("only this machine"));
    let port = address.port();
    let each = format!("sharing 1 file of mine at 127.0.0.2:{port} and 127.0.0.1:{port}, with");
    assert!(said(&share).contains(&each), "{}", said(&share));
}

#[test]
fn many_skipped_files_are_counted() {
    let place = Place::new();
    let names: Vec<_> = (0..25).map(|n| format!(".{n}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let share = place.share("mine", &files);
    await_until("it tells of the rest", || said(&share).contains("not shared: 15 more"));
    assert_eq!(share.log().iter().filter(|line| line.contains("begins with a dot")).count(), 10);
}

#[test]
fn without_a_folder_it_shares_the_current_one_even_if_that_cannot_be_written() {
    let world = World::new();
    let registry = world.registry();
    let folder = world.folder().join("mine");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), b"x").unwrap();
    let mut permissions = fs::metadata(&folder).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&folder, permissions).unwrap();
    let line = command_line(&world, registry.address, &["share"]);
    let share = Process::start("share", &folder, &line);
    share.await_listening();
    await_until("it offers the file", || world.take_offers().iter().any(|(_, n)| n == "file"));
    assert!(said(&share).contains("sharing 1 file of ."), "{}", said(&share));
}

#[test]
fn without_a_registry_it_says_what_to_do_and_goes_on_trying() {
    let world = World::new();
    let port = ReservedPort::new();
    fs::create_dir(world.folder().join("mine")).unwrap();
    let line = command_line(&world, port.address, &["share", "mine"]);
    let mut share = Process::start("share", world.folder(), &line);
    share.await_listening();
    await_until("it says so", || said(&share).contains("no registry at"));
    let said_so = said(&share);
    assert!(said_so.contains("p2pfs registry") && said_so.contains("--registry"), "{said_so}");
    let _registry = world.registry_on(port.address);
    await_until("it finds the registry", || said(&share).contains("registered at"));
    share.assert_running();
}

#[test]
fn two_of_one_folder_get_along() {
    let place = Place::new();
    let one = place.share("mine", &[("a", b"a")]);
    let other = place.share("mine", &[]);
    let ids = || {
        let offers = place.world.take_offers().into_iter();
        offers.map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>()
    };
    let mut heard = std::collections::BTreeSet::new();
    await_until("both offer it", || {
        heard.extend(ids());
        heard.len() == 2
    });
    assert!(!heard.contains(&0), "0 is nobody's id");
    drop((one, other));
}

#[test]
fn a_folder_that_goes_is_told_even_if_nothing_is_in_it() {
    let place = Place::new();
    let path = |name| place.world.folder().join(name);
    place.folder("moved", &[("a", b"a")]);
    place.folder("empty", &[]);
    let mut all = Vec::new();
    for line in [&["share", "empty"][..], &["share", "moved"], &["share", "moved", "--json"]] {
        let share = place.start(line);
        await_until("it runs", || said(&share).contains("registered at"));
        all.push(share);
    }
    fs::remove_dir(path("empty")).unwrap();
    fs::rename(path("moved"), path("elsewhere")).unwrap();
    let told = |share: &Process| said(share).matches("the shared folder is gone").count();
    await_until("each tells it", || all.iter().all(|share| told(share) == 1));
    let events = || all[2].stdout().join("\n").matches(r#""event":"folder_lost""#).count();
    await_until("it is an event", || events() == 1);
    let mut get = place.get(&["a", "--timeout", "500ms"]);
    assert_eq!(get.await_exit_code(), 3, "it is still offered: {}", said(&get));
    all.iter_mut().for_each(Process::assert_running);
}

#[test]
fn what_is_no_folder_and_what_is_no_interface_is_named() {
    let place = Place::new();
    for (arguments, named) in [
        (&["share", "missing"][..], "missing"),
        (&["share", ".", "--interface", "no-such-thing"], "no-such-thing"),
        (&["share", ".", "--interface", "203.0.113.9"], "203.0.113.9"),
        (&["share", ".", "--interface", "0.0.0.0"], "0.0.0.0"),
    ] {
        let mut process = Process::start("share", place.world.folder(), arguments);
        assert_eq!(process.await_exit_code(), 2, "{arguments:?}");
        let errors = process.error_lines();
        assert!(errors.len() == 1 && errors[0].contains(named), "{arguments:?}: {errors:?}");
        assert_eq!(process.stdout(), [""; 0]);
    }
}

#[test]
fn the_loopback_has_a_name_and_a_taken_port_is_named() {
    let place = Place::new();
    place.folder("mine", &[]);
    let arguments = ["share", "mine", "--interface", "lo", "--broadcast", "127.255.255.255:9"];
    let registry = place.registry.address.to_string();
    let port = place.registry.address.port().to_string();
    let arguments = [&arguments[..], &["--registry", &registry, "--port", &port]].concat();
    let mut share = Process::start("share", place.world.folder(), &arguments);
    assert_eq!(share.await_exit_code(), 11, "{}", said(&share));
    assert!(share.error_lines()[0].contains(&port));
}
