//! What every bench stands on: its arguments, the real programs in processes of
//! their own, rounds in alternating order, and tables.
//!
//! ```text
//! cargo bench [--bench NAME] [-- [--quick] [--pairs N] [--json FILE] [TABLE ...]]
//! ```
//!
//! A bench is a plain program. Whatever it needs beside it (a bare sender, a crowd of
//! clients) is a *part*: the bench itself, run again as a process of its own, so that
//! what is measured and what measures share nothing.
//!
//! | module | what it is for |
//! |---|---|
//! | `settings` | the command line |
//! | `rounds` | the order in which compared things run |
//! | `statistics`, `table` | medians, ratios of pairs; as text and as JSON |
//! | `part` | a bench run again as one of its parts |
//! | `place`, `content` | folders on a disk or on tmpfs; files and whether they are the same |
//! | `world` | a registry and peers, by the harness of the tests |
//! | `download` | real downloads: how long they take and what they cost |
//! | `floor` | the least program that could do a transfer |
//! | `control` | a bare epoll program that moves the same bytes as an uploader |
//! | `crowd`, `probe` | bare clients: many downloads in one process; one that measures each answer |
//! | `others` | other programs, where they are installed |
//! | `stop_and_wait` | a peer in Python that stops and waits, as the reference does |
//! | `relay` | a link with a rate and a delay |
//! | `turns` | how long the turns of a loop are |
//! #![allow(missing_docs, reason = "only benches see it, and most names say all")]

pub mod content;
pub mod control;
pub mod crowd;
pub mod download;
pub mod floor;
pub mod others;
mod place;
pub mod probe;
pub mod relay;
mod rounds;
mod settings;
mod statistics;
pub mod stop_and_wait;
mod table;
pub mod turns;
mod world;

use std::env;
use std::error::Error;
use std::ffi::OsStr;
use std::process::{Command, ExitCode};

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};

pub use place::{Place, subfolder};
pub use rounds::rounds;
pub use settings::Settings;
pub use statistics::{Spread, column, percentile, ratios};
pub use table::{Bound, Report, Table};
pub use world::{Entry, World};

pub use kit::{Ended, Peer, PeerPlan, Process, Usage};

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A part of a bench, with its arguments.
pub type Part = fn(&[String]) -> Outcome<()>;

/// The first argument of a bench that is run as one of its parts.
const PART: &str = "part";
pub const MIB: u64 = 1024 * 1024;
pub const GIB: u64 = 1024 * MIB;
pub const KIB: u64 = 1024;

/// A size, in KiB below 1 MiB.
pub fn size(bytes: u64) -> String {
    match bytes {
        ..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// Runs a bench, or the part of it that the command line names.
pub fn run(
    name: &str,
    parts: &[(&str, Part)],
    bench: fn(&Settings, &mut Report) -> Outcome<()>,
) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [first, part, rest @ ..] if first == PART => run_part(parts, part, rest),
        _ => Settings::parse(name, &arguments)
            .and_then(|settings| bench(&settings, &mut Report::new(name, &settings)?)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts a part of this bench.
pub fn part<A: AsRef<OsStr>>(part: &str, arguments: &[A]) -> Process {
    let program = env::current_exe().expect("the bench is a program");
    Process::of(part, Command::new(program).arg(PART).arg(part).args(arguments))
}

/// Keeps the first thread of a process on one core, if that core may be used.
pub fn pin(process: &Process, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(Some(process.pid()), &cores);
}

/// Gives a process the usual priority, if it was started with another.
pub fn set_usual_priority(process: &Process) {
    let _ = setpriority_process(Some(process.pid()), 0);
}

fn run_part(parts: &[(&str, Part)], part: &str, arguments: &[String]) -> Outcome<()> {
    let usual: [(&str, Part); 7] = [
        (floor::SENDER, floor::sender),
        (floor::RECEIVER, floor::receiver),
        (control::UPLOADER, control::uploader),
        (crowd::DOWNLOADS, crowd::downloads),
        (crowd::IDLE, crowd::idle),
        (probe::PROBE, probe::probe),
        (relay::RELAY, relay::relay),
    ];
    match usual.iter().chain(parts).find(|(name, _)| *name == part) {
        Some((_, run)) => run(arguments),
        None => Err(format!("no part {part}").into()),
    }
}
