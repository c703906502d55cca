use std::time::{Duration, Instant};

use super::*;
use crate::content::Digest;
use crate::limits::{CONTROL_FETCHES_MAX, CONTROL_SEARCHES_MAX, CONTROL_TIMEOUT};
use crate::proto::{CloseReason, Timer, Transmit};
use crate::wire::control::Question;
use crate::wire::v0::FileName;
use crate::wire::{FieldText, PeerId};

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn want(names: &[&str]) -> Ask {
    Ask::Want { names: names.iter().map(|text| name(text)).collect(), patterns: Vec::new() }
}

fn fetched(text: &str) -> Fetched {
    let (digest, elapsed) = (Digest([7; 32]), Duration::from_micros(1_500_001));
    Fetched { name: name(text), peer: PeerId(3), size_bytes: 1 << 40, digest, elapsed }
}

fn failed(text: &str, reason: &str) -> News {
    News::Failed { name: name(text), code: 5, reason: reason.to_owned() }
}

fn bytes_of(transmit: Option<Transmit<'_>>) -> Vec<u8> {
    match transmit {
        Some(Transmit::Bytes { bytes, .. }) => bytes.to_vec(),
        Some(Transmit::File { .. }) => panic!("no file is sent"),
        None => Vec::new(),
    }
}

/// A session that was asked this.
fn asked(now: Instant, questions: &[Question]) -> (Session, Option<Asked>) {
    let mut bytes = Vec::new();
    questions.iter().for_each(|question| question.encode(&mut bytes));
    let mut session = Session::new(now);
    let asked = session.handle_bytes(&bytes, &mut 0).unwrap();
    (session, asked)
}

/// Asks, byte by byte, and returns what the session makes of it.
fn ask(now: Instant, ask: Ask) -> (Inquiry, Session, Asked) {
    let (mut inquiry, mut session) = (Inquiry::new(now, ask), Session::new(now));
    inquiry.handle_connected(now);
    let mut asked = None;
    for byte in bytes_of(inquiry.transmit()) {
        assert_eq!(asked, None, "more follows the question");
        inquiry.transmitted(1);
        asked = session.handle_bytes(&[byte], &mut 0).unwrap();
    }
    (inquiry, session, asked.unwrap())
}

/// Sends the answer in pieces of this length, and returns what the inquiry makes of it.
fn deliver(now: Instant, session: &mut Session, inquiry: &mut Inquiry, len: usize) -> Vec<Reply> {
    let mut replies = Vec::new();
    for piece in bytes_of(session.transmit()).chunks(len) {
        session.transmitted(now, piece.len());
        let mut at = 0;
        while let Some(reply) = inquiry.handle_bytes(now, piece, &mut at).unwrap() {
            replies.push(reply);
        }
        assert_eq!(at, piece.len());
    }
    replies
}

#[test]
fn each_question_is_understood_and_its_answer_too_however_they_are_cut() {
    let now = Instant::now();
    for len in [1, 3, 1000] {
        for text in ["", "one\ntwo\n"] {
            let (mut inquiry, mut session, asked) = ask(now, Ask::Status { json: true });
            assert_eq!(asked, Asked::Status { json: true });
            session.answer_text(now, text);
            let replies = deliver(now, &mut session, &mut inquiry, len);
            assert_eq!(replies, [Reply::Text(text.to_owned())]);
            assert!(session.is_done() && inquiry.is_done());
        }
        let (mut inquiry, mut session, asked) = ask(now, Ask::Fetches);
        assert_eq!(asked, Asked::Fetches);
        session.answer_fetches(now, true);
        assert_eq!(deliver(now, &mut session, &mut inquiry, len), [Reply::Fetches(true)]);
        assert!(session.is_done() && inquiry.is_done());

        let names = ["a", "b", "c"].map(name).into();
        let patterns = vec![FieldText::new("*.iso")];
        let ask_for = Ask::Want { names, patterns: patterns.clone() };
        let (mut inquiry, mut session, asked) = ask(now, ask_for);
        let wanted = ["a", "b", "c"].map(name).into();
        assert_eq!(asked, Asked::Want { names: wanted, patterns });
        let news = [
            News::Waiting(name("b")),
            News::Present(name("c")),
            News::Offered(name("b")),
            failed("b", ""),
            News::Verified(fetched("a")),
        ];
        news.iter().for_each(|news| assert!(session.tell(now, news)));
        assert!(!session.is_done() && !inquiry.is_done());
        let follow = |session: &mut Session, text| session.follow(now, name(text), true);
        assert_eq!(follow(&mut session, "a"), Followed::Known, "though it has its end");
        assert_eq!(follow(&mut session, "d.iso"), Followed::New);
        assert_eq!(follow(&mut session, "d.iso"), Followed::Known);
        assert_eq!(session.follow(now, name("e.iso"), false), Followed::Full);
        session.end_search(now, "perhaps");
        assert_eq!(session.waits_for().collect::<Vec<_>>(), [&name("d.iso")]);
        assert!(session.tell(now, &failed("d.iso", "")));
        let mut expected = Vec::from(news.map(Reply::News));
        expected.push(Reply::News(News::Offered(name("d.iso"))));
        expected.push(Reply::Searched("perhaps".to_owned()));
        expected.push(Reply::News(failed("d.iso", "")));
        assert_eq!(deliver(now, &mut session, &mut inquiry, len), expected);
        assert!(session.is_done() && inquiry.is_done());
    }
}

#[test]
fn a_client_is_told_only_of_its_own_files_and_each_thing_once() {
    let now = Instant::now();
    let wants = [Question::Want(name("a")), Question::Want(name("b")), Question::Await];
    let (mut session, _) = asked(now, &wants);
    let [waiting, offered] = [News::Waiting(name("a")), News::Offered(name("a"))];
    let before = [&waiting, &waiting, &News::Present(name("other")), &offered, &waiting, &offered];
    let told = before.map(|news| session.tell(now, news));
    assert_eq!(told, [true, false, false, true, false, false]);
    let end = failed("a", "why");
    assert_eq!([(); 2].map(|()| session.tell(now, &end)), [true, false]);
    let mut inquiry = Inquiry::new(now, want(&["a", "b"]));
    inquiry.handle_connected(now);
    let replies = deliver(now, &mut session, &mut inquiry, 9);
    assert_eq!(replies, [waiting, offered, end].map(Reply::News));
    assert_eq!(session.state(), SessionState::Following, "b has no end");
}

#[test]
fn a_question_that_dribbles_in_does_not_put_its_deadline_off() {
    let start = Instant::now();
    let mut session = Session::new(start);
    let mut wants = Vec::new();
    Question::Want(name("a")).encode(&mut wants);
    for _ in 0..100 {
        assert_eq!(session.handle_bytes(&wants, &mut 0), Ok(None));
    }
    let deadline = start + CONTROL_TIMEOUT;
    assert_eq!(session.poll_timeout(), Some(deadline));
    assert_eq!(session.handle_timeout(deadline - Duration::from_millis(1)), Ok(()));
    assert_eq!(session.handle_timeout(deadline), Err(CloseReason::TimedOut(Timer::Idle)));
    assert_eq!(session.state(), SessionState::Closed);
}

#[test]
fn no_more_is_taken_at_once_than_may_be() {
    let now = Instant::now();
    let one = |number: usize| Question::Want(name(&format!("{number}")));
    let pattern = Question::Match(FieldText::new("*"));
    let mut most: Vec<_> = (0..CONTROL_FETCHES_MAX).map(one).collect();
    most.extend([pattern; CONTROL_SEARCHES_MAX]);
    most.extend([one(7), Question::Await]);
    let (mut session, asked_for) = asked(now, &most);
    let Some(Asked::Want { names, patterns }) = asked_for else { panic!("{asked_for:?}") };
    assert_eq!((names.len(), session.poll_timeout()), (CONTROL_FETCHES_MAX, None));
    assert_eq!(patterns.len(), CONTROL_SEARCHES_MAX);
    assert_eq!(session.follow(now, name("one more"), true), Followed::Full);
    let names: Vec<_> = (0..=CONTROL_FETCHES_MAX).map(one).collect();
    for too_many in [&names[..], &[pattern; CONTROL_SEARCHES_MAX + 1]] {
        let mut bytes = Vec::new();
        too_many.iter().for_each(|question| question.encode(&mut bytes));
        let mut session = Session::new(now);
        let refused = session.handle_bytes(&bytes, &mut 0);
        assert!(matches!(refused, Err(CloseReason::PeerViolated { .. })), "{refused:?}");
    }
}

#[test]
fn a_client_may_wait_as_long_as_it_likes_but_has_to_read() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let (mut session, _) = asked(start, &[Question::Want(name("a")), Question::Await]);
    assert_eq!(session.poll_timeout(), None);
    session.tell(at(1000), &News::Waiting(name("a")));
    assert_eq!(session.poll_timeout(), Some(at(1000) + CONTROL_TIMEOUT));
    session.transmitted(at(1004), 1);
    assert_eq!(session.handle_timeout(at(1005)), Ok(()), "it reads");
    session.transmitted(at(1006), 3);
    assert_eq!(session.poll_timeout(), None);
    session.tell(at(2000), &News::Present(name("a")));
    let late = at(2000) + CONTROL_TIMEOUT;
    assert_eq!(session.handle_timeout(late), Err(CloseReason::TimedOut(Timer::Progress)));
}

#[test]
fn an_answer_has_to_begin_in_time_and_to_go_on() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut unconnected = Inquiry::new(start, Ask::Fetches);
    let timed_out = unconnected.handle_timeout(start + CONTROL_TIMEOUT);
    assert_eq!(timed_out, Err(CloseReason::TimedOut(Timer::Connect)));
    let mut inquiry = Inquiry::new(start, Ask::Status { json: false });
    inquiry.handle_connected(at(4));
    let pieces: [&[u8]; 3] = [b"T\0\0", b"\0\x09abc", b"def"];
    for (piece, seconds) in pieces.into_iter().zip([8, 12, 16]) {
        assert_eq!(inquiry.handle_timeout(at(seconds)), Ok(()));
        assert_eq!(inquiry.handle_bytes(at(seconds), piece, &mut 0), Ok(None));
    }
    let timed_out = inquiry.handle_timeout(at(16) + CONTROL_TIMEOUT);
    assert_eq!(timed_out, Err(CloseReason::TimedOut(Timer::Answer)));
    let mut following = Inquiry::new(start, want(&["a"]));
    following.handle_connected(start);
    assert_eq!(following.poll_timeout(), None);
}

#[test]
fn news_of_what_was_not_asked_for_is_refused_and_an_end_comes_once() {
    let now = Instant::now();
    for other in [News::Waiting(name("x")), News::Present(name("x")), failed("x", "why")] {
        let (mut session, _) = asked(now, &[Question::Want(name("x")), Question::Await]);
        session.tell(now, &other);
        let mut inquiry = Inquiry::new(now, want(&["a", "b"]));
        inquiry.handle_connected(now);
        let refused = inquiry.handle_bytes(now, &bytes_of(session.transmit()), &mut 0);
        assert!(matches!(refused, Err(CloseReason::PeerViolated { .. })), "{refused:?}");
    }
    let mut inquiry = Inquiry::new(now, want(&["a", "b"]));
    inquiry.handle_connected(now);
    let end = inquiry.handle_bytes(now, b"P\0\x01a", &mut 0);
    assert_eq!(end, Ok(Some(Reply::News(News::Present(name("a"))))));
    assert!(inquiry.handle_bytes(now, b"P\0\x01a", &mut 0).is_err());
}
