//! `p2pfs doctor`.

use clap::Args;

use super::network::{NetworkArgs, OTHERS_OFFER};

/// The meaning of `--interface` and `--broadcast` for this command.
const EXAMINED: &str = "Test this network interface, and connect from it. Repeat it, or separate \
    several with commas [default: all]";
const TRIED: &str = "Send a test datagram to this address, and hear offers on its port \
    [default: the broadcast address of each interface, port 8000]";

#[derive(Debug, Args)]
#[command(
    after_help = "The doctor listens a little longer than --offer-interval, on all interfaces \
    unless some are named. It sends one datagram on each, which peers drop without a word. It \
    asks the registry where the peers listen whose offers it heard, and connects to them. It \
    registers nothing.\n\n\
    Exit codes: 0 files can be exchanged with a peer that was heard, 3 no offer was heard though \
    nothing is wrong here, 4 no registry, 11 the offer port is taken, 1 anything else that \
    keeps files from being exchanged."
)]
#[command(mut_arg("interface", |arg| arg.help(EXAMINED)))]
#[command(mut_arg("broadcast", |arg| arg.help(TRIED)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct DoctorArgs {
    #[command(flatten)]
    pub network: NetworkArgs,
}
