//! State x message, exhaustive: each machine in each state of its table is given each
//! message there is, and does what the one table of `proto::legal` says. What is
//! legal is taken; what is not closes the connection, names what was expected and
//! what came, and leaves the machine refusing everything.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use p2pfs::content::Digest;
use p2pfs::limits::{
    CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNKS_PER_WINDOW, IDLE_TIMEOUT, LONG_ROUND_TRIP,
    LONG_SHARED_ROUND_TRIP, Limits, PROGRESS_TIMEOUT, SHORT_WINDOW_BYTES_MAX, WINDOW_BYTES_MAX,
    WINDOW_BYTES_MIN,
};
use p2pfs::proto::v0::legal::{
    self, DownloadState, Kind, PeerKind, RegistrationState, RequestKind, ResponseKind,
    SessionState, UploadState,
};
use p2pfs::proto::v0::{
    Download, DownloadEvent, Registration, RegistrySession, Upload, UploadEvent,
};
use p2pfs::proto::{CloseReason, FileId, Transmit};
use p2pfs::wire::v0::{FileName, PeerMessage, RegistryRequest, RegistryResponse};
use p2pfs::wire::{FieldText, PeerId};

const PEER_KINDS: [PeerKind; 4] =
    [PeerKind::Request, PeerKind::Chunk, PeerKind::Acknowledgment, PeerKind::Eof];
const REQUEST_KINDS: [RequestKind; 2] = [RequestKind::Register, RequestKind::Lookup];
const RESPONSE_KINDS: [ResponseKind; 3] =
    [ResponseKind::Registered, ResponseKind::Address, ResponseKind::Error];
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
    }
    .encode(&mut bytes);
    bytes
}

fn response(kind: ResponseKind) -> Vec<u8> {
    let mut bytes = Vec::new();
    match kind {
        ResponseKind::Registered => RegistryResponse::Registered(true),
        ResponseKind::Address => RegistryResponse::Address("127.0.0.1:1".parse().unwrap()),
        ResponseKind::Error => RegistryResponse::Error(FieldText::new("no")),
    }
    .encode(&mut bytes);
    bytes
}

/// Holds what a machine did with a message against the table.
fn check<S: Copy + PartialEq + std::fmt::Debug, K: Kind + std::fmt::Debug>(
    table: &'static [legal::Row<S, K>],
    (state, kind): (S, K),
    got: Result<(), CloseReason>,
    then: S,
    closed: S,
) {
    let row = table.iter().find(|row| row.state == state).unwrap();
    if row.legal.contains(&kind) {
        assert_eq!(got, Ok(()), "{state:?} x {kind:?}");
        assert_ne!(then, closed, "{state:?} x {kind:?}");
    } else {
        let reason = CloseReason::PeerViolated { expected: row.expected, got: kind.term() };
        assert_eq!(got, Err(reason), "{state:?} x {kind:?}");
        assert_eq!(then, closed, "{state:?} x {kind:?}");
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
    let mut upload = Upload::new(now, &limits());
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
            upload.handle_source(now, FileId(1), u64::from(WINDOW_BYTES_MIN) * 2);
            upload.handle_hashed(now, u64::from(CHUNK_BYTES_MIN), None);
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
    for row in legal::UPLOAD {
        for kind in PEER_KINDS {
            let mut upload = upload_in(row.state, now);
            let got = upload.handle_bytes(now, &peer_message(kind), &mut 0).map(|_| ());
            check(legal::UPLOAD, (row.state, kind), got, upload.state(), UploadState::Closed);
        }
    }
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

#[test]
fn a_slow_downloader_is_waited_for_after_the_eof_while_its_acknowledgments_come() {
    let start = Instant::now();
    let chunks = WINDOW_BYTES_MIN / CHUNK_BYTES_MIN;
    let mut upload = Upload::new(start, &limits());
    upload.handle_bytes(start, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(start, FileId(1), u64::from(WINDOW_BYTES_MIN));
    upload.handle_hashed(start, u64::from(WINDOW_BYTES_MIN), Some(Digest([1; 32])));
    assert_eq!(drain_upload(&mut upload, start).1, Some(UploadEvent::Sent(FileId(1))));
    // At 1.2 KiB/s, for most of an hour.
    let mut now = start;
    for acknowledged in 1..=chunks {
        now += Duration::from_secs(7);
        assert_eq!(upload.handle_timeout(now), Ok(()), "after {acknowledged} acknowledgments");
        let event = upload.handle_bytes(now, &peer_message(PeerKind::Acknowledgment), &mut 0);
        let last = (acknowledged == chunks).then_some(UploadEvent::Acknowledged);
        assert_eq!(event, Ok(last));
    }
    assert_eq!(upload.poll_timeout(), Some(now + IDLE_TIMEOUT), "the rest begins now");
}

#[test]
fn an_upload_sends_no_more_than_the_window_and_no_further_than_the_hash() {
    let now = Instant::now();
    let (window, chunk) = (u64::from(WINDOW_BYTES_MIN), u64::from(CHUNK_BYTES_MIN));
    let mut upload = Upload::new(now, &limits());
    upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(now, FileId(1), 3 * window + 1);
    assert_eq!(drain_upload(&mut upload, now), (0, None), "nothing is hashed");
    assert_eq!(upload.poll_timeout(), None, "the other side is not to blame for that");
    upload.handle_hashed(now, chunk + 1, None);
    assert_eq!(drain_upload(&mut upload, now).0 as u64, chunk + 5, "one chunk is hashed whole");
    upload.handle_hashed(now, 3 * window + 1, Some(Digest([1; 32])));
    let heads = 5 * (window / chunk - 1);
    assert_eq!(drain_upload(&mut upload, now).0 as u64, window - chunk + heads, "the window");
}

#[test]
fn who_is_alone_does_not_wait_for_the_first_acknowledgment_of_a_long_link() {
    let start = Instant::now();
    let later = start + LONG_SHARED_ROUND_TRIP;
    let (size_bytes, window) = (1 << 30, WINDOW_BYTES_MAX as usize);
    for (is_alone, is_acknowledged, is_limited) in
        [(true, false, true), (false, false, true), (true, true, true), (true, false, false)]
    {
        let case = format!("{is_alone}, {is_acknowledged}, {is_limited}");
        let is_due = is_alone && !is_acknowledged && is_limited;
        let mut upload = Upload::new(start, &limits());
        upload.set_alone(is_alone);
        upload.handle_bytes(start, &peer_message(PeerKind::Request), &mut 0).unwrap();
        upload.handle_source(start, FileId(1), size_bytes);
        let hashed_bytes = if is_limited { size_bytes } else { u64::from(WINDOW_BYTES_MIN) / 2 };
        upload.handle_hashed(start, hashed_bytes, None);
        drain_upload(&mut upload, start);
        if is_acknowledged {
            let acknowledgment = peer_message(PeerKind::Acknowledgment);
            upload.handle_bytes(start + LONG_ROUND_TRIP / 2, &acknowledgment, &mut 0).unwrap();
            drain_upload(&mut upload, start + LONG_ROUND_TRIP / 2);
        }
        assert_eq!(upload.poll_timeout() == Some(later), is_due, "{case}");
        assert_eq!(upload.handle_timeout(later), Ok(()), "{case}");
        let sent_bytes = drain_upload(&mut upload, later).0;
        assert_eq!(sent_bytes > window / 2, is_due, "{case}: {sent_bytes}");
        assert!(sent_bytes < window, "{case}: {sent_bytes}");
        let deadline = upload.poll_timeout().unwrap();
        assert!(deadline > later + LONG_SHARED_ROUND_TRIP, "{case}: once is enough");
    }
}

/// A link behind a socket that holds much.
struct Link {
    bytes_per_s: u64,
    round_trip: Duration,
    socket_bytes: u64,
    /// Nothing is acknowledged before.
    pause: Duration,
}

/// How much is in flight when a file has been sent through a link for so long, alone.
fn in_flight_after(link: &Link, time: Duration) -> u64 {
    let (start, mut upload) = (Instant::now(), Upload::new(Instant::now(), &limits()));
    in_flight_at(&mut upload, start, link, 1 << 40, time)
}

/// The same for a file of this size, on a connection that waits for a request.
fn in_flight_at(
    upload: &mut Upload,
    start: Instant,
    link: &Link,
    size_bytes: u64,
    time: Duration,
) -> u64 {
    let took = |bytes: u64| Duration::from_nanos(bytes * 1_000_000_000 / link.bytes_per_s);
    upload.set_alone(true);
    upload.handle_bytes(start, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(start, FileId(1), size_bytes);
    upload.handle_hashed(start, size_bytes, Some(Digest([1; 32])));
    let (mut now, mut free_at) = (start, start);
    let mut acknowledgments = VecDeque::new();
    loop {
        let mut writable_at = None;
        while let Some(transmit) = upload.transmit() {
            let len_bytes = len_bytes_of(transmit);
            if free_at > now + took(link.socket_bytes) {
                writable_at = Some(free_at - took(link.socket_bytes));
                break;
            }
            free_at = free_at.max(now) + took(len_bytes as u64);
            if matches!(transmit, Transmit::File { .. }) {
                let at = (free_at + link.round_trip).max(start + link.pause);
                acknowledgments.push_back((at, len_bytes as u64));
            }
            upload.transmitted(now, len_bytes);
        }
        let acknowledged_at = acknowledgments.front().map(|&(at, _)| at);
        let next = [writable_at, acknowledged_at, upload.poll_timeout()].into_iter().flatten();
        now = now.max(next.min().unwrap());
        if now > start + time {
            return acknowledgments.iter().map(|&(_, bytes)| bytes).sum();
        }
        while acknowledgments.front().is_some_and(|&(at, _)| at <= now) {
            acknowledgments.pop_front();
            let acknowledgment = peer_message(PeerKind::Acknowledgment);
            upload.handle_bytes(now, &acknowledgment, &mut 0).unwrap();
        }
        upload.handle_timeout(now).unwrap();
    }
}

#[test]
fn a_window_that_silence_opened_is_given_up_where_the_link_is_not_long() {
    let (ms, mega) = (Duration::from_millis, 1_000_000);
    let after = |bytes_per_s, [round_trip_ms, pause_ms]: [u64; 2], socket_mib: u64, time_ms| {
        let socket_bytes = socket_mib << 20;
        let (round_trip, pause) = (ms(round_trip_ms), ms(pause_ms));
        in_flight_after(&Link { bytes_per_s, round_trip, socket_bytes, pause }, ms(time_ms))
    };
    assert!(after(125 * mega, [100, 0], 4, 300) > 12 * mega, "a long link");
    let short_max = u64::from(SHORT_WINDOW_BYTES_MAX);
    for socket_mib in [4, 64] {
        let window = after(1000 * mega, [0, 12], socket_mib, 100);
        assert!(window <= short_max, "a pause on a short link: {window}");
    }
    let window = after(1000 * mega, [5, 12], 64, 100);
    assert!(window > short_max, "a pause on a link that is long for who is alone: {window}");
    // What was in the socket has to come through first.
    for (bytes_per_s, time_ms) in [(mega, 20_000), (3 * mega, 8_000), (10 * mega, 12_000)] {
        let window = after(bytes_per_s, [20, 0], 64, time_ms);
        assert!(window <= short_max, "{bytes_per_s} bytes/s: {window}");
    }
}

#[test]
fn large_chunks_tell_nothing_by_silence() {
    let (start, mut upload) = (Instant::now(), Upload::new(Instant::now(), &limits()));
    let link = Link {
        bytes_per_s: 1_000_000_000,
        round_trip: LONG_SHARED_ROUND_TRIP * 2,
        socket_bytes: 64 << 20,
        pause: Duration::ZERO,
    };
    let (small, rest) = (u64::from(CHUNK_BYTES_MIN), Duration::from_secs(1));
    assert_eq!(in_flight_at(&mut upload, start, &link, small, rest), 0);
    let time = LONG_SHARED_ROUND_TRIP * 3 / 2;
    let window = in_flight_at(&mut upload, start + rest, &link, 1 << 40, time);
    assert!(window <= u64::from(WINDOW_BYTES_MIN), "{window}");
}

/// Acknowledges `at_once` chunks, or all in flight, after the `delay` for so many bytes, again
/// and again, alone in the first rounds; gives the last chunk, and how much is in flight then.
fn chunk_and_window(
    rounds_alone: usize,
    mut delay: impl FnMut(u64) -> Duration,
    at_once: usize,
    rounds: usize,
) -> (u64, u64) {
    let mut now = Instant::now();
    let mut upload = Upload::new(now, &limits());
    upload.handle_bytes(now, &peer_message(PeerKind::Request), &mut 0).unwrap();
    upload.handle_source(now, FileId(1), 1 << 40);
    upload.handle_hashed(now, 1 << 40, Some(Digest([1; 32])));
    let mut in_flight = VecDeque::new();
    for round in 0.. {
        while let Some(transmit) = upload.transmit() {
            let len_bytes = match transmit {
                Transmit::Bytes { bytes, .. } => {
                    let len: [u8; 4] = bytes[1..].try_into().unwrap();
                    in_flight.push_back(u64::from(u32::from_be_bytes(len)));
                    bytes.len()
                }
                Transmit::File { len_bytes, .. } => len_bytes as usize,
            };
            upload.transmitted(now, len_bytes);
        }
        let window = in_flight.iter().sum();
        assert!(window <= u64::from(WINDOW_BYTES_MAX), "{window} bytes in flight");
        if round == rounds {
            return (*in_flight.back().unwrap(), window);
        }
        upload.set_alone(round < rounds_alone);
        let acknowledged: Vec<u64> = in_flight.drain(..at_once.min(in_flight.len())).collect();
        now += delay(acknowledged.iter().sum());
        for _ in acknowledged {
            let acknowledgment = peer_message(PeerKind::Acknowledgment);
            upload.handle_bytes(now, &acknowledgment, &mut 0).unwrap();
        }
    }
    unreachable!("it ends with the rounds")
}

#[test]
fn chunks_grow_while_they_are_acknowledged_quickly_and_the_window_with_the_round_trip() {
    let (chunk_min, window_min) = (u64::from(CHUNK_BYTES_MIN), u64::from(WINDOW_BYTES_MIN));
    // A receiver that takes one after the other is not faster with more in flight.
    let (chunk, window) = chunk_and_window(5000, Duration::from_nanos, 1, 5000);
    assert_eq!(chunk, window_min / u64::from(CHUNKS_PER_WINDOW));
    assert!(window <= window_min, "{window}");
    // A short link: what one gains by more in flight, others lose.
    let short = |_| LONG_SHARED_ROUND_TRIP * 9 / 10;
    let (_, window) = chunk_and_window(0, short, usize::MAX, 100);
    assert_eq!(window, window_min);
    let short = |_| LONG_ROUND_TRIP * 9 / 10;
    let (_, window) = chunk_and_window(100, short, usize::MAX, 100);
    assert_eq!(window, u64::from(SHORT_WINDOW_BYTES_MAX));
    let (_, window) = chunk_and_window(50, short, usize::MAX, 100);
    assert_eq!(window, window_min, "company came");
    // A long link brings all acknowledgments a round trip later.
    let (chunk, window) = chunk_and_window(0, |_| Duration::from_millis(100), usize::MAX, 100);
    assert_eq!((chunk, window), (u64::from(CHUNK_BYTES_MAX), u64::from(WINDOW_BYTES_MAX)));
    let (_, window) = chunk_and_window(100, |_| Duration::from_millis(100), usize::MAX, 1);
    let full = u64::from(WINDOW_BYTES_MAX - CHUNK_BYTES_MAX)..=u64::from(WINDOW_BYTES_MAX);
    assert!(full.contains(&window), "{window}, alone, after one round trip");
    let (chunk, _) = chunk_and_window(0, |_| Duration::from_secs(7), 1, 500);
    assert_eq!(chunk, chunk_min, "a slow link");
    // One that lets the first bytes through faster than those that follow.
    let (mut is_first, mut longest) = (true, Duration::ZERO);
    let burst = |bytes: u64| {
        let milliseconds = if mem::take(&mut is_first) { 10 } else { bytes / 5 };
        longest = longest.max(Duration::from_millis(milliseconds));
        Duration::from_millis(milliseconds)
    };
    chunk_and_window(0, burst, 1, 500);
    assert!(longest < PROGRESS_TIMEOUT, "{longest:?} without an acknowledgment");
    // The same with a whole window.
    let (mut quick_bytes, mut longest) = (u64::from(WINDOW_BYTES_MIN), Duration::ZERO);
    let burst = |bytes: u64| {
        let is_quick = quick_bytes > 0;
        quick_bytes = quick_bytes.saturating_sub(bytes);
        let delay = Duration::from_millis(if is_quick { 1 } else { bytes / 5 });
        longest = longest.max(delay);
        delay
    };
    chunk_and_window(0, burst, 1, 500);
    assert!(longest < PROGRESS_TIMEOUT, "{longest:?} without an acknowledgment");
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
    for row in legal::DOWNLOAD.iter().filter(|row| row.state != DownloadState::ExpectData) {
        for kind in PEER_KINDS {
            let mut download = download_in(row.state, now);
            let got = download.handle_bytes(now, &peer_message(kind), &mut 0).map(|_| ());
            check(legal::DOWNLOAD, (row.state, kind), got, download.state(), DownloadState::Closed);
        }
    }
}

#[test]
fn within_a_chunk_every_message_is_just_data() {
    let now = Instant::now();
    for kind in PEER_KINDS {
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
    for row in legal::REGISTRATION {
        for kind in RESPONSE_KINDS {
            let mut registration = registration_in(row.state, now);
            let got = registration.handle_bytes(now, &response(kind), &mut 0).map(|_| ());
            // A refusal is legal, and ends the connection all the same.
            let then = match (registration.state(), kind) {
                (RegistrationState::Closed, ResponseKind::Error) if got.is_ok() => row.state,
                (then, _) => then,
            };
            let closed = RegistrationState::Closed;
            check(legal::REGISTRATION, (row.state, kind), got, then, closed);
        }
    }
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
    for row in legal::SESSION {
        for kind in REQUEST_KINDS {
            let mut session = session_in(row.state, now);
            let got = session.handle_bytes(now, &request(kind), &mut 0).map(|_| ());
            check(legal::SESSION, (row.state, kind), got, session.state(), SessionState::Closed);
        }
    }
}
