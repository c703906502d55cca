//! `p2pfs get`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ValueEnum};

use super::OutputArgs;
use super::limits::{TransferArgs, WriteArgs};
use super::network::{HEARD_ON, NetworkArgs, OTHERS_OFFER};
use super::value::{file_name, folder, timeout};
use crate::content::OnConflict;
use crate::exit::{ExitCode, Failure};
use crate::limits::{RETRIES_MAX, WISHES_MAX};
use crate::node::NamePattern;
use crate::wire::v0::FileName;

/// The command line of `get`.
#[derive(Debug, Args)]
#[command(after_help = "A NAME with *, ? or [ in it is a pattern, to be quoted from the shell: \
    `p2pfs get '*.iso'`. It waits for the first offer that matches; every name that matches and \
    is heard within two more of --offer-interval is fetched.\n\n\
    A file shows under its name only once it is verified. It goes to stdout with `-o -`, and \
    also only then.")]
#[command(mut_arg("interface", |arg| arg.help(CONNECT_FROM)))]
#[command(mut_arg("broadcast", |arg| arg.help(HEARD_ON)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct GetArgs {
    /// Fetch this file, or all whose names match this pattern.
    #[arg(required = true, value_name = "NAME")]
    #[arg(value_parser = OsStringValueParser::new().try_map(wanted))]
    pub names: Vec<Wanted>,
    /// Put the files into this folder; - writes one file to stdout.
    #[arg(short, long, value_name = "DIR|-", default_value = ".")]
    #[arg(value_parser = OsStringValueParser::new().try_map(output))]
    pub output: Output,
    /// Give up after so long, be it that nobody offers it or that there is no registry
    /// [default: wait for ever].
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<Duration>,
    /// Give a file up once all that offer it failed and were asked again so often. What
    /// nobody offers, and a registry that cannot be reached, is waited for: see --timeout.
    #[arg(long, value_name = "N", default_value_t = RETRIES_MAX)]
    pub retries: u32,
    /// What to do if there is something of that name: fail (unless it turns out to be the
    /// same), skip it, rename the new one to `NAME (1)`, or replace the old one.
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value = "fail",
        hide_possible_values = true
    )]
    on_conflict: Conflict,
    /// Have a running peer of yours fetch the files, into its own folder, and wait for them;
    /// say which, if there are several.
    #[arg(long, value_name = "PID|SOCKET", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "")]
    pub via: Option<String>,
    /// Network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Files.
    #[command(flatten)]
    pub writing: WriteArgs,
    /// Limits.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// What to fetch.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The file of this name.
    Name(FileName),
    /// All whose names match.
    Matching(NamePattern),
}

/// Where to put it.
#[derive(Clone, Debug)]
pub enum Output {
    /// Into this folder.
    Folder(PathBuf),
    /// To stdout.
    Stdout,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Conflict {
    Fail,
    Skip,
    Rename,
    Replace,
}

/// What `--interface` is for here: nothing is listened on, and nothing offered.
const CONNECT_FROM: &str = "Connect from the address of this network interface; may be given many \
    times, or with commas between. With several, the system chooses";

/// What says how this program is to fetch, and nothing to a running peer. In the
/// environment it does no harm.
const NOT_WITH_VIA: [&str; 11] = [
    "output",
    "retries",
    "on_conflict",
    "no_sync",
    "max_file_size",
    "disk_reserve",
    "registry",
    "interface",
    "broadcast",
    "offer_interval",
    "progress_timeout",
];

impl GetArgs {
    /// What to do if something stands under the name of a file.
    pub fn on_conflict(&self) -> OnConflict {
        match self.on_conflict {
            Conflict::Fail => OnConflict::Compare,
            Conflict::Skip => OnConflict::Skip,
            Conflict::Rename => OnConflict::Rename,
            Conflict::Replace => OnConflict::Replace,
        }
    }

    /// Checks what no option can check alone.
    pub(super) fn check(&self, output: &OutputArgs, matches: &ArgMatches) -> Result<(), Failure> {
        let usage = |message: &str| Err(Failure::new(ExitCode::Usage, message));
        let is_pattern = |wanted: &Wanted| matches!(wanted, Wanted::Matching(_));
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if self.via.is_some() {
            if let Some(id) = NOT_WITH_VIA.into_iter().find(is_given) {
                let option = id.replace('_', "-");
                let message = format!("--via cannot be used with --{option}: the running peer ");
                return usage(&format!("{message}fetches as it was told; see --help"));
            }
            return match self.names.iter().any(is_pattern) {
                true => usage("--via takes names and no pattern; see --help"),
                false => Ok(()),
            };
        }
        match (&self.output, self.names.as_slice()) {
            (Output::Stdout, _) if output.json => {
                usage("-o - cannot be used with --json; see --help")
            }
            (Output::Stdout, [Wanted::Name(_)]) => Ok(()),
            (Output::Stdout, _) => usage("-o - takes one name and no pattern; see --help"),
            (_, names) if names.len() > WISHES_MAX => {
                usage(&format!("more than {WISHES_MAX} names; use a pattern"))
            }
            _ => Ok(()),
        }
    }
}

fn wanted(text: OsString) -> Result<Wanted, String> {
    match text.to_str() {
        Some(pattern) if NamePattern::is_pattern(pattern) => {
            NamePattern::new(pattern).map(Wanted::Matching).map_err(str::to_owned)
        }
        _ => file_name(text).map(Wanted::Name).map_err(|error| error.to_string()),
    }
}

fn output(text: OsString) -> Result<Output, String> {
    match text.to_str() {
        Some("-") => Ok(Output::Stdout),
        _ => folder(text.into()).map(Output::Folder),
    }
}
