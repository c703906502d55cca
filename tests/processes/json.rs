//! `--json`: each line is an event as it is documented, nothing for people is on stdout,
//! and a reader who does not read, or is gone, stops nothing.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use p2pfs::ui::events::EVENTS;
use p2pfs::ui::schema::{COMMON, Field, Kind};
use serde_json::Value;

use crate::harness::{FakeSource, Process, Signal, World, await_until, content};
use crate::messages;

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
    let registry = world.registry();
    let content = content(1, 300_000);
    let mut source =
        world.peer(1, registry.address).has("a \u{e9}", &content).flag("--json").launch();
    let wants = world.peer(2, registry.address).wants("a \u{e9}").flag("--exit-when-done");
    let mut downloader = wants.flag("--json").launch();
    assert_eq!(downloader.await_exit_code(), 0);
    let fetched = events(&downloader.stdout());
    let of = |event| find(&fetched, event);
    assert_eq!(fetched[0]["event"], "listening");
    assert_eq!(of("registered")["registry"], registry.address.to_string());
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
    assert!(downloader.log().iter().any(|line| line.contains("verified a \u{e9} from peer 1")));

    let heard = |event: &str| events(&source.stdout()).iter().any(|found| found["event"] == event);
    await_until("the source tells of the upload", || heard("upload_done"));
    await_until("the source tells that the other is gone", || heard("offer_gone"));
    source.signal(Signal::TERM);
    assert_eq!(source.await_exit_code(), 143);
    let served = events(&source.stdout());
    assert_eq!(find(&served, "upload_started")["bytes"], content.len());
    assert_eq!(find(&served, "upload_done")["name"], "a \u{e9}");
    assert_eq!(served.last().unwrap()["code"], 143);
}

#[test]
fn a_download_that_goes_on_is_told_every_second_and_one_that_fails_with_its_reason() {
    let world = World::new();
    let registry = world.registry();
    let _source = FakeSource::start(&world, registry.address, 1, "file", |mut stream| {
        let _ = stream.write_all(&messages::chunk(&[1; 1000]));
        // Until the test is over.
        FakeSource::wait_for_close(stream);
        false
    });
    let peer = world.peer(2, registry.address).wants("file").flag("--json");
    let mut peer = peer.option("--progress-timeout", "3s").launch();
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
    let registry = world.registry();
    let source = world.peer(1, registry.address).has("file", &content(1, 16 << 20));
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
    let registry = world.registry();
    let address = registry.address.to_string();
    let arguments = ["registry", "--json", "--listen", &address];
    let mut second = Process::start("registry", world.folder(), &arguments);
    assert_eq!(second.await_exit_code(), 11);
    let told = events(&second.stdout());
    let [exit] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((&exit["event"], &exit["code"]), (&"exit".into(), &11.into()));
    assert_eq!(second.error_lines(), [format!("p2pfs: {}", exit["error"].as_str().unwrap())]);
}

/// The peer has this file, and tells its events to the pipe.
fn share_into(world: &World, registry: &str, stdout: Stdio) -> Killed {
    std::fs::create_dir_all(world.shared_folder(1)).unwrap();
    std::fs::write(world.shared_folder(1).join("file"), b"content").unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(["peer", "--json", "--id", "1", "--port", "0", "--offer-interval", "100ms"])
        .args(["--registry", registry, "--broadcast", &world.broadcast().to_string()])
        .arg("--dir")
        .arg(world.shared_folder(1))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_reader_who_does_not_read_stops_nothing_and_is_told_how_much_is_missing() {
    let world = World::new();
    let registry = world.registry();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    rustix::pipe::fcntl_setpipe_size(&filler, 4096).unwrap();
    filler.write_all(&[b' '; 4096]).unwrap();
    let _source = share_into(&world, &registry.address.to_string(), writer.into());
    drop(filler);
    let mut downloader =
        world.peer(2, registry.address).wants("file").flag("--exit-when-done").launch();
    assert_eq!(downloader.await_exit_code(), 0);

    let mut reader = BufReader::new(reader);
    reader.read_exact(&mut [0; 4096]).unwrap();
    let mut other = world.peer(3, registry.address).wants("file").flag("--exit-when-done").launch();
    assert_eq!(other.await_exit_code(), 0);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let told = events(&[line]);
    assert_eq!(told[0]["event"], "dropped");
    // At least listening, registered, and an upload that started and was done.
    assert!(told[0]["events"].as_u64().unwrap() >= 4, "{told:#?}");
}

#[test]
fn the_last_event_waits_for_a_slow_reader() {
    let world = World::new();
    let registry = world.registry();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    rustix::pipe::fcntl_setpipe_size(&filler, 4096).unwrap();
    filler.write_all(&[b' '; 4096]).unwrap();
    let second = Command::new(env!("CARGO_BIN_EXE_p2pfs"))
        .args(["registry", "--json", "--listen", &registry.address.to_string()])
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn();
    let mut second = Killed(second.unwrap());
    drop(filler);
    // Said just before.
    let mut said = BufReader::new(second.0.stderr.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    reader.read_exact(&mut [0; 4096]).unwrap();
    let told: Vec<_> = BufReader::new(reader).lines().map(Result::unwrap).collect();
    assert_eq!(find(&events(&told), "exit")["code"], 11);
}

#[test]
fn a_reader_who_is_gone_stops_nothing() {
    let world = World::new();
    let registry = world.registry();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut source = share_into(&world, &registry.address.to_string(), writer.into());
    let mut downloader =
        world.peer(2, registry.address).wants("file").flag("--exit-when-done").launch();
    assert_eq!(downloader.await_exit_code(), 0);
    assert!(source.0.try_wait().unwrap().is_none());
}

#[test]
fn the_manual_page_has_every_event_and_field_and_the_help_says_where_it_is() {
    let text = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_p2pfs")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().replace("\\-", "-")
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
