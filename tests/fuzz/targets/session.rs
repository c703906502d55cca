//! A session: any bytes of the other side, and any use of it by its node.
//!
//! It holds that what it wants to send is always whole frames, that it never sends a file that it
//! was not given, that a page has no entry outside what was asked for, and that nothing grows
//! beyond its bounds.

use std::rc::Rc;

use p2pfs::content::{BlockSet, Content, ContentId};
use p2pfs::limits::{DATA_HEAD_BYTES, FRAME_BODY_BYTES_MAX, Limits};
use p2pfs::proto::v1::{Page, Request, Session, SessionEvent, SessionSettings, SessionState};
use p2pfs::proto::{FileId, Transmit};
use p2pfs::wire::v1::{
    Entry, EntryState, PeerName, SessionError, SessionMessage, SessionMessageKind, Verdict,
};
use p2pfs::wire::{Deframer, FilePath, Frame, Kind, PeerId};

use super::clock::Clock;
use super::script::Script;

const FILE: FileId = FileId(3);

pub(super) fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let mut rig = Rig::new(script.flag());
    if script.below(8) > 0 {
        rig.feed(&hello(1));
    }
    while !script.is_over() && rig.session.state() != SessionState::Closed {
        rig.step(&mut script);
    }
}

struct Rig {
    clock: Clock,
    session: Session,
    /// What they may still ask for, by our books.
    requested: Vec<(u32, Request)>,
    sent: Deframer<SessionMessage>,
    file_bytes_left: u64,
    /// The highest number of a request of theirs.
    their_req: u32,
}

impl Rig {
    fn new(is_dialed: bool) -> Self {
        let clock = Clock::new();
        let our = SessionSettings { peer: PeerId(7), instance: 7, name: PeerName::none() };
        let session = Session::new(clock.now(), &Rc::new(Limits::PEER), &Rc::new(our), is_dialed);
        let (requested, sent) = (Vec::new(), Deframer::default());
        Self { clock, session, requested, sent, file_bytes_left: 0, their_req: 0 }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        match script.below(8) {
            0 => {
                let mut bytes = self.frame(script);
                if script.below(16) == 0 && !bytes.is_empty() {
                    let at = script.below(bytes.len());
                    bytes[at] ^= script.byte();
                }
                self.feed(&bytes);
            }
            1 if script.below(16) == 0 => self.feed(script.bytes()),
            1 | 2 => _ = self.session.request(self.clock.now(), &request(script)),
            3 => self.session.cancel(self.clock.now(), script.byte().into()),
            4 => self.answer(script),
            5 => self.take(script.size(12) as usize),
            6 => self.clock.wait(script.wait()),
            _ => _ = self.session.handle_timeout(self.clock.now()),
        }
        let allowance_bytes = self.session.read_allowance_bytes();
        let most_bytes = FRAME_BODY_BYTES_MAX as usize + DATA_HEAD_BYTES;
        assert!(allowance_bytes <= most_bytes, "reads {allowance_bytes} bytes");
    }

    fn feed(&mut self, bytes: &[u8]) {
        let allowance_bytes = self.session.read_allowance_bytes();
        let bytes = &bytes[..bytes.len().min(allowance_bytes)];
        let mut at = 0;
        while let Ok(Some(event)) = self.session.handle_bytes(self.clock.now(), bytes, &mut at) {
            match event {
                SessionEvent::Requested { req, request } => self.requested.push((req, request)),
                SessionEvent::Cancelled { req } => {
                    self.requested.retain(|(requested, _)| *requested != req);
                }
                SessionEvent::Data { range, .. } => assert!(range.end <= bytes.len()),
                _ => {}
            }
        }
    }

    /// The node answers a request, perhaps one that is over.
    fn answer(&mut self, script: &mut Script<'_>) {
        let now = self.clock.now();
        let Some(at) = script.below(self.requested.len() + 1).checked_sub(1) else { return };
        let (req, request) = self.requested[at].clone();
        if script.below(4) == 0 {
            self.requested.remove(at);
            return self.session.refuse(now, req, SessionError::Busy, 1, "busy");
        }
        match request {
            Request::List { fetch_list, .. } => {
                let path = FilePath::new("a/b").expect("a legal path");
                let entries = vec![Entry { path, state: EntryState::EmptyFolder }; script.below(3)];
                let (complete, generation) = (script.flag(), 1);
                let page = Page { generation, discard: false, all_listed: false, complete };
                self.session.answer_page(now, req, page, fetch_list, &entries);
            }
            Request::Blocks(_) => self.session.answer_held(now, req, 9, BlockSet::all(1)),
            Request::Manifest(_) => self.session.answer_manifest(now, req, Rc::from([[7; 32]; 2])),
            Request::Wait(_) => self.session.answer_turn(now, req, 1),
            Request::Get { content, first, count, .. } => {
                let end = content.block_range(first + count - 1).end;
                let range = content.block_range(first).start..end;
                self.file_bytes_left = self.file_bytes_left.saturating_add(range.end - range.start);
                self.session.answer_data(now, req, FILE, range, content.blocks() > 1);
            }
        }
        self.requested.remove(at);
    }

    /// The socket takes some bytes.
    fn take(&mut self, mut room: usize) {
        while room > 0 {
            let taken = match self.session.transmit() {
                None => return,
                Some(Transmit::Bytes { bytes, .. }) => bytes[..bytes.len().min(room)].to_vec(),
                Some(Transmit::File { file, len_bytes, .. }) => {
                    assert!(file == FILE && self.file_bytes_left >= u64::from(len_bytes));
                    let len = (len_bytes as usize).min(room);
                    self.file_bytes_left -= len as u64;
                    vec![0; len]
                }
            };
            self.session.transmitted(self.clock.now(), taken.len());
            room -= taken.len();
            let mut at = 0;
            while let Some(frame) = self.sent.next(&taken, &mut at).expect("it sends frames") {
                if let Frame::Message(message) = frame {
                    assert!(message.kind() != SessionMessageKind::Unknown);
                }
            }
        }
    }
}

impl Rig {
    /// A frame of any kind, its fields as the script says.
    fn frame(&mut self, script: &mut Script<'_>) -> Vec<u8> {
        // An answer is mostly to one of the first requests, a request mostly has the next number.
        let (req, mut bytes) = (u32::from(script.byte() % 16), Vec::new());
        let kind = script.pick(SessionMessageKind::ALL).expect("there are kinds");
        let payload = script.bytes();
        let message = match kind {
            SessionMessageKind::Hello => return hello(script.byte().into()),
            SessionMessageKind::Page => {
                let path = FilePath::new(if script.flag() { "a/f" } else { "b" }).expect("a path");
                let entry = Entry { path, state: EntryState::Removed };
                let entries = vec![entry; script.below(4)];
                let page = SessionMessage::Page {
                    req,
                    generation: script.byte().into(),
                    complete: script.flag(),
                    discard: script.flag(),
                    fetch_list: script.flag(),
                    all_listed: script.flag(),
                    count: entries.len() as u16,
                    entries_bytes: entries.iter().map(Entry::len_bytes).sum::<usize>() as u32,
                };
                page.encode(&mut bytes);
                entries.iter().for_each(|entry| entry.encode(&mut bytes));
                return bytes;
            }
            SessionMessageKind::Held => {
                SessionMessage::Held { req, size_bytes: 9, blocks: BlockSet::all(1) }
            }
            SessionMessageKind::MoreHeld => SessionMessage::MoreHeld { req, blocks: vec![0] },
            SessionMessageKind::Manifest => {
                SessionMessage::Manifest { req, values: 2 }.encode(&mut bytes);
                bytes.extend([7; 64]);
                return bytes;
            }
            SessionMessageKind::Turn => SessionMessage::Turn { req, blocks: script.byte().into() },
            SessionMessageKind::Data if !payload.is_empty() => {
                SessionMessage::Data { req, data_bytes: payload.len() as u32 }.encode(&mut bytes);
                bytes.extend(payload);
                return bytes;
            }
            SessionMessageKind::Verdict => {
                SessionMessage::Verdict { content: content(script), verdict: Verdict::Wrong }
            }
            SessionMessageKind::Cancel => SessionMessage::Cancel { req },
            SessionMessageKind::Error => SessionMessage::Error {
                req,
                error: SessionError::Busy,
                wait_ms: 1,
                text: "".into(),
            },
            SessionMessageKind::List
            | SessionMessageKind::Blocks
            | SessionMessageKind::GetManifest
            | SessionMessageKind::Wait
            | SessionMessageKind::Get => {
                self.their_req += u32::from(script.below(16) > 0);
                return asked(script, self.their_req);
            }
            SessionMessageKind::Unknown | SessionMessageKind::Data => return payload.to_vec(),
        };
        message.encode(&mut bytes);
        bytes
    }
}

fn hello(instance: u64) -> Vec<u8> {
    let (version, peer, name, ignored_bytes) = (1, PeerId(1), PeerName::none(), 0);
    let mut bytes = Vec::new();
    SessionMessage::Hello { version, peer, instance, name, ignored_bytes }.encode(&mut bytes);
    bytes
}

fn content(script: &mut Script<'_>) -> Content {
    Content { id: ContentId([script.byte() & 3; 32]), size_bytes: script.size(30) }
}

fn request(script: &mut Script<'_>) -> Request {
    match script.below(5) {
        0 => Request::List {
            since: script.byte().into(),
            path: script.flag().then(|| FilePath::new("a").expect("a legal path")),
            watch: script.flag(),
            hash_first: script.flag(),
            fetch_list: script.flag(),
        },
        1 => Request::Blocks(ContentId([script.byte() & 3; 32])),
        2 => Request::Manifest(content(script)),
        3 => Request::Wait(content(script)),
        _ => {
            let content = content(script);
            Request::Get { turn: script.byte().into(), content, first: 0, count: 1 }
        }
    }
}

fn asked(script: &mut Script<'_>, req: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let message = match request(script) {
        Request::List { since, path, watch, hash_first, fetch_list } => {
            SessionMessage::List { req, since, path, watch, hash_first, fetch_list }
        }
        Request::Blocks(id) => SessionMessage::Blocks { req, id },
        Request::Manifest(content) => SessionMessage::GetManifest { req, content },
        Request::Wait(content) => SessionMessage::Wait { req, content },
        Request::Get { turn, content, first, count } => {
            SessionMessage::Get { req, turn, content, first, count }
        }
    };
    message.encode(&mut bytes);
    bytes
}
