//! The size of chunks and of the window: a bare sender that speaks the protocol with
//! sizes of every kind, and our uploader with its own, against our downloader. Straight,
//! and through a relay with a rate and a delay.

#[path = "kit/mod.rs"]
mod kit;

use std::path::Path;
use std::process::ExitCode;

use kit::content::{names, write_noise};
use kit::download::one_file;
use kit::relay::{self, Link};
use kit::{
    Bound, Entry, MIB, Outcome, Place, Process, Report, Settings, Table, World, column, control,
    rounds, subfolder,
};
use p2pfs::limits::{CHUNK_BYTES_MAX, CHUNKS_PER_WINDOW, WINDOW_BYTES_MIN};

const KIB: u32 = 1024;
const CHUNKS_KIB: [u32; 7] = [1, 4, 16, 64, 256, 1024, 4096];
const WINDOWS_KIB: [u32; 6] = [64, 256, 1024, 4096, 16_384, 65_536];
const RELAY_BYTES_PER_S: u64 = 125_000_000;
/// No window worth the name.
const BARE_WINDOW: u32 = 1 << 30;

fn main() -> ExitCode {
    kit::run("chunk_window", &[], bench)
}

/// A sender, and the peers' view of it: nobody else offers its file.
struct Source {
    name: String,
    world: World,
    sender: Process,
    _relay: Option<Process>,
    _entry: Option<Entry>,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (_, folder) = Place::fastest()?;
    let shared = subfolder(folder.path(), "shared")?;
    let fetched = subfolder(folder.path(), "fetched")?;
    let size_bytes = settings.choose(256 * MIB, 32 * MIB);
    write_noise(&shared.join(&names("file", 1)[0]), 1, size_bytes)?;
    let folders = [shared.as_path(), fetched.as_path()];
    straight(settings, report, folders, size_bytes)?;
    let delays_ms: &[u64] = settings.choose(&[1, 10, 50], &[10]);
    for &delay_ms in delays_ms {
        through_relay(settings, report, folders, size_bytes, delay_ms)?;
    }
    Ok(())
}

fn straight(
    settings: &Settings,
    report: &mut Report,
    folders: [&Path; 2],
    size_bytes: u64,
) -> Outcome<()> {
    let title = format!("chunks and windows, {} MiB straight", size_bytes / MIB);
    if !settings.wants(&title) {
        return Ok(());
    }
    let shared = (WINDOW_BYTES_MIN / CHUNKS_PER_WINDOW, WINDOW_BYTES_MIN);
    let mut sizes = Vec::new();
    for chunk in CHUNKS_KIB.map(|kib| kib * KIB) {
        for window in WINDOWS_KIB.map(|kib| kib * KIB) {
            let is_wanted = !settings.is_quick || (chunk, window) == shared || chunk == window;
            if chunk <= window && is_wanted {
                sizes.push((chunk, window));
            }
        }
    }
    if !sizes.contains(&shared) {
        sizes.push(shared);
    }
    let mut sources = vec![Source::ours(folders[0], None)?];
    for &(chunk, window) in &sizes {
        sources.push(Source::bare(folders[0], chunk, window, None)?);
    }
    let runs = rounds(settings, sources.len(), |way| sources[way].fetch(folders))?;
    let rates: Vec<Vec<f64>> = runs
        .iter()
        .map(|runs| column(runs, |run| size_bytes as f64 / 1e6 / run.seconds()))
        .collect();
    let mut table = Table::new(&title, "sender and receiver have a core each; the bench sleeps");
    for (source, rates) in sources.iter().zip(&rates) {
        table.row(&source.name, "MB/s", rates);
    }
    let median = |way: usize| kit::Spread::of(&rates[way]).median;
    let best = (1..sources.len()).max_by(|a, b| median(*a).total_cmp(&median(*b))).unwrap_or(1);
    let of_shared = sizes.iter().position(|size| *size == shared).map_or(1, |at| at + 1);
    let name = format!("sizes for many at once / best ({})", sources[best].name);
    table.ratio(&name, &rates[of_shared], &rates[best], None);
    table.ratio("our uploader / best", &rates[0], &rates[best], Bound::AtLeast(0.95));
    table.note("a bare epoll sender with these sizes, to our downloader, on tmpfs");
    report.add(&table)
}

fn through_relay(
    settings: &Settings,
    report: &mut Report,
    folders: [&Path; 2],
    size_bytes: u64,
    delay_ms: u64,
) -> Outcome<()> {
    let title = format!("chunks and windows, through a relay with {delay_ms} ms");
    if !settings.wants(&title) {
        return Ok(());
    }
    let link = Some(Link { bytes_per_s: RELAY_BYTES_PER_S, delay_us: delay_ms * 1000 });
    let mut sources = vec![
        Source::ours(folders[0], link)?,
        Source::bare(folders[0], 1024 * KIB, BARE_WINDOW, link)?,
    ];
    for window in WINDOWS_KIB.map(|kib| kib * KIB) {
        // What the window lets through in a round trip, at most.
        let bytes_per_s = u64::from(window) * 1000 / (2 * delay_ms);
        if settings.is_quick || bytes_per_s < RELAY_BYTES_PER_S / 10 {
            continue;
        }
        sources.push(Source::bare(folders[0], window.min(CHUNK_BYTES_MAX), window, link)?);
    }
    let runs = rounds(settings, sources.len(), |way| sources[way].fetch(folders))?;
    let rates: Vec<Vec<f64>> = runs
        .iter()
        .map(|runs| column(runs, |run| size_bytes as f64 / 1e6 / run.seconds()))
        .collect();
    let beside = "sender, relay (four threads) and receiver share the cores";
    let mut table = Table::new(&title, beside);
    for (source, rates) in sources.iter().zip(&rates) {
        table.row(&source.name, "MB/s", rates);
    }
    table.ratio("our uploader / bare sender", &rates[0], &rates[1], Bound::AtLeast(0.9));
    table.note(format!("relay: 125 MB/s and {delay_ms} ms in each direction"));
    report.add(&table)
}

impl Source {
    fn ours(shared: &Path, link: Option<Link>) -> Outcome<Self> {
        // Behind a relay, it is known to a registry that no downloader asks.
        let home = World::new()?;
        let (sender, address) = home.peer(1, shared).listening()?;
        let name = "our uploader".to_owned();
        match link {
            None => Ok(Self { name, world: home, sender, _relay: None, _entry: None }),
            Some(link) => Self::behind(name, sender, &address.to_string(), Some(link)),
        }
    }

    fn bare(shared: &Path, chunk: u32, window: u32, link: Option<Link>) -> Outcome<Self> {
        let (sender, address) = control::start_uploader(shared, chunk, window)?;
        let name = match window {
            BARE_WINDOW => format!("bare: chunk {}, no window", bytes(chunk)),
            _ => format!("bare: chunk {}, window {}", bytes(chunk), bytes(window)),
        };
        Self::behind(name, sender, &address.to_string(), link)
    }

    fn behind(name: String, sender: Process, address: &str, link: Option<Link>) -> Outcome<Self> {
        let world = World::new()?;
        let relay = link.map(|link| relay::start(address, link)).transpose()?;
        let port = match &relay {
            Some((_, relay)) => relay.port(),
            None => address.parse::<std::net::SocketAddr>()?.port(),
        };
        let entry = world.enter(1, port, &names("file", 1))?;
        let relay = relay.map(|(relay, _)| relay);
        Ok(Self { name, world, sender, _relay: relay, _entry: Some(entry) })
    }

    fn fetch(&self, folders: [&Path; 2]) -> Outcome<kit::download::Run> {
        one_file(&self.world, &self.sender, &names("file", 1)[0], folders, false)
    }
}

fn bytes(bytes: u32) -> String {
    match bytes / KIB {
        kib @ ..1024 => format!("{kib} KiB"),
        kib => format!("{} MiB", kib / 1024),
    }
}
