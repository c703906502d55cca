//! `p2pfs list`.

use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::get::what;
use super::network::{HEARD_ON, OTHERS_OFFER, OfferArgs};
use super::secret::SecretArgs;
use super::value::{interface, timeout};
use crate::limits::OFFER_SLACK_SHARE;
use crate::node::{HostPort, Wish};

#[derive(Debug, Args)]
#[command(
    after_help = "Each line has the size of a file, when it was changed, the first digits of \
    its id, the peers that share it, and its path. What peers of version 0 offer is marked v0: its \
    size is not known before it is fetched.\n\n\
    Where no peer of version 1 answers, offers of version 0 are shown as they come: the id of the \
    peer, its address, the time since its offer was heard, and the name of the \
    file. With --registry the address is the one where the peer listens, else the one that its \
    offer came from. An offer may be lost: the last line says for how long it listened."
)]
#[command(mut_arg("broadcast", |arg| arg.help(HEARD_ON)))]
#[command(mut_arg("offer_interval", |arg| arg.help(OTHERS_OFFER)))]
pub struct ListArgs {
    /// Show only this: a file, a folder (`photos/`), every path that matches this pattern, or a
    /// content (`blake3:ID`) [default: everything].
    #[arg(value_name = "WHAT", value_parser = OsStringValueParser::new().try_map(what))]
    what: Vec<String>,
    /// Show each file, and not folders with what is in them in one line.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Listen for this time [default: until peers of version 1 have answered, or else a bit more
    /// than --offer-interval].
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    pub wait: Option<Duration>,
    /// Keep running and show changes; --wait is ignored.
    #[arg(long)]
    pub watch: bool,
    /// Ask the peers of version 1 that this registry lists, too, and show where those of version
    /// 0 listen. Give an address or a name, and a port unless it is 5000 [default: none].
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Network")]
    pub registry: Option<HostPort>,
    /// Show only offers from the network of this interface. Repeat it, or separate several
    /// with commas.
    #[arg(long, value_name = "NAME|ADDRESS", value_delimiter = ',', help_heading = "Network")]
    #[arg(value_parser = interface)]
    pub interface: Vec<String>,
    #[command(flatten)]
    pub offers: OfferArgs,
    #[command(flatten)]
    pub secret: SecretArgs,
}

impl ListArgs {
    /// Returns what is to be shown; none is everything.
    pub fn wishes(&self) -> Vec<Wish> {
        // Each text was checked when it was parsed.
        self.what.iter().filter_map(|text| text.parse().ok()).collect()
    }

    pub fn wait(&self) -> Duration {
        let interval = self.offers.offer_interval;
        self.wait.unwrap_or(interval + interval / OFFER_SLACK_SHARE)
    }
}
