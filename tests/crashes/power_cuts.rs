//! Row 17: the power goes at any moment. No empty, short or wrong file stands under a
//! final name afterwards, and whatever was reported as done is there.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::{Missing, Need, is_root, quantity, tools};
use kit::{PeerPlan, Process, Signal, await_until};

use crate::checks;
use crate::disk::Disk;
use crate::place::{DOWNLOADER, Library, Place, empty};
use crate::rounds::{Moment, choices, play};

/// A place whose downloader fetches to a disk that can lose its power. The processes
/// that use the disk end before it does.
struct Site {
    place: Place,
    disk: Disk,
    span: Duration,
}

impl Site {
    fn new() -> Self {
        let mut site = Self::with(Library::of_all_sizes());
        let begin = Instant::now();
        site.place.fetches_all(&site.folder(), site.downloader().launch());
        site.span = begin.elapsed();
        empty(&site.folder());
        site
    }

    fn with(library: Library) -> Self {
        let disk = Disk::new().unwrap();
        let site = Self { place: Place::new(library), disk, span: Duration::ZERO };
        fs::create_dir(site.folder()).unwrap();
        site
    }

    fn folder(&self) -> PathBuf {
        self.disk.path().join("shared")
    }

    fn downloader(&self) -> PeerPlan {
        let plan = self.place.downloader(DOWNLOADER).shares(self.folder());
        plan.option("--disk-reserve", "0")
    }

    /// Makes sure that the folder itself survives, and what is in it so far.
    fn sync(&self) {
        File::open(self.folder()).unwrap().sync_all().unwrap();
        File::open(self.disk.path()).unwrap().sync_all().unwrap();
    }

    /// Cuts the power under a download, and restores it once the download is dead. Gives
    /// what the download had reported by then.
    fn cut_and_restore(&mut self, download: Process) -> Vec<String> {
        self.disk.cut().unwrap();
        if !download.has_ended() {
            download.signal(Signal::KILL);
        }
        let status = download.await_exit();
        checks::clean(&download.log());
        self.disk.restore();
        match status.code() {
            Some(0) => self.place.library.names().map(str::to_owned).collect(),
            _ => checks::reported(&download.log()),
        }
    }
}

pub(crate) static POWER_CUTS: Need = Need::new(|| {
    is_root()?;
    tools(&["mkfs.ext4", "python3"])?;
    Disk::new().map(drop).map_err(|error| Missing::Kernel("ext4 that can be cut off", error))
});
kit::tests! {
    POWER_CUTS:
        whatever_was_reported_survives_and_nothing_else_takes_a_name,
        without_sync_the_checks_find_losses,
        without_sync_the_checks_find_empty_files;
}

fn whatever_was_reported_survives_and_nothing_else_takes_a_name() {
    let cuts = quantity("P2PFS_POWER_CUTS", 8);
    play(cuts, Site::new, |site, round| {
        let mut choices = choices(round);
        site.sync();
        let download = site.downloader().launch();
        let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
        moment.wait(&download, &site.folder());
        let reported = site.cut_and_restore(download);
        checks::nothing_wrong(&site.folder(), &site.place.library);
        checks::nothing_lost(&site.folder(), &reported);

        site.place.fetches_all(&site.folder(), site.downloader().launch());
        empty(&site.folder());
    });
}

/// Nothing makes the files of `--no-sync` safe, so the checks have to find them missing.
fn without_sync_the_checks_find_losses() {
    let mut site = Site::with(Library::new(&[100_000, 100]));
    site.sync();
    let download = site.downloader().flag("--no-sync").launch();
    await_until("files are reported", || checks::reported(&download.log()).len() == 2);
    let reported = site.cut_and_restore(download);
    assert_eq!(checks::lost_files(&site.folder(), &reported).len(), 2);
}

/// Here a stranger's fsync takes the names along to the disk, but not the content.
fn without_sync_the_checks_find_empty_files() {
    let mut site = Site::with(Library::new(&[100_000]));
    site.sync();
    let download = site.downloader().flag("--no-sync").launch();
    await_until("the file is reported", || checks::reported(&download.log()).len() == 1);
    let stranger = File::create(site.disk.path().join("stranger")).unwrap();
    stranger.sync_all().unwrap();
    drop(stranger);
    site.cut_and_restore(download);
    let wrong = checks::wrong_files(&site.folder(), &site.place.library);
    assert_eq!(wrong, ["file-0 has 0 bytes, not the right 100000"]);
}
