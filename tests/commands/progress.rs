//! What a person sees at a terminal while files are fetched and sent: at 80 and at 40
//! columns, without colours, and with nothing in it that others could steer.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use kit::messages::{self, digest_of};
use kit::{FakeSource, Launch, Process, Signal, World, await_some, await_until, content};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// As long as a name can be: 64 bytes, 30 columns of them in letters of double width.
const NAME: &str = "\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587} r\u{e9}sum\u{e9}.pdf";

/// A program whose stderr is a terminal.
struct AtTerminal {
    process: Process,
    /// The picture, and every byte that made it.
    seen: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    reader: JoinHandle<()>,
}

impl AtTerminal {
    fn start(columns: u16, launch: Launch) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs: OwnedFd = rustix::fs::openat(CWD, name, flags, Mode::empty()).unwrap();
        let process = launch.env("NO_COLOR", "1").stderr(theirs).start();
        let [rows, columns] = [24, columns].map(|n| NonZero::new(n).unwrap());
        let parser = vt100::Parser::new(rows, columns, 0);
        let seen = Arc::new(Mutex::new((parser, Vec::new())));
        let reader = thread::spawn({
            let (seen, mut ours) = (Arc::clone(&seen), File::from(ours));
            move || {
                let mut bytes = [0; 4096];
                // An error is the end: the program has closed its side.
                while let Ok(len @ 1..) = ours.read(&mut bytes) {
                    let mut seen = seen.lock().unwrap();
                    seen.0.process(&bytes[..len]);
                    seen.1.extend_from_slice(&bytes[..len]);
                }
            }
        });
        Self { process, seen, reader }
    }

    /// The lines that are not empty.
    fn lines(&self) -> Vec<String> {
        lines(&self.seen)
    }

    #[track_caller]
    fn await_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        await_some(what, || self.lines().into_iter().find(|line| is_it(line)))
    }

    /// Waits for its end with this code; returns what stands on the terminal, and what steered it.
    #[track_caller]
    fn await_end(self, code: i32) -> (Vec<String>, String) {
        assert_eq!(self.process.await_exit_code(), code, "{:#?}", self.lines());
        let lines_of = Arc::clone(&self.seen);
        self.reader.join().unwrap();
        let bytes = lines_of.lock().unwrap().1.clone();
        (lines(&lines_of), String::from_utf8(bytes).unwrap())
    }
}

fn lines(seen: &Mutex<(vt100::Parser, Vec<u8>)>) -> Vec<String> {
    let seen = seen.lock().unwrap();
    let screen = seen.0.screen();
    let rows = screen.rows(0, screen.size().1.into()).map(|row| row.trim_end().to_owned());
    rows.filter(|row| !row.is_empty()).collect()
}

/// What steers a terminal in a text: only moves of the cursor and clearing may.
#[track_caller]
fn assert_only_draws(text: &str) {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\r' && c != '\n') {
        let after = rest[at..].strip_prefix("\u{1b}[");
        let after = after.unwrap_or_else(|| panic!("{:?}", &rest[at..]));
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap();
        assert!("AJ".contains(&after[end..=end]), "{:?}", &rest[at..]);
        rest = &after[end + 1..];
    }
}

/// A source that sends the first of three parts of the file, and more of them when it is told.
struct Scene {
    _source: FakeSource,
    world: World,
    go_on: mpsc::Sender<usize>,
}

const PART_BYTES: usize = 64 * 1024;

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let file = content(1, 3 * PART_BYTES);
        let (go_on, told) = mpsc::channel();
        let told = Mutex::new(told);
        let source = FakeSource::start(&world, 7, NAME, move |stream| {
            let (mut parts, mut count) = (file.chunks(PART_BYTES), 1);
            while parts.by_ref().take(count).all(|part| FakeSource::send(stream, part)) {
                if parts.len() == 0 {
                    return FakeSource::send_eof(stream, &digest_of(&file));
                }
                let Ok(more) = told.lock().unwrap().recv() else { break };
                count = more;
            }
            false
        });
        Self { _source: source, world, go_on }
    }

    fn command(&self, more: &[&str]) -> Launch {
        self.world.folder("got", &[]);
        self.world.command(&[&["get", NAME, "-o", "got"], more].concat())
    }

    fn get(&self, columns: u16, more: &[&str]) -> AtTerminal {
        AtTerminal::start(columns, self.command(more))
    }
}

#[test]
fn at_80_columns_each_download_and_a_summary() {
    let scene = Scene::new();
    let get = scene.get(80, &[]);
    let line = get.await_line("the download", |line| line.contains("from peer 7  "));
    assert!(line.contains(" 64.00 KiB ") && line.contains("KiB/s"), "{line}");
    assert!(line.starts_with("\u{6587}\u{4ef6}") && line.contains("... "), "{line}");
    get.await_line("the summary", |line| line.starts_with("0 of 1 file, 64.00 KiB, "));
    get.await_line("why it stands", |line| line.ends_with("other side"));
    get.await_line("that it stands", |line| line.ends_with("stalled"));
    assert_eq!(get.lines().iter().filter(|line| line.contains("from peer 7  ")).count(), 1);

    scene.go_on.send(2).unwrap();
    let (lines, bytes) = get.await_end(0);
    // What was drawn is gone, and what is left is for reading.
    assert!(!lines.iter().any(|line| line.contains("0 of 1 file")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("verified ")), "{lines:#?}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("fetched 1 file, 192.00 KiB in "), "{last}");
    assert!(last.ends_with("KiB/s, no retries"), "{last}");
    assert_only_draws(&bytes);
}

#[test]
fn at_40_columns_how_much_and_how_fast() {
    let scene = Scene::new();
    let get = scene.get(40, &[]);
    let line = get.await_line("the download", |line| line.ends_with("KiB/s"));
    assert!(line.starts_with("\u{6587}\u{4ef6}") && line.contains(" 64.00 KiB "), "{line}");
    get.await_line("that it stands", |line| line.ends_with("stalled"));
    // Nothing wraps: each picture takes the place of the last one.
    let summaries = get.lines().iter().filter(|line| line.starts_with("0 of 1 file")).count();
    assert_eq!(summaries, 1, "{:#?}", get.lines());
    scene.go_on.send(2).unwrap();
    let (_lines, bytes) = get.await_end(0);
    assert_only_draws(&bytes);
}

#[test]
fn what_others_say_steers_no_terminal() {
    let scene = Scene::new();
    let get = scene.get(80, &["-vv"]);
    get.await_line("the download", |line| line.contains("from peer 7  "));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_broadcast(true).unwrap();
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\r";
    let offer = messages::offer(9, hostile, messages::Count::Bytes);
    await_until("it is told of", || {
        socket.send_to(&offer, scene.world.broadcast()).unwrap();
        get.lines().iter().any(|line| line.contains("dropped a datagram"))
    });
    // The picture is drawn again below it.
    get.await_line("the summary", |line| line.starts_with("0 of 1 file, 64.00 KiB, "));
    scene.go_on.send(2).unwrap();
    let (_lines, bytes) = get.await_end(0);
    assert_only_draws(&bytes);
}

#[test]
fn with_quiet_there_is_nothing() {
    let scene = Scene::new();
    let get = scene.get(80, &["-q"]);
    scene.go_on.send(2).unwrap();
    assert_eq!(get.await_end(0), (Vec::new(), String::new()));
}

#[test]
fn share_shows_who_fetches_what() {
    let world = World::new();
    world.folder("mine", &[("a.bin", &content(1, 192 << 10))]);
    let share = AtTerminal::start(80, world.command(&["share", "mine"]));
    let line = share.await_line("where it listens", |line| line.contains(" at 127.0.0.1:"));
    let at = line.split(" at ").nth(1).unwrap().split(',').next().unwrap();
    // Takes all of it, which is less than a window, and acknowledges nothing.
    let mut slow = TcpStream::connect(at).unwrap();
    slow.write_all(&messages::request("a.bin", messages::Count::Bytes)).unwrap();
    let line = share.await_line("the upload", |line| line.starts_with("a.bin  "));
    assert!(line.contains(" to 127.0.0.1 ") && line.contains(" 192.00 KiB "), "{line}");
    share.await_line("the summary", |line| line.starts_with("sending 1, 0 files sent, "));
    share.process.signal(Signal::TERM);
    let (lines, bytes) = share.await_end(143);
    assert!(!lines.iter().any(|line| line.starts_with("sending 1, ")), "{lines:#?}");
    assert_only_draws(&bytes);
}

#[test]
fn without_a_terminal_there_is_a_line_every_five_seconds_and_one_when_a_transfer_stalls() {
    let scene = Scene::new();
    // Given up before the third of the lines that come anyway, which is too late for that.
    let get = scene.command(&["--progress-timeout", "8s"]).start();
    let told = |line: &String| line.starts_with("0 of 1 file, 64.00 KiB, ");
    await_until("a line", || get.log().iter().any(told));
    scene.go_on.send(1).unwrap();
    let told = |line: &String| line.starts_with("0 of 1 file, 128.00 KiB, ");
    let stalled = |line: &String| told(line) && line.ends_with("; 1 stalled");
    await_until("that it stands", || get.log().iter().any(stalled));
    assert!(!get.has_said("could not give"), "{:#?}", get.log());
    scene.go_on.send(1).unwrap();
    assert_eq!(get.await_exit_code(), 0);
    let last = get.log().pop().unwrap();
    assert!(last.starts_with("fetched 1 file, 192.00 KiB in "), "{last}");
    assert!(get.log().iter().all(|line| !line.contains('\u{1b}')), "{:#?}", get.log());
}
