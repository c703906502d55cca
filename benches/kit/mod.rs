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
//! | `process`, `usage` | processes, what they print and when, what they cost |
//! | `place`, `content` | folders on a disk or on tmpfs; files and whether they are the same |
//! | `world` | a registry and peers |
//! | `download` | real downloads: how long they take and what they cost |
//! | `floor` | the least program that could do a transfer |
//! | `control` | a bare epoll program that moves the same bytes as an uploader |
//! | `crowd`, `probe` | bare clients: many downloads in one process; one that measures each answer |
//! | `others` | other programs, where they are installed |
//! | `stop_and_wait` | a peer in Python that stops and waits, as the reference does |
//! | `relay` | a link with a rate and a delay |
//! | `turns` | how long the turns of a loop are |
//! | `messages` | the protocol by hand, shared with the tests |
#![allow(dead_code, unused_imports, reason = "no bench needs all of it")]

pub(crate) mod content;
pub(crate) mod control;
pub(crate) mod crowd;
pub(crate) mod download;
pub(crate) mod floor;
pub(crate) mod others;
mod place;
pub(crate) mod probe;
mod process;
pub(crate) mod relay;
mod rounds;
mod settings;
mod statistics;
pub(crate) mod stop_and_wait;
mod table;
pub(crate) mod turns;
mod usage;
mod world;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use ::kit::messages;
pub(crate) use place::{Place, subfolder};
pub(crate) use process::{Ended, Process};
pub(crate) use rounds::rounds;
pub(crate) use settings::Settings;
pub(crate) use statistics::{Spread, column, percentile, ratios};
pub(crate) use table::{Bound, Report, Table};
pub(crate) use usage::Usage;
pub(crate) use world::{Entry, PeerPlan, World};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A part of a bench, with its arguments.
pub(crate) type Part = fn(&[String]) -> Outcome<()>;

/// The first argument of a bench that is run as one of its parts.
const PART: &str = "part";
/// How long anything is waited for before a bench fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const GIB: u64 = 1024 * MIB;
pub(crate) const KIB: u64 = 1024;

/// A size, in KiB below 1 MiB.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        ..MIB => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / MIB),
    }
}

/// Runs a bench, or the part of it that the command line names.
pub(crate) fn run(
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
