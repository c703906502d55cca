//! `p2pfs get --via`: a running peer fetches the files.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sockets;
use crate::cli::{GetArgs, OutputArgs, Wanted};
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
    let names = names.collect::<std::collections::BTreeSet<_>>();
    let style = if output.json { "json" } else { "text" };
    let question = format!("get {style} {}\n", names.iter().copied().collect::<Vec<_>>().join("/"));
    if question.len() > STATUS_REQUEST_BYTES_MAX {
        let message = "too many names for --via; give some thousand at once";
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let ends = ask(&path, &question, deadline, output.json);
    let (mut done, mut failed, mut last) = (0, 0, ExitCode::Other);
    let ends = ends.map_err(|error| sockets::no_answer(&path, &error))?;
    for code in &ends {
        match *code {
            0 => done += 1,
            code => {
                failed += 1;
                last = ExitCode::from_number(code);
            }
        }
    }
    let missing = names.len() - done - failed;
    match (done, failed, missing) {
        (_, 0, 0) => Ok(ExitCode::Done),
        (0, _, 0) => Err(Failure::new(last, format_args!("{failed} files could not be fetched"))),
        (_, _, 0) => {
            let message = format_args!("{failed} of {} files could not be fetched", names.len());
            Err(Failure::new(ExitCode::SomeDone, message))
        }
        _ if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
            let message = format_args!("{missing} files did not come in time; ");
            let message = format_args!("{message}the peer still wants them");
            let code = if done > 0 { ExitCode::SomeDone } else { ExitCode::TimedOut };
            Err(Failure::new(code, message))
        }
        _ => {
            let message = "that program fetches nothing, or has ended; `p2pfs status` shows it";
            Err(Failure::new(ExitCode::Other, message))
        }
    }
}

/// The socket of a program, or of the only one.
fn peer(program: &str) -> Result<PathBuf, Failure> {
    if !program.is_empty() {
        return Ok(sockets::named(program));
    }
    match sockets::all().as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            let message = "no peer of yours is running here; start one with `p2pfs peer`";
            Err(Failure::new(ExitCode::Unreachable, message))
        }
        _ => {
            let message = "several programs of yours are running here; say which with \
                           --via=PID; `p2pfs status` shows them";
            Err(Failure::new(ExitCode::Usage, message))
        }
    }
}

/// Asks, shows what comes, and gives the codes; those so far, if the time is up.
fn ask(path: &Path, question: &str, deadline: Option<Instant>, json: bool) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(question.as_bytes())?;
    let mut lines = BufReader::new(stream);
    let (mut line, mut codes) = (String::new(), Vec::new());
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // A timeout of nothing would be none at all.
            left.max(Duration::from_millis(1))
        });
        lines.get_ref().set_read_timeout(left)?;
        line.clear();
        match lines.read_line(&mut line) {
            Ok(0) => return Ok(codes),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => return Ok(codes),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(codes),
            Err(error) => return Err(error),
        }
        let Some((code, text)) = line.split_once(' ') else { continue };
        codes.push(code.parse().unwrap_or(ExitCode::Other as u8));
        match json {
            true => stdout::print(text),
            false => log::info!(target: "get", "{}", Shown(text.trim_end())),
        }
    }
}
