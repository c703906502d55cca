//! Parses one value; an error says what is wrong with it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use humantime::format_duration;

use super::network::REGISTRY_ADDRESS;
use crate::limits::{
    OFFER_INTERVAL_MAX, OFFER_INTERVAL_MIN, OFFER_PORT, RATE_LIMIT_BYTES_MIN, REGISTRY_PORT,
    TIMEOUT_MAX, TIMEOUT_MIN,
};
use crate::node::is_of_one_host;
use crate::storage::Exclude;
use crate::wire::PathError;
use crate::wire::v1::PeerName;

/// Parses an address that other peers can connect to.
pub(super) fn host(text: &str) -> Result<Ipv4Addr, String> {
    usable(text.parse().map_err(|_| "not an IPv4 address".to_owned())?)
}

fn usable(host: Ipv4Addr) -> Result<Ipv4Addr, String> {
    match is_of_one_host(host) {
        true => Ok(host),
        false => {
            Err("other peers could not connect to it; give the address of an interface".into())
        }
    }
}

/// Parses the name or the address of an interface, which is returned as it is.
pub(super) fn interface(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(address) => _ = usable(address)?,
        Err(_) if text.is_empty() => return Err("no name".into()),
        Err(_) => {}
    }
    Ok(text.to_owned())
}

pub(super) fn listen(text: &str) -> Result<SocketAddrV4, String> {
    let usual_port = |host| SocketAddrV4::new(host, REGISTRY_PORT);
    match text.parse().or_else(|_| text.parse().map(usual_port)) {
        Ok(address) if address.ip().is_broadcast() || address.ip().is_multicast() => {
            Err("nobody can connect to such an address".into())
        }
        Ok(address) => Ok(address),
        Err(_) => Err(match text.parse::<u16>() {
            Ok(port) => format!("not an IPv4 address; port {port} of every one is 0.0.0.0:{port}"),
            Err(_) => format!("not an IPv4 address, such as {REGISTRY_ADDRESS}"),
        }),
    }
}

pub(super) fn target(text: &str) -> Result<SocketAddrV4, String> {
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.port() == 0 => Err("nobody hears port 0".into()),
        Ok(address) => Ok(address),
        Err(_) => Err(format!("not an IPv4 address and port, such as 192.0.2.1:{OFFER_PORT}")),
    }
}

/// Parses a port that something can be sent to.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a port, from 1 to 65535".into()),
        Ok(port) => Ok(port),
    }
}

pub(super) fn offer_interval(text: &str) -> Result<Duration, String> {
    duration(text, OFFER_INTERVAL_MIN..=OFFER_INTERVAL_MAX)
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    duration(text, TIMEOUT_MIN..=TIMEOUT_MAX)
}

/// Parses a time with its units, or a number of seconds.
fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse().ok().filter(|_| is_number);
    let duration = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    let duration = duration.ok_or("not a time, such as 30s")?;
    let [least, most] = [bounds.start(), bounds.end()].map(|bound| format_duration(*bound));
    match bounds.contains(&duration) {
        true => Ok(duration),
        false => Err(format!("not within {least} to {most}")),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text).map_err(|_| "not a size, such as 500M or 4GiB".to_owned())
}

/// Parses a rate in bytes a second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let rate = parse_size::parse_size(text.strip_suffix("/s").unwrap_or(text));
    match rate.map_err(|_| "not a rate, such as 500k or 4MiB")? {
        rate if rate < RATE_LIMIT_BYTES_MIN => Err("less than 64k".to_owned()),
        rate => Ok(rate),
    }
}

/// Returns the path.
///
/// # Errors
/// If it is no folder that exists.
pub(super) fn folder(path: PathBuf) -> Result<PathBuf, String> {
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(path),
        Ok(_) => Err("not a folder".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a pattern of what is not shared.
pub(super) fn exclude(text: &str) -> Result<Exclude, String> {
    Exclude::new(text).map_err(|error| error.to_string())
}

/// Parses the name that a peer shows.
pub(super) fn peer_name(text: &str) -> Result<PeerName, PathError> {
    PeerName::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_unit_and_a_floor() {
        for (text, bytes) in [("64k", 64_000), ("64000", 64_000), ("1.5M/s", 1_500_000)] {
            assert_eq!(rate(text), Ok(bytes), "{text}");
        }
        for text in ["", "63999", "0", "-1M", "fast", "1M/h"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_unit_is_in_seconds() {
        for (text, milliseconds) in [
            ("20", 20_000),
            ("1.5", 1500),
            (".25", 250),
            ("020", 20_000),
            ("20s", 20_000),
            ("500ms", 500),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(timeout(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", ".", "1.2.3", "-1", "1e3", "inf", "NaN", "1,5", "20 x", "+5"] {
            assert_eq!(timeout(text), Err("not a time, such as 30s".to_owned()), "{text}");
        }
        for text in ["0", "0.001", "99999999999999999999999", "2d"] {
            assert!(timeout(text).is_err_and(|error| error != "not a time"), "{text}");
        }
        assert_eq!(offer_interval("2"), Ok(Duration::from_secs(2)));
    }
}
