//! What a swarm is asked to do, and how long that takes it.

use std::fmt;
use std::time::{Duration, Instant};

use fastrand::Rng;
use p2pfs::limits::Limits;

use crate::contents::Contents;
use crate::host::{At, Did, Plan};
use crate::liar::Excuse;
use crate::links::Rates;
use crate::world::World;

pub(crate) const BLOCK_BYTES: u64 = 256 * 1024;
/// 100 Mbit/s.
const RATE_BYTES_PER_S: u64 = 12_500_000;
/// From one host to another.
const DELAY_NS: u64 = 100_000;
/// When the first getters start: the sharer has hashed its files by then.
const START_NS: u64 = 10_000_000_000;
/// The longest time between the first getter and the last, unless that comes late.
const START_SPREAD_NS: u64 = 20_000_000;
/// How often it is looked whether the seed may go.
const STEPS_PER_LOOK: u64 = 2_000;

/// A swarm of one sharer and some getters.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) sizes: Vec<u64>,
    pub(crate) getters: usize,
    /// Getters whose links have a tenth of the rate.
    pub(crate) slow_percent: usize,
    /// Getters that leave without a word in the time that one alone takes.
    pub(crate) leaving_percent: usize,
    /// Getters that come in the time that one alone takes.
    pub(crate) late_percent: usize,
    /// Getters to which no connection can be made.
    pub(crate) hidden_percent: usize,
    /// Getters that send wrong bytes.
    pub(crate) corrupt: usize,
    /// Peers in the place of getters that say that they have all, and have nothing.
    pub(crate) liars: usize,
    pub(crate) excuse: Excuse,
    /// How many connections the sharer may have.
    pub(crate) connections_max: usize,
    /// Whether the sharer was restarted: it knows ids, and no values of blocks.
    pub(crate) was_restarted: bool,
    /// Whether getters stay once they have all.
    pub(crate) stays: bool,
    /// Whether the sharer leaves without a word once each block is at some getter.
    pub(crate) sharer_leaves: bool,
    /// Whether all have a secret, and seal what they send.
    pub(crate) has_secret: bool,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) getters: usize,
    /// How long one getter alone takes.
    pub(crate) alone: Duration,
    /// How long the slowest getter took that is neither on a slow link, nor left, nor lies.
    pub(crate) last: Duration,
    pub(crate) median: Duration,
    /// Such getters that never had all.
    pub(crate) unfinished: usize,
    /// Copies of all files that the sharer sent.
    pub(crate) sharer_copies: f64,
    /// Copies that came to a getter on average, above one.
    pub(crate) duplicates: f64,
    pub(crate) sessions_max: usize,
    pub(crate) sessions_median: usize,
    pub(crate) dials: usize,
    /// Events of the simulator.
    pub(crate) steps: u64,
}

impl Scenario {
    /// Returns a swarm in which all getters have the same links and start at once, for one file.
    pub(crate) fn new(name: &'static str, getters: usize, blocks: u64) -> Self {
        Self {
            name,
            seed: kit::quantity("P2PFS_SWARM_SEED", 1),
            sizes: vec![blocks * BLOCK_BYTES],
            getters,
            slow_percent: 0,
            leaving_percent: 0,
            late_percent: 0,
            hidden_percent: 0,
            corrupt: 0,
            liars: 0,
            excuse: Excuse::Refuses,
            connections_max: Limits::PEER.connections_max,
            was_restarted: false,
            stays: false,
            sharer_leaves: false,
            has_secret: false,
        }
    }

    fn plans(&self, alone: Duration) -> Vec<Plan> {
        let rates = Rates { up_bytes_per_s: RATE_BYTES_PER_S, down_bytes_per_s: RATE_BYTES_PER_S };
        let sharer = Plan {
            rates,
            starts_at_ns: 0,
            leaves_at_ns: None,
            connections_max: self.connections_max,
            shares: true,
            was_restarted: self.was_restarted,
            is_dialable: true,
            stays: true,
            is_corrupt: false,
            lies: None,
            has_secret: self.has_secret,
        };
        let mut rng = Rng::with_seed(self.seed);
        let alone_ns = alone.as_nanos() as u64;
        let mut plans = vec![
            Plan {
                shares: false,
                stays: self.stays,
                connections_max: Limits::PEER.connections_max,
                ..sharer.clone()
            };
            self.getters
        ];
        for plan in &mut plans {
            plan.starts_at_ns = START_NS + rng.u64(..START_SPREAD_NS);
        }
        let mut order: Vec<usize> = (0..self.getters).collect();
        rng.shuffle(&mut order);
        let share = |percent: usize| self.getters * percent / 100;
        let mut order = order.into_iter();
        for at in order.by_ref().take(share(self.slow_percent)) {
            plans[at].rates.up_bytes_per_s /= 10;
            plans[at].rates.down_bytes_per_s /= 10;
        }
        for at in order.by_ref().take(share(self.leaving_percent)) {
            plans[at].leaves_at_ns = Some(plans[at].starts_at_ns + rng.u64(..alone_ns));
        }
        for at in order.by_ref().take(share(self.late_percent)) {
            plans[at].starts_at_ns += rng.u64(..alone_ns);
        }
        for at in order.by_ref().take(self.corrupt) {
            plans[at].is_corrupt = true;
        }
        for at in order.take(self.liars) {
            plans[at].lies = Some(self.excuse);
        }
        let mut hidden: Vec<usize> = (0..self.getters).collect();
        rng.shuffle(&mut hidden);
        for at in hidden.into_iter().take(share(self.hidden_percent)) {
            plans[at].is_dialable = false;
        }
        plans.insert(0, sharer);
        plans
    }

    /// Returns how long one getter alone takes.
    fn alone(&self) -> Duration {
        let alone = Self { getters: 1, ..Self::new("alone", 1, 1) };
        let mut world = Self { sizes: self.sizes.clone(), ..alone }.world(Duration::ZERO);
        while world.hosts[1].did.done_at_ns.is_none() {
            assert!(world.step(), "one alone never gets it");
        }
        took(&world, 1).expect("it is done")
    }

    fn world(&self, alone: Duration) -> World {
        World::new(self.seed, &self.plans(alone), Contents::new(&self.sizes), DELAY_NS)
    }

    /// Runs it until each getter that counts has all, or no hope is left.
    pub(crate) fn run(&self) -> Figures {
        let alone = self.alone();
        let mut world = self.world(alone);
        let counts = |at: &usize| {
            let plan = &world.hosts[*at].plan;
            let is_slow = plan.rates.up_bytes_per_s < RATE_BYTES_PER_S;
            !is_slow && plan.leaves_at_ns.is_none() && !plan.is_corrupt && plan.lies.is_none()
        };
        let counted: Vec<usize> = (1..=self.getters).filter(counts).collect();
        let hope_ns = (alone.as_nanos() as u64 + START_NS) * (self.getters as u64 + 8);
        let mut to_come = counted.clone();
        let mut may_leave = self.sharer_leaves;
        while world.out.now_ns < hope_ns && world.step() {
            let Some(&at) = to_come.last() else { break };
            if world.hosts[at].did.done_at_ns.is_some() {
                to_come.pop();
            }
            if may_leave && world.steps.is_multiple_of(STEPS_PER_LOOK) && is_all_out(&world) {
                may_leave = false;
                let World { hosts, out, .. } = &mut world;
                At { host: &mut hosts[0], out }.leave();
            }
        }
        self.figures(&world, alone, &counted)
    }

    fn figures(&self, world: &World, alone: Duration, counted: &[usize]) -> Figures {
        let mut times: Vec<_> = counted.iter().filter_map(|&at| took(world, at)).collect();
        times.sort_unstable();
        let size_bytes = world.out.contents.size_bytes() as f64;
        let did: Vec<&Did> = counted.iter().map(|&at| &world.hosts[at].did).collect();
        let came: u64 = did.iter().map(|did| did.came_bytes).sum();
        let mut sessions: Vec<_> = did.iter().map(|did| did.sessions_max).collect();
        sessions.sort_unstable();
        Figures {
            name: self.name,
            getters: self.getters,
            alone,
            last: times.last().copied().unwrap_or_default(),
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
            unfinished: counted.len() - times.len(),
            sharer_copies: world.hosts[0].did.given_bytes as f64 / size_bytes,
            duplicates: came as f64 / size_bytes / counted.len().max(1) as f64 - 1.0,
            sessions_max: sessions.last().copied().unwrap_or_default(),
            sessions_median: sessions.get(sessions.len() / 2).copied().unwrap_or_default(),
            dials: did.iter().map(|did| did.dials).sum::<usize>() / counted.len().max(1),
            steps: world.steps,
        }
    }
}

/// Returns how long a getter took, once it has all.
fn took(world: &World, at: usize) -> Option<Duration> {
    let host = &world.hosts[at];
    host.did.done_at_ns.map(|done_ns| Duration::from_nanos(done_ns - host.plan.starts_at_ns))
}

/// Returns whether each block is at some getter.
fn is_all_out(world: &World) -> bool {
    if world.hosts[0].did.given_bytes < world.out.contents.size_bytes() {
        return false;
    }
    let mut files = world.out.contents.files.iter().enumerate();
    files.all(|(file, there)| {
        let mut blocks = 0..there.content.blocks();
        blocks.all(|block| {
            world.hosts[1..].iter().any(|host| host.has_block(&world.out.contents, file, block))
        })
    })
}

impl Figures {
    /// Returns the time of the last getter, in that of one alone.
    pub(crate) fn ratio(&self) -> f64 {
        self.last.as_secs_f64() / self.alone.as_secs_f64()
    }

    /// Prints a row of the table, with what the simulator needed since then.
    pub(crate) fn print(&self, began: Instant) {
        let peak_kib = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = peak_kib.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.unwrap_or_default().trim();
        println!("{self} | {:.1} s, {peak}", began.elapsed().as_secs_f64());
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let median = self.median.as_secs_f64() / self.alone.as_secs_f64();
        write!(f, "{:<40} {:>5} getters: alone {:.2?}, ", self.name, self.getters, self.alone)?;
        write!(f, "last {:.2}, median {median:.2}, {} never; ", self.ratio(), self.unfinished)?;
        write!(f, "sharer {:.2} copies, ", self.sharer_copies)?;
        write!(f, "{:.1} % twice, ", 100.0 * self.duplicates)?;
        write!(f, "sessions {} to {}, ", self.sessions_median, self.sessions_max)?;
        write!(f, "{} dials, {} events", self.dials, self.steps)
    }
}
