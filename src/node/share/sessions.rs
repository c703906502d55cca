//! What is requested on sessions of version 1.

use super::Share;
use crate::content::Content;
use crate::node::ConnectionId;
use crate::node::peer::Context;
use crate::proto::v1::Request;
use crate::wire::v1::{SessionError, Verdict};

impl Share {
    /// A peer requests something.
    pub(crate) fn on_request(
        &mut self,
        ctx: &mut Context,
        id: ConnectionId,
        req: u32,
        _request: Request,
    ) {
        let now = ctx.now;
        if let Some(connection) = ctx.session_on(id) {
            connection.session.refuse(now, req, SessionError::NotFound, 0, "not shared");
        }
    }

    /// A peer cancels a request, or gives a turn back.
    pub(crate) fn on_cancelled(&mut self, _ctx: &mut Context, _id: ConnectionId, _req: u32) {}

    /// An answer is sent whole: a page, a manifest or data.
    pub(crate) fn on_answer_sent(&mut self, _ctx: &mut Context, _id: ConnectionId, _req: u32) {}

    /// A peer tells what became of our bytes.
    pub(crate) fn on_verdict(
        &mut self,
        _ctx: &mut Context,
        _id: ConnectionId,
        _content: Content,
        _verdict: Verdict,
    ) {
    }

    /// A session is over.
    pub(crate) fn on_session_lost(&mut self, _ctx: &mut Context, _id: ConnectionId) {}
}
