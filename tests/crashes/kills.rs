//! Row 10: `kill -9` at any moment, on either side. A final name is absent or right;
//! whatever else is left behind goes at the next start; everything arrives in the end.

use std::fs;
use std::time::Duration;

use kit::quantity;
use kit::{Process, Signal};

use crate::checks::{self, Snapshot};
use crate::place::{DOWNLOADER, Library, Place, empty};
use crate::rounds::{Moment, choices, play};

kit::tests![a_downloader_is_killed_at_any_moment, an_uploader_is_killed_at_any_moment];

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

fn a_downloader_is_killed_at_any_moment() {
    play(rounds(), Site::new, |site, round| {
        let mut choices = choices(round);
        let folder = site.place.folder();
        let root = site.place.world.path();
        fs::create_dir_all(&folder).unwrap();
        let before = Snapshot::outside(&folder, root);
        let mut reported = Vec::new();
        for _ in 0..choices.usize(1..=KILLS_PER_ROUND_MAX) {
            let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
            let download = site.place.downloader(DOWNLOADER).launch();
            moment.wait(&download, &folder);
            kill_now(&download);
            reported.extend(checks::reported(&download.log()));
            checks::clean(&download.log());
            checks::nothing_wrong(&folder, &site.place.library);
            checks::nothing_lost(&folder, &reported);
            before.nothing_changed(&folder, root);
        }
        site.place.fetches_all(&folder, site.place.downloader(DOWNLOADER).launch());
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
}

fn an_uploader_is_killed_at_any_moment() {
    play(rounds(), Site::new, |site, round| {
        let mut choices = choices(round);
        let folder = site.place.folder();
        let root = site.place.world.path();
        let before = Snapshot::outside(&folder, root);
        let download = site.place.downloader(DOWNLOADER).launch();
        let moment = Moment::draw(&mut choices, site.span, site.place.library.len());
        moment.wait(&download, &folder);
        kill_now(&site.place.source.process);
        let reported = checks::reported(&download.log());
        checks::clean(&site.place.source.process.log());
        checks::nothing_wrong(&folder, &site.place.library);
        checks::nothing_lost(&folder, &reported);
        site.place.source = site.place.another_source().start();
        site.place.fetches_all(&folder, download);
        before.nothing_changed(&folder, root);
        empty(&folder);
    });
}

/// Kills a process, if it still runs, and reads all that it had to say.
fn kill_now(process: &Process) {
    if !process.has_ended() {
        process.signal(Signal::KILL);
    }
    process.await_exit();
}
