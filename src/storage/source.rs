//! A file that is open for sending.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::io::Errno;

use super::read_ahead::ReadAhead;
use super::system;
use crate::content::{FileError, Version};

/// A file of the shared folder, open for sending. It stays the file that was
/// opened, whatever happens to its name.
#[derive(Debug)]
pub struct Source {
    file: File,
    version: Version,
    ahead: ReadAhead,
}

/// What came of sending some of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The socket took so many bytes, at least one.
    Bytes(usize),
    /// The socket takes nothing now.
    Full,
    /// A disk is bringing the bytes: try again in [`DISK_LOOK_INTERVAL`].
    ///
    /// [`DISK_LOOK_INTERVAL`]: crate::limits::DISK_LOOK_INTERVAL
    Awaited,
    /// The connection broke.
    Broken(Errno),
}

impl Source {
    pub(super) fn new(file: File, version: Version) -> Self {
        Self { file, version, ahead: ReadAhead::new(version.size_bytes) }
    }

    /// What was found when it was opened.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns what the file is by now.
    ///
    /// # Errors
    /// If the system refuses to tell.
    pub fn stat(&self) -> Result<Version, FileError> {
        Ok(system::version(&system::stat_file(&self.file)?))
    }

    /// Sends at most `len_bytes` from `offset` on, and waits for no disk if it can be helped.
    ///
    /// # Errors
    /// [`FileError::Changed`] if the file ends at or before `offset`: it is shorter than it
    /// was. Others if it cannot be read.
    pub fn send_to(
        &mut self,
        now: Instant,
        socket: impl AsFd,
        offset: u64,
        len_bytes: usize,
    ) -> Result<Sent, FileError> {
        let next = offset..offset + len_bytes as u64;
        if !self.ahead.is_ready(now, &self.file, &next)? {
            return Ok(Sent::Awaited);
        }
        let sent = rustix::io::retry_on_intr(|| {
            rustix::fs::sendfile(&socket, &self.file, Some(&mut offset.clone()), len_bytes)
        });
        meaning(sent)
    }

    /// Reads from `offset` on as much as there is room for; returns `None` while a disk is bringing
    /// the bytes, as [`Sent::Awaited`].
    ///
    /// # Errors
    /// As those of [`Source::send_to`].
    pub fn read_at(
        &mut self,
        now: Instant,
        offset: u64,
        room: &mut [u8],
    ) -> Result<Option<usize>, FileError> {
        let next = offset..offset + room.len() as u64;
        if !self.ahead.is_ready(now, &self.file, &next)? {
            return Ok(None);
        }
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut *room, offset));
        match read.map_err(system::refused("pread"))? {
            0 => Err(FileError::Changed),
            read_bytes => Ok(Some(read_bytes)),
        }
    }
}

/// Returns what a call of sendfile says of the socket, or fails with what it says of the file.
fn meaning(sent: Result<usize, Errno>) -> Result<Sent, FileError> {
    match sent {
        Ok(0) => Err(FileError::Changed),
        Ok(sent_bytes) => Ok(Sent::Bytes(sent_bytes)),
        Err(Errno::AGAIN) => Ok(Sent::Full),
        Err(errno @ (Errno::IO | Errno::INVAL | Errno::OVERFLOW)) => {
            Err(system::refused("sendfile")(errno))
        }
        Err(errno) => Ok(Sent::Broken(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::storage::{ShareRules, SharedTree};
    use crate::wire::FilePath;

    #[test]
    fn sends_the_range_asked_for_and_nothing_past_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let roots = [(None, folder.path().to_owned())];
        let shared = SharedTree::open(&roots, ShareRules::default()).unwrap();
        let mut source = shared.open_source(&FilePath::new("f").unwrap()).unwrap();
        assert_eq!(source.version().size_bytes, 10);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let now = Instant::now();
        assert_eq!(source.send_to(now, &ours, 3, 4), Ok(Sent::Bytes(4)));
        assert_eq!(source.send_to(now, &ours, 8, 100), Ok(Sent::Bytes(2)));
        let mut received = [0; 6];
        theirs.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"345689");

        let mut room = [0; 4];
        assert_eq!(source.read_at(now, 3, &mut room), Ok(Some(4)));
        assert_eq!(&room, b"3456");
        assert_eq!(source.read_at(now, 8, &mut room), Ok(Some(2)));

        File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
        assert_eq!(source.read_at(now, 5, &mut room), Err(FileError::Changed));
        let sent = source.send_to(now, &ours, 5, 5);
        assert_eq!(sent, Err(FileError::Changed), "the file shrank");
    }

    #[test]
    fn an_error_of_the_disk_is_no_error_of_the_connection() {
        for errno in [Errno::IO, Errno::INVAL, Errno::OVERFLOW] {
            assert_eq!(meaning(Err(errno)), Err(system::refused("sendfile")(errno)));
        }
        for errno in [Errno::PIPE, Errno::CONNRESET, Errno::TIMEDOUT, Errno::NOBUFS] {
            assert_eq!(meaning(Err(errno)), Ok(Sent::Broken(errno)));
        }
    }

    #[test]
    fn a_full_socket_takes_nothing_and_a_closed_one_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), vec![1; 4 << 20]).unwrap();
        let roots = [(None, folder.path().to_owned())];
        let shared = SharedTree::open(&roots, ShareRules::default()).unwrap();
        let mut source = shared.open_source(&FilePath::new("f").unwrap()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (now, mut sent_bytes) = (Instant::now(), 0);
        while let Sent::Bytes(len_bytes) = source.send_to(now, &ours, sent_bytes, 1 << 20).unwrap()
        {
            sent_bytes += len_bytes as u64;
            assert!(sent_bytes < 4 << 20, "a socket without a limit");
        }
        assert_eq!(source.send_to(now, &ours, sent_bytes, 1 << 20), Ok(Sent::Full));
        drop(theirs);
        assert_eq!(source.send_to(now, &ours, 0, 1), Ok(Sent::Broken(Errno::PIPE)));
    }
}
