//! stdout and stderr, and the one place that writes to them: no write there ever blocks.
//!
//! | what stands there | how it is written to |
//! |---|---|
//! | a terminal or a pipe | opened again without blocking: the descriptor that we were given is shared with others, and stays as it is |
//! | one that cannot be opened again | `RWF_NOWAIT`; where the kernel lacks that, one byte each time that it is ready |
//! | a socket | `MSG_DONTWAIT` |
//! | a file, a device | as it is: a file that is opened again would be overwritten from its start |
//!
//! A *line* is for people, or an event: it is written at once, or dropped and counted. If only
//! its beginning is taken, the rest goes out before anything else does. *Data* is what a
//! command is for, and its last event: it waits, and a signal ends the program meanwhile.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, makedev};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};
use rustix::net::SendFlags;
use rustix::termios::isatty;

/// The number of /dev/ptmx, which is another terminal each time that it is opened.
const TERMINAL_MASTERS: (u32, u32) = (5, 2);

static STDOUT: LazyLock<Mutex<Outlet<'static>>> =
    LazyLock::new(|| Mutex::new(Outlet::new(rustix::stdio::stdout())));
static STDERR: LazyLock<Mutex<Outlet<'static>>> =
    LazyLock::new(|| Mutex::new(Outlet::new(rustix::stdio::stderr())));

/// Whether a line waits for room, on either of them.
static AWAITS_ROOM: AtomicBool = AtomicBool::new(false);

/// One of the two.
#[derive(Debug)]
pub struct Outlet<'a> {
    given: BorrowedFd<'a>,
    way: Way,
    /// The rest of a line whose beginning was taken.
    rest: Vec<u8>,
    /// Lines that were dropped and not told of yet.
    dropped: u64,
}

#[derive(Debug)]
enum Way {
    Reopened(OwnedFd),
    Socket,
    Piecewise,
    AsItIs,
}

pub fn stdout() -> MutexGuard<'static, Outlet<'static>> {
    STDOUT.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn stderr() -> MutexGuard<'static, Outlet<'static>> {
    STDERR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a line has met an outlet that takes nothing, since this was last asked:
/// [`Outlet::catch_up`] tries again.
pub fn awaits_room() -> bool {
    AWAITS_ROOM.swap(false, Ordering::Relaxed)
}

impl<'a> Outlet<'a> {
    pub(crate) fn new(given: BorrowedFd<'a>) -> Self {
        Self { given, way: Way::to(given), rest: Vec::new(), dropped: 0 }
    }

    pub fn is_terminal(&self) -> bool {
        isatty(self.given)
    }

    /// Writes a line, which ends with its `\n`, or drops it. How many were dropped before is
    /// told first, in the words of `told`.
    pub fn line(&mut self, line: &str, told: impl FnOnce(u64) -> String) {
        self.catch_up(told);
        if self.dropped > 0 || !self.draw(line) {
            self.dropped += 1;
        }
    }

    /// Writes a line now or once there is room: of what the user runs the program for there is
    /// little.
    pub fn keep(&mut self, line: &str) {
        self.rest.extend_from_slice(line.as_bytes());
        self.flush();
    }

    /// Writes what is left of the last line, and how many were dropped after it, as far as there
    /// is room.
    pub fn catch_up(&mut self, told: impl FnOnce(u64) -> String) {
        if self.dropped > 0 {
            if self.draw(&told(self.dropped)) {
                self.dropped = 0;
            }
        } else {
            self.flush();
        }
    }

    /// Writes a text, or nothing of it. Returns whether it did; nobody counts this one.
    pub fn draw(&mut self, text: &str) -> bool {
        if !self.flush() {
            return false;
        }
        let bytes = text.as_bytes();
        let written = self.write(bytes).unwrap_or(0);
        if written > 0 {
            self.rest.extend_from_slice(&bytes[written..]);
        }
        written > 0 || bytes.is_empty()
    }

    /// Writes the last line of the program, which waits for room as [`Outlet::data`] does, and
    /// first what [`Outlet::catch_up`] does.
    pub fn last_line(
        &mut self,
        line: &str,
        told: impl FnOnce(u64) -> String,
        until: Option<Instant>,
    ) {
        let mut text = if self.dropped > 0 { told(self.dropped) } else { String::new() };
        text += line;
        // Nobody is left to be told that this failed.
        let _ = self.data(text.as_bytes(), until);
    }

    /// Writes all of it, however long that takes; until then at most, if there is such a time.
    ///
    /// # Errors
    /// If it takes no more; [`io::ErrorKind::TimedOut`] if the time is over.
    pub fn data(&mut self, bytes: &[u8], until: Option<Instant>) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        for mut left in [&rest[..], bytes] {
            while !left.is_empty() {
                match self.write(left)? {
                    0 => self.await_room(until)?,
                    written => left = &left[written..],
                }
            }
        }
        Ok(())
    }

    /// Returns whether nothing is left of the last line.
    fn flush(&mut self) -> bool {
        if !self.rest.is_empty() {
            let written = self.write(&self.rest).unwrap_or(0);
            self.rest.drain(..written);
        }
        self.rest.is_empty()
    }

    /// Returns how much is taken at once.
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut written = 0;
        while written < bytes.len() {
            match retry_on_intr(|| self.write_once(&bytes[written..])) {
                Ok(len) => written += len,
                Err(Errno::AGAIN) => {
                    AWAITS_ROOM.store(true, Ordering::Relaxed);
                    break;
                }
                Err(errno) if written == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(written)
    }

    fn write_once(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match &self.way {
            Way::Reopened(own) => rustix::io::write(own, bytes),
            Way::Socket => {
                rustix::net::send(self.given, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
            }
            Way::AsItIs => rustix::io::write(self.given, bytes),
            Way::Piecewise => {
                // At its own offset, as write(2) has it.
                let offset = u64::MAX;
                let nowait = ReadWriteFlags::NOWAIT;
                match rustix::io::pwritev2(self.given, &[IoSlice::new(bytes)], offset, nowait) {
                    Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.write_byte(bytes),
                    written => written,
                }
            }
        }
    }

    /// A terminal that is ready takes one byte, and promises no more.
    fn write_byte(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut polled = [PollFd::new(&self.given, PollFlags::OUT)];
        match poll(&mut polled, Some(&Timespec::default()))? {
            0 => Err(Errno::AGAIN),
            _ => rustix::io::write(self.given, &bytes[..1]),
        }
    }

    fn await_room(&self, until: Option<Instant>) -> io::Result<()> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let written_to = match &self.way {
            Way::Reopened(own) => own.as_fd(),
            _ => self.given,
        };
        match poll(&mut [PollFd::new(&written_to, PollFlags::OUT)], timeout.as_ref()) {
            Err(errno) if errno != Errno::INTR => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

impl Way {
    fn to(given: BorrowedFd<'_>) -> Self {
        let Ok(stat) = fstat(given) else { return Self::AsItIs };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => return Self::Socket,
            FileType::Fifo => {}
            FileType::CharacterDevice if isatty(given) => {
                if stat.st_rdev == makedev(TERMINAL_MASTERS.0, TERMINAL_MASTERS.1) {
                    return Self::Piecewise;
                }
            }
            _ => return Self::AsItIs,
        }
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&given));
        rustix::fs::open(path, flags, Mode::empty()).map_or(Self::Piecewise, Self::Reopened)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    fn told(lines: u64) -> String {
        format!("{lines} dropped\n")
    }

    /// Reads what is there; the descriptor does not block.
    fn taken(input: impl AsFd) -> String {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(len @ 1..) = rustix::io::read(&input, &mut buffer) {
            text.extend_from_slice(&buffer[..len]);
        }
        String::from_utf8(text).unwrap()
    }

    /// An outlet that takes little, and where that comes out. None of them is set to not block.
    fn outlets() -> Vec<(OwnedFd, OwnedFd)> {
        let small_pipe = || {
            let (input, output) = pipe_with(PipeFlags::empty()).unwrap();
            fcntl_setpipe_size(&output, 4096).unwrap();
            rustix::io::ioctl_fionbio(&input, true).unwrap();
            (input, output)
        };
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&near, 4096).unwrap();
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = rustix::fs::open(path, flags, Mode::empty()).unwrap();
        vec![small_pipe(), (far.into(), near.into()), (master, terminal)]
    }

    #[test]
    fn nothing_waits_and_what_is_dropped_is_counted_once_there_is_room() {
        for (n, (input, output)) in outlets().into_iter().enumerate() {
            for piecewise in [false, true] {
                let mut outlet = Outlet::new(output.as_fd());
                if piecewise && n != 1 {
                    outlet.way = Way::Piecewise;
                }
                let line = format!("{}\n", "x".repeat(99));
                let mut printed = 0_u64;
                // A terminal holds more than its buffer: its line discipline has one, too.
                while outlet.dropped < 10 {
                    outlet.line(&line, told);
                    printed += 1;
                    assert!(printed < 10_000, "it takes no end");
                }
                let mut text = String::new();
                for _ in 0..20 {
                    text += &taken(&input);
                    outlet.catch_up(told);
                }
                let mut accounted = 0;
                for whole in text.replace('\r', "").lines() {
                    accounted += match whole.strip_suffix(" dropped") {
                        Some(count) => count.parse::<u64>().unwrap(),
                        None if *whole == line[..99] => 1,
                        None => panic!("a line is cut: {whole}"),
                    };
                }
                assert_eq!(accounted, printed, "{n} {piecewise}");
                assert!(text.ends_with("dropped\n") || text.ends_with("dropped\r\n"));
                assert_eq!((outlet.dropped, outlet.rest.len()), (0, 0));
            }
        }
    }

    #[test]
    fn a_descriptor_that_is_shared_with_others_blocks_as_before() {
        for (_input, output) in outlets() {
            let _outlet = Outlet::new(output.as_fd());
            let flags = rustix::fs::fcntl_getfl(&output).unwrap();
            assert!(!flags.contains(OFlags::NONBLOCK));
        }
    }

    #[test]
    fn data_waits_for_room_until_its_time_is_over() {
        for (input, output) in outlets() {
            let mut outlet = Outlet::new(output.as_fd());
            let until = Some(Instant::now() + Duration::from_millis(50));
            let error = outlet.data(&[b'x'; 1 << 20], until).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            taken(&input);
        }
        let (input, output) = pipe_with(PipeFlags::empty()).unwrap();
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(input).read_to_end(&mut all).unwrap();
            all
        });
        let data: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let mut outlet = Outlet::new(output.as_fd());
        outlet.data(&data, None).unwrap();
        outlet.last_line("end\n", told, None);
        drop(outlet);
        drop(output);
        assert!(reader.join().unwrap() == [&data[..], b"end\n"].concat());
    }

    #[test]
    fn a_file_is_written_on_from_where_it_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.write_all(b"new\n").unwrap();
        Outlet::new(file.as_fd()).line("line\n", told);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\nline\n");
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        Outlet::new(file.as_fd()).data(b"data\n", None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\nline\ndata\n");
    }

    #[test]
    fn nobody_waits_for_an_outlet_that_is_gone() {
        let (input, output) = pipe_with(PipeFlags::empty()).unwrap();
        drop(input);
        let mut outlet = Outlet::new(output.as_fd());
        outlet.line("line\n", told);
        assert_eq!(outlet.dropped, 1);
        let error = outlet.data(b"data", None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
