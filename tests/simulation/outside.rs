//! Everything that is not a host: the time, chance, the faults, the wires between
//! hosts, what is going to happen, and what is true about each file.
//!
//! A host only ever touches itself and this; what it does to another host travels
//! through here as an event. So no order of things exists but that of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use p2pfs::content::Digest;
use p2pfs::wire::v0::FileName;
use sha2::{Digest as _, Sha256};

use crate::faults::{Fault, Faults};
use crate::network::Network;
use crate::queue::{Event, Happening, HostIndex, Queue};
use crate::trace::{Text, Trace};

/// All that hosts share.
pub(crate) struct Outside {
    /// Virtual time since the run began.
    pub(crate) now_us: u64,
    epoch: Instant,
    /// All chance comes from here.
    pub(crate) rng: Rng,
    /// What goes wrong.
    pub(crate) faults: Faults,
    /// What is going to happen.
    pub(crate) queue: Queue,
    /// The connections.
    pub(crate) network: Network,
    /// What is true about each file.
    pub(crate) truth: Truth,
    /// What happened.
    pub(crate) trace: Trace,
}

/// Every content that stood whole under a name, anywhere, at any time: what a
/// downloader of that name may end up with.
#[derive(Default)]
pub(crate) struct Truth(BTreeMap<FileName, BTreeSet<Digest>>);

impl Outside {
    /// A world of this seed in which nothing exists yet.
    pub(crate) fn new(seed: u64, text: Text) -> Self {
        let mut rng = Rng::with_seed(seed);
        let faults = Faults::draw(&mut rng);
        let network = Network::draw(&mut rng);
        Self {
            now_us: 0,
            epoch: Instant::now(),
            rng,
            faults,
            queue: Queue::default(),
            network,
            truth: Truth::default(),
            trace: Trace::new(text),
        }
    }

    /// The time as a node sees it.
    pub(crate) fn now(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now_us)
    }

    /// A node's time as ours, rounded up: a timer never fires early.
    pub(crate) fn time_us(&self, instant: Instant) -> u64 {
        instant.saturating_duration_since(self.epoch).as_nanos().div_ceil(1000) as u64
    }

    /// Something will happen to a process.
    pub(crate) fn put(
        &mut self,
        after_us: u64,
        host: HostIndex,
        incarnation: u32,
        what: Happening,
    ) {
        let event = Event::Process { host, incarnation, what };
        self.queue.put(self.now_us + after_us, event);
    }

    /// Whether this fault strikes now.
    pub(crate) fn hits(&mut self, fault: Fault) -> bool {
        self.faults.hits(&mut self.rng, fault)
    }

    /// How long a slice of a hash takes.
    pub(crate) fn hash_slice_us(&mut self) -> u64 {
        if self.hits(Fault::DiskSlow) {
            return self.some_us(1000..=1_000_000);
        }
        self.some_us(50..=3000)
    }

    /// A time in microseconds, anywhere in the range.
    pub(crate) fn some_us(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        self.rng.u64(range)
    }

    /// Notes a line in the trace, with the time before it.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let now_us = self.now_us;
        self.trace.note(|| format!("{:>12.6} s  {}", now_us as f64 / 1e6, line()));
    }
}

impl Truth {
    /// From now on a content of this digest is a truth about this name.
    pub(crate) fn add(&mut self, name: FileName, digest: Digest) {
        self.0.entry(name).or_default().insert(digest);
    }

    /// Whether a file of this name ever stood anywhere.
    pub(crate) fn knows(&self, name: &FileName) -> bool {
        self.0.contains_key(name)
    }

    /// Whether this was ever true.
    pub(crate) fn holds(&self, name: &FileName, digest: &Digest) -> bool {
        self.0.get(name).is_some_and(|digests| digests.contains(digest))
    }
}

/// The digest of a content.
pub(crate) fn digest_of(content: &[u8]) -> Digest {
    Digest(Sha256::digest(content).into())
}
