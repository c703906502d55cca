//! Each code that `get` ends with when it does not get what it wants, with one line that
//! says why. The others are shown beside what they are about: 0 in `get`, 9 in
//! `conflicts`, 8 also in `to_stdout`, 130 and 143 in `get`.

use std::net::UdpSocket;

use crate::harness::{
    Answer, FakeSource, OfferRepeater, Process, RegistryClient, ReservedPort, World, content,
};
use crate::messages::digest_of;
use crate::place::{Place, command_line, complaint, ends_with};

#[test]
fn bad_input_is_2() {
    let place = Place::new();
    for (arguments, named) in [
        (&["get"][..], "NAME"),
        (&["get", "../x"], "../x"),
        (&["get", "[a"], "[a"),
        (&["get", "a", "-o", "missing"], "missing"),
        (&["get", "a", "--timeout", "soon"], "soon"),
        (&["get", "a", "--on-conflict", "ask"], "ask"),
        (&["get", "a", "--registry", "no host"], "no host"),
        (&["get", "a\x1b[2J"], "NAME"),
    ] {
        let mut process = Process::start("get", place.world.folder(), arguments);
        ends_with(&mut process, 2);
        let line = complaint(&process);
        assert!(line.contains(named) && !line.contains('\x1b'), "{arguments:?}: {line}");
    }
}

#[test]
fn what_nobody_offers_is_3() {
    let place = Place::new();
    let _share = place.share("mine", &[("other", b"x")]);
    for (name, told) in [
        ("file", "p2pfs: file could not be fetched: nobody offered"),
        ("*.iso", "p2pfs: nothing that matches *.iso could be fetched: nobody offered"),
    ] {
        let mut get = place.get(&[name, "--timeout", "500ms"]);
        ends_with(&mut get, 3);
        let complaint = complaint(&get);
        assert!(complaint.starts_with(told), "{complaint}");
    }
}

#[test]
fn no_registry_is_4() {
    let (world, port) = (World::new(), ReservedPort::new());
    let line = command_line(&world, port.address, &["get", "file", "--timeout", "500ms"]);
    let mut silent = Process::start("get", world.folder(), &line);
    ends_with(&mut silent, 4);
    assert!(complaint(&silent).contains("p2pfs registry"), "{:?}", silent.log());
    // Offered, but there is nobody to ask where.
    let _offers = OfferRepeater::start(&world, 9, "file");
    let mut offered = Process::start("get", world.folder(), &line);
    ends_with(&mut offered, 4);
}

#[test]
fn a_source_that_stalls_is_5() {
    let place = Place::new();
    let _source = FakeSource::start(&place.world, place.registry.address, 9, "file", |stream| {
        FakeSource::send(stream, &[7; 100_000]);
        FakeSource::wait_for_close(stream);
        false
    });
    for patience in [&["--progress-timeout=200ms", "--retries=1"][..], &["--timeout=500ms"]] {
        let mut get = place.get(&[&["file"], patience].concat());
        ends_with(&mut get, 5);
        assert!(complaint(&get).contains("offered but"), "{:?}", get.log());
        assert_eq!(place.got().len(), 0, "nothing is left");
    }
}

#[test]
fn a_source_that_the_registry_does_not_know_is_5() {
    let place = Place::new();
    let _offers = OfferRepeater::start(&place.world, 9, "file");
    let mut get = place.get(&["file", "--retries", "0"]);
    ends_with(&mut get, 5);
    assert!(complaint(&get).contains("`p2pfs doctor`"), "{:?}", get.log());
}

#[test]
fn a_source_that_cannot_be_reached_is_5_and_leads_to_the_doctor() {
    let place = Place::new();
    let closed = ReservedPort::new();
    let mut registration = RegistryClient::connect(place.registry.address);
    let answer = registration.register(9, closed.address.port().into());
    assert_eq!(answer, Answer::Registered(1));
    let _offers = OfferRepeater::start(&place.world, 9, "file");
    let mut get = place.get(&["file", "--retries", "0"]);
    ends_with(&mut get, 5);
    let why = "nobody who offers it could be reached: connection refused; try `p2pfs doctor`";
    assert!(complaint(&get).contains(why), "{:?}", get.log());
}

#[test]
fn what_is_larger_than_allowed_is_1_at_once() {
    let place = Place::new();
    let source = FakeSource::start(&place.world, place.registry.address, 9, "file", |stream| {
        FakeSource::send(stream, &[7; 100_000]);
        FakeSource::wait_for_close(stream);
        false
    });
    let mut get = place.get(&["file", "--max-file-size", "10K"]);
    ends_with(&mut get, 1);
    assert!(complaint(&get).contains("larger than --max-file-size;"), "{:?}", get.log());
    assert!(get.log().iter().any(|line| line.contains(", no retries")), "{:?}", get.log());
    assert_eq!((source.requests(), place.got().len()), (1, 0));
}

#[test]
fn a_checksum_that_stays_wrong_is_6() {
    let place = Place::new();
    let file = content(1, 100_000);
    let liar = FakeSource::start(&place.world, place.registry.address, 9, "file", move |stream| {
        FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(b"other"))
    });
    let mut get = place.get(&["file", "--retries", "2"]);
    ends_with(&mut get, 6);
    assert!(complaint(&get).contains("checksum"), "{:?}", get.log());
    assert!(get.log().iter().any(|line| line.contains(", 2 retries")), "{:?}", get.log());
    assert_eq!((liar.requests(), place.got().len()), (3, 0));
}

#[test]
fn a_full_disk_is_8() {
    let place = Place::new();
    let _share = place.share("mine", &[("file", b"x")]);
    let mut get = place.get(&["file", "--disk-reserve", "1000000T"]);
    ends_with(&mut get, 8);
    assert!(complaint(&get).contains("full"), "{:?}", get.log());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_8_at_once() {
    let place = Place::new();
    // Where nobody can make a file, whoever runs this.
    let mut get = place.start(&["get", "file", "-o", "/proc"]);
    ends_with(&mut get, 8);
    assert!(complaint(&get).contains("cannot write to the folder /proc: "), "{:?}", get.log());
    assert!(!get.log().iter().any(|line| line.contains("waiting")), "{:?}", get.log());
}

#[test]
fn some_done_and_some_not_is_10() {
    let place = Place::new();
    let _share = place.share("mine", &[("file", b"x")]);
    let mut get = place.get(&["file", "other", "--timeout", "1s"]);
    ends_with(&mut get, 10);
    assert!(complaint(&get).contains("1 of 2"), "{:?}", get.log());
    assert_eq!(place.got().into_keys().collect::<Vec<_>>(), ["file"]);
}

#[test]
fn a_taken_offer_port_is_11() {
    let world = World::new();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let broadcast = format!("127.255.255.255:{port}");
    for command in [&["get", "file"][..], &["share"], &["list"]] {
        let line = [command, &["--broadcast", &broadcast]].concat();
        let line: Vec<_> = match command[0] {
            "list" => line,
            _ => [&line[..], &["--interface", "lo"]].concat(),
        };
        let mut process = Process::start(command[0], world.folder(), &line);
        ends_with(&mut process, 11);
        assert!(complaint(&process).contains(&port.to_string()), "{:?}", process.log());
    }
}
