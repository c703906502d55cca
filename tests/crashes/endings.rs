//! Rows 13 and 55, what `tests/processes/stopping.rs` leaves: two signals at once; outputs that
//! are closed, full or broken; no home and no environment at all.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kit::{
    FakeSource, Launch, NOTHING, Need, RegistryClient, Signal, World, await_until, content, tools,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::checks;
use crate::place::{DOWNLOADER, Library, Place, SOURCE, empty};
use crate::strace::{self, STRACE};

static PYTHON: Need = Need::new(|| tools(&["python3"]));
kit::tests! {
    STRACE:
        no_write_to_stdout_or_stderr_can_block,
        a_signal_while_its_handlers_are_made_is_not_lost;
    PYTHON:
        outputs_that_take_nothing,
        a_failure_that_cannot_be_told_still_has_its_code;
    NOTHING:
        outputs_that_are_closed,
        outputs_that_are_full_files,
        a_terminal_that_nobody_reads_stops_nothing,
        no_home_and_no_environment,
        two_signals_mean_at_once;
}

/// Row 13.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Closes the outputs, in a shell that becomes the program.
const CLOSED: [&str; 3] = ["exec \"$@\" >&-", "exec \"$@\" 2>&-", "exec \"$@\" <&- >&- 2>&-"];

/// Outputs that take nothing: every write fails.
const FULL: [&str; 3] =
    ["exec \"$@\" >/dev/full", "exec \"$@\" 2>/dev/full", "exec \"$@\" >/dev/full 2>&1"];

/// Makes the outputs a pipe whose reader is gone, or a pipe, a socket or a terminal that is full
/// and that nobody reads, but for a bit: what is ready takes less than a line. The reading end of
/// a full one stays open in the program itself.
const PIPES: &str = r#"
import os, pty, socket, sys, termios
kind, outputs, program = sys.argv[1], sys.argv[2], sys.argv[3:]
if kind == "terminal":
    reader, writer = pty.openpty()
elif kind == "socket":
    reader, writer = [end.detach() for end in socket.socketpair()]
else:
    reader, writer = os.pipe()
if kind == "broken":
    os.close(reader)
else:
    os.set_inheritable(reader, True)
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 256):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    if kind == "terminal":
        os.read(reader, 700)
for output in outputs:
    os.dup2(writer, int(output))
os.execvp(program[0], program)
"#;

/// A transfer between two peers that are started like this goes well, and both end as
/// they are told.
fn transfers_under(launcher: &[&str]) {
    let place = Place::new(Library::new(&[100_000, 100]));
    place.source.stop();
    let source = place.another_source().under(launcher).launch();
    let download = place.downloader(DOWNLOADER).under(launcher).launch();
    assert_eq!(download.await_exit_code(), 0, "{launcher:?}");
    place.has_all(&place.folder());
    source.stop();
    checks::clean(&source.log());
    checks::clean(&download.log());
}

fn a_signal_while_its_handlers_are_made_is_not_lost() {
    let (world, logs) = (World::new(), TempDir::new().unwrap());
    let log = logs.path().join("trace");
    let registry = world.launch_registry(strace::tracing(&log));
    registry.await_listening();
    registry.stop();
    let made = strace::calls_in(&log).into_iter().filter(|call| call.name == "rt_sigaction");
    for call in made {
        let registry = world.launch_registry(strace::terminating(&log, &call));
        // Of the signal itself, or in order: never deaf to it.
        let status = registry.await_exit();
        let of_signal = status.signal() == Some(Signal::TERM.as_raw());
        assert!(of_signal || status.code() == Some(143), "{call:?}: {status:?}");
    }
}

/// A screen that is locked, or the other end of a connection that sleeps.
fn a_terminal_that_nobody_reads_stops_nothing() {
    let world = World::new();
    let (mut ours, theirs) = kit::terminal(24, 80);
    let listen = world.registry_address().to_string();
    fill(&theirs);
    let registry = world.program(&["registry", "-v", "--listen", &listen]).stderr(theirs).start();
    registry.await_listening();
    let at = world.registry_address();
    let register = |id: u16| drop(RegistryClient::registered(at, id.into(), 1000 + id));
    (1..50).for_each(register);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reader = thread::spawn({
        let seen = Arc::clone(&seen);
        move || {
            let mut bytes = [0; 4096];
            while let Ok(len @ 1..) = ours.read(&mut bytes) {
                seen.lock().unwrap().extend_from_slice(&bytes[..len]);
            }
        }
    });
    let seen = || String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    await_until("what is missing is told", || seen().contains("lines dropped: nobody read stderr"));
    let began = Instant::now();
    registry.signal(Signal::TERM);
    assert_eq!(registry.await_exit_code(), 143);
    assert!(began.elapsed() < ENDS_WITHIN);
    reader.join().unwrap();
    let lines = seen();
    let is_whole = |line: &&str| {
        ["INFO ", "DEBUG", "WARN ", "warning: ", FILLING.trim_end()]
            .iter()
            .any(|begin| line.starts_with(begin))
    };
    // The filling may end in the middle.
    let lines: Vec<_> = lines
        .lines()
        .filter(|line| !line.starts_with(&FILLING[..1]))
        .filter(|line| !is_whole(line))
        .collect();
    assert_eq!(lines, [""; 0], "cut lines");

    // The same without anybody who comes back.
    let (_ours, theirs) = kit::terminal(24, 80);
    fill(&theirs);
    let registry = world.program(&["registry", "-v", "--listen", &listen]).stderr(theirs).start();
    registry.await_listening();
    (1..50).for_each(register);
    let began = Instant::now();
    registry.signal(Signal::TERM);
    assert_eq!(registry.await_exit_code(), 143);
    assert!(began.elapsed() < ENDS_WITHIN);
}

const FILLING: &str = "a line that stands there\n";

/// Leaves no room in a terminal: the kernel makes some again, soon after there is none.
fn fill(terminal: &OwnedFd) {
    rustix::io::ioctl_fionbio(terminal, true).unwrap();
    let mut rest = FILLING.as_bytes();
    let soon = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    while poll(&mut [PollFd::new(terminal, PollFlags::OUT)], Some(&soon)).unwrap() > 0 {
        while let Ok(written) = rustix::io::write(terminal, rest) {
            rest = if written < rest.len() { &rest[written..] } else { FILLING.as_bytes() };
        }
    }
    rustix::io::ioctl_fionbio(terminal, false).unwrap();
}

/// What is written to a terminal, a pipe or a socket is written without waiting.
fn no_write_to_stdout_or_stderr_can_block() {
    let (world, logs) = (World::new(), TempDir::new().unwrap());
    let _share = world.share("mine", &[("file", b"content")]);
    let log = logs.path().join("trace");
    let traced = |launch: Launch| {
        let process = launch.under(strace::tracing(&log)).start();
        await_until("it prints", || fs::read_to_string(&log).is_ok_and(|calls| prints(&calls)));
        if ["registry", "share"].contains(&process.name()) {
            process.signal(Signal::TERM);
        }
        process.await_exit();
        let calls = fs::read_to_string(&log).unwrap();
        let blocking: Vec<_> = calls.lines().filter(|call| may_block(call)).collect();
        assert_eq!(blocking, [""; 0]);
        fs::remove_file(&log).unwrap();
    };
    for arguments in [
        &["get", "file", "-o", "-"][..],
        &["get", "absent", "--timeout=100ms", "--json"],
        &["list", "--wait=500ms"],
        &["share", "mine", "-v"],
    ] {
        traced(world.command(arguments));
    }
    let mut keeps = Vec::new();
    for arguments in [&["registry", "--listen=127.0.0.1:0"][..], &["status"], &["man"], &["--help"]]
    {
        traced(world.program(arguments));
        let (near, far) = UnixStream::pair().unwrap();
        let streams = [OwnedFd::from(near.try_clone().unwrap()), near.into()];
        let [stdout, stderr] = streams;
        traced(world.program(arguments).stdout(stdout).stderr(stderr));
        let (ours, theirs) = kit::terminal(24, 80);
        let stdout = theirs.try_clone().unwrap();
        traced(world.program(arguments).stdout(stdout).stderr(theirs));
        keeps.push((OwnedFd::from(far), ours));
    }
}

/// Returns whether something was written to stdout or stderr, in whatever way: to the descriptor
/// itself or to another one for the same.
fn prints(calls: &str) -> bool {
    let writes = calls
        .lines()
        .filter_map(|call| call.split_once(" write(").or_else(|| call.split_once(" sendto(")));
    writes.map(|(_, to)| to).any(|to| {
        ["<pipe:", "</dev/pts/", "<socket:", "<UNIX"]
            .iter()
            .any(|kind| to.find('<').is_some_and(|at| to[at..].starts_with(kind)))
    })
}

/// Returns whether a call writes to stdout or stderr and may wait.
fn may_block(call: &str) -> bool {
    let Some((name, to)) =
        call.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('('))
    else {
        return false;
    };
    let is_output = ["1<", "2<"].iter().any(|output| to.starts_with(output));
    let waits = match name {
        "write" | "writev" | "splice" | "sendfile" => true,
        "sendto" | "sendmsg" => !to.contains("MSG_DONTWAIT"),
        _ => false,
    };
    is_output && waits
}

fn outputs_that_are_closed() {
    CLOSED.iter().for_each(|script| transfers_under(&["sh", "-c", script, "sh"]));
}

fn outputs_that_are_full_files() {
    FULL.iter().for_each(|script| transfers_under(&["sh", "-c", script, "sh"]));
}

fn outputs_that_take_nothing() {
    for kind in ["full", "broken", "terminal", "socket"] {
        for outputs in ["1", "2", "12"] {
            transfers_under(&["python3", "-c", PIPES, kind, outputs]);
        }
    }
}

fn a_failure_that_cannot_be_told_still_has_its_code() {
    let place = Place::new(Library::new(&[100_000]));
    fs::create_dir_all(place.folder().join("file-0")).unwrap();
    let pipe = |kind| ["python3", "-c", PIPES, kind, "12"];
    let shell = |script| ["sh", "-c", script, "sh", "env"];
    for launcher in [
        pipe("full"),
        pipe("broken"),
        pipe("terminal"),
        pipe("socket"),
        shell(CLOSED[2]),
        shell(FULL[2]),
    ] {
        let download = place.downloader(DOWNLOADER).under(launcher).launch();
        assert_eq!(download.await_exit_code(), 9, "{launcher:?}");
    }
}

fn no_home_and_no_environment() {
    transfers_under(&["env", "-u", "HOME"]);
    transfers_under(&["env", "-i"]);
    transfers_under(&["env", "HOME=/nowhere"]);
}

/// While it is stopped both signals gather, so that it cannot end between the two: the
/// second one ends it at once, partial file and all, which the next start removes.
fn two_signals_mean_at_once() {
    let world = World::new();
    let file = content(1, 200_000);
    let fake = FakeSource::stalling(&world, SOURCE, "file", file[..100_000].to_vec());
    let downloader = || world.peer(DOWNLOADER).wants("file").until_done();
    let download = downloader().start();
    download.await_partial(100_000);
    download.process.signal(Signal::STOP);
    for signal in [Signal::TERM, Signal::INT, Signal::CONT] {
        download.process.signal(signal);
    }
    let code = download.process.await_exit_code();
    assert!(matches!(code, 130 | 143), "{code}");
    checks::clean(&download.process.log());
    assert_eq!(checks::partial_sizes(&world.shared_folder(DOWNLOADER)), [100_000]);

    drop(fake);
    let _source = world.peer(SOURCE).has("file", &file).start();
    assert_eq!(checks::named_end(&downloader().launch()), 0);
    checks::nothing_left_over(&world.shared_folder(DOWNLOADER));
    assert!(fs::read(download.path_of("file")).unwrap() == file);
    empty(&world.shared_folder(DOWNLOADER));
}
