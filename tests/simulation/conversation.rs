//! What is said over one connection, checked at each byte that is sent.

use std::collections::VecDeque;

use p2pfs::limits::WINDOW_BYTES;
use p2pfs::node::CloseHow;
use p2pfs::wire::v0::{FileName, PeerMessage, RegistryRequest, RegistryResponse};
use p2pfs::wire::{Deframer, Frame, Message, PeerId};

use crate::checks::Ledger;
use crate::outside::Truth;

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
                RegistryRequest::Peers { .. } => false,
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
