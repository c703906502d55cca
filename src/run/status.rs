//! `p2pfs status`.

use super::{print, sockets};
use crate::cli::{OutputArgs, StatusArgs};
use crate::exit::{ExitCode, Failure};

/// Shows how the programs of this user do.
pub fn status(args: &StatusArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let paths = match &args.program {
        Some(text) => vec![sockets::named(text)],
        None => sockets::all(),
    };
    if paths.is_empty() {
        let message = "no share or peer of yours is running here; start one with `p2pfs share`";
        return Err(Failure::new(ExitCode::Unreachable, message));
    }
    let question = if output.json { "status json\n" } else { "status text\n" };
    let (mut shown, mut failure) = (0, None);
    for path in &paths {
        match sockets::ask(path, question) {
            Ok(answer) => {
                let separator = if shown > 0 && !output.json { "\n" } else { "" };
                print(format!("{separator}{answer}").as_bytes())?;
                shown += 1;
            }
            // It may have ended just now; others may answer.
            Err(error) => failure = Some(sockets::no_answer(path, &error)),
        }
    }
    failure.filter(|_| shown == 0).map_or(Ok(ExitCode::Done), Err)
}
