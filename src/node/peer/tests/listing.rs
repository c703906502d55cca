//! The registry is asked for the peers that speak version 1, and told that we do.

use super::*;
use crate::limits::LISTED_PEERS_MAX;
use crate::wire::v0::ListedPeer;

const SECOND: Duration = Duration::from_secs(1);

/// A peer or guest, and a registry with which it is registered.
struct Scene {
    now: Instant,
    node: PeerNode,
    registry: ConnectionId,
    /// What is to be done.
    actions: Vec<Action>,
}

impl Scene {
    fn new(kind: PeerKind) -> Self {
        let now = Instant::now();
        let mut node = PeerNode::new(now, settings(kind));
        let registry = dialed(&actions(&mut node), REGISTRY);
        let mut scene = Self { now, node, registry, actions: Vec::new() };
        scene.register(registry);
        scene
    }

    /// Connects to the registry, and is registered.
    fn register(&mut self, registry: ConnectionId) {
        self.registry = registry;
        self.feed(Input::Connected(registry));
        if self.node.context.guest().is_none() {
            self.sent(registry);
            answer(&mut self.node, self.now, registry, RegistryResponse::Registered(true));
        }
        self.drain();
    }

    fn drain(&mut self) {
        self.actions.extend(actions(&mut self.node));
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        self.drain();
    }

    fn sent(&mut self, connection: ConnectionId) -> Vec<u8> {
        sent(&mut self.node, self.now, connection)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.node.handle_timeout(self.now);
        self.drain();
    }

    /// Looks for something, or no more.
    fn want(&mut self, is_wanted: bool) {
        self.node.context.now = self.now;
        let PeerNode { context, peers, .. } = &mut self.node;
        peers.listing.want(context, &peers.link, is_wanted);
        self.drain();
    }

    /// Returns the connection to the registry that is being made.
    fn dialed(&mut self) -> ConnectionId {
        let connection = dialed(&self.actions, REGISTRY);
        self.actions.clear();
        connection
    }

    fn is_dialing(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Dial { .. }))
    }

    fn is_closed(&self, closed: ConnectionId, by: CloseHow) -> bool {
        self.actions.iter().any(|action| {
            matches!(*action, Action::Close { connection, how, .. } if (connection, how) == (closed, by))
        })
    }

    /// Returns the connection of its own on which the registry is asked from this id on.
    fn probe(&mut self, after: u32) -> ConnectionId {
        let probe = self.dialed();
        self.feed(Input::Connected(probe));
        assert_eq!(self.sent(probe), peers_request(after));
        probe
    }

    /// The registry lists peers with these ids.
    fn list(&mut self, connection: ConnectionId, ids: std::ops::Range<u32>) {
        let mut bytes = Vec::new();
        RegistryResponse::Peers { count: ids.len() as u32 }.encode(&mut bytes);
        for id in ids {
            ListedPeer { peer: PeerId(id), address: PEER.into() }.encode(&mut bytes);
        }
        self.feed(Input::Received { connection, bytes: &bytes });
    }

    fn listed(&self) -> Vec<u32> {
        self.node.peers.listing.listed(&self.node.context).map(|(peer, _)| peer.0).collect()
    }
}

fn peers_request(after: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    RegistryRequest::Peers { after: PeerId(after) }.encode(&mut bytes);
    bytes
}

/// All that a registry lists is after it.
const NONE: u32 = u32::MAX;

#[test]
fn a_sharer_is_listed_once_a_connection_of_its_own_was_answered_after_each_registration() {
    let mut scene = Scene::new(PeerKind::AnyId);
    for _ in 0..2 {
        let registry = scene.registry;
        let probe = scene.probe(NONE);
        assert_eq!(scene.sent(registry), [0; 0], "it may be of version 0");
        scene.list(probe, 0..0);
        assert!(scene.is_closed(probe, CloseHow::Reset));
        assert_eq!(scene.sent(registry), peers_request(NONE));
        scene.list(registry, 0..0);
        assert_eq!(scene.listed(), [0; 0]);
        // That is all that is asked.
        scene.wait(3600 * SECOND);
        assert_eq!((scene.is_dialing(), scene.sent(registry)), (false, Vec::new()));
        scene.feed(Input::Broken { connection: registry, kind: io::ErrorKind::ConnectionReset });
        assert!(!scene.is_dialing(), "first it is to be entered again");
        while !scene.is_dialing() {
            scene.wait(SECOND);
        }
        let registry = scene.dialed();
        scene.register(registry);
    }
}

#[test]
fn a_registry_that_answered_is_asked_on_the_registered_connection_while_something_is_wanted() {
    let mut scene = Scene::new(PeerKind::Fixed);
    let registry = scene.registry;
    let probe = scene.probe(NONE);
    // What is wanted meanwhile is asked as soon as nothing else is.
    scene.want(true);
    assert!(!scene.is_dialing());
    scene.list(probe, 0..0);
    assert_eq!(scene.sent(registry), peers_request(0));
    scene.list(registry, 0..1024);
    assert_eq!((scene.sent(registry), scene.listed().len()), (peers_request(1024), 0));
    scene.list(registry, 2000..2003);
    assert_eq!(scene.listed().len(), 1026, "all but itself");

    scene.wait(29 * SECOND);
    assert_eq!(scene.sent(registry), [0; 0]);
    scene.wait(SECOND);
    assert_eq!(scene.sent(registry), peers_request(0));
    // Ours is 7.
    scene.list(registry, 5..9);
    assert_eq!(scene.listed(), [5, 6, 8]);
    // What it lists is bounded.
    scene.wait(30 * SECOND);
    for page in 0..4 {
        assert_eq!(scene.sent(registry), peers_request(1024 * page));
        scene.list(registry, 1024 * page..1024 * (page + 1));
    }
    assert_eq!(
        (scene.sent(registry), scene.listed().len()),
        (Vec::new(), 4 * LISTED_PEERS_MAX - 1)
    );
    scene.want(false);
    scene.wait(3600 * SECOND);
    assert_eq!(scene.sent(registry), [0; 0]);
    assert!(!scene.is_dialing());
}

#[test]
fn a_guest_asks_on_a_connection_of_its_own_each_time_also_while_the_first_one_sleeps() {
    let mut scene = Scene::new(guest(None, 0));
    assert!(!scene.is_dialing(), "it wants nothing");
    scene.want(true);
    for ids in [0..2, 3..4] {
        let probe = scene.probe(0);
        scene.list(probe, ids.clone());
        assert!(scene.is_closed(probe, CloseHow::Reset));
        assert_eq!(scene.listed(), ids.collect::<Vec<_>>());
        assert_eq!(scene.sent(scene.registry), [0; 0]);
        // The registry closes it, as nothing is asked there.
        scene.feed(Input::ReadClosed(scene.registry));
        assert!(!scene.is_dialing());
        scene.wait(30 * SECOND);
    }
}

#[test]
fn a_registry_that_closes_or_says_nothing_at_that_question_is_not_asked_for_ten_minutes() {
    for is_silent in [false, true] {
        for is_registered in [false, true] {
            let mut scene = Scene::new(PeerKind::Fixed);
            let mut asked = scene.probe(NONE);
            if is_registered {
                // On a connection of its own it has answered.
                scene.list(asked, 0..0);
                asked = scene.registry;
                assert_eq!(scene.sent(asked), peers_request(NONE));
            }
            scene.want(true);
            scene.actions.clear();
            match is_silent {
                true => scene.wait(10 * SECOND),
                false => scene.feed(Input::ReadClosed(asked)),
            }
            assert!(scene.node.context.connections.get(asked).is_none());
            if is_registered {
                while !scene.is_dialing() {
                    scene.wait(SECOND);
                }
                let registry = scene.dialed();
                scene.register(registry);
            } else {
                let is_report = |action: &Action| matches!(action, Action::Report(_));
                assert!(!scene.actions.iter().any(is_report), "{:?}", scene.actions);
            }
            scene.wait(570 * SECOND);
            assert!(!scene.is_dialing());
            assert_eq!(scene.sent(scene.registry), [0; 0]);
            scene.wait(45 * SECOND);
            scene.probe(0);
        }
    }
}

#[test]
fn a_registry_that_answered_once_and_then_closes_is_not_asked_either() {
    let mut scene = Scene::new(guest(None, 0));
    scene.want(true);
    let probe = scene.probe(0);
    scene.list(probe, 0..2);
    scene.wait(30 * SECOND);
    let probe = scene.probe(0);
    scene.feed(Input::ReadClosed(probe));
    scene.wait(599 * SECOND);
    assert!(!scene.is_dialing());
    scene.wait(2 * SECOND);
    scene.probe(0);
}

#[test]
fn a_connection_that_could_not_be_made_and_an_address_of_ours_that_changed_are_no_refusal() {
    for reason in 0..3 {
        let mut scene = Scene::new(PeerKind::AnyId);
        scene.want(true);
        let probe = scene.dialed();
        match reason {
            0 => {
                let kind = io::ErrorKind::ConnectionRefused;
                scene.feed(Input::Broken { connection: probe, kind });
            }
            1 => scene.wait(2 * SECOND),
            _ => {
                scene.feed(Input::Connected(probe));
                scene.feed(Input::Rerouted(probe));
            }
        }
        assert!(!scene.is_dialing());
        scene.wait(30 * SECOND);
        scene.probe(0);
    }
    // The same on the registered connection.
    let mut scene = Scene::new(PeerKind::Fixed);
    let probe = scene.probe(NONE);
    scene.list(probe, 0..0);
    scene.feed(Input::Rerouted(scene.registry));
    let registry = scene.dialed();
    scene.register(registry);
    scene.probe(NONE);
}
