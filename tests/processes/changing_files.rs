//! A file that changes before or while it is sent never arrives as a mixture, and a
//! later request gets the new version.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use kit::messages::digest_of;
use kit::{Heard, RawDownloader, World, content};
use p2pfs::limits::{CHUNK_BYTES, LOCAL_WINDOW_BYTES, WINDOW_BYTES};

const NAME: &str = "file";
const SIZE: usize = 2 * WINDOW_BYTES as usize;

/// A transfer stands still in the middle, for want of acknowledgments, while the
/// file becomes `new` in the way that `change` does it.
fn changes_while_it_is_sent(new: &[u8], change: impl FnOnce(&Path, &[u8])) {
    let world = World::new();
    let old = content(1, SIZE);
    let source = world.peer(1).has(NAME, &old).start();
    world.await_offer(1, NAME);
    let (mut downloader, mut received) = (RawDownloader::connect(source.address), Vec::new());
    downloader.request(NAME);
    let mut chunks = 0;
    while received.len() + CHUNK_BYTES as usize <= LOCAL_WINDOW_BYTES as usize {
        let Heard::Chunk(data) = downloader.listen() else { panic!("not a chunk") };
        received.extend_from_slice(&data);
        chunks += 1;
    }

    change(&source.path_of(NAME), new);
    downloader.acknowledge(chunks);
    if let Some((received, digest)) = downloader.receive(received) {
        let is_mixture = digest == digest_of(&received) && received != old && received != new;
        assert!(!is_mixture, "a mixture passes for a file");
    }
    let downloader = world.peer(2).wants(NAME).start();
    downloader.await_file(NAME, new);
}

/// Puts a new file in the place of the old one, at once.
fn replace(path: &Path, new: &[u8]) {
    let aside = path.parent().unwrap().with_extension("new");
    fs::write(&aside, new).unwrap();
    fs::rename(&aside, path).unwrap();
}

fn overwrite(path: &Path, new: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all(new).unwrap();
}

#[test]
fn replaced() {
    changes_while_it_is_sent(&content(2, SIZE + 5), replace);
}

#[test]
fn replaced_by_a_file_of_the_same_size() {
    changes_while_it_is_sent(&content(2, SIZE), replace);
}

#[test]
fn overwritten_in_place() {
    changes_while_it_is_sent(&content(2, SIZE), overwrite);
}

#[test]
fn overwritten_in_place_with_its_time_set_back() {
    changes_while_it_is_sent(&content(2, SIZE), |path, new| {
        let modified = fs::metadata(path).unwrap().modified().unwrap();
        overwrite(path, new);
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    });
}

#[test]
fn one_byte_overwritten_that_was_not_sent_yet() {
    let mut new = content(1, SIZE);
    new[SIZE - 1] ^= 1;
    changes_while_it_is_sent(&new, overwrite);
}

#[test]
fn grown() {
    let new = [content(1, SIZE), content(2, 1_000_000)].concat();
    changes_while_it_is_sent(&new, |path, new| {
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(&new[SIZE..]).unwrap();
    });
}

#[test]
fn truncated() {
    let new = &content(1, SIZE)[..SIZE / 2];
    changes_while_it_is_sent(new, |path, new| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(new.len() as u64).unwrap();
    });
}

#[test]
fn emptied() {
    changes_while_it_is_sent(b"", |path, _| drop(File::create(path).unwrap()));
}

#[test]
fn removed_and_made_again() {
    changes_while_it_is_sent(&content(2, SIZE), |path, new| {
        fs::remove_file(path).unwrap();
        fs::write(path, new).unwrap();
    });
}

#[test]
fn removed_with_another_source_left() {
    let world = World::new();
    let file = content(1, 100_000);
    let source = world.peer(1).has(NAME, &file).start();
    world.await_offer(1, NAME);
    fs::remove_file(source.path_of(NAME)).unwrap();
    assert_eq!(RawDownloader::connect(source.address).fetch(NAME), None);

    let downloader = world.peer(2).wants(NAME).start();
    let _other = world.peer(3).has(NAME, &file).start();
    downloader.await_file(NAME, &file);
}

#[test]
fn replaced_by_a_link_to_a_secret() {
    let world = World::new();
    let source = world.peer(1).has(NAME, b"public").start();
    world.await_offer(1, NAME);
    let secret = world.path().join("secret");
    fs::write(&secret, b"secret").unwrap();
    fs::remove_file(source.path_of(NAME)).unwrap();
    std::os::unix::fs::symlink(&secret, source.path_of(NAME)).unwrap();

    assert_eq!(RawDownloader::connect(source.address).fetch(NAME), None);
}

#[test]
fn changed_between_the_offer_and_the_request() {
    let world = World::new();
    let (old, new) = (content(1, SIZE), content(2, SIZE));
    let source = world.peer(1).has(NAME, &old).start();
    world.await_offer(1, NAME);
    overwrite(&source.path_of(NAME), &new);

    let downloader = world.peer(2).wants(NAME).start();
    downloader.await_file(NAME, &new);
}

#[test]
fn replaced_again_and_again_while_peers_fetch_it() {
    const VERSIONS: u64 = 40;
    let version = |n: u64| content(n + 1, 1_000_000 + 1_000 * n as usize);
    let world = World::new();
    let source = world.peer(1).has(NAME, &version(0)).start();
    let path = source.path_of(NAME);
    let mut downloaders: Vec<_> =
        (2..7).map(|id| world.peer(id).wants(NAME).until_done()).map(|plan| plan.start()).collect();
    let writer = thread::spawn(move || {
        for n in 1..VERSIONS {
            replace(&path, &version(n));
            thread::sleep(Duration::from_millis(10));
        }
    });

    let versions: Vec<_> = (0..VERSIONS).map(version).collect();
    for downloader in &mut downloaders {
        assert_eq!(downloader.process.await_exit_code(), 0);
        let received = fs::read(downloader.path_of(NAME)).unwrap();
        assert!(versions.contains(&received), "a mixture of versions");
    }
    writer.join().unwrap();
}
