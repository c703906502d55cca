//! Parses, sets up the log, runs, and maps the outcome to an exit code.

use std::io::Write;
use std::process::exit;

use p2pfs::cli::{Cli, Command};
use p2pfs::exit::{ExitCode, Failure};
use p2pfs::{logger, run};

fn main() {
    let code = run_command().unwrap_or_else(|failure| {
        // Whoever closed stderr, or does not read it, does not want to know.
        let mut stderr = std::io::stderr();
        if logger::takes_a_line(&stderr) {
            let _ = writeln!(stderr, "p2pfs: {}", failure.message);
        }
        failure.code
    });
    exit(code as i32);
}

fn run_command() -> Result<ExitCode, Failure> {
    let Some(cli) = Cli::read()? else { return Ok(ExitCode::Done) };
    let style = if cli.command.is_daily() { logger::Style::Plain } else { logger::Style::Dated };
    logger::init(cli.output.log_level(), style);
    match &cli.command {
        Command::Registry(args) => run::registry(args),
        Command::Peer(args) => run::peer(args),
        Command::Share(args) => run::share(args),
        Command::Get(args) => run::get(args),
        Command::List(args) => run::list(args),
        Command::Doctor(args) => run::doctor(args, &cli.output),
        Command::Completions(args) => run::completions(args),
        Command::Man(args) => run::man(args),
    }
}
