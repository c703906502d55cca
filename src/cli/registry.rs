//! `p2pfs registry`.

use std::net::{Ipv4Addr, SocketAddrV4};

use clap::Args;

use super::limits::LimitArgs;
use super::value::listen;
use crate::limits::REGISTRY_PORT;

const EVERYWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, REGISTRY_PORT);

#[derive(Debug, Args)]
#[command(after_help = "Peers of one network find each other without a registry. It is needed to \
    fetch by version 0, and it tells peers of version 1 about those that broadcasts do not reach: \
    start it on a machine that all can reach, and name that with --registry.")]
pub struct RegistryArgs {
    /// Listen on this address, of every interface if it is 0.0.0.0, and on this port. Port 0
    /// takes a free one.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = listen, default_value_t = EVERYWHERE)]
    pub listen: SocketAddrV4,
    /// List no peers, as a registry of version 0: those of version 1 find each other by beacons
    /// alone.
    #[arg(long)]
    pub no_v1: bool,
    #[command(flatten)]
    pub limits: LimitArgs,
}
