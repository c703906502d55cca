//! The terminal on stderr, as the progress library wants it: what is drawn at once is
//! written at once, or not at all while the terminal takes nothing.

use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use indicatif::TermLike;
use rustix::fs::{Mode, OFlags};
use rustix::termios::tcgetwinsize;

/// Width and height of a terminal that does not say.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The terminal on stderr.
#[derive(Debug)]
pub(super) struct Terminal {
    /// Opened anew: only so is it ours alone not to be waited for.
    output: OwnedFd,
    /// What is to be drawn next.
    drawing: Mutex<String>,
}

impl Terminal {
    /// Opens it.
    ///
    /// # Errors
    /// If stderr is no terminal, or may not be opened.
    pub(super) fn open() -> io::Result<Self> {
        if !rustix::termios::isatty(io::stderr()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let output = rustix::fs::open("/proc/self/fd/2", flags, Mode::empty())?;
        Ok(Self { output, drawing: Mutex::default() })
    }

    fn draw(&self, text: impl std::fmt::Display) -> io::Result<()> {
        if let Ok(mut drawing) = self.drawing.lock() {
            // Writing to a string cannot fail.
            let _ = write!(drawing, "{text}");
        }
        Ok(())
    }

    /// Moves the cursor, by its last letter in ECMA-48.
    fn move_cursor(&self, count: usize, letter: char) -> io::Result<()> {
        if count > 0 { self.draw(format_args!("\x1b[{count}{letter}")) } else { Ok(()) }
    }
}

/// Its width and height now.
pub(super) fn size() -> (u16, u16) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL_SIZE,
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.draw(format_args!("{line}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        if let Ok(mut drawing) = self.drawing.lock() {
            // A terminal that takes nothing, or not all, shows an old picture, or half of one.
            let _ = rustix::io::write(&self.output, drawing.as_bytes());
            drawing.clear();
        }
        Ok(())
    }
}
