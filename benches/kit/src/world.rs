//! A registry and peers, apart from all others on the machine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kit::{OfferRepeater, PeerPlan, RegistryClient};
use serde_json::Value;

use crate::{Outcome, Process};

/// Where the peers of one bench meet.
pub struct World {
    place: kit::World,
    /// What peers run.
    program: PathBuf,
}

/// A program that is registered as a peer and offered by the bench.
pub struct Entry {
    _registration: RegistryClient,
    _offers: OfferRepeater,
}

impl World {
    #[expect(clippy::new_without_default, reason = "it makes a folder and starts a registry")]
    pub fn new() -> Self {
        Self::of_build(&kit::program())
    }

    /// One whose peers run another build of the program.
    pub fn of_build(program: &Path) -> Self {
        let place = kit::World::new();
        place.registry();
        Self { place, program: program.to_owned() }
    }

    /// A peer that shares this folder and offers each of its files every 50 ms, unless the plan
    /// says otherwise. Its files for its user stay in this world.
    pub fn peer(&self, id: u32, folder: &Path) -> PeerPlan {
        let plan = self.place.peer(id).shares(folder.to_owned()).option("--offer-interval", "50ms");
        plan.launched(|launch| launch.build(&self.program)).cache(self.place.path())
    }

    /// Returns how many offers of others the only peer knows.
    pub fn offers_known(&self) -> Outcome<u64> {
        let said = self.place.program(&["status", "--json"]).output().stdout;
        let status: Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
        let known = status["offers_known"].as_u64();
        known.ok_or_else(|| format!("no number of known offers in {said}").into())
    }

    /// Registers a program that listens on this port as a peer, and offers these names for
    /// it, until the entry is dropped.
    pub fn enter(&self, id: u32, port: u16, names: &[String]) -> Entry {
        let _registration = self.place.registered(id, port);
        Entry { _registration, _offers: OfferRepeater::start(&self.place, id, names) }
    }

    fn registry(&self) -> &Process {
        &self.place.registry().process
    }

    /// The registry answers nothing until [`World::open`]. A peer that registers in between waits, and
    /// hears offers meanwhile: so many may begin at once, and without a wait for offers.
    pub fn close(&self) {
        self.registry().pause();
    }

    /// The registry answers again, from the moment that is returned.
    pub fn open(&self) -> Instant {
        self.registry().resume()
    }

    /// Waits until this peer has offered each of these names from now on.
    pub fn await_offers(&self, peer: u32, names: &[String]) {
        self.place.await_offers(peer, names.iter().map(String::as_str));
    }
}
