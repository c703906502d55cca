//! Parses the command line, once, into settings that are valid.
//!
//! | module | content |
//! |---|---|
//! | this file | the commands, their parsing, the exit codes in the help |
//! | [`network`], [`output`], [`limits`], `secret` | groups of options that commands share |
//! | `registry`, `peer`, `get` and the others | the options of one command each |
//! | `environment` | the environment variable of each option |
//! | `value` | parsers of single values: addresses, durations, sizes, names |

mod doctor;
mod environment;
mod get;
pub mod limits;
mod list;
pub mod network;
pub mod output;
mod peer;
mod registry;
mod secret;
mod share;
mod status;
mod text;
mod value;

use std::env;
use std::io::ErrorKind;
use std::time::Duration;

use clap::builder::StyledStr;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::doctor::DoctorArgs;
pub use self::environment::wants_events;
pub use self::get::{GetArgs, Output, ends_with_slash};
pub use self::list::ListArgs;
pub use self::output::OutputArgs;
pub use self::peer::PeerArgs;
pub use self::registry::RegistryArgs;
pub use self::secret::{NewSecretArgs, SecretArgs};
pub use self::share::ShareArgs;
pub use self::status::StatusArgs;
pub use self::text::{CompletionsArgs, ManArgs};
use crate::exit::{ExitCode, Failure};
use crate::stdio;
use crate::wire::Shown;

const AFTER_HELP: &str = "Each option has an environment variable: P2PFS_ and its name in capitals, \
    such as P2PFS_OFFER_INTERVAL for --offer-interval. An option on the command line overrides \
    it. A TIME has a unit, such as 500ms, 30s or 5m, or is a number of seconds.\n\n\
    Exit codes: 0 every wanted file is there and verified, 1 other error, 2 usage, 3 not offered \
    in time, 4 registry or peer unreachable, 5 offered, but timed out or stalled, 6 checksum \
    wrong, 7 id or port taken at the registry, 8 write error, 9 exists and may not be replaced \
    or emptied, 10 some files fetched and some not, or maybe not all that match a pattern, \
    11 address in use, 12 ambiguous: one of several contents or peers, 129, 130 and 143 stopped \
    by SIGHUP, SIGINT and SIGTERM.";

/// Share files between the peers of a network, verified, at almost no cost.
#[derive(Debug, Parser)]
#[command(name = "p2pfs", version, propagate_version = true)]
#[command(arg_required_else_help = false)]
#[command(after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub output: OutputArgs,
    /// What the user is to be told of the environment.
    #[arg(skip)]
    pub warnings: Vec<String>,
}

impl Command {
    /// Returns whether `--json` makes it print events.
    pub fn has_events(&self) -> bool {
        !matches!(self, Self::Completions(_) | Self::Man(_))
    }

    /// Returns whether people use it every day: its log has no dates.
    pub fn is_daily(&self) -> bool {
        use Command::{Doctor, Get, List, Paths, Secret, Share, Status};
        matches!(self, Share(_) | Get(_) | List(_) | Doctor(_) | Status(_) | Secret(_) | Paths)
    }

    /// Returns how long it may take in all, if the user bounds that.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Get(get) => get.timeout,
            _ => None,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Share files and folders with every machine of the network.
    Share(ShareArgs),
    /// Fetch files that other peers share, verify them, and exit.
    Get(GetArgs),
    /// Show what other peers share.
    List(ListArgs),
    /// Tell why nothing is found: test interfaces, broadcasts, the registry and peers.
    Doctor(DoctorArgs),
    /// Show the state of your shares and peers on this machine.
    Status(StatusArgs),
    /// Make a secret for a group of machines, so that nobody else takes part.
    Secret(NewSecretArgs),
    /// Print every file, folder and port that p2pfs uses.
    Paths,
    /// Run the registry, for version 0 and for peers that broadcasts do not reach.
    Registry(RegistryArgs),
    /// Run a peer, which shares a folder, fetches wanted files, and shares them too.
    Peer(PeerArgs),
    /// Print the completions for a shell.
    Completions(CompletionsArgs),
    /// Print a manual page.
    Man(ManArgs),
}

impl Cli {
    /// Parses the command line. Prints `--help` and `--version`, and returns `None` for them.
    ///
    /// # Errors
    /// With the message of clap, in one line, if the command line is wrong.
    pub fn read() -> Result<Option<Self>, Failure> {
        let read = definition()
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches).map(|cli| (cli, matches)));
        match read {
            Ok((cli, matches)) => cli.check(&matches).map(Some),
            Err(error) if error.use_stderr() => Err(usage(&environment::message(&error))),
            Err(help) => print_help(&help.render()).map(|()| None),
        }
    }

    fn check(mut self, matches: &ArgMatches) -> Result<Self, Failure> {
        let Some((name, matches)) = matches.subcommand() else { return Ok(self) };
        let command = definition();
        self.warnings =
            command.find_subcommand(name).map(environment::warnings).unwrap_or_default();
        self.output.settle(matches)?;
        match &mut self.command {
            Command::Peer(peer) => {
                peer.settle(matches)?;
                peer.secret.settle(matches)?;
            }
            Command::Get(get) => {
                get.check(&self.output, matches)?;
                get.secret.settle(matches)?;
            }
            Command::Share(share) => share.secret.settle(matches)?,
            Command::List(list) => list.secret.settle(matches)?,
            Command::Doctor(doctor) => doctor.secret.settle(matches)?,
            _ => {}
        }
        Ok(self)
    }
}

/// Returns which of two options that exclude each other is ignored: an option on the command
/// line overrides one from the environment.
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

/// Prints the help, in colour where that is wanted.
fn print_help(help: &StyledStr) -> Result<(), Failure> {
    let mut stdout = stdio::stdout();
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_plain = !stdout.is_terminal()
        || is_set("NO_COLOR")
        || env::var_os("TERM").is_some_and(|it| it == "dumb");
    let text = if is_plain { help.to_string() } else { help.ansi().to_string() };
    match stdout.data(text.as_bytes(), None) {
        // A reader may close the pipe before the end.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let message = format_args!("cannot write to stdout: {error}");
            Err(Failure::new(ExitCode::WriteFailed, message))
        }
        _ => Ok(()),
    }
}

pub fn definition() -> clap::Command {
    environment::with_variables(Cli::command())
}

/// Returns the first paragraph of a message of clap, in one line and without its hints.
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
