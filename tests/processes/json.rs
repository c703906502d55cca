//! `--json`: each line is an event as it is documented, nothing for people is on stdout,
//! and a reader who does not read, or is gone, stops nothing.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use kit::messages;
use kit::{FakeSource, Process, Signal, World, await_until, content};
use p2pfs::limits::LAST_LINE_PATIENCE;
use p2pfs::ui::events::EVENTS;
use p2pfs::ui::schema::{COMMON, Field, Kind};
use serde_json::Value;

/// Parses what a program printed, and holds each line against the documentation.
#[track_caller]
fn events(lines: &[String]) -> Vec<Value> {
    let parse = |line: &String| {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let kind = EVENTS.iter().find(|kind| event["event"] == kind.name);
        let kind = kind.unwrap_or_else(|| panic!("not documented: {line}"));
        // What stands in them is held against it where each event is made.
        let names: BTreeSet<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
        let documented = COMMON.iter().chain(kind.fields).map(|field| field.name);
        assert_eq!(names, documented.collect(), "{line}");
        assert_eq!(event["v"], 1, "{line}");
        event
    };
    lines.iter().map(parse).collect()
}

#[track_caller]
fn find<'a>(events: &'a [Value], event: &str) -> &'a Value {
    let found = events.iter().find(|found| found["event"] == event);
    found.unwrap_or_else(|| panic!("no {event} among {events:#?}"))
}

#[test]
fn both_sides_of_a_transfer() {
    let world = World::new();
    let content = content(1, 300_000);
    let source = world.peer(1).has("a \u{e9}", &content).flag("--json").launch();
    let wants = world.peer(2).wants("a \u{e9}").until_done();
    let downloader = wants.flag("--json").launch();
    assert_eq!(downloader.await_exit_code(), 0);
    let fetched = events(&downloader.stdout());
    let of = |event| find(&fetched, event);
    assert_eq!(fetched[0]["event"], "listening");
    assert_eq!(of("registered")["registry"], world.registry().address.to_string());
    assert_eq!(
        (&of("offer_seen")["name"], &of("offer_seen")["peer"]),
        (&"a \u{e9}".into(), &1.into())
    );
    assert_eq!(of("download_started")["name"], "a \u{e9}");
    assert_eq!(of("verified")["bytes"], content.len());
    assert_eq!(of("verified")["sha256"], messages::digest_of(&content));
    let last = fetched.last().unwrap();
    assert_eq!(
        (&last["event"], &last["code"], &last["error"]),
        (&"exit".into(), &0.into(), &().into())
    );
    // People read on, on stderr.
    assert!(downloader.has_said("verified a \u{e9} from peer 1"));

    let heard = |event: &str| events(&source.stdout()).iter().any(|found| found["event"] == event);
    await_until("the source tells of the upload", || heard("upload_done"));
    source.stop();
    let served = events(&source.stdout());
    assert_eq!(find(&served, "upload_started")["bytes"], content.len());
    assert_eq!(find(&served, "upload_done")["name"], "a \u{e9}");
    assert_eq!(served.last().unwrap()["code"], 143);
}

#[test]
fn a_download_that_goes_on_is_told_every_second_and_one_that_fails_with_its_reason() {
    let world = World::new();
    let _source = FakeSource::start(&world, 1, "file", |mut stream| {
        let _ = stream.write_all(&messages::chunk(&[1; 1000]));
        // Until the test is over.
        FakeSource::stall(stream)
    });
    let peer = world.peer(2).wants("file").flag("--json");
    let peer = peer.option("--progress-timeout", "3s").launch();
    let count = |event: &str| events(&peer.stdout()).iter().filter(|e| e["event"] == event).count();
    await_until("two more attempts", || count("download_started") >= 2);
    let told = events(&peer.stdout());
    let progress: Vec<_> = told
        .iter()
        .take_while(|event| event["event"] != "source_failed")
        .filter(|event| event["event"] == "progress")
        .collect();
    assert!((1..=3).contains(&progress.len()), "{progress:#?}");
    let first = progress[0];
    assert_eq!(
        (&first["name"], &first["peer"], &first["bytes"]),
        (&"file".into(), &1.into(), &1000.into())
    );
    assert!(first["bytes_per_second"].as_u64().unwrap() > 100);
    assert_eq!(find(&told, "source_failed")["reason"], "nothing moved for too long");
    peer.signal(Signal::INT);
    assert_eq!(peer.await_exit_code(), 130);
}

#[test]
fn an_upload_that_goes_on_is_told_every_second() {
    let world = World::new();
    let source = world.peer(1).has("file", &content(1, 16 << 20));
    let source = source.flag("--json").launch();
    let told = || events(&source.stdout());
    let told_of = |event: &str| told().into_iter().find(|told| told["event"] == event);
    await_until("it listens", || told_of("listening").is_some());
    let listening = told_of("listening").unwrap();
    // Takes what the window holds, and then nothing.
    let mut slow = TcpStream::connect(listening["address"].as_str().unwrap()).unwrap();
    slow.write_all(&messages::request("file", messages::Count::Bytes)).unwrap();
    await_until("two of them", || {
        told().iter().filter(|told| told["event"] == "upload_progress").count() >= 2
    });
    let first = told_of("upload_progress").unwrap();
    let address = slow.local_addr().unwrap().to_string();
    assert_eq!((&first["name"], &first["address"]), (&"file".into(), &address.into()));
    assert!(first["bytes"].as_u64().unwrap() > 0 && first["still_for"].is_number());
}

#[test]
fn an_error_before_the_start_is_an_exit_event_too() {
    let world = World::new();
    let address = world.registry().address.to_string();
    let second = world.program(&["registry", "--json", "--listen", &address]).start();
    assert_eq!(second.await_exit_code(), 11);
    let told = events(&second.stdout());
    let [exit] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((&exit["event"], &exit["code"]), (&"exit".into(), &11.into()));
    assert_eq!(second.error_lines(), [format!("p2pfs: {}", exit["error"].as_str().unwrap())]);
}

/// A peer that has a file, and tells its events to the pipe.
fn share_into(world: &World, pipe: PipeWriter) -> Process {
    let plan = world.peer(1).has("file", b"content").flag("--json");
    plan.launched(|launch| launch.stdout(pipe)).launch()
}

/// A pipe that has room for no more than 4 KiB and is full of spaces.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    writer.write_all(&[b' '; 4096]).unwrap();
    (reader, writer)
}

#[test]
fn a_reader_who_does_not_read_stops_nothing_and_is_told_how_much_is_missing() {
    let world = World::new();
    let (reader, writer) = full_pipe();
    let _source = share_into(&world, writer);
    let downloader = world.peer(2).wants("file").until_done().launch();
    assert_eq!(downloader.await_exit_code(), 0);

    let mut reader = BufReader::new(reader);
    reader.read_exact(&mut [0; 4096]).unwrap();
    let other = world.peer(3).wants("file").until_done().launch();
    assert_eq!(other.await_exit_code(), 0);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let told = events(&[line]);
    assert_eq!(told[0]["event"], "dropped");
    // At least listening, registered, and an upload that started and was done.
    assert!(told[0]["events"].as_u64().unwrap() >= 4, "{told:#?}");
}

/// Waits until the last line for people would not wait any more.
fn await_the_end_of_patience(process: &Process) {
    let began = Instant::now();
    await_until("no patience is left", || began.elapsed() > 2 * LAST_LINE_PATIENCE);
    process.assert_running();
}

#[test]
fn the_last_event_waits_for_a_slow_reader() {
    let world = World::new();
    let _source = world.peer(1).has("file", b"content").launch();
    let listen = world.registry().address.to_string();
    let (refused_reader, writer) = full_pipe();
    let refused = world.program(&["registry", "--json", "--listen", &listen]).stdout(writer);
    let refused = refused.start();
    let (done_reader, writer) = full_pipe();
    let plan = world.peer(2).wants("file").until_done().flag("--json");
    let done = plan.launched(|launch| launch.stdout(writer)).launch();
    refused.await_log("p2pfs: ");
    done.await_log("verified file");
    for (process, mut reader, code) in [(refused, refused_reader, 11), (done, done_reader, 0)] {
        await_the_end_of_patience(&process);
        reader.read_exact(&mut [0; 4096]).unwrap();
        let told: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert_eq!(find(&events(&told), "exit")["code"], code);
        assert_eq!(process.await_exit_code(), code);
    }
}

/// Before its loop has run, and after that.
#[test]
fn a_signal_ends_the_wait_for_a_reader() {
    let world = World::new();
    let _source = world.peer(1).has("file", b"content").launch();
    let listen = world.registry().address.to_string();
    let (_reader, writer) = full_pipe();
    let refused = world.program(&["registry", "--json", "--listen", &listen]);
    let refused = refused.stdout(writer.try_clone().unwrap()).start();
    let plan = world.peer(2).wants("file").until_done().flag("--json");
    let done = plan.launched(|launch| launch.stdout(writer)).launch();
    refused.await_log("p2pfs: ");
    done.await_log("verified file");
    for process in [refused, done] {
        await_the_end_of_patience(&process);
        let told = Instant::now();
        process.signal(Signal::TERM);
        assert_eq!(process.await_exit_code(), 143);
        assert!(told.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn the_timeout_ends_the_wait_for_a_reader() {
    let world = World::new();
    let registry = world.registry().address.to_string();
    let (_reader, writer) = full_pipe();
    let get = ["get", "no file", "--json", "--registry", &registry, "--interface", "lo"];
    let get = world.program(&[&get[..], &["--timeout", "500ms"]].concat()).stdout(writer).start();
    assert_eq!(get.await_exit_code(), 3);
}

#[test]
fn a_reader_who_is_gone_stops_nothing() {
    let world = World::new();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let source = share_into(&world, writer);
    let downloader = world.peer(2).wants("file").until_done().launch();
    assert_eq!(downloader.await_exit_code(), 0);
    source.assert_running();
}

#[test]
fn the_manual_page_has_every_event_and_field_and_the_help_says_where_it_is() {
    let world = World::new();
    let text = |arguments: &[&str]| {
        let output = world.program(arguments).output();
        assert_eq!(output.code, Some(0));
        output.stdout.replace("\\-", "-")
    };
    let page = text(&["man", "json"]);
    let lines_of = |fields: &[Field]| -> String {
        let lines = |Field { name, kind, meaning }: &Field| {
            format!(".TP\n\\fB{name}\\fR ({kind})\n{meaning}\n")
        };
        fields.iter().map(lines).collect()
    };
    let events =
        |Kind { name, when, fields }: &Kind| format!(".SS {name}\n{when}\n{}", lines_of(fields));
    let events: String = EVENTS.iter().map(events).collect();
    assert!(page.starts_with(".ie ") && page.contains("\n.TH p2pfs-json 5 "), "{page}");
    assert!(page.contains(&format!("{}.SH EVENTS\n{events}.SH ", lines_of(COMMON))), "{page}");
    for help in [&["--help"][..], &["get", "--help"], &["man"], &["man", "get"]] {
        let help = text(help);
        let lines = help.lines().filter(|line| line.contains("`p2pfs man json`"));
        assert_eq!(lines.count(), 1, "{help}");
        assert!(!help.contains("offer_seen"), "{help}");
    }
}
