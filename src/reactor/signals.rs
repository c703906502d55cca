//! SIGINT, SIGTERM and SIGHUP, as events of the poll.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Interest, Registry, Token};
use nix::sys::signal::{SigSet, SigmaskHow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::exit::ExitCode;
use crate::node::Signal;

/// The signals that end the program. The first one does so in order; should the
/// loop hang in a call, the second one ends it at once.
pub struct Signals {
    signals: signal_hook_mio::v1_0::Signals,
    /// Whether the next signal ends the program at once.
    at_once: Arc<AtomicBool>,
    /// Whether one may have come.
    is_ready: bool,
}

impl Signals {
    /// Takes them over from now on: none is lost between here and the loop.
    ///
    /// # Errors
    /// If the system gives no descriptors for it.
    pub fn new() -> io::Result<Self> {
        let mut ends = vec![(SIGTERM, ExitCode::Terminated)];
        let ignored = ignored();
        // A shell has a program ignore it that it runs in the background.
        if !contains(ignored.unwrap_or_default(), SIGINT) {
            ends.push((SIGINT, ExitCode::Interrupted));
        }
        // So does nohup(1). If the system does not say, the program may be meant to stay.
        if ignored.is_some_and(|ignored| !contains(ignored, SIGHUP)) {
            ends.push((SIGHUP, ExitCode::HungUp));
        }
        let caught = ends.iter().map(|(signal, _)| signal);
        // While a handler is made, a signal would find none and be lost. Those that come now
        // wait until all are made.
        let held = ends.iter().map(|(signal, _)| *signal).filter_map(|n| n.try_into().ok());
        let before = held.collect::<SigSet>().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        let signals = signal_hook_mio::v1_0::Signals::new(caught)?;
        let at_once = Arc::new(AtomicBool::new(false));
        for (signal, code) in ends {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, code as i32, Arc::clone(&at_once))?;
            flag::register(signal, Arc::clone(&at_once))?;
        }
        // A limit on the size of files is an error of one write, not the end of the program.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        before.thread_set_mask()?;
        Ok(Self { signals, at_once, is_ready: false })
    }

    /// Whether the next signal ends the program at once: while no loop runs to see it.
    pub fn set_at_once(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::SeqCst);
    }

    pub(super) fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Returns a signal that came after the last turn of the loop.
    pub(super) fn late(&mut self) -> Option<Signal> {
        self.is_ready = true;
        self.next()
    }

    /// Returns the next signal that came.
    pub(super) fn next(&mut self) -> Option<Signal> {
        let next = if self.is_ready { self.signals.pending().next() } else { None };
        self.is_ready = next.is_some();
        next.map(|signal| match signal {
            SIGINT => Signal::Interrupt,
            SIGHUP => Signal::HangUp,
            _ => Signal::Terminate,
        })
    }
}

/// Returns the set of signals that are ignored, which a program inherits from the one that
/// started it; `None` if the system does not say.
fn ignored() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn contains(set: u64, signal: i32) -> bool {
    set & (1 << (signal - 1)) != 0
}

/// Nobody sees a signal any more.
impl Drop for Signals {
    fn drop(&mut self) {
        self.set_at_once(true);
    }
}

impl mio::event::Source for Signals {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.signals.register(r, token, interest)
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.signals.reregister(r, token, interest)
    }

    fn deregister(&mut self, r: &Registry) -> io::Result<()> {
        self.signals.deregister(r)
    }
}
