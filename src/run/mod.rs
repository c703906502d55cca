//! From settings to a running loop: binds, prepares the folder, says that it is
//! ready, and runs.
//!
//! Each command has its room here. The order matters in all of them: nothing is written
//! before the ports are ours.

mod ask;
mod doctor;
mod get;
mod list;
mod network;
mod paths;
mod peer;
mod registry;
mod secret;
mod share;
mod sharing;
mod sockets;
mod status;
mod systemd;
mod text;
mod via;

use std::io::{self, ErrorKind};
use std::net::SocketAddrV4;
use std::path::Path;

use rustix::process::{Resource, getrlimit, setrlimit};

pub use self::doctor::doctor;
pub use self::get::get;
pub use self::list::list;
pub use self::paths::paths;
pub use self::peer::peer;
pub use self::registry::registry;
pub use self::secret::secret;
pub use self::share::share;
pub use self::status::status;
pub use self::text::{completions, man};
use crate::cli::OutputArgs;
use crate::count::Count;
use crate::exit::{ExitCode, Failure};
use crate::limits::{CONNECTIONS_MIN, Limits, SPARE_DESCRIPTORS};
use crate::node::{Input, Node, Outcome, Signal};
use crate::reactor::Reactor;
use crate::stdio;
use crate::ui::{Event, stdout, text};
use crate::wire::Shown;

/// Takes as many descriptors as the system allows, and no more connections than it has
/// descriptors for, with some to spare for files.
fn with_descriptors(limits: Limits) -> Limits {
    let mut descriptors = getrlimit(Resource::Nofile);
    descriptors.current = descriptors.maximum;
    // If that is not granted, what there is has to do.
    let _ = setrlimit(Resource::Nofile, descriptors);
    let granted = getrlimit(Resource::Nofile).current.map_or(usize::MAX, |n| n as usize);
    let room = granted.saturating_sub(SPARE_DESCRIPTORS).max(CONNECTIONS_MIN);
    let connections_max = limits.connections_max.min(room);
    Limits { connections_max, ..limits }
}

/// The line that scripts wait for, and what a service manager waits for.
fn say_listening(address: SocketAddrV4, output: &OutputArgs) {
    stdout::print(&match output.json {
        true => Event::Listening { address: text(address) }.line(),
        false => format!("listening {address}\n"),
    });
    systemd::ready();
}

fn begin_metrics<N: Node>(reactor: &mut Reactor<N>, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    reactor.write_metrics(path.to_owned()).map_err(|error| {
        let path = Shown(path.to_string_lossy());
        let message = format_args!("cannot write the metrics to {path}: {error}; ");
        Failure::new(ExitCode::WriteFailed, format_args!("{message}choose another --metrics"))
    })
}

fn serve<'a, N: Node>(
    reactor: &mut Reactor<N>,
    begin: impl IntoIterator<Item = Input<'a>>,
) -> Result<Outcome, Failure> {
    let outcome = reactor.run(begin);
    systemd::stopping();
    outcome.map_err(loop_failed)
}

/// Returns what an outcome means for the caller: a signal is no failure, but has its code.
fn result_of(outcome: Outcome, id: Option<u32>) -> Result<ExitCode, Failure> {
    match outcome {
        Outcome::AllDone => Ok(ExitCode::Done),
        Outcome::Stopped(Signal::Interrupt) => Ok(ExitCode::Interrupted),
        Outcome::Stopped(Signal::HangUp) => Ok(ExitCode::HungUp),
        Outcome::Stopped(Signal::Terminate) => Ok(ExitCode::Terminated),
        Outcome::SomeFailed { failed, done, error, is_told } => {
            let code = match error {
                _ if done > 0 => ExitCode::SomeDone,
                error => ExitCode::from(error),
            };
            let what =
                format_args!("{failed} of {} could not be fetched", Count(failed + done, "file"));
            // One reason is said again: scripts read the last line alone.
            Err(match is_told && failed > 1 {
                true => Failure::new(code, format_args!("{what}")),
                false => Failure::new(code, format_args!("{what}: {error}")),
            })
        }
        Outcome::MaybeMore { done, doubt } => {
            let code = if done > 0 { ExitCode::SomeDone } else { ExitCode::NotOffered };
            Err(Failure::new(code, format_args!("there may be more that matches: {doubt}")))
        }
        Outcome::NoSuchHost { host, why } => {
            let message = format_args!("cannot find the registry's host {host}: {}; ", Shown(why));
            let message = format_args!("{message}give its IPv4 address with --registry");
            Err(Failure::new(ExitCode::Unreachable, message))
        }
        Outcome::Refused(text) => Err(Failure::new(
            ExitCode::Refused,
            format_args!(
                "the registry refused peer {}: {}; choose another --id or --port",
                id.unwrap_or_default(),
                Shown(text)
            ),
        )),
    }
}

/// Writes the data that a command is for to stdout.
fn print(data: &[u8]) -> Result<(), Failure> {
    stdio::stdout().data(data, None).map_err(|error| not_printed(&error))
}

fn not_printed(error: &io::Error) -> Failure {
    let message = format_args!("cannot write to stdout: {error}");
    Failure::new(ExitCode::WriteFailed, message)
}

fn cannot_bind(address: SocketAddrV4, error: &io::Error, hint: &str) -> Failure {
    let (ip, port) = (address.ip(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => {
            let message = format_args!("port {port} on {ip} is in use; {hint}");
            Failure::new(ExitCode::AddressInUse, message)
        }
        ErrorKind::AddrNotAvailable => {
            let message =
                format_args!("{ip} is not an address of this machine; choose one that is");
            Failure::new(ExitCode::Usage, message)
        }
        _ => {
            let message = format_args!("cannot listen on {address}: {error}; choose another port");
            Failure::new(ExitCode::Other, message)
        }
    }
}

fn cannot_read_folder(path: &Path, error: &io::Error) -> Failure {
    let path = Shown(path.to_string_lossy());
    let message = format_args!("cannot read the folder {path}: {error}; choose another one");
    Failure::new(ExitCode::Other, message)
}

fn loop_failed(error: io::Error) -> Failure {
    Failure::new(ExitCode::Other, format_args!("the event loop failed: {error}"))
}
