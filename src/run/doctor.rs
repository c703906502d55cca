//! `p2pfs doctor`.

use std::time::Instant;

use super::secret::membership;
use super::{loop_failed, network, result_of};
use crate::cli::{DoctorArgs, OutputArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::PROGRESS_TIMEOUT;
use crate::node::doctor::{DoctorNode, DoctorSettings};
use crate::node::{Interface, Outcome, Which};
use crate::reactor::{BroadcastSocket, RateLimits, Reactor, Signals, Sockets};
use crate::ui::{Event, Ui, stdout};

const NAME: &str = "doctor";

/// Looks at the network, and tells what it finds.
///
/// # Errors
/// If no files could be exchanged as things are.
pub fn doctor(args: &DoctorArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let membership = membership(&args.secret, NAME)?;
    let signals = Signals::new().map_err(loop_failed)?;
    let names = &args.network.interface;
    let network = network::network(names, Which::Any, &args.network.offers)?;
    let all = network::interfaces()?;
    let (examined, others) = match names.as_slice() {
        [] => (all, Vec::new()),
        _ => {
            let examined = network.used().to_vec();
            let others = all.into_iter().filter(|interface| !examined.contains(interface));
            let others = others.collect();
            (examined, others)
        }
    };
    let (offers, port_error) = match BroadcastSocket::offers(network.offer_port()) {
        Ok(offers) => (Some(offers), None),
        Err(error) => (None, Some(error.kind())),
    };
    let beacon_port = network.beacon_port();
    let (beacons, beacon_port_error) = match BroadcastSocket::beacons_heard(beacon_port) {
        Ok(beacons) => (Some(beacons), None),
        Err(error) => (None, Some(error.kind())),
    };
    let routed = |interface: Interface| {
        let to = network.route(&interface);
        (interface, to)
    };
    let settings = DoctorSettings {
        port: network.offer_port(),
        port_error,
        beacon_port,
        beacon_port_error,
        beacons: membership.beacons,
        group: membership.group,
        registry: args.network.registry(),
        registry_use: args.network.registry_use(),
        interfaces: examined.into_iter().map(routed).collect(),
        others,
        offer_interval: args.network.offers.offer_interval,
        number: fastrand::u32(..),
        instance: fastrand::u64(1..),
    };
    let node = DoctorNode::new(Instant::now(), settings);
    let sockets = Sockets {
        network,
        progress_timeout: PROGRESS_TIMEOUT,
        rate_limits: RateLimits::default(),
        listener: None,
        offers,
        beacons,
        control: None,
        programs: Vec::new(),
    };
    let ui = Ui::new(NAME.into(), output.show());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    let outcome = reactor.run([]).map_err(loop_failed)?;
    if outcome != Outcome::AllDone {
        return result_of(outcome, None);
    }
    let verdict = reactor.node().verdict();
    let (code, text) = (verdict.code(), verdict.to_string());
    if output.json {
        stdout::keep(&Event::of_verdict(&verdict).line());
    }
    if code != ExitCode::Done {
        return Err(Failure::new(code, text));
    }
    if !output.json {
        log::info!(target: NAME, "{text}");
    }
    Ok(code)
}
