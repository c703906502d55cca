//! Parses, sets up the log, runs, and maps the outcome to an exit code.

use std::process::exit;
use std::time::Instant;

use p2pfs::cli::{Cli, Command, wants_events};
use p2pfs::exit::{ExitCode, Failure};
use p2pfs::limits::LAST_LINE_PATIENCE;
use p2pfs::reactor::answer_if_asked;
use p2pfs::ui::{Event, stdout};
use p2pfs::{logger, run};

fn main() {
    if answer_if_asked() {
        return;
    }
    let mut skipped = None;
    let (outcome, json) = match Cli::read() {
        Ok(Some(cli)) => {
            (run_command(&cli, &mut skipped), cli.output.json && cli.command.has_events())
        }
        Ok(None) => (Ok(ExitCode::Done), false),
        Err(failure) => (Err(failure), wants_events()),
    };
    let (code, error) = match &outcome {
        Ok(code) => (*code, None),
        Err(failure) => (failure.code, Some(failure.message.as_str())),
    };
    // Of the log, what is left of its last line.
    let line = error.map(|error| format!("p2pfs: {error}\n")).unwrap_or_default();
    logger::print_last(&line, Instant::now() + LAST_LINE_PATIENCE);
    if json {
        let event = Event::of_exit(code, error, skipped).line();
        stdout::print_last(&event, Instant::now() + LAST_LINE_PATIENCE);
    }
    exit(code as i32);
}

/// Runs the command. `skipped` becomes the number of files that it skipped, if it is told to.
fn run_command(cli: &Cli, skipped: &mut Option<u64>) -> Result<ExitCode, Failure> {
    logger::init(cli.output.log_level(), !cli.command.is_daily());
    cli.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    match &cli.command {
        Command::Registry(args) => run::registry(args, &cli.output),
        Command::Peer(args) => run::peer(args, &cli.output),
        Command::Share(args) => run::share(args, &cli.output),
        Command::Get(args) => run::get(args, &cli.output, skipped),
        Command::List(args) => run::list(args, &cli.output),
        Command::Doctor(args) => run::doctor(args, &cli.output),
        Command::Status(args) => run::status(args, &cli.output),
        Command::Completions(args) => run::completions(args),
        Command::Man(args) => run::man(args),
    }
}
