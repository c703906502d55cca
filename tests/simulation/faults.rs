//! Every kind of fault, how often it strikes, and how often it did.
//!
//! The probabilities are themselves drawn from the seed (swarm testing): in each
//! run some kinds are absent and others frequent, so that mixes come up in which
//! one fault does not always hide another.

use fastrand::Rng;
use p2pfs::proto::Timer;

/// When a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Occasion {
    /// At each operation of its sort, with this probability on average.
    Each(f64),
    /// At moments that the world chooses, with this weight among its like.
    Moment(f64),
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident: $occasion:expr,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $($(#[doc = $doc])+ $name,)+ }

        const TABLE: &[(Fault, &str, Occasion)] =
            &[$((Fault::$name, stringify!($name), $occasion),)+];
    };
}

use Occasion::{Each, Moment};

faults! {
    // ---- streams ----
    /// A read gives only a part of what is there.
    ReadPartial: Each(0.3),
    /// The socket takes only a part of what is sent.
    SendPartial: Each(0.2),
    /// The socket takes nothing for a while.
    SendBlocked: Each(0.03),
    /// Bytes travel in many small pieces.
    StreamCut: Each(0.1),
    /// A bit is flipped that TCP's checksum lets through.
    BitFlipped: Each(0.003),
    /// A connection is refused although someone listens.
    ConnectRefused: Each(0.03),
    /// A request for a connection is lost.
    ConnectLost: Each(0.03),
    /// A connection is reset while it waits to be accepted.
    ResetInAcceptQueue: Each(0.02),
    /// A reset destroys what was received and not read yet.
    ResetDestroysReceived: Each(0.5),
    /// A connection is slow from the start.
    ConnectionSlow: Each(0.05),
    /// A connection is reset from both sides.
    ConnectionReset: Moment(2.0),
    /// One side learns that the connection broke, the other does not.
    ConnectionHalfOpen: Moment(1.0),
    /// A connection falls silent and heals.
    ConnectionStalled: Moment(1.0),
    /// A connection falls silent for good.
    ConnectionLost: Moment(1.0),
    /// A host is cut off the network and comes back.
    HostCutOff: Moment(0.7),
    // ---- datagrams ----
    /// Lost.
    DatagramLost: Each(0.1),
    /// Comes twice.
    DatagramDoubled: Each(0.05),
    /// Comes late, after others.
    DatagramLate: Each(0.05),
    /// Comes without its end, possibly empty.
    DatagramTruncated: Each(0.02),
    /// A bit of it is flipped.
    DatagramFlipped: Each(0.02),
    /// Comes from a stranger and means nothing.
    DatagramJunk: Each(0.03),
    /// Offers what no one has, or in the name of someone else.
    OfferForged: Each(0.03),
    // ---- processes ----
    /// A peer is killed; its kernel closes what it had.
    PeerKilled: Moment(1.0),
    /// A peer's machine loses power: no one is told.
    PeerPowerCut: Moment(0.7),
    /// A peer stands still for a while and wakes up to all it missed.
    PeerFrozen: Moment(0.7),
    /// The user stops a peer in order.
    PeerStopped: Moment(0.4),
    /// The registry is killed and comes back empty.
    RegistryKilled: Moment(0.4),
    /// The registry's machine loses power and comes back empty.
    RegistryPowerCut: Moment(0.3),
    /// The registry stands still for a while.
    RegistryFrozen: Moment(0.3),
    /// The loop wakes up late for a timer.
    TimerLate: Each(0.1),
    /// The loop wakes up for nothing.
    WokenForNothing: Each(0.01),
    /// An event about something that is gone comes late.
    EventStale: Each(0.01),
    // ---- disks ----
    /// A source cannot be opened.
    OpenFailed: Each(0.03),
    /// A partial file cannot be created.
    CreateFailed: Each(0.03),
    /// A write fails.
    WriteFailed: Each(0.002),
    /// Reading a source fails while it is sent.
    ReadFailed: Each(0.003),
    /// The final sync or the renaming fails.
    CommitFailed: Each(0.03),
    /// Reading a file to hash it fails.
    HashFailed: Each(0.03),
    /// Opening, hashing or committing a file takes long.
    DiskSlow: Each(0.1),
    // ---- the user's hands in the shared folder ----
    /// Another file is put in the place of a shared one.
    SourceReplaced: Moment(0.7),
    /// Bytes of a shared file are overwritten.
    SourceOverwritten: Moment(0.7),
    /// The same in mapped memory, of which nothing tells.
    SourceMapped: Moment(0.5),
    /// A shared file grows.
    SourceGrown: Moment(0.5),
    /// A shared file is cut off.
    SourceShortened: Moment(0.5),
    /// A shared file is removed, and put back later.
    SourceRemoved: Moment(0.4),
    /// A file is added, as a whole.
    SourceAdded: Moment(0.4),
    /// A shared file gets another name.
    SourceRenamed: Moment(0.4),
    /// A file is written or added to in pieces, with pauses.
    SourceWritten: Moment(0.8),
    /// The kernel cannot tell all that happens in the folder.
    FolderChangesLost: Each(0.1),
    /// A file appears under a name that is being fetched.
    NameTaken: Moment(0.3),
    // ---- a peer that lies ----
    /// It announces a digest that does not fit.
    LieDigest: Each(0.15),
    /// It announces the digest before the end of a chunk, or instead of one.
    LieEarlyEof: Each(0.15),
    /// It sends without end.
    LieEndless: Each(0.15),
    /// It goes on after the digest.
    LieAfterEof: Each(0.15),
    /// It sends a chunk of no bytes.
    LieEmptyChunk: Each(0.15),
    /// It sends what is no message.
    LieGarbage: Each(0.15),
    /// It sends messages that belong elsewhere.
    LieOutOfPlace: Each(0.15),
    /// It says nothing.
    LieSilence: Each(0.15),
    /// It sends a byte now and then.
    LieDribble: Each(0.15),
    /// It closes at once.
    LieClose: Each(0.15),
    /// It asks for a file and never reads.
    LieNeverReads: Each(0.15),
    /// It registers as someone else.
    LieIdentity: Each(0.15),
    /// It makes connections by the dozen.
    LieFlood: Each(0.15),
}

impl Fault {
    /// The ways to lie.
    pub(crate) fn lies() -> impl Iterator<Item = Self> {
        TABLE.iter().filter(|(_, name, _)| name.starts_with("Lie")).map(|(fault, _, _)| *fault)
    }
}

const COUNT: usize = TABLE.len();

/// The deadlines of connections, which faults make pass.
const DEADLINES: [(Timer, &str); 7] = [
    (Timer::FirstByte, "deadline of the first byte"),
    (Timer::Head, "deadline of a message"),
    (Timer::Idle, "deadline of a request"),
    (Timer::Connect, "deadline of a connection"),
    (Timer::Progress, "deadline of progress"),
    (Timer::MinimumRate, "deadline of the minimum rate"),
    (Timer::Answer, "deadline of an answer"),
];

/// The faults of one run.
pub(crate) struct Faults {
    /// Of [`Occasion::Each`]: strikes if a random `u32` is below this.
    thresholds: [u32; COUNT],
    /// Of [`Occasion::Moment`].
    weights: [f64; COUNT],
    counts: Counts,
    are_off: bool,
}

/// How often each kind struck, and how often each deadline passed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    faults: [u64; COUNT],
    deadlines: [u64; DEADLINES.len()],
}

impl Faults {
    /// Draws which faults this run has, and how many of them.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let (mut thresholds, mut weights) = ([0; COUNT], [0.0; COUNT]);
        // Some runs have no fault at all, so that what fails there is no fault's work.
        let share_of_kinds = [0.0, 0.15, 0.3, 0.5, 0.5, 0.8, 1.0][rng.usize(..7)];
        for (at, &(_, _, occasion)) in TABLE.iter().enumerate() {
            let is_on = rng.f64() < share_of_kinds;
            let strength = if is_on { 4_f64.powf(rng.f64() * 2.0 - 1.0) } else { 0.0 };
            match occasion {
                Each(chance) => {
                    thresholds[at] = ((chance * strength).min(0.9) * f64::from(u32::MAX)) as u32;
                }
                Moment(weight) => weights[at] = weight * strength,
            }
        }
        Self { thresholds, weights, counts: Counts::default(), are_off: false }
    }

    /// Whether this fault strikes now.
    pub(crate) fn hits(&mut self, rng: &mut Rng, fault: Fault) -> bool {
        let threshold = self.thresholds[fault as usize];
        if self.are_off || threshold == 0 || rng.u32(..) >= threshold {
            return false;
        }
        self.count(fault);
        true
    }

    /// Whether this fault is one that this run has.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        !self.are_off && self.thresholds[fault as usize] > 0
    }

    /// A fault for this moment, not counted yet: it may find nothing to strike at.
    pub(crate) fn choose(&self, rng: &mut Rng) -> Option<Fault> {
        let total: f64 = self.weights.iter().sum();
        let mut left = rng.f64() * total;
        let chosen = self.weights.iter().position(|weight| {
            left -= weight;
            *weight > 0.0 && left <= 0.0
        })?;
        Some(TABLE[chosen].0)
    }

    /// Counts a fault that struck.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.counts.faults[fault as usize] += 1;
    }

    /// Counts a deadline that passed.
    pub(crate) fn count_deadline(&mut self, timer: Timer) {
        let at = DEADLINES.iter().position(|(known, _)| *known == timer);
        self.counts.deadlines[at.expect("a deadline that is in the table")] += 1;
    }

    /// No more faults from now on.
    pub(crate) fn turn_off(&mut self) {
        self.are_off = true;
    }

    /// Whether faults are off.
    pub(crate) fn are_off(&self) -> bool {
        self.are_off
    }

    /// How often each kind struck so far.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }
}

impl Counts {
    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        let ours = self.faults.iter_mut().chain(&mut self.deadlines);
        let theirs = other.faults.iter().chain(&other.deadlines);
        ours.zip(theirs).for_each(|(ours, theirs)| *ours += theirs);
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = TABLE.iter().map(|(_, name, _)| *name);
        let deadlines = DEADLINES.iter().map(|(_, name)| *name);
        names.zip(self.faults).chain(deadlines.zip(self.deadlines))
    }

    /// The kinds that struck, and the deadlines that passed, less often than this.
    pub(crate) fn rarer_than(&self, faults_min: u64, deadlines_min: u64) -> Vec<&'static str> {
        let least = |at| if at < COUNT { faults_min } else { deadlines_min };
        let rare = self.all().enumerate().filter(|(at, (_, n))| *n < least(*at));
        rare.map(|(_, (name, _))| name).collect()
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self { faults: [0; COUNT], deadlines: [0; DEADLINES.len()] }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.all().try_for_each(|(name, n)| writeln!(f, "{n:>10}  {name}"))
    }
}
