//! The tests that FAULTS.md and USERS.md name are there.

use std::fs;
use std::path::{Path, PathBuf};

/// What is named between backquotes in the last column of the tables of a list.
fn named(list: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("tests").join(list)).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let last = rows.filter_map(|row| row.rsplit(" | ").next());
    let quoted = last.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_path =
        |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || "_:0123456789".contains(c));
    quoted.filter(is_path).map(str::to_owned).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether `target::module::test`, or the beginning of it, is in this folder.
fn is_in(folder: PathBuf, name: &str) -> bool {
    let (first, rest) = name.split_once("::").map_or((name, None), |(a, b)| (a, Some(b)));
    let (file, below) = (folder.join(format!("{first}.rs")), folder.join(first));
    match rest {
        None => file.is_file() || below.is_dir(),
        Some(rest) if below.is_dir() => is_in(below, rest),
        Some(test) => {
            fs::read_to_string(file).is_ok_and(|text| text.contains(&format!("\nfn {test}(")))
        }
    }
}

#[test]
fn every_test_that_a_list_names_is_there() {
    for (list, least) in [("FAULTS.md", 60), ("USERS.md", 60)] {
        let named = named(list);
        assert!(named.len() >= least, "{list}: {}", named.len());
        for name in named {
            let folders = ["tests", "src"].map(|folder| root().join(folder));
            let is_there = folders.into_iter().any(|folder| is_in(folder, &name));
            assert!(is_there, "{list}: no {name}");
        }
    }
    assert!(!is_in(root().join("tests"), "lists::no_such_test"));
    assert!(is_in(root().join("tests"), "lists::every_test_that_a_list_names_is_there"));
}
