//! What protocol version 1 is for: found at once, large files, folders, many getters, large
//! catalogs and interrupted jobs. Times are from the start of `get` or `list` to its end.
//!
//! ```text
//! cargo bench --bench version_1 [-- [--quick] [--pairs N] [--json FILE] [TABLE ...]]
//! ```

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench_kit::content::{blake3_of, check_same, empty, names, write_noise};
use bench_kit::download::{Run, one_file};
use bench_kit::floor::{Floor, Hash};
use bench_kit::others::RSYNC;
use bench_kit::{
    Bound, GIB, KIB, MIB, Outcome, Place, Process, Report, Settings, Table, column, rounds,
    subfolder,
};
use kit::World;
use p2pfs::proto::Transmit;
use p2pfs::proto::v1::Sealed;
use p2pfs::wire::v1::Secret;

fn main() -> ExitCode {
    bench_kit::run("version_1", &[], bench)
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let size = settings.choose("1 GiB", "64 MiB");
    let large = [Place::Tmpfs, Place::Disk].map(|place| {
        let title = format!("one file of {size} to {}, beside version 0", place.name());
        (title, place)
    });
    if settings.wants("from the start to the end") {
        latency(settings, report)?;
    }
    for (title, place) in large {
        if settings.wants(&title) {
            large_file(settings, report, &title, place)?;
        }
    }
    if settings.wants("sealed with a secret") {
        sealed(settings, report)?;
    }
    for (count, kib) in settings.choose([(1_000, 16), (10_000, 4)], [(100, 16), (1_000, 4)]) {
        let title = format!("{count} files of {kib} KiB in folders");
        if settings.wants(&title) {
            small_files(settings, report, &title, count, kib * KIB)?;
        }
    }
    if settings.wants("4 getters of one host") {
        getters(settings, report)?;
    }
    if settings.wants("a large catalog") {
        catalog(settings, report)?;
    }
    if settings.wants("begun again at half") {
        resume(settings, report)?;
    }
    Ok(())
}

/// A world with a sharer of a folder, and where it takes sessions.
struct Scene {
    world: World,
    sharer: Process,
    address: SocketAddrV4,
    shared: PathBuf,
    fetched: PathBuf,
    /// What all programs are told.
    options: &'static [&'static str],
}

impl Scene {
    /// Shares what `fill` puts into a folder, once all of it is hashed.
    fn new(folder: &Path, fill: impl FnOnce(&Path) -> Outcome<()>) -> Outcome<Self> {
        let folders = (subfolder(folder, "shared")?, subfolder(folder, "fetched")?);
        fill(&folders.0)?;
        Self::of(folders, World::new(), &[])
    }

    /// Shares what is in the first folder already, and fetches into the other.
    fn of(
        (shared, fetched): (PathBuf, PathBuf),
        world: World,
        options: &'static [&'static str],
    ) -> Outcome<Self> {
        let path = shared.to_str().ok_or("a folder whose name is no text")?;
        let sharer = world.start(&[&["share", path, "--port", "0"], options].concat());
        let address = sharer.await_listening();
        let scene = Self { world, sharer, address, shared, fetched, options };
        // Until all is hashed.
        scene.list(&["/", "--json"])?;
        Ok(scene)
    }

    fn process(&self, arguments: &[&str]) -> Process {
        self.world.start(&[arguments, self.options].concat())
    }

    /// Starts `get` into a folder.
    fn get(&self, what: &[&str], fetched: &Path, more: &[&str]) -> Process {
        let fetched = fetched.to_str().unwrap_or(".");
        self.process(&[&["get", "-o", fetched, "--no-sync"], what, more].concat())
    }

    /// The same, asking the sharer by its address.
    fn get_directly(&self, what: &[&str], fetched: &Path) -> Process {
        self.get(what, fetched, &["--peer", &self.address.to_string()])
    }

    fn list(&self, what: &[&str]) -> Outcome<Duration> {
        let begun = Instant::now();
        let ended = self.process(&[&["list"], what].concat()).await_success();
        Ok(ended.at.saturating_duration_since(begun))
    }

    /// One getter from its start to its end.
    fn run(&self, what: &[&str], more: &[&str]) -> Run {
        let (before, begun) = (self.sharer.usage(), Instant::now());
        let ended = self.get(what, &self.fetched, more).await_success();
        let elapsed = ended.at.saturating_duration_since(begun);
        Run { elapsed, sender: self.sharer.usage().since(before), receiver: ended.usage }
    }

    fn checked_run(&self, names: &[String], what: &[&str]) -> Outcome<Run> {
        let run = self.run(what, &["--peer", &self.address.to_string()]);
        check_same(names, &self.shared, &self.fetched)?;
        empty(&self.fetched)?;
        Ok(run)
    }
}

fn latency(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (_, folder) = Place::fastest()?;
    let content = kit::content(1, 15_000);
    let scene = Scene::new(folder.path(), |shared| Ok(fs::write(shared.join("small"), &content)?))?;
    let id = format!("small=blake3:{}", blake3_of(&scene.shared.join("small"))?);
    let others: Vec<_> = (0..9)
        .map(|n| scene.world.share(&format!("other-{n}"), &[(&format!("f{n}"), b"x")]))
        .collect();
    let runs = rounds(settings, 3, |way| {
        let elapsed = match way {
            0 => scene.run(&[&id], &[]).elapsed,
            1 => scene.run(&["small"], &[]).elapsed,
            _ => scene.list(&[])?,
        };
        empty(&scene.fetched)?;
        Ok(elapsed.as_secs_f64() * 1e3)
    })?;
    let mut table = Table::new("from the start to the end", "the sharers, asleep");
    table.bounded_row("get of 15 kB by its id", "ms", &runs[0], Bound::AtMost(40.0));
    table.bounded_row("get of 15 kB by its path", "ms", &runs[1], Bound::AtMost(150.0));
    let name = format!("list of {} peers", others.len() + 1);
    table.bounded_row(&name, "ms", &runs[2], Bound::AtMost(300.0));
    report.add(&table)
}

fn large_file(settings: &Settings, report: &mut Report, title: &str, place: Place) -> Outcome<()> {
    let Some(folder) = place.folder()? else {
        report.say(&format!("{title}: there is no {} here", place.name()));
        return Ok(());
    };
    let (size_bytes, names) = (settings.choose(GIB, 64 * MIB), names("file", 1));
    let scene = Scene::new(folder.path(), |shared| {
        Ok(write_noise(&shared.join(&names[0]), 1, size_bytes)?)
    })?;
    let before = bench_kit::World::new();
    let uploader = before.peer(1, &scene.shared).start().process;
    let (mut floor, tried) = Floor::best(settings, &scene.shared, &scene.fetched, false)?;
    floor.hash = Hash::Blake3;
    let rsync = RSYNC.start(folder.path(), &scene.shared, &names, &scene.fetched);
    let ways = if rsync.is_some() { 4 } else { 3 };
    let runs = rounds(settings, ways, |way| match (way, &rsync) {
        (0, _) => scene.checked_run(&names, &[&names[0]]),
        (1, _) => floor.checked_run(&names, &scene.shared, &scene.fetched, false),
        (3, Some(rsync)) => rsync.checked_run(&scene.fetched),
        _ => one_file(&before, &uploader, &names[0], [&scene.shared, &scene.fetched], false),
    })?;
    let mut table = Table::new(title, "sender and receiver; the bench sleeps");
    let speed = |way: usize| column(&runs[way], |run| size_bytes as f64 / 1e6 / run.seconds());
    let cpu = |way: usize| column(&runs[way], Run::cpu_s);
    let who = ["version 1", "floor with BLAKE3", "version 0", "rsync"];
    for (way, who) in who.iter().enumerate().take(ways) {
        table.row(&format!("speed: {who}"), "MB/s", &speed(way));
        table.row(&format!("CPU of both sides: {who}"), "s", &cpu(way));
    }
    let bounds = [0.95, 1.25, if place == Place::Tmpfs { 0.95 } else { 1.0 }];
    for (way, bound) in (1..ways).zip(bounds) {
        let name = format!("speed: version 1 / {}", who[way]);
        table.ratio(&name, &speed(0), &speed(way), Bound::AtLeast(bound));
    }
    table.ratio("CPU: version 1 / version 0", &cpu(0), &cpu(2), Bound::AtMost(0.80));
    table.note("version 1 and rsync from start to end, the others without their start");
    table.note(tried);
    report.add(&table)
}

/// One file with and without a secret, and what a handshake takes.
fn sealed(settings: &Settings, report: &mut Report) -> Outcome<()> {
    const SECRET: &[&str] = &["--secret-file", "secret"];
    let (place, folder) = Place::fastest()?;
    let (size_bytes, names) = (settings.choose(GIB, 64 * MIB), names("file", 1));
    let open = Scene::new(folder.path(), |shared| {
        Ok(write_noise(&shared.join(&names[0]), 1, size_bytes)?)
    })?;
    let world = World::new();
    world.program(&[&["secret"], SECRET].concat()).output();
    let folders = (open.shared.clone(), open.fetched.clone());
    let sealed = Scene::of(folders, world, SECRET)?;
    let runs = rounds(settings, 2, |way| [&sealed, &open][way].checked_run(&names, &[&names[0]]))?;
    let mut table = Table::new("sealed with a secret", "sender and receiver; the bench sleeps");
    let speed = |way: usize| column(&runs[way], |run| size_bytes as f64 / 1e6 / run.seconds());
    for (way, who) in ["sealed", "in clear"].iter().enumerate() {
        table.row(&format!("speed: {who}"), "MB/s", &speed(way));
        let cpu = column(&runs[way], Run::cpu_s);
        table.row(&format!("CPU of both sides: {who}"), "s", &cpu);
    }
    table.ratio("speed: sealed / in clear", &speed(0), &speed(1), Bound::AtLeast(0.65));
    let handshakes = rounds(settings, 1, |_| {
        let begun = Instant::now();
        (0..HANDSHAKES).try_for_each(|_| handshake())?;
        Ok(begun.elapsed().as_secs_f64() * 1e3 / f64::from(HANDSHAKES))
    })?;
    table.bounded_row("a handshake, both ends", "ms", &handshakes[0], Bound::AtMost(1.0));
    table.note(format!("{} on {}", bench_kit::size(size_bytes), place.name()));
    report.add(&table)
}

const HANDSHAKES: u32 = 500;

/// Both ends of a sealed connection, until it is open.
fn handshake() -> Outcome<()> {
    let key = Secret::new([1; 32]).seal_key();
    let (mut dialer, mut acceptor) = (Sealed::dialed(&key), Sealed::accepted(&[key].into()));
    for _ in 0..2 {
        let mut message = match dialer.transmit(false) {
            Some(Transmit::Bytes { bytes, .. }) => bytes.to_vec(),
            _ => return Err("nothing is sent".into()),
        };
        dialer.transmitted(message.len());
        acceptor.next(&mut message, &mut 0).map_err(|reason| reason.to_string())?;
        std::mem::swap(&mut dialer, &mut acceptor);
    }
    if dialer.is_open() && acceptor.is_open() { Ok(()) } else { Err("it is not open".into()) }
}

fn small_files(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    count: usize,
    size_bytes: u64,
) -> Outcome<()> {
    let (place, folder) = Place::fastest()?;
    let names: Vec<_> = (0..count).map(|n| format!("folder-{:02}/file-{n:05}", n / 100)).collect();
    let scene = Scene::new(folder.path(), |shared| {
        for (name, seed) in names.iter().zip(1..) {
            let path = shared.join(name);
            fs::create_dir_all(path.parent().ok_or("no parent")?)?;
            write_noise(&path, seed, size_bytes)?;
        }
        Ok(())
    })?;
    let rsync = RSYNC.start(folder.path(), &scene.shared, &names, &scene.fetched);
    let ways = if rsync.is_some() { 2 } else { 1 };
    let runs = rounds(settings, ways, |way| match (way, &rsync) {
        (1, Some(rsync)) => rsync.checked_run(&scene.fetched),
        _ => scene.checked_run(&names, &["/"]),
    })?;
    let mut table = Table::new(title, "sender and receiver; the bench sleeps");
    let seconds = |way: usize| column(&runs[way], Run::seconds);
    table.row("p2pfs", "s", &seconds(0));
    table.row("p2pfs, CPU of both sides", "s", &column(&runs[0], Run::cpu_s));
    if ways == 2 {
        table.row("rsync", "s", &seconds(1));
        table.ratio("speed: p2pfs / rsync", &seconds(1), &seconds(0), Bound::AtLeast(1.0));
    } else {
        table.note("rsync is not here, or too old");
    }
    table.note(format!("on {}, not synced", place.name()));
    report.add(&table)
}

fn getters(settings: &Settings, report: &mut Report) -> Outcome<()> {
    const GETTERS: usize = 4;
    let (_, folder) = Place::fastest()?;
    let (size_bytes, names) = (settings.choose(256, 16) * MIB, names("file", 1));
    let scene = Scene::new(folder.path(), |shared| {
        Ok(write_noise(&shared.join(&names[0]), 1, size_bytes)?)
    })?;
    let folders = (0..GETTERS).map(|n| subfolder(folder.path(), &format!("getter-{n}")));
    let folders = folders.collect::<Outcome<Vec<_>>>()?;
    let before = bench_kit::World::new();
    let uploader = before.peer(1, &scene.shared).start().process;
    let runs = rounds(settings, 2, |way| {
        if way == 1 {
            let crowd = bench_kit::download::at_once(
                &before,
                &uploader,
                &names[0],
                &scene.shared,
                &folders,
            )?;
            return Ok(crowd.slowest.as_secs_f64());
        }
        let begun = Instant::now();
        let getters: Vec<_> =
            folders.iter().map(|folder| scene.get_directly(&[&names[0]], folder)).collect();
        let ends = getters.iter().map(|getter| getter.await_success().at);
        let elapsed = ends.max().unwrap_or(begun).saturating_duration_since(begun);
        for folder in &folders {
            check_same(&names, &scene.shared, folder)?;
            empty(folder)?;
        }
        Ok(elapsed.as_secs_f64())
    })?;
    let title = format!("{} to {GETTERS} getters of one host", bench_kit::size(size_bytes));
    let mut table = Table::new(&title, "all of them");
    table.row("the slowest: version 1", "s", &runs[0]);
    table.row("the slowest: version 0", "s", &runs[1]);
    table.ratio("speed: version 1 / version 0", &runs[1], &runs[0], Bound::AtLeast(1.0));
    report.add(&table)
}

fn catalog(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (_, folder) = Place::fastest()?;
    let folders = settings.choose(1_000, 100);
    let count = folders * 100;
    let small = subfolder(folder.path(), "small")?;
    let few = Scene::new(&small, |shared| Ok(fs::write(shared.join("one"), b"one")?))?;
    let many = subfolder(folder.path(), "many")?;
    let scene = Scene::new(&many, |shared| {
        for n in 0..folders {
            let folder = subfolder(shared, &format!("folder-{n:04}"))?;
            (0..100).try_for_each(|n| fs::write(folder.join(format!("file-{n:02}")), b""))?;
        }
        Ok(())
    })?;
    let runs = rounds(settings, 1, |_| {
        let elapsed = scene.list(&["-R", "/"])?;
        let [rss, rss_of_few] = [&scene, &few].map(|it| it.sharer.usage().rss_bytes as f64);
        Ok((elapsed.as_secs_f64(), (rss - rss_of_few) / count as f64))
    })?;
    let mut table = Table::new("a large catalog", "the sharers");
    let seconds: Vec<_> = runs[0].iter().map(|(seconds, _)| *seconds).collect();
    let bytes: Vec<_> = runs[0].iter().map(|(_, bytes)| *bytes).collect();
    table.bounded_row(&format!("list of {count} files"), "s", &seconds, Bound::AtMost(1.5));
    table.bounded_row("memory of the sharer", "bytes a file", &bytes, Bound::AtMost(300.0));
    report.add(&table)
}

/// Half of a file is there as another run left it.
fn resume(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let folder = Place::disk()?;
    let (size_bytes, names) = (settings.choose(10 * GIB, 256 * MIB), names("file", 1));
    let scene = Scene::new(folder.path(), |shared| {
        Ok(write_noise(&shared.join(&names[0]), 1, size_bytes)?)
    })?;
    let kept = format!(".p2pfs-{}-{size_bytes}", blake3_of(&scene.shared.join(&names[0]))?);
    let runs = rounds(settings, 2, |way| {
        if way == 0 {
            let mut half = fs::File::create_new(scene.fetched.join(&kept))?;
            let whole = fs::File::open(scene.shared.join(&names[0]))?;
            io::copy(&mut whole.take(size_bytes / 2), &mut half)?;
            half.set_len(size_bytes)?;
        }
        Ok(scene.checked_run(&names, &[&names[0]])?.seconds())
    })?;
    let mut table = Table::new("begun again at half", "sender and receiver");
    table.row(&format!("{} of which half is there", bench_kit::size(size_bytes)), "s", &runs[0]);
    table.row("the same from nothing", "s", &runs[1]);
    table.ratio("time: half / all", &runs[0], &runs[1], None);
    report.add(&table)
}
