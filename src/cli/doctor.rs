//! `p2pfs doctor`.

use clap::Args;

use super::network::{NetworkArgs, OTHERS_OFFER};
use super::secret::SecretArgs;

/// The meaning of `--interface` and `--broadcast` for this command.
const EXAMINED: &str = "Test this network interface, and connect from it. Repeat it, or separate \
    several with commas [default: all]";
const TRIED: &str = "Send a test datagram to this address, and hear offers on its port \
    [default: the broadcast address of each interface, port 8000]";

#[derive(Debug, Args)]
#[command(
    after_help = "The doctor listens a little longer than --offer-interval, on all interfaces \
    unless some are named. It sends one datagram on each, which peers drop without a word, and a \
    query, which peers of version 1 answer. It connects to the peers that it heard: where the \
    registry says that they listen, and by version 1 where their beacons say so; and to those of \
    version 1 that the registry lists. It registers nothing. Without --registry no registry is missed unless a peer of version 0 needs it.\n\n\
    Exit codes: 0 files can be exchanged with a peer that was heard, 3 nobody was heard though \
    nothing is wrong here, 4 no registry, 11 a port is taken, 1 anything else that keeps files \
    from being exchanged."
)]
#[command(mut_arg("interface", |arg| arg.help(EXAMINED)))]
#[command(mut_arg("broadcast", |arg| arg.help(TRIED)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct DoctorArgs {
    #[command(flatten)]
    pub network: NetworkArgs,
    #[command(flatten)]
    pub secret: SecretArgs,
}
