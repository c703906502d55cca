//! A source at the other end of a session, honest or not.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use super::world::{Sample, World};
use crate::content::{BlockSet, Content};
use crate::proto::v1::{Request, Session, SessionEvent, SessionSettings};
use crate::proto::{FileId, Transmit};
use crate::wire::PeerId;
use crate::wire::v1::{PeerName, SessionError, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Honest,
    /// Honest, and holds some blocks at first, more later.
    Partial,
    /// Honest, and sends a little now and then.
    Slow,
    /// Honest, and goes away.
    Going,
    /// Honest, and its files change: it tells so, and has nothing any more.
    Changing,
    /// Honest, and busy now and then.
    Busy,
    /// Its turns expire.
    Expiring,
    /// Answers requests, but never with data or a manifest.
    Silent,
    WrongBytes,
    WrongManifest,
    WrongSize,
    /// Tells that it holds blocks that it does not.
    WrongBlocks,
    /// Gives far larger turns than it serves.
    WrongTurn,
}

impl Behaviour {
    pub(super) const ALL: [Self; 13] = [
        Self::Honest,
        Self::Partial,
        Self::Slow,
        Self::Going,
        Self::Changing,
        Self::Busy,
        Self::Expiring,
        Self::Silent,
        Self::WrongBytes,
        Self::WrongManifest,
        Self::WrongSize,
        Self::WrongBlocks,
        Self::WrongTurn,
    ];

    /// Returns whether it may be struck out.
    pub(super) fn lies_in_bytes(self) -> bool {
        matches!(self, Self::WrongBytes | Self::WrongManifest)
    }
}

/// A source.
pub(super) struct Model {
    session: Session,
    pub(super) behaviour: Behaviour,
    samples: Vec<(Rc<Sample>, BlockSet)>,
    /// Questions which blocks it holds that are open, by content.
    told: BTreeMap<Content, u32>,
    waiting: VecDeque<(u32, Content)>,
    /// Its turns: for which content, how many blocks are left, and how many there were.
    turns: BTreeMap<u32, (Content, u32, u32)>,
    /// Turns that were given back whole.
    pub(super) turns_in_vain: usize,
    /// Requests that are served, and refused, as they came.
    pub(super) gets: usize,
    pub(super) waits: usize,
    /// Whether its turns are so large that the next one may be waited for before they end.
    pub(super) may_wait_early: bool,
    /// Whether it gives no turn for the moment.
    pub(super) is_holding_turns: bool,
    /// Those that are not answered whole.
    gets_open: BTreeMap<u32, Content>,
    pub(super) gets_open_max: usize,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) is_gone: bool,
    rng: fastrand::Rng,
}

impl Model {
    pub(super) fn new(
        now: Instant,
        number: u32,
        behaviour: Behaviour,
        samples: &[&Rc<Sample>],
        seed: u64,
    ) -> Self {
        let our = Rc::new(SessionSettings {
            peer: PeerId(number),
            instance: u64::from(number) + 1_000,
            name: PeerName::new("ann").unwrap(),
        });
        let mut rng = fastrand::Rng::with_seed(seed);
        let is_partial = matches!(behaviour, Behaviour::Partial | Behaviour::WrongBlocks);
        let samples = samples.iter().map(|&sample| {
            let mut held = BlockSet::all(sample.content.blocks());
            if is_partial && sample.content.blocks() > 1 {
                (0..held.blocks()).for_each(|block| _ = rng.bool() && held.remove(block));
            }
            (Rc::clone(sample), held)
        });
        Self {
            samples: samples.collect(),
            session: Session::new(now, &World::limits(), &our, false),
            behaviour,
            told: BTreeMap::new(),
            waiting: VecDeque::new(),
            turns: BTreeMap::new(),
            turns_in_vain: 0,
            gets: 0,
            waits: 0,
            may_wait_early: false,
            is_holding_turns: false,
            gets_open: BTreeMap::new(),
            gets_open_max: 0,
            verdicts: Vec::new(),
            is_gone: false,
            rng,
        }
    }

    pub(super) fn on_bytes(&mut self, now: Instant, bytes: &[u8]) {
        let mut at = 0;
        while let Some(event) = self.session.handle_bytes(now, bytes, &mut at).unwrap() {
            match event {
                SessionEvent::Requested { req, request } => self.on_request(now, req, request),
                SessionEvent::Verdict { verdict, .. } => self.verdicts.push(verdict),
                SessionEvent::Cancelled { req } => {
                    self.waiting.retain(|(waiting, _)| *waiting != req);
                    self.told.retain(|_, told| *told != req);
                    self.gets_open.remove(&req);
                    let turn = self.turns.remove(&req);
                    self.turns_in_vain += usize::from(turn.is_some_and(|turn| turn.1 == turn.2));
                }
                _ => {}
            }
        }
    }

    /// Returns whether it may serve less than its turns allow.
    fn breaks_turns(&self) -> bool {
        matches!(
            self.behaviour,
            Behaviour::WrongTurn | Behaviour::Expiring | Behaviour::Busy | Behaviour::Changing
        )
    }

    fn refuse(&mut self, now: Instant, req: u32, error: SessionError) {
        self.session.refuse(now, req, error, 20, "no");
    }

    fn on_request(&mut self, now: Instant, req: u32, request: Request) {
        let content = match &request {
            Request::Blocks(id) => self.samples.iter().find(|(it, _)| it.content.id == *id),
            Request::Manifest(content) | Request::Wait(content) | Request::Get { content, .. } => {
                self.samples.iter().find(|(it, _)| it.content == *content)
            }
            Request::List { .. } => panic!("nothing lists here"),
        };
        let Some((sample, held)) = content.cloned() else {
            return self.refuse(now, req, SessionError::NotFound);
        };
        match self.behaviour {
            Behaviour::Going if self.rng.u8(..6) == 0 => self.is_gone = true,
            Behaviour::Busy if self.rng.bool() => {
                return self.refuse(now, req, SessionError::Busy);
            }
            Behaviour::Changing if self.rng.u8(..6) == 0 => {
                self.samples.clear();
                return self.refuse(now, req, SessionError::Changed);
            }
            _ => {}
        }
        let content = sample.content;
        match request {
            Request::Blocks(_) => {
                self.told.insert(content, req);
                let told = match self.behaviour {
                    Behaviour::WrongBlocks => BlockSet::all(content.blocks()),
                    _ => held,
                };
                let (size_bytes, told) = match self.behaviour {
                    Behaviour::WrongSize => (content.size_bytes + self.rng.u64(1..1 << 20), told),
                    _ => (content.size_bytes, told),
                };
                let blocks = Content { size_bytes, ..content }.blocks();
                let told = if told.blocks() == blocks { told } else { BlockSet::all(blocks) };
                self.session.answer_held(now, req, size_bytes, told);
            }
            Request::Manifest(_) if self.behaviour == Behaviour::Silent => {}
            Request::Manifest(_) => {
                assert!(content.blocks() > 1, "a content of one block has no manifest");
                let mut values = sample.values.to_vec();
                if self.behaviour == Behaviour::WrongManifest {
                    values[0][0] ^= 1;
                }
                self.session.answer_manifest(now, req, values.into());
            }
            Request::Wait(_) => {
                self.waits += 1;
                assert!(content.blocks() > 1, "a content of one block needs no turn");
                assert!(self.behaviour != Behaviour::WrongSize, "it has another content");
                let other = self.waiting.iter().find(|(_, waiting)| *waiting == content);
                assert!(other.is_none(), "two wait for one content");
                let in_use = self.gets_open.values().any(|open| *open == content);
                assert!(!in_use || self.may_wait_early, "a turn is in use");
                let is_used = self.turns.values().all(|(of, left, _)| *of != content || *left == 0);
                assert!(is_used || self.breaks_turns(), "the rest of a turn is not given back");
                self.waiting.push_back((req, content));
            }
            Request::Get { turn, first, count, .. } => {
                assert_eq!(count, 1);
                self.on_get(now, (req, turn), &sample, &held, first);
            }
            Request::List { .. } => {}
        }
    }

    fn on_get(
        &mut self,
        now: Instant,
        (req, turn): (u32, u32),
        sample: &Sample,
        held: &BlockSet,
        block: u32,
    ) {
        if sample.content.blocks() > 1 {
            let breaks_turns = self.breaks_turns();
            let left = self.turns.get_mut(&turn).map(|(_, left, _)| left).filter(|left| **left > 0);
            match left {
                Some(left) => *left -= 1,
                None if breaks_turns => {
                    return self.refuse(now, req, SessionError::Refused);
                }
                None => panic!("more is requested than the turn allows"),
            }
        }
        if !held.contains(block) {
            assert_eq!(self.behaviour, Behaviour::WrongBlocks, "it does not hold {block}");
            return self.refuse(now, req, SessionError::NotFound);
        }
        self.gets += 1;
        self.gets_open.insert(req, sample.content);
        self.gets_open_max = self.gets_open_max.max(self.gets_open.len());
        let index = self.samples.iter().position(|(it, _)| it.content == sample.content).unwrap();
        let range = sample.content.block_range(block);
        let is_large = sample.content.blocks() > 1;
        self.session.answer_data(now, req, FileId(index as u64), range, is_large);
    }

    /// Returns the next piece that it sends, if it sends one now.
    pub(super) fn send(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.tell_more(now);
        self.give_turn(now);
        if self.behaviour == Behaviour::Slow && self.rng.u8(..8) > 0 {
            return None;
        }
        let piece_max = match self.behaviour {
            Behaviour::Slow => 2_000,
            _ => self.rng.usize(1..150_000),
        };
        let bytes = match self.session.transmit()? {
            Transmit::Bytes { bytes, .. } => bytes[..bytes.len().min(piece_max)].to_vec(),
            Transmit::File { .. } if self.behaviour == Behaviour::Silent => return None,
            Transmit::File { file, offset, len_bytes } => {
                let Some((sample, _)) = self.samples.get(file.0 as usize) else {
                    self.is_gone = true;
                    return None;
                };
                let from = &sample.bytes[offset as usize..][..len_bytes as usize];
                let mut bytes = from[..from.len().min(piece_max)].to_vec();
                if self.behaviour == Behaviour::WrongBytes && self.rng.bool() {
                    bytes[0] ^= 1;
                }
                bytes
            }
        };
        if let Some(req) = self.session.transmitted(now, bytes.len()) {
            self.gets_open.remove(&req);
        }
        Some(bytes)
    }

    fn tell_more(&mut self, now: Instant) {
        if self.behaviour != Behaviour::Partial || self.rng.u8(..4) > 0 {
            return;
        }
        for (sample, held) in &mut self.samples {
            let Some(&req) = self.told.get(&sample.content) else { continue };
            let block = self.rng.u32(..held.blocks());
            if held.insert(block) {
                self.session.answer_more_held(now, req, vec![block]);
            }
        }
    }

    fn give_turn(&mut self, now: Instant) {
        if self.is_holding_turns {
            return;
        }
        let Some((req, content)) = self.waiting.pop_front() else { return };
        let blocks = if self.may_wait_early { 64 } else { self.rng.u32(1..5) };
        let (told, served) = match self.behaviour {
            Behaviour::WrongTurn => (u32::MAX, blocks),
            Behaviour::Expiring => (blocks, self.rng.u32(..=blocks)),
            _ => (blocks, blocks),
        };
        self.turns.insert(req, (content, served, served));
        self.session.answer_turn(now, req, told);
    }
}
