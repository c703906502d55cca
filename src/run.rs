//! From settings to a running loop: binds, prepares the folder, says that it is
//! ready, and runs.
//!
//! The order matters: nothing is emptied before the ports are ours.

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Instant;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::cli::{PeerArgs, RegistryArgs};
use crate::exit::{ExitCode, Failure, result_of};
use crate::limits::{CONNECTIONS_MIN, Limits, OFFER_PORT, SPARE_DESCRIPTORS};
use crate::logger;
use crate::node::{Input, PeerNode, PeerSettings, RegistryNode};
use crate::reactor::{Files, Listener, OfferSocket, Reactor, Signals};
use crate::storage::{
    DigestCache, PrepareError, SharedFolder, Skipped, Watch, WriteSettings, cache_folder, prepare,
};
use crate::wire::{PeerId, Shown};

/// Runs the registry until it is stopped.
pub fn registry(args: &RegistryArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let listener =
        Listener::bind(args.listen, args.limits.limits(Limits::REGISTRY).progress_timeout)
            .map_err(|error| {
                cannot_bind(args.listen, &error, "another registry? choose one with --listen")
            })?;
    let limits = with_descriptors(args.limits.limits(Limits::REGISTRY));
    let (name, address) = ("registry".into(), listener.address());
    let reactor = Reactor::new(name, RegistryNode::new(limits), signals, listener, None, None);
    let reactor = reactor.map_err(loop_failed)?;
    say_listening(address);
    let outcome = reactor.run(&[]).map_err(loop_failed)?;
    result_of(outcome, None)
}

/// Runs a peer until it is stopped, refused or done.
pub fn peer(args: &PeerArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    let address = SocketAddrV4::new(args.host, args.port);
    let listener = Listener::bind(address, args.limits.limits(Limits::PEER).progress_timeout)
        .map_err(|error| {
            cannot_bind(address, &error, "another peer? choose one with --port, or --host")
        })?;
    let broadcast = match args.broadcast {
        Some(broadcast) => broadcast,
        None => SocketAddrV4::new(broadcast_address(args.host)?, OFFER_PORT),
    };
    let offers = OfferSocket::bind(args.host, broadcast).map_err(|error| {
        let heard = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, broadcast.port());
        cannot_bind(heard, &error, "offers are heard there; choose another with --broadcast")
    })?;

    let id = PeerId(args.id);
    let name = format!("peer {id}");
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
    let mut folder = SharedFolder::open(path).map_err(cannot_read)?;
    folder.set(WriteSettings { sync: !args.no_sync, disk_reserve_bytes: args.disk_reserve });
    // Before the scan, so that nothing falls between the two.
    let watch = Watch::new(&folder);
    let scan = folder.scan().map_err(cannot_read)?;
    let copied = simulated.iter().flat_map(|simulated| simulated.skipped());
    for skipped in copied.chain(&scan.skipped) {
        warn_skipped(&name, skipped);
    }

    let settings = PeerSettings {
        id,
        port: listener.address().port(),
        registry: args.registry,
        offer_interval: args.offer_interval,
        simulate_checksum_failure: args.simulate_checksum_failure,
        exit_when_done: args.exit_when_done,
        limits: Limits {
            file_bytes_max: args.max_file_size.unwrap_or(u64::MAX),
            ..with_descriptors(args.limits.limits(Limits::PEER))
        },
        seed: fastrand::u64(..),
    };
    let address = listener.address();
    let node = PeerNode::new(Instant::now(), settings);
    // A simulated folder is made anew at each start.
    let caches = if simulated.is_none() { cache_folder() } else { None };
    let opened = caches.and_then(|caches| DigestCache::open(&caches, &folder, &scan.files).ok());
    let (cache, digests) = opened.unzip();
    let digests = digests.unwrap_or_default();
    let found = |(name, version)| {
        let digest = digests.get(&name).copied();
        Input::FileFound { name, version, digest }
    };
    let mut begin: Vec<_> = scan.files.into_iter().map(found).collect();
    begin.push(Input::Want(&args.want));
    let files = Some(Files::new(folder, cache).following(watch));
    let reactor = Reactor::new(name, node, signals, listener, Some(offers), files);
    let reactor = reactor.map_err(loop_failed)?;
    say_listening(address);
    let outcome = reactor.run(&begin).map_err(loop_failed)?;
    result_of(outcome, Some(args.id))
}

/// Takes as many descriptors as the system allows, and no more connections than it has
/// descriptors for, with some to spare for files.
fn with_descriptors(limits: Limits) -> Limits {
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    // If that is not granted, what there is has to do.
    let _ = setrlimit(Resource::Nofile, descriptors);
    let granted = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| n as usize);
    let room = granted.saturating_sub(SPARE_DESCRIPTORS).max(CONNECTIONS_MIN);
    let connections_max = limits.connections_max.min(room);
    Limits { connections_max, ..limits }
}

/// The line that scripts wait for. A closed or full stdout is no reason to stop.
fn say_listening(address: SocketAddrV4) {
    let mut stdout = io::stdout().lock();
    if logger::takes_a_line(&stdout) {
        let _ = writeln!(stdout, "listening {address}").and_then(|()| stdout.flush());
    }
}

fn warn_skipped(name: &str, skipped: &Skipped) {
    log::warn!(target: name, "not shared: {skipped}");
}

/// The broadcast address of the interface that has `host`.
fn broadcast_address(host: Ipv4Addr) -> Result<Ipv4Addr, Failure> {
    if host.is_loopback() {
        // The loopback interface names no broadcast address; this is the one it has.
        return Ok(Ipv4Addr::new(127, 255, 255, 255));
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|error| {
        let message = format_args!("cannot list the network interfaces: {error}; give --broadcast");
        Failure::new(ExitCode::Other, message)
    })?;
    let broadcast = interfaces.iter().find_map(|interface| match &interface.addr {
        if_addrs::IfAddr::V4(v4) if v4.ip == host => v4.broadcast,
        _ => None,
    });
    broadcast.ok_or_else(|| {
        let message = format_args!("the interface of {host} has no broadcast address; ");
        Failure::new(ExitCode::Usage, format_args!("{message}give one with --broadcast"))
    })
}

fn cannot_bind(address: SocketAddrV4, error: &io::Error, hint: &str) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => {
            let message = format_args!("port {port} on {ip} is in use; {hint}");
            Failure::new(ExitCode::AddressInUse, message)
        }
        ErrorKind::AddrNotAvailable => {
            let message =
                format_args!("{ip} is not an address of this machine; choose one that is");
            Failure::new(ExitCode::Usage, message)
        }
        _ => Failure::new(ExitCode::Other, format_args!("cannot listen on {address}: {error}")),
    }
}

fn cannot_read_folder(path: &Path, error: &io::Error) -> Failure {
    let path = Shown(path.to_string_lossy());
    Failure::new(ExitCode::Other, format_args!("cannot read the folder {path}: {error}"))
}

fn not_prepared(error: PrepareError) -> Failure {
    let code = match &error {
        PrepareError::NotOurs(_) => ExitCode::Exists,
        // Its owner is a peer with the same id.
        PrepareError::InUse(_) => ExitCode::Refused,
        PrepareError::Io(..) => ExitCode::Other,
    };
    Failure::new(code, error)
}

fn loop_failed(error: io::Error) -> Failure {
    Failure::new(ExitCode::Other, format_args!("the event loop failed: {error}"))
}
