//! Which message is legal in which state, and which state follows: the common part of
//! every machine's table.
//!
//! A machine's table stands beside its diagram, as the rows of its states. The machine
//! matches state and message together, and its last arm is [`State::violation`]: so a
//! message that the table allows and the machine does not know closes the connection, too.
//! `tests/tables` holds each machine against its table, in both directions.

use std::fmt::Debug;

use super::close_reason::CloseReason;
use crate::wire::Kind;

/// The state of a machine, without its fields.
pub trait State: Copy + Debug + PartialEq + 'static {
    /// The messages that its machine receives.
    type Kind: Kind;

    /// Every state of the machine.
    const ALL: &'static [Self];

    /// Returns the row of this state.
    fn row(self) -> Row<Self>;

    /// Returns the states one of which follows a message, none if it is not legal.
    fn next(self, kind: Self::Kind) -> &'static [Self] {
        let legal = self.row().legal.iter().find(|(legal, _)| *legal == kind);
        legal.map_or(&[], |(_, next)| next)
    }

    /// Returns the reason to close a connection on which a message is not legal.
    fn violation(self, got: Self::Kind) -> CloseReason {
        CloseReason::PeerViolated { expected: self.row().expected, got: got.term() }
    }
}

/// One row of a table.
#[derive(Debug)]
pub struct Row<S: State> {
    /// The legal messages in words, for the log.
    pub expected: &'static str,
    /// Each kind of message that is legal, and the states one of which follows it, once
    /// the machine and its node have dealt with it.
    pub legal: &'static [(S::Kind, &'static [S])],
}

impl<S: State> Row<S> {
    /// Returns the row of a state in which nothing is legal.
    pub const fn silent(expected: &'static str) -> Self {
        Self { expected, legal: &[] }
    }
}
