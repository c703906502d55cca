//! `p2pfs get --via`: a running peer fetches the files.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Instant;

use super::ask::{self, Asker};
use super::sockets;
use crate::cli::{GetArgs, OutputArgs};
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::{CONTROL_FETCHES_MAX, CONTROL_SEARCHES_MAX};
use crate::node::{Doubt, NamePattern, Wish};
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
    /// Those of which anything else was told.
    heard: BTreeSet<FileName>,
    /// How many patterns bring no more names.
    searched: usize,
    /// Why one of them may match more.
    doubt: Option<String>,
}

/// Has a program, or the only one there is, fetch the files, and waits for their ends.
pub(super) fn get(program: &str, args: &GetArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let wishes = args.wishes();
    let names: BTreeSet<_> = wishes.iter().filter_map(Wish::name).collect();
    let patterns: Vec<_> = wishes.iter().filter_map(Wish::name_pattern).collect();
    check_count(&names, &patterns)?;
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
    let texts = patterns.iter().map(|pattern| FieldText::new(pattern.as_str())).collect();
    let ask = Ask::Want { names: names.clone(), patterns: texts };
    if let Some(code) = asker.ask_some(&[peer], &ask, until)? {
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
    let ends = Ends::of(&answered.replies);
    let names = names.union(&ends.heard).copied().collect();
    verdict((&names, &patterns), &ends, is_late)
}

/// Refuses what a program would not take.
fn check_count(names: &BTreeSet<FileName>, patterns: &[NamePattern]) -> Result<(), Failure> {
    let message = if names.len() > CONTROL_FETCHES_MAX {
        format!("too many names for --via; give at most {CONTROL_FETCHES_MAX} at once")
    } else if patterns.len() > CONTROL_SEARCHES_MAX {
        format!("too many patterns for --via; give at most {CONTROL_SEARCHES_MAX} at once")
    } else {
        return Ok(());
    };
    Err(Failure::new(ExitCode::Usage, message))
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
        let mut ends = Self {
            done: 0,
            failed: 0,
            last: ExitCode::Other,
            never_offered: BTreeSet::new(),
            heard: BTreeSet::new(),
            searched: 0,
            doubt: None,
        };
        for reply in replies {
            let news = match reply {
                Reply::News(news) => news,
                Reply::Searched(doubt) => {
                    ends.searched += 1;
                    let doubt = Some(doubt.clone()).filter(|doubt| !doubt.is_empty());
                    ends.doubt = ends.doubt.take().or(doubt);
                    continue;
                }
                Reply::Text(_) | Reply::Fetches(_) => continue,
            };
            let name = *news.name();
            match news {
                News::Waiting(_) => {
                    ends.never_offered.insert(name);
                    continue;
                }
                News::Offered(_) => _ = ends.never_offered.remove(&name),
                News::Present(_) | News::Verified(_) => ends.done += 1,
                News::Failed { code, .. } => {
                    ends.failed += 1;
                    ends.last = ExitCode::from_number(*code);
                }
            }
            ends.heard.insert(name);
        }
        ends
    }
}

/// Returns what the command ends with; `names` are those that were asked for, and those that
/// match.
fn verdict(
    (names, patterns): (&BTreeSet<FileName>, &[NamePattern]),
    ends: &Ends,
    is_late: bool,
) -> Result<ExitCode, Failure> {
    let Ends { done, failed, last, never_offered, .. } = ends;
    let missing = names.len() - done - failed;
    let has_ended = ends.searched == patterns.len();
    let what = match names.first() {
        Some(name) if names.len() == 1 => name.to_string(),
        _ => format!("{} of {}", missing.max(*failed), Count(names.len(), "file")),
    };
    match missing {
        _ if !is_late && (missing > 0 || !has_ended) => {
            let message = "that program fetches nothing, or has ended; `p2pfs status` shows it";
            Err(Failure::new(ExitCode::Other, message))
        }
        0 if *failed == 0 => verdict_of_patterns(patterns, ends),
        0 => {
            let code = if *done > 0 { ExitCode::SomeDone } else { *last };
            Err(Failure::new(code, format_args!("{what} could not be fetched")))
        }
        _ => {
            let is_offered = never_offered.len() < missing;
            let code = match is_offered {
                _ if *done > 0 => ExitCode::SomeDone,
                true => ExitCode::TimedOut,
                false => ExitCode::NotOffered,
            };
            let why = if is_offered { "did not come" } else { "not offered by anybody" };
            Err(Failure::new(code, format_args!("{what}: {why} in time")))
        }
    }
}

/// Returns the same if every file that was heard of is there.
fn verdict_of_patterns(patterns: &[NamePattern], ends: &Ends) -> Result<ExitCode, Failure> {
    let some_done = |code| if ends.done > 0 { ExitCode::SomeDone } else { code };
    let is_unmatched = |pattern: &&NamePattern| !ends.heard.iter().any(|it| pattern.matches(it));
    let unmatched = patterns.iter().find(is_unmatched);
    let is_cut = ends.searched < patterns.len();
    match (&ends.doubt, unmatched) {
        (Some(doubt), _) if ends.done == 0 => Err(Failure::new(ExitCode::Other, Shown(doubt))),
        (None, Some(pattern)) => {
            let pattern = Shown(pattern.as_str());
            let message = format_args!("nobody offered anything that matches {pattern} in time");
            Err(Failure::new(some_done(ExitCode::NotOffered), message))
        }
        (None, None) if !is_cut => Ok(ExitCode::Done),
        (doubt, _) => {
            let doubt = doubt.clone().unwrap_or_else(|| Doubt::TimeUp.to_string());
            let message = format_args!("there may be more that matches: {}", Shown(doubt));
            Err(Failure::new(ExitCode::SomeDone, message))
        }
    }
}
