//! `p2pfs status`: how a program of the same user does; and `--metrics`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use kit::messages::{self, Count};
use kit::{DEADLINE, FakeSource, OfferRepeater, Output, Process, Signal, World, await_until};
use p2pfs::limits::{CONTROL_CLIENTS_MAX, CONTROL_SEARCHES_MAX};
use p2pfs::ui::events::EVENTS;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;

/// Asks as the user of this world.
fn status(world: &World, arguments: &[&str]) -> Output {
    world.program(&[&["status"], arguments].concat()).output()
}

/// Runs `get` with a running program.
fn get(world: &World, arguments: &[&str]) -> Output {
    world.program(&[&["get"], arguments].concat()).output()
}

fn events(output: &Output) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn share(world: &World, more: &[&str]) -> Process {
    world.folder("shared", &[("a file", &[1; 2048])]);
    let share = world.start(&[&["share", "shared"], more].concat());
    share.await_listening();
    share
}

fn socket(world: &World, process: &Process) -> PathBuf {
    let pid = process.pid().as_raw_nonzero();
    world.path().join(format!("p2pfs/{pid}.sock"))
}

#[test]
fn what_is_shared_and_known_as_text_and_as_json() {
    let world = World::new();
    let share = share(&world, &[]);
    let path = socket(&world, &share);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);

    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.set_broadcast(true).unwrap();
    let offer = messages::offer(77, "theirs", Count::Bytes);
    await_until("it knows the offer", || {
        sender.send_to(&offer, world.broadcast()).unwrap();
        status(&world, &[]).stdout.contains("known: theirs, from peer 77, heard 0 s ago\n")
    });
    let said = status(&world, &[]);
    assert_eq!(said.code, Some(0));
    let said = said.stdout;
    assert!(said.starts_with(&format!("share, process {}, up ", share.pid().as_raw_nonzero())));
    assert!(said.contains("\nshares 1 file; knows 1 offer of 1 peer; "), "{said}");
    assert!(said.contains("\nshared: a file, 2.00 KiB\n"), "{said}");
    assert!(said.contains("\nloop: "), "{said}");

    // By its number and by its socket it is the same one.
    let pid = share.pid().as_raw_nonzero().to_string();
    for program in [pid.as_str(), path.to_str().unwrap()] {
        let told = events(&status(&world, &["--json", program]));
        let names: Vec<_> = told.iter().map(|object| object["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["status", "shared_file", "offer", "exit"]);
        let kind = EVENTS.iter().find(|kind| kind.name == "status").unwrap();
        assert!(kind.fields.iter().all(|field| !told[0][field.name].is_null()), "{:?}", told[0]);
        assert_eq!((&told[0]["files_shared"], &told[0]["name"]), (&1.into(), &"share".into()));
        assert_eq!((&told[1]["name"], &told[1]["bytes"]), (&"a file".into(), &2048.into()));
    }
    share.stop();
    assert!(!path.exists());
}

#[test]
fn nobody_is_running_or_no_longer() {
    let world = World::new();
    let none = status(&world, &[]);
    assert_eq!(none.code, Some(4));
    let said = none.stderr;
    assert!(said.starts_with("p2pfs: no share or peer of yours is running here; "), "{said}");
    let gone = status(&world, &["/nowhere"]);
    assert_eq!(gone.code, Some(4));

    // The socket of a dead one is removed by a program that asks, and by one that starts.
    for _ in 0..2 {
        let killed = share(&world, &[]);
        killed.kill();
    }
    let left = || fs::read_dir(world.path().join("p2pfs")).unwrap().count();
    assert_eq!(left(), 1, "the second has removed the socket of the first");
    assert_eq!(status(&world, &[]).code, Some(4));
    assert_eq!(left(), 0);
}

#[test]
fn a_folder_that_others_may_write_to_is_not_used() {
    let world = World::new();
    let folder = world.path().join("p2pfs");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let trap = UnixListener::bind(folder.join("1.sock")).unwrap();
    trap.set_nonblocking(true).unwrap();
    let share = share(&world, &[]);
    share.assert_running();
    assert!(!socket(&world, &share).exists());
    assert_eq!(status(&world, &[]).code, Some(4));
    assert!(trap.accept().is_err(), "nobody was asked there");
}

#[test]
fn a_folder_that_has_no_room_for_the_name_of_a_socket_is_not_used() {
    let world = World::new();
    let long = world.folder(&"r".repeat(120), &[]);
    fs::set_permissions(&long, fs::Permissions::from_mode(0o700)).unwrap();
    world.folder("shared", &[("a file", b"x")]);
    let share = world.command(&["share", "shared"]).env("XDG_RUNTIME_DIR", &long).start();
    share.await_listening();
    let pid = share.pid().as_raw_nonzero().to_string();
    // Other programs may be in the other folder, too.
    for arguments in [&["status", &*pid][..], &["status"]] {
        let told = world.program(arguments).env("XDG_RUNTIME_DIR", &long).output();
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.stdout.contains(&format!("share, process {pid}, up ")), "{told:?}");
    }
    share.stop();
    assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    assert_eq!(share.log().iter().filter(|line| line.contains("status")).count(), 0);
}

#[test]
fn what_another_program_says_steers_no_terminal() {
    let world = World::new();
    let folder = world.folder("p2pfs", &[]);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    let liar = UnixListener::bind(folder.join("1.sock")).unwrap();
    let text = "\x1b]0;owned\x07one\nback\\slash \u{202e}two\r\x1b[2J\n";
    let answer = [&b"T"[..], &(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
    std::thread::spawn(move || {
        for stream in liar.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 2]);
            let _ = stream.write_all(&answer);
        }
    });
    for arguments in [&["1"][..], &["1", "--json"], &[]] {
        let told = status(&world, arguments);
        assert_eq!(told.code, Some(0), "{told:?}");
        let shown = "\\u{1b}]0;owned\\u{7}one\nback\\slash \\u{202e}two\\u{d}\\u{1b}[2J\n";
        assert!(told.stdout.starts_with(shown), "{told:?}");
    }
}

#[test]
fn who_does_not_ask_or_read_harms_nobody() {
    let world = World::new();
    let share = share(&world, &[]);
    let path = socket(&world, &share);
    let mut silent: Vec<_> =
        (0..3 * CONTROL_CLIENTS_MAX).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for (n, stream) in silent.iter_mut().enumerate() {
        // Some of them have been closed by now to make room.
        let _ = match n % 3 {
            0 => Ok(()),
            1 => stream.write_all(&[b'x'; 4096]),
            _ => stream.write_all(b"S\x01"),
        };
    }
    let said = status(&world, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // What is no question is not answered.
    let mut other = UnixStream::connect(&path).unwrap();
    other.write_all(b"nonsense\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "");
    share.assert_running();
}

#[test]
fn metrics_are_written_anew_and_whole() {
    let world = World::new();
    let path = world.path().join("metrics.prom");
    let share = share(&world, &["--metrics", path.to_str().unwrap()]);
    // From the start on.
    let first = fs::read_to_string(&path).unwrap();
    for line in first.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[0] {
            "#" => assert!(matches!(words[1], "HELP" | "TYPE"), "{line}"),
            name => {
                assert!(name.starts_with("p2pfs_") && words.len() == 2, "{line}");
                words[1].parse::<f64>().unwrap();
            }
        }
    }
    assert!(first.contains("\n# TYPE p2pfs_turns_total counter\np2pfs_turns_total "), "{first}");
    let turns = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("p2pfs_turns_total "));
        line.unwrap().split(' ').next_back().unwrap().parse::<u64>().unwrap()
    };
    let mut last = String::new();
    await_until("they are written again", || {
        last = fs::read_to_string(&path).unwrap();
        turns(&last) > turns(&first)
    });
    assert!(last.contains("\np2pfs_files_shared 1\n"), "{last}");
    let names = fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.filter(|name| name.to_string_lossy().contains("metrics")).collect();
    assert_eq!(names, ["metrics.prom"]);
    // And once more at the end.
    share.stop();
    assert!(turns(&fs::read_to_string(&path).unwrap()) > turns(&last));
    let refused = world.command(&["share", "--metrics", "/proc/none"]).output();
    assert_eq!(refused.code, Some(8), "{refused:?}");
    let said = refused.stderr;
    assert!(said.contains("p2pfs: cannot write the metrics to /proc/none: "), "{said}");
    assert_eq!(refused.stdout, "");
}

#[test]
fn who_waits_for_a_file_is_in_nobodys_way_and_who_has_gone_keeps_no_place() {
    let world = World::new();
    let peer = world.peer(2).start();
    let path = socket(&world, &peer.process);
    let wait = |name: &str| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let len = (name.len() as u16).to_be_bytes();
        stream.write_all(&[b"W", &len[..], name.as_bytes(), b"A"].concat()).unwrap();
        stream
    };
    // More have gone than there are places.
    (0..20).for_each(|number| drop(wait(&format!("gone {number}"))));
    let _waiting = wait("never");
    for _ in 0..40 {
        let told = status(&world, &[]);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.stdout.starts_with("peer 2, process "), "{told:?}");
    }
    let told = status(&world, &[]).stdout;
    assert!(!told.contains("wants 0 files"), "{told}");
}

/// Those that wait for files, and those that come all at once.
#[test]
fn a_hundred_programs_are_served_and_none_is_sent_away() {
    let world = World::new();
    let peer = world.peer(2).wants("mine").start();
    let path = socket(&world, &peer.process);
    let connect = |question: &[u8]| {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(question).unwrap();
        stream
    };
    let mut waiting: Vec<_> = (0..20).map(|_| connect(b"W\0\x05neverA")).collect();
    // Nobody offers it.
    waiting.iter_mut().for_each(|stream| stream.read_exact(&mut [0; 8]).unwrap());
    // They gather while it does nothing.
    peer.process.pause();
    let mut asking: Vec<_> = (0..100).map(|_| connect(b"S\0")).collect();
    peer.process.resume();
    for stream in &mut asking {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("\nwanted: mine\nwanted: never, for 20 programs\n"), "{answer}");
    }
    let told = events(&status(&world, &["--json"]));
    let wanted = told.iter().filter(|event| event["event"] == "wanted_file");
    let wanted: Vec<_> = wanted.map(|event| (&event["name"], &event["programs"])).collect();
    assert_eq!(wanted, [(&"mine".into(), &0.into()), (&"never".into(), &20.into())]);
    for stream in &mut waiting {
        stream.set_nonblocking(true).unwrap();
        let end = stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::WouldBlock);
    }
    drop(waiting);
    await_until("only its own is wanted", || status(&world, &[]).stdout.contains("wants 1 file\n"));
    assert!(peer.process.has_said("never is not fetched: the program that asked for it has ended"));
}

#[test]
fn a_signal_to_a_program_that_waits_withdraws_what_it_asked_for() {
    let world = World::new();
    let _stalling = FakeSource::stalling(&world, 1, "file", vec![7; 100_000]);
    let peer = world.peer(2).start();
    let via = format!("--via={}", peer.process.pid().as_raw_nonzero());
    let get = world.program(&["get", "file", &via]).start();
    peer.await_partial(100_000);
    get.signal(Signal::INT);
    assert_eq!(get.await_exit_code(), 130);
    await_until("nothing of it is left", || peer.hidden_files().is_empty());
    assert!(status(&world, &[]).stdout.contains("wants 0 files\n"));
}

#[test]
fn a_program_that_comes_while_there_is_no_descriptor_is_served_later() {
    let world = World::new();
    let share = share(&world, &[]);
    let path = socket(&world, &share);
    let usual = getrlimit(Resource::Nofile);
    let starved = Rlimit { current: Some(share.descriptor_limit_for(1)), maximum: usual.maximum };
    prlimit(Some(share.pid()), Resource::Nofile, starved).unwrap();
    let mut asking: Vec<_> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    asking.iter_mut().for_each(|stream| stream.write_all(b"S\0").unwrap());
    share.await_log("cannot accept connections on ");
    prlimit(Some(share.pid()), Resource::Nofile, usual).unwrap();
    for stream in &mut asking {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("share, process "), "{answer}");
    }
}

#[test]
fn a_running_peer_fetches_what_it_is_asked_for() {
    let world = World::new();
    let _source = world.peer(1).has("a", b"aaa").has("b", b"bbb").start();
    let peer = world.peer(2).start();
    let get = |arguments: &[&str]| get(&world, arguments);
    let several = get(&["a", "--via"]);
    assert_eq!(several.code, Some(2), "{several:?}");
    assert!(several.stderr.contains("several peers"), "{several:?}");
    let via = format!("--via={}", peer.process.pid().as_raw_nonzero());
    let both = get(&["a", "b", "a", &via]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert_eq!(fs::read(peer.path_of("b")).unwrap(), b"bbb");
    let said = both.stderr;
    assert!(said.contains("verified a from peer 1") && said.contains("verified b "), "{said}");

    // It has them now, and tells so; as JSON too.
    let told = events(&get(&["a", &via, "--json"]));
    assert_eq!((&told[0]["event"], &told[0]["name"]), (&"already_there".into(), &"a".into()));
    assert_eq!((&told[1]["event"], &told[1]["code"]), (&"exit".into(), &0.into()));

    // With its end it is wanted no more.
    for _ in 0..2 {
        let never = get(&["never", &via, "--timeout", "300ms"]);
        assert_eq!(never.code, Some(3), "{never:?}");
        assert!(never.stderr.contains("never: not offered"), "{never:?}");
        await_until("nothing is wanted", || {
            status(&world, &[&via["--via=".len()..]]).stdout.contains("; wants 0 files\n")
        });
    }
    let _offers = OfferRepeater::start(&world, 9, &["offered"]);
    let late = get(&["offered", &via, "--timeout", "1s"]);
    assert_eq!(late.code, Some(5), "{late:?}");
    for wrong in [
        &["*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x*x"][..],
        &["a", "-o", "-"],
        &["a", "-o", "."],
        &["a", "--on-conflict", "skip"],
        &["a", "--retries", "1"],
        &["a", "--no-sync"],
        &["a", "--registry", "127.0.0.1"],
        &["a", "--interface", "lo"],
        &["a", "--broadcast", "127.0.0.1:1"],
        &["a", "--offer-interval", "1s"],
        &["a", "--max-file-size", "1M"],
        &["a", "--disk-reserve", "1M"],
        &["a", "--progress-timeout", "1s"],
    ] {
        let wrong = get(&[wrong, &[&*via]].concat());
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
    }
    peer.stop();
    assert_eq!(get(&["a", &via]).code, Some(4));
}

#[test]
fn via_takes_patterns() {
    let world = World::new();
    let files =
        [("a.iso", &b"a"[..]), ("b.iso", b"b"), ("c.img", b"c"), ("x[1]", b"x"), ("x1", b"")];
    let _share = world.share("mine", &files);
    let peer = world.peer(7).start();
    let via = format!("--via={}", peer.process.pid().as_raw_nonzero());
    let get = |names: &[&str]| get(&world, &[names, &[&*via]].concat());
    let got = |name: &str| peer.path_of(name).exists();
    let two = get(&["*.iso", "c.img"]);
    assert_eq!(two.code, Some(0), "{two:?}");
    assert!(["a.iso", "b.iso", "c.img"].into_iter().all(got) && !got("x1"));
    // The name wins, and what is there is there.
    let one = get(&["x[1]", "*.iso"]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(got("x[1]") && !got("x1"));
    // Nothing matches, or it is not certain that this is all.
    let none = get(&["*.none", "--timeout", "300ms"]);
    assert_eq!(none.code, Some(3), "{none:?}");
    let early = get(&["*.iso", "--timeout", "400ms"]);
    assert_eq!(early.code, Some(10), "{early:?}");
    assert!(early.stderr.contains("there may be more that matches"), "{early:?}");
}

#[test]
fn a_pattern_for_which_a_peer_has_no_room_is_told_so() {
    let world = World::new();
    let peer = world.peer(7).start();
    let via = format!("--via={}", peer.process.pid().as_raw_nonzero());
    let search = ["get", "*.none", &via];
    let searches: Vec<_> =
        (0..CONTROL_SEARCHES_MAX + 1).map(|_| world.program(&search).start()).collect();
    // Whichever came last: from then on all places are taken.
    await_until("one is refused", || searches.iter().any(Process::has_ended));
    let refused = get(&world, &["*.none", &via, "--timeout", "10s"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("too many programs wait for files"), "{refused:?}");
}

#[test]
fn a_peer_that_ends_with_a_file_still_tells_who_waits_for_it() {
    let world = World::new();
    let peer = world.peer(2).wants("a").until_done().start();
    let via = format!("--via={}", peer.process.pid().as_raw_nonzero());
    let get = |name: &str| world.program(&["get", name, &via]).start();
    let waits = [get("a"), get("a")];
    await_until("both wait", || status(&world, &[]).stdout.contains("wants 1 file"));
    let _source = world.peer(1).has("a", b"aaa").start();
    for get in &waits {
        assert_eq!(get.await_exit_code(), 0, "{}", get.said());
        assert!(get.said().starts_with("verified a from peer 1: 3 bytes in "), "{}", get.said());
    }
    assert_eq!(peer.process.await_exit_code(), 0);
}

#[test]
fn an_answer_that_no_socket_holds_comes_whole() {
    let world = World::new();
    let name = |number| format!("{number:03} {}", "n".repeat(60));
    let _peer = (0..900).fold(world.peer(1), |plan, n| plan.has(&name(n), b"x")).start();
    await_until("all are shared", || status(&world, &[]).stdout.contains("\nshares 900 files; "));
    let told = status(&world, &["--json"]).stdout;
    let files = told.lines().filter(|line| line.contains("\"event\":\"shared_file\"")).count();
    assert_eq!(files, 900, "{} bytes", told.len());
}

#[test]
fn a_program_that_stands_still_is_given_up_and_the_others_are_shown() {
    let world = World::new();
    let (still, _other) = (share(&world, &[]), share(&world, &[]));
    still.pause();
    let pid = still.pid().as_raw_nonzero().to_string();
    let alone = status(&world, &[&pid]);
    assert_eq!(alone.code, Some(4));
    let said = alone.stderr;
    assert!(said.contains(": it took too long; does it still run? "), "{said}");
    let both = status(&world, &[]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert_eq!(both.stdout.matches("share, process ").count(), 1);
    still.resume();
}

#[test]
fn who_only_shares_fetches_nothing() {
    let world = World::new();
    let share = share(&world, &[]);
    let via = format!("--via={}", share.pid().as_raw_nonzero());
    let get = get(&world, &["a", &via]);
    assert_eq!(get.code, Some(1), "{get:?}");
    let said = get.stderr;
    assert!(said.contains("that program fetches nothing, or has ended"), "{said}");
}

#[test]
fn via_takes_the_only_program_that_fetches() {
    let world = World::new();
    let _share = share(&world, &[]);
    let get = |code| {
        let get = get(&world, &["a", "--via"]);
        assert_eq!(get.code, Some(code), "{get:?}");
        get.stderr
    };
    let said = get(4);
    assert!(said.contains("no peer of yours is running here; start one with `p2pfs peer`"));
    let _peer = world.peer(2).has("a", b"aaa").start();
    get(0);
}
