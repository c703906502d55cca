//! The command line, turned once into settings that are known to be valid.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, value_parser};
use humantime::format_duration;
use log::LevelFilter;

use crate::exit::{ExitCode, Failure};
use crate::limits::{
    CONNECTIONS_MIN, CONNECTIONS_PER_ADDRESS_MAX, Limits, OFFER_INTERVAL_MAX, OFFER_INTERVAL_MIN,
    OFFER_PORT, REGISTRY_PORT, TIMEOUT_MAX, TIMEOUT_MIN, WISHES_MAX,
};
use crate::wire::{FileName, NameError, Shown};

/// Where the registry is, and listens, if nothing else is said.
const REGISTRY_ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, REGISTRY_PORT);

/// Share files between the peers of a network, verified, at almost no cost.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
#[command(arg_required_else_help = false)]
#[command(
    after_help = "Exit codes: 0 done, 1 other, 2 usage, 7 id or port taken at the registry, \
    8 write error, 9 exists and may not be replaced or emptied, 10 some files done and some not, \
    11 address in use, 130 and 143 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more: -v for details, -vv for everything.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the registry, which knows which peer listens where.
    Registry(RegistryArgs),
    /// Run a peer, which shares a folder, and fetches and then shares what it wants.
    Peer(PeerArgs),
}

/// The command line of the registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Listen on this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    #[arg(default_value_t = REGISTRY_ADDRESS)]
    pub listen: SocketAddrV4,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Limits that registry and peer share.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Connections at once [default: 1024 for a peer, 16384 for a registry].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(CONNECTIONS_MIN as i64..=1_000_000))]
    connections_max: Option<u32>,
    /// Connections accepted from one address at once; the loopback is exempt.
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_PER_ADDRESS_MAX as u32)]
    #[arg(value_parser = value_parser!(u32).range(1..=1_000_000))]
    connections_per_address_max: u32,
    /// Close a new connection on which nothing was received for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = timeout)]
    first_byte_timeout: Duration,
    /// Close a connection on which nothing was asked for so long.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = timeout)]
    idle_timeout: Duration,
    /// Give up a transfer in which nothing moved for so long.
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = timeout)]
    progress_timeout: Duration,
}

impl LimitArgs {
    /// The limits, with `usual` for what is not said here.
    pub fn limits(&self, usual: Limits) -> Limits {
        Limits {
            connections_max: self.connections_max.map_or(usual.connections_max, |n| n as usize),
            connections_per_address_max: self.connections_per_address_max as usize,
            first_byte_timeout: self.first_byte_timeout,
            idle_timeout: self.idle_timeout,
            progress_timeout: self.progress_timeout,
            ..usual
        }
    }
}

/// The command line of a peer.
#[derive(Debug, Args)]
pub struct PeerArgs {
    /// Our number, which no other peer of the registry may have.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub id: u32,
    /// Listen on this TCP port; 0 takes a free one.
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub port: u16,
    /// Our address: to listen on, to connect from and to broadcast on.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", value_parser = host)]
    pub host: Ipv4Addr,
    /// Where the registry is.
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    #[arg(default_value_t = REGISTRY_ADDRESS)]
    pub registry: SocketAddrV4,
    /// Where offers are sent; heard on the same port
    /// [default: the broadcast address of --host's interface, port 8000].
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    pub broadcast: Option<SocketAddrV4>,
    /// How often each file is offered, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = offer_interval)]
    pub offer_interval: Duration,
    /// Share this folder, as it is, and fetch into it
    /// [default: a folder peer-N in the current one, made anew at each start].
    #[arg(long, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(folder))]
    pub dir: Option<PathBuf>,
    /// Fill the folder peer-N with the files of the folder peer-N in this one.
    #[arg(long, value_name = "DIR", default_value = "initial_peer_folders")]
    #[arg(conflicts_with = "dir")]
    pub initial_folders: PathBuf,
    /// Fetch this file; may be given many times.
    #[arg(long, value_name = "NAME", value_parser = OsStringValueParser::new().try_map(wanted_name))]
    pub want: Vec<FileName>,
    /// Exit once every wanted file is there and verified.
    #[arg(long, requires = "want")]
    pub exit_when_done: bool,
    /// Take the first download of each file for a wrong one, to show the recovery.
    #[arg(long)]
    pub simulate_checksum_failure: bool,
    /// Do not wait until a file would survive a loss of power before it is called done.
    #[arg(long)]
    pub no_sync: bool,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Fetch no file larger than this, such as 500M or 4GiB.
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub max_file_size: Option<u64>,
    /// Leave so much of the disk free [default: the larger of 64 MiB and 1 %].
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    pub disk_reserve: Option<u64>,
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// What clap has to say, in one line. `--help` and `--version` are printed, and
    /// are `Ok(None)`.
    pub fn read() -> Result<Option<Self>, Failure> {
        match Self::try_parse() {
            Ok(cli) => cli.check().map(Some),
            Err(error) if error.use_stderr() => Err(usage(&error.to_string())),
            Err(help) => {
                // To a closed stdout there is nothing to say.
                let _ = help.print();
                Ok(None)
            }
        }
    }

    fn check(self) -> Result<Self, Failure> {
        if let Command::Peer(peer) = &self.command
            && peer.want.len() > WISHES_MAX
        {
            let message = format_args!("--want is given more than {WISHES_MAX} times");
            return Err(Failure::new(ExitCode::Usage, message));
        }
        Ok(self)
    }

    /// What to run.
    pub fn command(self) -> Command {
        self.command
    }

    /// How much to log.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::Info,
            1 => LevelFilter::Debug,
            _ => LevelFilter::Trace,
        }
    }
}

/// The first paragraph of what clap says, in one line and without its hints.
fn usage(text: &str) -> Failure {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraph = text.split("\n\n").next().unwrap_or(text);
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    Failure::new(ExitCode::Usage, format_args!("{}; see --help", Shown(line)))
}

fn host(text: &str) -> Result<Ipv4Addr, String> {
    let host: Ipv4Addr = text.parse().map_err(|_| "not an IPv4 address".to_owned())?;
    match host.is_unspecified() || host.is_broadcast() || host.is_multicast() {
        true => Err("other peers could not connect to it; give the address of an interface".into()),
        false => Ok(host),
    }
}

fn listen(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.ip().is_broadcast() || address.ip().is_multicast() => {
            Err("nobody can connect to such an address".into())
        }
        Ok(address) => Ok(address),
        Err(_) => Err(format!("not an IPv4 address and port, such as {REGISTRY_ADDRESS}")),
    }
}

fn target(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.port() == 0 => Err("port 0 is nowhere".into()),
        Ok(address) => Ok(address),
        Err(_) => Err(format!("not an IPv4 address and port, such as 192.0.2.1:{OFFER_PORT}")),
    }
}

fn offer_interval(text: &str) -> Result<Duration, String> {
    duration(text, OFFER_INTERVAL_MIN..=OFFER_INTERVAL_MAX)
}

fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN..=TIMEOUT_MAX)
}

fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let [least, most] = [bounds.start(), bounds.end()].map(|bound| format_duration(*bound));
    match bounds.contains(&duration) {
        true => Ok(duration),
        false => Err(format!("not within {least} to {most}")),
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|_| "not a size, such as 500M or 4GiB".to_owned())
}

fn folder(path: PathBuf) -> Result<PathBuf, String> {
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err("not a folder".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn wanted_name(text: OsString) -> Result<FileName, NameError> {
    FileName::from_bytes(text.as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
