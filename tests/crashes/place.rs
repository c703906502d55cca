//! Where a round happens: a world with a registry, and a source that has files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kit::{Peer, PeerPlan, Process, World, content};

use crate::checks;

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

/// The place of a round. Its programs end before its folder goes.
pub(crate) struct Place {
    pub(crate) source: Peer,
    pub(crate) library: Library,
    pub(crate) world: World,
}

impl Place {
    pub(crate) fn new(library: Library) -> Self {
        let world = World::new();
        let source = world.peer(SOURCE).flag("--verbose");
        let files = library.names().map(|name| (name, library.content(name).unwrap()));
        let source = files.fold(source, |source, (name, content)| source.has(name, content));
        Self { source: source.start(), library, world }
    }

    /// A source with the same folder as the one that runs.
    pub(crate) fn another_source(&self) -> PeerPlan {
        self.world.peer(SOURCE).flag("--verbose")
    }

    /// A peer that fetches every file into its folder, then ends.
    pub(crate) fn downloader(&self, id: u32) -> PeerPlan {
        self.world.peer(id).until_done().wants_all(self.library.names())
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
    pub(crate) fn fetches_all(&self, folder: &Path, download: Process) {
        assert_eq!(download.await_exit_code(), 0, "{:#?}", download.log());
        self.has_all(folder);
        checks::clean(&download.log());
    }

    /// Every file is there, and nothing else.
    #[track_caller]
    pub(crate) fn has_all(&self, folder: &Path) {
        let names: Vec<_> = self.library.names().map(str::to_owned).collect();
        checks::nothing_wrong(folder, &self.library);
        checks::nothing_lost(folder, &names);
        checks::nothing_left_over(folder);
    }
}

/// Makes a folder empty.
pub(crate) fn empty(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
    fs::create_dir(folder).unwrap();
}
