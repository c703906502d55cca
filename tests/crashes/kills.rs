//! Row 10: `kill -9` at any moment, on either side. A final name is absent or right;
//! whatever else is left behind goes at the next start; everything arrives in the end.

use std::fmt;
use std::fs;
use std::ops::AddAssign;
use std::sync::Mutex;
use std::time::Duration;

use crate::checks::{self, Snapshot};
use crate::harness::{Process, Signal};
use crate::place::{DOWNLOADER, Library, Place, empty};
use crate::rounds::{Moment, choices, play, quantity, tell};

/// A downloader dies this often in one round at most, so that leftovers pile up.
const KILLS_PER_ROUND_MAX: usize = 3;

/// What was tried.
#[derive(Default)]
struct Account {
    kills: usize,
    while_running: usize,
    partial_files: usize,
    files_reported: usize,
}

impl AddAssign for Account {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.while_running += other.while_running;
        self.partial_files += other.partial_files;
        self.files_reported += other.files_reported;
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, while_running, partial_files, files_reported } = self;
        write!(f, "{kills} tried, {while_running} of them in the middle, with {partial_files} ")?;
        write!(f, "partial files left behind and {files_reported} files reported; lost 0")
    }
}

struct Site {
    place: Place,
    span: Duration,
}

impl Site {
    fn new() -> Self {
        let place = Place::new(Library::of_all_sizes());
        let span = place.usual_span();
        Self { place, span }
    }
}

/// Rounds on each side, each with one kill or more.
fn rounds() -> usize {
    quantity("P2PFS_KILLS", 16) / 2
}

#[test]
fn a_downloader_is_killed_at_any_moment() {
    let account = Mutex::new(Account::default());
    play(rounds(), Site::new, |site, round| {
        let mut choices = choices(round);
        let folder = site.place.folder();
        let root = site.place.world.folder();
        fs::create_dir_all(&folder).unwrap();
        let before = Snapshot::outside(&folder, root);
        let mut reported = Vec::new();
        for _ in 0..choices.usize(1..=KILLS_PER_ROUND_MAX) {
            let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
            let mut download = site.place.downloader(DOWNLOADER).launch();
            moment.wait(&mut download, &folder);
            let was_running = kill_now(&mut download);
            reported.extend(checks::reported(&download.log()));
            checks::clean(&download.log());
            checks::nothing_wrong(&folder, &site.place.library);
            checks::nothing_lost(&folder, &reported);
            before.nothing_changed(&folder, root);
            *account.lock().unwrap() += Account {
                kills: 1,
                while_running: usize::from(was_running),
                partial_files: checks::partial_sizes(&folder).len(),
                files_reported: 0,
            };
        }
        account.lock().unwrap().files_reported += reported.len();
        site.place.fetches_all(&folder, site.place.downloader(DOWNLOADER).launch());
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
    tell(format_args!("kills of a downloader: {}", account.into_inner().unwrap()));
}

#[test]
fn an_uploader_is_killed_at_any_moment() {
    let account = Mutex::new(Account::default());
    play(rounds(), Site::new, |site, round| {
        let mut choices = choices(round);
        let folder = site.place.folder();
        let root = site.place.world.folder();
        let before = Snapshot::outside(&folder, root);
        let mut download = site.place.downloader(DOWNLOADER).launch();
        let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
        moment.wait(&mut download, &folder);
        let was_running = !download.has_ended();
        kill_now(&mut site.place.source.process);
        let reported = checks::reported(&download.log());
        checks::clean(&site.place.source.process.log());
        checks::nothing_wrong(&folder, &site.place.library);
        checks::nothing_lost(&folder, &reported);
        *account.lock().unwrap() += Account {
            kills: 1,
            while_running: usize::from(was_running),
            partial_files: 0,
            files_reported: reported.len(),
        };
        site.place.source = site.place.another_source().start();
        site.place.fetches_all(&folder, download);
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
    tell(format_args!("kills of an uploader: {}", account.into_inner().unwrap()));
}

/// Kills a process and reads all it had to say; whether it still ran.
fn kill_now(process: &mut Process) -> bool {
    let was_running = !process.has_ended();
    if was_running {
        process.signal(Signal::KILL);
    }
    process.await_exit();
    was_running
}
