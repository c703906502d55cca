//! One peer to many downloaders at once, all real processes.

use std::path::PathBuf;
use std::process::ExitCode;

use bench_kit::content::{check_same, empty, names, write_noise};
use bench_kit::download::{Crowd, at_once};
use bench_kit::floor::{Floor, Receiver};
use bench_kit::{
    Bound, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, rounds, subfolder,
};

fn main() -> ExitCode {
    bench_kit::run("fan_out", &[], bench)
}

/// One peer and so many downloaders of one file.
struct Case {
    world: World,
    uploader: Process,
    shared: PathBuf,
    folders: Vec<PathBuf>,
    names: Vec<String>,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let total_bytes = settings.choose(256 * MIB, 32 * MIB);
    let title = format!("one peer to many, {} MiB in all", total_bytes / MIB);
    if !settings.wants(&title) {
        return Ok(());
    }
    let (place, folder) = Place::fastest()?;
    let counts: &[usize] = settings.choose(&[4, 16, 64], &[4, 16]);
    let mut cases = Vec::new();
    for &count in counts {
        let home = subfolder(folder.path(), &count.to_string())?;
        cases.push(Case::new(home, count, total_bytes / count as u64)?);
    }
    let (mut floors, mut tried) = (Vec::new(), Vec::new());
    for case in &cases {
        let start = |setup| Floor::start(setup, &case.shared, case.folders.len());
        let run = |floor: &Floor| Ok(case.floor(floor)?.slowest);
        let (floor, said) = Floor::best_of(settings, start, run)?;
        floors.push(floor);
        tried.push(format!("{} receivers: {said}", case.folders.len()));
    }
    let runs = rounds(settings, 2 * counts.len(), |way| match way.checked_sub(counts.len()) {
        None => cases[way].p2pfs(),
        Some(way) => cases[way].floor(&floors[way]),
    })?;
    let (ours, floors) = runs.split_at(counts.len());

    let rates =
        |runs: &[Crowd]| column(runs, |run| total_bytes as f64 / 1e6 / run.slowest.as_secs_f64());
    let spreads = |runs: &[Crowd]| column(runs, |run| run.slowest.div_duration_f64(run.fastest));
    let beside = "uploader and downloaders share the cores; the bench sleeps";
    let mut table = Table::new(&title, beside);
    for ((runs, floors), count) in ours.iter().zip(floors).zip(counts) {
        table.row(&format!("total rate: p2pfs, {count} downloaders"), "MB/s", &rates(runs));
        table.row(&format!("total rate: floor, {count} receivers"), "MB/s", &rates(floors));
    }
    let cpu_s = |runs: &[Crowd]| column(runs, |run| run.cpu.as_secs_f64());
    for ((runs, floors), count) in ours.iter().zip(floors).zip(counts) {
        table.row(&format!("CPU of all: p2pfs, {count} downloaders"), "s", &cpu_s(runs));
        table.row(&format!("CPU of all: floor, {count} receivers"), "s", &cpu_s(floors));
    }
    for ((runs, floors), count) in ours.iter().zip(floors).zip(counts) {
        let name = format!("slowest / fastest: {count} downloaders");
        table.bounded_row(&name, "times", &spreads(runs), Bound::AtMost(1.5));
        let name = format!("slowest / fastest: floor, {count} receivers");
        table.row(&name, "times", &spreads(floors));
    }
    for (way, count) in counts.iter().enumerate() {
        let bound = (way == 0).then_some(Bound::AtLeast(0.95));
        let name = format!("total rate: p2pfs / floor, {count}");
        table.ratio(&name, &rates(&ours[way]), &rates(&floors[way]), bound);
    }
    for (way, count) in counts.iter().enumerate().skip(1) {
        let name = format!("total rate: {count} / {} downloaders", counts[0]);
        table.ratio(&name, &rates(&ours[way]), &rates(&ours[0]), Bound::AtLeast(0.95));
        let name = format!("total rate: {count} / {} receivers of the floor", counts[0]);
        table.ratio(&name, &rates(&floors[way]), &rates(&floors[0]), None);
    }
    table.note("from the moment all may begin to the last one verified");
    table.note(format!("on {}, not synced", place.name()));
    tried.into_iter().for_each(|tried| table.note(tried));
    report.add(&table)
}

impl Case {
    fn new(home: PathBuf, count: usize, file_bytes: u64) -> Outcome<Self> {
        let shared = subfolder(&home, "shared")?;
        let folders = (0..count).map(|number| subfolder(&home, &number.to_string()));
        let folders = folders.collect::<Outcome<_>>()?;
        let names = names("file", 1);
        write_noise(&shared.join(&names[0]), count as u64, file_bytes)?;
        let world = World::new();
        let uploader = world.peer(1, &shared).start().process;
        Ok(Self { world, uploader, shared, folders, names })
    }

    fn p2pfs(&self) -> Outcome<Crowd> {
        at_once(&self.world, &self.uploader, &self.names[0], &self.shared, &self.folders)
    }

    fn floor(&self, floor: &Floor) -> Outcome<Crowd> {
        floor.close();
        let receivers = self.folders.iter().map(|folder| floor.receiver(folder, false));
        let receivers: Vec<_> = receivers.collect();
        receivers.iter().for_each(Receiver::await_begun);
        let before = floor.sender_cpu();
        let begun = floor.open();
        let mut runs = Vec::new();
        for receiver in receivers {
            let (_, done, usage) = receiver.finish();
            runs.push((done.saturating_duration_since(begun), usage.cpu));
        }
        let sender_cpu = floor.sender_cpu().saturating_sub(before);
        for folder in &self.folders {
            check_same(&self.names, &self.shared, folder)?;
            empty(folder)?;
        }
        Ok(Crowd::of(&runs, sender_cpu))
    }
}
