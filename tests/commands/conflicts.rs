//! Something stands under the name of a file that is asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::FakeSource;
use crate::place::{Place, complaint, ends_with, said};

/// Has `file` fetched while `there` stands in its place; the code, and what is there then.
#[track_caller]
fn fetch(there: &[u8], how: &[&str], code: i32) -> (BTreeMap<String, Vec<u8>>, String) {
    let place = Place::new();
    let _share = place.share("mine", &[("file.txt", b"new")]);
    place.folder("got", &[("file.txt", there)]);
    let mut get = place.get(&[&["file.txt"], how].concat());
    ends_with(&mut get, code);
    if code != 0 {
        complaint(&get);
    }
    (place.got(), said(&get))
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
    assert!(
        last.starts_with("fetched nothing in ") && last.contains(" s, 1 identical, "),
        "{last}"
    );
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
    assert!(said.ends_with("fetched nothing in 0.0 s, 1 already there, no retries"), "{said}");
}

#[test]
fn skipping_asks_nobody() {
    let place = Place::new();
    place.folder("got", &[("file", b"old")]);
    // Nobody offers it.
    ends_with(&mut place.get(&["file", "--on-conflict", "skip"]), 0);
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
fn a_folder_is_never_replaced_and_no_link_is_followed() {
    let place = Place::new();
    let _share = place.share("mine", &[("folder", b"new"), ("link", b"new")]);
    let got = place.folder("got", &[]);
    let precious = place.folder("elsewhere", &[("precious", b"old")]).join("precious");
    fs::create_dir(got.join("folder")).unwrap();
    symlink(&precious, got.join("link")).unwrap();
    ends_with(&mut place.get(&["link"]), 9);
    ends_with(&mut place.get(&["link", "--on-conflict", "skip"]), 0);
    ends_with(&mut place.get(&["folder", "link", "--on-conflict", "skip"]), 10);
    ends_with(&mut place.get(&["link", "--on-conflict", "replace"]), 0);
    assert_eq!(fs::read(&precious).unwrap(), b"old");
    assert_eq!(fs::read(got.join("link")).unwrap(), b"new");
    assert!(got.join("folder").is_dir());
}

#[test]
fn a_folder_in_the_way_is_found_before_anything_comes() {
    let place = Place::new();
    let _source = FakeSource::start(&place.world, place.registry.address, 9, "folder", |stream| {
        FakeSource::send(stream, b"a part");
        // Nothing more ever comes.
        FakeSource::wait_for_close(stream);
        false
    });
    fs::create_dir(place.folder("got", &[]).join("folder")).unwrap();
    for how in ["fail", "skip", "replace"] {
        let mut get = place.get(&["folder", "--on-conflict", how]);
        ends_with(&mut get, 9);
        assert!(complaint(&get).contains("a folder stands under that name"), "{}", said(&get));
    }
}
