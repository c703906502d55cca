//! `p2pfs doctor`: looks at the network once, tells what it found, and leaves.
//!
//! It steps aside as far as it can:
//!
//! - To hear whether broadcasts come back it sends one datagram on each interface. It has
//!   the layout of an offer, because the reference's listener dies of anything else, but
//!   of a name that begins with a dot: our peers drop it with one line in their log, and
//!   neither list nor fetch it; the reference's peers remember one name that they never
//!   want.
//! - It asks the registry where the peers are that it heard, and registers nothing.
//! - It connects to each peer's port, and resets the connection without a word.

mod findings;
mod hearing;

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use self::findings::{Finding, Findings, PeerFinding, PeerPlace, PortFinding, RegistryFinding};
use self::hearing::Hearing;
use super::loop_failed;
use super::network::{self, Place, why};
use crate::cli::{DoctorArgs, OutputArgs};
use crate::exit::{ExitCode, Failure};
use crate::limits::PROBE_TIMEOUT;
use crate::logger;
use crate::reactor::Signals;
use crate::reactor::probe::{OfferProbe, RegistryProbe, reach};
use crate::ui::stdout;
use crate::wire::PeerId;

/// Looks, and tells.
///
/// # Errors
/// If no files could be exchanged as things are.
pub fn doctor(args: &DoctorArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let signals = Signals::new().map_err(loop_failed)?;
    signals.set_at_once(true);
    let interfaces = match args.network.interface.as_slice() {
        [] => network::interfaces()?,
        names => network::named(names)?,
    };
    let place = Place::new(interfaces, &args.network.offers);

    // First, so that offers gather while the registry is asked.
    let socket = OfferProbe::bind(place.offer_port());
    let error = socket.as_ref().err().map(io::Error::kind);
    let port = PortFinding { port: place.offer_port(), error };
    tell(output, &port);
    let (registry, mut probe) = find_registry(args, place.host());
    tell(output, &registry);

    let mut hearing = Hearing::new(&place);
    hearing.hear(socket.as_ref().ok(), args.network.offers.offer_interval);
    let (interfaces, peers) = hearing.into_findings();
    interfaces.iter().for_each(|interface| tell(output, interface));
    let peers = find_peers(peers, place.host(), probe.as_mut());
    peers.iter().for_each(|peer| tell(output, peer));
    if let Some(probe) = probe {
        probe.close();
    }

    let verdict = Findings { port, registry, interfaces, peers }.verdict();
    let is_fine = verdict.code == ExitCode::Done;
    // Otherwise its words are the message that the program ends with.
    if output.json || is_fine {
        tell(output, &verdict);
    }
    if is_fine { Ok(verdict.code) } else { Err(Failure::new(verdict.code, verdict.text)) }
}

/// Connects to the registry, and asks it for somebody whom it will hardly know.
fn find_registry(args: &DoctorArgs, host: Ipv4Addr) -> (RegistryFinding, Option<RegistryProbe>) {
    let registry = args.network.registry.clone();
    let mut finding =
        RegistryFinding { registry, connected_in: None, answered_in: None, error: None };
    let Ok(address) = network::resolve(&args.network.registry) else {
        let [why, next] = ["its name is not known here", "give its IPv4 address"];
        finding.error = Some((why.to_owned(), next.to_owned()));
        return (finding, None);
    };
    let asked = RegistryProbe::connect(host, address, PROBE_TIMEOUT).and_then(|made| {
        let (mut probe, connected_in) = made;
        finding.connected_in = Some(connected_in);
        let (_, answered_in) = probe.look_up(PeerId(fastrand::u32(..)), PROBE_TIMEOUT)?;
        finding.answered_in = Some(answered_in);
        Ok(probe)
    });
    match asked {
        Ok(probe) => (finding, Some(probe)),
        Err(error) => {
            finding.error = Some((why(&error), what_next(address, &error)));
            (finding, None)
        }
    }
}

/// Asks the registry where these peers are, and tries their ports.
fn find_peers(
    mut peers: Vec<PeerFinding>,
    host: Ipv4Addr,
    mut registry: Option<&mut RegistryProbe>,
) -> Vec<PeerFinding> {
    let unanswered = || Err(ErrorKind::TimedOut.into());
    let mut addresses = Vec::new();
    for peer in &mut peers {
        let asked = registry.as_mut().map(|probe| probe.look_up(peer.id, PROBE_TIMEOUT));
        peer.place = match asked {
            Some(Ok((Some(address), _))) => {
                addresses.push(address);
                PeerPlace::At(address, unanswered())
            }
            Some(Ok((None, _))) => PeerPlace::Unknown,
            Some(Err(_)) | None => {
                // What does not answer once is not waited for again.
                registry = None;
                PeerPlace::NotTold
            }
        };
    }
    let mut reached = reach(host, &addresses, PROBE_TIMEOUT).into_iter();
    for peer in &mut peers {
        if let PeerPlace::At(_, outcome) = &mut peer.place {
            *outcome = reached.next().unwrap_or_else(unanswered);
        }
    }
    peers
}

fn what_next(registry: SocketAddrV4, error: &io::Error) -> String {
    let port = registry.port();
    match error.kind() {
        ErrorKind::InvalidData => "say where the registry is with --registry".to_owned(),
        ErrorKind::ConnectionRefused if registry.ip().is_loopback() => {
            "start one with p2pfs registry, or say where it is with --registry".to_owned()
        }
        ErrorKind::ConnectionRefused => {
            format!("does it run there, with --listen 0.0.0.0:{port}?")
        }
        _ => format!("is that the right host, and does it let TCP port {port} in?"),
    }
}

fn tell(output: &OutputArgs, finding: &impl Finding) {
    if output.json {
        stdout::print(&finding.event().line());
    } else if !output.quiet {
        // Whoever closed stderr, or does not read it, does not want to know.
        let mut stderr = io::stderr();
        if logger::takes_a_line(&stderr) {
            let _ = writeln!(stderr, "{finding}");
        }
    }
}
