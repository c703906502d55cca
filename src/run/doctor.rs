//! `p2pfs doctor`.

use std::time::Instant;

use super::network::{self, Place};
use super::{loop_failed, result_of};
use crate::cli::{DoctorArgs, OutputArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::PROGRESS_TIMEOUT;
use crate::node::Outcome;
use crate::node::doctor::{DoctorNode, DoctorSettings};
use crate::reactor::{OfferSocket, Reactor, Signals, Sockets};
use crate::ui::{Event, Ui, stdout};

const NAME: &str = "doctor";

/// Looks at the network, and tells what it finds.
///
/// # Errors
/// If no files could be exchanged as things are.
pub fn doctor(args: &DoctorArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let interfaces = match args.network.interface.as_slice() {
        [] => network::interfaces()?,
        names => network::named(names)?,
    };
    let place = Place::new(interfaces, &args.network.offers);
    // First, so that offers gather while the registry's name is resolved.
    let (offers, port_error) = match OfferSocket::bind(place.offer_port(), &[]) {
        Ok(offers) => (Some(offers), None),
        Err(error) => (None, Some(error.kind())),
    };
    let registry_address = network::resolve(&args.network.registry).ok();
    let settings = DoctorSettings {
        port: place.offer_port(),
        port_error,
        registry: args.network.registry.to_string(),
        registry_address,
        interfaces: place.routes().map(|(interface, to)| (interface.clone(), to)).collect(),
        offer_interval: args.network.offers.offer_interval,
        number: fastrand::u32(..),
    };
    let node = DoctorNode::new(Instant::now(), settings);
    let host = place.host();
    let sockets = Sockets {
        // What is looked at is the way from there.
        host_to_loopback: host,
        ..place.sockets(PROGRESS_TIMEOUT, None, offers)
    };
    let ui = Ui::new(NAME.into(), output.show());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    let outcome = reactor.run(&[]).map_err(loop_failed)?;
    if outcome != Outcome::AllDone {
        return result_of(outcome, None);
    }
    let verdict = reactor.node().verdict();
    let (code, text) = (verdict.code(), verdict.to_string());
    if output.json {
        stdout::print(&Event::of_verdict(&verdict).line());
    }
    if code != ExitCode::Done {
        return Err(Failure::new(code, text));
    }
    if !output.json {
        log::info!(target: NAME, "{text}");
    }
    Ok(code)
}
