//! A source of one content: what was asked of it, and when it may be asked again.

use std::time::{Duration, Instant};

use crate::limits::{BUSY_PAUSE_MAX, BUSY_PAUSE_MIN, EARLY_WAIT_BYTES_MIN, HOPE_PAUSE_MIN};
use crate::node::retry::Tries;

/// A session with a peer that may hold some of the content.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) blocks: Blocks,
    /// Whether it fetches the same, perhaps, and is not known to hold any of it yet.
    pub(super) is_hoped: bool,
    /// The request for a turn that is not answered.
    pub(super) waiting: Option<u32>,
    /// Turns in use: at most two, the second while the first ends.
    pub(super) turns: Vec<Turn>,
    /// Nothing is asked of it before.
    not_before: Option<Instant>,
    /// It is not asked for the manifest before.
    pub(super) manifest_after: Option<Instant>,
    /// How often it was asked for the manifest: those that were not are asked first.
    pub(super) manifest_requests: u32,
    /// Refusals since the last block that came.
    tries: Tries,
}

/// The question which blocks it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Blocks {
    #[default]
    NotAsked,
    /// Not answered.
    Asked(u32),
    /// Answered; more are told as they come.
    Told(u32),
}

/// Permission to request blocks, all of which are requested at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) req: u32,
    /// Requests on it that are open.
    pub(super) open: u32,
    pub(super) asked_bytes: u64,
    pub(super) came_bytes: u64,
}

impl Turn {
    /// Returns whether the next turn may be waited for though this one is in use.
    fn is_nearly_over(&self) -> bool {
        self.asked_bytes >= EARLY_WAIT_BYTES_MIN && self.came_bytes * 2 >= self.asked_bytes
    }
}

/// Returns for how long a source that is busy is left alone, which asks for `wait`.
pub(super) fn busy_pause(wait: Duration) -> Duration {
    wait.clamp(BUSY_PAUSE_MIN, BUSY_PAUSE_MAX)
}

impl Source {
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }

    /// Returns when it may be asked again, if that is not now.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|at| *at > now)
    }

    /// Returns whether a turn may be asked for, as far as turns go.
    pub(super) fn may_wait(&self) -> bool {
        let is_free = match self.turns.as_slice() {
            [] => true,
            [turn] => turn.is_nearly_over(),
            _ => false,
        };
        is_free && self.waiting.is_none() && matches!(self.blocks, Blocks::Told(_))
    }

    pub(super) fn turn_mut(&mut self, req: u32) -> Option<&mut Turn> {
        self.turns.iter_mut().find(|turn| turn.req == req)
    }

    /// A request on a turn is over. The turn is, with the last of them.
    pub(super) fn end_request(&mut self, req: u32) {
        if let Some(turn) = self.turn_mut(req) {
            turn.open = turn.open.saturating_sub(1);
        }
        self.turns.retain(|turn| turn.open > 0);
    }

    /// Returns the other side of a session that may hold some of it one day.
    pub(super) fn hoped() -> Self {
        Self { is_hoped: true, ..Self::default() }
    }

    /// It neither holds it nor fetches it.
    pub(super) fn hope_later(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        self.not_before = Some(now + HOPE_PAUSE_MIN.max(self.tries.fail(rng)));
    }

    /// It is busy for so long.
    pub(super) fn pause(&mut self, now: Instant, wait: Duration) {
        self.not_before = Some(now + busy_pause(wait));
    }

    /// It refused something that it may grant later.
    pub(super) fn back_off(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        if self.is_ready(now) {
            self.not_before = Some(now + self.tries.fail(rng));
        }
    }

    /// A block came from it.
    pub(super) fn gave(&mut self) {
        self.tries = Tries::default();
    }
}
