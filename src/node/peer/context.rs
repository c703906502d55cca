//! What the parts of a peer have in common: the time, the connections, the open files, the
//! deadlines, and what is to be done.
//!
//! Each part owns its tables and takes this as an argument. Nothing here decides anything.
//!
//! Invariants: `files` holds exactly the files that the runner has open for us; `now` is
//! the time of the input that is being handled.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use super::connection::{Connection, DownloadConnection, UploadConnection};
use super::programs::Programs;
use super::sealing::Opened;
use super::{GuestSettings, PeerKind, PeerSettings};
use crate::limits::{ACTIONS_KEPT, Limits};
use crate::node::connections::{ConnectionId, Connections};
use crate::node::deadlines::Deadlines;
use crate::node::fetch::{self, JobId};
use crate::node::gather::Gathered;
use crate::node::gather::contents::{self, EntryId};
use crate::node::paths::Paths;
use crate::node::{Action, Interface, Outcome, Report, share};
use crate::proto::v1::SessionSettings;
use crate::proto::{CloseReason, FileId};

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) now: Instant,
    pub(crate) settings: PeerSettings,
    /// Our addresses that are used, if the runner told them.
    pub(crate) interfaces: Option<Vec<Interface>>,
    pub(crate) limits: Rc<Limits>,
    /// What we say of ourselves on sessions.
    our: Rc<SessionSettings>,
    pub(crate) connections: Connections<Connection>,
    pub(crate) paths: Paths,
    /// What was opened of sealed connections.
    pub(super) opened: Opened,
    /// The programs of the same user that ask us.
    pub(super) programs: Programs,
    pub(crate) deadlines: Deadlines<Wake>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) files: BTreeMap<FileId, FileUse>,
    next_file: u64,
    actions: VecDeque<Action>,
    /// How far the wishes of version 1 have come.
    pub(crate) gathered: Gathered,
    /// Set once the program is to end.
    pub(super) outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum FileUse {
    Source(ConnectionId),
    /// Blocks of it are given on sessions.
    Given,
    Partial(JobId),
    /// The partial file of a content, or a copy.
    Content(EntryId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// The registry is to be dialed.
    Registry,
    /// Offers of others may have expired.
    Expiry,
    /// The registry is to be asked for peers.
    Listing,
    /// A beacon or an answer to a query is to be sent.
    Beacons,
    Share(share::Wake),
    Fetch(fetch::Wake),
    Contents(contents::Wake),
    /// Something about wishes is due.
    Gather,
}

impl Context {
    /// Nothing is open yet; connections that come in leave `reserved` places for ours.
    pub(crate) fn new(now: Instant, settings: PeerSettings, reserved: usize) -> Self {
        Self {
            now,
            limits: Rc::new(settings.limits),
            our: Rc::new(of_sessions(&settings)),
            connections: Connections::new(&settings.limits, reserved),
            paths: Paths::default(),
            opened: Opened::default(),
            programs: Programs::default(),
            deadlines: Deadlines::new(),
            rng: fastrand::Rng::with_seed(settings.seed),
            files: BTreeMap::new(),
            next_file: 0,
            actions: VecDeque::new(),
            gathered: Gathered::default(),
            outcome: None,
            interfaces: None,
            settings,
        }
    }

    /// Returns what sets a guest apart, if this is one.
    pub(crate) fn guest(&self) -> Option<GuestSettings> {
        match self.settings.kind {
            PeerKind::Guest(guest) => Some(guest),
            PeerKind::Fixed | PeerKind::AnyId => None,
        }
    }

    /// Returns whether what is fetched is given to others.
    pub(crate) fn gives(&self) -> bool {
        self.guest().is_none_or(|guest| guest.gives)
    }

    /// Returns what a new session says of us.
    pub(super) fn session_settings(&mut self) -> Rc<SessionSettings> {
        // The registry may have had us take another id.
        if self.our.peer != self.settings.id_on_sessions() {
            self.our = Rc::new(of_sessions(&self.settings));
        }
        Rc::clone(&self.our)
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn report(&mut self, report: Report) {
        self.tell_programs(&report);
        self.act(Action::Report(report));
    }

    /// Tells the user of blocks that are given, unless this is a guest: its user shares nothing.
    pub(crate) fn report_giving(&mut self, report: Report) {
        if self.guest().is_none() {
            self.report(report);
        }
    }

    /// The program is to end once this input is handled.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// Returns the next action. Once there is none, paths that nobody holds are forgotten.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions.shrink_to(ACTIONS_KEPT);
            self.paths.sweep();
        }
        action
    }

    /// Returns a new id for a file that is to be opened.
    pub(crate) fn open_file(&mut self, file_use: FileUse) -> FileId {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(file, file_use);
        file
    }

    pub(crate) fn discard(&mut self, file: FileId) {
        if self.files.remove(&file).is_some() {
            self.act(Action::Discard(file));
        }
    }

    pub(super) fn discard_all(&mut self) {
        for file in self.files.keys().copied().collect::<Vec<_>>() {
            self.discard(file);
        }
    }

    /// What every input about a connection ends with: something may have to be sent, and
    /// its deadline may have moved.
    pub(crate) fn pump(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.fill(now);
        let (has_output, deadline) = (connection.transmit().is_some(), connection.poll_timeout());
        if has_output {
            self.act(Action::Transmit(id));
        }
        if let Some(deadline) = deadline {
            self.connections.arm(id, deadline);
        }
    }

    /// Closes a connection, which leaves the table; what follows is the caller's business.
    pub(crate) fn close(&mut self, id: ConnectionId, reason: CloseReason) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        let how = connection.close_how();
        self.act(Action::Close { connection: id, how, reason });
        Some(connection)
    }

    pub(crate) fn upload(&mut self, id: ConnectionId) -> Option<&mut UploadConnection> {
        match self.connections.get_mut(id)? {
            Connection::Upload(connection) => Some(connection),
            _ => None,
        }
    }

    pub(crate) fn download(&mut self, id: ConnectionId) -> Option<&mut DownloadConnection> {
        match self.connections.get_mut(id)? {
            Connection::Download(connection) => Some(connection),
            _ => None,
        }
    }
}

fn of_sessions(settings: &PeerSettings) -> SessionSettings {
    let PeerSettings { instance, name, .. } = *settings;
    SessionSettings { peer: settings.id_on_sessions(), instance, name }
}
