//! Where the control sockets of a user's programs are: in a folder, each named after its
//! process. Anybody may make a folder of that name in a shared one: it is used only if it is
//! this user's alone.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::exit::{ExitCode, Failure};
use crate::reactor::ControlSocket;
use crate::storage::names_in;
use crate::wire::Shown;

const SUFFIX: &str = ".sock";

/// The longest path that a socket can have: the kernel takes 108 bytes, with a zero at their end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

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
        let path = path_in(&folder, std::process::id());
        remove_if_dead(&path);
        ControlSocket::bind(path)
    });
    let bound = bound.inspect_err(|error| {
        let folder = Shown(folder.to_string_lossy());
        log::warn!("`p2pfs status` will not find this program: cannot use {folder}: {error}");
    });
    bound.ok()
}

/// Returns the sockets of all programs of this user that run.
///
/// # Errors
/// If their folder is not this user's alone.
pub(super) fn all() -> Result<Vec<PathBuf>, Failure> {
    let folder = checked_folder()?;
    let mut alive: Vec<_> = sockets(&folder).filter(|(path, _)| !remove_if_dead(path)).collect();
    alive.sort_by_key(|(_, pid)| *pid);
    Ok(alive.into_iter().map(|(path, _)| path).collect())
}

/// Returns the socket of a process, or at a path.
///
/// # Errors
/// If it would be in the folder of this user's sockets, and that is not this user's alone.
pub(super) fn named(text: &str) -> Result<PathBuf, Failure> {
    match text.parse() {
        Ok(pid) => Ok(path_in(&checked_folder()?, pid)),
        Err(_) if Path::new(text).parent() == Some(&folder()) => {
            checked_folder().map(|_| PathBuf::from(text))
        }
        Err(_) => Ok(PathBuf::from(text)),
    }
}

/// Returns the folder, which is the same for every program with this environment.
pub(super) fn folder() -> PathBuf {
    let is_ours = |path: &Path| {
        // Else somebody could exchange what is in it.
        let others_write = |mode: u32| mode & 0o022 != 0 && mode & 0o1000 == 0;
        fs::metadata(path).is_ok_and(|it| {
            it.is_dir() && it.uid() == geteuid().as_raw() && !others_write(it.mode())
        })
    };
    let has_room =
        |folder: &PathBuf| path_in(folder, u32::MAX).as_os_str().len() <= SOCKET_PATH_BYTES_MAX;
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute() && is_ours(path));
    runtime
        .map(|runtime| runtime.join("p2pfs"))
        .filter(has_room)
        .unwrap_or_else(|| PathBuf::from(format!("/tmp/p2pfs-{}", geteuid().as_raw())))
}

fn path_in(folder: &Path, pid: u32) -> PathBuf {
    folder.join(format!("{pid}{SUFFIX}"))
}

fn checked_folder() -> Result<PathBuf, Failure> {
    let folder = folder();
    match is_ours(&folder) || fs::symlink_metadata(&folder).is_err() {
        true => Ok(folder),
        false => {
            let folder = Shown(folder.to_string_lossy());
            let message = format_args!("cannot use the folder {folder}: {NOT_OURS}; remove it, ");
            let message = format_args!("{message}or set XDG_RUNTIME_DIR to another");
            Err(Failure::new(ExitCode::Unreachable, message))
        }
    }
}

const NOT_OURS: &str = "it belongs to another user, or others can write to it";

fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ if is_ours(folder) => Ok(()),
        _ => Err(io::Error::other(NOT_OURS)),
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
