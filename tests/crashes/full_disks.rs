//! Row 16: disks that are full, read-only or limited. A file that does not fit fails
//! with a named reason and leaves nothing behind; one that fits arrives all the same.

use std::fs;
use std::path::Path;

use kit::{Missing, NOTHING, Need, is_root, tools};
use kit::{PeerPlan, Process, World, content};
use rustix::fs::statvfs;

use crate::checks;
use crate::disk::Mount;
use crate::place::{DOWNLOADER, Library, Place, SOURCE};

const MIB: usize = 1 << 20;
const BYSTANDER: u32 = 3;

pub(crate) static MOUNTS: Need = Need::new(|| {
    is_root()?;
    Mount::in_memory(MIB).map(drop).map_err(|error| Missing::Kernel("mounts of tmpfs", error))
});
static LIMITS: Need = Need::new(|| tools(&["prlimit"]));
kit::tests! {
    MOUNTS:
        a_disk_that_becomes_full,
        the_reserve_is_kept_free,
        a_disk_that_becomes_read_only,
        a_read_only_disk_is_shared;
    LIMITS:
        a_largest_file_that_the_system_allows;
    NOTHING:
        a_largest_file_that_the_user_allows;
}

/// A file that is too large for what it is fetched to, and one that is not.
fn large_and_small() -> Place {
    Place::new(Library::new(&[5 * MIB, 100_000]))
}

/// The small file arrives and the large one does not, for the reason that is expected;
/// a peer that fetches elsewhere gets both.
#[track_caller]
fn only_the_small_one_fits(place: &Place, folder: &Path, plan: PeerPlan, reason: &str) {
    let bystander = place.downloader(BYSTANDER).launch();
    let download = plan.launch();
    assert_eq!(checks::named_end(&download), 10, "{:#?}", download.log());
    ends_with(&download, reason);
    let blames = |line: &String| line.contains("could not give") && line.contains(reason);
    assert!(!download.log().iter().any(blames), "not the peer's fault: {:#?}", download.log());
    assert!(!folder.join("file-0").exists());
    checks::nothing_lost(folder, &["file-1".to_owned()]);
    checks::nothing_wrong(folder, &place.library);
    checks::nothing_left_over(folder);
    place.fetches_all(&place.world.shared_folder(BYSTANDER), bystander);
}

#[track_caller]
fn ends_with(process: &Process, reason: &str) {
    let errors = process.error_lines();
    assert!(errors.len() == 1 && errors[0].ends_with(reason), "{errors:?}");
}

fn a_disk_that_becomes_full() {
    let disk = Mount::in_memory(2 * MIB).unwrap();
    let place = large_and_small();
    let plan = place.downloader(DOWNLOADER).shares(disk.path().to_owned());
    let plan = plan.option("--disk-reserve", "0");
    only_the_small_one_fits(&place, disk.path(), plan, "No space left on device (os error 28)");

    let plan = place.world.peer(DOWNLOADER).wants("file-0");
    let plan = plan.shares(disk.path().to_owned()).option("--disk-reserve", "0");
    let alone = plan.until_done().launch();
    assert_eq!(checks::named_end(&alone), 8, "{:#?}", alone.log());
    checks::nothing_left_over(disk.path());
}

fn the_reserve_is_kept_free() {
    const KEPT_FREE: &str = "make room, or lower --disk-reserve";
    let disk = Mount::in_memory(8 * MIB).unwrap();
    let place = large_and_small();
    let to_disk = || place.downloader(DOWNLOADER).shares(disk.path().to_owned());
    // By default it is half of a disk so small.
    for (kept, plan) in [("4", to_disk()), ("6", to_disk().option("--disk-reserve", "6MiB"))] {
        only_the_small_one_fits(&place, disk.path(), plan, KEPT_FREE);
        let free = statvfs(disk.path()).unwrap();
        assert!(free.f_bavail * free.f_frsize > 7 << 20, "all but the small file is free again");
        fs::remove_file(disk.path().join("file-1")).unwrap();

        let plan = place.world.peer(DOWNLOADER).wants("file-0").until_done();
        let reserve = format!("{kept}MiB");
        let plan = plan.shares(disk.path().to_owned()).option("--disk-reserve", &reserve);
        let alone = plan.launch();
        assert_eq!(checks::named_end(&alone), 8, "{:#?}", alone.log());
        let log = alone.log();
        let told: Vec<_> = log.iter().filter(|line| line.contains("the disk is full")).collect();
        let folder = disk.path().to_string_lossy();
        let names_all = |line: &str| {
            line.contains(&*folder) && line.contains(&format!("{kept}.00 MiB are kept free"))
        };
        assert!(told.len() <= 2 && told.iter().all(|line| names_all(line)), "{log:#?}");
        assert_eq!(log.iter().filter(|line| line.contains("downloading file-0")).count(), 1);
    }

    place.fetches_all(disk.path(), to_disk().option("--disk-reserve", "2MiB").launch());
}

fn a_largest_file_that_the_system_allows() {
    let place = large_and_small();
    let limited = ["prlimit", "--fsize=1000000"];
    let plan = place.downloader(DOWNLOADER).under(limited);
    only_the_small_one_fits(&place, &place.folder(), plan, "File too large (os error 27)");
}

fn a_largest_file_that_the_user_allows() {
    let place = large_and_small();
    let plan = place.world.peer(DOWNLOADER).wants("file-0").wants("file-1");
    let download = plan.option("--max-file-size", "1M").start();
    let small = place.library.content("file-1").unwrap();
    download.await_file("file-1", small);
    download.process.await_log("larger than --max-file-size");
    download.stop();
    assert!(!download.holds("file-0") && download.hidden_files().is_empty());
}

fn a_disk_that_becomes_read_only() {
    let disk = Mount::in_memory(8 * MIB).unwrap();
    let world = World::new();
    let downloader = || {
        let plan = world.peer(DOWNLOADER).shares(disk.path().to_owned());
        plan.wants("file").option("--disk-reserve", "0").until_done()
    };
    let first = downloader().start();
    disk.make_read_only().unwrap();
    let second = world.peer(BYSTANDER).wants("file").start();
    let file = content(1, 100_000);
    let _source = world.peer(SOURCE).has("file", &file).start();

    cannot_write(&first.process);
    cannot_write(&downloader().launch());
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    second.await_file("file", &file);
}

#[track_caller]
fn cannot_write(download: &Process) {
    assert_eq!(checks::named_end(download), 8, "{:#?}", download.log());
    ends_with(download, "Read-only file system (os error 30)");
}

fn a_read_only_disk_is_shared() {
    let disk = Mount::in_memory(8 * MIB).unwrap();
    let file = content(1, 100_000);
    fs::write(disk.path().join("file"), &file).unwrap();
    disk.make_read_only().unwrap();
    let world = World::new();
    let source = world.peer(SOURCE).shares(disk.path().to_owned());
    let source = source.start();
    let download = world.peer(DOWNLOADER).wants("file").start();
    download.await_file("file", &file);
    source.stop();
}
