//! Beside other programs, those that are installed: what `benches/picture.svg` shows.
//!
//! Not all do the same: only p2pfs and the floor compute a cryptographic checksum. For
//! p2pfs and the floor the time is as in the benches of one large file and of many small
//! ones; for the others it is that of the client from its start to its end.

#[path = "kit/mod.rs"]
mod kit;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kit::content::{check_same, empty, names, write_noise};
use kit::download::{Run, many_files, one_file};
use kit::floor::Floor;
use kit::others::{Http, Rsync, started};
use kit::{
    GIB, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, rounds, subfolder,
};

fn main() -> ExitCode {
    kit::run("programs", &[], bench)
}

enum Program {
    P2pfs(World, Process),
    Floor(Floor),
    Rsync(Rsync),
    Http(Http),
}

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
    let mut table = Table::new(title, "sender and receiver have a core each; the bench sleeps");
    let names = case.programs.iter().map(|(name, _)| name);
    for (name, runs) in names.clone().zip(&runs) {
        table.row(&format!("time: {name}"), "s", &column(runs, Run::seconds));
    }
    for (name, runs) in names.clone().zip(&runs) {
        let cpu = column(runs, |run| run.receiver.cpu.as_secs_f64());
        table.row(&format!("CPU of the receiver: {name}"), "s", &cpu);
    }
    let ours = column(&runs[0], Run::seconds);
    for (name, runs) in names.zip(&runs).skip(1) {
        table.ratio(&format!("speed: p2pfs / {name}"), &column(runs, Run::seconds), &ours, None);
    }
    table.note(format!("on {}, not synced", place.name()));
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
        let world = World::new()?;
        let (uploader, _) = world.peer(1, &shared).option("--offer-interval", "2s").listening()?;
        let (floor, _) = Floor::best(settings, &shared, &fetched, false)?;
        let mut programs =
            vec![("p2pfs", Program::P2pfs(world, uploader)), ("floor", Program::Floor(floor))];
        let mut missing = Vec::new();
        let others = [
            ("rsync", started(Rsync::start(folder, &shared)).map(Program::Rsync)),
            ("nginx and curl", started(Http::nginx(folder, &shared)).map(Program::Http)),
            ("http.server and curl", started(Http::python(&shared)).map(Program::Http)),
        ];
        for (name, program) in others {
            match program {
                Some(program) => programs.push((name, program)),
                None => missing.push(name),
            }
        }
        Ok(Self { names, shared, fetched, programs, missing })
    }

    fn run(&self, program: &Program) -> Outcome<Run> {
        let folders = [self.shared.as_path(), self.fetched.as_path()];
        let run = match program {
            Program::P2pfs(world, uploader) => {
                return match &self.names[..] {
                    [name] => one_file(world, uploader, name, folders, false),
                    names => many_files(world, uploader, 1, names, folders),
                };
            }
            Program::Floor(floor) => floor.run(&self.fetched, false)?,
            Program::Rsync(rsync) => rsync.fetch(&self.fetched)?,
            Program::Http(http) => http.fetch(&self.names, &self.fetched)?,
        };
        check_same(&self.names, &self.shared, &self.fetched)?;
        empty(&self.fetched)?;
        Ok(run)
    }
}
