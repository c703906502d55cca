//! `p2pfs completions` and `p2pfs man`.

use clap::Args;
use clap_complete::Shell;

/// The command line of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// The command line of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The page to print: a command, or `json` for the events of --json [default: p2pfs].
    #[arg(value_name = "COMMAND")]
    pub page: Option<String>,
}
