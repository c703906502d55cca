//! Rows 43, 50 and 51: file systems that lack locks, links, a renaming that never replaces, or
//! time stamps that tell each change; and that die.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use kit::{Missing, Need, Peer, PeerPlan, World, await_until, is_root, tools};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::process::{Pid, Signal, kill_process};

use crate::checks;
use crate::disk::Mount;
use crate::place::{DOWNLOADER, Library, Place, SOURCE};
use crate::strace::{self, STRACE};

pub(crate) static EXFAT: Need = Need::new(|| {
    is_root()?;
    tools(&["mkfs.exfat", "mount.exfat-fuse"])?;
    Mount::exfat().map(drop).map_err(|error| Missing::Kernel("mounts of exFAT by FUSE", error))
});
static SMALL_INODES: Need = Need::new(|| {
    is_root()?;
    tools(&["mkfs.ext4"])?;
    Mount::small_inodes().map(drop).map_err(|error| Missing::Kernel("mounts of ext4", error))
});
static FORBIDDEN: Need = Need::new(|| is_root().and_then(|()| strace::can_inject()));
static MEMORY: Need = Need::new(|| {
    is_root()?;
    tools(&["python3"])?;
    Mount::in_memory(1 << 20).map(drop).map_err(|error| Missing::Kernel("mounts of tmpfs", error))
});
kit::tests! {
    EXFAT:
        files_come_to_exfat_and_replace_nothing,
        two_wanted_names_that_are_one_file_there_are_never_both_fetched,
        stamps_that_are_set_back_hide_no_change_from_the_next_start,
        a_file_system_that_dies_is_told_and_its_offers_end;
    SMALL_INODES:
        two_changes_within_one_time_stamp_are_told_apart;
    MEMORY:
        what_changes_in_mapped_memory_is_sent_as_it_is,
        what_is_mounted_in_a_simulated_folder_is_not_emptied;
    FORBIDDEN:
        what_is_mounted_there_is_not_emptied_where_the_kernel_does_not_tell;
    STRACE:
        files_come_where_nothing_can_be_locked_and_partial_files_of_others_stay,
        a_simulated_folder_is_made_and_emptied_where_nothing_can_be_locked;
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

/// Row 41: whatever is done on a conflict, and whichever name comes first.
fn two_wanted_names_that_are_one_file_there_are_never_both_fetched() {
    let world = World::new();
    let (one, other) = ("Read \u{e9}.txt", "READ \u{c9}.TXT");
    let _share =
        world.share("mine", &[(one, b"one"), (other, b"other"), ("same", b""), ("SAME", b"")]);
    for (how, names, code) in [
        ("fail", [one, other], 10),
        ("skip", [one, other], 10),
        ("replace", [one, other], 10),
        ("replace", [other, one], 10),
        ("fail", ["same", "SAME"], 10),
        ("rename", [one, other], 0),
    ] {
        let disk = Mount::exfat().unwrap();
        let folder = disk.path().to_str().unwrap();
        let line = ["get", names[0], names[1], "-o", folder, "--on-conflict", how];
        let get = world.start(&line);
        get.ends_with(code);
        let there: Vec<_> = fs::read_dir(disk.path()).unwrap().map(Result::unwrap).collect();
        let fetched = usize::from(code == 0) + 1;
        assert_eq!(there.len(), fetched, "{how} {names:?}: {there:?}");
        assert_eq!(get.count_in_log("verified "), fetched, "{how}: {}", get.said());
        if code != 0 {
            let told = "another wanted file stands there";
            assert!(
                names.iter().any(|name| get.has_said(&format!("{name} cannot be fetched: {told}")))
            );
        }
    }
    // A file that was removed just now is remembered by the kernel under the other name for a while.
    let disk = Mount::exfat().unwrap();
    for round in 0..4 {
        let get = ["get", "same", "SAME", "-o", disk.path().to_str().unwrap()];
        let get = world.start(&[&get[..], &["--on-conflict", "skip"]].concat());
        get.ends_with(10);
        assert_eq!(get.count_in_log("verified "), 1, "{round}: {}", get.said());
        for there in fs::read_dir(disk.path()).unwrap() {
            fs::remove_file(there.unwrap().path()).unwrap();
        }
    }
    // What stood there before is no wanted file.
    let disk = Mount::exfat().unwrap();
    fs::write(disk.path().join("read \u{e9}.TXT"), b"theirs").unwrap();
    let line = ["get", one, "-o", disk.path().to_str().unwrap(), "--on-conflict", "replace"];
    world.start(&line).ends_with(0);
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 1);
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

fn a_simulated_folder_is_made_and_emptied_where_nothing_can_be_locked() {
    let world = World::new();
    fs::create_dir_all(world.path().join("initial_peer_folders/peer-1")).unwrap();
    let log = world.path().join("trace");
    for error in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        let launcher = strace::failing_always(&log, "flock", error);
        let peer = world.peer(1).under(launcher).start_simulated();
        assert!(strace::injected_in(&log).is_some(), "nothing was to be locked");
        assert!(!peer.holds("other"), "{error}");
        fs::write(peer.path_of("other"), b"of the last run").unwrap();
        peer.stop();
    }
}

fn has_all_and_is_emptied(place: &Place, folder: &Path) {
    place.has_all(folder);
    fs::remove_dir_all(folder).unwrap();
}

/// A peer that fetches the file gets this, whatever was sent before.
#[track_caller]
fn is_fetched_as(world: &World, id: u32, content: &[u8]) {
    let download = world.peer(id).wants("file").start();
    download.await_file("file", content);
    download.stop();
}

fn source_in(world: &World, folder: &Path) -> Peer {
    let caches = world.path().join("caches");
    let source = world.peer(SOURCE).shares(folder.to_owned()).cache(&caches).start();
    world.await_offer(SOURCE, "file");
    source
}

/// On exFAT the time of change is that of modification, which anyone may set.
fn stamps_that_are_set_back_hide_no_change_from_the_next_start() {
    let disk = Mount::exfat().unwrap();
    let world = World::new();
    let path = disk.path().join("file");
    let long_ago = Timespec { tv_sec: 1_577_836_800, tv_nsec: 0 };
    let times = Timestamps { last_access: long_ago, last_modification: long_ago };
    let write = |content: &[u8]| {
        let file = File::options().create(true).write(true).truncate(false).open(&path).unwrap();
        file.write_all_at(content, 0).unwrap();
        drop(file);
        utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
    };
    let [old, new] = [b'a', b'b'].map(|byte| vec![byte; 100_000]);
    write(&old);
    let before = stamps(&path);
    let source = source_in(&world, disk.path());
    is_fetched_as(&world, 2, &old);
    source.stop();
    write(&new);
    assert_eq!(stamps(&path), before);
    let source = source_in(&world, disk.path());
    is_fetched_as(&world, 3, &new);
    // The same while it runs, as the kernel tells.
    write(&old);
    assert_eq!(stamps(&path), before);
    is_fetched_as(&world, 4, &old);
    source.stop();
}

fn stamps(path: &Path) -> [i64; 4] {
    let there = fs::metadata(path).unwrap();
    [there.mtime(), there.mtime_nsec(), there.ctime(), there.ctime_nsec()]
}

fn two_changes_within_one_time_stamp_are_told_apart() {
    let disk = Mount::small_inodes().unwrap();
    let world = World::new();
    let path = disk.path().join("file");
    fs::write(&path, b"first").unwrap();
    let source = source_in(&world, disk.path());
    // Until both fall within one second.
    await_until("both changes have one stamp", || {
        await_until("a second begins", || {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.subsec_millis() < 100
        });
        fs::write(&path, vec![b'a'; 5000]).unwrap();
        let before = stamps(&path);
        world.await_offer(SOURCE, "file");
        File::options().write(true).open(&path).unwrap().write_all_at(&[b'b'; 5000], 0).unwrap();
        stamps(&path) == before
    });
    is_fetched_as(&world, 2, &[b'b'; 5000]);
    source.stop();
    let again = source_in(&world, disk.path());
    is_fetched_as(&world, 3, &[b'b'; 5000]);
    again.stop();
}

/// Changes the first byte of a file in mapped memory to each that it reads, and says so.
const MAPPER: &str = r#"
import mmap, sys
with open(sys.argv[1], "r+b") as file:
    mapped = mmap.mmap(file.fileno(), 0)
for line in sys.stdin:
    mapped[0] = ord(line[0])
    print("changed", flush=True)
"#;

struct Mapper {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Mapper {
    fn of(path: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", MAPPER]).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn write(&mut self, byte: char) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{byte}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "changed\n");
    }

    /// The file is closed and mapped no more.
    fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// On tmpfs nothing shows of any but the first change.
fn what_changes_in_mapped_memory_is_sent_as_it_is() {
    let disk = Mount::in_memory(1 << 20).unwrap();
    let world = World::new();
    let path = disk.path().join("file");
    fs::write(&path, b"-bytes").unwrap();
    let mut mapper = Mapper::of(&path);
    mapper.write('0');
    let before = stamps(&path);
    let source = source_in(&world, disk.path());
    is_fetched_as(&world, 2, b"0bytes");
    // The download that is refused first brings it to light.
    mapper.write('1');
    is_fetched_as(&world, 3, b"1bytes");
    // The close does.
    mapper.write('2');
    mapper.end();
    is_fetched_as(&world, 4, b"2bytes");
    assert_eq!(stamps(&path), before, "something showed of it");

    let mut mapper = Mapper::of(&path);
    mapper.write('3');
    let before = stamps(&path);
    is_fetched_as(&world, 5, b"3bytes");
    source.stop();
    mapper.write('4');
    mapper.end();
    assert_eq!(stamps(&path), before, "something showed of it");
    let again = source_in(&world, disk.path());
    is_fetched_as(&world, 6, b"4bytes");
    again.stop();
}

/// A folder or a file that stands at a second place, too.
struct Bound<'a>(&'a Path);

impl<'a> Bound<'a> {
    fn new(source: &Path, point: &'a Path) -> Self {
        let bound = Command::new("mount").arg("--bind").args([source, point]).status().unwrap();
        assert!(bound.success());
        Self(point)
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        // Before anybody removes what it stands in.
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

fn what_is_mounted_in_a_simulated_folder_is_not_emptied() {
    mounts_are_left_alone(&World::new(), |peer| peer);
}

/// A kernel, or a container, without the call that tells of mounts.
fn what_is_mounted_there_is_not_emptied_where_the_kernel_does_not_tell() {
    for error in ["ENOSYS", "EPERM"] {
        let world = World::new();
        let log = world.path().join("trace");
        let under = |peer: PeerPlan| peer.under(strace::failing_always(&log, "openat2", error));
        mounts_are_left_alone(&world, under);
        assert!(strace::injected_in(&log).is_some(), "nothing was to be opened");
    }
}

fn mounts_are_left_alone(world: &World, under: impl Fn(PeerPlan) -> PeerPlan) {
    world.peer(1).start_simulated().stop();
    let peer = world.path().join("peer-1");
    let home = world.folder("home", &[("precious", b"precious")]);
    fs::create_dir_all(home.join("inner")).unwrap();
    let (folder, file) = (peer.join("a/folder"), peer.join("a/file"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(&file, b"").unwrap();
    for (source, point) in [(&home, &folder), (&home.join("precious"), &file)] {
        let bound = Bound::new(source, point);
        let refused = under(world.peer(1)).launch_simulated();
        let (code, said) = (refused.await_exit_code(), refused.said());
        assert!(home.join("precious").exists() && home.join("inner").exists(), "{said}");
        assert_eq!(code, 9, "{said}");
        let named = point.strip_prefix(world.path()).unwrap().display();
        let told = format!("{named} is a mount point, so it is not removed");
        assert!(said.contains(&told), "{said}");
        drop(bound);
        fs::create_dir_all(&folder).unwrap();
        fs::write(&file, b"").unwrap();
    }
    under(world.peer(1)).start_simulated().stop();
    assert!(!folder.exists() && !file.exists());
}

fn a_file_system_that_dies_is_told_and_its_offers_end() {
    let disk = Mount::exfat().unwrap();
    let world = World::new();
    fs::write(disk.path().join("file"), b"bytes").unwrap();
    let source = source_in(&world, disk.path());
    kill_process(server_of(disk.path()), Signal::KILL).unwrap();
    source.process.await_log("the shared folder is gone: its file system failed");
    let other = world.peer(2).has("mark", b"x").start();
    world.names_offered(2, "mark");
    assert!(world.take_offers().iter().all(|(peer, _)| *peer == other.id), "it is still offered");
    source.process.assert_running();
    source.stop();
    checks::clean(&source.process.log());
}

/// The process that serves a file system of FUSE.
fn server_of(point: &Path) -> Pid {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let number = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let command = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let mut arguments = command.split(|byte| *byte == 0);
        let is_it = arguments.next()?.ends_with(b"mount.exfat-fuse")
            && arguments.any(|argument| argument == point.as_os_str().as_encoded_bytes());
        is_it.then(|| Pid::from_raw(number)).flatten()
    });
    processes.last().unwrap()
}
