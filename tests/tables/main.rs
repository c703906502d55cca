//! State x message, exhaustive: each machine in each state of its table receives each
//! message there is. A legal one leads to one of the states that the table names, and each
//! of these is reached; any other closes the connection, with the words of the table.

mod v1;

use std::rc::Rc;
use std::time::{Duration, Instant};

use p2pfs::content::Digest;
use p2pfs::limits::{
    CHUNK_BYTES, HEAD_TIMEOUT, IDLE_TIMEOUT, LOCAL_WINDOW_BYTES, Limits, RATE_BYTES_PER_SECOND_MIN,
    UPLOAD_RATE_WINDOW, WINDOW_BYTES,
};
use p2pfs::proto::control::{self, Ask, Inquiry, InquiryState};
use p2pfs::proto::table::State;
use p2pfs::proto::v0::{
    Download, DownloadEvent, DownloadState, Registration, RegistrationEvent, RegistrationState,
    RegistrySession, SessionState, Upload, UploadEvent, UploadState,
};
use p2pfs::proto::{CloseReason, FileId, Timer, Transmit};
use p2pfs::wire::control::{Answer, AnswerKind, News, Question, QuestionKind};
use p2pfs::wire::v0::{
    FileName, ListedPeer, PeerMessage, PeerMessageKind as PeerKind, RegistryRequest,
    RegistryRequestKind as RequestKind, RegistryResponse, RegistryResponseKind as ResponseKind,
};
use p2pfs::wire::{FieldText, Kind, PeerId};

const OUR_ID: PeerId = PeerId(9);

fn limits() -> Rc<Limits> {
    Rc::new(Limits::PEER)
}

fn name() -> FileName {
    FileName::new("file").unwrap()
}

fn peer_message(kind: PeerKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind {
        PeerKind::Request => PeerMessage::Request(name()),
        PeerKind::Chunk => PeerMessage::Chunk { data_bytes: 3 },
        PeerKind::Acknowledgment => PeerMessage::Acknowledgment(PeerId(1)),
        PeerKind::Eof => PeerMessage::Eof(Digest([7; 32])),
    }
    .encode(&mut bytes);
    bytes
}

fn request(kind: RequestKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind {
        RequestKind::Register => RegistryRequest::Register { peer: PeerId(1), port: 1 },
        RequestKind::Lookup => RegistryRequest::Lookup(PeerId(1)),
        RequestKind::Peers => RegistryRequest::Peers { after: PeerId(1) },
    }
    .encode(&mut bytes);
    bytes
}

fn response(kind: ResponseKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind {
        ResponseKind::Registered => RegistryResponse::Registered(true),
        ResponseKind::Address => RegistryResponse::Address("127.0.0.1:1".parse().unwrap()),
        ResponseKind::Peers => RegistryResponse::Peers { count: 0 },
        ResponseKind::Error => RegistryResponse::Error(FieldText::new("no")),
    }
    .encode(&mut bytes);
    bytes
}

/// Holds each transition of a machine against its table.
struct Table<S: State> {
    closed: S,
    reached: Vec<(S, S::Kind, S)>,
}

impl<S: State> Table<S> {
    fn new(closed: S) -> Self {
        Self { closed, reached: Vec::new() }
    }

    /// Every state with every message.
    fn pairs() -> impl Iterator<Item = (S, S::Kind)> {
        S::ALL.iter().flat_map(|&state| S::Kind::ALL.iter().map(move |&kind| (state, kind)))
    }

    fn check(&mut self, (state, kind): (S, S::Kind), got: Result<(), CloseReason>, then: S) {
        if state.next(kind).is_empty() {
            assert_eq!(got, Err(state.violation(kind)), "{state:?} x {kind:?}");
            assert_eq!(then, self.closed, "{state:?} x {kind:?}");
        } else {
            assert_eq!(got, Ok(()), "{state:?} x {kind:?}");
            assert!(state.next(kind).contains(&then), "{state:?} x {kind:?} leads to {then:?}");
            self.reached.push((state, kind, then));
        }
    }

    /// The table names no state that was not reached.
    fn assert_reached(&self) {
        for (state, kind) in Self::pairs() {
            for &next in state.next(kind) {
                let is_reached = self.reached.contains(&(state, kind, next));
                assert!(is_reached, "{state:?} x {kind:?} does not lead to {next:?}");
            }
        }
    }
}

fn len_bytes_of(transmit: Transmit<'_>) -> usize {
    match transmit {
        Transmit::Bytes { bytes, .. } => bytes.len(),
        Transmit::File { len_bytes, .. } => len_bytes as usize,
    }
}

/// Takes everything that a machine wants to send, as a socket with room would.
fn drain_upload(upload: &mut Upload, now: Instant) -> (usize, Option<UploadEvent>) {
    let (mut sent_bytes, mut last_event) = (0, None);
    while let Some(transmit) = upload.transmit() {
        let len_bytes = len_bytes_of(transmit);
        sent_bytes += len_bytes;
        last_event = upload.transmitted(now, len_bytes).or(last_event);
    }
    (sent_bytes, last_event)
}

/// An upload in this state, with one chunk that is not acknowledged where the state
/// allows any to have been sent.
fn upload_in(state: UploadState, now: Instant) -> Upload {
    let mut upload = Upload::new(now, &limits(), false);
    let feed = |upload: &mut Upload, kind| {
        upload.handle_bytes(now, &peer_message(kind), &mut 0).unwrap();
    };
    let send_one_chunk_file = |upload: &mut Upload| {
        feed(upload, PeerKind::Request);
        upload.handle_source(now, FileId(1), 5);
        upload.handle_hashed(now, 5, Some(Digest([1; 32])));
        assert_eq!(drain_upload(upload, now).1, Some(UploadEvent::Sent(FileId(1))));
    };
    match state {
        UploadState::ExpectRequest => {
            send_one_chunk_file(&mut upload);
            feed(&mut upload, PeerKind::Acknowledgment);
        }
        UploadState::ExpectSource => {
            send_one_chunk_file(&mut upload);
            feed(&mut upload, PeerKind::Request);
        }
        UploadState::Sending => {
            feed(&mut upload, PeerKind::Request);
            upload.handle_source(now, FileId(1), u64::from(WINDOW_BYTES) * 2);
            upload.handle_hashed(now, u64::from(CHUNK_BYTES), None);
            drain_upload(&mut upload, now);
        }
        UploadState::ExpectLastAcknowledgments => send_one_chunk_file(&mut upload),
        UploadState::Closed => {
            assert!(upload.handle_bytes(now, &peer_message(PeerKind::Eof), &mut 0).is_err());
        }
    }
    assert_eq!(upload.state(), state);
    upload
}

#[test]
fn upload_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(UploadState::Closed);
    for (state, kind) in Table::pairs() {
        let mut feed = |mut upload: Upload| {
            let got = upload.handle_bytes(now, &peer_message(kind), &mut 0).map(|_| ());
            table.check((state, kind), got, upload.state());
        };
        feed(upload_in(state, now));
        if state == UploadState::ExpectLastAcknowledgments {
            // Two files may be sent and not acknowledged.
            let mut upload = upload_in(state, now);
            upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
            upload.handle_source(now, FileId(2), 5);
            upload.handle_hashed(now, 5, Some(Digest([1; 32])));
            drain_upload(&mut upload, now);
            feed(upload);
        }
    }
    table.assert_reached();
}

#[test]
fn an_acknowledgment_of_nothing_is_refused_in_every_state() {
    let now = Instant::now();
    let acknowledgment = peer_message(PeerKind::Acknowledgment);
    for state in
        [UploadState::ExpectSource, UploadState::Sending, UploadState::ExpectLastAcknowledgments]
    {
        let mut upload = upload_in(state, now);
        assert!(upload.handle_bytes(now, &acknowledgment, &mut 0).is_ok(), "{state:?}");
        let second = upload.handle_bytes(now, &acknowledgment, &mut 0);
        assert!(matches!(second, Err(CloseReason::PeerViolated { .. })), "{state:?}: {second:?}");
        assert_eq!(upload.state(), UploadState::Closed);
    }
}

/// An upload of a file of this size, hashed whole, that was asked for now.
fn upload_of(size_bytes: u64, now: Instant, is_local: bool) -> Upload {
    let mut upload = Upload::new(now, &limits(), is_local);
    upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(now, FileId(1), size_bytes);
    upload.handle_hashed(now, size_bytes, Some(Digest([1; 32])));
    upload
}

fn acknowledge(upload: &mut Upload, now: Instant) -> Result<Option<UploadEvent>, CloseReason> {
    upload.handle_bytes(now, &peer_message(PeerKind::Acknowledgment), &mut 0)
}

#[test]
fn a_slow_downloader_is_waited_for_after_the_eof_while_its_acknowledgments_come() {
    let start = Instant::now();
    let mut upload = upload_of(u64::from(WINDOW_BYTES), start, false);
    assert_eq!(drain_upload(&mut upload, start).1, Some(UploadEvent::Sent(FileId(1))));
    // At 1.7 KiB/s, for most of three hours.
    let mut now = start;
    let chunks = WINDOW_BYTES / CHUNK_BYTES;
    for acknowledged in 1..=chunks {
        now += UPLOAD_RATE_WINDOW - Duration::from_secs(1);
        assert_eq!(upload.handle_timeout(now), Ok(()), "after {acknowledged} acknowledgments");
        let last = (acknowledged == chunks).then_some(UploadEvent::Acknowledged);
        assert_eq!(acknowledge(&mut upload, now), Ok(last));
    }
    assert_eq!(upload.poll_timeout(), Some(now + IDLE_TIMEOUT), "the rest begins now");
}

#[test]
fn an_upload_goes_on_while_the_socket_takes_bytes_at_the_minimum_rate_and_no_longer() {
    let (start, second) = (Instant::now(), Duration::from_secs(1));
    let rate = RATE_BYTES_PER_SECOND_MIN as usize;
    for (bytes_per_s, is_given_up) in [(rate, false), (rate - 1, true)] {
        let (mut upload, mut now) = (upload_of(1 << 40, start, false), start);
        let head_bytes = len_bytes_of(upload.transmit().unwrap());
        upload.transmitted(now, head_bytes);
        let mut ended = Ok(());
        while ended.is_ok() && now < start + 2 * UPLOAD_RATE_WINDOW {
            now += second;
            // A chunk takes longer than the window, and is acknowledged at its end.
            let mut left_bytes = bytes_per_s;
            while left_bytes > 0 {
                let transmit = upload.transmit().expect("there is room for another chunk");
                let len_bytes = len_bytes_of(transmit).min(left_bytes);
                left_bytes -= len_bytes;
                upload.transmitted(now, len_bytes);
            }
            ended = upload.handle_timeout(now);
        }
        let too_slow = Err(CloseReason::TimedOut(Timer::MinimumRate));
        assert_eq!(ended, if is_given_up { too_slow } else { Ok(()) }, "{bytes_per_s} bytes/s");
    }
}

#[test]
fn an_upload_in_which_nothing_moves_ends_at_its_own_deadline() {
    let (now, deadline) = (Instant::now(), limits().upload_timeout());
    let mut upload = upload_of(1 << 40, now, false);
    drain_upload(&mut upload, now);
    let last = now + Duration::from_secs(1);
    assert_eq!(acknowledge(&mut upload, last), Ok(None));
    assert_eq!(upload.handle_timeout(now + deadline), Ok(()), "an acknowledgment is progress");
    let verdict = upload.handle_timeout(last + deadline);
    assert_eq!(verdict, Err(CloseReason::TimedOut(Timer::Progress)));
}

#[test]
fn an_upload_sends_no_more_than_the_window_and_no_further_than_the_hash() {
    let now = Instant::now();
    for (is_local, window) in [(true, LOCAL_WINDOW_BYTES), (false, WINDOW_BYTES)] {
        let (window, chunk) = (u64::from(window), u64::from(CHUNK_BYTES));
        let mut upload = Upload::new(now, &limits(), is_local);
        upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
        upload.handle_source(now, FileId(1), 3 * window + 1);
        assert_eq!(drain_upload(&mut upload, now), (0, None), "nothing is hashed");
        assert_eq!(upload.poll_timeout(), None, "the other side is not to blame for that");
        upload.handle_hashed(now, chunk + 1, None);
        assert_eq!(drain_upload(&mut upload, now).0 as u64, chunk + 5, "one chunk is hashed whole");
        upload.handle_hashed(now, 3 * window + 1, Some(Digest([1; 32])));
        let heads = 5 * (window / chunk - 1);
        assert_eq!(drain_upload(&mut upload, now).0 as u64, window - chunk + heads, "the window");
        // Each acknowledgment makes room for one more, up to the one byte that is left.
        for _ in 0..2 * window / chunk {
            assert_eq!(acknowledge(&mut upload, now), Ok(None));
            assert_eq!(drain_upload(&mut upload, now).0 as u64, chunk + 5);
        }
        assert_eq!(acknowledge(&mut upload, now), Ok(None));
        let (last_bytes, event) = drain_upload(&mut upload, now);
        assert_eq!((last_bytes, event), (1 + 5 + 65, Some(UploadEvent::Sent(FileId(1)))));
    }
}

/// In whatever state a machine is, half of a legal message buys it no more than its time.
#[test]
fn half_a_message_and_then_silence_is_noticed_in_every_state() {
    let now = Instant::now();
    let late = Err(CloseReason::TimedOut(Timer::Head));
    let half = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let acknowledgment = half(peer_message(PeerKind::Acknowledgment));

    let mut upload = Upload::new(now, &limits(), false);
    upload.handle_bytes(now, &half(peer_message(PeerKind::Request)), &mut 0).unwrap();
    assert_eq!(upload.handle_timeout(now + HEAD_TIMEOUT), late, "the first request");
    let mut upload = Upload::new(now, &limits(), false);
    upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(now, FileId(1), 10);
    upload.handle_bytes(now, &acknowledgment, &mut 0).unwrap();
    assert_eq!(upload.handle_timeout(now + HEAD_TIMEOUT), late, "while it hashes");
    let mut upload = upload_of(1 << 40, now, false);
    drain_upload(&mut upload, now);
    upload.handle_bytes(now, &acknowledgment, &mut 0).unwrap();
    assert_eq!(upload.handle_timeout(now + HEAD_TIMEOUT), late, "while it sends");

    let mut download = download_in(DownloadState::ExpectChunk, now);
    download.handle_bytes(now, &half(peer_message(PeerKind::Eof)), &mut 0).unwrap();
    assert_eq!(download.handle_timeout(now + HEAD_TIMEOUT), late);
}

/// A download in this state, and how much it has received.
fn download_in(state: DownloadState, now: Instant) -> Download {
    let mut download = Download::new(now, &limits(), OUR_ID);
    if state == DownloadState::ExpectConnection {
        return download;
    }
    download.request(now, name());
    let feed = |download: &mut Download, bytes: &[u8]| download.handle_bytes(now, bytes, &mut 0);
    match state {
        DownloadState::ExpectConnection | DownloadState::ExpectChunk => {}
        DownloadState::ExpectData => {
            assert_eq!(feed(&mut download, &peer_message(PeerKind::Chunk)), Ok(None));
        }
        DownloadState::ExpectWritten | DownloadState::Finishing => {
            let bytes = [peer_message(PeerKind::Chunk), b"abc".into()].concat();
            let write = DownloadEvent::Write { range: 5..8, offset: 0 };
            assert_eq!(feed(&mut download, &bytes), Ok(Some(write)));
            assert_eq!(feed(&mut download, &peer_message(PeerKind::Eof)), Ok(None));
            if state == DownloadState::Finishing {
                download.finish(now);
            }
        }
        DownloadState::Closed => {
            assert!(feed(&mut download, &peer_message(PeerKind::Request)).is_err());
        }
    }
    assert_eq!(download.state(), state);
    download
}

#[test]
fn download_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(DownloadState::Closed);
    for (state, kind) in Table::pairs().filter(|(state, _)| *state != DownloadState::ExpectData) {
        let mut download = download_in(state, now);
        let got = download.handle_bytes(now, &peer_message(kind), &mut 0).map(|_| ());
        table.check((state, kind), got, download.state());
    }
    table.assert_reached();
}

#[test]
fn the_data_of_a_chunk_that_was_refused_is_refused_too() {
    let now = Instant::now();
    let limits = Rc::new(Limits { file_bytes_max: 2, ..Limits::PEER });
    let mut download = Download::new(now, &limits, OUR_ID);
    download.request(now, name());
    let mut bytes = [peer_message(PeerKind::Chunk), b"abc".into()].concat();
    let got = download.handle_bytes(now, &bytes, &mut 0);
    assert_eq!(got, Err(CloseReason::TooLarge));
    let got = download.handle_bytes(now, &bytes.split_off(5), &mut 0);
    assert!(matches!(got, Err(CloseReason::PeerViolated { .. })), "{got:?}");
}

#[test]
fn a_file_may_be_as_large_as_allowed_and_not_a_byte_larger() {
    let now = Instant::now();
    let limits = Rc::new(Limits { file_bytes_max: 10, ..Limits::PEER });
    for last_bytes in [4, 5] {
        let mut download = Download::new(now, &limits, OUR_ID);
        download.request(now, name());
        let mut comes = |data_bytes: usize| {
            let mut bytes = Vec::new();
            PeerMessage::Chunk { data_bytes: data_bytes as u32 }.encode(&mut bytes);
            bytes.resize(5 + data_bytes, 7);
            download.handle_bytes(now, &bytes, &mut 0)
        };
        assert!(matches!(comes(6), Ok(Some(DownloadEvent::Write { .. }))));
        let outcome = comes(last_bytes);
        match last_bytes {
            4 => assert_eq!(outcome, Ok(Some(DownloadEvent::Write { range: 5..9, offset: 6 }))),
            _ => assert_eq!(outcome, Err(CloseReason::TooLarge)),
        }
    }
}

#[test]
fn within_a_chunk_every_message_is_just_data() {
    let now = Instant::now();
    for &kind in PeerKind::ALL {
        let mut download = download_in(DownloadState::ExpectData, now);
        let mut at = 0;
        let event = download.handle_bytes(now, &peer_message(kind), &mut at);
        assert_eq!(event, Ok(Some(DownloadEvent::Write { range: 0..3, offset: 0 })));
        assert_eq!((at, download.state()), (3, DownloadState::ExpectChunk));
    }
}

#[test]
fn a_chunk_is_acknowledged_once_it_is_written_and_the_verdict_waits_for_that_too() {
    let now = Instant::now();
    let mut download = download_in(DownloadState::ExpectWritten, now);
    download.transmitted(69);
    assert_eq!(download.transmit(), None, "the bytes are not written yet");
    assert_eq!(download.handle_written(1), None);
    assert_eq!(download.transmit(), None, "not all of them");
    let verdict = download.handle_written(2);
    let Some(DownloadEvent::Verdict { matches: false, size_bytes: 3, .. }) = verdict else {
        panic!("{verdict:?}");
    };
    let mut acknowledgment = Vec::new();
    PeerMessage::Acknowledgment(OUR_ID).encode(&mut acknowledgment);
    assert_eq!(download.transmit(), Some(Transmit::Bytes { bytes: &acknowledgment, more: false }));
}

#[test]
fn nothing_is_read_while_acknowledgments_fill_the_outbox_however_large_the_chunks_are() {
    let now = Instant::now();
    let mut download = Download::new(now, &limits(), OUR_ID);
    download.request(now, name());
    let chunk = 64 * 1024;
    let mut head = Vec::new();
    PeerMessage::Chunk { data_bytes: chunk as u32 }.encode(&mut head);
    let message = [head, vec![7; chunk]].concat();
    let mut chunks = 0;
    while download.read_allowance_bytes() > 0 {
        let mut at = 0;
        while let Some(event) = download.handle_bytes(now, &message, &mut at).unwrap() {
            let DownloadEvent::Write { range, .. } = event else { panic!("{event:?}") };
            download.handle_written(range.len());
        }
        // The head of the next one came with the rest of this.
        let half = message.len() / 2;
        download.handle_bytes(now, &message[..half], &mut 0).unwrap();
        download.handle_written(half - 5);
        download.handle_bytes(now, &message[half..], &mut 0).unwrap();
        download.handle_written(message.len() - half);
        chunks += 2;
        assert!(chunks < 100_000, "the outbox has no bound");
    }
}

/// A registration in this state.
fn registration_in(state: RegistrationState, now: Instant) -> Registration {
    let mut registration = Registration::new(now, &limits(), OUR_ID, 5001);
    if state == RegistrationState::ExpectConnection {
        return registration;
    }
    registration.handle_connected(now);
    registration.transmitted(10);
    let accept = |registration: &mut Registration| {
        let accepted = response(ResponseKind::Registered);
        registration.handle_bytes(now, &accepted, &mut 0).unwrap();
    };
    match state {
        RegistrationState::ExpectConnection | RegistrationState::ExpectRegistered => {}
        RegistrationState::Registered => accept(&mut registration),
        RegistrationState::ExpectAddress => {
            accept(&mut registration);
            registration.look_up(now, PeerId(2));
            registration.transmitted(6);
        }
        RegistrationState::ExpectPeers => {
            accept(&mut registration);
            registration.ask_peers(now, PeerId(0));
            registration.transmitted(10);
        }
        RegistrationState::Closed => {
            let early = response(ResponseKind::Address);
            assert!(registration.handle_bytes(now, &early, &mut 0).is_err());
        }
    }
    assert_eq!(registration.state(), state);
    registration
}

#[test]
fn an_answer_before_its_request_is_sent_is_refused() {
    let now = Instant::now();
    let mut registration = registration_in(RegistrationState::Registered, now);
    registration.look_up(now, PeerId(2));
    registration.transmitted(5);
    let got = registration.handle_bytes(now, &response(ResponseKind::Address), &mut 0);
    assert!(matches!(got, Err(CloseReason::PeerViolated { .. })), "{got:?}");
    assert_eq!(registration.state(), RegistrationState::Closed);
}

#[test]
fn registration_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(RegistrationState::Closed);
    for (state, kind) in Table::pairs() {
        let mut refusal = Vec::new();
        RegistryResponse::Registered(false).encode(&mut refusal);
        let refusal = (kind == ResponseKind::Registered).then_some(refusal);
        for bytes in refusal.into_iter().chain([response(kind)]) {
            let mut feed = |mut registration: Registration| {
                let got = registration.handle_bytes(now, &bytes, &mut 0).map(|_| ());
                table.check((state, kind), got, registration.state());
            };
            feed(registration_in(state, now));
            let mut queued = registration_in(state, now);
            queued.look_up(now, PeerId(3));
            if queued.state() == state {
                feed(queued);
            }
            let mut queued = registration_in(state, now);
            queued.ask_peers(now, PeerId(3));
            if queued.state() == state {
                feed(queued);
            }
            // A list that goes on.
            if kind == ResponseKind::Peers {
                let mut registration = registration_in(state, now);
                let mut bytes = Vec::new();
                RegistryResponse::Peers { count: 1 }.encode(&mut bytes);
                let got = registration.handle_bytes(now, &bytes, &mut 0).map(|_| ());
                table.check((state, kind), got, registration.state());
            }
        }
    }
    table.assert_reached();
}

#[test]
fn one_lookup_is_outstanding_at_a_time_and_each_peer_is_asked_for_once() {
    let now = Instant::now();
    let mut registration = registration_in(RegistrationState::ExpectAddress, now);
    for peer in [3, 2, 3, 4] {
        registration.look_up(now, PeerId(peer));
    }
    for peer in [3, 4] {
        assert_eq!(registration.transmit(), None, "one answer is due");
        registration.handle_bytes(now, &response(ResponseKind::Address), &mut 0).unwrap();
        let mut lookup = Vec::new();
        RegistryRequest::Lookup(PeerId(peer)).encode(&mut lookup);
        assert_eq!(registration.transmit(), Some(Transmit::Bytes { bytes: &lookup, more: false }));
        registration.transmitted(6);
    }
}

#[test]
fn a_list_of_peers_comes_in_pieces_and_says_whether_there_are_more() {
    let now = Instant::now();
    let listed = |ids: std::ops::Range<u32>, port: u16| {
        let mut bytes = Vec::new();
        RegistryResponse::Peers { count: ids.len() as u32 }.encode(&mut bytes);
        let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
        ids.for_each(|id| ListedPeer { peer: PeerId(id), address }.encode(&mut bytes));
        bytes
    };
    let hear = |bytes: &[u8]| {
        let mut registration = registration_in(RegistrationState::ExpectPeers, now);
        let mut event = None;
        for piece in bytes.chunks(100) {
            let mut at = 0;
            assert_eq!(event, None, "the last byte ends it");
            event = registration.handle_bytes(now, piece, &mut at)?;
            assert_eq!(at, piece.len());
        }
        let Some(RegistrationEvent::Peers { peers, more_after }) = event else { panic!() };
        assert_eq!(registration.state(), RegistrationState::Registered);
        Ok::<_, CloseReason>((peers.len(), more_after))
    };
    assert_eq!(hear(&listed(5..8, 1)), Ok((3, None)));
    assert_eq!(hear(&listed(5..1029, 1)), Ok((1024, Some(PeerId(1029)))));
    assert_eq!(hear(&listed(u32::MAX - 1023..u32::MAX, 1)).map(|it| it.1), Ok(None));
    assert!(hear(&listed(5..6, 0)).is_err(), "port 0");
    let twice = [&listed(5..7, 1)[..30], &listed(5..6, 1)[6..]].concat();
    assert!(hear(&twice).is_err(), "one peer twice");
}

/// A registry session in this state.
fn session_in(state: SessionState, now: Instant) -> RegistrySession {
    let mut session = RegistrySession::new(now, &limits());
    if state != SessionState::Anonymous {
        session.handle_bytes(now, &request(RequestKind::Register), &mut 0).unwrap();
        session.accept_registration(PeerId(1));
    }
    if state == SessionState::Closed {
        let second = session.handle_bytes(now, &request(RequestKind::Register), &mut 0);
        assert!(second.is_err());
    }
    assert_eq!(session.state(), state);
    session
}

#[test]
fn registry_session_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(SessionState::Closed);
    for (state, kind) in Table::pairs() {
        for is_accepted in [false, true] {
            let mut session = session_in(state, now);
            let got = session.handle_bytes(now, &request(kind), &mut 0);
            match got {
                Ok(Some(RegistryRequest::Register { peer, .. })) if is_accepted => {
                    session.accept_registration(peer);
                }
                Ok(_) => session.respond(&RegistryResponse::Error(FieldText::new("no"))),
                Err(_) => {}
            }
            table.check((state, kind), got.map(|_| ()), session.state());
        }
    }
    table.assert_reached();
}

fn question(kind: QuestionKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind {
        QuestionKind::Status => Question::Status { json: false },
        QuestionKind::Fetches => Question::Fetches,
        QuestionKind::Want => Question::Want(name()),
        QuestionKind::Await => Question::Await,
        QuestionKind::Match => Question::Match(FieldText::new("*")),
    }
    .encode(&mut bytes);
    bytes
}

/// An answer, with its payload.
fn answer(kind: AnswerKind) -> Vec<u8> {
    let (answer, payload) = match kind {
        AnswerKind::Text => (Answer::Text { len_bytes: 3 }, &b"why"[..]),
        AnswerKind::Fetches => (Answer::Fetches(true), &[][..]),
        AnswerKind::News => (Answer::News(News::Waiting(name())), &[][..]),
        AnswerKind::End => (Answer::News(News::Present(name())), &[][..]),
        AnswerKind::Searched => (Answer::Searched { doubt: String::new() }, &[][..]),
    };
    let mut bytes = Vec::new();
    answer.encode(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// A session of the control socket in this state.
fn control_session_in(state: control::SessionState, now: Instant) -> control::Session {
    use control::SessionState::{
        Answered, Closed, ExpectAnswer, ExpectQuestion, ExpectWant, Following,
    };
    let mut session = control::Session::new(now);
    let questions: &[QuestionKind] = match state {
        ExpectQuestion => &[],
        ExpectWant => &[QuestionKind::Want],
        ExpectAnswer | Answered | Closed => &[QuestionKind::Fetches],
        Following => &[QuestionKind::Want, QuestionKind::Await],
    };
    for &kind in questions {
        session.handle_bytes(&question(kind), &mut 0).unwrap();
    }
    match state {
        Answered => session.answer_fetches(now, true),
        Closed => {
            assert!(session.handle_bytes(&question(QuestionKind::Await), &mut 0).is_err());
        }
        ExpectQuestion | ExpectWant | ExpectAnswer | Following => {}
    }
    assert_eq!(session.state(), state);
    session
}

#[test]
fn control_session_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(control::SessionState::Closed);
    for (state, kind) in Table::pairs() {
        let mut session = control_session_in(state, now);
        let got = session.handle_bytes(&question(kind), &mut 0).map(|_| ());
        table.check((state, kind), got, session.state());
    }
    table.assert_reached();
}

/// An inquiry in this state; for so many files, or for a pattern, where it is for files.
fn inquiry_in(state: InquiryState, now: Instant, files: usize) -> Inquiry {
    let ask = match state {
        InquiryState::ExpectText => Ask::Status { json: false },
        InquiryState::ExpectNews => {
            let names = [name(), FileName::new("second").unwrap()];
            let patterns = if files == 0 { vec![FieldText::new("*")] } else { Vec::new() };
            Ask::Want { names: names.into_iter().take(files).collect(), patterns }
        }
        _ => Ask::Fetches,
    };
    let mut inquiry = Inquiry::new(now, ask);
    if state != InquiryState::ExpectConnection {
        inquiry.handle_connected(now);
    }
    if matches!(state, InquiryState::Done | InquiryState::Closed) {
        inquiry.handle_bytes(now, &answer(AnswerKind::Fetches), &mut 0).unwrap();
    }
    if state == InquiryState::Closed {
        assert!(inquiry.handle_bytes(now, &answer(AnswerKind::Fetches), &mut 0).is_err());
    }
    assert_eq!(inquiry.state(), state);
    inquiry
}

#[test]
fn inquiry_takes_what_the_table_allows_and_nothing_else() {
    let now = Instant::now();
    let mut table = Table::new(InquiryState::Closed);
    for (state, kind) in Table::pairs() {
        for files in 0..=2 {
            let mut inquiry = inquiry_in(state, now, files);
            let got = inquiry.handle_bytes(now, &answer(kind), &mut 0).map(|_| ());
            table.check((state, kind), got, inquiry.state());
        }
    }
    table.assert_reached();
}
