//! `p2pfs get`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use rustix::fs::{Dev, OFlags, fcntl_getfl, fstat};

use super::secret::membership;
use super::sharing::name_of_host;
use super::{
    cannot_read_folder, loop_failed, network, not_printed, paths, result_of, via, with_descriptors,
};
use crate::cli::{GetArgs, Output, OutputArgs, ends_with_slash};
use crate::content::{Known, OnConflict};
use crate::count::{Bytes, Count};
use crate::exit::{ExitCode, Failure};
use crate::limits::Limits;
use crate::node::{
    FetchError, GatherSettings, GuestSettings, Input, Outcome, PeerKind, PeerNode, PeerSettings,
    Which, Wish,
};
use crate::reactor::{Files, Reactor, Signals, Sockets};
use crate::stdio;
use crate::storage::{Committed, ShareRules, SharedFolder, SharedTree, WriteSettings};
use crate::ui::{Ending, Ui};
use crate::wire::v0::FileName;
use crate::wire::{PeerId, Shown};

/// The number of /dev/null on Linux: major 1, minor 3.
const NULL_DEVICE: Dev = 1 << 8 | 3;
/// How much is written to stdout at once: what a pipe holds, as long as nobody changes that.
const WRITTEN_OUT_BYTES: usize = 64 * 1024;

/// Fetches the files, and notes in `ending` how many were skipped and how much is kept.
pub fn get(args: &GetArgs, output: &OutputArgs, ending: &mut Ending) -> Result<ExitCode, Failure> {
    if let Some(program) = &args.via {
        return via::get(program, args, output);
    }
    let membership = membership(&args.secret, "get")?;
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    let signals = Signals::new().map_err(loop_failed)?;
    let network = network::network(&args.network.interface, Which::Any, &args.network.offers)?;
    let offers = network::hear_offers(&network)?;
    let beacons = network::bind_beacons(&network)?;
    let limits = with_descriptors(args.transfer.limits(args.writing.limits(Limits::PEER)));
    let gives = !args.no_give && !args.dry_run;
    let host = network.host().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let listener = gives.then(|| network::listen(host, args.port, limits.progress_timeout));
    let listener = match listener {
        Some(Err(failure)) if args.port.is_some() => return Err(failure),
        // What is fetched does not depend on it.
        listener => listener.and_then(Result::ok),
    };
    let (folder, unnamed) = output_folder(args)?;
    let found = there_already(args, &folder)?;

    let guest = GuestSettings {
        timeout: args.timeout,
        retries_max: args.retries,
        on_conflict: args.on_conflict,
        gives,
    };
    let settings = PeerSettings {
        kind: PeerKind::Guest(guest),
        id: PeerId(0),
        port: listener.as_ref().map_or(0, |listener| listener.address().port()),
        registry: args.network.registry(),
        registry_use: args.network.registry_use(),
        offer_interval: args.network.offers.offer_interval,
        name: name_of_host(),
        instance: fastrand::u64(1..),
        shares_v0: true,
        group: membership.group,
        beacons: Some(membership.beacons),
        gather: GatherSettings {
            from: args.from.clone(),
            peers: args.peer.clone(),
            // The only file has no folder to be in.
            is_flat: args.flat || matches!(args.output, Output::Stdout),
            is_unnamed: matches!(args.output, Output::Stdout),
            only_looks: false,
            is_dry_run: args.dry_run,
            with_hidden: args.hidden,
            discards: args.discard,
        },
        simulate_checksum_failure: false,
        exit_when_done: true,
        limits,
        seed: fastrand::u64(..),
    };
    let node = PeerNode::new(Instant::now(), settings);
    let sockets = Sockets {
        network,
        progress_timeout: limits.progress_timeout,
        rate_limits: args.transfer.rates(),
        listener,
        offers: Some(offers),
        beacons: Some(beacons),
        control: None,
        programs: Vec::new(),
    };
    let rules = ShareRules { hidden: true, ..ShareRules::default() };
    let tree = Rc::new(SharedTree::of(&folder, rules));
    let files = Some(Files::new(tree, Some(folder), None));
    let ui = Ui::new("get".into(), output.show_daily());
    let mut reactor = Reactor::new(ui, node, signals, sockets, files).map_err(loop_failed)?;
    let wishes = match &args.output {
        Output::Stdout => args.wishes().iter().filter_map(Wish::one_file).collect(),
        Output::Folder(_) => args.wishes(),
    };
    let mut begin = found;
    begin.push(Input::Wish(&wishes));
    let outcome = reactor.run(begin).map_err(loop_failed)?;
    ending.skipped = (args.on_conflict == OnConflict::Skip).then(|| reactor.ui().skipped());
    let (kept_files, kept_bytes) = reactor.ui().kept();
    let failure = match (&outcome, &*wishes) {
        (Outcome::SomeFailed { error, done: 0, .. }, [Wish::Matching(pattern)]) => {
            let pattern = Shown(pattern.as_str());
            Some((error, format!("nothing that matches {pattern} could be fetched: {error}")))
        }
        (Outcome::SomeFailed { error: error @ FetchError::NotShared, done: 0, .. }, [wish])
            if !reactor.ui().names_there().is_empty() =>
        {
            let names = Shown(reactor.ui().names_there().join(", "));
            let message = format!("{wish} could not be fetched: nobody shared it in time; ");
            Some((error, format!("{message}others share {names}")))
        }
        (Outcome::SomeFailed { error, done: 0, .. }, [wish]) => {
            Some((error, format!("{wish} could not be fetched: {error}")))
        }
        _ => None,
    };
    let mut result = match failure {
        Some((error, message)) => Err(Failure::new(ExitCode::from(*error), message)),
        None => result_of(outcome, None),
    };
    if kept_files > 0 {
        ending.kept_bytes = Some(kept_bytes);
        let (files, bytes) = (Count(kept_files, "file"), Bytes(kept_bytes));
        let kept = format!("{bytes} of {files} are kept, and the same command goes on from there");
        match &mut result {
            Ok(_) => log::info!(target: "get", "{kept}"),
            Err(failure) => failure.message = format!("{}; {kept}", failure.message),
        }
    }
    let code = result?;
    match unnamed.as_ref().and_then(|committed| committed.get()) {
        Some(file) if code == ExitCode::Done => write_out(file, until),
        _ => Ok(code),
    }
}

/// Returns the folder that files go to, and where the file is put that stdout gets afterwards,
/// which has no name.
fn output_folder(args: &GetArgs) -> Result<(SharedFolder, Option<Committed>), Failure> {
    let (mut folder, unnamed) = match &args.output {
        Output::Folder(path) => {
            if ends_with_slash(path) {
                fs::create_dir_all(path).map_err(|error| cannot_write_to_folder(path, &error))?;
            }
            let folder = SharedFolder::open(path).map_err(|error| cannot_read_folder(path, &error));
            let folder = folder?;
            folder.check_writable().map_err(|error| cannot_write_to_folder(path, &error))?;
            (folder, None)
        }
        Output::Stdout => {
            check_stdout()?;
            let (folder, committed) = unnamed_folder()?;
            (folder, Some(committed))
        }
    };
    folder.set(WriteSettings {
        sync: !args.writing.no_sync && unnamed.is_none(),
        disk_reserve_bytes: args.writing.disk_reserve,
        on_conflict: args.on_conflict,
        keeps_partials: true,
    });
    Ok((folder, unnamed))
}

/// Returns what is there already of what is wanted, if that is to be skipped.
fn there_already(args: &GetArgs, folder: &SharedFolder) -> Result<Vec<Input<'static>>, Failure> {
    let path = match &args.output {
        Output::Folder(path) if args.on_conflict == OnConflict::Skip => path,
        _ => return Ok(Vec::new()),
    };
    let scan = folder.scan().map_err(|error| cannot_read_folder(path, &error))?;
    let wishes = args.wishes();
    let patterns: Vec<_> = wishes.iter().filter_map(Wish::name_pattern).collect();
    let is_wanted = |name: &FileName| {
        wishes.iter().any(|wish| wish.name() == Some(*name))
            || patterns.iter().any(|pattern| pattern.matches(name))
    };
    let found = scan.files.into_iter().filter(|(name, _)| is_wanted(name));
    Ok(found
        .map(|(name, version)| Input::FileFound {
            path: name.into(),
            version,
            known: Known::default(),
        })
        .collect())
}

fn cannot_write_to_folder(path: &Path, error: &io::Error) -> Failure {
    let path = Shown(path.to_string_lossy());
    let message = format_args!("cannot write to the folder {path}: {error}; ");
    Failure::new(ExitCode::WriteFailed, format_args!("{message}choose another with -o"))
}

/// Refuses a stdout that keeps nothing of what is written to it: a write would not tell.
///
/// Before this program begins, its runtime opens /dev/null in the place of a stdout that is
/// closed, for reading and writing. A shell that sends the output there on purpose opens it only
/// for writing; a launcher that opens it for both cannot be told from that,
/// and is refused too, which loses nothing.
fn check_stdout() -> Result<(), Failure> {
    let stdout = io::stdout();
    let mode = fcntl_getfl(&stdout).map_err(|error| not_printed(&error.into()))? & OFlags::RWMODE;
    let is_null = || fstat(&stdout).is_ok_and(|stat| stat.st_rdev == NULL_DEVICE);
    if mode == OFlags::RDONLY || mode == OFlags::RDWR && is_null() {
        let message = "cannot write to stdout: it is closed; open it, or choose a folder with -o";
        return Err(Failure::new(ExitCode::WriteFailed, message));
    }
    Ok(())
}

/// Returns a folder for a file without a name, where temporary files go, and where that file is
/// put when it is committed.
fn unnamed_folder() -> Result<(SharedFolder, Committed), Failure> {
    let path = paths::temporary();
    SharedFolder::open_unnamed(&path).map_err(|error| {
        let path = Shown(path.to_string_lossy());
        let message = format_args!("cannot make a temporary file in {path}: {error}; set TMPDIR");
        Failure::new(ExitCode::WriteFailed, message)
    })
}

/// Writes what came to stdout, now that it is verified, until then at most.
fn write_out(mut file: &File, until: Option<Instant>) -> Result<ExitCode, Failure> {
    let mut stdout = stdio::stdout();
    let mut buffer = vec![0; WRITTEN_OUT_BYTES];
    loop {
        let len = file.read(&mut buffer).map_err(|error| not_printed(&error))?;
        if len == 0 {
            return Ok(ExitCode::Done);
        }
        stdout.data(&buffer[..len], until).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                let message = "stdout did not take all of the file in time; ";
                Failure::new(ExitCode::TimedOut, format_args!("{message}allow more with --timeout"))
            }
            _ => not_printed(&error),
        })?;
    }
}
