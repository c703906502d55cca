//! `p2pfs paths`.

use std::env;
use std::path::PathBuf;

use super::{print, sockets};
use crate::cli::OutputArgs;
use crate::exit::{ExitCode, Failure};
use crate::limits::{BEACON_PORT, OFFER_PORT, REGISTRY_PORT, SESSION_PORT};
use crate::storage::{cache_folder, secret_place};
use crate::ui::{Event, text};
use crate::wire::Shown;

/// Prints every file, folder and port that the program may use.
pub fn paths(output: &OutputArgs) -> Result<ExitCode, Failure> {
    let mut places = Vec::new();
    if let Some(cache) = cache_folder() {
        let cache = cache.join(env!("CARGO_PKG_NAME"));
        places.push(("folder", shown(cache), "digests of shared files, kept between runs"));
    }
    if let Some(secret) = secret_place() {
        places.push(("file", shown(secret), "the secret of a group: --secret-file"));
    }
    places.push(("folder", shown(sockets::folder()), "sockets of running programs, for status"));
    places.push(("folder", shown(temporary()), "a file that `get -o -` fetches by version 0"));
    let partial = "`get -o DIR`, in DIR: files that are not whole yet";
    places.push(("file", ".p2pfs-*".to_owned(), partial));
    let ports = [
        ("UDP", OFFER_PORT, "offers of version 0, in and out: --broadcast"),
        ("UDP", BEACON_PORT, "beacons of version 1, in and out: --beacon-port"),
        ("TCP", SESSION_PORT, "share, if it is free: --port"),
        ("TCP", REGISTRY_PORT, "the registry: --listen"),
    ];
    places.extend(ports.map(|(kind, port, what)| ("port", format!("{kind} {port}"), what)));
    let line = |(kind, place, what): (&str, String, &str)| match output.json {
        true => Event::Place { kind: text(kind), place: text(place), meaning: text(what) }.line(),
        false => format!("{kind:<6}  {place:<32}  {what}\n"),
    };
    print(places.into_iter().map(line).collect::<String>().as_bytes())?;
    Ok(ExitCode::Done)
}

fn shown(path: PathBuf) -> String {
    Shown(path.to_string_lossy()).to_string()
}

/// Returns the folder for files without a name.
pub(super) fn temporary() -> PathBuf {
    let path = env::var_os("TMPDIR").filter(|path| !path.is_empty());
    path.map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}
