//! What must never happen, checked at each action and after each step. Two kinds of checks
//! are elsewhere: [`crate::conversation`] has those of bytes that are sent, `kit::runner`
//! those of the contract.
//!
//! A check panics: the world catches it, as it does a panic of the node itself,
//! and reports the seed and the step. Checks trust nothing that a node says about
//! itself; they look at what it does.

use std::collections::{BTreeMap, BTreeSet};

use kit::runner::Held;
use p2pfs::content::{Sight, Version};
use p2pfs::limits::{SETTLE_TIME, WRITTEN_SETTLE_TIME};
use p2pfs::node::{Input, Node};
use p2pfs::proto::{FileId, Timer};
use p2pfs::wire::PeerId;
use p2pfs::wire::v0::{FileName, Offer};

/// What one process has done so far.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What its user wants.
    pub(crate) wishes: BTreeSet<FileName>,
    /// What it may offer and send: found in the folder or fetched.
    pub(crate) shared: BTreeSet<FileName>,
    /// The files that it knows of, as last seen, and those that it fetched.
    seen: BTreeMap<FileName, Version>,
    /// What stood under a name before that.
    before: BTreeMap<FileName, Vec<Version>>,
    fetched: BTreeMap<FileName, Version>,
    /// Files that it fetched, and has not heard closed.
    unclosed: BTreeSet<FileName>,
    /// When a file rests whose writer may not be done.
    rests_us: BTreeMap<FileName, u64>,
    /// When a file that it shared was gone.
    gone_us: BTreeMap<FileName, u64>,
    /// When it last offered what.
    offered_us: BTreeMap<FileName, u64>,
    /// What it fetched.
    pub(crate) committed: BTreeSet<FileName>,
    /// Wishes that it has given up.
    pub(crate) failed: BTreeSet<FileName>,
    /// Whether it lost a file that it shared.
    pub(crate) has_lost_a_file: bool,
    /// Who offers something, by its reports, and when an offer of whom last came.
    pub(crate) offering: BTreeSet<PeerId>,
    heard_us: BTreeMap<PeerId, u64>,
    /// How many offers it made.
    pub(crate) offers: u64,
    /// The deadlines for which it gave connections up.
    pub(crate) timeouts: Vec<Timer>,
    /// Whether a registry ever entered it.
    pub(crate) was_registered: bool,
    partials: BTreeMap<FileId, FileName>,
    creations: BTreeMap<FileName, u32>,
}

impl Ledger {
    /// A file is in the folder at its start.
    pub(crate) fn found(&mut self, name: FileName, version: Version) {
        self.shared.insert(name);
        self.seen.insert(name, version);
    }

    /// It is given an input.
    pub(crate) fn learns<N: Node + ?Sized, C>(
        &mut self,
        now_us: u64,
        input: &Input<'_>,
        held: &Held<N, C>,
    ) {
        match *input {
            Input::Datagram { bytes, .. } => {
                if let Ok(offer) = Offer::decode(bytes) {
                    self.heard_us.insert(offer.peer, now_us);
                }
            }
            Input::FileSeen { ref path, version, sight } => {
                let name = path.name().expect("a name");
                self.shared.insert(name);
                self.sees(now_us, name, version, sight);
            }
            Input::Opened { file, version } => {
                if let Some(name) = held.files.get(&file).and_then(|file| file.name()) {
                    self.sees_by_the_way(now_us, name, version);
                }
            }
            Input::HashProgress { path, version, .. } | Input::Hashed { path, version, .. } => {
                if let Some(path) = held.node.paths().get(path) {
                    let name = path.name().expect("a name");
                    // A hash that began before a file was replaced shows what is gone.
                    if self.before.get(&name).is_none_or(|before| !before.contains(&version)) {
                        self.sees_by_the_way(now_us, name, version);
                    }
                }
            }
            Input::FileGone { ref path } => {
                let name = path.name().expect("a name");
                if self.shared.remove(&name) {
                    self.gone_us.insert(name, now_us);
                }
                self.seen.remove(&name);
                self.rests_us.remove(&name);
            }
            _ => {}
        }
    }

    fn sees(&mut self, now_us: u64, name: FileName, version: Version, sight: Sight) {
        let before = self.seen.insert(name, version);
        let is_other = before != Some(version);
        if is_other {
            self.before.entry(name).or_default().extend(before);
        }
        if before.is_some_and(|before| before.inode != version.inode) {
            // Of the file that took its place nothing is known.
            self.rests_us.remove(&name);
        }
        let is_own_close = sight == Sight::Closed && self.unclosed.remove(&name);
        if matches!(sight, Sight::Written | Sight::Closed) && !is_own_close {
            self.fetched.remove(&name);
        }
        let rest = match sight {
            Sight::Closed | Sight::Moved => {
                self.rests_us.remove(&name);
                return;
            }
            Sight::Looked | Sight::Created if !is_other => return,
            Sight::Looked | Sight::Created => SETTLE_TIME,
            Sight::Written => WRITTEN_SETTLE_TIME,
        };
        let rests_us = self.rests_us.entry(name).or_default();
        *rests_us = (*rests_us).max(now_us + rest.as_micros() as u64);
    }

    /// An open or a hash took its time: what it shows of a file that rests is of before.
    fn sees_by_the_way(&mut self, now_us: u64, name: FileName, version: Version) {
        if self.rests(now_us, &name) {
            self.sees(now_us, name, version, Sight::Looked);
        }
    }

    /// Whether no change of a file was shown for long enough.
    fn rests(&self, now_us: u64, name: &FileName) -> bool {
        self.rests_us.get(name).is_none_or(|at_us| *at_us <= now_us)
    }

    /// Whether it has offered a file since then.
    pub(crate) fn has_offered(&self, name: &FileName, since_us: u64) -> bool {
        self.offered_us.get(name).is_some_and(|at_us| *at_us >= since_us)
    }

    /// It opens a file for sending.
    pub(crate) fn opens_source(&self, name: &FileName) {
        assert!(self.shared.contains(name), "opens {name}, which it has not");
    }

    /// It creates a partial file: for a wish that is open, and at most two at a time.
    pub(crate) fn creates(&mut self, file: FileId, name: FileName) {
        assert!(self.wishes.contains(&name), "creates {name}, which nobody wants");
        assert!(!self.committed.contains(&name), "creates {name}, which is there already");
        let others = self.partials.values().filter(|other| **other == name).count();
        assert!(others <= 1, "fetches {name} three times at once");
        self.partials.insert(file, name);
        *self.creations.entry(name).or_default() += 1;
    }

    /// It commits a partial file.
    pub(crate) fn commits(&self, name: &FileName, simulates_failure: bool) {
        let least_creations = if simulates_failure { 2 } else { 1 };
        assert!(self.creations[name] >= least_creations, "no checksum failure was simulated");
    }

    /// It sends a file. An address that asks for it again may have refused it.
    pub(crate) fn sends(&mut self, name: &FileName) {
        self.fetched.remove(name);
    }

    /// Whether a file is the very one that it fetched, by what it was last told.
    pub(crate) fn knows_digest(&self, name: &FileName) -> bool {
        self.fetched.get(name).is_some_and(|version| self.seen.get(name) == Some(version))
    }

    /// A commit is done, of a name that was never committed before.
    pub(crate) fn committed(&mut self, file: FileId, name: FileName, version: Version) {
        self.partials.remove(&file);
        assert!(self.committed.insert(name), "{name} is committed twice");
        self.rests_us.remove(&name);
        self.shared.insert(name);
        self.fetched.insert(name, version);
        self.unclosed.insert(name);
        self.seen.insert(name, version);
    }

    /// A file is closed.
    pub(crate) fn closed(&mut self, file: FileId) {
        self.partials.remove(&file);
    }

    /// It knows nobody of whom it has not heard for this long.
    pub(crate) fn remembers(&self, since_us: u64) {
        let is_old = |peer: &&PeerId| self.heard_us.get(peer).is_none_or(|at_us| *at_us < since_us);
        let old = self.offering.iter().find(is_old);
        assert_eq!(old, None, "an offer is remembered for ever");
    }

    /// It offers a file: as itself, and one that is complete and rests.
    pub(crate) fn offers(&mut self, now_us: u64, id: PeerId, datagram: &[u8]) {
        self.offers += 1;
        let offer = Offer::decode(datagram).expect("offers what is no offer");
        assert_eq!(offer.peer, id, "offers in the name of another");
        // An offer that was on its way out when the file turned out to be gone still goes.
        let has_it = self.shared.contains(&offer.name)
            || self.gone_us.get(&offer.name).is_some_and(|at_us| *at_us == now_us);
        assert!(has_it, "offers {}, which it has not", offer.name);
        let rests = self.rests(now_us, &offer.name);
        assert!(rests, "offers {}, which is being written", offer.name);
        self.offered_us.insert(offer.name, now_us);
    }
}
