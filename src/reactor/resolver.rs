//! Finds the address of a host by its name, in a process of its own: the system's call for
//! that waits for as long as a name server says nothing.
//!
//! The process is this program again, with [`ARGUMENT`] and the name. It prints one line and
//! ends. The loop reads that from a pipe, and kills the process when its time is over, or when
//! this program ends.

use std::env;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::limits::{
    NAME_ANSWER_BYTES_MAX, NAME_PROCESSES_MAX, NAME_REAP_PAUSE, NAME_SERVER_OPTIONS, NAME_TIMEOUT,
};
use crate::stdio;

/// Before a name on the command line: not for people.
const ARGUMENT: &str = "--find-host";
/// The variable that the system's resolver takes its options from.
const OPTIONS: &str = "RES_OPTIONS";
/// Begins an answer that is no address.
const FAILED: &str = "failed: ";

/// The processes that look for a name: at most one is being listened to.
#[derive(Default)]
pub(super) struct Resolver {
    asked: Option<Asked>,
    /// Killed or done, and not yet waited for.
    ended: Vec<Child>,
    reap_at: Option<Instant>,
    is_ready: bool,
}

struct Asked {
    child: Child,
    answer: Vec<u8>,
    deadline: Instant,
}

impl Resolver {
    /// Begins to look for a name. One that was looked for before is given up.
    ///
    /// # Errors
    /// If no process can be started.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        (registry, token): (&Registry, Token),
        host: &str,
    ) -> io::Result<()> {
        self.give_up(now);
        if self.ended.len() >= NAME_PROCESSES_MAX {
            return Err(io::Error::other("earlier processes for it do not end"));
        }
        let mut command = Command::new("/proc/self/exe");
        command.args([ARGUMENT, host]).stdin(Stdio::null()).stderr(Stdio::null());
        if env::var_os(OPTIONS).is_none() {
            command.env(OPTIONS, NAME_SERVER_OPTIONS);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let registered = register(&mut child, registry, token);
        self.asked = Some(Asked { child, answer: Vec::new(), deadline: now + NAME_TIMEOUT });
        self.is_ready = true;
        registered.inspect_err(|_| self.give_up(now))
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Returns when to call [`Resolver::answer`] though no event came.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let deadline = self.asked.as_ref().map(|asked| asked.deadline);
        [deadline, self.reap_at].into_iter().flatten().min()
    }

    /// Returns the address asked for, or why there is none, once that is known.
    pub(super) fn answer(&mut self, now: Instant) -> Option<Result<Ipv4Addr, String>> {
        if self.reap_at.is_some_and(|at| at <= now) {
            self.reap(now);
        }
        let asked = self.asked.as_mut()?;
        let is_late = now >= asked.deadline;
        let is_whole = std::mem::take(&mut self.is_ready) && asked.read();
        if !is_late && !is_whole {
            return None;
        }
        let answer = match is_whole {
            true => parse(&String::from_utf8_lossy(&asked.answer)),
            false => Err(format!("no answer in {:.1} s", NAME_TIMEOUT.as_secs_f32())),
        };
        self.give_up(now);
        Some(answer)
    }

    /// Listens no more to the process that was asked, if there is one.
    fn give_up(&mut self, now: Instant) {
        if let Some(Asked { mut child, .. }) = self.asked.take() {
            // It may have ended, which is as good.
            let _ = child.kill();
            drop(child.stdout.take());
            self.ended.push(child);
            self.reap(now);
        }
    }

    fn reap(&mut self, now: Instant) {
        self.ended.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        self.reap_at = (!self.ended.is_empty()).then(|| now + NAME_REAP_PAUSE);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.give_up(Instant::now());
    }
}

impl Asked {
    /// Reads what there is. Returns whether that is all there will be.
    fn read(&mut self) -> bool {
        let Some(pipe) = &mut self.child.stdout else { return true };
        let mut piece = [0; NAME_ANSWER_BYTES_MAX];
        while self.answer.len() < NAME_ANSWER_BYTES_MAX {
            match pipe.read(&mut piece) {
                Ok(0) => return true,
                Ok(len) => self.answer.extend(&piece[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        true
    }
}

fn register(child: &mut Child, registry: &Registry, token: Token) -> io::Result<()> {
    let Some(pipe) = &child.stdout else { return Ok(()) };
    fcntl_setfl(pipe, OFlags::NONBLOCK)?;
    registry.register(&mut SourceFd(&pipe.as_raw_fd()), token, Interest::READABLE)
}

fn parse(answer: &str) -> Result<Ipv4Addr, String> {
    let answer = answer.trim_end();
    answer.parse().map_err(|_| match answer.strip_prefix(FAILED) {
        Some(why) => why.to_owned(),
        None => "the process that asks for it ended without an answer".to_owned(),
    })
}

/// Answers another process of this program, if this one is that which it started.
pub fn answer_if_asked() -> bool {
    // The arguments of another command may be no UTF-8.
    let mut arguments = env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != ARGUMENT) {
        return false;
    }
    // Nobody waits for the answer once that process is gone.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let host = arguments.next().unwrap_or_default();
    let answer = match look_up(&host.to_string_lossy()) {
        Ok(address) => format!("{address}\n"),
        Err(why) => format!("{FAILED}{why}\n"),
    };
    let _ = stdio::stdout().data(answer.as_bytes(), None);
    true
}

/// Waits for the system, as long as that takes.
fn look_up(host: &str) -> Result<Ipv4Addr, String> {
    let addresses = (host, 0).to_socket_addrs().map_err(|error| {
        let words = error.to_string();
        // What the standard library says before the words of the system.
        words.trim_start_matches("failed to lookup address information: ").to_owned()
    })?;
    let v4 = |address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    };
    addresses.filter_map(v4).next().ok_or_else(|| "it has no IPv4 address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_address_or_a_reason() {
        assert_eq!(parse("192.0.2.1\n"), Ok(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(parse("failed: nobody knows\n"), Err("nobody knows".to_owned()));
        assert!(parse("").is_err_and(|why| why.contains("without an answer")));
    }

    #[test]
    fn a_name_of_this_machine_has_its_address_and_one_that_is_too_long_none() {
        assert_eq!(look_up("localhost"), Ok(Ipv4Addr::LOCALHOST));
        assert!(look_up(&"n".repeat(64)).is_err());
    }
}
