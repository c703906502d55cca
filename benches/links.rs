//! Links with a rate and a delay, made by a relay: our uploader, and bare senders that speak
//! the protocol with constant windows, to our downloader.
//!
//! The relay asks our uploader at an address of this host that is no loopback address: so
//! the uploader takes it for another host.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;

use bench_kit::content::write_noise;
use bench_kit::download::one_file;
use bench_kit::relay::{self, Link};
use bench_kit::{
    Bound, Entry, MIB, Outcome, Place, Process, Report, Settings, Spread, Table, World, column,
    control, rounds, size, subfolder,
};
use p2pfs::limits::{CHUNK_BYTES, TURN_BYTES, WINDOW_BYTES};

/// Milliseconds each way, bytes a second, and how much is sent: for some two seconds.
const LINKS: [(u64, u64, u64); 4] = [
    (1, 125_000_000, 256 * MIB),
    (10, 125_000_000, 256 * MIB),
    (50, 125_000_000, 256 * MIB),
    (50, 2_000_000, 4 * MIB),
];
/// Chunks and windows of the bare senders; the last window is none worth the name.
const SENDERS: [(u32, u32); 2] = [(CHUNK_BYTES, WINDOW_BYTES), (MIB as u32, 1 << 30)];

fn main() -> ExitCode {
    bench_kit::run("links", &[], bench)
}

/// A sender of one file behind a relay, and the peers' view of it: nobody else offers it.
struct Source {
    name: String,
    world: World,
    sender: Process,
    /// Where our own uploader is registered: downloaders find it as they find the bare ones.
    _home: Option<World>,
    _relay: Process,
    _entry: Entry,
}

/// A file to fetch.
struct Content {
    name: String,
    bytes: u64,
    shared: PathBuf,
    fetched: PathBuf,
}

fn bench(settings: &Settings, report: &mut Report) -> Outcome<()> {
    let (_, folder) = Place::fastest()?;
    let Some(host) = own_address()? else {
        report.say("this host has no address but those of the loopback");
        return Ok(());
    };
    for (delay_ms, bytes_per_s, bytes) in LINKS {
        let bytes = settings.choose(bytes, bytes / 8);
        let rate = bytes_per_s as f64 / 1e6;
        let title = format!("{} through {rate} MB/s and {delay_ms} ms each way", size(bytes));
        if !settings.wants(&title) {
            continue;
        }
        let link = Link { bytes_per_s, delay_us: delay_ms * 1000 };
        let link_name = format!("{delay_ms}-ms-{bytes_per_s}");
        let content = Content::new(folder.path(), &link_name, bytes)?;
        through(settings, report, &title, link, &content, host)?;
    }
    Ok(())
}

fn through(
    settings: &Settings,
    report: &mut Report,
    title: &str,
    link: Link,
    content: &Content,
    host: Ipv4Addr,
) -> Outcome<()> {
    let mut sources = vec![Source::ours(content, link, host)?];
    for (chunk, window) in SENDERS {
        sources.push(Source::bare(content, link, chunk, window)?);
    }
    let runs = rounds(settings, sources.len(), |way| {
        let Source { world, sender, .. } = &sources[way];
        one_file(world, sender, &content.name, [&content.shared, &content.fetched], false)
    })?;
    let beside = "sender, relay (four threads) and receiver share the cores";
    let mut table = Table::new(title, beside);
    let rates: Vec<_> = sources
        .iter()
        .zip(&runs)
        .map(|(source, runs)| {
            let rates = column(runs, |run| content.bytes as f64 / 1e6 / run.seconds());
            table.row(&source.name, "MB/s", &rates);
            rates
        })
        .collect();
    let median = |way: usize| Spread::of(&rates[way]).median;
    let best = (1..rates.len()).max_by(|a, b| median(*a).total_cmp(&median(*b))).unwrap_or(1);
    let name = format!("our uploader / best ({})", sources[best].name);
    table.ratio(&name, &rates[0], &rates[best], Bound::AtLeast(0.9));
    report.add(&table)
}

/// An address of this host on a network.
fn own_address() -> Outcome<Option<Ipv4Addr>> {
    let addresses = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip());
    let mut own = addresses.filter_map(|ip| match ip {
        IpAddr::V4(ip) if !ip.is_loopback() => Some(ip),
        _ => None,
    });
    Ok(own.next())
}

impl Content {
    /// Makes a file for one link, in a folder with this name.
    fn new(folder: &Path, link_name: &str, bytes: u64) -> Outcome<Self> {
        let folder = subfolder(folder, link_name)?;
        let [shared, fetched] = ["shared", "fetched"].map(|name| subfolder(&folder, name));
        let (name, shared) = (format!("file-{bytes}"), shared?);
        write_noise(&shared.join(&name), bytes, bytes)?;
        Ok(Self { name, bytes, shared, fetched: fetched? })
    }
}

impl Source {
    fn ours(content: &Content, link: Link, host: Ipv4Addr) -> Outcome<Self> {
        let home = World::new();
        let plan = home.peer(1, &content.shared).option("--host", host.to_string());
        let (sender, address) = plan.listening();
        let source = Self::behind("our uploader", content, sender, &address.to_string(), link)?;
        Ok(Self { _home: Some(home), ..source })
    }

    fn bare(content: &Content, link: Link, chunk: u32, window: u32) -> Outcome<Self> {
        let turn = TURN_BYTES;
        let (sender, address) = control::start_uploader(&content.shared, chunk, window, turn);
        let sizes = [chunk, window].map(|bytes| size(bytes.into()));
        let name = format!("bare: chunk {}, window {}", sizes[0], sizes[1]);
        Self::behind(&name, content, sender, &address.to_string(), link)
    }

    fn behind(
        name: &str,
        content: &Content,
        sender: Process,
        address: &str,
        link: Link,
    ) -> Outcome<Self> {
        let (world, name) = (World::new(), name.to_owned());
        let (relay, relay_address) = relay::start(address, link);
        let entry = world.enter(1, relay_address.port(), slice::from_ref(&content.name));
        Ok(Self { name, world, sender, _home: None, _relay: relay, _entry: entry })
    }
}
