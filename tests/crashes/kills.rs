//! Row 10: `kill -9` at any moment, on either side. A final name is absent or right;
//! whatever else is left behind goes at the next start; everything arrives in the end.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::account::{Row, quantity};
use crate::checks::{self, Snapshot};
use crate::harness::{Process, Signal};
use crate::place::{DOWNLOADER, Library, Place, empty};
use crate::rounds::{Moment, choices, play};

/// A downloader dies this often in one round at most, so that leftovers pile up.
const KILLS_PER_ROUND_MAX: usize = 3;

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
    let row = Row::new("10", "kills of a downloader");
    let (in_the_middle, partials) = (AtomicUsize::new(0), AtomicUsize::new(0));
    play(&row, rounds(), Site::new, |site, round| {
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
            in_the_middle.fetch_add(kill_now(&mut download), Ordering::Relaxed);
            row.tried(1);
            reported.extend(checks::reported(&download.log()));
            checks::clean(&download.log());
            checks::nothing_wrong(&folder, &site.place.library);
            checks::nothing_lost(&folder, &reported);
            before.nothing_changed(&folder, root);
            partials.fetch_add(checks::partial_sizes(&folder).len(), Ordering::Relaxed);
        }
        site.place.fetches_all(&folder, site.place.downloader(DOWNLOADER).launch());
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
    let (in_the_middle, partials) = (in_the_middle.into_inner(), partials.into_inner());
    row.note(format_args!("{in_the_middle} in the middle, {partials} partial files left behind"));
}

#[test]
fn an_uploader_is_killed_at_any_moment() {
    let row = Row::new("10", "kills of an uploader");
    let in_the_middle = AtomicUsize::new(0);
    play(&row, rounds(), Site::new, |site, round| {
        let mut choices = choices(round);
        let folder = site.place.folder();
        let root = site.place.world.folder();
        let before = Snapshot::outside(&folder, root);
        let mut download = site.place.downloader(DOWNLOADER).launch();
        let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
        moment.wait(&mut download, &folder);
        in_the_middle.fetch_add(usize::from(!download.has_ended()), Ordering::Relaxed);
        kill_now(&mut site.place.source.process);
        row.tried(1);
        let reported = checks::reported(&download.log());
        checks::clean(&site.place.source.process.log());
        checks::nothing_wrong(&folder, &site.place.library);
        checks::nothing_lost(&folder, &reported);
        site.place.source = site.place.another_source().start();
        site.place.fetches_all(&folder, download);
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
    row.note(format_args!("{} in the middle", in_the_middle.into_inner()));
}

/// Kills a process and reads all it had to say; 1 if it still ran.
fn kill_now(process: &mut Process) -> usize {
    let was_running = !process.has_ended();
    if was_running {
        process.signal(Signal::KILL);
    }
    process.await_exit();
    usize::from(was_running)
}
