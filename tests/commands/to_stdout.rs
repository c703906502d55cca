//! `p2pfs get -o -`: one file to stdout, and only once it is verified.

use std::fs::{self, File};
use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::harness::{FakeSource, Process, await_until, content};
use crate::messages::digest_of;
use crate::place::{Place, command_line};

/// Starts it with this stdout; temporary files go to the folder `tmp`.
fn get(place: &Place, name: &str, stdout: impl Into<Stdio>) -> Child {
    let line = command_line(
        &place.world,
        place.registry.address,
        &["get", name, "-o", "-", "--retries=1"],
    );
    Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(line)
        .current_dir(place.world.folder())
        .env("TMPDIR", place.folder("tmp", &[]))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it wrote to stderr, and its code.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_file_comes_out_as_it_is_and_nowhere_else() {
    let place = Place::new();
    let file = content(1, 1_000_000);
    let _share = place.share("mine", &[("file", &file)]);
    let output = get(&place, "file", Stdio::piped()).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == file, "{} bytes came", output.stdout.len());
    assert!(String::from_utf8(output.stderr).unwrap().contains("verified file"));
    assert_eq!(fs::read_dir(place.world.folder().join("tmp")).unwrap().count(), 0);
}

#[test]
fn nothing_comes_out_before_it_is_verified() {
    let place = Place::new();
    let file = content(2, 100_000);
    let _liar = FakeSource::start(&place.world, place.registry.address, 9, "file", move |stream| {
        FakeSource::send(stream, &file) && FakeSource::send_eof(stream, &digest_of(b"other"))
    });
    let output = get(&place, "file", Stdio::piped()).wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(6), 0));
}

#[test]
fn a_stdout_that_is_closed_or_full_is_a_write_error() {
    let place = Place::new();
    let file = content(3, 1_000_000);
    let _share = place.share("mine", &[("file", &file)]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (code, said) = end(get(&place, "file", full));
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("p2pfs: cannot write to stdout"), "{said}");

    let mut child = get(&place, "file", Stdio::piped());
    // Its reader takes a little and leaves.
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    drop(stdout);
    let (code, said) = end(child);
    assert_eq!(code, Some(8), "{said}");
}

/// Starts it by a shell that directs its stdout so.
fn get_redirected(place: &Place, redirection: &str) -> (Option<i32>, String) {
    let line = ["get", "file", "-o", "-", "--timeout=20s"];
    let line = command_line(&place.world, place.registry.address, &line);
    let child = Command::new("/bin/sh")
        .args(["-c", &format!("exec \"$0\" \"$@\" {redirection}")])
        .arg(env!("CARGO_BIN_EXE_p2pfs"))
        .args(line)
        .current_dir(place.world.folder())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    end(child)
}

#[test]
fn a_stdout_that_keeps_nothing_is_a_write_error_at_once_unless_that_is_wanted() {
    let place = Place::new();
    // Nobody offers anything yet: it is told before the file is waited for.
    for redirection in [">&-", "1</dev/null"] {
        let (code, said) = get_redirected(&place, redirection);
        assert_eq!(code, Some(8), "{redirection}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("p2pfs: cannot write to stdout: it is closed; "), "{said}");
    }
    let _share = place.share("mine", &[("file", b"x")]);
    for redirection in [">/dev/null", "1<>mine/other"] {
        let (code, said) = get_redirected(&place, redirection);
        assert_eq!(code, Some(0), "{redirection}: {said}");
    }
    assert_eq!(fs::read(place.world.folder().join("mine/other")).unwrap(), b"x");
}

#[test]
fn a_signal_ends_it_while_its_reader_does_not_read() {
    let place = Place::new();
    let file = content(4, 1_000_000);
    let _share = place.share("mine", &[("file", &file)]);
    let mut child = get(&place, "file", Stdio::piped());
    let mut stdout = child.stdout.take().unwrap();
    // The first byte is there: it is writing, and the pipe is smaller than the file.
    stdout.read_exact(&mut [0; 1]).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    await_until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(end(child).0, Some(130));
}

#[test]
fn it_takes_one_name_and_a_place_for_temporary_files() {
    let place = Place::new();
    for names in [&["a", "b"][..], &["*"]] {
        let line = [&["get", "-o", "-"], names].concat();
        let mut process = Process::start("get", place.world.folder(), &line);
        assert_eq!(process.await_exit_code(), 2);
        assert!(process.error_lines()[0].contains("-o -"), "{:?}", process.log());
    }
    let line = command_line(&place.world, place.registry.address, &["get", "a", "-o", "-"]);
    let output = Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(line)
        .env("TMPDIR", "/no/such/folder")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(8));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/no/such/folder"));
}
