//! Rows 11, 16 and 18: every system call of a small transfer, of the downloader, the
//! uploader and the registry, fails once with every error that fits it, and once is the
//! moment of a kill. Errors that say "again" change nothing; others may end a transfer or
//! a program, but with a reason, with its partial file gone, and with no harm to any
//! other. Once nothing fails any more, everything arrives.
//!
//! `P2PFS_CALLS` is `some` (the usual), `once` (each call with one of its errors and, but
//! for an uploader, as the moment of a kill) or `all`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kit::{PeerPlan, Process, Signal, await_until};
use tempfile::TempDir;

use crate::checks::{self, Snapshot};
use crate::place::{DOWNLOADER, Library, Place, SOURCE, empty};
use crate::rounds::play;
use crate::strace::{self, Call, Fault, STRACE};

kit::tests! {
    STRACE:
        each_call_of_a_downloader,
        each_call_of_an_uploader,
        each_call_of_a_registry;
}

/// Another downloader, which no fault is meant for.
const BYSTANDER: u32 = 3;

/// Of the calls that `once` tries, each so-and-so-many-th is tried by `some`.
const SOME: usize = 20;

const NOT_REACHED: &str = "not reached";

/// One call and what happens at it.
type Case = (Call, Fault);

/// To whom it happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Downloader,
    Uploader,
    Registry,
}

/// What came of the cases.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<&'static str, usize>>);

impl Tally {
    fn count(&self, outcome: &'static str) {
        *self.0.lock().unwrap().entry(outcome).or_default() += 1;
    }

    /// Most calls have to be reached: the order of some depends on chance.
    fn close(self, cases: &[Case]) {
        let outcomes = self.0.into_inner().unwrap();
        let (missed, cases) = (outcomes.get(NOT_REACHED).copied().unwrap_or(0), cases.len());
        assert!(missed * 4 < cases, "{missed} of {cases} calls were not reached: {outcomes:?}");
    }
}

struct Site {
    place: Place,
    logs: TempDir,
}

impl Site {
    fn new() -> Self {
        let place = Place::new(Library::new(&[60_000, 100]));
        Self { place, logs: TempDir::new().unwrap() }
    }

    /// One where each case starts this side, and the source.
    fn without(side: Side) -> Self {
        let site = Self::new();
        site.place.source.stop();
        if side == Side::Registry {
            site.place.world.registry().process.stop();
        }
        site
    }

    /// Starts one side under a launcher, or without one.
    fn launch(&self, side: Side, launcher: Vec<OsString>) -> Process {
        match side {
            Side::Downloader => self.downloader(DOWNLOADER).under(launcher).launch(),
            Side::Uploader => self.source().under(launcher).launch(),
            Side::Registry => self.place.world.launch_registry(launcher),
        }
    }

    /// Starts the source, where it is not the side that each case starts.
    fn launch_source_for(&self, side: Side) -> Option<Process> {
        (side == Side::Registry).then(|| self.launch(Side::Uploader, Vec::new()))
    }

    fn log(&self) -> PathBuf {
        self.logs.path().join("trace")
    }

    fn downloader(&self, id: u32) -> PeerPlan {
        patient(self.place.downloader(id))
    }

    fn source(&self) -> PeerPlan {
        patient(self.place.another_source())
    }

    fn folder(&self, id: u32) -> PathBuf {
        self.place.world.shared_folder(id)
    }

    fn snapshot_of_source(&self) -> Snapshot {
        Snapshot::outside(Path::new(""), &self.folder(SOURCE))
    }

    #[track_caller]
    fn source_is_unchanged(&self, before: &Snapshot) {
        before.nothing_changed(Path::new(""), &self.folder(SOURCE));
    }
}

/// With short deadlines: what a fault has silenced is noticed soon.
fn patient(plan: PeerPlan) -> PeerPlan {
    let plan = plan.option("--progress-timeout", "1s").option("--first-byte-timeout", "1s");
    plan.option("--disk-reserve", "0")
}

fn cases(side: Side, calls: &[Call]) -> Vec<Case> {
    let wanted = env::var("P2PFS_CALLS").unwrap_or_else(|_| "some".to_owned());
    let errors = |call: &Call| strace::errors_for(&call.name).iter().map(|&e| Fault::Error(e));
    match wanted.as_str() {
        "all" => {
            let faults = |call| errors(call).chain([Fault::Kill]);
            calls.iter().flat_map(|call| faults(call).map(|fault| (call.clone(), fault))).collect()
        }
        "once" | "some" => {
            let chosen = calls.iter().filter_map(|call| {
                let count = strace::errors_for(&call.name).len();
                Some((call.clone(), errors(call).nth(call.nth % count)?))
            });
            let kills = calls.iter().filter(|_| side != Side::Uploader);
            let all = chosen.chain(kills.map(|call| (call.clone(), Fault::Kill)));
            all.step_by(if wanted == "some" { SOME } else { 1 }).collect()
        }
        other => panic!("P2PFS_CALLS={other} is none of some, once and all"),
    }
}

fn each_call_of_a_downloader() {
    let site = Site::new();
    let traced = site.launch(Side::Downloader, strace::tracing(&site.log()));
    site.place.fetches_all(&site.folder(DOWNLOADER), traced);
    let calls = strace::calls_in(&site.log());
    let (cases, tally) = (cases(Side::Downloader, &calls), Tally::default());
    let round = |site: &mut Site, round| try_downloader(site, &cases[round], &tally);
    play(cases.len(), Site::new, round);
    tally.close(&cases);
}

fn try_downloader(site: &Site, (call, fault): &Case, tally: &Tally) {
    let _told = Told(call, *fault);
    let (folder, before) = (site.folder(DOWNLOADER), site.snapshot_of_source());
    let bystander = site.downloader(BYSTANDER).launch();
    let launcher = strace::injecting(&site.log(), call, *fault);
    let victim = site.launch(Side::Downloader, launcher);
    match fault {
        Fault::Kill => {
            let was_killed = victim.await_exit().signal() == Some(Signal::KILL.as_raw());
            tally.count(if was_killed { "killed" } else { NOT_REACHED });
            checks::clean(&victim.log());
        }
        Fault::Error(error) => {
            let code = checks::named_end(&victim);
            judge_downloader(site, &victim, code, error, tally);
            checks::nothing_left_over(&folder);
        }
    }
    checks::nothing_wrong(&folder, &site.place.library);
    checks::nothing_lost(&folder, &checks::reported(&victim.log()));
    site.place.fetches_all(&folder, site.downloader(DOWNLOADER).launch());
    site.place.fetches_all(&site.folder(BYSTANDER), bystander);
    site.source_is_unchanged(&before);
    empty(&folder);
    empty(&site.folder(BYSTANDER));
}

/// Whether a download ended as it should after such an error at such a call.
fn judge_downloader(site: &Site, victim: &Process, code: i32, error: &str, tally: &Tally) {
    let log = victim.log();
    let Some(line) = strace::injected_in(&site.log()) else {
        assert_eq!(code, 0, "nothing failed: {log:#?}");
        return tally.count(NOT_REACHED);
    };
    let failed = |line: &&String| line.contains(" cannot be fetched: ");
    assert_eq!(matches!(code, 8 | 10), log.iter().any(|line| failed(&line)), "{line}: {log:#?}");
    // A descriptor may be free again soon, and a disk may have room again at the next try.
    if is_write(&line) && error == "EIO" {
        assert!(matches!(code, 8 | 10), "{line}: code {code}, {log:#?}");
    }
    match code {
        0 => {
            checks::nothing_lost(&site.folder(DOWNLOADER), &names(&site.place.library));
            tally.count("carried on");
        }
        _ if may_be_tried_again(error) => panic!("{line}: code {code}, {log:#?}"),
        1 | 2 | 8 | 10 | 11 => tally.count("failed with a reason"),
        _ => panic!("{line}: code {code}, {log:#?}"),
    }
}

/// Whether a failure of this call means that a file could not be written.
fn is_write(line: &str) -> bool {
    let calls = ["pwrite64(", "fsync(", "renameat2(", "flock("];
    let creates = line.contains("openat(") && line.contains("O_CREAT");
    creates || calls.iter().any(|call| line.contains(call))
}

fn may_be_tried_again(error: &str) -> bool {
    matches!(error, "EINTR" | "EAGAIN")
}

fn each_call_of_an_uploader() {
    each_call_of_a_server(Side::Uploader);
}

fn each_call_of_a_registry() {
    each_call_of_a_server(Side::Registry);
}

fn each_call_of_a_server(side: Side) {
    let site = Site::without(side);
    let traced = site.launch(side, strace::tracing(&site.log()));
    let source = site.launch_source_for(side);
    for id in [DOWNLOADER, BYSTANDER] {
        site.place.fetches_all(&site.folder(id), site.downloader(id).launch());
    }
    traced.stop();
    // Read once strace has seen the end, too.
    drop((traced, source));
    let calls = strace::calls_in(&site.log());
    let (cases, tally) = (cases(side, &calls), Tally::default());
    let round = |site: &mut Site, round| try_server(site, side, &cases[round], &tally);
    play(cases.len(), || Site::without(side), round);
    tally.close(&cases);
}

fn try_server(site: &Site, side: Side, (call, fault): &Case, tally: &Tally) {
    let _told = Told(call, *fault);
    let before = site.snapshot_of_source();
    let victim = site.launch(side, strace::injecting(&site.log(), call, *fault));
    let source = site.launch_source_for(side);
    let downloads = [DOWNLOADER, BYSTANDER].map(|id| site.downloader(id).launch());
    let mut all_done = false;
    await_until("it has served all, or cannot", || {
        all_done = downloads.iter().all(Process::has_ended);
        all_done || victim.has_ended() || has_given_up(&victim)
    });
    let was_killed = end_server(site, &victim, *fault);
    match fault {
        _ if !all_done => tally.count("another had to serve"),
        Fault::Error(_) if strace::injected_in(&site.log()).is_some() => {
            tally.count("carried on");
        }
        Fault::Kill if was_killed => tally.count("killed at the end"),
        _ => tally.count(NOT_REACHED),
    }
    let another = (!all_done).then(|| {
        let again = matches!(fault, Fault::Error(error) if may_be_tried_again(error));
        assert!(!again, "an error that says to try again: {:#?}", victim.log());
        let another = site.launch(side, Vec::new());
        // Before it listens a signal would kill it.
        another.await_listening();
        another
    });
    for (id, download) in [DOWNLOADER, BYSTANDER].into_iter().zip(downloads) {
        site.place.fetches_all(&site.folder(id), download);
        fs::remove_dir_all(site.folder(id)).unwrap();
    }
    another.into_iter().chain(source).for_each(|process| process.stop());
    site.source_is_unchanged(&before);
}

/// The log says that a file is not shared for now, with why.
fn has_given_up(uploader: &Process) -> bool {
    let is_about_that =
        |line: &String| line.contains("is no longer shared: ") || line.contains("not shared: file");
    uploader.log().iter().any(is_about_that)
}

/// Ends an uploader or a registry, unless the fault has done so: in order, or for a named
/// reason.
///
/// The handler of a signal wakes the loop by a message to itself. That this fails is made
/// up: the kernel refuses it only if such a message waits already. The next signal helps.
/// Gives whether it was killed.
fn end_server(site: &Site, server: &Process, fault: Fault) -> bool {
    if !server.has_ended() {
        server.signal(Signal::TERM);
        let was_not_woken = || {
            strace::injected_in(&site.log()).is_some_and(|line| line.contains(r#", "X", 1, MSG_"#))
        };
        await_until("the signal has arrived", || server.has_ended() || was_not_woken());
        if !server.has_ended() {
            server.signal(Signal::TERM);
        }
    }
    match fault {
        Fault::Kill => {
            let status = server.await_exit();
            let was_killed = status.signal() == Some(Signal::KILL.as_raw());
            assert!(was_killed || status.code() == Some(143), "{status:?}");
            checks::clean(&server.log());
            was_killed
        }
        Fault::Error(_) => {
            let code = checks::named_end(server);
            assert!(matches!(code, 1 | 2 | 11 | 143), "code {code}: {:#?}", server.log());
            false
        }
    }
}

fn names(library: &Library) -> Vec<String> {
    library.names().map(str::to_owned).collect()
}

/// Names the case that failed.
struct Told<'a>(&'a Call, Fault);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("at {:?}: {:?}", self.0, self.1);
        }
    }
}
