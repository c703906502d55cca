//! This build beside other builds of the program, which differ in one number of
//! `src/limits.rs`, say.
//!
//! ```text
//! cargo bench --bench builds -- --build PATH [--build PATH ...] [--pairs N] [TABLE ...]
//! ```
//!
//! A build is called by the name of its file, so two need two names. The registry is always
//! that of this build. A quick run without another build runs this one beside itself, which
//! shows what the machine makes of no difference at all.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tempfile::TempDir;

use bench_kit::content::{names, write_noise};
use bench_kit::crowd::{Downloads, Until};
use bench_kit::download::{at_once, many_files, one_file};
use bench_kit::probe::Beside;
use bench_kit::{
    Entry, GIB, KIB, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, control,
    rounds, size, subfolder, turns,
};
use p2pfs::limits::{LOCAL_WINDOW_BYTES, TURN_BYTES};

/// Downloads beside which small answers are timed.
const DOWNLOADS: usize = 8;
const SMALL_BYTES: u64 = 15_000;
const DOWNLOADERS: usize = 64;
const BESIDE_TWO: &str = "sender and receiver; the senders of the other builds offer their files";

fn main() -> ExitCode {
    bench_kit::run("builds", &[], bench)
}

/// A number that each run gives, and its unit.
type Column = (&'static str, &'static str);

const RATE: Column = ("rate", "MB/s");
const TIME: Column = ("time", "s");
const CPU: Column = ("CPU of both sides", "s");
const LONGEST_TURN: Column = ("longest turn by its own count", "ms");

/// What is compared, and where it reports.
struct Bench<'a> {
    settings: &'a Settings,
    report: &'a mut Report,
    /// Names and programs; the first is what the others are compared with.
    builds: Vec<(String, PathBuf)>,
}

/// Files to fetch, and where they go.
struct Files {
    place: Place,
    _folder: TempDir,
    names: Vec<String>,
    shared: PathBuf,
    fetched: PathBuf,
    bytes: u64,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let mut builds = vec![("this build".to_owned(), kit::program())];
    for path in &settings.builds {
        let name = path.file_name().ok_or("a build without a name")?.to_string_lossy();
        if builds.iter().any(|(other, _)| *other == name) {
            let advice = "give one another name, by a link for instance";
            return Err(format!("two builds are called {name}: {advice}").into());
        }
        builds.push((name.into_owned(), path.clone()));
    }
    if builds.len() == 1 {
        if !settings.is_quick {
            report.say("no other build is given: see benches/builds.rs");
            return Ok(());
        }
        builds.push(("this build again".to_owned(), builds[0].1.clone()));
    }
    let mut bench = Bench { settings, report, builds };
    for (place, is_synced) in [(Place::Tmpfs, false), (Place::Disk, false), (Place::Disk, true)] {
        bench.one_large_file(place, is_synced)?;
    }
    bench.file_not_in_memory()?;
    for chunk_kib in [1, 4, 16] {
        bench.small_chunks(chunk_kib)?;
    }
    bench.many_files(8, bench.scaled(64 * MIB), false)?;
    bench.many_files(bench.scaled(500), 16 * KIB, false)?;
    bench.many_files(bench.scaled(500), 4 * KIB, false)?;
    bench.many_files(bench.scaled(500), 16 * KIB, true)?;
    bench.many_downloaders()?;
    bench.small_answers()?;
    bench.hashing(bench.scaled(1_000), MIB, true)?;
    bench.hashing(1, bench.scaled(GIB), false)?;
    bench.hashing(bench.scaled(10_000), 16 * KIB, false)
}

impl Bench<'_> {
    /// Runs something with each build in turn, and adds a table of what it gives.
    fn compare<S, const N: usize>(
        &mut self,
        mut table: Table,
        columns: [Column; N],
        start: impl Fn(&World) -> Outcome<S>,
        run: impl Fn(&World, &S) -> Outcome<[f64; N]>,
    ) -> Outcome<()> {
        let started = self.builds.iter().map(|(_, program)| {
            let world = World::of_build(program);
            let started = start(&world)?;
            Ok((world, started))
        });
        let started = started.collect::<Outcome<Vec<_>>>()?;
        let runs = rounds(self.settings, started.len(), |way| {
            let (world, started) = &started[way];
            run(world, started)
        })?;
        for (at, (what, unit)) in columns.into_iter().enumerate() {
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
        let file_bytes = self.scaled(GIB);
        let (size, synced) = (size(file_bytes), synced(is_synced));
        let title = format!("one file of {size} to {}, {synced}", place.name());
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let Some(folder) = place.folder()? else {
            self.report.say(&format!("{title}: there is no {} here", place.name()));
            return Ok(());
        };
        let files = Files::new((place, folder), 1, file_bytes)?;
        let start = |world: &World| Ok(world.peer(1, &files.shared).start().process);
        self.compare(files.table(&title, BESIDE_TWO), [RATE, CPU], start, |world, uploader| {
            let run = one_file(world, uploader, &files.names[0], files.folders(), is_synced)?;
            Ok([files.mb_per_s(run.seconds()), run.cpu_s()])
        })
    }

    /// The uploader knows its digest from before, and reads it from a disk.
    fn file_not_in_memory(&mut self) -> Outcome<()> {
        let file_bytes = self.scaled(GIB);
        let title = format!("one file of {} served, not in memory", size(file_bytes));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new((Place::Disk, Place::disk()?), 1, file_bytes)?;
        if !files.can_forget()? {
            self.report.say(&format!("{title}: this file system keeps files in memory"));
            return Ok(());
        }
        let start = |world: &World| {
            let uploader = world.peer(1, &files.shared).start().process;
            uploader.await_read(files.bytes);
            // A moment later it has the digest, and a peer that ends keeps it.
            one_file(world, &uploader, &files.names[0], files.folders(), false)?;
            uploader.stop();
            Ok(())
        };
        let columns = [RATE, CPU, LONGEST_TURN];
        self.compare(files.table(&title, BESIDE_TWO), columns, start, |world, _| {
            let plan = world.peer(1, &files.shared).flag("--verbose");
            let uploader = plan.start().process;
            files.forget()?;
            let run = one_file(world, &uploader, &files.names[0], files.folders(), false)?;
            let longest_ms = turns::end_and_longest_turn_ms(&uploader)?;
            Ok([files.mb_per_s(run.seconds()), run.cpu_s(), longest_ms])
        })
    }

    /// From a bare sender, which sends chunks of this size.
    fn small_chunks(&mut self, chunk_kib: u64) -> Outcome<()> {
        let file_bytes = self.scaled(256 * MIB);
        let size = size(file_bytes);
        let title = format!("{size} in chunks of {chunk_kib} KiB from a bare sender");
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?, 1, file_bytes)?;
        let start = |world: &World| -> Outcome<(Process, Entry)> {
            let chunk_bytes = (chunk_kib * KIB) as u32;
            let (turn, window) = (TURN_BYTES, LOCAL_WINDOW_BYTES);
            let (sender, address) =
                control::start_uploader(&files.shared, chunk_bytes, window, turn);
            Ok((sender, world.enter(1, address.port(), &files.names)))
        };
        let beside = "sender and receiver; the bench offers the file";
        self.compare(files.table(&title, beside), [RATE, CPU], start, |world, (sender, _)| {
            let run = one_file(world, sender, &files.names[0], files.folders(), false)?;
            Ok([files.mb_per_s(run.seconds()), run.cpu_s()])
        })
    }

    fn many_files(&mut self, count: u64, file_bytes: u64, is_synced: bool) -> Outcome<()> {
        let title = format!("{count} x {} at once, {}", size(file_bytes), synced(is_synced));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let place = if is_synced { (Place::Disk, Place::disk()?) } else { Place::fastest()? };
        let files = Files::new(place, count, file_bytes)?;
        let interval = self.settings.many_offers_interval();
        let start = |world: &World| {
            Ok(world.peer(1, &files.shared).option("--offer-interval", interval).start().process)
        };
        self.compare(files.table(&title, BESIDE_TWO), [TIME, CPU], start, |world, uploader| {
            let run = many_files(world, uploader, &files.names, files.folders(), is_synced)?;
            Ok([run.seconds(), run.cpu_s()])
        })
    }

    fn many_downloaders(&mut self) -> Outcome<()> {
        let file_bytes = self.scaled(4 * MIB);
        let title = format!("{} to {DOWNLOADERS} downloaders", size(file_bytes));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?, 1, file_bytes)?;
        let fetched = (0..DOWNLOADERS).map(|number| subfolder(&files.fetched, &number.to_string()));
        let fetched = fetched.collect::<Outcome<Vec<_>>>()?;
        let start = |world: &World| Ok(world.peer(1, &files.shared).start().process);
        let beside = "uploader and downloaders share the cores; the bench sleeps";
        self.compare(files.table(&title, beside), [RATE, CPU], start, |world, uploader| {
            let crowd = at_once(world, uploader, &files.names[0], &files.shared, &fetched)?;
            let rate = files.mb_per_s(crowd.slowest.as_secs_f64()) * fetched.len() as f64;
            Ok([rate, crowd.cpu.as_secs_f64()])
        })
    }

    /// As `fairness` does it: a small file again and again beside many downloads.
    fn small_answers(&mut self) -> Outcome<()> {
        let title = format!("small answers beside {DOWNLOADS} downloads");
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new(Place::fastest()?, 1, 64 * MIB)?;
        let (large, small) = (&files.names[0], files.shared.join("small"));
        write_noise(&small, 2, SMALL_BYTES)?;
        let time_ms = self.settings.choose(1_000, 200);
        let start = |world: &World| {
            let (uploader, address) = world.peer(1, &files.shared).listening();
            let (address, original) = (address.to_string(), files.shared.join(large));
            // What arrives is right, and hashed after this.
            let until = Until::Checked(&original);
            Downloads::start(&address, large, DOWNLOADS, until)?.finish()?;
            Ok((uploader, address))
        };
        let columns = [("p50", "ms"), ("p99", "ms"), RATE];
        let beside = "uploader, downloads (one process) and the probe share the cores";
        self.compare(files.table(&title, beside), columns, start, |_, (_, address)| {
            let run = Beside::measure(address, (large, DOWNLOADS), &small, time_ms)?;
            Ok([run.answers.p50_ms, run.answers.p99_ms, run.downloads_mb_per_s])
        })
    }

    /// From the start of a peer until it has read as much as there is to hash.
    fn hashing(&mut self, count: u64, file_bytes: u64, is_in_memory: bool) -> Outcome<()> {
        let memory = if is_in_memory { "in memory" } else { "not in memory" };
        let title = format!("{count} x {} hashed, {memory}", size(file_bytes));
        if !self.settings.wants(&title) {
            return Ok(());
        }
        let files = Files::new((Place::Disk, Place::disk()?), count, file_bytes)?;
        if !is_in_memory && !files.can_forget()? {
            self.report.say(&format!("{title}: this file system keeps files in memory"));
            return Ok(());
        }
        let columns = [TIME, ("CPU", "s"), LONGEST_TURN];
        let table = files.table(&title, "a registry, which sleeps");
        self.compare(
            table,
            columns,
            |_| Ok(()),
            |world, ()| {
                let cache = tempfile::tempdir()?;
                if !is_in_memory {
                    files.forget()?;
                }
                let plan = world.peer(1, &files.shared).option("--offer-interval", "5s");
                let begin = Instant::now();
                let peer = plan.flag("--verbose").cache(cache.path()).launch();
                peer.await_read(files.bytes);
                let elapsed_s = begin.elapsed().as_secs_f64();
                let cpu_s = peer.usage().cpu.as_secs_f64();
                Ok([elapsed_s, cpu_s, turns::end_and_longest_turn_ms(&peer)?])
            },
        )
    }
}

impl Files {
    fn new((place, folder): (Place, TempDir), count: u64, file_bytes: u64) -> Outcome<Self> {
        let shared = subfolder(folder.path(), "shared")?;
        let fetched = subfolder(folder.path(), "fetched")?;
        let names = names("file", usize::try_from(count)?);
        for (name, seed) in names.iter().zip(1..) {
            write_noise(&shared.join(name), seed, file_bytes)?;
        }
        let bytes = count * file_bytes;
        Ok(Self { place, _folder: folder, names, shared, fetched, bytes })
    }

    fn table(&self, title: &str, beside: &str) -> Table {
        let mut table = Table::new(title, beside);
        table.note(format!("on {}", self.place.name()));
        table
    }

    fn folders(&self) -> [&Path; 2] {
        [&self.shared, &self.fetched]
    }

    fn mb_per_s(&self, seconds: f64) -> f64 {
        self.bytes as f64 / 1e6 / seconds
    }

    /// Has the kernel forget what it has of the files in memory, if the file system lets it.
    fn forget(&self) -> io::Result<()> {
        for name in &self.names {
            let file = File::open(self.shared.join(name))?;
            // What is not yet written stays.
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Whether it does: of most files, not even a byte can be read at once then. That this is
    /// tried may bring them back.
    fn can_forget(&self) -> io::Result<bool> {
        self.forget()?;
        let mut forgotten = 0;
        for name in &self.names {
            let (file, mut byte) = (File::open(self.shared.join(name))?, [0]);
            let read = preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
            // Linux 5.9 and 5.10 give 0 for what is not in memory.
            forgotten += usize::from(matches!(read, Err(Errno::AGAIN) | Ok(0)));
        }
        Ok(forgotten > self.names.len() / 2)
    }
}

fn synced(is_synced: bool) -> &'static str {
    if is_synced { "synced" } else { "not synced" }
}
