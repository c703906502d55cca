//! Something stands under the name of a file that is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use kit::{FakeSource, World};

/// Has `file` fetched while `there` stands in its place; the code, and what is there then.
#[track_caller]
fn fetch(there: &[u8], how: &[&str], code: i32) -> (BTreeMap<String, Vec<u8>>, String) {
    let world = World::new();
    let _share = world.share("mine", &[("file.txt", b"new")]);
    world.folder("got", &[("file.txt", there)]);
    let get = world.get(&[&["file.txt"], how].concat());
    get.ends_with(code);
    if code != 0 {
        get.complaint();
    }
    (world.got(), get.said())
}

fn files(files: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect()
}

#[test]
fn a_file_that_is_the_same_counts_as_fetched() {
    let (got, said) = fetch(b"new", &[], 0);
    assert_eq!(got, files(&[("file.txt", b"new")]));
    assert!(said.contains("with the same content"), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("fetched nothing, 1 identical, "), "{last}");
}

#[test]
fn a_file_that_is_not_the_same_is_left_alone() {
    for there in [&b"old"[..], b"", b"new, but longer"] {
        let (got, said) = fetch(there, &[], 9);
        assert_eq!(got, files(&[("file.txt", there)]));
        assert!(said.contains("--on-conflict"), "{said}");
    }
    assert_eq!(fetch(b"old", &["--on-conflict", "fail"], 9).0, files(&[("file.txt", b"old")]));
}

#[test]
fn it_may_be_skipped_whatever_it_is() {
    let (got, said) = fetch(b"old", &["--on-conflict", "skip"], 0);
    assert_eq!(got, files(&[("file.txt", b"old")]));
    assert!(!said.contains("downloading"), "{said}");
    assert!(
        said.ends_with("fetched nothing, 1 already there and skipped, not compared, no retries"),
        "{said}"
    );
}

#[test]
fn skipping_asks_nobody() {
    let world = World::new();
    world.folder("got", &[("file", b"old")]);
    // Nobody offers it.
    world.get(&["file", "--on-conflict", "skip"]).ends_with(0);
}

#[test]
fn the_new_one_may_get_a_number() {
    let (got, said) = fetch(b"old", &["--on-conflict", "rename"], 0);
    assert_eq!(got, files(&[("file (1).txt", b"new"), ("file.txt", b"old")]));
    assert!(said.contains("saved as file (1).txt"), "{said}");
}

#[test]
fn the_old_one_may_be_replaced() {
    let (got, _) = fetch(b"old", &["--on-conflict", "replace"], 0);
    assert_eq!(got, files(&[("file.txt", b"new")]));
}

#[test]
fn the_one_that_replaces_it_has_its_permissions_and_can_be_run_if_its_source_can() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    let mine = world.folder("mine", &[("key", b"new"), ("tool", b"new")]);
    fs::set_permissions(mine.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    let share = world.start(&["share", "mine"]);
    share.await_listening();
    let got = world.folder("got", &[("key", b"old"), ("tool", b"old")]);
    let modes = [("key", 0o600), ("tool", 0o755)];
    for (name, mode) in modes {
        fs::set_permissions(got.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    world.get(&["key", "tool", "--on-conflict", "replace"]).ends_with(0);
    for (name, mode) in modes {
        let path = got.join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}

#[test]
fn a_folder_is_never_replaced_and_no_link_is_followed() {
    let world = World::new();
    let _share = world.share("mine", &[("folder", b"new"), ("link", b"new"), ("dangling", b"")]);
    let got = world.folder("got", &[]);
    let precious = world.folder("elsewhere", &[("precious", b"old")]).join("precious");
    fs::create_dir(got.join("folder")).unwrap();
    symlink(&precious, got.join("link")).unwrap();
    world.get(&["link"]).ends_with(9);
    symlink("nowhere", got.join("dangling")).unwrap();
    for name in ["link", "dangling", "folder"] {
        let get = world.get(&[name, "--on-conflict", "skip"]);
        get.ends_with(9);
        assert!(get.complaint().contains("stands under that name"), "{}", get.said());
    }
    world.get(&["link", "--on-conflict", "replace"]).ends_with(0);
    assert_eq!(fs::read(&precious).unwrap(), b"old");
    assert_eq!(fs::read(got.join("link")).unwrap(), b"new");
    assert!(got.join("folder").is_dir());
}

#[test]
fn a_folder_in_the_way_is_found_before_anything_comes() {
    let world = World::new();
    let _source = FakeSource::stalling(&world, 9, "folder", b"a part".to_vec());
    fs::create_dir(world.folder("got", &[]).join("folder")).unwrap();
    for how in ["fail", "skip", "replace"] {
        let get = world.get(&["folder", "--on-conflict", how]);
        get.ends_with(9);
        assert!(get.complaint().contains("a folder stands under that name"), "{}", get.said());
    }
}
