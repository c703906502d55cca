//! Row 51: file systems that lack locks, links, or a renaming that never replaces.

use std::fs;
use std::path::Path;

use kit::{Missing, Need, is_root, tools};

use crate::checks;
use crate::disk::Mount;
use crate::place::{DOWNLOADER, Library, Place};
use crate::strace::{self, STRACE};

static EXFAT: Need = Need::new(|| {
    is_root()?;
    tools(&["mkfs.exfat", "mount.exfat-fuse"])?;
    Mount::exfat().map(drop).map_err(|error| Missing::Kernel("mounts of exFAT by FUSE", error))
});
kit::tests! {
    EXFAT:
        files_come_to_exfat_and_replace_nothing;
    STRACE:
        files_come_where_nothing_can_be_locked_and_partial_files_of_others_stay;
}

/// There is neither a renaming that never replaces nor a link.
fn files_come_to_exfat_and_replace_nothing() {
    let disk = Mount::exfat().unwrap();
    let place = Place::new(Library::of_all_sizes());
    let to_disk = || place.downloader(DOWNLOADER).shares(disk.path().to_owned());
    fs::write(disk.path().join("file-0"), b"theirs").unwrap();
    let download = to_disk().launch();
    assert_eq!(checks::named_end(&download), 0, "{:#?}", download.log());
    assert_eq!(fs::read(disk.path().join("file-0")).unwrap(), b"theirs");
    fs::remove_file(disk.path().join("file-0")).unwrap();
    place.fetches_all(disk.path(), to_disk().launch());
}

fn files_come_where_nothing_can_be_locked_and_partial_files_of_others_stay() {
    let place = Place::new(Library::of_all_sizes());
    let folder = place.folder();
    for error in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        fs::create_dir_all(&folder).unwrap();
        let theirs = folder.join(".p2pfs-1-0.partial");
        fs::write(&theirs, b"theirs").unwrap();
        let log = place.world.path().join("trace");
        let launcher = strace::failing_always(&log, "flock", error);
        let download = place.downloader(DOWNLOADER).under(launcher).launch();
        assert_eq!(checks::named_end(&download), 0, "{error}: {:#?}", download.log());
        assert!(strace::injected_in(&log).is_some(), "nothing was to be locked");
        assert_eq!(fs::read(&theirs).unwrap(), b"theirs", "{error}");
        fs::remove_file(theirs).unwrap();
        has_all_and_is_emptied(&place, &folder);
    }
}

fn has_all_and_is_emptied(place: &Place, folder: &Path) {
    place.has_all(folder);
    fs::remove_dir_all(folder).unwrap();
}
