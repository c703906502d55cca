//! Each row of FAULTS.md and USERS.md names a test or a bench, and each that they name is there.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns what the last column of a list's tables names between backquotes, row by row.
fn named(list: &str) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(root().join("tests").join(list)).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let is_path =
        |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || "_:/.0123456789".contains(c));
    let names = |row: &str| {
        let last = row.rsplit(" | ").next().unwrap();
        let quoted = last.split('`').skip(1).step_by(2).filter(is_path);
        (row.to_owned(), quoted.map(str::to_owned).collect())
    };
    rows.map(names).collect()
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
fn every_row_names_a_test_and_every_test_that_is_named_is_there() {
    for (list, least) in [("FAULTS.md", 60), ("USERS.md", 60)] {
        let rows = named(list);
        for (row, named) in &rows {
            let is_numbered = row.starts_with(|c: char| c.is_ascii_digit());
            assert!(!is_numbered || !named.is_empty(), "{list}: no test or bench in {row}");
        }
        let named: Vec<_> = rows.into_iter().flat_map(|(_, named)| named).collect();
        assert!(named.len() >= least, "{list}: {}", named.len());
        for name in named {
            let folders = ["tests", "src"].map(|folder| root().join(folder));
            let is_there = match name.contains(['/', '.']) {
                true => root().join(&name).exists(),
                false => folders.into_iter().any(|folder| is_in(folder, &name)),
            };
            assert!(is_there, "{list}: no {name}");
        }
    }
    assert!(!is_in(root().join("tests"), "lists::no_such_test"));
    assert!(is_in(
        root().join("tests"),
        "lists::every_row_names_a_test_and_every_test_that_is_named_is_there"
    ));
}
