//! Row 13, what `tests/processes/stopping.rs` leaves: two signals at once; outputs that
//! are closed, full or broken; no home and no environment at all.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use kit::{FakeSource, Signal, World, content};
use kit::{NOTHING, Need, tools};
use tempfile::TempDir;

use crate::checks;
use crate::place::{DOWNLOADER, Library, Place, SOURCE, empty};
use crate::strace::{self, STRACE};

static PYTHON: Need = Need::new(|| tools(&["python3"]));
kit::tests! {
    STRACE:
        a_signal_while_its_handlers_are_made_is_not_lost;
    PYTHON:
        outputs_that_are_full_or_broken_pipes,
        a_failure_that_cannot_be_told_still_has_its_code;
    NOTHING:
        outputs_that_are_closed,
        outputs_that_are_full_files,
        no_home_and_no_environment,
        two_signals_mean_at_once;
}

/// Closes the outputs, in a shell that becomes the program.
const CLOSED: [&str; 3] = ["exec \"$@\" >&-", "exec \"$@\" 2>&-", "exec \"$@\" <&- >&- 2>&-"];

/// Outputs that take nothing: every write fails.
const FULL: [&str; 3] =
    ["exec \"$@\" >/dev/full", "exec \"$@\" 2>/dev/full", "exec \"$@\" >/dev/full 2>&1"];

/// Makes the outputs a pipe: one that is full and that nobody reads, or one whose reader
/// is gone. The reading end of a full one stays open in the program itself.
const PIPES: &str = r#"
import os, sys
kind, outputs, program = sys.argv[1], sys.argv[2], sys.argv[3:]
reader, writer = os.pipe()
if kind == "full":
    os.set_inheritable(reader, True)
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
else:
    os.close(reader)
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

fn outputs_that_are_closed() {
    CLOSED.iter().for_each(|script| transfers_under(&["sh", "-c", script, "sh"]));
}

fn outputs_that_are_full_files() {
    FULL.iter().for_each(|script| transfers_under(&["sh", "-c", script, "sh"]));
}

fn outputs_that_are_full_or_broken_pipes() {
    for kind in ["full", "broken"] {
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
    for launcher in [pipe("full"), pipe("broken"), shell(CLOSED[2]), shell(FULL[2])] {
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
