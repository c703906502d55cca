//! Groups with a secret: members exchange files, and nobody else hears, reads or joins.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kit::{Process, World, content};
use p2pfs::wire::v1::{Beacon, BeaconKey, Secret};

/// A world in which `p2pfs secret` has made secrets of these names.
fn world(secrets: &[&str]) -> World {
    let world = World::new();
    for name in secrets {
        let made = world.program(&["secret", "--secret-file", name]).output();
        assert_eq!((made.code, made.stdout), (Some(0), format!("{name}\n")));
    }
    world
}

fn share(world: &World, name: &str, options: &[&str]) -> Process {
    let process = world.start(&[&["share", name, "--name", name], options].concat());
    process.await_listening();
    process
}

fn get(world: &World, what: &str, options: &[&str]) -> Process {
    world.get(&[&[what, "--timeout", "3s"], options].concat())
}

fn lists(world: &World, options: &[&str]) -> Vec<String> {
    let list = world.start(&[&["list", "--wait", "1s"], options].concat());
    let code = list.await_exit_code();
    assert!(code == 0 || code == 3, "{}", list.said());
    list.stdout()
}

#[test]
fn members_exchange_a_folder_and_others_hear_and_get_nothing() {
    let world = world(&["ours", "theirs"]);
    let (large, small) = (content(1, 3_000_001), content(2, 5_000));
    world.folder("ann", &[("small", &small)]);
    world.folder("ann/photos", &[("large", &large), ("empty", b"")]);
    let ours = ["--secret-file", "ours"];
    let ann = share(&world, "ann", &ours);
    let told = "the secret is in ours: only peers that have it take part";
    assert!(ann.log()[0].ends_with(told), "{}", ann.said());
    get(&world, "/", &ours).ends_with(0);
    let got = |path: &str| fs::read(world.path().join("got").join(path)).unwrap();
    assert_eq!([got("small"), got("photos/large"), got("photos/empty")], [small, large, vec![]]);
    assert_eq!(lists(&world, &ours).len(), 2);

    for other in [&["--secret-file", "theirs"][..], &[]] {
        assert_eq!(lists(&world, other), [""; 0], "{other:?}");
        let get = get(&world, "small", &[other, &["--on-conflict", "replace"]].concat());
        get.ends_with(3);
    }
    // An address that is known is no way in.
    let address = ann.await_listening();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())).to_string();
    for other in [&["--secret-file", "theirs"][..], &[]] {
        let at = [other, &["--peer", &address, "--on-conflict", "replace"]].concat();
        get(&world, "small", &at).ends_with(3);
    }
    assert_eq!(world.take_offers(), [], "nothing is offered");
    // Nor do members fetch from others.
    let bob = world.share("bob", &[("bobs", b"open")]);
    assert_eq!(get(&world, "bobs", &ours).await_exit_code(), 3);
    assert!(!bob.has_said("sending"), "{}", bob.said());
}

#[test]
fn a_peer_that_is_also_open_serves_members_and_others_and_fetches_from_both() {
    let world = world(&["ours"]);
    world.folder("both", &[("file", b"of both")]);
    world.folder("closed", &[("closed", b"of a member")]);
    world.folder("open", &[("open", b"of everybody")]);
    let (ours, both) = (["--secret-file", "ours"], ["--secret-file", "ours", "--also-open"]);
    let _both = share(&world, "both", &both);
    let _closed = share(&world, "closed", &ours);
    let open = share(&world, "open", &[]);
    // One that is only reached by its address may be of either kind.
    let (alone, port) = (world.silent_port().to_string(), open.await_listening().port());
    let address = format!("127.0.0.1:{port}");
    let at = [&both[..], &["--peer", &address, "--beacon-port", &alone]].concat();
    world.get(&[&["open", "--timeout", "20s"], &at[..]].concat()).ends_with(0);
    for (options, files) in [
        (&[][..], [("file", 0), ("closed", 3), ("open", 0)]),
        (&ours, [("file", 0), ("closed", 0), ("open", 3)]),
        (&both, [("file", 0), ("closed", 0), ("open", 0)]),
    ] {
        for (what, code) in files {
            let _ = fs::remove_dir_all(world.path().join("got"));
            let get = get(&world, what, options);
            assert_eq!(get.await_exit_code(), code, "{what} {options:?}: {}", get.said());
        }
    }
}

/// Old and new; new and old; new alone: each peer takes each step when it likes.
#[test]
fn a_group_changes_its_secret_in_three_steps_without_a_day_off() {
    let world = world(&["old", "new"]);
    let steps: [&[&str]; 4] = [
        &["--secret-file", "old"],
        &["--secret-file", "old", "--secret-file", "new"],
        &["--secret-file", "new", "--secret-file", "old"],
        &["--secret-file", "new"],
    ];
    world.folder("ann", &[("a", b"of ann")]);
    for (at, sharers) in steps.iter().enumerate() {
        let ann = share(&world, "ann", sharers);
        for (other, getters) in steps.iter().enumerate() {
            let code = match at.abs_diff(other) {
                0 | 1 => 0,
                3 => 3,
                _ => continue,
            };
            let _ = fs::remove_dir_all(world.path().join("got"));
            let get = get(&world, "a", getters);
            assert_eq!(get.await_exit_code(), code, "{at} {other}: {}", get.said());
        }
        ann.stop();
    }
}

/// Somebody between two peers, who sees all bytes and may change them.
struct Middle {
    port: u16,
    seen: Arc<Mutex<Vec<u8>>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Middle {
    /// Passes connections on to a port, through `change`, which is told how many bytes have come
    /// from this side before, and which side it is.
    fn new(to: u16, change: fn(usize, bool, &mut Vec<u8>)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&seen), Arc::clone(&is_over));
        let accepting = thread::spawn(move || {
            let mut passing = Vec::new();
            while !shared.1.load(Ordering::Relaxed) {
                let Ok((dialer, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let Ok(acceptor) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, into, is_dialer) in [
                    (dialer.try_clone().unwrap(), acceptor.try_clone().unwrap(), true),
                    (acceptor, dialer, false),
                ] {
                    let shared = shared.clone();
                    passing
                        .push(thread::spawn(move || pass(from, into, is_dialer, change, &shared)));
                }
            }
            passing.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { port, seen, is_over, threads: vec![accepting] }
    }

    fn end(mut self) -> Vec<u8> {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn pass(
    mut from: TcpStream,
    mut into: TcpStream,
    is_dialer: bool,
    change: fn(usize, bool, &mut Vec<u8>),
    (seen, is_over): &(Arc<Mutex<Vec<u8>>>, Arc<AtomicBool>),
) {
    from.set_nonblocking(false).unwrap();
    from.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut buffer, mut passed) = ([0; 65_536], 0);
    while !is_over.load(Ordering::Relaxed) {
        let len = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        seen.lock().unwrap().extend_from_slice(&buffer[..len]);
        let mut bytes = buffer[..len].to_vec();
        change(passed, is_dialer, &mut bytes);
        passed += len;
        if into.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = into.shutdown(std::net::Shutdown::Write);
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn what_is_seen_of_a_session_holds_neither_names_nor_contents() {
    let world = world(&["ours"]);
    let bytes = content(3, 600_000);
    world.folder("ann/folder-of-ann", &[("name-of-file", &bytes)]);
    let ours = ["--secret-file", "ours"];
    let ann = share(&world, "ann", &ours);
    let middle = Middle::new(ann.await_listening().port(), |_, _, _| {});
    // Only this way leads to it.
    let port = world.silent_port().to_string();
    let through = format!("127.0.0.1:{}", middle.port);
    let options = ["--peer", &through, "--beacon-port", &port];
    get(&world, "/", &[&ours[..], &options].concat()).ends_with(0);
    let seen = middle.end();
    assert!(seen.len() > bytes.len(), "all went through it: {} bytes", seen.len());
    let id = blake3::hash(&bytes);
    for part in [&b"folder-of-ann"[..], b"name-of-file", b"p2pfs", &bytes[..32], id.as_bytes()] {
        assert!(!holds(&seen, part), "{}", String::from_utf8_lossy(part));
    }
    assert!(holds(&seen, b"N\0\x30"), "it is sealed from the first byte on");
    drop(ann);
}

/// Nothing that is changed on the way has a peer send in clear instead.
#[test]
fn a_peer_in_the_middle_gets_nothing_in_clear_by_changing_what_is_sent() {
    let world = world(&["ours"]);
    let bytes = content(4, 300_000);
    world.folder("ann", &[("name-of-file", &bytes)]);
    let ours = ["--secret-file", "ours"];
    let ann = share(&world, "ann", &ours);
    let changes: [fn(usize, bool, &mut Vec<u8>); 6] = [
        // Another first byte, as of a session in clear, and of version 0.
        |passed, is_dialer, bytes| {
            if is_dialer && passed == 0 {
                bytes[0] = b'H';
            }
        },
        |passed, is_dialer, bytes| {
            if is_dialer && passed == 0 {
                bytes[0] = b'R';
            }
        },
        // A hello in clear in place of what was sent.
        |passed, is_dialer, bytes| {
            if is_dialer && passed == 0 {
                *bytes = b"H\0\0\0\x16p2pfs\x01\0\0\0\x09\0\0\0\0\0\0\0\x09\x03eve".to_vec();
            }
        },
        // The same as the answer.
        |passed, is_dialer, bytes| {
            if !is_dialer && passed == 0 {
                *bytes = b"H\0\0\0\x16p2pfs\x01\0\0\0\x09\0\0\0\0\0\0\0\x09\x03eve".to_vec();
            }
        },
        // Nothing gets through.
        |_, _, bytes| bytes.clear(),
        // One bit of what comes after the handshake.
        |passed, is_dialer, bytes| {
            if !is_dialer && passed > 0 {
                bytes[0] ^= 1;
            }
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let middle = Middle::new(ann.await_listening().port(), change);
        let port = world.silent_port().to_string();
        let through = format!("127.0.0.1:{}", middle.port);
        let options = ["--peer", &through, "--beacon-port", &port];
        let get = get(&world, "name-of-file", &[&ours[..], &options].concat());
        assert_eq!(get.await_exit_code(), 3, "change {number}: {}", get.said());
        let seen = middle.end();
        for part in [&b"name-of-file"[..], b"p2pfs", &bytes[..32]] {
            assert!(!holds(&seen, part), "change {number}");
        }
        assert!(!ann.has_said("sending"), "change {number}: {}", ann.said());
    }
}

/// Beacons show neither paths nor the secret.
#[test]
fn what_is_broadcast_has_a_mac_and_no_output_shows_the_secret() {
    let world = world(&["ours"]);
    world.folder("ann", &[("name-of-file", b"content")]);
    let text = fs::read_to_string(world.path().join("ours")).unwrap();
    let key: BeaconKey = Secret::parse(text.as_bytes()).unwrap().beacon_key();
    let ours = ["--secret-file", "ours", "--verbose", "--verbose", "--json"];
    let ann = world.start(&[&["share", "ann"][..], &ours].concat());
    ann.await_log("others fetch");
    let get = get(&world, "name-of-file", &ours);
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    let status = world.program(&["status", "--json"]).output();
    let datagrams = world.take_datagrams();
    assert!(!datagrams.is_empty());
    for datagram in &datagrams {
        assert!(Beacon::decode(datagram, Some(&key)).is_ok() && !holds(datagram, b"name-of-file"));
    }
    let digits = text.trim();
    let all = [ann.said(), get.said(), ann.stdout().concat(), get.stdout().concat()].concat()
        + &status.stdout
        + &status.stderr;
    assert!(all.contains("name-of-file") && !all.contains(digits) && !all.contains(&digits[..16]));
}
