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
    /// Print the page of this command [default: that of the whole program].
    pub command: Option<String>,
}
