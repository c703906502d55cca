//! Every bound and default of the program, with its unit in its name.
//!
//! A bound says what it protects, why it has this order of magnitude, and how it relates to
//! others; the relations are asserted at compile time at the end. Measurements stand in
//! `benches/README.md`, under the heading that is named.

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

// ---- wire: fixed by protocol version 1 ----

/// A content in bytes: 16 TiB, so that a block has at most 1 GiB.
pub const CONTENT_BYTES_MAX: u64 = 1 << 44;
/// A block, of a content that has no more than [`BLOCKS_MAX`] of them.
pub const BLOCK_BYTES_MIN: u64 = 256 * 1024;
/// Blocks of a content: its manifest has 32 bytes for each, 512 KiB in all.
pub const BLOCKS_MAX: u32 = 16_384;
/// A path, in bytes of UTF-8.
pub const PATH_BYTES_MAX: usize = 1_024;
/// Components of a path.
pub const PATH_COMPONENTS_MAX: usize = 32;
/// A component of a path: what file systems take.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// The name of a peer.
pub const PEER_NAME_BYTES_MAX: usize = 63;
/// The body of a frame: a manifest, and as much as a later version may add.
pub const FRAME_BODY_BYTES_MAX: u32 = 524_352;
/// The body of a page of a catalog.
pub const PAGE_BYTES_MAX: u32 = 64 * 1024;
/// File data in a frame.
pub const DATA_BYTES_MAX: u32 = 256 * 1024;
/// What goes before the data in a frame: its type, its length, and the request.
pub const DATA_HEAD_BYTES: usize = 9;
/// Block numbers in a frame that tells of more blocks held.
pub const MORE_HELD_MAX: u32 = 1_024;
/// A beacon: one Ethernet frame takes it whole.
pub const BEACON_BYTES_MAX: usize = 512;
/// Tags in a beacon.
pub const TAGS_MAX: usize = 32;

/// Requests open in one direction of a session: so many small files at once fill a link with a
/// long round-trip time.
pub const REQUESTS_MAX: usize = 1_024;
/// Of these, requests for lists: each has a place in a catalog.
pub const LIST_REQUESTS_MAX: usize = 8;
/// Of these, questions which blocks are held: each is told of every new one.
pub const BLOCK_REQUESTS_MAX: usize = 64;
/// Of these, requests for a turn: each stands in a line.
pub const WAIT_REQUESTS_MAX: usize = 64;
/// Short answers that wait for a peer that does not read; beyond it new requests are refused.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of frames for requests that are over, with none for an open one between: what may be
/// on its way when a request is cancelled.
pub const STRAY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// From the first byte of an accepted connection to the whole hello.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that came in and have not said who they are; a new one evicts the oldest. So
/// silent ones do not take the places of peers.
pub const STRANGERS_MAX: usize = 64;
/// How long a connection that came in is not evicted: what it sent waits to be read for a few
/// turns of a busy loop.
pub const STRANGER_GRACE: Duration = Duration::from_millis(250);
/// From a dialed connection to the hello of the other side.
pub const DIALED_HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// The same with a secret: the other side may have others' handshakes to do first.
pub const SEALED_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Secrets that a program may have: an old one and a new one.
pub const SECRETS_MAX: usize = 2;
/// The time from one handshake of a connection that came in to the next, in the long run: each
/// takes some 0.2 ms, and anybody can ask for one by sending a first message again that was
/// recorded.
pub const HANDSHAKE_PAUSE: Duration = Duration::from_millis(1);
/// Handshakes that may be done at once after a pause.
pub const HANDSHAKE_BURST: u32 = 16;
/// How long a handshake waits for others: a dialer waits for longer.
pub const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long a session that broke a rule may take to read which, before it is closed: it is good
/// for its log alone.
pub const GOOD_BYE_TIMEOUT: Duration = Duration::from_secs(1);

// ---- fetching contents by version 1 ----

/// Sizes of a content that are tried one after the other, if only its id is known and no source is
/// left of the one before: at most one of them is true.
pub const SIZES_TRIED_MAX: usize = 4;
/// Wrong bytes from one source of a content after which it is none any more: one may be an
/// accident of its disk or memory.
pub const STRIKES_MAX: u8 = 2;
/// A block that was requested so long ago, and has not begun to come, may be requested from a
/// second source: several round trips of most networks, so that few come twice.
pub const SECOND_COPY_AFTER: Duration = Duration::from_millis(50);
/// A block that began to come so long ago, and is not whole, may be requested from a second
/// source, which takes it over.
pub const TAKE_OVER_AFTER: Duration = Duration::from_secs(2);
/// Pause before a peer that holds nothing of a content is asked again: section 7 of the protocol.
pub const HOPE_PAUSE_MIN: Duration = Duration::from_secs(1);
/// With fewer sessions than this, peers that look for the same are dialed: rule F9.
pub const SWARM_DIALS_MAX: usize = 12;
/// Files that a program which only fetches gives on once it has them.
pub const GUEST_FILES_MAX: usize = 65_536;
/// Sessions for one content.
pub const CONTENT_SOURCES_MAX: usize = 24;
/// Contents of several blocks that are fetched at once: each asks all its sources.
pub const LARGE_ACTIVE_MAX: usize = 8;
/// Contents of one block that are requested or written at once: so many fill a link with a long
/// round-trip time, and each has a file open.
pub const SMALL_ACTIVE_MAX: usize = 128;
/// Turns in use for one content.
pub const TURNS_IN_USE_MAX: usize = 8;
/// A turn with at least so many bytes: the next one may be waited for once half of it came.
pub const EARLY_WAIT_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// How long a source has for a manifest before another one is asked for it; it doubles each time.
pub const MANIFEST_PATIENCE: Duration = Duration::from_secs(1);
/// The longest such time: enough for the largest manifest at 64 KiB/s.
pub const MANIFEST_PATIENCE_MAX: Duration = Duration::from_secs(8);
/// A source that is busy is asked again after at least this time, whatever it says.
pub const BUSY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// And after at most this time.
pub const BUSY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Blocks of one partial file that are hashed at once: one is read while the other is hashed.
pub const BLOCK_HASHES_MAX: usize = 2;
/// Zeros that are hashed for one turn, to find blocks that need no request: some 4 ms.
pub const ZEROS_PER_TURN_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes requested ahead of the first block that is missing, where they are wanted in order.
pub const PIPE_AHEAD_BYTES: u64 = 64 * 1024 * 1024;

// The catalog and the line of version 1.

/// Removals that a catalog keeps: a reader that missed more of them is told everything anew.
pub const REMOVALS_KEPT: usize = 65_536;
/// Entries that are looked through to read a part of a catalog, before all are read in order
/// instead: some milliseconds.
pub const LIST_SCAN_ENTRIES: usize = 16_384;
/// Between two pages of changes to one reader.
pub const WATCH_PAGE_INTERVAL: Duration = Duration::from_millis(100);
/// Between two pages that tell a reader how far files are hashed; the protocol allows 1 to 5 s.
pub const PROGRESS_PAGE_INTERVAL: Duration = Duration::from_secs(2);
/// Turns that are given while sockets take what is sent.
pub const TURNS_MIN: usize = 2;
/// Turns in use at once, whatever would block: each has an open file.
pub const TURNS_MAX: usize = 32;
/// How long a turn carries, while others wait.
pub const TURN_TIME: Duration = Duration::from_millis(2);
/// The length of a turn while nobody waits.
pub const SOLE_TURN_BYTES: u64 = 16 * 1024 * 1024;
/// A turn of which nothing is requested after so long is given to another, too: about a round
/// trip in a local network that is in use.
pub const TURN_GRACE: Duration = Duration::from_millis(10);
/// A turn that is not used for so long expires.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(2);
/// Requests for blocks of one session that are under way at once: enough that small files follow
/// one another without a pause.
pub const GETS_SENDING_MAX: usize = 16;
/// Files open at once to give blocks of them.
pub const SOURCES_MAX: usize = 256;
/// Contents given on a session that are remembered: a verdict on another does not count.
pub const CONTENTS_GIVEN_REMEMBERED: usize = 1_024;
/// Files given on a session that are shown as uploads at once.
pub const UPLOADS_SHOWN_MAX: usize = 64;
/// Sessions that are told which blocks of one content we hold.
pub const SESSIONS_PER_CONTENT_MAX: usize = 24;
/// The values of the blocks of our files that are kept: those of 256 GiB at least.
pub const MANIFESTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How much is hashed in a millisecond, at least, to guess when a manifest will be there.
pub const HASHED_BYTES_PER_MS: u64 = 1_000_000;
/// When to ask for it again, in milliseconds: not at once, and not never.
pub const MANIFEST_WAIT_MS_MIN: u32 = 50;
/// As [`MANIFEST_WAIT_MS_MIN`].
pub const MANIFEST_WAIT_MS_MAX: u32 = 60_000;
/// When a request that is refused for another one may be made again, in milliseconds.
pub const WAIT_RETRY_MS: u32 = 1_000;
/// Files that went whose ids are remembered: they may come again under other names.
pub const MOVED_FILES_REMEMBERED: usize = 4_096;
/// Files that version 0 offers, the first by name: older peers remember no more.
pub const OFFERED_FILES_MAX: usize = 16_384;
/// Between two offers, on average: with a batch at once, fewer than 200 in any second.
pub const OFFER_PAUSE: Duration = Duration::from_micros(6_250);

/// Peers in one answer of a registry, each of 24 bytes.
pub const LISTED_PEERS_MAX: usize = 1_024;
/// Such answers, of 24 KiB, that a registry has to send at once: clients that never read them hold
/// 24 MiB in all. One more evicts the client that has not read for longest.
pub const UNSENT_LISTS_MAX: usize = 1_024;
/// Peers that are kept of its answers.
pub const LISTED_PEERS_KEPT_MAX: usize = 4 * LISTED_PEERS_MAX;
/// How often it is asked for them.
pub const LISTING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take for its first answer: one of version 0 says nothing, or closes.
pub const LISTING_TIMEOUT: Duration = Duration::from_secs(2);
/// It is not asked again for so long after that.
pub const LISTING_REFUSED_PAUSE: Duration = Duration::from_secs(600);

/// Between two beacons, at random 20 % more or less.
pub const BEACON_INTERVAL: Duration = Duration::from_secs(5);
/// On each interface one datagram in this time, whatever is heard or changes. With the answers
/// they are at most 11 a second, so that a network of a thousand peers carries them all.
pub const BEACON_PAUSE: Duration = Duration::from_secs(1);
/// Of these at once: the first queries of a search follow one another quickly.
pub const BEACON_BURST: u32 = 4;
/// On each interface one answer to queries in this time.
pub const ANSWER_PAUSE: Duration = Duration::from_millis(100);
/// Of these at once.
pub const ANSWER_BURST: u32 = 10;
/// A query is not answered once so many others have: a getter dials no more at first.
pub const ANSWERS_ENOUGH: usize = 16;
/// How long a beacon shows what was queried and is there.
pub const QUERY_MEMORY: Duration = Duration::from_secs(10);
/// Tags queried in that time that we did not have: we may have them soon.
pub const QUERIED_TAGS_REMEMBERED: usize = 256;
/// Queries that wait for an answer on one interface: each costs some 400 bytes. Further ones are
/// answered with them.
pub const QUERIES_WAITING_MAX: usize = 32;
/// Records of peers that were heard, each of some 1 KiB at most.
pub const KNOWN_BEACONS_MAX: usize = 4096;
/// A record expires after this long without a beacon: two of three may be lost.
pub const BEACON_EXPIRY: Duration = Duration::from_secs(15);
/// Addresses of one instance that hellos have proven.
pub const PROVEN_ADDRESSES_MAX: usize = 4;
/// Dials at once to addresses that no hello has proven: anybody on the network can forge them.
pub const UNPROVEN_DIALS_MAX: usize = 32;
/// The lowest port of such a dial: those below are for services of the system.
pub const DIALED_PORT_MIN: u16 = 1024;
/// An address that was dialed in vain is not dialed again for this long.
pub const FAILED_DIAL_PAUSE: Duration = Duration::from_secs(10);
/// Such addresses; while there are so many, no other unproven address is dialed.
pub const FAILED_DIALS_REMEMBERED: usize = 4096;
/// Tags that a peer looks for at once: each is named in a query about every
/// [`BEACON_INTERVAL`] x `SEARCHES_MAX / TAGS_MAX` at the latest.
pub const SEARCHES_MAX: usize = 4096;

// ---- defaults of the command line ----

/// Port of the registry.
pub const REGISTRY_PORT: u16 = 5000;
/// UDP port on which offers are sent and heard.
pub const OFFER_PORT: u16 = 8000;
/// TCP port of sessions: another is taken if it is in use.
pub const SESSION_PORT: u16 = 8001;
/// UDP port on which beacons are sent and heard.
pub const BEACON_PORT: u16 = OFFER_PORT + 1;
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
/// Files of one wish, by version 1: some 200 bytes and a path each are kept until they are there.
pub const JOB_FILES_MAX: usize = 1_048_576;
/// The bytes of all that other peers list of what is wanted: a million files with usual paths,
/// and a bound for peers that make up long ones.
pub const LISTED_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Files that are begun at once; how many of them are fetched at once is another matter. Each
/// has a place in a few tables.
pub const FILES_ACTIVE_MAX: usize = 4_096;
/// Lists that are open on a session for what is wanted, and as many for what it has fetched:
/// those of files that are hashed first, and of names, have the other places.
pub const SCOPES_MAX: usize = 2;
/// Lists that are open on a session for files that are hashed before others.
pub const HASH_FIRST_LISTS_MAX: usize = 2;
/// Sessions on which we ask at once.
pub const ASKED_PEERS_MAX: usize = 128;
/// Those of them with peers that the registry lists: half are for those that are heard.
pub const ASKED_BEYOND_MAX: usize = ASKED_PEERS_MAX / 2;
/// Such a peer that has nothing which is wanted is not dialed again for this long, unless
/// something else is.
pub const BEYOND_VISIT_PAUSE: Duration = Duration::from_secs(60);
/// Peers that are remembered as having nothing that is wanted.
pub const VISITED_MAX: usize = 4_096;
/// How long only peers that show a tag of a wish are dialed: rule F19 of the protocol.
pub const FIND_BY_TAG_TIME: Duration = Duration::from_millis(200);
/// How long a job waits for the answers of others: rule F20 of the protocol.
pub const ANSWER_WINDOW_MIN: Duration = Duration::from_millis(100);
pub const ANSWER_WINDOW_MAX: Duration = Duration::from_secs(1);
pub const ANSWER_WINDOW_PER_PEER: Duration = Duration::from_millis(2);
/// No transfer by version 0 begins before: version 1 tells sizes and verifies while it comes.
pub const VERSION_0_AFTER: Duration = Duration::from_secs(1);
/// When the user is told that nobody shares a wish: each peer on a network has answered by then.
pub const WISH_TOLD_AFTER: Duration = Duration::from_millis(1_500);
/// Pause before an address that the user gave is dialed again.
pub const GIVEN_PEER_PAUSE: Duration = Duration::from_secs(2);
/// How long a session that is of no use is kept.
pub const IDLE_SOURCE_TIME: Duration = Duration::from_secs(1);
/// Names of others that are told to a user whose wish nobody shares.
pub const HINT_NAMES_MAX: usize = 12;
/// Entries of a catalog that are read for that.
pub const HINT_ENTRIES_MAX: usize = 4_096;
/// Digits of an id that are enough to look it up in catalogs: half of the bits that make a
/// chance match impossible among all files there are.
pub const ID_DIGITS_MIN: usize = 16;

// ---- transfers ----

/// File data in each chunk that we send; the last one of a file has the remainder. Large
/// enough that its head and its acknowledgment cost little, and half of the smallest
/// window. See *Chunks and windows* in `benches/README.md`.
pub const CHUNK_BYTES: u32 = 256 * 1024;
/// File data in flight to a peer on this host: two chunks, so that one is sent while the other
/// is written, and little enough to stay in the processor's cache. See *Chunks and windows* in
/// `benches/README.md`.
pub const LOCAL_WINDOW_BYTES: u32 = 2 * CHUNK_BYTES;
/// File data in flight to any other peer: the bandwidth-delay product of 125 MB/s and a
/// round-trip time of 128 ms. TCP does the rest.
pub const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes that a socket takes and has not sent yet: so bytes that it takes tell that others
/// were sent. At the minimum rate they take 128 s, less than [`UPLOAD_RATE_WINDOW`].
pub const NOT_SENT_BYTES_MAX: u32 = 128 * 1024;
/// Copied bytes (message heads, acknowledgments, answers) waiting to be sent on one
/// connection. No more is read than can cause this much.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;
/// Memory that an empty outbox keeps: an idle connection is to cost next to nothing.
pub const OUTBOX_KEPT_BYTES: usize = 128;
/// File data in small chunks that is read at once, in chunks as small as the smallest one
/// received: each costs a write and an acknowledgment. See *Small chunks* in
/// `benches/README.md`.
pub const SMALL_CHUNKS_PER_READ: usize = 256;
/// A chunk with at least this much to come is read up to its end and the next head, and no
/// further: so the data of the next one is written as a whole. See *Small chunks* in
/// `benches/README.md`.
pub const WHOLE_CHUNK_READ_BYTES_MIN: usize = 16 * 1024;
/// Room for actions that an empty queue of a peer keeps: a burst of small files does not
/// allocate it again and again.
pub const ACTIONS_KEPT: usize = 1024;
/// Requests that the registry reads from one connection at once, before it answers them:
/// 16,384 clients that never read their answers then hold some 70 MiB in all, without lists.
pub const REQUESTS_PER_READ: usize = 64;
/// Reading pauses while less than this may be read: tiny reads cost more than they bring. It
/// happens only while the other side takes no acknowledgments.
pub const READ_BYTES_MIN: usize = 4 * 1024;
/// Ids that a peer tries if it may choose its own. With 4096 peers on the network, one in a
/// million is taken.
pub const ID_TRIES_MAX: u32 = 8;
/// Intervals without a new match after which a pattern is complete, those of the slowest
/// sharer that matches: if 3 of 10 offers are lost, 2 of 1,000 patterns then miss a name. The
/// half is for offers that come late.
pub const PATTERN_INTERVALS: f32 = 5.5;
/// The same in intervals of our own setting, at least: a sharer of which nothing was heard yet
/// may be slower than all others. A pattern that may be a name waits for that as long.
pub const PATTERN_OWN_INTERVALS: u32 = 2;
/// The longest time for which a pattern listens, from its first match on, unless our own
/// setting asks for more: a sharer with new files, or slow ones, for ever does not hold it up.
pub const PATTERN_TIME_MAX: Duration = Duration::from_secs(300);
/// The last gaps between offers of one file, whose median is the interval of a sharer: two of
/// them may be doubled by losses, or be short, without harm.
pub const INTERVAL_SAMPLES: usize = 5;
/// Gaps from which on it is known: the first one may be shorter, as a new file is offered at
/// once.
pub const INTERVAL_SAMPLES_MIN: usize = 2;
/// How often each source of a file that failed is asked again before `get` gives the file up,
/// by default: with the growing delays, for some 12 s.
pub const RETRIES_MAX: u32 = 5;
/// Downloads running at once; further jobs wait their turn. A few keep one source busy, and
/// more hide the round trips of a slow network. See *Downloads at once* in
/// `benches/README.md`.
pub const DOWNLOADS_MAX: usize = 64;
/// Second downloads of files that come slowly, at once. A few are enough to find those that are
/// faster, and each costs a connection, a file and its share of the link.
pub const HEDGES_MAX: usize = 16;
/// A download is slow if another source is expected to be more than this many times as fast.
pub const SLOW_FACTOR: u64 = 10;
/// A second download goes on if it is this many times as fast as the first.
pub const FASTER_FACTOR: u64 = 2;
/// The rate in bytes per second that is expected of a source which has not shown any.
pub const UNTRIED_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// Files of the shared folder that are offered, or will be once they have settled.
pub const SHARED_FILES_MAX: usize = 1_000_000;

// ---- following the folder ----

/// A file that changed is offered once its writer has closed it, or after this long
/// without a change.
pub const SETTLE_TIME: Duration = Duration::from_secs(2);
/// A file that a writer has open is offered after this long without a change: longer than a
/// download or a copy pauses, and soon enough for a log, which nobody closes.
pub const WRITTEN_SETTLE_TIME: Duration = Duration::from_secs(30);
/// Files known to be open for writing, by their inodes: each costs some 50 bytes. Further ones
/// settle like a file that nobody has open.
pub const WRITTEN_FILES_MAX: usize = 1024;
/// Of the watches that the kernel grants a user, one program takes this part: other programs
/// need some, too.
pub const WATCHES_SHARE: usize = 2;
/// The watches of a user where the kernel does not tell how many there are: the least that any
/// kernel grants.
pub const WATCHES_GUESS: usize = 8192;
/// Pause between two scans of a folder whose changes the kernel does not report, or not all.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(10);
/// That pause is at least so many times as long as the last scan took: scans of many files
/// cost no more than 5 % of the time.
pub const RESCAN_PAUSE_SHARE: u32 = 20;
/// After a file was removed, the folder itself is checked this much later: the kernel reports
/// its removal only if the folder around it may be watched.
pub const FOLDER_CHECK_DELAY: Duration = Duration::from_secs(1);
/// Pause between two steps in which all known files are observed.
pub const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Pause between two batches of offers of new files: 10,000 of them take 3 s.
pub const NEWS_PAUSE: Duration = Duration::from_millis(10);

// ---- waits ----

/// Nothing at all received on a connection that was accepted.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// From the first byte of a message until its head is whole, which is all of it but the data
/// of a chunk: one byte buys no more than a silent connection has, on any connection. At the
/// minimum rate the longest head takes some 70 ms.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// No progress in a download: no byte was read.
pub const PROGRESS_TIMEOUT: Duration = Duration::from_secs(15);
/// An upload has this many times the progress timeout of a download, by default 150 s. Its
/// progress, an acknowledgment or bytes that the socket took, comes in steps of up to
/// [`NOT_SENT_BYTES_MAX`]. [`TCP_USER_TIMEOUT`] notices a peer that is gone or reads nothing.
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
/// The rate of a download is that over so long: one that is slow in it may be hedged.
pub const PACE_WINDOW: Duration = Duration::from_secs(30);
/// How long a second download has to show that it is faster.
pub const HEDGE_TRIAL: Duration = Duration::from_secs(30);
/// After this much of it one that moves, and is no faster, makes room for a source that was not
/// tried: of many slow ones none holds up the others for long. Rates are not measured in less.
pub const HEDGE_GLANCE: Duration = Duration::from_secs(2);
/// Times that the registry is tried soon again where one usually is, if the user named none: it may
/// have been started at the same time.
pub const USUAL_REGISTRY_HASTY_TRIES: u32 = 4;
/// How often it is tried after that.
pub const USUAL_REGISTRY_INTERVAL: Duration = Duration::from_secs(60);
/// First delay before something that failed is tried again; it doubles each time.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// The longest delay between two tries.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// The same for a file whose sources sent wrong bytes: each try may cost a whole download.
pub const LIED_RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// First delay before a file that changed under the hash is hashed again.
pub const REHASH_DELAY_MIN: Duration = Duration::from_millis(20);
/// A file changed more recently than this is not hashed yet: older kernels stamp changes with
/// a clock of 4 to 10 ms, so two changes could carry one stamp.
pub const SETTLED_AGE: Duration = Duration::from_millis(20);
/// The same for a stamp without a fraction of a second: some file systems have no finer ones
/// (FAT has a stamp every 2 s), and all changes between two stamps look alike.
pub const COARSE_SETTLED_AGE: Duration = Duration::from_secs(2);
/// Files sent whole that are remembered with the address: one that asks again may have refused
/// what came, and so the digest is made anew.
pub const SENT_FILES_REMEMBERED: usize = 256;
/// That is done at most once in this time.
pub const REVERIFY_PAUSE_MIN: Duration = Duration::from_secs(2);
/// For a large file less often, so that hashing it again and again takes some 2 % of a core.
pub const REVERIFIED_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;
/// After one offer interval and its part by this, everybody has had the time to offer each
/// file once: the clocks and loops of peers differ.
pub const OFFER_SLACK_SHARE: u32 = 5;
/// An offer expires so many intervals of its sharer after it was last heard, and not sooner
/// than after as many of our own.
pub const OFFER_EXPIRY_INTERVALS: u32 = 3;
/// The shortest life of an offer.
pub const OFFER_EXPIRY_MIN: Duration = Duration::from_secs(15);
/// The longest life of an offer, unless our own intervals are longer: a sharer that offers
/// rarely fills the tables no longer than this.
pub const OFFER_EXPIRY_MAX: Duration = Duration::from_secs(300);
/// The life of an offer whose sharer has not been heard often enough: a slower sharer's
/// interval cannot be observed.
pub const OFFER_EXPIRY_UNKNOWN: Duration = Duration::from_secs(60);
/// An offer that comes from another address sooner than this is a copy, sent by another
/// interface of its sharer.
pub const OFFER_COPY_TIME: Duration = Duration::from_secs(5);
/// How long the name of a host is looked for: two name servers of which the first says nothing
/// are asked within it, at [`NAME_SERVER_OPTIONS`]. A person waits for the answer.
pub const NAME_TIMEOUT: Duration = Duration::from_millis(2500);
/// How the system asks name servers for us, as in resolv.conf(5): by default each has 5 s.
pub const NAME_SERVER_OPTIONS: &str = "timeout:1 attempts:2";
/// Pause before a process that was killed is waited for again.
pub const NAME_REAP_PAUSE: Duration = Duration::from_millis(20);
/// Processes that were killed and do not end, as with a file system that is gone: then no
/// further one is started.
pub const NAME_PROCESSES_MAX: usize = 4;
/// The address of a host, or why there is none, in words.
pub const NAME_ANSWER_BYTES_MAX: usize = 512;
/// How long changes of the network are collected before they count: an interface that gets
/// another address loses the old one first. With [`RETRY_DELAY_MIN`] and the answer of the
/// registry, a new address is used within 10 s.
pub const NETWORK_SETTLE: Duration = Duration::from_secs(1);
/// Pause before something about the network that failed is tried again: addresses that cannot
/// be read, a port that is taken on a new one.
pub const NETWORK_RETRY: Duration = Duration::from_secs(5);
/// The longest sleep of a loop.
pub const POLL_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Pause in accepting when the process has no descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

// ---- rates that the user sets ----

/// The lowest rate: at it 16 transfers still move fast enough for others, see
/// [`RATE_BYTES_PER_SECOND_MIN`].
pub const RATE_LIMIT_BYTES_MIN: u64 = 64_000;
/// What may move at once after a pause, as the time in which it comes in.
pub const PACING_BURST: Duration = Duration::from_millis(100);
/// How often a bucket that is empty is looked at: an interval has some system calls.
pub const PACING_INTERVAL: Duration = Duration::from_millis(5);
/// The least that moves then: so a slow rate costs few system calls, and each of many connections
/// has its share within [`PROGRESS_TIMEOUT`].
pub const PACED_BYTES_MIN: usize = 1024;

// ---- kernel's own watch over a connection ----

/// Idle time before the first keepalive.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(6);
/// Time between two keepalives.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Keepalives without an answer before the connection is given up.
pub const KEEPALIVE_PROBES: u32 = 3;
/// Sent data without acknowledgment by TCP before the connection is given up, unless a longer
/// [`PROGRESS_TIMEOUT`] is set.
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

// ---- a look at the network ----

/// How long one step of it waits for an answer: a lost SYN is sent again after 1 s, and an
/// answer from the own network takes far less.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How much longer than one offer interval it listens: the clocks and loops of peers differ.
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
/// Descriptors that are not for connections: the poll, the listening sockets, offers and
/// signals, and some of the files of transfers and of hashing.
pub const SPARE_DESCRIPTORS: usize = 32;
/// Peers whose offers are remembered. Those of wanted names are bounded by their offers alone,
/// so that a wanted name always has room.
pub const KNOWN_PEERS_MAX: usize = 4096;
/// Names that are remembered. Wanted ones are bounded by [`JOBS_MAX`] alone.
pub const KNOWN_NAMES_MAX: usize = 16_384;
/// Offers of one peer that has served us which a full table keeps before others: more files
/// than most peers share.
pub const PROVEN_PEER_OFFERS_MAX: usize = KNOWN_NAMES_MAX / 16;
/// The same for all such peers together: half of a table, so that nobody fills it by serving.
pub const PROVEN_OFFERS_KEPT_MAX: usize = KNOWN_NAMES_MAX / 2;
/// Offers that are considered to find one to evict from a full table.
pub const EVICTION_TRIES: usize = 64;
/// Sources remembered for one name.
pub const SOURCES_PER_NAME_MAX: usize = 64;
/// Offers (a source of a name) that are remembered in all.
pub const KNOWN_OFFERS_MAX: usize = 65_536;

// ---- one turn of the loop ----

/// File data that one connection receives in one turn at most, that all together are sent, and
/// that is hashed: one chunk, with its head and the next one. See *Turn budget* in
/// `benches/README.md`.
pub const TURN_BYTES: usize = CHUNK_BYTES as usize + 2 * CHUNK_HEAD_BYTES;
/// File data received in one turn by all connections, as far as their least shares allow: to
/// hash and write it takes some 1 ms.
pub const TURN_RECEIVED_BYTES: usize = 4 * TURN_BYTES;
/// The least that a connection may move in one turn, however many share it: less costs more
/// system calls, and more makes small answers beside large files wait. See *Turn budget* in
/// `benches/README.md`.
pub const TURN_SHARE_BYTES_MIN: usize = 64 * 1024;
/// Small things of each kind that one turn takes in: connections, datagrams, events of the
/// shared folder, files observed. Each costs some 1 to 10 us, so that the others do not wait
/// long for a burst.
pub const TURN_ITEMS: usize = 256;
/// Beacons among the datagrams of one turn, each with up to 32 tags to look up.
pub const BEACONS_PER_TURN: usize = 64;
/// Files open at once for hashing; others wait. Each costs a descriptor.
pub const HASH_OPEN_FILES_MAX: usize = 64;
/// Files hashed at once though nobody has requested them: a disk is then asked for many at
/// once. A file that is requested shares its turns with all of them. See *Hashing small
/// files* in `benches/README.md`.
pub const HASH_AHEAD_FILES_MAX: usize = 16;
/// No further one begins while those under way have so many bytes, for the same reason.
pub const HASH_AHEAD_BYTES: u64 = 4 * 1024 * 1024;
/// File data that a disk is asked for before it is hashed or sent: twice as much as is hashed
/// in one [`DISK_LOOK_INTERVAL`], so that the disk never waits for us. See *Read-ahead* in
/// `benches/README.md`.
pub const READ_AHEAD_BYTES: u64 = 2 * 1024 * 1024;
/// Pause between two checks whether a disk has brought file data: the shortest sleep of a
/// poll.
pub const DISK_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How long a disk may take for file data before reads of that file wait for it: longer than
/// one with 64 files to read needs.
pub const DISK_PATIENCE: Duration = Duration::from_secs(2);
/// Connections that the kernel makes before we accept them: a burst of more in one turn of
/// the loop waits a second for its next try. The kernel caps it (`somaxconn`, 4096).
pub const LISTEN_BACKLOG: i32 = 4096;
/// Offers in one batch: small enough for any receive buffer, large enough that
/// 10,000 files in 5 s wake the loop some 60 times a second.
pub const OFFERS_PER_BATCH: usize = 32;
/// Receive buffer asked for on the offer socket; the default of 208 KiB
/// overflows at a few hundred datagrams.
pub const OFFER_SOCKET_RECEIVE_BYTES: usize = 4 * 1024 * 1024;
/// Written data after which the kernel is told to start writing it back, so that the final
/// sync finds little left. See *Write-back* in `benches/README.md`.
pub const WRITE_BACK_BYTES: u64 = 1024 * 1024;

/// Places at which the bytes of one file come in: one for each of its sources.
pub const WRITE_BACK_PLACES_MAX: usize = 32;

/// How often in a row a call on a file may be disturbed (EINTR, EAGAIN).
pub const DISTURBED_CALLS_MAX: u32 = 16;
/// Temporary names tried for one partial file.
pub const PARTIAL_NAME_TRIES_MAX: u32 = 16;
/// Folders that are kept open while files are fetched into them, so that each of many files in one
/// folder costs no walk.
pub const FOLDERS_OPEN_MAX: usize = 16;
/// Folders in which others were made and that are not synced: as many are synced at once.
pub const FOLDERS_UNSYNCED_MAX: usize = 256;
/// A partial file that nobody continued for so long is removed when something is fetched into its
/// folder: nobody will.
pub const KEPT_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Names with a number tried for one file whose own name is taken.
pub const RENAME_TRIES_MAX: u32 = 1000;

/// Data written to a folder before the free space is checked again: less where less than that
/// is free beyond what is kept.
pub const SPACE_CHECK_BYTES: u64 = 1024 * 1024;
/// What a new file counts for besides its content: the end of its last block is lost.
pub const NEW_FILE_BYTES: u64 = 4096;
/// Folders within one another that are removed when a simulated folder is emptied: each keeps
/// two descriptors open, and a limit of 1024 of them is the least that systems have.
pub const SIMULATED_DEPTH_MAX: usize = 256;
/// Disk space left free: the whole divided by this, within the bounds that follow.
pub const DISK_RESERVE_PART: u64 = 100;
/// At least so much, so that the system and other programs go on.
pub const DISK_RESERVE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// At most so much: they need no more of a large disk.
pub const DISK_RESERVE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Of a small file system never more than the whole divided by this.
pub const DISK_RESERVE_PART_MAX: u64 = 2;
/// Zeros in a row that are not written but left as a hole: less would cut files into many
/// pieces to save little.
pub const HOLE_BYTES_MIN: usize = 64 * 1024;

/// Folders whose digests are kept.
pub const DIGEST_CACHES_MAX: usize = 64;
/// Digests are written at the latest when there are so many: most of them by one write of
/// some 32 KiB.
pub const DIGEST_CACHE_PENDING_MAX: usize = 256;

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
/// A wait longer ago than this counts for a third or less in the limit that is shown.
pub const LIMIT_MEMORY: Duration = Duration::from_secs(3);
/// By how many percent more another wait has to hold a transfer up before it is shown
/// instead: two that are alike would take turns.
pub const LIMIT_LEAD_PERCENT: u32 = 25;
/// A transfer in which nothing moves for so long waits for the other side. A network that
/// moves anything does so sooner: TCP retransmits after 1 s at first (RFC 6298), and after
/// a fraction of that once it knows the round-trip time.
pub const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A line on stdout, so that what waits for room there stays small.
pub const STDOUT_LINE_BYTES_MAX: usize = 4096;
/// How long the last line on stderr waits for a slow reader, and then the last event after a
/// signal or when the time is over: together less than the 2 s in which a program ends. Without
/// those the event waits as long as the reader takes.
pub const LAST_LINE_PATIENCE: Duration = Duration::from_millis(750);
/// How often stdout and stderr are tried again after they have taken nothing, until it is told
/// how many lines were dropped.
pub const OUTPUT_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A text in a line of JSON, after escaping: some have two texts, and other fields.
pub const JSON_TEXT_BYTES_MAX: usize = 1024;
/// Events about files that are not shared when a program starts; the rest is counted. A pipe
/// holds 64 KiB, so a reader that is slow to start misses no others.
pub const SKIPPED_EVENTS_MAX: usize = 100;
/// Lines about files that are not shared; `share` counts the rest.
pub const SKIPPED_LINES_MAX: usize = 10;
/// How long `list --watch` keeps the answers of a registry: a peer may come back under its id
/// at another address.
pub const ADDRESS_MEMORY: Duration = Duration::from_secs(30);
/// How often `list --watch` looks for changes.
pub const WATCH_INTERVAL: Duration = Duration::from_secs(1);

// ---- control socket ----

/// Programs that ask this one at once. A new one evicts the oldest that waits for no file: it has
/// not asked yet, or does not read its answer. Each costs a descriptor.
pub const CONTROL_CLIENTS_MAX: usize = 256;
/// Programs among them that wait for files; the other places are for those that are answered at
/// once.
pub const CONTROL_WAITING_MAX: usize = 224;
/// Patterns that all of them wait for: each name that is offered is compared with each.
pub const CONTROL_SEARCHES_MAX: usize = 16;
/// Files that one program asks for at once. Each causes at most three answers, of which the
/// longest has [`CONTROL_REASON_BYTES_MAX`]: some 5 MB for a program that reads none of them.
pub const CONTROL_FETCHES_MAX: usize = 4096;
/// Files that all of them wait for, each counted for each program: four times as many, for the
/// same reason.
pub const CONTROL_FETCHES_OF_ALL_MAX: usize = 16_384;
/// A whole question, an answer that begins, and each piece of an answer that is not read: both
/// programs are on this host.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer of another program: keeps one that is not ours from filling memory. Ten times
/// what a peer answers that names [`STATUS_NAMES_MAX`] files and offers and as many transfers.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Why a file will not come, in words: several times the longest sentence that there is.
pub const CONTROL_REASON_BYTES_MAX: usize = 1024;
/// Files, and as many offers, that are named in an answer: some 150 bytes of JSON each.
pub const STATUS_NAMES_MAX: usize = 1000;
/// Time between two writes of `--metrics`: collectors come every 15 s or more.
pub const METRICS_INTERVAL: Duration = Duration::from_secs(10);

// ---- log ----

/// Lines in one second about what one address did wrong.
pub const LOG_LINES_PER_ADDRESS_PER_SECOND: u32 = 10;
/// Lines in one second in all, but for those below.
pub const LOG_LINES_PER_SECOND: u32 = 200;
/// Lines in one second about what others offer.
pub const LOG_OFFER_LINES_PER_SECOND: u32 = 20;
/// Addresses that lines in one second may be about.
pub const LOG_ADDRESSES_MAX: usize = 1024;
/// How long the same complaint about the datagrams of an address is not logged again: an offer
/// with an odd name is repeated every few seconds.
pub const LOG_COMPLAINT_INTERVAL: Duration = Duration::from_secs(300);
/// Different complaints about datagrams in that time; more are logged as details.
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
    assert!(CONTENT_BYTES_MAX / BLOCKS_MAX as u64 <= u32::MAX as u64);
    assert!(
        4 + 32 * BLOCKS_MAX <= FRAME_BODY_BYTES_MAX && 4 + DATA_BYTES_MAX <= FRAME_BODY_BYTES_MAX
    );
    assert!(ANSWERS_BYTES_MAX < OUTBOX_BYTES_MAX);
    assert!(SECOND_COPY_AFTER.as_millis() < TAKE_OVER_AFTER.as_millis());
    assert!(LARGE_ACTIVE_MAX <= BLOCK_REQUESTS_MAX && LARGE_ACTIVE_MAX <= WAIT_REQUESTS_MAX);
    assert!(SMALL_ACTIVE_MAX < REQUESTS_MAX);
    assert!(MANIFEST_PATIENCE.as_millis() < MANIFEST_PATIENCE_MAX.as_millis());
    assert!(BUSY_PAUSE_MIN.as_millis() < BUSY_PAUSE_MAX.as_millis());
    // One block is always allowed.
    assert!(PIPE_AHEAD_BYTES >= BLOCK_BYTES_MIN);
    assert!(49 + PEER_NAME_BYTES_MAX + 8 * TAGS_MAX + 16 <= BEACON_BYTES_MAX);
    // With the answers to as many lookups as are read at once.
    assert!(24 * LISTED_PEERS_MAX + REQUESTS_PER_READ * HEAD_BYTES_MAX < OUTBOX_BYTES_MAX);
    assert!(HANDSHAKE_WAIT_MAX.as_millis() < SEALED_HELLO_TIMEOUT.as_millis());
    assert!(QUERY_MEMORY.as_millis() <= BEACON_EXPIRY.as_millis());
    assert!(BEACON_INTERVAL.as_millis() * 12 / 10 * 2 < BEACON_EXPIRY.as_millis());
    assert!(CHUNK_BYTES > 0 && LOCAL_WINDOW_BYTES <= WINDOW_BYTES);
    assert!(LOCAL_WINDOW_BYTES.is_multiple_of(CHUNK_BYTES));
    assert!(TURN_SHARE_BYTES_MIN <= TURN_BYTES);
    assert!(RATE_LIMIT_BYTES_MIN >= 16 * RATE_BYTES_PER_SECOND_MIN);
    assert!(PACING_INTERVAL.as_millis() < PACING_BURST.as_millis());
    assert!(PACED_BYTES_MIN as u64 * 1000 < RATE_LIMIT_BYTES_MIN * PACING_BURST.as_millis() as u64);
    assert!(WINDOW_BYTES.is_multiple_of(CHUNK_BYTES));
    // At the minimum rate the socket takes bytes before the upload counts as stalled.
    assert!((NOT_SENT_BYTES_MAX as u64) < RATE_BYTES_PER_SECOND_MIN * UPLOAD_RATE_WINDOW.as_secs());
    assert!(PROGRESS_TIMEOUT.as_secs() * UPLOAD_TIMEOUTS as u64 == UPLOAD_RATE_WINDOW.as_secs());
    assert!(HEAD_BYTES_MAX < OUTBOX_BYTES_MAX);
    // At the minimum rate a head is whole in time, and half of one is noticed before silence.
    assert!((HEAD_BYTES_MAX as u64) < RATE_BYTES_PER_SECOND_MIN * HEAD_TIMEOUT.as_secs());
    assert!(HEAD_TIMEOUT.as_millis() <= FIRST_BYTE_TIMEOUT.as_millis());
    assert!(HEAD_TIMEOUT.as_millis() < PROGRESS_TIMEOUT.as_millis());
    // An empty outbox allows a read, and takes all answers to it.
    assert!(READ_BYTES_MIN < OUTBOX_BYTES_MAX);
    assert!((REQUESTS_PER_READ + 1) * HEAD_BYTES_MAX <= OUTBOX_BYTES_MAX);
    assert!(HASH_AHEAD_FILES_MAX <= SPARE_DESCRIPTORS / 2);
    assert!(FOLDERS_OPEN_MAX <= SPARE_DESCRIPTORS / 2);
    assert!(KNOWN_NAMES_MAX <= KNOWN_OFFERS_MAX && KNOWN_PEERS_MAX <= KNOWN_OFFERS_MAX);
    // Each wanted name has room for a few sources, though as many are wanted as may be.
    assert!(JOBS_MAX * 4 <= KNOWN_OFFERS_MAX);
    assert!(PROVEN_PEER_OFFERS_MAX < PROVEN_OFFERS_KEPT_MAX);
    assert!(2 * (DOWNLOADS_MAX + HEDGES_MAX) < PEER_CONNECTIONS_MAX);
    assert!(FASTER_FACTOR < SLOW_FACTOR && HEDGE_GLANCE.as_millis() < HEDGE_TRIAL.as_millis());
    // What is dropped for its minimum rate was tried beside others before.
    assert!(PACE_WINDOW.as_millis() <= RATE_WINDOW.as_millis());
    assert!(UNTRIED_BYTES_PER_SECOND > SLOW_FACTOR * RATE_BYTES_PER_SECOND_MIN);
    assert!(OFFERS_PER_BATCH <= TURN_ITEMS);
    assert!(RETRY_DELAY_MIN.as_millis() <= RETRY_DELAY_MAX.as_millis());
    assert!(PROGRESS_TIMEOUT.as_millis() <= RATE_WINDOW.as_millis());
    assert!(OFFER_INTERVAL_MIN.as_millis() <= OFFER_INTERVAL.as_millis());
    assert!(OFFER_EXPIRY_MIN.as_millis() <= OFFER_EXPIRY_UNKNOWN.as_millis());
    assert!(OFFER_EXPIRY_UNKNOWN.as_millis() <= OFFER_EXPIRY_MAX.as_millis());
    assert!(OFFER_COPY_TIME.as_millis() < OFFER_EXPIRY_MIN.as_millis());
    assert!(INTERVAL_SAMPLES_MIN <= INTERVAL_SAMPLES);
    assert!(PATTERN_TIME_MAX.as_millis() >= OFFER_EXPIRY_UNKNOWN.as_millis());
    // A file that is observed in each scan can settle between two scans.
    assert!(SETTLE_TIME.as_millis() < RESCAN_INTERVAL.as_millis());
    assert!(SETTLE_TIME.as_millis() < WRITTEN_SETTLE_TIME.as_millis());
    // A file whose changes may carry one time stamp has not settled.
    assert!(SETTLED_AGE.as_millis() < SETTLE_TIME.as_millis());
    assert!(CONTROL_FETCHES_MAX < JOBS_MAX);
    assert!(DISK_RESERVE_BYTES_MIN <= DISK_RESERVE_BYTES_MAX);
    assert!(DISK_RESERVE_PART_MAX < DISK_RESERVE_PART);
    // Several runs that are long enough show in what one write brings.
    assert!(HOLE_BYTES_MIN < CHUNK_BYTES as usize);
    assert!(CONTROL_FETCHES_MAX < CONTROL_FETCHES_OF_ALL_MAX);
    assert!(CONTROL_WAITING_MAX < CONTROL_CLIENTS_MAX);
    assert!(CONTROL_SEARCHES_MAX < CONTROL_WAITING_MAX);
    assert!(CONTROL_REASON_BYTES_MAX <= u16::MAX as usize);
    assert!(JSON_TEXT_BYTES_MAX * 2 + 1024 < STDOUT_LINE_BYTES_MAX);
};
