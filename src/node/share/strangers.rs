//! Connections that came in and have not said who they are: at most [`STRANGERS_MAX`], of which a
//! new one evicts the oldest.
//!
//! None is evicted before [`STRANGER_GRACE`] has passed: what it sent may not be read yet.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use super::{Share, Wake};
use crate::limits::{STRANGER_GRACE, STRANGERS_MAX};
use crate::node::peer::{Connection, Context, Wake as PeerWake};
use crate::node::{ConnectionId, Report};
use crate::proto::CloseReason;

const STRANGERS: PeerWake = PeerWake::Share(Wake::Strangers);

#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// In order of their coming. Some may be gone, or none any more.
    all: VecDeque<ConnectionId>,
    /// How many of them, from the first one on, may be evicted at the next wake-up; 0 if there
    /// will be none.
    evictable: usize,
}

impl Share {
    /// A connection came in.
    pub(super) fn note_stranger(&mut self, ctx: &mut Context, id: ConnectionId) {
        self.strangers.all.push_back(id);
        if self.strangers.evictable == 0 {
            self.arm_eviction(ctx);
        }
    }

    fn arm_eviction(&mut self, ctx: &mut Context) {
        let Strangers { all, evictable } = &mut self.strangers;
        if all.len() > STRANGERS_MAX {
            *evictable = all.len();
            ctx.deadlines.arm(STRANGERS, ctx.now + STRANGER_GRACE);
        }
    }

    /// Closes those that are too many, the oldest first.
    pub(super) fn evict_strangers(&mut self, ctx: &mut Context) {
        let Strangers { all, evictable } = &mut self.strangers;
        let (mut at, mut left) = (0, 0);
        all.retain(|id| {
            let is_stranger = stranger_on(ctx, *id).is_some();
            left += usize::from(is_stranger && at < *evictable);
            at += 1;
            is_stranger
        });
        *evictable = 0;
        let too_many = all.len().saturating_sub(STRANGERS_MAX).min(left);
        let reason = CloseReason::Evicted;
        for id in all.drain(..too_many) {
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
