use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{Launch, Process, await_some};

/// Makes a terminal; returns the side of the person and that of the program.
pub fn terminal(rows: u16, columns: u16) -> (File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = rustix::fs::openat(CWD, name, flags, Mode::empty()).unwrap();
    (ours.into(), theirs)
}

/// A program at a terminal that somebody reads.
pub struct AtTerminal {
    pub process: Process,
    /// The picture, and every byte that made it.
    seen: Arc<Mutex<(vt100::Parser, Vec<u8>)>>,
    reader: JoinHandle<()>,
}

impl AtTerminal {
    /// Starts a program whose stderr is a terminal of this size.
    pub fn at_stderr(rows: u16, columns: u16, launch: Launch) -> Self {
        let (ours, theirs) = terminal(rows, columns);
        Self::new(rows, columns, ours, launch.env("NO_COLOR", "1").stderr(theirs))
    }

    /// Starts a program whose stdout and stderr are one terminal of this size.
    pub fn start(rows: u16, columns: u16, launch: Launch) -> Self {
        let (ours, theirs) = terminal(rows, columns);
        let launch = launch.env("NO_COLOR", "1").stdout(theirs.try_clone().unwrap());
        Self::new(rows, columns, ours, launch.stderr(theirs))
    }

    fn new(rows: u16, columns: u16, mut ours: File, launch: Launch) -> Self {
        let process = launch.start();
        let [rows, columns] = [rows, columns].map(|n| NonZero::new(n).unwrap());
        let parser = vt100::Parser::new(rows, columns, 1000);
        let seen = Arc::new(Mutex::new((parser, Vec::new())));
        let reader = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut bytes = [0; 4096];
                // An error is the end: the program has closed its side.
                while let Ok(len @ 1..) = ours.read(&mut bytes) {
                    let mut seen = seen.lock().unwrap();
                    seen.0.process(&bytes[..len]);
                    seen.1.extend_from_slice(&bytes[..len]);
                }
            }
        });
        Self { process, seen, reader }
    }

    /// Returns the lines that are not empty.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.seen)
    }

    /// Returns how often it was drawn anew.
    pub fn redrawn(&self) -> usize {
        String::from_utf8_lossy(&self.seen.lock().unwrap().1).matches("\x1b[J").count()
    }

    /// Returns how many lines have left the screen at its top.
    pub fn scrolled(&self) -> usize {
        self.seen.lock().unwrap().0.screen().scrollback_len()
    }

    /// Waits for a line.
    #[track_caller]
    pub fn await_line(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        await_some(what, || self.lines().into_iter().find(|line| is_it(line)))
    }

    /// Waits for its end with this code; returns what stands on the terminal, and what steered it.
    #[track_caller]
    pub fn await_end(self, code: i32) -> (Vec<String>, String) {
        assert_eq!(self.process.await_exit_code(), code, "{:#?}", self.lines());
        let seen = Arc::clone(&self.seen);
        self.reader.join().unwrap();
        let bytes = seen.lock().unwrap().1.clone();
        (lines(&seen), String::from_utf8(bytes).unwrap())
    }
}

fn lines(seen: &Mutex<(vt100::Parser, Vec<u8>)>) -> Vec<String> {
    let seen = seen.lock().unwrap();
    let screen = seen.0.screen();
    let rows = screen.rows(0, screen.size().1.into()).map(|row| row.trim_end().to_owned());
    rows.filter(|row| !row.is_empty()).collect()
}
