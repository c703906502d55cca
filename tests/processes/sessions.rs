//! What a program shares by version 1, asked by hand.

use std::fs;

use kit::sharer::content_of;
use kit::{RawSession, World, content};
use p2pfs::content::{Content, ContentId};
use p2pfs::proto::v1::{Request, SessionEvent};
use p2pfs::wire::v1::{EntryState, SessionError, Verdict, merge};

const LARGE: usize = 3 * 1024 * 1024 + 17;

fn contents(session: &mut RawSession) -> Vec<(String, Content)> {
    let content = |state| match state {
        EntryState::File { content, .. } => Some(content),
        _ => None,
    };
    let map = session.list().into_iter();
    map.filter_map(|(path, state)| Some((path.to_string(), content(state)?))).collect()
}

#[test]
fn all_that_is_shared_is_listed_and_served_to_the_byte() {
    let world = World::new();
    let files = [("empty", 0), ("large", LARGE), ("small", 5_000)];
    let files = files.map(|(name, len)| (name, content(len as u64, len)));
    let mut source = world.peer(1);
    for (name, content) in &files {
        source = source.has(name, content);
    }
    let source = source.start();
    let mut session = RawSession::connect(source.address);
    assert!(matches!(session.listen(), Some((SessionEvent::Hello { .. }, _))));
    let expected: Vec<_> =
        files.iter().map(|(name, content)| ((*name).to_owned(), content_of(content))).collect();
    assert_eq!(contents(&mut session), expected);
    for (_, content) in &files[1..] {
        let named = content_of(content);
        session.request(&Request::Blocks(named.id));
        let Some((SessionEvent::Held { size_bytes, blocks, .. }, _)) = session.listen() else {
            panic!("no blocks")
        };
        assert!(size_bytes == named.size_bytes && blocks.is_full());
        if named.blocks() > 1 {
            assert_eq!(merge(&session.manifest(named), &named), Some(named.id));
        }
        assert!(session.fetch(named) == *content, "another content came");
        session.tell(named, Verdict::Verified);
    }
    session.request(&Request::Blocks(ContentId([9; 32])));
    let failed = session.listen().map(|(event, _)| event);
    assert!(matches!(failed, Some(SessionEvent::Failed { error: SessionError::NotFound, .. })));
}

#[test]
fn a_peer_that_goes_at_any_point_harms_no_other() {
    let world = World::new();
    let bytes = content(1, LARGE);
    let source = world.peer(1).has("large", &bytes).start();
    let named = content_of(&bytes);
    let mut other = RawSession::connect(source.address);
    contents(&mut other);
    for events in 0..12 {
        let mut session = RawSession::connect(source.address);
        session.listen();
        session.request(&Request::Blocks(named.id));
        session.request(&Request::Manifest(named));
        session.request(&Request::Wait(named));
        for _ in 0..events {
            if let Some((SessionEvent::Turn { req: turn, .. }, _)) = session.listen() {
                session.request(&Request::Get { turn, content: named, first: 0, count: 9 });
            }
        }
    }
    assert!(other.fetch(named) == bytes);
}

#[test]
fn a_file_that_is_replaced_is_not_served_under_its_old_id() {
    let world = World::new();
    let (old, new) = (content(1, 5_000), content(2, 5_000));
    let source = world.peer(1).has("file", &old).start();
    let mut session = RawSession::connect(source.address);
    session.listen();
    assert_eq!(contents(&mut session), [("file".to_owned(), content_of(&old))]);
    assert!(session.fetch(content_of(&old)) == old);
    fs::write(source.path_of("file"), &new).unwrap();
    kit::await_until("the new content is listed", || {
        contents(&mut session) == [("file".to_owned(), content_of(&new))]
    });
    let (turn, content, first, count) = (0, content_of(&old), 0, 1);
    session.request(&Request::Get { turn, content, first, count });
    let failed = session.listen().map(|(event, _)| event);
    assert!(matches!(failed, Some(SessionEvent::Failed { .. })), "{failed:?}");
    assert!(session.fetch(content_of(&new)) == new);
}
