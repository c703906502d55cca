//! Where the programs of a user can be asked how they do: a folder of sockets, each named
//! after its process.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::exit::{ExitCode, Failure};
use crate::limits::CONTROL_TIMEOUT;
use crate::reactor::StatusSocket;
use crate::storage::names_in;
use crate::wire::Shown;

const SUFFIX: &str = ".sock";

/// Returns the socket of this process, on which files can be asked for if it fetches any; `None` if
/// there can be no socket.
pub(super) fn own(takes_wishes: bool) -> Option<StatusSocket> {
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
        StatusSocket::bind(path, takes_wishes)
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

/// Returns the whole answer to a question that is answered at once.
pub(super) fn ask(path: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(CONTROL_TIMEOUT))?;
    stream.set_write_timeout(Some(CONTROL_TIMEOUT))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Reports that a program that was asked did not answer.
pub(super) fn no_answer(path: &Path, error: &io::Error) -> Failure {
    let path = Shown(path.to_string_lossy());
    let why = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it took too long".to_owned(),
        _ => error.to_string(),
    };
    let message = format_args!("no answer at {path}: {why}; does it still run? ");
    let message = format_args!("{message}`p2pfs status` finds those that do");
    Failure::new(ExitCode::Unreachable, message)
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
    let refused = UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if refused {
        let _ = fs::remove_file(path);
    }
    refused
}
