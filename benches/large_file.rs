//! One large file between two real processes, beside the floor.

use std::process::ExitCode;

use bench_kit::content::{names, write_noise};
use bench_kit::download::{Run, one_file};
use bench_kit::floor::Floor;
use bench_kit::{
    Bound, GIB, MIB, Outcome, Place, Report, Settings, Table, World, column, rounds, subfolder,
};

fn main() -> ExitCode {
    bench_kit::run("large_file", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    for (place, is_synced) in [(Place::Tmpfs, false), (Place::Disk, false), (Place::Disk, true)] {
        let synced = if is_synced { "synced" } else { "not synced" };
        let size = settings.choose("1 GiB", "64 MiB");
        let title = format!("one file of {size} to {}, {synced}", place.name());
        if settings.wants(&title) {
            measure(settings, report, &title, place, is_synced)?;
        }
    }
    Ok(())
}

fn measure(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    place: Place,
    is_synced: bool,
) -> Outcome<()> {
    let Some(folder) = place.folder()? else {
        report.say(&format!("{title}: there is no {} here", place.name()));
        return Ok(());
    };
    let size_bytes = settings.choose(GIB, 64 * MIB);
    let shared = subfolder(folder.path(), "shared")?;
    let fetched = subfolder(folder.path(), "fetched")?;
    let names = names("file", 1);
    write_noise(&shared.join(&names[0]), 1, size_bytes)?;

    let world = World::new();
    let uploader = world.peer(1, &shared).start().process;
    let (floor, tried) = Floor::best(settings, &shared, &fetched, is_synced)?;
    let runs = rounds(settings, 2, |way| match way {
        0 => one_file(&world, &uploader, &names[0], [&shared, &fetched], is_synced),
        _ => floor.checked_run(&names, &shared, &fetched, is_synced),
    })?;

    let gib = size_bytes as f64 / GIB as f64;
    let speed = |run: &Run| size_bytes as f64 / 1e6 / run.seconds();
    let cpu = |run: &Run| run.cpu_s() / gib;
    let sender = |run: &Run| run.sender.cpu.as_secs_f64() / gib;
    let receiver = |run: &Run| run.receiver.cpu.as_secs_f64() / gib;
    let waits = |run: &Run| (run.sender.waits + run.receiver.waits) as f64 / gib / 1024.0;
    let cpu_bound = (!is_synced).then_some(Bound::AtMost(1.10));
    type Value<'a> = &'a dyn Fn(&Run) -> f64;
    let columns: [(&str, &str, Value<'_>, Option<Bound>); 5] = [
        ("speed", "MB/s", &speed, Some(Bound::AtLeast(0.95))),
        ("CPU of both sides", "s/GiB", &cpu, cpu_bound),
        ("CPU of the sender", "s/GiB", &sender, None),
        ("CPU of the receiver", "s/GiB", &receiver, None),
        ("waits of both sides", "/MiB", &waits, None),
    ];
    let mut table = Table::new(title, "sender and receiver; the bench sleeps");
    for (what, unit, value, bound) in columns {
        let [ours, floors] = [0, 1].map(|way| column(&runs[way], value));
        table.row(&format!("{what}: p2pfs"), unit, &ours);
        table.row(&format!("{what}: floor"), unit, &floors);
        table.ratio(&format!("{what}: p2pfs / floor"), &ours, &floors, bound);
    }
    table.note(tried);
    report.add(&table)
}
