//! A small file fetched again and again while others download at line rate.

use std::process::ExitCode;

use bench_kit::content::write_noise;
use bench_kit::crowd::{Downloads, Until};
use bench_kit::probe::Beside;
use bench_kit::turns::{self, Turns};
use bench_kit::{
    Bound, MIB, Outcome, Place, Report, Settings, Table, World, column, control, pin, rounds,
    set_usual_priority, subfolder,
};
use p2pfs::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, TURN_SHARE_BYTES_MIN};

const DOWNLOADS: usize = 8;
const SMALL_BYTES: u64 = 15_000;

fn main() -> ExitCode {
    bench_kit::run("fairness", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let title = format!("answers of 15 kB beside {DOWNLOADS} downloads");
    if !settings.wants(&title) {
        return Ok(());
    }
    let (place, folder) = Place::fastest()?;
    let shared = subfolder(folder.path(), "shared")?;
    let [small, large] = ["small", "large"].map(|name| shared.join(name));
    write_noise(&small, 1, SMALL_BYTES)?;
    write_noise(&large, 2, 64 * MIB)?;
    let world = World::new();
    let (_uploader, ours) = world.peer(1, &shared).listening();
    let (chunk, window) = (CHUNK_BYTES, LOCAL_WINDOW_BYTES);
    let turn = TURN_SHARE_BYTES_MIN;
    let (_control, theirs) = control::start_uploader(&shared, chunk, window, turn);
    let addresses = [ours.to_string(), theirs.to_string()];
    // What arrives is right; each also has its files hashed after this.
    for address in &addresses {
        Downloads::start(address, "large", DOWNLOADS, Until::Checked(&large))?.finish()?;
    }
    let time_ms = settings.choose(3_000, 700);
    let runs = rounds(settings, 2, |way| {
        Beside::measure(&addresses[way], ("large", DOWNLOADS), &small, time_ms)
    })?;

    let beside = "uploader, downloads (one process) and the probe share the cores";
    let mut table = Table::new(&title, beside);
    type Value = fn(&Beside) -> f64;
    let columns: [(&str, &str, Value, Option<Bound>); 5] = [
        ("p50", "ms", |run| run.answers.p50_ms, Some(Bound::AtMost(1.5))),
        ("p99", "ms", |run| run.answers.p99_ms, Some(Bound::AtMost(1.5))),
        ("longest", "ms", |run| run.answers.most_ms, None),
        ("answers in all", "", |run| run.answers.count, None),
        ("the downloads' rate", "MB/s", |run| run.downloads_mb_per_s, None),
    ];
    for (what, unit, value, bound) in columns {
        let [ours, theirs] = [0, 1].map(|way| column(&runs[way], value));
        table.row(&format!("{what}: p2pfs"), unit, &ours);
        table.row(&format!("{what}: control"), unit, &theirs);
        table.ratio(&format!("{what}: p2pfs / control"), &ours, &theirs, bound);
    }
    // Apart from the rest, because it is watched.
    let log = folder.path().join("turns");
    if let Some(plan) = turns::watched(world.peer(3, &shared), &log) {
        let (watched, address) = plan.listening();
        // Who was started below it may not go back to it.
        set_usual_priority(&watched);
        let address = address.to_string();
        Downloads::start(&address, "large", DOWNLOADS, Until::Checked(&large))?.finish()?;
        // With a core of its own it is put aside for others less often.
        pin(&watched, 0);
        let (mut p999_ms, mut longest_ms) = (Vec::new(), Vec::new());
        for _ in 0..settings.pairs {
            let before = Turns::read(&log, 0)?.count;
            let until = Until::Milliseconds(time_ms);
            let crowd = Downloads::start(&address, "large", DOWNLOADS, until)?;
            crowd.pin(1);
            crowd.finish()?;
            let turns = Turns::read(&log, before)?;
            p999_ms.push(turns.p999_ms);
            longest_ms.push(turns.longest_ms);
        }
        table.row("99.9 % of the loop's turns are within", "ms", &p999_ms);
        table.bounded_row("longest turn of the loop", "ms", &longest_ms, Bound::AtMost(5.0));
        table.note("turns are watched by strace, in runs of their own, without the probe, the peer on a core of its own if that is allowed");
    } else {
        table.note(turns::NOT_WATCHED);
    }
    table.note(format!("control: bare epoll; files on {}", place.name()));
    report.add(&table)
}
