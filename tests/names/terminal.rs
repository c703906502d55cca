//! The real binary, told hostile text in every way there is: whatever it prints is
//! printable text and newlines.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use kit::oracle;
use rustix::net::{AddressFamily, SocketType, sockopt};
use rustix::process::{Pid, Signal, kill_process};

use crate::corpus::hostile;

/// How long anything is waited for: it tells a hang from a success and measures nothing.
const DEADLINE: Duration = Duration::from_secs(60);
/// What a terminal would act on, each with a word to find it by.
const TEXTS: [&str; 5] = [
    "first\u{1b}[2J\u{1b}]0;title\u{7}",
    "second\r\nWARN  [peer 1] a line that is none",
    "third\u{9b}31m\u{85}\u{8}\u{8}",
    "fourth\u{202e}txt\u{200b}\u{feff}",
    "fifth\\u{1b}\u{7f}",
];

/// A process whose output goes to files, so that each byte of it can be looked at.
struct Process {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    fn start(folder: &Path, name: &str, arguments: &[OsString]) -> Self {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.err"));
        let child = Command::new(env!("CARGO_BIN_EXE_p2pfs"))
            .args(arguments)
            .current_dir(folder)
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stdout, stderr }
    }

    /// Everything that was printed so far.
    #[track_caller]
    fn raw(&self) -> String {
        let bytes = [&self.stdout, &self.stderr].map(|path| fs::read(path).unwrap()).concat();
        String::from_utf8(bytes).expect("what is printed is UTF-8")
    }

    /// The same, all of which has to be printable.
    #[track_caller]
    fn printed(&self) -> String {
        let text = self.raw();
        text.split('\n').for_each(oracle::assert_printable);
        text
    }

    #[track_caller]
    fn await_printed(&self, what: &str) -> String {
        let begin = Instant::now();
        loop {
            let printed = self.printed();
            if printed.contains(what) {
                return printed;
            }
            assert!(begin.elapsed() < DEADLINE, "waited in vain for {what:?} in:\n{printed}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the line `listening ADDRESS:PORT`.
    #[track_caller]
    fn await_listening(&self) -> SocketAddrV4 {
        let begin = Instant::now();
        loop {
            let printed = fs::read_to_string(&self.stdout).unwrap();
            if let Some(line) = printed.strip_suffix('\n') {
                return line.strip_prefix("listening ").unwrap().parse().unwrap();
            }
            assert!(begin.elapsed() < DEADLINE, "it does not listen:\n{}", self.printed());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end; gives the exit code and all that was printed.
    #[track_caller]
    fn await_end(&mut self) -> (Option<i32>, String) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.printed());
            }
            assert!(begin.elapsed() < DEADLINE, "it does not end:\n{}", self.printed());
            sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    fn stop(&mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let (code, printed) = self.await_end();
        assert_eq!(code, Some(143));
        printed
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer's command line; it shares the folder `shared` in this one.
fn peer(folder: &Path, registry: SocketAddrV4, offers: &UdpSocket) -> Vec<OsString> {
    let shared = folder.join("shared");
    fs::create_dir_all(&shared).unwrap();
    let broadcast = broadcast(offers).to_string();
    let registry = registry.to_string();
    let mut arguments: Vec<OsString> =
        ["peer", "-vv", "--id", "1", "--port", "0", "--registry", &registry, "--broadcast"]
            .map(OsString::from)
            .to_vec();
    arguments.extend([broadcast.into(), "--dir".into(), shared.into()]);
    arguments
}

/// A socket on an offer port that nobody else has, to be shared with peers.
fn offer_socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
    socket
}

fn broadcast(offers: &UdpSocket) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), offers.local_addr().unwrap().port())
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
fn await_legal_offer(peer: &Process, to: SocketAddrV4) {
    let speaker = UdpSocket::bind((some_address(0), 0)).unwrap();
    speaker.set_broadcast(true).unwrap();
    let begin = Instant::now();
    for number in 0.. {
        speaker.send_to(&offer(format!("résumé 日本 {number}.pdf").as_bytes()), to).unwrap();
        sleep(Duration::from_millis(50));
        let printed = peer.printed();
        if printed.contains("peer 9 offers résumé 日本 ") {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "the offer is not shown:\n{printed}");
    }
}

/// Every tenth hostile name, and the texts.
fn some_hostile() -> Vec<Vec<u8>> {
    let names = hostile().into_iter().step_by(10).map(|hostile| hostile.name);
    names.chain(TEXTS.map(|text| text.as_bytes().to_vec())).collect()
}

#[test]
fn names_in_offers_requests_and_the_folder_are_shown_safely() {
    let world = tempfile::tempdir().unwrap();
    let offers = offer_socket();
    let listen = ["registry", "-vv", "--listen", "127.0.0.1:0"].map(OsString::from);
    let mut registry = Process::start(world.path(), "registry", &listen);
    let registry_address = registry.await_listening();
    let arguments = peer(world.path(), registry_address, &offers);
    for name in some_hostile() {
        if !name.contains(&b'/') && !name.contains(&0) && !name.is_empty() && name.len() < 200 {
            // Some, such as `..`, are there already and are folders.
            let _ = fs::write(world.path().join("shared").join(OsStr::from_bytes(&name)), b"x");
        }
    }
    let mut peer = Process::start(world.path(), "peer", &arguments);
    let peer_address = peer.await_listening();

    for (number, name) in some_hostile().iter().enumerate() {
        let from = some_address(number);
        let speaker = UdpSocket::bind((from, 0)).unwrap();
        speaker.set_broadcast(true).unwrap();
        speaker.send_to(&offer(name), broadcast(&offers)).unwrap();
        say(from, peer_address, &request(name));
        say(from, registry_address, &[b"X", &name[..]].concat());
        say(from, registry_address, b"S\x1b");
    }
    say(some_address(0), peer_address, &request(b"not shared"));
    await_legal_offer(&peer, broadcast(&offers));
    let printed = peer.stop();
    for part in ["dropped a datagram", "closed the connection", "control character"] {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    assert!(registry.stop().contains("closed the connection"));
}

#[test]
fn the_words_of_a_registry_are_shown_safely() {
    for text in TEXTS {
        let world = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!() };
        let refusal = [b"SE", &field(text.as_bytes())[..]].concat();
        // The first registration is accepted and lost, the second refused; then, of a peer
        // that starts anew, the first.
        let serving = thread::spawn(move || {
            for answers in [[&b"SR\0\0\0\x01"[..]], [&refusal], [&refusal]] {
                let (mut stream, _) = listener.accept().unwrap();
                stream.read_exact(&mut [0; 10]).unwrap();
                answers.iter().for_each(|answer| stream.write_all(answer).unwrap());
            }
        });
        let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap();
        let offers = offer_socket();
        let arguments = peer(world.path(), address, &offers);
        let mut first = Process::start(world.path(), "first", &arguments);
        first.await_printed(&format!("refused us: {word}"));
        drop(first.stop());
        let mut second = Process::start(world.path(), "second", &arguments);
        let (code, printed) = second.await_end();
        assert_eq!(code, Some(7), "{printed}");
        assert!(printed.contains(word), "{printed}");
        serving.join().unwrap();
    }
}

#[test]
fn what_is_wrong_with_the_command_line_is_shown_safely() {
    let world = tempfile::tempdir().unwrap();
    let texts = some_hostile().into_iter().step_by(10).filter(|text| !text.contains(&0));
    for text in texts.chain([b"\x1b[2J\xff".to_vec(), b"x\n\x1b]0;t\x07".to_vec()]) {
        let with =
            |option: &str| OsStr::from_bytes(&[option.as_bytes(), &text[..]].concat()).to_owned();
        for arguments in [
            vec![with("x")],
            vec!["registry".into(), with("--listen=")],
            vec!["peer".into(), with("--id=")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--want=/")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--dir=/nowhere/")],
            vec!["peer".into(), "--id=1".into(), "--port=0".into(), with("--nothing")],
        ] {
            let mut process = Process::start(world.path(), "p2pfs", &arguments);
            let (code, printed) = process.await_end();
            assert_eq!(code, Some(2), "{arguments:?}: {printed}");
            assert_eq!(printed.lines().count(), 1, "{arguments:?}: {printed}");
        }
    }
}
