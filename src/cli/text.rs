//! `p2pfs completions` and `p2pfs man`.

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Print the completions for this shell.
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Print the page of this command, or of the events of --json: `json` [default: p2pfs]. The
    /// page is text for man: `p2pfs man get | man -l -` shows it.
    #[arg(value_name = "COMMAND")]
    pub page: Option<String>,
}
