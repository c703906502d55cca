//! `p2pfs share`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use super::limits::{LimitArgs, TransferArgs};
use super::network::NetworkArgs;
use super::output::MetricsArgs;
use super::value::folder;

#[derive(Debug, Args)]
#[command(after_help = "Nothing is written to the folder. The files offered are the regular ones \
    directly in it that are not hidden and have a name that is legal on every system.\n\n\
    Without --interface, it listens and offers on every interface that is up and can broadcast, \
    and follows those that come and go. The registry knows one address of each peer: that of the \
    interface that reaches it or, if it is on this machine, that of the default route.")]
pub struct ShareArgs {
    /// Share this folder.
    #[arg(default_value = ".", value_parser = PathBufValueParser::new().try_map(folder))]
    pub dir: PathBuf,
    /// Listen on this TCP port [default: a free one].
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub transfer: TransferArgs,
    #[command(flatten)]
    pub output: MetricsArgs,
}
