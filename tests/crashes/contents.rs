//! Row 65: partial files of contents, and trees, while the program that writes them is killed,
//! its calls fail and power is cut. Nothing wrong takes a final name, what was reported as done
//! is there, and a later run goes on with every block that hashes right.
//!
//! What is tried is storage by itself: this target is also a program that makes a tree of its
//! library, block by block, as one that fetches would ([`program`]).

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::{NOTHING, await_until, content, quantity};
use p2pfs::content::{Attributes, Content, FileError, OnConflict};
use p2pfs::limits::BLOCK_BYTES_MIN;
use p2pfs::storage::{BlockHashStep, Partial, SharedFolder, WriteSettings};
use p2pfs::wire::FilePath;
use p2pfs::wire::v1::{BlockHasher, Value};
use tempfile::TempDir;

use crate::disk::{Disk, Mount};
use crate::file_systems::EXFAT;
use crate::full_disks::MOUNTS;
use crate::place::empty;
use crate::power_cuts::POWER_CUTS;
use crate::rounds::{choices, play};
use crate::strace::{self, Call, Fault, STRACE};

kit::tests! {
    NOTHING:
        a_run_is_killed_at_any_moment_and_the_next_loses_no_block,
        two_runs_at_once_make_one_tree;
    STRACE:
        each_call_fails_once_or_is_the_last,
        a_tree_is_made_where_nothing_can_be_locked;
    POWER_CUTS:
        power_goes_at_any_moment;
    MOUNTS:
        a_full_disk_ends_a_run_and_the_next_goes_on_once_there_is_room;
    EXFAT:
        a_tree_comes_to_exfat,
        folders_that_are_one_there_are_not_merged;
}

/// Where the program makes its tree.
const FOLDER: &str = "P2PFS_CONTENTS_FOLDER";
/// The order of its blocks.
const SEED: &str = "P2PFS_CONTENTS_SEED";
const BLOCK: usize = BLOCK_BYTES_MIN as usize;
const PIECE_BYTES: usize = 50_000;
/// Files that are committed together.
const AT_ONCE: usize = 3;
const EMPTY_FOLDER: &str = "a/nothing/in it";
const ATTRIBUTES: Attributes = Attributes { modified_ns: 1_000_000_007, is_executable: true };
/// Of the calls that are tried with `P2PFS_CALLS=once`, each so-and-so-many-th is usually tried.
const SOME: usize = 12;

/// What is to stand in the tree.
fn library() -> BTreeMap<&'static str, Vec<u8>> {
    let mut sparse = vec![0; 3 * BLOCK];
    sparse[BLOCK + 7] = 1;
    BTreeMap::from([
        ("a/large", content(1, 5 * BLOCK + 17)),
        ("a/b/other", content(2, 2 * BLOCK)),
        ("a/b/c/d/one block", content(3, BLOCK)),
        ("e/empty", Vec::new()),
        ("small", content(4, 100)),
        ("sparse", sparse),
    ])
}

fn content_of(bytes: &[u8]) -> Content {
    let mut hasher = BlockHasher::new(0);
    hasher.update(bytes);
    Content { id: hasher.id(), size_bytes: bytes.len() as u64 }
}

// ---- the program ----

/// Makes the tree if this process was started for that, and returns what it ends with. It tells
/// `kept PATH BLOCK` of what an earlier run left, `block PATH BLOCK` of what it wrote, `done PATH`
/// and `failed PATH: ERROR`.
pub(crate) fn program() -> Option<ExitCode> {
    let folder = PathBuf::from(env::var_os(FOLDER)?);
    let mut rng = fastrand::Rng::with_seed(quantity(SEED, 0) as u64);
    let tell = |line: String| {
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    let mut folder = match SharedFolder::open(&folder) {
        Ok(folder) => folder,
        Err(error) => {
            tell(format!("failed the folder: {error}"));
            return Some(ExitCode::FAILURE);
        }
    };
    let (sync, disk_reserve_bytes, keeps_partials) = (true, Some(0), true);
    let on_conflict = OnConflict::Skip;
    folder.set(WriteSettings { sync, disk_reserve_bytes, on_conflict, keeps_partials });
    let mut has_failed = false;
    let mut fail = |path: &str, error: FileError| {
        has_failed = true;
        tell(format!("failed {path}: {error}"));
    };
    match folder.make_folder(&FilePath::new(EMPTY_FOLDER).unwrap()) {
        Ok(()) => tell(format!("done {EMPTY_FOLDER}")),
        Err(error) => fail(EMPTY_FOLDER, error),
    }
    let library = library();
    let mut files: Vec<_> = library.iter().collect();
    rng.shuffle(&mut files);
    for group in files.chunks(AT_ONCE) {
        let mut written = Vec::new();
        for &(path, bytes) in group {
            match write(&folder, path, bytes, &mut rng, &tell) {
                Ok(partial) => written.push((*path, partial)),
                Err(FileError::Exists) => tell(format!("done {path}")),
                Err(error) => fail(path, error),
            }
        }
        let (paths, partials): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        for (path, outcome) in paths.into_iter().zip(folder.commit(partials)) {
            match outcome {
                // Another run may have been first.
                Ok(_) | Err(FileError::Exists) => tell(format!("done {path}")),
                Err(error) => fail(path, error),
            }
        }
    }
    Some(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Writes all blocks of a file that are not there, in any order.
fn write(
    folder: &SharedFolder,
    path: &str,
    bytes: &[u8],
    rng: &mut fastrand::Rng,
    tell: &impl Fn(String),
) -> Result<Partial, FileError> {
    let content = content_of(bytes);
    let (mut partial, data) =
        folder.open_partial(&FilePath::new(path).unwrap(), content, ATTRIBUTES)?;
    let mut missing = Vec::new();
    for block in 0..content.blocks() {
        let range = content.block_range(block);
        let has_data = data.iter().any(|data| data.start <= range.start && range.end <= data.end);
        match has_data && value_in(&partial, block)? == value_of(bytes, &content, block) {
            true => tell(format!("kept {path} {block}")),
            false => missing.push(block),
        }
    }
    rng.shuffle(&mut missing);
    for block in missing {
        let range = content.block_range(block);
        for piece in range.clone().step_by(PIECE_BYTES) {
            let end = range.end.min(piece + PIECE_BYTES as u64);
            partial.write(&bytes[piece as usize..end as usize], piece)?;
        }
        tell(format!("block {path} {block}"));
    }
    Ok(partial)
}

fn value_in(partial: &Partial, block: u32) -> Result<Value, FileError> {
    let mut hash = partial.hash_block(block).expect("a block of it");
    let mut scratch = vec![0; 64 * 1024];
    loop {
        match partial.hash_slice(&mut hash, Instant::now(), &mut scratch)? {
            BlockHashStep::Done(value) => return Ok(value),
            BlockHashStep::Asked => sleep(Duration::from_millis(1)),
            BlockHashStep::Progress => {}
        }
    }
}

fn value_of(bytes: &[u8], content: &Content, block: u32) -> Value {
    let range = content.block_range(block);
    let mut hasher = BlockHasher::new(range.start);
    hasher.update(&bytes[range.start as usize..range.end as usize]);
    if content.blocks() == 1 { hasher.id().0 } else { hasher.value() }
}

// ---- what is done to it ----

struct Site {
    /// Beside the tree.
    outer: TempDir,
    library: BTreeMap<&'static str, Vec<u8>>,
}

/// A run of the program.
struct Run {
    child: Child,
    output: PathBuf,
}

impl Site {
    fn new() -> Self {
        let site = Self { outer: TempDir::new().unwrap(), library: library() };
        fs::create_dir(site.folder()).unwrap();
        site
    }

    fn folder(&self) -> PathBuf {
        self.outer.path().join("tree")
    }

    fn start(&self, folder: &Path, seed: usize, launcher: Vec<OsString>) -> Run {
        let output = self.outer.path().join(format!("output {seed}"));
        let words: Vec<_> =
            launcher.into_iter().chain([env::current_exe().unwrap().into()]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env(FOLDER, folder).env(SEED, seed.to_string());
        command.stdin(Stdio::null()).stdout(File::create(&output).unwrap());
        Run { child: command.spawn().unwrap(), output }
    }

    /// What stands under a final name is right.
    #[track_caller]
    fn nothing_wrong(&self, folder: &Path) {
        for (path, bytes) in &self.library {
            match fs::read(folder.join(path)) {
                Ok(there) => assert!(there == *bytes, "{path} has {} wrong bytes", there.len()),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path}"),
            }
        }
    }

    /// What was told as done is there.
    #[track_caller]
    fn nothing_lost(&self, folder: &Path, told: &Told) {
        for path in &told.done {
            assert!(folder.join(path).exists(), "{path} was done and is lost");
        }
    }

    /// A run without faults makes all of it, and leaves nothing else; what it found kept.
    #[track_caller]
    fn makes_all(&self, folder: &Path, seed: usize) -> Told {
        let run = self.start(folder, seed, Vec::new());
        let (status, told) = run.end();
        assert_eq!(status.code(), Some(0), "{told:?}");
        self.nothing_wrong(folder);
        assert_eq!(told.done.len(), self.library.len() + 1);
        self.nothing_lost(folder, &told);
        let left: Vec<_> =
            names_below(folder).into_iter().filter(|name| name.contains(".p2pfs-")).collect();
        assert!(left.is_empty(), "left over: {left:?}");
        told
    }
}

impl Run {
    fn kill(&mut self) {
        let _ = self.child.kill();
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; what it told.
    fn end(mut self) -> (ExitStatus, Told) {
        await_until("the run ends", || self.has_ended());
        let status = self.child.wait().unwrap();
        (status, Told::of(&fs::read_to_string(&self.output).unwrap()))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run told.
#[derive(Debug, Default)]
struct Told {
    kept: BTreeSet<String>,
    blocks: BTreeSet<String>,
    done: BTreeSet<String>,
    failed: Vec<String>,
}

impl Told {
    fn of(text: &str) -> Self {
        let mut told = Self::default();
        // A line that was cut by a kill is none.
        for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
            let (what, rest) = line.split_once(' ').expect("two words");
            let rest = rest.to_owned();
            match what {
                "kept" => _ = told.kept.insert(rest),
                "block" => _ = told.blocks.insert(rest),
                "done" => _ = told.done.insert(rest),
                _ => told.failed.push(line.to_owned()),
            }
        }
        told
    }
}

fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        names.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            names.extend(names_below(&entry.path()));
        }
    }
    names
}

/// Whether a line about a block is about a file whose blocks are kept, which is not done.
fn is_kept(line: &str, library: &BTreeMap<&str, Vec<u8>>, done: &BTreeSet<String>) -> bool {
    let (path, _) = line.rsplit_once(' ').expect("a path and a block");
    // Of zeros nothing is on the disk, and what is there has to be hashed to be known.
    library[path].len() > BLOCK && path != "sparse" && !done.contains(path)
}

fn a_run_is_killed_at_any_moment_and_the_next_loses_no_block() {
    let rounds = quantity("P2PFS_KILLS", 16);
    play(rounds, Site::new, |site, round| {
        let mut rng = choices(round);
        let folder = site.folder();
        let began = Instant::now();
        site.makes_all(&folder, round);
        let span = began.elapsed();
        empty(&folder);
        let (mut written, mut done) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..rng.usize(1..=3) {
            let mut run = site.start(&folder, rng.usize(..1000), Vec::new());
            let delay = span.mul_f64(rng.f64());
            let began = Instant::now();
            while began.elapsed() < delay && !run.has_ended() {
                sleep(Duration::from_micros(200));
            }
            run.kill();
            let (_, told) = run.end();
            site.nothing_wrong(&folder);
            site.nothing_lost(&folder, &told);
            // A file may have its name and not be told yet.
            let has_name = |path: &&str| folder.join(path).exists();
            done.extend(site.library.keys().filter(|path| has_name(path)).map(ToString::to_string));
            written.extend(told.blocks);
        }
        let told = site.makes_all(&folder, round);
        let is_lost =
            |line: &&String| is_kept(line, &site.library, &done) && !told.kept.contains(*line);
        let lost: Vec<_> = written.iter().filter(is_lost).collect();
        assert!(lost.is_empty(), "written again: {lost:?}");
        empty(&folder);
    });
}

fn each_call_fails_once_or_is_the_last() {
    let site = Site::new();
    let log = site.outer.path().join("trace");
    let (status, _) = site.start(&site.folder(), 0, strace::tracing(&log)).end();
    assert_eq!(status.code(), Some(0));
    await_until("strace has seen the end", || {
        fs::read_to_string(&log).unwrap().contains("exit_group(")
    });
    let calls = strace::calls_in(&log);
    let step = match env::var("P2PFS_CALLS").as_deref() {
        Ok("once" | "all") => 1,
        _ => SOME,
    };
    let cases: Vec<(Call, Fault)> = calls
        .into_iter()
        .filter(|call| call.name != "write")
        .flat_map(|call| {
            let errors = strace::errors_for(&call.name);
            let error = Fault::Error(errors[call.nth % errors.len()]);
            [(call.clone(), error), (call, Fault::Kill)]
        })
        .step_by(step)
        .collect();
    play(cases.len(), Site::new, |site, round| {
        let (call, fault) = &cases[round];
        let folder = site.folder();
        let log = site.outer.path().join("trace");
        let run = site.start(&folder, 0, strace::injecting(&log, call, *fault));
        let (status, told) = run.end();
        match fault {
            Fault::Kill => assert!(status.signal() == Some(9) || status.code() == Some(0)),
            Fault::Error(error) => {
                let carries_on = matches!(*error, "EINTR" | "EAGAIN");
                assert!(status.code().is_some(), "{call:?} {error}: {status}");
                assert!(
                    status.success() == told.failed.is_empty() && (status.success() || !carries_on),
                    "{call:?} {error}: {status}, {told:?}"
                );
            }
        }
        site.nothing_wrong(&folder);
        site.nothing_lost(&folder, &told);
        site.makes_all(&folder, 0);
        empty(&folder);
    });
}

fn power_goes_at_any_moment() {
    let cuts = quantity("P2PFS_POWER_CUTS", 8);
    play(
        cuts,
        || (Site::new(), Disk::new().unwrap()),
        |(site, disk), round| {
            let mut rng = choices(round);
            let folder = disk.path().join("tree");
            fs::create_dir_all(&folder).unwrap();
            let began = Instant::now();
            site.makes_all(&folder, round);
            let span = began.elapsed();
            empty(&folder);
            for path in [&folder, disk.path()] {
                File::open(path).unwrap().sync_all().unwrap();
            }
            let mut run = site.start(&folder, round, Vec::new());
            sleep(span.mul_f64(rng.f64() * 1.1));
            disk.cut().unwrap();
            run.kill();
            let (_, told) = run.end();
            disk.restore();
            site.nothing_wrong(&folder);
            site.nothing_lost(&folder, &told);
            site.makes_all(&folder, round);
            empty(&folder);
        },
    );
}

fn two_runs_at_once_make_one_tree() {
    play(4, Site::new, |site, round| {
        let folder = site.folder();
        let runs = [2 * round, 2 * round + 1].map(|seed| site.start(&folder, seed, Vec::new()));
        for run in runs {
            let (status, told) = run.end();
            assert_eq!(status.code(), Some(0), "{told:?}");
        }
        site.nothing_wrong(&folder);
        site.makes_all(&folder, 0);
        empty(&folder);
    });
}

/// Nobody knows whose a partial file is, so none is continued, and none is left.
fn a_tree_is_made_where_nothing_can_be_locked() {
    let site = Site::new();
    for error in ["ENOLCK", "ENOSYS", "EOPNOTSUPP"] {
        let log = site.outer.path().join("trace");
        let launcher = strace::failing_always(&log, "flock", error);
        let (status, told) = site.start(&site.folder(), 0, launcher).end();
        assert_eq!(status.code(), Some(0), "{error}: {told:?}");
        assert!(strace::injected_in(&log).is_some(), "nothing was to be locked");
        site.makes_all(&site.folder(), 0);
        empty(&site.folder());
    }
}

fn a_full_disk_ends_a_run_and_the_next_goes_on_once_there_is_room() {
    let site = Site::new();
    let disk = Mount::in_memory(8 * BLOCK).unwrap();
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 4 * BLOCK]).unwrap();
    let folder = disk.path().join("tree");
    fs::create_dir(&folder).unwrap();
    let (status, told) = site.start(&folder, 0, Vec::new()).end();
    assert_eq!(status.code(), Some(1), "{told:?}");
    let is_full = |line: &String| line.contains("the disk is full");
    assert!(!told.failed.is_empty() && told.failed.iter().all(is_full), "{told:?}");
    site.nothing_wrong(&folder);
    site.nothing_lost(&folder, &told);
    fs::remove_file(ballast).unwrap();
    let bigger = Mount::in_memory(64 * BLOCK).unwrap();
    let folder_there = bigger.path().join("tree");
    copy_tree(&folder, &folder_there);
    let again = site.makes_all(&folder_there, 0);
    let is_lost =
        |line: &&String| is_kept(line, &site.library, &told.done) && !again.kept.contains(*line);
    let lost: Vec<_> = told.blocks.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "written again: {lost:?}");
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target).unwrap(),
        }
    }
}

/// Neither holes nor a renaming that never replaces, and time stamps of 2 s.
fn a_tree_comes_to_exfat() {
    let site = Site::new();
    let disk = Mount::exfat().unwrap();
    let folder = disk.path().join("tree");
    fs::create_dir(&folder).unwrap();
    let mut run = site.start(&folder, 0, Vec::new());
    await_until("a block is written", || {
        !Told::of(&fs::read_to_string(&run.output).unwrap()).blocks.is_empty()
    });
    run.kill();
    drop(run.end());
    site.nothing_wrong(&folder);
    site.makes_all(&folder, 0);
}

fn folders_that_are_one_there_are_not_merged() {
    let disk = Mount::exfat().unwrap();
    let folder = SharedFolder::open(disk.path()).unwrap();
    let make = |path: &str| folder.make_folder(&FilePath::new(path).unwrap());
    make("Fotos/Jahr").unwrap();
    make("Fotos").unwrap();
    let content = content_of(b"");
    for path in ["FOTOS/x", "fotos/Jahr/x", "Fotos/JAHR/x"] {
        let opened = folder.open_partial(&FilePath::new(path).unwrap(), content, ATTRIBUTES);
        assert_eq!(opened.unwrap_err(), FileError::Twin, "{path}");
        assert_eq!(make(path.strip_suffix("/x").unwrap()), Err(FileError::Twin), "{path}");
    }
    make("Fotos/Jahr/Tag").unwrap();
}
