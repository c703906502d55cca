//! A peer of ours, before and after its start.

use std::ffi::OsString;
use std::fs;
use std::iter;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use super::{Process, Signal, World, await_until};

/// How a peer is to be started.
pub(crate) struct PeerPlan<'a> {
    world: &'a World,
    id: u32,
    folder: PathBuf,
    options: Vec<(String, OsString)>,
    flags: Vec<String>,
    launcher: Vec<OsString>,
}

impl<'a> PeerPlan<'a> {
    pub(super) fn new(world: &'a World, id: u32, registry: SocketAddrV4) -> Self {
        let folder = world.shared_folder(id);
        let (options, flags, launcher) = (Vec::new(), Vec::new(), Vec::new());
        let plan = Self { world, id, folder, options, flags, launcher };
        plan.option("--id", id.to_string())
            .option("--registry", registry.to_string())
            .option("--broadcast", world.broadcast().to_string())
            .option("--offer-interval", "100ms")
            .option("--port", "0")
    }

    /// Its shared folder is this one.
    pub(crate) fn shares(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    /// The shared folder has this file.
    pub(crate) fn has(self, name: &str, content: &[u8]) -> Self {
        fs::create_dir_all(&self.folder).unwrap();
        fs::write(self.folder.join(name), content).unwrap();
        self
    }

    pub(crate) fn wants(mut self, name: &str) -> Self {
        self.options.push(("--want".to_owned(), name.into()));
        self
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sets an option, in the place of what it was.
    pub(crate) fn option(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.options.retain(|(set, _)| set != option);
        self.options.push((option.to_owned(), value.into()));
        self
    }

    /// Has it started by another program, such as strace, that becomes it.
    #[allow(dead_code, reason = "not every test that shares the harness needs one")]
    pub(crate) fn under<S: Into<OsString>>(
        mut self,
        launcher: impl IntoIterator<Item = S>,
    ) -> Self {
        self.launcher = launcher.into_iter().map(Into::into).collect();
        self
    }

    /// Starts it with its shared folder, which is made if need be.
    pub(crate) fn launch(self) -> Process {
        fs::create_dir_all(&self.folder).unwrap();
        let folder = self.folder.clone();
        self.option("--dir", folder).spawn()
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(self) -> Peer {
        let (id, folder) = (self.id, self.folder.clone());
        Peer::listening(self.launch(), id, folder)
    }

    /// Starts it with simulated storage in the world's folder.
    pub(crate) fn launch_simulated(self) -> Process {
        self.option("--initial-folders", "initial_peer_folders").spawn()
    }

    /// Starts it with simulated storage and waits until it listens.
    pub(crate) fn start_simulated(self) -> Peer {
        let (id, folder) = (self.id, self.world.folder().join(format!("peer-{}", self.id)));
        Peer::listening(self.launch_simulated(), id, folder)
    }

    fn spawn(self) -> Process {
        let options = self.options.into_iter().flat_map(|(option, value)| [option.into(), value]);
        let arguments: Vec<OsString> = iter::once("peer".into())
            .chain(options)
            .chain(self.flags.into_iter().map(OsString::from))
            .collect();
        let (name, folder) = (format!("peer {}", self.id), self.world.folder());
        Process::start_under(&self.launcher, &name, folder, &arguments)
    }
}

/// A peer that runs.
pub(crate) struct Peer {
    pub(crate) process: Process,
    pub(crate) address: SocketAddrV4,
    pub(crate) id: u32,
    folder: PathBuf,
}

impl Peer {
    fn listening(process: Process, id: u32, folder: PathBuf) -> Self {
        let address = process.await_listening();
        Self { process, address, id, folder }
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        self.path_of(name).exists()
    }

    /// Waits until the file has its final name; from then on it has to be right.
    #[track_caller]
    pub(crate) fn await_file(&mut self, name: &str, content: &[u8]) {
        await_until(&format!("peer {} has {name}", self.id), || {
            self.process.assert_running();
            self.holds(name)
        });
        let is_right = fs::read(self.path_of(name)).unwrap() == content;
        assert!(is_right, "{name} is wrong");
    }

    /// Waits until a file is being received, at least this much of it.
    #[track_caller]
    pub(crate) fn await_partial(&mut self, len_bytes: u64) {
        await_until(&format!("peer {} has a part of a file", self.id), || {
            self.process.assert_running();
            let mut hidden = hidden_files(&self.folder).into_iter();
            hidden.any(|path| fs::metadata(path).is_ok_and(|partial| partial.len() >= len_bytes))
        });
    }

    /// The files in the shared folder that a listing does not show.
    pub(crate) fn hidden_files(&self) -> Vec<PathBuf> {
        hidden_files(&self.folder)
    }

    /// Ends the peer in order and waits for it.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        assert_eq!(self.process.await_exit_code(), 143);
    }
}

fn hidden_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .collect()
}
