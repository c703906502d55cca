//! The line for turns at a source.
//!
//! Who may request blocks of contents of several blocks is decided here: first come, first
//! served, one place for each session. A turn is short while others wait and long while nobody
//! does, so that a disk and a network that one getter can use up are not shared out in shreds.
//!
//! ```text
//!            W                    few turns are in use
//!   (none) ─────▶ waiting ─────────────────────────────▶ turn ─┐ G, until none is left
//!                    │ K                                  │ ▲──┘
//!                    ▼                                    ▼
//!                 (none) ◀──── K, all sent, or unused for 2 s
//! ```
//!
//! Turns are given while fewer than [`TURNS_MIN`] are being served. One whose socket takes nothing
//! more, or whose getter has not used it yet, is none of these: on links that are shared with
//! others a request takes long, and meanwhile our own would do nothing. With 64 getters of which
//! a fifth has a tenth of the rate (`tests/swarm`, "64 mixed") the last of the others takes 1.65
//! of the time of one alone, and 4.5 if such turns count.
//!
//! Invariants: a session is in `order` once if it has waits, else not at all; `open` of a turn is
//! how many of its requests are not answered whole.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::content::Content;
use crate::limits::{SOLE_TURN_BYTES, TURN_GRACE, TURN_TIME, TURN_TIMEOUT, TURNS_MAX, TURNS_MIN};

/// Sessions that wait for a turn or use one, each by a `S`.
#[derive(Debug)]
pub struct Line<S> {
    order: VecDeque<S>,
    waits: BTreeMap<S, VecDeque<(u32, Content)>>,
    turns: BTreeMap<(S, u32), InUse>,
    /// How much is sent in a second, by the turns that ended last; 0 before the first.
    rate_bytes: u64,
}

#[derive(Debug)]
struct InUse {
    content: Content,
    blocks_left: u32,
    open: u32,
    began: Instant,
    /// When its last request came or was answered.
    used_at: Instant,
    granted_bytes: u64,
    sent_bytes: u64,
}

/// A turn that is given: so many blocks, at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn<S> {
    pub session: S,
    /// The number of the wait.
    pub req: u32,
    pub blocks: u32,
}

/// A session has no turn for a request, or not for so many blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTurn;

impl<S> Default for Line<S> {
    fn default() -> Self {
        let (order, waits) = (VecDeque::new(), BTreeMap::new());
        Self { order, waits, turns: BTreeMap::new(), rate_bytes: 0 }
    }
}

impl<S: Copy + Ord> Line<S> {
    /// Takes a session in for a turn on a content of several blocks. Returns whether it does: not
    /// if it waits for one already, or has one of which less than half is sent.
    pub fn handle_wait(&mut self, session: S, req: u32, content: Content) -> bool {
        let is_waiting =
            self.waits.get(&session).is_some_and(|waits| waits.iter().any(|(_, c)| *c == content));
        let mut of_session = self.turns.range((session, 0)..=(session, u32::MAX));
        let has_turn =
            of_session.any(|(_, turn)| turn.content == content && !turn.is_long_and_half_sent());
        if is_waiting || has_turn {
            return false;
        }
        let waits = self.waits.entry(session).or_default();
        if waits.is_empty() {
            self.order.push_back(session);
        }
        waits.push_back((req, content));
        true
    }

    /// Returns the next turn to give, if one is. `is_full` says whether the socket of a session
    /// takes nothing more.
    pub fn poll_turn(&mut self, now: Instant, is_full: impl Fn(S) -> bool) -> Option<Turn<S>> {
        let moving =
            self.turns.iter().filter(|((of, _), turn)| !is_full(*of) && !turn.is_late(now));
        if self.turns.len() >= TURNS_MAX || moving.count() >= TURNS_MIN {
            return None;
        }
        let session = self.order.pop_front()?;
        let waits = self.waits.get_mut(&session)?;
        let (req, content) = waits.pop_front()?;
        if waits.is_empty() {
            self.waits.remove(&session);
        }
        let is_alone = self.order.is_empty() && self.turns.keys().all(|(of, _)| *of == session);
        if self.waits.contains_key(&session) {
            self.order.push_back(session);
        }
        let turn_bytes = match is_alone {
            true => SOLE_TURN_BYTES,
            false => self.rate_bytes.saturating_mul(TURN_TIME.as_millis() as u64) / 1000,
        };
        let blocks = (turn_bytes / content.block_bytes()).clamp(1, content.blocks().into()) as u32;
        let turn = InUse {
            content,
            blocks_left: blocks,
            open: 0,
            began: now,
            used_at: now,
            granted_bytes: u64::from(blocks) * content.block_bytes(),
            sent_bytes: 0,
        };
        self.turns.insert((session, req), turn);
        self.check();
        Some(Turn { session, req, blocks })
    }

    /// Takes so many blocks of a turn for a request.
    ///
    /// # Errors
    /// If there is no such turn, or less is left of it. Nothing is taken then.
    pub fn handle_get(
        &mut self,
        now: Instant,
        (session, turn): (S, u32),
        content: &Content,
        count: u32,
    ) -> Result<(), NoTurn> {
        let turn = self.turns.get_mut(&(session, turn)).ok_or(NoTurn)?;
        if turn.content != *content {
            return Err(NoTurn);
        }
        turn.blocks_left = turn.blocks_left.checked_sub(count).ok_or(NoTurn)?;
        (turn.open, turn.used_at) = (turn.open + 1, now);
        Ok(())
    }

    /// A request on a turn is over, with so many bytes sent. Returns whether the turn is, too.
    pub fn handle_sent(&mut self, now: Instant, key: (S, u32), sent_bytes: u64) -> bool {
        let Some(turn) = self.turns.get_mut(&key) else { return false };
        turn.open = turn.open.saturating_sub(1);
        turn.used_at = now;
        turn.sent_bytes += sent_bytes;
        let is_over = turn.open == 0 && turn.blocks_left == 0;
        if is_over {
            let turn = self.turns.remove(&key);
            turn.iter().for_each(|turn| self.measure(now, turn));
        }
        is_over
    }

    /// Blocks that a refused request took from its turn are there again.
    pub fn give_back(&mut self, key: (S, u32), count: u32) {
        if let Some(turn) = self.turns.get_mut(&key) {
            turn.blocks_left = turn.blocks_left.saturating_add(count);
            turn.open = turn.open.saturating_sub(1);
        }
    }

    fn measure(&mut self, now: Instant, turn: &InUse) {
        let elapsed_us = now.saturating_duration_since(turn.began).as_micros().max(1) as u64;
        let rate_bytes = turn.sent_bytes.saturating_mul(1_000_000) / elapsed_us;
        // The turns in use share what there is.
        let rate_bytes = rate_bytes.saturating_mul(self.turns.len() as u64 + 1);
        self.rate_bytes = match self.rate_bytes {
            0 => rate_bytes,
            before => before / 4 * 3 + rate_bytes / 4,
        };
    }

    /// Takes a wait out of the line, or a turn back.
    pub fn handle_cancel(&mut self, session: S, req: u32) {
        self.turns.remove(&(session, req));
        if let Some(waits) = self.waits.get_mut(&session) {
            waits.retain(|(waiting, _)| *waiting != req);
            if waits.is_empty() {
                self.waits.remove(&session);
                self.order.retain(|waiting| *waiting != session);
            }
        }
        self.check();
    }

    /// A session is over.
    pub fn handle_lost(&mut self, session: S) {
        self.waits.remove(&session);
        self.order.retain(|waiting| *waiting != session);
        self.turns.retain(|(of, _), _| *of != session);
        self.check();
    }

    /// Takes out all waits and turns for a content, which is not held any more. Returns them.
    pub fn revoke(&mut self, content: &Content) -> Vec<(S, u32)> {
        let mut revoked = Vec::new();
        for (session, waits) in &self.waits {
            let of_content = waits.iter().filter(|(_, waiting)| waiting == content);
            revoked.extend(of_content.map(|(req, _)| (*session, *req)));
        }
        let turns = self.turns.iter().filter(|(_, turn)| turn.content == *content);
        revoked.extend(turns.map(|(key, _)| *key));
        revoked.iter().for_each(|(session, req)| self.handle_cancel(*session, *req));
        revoked
    }

    /// Returns a turn that was not used for so long that it is taken back.
    pub fn poll_expired(&mut self, now: Instant) -> Option<(S, u32)> {
        let is_expired = |turn: &InUse| turn.open == 0 && now >= turn.used_at + TURN_TIMEOUT;
        let key = *self.turns.iter().find(|(_, turn)| is_expired(turn))?.0;
        self.turns.remove(&key);
        Some(key)
    }

    /// Returns when to call [`Line::poll_expired`] and [`Line::poll_turn`].
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let unused = self.turns.values().filter(|turn| turn.open == 0);
        let dues = unused.map(|turn| match turn.is_late(now) || self.order.is_empty() {
            true => turn.used_at + TURN_TIMEOUT,
            false => turn.used_at + TURN_GRACE,
        });
        dues.min()
    }

    /// Returns whether anybody waits.
    pub fn has_waiting(&self) -> bool {
        !self.order.is_empty()
    }

    fn check(&self) {
        debug_assert_eq!(self.order.len(), self.waits.len());
        debug_assert!(self.waits.values().all(|waits| !waits.is_empty()));
        debug_assert!(self.turns.len() <= TURNS_MAX);
    }
}

impl InUse {
    /// Returns whether nothing is requested on it though there was time for that: meanwhile it
    /// keeps nobody from being served.
    fn is_late(&self, now: Instant) -> bool {
        self.open == 0 && now >= self.used_at + TURN_GRACE
    }

    /// Returns whether its getter may wait for the next one already.
    fn is_long_and_half_sent(&self) -> bool {
        self.granted_bytes >= SOLE_TURN_BYTES && self.sent_bytes >= self.granted_bytes / 2
    }
}

#[cfg(test)]
mod tests;
