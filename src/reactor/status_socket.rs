//! The socket on which other programs of the same user ask how this one does, or for files.
//!
//! One line is a question, and what comes then is the answer; after it the connection is
//! closed. There are few places, and who comes when all are taken takes that of who has
//! been there for longest: so who neither asks nor reads harms nobody.
//!
//! | question | answer |
//! |---|---|
//! | `status text`, `status json` | how this program does |
//! | `fetches` | `yes`, if files can be asked for |
//! | `get text NAME/NAME...`, `get json ...` | a line for each file when its wish has come to an end: an exit code, a space, and what to show; before that `waiting NAME` if nobody offers it, and `offered NAME` once somebody does |

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::exit::ExitCode;
use crate::limits::{ACCEPTS_PER_TURN, CONTROL_CLIENTS_MAX, STATUS_REQUEST_BYTES_MAX};
use crate::node::{Paths, Report};
use crate::ui::Event;
use crate::wire::v0::FileName;

/// The token of the socket itself; those of its connections are below it.
pub(super) const STATUS: Token = Token(usize::MAX - 8);

/// Takes questions in.
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Whether files can be asked for.
    takes_wishes: bool,
    clients: VecDeque<Client>,
    next_token: usize,
}

struct Client {
    token: Token,
    stream: UnixStream,
    state: State,
    answer: Vec<u8>,
}

enum State {
    ExpectQuestion(Vec<u8>),
    /// The question is there, the answer not yet.
    Asked,
    /// Waits for the ends of these wishes.
    Awaits {
        names: BTreeSet<FileName>,
        json: bool,
    },
    /// The whole answer is there, and maybe not yet sent.
    Answered,
}

impl StatusSocket {
    /// Listens at `path`, for nobody but this user, who may ask for files if this program
    /// fetches any.
    ///
    /// # Errors
    /// If that does not work; then nobody can ask.
    pub fn bind(path: PathBuf, takes_wishes: bool) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path, takes_wishes, clients: VecDeque::new(), next_token: 0 })
    }

    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.listener, STATUS, Interest::READABLE)
    }

    /// Whether files can be asked for.
    pub(super) fn takes_wishes(&self) -> bool {
        self.takes_wishes
    }

    /// Whether a token is one of a connection.
    pub(super) fn is_client(token: Token) -> bool {
        (STATUS.0 - CONTROL_CLIENTS_MAX * 2..STATUS.0).contains(&token.0)
    }

    /// Takes in who came.
    pub(super) fn accept(&mut self, registry: &Registry) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Ok((mut stream, _)) = self.listener.accept() else { return };
            if self.clients.len() == CONTROL_CLIENTS_MAX {
                let idle = |client: &Client| !matches!(client.state, State::Awaits { .. });
                let at = self.clients.iter().position(idle).unwrap_or(0);
                self.clients.remove(at);
            }
            // There are twice as many tokens as places, so one is not in use.
            let token = loop {
                self.next_token = (self.next_token + 1) % (CONTROL_CLIENTS_MAX * 2);
                let token = Token(STATUS.0 - 1 - self.next_token);
                if self.clients.iter().all(|client| client.token != token) {
                    break token;
                }
            };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut stream, token, interest).is_ok() {
                let (state, answer) = (State::ExpectQuestion(Vec::new()), Vec::new());
                self.clients.push_back(Client { token, stream, state, answer });
            }
        }
    }

    /// Something can be read from a connection or written to it; gives its question, once.
    /// One that `is_gone` wants no answer any more.
    pub(super) fn serve(&mut self, token: Token, is_gone: bool) -> Option<String> {
        let at = self.clients.iter().position(|client| client.token == token)?;
        if is_gone {
            self.clients.remove(at);
            return None;
        }
        let client = &mut self.clients[at];
        let Ok(question) = client.read() else {
            self.clients.remove(at);
            return None;
        };
        if question.is_none() {
            self.write(at);
        }
        question
    }

    /// Answers the question of a connection.
    pub(super) fn answer(&mut self, token: Token, answer: &str) {
        if let Some(at) = self.clients.iter().position(|client| client.token == token) {
            self.clients[at].answer.extend_from_slice(answer.as_bytes());
            self.clients[at].state = State::Answered;
            self.write(at);
        }
    }

    /// Answers it with what becomes of these files, each when that is known.
    pub(super) fn answer_later(&mut self, token: Token, names: BTreeSet<FileName>, json: bool) {
        if let Some(client) = self.clients.iter_mut().find(|client| client.token == token) {
            client.state = State::Awaits { names, json };
        }
    }

    /// Tells those who wait for it what has become of a file.
    pub(super) fn tell(&mut self, report: &Report, paths: &Paths) {
        if self.clients.is_empty() {
            return;
        }
        let name = report.path().and_then(|path| paths.get(path)?.name());
        let Some(name) = &name else { return };
        let code = match report {
            Report::Verified { .. } | Report::AlreadyThere { .. } => ExitCode::Done,
            Report::FetchFailed { error, .. } => ExitCode::from(*error),
            Report::WaitingForOffer { .. } => return self.tell_before_end(name, "waiting"),
            Report::OfferSeen { .. } => return self.tell_before_end(name, "offered"),
            _ => return,
        };
        for at in (0..self.clients.len()).rev() {
            let client = &mut self.clients[at];
            let State::Awaits { names, json } = &mut client.state else { continue };
            if !names.remove(name) {
                continue;
            }
            let text = match json {
                true => {
                    Event::of_report(report, paths).map(|event| event.line()).unwrap_or_default()
                }
                false => format!("{}\n", report.shown(paths)),
            };
            let is_last = names.is_empty();
            client.answer.extend_from_slice(format!("{} {text}", code as u8).as_bytes());
            if is_last {
                client.state = State::Answered;
            }
            self.write(at);
        }
    }

    fn tell_before_end(&mut self, name: &FileName, what: &str) {
        for at in (0..self.clients.len()).rev() {
            let client = &mut self.clients[at];
            if matches!(&client.state, State::Awaits { names, .. } if names.contains(name)) {
                client.answer.extend_from_slice(format!("{what} {}\n", name.as_str()).as_bytes());
                self.write(at);
            }
        }
    }

    /// Writes to a connection, which is closed once it has its whole answer.
    fn write(&mut self, at: usize) {
        if !self.clients[at].write().unwrap_or(false) {
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
        let mut bytes = [0; 4096];
        loop {
            let len = match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                read => read?,
            };
            let State::ExpectQuestion(question) = &mut self.state else {
                // Who asked may say that this was all, but asks nothing more.
                return if len == 0 { Ok(None) } else { Err(ErrorKind::InvalidData.into()) };
            };
            question.extend_from_slice(&bytes[..len]);
            if let Some(end) = question.iter().position(|&byte| byte == b'\n') {
                let question = String::from_utf8_lossy(&question[..end]).into_owned();
                self.state = State::Asked;
                return Ok(Some(question));
            }
            if len == 0 || question.len() >= STATUS_REQUEST_BYTES_MAX {
                return Err(ErrorKind::InvalidData.into());
            }
        }
    }

    /// Whether there is more to be done.
    fn write(&mut self) -> io::Result<bool> {
        while !self.answer.is_empty() {
            match rustix::net::send(&self.stream, &self.answer, SendFlags::NOSIGNAL) {
                Ok(len) => _ = self.answer.drain(..len),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(!matches!(self.state, State::Answered))
    }
}
