//! The session of version 1.

use std::rc::Rc;
use std::time::Instant;

use p2pfs::content::{BlockSet, Content, ContentId};
use p2pfs::limits::BLOCK_BYTES_MIN;
use p2pfs::proto::v1::{Request, Session, SessionSettings, SessionState};
use p2pfs::wire::PeerId;
use p2pfs::wire::v1::{
    PeerName, SessionError, SessionMessage, SessionMessageKind as FrameKind, Verdict,
};

use crate::{OUR_ID, Table, limits};

/// A session that was accepted, in this state, with a request of ours for each answer there is.
fn session_in(state: SessionState, now: Instant) -> Session {
    let our = SessionSettings { peer: OUR_ID, instance: 1, name: PeerName::new("").unwrap() };
    let mut session = Session::new(now, &limits(), &Rc::new(our), false);
    if state == SessionState::ExpectHello {
        return session;
    }
    session.handle_bytes(now, &frame(FrameKind::Hello), &mut 0).unwrap();
    let (content, path) = (two_blocks(), None);
    let list = Request::List { since: 0, path, watch: false, hash_first: false, fetch_list: false };
    let get = Request::Get { turn: 4, content, first: 0, count: 2 };
    let blocks = Request::Blocks(content.id);
    let requests = [list, blocks, Request::Manifest(content), Request::Wait(content), get];
    for (number, request) in (1..).zip(&requests) {
        assert_eq!(session.request(now, request), Some(number));
    }
    if state == SessionState::Closed {
        assert!(session.handle_bytes(now, &frame(FrameKind::Hello), &mut 0).is_err());
    }
    assert_eq!(session.state(), state);
    session
}

fn two_blocks() -> Content {
    Content { id: ContentId([7; 32]), size_bytes: 2 * BLOCK_BYTES_MIN }
}

/// A frame of each kind that is legal in an open session, from the other side.
fn frame(kind: FrameKind) -> Vec<u8> {
    let (content, req, name) = (two_blocks(), 1, PeerName::new("ann").unwrap());
    let error = SessionError::Busy;
    let frame = match kind {
        FrameKind::Hello => SessionMessage::Hello {
            version: 1,
            peer: PeerId(2),
            instance: 2,
            name,
            ignored_bytes: 0,
        },
        FrameKind::List => SessionMessage::List {
            req,
            since: 0,
            path: None,
            watch: false,
            hash_first: false,
            fetch_list: false,
        },
        FrameKind::Page => SessionMessage::Page {
            req,
            generation: 1,
            complete: true,
            discard: false,
            fetch_list: false,
            all_listed: false,
            count: 0,
            entries_bytes: 0,
        },
        FrameKind::Blocks => SessionMessage::Blocks { req, id: content.id },
        FrameKind::Held => SessionMessage::Held {
            req: 2,
            size_bytes: content.size_bytes,
            blocks: BlockSet::none(2),
        },
        FrameKind::MoreHeld => SessionMessage::MoreHeld { req: 2, blocks: vec![1] },
        FrameKind::GetManifest => SessionMessage::GetManifest { req, content },
        FrameKind::Manifest => SessionMessage::Manifest { req: 3, values: 2 },
        FrameKind::Wait => SessionMessage::Wait { req, content },
        FrameKind::Turn => SessionMessage::Turn { req: 4, blocks: 2 },
        FrameKind::Get => SessionMessage::Get { req, turn: 9, content, first: 0, count: 1 },
        FrameKind::Data => SessionMessage::Data { req: 5, data_bytes: 1 },
        FrameKind::Verdict => SessionMessage::Verdict { content, verdict: Verdict::Verified },
        // It may be of a request that is over, and of none that was never made.
        FrameKind::Cancel => SessionMessage::Cancel { req },
        FrameKind::Error => SessionMessage::Error { req: 5, error, wait_ms: 0, text: "".into() },
        FrameKind::Unknown => SessionMessage::Unknown { kind: b'z', req: None, ignored_bytes: 0 },
    };
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

#[test]
fn a_session_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(SessionState::Closed);
    for (state, kind) in Table::pairs() {
        let mut session = session_in(state, now);
        if kind == FrameKind::MoreHeld && state == SessionState::Open {
            session.handle_bytes(now, &frame(FrameKind::Held), &mut 0).unwrap();
        }
        if kind == FrameKind::Cancel && state == SessionState::Open {
            session.handle_bytes(now, &frame(FrameKind::Blocks), &mut 0).unwrap();
        }
        let got = session.handle_bytes(now, &frame(kind), &mut 0).map(|_| ());
        table.check((state, kind), got, session.state());
    }
    table.assert_reached();
}
