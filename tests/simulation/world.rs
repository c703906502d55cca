//! One run: hosts, what is between them, and the order of things.
//!
//! First comes trouble: faults at every turn. Then calm: faults are off, what is dead
//! is started again, what the user took away is put back, and a wish that failed for
//! a reason of the disk is wished again. Within a bounded time every wanted file has
//! to be there; a while after that, every table has to be empty.

use std::net::SocketAddrV4;

use p2pfs::content::Sight;
use p2pfs::limits::{PROGRESS_TIMEOUT, UPLOAD_TIMEOUTS};
use p2pfs::node::Outcome;
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::{FileName, Offer};

use crate::faults::Fault;
use crate::host::{Death, Host, Role};
use crate::network::ConnectionKey;
use crate::outside::Outside;
use crate::queue::{Event, Happening, HostIndex, Port};
use crate::scenario;
use crate::trace::Text;

/// How soon after the calm begins every wanted file has to be there: what
/// FAULTS.md allows. The longest chains of old troubles fit into it. A source that
/// lied rests for up to 38 s. A kernel takes up to 18 s to give up a connection to a
/// dead machine; until then a registry refuses the peer that comes back, which tries
/// again within 6 s, is heard of within 8 s, and is asked again within 6 s.
const ARRIVAL_US_MAX: u64 = 60_000_000;
/// How soon after that nothing may be left open: the longest deadline, which is that of an
/// upload whose last chunks are not acknowledged, and some.
const TIDY_US_MAX: u64 = UPLOAD_TIMEOUTS as u64 * PROGRESS_TIMEOUT.as_micros() as u64 + 20_000_000;
/// Steps at one moment before it is taken for a livelock.
const STEPS_AT_ONCE_MAX: u32 = 20_000;
/// How often it is looked whether the goal is reached.
const LOOK_INTERVAL_US: u64 = 200_000;
/// The fewest events of a run: a short one has its trouble prolonged.
const STEPS_MIN: u64 = 200;

/// One run.
pub(crate) struct World {
    /// What is between the hosts.
    pub(crate) out: Outside,
    /// The hosts; the registry is the first.
    pub(crate) hosts: Vec<Host>,
    /// Events so far.
    pub(crate) steps: u64,
    pub(crate) trouble_interval_us: u64,
    pub(crate) trouble_ends_us: u64,
    /// What the user has removed, to be put back.
    pub(crate) removed: Vec<(HostIndex, FileName, Vec<u8>)>,
    /// When the calm began.
    calm_us: u64,
    steps_at_once: (u64, u32),
    is_time_to_look: bool,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Events.
    pub(crate) steps: u64,
    /// Files that were wanted, counting each host; all of them were fetched.
    pub(crate) fetched: usize,
    /// Files that stand in the folders at the end.
    pub(crate) standing: usize,
    /// Those of them under names that nobody gave or wanted.
    pub(crate) strangers: usize,
    /// How long it took after the calm began until every file was there.
    pub(crate) arrival_us: u64,
    /// The trace in one number.
    pub(crate) hash: u64,
}

impl World {
    /// The world of a seed, in which nothing has happened yet.
    pub(crate) fn new(seed: u64, text: Text) -> Self {
        let mut out = Outside::new(seed, text);
        // A few take longer than the slowest deadline.
        let trouble_us_max = if out.rng.u32(..8) == 0 { 150_000_000 } else { 60_000_000 };
        let trouble_ends_us = out.some_us(5_000_000..=trouble_us_max);
        let hosts = scenario::draw(&mut out, trouble_ends_us);
        out.queue.put(1_000_000, Event::Trouble);
        let trouble_interval_us = 100_000 << out.rng.u32(0..6);
        Self { trouble_interval_us, trouble_ends_us, ..Self::of(out, hosts) }
    }

    /// A world in which only that goes wrong which a test does to it. None of the hosts is
    /// started.
    pub(crate) fn without_faults(hosts: impl FnOnce(&mut Outside) -> Vec<Host>) -> Self {
        let mut out = Outside::new(1, Text::Off);
        out.faults.turn_off();
        out.queue.put(LOOK_INTERVAL_US, Event::Look);
        let hosts = hosts(&mut out);
        Self::of(out, hosts)
    }

    fn of(out: Outside, hosts: Vec<Host>) -> Self {
        Self {
            out,
            hosts,
            steps: 0,
            trouble_interval_us: 0,
            trouble_ends_us: 0,
            removed: Vec::new(),
            calm_us: 0,
            steps_at_once: (0, 0),
            is_time_to_look: false,
        }
    }

    /// Runs it to its end. Whatever is wrong panics.
    pub(crate) fn run(&mut self) -> Summary {
        while self.out.now_us < self.trouble_ends_us || self.steps < STEPS_MIN {
            self.step();
        }
        self.calm_down();
        let calm_us = self.out.now_us;
        self.step_until(calm_us + ARRIVAL_US_MAX, "files have not arrived", Self::has_all_arrived);
        let arrival_us = self.out.now_us - calm_us;
        let deadline_us = self.out.now_us + TIDY_US_MAX;
        self.step_until(deadline_us, "not all is closed", Self::is_tidy);
        let (steps, hash) = (self.steps, self.out.trace.hash());
        let mut summary =
            Summary { steps, fetched: 0, standing: 0, strangers: 0, arrival_us, hash };
        for host in self.hosts.iter().filter(|host| host.is_peer()) {
            summary.fetched += host.wishes.len();
            for (name, _) in host.disk.complete_files() {
                summary.standing += 1;
                if !self.out.truth.knows(&name) {
                    summary.strangers += 1;
                    continue;
                }
                let digest = host.disk.digest(&name).expect("it is listed");
                let is_true = self.out.truth.holds(&name, &digest);
                assert!(is_true, "host {} ends with a {name} that never was", host.index);
            }
        }
        summary
    }

    fn step_until(&mut self, deadline_us: u64, complaint: &str, goal: impl Fn(&Self) -> bool) {
        while !(std::mem::take(&mut self.is_time_to_look) && goal(self)) {
            if self.out.now_us > deadline_us {
                panic!("{complaint} in time:{}", self.describe());
            }
            self.step();
        }
    }

    /// The next thing happens.
    pub(crate) fn step(&mut self) {
        self.steps += 1;
        let timers = self.hosts.iter().filter_map(|host| Some((host.timer_at_us()?, host.index)));
        let timer = timers.min();
        let event_at_us = self.out.queue.next_at_us();
        match (timer, event_at_us) {
            (Some((at_us, host)), event) if event.is_none_or(|event_us| at_us < event_us) => {
                self.advance(at_us);
                self.hosts[host].on_timer(&mut self.out);
                self.after(host);
            }
            (_, Some(at_us)) => {
                self.advance(at_us);
                let event = self.out.queue.take().expect("just seen");
                self.happen(event);
            }
            (_, None) => panic!("nothing will ever happen"),
        }
    }

    fn advance(&mut self, to_us: u64) {
        let out = &mut self.out;
        out.now_us = out.now_us.max(to_us);
        out.trace.fold(out.now_us);
        let (at_us, count) = &mut self.steps_at_once;
        *count = if *at_us == out.now_us { *count + 1 } else { 0 };
        *at_us = out.now_us;
        assert!(*count < STEPS_AT_ONCE_MAX, "time stands still");
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Process { host, incarnation, what } => self.happen_to(host, incarnation, what),
            Event::Syn(key) => self.on_syn(key),
            Event::Deliver(key, side) => self.out.deliver(key, side),
            Event::KernelGivesUp(key) => self.out.kernel_gives_up(key),
            Event::LingerEnds(key, side) => self.out.linger_ends(key, side),
            Event::Broadcast(from, port, bytes) => self.on_broadcast(from, port, &bytes),
            Event::Start(host) => {
                let lies = matches!(self.hosts[host].role, Role::Liar(_));
                if !lies || !self.out.faults.are_off() {
                    self.hosts[host].start(&mut self.out);
                    self.after(host);
                }
            }
            Event::Thaw(host) => self.thaw(host),
            Event::Wish(host, name) => {
                self.hosts[host].wishes.insert(name);
                let incarnation = self.hosts[host].incarnation;
                self.out.put(0, host, incarnation, Happening::Want(name));
            }
            Event::WriteOn(host, name) => self.write_on(host, name),
            Event::Trouble => {
                self.check_patience();
                if !self.out.faults.are_off() {
                    self.make_trouble();
                    let interval_us = self.out.rng.u64(..2 * self.trouble_interval_us);
                    self.out.queue.put(self.out.now_us + interval_us, Event::Trouble);
                }
            }
            Event::Look => {
                self.check_patience();
                self.is_time_to_look = true;
                self.out.queue.put(self.out.now_us + LOOK_INTERVAL_US, Event::Look);
            }
        }
    }

    fn check_patience(&mut self) {
        let now_us = self.out.now_us;
        self.hosts.iter_mut().for_each(|host| host.check_patience(now_us));
    }

    fn happen_to(&mut self, host: HostIndex, incarnation: u32, what: Happening) {
        let target = &mut self.hosts[host];
        if target.process.is_none() || target.incarnation != incarnation {
            return;
        }
        if target.frozen_until_us > self.out.now_us {
            target.postponed.push((incarnation, what));
            return;
        }
        target.happen(&mut self.out, what);
        self.after(host);
    }

    /// A process that ended by itself is started again by its user after a while.
    fn after(&mut self, host: HostIndex) {
        let target = &mut self.hosts[host];
        if let Some(outcome) = target.outcome.take() {
            if let (Role::Peer(settings), Outcome::AllDone | Outcome::SomeFailed { .. }) =
                (&mut target.role, &outcome)
            {
                settings.exit_when_done = false;
            }
            let pause_us = self.out.some_us(500_000..=5_000_000);
            self.out.queue.put(self.out.now_us + pause_us, Event::Start(host));
        }
    }

    pub(crate) fn thaw(&mut self, host: HostIndex) {
        let target = &mut self.hosts[host];
        if target.frozen_until_us <= self.out.now_us {
            target.awake_since_us = self.out.now_us;
            for (incarnation, what) in target.postponed.drain(..) {
                self.out.put(0, host, incarnation, what);
            }
        }
    }

    fn on_syn(&mut self, key: ConnectionKey) {
        let Some((_, to)) = self.out.network.addresses(key) else { return };
        let listener = self.hosts.iter().find(|host| host.address == to);
        // Where a port is wrong, the kernel of that address answers.
        let Some(machine) =
            listener.or_else(|| self.hosts.iter().find(|h| h.address.ip() == to.ip()))
        else {
            return;
        };
        if !machine.has_power() || self.out.network.is_cut_off(machine.index, self.out.now_us) {
            return;
        }
        let process = listener.filter(|host| host.process.is_some());
        self.out.answer_dial(key, process.map(|host| (host.index, host.incarnation)));
    }

    /// A datagram goes to every peer, its sender included; what happens to it on the
    /// way differs for each.
    fn on_broadcast(&mut self, from: HostIndex, port: Port, bytes: &[u8]) {
        let sender = self.hosts[from].address;
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            let is_cut_off = at != from
                && [from, at].iter().any(|h| self.out.network.is_cut_off(*h, self.out.now_us));
            if host.process.is_none() || !host.is_peer() || is_cut_off {
                continue;
            }
            let incarnation = host.incarnation;
            self.send_datagram((sender, port), bytes.to_vec(), at, incarnation);
            let (out, rng_host) = (&mut self.out, at);
            if out.hits(Fault::DatagramJunk) {
                let mut junk = vec![0; out.rng.usize(..75)];
                out.rng.fill(&mut junk);
                self.send_datagram((sender, port), junk, rng_host, incarnation);
            }
            let out = &mut self.out;
            if port == Port::Offers && out.hits(Fault::OfferForged) {
                let forged = self.forge_offer(bytes, at);
                self.send_datagram((sender, port), forged, at, incarnation);
            }
        }
    }

    fn send_datagram(
        &mut self,
        (from, port): (SocketAddrV4, Port),
        mut bytes: Vec<u8>,
        to: HostIndex,
        incarnation: u32,
    ) {
        let out = &mut self.out;
        let mut latency_us = out.some_us(20..=2000);
        if out.hits(Fault::DatagramLost) {
            return;
        }
        if out.hits(Fault::DatagramTruncated) {
            bytes.truncate(out.rng.usize(..bytes.len().max(1)));
        }
        if !bytes.is_empty() && out.hits(Fault::DatagramFlipped) {
            let at = out.rng.usize(..bytes.len());
            bytes[at] ^= 1 << out.rng.u32(..8);
        }
        if out.hits(Fault::DatagramLate) {
            latency_us += out.some_us(1000..=20_000_000);
        }
        if out.hits(Fault::DatagramDoubled) {
            let delay_us = latency_us + out.some_us(1..=100_000);
            let bytes = bytes.clone();
            out.put(delay_us, to, incarnation, Happening::Datagram { port, from, bytes });
        }
        out.put(latency_us, to, incarnation, Happening::Datagram { port, from, bytes });
    }

    /// An offer in the name of nobody, of a peer that may not have the file, or of the
    /// hearer itself.
    fn forge_offer(&mut self, bytes: &[u8], hearer: HostIndex) -> Vec<u8> {
        let Ok(Offer { name, .. }) = Offer::decode(bytes) else { return bytes.to_vec() };
        let peer = match self.out.rng.u32(..3) {
            0 => PeerId(self.out.rng.u32(..)),
            1 => self.hosts[self.out.rng.usize(1..self.hosts.len())].role.id(),
            _ => self.hosts[hearer].role.id(),
        };
        Offer { peer, name }.encode().to_vec()
    }

    fn calm_down(&mut self) {
        self.out.note(|| "calm".to_string());
        self.out.faults.turn_off();
        self.out.heal_links();
        self.calm_us = self.out.now_us;
        for host in 1..self.hosts.len() {
            for name in self.hosts[host].being_written.clone() {
                self.end_writing(host, name);
            }
        }
        for (host, name, content) in std::mem::take(&mut self.removed) {
            self.hosts[host].disk.put(self.out.now_us, name, content);
            self.hosts[host].folder_changes(&mut self.out, name, Sight::Closed);
        }
        for at in 0..self.hosts.len() {
            let host = &mut self.hosts[at];
            host.frozen_until_us = self.out.now_us;
            host.fall_silent(&mut self.out);
            // A file that could not be read is found by a new scan.
            if host.process.as_ref().is_some_and(|process| process.ledger.has_lost_a_file) {
                host.die(&mut self.out, Death::Killed);
            }
            self.thaw(at);
            let delay_us = self.out.some_us(0..=2_000_000);
            self.out.queue.put(self.out.now_us + delay_us, Event::Start(at));
            self.wish_again(at);
        }
        self.out.queue.put(self.out.now_us + LOOK_INTERVAL_US, Event::Look);
    }

    /// The user wishes again what has failed, unless it is there after all.
    fn wish_again(&mut self, host: HostIndex) {
        let target = &self.hosts[host];
        let Some(process) = &target.process else { return };
        for name in process.ledger.failed.iter().filter(|name| !target.disk.has(name)) {
            self.out.put(0, host, target.incarnation, Happening::Want(*name));
        }
    }

    fn has_all_arrived(&self) -> bool {
        let has_arrived = |host: &Host| {
            let exits = matches!(&host.role, Role::Peer(settings) if settings.exit_when_done);
            host.process.is_some() && host.missing().next().is_none() && !exits
        };
        self.hosts.iter().filter(|host| host.is_peer()).all(has_arrived)
    }

    fn is_tidy(&self) -> bool {
        let peers = self.hosts.iter().filter(|host| host.is_peer()).count();
        let mut honest = self.hosts.iter().filter(|host| host.is_honest());
        honest.all(|host| {
            let connections = host.process.as_ref().map(|process| process.connections());
            let expected = if host.is_peer() { 1 } else { peers };
            connections == Some(expected)
                && host.disk.open_files().next().is_none()
                && host.disk.hashes_under_way() == 0
                && host.has_offered_all(self.calm_us)
        })
    }

    /// What a failure looks like.
    fn describe(&self) -> String {
        let mut text = String::new();
        for host in &self.hosts {
            let missing: Vec<_> = host.missing().collect();
            let open: Vec<_> = host.disk.open_files().collect();
            let process = host.process.as_ref().map(|process| {
                (process.connections(), &process.ledger.failed, process.ledger.was_registered)
            });
            text += &format!(
                "\n  host {} at {}: missing {missing:?}, open {open:?}, {} hashes, \
                 (connections, failed, registered) {process:?}",
                host.index,
                host.address,
                host.disk.hashes_under_way(),
            );
        }
        text
    }
}
