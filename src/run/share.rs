//! `p2pfs share`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::sockets;
use super::{
    begin_metrics, cannot_bind, cannot_read_folder, known_files, loop_failed, network, result_of,
    say_listening, say_sharing, serve, warn_skipped, with_descriptors,
};
use crate::cli::{OutputArgs, ShareArgs};
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::{Limits, SKIPPED_LINES_MAX};
use crate::node::{PeerKind, PeerNode, PeerSettings, Which};
use crate::reactor::{Files, Listener, Reactor, Signals, Sockets};
use crate::storage::{Scan, SharedFolder, Skipped, Watch, cache_folder};
use crate::ui::{Show, Ui};
use crate::wire::v1::PeerName;
use crate::wire::{PeerId, Shown};

const NAME: &str = "share";

pub fn share(args: &ShareArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let names = &args.network.interface;
    let network = network::network(names, Which::All, &args.network.offers)?;
    let address = SocketAddrV4::new(network.host().unwrap_or(Ipv4Addr::UNSPECIFIED), args.port);
    let limits = with_descriptors(args.limits.limits(args.transfer.limits(Limits::PEER)));
    let progress_timeout = limits.progress_timeout;
    let listener = Listener::bind(address, progress_timeout)
        .map_err(|error| cannot_bind(address, &error, "choose another with --port"))?;
    let offers = network::bind_offers(&network)?;
    let cannot_read = |error| cannot_read_folder(&args.dir, &error);
    let folder = SharedFolder::open_to_share(&args.dir).map_err(cannot_read)?;
    // Before the scan, so that nothing falls between the two.
    let watch = Watch::new(&folder);
    let scan = folder.scan().map_err(cannot_read)?;

    let address = listener.address();
    let settings = PeerSettings {
        kind: PeerKind::AnyId,
        // Guests, which have no id, acknowledge with 0.
        id: PeerId(fastrand::u32(1..)),
        port: address.port(),
        registry: args.network.registry.clone(),
        offer_interval: args.network.offers.offer_interval,
        name: PeerName::none(),
        instance: fastrand::u64(1..),
        simulate_checksum_failure: false,
        exit_when_done: false,
        limits,
        seed: fastrand::u64(..),
    };
    let node = PeerNode::new(Instant::now(), settings);
    let Scan { files, skipped } = scan;
    tell_skipped(&skipped);
    let count = files.len();
    let (cache, begin) = known_files(&folder, files, cache_folder());
    let interfaces: Vec<_> = network.routes().into_iter().map(|(from, _)| from).collect();
    let sockets = Sockets {
        network,
        progress_timeout,
        listener: Some(listener),
        offers: Some(offers),
        control: sockets::own(),
        programs: Vec::new(),
    };
    let files = Some(Files::new(folder, cache).following(watch));
    let ui = Ui::new(
        NAME.into(),
        Show { has_metrics: args.output.metrics.is_some(), ..output.show_daily() },
    );
    let mut reactor = Reactor::new(ui, node, signals, sockets, files).map_err(loop_failed)?;
    begin_metrics(&mut reactor, args.output.metrics.as_deref())?;
    say_listening(address, output);
    say_sharing(&args.dir, count, &skipped, output);
    let path = Shown(args.dir.to_string_lossy());
    let addresses = interfaces.iter().map(|at| SocketAddrV4::new(*at, address.port()).to_string());
    let at = match addresses.collect::<Vec<_>>().join(" and ") {
        none if none.is_empty() => "no address yet".to_owned(),
        addresses => addresses,
    };
    log::info!(
        target: NAME,
        "sharing {} of {path} at {at}, with the registry at {}",
        Count(count, "file"),
        args.network.registry,
    );
    if interfaces.iter().all(Ipv4Addr::is_loopback) {
        let next = match (names.is_empty(), interfaces.is_empty()) {
            (false, _) => "only this machine can reach us; for others, see --interface",
            (true, true) => "this machine is in no network: nobody can reach us until it is in one",
            (true, false) => {
                "this machine is in no network: only it can reach us until it is in one"
            }
        };
        log::warn!(target: NAME, "{next}");
    }
    let outcome = serve(&mut reactor, &begin)?;
    result_of(outcome, None)
}

/// Tells what is not shared: the first few, and how many more.
fn tell_skipped(skipped: &[Skipped]) {
    for skipped in skipped.iter().take(SKIPPED_LINES_MAX) {
        warn_skipped(NAME, skipped);
    }
    let more = skipped.len().saturating_sub(SKIPPED_LINES_MAX);
    if more > 0 {
        log::warn!(target: NAME, "not shared: {more} more");
    }
}
