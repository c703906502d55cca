//! Parses, sets up the log, runs, and maps the outcome to an exit code.

use std::process::exit;
use std::time::Instant;

use p2pfs::cli::{Cli, Command, wants_events};
use p2pfs::exit::{ExitCode, Failure};
use p2pfs::limits::LAST_LINE_PATIENCE;
use p2pfs::reactor::answer_if_asked;
use p2pfs::ui::{Ending, Event, stdout};
use p2pfs::{logger, run};

fn main() {
    if answer_if_asked() {
        return;
    }
    let (began, mut ending) = (Instant::now(), Ending::default());
    let (outcome, json, timeout) = match Cli::read() {
        Ok(Some(cli)) => {
            let json = cli.output.json && cli.command.has_events();
            (run_command(&cli, &mut ending), json, cli.command.timeout())
        }
        Ok(None) => (Ok(ExitCode::Done), false, None),
        Err(failure) => (Err(failure), wants_events(), None),
    };
    let (code, error) = match &outcome {
        Ok(code) => (*code, None),
        Err(failure) => (failure.code, Some(failure.message.as_str())),
    };
    // Of the log, what is left of its last line.
    let line = error.map(|error| format!("p2pfs: {error}\n")).unwrap_or_default();
    logger::print_last(&line, Instant::now() + LAST_LINE_PATIENCE);
    if json {
        let event = Event::of_exit(code, error, ending).line();
        let patience = Instant::now() + LAST_LINE_PATIENCE;
        let until = match code {
            ExitCode::HungUp | ExitCode::Interrupted | ExitCode::Terminated => Some(patience),
            _ => timeout.map(|timeout| patience.max(began + timeout)),
        };
        stdout::print_last(&event, until);
    }
    exit(code as i32);
}

/// Runs the command, which fills `ending` in.
fn run_command(cli: &Cli, ending: &mut Ending) -> Result<ExitCode, Failure> {
    logger::init(cli.output.log_level(), !cli.command.is_daily());
    cli.warnings.iter().for_each(|warning| log::warn!("{warning}"));
    match &cli.command {
        Command::Registry(args) => run::registry(args, &cli.output),
        Command::Peer(args) => run::peer(args, &cli.output),
        Command::Share(args) => run::share(args, &cli.output),
        Command::Get(args) => run::get(args, &cli.output, ending),
        Command::List(args) => run::list(args, &cli.output),
        Command::Doctor(args) => run::doctor(args, &cli.output),
        Command::Status(args) => run::status(args, &cli.output),
        Command::Secret(args) => run::secret(args, &cli.output),
        Command::Paths => run::paths(&cli.output),
        Command::Completions(args) => run::completions(args),
        Command::Man(args) => run::man(args),
    }
}
