//! What must never happen, checked at each action, at each byte that is sent, and
//! after each step.
//!
//! A check panics: the world catches it, as it does a panic of the node itself,
//! and reports the seed and the step. Checks trust nothing that a node says about
//! itself; they look at what it does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kit::runner::Held;
use p2pfs::content::{Sight, Version};
use p2pfs::limits::{REST_TIME, WINDOW_BYTES, WRITTEN_REST_TIME};
use p2pfs::node::{CloseHow, Input, Node};
use p2pfs::proto::{FileId, Timer};
use p2pfs::wire::v0::{FileName, Offer, PeerMessage, RegistryRequest, RegistryResponse};
use p2pfs::wire::{Deframer, Frame, Message, PeerId};

use crate::outside::Truth;

/// What one process has done so far.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What its user wants.
    pub(crate) wishes: BTreeSet<FileName>,
    /// What it may offer and send: found in the folder or fetched.
    pub(crate) shared: BTreeSet<FileName>,
    /// The files that it knows of, as last seen, and those that it fetched.
    seen: BTreeMap<FileName, Version>,
    fetched: BTreeMap<FileName, Version>,
    /// Files that it fetched, and has not heard closed.
    unclosed: BTreeSet<FileName>,
    /// When a file rests whose writer may not be done.
    rests_us: BTreeMap<FileName, u64>,
    /// When a file that it shared was gone.
    gone_us: BTreeMap<FileName, u64>,
    /// When it last offered what.
    offered_us: BTreeMap<FileName, u64>,
    /// What it fetched.
    pub(crate) committed: BTreeSet<FileName>,
    /// Wishes that it has given up.
    pub(crate) failed: BTreeSet<FileName>,
    /// Whether it lost a file that it shared.
    pub(crate) has_lost_a_file: bool,
    /// Who offers something, by its reports, and when an offer of whom last came.
    pub(crate) offering: BTreeSet<PeerId>,
    heard_us: BTreeMap<PeerId, u64>,
    /// How many offers it made.
    pub(crate) offers: u64,
    /// The deadlines for which it gave connections up.
    pub(crate) timeouts: Vec<Timer>,
    /// Whether a registry ever entered it.
    pub(crate) was_registered: bool,
    partials: BTreeMap<FileId, FileName>,
    creations: BTreeMap<FileName, u32>,
}

impl Ledger {
    /// A file is in the folder at its start.
    pub(crate) fn found(&mut self, name: FileName, version: Version) {
        self.shared.insert(name);
        self.seen.insert(name, version);
    }

    /// It is given an input.
    pub(crate) fn learns<N: Node + ?Sized, C>(
        &mut self,
        now_us: u64,
        input: &Input<'_>,
        held: &Held<N, C>,
    ) {
        match *input {
            Input::Datagram { bytes, .. } => {
                if let Ok(offer) = Offer::decode(bytes) {
                    self.heard_us.insert(offer.peer, now_us);
                }
            }
            Input::FileSeen { ref path, version, sight } => {
                let name = path.name().expect("a name");
                self.shared.insert(name);
                self.sees(now_us, name, version, sight);
            }
            Input::Opened { file, version } => {
                if let Some(file) = held.files.get(&file) {
                    self.sees_by_the_way(now_us, file.name, version);
                }
            }
            Input::HashProgress { path, version, .. } | Input::Hashed { path, version, .. } => {
                if let Some(path) = held.node.paths().get(path) {
                    self.sees_by_the_way(now_us, path.name().expect("a name"), version);
                }
            }
            Input::FileGone { ref path } => {
                let name = path.name().expect("a name");
                if self.shared.remove(&name) {
                    self.gone_us.insert(name, now_us);
                }
                self.seen.remove(&name);
                self.rests_us.remove(&name);
            }
            _ => {}
        }
    }

    fn sees(&mut self, now_us: u64, name: FileName, version: Version, sight: Sight) {
        let before = self.seen.insert(name, version);
        let is_other = before != Some(version);
        if before.is_some_and(|before| before.inode != version.inode) {
            // Of the file that took its place nothing is known.
            self.rests_us.remove(&name);
        }
        let is_own_close = sight == Sight::Closed && self.unclosed.remove(&name);
        if matches!(sight, Sight::Written | Sight::Closed) && !is_own_close {
            self.fetched.remove(&name);
        }
        let rest = match sight {
            Sight::Closed | Sight::Moved => {
                self.rests_us.remove(&name);
                return;
            }
            Sight::Looked | Sight::Created if !is_other => return,
            Sight::Looked | Sight::Created => REST_TIME,
            Sight::Written => WRITTEN_REST_TIME,
        };
        let rests_us = self.rests_us.entry(name).or_default();
        *rests_us = (*rests_us).max(now_us + rest.as_micros() as u64);
    }

    /// An open or a hash took its time: what it shows of a file that rests is of before.
    fn sees_by_the_way(&mut self, now_us: u64, name: FileName, version: Version) {
        if self.rests(now_us, &name) {
            self.sees(now_us, name, version, Sight::Looked);
        }
    }

    /// Whether no change of a file was shown for long enough.
    fn rests(&self, now_us: u64, name: &FileName) -> bool {
        self.rests_us.get(name).is_none_or(|at_us| *at_us <= now_us)
    }

    /// Whether it has offered a file since then.
    pub(crate) fn has_offered(&self, name: &FileName, since_us: u64) -> bool {
        self.offered_us.get(name).is_some_and(|at_us| *at_us >= since_us)
    }

    /// It opens a file for sending.
    pub(crate) fn opens_source(&self, name: &FileName) {
        assert!(self.shared.contains(name), "opens {name}, which it has not");
    }

    /// It creates a partial file: for a wish that is open, and at most two at a time.
    pub(crate) fn creates(&mut self, file: FileId, name: FileName) {
        assert!(self.wishes.contains(&name), "creates {name}, which nobody wants");
        assert!(!self.committed.contains(&name), "creates {name}, which is there already");
        let others = self.partials.values().filter(|other| **other == name).count();
        assert!(others <= 1, "fetches {name} three times at once");
        self.partials.insert(file, name);
        *self.creations.entry(name).or_default() += 1;
    }

    /// It commits a partial file.
    pub(crate) fn commits(&self, name: &FileName, simulates_failure: bool) {
        let least_creations = if simulates_failure { 2 } else { 1 };
        assert!(self.creations[name] >= least_creations, "no checksum failure was simulated");
    }

    /// It sends a file. An address that asks for it again may have refused it.
    pub(crate) fn sends(&mut self, name: &FileName) {
        self.fetched.remove(name);
    }

    /// Whether a file is the very one that it fetched, by what it was last told.
    pub(crate) fn knows_digest(&self, name: &FileName) -> bool {
        self.fetched.get(name).is_some_and(|version| self.seen.get(name) == Some(version))
    }

    /// A commit is done, of a name that was never committed before.
    pub(crate) fn committed(&mut self, file: FileId, name: FileName, version: Version) {
        self.partials.remove(&file);
        assert!(self.committed.insert(name), "{name} is committed twice");
        self.rests_us.remove(&name);
        self.shared.insert(name);
        self.fetched.insert(name, version);
        self.unclosed.insert(name);
        self.seen.insert(name, version);
    }

    /// A file is closed.
    pub(crate) fn closed(&mut self, file: FileId) {
        self.partials.remove(&file);
    }

    /// It knows nobody of whom it has not heard for this long.
    pub(crate) fn remembers(&self, since_us: u64) {
        let is_old = |peer: &&PeerId| self.heard_us.get(peer).is_none_or(|at_us| *at_us < since_us);
        let old = self.offering.iter().find(is_old);
        assert_eq!(old, None, "an offer is remembered for ever");
    }

    /// It offers a file: as itself, and one that is complete and rests.
    pub(crate) fn offers(&mut self, now_us: u64, id: PeerId, datagram: &[u8]) {
        self.offers += 1;
        let offer = Offer::decode(datagram).expect("offers what is no offer");
        assert_eq!(offer.peer, id, "offers in the name of another");
        // An offer that was on its way out when the file turned out to be gone still goes.
        let has_it = self.shared.contains(&offer.name)
            || self.gone_us.get(&offer.name).is_some_and(|at_us| *at_us == now_us);
        assert!(has_it, "offers {}, which it has not", offer.name);
        let rests = self.rests(now_us, &offer.name);
        assert!(rests, "offers {}, which is being written", offer.name);
        self.offered_us.insert(offer.name, now_us);
    }
}

/// What is said over one connection, from one side: each message that is sent is
/// legal, and legal at that moment.
pub(crate) enum Conversation {
    /// Nothing is said yet by the side that dialed.
    Silent,
    /// A downloader.
    Download(DownloadTalk),
    /// An uploader.
    Upload(UploadTalk),
    /// A client of the registry.
    Client(ClientTalk),
    /// The registry.
    Registry(RegistryTalk),
    /// Not ours to check.
    Unchecked,
}

/// Two directions, cut into messages. Input may be garbage: it is followed as far
/// as it makes sense.
struct Cut<Sent, Got> {
    sent: Deframer<Sent>,
    got: Option<Deframer<Got>>,
}

/// A downloader's side.
pub(crate) struct DownloadTalk {
    cut: Cut<PeerMessage, PeerMessage>,
    requests: u32,
    acknowledgments_due: u32,
}

/// An uploader's side.
pub(crate) struct UploadTalk {
    cut: Cut<PeerMessage, PeerMessage>,
    requested: VecDeque<FileName>,
    unacknowledged: VecDeque<u32>,
    unacknowledged_bytes: u64,
}

/// A client's side.
pub(crate) struct ClientTalk {
    cut: Cut<RegistryRequest, RegistryResponse>,
    outstanding: u32,
    registration: Option<bool>,
    is_registering: bool,
}

/// The registry's side.
pub(crate) struct RegistryTalk {
    cut: Cut<RegistryResponse, RegistryRequest>,
    unanswered: u32,
    has_registered: bool,
}

/// Who speaks, and what the speaker may say.
pub(crate) struct Speaker<'a> {
    /// Its id.
    pub(crate) id: PeerId,
    /// Where it listens.
    pub(crate) port: u16,
    /// What it has done.
    pub(crate) ledger: &'a Ledger,
    /// What is true about files.
    pub(crate) truth: &'a Truth,
}

impl Conversation {
    /// A conversation in which we were called, as an uploader.
    pub(crate) fn upload() -> Self {
        Self::Upload(UploadTalk {
            cut: Cut::new(),
            requested: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
        })
    }

    /// A conversation in which we were called, as the registry.
    pub(crate) fn registry() -> Self {
        Self::Registry(RegistryTalk { cut: Cut::new(), unanswered: 0, has_registered: false })
    }

    /// The first byte tells whom a caller takes the other side for. It may be wrong
    /// about that, if an address was changed on its way.
    fn begin(first: u8) -> Self {
        match first {
            b'S' => Self::Client(ClientTalk {
                cut: Cut::new(),
                outstanding: 0,
                registration: None,
                is_registering: false,
            }),
            _ => Self::Download(DownloadTalk {
                cut: Cut::new(),
                requests: 0,
                acknowledgments_due: 0,
            }),
        }
    }

    /// Bytes went out.
    pub(crate) fn sent(&mut self, speaker: &Speaker<'_>, bytes: &[u8]) {
        if let (Self::Silent, Some(first)) = (&self, bytes.first()) {
            *self = Self::begin(*first);
        }
        match self {
            Self::Silent | Self::Unchecked => {}
            Self::Download(talk) => talk.sent(speaker, bytes),
            Self::Upload(talk) => talk.sent(speaker, bytes),
            Self::Client(talk) => talk.sent(speaker, bytes),
            Self::Registry(talk) => talk.sent(bytes),
        }
    }

    /// Whether a message has begun to come in, and its head is not whole.
    pub(crate) fn is_in_head(&self) -> bool {
        match self {
            Self::Silent | Self::Unchecked => false,
            Self::Download(talk) => talk.cut.is_in_head(),
            Self::Upload(talk) => talk.cut.is_in_head(),
            Self::Client(talk) => talk.cut.is_in_head(),
            Self::Registry(talk) => talk.cut.is_in_head(),
        }
    }

    /// Bytes came in; whether a message, or the data of a chunk, came to its end.
    pub(crate) fn got(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Silent | Self::Unchecked => false,
            Self::Download(talk) => talk.got(bytes),
            Self::Upload(talk) => talk.got(bytes),
            Self::Client(talk) => talk.got(bytes),
            Self::Registry(talk) => talk.got(bytes),
        }
    }

    /// Our side closes the connection. The reference's registry forgets an entry only
    /// at a reset, and the wrong one at the reset of a connection that it refused.
    pub(crate) fn closes(&self, how: CloseHow) {
        if let Self::Client(talk) = self {
            match talk.registration {
                Some(true) => assert_eq!(how, CloseHow::Reset, "leaves the reference registered"),
                Some(false) => assert_eq!(how, CloseHow::Finish, "unregisters another"),
                None => {}
            }
        }
    }
}

impl DownloadTalk {
    /// Whether a file is on its way.
    pub(crate) fn expects_data(&self) -> bool {
        self.requests > 0
    }

    fn sent(&mut self, speaker: &Speaker<'_>, bytes: &[u8]) {
        self.cut.sent(bytes, |message| match message {
            PeerMessage::Request(name) => {
                assert!(speaker.ledger.wishes.contains(&name), "asks for {name} unwanted");
                assert_eq!(self.requests, 0, "asks before the EOF of the file before");
                self.requests += 1;
            }
            PeerMessage::Acknowledgment(id) => {
                assert_eq!(id, speaker.id, "acknowledges in the name of another");
                assert!(self.acknowledgments_due > 0, "acknowledges what did not come");
                self.acknowledgments_due -= 1;
            }
            other => panic!("a downloader sends {other:?}"),
        });
    }

    fn got(&mut self, bytes: &[u8]) -> bool {
        let (due, requests) = (&mut self.acknowledgments_due, &mut self.requests);
        self.cut.got(bytes, |frame| match frame {
            Frame::Payload { last: true, .. } => *due += 1,
            Frame::Message(PeerMessage::Eof(_)) => *requests = 0,
            _ => {}
        })
    }
}

impl UploadTalk {
    fn sent(&mut self, speaker: &Speaker<'_>, bytes: &[u8]) {
        self.cut.sent(bytes, |message| match message {
            PeerMessage::Chunk { data_bytes } => {
                let name = self.requested.front().expect("sends without a request");
                assert!(speaker.ledger.shared.contains(name), "sends {name}, which it has not");
                self.unacknowledged.push_back(data_bytes);
                self.unacknowledged_bytes += u64::from(data_bytes);
                let is_within = self.unacknowledged_bytes <= u64::from(WINDOW_BYTES);
                assert!(is_within, "the window is overrun");
            }
            PeerMessage::Eof(digest) => {
                let name = self.requested.pop_front().expect("an EOF without a request");
                let is_true = speaker.truth.holds(&name, &digest);
                assert!(is_true, "announces a digest that {name} never had");
            }
            other => panic!("an uploader sends {other:?}"),
        });
    }

    /// Whether something it sent is not acknowledged.
    pub(crate) fn expects_acknowledgment(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Whether nothing is asked of it.
    pub(crate) fn expects_request(&self) -> bool {
        self.requested.is_empty()
    }

    fn got(&mut self, bytes: &[u8]) -> bool {
        self.cut.got(bytes, |frame| match frame {
            Frame::Message(PeerMessage::Request(name)) => self.requested.push_back(name),
            Frame::Message(PeerMessage::Acknowledgment(_)) => {
                let acknowledged_bytes = self.unacknowledged.pop_front().unwrap_or(0);
                self.unacknowledged_bytes -= u64::from(acknowledged_bytes);
            }
            _ => {}
        })
    }
}

impl ClientTalk {
    fn sent(&mut self, speaker: &Speaker<'_>, bytes: &[u8]) {
        self.cut.sent(bytes, |message| {
            self.outstanding += 1;
            assert_eq!(self.outstanding, 1, "two requests to the registry are outstanding");
            self.is_registering = match message {
                RegistryRequest::Register { peer, port } => {
                    assert_eq!((peer, port), (speaker.id, speaker.port), "registers another");
                    true
                }
                RegistryRequest::Lookup(peer) => {
                    assert_ne!(peer, speaker.id, "looks itself up");
                    false
                }
            };
        });
    }

    /// Whether something it asked is not answered.
    pub(crate) fn expects_answer(&self) -> bool {
        self.outstanding > 0
    }

    fn got(&mut self, bytes: &[u8]) -> bool {
        self.cut.got(bytes, |frame| {
            let Frame::Message(response) = frame else { return };
            self.outstanding = self.outstanding.saturating_sub(1);
            if self.is_registering {
                self.registration = Some(response == RegistryResponse::Registered(true));
            }
        })
    }
}

impl RegistryTalk {
    fn sent(&mut self, bytes: &[u8]) {
        self.cut.sent(bytes, |response| {
            self.has_registered |= response == RegistryResponse::Registered(true);
            assert!(self.unanswered > 0, "the registry answers what nobody asked");
            self.unanswered -= 1;
        });
    }

    /// Whether it has entered the client.
    pub(crate) fn has_registered(&self) -> bool {
        self.has_registered
    }

    fn got(&mut self, bytes: &[u8]) -> bool {
        let unanswered = &mut self.unanswered;
        self.cut.got(bytes, |_| *unanswered += 1)
    }
}

impl<Sent: Message, Got: Message> Cut<Sent, Got> {
    fn new() -> Self {
        Self { sent: Deframer::default(), got: Some(Deframer::default()) }
    }

    /// Every message in what a node sends is well formed.
    fn sent(&mut self, bytes: &[u8], mut check: impl FnMut(Sent)) {
        let mut at = 0;
        while let Some(frame) = self.sent.next(bytes, &mut at).expect("sends what is no message") {
            if let Frame::Message(message) = frame {
                check(message);
            }
        }
    }

    fn is_in_head(&self) -> bool {
        self.got.as_ref().is_some_and(Deframer::is_in_head)
    }

    fn got(&mut self, bytes: &[u8], mut note: impl FnMut(Frame<Got>)) -> bool {
        let (mut at, mut has_ended_one) = (0, false);
        while let Some(deframer) = &mut self.got {
            match deframer.next(bytes, &mut at) {
                Ok(Some(frame)) => {
                    has_ended_one |= !matches!(frame, Frame::Payload { last: false, .. });
                    note(frame);
                }
                Ok(None) => break,
                Err(_) => self.got = None,
            }
        }
        has_ended_one
    }
}
