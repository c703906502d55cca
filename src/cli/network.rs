//! Options about the network: the registry, offers, our own interfaces.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::Args;

use super::value::{interface, offer_interval, target};
use crate::limits::REGISTRY_PORT;
use crate::node::HostPort;

pub(super) const REGISTRY_ADDRESS: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, REGISTRY_PORT);

/// The meaning of `--broadcast` and `--offer-interval` for commands that offer nothing.
pub(super) const HEARD_ON: &str = "Hear offers on the port of this address, on every interface; \
    nothing is sent there [default: port 8000]";
pub(super) const OTHERS_OFFER: &str =
    "Expect the offers of others this often, such as 5s or 500ms; sets how long to listen";

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Use this registry. Give an address or a name, and a port unless it is 5000.
    #[arg(long, value_name = "HOST[:PORT]", default_value_t = HostPort::Address(REGISTRY_ADDRESS))]
    pub registry: HostPort,
    /// Use this network interface: listen on its address, connect from it, and offer to its
    /// broadcast address. Repeat it, or separate several with commas; other peers then connect
    /// to the address from which we reach the registry.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',', value_parser = interface)]
    pub interface: Vec<String>,
    #[command(flatten)]
    pub offers: OfferArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct OfferArgs {
    /// Send offers to this address, and hear them on its port, on every interface
    /// [default: the broadcast address of each interface used, port 8000].
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    pub broadcast: Option<SocketAddrV4>,
    /// Offer each file this often, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = offer_interval)]
    pub offer_interval: Duration,
}
