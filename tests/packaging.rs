//! What a package carries beside the program: it fits the program, and the tools that
//! will read it take it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pfs");

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// The texts in a folder, by name.
fn texts(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let text = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(text).collect()
}

/// The names in the second of those that are missing or other in the first.
fn stale(there: &BTreeMap<String, String>, generated: &BTreeMap<String, String>) -> Vec<String> {
    let names = there.keys().chain(generated.keys());
    let differs = names.filter(|name| there.get(*name) != generated.get(*name));
    differs.cloned().collect()
}

#[test]
fn manual_pages_and_completions_are_those_of_the_program() {
    let folder = TempDir::new().unwrap();
    let mut generate = Command::new(packaging().join("generate"));
    let status = generate.arg(PROGRAM).arg(folder.path()).status().unwrap();
    assert!(status.success());
    for kind in ["man", "completions"] {
        let generated = texts(&folder.path().join(kind));
        assert!(generated.len() >= 3 && generated.values().all(|text| !text.is_empty()));
        let stale = stale(&texts(&packaging().join(kind)), &generated);
        assert!(stale.is_empty(), "run packaging/generate: {stale:?} are not as they would be");
    }
    let pages = texts(&folder.path().join("man"));
    assert!(pages.contains_key("p2pfs.1") && pages.contains_key("p2pfs-share.1"));
}

#[test]
fn bash_takes_its_completions() {
    let completions = packaging().join("completions/p2pfs.bash");
    assert!(Command::new("bash").arg("-n").arg(completions).status().unwrap().success());
}

#[test]
fn systemd_takes_the_units() {
    if !is_there("systemd-analyze") {
        return;
    }
    let folder = TempDir::new().unwrap();
    let units = texts(&packaging().join("systemd"));
    assert_eq!(units.len(), 2);
    for (name, text) in units {
        // What it runs need not be installed here.
        let text = text.replace("/usr/bin/p2pfs", PROGRAM);
        assert!(text.contains(&format!("ExecStart={PROGRAM} ")), "{text}");
        for promise in ["Type=notify", "SuccessExitStatus=143", "DynamicUser=yes", "MemoryMax="] {
            assert!(text.lines().any(|line| line.starts_with(promise)), "{name}: {promise}");
        }
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--recursive-errors=no"]);
    verify.args(texts(folder.path()).keys().map(|name| folder.path().join(name)));
    let output = verify.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Whether a tool is there. Says so if not; in CI that is a failure.
fn is_there(tool: &str) -> bool {
    let is_there = Command::new(tool).arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("P2PFS_CI").is_none(), "this test needs {tool}");
    if !is_there {
        let _ = writeln!(io::stderr(), "packaging: skipped a test that needs {tool}");
    }
    is_there
}
