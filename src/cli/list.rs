//! `p2pfs list`.

use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::get::{Wanted, wanted};
use super::network::{HEARD_ON, OTHERS_OFFER, OfferArgs};
use super::value::{interface, timeout};
use crate::limits::OFFER_SLACK_SHARE;
use crate::node::HostPort;

#[derive(Debug, Args)]
#[command(after_help = "Each line has the id of the peer, its address, the time since its offer \
    was heard, and the name of the file. With --registry the address is the one where the peer \
    listens, else the one that its offer came from. The size of a file is not known before it \
    is fetched. Offers are shown as they come, those of one second by name. An offer may be lost: \
    the last line says for how long it listened.")]
#[command(mut_arg("broadcast", |arg| arg.help(HEARD_ON)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct ListArgs {
    /// Show only the offers of this file, or of every file whose name matches this pattern.
    #[arg(value_name = "NAME")]
    #[arg(value_parser = OsStringValueParser::new().try_map(wanted))]
    pub names: Vec<Wanted>,
    /// Listen for this time [default: a bit more than --offer-interval].
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    wait: Option<Duration>,
    /// Keep running and show changes; --wait is ignored.
    #[arg(long)]
    pub watch: bool,
    /// Show where the peers listen, as this registry knows it. Give an address or a name, and
    /// a port unless it is 5000 [default: none].
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Network")]
    pub registry: Option<HostPort>,
    /// Show only offers from the network of this interface. Repeat it, or separate several
    /// with commas.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',', help_heading = "Network")]
    #[arg(value_parser = interface)]
    pub interface: Vec<String>,
    #[command(flatten)]
    pub offers: OfferArgs,
}

impl ListArgs {
    pub fn wait(&self) -> Duration {
        let interval = self.offers.offer_interval;
        self.wait.unwrap_or(interval + interval / OFFER_SLACK_SHARE)
    }
}
