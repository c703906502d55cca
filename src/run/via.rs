//! `p2pfs get --via`: a running peer fetches the files.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sockets;
use crate::cli::{GetArgs, OutputArgs, Wanted};
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::STATUS_REQUEST_BYTES_MAX;
use crate::ui::stdout;
use crate::wire::Shown;

/// Hands the wishes to a program, or to the only one there is, and waits for their ends.
pub(super) fn get(program: &str, args: &GetArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let path = peer(program)?;
    let names = args.names.iter().filter_map(|wanted| match wanted {
        Wanted::Name(name) => Some(name.as_str()),
        Wanted::Matching(_) => None,
    });
    let names = names.collect::<BTreeSet<_>>();
    let style = if output.json { "json" } else { "text" };
    let question = format!("get {style} {}\n", names.iter().copied().collect::<Vec<_>>().join("/"));
    if question.len() > STATUS_REQUEST_BYTES_MAX {
        let message = "too many names for --via; give some thousand at once";
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let ends = ask(&path, &question, deadline, output.json);
    let (mut done, mut failed, mut last) = (0, 0, ExitCode::Other);
    let Ends { codes, never_offered } = ends.map_err(|error| sockets::no_answer(&path, &error))?;
    for code in &codes {
        match *code {
            0 => done += 1,
            code => {
                failed += 1;
                last = ExitCode::from_number(code);
            }
        }
    }
    let missing = names.len() - done - failed;
    let what = match names.first() {
        Some(name) if names.len() == 1 => Shown(*name).to_string(),
        _ => format!("{} of {}", missing.max(failed), Count(names.len(), "file")),
    };
    match (done, failed, missing) {
        (_, 0, 0) => Ok(ExitCode::Done),
        (_, _, 0) => {
            let code = if done > 0 { ExitCode::SomeDone } else { last };
            Err(Failure::new(code, format_args!("{what} could not be fetched")))
        }
        _ if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
            let is_offered = never_offered.len() < missing;
            let code = match is_offered {
                _ if done > 0 => ExitCode::SomeDone,
                true => ExitCode::TimedOut,
                false => ExitCode::NotOffered,
            };
            let why = if is_offered { "did not come" } else { "not offered by anybody" };
            let message = format_args!("{what}: {why} in time; the peer still waits for it");
            Err(Failure::new(code, message))
        }
        _ => {
            let message = "that program fetches nothing, or has ended; `p2pfs status` shows it";
            Err(Failure::new(ExitCode::Other, message))
        }
    }
}

/// Returns the socket of a program, or of the only one that fetches.
fn peer(program: &str) -> Result<PathBuf, Failure> {
    if !program.is_empty() {
        return Ok(sockets::named(program));
    }
    let fetches = |path: &PathBuf| sockets::ask(path, "fetches\n").is_ok_and(|it| it == "yes");
    let mut peers = sockets::all();
    peers.retain(fetches);
    match peers.as_slice() {
        [one] => Ok(one.clone()),
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

/// What became of the files, as far as that is known.
#[derive(Default)]
struct Ends {
    codes: Vec<u8>,
    /// Those that nobody has offered so far.
    never_offered: BTreeSet<String>,
}

/// Asks, shows what comes, and gives the ends; those so far, if the time is up.
fn ask(path: &Path, question: &str, deadline: Option<Instant>, json: bool) -> io::Result<Ends> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(question.as_bytes())?;
    let mut lines = BufReader::new(stream);
    let (mut line, mut ends) = (String::new(), Ends::default());
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // A timeout of nothing would be none at all.
            left.max(Duration::from_millis(1))
        });
        lines.get_ref().set_read_timeout(left)?;
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(ends),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => return Ok(ends),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(ends),
            Err(error) => return Err(error),
        }
        match line.trim_end_matches('\n').split_once(' ') {
            None => {}
            Some(("waiting", name)) => _ = ends.never_offered.insert(name.to_owned()),
            Some(("offered", name)) => _ = ends.never_offered.remove(name),
            Some((code, text)) => {
                ends.codes.push(code.parse().unwrap_or(ExitCode::Other as u8));
                match json {
                    true => stdout::print(&format!("{text}\n")),
                    false => log::info!(target: "get", "{}", Shown(text)),
                }
            }
        }
    }
}
