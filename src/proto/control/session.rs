//! The end of the program that is asked.
//!
//! ```text
//!                  Status, Fetches               answer_*
//!  ExpectQuestion ─────────────────▶ ExpectAnswer ─────────▶ Answered
//!   │ Want, Match                                               ▲
//!   ▼           Await     the last end of a file or a search    │
//!  ExpectWant ─────────▶ Following ─────────────────────────────┘
//!   │   ▲                 │     ▲
//!   └───┘                 └─────┘
//!   Want, Match           tell, follow, end_search
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
use crate::limits::{
    CONTROL_ANSWER_BYTES_MAX, CONTROL_FETCHES_MAX, CONTROL_SEARCHES_MAX, CONTROL_TIMEOUT,
};
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
    /// Bounded by the length of a text, or by three answers for each file, and one for each
    /// pattern.
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
    /// These files are wanted, and those that match: to be answered by [`Session::tell`] until
    /// each has its end, and by [`Session::end_search`] for each pattern.
    Want { names: BTreeSet<FileName>, patterns: Vec<FieldText> },
}

/// What came of a name that was to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The client is told what becomes of it from now on.
    New,
    /// The client was or is told of it.
    Known,
    /// The client follows as many files as it may.
    Full,
}

/// The states of a [`Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Nothing has come.
    ExpectQuestion,
    /// More may be wanted.
    ExpectWant,
    /// The program has not answered yet.
    ExpectAnswer,
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
        Self::ExpectWant,
        Self::ExpectAnswer,
        Self::Following,
        Self::Answered,
        Self::Closed,
    ];

    fn row(self) -> Row<Self> {
        use QuestionKind::{Await, Fetches, Match, Status, Want};
        match self {
            Self::ExpectQuestion => Row {
                expected: "a question",
                legal: &[
                    (Status, &[Self::ExpectAnswer]),
                    (Fetches, &[Self::ExpectAnswer]),
                    (Want, &[Self::ExpectWant]),
                    (Match, &[Self::ExpectWant]),
                ],
            },
            Self::ExpectWant => Row {
                expected: "more that is wanted, or the end of it",
                legal: &[
                    (Want, &[Self::ExpectWant]),
                    (Match, &[Self::ExpectWant]),
                    (Await, &[Self::Following]),
                ],
            },
            Self::ExpectAnswer | Self::Following | Self::Answered => {
                Row::silent("nothing after the question")
            }
            Self::Closed => Row::silent("nothing"),
        }
    }
}

#[derive(Debug)]
enum State {
    ExpectQuestion { deadline: Instant },
    ExpectWant { names: BTreeMap<FileName, Told>, patterns: Vec<FieldText>, deadline: Instant },
    ExpectAnswer,
    Following(Follows),
    Answered,
    Closed,
}

/// What a client waits for.
#[derive(Debug)]
struct Follows {
    /// All that it was ever told of, too.
    names: BTreeMap<FileName, Told>,
    /// How many of them have no end yet.
    open: usize,
    /// How many patterns may bring more names.
    searches: usize,
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
            (State::ExpectQuestion { deadline }, Question::Want(name)) => {
                let names = BTreeMap::from([(name, Told::Nothing)]);
                (State::ExpectWant { names, patterns: Vec::new(), deadline }, None)
            }
            (State::ExpectQuestion { deadline }, Question::Match(pattern)) => {
                let (names, patterns) = (BTreeMap::new(), vec![pattern]);
                (State::ExpectWant { names, patterns, deadline }, None)
            }
            (State::ExpectWant { mut names, patterns, deadline }, Question::Want(name)) => {
                names.insert(name, Told::Nothing);
                if names.len() > CONTROL_FETCHES_MAX {
                    return Err(wants_too_much(kind));
                }
                (State::ExpectWant { names, patterns, deadline }, None)
            }
            (State::ExpectWant { names, mut patterns, deadline }, Question::Match(pattern)) => {
                patterns.push(pattern);
                if patterns.len() > CONTROL_SEARCHES_MAX {
                    return Err(wants_too_much(kind));
                }
                (State::ExpectWant { names, patterns, deadline }, None)
            }
            (State::ExpectWant { names, patterns, .. }, Question::Await) => {
                let wanted = names.keys().copied().collect();
                let (open, searches) = (names.len(), patterns.len());
                let follows = Follows { names, open, searches };
                (State::Following(follows), Some(Asked::Want { names: wanted, patterns }))
            }
            _ => return Err(state.violation(kind)),
        };
        self.state = next;
        debug_assert!(state.next(kind).contains(&self.state()));
        Ok(asked)
    }

    /// Answers [`Asked::Status`], cut off at [`CONTROL_ANSWER_BYTES_MAX`].
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
        let is_asked = matches!(self.state, State::ExpectAnswer);
        debug_assert!(is_asked, "{:?}", self.state);
        if is_asked {
            self.state = State::Answered;
            self.push(now, encode);
        }
    }

    /// Tells the client what becomes of a file, if it waits for that and does not know it.
    /// Returns whether it does.
    pub fn tell(&mut self, now: Instant, news: &News) -> bool {
        let State::Following(follows) = &mut self.state else { return false };
        let Some(told) = follows.names.get_mut(news.name()) else { return false };
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
            follows.open -= 1;
            self.answer_if_over();
        }
        self.push(now, |out| news.encode(out));
        true
    }

    /// A file on offer matches a pattern of the client: it is told what becomes of it, if there
    /// is room for one more.
    pub fn follow(&mut self, now: Instant, name: FileName, has_room: bool) -> Followed {
        let State::Following(follows) = &mut self.state else { return Followed::Known };
        if follows.names.contains_key(&name) {
            return Followed::Known;
        }
        if !has_room || follows.names.len() >= CONTROL_FETCHES_MAX {
            return Followed::Full;
        }
        follows.names.insert(name, Told::Offered);
        follows.open += 1;
        self.push(now, |out| News::Offered(name).encode(out));
        Followed::New
    }

    /// A pattern of the client brings no more names; there may be more if there is a doubt.
    pub fn end_search(&mut self, now: Instant, doubt: &str) {
        let State::Following(follows) = &mut self.state else { return };
        debug_assert!(follows.searches > 0);
        follows.searches = follows.searches.saturating_sub(1);
        self.answer_if_over();
        self.push(now, |out| Answer::Searched { doubt: doubt.to_owned() }.encode(out));
    }

    fn answer_if_over(&mut self) {
        if let State::Following(Follows { open: 0, searches: 0, .. }) = self.state {
            self.state = State::Answered;
        }
    }

    /// Returns the files that it waits for.
    pub fn waits_for(&self) -> impl Iterator<Item = &FileName> {
        let follows = match &self.state {
            State::Following(follows) => Some(follows),
            _ => None,
        };
        let names = follows.into_iter().flat_map(|follows| &follows.names);
        names.filter(|(_, told)| **told != Told::End).map(|(name, _)| name)
    }

    /// Returns how many files it waits for, and how many patterns may bring more.
    pub fn waits_for_how_many(&self) -> (usize, usize) {
        match &self.state {
            State::Following(follows) => (follows.open, follows.searches),
            _ => (0, 0),
        }
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
            State::ExpectQuestion { deadline } | State::ExpectWant { deadline, .. } => {
                Some(deadline)
            }
            State::ExpectAnswer | State::Following(_) | State::Answered => {
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
            State::ExpectQuestion { .. } | State::ExpectWant { .. } => Timer::Idle,
            _ => Timer::Progress,
        };
        Err(CloseReason::TimedOut(timer))
    }

    /// Returns the state that it is in.
    pub fn state(&self) -> SessionState {
        match self.state {
            State::ExpectQuestion { .. } => SessionState::ExpectQuestion,
            State::ExpectWant { .. } => SessionState::ExpectWant,
            State::ExpectAnswer => SessionState::ExpectAnswer,
            State::Following(_) => SessionState::Following,
            State::Answered => SessionState::Answered,
            State::Closed => SessionState::Closed,
        }
    }
}

fn wants_too_much(kind: QuestionKind) -> CloseReason {
    let expected = "no more than is taken at once";
    CloseReason::PeerViolated { expected, got: kind.term() }
}
