//! Where a scenario happens: a world with a registry, and the commands in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use crate::harness::{Process, Registry, World};

/// A world with a registry.
pub(crate) struct Place {
    pub(crate) world: World,
    pub(crate) registry: Registry,
}

impl Place {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let registry = world.registry();
        Self { world, registry }
    }

    /// A folder of this world, which is made if need be, with these files.
    pub(crate) fn folder(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let path = self.world.folder().join(name);
        fs::create_dir_all(&path).unwrap();
        for (name, content) in files {
            fs::write(path.join(name), content).unwrap();
        }
        path
    }

    /// Shares a folder with these files, and waits until it listens.
    pub(crate) fn share(&self, name: &str, files: &[(&str, &[u8])]) -> Process {
        self.folder(name, files);
        let process = self.start(&["share", name]);
        process.await_listening();
        process
    }

    /// Starts `get` with these arguments, into the folder `got`.
    pub(crate) fn get(&self, arguments: &[&str]) -> Process {
        self.folder("got", &[]);
        self.start(&[&["get", "-o", "got"], arguments].concat())
    }

    /// What `get` brought: names and contents, hidden ones too.
    pub(crate) fn got(&self) -> BTreeMap<String, Vec<u8>> {
        content_of(&self.world.folder().join("got"))
    }

    /// Starts a command with this world's registry and offers.
    pub(crate) fn start(&self, arguments: &[&str]) -> Process {
        let arguments = command_line(&self.world, self.registry.address, arguments);
        Process::start(&arguments[0].to_string_lossy(), self.world.folder(), &arguments)
    }
}

/// A command line with this world's offers and this registry.
pub(crate) fn command_line(
    world: &World,
    registry: SocketAddrV4,
    arguments: &[&str],
) -> Vec<OsString> {
    let mut line: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let (registry, broadcast) = (registry.to_string(), world.broadcast().to_string());
    line.extend(["--broadcast", &broadcast, "--offer-interval", "100ms"].map(OsString::from));
    if arguments[0] != "list" {
        line.extend(["--registry", &registry, "--interface", "127.0.0.1"].map(OsString::from));
    }
    line
}

/// The names in a folder and their contents.
pub(crate) fn content_of(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let content = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap_or_default())
    };
    entries.map(content).collect()
}

/// What a process said to people: one string, for messages of the test.
pub(crate) fn said(process: &Process) -> String {
    process.log().join("\n")
}

/// Waits for the end; nothing may have gone to stdout.
#[track_caller]
pub(crate) fn ends_with(process: &mut Process, code: i32) {
    assert_eq!(process.await_exit_code(), code, "{}", said(process));
    assert_eq!(process.stdout(), [""; 0], "data for programs");
}

/// The one line that says why a process failed, which has to be the last.
#[track_caller]
pub(crate) fn complaint(process: &Process) -> String {
    let lines = process.error_lines();
    assert_eq!(lines.len(), 1, "{}", said(process));
    assert_eq!(process.log().last(), lines.first(), "the complaint comes last");
    lines[0].clone()
}
