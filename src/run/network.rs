//! Which addresses a program uses, as its user wants it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::cannot_bind;
use crate::cli::network::OfferArgs;
use crate::exit::{ExitCode, Failure};
use crate::limits::SESSION_PORT;
use crate::node::{Interface, Which};
use crate::reactor::{self, BroadcastSocket, Listener, Network};
use crate::wire::Shown;

/// Returns the interfaces that the user names, or `usual` if that is none.
///
/// # Errors
/// If the machine has no such interface.
pub(super) fn network(
    names: &[String],
    usual: Which,
    offers: &OfferArgs,
) -> Result<Network, Failure> {
    let which = if names.is_empty() { usual } else { Which::Named(names.to_vec()) };
    if let Which::Named(names) = &which {
        let all = interfaces()?;
        let is_missing =
            |name: &&String| Which::Named(vec![(*name).clone()]).among(&all).is_empty();
        if let Some(name) = names.iter().find(is_missing) {
            return Err(no_interface(name, &all));
        }
    }
    Network::new(which, offers.broadcast, offers.beacon_port()?).map_err(|error| not_listed(&error))
}

/// Returns the IPv4 addresses of this machine.
pub(super) fn interfaces() -> Result<Vec<Interface>, Failure> {
    reactor::interfaces().map_err(|error| not_listed(&error))
}

/// Returns whether this machine is in a network, as far as that can be told.
pub(super) fn is_connected() -> bool {
    let is_far = |it: &Interface| it.is_up && !it.address.is_loopback();
    interfaces().map_or(true, |all| all.iter().any(is_far))
}

/// Listens on this port; without one on the usual port or, if that is taken, on any.
pub(super) fn listen(
    host: Ipv4Addr,
    port: Option<u16>,
    progress_timeout: Duration,
) -> Result<Listener, Failure> {
    let bind = |port| {
        let address = SocketAddrV4::new(host, port);
        Listener::bind(address, progress_timeout).map_err(|error| (address, error))
    };
    let bound = match port {
        Some(port) => bind(port),
        None => bind(SESSION_PORT).or_else(|(address, error)| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => bind(0),
            _ => Err((address, error)),
        }),
    };
    bound.map_err(|(address, error)| cannot_bind(address, &error, "choose another with --port"))
}

/// Returns the socket of the offer port, only to hear.
pub(super) fn hear_offers(network: &Network) -> Result<BroadcastSocket, Failure> {
    BroadcastSocket::offers(network.offer_port()).map_err(|error| not_bound(network, &error))
}

/// Returns the socket of the offer port, on which offers are sent from each interface.
pub(super) fn bind_offers(network: &Network) -> Result<BroadcastSocket, Failure> {
    let has_none = |interface: &&Interface| network.route(interface).is_none();
    if let Some(interface) = network.used().iter().find(has_none) {
        return Err(no_broadcast_address(interface.address));
    }
    let offers = hear_offers(network)?.sending(&network.routes());
    offers.map_err(|error| not_bound(network, &error))
}

/// Returns the socket of the beacon port, on which beacons are sent from each interface.
pub(super) fn bind_beacons(network: &Network) -> Result<BroadcastSocket, Failure> {
    let port = network.beacon_port();
    let beacons = BroadcastSocket::beacons(port);
    beacons.and_then(|beacons| beacons.sending(&network.beacon_routes())).map_err(|error| {
        let heard = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let hint = "beacons are heard there; choose another, for every peer, with --beacon-port";
        cannot_bind(heard, &error, hint)
    })
}

fn not_listed(error: &io::Error) -> Failure {
    let message = format_args!("cannot list the network interfaces: {error}");
    Failure::new(ExitCode::Other, message)
}

fn not_bound(network: &Network, error: &io::Error) -> Failure {
    let heard = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, network.offer_port());
    let hint = "offers are heard there; choose another, for every peer, with --broadcast";
    cannot_bind(heard, error, hint)
}

fn no_broadcast_address(address: Ipv4Addr) -> Failure {
    let message = format_args!("the interface of {address} has no broadcast address; ");
    Failure::new(ExitCode::Usage, format_args!("{message}give one with --broadcast"))
}

fn no_interface(name: &str, all: &[Interface]) -> Failure {
    let there: Vec<_> = all
        .iter()
        .map(|interface| format!("{} ({})", Shown(&interface.name), interface.address))
        .collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    let name = Shown(name);
    let message = format_args!("no interface {name} with an IPv4 address; there is {there}");
    Failure::new(ExitCode::Usage, message)
}
