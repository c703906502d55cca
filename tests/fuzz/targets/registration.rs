//! A registration: any answers of a registry, asked for or not.
//!
//! It holds that one request is outstanding at most, that each answer goes to the one who
//! asked, and that what is sent is the registration and then the lookups in their order.

use std::collections::VecDeque;
use std::rc::Rc;

use kit::messages::{
    error_response, lookup_request, lookup_response, register_request, register_response,
};
use p2pfs::limits::{DOWNLOADS_MAX, Limits};
use p2pfs::proto::Transmit;
use p2pfs::proto::v0::{Registration, RegistrationEvent, RegistrationState};
use p2pfs::wire::PeerId;

use super::clock::Clock;
use super::script::Script;

const OUR_ID: PeerId = PeerId(7);
const OUR_PORT: u16 = 4321;

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut rig = Rig::new();
    while !script.is_over() && !rig.is_closed {
        rig.step(&mut script);
        rig.check();
    }
}

struct Rig {
    clock: Clock,
    registration: Registration,
    is_closed: bool,
    incoming: Vec<u8>,
    asked: Option<Asked>,
    was_accepted: bool,
    queue: VecDeque<PeerId>,
    /// What is to be sent and is not yet.
    outgoing: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Registration,
    Where(PeerId),
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::new();
        let limits = Rc::new(Limits::PEER);
        let registration = Registration::new(clock.now(), &limits, OUR_ID, OUR_PORT);
        Self {
            clock,
            registration,
            is_closed: false,
            incoming: Vec::new(),
            asked: None,
            was_accepted: false,
            queue: VecDeque::new(),
            outgoing: Vec::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        if self.registration.state() == RegistrationState::ExpectConnection && script.below(4) > 0 {
            self.registration.handle_connected(self.clock.now());
            self.asked = Some(Asked::Registration);
            self.outgoing = register_request(OUR_ID.0, OUR_PORT.into());
            return;
        }
        match script.below(8) {
            0 if script.flag() => self.feed(&script.any_message()),
            0 => self.feed(script.bytes()),
            1 => self.feed(&register_response(u32::from(script.below(8) > 0))),
            2 => {
                let hosts = ["127.0.0.1", "localhost", "192.0.2.1", "example.org", "1.2.3", ""];
                let host = hosts[script.below(hosts.len())];
                self.feed(&lookup_response(host, script.size(17) as u32));
            }
            3 if script.flag() => self.feed(&error_response(script.bad_text())),
            3 => self.feed(&error_response(script.bytes())),
            4 => self.look_up(PeerId(script.byte().into())),
            5 => self.take(usize::from(script.byte())),
            6 => self.clock.wait(script.wait()),
            _ => self.time_out(),
        }
    }

    fn look_up(&mut self, peer: PeerId) {
        // As the node does: when it is registered, and once for each download.
        if !self.registration.is_registered() || self.queue.len() >= DOWNLOADS_MAX {
            return;
        }
        self.registration.look_up(self.clock.now(), peer);
        if self.asked != Some(Asked::Where(peer)) && !self.queue.contains(&peer) {
            self.queue.push_back(peer);
        }
        self.ask_next();
    }

    fn ask_next(&mut self) {
        if self.asked.is_none()
            && self.was_accepted
            && let Some(peer) = self.queue.pop_front()
        {
            self.asked = Some(Asked::Where(peer));
            self.outgoing.extend(lookup_request(peer.0));
        }
    }

    /// Bytes come in, never more at once than the rest of one message.
    fn feed(&mut self, mut bytes: &[u8]) {
        if self.registration.state() == RegistrationState::ExpectConnection {
            return;
        }
        while !bytes.is_empty() && !self.is_closed {
            self.incoming.push(bytes[0]);
            let len: usize = match self.incoming[..] {
                [b'S'] => 1,
                [b'S', b'R', ..] => 6,
                [b'S', b'L', ..] => 70,
                [b'S', b'E', ..] => 66,
                // Its head: peers are never asked for here.
                [b'S', b'P', ..] => 6,
                _ => 0,
            };
            let rest = len.saturating_sub(self.incoming.len()).min(bytes.len() - 1);
            let (piece, behind) = bytes.split_at(1 + rest);
            self.incoming.extend_from_slice(&piece[1..]);
            bytes = behind;
            let is_whole = self.incoming.len() == len && len > 2;
            self.feed_piece(piece, is_whole, len == 0);
        }
    }

    fn feed_piece(&mut self, piece: &[u8], is_whole: bool, is_garbage: bool) {
        let mut at = 0;
        let got = self.registration.handle_bytes(self.clock.now(), piece, &mut at);
        if !is_whole {
            assert_eq!((got.is_err(), got.is_ok_and(|event| event.is_some())), (is_garbage, false));
            self.is_closed = is_garbage;
            return;
        }
        let message = std::mem::take(&mut self.incoming);
        let Ok(event) = got else {
            assert!(!self.is_due(&message), "refuses {message:x?}");
            return self.is_closed = true;
        };
        let event = event.expect("an answer is an event");
        assert!(self.is_due(&message), "takes {message:x?}");
        let asked = self.asked.take().expect("an answer to nothing");
        match (asked, event) {
            (Asked::Registration, RegistrationEvent::Registered) => {
                assert_eq!(message, register_response(1));
                self.was_accepted = true;
            }
            (Asked::Registration, RegistrationEvent::Refused(text)) => {
                assert!(text.as_str().len() <= 64);
                self.is_closed = true;
            }
            (Asked::Where(asked), RegistrationEvent::Address { peer, address }) => {
                assert_eq!((peer, address.is_some()), (asked, message[1] == b'L'));
            }
            (asked, event) => panic!("{event:?} for {asked:?}"),
        }
        self.ask_next();
        let more = self.registration.handle_bytes(self.clock.now(), piece, &mut at);
        assert!(self.is_closed || more == Ok(None));
    }

    /// Whether this is a sound answer to what was asked, and all of that is sent.
    fn is_due(&self, message: &[u8]) -> bool {
        if !self.outgoing.is_empty() {
            return false;
        }
        let text = |field: &[u8]| {
            let len = field.iter().position(|&byte| byte == 0).unwrap_or(64);
            let is_padded = field[len..].iter().all(|&byte| byte == 0);
            std::str::from_utf8(&field[..len]).ok().filter(|_| is_padded).map(str::to_owned)
        };
        match (self.asked, message[1]) {
            (Some(Asked::Registration), b'R') => matches!(message[2..], [0, 0, 0, 0 | 1]),
            (Some(Asked::Where(_)), b'L') => {
                let is_host = |host: String| {
                    host == "localhost" || host.parse::<std::net::Ipv4Addr>().is_ok()
                };
                text(&message[2..66]).is_some_and(is_host)
                    && matches!(message[66..], [0, 0, a, b] if (a, b) != (0, 0))
            }
            (Some(_), b'E') => text(&message[2..]).is_some(),
            _ => false,
        }
    }

    /// The socket takes so much.
    fn take(&mut self, room_bytes: usize) {
        let Some(Transmit::Bytes { bytes, .. }) = self.registration.transmit() else { return };
        let len = bytes.len().min(room_bytes);
        self.registration.transmitted(len);
        self.outgoing.drain(..len);
    }

    fn time_out(&mut self) {
        let before = self.registration.poll_timeout();
        let verdict = self.registration.handle_timeout(self.clock.now());
        self.clock.check_timeout(before, verdict.is_ok(), self.registration.poll_timeout());
        self.is_closed = verdict.is_err();
    }

    fn check(&self) {
        let state = self.registration.state();
        assert_eq!(self.registration.was_accepted(), self.was_accepted);
        assert_eq!(state == RegistrationState::Closed, self.is_closed);
        let pending = match self.registration.transmit() {
            Some(Transmit::Bytes { bytes, .. }) => bytes,
            Some(Transmit::File { .. }) => panic!("a registration sends no file"),
            None => &[],
        };
        assert_eq!(pending, self.outgoing);
        if !self.is_closed {
            let waits = state != RegistrationState::Registered || !self.incoming.is_empty();
            assert_eq!(self.registration.poll_timeout().is_some(), waits);
        }
    }
}
