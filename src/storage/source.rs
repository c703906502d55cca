//! A file that is open for sending.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::system;
use crate::content::{FileError, Version};

/// A file of the shared folder, open for sending. It stays the file that was
/// opened, whatever happens to its name.
#[derive(Debug)]
pub struct Source {
    pub(super) file: File,
    pub(super) version: Version,
}

impl Source {
    /// What was found when it was opened.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Reads from `offset` on; gives how many bytes there were, 0 at the end of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize, FileError> {
        system::read_at(&self.file, buffer, offset)
    }

    /// Sends at most `len_bytes` from `offset` on; gives how many bytes the socket took.
    /// `Ok(0)` means that the file ends at or before `offset`: it is shorter than it was.
    /// `WouldBlock` if the socket takes nothing now.
    pub fn send_to(&self, socket: impl AsFd, offset: u64, len_bytes: usize) -> io::Result<usize> {
        let sent_bytes = rustix::io::retry_on_intr(|| {
            rustix::fs::sendfile(&socket, &self.file, Some(&mut offset.clone()), len_bytes)
        })?;
        Ok(sent_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::storage::SharedFolder;
    use crate::wire::v0::FileName;

    #[test]
    fn sends_the_range_asked_for_and_nothing_past_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let source = shared.open_source(&FileName::new("f").unwrap()).unwrap();
        assert_eq!(source.version().size_bytes, 10);

        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert_eq!(source.send_to(&ours, 3, 4).unwrap(), 4);
        assert_eq!(source.send_to(&ours, 8, 100).unwrap(), 2);
        let mut received = [0; 6];
        theirs.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"345689");

        File::options().write(true).open(&path).unwrap().set_len(5).unwrap();
        assert_eq!(source.send_to(&ours, 5, 5).unwrap(), 0, "the file shrank");
    }

    #[test]
    fn a_full_socket_would_block_and_a_closed_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), vec![1; 4 << 20]).unwrap();
        let shared = SharedFolder::open(folder.path()).unwrap();
        let source = shared.open_source(&FileName::new("f").unwrap()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut sent_bytes = 0;
        let error = loop {
            match source.send_to(&ours, sent_bytes, 1 << 20) {
                Ok(len_bytes) => sent_bytes += len_bytes as u64,
                Err(error) => break error,
            }
            assert!(sent_bytes < 4 << 20, "a socket without a limit");
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(source.send_to(&ours, 0, 1).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
