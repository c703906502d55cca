//! A peer follows its folder: what is added, changed, renamed or removed while it runs
//! is offered, offered anew or no longer offered, and nothing half-written ever is.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::{Peer, RawDownloader, Signal, World, await_until, content};

const NAME: &str = "file";
/// A pause of someone who writes a file, well below what counts as rest.
const WRITER_PAUSE: Duration = Duration::from_millis(300);
/// How long a file rests that a writer has open, but for the last write before it.
const WRITER_REST: Duration = Duration::from_secs(29);

fn log_lines(peer: &Peer, containing: &str) -> usize {
    peer.process.log().iter().filter(|line| line.contains(containing)).count()
}

/// Waits until a peer offers these and nothing else.
#[track_caller]
fn await_offers(world: &World, peer: u32, expected: &[&str]) {
    let expected: BTreeSet<_> = expected.iter().map(|name| (*name).to_owned()).collect();
    let among_them = expected.first().unwrap().clone();
    await_until(&format!("peer {peer} offers {expected:?}"), || {
        world.names_offered(peer, &among_them) == expected
    });
}

#[test]
fn added_while_it_runs() {
    let world = World::new();
    let source = world.peer(1).has("other", b"x").start();
    let downloader = world.peer(2).wants(NAME).start();
    let (whole, moved) = (content(1, 3_000_000), content(2, 100_000));
    fs::write(source.path_of(NAME), &whole).unwrap();
    downloader.await_file(NAME, &whole);

    let aside = world.path().join("aside");
    fs::write(&aside, &moved).unwrap();
    fs::rename(aside, source.path_of("moved")).unwrap();
    let downloader = world.peer(3).wants("moved").start();
    downloader.await_file("moved", &moved);
}

#[test]
fn added_to_simulated_storage() {
    let world = World::new();
    let source = world.peer(1).start_simulated();
    let downloader = world.peer(2).wants(NAME).start();
    fs::write(source.path_of(NAME), b"content").unwrap();
    downloader.await_file(NAME, b"content");
}

/// Writes a file piece by piece while someone waits for it; gives the writer, and what
/// it wrote.
fn write_slowly(world: &World, source: &Peer) -> (File, Vec<u8>) {
    let mut written = Vec::new();
    let mut writer = File::create(source.path_of(NAME)).unwrap();
    for piece in 0..10 {
        let piece = content(piece, 20_000);
        writer.write_all(&piece).unwrap();
        written.extend_from_slice(&piece);
        sleep(WRITER_PAUSE);
    }
    let offers = world.take_offers();
    assert!(!offers.contains(&(source.id, NAME.to_owned())), "half a file is offered");
    (writer, written)
}

#[test]
fn written_slowly_and_closed() {
    let world = World::new();
    let source = world.peer(1).start();
    let downloader = world.peer(2).wants(NAME).start();
    let (writer, written) = write_slowly(&world, &source);
    drop(writer);
    downloader.await_file(NAME, &written);
}

#[test]
fn written_slowly_and_left_open() {
    let world = World::new();
    let source = world.peer(1).start();
    let downloader = world.peer(2).wants(NAME).start();
    let (mut writer, mut written) = write_slowly(&world, &source);
    let paused = Instant::now();
    downloader.await_file(NAME, &written);
    assert!(paused.elapsed() > WRITER_REST, "a writer that pauses is not waited for");

    // Written on, it is no longer offered or sent; once closed it is, as it is then.
    writer.write_all(b"more").unwrap();
    written.extend_from_slice(b"more");
    await_until("the change is seen", || log_lines(&source, "is changing") == 1);
    assert_eq!(RawDownloader::connect(source.address).fetch(NAME), None);
    drop(writer);
    world.await_offer(1, NAME);
    let downloader = world.peer(3).wants(NAME).start();
    // The other one still offers what it fetched.
    await_until("one of the two versions is there", || downloader.holds(NAME));
    let fetched = fs::read(downloader.path_of(NAME)).unwrap();
    assert!(fetched == written || fetched == written[..written.len() - 4], "a mixture");
    downloader.stop();
}

#[test]
fn changed_and_offered_anew() {
    let world = World::new();
    let source = world.peer(1).has(NAME, &content(1, 50_000)).start();
    world.await_offer(1, NAME);
    let new = content(2, 70_000);
    fs::write(source.path_of(NAME), &new).unwrap();
    await_until("it is shared anew", || log_lines(&source, "sharing file") == 1);
    let (received, _) = RawDownloader::connect(source.address).fetch(NAME).unwrap();
    assert!(received == new, "not the new version");
}

#[test]
fn renamed() {
    let world = World::new();
    let file = content(1, 50_000);
    let source = world.peer(1).has("old", &file).has("other", b"x").start();
    world.await_offer(1, "old");
    fs::rename(source.path_of("old"), source.path_of("new")).unwrap();
    await_offers(&world, 1, &["new", "other"]);
    let downloader = world.peer(2).wants("new").start();
    downloader.await_file("new", &file);
}

#[test]
fn removed_and_back_again() {
    let world = World::new();
    let source = world.peer(1).has(NAME, b"one").has("other", b"x").start();
    world.await_offer(1, NAME);
    fs::remove_file(source.path_of(NAME)).unwrap();
    await_offers(&world, 1, &["other"]);
    fs::write(source.path_of(NAME), b"two").unwrap();
    await_offers(&world, 1, &[NAME, "other"]);
    // A folder or a link in its place is not shared either.
    fs::remove_file(source.path_of(NAME)).unwrap();
    std::os::unix::fs::symlink("other", source.path_of(NAME)).unwrap();
    await_offers(&world, 1, &["other"]);
    assert_eq!(log_lines(&source, "not shared: file: not a regular file but a link"), 1);
}

#[test]
fn what_is_fetched_is_not_taken_for_a_change() {
    let world = World::new();
    let file = content(1, 1_000_000);
    let _source = world.peer(1).has(NAME, &file).start();
    let downloader = world.peer(2).wants(NAME).start();
    downloader.await_file(NAME, &file);
    world.await_offer(2, NAME);
    // A change that comes after its events.
    fs::write(downloader.path_of("later"), b"x").unwrap();
    await_until("the later one is shared", || log_lines(&downloader, "sharing later") == 1);
    assert_eq!(log_lines(&downloader, "sharing file"), 0);
    assert_eq!(log_lines(&downloader, "is changing"), 0);
}

#[test]
fn names_that_cannot_be_shared_are_told_and_not_for_ever() {
    let world = World::new();
    let source = world.peer(1).start();
    fs::write(source.path_of("evil\x1b[2J"), b"x").unwrap();
    await_until("it is told", || log_lines(&source, "not shared: evil\\u{1b}[2J: ") == 1);
    for n in 0..2000 {
        fs::write(source.path_of(&format!(".hidden-{n}")), b"x").unwrap();
    }
    fs::write(source.path_of(NAME), b"x").unwrap();
    world.await_offer(1, NAME);
    assert!(log_lines(&source, "not shared: .hidden") < 1500, "a flood of warnings");
}

/// The names of many files.
fn many() -> impl Iterator<Item = String> {
    (0..10_000).map(|n| format!("file {n:05}"))
}

#[test]
fn ten_thousand_at_once() {
    let world = World::new();
    let source = world.peer(1).option("--offer-interval", "5s").start();
    for name in many() {
        fs::write(source.path_of(&name), &name).unwrap();
    }
    let downloader = world.peer(2).wants("file 09999").start();
    downloader.await_file("file 09999", b"file 09999");
    let mut missing: BTreeSet<_> = many().collect();
    await_until("all are offered", || {
        world.take_offers().iter().for_each(|(_, name)| _ = missing.remove(name));
        missing.is_empty()
    });
}

#[test]
fn more_at_once_than_the_kernel_can_tell() {
    let world = World::new();
    let source = world.peer(1).has("old", b"x").has("other", b"x").start();
    world.await_offer(1, "old");
    source.process.signal(Signal::STOP);
    fs::remove_file(source.path_of("old")).unwrap();
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queued_max: usize = queue.trim().parse().unwrap();
    for n in 0..=queued_max {
        // Opened and closed: two events at least.
        drop(OpenOptions::new().create(true).append(true).open(source.path_of("many")).unwrap());
        drop(File::create(source.path_of(if n % 2 == 0 { "even" } else { "odd" })).unwrap());
    }
    fs::remove_file(source.path_of("many")).unwrap();
    fs::write(source.path_of(NAME), b"content").unwrap();
    fs::remove_file(source.path_of("other")).unwrap();
    source.process.signal(Signal::CONT);
    // The last ones were not told: they are found by looking.
    await_offers(&world, 1, &["even", NAME, "odd"]);
    let downloader = world.peer(2).wants(NAME).start();
    downloader.await_file(NAME, b"content");
}

#[test]
fn the_folder_itself_removed() {
    let world = World::new();
    let source = world.peer(1).has(NAME, b"x").has("other", b"x").start();
    world.await_offer(1, NAME);
    fs::remove_dir_all(world.shared_folder(1)).unwrap();
    await_until("it is told", || log_lines(&source, "the shared folder is gone") == 1);
    fs::create_dir(world.shared_folder(1)).unwrap();
    fs::write(source.path_of(NAME), b"elsewhere").unwrap();
    assert_eq!(RawDownloader::connect(source.address).fetch(NAME), None);
    source.process.assert_running();
    world.take_offers();
    let other = world.peer(2).has("mark", b"x").start();
    world.names_offered(2, "mark");
    assert!(world.take_offers().iter().all(|(peer, _)| *peer == other.id));
    assert_eq!(log_lines(&source, "the shared folder is gone"), 1);
    source.stop();
}
