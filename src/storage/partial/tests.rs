use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, MemfdFlags, SealFlags};

use super::*;
use crate::storage::SharedFolder;

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn names_in(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_at_offsets_stands_under_the_final_name_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let mut partial = shared.create_partial(&name("f")).unwrap();
    partial.write(b"world", 6).unwrap();
    partial.write(b"hello ", 0).unwrap();
    partial.write(b"", 11).unwrap();
    assert!(!folder.path().join("f").exists());
    let version = shared.commit(vec![partial]).remove(0).unwrap();
    assert_eq!(names_in(folder.path()), ["f"]);
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"hello world");
    assert_eq!(shared.scan().unwrap().files, [version]);
}

#[test]
fn a_partial_file_that_is_not_committed_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let mut partial = shared.create_partial(&name("f")).unwrap();
    partial.write(b"x", 0).unwrap();
    let other = shared.create_partial(&name("f")).unwrap();
    let names = names_in(folder.path());
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| is_partial_name(name.as_bytes())), "{names:?}");
    drop(partial);
    assert_eq!(names_in(folder.path()).len(), 1);
    drop(other);
    assert_eq!(names_in(folder.path()).len(), 0);
}

#[test]
fn nothing_under_the_final_name_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let shared = SharedFolder::open(path).unwrap();
    fs::write(path.join("file"), b"theirs").unwrap();
    symlink("nowhere", path.join("link")).unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    let errors = [FileError::Exists, FileError::Exists, FileError::Folder];
    for (there, error) in ["file", "link", "folder"].into_iter().zip(errors) {
        assert_eq!(shared.create_partial(&name(there)).unwrap_err(), error);
    }
    // The same, appearing between creation and commit.
    let [mut file, mut link, mut empty] =
        ["file2", "link2", "folder2"].map(|n| shared.create_partial(&name(n)).unwrap());
    fs::write(path.join("file2"), b"theirs").unwrap();
    symlink("nowhere", path.join("link2")).unwrap();
    fs::create_dir(path.join("folder2")).unwrap();
    for partial in [&mut file, &mut link, &mut empty] {
        partial.write(b"ours", 0).unwrap();
    }
    let mut good = shared.create_partial(&name("good")).unwrap();
    good.write(b"ours", 0).unwrap();
    let outcomes = shared.commit(vec![file, link, good, empty]);
    for (at, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok((_, version)) => assert_eq!((at, version.size_bytes), (2, 4)),
            Err(error) => assert_eq!(*error, FileError::Exists),
        }
    }
    fs::remove_file(path.join("good")).unwrap();
    assert_eq!(fs::read(path.join("file2")).unwrap(), b"theirs");
    assert_eq!(fs::read_link(path.join("link2")).unwrap(), Path::new("nowhere"));
    assert_eq!(
        names_in(path),
        ["file", "file2", "folder", "folder2", "link", "link2"],
        "the partial files are gone, the rest is there"
    );
}

#[test]
fn the_other_way_of_renaming_does_not_replace_either() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let descriptor = File::open(path).unwrap();
    fs::write(path.join("from"), b"ours").unwrap();
    fs::write(path.join("there"), b"theirs").unwrap();
    // What file systems and kernels answer that know no renaming without replacing.
    let renames = |from, to, errno| end_renaming(&descriptor, (from, to), false, Err(errno));
    assert_eq!(renames("from", "there", Errno::INVAL), Err(FileError::Exists));
    assert_eq!(fs::read(path.join("there")).unwrap(), b"theirs");
    assert_eq!(renames("from", "to", Errno::INVAL), Ok(()));
    assert_eq!(renames("to", "at last", Errno::NOSYS), Ok(()));
    assert_eq!(names_in(path), ["at last", "there"]);
    assert_eq!(fs::read(path.join("at last")).unwrap(), b"ours");
}

#[test]
fn what_took_the_place_of_a_partial_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let partial = shared.create_partial(&name("f")).unwrap();
    let there = folder.path().join(&names_in(folder.path())[0]);
    fs::remove_file(&there).unwrap();
    fs::write(&there, b"theirs").unwrap();
    drop(partial);
    assert_eq!(fs::read(&there).unwrap(), b"theirs");
}

#[test]
fn what_stands_under_the_final_name_is_treated_as_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut shared = SharedFolder::open(path).unwrap();
    let mut commit = |there: &str, on_conflict| {
        shared.set(WriteSettings { sync: true, disk_reserve_bytes: Some(0), on_conflict });
        let mut partial = shared.create_partial(&name(there))?;
        partial.write(b"ours", 0).unwrap();
        shared.commit(vec![partial]).remove(0).map(|(name, _)| name.as_str().to_owned())
    };
    let content = |name: &str| fs::read(path.join(name)).unwrap();
    fs::write(path.join("f.txt"), b"theirs").unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    for on_conflict in [OnConflict::Refuse, OnConflict::Skip, OnConflict::Compare] {
        assert_eq!(commit("f.txt", on_conflict), Err(FileError::Exists), "{on_conflict:?}");
    }
    assert_eq!(commit("f.txt", OnConflict::Rename), Ok("f (1).txt".into()));
    assert_eq!(commit("f.txt", OnConflict::Rename), Ok("f (2).txt".into()));
    assert_eq!(content("f.txt"), b"theirs");
    assert_eq!(content("f (2).txt"), b"ours");
    assert_eq!(commit("f.txt", OnConflict::Replace), Ok("f.txt".into()));
    assert_eq!(content("f.txt"), b"ours");
    assert_eq!(commit("folder", OnConflict::Replace), Err(FileError::Folder));
    assert_eq!(commit("folder", OnConflict::Rename), Ok("folder (1)".into()));
    assert_eq!(
        names_in(path),
        ["f (1).txt", "f (2).txt", "f.txt", "folder", "folder (1)"],
        "and nothing else is left"
    );
}

#[test]
fn the_last_number_is_taken_and_none_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut shared = SharedFolder::open(path).unwrap();
    let on_conflict = OnConflict::Rename;
    shared.set(WriteSettings { sync: false, disk_reserve_bytes: Some(0), on_conflict });
    fs::write(path.join("f"), b"theirs").unwrap();
    (1..RENAME_TRIES_MAX).for_each(|n| fs::write(path.join(format!("f ({n})")), b"").unwrap());
    let commit = || {
        let partial = shared.create_partial(&name("f"))?;
        shared.commit(vec![partial]).remove(0).map(|(name, _)| name.as_str().to_owned())
    };
    assert_eq!(commit(), Ok(format!("f ({RENAME_TRIES_MAX})")));
    assert_eq!(commit(), Err(FileError::Exists));
}

#[test]
fn an_unnamed_file_is_never_in_the_folder_and_begins_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, mut file) = SharedFolder::open_unnamed(folder.path()).unwrap();
    let mut wrong = shared.create_partial(&name("f")).unwrap();
    wrong.write(b"longer and wrong", 0).unwrap();
    drop(wrong);
    let mut partial = shared.create_partial(&name("f")).unwrap();
    partial.write(b"right", 0).unwrap();
    assert_eq!(names_in(folder.path()), [""; 0]);
    let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
    assert_eq!((version.size_bytes, names_in(folder.path()).len()), (5, 0));
    let mut content = String::new();
    std::io::Read::read_to_string(&mut file, &mut content).unwrap();
    assert_eq!(content, "right");
}

#[test]
fn only_what_dead_processes_left_is_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let shared = SharedFolder::open(path).unwrap();
    let living = shared.create_partial(&name("f")).unwrap();
    let living_name = names_in(path).remove(0);
    // No process has the number 0.
    fs::write(path.join(".p2pfs-0-0.partial"), b"dead").unwrap();
    fs::write(path.join(".p2pfs-0-1.partial.txt"), b"not ours").unwrap();
    symlink("precious", path.join(".p2pfs-0-2.partial")).unwrap();
    fs::create_dir(path.join(".p2pfs-0-3.partial")).unwrap();
    let fifo = path.join(".p2pfs-0-4.partial");
    rustix::fs::mknodat(CWD, fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::write(path.join("precious"), b"precious").unwrap();
    let not_ours = [
        ".p2pfs-0-1.partial.txt",
        ".p2pfs-0-2.partial",
        ".p2pfs-0-3.partial",
        ".p2pfs-0-4.partial",
        "precious",
    ];
    SharedFolder::open(path).unwrap();
    let mut rest = names_in(path);
    assert!(rest.contains(&living_name));
    rest.retain(|name| *name != living_name);
    assert_eq!(rest, not_ours);
    // As when its process was killed: the lock goes, the file stays.
    let mut killed = living;
    killed.stands_as = None;
    drop(killed);
    assert!(names_in(path).contains(&living_name));
    SharedFolder::open(path).unwrap();
    assert_eq!(names_in(path), not_ours);
}

/// The same file or folder, by a descriptor on which fsync fails, and nothing else that a
/// commit does.
fn without_fsync(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn a_file_whose_fsync_failed_takes_no_final_name() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let [mut lost, kept] = ["lost", "kept"].map(|n| shared.create_partial(&name(n)).unwrap());
    let stands_as = lost.stands_as.clone().unwrap();
    lost.file = without_fsync(&folder.path().join(stands_as)).into();
    let outcomes = shared.commit(vec![lost, kept]);
    assert_eq!(outcomes[0], Err(refused("fsync")(Errno::BADF)));
    assert!(outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(names_in(folder.path()), ["kept"]);
}

#[test]
fn no_final_name_stays_if_the_fsync_of_the_folder_failed() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let partials = ["a", "b"].map(|n| shared.create_partial(&name(n)).unwrap());
    let failing = without_fsync(folder.path());
    let outcomes = crate::storage::commit::commit(&failing, partials.into(), true);
    assert_eq!(outcomes, [Err(refused("fsync")(Errno::BADF)); 2]);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_partial_name_is_told_from_others() {
    assert!(is_partial_name(next_name().as_bytes()));
    for other in [
        ".p2pfs-1-2-3.partial",
        ".p2pfs-1.partial",
        ".p2pfs--.partial",
        ".p2pfs-1-.partial",
        ".p2pfs-a-1.partial",
        ".p2pfs-1-1.partial2",
        "p2pfs-1-1.partial",
        ".p2pfs-.partial",
    ] {
        assert!(!is_partial_name(other.as_bytes()), "{other}");
    }
}

#[test]
fn writing_back_is_due_once_enough_lies_there_in_one_piece() {
    const PIECE: u64 = WRITE_BACK_BYTES / 4;
    let mut write_back = WriteBack::default();
    for n in 0..3 {
        assert_eq!(write_back.wrote(n * PIECE, PIECE), None);
    }
    assert_eq!(write_back.wrote(3 * PIECE, PIECE), Some(0..4 * PIECE));
    assert_eq!(write_back.wrote(4 * PIECE, PIECE), None);
    assert_eq!(write_back.wrote(100 * PIECE, 3 * PIECE), None, "elsewhere it begins anew");
    assert_eq!(write_back.wrote(103 * PIECE, PIECE), Some(100 * PIECE..104 * PIECE));
}

#[test]
fn what_a_short_write_left_over_is_written_too() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let mut partial = shared.create_partial(&name("f")).unwrap();
    // A file that cannot grow takes what it has room for, and refuses the rest.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("f", flags).unwrap();
    let room_bytes = 1 << 20;
    rustix::fs::ftruncate(&file, room_bytes).unwrap();
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    partial.file = file.into();
    let outcome = partial.write(&[7; 2 << 20], 0);
    assert_eq!(outcome, Err(refused("write")(Errno::PERM)));
    let mut last = [0];
    assert_eq!(system::read_at(&partial.file, &mut last, room_bytes - 1), Ok(1));
    assert_eq!(last, [7], "the first write was short, not refused");
}

#[test]
fn a_write_that_the_system_refuses_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let mut partial = shared.create_partial(&name("f")).unwrap();
    let error = partial.write(b"x", i64::MAX as u64).unwrap_err();
    assert!(
        matches!(error, FileError::Io(crate::content::FailedCall { call: "write", .. })),
        "{error:?}"
    );
}
