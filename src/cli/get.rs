//! `p2pfs get`.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::OutputArgs;
use super::limits::{TransferArgs, WriteArgs};
use super::network::{HEARD_ON, NetworkArgs, OTHERS_OFFER};
use super::secret::SecretArgs;
use super::value::{folder, timeout};
use crate::content::OnConflict;
use crate::exit::{ExitCode, Failure};
use crate::limits::{JOBS_MAX, RETRIES_MAX, SESSION_PORT, TEXT_FIELD_BYTES};
use crate::node::{Restriction, Wish, is_of_one_host};
use crate::wire::PathError;

#[derive(Debug, Args)]
#[command(after_help = "WHAT is one of these:\n  \
    photos/a.jpg      the file with this path, or the folder if no file has it\n  \
    photos/           the folder, with all below it; / is everything\n  \
    'photos/*.jpg'    a pattern over paths; quote it from the shell. *, ? and [ab] do not\n                    \
    cross a slash, **/ does. A file that is called like the pattern wins over it\n  \
    blake3:ID         a content by 16 to 64 digits of its id; NAME=blake3:ID stores it as NAME\n\n\
    The command waits for the first peer that shares it, and fetches what all peers share that \
    answer soon. Different contents under one path are ambiguous: the exit code is 12.\n\n\
    Peers of version 0 alone offer names one by one. A name or a pattern without a slash that \
    nobody shares by version 1 within a second is also heard for from them: a pattern until 5.5 \
    intervals of the slowest sharer that matches have brought nothing new, and two of \
    --offer-interval at least. If that is not reached within --timeout or 5 minutes, there may be \
    more, and the exit code is 10.\n\n\
    A file appears under its final name only after its hash has been verified. With `-o -` \
    it is written to stdout, also only then.")]
#[command(mut_arg("interface", |arg| arg.help(CONNECT_FROM)))]
#[command(mut_arg("broadcast", |arg| arg.help(HEARD_ON)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct GetArgs {
    /// Fetch this file or folder, every file that matches this pattern, or this content.
    #[arg(required = true, value_name = "WHAT")]
    #[arg(value_parser = OsStringValueParser::new().try_map(what))]
    what: Vec<String>,
    /// Write the files to this folder; - writes one file to stdout. A folder that does not exist
    /// is made if its name ends with a slash.
    #[arg(short, long, value_name = "DIR|-", default_value = ".")]
    #[arg(value_parser = OsStringValueParser::new().try_map(output))]
    pub output: Output,
    /// Give up after this time, also without an offer or a registry [default: never].
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub timeout: Option<Duration>,
    /// Retries per file and source that has failed. Waiting for an offer or for the
    /// registry is no retry: see --timeout.
    #[arg(long, value_name = "N", default_value_t = RETRIES_MAX)]
    pub retries: u32,
    /// Choose what happens if the name is taken: fail (unless the content is the same), skip
    /// the file, rename the new one to `NAME (1)`, or replace the old one.
    #[arg(long, value_name = "HOW", default_value = "fail", hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(HOW).map(on_conflict))]
    pub on_conflict: OnConflict,
    /// Fetch only from this peer, by its id, its address or its name; repeat it for several.
    #[arg(long, value_name = "NAME|ID|ADDRESS", value_parser = restriction)]
    pub from: Vec<Restriction>,
    /// Ask the peer at this address, too, which need not be heard; repeat it for several. The
    /// port is 8001 unless it is given.
    #[arg(long, value_name = "ADDRESS[:PORT]", value_parser = peer_address)]
    pub peer: Vec<SocketAddrV4>,
    /// Store each file under its name alone, without the folders of its path.
    #[arg(long)]
    pub flat: bool,
    /// Fetch also the files of a folder or pattern whose path has a component with a leading dot.
    #[arg(long)]
    pub hidden: bool,
    /// Show what would be fetched, and end.
    #[arg(long)]
    pub dry_run: bool,
    /// Give nothing of what is there already to other peers.
    #[arg(long)]
    pub no_give: bool,
    /// Listen on this TCP port, for others to whom it gives; 0 takes a free one [default: 8001 if
    /// it is free, else another].
    #[arg(long, value_name = "PORT", conflicts_with = "no_give")]
    pub port: Option<u16>,
    /// Remove what came of files that do not get done, instead of keeping it for a later run.
    #[arg(long)]
    pub discard: bool,
    /// Let a running peer of yours fetch the files into its own folder, and wait for them; it
    /// gives them up if this command ends before. Name it if several run.
    #[arg(long, value_name = "PID|SOCKET", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "")]
    pub via: Option<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub secret: SecretArgs,
    #[command(flatten)]
    pub writing: WriteArgs,
    #[command(flatten)]
    pub transfer: TransferArgs,
}

#[derive(Clone, Debug)]
pub enum Output {
    Folder(PathBuf),
    Stdout,
}

const HOW: [&str; 4] = ["fail", "skip", "rename", "replace"];

/// The meaning of `--interface` for this command, which neither listens nor offers.
const CONNECT_FROM: &str = "Connect from the address of this network interface. Repeat it, or \
    separate several with commas; the system chooses among several";

/// Options that a running peer would not follow: an error together with `--via`. From the
/// environment they are ignored.
const NOT_WITH_VIA: [&str; 19] = [
    "output",
    "from",
    "peer",
    "flat",
    "hidden",
    "dry_run",
    "no_give",
    "port",
    "discard",
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
    /// Returns what is to be fetched.
    pub fn wishes(&self) -> Vec<Wish> {
        // Each text was checked when it was parsed.
        self.what.iter().filter_map(|text| text.parse().ok()).collect()
    }

    pub(super) fn check(&self, output: &OutputArgs, matches: &ArgMatches) -> Result<(), Failure> {
        let usage = |message: &str| Err(Failure::new(ExitCode::Usage, message));
        let wishes = self.wishes();
        let is_given = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if self.via.is_some() {
            if let Some(id) = NOT_WITH_VIA.into_iter().find(is_given) {
                let option = id.replace('_', "-");
                let message = format!("--via cannot be used with --{option}: the running peer ");
                return usage(&format!("{message}fetches with its own options; see --help"));
            }
            let is_pattern = |wish: &Wish| match wish.name_pattern() {
                Some(pattern) => pattern.as_str().len() <= TEXT_FIELD_BYTES,
                None => false,
            };
            let is_known = |wish: &Wish| wish.name().is_some() || is_pattern(wish);
            return match wishes.iter().all(is_known) {
                false => usage("--via takes names and patterns of at most 64 bytes; see --help"),
                true => Ok(()),
            };
        }
        match (&self.output, wishes.as_slice()) {
            (Output::Stdout, _) if output.json => {
                usage("-o - cannot be used with --json; see --help")
            }
            (Output::Stdout, [one]) if one.one_file().is_some() => Ok(()),
            (Output::Stdout, _) => usage("-o - takes one name and no pattern; see --help"),
            (_, wishes) if wishes.len() > JOBS_MAX => {
                usage(&format!("more than {JOBS_MAX} names; use a pattern"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that a text is a wish.
pub(super) fn what(text: OsString) -> Result<String, String> {
    let text = text.into_string().map_err(|_| PathError::NotUtf8.to_string())?;
    match text.parse::<Wish>() {
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}

fn restriction(text: &str) -> Result<Restriction, String> {
    text.parse().map_err(|error: PathError| error.to_string())
}

/// Parses the address of a peer, with a port or without.
fn peer_address(text: &str) -> Result<SocketAddrV4, String> {
    let usual_port = |host| SocketAddrV4::new(host, SESSION_PORT);
    let address = text.parse().or_else(|_| text.parse().map(usual_port));
    let address = address.map_err(|_| "not an IPv4 address, such as 192.0.2.1:8001".to_owned())?;
    match address.port() != 0 && is_of_one_host(*address.ip()) {
        true => Ok(address),
        false => Err("no peer has that address".to_owned()),
    }
}

/// Returns whether a folder is to be made if it does not exist.
pub fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn on_conflict(how: String) -> OnConflict {
    match how.as_str() {
        "skip" => OnConflict::Skip,
        "rename" => OnConflict::Rename,
        "replace" => OnConflict::Replace,
        _ => OnConflict::Compare,
    }
}

fn output(text: OsString) -> Result<Output, String> {
    let path = Path::new(&text);
    let is_absent = path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
    match text.to_str() {
        Some("-") => Ok(Output::Stdout),
        _ if is_absent && ends_with_slash(path) => Ok(Output::Folder(path.to_owned())),
        _ if is_absent => Err("no such folder; end its name with / to have it made".to_owned()),
        _ => folder(text.into()).map(Output::Folder),
    }
}
