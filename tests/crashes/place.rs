//! Where a round happens: a world with a registry, and a source that has files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::checks;
use crate::harness::{Peer, PeerPlan, Process, Registry, ReservedPort, World, content};

/// The id of the source.
pub(crate) const SOURCE: u32 = 1;
/// The id of the downloader to which things happen.
pub(crate) const DOWNLOADER: u32 = 2;

/// The files that are fetched.
pub(crate) struct Library(BTreeMap<String, Vec<u8>>);

impl Library {
    /// Files of these sizes.
    pub(crate) fn new(sizes_bytes: &[usize]) -> Self {
        let files = sizes_bytes.iter().enumerate();
        Self(files.map(|(n, &size)| (format!("file-{n}"), content(n as u64 + 1, size))).collect())
    }

    /// Large files that take a while, small ones that share a flush, and an empty one.
    pub(crate) fn of_all_sizes() -> Self {
        Self::new(&[3_000_000, 1_500_000, 0, 1, 100, 9_000, 70_000, 300_000])
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What a file has to contain; `None` if there is no such file.
    pub(crate) fn content(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// Where a round happens. What runs ends before its folder goes. The registry's port stays
/// its own, so that another one can take its place.
pub(crate) struct Place {
    pub(crate) source: Peer,
    pub(crate) registry: Registry,
    _port: ReservedPort,
    pub(crate) library: Library,
    pub(crate) world: World,
}

impl Place {
    pub(crate) fn new(library: Library) -> Self {
        let world = World::new();
        let port = ReservedPort::new();
        let registry = world.registry_on(port.address);
        fs::create_dir_all(world.shared_folder(SOURCE)).unwrap();
        for name in library.names() {
            let path = world.shared_folder(SOURCE).join(name);
            fs::write(path, library.content(name).unwrap()).unwrap();
        }
        let source = source(&world, &registry).start();
        Self { source, registry, _port: port, library, world }
    }

    /// A source with the same folder as the one that runs.
    pub(crate) fn another_source(&self) -> PeerPlan<'_> {
        source(&self.world, &self.registry)
    }

    /// A peer that fetches every file into its folder, then ends.
    pub(crate) fn downloader(&self, id: u32) -> PeerPlan<'_> {
        let plan = self.world.peer(id, self.registry.address).flag("--exit-when-done");
        self.library.names().fold(plan, PeerPlan::wants)
    }

    /// The folder of the downloader to which things happen.
    pub(crate) fn folder(&self) -> PathBuf {
        self.world.shared_folder(DOWNLOADER)
    }

    /// How long a download of everything takes when nothing happens to it.
    pub(crate) fn usual_span(&self) -> Duration {
        let begin = Instant::now();
        self.fetches_all(&self.folder(), self.downloader(DOWNLOADER).launch());
        let span = begin.elapsed();
        empty(&self.folder());
        span
    }

    /// The download ends well: every file is there and nothing else.
    #[track_caller]
    pub(crate) fn fetches_all(&self, folder: &Path, mut download: Process) {
        assert_eq!(download.await_exit_code(), 0, "{:#?}", download.log());
        let log = download.log();
        let names: Vec<_> = self.library.names().map(str::to_owned).collect();
        checks::nothing_wrong(folder, &self.library);
        checks::nothing_lost(folder, &names);
        checks::nothing_left_over(folder);
        checks::clean(&log);
    }
}

fn source<'a>(world: &'a World, registry: &Registry) -> PeerPlan<'a> {
    world.peer(SOURCE, registry.address).flag("--verbose")
}

/// Makes a folder empty.
pub(crate) fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}
