//! A connection of a peer, by what it is for: the one place that knows every kind.

use std::net::SocketAddrV4;
use std::time::Instant;

use super::session::SessionConnection;
use crate::node::fetch::JobId;
use crate::node::{CloseHow, PathId};
use crate::proto::control::Session;
use crate::proto::v0::{Download, Registration, Upload};
use crate::proto::{Accepted, CloseReason, FileId, Transmit};
use crate::wire::PeerId;

#[derive(Debug)]
pub(crate) enum Connection {
    /// To the registry.
    Registration(Registration),
    /// Accepted, and nothing received yet.
    Accepted { from: SocketAddrV4, accepted: Accepted },
    /// Accepted: files go out.
    Upload(UploadConnection),
    /// Made by us: files come in. Boxed: it is large, and most connections are none.
    Download(Box<DownloadConnection>),
    /// With a peer of version 1, whichever dialed. Boxed: it is large.
    Session(Box<SessionConnection>),
    /// A program of the same user asks us. Boxed: there are few.
    Program(Box<Session>),
}

#[derive(Debug)]
pub(crate) struct UploadConnection {
    pub(crate) from: SocketAddrV4,
    pub(crate) upload: Upload,
    /// The file requested last, until all of it is acknowledged. Boxed, as most
    /// connections are idle.
    pub(crate) served: Option<Box<Served>>,
}

#[derive(Debug)]
pub(crate) struct DownloadConnection {
    pub(crate) source: PeerId,
    pub(crate) address: SocketAddrV4,
    /// The job whose file was requested last.
    pub(crate) job: JobId,
    pub(crate) download: Download,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Served {
    pub(crate) path: PathId,
    /// Until all of it is handed over.
    pub(crate) file: Option<FileId>,
    /// Known once it is open.
    pub(crate) size_bytes: u64,
    pub(crate) began: Instant,
}

impl Connection {
    /// Returns the other side of a session, once it said who it is.
    pub(crate) fn them(&self) -> Option<super::session::Them> {
        match self {
            Self::Session(connection) => connection.them,
            _ => None,
        }
    }

    pub(super) fn transmit(&self) -> Option<Transmit<'_>> {
        match self {
            Self::Registration(registration) => registration.transmit(),
            Self::Accepted { .. } => None,
            Self::Upload(connection) => connection.upload.transmit(),
            Self::Download(connection) => connection.download.transmit(),
            Self::Session(connection) => connection.transmit(),
            Self::Program(session) => session.transmit(),
        }
    }

    /// Returns whether what is sent is sealed.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self, Self::Session(connection) if connection.seal.is_some())
    }

    /// Seals what is to be sent, on a sealed connection.
    pub(super) fn fill(&mut self, now: Instant) {
        if let Self::Session(connection) = self {
            connection.fill(now);
        }
    }

    /// What is to be sent waits for a rate that the user has set.
    pub(super) fn held_back_sending(&mut self, now: Instant) {
        match self {
            Self::Upload(connection) => connection.upload.held_back(now),
            Self::Session(connection) => connection.session.held_back_sending(now),
            _ => {}
        }
    }

    /// What comes waits for such a rate.
    pub(super) fn held_back_receiving(&mut self, now: Instant) {
        match self {
            // The bytes that wait may be acknowledgments of an upload.
            Self::Upload(connection) => connection.upload.held_back(now),
            Self::Download(connection) => connection.download.held_back(now),
            Self::Session(connection) => connection.session.held_back_receiving(now),
            _ => {}
        }
    }

    /// Returns how many bytes may be read. A registration or an upload queues nothing
    /// for what it receives, or one answer at a time.
    pub(super) fn read_allowance_bytes(&self) -> usize {
        match self {
            Self::Registration(_) | Self::Accepted { .. } | Self::Upload(_) | Self::Program(_) => {
                usize::MAX
            }
            Self::Download(connection) => connection.download.read_allowance_bytes(),
            Self::Session(connection) => connection.read_allowance_bytes(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Registration(registration) => registration.poll_timeout(),
            Self::Accepted { accepted, .. } => Some(accepted.poll_timeout()),
            Self::Upload(connection) => connection.upload.poll_timeout(),
            Self::Download(connection) => connection.download.poll_timeout(),
            Self::Session(connection) => connection.poll_timeout(),
            Self::Program(session) => session.poll_timeout(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        match self {
            Self::Registration(registration) => registration.handle_timeout(now),
            Self::Accepted { accepted, .. } => accepted.handle_timeout(now),
            Self::Upload(connection) => connection.upload.handle_timeout(now),
            Self::Download(connection) => connection.download.handle_timeout(now),
            Self::Session(connection) => connection.handle_timeout(now),
            Self::Program(session) => session.handle_timeout(now),
        }
    }

    /// How it is closed. The reference hangs on an orderly close, and its registry forgets a
    /// registration only at a reset; but at the reset of a connection that was refused it
    /// forgets the *first* holder of that id. A guest registers nothing.
    pub(super) fn close_how(&self) -> CloseHow {
        match self {
            Self::Registration(registration)
                if !registration.was_accepted() && !registration.is_guest() =>
            {
                CloseHow::Finish
            }
            Self::Session(_) | Self::Program(_) => CloseHow::Finish,
            _ => CloseHow::Reset,
        }
    }
}
