//! Many small files between two real peers, beside the floor and rsync.
//!
//! For rsync, which compares no checksum unless asked, the time is that of its client,
//! from start to end; its daemon runs already.

use std::path::PathBuf;
use std::process::ExitCode;

use tempfile::TempDir;

use bench_kit::content::{names, write_noise};
use bench_kit::download::{Run, many_files};
use bench_kit::floor::Floor;
use bench_kit::others::{Other, RSYNC, RSYNC_SYNCED};
use bench_kit::{
    Bound, Outcome, Place, Process, Report, Settings, Table, World, column, rounds, subfolder,
};

fn main() -> ExitCode {
    bench_kit::run("small_files", &[], bench)
}

/// Files of one size, and the programs that serve them.
struct Set {
    names: Vec<String>,
    title: String,
    shared: PathBuf,
    fetched: PathBuf,
    is_synced: bool,
    world: World,
    uploader: Process,
    floor: Floor,
    rsync: Option<Other>,
}

const PROGRAMS: [&str; 3] = ["p2pfs", "floor", "rsync"];

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    // More are not offered, 160 to 200 a second, while a downloader waits for the registry's answer.
    // For whole folders, see version_1.
    let sizes = settings.choose([(500, 16), (100, 4), (500, 4)], [(100, 16), (100, 4), (400, 4)]);
    measure(settings, report, "many small files", Place::fastest()?, &sizes, false)?;
    // rsync waits for the disk once for each file.
    let sizes = settings.choose([(500, 16), (50, 4), (500, 4)], [(100, 16), (20, 4), (200, 4)]);
    let disk = (Place::Disk, Place::disk()?);
    measure(settings, report, "small files, synced", disk, &sizes, true)
}

fn measure(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    (place, folder): (Place, TempDir),
    sizes: &[(usize, u64)],
    is_synced: bool,
) -> Outcome<()> {
    if !settings.wants(title) {
        return Ok(());
    }
    let mut sets = Vec::new();
    for &(count, kib) in sizes {
        let home = subfolder(folder.path(), &format!("{count}-{kib}"))?;
        sets.push(Set::new(settings, home, count, kib, is_synced)?);
    }
    let programs = if sets.iter().all(|set| set.rsync.is_some()) { 3 } else { 2 };
    let runs =
        rounds(settings, sets.len() * programs, |way| sets[way / programs].run(way % programs))?;

    let beside = "sender and receiver; the peers of the other rows offer their files";
    let mut table = Table::new(title, beside);
    let seconds =
        |set: usize, program: usize| column(&runs[set * programs + program], Run::seconds);
    for (set, Set { title, .. }) in sets.iter().enumerate() {
        for (program, who) in PROGRAMS[..programs].iter().enumerate() {
            table.row(&format!("{title}: {who}"), "s", &seconds(set, program));
        }
        for (program, who) in PROGRAMS[..programs].iter().enumerate() {
            let cpu = column(&runs[set * programs + program], Run::cpu_s);
            table.row(&format!("{title}, CPU of both: {who}"), "s", &cpu);
        }
    }
    for (set, Set { title, .. }) in sets.iter().enumerate() {
        let name = format!("{title}: speed, p2pfs / floor");
        table.ratio(&name, &seconds(set, 1), &seconds(set, 0), None);
        if programs == 3 {
            let name = format!("{title}: speed, p2pfs / rsync");
            table.ratio(&name, &seconds(set, 2), &seconds(set, 0), Bound::AtLeast(1.0));
        }
    }
    let per_file = |set: usize| -> Vec<f64> {
        seconds(set, 0).iter().map(|s| s * 1e6 / sets[set].names.len() as f64).collect()
    };
    table.row("time of a file, few", "us", &per_file(1));
    table.row("time of a file, many", "us", &per_file(2));
    table.ratio("time of a file, many / few", &per_file(2), &per_file(1), Bound::AtMost(1.1));
    let synced = match is_synced {
        true => "synced: files and folder, by rsync (--fsync) only the files",
        false => "not synced",
    };
    table.note(format!("on {}, {synced}; all offers are heard before", place.name()));
    if programs == 2 {
        table.note("rsync is not here, or too old");
    }
    report.add(&table)
}

impl Set {
    fn new(
        settings: &Settings,
        home: PathBuf,
        count: usize,
        kib: u64,
        is_synced: bool,
    ) -> Outcome<Self> {
        let shared = subfolder(&home, "shared")?;
        let fetched = subfolder(&home, "fetched")?;
        let names = names("file", count);
        for (name, seed) in names.iter().zip(1..) {
            write_noise(&shared.join(name), seed, kib * 1024)?;
        }
        // The same is best with fsync, which makes all slower alike.
        let (floor, _) = Floor::best(settings, &shared, &fetched, false)?;
        let rsync = if is_synced { &RSYNC_SYNCED } else { &RSYNC };
        let rsync = rsync.start(&home, &shared, &names, &fetched);
        let world = World::new();
        let plan =
            world.peer(1, &shared).option("--offer-interval", settings.many_offers_interval());
        let uploader = plan.start().process;
        let title = format!("{count} files of {kib} KiB");
        Ok(Self { names, title, shared, fetched, is_synced, world, uploader, floor, rsync })
    }

    fn run(&self, program: usize) -> Outcome<Run> {
        let folders = [self.shared.as_path(), self.fetched.as_path()];
        match (program, &self.rsync) {
            (0, _) => many_files(&self.world, &self.uploader, &self.names, folders, self.is_synced),
            (2, Some(rsync)) => rsync.checked_run(&self.fetched),
            (1, _) => {
                self.floor.checked_run(&self.names, &self.shared, &self.fetched, self.is_synced)
            }
            _ => Err("rsync is not here for all files".into()),
        }
    }
}
