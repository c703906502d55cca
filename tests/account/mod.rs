//! The account: what tests tried, how often, what was lost by it and who got in.
//!
//! A test that has a place in the table keeps a [`Row`]. Whoever looks for harm says how
//! much there was to look at and how much harm was found, with [`lost`] and [`got_in`].
//! When its test ends, well or not, a row is printed:
//!
//! ```text
//! account: ROWS OF FAULTS.md | WHAT WAS TRIED | TIMES | LOST of ALL | GOT IN of ALL | NOTES
//! ```
//!
//! `tests/account/run` runs the tests and makes a table of these lines; rows that agree in
//! the first two columns are one row there. How much is tried is set by the environment.

use std::cell::Cell;
use std::env;
use std::fmt::{self, Display};
use std::io::{Write, stderr};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, LocalKey};

/// So many of the things that were looked at were not as they should be.
#[derive(Clone, Copy, Default)]
struct Looks {
    found: usize,
    all: usize,
}

thread_local! {
    /// What this thread has found, and no row has taken yet.
    static LOST: Cell<Looks> = const { Cell::new(Looks { found: 0, all: 0 }) };
    static GOT_IN: Cell<Looks> = const { Cell::new(Looks { found: 0, all: 0 }) };
}

/// Of so many files and other things that had to be there and right, some were not.
pub(crate) fn lost(found: usize, all: usize) {
    add(&LOST, Looks { found, all });
}

/// Of so many names, files, bytes and messages, some were where none of their kind may be.
pub(crate) fn got_in(found: usize, all: usize) {
    add(&GOT_IN, Looks { found, all });
}

fn add(to: &'static LocalKey<Cell<Looks>>, looks: Looks) {
    to.set(to.get() + looks);
}

impl std::ops::Add for Looks {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { found: self.found + other.found, all: self.all + other.all }
    }
}

impl Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all {
            0 => f.write_str("-"),
            all => write!(f, "{} of {all}", self.found),
        }
    }
}

/// A row of the table. The threads of a test share it.
pub(crate) struct Row {
    rows: &'static str,
    what: &'static str,
    entry: Mutex<Entry>,
}

#[derive(Default)]
struct Entry {
    times: usize,
    lost: Looks,
    got_in: Looks,
    notes: Vec<String>,
}

impl Row {
    /// A row about faults of FAULTS.md, named by their numbers there.
    pub(crate) fn new(rows: &'static str, what: &'static str) -> Self {
        Self { rows, what, entry: Mutex::default() }
    }

    /// It was tried so many times more.
    pub(crate) fn tried(&self, times: usize) {
        self.entry().times += times;
    }

    /// Something that was measured by the way.
    pub(crate) fn note(&self, note: impl Display) {
        self.entry().notes.push(note.to_string());
    }

    /// Takes what was found on this thread. What the test's own thread found is taken at
    /// the end.
    pub(crate) fn gather(&self) {
        let mut entry = self.entry();
        entry.lost = entry.lost + LOST.take();
        entry.got_in = entry.got_in + GOT_IN.take();
    }

    fn entry(&self) -> MutexGuard<'_, Entry> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.gather();
        if thread::panicking() {
            self.note("FAILED");
        }
        let Self { rows, what, .. } = &*self;
        let Entry { times, lost, got_in, notes } = &*self.entry();
        let notes = notes.join("; ");
        tell(format_args!("account: {rows} | {what} | {times} | {lost} | {got_in} | {notes}"));
    }
}

/// The quantity that the environment sets, or what is usual without.
pub(crate) fn quantity<N: FromStr>(variable: &str, usual: N) -> N {
    setting(variable).unwrap_or(usual)
}

/// A number that the environment sets.
pub(crate) fn setting<N: FromStr>(variable: &str) -> Option<N> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Whether something can be tried here. If not that is said aloud, and with `P2PFS_CI` set
/// it is a failure.
pub(crate) fn is_possible(what: &str, missing: Result<(), impl Display>) -> bool {
    let Err(missing) = missing else { return true };
    assert!(env::var_os("P2PFS_CI").is_none(), "{what} cannot be tried here: {missing}");
    tell(format_args!("SKIPPED: {what} cannot be tried here: {missing}"));
    false
}

/// Writes a line that the test runner does not hold back.
fn tell(line: impl Display) {
    // In one piece, so that lines of tests in parallel do not mix.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}
