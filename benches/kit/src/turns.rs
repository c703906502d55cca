//! How long the turns of a loop are: the time between the end of one `epoll_wait` and the
//! beginning of the next, as strace sees it. Other calls are not slowed down. Where a
//! process is put aside for another, that time is in it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::others::find;
use crate::{Outcome, PeerPlan, Process, Spread, percentile};

/// The turns of a process, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    pub count: usize,
    pub p999_ms: f64,
    pub longest_ms: f64,
}

/// What a table says if they cannot be watched.
pub const NOT_WATCHED: &str =
    "strace is not here, or may not watch: the turns of the loop are not measured";

const FLAGS: [&str; 9] =
    ["-D", "-f", "--seccomp-bpf", "-qq", "-ttt", "-T", "-e", "trace=epoll_wait", "-o"];

/// Has a peer watched; `None` if strace is not installed, or may not.
pub fn watched(plan: PeerPlan, log: &Path) -> Option<PeerPlan> {
    let strace = find("strace")?;
    let mut trial = Command::new(&strace);
    trial.args(FLAGS).args(["/dev/null", "true"]).stderr(Stdio::null());
    if !trial.status().is_ok_and(|status| status.success()) {
        return None;
    }
    // With -D, strace is the grandchild and the peer the process that is ours to end.
    // Ahead of the others, if that is allowed: the time is taken when strace runs.
    let launcher = ["nice".into(), "-n".into(), "-20".into(), strace.into()];
    let flags = FLAGS.into_iter().map(OsString::from);
    Some(plan.under(launcher.into_iter().chain(flags).chain([log.into()])))
}

/// Ends a peer that was started with `--verbose`; gives its longest turn in milliseconds, as it
/// counted itself.
pub fn end_and_longest_turn_ms(peer: &Process) -> Outcome<f64> {
    peer.signal(Signal::TERM);
    peer.await_end();
    let (_, turns) = peer.await_log("turns of the loop, the longest ");
    Ok(turns.rsplit(' ').nth(1).ok_or("no number of turns")?.parse()?)
}

impl Turns {
    /// Of what was written down, without the first turns, which are the start.
    pub fn read(log: &Path, skip: usize) -> Outcome<Self> {
        let text = fs::read_to_string(log)?;
        let waits: Vec<(f64, f64)> = text.lines().filter_map(wait).collect();
        let turns_ms: Vec<f64> = waits
            .windows(2)
            .skip(skip)
            .map(|pair| (pair[1].0 - (pair[0].0 + pair[0].1)) * 1e3)
            .collect();
        let Spread { most, n, .. } = Spread::of(&turns_ms);
        Ok(Self { count: n, p999_ms: percentile(&turns_ms, 0.999), longest_ms: most })
    }
}

/// When an `epoll_wait` began, and how long it took, in seconds.
fn wait(line: &str) -> Option<(f64, f64)> {
    let (_, rest) = line.split_once(' ')?;
    let (begin, _) = rest.trim_start().split_once(' ')?;
    let (_, took) = line.trim_end().strip_suffix('>')?.rsplit_once('<')?;
    Some((begin.parse().ok()?, took.parse().ok()?))
}
