//! One peer to many downloaders at once, all real processes.

#[path = "kit/mod.rs"]
mod kit;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use kit::content::{check_same, empty, names, write_noise};
use kit::download::at_once;
use kit::floor::Floor;
use kit::{Bound, MIB, Outcome, Place, Process, Report, Settings, Table, World, rounds, subfolder};

fn main() -> ExitCode {
    kit::run("fan_out", &[], bench)
}

/// One peer and so many downloaders of one file.
struct Crowd {
    world: World,
    uploader: Process,
    shared: PathBuf,
    folders: Vec<PathBuf>,
    names: Vec<String>,
}

struct Run {
    slowest: Duration,
    fastest: Duration,
    cpu: Duration,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let total_bytes = settings.choose(256 * MIB, 32 * MIB);
    let title = format!("one peer to many, {} MiB in all", total_bytes / MIB);
    if !settings.wants(&title) {
        return Ok(());
    }
    let (place, folder) = Place::fastest()?;
    let counts: &[usize] = settings.choose(&[4, 16, 64], &[4, 16]);
    let mut crowds = Vec::new();
    for &count in counts {
        let home = subfolder(folder.path(), &count.to_string())?;
        crowds.push(Crowd::new(home, count, total_bytes / count as u64)?);
    }
    let first = &crowds[0];
    let (best, tried) = Floor::best(settings, &first.shared, &first.folders[0], false)?;
    let floor = Floor::start(best.setup, &first.shared, first.folders.len())?;
    let runs = rounds(settings, counts.len() + 1, |way| match crowds.get(way) {
        Some(crowd) => crowd.p2pfs(),
        None => first.floor(&floor),
    })?;

    let rate = |way: usize| -> Vec<f64> {
        runs[way].iter().map(|run| total_bytes as f64 / 1e6 / run.slowest.as_secs_f64()).collect()
    };
    let beside = "uploader and downloaders share the cores; the bench sleeps";
    let mut table = Table::new(&title, beside);
    let floor_way = counts.len();
    for (way, count) in counts.iter().enumerate() {
        table.row(&format!("total rate: p2pfs, {count} downloaders"), "MB/s", &rate(way));
    }
    table.row(&format!("total rate: floor, {} receivers", counts[0]), "MB/s", &rate(floor_way));
    for (way, count) in counts.iter().enumerate() {
        let cpu_s = runs[way].iter().map(|run| run.cpu.as_secs_f64()).collect::<Vec<_>>();
        table.row(&format!("CPU of all: p2pfs, {count} downloaders"), "s", &cpu_s);
    }
    let spread = |way: usize| -> Vec<f64> {
        runs[way].iter().map(|run| run.slowest.div_duration_f64(run.fastest)).collect()
    };
    for (way, count) in counts.iter().enumerate() {
        let name = format!("slowest / fastest: {count} downloaders");
        table.bounded_row(&name, "times", &spread(way), Bound::AtMost(1.5));
    }
    table.row(
        &format!("slowest / fastest: floor, {} receivers", counts[0]),
        "times",
        &spread(floor_way),
    );
    let name = format!("total rate: p2pfs / floor, {}", counts[0]);
    table.ratio(&name, &rate(0), &rate(floor_way), Bound::AtLeast(0.95));
    for (way, count) in counts.iter().enumerate().skip(1) {
        let name = format!("total rate: {count} / {} downloaders", counts[0]);
        table.ratio(&name, &rate(way), &rate(0), None);
    }
    table.note("from the moment all may begin to the last one verified");
    table.note(format!("on {}, not synced; {tried}", place.name()));
    report.add(&table);
    Ok(())
}

impl Crowd {
    fn new(home: PathBuf, count: usize, file_bytes: u64) -> Outcome<Self> {
        let shared = subfolder(&home, "shared")?;
        let folders = (0..count).map(|number| subfolder(&home, &number.to_string()));
        let folders = folders.collect::<Outcome<_>>()?;
        let names = names("file", 1);
        write_noise(&shared.join(&names[0]), count as u64, file_bytes)?;
        let world = World::new()?;
        let (uploader, _) = world.peer(1, &shared).listening()?;
        Ok(Self { world, uploader, shared, folders, names })
    }

    fn p2pfs(&self) -> Outcome<Run> {
        let before = self.uploader.usage()?;
        let shares = at_once(&self.world, 1, &self.names[0], &self.shared, &self.folders)?;
        let uploader = self.uploader.usage()?.since(before);
        let times = || shares.iter().map(|share| share.elapsed);
        let receivers: Duration = shares.iter().map(|share| share.receiver.cpu).sum();
        Ok(Run {
            slowest: times().max().unwrap_or_default(),
            fastest: times().min().unwrap_or_default(),
            cpu: uploader.cpu + receivers,
        })
    }

    fn floor(&self, floor: &Floor) -> Outcome<Run> {
        let receivers: Vec<_> =
            self.folders.iter().map(|folder| floor.receiver(folder, false)).collect();
        let mut spans = Vec::new();
        let mut cpu = Duration::ZERO;
        for receiver in receivers {
            let (begun, done, usage) = receiver?.finish()?;
            spans.push((begun, done));
            cpu += usage.cpu;
        }
        for folder in &self.folders {
            check_same(&self.names, &self.shared, folder)?;
            empty(folder)?;
        }
        // The sender begins when the last one is there.
        let begin = spans.iter().map(|(begun, _)| *begun).max().ok_or("no receiver")?;
        let times = || spans.iter().map(|(_, done)| done.saturating_duration_since(begin));
        Ok(Run {
            slowest: times().max().unwrap_or_default(),
            fastest: times().min().unwrap_or_default(),
            cpu,
        })
    }
}
