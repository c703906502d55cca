//! `p2pfs get --via`: a running peer fetches the files.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Instant;

use super::ask::{self, Asker};
use super::get::sorted;
use super::sockets;
use crate::cli::{GetArgs, OutputArgs};
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::CONTROL_FETCHES_MAX;
use crate::node::{Doubt, NamePattern};
use crate::proto::control::{Ask, News, Reply};
use crate::proto::{CloseReason, Timer};
use crate::wire::v0::FileName;
use crate::wire::{FieldText, Shown};

/// What became of the files, as far as that is known.
struct Ends {
    done: usize,
    failed: usize,
    /// Why the last one failed.
    last: ExitCode,
    /// Those that nobody has offered so far.
    never_offered: BTreeSet<FileName>,
}

/// Hands the wishes to a program, or to the only one there is, and waits for their ends.
pub(super) fn get(program: &str, args: &GetArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let (names, patterns) = sorted(&args.names);
    let mut names = BTreeSet::from_iter(names);
    if names.len() > CONTROL_FETCHES_MAX {
        let message = "too many names for --via; give some thousand at once";
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let paths = if program.is_empty() { sockets::all()? } else { vec![sockets::named(program)?] };
    let mut asker = Asker::new("get", &paths, output)?;
    let mut peer = 0;
    if program.is_empty() {
        if let Some(code) = asker.ask(&Ask::Fetches, None)? {
            return Ok(code);
        }
        peer = the_only_peer(&mut asker)?;
    }
    let until = args.timeout.map(|timeout| Instant::now() + timeout);
    let mut doubt = None;
    for pattern in &patterns {
        match find(&mut asker, peer, pattern, until)? {
            Found::Ended(code) => return Ok(code),
            Found::Names(found, why) => {
                names.extend(found);
                doubt = doubt.or(why);
            }
        }
    }
    while names.len() > CONTROL_FETCHES_MAX {
        names.pop_last();
        doubt.get_or_insert_with(|| {
            format!("only the first {CONTROL_FETCHES_MAX} are fetched; take a narrower pattern")
        });
    }
    if names.is_empty() {
        // A search that found nothing ends only with its time; the program refuses others.
        if let Some(refusal) = doubt.filter(|doubt| *doubt != Doubt::TimeUp.to_string()) {
            return Err(Failure::new(ExitCode::Other, Shown(refusal)));
        }
        let message = format_args!("nobody offered anything that matches in time");
        return Err(Failure::new(ExitCode::NotOffered, message));
    }
    if let Some(code) = asker.ask_some(&[peer], &Ask::Want(names.clone()), until)? {
        return Ok(code);
    }
    let Some((path, answered)) = asker.answers().next() else { return Ok(ExitCode::Other) };
    match answered.reason {
        CloseReason::Done
        | CloseReason::ClosedByPeer
        | CloseReason::Broken(ErrorKind::ConnectionReset)
        | CloseReason::TimedOut(Timer::Answer) => {}
        reason => return Err(ask::no_answer(path, reason)),
    }
    let is_late = answered.reason == CloseReason::TimedOut(Timer::Answer);
    let code = verdict(&names, &Ends::of(&answered.replies), is_late)?;
    match doubt {
        Some(doubt) => {
            let message = format_args!("there may be more that matches: {}", Shown(doubt));
            Err(Failure::new(ExitCode::SomeDone, message))
        }
        None => Ok(code),
    }
}

/// What a pattern has brought.
enum Found {
    /// Names, and why there may be more.
    Names(Vec<FileName>, Option<String>),
    /// A signal came.
    Ended(ExitCode),
}

/// Asks a program which names match. It may listen for half of the time that is left.
fn find(
    asker: &mut Asker,
    peer: usize,
    pattern: &NamePattern,
    until: Option<Instant>,
) -> Result<Found, Failure> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()) / 2);
    let listen_ms = left.map_or(0, |left| left.as_millis().clamp(1, u32::MAX.into()) as u32);
    let ask = Ask::Match { pattern: FieldText::new(pattern.as_str()), listen_ms };
    if let Some(code) = asker.ask_some(&[peer], &ask, until)? {
        return Ok(Found::Ended(code));
    }
    let Some((path, answered)) = asker.answers().next() else {
        return Ok(Found::Ended(ExitCode::Other));
    };
    let [Reply::Text(text)] = &*answered.replies else {
        return Err(ask::no_answer(path, answered.reason));
    };
    let (doubt, names) = text.split_once('\n').unwrap_or((text, ""));
    let names = names.lines().filter_map(|name| FileName::new(name).ok()).collect();
    Ok(Found::Names(names, (!doubt.is_empty()).then(|| doubt.to_owned())))
}

/// Returns the number of the only program that fetches.
fn the_only_peer(asker: &mut Asker) -> Result<usize, Failure> {
    let fetches = |replies: &[Reply]| matches!(replies, [Reply::Fetches(true)]);
    let peers = asker.answers().enumerate().filter(|(_, (_, it))| fetches(&it.replies));
    match peers.map(|(number, _)| number).collect::<Vec<_>>().as_slice() {
        [one] => Ok(*one),
        [] => {
            let message = "no peer of yours is running here; start one with `p2pfs peer`";
            Err(Failure::new(ExitCode::Unreachable, message))
        }
        _ => {
            let message = "several peers of yours are running here; say which with \
                           --via=PID; `p2pfs status` shows them";
            Err(Failure::new(ExitCode::Usage, message))
        }
    }
}

impl Ends {
    fn of(replies: &[Reply]) -> Self {
        let (last, never_offered) = (ExitCode::Other, BTreeSet::new());
        let mut ends = Self { done: 0, failed: 0, last, never_offered };
        for reply in replies {
            match reply {
                Reply::News(News::Waiting(name)) => _ = ends.never_offered.insert(*name),
                Reply::News(News::Offered(name)) => _ = ends.never_offered.remove(name),
                Reply::News(News::Present(_) | News::Verified(_)) => ends.done += 1,
                Reply::News(News::Failed { code, .. }) => {
                    ends.failed += 1;
                    ends.last = ExitCode::from_number(*code);
                }
                Reply::Text(_) | Reply::Fetches(_) => {}
            }
        }
        ends
    }
}

/// Returns what the command ends with.
fn verdict(names: &BTreeSet<FileName>, ends: &Ends, is_late: bool) -> Result<ExitCode, Failure> {
    let Ends { done, failed, last, never_offered } = ends;
    let missing = names.len() - done - failed;
    let what = match names.first() {
        Some(name) if names.len() == 1 => name.to_string(),
        _ => format!("{} of {}", missing.max(*failed), Count(names.len(), "file")),
    };
    match missing {
        0 if *failed == 0 => Ok(ExitCode::Done),
        0 => {
            let code = if *done > 0 { ExitCode::SomeDone } else { *last };
            Err(Failure::new(code, format_args!("{what} could not be fetched")))
        }
        _ if is_late => {
            let is_offered = never_offered.len() < missing;
            let code = match is_offered {
                _ if *done > 0 => ExitCode::SomeDone,
                true => ExitCode::TimedOut,
                false => ExitCode::NotOffered,
            };
            let why = if is_offered { "did not come" } else { "not offered by anybody" };
            Err(Failure::new(code, format_args!("{what}: {why} in time")))
        }
        _ => {
            let message = "that program fetches nothing, or has ended; `p2pfs status` shows it";
            Err(Failure::new(ExitCode::Other, message))
        }
    }
}
