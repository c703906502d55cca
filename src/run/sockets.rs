//! Where the control sockets of a user's programs are: in a folder, each named after its
//! process.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::reactor::ControlSocket;
use crate::storage::names_in;

const SUFFIX: &str = ".sock";

/// Returns the control socket of this process; `None` if there can be none.
pub(super) fn own() -> Option<ControlSocket> {
    let folder = folder();
    let bound = make(&folder).and_then(|()| {
        for (path, pid) in sockets(&folder) {
            // One that lives is not to be disturbed.
            if !Path::new("/proc").join(pid.to_string()).exists() {
                remove_if_dead(&path);
            }
        }
        let path = folder.join(format!("{}{SUFFIX}", std::process::id()));
        remove_if_dead(&path);
        ControlSocket::bind(path)
    });
    bound.inspect_err(|error| log::debug!("`p2pfs status` will not find us: {error}")).ok()
}

/// Returns the sockets of all programs of this user that run.
pub(super) fn all() -> Vec<PathBuf> {
    let folder = folder();
    if !is_ours(&folder) {
        return Vec::new();
    }
    let mut alive: Vec<_> = sockets(&folder).filter(|(path, _)| !remove_if_dead(path)).collect();
    alive.sort_by_key(|(_, pid)| *pid);
    alive.into_iter().map(|(path, _)| path).collect()
}

/// Returns the socket of a process, or at a path.
pub(super) fn named(text: &str) -> PathBuf {
    match text.parse::<u32>() {
        Ok(pid) => folder().join(format!("{pid}{SUFFIX}")),
        Err(_) => PathBuf::from(text),
    }
}

fn folder() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(runtime) => runtime.join("p2pfs"),
        None => PathBuf::from(format!("/tmp/p2pfs-{}", geteuid().as_raw())),
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if is_ours(folder) => Ok(()),
        _ => Err(io::Error::other("somebody else can write to the folder for it")),
    }
}

/// Returns whether nobody else can have put anything there, not even a link in its place.
fn is_ours(folder: &Path) -> bool {
    fs::symlink_metadata(folder).is_ok_and(|metadata| {
        metadata.is_dir() && metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0
    })
}

fn sockets(folder: &Path) -> impl Iterator<Item = (PathBuf, u32)> {
    names_in(folder).unwrap_or_default().into_iter().filter_map(|name| {
        let pid = name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
        Some((folder.join(name), pid))
    })
}

/// Returns whether nobody listens there any more; then it is removed.
fn remove_if_dead(path: &Path) -> bool {
    let is_dead = ControlSocket::is_dead(path);
    if is_dead {
        let _ = fs::remove_file(path);
    }
    is_dead
}
