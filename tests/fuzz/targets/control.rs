//! The control socket. Its messages: however a stream is cut, it is the same messages, and
//! each is encoded to the bytes that it was decoded from. Its machines: the one that is asked
//! is fed with anything, and what it answers is all that the other one, that asks, believes.

use std::collections::BTreeSet;

use p2pfs::content::Digest;
use p2pfs::limits::CONTROL_REASON_BYTES_MAX;
use p2pfs::proto::Transmit;
use p2pfs::proto::control::{
    Ask, Asked, Followed, Inquiry, InquiryState, News, Reply, Session, SessionState,
};
use p2pfs::wire::FieldText;
use p2pfs::wire::control::{Answer, Fetched, Question};
use p2pfs::wire::v0::FileName;

use super::clock::Clock;
use super::deframer;
use super::script::Script;

/// Each file is told of at most three times, with this much each.
const NEWS_BYTES_MAX: usize = 128 + CONTROL_REASON_BYTES_MAX;

/// The first byte chooses what is tried.
pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    match script.below(4) {
        kind @ (0 | 1) => {
            let cuts = script.bytes();
            let stream = script.remainder();
            match kind {
                0 => deframer::check::<Answer>(stream, cuts, Answer::encode),
                _ => deframer::check::<Question>(stream, cuts, Question::encode),
            }
        }
        2 => ask(&mut script),
        _ => answer(&mut script),
    }
}

/// A session is asked anything, and told of files, known and unknown.
fn ask(script: &mut Script<'_>) {
    let mut clock = Clock::new();
    let mut session = Session::new(clock.now());
    let (mut wanted, mut followed) = (BTreeSet::new(), BTreeSet::new());
    let mut searches = 0;
    let mut is_asked = false;
    while !script.is_over() && session.state() != SessionState::Closed {
        match script.below(8) {
            0 | 1 => {
                let (bytes, mut at) = (questions(script), 0);
                match session.handle_bytes(&bytes, &mut at) {
                    Ok(None) => assert_eq!(at, bytes.len(), "bytes are left over"),
                    Ok(Some(asked)) => {
                        assert!(!is_asked, "asked twice");
                        is_asked = true;
                        match asked {
                            Asked::Status { json } => {
                                session.answer_text(clock.now(), if json { "{}" } else { "" });
                            }
                            Asked::Fetches => session.answer_fetches(clock.now(), true),
                            Asked::Want { names, patterns } => {
                                followed.clone_from(&names);
                                (wanted, searches) = (names, patterns.len());
                            }
                        }
                    }
                    Err(_) => assert_eq!(session.state(), SessionState::Closed),
                }
            }
            2 | 3 => {
                let news = news(script);
                let before = pending(&session).len();
                let is_told = session.tell(clock.now(), &news);
                assert_eq!(is_told, pending(&session).len() > before);
                assert!(!is_told || wanted.contains(news.name()), "tells what nobody asked for");
                if is_told && news.is_end() {
                    wanted.remove(news.name());
                }
            }
            // Only a search finds names.
            6 if searches > 0 => {
                let name = script.name();
                let is_new = session.follow(clock.now(), name, true) == Followed::New;
                assert_eq!(is_new, followed.insert(name));
                wanted.extend(is_new.then_some(name));
            }
            7 if searches > 0 => {
                searches -= 1;
                session.end_search(clock.now(), if script.flag() { "why" } else { "" });
            }
            4 => {
                let len = (script.size(12) as usize).min(pending(&session).len());
                if len > 0 {
                    session.transmitted(clock.now(), len);
                }
            }
            _ => {
                clock.wait(script.wait());
                let before = session.poll_timeout();
                let verdict = session.handle_timeout(clock.now());
                clock.check_timeout(before, verdict.is_ok(), session.poll_timeout());
            }
        }
        let is_over = wanted.is_empty() && searches == 0;
        if !matches!(session.state(), SessionState::Closed) {
            assert_eq!(session.state() == SessionState::Following, is_asked && !is_over);
        }
        let most = 3 * NEWS_BYTES_MAX * (8 + followed.len());
        assert!(pending(&session).len() <= most, "an outbox without bounds");
        assert!(!session.is_done() || is_asked);
    }
}

/// Some questions, perhaps cut off, or anything.
fn questions(script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..script.below(4) {
        match script.below(8) {
            0 => bytes.extend_from_slice(script.bytes()),
            1 => Question::Status { json: script.flag() }.encode(&mut bytes),
            2 => Question::Fetches.encode(&mut bytes),
            3 => Question::Await.encode(&mut bytes),
            4 => bytes.truncate(script.below(bytes.len() + 1)),
            5 | 6 => Question::Want(script.name()).encode(&mut bytes),
            _ => {
                let pattern = FieldText::new(script.name().as_str());
                Question::Match(pattern).encode(&mut bytes);
            }
        }
    }
    bytes
}

/// An inquiry is answered anything.
fn answer(script: &mut Script<'_>) {
    let mut clock = Clock::new();
    let names: BTreeSet<_> = (0..script.below(4)).map(|_| script.name()).collect();
    let ask = match names.is_empty() {
        true if script.flag() => Ask::Fetches,
        true => Ask::Status { json: false },
        false => {
            let patterns = vec![FieldText::new("*"); script.below(3)];
            Ask::Want { names: names.clone(), patterns }
        }
    };
    let mut inquiry = Inquiry::new(clock.now(), ask.clone());
    if script.flag() {
        inquiry.handle_connected(clock.now());
    }
    let mut left = names;
    while !script.is_over() && inquiry.state() != InquiryState::Closed {
        match script.below(3) {
            0 => hear(&mut inquiry, &clock, &ask, &mut left, script.bytes()),
            1 => {
                let mut bytes = Vec::new();
                told(script).iter().for_each(|part| bytes.extend_from_slice(part));
                hear(&mut inquiry, &clock, &ask, &mut left, &bytes);
            }
            _ => {
                clock.wait(script.wait());
                let before = inquiry.poll_timeout();
                let verdict = inquiry.handle_timeout(clock.now());
                clock.check_timeout(before, verdict.is_ok(), inquiry.poll_timeout());
            }
        }
        if matches!(ask, Ask::Want { .. }) && inquiry.is_done() {
            assert!(left.is_empty(), "done before every file has its end");
        }
    }
}

fn hear(
    inquiry: &mut Inquiry,
    clock: &Clock,
    ask: &Ask,
    left: &mut BTreeSet<FileName>,
    bytes: &[u8],
) {
    let mut at = 0;
    loop {
        match (inquiry.handle_bytes(clock.now(), bytes, &mut at), ask) {
            (Ok(None), _) => return assert_eq!(at, bytes.len(), "bytes are left over"),
            (Ok(Some(Reply::Text(_))), Ask::Status { .. })
            | (Ok(Some(Reply::Fetches(_))), Ask::Fetches) => assert!(inquiry.is_done()),
            (Ok(Some(Reply::News(news))), Ask::Want { patterns, .. }) => {
                let is_known = left.contains(news.name()) || !patterns.is_empty();
                assert!(is_known, "news of what was not asked for, or has ended");
                match news.is_end() {
                    true => _ = left.remove(news.name()),
                    false => _ = left.insert(*news.name()),
                }
            }
            (Ok(Some(Reply::Searched(_))), Ask::Want { .. }) => {}
            (Ok(Some(reply)), _) => panic!("{reply:?} to {ask:?}"),
            (Err(_), _) => return assert_eq!(inquiry.state(), InquiryState::Closed),
        }
    }
}

fn pending(session: &Session) -> &[u8] {
    match session.transmit() {
        Some(Transmit::Bytes { bytes, .. }) => bytes,
        Some(Transmit::File { .. }) => panic!("a session sends no file"),
        None => &[],
    }
}

fn news(script: &mut Script<'_>) -> News {
    let name = script.name();
    match script.below(5) {
        0 => News::Waiting(name),
        1 => News::Offered(name),
        2 => News::Present(name),
        3 => News::Verified(fetched(name, script)),
        _ => {
            let reason = "why ".repeat(script.size(9) as usize);
            News::Failed { name, code: script.byte(), reason }
        }
    }
}

fn fetched(name: FileName, script: &mut Script<'_>) -> Fetched {
    let (peer, size_bytes, elapsed) = (script.peer(), script.size(63), script.wait());
    Fetched { name, peer, size_bytes, digest: Digest([7; 32]), elapsed }
}

/// A whole answer, with its payload.
fn told(script: &mut Script<'_>) -> [Vec<u8>; 2] {
    let (mut head, mut payload) = (Vec::new(), Vec::new());
    match script.below(5) {
        0 => {
            payload = vec![b'x'; script.below(16)];
            Answer::Text { len_bytes: payload.len() as u32 }
        }
        1 => Answer::Fetches(script.flag()),
        2 => Answer::Searched { doubt: "why".repeat(script.below(3)) },
        _ => Answer::News(news(script)),
    }
    .encode(&mut head);
    [head, payload]
}
