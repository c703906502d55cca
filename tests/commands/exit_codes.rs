//! Each code that `get` ends with when it does not get what it wants, with one line that
//! says why. The others are shown beside what they are about: 0 in `get`, 9 in
//! `conflicts`, 8 also in `to_stdout`, 130 and 143 in `get`.

use std::net::UdpSocket;

use kit::{FakeSource, OfferRepeater, ReservedPort, World, content};

#[test]
fn bad_input_is_2() {
    let world = World::new();
    for (arguments, named) in [
        (&["get"][..], "WHAT"),
        (&["get", "../x"], "../x"),
        (&["get", "a", "-o", "missing"], "missing"),
        (&["get", "a", "--timeout", "soon"], "soon"),
        (&["get", "a", "--on-conflict", "ask"], "ask"),
        (&["get", "a", "--registry", "no host"], "no host"),
        (&["get", "a\x1b[2J"], "WHAT"),
    ] {
        let process = world.program(arguments).start();
        process.ends_with(2);
        let line = process.complaint();
        assert!(line.contains(named) && !line.contains('\x1b'), "{arguments:?}: {line}");
    }
}

#[test]
fn what_nobody_offers_is_3() {
    let world = World::new();
    let _share = world.share("mine", &[("other", b"x")]);
    for (name, told) in [
        ("file", "p2pfs: file could not be fetched: nobody offered"),
        ("*.iso", "p2pfs: nothing that matches *.iso could be fetched: nobody offered"),
    ] {
        let get = world.get(&[name, "--timeout", "500ms"]);
        get.ends_with(3);
        let complaint = get.complaint();
        assert!(complaint.starts_with(told), "{complaint}");
    }
}

#[test]
fn what_is_offered_under_nearly_that_name_is_named() {
    let world = World::new();
    let _share = world.share("mine", &[("Talk.pdf", b"x"), ("cafe\u{301}", b"x")]);
    for (name, offered) in [("talk.pdf", "Talk.pdf"), ("caf\u{e9}", "cafe\u{301}")] {
        let get = world.get(&[name, "--timeout", "4s"]);
        get.ends_with(3);
        assert!(get.complaint().contains(offered), "{}", get.said());
        assert!(get.has_said(&format!("{name} is not on offer, but {offered} is")));
    }
}

#[test]
fn no_registry_is_4() {
    let (world, port) = (World::new(), ReservedPort::new());
    let get = || world.command_at(port.address, &["get", "file", "--timeout", "500ms"]).start();
    let silent = get();
    silent.ends_with(4);
    assert!(silent.complaint().contains("p2pfs registry"), "{:?}", silent.log());
    // Offered, but there is nobody to ask where.
    let _offers = OfferRepeater::start(&world, 9, &["file"]);
    let offered = get();
    offered.ends_with(4);
}

#[test]
fn a_source_that_stalls_is_5() {
    let world = World::new();
    let _source = FakeSource::stalling(&world, 9, "file", vec![7; 100_000]);
    for patience in [&["--progress-timeout=200ms", "--retries=1"][..], &["--timeout=3s"]] {
        let get = world.get(&[&["file"], patience].concat());
        get.ends_with(5);
        assert!(get.complaint().contains("offered but"), "{:?}", get.log());
        assert_eq!(world.got().len(), 0, "nothing is left");
    }
}

#[test]
fn a_source_that_the_registry_does_not_know_is_5() {
    let world = World::new();
    let _offers = OfferRepeater::start(&world, 9, &["file"]);
    let get = world.get(&["file", "--retries", "0"]);
    get.ends_with(5);
    assert!(get.complaint().contains("`p2pfs doctor`"), "{:?}", get.log());
}

#[test]
fn a_source_that_cannot_be_reached_is_5_and_leads_to_the_doctor() {
    let world = World::new();
    let closed = ReservedPort::new();
    let _registration = world.registered(9, closed.address.port());
    let _offers = OfferRepeater::start(&world, 9, &["file"]);
    let get = world.get(&["file", "--retries", "0"]);
    get.ends_with(5);
    let why = "nobody who offers it could be reached: connection refused; try `p2pfs doctor`";
    assert!(get.complaint().contains(why), "{:?}", get.log());
}

#[test]
fn what_is_larger_than_allowed_is_1_at_once() {
    let world = World::new();
    let source = FakeSource::stalling(&world, 9, "file", vec![7; 100_000]);
    let get = world.get(&["file", "--max-file-size", "10K"]);
    get.ends_with(1);
    assert!(get.complaint().contains("larger than --max-file-size;"), "{:?}", get.log());
    assert!(get.has_said(", no retries"), "{:?}", get.log());
    assert_eq!((source.requests(), world.got().len()), (1, 0));
}

#[test]
fn a_checksum_that_stays_wrong_is_6() {
    let world = World::new();
    let file = content(1, 100_000);
    let liar = FakeSource::lying(&world, 9, "file", file);
    let get = world.get(&["file", "--retries", "2"]);
    get.ends_with(6);
    assert!(get.complaint().contains("checksum"), "{:?}", get.log());
    assert!(get.has_said(", 2 retries"), "{:?}", get.log());
    assert_eq!((liar.requests(), world.got().len()), (3, 0));
}

#[test]
fn a_full_disk_is_8() {
    let world = World::new();
    let _share = world.share("mine", &[("file", b"x")]);
    let get = world.get(&["file", "--disk-reserve", "1000000T"]);
    get.ends_with(8);
    assert!(get.complaint().contains("full"), "{:?}", get.log());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_8_at_once() {
    let world = World::new();
    // Where nobody can make a file, whoever runs this.
    let get = world.start(&["get", "file", "-o", "/proc"]);
    get.ends_with(8);
    assert!(get.complaint().contains("cannot write to the folder /proc: "), "{:?}", get.log());
    assert!(!get.has_said("waiting"), "{:?}", get.log());
}

#[test]
fn some_done_and_some_not_is_10() {
    let world = World::new();
    let _share = world.share("mine", &[("file", b"x")]);
    let get = world.get(&["file", "other", "--timeout", "1s"]);
    get.ends_with(10);
    assert!(get.complaint().contains("1 of 2"), "{:?}", get.log());
    assert_eq!(world.got().into_keys().collect::<Vec<_>>(), ["file"]);
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
        let process = world.program(&line).start();
        process.ends_with(11);
        assert!(process.complaint().contains(&port.to_string()), "{:?}", process.log());
    }
}
