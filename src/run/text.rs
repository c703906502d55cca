//! Completions and the manual page: text made from the definition of the command line.

use clap_mangen::Man;

use super::print;
use crate::cli::{self, CompletionsArgs, ManArgs};
use crate::exit::{ExitCode, Failure};
use crate::wire::Shown;

/// Prints the completions of a shell.
pub fn completions(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(), "p2pfs", &mut text);
    print(&text)?;
    Ok(ExitCode::Done)
}

/// Prints the manual page of the program, or of one command.
pub fn man(args: &ManArgs) -> Result<ExitCode, Failure> {
    // `help` shows what the pages of the others say.
    let mut program = cli::definition().disable_help_subcommand(true);
    program.build();
    let page = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => {
                let message = format_args!("no command {}; see --help", Shown(name));
                return Err(Failure::new(ExitCode::Usage, message));
            }
        },
    };
    let mut text = Vec::new();
    // To memory: that cannot fail.
    let _ = Man::new(page).render(&mut text);
    print(&text)?;
    Ok(ExitCode::Done)
}
