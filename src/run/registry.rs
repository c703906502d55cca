//! `p2pfs registry`.

use std::net::SocketAddrV4;

use super::{cannot_bind, loop_failed, network, result_of, say_listening, serve, with_descriptors};
use crate::cli::{OutputArgs, RegistryArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::Limits;
use crate::node::RegistryNode;
use crate::reactor::{Listener, Network, RateLimits, Reactor, Signals, Sockets};
use crate::ui::Ui;

const NAME: &str = "registry";

pub fn registry(args: &RegistryArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let limits = with_descriptors(args.limits.limits(Limits::REGISTRY));
    let progress_timeout = limits.progress_timeout;
    let listener = Listener::bind(args.listen, progress_timeout).map_err(|error| {
        cannot_bind(args.listen, &error, "another registry? choose one with --listen")
    })?;
    let address = listener.address();
    let sockets = Sockets {
        // It connects to nobody.
        network: Network::unused(),
        progress_timeout,
        rate_limits: RateLimits::default(),
        listener: Some(listener),
        offers: None,
        beacons: None,
        control: None,
        programs: Vec::new(),
    };
    let node = RegistryNode::new(limits);
    let node = if args.no_v1 { node.of_version_0() } else { node };
    let ui = Ui::new(NAME.into(), output.show());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    // The line that scripts wait for comes last: the program is as it stays by then.
    say_where(address);
    say_listening(address, output);
    let outcome = serve(&mut reactor, [])?;
    result_of(outcome, None)
}

/// Says on which addresses others reach a registry that listens there.
fn say_where(listens_at: SocketAddrV4) {
    let there = match listens_at.ip() {
        host if host.is_unspecified() => network::interfaces().unwrap_or_default(),
        _ => Vec::new(),
    };
    let addresses = there.iter().filter(|interface| interface.is_up).map(|it| it.address);
    let own = Some(*listens_at.ip()).filter(|host| !host.is_unspecified());
    let addresses = addresses.chain(own).filter(|host| !host.is_loopback());
    let addresses = addresses.map(|host| SocketAddrV4::new(host, listens_at.port()).to_string());
    match addresses.collect::<Vec<_>>().as_slice() {
        [] if own.is_none() => log::warn!(
            target: NAME,
            "this machine is in no network: others reach it once it is in one"
        ),
        [] => log::info!(target: NAME, "only this machine reaches it; for others, see --listen"),
        addresses => log::info!(target: NAME, "others reach it at {}", addresses.join(" and ")),
    }
}
