//! A host, as the user has it, and a port.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use crate::limits::REGISTRY_PORT;

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

impl HostPort {
    /// Returns the address, unless that has to be looked for by the name.
    pub fn address(&self) -> Option<SocketAddrV4> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name { .. } => None,
        }
    }

    /// Returns the host, for people and for the system.
    pub fn host(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.clone(),
        }
    }

    /// Returns the port at the address that its name was found to have.
    pub fn at(&self, host: Ipv4Addr) -> SocketAddrV4 {
        let port = match self {
            Self::Address(address) => address.port(),
            Self::Name { port, .. } => *port,
        };
        SocketAddrV4::new(host, port)
    }
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

impl From<SocketAddrV4> for HostPort {
    fn from(address: SocketAddrV4) -> Self {
        Self::Address(address)
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

/// Returns whether an address can be that of one machine.
pub fn is_of_one_host(address: Ipv4Addr) -> bool {
    !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast()
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
