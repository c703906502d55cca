//! `p2pfs doctor`.

use clap::Args;

use super::network::NetworkArgs;

/// The command line of the doctor.
#[derive(Debug, Args)]
#[command(
    after_help = "It listens a little longer than --offer-interval, on all interfaces unless \
    some are named. It sends one datagram on each of them, which peers drop with a line in \
    their log, asks the registry where the peers are that it heard, and connects to them. \
    Nothing is registered.\n\n\
    Exit codes: 0 files could be exchanged with a peer that was heard, 3 nobody was heard \
    though nothing is in the way here, 4 no registry, 11 the offer port is taken, 1 anything \
    else that keeps files from being exchanged."
)]
pub struct DoctorArgs {
    /// Network.
    #[command(flatten)]
    pub network: NetworkArgs,
}
