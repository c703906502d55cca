//! Connections that came in and have not said who they are: at most [`STRANGERS_MAX`], of which a
//! new one evicts the oldest.
//!
//! None is evicted before [`STRANGER_GRACE`] has passed: what it sent may not be read yet.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::{Share, Wake};
use crate::limits::{STRANGER_GRACE, STRANGERS_MAX};
use crate::node::peer::{Connection, Context, Wake as PeerWake};
use crate::node::{ConnectionId, Report};
use crate::proto::CloseReason;

const STRANGERS: PeerWake = PeerWake::Share(Wake::Strangers);

/// In order of their coming. Some may be gone, or none any more.
#[derive(Debug, Default)]
pub(super) struct Strangers(VecDeque<(ConnectionId, Instant)>);

impl Share {
    /// A connection came in.
    pub(super) fn note_stranger(&mut self, ctx: &mut Context, id: ConnectionId) {
        let Strangers(all) = &mut self.strangers;
        all.push_back((id, ctx.now));
        self.arm_eviction(ctx);
    }

    fn arm_eviction(&self, ctx: &mut Context) {
        let Strangers(all) = &self.strangers;
        if let Some((_, oldest)) = all.front().filter(|_| all.len() > STRANGERS_MAX) {
            ctx.deadlines.arm(STRANGERS, *oldest + STRANGER_GRACE);
        }
    }

    /// Closes those that are too many, the oldest first.
    pub(super) fn evict_strangers(&mut self, ctx: &mut Context) {
        let Strangers(all) = &mut self.strangers;
        all.retain(|(id, _)| stranger_on(ctx, *id).is_some());
        let reason = CloseReason::Evicted;
        while all.len() > STRANGERS_MAX
            && let Some(&(id, came)) = all.front()
            && came + STRANGER_GRACE <= ctx.now
        {
            all.pop_front();
            if let Some(from) = stranger_on(ctx, id) {
                ctx.close(id, reason);
                ctx.report(Report::ConnectionClosed { from, reason });
            }
        }
        self.arm_eviction(ctx);
    }
}

/// Returns where the other side is, if it has not said who it is.
fn stranger_on(ctx: &Context, id: ConnectionId) -> Option<SocketAddrV4> {
    match ctx.connections.get(id)? {
        Connection::Accepted { from, .. } => Some(*from),
        Connection::Session(session) if !session.is_ours && session.them.is_none() => {
            Some(session.address)
        }
        _ => None,
    }
}
