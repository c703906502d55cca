//! `p2pfs peer`.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Instant;

use super::secret::membership;
use super::sharing::{Sharing, name_of_host};
use super::sockets;
use super::{
    begin_metrics, cannot_bind, cannot_read_folder, loop_failed, network, result_of, say_listening,
    serve, with_descriptors,
};
use crate::cli::{OutputArgs, PeerArgs};
use crate::content::OnConflict;
use crate::exit::{ExitCode, Failure};
use crate::limits::Limits;
use crate::node::{GatherSettings, Input, PeerKind, PeerNode, PeerSettings, Which};
use crate::reactor::{Listener, Reactor, Signals, Sockets};
use crate::storage::{
    PrepareError, ShareRules, SharedFolder, SharedTree, WriteSettings, cache_folder, prepare,
};
use crate::ui::{Show, Ui};
use crate::wire::{PeerId, Shown};

pub fn peer(args: &PeerArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let name = format!("peer {}", args.id);
    let membership = membership(&args.secret, &name)?;
    let (names, host) = (&args.network.interface, Which::At(args.host));
    let network = network::network(names, host, &args.network.offers)?;
    let address = SocketAddrV4::new(network.host().unwrap_or(args.host), args.port);
    let limits = args.transfer.limits(args.writing.limits(Limits::PEER));
    let limits = with_descriptors(args.limits.limits(limits));
    let progress_timeout = limits.progress_timeout;
    let listener = Listener::bind(address, progress_timeout).map_err(|error| {
        cannot_bind(address, &error, "another peer? choose one with --port, or --host")
    })?;
    let offers = network::bind_offers(&network)?;
    let beacons = network::bind_beacons(&network)?;

    let id = PeerId(args.id);
    // While it lives, its folder is ours.
    let simulated = match &args.dir {
        Some(_) => None,
        None => Some(prepare(Path::new(""), id, &args.initial_folders).map_err(not_prepared)?),
    };
    let path = match (&args.dir, &simulated) {
        (Some(path), _) => path.as_path(),
        (None, Some(simulated)) => simulated.path(),
        (None, None) => unreachable!("a peer has a folder"),
    };
    let cannot_read = |error| cannot_read_folder(path, &error);
    let opened = match &simulated {
        Some(simulated) => simulated.open(),
        None => SharedFolder::open(path),
    };
    let mut folder = opened.map_err(cannot_read)?;
    folder.set(WriteSettings {
        sync: !args.writing.no_sync,
        disk_reserve_bytes: args.writing.disk_reserve,
        on_conflict: OnConflict::Refuse,
        keeps_partials: true,
    });
    let mut sharing = Sharing::new(SharedTree::of(&folder, ShareRules::default()))?;
    if let Some(simulated) = &simulated {
        sharing.pass_over(simulated.skipped());
    }

    let settings = PeerSettings {
        kind: PeerKind::Fixed,
        id,
        port: listener.address().port(),
        registry: args.network.registry(),
        registry_use: args.network.registry_use(),
        offer_interval: args.network.offers.offer_interval,
        name: name_of_host(),
        instance: fastrand::u64(1..),
        shares_v0: true,
        group: membership.group,
        beacons: Some(membership.beacons),
        gather: GatherSettings::default(),
        simulate_checksum_failure: args.simulate_checksum_failure,
        exit_when_done: args.exit_when_done,
        limits,
        seed: fastrand::u64(..),
    };
    let address = listener.address();
    let node = PeerNode::new(Instant::now(), settings);
    // A simulated folder is made anew at each start.
    let caches = if simulated.is_none() { cache_folder() } else { None };
    let (files, begin, summary) = sharing.into_files(Some(folder), caches);
    summary.warn(&name, "");
    let sockets = Sockets {
        network,
        progress_timeout,
        rate_limits: args.transfer.rates(),
        listener: Some(listener),
        offers: Some(offers),
        beacons: Some(beacons),
        control: sockets::own(),
        programs: Vec::new(),
    };
    let ui = Ui::new(name, Show { has_metrics: args.output.metrics.is_some(), ..output.show() });
    let mut reactor = Reactor::new(ui, node, signals, sockets, Some(files)).map_err(loop_failed)?;
    begin_metrics(&mut reactor, args.output.metrics.as_deref())?;
    say_listening(address, output);
    summary.say(&Shown(path.to_string_lossy()), output);
    let outcome = serve(&mut reactor, begin.chain([Input::Wish(&args.wishes())]))?;
    result_of(outcome, Some(args.id))
}

fn not_prepared(error: PrepareError) -> Failure {
    let code = match &error {
        PrepareError::NotOurs(_) | PrepareError::Mounted(_) => ExitCode::Exists,
        // Its owner is a peer with the same id.
        PrepareError::InUse(_) => ExitCode::Refused,
        PrepareError::Io(..) => ExitCode::Other,
    };
    Failure::new(code, error)
}
