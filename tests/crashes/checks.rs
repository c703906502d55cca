//! The five checks of FAULTS.md. Each gives what it found, for the tests that see it
//! fail, and has an assertion around it.
//!
//! | | | |
//! |---|---|---|
//! | O1 | nothing lost | [`nothing_wrong`], [`nothing_lost`] |
//! | O2 | nobody let in | [`Snapshot`], and [`strangers`] in [`nothing_wrong`] |
//! | O3 | goes on | [`named_end`] after an end that the harness awaits; [`nothing_left_over`] |
//! | O4 | bounded | `await_rest` of the kit |
//! | O5 | clean | [`clean`] |

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kit::Process;
use kit::messages::digest_of;

use crate::place::Library;

kit::tests![each_check_of_files_fails_when_it_should, the_check_of_terminals_fails_when_it_should];

/// What the log calls done.
pub(crate) fn reported(log: &[String]) -> Vec<String> {
    let done = log.iter().filter_map(|line| line.split_once("] verified ").map(|(_, rest)| rest));
    done.filter_map(|rest| rest.split_once(" from ")).map(|(name, _)| name.to_owned()).collect()
}

/// What stands under a final name in a download folder and is empty, short or wrong.
pub(crate) fn wrong_files(folder: &Path, library: &Library) -> Vec<String> {
    let wrong = names_in(folder).into_iter().filter_map(|name| {
        let right = library.content(&name)?;
        match fs::read(folder.join(&name)) {
            Ok(content) if digest_of(&content) == digest_of(right) => None,
            Ok(content) => {
                Some(format!("{name} has {} bytes, not the right {}", content.len(), right.len()))
            }
            Err(error) => Some(format!("{name}: {error}")),
        }
    });
    wrong.collect()
}

/// The names in a download folder that are neither of the library nor a partial file's.
pub(crate) fn strangers(folder: &Path, library: &Library) -> Vec<String> {
    let is_stranger = |name: &String| library.content(name).is_none() && !is_partial(name);
    names_in(folder).into_iter().filter(is_stranger).collect()
}

#[track_caller]
pub(crate) fn nothing_wrong(folder: &Path, library: &Library) {
    assert_none("wrong files", &wrong_files(folder, library));
    assert_none("names that have no business here", &strangers(folder, library));
}

/// Which of the files that were reported as done are not there. Whether the others are
/// right is for [`wrong_files`].
pub(crate) fn lost_files(folder: &Path, reported: &[String]) -> Vec<String> {
    reported.iter().filter(|name| !folder.join(name).exists()).cloned().collect()
}

#[track_caller]
pub(crate) fn nothing_lost(folder: &Path, reported: &[String]) {
    assert_none("lost files", &lost_files(folder, reported));
}

/// No partial file is left.
#[track_caller]
pub(crate) fn nothing_left_over(folder: &Path) {
    let left: Vec<_> = names_in(folder).into_iter().filter(|name| is_partial(name)).collect();
    assert_none("partial files", &left);
}

/// How large the partial files in a folder are. One that goes while this looks counts not.
pub(crate) fn partial_sizes(folder: &Path) -> Vec<u64> {
    let partials = names_in(folder).into_iter().filter(|name| is_partial(name));
    partials.filter_map(|name| Some(fs::metadata(folder.join(name)).ok()?.len())).collect()
}

/// Written apart from the program's own code on purpose.
fn is_partial(name: &str) -> bool {
    let middle = name.strip_prefix(".p2pfs-").and_then(|rest| rest.strip_suffix(".partial"));
    middle.and_then(|middle| middle.split_once('-')).is_some_and(|(process, count)| {
        process.parse::<u32>().is_ok() && count.parse::<u64>().is_ok()
    })
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Everything below a folder, but for some part of it: path, kind, and what is in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<PathBuf, String>);

impl Snapshot {
    pub(crate) fn outside(except: &Path, root: &Path) -> Self {
        let mut all = BTreeMap::new();
        enter(root, except, &mut all);
        Self(all)
    }

    /// What is not as it was.
    pub(crate) fn changes(&self, now: &Self) -> Vec<String> {
        let paths = self.0.keys().chain(now.0.keys());
        let changed = paths.filter(|path| self.0.get(*path) != now.0.get(*path));
        changed.map(|path| path.display().to_string()).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_changed(&self, except: &Path, root: &Path) {
        assert_none("changes outside", &self.changes(&Self::outside(except, root)));
    }
}

fn enter(folder: &Path, except: &Path, all: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        // The socket of `p2pfs status` comes and goes with its program.
        if path == except || kind.is_socket() {
            continue;
        }
        let what = if kind.is_dir() {
            enter(&path, except, all);
            "a folder".to_owned()
        } else if kind.is_symlink() {
            format!("a link to {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_file() {
            digest_of(&fs::read(&path).unwrap())
        } else {
            format!("{kind:?}")
        };
        all.insert(path, what);
    }
}

/// The process has ended with success or with a code of its own and one line that says
/// why; gives the code. A death by a signal is found by the harness.
#[track_caller]
pub(crate) fn named_end(process: &Process) -> i32 {
    let code = process.await_exit_code();
    let reasons = process.error_lines();
    match code {
        0 | 130 | 143 => assert_none("reasons for a success", &reasons),
        1 | 2 | 7..=11 => assert_eq!(reasons.len(), 1, "code {code}: {:#?}", process.log()),
        _ => panic!("code {code}: {:#?}", process.log()),
    }
    clean(&process.log());
    code
}

/// What should not be on a terminal: a panic, or anything but printable text.
pub(crate) fn unclean_lines(log: &[String]) -> Vec<String> {
    let marks = ["panicked", "RUST_BACKTRACE", "fatal runtime error", "memory allocation of"];
    let is_unclean = |line: &&String| {
        marks.iter().any(|mark| line.contains(mark)) || line.contains(|c: char| c.is_control())
    };
    log.iter().filter(is_unclean).map(|line| line.escape_debug().to_string()).collect()
}

#[track_caller]
pub(crate) fn clean(log: &[String]) {
    assert_none("lines that are not clean", &unclean_lines(log));
}

#[track_caller]
fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

fn each_check_of_files_fails_when_it_should() {
    let root = tempfile::tempdir().unwrap();
    let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
    fs::create_dir(&inside).unwrap();
    fs::write(&outside, b"theirs").unwrap();
    let before = Snapshot::outside(&inside, root.path());
    let library = Library::new(&[3, 4]);
    let put = |name: &str, content: &[u8]| fs::write(inside.join(name), content).unwrap();

    put("file-0", library.content("file-0").unwrap());
    put(".p2pfs-1-2.partial", b"partial");
    assert!(wrong_files(&inside, &library).is_empty());
    assert!(strangers(&inside, &library).is_empty());
    assert_eq!(partial_sizes(&inside), [7]);
    let all = ["file-0", "file-1"].map(str::to_owned);
    assert_eq!(lost_files(&inside, &all), ["file-1"]);
    put("file-1", b"");
    assert_eq!(wrong_files(&inside, &library), ["file-1 has 0 bytes, not the right 4"]);
    put("file-1", b"wron");
    assert_eq!(wrong_files(&inside, &library), ["file-1 has 4 bytes, not the right 4"]);
    fs::remove_file(inside.join("file-1")).unwrap();
    put(".p2pfs-1-x.partial", b"");
    assert!(wrong_files(&inside, &library).is_empty());
    assert_eq!(strangers(&inside, &library), [".p2pfs-1-x.partial"]);

    assert!(before.changes(&Snapshot::outside(&inside, root.path())).is_empty());
    fs::write(&outside, b"ours").unwrap();
    let after = Snapshot::outside(&inside, root.path());
    assert_eq!(before.changes(&after)[..1], [outside.display().to_string()]);
}

fn the_check_of_terminals_fails_when_it_should() {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    assert!(unclean_lines(&lines(&["INFO  [peer 1] größer \\u{1b}"])).is_empty());
    let bad = ["thread 'main' panicked at src/x.rs:1:1:", "esc\x1b[31m", "back\rforth"];
    assert_eq!(unclean_lines(&lines(&bad)).len(), bad.len());
    let log = lines(&["INFO  [peer 1] verified a b from peer 2: 1 bytes", "INFO  [peer 1] sent x"]);
    assert_eq!(reported(&log), ["a b"]);
}
