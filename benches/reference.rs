//! With a peer that works like the reference: it stops and waits for each
//! acknowledgment, sends chunks of 1 KiB, and receives 1 KiB at a time.
//!
//! Three such peers: one in Python, as the reference is, which is made as busy as that was
//! measured to be (see `kit/stop_and_wait.rs`); the same without that; and a part of
//! this bench, which costs as little as it can. Of the CPU time, ours should be little.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_kit::content::{check_same, empty, names, write_noise};
use bench_kit::download::one_file;
use bench_kit::others::find;
use bench_kit::stop_and_wait::{self, DOWNLOADER, Pace, UPLOADER};
use bench_kit::{
    Bound, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, part, rounds,
    subfolder,
};
use kit::messages::{
    ACKNOWLEDGMENT_BYTES, Count, REQUEST_BYTES, acknowledgment, chunk, digest_of, eof,
    message_bytes, request, text,
};

const CHUNK_BYTES: usize = 1024;

fn main() -> ExitCode {
    bench_kit::run("reference", &[(UPLOADER, uploader), (DOWNLOADER, downloader)], bench)
}

/// What the other side is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Other {
    Reference,
    Python,
    Rust,
}

/// What a transfer took, and what each side spent on it: between two of them, "ours" is the
/// uploader.
struct Run {
    elapsed: Duration,
    ours: Duration,
    theirs: Duration,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    for other in [Other::Reference, Other::Python, Other::Rust] {
        let title = format!("with a stop-and-wait peer {}", other.name());
        if !settings.wants(&title) {
            continue;
        }
        if other != Other::Rust && find("python3").is_none() {
            report.say("python3 is not installed here: no peer in Python");
            continue;
        }
        measure(settings, report, &title, other)?;
    }
    Ok(())
}

fn measure(settings: &Settings, report: &mut Report, title: &str, other: Other) -> Outcome<()> {
    let (_, folder) = Place::fastest()?;
    let shared = subfolder(folder.path(), "shared")?;
    let fetched = subfolder(folder.path(), "fetched")?;
    let names = names("file", 1);
    let size_bytes = settings.choose(8 * MIB, MIB);
    write_noise(&shared.join(&names[0]), 1, size_bytes)?;
    let folders = [shared.as_path(), fetched.as_path()];
    let [shared_text, fetched_text] =
        folders.map(|folder| folder.to_str().unwrap_or_default().to_owned());

    // Two worlds: in one the other side has the file, in the other ours.
    let theirs = World::new();
    let their_uploader = other.start(UPLOADER, &[&shared_text]);
    let port = their_uploader.await_listening().port();
    let _entry = theirs.enter(1, port, &names);
    let ours = World::new();
    let (our_uploader, address) = ours.peer(1, &shared).listening();

    let to_it = |uploader: &Process, port: u16| -> Outcome<Run> {
        let before = uploader.usage();
        let arguments = [&format!("127.0.0.1:{port}"), &fetched_text, &names[0]];
        let downloader = other.start(DOWNLOADER, &arguments.map(String::as_str));
        let (elapsed, downloader) = stop_and_wait::await_done(&downloader);
        let ours = uploader.usage().since(before).cpu;
        check_same(&names, &shared, &fetched)?;
        empty(&fetched)?;
        Ok(Run { elapsed, ours, theirs: downloader.cpu })
    };
    let runs = rounds(settings, 3, |way| match way {
        0 => {
            let run = one_file(&theirs, &their_uploader, &names[0], folders, false)?;
            Ok(Run { elapsed: run.elapsed, ours: run.receiver.cpu, theirs: run.sender.cpu })
        }
        1 => to_it(&our_uploader, address.port()),
        _ => to_it(&their_uploader, port),
    })?;

    let mut table = Table::new(title, "the two sides; the bench sleeps");
    let rates =
        |runs: &[Run]| column(runs, |run| size_bytes as f64 / 1e6 / run.elapsed.as_secs_f64());
    let among = rates(&runs[2]);
    let bound = (other == Other::Reference).then_some(Bound::AtMost(0.2));
    for (way, what) in ["from it", "to it"].into_iter().enumerate() {
        let runs = &runs[way];
        let mib = size_bytes as f64 / MIB as f64;
        let rate = rates(runs);
        let ours = column(runs, |run| run.ours.as_secs_f64() * 1e3 / mib);
        let theirs = column(runs, |run| run.theirs.as_secs_f64() * 1e3 / mib);
        let of_all = column(runs, |run| run.ours.div_duration_f64(run.ours + run.theirs));
        let our_part = column(runs, |run| run.ours.div_duration_f64(run.elapsed));
        let its_part = column(runs, |run| run.theirs.div_duration_f64(run.elapsed));
        table.row(&format!("{what}: rate"), "MB/s", &rate);
        table.row(&format!("{what}: our CPU"), "ms/MiB", &ours);
        table.row(&format!("{what}: its CPU"), "ms/MiB", &theirs);
        table.bounded_row(&format!("{what}: our share of the CPU time"), "", &of_all, bound);
        table.row(&format!("{what}: our CPU in the time that passes"), "", &our_part);
        table.row(&format!("{what}: its CPU in the time that passes"), "", &its_part);
        // With us it is no slower than with its like.
        let bound = (other == Other::Reference).then_some(Bound::AtLeast(0.95));
        table.ratio(&format!("{what}: rate to that between two of it"), &rate, &among, bound);
    }
    table.row("between two of it: rate", "MB/s", &among);
    let of_all = column(&runs[2], |run| run.theirs.div_duration_f64(run.ours + run.theirs));
    table.row("between two of it: the downloader's share", "", &of_all);
    report.add(&table)
}

impl Other {
    fn name(self) -> &'static str {
        match self {
            Self::Reference => "at the reference's pace",
            Self::Python => "in Python",
            Self::Rust => "in Rust",
        }
    }

    fn start(self, side: &str, arguments: &[&str]) -> Process {
        match self {
            Self::Rust => part(side, arguments),
            Self::Python => stop_and_wait::start(Pace::Full, side, arguments),
            Self::Reference => stop_and_wait::start(Pace::Reference, side, arguments),
        }
    }
}

/// Arguments: the folder.
fn uploader(arguments: &[String]) -> Outcome<()> {
    let [folder] = arguments else { return Err("one argument".into()) };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        // A downloader that leaves is its own business.
        let _ = upload(&stream, Path::new(folder));
    }
}

fn upload(mut stream: &TcpStream, folder: &Path) -> Outcome<()> {
    let mut request = [0; REQUEST_BYTES];
    stream.read_exact(&mut request)?;
    let path = folder.join(text(&request, 5));
    let mut file = File::open(&path)?;
    let mut data = [0; CHUNK_BYTES];
    loop {
        let len = file.read(&mut data)?;
        if len == 0 {
            return Ok(stream.write_all(&eof(&digest_of(&fs::read(path)?)))?);
        }
        stream.write_all(&chunk(&data[..len]))?;
        stream.read_exact(&mut [0; ACKNOWLEDGMENT_BYTES])?;
    }
}

/// Arguments: the address, the folder, the name.
fn downloader(arguments: &[String]) -> Outcome<()> {
    let [address, folder, name] = arguments else { return Err("three arguments".into()) };
    let begun = Instant::now();
    println!("begun");
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&request(name, Count::Characters))?;
    let path = Path::new(folder).join(name);
    let mut file = File::create_new(&path)?;
    let (mut gathered, mut at) = (Vec::new(), 0);
    loop {
        let mut received = [0; CHUNK_BYTES];
        let len = stream.read(&mut received)?;
        if len == 0 {
            return Err("the uploader closed".into());
        }
        gathered.extend_from_slice(&received[..len]);
        while let Some(len) = message_bytes(&gathered[at..]) {
            let message = &gathered[at..at + len];
            at += len;
            if message[0] == b'E' {
                if text(message, 1) != digest_of(&fs::read(&path)?) {
                    return Err("the checksum is wrong".into());
                }
                println!("done {}", begun.elapsed().as_secs_f64());
                return Ok(());
            }
            file.write_all(&message[5..])?;
            stream.write_all(&acknowledgment(2))?;
        }
        if at == gathered.len() {
            (gathered, at) = (Vec::new(), 0);
        }
    }
}
