//! `p2pfs list`.

use std::time::Duration;

use clap::Args;

use super::network::{HEARD_ON, HostPort, InterfaceName, OTHERS_OFFER, OfferArgs};
use super::value::timeout;

/// The command line of `list`.
#[derive(Debug, Args)]
#[command(after_help = "Each line has the number of the peer, its address, how long ago it was \
    heard, and the name of the file. The address is the one where it listens, if --registry \
    knows that, and else the one that its offer came from. Sizes are not known before a file \
    is fetched.")]
#[command(mut_arg("broadcast", |arg| arg.help(HEARD_ON)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct ListArgs {
    /// Listen for so long [default: a bit more than --offer-interval].
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    wait: Option<Duration>,
    /// Stay, whatever --wait says, and show what changes.
    #[arg(long)]
    pub watch: bool,
    /// Ask this registry where the peers listen, and show that: an address or a name, with a
    /// port unless that is 5000 [default: ask none].
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Network")]
    pub registry: Option<HostPort>,
    /// Show only what comes from the network of this interface; may be given many times, or
    /// with commas between.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',', help_heading = "Network")]
    pub interface: Vec<InterfaceName>,
    /// Offers.
    #[command(flatten)]
    pub offers: OfferArgs,
}

impl ListArgs {
    /// How long to listen.
    pub fn wait(&self) -> Duration {
        let interval = self.offers.offer_interval;
        self.wait.unwrap_or(interval + interval / 5)
    }
}
