//! Faults that strike a host, a connection or a file at a moment of their own.

use p2pfs::content::Sight;
use p2pfs::limits::SETTLE_TIME;
use p2pfs::wire::v0::FileName;

use crate::faults::Fault;
use crate::host::{Death, Host};
use crate::network::{ConnectionKey, Side};
use crate::outside::{Outside, digest_of};
use crate::queue::{Event, Happening, HostIndex};
use crate::scenario::draw_content;
use crate::world::World;

/// The longest pause of a program that writes a file: shorter than what counts as rest.
const PAUSE_US_MAX: u64 = SETTLE_TIME.as_micros() as u64 * 3 / 4;
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
        match fault {
            Fault::NameTaken => {
                let name = *self.hosts[host].missing().next()?;
                self.put_new(host, name);
                return Some(());
            }
            Fault::SourceAdded => {
                let name = self.some_free_name(host)?;
                self.put_new(host, name);
                return Some(());
            }
            Fault::SourceWritten if self.out.rng.bool() => {
                let name = self.some_free_name(host)?;
                self.hosts[host].disk.put(self.out.now_us, name, Vec::new());
                self.begin_writing(host, name, Sight::Created);
                return Some(());
            }
            _ => {}
        }
        let files = self.hosts[host].disk.complete_files();
        let (name, version) = *self.out.rng.choice(&files)?;
        if self.hosts[host].being_written.contains(&name) {
            return None;
        }
        let (now_us, len) = (self.out.now_us, version.size_bytes as usize);
        match fault {
            Fault::SourceReplaced => {
                self.put_new(host, name);
                return Some(());
            }
            Fault::SourceWritten => {
                self.begin_writing(host, name, Sight::Written);
                return Some(());
            }
            Fault::SourceRemoved | Fault::SourceRenamed => {
                // What was fetched is not taken away again: it would have to be fetched anew.
                if self.hosts[host].wishes.contains(&name) {
                    return None;
                }
                return self.take_away(fault, host, name);
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
            Fault::SourceOverwritten | Fault::SourceMapped if len > 0 => {
                let from = self.out.rng.usize(..len);
                let written_bytes = self.out.rng.usize(1..=len - from);
                let written = draw_content(&mut self.out.rng, written_bytes);
                let write = |content: &mut Vec<u8>| {
                    content[from..from + written.len()].copy_from_slice(&written);
                };
                if fault == Fault::SourceMapped {
                    let digest = self.hosts[host].disk.edit_mapped(&name, write);
                    self.out.truth.add(name, digest);
                    return Some(());
                }
                self.hosts[host].disk.edit(now_us, &name, write);
            }
            _ => return None,
        }
        if let Some(digest) = self.hosts[host].disk.digest(&name) {
            self.out.truth.add(name, digest);
        }
        self.hosts[host].folder_changes(&mut self.out, name, Sight::Written);
        self.hosts[host].folder_changes(&mut self.out, name, Sight::Closed);
        Some(())
    }

    /// A name that someone shares, and under which nothing stands or will stand here.
    fn some_free_name(&mut self, host: HostIndex) -> Option<FileName> {
        let shared = self.hosts.iter().flat_map(|other| other.disk.complete_files());
        let target = &self.hosts[host];
        let is_free = |name: &FileName| {
            let will_be_back =
                self.removed.iter().any(|(at, removed, _)| (*at, removed) == (host, name));
            !target.disk.has(name) && !target.wishes.contains(name) && !will_be_back
        };
        let names: Vec<_> = shared.map(|(name, _)| name).filter(is_free).collect();
        self.out.rng.choice(&names).copied()
    }

    /// A file is removed, or gets another name; at the end it is put back.
    fn take_away(&mut self, fault: Fault, host: HostIndex, name: FileName) -> Option<()> {
        let to = match fault {
            Fault::SourceRenamed => Some(self.some_free_name(host)?),
            _ => None,
        };
        let digest = self.hosts[host].disk.digest(&name)?;
        let content = match to {
            Some(to) => {
                self.out.truth.add(to, digest);
                self.hosts[host].disk.rename(&name, to)
            }
            None => self.hosts[host].disk.remove(&name),
        }?;
        self.removed.push((host, name, content));
        self.hosts[host].folder_changes(&mut self.out, name, Sight::Looked);
        if let Some(to) = to {
            self.hosts[host].folder_changes(&mut self.out, to, Sight::Moved);
        }
        Some(())
    }

    fn put_new(&mut self, host: HostIndex, name: FileName) {
        let len = self.out.rng.usize(..10_000);
        let content = draw_content(&mut self.out.rng, len);
        self.out.truth.add(name, digest_of(&content));
        self.hosts[host].disk.put(self.out.now_us, name, content);
        self.hosts[host].folder_changes(&mut self.out, name, Sight::Closed);
    }

    /// A program of the user's begins to write at a file.
    fn begin_writing(&mut self, host: HostIndex, name: FileName, sight: Sight) {
        self.hosts[host].being_written.insert(name);
        self.hosts[host].folder_changes(&mut self.out, name, sight);
        self.write_on(host, name);
    }

    /// It writes a piece, and pauses, or is done.
    pub(crate) fn write_on(&mut self, host: HostIndex, name: FileName) {
        let target = &mut self.hosts[host];
        if !target.disk.has(&name) {
            // A loss of power took it.
            target.being_written.remove(&name);
        }
        if !target.being_written.contains(&name) {
            return;
        }
        let piece_bytes = self.out.rng.usize(1..3000);
        let piece = draw_content(&mut self.out.rng, piece_bytes);
        let now_us = self.out.now_us;
        self.hosts[host].disk.edit(now_us, &name, |content| content.extend(piece));
        self.hosts[host].folder_changes(&mut self.out, name, Sight::Written);
        if self.out.rng.u32(..6) == 0 {
            return self.end_writing(host, name);
        }
        let pause_us = self.out.some_us(10_000..=PAUSE_US_MAX);
        self.out.queue.put(now_us + pause_us, Event::WriteOn(host, name));
    }

    /// It is done: from now on the file is whole. It may forget to close it.
    pub(crate) fn end_writing(&mut self, host: HostIndex, name: FileName) {
        let target = &mut self.hosts[host];
        target.being_written.remove(&name);
        if let Some(digest) = target.disk.digest(&name) {
            self.out.truth.add(name, digest);
        }
        if self.out.rng.bool() {
            self.hosts[host].folder_changes(&mut self.out, name, Sight::Closed);
        }
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
