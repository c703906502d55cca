//! A peer in Python that stops and waits, as the reference does: see `stop_and_wait.py`.

use std::process::Command;
use std::time::Duration;

use super::{Outcome, Process, Usage};

/// Shares a folder. Arguments: the folder.
pub(crate) const UPLOADER: &str = "stop-and-wait-uploader";
/// Fetches files. Arguments: the address, the folder, the names.
pub(crate) const DOWNLOADER: &str = "stop-and-wait-downloader";
/// How busy the reference is with a KiB, in microseconds: 5 MB/s.
pub(crate) const REFERENCE_PACE_US: u32 = 200;

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/kit/stop_and_wait.py");

/// Starts an uploader or a downloader, which is busy for so long with each KiB.
pub(crate) fn start(pace_us: u32, part: &str, arguments: &[&str]) -> Outcome<Process> {
    let mut command = Command::new("python3");
    command.arg(PYTHON).arg(pace_us.to_string()).arg(part).args(arguments);
    Process::start(part, command)
}

/// Waits for the end of a downloader; how long it took, and what it cost, without its start.
pub(crate) fn await_done(mut downloader: Process) -> Outcome<(Duration, Usage)> {
    let (begun, _) = downloader.await_stdout("begun")?;
    let before = downloader.usage()?;
    let (done, _) = downloader.await_stdout("done")?;
    let ended = downloader.await_success()?;
    Ok((done.saturating_duration_since(begun), ended.usage.since(before)))
}
