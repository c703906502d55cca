//! Ten thousand idle connections beside a hundred downloads.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::ExitCode;

use bench_kit::content::write_noise;
use bench_kit::crowd::{Downloads, Drunk, Until, start_idle, take_all_descriptors};
use bench_kit::{
    Bound, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, rounds, subfolder,
};

const DOWNLOADS: usize = 100;
/// Descriptors of a process that are not for connections.
const SPARE_DESCRIPTORS: usize = 256;

fn main() -> ExitCode {
    bench_kit::run("many_connections", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let wanted = settings.choose(10_000, 1_000);
    let idle = wanted.min(take_all_descriptors().saturating_sub(DOWNLOADS + SPARE_DESCRIPTORS));
    if idle < wanted {
        report.say(&format!("{idle} connections, not {wanted}: a process may have no more"));
    }
    let title = format!("{idle} idle connections beside {DOWNLOADS} downloads");
    if !settings.wants(&title) {
        return Ok(());
    }
    let (place, folder) = Place::fastest()?;
    let shared = subfolder(folder.path(), "shared")?;
    let file_bytes = settings.choose(16 * MIB, MIB);
    let file = shared.join("file");
    write_noise(&file, 1, file_bytes)?;
    let world = World::new();
    let (uploaders, ours): (Vec<_>, Vec<_>) =
        [start(&world, 1, &shared), start(&world, 2, &shared)].into_iter().unzip();
    fetch(ours[0], Until::Checked(&file))?;
    let (_idle, each) = add_idle(&uploaders[1], ours[1], &file, idle)?;
    let mut each_bytes = vec![each];
    for id in (3..).take(settings.pairs - 1) {
        let (uploader, address) = start(&world, id, &shared);
        each_bytes.push(add_idle(&uploader, address, &file, idle)?.1);
    }
    let runs = rounds(settings, 2, |way| {
        let before = uploaders[way].usage();
        let rate = fetch(ours[way], Until::Once)?.mb_per_s;
        Ok((rate, uploaders[way].usage().since(before).cpu.as_secs_f64()))
    })?;

    let mut table = Table::new(&title, "uploader and downloads (one process)");
    let [without, with] = [0, 1].map(|way| column(&runs[way], |run| run.0));
    table.row("rate: no idle connections", "MB/s", &without);
    table.row(&format!("rate: {idle} idle connections"), "MB/s", &with);
    let gib = (DOWNLOADS as u64 * file_bytes) as f64 / bench_kit::GIB as f64;
    for (way, what) in ["no idle connections", "with them"].iter().enumerate() {
        let cpu_s = column(&runs[way], |run| run.1 / gib);
        table.row(&format!("CPU of the uploader: {what}"), "s/GiB", &cpu_s);
    }
    let name = "our memory for an idle connection";
    table.bounded_row(name, "bytes", &each_bytes, Bound::AtMost(512.0));
    table.ratio("rate: with idle ones / without", &with, &without, Bound::AtLeast(0.95));
    table.note(
        "memory: growth of what belongs to no file, by the kernel's count, over their number",
    );
    table.note(format!("files on {}", place.name()));
    report.add(&table)
}

fn start(world: &World, id: u32, shared: &Path) -> (Process, SocketAddrV4) {
    let plan = world.peer(id, shared).option("--connections-max", "12000");
    plan.option("--first-byte-timeout", "1h").listening()
}

fn fetch(address: SocketAddrV4, until: Until<'_>) -> Outcome<Drunk> {
    Downloads::start(&address.to_string(), "file", DOWNLOADS, until)?.finish()
}

/// Connects so many that do nothing; gives them, and the memory that each costs the uploader.
fn add_idle(
    uploader: &Process,
    address: SocketAddrV4,
    file: &Path,
    idle: usize,
) -> Outcome<(Process, f64)> {
    // What arrives is right; after this the uploader has whatever memory it needs for it.
    fetch(address, Until::Checked(file))?;
    let before = uploader.usage().anonymous_bytes;
    let crowd = start_idle(&address.to_string(), idle);
    // It is answered after all that came before are accepted, and no less right.
    fetch(address, Until::Checked(file))?;
    let grown_bytes = uploader.usage().anonymous_bytes.saturating_sub(before);
    Ok((crowd, grown_bytes as f64 / idle as f64))
}
