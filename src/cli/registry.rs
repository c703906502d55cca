//! `p2pfs registry`.

use std::net::SocketAddrV4;

use clap::Args;

use super::limits::LimitArgs;
use super::network::REGISTRY_ADDRESS;
use super::value::listen;

#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Listen on this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    #[arg(default_value_t = REGISTRY_ADDRESS)]
    pub listen: SocketAddrV4,
    #[command(flatten)]
    pub limits: LimitArgs,
}
