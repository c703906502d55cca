//! Completions and the manual page: text made from the definition of the command line.

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{definition, print};
use crate::exit::{ExitCode, Failure};
use crate::wire::Shown;

/// The command line of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// The command line of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Print the page of this command [default: that of the whole program].
    command: Option<String>,
}

impl CompletionsArgs {
    /// Prints the completions.
    ///
    /// # Errors
    /// If not all of it could be written.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "p2pfs", &mut text);
        print(&text)
    }
}

impl ManArgs {
    /// Prints the page.
    ///
    /// # Errors
    /// If there is no such command, or not all of it could be written.
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let mut program = definition();
        program.build();
        let command = match &self.command {
            None => Some(&program),
            Some(name) => program.find_subcommand(name),
        };
        let Some(command) = command else {
            let name = Shown(self.command.as_deref().unwrap_or_default());
            return Err(Failure::new(
                ExitCode::Usage,
                format_args!("no command {name}; see --help"),
            ));
        };
        let mut text = Vec::new();
        // To memory: that cannot fail.
        let _ = Man::new(command.clone()).render(&mut text);
        print(&text)
    }
}
