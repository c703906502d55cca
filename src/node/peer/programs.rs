//! Programs of the same user that ask this one how it does, or for files.
//!
//! Serves at most [`CONTROL_CLIENTS_MAX`] of them; a new one evicts the oldest that waits for
//! no file, or else the oldest.

use std::collections::VecDeque;

use super::{Connection, Context, PeerKind, PeerNode};
use crate::exit::ExitCode;
use crate::limits::CONTROL_CLIENTS_MAX;
use crate::node::paths::Paths;
use crate::node::{Action, ConnectionId, Report};
use crate::proto::CloseReason;
use crate::proto::control::{Asked, Fetched, News, Session, SessionState};

/// The connections of programs, the oldest first. Invariant: each is in the table.
#[derive(Debug, Default)]
pub(super) struct Programs(VecDeque<ConnectionId>);

impl Programs {
    /// A connection is over.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.0.retain(|other| *other != id);
    }
}

impl Context {
    fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        match self.connections.get_mut(id)? {
            Connection::Program(session) => Some(session),
            _ => None,
        }
    }

    /// Returns whether this is a program that has not yet read all that it was told.
    pub(super) fn is_telling(&self, id: ConnectionId) -> bool {
        let connection = self.connections.get(id);
        matches!(connection, Some(Connection::Program(session)) if session.transmit().is_some())
    }

    /// A program comes in. A guest ends by itself, and is asked nothing.
    pub(super) fn accept_program(&mut self) -> Option<ConnectionId> {
        if self.guest().is_some() {
            return None;
        }
        let session = Connection::Program(Box::new(Session::new(self.now)));
        let id = self.connections.accept_uncounted(session);
        // Only now: the slot of the one that goes is not free before it is closed.
        if self.programs.0.len() >= CONTROL_CLIENTS_MAX {
            self.evict_program();
        }
        self.programs.0.push_back(id);
        self.pump(id);
        Some(id)
    }

    fn evict_program(&mut self) {
        let is_idle = |id: &ConnectionId| match self.connections.get(*id) {
            Some(Connection::Program(session)) => session.state() != SessionState::Following,
            _ => true,
        };
        let idle = self.programs.0.iter().position(is_idle);
        if let Some(id) = self.programs.0.remove(idle.unwrap_or(0)) {
            self.close(id, CloseReason::Evicted);
        }
    }

    /// How this program does is put into words.
    pub(super) fn on_described(&mut self, id: ConnectionId, text: &str) {
        let now = self.now;
        if let Some(session) = self.session(id) {
            session.answer_text(now, text);
            self.pump(id);
        }
    }

    /// Tells the programs that wait for it what becomes of a file.
    pub(crate) fn tell_programs(&mut self, report: &Report) {
        if self.programs.0.is_empty() {
            return;
        }
        let Some(news) = news_of(report, &self.paths) else { return };
        let now = self.now;
        for id in self.programs.0.iter().copied().collect::<Vec<_>>() {
            if self.session(id).is_some_and(|session| session.tell(now, &news)) {
                self.pump(id);
            }
        }
    }
}

/// Returns what a report says of a wanted file, if it says anything of one.
fn news_of(report: &Report, paths: &Paths) -> Option<News> {
    let name = paths.get(report.path()?)?.name()?;
    match *report {
        Report::WaitingForOffer { .. } => Some(News::Waiting(name)),
        Report::OfferSeen { .. } => Some(News::Offered(name)),
        Report::AlreadyThere { .. } => Some(News::Present(name)),
        Report::Verified { peer, size_bytes, digest, elapsed, .. } => {
            Some(News::Verified(Fetched { name, peer, size_bytes, digest, elapsed }))
        }
        Report::FetchFailed { error, .. } => {
            let (code, reason) = (ExitCode::from(error) as u8, error.to_string());
            Some(News::Failed { name, code, reason })
        }
        _ => None,
    }
}

impl PeerNode {
    pub(super) fn on_program_bytes(&mut self, id: ConnectionId, bytes: &[u8]) {
        let Self { context, share, peers, fetch, .. } = self;
        let (mut at, now) = (0, context.now);
        // Any other peer ends before its files could come, or has no folder for them.
        let fetches = matches!(context.settings.kind, PeerKind::Fixed);
        while let Some(session) = context.session(id) {
            match session.handle_bytes(bytes, &mut at) {
                Ok(Some(Asked::Status { json })) => {
                    context.act(Action::Describe { connection: id, json });
                }
                Ok(Some(Asked::Fetches)) => session.answer_fetches(now, fetches),
                Ok(Some(Asked::Want(names))) if fetches => {
                    let names: Vec<_> = names.into_iter().collect();
                    fetch.want(context, peers, share, &names);
                }
                Ok(Some(Asked::Want(_))) => return self.close(id, CloseReason::Done),
                Ok(None) => return,
                Err(reason) => return self.close(id, reason),
            }
        }
    }

    /// A program reads what it was told; with the last of it, it is done.
    pub(super) fn on_program_read(&mut self, id: ConnectionId, len_bytes: usize) {
        let now = self.context.now;
        let Some(session) = self.context.session(id) else { return };
        session.transmitted(now, len_bytes);
        if session.is_done() && !self.has_exited {
            self.close(id, CloseReason::Done);
        }
    }
}
