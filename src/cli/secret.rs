//! Options about the secret of a group, and `p2pfs secret`.

use std::path::PathBuf;

use clap::{ArgMatches, Args};

use super::loser;
use crate::exit::{ExitCode, Failure};
use crate::limits::SECRETS_MAX;

#[derive(Debug, Args)]
#[command(next_help_heading = "Secret")]
pub struct SecretArgs {
    /// Exchange files only with peers that have the secret in this file; `p2pfs secret` makes one.
    /// To change it, give two files: what is sent has the first secret, what comes may have either
    /// [default: ~/.config/p2pfs/secret, if it is there].
    #[arg(long, value_name = "FILE")]
    pub secret_file: Vec<PathBuf>,
    /// Ignore the secret, and exchange files with everybody.
    #[arg(long)]
    pub no_secret: bool,
    /// Exchange files with peers that have no secret, too.
    #[arg(long)]
    pub also_open: bool,
}

impl SecretArgs {
    /// Checks options together, and drops those that others override.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        if loser(matches, "no_secret", "secret_file")? == Some("secret_file") {
            self.secret_file.clear();
        }
        if self.secret_file.len() > SECRETS_MAX {
            let message = format_args!("--secret-file is given more than {SECRETS_MAX} times");
            return Err(Failure::new(ExitCode::Usage, message));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
#[command(
    after_help = "Nothing that is there is replaced. Copy the file to each machine of the group, to \
    the same place, by a way that nobody else reads, such as scp. From then on every command there \
    uses it, and says so.\n\n\
    It keeps others in the network from reading what is exchanged, from joining, and from passing \
    for a member. It does not tell members apart: each can read and share all, and pose as any \
    other. It does not hide that files are exchanged, between which machines, how many bytes and \
    when; beacons show the name of the machine and how many files it shares. The registry is \
    outside of it: it is used only if --registry names it, and sees who looks for whom."
)]
pub struct NewSecretArgs {
    /// Write the secret to this file [default: ~/.config/p2pfs/secret].
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
}
