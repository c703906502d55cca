//! What a person sees at a terminal while files are fetched and sent: at 80 and at 40
//! columns, without colours, and with nothing in it that others could steer.

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use kit::messages::{self, digest_of};
use kit::{AtTerminal, FakeSource, Launch, Signal, World, await_until, content};

/// As long as a name can be: 64 bytes, 30 columns of them in letters of double width.
const NAME: &str = "\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587}\u{4ef6}\u{6587} r\u{e9}sum\u{e9}.pdf";

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
        AtTerminal::at_stderr(24, columns, self.command(more))
    }
}

#[test]
fn at_80_columns_each_download_and_a_summary() {
    let scene = Scene::new();
    let get = scene.get(80, &[]);
    let line = get.await_line("the download", |line| line.contains(" from 127.0.0.1:"));
    assert!(line.contains(" 64.00 KiB ") && line.contains("KiB/s"), "{line}");
    assert!(line.starts_with("\u{6587}\u{4ef6}") && line.contains("... "), "{line}");
    get.await_line("the summary", |line| line.starts_with("0 of 1 file, 64.00 KiB, "));
    get.await_line("why it stands", |line| line.ends_with("other side"));
    get.await_line("that it stands", |line| line.ends_with("stalled"));
    assert_eq!(get.lines().iter().filter(|line| line.contains(" from 127.0.0.1:")).count(), 1);

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
    get.await_line("the download", |line| line.contains(" from 127.0.0.1:"));
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
    let share = AtTerminal::at_stderr(24, 80, world.command(&["share", "mine"]));
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
