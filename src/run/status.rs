//! `p2pfs status`.

use super::{ask, print, sockets};
use crate::cli::{OutputArgs, StatusArgs};
use crate::exit::{ExitCode, Failure};
use crate::proto::control::{Ask, Reply};
use crate::wire::is_deceptive;

pub fn status(args: &StatusArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let paths = match &args.program {
        Some(text) => vec![sockets::named(text)?],
        None => sockets::all()?,
    };
    if paths.is_empty() {
        let message = "no share or peer of yours is running here; start one with `p2pfs share`";
        return Err(Failure::new(ExitCode::Unreachable, message));
    }
    let mut asker = ask::Asker::new("status", &paths, output)?;
    if let Some(code) = asker.ask(&Ask::Status { json: output.json }, None)? {
        return Ok(code);
    }
    let (mut shown, mut failure) = (0, None);
    for (path, answered) in asker.answers() {
        match answered.replies.as_slice() {
            [Reply::Text(text)] => {
                let separator = if shown > 0 && !output.json { "\n" } else { "" };
                print(format!("{separator}{}", escaped(text)).as_bytes())?;
                shown += 1;
            }
            // It may have ended just now; others may answer.
            _ => failure = Some(ask::no_answer(path, answered.reason)),
        }
    }
    failure.filter(|_| shown == 0).map_or(Ok(ExitCode::Done), Err)
}

/// Returns the text of another program with everything escaped that could steer a terminal; what
/// our own programs say stays as it is.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c != '\n' && is_deceptive(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}
