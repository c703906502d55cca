//! Bad input and ports in use: each ends with its exit code and one line that
//! names the thing, and nothing on the disk has changed.

use std::collections::BTreeMap;
use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use kit::{Launch, World, address_of};

/// What a command line is to be changed in: an option and its value.
type Change<'a> = (&'a str, &'a str);

/// A command line that is good but for the changes, which replace or add options.
fn peer_with(world: &World, changes: &[Change<'_>]) -> Vec<String> {
    let broadcast = world.broadcast().to_string();
    let mut options = BTreeMap::from([("--id", "1"), ("--port", "0"), ("--dir", "shared")]);
    options.extend([("--registry", "127.0.0.1:9"), ("--broadcast", &broadcast)]);
    options.extend(changes.iter().copied());
    let options = options.iter().filter(|(_, value)| **value != ABSENT);
    // As one argument each, so that a value may begin with a dash.
    let options = options.map(|(option, value)| format!("{option}={value}"));
    ["peer".to_owned()].into_iter().chain(options).collect()
}

const ABSENT: &str = "(absent)";

/// Runs it in a folder with the file `shared/file` in it and gives its only line.
#[track_caller]
fn refused(world: &World, arguments: &[String], code: i32) -> String {
    let before = everything_in(world.path());
    let process = Launch::new(world.path(), arguments).start();
    assert_eq!(process.await_exit_code(), code, "{arguments:?}: {:?}", process.log());
    assert_eq!(everything_in(world.path()), before, "{arguments:?}");
    assert_eq!(process.stdout(), [""; 0], "{arguments:?}");
    let log = process.log();
    assert!(log.len() == 1 && log[0].starts_with("p2pfs: "), "{arguments:?}: {log:#?}");
    log[0].clone()
}

fn everything_in(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything_in(&path));
            found.insert(path, None);
        } else {
            let content = fs::read(&path).unwrap();
            found.insert(path, Some(content));
        }
    }
    found
}

fn world_with_a_shared_folder() -> World {
    let world = World::new();
    world.folder("shared", &[("file", b"x")]);
    world
}

#[test]
fn bad_values_are_named() {
    let world = world_with_a_shared_folder();
    for (option, value) in [
        ("--id", "4294967296"),
        ("--id", "-1"),
        ("--id", "one"),
        ("--port", "65536"),
        ("--port", "-1"),
        ("--host", "0.0.0.0"),
        ("--host", "localhost:1"),
        ("--host", "300.0.0.1"),
        ("--registry", "127.0.0.1:65536"),
        ("--registry", "non sense"),
        ("--registry", "300.0.0.1"),
        ("--interface", "no-such-interface"),
        ("--broadcast", "127.255.255.255:0"),
        ("--broadcast", "127.255.255.256:8000"),
        ("--beacon-port", "0"),
        ("--beacon-port", "65536"),
        // That of offers.
        ("--beacon-port", "8000"),
        ("--offer-interval", "5 parsecs"),
        ("--offer-interval", "0s"),
        ("--dir", "missing"),
        ("--dir", "shared/file"),
        ("--want", "../x"),
        ("--want", "a//b"),
        ("--want", ".."),
        ("--want", "/a"),
        ("--want", "blake3:0123"),
        ("--no-such-option", "x"),
    ] {
        let line = refused(&world, &peer_with(&world, &[(option, value)]), 2);
        let named = if option == "--no-such-option" { option } else { value };
        assert!(line.contains(named), "{option} {value}: {line}");
    }
}

#[test]
fn bad_values_of_the_registry_are_named() {
    let world = world_with_a_shared_folder();
    for value in ["nonsense", "127.0.0.1:65536", "127.0.0.1:", "5000", "255.255.255.255"] {
        let arguments = ["registry".to_owned(), format!("--listen={value}")];
        let line = refused(&world, &arguments, 2);
        assert!(line.contains(value), "{line}");
    }
}

#[test]
fn a_wanted_name_that_is_unprintable_is_shown_escaped() {
    let world = world_with_a_shared_folder();
    let line = refused(&world, &peer_with(&world, &[("--want", "a\x1b[31mb")]), 2);
    assert!(!line.contains('\x1b'), "{line:?}");
    let too_long = "n".repeat(300);
    refused(&world, &peer_with(&world, &[("--want", &too_long)]), 2);
    refused(&world, &peer_with(&world, &[("--want", "")]), 2);
}

#[test]
fn missing_and_clashing_options_are_named() {
    let world = world_with_a_shared_folder();
    let line = refused(&world, &peer_with(&world, &[("--id", ABSENT)]), 2);
    assert!(line.contains("--id"), "{line}");
    let line = refused(&world, &peer_with(&world, &[("--port", ABSENT)]), 2);
    assert!(line.contains("--port"), "{line}");
    let line = refused(&world, &peer_with(&world, &[("--initial-folders", "x")]), 2);
    assert!(line.contains("--initial-folders"), "{line}");
    refused(&world, &[], 2);
    refused(&world, &["nonsense".to_owned()], 2);
}

#[test]
fn a_port_in_use_is_named() {
    let world = world_with_a_shared_folder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = address_of(&listener);
    let port = address.port().to_string();

    let registry = ["registry".to_owned(), format!("--listen={address}")];
    let line = refused(&world, &registry, 11);
    assert!(line.contains(&port), "{line}");
    let line = refused(&world, &peer_with(&world, &[("--port", &port)]), 11);
    assert!(line.contains(&port), "{line}");
}

#[test]
fn an_offer_port_that_is_not_shared_is_named() {
    let world = world_with_a_shared_folder();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let broadcast = format!("127.255.255.255:{port}");

    let line = refused(&world, &peer_with(&world, &[("--broadcast", &broadcast)]), 11);
    assert!(line.contains(&port.to_string()), "{line}");
}

#[test]
fn an_address_that_this_host_does_not_have_is_named() {
    let world = world_with_a_shared_folder();
    let arguments = peer_with(&world, &[("--host", "192.0.2.1")]);
    let process = Launch::new(world.path(), &arguments).start();
    assert_ne!(process.await_exit_code(), 0);
    let errors = process.error_lines();
    assert!(errors.len() == 1 && errors[0].contains("192.0.2.1"), "{:?}", process.log());
}

#[test]
fn help_and_version_succeed_and_go_to_stdout() {
    let world = World::new();
    for (arguments, text) in [
        (&["--help"][..], "registry"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["peer", "--help"], "--simulate-checksum-failure"),
        (&["registry", "--help"], "--listen"),
    ] {
        let process = Launch::new(world.path(), arguments).start();
        assert_eq!(process.await_exit_code(), 0);
        assert!(process.stdout().iter().any(|line| line.contains(text)), "{arguments:?}");
        assert_eq!(process.log(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn a_current_folder_that_takes_no_other_is_told_with_what_to_do() {
    let world = World::new();
    let arguments = peer_with(&world, &[("--dir", ABSENT)]);
    let process = Launch::new(Path::new("/proc"), &arguments).start();
    assert_eq!(process.await_exit_code(), 1, "{:?}", process.log());
    let log = process.log();
    assert!(log[0].contains("cannot prepare the folder") && log[0].contains("--dir"), "{log:#?}");
}
