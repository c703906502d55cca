//! The terminal on stderr, and the picture that is drawn there below the lines of the log:
//! what is drawn at once is written at once, or not at all while the terminal takes nothing.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use console::Term;
use rustix::fs::{Mode, OFlags};

/// stderr is one for the whole process, and so is the picture on it, if there is to be one.
static PICTURE: Mutex<Option<Picture>> = Mutex::new(None);

#[derive(Debug)]
struct Picture {
    terminal: Terminal,
    text: String,
}

#[derive(Debug)]
struct Terminal {
    /// Opened anew: only so is it ours alone not to be waited for.
    output: OwnedFd,
    /// Lines of a picture that stand above the cursor.
    drawn: usize,
}

/// Returns whether stderr is a terminal, on which pictures are drawn from now on.
pub(crate) fn open() -> bool {
    if !Term::stderr().is_term() {
        return false;
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(output) = rustix::fs::open("/proc/self/fd/2", flags, Mode::empty()) else {
        return false;
    };
    let terminal = Terminal { output, drawn: 0 };
    PICTURE.lock().is_ok_and(|mut picture| {
        *picture = Some(Picture { terminal, text: String::new() });
        true
    })
}

/// Its height and width now, or usual ones if it does not say.
pub(crate) fn size() -> (u16, u16) {
    Term::stderr().size()
}

/// Draws lines in the place of those before: no more, and no wider, than the terminal has
/// room for above and left of the cursor.
pub(crate) fn draw(text: String) {
    with_picture(|picture| {
        picture.terminal.replace(&text);
        picture.text = text;
    });
}

/// Writes something else, above the picture.
pub(crate) fn write_above(write: impl FnOnce()) {
    with_picture(|picture| picture.terminal.replace(""));
    write();
    with_picture(|picture| picture.terminal.replace(&picture.text));
}

fn with_picture(change: impl FnOnce(&mut Picture)) {
    if let Ok(mut picture) = PICTURE.lock() {
        picture.as_mut().map(change);
    }
}

impl Terminal {
    /// Erases the lines that stand there and writes these, all at once.
    fn replace(&mut self, lines: &str) {
        let text = match self.drawn {
            0 => lines.to_owned(),
            // Up, and clear to the end of the screen, as ECMA-48 has it.
            drawn => format!("\x1b[{drawn}A\r\x1b[J{lines}"),
        };
        // A terminal that takes nothing, or not all, shows an old picture, or half of one.
        if let Ok(written_bytes @ 1..) = rustix::io::write(&self.output, text.as_bytes()) {
            let written = &text.as_bytes()[..written_bytes];
            self.drawn = written.iter().filter(|byte| **byte == b'\n').count();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn a_picture_takes_the_place_of_the_last_one_that_the_terminal_took() {
        let (input, output) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let mut terminal = Terminal { output, drawn: 0 };
        let [rows, columns] = [10, 20].map(|n| NonZero::new(n).unwrap());
        let mut screen = vt100::Parser::new(rows, columns, 0);
        let take = || {
            let mut bytes = vec![0; 1 << 20];
            let len = rustix::io::read(&input, &mut bytes).unwrap_or(0);
            String::from_utf8_lossy(&bytes[..len]).replace('\n', "\r\n")
        };
        let mut show = |text: &str| {
            screen.process(text.as_bytes());
            screen.screen().contents()
        };
        assert_eq!(show("log\r\n"), "log");
        terminal.replace("first\nof two\n");
        assert_eq!(show(&take()), "log\nfirst\nof two");
        terminal.replace("second\n");
        assert_eq!(show(&take()), "log\nsecond");

        while rustix::io::write(&terminal.output, &[b'x'; 4096]).is_ok() {}
        terminal.replace("of\nthree\nlines\n");
        assert!(!take().contains("three"));

        terminal.replace("third\n");
        assert_eq!(show(&take()), "log\nthird");
        terminal.replace("");
        assert_eq!(show(&take()), "log");
    }
}
