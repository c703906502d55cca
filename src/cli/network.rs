//! Where the others are: the registry, the offers, our own interfaces.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::value::{is_of_one_host, offer_interval, target};
use crate::limits::REGISTRY_PORT;

/// Where the registry is, and listens, if nothing else is said.
pub(super) const REGISTRY_ADDRESS: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, REGISTRY_PORT);

/// What `--broadcast` and `--offer-interval` are for where only the offers of others matter.
pub(super) const HEARD_ON: &str = "Where others send offers to: heard on its port, on every \
    interface, whatever its address; nothing is sent there [default: port 8000]";
pub(super) const OTHERS_OFFER: &str =
    "How often others offer each file, such as 5s or 500ms: how long to listen follows from it";

/// Options of every command that looks for others by the registry and by offers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Where the registry is: an address or a name, with a port unless that is 5000.
    #[arg(long, value_name = "HOST[:PORT]", default_value_t = HostPort::Address(REGISTRY_ADDRESS))]
    pub registry: HostPort,
    /// Use this network interface: its address to listen on and to connect from, its
    /// broadcast address for offers; may be given many times, or with commas between. With
    /// several, others connect to the address from which we reach the registry.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',')]
    pub interface: Vec<InterfaceName>,
    /// Offers.
    #[command(flatten)]
    pub offers: OfferArgs,
}

/// Options about offers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Network")]
pub struct OfferArgs {
    /// Where offers are sent; heard on the same port, on every interface
    /// [default: the broadcast address of each interface used, port 8000].
    #[arg(long, value_name = "ADDR:PORT", value_parser = target)]
    pub broadcast: Option<SocketAddrV4>,
    /// How often each file is offered, such as 5s or 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = offer_interval)]
    pub offer_interval: Duration,
}

/// A host, by address or by name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// Known as it is.
    Address(SocketAddrV4),
    /// To be resolved, once.
    Name {
        /// Of ASCII letters, digits, `-`, `_` and `.`; the last part is no number.
        host: String,
        /// The port.
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
            return Err("port 0 is nowhere".into());
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            if !is_of_one_host(address) {
                return Err("no machine has that address; give the one of the registry's".into());
            }
            return Ok(Self::Address(SocketAddrV4::new(address, port)));
        }
        let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // What ends in a number would be taken for an address, by some in surprising ways.
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

/// One of our network interfaces, by its name or an address of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceName {
    /// By an address.
    Address(Ipv4Addr),
    /// By its name.
    Name(String),
}

impl FromStr for InterfaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Ipv4Addr>() {
            Ok(address) => super::value::usable(address).map(Self::Address),
            Err(_) if text.is_empty() => Err("no name".into()),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
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
