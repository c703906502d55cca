//! A registry and peers, apart from all others on the machine.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde_json::Value;
use tempfile::TempDir;

use super::messages::{Count, OFFER_BYTES, int, offer, register_request, register_response, text};
use super::process::without_users_options;
use super::{DEADLINE, Outcome, Process};

const OFFER_INTERVAL: Duration = Duration::from_millis(50);

/// Where the peers of one bench meet.
pub(crate) struct World {
    pub(crate) registry: Process,
    pub(crate) registry_address: SocketAddrV4,
    /// What peers run.
    program: PathBuf,
    /// Hears what the peers offer.
    ear: UdpSocket,
    offer_port: u16,
    /// Where the peers keep what they keep for their user: they leave the real one alone.
    home: TempDir,
}

/// How a peer is to be started.
pub(crate) struct PeerPlan {
    name: String,
    program: PathBuf,
    launcher: Vec<OsString>,
    arguments: Vec<OsString>,
    runtime: PathBuf,
    cache: PathBuf,
}

/// A program that is registered as a peer and offered by the bench.
pub(crate) struct Entry {
    _registration: TcpStream,
    ended: Option<mpsc::Sender<()>>,
    offering: Option<JoinHandle<()>>,
}

impl World {
    pub(crate) fn new() -> Outcome<Self> {
        Self::of_build(Path::new(env!("CARGO_BIN_EXE_p2pfs")))
    }

    /// One whose peers run another build of the program.
    pub(crate) fn of_build(program: &Path) -> Outcome<Self> {
        // Bound without SO_REUSEADDR first, so that the system chooses a port that nobody
        // has; shared with the peers afterwards.
        let ear = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        sockopt::set_socket_reuseaddr(&ear, true)?;
        // If less is granted, more of the repetitions have to be heard.
        let _ = sockopt::set_socket_recv_buffer_size(&ear, 4 * 1024 * 1024);
        let offer_port = ear.local_addr()?.port();
        let registry = Process::p2pfs("registry", &["registry", "--listen", "127.0.0.1:0"])?;
        let registry_address = registry.await_listening()?;
        let home = tempfile::tempdir()?;
        let program = program.to_owned();
        Ok(Self { registry, registry_address, program, ear, offer_port, home })
    }

    /// Where offers are sent.
    pub(crate) fn broadcast(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), self.offer_port)
    }

    /// A peer that shares this folder and offers each of its files every 50 ms, unless
    /// the plan says otherwise.
    pub(crate) fn peer(&self, id: u32, folder: &Path) -> PeerPlan {
        let (name, program) = (format!("peer {id}"), self.program.clone());
        let [runtime, cache] = [self.home.path().to_owned(), self.home.path().to_owned()];
        let (launcher, arguments) = (Vec::new(), vec!["peer".into()]);
        let plan = PeerPlan { name, program, launcher, arguments, runtime, cache };
        plan.option("--id", id.to_string())
            .option("--port", "0")
            .option("--registry", self.registry_address.to_string())
            .option("--broadcast", self.broadcast().to_string())
            .option("--offer-interval", "50ms")
            .option("--dir", folder)
    }

    /// How many offers of others the only peer knows.
    pub(crate) fn offers_known(&self) -> Outcome<u64> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pfs"));
        command.args(["status", "--json"]).env("XDG_RUNTIME_DIR", self.home.path());
        without_users_options(&mut command);
        let output = command.output()?;
        let said = String::from_utf8(output.stdout)?;
        let status: Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
        let known = status["offers_known"].as_u64();
        known.ok_or_else(|| format!("no number of known offers in {said}").into())
    }

    /// Registers a program that listens on this port as a peer, and offers these names for
    /// it, until the entry is dropped.
    pub(crate) fn enter(&self, id: u32, port: u16, names: &[String]) -> Outcome<Entry> {
        let mut registration = TcpStream::connect(self.registry_address)?;
        registration.write_all(&register_request(id, port.into()))?;
        let mut answer = [0; 6];
        registration.read_exact(&mut answer)?;
        if answer[..] != register_response(1) {
            return Err(format!("the registry refused peer {id}").into());
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_broadcast(true)?;
        let to = self.broadcast();
        let offers: Vec<_> = names.iter().map(|name| offer(id, name, Count::Bytes)).collect();
        let (ended, is_over) = mpsc::channel::<()>();
        let offering = thread::spawn(move || {
            let wait = || is_over.recv_timeout(OFFER_INTERVAL);
            while wait() == Err(mpsc::RecvTimeoutError::Timeout) {
                for offer in &offers {
                    // It is repeated anyway.
                    let _ = socket.send_to(offer, to);
                }
            }
        });
        Ok(Entry { _registration: registration, ended: Some(ended), offering: Some(offering) })
    }

    /// The registry answers nothing until [`World::open`]. Who registers in between
    /// waits, and hears offers meanwhile: so many may begin at once, and without a wait
    /// for offers.
    pub(crate) fn close(&self) -> Outcome<()> {
        self.registry.pause()
    }

    /// The registry answers again, from the moment given back.
    pub(crate) fn open(&self) -> Outcome<Instant> {
        self.registry.resume()
    }

    /// Waits until this peer has offered each of these names from now on.
    pub(crate) fn await_offers(&self, peer: u32, names: &[String]) -> Outcome<()> {
        let begin = Instant::now();
        let mut missing: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let mut datagram = [0; OFFER_BYTES + 1];
        self.ear.set_nonblocking(true)?;
        loop {
            match self.ear.recv(&mut datagram) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.ear.set_nonblocking(false)?;
        self.ear.set_read_timeout(Some(Duration::from_millis(100)))?;
        while !missing.is_empty() {
            if begin.elapsed() > DEADLINE {
                return Err(format!("peer {peer} never offered {} files", missing.len()).into());
            }
            match self.ear.recv(&mut datagram) {
                Ok(OFFER_BYTES) if int(&datagram, 1) == peer => {
                    missing.remove(text(&datagram, 9).as_str());
                }
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ended.take();
        if let Some(offering) = self.offering.take() {
            let _ = offering.join();
        }
    }
}

impl PeerPlan {
    /// Sets an option, in the place of what it was.
    pub(crate) fn option(mut self, option: &str, value: impl Into<OsString>) -> Self {
        match self.arguments.iter().position(|argument| argument == option) {
            Some(at) => self.arguments[at + 1] = value.into(),
            None => self.arguments.extend([option.into(), value.into()]),
        }
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.arguments.push(flag.into());
        self
    }

    /// It fetches these files and ends.
    pub(crate) fn fetches(mut self, names: &[String]) -> Self {
        for name in names {
            self.arguments.extend(["--want".into(), name.into()]);
        }
        self.flag("--exit-when-done")
    }

    /// What it takes for the user's cache folder.
    pub(crate) fn cache(mut self, cache: &Path) -> Self {
        self.cache = cache.to_owned();
        self
    }

    /// Has it started by another program that becomes it, with these arguments before its
    /// own.
    pub(crate) fn under<A: Into<OsString>>(
        mut self,
        launcher: impl IntoIterator<Item = A>,
    ) -> Self {
        self.launcher = launcher.into_iter().map(Into::into).chain(self.launcher).collect();
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Outcome<Process> {
        let program = self.program.into_os_string();
        let mut words = self.launcher.into_iter().chain([program]).chain(self.arguments);
        let mut command = Command::new(words.next().ok_or("no program")?);
        command.args(words).env("XDG_RUNTIME_DIR", self.runtime).env("XDG_CACHE_HOME", self.cache);
        Process::start(&self.name, command)
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn listening(self) -> Outcome<(Process, SocketAddrV4)> {
        let process = self.start()?;
        let address = process.await_listening()?;
        Ok((process, address))
    }
}
