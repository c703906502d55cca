//! `p2pfs get -o -`: one file to stdout, and only once it is verified.

use std::fs::{self, File};
use std::io::{Read, pipe};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use kit::messages::digest_of;
use kit::{FakeSource, Launch, Output, Signal, World, await_until, content};

/// Its stdout is yet to be said; temporary files go to the folder `tmp`.
fn get(world: &World, name: &str) -> Launch {
    let get = world.command(&["get", name, "-o", "-", "--retries=1"]);
    get.env("TMPDIR", world.folder("tmp", &[]))
}

#[test]
fn a_file_comes_out_as_it_is_and_nowhere_else() {
    let world = World::new();
    let file = content(1, 1_000_000);
    let _share = world.share("mine", &[("file", &file)]);
    let (mut reader, writer) = pipe().unwrap();
    let get = get(&world, "file").stdout(writer).start();
    let mut came = Vec::new();
    reader.read_to_end(&mut came).unwrap();
    assert_eq!(get.await_exit_code(), 0);
    assert!(came == file, "{} bytes came", came.len());
    assert!(get.has_said("verified file"));
    assert_eq!(fs::read_dir(world.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn nothing_comes_out_before_it_is_verified() {
    let world = World::new();
    let file = content(2, 100_000);
    let _liar = FakeSource::lying(&world, 9, "file", file);
    get(&world, "file").start().ends_with(6);
}

/// It takes the 30 s after which a second source is asked.
#[test]
fn a_slow_file_comes_out_as_it_is_though_another_source_sent_a_part_of_it() {
    let world = World::new();
    let file = content(6, 1_000_000);
    let (second_sent, rest_is_due) = channel();
    let rest_is_due = Mutex::new(rest_is_due);
    let slow = FakeSource::start(&world, 1, "file", {
        let file = file.clone();
        move |stream| {
            let (mut parts, mut part) = (file.chunks(10_000), &file[..0]);
            let is_due = rest_is_due.lock().unwrap();
            while FakeSource::send(stream, part)
                && is_due.recv_timeout(Duration::from_secs(1)).is_err()
            {
                part = parts.next().unwrap();
            }
            parts.all(|part| FakeSource::send(stream, part))
                && FakeSource::send_eof(stream, &digest_of(&file))
        }
    });
    let (mut reader, writer) = pipe().unwrap();
    let get = get(&world, "file").stdout(writer).start();
    await_until("the first source is asked", || slow.requests() > 0);
    let other = content(7, 200_000);
    let _second = FakeSource::start(&world, 2, "file", move |stream| {
        let _ = FakeSource::send(stream, &other);
        let _ = second_sent.send(());
        FakeSource::stall(stream)
    });
    let mut came = Vec::new();
    reader.read_to_end(&mut came).unwrap();
    assert_eq!(get.await_exit_code(), 0, "{}", get.said());
    assert!(came == file, "{} bytes came", came.len());
}

#[test]
fn a_stdout_that_is_closed_or_full_is_a_write_error() {
    let world = World::new();
    let file = content(3, 1_000_000);
    let _share = world.share("mine", &[("file", &file)]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let full = get(&world, "file").stdout(full).start();
    assert_eq!(full.await_exit_code(), 8, "{}", full.said());
    assert!(full.has_said("p2pfs: cannot write to stdout"), "{}", full.said());

    let (mut reader, writer) = pipe().unwrap();
    let left = get(&world, "file").stdout(writer).start();
    // Its reader takes a little and leaves.
    reader.read_exact(&mut [0; 1000]).unwrap();
    drop(reader);
    assert_eq!(left.await_exit_code(), 8, "{}", left.said());
}

/// Starts it by a shell that directs its stdout so.
fn get_redirected(world: &World, redirection: &str) -> Output {
    let script = format!("exec \"$0\" \"$@\" {redirection}");
    let get = world.command(&["get", "file", "-o", "-", "--timeout=20s"]);
    get.under(["/bin/sh", "-c", &script]).output()
}

#[test]
fn a_stdout_that_keeps_nothing_is_a_write_error_at_once_unless_that_is_wanted() {
    let world = World::new();
    // Nobody offers anything yet: it is told before the file is waited for.
    for redirection in [">&-", "1</dev/null"] {
        let Output { code, stderr: said, .. } = get_redirected(&world, redirection);
        assert_eq!(code, Some(8), "{redirection}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("p2pfs: cannot write to stdout: it is closed; "), "{said}");
    }
    let _share = world.share("mine", &[("file", b"x")]);
    for redirection in [">/dev/null", "1<>mine/other"] {
        let Output { code, stderr: said, .. } = get_redirected(&world, redirection);
        assert_eq!(code, Some(0), "{redirection}: {said}");
    }
    assert_eq!(fs::read(world.path().join("mine/other")).unwrap(), b"x");
}

#[test]
fn a_signal_ends_it_while_its_reader_does_not_read() {
    let world = World::new();
    let file = content(4, 1_000_000);
    let _share = world.share("mine", &[("file", &file)]);
    let (mut reader, writer) = pipe().unwrap();
    let get = get(&world, "file").stdout(writer).start();
    // The first byte is there: it is writing, and the pipe is smaller than the file.
    reader.read_exact(&mut [0; 1]).unwrap();
    get.signal(Signal::INT);
    assert_eq!(get.await_exit_code(), 130);
}

#[test]
fn its_time_is_over_while_its_reader_does_not_read() {
    let world = World::new();
    let _share = world.share("mine", &[("file", &content(5, 1_000_000))]);
    let (_reader, writer) = pipe().unwrap();
    let late = world.command(&["get", "file", "-o", "-", "--timeout=3"]).stdout(writer).start();
    assert_eq!(late.await_exit_code(), 5, "{}", late.said());
    assert!(late.has_said("verified file") && late.has_said("stdout did not take all"));
}

#[test]
fn it_takes_one_name_and_a_place_for_temporary_files() {
    let world = World::new();
    for names in [&["a", "b"][..], &["*"]] {
        let line = [&["get", "-o", "-"], names].concat();
        let process = world.program(&line).start();
        assert_eq!(process.await_exit_code(), 2);
        assert!(process.error_lines()[0].contains("-o -"), "{:?}", process.log());
    }
    let get = world.command(&["get", "a", "-o", "-"]).env("TMPDIR", "/no/such/folder").start();
    get.ends_with(8);
    assert!(get.complaint().contains("/no/such/folder"));
}
