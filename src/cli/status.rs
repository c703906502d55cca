//! `p2pfs status`.

use clap::Args;

/// The command line of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The number of its process, or the path of its socket [default: all that run].
    #[arg(value_name = "PID|SOCKET")]
    pub program: Option<String>,
}
