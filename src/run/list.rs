//! `p2pfs list`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::network::{self, Place, why};
use super::{loop_failed, not_printed, print};
use crate::cli::{ListArgs, OutputArgs};
use crate::exit::{ExitCode, Failure, result_of};
use crate::limits::{
    ADDRESS_MEMORY, OFFER_EXPIRY_INTERVALS, OFFER_EXPIRY_MIN, PROBE_TIMEOUT, PROBED_PEERS_MAX,
    PROGRESS_TIMEOUT, WATCH_INTERVAL,
};
use crate::node::{HeardOffer, ListNode, Outcome};
use crate::reactor::probe::RegistryProbe;
use crate::reactor::{Reactor, Signals};
use crate::ui::{Event, Ui};
use crate::wire::PeerId;
use crate::wire::v0::Offer;

/// What goes to a terminal before a list that takes the place of the last one.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Where the peers listen, as a registry tells that is asked about each now and then.
struct Addresses {
    registry: Option<SocketAddrV4>,
    /// Where it is asked from.
    host: Ipv4Addr,
    told: BTreeMap<PeerId, Option<SocketAddrV4>>,
    /// When all of them are to be asked about anew.
    fresh_until: Option<Instant>,
}

/// Shows what is on offer.
pub fn list(args: &ListArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let registry = args.registry.as_ref().map(network::resolve).transpose()?;
    let signals = Signals::new().map_err(loop_failed)?;
    let place = Place::new(network::named(&args.interface)?, &args.offers);
    let offers = place.hear_offers()?;
    let expiry = OFFER_EXPIRY_MIN.max(args.offers.offer_interval * OFFER_EXPIRY_INTERVALS);
    let wait = if args.watch { WATCH_INTERVAL } else { args.wait() };
    let node = ListNode::new(Instant::now() + wait, expiry, place.subnets());
    let mut addresses =
        Addresses { registry, host: place.host(), told: BTreeMap::new(), fresh_until: None };
    let sockets = place.sockets(PROGRESS_TIMEOUT, None, offers);
    let ui = Ui::new("list".into(), output.show_daily());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    if args.watch {
        return watch(&mut reactor, addresses, output.json);
    }
    let outcome = reactor.run(&[]).map_err(loop_failed)?;
    let code = result_of(outcome, None)?;
    let offers: Vec<_> = reactor.node().offers().collect();
    if code == ExitCode::Done && offers.is_empty() {
        let wait = humantime::format_duration(wait);
        let message = format_args!("nothing was offered within {wait}; is anybody sharing? ");
        let message = format_args!("{message}listen longer with --wait");
        return Err(Failure::new(ExitCode::NotOffered, message));
    }
    if code == ExitCode::Done {
        addresses.ask(Instant::now(), &offers);
    }
    let now = Instant::now();
    let text = match output.json {
        true => offers.iter().map(|heard| addresses.event(heard, now)).collect(),
        false => table(&offers, &addresses, now, io::stdout().is_terminal()),
    };
    print(text.as_bytes())?;
    Ok(code)
}

/// Stays: a terminal shows the list as it is now, anything else gets a line for each change.
fn watch(
    reactor: &mut Reactor<ListNode>,
    mut addresses: Addresses,
    json: bool,
) -> Result<ExitCode, Failure> {
    let is_terminal = io::stdout().is_terminal() && !json;
    let mut shown = BTreeMap::new();
    loop {
        let outcome = reactor.run(&[]).map_err(loop_failed)?;
        if outcome != Outcome::AllDone {
            return result_of(outcome, None);
        }
        if is_closed(io::stdout()) {
            return Err(not_printed(&io::ErrorKind::BrokenPipe.into()));
        }
        let offers: Vec<_> = reactor.node().offers().collect();
        addresses.ask(Instant::now(), &offers);
        let now = Instant::now();
        let text = match is_terminal {
            true => format!("{CLEAR}{}", table(&offers, &addresses, now, true)),
            false => changes(&mut shown, &offers, &addresses, json.then_some(now)),
        };
        print(text.as_bytes())?;
        reactor.node().listen_until(now + WATCH_INTERVAL);
    }
}

impl Addresses {
    /// Asks about the peers that it was not asked about lately; forgets those who offer nothing.
    fn ask(&mut self, now: Instant, offers: &[HeardOffer]) {
        let Some(registry) = self.registry else { return };
        if self.fresh_until.is_none_or(|until| until <= now) {
            self.told.clear();
            self.fresh_until = Some(now + ADDRESS_MEMORY);
        }
        let peers: BTreeSet<_> = offers.iter().map(|heard| heard.offer.peer).collect();
        self.told.retain(|peer, _| peers.contains(peer));
        let is_new = |peer: &PeerId| !self.told.contains_key(peer);
        let new: Vec<_> = peers.into_iter().filter(is_new).take(PROBED_PEERS_MAX).collect();
        if new.is_empty() {
            return;
        }
        self.told.extend(new.iter().map(|peer| (*peer, None)));
        let probe = RegistryProbe::connect(self.host, registry, PROBE_TIMEOUT);
        let asked = probe.and_then(|(mut probe, _)| {
            for peer in new {
                let (address, _) = probe.look_up(peer, PROBE_TIMEOUT)?;
                self.told.insert(peer, address);
            }
            probe.close();
            Ok(())
        });
        if let Err(error) = asked {
            let why = why(&error);
            log::warn!("no registry at {registry}: {why}; shown is where offers came from");
        }
    }

    /// Where a peer listens, if that was told.
    fn of(&self, heard: &HeardOffer) -> Option<SocketAddrV4> {
        *self.told.get(&heard.offer.peer)?
    }

    /// The address to show to people.
    fn best(&self, heard: &HeardOffer) -> SocketAddrV4 {
        self.of(heard).unwrap_or(heard.from)
    }

    fn event(&self, heard: &HeardOffer, now: Instant) -> String {
        Event::of_offer(heard, self.of(heard), now).line()
    }
}

/// Whether nobody reads there any more: what waits for something to write would not notice.
fn is_closed(output: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&output, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A line for each offer. The name is last: how wide it shows is not known.
fn table(offers: &[HeardOffer], addresses: &Addresses, now: Instant, with_heading: bool) -> String {
    let mut text = String::new();
    if with_heading {
        let _ = writeln!(text, "{:>10}  {:<21}  {:>7}  FILE", "PEER", "ADDRESS", "HEARD");
    }
    for heard in offers {
        let (HeardOffer { offer, heard_at, .. }, address) = (heard, addresses.best(heard));
        let age_s = now.saturating_duration_since(*heard_at).as_secs();
        let (peer, age) = (offer.peer.0, format!("{age_s}s ago"));
        let _ = writeln!(text, "{peer:>10}  {address:<21}  {age:>7}  {}", offer.name);
    }
    text
}

/// What changed since the last time; as JSON, if that is to be told as of some time.
fn changes(
    shown: &mut BTreeMap<Offer, SocketAddrV4>,
    offers: &[HeardOffer],
    addresses: &Addresses,
    json: Option<Instant>,
) -> String {
    let line = |what: &str, offer: &Offer, address: &SocketAddrV4| {
        format!("{what:<7}  {:>10}  {address:<21}  {}\n", offer.peer.0, offer.name)
    };
    let now: BTreeMap<_, _> =
        offers.iter().map(|heard| (heard.offer, addresses.best(heard))).collect();
    let mut text = String::new();
    for (offer, address) in shown.iter().filter(|(offer, _)| !now.contains_key(offer)) {
        text += &match json {
            Some(_) => Event::of_offer_gone(offer).line(),
            None => line("gone", offer, address),
        };
    }
    for heard in offers.iter().filter(|heard| !shown.contains_key(&heard.offer)) {
        text += &match json {
            Some(now) => addresses.event(heard, now),
            None => line("offered", &heard.offer, &addresses.best(heard)),
        };
    }
    *shown = now;
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::v0::FileName;

    fn addresses(told: &[(u32, &str)]) -> Addresses {
        let address = |text: &str| Some(text.parse().unwrap());
        let told = told.iter().map(|(peer, text)| (PeerId(*peer), address(text))).collect();
        Addresses { registry: None, host: Ipv4Addr::LOCALHOST, told, fresh_until: None }
    }

    fn heard(peer: u32, name: &str, heard_at: Instant) -> HeardOffer {
        let offer = Offer { peer: PeerId(peer), name: FileName::new(name).unwrap() };
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000);
        HeardOffer { offer, from, heard_at }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let start = Instant::now();
        let offers = [heard(1, "é", start), heard(u32::MAX, "b c", start)];
        let told = addresses(&[(1, "192.0.2.1:5001")]);
        let text = table(&offers, &told, start + Duration::from_secs(12), true);
        let expected = "      PEER  ADDRESS                  HEARD  FILE\n         \
            1  192.0.2.1:5001         12s ago  é\n\
            4294967295  127.0.0.1:8000         12s ago  b c\n";
        assert_eq!(text, expected);
        assert_eq!(table(&[], &told, start, false), "");
    }

    #[test]
    fn only_changes_are_told() {
        let start = Instant::now();
        let (mut shown, [a, b]) = (BTreeMap::new(), [heard(1, "a", start), heard(2, "b", start)]);
        let first = changes(&mut shown, &[a], &addresses(&[]), None);
        assert_eq!(first, "offered           1  127.0.0.1:8000         a\n");
        assert_eq!(changes(&mut shown, &[a], &addresses(&[]), None), "");
        let second = changes(&mut shown, &[b], &addresses(&[]), None);
        assert!(second.starts_with("gone   ") && second.contains("\noffered  "), "{second}");
    }
}
