//! SIGINT and SIGTERM, as events of the poll.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::exit::ExitCode;
use crate::node::Signal;

const CODES: [(i32, ExitCode); 2] =
    [(SIGINT, ExitCode::Interrupted), (SIGTERM, ExitCode::Terminated)];

/// The signals that end the program. The first one does so in order; should the
/// loop hang in a call, the second one ends it at once.
pub struct Signals(signal_hook_mio::v1_0::Signals);

impl Signals {
    /// Takes them over from now on: none is lost between here and the loop.
    ///
    /// # Errors
    /// If the system gives no descriptors for it.
    pub fn new() -> io::Result<Self> {
        // Before the flag: a signal in between would count as the first, and be lost.
        let signals = signal_hook_mio::v1_0::Signals::new([SIGINT, SIGTERM])?;
        let is_second = Arc::new(AtomicBool::new(false));
        for (signal, code) in CODES {
            // In this order: the first signal finds the flag unset, and sets it.
            flag::register_conditional_shutdown(signal, code as i32, Arc::clone(&is_second))?;
            flag::register(signal, Arc::clone(&is_second))?;
        }
        // A limit on the size of files is an error of one write, not the end of the program.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self(signals))
    }

    /// Has the first one end the program at once, with its exit code: for programs that
    /// have nothing to put in order.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn end_at_once() -> io::Result<()> {
        let always = Arc::new(AtomicBool::new(true));
        for (signal, code) in CODES {
            flag::register_conditional_shutdown(signal, code as i32, Arc::clone(&always))?;
        }
        Ok(())
    }

    /// The next signal that came.
    pub(super) fn next(&mut self) -> Option<Signal> {
        self.0.pending().next().map(|signal| match signal {
            SIGINT => Signal::Interrupt,
            _ => Signal::Terminate,
        })
    }
}

impl mio::event::Source for Signals {
    fn register(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.register(r, token, interest)
    }

    fn reregister(&mut self, r: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.0.reregister(r, token, interest)
    }

    fn deregister(&mut self, r: &Registry) -> io::Result<()> {
        self.0.deregister(r)
    }
}
