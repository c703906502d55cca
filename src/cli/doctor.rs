//! `p2pfs doctor`.

use clap::Args;

use super::network::{NetworkArgs, OTHERS_OFFER};

/// What `--interface` and `--broadcast` are for here.
const LOOKED_AT: &str = "Look at this network interface, and connect from it; may be given many \
    times, or with commas between [default: all]";
const TRIED: &str = "Where others send offers to, which is tried; heard on the same port, on every \
    interface [default: the broadcast address of each interface, port 8000]";

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
#[command(mut_arg("interface", |arg| arg.help(LOOKED_AT)))]
#[command(mut_arg("broadcast", |arg| arg.help(TRIED)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct DoctorArgs {
    /// Network.
    #[command(flatten)]
    pub network: NetworkArgs,
}
