//! The reference's side of a transfer that has the file: stop and wait.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use super::{Note, Notes, Part, RECEIVE_BYTES};
use crate::is_timeout;
use crate::messages::{self, REQUEST_BYTES};

const CHUNK_BYTES: usize = 1024;
const PART: Part = Part::Uploader;

/// What an uploading connection needs to know.
pub(super) struct Uploader<'a> {
    pub(super) folder: &'a Path,
    pub(super) resend_after: Duration,
    pub(super) notes: &'a Notes,
}

/// The connection is of no more use, which is noted.
struct Over;

impl Uploader<'_> {
    /// Serves one connection to its end.
    pub(super) fn serve(&self, stream: &TcpStream) {
        let _over = self.serve_requests(stream);
    }

    fn serve_requests(&self, mut stream: &TcpStream) -> Result<(), Over> {
        let mut received = [0; RECEIVE_BYTES];
        loop {
            stream.set_read_timeout(None).unwrap();
            let len = stream.read(&mut received).map_err(|_| self.over(Note::Reset(PART)))?;
            if len == 0 {
                return Err(self.over(Note::WouldSpin(PART)));
            }
            if len != REQUEST_BYTES || received[0] != b'R' {
                return Err(self.over(Note::Died(PART, "not one request in one receive")));
            }
            let text = messages::text(&received, 5);
            let name: String = text.chars().take(messages::int(&received, 1) as usize).collect();
            match File::open(self.folder.join(&name)) {
                Ok(file) => self.send(stream, file, &name)?,
                Err(_) => self.notes.add(Note::Silent),
            }
        }
    }

    fn send(&self, mut stream: &TcpStream, mut file: File, name: &str) -> Result<(), Over> {
        stream.set_read_timeout(Some(self.resend_after)).unwrap();
        let mut data = [0; CHUNK_BYTES];
        loop {
            let len = file.read(&mut data).unwrap();
            if len == 0 {
                break;
            }
            self.send_until_acknowledged(stream, &messages::chunk(&data[..len]))?;
        }
        // Of what is on the disk now, not of what was sent.
        let content = fs::read(self.folder.join(name))
            .map_err(|_| self.over(Note::Died(PART, "the file is gone")))?;
        let eof = messages::eof(&messages::digest_of(&content));
        stream.write_all(&eof).map_err(|_| self.over(Note::Reset(PART)))
    }

    /// Looks only at the first byte of each receive: acknowledgments that arrive
    /// together count as one.
    fn send_until_acknowledged(&self, mut stream: &TcpStream, chunk: &[u8]) -> Result<(), Over> {
        let mut received = [0; RECEIVE_BYTES];
        stream.write_all(chunk).map_err(|_| self.over(Note::Reset(PART)))?;
        loop {
            match stream.read(&mut received) {
                Ok(0) => return Err(self.over(Note::WouldSpin(PART))),
                Ok(_) if received[0] == b'A' => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    self.notes.add(Note::Resent);
                    stream.write_all(chunk).map_err(|_| self.over(Note::Reset(PART)))?;
                }
                Err(_) => return Err(self.over(Note::Reset(PART))),
            }
        }
    }

    fn over(&self, note: Note) -> Over {
        self.notes.add(note);
        Over
    }
}
