//! Two sessions talk to each other, and one talks to a peer that breaks the rules.

use std::time::Duration;

use super::*;
use crate::content::ContentId;
use crate::limits::{
    DATA_BYTES_MAX, IDLE_TIMEOUT, LIST_REQUESTS_MAX, PROGRESS_TIMEOUT, STRAY_BYTES_MAX,
};
use crate::wire::v1::{EntryState, PeerName};
use crate::wire::{Deframer, FilePath, PeerId};

const BLOCK: u64 = 256 * 1024;

fn session(instance: u64, is_dialed: bool, now: Instant) -> Session {
    let name = PeerName::new("ann").unwrap();
    let our = Rc::new(SessionSettings { peer: PeerId(instance as u32), instance, name });
    Session::new(now, &Rc::new(Limits::PEER), &our, is_dialed)
}

/// A content of so many bytes.
fn content(size_bytes: u64) -> Content {
    Content { id: ContentId([7; 32]), size_bytes }
}

fn list(watch: bool) -> Request {
    let path = FilePath::new("a").ok();
    Request::List { since: 0, path, watch, hash_first: false, fetch_list: false }
}

fn get(content: Content, first: u32, count: u32) -> Request {
    Request::Get { turn: 1, content, first, count }
}

fn entry(path: &str) -> Entry {
    Entry { path: FilePath::new(path).unwrap(), state: EntryState::Removed }
}

fn page(complete: bool) -> Page {
    Page { generation: 5, discard: false, all_listed: false, complete }
}

/// Takes all that a session sends; files are zeros.
fn sent(session: &mut Session, now: Instant) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(transmit) = session.transmit() {
        let len_bytes = match transmit {
            Transmit::Bytes { bytes: piece, .. } => {
                bytes.extend_from_slice(piece);
                piece.len()
            }
            Transmit::File { len_bytes, .. } => {
                bytes.resize(bytes.len() + len_bytes as usize, 0);
                len_bytes as usize
            }
        };
        session.transmitted(now, len_bytes);
    }
    bytes
}

fn messages(bytes: &[u8]) -> Vec<SessionMessage> {
    let (mut deframer, mut messages, mut at) = (Deframer::default(), Vec::new(), 0);
    while let Some(frame) = deframer.next(bytes, &mut at).unwrap() {
        if let Frame::Message(message) = frame {
            messages.push(message);
        }
    }
    messages
}

/// Gives bytes in pieces of `piece_bytes` and returns all events.
fn receive(
    session: &mut Session,
    now: Instant,
    bytes: &[u8],
    piece_bytes: usize,
) -> Result<Vec<SessionEvent>, CloseReason> {
    let mut events = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        let mut at = 0;
        while let Some(event) = session.handle_bytes(now, piece, &mut at)? {
            events.push(event);
        }
        assert_eq!(at, piece.len());
    }
    Ok(events)
}

/// Two open sessions; the first dialed.
struct Pair {
    now: Instant,
    dialed: Session,
    accepted: Session,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let (mut dialed, mut accepted) = (session(1, true, now), session(2, false, now));
        assert!(accepted.transmit().is_none(), "the dialer speaks first");
        let hello = sent(&mut dialed, now);
        assert!(matches!(
            receive(&mut accepted, now, &hello, 3).unwrap().as_slice(),
            [SessionEvent::Hello { peer: PeerId(1), instance: 1, .. }]
        ));
        let hello = sent(&mut accepted, now);
        assert!(matches!(
            receive(&mut dialed, now, &hello, 3).unwrap().as_slice(),
            [SessionEvent::Hello { peer: PeerId(2), instance: 2, .. }]
        ));
        Self { now, dialed, accepted }
    }

    /// The dialer requests; gives the number.
    fn request(&mut self, request: &Request) -> u32 {
        let req = self.dialed.request(self.now, request).unwrap();
        let bytes = sent(&mut self.dialed, self.now);
        let requested = SessionEvent::Requested { req, request: request.clone() };
        assert_eq!(receive(&mut self.accepted, self.now, &bytes, 7), Ok(vec![requested]));
        req
    }

    /// What the acceptor sends reaches the dialer.
    fn answers(&mut self, piece_bytes: usize) -> Vec<SessionEvent> {
        let bytes = sent(&mut self.accepted, self.now);
        receive(&mut self.dialed, self.now, &bytes, piece_bytes).unwrap()
    }

    fn receive(
        &mut self,
        message: &SessionMessage,
        payload_bytes: usize,
    ) -> Result<Vec<SessionEvent>, CloseReason> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        bytes.resize(bytes.len() + payload_bytes, 0);
        receive(&mut self.dialed, self.now, &bytes, 64 * 1024)
    }
}

#[test]
fn each_request_is_answered_in_its_kind_wherever_the_stream_is_cut() {
    for piece_bytes in [1, 10, 1_000_000] {
        let mut pair = Pair::new();
        let now = pair.now;

        let req = pair.request(&list(false));
        let entries = [entry("a"), entry("a/b")];
        pair.accepted.answer_page(now, req, page(false), false, &entries);
        pair.accepted.answer_page(now, req, page(true), false, &[]);
        let answers = pair.answers(piece_bytes);
        let came = answers.iter().flat_map(|event| match event {
            SessionEvent::Page { entries, .. } => entries.clone(),
            other => panic!("{other:?}"),
        });
        assert!(came.eq(entries));
        let last = SessionEvent::Page { req, page: page(true), entries: Vec::new() };
        assert_eq!(answers.last(), Some(&last));

        let two = content(BLOCK + 1);
        let req = pair.request(&Request::Blocks(two.id));
        let mut held = BlockSet::none(2);
        held.insert(1);
        pair.accepted.answer_held(now, req, two.size_bytes, held.clone());
        pair.accepted.answer_more_held(now, req, vec![0]);
        assert_eq!(
            pair.answers(piece_bytes),
            [
                SessionEvent::Held { req, size_bytes: two.size_bytes, blocks: held },
                SessionEvent::MoreHeld { req, blocks: vec![0] },
            ]
        );

        let req = pair.request(&Request::Manifest(two));
        pair.accepted.answer_manifest(now, req, [[1; 32], [2; 32]].into());
        let values = vec![[1; 32], [2; 32]];
        assert_eq!(pair.answers(piece_bytes), [SessionEvent::Manifest { req, values }]);

        let turn = pair.request(&Request::Wait(two));
        pair.accepted.answer_turn(now, turn, 3);
        assert_eq!(pair.answers(piece_bytes), [SessionEvent::Turn { req: turn, blocks: 3 }]);

        let req = pair.request(&get(two, 0, 2));
        pair.accepted.answer_data(now, req, FileId(1), 0..two.size_bytes, true);
        let mut came_bytes = 0;
        for event in pair.answers(piece_bytes.max(1_000)) {
            let SessionEvent::Data { range, is_last, .. } = event else { panic!("{event:?}") };
            came_bytes += range.len() as u64;
            assert_eq!(is_last, came_bytes == two.size_bytes);
        }
        assert_eq!(came_bytes, two.size_bytes);

        let req = pair.request(&Request::Manifest(two));
        pair.accepted.refuse(now, req, SessionError::Changed, 9, "it changed");
        let (error, text) = (SessionError::Changed, "it changed".into());
        assert_eq!(
            pair.answers(piece_bytes),
            [SessionEvent::Failed { req, error, wait_ms: 9, text }]
        );

        pair.dialed.cancel(now, turn);
        pair.dialed.tell(now, two, Verdict::Verified);
        let bytes = sent(&mut pair.dialed, now);
        assert_eq!(
            receive(&mut pair.accepted, now, &bytes, piece_bytes).unwrap(),
            [
                SessionEvent::Cancelled { req: turn },
                SessionEvent::Verdict { content: two, verdict: Verdict::Verified },
            ]
        );
    }
}

#[test]
fn an_answer_that_nothing_awaits_ends_the_session_and_one_that_is_late_does_not() {
    let (two, held) = (content(BLOCK + 1), BlockSet::none(2));
    let requests = [
        list(true),
        Request::Blocks(two.id),
        Request::Manifest(two),
        Request::Wait(two),
        get(two, 0, 1),
    ];
    let text = || Box::from("");
    let answers = |req| {
        [
            (
                SessionMessage::Page {
                    req,
                    generation: 1,
                    complete: false,
                    discard: false,
                    fetch_list: false,
                    all_listed: false,
                    count: 0,
                    entries_bytes: 0,
                },
                0,
            ),
            (SessionMessage::Held { req, size_bytes: two.size_bytes, blocks: held.clone() }, 0),
            (SessionMessage::Manifest { req, values: 2 }, 64),
            (SessionMessage::Turn { req, blocks: 1 }, 0),
            (SessionMessage::Data { req, data_bytes: 100 }, 100),
            (SessionMessage::MoreHeld { req, blocks: vec![1] }, 0),
            (SessionMessage::Error { req, error: SessionError::Busy, wait_ms: 0, text: text() }, 0),
        ]
    };
    for (at, request) in requests.iter().enumerate() {
        for (of, (answer, payload_bytes)) in answers(1).into_iter().enumerate() {
            let mut pair = Pair::new();
            let req = pair.request(request);
            let is_legal = at == of || of == 6;
            let result = pair.receive(&answer, payload_bytes);
            assert_eq!(result.is_ok(), is_legal, "{request:?}: {answer:?}: {result:?}");
            if !is_legal {
                assert_eq!(pair.dialed.state(), SessionState::Closed);
                let told = messages(&sent(&mut pair.dialed, pair.now));
                let error = SessionError::NotUnderstood;
                let ended = SessionMessage::Error { req: 0, error, wait_ms: 0, text: text() };
                assert_eq!(told, [ended], "the other side learns it");
            }
            // Once it is over, whatever comes for it is skipped; for one never made it is not.
            let mut pair = Pair::new();
            pair.request(request);
            pair.dialed.cancel(pair.now, req);
            assert_eq!(pair.receive(&answer, payload_bytes), Ok(vec![]), "{answer:?}");
            let (never, payload_bytes) = answers(2).into_iter().nth(of).unwrap();
            let refused = Err(CloseReason::Malformed(Malformed::Request { got: 2 }));
            assert_eq!(pair.receive(&never, payload_bytes), refused, "{never:?}");
        }
    }
}

#[test]
fn held_comes_once_and_more_held_behind_it_and_data_ends_with_the_last_byte() {
    let two = content(BLOCK + 1);
    let held =
        |req| SessionMessage::Held { req, size_bytes: two.size_bytes, blocks: BlockSet::none(2) };
    let mut pair = Pair::new();
    let req = pair.request(&Request::Blocks(two.id));
    assert!(pair.receive(&held(req), 0).is_ok());
    assert!(pair.receive(&held(req), 0).is_err(), "a second one");
    for (data_bytes, is_legal) in [(1, true), (2, false)] {
        let mut pair = Pair::new();
        let req = pair.request(&get(two, 1, 1));
        let data = SessionMessage::Data { req, data_bytes };
        assert_eq!(pair.receive(&data, data_bytes as usize).is_ok(), is_legal);
    }
}

#[test]
fn pages_reach_further_stay_below_their_path_and_come_from_the_list_that_was_asked() {
    let page = |req, generation, discard, fetch_list| SessionMessage::Page {
        req,
        generation,
        complete: false,
        discard,
        fetch_list,
        all_listed: false,
        count: 0,
        entries_bytes: 0,
    };
    let cases = [
        (page(1, 5, false, false), true),
        (page(1, 4, false, false), false),
        (page(1, 4, true, false), true),
        (page(1, 6, false, true), false),
    ];
    for (second, is_legal) in cases {
        let mut pair = Pair::new();
        pair.request(&list(true));
        assert!(pair.receive(&page(1, 5, false, false), 0).is_ok());
        assert_eq!(pair.receive(&second, 0).is_ok(), is_legal, "{second:?}");
    }
    let mut pair = Pair::new();
    let req = pair.request(&list(true));
    pair.accepted.answer_page(
        pair.now,
        req,
        Page { generation: 1, discard: false, all_listed: false, complete: true },
        false,
        &[entry("ab")],
    );
    let bytes = sent(&mut pair.accepted, pair.now);
    let outside = Err(CloseReason::Malformed(Malformed::EntryOutside));
    assert_eq!(receive(&mut pair.dialed, pair.now, &bytes, 9), outside);
}

#[test]
fn numbers_of_requests_ascend_and_what_is_not_understood_is_answered() {
    for (numbers, is_legal) in
        [(&[1, 2, 9][..], true), (&[0], false), (&[2, 2], false), (&[2, 1], false)]
    {
        let mut pair = Pair::new();
        let mut receive =
            |&req: &u32| pair.receive(&SessionMessage::Blocks { req, id: content(1).id }, 0);
        assert_eq!(numbers.iter().map(&mut receive).all(|result| result.is_ok()), is_legal);
    }
    let mut pair = Pair::new();
    let unknown = SessionMessage::Unknown { kind: b'Z', req: Some(4), ignored_bytes: 3 };
    assert_eq!(pair.receive(&unknown, 3), Ok(vec![]));
    for (req, (first, count)) in (5..).zip([(0, 0), (2, 1), (0, 3), (u32::MAX, 2)]) {
        let content = content(BLOCK + 1);
        let asked = SessionMessage::Get { req, turn: 0, content, first, count };
        assert_eq!(pair.receive(&asked, 0), Ok(vec![]), "{asked:?}");
    }
    let told = messages(&sent(&mut pair.dialed, pair.now));
    let is_not_understood = |message: &SessionMessage| {
        matches!(message, SessionMessage::Error { error: SessionError::NotUnderstood, .. })
    };
    assert!(told.len() == 5 && told.iter().all(is_not_understood), "{told:?}");
    let cancelled = pair.receive(&SessionMessage::Cancel { req: 99 }, 0);
    assert_eq!(cancelled, Err(CloseReason::Malformed(Malformed::Request { got: 99 })));
}

#[test]
fn more_requests_than_may_be_open_are_refused_as_busy() {
    let mut pair = Pair::new();
    for _ in 0..LIST_REQUESTS_MAX {
        pair.request(&list(true));
    }
    assert_eq!(pair.dialed.request(pair.now, &list(true)), None, "we do not even ask");
    let one_more = list(true).message(100);
    let mut bytes = Vec::new();
    one_more.encode(&mut bytes);
    assert_eq!(receive(&mut pair.accepted, pair.now, &bytes, 99), Ok(vec![]));
    let told = messages(&sent(&mut pair.accepted, pair.now));
    let is_busy = matches!(
        told.as_slice(),
        [SessionMessage::Error { req: 100, error: SessionError::Busy, .. }]
    );
    assert!(is_busy, "{told:?}");
    assert!(pair.dialed.request(pair.now, &Request::Blocks(content(1).id)).is_some());
}

#[test]
fn short_frames_go_first_and_large_files_take_turns_with_all_else() {
    let mut pair = Pair::new();
    let (now, large) = (pair.now, content(4 * BLOCK));
    let [large_a, large_b] = [0, 1].map(|_| pair.request(&get(large, 0, 4)));
    let [small_a, small_b] = [0, 1].map(|_| pair.request(&get(content(9), 0, 1)));
    for req in [large_a, large_b] {
        pair.accepted.answer_data(now, req, FileId(1), 0..2 * BLOCK, true);
    }
    for req in [small_a, small_b] {
        pair.accepted.answer_data(now, req, FileId(2), 0..9, false);
    }
    pair.accepted.request(now, &Request::Blocks(large.id));
    let reqs = messages(&sent(&mut pair.accepted, now)).into_iter().map(|message| match message {
        SessionMessage::Data { req, data_bytes } => {
            assert!(data_bytes <= DATA_BYTES_MAX);
            req
        }
        _ => 0,
    });
    let expected = [0, large_a, small_a, large_a, small_b, large_b, large_b];
    assert_eq!(reqs.collect::<Vec<_>>(), expected);
}

#[test]
fn a_cancelled_answer_stops_at_the_end_of_its_frame() {
    let mut pair = Pair::new();
    let (now, large) = (pair.now, content(4 * BLOCK));
    let req = pair.request(&get(large, 0, 4));
    pair.accepted.answer_data(now, req, FileId(1), 0..4 * BLOCK, true);
    pair.accepted.transmitted(now, 1);
    pair.dialed.cancel(now, req);
    let bytes = sent(&mut pair.dialed, now);
    let cancelled = Ok(vec![SessionEvent::Cancelled { req }]);
    assert_eq!(receive(&mut pair.accepted, now, &bytes, 9), cancelled);
    assert!(pair.accepted.is_sending(req));
    let rest = sent(&mut pair.accepted, now);
    assert_eq!(rest.len() as u64, 8 + BLOCK, "the head but for a byte, and one frame");
    assert!(!pair.accepted.is_sending(req));
}

#[test]
fn late_answers_are_skipped_up_to_a_bound() {
    let mut pair = Pair::new();
    let req = pair.request(&get(content(u64::from(DATA_BYTES_MAX)), 0, 1));
    pair.dialed.cancel(pair.now, req);
    let data = SessionMessage::Data { req, data_bytes: DATA_BYTES_MAX };
    let skipped = (0..1_000).take_while(|_| pair.receive(&data, DATA_BYTES_MAX as usize).is_ok());
    assert_eq!(skipped.count() as u64, STRAY_BYTES_MAX / (u64::from(DATA_BYTES_MAX) + 1));
}

#[test]
fn a_frame_of_a_later_version_or_of_a_request_that_is_over_is_no_data() {
    let two = content(2 * BLOCK);
    let mut pair = Pair::new();
    let req = pair.request(&get(two, 0, 2));
    let data = |req| SessionMessage::Data { req, data_bytes: 100 };
    assert_eq!(pair.receive(&data(req), 100).unwrap().len(), 1);
    let unknown = SessionMessage::Unknown { kind: b'z', req: None, ignored_bytes: 50 };
    let now = pair.now;
    pair.now += PROGRESS_TIMEOUT / 2;
    assert_eq!(pair.receive(&unknown, 50), Ok(vec![]));
    assert_eq!(pair.dialed.poll_timeout(), Some(now + PROGRESS_TIMEOUT), "and no progress");

    let (mut pair, values) = (Pair::new(), 2);
    let req = pair.request(&Request::Manifest(two));
    let mut bytes = Vec::new();
    SessionMessage::Manifest { req, values }.encode(&mut bytes);
    bytes.resize(bytes.len() + 10, 0);
    assert_eq!(receive(&mut pair.dialed, pair.now, &bytes, 99), Ok(vec![]));
    pair.dialed.cancel(pair.now, req);
    assert_eq!(receive(&mut pair.dialed, pair.now, &[0; 54], 99), Ok(vec![]), "cancelled");
}

#[test]
fn a_peer_that_does_not_read_is_sent_a_bounded_amount() {
    let mut pair = Pair::new();
    let mut queued = 0;
    for req in (1..).take(1_000_000) {
        let allowance_bytes = pair.accepted.read_allowance_bytes();
        if allowance_bytes < 9 {
            break;
        }
        let mut bytes = Vec::new();
        SessionMessage::Unknown { kind: b'Z', req: Some(req), ignored_bytes: 0 }.encode(&mut bytes);
        receive(&mut pair.accepted, pair.now, &bytes, 99).unwrap();
        queued = req;
    }
    let told_bytes = sent(&mut pair.accepted, pair.now).len();
    assert!(queued > 1_000 && told_bytes <= 2 * ANSWERS_BYTES_MAX, "{queued}: {told_bytes}");

    // A list stays open until its last page is sent, so there is one page for each.
    let mut pair = Pair::new();
    for _ in 0..LIST_REQUESTS_MAX {
        let req = pair.request(&list(false));
        pair.accepted.answer_page(pair.now, req, page(true), false, &[entry("a")]);
    }
    let mut bytes = Vec::new();
    list(false).message(100).encode(&mut bytes);
    assert_eq!(receive(&mut pair.accepted, pair.now, &bytes, 99), Ok(vec![]), "busy");
    sent(&mut pair.accepted, pair.now);
    bytes.clear();
    list(false).message(101).encode(&mut bytes);
    assert_eq!(receive(&mut pair.accepted, pair.now, &bytes, 99).unwrap().len(), 1);
}

#[test]
fn who_says_nothing_answers_nothing_or_has_nothing_to_do_is_left() {
    let late = |session: &mut Session, timer| {
        let deadline = session.poll_timeout().unwrap();
        assert_eq!(session.handle_timeout(deadline - Duration::from_nanos(1)), Ok(()));
        assert_eq!(session.handle_timeout(deadline), Err(CloseReason::TimedOut(timer)));
        deadline
    };
    let now = Instant::now();
    let silent = |is_dialed| session(1, is_dialed, now);
    assert_eq!(late(&mut silent(true), Timer::Hello), now + DIALED_HELLO_TIMEOUT);
    assert_eq!(late(&mut silent(false), Timer::Hello), now + HELLO_TIMEOUT);

    let mut pair = Pair::new();
    assert_eq!(late(&mut pair.dialed, Timer::Idle), pair.now + IDLE_TIMEOUT);
    let mut pair = Pair::new();
    pair.request(&list(false));
    assert_eq!(late(&mut pair.dialed, Timer::Progress), pair.now + PROGRESS_TIMEOUT);
    assert_eq!(pair.accepted.poll_timeout(), None, "the answer is ours to give");
    let mut pair = Pair::new();
    pair.request(&Request::Blocks(content(1).id));
    assert_eq!((pair.dialed.poll_timeout(), pair.accepted.poll_timeout()), (None, None));

    // A watch that is told nothing new, too.
    let mut pair = Pair::new();
    let req = pair.request(&list(true));
    pair.accepted.answer_page(pair.now, req, page(true), false, &[]);
    pair.answers(9);
    assert_eq!((pair.dialed.poll_timeout(), pair.accepted.poll_timeout()), (None, None));

    // A list that waits for hashes may take as long as these do.
    let mut pair = Pair::new();
    let path = None;
    let hashing =
        Request::List { since: 0, path, watch: false, hash_first: true, fetch_list: false };
    let req = pair.request(&hashing);
    let all_listed = Page { generation: 1, discard: false, all_listed: true, complete: false };
    pair.accepted.answer_page(pair.now, req, all_listed, false, &[]);
    pair.answers(9);
    assert_eq!(pair.dialed.poll_timeout(), None);
}

#[test]
fn a_peer_does_not_talk_to_itself_and_says_hello_once() {
    let now = Instant::now();
    let (mut dialed, mut accepted) = (session(1, true, now), session(1, false, now));
    let hello = sent(&mut dialed, now);
    assert_eq!(receive(&mut accepted, now, &hello, 9), Err(CloseReason::Ourselves));
    assert_eq!(messages(&sent(&mut accepted, now)).len(), 1, "a hello, and no reason");
    let mut pair = Pair::new();
    assert!(receive(&mut pair.accepted, now, &hello, 9).is_err());
    let mut accepted = session(3, false, now);
    let mut bytes = Vec::new();
    SessionMessage::Cancel { req: 1 }.encode(&mut bytes);
    assert!(receive(&mut accepted, now, &bytes, 9).is_err() && accepted.transmit().is_none());
    for (first, is_hello) in [(&[b'H', 0][..], true), (&[b'H', 1], false), (b"HE", false)] {
        for piece_bytes in [1, 2] {
            let mut accepted = session(3, false, now);
            assert_eq!(receive(&mut accepted, now, &first[..1], 1), Ok(vec![]));
            assert!(accepted.transmit().is_none(), "half of it tells nothing");
            let mut accepted = session(3, false, now);
            assert_eq!(accepted.request(now, &Request::Blocks(content(1).id)), None);
            assert_eq!(receive(&mut accepted, now, first, piece_bytes).is_ok(), is_hello);
            assert_eq!(accepted.transmit().is_some(), is_hello);
        }
    }
    // A hello that is none is answered: ours is sent by then.
    let mut accepted = session(3, false, now);
    bytes = hello.iter().map(|&byte| if byte == b'p' { b'P' } else { byte }).collect();
    assert_eq!(
        receive(&mut accepted, now, &bytes, 9),
        Err(CloseReason::Malformed(Malformed::Magic))
    );
    let told = messages(&sent(&mut accepted, now));
    assert!(matches!(
        told.as_slice(),
        [SessionMessage::Hello { .. }, SessionMessage::Error { req: 0, .. }]
    ));
}

#[test]
fn a_large_frame_of_data_is_read_to_its_end_and_the_next_head() {
    let mut pair = Pair::new();
    let usual_bytes = pair.dialed.read_allowance_bytes();
    let req = pair.request(&get(content(BLOCK), 0, 1));
    let mut bytes = Vec::new();
    let data_bytes = BLOCK as u32;
    SessionMessage::Data { req, data_bytes }.encode(&mut bytes);
    assert_eq!(bytes.len(), DATA_HEAD_BYTES);
    receive(&mut pair.dialed, pair.now, &bytes, 99).unwrap();
    assert_eq!(pair.dialed.read_allowance_bytes(), BLOCK as usize + DATA_HEAD_BYTES);
    let most = vec![0; BLOCK as usize - WHOLE_CHUNK_READ_BYTES_MIN + 1];
    receive(&mut pair.dialed, pair.now, &most, most.len()).unwrap();
    assert_eq!(pair.dialed.read_allowance_bytes(), usual_bytes, "the rest is small");
}
