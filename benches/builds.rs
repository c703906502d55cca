//! This build beside other builds of the program, which differ in one number of
//! `src/limits.rs`, say.
//!
//! ```text
//! cargo bench --bench builds -- --build PATH [--build PATH ...] [--pairs N] [TABLE ...]
//! ```
//!
//! A build is called by the name of the file. With none, this one runs beside itself, which
//! shows what the machine makes of no difference at all.

#[path = "kit/mod.rs"]
mod kit;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use tempfile::TempDir;

use kit::content::{names, write_noise};
use kit::crowd::{Downloads, Until};
use kit::download::{at_once, many_files, one_file};
use kit::probe::Answers;
use kit::{
    DEADLINE, Entry, GIB, MIB, Outcome, Place, Process, Report, Settings, Table, World, column,
    control, rounds, subfolder, turns,
};
use p2pfs::limits::{CONNECTION_TURN_BYTES_MAX, WINDOW_BYTES_MIN};

const KIB: u64 = 1024;
/// Downloads beside which small answers are timed.
const DOWNLOADS: usize = 8;
const SMALL_BYTES: u64 = 15_000;
/// How often it is looked how much a peer has hashed.
const LOOKS: Duration = Duration::from_millis(1);

fn main() -> ExitCode {
    kit::run("builds", &[], bench)
}

/// A number that each run gives, and its unit.
type Column = (&'static str, &'static str);

const RATE: Column = ("rate", "MB/s");
const CPU: Column = ("CPU of both sides", "s");

/// What is compared, and where it reports.
struct Bench<'a> {
    settings: &'a Settings,
    report: &'a mut Report,
    /// Names and programs; the first is what the others are compared with.
    builds: Vec<(String, PathBuf)>,
}

/// Files to fetch, and where they go.
struct Files {
    _folder: TempDir,
    names: Vec<String>,
    shared: PathBuf,
    fetched: PathBuf,
    bytes: u64,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let ours = ("this build".to_owned(), env!("CARGO_BIN_EXE_p2pfs").into());
    let mut builds = vec![ours];
    for path in &settings.builds {
        let name = path.file_name().ok_or("a build without a name")?.to_string_lossy();
        builds.push((name.into_owned(), path.clone()));
    }
    if builds.len() == 1 {
        builds.push(("this build again".to_owned(), builds[0].1.clone()));
    }
    let mut bench = Bench { settings, report, builds };
    for (place, is_synced) in [(Place::Tmpfs, false), (Place::Disk, false), (Place::Disk, true)] {
        bench.one_large_file(place, is_synced)?;
    }
    for chunk_kib in [1, 4, 16] {
        bench.small_chunks(chunk_kib)?;
    }
    bench.many_files(8, bench.scaled(64 * MIB))?;
    bench.many_files(bench.scaled(1_000), 16 * KIB)?;
    bench.many_files(bench.scaled(10_000), 4 * KIB)?;
    bench.many_downloaders()?;
    bench.small_answers()?;
    bench.hashing(bench.scaled(1_000), MIB, true)?;
    bench.hashing(1, bench.scaled(GIB), false)?;
    bench.hashing(bench.scaled(10_000), 16 * KIB, false)
}

impl Bench<'_> {
    /// Runs something with each build in turn, and adds a table of what it gives.
    fn compare<S>(
        &mut self,
        title: &str,
        beside: &str,
        columns: &[Column],
        start: impl Fn(&World) -> Outcome<S>,
        run: impl Fn(&World, &S) -> Outcome<Vec<f64>>,
    ) -> Outcome<()> {
        let started = self.builds.iter().map(|(_, program)| {
            let world = World::of_build(program)?;
            let started = start(&world)?;
            Ok((world, started))
        });
        let started = started.collect::<Outcome<Vec<_>>>()?;
        let runs = rounds(self.settings, started.len(), |way| {
            let (world, started) = &started[way];
            run(world, started)
        })?;
        let mut table = Table::new(title, beside);
        for (at, (what, unit)) in columns.iter().enumerate() {
            let values: Vec<_> = runs.iter().map(|runs| column(runs, |run| run[at])).collect();
            for ((name, _), values) in self.builds.iter().zip(&values) {
                table.row(&format!("{what}: {name}"), unit, values);
            }
            for ((name, _), other) in self.builds.iter().zip(&values).skip(1) {
                table.ratio(&format!("{what}: {name} / this"), other, &values[0], None);
            }
        }
        self.report.add(&table)
    }

    /// The size of a file, or their number: a quick run has a sixteenth.
    fn scaled(&self, number: u64) -> u64 {
        self.settings.choose(number, number.div_ceil(16))
    }

    fn one_large_file(&mut self, place: Place, is_synced: bool) -> Outcome<()> {
        let synced = if is_synced { "synced" } else { "not synced" };
        let file_bytes = self.scaled(GIB);
        let title = format!("one file of {} to {}, {synced}", size(file_bytes), place.name());
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let Some(folder) = place.folder()? else {
            self.report.say(&format!("{title}: there is no {} here", place.name()));
            return Ok(());
        };
        let files = Files::new(folder, 1, file_bytes)?;
        let beside = "sender and receiver have a core each; the bench sleeps";
        let start = |world: &World| Ok(world.peer(1, &files.shared).listening()?.0);
        self.compare(&title, beside, &[RATE, CPU], start, |world, uploader| {
            let run = one_file(world, uploader, &files.names[0], files.folders(), is_synced)?;
            Ok(vec![files.mb_per_s(run.elapsed), run.cpu_s()])
        })
    }

    /// From a bare sender, which sends chunks of this size.
    fn small_chunks(&mut self, chunk_kib: u32) -> Outcome<()> {
        let title = format!("one file in chunks of {chunk_kib} KiB from a bare sender");
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?.1, 1, self.scaled(256 * MIB))?;
        let start = |world: &World| -> Outcome<(Process, Entry)> {
            let chunk_bytes = chunk_kib * KIB as u32;
            let (turn, window) = (CONNECTION_TURN_BYTES_MAX, WINDOW_BYTES_MIN);
            let (sender, address) =
                control::start_uploader(&files.shared, chunk_bytes, window, turn)?;
            Ok((sender, world.enter(1, address.port(), &files.names)?))
        };
        let beside = "sender and receiver have a core each; the bench sleeps";
        self.compare(&title, beside, &[RATE, CPU], start, |world, (sender, _)| {
            let run = one_file(world, sender, &files.names[0], files.folders(), false)?;
            Ok(vec![files.mb_per_s(run.elapsed), run.cpu_s()])
        })
    }

    fn many_files(&mut self, count: u64, file_bytes: u64) -> Outcome<()> {
        let title = format!("{count} x {} at once", size(file_bytes));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?.1, count, file_bytes)?;
        let beside = "sender and receiver have a core each; the bench sleeps";
        let start = |world: &World| {
            Ok(world.peer(1, &files.shared).option("--offer-interval", "2s").listening()?.0)
        };
        let columns = [("time", "s"), CPU];
        self.compare(&title, beside, &columns, start, |world, uploader| {
            let run = many_files(world, uploader, 1, &files.names, files.folders(), false)?;
            Ok(vec![run.seconds(), run.cpu_s()])
        })
    }

    fn many_downloaders(&mut self) -> Outcome<()> {
        let title = "one file to 64 downloaders";
        if !self.settings.wants(title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?.1, 1, self.scaled(4 * MIB))?;
        let fetched = (0..64).map(|number| subfolder(&files.fetched, &number.to_string()));
        let fetched = fetched.collect::<Outcome<Vec<_>>>()?;
        let start = |world: &World| Ok(world.peer(1, &files.shared).listening()?.0);
        let beside = "uploader and downloaders share the cores; the bench sleeps";
        self.compare(title, beside, &[RATE, CPU], start, |world, uploader| {
            let before = uploader.usage()?;
            let shares = at_once(world, 1, &files.names[0], &files.shared, &fetched)?;
            let sender = uploader.usage()?.since(before).cpu;
            let slowest = shares.iter().map(|share| share.elapsed).max().unwrap_or_default();
            let receivers: Duration = shares.iter().map(|share| share.receiver.cpu).sum();
            let rate = files.mb_per_s(slowest) * shares.len() as f64;
            Ok(vec![rate, (sender + receivers).as_secs_f64()])
        })
    }

    /// As `fairness` does it: a small file again and again beside many downloads.
    fn small_answers(&mut self) -> Outcome<()> {
        let title = "small answers beside 8 downloads";
        if !self.settings.wants(title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?.1, 1, 64 * MIB)?;
        let small = files.shared.join("small");
        write_noise(&small, 2, SMALL_BYTES)?;
        let time_ms = self.settings.choose(1_000, 200);
        let start = |world: &World| world.peer(1, &files.shared).listening();
        let columns = [("p50", "ms"), ("p99", "ms"), RATE];
        let beside = "uploader, downloads (one process) and the probe share the cores";
        self.compare(title, beside, &columns, start, |_, (_, address)| {
            let (address, until) = (address.to_string(), Until::Milliseconds(time_ms + 200));
            let crowd = Downloads::start(&address, &files.names[0], DOWNLOADS, until)?;
            crowd.await_data()?;
            let answers = Answers::measure(&address, &small, time_ms)?;
            Ok(vec![answers.p50_ms, answers.p99_ms, crowd.finish()?.mb_per_s])
        })
    }

    /// From the start of a peer until all is hashed.
    fn hashing(&mut self, count: u64, file_bytes: u64, is_in_memory: bool) -> Outcome<()> {
        let memory = if is_in_memory { "in memory" } else { "not in memory" };
        let title = format!("{count} x {} hashed, {memory}", size(file_bytes));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let folder = Place::Disk.folder()?.ok_or("no folder")?;
        let files = Files::new(folder, count, file_bytes)?;
        let opened = || files.names.iter().map(|name| File::open(files.shared.join(name)));
        opened().try_for_each(|file| file?.sync_all())?;
        let columns = [("time", "s"), ("CPU", "s"), ("longest turn by its own count", "ms")];
        let start = |_: &World| Ok(());
        self.compare(&title, "a core rests", &columns, start, |world, ()| {
            let cache = tempfile::tempdir()?;
            if !is_in_memory {
                opened().try_for_each(|file| {
                    Ok::<_, std::io::Error>(fadvise(file?, 0, None, Advice::DontNeed)?)
                })?;
            }
            let plan = world.peer(1, &files.shared).option("--offer-interval", "5s");
            let begin = Instant::now();
            let mut peer = plan.flag("--verbose").cache(cache.path()).start()?;
            while peer.read_bytes()? < files.bytes {
                if begin.elapsed() > DEADLINE {
                    return Err("the files are not hashed".into());
                }
                thread::sleep(LOOKS);
            }
            let elapsed_s = begin.elapsed().as_secs_f64();
            let cpu_s = peer.usage()?.cpu.as_secs_f64();
            Ok(vec![elapsed_s, cpu_s, turns::end_and_tell(&mut peer)?])
        })
    }
}

impl Files {
    fn new(folder: TempDir, count: u64, file_bytes: u64) -> Outcome<Self> {
        let shared = subfolder(folder.path(), "shared")?;
        let fetched = subfolder(folder.path(), "fetched")?;
        let names = names("file", usize::try_from(count)?);
        for (name, seed) in names.iter().zip(1..) {
            write_noise(&shared.join(name), seed, file_bytes)?;
        }
        let bytes = count * file_bytes;
        Ok(Self { _folder: folder, names, shared, fetched, bytes })
    }

    fn folders(&self) -> [&Path; 2] {
        [&self.shared, &self.fetched]
    }

    fn mb_per_s(&self, elapsed: Duration) -> f64 {
        self.bytes as f64 / 1e6 / elapsed.as_secs_f64()
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        ..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}
