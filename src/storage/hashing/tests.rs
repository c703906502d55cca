use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;
use crate::content::ContentId;
use crate::storage::{ShareRules, system};
use crate::wire::v0::FileName;

const SMALL: usize = 1000;

/// Begins to hash a file of that name.
fn start(jobs: &mut HashJobs, text: &str) {
    jobs.start(id(text), FileName::new(text).unwrap().into(), HashKind::Sha256);
}

/// The same for the same name.
fn id(text: &str) -> PathId {
    PathId::new(text.bytes().fold(0, |id, byte| id << 8 | usize::from(byte)), 0)
}

fn sha256(bytes: &[u8]) -> Hash {
    Hash::Sha256(Digest(Sha256::digest(bytes).into()))
}

fn jobs_in(path: &Path) -> HashJobs {
    let tree = SharedTree::open(&[(None, path.to_owned())], ShareRules::default()).unwrap();
    HashJobs::new(Rc::new(tree), None)
}

/// Writes a file and waits until it may be hashed.
fn write_settled(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    wait_until_settled(path);
}

fn wait_until_settled(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stat = system::stat_file(File::open(path).unwrap()).unwrap();
        if is_settled(&system::version(&stat), SystemTime::now()) {
            return;
        }
        assert!(Instant::now() < deadline, "the file never settles");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The next step that is more than asking a disk; `None` once there is nothing to do.
fn next_step(jobs: &mut HashJobs, scratch: &mut [u8]) -> Option<HashStep> {
    loop {
        let now = Instant::now();
        match jobs.run_slice(now, scratch) {
            Some(step) if step.outcome == HashOutcome::Asked => {}
            Some(step) => return Some(step),
            None => std::thread::sleep(jobs.next_slice_at(now)? - now),
        }
    }
}

fn run(jobs: &mut HashJobs, scratch_bytes: usize) -> Vec<HashStep> {
    let mut scratch = vec![0; scratch_bytes];
    std::iter::from_fn(|| next_step(jobs, &mut scratch)).collect()
}

#[test]
fn a_file_is_hashed_in_slices_and_an_empty_one_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..2500_u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.path().join("empty"), b"").unwrap();
    write_settled(&folder.path().join("f"), &bytes);
    wait_until_settled(&folder.path().join("empty"));
    let mut jobs = jobs_in(folder.path());
    let now = Instant::now();
    assert_eq!(jobs.next_slice_at(now), None);
    start(&mut jobs, "f");
    start(&mut jobs, "f");
    start(&mut jobs, "empty");
    assert_eq!(jobs.next_slice_at(now), Some(now));
    let steps = run(&mut jobs, SMALL);
    assert_eq!(jobs.next_slice_at(now), None);
    let brief: Vec<_> = steps
        .iter()
        .map(|step| match step.outcome {
            HashOutcome::Progress { hashed_bytes, .. } => (step.path, hashed_bytes, None),
            HashOutcome::Done { version, ref hash } => {
                (step.path, version.size_bytes, Some(hash.clone()))
            }
            HashOutcome::Asked => unreachable!("left out"),
            HashOutcome::Failed(error) => panic!("{error}"),
        })
        .collect();
    assert!(
        brief
            == [
                (id("f"), 1000, None),
                (id("f"), 2000, None),
                (id("empty"), 0, Some(sha256(b""))),
                (id("f"), 2500, Some(sha256(&bytes))),
            ],
        "in turn: {steps:?}"
    );
}

#[test]
fn a_slice_is_as_large_as_the_scratch_buffer_and_costs_as_much() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    wait_until_settled(&path);
    let mut jobs = jobs_in(folder.path());
    start(&mut jobs, "sparse");
    let mut scratch = vec![0; 2 * STEP_COST_BYTES];
    let step = next_step(&mut jobs, &mut scratch).unwrap();
    assert_eq!(step.cost_bytes, scratch.len(), "{step:?}");
    let HashOutcome::Progress { hashed_bytes, version } = step.outcome else { panic!("{step:?}") };
    assert_eq!((hashed_bytes, version.size_bytes), (scratch.len() as u64, 1 << 40));
}

fn change_contents(path: &Path) {
    File::options().write(true).open(path).unwrap().write_all_at(b"y", 10).unwrap();
}

fn set_size(path: &Path, size_bytes: u64) {
    File::options().write(true).open(path).unwrap().set_len(size_bytes).unwrap();
}

fn replace(path: &Path) {
    let other = path.with_file_name("other");
    fs::write(&other, vec![b'x'; 2500]).unwrap();
    fs::rename(other, path).unwrap();
}

fn put_link_in_its_place(path: &Path) {
    fs::rename(path, path.with_file_name("other")).unwrap();
    symlink("other", path).unwrap();
}

#[test]
fn a_file_that_changes_meanwhile_has_no_digest() {
    type Change = fn(&Path);
    let cases: [(&str, Change, FileError); 6] = [
        ("contents", change_contents, FileError::Changed),
        ("grown", |path| set_size(path, 2600), FileError::Changed),
        ("shrunk", |path| set_size(path, 1500), FileError::Changed),
        ("replaced", replace, FileError::Changed),
        ("link", put_link_in_its_place, FileError::Changed),
        ("removed", |path| fs::remove_file(path).unwrap(), FileError::Missing),
    ];
    for (case, change, error) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_settled(&path, &[b'x'; 2500]);
        let mut jobs = jobs_in(folder.path());
        start(&mut jobs, "f");
        let first = next_step(&mut jobs, &mut [0; SMALL]).unwrap();
        assert!(matches!(first.outcome, HashOutcome::Progress { .. }), "{case}: {first:?}");
        change(&path);
        let last = run(&mut jobs, SMALL).pop().unwrap();
        assert_eq!(last.outcome, HashOutcome::Failed(error), "{case}");
    }
}

#[test]
fn starting_again_takes_the_new_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    write_settled(&path, &[b'x'; 2500]);
    let mut jobs = jobs_in(folder.path());
    start(&mut jobs, "f");
    next_step(&mut jobs, &mut [0; SMALL]).unwrap();
    write_settled(&path, &[b'y'; 1500]);
    start(&mut jobs, "f");
    let steps = run(&mut jobs, SMALL);
    assert_eq!(steps.len(), 2, "the first job is gone: {steps:?}");
    let HashOutcome::Done { hash, .. } = &steps[1].outcome else { panic!("{steps:?}") };
    assert!(*hash == sha256(&[b'y'; 1500]));
}

#[test]
fn both_kinds_are_hashed_of_one_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = vec![7; 300_000];
    write_settled(&folder.path().join("f"), &bytes);
    let mut jobs = jobs_in(folder.path());
    let path = FilePath::new("f").unwrap();
    for kind in [HashKind::Sha256, HashKind::Blake3] {
        jobs.start(id("f"), path.clone(), kind);
    }
    let steps = run(&mut jobs, 100_000);
    let hash = |step: &HashStep| match &step.outcome {
        HashOutcome::Done { hash, .. } => Some(hash.clone()),
        _ => None,
    };
    let hashes: Vec<_> = steps.iter().filter_map(hash).collect();
    let id = ContentId(*blake3::hash(&bytes).as_bytes());
    let [Hash::Sha256(_), Hash::Blake3 { id: got, values }] = &hashes[..] else {
        panic!("{hashes:?}")
    };
    assert_eq!((hashes[0] == sha256(&bytes), *got, values.len()), (true, id, 2));
}

#[test]
fn a_file_changed_just_now_has_to_settle_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    let mut jobs = jobs_in(folder.path());
    let deadline = Instant::now() + Duration::from_secs(10);
    // On a busy host the file may have settled before it is looked at.
    loop {
        fs::write(&path, b"x").unwrap();
        start(&mut jobs, "f");
        let steps = run(&mut jobs, SMALL);
        if steps[0].outcome == HashOutcome::Failed(FileError::Changed) {
            break;
        }
        assert!(Instant::now() < deadline, "a young file is hashed: {steps:?}");
    }
    wait_until_settled(&path);
    start(&mut jobs, "f");
    let steps = run(&mut jobs, SMALL);
    assert!(matches!(steps[0].outcome, HashOutcome::Done { .. }), "{steps:?}");
}

/// The time so many milliseconds after a stamp.
fn later(stamp_ns: i64, later_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(stamp_ns as u64) + Duration::from_millis(later_ms)
}

#[test]
fn settled_is_old_enough_or_of_the_future() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_500);
    let now_ns = 1_000_500_000_000;
    let age_ns = SETTLED_AGE.as_nanos() as i64;
    let version = |changed_ns| Version {
        device: 1,
        inode: 1,
        size_bytes: 1,
        modified_ns: 0,
        changed_ns,
        is_executable: false,
    };
    assert!(!is_settled(&version(now_ns), now));
    assert!(!is_settled(&version(now_ns - age_ns + 1), now));
    assert!(is_settled(&version(now_ns - age_ns), now));
    assert!(is_settled(&version(now_ns + 1), now));
    // Where there are only whole seconds, two changes within one look alike.
    let whole_ns = now_ns - now_ns % NS_PER_SECOND;
    for (age_ms, settled) in [(0, false), (20, false), (1999, false), (2000, true)] {
        let later = later(whole_ns, age_ms);
        assert_eq!(is_settled(&version(whole_ns), later), settled, "{age_ms} ms");
    }
}

#[test]
fn what_cannot_be_opened_is_reported_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let mut jobs = jobs_in(folder.path());
    for there in ["absent", "folder"] {
        start(&mut jobs, there);
    }
    let steps = run(&mut jobs, SMALL);
    assert_eq!(steps.len(), 2);
    for step in steps {
        assert_eq!(step.outcome, HashOutcome::Failed(FileError::Missing));
        assert!(step.cost_bytes > 0, "failures cost something too");
    }
}

#[test]
fn a_file_that_a_disk_is_asked_for_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for text in ["asked", "other"] {
        write_settled(&folder.path().join(text), &[b'x'; 2 * SMALL]);
    }
    let mut jobs = jobs_in(folder.path());
    let mut scratch = [0; SMALL];
    start(&mut jobs, "asked");
    let first = next_step(&mut jobs, &mut scratch).unwrap();
    assert!(matches!(first.outcome, HashOutcome::Progress { .. }));
    // As if the rest of it were not in memory.
    let now = Instant::now();
    let look_at = now + DISK_LOOK_INTERVAL;
    let job = jobs.open.pop_front().unwrap();
    jobs.asked.push_back((look_at, job));
    assert!(jobs.run_slice(now, &mut scratch).is_none());
    assert_eq!(jobs.next_slice_at(now), Some(look_at));

    start(&mut jobs, "other");
    assert_eq!(jobs.next_slice_at(now), Some(now));
    while let Some(step) = jobs.run_slice(now, &mut scratch) {
        assert_eq!(step.path, id("other"));
    }
    assert_eq!(jobs.next_slice_at(now), Some(look_at));
    let last = jobs.run_slice(look_at, &mut scratch).unwrap();
    assert_eq!(last.path, id("asked"));
}

#[test]
fn the_files_open_at_once_are_bounded_and_all_get_done() {
    let folder = tempfile::tempdir().unwrap();
    let count = 3 * HASH_OPEN_FILES_MAX;
    for n in 0..count {
        fs::write(folder.path().join(format!("f{n}")), [b'x'; 3 * SMALL]).unwrap();
    }
    wait_until_settled(&folder.path().join(format!("f{}", count - 1)));
    let mut jobs = jobs_in(folder.path());
    for n in 0..count {
        start(&mut jobs, &format!("f{n}"));
    }
    let mut scratch = [0; SMALL];
    let mut done = 0;
    while let Some(step) = next_step(&mut jobs, &mut scratch) {
        assert!(jobs.open.len() + jobs.asked.len() <= HASH_OPEN_FILES_MAX);
        done += usize::from(matches!(step.outcome, HashOutcome::Done { .. }));
    }
    assert_eq!(done, count);
    assert!(jobs.waiting_ids.is_empty());
}
