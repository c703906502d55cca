//! The end of the program that asks.
//!
//! ```text
//!                   handle_connected: Status            Text
//!  ExpectConnection ─────────────────────▶ ExpectText ─────────────────▶ Done
//!   │  │              Fetches                            Fetches          ▲ ▲
//!   │  └─────────────────────────────────▶ ExpectFetches ─────────────────┘ │
//!   │           Want, Match, Await   the last end of a file or of a search  │
//!   └────────────────────────────────────▶ ExpectNews ──────────────────────┘
//!                                           │     ▲
//!                                           └─────┘
//!                                           news, another end
//!
//!  any state ── violation, deadline ──▶ Closed
//! ```
//!
//! An answer has to begin in time and to go on; files are waited for without a deadline, but
//! news of one that have begun have to be whole in time.

use std::collections::BTreeSet;
use std::mem;
use std::time::Instant;

use super::News;
use crate::limits::{CONTROL_FETCHES_MAX, CONTROL_TIMEOUT};
use crate::proto::table::{self, Row, State as _};
use crate::proto::{CloseReason, Inbox, Outbox, Timer, Transmit};
use crate::wire::control::{Answer, AnswerKind, Question};
use crate::wire::v0::FileName;
use crate::wire::{FieldText, Frame, Kind};

/// The end of the program that asks: one question.
#[derive(Debug)]
pub struct Inquiry {
    state: State,
    inbox: Inbox<Answer>,
    /// Bounded by what is asked for.
    outbox: Outbox,
    /// The text that is being received.
    text: Vec<u8>,
}

/// What to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// How the program does.
    Status {
        /// Whether the text is to be JSON.
        json: bool,
    },
    /// Whether files can be asked for.
    Fetches,
    /// For these files, and those that match; not for nothing.
    Want { names: BTreeSet<FileName>, patterns: Vec<FieldText> },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// How the program does.
    Text(String),
    /// Whether files can be asked for.
    Fetches(bool),
    /// What becomes of a file.
    News(News),
    /// A pattern brings no more names; why there may be more, or nothing.
    Searched(String),
}

/// The states of an [`Inquiry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InquiryState {
    /// The connection is being made.
    ExpectConnection,
    /// How the program does has not come, or not whole.
    ExpectText,
    /// Whether files can be asked for has not come.
    ExpectFetches,
    /// Not every file has its end.
    ExpectNews,
    /// All is answered.
    Done,
    /// The connection is over.
    Closed,
}

impl table::State for InquiryState {
    type Kind = AnswerKind;

    const ALL: &'static [Self] = &[
        Self::ExpectConnection,
        Self::ExpectText,
        Self::ExpectFetches,
        Self::ExpectNews,
        Self::Done,
        Self::Closed,
    ];

    fn row(self) -> Row<Self> {
        use AnswerKind::{End, Fetches, News, Searched, Text};
        match self {
            Self::ExpectConnection | Self::Closed => Row::silent("nothing"),
            Self::ExpectText => Row { expected: "a text", legal: &[(Text, &[Self::Done])] },
            Self::ExpectFetches => Row {
                expected: "an answer whether files can be asked for",
                legal: &[(Fetches, &[Self::Done])],
            },
            Self::ExpectNews => Row {
                expected: "news of a file",
                legal: &[
                    (News, &[Self::ExpectNews]),
                    (End, &[Self::ExpectNews, Self::Done]),
                    (Searched, &[Self::ExpectNews, Self::Done]),
                ],
            },
            Self::Done => Row::silent("nothing after the answer"),
        }
    }
}

#[derive(Debug)]
enum State {
    ExpectConnection {
        ask: Ask,
        deadline: Instant,
    },
    ExpectText {
        deadline: Instant,
    },
    ExpectFetches {
        deadline: Instant,
    },
    ExpectNews {
        names: BTreeSet<FileName>,
        /// How many patterns may bring more names.
        searches: usize,
    },
    Done,
    Closed,
}

impl Inquiry {
    /// Returns the machine of a connection that is being made to ask this.
    pub fn new(now: Instant, ask: Ask) -> Self {
        Self {
            state: State::ExpectConnection { ask, deadline: now + CONTROL_TIMEOUT },
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            text: Vec::new(),
        }
    }

    /// Sends the question: the connection is made.
    pub fn handle_connected(&mut self, now: Instant) {
        debug_assert_eq!(self.state(), InquiryState::ExpectConnection);
        let old = mem::replace(&mut self.state, State::Closed);
        let State::ExpectConnection { ask, .. } = old else { return };
        let deadline = now + CONTROL_TIMEOUT;
        self.state = match ask {
            Ask::Status { json } => {
                self.send(Question::Status { json });
                State::ExpectText { deadline }
            }
            Ask::Fetches => {
                self.send(Question::Fetches);
                State::ExpectFetches { deadline }
            }
            Ask::Want { names, patterns } => {
                names.iter().for_each(|name| self.send(Question::Want(*name)));
                patterns.iter().for_each(|pattern| self.send(Question::Match(*pattern)));
                self.send(Question::Await);
                State::ExpectNews { names, searches: patterns.len() }
            }
        };
    }

    fn send(&mut self, question: Question) {
        self.outbox.push_unbounded(|out| question.encode(out));
    }

    /// Returns the next reply that `bytes` from `*at` on complete, and moves `*at` behind it;
    /// returns `None` when they are used up.
    ///
    /// # Errors
    /// If they are no message, or one that is not legal here.
    pub fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: &[u8],
        at: &mut usize,
    ) -> Result<Option<Reply>, CloseReason> {
        loop {
            let reply = match self.inbox.next(now, bytes, at) {
                Ok(Some(Frame::Message(answer))) => self.on_answer(answer)?,
                Ok(Some(Frame::Payload { range, last })) => {
                    self.text.extend_from_slice(bytes.get(range).unwrap_or_default());
                    if last { self.on_text() } else { None }
                }
                Ok(None) => {
                    self.put_off(now);
                    return Ok(None);
                }
                Err(reason) => {
                    self.state = State::Closed;
                    return Err(reason);
                }
            };
            if reply.is_some() {
                return Ok(reply);
            }
        }
    }

    fn on_answer(&mut self, answer: Answer) -> Result<Option<Reply>, CloseReason> {
        let (state, kind) = (self.state(), answer.kind());
        match (mem::replace(&mut self.state, State::Closed), answer) {
            (old @ State::ExpectText { .. }, Answer::Text { len_bytes }) => {
                self.state = old;
                Ok(if len_bytes == 0 { self.on_text() } else { None })
            }
            (State::ExpectFetches { .. }, Answer::Fetches(yes)) => {
                self.state = State::Done;
                Ok(Some(Reply::Fetches(yes)))
            }
            (State::ExpectNews { mut names, searches }, Answer::News(news)) => {
                let name = news.name();
                let may_be_found = searches > 0 && names.len() < CONTROL_FETCHES_MAX;
                if !names.contains(name) && !may_be_found {
                    let expected = "news of a file that was asked for";
                    return Err(CloseReason::PeerViolated { expected, got: kind.term() });
                }
                match news.is_end() {
                    true => _ = names.remove(name),
                    false => _ = names.insert(*name),
                }
                self.expect_news(names, searches);
                Ok(Some(Reply::News(news)))
            }
            (State::ExpectNews { names, searches }, Answer::Searched { doubt }) => {
                self.expect_news(names, searches.saturating_sub(1));
                Ok(Some(Reply::Searched(doubt)))
            }
            _ => Err(state.violation(kind)),
        }
    }

    /// More comes if a file has no end, or a pattern may bring one.
    fn expect_news(&mut self, names: BTreeSet<FileName>, searches: usize) {
        self.state = match names.is_empty() && searches == 0 {
            true => State::Done,
            false => State::ExpectNews { names, searches },
        };
    }

    /// All of a text is there.
    fn on_text(&mut self) -> Option<Reply> {
        let State::ExpectText { .. } = self.state else { return None };
        self.state = State::Done;
        let text = mem::take(&mut self.text);
        Some(Reply::Text(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Something came: what follows it has time again.
    fn put_off(&mut self, now: Instant) {
        match &mut self.state {
            State::ExpectText { deadline } | State::ExpectFetches { deadline } => {
                *deadline = now + CONTROL_TIMEOUT;
            }
            _ => {}
        }
    }

    /// Returns what to send next.
    pub fn transmit(&self) -> Option<Transmit<'_>> {
        self.outbox.transmit(false)
    }

    /// Removes the bytes that the socket took from what is to be sent.
    pub fn transmitted(&mut self, len_bytes: usize) {
        self.outbox.advance(len_bytes);
    }

    /// Returns whether all is answered.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Returns when to call [`Inquiry::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_state = match self.state {
            State::ExpectConnection { deadline, .. }
            | State::ExpectText { deadline }
            | State::ExpectFetches { deadline } => Some(deadline),
            State::ExpectNews { .. } => None,
            State::Done | State::Closed => return None,
        };
        self.inbox.deadline_or(of_state)
    }

    /// Checks the deadlines.
    ///
    /// # Errors
    /// If the connection is not made, or the answer does not come, in time.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let state = mem::replace(&mut self.state, State::Closed);
        self.inbox.check(now)?;
        let timer = match state {
            State::ExpectConnection { .. } => Timer::Connect,
            _ => Timer::Answer,
        };
        Err(CloseReason::TimedOut(timer))
    }

    /// Returns the state that it is in.
    pub fn state(&self) -> InquiryState {
        match self.state {
            State::ExpectConnection { .. } => InquiryState::ExpectConnection,
            State::ExpectText { .. } => InquiryState::ExpectText,
            State::ExpectFetches { .. } => InquiryState::ExpectFetches,
            State::ExpectNews { .. } => InquiryState::ExpectNews,
            State::Done => InquiryState::Done,
            State::Closed => InquiryState::Closed,
        }
    }
}
