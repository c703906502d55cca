//! `p2pfs status`.

use clap::Args;

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Show the program with this process id or socket [default: all that run].
    #[arg(value_name = "PID|SOCKET")]
    pub program: Option<String>,
}
