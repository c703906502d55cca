//! Options about the network: the registry, offers, our own interfaces.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::value::{interface, is_of_one_host, offer_interval, target};
use crate::limits::REGISTRY_PORT;

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

/// A host, as an address or a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    Address(SocketAddrV4),
    Name {
        /// ASCII letters, digits, `-`, `_` and `.`; the last part is no number.
        host: String,
        port: u16,
    },
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| "not a port".to_owned())?),
            None => (text, REGISTRY_PORT),
        };
        if port == 0 {
            return Err("nobody can connect to port 0".into());
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            if !is_of_one_host(address) {
                return Err("no machine has that address; give that of the registry".into());
            }
            return Ok(Self::Address(SocketAddrV4::new(address, port)));
        }
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // A resolver may take a name that ends in a number for an address: 127.1 is 127.0.0.1.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let is_number = last.chars().all(|c| c.is_ascii_digit());
        if host.is_empty() || !host.chars().all(is_legal) || is_number {
            return Err("neither an IPv4 address nor a host name".into());
        }
        Ok(Self::Name { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_an_address_or_a_name_with_or_without_a_port() {
        let address = |text: &str| Ok(HostPort::Address(text.parse().unwrap()));
        let name = |host: &str, port| Ok(HostPort::Name { host: host.to_owned(), port });
        assert_eq!("192.0.2.1".parse(), address("192.0.2.1:5000"));
        assert_eq!("192.0.2.1:7".parse(), address("192.0.2.1:7"));
        assert_eq!("lab-1.example".parse(), name("lab-1.example", 5000));
        assert_eq!("localhost:7".parse(), name("localhost", 7));
        for bad in [
            "",
            ":7",
            "a b",
            "a:b",
            "a:0",
            "a:65536",
            "300.0.0.1",
            "1.2.3",
            "127.1",
            "7",
            "é",
            "[::1]:7",
            "::1",
            "a\x1b[2J",
            "http://a",
            "1.2.3.",
            "0.0.0.0",
            "255.255.255.255:7",
            "224.0.0.1",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "{bad:?}");
        }
        assert_eq!("lab:7".parse::<HostPort>().unwrap().to_string(), "lab:7");
    }
}
