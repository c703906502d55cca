//! The socket on which other programs of the same user ask how this one does.
//!
//! One line is a question, and what comes then is the answer; after it the connection is
//! closed. There are few places, and who comes when all are taken takes that of who has
//! been there for longest: so who neither asks nor reads harms nobody.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::net::SendFlags;

use crate::limits::{ACCEPTS_PER_TURN, STATUS_CLIENTS_MAX, STATUS_REQUEST_BYTES_MAX};

/// The token of the socket itself; those of its connections are below it.
pub(super) const STATUS: Token = Token(usize::MAX - 8);

/// Takes questions in.
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    clients: VecDeque<Client>,
    next_token: usize,
}

struct Client {
    token: Token,
    stream: UnixStream,
    question: Vec<u8>,
    answer: Vec<u8>,
    is_answered: bool,
}

impl StatusSocket {
    /// Listens at `path`, for nobody but this user.
    ///
    /// # Errors
    /// If that does not work; then nobody can ask.
    pub fn bind(path: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path, clients: VecDeque::new(), next_token: 0 })
    }

    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.listener, STATUS, Interest::READABLE)
    }

    /// Whether a token is one of a connection.
    pub(super) fn is_client(token: Token) -> bool {
        (STATUS.0 - STATUS_CLIENTS_MAX * 2..STATUS.0).contains(&token.0)
    }

    /// Takes in who came.
    pub(super) fn accept(&mut self, registry: &Registry) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Ok((mut stream, _)) = self.listener.accept() else { return };
            if self.clients.len() == STATUS_CLIENTS_MAX {
                self.clients.pop_front();
            }
            // With twice as many tokens as places, the oldest of all is not in use.
            self.next_token = (self.next_token + 1) % (STATUS_CLIENTS_MAX * 2);
            let token = Token(STATUS.0 - 1 - self.next_token);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut stream, token, interest).is_ok() {
                let (question, answer) = (Vec::new(), Vec::new());
                let client = Client { token, stream, question, answer, is_answered: false };
                self.clients.push_back(client);
            }
        }
    }

    /// Something can be read from a connection or written to it. Each question is answered
    /// by `answer`.
    pub(super) fn serve(&mut self, token: Token, answer: impl FnOnce(&str) -> String) {
        let Some(at) = self.clients.iter().position(|client| client.token == token) else { return };
        let client = &mut self.clients[at];
        let goes_on = client.read().and_then(|question| {
            if let Some(question) = question {
                client.answer = answer(&question).into_bytes();
                client.is_answered = true;
            }
            client.write()
        });
        if !goes_on.unwrap_or(false) {
            self.clients.remove(at);
        }
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // What stays is removed by whoever asks next.
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    /// The question, once it is there, and only once.
    fn read(&mut self) -> io::Result<Option<String>> {
        let mut bytes = [0; STATUS_REQUEST_BYTES_MAX];
        loop {
            match self.stream.read(&mut bytes) {
                // It may still read.
                Ok(0) if self.is_answered => return Ok(None),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if self.is_answered => return Err(ErrorKind::InvalidData.into()),
                Ok(len) => self.question.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if let Some(end) = self.question.iter().position(|&byte| byte == b'\n') {
                return Ok(Some(String::from_utf8_lossy(&self.question[..end]).into_owned()));
            }
            if self.question.len() >= STATUS_REQUEST_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
        }
    }

    /// Whether there is more to be done.
    fn write(&mut self) -> io::Result<bool> {
        while !self.answer.is_empty() {
            match rustix::net::send(&self.stream, &self.answer, SendFlags::NOSIGNAL) {
                Ok(len) => _ = self.answer.drain(..len),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(!self.is_answered)
    }
}
