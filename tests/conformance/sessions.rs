//! Version 1: how a sharer answers, step by step.

use std::time::{Duration, Instant};

use kit::sharer::{Sharer, content_of};
use p2pfs::node::ConnectionId;
use p2pfs::wire::v1::{SessionError, SessionMessage};

use crate::streams::deframe;
use crate::unhex;
use crate::v1::list;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// A sharer of the two files of the vectors, and a peer that speaks to it.
struct Scene {
    sharer: Sharer,
    connection: ConnectionId,
    /// All that came, and how many frames of it were looked at.
    came: Vec<u8>,
    seen: usize,
}

impl Scene {
    fn new() -> Self {
        let mut sharer = Sharer::new(Instant::now());
        sharer.find("a/hello", b"hello\n".to_vec());
        sharer.find("two", content(262_145));
        while sharer.hash() {}
        let connection = sharer.accept();
        Self { sharer, connection, came: Vec::new(), seen: 0 }
    }

    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.sharer.receive(self.connection, bytes), bytes.len());
        self.came.extend(self.sharer.take(self.connection, usize::MAX));
    }

    fn next(&mut self) -> Option<(SessionMessage, Vec<u8>)> {
        let came = deframe::<SessionMessage>([&self.came[..]]);
        assert!(came.error.is_none() && came.is_between_messages, "whole frames");
        self.seen += 1;
        came.messages.into_iter().nth(self.seen - 1)
    }

    fn expect(&mut self, expected: &str) {
        let is_closed = expected.ends_with("close");
        if expected == "close" {
            // It may be told why.
            self.next();
        } else {
            let (mut message, mut payload) = self.next().unwrap_or_else(|| panic!("no {expected}"));
            // Our hello follows their first two bytes, whatever comes behind them.
            let may_come_before = expected.contains("may come before")
                || expected != "H" && matches!(message, SessionMessage::Hello { .. });
            if may_come_before && !expected.starts_with(&show(&message, &payload)) {
                (message, payload) = self.next().unwrap_or_else(|| panic!("no {expected}"));
            }
            let shown = show(&message, &payload);
            assert!(expected.starts_with(&shown), "{expected}, not {shown}: {message:?}");
            check_page(expected, &message);
        }
        if is_closed {
            self.sharer.wait(Duration::from_secs(2));
            assert!(self.sharer.closed.contains_key(&self.connection), "{expected}");
        }
    }

    /// Requests block 1 of the second file until the turn that was given last is used.
    fn use_turn(&mut self) {
        let came = deframe::<SessionMessage>([&self.came[..]]);
        let Some((SessionMessage::Turn { req: turn, blocks }, _)) = came.messages.last().cloned()
        else {
            panic!("no turn")
        };
        for req in (1..=blocks).map(|n| turn + n) {
            let (content, mut bytes) = (content_of(&content(262_145)), Vec::new());
            SessionMessage::Get { req, turn, content, first: 1, count: 1 }.encode(&mut bytes);
            self.send(&bytes);
            self.expect(&format!("D req {req}: 64"));
        }
    }
}

fn show(message: &SessionMessage, payload: &[u8]) -> String {
    match message {
        SessionMessage::Hello { .. } => "H".to_owned(),
        SessionMessage::Error { req, error, .. } => {
            let code = match error {
                SessionError::NotFound => 1,
                SessionError::Changed => 2,
                SessionError::Busy => 3,
                SessionError::Refused => 4,
                SessionError::NotUnderstood => 5,
                SessionError::Unreadable => 6,
                SessionError::GoingAway => 7,
                SessionError::Other(code) => *code,
            };
            match req {
                0 => format!("X {code} req 0"),
                req => format!("X req {req} code {code}"),
            }
        }
        SessionMessage::Held { req, blocks, .. } => {
            assert!(blocks.is_full());
            format!("b req {req}")
        }
        SessionMessage::Turn { req, .. } => format!("t req {req}"),
        SessionMessage::Data { req, .. } => {
            let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("D req {req}: {digits}")
        }
        SessionMessage::Page { req, .. } => format!("l req {req}"),
        other => panic!("{other:?}"),
    }
}

/// A page has the flags and entries that were expected.
fn check_page(expected: &str, message: &SessionMessage) {
    let SessionMessage::Page {
        complete, discard, fetch_list, all_listed, count, generation, ..
    } = message
    else {
        return;
    };
    let flags = match expected {
        _ if expected.contains("flags 5") => (true, false, true),
        _ if expected.contains("flag 2 on the first") => (true, true, false),
        _ => (true, false, false),
    };
    assert_eq!((*complete, *discard, *fetch_list), flags, "{expected}");
    assert!(!all_listed);
    assert_eq!(*count, if expected.contains("all entries") { 2 } else { 0 }, "{expected}");
    assert_eq!(*generation > 0, !fetch_list, "{expected}");
}

#[test]
fn a_sharer_answers_as_the_vectors_say() {
    for vector in list("sessions") {
        let mut scene = Scene::new();
        for step in vector["steps"].as_array().expect("steps") {
            if let Some(bytes) = step.get("send") {
                scene.send(&unhex(bytes.as_str().expect("bytes")));
            } else if step.get("repeat").is_some() {
                scene.use_turn();
            } else if let Some(expected) = step.get("expect") {
                scene.expect(expected.as_str().expect("words"));
            }
        }
        assert_eq!(scene.next(), None, "{}", vector["name"]);
        assert!(scene.sharer.open_files() == 0, "{}", vector["name"]);
    }
}
