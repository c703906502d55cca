//! Names on a real file system: what is accepted becomes one file in the folder and
//! nothing anywhere else; what stands in the folder under a hostile name is passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kit::{Hostile, NameGenerator, hostile, oracle};
use p2pfs::content::OnConflict;
use p2pfs::storage::{SharedFolder, WriteSettings};
use p2pfs::wire::v0::FileName;

/// What stands around the folder, one level above it and one beside.
fn snapshot(outside: &Path, folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![outside.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path == folder {
                continue;
            }
            let metadata = fs::symlink_metadata(&path).unwrap();
            found.insert(path.clone(), described(&path, &metadata));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn described(path: &Path, metadata: &Metadata) -> String {
    let content = if metadata.is_file() { fs::read(path).unwrap() } else { Vec::new() };
    format!("{:?} {content:x?}", metadata.file_type())
}

/// A folder to share, with things around it that a bad name could lead to.
fn surroundings(outside: &Path) -> PathBuf {
    let folder = outside.join("shared");
    fs::create_dir_all(outside.join("etc")).unwrap();
    fs::create_dir(&folder).unwrap();
    for victim in ["passwd", "x", "x.txt", "etc/passwd", "a", "b"] {
        fs::write(outside.join(victim), b"untouched").unwrap();
    }
    folder
}

#[test]
fn accepted_names_become_files_in_the_folder_and_nothing_else() {
    let outside = tempfile::tempdir().unwrap();
    let folder = surroundings(outside.path());
    let before = snapshot(outside.path(), &folder);
    let mut shared = SharedFolder::open(&folder).unwrap();
    let on_conflict = OnConflict::Refuse;
    let (sync, disk_reserve_bytes, keeps_partials) = (false, Some(0), true);
    shared.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });

    let mut generator = NameGenerator::new(1);
    let candidates = (0..20_000).map(|_| generator.next_name());
    let candidates = hostile().into_iter().map(|hostile| hostile.name).chain(candidates);
    let names: BTreeSet<FileName> =
        candidates.filter_map(|name| FileName::from_bytes(&name).ok()).take(500).collect();
    for name in &names {
        let mut partial = shared.create_partial(name).unwrap();
        partial.write(name.as_str().as_bytes(), 0).unwrap();
        shared.commit(vec![partial]).remove(0).unwrap();
    }

    assert!(names.len() > 300, "only {} names", names.len());
    let after = snapshot(outside.path(), &folder);
    assert_eq!(after, before, "something outside has changed");
    let mut there = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(oracle::violation(name.as_bytes()), None, "{name:?} is in the folder");
        assert!(fs::read(folder.join(&name)).unwrap() == name.as_bytes(), "{name:?} is wrong");
        there.insert(FileName::from_bytes(name.as_bytes()).unwrap());
    }
    assert_eq!(there, names);
    let offered: BTreeSet<_> = shared.scan().unwrap().files.into_iter().map(|f| f.0).collect();
    assert_eq!(offered, names);
}

#[test]
fn what_stands_in_the_folder_under_a_hostile_name_is_passed_over() {
    let outside = tempfile::tempdir().unwrap();
    let folder = surroundings(outside.path());
    let mut created = 0;
    for Hostile { name, .. } in hostile() {
        // What the system allows as a name at all, but for names of our own, which are
        // passed over in silence.
        let is_possible = !name.contains(&b'/') && !name.contains(&0) && name.len() <= 255;
        if !is_possible || name.starts_with(b".p2pfs-") || [&b""[..], b".", b".."].contains(&&*name)
        {
            continue;
        }
        fs::write(folder.join(OsStr::from_bytes(&name)), b"x").unwrap();
        created += 1;
    }
    for name in [".p2pfs-1-2.partial", ".p2pfs-7-0.partial"] {
        fs::write(folder.join(name), b"x").unwrap();
    }
    fs::write(folder.join("legal"), b"x").unwrap();
    let before = snapshot(outside.path(), &folder);

    let scan = SharedFolder::open(&folder).unwrap().scan().unwrap();
    let offered: Vec<_> = scan.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(offered, ["legal"]);
    assert!(created > 1500, "only {created} names");
    assert_eq!(scan.skipped.len(), created);
    for skipped in &scan.skipped {
        oracle::assert_printable(&skipped.to_string());
    }
    assert_eq!(snapshot(outside.path(), &folder), before, "something outside has changed");
}
