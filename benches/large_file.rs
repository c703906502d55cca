//! One large file between two real processes, beside the floor.
//!
//! The time is from the line with which the downloader says that it begins (before it
//! connects) to the line that says that the file is verified under its final name, as
//! they come through a pipe; for the floor, between two lines at the same places. The
//! search for a source is not in it. The receiver's CPU time is that of its whole life,
//! the sender's what it spent meanwhile.

#[path = "kit/mod.rs"]
mod kit;

use std::path::Path;
use std::process::ExitCode;

use kit::content::{check_same, empty, names, write_noise};
use kit::floor::{Floor, Run};
use kit::{
    Bound, GIB, MIB, Outcome, Place, Process, Report, Settings, Table, World, rounds, subfolder,
};

fn main() -> ExitCode {
    kit::run("large_file", &[], bench)
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

    let world = World::new()?;
    let (uploader, _) = world.peer(1, &shared).listening()?;
    let (floor, tried) = Floor::best(settings, &shared, &fetched, is_synced)?;
    let runs = rounds(settings, 2, |way| match way {
        0 => p2pfs(&world, &uploader, &names, &shared, &fetched, is_synced),
        _ => floor.checked_run(&names, &shared, &fetched, is_synced),
    })?;

    let [ours, floors] = &runs[..] else { return Err("two ways".into()) };
    let mut table = Table::new(title, "sender and receiver have a core each; the bench sleeps");
    let gib = size_bytes as f64 / GIB as f64;
    let column =
        |runs: &[Run], value: &dyn Fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    let speed = |run: &Run| size_bytes as f64 / 1e6 / run.elapsed.as_secs_f64();
    let cpu = |run: &Run| (run.sender.cpu + run.receiver.cpu).as_secs_f64() / gib;
    let sender = |run: &Run| run.sender.cpu.as_secs_f64() / gib;
    let receiver = |run: &Run| run.receiver.cpu.as_secs_f64() / gib;
    let waits = |run: &Run| (run.sender.waits + run.receiver.waits) as f64 / gib / 1024.0;
    let columns: [(&str, &str, &dyn Fn(&Run) -> f64); 5] = [
        ("speed", "MB/s", &speed),
        ("CPU, both sides", "s/GiB", &cpu),
        ("CPU, sender", "s/GiB", &sender),
        ("CPU, receiver", "s/GiB", &receiver),
        ("waits, both sides", "/MiB", &waits),
    ];
    for (what, unit, value) in columns {
        for (who, runs) in [("p2pfs", ours), ("floor", floors)] {
            table.row(&format!("{what}: {who}"), unit, &column(runs, value));
        }
    }
    let ratio = |value: &dyn Fn(&Run) -> f64| (column(ours, value), column(floors, value));
    let (one, other) = ratio(&speed);
    table.ratio("speed, p2pfs / floor", &one, &other, Bound::AtLeast(0.95));
    let (one, other) = ratio(&cpu);
    let bound = (!is_synced).then_some(Bound::AtMost(1.10));
    table.ratio("CPU of both sides, p2pfs / floor", &one, &other, bound);
    let (one, other) = ratio(&sender);
    table.ratio("CPU of the sender, p2pfs / floor", &one, &other, None);
    let (one, other) = ratio(&receiver);
    table.ratio("CPU of the receiver, p2pfs / floor", &one, &other, None);
    table.note(tried);
    report.add(&table);
    Ok(())
}

fn p2pfs(
    world: &World,
    uploader: &Process,
    names: &[String],
    shared: &Path,
    fetched: &Path,
    is_synced: bool,
) -> Outcome<Run> {
    let plan = world.peer(2, fetched).fetches(names);
    let plan = if is_synced { plan } else { plan.flag("--no-sync") };
    let before = uploader.usage()?;
    let mut downloader = plan.start()?;
    let (begun, _) = downloader.await_stderr("downloading ")?;
    let (done, _) = downloader.await_stderr("verified ")?;
    let ended = downloader.await_success()?;
    let sender = uploader.usage()?.since(before);
    check_same(names, shared, fetched)?;
    empty(fetched)?;
    let elapsed = done.saturating_duration_since(begun);
    Ok(Run { elapsed, sender, receiver: ended.usage })
}
