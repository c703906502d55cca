//! `p2pfs share`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::secret::membership;
use super::sharing::{Sharing, name_of_host, not_shared};
use super::sockets;
use super::{
    begin_metrics, loop_failed, network, result_of, say_listening, serve, with_descriptors,
};
use crate::cli::{OutputArgs, ShareArgs};
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::Limits;
use crate::node::{GatherSettings, PeerKind, PeerNode, PeerSettings, RegistryUse, Which};
use crate::reactor::{Reactor, Signals, Sockets};
use crate::storage::{ShareRules, SharedTree, cache_folder};
use crate::ui::{Show, Ui};
use crate::wire::{PeerId, Shown};

const NAME: &str = "share";

/// Names that are told as what others can fetch.
const TOLD_NAMES_MAX: usize = 5;

pub fn share(args: &ShareArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let membership = membership(&args.secret, NAME)?;
    let names = &args.network.interface;
    let network = network::network(names, Which::All, &args.network.offers)?;
    let host = network.host().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let limits = with_descriptors(args.limits.limits(args.transfer.limits(Limits::PEER)));
    let progress_timeout = limits.progress_timeout;
    let listener = network::listen(host, args.port, progress_timeout)?;
    let offers = network::bind_offers(&network)?;
    let beacons = network::bind_beacons(&network)?;
    let rules = ShareRules { hidden: args.hidden, excludes: args.exclude.clone() };
    let roots: Vec<_> =
        args.paths.iter().map(|root| (root.name.clone(), root.path.clone())).collect();
    let tree = SharedTree::open(&roots, rules).map_err(not_shared)?;
    let how_to_fetch = how_to_fetch(&tree.names().collect::<Vec<_>>());
    let sharing = Sharing::new(tree)?;

    let address = listener.address();
    let settings = PeerSettings {
        kind: PeerKind::AnyId,
        // Guests, which have no id, acknowledge with 0.
        id: PeerId(fastrand::u32(1..)),
        port: address.port(),
        registry: args.network.registry(),
        registry_use: args.network.registry_use(),
        offer_interval: args.network.offers.offer_interval,
        name: args.name.unwrap_or_else(name_of_host),
        instance: fastrand::u64(1..),
        shares_v0: !args.no_v0,
        group: membership.group,
        beacons: Some(membership.beacons),
        gather: GatherSettings::default(),
        simulate_checksum_failure: false,
        exit_when_done: false,
        limits,
        seed: fastrand::u64(..),
    };
    let node = PeerNode::new(Instant::now(), settings);
    let interfaces: Vec<_> = network.routes().into_iter().map(|(from, _)| from).collect();
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
    let (files, begin, summary) = sharing.into_files(None, cache_folder());
    summary.warn(NAME, "; see --hidden");
    let paths: Vec<_> =
        roots.iter().map(|(_, path)| Shown(path.to_string_lossy()).to_string()).collect();
    let paths = paths.join(" ");
    let ui = Ui::new(
        NAME.into(),
        Show { has_metrics: args.output.metrics.is_some(), ..output.show_daily() },
    );
    let mut reactor = Reactor::new(ui, node, signals, sockets, Some(files)).map_err(loop_failed)?;
    begin_metrics(&mut reactor, args.output.metrics.as_deref())?;
    say_listening(address, output);
    summary.say(&paths, output);
    let addresses = interfaces.iter().map(|at| SocketAddrV4::new(*at, address.port()).to_string());
    let at = match addresses.collect::<Vec<_>>().join(" and ") {
        none if none.is_empty() => "no address yet".to_owned(),
        addresses => addresses,
    };
    log::info!(
        target: NAME,
        "sharing {} of {paths} at {at}{}",
        Count(summary.files, "file"),
        match args.network.registry_use() {
            RegistryUse::Named => format!(", with the registry at {}", args.network.registry()),
            RegistryUse::Usual | RegistryUse::Never => String::new(),
        },
    );
    log::info!(target: NAME, "{how_to_fetch}");
    if interfaces.iter().all(Ipv4Addr::is_loopback) {
        let next = match names.is_empty() {
            true if network::is_connected() => {
                "no network here has a broadcast address: nobody hears us; see --broadcast"
            }
            true if interfaces.is_empty() => "nobody can reach us: this machine is in no network",
            true => "only this machine can reach us: it is in no network",
            false => "only this machine can reach us; for others, see --interface",
        };
        log::warn!(target: NAME, "{next}");
    }
    let outcome = serve(&mut reactor, begin)?;
    result_of(outcome, None)
}

/// Returns what others do to fetch what has these names; one folder has none.
fn how_to_fetch(names: &[String]) -> String {
    if names.is_empty() {
        return "others fetch all of it with `p2pfs get /`, and one of it with `p2pfs get NAME`"
            .into();
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    let word = |name: &String| match name.chars().all(is_plain) {
        true => name.clone(),
        false => format!("'{}'", Shown(name.replace('\'', r"'\''"))),
    };
    let told: Vec<_> = names.iter().take(TOLD_NAMES_MAX).map(word).collect();
    let more = if names.len() > TOLD_NAMES_MAX { " ..." } else { "" };
    format!("others fetch it with `p2pfs get {}{more}`", told.join(" "))
}
