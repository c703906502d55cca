//! The end of the program that is asked.
//!
//! ```text
//!                  Status, Fetches               answer_*
//!  ExpectQuestion ─────────────────▶ ExpectAnswer ────────▶ Answered
//!   │ │ Match                                                ▲ ▲
//!   │ └─────────────────────────────▶ Searching ─────────────┘ │
//!   │ Want                                    answer_text      │
//!   ▼           Await             tell: the last file's end    │
//!  ExpectWish ─────────▶ Following ────────────────────────────┘
//!   │   ▲                 │     ▲
//!   └───┘                 └─────┘
//!   Want                  tell
//!
//!  any state ── violation, deadline ──▶ Closed
//! ```
//!
//! The whole question has to come in time; then nothing more may come. The client may take
//! as long as it likes to wait for its files, but not to read what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Instant;

use super::News;
use crate::limits::{CONTROL_ANSWER_BYTES_MAX, CONTROL_FETCHES_MAX, CONTROL_TIMEOUT};
use crate::proto::table::{self, Row, State as _};
use crate::proto::{CloseReason, Outbox, Timer, Transmit};
use crate::wire::control::{Answer, Question, QuestionKind};
use crate::wire::v0::FileName;
use crate::wire::{Deframer, FieldText, Frame, Kind};

/// The end of the program that is asked. It answers one question, and is done then.
#[derive(Debug)]
pub struct Session {
    state: State,
    deframer: Deframer<Question>,
    /// Bounded by the length of a text, or by three answers for each wish.
    outbox: Outbox,
    /// When the outbox was last empty, or some of it was sent.
    moved_at: Instant,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// How the program does: to be answered by [`Session::answer_text`].
    Status {
        /// Whether the text is to be JSON.
        json: bool,
    },
    /// Whether files can be asked for: to be answered by [`Session::answer_fetches`].
    Fetches,
    /// Which names match: to be answered by [`Session::answer_text`].
    Match { pattern: FieldText, listen_ms: u32 },
    /// These files are wanted: to be answered by [`Session::tell`] until each has its end.
    Want(BTreeSet<FileName>),
}

/// The states of a [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Nothing has come.
    ExpectQuestion,
    /// More files may be named.
    ExpectWish,
    /// The program has not answered yet.
    ExpectAnswer,
    /// What matches is not known yet.
    Searching,
    /// The client is told what becomes of its files.
    Following,
    /// The whole answer is there, and maybe not yet sent.
    Answered,
    /// The connection is over.
    Closed,
}

impl table::State for SessionState {
    type Kind = QuestionKind;

    const ALL: &'static [Self] = &[
        Self::ExpectQuestion,
        Self::ExpectWish,
        Self::ExpectAnswer,
        Self::Searching,
        Self::Following,
        Self::Answered,
        Self::Closed,
    ];

    fn row(self) -> Row<Self> {
        use QuestionKind::{Await, Fetches, Match, Status, Want};
        match self {
            Self::ExpectQuestion => Row {
                expected: "a question or a wish",
                legal: &[
                    (Status, &[Self::ExpectAnswer]),
                    (Fetches, &[Self::ExpectAnswer]),
                    (Want, &[Self::ExpectWish]),
                    (Match, &[Self::Searching]),
                ],
            },
            Self::ExpectWish => Row {
                expected: "a wish or the end of wishes",
                legal: &[(Want, &[Self::ExpectWish]), (Await, &[Self::Following])],
            },
            Self::ExpectAnswer | Self::Searching | Self::Following | Self::Answered => {
                Row::silent("nothing after the question")
            }
            Self::Closed => Row::silent("nothing"),
        }
    }
}

#[derive(Debug)]
enum State {
    ExpectQuestion { deadline: Instant },
    ExpectWish { names: BTreeMap<FileName, Told>, deadline: Instant },
    ExpectAnswer,
    Searching,
    Following { names: BTreeMap<FileName, Told> },
    Answered,
    Closed,
}

/// What the client was told of a file last. It is told each of these at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Waiting,
    Offered,
    End,
}

impl Session {
    /// Returns the machine of a connection that was just accepted.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::ExpectQuestion { deadline: now + CONTROL_TIMEOUT },
            deframer: Deframer::default(),
            outbox: Outbox::default(),
            moved_at: now,
        }
    }

    /// Returns the question once `bytes` from `*at` on have completed it, and moves `*at`
    /// behind it; returns `None` when they are used up.
    ///
    /// # Errors
    /// If they are no message, or one that is not legal here.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<Asked>, CloseReason> {
        loop {
            match self.deframer.next(bytes, at) {
                Ok(Some(Frame::Message(question))) => {
                    if let Some(asked) = self.on_question(question)? {
                        return Ok(Some(asked));
                    }
                }
                Ok(None | Some(Frame::Payload { .. })) => return Ok(None),
                Err(malformed) => {
                    self.state = State::Closed;
                    return Err(CloseReason::Malformed(malformed));
                }
            }
        }
    }

    fn on_question(&mut self, question: Question) -> Result<Option<Asked>, CloseReason> {
        let (state, kind) = (self.state(), question.kind());
        let (next, asked) = match (mem::replace(&mut self.state, State::Closed), question) {
            (State::ExpectQuestion { .. }, Question::Status { json }) => {
                (State::ExpectAnswer, Some(Asked::Status { json }))
            }
            (State::ExpectQuestion { .. }, Question::Fetches) => {
                (State::ExpectAnswer, Some(Asked::Fetches))
            }
            (State::ExpectQuestion { .. }, Question::Match { pattern, listen_ms }) => {
                (State::Searching, Some(Asked::Match { pattern, listen_ms }))
            }
            (State::ExpectQuestion { deadline }, Question::Want(name)) => {
                let names = BTreeMap::from([(name, Told::Nothing)]);
                (State::ExpectWish { names, deadline }, None)
            }
            (State::ExpectWish { mut names, deadline }, Question::Want(name)) => {
                names.insert(name, Told::Nothing);
                if names.len() > CONTROL_FETCHES_MAX {
                    let expected = "no more wishes than are taken at once";
                    return Err(CloseReason::PeerViolated { expected, got: kind.term() });
                }
                (State::ExpectWish { names, deadline }, None)
            }
            (State::ExpectWish { names, .. }, Question::Await) => {
                let wanted = names.keys().copied().collect();
                (State::Following { names }, Some(Asked::Want(wanted)))
            }
            _ => return Err(state.violation(kind)),
        };
        self.state = next;
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(asked)
    }

    /// Answers [`Asked::Status`] and [`Asked::Match`], cut off at [`CONTROL_ANSWER_BYTES_MAX`].
    pub fn answer_text(&mut self, now: Instant, text: &str) {
        let text = text.as_bytes();
        let text = text.get(..CONTROL_ANSWER_BYTES_MAX).unwrap_or(text);
        self.answer(now, |out| {
            Answer::Text { len_bytes: text.len() as u32 }.encode(out);
            out.extend_from_slice(text);
        });
    }

    /// Answers [`Asked::Fetches`].
    pub fn answer_fetches(&mut self, now: Instant, yes: bool) {
        self.answer(now, |out| Answer::Fetches(yes).encode(out));
    }

    fn answer(&mut self, now: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        let is_asked = matches!(self.state, State::ExpectAnswer | State::Searching);
        debug_assert!(is_asked, "{:?}", self.state);
        if is_asked {
            self.state = State::Answered;
            self.push(now, encode);
        }
    }

    /// Tells the client what becomes of a file, if it waits for that and does not know it.
    /// Returns whether it does.
    pub fn tell(&mut self, now: Instant, news: &News) -> bool {
        let State::Following { names } = &mut self.state else { return false };
        let Some(told) = names.get_mut(news.name()) else { return false };
        let now_told = match news {
            News::Waiting(_) => Told::Waiting,
            News::Offered(_) => Told::Offered,
            News::Present(_) | News::Verified(_) | News::Failed { .. } => Told::End,
        };
        if now_told <= *told {
            return false;
        }
        *told = now_told;
        if now_told == Told::End {
            names.remove(news.name());
            if names.is_empty() {
                self.state = State::Answered;
            }
        }
        self.push(now, |out| news.encode(out));
        true
    }

    /// Returns the files that it waits for.
    pub fn waits_for(&self) -> impl ExactSizeIterator<Item = &FileName> {
        const NONE: &BTreeMap<FileName, Told> = &BTreeMap::new();
        match &self.state {
            State::Following { names } => names,
            _ => NONE,
        }
        .keys()
    }

    fn push(&mut self, now: Instant, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.outbox.is_empty() {
            self.moved_at = now;
        }
        self.outbox.push_unbounded(encode);
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// Removes the bytes that the socket took from what is to be sent.
    pub fn transmitted(&mut self, now: Instant, len_bytes: usize) {
        self.outbox.advance(len_bytes);
        self.moved_at = now;
    }

    /// Returns whether the whole answer is sent.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Answered) && self.outbox.is_empty()
    }

    /// Returns when to call [`Session::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::ExpectQuestion { deadline } | State::ExpectWish { deadline, .. } => {
                Some(deadline)
            }
            State::ExpectAnswer | State::Searching | State::Following { .. } | State::Answered => {
                (!self.outbox.is_empty()).then(|| self.moved_at + CONTROL_TIMEOUT)
            }
            State::Closed => None,
        }
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// If the question is not whole in time, or what is sent is not read.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let timer = match mem::replace(&mut self.state, State::Closed) {
            State::ExpectQuestion { .. } | State::ExpectWish { .. } => Timer::Idle,
            _ => Timer::Progress,
        };
        Err(CloseReason::TimedOut(timer))
    }

    /// Returns the state that it is in.
    pub fn state(&self) -> SessionState {
        match self.state {
            State::ExpectQuestion { .. } => SessionState::ExpectQuestion,
            State::ExpectWish { .. } => SessionState::ExpectWish,
            State::ExpectAnswer => SessionState::ExpectAnswer,
            State::Searching => SessionState::Searching,
            State::Following { .. } => SessionState::Following,
            State::Answered => SessionState::Answered,
            State::Closed => SessionState::Closed,
        }
    }
}
