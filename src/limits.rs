//! Every bound and default of the program, with its unit in its name.
//!
//! Nothing elsewhere holds a number that limits a queue, a table, a length or a
//! wait. How the numbers relate is asserted at compile time at the end.
//!
//! Where several values of a number are compared, that was done, if it says nothing else, by
//! `cargo bench --bench builds` on the machine of `benches/README.md`, with one build that took
//! this number from its environment: medians of 11 runs of each value, in turn, or of the ratios
//! of pairs. What is within 0.95 and 1.05 may be chance.

use std::time::Duration;

// ---- wire: fixed by protocol version 0 ----

/// A text field (file name, host, error text) on the wire.
pub const TEXT_FIELD_BYTES: usize = 64;
/// A file name, in bytes of UTF-8: it has to fit the text field.
pub const NAME_BYTES_MAX: usize = TEXT_FIELD_BYTES;
/// The longest message head that a stream may carry: a lookup response.
pub const HEAD_BYTES_MAX: usize = 70;
/// The head of a chunk.
pub const CHUNK_HEAD_BYTES: usize = 5;
/// An offer, the only datagram there is.
pub const OFFER_BYTES: usize = 73;

// ---- defaults of the command line ----

/// Port of the registry.
pub const REGISTRY_PORT: u16 = 5000;
/// UDP port on which offers are sent and heard.
pub const OFFER_PORT: u16 = 8000;
/// How often each file is offered.
pub const OFFER_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest interval that may be asked for: offers are a broadcast to everyone.
pub const OFFER_INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The longest interval that may be asked for.
pub const OFFER_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// The shortest timeout that may be asked for.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// The longest timeout that may be asked for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Jobs of one peer: files wanted, ended ones among them.
pub const JOBS_MAX: usize = 16_384;

// ---- transfers ----

/// File data in each chunk that we send; the last one of a file has the remainder. Large
/// enough that its head and its acknowledgment cost little, and a quarter of the smallest
/// window. See *Chunks and windows* in `benches/README.md`.
pub const CHUNK_BYTES: u32 = 256 * 1024;
/// File data in flight to a peer on this host: it stays in the processor's cache, beside that
/// of other transfers. See *Chunks and windows* in `benches/README.md`.
pub const LOCAL_WINDOW_BYTES: u32 = 1024 * 1024;
/// File data in flight to any other peer: the bandwidth-delay product of 125 MB/s and a
/// round-trip time of 128 ms. TCP does the rest.
pub const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes that a socket takes and has not sent yet: so bytes that it takes tell that others
/// were sent. At the minimum rate they take 128 s, less than [`UPLOAD_RATE_WINDOW`].
pub const NOT_SENT_BYTES_MAX: u32 = 128 * 1024;
/// Copied bytes (message heads, acknowledgments, answers) waiting to be sent on one
/// connection. No more is read than what can cause this much. Chunks of 1 KiB, each of which
/// causes an acknowledgment, came at the same rate (1.00) with 64 KiB and with 1 MiB.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Memory that an empty outbox keeps: an idle connection is to cost next to nothing.
pub const OUTBOX_KEPT_BYTES: usize = 128;
/// File data in small chunks that is read at once: this many chunks as small as the
/// smallest one that came. From a bare sender with a window of 256 KiB, in MB/s:
///
/// | chunk | 16 at once | 64 | 256 | 1024 |
/// |---|---|---|---|---|
/// | 1 KiB | 391 | 427 | 427 | 426 |
/// | 4 KiB | 600 | 724 | 712 | 718 |
pub const SMALL_CHUNKS_PER_READ: usize = 256;
/// Of a chunk with at least this much to come, no more is read at once than its end and
/// the next head. Without, 8 files of 64 MiB at once took as long (1.00), but 1.07 of the CPU
/// time, and one in chunks of 16 KiB came at 0.98 of the rate; with 64 and 128 KiB 1.03 and 1.01
/// of the time, and 1.01 of the rate (while each of the 8 could receive 64 KiB in a turn).
pub const WHOLE_CHUNK_READ_BYTES_MIN: usize = 16 * 1024;
/// Room for actions that an empty queue of a peer keeps. 64 and none made no difference that
/// shows for 10,000 files of 4 KiB.
pub const ACTIONS_KEPT: usize = 1024;
/// Requests that the registry reads from one connection at once, before it answers them:
/// 16,384 clients that never read their answers then hold some 70 MiB in all.
pub const REQUESTS_PER_READ: usize = 64;
/// Reading pauses while less than this may be read: tiny reads cost more than they bring. Who
/// takes acknowledgments in time never sees it: chunks of 1 KiB came at 427 MB/s with this,
/// and at 430, 419 and 422 with 1 byte, 512 bytes and 64 KiB.
pub const READ_BYTES_MIN: usize = 4 * 1024;
/// Ids that a peer tries which may choose its own. With 4096 peers on the network, one
/// in a million is taken.
pub const ID_TRIES_MAX: u32 = 8;
/// Offer intervals for which names are collected after the first that matches a pattern:
/// each peer offers each of its files once in one, and one may be lost.
pub const PATTERN_INTERVALS: u32 = 2;
/// How often all sources of a file are asked again before `get` gives it up, if nothing
/// else is said: with the growing delays, for some 12 s.
pub const RETRIES_MAX: u32 = 5;
/// Downloads running at once; further jobs wait their turn. From one peer on the same
/// machine, 10,000 files of 4 KiB took 2.74 and 1.09 of the time with 1 (one connection, kept)
/// and 4, and 0.98, 1.01, 1.00 and 1.01 with 16, 32, 48 and 256; over a long way, more at once hide
/// more of the waits.
pub const DOWNLOADS_MAX: usize = 64;
/// Files of the shared folder that are offered, or will be once they rest.
pub const SHARED_FILES_MAX: usize = 1_000_000;

// ---- following the folder ----

/// A file that changed is offered once its writer has closed it, or after this long
/// without a change.
pub const REST_TIME: Duration = Duration::from_secs(2);
/// Pause between two looks at the whole of a folder of which the kernel does not tell all.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
/// That pause is at least so many times as long as the last look took: a look at many
/// files costs no more than 5 % of the time.
pub const RESCAN_PAUSE_SHARE: u32 = 20;
/// After a file was removed, it is looked this much later whether the folder itself is
/// still there: the kernel tells that only of a folder around it that may be watched.
pub const FOLDER_CHECK_DELAY: Duration = Duration::from_secs(1);
/// Pause between two steps of looking at all files that are known.
pub const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Pause between two batches of offers of new files: 10,000 of them take 3 s.
pub const NEWS_PAUSE: Duration = Duration::from_millis(10);

// ---- waits ----

/// Nothing at all received on a connection that was accepted.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// No progress in a download: no byte was read.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(15);
/// An upload has this many times the progress timeout of a download, by default 150 s. Its
/// progress, an acknowledgment or bytes that the socket took, comes in steps of up to
/// [`NOT_SENT_BYTES_MAX`]; [`TCP_USER_TIMEOUT`] notices a peer that is gone or reads nothing.
pub const UPLOAD_TIMEOUTS: u32 = 10;
/// A connection idle between requests. A registered client may be idle for ever.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Making a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer of the registry.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The window over which the minimum rate of a download is measured.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);
/// The same for an upload, of which the socket holds back up to [`NOT_SENT_BYTES_MAX`].
pub const UPLOAD_RATE_WINDOW: Duration = Duration::from_secs(150);
/// The minimum rate of a transfer.
pub const RATE_BYTES_PER_SECOND_MIN: u64 = 1024;
/// First delay before something that failed is tried again; it doubles each time.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// The longest delay between two tries.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// The same for a file whose sources lied: each try may cost a whole download.
pub const LIED_RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// First delay before a file that changed under the hash is hashed again.
pub const REHASH_DELAY_MIN: Duration = Duration::from_millis(20);
/// A file changed more recently than this is not hashed yet: older kernels stamp
/// changes with a clock of 4 to 10 ms, so two changes could carry one stamp.
pub const SETTLED_AGE: Duration = Duration::from_millis(20);
/// Offers of a source are forgotten after this long, or after three of our own
/// offer intervals if that is longer.
pub const OFFER_EXPIRY_MIN: Duration = Duration::from_secs(15);
/// How many of our own offer intervals an offer lives at least.
pub const OFFER_EXPIRY_INTERVALS: u32 = 3;
/// The longest sleep of a loop.
pub const POLL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Pause in accepting when the process has no descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// ---- kernel's own watch over a connection ----

/// Idle time before the kernel probes a silent connection.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(6);
/// Time between two probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Probes without an answer before the connection is given up.
pub const KEEPALIVE_PROBES: u32 = 3;
/// Sent data without acknowledgment before the connection is given up, if no longer
/// [`PROGRESS_TIMEOUT`] was asked for.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

// ---- a look at the network ----

/// How long one step of it waits for an answer: a SYN that was lost is sent again after
/// 1 s, and an answer from a network of this place comes in far less.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer than one offer interval it listens: peers' clocks and loops differ.
pub const DOCTOR_LISTENS_LONGER: Duration = Duration::from_millis(500);
/// Peers that it looks up and connects to.
pub const PROBED_PEERS_MAX: usize = 256;

// ---- tables ----

/// Connections of a peer, in both directions.
pub const PEER_CONNECTIONS_MAX: usize = 1024;
/// Connections that a program has at least, however few descriptors there are.
pub const CONNECTIONS_MIN: usize = 4;
/// Connections of a registry.
pub const REGISTRY_CONNECTIONS_MAX: usize = 16_384;
/// Accepted connections from one address; the loopback is exempt.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// Descriptors that are not for connections: the poll, listener, offers and signals,
/// and the files of transfers and of hashing.
pub const SPARE_DESCRIPTORS: usize = 32;
/// Peers whose offers are remembered.
pub const KNOWN_PEERS_MAX: usize = 4096;
/// Names that are remembered.
pub const KNOWN_NAMES_MAX: usize = 16_384;
/// Offers that are considered to find one to evict from a full table.
pub const EVICTION_TRIES: usize = 64;
/// Sources remembered for one name.
pub const SOURCES_PER_NAME_MAX: usize = 64;
/// Offers (a source of a name) that are remembered in all.
pub const KNOWN_OFFERS_MAX: usize = 65_536;

// ---- one turn of the loop ----

/// The most that one connection moves in one direction in one turn: our largest chunk, with
/// its head and the next one.
pub const CONNECTION_TURN_BYTES_MAX: usize = CHUNK_BYTES as usize + 2 * CHUNK_HEAD_BYTES;
/// Bytes received in one turn over all connections, as far as their least shares allow; to
/// hash and write them takes some 1 ms. One downloader took 8 files of 64 MiB
/// at once in 1.04 of the time, and with 1.18 of the CPU time, with half of this, and in 0.98 and
/// 0.96 with twice as much, in which a small answer would wait as much longer.
pub const TURN_RECEIVED_BYTES: usize = 1024 * 1024;
/// The same for bytes sent: up to 4 connections share it, then each has its least. Beside 8
/// downloads at line rate, half of all small answers came within 0.97 and 1.10 of the time with
/// 128 and 512 KiB, at the same rate (0.98 and 1.01).
pub const TURN_SENT_BYTES: usize = CONNECTION_TURN_BYTES_MAX;
/// The least that a ready connection is allowed in one turn. 64 downloads that are hashed take
/// some 3 ms of one. To 64 downloaders, each of which has to wait for a core for what it is
/// sent, 256 MiB went faster with more; but beside 8 downloads at line rate, there were then runs
/// in which half of all small answers (p50) took many times as long:
///
/// | | 16 KiB | 32 KiB | 64 KiB | 128 KiB | 256 KiB |
/// |---|---|---|---|---|---|
/// | to 64 downloaders, MB/s | 854 | 1,073 | 1,101 | 1,172 | 1,187 |
/// | p50 of small answers, ms | 0.041 | 0.041 | 0.041 | 0.046 | 0.047 |
/// | the same in the slowest of 11 runs | 0.049 | 0.046 | 0.043 | 0.273 | 0.766 |
pub const CONNECTION_TURN_BYTES_MIN: usize = 64 * 1024;
/// File data hashed in one turn, in all: some 0.2 ms. 1,000 files of 1 MiB took 1.01 of the time
/// with 1 MiB, and the longest turn was 1.08 ms and not 0.47.
pub const HASH_TURN_BYTES: usize = 256 * 1024;
/// File data read and hashed in one go, into the buffer that connections have too. 1,000 files of
/// 1 MiB took 1.02 of the time with 64 KiB.
pub const HASH_SLICE_BYTES: usize = 256 * 1024;
/// Files open at once for hashing; others wait.
pub const HASH_OPEN_FILES_MAX: usize = 64;
/// Files hashed at once though nobody asked for them yet. 10,000 files of 16 KiB that were not in
/// memory took 11.6, 3.1, 0.95, 0.59 and 0.41 s with 1, 4, 16, 32 and 64 at once, most of it pauses
/// of [`DISK_LOOK_INTERVAL`]; but a file that is asked for has its turn with all of them, and a
/// disk that has to seek brings few at once.
pub const HASH_AHEAD_FILES_MAX: usize = 16;
/// No further one begins while those under way have so many bytes, for the same reason. Those
/// 10,000 files took 3.2 of the time with 64 KiB, and the same with 1 and 16 MiB, as 16 of them
/// have 256 KiB.
pub const HASH_AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// What the least step of hashing costs, in bytes hashed in the same time: opening,
/// looking at and closing a file takes some 10 us, and a byte some 0.7 ns.
pub const HASH_STEP_COST_BYTES: usize = 16 * 1024;
/// What a disk is asked to read before it is hashed or sent: twice as much as is hashed between two
/// looks. It is asked for more once half of that is left. A file of 1 GiB that was not in memory
/// took 1.86 and 1.52 of the time with 512 KiB in two runs, and 0.85, 0.67 and 1.08 with 8 MiB in
/// three, where the longest turn was 1.0 to 1.1 ms, and 0.4 to 1.0 with this.
pub const READ_AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// Between two looks whether a disk has brought file data to be hashed or sent: no poll sleeps
/// for less. Those 10,000 files took 2.98 of the time with 4 ms.
pub const DISK_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How long a disk may take for file data before reads of that file wait for it: longer than
/// one with 64 files to read takes, and no reason to hold the loop up for less.
pub const DISK_PATIENCE: Duration = Duration::from_secs(2);
/// Connections that the kernel makes before we accept them: a burst of more in one turn of
/// the loop waits a second for its next try. The kernel caps it (`somaxconn`, 4096).
pub const LISTEN_BACKLOG: i32 = 4096;
/// Connections accepted in one turn, so that those that are there do not wait for a burst.
pub const ACCEPTS_PER_TURN: usize = 64;
/// What a call on a file costs at least, in bytes moved in the same time: many small chunks end
/// a turn as soon as a few large ones. 10,000 files of 4 KiB took 0.98 and 1.00 of the time with
/// nothing and with 16 KiB.
pub const FILE_CALL_COST_BYTES: usize = 1024;
/// Datagrams taken in during one turn: at most some 0.4 ms, as a peer takes in 600,000 a second
/// that are news (`cargo bench --bench offers`).
pub const DATAGRAMS_PER_TURN: usize = 256;
/// Events of the shared folder read in one turn. Each may cost a look at a file, some 2 us.
pub const FOLDER_EVENTS_PER_TURN: usize = 512;
/// Names of the shared folder looked at in one turn, or one step, when all are: each may cost a
/// look at a file, some 2 us.
pub const LOOKS_PER_TURN: usize = 256;
/// Events that one poll may report: a turn serves each connection at most once, so more than it
/// has connections are of no use. 10,000 files over 64 connections took 0.98 and 1.01 of the time
/// with 16 and 64.
pub const POLL_EVENTS: usize = 1024;
/// Offers in one batch: small enough for any receive buffer, large enough that
/// 10,000 files in 5 s wake the loop some 60 times a second.
pub const OFFERS_PER_BATCH: usize = 32;
/// Receive buffer asked for on the offer socket; the default of 208 KiB
/// overflows at a few hundred datagrams.
pub const OFFER_SOCKET_RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Written data after which the kernel is told to start writing it back. In MB/s for 1 GiB to
/// disk:
///
/// | | 256 KiB | 1 MiB | 4 MiB | 16 MiB | never |
/// |---|---|---|---|---|---|
/// | synced | 936 | 1,010 | 1,046 | 1,009 | 748 |
/// | not synced | 988 | 1,040 | 1,032 | 1,043 | 956 |
pub const WRITE_BACK_BYTES: u64 = 1024 * 1024;

/// How often in a row a call on a file may be disturbed (EINTR, EAGAIN).
pub const DISTURBED_CALLS_MAX: u32 = 16;
/// Temporary names tried for one partial file.
pub const PARTIAL_NAME_TRIES_MAX: u32 = 16;
/// Names with a number tried for one file whose own name is taken.
pub const RENAME_TRIES_MAX: u32 = 1000;

/// Data written to a folder after which it is looked again whether there is room. 256 KiB and
/// 8 MiB made no difference that shows for 1 GiB to tmpfs.
pub const SPACE_CHECK_BYTES: u64 = 1024 * 1024;
/// Disk space left free, at least.
pub const DISK_RESERVE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Disk space left free: the whole divided by this, if that is more.
pub const DISK_RESERVE_SHARE: u64 = 100;

/// What is read of the file with the digests of a folder: as many records of 96 bytes as
/// there may be files, twice.
pub const DIGEST_CACHE_FILE_BYTES_MAX: u64 = 2 * 96 * SHARED_FILES_MAX as u64;
/// Folders whose digests are kept.
pub const DIGEST_CACHES_MAX: usize = 64;
/// Digests are kept at the latest when there are so many bytes of them. 10,000 new files were
/// hashed as soon (1.00 and 1.01 of the time) with 4 KiB and with 1 MiB.
pub const DIGEST_CACHE_WRITE_BYTES: usize = 32 * 1024;

// ---- what is shown ----

/// Between two samples of the running transfers, and between two events about the progress of
/// one: scripts need no more.
pub const PROGRESS_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two pictures of the progress on a terminal: quick enough for the eye. No two
/// samples follow one another sooner.
pub const PROGRESS_DRAW_INTERVAL: Duration = Duration::from_millis(250);
/// Between two lines about the progress where there is no terminal.
pub const PROGRESS_LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Transfers that are shown on a terminal, a line for each.
pub const PROGRESS_LINES_MAX: usize = 10;
/// A transfer in which nothing moved for so long is shown as stalled, at once.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);
/// A rate that is shown is that over so long, or half of it at least.
pub const RATE_SHOWN_WINDOW: Duration = Duration::from_secs(3);
/// What a transfer waited for longer ago than this counts for some third or less in what
/// is shown to limit it.
pub const LIMIT_MEMORY: Duration = Duration::from_secs(3);
/// By how much more something has to hold a transfer up, in percent, before it is shown in
/// the place of what was shown: else two that are alike would take turns.
pub const LIMIT_LEAD_PERCENT: u32 = 25;
/// A transfer in which nothing moves for so long waits for the other side. A network that
/// brings anything at all does so sooner: TCP sends again what was lost after 1 s at first
/// (RFC 6298), and after a fraction of that once it knows the way.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A line on stdout: what is no longer than PIPE_BUF, 4096 on Linux, is written to a pipe
/// whole or not at all.
pub const STDOUT_LINE_BYTES_MAX: usize = 4096;
/// How long the last line waits for a reader who is slow, and before it the one that tells
/// how many were dropped: together less than the 2 s in which a program ends that is told to.
pub const LAST_LINE_PATIENCE: Duration = Duration::from_millis(750);
/// A text in a line of JSON, after escaping: some have two texts, and other fields.
pub const JSON_TEXT_BYTES_MAX: usize = 1024;
/// Events about what is not shared when a program starts; the rest is counted. Not so many
/// that a reader who is slow to start would miss other events: a pipe holds 64 KiB.
pub const SKIPPED_EVENTS_MAX: usize = 100;
/// Lines about what is not shared; `share` counts the rest.
pub const SKIPPED_LINES_MAX: usize = 10;
/// How long `list --watch` holds the answers of a registry for true: a peer may come back
/// under its id at another address.
pub const ADDRESS_MEMORY: Duration = Duration::from_secs(30);
/// How often `list --watch` looks for changes.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

// ---- control socket ----

/// Programs that ask this one at once. A new one evicts the oldest; what none of them reads
/// is bounded by [`CONTROL_TIMEOUT`] and by the wishes of each.
pub const CONTROL_CLIENTS_MAX: usize = 8;
/// Files that one program asks for at once. Each causes at most three answers, of which the
/// longest has [`CONTROL_REASON_BYTES_MAX`]: some 5 MB for a program that reads none of them.
pub const CONTROL_WISHES_MAX: usize = 4096;
/// A whole question, an answer that begins, and each piece of an answer that is not read: both
/// programs are on this host, and have everything in hand.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer of another program: keeps one that is not ours from filling memory. Ten times
/// what a peer answers that names [`STATUS_NAMES_MAX`] files and offers and as many transfers.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Why a file will not come, in words: several times the longest sentence that there is.
pub const CONTROL_REASON_BYTES_MAX: usize = 1024;
/// Files, and as many offers, that are named in an answer: some 150 bytes of JSON each.
pub const STATUS_NAMES_MAX: usize = 1000;
/// Between two times that `--metrics` writes: what collects them comes every 15 s or more.
pub const METRICS_INTERVAL: Duration = Duration::from_secs(10);

// ---- log ----

/// Lines in one second about what one address did wrong.
pub const LOG_LINES_PER_ADDRESS_PER_SECOND: u32 = 10;
/// Lines in one second, in all, but for the next two kinds.
pub const LOG_LINES_PER_SECOND: u32 = 200;
/// Lines in one second about what others offer.
pub const LOG_OFFER_LINES_PER_SECOND: u32 = 20;
/// Addresses that lines in one second may be about.
pub const LOG_ADDRESSES_MAX: usize = 1024;
/// How long the same complaint about the datagrams of an address is not told again: an
/// offer with an odd name comes anew every few seconds.
pub const LOG_COMPLAINT_INTERVAL: Duration = Duration::from_secs(300);
/// Complaints about datagrams in that time; what is more is a detail.
pub const LOG_COMPLAINTS_MAX: usize = 1024;

/// The bounds that a user may change, and tests shorten. All others are constants.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, in both directions.
    pub connections_max: usize,
    /// Accepted connections from one address; the loopback is exempt.
    pub connections_per_address_max: usize,
    /// See [`FIRST_BYTE_TIMEOUT`].
    pub first_byte_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`PROGRESS_TIMEOUT`].
    pub progress_timeout: Duration,
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`ANSWER_TIMEOUT`].
    pub answer_timeout: Duration,
    /// The largest file that is fetched.
    pub file_bytes_max: u64,
}

impl Limits {
    /// The usual bounds of a peer.
    pub const PEER: Self = Self {
        connections_max: PEER_CONNECTIONS_MAX,
        connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
        first_byte_timeout: FIRST_BYTE_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        progress_timeout: PROGRESS_TIMEOUT,
        connect_timeout: CONNECT_TIMEOUT,
        answer_timeout: ANSWER_TIMEOUT,
        file_bytes_max: u64::MAX,
    };

    /// The bounds of a program that looks at the network once.
    pub const PROBE: Self =
        Self { connect_timeout: PROBE_TIMEOUT, answer_timeout: PROBE_TIMEOUT, ..Self::PEER };

    /// How long an upload may be without progress: see [`UPLOAD_TIMEOUTS`].
    pub fn upload_timeout(&self) -> Duration {
        self.progress_timeout * UPLOAD_TIMEOUTS
    }

    /// The usual bounds of a registry.
    pub const REGISTRY: Self = Self { connections_max: REGISTRY_CONNECTIONS_MAX, ..Self::PEER };
}

const _: () = {
    assert!(CHUNK_BYTES > 0 && LOCAL_WINDOW_BYTES <= WINDOW_BYTES);
    assert!(LOCAL_WINDOW_BYTES.is_multiple_of(CHUNK_BYTES));
    assert!(WINDOW_BYTES.is_multiple_of(CHUNK_BYTES));
    // One chunk is sent while others are written.
    assert!(CHUNK_BYTES <= LOCAL_WINDOW_BYTES / 2);
    // At the minimum rate the socket takes bytes before the upload counts as stalled.
    assert!((NOT_SENT_BYTES_MAX as u64) < RATE_BYTES_PER_SECOND_MIN * UPLOAD_RATE_WINDOW.as_secs());
    assert!(PROGRESS_TIMEOUT.as_secs() * UPLOAD_TIMEOUTS as u64 == UPLOAD_RATE_WINDOW.as_secs());
    assert!(HEAD_BYTES_MAX < OUTBOX_BYTES_MAX);
    // An empty outbox allows a read, and takes all answers to it.
    assert!(READ_BYTES_MIN < OUTBOX_BYTES_MAX);
    assert!((REQUESTS_PER_READ + 1) * HEAD_BYTES_MAX <= OUTBOX_BYTES_MAX);
    assert!(CONNECTION_TURN_BYTES_MIN <= CONNECTION_TURN_BYTES_MAX);
    assert!(HASH_SLICE_BYTES <= CONNECTION_TURN_BYTES_MAX);
    assert!(HASH_SLICE_BYTES <= HASH_TURN_BYTES);
    assert!(HASH_AHEAD_FILES_MAX <= SPARE_DESCRIPTORS / 2);
    assert!(KNOWN_NAMES_MAX <= KNOWN_OFFERS_MAX && KNOWN_PEERS_MAX <= KNOWN_OFFERS_MAX);
    assert!(DOWNLOADS_MAX < PEER_CONNECTIONS_MAX);
    assert!(OFFERS_PER_BATCH <= DATAGRAMS_PER_TURN);
    assert!(RETRY_DELAY_MIN.as_millis() <= RETRY_DELAY_MAX.as_millis());
    assert!(PROGRESS_TIMEOUT.as_millis() <= RATE_WINDOW.as_millis());
    assert!(OFFER_INTERVAL_MIN.as_millis() <= OFFER_INTERVAL.as_millis());
    // What is looked at again and again rests between two looks.
    assert!(REST_TIME.as_millis() < RESCAN_INTERVAL.as_millis());
    // What changes with one time stamp does not count as at rest.
    assert!(SETTLED_AGE.as_millis() < REST_TIME.as_millis());
    assert!(CONTROL_WISHES_MAX < JOBS_MAX);
    assert!(CONTROL_REASON_BYTES_MAX <= u16::MAX as usize);
    assert!(JSON_TEXT_BYTES_MAX * 2 + 1024 < STDOUT_LINE_BYTES_MAX);
};
