//! The size of chunks and of the window: a bare sender that speaks the protocol with
//! sizes of every kind, and our uploader with its own, against our downloader. Straight,
//! and through a relay with a rate and a delay.

#[path = "kit/mod.rs"]
mod kit;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::slice;

use kit::content::write_noise;
use kit::download::{Run, one_file};
use kit::relay::{self, Link};
use kit::{
    Bound, Entry, MIB, Outcome, Place, Process, Report, Settings, Spread, Table, World, column,
    control, rounds, size, subfolder,
};
use p2pfs::limits::{
    CHUNK_BYTES_MAX, CHUNKS_PER_WINDOW, CONNECTION_TURN_BYTES_MAX, SHORT_WINDOW_BYTES_MAX,
    WINDOW_BYTES_MIN,
};

const CHUNKS_KIB: [u32; 7] = [1, 4, 16, 64, 256, 1024, 4096];
const WINDOWS_KIB: [u32; 6] = [64, 256, 1024, 4096, 16_384, 65_536];
const RELAY_BYTES_PER_S: u64 = 125_000_000;
/// No window worth the name.
const BARE_WINDOW: u32 = 1 << 30;
const BESIDE_RELAY: &str = "sender, relay (four threads) and receiver share the cores";

fn main() -> ExitCode {
    kit::run("chunk_window", &[], bench)
}

/// A sender of one file, and the peers' view of it: nobody else offers it.
struct Source {
    name: String,
    content: Content,
    world: World,
    sender: Process,
    /// Where our own uploader is registered: downloaders find it as they find the bare ones.
    _home: Option<World>,
    _relay: Option<Process>,
    _entry: Entry,
}

/// A file to fetch.
#[derive(Clone)]
struct Content {
    name: String,
    size_bytes: u64,
}

/// Where the files are, and where they go.
struct Folders {
    place: Place,
    shared: PathBuf,
    fetched: PathBuf,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (place, folder) = Place::fastest()?;
    let shared = subfolder(folder.path(), "shared")?;
    let fetched = subfolder(folder.path(), "fetched")?;
    let folders = Folders { place, shared, fetched };
    let size_bytes = settings.choose(256 * MIB, 32 * MIB);
    straight(settings, report, &folders, size_bytes)?;
    let delays_ms: &[u64] = settings.choose(&[1, 10, 50], &[10]);
    for &delay_ms in delays_ms {
        through_relay(settings, report, &folders, size_bytes, delay_ms)?;
        grid_through_relay(settings, report, &folders, delay_ms)?;
    }
    Ok(())
}

/// The sizes of chunks and windows that are tried.
fn grid(settings: &Settings) -> Vec<(u32, u32)> {
    let mut sizes = Vec::new();
    for chunk in CHUNKS_KIB.map(|kib| kib * 1024) {
        for window in WINDOWS_KIB.map(|kib| kib * 1024) {
            if chunk <= window && (!settings.is_quick || chunk == window) {
                sizes.push((chunk, window));
            }
        }
    }
    sizes
}

fn straight(
    settings: &Settings,
    report: &mut Report,
    folders: &Folders,
    size_bytes: u64,
) -> Outcome<()> {
    let title = format!("chunks and windows, {} MiB straight", size_bytes / MIB);
    if !settings.wants(&title) {
        return Ok(());
    }
    let shared = (WINDOW_BYTES_MIN / CHUNKS_PER_WINDOW, WINDOW_BYTES_MIN);
    let alone = (CHUNK_BYTES_MAX, SHORT_WINDOW_BYTES_MAX);
    let mut sizes = grid(settings);
    for ours in [alone, shared] {
        if !sizes.contains(&ours) {
            sizes.push(ours);
        }
    }
    let content = folders.content(size_bytes)?;
    let mut sources = vec![Source::ours(folders, &content, None)?];
    for &(chunk, window) in &sizes {
        sources.push(Source::bare(folders, &content, chunk, window, None)?);
    }
    let beside = "sender and receiver; all other senders and registries sleep, the bench offers";
    let mut table = Table::new(&title, beside);
    let rates = rates(settings, &sources, folders, &mut table)?;
    let best = best(&rates);
    for (what, ours) in [("one alone", alone), ("many at once", shared)] {
        let way = 1 + sizes.iter().position(|size| *size == ours).ok_or("not measured")?;
        let name = format!("sizes for {what} / best ({})", sources[best].name);
        table.ratio(&name, &rates[way], &rates[best], None);
    }
    table.ratio("our uploader / best", &rates[0], &rates[best], Bound::AtLeast(0.95));
    let place = folders.place.name();
    table.note(format!("a bare epoll sender with these sizes, to our downloader, on {place}"));
    report.add(&table)
}

fn through_relay(
    settings: &Settings,
    report: &mut Report,
    folders: &Folders,
    size_bytes: u64,
    delay_ms: u64,
) -> Outcome<()> {
    let title = format!("{} MiB through a relay with {delay_ms} ms", size_bytes / MIB);
    if !settings.wants(&title) {
        return Ok(());
    }
    let link = Link { bytes_per_s: RELAY_BYTES_PER_S, delay_us: delay_ms * 1000 };
    let content = folders.content(size_bytes)?;
    let sources = [
        Source::ours(folders, &content, Some(link))?,
        Source::bare(folders, &content, MIB as u32, BARE_WINDOW, Some(link))?,
    ];
    let mut table = Table::new(&title, BESIDE_RELAY);
    let rates = rates(settings, &sources, folders, &mut table)?;
    table.ratio("our uploader / bare sender", &rates[0], &rates[1], Bound::AtLeast(0.9));
    table.note(format!("relay: 125 MB/s and {delay_ms} ms in each direction"));
    report.add(&table)
}

/// From each comes about what its window lets through in half a second, and 1 MiB at least.
fn grid_through_relay(
    settings: &Settings,
    report: &mut Report,
    folders: &Folders,
    delay_ms: u64,
) -> Outcome<()> {
    let title = format!("chunks and windows, through a relay with {delay_ms} ms");
    if !settings.wants(&title) {
        return Ok(());
    }
    let link = Link { bytes_per_s: RELAY_BYTES_PER_S, delay_us: delay_ms * 1000 };
    let large = folders.content(settings.choose(64 * MIB, 4 * MIB))?;
    let mut sources = vec![Source::ours(folders, &large, Some(link))?];
    for (chunk, window) in grid(settings) {
        let round_trips = 500 / (2 * delay_ms);
        let mebibytes = (u64::from(window) * round_trips / MIB).max(1).next_power_of_two();
        let content = match mebibytes * MIB {
            size_bytes if size_bytes < large.size_bytes => folders.content(size_bytes)?,
            _ => large.clone(),
        };
        sources.push(Source::bare(folders, &content, chunk, window, Some(link))?);
    }
    let mut table = Table::new(&title, BESIDE_RELAY);
    let rates = rates(settings, &sources, folders, &mut table)?;
    let best = best(&rates);
    let name = format!("our uploader / best ({})", sources[best].name);
    table.ratio(&name, &rates[0], &rates[best], None);
    table.note(format!("relay: 125 MB/s and {delay_ms} ms in each direction"));
    let most = large.size_bytes / MIB;
    table.note(format!("up to {most} MiB: about what the window lets through in half a second"));
    report.add(&table)
}

/// Fetches from each source in turn: a row for each.
fn rates(
    settings: &Settings,
    sources: &[Source],
    folders: &Folders,
    table: &mut Table,
) -> Outcome<Vec<Vec<f64>>> {
    let runs = rounds(settings, sources.len(), |way| sources[way].fetch(folders))?;
    let rates = sources.iter().zip(&runs).map(|(source, runs)| {
        let rates = column(runs, |run| source.content.size_bytes as f64 / 1e6 / run.seconds());
        table.row(&source.name, "MB/s", &rates);
        rates
    });
    Ok(rates.collect())
}

/// The best of all but the first, which is ours.
fn best(rates: &[Vec<f64>]) -> usize {
    let median = |way: usize| Spread::of(&rates[way]).median;
    (1..rates.len()).max_by(|a, b| median(*a).total_cmp(&median(*b))).unwrap_or(1)
}

impl Folders {
    /// A file of this size.
    fn content(&self, size_bytes: u64) -> Outcome<Content> {
        let name = format!("file-{size_bytes}");
        if !self.shared.join(&name).exists() {
            write_noise(&self.shared.join(&name), size_bytes, size_bytes)?;
        }
        Ok(Content { name, size_bytes })
    }
}

impl Source {
    fn ours(folders: &Folders, content: &Content, link: Option<Link>) -> Outcome<Self> {
        let home = World::new()?;
        let (sender, address) = home.peer(1, &folders.shared).listening()?;
        let (name, content) = ("our uploader".to_owned(), content.clone());
        let source = Self::behind(name, content, sender, address.into(), link)?;
        Ok(Self { _home: Some(home), ..source })
    }

    fn bare(
        folders: &Folders,
        content: &Content,
        chunk: u32,
        window: u32,
        link: Option<Link>,
    ) -> Outcome<Self> {
        let turn = CONNECTION_TURN_BYTES_MAX;
        let (sender, address) = control::start_uploader(&folders.shared, chunk, window, turn)?;
        let name = match window {
            BARE_WINDOW => format!("bare: chunk {}, no window", size(chunk.into())),
            _ => format!("bare: chunk {}, window {}", size(chunk.into()), size(window.into())),
        };
        Self::behind(name, content.clone(), sender, address, link)
    }

    fn behind(
        name: String,
        content: Content,
        sender: Process,
        address: SocketAddr,
        link: Option<Link>,
    ) -> Outcome<Self> {
        let world = World::new()?;
        let relay = link.map(|link| relay::start(&address.to_string(), link)).transpose()?;
        let port = match &relay {
            Some((_, relay)) => relay.port(),
            None => address.port(),
        };
        let entry = world.enter(1, port, slice::from_ref(&content.name))?;
        let relay = relay.map(|(relay, _)| relay);
        let (_home, _relay, _entry) = (None, relay, entry);
        Ok(Self { name, content, world, sender, _home, _relay, _entry })
    }

    fn fetch(&self, folders: &Folders) -> Outcome<Run> {
        let folders = [folders.shared.as_path(), folders.fetched.as_path()];
        one_file(&self.world, &self.sender, &self.content.name, folders, false)
    }
}
