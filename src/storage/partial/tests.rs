use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, MemfdFlags, OFlags, SealFlags};

use super::*;
use crate::limits::{HOLE_BYTES_MIN, RENAME_TRIES_MAX};
use crate::storage::SharedFolder;
use crate::storage::temporary::is_partial_name;
use crate::wire::v0::FileName;

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
    let (path, version) = shared.commit(vec![partial]).remove(0).unwrap();
    assert_eq!(names_in(folder.path()), ["f"]);
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"hello world");
    assert_eq!(shared.scan().unwrap().files, [(path.name().unwrap(), version)]);
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
        let (sync, disk_reserve_bytes, keeps_partials) = (true, Some(0), true);
        shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
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
    let (sync, disk_reserve_bytes, keeps_partials) = (false, Some(0), true);
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
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
fn a_new_file_has_the_usual_permissions_if_what_it_was_to_replace_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut shared = SharedFolder::open(path).unwrap();
    let on_conflict = OnConflict::Replace;
    let (sync, disk_reserve_bytes, keeps_partials) = (false, Some(0), true);
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
    let mode_of = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
    fs::write(path.join("usual"), b"").unwrap();
    for is_link in [false, true] {
        fs::write(path.join("f"), b"theirs").unwrap();
        let partial = shared.create_partial(&name("f")).unwrap();
        assert_eq!(mode_of(partial.stands_as.as_ref().unwrap()), 0o600);
        fs::remove_file(path.join("f")).unwrap();
        if is_link {
            symlink("nowhere", path.join("f")).unwrap();
        }
        shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!(mode_of("f"), mode_of("usual"), "{is_link}");
        assert_eq!(names_in(path), ["f", "usual"]);
    }
}

#[test]
fn a_file_system_that_counts_no_links_has_removed_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let partial = shared.create_partial(&name("f")).unwrap();
    let there = folder.path().join(partial.stands_as.as_ref().unwrap());
    let mut stat = system::stat_file(&partial.file).unwrap();
    stat.st_nlink = 0;
    assert!(!partial.was_removed(&stat));
    fs::remove_file(&there).unwrap();
    assert!(partial.was_removed(&stat));
    fs::write(&there, b"theirs").unwrap();
    assert!(partial.was_removed(&stat));
}

#[test]
fn an_unnamed_file_is_never_in_the_folder_and_begins_anew_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, committed) = SharedFolder::open_unnamed(folder.path()).unwrap();
    let mut wrong = shared.create_partial(&name("f")).unwrap();
    wrong.write(b"longer and wrong", 0).unwrap();
    drop(wrong);
    let mut partial = shared.create_partial(&name("f")).unwrap();
    partial.write(b"right", 0).unwrap();
    assert_eq!(names_in(folder.path()), [""; 0]);
    let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
    assert_eq!((version.size_bytes, names_in(folder.path()).len()), (5, 0));
    let mut content = String::new();
    std::io::Read::read_to_string(&mut committed.get().unwrap(), &mut content).unwrap();
    assert_eq!(content, "right");
}

#[test]
fn of_two_unnamed_files_at_once_the_committed_one_comes_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (first_is_kept, other_ends_before) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let (shared, committed) = SharedFolder::open_unnamed(folder.path()).unwrap();
        let mut first = shared.create_partial(&name("f")).unwrap();
        first.write(b"the ", 0).unwrap();
        let mut second = shared.create_partial(&name("f")).unwrap();
        second.write(b"wrong and longer", 0).unwrap();
        let (mut kept, other) = if first_is_kept { (first, second) } else { (second, first) };
        let other = (!other_ends_before).then_some(other);
        kept.write(b"the kept content", 0).unwrap();
        let (_, version) = shared.commit(vec![kept]).remove(0).unwrap();
        assert_eq!(version.size_bytes, 16);
        if let Some(mut other) = other {
            other.write(b"wrong once more, and longer still", 0).unwrap();
        }
        let mut content = String::new();
        std::io::Read::read_to_string(&mut committed.get().unwrap(), &mut content).unwrap();
        assert_eq!(content, "the kept content", "{first_is_kept} {other_ends_before}");
    }
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
    let failing = Rc::new(without_fsync(folder.path()));
    let partials = ["a", "b"].map(|n| {
        let mut partial = shared.create_partial(&name(n)).unwrap();
        partial.place.folder = Rc::clone(&failing);
        partial
    });
    let outcomes = shared.commit(partials.into());
    for outcome in outcomes {
        assert_eq!(outcome, Err(refused("fsync")(Errno::BADF)));
    }
    assert_eq!(names_in(folder.path()), [""; 0]);
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

#[test]
fn the_first_file_of_a_folder_shows_how_files_take_names_there() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let first = shared.create_partial(&name("f")).unwrap();
    assert!(first.target.is_tried.get());
    assert_eq!(first.target.naming.get(), Naming::Rename);
    assert_eq!(names_in(folder.path()), [first.stands_as.clone().unwrap()]);
    assert!(is_partial_name(first.stands_as.as_ref().unwrap().as_bytes()));
}

#[test]
fn a_file_takes_its_name_on_file_systems_that_know_no_good_way() {
    for way in [Naming::Link, Naming::Look] {
        let folder = tempfile::tempdir().unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let [mut file, mut late] = ["f", "g"].map(|n| shared.create_partial(&name(n)).unwrap());
        file.target.naming.set(way);
        file.write(b"ours", 0).unwrap();
        late.write(b"ours", 0).unwrap();
        fs::write(folder.path().join("g"), b"theirs").unwrap();
        let outcomes = shared.commit(vec![file, late]);
        assert!(outcomes[0].is_ok() && outcomes[1] == Err(FileError::Exists), "{outcomes:?}");
        assert_eq!(names_in(folder.path()), ["f", "g"]);
        assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"ours");
        assert_eq!(fs::read(folder.path().join("g")).unwrap(), b"theirs");
    }
}

#[test]
fn a_name_that_another_program_took_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    // As one with the same number would have them, in another container.
    let next = next_name().rsplit(['-', '.']).nth(1).unwrap().parse::<u64>().unwrap() + 1;
    for count in next..next + 4 * u64::from(PARTIAL_NAME_TRIES_MAX) {
        let theirs = format!(".p2pfs-{}-{count}.partial", std::process::id());
        fs::write(folder.path().join(theirs), b"theirs").unwrap();
    }
    let ours = shared.create_partial(&name("f")).unwrap();
    let count = names_in(folder.path()).len();
    drop(ours);
    assert_eq!(names_in(folder.path()).len(), count - 1);
}

#[test]
fn zeros_are_left_out_and_the_length_is_right_all_the_same() {
    const PIECE: usize = HOLE_BYTES_MIN;
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let holes: [(&str, Vec<u8>); 5] = [
        ("at the end", [vec![7; PIECE], vec![0; 20 * PIECE]].concat()),
        ("at the begin", [vec![0; 20 * PIECE], vec![7; PIECE]].concat()),
        ("between", [vec![7; 100], vec![0; 20 * PIECE], vec![7; 100]].concat()),
        ("nothing else", vec![0; 20 * PIECE]),
        ("one zero", vec![0]),
    ];
    for (text, content) in holes {
        for piece_bytes in [PIECE - 1, 4 * PIECE, 1024] {
            let mut partial = shared.create_partial(&name("f")).unwrap();
            let mut offset = 0;
            for piece in content.chunks(piece_bytes) {
                partial.write(piece, offset).unwrap();
                offset += piece.len() as u64;
            }
            let (_, version) = shared.commit(vec![partial]).remove(0).unwrap();
            let path = folder.path().join("f");
            assert!(fs::read(&path).unwrap() == content, "{text}, in {piece_bytes} bytes");
            assert_eq!(version.size_bytes, content.len() as u64, "{text}");
            let disk_bytes = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&path).unwrap());
            assert!(disk_bytes * 512 <= 3 * PIECE as u64, "{text}, in {piece_bytes} bytes");
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn zeros_in_the_place_of_other_bytes_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let shared = SharedFolder::open(folder.path()).unwrap();
    let mut partial = shared.create_partial(&name("f")).unwrap();
    partial.write(&[7; 3 * HOLE_BYTES_MIN], 0).unwrap();
    partial.write(&[0; 2 * HOLE_BYTES_MIN], HOLE_BYTES_MIN as u64).unwrap();
    shared.commit(vec![partial]).remove(0).unwrap();
    let expected = [vec![7; HOLE_BYTES_MIN], vec![0; 2 * HOLE_BYTES_MIN]].concat();
    assert!(fs::read(folder.path().join("f")).unwrap() == expected);
}

#[test]
fn a_file_that_takes_the_place_of_another_has_its_permissions_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let mut shared = SharedFolder::open(folder.path()).unwrap();
    let on_conflict = OnConflict::Replace;
    let (sync, disk_reserve_bytes, keeps_partials) = (true, Some(0), true);
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for (theirs, ours) in [(0o600, 0o600), (0o755, 0o755), (0o6755, 0o755), (0o1444, 0o444)] {
        let _ = fs::remove_file(&path);
        fs::write(&path, b"theirs").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(theirs)).unwrap();
        let partial = shared.create_partial(&name("f")).unwrap();
        let coming = folder.path().join(partial.stands_as.as_ref().unwrap());
        assert_eq!(mode(&coming), 0o600, "nobody else reads it before");
        shared.commit(vec![partial]).remove(0).unwrap();
        assert_eq!(mode(&path), ours, "{theirs:o}");
    }
    // A link in the place of it says nothing about who may read what.
    fs::remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    let partial = shared.create_partial(&name("f")).unwrap();
    shared.commit(vec![partial]).remove(0).unwrap();
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    assert_eq!(mode(&path) & 0o111, 0);
}
