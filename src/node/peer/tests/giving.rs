//! What is given of a content that is fetched: from the first verified block on.

use std::rc::Rc;

use super::*;
use crate::content::{Content, ContentId};
use crate::limits::BLOCK_BYTES_MIN;
use crate::node::gather::contents::Holding;
use crate::proto::v1::{Request, Session, SessionEvent, SessionSettings};
use crate::wire::v1::{PeerName, SessionError};

const CONTENT: Content = Content { id: ContentId([1; 32]), size_bytes: 3 * BLOCK_BYTES_MIN };
const PARTIAL: FileId = FileId(900);

/// A getter, and a peer that asks it.
struct Scene {
    now: Instant,
    node: PeerNode,
    connection: ConnectionId,
    peer: Session,
    opened: Vec<Action>,
}

impl Scene {
    fn new(gives: bool) -> Self {
        let now = Instant::now();
        let on_conflict = OnConflict::Compare;
        let guest = GuestSettings { timeout: None, retries_max: 0, on_conflict, gives };
        let mut node = PeerNode::new(now, settings(PeerKind::Guest(guest)));
        // Something that never comes keeps it there.
        node.handle(now, Input::Wish(&["never".parse().unwrap()]));
        let our = SessionSettings { peer: PeerId(9), instance: 9, name: PeerName::none() };
        let peer = Session::new(now, &Rc::new(Limits::PEER), &Rc::new(our), true);
        let connection = match gives {
            true => node.accept(now, PEER).unwrap(),
            false => ConnectionId::MIN,
        };
        Self { now, node, connection, peer, opened: Vec::new() }
    }

    fn hold(&mut self, holding: Holding) {
        let PeerNode { context, share, .. } = &mut self.node;
        share.on_holding(context, holding, |_, _| false);
        share.tell_held(context);
    }

    fn begin(&mut self) {
        let path = self.node.context.paths.intern_name(name("image"));
        self.node.context.paths.hold(path);
        self.hold(Holding::Begun { content: CONTENT, path, file: PARTIAL });
    }

    fn block(&mut self, block: u32) {
        self.hold(Holding::Block { content: CONTENT, block });
    }

    fn ask(&mut self, request: &Request) -> u32 {
        self.peer.request(self.now, request).unwrap()
    }

    /// Returns what the peer hears, data as its length.
    fn run(&mut self) -> Vec<SessionEvent> {
        let (mut events, mut at) = (Vec::new(), 0);
        for _ in 0..20 {
            while let Some(Transmit::Bytes { bytes, .. }) = self.peer.transmit() {
                let bytes = bytes.to_vec();
                self.peer.transmitted(self.now, bytes.len());
                let connection = self.connection;
                self.node.handle(self.now, Input::Received { connection, bytes: &bytes });
            }
            for action in actions(&mut self.node) {
                if let Action::OpenSource { file, .. } | Action::OpenPartialSource { file, .. } =
                    action
                {
                    self.opened.push(action);
                    let version = version(CONTENT.size_bytes);
                    self.node.handle(self.now, Input::Opened { file, version });
                }
            }
            while let Some(transmit) = self.node.transmit(self.connection) {
                let bytes = match transmit {
                    Transmit::Bytes { bytes, .. } => bytes.to_vec(),
                    Transmit::File { len_bytes, .. } => vec![0; len_bytes as usize],
                };
                self.node.transmitted(self.now, self.connection, bytes.len());
                at = 0;
                while let Some(event) = self.peer.handle_bytes(self.now, &bytes, &mut at).unwrap() {
                    events.push(event);
                }
            }
        }
        _ = at;
        events
    }
}

#[test]
fn what_is_verified_is_told_and_given_and_nothing_else() {
    let mut scene = Scene::new(true);
    scene.begin();
    let blocks = scene.ask(&Request::Blocks(CONTENT.id));
    let manifest = scene.ask(&Request::Manifest(CONTENT));
    let wait = scene.ask(&Request::Wait(CONTENT));
    let events = scene.run();
    let is_empty = |event: &SessionEvent| {
        matches!(event, SessionEvent::Held { req, blocks: held, .. }
            if *req == blocks && held.count() == 0)
    };
    assert!(events.iter().any(is_empty), "{events:?}");
    for refused in [manifest, wait] {
        let is_refused = |event: &SessionEvent| {
            matches!(event, SessionEvent::Failed { req, error: SessionError::NotFound, .. }
                if *req == refused)
        };
        assert!(events.iter().any(is_refused), "{events:?}");
    }

    scene.block(1);
    let wait = scene.ask(&Request::Wait(CONTENT));
    let events = scene.run();
    let is_told = |event: &SessionEvent| matches!(event, SessionEvent::MoreHeld { req, blocks: held } if (*req, held.as_slice()) == (blocks, &[1]));
    assert!(events.iter().any(is_told), "{events:?}");
    let turn =
        |event: &SessionEvent| matches!(event, SessionEvent::Turn { req, .. } if *req == wait);
    assert!(events.iter().any(turn), "{events:?}");

    // One that is not held takes nothing from the turn.
    let get = |first| Request::Get { turn: wait, content: CONTENT, first, count: 1 };
    let (absent, there) = (scene.ask(&get(0)), scene.ask(&get(1)));
    let events = scene.run();
    let is_refused = |event: &SessionEvent| {
        matches!(event, SessionEvent::Failed { req, error: SessionError::NotFound, .. }
            if *req == absent)
    };
    assert!(events.iter().any(is_refused), "{events:?}");
    let came = events.iter().map(|event| match event {
        SessionEvent::Data { req, range, .. } if *req == there => range.len() as u64,
        _ => 0,
    });
    assert_eq!(came.sum::<u64>(), BLOCK_BYTES_MIN);
    let [Action::OpenPartialSource { partial: PARTIAL, .. }] = scene.opened[..] else {
        panic!("{:?}", scene.opened)
    };
}

#[test]
fn what_is_given_up_is_held_no_more() {
    let mut scene = Scene::new(true);
    scene.begin();
    scene.block(0);
    let blocks = scene.ask(&Request::Blocks(CONTENT.id));
    scene.run();
    scene.hold(Holding::Over { content: CONTENT });
    let events = scene.run();
    let is_over = |event: &SessionEvent| {
        matches!(event, SessionEvent::Failed { req, error: SessionError::NotFound, .. }
            if *req == blocks)
    };
    assert!(events.iter().any(is_over), "{events:?}");
}

#[test]
fn who_gives_nothing_takes_no_connection_in() {
    let mut scene = Scene::new(false);
    assert!(scene.node.accept(scene.now, PEER).is_none());
}
