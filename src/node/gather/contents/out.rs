//! How a content asks on sessions and acts on files: requests are remembered, so that their
//! answers find back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{ContentEvent, EntryId, Holding};
use crate::content::Content;
use crate::node::ConnectionId;
use crate::node::peer::{Context, Them};
use crate::proto::v1::Request;
use crate::wire::PeerId;
use crate::wire::v1::Verdict;

/// What all contents have in common.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Which entry has a request open, by session and number.
    pub(super) asked: BTreeMap<(ConnectionId, u32), EntryId>,
    /// How many blocks of contents of one block are requested on each session.
    pub(super) small_asked: BTreeMap<ConnectionId, usize>,
    /// Sessions on which something was said.
    pub(super) touched: BTreeSet<ConnectionId>,
    /// Whether contents of one block wait for a place.
    pub(super) has_small_waiting: bool,
    pub(super) events: VecDeque<ContentEvent>,
    pub(super) holding: VecDeque<Holding>,
}

/// What an entry says on sessions.
pub(super) struct Out<'a> {
    pub(super) ctx: &'a mut Context,
    pub(super) books: &'a mut Books,
    pub(super) entry: EntryId,
}

impl Out<'_> {
    /// Requests something. Returns the number of the request; `None` if as many are open on the
    /// session as may be.
    pub(super) fn request(&mut self, source: ConnectionId, request: &Request) -> Option<u32> {
        let now = self.ctx.now;
        let req = self.ctx.session_on(source)?.session.request(now, request)?;
        self.books.asked.insert((source, req), self.entry);
        self.books.touched.insert(source);
        Some(req)
    }

    /// A request is over.
    pub(super) fn forget(&mut self, source: ConnectionId, req: u32) {
        self.books.asked.remove(&(source, req));
    }

    /// Cancels a request, or gives a turn back.
    pub(super) fn cancel(&mut self, source: ConnectionId, req: u32) {
        self.forget(source, req);
        let now = self.ctx.now;
        if let Some(connection) = self.ctx.session_on(source) {
            connection.session.cancel(now, req);
            self.books.touched.insert(source);
        }
    }

    /// Tells a source what became of its bytes.
    pub(super) fn tell(&mut self, source: ConnectionId, content: Content, verdict: Verdict) {
        let now = self.ctx.now;
        if let Some(connection) = self.ctx.session_on(source) {
            connection.session.tell(now, content, verdict);
            self.books.touched.insert(source);
        }
    }

    /// Returns the other side of a session.
    pub(super) fn them(&mut self, source: ConnectionId) -> Option<Them> {
        self.ctx.session_on(source)?.them
    }

    /// Returns the id of the peer at the other side.
    pub(super) fn peer(&mut self, source: ConnectionId) -> PeerId {
        self.them(source).map_or(PeerId(0), |them| them.peer)
    }
}
