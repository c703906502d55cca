//! `p2pfs list`.

mod entries;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use console::truncate_str;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::secret::{Membership, membership};
use super::{loop_failed, network, not_printed, print, result_of};
use crate::cli::{ListArgs, OutputArgs};
use crate::content::OnConflict;
use crate::count::{Bytes, Count};
use crate::exit::{ExitCode, Failure};
use crate::limits::{
    KNOWN_NAMES_MAX, KNOWN_OFFERS_MAX, Limits, PROGRESS_TIMEOUT, REGISTRY_PORT, WATCH_INTERVAL,
};
use crate::node::{
    GatherSettings, GuestSettings, HeardOffer, Input, ListNode, ListedEntry, Outcome, PeerKind,
    PeerNode, PeerSettings, RegistryUse, Which, Wish,
};
use crate::reactor::{RateLimits, Reactor, Signals, Sockets};
use crate::stdio;
use crate::terminal::{self, Screen};
use crate::ui::json::Seconds;
use crate::ui::{Event, Ui};
use crate::wire::PeerId;
use crate::wire::v0::Offer;
use crate::wire::v1::PeerName;

/// Where `--watch` draws, if that is a terminal.
const SCREEN: Screen = Screen::Stdout;

/// Something on offer, and what the registry told of where its peer listens, if anything.
#[derive(Clone, Copy)]
struct Listed {
    heard: HeardOffer,
    told: Option<Option<SocketAddrV4>>,
}

/// Where a peer is, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    At(SocketAddrV4),
    /// The registry does not know it: nothing can be fetched from it.
    Unknown,
}

pub fn list(args: &ListArgs, output: &OutputArgs) -> Result<ExitCode, Failure> {
    let membership = membership(&args.secret, "list")?;
    let signals = Signals::new().map_err(loop_failed)?;
    let network = network::network(&args.interface, Which::Any, &args.offers)?;
    let offers = network::hear_offers(&network)?;
    let beacons = Some(network::bind_beacons(&network)?);
    let wait = if args.watch { WATCH_INTERVAL } else { args.wait().min(WATCH_INTERVAL) };
    // Without a network nobody is heard but this machine.
    let is_alone = args.interface.is_empty() && !network::is_connected();
    let subnets = match args.interface.as_slice() {
        [] => Vec::new(),
        _ => network.used().iter().map(|interface| interface.subnet).collect(),
    };
    let (interval, registry) = (args.offers.offer_interval, args.registry.clone());
    let now = Instant::now();
    let looker = looker(now, args, membership);
    let mut node = ListNode::new(now + wait, interval, subnets, registry)
        .looking(looker, !args.watch && args.wait.is_none());
    let mut wishes = args.wishes();
    if wishes.is_empty() {
        wishes.push(Wish::Folder(None));
    } else if !wishes.contains(&Wish::Folder(None)) {
        let names: Vec<_> = wishes.iter().filter_map(Wish::name).collect();
        let patterns: Vec<_> = wishes.iter().filter_map(Wish::name_pattern).collect();
        node.only(&names, &patterns);
    }
    let sockets = Sockets {
        network,
        progress_timeout: PROGRESS_TIMEOUT,
        rate_limits: RateLimits::default(),
        listener: None,
        offers: Some(offers),
        beacons,
        control: None,
        programs: Vec::new(),
    };
    let ui = Ui::new("list".into(), output.show_daily());
    let mut reactor = Reactor::new(ui, node, signals, sockets, None).map_err(loop_failed)?;
    let list = List { args, wishes, json: output.json };
    if args.watch {
        return list.watch(&mut reactor);
    }
    list.once(&mut reactor).map_err(|mut failure| {
        if is_alone && failure.code == ExitCode::NotOffered {
            failure.message += "; this machine is in no network, and hears only itself";
        }
        failure
    })
}

/// Returns the peer that looks by version 1.
fn looker(now: Instant, args: &ListArgs, membership: Membership) -> PeerNode {
    let on_conflict = OnConflict::Refuse;
    let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, REGISTRY_PORT);
    let registry_use = match args.registry {
        Some(_) => RegistryUse::Named,
        None => RegistryUse::Never,
    };
    let settings = PeerSettings {
        kind: PeerKind::Guest(GuestSettings {
            timeout: None,
            retries_max: 0,
            on_conflict,
            gives: false,
        }),
        id: PeerId(0),
        port: 0,
        registry: args.registry.clone().unwrap_or_else(|| nowhere.into()),
        registry_use,
        offer_interval: args.offers.offer_interval,
        name: PeerName::none(),
        instance: fastrand::u64(1..),
        shares_v0: false,
        group: membership.group,
        beacons: Some(membership.beacons),
        gather: GatherSettings { only_looks: true, ..GatherSettings::default() },
        simulate_checksum_failure: false,
        exit_when_done: false,
        limits: Limits::PEER,
        seed: fastrand::u64(..),
    };
    PeerNode::new(now, settings)
}

/// What is to be listed, and how.
struct List<'a> {
    args: &'a ListArgs,
    wishes: Vec<Wish>,
    json: bool,
}

impl List<'_> {
    /// Shows what peers of version 1 list, once they have answered. Where none does, shows each
    /// offer once, as it comes, and says for how long it listened.
    fn once(&self, reactor: &mut Reactor<ListNode>) -> Result<ExitCode, Failure> {
        let (args, json) = (self.args, self.json);
        let (began, wait) = (Instant::now(), args.wait());
        let mut shown = BTreeSet::new();
        let mut begin = Some(Input::Wish(&self.wishes));
        loop {
            let outcome = reactor.run(begin.take()).map_err(loop_failed)?;
            if outcome != Outcome::AllDone {
                return result_of(outcome, None);
            }
            let now = Instant::now();
            let is_answered = !reactor.node().answered(now).is_empty();
            let is_over = now >= began + wait || is_answered && args.wait.is_none();
            if is_answered && is_over {
                return self.end_answered(reactor.node(), now, now - began);
            }
            if !is_answered {
                let mut offers = listed(reactor.node());
                let is_first = shown.is_empty() && !offers.is_empty();
                let has_heading = is_first && stdio::stdout().is_terminal();
                offers.retain(|it| shown.len() < KNOWN_OFFERS_MAX && shown.insert(it.heard.offer));
                let text = match json {
                    true => offers.iter().map(|offer| offer.event(now)).collect(),
                    false => table(&offers, now, has_heading),
                };
                print(text.as_bytes())?;
            }
            if is_over {
                return end(reactor.node(), args, &shown, json);
            }
            reactor.node().listen_until((began + wait).min(now + WATCH_INTERVAL));
        }
    }

    /// Returns what peers of version 1 list, and what others offer by version 0; for programs,
    /// every offer.
    fn found(&self, node: &ListNode, now: Instant) -> (Vec<ListedEntry>, Vec<Listed>) {
        let answered = node.answered(now);
        let mut offers = listed(node);
        offers.retain(|it| self.json || !answered.contains(&it.heard.offer.peer));
        (node.listed(), offers)
    }

    /// Shows what peers of version 1 list, with the offers of version 0 heard by then.
    fn end_answered(
        &self,
        node: &ListNode,
        now: Instant,
        listened: Duration,
    ) -> Result<ExitCode, Failure> {
        let (entries, offers) = self.found(node, now);
        let text = match self.json {
            true => {
                let entries = entries.iter().map(entries::event);
                entries.chain(offers.iter().map(|offer| offer.event(now))).collect()
            }
            false => {
                let with_heading = stdio::stdout().is_terminal() && !entries.is_empty();
                let is_recursive = self.args.recursive;
                entries::table((&entries, &self.wishes), &offers, is_recursive, with_heading)
            }
        };
        print(text.as_bytes())?;
        let files = entries.iter().filter(|entry| entry.is_file()).count();
        let (answered, is_full) = (node.answered(now).len(), node.has_overflowed());
        if self.json {
            let seconds = Seconds(listened);
            let known = node.answered(now);
            let others = offers.iter().map(|it| it.heard.offer);
            let others: Vec<_> = others.filter(|offer| !known.contains(&offer.peer)).collect();
            let peers: BTreeSet<_> = others.iter().map(|offer| offer.peer).collect();
            let (files, peers) = (files + others.len(), answered + peers.len());
            print(Event::Listened { seconds, files, peers, is_full }.line().as_bytes())?;
        }
        if is_full {
            return Err(Failure::new(ExitCode::Other, too_many()));
        }
        let sharers = Count(answered as u64, "peer");
        if entries.is_empty() && offers.is_empty() {
            let what = match self.args.wishes().first() {
                Some(wish) => format!("{sharers} answered, and nobody shares {wish}"),
                None => format!("{sharers} answered, and nobody shares anything"),
            };
            let nearly = nearly(node);
            let hint = "listen for peers of version 0 with --wait";
            let message = format_args!("{what}{nearly}; {hint}");
            return Err(Failure::new(ExitCode::NotOffered, message));
        }
        let size_bytes = entries.iter().map(ListedEntry::size_bytes).sum();
        let (files, size) = (Count(files as u64, "file"), Bytes(size_bytes));
        let missing = "sharers of version 0 alone may be missing";
        log::info!(target: "list", "{files}, {size}, shared by {sharers}; {missing}");
        Ok(ExitCode::Done)
    }

    /// Stays: a terminal shows the list as it is now, in one place, anything else gets a line for
    /// each change.
    fn watch(&self, reactor: &mut Reactor<ListNode>) -> Result<ExitCode, Failure> {
        let is_drawn = !self.json && terminal::open(SCREEN);
        let (mut shown, mut shown_entries) = (BTreeMap::new(), BTreeMap::new());
        let mut was_full = false;
        let mut begin = Some(Input::Wish(&self.wishes));
        loop {
            let outcome = reactor.run(begin.take()).map_err(loop_failed)?;
            if outcome != Outcome::AllDone {
                return result_of(outcome, None);
            }
            if is_closed(io::stdout()) {
                return Err(not_printed(&io::ErrorKind::BrokenPipe.into()));
            }
            let now = Instant::now();
            let (entries, offers) = self.found(reactor.node(), now);
            let listed = (&*entries, &*self.wishes);
            if is_drawn {
                let (height, width) = SCREEN.size();
                let text = match entries.is_empty() {
                    true => table(&offers, now, true),
                    false => entries::table(listed, &offers, self.args.recursive, true),
                };
                terminal::draw(fit(&text, width.into(), height.into()));
            } else {
                let changed = entries::changes(&mut shown_entries, &entries, self.json);
                let text = changed + &changes(&mut shown, &offers, self.json.then_some(now));
                print(text.as_bytes())?;
            }
            if reactor.node().has_overflowed() && !was_full {
                was_full = true;
                log::warn!(target: "list", "{}", too_many());
            }
            reactor.node().listen_until(now + WATCH_INTERVAL);
        }
    }
}

/// Says for how long it listened, and what is missing.
fn end(
    node: &ListNode,
    args: &ListArgs,
    shown: &BTreeSet<Offer>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let is_full = node.has_overflowed() || shown.len() >= KNOWN_OFFERS_MAX;
    let names: BTreeSet<_> = shown.iter().map(|offer| offer.name).collect();
    let peers: BTreeSet<_> = shown.iter().map(|offer| offer.peer).collect();
    let (files, peers) = (names.len(), peers.len());
    if json {
        let seconds = Seconds(args.wait());
        print(Event::Listened { seconds, files, peers, is_full }.line().as_bytes())?;
    }
    let wait = humantime::format_duration(args.wait());
    if is_full {
        return Err(Failure::new(ExitCode::Other, too_many()));
    }
    if files > 0 {
        let (files, peers) = (Count(files as u64, "file"), Count(peers as u64, "peer"));
        log::info!(target: "list", "listened for {wait}: {files} offered by {peers}");
        return Ok(ExitCode::Done);
    }
    let what = match args.wishes().as_slice() {
        [] => format!("nothing was offered within {wait}; is anybody sharing?"),
        [one, rest @ ..] => {
            let more = if rest.is_empty() { "" } else { " or the others" };
            format!("nobody offered {one}{more} within {wait}{};", nearly(node))
        }
    };
    Err(Failure::new(ExitCode::NotOffered, format_args!("{what} listen longer with --wait")))
}

/// Returns that something is on offer under nearly the name that is looked for, if it is.
fn nearly(node: &ListNode) -> String {
    let said = |name| format!(", but {name}, which differs only in case or Unicode form");
    node.nearly_offered().map(said).unwrap_or_default()
}

fn too_many() -> String {
    format!(
        "more is on offer than the {KNOWN_NAMES_MAX} files that can be remembered: some may be \
         missing; say which you look for, as in `p2pfs list 'a*'`"
    )
}

fn listed(node: &ListNode) -> Vec<Listed> {
    let listed = |heard: HeardOffer| Listed { heard, told: node.told(heard.offer.peer) };
    node.offers().into_iter().map(listed).collect()
}

impl Listed {
    fn place(&self) -> Place {
        match self.told {
            Some(told) => told.map_or(Place::Unknown, Place::At),
            None => Place::At(self.heard.from),
        }
    }

    fn event(&self, now: Instant) -> String {
        Event::of_offer(&self.heard, self.told.flatten(), now).line()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Unknown => f.pad("not registered"),
        }
    }
}

/// Returns whether nobody reads there any more: what waits for something to write would not notice.
fn is_closed(output: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&output, PollFlags::empty())];
    rustix::event::poll(&mut polled, Some(&Timespec::default())).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Returns a line for each offer. The name is last: how wide it shows is not known.
fn table(offers: &[Listed], now: Instant, with_heading: bool) -> String {
    let mut text = String::new();
    if with_heading {
        let _ = writeln!(text, "{:>10}  {:<21}  {:>7}  FILE", "PEER", "ADDRESS", "HEARD");
    }
    for listed in offers {
        let (HeardOffer { offer, heard_at, .. }, address) = (listed.heard, listed.place());
        let age_s = now.saturating_duration_since(heard_at).as_secs();
        let (peer, age) = (offer.peer.0, format!("{age_s}s ago"));
        let _ = writeln!(text, "{peer:>10}  {address:<21}  {age:>7}  {}", offer.name);
    }
    text
}

/// Returns the lines that a terminal has room for, and how many more there are; the cursor takes a
/// line of its own below them. Some terminals begin another line after one of their full width.
fn fit(text: &str, width: usize, height: usize) -> String {
    let (lines, room) = (text.lines().count(), height.saturating_sub(1));
    let shown = if lines > room { room.saturating_sub(1) } else { lines };
    let more = (lines > shown).then(|| format!("... and {} more", lines - shown));
    let lines = text.lines().take(shown).chain(more.as_deref().filter(|_| room > 0));
    let width = width.saturating_sub(1);
    lines.map(|line| format!("{}\n", truncate_str(line, width, &"..."[..width.min(3)]))).collect()
}

/// Returns what changed since the last time; as JSON, if that is to be told as of some time.
fn changes(shown: &mut BTreeMap<Offer, Place>, offers: &[Listed], json: Option<Instant>) -> String {
    let line = |what: &str, offer: &Offer, address: &Place| {
        format!("{what:<7}  {:>10}  {address:<21}  {}\n", offer.peer.0, offer.name)
    };
    let now: BTreeMap<_, _> =
        offers.iter().map(|listed| (listed.heard.offer, listed.place())).collect();
    let mut text = String::new();
    for (offer, address) in shown.iter().filter(|(offer, _)| !now.contains_key(offer)) {
        text += &match json {
            Some(_) => Event::of_offer_gone(offer).line(),
            None => line("gone", offer, address),
        };
    }
    for listed in offers.iter().filter(|listed| !shown.contains_key(&listed.heard.offer)) {
        text += &match json {
            Some(now) => listed.event(now),
            None => line("offered", &listed.heard.offer, &listed.place()),
        };
    }
    *shown = now;
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v0::FileName;

    fn listed(peer: u32, name: &str, heard_at: Instant) -> Listed {
        let offer = Offer { peer: PeerId(peer), name: FileName::new(name).unwrap() };
        let from = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000);
        Listed { heard: HeardOffer { offer, from, heard_at }, told: None }
    }

    #[test]
    fn columns_stand_below_one_another() {
        let start = Instant::now();
        let told = Some(Some("192.0.2.1:5001".parse().unwrap()));
        let known = Listed { told, ..listed(1, "é", start) };
        let unknown = Listed { told: Some(None), ..listed(2, "u", start) };
        let offers = [known, unknown, listed(u32::MAX, "b c", start)];
        let text = table(&offers, start + Duration::from_secs(12), true);
        let expected = "      PEER  ADDRESS                  HEARD  FILE\n         \
            1  192.0.2.1:5001         12s ago  é\n         \
            2  not registered         12s ago  u\n\
            4294967295  127.0.0.1:8000         12s ago  b c\n";
        assert_eq!(text, expected);
        assert_eq!(table(&[], start, false), "");
    }

    #[test]
    fn only_changes_are_told() {
        let start = Instant::now();
        let (mut shown, [a, b]) = (BTreeMap::new(), [listed(1, "a", start), listed(2, "b", start)]);
        let first = changes(&mut shown, &[a], None);
        assert_eq!(first, "offered           1  127.0.0.1:8000         a\n");
        assert_eq!(changes(&mut shown, &[a], None), "");
        let second = changes(&mut shown, &[b], None);
        assert!(second.starts_with("gone   ") && second.contains("\noffered  "), "{second}");
    }
}
