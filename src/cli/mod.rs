//! The command line, turned once into settings that are known to be valid.
//!
//! | room | what stands there |
//! |---|---|
//! | this file | the commands, the reading of them, exit codes in the help |
//! | [`network`], [`output`], [`limits`] | groups of options that commands share |
//! | `registry`, `peer`, `share`, `get`, `list`, `doctor`, `text` | the options of one command each |
//! | `environment` | each option's environment variable |
//! | `value` | from text to one value: addresses, durations, sizes, names |

mod doctor;
mod environment;
mod get;
pub mod limits;
mod list;
pub mod network;
pub mod output;
mod peer;
mod registry;
mod share;
mod status;
mod text;
mod value;

use std::io::ErrorKind;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::doctor::DoctorArgs;
pub use self::get::{GetArgs, Output, Wanted};
pub use self::list::ListArgs;
pub use self::output::OutputArgs;
pub use self::peer::PeerArgs;
pub use self::registry::RegistryArgs;
pub use self::share::ShareArgs;
pub use self::status::StatusArgs;
pub use self::text::{CompletionsArgs, ManArgs};
use crate::exit::{ExitCode, Failure};
use crate::wire::Shown;

const AFTER_HELP: &str = "Each option has an environment variable: P2PFS_ and its name in capitals, \
    such as P2PFS_OFFER_INTERVAL for --offer-interval. An option that is given wins.\n\n\
    Exit codes: 0 every file asked for is there and verified, 1 other, 2 usage, 3 nobody offered \
    it, 4 neither registry nor peer could be reached, 5 offered but timed out or stalled, 6 \
    checksum wrong, 7 id or port taken at the registry, 8 write error, 9 exists and may not be \
    replaced or emptied, 10 some files done and some not, 11 address in use, 129, 130 \
    and 143 interrupted.";

/// Share files between the peers of a network, verified, at almost no cost.
#[derive(Debug, Parser)]
#[command(name = "p2pfs", version, propagate_version = true)]
#[command(arg_required_else_help = false)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
    /// What is shown.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Command {
    /// Whether it runs for a while, so that there is something to tell.
    pub fn has_events(&self) -> bool {
        !matches!(self, Self::Completions(_) | Self::Man(_))
    }

    /// Whether it is one that a person uses every day, who wants no dates in the log.
    pub fn is_daily(&self) -> bool {
        matches!(self, Self::Share(_) | Self::Get(_) | Self::List(_) | Self::Status(_))
    }
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Share the files of a folder with everybody on the network.
    Share(ShareArgs),
    /// Fetch files that others share, verify them, and exit.
    Get(GetArgs),
    /// Show what is on offer, from whom, and when it was last heard of.
    List(ListArgs),
    /// Tell why nothing is found: look at interfaces, broadcasts, the registry and peers.
    Doctor(DoctorArgs),
    /// Show how a share or peer of yours does that runs on this machine.
    Status(StatusArgs),
    /// Run the registry, which knows which peer listens where.
    Registry(RegistryArgs),
    /// Run a peer, which shares a folder, and fetches and then shares what it wants.
    Peer(PeerArgs),
    /// Print the completions of a shell.
    Completions(CompletionsArgs),
    /// Print the manual page.
    Man(ManArgs),
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// What clap has to say, in one line. `--help` and `--version` are printed, and
    /// are `Ok(None)`.
    pub fn read() -> Result<Option<Self>, Failure> {
        let read = definition()
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches).map(|cli| (cli, matches)));
        match read {
            Ok((cli, matches)) => cli.check(&matches).map(Some),
            Err(error) if error.use_stderr() => Err(usage(&environment::said(&error))),
            Err(help) => match help.print() {
                // Who has read enough of it may go.
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    let message = format_args!("cannot write to stdout: {error}");
                    Err(Failure::new(ExitCode::WriteFailed, message))
                }
                _ => Ok(None),
            },
        }
    }

    /// Whether events are asked for, be it by a command line that cannot be read.
    pub fn wants_events() -> bool {
        environment::wants_events()
    }

    fn check(mut self, matches: &ArgMatches) -> Result<Self, Failure> {
        let Some((_, matches)) = matches.subcommand() else { return Ok(self) };
        self.output.settle(matches)?;
        match &mut self.command {
            Command::Peer(peer) => peer.settle(matches)?,
            Command::Get(get) => get.check(&self.output, matches)?,
            _ => {}
        }
        Ok(self)
    }
}

/// Which of two options that exclude each other does not count: of one that is given and
/// one from the environment, that is the latter.
///
/// # Errors
/// If both are from the same place.
fn loser<'a>(
    matches: &ArgMatches,
    one: &'a str,
    other: &'a str,
) -> Result<Option<&'a str>, Failure> {
    let source = |id: &str| match matches.value_source(id) {
        Some(ValueSource::DefaultValue) => None,
        source => source,
    };
    match (source(one), source(other)) {
        (None, _) | (_, None) => Ok(None),
        (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => Ok(Some(other)),
        (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => Ok(Some(one)),
        _ => {
            let [one, other] = [one, other].map(|id| id.replace('_', "-"));
            let message = format_args!("--{other} cannot be used with --{one}; see --help");
            Err(Failure::new(ExitCode::Usage, message))
        }
    }
}

/// The whole definition, with the environment variables.
pub fn definition() -> clap::Command {
    environment::with_variables(Cli::command())
}

/// The first paragraph of what clap says, in one line and without its hints.
fn usage(text: &str) -> Failure {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    Failure::new(ExitCode::Usage, format_args!("{}; see --help", Shown(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }
}
