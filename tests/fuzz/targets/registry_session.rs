//! A session at the registry: any requests, cut in any way, with answers that wait for a
//! client that does not read.
//!
//! It holds that each request is answered once and in its turn, that answers fit the
//! outbox if no more is read than allowed, and that one registration is all there is.

use std::rc::Rc;

use kit::messages::{
    error_response, int, lookup_request, lookup_response, register_request, register_response,
};
use p2pfs::limits::{Limits, OUTBOX_BYTES_MAX};
use p2pfs::proto::Transmit;
use p2pfs::proto::v0::{RegistrySession, SessionState};
use p2pfs::wire::v0::{RegistryRequest, RegistryResponse};
use p2pfs::wire::{FieldText, PeerId};

use super::clock::Clock;
use super::script::Script;

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
    session: RegistrySession,
    is_closed: bool,
    registered_as: Option<PeerId>,
    /// What came and is not yet a whole request.
    incoming: Vec<u8>,
    /// What is to be sent and is not yet.
    outgoing: Vec<u8>,
}

impl Rig {
    fn new() -> Self {
        let clock = Clock::new();
        let session = RegistrySession::new(clock.now(), &Rc::new(Limits::REGISTRY));
        Self {
            clock,
            session,
            is_closed: false,
            registered_as: None,
            incoming: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(7) {
            0 if script.flag() => self.feed(&script.any_message()),
            0 => self.feed(script.bytes()),
            1 => {
                let request = register_request(script.peer().0, script.size(17) as u32);
                let (first, rest) = request.split_at(script.below(request.len()));
                self.feed(first);
                self.feed(rest);
            }
            2 => {
                let lookups = lookup_request(script.peer().0).repeat(script.size(10) as usize);
                self.feed(&lookups);
            }
            3 => self.feed(&lookup_request(script.int())),
            4 => self.take(script.size(19) as usize),
            5 => self.clock.wait(script.wait()),
            _ => self.time_out(),
        }
    }

    /// As many of these bytes come as may be read.
    fn feed(&mut self, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.session.read_allowance_bytes())];
        if bytes.is_empty() {
            return;
        }
        self.incoming.extend_from_slice(bytes);
        let incoming = std::mem::take(&mut self.incoming);
        let (mut at, mut rest) = (0, &incoming[..]);
        loop {
            let expected = self.next_request(&mut rest);
            match self.session.handle_bytes(self.clock.now(), bytes, &mut at) {
                Ok(Some(request)) => {
                    assert_eq!(expected, Ok(Some(request)));
                    self.answer(request);
                }
                Ok(None) => {
                    assert_eq!((expected, at), (Ok(None), bytes.len()));
                    return self.incoming = rest.to_vec();
                }
                Err(reason) => {
                    assert_eq!(expected, Err(()), "{reason}");
                    return self.is_closed = true;
                }
            }
        }
    }

    /// The next request among what came, `None` if there is not all of it yet.
    fn next_request(&self, incoming: &mut &[u8]) -> Result<Option<RegistryRequest>, ()> {
        let len = match incoming {
            [] | [b'S'] => return Ok(None),
            [b'S', b'R', ..] => 10,
            [b'S', b'L', ..] => 6,
            _ => return Err(()),
        };
        let Some((message, rest)) = incoming.split_at_checked(len) else { return Ok(None) };
        *incoming = rest;
        let peer = PeerId(int(message, 2));
        if len == 6 {
            return Ok(Some(RegistryRequest::Lookup(peer)));
        }
        let port = u16::try_from(int(message, 6)).map_err(|_| ())?;
        match port > 0 && self.registered_as.is_none() {
            true => Ok(Some(RegistryRequest::Register { peer, port })),
            false => Err(()),
        }
    }

    /// Every second peer is known, and every fourth refused.
    fn answer(&mut self, request: RegistryRequest) {
        match request {
            RegistryRequest::Register { peer, .. } if peer.0 % 4 != 3 => {
                self.session.accept_registration(peer);
                self.registered_as = Some(peer);
                self.outgoing.extend(register_response(1));
            }
            RegistryRequest::Lookup(peer) if peer.0 % 2 == 1 => {
                let address = "255.255.255.255:65535".parse().expect("an address");
                self.session.respond(&RegistryResponse::Address(address));
                self.outgoing.extend(lookup_response("255.255.255.255", 65535));
            }
            _ => {
                self.session.respond(&RegistryResponse::Error(FieldText::new("no")));
                self.outgoing.extend(error_response(b"no"));
            }
        }
    }

    /// The socket takes so much.
    fn take(&mut self, room_bytes: usize) {
        let Some(Transmit::Bytes { bytes, .. }) = self.session.transmit() else { return };
        let len = bytes.len().min(room_bytes);
        self.session.transmitted(len);
        self.outgoing.drain(..len);
    }

    fn time_out(&mut self) {
        let before = self.session.poll_timeout();
        let verdict = self.session.handle_timeout(self.clock.now());
        self.clock.check_timeout(before, verdict.is_ok(), self.session.poll_timeout());
        self.is_closed = verdict.is_err();
    }

    fn check(&self) {
        let state = self.session.state();
        assert_eq!(state == SessionState::Closed, self.is_closed);
        assert_eq!(self.session.registered_as(), self.registered_as);
        let pending = match self.session.transmit() {
            Some(Transmit::Bytes { bytes, .. }) => bytes,
            Some(Transmit::File { .. }) => panic!("a session sends no file"),
            None => &[],
        };
        assert_eq!(pending, self.outgoing);
        assert!(pending.len() <= OUTBOX_BYTES_MAX);
        if !self.is_closed {
            let waits = self.registered_as.is_none() || !self.incoming.is_empty();
            assert_eq!(self.session.poll_timeout().is_some(), waits);
            assert!(!pending.is_empty() || self.session.read_allowance_bytes() > 0, "never reads");
        }
    }
}
