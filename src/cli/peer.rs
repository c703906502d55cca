//! `p2pfs peer`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PathBufValueParser, TypedValueParser};
use clap::{ArgMatches, Args};

use super::get::what;
use super::limits::{LimitArgs, TransferArgs, WriteArgs};
use super::loser;
use super::network::NetworkArgs;
use super::output::MetricsArgs;
use super::secret::SecretArgs;
use super::value::{folder, host};
use crate::exit::{ExitCode, Failure};
use crate::limits::JOBS_MAX;
use crate::node::Wish;

#[derive(Debug, Args)]
pub struct PeerArgs {
    /// Register with this id, which no other peer may have.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub id: u32,
    /// Listen on this TCP port; 0 takes a free one.
    #[arg(long, value_name = "PORT", allow_negative_numbers = true)]
    pub port: u16,
    /// Listen on this address, connect from it, and broadcast on its network; or use
    /// --interface.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", value_parser = host)]
    pub host: Ipv4Addr,
    /// Share this folder, and fetch into it
    /// [default: peer-N in the current folder, emptied and filled at each start].
    #[arg(long, value_name = "DIR", value_parser = PathBufValueParser::new().try_map(folder))]
    pub dir: Option<PathBuf>,
    /// Fill the folder peer-N from the folder peer-N in this one.
    #[arg(long, value_name = "DIR", default_value = "initial_peer_folders")]
    pub initial_folders: PathBuf,
    /// Fetch this file, folder, pattern or content, written as for `p2pfs get`; repeat it for
    /// several.
    #[arg(long, value_name = "WHAT", value_parser = OsStringValueParser::new().try_map(what))]
    want: Vec<String>,
    /// Exit once every wanted file is there and verified.
    #[arg(long, requires = "want")]
    pub exit_when_done: bool,
    /// Fail the first checksum or block of each file, to show the recovery.
    #[arg(long)]
    pub simulate_checksum_failure: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub secret: SecretArgs,
    #[command(flatten)]
    pub writing: WriteArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub transfer: TransferArgs,
    #[command(flatten)]
    pub output: MetricsArgs,
}

impl PeerArgs {
    /// Returns what is to be fetched.
    pub fn wishes(&self) -> Vec<Wish> {
        // Each text was checked when it was parsed.
        self.want.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Checks options together, and drops those that others override.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> Result<(), Failure> {
        // The code that reads them lets --interface and --dir override the other ones.
        if loser(matches, "interface", "host")? == Some("interface") {
            self.network.interface.clear();
        }
        if loser(matches, "dir", "initial_folders")? == Some("dir") {
            self.dir = None;
        }
        if self.want.len() > JOBS_MAX {
            let message = format_args!("--want is given more than {JOBS_MAX} times");
            return Err(Failure::new(ExitCode::Usage, message));
        }
        Ok(())
    }
}
