//! Rows 20, 21 and 32: what stands in the shared folder, or in its place, by surprise.
//! Nothing blocks on it, nothing replaces it, and nothing is written through it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use kit::messages::digest_of;
use kit::{FakeSource, Heard, Peer, RawDownloader, World, content};
use kit::{Missing, NOTHING, Need, is_root, quantity};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::checks;
use crate::place::{DOWNLOADER, Library, Place, SOURCE, empty};
use crate::rounds::{Moment, choices, play};
use crate::strace::{self, STRACE};

const SPARSE_BYTES: u64 = 1 << 40;

/// The kinds of things that a folder can hold beside files and folders.
const ODD_KINDS: [&str; 5] = ["link", "dangling", "fifo", "socket", "device"];

/// Puts one there. The socket is one that nobody serves any more.
fn put_odd(kind: &str, secret: &Path, path: &Path) {
    let node = |kind, device| mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
    match kind {
        "link" => symlink(secret, path).unwrap(),
        "dangling" => symlink("nowhere", path).unwrap(),
        "fifo" => node(FileType::Fifo, 0),
        "socket" => drop(UnixListener::bind(path).unwrap()),
        // An endless one: /dev/zero.
        "device" => node(FileType::CharacterDevice, makedev(1, 5)),
        kind => panic!("{kind} is no kind"),
    }
}

/// What stands there is what was put there.
#[track_caller]
fn assert_untouched(kind: &str, secret: &Path, path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    let found = fs::symlink_metadata(path).unwrap().file_type();
    let leads_to = |target: &Path| fs::read_link(path).unwrap() == target;
    assert!(match kind {
        "link" => leads_to(secret),
        "dangling" => leads_to(Path::new("nowhere")),
        "fifo" => found.is_fifo(),
        "socket" => found.is_socket(),
        _ => found.is_char_device(),
    });
    assert_eq!(fs::read(secret).unwrap(), b"secret");
    assert!(!path.with_file_name("nowhere").exists());
}

fn secret_in(world: &World) -> PathBuf {
    let secret = world.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    secret
}

static DEVICES: Need = Need::new(|| {
    is_root()?;
    let folder = tempfile::tempdir().unwrap();
    let (path, mode) = (folder.path().join("device"), Mode::from_raw_mode(0o600));
    let made = mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5));
    made.map_err(|error| Missing::Kernel("devices that may be made", error.to_string()))
});
kit::tests! {
    DEVICES:
        odd_things_are_not_offered_and_a_huge_sparse_file_is,
        a_file_that_becomes_something_odd_is_refused,
        what_stands_under_a_final_name_stays,
        what_stands_under_a_partial_name_stays;
    NOTHING:
        a_file_that_comes_under_the_next_partial_name_stays,
        a_folder_replaced_by_a_link_is_written_to_where_it_went,
        a_folder_that_was_removed_fails_the_transfer,
        a_folder_that_comes_and_goes_is_always_the_one_first_opened,
        a_race_for_the_final_name;
    STRACE:
        a_folder_is_followed_without_being_told_of_changes;
}

fn odd_things_are_not_offered_and_a_huge_sparse_file_is() {
    let world = World::new();
    let secret = secret_in(&world);
    let plan = world.peer(SOURCE).has("small", b"small");
    let folder = world.shared_folder(SOURCE);
    ODD_KINDS.iter().for_each(|kind| put_odd(kind, &secret, &folder.join(kind)));
    File::create(folder.join("huge")).unwrap().set_len(SPARSE_BYTES).unwrap();
    let source = plan.start();

    let offered: Vec<_> = world.names_offered(SOURCE, "small").into_iter().collect();
    assert_eq!(offered, ["huge", "small"]);
    for kind in ODD_KINDS {
        assert_eq!(RawDownloader::connect(source.address).fetch(kind), None, "{kind}");
        assert_untouched(kind, &secret, &folder.join(kind));
    }
    let mut huge = RawDownloader::connect(source.address);
    huge.request("huge");
    let Heard::Chunk(data) = huge.listen() else { panic!("the sparse file is not sent") };
    assert!(!data.is_empty() && data.iter().all(|&byte| byte == 0));
    // While the huge one is hashed and sent, all else goes on.
    let small = RawDownloader::connect(source.address).fetch("small");
    assert_eq!(small, Some((b"small".to_vec(), digest_of(b"small"))));
    source.stop();
    checks::clean(&source.process.log());
}

fn a_file_that_becomes_something_odd_is_refused() {
    let world = World::new();
    let secret = secret_in(&world);
    let folder = world.shared_folder(SOURCE);
    let plan = world.peer(SOURCE).has("small", b"small");
    let source = ODD_KINDS.iter().fold(plan, |plan, kind| plan.has(kind, b"public")).start();
    for kind in ODD_KINDS {
        let path = folder.join(kind);
        assert!(RawDownloader::connect(source.address).fetch(kind).is_some());
        fs::remove_file(&path).unwrap();
        put_odd(kind, &secret, &path);
        assert_eq!(RawDownloader::connect(source.address).fetch(kind), None, "{kind}");
    }
    assert!(RawDownloader::connect(source.address).fetch("small").is_some());
    source.stop();
}

fn what_stands_under_a_final_name_stays() {
    let place = Place::new(Library::new(&[100_000]));
    let secret = secret_in(&place.world);
    fs::create_dir_all(place.folder()).unwrap();
    let path = place.folder().join("file-0");
    for kind in ODD_KINDS {
        put_odd(kind, &secret, &path);
        let download = place.downloader(DOWNLOADER).launch();
        assert_eq!(checks::named_end(&download), 9, "{kind}: {:#?}", download.log());
        assert_untouched(kind, &secret, &path);
        checks::nothing_left_over(&place.folder());
        fs::remove_file(&path).unwrap();
    }
}

fn what_stands_under_a_partial_name_stays() {
    let place = Place::new(Library::new(&[100_000, 100_000]));
    let secret = secret_in(&place.world);
    let (folder, made) = (place.folder(), place.world.path().join("made"));
    fs::create_dir_all(&folder).unwrap();
    fs::create_dir(&made).unwrap();
    ODD_KINDS.iter().for_each(|kind| put_odd(kind, &secret, &made.join(kind)));
    // The names hold the number of the process, which only the process itself knows.
    let script = ODD_KINDS.iter().enumerate().fold(String::new(), |script, (n, kind)| {
        script + &format!("mv made/{kind} shared-{DOWNLOADER}/.p2pfs-$$-{n}.partial && ")
    });
    let launcher = ["sh", "-c", &format!("{script}exec \"$@\""), "sh"];
    let download = place.downloader(DOWNLOADER).under(launcher).launch();
    let pid = download.pid().as_raw_nonzero();
    assert_eq!(checks::named_end(&download), 0);
    let names: Vec<_> = place.library.names().map(str::to_owned).collect();
    checks::nothing_lost(&folder, &names);
    checks::nothing_wrong(&folder, &place.library);
    for (n, kind) in ODD_KINDS.into_iter().enumerate() {
        assert_untouched(kind, &secret, &folder.join(format!(".p2pfs-{pid}-{n}.partial")));
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), names.len() + ODD_KINDS.len());
}

fn a_file_that_comes_under_the_next_partial_name_stays() {
    let world = World::new();
    let download = world.peer(DOWNLOADER).wants("file").start();
    let pid = download.process.pid().as_raw_nonzero();
    let theirs = download.path_of(&format!(".p2pfs-{pid}-0.partial"));
    fs::write(&theirs, b"theirs").unwrap();
    let file = content(1, 100_000);
    let _source = world.peer(SOURCE).has("file", &file).start();
    download.await_file("file", &file);
    download.stop();
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    assert_eq!(download.hidden_files(), [theirs]);
}

/// A download that stands still in the middle until the barrier is passed.
fn held_download(world: &World) -> (FakeSource, Peer, Arc<Barrier>) {
    let (file, gate) = (content(1, 200_000), Arc::new(Barrier::new(2)));
    let source = FakeSource::start(world, SOURCE, "file", {
        let gate = Arc::clone(&gate);
        move |stream| {
            FakeSource::send(stream, &file[..100_000]);
            gate.wait();
            FakeSource::send(stream, &file[100_000..])
                && FakeSource::send_eof(stream, &digest_of(&file))
        }
    });
    let download = world.peer(DOWNLOADER).wants("file").until_done().start();
    download.await_partial(100_000);
    (source, download, gate)
}

fn a_folder_replaced_by_a_link_is_written_to_where_it_went() {
    let world = World::new();
    let (_source, download, gate) = held_download(&world);
    let (folder, moved) = (world.shared_folder(DOWNLOADER), world.path().join("moved"));
    let elsewhere = world.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&folder, &moved).unwrap();
    symlink(&elsewhere, &folder).unwrap();
    gate.wait();
    assert_eq!(checks::named_end(&download.process), 0);
    assert!(fs::read(moved.join("file")).unwrap() == content(1, 200_000));
    assert_eq!(fs::read_dir(&moved).unwrap().count(), 1);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

fn a_folder_that_was_removed_fails_the_transfer() {
    let world = World::new();
    let (_source, download, gate) = held_download(&world);
    let folder = world.shared_folder(DOWNLOADER);
    fs::remove_dir_all(&folder).unwrap();
    gate.wait();
    assert_eq!(checks::named_end(&download.process), 8, "{:#?}", download.process.log());
    assert!(!folder.exists());
}

fn a_folder_that_comes_and_goes_is_always_the_one_first_opened() {
    let place = Place::new(Library::of_all_sizes());
    let (folder, aside) = (place.folder(), place.world.path().join("aside"));
    let elsewhere = place.world.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let download = place.downloader(DOWNLOADER).start();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                fs::rename(&folder, &aside).unwrap();
                symlink(&elsewhere, &folder).unwrap();
                fs::remove_file(&folder).unwrap();
                fs::rename(&aside, &folder).unwrap();
            }
        });
        let process = download.process;
        let code = checks::named_end(&process);
        is_over.store(true, Ordering::Relaxed);
        swapping.join().unwrap();
        assert_eq!(code, 0);
    });
    place.has_all(&folder);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// Someone else takes the final name at some moment of the download, with a file, a link
/// or a folder. The first to come has it.
fn a_race_for_the_final_name() {
    let races = quantity("P2PFS_RACES", 30);
    let theirs_first = AtomicBool::new(false);
    let prepare = || {
        let place = Place::new(Library::new(&[1_500_000]));
        let (span, secret) = (place.usual_span(), secret_in(&place.world));
        (place, span, secret)
    };
    play(races, prepare, |(place, span, secret), round| {
        let mut choices = choices(round);
        let path = place.folder().join("file-0");
        // From here on it has looked at what is there already.
        let process = place.downloader(DOWNLOADER).start().process;
        Moment::draw(&mut choices, *span, 1).wait(&process, &place.folder());
        let kind = choices.choice(["file", "link", "folder"]).unwrap();
        let taken = take(kind, secret, &path);
        let code = checks::named_end(&process);
        checks::nothing_left_over(&place.folder());
        let is_untouched = fs::read(&*secret).unwrap() == b"secret";
        assert!(is_untouched);
        match taken {
            Ok(()) => {
                theirs_first.store(true, Ordering::Relaxed);
                // What comes before the file is sought is shared: it is there already.
                let is_there = code == 0 && process.has_said("file-0 is already there");
                assert!(code == 9 || is_there, "{code} {:#?}", process.log());
                let found = fs::symlink_metadata(&path).unwrap();
                let is_theirs = match kind {
                    "file" => found.is_file() && found.len() == 0,
                    "link" => found.is_symlink(),
                    _ => found.is_dir() && fs::read_dir(&path).unwrap().next().is_none(),
                };
                assert!(is_theirs);
            }
            Err(error) => {
                assert_eq!((error.kind(), code), (io::ErrorKind::AlreadyExists, 0));
                checks::nothing_wrong(&place.folder(), &place.library);
            }
        }
        empty(&place.folder());
    });
    assert!(theirs_first.into_inner(), "the race was never one");
}

fn take(kind: &str, secret: &Path, path: &Path) -> io::Result<()> {
    match kind {
        "file" => File::create_new(path).map(drop),
        "link" => symlink(secret, path),
        _ => fs::create_dir(path),
    }
}

/// The kernel has no inotify descriptor left: the folder is looked at from time to time.
fn a_folder_is_followed_without_being_told_of_changes() {
    let world = World::new();
    let log = world.path().join("trace");
    let call = strace::Call { name: "inotify_init1".to_owned(), nth: 1 };
    let launcher = strace::injecting(&log, &call, strace::Fault::Error("EMFILE"));
    let plan = world.peer(SOURCE).has("old", b"old").has("other", b"x");
    let source = plan.under(launcher).start();
    world.await_offer(SOURCE, "old");
    assert!(strace::injected_in(&log).is_some(), "inotify was not asked for");

    let file = content(1, 100_000);
    let downloader = world.peer(DOWNLOADER).wants("new").start();
    fs::write(source.path_of("new"), &file).unwrap();
    fs::remove_file(source.path_of("old")).unwrap();
    downloader.await_file("new", &file);
    let names = world.names_offered(SOURCE, "new");
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["new", "other"]);
}
