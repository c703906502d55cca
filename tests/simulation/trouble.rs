//! Faults that strike a host, a connection or a file at a moment of their own.

use p2pfs::wire::FileName;

use crate::faults::Fault;
use crate::host::{Death, Host};
use crate::network::{ConnectionKey, Side};
use crate::outside::{Outside, digest_of};
use crate::queue::{Event, Happening, HostIndex};
use crate::scenario::draw_content;
use crate::world::World;

/// The registry's place in the world.
const REGISTRY: HostIndex = 0;

impl World {
    /// One fault strikes, if it finds something to strike at.
    pub(crate) fn make_trouble(&mut self) {
        let Some(fault) = self.out.faults.choose(&mut self.out.rng) else { return };
        if self.strike(fault).is_some() {
            self.out.note(|| format!("{fault:?} strikes"));
            self.out.faults.count(fault);
        }
    }

    fn strike(&mut self, fault: Fault) -> Option<()> {
        match fault {
            Fault::ConnectionReset
            | Fault::ConnectionHalfOpen
            | Fault::ConnectionStalled
            | Fault::ConnectionLost => {
                let key = self.some_connection()?;
                strike_connection(&mut self.out, fault, key);
            }
            Fault::HostCutOff => {
                let host = self.out.rng.usize(..self.hosts.len());
                let until_us = self.out.now_us + self.out.some_us(1_000_000..=30_000_000);
                self.out.cut_off(host, until_us);
            }
            Fault::PeerKilled => self.kill(None, Death::Killed)?,
            Fault::PeerPowerCut => self.kill(None, Death::PowerCut)?,
            Fault::RegistryKilled => self.kill(Some(REGISTRY), Death::Killed)?,
            Fault::RegistryPowerCut => self.kill(Some(REGISTRY), Death::PowerCut)?,
            Fault::PeerFrozen => self.freeze(None)?,
            Fault::RegistryFrozen => self.freeze(Some(REGISTRY))?,
            Fault::PeerStopped => {
                let host = self.some_running_peer()?;
                let incarnation = self.hosts[host].incarnation;
                self.out.put(0, host, incarnation, Happening::Stop);
            }
            _ => self.strike_folder(fault)?,
        }
        Some(())
    }

    fn some_connection(&mut self) -> Option<ConnectionKey> {
        let keys = self.out.network.keys();
        // The newest is likely to be in the middle of something.
        if self.out.rng.bool() { keys.last().copied() } else { self.out.rng.choice(&keys).copied() }
    }

    fn some_running_peer(&mut self) -> Option<HostIndex> {
        let is_running = |host: &&Host| host.is_peer() && host.process.is_some();
        let running: Vec<_> = self.hosts.iter().filter(is_running).map(|host| host.index).collect();
        self.out.rng.choice(&running).copied()
    }

    /// A process dies, and is started again later.
    fn kill(&mut self, host: Option<HostIndex>, death: Death) -> Option<()> {
        let host = host.or_else(|| self.some_running_peer())?;
        self.hosts[host].process.as_ref()?;
        self.hosts[host].die(&mut self.out, death);
        let pause_us = self.out.some_us(10_000..=20_000_000);
        self.out.queue.put(self.out.now_us + pause_us, Event::Start(host));
        Some(())
    }

    fn freeze(&mut self, host: Option<HostIndex>) -> Option<()> {
        let host = host.or_else(|| self.some_running_peer())?;
        self.hosts[host].process.as_ref()?;
        let until_us = self.out.now_us + self.out.some_us(100_000..=40_000_000);
        self.stand_still(host, until_us);
        Some(())
    }

    /// A process does nothing until then.
    pub(crate) fn stand_still(&mut self, host: HostIndex, until_us: u64) {
        self.hosts[host].frozen_until_us = until_us;
        self.out.queue.put(until_us, Event::Thaw(host));
    }

    /// The user does something in a shared folder.
    fn strike_folder(&mut self, fault: Fault) -> Option<()> {
        let host = self.out.rng.usize(1..self.hosts.len());
        if fault == Fault::NameTaken {
            let name = *self.hosts[host].missing().next()?;
            self.put_new(host, name);
            return Some(());
        }
        let files = self.hosts[host].disk.complete_files();
        let (name, version) = *self.out.rng.choice(&files)?;
        let (now_us, len) = (self.out.now_us, version.size_bytes as usize);
        match fault {
            Fault::SourceReplaced => self.put_new(host, name),
            Fault::SourceRemoved => {
                // What was fetched is not taken away again: it would have to be fetched anew.
                if self.hosts[host].wishes.contains(&name) {
                    return None;
                }
                let content = self.hosts[host].disk.remove(&name)?;
                self.removed.push((host, name, content));
            }
            Fault::SourceGrown => {
                let added_bytes = self.out.rng.usize(1..5000);
                let added = draw_content(&mut self.out.rng, added_bytes);
                self.hosts[host].disk.edit(now_us, &name, |content| content.extend(added));
            }
            Fault::SourceShortened if len > 0 => {
                let kept_bytes = self.out.rng.usize(..len);
                self.hosts[host].disk.edit(now_us, &name, |content| content.truncate(kept_bytes));
            }
            Fault::SourceOverwritten if len > 0 => {
                let from = self.out.rng.usize(..len);
                let written_bytes = self.out.rng.usize(1..=len - from);
                let written = draw_content(&mut self.out.rng, written_bytes);
                self.hosts[host].disk.edit(now_us, &name, |content| {
                    content[from..from + written.len()].copy_from_slice(&written);
                });
            }
            _ => return None,
        }
        if let Some(digest) = self.hosts[host].disk.digest(&name) {
            self.out.truth.add(name, digest);
        }
        Some(())
    }

    fn put_new(&mut self, host: HostIndex, name: FileName) {
        let len = self.out.rng.usize(..10_000);
        let content = draw_content(&mut self.out.rng, len);
        self.out.truth.add(name, digest_of(&content));
        self.hosts[host].disk.put(self.out.now_us, name, content);
    }
}

fn strike_connection(out: &mut Outside, fault: Fault, key: ConnectionKey) {
    match fault {
        Fault::ConnectionReset => out.break_connection(key, std::io::ErrorKind::ConnectionReset),
        Fault::ConnectionHalfOpen => {
            let side = if out.rng.bool() { Side::Dialer } else { Side::Acceptor };
            out.break_one_side(key, side);
        }
        Fault::ConnectionStalled => {
            let until_us = out.now_us + out.some_us(100_000..=25_000_000);
            out.stall(key, until_us);
        }
        _ => out.stall(key, u64::MAX),
    }
}
