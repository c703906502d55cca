//! The real binary, told hostile text in every way there is: whatever it prints is
//! printable text and newlines.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use kit::{DEADLINE, Launch, Process, Server, World, await_some, hostile, oracle};
use rustix::net::{AddressFamily, SocketType};

/// What a terminal would act on, each with a word to find it by.
const TEXTS: [&str; 5] = [
    "first\u{1b}[2J\u{1b}]0;title\u{7}",
    "second\r\nWARN  [peer 1] a line that is none",
    "third\u{9b}31m\u{85}\u{8}\u{8}",
    "fourth\u{202e}txt\u{200b}\u{feff}",
    "fifth\\u{1b}\u{7f}",
];

/// A process whose output goes to files, so that each byte of it can be looked at.
struct Watched {
    process: Process,
    files: [PathBuf; 2],
}

impl Watched {
    fn start(world: &World, name: &str, launch: Launch) -> Self {
        let files = ["out", "err"].map(|stream| world.path().join(format!("{name}.{stream}")));
        let [stdout, stderr] = files.each_ref().map(|path| File::create(path).unwrap());
        Self { process: launch.stdout(stdout).stderr(stderr).start_as(name), files }
    }

    /// Returns everything that was printed so far, all of which has to be printable.
    #[track_caller]
    fn printed(&self) -> String {
        let bytes = self.files.each_ref().map(|path| fs::read(path).unwrap()).concat();
        let text = String::from_utf8(bytes).expect("what is printed is UTF-8");
        text.split('\n').for_each(oracle::assert_printable);
        text
    }

    #[track_caller]
    fn await_printed(&self, what: &str) -> String {
        await_some(what, || Some(self.printed()).filter(|printed| printed.contains(what)))
    }

    /// Waits for the line `listening ADDRESS:PORT`.
    #[track_caller]
    fn await_listening(&self) -> SocketAddrV4 {
        let line = await_some("it listens", || {
            fs::read_to_string(&self.files[0]).unwrap().strip_suffix('\n').map(str::to_owned)
        });
        line.strip_prefix("listening ").unwrap().parse().unwrap()
    }

    /// Ends it; returns what it has printed.
    #[track_caller]
    fn stop(&self) -> String {
        self.process.stop();
        self.printed()
    }
}

/// A peer that tells all it does; it shares the folder `shared`.
fn peer(world: &World, name: &str, registry: SocketAddrV4) -> Watched {
    world.folder("shared", &[]);
    let broadcast = world.broadcast().to_string();
    let line = ["peer", "-vv", "--id=1", "--port=0", "--dir=shared", "--broadcast", &broadcast];
    let launch = world.program(&line).arguments(&["--registry", &registry.to_string()]);
    Watched::start(world, name, launch)
}

/// The loopback has many addresses; the log limits the lines about each.
fn some_address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 3, (number / 250) as u8, 1 + (number % 250) as u8)
}

fn field(text: &[u8]) -> [u8; 64] {
    let mut field = [0; 64];
    let len = text.len().min(64);
    field[..len].copy_from_slice(&text[..len]);
    field
}

fn offer(name: &[u8]) -> Vec<u8> {
    [b"O\0\0\0\x09", &(name.len() as u32).to_be_bytes()[..], &field(name)].concat()
}

fn request(name: &[u8]) -> Vec<u8> {
    [b"R", &(name.len() as u32).to_be_bytes()[..], &field(name)].concat()
}

/// Says something on a connection from this address, and waits until it is closed.
#[track_caller]
fn say(from: Ipv4Addr, to: SocketAddrV4, message: &[u8]) {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match stream.write_all(message).and_then(|()| stream.read(&mut [0; 1])) {
        Ok(len) => assert_eq!(len, 0, "{message:x?} is answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{message:x?}"),
    }
}

/// Offers a legal name, another one each time, until it is shown: as it is.
fn await_legal_offer(peer: &Watched, to: SocketAddrV4) {
    let speaker = speaker(0);
    let mut number = 0;
    await_some("the offer is shown", || {
        number += 1;
        speaker.send_to(&offer(format!("résumé 日本 {number}.pdf").as_bytes()), to).unwrap();
        peer.printed().contains("peer 9 offers résumé 日本 ").then_some(())
    });
}

/// A socket that may broadcast, on one of many addresses.
fn speaker(number: usize) -> UdpSocket {
    let socket = UdpSocket::bind((some_address(number), 0)).unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

/// Every tenth hostile name, and the texts.
fn some_hostile() -> Vec<Vec<u8>> {
    let names = hostile().into_iter().step_by(10).map(|hostile| hostile.name);
    names.chain(TEXTS.map(|text| text.as_bytes().to_vec())).collect()
}

#[test]
fn names_in_offers_requests_and_the_folder_are_shown_safely() {
    let world = World::new();
    let listen = world.program(&["registry", "-vv", "--listen", "127.0.0.1:0"]);
    let registry = Watched::start(&world, "registry", listen);
    let registry_address = registry.await_listening();
    let shared = world.folder("shared", &[]);
    for name in some_hostile() {
        if !name.contains(&b'/') && !name.contains(&0) && !name.is_empty() && name.len() < 200 {
            // Some, such as `..`, are there already and are folders.
            let _ = fs::write(shared.join(OsStr::from_bytes(&name)), b"x");
        }
    }
    let peer = peer(&world, "peer", registry_address);
    let peer_address = peer.await_listening();

    for (number, name) in some_hostile().iter().enumerate() {
        let from = some_address(number);
        speaker(number).send_to(&offer(name), world.broadcast()).unwrap();
        say(from, peer_address, &request(name));
        say(from, registry_address, &[b"X", &name[..]].concat());
        say(from, registry_address, b"S\x1b");
    }
    say(some_address(0), peer_address, &request(b"not shared"));
    await_legal_offer(&peer, world.broadcast());
    let printed = peer.stop();
    for part in ["dropped a datagram", "closed the connection", "control character"] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    assert!(registry.stop().contains("closed the connection"));
}

#[test]
fn the_words_of_a_registry_are_shown_safely() {
    for text in TEXTS {
        let world = World::new();
        let refusal = [b"SE", &field(text.as_bytes())[..]].concat();
        // The first registration is accepted and lost, the second refused; then, of a peer
        // that starts anew, the first.
        let is_first = AtomicBool::new(true);
        let registry = Server::start(move |mut stream, _| {
            let accepted = is_first.swap(false, Ordering::SeqCst);
            let answer = if accepted { &b"SR\0\0\0\x01"[..] } else { &refusal };
            if stream.read_exact(&mut [0; 10]).is_ok() {
                stream.write_all(answer).unwrap();
            }
        });
        let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap();
        let first = peer(&world, "first", registry.address);
        first.await_printed(&format!("refused us: {word}"));
        first.stop();
        let second = peer(&world, "second", registry.address);
        assert_eq!(second.process.await_exit_code(), 7, "{}", second.printed());
        assert!(second.printed().contains(word), "{}", second.printed());
    }
}

#[test]
fn what_is_wrong_with_the_command_line_is_shown_safely() {
    let world = World::new();
    let texts = some_hostile().into_iter().step_by(10).filter(|text| !text.contains(&0));
    for text in texts.chain([b"\x1b[2J\xff".to_vec(), b"x\n\x1b]0;t\x07".to_vec()]) {
        let with =
            |option: &str| OsStr::from_bytes(&[option.as_bytes(), &text[..]].concat()).to_owned();
        for arguments in [
            vec![with("x")],
            vec!["registry".into(), with("--listen=")],
            vec!["peer".into(), with("--id=")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--want=/../")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--dir=/nowhere/")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--nothing")],
        ] {
            let arguments: Vec<OsString> = arguments;
            let watched = Watched::start(&world, "p2pfs", Launch::new(world.path(), &arguments));
            let code = watched.process.await_exit_code();
            assert_eq!(code, 2, "{arguments:?}: {}", watched.printed());
            assert_eq!(watched.printed().lines().count(), 1, "{}", watched.printed());
        }
    }
}
