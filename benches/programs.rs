//! Beside other programs, those that are installed: what `benches/picture.svg` shows.
//!
//! Not all do the same: rsync, nginx, http.server and curl compute no cryptographic checksum.
//! aria2 is told that of each file, socat's file is given to openssl, libtorrent checks each
//! piece, and scp encrypts. For p2pfs, the floor and the reference the time is as in the
//! benches of one large file and of many small ones; for the others it is that of the client
//! from its start to its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench_kit::content::{check_same, empty, names, write_noise};
use bench_kit::download::{Run, many_files, one_file};
use bench_kit::floor::Floor;
use bench_kit::others::{self, Other, find};
use bench_kit::stop_and_wait::{self, DOWNLOADER, Pace, UPLOADER};
use bench_kit::{
    GIB, MIB, Outcome, Place, Process, Report, Settings, Table, Usage, World, column, rounds,
    subfolder,
};

fn main() -> ExitCode {
    bench_kit::run("programs", &[], bench)
}

enum Program {
    P2pfs(World, Process),
    Floor(Floor),
    Reference(Reference),
    Other(Other),
}

/// The reference is so slow that a sample of one large file has to do.
struct Reference {
    uploader: Process,
    address: String,
    shared: PathBuf,
    samples: u32,
}

/// How many such samples a large file is.
const SAMPLES: u32 = 64;

struct Case {
    names: Vec<String>,
    shared: PathBuf,
    fetched: PathBuf,
    programs: Vec<(&'static str, Program)>,
    missing: Vec<&'static str>,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (size_bytes, files) = settings.choose((GIB, 1_000), (32 * MIB, 100));
    let large = match size_bytes {
        GIB => "one file of 1 GiB".to_owned(),
        _ => format!("one file of {} MiB", size_bytes / MIB),
    };
    let small = format!("{files} files of 16 KiB");
    for (title, files, file_bytes) in [(large, 1, size_bytes), (small, files, 16 * 1024)] {
        if settings.wants(&title) {
            measure(settings, report, &title, files, file_bytes)?;
        }
    }
    Ok(())
}

fn measure(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    files: usize,
    file_bytes: u64,
) -> Outcome<()> {
    let (place, folder) = Place::fastest()?;
    let case = Case::new(settings, folder.path(), files, file_bytes)?;
    let runs = rounds(settings, case.programs.len(), |way| case.run(&case.programs[way].1))?;
    let mut table = Table::new(title, "sender and receiver share the cores; the bench sleeps");
    let names = case.programs.iter().map(|(name, _)| name);
    type Value = fn(&Run) -> f64;
    let columns: [(&str, Value); 3] = [
        ("time", Run::seconds),
        ("CPU of the receiver", |run| run.receiver.cpu.as_secs_f64()),
        ("CPU of the sender", |run| run.sender.cpu.as_secs_f64()),
    ];
    for (what, value) in columns {
        for (name, runs) in names.clone().zip(&runs) {
            table.row(&format!("{what}: {name}"), "s", &column(runs, value));
        }
    }
    let ours = column(&runs[0], Run::seconds);
    for (name, runs) in names.zip(&runs).skip(1) {
        table.ratio(&format!("speed: p2pfs / {name}"), &column(runs, Run::seconds), &ours, None);
    }
    table.note(format!("on {}, not synced", place.name()));
    if files == 1 {
        table.note(format!(
            "of the reference a sample was taken: what it took without its start, times {SAMPLES}"
        ));
    }
    if !case.missing.is_empty() {
        table.note(format!("not here: {}", case.missing.join(", ")));
    }
    report.add(&table)
}

impl Case {
    fn new(settings: &Settings, folder: &Path, files: usize, file_bytes: u64) -> Outcome<Self> {
        let shared = subfolder(folder, "shared")?;
        let fetched = subfolder(folder, "fetched")?;
        let names = names("file", files);
        for (name, seed) in names.iter().zip(1..) {
            write_noise(&shared.join(name), seed, file_bytes)?;
        }
        let world = World::new();
        let uploader = world
            .peer(1, &shared)
            .option("--offer-interval", settings.many_offers_interval())
            .start()
            .process;
        let (floor, _) = Floor::best(settings, &shared, &fetched, false)?;
        let mut programs =
            vec![("p2pfs", Program::P2pfs(world, uploader)), ("floor", Program::Floor(floor))];
        let mut missing = Vec::new();
        for kind in others::ALL.iter().filter(|kind| kind.serves_many || files == 1) {
            match kind.start(folder, &shared, &names, &fetched) {
                Some(other) => programs.push((kind.name, Program::Other(other))),
                None => missing.push(kind.name),
            }
        }
        if find("python3").is_some() {
            let reference = Reference::start(folder, &shared, &names, file_bytes)?;
            programs.push(("stand-in for the reference", Program::Reference(reference)));
        } else {
            missing.push("stand-in for the reference");
        }
        Ok(Self { names, shared, fetched, programs, missing })
    }

    fn run(&self, program: &Program) -> Outcome<Run> {
        let folders = [self.shared.as_path(), self.fetched.as_path()];
        match (program, &self.names[..]) {
            (Program::P2pfs(world, uploader), [name]) => {
                one_file(world, uploader, name, folders, false)
            }
            (Program::P2pfs(world, uploader), names) => {
                many_files(world, uploader, names, folders, false)
            }
            (Program::Floor(floor), names) => {
                floor.checked_run(names, &self.shared, &self.fetched, false)
            }
            (Program::Other(other), _) => other.checked_run(&self.fetched),
            (Program::Reference(reference), names) => reference.checked_run(names, &self.fetched),
        }
    }
}

impl Reference {
    fn start(folder: &Path, shared: &Path, names: &[String], file_bytes: u64) -> Outcome<Self> {
        let (shared, samples) = match names {
            [name] => {
                let sample = subfolder(folder, "sample")?;
                write_noise(&sample.join(name), 1, file_bytes / u64::from(SAMPLES))?;
                (sample, SAMPLES)
            }
            _ => (shared.to_owned(), 1),
        };
        let path = shared.to_str().ok_or("a folder whose name is no text")?;
        let uploader = stop_and_wait::start(Pace::Reference, UPLOADER, &[path]);
        let address = uploader.await_listening().to_string();
        Ok(Self { uploader, address, shared, samples })
    }

    fn checked_run(&self, names: &[String], fetched: &Path) -> Outcome<Run> {
        let into = fetched.to_str().ok_or("a folder whose name is no text")?;
        let wanted = names.iter().map(String::as_str);
        let arguments: Vec<&str> = [&self.address, into].into_iter().chain(wanted).collect();
        let before = self.uploader.usage();
        let downloader = stop_and_wait::start(Pace::Reference, DOWNLOADER, &arguments);
        let (elapsed, receiver) = stop_and_wait::await_done(&downloader);
        let sender = self.uploader.usage().since(before);
        check_same(names, &self.shared, fetched)?;
        empty(fetched)?;
        let [sender, receiver] =
            [sender, receiver].map(|usage| Usage { cpu: usage.cpu * self.samples, ..usage });
        Ok(Run { elapsed: elapsed * self.samples, sender, receiver })
    }
}
