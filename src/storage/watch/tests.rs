use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::content::FolderLoss;
use crate::limits::TURN_ITEMS;
use crate::storage::{ShareRules, SharedFolder, There};
use crate::wire::v0::FileName;

/// A folder in one of its own: what is removed beside a root shows in its watch.
struct Folder {
    path: PathBuf,
    _around: TempDir,
}

impl Folder {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("folder");
        fs::create_dir(&path).unwrap();
        Self { path, _around: around }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A tree of one folder without a name, all of which is watched.
fn watched(path: &Path) -> (SharedTree, Watch) {
    let tree = SharedTree::open(&[(None, path.to_owned())], ShareRules::default()).unwrap();
    let mut watch = Watch::new(&tree);
    tree.scan(&mut watch).unwrap();
    assert!(watch.descriptor().is_ok() && watch.shortage().is_none());
    (tree, watch)
}

/// Reads what changed, all of which is told.
fn read(watch: &mut Watch) -> Changes {
    let changes = watch.read(TURN_ITEMS);
    assert!(!changes.are_missing && !changes.may_be_lost);
    assert!(watch.watched.is_sound());
    changes
}

/// What changed, by name: how, and whether it is new.
fn changes(watch: &mut Watch) -> Vec<(String, Sight, bool)> {
    let path = |(folder, name): Spot| FilePath::in_folder(folder.as_ref(), &name).unwrap();
    let names = read(watch).names.into_iter();
    names.map(|(spot, t)| (path(spot).as_str().to_owned(), t.sight, t.is_new)).collect()
}

fn change(name: &str, sight: Sight, is_new: bool) -> (String, Sight, bool) {
    (name.to_owned(), sight, is_new)
}

#[test]
fn each_way_to_change_a_folder_is_told_apart() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("before"), b"x").unwrap();
    let (_shared, mut watch) = watched(folder.path());
    assert_eq!(changes(&mut watch), []);

    let mut writer = File::create(at("f")).unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Created, true)]);
    writer.write_all(b"half").unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Written, false)]);
    writer.write_all(b"whole").unwrap();
    drop(writer);
    assert_eq!(changes(&mut watch), [change("f", Sight::Closed, false)]);

    fs::rename(at("f"), at("g")).unwrap();
    let renamed = [change("f", Sight::Looked, false), change("g", Sight::Moved, true)];
    assert_eq!(changes(&mut watch), renamed);
    let mut permissions = fs::metadata(at("g")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(at("g"), permissions).unwrap();
    assert_eq!(changes(&mut watch), [change("g", Sight::Looked, false)]);
    fs::hard_link(at("g"), at("h")).unwrap();
    assert_eq!(changes(&mut watch), [change("h", Sight::Created, true)]);
    fs::remove_file(at("before")).unwrap();
    let removed = watch.read(1);
    assert!(removed.has_removals);
    assert_eq!(removed.names.keys().collect::<Vec<_>>(), [&(None, b"before".to_vec())]);
    assert_eq!(changes(&mut watch), []);
}

#[test]
fn what_happened_last_to_a_name_counts() {
    let folder = Folder::new();
    let path = folder.path().join("f");
    let (_shared, mut watch) = watched(folder.path());
    // Closed, and then opened by the next.
    fs::write(&path, b"one").unwrap();
    let mut next = OpenOptions::new().append(true).open(&path).unwrap();
    next.write_all(b"two").unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Written, true)]);
    drop(next);
    // Closed, removed and made again by one that is not done.
    fs::remove_file(&path).unwrap();
    let _writer = File::create(&path).unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Created, true)]);
    // Attributes say nothing about a writer.
    fs::write(&path, b"three").unwrap();
    let permissions = fs::metadata(&path).unwrap().permissions();
    fs::set_permissions(&path, permissions).unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Closed, false)]);
}

#[test]
fn one_call_brings_all_that_happened_however_long_the_names_are() {
    for name_bytes in [2, 255] {
        let folder = Folder::new();
        let (_shared, mut watch) = watched(folder.path());
        for n in 0..50 {
            File::create(folder.path().join(format!("{n:0name_bytes$}"))).unwrap();
        }
        assert_eq!(changes(&mut watch).len(), 50, "{name_bytes} bytes");
        assert_eq!(changes(&mut watch), []);
    }
}

#[test]
fn of_what_we_write_ourselves_only_the_final_name_is_told() {
    let folder = Folder::new();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let (tree, mut watch) = watched(folder.path());
    let mut partial = shared.create_partial(&FileName::new("f").unwrap()).unwrap();
    partial.write(b"content", 0).unwrap();
    assert_eq!(changes(&mut watch), []);
    let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
    assert_eq!(changes(&mut watch), [change("f", Sight::Closed, true)]);
    let there = tree.look_at(&FilePath::new("f").unwrap());
    assert_eq!(there, Ok(Some(There::File(version))), "and that is no other version");
    drop(shared.create_partial(&FileName::new("g").unwrap()).unwrap());
    assert_eq!(changes(&mut watch), []);
}

#[test]
fn a_folder_that_is_moved_is_lost() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("shared");
    fs::create_dir(&path).unwrap();
    let (tree, mut watch) = watched(&path);
    fs::rename(&path, outer.path().join("moved")).unwrap();
    let changes = watch.read(TURN_ITEMS);
    assert!(changes.may_be_lost && changes.names.is_empty());
    assert_eq!(tree.lose(), [(None, FolderLoss::Elsewhere)]);
    assert!(tree.is_lost() && tree.lose().is_empty(), "once");
}

#[test]
fn a_folder_that_is_removed_shows_in_the_one_around_it() {
    let outer = tempfile::tempdir().unwrap();
    let (path, beside) = (outer.path().join("shared"), outer.path().join("beside"));
    for path in [&path, &beside] {
        fs::create_dir(path).unwrap();
    }
    let (tree, mut watch) = watched(&path);
    let mut read = || {
        let changes = watch.read(TURN_ITEMS);
        assert!(changes.names.is_empty(), "{changes:?}");
        changes.may_be_lost
    };
    fs::write(outer.path().join("f"), b"x").unwrap();
    assert!(!read() && tree.lose().is_empty());
    fs::remove_dir(&beside).unwrap();
    assert!(read() && tree.lose().is_empty());
    fs::remove_dir(&path).unwrap();
    assert!(read() && tree.lose() == [(None, FolderLoss::Gone)]);
}

#[test]
fn a_queue_that_overflows_is_told_and_heard_again_afterwards() {
    let folder = Folder::new();
    let (_shared, mut watch) = watched(folder.path());
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queued_max: usize = queue.trim().parse().unwrap();
    // Two events at least for each.
    for n in 0..=queued_max / 2 {
        drop(File::create(folder.path().join((n % 1000).to_string())).unwrap());
        fs::remove_file(folder.path().join((n % 1000).to_string())).unwrap();
    }
    let (mut events, mut are_missing) = (0, false);
    loop {
        let changes = watch.read(TURN_ITEMS);
        events += changes.events;
        are_missing |= changes.are_missing;
        assert!(changes.events < TURN_ITEMS + BUFFER_BYTES / 16);
        if changes.events < TURN_ITEMS {
            break;
        }
    }
    assert!(are_missing, "after {events} events");
    fs::write(folder.path().join("after"), b"x").unwrap();
    assert_eq!(changes(&mut watch), [change("after", Sight::Closed, true)]);
}

#[test]
fn a_file_that_is_renamed_while_it_is_written_still_is() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    let (_shared, mut watch) = watched(folder.path());
    // Its name may be one that is not shared, and what happens may come at once or not.
    for (from, at_once) in [("part", true), ("part", false), (".part", true), (".part", false)] {
        let mut writer = File::create(at(from)).unwrap();
        writer.write_all(b"half").unwrap();
        if !at_once {
            changes(&mut watch);
        }
        fs::rename(at(from), at("whole")).unwrap();
        let renamed = [change(from, Sight::Looked, at_once), change("whole", Sight::Written, true)];
        assert_eq!(changes(&mut watch), renamed, "{from}");
        drop(writer);
        assert_eq!(changes(&mut watch), [change("whole", Sight::Closed, false)]);
        fs::remove_file(at("whole")).unwrap();
        // The usual way: whole, closed and then renamed.
        fs::write(at(from), b"whole").unwrap();
        if !at_once {
            changes(&mut watch);
        }
        fs::rename(at(from), at("whole")).unwrap();
        assert_eq!(changes(&mut watch).pop(), Some(change("whole", Sight::Moved, true)));
        fs::remove_file(at("whole")).unwrap();
        changes(&mut watch);
    }
}

#[test]
fn a_file_that_comes_from_elsewhere_is_as_whole_as_it_was_there() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let (_shared, mut watch) = watched(folder.path());
    let mut writer = File::create(folder.path().join("gone")).unwrap();
    writer.write_all(b"half").unwrap();
    fs::rename(folder.path().join("gone"), elsewhere.path().join("gone")).unwrap();
    fs::write(elsewhere.path().join("f"), b"whole").unwrap();
    fs::rename(elsewhere.path().join("f"), folder.path().join("f")).unwrap();
    assert_eq!(changes(&mut watch)[0], change("f", Sight::Moved, true));
}

/// The folders that are watched.
fn folders(watch: &Watch, among: &[&str]) -> Vec<String> {
    let is_watched = |path: &&&str| watch.watches(Some(&FilePath::new(path).unwrap()));
    among.iter().filter(is_watched).map(|path| (*path).to_owned()).collect()
}

#[test]
fn a_folder_that_is_moved_is_heard_under_its_new_path_with_all_below_it() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/x/deep")).unwrap();
    fs::create_dir(at("b")).unwrap();
    let (_tree, mut watch) = watched(folder.path());
    let mut writer = File::create(at("a/x/deep/f")).unwrap();
    writer.write_all(b"half").unwrap();
    changes(&mut watch);
    let watches = watch.watched.len();
    fs::rename(at("a/x"), at("b/y")).unwrap();
    let moved = read(&mut watch);
    assert_eq!(moved.gone, [FilePath::new("a/x").unwrap()]);
    let to = (FilePath::new("b").ok(), b"y".to_vec());
    let touch = Touch { sight: Sight::Moved, is_new: true, is_folder: true };
    assert_eq!(moved.names[&to], touch);
    let all = ["a", "a/x", "a/x/deep", "b", "b/y", "b/y/deep"];
    assert_eq!(folders(&watch, &all), ["a", "b", "b/y", "b/y/deep"]);
    assert_eq!(watch.watched.len(), watches);
    // Its writer is still known.
    assert!(watch.is_written(FilePath::new("b/y/deep").ok().as_ref(), b"f"));
    drop(writer);
    assert_eq!(changes(&mut watch), [change("b/y/deep/f", Sight::Closed, false)]);
}

#[test]
fn a_folder_that_leaves_or_is_removed_is_heard_no_more() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/deep")).unwrap();
    fs::create_dir_all(at("b/deep")).unwrap();
    let (_tree, mut watch) = watched(folder.path());
    let outside = elsewhere.path().join("a");
    fs::rename(at("a"), &outside).unwrap();
    assert_eq!(read(&mut watch).gone, [FilePath::new("a").unwrap()]);
    fs::write(outside.join("deep/f"), b"x").unwrap();
    assert_eq!(changes(&mut watch), []);
    fs::remove_dir_all(at("b")).unwrap();
    changes(&mut watch);
    assert_eq!(folders(&watch, &["a", "a/deep", "b", "b/deep"]), [""; 0]);
    // The root, and the folder around it.
    assert_eq!(watch.watched.len(), 2);
}

#[test]
fn files_that_are_roots_are_heard_under_their_names_and_nothing_beside_them() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "c"] {
        fs::write(at(name), b"x").unwrap();
    }
    let roots = [(Some("one".to_owned()), at("a")), (None, at("b"))];
    let tree = SharedTree::open(&roots, ShareRules::default()).unwrap();
    let mut watch = Watch::new(&tree);
    for name in ["a", "b", "c"] {
        fs::write(at(name), b"yy").unwrap();
    }
    let closed = ["b", "one"].map(|name| change(name, Sight::Closed, false));
    assert_eq!(changes(&mut watch), closed);
    fs::rename(at("c"), at("a")).unwrap();
    assert_eq!(changes(&mut watch), [change("one", Sight::Moved, true)]);
}

#[test]
fn a_folder_below_two_roots_is_heard_under_both_paths() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    let roots = [(None, at("a")), (None, at("a/b"))];
    let tree = SharedTree::open(&roots, ShareRules::default()).unwrap();
    let mut watch = Watch::new(&tree);
    tree.scan(&mut watch).unwrap();
    fs::write(at("a/b/f"), b"x").unwrap();
    let closed = ["a/b/f", "b/f"].map(|path| change(path, Sight::Closed, true));
    assert_eq!(changes(&mut watch), closed);
}

#[test]
fn no_more_folders_are_watched_than_may_be_until_others_are_gone() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    for n in 0..5 {
        fs::create_dir(at(&n.to_string())).unwrap();
    }
    let tree = SharedTree::open(&[(None, folder.path().to_owned())], ShareRules::default());
    let tree = tree.unwrap();
    let mut watch = Watch::with(&tree, 4);
    tree.scan(&mut watch).unwrap();
    assert_eq!(watch.watched.len(), 4);
    assert_eq!(watch.shortage(), Some(Shortage::Limit(4)));
    assert!(!watch.hears_all());
    for n in 0..3 {
        fs::remove_dir(at(&n.to_string())).unwrap();
    }
    watch.read(TURN_ITEMS);
    watch.begin_scan();
    tree.scan(&mut watch).unwrap();
    watch.end_scan();
    assert!(watch.hears_all() && watch.watched.is_sound());
    assert_eq!(folders(&watch, &["0", "1", "2", "3", "4"]), ["3", "4"]);
}

#[test]
fn a_scan_puts_right_what_was_overlooked() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/x")).unwrap();
    fs::create_dir(at("b")).unwrap();
    let (tree, mut watch) = watched(folder.path());
    fs::rename(at("a/x"), at("b/y")).unwrap();
    fs::remove_dir(at("a")).unwrap();
    // As after an overflow: nothing of it was heard.
    let inotify = watch.inotify.clone().unwrap();
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(&inotify, &mut buffer);
    while reader.next().is_ok() {}
    watch.begin_scan();
    tree.scan(&mut watch).unwrap();
    watch.end_scan();
    assert!(watch.watched.is_sound());
    assert_eq!(folders(&watch, &["a", "a/x", "b", "b/y"]), ["b", "b/y"]);
    fs::write(at("b/y/f"), b"x").unwrap();
    assert_eq!(changes(&mut watch), [change("b/y/f", Sight::Closed, true)]);
}
