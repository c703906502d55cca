use std::net::{Ipv4Addr, SocketAddrV4};

use super::*;
use crate::limits::HELLO_TIMEOUT;
use crate::node::scene::{PEER, actions, settings};
use crate::node::{Action, Input, Node, PeerKind, PeerSettings, RegistryUse};
use crate::proto::v1::SessionSettings;
use crate::proto::{CloseReason, Timer};
use crate::wire::PeerId;
use crate::wire::v1::{PeerName, Secret};

const LAN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 6000);

fn key(byte: u8) -> SealKey {
    Secret::new([byte; 32]).seal_key()
}

fn member(now: Instant, keys: &[u8], also_open: bool) -> PeerNode {
    let seal_keys = keys.iter().map(|byte| key(*byte)).collect();
    let group = Some(GroupSettings { seal_keys, also_open });
    let registry_use = RegistryUse::Never;
    PeerNode::new(now, PeerSettings { group, registry_use, ..settings(PeerKind::Fixed) })
}

fn closed(node: &mut PeerNode) -> Option<CloseReason> {
    actions(node).into_iter().find_map(|action| match action {
        Action::Close { reason, .. } => Some(reason),
        _ => None,
    })
}

/// All that the node has to send, which the socket takes.
fn sent(node: &mut PeerNode, now: Instant, id: ConnectionId) -> Vec<u8> {
    let mut sent = Vec::new();
    while let Some(Transmit::Bytes { bytes, .. }) = node.transmit(id) {
        let bytes = bytes.to_vec();
        node.transmitted(now, id, bytes.len());
        sent.extend(bytes);
    }
    sent
}

fn first_message(key: &SealKey) -> (Sealed, Vec<u8>) {
    let mut sealed = Sealed::dialed(key);
    let Some(Transmit::Bytes { bytes, .. }) = sealed.transmit(false) else { panic!() };
    let bytes = bytes.to_vec();
    sealed.transmitted(bytes.len());
    (sealed, bytes)
}

/// What a peer does with the first bytes of a connection: what it sends, and why it closes.
fn begun(node: &mut PeerNode, bytes: &[u8]) -> (Vec<u8>, Option<CloseReason>) {
    let now = node.context.now;
    let connection = node.accept(now, PEER).unwrap();
    actions(node);
    node.handle(now, Input::Received { connection, bytes });
    (sent(node, now, connection), closed(node))
}

const HELLO: &[u8] = b"H\0\0\0\x16p2pfs\x01\0\0\0\x09\0\0\0\0\0\0\0\x09\x03ann";

#[test]
fn the_first_byte_tells_members_from_others() {
    let now = Instant::now();
    let (_, right) = first_message(&key(1));
    let (_, second) = first_message(&key(2));
    let (_, wrong) = first_message(&key(3));
    let request = [b"R\0\0\0\x01a".as_slice(), &[0; 63]].concat();
    let not_sealed = (Vec::new(), Some(CloseReason::NotSealed));
    let mut closed_group = member(now, &[1, 2], false);
    for bytes in [&request[..], HELLO, &wrong, b"N\0\x2f"] {
        assert_eq!(begun(&mut closed_group, bytes), not_sealed, "{bytes:x?}");
    }
    for message in [&right, &second] {
        let (answer, reason) = begun(&mut closed_group, message);
        assert_eq!((answer.len(), reason), (50, None));
    }
    let mut also_open = member(now, &[1], true);
    assert_eq!(begun(&mut also_open, &right).0.len(), 50);
    assert_eq!(begun(&mut also_open, &second), not_sealed);
    let (hello, reason) = begun(&mut also_open, HELLO);
    assert!(hello.starts_with(b"H\0") && reason.is_none());
    assert_eq!(begun(&mut also_open, &request).1, Some(CloseReason::NotShared));

    let mut open = PeerNode::new(now, settings(PeerKind::Fixed));
    let (answer, reason) = begun(&mut open, &right);
    assert!(answer.is_empty() && reason.is_some_and(|it| it != CloseReason::NotSealed));
}

/// The kernel would keep it back for 200 ms.
#[test]
fn the_first_message_does_not_wait_for_what_follows() {
    let now = Instant::now();
    let node = member(now, &[1], false);
    let limits = &node.context.limits;
    let our = SessionSettings { peer: PeerId(9), instance: 9, name: PeerName::none() };
    let mut session = Session::new(now, limits, &Rc::new(our), true);
    let mut seal = Seal::dialed(now, node.context.settings.group.as_ref(), &mut session).unwrap();
    seal.fill(now, &mut session);
    let sent = seal.transmit(&session);
    assert!(matches!(sent, Some(Transmit::Bytes { bytes, more: false }) if bytes.len() == 51));
    assert!(session.transmit().is_some(), "the hello follows");
}

/// Nobody learns by time or by deeds how far what it sent was from right.
#[test]
fn a_wrong_secret_and_a_wrong_message_have_the_same_effect_at_the_same_time() {
    let now = Instant::now();
    let (_, wrong_secret) = first_message(&key(3));
    let (_, mut flipped) = first_message(&key(1));
    flipped[50] ^= 1;
    let mut no_point = first_message(&key(1)).1;
    no_point[3..35].fill(0);
    let effect = |message: &[u8]| {
        let mut node = member(now, &[1, 2], false);
        let connection = node.accept(now, PEER).unwrap();
        // As it may come, in pieces.
        let mut effects = Vec::new();
        for bytes in message.chunks(17) {
            node.handle(now, Input::Received { connection, bytes });
            effects.push((
                actions(&mut node),
                node.poll_timeout(),
                node.transmit(connection).is_some(),
            ));
        }
        format!("{effects:?}")
    };
    let expected = effect(&wrong_secret);
    assert!(expected.contains("NotSealed"));
    for message in [flipped, no_point, [b"N\0\x30".as_slice(), &[7; 48]].concat()] {
        assert_eq!(effect(&message), expected);
    }
}

/// A first message may be one that was recorded: it buys the answer to it, and no more.
#[test]
fn until_a_record_is_opened_it_is_a_connection_without_a_hello() {
    let now = Instant::now();
    let mut node = member(now, &[1], false);
    let (mut dialer, message) = first_message(&key(1));
    let connection = node.accept(now, LAN).unwrap();
    node.handle(now, Input::Received { connection, bytes: &message });
    let answer = sent(&mut node, now, connection);
    assert_eq!(answer.len(), 50);
    assert!(node.context.session_on(connection).unwrap().them.is_none());
    let timed_out = |at| {
        let mut node = member(now, &[1], false);
        let connection = node.accept(now, LAN).unwrap();
        node.handle(now, Input::Received { connection, bytes: &message });
        actions(&mut node);
        node.handle_timeout(at);
        closed(&mut node)
    };
    assert_eq!(timed_out(now + HELLO_TIMEOUT), Some(CloseReason::TimedOut(Timer::Hello)));

    let (mut buffer, mut at) = (Vec::new(), 0);
    dialer.collect(&answer, &mut buffer);
    assert_eq!(dialer.next(&mut buffer, &mut at), Ok(None));
    dialer.fill(HELLO);
    dialer.seal();
    let Some(Transmit::Bytes { bytes, .. }) = dialer.transmit(false) else { panic!() };
    let mut tampered = bytes.to_vec();
    node.handle(now, Input::Received { connection, bytes });
    assert_eq!(node.context.session_on(connection).unwrap().them.unwrap().instance, 9);
    assert!(sent(&mut node, now, connection).len() > HELLO.len());
    // A second time it opens nothing, and nothing is said.
    actions(&mut node);
    tampered[2] ^= 1;
    node.handle(now, Input::Received { connection, bytes: &tampered });
    assert_eq!(sent(&mut node, now, connection), b"");
    assert_eq!(closed(&mut node), Some(CloseReason::NotSealed));
}

/// Many of them take the time of no transfer.
#[test]
fn a_few_handshakes_are_done_at_once_and_the_others_one_by_one() {
    let mut now = Instant::now();
    let mut node = member(now, &[1], false);
    let (_, message) = first_message(&key(1));
    let burst = HANDSHAKE_BURST as usize;
    let mut waiting: Vec<_> = (0..burst + 8)
        .map(|_| {
            let connection = node.accept(now, PEER).unwrap();
            node.handle(now, Input::Received { connection, bytes: &message });
            connection
        })
        .collect();
    for number in 0..9 {
        let before = waiting.len();
        let may_read = |node: &PeerNode, id| node.read_allowance_bytes(id) > 0;
        waiting.retain(|id| {
            let (is_read, answer) = (may_read(&node, *id), sent(&mut node, now, *id));
            assert_eq!(is_read, !answer.is_empty(), "nothing is read while it waits");
            answer.is_empty()
        });
        assert_eq!(before - waiting.len(), if number == 0 { burst } else { 1 });
        now += HANDSHAKE_PAUSE;
        node.handle_timeout(now);
    }
    assert_eq!(waiting, []);
    // As many as have their turn within a second; more are closed.
    actions(&mut node);
    let turns = HANDSHAKE_WAIT_MAX.div_duration_f64(HANDSHAKE_PAUSE) as usize;
    let mut closed = 0;
    for _ in 0..turns + 20 {
        let connection = node.accept(now, PEER).unwrap();
        node.handle(now, Input::Received { connection, bytes: &message });
        closed += usize::from(node.context.connections.get(connection).is_none());
        if node.context.connections.get(connection).is_some() {
            node.handle(now, Input::ReadClosed(connection));
        }
    }
    assert!((1..=20).contains(&closed), "{closed}");
}
