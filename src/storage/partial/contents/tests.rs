use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use super::*;
use crate::content::{ContentId, InTheWay, OnConflict};
use crate::limits::BLOCK_BYTES_MIN;
use crate::storage::SharedFolder;
use crate::storage::temporary::is_partial_name;
use crate::wire::FilePath;

const BLOCK: usize = BLOCK_BYTES_MIN as usize;
const ATTRIBUTES: Attributes = Attributes { modified_ns: 1_234_567_890, is_executable: false };

/// So many bytes that are not zero.
fn bytes_of(len_bytes: usize) -> Vec<u8> {
    (0..len_bytes).map(|n| (n / 251 + n % 251) as u8 | 1).collect()
}

fn content_of(bytes: &[u8]) -> Content {
    let mut hasher = BlockHasher::new(0);
    hasher.update(bytes);
    Content { id: hasher.id(), size_bytes: bytes.len() as u64 }
}

fn path(text: &str) -> FilePath {
    FilePath::new(text).unwrap()
}

fn shared(folder: &Path) -> SharedFolder {
    shared_with(folder, OnConflict::Refuse, true)
}

fn shared_with(folder: &Path, on_conflict: OnConflict, keeps_partials: bool) -> SharedFolder {
    let mut shared = SharedFolder::open(folder).unwrap();
    let (sync, disk_reserve_bytes) = (true, Some(0));
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
    shared
}

fn open(shared: &SharedFolder, at: &str, bytes: &[u8]) -> (Partial, Vec<Range<u64>>) {
    shared.open_partial(&path(at), content_of(bytes), ATTRIBUTES).unwrap()
}

fn commit(shared: &SharedFolder, partial: Partial) -> Result<String, FileError> {
    let (path, _) = shared.commit(vec![partial]).remove(0)?;
    Ok(path.as_str().to_owned())
}

fn value(partial: &Partial, block: u32) -> Value {
    let mut hash = partial.hash_block(block).unwrap();
    let mut scratch = vec![7; 100_000];
    loop {
        match partial.hash_slice(&mut hash, Instant::now(), &mut scratch).unwrap() {
            BlockHashStep::Done(value) => return value,
            BlockHashStep::Asked | BlockHashStep::Progress => {}
        }
    }
}

fn value_of(bytes: &[u8], block: usize) -> Value {
    let mut hasher = BlockHasher::new((block * BLOCK) as u64);
    hasher.update(&bytes[block * BLOCK..bytes.len().min((block + 1) * BLOCK)]);
    hasher.value()
}

fn kept_in(folder: &Path, bytes: &[u8]) -> std::path::PathBuf {
    folder.join(kept_name(&content_of(bytes)))
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn blocks_come_in_at_any_offset_and_a_later_run_goes_on_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(4 * BLOCK + 17);
    let at = |block: usize| block * BLOCK..bytes.len().min((block + 1) * BLOCK);
    let write = |partial: &mut Partial, block: usize| {
        for piece in at(block).step_by(100_000) {
            let end = at(block).end.min(piece + 100_000);
            partial.write(&bytes[piece..end], piece as u64).unwrap();
        }
    };
    {
        let shared = shared(folder.path());
        let (mut partial, data) = open(&shared, "a/f", &bytes);
        assert_eq!(data, []);
        write(&mut partial, 4);
        write(&mut partial, 1);
        partial.write(&bytes[2 * BLOCK..2 * BLOCK + 5000], 2 * BLOCK as u64).unwrap();
    }
    assert_eq!(names_in(&folder.path().join("a")), [kept_name(&content_of(&bytes))]);
    let shared = shared(folder.path());
    let (mut partial, data) = open(&shared, "a/f", &bytes);
    let (block, size_bytes) = (BLOCK as u64, bytes.len() as u64);
    assert_eq!(data, [block..3 * block, 4 * block..size_bytes]);
    for block in [1, 4] {
        assert_eq!(value(&partial, block), value_of(&bytes, block as usize));
    }
    for block in [0, 2, 3] {
        assert_ne!(value(&partial, block), value_of(&bytes, block as usize));
        write(&mut partial, block as usize);
        assert_eq!(value(&partial, block), value_of(&bytes, block as usize));
    }
    assert!(partial.hash_block(5).is_none());
    assert_eq!(commit(&shared, partial), Ok("a/f".into()));
    assert_eq!(names_in(&folder.path().join("a")), ["f"]);
    assert!(fs::read(folder.path().join("a/f")).unwrap() == bytes);
}

#[test]
fn zeros_are_left_out_but_not_over_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = vec![0; 8 * BLOCK];
    bytes[3 * BLOCK..3 * BLOCK + 10].fill(7);
    let shared = shared(folder.path());
    let (mut partial, _) = open(&shared, "f", &bytes);
    // A source sent other bytes at first.
    partial.write(&bytes_of(2 * BLOCK), 5 * BLOCK as u64).unwrap();
    partial.write(&bytes[5 * BLOCK..], 5 * BLOCK as u64).unwrap();
    partial.write(&bytes[..5 * BLOCK], 0).unwrap();
    for block in 0..8 {
        assert_eq!(value(&partial, block), value_of(&bytes, block as usize), "{block}");
    }
    assert_eq!(commit(&shared, partial), Ok("f".into()));
    let there = folder.path().join("f");
    assert!(fs::read(&there).unwrap() == bytes);
    let used_bytes = fs::metadata(there).unwrap().blocks() * 512;
    assert!(used_bytes <= 3 * BLOCK as u64, "{used_bytes} bytes are used");
}

#[test]
fn a_content_of_nothing_but_zeros_has_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    for (name, len_bytes) in [("none", 0), ("one", BLOCK), ("many", 3 * BLOCK + 1)] {
        let bytes = vec![0; len_bytes];
        let (mut partial, _) = open(&shared, name, &bytes);
        if len_bytes > 0 {
            partial.write(&bytes, 0).unwrap();
        }
        assert_eq!(commit(&shared, partial), Ok(name.into()));
        assert!(fs::read(folder.path().join(name)).unwrap() == bytes);
    }
}

#[test]
fn the_hash_of_the_only_block_is_the_id() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    let bytes = bytes_of(BLOCK);
    let (mut partial, _) = open(&shared, "f", &bytes);
    partial.write(&bytes, 0).unwrap();
    assert_eq!(ContentId(value(&partial, 0)), content_of(&bytes).id);
    // It is of no use to a later run.
    assert!(is_partial_name(names_in(folder.path())[0].as_bytes()));
    drop(partial);
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn what_is_discarded_is_removed_and_nothing_stays_if_nothing_is_to() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(2 * BLOCK);
    let keeps = shared(folder.path());
    open(&keeps, "f", &bytes).0.discard();
    assert_eq!(names_in(folder.path()), [""; 0]);
    drop(open(&keeps, "f", &bytes));
    assert_eq!(names_in(folder.path()).len(), 1);
    let keeps_none = shared_with(folder.path(), OnConflict::Refuse, false);
    drop(open(&keeps_none, "f", &bytes));
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn a_second_one_with_the_same_content_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(2 * BLOCK);
    let (one, other) = (shared(folder.path()), shared(folder.path()));
    let (mut first, _) = open(&one, "f", &bytes);
    first.write(&bytes[..BLOCK], 0).unwrap();
    let (mut second, data) = open(&other, "g", &bytes);
    assert_eq!(data, []);
    second.write(&bytes, 0).unwrap();
    assert_eq!(commit(&other, second), Ok("g".into()));
    assert_eq!(names_in(folder.path()), [kept_name(&content_of(&bytes)), "g".into()]);
    // In another folder it is another file.
    let (third, data) = open(&one, "x/f", &bytes);
    assert_eq!((third.is_kept(), data), (true, vec![]));
}

#[test]
fn what_may_not_be_ours_is_not_continued_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(2 * BLOCK);
    let kept = kept_in(folder.path(), &bytes);
    let shared = shared(folder.path());
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    let makes: [fn(&Path, &Path); 4] = [
        |precious, kept| fs::hard_link(precious, kept).unwrap(),
        |precious, kept| symlink(precious, kept).unwrap(),
        |_, kept| fs::create_dir(kept).unwrap(),
        |_, kept| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, kept, kind, Mode::RWXU, 0).unwrap();
        },
    ];
    for make in makes {
        make(&precious, &kept);
        let before = fs::symlink_metadata(&kept).unwrap().ino();
        let (mut partial, data) = open(&shared, "f", &bytes);
        assert_eq!(data, []);
        partial.write(&bytes, 0).unwrap();
        assert_eq!(commit(&shared, partial), Ok("f".into()));
        assert_eq!(fs::symlink_metadata(&kept).unwrap().ino(), before);
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        fs::remove_file(folder.path().join("f")).unwrap();
        fs::remove_file(&kept).or_else(|_| fs::remove_dir(&kept)).unwrap();
    }
}

#[test]
fn what_stands_behind_the_end_of_a_kept_file_goes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(2 * BLOCK);
    fs::write(kept_in(folder.path(), &bytes), bytes_of(3 * BLOCK)).unwrap();
    let shared = shared(folder.path());
    let (mut partial, data) = open(&shared, "f", &bytes);
    assert_eq!((data.len(), data[0].clone()), (1, 0..2 * BLOCK as u64));
    partial.write(&bytes, 0).unwrap();
    assert_eq!(commit(&shared, partial), Ok("f".into()));
    assert!(fs::read(folder.path().join("f")).unwrap() == bytes);
}

#[test]
fn a_flipped_byte_in_a_kept_file_shows_in_its_block() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(3 * BLOCK);
    {
        let shared = shared(folder.path());
        let (mut partial, _) = open(&shared, "f", &bytes);
        partial.write(&bytes, 0).unwrap();
    }
    let kept = File::options().write(true).open(kept_in(folder.path(), &bytes)).unwrap();
    kept.write_at(&[!bytes[BLOCK + 9]], BLOCK as u64 + 9).unwrap();
    let shared = shared(folder.path());
    let (partial, _) = open(&shared, "f", &bytes);
    let is_right = |block| value(&partial, block) == value_of(&bytes, block as usize);
    assert_eq!([0, 1, 2].map(is_right), [true, false, true]);
}

#[test]
fn attributes_follow_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let shared = shared_with(folder.path(), OnConflict::Replace, true);
    fs::write(at("usual"), "").unwrap();
    let usual = fs::metadata(at("usual")).unwrap().mode() & 0o777;
    let executable = usual | usual >> 2 & 0o111;
    fs::write(at("old"), "").unwrap();
    fs::set_permissions(at("old"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(at("private"), "").unwrap();
    fs::set_permissions(at("private"), fs::Permissions::from_mode(0o600)).unwrap();
    for len_bytes in [10, 2 * BLOCK] {
        for (name, is_executable, mode) in [
            (format!("new{len_bytes}"), false, usual),
            (format!("newx{len_bytes}"), true, executable),
            ("old".into(), false, 0o640),
            ("old".into(), true, 0o750),
            ("private".into(), true, 0o700),
        ] {
            // Left by a run for which it was to replace something.
            let attributes = Attributes { is_executable, ..ATTRIBUTES };
            let bytes = bytes_of(len_bytes);
            if len_bytes > BLOCK {
                fs::write(kept_in(folder.path(), &bytes), "").unwrap();
                let private = fs::Permissions::from_mode(0o600);
                fs::set_permissions(kept_in(folder.path(), &bytes), private).unwrap();
            }
            let opened = shared.open_partial(&path(&name), content_of(&bytes), attributes);
            let mut partial = opened.unwrap().0;
            partial.write(&bytes, 0).unwrap();
            assert_eq!(commit(&shared, partial), Ok(name.clone()));
            let there = fs::metadata(at(&name)).unwrap();
            assert_eq!(there.mode() & 0o777, mode, "{name}, {len_bytes} bytes");
            assert_eq!((there.mtime(), there.mtime_nsec()), (1, 234_567_890), "{name}");
        }
    }
}

#[test]
fn conflicts_are_found_before_anything_is_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("folder/sub")).unwrap();
    fs::write(at("folder/file"), "theirs").unwrap();
    symlink("/", at("link")).unwrap();
    let content = content_of(&bytes_of(2 * BLOCK));
    for on_conflict in [OnConflict::Refuse, OnConflict::Skip, OnConflict::Replace] {
        let shared = shared_with(folder.path(), on_conflict, true);
        let error = |at: &str| shared.open_partial(&path(at), content, ATTRIBUTES).err();
        let in_the_way =
            |components, is_link| Some(FileError::NoFolder(InTheWay { components, is_link }));
        assert_eq!(error("folder/sub"), Some(FileError::Folder));
        assert_eq!(error("folder/file/x"), in_the_way(2, false));
        assert_eq!(error("link/x"), in_the_way(1, true));
        let exists = (on_conflict != OnConflict::Replace).then_some(FileError::Exists);
        assert_eq!(error("folder/file"), exists);
    }
    assert_eq!(fs::read_to_string(at("folder/file")).unwrap(), "theirs");
}

#[test]
fn what_took_the_name_meanwhile_stays_and_so_does_what_was_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = bytes_of(2 * BLOCK);
    let fetch = |shared: &SharedFolder| {
        let (mut partial, data) = open(shared, "a/f.txt", &bytes);
        if data.is_empty() {
            partial.write(&bytes, 0).unwrap();
            fs::write(folder.path().join("a/f.txt"), "theirs").unwrap();
        }
        (commit(shared, partial), data)
    };
    let compares = shared_with(folder.path(), OnConflict::Compare, true);
    assert_eq!(fetch(&compares), (Err(FileError::Exists), vec![]));
    assert_eq!(fs::read_to_string(folder.path().join("a/f.txt")).unwrap(), "theirs");
    let renames = shared_with(folder.path(), OnConflict::Rename, true);
    let all = 0..bytes.len() as u64;
    assert_eq!(fetch(&renames), (Ok("a/f (1).txt".into()), vec![all]));
    assert!(fs::read(folder.path().join("a/f (1).txt")).unwrap() == bytes);
    assert_eq!(names_in(&folder.path().join("a")), ["f (1).txt", "f.txt"]);
}

#[test]
fn what_skip_finds_in_its_place_leaves_nothing_for_a_later_run() {
    let folder = tempfile::tempdir().unwrap();
    let skips = shared_with(folder.path(), OnConflict::Skip, true);
    let bytes = bytes_of(2 * BLOCK);
    let (mut partial, _) = open(&skips, "f", &bytes);
    partial.write(&bytes, 0).unwrap();
    fs::write(folder.path().join("f"), "theirs").unwrap();
    assert_eq!(commit(&skips, partial), Err(FileError::Exists));
    assert_eq!(names_in(folder.path()), ["f"]);
}

#[test]
fn a_file_whose_fsync_failed_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    let bytes = bytes_of(2 * BLOCK);
    let (mut partial, _) = open(&shared, "f", &bytes);
    partial.write(&bytes, 0).unwrap();
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let kept = kept_in(folder.path(), &bytes);
    partial.file = rustix::fs::open(&kept, flags, Mode::empty()).unwrap().into();
    assert_eq!(commit(&shared, partial), Err(refused("fsync")(Errno::BADF)));
    assert_eq!(names_in(folder.path()), [""; 0]);
}

#[test]
fn what_dead_processes_left_is_removed_where_something_is_fetched() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("a/b");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(".p2pfs-1-1.partial"), "").unwrap();
    let (bytes, other) = (bytes_of(2 * BLOCK), bytes_of(3 * BLOCK));
    fs::write(kept_in(&folder, &other), "").unwrap();
    let shared = shared(outer.path());
    drop(open(&shared, "a/b/f", &bytes));
    let mut expected = [&bytes, &other].map(|bytes| kept_name(&content_of(bytes)));
    expected.sort();
    assert_eq!(names_in(&folder), expected);
}

#[test]
fn what_has_no_room_does_not_begin() {
    let folder = tempfile::tempdir().unwrap();
    let mut shared = shared(folder.path());
    let disk = rustix::fs::statvfs(folder.path()).unwrap();
    let free_bytes = disk.f_bavail * disk.f_frsize;
    let (sync, on_conflict, keeps_partials) = (true, OnConflict::Refuse, true);
    let disk_reserve_bytes = Some(free_bytes / 2);
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
    let content = |n, part| Content { id: ContentId([n; 32]), size_bytes: free_bytes / part };
    let open = |n, part| shared.open_partial(&path("f"), content(n, part), ATTRIBUTES);
    let first = open(1, 3).unwrap();
    let error = open(2, 3).unwrap_err();
    assert!(matches!(error, FileError::Full(_)), "{error}");
    drop(first);
    open(2, 3).unwrap();
}

#[test]
fn a_copy_is_verified_as_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    let bytes = bytes_of(2 * BLOCK + 5);
    let content = content_of(&bytes);
    fs::write(folder.path().join("from"), &bytes).unwrap();
    let copy = |to: &str| {
        use crate::storage::{Copy, CopyStep};
        let mut copy = Copy::new(&shared, &path("from"), &path(to), content, ATTRIBUTES)?;
        let mut scratch = vec![0; 100_000];
        while copy.run_slice(Instant::now(), &mut scratch)? != CopyStep::Done {}
        commit(&shared, copy.into_partial())
    };
    assert_eq!(copy("a/to"), Ok("a/to".into()));
    assert!(fs::read(folder.path().join("a/to")).unwrap() == bytes);
    assert_eq!(copy("a/to"), Err(FileError::Exists));
    fs::write(folder.path().join("from"), bytes_of(2 * BLOCK + 4)).unwrap();
    assert_eq!(copy("b"), Err(FileError::Changed));
    let mut other = bytes;
    other[BLOCK] ^= 1;
    fs::write(folder.path().join("from"), &other).unwrap();
    assert_eq!(copy("b"), Err(FileError::Changed));
    fs::remove_file(folder.path().join("from")).unwrap();
    assert_eq!(copy("b"), Err(FileError::Changed));
    assert_eq!(names_in(folder.path()), ["a"]);
}

#[test]
fn a_content_without_a_time_keeps_that_of_its_coming() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    for (name, modified_ns) in [("with", 1_000_000_000), ("without", 0)] {
        let attributes = Attributes { modified_ns, is_executable: false };
        let content = content_of(name.as_bytes());
        let (mut partial, _) = shared.open_partial(&path(name), content, attributes).unwrap();
        partial.write(name.as_bytes(), 0).unwrap();
        commit(&shared, partial).unwrap();
    }
    let seconds = |name: &str| fs::metadata(folder.path().join(name)).unwrap().mtime();
    assert_eq!(seconds("with"), 1);
    assert!(seconds("without") > 1_000_000_000, "{}", seconds("without"));
}
