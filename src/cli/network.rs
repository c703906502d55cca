//! Options about the network: the registry, offers, our own interfaces.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use clap::Args;

use super::value::{interface, offer_interval, port, target};
use crate::exit::{ExitCode, Failure};
use crate::limits::{OFFER_PORT, REGISTRY_PORT};
use crate::node::{HostPort, RegistryUse};

pub(super) const REGISTRY_ADDRESS: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, REGISTRY_PORT);

/// The meaning of `--broadcast` and `--offer-interval` for commands that offer nothing.
pub(super) const HEARD_ON: &str = "Hear offers on the port of this address, on every interface; \
    only beacons are sent there [default: port 8000]";
pub(super) const OTHERS_OFFER: &str =
    "Expect the offers of others this often, such as 5s or 500ms; sets how long to listen";

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Use this registry: version 0 needs it to fetch, and version 1 to find peers that broadcasts
    /// do not reach. Give an address or a name, and a port unless it is 5000 [default:
    /// 127.0.0.1:5000, if one is there].
    #[arg(long, value_name = "HOST[:PORT]")]
    registry: Option<HostPort>,
    /// Use this network interface: listen on its address, connect from it, and offer to its
    /// broadcast address. Repeat it, or separate several with commas; other peers then connect
    /// to the address from which we reach the registry.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',', value_parser = interface)]
    pub interface: Vec<String>,
    #[command(flatten)]
    pub offers: OfferArgs,
}

impl NetworkArgs {
    /// Returns where the registry is, or would be.
    pub fn registry(&self) -> HostPort {
        self.registry.clone().unwrap_or(HostPort::Address(REGISTRY_ADDRESS))
    }

    pub fn registry_use(&self) -> RegistryUse {
        match self.registry {
            Some(_) => RegistryUse::Named,
            None => RegistryUse::Usual,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct OfferArgs {
    /// Send offers and beacons to this address, and hear offers on its port, on every interface
    /// [default: the broadcast address of each interface used, port 8000].
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    pub broadcast: Option<SocketAddrV4>,
    /// Send beacons to this UDP port, and hear them there [default: the port of offers + 1].
    #[arg(long, value_name = "PORT", value_parser = port)]
    beacon_port: Option<u16>,
    /// Offer each file this often, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = offer_interval)]
    pub offer_interval: Duration,
}

impl OfferArgs {
    /// Returns the port of beacons.
    ///
    /// # Errors
    /// If it is that of offers, whose sharers would take beacons for wrong offers.
    pub fn beacon_port(&self) -> Result<u16, Failure> {
        let offer_port = self.broadcast.map_or(OFFER_PORT, |to| to.port());
        let port = self.beacon_port.unwrap_or_else(|| offer_port.wrapping_add(1));
        let why = match port {
            0 => "there is no port after that of offers",
            _ if port == offer_port => "that is the port of offers",
            OFFER_PORT => "that is the usual port of offers",
            _ => return Ok(port),
        };
        let message = format_args!("cannot use port {port} for beacons: {why}; ");
        let message = format_args!("{message}choose another with --beacon-port");
        Err(Failure::new(ExitCode::Usage, message))
    }
}
