//! The picture on a terminal, which is drawn below the lines of the log: what is drawn is
//! written at once, or not at all while the terminal takes nothing.

use std::sync::{Mutex, MutexGuard};

use console::Term;

use crate::stdio::{self, Outlet};

/// The picture of this process, if there is one.
static PICTURE: Mutex<Option<Picture>> = Mutex::new(None);

/// Where a picture is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Screen {
    Stdout,
    Stderr,
}

#[derive(Debug)]
struct Picture {
    screen: Screen,
    text: String,
    /// Lines of a picture that stand above the cursor.
    drawn: usize,
}

/// Returns whether that is a terminal, on which pictures are drawn from now on.
pub(crate) fn open(screen: Screen) -> bool {
    screen.outlet().is_terminal()
        && PICTURE.lock().is_ok_and(|mut picture| {
            *picture = Some(Picture { screen, text: String::new(), drawn: 0 });
            true
        })
}

/// Draws lines in the place of those before: no more, and no wider, than the terminal has
/// room for above and left of the cursor.
pub(crate) fn draw(text: String) {
    with_picture(|picture| {
        picture.replace(&text);
        picture.text = text;
    });
}

/// Writes something else, above the picture.
pub(crate) fn write_above(write: impl FnOnce()) {
    with_picture(|picture| picture.replace(""));
    write();
    with_picture(|picture| picture.replace(&picture.text.clone()));
}

fn with_picture(change: impl FnOnce(&mut Picture)) {
    if let Ok(mut picture) = PICTURE.lock() {
        picture.as_mut().map(change);
    }
}

impl Screen {
    /// Returns its height and width now, or usual ones if it does not say.
    pub(crate) fn size(self) -> (u16, u16) {
        match self {
            Self::Stdout => Term::stdout().size(),
            Self::Stderr => Term::stderr().size(),
        }
    }

    fn outlet(self) -> MutexGuard<'static, Outlet<'static>> {
        match self {
            Self::Stdout => stdio::stdout(),
            Self::Stderr => stdio::stderr(),
        }
    }
}

impl Picture {
    fn replace(&mut self, lines: &str) {
        replace(&mut self.screen.outlet(), &mut self.drawn, lines);
    }
}

/// Erases the lines that stand there and writes these, all at once.
fn replace(outlet: &mut Outlet<'_>, drawn: &mut usize, lines: &str) {
    let text = match *drawn {
        0 => lines.to_owned(),
        // Up, and clear to the end of the screen, as ECMA-48 has it.
        drawn => format!("\x1b[{drawn}A\r\x1b[J{lines}"),
    };
    // A terminal that takes nothing shows an old picture.
    if outlet.draw(&text) {
        *drawn = lines.matches('\n').count();
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;
    use std::os::fd::AsFd;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    #[test]
    fn a_picture_takes_the_place_of_the_last_one_that_the_terminal_took() {
        let (input, output) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        let (mut outlet, mut drawn) = (Outlet::new(output.as_fd()), 0);
        let mut draw = |lines: &str| replace(&mut outlet, &mut drawn, lines);
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
        draw("first\nof two\n");
        assert_eq!(show(&take()), "log\nfirst\nof two");
        draw("second\n");
        assert_eq!(show(&take()), "log\nsecond");

        while rustix::io::write(&output, &[b'x'; 4096]).is_ok() {}
        draw("of\nthree\nlines\n");
        assert!(!take().contains("three"));

        draw("third\n");
        assert_eq!(show(&take()), "log\nthird");
        draw("");
        assert_eq!(show(&take()), "log");
    }
}
