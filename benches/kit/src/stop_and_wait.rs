//! A peer in Python that stops and waits, as the reference does: see `stop_and_wait.py`.

use std::process::Command;
use std::time::Duration;

use crate::{Process, Usage};

/// Shares a folder. Arguments: the folder.
pub const UPLOADER: &str = "stop-and-wait-uploader";
/// Fetches files. Arguments: the address, the folder, the names.
pub const DOWNLOADER: &str = "stop-and-wait-downloader";
/// How long the reference is busy with a KiB beside what this peer needs for it anyway, in
/// microseconds: it sent about 5 MB/s, and took some 80 MB/s in large chunks.
const REFERENCE_UPLOADER_PACE_US: u32 = 95;
const REFERENCE_DOWNLOADER_PACE_US: u32 = 6;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/stop_and_wait.py");

/// How fast one is.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As fast as the reference.
    Reference,
    /// As fast as it can.
    Full,
}

/// Starts an uploader or a downloader.
pub fn start(pace: Pace, part: &str, arguments: &[&str]) -> Process {
    let pace_us = match pace {
        Pace::Full => 0,
        Pace::Reference if part == UPLOADER => REFERENCE_UPLOADER_PACE_US,
        Pace::Reference => REFERENCE_DOWNLOADER_PACE_US,
    };
    let mut command = Command::new("python3");
    Process::of(part, command.arg(PYTHON).arg(pace_us.to_string()).arg(part).args(arguments))
}

/// Waits for the end of a downloader; how long it took, and what it cost, without its start.
pub fn await_done(downloader: &Process) -> (Duration, Usage) {
    let (begun, _) = downloader.await_stdout("begun");
    let before = downloader.usage();
    let (done, _) = downloader.await_stdout("done");
    let ended = downloader.await_success();
    (done.saturating_duration_since(begun), ended.usage.since(before))
}
