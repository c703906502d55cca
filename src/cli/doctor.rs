//! `p2pfs doctor`.

use clap::Args;

use super::network::NetworkArgs;

/// The command line of the doctor.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Network.
    #[command(flatten)]
    pub network: NetworkArgs,
}
