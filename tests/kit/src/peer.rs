use std::ffi::OsString;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use crate::{Launch, Process, await_until};

/// How a peer is to be started.
pub struct PeerPlan {
    id: u32,
    /// Where it runs.
    home: PathBuf,
    /// What it shares.
    folder: PathBuf,
    options: Vec<(String, OsString)>,
    flags: Vec<String>,
    /// A port for beacons on which nobody else is.
    silent_port: Option<u16>,
    launch: Launch,
}

impl PeerPlan {
    /// A peer that runs in one folder and shares another.
    pub fn new(home: &Path, folder: PathBuf, id: u32, registry: SocketAddrV4) -> Self {
        let launch = Launch::new(home, &["peer"]);
        let (options, flags, home) = (Vec::new(), Vec::new(), home.to_owned());
        let plan = Self { id, home, folder, options, flags, silent_port: None, launch };
        plan.option("--id", id.to_string())
            .option("--registry", registry.to_string())
            .option("--port", "0")
    }

    /// Its shared folder is this one.
    pub fn shares(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    /// The shared folder has this file.
    pub fn has(self, name: &str, content: &[u8]) -> Self {
        fs::create_dir_all(&self.folder).unwrap();
        fs::write(self.folder.join(name), content).unwrap();
        self
    }

    /// The shared folder has these files.
    pub fn has_all(self, files: &[(String, Vec<u8>)]) -> Self {
        files.iter().fold(self, |plan, (name, content)| plan.has(name, content))
    }

    pub fn wants(mut self, name: &str) -> Self {
        self.options.push(("--want".to_owned(), name.into()));
        self
    }

    pub fn wants_all<'a>(self, names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().fold(self, Self::wants)
    }

    /// If it wants something, it sends and hears beacons on this port alone, where nobody else
    /// is: it fetches by version 0.
    pub(crate) fn silent_at(mut self, beacon_port: u16) -> Self {
        self.silent_port = Some(beacon_port);
        self
    }

    /// It hears the beacons of its world: it fetches by version 1 what is shared by that.
    pub fn by_version_1(mut self) -> Self {
        self.silent_port = None;
        self
    }

    /// It ends once it has what it wants.
    pub fn until_done(self) -> Self {
        self.flag("--exit-when-done")
    }

    /// Asks another registry than that of its world.
    pub fn at(self, registry: SocketAddrV4) -> Self {
        self.option("--registry", registry.to_string())
    }

    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sets an option, in the place of what it was.
    pub fn option(mut self, option: &str, value: impl Into<OsString>) -> Self {
        self.options.retain(|(set, _)| set != option);
        self.options.push((option.to_owned(), value.into()));
        self
    }

    /// What it takes for the user's cache folder.
    pub fn cache(self, folder: &Path) -> Self {
        self.launched(|launch| launch.env("XDG_CACHE_HOME", folder))
    }

    /// Changes how it is launched.
    pub fn launched(mut self, change: impl FnOnce(Launch) -> Launch) -> Self {
        self.launch = change(self.launch);
        self
    }

    /// Has it started by another program, such as strace, that becomes it.
    pub fn under<S: Into<OsString>>(self, launcher: impl IntoIterator<Item = S>) -> Self {
        self.launched(|launch| launch.under(launcher))
    }

    /// Starts it with its shared folder, which is made if need be.
    pub fn launch(self) -> Process {
        fs::create_dir_all(&self.folder).unwrap();
        let folder = self.folder.clone();
        self.option("--dir", folder).spawn()
    }

    /// Starts it and waits until it listens.
    pub fn start(self) -> Peer {
        let (id, folder) = (self.id, self.folder.clone());
        Peer::listening(self.launch(), id, folder)
    }

    /// Does the same; returns its process, and where it listens.
    pub fn listening(self) -> (Process, SocketAddrV4) {
        let Peer { process, address, .. } = self.start();
        (process, address)
    }

    /// Starts it with simulated storage in the folder where it runs.
    pub fn launch_simulated(self) -> Process {
        self.option("--initial-folders", "initial_peer_folders").spawn()
    }

    /// Starts it with simulated storage and waits until it listens.
    pub fn start_simulated(self) -> Peer {
        let (id, folder) = (self.id, self.home.join(format!("peer-{}", self.id)));
        Peer::listening(self.launch_simulated(), id, folder)
    }

    fn spawn(mut self) -> Process {
        let is_set = |option: &str| self.options.iter().any(|(set, _)| set == option);
        let silent_port = self.silent_port.filter(|_| is_set("--want"));
        if let Some(port) = silent_port.filter(|_| !is_set("--beacon-port")) {
            self = self.option("--beacon-port", port.to_string());
        }
        let options = self.options.into_iter().flat_map(|(option, value)| [option.into(), value]);
        let options: Vec<OsString> = options.collect();
        let launch = self.launch.arguments(&options).arguments(&self.flags);
        launch.start_as(&format!("peer {}", self.id))
    }
}

/// A peer that runs.
pub struct Peer {
    pub process: Process,
    pub address: SocketAddrV4,
    pub id: u32,
    folder: PathBuf,
}

impl Peer {
    fn listening(process: Process, id: u32, folder: PathBuf) -> Self {
        let address = process.await_listening();
        Self { process, address, id, folder }
    }

    pub fn path_of(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn holds(&self, name: &str) -> bool {
        self.path_of(name).exists()
    }

    /// Waits until the file has its final name; from then on it has to be right.
    #[track_caller]
    pub fn await_file(&self, name: &str, content: &[u8]) {
        await_until(&format!("peer {} has {name}", self.id), || {
            self.process.assert_running();
            self.holds(name)
        });
        self.assert_holds(name, content);
    }

    /// The same; nothing is left of it or of another one.
    #[track_caller]
    pub fn await_only_file(&self, name: &str, content: &[u8]) {
        self.await_file(name, content);
        assert!(self.hidden_files().is_empty(), "a partial file was left");
    }

    /// The file is there now, and right.
    #[track_caller]
    pub fn assert_holds(&self, name: &str, content: &[u8]) {
        assert!(fs::read(self.path_of(name)).unwrap() == content, "{name} is wrong");
    }

    /// Waits until a file is being received, at least this much of it.
    #[track_caller]
    pub fn await_partial(&self, len_bytes: u64) {
        await_until(&format!("peer {} has a part of a file", self.id), || {
            self.process.assert_running();
            self.partial_bytes() >= len_bytes
        });
    }

    /// Returns how much there is of files that are not complete.
    pub fn partial_bytes(&self) -> u64 {
        let sizes = self.hidden_files().into_iter().filter_map(|path| fs::metadata(path).ok());
        sizes.map(|partial| partial.len()).sum()
    }

    /// Returns the files in the shared folder that a listing does not show.
    pub fn hidden_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap());
        let hidden = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
        hidden.map(|entry| entry.path()).collect()
    }

    /// Ends the peer in order and waits for it.
    #[track_caller]
    pub fn stop(&self) {
        self.process.stop();
    }
}
