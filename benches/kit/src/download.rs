//! How long real downloads take, and what they cost.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::content::{check_same, empty};
use crate::{Outcome, Process, Usage, World};

/// One run of a sender and a receiver.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub elapsed: Duration,
    /// What the sender spent meanwhile.
    pub sender: Usage,
    /// What the receiver spent in its whole life.
    pub receiver: Usage,
}

impl Run {
    pub fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64()
    }

    pub fn cpu_s(&self) -> f64 {
        (self.sender.cpu + self.receiver.cpu).as_secs_f64()
    }
}

/// Fetches one file with a downloader that starts and ends, and compares it.
///
/// The time is from the line with which the downloader says that it begins (before it
/// connects) to the line that says that the file is verified under its final name, as
/// they come through a pipe. The search for a source is not in it.
pub fn one_file(
    world: &World,
    uploader: &Process,
    name: &str,
    [shared, fetched]: [&Path; 2],
    is_synced: bool,
) -> Outcome<Run> {
    let names = [name.to_owned()];
    let plan = world.peer(2, fetched).wants_all(names.iter().map(|name| &**name)).until_done();
    let plan = if is_synced { plan } else { plan.flag("--no-sync") };
    let before = uploader.usage();
    let downloader = plan.launch();
    let (begun, _) = downloader.await_log("downloading ");
    let (done, _) = downloader.await_log("verified ");
    let ended = downloader.await_success();
    let sender = uploader.usage().since(before);
    check_same(&names, shared, fetched)?;
    empty(fetched)?;
    let elapsed = done.saturating_duration_since(begun);
    Ok(Run { elapsed, sender, receiver: ended.usage })
}

/// Fetches many files from peer 1 with a downloader that starts and ends, and compares them.
///
/// It hears all offers first, while the registry is stopped; the time is from the moment
/// the registry goes on, and the downloader may register, look up the source and ask, to
/// the end of the downloader, when all are verified under their final names.
pub fn many_files(
    world: &World,
    uploader: &Process,
    names: &[String],
    [shared, fetched]: [&Path; 2],
    is_synced: bool,
) -> Outcome<Run> {
    world.close();
    let plan = world.peer(2, fetched).option("--offer-interval", "1h");
    let plan = if is_synced { plan } else { plan.flag("--no-sync") };
    let downloader = plan.wants_all(names.iter().map(|name| &**name)).until_done().start().process;
    world.await_offers(1, names);
    let before = uploader.usage();
    let begun = world.open();
    let ended = downloader.await_success();
    let sender = uploader.usage().since(before);
    check_same(names, shared, fetched)?;
    empty(fetched)?;
    let elapsed = ended.at.saturating_duration_since(begun);
    Ok(Run { elapsed, sender, receiver: ended.usage })
}

/// One run of a sender and many receivers.
pub struct Crowd {
    /// What the one took that was done last.
    pub slowest: Duration,
    /// And first.
    pub fastest: Duration,
    /// Of all.
    pub cpu: Duration,
}

impl Crowd {
    /// What each receiver took and spent; what the sender spent.
    pub fn of(receivers: &[(Duration, Duration)], sender_cpu: Duration) -> Self {
        let times = || receivers.iter().map(|(elapsed, _)| *elapsed);
        let receivers_cpu: Duration = receivers.iter().map(|(_, cpu)| *cpu).sum();
        Self {
            slowest: times().max().unwrap_or_default(),
            fastest: times().min().unwrap_or_default(),
            cpu: sender_cpu + receivers_cpu,
        }
    }
}

/// Fetches one file from peer 1 with a downloader for each folder, all at once; the times are
/// from the moment the registry goes on, as in [`many_files`].
pub fn at_once(
    world: &World,
    uploader: &Process,
    name: &str,
    shared: &Path,
    folders: &[PathBuf],
) -> Outcome<Crowd> {
    let before = uploader.usage();
    let names = [name.to_owned()];
    world.close();
    let mut downloaders = Vec::new();
    for (folder, id) in folders.iter().zip(2..) {
        let plan = world.peer(id, folder).option("--offer-interval", "1h");
        downloaders.push(
            plan.flag("--no-sync")
                .wants_all(names.iter().map(|name| &**name))
                .until_done()
                .start()
                .process,
        );
    }
    world.await_offers(1, &names);
    let begun: Instant = world.open();
    let mut receivers = Vec::new();
    for downloader in &mut downloaders {
        let (done, _) = downloader.await_log("verified ");
        let ended = downloader.await_success();
        let elapsed = done.saturating_duration_since(begun);
        receivers.push((elapsed, ended.usage.cpu));
    }
    let sender_cpu = uploader.usage().since(before).cpu;
    for folder in folders {
        check_same(&names, shared, folder)?;
        empty(folder)?;
    }
    Ok(Crowd::of(&receivers, sender_cpu))
}
